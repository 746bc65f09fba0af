"""A precision (curvature + δ)/c with the scale c of the loss: the same number in every structure, for one parameter."""
import jax.numpy as jnp
from laplax.curv.cov import CURVATURE_PRECISION_METHODS
from laplax.curv.utils import LowRankTerms

low = LowRankTerms(U=jnp.ones((1, 1)), S=jnp.array([3.0]), scalar=jnp.array(0.0))
found = {}
for kind, curvature in (("full", jnp.array([[3.0]])), ("diagonal", jnp.array([3.0])), ("lanczos", low)):
    precision = CURVATURE_PRECISION_METHODS[kind](curvature, {"prior_prec": 1.0}, 2.0)
    found[kind] = float(precision.S[0] + precision.scalar if kind == "lanczos" else precision.ravel()[0])
print("(3 + 1)/2:", found)
print("RIGHT" if found["lanczos"] == found["full"] else "WRONG")
