"""The axis of a family's free numbers, for annotations."""

from __future__ import annotations

from typing import Annotated

import numpy as np

Free = Annotated[np.ndarray, "f"]
