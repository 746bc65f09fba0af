"""Matrix normals: a Kronecker product as covariance of one layer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refbnn import kronecker
from refbnn.gaussian import Gaussian
from refbnn.shapes import Matrix, Vector, as_array, as_count
from refbnn.vi.families.arrays import Free
from refbnn.vi.families.triangular import lower, lower_gradient, lower_lengths, lower_part, num_lower, pack_lower


@dataclass(frozen=True)
class MatrixNormal:
    """[W b] = M + B Z Aᵀ with standard normals Z: covariance B Bᵀ ⊗ A Aᵀ, Eq. (matrix-normal).

    φ = (mean in θ's order, the triangle of B, that of A without its first entry, which is 1: a common factor is B's). `bias`:
    whether the last of the `inputs` is the constant 1. Closed under [W b] ↦ Q [W b] R for lower-triangular Q and Rᵀ.
    """

    units: int
    inputs: int
    bias: bool

    def __post_init__(self):
        as_count("units", self.units)
        as_count("inputs", self.inputs)

    @property
    def num_params(self) -> int:
        """p."""
        return self.units * self.inputs

    @property
    def num_free(self) -> int:
        """The length of φ."""
        return self.num_params + num_lower(self.units) + num_lower(self.inputs) - 1

    def gaussian(self, phi: Free) -> Gaussian:
        """The member at φ."""
        phi = as_array("phi", phi, "f", f=self.num_free)
        return Gaussian(phi[:self.num_params], kronecker.MatrixNormal(*self._factors(phi), self.bias))

    def free(self, q: Gaussian) -> Free:
        """φ of q if it is a member; else with factors proportional to the partial traces of its covariance."""
        of_units, of_inputs = self._partial_traces(q.covariance())
        A = np.linalg.cholesky(of_inputs)
        B = np.linalg.cholesky(of_units / np.trace(of_units))
        return np.concatenate([q.mean, pack_lower(B * A[0, 0]), pack_lower(A / A[0, 0])[1:]])

    def pull_back(self, phi: Free, mean_gradient: Vector, scale_gradient: Matrix) -> Free:
        """The gradient in φ of what has these in the mean and in every entry of the scale B ⊗ A, Eq. (pull-back)."""
        B, A = self._factors(phi)
        S = self._four_axes(scale_gradient)
        of_B, of_A = np.einsum("uivj,ij->uv", S, A), np.einsum("uivj,uv->ij", S, B)
        return np.concatenate([mean_gradient, lower_gradient(B, of_B), lower_gradient(A, of_A)[1:]])

    def lengths(self, phi: Free) -> Free:
        """The unit of each entry of φ: of the mean standard deviations, of B and A the norms of rows, 1 for logarithms."""
        B, A = (np.linalg.norm(factor, axis=1) for factor in self._factors(phi))
        shape = kronecker.BlockShape(self.units, self.inputs, self.bias)
        return np.concatenate([shape.flat(np.outer(B, A)), lower_lengths(B), lower_lengths(A)[1:]])

    def along(self, law: Matrix) -> np.ndarray:
        """The parts of E[∂_iU (θ − m)_j] − δ_ij that vanish at an optimum: triangles of both partial traces."""
        return np.concatenate([lower_part(trace) for trace in self._partial_traces(law)])

    def _factors(self, phi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        of_B, of_A = np.split(phi[self.num_params:], [num_lower(self.units)])
        return lower(of_B, self.units), lower(np.concatenate([[0.0], of_A]), self.inputs)

    def _four_axes(self, matrix: Matrix) -> np.ndarray:
        """A (p p) matrix in θ's order with axes (unit input unit input)."""
        shape = kronecker.BlockShape(self.units, self.inputs, self.bias)
        return np.moveaxis(shape.rows(np.moveaxis(shape.rows(matrix), 0, -1)), (0, 1), (2, 3))

    def _partial_traces(self, matrix: Matrix) -> tuple[np.ndarray, np.ndarray]:
        """Over the inputs (units units) and over the units (inputs inputs)."""
        four = self._four_axes(matrix)
        return np.einsum("uivi->uv", four), np.einsum("uiuj->ij", four)
