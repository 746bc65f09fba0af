"""Low rank plus diagonal, in the precision."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refbnn import linalg
from refbnn.gaussian import Gaussian
from refbnn.precision import Dense
from refbnn.shapes import Matrix, Vector, as_array, as_count
from refbnn.vi.families.arrays import Free

SMALLEST_START = 0.01  # W = 0 is a stationary point in W: a start keeps away from it


@dataclass(frozen=True)
class LowRank:
    """N(m, P⁻¹) with P = diag(d)² + W Wᵀ, W (p rank), φ = (m, d, W row by row), Eq. (low-rank-family).

    The form of a Gauss-Newton matrix plus a diagonal prior (Mishkin et al. 2018). Covariances of that form are another family:
    the inverse of low rank plus diagonal is diagonal *minus* low rank. Closed under θ ↦ diag(a) θ + b.

    As in factor analysis the best diagonal can have zeros, up to `rank` of them (a Heywood case: W alone holds a
    direction there). For d that is a point like any other, where log d² would run to −∞ and no solver arrive; the algebra is
    that of the dense P, which stays well conditioned.
    """

    num_params: int
    rank: int

    def __post_init__(self):
        if as_count("rank", self.rank) > as_count("num_params", self.num_params):
            raise ValueError(f"rank: expected an integer from 1 to {self.num_params}, got {self.rank}")

    @property
    def num_free(self) -> int:
        """The length of φ."""
        return self.num_params * (2 + self.rank)

    def gaussian(self, phi: Free) -> Gaussian:
        """The member at φ; `scale` is L⁻ᵀ for P = L Lᵀ. Raises NotPositiveDefinite where zeros of d leave P singular."""
        mean, d, W = self._split(as_array("phi", phi, "f", f=self.num_free))
        return Gaussian(mean, Dense(np.diag(d * d) + linalg.symmetric_part(W @ W.T)))

    def free(self, q: Gaussian) -> Free:
        """A start near q, not a projection: d² the inverse variances, W leading eigenpairs of what is left of the precision."""
        root = 1 / np.sqrt(np.diagonal(q.covariance()))
        values, vectors = np.linalg.eigh(q.precision.matrix() / root[:, None] / root)
        excess = np.maximum(values[::-1][:self.rank] - 1, SMALLEST_START)
        W = root[:, None] * vectors[:, ::-1][:, :self.rank] * np.sqrt(excess)
        return np.concatenate([q.mean, root, W.ravel()])

    def pull_back(self, phi: Free, mean_gradient: Vector, scale_gradient: Matrix) -> Free:
        """The gradient in φ of what has these in the mean and in every entry of the scale, Eq. (pull-back).

        dC = −C Φ(Cᵀ dP C)ᵀ for C = L⁻ᵀ, Φ the lower triangle with half of the diagonal: S in C is −C sym Φ(SᵀC) Cᵀ in P.
        """
        _, d, W = self._split(phi)
        C = self.gaussian(phi).scale()
        inside = np.tril(scale_gradient.T @ C)
        np.fill_diagonal(inside, 0.5 * np.diagonal(inside))
        of_P = -C @ linalg.symmetric_part(inside) @ C.T
        return np.concatenate([mean_gradient, 2 * d * np.diagonal(of_P), 2 * (of_P @ W).ravel()])

    def lengths(self, phi: Free) -> Free:
        """The unit of each entry of φ: the standard deviation of θ_i for m_i, its inverse for d_i and the row W_i."""
        std = np.linalg.norm(self.gaussian(phi).scale(), axis=1)
        return np.concatenate([std, 1 / std, np.repeat(1 / std, self.rank)])

    def along(self, law: Matrix) -> np.ndarray:
        """The entries of E[∂_iU (θ − m)_j] − δ_ij that vanish at an optimum: the diagonal."""
        return np.diagonal(law)

    def _split(self, phi: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        mean, d, W = np.split(phi, [self.num_params, 2 * self.num_params])
        return mean, d, W.reshape(self.num_params, self.rank)
