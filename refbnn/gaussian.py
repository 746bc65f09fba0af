"""The Gaussian: one type for priors, Laplace posteriors and variational approximations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from refbnn.precision import Dense, Diagonal, product
from refbnn.shapes import Matrix, Parameters, Values, Vector, as_array, as_own_array, expect_methods


@dataclass(frozen=True)
class Gaussian:
    """N(mean, P⁻¹) with mean (p) and `precision` P (Dense or Diagonal). Raises ValueError for a mean of another length."""

    mean: Vector
    precision: Dense | Diagonal

    def __post_init__(self):
        expect_methods("precision", self.precision, "matvec", "solve", "log_det")
        object.__setattr__(self, "mean", as_own_array("mean", self.mean, "p", p=self.precision.num_params))

    @property
    def num_params(self) -> int:
        """p."""
        return len(self.mean)

    def log_prob(self, theta: Parameters) -> Values:
        """log N(θ; mean, P⁻¹), constants included: (*s)."""
        centred = self._centred(theta)
        quadratic = (centred * self.precision.matvec(centred)).sum(-1)
        return -0.5 * (quadratic - self._twice_log_constant)

    def gradient(self, theta: Parameters) -> Parameters:
        """∇ log N(θ; mean, P⁻¹) = −P(θ − mean): (*s p)."""
        return self._product(self.mean - as_array("theta", theta, "*s p", p=self.num_params))

    def value_and_gradient(self, theta: Parameters) -> tuple[Values, Parameters]:
        """log N(θ; mean, P⁻¹) (*s) and its gradient (*s p), from one product with P."""
        away = self.mean - as_array("theta", theta, "*s p", p=self.num_params)
        gradient = self._product(away)
        square = (away[..., None, :] @ gradient[..., :, None])[..., 0, 0]  # a product of two vectors: half the time of a sum
        return 0.5 * (self._twice_log_constant - square), gradient

    def negative_hessian(self, theta: Vector) -> Matrix:
        """−∇² log N(θ; mean, P⁻¹) = P, whatever θ: (p p)."""
        as_array("theta", theta, "p", p=self.num_params)
        return self.precision.matrix()

    def covariance(self) -> Matrix:
        """P⁻¹: (p p)."""
        scale = self.scale()
        return scale @ scale.T

    def scale(self) -> Matrix:
        """C with C Cᵀ = P⁻¹; C = L⁻ᵀ (upper triangular) for P = L Lᵀ: (p p)."""
        return self.precision.scale_matvec(np.eye(self.num_params)).T

    def from_normals(self, z: Parameters) -> Parameters:
        """mean + C z for given standard normals z: (*s p). Eq. (laplace-sampling)."""
        return self.mean + self.precision.scale_matvec(as_array("z", z, "*s p", p=self.num_params))

    def sample(self, rng: np.random.Generator, shape: tuple[int, ...] = ()) -> Parameters:
        """Independent draws: (*shape p)."""
        expect_methods("rng", rng, "standard_normal")
        return self.from_normals(rng.standard_normal((*shape, self.num_params)))

    def entropy(self) -> float:
        """½ p (1 + log 2π) − ½ log |P|, in nats."""
        return 0.5 * (self.num_params * (1 + np.log(2 * np.pi)) - self.precision.log_det())

    @cached_property
    def _product(self) -> Callable[[Parameters], Parameters]:
        return product(self.precision)

    @cached_property
    def _twice_log_constant(self) -> float:
        return self.precision.log_det() - self.num_params * np.log(2 * np.pi)

    def _centred(self, theta: Parameters) -> Parameters:
        return as_array("theta", theta, "*s p", p=self.num_params) - self.mean


def kl(q: Gaussian, p: Gaussian) -> float:
    """KL(q ‖ p) = ½ [tr(P_p Σ_q) + (m_q − m_p)ᵀ P_p (m_q − m_p) − p + log |P_q| − log |P_p|], in nats."""
    expect_methods("p", p, "mean", "precision")
    if q.num_params != p.num_params:
        raise ValueError(f"kl: expected Gaussians of one size, got {q.num_params} and {p.num_params}")
    shift = q.mean - p.mean
    spread = (q.scale() * p.precision.matvec(q.scale().T).T).sum()
    log_ratio = q.precision.log_det() - p.precision.log_det()
    return 0.5 * float(spread + shift @ p.precision.matvec(shift) - q.num_params + log_ratio)
