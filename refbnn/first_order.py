"""A function of the outputs and its gradient in θ at many θ at once, in place: what samplers call a million times.

The same numbers as `evaluate` and `vjp`, which keep all that other derivatives need; here nothing is kept. θ is reordered so that
the weights of a layer are one matrix (W b) and act on (a, 1), whose last row of ones stays where it is; φ(z) overwrites z, φ′(z)
overwrites φ(z).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from refbnn.activations import Activation
from refbnn.assembly import Layout
from refbnn.shapes import Inputs, Parameters, Values, as_array
from refbnn.signals import apply, transpose

BLOCK = 2**18  # numbers in the activations of the θ that are treated together, 2 MiB: more would leave the cache

Outer = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]  # f (*s n k) to values (*s) and their derivatives in f (*s n k)


class FirstOrder:
    """A multilayer perceptron on given inputs X."""

    def __init__(self, layout: Layout, activation: Sequence[Activation], X: Inputs):
        self.layout, self._activation = layout, activation
        self._X = _with_ones(X.T, layout.bias)
        shapes = [(layout.units(l), layout.width(l)) for l in range(layout.depth)]
        parts = [[block.reshape(out, -1) for block in (np.arange(at.start, at.stop) for at in layout.weights_and_bias(l)) if
                  len(block)] for l, (out, _) in enumerate(shapes)]
        self._order = np.concatenate([np.concatenate(part, axis=1).ravel() for part in parts])
        self._inverse = np.argsort(self._order)
        self._shapes = [(layout.span(l), shape) for l, shape in enumerate(shapes)]
        self._at_once = max(1, BLOCK // (max(1, *layout.sizes[1:]) * len(X)))

    @property
    def num_params(self) -> int:
        """p."""
        return self.layout.num_params

    @property
    def num_data(self) -> int:
        """n."""
        return self._X.shape[1]

    def value_and_gradient(self, theta: Parameters, outer: Outer) -> tuple[Values, Parameters]:
        """outer's values (*s) at f(X, θ) and Σ_n J_nᵀ of its derivatives (*s p)."""
        theta = as_array("theta", theta, "*s p", p=self.num_params)
        flat = theta.reshape(-1, self.num_params).take(self._order, axis=1)
        gradient, size = np.empty_like(flat), self._at_once
        values = [
            self._run(self._layers(flat[first:first + size]), self._layers(gradient[first:first + size]), outer)
            for first in range(0, len(flat), size)
        ]
        values = values[0] if len(values) == 1 else np.concatenate([*values, np.empty(0)])
        return values.reshape(theta.shape[:-1])[()], gradient.take(self._inverse, axis=1).reshape(theta.shape)

    def _layers(self, flat: np.ndarray) -> list[np.ndarray]:
        """(W b) of every layer, (s out width): views."""
        return [flat[:, span].reshape(len(flat), *shape) for span, shape in self._shapes]

    def _run(self, layers: list[np.ndarray], gradients: list[np.ndarray], outer: Outer) -> np.ndarray:
        """The values; `gradients` are written. Eqs. (forward), (backward)."""
        signals, slopes = [self._X], []
        for W, phi in zip(layers, self._activation):
            a, z = self._room(W)
            np.matmul(W, signals[-1], out=z)
            slopes.append(_activate(phi, z))
            signals.append(a)
        values, derivatives = outer(transpose(_product(layers[-1], signals[-1])))
        self._backward(layers, gradients, signals, slopes, transpose(derivatives))
        return values

    def _room(self, W: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Room for (a, 1) of the units of W, ones written, and the part of it without the ones."""
        units, bias = W.shape[1], self.layout.bias
        a = np.empty((len(W), units + bias, self._X.shape[1]))
        if bias:
            a[:, units] = 1
        return a, a[:, :units]

    def _backward(self, layers, gradients, signals, slopes, delta: np.ndarray) -> None:
        """∂/∂(W b) = δ (a, 1)ᵀ, δ one layer down = φ′ ⊙ Wᵀδ."""
        for l in range(len(layers) - 1, 0, -1):
            _write_product(delta, signals[l], gradients[l])
            W, slope = layers[l][:, :, :self.layout.sizes[l]], slopes[l - 1]()
            if l == 1 and delta.shape[1] == 1:
                return self._rank_one(W, slope, delta, gradients[0])
            delta = apply(transpose(W), delta)
            delta *= slope
        _write_product(delta, signals[0], gradients[0])

    def _rank_one(self, W: np.ndarray, slope: np.ndarray, delta: np.ndarray, gradient: np.ndarray) -> None:
        """(φ′ ⊙ wδ) (x, 1)ᵀ for a single output, w a column and δ a row: w and δ scale the small factors of φ′ ((x, 1) ⊙ δ)ᵀ."""
        np.matmul(slope, transpose(delta * self._X), out=gradient)
        gradient *= transpose(W)


def _with_ones(a: np.ndarray, bias: bool) -> np.ndarray:
    return np.concatenate([a, np.ones((int(bias), a.shape[1]))])


def _activate(phi: Activation, z: np.ndarray) -> Callable[[], np.ndarray]:
    """Overwrites z with φ(z) and returns what makes φ′(z), for which φ(z) is given up."""
    if phi.in_place is None:
        derivatives = phi.successive(z.copy())
        z[...] = next(derivatives)
        return lambda: next(derivatives)
    value, slope = phi.in_place
    value(z)
    return lambda: slope(z)


def _product(W: np.ndarray, a: np.ndarray) -> np.ndarray:
    """W a for every θ; one product where all θ share the same a (x itself)."""
    if a.ndim == 3:
        return W @ a
    return (W.reshape(-1, W.shape[-1]) @ a).reshape(*W.shape[:2], -1)


def _write_product(delta: np.ndarray, a: np.ndarray, out: np.ndarray) -> None:
    """out = δ aᵀ, likewise."""
    if a.ndim == 2 and delta.shape[1] == 1:
        out[:, 0] = delta[:, 0] @ a.T
    else:
        np.matmul(delta, transpose(a), out=out)
