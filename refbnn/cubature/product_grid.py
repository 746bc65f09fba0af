"""Product grids over all weights, for any likelihood and up to four of them.

In z, θ = mean + C z with the prior's scale C, the prior is a standard normal. A first grid covers all of it; where the log joint
is far below its largest value the next ones do not go, so that no mode is lost that the first grid can see. Others are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from refbnn.cubature.deterministic import Deterministic, refine
from refbnn.cubature.tails import NoBound
from refbnn.cubature.weights import AllWeights
from refbnn.posterior import Posterior
from refbnn.quadrature import ROUND_OFF
from refbnn.shapes import Parameters

LARGEST = 3 * 10**7  # nodes of a rule
BLOCK = 2**19  # numbers in a forward pass: 4 MB of float64 an array
SCAN = 2**20  # nodes of a grid that looks for the posterior, at most SIDE a weight
SIDE = 81
COVER = 10.0  # standard deviations of the prior that the first grid covers: P(|z| > 10) = 2e-23
DEPTH = 48.0  # nats below the largest log joint that the domain reaches: 1e-21 of the peak
MAX_PARAMS = 4


@dataclass(frozen=True, eq=False)
class ProductGrid:
    """Nodes z on a box, `lower` to `upper` (p) in steps `step` (p), of one weight each."""

    target: AllWeights
    lower: np.ndarray
    step: np.ndarray
    counts: tuple[int, ...]

    @property
    def num_nodes(self) -> int:
        """How many."""
        return math.prod(self.counts)

    @property
    def round_off(self) -> float:
        """Of a log weight near the peak: that of a sum over the data."""
        y = self.target.posterior.loss.y
        return ROUND_OFF * (len(y) + self.num_params)

    @property
    def num_params(self) -> int:
        """p."""
        return len(self.step)

    def chosen(self, z: np.ndarray, mask: np.ndarray) -> Parameters:
        """θ (c p) of the nodes of a block that `mask` is true for."""
        return self.target.prior.from_normals(z[mask])

    def blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """z (c p) and log weights (c), Eq. (trapezoid-rule)."""
        size = max(1, BLOCK // self.target.width)
        cell = np.log(self.step).sum() - 0.5 * self.num_params * math.log(2 * math.pi)
        for start in range(0, self.num_nodes, size):
            index = np.unravel_index(np.arange(start, min(start + size, self.num_nodes)), self.counts)
            z = self.lower + self.step * np.stack(index, axis=-1)
            yield z, self.target.log_likelihood(self.target.prior.from_normals(z)) - 0.5 * (z**2).sum(-1) + cell


def product(posterior: Posterior, within: float, largest: int = LARGEST) -> Deterministic:
    """The posterior of at most four parameters by trapezoidal product rules, Eq. (trapezoid-rule); `net` may be Linearised.

    Convergence is geometric for activations that are analytic; for others the error estimate has a factor of four. A mode beyond
    COVER standard deviations of the prior, or one between the points of the first grid, is not seen. Raises ValueError for more
    parameters or a prior that is not Gaussian, NotConverged where `within`, the absolute error of the log evidence, is not
    reached with `largest` nodes.
    """
    target = AllWeights(posterior)
    if target.num_params > MAX_PARAMS:
        raise ValueError(f"posterior: expected at most {MAX_PARAMS} parameters, got {target.num_params}; use units or sobol")
    lower, upper = _extent(target)
    centre, half = 0.5 * (lower + upper), 0.5 * (upper - lower)
    make = lambda points, reach: _grid(target, centre - reach * half, centre + reach * half, points)
    return refine(target, make, 13, NoBound(1.0), largest, within, [lambda theta: theta])


def _grid(target: AllWeights, lower: np.ndarray, upper: np.ndarray, points: int) -> ProductGrid:
    return ProductGrid(target, lower, (upper - lower) / (points - 1), (points,) * len(lower))


def _extent(target: AllWeights) -> tuple[np.ndarray, np.ndarray]:
    """The box in z where the log joint comes within DEPTH of its largest value: grids on the last box, less and less tolerant."""
    points = min(SIDE, int(SCAN ** (1 / target.num_params)))
    lower, upper = np.full(target.num_params, -COVER), np.full(target.num_params, COVER)
    for tolerance in (4 * DEPTH, 2 * DEPTH, DEPTH, DEPTH):
        grid = _grid(target, lower, upper, points)
        values = np.concatenate([values for _, values in grid.blocks()]).reshape(grid.counts)
        index = np.argwhere(values >= values.max() - tolerance)
        lower, upper = grid.lower + grid.step * (index.min(0) - 1), grid.lower + grid.step * (index.max(0) + 1)
    return lower, upper
