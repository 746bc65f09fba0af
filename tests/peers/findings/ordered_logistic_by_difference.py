"""P(y = 1) of three ordered levels is σ(c₁ − f) − σ(c₀ − f): here with cut-points 0 and 1, far to one side and to the other."""
import jax
import jax.numpy as jnp
from numpyro.distributions import OrderedLogistic

jax.config.update("jax_enable_x64", True)
wrong = False
for f in (40.0, -30.0, -40.0):
    found = float(OrderedLogistic(f, jnp.array([0.0, 1.0])).log_prob(1))
    right = float(jax.nn.log_sigmoid(1 - f) + jax.nn.log_sigmoid(f) + jnp.log(-jnp.expm1(-1.0)))
    print(f"f = {f:.0f}: log P(y = 1) {found:.6f}, right is {right:.6f}")
    wrong |= abs(found / right - 1) > 1e-12
print("WRONG" if wrong else "RIGHT")
