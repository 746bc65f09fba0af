"""Normal likelihood with a full noise covariance, Eq. (normal-full)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from scipy.special import ndtr

from refbnn import linalg
from refbnn.likelihoods import outcomes
from refbnn.likelihoods.independent import aligned
from refbnn.shapes import DataValues, OutputMatrices, Outputs, OutputTensors, Targets, as_array

Covariance = Annotated[np.ndarray, "k k"]


@dataclass(frozen=True, eq=False)
class NormalFull:
    """y_n ~ N(f_n, V): ℓ = ½ eᵀ V⁻¹ e + ½ log |2πV|, e = y − f, V the covariance (k k). Canonical.

    Raises ValueError unless V is symmetric and positive definite.
    """

    log_concave = True  # Λ is never indefinite
    quadratic = True  # ℓ is a quadratic function of f

    noise: Covariance

    def __post_init__(self):
        noise = linalg.as_symmetric("noise", self.noise)
        L = linalg.cholesky("noise", noise)
        object.__setattr__(self, "noise", noise)
        object.__setattr__(self, "_L", L)
        object.__setattr__(self, "_inverse_factor", linalg.solve_lower(L, np.eye(len(L))).T)

    def check_targets(self, y, num_data: int, num_outputs: int) -> Targets:
        """Return y as float64 (n k), or raise ValueError saying what was expected and what came."""
        if num_outputs != len(self.noise):
            raise ValueError(f"NormalFull: expected a network with {len(self.noise)} outputs, as noise has, got {num_outputs}")
        return as_array("y", y, "n k", n=num_data, k=num_outputs)

    def log_prob(self, f: Outputs, y: Targets) -> DataValues:
        """log N(y_n; f_n, V): (*s n)."""
        whitened = (aligned(f, y) - f) @ self._inverse_factor
        constant = len(self.noise) * np.log(2 * np.pi) + linalg.log_det_from_cholesky(self._L)
        return -0.5 * (whitened**2).sum(-1) - 0.5 * constant

    def residual(self, f: Outputs, y: Targets) -> Outputs:
        """r = V⁻¹ (f − y): (*s n k)."""
        return (f - aligned(f, y)) @ self._inverse_factor @ self._inverse_factor.T

    def curvature(self, f: Outputs, y: Targets) -> OutputMatrices:
        """Λ = V⁻¹: (*s n k k)."""
        aligned(f, y)
        return self.fisher(f)

    def factor(self, f: Outputs, y: Targets) -> OutputMatrices:
        """S = L⁻ᵀ with V = L Lᵀ: (*s n k k)."""
        aligned(f, y)
        return _repeat(self._inverse_factor, f)

    def third(self, f: Outputs, y: Targets) -> OutputTensors:
        """T = 0: (*s n k k k)."""
        aligned(f, y)
        return np.zeros((*f.shape, *self.noise.shape))

    def fisher(self, f: Outputs) -> OutputMatrices:
        """E_{y~p(.|f)}[r rᵀ] = V⁻¹: (*s n k k)."""
        return _repeat(linalg.gram(self._inverse_factor.T), f)

    def mean(self, f: Outputs) -> Outputs:
        """f: (*s n k)."""
        return f

    def covariance(self, f: Outputs) -> OutputMatrices:
        """V: (*s n k k)."""
        return _repeat(self.noise, f)

    def sample(self, f: Outputs, rng: np.random.Generator) -> np.ndarray:
        """f + L ε: (*s n k)."""
        return f + rng.standard_normal(f.shape) @ self._L.T

    def distribution(self, f: Outputs, y: Targets) -> tuple[Outputs, Outputs]:
        """P(target <= y|f) of each output by itself, and its density: (*s n k)."""
        std = np.sqrt(np.diagonal(self.noise))
        z = (aligned(f, y) - f) / std
        return ndtr(z), np.exp(-0.5 * z**2) / (np.sqrt(2 * np.pi) * std)

    def outcomes(self, f: Outputs) -> outcomes.Rule:
        """Gauss-Hermite rule through L, ten points an axis: y_j (j *s n k), w_j (j *s n). Exact for polynomials of degree 19."""
        z, w = outcomes.standard_normal(f.ndim)
        z, w = outcomes.joint(*np.broadcast_arrays(z, w, np.empty((1, *f.shape)))[:2])
        return f + z @ self._L.T, w


def _repeat(A: np.ndarray, f: np.ndarray) -> np.ndarray:
    return np.broadcast_to(A, (*f.shape, A.shape[-1]))
