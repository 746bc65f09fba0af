"""Normal likelihood with known variance, Eq. (normal)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from refbnn.likelihoods import outcomes
from refbnn.likelihoods.independent import IndependentOutputs, aligned
from refbnn.shapes import Outputs, Targets, as_positive


@dataclass(frozen=True)
class Normal(IndependentOutputs):
    """y_k ~ N(f_k, variance): ℓ = (f − y)²/(2σ²) + ½ log 2πσ². Canonical. Raises ValueError unless variance > 0."""

    variance: float
    quadratic = True  # ℓ is a quadratic function of f

    def __post_init__(self):
        object.__setattr__(self, "variance", as_positive("variance", self.variance))

    def log_density(self, f, y):
        """−(f − y)²/(2σ²) − ½ log 2πσ²."""
        e = f - y
        return e * e * (-0.5 / self.variance) - 0.5 * math.log(2 * math.pi * self.variance)

    def loss_and_residual(self, f, y):
        """−log p(y|f) summed over data and outputs (*s), and r (*s n k): both are made of f − y, for samplers."""
        e = f - aligned(f, y)
        r = e * (1 / self.variance)
        return 0.5 * (np.einsum("...nk,...nk->...", e, r) + y.size * math.log(2 * math.pi * self.variance)), r

    def first_derivative(self, f, y):
        """(f − y)/σ²."""
        return (f - y) / self.variance

    def second_derivative(self, f, y):
        """1/σ²."""
        return np.full(f.shape, 1 / self.variance)

    def third_derivative(self, f, y):
        """0."""
        return np.zeros(f.shape)

    def information(self, f):
        """1/σ²."""
        return np.full(f.shape, 1 / self.variance)

    def mean(self, f):
        """f."""
        return f

    def output_variance(self, f):
        """σ²."""
        return np.full(f.shape, self.variance)

    def sample(self, f, rng):
        """f + σ ε."""
        return f + np.sqrt(self.variance) * rng.standard_normal(f.shape)

    def distribution(self, f: Outputs, y: Targets) -> tuple[Outputs, Outputs]:
        """P(target <= y|f) of each output, and its density: (*s n k)."""
        y = aligned(f, y)
        return ndtr((y - f) / math.sqrt(self.variance)), np.exp(self.log_density(f, y))

    def output_outcomes(self, f):
        """Ten Gauss-Hermite points, exact for polynomials in y of degree 19 or less."""
        return outcomes.normal(f, np.sqrt(self.variance))

    def log_variance_derivatives(self, f, y):
        """∂ log p/∂log σ² = Σ_k e²/(2σ²) − ½ and ∂² log p/(∂log σ²)² = −Σ_k e²/(2σ²), e = y − f: (*s n) each.

        For learned noise, Eq. (learned-noise). The mixed derivative ∂² log p/∂f ∂log σ² is the residual r itself.
        """
        half_square = 0.5 * (f - aligned(f, y)) ** 2 / self.variance
        return (half_square - 0.5).sum(-1), -half_square.sum(-1)
