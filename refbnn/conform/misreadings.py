"""Another question answered rightly: a number of the problem taken for another, all the way through.

What a standard deviation in the place of a variance does to a gradient is a factor; to an evidence it is none. So the package
answers the question that was misread, and its answer is held against the given one. Asked last, where no theory of the right
answer explains the wrong one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from refbnn import linalg

from .compare import CAP64, U64, digits
from .conventions import convert
from .fitting import Failure, norm
from .hypotheses import Cause
from .problem import Problem
from .quantities import Quantity

COMPLEXITY = 3
SOUGHT = ("vi.optimum.", "posterior.", "predictive.exact")  # by a search or by draws: seconds
Change = Callable[[Problem], dict[str, Any] | None]


@dataclass(frozen=True)
class Misreading:
    """Fields of a problem as somebody may take them; `change` gives None where there is no such field."""

    key: str
    sentence: str
    advice: str
    change: Change

    def problem(self, asked: Problem) -> Problem | None:
        """The problem as it was taken, None where that is no problem or the same one."""
        changes = self.change(asked)
        if changes is None or all(np.array_equal(value, getattr(asked, name)) for name, value in changes.items()):
            return None
        try:
            return replace(asked, **changes)
        except ValueError:
            return None


def _noise(function: Callable[[float], float]) -> Change:
    return lambda problem: {"variance": function(problem.variance)} if problem.likelihood == "normal" else None


def _prior(power: float) -> Change:
    """A power of the prior precision: −1 is the covariance, ½ and −½ are roots of the two."""
    def change(problem: Problem) -> dict[str, Any]:
        values, vectors = np.linalg.eigh(problem.prior_precision)
        return {"prior_precision": linalg.symmetric_part((vectors * values**power) @ vectors.T)}
    return change


def _without(place: int) -> Change:
    """One datum fewer."""
    def change(problem: Problem) -> dict[str, Any] | None:
        if len(problem.X) < 2:
            return None
        return {name: np.delete(getattr(problem, name), place, axis=0) for name in ("X", "y", "labels")}
    return change


def _twice(place: int) -> Change:
    """One datum more."""
    def change(problem: Problem) -> dict[str, Any]:
        arrays = {name: getattr(problem, name) for name in ("X", "y", "labels")}
        return {name: np.concatenate([value, value[place][None]]) for name, value in arrays.items()}
    return change


def _row(key: str, subject: str, advice: str, change: Change) -> Misreading:
    return Misreading(f"question:{key}", f"Your answers are right for another question: {subject}", advice, change)


MISREADINGS = (
    _row("noise_std", "the noise's standard deviation σ in the place of its variance σ²", "give σ²", _noise(lambda v: v**0.5)),
    _row("noise_squared", "the square of the noise variance, as if it were a standard deviation", "give σ² as it is",
         _noise(lambda v: v**2)),
    _row("noise_precision", "the noise's precision 1/σ² in the place of its variance", "give σ²", _noise(lambda v: 1 / v)),
    _row("prior_covariance", "the prior's covariance in the place of its precision", "give the precision P₀", _prior(-1.0)),
    _row("prior_std", "the prior's standard deviation P₀^(−½) in the place of its precision", "give P₀", _prior(-0.5)),
    _row("prior_root", "the root of the prior's precision in its place", "give P₀", _prior(0.5)),
    _row("prior_squared", "the square of the prior's precision, as if it were a root", "give P₀ as it is", _prior(2.0)),
    _row("prior_variance_squared", "the prior's precision taken for a standard deviation, P₀^(−2)", "give P₀ as a precision",
         _prior(-2.0)),
    _row("prior_mean", "a prior with mean zero", "use θ − m", lambda problem: {"prior_mean": np.zeros_like(problem.prior_mean)}),
    _row("first_datum", "the first datum is missing", "look at the start of the loop over data", _without(0)),
    _row("last_datum", "the last datum is missing", "look at the end of the loop over data", _without(-1)),
    _row("first_datum_twice", "the first datum counts twice", "look at the start of the loop over data", _twice(0)),
    _row("last_datum_twice", "the last datum counts twice", "look at the end of the loop over data", _twice(-1)),
)


def misread(cases: Sequence[Failure], passed: Sequence[tuple[Any, Quantity]]) -> tuple[Cause | None, list[str]]:
    """The one misreading that gives every answer, and would show on every case that passed; or those that it may be.

    The smallest case is asked first: a misreading that fails there needs no others.
    """
    quantity, ordered = cases[0].quantity, sorted(cases, key=lambda failure: failure.facts.problem.theta.size)
    if quantity.certified_by != quantity.name or quantity.name.startswith(SOUGHT):
        return None, []
    found = [(misreading, worst) for misreading in MISREADINGS if (worst := _worst(misreading, ordered)) is not None]
    found = [each for each in found if not any(_shows(each[0], quantity, case) for case in passed)]
    if len(found) != 1:
        subjects = [row.sentence.partition(": ")[2] for row, _ in found]
        return None, [f"right for more than one other question: {', or '.join(subjects)}"] if found else []
    (misreading, worst), = found
    return Cause(misreading.key, misreading.sentence, misreading.advice, digits(worst), COMPLEXITY), []


def _worst(misreading: Misreading, cases: Sequence[Failure]) -> float | None:
    """The largest error of the answers against those of the question as taken, None where one is beyond its tolerance."""
    worst = 0.0
    for failure in cases:
        taken = answered(misreading, failure.quantity, failure.facts.problem, failure.facts.conventions)
        if taken is None or taken.shape != failure.answer.shape:
            return None
        error = norm(failure.answer - taken) / max(norm(taken), failure.floor)
        if not error <= min(failure.rounding() * U64, CAP64):
            return None
        worst = max(worst, error)
    return worst


def _shows(misreading: Misreading, quantity: Quantity, case: Any) -> bool:
    """Whether a case that passed would not have, had it been misread."""
    taken = answered(misreading, quantity, case.problem, {})
    return taken is not None and norm(taken - case.values[quantity.name].value) > CAP64 * norm(taken)


def answered(misreading: Misreading, quantity: Quantity, asked: Problem, conventions) -> np.ndarray | None:
    """The package's answer to the question as it was taken, in the declared conventions; None where it has none."""
    from .adapters import refbnn as own

    problem = misreading.problem(asked)
    if problem is None:
        return None
    try:
        value = getattr(own, quantity.function_name)(own.prepare(problem))
    except (ValueError, ArithmeticError):
        return None
    return convert(quantity, np.asarray(value, float), problem, conventions)
