"""curvlinops: the current release in double precision, two older ones whose operators are single precision."""
from __future__ import annotations

from refbnn.conform.case import Case

from .peer import RIGHT, Peer, Rule, anything, likelihood, named, regression_with_residuals, silu
from .torch import SPECIAL_FUNCTIONS

OF_ANY_LOSS = ("loss", "gradient", "jacobian", "ggn.full", "ggn.vp", "ggn.blockdiag", "ggn.lastlayer", "hessian.full",
               "hessian.blockdiag", "hessian.hvp", "ntk")
FISHERS = ("ggn.kfac", "ggn.ekfac", "ggn.ekfac.split", "fisher.kfac", "fisher.empirical", "fisher.empirical.kfac", "fisher.mc",
           "fisher.mc.kfac")
SINCE_3 = ("ggn.ekfac", "ggn.ekfac.split", "hessian.blockdiag")
OLDER = ("1.2.0", "2.0.1")


def several_outputs_with_residuals(case: Case) -> bool:
    """C > 1, so that a factor C is seen, and not all gradients zero."""
    return case.problem.sizes[-1] > 1 and regression_with_residuals(case)


def refuses(run: str, case: Case, quantity: str) -> bool:
    """Fishers of other likelihoods than three, two in the oldest release; what came later."""
    known = ("normal", "categorical") if run == "1.2.0" else ("normal", "categorical", "bernoulli")
    return quantity in FISHERS and case.problem.likelihood not in known or run in OLDER and quantity in SINCE_3


PEER = Peer(
    "curvlinops", "3.0.1", {"3.0.1": {}, "2.0.1": {}, "1.2.0": {}}, OF_ANY_LOSS + FISHERS, (
        Rule(("3.0.1",), silu, ("hessian.*",), {"ERROR"}, "hessian_of_silu"),
        Rule(("1.2.0",), several_outputs_with_residuals, ("fisher.empirical*",), {"MISMATCH"},
             "empirical_fisher_of_mean_squared_error"),
        Rule(("2.0.1",), likelihood("categorical", "bernoulli"), ("fisher.mc",), {"MISMATCH"},
             "sampled_fisher_of_classification"),
        Rule(("3.0.1",), likelihood("normal"), ("fisher.mc",), {"LOSSY"}, "noise_of_sampled_fisher"),
        Rule(OLDER, named("negative-binomial-nearly-poisson"), ("loss",), {"MISMATCH"}, "normalisers_by_difference"),
        Rule(OLDER, named("negative-binomial-nearly-poisson"), ("ggn.*", "hessian.*"), {"MISMATCH"}, "curvature_of_logsigmoid"),
        Rule(OLDER, named("grid-square-gamma-1-1-1-1-1-no-bias-near"), ("ggn.full", "ggn.vp"),  # 1e-77
             {"UNDERPOWERED"}),
        *SPECIAL_FUNCTIONS,
        Rule(("*",), anything, ("*",), RIGHT)), refuses)
