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


def hidden_units(group: object) -> Move:
    """The move by a uniformly drawn element of a group of symmetries, such as refbnn.symmetry.of_posterior(posterior)."""
    expect_methods("group", group, "symmetry", "net", "signed")

    def move(theta: Parameters, streams: Streams) -> Parameters:
        orders = [streams.permutations(h) for h in group.net.sizes[1:-1]]
        signs = [2 * (streams.uniforms(h) < 0.5) - 1.0 if signed else np.ones((len(theta), h))
                 for h, signed in zip(group.net.sizes[1:-1], group.signed)]
        return np.stack([
            group.symmetry([order[i] for order in orders], [sign[i] for sign in signs])(theta[i]) for i in range(len(theta))
        ])

    return move
