"""Student-t likelihood with known scale, and with the log scale as a second output."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, stdtr

from refbnn.likelihoods.independent import IndependentOutputs, aligned
from refbnn.likelihoods.outcomes import Rule
from refbnn.likelihoods.pairs import PairedOutputs
from refbnn.likelihoods.special import log_gamma_step
from refbnn.shapes import Outputs, Targets, as_positive

_NODES = 16


@dataclass(frozen=True)
class StudentT(IndependentOutputs):
    """y_k = f_k + s t, t with ν degrees of freedom, s the scale: ℓ = ½ (ν + 1) log(1 + e²/(νs²)) + const. Not canonical.

    Eq. (student-t). In Q = νs² + e², e = y − f, w = e²/Q, v = 1 − w = νs²/Q:
    r = −(ν + 1) e/Q, Λ = (ν + 1)(v − w)/Q, F = (ν + 1)/((ν + 3) s²).
    Λ is negative wherever e² > νs², Eq. (student-t-negative): there `factor` raises ValueError. Moments of y exist for ν > 1
    (the variance is infinite up to ν = 2); below, mean and covariance raise ValueError.
    """

    log_concave = False  # Λ is sometimes indefinite

    scale: float
    degrees_of_freedom: float

    def __post_init__(self):
        object.__setattr__(self, "scale", as_positive("scale", self.scale))
        object.__setattr__(self, "degrees_of_freedom", as_positive("degrees_of_freedom", self.degrees_of_freedom))

    def log_density(self, f, y):
        """log Γ((ν + 1)/2) − log Γ(ν/2) − ½ log πν − log s − ½ (ν + 1) log(1 + e²/(νs²))."""
        return _log_density(f, np.log(self.scale), y, self.degrees_of_freedom)

    def first_derivative(self, f, y):
        """−(ν + 1) e/Q."""
        inverse, _, _ = self._parts(f, y)
        return (self.degrees_of_freedom + 1) * (f - y) * inverse

    def second_derivative(self, f, y):
        """(ν + 1)(v − w)/Q."""
        inverse, w, v = self._parts(f, y)
        return (self.degrees_of_freedom + 1) * (v - w) * inverse

    def third_derivative(self, f, y):
        """2 (ν + 1) e (3v − w)/Q²."""
        inverse, w, v = self._parts(f, y)
        return 2 * (self.degrees_of_freedom + 1) * (y - f) * inverse * (3 * v - w) * inverse

    def information(self, f):
        """(ν + 1)/((ν + 3) s²)."""
        nu = self.degrees_of_freedom
        return np.full(f.shape, (nu + 1) / (nu + 3) / self.scale**2)

    def mean(self, f):
        """f. Raises ValueError for ν <= 1."""
        _refuse_without_mean(self.degrees_of_freedom)
        return f

    def output_variance(self, f):
        """s² ν/(ν − 2), infinite for ν <= 2. Raises ValueError for ν <= 1."""
        return np.full(f.shape, self.scale**2 * _variance(self.degrees_of_freedom))

    def sample(self, f, rng):
        """f + s t."""
        return f + self.scale * rng.standard_t(self.degrees_of_freedom, f.shape)

    def distribution(self, f: Outputs, y: Targets) -> tuple[Outputs, Outputs]:
        """P(target <= y|f) of each output, and its density: (*s n k)."""
        y = aligned(f, y)
        return stdtr(self.degrees_of_freedom, (y - f) / self.scale), np.exp(self.log_density(f, y))

    def output_outcomes(self, f):
        """Sixteen points, exact for products of r, Λ, T whose orders 1, 2, 3 add up to at most 15; not for moments of y."""
        return _rule(f, self.scale, self.degrees_of_freedom)

    def _parts(self, f, y):
        return _parts(f, np.log(self.scale), y, self.degrees_of_freedom)


@dataclass(frozen=True)
class HeteroscedasticStudentT(PairedOutputs):
    """y_t = μ_t + exp(τ_t) t, t with ν degrees of freedom, outputs (μ_1, τ_1, μ_2, τ_2, ...), s = exp τ. Not canonical.

    Eq. (student-t-scale). Q, w, v as in StudentT; ∂w/∂μ = −2ve/Q, ∂w/∂τ = −2vw. det Λ = −2 (ν + 1)² v w/Q is negative for every
    y ≠ μ, so `factor` raises ValueError at almost every datum; F = diag((ν + 1)/((ν + 3) s²), 2ν/(ν + 3)). As for moments of y,
    see StudentT.
    """

    degrees_of_freedom: float

    def __post_init__(self):
        object.__setattr__(self, "degrees_of_freedom", as_positive("degrees_of_freedom", self.degrees_of_freedom))

    def log_density(self, mu, tau, y):
        """log Γ((ν + 1)/2) − log Γ(ν/2) − ½ log πν − τ − ½ (ν + 1) log(1 + e²/(νs²))."""
        return _log_density(mu, tau, y, self.degrees_of_freedom)

    def first_derivatives(self, mu, tau, y):
        """(−(ν + 1) e/Q, 1 − (ν + 1) w)."""
        inverse, w, _ = _parts(mu, tau, y, self.degrees_of_freedom)
        order = self.degrees_of_freedom + 1
        return -order * (y - mu) * inverse, 1 - order * w

    def second_derivatives(self, mu, tau, y):
        """(ν + 1) ((v − w)/Q, 2ve/Q, 2vw)."""
        inverse, w, v = _parts(mu, tau, y, self.degrees_of_freedom)
        order = self.degrees_of_freedom + 1
        return order * (v - w) * inverse, 2 * order * v * (y - mu) * inverse, 2 * order * v * w

    def third_derivatives(self, mu, tau, y):
        """2 (ν + 1) (e (3v − w)/Q², v (3w − v)/Q, 2ve (w − v)/Q, 2vw (w − v))."""
        inverse, w, v = _parts(mu, tau, y, self.degrees_of_freedom)
        order, g = 2 * (self.degrees_of_freedom + 1), (y - mu) * inverse
        skew = 2 * order * v * (w - v)
        return order * g * (3 * v - w) * inverse, order * v * (3 * w - v) * inverse, skew * g, skew * w

    def information(self, mu, tau):
        """((ν + 1)/(ν + 3) exp(−2τ), 0, 2ν/(ν + 3))."""
        nu = self.degrees_of_freedom
        return (nu + 1) / (nu + 3) * np.exp(-2 * tau), 0.0, 2 * nu / (nu + 3)

    def target_mean(self, mu, tau):
        """μ. Raises ValueError for ν <= 1."""
        _refuse_without_mean(self.degrees_of_freedom)
        return mu

    def target_variance(self, mu, tau):
        """s² ν/(ν − 2), infinite for ν <= 2. Raises ValueError for ν <= 1."""
        return np.exp(2 * tau) * _variance(self.degrees_of_freedom)

    def draw(self, mu, tau, rng):
        """μ + s t."""
        return mu + np.exp(tau) * rng.standard_t(self.degrees_of_freedom, mu.shape)

    def target_outcomes(self, mu, tau):
        """Sixteen points, exact for products of r, Λ, T whose orders 1, 2, 3 add up to at most 15; not for moments of y."""
        return _rule(mu, np.exp(tau), self.degrees_of_freedom)


def _log_ratio(mu, tau, y, nu: float) -> np.ndarray:
    """log(e²/(νs²)), minus infinity at e = 0."""
    with np.errstate(divide="ignore"):
        return 2 * np.log(np.abs(y - mu)) - 2 * tau - np.log(nu)


def _log_density(mu, tau, y, nu: float) -> np.ndarray:
    constant = log_gamma_step(nu / 2, 0.5) - 0.5 * np.log(np.pi * nu)
    return constant - tau - 0.5 * (nu + 1) * np.logaddexp(0, _log_ratio(mu, tau, y, nu))


def _parts(mu, tau, y, nu: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(1/Q, w, v), 1/Q as v/(νs²) or as w/e², whichever of νs² and e² is larger: neither can overflow where the other decides."""
    ratio = _log_ratio(mu, tau, y, nu)
    w, v, wide = expit(ratio), expit(-ratio), ratio <= 0
    inverse = np.where(wide, v * np.exp(-2 * np.where(wide, tau, 0.0)) / nu, w / np.where(wide, 1.0, y - mu) ** 2)
    return inverse, w, v


