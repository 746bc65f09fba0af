"""Low rank plus diagonal: the leading eigenpairs of a curvature, added exactly to a diagonal prior precision.

The eigenpairs come from the smallest problem that has them: the Gram dual SᵀJJᵀS where data are few, the matrix itself where
parameters are few, products with vectors (Lanczos) otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import singledispatch

import numpy as np
import scipy.linalg

from refbnn.duals import gram_dual
from refbnn.linalg import NotPositiveDefinite
from refbnn.networks.pullback import Pullback
from refbnn.networks.rows import Rows
from refbnn.networks.signals import transpose
from refbnn.precision import Dense, Diagonal
from refbnn.shapes import Matrix, Parameters, Vector, as_array, as_count, as_indices

DENSE_EIGENPROBLEM = 600  # up to this size, or when most eigenpairs are wanted, a dense eigensolver costs least


@dataclass(frozen=True)
class LowRank:
    """U Uᵀ with U (p r): orthogonal columns √μ_i v_i, for the leading eigenpairs (μ_i, v_i) of a curvature, largest first."""

    U: np.ndarray

    @property
    def num_params(self) -> int:
        """p."""
        return len(self.U)

    @property
    def rank(self) -> int:
        """r, the number of columns kept."""
        return self.U.shape[1]

    @property
    def eigenvalues(self) -> np.ndarray:
        """μ, largest first: (r)."""
        return (self.U**2).sum(0)

    def matrix(self) -> Matrix:
        """U Uᵀ, exactly symmetric: (p p)."""
        return self.U @ self.U.T

    def diagonal(self) -> Vector:
        """The diagonal of U Uᵀ: (p)."""
        return (self.U**2).sum(1)

    def matvec(self, v: Parameters) -> Parameters:
        """U Uᵀ v: (*s p)."""
        return (as_array("v", v, "*s p", p=self.num_params) @ self.U) @ self.U.T

    def plus(self, prior: Diagonal) -> LowRankPlusDiagonal:
        """U Uᵀ + D for a diagonal prior precision D. Raises ValueError for any other: add its matrix to `matrix()` instead."""
        if not isinstance(prior, Diagonal):
            found = f"a {type(prior).__name__}" + (f" of shape {prior.shape}" if isinstance(prior, np.ndarray) else "")
            raise ValueError(f"prior: expected a Diagonal precision, got {found}; Dense(self.matrix() + P0) takes any P0")
        return LowRankPlusDiagonal(self.U, prior.diagonal())


class LowRankPlusDiagonal:
    """P = D + U Uᵀ for D > 0 diagonal (p) and any U (p r), Eq. (low-rank): every operation costs O(p r), with one SVD before.

    D^(−1/2) U = E diag(s) Qᵀ gives P = D^(1/2) (I + E diag(s²) Eᵀ) D^(1/2), and with orthonormal E every function of the middle
    factor is explicit: its inverse is I − E diag(s²/(1 + s²)) Eᵀ (Woodbury), its determinant Π (1 + s²).
    Raises ValueError for an entry of D that is not positive.
    """

    __array_ufunc__ = None  # so that `array + LowRankPlusDiagonal` comes to __radd__

    def __init__(self, U: np.ndarray, diagonal: Vector):
        self._D = Diagonal(diagonal)
        self._U = as_array("U", U, "p r", p=self._D.num_params)
        self._E, s, _ = scipy.linalg.svd(self._U / np.sqrt(self._D.diagonal())[:, None], full_matrices=False)
        self._log = np.log1p(s * s)

    @property
    def num_params(self) -> int:
        """p."""
        return self._D.num_params

    def matrix(self) -> Matrix:
        """P as a full array: (p p)."""
        return self._D.matrix() + self._U @ self._U.T

    def matvec(self, v: Parameters) -> Parameters:
        """P v: (*s p)."""
        return self._D.matvec(v) + (v @ self._U) @ self._U.T

    def solve(self, v: Parameters) -> Parameters:
        """P⁻¹ v: (*s p)."""
        return self._D.scale_matvec(self._middle(self._D.scale_matvec(v), np.expm1(-self._log)))

    def scale_matvec(self, z: Parameters) -> Parameters:
        """C z with C = D^(−1/2) (I + E diag(s²) Eᵀ)^(−1/2), so that C Cᵀ = P⁻¹: (*s p)."""
        return self._D.scale_matvec(self._middle(z, np.expm1(-0.5 * self._log)))

    def scale_transposed_matvec(self, v: Parameters) -> Parameters:
        """Cᵀ v: (*s p)."""
        return self._middle(self._D.scale_matvec(v), np.expm1(-0.5 * self._log))

    def log_det(self) -> float:
        """log |P| = log |D| + Σ log(1 + s²)."""
        return self._D.log_det() + float(self._log.sum())

    def diagonal(self) -> Vector:
        """The diagonal of P: (p)."""
        return self._D.diagonal() + (self._U**2).sum(1)

    def principal(self, parameters: np.ndarray) -> LowRankPlusDiagonal:
        """The rows and columns of the chosen parameters, of the same rank at most. Raises ValueError off range."""
        chosen = as_indices(parameters, self.num_params)
        return LowRankPlusDiagonal(self._U[chosen], self._D.diagonal()[chosen])

    def __add__(self, other: Matrix) -> Dense:
        return Dense(self.matrix()) + other

    __radd__ = __add__

    def _middle(self, v: Parameters, change: np.ndarray) -> Parameters:
        """(I + E diag(change) Eᵀ) v: (*s p)."""
        return v + ((v @ self._E) * change) @ self._E.T


@singledispatch
def leading(pullback: Pullback, rank: int) -> LowRank:
    """The `rank` eigenpairs of a curvature of largest size, Eq. (low-rank); with all p it is the curvature itself.

    No other matrix of that rank is nearer (Eckart & Young 1936). Raises NotPositiveDefinite where one of them is negative, which
    a Hessian's can be, and a GGN's where Λ is indefinite: U Uᵀ has no such part, and a precision without it would be that of
    another model. `positive_part` leaves it out in the open. What is smaller than the pairs kept is left out whatever its sign.

    Eigenvalues that are zero are no columns, and with few data there are at most c·n: the result may have fewer than asked for.
    For a GGN or Fisher matrix with few data they come from the Gram dual, Eq. (gram-dual): if (μ, e) is a pair of RᵀR, then
    R e = √μ v for the pair (μ, v) of R Rᵀ. Of Rows they are singular triples. Raises ValueError for a rank below 1 or above p.
    """
    p, size = _checked(rank, pullback.num_params), _dual_size(pullback)
    if size < p and not _lanczos_is_cheaper(pullback, rank):
        return _from_dual(pullback, rank)
    values, vectors = _pairs(pullback, rank, "LM")
    _refuse_negative(values, rank, p)
    return _from_pairs(values, vectors, rank)


@leading.register
def _(rows: Rows, rank: int) -> LowRank:
    _checked(rank, rows.num_params)
    _, s, right = scipy.linalg.svd(rows.R, full_matrices=False)
    kept = (s > 0)[:rank]
    return LowRank((s[:rank, None] * right[:rank])[kept].T.copy())


def positive_part(pullback: Pullback, rank: int) -> LowRank:
    """The `rank` largest of the positive eigenpairs, whatever negative ones there are; at most as many as there are.

    With all of them it is Σ_i max(μ_i, 0) v_i v_iᵀ, the nearest matrix that is positive semi-definite (Higham 1988), and not the
    curvature: along eigenvectors with μ_i < 0 a Laplace approximation made of it has the prior's precision. laplace-torch's low
    rank keeps of a Hessian those of the `rank` pairs of largest size that are positive: the same where no negative one is as
    large. Where there are no negative ones it is `leading`. Raises ValueError as that does.
    """
    if _dual_size(pullback) < pullback.num_params:
        return leading(pullback, rank)
    _checked(rank, pullback.num_params)
    return _from_pairs(*_pairs(pullback, rank, "LA"), rank)


def _dual_size(pullback: Pullback) -> int:
    """c·n, the number of columns of R with R Rᵀ the curvature, or p where no R is known."""
    if pullback.v is not None or pullback.root is None:
        return pullback.num_params
    return pullback.num_columns * pullback.signals.num_data


def _lanczos_is_cheaper(pullback: Pullback, rank: int) -> bool:
    """Whether the problem is large, the pairs few and the curvature not zero, of which Lanczos finds none."""
    size = min(_dual_size(pullback), pullback.num_params)
    return size > DENSE_EIGENPROBLEM and 4 * rank < size and bool(pullback.matvec(np.ones(pullback.num_params)).any())


def _pairs(pullback: Pullback, rank: int, which: str) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues and vectors: all of them, or for a large problem `rank`, by ARPACK's name of those wanted."""
    if not _lanczos_is_cheaper(pullback, rank):
        return np.linalg.eigh(pullback.full())
    from scipy.sparse.linalg import eigsh  # here, not above: it would slow down `import refbnn`

    return eigsh(pullback.linear_operator(), k=rank, which=which, v0=np.ones(pullback.num_params))  # v0 is not mapped to 0


