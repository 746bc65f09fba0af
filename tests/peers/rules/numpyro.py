"""NumPyro, in double precision."""
from __future__ import annotations

from refbnn.conform.case import Case

from .jax import LOSSY
from .peer import RIGHT, Peer, Rule, anything, likelihood, named

BOUNDS = tuple(f"vi.{family}elbo{part}" for family in ("", "full.") for part in ("", ".gradient.mean", ".gradient.scale"))
DIVERGENCES = ("vi.kl", "vi.kl.reverse", "vi.full.kl", "vi.full.kl.reverse")
OPTIMA = ("vi.optimum.mean", "vi.optimum.covariance", "vi.optimum.elbo", "vi.optimum.meanfield.mean",
          "vi.optimum.meanfield.variance", "vi.optimum.meanfield.elbo")
OFFERS = ("loss", "log_joint", "gradient", "laplace.hessian.precision", "laplace.hessian.covariance", *BOUNDS, *DIVERGENCES,
          *OPTIMA, "predictive.mc", "posterior.draws")


def linear_regression(case: Case) -> bool:
    """The posterior is Gaussian."""
    return case.problem.likelihood == "normal" and case.problem.activation == "identity" and len(case.problem.sizes) == 2


def refuses(run: str, case: Case, quantity: str) -> bool:
    """Two links of binary outcomes; optima of what is not Gaussian."""
    return (case.problem.likelihood in ("bernoulli_probit", "bernoulli_cloglog") and quantity not in DIVERGENCES
            or quantity in OPTIMA and not linear_regression(case))


PEER = Peer(
    "numpyro", "0.22.0", {"0.22.0": {}}, OFFERS, (
        Rule(("*",), likelihood("negative_binomial", "heteroscedastic_negative_binomial"),
             ("loss", "log_joint", "gradient", "laplace.hessian.*", *BOUNDS), LOSSY, "log_beta"),
        Rule(("*",), named("saturated-ordinal"), ("loss", "log_joint", "gradient", *BOUNDS), LOSSY | {"MISMATCH"},
             "ordered_logistic_by_difference"),
        Rule(("*",), named("student-t-nearly-normal"), ("loss", "log_joint", "vi.elbo", "vi.full.elbo"), LOSSY,
             "student_t_of_numpyro"),
        Rule(("*",), anything, ("posterior.draws",), {"PASS", "UNDERPOWERED"}),
        Rule(("*",), anything, ("*",), RIGHT)), refuses, home="jax")
