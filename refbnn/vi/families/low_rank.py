"""Low rank plus diagonal, in the precision."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refbnn.gaussian import Gaussian
from refbnn.low_rank import LowRankPlusDiagonal
from refbnn.shapes import Matrix, Vector, as_array, as_count
from refbnn.vi.families.arrays import Free

SMALLEST_START = 0.01  # V = 0 is a stationary point in V: a start keeps away from it


@dataclass(frozen=True)
class LowRank:
    """N(m, P⁻¹) with P = D^½ (I + V Vᵀ) D^½, V (p rank), φ = (m, log of the diagonal of D, V row by row), Eq. (low-rank-family).

    The form of a Gauss-Newton matrix plus a diagonal prior (Mishkin et al. 2018). Covariances of that form are another family:
    the inverse of low rank plus diagonal is diagonal *minus* low rank. Closed under θ ↦ diag(a) θ + b.

    As in factor analysis the best D can have zeros, up to `rank` of them (a Heywood case): log D then runs to −∞, the bound
    creeps up to its supremum, and no solver arrives: it ends where the residual, which falls as D does, meets its tolerance, or
    without convergence.
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
        """The member at φ; `scale` is D^(−½) (I + V Vᵀ)^(−½)."""
        mean, D, V = self._split(as_array("phi", phi, "f", f=self.num_free))
        return Gaussian(mean, LowRankPlusDiagonal(np.sqrt(D)[:, None] * V, D))

    def free(self, q: Gaussian) -> Free:
        """A start near q, not a projection: D the inverse variances, V leading eigenpairs of what is left of the precision."""
        D = 1 / np.diagonal(q.covariance())
        root = np.sqrt(D)
        values, vectors = np.linalg.eigh(q.precision.matrix() / root[:, None] / root)
        excess = np.maximum(values[::-1][:self.rank] - 1, SMALLEST_START)
        return np.concatenate([q.mean, np.log(D), (vectors[:, ::-1][:, :self.rank] * np.sqrt(excess)).ravel()])

    def pull_back(self, phi: Free, mean_gradient: Vector, scale_gradient: Matrix) -> Free:
        """The gradient in φ of what has these in the mean and in every entry of the scale, Eq. (pull-back).

        For K = A^(−½) with eigenpairs (s_i², w_i) of A the derivative is −(wᵢᵀ dA wⱼ)/(s_i s_j (s_i + s_j)) in the eigenbasis.
        """
        _, D, V = self._split(phi)
        squares, W = np.linalg.eigh(np.eye(self.num_params) + V @ V.T)
        s = np.sqrt(squares)
        K = (W / s) @ W.T
        of_K = scale_gradient / np.sqrt(D)[:, None]
        of_A = -W @ ((W.T @ of_K @ W) / (s[:, None] * s * (s[:, None] + s))) @ W.T
        return np.concatenate([mean_gradient, -0.5 * (of_K * K).sum(1), ((of_A + of_A.T) @ V).ravel()])

    def along(self, law: Matrix) -> np.ndarray:
        """The entries of E[∂_iU (θ − m)_j] − δ_ij that vanish at an optimum: the diagonal."""
        return np.diagonal(law)

    def _split(self, phi: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        mean, log_D, V = np.split(phi, [self.num_params, 2 * self.num_params])
        return mean, np.exp(log_D), V.reshape(self.num_params, self.rank)
