"""Why an answer is wrong: a search over `theories`, in order of complexity, that must hold on every failing case.

For every reading of the answer and every theory, the coefficients c of answer = Σ c_i basis_i are fitted case by case. Those that
leave nothing unexplained are named: a coefficient must be the same product of N, C, 2, σ², τ (and the number t of draws for
predictives) on all failing cases. A cause is claimed only if it explains the answers to the tolerance of the check,
is the only one of its complexity, and its factors cannot be told in another way on these cases; otherwise the evidence is given.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import product
from typing import Any, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from .compare import CAP32, CAP64, SAFETY, U32, U64, digits
from .conventions import amplification, resolve
from .quantities import QUANTITIES, Quantity
from .theories import Basis, Facts, Reading, Theory, declared_order, in_package_order, readings, theories

Array = NDArray[np.float64]
MAX_DEGREE = 3
MAX_EXPONENT = 2


@dataclass(frozen=True)
class Cause:
    """One explanation; `complexity` orders them (1: one simple slip), `digits` is how far it explains the worst case."""

    key: str
    sentence: str
    advice: str
    digits: float
    complexity: int


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


@dataclass(frozen=True)
class Failure:
    """A wrong answer, with the facts of its case."""

    facts: Facts
    quantity: Quantity
    answer: Array

    @cached_property
    def _rounding(self) -> float:
        stored = self.facts.case.values[self.quantity.certified_by].value
        doubled = 2.0 if self.quantity.kind in ("root", "samples") else 1.0
        size = len(self.facts.problem.theta) + len(self.facts.problem.X)
        return SAFETY * size * doubled * amplification(self.quantity, np.asarray(stored, float), self.facts.problem,
                                                       self.facts.conventions)

    @cached_property
    def floor(self) -> float:
        """A scalar is a sum of terms that may cancel in the answer: their size."""
        return abs(float(self.facts.case.values[self.quantity.certified_by].value)) if self.quantity.kind == "scalar" else 0.0

    def rounding(self, theory: Theory) -> float:
        """30 n κ, with the largest condition number of the values that the theory uses."""
        return self._rounding * max(1.0, *(self.facts.condition(name) for name in (self.quantity.name, *theory.needs)))


@dataclass(frozen=True)
class Fit:
    """Coefficients of a theory on one case and the relative size of what they leave unexplained.

    A relative error ε of the answer moves coefficient i by ε · reach_i. A fit of as many numbers as it has coefficients leaves
    nothing unexplained and proves nothing.
    """

    coefficients: tuple[float, ...]
    reach: tuple[float, ...]
    error: float
    proves: bool = True


@dataclass(frozen=True)
class Trial:
    """A reading and a theory on one case: the answer as read, what it should be made of, and the fit if there is just one.

    `rounding` is 30 n κ; `floor` is the size of what may have cancelled.
    """

    reading: Reading
    theory: Theory
    view: Array
    basis: Basis
    rounding: float
    floor: float
    fit: Fit | None

    @property
    def length(self) -> tuple[int, int]:
        """What orders unnamed combinations: number of terms, then complexity."""
        return len(self.basis), self.reading.complexity + self.theory.complexity

    def tolerance(self, unit: float) -> float:
        """30 n u κ, at most 1e-6 (single precision: 1e-3)."""
        return min(self.rounding * unit, CAP32 if unit == U32 else CAP64)

    def spread(self, unit: float) -> tuple[float, ...]:
        """How far each fitted coefficient may be from its name."""
        seen = max(self.fit.error, self.rounding * U64, unit) if self.fit.proves else math.inf
        return tuple(min(self.tolerance(unit), SAFETY * seen) * reach for reach in self.fit.reach)

    def exact(self, unit: float) -> bool:
        """Whether the fit leaves nothing unexplained and needs every term."""
        needed = all(abs(c) > 2 * spread for c, spread in zip(self.fit.coefficients, self.spread(unit)))
        return needed and self.fit.error <= self.tolerance(unit)

    def unexplained(self, weights: Sequence[float | None]) -> float:
        """‖answer − Σ w_i basis_i‖, relative to the largest of the answer, the terms and the floor."""
        if None in weights:
            return math.inf
        terms = [weight * part for weight, part in zip(weights, self.basis)]
        rest = _norm(self.view - sum(terms))
        return rest / max(self.floor, _norm(self.view), *map(_norm, terms)) if rest else 0.0


Key = tuple[str, str]
Found = dict[Key, Trial]


# One case ------------------------------------------------------------------------------------------------------------

def fits(failure: Failure) -> Found:
    """Every reading and theory that applies to one answer, with its fit (good or bad)."""
    found: Found = {}
    bases = _bases(failure)
    inverts = any(theory.inverse for theory, *_ in bases)
    for reading in readings(failure.quantity, failure.facts.conventions):
        view = _view(failure, reading)
        if view is None:
            continue
        views = {False: view, True: _inverted(view) if inverts else None}
        for theory, basis, rounding in bases:
            seen = views[theory.inverse]
            if seen is not None and basis[0].shape == seen.shape:
                fit = _fit(seen, basis, theory)
                found[reading.key, theory.key] = Trial(reading, theory, seen, basis, rounding, failure.floor, fit)
    return found


def _view(failure: Failure, reading: Reading) -> Array | None:
    """The answer as read, in the package's parameter order; None where the reading does not apply."""
    view = reading.view(failure.facts, failure.quantity, failure.answer)
    if view is not None and reading.kind == "shape":
        ordered = in_package_order(failure.facts, failure.quantity, view, declared_order(failure.facts, failure.quantity))
        view = view if ordered is None else ordered
    return view if view is not None and np.isfinite(view).all() else None


