"""laplax, in double precision."""
from __future__ import annotations

import numpy as np

from refbnn.conform.case import Case

from .jax import QUICKLY, SPECIAL_FUNCTIONS
from .peer import RIGHT, Peer, Rule, anything, likelihood

EVIDENCES = ("log_joint", "laplace.log_evidence", "laplace.diag.log_evidence", "laplace.lowrank.log_evidence",
             "laplace.hessian.log_evidence")
LOW_RANK = ("laplace.lowrank.precision", "laplace.lowrank.covariance", "predictive.lowrank.variance")
OFFERS = ("jacobian.vp", "ggn.full", "ggn.diag", "ggn.vp", "hessian.full", "hessian.diag", "hessian.hvp", "laplace.precision",
          "laplace.covariance", "laplace.covariance.diag", "laplace.covariance.vp", "laplace.scale", "laplace.sample",
          "laplace.diag.variance", "laplace.diag.sample", "laplace.hessian.precision", "laplace.hessian.covariance",
          "predictive.glm.mean", "predictive.glm.variance", "predictive.diag.variance", "predictive.joint",
          "predictive.probit.multiclass", "predictive.meanfield", "predictive.bridge", "predictive.mc", *LOW_RANK, *EVIDENCES)
OF_PRIOR = ("laplace", "log_joint", "predictive.joint", "predictive.glm.variance", "predictive.diag", "predictive.lowrank",
            "predictive.probit", "predictive.meanfield", "predictive.bridge")
AVERAGED = ("normal", "normal_full", "student_t", "categorical")


def refuses(run: str, case: Case, quantity: str) -> bool:
    """Priors that are not isotropic; in evidences, means other than zero; averages of what has another link."""
    P0 = case.problem.prior_precision
    isotropic = np.array_equal(P0, P0[0, 0] * np.eye(len(P0)))
    return (quantity.startswith(OF_PRIOR) and not isotropic or quantity in EVIDENCES and bool(case.problem.prior_mean.any())
            or quantity == "predictive.mc" and case.problem.likelihood not in AVERAGED)


PEER = Peer(
    "laplax", "0.0.2", {"0.0.2": QUICKLY}, OFFERS, (
        Rule(("*",), likelihood("categorical", "bernoulli"), ("hessian.*", "laplace.hessian.*", *EVIDENCES),
             {"ERROR", "MISMATCH"}, "cross_entropy_by_name"),
        Rule(("*",), likelihood("normal"), EVIDENCES, {"MISMATCH"}, "evidence_of_squared_error"),
        Rule(("*",), anything, EVIDENCES, {"MISMATCH"}, "halved_log_likelihood"),
        Rule(("*",), anything, LOW_RANK, {"MISMATCH", "LOSSY"}, "leading_pairs_by_lanczos"),
        Rule(("*",), anything, ("predictive.bridge",), {"ERROR"}, "laplace_bridge"),
        Rule(("*",), anything, ("predictive.meanfield",), RIGHT | {"LOSSY", "MISMATCH"}, "sum_of_mean_field"),
        *(rule for rule in SPECIAL_FUNCTIONS if rule.why != "student_t_normaliser"),  # no loss is right without
        Rule(("*",), anything, ("*",), RIGHT)), refuses,
    beside=("five_draws", "determinant_of_low_rank", "lanczos_past_the_rank", "scaled_low_rank", "scale_of_a_subsample"),
    home="jax")
