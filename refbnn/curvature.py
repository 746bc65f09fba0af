"""Curvature matrices from per-datum parts: functions of arrays, each a single matrix product over data and outputs."""

from __future__ import annotations

import numpy as np

from refbnn.linalg import gram, symmetric_part
from refbnn.shapes import DataGradients, DataJacobians, DataMatrices, Matrix, as_array


def ggn(J: DataJacobians, factor: DataMatrices) -> Matrix:
    """Σ_n J_nᵀ S_n S_nᵀ J_n, Eq. (ggn): R = Sᵀ J stacked over data, then Rᵀ R. Exactly symmetric, never indefinite. (p p)."""
    J, factor = _checked(J, factor)
    return gram(_stack(np.swapaxes(factor, -1, -2) @ J))


def congruence(J: DataJacobians, M: DataMatrices) -> Matrix:
    """Σ_n J_nᵀ M_n J_n for symmetric M_n of any sign, e.g. an output Fisher matrix, Eq. (fisher): (p p)."""
    J, M = _checked(J, M)
    return symmetric_part(_stack(J).T @ _stack(M @ J))


def empirical_fisher(gradients: DataGradients) -> Matrix:
    """Σ_n g_n g_nᵀ, not centred, Eq. (empirical-fisher): (p p)."""
    return gram(as_array("gradients", gradients, "n p"))


def _checked(J: np.ndarray, M: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both for one θ: a batch of draws would be summed over as if it were data."""
    J = as_array("jacobian", J, "n k p")
    n, k, _ = J.shape
    return J, as_array("output matrices", M, "n k k", n=n, k=k)


def _stack(J: np.ndarray) -> np.ndarray:
    """(n k p) as (n·k, p)."""
    return J.reshape(-1, J.shape[-1])
