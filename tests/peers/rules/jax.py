"""Plain jax in double precision, and jax's own special functions, which other adapters that are handed its densities inherit."""
from __future__ import annotations

from .peer import RIGHT, Peer, Rule, anything, likelihood, named
from .torch import OF_CURVATURE, OF_LOSS
from .torch import OFFERS as OF_TORCH

LOSSY = RIGHT | {"LOSSY"}
QUICKLY = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "true"}  # compiling takes most of the time
OFFERS = tuple(quantity for quantity in OF_TORCH if not quantity.startswith(("vi.optimum", "posterior")))
SPECIAL_FUNCTIONS = (
    Rule(("*",), likelihood("negative_binomial", "heteroscedastic_negative_binomial"), ("*",), LOSSY, "log_beta"),
    Rule(("*",), named("saturated-probit"), OF_CURVATURE, LOSSY, "tail_of_jax_log_ndtr"),
    Rule(("*",), named("student-t-nearly-normal"), OF_LOSS, LOSSY, "student_t_normaliser"))

PEER = Peer("jax", "0.10.2", {"0.10.2": QUICKLY}, OFFERS, (*SPECIAL_FUNCTIONS, Rule(("*",), anything, ("*",), RIGHT)), home="jax")
