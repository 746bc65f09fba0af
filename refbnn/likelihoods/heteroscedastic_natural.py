"""Normal likelihood in its natural parameters, and with a positive link on the second one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refbnn.likelihoods import outcomes
from refbnn.likelihoods.pairs import PairedOutputs


@dataclass(frozen=True)
class HeteroscedasticNatural(PairedOutputs):
    """y_t ~ N(μ, v), outputs the natural parameters η₁ = μ/v, η₂ = −1/(2v), interleaved (η₁, η₂, η₁, η₂, ...). Canonical.

    Eq. (heteroscedastic-natural): ℓ = −η₁ y − η₂ y² − η₁²/(4η₂) − ½ log(−2η₂) + ½ log 2π, so that Λ = F = Cov(y, y²) and T, the
    third cumulant of (y, y²), do not depend on y. η₂ < 0 is a constraint on the network: a plain Mlp does not obey it (see
    HeteroscedasticPrecision); every method raises ValueError where it is broken.
    """

    log_concave = True  # Λ is never indefinite

    def log_density(self, eta1, eta2, y):
        """−½ (y − μ)²/v − ½ log v − ½ log 2π."""
        mu, v = _moments(eta1, eta2)
        return -0.5 * (y - mu) ** 2 / v - 0.5 * np.log(v) - 0.5 * np.log(2 * np.pi)

    def first_derivatives(self, eta1, eta2, y):
        """(μ − y, μ² + v − y²)."""
        mu, v = _moments(eta1, eta2)
        return mu - y, (mu - y) * (mu + y) + v

    def second_derivatives(self, eta1, eta2, y):
        """(v, 2μv, 4μ²v + 2v²)."""
        return self.information(eta1, eta2)

    def third_derivatives(self, eta1, eta2, y):
        """(0, 2v², 8μv², 8v³ + 24μ²v²), the third cumulants of (y, y²)."""
        mu, v = _moments(eta1, eta2)
        return np.zeros_like(v), 2 * v**2, 8 * mu * v**2, 8 * v**3 + 24 * mu**2 * v**2

    def root(self, eta1, eta2, y):
        """(√v, 0, 2μ√v, √2 v), the Cholesky factor without a subtraction."""
        mu, v = _moments(eta1, eta2)
        return np.sqrt(v), 0.0, 2 * mu * np.sqrt(v), np.sqrt(2) * v

    def information(self, eta1, eta2):
        """(v, 2μv, 4μ²v + 2v²)."""
        mu, v = _moments(eta1, eta2)
        return v, 2 * mu * v, 4 * mu**2 * v + 2 * v**2

    def target_mean(self, eta1, eta2):
        """μ = −η₁/(2η₂)."""
        return _moments(eta1, eta2)[0]

    def target_variance(self, eta1, eta2):
        """v = −1/(2η₂)."""
        return _moments(eta1, eta2)[1]

    def draw(self, eta1, eta2, rng):
        """μ + √v ε."""
        mu, v = _moments(eta1, eta2)
        return mu + np.sqrt(v) * rng.standard_normal(v.shape)

    def target_outcomes(self, eta1, eta2):
        """Ten Gauss-Hermite points, exact for polynomials in y of degree 19 or less."""
        mu, v = _moments(eta1, eta2)
        return outcomes.normal(mu, np.sqrt(v))


@dataclass(frozen=True)
class HeteroscedasticPrecision(PairedOutputs):
    """y_t ~ N(η/τ, 1/τ), τ = exp b, outputs (η, b) interleaved: the natural parameters with the link η₂ = −½ exp b.

    Eq. (heteroscedastic-precision): ℓ = ½ (τy − η)²/τ − ½ b + ½ log 2π. Any network may give these outputs. The link is not
    linear, so Λ is not the Fisher matrix: det Λ = ½ (y² − μ²) is negative where |y| < |μ|, and `factor` raises ValueError there.
    The Fisher matrix [[1/τ, −μ], [−μ, τμ² + ½]] (μ = η/τ) is F_f = hᵀ F_η h with h = diag(1, −½ τ): the Gauss-Newton matrix
    split at the natural parameters (Immer et al. 2023), link counted as part of the network, is the Fisher matrix of this
    likelihood.
    """

    def log_density(self, eta, b, y):
        """−½ τ (y − μ)² + ½ b − ½ log 2π."""
        return -0.5 * np.exp(b) * (y - eta * np.exp(-b)) ** 2 + 0.5 * b - 0.5 * np.log(2 * np.pi)

    def first_derivatives(self, eta, b, y):
        """(μ − y, ½ τ (y − μ)(y + μ) − ½)."""
        mu = eta * np.exp(-b)
        return mu - y, 0.5 * np.exp(b) * (y - mu) * (y + mu) - 0.5

    def second_derivatives(self, eta, b, y):
        """(1/τ, −μ, ½ τ (y² + μ²))."""
        mu = eta * np.exp(-b)
        return np.exp(-b), -mu, 0.5 * np.exp(b) * (y**2 + mu**2)

    def third_derivatives(self, eta, b, y):
        """(0, −1/τ, μ, ½ τ (y² − μ²))."""
        mu = eta * np.exp(-b)
        return np.zeros_like(mu), -np.exp(-b), mu, 0.5 * np.exp(b) * (y - mu) * (y + mu)

    def information(self, eta, b):
        """(1/τ, −μ, τ μ² + ½)."""
        mu = eta * np.exp(-b)
        return np.exp(-b), -mu, np.exp(b) * mu**2 + 0.5

    def target_mean(self, eta, b):
        """μ = η/τ."""
        return eta * np.exp(-b)

    def target_variance(self, eta, b):
        """1/τ."""
        return np.exp(-b)

    def draw(self, eta, b, rng):
        """μ + ε/√τ."""
        return eta * np.exp(-b) + np.exp(-b / 2) * rng.standard_normal(eta.shape)

    def target_outcomes(self, eta, b):
        """Ten Gauss-Hermite points, exact for polynomials in y of degree 19 or less."""
        return outcomes.normal(eta * np.exp(-b), np.exp(-b / 2))


def _moments(eta1: np.ndarray, eta2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if not np.all(eta2 < 0):
        *_, datum, target = np.argwhere(~(eta2 < 0))[0]
        raise ValueError(
            f"HeteroscedasticNatural: expected outputs η₂ < 0, got {eta2[~(eta2 < 0)][0]:g} for datum {datum}, target {target}; "
            "a network without that constraint needs HeteroscedasticPrecision"
        )
    v = -0.5 / eta2
    return eta1 * v, v
