"""The discrete symmetries of a multilayer perceptron, and how many copies of a mode they make.

Exchanging two hidden units of a layer, with their incoming and outgoing weights, changes nothing; where the activation is odd,
neither does changing the sign of all weights and the bias of a unit. Every mode comes with its images: an orbit of the group. By
the orbit-stabiliser theorem their number is that of the symmetries over that of the symmetries which leave the mode where it is:
two equal units can be exchanged in place, a dead one (all zero) has its sign changed in place.

Not counted: symmetries that are not discrete (rescaling of rectified units, rotation of linear layers), and even activations.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from refbnn.gaussian import Gaussian
from refbnn.networks.mlp import Mlp
from refbnn.networks.signals import Layers
from refbnn.precision import Dense
from refbnn.shapes import Parameters, Vector, as_array, as_positive, expect_methods

SAME = 1e-6  # of the largest parameter: weights that differ by less are equal
ROUND_OFF = 1e-10  # of each entry of a prior: what differs by less is equal
LARGEST = 2**16  # copies that are listed, arrangements of an inner layer that are tried


@dataclass(frozen=True)
class Symmetry:
    """A signed permutation of the parameters: θ ↦ sign ⊙ θ[index]."""

    index: np.ndarray
    sign: np.ndarray

    @property
    def num_params(self) -> int:
        """p."""
        return len(self.index)

    def __call__(self, theta: Parameters) -> Parameters:
        """The image of θ: (*s p)."""
        return self.sign * as_array("theta", theta, "*s p", p=self.num_params)[..., self.index]

    def after(self, other: Symmetry) -> Symmetry:
        """θ ↦ self(other(θ))."""
        return Symmetry(other.index[self.index], self.sign * other.sign[self.index])

    def of_gaussian(self, q: Gaussian) -> Gaussian:
        """The distribution of the image of θ ~ q."""
        P = q.precision.matrix()[np.ix_(self.index, self.index)]
        return Gaussian(self(q.mean), Dense(self.sign[:, None] * P * self.sign))


@dataclass(frozen=True)
class Group:
    """The permutations of the units of every hidden layer of `net`, with changes of sign in the layers where `signed` says so."""

    net: Mlp
    signed: tuple[bool, ...]

    @property
    def num_params(self) -> int:
        """p."""
        return self.net.num_params

    @property
    def order(self) -> int:
        """The number of symmetries, Π_l H_l! 2^(H_l if signed)."""
        return math.prod(math.factorial(h) * 2 ** (h * signed) for h, signed in zip(self.net.sizes[1:-1], self.signed))

    def symmetry(self, orders: Sequence[np.ndarray], signs: Sequence[np.ndarray]) -> Symmetry:
        """The one that puts, in hidden layer l, unit orders[l][i] with sign signs[l][i] in place i."""
        k, d = self.net.num_outputs, self.net.num_inputs
        orders, signs = [np.arange(d), *orders, np.arange(k)], [np.ones(d), *signs, np.ones(k)]
        index, sign = [], []
        for l, (W, b) in enumerate(self.net.layout.unflatten(np.arange(self.net.num_params))):
            index.append((W[np.ix_(orders[l + 1], orders[l])], None if b is None else b[orders[l + 1]]))
            sign.append((np.outer(signs[l + 1], signs[l]), None if b is None else signs[l + 1]))
        return Symmetry(self.net.layout.flatten(index), self.net.layout.flatten(sign))

    def exchange(self, layer: int, i: int, j: int) -> Symmetry:
        """The one that exchanges two units of a hidden layer."""
        orders, signs = self._identity()
        orders[layer][[i, j]] = j, i
        return self.symmetry(orders, signs)

    def change_of_sign(self, layer: int, i: int) -> Symmetry:
        """The one that changes the sign of a unit of a hidden layer."""
        orders, signs = self._identity()
        signs[layer][i] = -1.0
        return self.symmetry(orders, signs)

    def generators(self) -> Iterator[Symmetry]:
        """Exchanges of neighbours and, in signed layers, changes of one sign: all others are made of these."""
        for l, h in enumerate(self.net.sizes[1:-1]):
            yield from (self.exchange(l, i, i + 1) for i in range(h - 1))
            yield from (self.change_of_sign(l, i) for i in range(h * self.signed[l]))

    def num_maps(self, start: Vector, end: Vector, same: float = SAME) -> int:
        """How many symmetries take one θ to another, 0 unless they are copies of each other.

        Layer by layer: those that fit the incoming weights, and for the last hidden layer the outgoing ones as well. Raises
        ValueError where an inner layer has more than 2¹⁶ arrangements, or where `same` does not sort weights into equal and
        different ones.
        """
        start, end = (as_array(name, theta, "p", p=self.num_params) for name, theta in (("start", start), ("end", end)))
        scale = as_positive("same", same) * max(np.abs(start).max(), np.abs(end).max())
        return self._num_maps(self.net.unflatten(start), self.net.unflatten(end), scale)

    def num_copies(self, theta: Vector, same: float = SAME) -> int:
        """The number of different images of θ: `order` over the number of those that leave it, Eq. (orbit-count)."""
        theta = as_array("theta", theta, "p", p=self.num_params)
        return self.order // self.num_maps(theta, theta, same)

    def orbit(self, theta: Vector, same: float = SAME) -> list[Symmetry]:
        """One symmetry for every different image of θ, the identity first. Raises ValueError for more than 2¹⁶."""
        theta = as_array("theta", theta, "p", p=self.num_params)
        found = [Symmetry(np.arange(len(theta)), np.ones(len(theta)))]
        size, generators = self.num_copies(theta, same), list(self.generators())
        if size > LARGEST:
            raise ValueError(f"orbit: expected at most {LARGEST} copies, got {size}")
        images = np.tile(theta, (size, 1))
        for symmetry in found:  # which grows
            for generator in generators:
                moved = generator.after(symmetry)
                image = moved(theta)
                if (np.abs(images[:len(found)] - image).max(1) > same * np.abs(theta).max()).all():
                    images[len(found)] = image
                    found.append(moved)
        return found

    def distinct(self, thetas: Sequence[Vector], same: float = SAME) -> list[int]:
        """The indices of those that are no copy of one before."""
        kept = []
        for i, theta in enumerate(thetas):
            if not any(self.num_maps(thetas[j], theta, same) for j in kept):
                kept.append(i)
        return kept

    def _identity(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        widths = self.net.sizes[1:-1]
        return [np.arange(h) for h in widths], [np.ones(h) for h in widths]

    def _num_maps(self, start: Layers, end: Layers, scale: float) -> int:
        """The same for the layers of both, some of whose inputs have been arranged already."""
        if len(start) == 1:
            return int(_close(_joined(start[0]), _joined(end[0]), scale))
        signs = (1, -1) if self.signed[len(self.signed) - len(start) + 1] else (1,)
        if len(start) == 2:
            return self._num_last_maps(start, end, signs, scale)
        matches, total = _matches(_joined(start[0]), _joined(end[0]), signs, scale), 0
        if _num_arrangements(matches) > LARGEST:
            raise ValueError(f"theta: expected at most {LARGEST} ways to arrange the equal units of a hidden layer")
        for order, sign in _arrangements(matches, signs):
            (W, b), *rest = start[1:]
            total += self._num_maps([(W[:, order] * sign, b), *rest], end[1:], scale)
        return total

    @staticmethod
    def _num_last_maps(start: Layers, end: Layers, signs: tuple[int, ...], scale: float) -> int:
        """The arrangements of the last hidden layer: its units compared by incoming and outgoing weights at once."""
        (W_start, b_start), (W_end, b_end) = start[1], end[1]
        if b_start is not None and not _close(b_start, b_end, scale):
            return 0
        units = [np.concatenate([_joined(layers[0]), W.T], axis=1) for layers, W in ((start, W_start), (end, W_end))]
        return _num_arrangements(_matches(*units, signs, scale))


def of_network(net: Mlp) -> Group:
    """All symmetries of f: signs change in the layers with an odd activation."""
    expect_methods("net", net, "sizes", "activation", "layout")
    return Group(net, tuple(phi.odd for phi in net.activation))


def of_posterior(posterior: object) -> Group:
    """The symmetries of f that leave the prior alone as well: without changes of sign in layers where the prior has another mean.

    Raises ValueError when the prior tells the units of a layer apart: a mode then has no copies of equal mass.
    """
    expect_methods("posterior", posterior, "net", "prior")
    net, prior = posterior.net, posterior.prior
    expect_methods("posterior.net", net, "sizes", "activation", "layout")
    unsigned = Group(net, (False,) * len(net.activation))
    if not all(_leaves(prior, exchange) for exchange in unsigned.generators()):
        raise ValueError("prior: expected one that does not tell the units of a hidden layer apart, got one that does")
    flips = [[unsigned.change_of_sign(l, i) for i in range(h)] for l, h in enumerate(net.sizes[1:-1])]
    return Group(net, tuple(
        phi.odd and all(_leaves(prior, flip) for flip in own) for phi, own in zip(net.activation, flips)
    ))


def _leaves(prior, symmetry: Symmetry) -> bool:
    """Whether the image of the prior is the prior: mean and precision entry by entry, else its gradient at generic points."""
    if hasattr(prior, "precision"):
        P, scale = prior.precision.matrix(), np.sqrt(prior.precision.diagonal())
        moved = symmetry.sign[:, None] * P[np.ix_(symmetry.index, symmetry.index)] * symmetry.sign
        return _equal(prior.mean, symmetry(prior.mean), np.abs(prior.mean)) and _equal(P, moved, np.outer(scale, scale))
    thetas = np.random.default_rng(0).normal(size=(4, symmetry.num_params))
    before, after = symmetry(prior.gradient(thetas)), prior.gradient(symmetry(thetas))
    return _equal(before, after, np.abs(before))


def _equal(a: np.ndarray, b: np.ndarray, scale: np.ndarray) -> bool:
    """Whether each entry is the other up to round-off of its own size: one large entry hides no small one."""
    return bool((np.abs(a - b) <= ROUND_OFF * scale).all())


def _joined(layer: tuple[np.ndarray, np.ndarray | None]) -> np.ndarray:
    """A row for every unit: its weights and bias."""
    W, b = layer
    return W if b is None else np.concatenate([W, b[:, None]], axis=1)


def _close(a: np.ndarray, b: np.ndarray, scale: float) -> bool:
    return bool(np.abs(a - b).max(initial=0.0) <= scale)


def _matches(start: np.ndarray, end: np.ndarray, signs: tuple[int, ...], scale: float) -> np.ndarray:
    """Whether row i of `end` is row j of `start` times signs[s]: (i j s)."""
    signed = start[:, None] * np.array(signs)[:, None]
    return np.abs(end[:, None, None] - signed).max(-1, initial=0.0) <= scale


def _num_arrangements(matches: np.ndarray) -> int:
    """In how many ways the rows can be put in place: m! for m equal ones, and 2^m times that for m that are zero."""
    ways, total = matches.sum(-1), 1
    for row, count in zip(*np.unique(ways, axis=0, return_counts=True)):
        sources = row > 0
        some = ways[(ways[:, sources] > 0).any(1)]
        if (some != row).any() or len(set(row[sources])) > 1:
            raise ValueError("same: expected a number that tells equal weights from different ones, got one between distances")
        if sources.sum() != count:
            return 0
        total *= math.factorial(int(count)) * int(row.max()) ** int(count)
    return total


def _arrangements(matches: np.ndarray, signs: tuple[int, ...], used: tuple[int, ...] = ()) -> Iterator[tuple]:
    """Every (order, sign) that puts the rows of `start` in the places of `end`."""
    i = len(used)
    if i == len(matches):
        yield np.array([j for j, _ in used], dtype=int), np.array([s for _, s in used], dtype=float)
        return
    taken = {j for j, _ in used}
    for j, s in np.argwhere(matches[i]):
        if j not in taken:
            yield from _arrangements(matches, signs, (*used, (int(j), signs[s])))
