"""A function of the outputs and its gradient in θ at many θ at once, in place: what samplers call a million times.

The same numbers as `evaluate` and `vjp`, which keep all that other derivatives need; here nothing is kept, and the arrays of one
call serve the next. θ is reordered so that the weights of a layer are one matrix (W b) and act on (a, 1), whose last row of ones
stays where it is; φ(z) overwrites z, φ′(z) overwrites φ(z).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import numpy as np

from refbnn.activations import Activation
from refbnn.networks.assembly import Layout
from refbnn.networks.signals import product, with_ones
from refbnn.shapes import Inputs, Parameters, Values, as_array

BLOCK = 2**18  # numbers in the activations of the θ that are treated together, 2 MiB: more would leave the cache

Outer = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]  # f (*s n k) to values (*s) and their derivatives in f (*s n k)
Derivatives = Callable[[np.ndarray], np.ndarray]  # f (*s n k) to these alone


class FirstOrder:
    """A multilayer perceptron on given inputs X. `evaluate` is what evaluates it for more than that, at θ on (x, 1)."""

    def __init__(self, layout: Layout, activation: Sequence[Activation], X: Inputs, evaluate: Callable[..., object]):
        self.layout, self._activation, self._evaluate = layout, activation, evaluate
        self._X = with_ones(X.T, layout.bias)
        self._at_once = max(1, BLOCK // (max(1, *layout.sizes[1:]) * len(X)))
        self._spare = deque(maxlen=1)

    @property
    def num_params(self) -> int:
        """p."""
        return self.layout.num_params

    @property
    def num_data(self) -> int:
        """n."""
        return self._X.shape[1]

    def evaluate(self, theta: Parameters) -> object:
        """The network at θ on X, for everything else; X has been looked at already."""
        return self._evaluate(theta, self._X)

    def value_and_gradient(self, theta: Parameters, outer: Outer) -> tuple[Values, Parameters]:
        """outer's values (*s) at f(X, θ) and Σ_n J_nᵀ of its derivatives (*s p)."""
        values = []

        def derivatives(f):
            value, derivative = outer(f)
            values.append(value)
            return derivative

        gradient = self.gradient(theta, derivatives)
        return np.concatenate(values).reshape(gradient.shape[:-1])[()], gradient

    def gradient(self, theta: Parameters, derivatives: Derivatives) -> Parameters:
        """Σ_n J_nᵀ derivatives(f(X, θ))_n (*s p)."""
        theta = as_array("theta", theta, "*s p", p=self.num_params)
        flat = theta.reshape(-1, self.num_params)
        num = -(-len(flat) // self._at_once)
        if num <= 1:
            return self._gradient(flat, derivatives).reshape(theta.shape)
        gradient, size = np.empty_like(flat), -(-len(flat) // num)
        for first in range(0, len(flat), size):
            gradient[first:first + size] = self._gradient(flat[first:first + size], derivatives)
        return gradient.reshape(theta.shape)

    def _gradient(self, theta: np.ndarray, derivatives: Derivatives) -> np.ndarray:
        """The same for θ (s p) that are treated together. Eqs. (forward), (backward)."""
        room = self._take_room(len(theta))
        order = self.layout.order
        theta.take(order, axis=1, out=room.theta, mode="clip")  # nothing to clip: with an `out`, other modes copy twice
        slopes = []
        for W, a, z, phi in zip(room.layers, room.signals, room.hidden, self._activation):
            np.matmul(W, a, out=z)
            slopes.append(_activate(phi, z))
        delta = derivatives(_product(room.layers[-1], room.signals[-1]).swapaxes(1, 2)).swapaxes(1, 2)
        self._backward(room, slopes, delta)
        gradient = room.gradient.take(self.layout.inverse_order, axis=1)
        self._spare.append(room)
        return gradient

    def _take_room(self, num: int) -> _Room:
        """The room of the last call if it fits; taken away, so that two threads never have the same."""
        try:
            room = self._spare.pop()
        except IndexError:
            return _Room(self.layout, self._X, num)
        return room if len(room.theta) == num else _Room(self.layout, self._X, num)

    def _backward(self, room: _Room, slopes: list, delta: np.ndarray) -> None:
        """∂/∂(W b) = δ (a, 1)ᵀ, δ one layer down = φ′ ⊙ Wᵀδ."""
        for l in range(self.layout.depth - 1, 0, -1):
            np.matmul(delta, room.transposed[l], out=room.gradients[l])
            derive, known = slopes[l - 1]
            slope = derive(known)
            if l == 1 and delta.shape[1] == 1:
                return self._rank_one(room.backward[1], slope, delta, room.gradients[0])
            delta = product(room.backward[l], delta)
            delta *= slope
        _write_product(delta, room.signals[0], room.gradients[0])

    def _rank_one(self, w: np.ndarray, slope: np.ndarray, delta: np.ndarray, gradient: np.ndarray) -> None:
        """(φ′ ⊙ wδ) (x, 1)ᵀ for a single output, w a column and δ a row: w and δ scale the small factors of φ′ ((x, 1) ⊙ δ)ᵀ."""
        np.matmul(slope, (delta * self._X).swapaxes(1, 2), out=gradient)
        gradient *= w

    def __getstate__(self) -> dict:
        """Everything but the room: copies of its views would be views of nothing."""
        return {**self.__dict__, "_spare": deque(maxlen=1)}


class _Room:
    """Arrays in which so many θ run through the network, and views of them: made once, used by one call after another.

    layers, gradients: (W b) of every layer (s out width) in θ and in its gradient; backward: Wᵀ; signals: (x, 1) and the (a, 1)
    of hidden layers with their ones written; transposed: the same as (s n width); hidden: the part of them without the ones.
    """

    def __init__(self, layout: Layout, X: np.ndarray, num: int):
        depth, sizes = range(layout.depth), layout.sizes
        self.theta, self.gradient = np.empty((2, num, layout.num_params))
        self.layers, self.gradients = (
            [flat[:, layout.span(l)].reshape(num, layout.units(l), layout.width(l)) for l in depth]
            for flat in (self.theta, self.gradient)
        )
        self.backward = [W[:, :, :size].swapaxes(1, 2) for W, size in zip(self.layers, sizes)]
        self.signals = [X, *(np.ones((num, layout.width(l), X.shape[1])) for l in depth[1:])]
        self.transposed = [a.swapaxes(-1, -2) for a in self.signals]
        self.hidden = [a[:, :size] for a, size in zip(self.signals[1:], sizes[1:])]


def _activate(phi: Activation, z: np.ndarray) -> tuple[Callable, object]:
    """Overwrites z with φ(z); a function and its argument that give φ′(z), for which φ(z) is given up."""
    if phi.in_place is None:
        derivatives = phi.successive(z.copy())
        z[...] = next(derivatives)
        return next, derivatives
    value, slope = phi.in_place
    return slope, value(z)


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
        np.matmul(delta, a.swapaxes(-1, -2), out=out)
