"""What explains all failing cases at once: a reading, a theory and a name for each of its coefficients."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Iterator

import numpy as np

from .compare import digits
from .fitting import Failure, Found, Trial
from .naming import ONE, ZERO, Monomial, constant, named
from .theories import Reading, Theory


@dataclass(frozen=True)
class Cause:
    """One explanation; `complexity` orders them (1: one simple slip), `digits` is how far it explains the worst case."""

    key: str
    sentence: str
    advice: str
    digits: float
    complexity: int


@dataclass(frozen=True)
class Hypothesis:
    """A reading, a theory and a name for each coefficient, that hold on all failing cases."""

    reading: Reading
    theory: Theory
    factors: tuple[Monomial, ...]
    digits: float  # on the worst case
    typical: float  # digits on the median case
    same: tuple[str, ...] = ()  # other keys for the same thing on these cases

    @property
    def complexity(self) -> int:
        """Of reading and theory, and one for each factor."""
        return self.reading.complexity + self.theory.complexity + sum(factor.degree for factor in self.factors)

    def cause(self, correction: str = "") -> Cause:
        """In words; `correction` is a product that makes the answers right."""
        words = [_worded(self.theory, self.factors)]
        if self.reading.complexity:
            words.append((self.reading.key, self.reading.sentence, self.reading.advice))
        key, sentence, advice = ([part for part in column if part] for column in zip(*words))
        told = f" (the same on these cases: {', '.join(self.same)})" if self.same else ""
        scale = [f"or multiply by {correction}"] if correction else []
        equal = f"Equal after x {correction}. " if correction else ""
        return Cause("+".join(key), equal + "; ".join(sentence) + told, ", ".join(advice + scale), self.digits, self.complexity)


def _worded(theory: Theory, factors: tuple[Monomial, ...]) -> tuple[str, str, str]:
    """Key, sentence and advice of a theory with these coefficients."""
    names = tuple(map(str, factors))
    if names in theory.special:
        return theory.special[names]
    if theory.terms:
        whole = " + ".join(f"{name} x {term}" for name, term in zip(names, theory.terms) if name != "0")
        return f"{theory.key}:{','.join(names)}", f"{theory.sentence}: you return {whole}", theory.advice
    if names == ("1",):
        return theory.key, theory.sentence, theory.advice
    key = "+".join(part for part in (f"factor:{names[0]}", theory.key) if part)
    advice = ", ".join(part for part in (f"multiply by {factors[0].inverse}", theory.advice) if part)
    return key, f"{theory.sentence or 'You return the right value'}, times {names[0]}", advice


def hypotheses(cases: list[Failure], found: list[Found], unit: float) -> list[Hypothesis]:
    """All that explains every case to the tolerance of that precision, simplest first."""
    problems = [failure.facts.problem for failure in cases]
    result = []
    for key in found[0]:
        trials = [other[key] for other in found if key in other]
        if len(trials) == len(found):
            result += _explaining(trials, problems, unit)
    return sorted(_merged(result), key=lambda hypothesis: hypothesis.complexity)


def _explaining(trials: list[Trial], problems: list[Any], unit: float) -> Iterator[Hypothesis]:
    """Names from the cases that determine the coefficients, checked on all of them."""
    first = trials[0]
    sure = [(trial, problem) for trial, problem in zip(trials, problems) if trial.fit is not None]
    if not sure or any(trial.fit.error > trial.tolerance(unit) for trial, _ in sure):
        return
    for factors in _namings([trial for trial, _ in sure], [problem for _, problem in sure], unit):
        errors = [trial.unexplained([factor.value(problem) for factor in factors]) for trial, problem in zip(trials, problems)]
        if all(error <= trial.tolerance(unit) for trial, error in zip(trials, errors)):
            yield Hypothesis(first.reading, first.theory, factors, digits(max(errors)), digits(float(np.median(errors))))


def _namings(trials: list[Trial], problems: list[Any], unit: float) -> list[tuple[Monomial, ...]]:
    """Every way of naming the coefficients."""
    theory = trials[0].theory
    if not theory.free:
        return [(ONE,)]
    columns = np.array([trial.fit.coefficients for trial in trials]).T
    spreads = np.array([trial.spread(unit) for trial in trials]).T
    names = [named(column, spread, problems, theory.predictive) for column, spread in zip(columns, spreads)]
    if theory.constant:
        names = [[ONE] if ONE in names[0] else [], constant(columns[1], spreads[1], names[1])]
    return [factors for factors in product(*names) if _is_mine(theory, factors)]


def _is_mine(theory: Theory, factors: tuple[Monomial, ...]) -> bool:
    """Where the second term is absent, another theory may say so, unless this one has a word for it."""
    absent = factors[1:] == (ZERO,) and (factors[0] == ONE or not theory.first_alone)
    return not absent or tuple(map(str, factors)) in theory.special


_MERGED_KINDS = ("convention", "quantity", "quantity_prior", "other_curvature")


def _merged(found: list[Hypothesis]) -> list[Hypothesis]:
    """Two readings, conventions or quantities that are one and the same on all failing cases become one hypothesis."""
    kept: dict[tuple, Hypothesis] = {}
    for h in sorted(found, key=lambda h: h.complexity):
        what = h.theory.kind if h.theory.kind in _MERGED_KINDS else h.theory.key
        how = h.reading.kind if h.reading.complexity else "given"
        key = (what, how, h.factors)
        if key not in kept:
            kept[key] = h
        elif kept[key].complexity == h.complexity:
            other = h.reading.key if h.theory.key == kept[key].theory.key else h.theory.key
            kept[key] = replace(kept[key], same=(*kept[key].same, other))
    return list(kept.values())
