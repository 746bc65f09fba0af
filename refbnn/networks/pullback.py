"""The second derivative in θ of a function of the outputs, in every form: full, by layer, by unit, diagonal, as an operator.

Σ_n h_n(f(x_n, θ)) has second derivative Σ_n J_nᵀ M_n J_n + Σ_nk v_nk ∇²f_nk, with M_n = ∂²h_n/∂f² and v_n = ∂h_n/∂f. Without v
and with the loss's Λ for M it is the GGN, with an output Fisher matrix the Fisher, with r rᵀ the empirical Fisher; with Λ and
r it is the Hessian. So one class serves them all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from refbnn.networks import assembly
from refbnn.networks.assembly import Layout
from refbnn.networks.signals import Signals, broadcast_batch, product, transpose
from refbnn.shapes import Matrix, Parameters, Vector, as_array, as_indices


@dataclass(frozen=True)
class Pullback:
    """Σ_n J_nᵀ M_n J_n + Σ_nk v_nk ∇²f_nk of a multilayer perceptron on given data.

    `output_matrix` makes M (k k n) and `root`, where one is known, its factor S (num_columns k n), M = Σ_c S_c S_cᵀ: neither is
    computed before a route needs it. v is (k n). None for zero.
    """

    layout: Layout
    signals: Signals
    output_matrix: Callable[[], np.ndarray] | None = None
    root: Callable[[], np.ndarray] | None = None
    num_columns: int = 0
    v: np.ndarray | None = None

    @cached_property
    def M(self) -> np.ndarray | None:
        """M (k k n), or None for zero."""
        return None if self.output_matrix is None else self.output_matrix()

    @cached_property
    def S(self) -> np.ndarray | None:
        """The factor of M: (c k n), or None where none is known."""
        return None if self.root is None else self.root()

    @property
    def num_params(self) -> int:
        """p."""
        return self.layout.num_params

    @property
    def num_data(self) -> int:
        """n."""
        return self.signals.num_data

    def full(self, block_size: int | None = None) -> Matrix:
        """The matrix, exactly symmetric: (p p). `block_size` data at a time bounds the memory beside the result.

        Chosen by cost: products of the stacked rows SᵀJ, or block by block with the sum over outputs done first, from S where
        it has few columns. Without hidden layers v plays no part; with one it adds little, apart where the rest is made of rows.
        """
        layout, signals = self.layout, self.signals
        if self.v is not None and layout.depth == 1:
            return self._part(v=False).full(block_size)
        if self.output_matrix is None and self.v is None:
            return np.zeros((self.num_params, self.num_params))
        known = self.root is not None
        if known and assembly.gram_is_cheaper(layout, self.num_columns, self.num_data):
            if self.v is None:
                return assembly.gauss_newton_gram(layout, signals, self.S, block_size)
            if layout.depth == 2:
                return self._part(v=False).full(block_size) + self._part(M=False).full(block_size)
        if known and self.num_columns <= assembly.FEW_COLUMNS:
            return assembly.second_derivative(layout, signals, None, self.v, block_size, S=self.S)
        return assembly.second_derivative(layout, signals, self.M, self.v, block_size)

    def pieces(self, block_size: int | None = None) -> Iterator[Pullback]:
        """Pullbacks of `block_size` data each, which add up to this one."""
        blocks = assembly.blocks_of_data(self.layout, self.num_data, self.num_columns, self.v is not None, block_size)
        return map(self._piece, blocks)

    def diagonal(self, block_size: int | None = None) -> Vector:
        """The diagonal, without the matrix, `block_size` data at a time: (p)."""
        parts = (assembly.diagonal(self.layout, piece.signals, piece._own()) for piece in self.pieces(block_size))
        return sum(parts, next(parts))

    def layer_blocks(self, block_size: int | None = None) -> list[np.ndarray]:
        """The diagonal blocks of the layers: (p_l p_l) each, in θ's order."""
        return assembly.layer_blocks(self.layout, self.signals, self.M, self.v, block_size)

    def neuron_blocks(self, block_size: int | None = None) -> list[np.ndarray]:
        """The diagonal blocks of the units, each on its incoming weights and then its bias: one (d_l w_l w_l) a layer."""
        parts = (assembly.neuron_blocks(self.layout, piece.signals, piece._own()) for piece in self.pieces(block_size))
        return [sum(blocks[1:], blocks[0]) for blocks in zip(*parts)]

    def last_layer(self) -> np.ndarray:
        """The block of the output layer, where v plays no part: (p_L p_L)."""
        l = self.layout.depth - 1
        layout = Layout(self.layout.sizes[l:], self.layout.bias)
        signals = Signals(self.signals.matrices[l:], self.signals.augmented[l:], [], self.signals.f, self.signals.bias)
        return Pullback(layout, signals, self.output_matrix, self.root, self.num_columns).full()

    def subset(self, parameters: np.ndarray) -> np.ndarray:
        """The rows and columns of the chosen parameters, by products with unit vectors: (s s). Raises ValueError off range."""
        chosen = as_indices(parameters, self.num_params)
        block = self.matvec(np.eye(self.num_params)[chosen])[:, chosen]
        return 0.5 * (block + block.T)

    def matvec(self, u: Parameters) -> Parameters:
        """The product with u, for every leading axis, without the matrix (Pearlmutter 1994): (*s p)."""
        u = as_array("u", u, "*s p", p=self.num_params)
        return self.layout.join(second_order_product(self.signals, self.layout.matrices(u), self.M, self.v))

    def linear_operator(self) -> object:
        """The same as a scipy.sparse.linalg.LinearOperator, symmetric, for its solvers and eigensolvers: (p p)."""
        from scipy.sparse.linalg import LinearOperator  # here, not above: it would slow down `import refbnn`

        return LinearOperator(
            shape=(self.num_params, self.num_params),
            dtype=np.float64,
            matvec=lambda u: self.matvec(u.ravel()),
            rmatvec=lambda u: self.matvec(u.ravel()),
            matmat=lambda U: self.matvec(U.T).T,
            rmatmat=lambda U: self.matvec(U.T).T,
        )

    def _own(self) -> list[np.ndarray]:
        return assembly.own_curvatures(self.signals, None if self.root else self.M, self.S, self.v)

    def _piece(self, data: slice) -> Pullback:
        """Some of the data, or all."""
        if data == slice(0, self.num_data):
            return self
        return replace(
            self,
            signals=self.signals.block(data),
            output_matrix=None if self.output_matrix is None else lambda: self.M[..., data],
            root=None if self.root is None else lambda: self.S[..., data],
            v=None if self.v is None else self.v[..., data],
        )

    def _part(self, M: bool = True, v: bool = True) -> Pullback:
        """With one of the two terms left out."""
        part = self if v else replace(self, v=None)
        return part if M else replace(part, output_matrix=None, root=None)


