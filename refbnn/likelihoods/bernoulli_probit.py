"""Bernoulli likelihood with probit link, Eq. (bernoulli-probit)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import erfcx, log_ndtr, ndtr

from refbnn.likelihoods import outcomes, targets
from refbnn.likelihoods.independent import IndependentOutputs

_TAIL = 1.5  # from here on the continued fraction of Mills' ratio converges to round-off in _DEPTH steps
_DEPTH = 300


@dataclass(frozen=True)
class BernoulliProbit(IndependentOutputs):
    """y_k in {0, 1}, P(y_k = 1) = Φ(f_k): ℓ = −log Φ(u), u = (2y − 1) f. Not canonical; Λ > 0.

    With κ = φ(u)/Φ(u): r = −(2y − 1) κ, Λ = κ (κ + u), T = (2y − 1) κ (1 − (κ + u)(2κ + u)). For u << 0 these cancel;
    there they are taken from the continued fraction of Mills' ratio (Laplace 1805), t = −u:
    κ = t + δ, δ = 1/(t + ε), ε = 2/(t + η), η = 3/(t + ζ), ..., in which T = (2y − 1) κ δ² ε (ε − η).
    """

    bounded = True  # targets of a finite set: where |f| is large they have no noise

    def check_targets(self, y, num_data, num_outputs):
        """Return y as float64 (n k) of zeros and ones, or raise ValueError."""
        return targets.binary(super().check_targets(y, num_data, num_outputs))

    def log_density(self, f, y):
        """log Φ(u)."""
        return log_ndtr((2 * y - 1) * f)

    def first_derivative(self, f, y):
        """−(2y − 1) κ."""
        return (1 - 2 * y) * _hazard((2 * y - 1) * f)

    def second_derivative(self, f, y):
        """κ (κ + u)."""
        u = (2 * y - 1) * f
        kappa, tail = _hazard(u), u < -_TAIL
        slope = kappa + u
        slope[tail] = _tail(u[tail])[0]
        return kappa * slope

    def third_derivative(self, f, y):
        """(2y − 1) κ (1 − (κ + u)(2κ + u)) = (2y − 1) κ δ² ε (ε − η)."""
        u = (2 * y - 1) * f
        kappa, tail = _hazard(u), u < -_TAIL
        bracket = 1 - (kappa + u) * (2 * kappa + u)
        delta, epsilon, difference = _tail(u[tail])
        bracket[tail] = delta**2 * epsilon * difference
        return (2 * y - 1) * kappa * bracket

    def information(self, f):
        """φ(f)²/(Φ(f) Φ(−f))."""
        return _hazard(f) * _hazard(-f)

    def mean(self, f):
        """Φ(f)."""
        return ndtr(f)

    def output_variance(self, f):
        """Φ(f) Φ(−f)."""
        return ndtr(f) * ndtr(-f)

    def sample(self, f, rng):
        """1 with probability Φ(f)."""
        return (rng.random(f.shape) < ndtr(f)).astype(float)

    def output_outcomes(self, f):
        """0 and 1 with their probabilities."""
        return outcomes.levels(np.stack([ndtr(-f), ndtr(f)]))


def _hazard(u: np.ndarray) -> np.ndarray:
    """κ = φ(u)/Φ(u) = √(2/π)/erfcx(−u/√2)."""
    return np.sqrt(2 / np.pi) / erfcx(-u / np.sqrt(2))


def _tail(u: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(δ, ε, ε − η) for u < −3/2, with ε − η = (2ζ − 3η − t)/((t + η)(t + ζ)): nothing cancels."""
    t = -u
    zeta = np.zeros_like(t)
    for numerator in range(_DEPTH, 3, -1):
        zeta = numerator / (t + zeta)
    eta = 3 / (t + zeta)
    epsilon = 2 / (t + eta)
    return 1 / (t + epsilon), epsilon, (2 * zeta - 3 * eta - t) / ((t + eta) * (t + zeta))