def _variance(nu: float) -> float:
    _refuse_without_mean(nu)
    return nu / (nu - 2) if nu > 2 else np.inf


def _refuse_without_mean(nu: float) -> None:
    if nu <= 1:
        raise ValueError(f"degrees_of_freedom: expected more than 1 for moments to exist, got {nu:g}")


def _rule(f: np.ndarray, scale: float | np.ndarray, nu: float) -> Rule:
    """Gauss-Gegenbauer rule in x = e/√Q, whose density is proportional to (1 − x²)^(ν/2 − 1).

    w = x², v = 1 − x² and e/Q ∝ x √(1 − x²): products of derivatives that are odd in e vanish by symmetry, even ones are
    polynomials in x of twice their order, which sixteen points integrate exactly up to degree 31. Moments of y are not
    polynomials in x: their error falls only as a power of the number of points. Points and weights as in Golub and Welsch
    (1969), which keeps two digits more than scipy's roots_gegenbauer at ν = 0.001 and at 10⁹.
    """
    n = np.arange(2.0, _NODES)
    squares = np.concatenate([[1 / (nu + 1)], n * (n + nu - 2) / ((2 * n + nu - 1) * (2 * n + nu - 3))])
    x, vectors = np.linalg.eigh(np.diag(np.sqrt(squares), 1), UPLO="U")
    shape = (-1, *[1] * f.ndim)
    z = np.sqrt(nu) * x / np.sqrt((1 - x) * (1 + x))
    return f + scale * z.reshape(shape), (vectors[0] ** 2).reshape(shape) * np.ones(f.shape)
