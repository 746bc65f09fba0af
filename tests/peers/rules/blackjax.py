"""BlackJAX, in double precision, on densities of plain jax."""
from __future__ import annotations

from .jax import SPECIAL_FUNCTIONS
from .peer import RIGHT, Peer, Rule, anything

PEER = Peer("blackjax", "1.7.1", {"1.7.1": {}}, ("log_joint", "posterior.draws"), (
    *(rule for rule in SPECIAL_FUNCTIONS if rule.why != "tail_of_jax_log_ndtr"),  # only derivatives lose digits there
    Rule(("*",), anything, ("posterior.draws",), {"PASS", "UNDERPOWERED"}),
    Rule(("*",), anything, ("*",), RIGHT)), beside=("sign_of_elbo",), home="jax")
