"""Bernoulli likelihood with complementary log-log link, Eq. (bernoulli-cloglog)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refbnn.likelihoods import outcomes, targets
from refbnn.likelihoods.independent import IndependentOutputs
from refbnn.likelihoods.special import phi1, phi2

_ALMOST_SURE = 7.0  # above, exp(−exp f) < 1e-470: for y = 1 every quantity underflows to zero, here as there


@dataclass(frozen=True)
class BernoulliCloglog(IndependentOutputs):
    """y_k in {0, 1}, P(y_k = 0) = exp(−L), L = exp f_k: ℓ = L for y = 0, −log(1 − exp(−L)) for y = 1. Not canonical; Λ > 0.

    For y = 1, with q = L/(exp L − 1) = 1/φ₁(L) and m = L + q − 1 = L φ₂(−L)/φ₁(−L):
    r = −q, Λ = q m, T = q (L − m² − q m). For y = 0 they are L, which overflows for f > 709, as the truth does.
    """

    bounded = True  # targets of a finite set: where |f| is large they have no noise

    def check_targets(self, y, num_data, num_outputs):
        """Return y as float64 (n k) of zeros and ones, or raise ValueError."""
        return targets.binary(super().check_targets(y, num_data, num_outputs))

    def log_density(self, f, y):
        """−L, or log(1 − exp(−L)) = f + log φ₁(−L)."""
        L = _rate(f)
        positive = np.where(f < 0, f + np.log(phi1(-L)), np.log1p(-np.exp(-np.maximum(L, 1.0))))
        return np.where(y == 1, positive, -_exp(f, y))

    def first_derivative(self, f, y):
        """L, or −q."""
        return np.where(y == 1, -1 / phi1(_rate(f)), _exp(f, y))

    def second_derivative(self, f, y):
        """L, or q m."""
        q, m, _ = _parts(f)
        return np.where(y == 1, q * m, _exp(f, y))

    def third_derivative(self, f, y):
        """L, or q (L − m² − q m)."""
        q, m, L = _parts(f)
        return np.where(y == 1, q * (L - m**2 - q * m), _exp(f, y))

    def information(self, f):
        """L²/(exp L − 1) = L q."""
        q, _, L = _parts(f)
        return L * q

    def mean(self, f):
        """1 − exp(−L)."""
        return -np.expm1(-_rate(f))

    def output_variance(self, f):
        """exp(−L) (1 − exp(−L))."""
        return np.exp(-_rate(f)) * self.mean(f)

    def sample(self, f, rng):
        """1 with probability 1 − exp(−L)."""
        return (rng.random(f.shape) < self.mean(f)).astype(float)

    def output_outcomes(self, f):
        """0 and 1 with their probabilities."""
        return outcomes.levels(np.stack([np.exp(-_rate(f)), self.mean(f)]))


def _rate(f: np.ndarray) -> np.ndarray:
    """L = exp f, or exp 7 above f = 7, where exp(−L) is zero either way."""
    return np.exp(np.minimum(f, _ALMOST_SURE))


def _exp(f: np.ndarray, y: np.ndarray) -> np.ndarray:
    """exp f where y = 0, 0 where y = 1, so that a large f with y = 1 does not overflow."""
    f, y = np.broadcast_arrays(f, y)
    return np.exp(f, out=np.zeros(f.shape), where=y == 0)


def _parts(f: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(q, m, L) of y = 1."""
    L = _rate(f)
    return 1 / phi1(L), L * phi2(-L) / phi1(-L), L