def _bases(failure: Failure) -> list[tuple[Theory, Basis, float]]:
    """The theories that say something about this case."""
    found = []
    for theory in _theories(failure.quantity, tuple(sorted(failure.facts.conventions.items()))):
        basis = theory.basis(failure.facts, failure.quantity)
        if basis is not None and all(np.isfinite(part).all() for part in basis):
            found.append((theory, basis, failure.rounding(theory)))
    return found


@lru_cache(maxsize=64)
def _theories(quantity: Quantity, conventions: tuple[tuple[str, str], ...]) -> list[Theory]:
    return theories(quantity, dict(conventions))


def _inverted(view: Array) -> Array | None:
    try:
        inverse = np.linalg.inv(view)
    except np.linalg.LinAlgError:
        return None
    return inverse if np.isfinite(inverse).all() else None


def _fit(view: Array, basis: Basis, theory: Theory) -> Fit | None:
    """Least squares of the view on the basis; None where that does not determine the coefficients.

    Where a theory leaves nothing free, every coefficient is 1, and whether that fits is seen later.
    """
    if not theory.free:
        return Fit((1.0,), (1.0,), 0.0)
    if not view.any():
        return None
    return (_fit_one if len(basis) == 1 else _fit_two)(view, basis)


def _norm(array: Array) -> float:
    flat = np.ravel(array)
    return math.sqrt(float(flat @ flat))


def _fit_one(view: Array, basis: Basis) -> Fit | None:
    part = basis[0]
    square = float(np.vdot(part, part))
    if not 0 < square < math.inf:
        return None
    coefficient = float(np.vdot(part, view)) / square
    size = _norm(view)
    return Fit((coefficient,), (size / math.sqrt(square),), _norm(view - coefficient * part) / size, proves=view.size > 1)


def _fit_two(view: Array, basis: Basis) -> Fit | None:
    """By orthogonalisation, so that nearly parallel parts are seen as such; needs more numbers than coefficients."""
    first, second = basis
    a, b = _norm(first), _norm(second)
    if view.size < 5 or a == 0 or b == 0:
        return None
    overlap = float(np.vdot(first, second)) / (a * b)
    rest = second / b - overlap * first / a
    alone = _norm(rest)  # the sine of the angle between the two
    if alone < 1e-4:
        return None
    beta = float(np.vdot(rest, view)) / alone ** 2
    alpha = float(np.vdot(first, view)) / a - overlap * beta
    size = _norm(view)
    error = _norm(view - alpha * first / a - beta * second / b) / size
    return Fit((alpha / a, beta / b), (size / alone / a, size / alone / b), error)


