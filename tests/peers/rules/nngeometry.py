"""NNGeometry, with both default dtypes of torch."""
from __future__ import annotations

from refbnn.conform.case import Case

from .peer import RIGHT, Peer, Rule, anything, likelihood
from .torch import SPECIAL_FUNCTIONS

OF_ANY_LOSS = ("forward", "gradient", "jacobian", "hessian.full", "hessian.diag", "hessian.hvp", "fisher.empirical",
               "fisher.empirical.diag", "fisher.empirical.centred", "fisher.empirical.kfac", "ntk")
EXACT = ("ggn.full", "ggn.diag", "ggn.vp", "ggn.blockdiag", "ggn.lastlayer", "ggn.kfac", "ggn.ekfac", "fisher.full",
         "fisher.diag", "fisher.kfac")
SAMPLED = ("fisher.mc", "fisher.mc.diag", "fisher.mc.kfac")
KRONECKER_OR_BLOCKS = ("ggn.blockdiag", "*.kfac")


def refuses(run: str, case: Case, quantity: str) -> bool:
    """Fishers of other likelihoods than normal, categorical and one Bernoulli output; sampled ones of other than class labels."""
    known = case.problem.likelihood in ("normal", "categorical") or (
        case.problem.likelihood == "bernoulli" and case.problem.num_outputs == 1)
    return quantity in EXACT and not known or quantity in SAMPLED and case.problem.likelihood != "categorical"


PEER = Peer(
    "nngeometry", "0.4", {"0.4": {}, "0.4 float64": {"REFBNN_TORCH_DEFAULT_DTYPE": "float64"}}, OF_ANY_LOSS + EXACT + SAMPLED, (
        Rule(("0.4",), likelihood("categorical"), EXACT, {"ERROR"}, "classification_of_double_model"),
        Rule(("0.4",), anything, KRONECKER_OR_BLOCKS, {"LOSSY"}, "dense_forms_in_single_precision"),
        *(rule for rule in SPECIAL_FUNCTIONS if rule.why != "normalisers_by_difference"),  # no loss is asked
        Rule(("*",), anything, ("*",), RIGHT)), refuses, beside=("dropped_last_batch",))
