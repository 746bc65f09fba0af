"""Importance sampling: the posterior over a density that can be drawn from."""

from __future__ import annotations

import numpy as np

from refbnn.evidence.estimate import Estimate, of_weights
from refbnn.shapes import as_count, expect_methods


def importance(target: object, q: object, rng: np.random.Generator, num_draws: int) -> Estimate:
    """log (1/t) Σ p(y, θ_i)/q(θ_i) with θ_i ~ q, Eq. (importance): q a Laplace or variational Gaussian, a Mixture, a Defensive.

    E_q[log w] is the ELBO and t of them give its tighter relatives (Burda et al. 2016). Raises Refused when the weights rest on
    fewer than 25 draws or their Pareto k is above 0.7, ValueError for fewer than 25 draws.
    """
    expect_methods("q", q, "log_prob", "sample")
    theta = q.sample(rng, (as_count("num_draws", num_draws, 25),))
    return of_weights(target.log_prob(theta) - q.log_prob(theta)).supported()
