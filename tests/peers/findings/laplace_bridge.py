"""The Laplace bridge of three classes, as the pushforward calls it: for one input."""
import jax.numpy as jnp
from laplax.eval.predictives import laplace_bridge, mean_field_0_predictive

mean, variance = jnp.array([1.0, 0.0, -1.0]), jnp.array([0.5, 0.5, 0.5])
print("mean field 0:", mean_field_0_predictive(mean, variance))
try:
    print("bridge:", laplace_bridge(mean, variance, use_correction=False))
    print("RIGHT")
except IndexError as error:
    print("bridge raised IndexError:", error)
    print("WRONG")