def _refuse_negative(values: np.ndarray, rank: int, p: int) -> None:
    """Raise NotPositiveDefinite for a negative eigenvalue among the `rank` of largest size, beyond round-off 30·p·u·max|μ|."""
    largest = values[np.argsort(-np.abs(values))[:rank]]
    if largest.min() < -15 * p * np.finfo(float).eps * np.abs(largest).max():
        raise NotPositiveDefinite(
            f"curvature: expected no negative eigenvalue among the {rank} of largest size, got {largest.min():.6g}; "
            "low_rank.positive_part leaves negative ones out, Dense(curvature.full() + P0) keeps them"
        )


def _checked(rank: int, p: int) -> int:
    """p, or ValueError for a rank that p parameters cannot have."""
    if as_count("rank", rank) > p:
        raise ValueError(f"rank: expected at most the number of parameters, {p}, got {rank}")
    return p


def _from_pairs(values: np.ndarray, vectors: np.ndarray, rank: int) -> LowRank:
    """√μ v of the `rank` largest positive pairs."""
    order = np.argsort(values)[::-1][:rank]
    order = order[values[order] > 0]
    return LowRank(vectors[:, order] * np.sqrt(values[order]))


def _from_dual(pullback: Pullback, rank: int) -> LowRank:
    """R e for the leading eigenvectors e of RᵀR, by one batched backward pass: R e = Σ_n J_nᵀ Σ_c S_c e_cn."""
    c, n = len(pullback.S), pullback.signals.num_data
    values, vectors = np.linalg.eigh(gram_dual(pullback))
    vectors = vectors[:, values > 0][:, ::-1][:, :rank]
    if not vectors.size:
        return LowRank(np.zeros((pullback.num_params, 0)))
    e = vectors.T.reshape(-1, n, c).swapaxes(1, 2)  # (r c n)
    seeds = (e[:, :, None] * pullback.S).sum(1)  # (r k n)
    deltas = pullback.signals.backward(seeds)
    layers = [
        (delta @ transpose(a), delta.sum(-1) if pullback.signals.bias else None)
        for delta, a in zip(deltas, pullback.signals.inputs)
    ]
    return LowRank(np.ascontiguousarray(pullback.layout.flatten(layers).T))
