"""The GGN of 10 data that stand for 100 must be ten times that of the 10; laplax has two functions that take these counts."""
import jax.numpy as jnp
from laplax import laplace
from laplax.curv.ggn import create_ggn_mv
from loguru import logger

logger.disable("laplax")
params, data = {"w": jnp.ones(1)}, {"input": jnp.ones((10, 1)), "target": jnp.ones((10, 1))}
counts = {"num_curv_samples": 10, "num_total_samples": 100}


def model(input, params):
    return params["w"] * input


by_product = create_ggn_mv(model, params, data, "mse", **counts)(params)["w"][0]
by_laplace = laplace(model, params, data, loss_fn="mse", curv_type="full", **counts)[1][0, 0]
print(f"10 data alone 20, times 10: 200; create_ggn_mv {by_product:.0f}, laplace {by_laplace:.0f}")
print("RIGHT" if abs(by_laplace - 200) < 1e-3 else "WRONG")
