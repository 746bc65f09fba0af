"""The Student-t prior; the Cauchy prior at one degree of freedom."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln

from refbnn.priors.independent import IndependentPrior
from refbnn.shapes import as_positive


@dataclass(frozen=True)
class StudentT(IndependentPrior):
    """θ_j = s t, t of Student's law with ν = degrees_of_freedom, s = scale. Raises ValueError unless both are positive.

    −∂² log p = (ν + 1)(νs² − θ²)/(νs² + θ²)²: negative for |θ| > s√ν, where the tail is heavier than any Gaussian's.
    """

    degrees_of_freedom: float

    def __post_init__(self):
        super().__post_init__()
        object.__setattr__(self, "degrees_of_freedom", as_positive("degrees_of_freedom", self.degrees_of_freedom))

    def log_density(self, theta):
        """log Γ((ν+1)/2) − log Γ(ν/2) − ½ log(πνs²) − (ν+1)/2 log(1 + θ²/(νs²))."""
        nu = self.degrees_of_freedom
        constant = gammaln((nu + 1) / 2) - gammaln(nu / 2) - 0.5 * np.log(np.pi * nu) - np.log(self.scale)
        u = np.abs(self._in_widths(theta))
        near, far = np.minimum(u, 1.0), np.maximum(u, 1.0)  # log(1 + u²) = 2 log u + log(1 + u⁻²): u² may be out of range
        return constant - 0.5 * (nu + 1) * (np.log1p((near / far) ** 2) + 2 * np.log(far))

    def score(self, theta):
        """−(ν + 1) θ/(νs² + θ²)."""
        u = self._in_widths(theta)
        h = np.hypot(1, u)
        return -(self.degrees_of_freedom + 1) * (u / h / h) / self._width

    def bend(self, theta):
        """(ν + 1)(νs² − θ²)/(νs² + θ²)², Eq. (student-prior-curvature)."""
        u = self._in_widths(theta)
        h = np.hypot(1, u)
        return (self.degrees_of_freedom + 1) * ((1 - u) / h * ((1 + u) / h)) / h / h / self._width / self._width

    def draw(self, rng, shape):
        """s t."""
        return self.scale * rng.standard_t(self.degrees_of_freedom, size=shape)

    @property
    def _width(self):
        """s√ν."""
        return self.scale * np.sqrt(self.degrees_of_freedom)

    def _in_widths(self, theta):
        """u = θ/(s√ν). All is written in it, because θ² can be out of range where the result is not."""
        return theta / self._width
