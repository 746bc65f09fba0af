"""Log joint density of a count y = 3 under Poisson(exp w), w ~ N(0, 1), the loss handed over as −log p(y | f)."""
import jax
import jax.numpy as jnp
from jax.scipy.stats import norm, poisson
from laplax.curv.utils import concatenate_model_and_loss_fn
from laplax.eval.likelihood import joint_log_likelihood

jax.config.update("jax_enable_x64", True)
params, data = {"w": jnp.array([0.7])}, {"input": jnp.ones((1, 1)), "target": jnp.array([[3.0]])}


def loss(f, y):
    return -poisson.logpmf(y, jnp.exp(f)).sum()


full = concatenate_model_and_loss_fn(lambda input, params: params["w"] * input, loss, vmap_over_data=True)
found = joint_log_likelihood(full, {"prior_prec": 1.0}, params, data)
prior, fit = norm.logpdf(0.7), poisson.logpmf(3, jnp.exp(0.7))
print(f"laplax {found:.6f}; log p(w) + log p(y|w) = {prior + fit:.6f}, log p(w) + log p(y|w)/2 = {prior + fit / 2:.6f}")
print("RIGHT" if abs(found - prior - fit) < 1e-6 else "WRONG")
