"""Poisson likelihood with softplus link, Eq. (poisson-softplus)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, gammaln

from refbnn.likelihoods import outcomes, targets
from refbnn.likelihoods.independent import IndependentOutputs
from refbnn.likelihoods.special import phi1, phi2


@dataclass(frozen=True)
class PoissonSoftplus(IndependentOutputs):
    """y_k ~ Poisson(μ), μ = log(1 + exp f_k): ℓ = μ − y log μ + log y!. Not canonical; Λ > 0.

    With s = σ(f), c = σ(−f) = exp(−μ), h = s/μ = φ₁(−μ) and D = h − c = μ exp(−μ) φ₂(μ), so that h′ = −hD:
    r = s − y h, Λ = s c + y h D, T = s c (c − s) + y h (s c − D (D + h)). Nothing is divided by a vanishing rate.
    """

    def check_targets(self, y, num_data, num_outputs):
        """Return y as float64 (n k) of counts, or raise ValueError."""
        return targets.counts(super().check_targets(y, num_data, num_outputs))

    def log_density(self, f, y):
        """y log μ − μ − log y!, log μ = f − log φ₁(μ) where the rate is small."""
        mu = self.mean(f)
        small = np.where(f < 0, mu, 1.0)
        log_mu = np.where(f < 0, f - np.log(phi1(small)), np.log(np.maximum(mu, 0.5)))
        return y * log_mu - mu - gammaln(y + 1)

    def first_derivative(self, f, y):
        """s − y h."""
        return expit(f) - y * phi1(-self.mean(f))

    def second_derivative(self, f, y):
        """s c + y h D."""
        s, c, h, D = _parts(f)
        return s * c + y * h * D

    def third_derivative(self, f, y):
        """s c (c − s) + y h (s c − D (D + h))."""
        s, c, h, D = _parts(f)
        return s * c * (c - s) + y * h * (s * c - D * (D + h))

    def information(self, f):
        """s²/μ = s h."""
        return expit(f) * phi1(-self.mean(f))

    def mean(self, f):
        """μ = log(1 + exp f)."""
        return np.logaddexp(0, f)

    def output_variance(self, f):
        """μ."""
        return self.mean(f)

    def sample(self, f, rng):
        """A Poisson draw with rate μ."""
        return rng.poisson(self.mean(f)).astype(float)

    def output_outcomes(self, f):
        """0, 1, 2, ... until the tail is below round-off."""
        return outcomes.counts(lambda y: self.log_density(f, y), self.mean(f))


def _parts(f: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(s, c, h, D); D = h − c without the cancellation at small rates."""
    mu = np.logaddexp(0, f)
    c, h, small = expit(-f), phi1(-mu), np.minimum(mu, 1.0)
    return expit(f), c, h, np.where(mu < 1, small * np.exp(-small) * phi2(small), h - c)
