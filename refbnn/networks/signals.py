"""What runs through a multilayer perceptron: activations forward, derivatives backward, tangents along a direction.

Data last: every array is (*s, width, n). A layer l has weights W_l, input a_{l-1}, pre-activation z_l; `slopes[l]` holds the
derivatives of the activation at z_l: [0] is φ′, [1] φ″, [2] φ‴, [3] φ⁗. v is always the coefficient of the outputs,
δ_l = ∂(v·f)/∂z_l. With biases (W b) is one matrix, which acts on ā = (a, 1): a pass over z and a sum over δ are saved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from refbnn.activations import Activation
from refbnn.networks import packed

MANY_ROWS = 16  # of W, from which on the two factors of Wᵀ B W are cheaper one after the other than their pairs at once

Layers = list[tuple[np.ndarray, np.ndarray | None]]


class Slopes(dict):
    """φ′, φ″, φ‴, φ⁗ at one z under 0, 1, 2, 3, each computed when it is first asked for."""

    def __init__(self, derivatives: Iterator[np.ndarray]):
        self._to_come = derivatives

    def __missing__(self, order: int) -> np.ndarray:
        while len(self) <= order:
            self[len(self)] = next(self._to_come)
        return self[order]

    def seen_as(self, view: Callable[[np.ndarray], np.ndarray]) -> Slopes:
        """view(φ′), view(φ″), ..., as late."""
        return Slopes(view(self[order]) for order in range(4))


@dataclass(frozen=True)
class Signals:
    """A forward pass: matrices (W b) and what they act on, ā = (a, 1), slopes of the hidden layers, output f (*s k n).

    `bias`: whether layers have biases; without them the matrices are W and act on a.
    """

    matrices: list[np.ndarray]
    augmented: list[np.ndarray]
    slopes: list[Slopes]
    f: np.ndarray
    bias: bool

    @property
    def weights(self) -> list[np.ndarray]:
        """W of every layer: views."""
        return [A[..., :-1] for A in self.matrices] if self.bias else self.matrices

    @property
    def inputs(self) -> list[np.ndarray]:
        """a_{l-1} of every layer: views."""
        return [a[..., :-1, :] for a in self.augmented] if self.bias else self.augmented

    @property
    def num_data(self) -> int:
        """n."""
        return self.f.shape[-1]

    @property
    def depth(self) -> int:
        """The number of layers with weights."""
        return len(self.matrices)

    def block(self, data: slice) -> Signals:
        """The same for a block of the data: views."""
        slopes = [derivatives.seen_as(lambda s: s[..., data]) for derivatives in self.slopes]
        return Signals(self.matrices, [a[..., data] for a in self.augmented], slopes, self.f[..., data], self.bias)

    def with_axis_for_outputs(self) -> Signals:
        """The same with an axis of length 1 before the widths, to carry several v through one backward pass."""
        matrices = [A[..., None, :, :] for A in self.matrices]
        slopes = [derivatives.seen_as(lambda s: s[..., None, :, :]) for derivatives in self.slopes]
        return Signals(matrices, self.augmented, slopes, self.f, self.bias)

    def backward(self, v: np.ndarray) -> list[np.ndarray]:
        """δ_l for every layer, (*s d_l n): δ_L = v, δ_l = φ′(z_l) ⊙ W_{l+1}ᵀ δ_{l+1}, Eq. (backward)."""
        deltas = [v]
        for W, slopes in zip(self.weights[:0:-1], self.slopes[::-1]):
            delta = product(transpose(W), deltas[-1])
            delta *= slopes[0]
            deltas.append(delta)
        return deltas[::-1]

    def tangents(self, directions: list[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray | None]]:
        """(ż_l, ȧ_{l-1}) along directions (V c): ż_l = V_l a_{l-1} + c_l + W_l ȧ_{l-1}, ȧ_l = φ′(z_l) ⊙ ż_l; ȧ_0 = 0 is None.

        Eq. (jvp).
        """
        a_dot, tangents = None, []
        for l, (W, direction) in enumerate(zip(self.weights, directions)):
            z_dot = product(direction, self.augmented[l])
            if a_dot is not None:
                z_dot += product(W, a_dot)
            tangents.append((z_dot, a_dot))
            if l < len(self.slopes):
                a_dot = self.slopes[l][0] * z_dot
        return tangents

    def curvatures(self, M: np.ndarray | None, v: np.ndarray | None) -> Iterator[tuple[int, np.ndarray | None]]:
        """(l, B_l) from last layer to first, B_l = ∂²/∂z_l∂z_lᵀ per datum of a function of f, Eq. (pre-activation-hessian).

        The function has Hessian M (k k n) and gradient v (k n) in f; M or v may be None for zero. B_L = M,
        B_l = D W_{l+1}ᵀ B_{l+1} W_{l+1} D + diag(φ″(z_l) ⊙ W_{l+1}ᵀ δ_{l+1}), D = diag φ′(z_l); without v the last term is
        absent. B is (d_l d_l n), or (d_l n) where it is a diagonal matrix, or None where it is zero. Eq. (second-back-signal).
        """
        for l, B in self.symmetric_curvatures(M, v):
            yield l, None if B is None else B.matrix

    def symmetric_curvatures(self, M: np.ndarray | None, v: np.ndarray | None) -> Iterator[tuple[int, Given | Carried | None]]:
        """The same, B_l in the form that is asked for: of the first layer nobody needs more than a triangle."""
        deltas = None if v is None else self.backward(v)
        B = None if M is None else Given(M)
        for l in range(self.depth - 1, -1, -1):
            yield l, B
            if l:
                W, slopes = self.weights[l], self.slopes[l - 1]
                bend = None if v is None else slopes[1] * (W.T @ deltas[l])
                if B is not None:
                    B = Carried(B.matrix, W, slopes[0], bend)
                elif bend is not None:
                    B = Given(bend)


def forward(matrices: list[np.ndarray], activations: Sequence[Activation], a: np.ndarray, bias: bool) -> Signals:
    """The network with these (W b) on a = ā_0 (d + 1 n). Derivatives of φ are computed when first asked for."""
    augmented, slopes = [a], []
    for A, phi in zip(matrices, activations):
        z = product(A, augmented[-1])
        augmented.append(room_for(z.shape, bias))
        room = augmented[-1][..., :z.shape[-2], :]
        derivatives = phi.successive(z, room)
        value = next(derivatives)
        if value is not room:
            room[...] = value
        slopes.append(Slopes(derivatives))
    return Signals(matrices, augmented, slopes, product(matrices[-1], augmented[-1]), bias)


@dataclass(frozen=True)
class Given:
    """A symmetric matrix per datum that is there: (d d n), or (d n) for a diagonal one."""

    matrix: np.ndarray

    @property
    def is_diagonal(self) -> bool:
        """Whether only the diagonal is there."""
        return self.matrix.ndim == 2

    def triangle(self) -> np.ndarray:
        """The upper triangle of one that is not diagonal, packed: (d(d+1)/2 n)."""
        return packed.triangle(self.matrix)


@dataclass(frozen=True)
class Carried:
    """D Wᵀ B W D + diag(bend) per datum, D = diag(slope), for B (k k n) or diagonal (k n); bend (d n) or None for zero."""

    B: np.ndarray
    W: np.ndarray
    slope: np.ndarray
    bend: np.ndarray | None
    is_diagonal = False

    @cached_property
    def matrix(self) -> np.ndarray:
        """All entries: (d d n)."""
        W, B = self.W, self.B
        half = W.T[..., None] * B if B.ndim == 2 else np.matmul(W.T, B).swapaxes(0, 1)
        full = np.matmul(W.T, half)
        full *= self.slope
        full *= self.slope[:, None]
        if self.bend is not None:
            at = np.arange(len(full))
            full[at, at] += self.bend
        return full

    def triangle(self) -> np.ndarray:
        """The upper triangle, packed: (d(d+1)/2 n). With few rows of W it costs a fraction of all entries."""
        if self.B.ndim == 3 and len(self.W) > MANY_ROWS:
            return packed.triangle(self.matrix)
        pairs = packed.congruence(self.W, self.B)
        pairs *= packed.products(self.slope)
        if self.bend is not None:
            pairs[packed.diagonal(len(self.slope))] += self.bend
        return pairs


def product(A: np.ndarray, B: np.ndarray) -> np.ndarray:
    """A B, leading axes broadcast.

    Two matrices meet in `dot`, the same BLAS as that of `@`, which starts in half the time; with leading axes, an outer product
    is formed in half the time of `@` by an elementwise product.
    """
    if A.ndim == B.ndim == 2:
        return A.dot(B)
    return A * B if A.shape[-1] == 1 else A @ B


def with_ones(a: np.ndarray, bias: bool) -> np.ndarray:
    """(a, 1) for a (width n), or a."""
    augmented = room_for(a.shape, bias)
    augmented[:len(a)] = a
    return augmented


def room_for(shape: tuple[int, ...], bias: bool) -> np.ndarray:
    """An array for (a, 1), a of this shape (*s width n), with its ones written."""
    *batch, width, n = shape
    augmented = np.empty((*batch, width + bias, n))
    augmented[..., width:, :] = 1.0
    return augmented


def transpose(A: np.ndarray) -> np.ndarray:
    """The last two axes exchanged: a view."""
    return A.swapaxes(-1, -2)


def broadcast_batch(A: np.ndarray, batch: tuple[int, ...], trailing: int) -> np.ndarray:
    """A with its leading axes broadcast against `batch`. The usual case, nothing to do, skips NumPy's 5 microseconds."""
    own = A.shape[:A.ndim - trailing]
    return A if own == batch else np.broadcast_to(A, (*np.broadcast_shapes(own, batch), *A.shape[A.ndim - trailing:]))
