"""The real BlackJAX package: its kernels and its variational inference on the density of the problem; nothing is converted.

tests/peers/README.md makes the environment. The log density is plain jax in double precision, prior included. Draws are those of
NUTS after window adaptation, each chain with its own. The optimum is where `fullrank_vi` and `meanfield_vi` end under shrinking
steps of Adam; their normals are replaced by 2p points with the moments of a standard normal up to the second, so that for a
Gaussian posterior their bound is exact. Of other posteriors only a few digits could come, hence a declared gap.
"""
from __future__ import annotations

from functools import cached_property
from unittest import mock

import blackjax
import jax
import jax.numpy as jnp
import optax
from jax import lax, random, vmap

from refbnn.conform.adapters.jax import State as _State, answers, sigma_points

jax.config.update("jax_enable_x64", True)
name, version = "blackjax", blackjax.__version__
conventions = {"vi.sign@vi.optimum.*": "negative"}  # what it calls elbo is the loss
CHAINS, WARMUP, DRAWS = 16, 500, 3000
STEPS, FIRST, LAST = 30_000, 0.1, 1e-10


def unsupported(problem, quantity: str) -> str | None:
    """Optima of what is not Gaussian."""
    gaussian = problem.likelihood == "normal" and problem.activation == "identity" and len(problem.sizes) == 2
    return None if gaussian or not quantity.startswith("vi.optimum") else "stochastic gradients end there only approximately"


class State:
    """The density and what runs on it."""

    def __init__(self, problem):
        self.problem, self.density = problem, _State(problem).joint

    @cached_property
    def at(self):
        """A state of its Hamiltonian kernels: position, log density and gradient."""
        return blackjax.hmc.init(jnp.array(self.problem.theta), self.density)

    @cached_property
    def fullrank(self):
        return self.optimum(blackjax.fullrank_vi)

    @cached_property
    def meanfield(self):
        return self.optimum(blackjax.meanfield_vi)

    def optimum(self, method):
        """The state at the end, and the package's bound there."""
        points = sigma_points(len(self.problem.theta))
        rate = optax.exponential_decay(FIRST, STEPS, LAST / FIRST)
        algorithm = method(self.density, optax.adam(rate), num_samples=len(points))

        def step(state, key):
            state, info = algorithm.step(key, state)
            return state, info.elbo
        with mock.patch.object(random, "normal", lambda key, shape: points):
            state, bounds = jax.jit(lambda start, keys: lax.scan(step, start, keys))(
                algorithm.init(jnp.array(self.problem.theta)), random.split(random.key(0), STEPS))
        return state, bounds[-1]


def _covariance(s):
    """C Cᵀ of the package's parameters: logarithms of the diagonal first, then what is below it, row by row."""
    state, size = s.fullrank[0], len(s.problem.theta)
    C = jnp.diag(jnp.exp(state.chol_params[:size])).at[jnp.tril_indices(size, -1)].set(state.chol_params[size:])
    return C @ C.T


def _draws(s):
    """NUTS, each chain from a draw of the prior, adapted by itself."""
    def chain(key):
        start, warm, run = random.split(key, 3)
        position = random.multivariate_normal(start, jnp.array(s.problem.prior_mean), jnp.linalg.inv(s.problem.prior_precision))
        adaptation = blackjax.window_adaptation(blackjax.nuts, s.density, is_mass_matrix_diagonal=False,
                                                target_acceptance_rate=0.9)
        (state, parameters), _ = adaptation.run(warm, position, WARMUP)
        kernel = blackjax.nuts(s.density, **parameters)

        def step(state, key):
            return (kernel.step(key, state)[0],) * 2
        return lax.scan(step, state, random.split(run, DRAWS))[1].position
    return jax.jit(vmap(chain))(random.split(random.key(1), CHAINS))


def prepare(problem) -> State:
    """The state that every function below takes."""
    return State(problem)


log_joint = answers(lambda s: s.at.logdensity)
vi_optimum_mean = answers(lambda s: s.fullrank[0].mu)
vi_optimum_covariance = answers(_covariance)
vi_optimum_elbo = answers(lambda s: s.fullrank[1])
vi_optimum_meanfield_mean = answers(lambda s: s.meanfield[0].mu)
vi_optimum_meanfield_variance = answers(lambda s: jnp.exp(2 * s.meanfield[0].rho))
vi_optimum_meanfield_elbo = answers(lambda s: s.meanfield[1])
posterior_draws = answers(_draws)
