"""numpyro's NUTS, chains vectorised, dense or diagonal mass matrix adapted; timed when compiled and warmed up.

Trees of the network stop at 127 steps: f forgets sooner than θ, and with the default of 1023, which nearly every tree reaches, a
draw costs ten times as much and more. The draws come in RUNS runs, each of which goes on where the one before ended. The first
compiles: the time of the fastest counts for every one.
"""

import os
import sys
import time

os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
os.environ["JAX_PLATFORMS"] = "cpu"

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from numpyro.infer import MCMC, NUTS  # noqa: E402

from tests.benchmarks.draws import CHAINS, NEW, data  # noqa: E402

RUNS = 3
MAX_DEPTH = {"logistic": 10, "network": 7}
NUM_WARMUP = {"logistic": 300, "network": 200}
NUM_DRAWS = {"logistic": 70, "network": 70}  # a run

jax.config.update("jax_enable_x64", True)
problem, file = sys.argv[1:]
X, y = map(jnp.asarray, data(problem))


def forward(theta, X):
    """The logistic regression (W, b), or the network, in the order of refbnn."""
    if problem == "logistic":
        return X @ theta[:25] + theta[25]
    return jnp.tanh(X @ theta[:50][None] + theta[50:100]) @ theta[100:150] + theta[150]


def potential(theta):
    """U."""
    f = forward(theta, X)
    loss = jnp.sum(jnp.logaddexp(0.0, f) - y[:, 0] * f) if problem == "logistic" else jnp.sum((y[:, 0] - f) ** 2) / 0.18
    return loss + 0.5 * jnp.sum(theta**2)


p = 26 if problem == "logistic" else 151
start = 0.1 * np.random.default_rng(0).standard_normal((CHAINS, p))
kernel = NUTS(potential_fn=potential, dense_mass=problem == "logistic", max_tree_depth=MAX_DEPTH[problem])
sampler = MCMC(kernel, num_warmup=NUM_WARMUP[problem], num_samples=NUM_DRAWS[problem], num_chains=CHAINS,
               chain_method="vectorized", progress_bar=False)
sampler.warmup(jax.random.PRNGKey(0), init_params=jnp.asarray(start))
times, parts = [], []
for run in range(RUNS):
    sampler.post_warmup_state = sampler.last_state
    began = time.process_time()
    sampler.run(jax.random.PRNGKey(1 + run))
    parts.append(np.asarray(jax.block_until_ready(sampler.get_samples(group_by_chain=True))))
    times.append(time.process_time() - began)
    print("CPU seconds of a run:", times[-1], file=sys.stderr)
draws, seconds = np.concatenate(parts, axis=1), RUNS * min(times)
monitored = draws if problem == "logistic" else np.asarray(jax.vmap(jax.vmap(lambda t: forward(t, jnp.asarray(NEW))))(draws))
np.savez(file, monitored=monitored, seconds=seconds)
