"""log |U S Uᵀ + δ I| of a low-rank precision, by way of the evidence: it is known to the last constant."""
import jax
import jax.numpy as jnp
from laplax.curv.utils import LowRankTerms
from laplax.eval.likelihood import full_marginal_log_likelihood, low_rank_marginal_log_likelihood

jax.config.update("jax_enable_x64", True)
U = jnp.eye(4)[:, :2]
terms, dense = LowRankTerms(U=U, S=jnp.array([3.0, 5.0]), scalar=jnp.array(0.5)), jnp.diag(jnp.array([3.5, 5.5, 0.5, 0.5]))
rest = ({"prior_prec": 0.5}, lambda *_: 0.0, {"w": jnp.zeros(4)}, {"input": None, "target": None})
low, full = low_rank_marginal_log_likelihood(terms, *rest), full_marginal_log_likelihood(dense, *rest)
print(f"log evidence: low rank {low:.6f}, the same precision in full {full:.6f}")
print("RIGHT" if abs(low - full) < 1e-9 else "WRONG")
