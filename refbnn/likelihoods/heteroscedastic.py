"""Normal likelihood whose mean and log variance are both outputs, Eq. (heteroscedastic)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refbnn.likelihoods import outcomes
from refbnn.likelihoods.pairs import PairedOutputs


@dataclass(frozen=True)
class Heteroscedastic(PairedOutputs):
    """y_t ~ N(μ_t, exp s_t), outputs (μ_1, s_1, μ_2, s_2, ...): ℓ = ½ e² exp(−s) + ½ s + ½ log 2π, e = y − μ.

    Not canonical: det Λ = −½ e² exp(−2s), Eq. (heteroscedastic-indefinite), is negative wherever y ≠ μ, so Λ is indefinite at
    almost every datum and `factor` raises ValueError; the Fisher matrix diag(exp(−s), ½) is positive definite.
    """

    def log_density(self, mu, s, y):
        """−½ e² exp(−s) − ½ s − ½ log 2π."""
        return -0.5 * (y - mu) ** 2 * np.exp(-s) - 0.5 * s - 0.5 * np.log(2 * np.pi)

    def first_derivatives(self, mu, s, y):
        """(−e exp(−s), ½ − ½ e² exp(−s))."""
        e, precision = y - mu, np.exp(-s)
        return -e * precision, 0.5 - 0.5 * e**2 * precision

    def second_derivatives(self, mu, s, y):
        """exp(−s) (1, e, ½ e²)."""
        e, precision = y - mu, np.exp(-s)
        return precision, e * precision, 0.5 * e**2 * precision

    def third_derivatives(self, mu, s, y):
        """−exp(−s) (0, 1, e, ½ e²)."""
        e, precision = y - mu, np.exp(-s)
        return np.zeros_like(e), -precision, -e * precision, -0.5 * e**2 * precision

    def information(self, mu, s):
        """(exp(−s), 0, ½)."""
        return np.exp(-s), 0.0, 0.5

    def target_mean(self, mu, s):
        """μ."""
        return mu

    def target_variance(self, mu, s):
        """exp s."""
        return np.exp(s)

    def draw(self, mu, s, rng):
        """μ + exp(s/2) ε."""
        return mu + np.exp(s / 2) * rng.standard_normal(mu.shape)

    def target_outcomes(self, mu, s):
        """Ten Gauss-Hermite points, exact for polynomials in y of degree 19 or less."""
        return outcomes.normal(mu, np.exp(s / 2))
