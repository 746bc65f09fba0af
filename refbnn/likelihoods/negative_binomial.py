"""Negative binomial likelihood with log mean, dispersion known or a second output."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, gammaln

from refbnn.likelihoods import outcomes, targets
from refbnn.likelihoods.independent import IndependentOutputs
from refbnn.likelihoods.pairs import PairedOutputs
from refbnn.likelihoods.special import log_gamma_step, phi2, stirling
from refbnn.shapes import as_positive


@dataclass(frozen=True)
class NegativeBinomial(IndependentOutputs):
    """Counts with mean μ = exp f_k and variance μ + μ²/ρ, ρ the dispersion: a Poisson whose rate has a Gamma(ρ) factor of mean 1.

    Eq. (negative-binomial): ℓ = −log [Γ(y + ρ)/(Γ(ρ) y!)] − ρ log(ρ/(ρ + μ)) − y log(μ/(ρ + μ)). Not canonical; Λ > 0. Written
    in σ = μ/(ρ + μ) and 1 − σ, logistic functions of f − log ρ, it is finite for all f. ρ -> ∞ is the Poisson likelihood.
    """

    dispersion: float

    def __post_init__(self):
        object.__setattr__(self, "dispersion", as_positive("dispersion", self.dispersion))

    def check_targets(self, y, num_data, num_outputs):
        """Return y as float64 (n k) of counts, or raise ValueError."""
        return targets.counts(super().check_targets(y, num_data, num_outputs))

    def log_density(self, f, y):
        """log [Γ(y + ρ)/(Γ(ρ) y!)] + ρ log(1 − σ) + y log σ."""
        return _log_density(f, np.log(self.dispersion), y)

    def first_derivative(self, f, y):
        """ρσ − y(1 − σ) = ρ(μ − y)/(ρ + μ)."""
        s, c = self._odds(f)
        return self.dispersion * s - y * c

    def second_derivative(self, f, y):
        """(ρ + y) σ(1 − σ)."""
        s, c = self._odds(f)
        return (self.dispersion + y) * s * c

    def third_derivative(self, f, y):
        """(ρ + y) σ(1 − σ)(1 − 2σ)."""
        s, c = self._odds(f)
        return (self.dispersion + y) * s * c * (c - s)

    def information(self, f):
        """ρσ = ρμ/(ρ + μ)."""
        return self.dispersion * self._odds(f)[0]

    def mean(self, f):
        """μ = exp f."""
        return np.exp(f)

    def output_variance(self, f):
        """μ + μ²/ρ."""
        return np.exp(f) * (1 + np.exp(f) / self.dispersion)

    def sample(self, f, rng):
        """A Poisson draw with rate μ times a Gamma(ρ) variable of mean 1."""
        return _draw(f, self.dispersion, rng)

    def output_outcomes(self, f):
        """0, 1, 2, ... until the tail is below round-off."""
        return outcomes.counts(lambda y: self.log_density(f, y), self.mean(f))

    def _odds(self, f):
        log_odds = f - np.log(self.dispersion)
        return expit(log_odds), expit(-log_odds)


@dataclass(frozen=True)
class HeteroscedasticNegativeBinomial(PairedOutputs):
    """The negative binomial with outputs (log μ_1, log ρ_1, log μ_2, log ρ_2, ...). Not canonical; Λ may be indefinite.

    Eq. (negative-binomial-dispersion). With σ = μ/(ρ + μ), x = log((ρ + y)/(ρ + μ)), t = exp(x) − 1 and Δ = c(ρ + y) − c(ρ), c
    Stirling's remainder: ℓ_a = ρσ − y(1 − σ), ℓ_b = ρ(t − x) − Δ′ − ½ y/(ρ + y) (a = log μ, b = log ρ, primes by b): terms of
    the size of the result, where the textbook form with digamma functions cancels as ρ grows. The Fisher matrix is diagonal
    (mean and dispersion are orthogonal); its second entry is a sum over counts.
    """

    def check_targets(self, y, num_data, num_outputs):
        """Return y as float64 (n t) of counts, or raise ValueError."""
        return targets.counts(super().check_targets(y, num_data, num_outputs))

    def log_density(self, a, b, y):
        """log [Γ(y + ρ)/(Γ(ρ) y!)] + ρ log(1 − σ) + y log σ."""
        return _log_density(a, b, y)

    def first_derivatives(self, a, b, y):
        """(ρσ − y(1 − σ), ρ(t − x) − Δ′ − ½ y/(ρ + y))."""
        rho, s, c, excess, _ = _parts(a, b, y)
        return rho * s - y * c, excess - _step(rho, y)[0] - 0.5 * y / (rho + y)

    def second_derivatives(self, a, b, y):
        """((ρ + y) σ(1 − σ), σ ℓ_a, ρ(t − x) − ρ²t²/(ρ + y) − Δ″ + ½ ρy/(ρ + y)²)."""
        rho, s, c, excess, t = _parts(a, b, y)
        total = rho + y
        last = excess - rho**2 * t**2 / total - _step(rho, y)[1] + 0.5 * rho * y / total**2
        return total * s * c, s * (rho * s - y * c), last

    def third_derivatives(self, a, b, y):
        """(Λ_aa (1 − 2σ), σ(1 − σ)(2(ρ + y)σ − y), σ (2σ − 1) ℓ_a, ∂Λ_bb/∂b)."""
        rho, s, c, excess, t = _parts(a, b, y)
        total = rho + y
        bend = rho**2 * t**2 * ((rho + 2 * rho * t - 2 * y) / total**2 - 1 / total)
        last = excess + bend - _step(rho, y)[2] + 0.5 * rho * y * (y - rho) / total**3
        return total * s * c * (c - s), s * c * (2 * total * s - y), s * (s - c) * (rho * s - y * c), last

    def information(self, a, b):
        """(ρσ, 0, E[ℓ_b²]), the expectation as a sum over counts."""
        y, weights = self.target_outcomes(a, b)
        return np.exp(b) * expit(a - b), 0.0, (weights * self.first_derivatives(a, b, y)[1] ** 2).sum(0)

    def target_mean(self, a, b):
        """μ = exp a."""
        return np.exp(a)

    def target_variance(self, a, b):
        """μ + μ²/ρ."""
        return np.exp(a) + np.exp(2 * a - b)

    def draw(self, a, b, rng):
        """A Poisson draw with rate μ times a Gamma(ρ) variable of mean 1."""
        return _draw(a, np.exp(b), rng)

    def target_outcomes(self, a, b):
        """0, 1, 2, ... until the tail is below round-off."""
        return outcomes.counts(lambda y: _log_density(a, b, y), np.exp(a))


def _log_density(a, b, y) -> np.ndarray:
    """log [Γ(y + ρ)/(Γ(ρ) y!)] + ρ log(1 − σ) + y log σ, ρ = exp b, σ = σ(a − b)."""
    rho = np.exp(b)
    chosen = log_gamma_step(rho, y) - gammaln(y + 1)
    return chosen - rho * np.logaddexp(0, a - b) - y * np.logaddexp(0, b - a)


def _parts(a, b, y):
    """(ρ, σ, 1 − σ, ρ(t − x), t)."""
    rho = np.exp(b)
    x = np.log1p(y / rho) - np.logaddexp(0, a - b)
    return rho, expit(a - b), expit(b - a), rho * x**2 * phi2(x), np.expm1(x)


def _step(rho, y) -> list[np.ndarray]:
    """The first three derivatives by b = log ρ of c(ρ + y) − c(ρ).

    Those of c(ρ + y) by Faà di Bruno's rule: w = ρ/(ρ + y) is ∂log(ρ + y)/∂b, and ∂w/∂b = w(1 − w).
    """
    w, rest, (s1, s2, s3) = rho / (rho + y), y / (rho + y), [stirling(rho + y, m) for m in (1, 2, 3)]
    moved = w * s1, w * rest * s1 + w**2 * s2, w * rest * (rest - w) * s1 + 3 * w**2 * rest * s2 + w**3 * s3
    return [at - stirling(rho, m) for m, at in enumerate(moved, start=1)]


def _draw(f, dispersion, rng) -> np.ndarray:
    factor = rng.gamma(np.broadcast_to(dispersion, f.shape)) / dispersion
    return rng.poisson(np.exp(f) * factor).astype(float)