# Naming coefficients -------------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Monomial:
    """number · Π scale^exponent; the number is ±1, or 0, or (for a jitter) one that is the same on all cases."""

    powers: tuple[tuple[str, int], ...] = ()
    number: float = 1.0

    @property
    def degree(self) -> int:
        """0 for 1; one for each factor, for a sign and for any other number."""
        return sum(abs(e) for _, e in self.powers) + (self.number != 1)

    def __str__(self) -> str:
        return _product(self.powers, self.number)

    @property
    def inverse(self) -> Monomial:
        """One over it."""
        return Monomial(tuple((name, -e) for name, e in self.powers), 1 / self.number)

    def value(self, problem) -> float | None:
        """What it is on one problem; None where a scale does not exist."""
        parts = [_SCALES[name](problem) for name, _ in self.powers]
        if any(part is None for part in parts):
            return None
        return self.number * math.prod(float(part) ** e for part, (_, e) in zip(parts, self.powers))


ONE, ZERO = Monomial(), Monomial(number=0.0)


def _product(powers: Sequence[tuple[str, int]], number: float) -> str:
    above, below = ("·".join(_power(name, abs(e)) for name, e in powers if (e > 0) == up) for up in (True, False))
    plain = number in (1, -1)
    start = ("-" if number < 0 else "") + ("" if plain else f"{abs(number):.6g}")
    start += "·" if above and not plain else "1" if plain and not above else ""
    return start + above + (f"/({below})" if "·" in below else f"/{below}" if below else "")


def _power(name: str, exponent: int) -> str:
    if exponent == 1:
        return name
    return f"({name})^{exponent}" if name.endswith("²") else f"{name}^{exponent}"


@dataclass(frozen=True)
class Scales:
    """The numbers by which a quantity may be multiplied, on each of the failing cases."""

    names: tuple[str, ...]
    values: Array  # scale case

    def matches(self, column: Array, spread: Array) -> list[Monomial]:
        """Every product that equals the column on all cases, within the relative spread; simplest first."""
        if not (np.all(column > 0) or np.all(column < 0)):
            return []
        number = 1.0 if column[0] > 0 else -1.0
        logs = np.log(np.abs(column))
        if np.all(np.abs(logs) <= spread):
            return [Monomial(number=number)]  # unscaled: products that happen to be 1 are no rivals
        exponents = _exponents(len(self.names))
        hits = np.all(np.abs(exponents @ np.log(self.values) - logs) <= spread, axis=1)
        found = [Monomial(tuple((name, int(e)) for name, e in zip(self.names, row) if e), number) for row in exponents[hits]]
        return sorted(found, key=lambda monomial: (monomial.degree, str(monomial)))


@lru_cache(maxsize=16)
def _exponents(count: int) -> NDArray[np.int64]:
    """All exponent rows with |e| <= 2 and Σ|e| <= 3."""
    span = range(-MAX_EXPONENT, MAX_EXPONENT + 1)
    rows: list[tuple[int, ...]] = [()]
    for _ in range(count):
        rows = [(*row, e) for row in rows for e in span if sum(map(abs, row)) + abs(e) <= MAX_DEGREE]
    return np.array(rows, dtype=int).reshape(len(rows), count)


def scales(problems: Sequence[Any], predictive: bool) -> Scales:
    """2, N, C, σ², τ on these problems, and t for predictives, without those that are 1 everywhere.

    Two that are equal everywhere stay: their products then have two names, and none is claimed.
    """
    rows: dict[str, Array] = {}
    for name, value in _SCALES.items():
        column = [value(problem) for problem in problems]
        if (name == "t" and not predictive) or any(entry is None for entry in column):
            continue
        values = np.array(column, float)
        if np.any(values != 1) and not (name == "C(y)" and np.array_equal(values, rows.get("C"))):
            rows[name] = values
    return Scales(tuple(rows), np.array(list(rows.values())).reshape(len(rows), len(problems)))


