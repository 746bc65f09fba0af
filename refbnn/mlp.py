"""Multilayer perceptrons with hand-derived Jacobians and second derivatives.

z_l = W_l a_{l-1} + b_l,  a_l = φ_l(z_l),  a_0 = x,  f = z_L. The parameter vector θ holds, layer by layer, W_l (out x in,
row-major) and then b_l; `flatten` and `unflatten` are the only code that knows this.

The public axis order is `*s n k p`. Inside, the data axis comes last: every activation is (*s, width, n), so that elementwise
work runs along the data and every sum over data is one matrix product. δ always means ∂(v·f)/∂z_l for the given v.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from refbnn.activations import Activation
from refbnn.shapes import DataGradients, Inputs, Jacobian, Matrix, Outputs, Parameters, Vector, as_array, as_count, expect_shape

Layers = list[tuple[np.ndarray, np.ndarray | None]]


@dataclass(frozen=True)
class Mlp:
    """A multilayer perceptron.

    `sizes`: inputs, hidden widths, outputs, e.g. (2, 5, 3); (2, 3) has no hidden layer. `activation`: one for all hidden
    layers, or one per hidden layer. `bias`: whether layers have biases. Raises ValueError for sizes below 1, fewer than two
    sizes, or a wrong number of activations.
    """

    sizes: tuple[int, ...]
    activation: Activation | tuple[Activation, ...]
    bias: bool = True

    def __post_init__(self):
        if not np.iterable(self.sizes):
            raise ValueError(f"sizes: expected a sequence such as (2, 5, 3), got {self.sizes!r}")
        sizes = tuple(as_count("sizes", size) for size in self.sizes)
        if len(sizes) < 2:
            raise ValueError(f"sizes: expected at least inputs and outputs, got {sizes}")
        object.__setattr__(self, "sizes", sizes)
        hidden = len(sizes) - 2
        given = self.activation if isinstance(self.activation, Sequence) else (self.activation,) * hidden
        if len(given) != hidden or not all(isinstance(phi, Activation) for phi in given):
            raise ValueError(f"activation: expected one Activation or {hidden}, one a hidden layer, got {self.activation!r}")
        object.__setattr__(self, "activation", tuple(given))
        if not isinstance(self.bias, bool):
            raise ValueError(f"bias: expected True or False, got {self.bias!r}")

    @property
    def num_inputs(self) -> int:
        """d, the number of inputs."""
        return self.sizes[0]

    @property
    def num_outputs(self) -> int:
        """k, the number of outputs."""
        return self.sizes[-1]

    @property
    def layer_sizes(self) -> tuple[int, ...]:
        """The number of parameters of each layer."""
        return tuple(out * (width + self.bias) for width, out in zip(self.sizes, self.sizes[1:]))

    @property
    def num_params(self) -> int:
        """p, the number of parameters."""
        return sum(self.layer_sizes)

    @property
    def is_linear(self) -> bool:
        """Whether f is affine in θ: no hidden layer."""
        return len(self.sizes) == 2

    def unflatten(self, theta: Parameters) -> Layers:
        """θ (*s p) as a list of (W (*s out in), b (*s out) or None): views, nothing is copied."""
        theta = np.asarray(theta)
        expect_shape("theta", theta, "*s p", p=self.num_params)
        layers, start = [], 0
        for width, out in zip(self.sizes, self.sizes[1:]):
            stop = start + out * width
            W = theta[..., start:stop].reshape(*theta.shape[:-1], out, width)
            b = theta[..., stop:stop + out] if self.bias else None
            layers.append((W, b))
            start = stop + out * self.bias
        return layers

    def flatten(self, layers: Layers) -> Parameters:
        """The inverse of `unflatten`. Raises ValueError for layers that are not those of this network."""
        shapes = [(W.shape[-2:], b is not None) for W, b in layers]
        if shapes != [((out, width), self.bias) for width, out in zip(self.sizes, self.sizes[1:])]:
            raise ValueError(f"layers: expected those of sizes {self.sizes}, bias {self.bias}, got {shapes}")
        parts = []
        for W, b in layers:
            parts.append(W.reshape(*W.shape[:-2], -1))
            if b is not None:
                parts.append(b)
        return np.concatenate(parts, axis=-1)

    def forward(self, theta: Parameters, X: Inputs) -> Outputs:
        """f(x_n, θ), Eq. (forward): (*s n k)."""
        return _data_first(self._pass(theta, X, order=0).f)

    def vjp(self, theta: Parameters, X: Inputs, v: Outputs) -> Parameters:
        """Σ_n J_nᵀ v_n by backpropagation, Eq. (vjp): (*s p). Leading axes of θ and v broadcast."""
        record = self._pass(theta, X, order=1)
        deltas = self._backward(record, record.seed(v))
        return self.flatten([self._weight_gradient(delta, a) for delta, a in zip(deltas, record.a)])

    def vjp_per_datum(self, theta: Vector, X: Inputs, v: Outputs) -> DataGradients:
        """J_nᵀ v_n for every datum, Eq. (layer-jacobian): (n p), without forming J. θ is one parameter vector."""
        record = self._pass(self._one(theta), X, order=1)
        deltas = self._backward(record, record.seed_one(v))
        return np.concatenate([self._outer(delta.T, a.T) for delta, a in zip(deltas, record.a)], axis=-1)

    def jvp(self, theta: Parameters, X: Inputs, u: Parameters) -> Outputs:
        """J_n u, the derivative of f along u, Eq. (jvp): (*s n k). Leading axes of θ and u broadcast."""
        record = self._pass(theta, X, order=1)
        return _data_first(self._tangents(record, self._direction(record, u))[-1][0])

    def jacobian(self, theta: Parameters, X: Inputs) -> Jacobian:
        """J_n = ∂f(x_n)/∂θ, layer by layer Δ_l ⊗ (a_{l-1}, 1), Eq. (layer-jacobian): (*s n k p)."""
        record = self._pass(theta, X, order=1)
        batch, k, n = record.f.shape[:-2], self.num_outputs, record.f.shape[-1]
        # One backward pass for all outputs at once: outputs are a batch axis in front of the widths, (*s k d_l n).
        seeds = np.broadcast_to(np.eye(k)[:, :, None], (*batch, k, k, n))
        deltas = self._backward(record.with_axis_for_outputs(), seeds)
        blocks = [
            self._outer(np.moveaxis(delta, -1, -3), np.swapaxes(a, -1, -2)[..., None, :])
            for delta, a in zip(deltas, record.a)
        ]
        return np.concatenate(blocks, axis=-1)

    def contracted_hessian(self, theta: Vector, X: Inputs, v: Outputs) -> Matrix:
        """Σ_nk v_nk ∇²f_nk in closed form, Eq. (contracted-hessian): (p p), exactly symmetric. θ is one parameter vector."""
        record = self._pass(self._one(theta), X, order=2)
        deltas = self._backward(record, record.seed_one(v))
        augmented = [_append_one(a) if self.bias else a for a in record.a]
        second = self._second_back_signals(record, deltas)
        starts = np.concatenate([[0], np.cumsum(self.layer_sizes)])
        H = np.zeros((self.num_params, self.num_params))
        for source in range(len(record.layers)):
            reach = self._forward_signals(record, source)
            for l in range(source, len(record.layers)):
                block = self._hessian_block(l, source, second[l], deltas[l], reach[l], augmented)
                rows, columns = slice(*starts[l:l + 2]), slice(*starts[source:source + 2])
                H[rows, columns] = block
                H[columns, rows] = block.T
        order = self._augmented_order()
        return H[np.ix_(order, order)]

    def contracted_hessian_product(self, theta: Parameters, X: Inputs, v: Outputs, u: Parameters) -> Parameters:
        """(Σ_nk v_nk ∇²f_nk) u without the matrix (Pearlmutter 1994), Eq. (contracted-hessian-product): (*s p)."""
        record = self._pass(theta, X, order=2)
        u = self._direction(record, u)
        deltas = self._backward(record, record.seed(v, batch=u.shape[:-1]))
        tangents = self._tangents(record, u)
        directions = self.unflatten(u)
        delta_dot, products = np.zeros_like(deltas[-1]), []
        for l in reversed(range(len(record.layers))):
            z_dot, a_dot = tangents[l]
            products.append(self._weight_gradient(delta_dot, record.a[l], deltas[l], a_dot))
            if l:
                W, V = record.layers[l][0], directions[l][0]
                back, back_dot = _T(W) @ deltas[l], _T(W) @ delta_dot + _T(V) @ deltas[l]
                slope, bend = record.slopes[l - 1]
                delta_dot = bend * tangents[l - 1][0] * back + slope * back_dot
        return self.flatten(products[::-1])

    # -- inside: data last ------------------------------------------------------------------------------------------------

    def _one(self, theta: Vector) -> Vector:
        return as_array("theta", theta, "p", p=self.num_params)

    def _direction(self, record: _Pass, u: Parameters) -> Parameters:
        u = as_array("u", u, "*s p", p=self.num_params)
        return np.broadcast_to(u, (*np.broadcast_shapes(u.shape[:-1], record.f.shape[:-2]), self.num_params))

    def _pass(self, theta: Parameters, X: Inputs, order: int) -> _Pass:
        """Run the network forward, keeping what derivatives up to `order` need."""
        theta = as_array("theta", theta, "*s p", p=self.num_params)
        X = as_array("X", X, "n d", d=self.num_inputs)
        layers, a, slopes = self.unflatten(theta), [X.T], []
        for (W, b), phi in zip(layers, (*self.activation, None)):
            z = W @ a[-1]
            if b is not None:
                z += b[..., None]
            if phi is not None:
                value, *derivatives = phi.derivatives(z, order)
                a.append(value)
                slopes.append(derivatives)
        return _Pass(layers, a, slopes, z)

    def _backward(self, record: _Pass, v: np.ndarray) -> list[np.ndarray]:
        """δ_l = ∂(v·f)/∂z_l for every layer, (*s d_l n): δ_L = v, δ_l = φ′(z_l) ⊙ W_{l+1}ᵀ δ_{l+1}, Eq. (backward)."""
        deltas = [v]
        for (W, _), (slope, *_) in zip(record.layers[:0:-1], record.slopes[::-1]):
            deltas.append(slope * (_T(W) @ deltas[-1]))
        return deltas[::-1]

    def _tangents(self, record: _Pass, u: Parameters) -> list[tuple[np.ndarray, np.ndarray]]:
        """(ż_l, ȧ_{l-1}) along u for every layer: ż_l = V_l a_{l-1} + W_l ȧ_{l-1} + c_l, ȧ_l = φ′(z_l) ⊙ ż_l."""
        a_dot, tangents = np.zeros_like(record.a[0]), []
        for l, ((W, _), (V, c)) in enumerate(zip(record.layers, self.unflatten(u))):
            z_dot = V @ record.a[l] + W @ a_dot
            if c is not None:
                z_dot = z_dot + c[..., None]
            tangents.append((z_dot, a_dot))
            if l < len(record.slopes):
                a_dot = record.slopes[l][0] * z_dot
        return tangents

    def _weight_gradient(self, delta, a, delta2=None, a2=None):
        """(Σ_n δ aᵀ [+ δ₂ a₂ᵀ], Σ_n δ): one layer of a vector-Jacobian product or of its derivative."""
        W = delta @ _T(a)
        if delta2 is not None:
            W = W + delta2 @ _T(a2)
        return W, (np.broadcast_to(delta, (*W.shape[:-1], delta.shape[-1])).sum(-1) if self.bias else None)

    def _outer(self, delta, a):
        """One layer's columns for every datum: δ ⊗ a in row-major order, then δ for the bias; (..., d_l), (..., d_{l-1})."""
        W = delta[..., :, None] * a[..., None, :]
        W = W.reshape(*W.shape[:-2], -1)
        return np.concatenate([W, delta], axis=-1) if self.bias else W

    # -- inside: the exact Hessian, after Bishop (1992) -------------------------------------------------------------------

    def _second_back_signals(self, record: _Pass, deltas: list[np.ndarray]) -> list[np.ndarray]:
        """B_l = ∂²(v·f)/∂z_l∂z_lᵀ, (d_l d_l n): B_L = 0, B_l = D W ᵀB W D + diag(φ″ ⊙ Wᵀδ), D = diag φ′."""
        k, n = deltas[-1].shape
        signals = [np.zeros((k, k, n))]
        for l in reversed(range(len(record.slopes))):
            W = record.layers[l + 1][0]
            slope, bend = record.slopes[l]
            B = slope[:, None] * slope[None, :] * _sandwich(W, signals[-1])
            diagonal = np.arange(W.shape[1])
            B[diagonal, diagonal] += bend * (W.T @ deltas[l + 1])
            signals.append(B)
        return signals[::-1]

    def _forward_signals(self, record: _Pass, source: int) -> list[tuple[np.ndarray, np.ndarray | None] | None]:
        """For each layer l >= source: (G = ∂z_l/∂z_source, T = ∂a_{l-1}/∂z_source), (d_l d_source n); T is None at l = source."""
        width, n = record.layers[source][0].shape[0], record.f.shape[-1]
        G = np.broadcast_to(np.eye(width)[:, :, None], (width, width, n))
        signals = [None] * source + [(G, None)]
        for l in range(source + 1, len(record.layers)):
            T = record.slopes[l - 1][0][:, None] * G
            G = np.tensordot(record.layers[l][0], T, axes=1)
            signals.append((G, T))
        return signals

    def _hessian_block(self, l, source, B, delta, reach, augmented):
        """Σ_n (B_l G) ⊗ ā_{l-1} ā_{m-1}ᵀ + [m < l] δ_l ⊗ T ⊗ ā_{m-1}, m = source, in augmented row-major order."""
        (G, T), row_input, column_input = reach, augmented[l], augmented[source]
        n = G.shape[-1]
        K = np.matmul(np.moveaxis(B, -1, 0), np.moveaxis(G, -1, 0))  # ∂²(v·f)/∂z_l∂z_source, (n d_l d_source)
        inputs = (row_input[:, None] * column_input[None, :]).reshape(-1, n)
        (i, p), (j, q) = K.shape[1:], (len(row_input), len(column_input))
        block = (K.reshape(n, -1).T @ inputs.T).reshape(i, p, j, q).transpose(0, 2, 1, 3)
        if T is not None:
            left = (delta[:, None] * column_input[None, :]).reshape(-1, n)
            cross = (left @ T.reshape(-1, n).T).reshape(i, q, len(T), p).transpose(0, 2, 3, 1)
            block[:, :len(T)] += cross  # the bias of layer l has no incoming activation to differentiate
        block = block.reshape(i * j, p * q)
        return block if l != source else 0.5 * (block + block.T)

    def _augmented_order(self) -> np.ndarray:
        """Where each entry of θ stands when every layer is one row-major matrix [W b]."""
        start, order = 0, []
        for width, out in zip(self.sizes, self.sizes[1:]):
            positions = start + np.arange(out * (width + self.bias)).reshape(out, width + self.bias)
            order += [positions[:, :width].ravel(), positions[:, width:].ravel()]
            start += positions.size
        return np.concatenate(order)


