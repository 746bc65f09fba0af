"""Every Gaussian: mean and the Cholesky factor of the covariance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refbnn.gaussian import Gaussian
from refbnn.precision import Dense, FromScale
from refbnn.shapes import Matrix, Vector, as_array, as_count
from refbnn.vi.families.arrays import Free
from refbnn.vi.families.triangular import lower, lower_gradient, lower_lengths, lower_part, num_lower, pack_lower


@dataclass(frozen=True)
class Full:
    """N(m, L Lᵀ), φ = (m, the lower triangle of L row by row, its diagonal by logarithms). Closed under θ ↦ A θ + b."""

    num_params: int

    def __post_init__(self):
        as_count("num_params", self.num_params)

    @property
    def num_free(self) -> int:
        """The length of φ."""
        return self.num_params + num_lower(self.num_params)

    def gaussian(self, phi: Free) -> Gaussian:
        """The member at φ; `scale` is L."""
        phi = as_array("phi", phi, "f", f=self.num_free)
        return Gaussian(phi[:self.num_params], FromScale(lower(phi[self.num_params:], self.num_params)))

    def free(self, q: Gaussian) -> Free:
        """φ of q."""
        return np.concatenate([q.mean, pack_lower(np.linalg.cholesky(q.covariance()))])

    def pull_back(self, phi: Free, mean_gradient: Vector, scale_gradient: Matrix) -> Free:
        """The gradient in φ of what has these in m and in every entry of L, Eq. (pull-back)."""
        L = lower(phi[self.num_params:], self.num_params)
        return np.concatenate([mean_gradient, lower_gradient(L, scale_gradient)])

    def lengths(self, phi: Free) -> Free:
        """The unit of each entry of φ: the standard deviation of θ_i for m_i and for the row L_i, 1 for logarithms."""
        L = lower(phi[self.num_params:], self.num_params)
        std = np.linalg.norm(L, axis=1)
        return np.concatenate([std, lower_lengths(std)])

    def along(self, law: Matrix) -> np.ndarray:
        """The entries of E[∂_iU (θ − m)_j] − δ_ij that vanish at an optimum: flows θ ↦ e^{tX}θ with X lower triangular."""
        return lower_part(law)

    def natural(self, matrix: Matrix) -> Dense:
        """The precision of a member from a symmetric matrix: all of it. Raises NotPositiveDefinite."""
        return Dense(matrix)