def second_order_product(signals: Signals, directions: list[np.ndarray], M, v) -> list[np.ndarray]:
    """The matrices (W b) of (Σ JᵀMJ + Σ v ∇²f) u for u = directions (V c), Eq. (contracted-hessian-product).

    Forward: ż along u. Backward, with u_l = Wᵀδ: δ̇_L = M ḟ, δ̇_l = φ″ ż ⊙ Wᵀδ + φ′ ⊙ (Wᵀδ̇ + Vᵀδ). Layer: δ̇ āᵀ + δ (ȧ, 0)ᵀ.
    """
    tangents, weights = signals.tangents(directions), signals.weights
    delta, delta_dot = v, _bent_outputs(tangents[-1][0], M, v)
    products = []
    for l in range(signals.depth - 1, -1, -1):
        part = product(delta_dot, transpose(signals.augmented[l]))
        products.append(part)
        if l:
            W, a_dot, slopes = transpose(weights[l]), tangents[l][1], signals.slopes[l - 1]
            delta_dot = product(W, delta_dot)
            if v is not None:
                width = W.shape[-2]
                part[..., :width] += product(delta, transpose(a_dot))
                delta_dot += product(transpose(directions[l][..., :width]), delta)
            delta_dot *= slopes[0]
            if v is not None:
                delta = product(W, delta)
                delta_dot += slopes[1] * tangents[l - 1][0] * delta
                if l > 1:
                    delta *= slopes[0]
    return products[::-1]


def _bent_outputs(f_dot: np.ndarray, M, v) -> np.ndarray:
    """M ḟ, zero without M, with the leading axes of v too."""
    bent = np.zeros_like(f_dot) if M is None else _times(M, f_dot)
    return bent if v is None else broadcast_batch(bent, v.shape[:-2], 2)


def _times(M: np.ndarray, f_dot: np.ndarray) -> np.ndarray:
    """M ḟ per datum; numbers, with a single output."""
    return M[..., 0, :] * f_dot if M.shape[-2] == 1 else np.einsum("...abn,...bn->...an", M, f_dot)
