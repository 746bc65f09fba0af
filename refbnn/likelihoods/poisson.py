"""Poisson likelihood with log link, Eq. (poisson)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln

from refbnn.likelihoods import outcomes, targets
from refbnn.likelihoods.independent import IndependentOutputs


@dataclass(frozen=True)
class Poisson(IndependentOutputs):
    """y_k ~ Poisson(exp f_k): ℓ = exp f − y f + log y!. Canonical. Overflows to infinity for f > 709, as the truth does."""

    def check_targets(self, y, num_data, num_outputs):
        """Return y as float64 (n k) of counts, or raise ValueError."""
        return targets.counts(super().check_targets(y, num_data, num_outputs))

    def log_density(self, f, y):
        """y f − exp f − log y!."""
        return y * f - np.exp(f) - gammaln(y + 1)

    def first_derivative(self, f, y):
        """exp f − y."""
        return np.exp(f) - y

    def second_derivative(self, f, y):
        """exp f."""
        return np.exp(f)

    def third_derivative(self, f, y):
        """exp f."""
        return np.exp(f)

    def information(self, f):
        """exp f."""
        return np.exp(f)

    def mean(self, f):
        """exp f."""
        return np.exp(f)

    def output_variance(self, f):
        """exp f."""
        return np.exp(f)

    def sample(self, f, rng):
        """A Poisson draw with rate exp f."""
        return rng.poisson(np.exp(f)).astype(float)

    def output_outcomes(self, f):
        """0, 1, 2, ... until the tail is below round-off."""
        return outcomes.counts(lambda y: self.log_density(f, y), self.mean(f))
