"""Plain torch.func."""
from __future__ import annotations

from refbnn.conform.quantities import QUANTITIES

from .peer import RIGHT, Peer, Rule, anything, named

OF_CURVATURE = ("ggn.*", "hessian.*", "laplace.*", "predictive.glm.variance")

PEER = Peer("torch", "2.13.0", {"2.13.0": {}}, tuple(QUANTITIES), (
    Rule(("*",), named("saturated-probit"), OF_CURVATURE, RIGHT | {"LOSSY"}, "tail_of_log_ndtr"),
    Rule(("*",), anything, ("*",), RIGHT)))
