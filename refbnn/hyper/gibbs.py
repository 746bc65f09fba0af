"""Weights by any kernel, hyper-parameters by exact draws, in turn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refbnn.hyper.hierarchical import Hierarchical
from refbnn.shapes import Parameters, expect_methods


@dataclass(frozen=True)
class GibbsState:
    """ζ (c p) and log p(y, ζ) (c)."""

    theta: np.ndarray
    log_prob: np.ndarray


@dataclass(frozen=True)
class Gibbs:
    """One update of θ given ξ by `kernel`, then an exact draw of ξ given θ (Neal 1996): a kernel of a Hierarchical target.

    Its State has ζ as `theta`, its Info is that of `kernel`.
    """

    kernel: object

    def __post_init__(self):
        expect_methods("kernel", self.kernel, "init", "step")

    def init(self, target: Hierarchical, theta: Parameters) -> GibbsState:
        """Chains that start at ζ (c p)."""
        return GibbsState(np.asarray(theta), target.log_prob(theta))

    def step(self, target: Hierarchical, state: GibbsState, streams: object) -> tuple[GibbsState, object]:
        """One update of every chain."""
        weights = target.given(state.theta)
        moved, info = self.kernel.step(weights, self.kernel.init(weights, state.theta[:, :weights.num_params]), streams)
        zeta = np.concatenate([moved.theta, target.hyper_given(moved.theta, streams.generators)], -1)
        return GibbsState(zeta, target.log_prob(zeta)), info
