"""Gamma likelihood with log mean, shape known or a second output."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import gammainc

from refbnn.likelihoods import outcomes, targets
from refbnn.likelihoods.independent import IndependentOutputs, aligned
from refbnn.likelihoods.pairs import PairedOutputs
from refbnn.likelihoods.special import phi2, stirling
from refbnn.shapes import Outputs, Targets, as_positive


@dataclass(frozen=True)
class Gamma(IndependentOutputs):
    """y_k > 0 with mean m = exp f_k and variance m²/α, α the shape. Not canonical (that would be the link −α/m); Λ > 0.

    Eq. (gamma). With x = log y − f: ℓ = log y + α (exp x − 1 − x) − ½ log(α/2π) + c(α), c Stirling's remainder: the textbook form
    (α − 1) log y − αy/m + α log(α/m) − log Γ(α) without its cancellation for large α.
    """

    shape: float

    def __post_init__(self):
        object.__setattr__(self, "shape", as_positive("shape", self.shape))

    def check_targets(self, y, num_data, num_outputs):
        """Return y as float64 (n k) of positive numbers, or raise ValueError."""
        return targets.positive(super().check_targets(y, num_data, num_outputs))

    def log_density(self, f, y):
        """−log y − α (exp x − 1 − x) + ½ log(α/2π) − c(α)."""
        return _log_density(f, np.log(self.shape), y)

    def first_derivative(self, f, y):
        """α (1 − y/m) = −α (exp x − 1)."""
        return -self.shape * np.expm1(np.log(y) - f)

    def second_derivative(self, f, y):
        """α y/m."""
        return self.shape * np.exp(np.log(y) - f)

    def third_derivative(self, f, y):
        """−α y/m."""
        return -self.shape * np.exp(np.log(y) - f)

    def information(self, f):
        """α."""
        return np.full(f.shape, self.shape)

    def mean(self, f):
        """m = exp f."""
        return np.exp(f)

    def output_variance(self, f):
        """m²/α."""
        return np.exp(2 * f) / self.shape

    def sample(self, f, rng):
        """m times a Gamma(α) variable of mean 1."""
        return np.exp(f) * rng.gamma(self.shape, size=f.shape) / self.shape

    def distribution(self, f: Outputs, y: Targets) -> tuple[Outputs, Outputs]:
        """P(target <= y|f) of each output, and its density, both 0 for y <= 0: (*s n k)."""
        y = aligned(f, y)
        positive = y > 0
        density = np.exp(self.log_density(f, np.where(positive, y, 1.0)))
        return gammainc(self.shape, self.shape * np.maximum(y, 0.0) * np.exp(-f)), np.where(positive, density, 0.0)

    def output_outcomes(self, f):
        """Trapezoid rule in log y, to round-off also for logarithms of y. See `_rule`."""
        return _rule(f, np.full(f.shape, np.log(self.shape)))


@dataclass(frozen=True)
class HeteroscedasticGamma(PairedOutputs):
    """The Gamma likelihood with outputs (log m_1, log α_1, log m_2, log α_2, ...). Not canonical; Λ may be indefinite.

    Eq. (gamma-shape). With M = exp x − 1 − x: ℓ_a = −α (exp x − 1), ℓ_b = αM − ½ + c′ (a = log m, b = log α, primes of c by b).
    The Fisher matrix is diag(α, α² (ψ₁(α) − 1/α)), mean and shape being orthogonal; its second entry is ½ + c″ − c′.
    """

    def check_targets(self, y, num_data, num_outputs):
        """Return y as float64 (n t) of positive numbers, or raise ValueError."""
        return targets.positive(super().check_targets(y, num_data, num_outputs))

    def log_density(self, a, b, y):
        """−log y − αM + ½ log(α/2π) − c(α)."""
        return _log_density(a, b, y)

    def first_derivatives(self, a, b, y):
        """(−α (exp x − 1), αM − ½ + c′)."""
        x, alpha = np.log(y) - a, np.exp(b)
        return -alpha * np.expm1(x), alpha * _excess(x) - 0.5 + stirling(alpha, 1)

    def second_derivatives(self, a, b, y):
        """(α exp x, −α (exp x − 1), αM + c″)."""
        x, alpha = np.log(y) - a, np.exp(b)
        return alpha * np.exp(x), -alpha * np.expm1(x), alpha * _excess(x) + stirling(alpha, 2)

    def third_derivatives(self, a, b, y):
        """(−α exp x, α exp x, −α (exp x − 1), αM + c‴)."""
        x, alpha = np.log(y) - a, np.exp(b)
        return -alpha * np.exp(x), alpha * np.exp(x), -alpha * np.expm1(x), alpha * _excess(x) + stirling(alpha, 3)

    def information(self, a, b):
        """(α, 0, ½ + c″ − c′)."""
        alpha = np.exp(b)
        return alpha, 0.0, 0.5 + stirling(alpha, 2) - stirling(alpha, 1)

    def target_mean(self, a, b):
        """m = exp a."""
        return np.exp(a)

    def target_variance(self, a, b):
        """m²/α."""
        return np.exp(2 * a - b)

    def draw(self, a, b, rng):
        """m times a Gamma(α) variable of mean 1."""
        return np.exp(a - b) * rng.gamma(np.exp(b))

    def target_outcomes(self, a, b):
        """Trapezoid rule in log y, to round-off also for logarithms of y. See `_rule`."""
        return _rule(a, b)


def _excess(x: np.ndarray) -> np.ndarray:
    """M = exp x − 1 − x."""
    return x**2 * phi2(x)


def _log_density(a, b, y) -> np.ndarray:
    alpha = np.exp(b)
    return -np.log(y) - alpha * _excess(np.log(y) - a) + 0.5 * (b - np.log(2 * np.pi)) - stirling(alpha)


def _rule(a: np.ndarray, b: np.ndarray) -> outcomes.Rule:
    """Trapezoid rule in x = log(y/m), whose density exp(−αM(x)) √(α/2π) exp(−c(α)) is analytic: the error falls exponentially.

    The step h = 1/(2√(α + 5)) leaves an error below 1e-15 of their size in moments and logarithms of y, and the ends, where
    αM(x) > 50, leave out less. Raises ValueError where the targets of a small α, below 0.08 at mean 1, would underflow.
    """
    alpha = np.exp(b)
    h = 0.5 / np.sqrt(alpha + 5)
    left, right = 50 / alpha + 10 / np.sqrt(alpha), np.log1p(60 / alpha + 12 / np.sqrt(alpha))
    if (left - a > 700).any():
        raise ValueError(f"outcomes: expected targets that do not underflow, got a shape of {alpha.min():.3g}")
    size = np.ceil(((left + right) / h).max())
    x = (np.arange(size + 1).reshape(-1, *[1] * alpha.ndim)) * h - np.floor(left / h) * h
    weights = h * np.exp(-alpha * _excess(x) + 0.5 * np.log(alpha / (2 * np.pi)) - stirling(alpha))
    return np.exp(a + x), weights
