"""Grids refined until they agree: the loop, the record that it leaves, and answers from the three last rules.

A rule has `num_nodes`, `round_off` (of a log weight), `blocks()`, pairs of something and an array of log weights, and
`chosen(something, mask)`, the points of a block that a mask of that shape is true for. The value is that of the finest rule; the
error estimate its largest distance to rules with fewer points and to one with a smaller domain, plus round-off,
Eq. (refinement-error), and what the domain may leave out, where that is known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from refbnn.cubature.answers import Answers, Arrays, Estimate, Given
from refbnn.cubature.record import NotConverged, Record, Row
from refbnn.progress import watched
from refbnn.quadrature import Integral
from refbnn.shapes import as_positive

CHUNK = 2**13  # points at which answers are averaged at a time
GROWTH = 1.4  # points a weight from one rule to the next
SHARE = 7 / 8  # of the domain, in the rule that tells whether it is large enough
LEFT_OUT = 1e-3  # of `within`: added to every error for the points that are left out
NEGLIGIBLE = 1e-6  # of `within`: what these weigh together; answers may be a thousand times larger there than in the mean

MakeRule = Callable[[int, float], object]  # points a weight, reach


@dataclass(frozen=True)
class Caution:
    """How far a rule may be from the truth: `factor` times its largest distance to the `count` rules before it."""

    count: int
    factor: float

    def apart(self, found: Arrays, before: Sequence[Arrays]) -> list[np.ndarray]:
        """Array by array; infinite while there are fewer rules."""
        if len(before) < self.count:
            return [np.full(np.shape(value), np.inf) for value in found]
        return [self.factor * np.max([np.abs(value - other) for other in others], axis=0)
                for value, others in zip(found, zip(*before[-self.count:]))]

    def narrowed(self, found: Arrays, smaller: Arrays) -> list[np.ndarray]:
        """The same for one rule on a smaller domain."""
        return [self.factor * np.abs(value - other) for value, other in zip(found, smaller)]


ANALYTIC = Caution(1, 1.0)  # geometric convergence: the distance is the error of the coarser rule
KINKED = Caution(3, 4.0)  # algebraic and erratic: two rules may agree by chance


def caution_for(net: object) -> Caution:
    """KINKED where an activation of `net` is not analytic."""
    return ANALYTIC if all(phi.smooth for phi in getattr(net, "activation", ())) else KINKED


@dataclass(frozen=True, eq=False)
class Deterministic(Answers):
    """Answers from rules with more and more points a weight, each with its log evidence; `narrow` makes the smaller domain."""

    target: object
    rules: tuple[tuple[object, float], ...]
    narrow: Callable[[object], object]
    log_evidence: Integral
    record: Record
    symmetries: Sequence[Callable]
    caution: Caution

    def _settle(self, name: str, estimate: Estimate, within: float) -> tuple[Arrays, Arrays]:
        """Rule after rule until two agree, then the smaller domain: an answer needs fewer points than the log evidence has."""
        negligible, before = NEGLIGIBLE * as_positive("within", within), []
        for rule, log_z in self.rules:
            found = estimate(lambda given: self._mean(rule, log_z, negligible, given))
            apart = self.caution.apart(found, before)
            if _largest(apart) <= within:
                smaller = estimate(lambda given: self._mean(self.narrow(rule), log_z, negligible, given))
                errors = [np.maximum(a, b) + rule.round_off * (np.abs(v) + np.abs(v).max()) + LEFT_OUT * within
                          for a, b, v in zip(apart, self.caution.narrowed(found, smaller), found)]
                if _largest(errors) <= within:
                    return found, tuple(errors)
            before.append(found)
        raise NotConverged(f"{name}: expected an error within {within:.3g}, which the rules do not support", self.record)

    def _mean(self, rule: object, log_z: float, negligible: float, given: Given) -> Arrays:
        floor = log_z + np.log(negligible / rule.num_nodes)
        blocks = watched(rule.blocks(), rule.num_nodes, "posterior means")
        sums, total = None, 0.0
        for theta, log_weights in chunked(atoms(rule, blocks, floor)):
            weights = np.exp(log_weights - log_z)
            parts = [np.tensordot(weights, array, 1) for array in given(self.target.given(theta))]
            sums = parts if sums is None else [before + part for before, part in zip(sums, parts)]
            total += weights.sum()
        return tuple(part / total for part in sums)


def _largest(errors: Sequence[np.ndarray]) -> float:
    return max(float(np.max(error)) for error in errors)


def log_evidence(rule: object, label: str) -> float:
    """log Σ of all weights, block by block."""
    return log_sum([log_sum(values) for _, values in watched(rule.blocks(), rule.num_nodes, label)])


def atoms(rule: object, blocks: Iterable, floor: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Points (c p) and log weights (c) of all that weigh more than e^floor, from the blocks of a rule."""
    for block, values in blocks:
        heavy = values > floor
        if heavy.any():
            yield rule.chosen(block, heavy), values[heavy]