def _isotropic(problem) -> float | None:
    precision = problem.prior_precision[0, 0]
    return float(precision) if np.array_equal(problem.prior_precision, precision * np.eye(len(problem.theta))) else None


# C(y) is C where the loss has one term for each output, 1 where it has one a datum (class labels).
_SCALES = {
    "2": lambda problem: 2.0,
    "N": lambda problem: len(problem.X),
    "C": lambda problem: problem.sizes[-1],
    "C(y)": lambda problem: problem.y.size / len(problem.X),
    "σ²": lambda problem: problem.variance or 1.0,
    "τ": _isotropic,
    "t": lambda problem: len(problem.draws),
}


# All cases -----------------------------------------------------------------------------------------------------------

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


def _hypotheses(cases: list[Failure], found: list[Found], unit: float) -> list[Hypothesis]:
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
    for factors in _named([trial for trial, _ in sure], [problem for _, problem in sure], unit):
        errors = [trial.unexplained([factor.value(problem) for factor in factors]) for trial, problem in zip(trials, problems)]
        if all(error <= trial.tolerance(unit) for trial, error in zip(trials, errors)):
            yield Hypothesis(first.reading, first.theory, factors, digits(max(errors)), digits(float(np.median(errors))))


def _named(trials: list[Trial], problems: list[Any], unit: float) -> list[tuple[Monomial, ...]]:
    """Every way of naming the coefficients."""
    theory = trials[0].theory
    if not theory.free:
        return [(ONE,)]
    columns = np.array([trial.fit.coefficients for trial in trials]).T
    spreads = np.array([trial.spread(unit) for trial in trials]).T
    names = [_names(column, spread, problems, theory.predictive) for column, spread in zip(columns, spreads)]
    if theory.constant:
        names = [[ONE] if ONE in names[0] else [], _constant(columns[1], spreads[1], names[1])]
    whole = (ONE, ZERO)  # the second term is absent: another theory says so, unless this one has a word for it
    return [factors for factors in product(*names) if factors != whole or tuple(map(str, whole)) in theory.special]


def _names(column: Array, spread: Array, problems: list[Any], predictive: bool) -> list[Monomial]:
    """Zero, or the products that equal the coefficient wherever a case determines it to three digits."""
    if np.all(np.abs(column) <= 2 * spread):
        return [ZERO]
    sharp = _sharp(column, spread)
    bases = scales([problem for problem, clear in zip(problems, sharp) if clear], predictive)
    return bases.matches(column[sharp], 2 * np.abs(spread[sharp] / column[sharp])) if sharp.any() else []


def _sharp(column: Array, spread: Array) -> NDArray[np.bool_]:
    return spread <= 2 * CAP32 * np.abs(column)


def _constant(column: Array, spread: Array, names: list[Monomial]) -> list[Monomial]:
    """The number that at least two cases share, unless it has a better name."""
    column, spread = column[_sharp(column, spread)], spread[_sharp(column, spread)]
    if len(column) < 2 or names:
        return []
    number = float(f"{column[np.argmin(spread / np.abs(column))]:.6g}")
    return [Monomial(number=number)] if np.all(np.abs(column - number) <= 4 * spread) else []


_MERGED_KINDS = ("convention", "quantity", "quantity_prior", "other_curvature")


def _merged(hypotheses: list[Hypothesis]) -> list[Hypothesis]:
    """Two readings, conventions or quantities that are one and the same on all failing cases become one hypothesis."""
    kept: dict[tuple, Hypothesis] = {}
    for h in sorted(hypotheses, key=lambda h: h.complexity):
        what = h.theory.kind if h.theory.kind in _MERGED_KINDS else h.theory.key
        how = h.reading.kind if h.reading.complexity else "given"
        key = (what, how, h.factors)
        if key not in kept:
            kept[key] = h
        elif kept[key].complexity == h.complexity:
            other = h.reading.key if h.theory.key == kept[key].theory.key else h.theory.key
            kept[key] = replace(kept[key], same=(*kept[key].same, other))
    return list(kept.values())