@dataclass(frozen=True)
class _Pass:
    """What a forward pass leaves behind: layers (W, b), their inputs a, slopes (φ′, φ″, ...) of the hidden layers, output f."""

    layers: Layers
    a: list[np.ndarray]
    slopes: list[list[np.ndarray]]
    f: np.ndarray

    def seed(self, v: Outputs, batch: tuple[int, ...] = ()) -> np.ndarray:
        """v (*s n k) checked against the outputs, data last and with all leading axes: (*s k n)."""
        k, n = self.f.shape[-2:]
        v = _data_last(as_array("v", v, "*s n k", n=n, k=k))
        return np.broadcast_to(v, (*np.broadcast_shapes(v.shape[:-2], self.f.shape[:-2], batch), k, n))

    def seed_one(self, v: Outputs) -> np.ndarray:
        """v (n k) for the methods that take one θ and one v: (k n)."""
        k, n = self.f.shape
        return _data_last(as_array("v", v, "n k", n=n, k=k))

    def with_axis_for_outputs(self) -> _Pass:
        """The same with an axis of length 1 before the widths, to carry all outputs through one backward pass."""
        layers = [(W[..., None, :, :], b) for W, b in self.layers]
        slopes = [[s[..., None, :, :] for s in derivatives] for derivatives in self.slopes]
        return _Pass(layers, self.a, slopes, self.f)


def _T(A: np.ndarray) -> np.ndarray:
    return np.swapaxes(A, -1, -2)


_data_last = _data_first = _T


def _append_one(a: np.ndarray) -> np.ndarray:
    return np.concatenate([a, np.ones_like(a[:1])])


def _sandwich(W: np.ndarray, B: np.ndarray) -> np.ndarray:
    """Wᵀ B_n W for every datum, B (i i n)."""
    half = np.tensordot(W, B, axes=(0, 0))  # (j i n)
    return np.tensordot(half, W, axes=(1, 0)).transpose(0, 2, 1)
