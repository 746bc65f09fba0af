"""Low-rank curvature of a matrix of rank 2, with laplax's default of 20 Lanczos steps: U S Uᵀ must be the matrix."""
import jax
import jax.numpy as jnp
from laplax.curv.lanczos import lanczos_lowrank

jax.config.update("jax_enable_x64", True)
A = jnp.diag(jnp.array([3.0, 2.0] + [0.0] * 28))
for rank in (3, 20):
    terms = lanczos_lowrank(A, key=jax.random.key(0), rank=rank)
    error = jnp.linalg.norm((terms.U * terms.S) @ terms.U.T - A) / jnp.linalg.norm(A)
    print(f"rank {rank}: UᵀU off the identity by {jnp.abs(terms.U.T @ terms.U - jnp.eye(rank)).max():.1e}, U S Uᵀ by {error:.1e}")
print("RIGHT" if error < 1e-6 else "WRONG")
