"""Random symmetries between the updates of a kernel: hidden units change places and signs, which no local move can do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from refbnn.samplers.streams import Streams
from refbnn.shapes import Parameters, expect_methods

Move = Callable[[Parameters, Streams], Parameters]  # θ (c p) to an image of the same density, drawn with the streams


@dataclass(frozen=True)
class WithMoves:
    """`kernel`, each update followed by a random symmetry of the target: both leave it invariant, so their product does.

    `move(theta, streams)` must preserve the density and volume and be drawn independently of θ; `hidden_units` makes one.
    """

    kernel: object
    move: Move

    def __post_init__(self):
        expect_methods("kernel", self.kernel, "init", "step")

    def init(self, target: object, theta: Parameters) -> object:
        """That of the kernel."""
        return self.kernel.init(target, theta)

    def step(self, target: object, state: object, streams: Streams) -> tuple[object, object]:
        """An update of the kernel, then the move; the kernel starts anew from there, which costs one gradient."""
        state, info = self.kernel.step(target, state, streams)
        return self.kernel.init(target, self.move(state.theta, streams)), info


@dataclass(frozen=True)
class HiddenUnits:
    """θ ↦ its image under a uniformly drawn element of a group of symmetries."""

    group: object

    def __call__(self, theta: Parameters, streams: Streams) -> Parameters:
        """The images, one a chain: (c p)."""
        group, c, sizes = self.group, len(theta), self.group.net.sizes
        orders = [_identity(c, sizes[0]), *(streams.permutations(h) for h in sizes[1:-1]), _identity(c, sizes[-1])]
        signs = [np.ones((c, sizes[0])), *(_signs(streams, h, signed) for h, signed in zip(sizes[1:-1], group.signed)),
                 np.ones((c, sizes[-1]))]
        moved = []
        for l, (W, b) in enumerate(group.net.unflatten(theta)):
            W = np.take_along_axis(np.take_along_axis(W, orders[l + 1][:, :, None], 1), orders[l][:, None, :], 2)
            W = signs[l + 1][:, :, None] * W * signs[l][:, None, :]
            moved.append((W, None if b is None else signs[l + 1] * np.take_along_axis(b, orders[l + 1], 1)))
        return group.net.flatten(moved)


def hidden_units(group: object) -> Move:
    """The move by a uniformly drawn element of a group of symmetries, such as refbnn.symmetry.of_posterior(posterior)."""
    expect_methods("group", group, "net", "signed")
    return HiddenUnits(group)


def _identity(c: int, size: int) -> np.ndarray:
    return np.broadcast_to(np.arange(size), (c, size))


def _signs(streams: Streams, size: int, signed: bool) -> np.ndarray:
    """±1 where signs may change: (c size)."""
    return np.where(streams.uniforms(size) < 0.5, 1.0, -1.0) if signed else np.ones((streams.num_chains, size))
