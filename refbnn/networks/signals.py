"""What runs through a multilayer perceptron: activations forward, derivatives backward, tangents along a direction.

Data last: every array is (*s, width, n). A layer l has weights W_l, input a_{l-1}, pre-activation z_l; `slopes[l]` holds the
derivatives of the activation at z_l: [0] is φ′, [1] φ″, [2] φ‴, [3] φ⁗. v is always the coefficient of the outputs,
δ_l = ∂(v·f)/∂z_l.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

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
    """A forward pass: layers (W, b), their inputs a, slopes of the hidden layers, output f (*s k n)."""

    layers: Layers
    inputs: list[np.ndarray]
    slopes: list[Slopes]
    f: np.ndarray

    @property
    def num_data(self) -> int:
        """n."""
        return self.f.shape[-1]

    @property
    def depth(self) -> int:
        """The number of layers with weights."""
        return len(self.layers)

    @property
    def bias(self) -> bool:
        """Whether layers have biases."""
        return self.layers[0][1] is not None

    def augmented(self, l: int) -> np.ndarray:
        """ā_{l-1} = (a_{l-1}, 1), or a_{l-1} in a network without biases: (*s, width + 1, n)."""
        a = self.inputs[l]
        return np.concatenate([a, np.ones_like(a[..., :1, :])], axis=-2) if self.bias else a

    def block(self, data: slice) -> Signals:
        """The same for a block of the data: views."""
        slopes = [derivatives.seen_as(lambda s: s[..., data]) for derivatives in self.slopes]
        return Signals(self.layers, [a[..., data] for a in self.inputs], slopes, self.f[..., data])

    def with_axis_for_outputs(self) -> Signals:
        """The same with an axis of length 1 before the widths, to carry several v through one backward pass."""
        layers = [(W[..., None, :, :], b) for W, b in self.layers]
        slopes = [derivatives.seen_as(lambda s: s[..., None, :, :]) for derivatives in self.slopes]
        return Signals(layers, self.inputs, slopes, self.f)

    def backward(self, v: np.ndarray) -> list[np.ndarray]:
        """δ_l for every layer, (*s d_l n): δ_L = v, δ_l = φ′(z_l) ⊙ W_{l+1}ᵀ δ_{l+1}, Eq. (backward)."""
        deltas = [v]
        for (W, _), slopes in zip(self.layers[:0:-1], self.slopes[::-1]):
            delta = product(transpose(W), deltas[-1])
            delta *= slopes[0]
            deltas.append(delta)
        return deltas[::-1]

    def tangents(self, directions: Layers) -> list[tuple[np.ndarray, np.ndarray | None]]:
        """(ż_l, ȧ_{l-1}) along directions (V, c): ż_l = V_l a_{l-1} + W_l ȧ_{l-1} + c_l, ȧ_l = φ′(z_l) ⊙ ż_l; ȧ_0 = 0 is None.

        Eq. (jvp).
        """
        a_dot, tangents = None, []
        for l, ((W, _), (V, c)) in enumerate(zip(self.layers, directions)):
            z_dot = product(V, self.inputs[l])
            if a_dot is not None:
                z_dot += product(W, a_dot)
            if c is not None:
                z_dot += c[..., None]
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
                W, slopes = self.layers[l][0], self.slopes[l - 1]
                bend = None if v is None else slopes[1] * (W.T @ deltas[l])
                if B is not None:
                    B = Carried(B.matrix, W, slopes[0], bend)
                elif bend is not None:
                    B = Given(bend)


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


def total(delta: np.ndarray) -> np.ndarray:
    """Σ_n δ, as `delta.sum(-1)` in two thirds of the time of a short one."""
    return np.add.reduce(delta, -1)


def transpose(A: np.ndarray) -> np.ndarray:
    """The last two axes exchanged: a view."""
    return A.swapaxes(-1, -2)


def broadcast_batch(A: np.ndarray, batch: tuple[int, ...], trailing: int) -> np.ndarray:
    """A with its leading axes broadcast against `batch`. The usual case, nothing to do, skips NumPy's 5 microseconds."""
    own = A.shape[:A.ndim - trailing]
    return A if own == batch else np.broadcast_to(A, (*np.broadcast_shapes(own, batch), *A.shape[A.ndim - trailing:]))
