"""What one check asks, what is certified and how; with an adapter, what it answered and what is wrong with it."""

from __future__ import annotations

import math
import textwrap

import numpy as np

from . import conventions, draws, run
from .case import Case, Certified
from .compare import Unusable, budget
from .diagnose import Finding
from .protocol import printable
from .quantities import Quantity, axis_sizes

WIDTH = 80
CORNER = 6
TIERS = {
    "E": "exact rational arithmetic, rounded once",
    "M": "two independent derivations in 50-digit arithmetic that agree to 45 digits, and an interval run whose two ends "
         "round to the same float64",
    "Q": "two quadratures that agree",
    "V": "an interval through an inverse or a determinant, whose two ends round to the same float64",
}


def question(case: Case, quantity: Quantity) -> str:
    """The problem, the formula, the certified value and how it was certified."""
    certified, problem = case.values[quantity.certified_by], case.problem
    sizes = axis_sizes(problem)
    axes = ", ".join(f"{axis} = {sizes.get(axis, 'any')}" for axis in dict.fromkeys(quantity.axes.split()))
    rows = [("quantity", f"{quantity.name} = {quantity.formula}"),
            ("case", f"{case.id} (revision {case.revision}): {case.title}"), ("source", case.source),
            ("network", _network(problem)),
            ("shape", f"{quantity.axes} with {axes}" if axes else "a number"), ("function", f"{quantity.function_name}(state)"),
            ("certified", _how(quantity, certified)),
            ("condition", f"{certified.condition:g}" if quantity.kind != "draws" else ""),
            ("tolerance", _tolerance(quantity, certified, case))]
    lines = [_field(label, text) for label, text in rows if text]
    return "\n".join(lines) + "\n\n" + _certified(case, quantity)


def _certified(case: Case, quantity: Quantity) -> str:
    """The certified value, or of draws the means of the functions that they are judged by."""
    if quantity.kind == "draws":
        means = draws.averages(case, case.problem.theta)
        return "\n".join(["certified means:", *(f"{each.name:<28} {each.expected!r}" for each in means)])
    certified = case.values[quantity.certified_by]
    return _value(f"certified {quantity.certified_by}", certified.value, certified.digits)


def answer(case: Case, quantity: Quantity, spec: str, timeout: float) -> tuple[str, int]:
    """The adapter's answer to this question, with the verdict and the diagnosis, and the exit code."""
    result, outcome = run.ask(spec, case, quantity, timeout)
    check, = result.checks
    verdict = check.verdict.name + (f": {check.message}" if check.message else "")
    lines = [_field("adapter", f"{result.subject.name} {result.subject.version}"), _field("verdict", verdict)]
    if outcome.answer is not None:
        lines += _comparison(case, quantity, outcome.answer, check, result.subject.conventions)
    lines += [_field("diagnosis", why) for _, finding in run.findings(result) if (why := _why(finding))]
    return "\n".join(lines), result.exit_code()


def _comparison(case: Case, quantity: Quantity, answer: np.ndarray, check: run.Check, settings: dict[str, str]) -> list[str]:
    """Digits on every scale, the answer, and where it differs most from the certified value; of draws what was measured."""
    if quantity.kind == "draws":
        return _measured(case, quantity, answer, settings)
    scales = (("normwise", check.digits), ("componentwise", check.componentwise), ("natural metric", check.natural))
    digits = ", ".join(f"{label} {value:.1f}" for label, value in scales if value is not None)
    expected = conventions.convert(quantity, case.values[quantity.certified_by].value, case.problem, settings)
    comparable = quantity.kind not in ("root", "samples") and answer.shape == expected.shape
    return [_field("digits", digits), _value("answer", answer, None), *([_difference(answer, expected)] if comparable else [])]


def _measured(case: Case, quantity: Quantity, answer: np.ndarray, settings: dict[str, str]) -> list[str]:
    try:
        return draws.table(draws.measure(case, quantity, answer, settings))
    except Unusable:
        return []


def _why(finding: Finding) -> str:
    cause = finding.cause
    return f"{cause.sentence}: {cause.advice}." if cause else "; ".join(finding.evidence)


def _network(problem) -> str:
    sizes = "-".join(map(str, problem.sizes))
    slope = f" (slope {problem.slope})" if problem.slope is not None else ""
    noise = f" (variance {problem.variance})" if problem.variance is not None else ""
    return (f"{sizes} {problem.activation}{slope}{'' if problem.bias else ', no bias'}, {problem.likelihood}{noise}, "
            f"{len(problem.theta)} parameters, {len(problem.X)} data")


def _how(quantity: Quantity, certified: Certified) -> str:
    through = "" if quantity.certified_by == quantity.name else f" through {quantity.certified_by}"
    return f"tier {certified.tier}{through}: {TIERS[certified.tier]}"


def _tolerance(quantity: Quantity, certified: Certified, case: Case) -> str:
    if quantity.kind == "draws":
        return draws.asked(case)
    limit = budget(quantity, certified, case.problem, conventions.DEFAULTS)
    return f"{limit.tolerance:.2g} relative, 30·n·u·κ with n = {len(case.problem.theta) + len(case.problem.X)}, u = 2^-53"


def _value(title: str, value: np.ndarray, digits: str | None) -> str:
    if value.ndim == 0:
        return f"{title}:\n{digits or repr(float(value))}"
    shown = value[(0,) * (value.ndim - 2)] if value.ndim > 2 else value
    corner = shown[(slice(CORNER),) * shown.ndim]
    head = f"{title}, shape {value.shape}" + (f", slice [{', '.join('0' * (value.ndim - 2))}]" if value.ndim > 2 else "")
    cut = f", first {' x '.join(map(str, corner.shape))} entries" if corner.shape != shown.shape else ""
    rows = [" ".join(f"{x:>12.5g}" for x in row) for row in np.atleast_2d(corner)]
    return "\n".join([head + cut + ":", *rows])


def _difference(value: np.ndarray, expected: np.ndarray) -> str:
    error = np.abs(value - expected)
    if not np.isfinite(error).all() or not error.size:
        return ""
    worst = np.unravel_index(int(np.argmax(error)), error.shape)
    place = f"[{', '.join(map(str, worst))}]" if worst else ""
    size = float(np.linalg.norm(expected))
    relative = float(np.linalg.norm(value - expected)) / size if size else math.inf
    return _field("difference", f"{relative:.2g} relative in norm; largest at {place or 'the number'}: "
                                f"{float(value[worst])!r} for {float(expected[worst])!r}")


def _field(label: str, text: str) -> str:
    indent = " " * 17
    return textwrap.fill(printable(text), WIDTH, initial_indent=f"{label:<15}  ", subsequent_indent=indent,
                         break_on_hyphens=False)
