"""Plain torch.func, and torch's own special functions, which other adapters that are handed its likelihoods inherit."""
from __future__ import annotations

from refbnn.conform.quantities import QUANTITIES

from .peer import RIGHT, Peer, Rule, anything, likelihood, named

OF_CURVATURE = ("ggn.*", "hessian.*", "laplace.*", "predictive.*")
OF_LOSS = ("loss", "log_joint", "laplace.*log_evidence")
LOSSY = RIGHT | {"LOSSY"}
SPECIAL_FUNCTIONS = (
    Rule(("*",), named("saturated-probit"), OF_CURVATURE, LOSSY, "tail_of_log_ndtr"),
    Rule(("*",), likelihood("heteroscedastic_gamma", "heteroscedastic_negative_binomial"), (*OF_CURVATURE, "fisher.*"), LOSSY,
         "trigamma"),
    Rule(("*",), named("negative-binomial-nearly-poisson", "student-t-nearly-normal"), OF_LOSS, LOSSY,
         "normalisers_by_difference"),
    Rule(("*",), named("negative-binomial-nearly-poisson"), OF_CURVATURE, LOSSY, "curvature_of_logsigmoid"))

PEER = Peer("torch", "2.13.0", {"2.13.0": {}}, tuple(QUANTITIES), (*SPECIAL_FUNCTIONS, Rule(("*",), anything, ("*",), RIGHT)))
