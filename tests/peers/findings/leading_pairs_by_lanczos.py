"""Both low-rank curvatures of laplax promise the leading eigenpairs: the five largest of the eigenvalues 30, 29, ... 1."""
import warnings

import jax
import jax.numpy as jnp
from laplax.curv.cov import estimate_curvature

warnings.simplefilter("ignore")
jax.config.update("jax_enable_x64", True)
values = jnp.arange(30.0, 0.0, -1.0)
found = {}
for kind in ("lanczos", "lobpcg"):
    terms = estimate_curvature(kind, lambda v: values * v, layout=30, key=jax.random.key(0), rank=5)
    found[kind] = jnp.sort(terms.S)[::-1]
    print(f"{kind}: {[round(float(value), 3) for value in found[kind]]}")
print("RIGHT" if jnp.abs(found["lanczos"] / values[:5] - 1).max() < 1e-3 else "WRONG")
