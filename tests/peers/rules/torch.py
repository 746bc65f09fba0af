"""Plain torch.func, and torch's own special functions, which other adapters that are handed its likelihoods inherit."""
from __future__ import annotations

from refbnn.conform.quantities import QUANTITIES

from .peer import RIGHT, Peer, Rule, anything, likelihood, named

OF_CURVATURE = ("ggn.*", "hessian.*", "laplace.*", "predictive.*", "third.*", "vi.*", "gp.*")
OF_LOSS = ("loss", "log_joint", "laplace.*log_evidence")
# Not older curvlinops: in single precision these losses are below the round-off.
DOUBLE = ("2.13.0", "3.0.1", "1.7.1*", "1.1.*", "1.0.1", "0.1.5", "0.4*", "0.1.3*")
LOSSY = RIGHT | {"LOSSY"}
SPECIAL_FUNCTIONS = (
    Rule(DOUBLE, named("saturated-probit"), OF_CURVATURE, LOSSY, "tail_of_log_ndtr"),
    Rule(DOUBLE, likelihood("heteroscedastic_gamma", "heteroscedastic_negative_binomial"), (*OF_CURVATURE, "fisher.*"), LOSSY,
         "trigamma"),
    Rule(DOUBLE, named("negative-binomial-nearly-poisson", "student-t-nearly-normal"), OF_LOSS, LOSSY,
         "normalisers_by_difference"),
    Rule(DOUBLE, named("negative-binomial-nearly-poisson"), OF_CURVATURE, LOSSY, "curvature_of_logsigmoid"))
OFFERS = tuple(quantity for quantity in QUANTITIES if quantity == "posterior.draws" or not quantity.startswith("posterior."))

PEER = Peer("torch", "2.13.0", {"2.13.0": {}}, OFFERS, (
    *SPECIAL_FUNCTIONS,
    Rule(("*",), anything, ("posterior.draws",), {"PASS", "UNDERPOWERED"}),
    Rule(("*",), anything, ("*",), RIGHT)))
