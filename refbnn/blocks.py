"""Block-diagonal matrices: blocks of any kind, one after the other along θ.

`Blocks` is a curvature, `plus` makes it a `BlockDiagonal` precision. A prior whose precision has the same blocks is added one by
one: BlockDiagonal(P0_l + G_l for P0_l, G_l in zip(prior.precision.blocks, curvature.layer_blocks())).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg

from refbnn.linalg import as_symmetric
from refbnn.precision import Dense
from refbnn.shapes import Matrix, Parameters, Vector, as_array, as_indices, expect_methods


class Symmetric:
    """A symmetric matrix of any sign, such as one layer's block of a curvature; `plus` makes it a precision.

    Raises ValueError for a matrix that is not symmetric.
    """

    def __init__(self, matrix: Matrix):
        self._matrix = as_symmetric("matrix", matrix)

    @property
    def num_params(self) -> int:
        """p."""
        return len(self._matrix)

    def matrix(self) -> Matrix:
        """The matrix: (p p)."""
        return self._matrix

    def diagonal(self) -> Vector:
        """The diagonal: (p)."""
        return np.diagonal(self._matrix)

    def matvec(self, v: Parameters) -> Parameters:
        """The product with v: (*s p)."""
        return as_array("v", v, "*s p", p=self.num_params) @ self._matrix

    def plus(self, precision: float) -> Dense:
        """The matrix + λI. Raises NotPositiveDefinite unless every eigenvalue is positive."""
        return Dense(self._matrix + precision * np.eye(self.num_params))


@dataclass(frozen=True)
class Blocks:
    """A block-diagonal matrix: any objects with num_params, matrix, diagonal and matvec, one after the other along θ."""

    blocks: tuple

    def __post_init__(self):
        object.__setattr__(self, "blocks", tuple(self.blocks))

    @property
    def num_params(self) -> int:
        """p."""
        return sum(block.num_params for block in self.blocks)

    def matrix(self) -> Matrix:
        """The full matrix: (p p)."""
        return scipy.linalg.block_diag(*[block.matrix() for block in self.blocks])

    def diagonal(self) -> Vector:
        """The diagonal: (p)."""
        return np.concatenate([block.diagonal() for block in self.blocks])

    def matvec(self, v: Parameters) -> Parameters:
        """The product with v: (*s p)."""
        return self._each("matvec", v)

    def plus(self, precisions: float | Sequence[float]) -> BlockDiagonal:
        """The matrix + λ_b I in every block b, exactly and with its structure kept; one λ, or one a block."""
        if np.ndim(precisions) == 0:
            precisions = np.full(len(self.blocks), precisions)
        lambdas = as_array("precisions", precisions, "b", b=len(self.blocks))
        return BlockDiagonal(tuple(block.plus(float(value)) for block, value in zip(self.blocks, lambdas)))

    def spans(self) -> list[slice]:
        """Where each block stands in θ."""
        stops = np.cumsum([block.num_params for block in self.blocks])
        return [slice(int(stop) - block.num_params, int(stop)) for stop, block in zip(stops, self.blocks)]

    def _each(self, method: str, v: Parameters) -> Parameters:
        """The method of every block on its part of v, side by side."""
        v = as_array("v", v, "*s p", p=self.num_params)
        return np.concatenate([getattr(block, method)(v[..., span]) for block, span in zip(self.blocks, self.spans())], axis=-1)


class BlockDiagonal(Blocks):
    """A positive-definite block-diagonal matrix with the protocol of refbnn.precision: its blocks are precisions of any kind."""

    __array_ufunc__ = None  # so that `array + BlockDiagonal` comes to __radd__

    def solve(self, v: Parameters) -> Parameters:
        """P⁻¹ v: (*s p)."""
        return self._each("solve", v)

    def scale_matvec(self, z: Parameters) -> Parameters:
        """C z with C Cᵀ = P⁻¹, block by block: (*s p)."""
        return self._each("scale_matvec", z)

    def scale_transposed_matvec(self, v: Parameters) -> Parameters:
        """Cᵀ v: (*s p)."""
        return self._each("scale_transposed_matvec", v)

    def log_det(self) -> float:
        """log |P|, the sum over blocks."""
        return sum(block.log_det() for block in self.blocks)

    def principal(self, parameters: np.ndarray) -> Dense:
        """The rows and columns of the chosen parameters. Raises ValueError off range."""
        chosen = as_indices(parameters, self.num_params)
        return Dense(self.matrix()[np.ix_(chosen, chosen)])

    def __add__(self, other: Matrix) -> Dense:
        return Dense(self.matrix()) + other

    __radd__ = __add__


def layer_blocks(pullback: object) -> Blocks:
    """The diagonal blocks of the layers of a curvature, of any sign (of a Hessian too), exactly; nothing between layers."""
    expect_methods("pullback", pullback, "layer_blocks")
    return Blocks(tuple(Symmetric(block) for block in pullback.layer_blocks()))
