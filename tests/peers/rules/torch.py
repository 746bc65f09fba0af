"""Plain torch.func."""
from __future__ import annotations

from refbnn.conform.quantities import QUANTITIES

from .peer import RIGHT, Peer, Rule, anything, named

WITHOUT = ("ggn.kfac", "ggn.kfra", "ggn.ekfac", "ggn.ekfac.split", "fisher.kfac", "fisher.empirical.kfac", "fisher.mc.kfac")
OF_CURVATURE = ("ggn.*", "hessian.*", "laplace.*", "predictive.glm.variance")

PEER = Peer("torch", "2.13.0", {"2.13.0": {}}, tuple(name for name in QUANTITIES if name not in WITHOUT), (
    Rule(("*",), named("saturated-probit"), OF_CURVATURE, RIGHT | {"LOSSY"}, "tail_of_log_ndtr"),
    Rule(("*",), anything, ("*",), RIGHT)))
