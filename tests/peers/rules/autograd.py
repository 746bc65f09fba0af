"""HIPS autograd, with SciPy's special functions, none of which loses digits on these cases."""
from __future__ import annotations

from refbnn.conform.quantities import QUANTITIES

from .peer import RIGHT, Peer, Rule, anything

OFFERS = tuple(quantity for quantity in QUANTITIES if quantity != "posterior.draws")

PEER = Peer("autograd", "1.9.1", {"1.9.1": {}}, OFFERS, (Rule(("*",), anything, ("*",), RIGHT),),
            beside=("tail_of_logcdf",), home="jax")
