"""Positive-definite matrices, one protocol.

matvec, solve, log_det, diagonal, scale_matvec, scale_transposed_matvec, matrix, principal (rows and columns of a few), +.
A structure is a class; a Gaussian works over any of them. One that samplers use a million times may also have `product`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from refbnn import linalg
from refbnn.shapes import Matrix, Parameters, Vector, as_array, as_indices, as_own_array


def product(P: object) -> Callable[[Parameters], Parameters]:
    """v -> P v for v (*s p) that are known to be sound: matvec without its look at v, where P has that."""
    return getattr(P, "product", P.matvec)


class Dense:
    """A full symmetric positive-definite matrix P (p p), factored once as L Lᵀ.

    Raises ValueError for a matrix that is not symmetric, NotPositiveDefinite with the smallest eigenvalue otherwise.
    """

    __array_ufunc__ = None  # so that `array + Dense` comes to __radd__

    def __init__(self, matrix: Matrix, name: str = "precision"):
        self._matrix = linalg.as_symmetric(name, matrix)
        self._L = linalg.cholesky(name, self._matrix)

    @property
    def num_params(self) -> int:
        """p."""
        return len(self._matrix)

    def matrix(self) -> Matrix:
        """P itself: (p p)."""
        return self._matrix

    def matvec(self, v: Parameters) -> Parameters:
        """P v for every leading axis: (*s p)."""
        return self.product(self._vectors(v))

    def product(self, v: Parameters) -> Parameters:
        """The same for a v that is known to be sound and is not looked at."""
        return v @ self._matrix

    def solve(self, v: Parameters) -> Parameters:
        """P⁻¹ v for every leading axis: (*s p)."""
        v = self._vectors(v)
        columns = v.reshape(-1, self.num_params).T
        return linalg.solve_lower_transposed(self._L, linalg.solve_lower(self._L, columns)).T.reshape(v.shape)

    def scale_matvec(self, z: Parameters) -> Parameters:
        """C z with C = L⁻ᵀ, so that C Cᵀ = P⁻¹: the covariance of C z is P⁻¹ when that of z is I. (*s p)."""
        z = as_array("z", z, "*s p", p=self.num_params)
        return linalg.solve_lower_transposed(self._L, z.reshape(-1, self.num_params).T).T.reshape(z.shape)

    def scale_transposed_matvec(self, v: Parameters) -> Parameters:
        """Cᵀ v = L⁻¹ v, so that vᵀ P⁻¹ v = ‖Cᵀ v‖²: (*s p)."""
        v = self._vectors(v)
        return linalg.solve_lower(self._L, v.reshape(-1, self.num_params).T).T.reshape(v.shape)

    def log_det(self) -> float:
        """log |P|."""
        return linalg.log_det_from_cholesky(self._L)

    def diagonal(self) -> Vector:
        """The diagonal of P: (p)."""
        return np.diagonal(self._matrix)

    def principal(self, parameters: np.ndarray) -> Dense:
        """Rows and columns of chosen parameters: the precision of these given the others. Raises ValueError off range."""
        chosen = as_indices(parameters, self.num_params)
        return Dense(self._matrix[np.ix_(chosen, chosen)])

    def _vectors(self, v: Parameters) -> Parameters:
        return as_array("v", v, "*s p", p=self.num_params)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(num_params={self.num_params})"

    def __add__(self, other: Matrix) -> Dense:
        return Dense(self._matrix + _as_matrix(other, self.num_params))

    __radd__ = __add__


class Diagonal:
    """A diagonal matrix with positive entries. Raises ValueError for an entry that is not positive."""

    __array_ufunc__ = None

    def __init__(self, values: Vector, name: str = "precision"):
        self._values = as_own_array(name, values, "p")
        if not (self._values > 0).all():
            raise ValueError(f"{name}: expected positive entries, got a smallest one of {self._values.min():g}")

    @property
    def num_params(self) -> int:
        """p."""
        return len(self._values)

    def matrix(self) -> Matrix:
        """P as a full array: (p p)."""
        return np.diag(self._values)

    def matvec(self, v: Parameters) -> Parameters:
        """P v: (*s p)."""
        return self.product(self._vectors(v))

    def product(self, v: Parameters) -> Parameters:
        """The same for a v that is known to be sound and is not looked at."""
        return self._values * v

    def solve(self, v: Parameters) -> Parameters:
        """P⁻¹ v: (*s p)."""
        return self._vectors(v) / self._values

    def scale_matvec(self, z: Parameters) -> Parameters:
        """C z with C = P^(−1/2): (*s p)."""
        return as_array("z", z, "*s p", p=self.num_params) / np.sqrt(self._values)

    def scale_transposed_matvec(self, v: Parameters) -> Parameters:
        """Cᵀ v, the same as C v: (*s p)."""
        return self._vectors(v) / np.sqrt(self._values)

    def log_det(self) -> float:
        """log |P|."""
        return float(np.log(self._values).sum())

    def diagonal(self) -> Vector:
        """The diagonal of P: (p)."""
        return self._values

    def principal(self, parameters: np.ndarray) -> Diagonal:
        """The entries of chosen parameters: the precision of these given the others. Raises ValueError off range."""
        return Diagonal(self._values[as_indices(parameters, self.num_params)])

    def _vectors(self, v: Parameters) -> Parameters:
        return as_array("v", v, "*s p", p=self.num_params)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(num_params={self.num_params})"

    def __add__(self, other: Matrix) -> Dense:
        return Dense(self.matrix() + _as_matrix(other, self.num_params))

    __radd__ = __add__


class FromScale:
    """P = (C Cᵀ)⁻¹ for a lower-triangular C (p p) with positive diagonal: a Gaussian given by the root of its covariance.

    Nothing is inverted: C z is a draw, and P v costs two triangular solves. Raises ValueError for a C with entries above the
    diagonal, or with an entry on the diagonal that is not positive.
    """

    __array_ufunc__ = None

    def __init__(self, C: Matrix, name: str = "scale"):
        self._C = as_own_array(name, C, "p q")
        if self._C.shape[0] != self._C.shape[1]:
            raise ValueError(f"{name}: expected a square matrix, got shape {self._C.shape}")
        if np.triu(self._C, 1).any():
            raise ValueError(f"{name}: expected a lower-triangular matrix, got one with entries above the diagonal")
        if not (np.diagonal(self._C) > 0).all():
            raise ValueError(f"{name}: expected a positive diagonal, got a smallest entry of {np.diagonal(self._C).min():g}")

    @property
    def num_params(self) -> int:
        """p."""
        return len(self._C)

    def matrix(self) -> Matrix:
        """P as a full array: (p p)."""
        return linalg.gram(linalg.solve_lower(self._C, np.eye(self.num_params)))

    def matvec(self, v: Parameters) -> Parameters:
        """P v = C⁻ᵀ C⁻¹ v: (*s p)."""
        columns = self._columns(v)
        return linalg.solve_lower_transposed(self._C, linalg.solve_lower(self._C, columns)).T.reshape(np.shape(v))

    def solve(self, v: Parameters) -> Parameters:
        """P⁻¹ v = C Cᵀ v: (*s p)."""
        return self.scale_matvec(self.scale_transposed_matvec(v))

    def scale_matvec(self, z: Parameters) -> Parameters:
        """C z: (*s p)."""
        return as_array("z", z, "*s p", p=self.num_params) @ self._C.T

    def scale_transposed_matvec(self, v: Parameters) -> Parameters:
        """Cᵀ v: (*s p)."""
        return as_array("v", v, "*s p", p=self.num_params) @ self._C

    def log_det(self) -> float:
        """log |P| = −2 Σ log C_ii."""
        return -linalg.log_det_from_cholesky(self._C)

    def diagonal(self) -> Vector:
        """The diagonal of P: (p)."""
        return (linalg.solve_lower(self._C, np.eye(self.num_params)) ** 2).sum(0)

    def principal(self, parameters: np.ndarray) -> Dense:
        """The rows and columns of the chosen parameters: the precision of these given the others."""
        return Dense(self.matrix()[np.ix_(parameters, parameters)])

    def _columns(self, v: Parameters) -> np.ndarray:
        return as_array("v", v, "*s p", p=self.num_params).reshape(-1, self.num_params).T

    def __repr__(self) -> str:
        return f"{type(self).__name__}(num_params={self.num_params})"

    def __add__(self, other: Matrix) -> Dense:
        return Dense(self.matrix() + _as_matrix(other, self.num_params))

    __radd__ = __add__


def _as_matrix(other, num_params: int) -> np.ndarray:
    """The array to be added to a precision: a (p p) array or another precision."""
    return as_array("curvature", other.matrix() if hasattr(other, "matrix") else other, "p p", p=num_params)
