"""Named arrays over hyper-parameters: h is their number."""

from __future__ import annotations

from typing import Annotated

import numpy as np

Hyper = Annotated[np.ndarray, "h"]
HyperValues = Annotated[np.ndarray, "h n"]
HyperOutputs = Annotated[np.ndarray, "h n k"]
HyperMatrices = Annotated[np.ndarray, "h n k k"]
HyperGradients = Annotated[np.ndarray, "h p"]
