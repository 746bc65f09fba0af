"""An evidence lower bound lies below the log evidence, here 3, and reaches it where q is the posterior, here N(0, I)."""
import blackjax
import jax
import jax.numpy as jnp
import optax

for name in ("meanfield_vi", "fullrank_vi"):
    algorithm = getattr(blackjax, name)(lambda theta: 3.0 + jax.scipy.stats.norm.logpdf(theta).sum(), optax.sgd(0.0))
    start = algorithm.init(jnp.zeros(2))
    start = start._replace(rho=jnp.zeros(2)) if name == "meanfield_vi" else start  # widths of one; fullrank_vi has them already
    state, info = algorithm.step(jax.random.key(0), start)
    print(f"{name}: info.elbo {float(info.elbo):.4f}, right is 3")
print("RIGHT" if abs(info.elbo - 3) < 1e-4 else "WRONG")
