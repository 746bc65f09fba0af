"""laplace-torch: three releases, two default dtypes of torch."""
from __future__ import annotations

import numpy as np

from refbnn.conform.case import Case

from .peer import RIGHT, Peer, Rule, anything, likelihood, regression_with_residuals, silu

DOUBLE = {"REFBNN_TORCH_DEFAULT_DTYPE": "float64"}
ROUNDING = ("0.3", "0.2.*")
OFFERS = (
    "forward", "loss", "gradient", "jacobian", "ggn.full", "ggn.diag", "ggn.lastlayer", "ggn.kfac", "hessian.full",
    "fisher.empirical", "fisher.empirical.diag", "fisher.empirical.kfac", "fisher.mc", "fisher.mc.kfac",
    "laplace.precision", "laplace.covariance", "laplace.scale", "laplace.log_det", "laplace.log_evidence", "laplace.sample",
    "laplace.hessian.precision", "laplace.hessian.covariance", "laplace.hessian.log_det", "laplace.hessian.log_evidence",
    "predictive.glm.mean", "predictive.glm.variance", "predictive.mc", "laplace.evidence.prior", "laplace.evidence.noise",
    *(f"laplace.diag.{part}" for part in ("variance", "log_det", "log_evidence", "sample", "evidence.prior", "evidence.noise")),
    *(f"laplace.{name}.{part}" for name in ("lastlayer", "subset") for part in ("covariance", "log_det", "log_evidence")),
    *(f"laplace.kron.split.{part}" for part in ("covariance", "log_det", "log_evidence", "sample", "evidence.prior",
                                                "evidence.noise")),
    *(f"predictive.{name}.variance" for name in ("diag", "lastlayer", "subset", "kron.split")),
    "predictive.joint", "predictive.probit.multiclass", "predictive.bridge", "gp.variance", "predictive.hessian.lowrank.variance",
    *(f"laplace.hessian.lowrank.{part}" for part in ("precision", "log_det", "log_evidence")))     # gaps without asdfghjkl
POSTERIOR = ("laplace", "predictive.glm.variance", "predictive.joint", "predictive.diag", "predictive.lastlayer",
             "predictive.subset", "predictive.kron", "predictive.probit", "predictive.bridge", "gp")
ROUNDED = ("ggn.full", "ggn.lastlayer", "hessian.full", "fisher.empirical", "fisher.mc", "laplace.*", "predictive.glm.variance",
           "predictive.joint", "predictive.lastlayer.variance", "predictive.subset.variance", "predictive.probit.multiclass",
           "predictive.bridge")
FITTED = ("loss", *ROUNDED, "predictive.mc")


def one_by_one_first_weight(case: Case) -> bool:
    """One input, one unit."""
    return case.problem.sizes[:2] == (1, 1)


def correlated_posterior(case: Case) -> bool:
    """P has off-diagonal entries, so that a triangular factor and its transpose differ; nobody is asked where P is not stored."""
    if "laplace.precision" not in case.values:
        return False
    P = case.values["laplace.precision"].value
    return bool(np.abs(P - np.diag(np.diag(P))).max() > 1e-5 * np.abs(P).max())


def ggn_of_single_numbers(case: Case) -> bool:
    """Every entry of the GGN (of ½‖y − f‖² for regression) is a float32 number, so that rounding to float32 loses nothing."""
    if "ggn.full" not in case.values:
        return False
    G = case.values["ggn.full"].value * (case.problem.variance or 1)
    return bool(np.all(np.abs(G.astype(np.float32) - G) <= 1e-15 * np.abs(G)))


def ggn_of_other_numbers(case: Case) -> bool:
    """The rest."""
    return not ggn_of_single_numbers(case)


def tensors_differ(case: Case) -> bool:
    """Some parameter tensor has more than one prior precision."""
    diagonal, at = np.diag(case.problem.prior_precision), 0
    for into, out in zip(case.problem.sizes, case.problem.sizes[1:]):
        for size in (out * into, out)[:1 + case.problem.bias]:
            if len(set(diagonal[at:at + size])) > 1:
                return True
            at += size
    return False


