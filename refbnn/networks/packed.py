"""Upper triangles of symmetric matrices, packed row by row: entry (i, j), i <= j, of d·(d + 1)/2; data last."""

from __future__ import annotations

import numpy as np


def count(size: int) -> int:
    """d(d + 1)/2."""
    return size * (size + 1) // 2


def index(size: int) -> np.ndarray:
    """Where entry (i, j) stands: (d d)."""
    at = np.arange(size)
    first, last = np.minimum.outer(at, at), np.maximum.outer(at, at)
    return first * (2 * size - first - 1) // 2 + last


def diagonal(size: int) -> np.ndarray:
    """Where the diagonal stands: (d)."""
    at = np.arange(size)
    return at * (2 * size - at + 1) // 2


def triangle(B: np.ndarray) -> np.ndarray:
    """That of B (d d n): (d(d+1)/2 n)."""
    return np.concatenate([B[i, i:] for i in range(len(B))])


def products(a: np.ndarray) -> np.ndarray:
    """That of a aᵀ for a (d n)."""
    out, start = np.empty((count(len(a)), a.shape[-1])), 0
    for i in range(len(a)):
        stop = start + len(a) - i
        np.multiply(a[i:], a[i], out=out[start:stop])
        start = stop
    return out


def congruence(W: np.ndarray, B: np.ndarray) -> np.ndarray:
    """That of Wᵀ B W for W (k d) and symmetric B (k k n), or diagonal B (k n): one matrix product from triangle to triangle.

    Σ_ab W_ai B_ab W_bj = Σ_{a<=b} B_ab (W_ai W_bj + W_bi W_aj), half of that for a = b.
    """
    i, j = np.triu_indices(W.shape[-1])
    if B.ndim == 2:
        return (W[:, i] * W[:, j]).T @ B
    a, b = (at[:, None] for at in np.triu_indices(len(W)))
    weights = W[a, i] * W[b, j] + W[b, i] * W[a, j]
    weights[diagonal(len(W))] *= 0.5
    return weights.T @ triangle(B)
