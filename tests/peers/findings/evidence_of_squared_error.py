"""Evidence of y ~ N(w x, 1), w ~ N(0, 1): Laplace is exact for it, so laplax must give log N(y; 0, I + x xᵀ)."""
import jax
import jax.numpy as jnp
from laplax.curv.cov import estimate_curvature
from laplax.curv.ggn import create_ggn_mv
from laplax.eval.likelihood import marginal_log_likelihood
from loguru import logger

logger.disable("laplax")
jax.config.update("jax_enable_x64", True)
x, y = jnp.array([[1.0], [2.0], [3.0]]), jnp.array([[1.5], [1.0], [4.0]])
data, model = {"input": x, "target": y}, lambda input, params: params["w"] * input
params = {"w": x[:, 0] @ y[:1 + 2, 0] / (1 + x[:, 0] @ x[:, 0]) * jnp.ones(1)}
curvature = estimate_curvature("full", create_ggn_mv(model, params, data, loss_fn="mse"), layout=params)
right = jax.scipy.stats.multivariate_normal.logpdf(y[:, 0], jnp.zeros(3), jnp.eye(3) + x @ x.T)
for named in ({"prior_prec": 1.0}, {"prior_prec": 1.0, "sigma": 1.0, "sigma_squared": 1.0},
              {"prior_prec": 1.0, "sigma": 1.0, "sigma_squared": 0.5}):
    found = marginal_log_likelihood(curvature, named, data, model, params, "mse", "full", vmap_over_data=True)
    print(f"{named}: {found:.6f}, right is {right:.6f}, and without 3/2 log 2π {right + 1.5 * jnp.log(2 * jnp.pi):.6f}")
print("RIGHT" if abs(found - right) < 1e-6 else "WRONG")
