"""NumPyro, in double precision."""
from __future__ import annotations

from refbnn.conform.case import Case

from .jax import LOSSY
from .peer import RIGHT, Peer, Rule, anything, likelihood, named

BOUNDS = ("vi.elbo", "vi.elbo.gradient.mean", "vi.elbo.gradient.scale")
OFFERS = ("loss", "log_joint", "gradient", "laplace.hessian.precision", "laplace.hessian.covariance", *BOUNDS, "vi.kl",
          "vi.kl.reverse", "predictive.mc", "posterior.draws")


def refuses(run: str, case: Case, quantity: str) -> bool:
    """Two links of binary outcomes."""
    return case.problem.likelihood in ("bernoulli_probit", "bernoulli_cloglog") and not quantity.startswith("vi.kl")


PEER = Peer(
    "numpyro", "0.22.0", {"0.22.0": {}}, OFFERS, (
        Rule(("*",), likelihood("negative_binomial", "heteroscedastic_negative_binomial"),
             ("loss", "log_joint", "gradient", "laplace.hessian.*", *BOUNDS), LOSSY, "log_beta"),
        Rule(("*",), named("saturated-ordinal"), ("loss", "log_joint", "gradient", *BOUNDS), LOSSY | {"MISMATCH"},
             "ordered_logistic_by_difference"),
        Rule(("*",), anything, ("posterior.draws",), {"PASS", "UNDERPOWERED"}),
        Rule(("*",), anything, ("*",), RIGHT)), refuses, home="jax")