# The conclusion ------------------------------------------------------------------------------------------------------

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
    plain = _hygiene([answer])
    if plain is not None:
        return [plain]
    failure = Failure(Facts(case, dict(conventions)), quantity, np.asarray(answer, float))
    with np.errstate(all="ignore"):
        found = _hypotheses([failure], [fits(failure)], U64)
    return [] if found and found[0].complexity == 0 else [hypothesis.cause() for hypothesis in found]


def _explain_one(quantity: Quantity, group: list[tuple[Any, Any]], conventions: dict[str, str], passed: list[Any]) -> Finding:
    total = len(group) + len(passed)
    plain = _hygiene([answer for _, answer in group])
    if plain is not None:
        return Finding(quantity.name, len(group), total, plain)
    cases = [Failure(Facts(case, conventions), quantity, np.asarray(answer, float)) for case, answer in group]
    with np.errstate(all="ignore"):  # answers may be as large as numbers can be
        cause, evidence = _search(cases, [fits(failure) for failure in cases], passed)
    return Finding(quantity.name, len(group), total, cause, tuple(evidence))


def _hygiene(answers: list[Any]) -> Cause | None:
    """What needs no search: not finite, all zero."""
    arrays = [np.asarray(answer, float) for answer in answers]
    if all(not np.isfinite(array).all() for array in arrays):
        return Cause("not_finite", "Your answers hold NaN or infinite entries", "look for overflow, 0/0 or log 0", 16.0, 0)
    if all(array.size and not array.any() for array in arrays):
        return Cause("zero", "Every entry of your answers is zero", "see whether the result is ever written", 16.0, 0)
    return None


def _search(cases: list[Failure], found: list[Found], passed: list[Any]) -> tuple[Cause | None, list[str]]:
    """A cause to double precision; evidence of several or unnamed ones; a cause to single precision; the nearest fits."""
    cause, evidence = _conclude(cases, found, passed, U64)
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
    hypotheses = _hypotheses(cases, found, unit)
    if not hypotheses:
        return None, []
    first = hypotheses[0]
    if first.complexity == 0:
        return _digits_lost(cases, first, unit)
    if unit == U32 and cases[0].quantity.kind == "scalar" and len(cases) < 3:
        return None, []  # one number to few digits fits many theories by chance
    factors = [h for h in hypotheses if h.theory.kind == "itself" and h.reading.key == first.reading.key]
    first, rivals = _rivals(first, factors, hypotheses)
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


def _rivals(first: Hypothesis, factors: list[Hypothesis], hypotheses: list[Hypothesis]) -> tuple[Hypothesis, list[Hypothesis]]:
    """The hypothesis to claim and all others of its complexity, or, if there is none, other names of its factors.

    A convention and the bare factor that it amounts to are one thing.
    """
    best = [h for h in hypotheses if h.complexity == first.complexity]
    conventions = [h for h in best if h.theory.kind == "convention"]
    if conventions:
        first = conventions[0]
        best = [first] + [h for h in best if h is not first and h not in factors]
        return first, best[1:] or factors[1:]
    same_number = [h for h in hypotheses if h.theory.key == first.theory.key and h.reading.key == first.reading.key]
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
        return None, [f"the right value, {_to_digits(right, cases)}: single precision on the way, cancellation, finite differences "
                      "or a loose tolerance"]
    return Cause("float32", "Your answers are right as single-precision numbers",
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
        predicted = _inverted(predicted)
    if predicted is None or predicted.shape != value.shape:
        return False
    if hypothesis.reading.complexity:
        predicted = _between_orders(facts, quantity, predicted, hypothesis.reading.key.partition("=")[2])
    limit = max(2 * Failure(facts, quantity, value).rounding(hypothesis.theory) * unit, CAP64)
    return _norm(predicted - value) <= limit * _norm(value)


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
