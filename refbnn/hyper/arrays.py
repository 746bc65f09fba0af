"""Named arrays over hyper-parameters: h is their number."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from refbnn.shapes import as_array

Hyper = Annotated[np.ndarray, "h"]
HyperValues = Annotated[np.ndarray, "h n"]
HyperOutputs = Annotated[np.ndarray, "h n k"]
HyperMatrices = Annotated[np.ndarray, "h n k k"]
HyperGradients = Annotated[np.ndarray, "h p"]

LARGEST = 300.0  # exp of it squared is still a float64, and exp of −it squared still normal


def as_logarithms(eta: Hyper, num_hyper: int) -> Hyper:
    """η as an array (h), or ValueError: another size, or a |η_j| above 300, whose exponential no computation could carry."""
    eta = as_array("eta", eta, "h", h=num_hyper)
    far = np.flatnonzero(np.abs(eta) > LARGEST)
    if len(far):
        raise ValueError(f"eta: expected logarithms between {-LARGEST:g} and {LARGEST:g}, got {eta[far].tolist()} at positions "
                         f"{far.tolist()}")
    return eta
