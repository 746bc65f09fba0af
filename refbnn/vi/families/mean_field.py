"""Independent parameters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refbnn.gaussian import Gaussian
from refbnn.precision import Diagonal
from refbnn.shapes import Matrix, Vector, as_array, as_count
from refbnn.vi.families.arrays import Free


@dataclass(frozen=True)
class MeanField:
    """N(m, diag s²), φ = (m, log s). Closed under θ ↦ diag(a) θ + b."""

    num_params: int

    def __post_init__(self):
        as_count("num_params", self.num_params)

    @property
    def num_free(self) -> int:
        """The length of φ."""
        return 2 * self.num_params

    def gaussian(self, phi: Free) -> Gaussian:
        """The member at φ; `scale` is diag(s)."""
        mean, log_std = as_array("phi", phi, "f", f=self.num_free).reshape(2, -1)
        return Gaussian(mean, Diagonal(np.exp(-2 * log_std)))

    def free(self, q: Gaussian) -> Free:
        """φ of the member nearest to q in KL(member ‖ q): the mean of q, and 1/s² the diagonal of its precision."""
        return np.concatenate([q.mean, -0.5 * np.log(q.precision.diagonal())])

    def pull_back(self, phi: Free, mean_gradient: Vector, scale_gradient: Matrix) -> Free:
        """The gradient in φ of what has these in m and in every entry of the scale, Eq. (pull-back)."""
        return np.concatenate([mean_gradient, np.exp(phi[self.num_params:]) * np.diagonal(scale_gradient)])

    def lengths(self, phi: Free) -> Free:
        """The unit of each entry of φ: s_i for m_i, 1 for log s_i."""
        return np.concatenate([np.exp(phi[self.num_params:]), np.ones(self.num_params)])

    def along(self, law: Matrix) -> np.ndarray:
        """The entries of E[∂_iU (θ − m)_j] − δ_ij that vanish at an optimum: the diagonal."""
        return np.diagonal(law)

    def natural(self, matrix: Matrix) -> Diagonal:
        """The precision of a member from a symmetric matrix: its diagonal. Raises ValueError unless that is positive."""
        return Diagonal(np.diagonal(matrix))
