"""posteriors, with both default dtypes of torch."""
from __future__ import annotations

from refbnn.conform.case import Case

from .peer import RIGHT, Peer, Rule, anything, named, silu
from .torch import SPECIAL_FUNCTIONS

OFFERS = ("ggn.full", "ggn.diag", "ggn.vp", "hessian.full", "hessian.hvp", "fisher.empirical", "fisher.empirical.diag",
          "fisher.empirical.vp", "fisher.mc", "fisher.mc.diag", "fisher.mc.vp", "laplace.precision", "laplace.sample",
          "laplace.diag.variance", "laplace.diag.sample", "laplace.hessian.precision", "predictive.glm.mean",
          "predictive.diag.variance", "vi.elbo", "vi.elbo.gradient.mean", "vi.elbo.gradient.scale", "vi.full.elbo",
          "vi.full.elbo.gradient.mean", "vi.full.elbo.gradient.scale")


def several_rows(case: Case) -> bool:
    """Some weight matrix has more than one row."""
    return max(case.problem.sizes[1:]) > 1


PEER = Peer(
    "posteriors", "0.1.3", {"0.1.3": {}, "0.1.3 float64": {"REFBNN_TORCH_DEFAULT_DTYPE": "float64"}}, OFFERS, (
        Rule(("0.1.3",), anything, ("laplace.sample", "vi.full.*"), {"ERROR"}, "dense_sample_of_double_model"),
        Rule(("0.1.3 float64",), several_rows, ("laplace.sample",), {"ERROR"}, "dense_sample_of_matrices"),
        Rule(("*",), named("one-parameter"), ("laplace.diag.sample",), {"ERROR"}, "single_parameter"),
        Rule(("*",), silu, ("hessian.full", "laplace.hessian.precision"), {"ERROR"}, "dense_hessian_of_silu"),
        *(rule for rule in SPECIAL_FUNCTIONS if rule.why != "normalisers_by_difference"),  # no loss is asked
        Rule(("*",), anything, ("*",), RIGHT)),
    beside=("sign_of_dense_kalman", "stuck_landing_of_dense_vi", "scalar_prior_of_double_model"))
