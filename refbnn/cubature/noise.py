"""Gaussian noise of known variance, and of a variance with an inverse-gamma prior: what is left of it when weights integrate out.

Everything is counted in units of the noise: with Φ the features and Λ the prior precision of the output weights in that unit,
Q = min_w |y − Φw|² + (w − m)ᵀΛ(w − m) is all that the noise needs to know. A noise has

    unit                    the variance that prior precisions are to be multiplied by to be in units of the noise
    log_marginal(Q, count)  the log density of `count` targets at Q, but for the determinants of the output layer
    slope(Q, count)         its derivative in Q
    given(Q, count)         the Law of one target about its location, once the data are known

A law has a `share`, the variance of a new target over that of the noise which the data were weighed with. It is 1, but 1/T for
Gaussian noise at temperature T: a power of the likelihood weighs the data and describes no measurement.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln, ndtr, stdtr

from refbnn.shapes import Targets, Values, as_positive, expect_methods


@dataclass(frozen=True)
class NormalLaw:
    """The standard normal times √`scale2`; a new target has `share` of that variance."""

    scale2: Values
    share: float = 1.0

    @property
    def variance(self) -> Values:
        """The variance: (*s)."""
        return self.scale2

    def log_density(self, square: np.ndarray, count: int) -> np.ndarray:
        """log density of `count` independent coordinates with the sum of squares `square`, each of unit scale."""
        return -0.5 * (square + count * np.log(2 * np.pi))

    def cdf(self, z: np.ndarray) -> np.ndarray:
        """P(≤ z) of one coordinate of unit scale."""
        return ndtr(z)

    def sample(self, rng: np.random.Generator) -> np.ndarray:
        """Draws of σ², which is known."""
        return np.array(self.scale2)


@dataclass(frozen=True)
class StudentLaw:
    """Student's t with `freedom` degrees of freedom times √`scale2`; several coordinates share one σ²."""

    scale2: Values
    freedom: float
    share = 1.0

    @property
    def variance(self) -> Values:
        """scale² ν/(ν − 2): (*s)."""
        return self.scale2 * self.freedom / (self.freedom - 2)

    def log_density(self, square: np.ndarray, count: int) -> np.ndarray:
        """log density of `count` coordinates that share one σ², with the sum of squares `square`, each of unit scale."""
        nu = self.freedom
        constant = gammaln((nu + count) / 2) - gammaln(nu / 2) - 0.5 * count * np.log(nu * np.pi)
        return constant - 0.5 * (nu + count) * np.log1p(square / nu)

    def cdf(self, z: np.ndarray) -> np.ndarray:
        """P(≤ z) of one coordinate of unit scale."""
        return stdtr(self.freedom, z)

    def sample(self, rng: np.random.Generator) -> np.ndarray:
        """Draws of σ²: inverse-gamma with shape ν/2 and scale ν·scale²/2."""
        return 0.5 * self.freedom * self.scale2 / rng.gamma(self.freedom / 2, size=np.shape(self.scale2))


@dataclass(frozen=True)
class KnownNoise:
    """y = f + ε, log p(y|f) = `log_peak` − |y − f|²/(2 `variance`) for each target.

    For a Normal likelihood log_peak = −½ log 2πσ²; a power of one has another, and a variance of which new targets have `share`.
    """

    variance: float
    log_peak: float
    share: float = 1.0

    @property
    def unit(self) -> float:
        """σ²."""
        return self.variance

    def log_marginal(self, Q: Values, count: int) -> Values:
        """count·log_peak − Q/2σ², Eq. (collapsed-likelihood)."""
        return count * self.log_peak - 0.5 * Q / self.variance

    def slope(self, Q: Values, count: int) -> Values:
        """−1/2σ²."""
        return np.full(np.shape(Q), -0.5 / self.variance)

    def given(self, Q: Values, count: int) -> NormalLaw:
        """N(0, σ²), whatever the data."""
        return NormalLaw(np.full(np.shape(Q), self.variance), self.share)


@dataclass(frozen=True)
class InverseGammaNoise:
    """σ² ~ InverseGamma(shape a, scale b), density bᵃ/Γ(a) σ^(−2a−2) e^(−b/σ²); y|f, σ² ~ N(f, σ²).

    Conjugate when the prior of the output weights scales with the noise, w|σ² ~ N(m, σ²Λ⁻¹): then y is a multivariate
    Student t, Eq. (collapsed-student). Raises ValueError unless both are positive.
    """

    shape: float
    scale: float

    unit = 1.0  # prior precisions are in units of the noise already

    def __post_init__(self):
        object.__setattr__(self, "shape", as_positive("shape", self.shape))
        object.__setattr__(self, "scale", as_positive("scale", self.scale))

    def log_marginal(self, Q: Values, count: int) -> Values:
        """log Γ(a + c/2) − log Γ(a) + a log b − (c/2) log 2π − (a + c/2) log(b + Q/2) for c = count targets."""
        a = self.shape + 0.5 * count
        constant = gammaln(a) - gammaln(self.shape) + self.shape * np.log(self.scale) - 0.5 * count * np.log(2 * np.pi)
        return constant - a * np.log(self.scale + 0.5 * Q)

    def slope(self, Q: Values, count: int) -> Values:
        """−½ (a + c/2)/(b + Q/2), which is −½ E[1/σ²]."""
        return -0.5 * (self.shape + 0.5 * count) / (self.scale + 0.5 * Q)

    def given(self, Q: Values, count: int) -> StudentLaw:
        """Student's t with 2a + c degrees of freedom and scale² (b + Q/2)/(a + c/2)."""
        a = self.shape + 0.5 * count
        return StudentLaw((self.scale + 0.5 * Q) / a, 2 * a)


def noise_of(likelihood: object, y: Targets, num_outputs: int) -> KnownNoise:
    """The noise of a likelihood whose log p(y|f) is log_peak − |y − f|²/2σ² for every target, read off at f = y and f = y + 1.

    Normal is one, and any power of it (Tempered). Raises ValueError for others.
    """
    expect_methods("likelihood", likelihood, "log_prob", "curvature", "covariance")
    if y.shape != (len(y), num_outputs):
        raise _refusal(likelihood)
    peaks, drops = likelihood.log_prob(y, y), likelihood.log_prob(y + 1.0, y)
    curvatures = np.stack([likelihood.curvature(y, y), likelihood.curvature(y + 1.0, y)])
    precision = curvatures[0, 0, 0, 0]
    isotropic = np.array_equal(curvatures, np.broadcast_to(precision * np.eye(num_outputs), curvatures.shape))
    size = 1e-12 * np.abs(drops).max()
    level = np.allclose(peaks, peaks[0], rtol=0, atol=size)
    quadratic = np.allclose(peaks - drops, 0.5 * num_outputs * precision, rtol=0, atol=size)
    if not (isotropic and precision > 0 and level and quadratic):
        raise _refusal(likelihood)
    return KnownNoise(1 / precision, peaks[0] / num_outputs, float(likelihood.covariance(y)[0, 0, 0] * precision))


def _refusal(likelihood: object) -> ValueError:
    return ValueError(
        "likelihood: expected additive Gaussian noise with one known variance, such as Normal(variance), got "
        f"{type(likelihood).__name__}: output weights do not integrate out in closed form"
    )
