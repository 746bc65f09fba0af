"""RᵀR for given rows, in every form: full, by layer, by unit, diagonal, last layer, subset, as an operator.

A Pullback is a sum over data, datum by datum. The centred empirical Fisher matrix is none: the mean gradient couples all data.
Its square root is at hand, though, one row a datum, so that every structure of it is read off the rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refbnn.linalg import gram, symmetric_part
from refbnn.networks.assembly import Layout
from refbnn.networks.pullback import Pullback
from refbnn.networks.signals import transpose
from refbnn.shapes import DataGradients, Matrix, Parameters, Vector, as_array, as_indices


@dataclass(frozen=True)
class Rows:
    """RᵀR for R (n p), one row a datum, of a network whose layers stand in θ as `layout` says; the rows are kept: n·p numbers."""

    layout: Layout
    R: DataGradients

    def __post_init__(self):
        object.__setattr__(self, "R", as_array("R", self.R, "n p", p=self.layout.num_params))

    @property
    def num_params(self) -> int:
        """p."""
        return self.layout.num_params

    @property
    def num_data(self) -> int:
        """n."""
        return len(self.R)

    def full(self, block_size: int | None = None) -> Matrix:
        """The matrix, exactly symmetric: (p p). `block_size` is without effect here and below: all rows are there already."""
        return gram(self.R)

    def diagonal(self, block_size: int | None = None) -> Vector:
        """The diagonal: (p)."""
        return (self.R**2).sum(0)

    def layer_blocks(self, block_size: int | None = None) -> list[np.ndarray]:
        """The diagonal blocks of the layers: (p_l p_l) each, in θ's order."""
        return [gram(np.ascontiguousarray(self.R[:, self.layout.span(l)])) for l in range(self.layout.depth)]

    def neuron_blocks(self, block_size: int | None = None) -> list[np.ndarray]:
        """The diagonal blocks of the units, each on its incoming weights and then its bias: one (d_l w_l w_l) a layer."""
        blocks = []
        for W, b in self.layout.unflatten(self.R):
            own = (W if b is None else np.concatenate([W, b[..., None]], axis=-1)).swapaxes(0, 1)  # (d n w)
            blocks.append(symmetric_part(transpose(own) @ own))
        return blocks

    def last_layer(self) -> np.ndarray:
        """The block of the output layer: (p_L p_L)."""
        return gram(np.ascontiguousarray(self.R[:, self.layout.span(self.layout.depth - 1)]))

    def subset(self, parameters: np.ndarray) -> np.ndarray:
        """The rows and columns of the chosen parameters: (s s). Raises ValueError off range."""
        return gram(self.R[:, as_indices(parameters, self.num_params)])

    def matvec(self, u: Parameters) -> Parameters:
        """The product with u, for every leading axis: (*s p)."""
        return (as_array("u", u, "*s p", p=self.num_params) @ self.R.T) @ self.R

    linear_operator = Pullback.linear_operator
