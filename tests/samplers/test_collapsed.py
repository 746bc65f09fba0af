"""Hamiltonian Monte Carlo on the hidden weights alone, the output layer integrated out, beside the sampler of all weights."""

from __future__ import annotations

import numpy as np

from refbnn import Mlp, Posterior, activations, likelihoods, priors
from refbnn.cubature import collapse
from refbnn.precision import Diagonal
from refbnn.samplers import EllipticalSlice, Hmc, run
from tests.judge import mean_agrees

CHAINS = 250


def test_collapsed_and_full_chains_agree_in_function_space():
    """E f and E f² at three inputs, from chains that share nothing: differences of 0.35 standard deviations are seen."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(7, 1))
    post = Posterior(Mlp((1, 2, 1), activations.tanh), likelihoods.Normal(0.2), priors.isotropic(7, 0.8), X, np.sin(2 * X))
    hidden, X_new = collapse(post), np.array([[-1.0], [0.2], [1.5]])
    start = post.prior.sample(rng, (CHAINS,))
    full = run(Hmc(0.12, 9, Diagonal(np.ones(7))), post, start, 60, 1, width=CHAINS).draws[:, 20:]
    f = post.net.forward(full, X_new)[..., 0]
    spread = f.std((0, 1))
    for kernel in (Hmc(0.3, 5, Diagonal(np.ones(4))), EllipticalSlice()):
        u = run(kernel, hidden, start[:, :4], 60, 2, width=CHAINS).draws[:, 20:]
        mean, covariance = hidden.given(u).outputs(X_new)
        mean, square = mean[..., 0], mean[..., 0] ** 2 + covariance[..., 0, 0]
        both = [np.concatenate([first / spread, second / spread**2], axis=-1).mean(1)
                for first, second in ((f, f**2), (mean, square))]
        mean_agrees(both[0] - both[1], 0.0, 0.7)
