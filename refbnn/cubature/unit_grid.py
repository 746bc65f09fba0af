"""One hidden layer, its output layer integrated out: every unit runs over one and the same grid of weights.

On such a grid log p(y|u) needs nothing but inner products between the features of two units at two points of the grid, and all
of them are one matrix product. A unit that is fixed adds to the covariance of the targets, Eq. (unit-whitening), so that any
number of units is a loop around pairs. Two symmetries cut the work, Eq. (folded-sum): the sign of a unit (half of the grid) and
the exchange of units (pairs in one order only).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from refbnn import symmetry
from refbnn.cubature.collapsed import Collapsed
from refbnn.cubature.deterministic import Deterministic, refine
from refbnn.cubature.tails import PriorTail
from refbnn.gaussian import Gaussian
from refbnn.shapes import Parameters

LARGEST = 4 * 10**9  # combinations of points
MOST = 10**7  # points of the grid of one unit
NUMBERS = 10**8  # features of a whole cube of points: what is kept of them, less than half, fits into memory several times
REACH = 9.0  # standard deviations of the prior of a weight, at least: P(|z| > 9) = 2e-19
BEND = 4.0
TINY = 1e-3  # keeps c finite where a weight has no influence on the data
SIDE = 192  # of a block of pairs: some ten arrays of SIDE² float64, 3 MB, at a time

Block = tuple[tuple[np.ndarray, ...], np.ndarray]  # indices into the grid, one array a unit, broadcast against log weights


@dataclass(frozen=True, eq=False)
class Channel:
    """What outputs with one prior see of a unit, the bias and fixed units integrated out.

    `features` (g n) are whitened rows, `targets` (k n) too, `precision` is that of an output weight; `log_det` is what the
    integration has added so far, for one output.
    """

    features: np.ndarray
    targets: np.ndarray
    precision: float
    log_det: float

    def __post_init__(self):
        norm = self.precision + np.einsum("gn,gn->g", self.features, self.features)
        object.__setattr__(self, "scaled", self.features / np.sqrt(norm)[:, None])
        object.__setattr__(self, "correlation", self.targets @ self.scaled.T)  # (k g)
        object.__setattr__(self, "log_norm", np.log(norm / self.precision))

    @property
    def count(self) -> int:
        """k of this channel."""
        return len(self.targets)

    def given(self, direction: np.ndarray, precision: float, points: slice) -> Channel:
        """N(0, 1/precision)·direction is added to the noise: I + ddᵀ/precision is whitened. Eq. (unit-whitening)."""
        square = direction @ direction
        log_det = np.log1p(square / precision)
        shrink = -np.expm1(-0.5 * log_det) / square if square > 0 else 0.0
        whiten = lambda rows: rows - np.outer(rows @ direction, shrink * direction)
        return Channel(whiten(self.features[points]), whiten(self.targets), self.precision, self.log_det + log_det)


@dataclass(frozen=True, eq=False)
class UnitGrid:
    """The grid of one unit: `points` (g q), `log_weights` (g) with prior, cell and sign folding, and what the outputs see.

    `round_off` is what log weights may be wrong by; `symmetries` is the group that was folded.
    """

    target: Collapsed
    points: np.ndarray
    log_weights: np.ndarray
    channels: tuple[Channel, ...]

    @property
    def num_units(self) -> int:
        """H."""
        return self.target.net.sizes[1]

    @property
    def num_nodes(self) -> int:
        """How many combinations of points are summed, about gᴴ/H!."""
        return math.comb(len(self.points) + self.num_units - 1, self.num_units)

    @property
    def round_off(self) -> float:
        """Of a log weight."""
        return self.target.round_off

    def chosen(self, indices: tuple[np.ndarray, ...], mask: np.ndarray) -> Parameters:
        """The hidden weights (c p) of the combinations of a block that `mask` is true for."""
        units = np.stack([self.points[np.broadcast_to(i, mask.shape)[mask]] for i in indices], axis=1)
        W, b = units[..., :self.target.net.num_inputs], units[..., -1] if self.target.net.bias else None
        return self.target.features.inner.layout.flatten([(W, b)])

    def blocks(self) -> Iterator[Block]:
        """Every combination of points, in blocks, with its folded log weight, Eq. (folded-sum)."""
        return self._blocks(self.channels, self.log_weights, self.num_units)

    def _blocks(self, channels: tuple[Channel, ...], weights: np.ndarray, num_free: int) -> Iterator[Block]:
        """The same over the units that are still free, on the points that are left."""
        if num_free == 0:
            yield (), self._log_weight(channels, 0.0, 0.0, 0.0)
        elif num_free == 1 and len(weights):
            quadratic = sum((channel.correlation**2).sum(0) for channel in channels)
            yield (np.arange(len(weights)),), self._log_weight(channels, weights, quadratic, _log_norms(channels))
        elif num_free == 2:
            yield from self._pairs(channels, weights)
        elif num_free > 2:
            yield from self._fixed_first(channels, weights, num_free)

    def _pairs(self, channels: tuple[Channel, ...], weights: np.ndarray) -> Iterator[Block]:
        """Blocks on and below the diagonal; those below count twice."""
        norms, points = _log_norms(channels), np.arange(len(weights))
        starts = range(0, len(weights), SIDE)
        for i, j in itertools.combinations_with_replacement(starts, 2):
            I, J = slice(i, i + SIDE), slice(j, j + SIDE)
            quadratic, log_det = 0.0, 0.0
            for channel in channels:
                explained, shared = _pair(channel, I, J)
                quadratic, log_det = quadratic + explained, log_det + channel.count * shared
            prior = (weights[I] + (math.log(2) if i < j else 0.0))[:, None] + weights[J]
            log_det += norms[I, None] + norms[J]
            yield (points[I, None], points[J]), self._log_weight(channels, prior, quadratic, log_det)

    def _fixed_first(self, channels: tuple[Channel, ...], weights: np.ndarray, num_free: int) -> Iterator[Block]:
        """The largest index of all is i, r units have it, and the others are below: C(H, r) orders."""
        for i in range(len(weights)):
            for times in range(1, num_free + 1):
                given = tuple(_fixed(channel, i, times) for channel in channels)
                shift = times * weights[i] + math.log(math.comb(num_free, times))
                for indices, block in self._blocks(given, weights[:i], num_free - times):
                    yield (*(np.array(i),) * times, *indices), block + shift

    def _log_weight(self, channels, prior, quadratic, log_det) -> np.ndarray:
        """log prior + log p(y|points), from what the free units explain and add to the determinant."""
        square = sum((channel.targets**2).sum() for channel in channels)
        log_det = log_det + sum(channel.count * channel.log_det for channel in channels)
        return prior + self.target.noise.log_marginal(square - quadratic, self.target.num_targets) - 0.5 * log_det


def _log_norms(channels: tuple[Channel, ...]) -> np.ndarray:
    """log |1 + |φ|²/λ| summed over outputs: (g)."""
    return sum(channel.count * channel.log_norm for channel in channels)


def _pair(channel: Channel, I: slice, J: slice) -> tuple[np.ndarray, np.ndarray]:
    """What two units explain of the targets, and log(1 − C²) of their scaled inner products C, Eq. (pair-of-units): (i j)."""
    C = channel.scaled[I] @ channel.scaled[J].T
    free = 1 - C * C
    explained = 0.0
    for c in channel.correlation:
        rest = c[J] - C * c[I, None]
        rest *= rest
        rest /= free
        explained = explained + rest + (c[I] ** 2)[:, None]
    return explained, np.log(free, out=free)


def _fixed(channel: Channel, i: int, times: int) -> Channel:
    """The channel with `times` units fixed at point i, on the points before i."""
    direction = channel.features[i]
    for _ in range(times):
        before = channel.log_det
        channel = channel.given(direction, channel.precision, slice(i))
        direction = direction * np.exp(-0.5 * (channel.log_det - before))
    return channel


def units(target: Collapsed, within: float, largest: int = LARGEST) -> Deterministic:
    """A collapsed target with one hidden layer, every unit on one grid of its weights.

    `within` is the absolute error of the log evidence. The domain reaches as far as the bound of what it leaves out demands,
    Eq. (left-out), at least REACH. Within the domain a mode counts once points meet it: where a unit
    oscillates (sin), coarse rules can agree on what lies between two modes, so ask for a small `within` there. Raises ValueError
    as `unit_grid`, NotConverged where `within` is not reached with `largest` combinations of points.
    """
    make = lambda points, reach: unit_grid(target, points, reach)
    peak = float(target.noise.log_marginal(np.array(0.0), target.num_targets))  # Q >= 0, and determinants are at least 1
    tail = PriorTail(target.net.sizes[1], _unit_prior(target).num_params, peak, REACH)
    return refine(target, make, 21, tail, largest, within, folded_symmetries(target))


def folded_symmetries(target: Collapsed) -> list[symmetry.Symmetry]:
    """All elements of the group of weight symmetries that the grid folds."""
    folded = group(target)
    H = target.net.sizes[1]
    signs = list(itertools.product((1.0, -1.0), repeat=H)) if folded.signed[0] else [(1.0,) * H]
    return [folded.symmetry([np.array(order)], [np.array(sign)])
            for order in itertools.permutations(range(H)) for sign in signs]


def unit_grid(target: Collapsed, num_points: int, reach: float) -> UnitGrid:
    """An odd `num_points` for each weight of a unit, on the ball of `reach` standard deviations of its prior.

    The grid is even in s, z = c sinh s the weight in standard deviations of its prior, Eq. (sinh-rule). Where a unit does next
    to nothing, λ + |φ|² is small and its zeros, where log p(y|u) is singular, come near the real axis; that is at z = 0 only,
    and there the points stand close. Raises ValueError unless there is one hidden layer, units are alike and independent under
    the prior, and output weights are independent with mean zero and one precision an output, and where a unit has so many
    weights, or there are so many data, that the grid of one unit alone would have more than MOST points or NUMBERS features.
    """
    unit = _unit_prior(target)
    cube, num_data = num_points**unit.num_params, len(target.X)
    if cube > MOST or cube * num_data > NUMBERS:
        raise ValueError(f"target: expected few enough weights of a unit and few enough data for {num_points} points, {MOST} "
                         f"in all and {NUMBERS} features, got {unit.num_params} weights and {num_data} data")
    half = num_points // 2
    bend = _bend(target, unit)
    step = np.arcsinh(reach / bend) / half
    s = np.stack(np.meshgrid(*[np.arange(-half, half + 1)] * len(bend), indexing="ij"), axis=-1).reshape(-1, len(bend)) * step
    z = bend * np.sinh(s)
    weights = (np.log(step * bend * np.cosh(s)) - 0.5 * math.log(2 * math.pi) - 0.5 * z**2).sum(1)
    kept = (z**2).sum(1) <= reach**2 * (1 + 1e-12)
    if group(target).signed[0]:
        centre = len(z) // 2  # −z stands as far before the centre as z behind it
        kept[:centre] = False
        weights[centre + 1:] += math.log(2)
    points = unit.from_normals(z[kept])
    return UnitGrid(target, points, weights[kept], _channels(target, points))


def _bend(target: Collapsed, unit: Gaussian) -> np.ndarray:
    """c for each weight: BEND times how far the nearest zero of λ + |φ|² is from z = 0, with φ linear."""
    X = np.concatenate([target.X, np.ones((len(target.X), 1))], axis=1)[:, :unit.num_params]
    slope = target.features.activation.derivatives(np.zeros(1))[1][0]
    size = abs(slope) * np.linalg.norm(X, axis=0) / np.sqrt(unit.precision.diagonal()) + TINY
    return BEND * np.sqrt(np.max(target.output.precision[:, 0, 0])) / size


@dataclass(frozen=True)
class _Whole:
    """What symmetry.of_posterior looks at."""

    net: object
    prior: Gaussian


def group(target: Collapsed) -> symmetry.Group:
    """Exchanges and signs of units that leave the whole posterior alone. Raises ValueError when the prior tells units apart."""
    return symmetry.of_posterior(_Whole(target.net, target.full_prior))


def _unit_prior(target: Collapsed) -> Gaussian:
    """The prior of the weights and the bias of one unit, in the order of a row [w, b]."""
    net, prior = target.net, target.prior
    if len(net.sizes) != 3:
        raise ValueError(f"target: expected a network with one hidden layer, got sizes {net.sizes}; use sobol")
    group(target)
    W, b = target.features.inner.layout.unflatten(np.arange(target.num_params))[0]
    order = W if b is None else np.concatenate([W, b[:, None]], axis=1)
    P = prior.precision.matrix()
    if np.count_nonzero(P) != sum(np.count_nonzero(P[np.ix_(rows, rows)]) for rows in order):
        raise ValueError("prior: expected independent hidden units, got a precision that couples two; use product or sobol")
    return Gaussian(prior.mean[order[0]], prior.precision.principal(order[0]))


def _channels(target: Collapsed, points: np.ndarray) -> tuple[Channel, ...]:
    """One for all outputs, or one an output where their priors differ."""
    net, output = target.net, target.output
    features = target.features.activation(target.X @ points[:, :net.num_inputs].T + (points[:, -1] if net.bias else 0.0)).T
    split = [slice(None)] if len(output.precision) == 1 else [slice(j, j + 1) for j in range(net.num_outputs)]
    return tuple(_channel(features, target, P, outputs) for P, outputs in zip(output.precision, split))


def _channel(features: np.ndarray, target: Collapsed, P: np.ndarray, outputs: slice) -> Channel:
    H, bias = target.net.sizes[1], target.net.bias
    mean = target.output.mean[:, outputs]
    plain = not np.count_nonzero(P - np.diag(np.diagonal(P))) and np.ptp(np.diagonal(P)[:H]) == 0 and not mean[:H].any()
    if not plain:
        raise ValueError("prior: expected independent output weights of mean zero and one precision; use product or sobol")
    targets = (target.y[:, outputs] - (mean[-1] if bias else 0.0)).T
    channel = Channel(features, targets, P[0, 0], 0.0)
    return channel.given(np.ones(len(target.X)), P[-1, -1], slice(None)) if bias else channel
