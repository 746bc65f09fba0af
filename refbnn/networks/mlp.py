"""Multilayer perceptrons with hand-derived Jacobians and second derivatives.

z_l = W_l a_{l-1} + b_l,  a_l = φ_l(z_l),  a_0 = x,  f = z_L. The parameter vector θ holds, layer by layer, W_l (out x in,
row-major) and then b_l; `flatten` and `unflatten` are the only code that knows this.

The public axis order is `*s n k p`. Inside, the data axis comes last: every activation is (*s, width, n), so that elementwise
work runs along the data and every sum over data is one matrix product. δ always means ∂(v·f)/∂z_l for the given v.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from refbnn.activations import Activation, identity
from refbnn.networks import jets
from refbnn.networks.assembly import Layout
from refbnn.networks.first_order import FirstOrder
from refbnn.networks.network import Network
from refbnn.networks.pullback import Pullback, second_order_product
from refbnn.networks.rows import Rows
from refbnn.networks.signals import Layers, Signals, broadcast_batch, forward, product, transpose, with_ones
from refbnn.shapes import (
    DataGradients, DataMatrices, Inputs, Jacobian, Outputs, Parameters, as_array, as_count, expect_shape,
)

Factor = np.ndarray | Callable[[], np.ndarray]  # S, or what makes it


@dataclass(frozen=True)
class Mlp(Network):
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
        return self.layout.num_params

    @property
    def is_linear(self) -> bool:
        """Whether f is affine in θ: no hidden layer."""
        return len(self.sizes) == 2

    def is_linear_in(self, parameters: np.ndarray) -> bool:
        """Whether all are of one layer with nothing but identities behind it, such as the last: f is then affine in them."""
        layers = np.unique(np.searchsorted(np.cumsum(self.layer_sizes), parameters, side="right"))
        return len(layers) == 1 and all(phi == identity for phi in self.activation[layers[0]:])

    @cached_property
    def layout(self) -> Layout:
        """Where each layer stands in θ."""
        return Layout(self.sizes, self.bias)

    def unflatten(self, theta: Parameters) -> Layers:
        """θ (*s p) as a list of (W (*s out in), b (*s out) or None): views, nothing is copied. Eq. (parameter-order)."""
        theta = np.asarray(theta)
        expect_shape("theta", theta, "*s p", p=self.num_params)
        return self.layout.unflatten(theta)

    def flatten(self, layers: Layers) -> Parameters:
        """The inverse of `unflatten`. Raises ValueError for layers that are not those of this network."""
        shapes = [(W.shape[-2:], b is not None) for W, b in layers]
        if shapes != [((out, width), self.bias) for width, out in zip(self.sizes, self.sizes[1:])]:
            raise ValueError(f"layers: expected those of sizes {self.sizes}, bias {self.bias}, got {shapes}")
        return self.layout.flatten(layers)

    def first_order(self, X: Inputs) -> FirstOrder:
        """The network on X for gradients at many θ."""
        return FirstOrder(self.layout, self.activation, as_array("X", X, "n d", d=self.num_inputs), self._evaluate)

    def evaluate(self, theta: Parameters, X: Inputs) -> Evaluation:
        """Run the network once: everything else is read off the result. Derivatives of φ are computed when first asked for."""
        return self._evaluate(theta, with_ones(as_array("X", X, "n d", d=self.num_inputs).T, self.bias))

    def _evaluate(self, theta: Parameters, augmented: np.ndarray) -> Evaluation:
        """The same on ā_0 = (x, 1), data last."""
        theta = as_array("theta", theta, "*s p", p=self.num_params)
        return Evaluation(self.layout, forward(self.layout.matrices(theta), self.activation, augmented, self.bias))


@dataclass(frozen=True)
class Evaluation:
    """A network at θ on X: its outputs and everything that differentiates them, from one forward pass."""

    layout: Layout
    signals: Signals

    @property
    def num_params(self) -> int:
        """p."""
        return self.layout.num_params

    @property
    def num_data(self) -> int:
        """n."""
        return self.signals.num_data

    @property
    def num_outputs(self) -> int:
        """k."""
        return self.layout.sizes[-1]

    @property
    def batch(self) -> tuple[int, ...]:
        """The leading axes of θ, *s."""
        return self.signals.f.shape[:-2]

    @property
    def f(self) -> Outputs:
        """f(x_n, θ), Eq. (forward): (*s n k)."""
        return transpose(self.signals.f)

    def vjp(self, v: Outputs) -> Parameters:
        """Σ_n J_nᵀ v_n, Eq. (vjp): (*s p)."""
        deltas = self.signals.backward(self._seed(v))
        return self.layout.join([product(delta, transpose(a)) for delta, a in zip(deltas, self.signals.augmented)])

    def vjp_per_datum(self, v: Outputs) -> DataGradients:
        """J_nᵀ v_n, Eq. (layer-jacobian): (n p)."""
        g = np.empty((self.num_data, self.num_params))
        for l, (delta, a) in enumerate(zip(self.signals.backward(self._seed_one(v)), self.signals.inputs)):
            self._write_outer_products(g, l, _data_first(delta), _data_first(a)[:, None, :])
        return g

    def jvp(self, u: Parameters) -> Outputs:
        """J_n u, Eq. (jvp): (*s n k)."""
        return transpose(self.signals.tangents(self._directions(u))[-1][0])

    def jacobian(self) -> Jacobian:
        """J_n, all outputs through one backward pass, Eq. (layer-jacobian): (*s n k p).

        Data first, as the result is: δ (*s n k d) of one layer after the other, from that of the outputs, the identity, on.
        """
        *batch, k, n = self.signals.f.shape
        *hidden, last = [_data_first(a) for a in self.signals.inputs]
        weights, slopes, delta = self.signals.weights, self.signals.slopes, None
        J = np.empty((*batch, n, k, self.num_params))
        self._write_last_layer(J, last)
        for l in range(len(hidden) - 1, -1, -1):
            slope = _data_first(slopes[l][0])[..., None, :]
            if delta is None:
                delta = weights[-1][..., None, :, :] * slope
            else:
                delta = product(delta.reshape(*batch, n * k, -1), weights[l + 1]).reshape(*batch, n, k, -1)
                delta *= slope
            self._write_outer_products(J, l, delta, hidden[l][..., None, None, :])
        return J

    def inputs_vjp(self, l: int, v: np.ndarray) -> Parameters:
        """Σ_n (∂a_{n,l−1}/∂θ)ᵀ v_n for the inputs of layer l (0, 1, ...) and v (n d_{l−1}); θ is one vector: (p)."""
        gradient = np.zeros(self.num_params)
        if l:
            signals = self.signals
            z_bar = signals.slopes[l - 1][0] * as_array("v", v, "n w", n=self.num_data, w=len(signals.inputs[l])).T
            below = Signals(signals.matrices[:l], signals.augmented[:l], signals.slopes[:l - 1], z_bar, signals.bias)
            part = Evaluation(Layout(self.layout.sizes[:l + 1], self.layout.bias), below).vjp(z_bar.T)
            gradient[:len(part)] = part
        return gradient

    def pullback(self, M: DataMatrices | None = None, S: Factor | None = None, v: Outputs | None = None) -> Pullback:
        """Σ_n J_nᵀ M_n J_n + Σ_nk v_nk ∇²f_nk, for M (n k k) or its factor S (n k c), and v (n k); θ is one vector.

        Beside M, S may be a function without arguments that makes a factor (n k k), called if one is needed.
        """
        def output_matrix():
            return np.ascontiguousarray(np.moveaxis(S @ transpose(S) if M is None else M, 0, -1))

        def root():
            return np.ascontiguousarray((S() if callable(S) else S).T)

        return Pullback(
            self.layout,
            self.signals,
            None if M is None and S is None else output_matrix,
            None if S is None else root,
            num_columns=0 if S is None else self.num_outputs if callable(S) else S.shape[-1],
            v=None if v is None else np.ascontiguousarray(self._seed_one(v)),
        )

    def scatter(self, v: Outputs) -> Rows:
        """Σ_n (g_n − ḡ)(g_n − ḡ)ᵀ for g_n = J_nᵀ v_n and their mean ḡ, Eq. (centred-empirical-fisher); θ is one vector."""
        g = self.vjp_per_datum(v)
        return Rows(self.layout, g - g.mean(0))

    def second_order_product(self, u: Parameters, M: np.ndarray | None = None, v: Outputs | None = None) -> Parameters:
        """(Σ_n J_nᵀ M_n J_n + Σ_nk v_nk ∇²f_nk) u, leading axes of θ, u, M and v broadcast: (*s p)."""
        directions = self._directions(u)
        seed = None if v is None else self._seed(v)
        inside = None if M is None else M.swapaxes(-3, -1).swapaxes(-3, -2)
        return self.layout.join(second_order_product(self.signals, directions, inside, seed))

    def bend(self, u: Parameters) -> Outputs:
        """d²/dt² f(x_n, θ + t u), the second derivative of f along u, Eq. (jet): (*s n k)."""
        return transpose(jets.second_order_tangents(self.signals, self._directions(u))[0][-1][1])

    def jet(self, u: Parameters) -> tuple[Outputs, Outputs, Outputs, Outputs]:
        """The first four derivatives of f(x_n, θ + t u) by t at t = 0, Eq. (fourth-jet): (*s n k) each."""
        return tuple(transpose(value) for value in jets.fourth_order_tangents(self.signals, self._directions(u)))

    def third_order_product(self, u: Parameters, r: np.ndarray, M: np.ndarray, T: np.ndarray) -> Parameters:
        """d²/dt² Σ_n J_nᵀ r_n at θ + t u, for r (n k) with derivatives M (n k k), T (n k k k) in f, Eq. (jet): (*s p)."""
        directions = self.layout.matrices(u)
        return self.layout.join(jets.second_derivative_of_gradient(self.signals, directions, r, M, T))

    def _seed(self, v: Outputs) -> np.ndarray:
        """v (*s n k) checked against the outputs, data last and with all leading axes: (*s k n)."""
        *batch, k, n = self.signals.f.shape
        v = transpose(as_array("v", v, "*s n k", n=n, k=k))
        return broadcast_batch(v, tuple(batch), 2)

    def _seed_one(self, v: Outputs) -> np.ndarray:
        """v (n k) for the methods that take one θ and one v: (k n)."""
        k, n = self.signals.f.shape
        return transpose(as_array("v", v, "n k", n=n, k=k))

    def _directions(self, u: Parameters) -> list[np.ndarray]:
        """u as matrices (V c), with the leading axes of θ."""
        u = as_array("u", u, "*s p", p=self.layout.num_params)
        return self.layout.matrices(broadcast_batch(u, self.signals.f.shape[:-2], 1))

    def _write_outer_products(self, out: np.ndarray, l: int, delta: np.ndarray, a: np.ndarray) -> None:
        """The parameters of layer l in out (*s n [k] p) := δ ⊗ ā for δ (*s n [k] d) and a (*s n [1] 1 w)."""
        W, b = self.layout.weights_and_bias(l)
        np.multiply(delta[..., None], a, out=out[..., W].reshape(*delta.shape, a.shape[-1]))
        if self.layout.bias:
            out[..., b] = delta

    def _write_last_layer(self, J: np.ndarray, a: np.ndarray) -> None:
        """The same in J (*s n k p) for the last layer, δ the identity, and a (*s n w)."""
        (W, b), k, width = self.layout.weights_and_bias(self.layout.depth - 1), J.shape[-2], a.shape[-1]
        if k > 1:
            J[..., W.start:] = 0.0
        for i in range(k):
            J[..., i, W.start + i * width:W.start + (i + 1) * width] = a
            if self.layout.bias:
                J[..., i, b.start + i] = 1.0


def _data_first(a: np.ndarray) -> np.ndarray:
    """(*s d n) as (*s n d), rearranged in memory: rows of a result are then written from contiguous arrays."""
    return np.ascontiguousarray(transpose(a))
