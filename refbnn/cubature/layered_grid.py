"""Any likelihood, one hidden layer: the hidden weights on the grid of `units`, the output layer on a grid around a stand-in.

The output weights that fit vary with the hidden ones, and sharply so: a fixed box is no place for them. A stand-in with Gaussian
noise is expanded about the best constant output; under it the output layer given the hidden weights is N(M, S), smooth in them.
In w = M + S^½ z,

    p(y) = Σ over hidden weights of p̃(t, u) E_{z ~ N(0, I)}[p(y|f) / p̃(t|f)],   Eq. (stand-in),

where p̃(t|f) is the stand-in's likelihood of its targets t. The identity holds for every stand-in; a good one needs fewer points.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from refbnn.cubature.collapsing import collapse
from refbnn.cubature.deterministic import Deterministic, atoms, refine
from refbnn.cubature.output_layer import OutputLayer
from refbnn.cubature.tails import NoBound
from refbnn.cubature.unit_grid import REACH, UnitGrid, folded_symmetries, unit_grid
from refbnn.cubature.weights import AllWeights
from refbnn.likelihoods.normal import Normal
from refbnn.posterior import Posterior
from refbnn.quadrature import ROUND_OFF
from refbnn.shapes import Parameters, expect_methods

LARGEST = 2 * 10**8  # nodes
BLOCK = 2**18  # numbers in a forward pass: 2 MB of float64 an array
MAX_OUTPUT = 3
INNER_SHARE = 0.6  # points of an output weight for each point of a hidden one
INNER_REACH = 1.6  # of the hidden reach: the posterior may be wider than that of the stand-in
EXPANSIONS = 20


@dataclass(frozen=True, eq=False)
class LayeredGrid:
    """Hidden weights from `hidden`, a unit grid of the stand-in, times z (j k K) with log weights (j) for the output layer."""

    target: AllWeights
    hidden: UnitGrid
    z: np.ndarray
    log_weights: np.ndarray

    @property
    def num_nodes(self) -> int:
        """How many."""
        return self.hidden.num_nodes * len(self.z)

    @property
    def round_off(self) -> float:
        """Of a log weight: that of the stand-in, and of a sum over the data."""
        return self.hidden.round_off + ROUND_OFF * self.target.posterior.loss.y.size

    def chosen(self, at: OutputLayer, mask: np.ndarray) -> Parameters:
        """θ (c p) of the nodes of a block that `mask` is true for."""
        return at.from_normals(self.z)[mask]

    def blocks(self) -> Iterator[tuple[OutputLayer, np.ndarray]]:
        """Some hidden weights (c 1 p) with the law of the output layer, and the log weights (c j)."""
        size = max(1, BLOCK // (self.target.posterior.loss.y.size * len(self.z)))
        for hidden, weights in atoms(self.hidden, self.hidden.blocks(), -np.inf):
            for start in range(0, len(weights), size):
                at = self.hidden.target.given(hidden[start:start + size, None])
                yield at, weights[start:start + size, None] + self.log_weights + self._gain(at)

    def _gain(self, at: OutputLayer) -> np.ndarray:
        """log p(y|f) − log p̃(t|f): (c j)."""
        stand_in, likelihood, y = self.hidden.target, self.target.posterior.likelihood, self.target.posterior.loss.y
        f = np.swapaxes(at.weights(self.z) @ np.swapaxes(at.Phi, -1, -2), -1, -2)
        misfit = ((stand_in.y - f) ** 2).sum((-1, -2))
        return likelihood.log_prob(f, y).sum(-1) - stand_in.noise.log_marginal(misfit, stand_in.num_targets)


def layered(posterior: Posterior, within: float, largest: int = LARGEST) -> Deterministic:
    """A network with one hidden layer and at most three output weights, any likelihood, Eq. (stand-in).

    `within` is the absolute error of the log evidence. The largest value of the likelihood is not known here, and what is beyond
    the domain not bounded: it reaches REACH standard deviations of the prior of hidden weights, and further only where a
    domain of seven eighths disagrees. A mode beyond that is not seen. Raises ValueError as `collapse` and `unit_grid` for other
    networks and priors, NotConverged where `within` is not reached with `largest` nodes.
    """
    expect_methods("posterior", posterior, "net", "likelihood", "prior", "loss")
    target, stand_in = AllWeights(posterior), collapse(_stand_in(posterior))
    num_outer = stand_in.output.mean.size
    if num_outer > MAX_OUTPUT:
        raise ValueError(f"posterior: expected at most {MAX_OUTPUT} output weights, got {num_outer}; use sobol")
    shape = stand_in.output.mean.T.shape
    make = lambda points, reach: LayeredGrid(target, unit_grid(stand_in, points, reach), *_inner(shape, points, reach))
    return refine(target, make, 21, NoBound(REACH), largest, within, folded_symmetries(stand_in))


def _inner(shape: tuple[int, int], points: int, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """z (j k K) on a ball and the log weights of the trapezoidal rule for N(0, I), Eq. (trapezoid-rule)."""
    half, dim = math.ceil(INNER_SHARE * points / 2), math.prod(shape)
    step = INNER_REACH * reach / half
    axes = [step * np.arange(-half, half + 1)] * dim
    z = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, dim)
    z = z[(z**2).sum(1) <= (INNER_REACH * reach) ** 2]
    return z.reshape(-1, *shape), dim * (math.log(step) - 0.5 * math.log(2 * math.pi)) - 0.5 * (z**2).sum(1)


def _stand_in(posterior: Posterior) -> Posterior:
    """Gaussian noise and targets that expand the likelihood, with its Fisher information, about the best constant f."""
    likelihood, y, k = posterior.likelihood, posterior.loss.y, posterior.net.num_outputs
    f = np.zeros((len(posterior.X), k))
    for _ in range(EXPANSIONS):
        information = np.diagonal(likelihood.fisher(f), axis1=-2, axis2=-1)
        f = f - (likelihood.residual(f, y).sum(0) + f) / (information.sum(0) + 1)
    variance = 1 / np.diagonal(likelihood.fisher(f), axis1=-2, axis2=-1).mean()
    return Posterior(posterior.net, Normal(variance), posterior.prior, posterior.X, f - variance * likelihood.residual(f, y))
