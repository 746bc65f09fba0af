"""What runs through a multilayer perceptron: activations forward, derivatives backward, tangents along a direction.

Data last: every array is (*s, width, n). A layer l has weights W_l, input a_{l-1}, pre-activation z_l; `slopes[l]` holds the
derivatives of the activation at z_l: [0] is φ′, [1] φ″, [2] φ‴. v is always the coefficient of the outputs, δ_l = ∂(v·f)/∂z_l.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

Layers = list[tuple[np.ndarray, np.ndarray | None]]


class Slopes:
    """φ′, φ″, φ‴ at one z, each computed when it is first asked for."""

    def __init__(self, derivatives: Iterator[np.ndarray]):
        self._to_come, self._known = derivatives, []

    def __getitem__(self, order: int) -> np.ndarray:
        while len(self._known) <= order:
            self._known.append(next(self._to_come))
        return self._known[order]

    def seen_as(self, view: Callable[[np.ndarray], np.ndarray]) -> Slopes:
        """view(φ′), view(φ″), ..., as late."""
        return Slopes(view(self[order]) for order in range(3))


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
            deltas.append(slopes[0] * apply(transpose(W), deltas[-1]))
        return deltas[::-1]

    def tangents(self, directions: Layers) -> list[tuple[np.ndarray, np.ndarray | None]]:
        """(ż_l, ȧ_{l-1}) along directions (V, c): ż_l = V_l a_{l-1} + W_l ȧ_{l-1} + c_l, ȧ_l = φ′(z_l) ⊙ ż_l; ȧ_0 = 0 is None.

        Eq. (jvp).
        """
        a_dot, tangents = None, []
        for l, ((W, _), (V, c)) in enumerate(zip(self.layers, directions)):
            z_dot = apply(V, self.inputs[l])
            if a_dot is not None:
                z_dot += apply(W, a_dot)
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
        deltas = None if v is None else self.backward(v)
        B = M
        for l in range(self.depth - 1, -1, -1):
            yield l, B
            if l:
                bend = None if v is None else self.slopes[l - 1][1] * (self.layers[l][0].T @ deltas[l])
                B = _one_layer_down(B, self.layers[l][0], self.slopes[l - 1][0], bend)


def apply(W: np.ndarray, a: np.ndarray) -> np.ndarray:
    """W a for all data; with one column of W it is an outer product, which an elementwise product forms in half the time."""
    return W * a if W.shape[-1] == 1 else W @ a


def transpose(A: np.ndarray) -> np.ndarray:
    """The last two axes exchanged: a view."""
    return A.swapaxes(-1, -2)


def broadcast_batch(A: np.ndarray, batch: tuple[int, ...], trailing: int) -> np.ndarray:
    """A with its leading axes broadcast against `batch`. The usual case, nothing to do, skips NumPy's 5 microseconds."""
    own = A.shape[:A.ndim - trailing]
    return A if own == batch else np.broadcast_to(A, (*np.broadcast_shapes(own, batch), *A.shape[A.ndim - trailing:]))


def _one_layer_down(B, W, slope, bend):
    """D Wᵀ B W D + diag(bend): dense, or the diagonal alone when B is zero."""
    if B is None:
        return bend
    half = (W.T * B.T[:, None]).transpose(1, 2, 0) if B.ndim == 2 else np.matmul(W.T, B).swapaxes(0, 1)
    B = np.matmul(W.T, half)  # (d_{l-1} d_{l-1} n)
    B *= slope
    B *= slope[:, None]
    if bend is not None:
        index = np.arange(len(B))
        B[index, index] += bend
    return B
