"""The Gamma law of a precision, in its logarithm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln

from refbnn.shapes import as_positive


@dataclass(frozen=True)
class Gamma:
    """Gamma(shape a, rate b) over a precision λ: mean a/b, density b^a λ^(a−1) e^{−bλ}/Γ(a)."""

    shape: float
    rate: float

    def __post_init__(self):
        for name in ("shape", "rate"):
            object.__setattr__(self, name, as_positive(name, getattr(self, name)))

    def log_density(self, xi: np.ndarray) -> np.ndarray:
        """The density of ξ = log λ, Eq. (log-gamma): a log b − log Γ(a) + aξ − b e^ξ, the factor λ = dλ/dξ included."""
        return self.shape * np.log(self.rate) - gammaln(self.shape) + self.shape * xi - self.rate * np.exp(xi)

    def slope(self, xi: np.ndarray) -> np.ndarray:
        """d/dξ of it: a − b e^ξ."""
        return self.shape - self.rate * np.exp(xi)

    def given(self, count: np.ndarray | float, squares: np.ndarray, generators: Sequence[np.random.Generator]) -> np.ndarray:
        """log λ drawn given `count` normals of precision λ with sum of squares `squares` (c g), Eq. (gamma-given).

        Gamma(a + ½ count, b + ½ squares); one generator a chain.
        """
        rates = self.rate + 0.5 * squares
        shapes = np.broadcast_to(self.shape + 0.5 * count, rates.shape)
        return np.stack([np.log(generator.gamma(a)) for generator, a in zip(generators, shapes)]) - np.log(rates)