def unequal_subset(case: Case) -> bool:
    """The chosen parameters have more than one prior precision."""
    return len(set(np.diag(case.problem.prior_precision)[case.problem.subset])) > 1


def several_outputs_of_deep_networks(case: Case) -> bool:
    """Two hidden layers or more: the kernel between two inputs is not symmetric in the outputs."""
    return len(case.problem.sizes) > 3 and case.problem.num_outputs > 1 and case.problem.activation != "identity"


def refuses(run: str, case: Case, quantity: str) -> bool:
    """Other likelihoods, full prior precisions, what Kronecker factors and processes cannot hold; low ranks lack a package."""
    P0 = case.problem.prior_precision
    full = bool(np.any(P0 != np.diag(np.diag(P0))))
    kron, process = quantity.startswith(("laplace.kron", "predictive.kron")), quantity.startswith("gp.")
    if "hessian.lowrank" in quantity:
        return True
    return (case.problem.likelihood not in ("normal", "categorical") or full and quantity.startswith(POSTERIOR)
            or kron and tensors_differ(case) or process and len(set(np.diag(P0))) > 1)


ROUNDED_BY_OLDER = ("predictive.diag.variance", "predictive.kron.split.variance")

PEER = Peer(
    "laplace-torch", "0.3", {"0.3": {}, "0.3 float64": DOUBLE, "0.2.2.2": {}, "0.2.1": {}, "0.2.1 float64": DOUBLE}, OFFERS, (
        Rule(("*",), unequal_subset, ("laplace.subset.*", "predictive.subset.variance"), {"ERROR"}, "prior_of_subnetwork",
             must_be_met=False),
        Rule(("0.2.1*",), anything, ("laplace.subset.*", "predictive.subset.variance"), {"ERROR"}, "backend_of_subnetwork"),
        Rule(("0.2.1",), anything, ("gp.variance",), {"ERROR"}, "functional_of_double_model"),
        Rule(("0.3*", "0.2.2.2", "0.2.1 float64"), several_outputs_of_deep_networks, ("gp.variance",), {"MISMATCH", "LOSSY"},
             "kernel_of_deep_network"),
        Rule(("0.3",), one_by_one_first_weight, ("laplace.diag.*", "predictive.diag.variance"), RIGHT),
        Rule(("*",), anything, ("laplace.kron.split.evidence.noise",), {"MISMATCH"}, "noise_gradient_of_kron"),
        Rule(("0.3",), one_by_one_first_weight, FITTED, {"ERROR"}, "one_by_one_layer_of_double_model"),
        Rule(("0.3*",), silu, ("hessian.full", "laplace.hessian.*"), {"ERROR"}, "hessian_of_silu"),
        Rule(("*",), regression_with_residuals, ("fisher.empirical*",), {"MISMATCH"}, "empirical_fisher_of_regression"),
        Rule(("0.2.1",), anything, ("laplace.sample", "laplace.kron.split.sample"), {"ERROR"}, "sample_of_double_model"),
        Rule(("0.2.2.2", "0.2.1 float64"), correlated_posterior, ("laplace.sample",), {"MISMATCH"}, "transposed_cholesky_factor"),
        Rule(("0.2.*",), likelihood("categorical"), ("fisher.mc",), {"MISMATCH"}, "sampled_fisher_of_classification"),
        Rule(("0.3 float64",), anything, ("*",), RIGHT),
        Rule(("*",), ggn_of_single_numbers, ("ggn.full",), RIGHT),
        Rule(ROUNDING, ggn_of_other_numbers, ("ggn.full",), {"LOSSY"}, "curvature_in_single_precision"),
        Rule(("0.2.*",), anything, ROUNDED_BY_OLDER, RIGHT | {"LOSSY"}, "curvature_in_single_precision"),
        Rule(ROUNDING, anything, ROUNDED, RIGHT | {"LOSSY"}, "curvature_in_single_precision"),
        Rule(("*",), anything, ("*",), RIGHT)), refuses, beside=("kfac_of_one_by_one_layer", "low_rank_of_batches"))
