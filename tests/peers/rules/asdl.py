"""ASDL."""
from __future__ import annotations

from refbnn.conform.case import Case

from .peer import RIGHT, Peer, Rule, anything
from .torch import SPECIAL_FUNCTIONS

OF_ANY_LOSS = ("forward", "loss", "gradient", "jacobian", "hessian.full", "hessian.diag", "hessian.blockdiag", "hessian.hvp",
               "fisher.empirical", "fisher.empirical.diag", "fisher.empirical.kfac", "ntk")
OF_TWO_LOSSES = ("ggn.full", "ggn.diag", "ggn.vp", "ggn.blockdiag", "ggn.lastlayer", "ggn.kfac", "ggn.ekfac.split", "fisher.full",
                 "fisher.diag", "fisher.kfac", "fisher.mc", "fisher.mc.diag", "fisher.mc.kfac")


def several_outputs(case: Case) -> bool:
    """C > 1."""
    return case.problem.num_outputs > 1


def refuses(run: str, case: Case, quantity: str) -> bool:
    """Exact and sampled Fishers of other likelihoods than two."""
    return quantity in OF_TWO_LOSSES and case.problem.likelihood not in ("normal", "categorical")


PEER = Peer("asdl", "0.1.5", {"0.1.5": {}}, OF_ANY_LOSS + OF_TWO_LOSSES, (
    Rule(("*",), anything, ("jacobian",), {"ERROR"}, "jacobian_attribute"),
    Rule(("*",), several_outputs, ("ggn.ekfac.split",), {"MISMATCH"}, "eigenbasis_of_several_outputs"),
    Rule(("*",), anything, ("fisher.mc.diag",), {"MISMATCH"}, "several_draws_of_sampled_fisher"),
    *SPECIAL_FUNCTIONS,
    Rule(("*",), anything, ("*",), RIGHT)), refuses, beside=("product_of_accumulated_fisher", "direct_kernel"))
