"""Curvature matrices from per-datum parts: functions of arrays, each a single matrix product over data and outputs."""

from __future__ import annotations

import numpy as np

from refbnn.linalg import gram, symmetric_part
from refbnn.shapes import DataGradients, Jacobian, Matrix, OutputMatrices


def ggn(J: Jacobian, factor: OutputMatrices) -> Matrix:
    """Σ_n J_nᵀ S_n S_nᵀ J_n, Eq. (ggn): R = Sᵀ J stacked over data, then Rᵀ R. Exactly symmetric, never indefinite. (p p)."""
    return gram(_stack(np.swapaxes(factor, -1, -2) @ J))


def congruence(J: Jacobian, M: OutputMatrices) -> Matrix:
    """Σ_n J_nᵀ M_n J_n for symmetric M_n of any sign, e.g. an output Fisher matrix, Eq. (fisher): (p p)."""
    return symmetric_part(_stack(J).T @ _stack(M @ J))


def empirical_fisher(gradients: DataGradients) -> Matrix:
    """Σ_n g_n g_nᵀ, not centred, Eq. (empirical-fisher): (p p)."""
    return gram(gradients)


def _stack(J: np.ndarray) -> np.ndarray:
    """(n k p) as (n·k, p)."""
    return J.reshape(-1, J.shape[-1])
