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
        return constant - 0.5 * (nu + 1) * np.log1p((theta / self.scale) ** 2 / nu)

    def score(self, theta):
        """−(ν + 1) θ/(νs² + θ²)."""
        return -(self.degrees_of_freedom + 1) * theta / self._denominator(theta)

    def bend(self, theta):
        """(ν + 1)(νs² − θ²)/(νs² + θ²)², Eq. (student-prior-curvature)."""
        denominator = self._denominator(theta)
        return (self.degrees_of_freedom + 1) * (denominator - 2 * theta**2) / denominator**2

    def draw(self, rng, shape):
        """s t."""
        return self.scale * rng.standard_t(self.degrees_of_freedom, size=shape)

    def _denominator(self, theta):
        return self.degrees_of_freedom * self.scale**2 + theta**2
