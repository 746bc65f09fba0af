"""Symmetric positive-definite algebra: Cholesky that refuses, triangular solves, symmetric roots."""

from __future__ import annotations

import numpy as np
import scipy.linalg

from refbnn.shapes import as_array


class NotPositiveDefinite(ValueError):
    """A matrix that had to be positive definite is not; the message gives its smallest eigenvalue."""


def gram(A: np.ndarray) -> np.ndarray:
    """Aᵀ A for A (r, p). One buffer on both sides, so BLAS uses its symmetric product: exactly symmetric, half the work."""
    return A.T @ A


def symmetric_part(A: np.ndarray) -> np.ndarray:
    """(A + Aᵀ)/2, exactly symmetric; for products whose two halves differ by round-off alone."""
    return 0.5 * (A + np.swapaxes(A, -1, -2))


def as_symmetric(name: str, value: object) -> np.ndarray:
    """Return `value` as a symmetric float64 matrix, or raise ValueError.

    Asymmetry up to 30·p·u·‖A‖ (round-off of a product) is accepted and averaged away; more is refused.
    """
    A = as_array(name, value, "p q")
    if A.shape[0] != A.shape[1]:
        raise ValueError(f"{name}: expected a square matrix, got shape {A.shape}")
    asymmetry = np.abs(A - A.T).max(initial=0.0)
    if asymmetry > 30 * len(A) * np.finfo(float).eps / 2 * np.abs(A).max(initial=0.0):
        raise ValueError(f"{name}: expected a symmetric matrix, got one with max |A - Aᵀ| = {asymmetry:.3g}")
    return symmetric_part(A)


def cholesky(name: str, A: np.ndarray) -> np.ndarray:
    """Lower-triangular L with L Lᵀ = A. Raises NotPositiveDefinite with the smallest eigenvalue; adds no jitter.

    A pivot L_ii² below p·ε·A_ii is nothing but round-off of a singular matrix: also refused. The test does not depend on units.
    """
    try:
        L = np.linalg.cholesky(A)
    except np.linalg.LinAlgError:
        raise _refusal(name, A) from None
    if (np.diagonal(L) ** 2 <= len(A) * np.finfo(float).eps * np.diagonal(A)).any():
        raise _refusal(name, A)
    return L


def _refusal(name: str, A: np.ndarray) -> NotPositiveDefinite:
    smallest = scipy.linalg.eigvalsh(A, subset_by_index=[0, 0])[0]
    return NotPositiveDefinite(f"{name}: expected a positive-definite matrix, got one with smallest eigenvalue {smallest:.6g}")


def solve_lower(L: np.ndarray, B: np.ndarray) -> np.ndarray:
    """L⁻¹ B for lower-triangular L."""
    return scipy.linalg.solve_triangular(L, B, lower=True, check_finite=False)


def solve_lower_transposed(L: np.ndarray, B: np.ndarray) -> np.ndarray:
    """L⁻ᵀ B for lower-triangular L."""
    return scipy.linalg.solve_triangular(L, B, lower=True, trans="T", check_finite=False)


def log_det_from_cholesky(L: np.ndarray) -> float:
    """log |L Lᵀ| = 2 Σ log L_ii."""
    return float(2 * np.log(np.diagonal(L)).sum())


def semidefinite_root(M: np.ndarray) -> np.ndarray:
    """S with S Sᵀ = M for positive-semidefinite matrices (..., k k), singular ones too, by eigendecomposition.

    Eigenvalues that round-off made negative count as zero: M is semidefinite by construction, e.g. an expected outer product.
    """
    if M.shape[-1] == 1:
        return np.sqrt(M)
    values, vectors = np.linalg.eigh(M)
    return vectors * np.sqrt(np.maximum(values, 0.0))[..., None, :]


def symmetric_root(name: str, M: np.ndarray) -> np.ndarray:
    """The only R = Rᵀ ⪰ 0 with R R = M for positive-semidefinite matrices (..., k k), singular ones too.

    Raises NotPositiveDefinite for an eigenvalue below −30·k·u·‖M‖, which round-off does not make, and ValueError for asymmetry.
    """
    allowed = 30 * M.shape[-1] * np.finfo(float).eps / 2 * np.abs(M).max((-1, -2), initial=0.0, keepdims=True)
    asymmetry = np.abs(M - np.swapaxes(M, -1, -2))
    if (asymmetry > allowed).any():
        raise ValueError(f"{name}: expected a symmetric matrix, got one with max |A - Aᵀ| = {asymmetry.max():.3g}")
    values, vectors = np.linalg.eigh(symmetric_part(M))
    if (values < -allowed[..., 0]).any():
        raise NotPositiveDefinite(f"{name}: expected no negative eigenvalue, got one of {values.min():.6g}")
    return (vectors * np.sqrt(np.maximum(values, 0.0))[..., None, :]) @ np.swapaxes(vectors, -1, -2)
