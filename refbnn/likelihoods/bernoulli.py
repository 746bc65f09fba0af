"""Bernoulli likelihood with logit link, Eq. (bernoulli)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from refbnn.likelihoods import outcomes, targets
from refbnn.likelihoods.independent import IndependentOutputs


@dataclass(frozen=True)
class Bernoulli(IndependentOutputs):
    """y_k in {0, 1}, P(y_k = 1) = p = σ(f_k): ℓ = log(1 + exp((1 − 2y) f)). Canonical.

    Every formula is written in σ(f) and σ(−f), never in 1 − p, Eq. (saturation), so that saturated outputs keep all their digits.
    """

    bounded = True  # targets of a finite set: where |f| is large they have no noise

    def check_targets(self, y, num_data, num_outputs):
        """Return y as float64 (n k) of zeros and ones, or raise ValueError."""
        return targets.binary(super().check_targets(y, num_data, num_outputs))

    def log_density(self, f, y):
        """−log(1 + exp((1 − 2y) f))."""
        return -np.logaddexp(0, (1 - 2 * y) * f)

    def first_derivative(self, f, y):
        """p − y = (1 − 2y) σ((1 − 2y) f)."""
        sign = 1 - 2 * y
        return sign * expit(sign * f)

    def second_derivative(self, f, y):
        """p(1 − p)."""
        return self.information(f)

    def third_derivative(self, f, y):
        """p(1 − p)(1 − 2p)."""
        return -self.information(f) * np.tanh(f / 2)

    def information(self, f):
        """p(1 − p)."""
        return expit(f) * expit(-f)

    def mean(self, f):
        """p = σ(f)."""
        return expit(f)

    def output_variance(self, f):
        """p(1 − p)."""
        return self.information(f)

    def sample(self, f, rng):
        """1 with probability σ(f)."""
        return (rng.random(f.shape) < expit(f)).astype(float)

    def output_outcomes(self, f):
        """0 and 1 with their probabilities."""
        return outcomes.levels(np.stack([expit(-f), expit(f)]))
