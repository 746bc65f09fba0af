"""Lower-triangular matrices with positive diagonal as vectors: row by row, the diagonal by its logarithms."""

from __future__ import annotations

import numpy as np


def num_lower(size: int) -> int:
    """How many entries the triangle has."""
    return size * (size + 1) // 2


def lower(entries: np.ndarray, size: int) -> np.ndarray:
    """L from its vector."""
    L = np.zeros((size, size))
    L[np.tril_indices(size)] = entries
    np.fill_diagonal(L, np.exp(np.diagonal(L)))
    return L


def pack_lower(L: np.ndarray) -> np.ndarray:
    """The vector of L."""
    packed = np.array(L)
    np.fill_diagonal(packed, np.log(np.diagonal(L)))
    return lower_part(packed)


def lower_part(A: np.ndarray) -> np.ndarray:
    """The entries on and below the diagonal, row by row."""
    return A[np.tril_indices(len(A))]


def lower_lengths(rows: np.ndarray) -> np.ndarray:
    """The units of the vector of L whose rows have these: those of the rows below the diagonal, 1 for the logarithms."""
    units = np.repeat(rows[:, None], len(rows), axis=1)
    np.fill_diagonal(units, 1.0)
    return lower_part(units)


def lower_gradient(L: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """The gradient in the vector of L of what has the given one in every entry of L: tril, and ∂/∂log L_ii = L_ii ∂/∂L_ii."""
    scaled = np.array(gradient)
    np.fill_diagonal(scaled, np.diagonal(gradient) * np.diagonal(L))
    return lower_part(scaled)
