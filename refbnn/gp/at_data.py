"""The finite part of a conditioned process: a Gaussian over the outputs at the data, times sites."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import numpy as np

from refbnn import linalg
from refbnn.gp.sites import DataOutputs, Sites, times, transposed_times
from refbnn.shapes import DataMatrices, Outputs

JointCovariance = Annotated[np.ndarray, "q q"]  # q = n·k


REFINEMENTS = 2  # of α: with little noise B is ill-conditioned, and the residual r cancels against Λ(f − mean)


@dataclass(frozen=True)
class AtData:
    """N(mean, K) over the outputs at the data times `sites`: mean (n k), K (n·k n·k).

    Everything goes through B = I + SᵀKS = L Lᵀ, which is regular whatever K and Λ = S Sᵀ are.
    """

    mean: DataOutputs
    K: JointCovariance
    sites: Sites

    @property
    def num_data(self) -> int:
        """n."""
        return len(self.mean)

    @property
    def num_outputs(self) -> int:
        """k."""
        return self.mean.shape[1]

    @cached_property
    def SK(self) -> np.ndarray:
        """SᵀK: (n·c n·k)."""
        return self.reduced(self.K)

    @cached_property
    def L(self) -> np.ndarray:
        """The lower Cholesky factor of B = I + SᵀKS: (n·c n·c)."""
        inside = linalg.symmetric_part(self.reduced(self.SK.T))
        return linalg.cholesky("I + SᵀKS", np.eye(len(inside)) + inside)

    @cached_property
    def alpha(self) -> DataOutputs:
        """α, with which the posterior mean is mean + K α: (n k). At a mode it is −r, Eq. (dual-mode)."""
        shift, r = self.sites.f - self.mean, self.sites.r
        alpha = self.coefficients(shift, r)
        for _ in range(REFINEMENTS):
            move = self.times_kernel(alpha) - shift
            left = alpha + r + times(self.sites.S, transposed_times(self.sites.S, move))
            alpha = alpha + self.coefficients(np.zeros_like(shift), left)
        return alpha

    @cached_property
    def log_evidence(self) -> float:
        """log ∫ Π t_n(f_n) N(f; mean, K) df: the integrand at its maximum and −½ log |B|, Eq. (site-evidence)."""
        change = self.times_kernel(self.alpha)
        at_maximum = self.sites.log_value(self.mean + change).sum() - 0.5 * (self.alpha * change).sum()
        return float(at_maximum - 0.5 * linalg.log_det_from_cholesky(self.L))

    def posterior_mean(self) -> DataOutputs:
        """mean + K α: (n k)."""
        return self.mean + self.times_kernel(self.alpha)

    def posterior_covariances(self) -> DataMatrices:
        """V_n = Cov f(x_n), the diagonal blocks of K − K S B⁻¹ Sᵀ K: (n k k)."""
        n, k = self.mean.shape
        explained = linalg.solve_lower(self.L, self.SK).reshape(-1, n, k)
        return blocks(self.K, n) - np.einsum("jnk,jnl->nkl", explained, explained)

    def reduced_inverse(self) -> np.ndarray:
        """B⁻¹: (n·c n·c)."""
        return linalg.gram(linalg.solve_lower(self.L, np.eye(len(self.L))))

    def reduced(self, A: np.ndarray) -> np.ndarray:
        """SᵀA, datum by datum, for A (n·k, m): (n·c m)."""
        n, k, c = self.sites.S.shape
        return (np.swapaxes(self.sites.S, -1, -2) @ A.reshape(n, k, A.shape[1])).reshape(n * c, A.shape[1])

    def times_kernel(self, v: Outputs) -> Outputs:
        """K v: (*s n k)."""
        return (v.reshape(*v.shape[:-2], -1) @ self.K).reshape(v.shape)

    def coefficients(self, shift: Outputs, r: Outputs) -> Outputs:
        """−r + S B⁻¹ Sᵀ(d + K r): α for sites with residual r at mean + d, Eq. (site-posterior). (*s n k)."""
        u = transposed_times(self.sites.S, shift + self.times_kernel(r))
        solved = linalg.solve_lower_transposed(self.L, linalg.solve_lower(self.L, u.reshape(-1, len(self.L)).T))
        return times(self.sites.S, solved.T.reshape(u.shape)) - r


def blocks(A: np.ndarray, n: int) -> np.ndarray:
    """The n diagonal blocks of A."""
    data, rows, columns = np.arange(n), A.shape[0] // n, A.shape[1] // n
    return A.reshape(n, rows, n, columns)[data, :, data]
