"""The no-U-turn sampler (Hoffman and Gelman 2014) with multinomial weights and the generalised criterion (Betancourt 2017).

A trajectory is doubled, forwards or backwards in time, until it, or a balanced sub-tree of it, turns back upon itself; the next
state is drawn from all of its points by their density. All chains grow together: in doubling j those that still run take the
same 2^j steps, so a tree is a loop over leaves and not a recursion.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from refbnn.samplers.hmc import State
from refbnn.samplers.leapfrog import DIVERGENCE, Point, energy, leapfrog, start
from refbnn.samplers.streams import Streams
from refbnn.shapes import Parameters, Values, as_count, as_positive, expect_methods


@dataclass(frozen=True)
class Info:
    """What an update did, one entry a chain (c).

    acceptance: min(1, exp(−ΔH)) averaged over the points visited; energy_error: ΔH of the point drawn; diverged: an energy error
    above 1000 nats ended the trajectory; depth: the number of doublings that count; num_gradients: what it cost; energy: H where
    the trajectory began, for diagnostics.e_bfmi.
    """

    acceptance: Values
    energy: Values
    energy_error: Values
    diverged: np.ndarray
    depth: np.ndarray
    num_gradients: np.ndarray


@dataclass(frozen=True)
class Nuts:
    """`metric` is M⁻¹ (Dense or Diagonal); at most 2^max_depth − 1 steps. Raises ValueError for bad settings."""

    step_size: float
    metric: object
    max_depth: int = 10

    def __post_init__(self):
        object.__setattr__(self, "step_size", as_positive("step_size", self.step_size))
        expect_methods("metric", self.metric, "num_params", "matvec", "scale_matvec")
        object.__setattr__(self, "max_depth", as_count("max_depth", self.max_depth))

    def init(self, target: object, theta: Parameters) -> State:
        """Chains that start at θ (c p). Raises ValueError where the density vanishes or has no gradient, for another size."""
        return State(*start(target, theta, self.metric))

    def step(self, target: object, state: State, streams: Streams) -> tuple[State, Info]:
        """One update of every chain."""
        momentum = self.metric.scale_matvec(streams.normals(self.metric.num_params))
        tree = _Tree(self.metric, Point(state.theta, momentum, state.log_prob, state.gradient))
        for depth in range(self.max_depth):
            chains = np.flatnonzero(tree.growing)
            if not len(chains):
                break
            numbers = streams[chains].uniforms(2 + 2**depth)
            forward = numbers[:, 0] < 0.5
            branch = _Branch(self.metric, tree.edge(chains, forward), tree.energy[chains], depth)
            branch.grow(target, np.where(forward, self.step_size, -self.step_size), numbers[:, 2:])
            tree.join(chains, forward, branch, numbers[:, 1])
        return State(tree.chosen.theta, tree.chosen.log_prob, tree.chosen.gradient), tree.info()

    def adapted(self, step_size: float, metric: object) -> Nuts:
        """The same with another step size and metric."""
        return replace(self, step_size=step_size, metric=metric)


class _Branch:
    """2^depth new points of some chains: how they weigh, the one drawn from them, and whether one of their sub-trees turned.

    Sub-trees are the blocks of 2^level points that start at multiples of 2^level. For each level the momenta at the ends of the
    current block and of its two halves are kept, with running sums, and a block is looked at when its last point comes.
    """

    def __init__(self, metric: object, edge: Point, begin: Values, depth: int):
        chains, p = edge.theta.shape
        self.metric, self.begin, self.depth = metric, begin, depth
        self.chosen, self.last = _copy(edge), _copy(edge)
        self.whole, self.diverged = np.ones(chains, dtype=bool), np.zeros(chains, dtype=bool)
        self.log_weight, self.error = np.full(chains, -np.inf), np.zeros(chains)
        self.acceptance, self.visited = np.zeros(chains), np.zeros(chains, dtype=int)
        self.total, self.first = np.zeros((chains, p)), np.zeros((chains, p))
        self._first, self._before, self._near, self._half, self._next = np.zeros((5, depth + 1, chains, p))

    def grow(self, target: object, step_size: Values, numbers: np.ndarray) -> None:
        """Visit the points one after another; chains that turned or diverged stop."""
        rows, point = np.arange(len(step_size)), self.last
        for leaf in range(2**self.depth):
            with np.errstate(over="ignore", invalid="ignore"):  # a trajectory that diverges may overflow
                point = leapfrog(target, self.metric, point, step_size[rows])
                lost = point.lost()
                point = point.where(~lost, self.chosen.at(rows))  # a place where the arithmetic below can go on
                error = np.where(lost, np.inf, energy(self.metric, point) - self.begin[rows])
            self._weigh(rows, point, error, numbers[rows, leaf])
            self.total[rows] += point.momentum
            stop = (error > DIVERGENCE) | self._turns(leaf, rows, point.momentum)
            self.whole[rows[stop]] = False
            rows, point = rows[~stop], point.at(~stop)
            if not len(rows):
                return
        _put(self.last, rows, point)

    def _weigh(self, rows, point: Point, error: Values, numbers: Values) -> None:
        """Draw between this point and the one drawn so far, by weight exp(−ΔH), Eq. (multinomial)."""
        self.log_weight[rows] = np.logaddexp(self.log_weight[rows], -error)
        with np.errstate(invalid="ignore"):  # no weight at all yet: the comparison is false
            taken = numbers < np.exp(-error - self.log_weight[rows])
        _put(self.chosen, rows[taken], point.at(taken))
        self.error[rows[taken]] = error[taken]
        self.acceptance[rows] += np.exp(-np.maximum(error, 0.0))
        self.visited[rows] += 1
        self.diverged[rows] |= error > DIVERGENCE

    def _turns(self, leaf: int, rows: np.ndarray, momentum: Parameters) -> np.ndarray:
        """Whether a block that ends with this point turns."""
        turns, total = np.zeros(len(rows), dtype=bool), self.total[rows]
        if leaf == 0:
            self.first[rows] = momentum
        for level in range(1, self.depth + 1):
            place, size = leaf % 2**level, 2**level
            if place == 0:
                self._first[level, rows], self._before[level, rows] = momentum, total - momentum
            if place == size // 2 - 1:
                self._near[level, rows], self._half[level, rows] = momentum, total
            if place == size // 2:
                self._next[level, rows] = momentum
            if place == size - 1:
                half = self._half[level, rows]
                turns |= turned(self.metric, half - self._before[level, rows], total - half, self._first[level, rows],
                                self._near[level, rows], self._next[level, rows], momentum)
        return turns


class _Tree:
    """The trajectory of every chain: its ends, its weight, the sum of its momenta, the point drawn from it."""

    def __init__(self, metric: object, point: Point):
        chains = len(point.theta)
        self.metric, self.energy = metric, energy(metric, point)
        self.left, self.right, self.chosen = _copy(point), _copy(point), _copy(point)
        self.total, self.log_weight, self.error = point.momentum.copy(), np.zeros(chains), np.zeros(chains)
        self.growing, self.diverged = np.ones(chains, dtype=bool), np.zeros(chains, dtype=bool)
        self.acceptance, self.visited, self.depth = np.zeros(chains), np.zeros(chains, dtype=int), np.zeros(chains, dtype=int)

    def edge(self, chains: np.ndarray, forward: np.ndarray) -> Point:
        """The end from which each of the chains goes on."""
        return self.right.at(chains).where(forward, self.left.at(chains))

    def join(self, chains: np.ndarray, forward: np.ndarray, branch: _Branch, numbers: Values) -> None:
        """Add a branch that is whole: its point replaces the one drawn with probability min(1, its weight / weight so far)."""
        self.acceptance[chains] += branch.acceptance
        self.visited[chains] += branch.visited
        self.diverged[chains] |= branch.diverged
        self.growing[chains] = branch.whole
        whole = branch.whole
        chains, forward = chains[whole], forward[whole]
        taken = numbers[whole] < np.exp(np.minimum(0.0, branch.log_weight[whole] - self.log_weight[chains]))
        _put(self.chosen, chains[taken], branch.chosen.at(whole).at(taken))
        self.error[chains[taken]] = branch.error[whole][taken]
        near, far = self.edge(chains, forward), self.edge(chains, ~forward)
        new, last = branch.total[whole], branch.last.at(whole)
        turns = turned(self.metric, self.total[chains], new, far.momentum, near.momentum, branch.first[whole], last.momentum)
        self.total[chains] += new
        self.log_weight[chains] = np.logaddexp(self.log_weight[chains], branch.log_weight[whole])
        self.depth[chains] += 1
        self.growing[chains] = ~turns
        _put(self.right, chains[forward], last.at(forward))
        _put(self.left, chains[~forward], last.at(~forward))

    def info(self) -> Info:
        """What became of it."""
        return Info(self.acceptance / self.visited, self.energy, self.error, self.diverged, self.depth, self.visited)


def turned(metric, total_a, total_b, far_a, near_a, near_b, far_b) -> np.ndarray:
    """Whether two adjacent stretches of a trajectory, joined, turn back (c), Eq. (u-turn).

    From the sums of their momenta and the momenta at their ends, far_a ... near_a near_b ... far_b: the velocity at an end must
    not point against the way gone, ρᵀM⁻¹r > 0, for both together and for each with the first point of the other.
    """
    turns = np.zeros(len(far_a), dtype=bool)
    stretches = (total_a + total_b, far_a, far_b), (total_a + near_b, far_a, near_b), (near_a + total_b, near_a, far_b)
    for way, begin, end in stretches:
        velocity = metric.matvec(way)
        turns |= (np.einsum("cp,cp->c", velocity, begin) <= 0) | (np.einsum("cp,cp->c", velocity, end) <= 0)
    return turns


def _copy(point: Point) -> Point:
    return Point(point.theta.copy(), point.momentum.copy(), point.log_prob.copy(), point.gradient.copy())


def _put(into: Point, rows: np.ndarray, point: Point) -> None:
    """Write the chains of a point into some rows of another."""
    into.theta[rows], into.momentum[rows] = point.theta, point.momentum
    into.log_prob[rows], into.gradient[rows] = point.log_prob, point.gradient
