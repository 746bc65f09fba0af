"""Poisson likelihood with square link, Eq. (poisson-square)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln, xlogy

from refbnn.likelihoods import outcomes, targets
from refbnn.likelihoods.independent import IndependentOutputs


@dataclass(frozen=True)
class PoissonSquare(IndependentOutputs):
    """y_k ~ Poisson(f_k²): ℓ = f² − 2y log |f| + log y!. Not canonical; Λ = 2 + 2y/f² > 0 and F = 4 whatever f is.

    The link stabilises the variance of the score. It is not one-to-one (f and −f give the same rate), and at f = 0, where only
    y = 0 is possible, the family is not regular: there F = 4 is the limit, and y > 0 gives infinities, as the truth does.
    """

    def check_targets(self, y, num_data, num_outputs):
        """Return y as float64 (n k) of counts, or raise ValueError."""
        return targets.counts(super().check_targets(y, num_data, num_outputs))

    def log_density(self, f, y):
        """2y log |f| − f² − log y!."""
        return xlogy(2 * y, np.abs(f)) - f**2 - gammaln(y + 1)

    def first_derivative(self, f, y):
        """2f − 2y/f."""
        return 2 * f - 2 * _ratio(y, f)

    def second_derivative(self, f, y):
        """2 + 2y/f²."""
        return 2 + 2 * _ratio(y, f**2)

    def third_derivative(self, f, y):
        """−4y/f³."""
        return -4 * _ratio(y, f**3)

    def information(self, f):
        """4."""
        return np.full(f.shape, 4.0)

    def mean(self, f):
        """f²."""
        return f**2

    def output_variance(self, f):
        """f²."""
        return f**2

    def sample(self, f, rng):
        """A Poisson draw with rate f²."""
        return rng.poisson(f**2).astype(float)

    def output_outcomes(self, f):
        """0, 1, 2, ... until the tail is below round-off."""
        return outcomes.counts(lambda y: self.log_density(f, y), self.mean(f))


def _ratio(y: np.ndarray, power: np.ndarray) -> np.ndarray:
    """y/fᵐ, and 0 for y = 0 also at f = 0."""
    y, power = np.broadcast_arrays(y, power)
    return np.divide(y, power, out=np.zeros(y.shape), where=y > 0)
