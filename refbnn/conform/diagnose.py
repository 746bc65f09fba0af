"""Why an answer is wrong: a search over `theories`, in order of complexity, that must hold on every failing case.

For every reading of the answer and every theory, the coefficients c of answer = Σ c_i basis_i are fitted case by case. Those that
leave nothing unexplained are named: a coefficient must be the same product of N, C, 2, σ², τ (and the number t of draws for
predictives) on all failing cases. A cause is claimed only if it explains the answers to the tolerance of the check,
is the only one of its complexity, and its factors cannot be told in another way on these cases; otherwise the evidence is given.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from .compare import CAP64, U32, U64, digits, expected_shape
from .conventions import resolve, without_layout
from .fitting import Failure, Found, Key, Trial, fits, inverted, norm
from .hypotheses import Cause, Hypothesis, hypotheses
from .misreadings import misread
from .quantities import QUANTITIES, Quantity
from .theories import Facts, declared_order

Array = NDArray[np.float64]
ROUNDED = "float32"  # the cause's key: right values, as numbers of single precision


@dataclass(frozen=True)
class Finding:
    """What is to be said about one quantity: a cause, or evidence. `cases` fail out of `total`."""

    quantity: str
    cases: int
    total: int
    cause: Cause | None
    evidence: tuple[str, ...] = ()

    def __str__(self) -> str:
        head = f"MISMATCH {self.quantity} on {self.cases}/{self.total} cases: "
        if self.cause is None:
            return head + ("; ".join(self.evidence) or "nothing in the search comes near") + "."
        return f"{head}explained to {self.cause.digits:.1f} digits. {self.cause.sentence}: {self.cause.advice}."


def explain(failures: Sequence[tuple[Any, Quantity, Any]], conventions: Mapping[str, str] | None = None,
            passed: Sequence[tuple[Any, Quantity]] = ()) -> list[Finding]:
    """One finding per quantity, in the order given. `passed` (case, quantity) are checks that the adapter got right.

    A cause that would have spoilt a passed check is not claimed.
    """
    grouped: dict[str, list[tuple[Any, Any]]] = {}
    for case, quantity, answer in failures:
        grouped.setdefault(quantity.name, []).append((case, answer))
    return [_explain_one(QUANTITIES[name], group, dict(conventions or {}), [case for case, q in passed if q.name == name])
            for name, group in grouped.items()]


def candidates(quantity: Quantity, case: Any, answer: Any, conventions: Mapping[str, str]) -> list[Cause]:
    """Every cause that explains one answer to the tolerance of its check, simplest first; not all need be true."""
    plain = _hygiene(quantity, [(case, answer)], conventions)
    if plain is not None:
        return [plain]
    failure = _failure(quantity, case, answer, conventions)
    with np.errstate(all="ignore"):
        found = hypotheses([failure], [fits(failure)], U64)
    return [] if found and found[0].complexity == 0 else [hypothesis.cause() for hypothesis in found]


def _explain_one(quantity: Quantity, group: list[tuple[Any, Any]], conventions: dict[str, str], passed: list[Any]) -> Finding:
    total = len(group) + len(passed)
    plain = _hygiene(quantity, group, conventions)
    if plain is not None:
        return Finding(quantity.name, len(group), total, plain)
    cases = [_failure(quantity, case, answer, conventions) for case, answer in group]
    with np.errstate(all="ignore"):  # answers may be as large as numbers can be
        cause, evidence = _search(cases, [fits(failure) for failure in cases], passed)
    return Finding(quantity.name, len(group), total, cause, tuple(evidence))


def _failure(quantity: Quantity, case: Any, answer: Any, conventions: Mapping[str, str]) -> Failure:
    """A wrong answer with its numbers in their usual places, whatever layout is declared."""
    plain, left = without_layout(quantity, np.asarray(answer, float), case.problem, conventions)
    return Failure(Facts(case, left), quantity, plain)


def _hygiene(quantity: Quantity, group: list[tuple[Any, Any]], conventions: Mapping[str, str]) -> Cause | None:
    """What needs no search: not finite; all zero, where the shape is right."""
    arrays = [np.asarray(answer, float) for _, answer in group]
    if all(not np.isfinite(array).all() for array in arrays):
        return Cause("not_finite", "Your answers hold NaN or infinite entries", "look for overflow, 0/0 or log 0", 16.0, 0)
    shapes = [expected_shape(quantity, case.values[quantity.certified_by], case.problem, conventions) for case, _ in group]
    if all(array.shape == shape and array.size and not array.any() for array, shape in zip(arrays, shapes)):
        return Cause("zero", "Every entry of your answers is zero", "see whether the result is ever written", 16.0, 0)
    return None


def _search(cases: list[Failure], found: list[Found], passed: list[Any]) -> tuple[Cause | None, list[str]]:
    """A cause to double precision, or rounding; another question; several or unnamed; to single precision; the nearest."""
    cause, evidence = _conclude(cases, found, passed, U64)
    if cause is None and all(_is_single(failure.answer) for failure in cases):
        rounded, _ = _conclude(cases, found, passed, U32)
        if rounded is not None and rounded.key == ROUNDED:  # to so few digits other causes fit by chance
            return rounded, []
    if cause is None and not evidence:
        cause, evidence = misread(cases, passed)
    evidence = evidence or ([] if cause else _by_likelihood(cases, found, passed) or _unnamed(found))
    if cause is None and not evidence:
        cause, evidence = _conclude(cases, found, passed, U32)
    return cause, evidence or ([] if cause else _nearest(found) or _difference(cases))


def _by_likelihood(cases: list[Failure], found: list[Found], passed: list[Any]) -> list[str]:
    """Evidence: a cause that holds on all failing cases with one likelihood."""
    names = list(dict.fromkeys(failure.facts.problem.likelihood for failure in cases))
    told = []
    for name in names if len(names) > 1 else []:
        mine = [i for i, failure in enumerate(cases) if failure.facts.problem.likelihood == name]
        others = [case for case in passed if case.problem.likelihood == name]
        cause, _ = _conclude([cases[i] for i in mine], [found[i] for i in mine], others, U64)
        if cause is not None:
            told.append(f"on the {len(mine)} {name} cases: {cause.sentence} ({cause.advice})")
    return told


def _conclude(cases: list[Failure], found: list[Found], passed: list[Any], unit: float) -> tuple[Cause | None, list[str]]:
    """The only hypothesis of least complexity, or what stands in its way; nothing at all if there is none."""
    explaining = hypotheses(cases, found, unit)
    if not explaining:
        return None, []
    first = explaining[0]
    if first.complexity == 0:
        return _digits_lost(cases, first, unit)
    if unit == U32 and cases[0].quantity.kind == "scalar" and len(cases) < 3:
        return None, []  # one number to few digits fits many theories by chance
    factors = [h for h in explaining if h.theory.kind == "itself" and h.reading.key == first.reading.key]
    first, rivals = _rivals(first, factors, explaining)
    cause = first.cause(str(factors[0].factors[0].inverse) if factors and first.theory.kind == "convention" else "")
    if rivals:
        others = ", or ".join(rival.cause().sentence for rival in rivals[:3])
        return None, [f"explained to {first.digits:.1f} digits in more than one way: {cause.sentence}, or {others}"]
    likelihoods = {failure.facts.problem.likelihood for failure in cases}
    contradicted = [case for case in passed if not _harmless(first, case, cases[0], unit)]
    within = [case for case in contradicted if case.problem.likelihood in likelihoods]
    if within:
        return None, [f"explained to {first.digits:.1f} digits by: {cause.sentence}; but {len(within)} cases pass where "
                      f"that would show, {within[0].id} for one"]
    if contradicted:
        cause = replace(cause, sentence=f"With the {' and '.join(sorted(likelihoods))} likelihood alone: {cause.sentence}")
    return (cause, []) if unit == U64 or _declared32(cases[0]) else _in_single(cause, first, cases)


def _rivals(first: Hypothesis, factors: list[Hypothesis], explaining: list[Hypothesis]) -> tuple[Hypothesis, list[Hypothesis]]:
    """The hypothesis to claim and all others of its complexity, or, if there is none, other names of its factors.

    A convention and the bare factor that it amounts to are one thing.
    """
    best = [h for h in explaining if h.complexity == first.complexity]
    conventions = [h for h in best if h.theory.kind == "convention"]
    if conventions:
        first = conventions[0]
        best = [first] + [h for h in best if h is not first and h not in factors]
        return first, best[1:] or factors[1:]
    same_number = [h for h in explaining if h.theory.key == first.theory.key and h.reading.key == first.reading.key]
    return first, [h for h in best if h is not first] or same_number[1:]


def _in_single(cause: Cause, hypothesis: Hypothesis, cases: list[Failure]) -> tuple[Cause | None, list[str]]:
    """A cause that explains the answers to a few digits: a cause only if they are single-precision numbers."""
    if not all(_is_single(failure.answer) for failure in cases):
        return None, [f"explained, {_to_digits(hypothesis, cases)}, by: {cause.sentence} ({cause.advice})"]
    return replace(cause, key=cause.key + "+float32", sentence=cause.sentence + " (as far as single precision tells)",
                   advice=cause.advice + "; also compute in double precision, or declare precision = float32",
                   complexity=cause.complexity + 1), []


def _declared32(failure: Failure) -> bool:
    return resolve(failure.quantity, failure.facts.conventions)["precision"] == "float32"


def _digits_lost(cases: list[Failure], right: Hypothesis, unit: float) -> tuple[Cause | None, list[str]]:
    """The value is right to the tolerance of a precision, so nothing but digits (or a direction that the norm hides) is wrong."""
    if unit == U64:
        return None, ["right in norm, wrong in the directions where the matrix is small: digits lost, or jitter"]
    if _declared32(cases[0]) or not all(_is_single(failure.answer) for failure in cases):
        return None, [f"the right value, {_to_digits(right, cases)}: single precision on the way, cancellation, finite "
                      "differences or a loose tolerance"]
    return Cause(ROUNDED, "Your answers are right as single-precision numbers",
                 "compute in double precision, or declare precision = float32", right.digits, 1), []


def _to_digits(hypothesis: Hypothesis, cases: list[Failure]) -> str:
    worst = f" ({hypothesis.digits:.1f} on the worst case)" if len(cases) > 1 else ""
    return f"but to {hypothesis.typical:.1f} digits only{worst}"


def _is_single(answer: Array) -> bool:
    """Whether every entry is a float32 number."""
    with np.errstate(over="ignore"):
        return np.array_equal(answer.astype(np.float32).astype(float), answer)


def _harmless(hypothesis: Hypothesis, case: Any, failure: Failure, unit: float) -> bool:
    """Whether the hypothesis leaves the certified value of a passed case as it is (or says nothing about it)."""
    quantity = failure.quantity
    if quantity.certified_by not in case.values or (hypothesis.reading.complexity and hypothesis.reading.kind != "order"):
        return True
    facts = Facts(case, failure.facts.conventions)
    value, basis = facts.value(quantity.name), hypothesis.theory.basis(facts, quantity)
    weights = [factor.value(facts.problem) for factor in hypothesis.factors]
    if basis is None or any(weight is None for weight in weights):
        return True
    predicted = sum(weight * part for weight, part in zip(weights, basis))
    if hypothesis.theory.inverse:
        predicted = inverted(predicted)
    if predicted is None or predicted.shape != value.shape:
        return False
    if hypothesis.reading.complexity:
        predicted = _between_orders(facts, quantity, predicted, hypothesis.reading.key.partition("=")[2])
    limit = max(2 * Failure(facts, quantity, value).rounding(hypothesis.theory.needs) * unit, CAP64)
    return norm(predicted - value) <= limit * norm(value)


def _between_orders(facts: Facts, quantity: Quantity, value: Array, name: str) -> Array:
    """What a value in the order `name` looks like to one who takes it to be in the declared order."""
    taken = facts.order(name)[np.argsort(facts.order(declared_order(facts, quantity)))]
    for axis, letter in enumerate(QUANTITIES[quantity.certified_by].axes.split()):
        value = value.take(taken, axis) if letter == "p" else value
    return value


def _unnamed(found: list[Found]) -> list[str]:
    """Evidence: combinations that are exact on all cases, though their numbers have no name; the shortest ones."""
    exact = [key for key in _shared(found) if all(other[key].exact(U64) for other in found)]
    return [_described(key, found) for key in sorted(exact, key=lambda key: found[0][key].length)[:2]]


def _nearest(found: list[Found], count: int = 2) -> list[str]:
    """The best fits that prove something, with their digits: evidence where there is no cause."""
    ranked = sorted((max(other[key].fit.error for other in found), key) for key in _shared(found))
    return [_described(key, found) for error, key in ranked[:count] if error < 0.1]


def _difference(cases: list[Failure]) -> list[str]:
    """Evidence on a number: by how much it is off."""
    if cases[0].quantity.kind != "scalar" or any(failure.answer.ndim for failure in cases):
        return []
    right = [float(failure.facts.value(failure.quantity.name)) for failure in cases]
    off = tuple(float(failure.answer) - value for failure, value in zip(cases, right))
    ratio = tuple(float(failure.answer) / value if value else math.nan for failure, value in zip(cases, right))
    return [f"off by {_range(off)}, a ratio of {_range(ratio)}: nothing in the search comes near"]


def _shared(found: list[Found]) -> list[Key]:
    """The fits that apply to all cases, with free coefficients but fewer than numbers."""
    def proves(trial: Trial | None) -> bool:
        return trial is not None and trial.theory.free and trial.fit is not None and trial.fit.proves
    return [key for key in found[0] if all(proves(other.get(key)) for other in found)]


def _described(key: Key, found: list[Found]) -> str:
    trial = found[0][key]
    worst = digits(max(other[key].fit.error for other in found))
    columns = zip(*(other[key].fit.coefficients for other in found))
    terms = trial.theory.terms or (trial.theory.key or "the value",)
    what = " + ".join(f"{_range(column)} x {term}" for column, term in zip(columns, terms))
    read = f" ({trial.reading.key})" if trial.reading.complexity else ""
    return f"equal to {worst:.1f} digits to {what}{read}, numbers without a name"


def _range(column: tuple[float, ...]) -> str:
    low, high = min(column), max(column)
    return f"{low:.6g}" if high - low <= 1e-9 * abs(high) else f"[{low:.4g} ... {high:.4g}]"
