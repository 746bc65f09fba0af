"""Grids refined until they agree: the loop, the record that it leaves, and answers from the three last rules.

A rule has `num_nodes`, `round_off` (of a log weight), `log_evidence()` and `atoms(floor)`: chunks of points with log weights
above a floor. The value is that of the finest rule; the error estimate its largest distance to one with fewer points and one
with a smaller domain, plus round-off, Eq (refinement-error).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from refbnn.cubature.answers import Answers, Arrays, Given
from refbnn.cubature.record import NotConverged, Record, Row
from refbnn.quadrature import Integral
from refbnn.shapes import as_positive

CHUNK = 2**14  # points at which answers are averaged at a time
GROWTH = 1.4  # points a weight from one rule to the next
SHARE = 7 / 8  # of the domain, in the rule that tells whether it is large enough
NEGLIGIBLE = 1e-3  # of `within`: what all points that are left out may weigh together

MakeRule = Callable[[int, float], object]  # points a weight, reach


@dataclass(frozen=True, eq=False)
class Deterministic(Answers):
    """Answers from a rule, one with fewer points and one with a smaller domain, in that order."""

    target: object
    rules: tuple
    log_evidences: tuple[float, ...]
    log_evidence: Integral
    record: Record
    symmetries: Sequence[Callable]
    negligible: float

    def means(self, given: Given) -> list[Arrays]:
        """Of all three rules."""
        return [self._mean(rule, log_z, given) for rule, log_z in zip(self.rules, self.log_evidences)]

    def best(self, given: Given) -> Arrays:
        """Of the finest rule."""
        return self._mean(self.rules[0], self.log_evidences[0], given)

    def spread(self, values: list[np.ndarray]) -> np.ndarray:
        """The largest distance to the other two, and the round-off of the weights."""
        apart = [np.abs(value - values[0]) for value in values[1:]]
        return np.max(apart, axis=0) + self.rules[0].round_off * (np.abs(values[0]) + np.abs(values[0]).max())

    def _mean(self, rule: object, log_z: float, given: Given) -> Arrays:
        floor = log_z + np.log(self.negligible / rule.num_nodes)
        sums, total = None, 0.0
        for theta, log_weights in chunked(rule.atoms(floor)):
            weights = np.exp(log_weights - log_z)
            parts = [np.tensordot(weights, array, 1) for array in given(self.target.given(theta))]
            sums = parts if sums is None else [before + part for before, part in zip(sums, parts)]
            total += weights.sum()
        return tuple(part / total for part in sums)


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


def refine(target: object, make: MakeRule, start: int, reach: float, largest: int, within: float,
           symmetries: Sequence[Callable]) -> Deterministic:
    """More points until two rules agree within `within`, then a smaller domain; a larger one where that disagrees.

    Raises NotConverged, with the record, once a rule would have more than `largest` nodes, or where round-off alone is too much.
    """
    search = _Search(make, largest, as_positive("within", within), [])
    points, before = start, search.rule(start, reach)
    while True:
        points = _odd(points * GROWTH)
        rule = search.rule(points, reach)
        apart = abs(rule[1] - before[1])
        if apart + rule[0].round_off <= within:
            narrow = search.rule(points, SHARE * reach)
            error = max(apart, abs(narrow[1] - rule[1])) + rule[0].round_off
            if error <= within:
                rules, values = zip(rule, before, narrow)
                return Deterministic(target, rules, values, Integral(rule[1], error), search.record, symmetries,
                                     NEGLIGIBLE * min(within, 1e-6))
            reach /= SHARE
            rule = search.rule(points, reach)
        before = rule


@dataclass(frozen=True)
class _Search:
    """Makes rules and keeps the record."""

    make: MakeRule
    largest: int
    within: float
    rows: list[Row]

    @property
    def record(self) -> Record:
        return Record(tuple(self.rows))

    def rule(self, points: int, reach: float) -> tuple[object, float]:
        made = self.make(points, reach)
        if made.num_nodes > self.largest:
            raise NotConverged(f"log evidence: expected an error within {self.within:.3g} from at most {self.largest} nodes; the "
                               f"next rule, {points} points a weight, has {made.num_nodes}", self.record)
        if made.round_off > self.within:
            raise NotConverged(f"log evidence: expected an error within {self.within:.3g}, got round-off of up to "
                               f"{made.round_off:.3g}", self.record)
        value = made.log_evidence()
        self.rows.append(Row(points, reach, made.num_nodes, value))
        return made, value


def _odd(number: float) -> int:
    """The next odd integer."""
    return 2 * int(number // 2) + 1


def log_sum(values: object) -> float:
    """log Σ exp, without overflow."""
    values = np.asarray(values)
    largest = values.max()
    return float(largest + np.log(np.exp(values - largest).sum()))