def chunked(atoms: Iterator[tuple[np.ndarray, np.ndarray]]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The same points in chunks of CHUNK, the last one smaller."""
    held, size = [], 0
    for pair in atoms:
        held.append(pair)
        size += len(pair[1])
        while size >= CHUNK:
            theta, weights = (np.concatenate(parts) for parts in zip(*held))
            yield theta[:CHUNK], weights[:CHUNK]
            held, size = [(theta[CHUNK:], weights[CHUNK:])], size - CHUNK
    if size:
        yield tuple(np.concatenate(parts) for parts in zip(*held))


def refine(target: object, make: MakeRule, start: int, tail: object, largest: int, within: float,
           symmetries: Sequence[Callable]) -> Deterministic:
    """More points until rules agree within `within`, then a smaller domain; a larger one where that disagrees.

    The domain reaches as far as `tail` demands for the evidence found so far. Raises NotConverged, with the record, once a rule
    would have more than `largest` nodes, or where round-off alone is too much.
    """
    search, caution, points = _Search(make, largest, as_positive("within", within), [], {}), caution_for(target.net), start
    reach, before = search.on(tail, points, tail.reach(np.inf, within))
    while True:
        points = _odd(points * GROWTH)
        value = search.value(points, reach)
        apart = float(caution.apart((value,), before)[0]) + search.made[points, reach].round_off
        before = [*before, (value,)]
        if apart <= within:
            smaller = search.value(points, SHARE * reach)
            error = max(apart, float(caution.narrowed((value,), (smaller,))[0])) + tail.error(reach, value)
            if error <= within:
                rules = search.rules(reach)
                return Deterministic(target, rules, search.narrow, Integral(value, error), search.record, symmetries, caution)
            tail = replace(tail, least=reach / SHARE)
        if tail.reach(value, LEFT_OUT * within) != reach:
            reach, before = search.on(tail, points, tail.reach(value, LEFT_OUT * within))


@dataclass(frozen=True)
class _Search:
    """Makes rules and keeps the record."""

    make: MakeRule
    largest: int
    within: float
    rows: list[Row]
    made: dict[tuple[int, float], object]

    @property
    def record(self) -> Record:
        return Record(tuple(self.rows))

    def value(self, points: int, reach: float) -> float:
        """The log evidence of one more rule, or of one that was made before."""
        known = [row.log_evidence for row in self.rows if (row.num_points, row.reach) == (points, reach)]
        return known[0] if known else self._more(points, reach)

    def _more(self, points: int, reach: float) -> float:
        rule = self.make(points, reach)
        if rule.num_nodes > self.largest:
            raise NotConverged(f"log evidence: expected an error within {self.within:.3g} from at most {self.largest} nodes; the "
                               f"next rule, {points} points a weight, has {rule.num_nodes}", self.record)
        if rule.round_off > self.within:
            raise NotConverged(f"log evidence: expected an error within {self.within:.3g}, got round-off of up to "
                               f"{rule.round_off:.3g}", self.record)
        value = log_evidence(rule, f"log evidence, {points} points a weight")
        self.rows.append(Row(points, reach, rule.num_nodes, value))
        self.made[points, reach] = rule
        return value

    def on(self, tail: object, points: int, reach: float) -> tuple[float, list[Arrays]]:
        """A domain, at least `reach`, that is large enough for the evidence found on it, and that log evidence."""
        while True:
            value = self.value(points, reach)
            wanted = tail.reach(value, LEFT_OUT * self.within)
            if wanted <= reach:
                return reach, [(value,)]
            reach = wanted

    def rules(self, reach: float) -> tuple[tuple[object, float], ...]:
        """Those of one domain, with their log evidences, the finest last."""
        return tuple((self.made[row.num_points, reach], row.log_evidence)
                     for row in sorted(self.rows, key=lambda row: row.num_points) if row.reach == reach)

    def narrow(self, rule: object) -> object:
        """The rule with the step of `rule` on a smaller domain."""
        points, reach = next(key for key, made in self.made.items() if made is rule)
        return self.make(points, SHARE * reach)


def _odd(number: float) -> int:
    """The next odd integer."""
    return 2 * int(number // 2) + 1


def log_sum(values: object) -> float:
    """log Σ exp, without overflow."""
    values = np.asarray(values)
    largest = values.max()
    return float(largest + np.log(np.exp(values - largest).sum()))
