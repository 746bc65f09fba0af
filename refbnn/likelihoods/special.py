"""Special functions that keep their digits where the textbook expression cancels, and that scipy.special does not have."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import exprel, gammaln, polygamma, psi

# B_2k / (2k (2k − 1)), k = 1, ..., 12: the coefficients of Stirling's series
_BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510, 43867 / 798, -174611 / 330,
              854513 / 138, -236364091 / 2730)
_STIRLING = tuple(b / (2 * k * (2 * k - 1)) for k, b in enumerate(_BERNOULLI, start=1))
_LARGE = 12.0  # from here on twelve terms of Stirling's series, and of its derivatives, are exact to round-off


def phi1(x: np.ndarray) -> np.ndarray:
    """φ₁(x) = (eˣ − 1)/x, φ₁(0) = 1."""
    return exprel(x)


def phi2(x: np.ndarray) -> np.ndarray:
    """φ₂(x) = (eˣ − 1 − x)/x² = Σ_j xʲ/(j + 2)!, φ₂(0) = ½; the power series for |x| < 1."""
    x = np.asarray(x, dtype=float)
    small = np.abs(x) < 1
    t = np.where(small, x, 0.0)
    series = np.zeros_like(t)
    for j in range(18, -1, -1):
        series = series * t + 1 / math.factorial(j + 2)
    far = np.where(small, 1.0, x)
    return np.where(small, series, (np.expm1(far) - far) / far**2)


def log_gamma_step(a: np.ndarray, d: np.ndarray) -> np.ndarray:
    """log Γ(a + d) − log Γ(a) for a > 0, d >= 0, without the cancellation of two large logarithms."""
    return (a - 0.5) * np.log1p(d / a) + d * np.log(a + d) - d + stirling(a + d) - stirling(a)


def stirling(a: np.ndarray, derivative: int = 0) -> np.ndarray:
    """Stirling's remainder c(a) = log Γ(a) − (a − ½) log a + a − ½ log 2π, a > 0, or one of its derivatives 1 to 3 by log a."""
    a = np.asarray(a, dtype=float)
    large = a >= _LARGE
    series = _stirling_series(np.where(large, a, _LARGE), derivative)
    return np.where(large, series, _stirling_direct(np.where(large, 1.0, a), derivative))


def _stirling_series(a: np.ndarray, m: int) -> np.ndarray:
    """Σ_k s_k (1 − 2k)ᵐ a^(1 − 2k), by Horner's rule in a⁻²."""
    total = np.zeros_like(a)
    for k in range(len(_STIRLING), 0, -1):
        total = total / a**2 + (1 - 2 * k) ** m * _STIRLING[k - 1]
    return total / a


def _stirling_direct(a: np.ndarray, m: int) -> np.ndarray:
    """The definition, derivatives through ψ(1 + a) = ψ(a) + 1/a: no cancellation as a -> 0, at most four digits lost below 12."""
    log, psi1, psi2 = np.log(a), polygamma(1, 1 + a), polygamma(2, 1 + a)
    definitions = (
        gammaln(a) - (a - 0.5) * log + a - 0.5 * math.log(2 * math.pi),
        a * (psi(1 + a) - log) - 0.5,
        a * (psi(1 + a) - log + a * psi1 - 1),
        a * (psi(1 + a) - log + 3 * a * psi1 + a**2 * psi2 - 2),
    )
    return definitions[m]
