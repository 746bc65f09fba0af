"""BlackJAX, in double precision, on densities of plain jax."""
from __future__ import annotations

from refbnn.conform.case import Case

from .jax import SPECIAL_FUNCTIONS
from .numpyro import OPTIMA, linear_regression
from .peer import RIGHT, Peer, Rule, anything


def refuses(run: str, case: Case, quantity: str) -> bool:
    """Optima of what is not Gaussian."""
    return quantity in OPTIMA and not linear_regression(case)


PEER = Peer("blackjax", "1.7.1", {"1.7.1": {}}, ("log_joint", "posterior.draws", *OPTIMA), (
    *(rule for rule in SPECIAL_FUNCTIONS if rule.why != "tail_of_jax_log_ndtr"),  # only derivatives lose digits there
    Rule(("*",), anything, ("posterior.draws",), {"PASS", "UNDERPOWERED"}),
    Rule(("*",), anything, ("*",), RIGHT)), refuses, beside=("sign_of_elbo",), home="jax")
