"""Independent blocks of parameters, each with a family of its own: layers with full covariances, or with matrix normals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refbnn.blocks import BlockDiagonal
from refbnn.gaussian import Gaussian
from refbnn.precision import Dense
from refbnn.shapes import Matrix, Vector, as_array, expect_methods
from refbnn.vi.families.arrays import Free
from refbnn.vi.families.full import Full
from refbnn.vi.families.matrix_normal import MatrixNormal


@dataclass(frozen=True)
class Independent:
    """Π_b q_b(θ_b) for consecutive blocks of θ, φ = (φ_1, φ_2, ...). Closed under what each block's family is closed under."""

    parts: tuple

    def __post_init__(self):
        object.__setattr__(self, "parts", tuple(self.parts))
        for part in self.parts:
            expect_methods("parts", part, "num_params", "num_free", "gaussian", "pull_back", "lengths", "along")
        if not self.parts:
            raise ValueError("parts: expected at least one family of a block, got none")

    @property
    def num_params(self) -> int:
        """p."""
        return sum(part.num_params for part in self.parts)

    @property
    def num_free(self) -> int:
        """The length of φ."""
        return sum(part.num_free for part in self.parts)

    def gaussian(self, phi: Free) -> Gaussian:
        """The member at φ."""
        phi = as_array("phi", phi, "f", f=self.num_free)
        members = [part.gaussian(phi[own]) for part, own, _ in self._pieces()]
        return Gaussian(np.concatenate([q.mean for q in members]), BlockDiagonal(tuple(q.precision for q in members)))

    def free(self, q: Gaussian) -> Free:
        """φ of each block given the mean of all others, put side by side."""
        P = q.precision.matrix()
        return np.concatenate([
            part.free(Gaussian(q.mean[span], Dense(P[span, span]))) for part, _, span in self._pieces()
        ])

    def pull_back(self, phi: Free, mean_gradient: Vector, scale_gradient: Matrix) -> Free:
        """The gradient in φ of what has these in the mean and in every entry of the scale, Eq. (pull-back)."""
        return np.concatenate([
            part.pull_back(phi[own], mean_gradient[span], scale_gradient[span, span]) for part, own, span in self._pieces()
        ])

    def lengths(self, phi: Free) -> Free:
        """The unit of each entry of φ, block by block."""
        return np.concatenate([part.lengths(phi[own]) for part, own, _ in self._pieces()])

    def along(self, law: Matrix) -> np.ndarray:
        """What vanishes at an optimum, block by block."""
        return np.concatenate([part.along(law[span, span]) for part, _, span in self._pieces()])

    def natural(self, matrix: Matrix) -> BlockDiagonal:
        """The precision of a member from a symmetric matrix: its blocks. Raises ValueError for a part without `natural`."""
        for part in self.parts:
            expect_methods("parts", part, "natural")
        return BlockDiagonal(tuple(part.natural(matrix[span, span]) for part, _, span in self._pieces()))

    def _pieces(self):
        """(part, where it stands in φ, where in θ)."""
        in_phi = in_theta = 0
        for part in self.parts:
            yield part, slice(in_phi, in_phi + part.num_free), slice(in_theta, in_theta + part.num_params)
            in_phi, in_theta = in_phi + part.num_free, in_theta + part.num_params


def per_layer(net: object) -> Independent:
    """A full covariance for every layer, nothing between layers."""
    return Independent(tuple(Full(size) for size in net.layer_sizes))


def kronecker(net: object) -> Independent:
    """A matrix normal for [W b] of every layer, nothing between layers.

    Raises ValueError for a network that does not show its layers as `sizes` and `bias`: of Linearised(net, at) take that of
    `net`, whose order of parameters it has.
    """
    expect_methods("net, or for Linearised(net, at) its net", net, "sizes", "bias")
    return Independent(tuple(
        MatrixNormal(out, width + net.bias, net.bias) for width, out in zip(net.sizes, net.sizes[1:])
    ))
