"""From two derivations to float64: agreement to 45 digits, and a proof that each value is correctly rounded."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import flint
import mpmath

from . import exact_posteriors, optima
from .closed import Answers, Closed, ldl
from .closed_likelihoods import CANONICAL
from .derive import GGN, HESSIAN, KRON, SPLIT, Derivation
from .fields import Decimal, Interval, Rational
from .question import Question

AGREEMENT = Fraction(1, 10 ** 45)
RATIONAL_LIKELIHOODS = ("normal", "normal_full")
FIRST_BITS, LAST_BITS = 384, 12288
SCALARS = ("loss", "log_joint", "laplace.log_det", "laplace.log_evidence", "laplace.evidence.prior", "laplace.evidence.noise",
           "laplace.diag.log_det", "laplace.diag.log_evidence", "laplace.lastlayer.log_det", "laplace.kron.log_det",
           "laplace.kron.log_evidence", "laplace.hessian.log_det", "laplace.hessian.log_evidence",
           "laplace.lastlayer.log_evidence",
           "laplace.subset.log_det", "laplace.subset.log_evidence", "laplace.diag.evidence.prior", "laplace.diag.evidence.noise",
           "laplace.kron.evidence.prior", "laplace.kron.evidence.noise",
           *(f"laplace.kron.split.{part}" for part in ("log_det", "log_evidence", "evidence.prior", "evidence.noise")),
           "gp.log_evidence", "gp.evidence.prior", "gp.evidence.noise", "posterior.evidence.prior",
           "posterior.evidence.noise", "vi.elbo", "vi.kl", "vi.kl.reverse",
           "vi.kl.laplace", "vi.kl.laplace.reverse", "vi.full.elbo", "vi.full.kl", "vi.full.kl.reverse", "posterior.log_evidence",
           *(f"posterior.{part}.{moment}" for part in ("log_likelihood", "log_joint") for moment in ("mean", "variance")),
           "vi.optimum.elbo", "vi.optimum.meanfield.elbo", "laplace.lowrank.log_det", "laplace.lowrank.log_evidence",
           "laplace.hessian.lowrank.log_det", "laplace.hessian.lowrank.log_evidence")
QUADRATURE_AGREEMENT, POSTERIOR_AGREEMENT = Fraction(1, 10 ** 22), Fraction(1, 10 ** 13)
OPTIMUM_AGREEMENT = Fraction(1, 10 ** 16)
WITH_INVERSES = ("laplace.", "predictive.glm.variance", "predictive.joint", "predictive.diag", "predictive.kron",
                 "predictive.lastlayer", "predictive.probit", "predictive.subset", "predictive.meanfield", "predictive.bridge",
                 "predictive.concentration", "predictive.exact", "predictive.lowrank", "predictive.hessian.lowrank", "gp.",
                 "vi.kl", "vi.full.kl", "posterior.", "vi.optimum.")
NO_INVERSE = ("laplace.precision", "laplace.hessian.precision")


class Disagreement(ArithmeticError):
    """Two derivations of one value differ: one of them is wrong, and nothing is written."""


class TooWide(ArithmeticError):
    """The interval does not determine the double: more bits are needed."""


@dataclass(frozen=True)
class Result:
    """A value as doubles, how it was certified, its 40 digits if it is a scalar, and for an integral what two rules gave."""

    tier: str
    data: list[float]
    digits: str | None = None
    record: str | None = None


def certified(question: Question) -> dict[str, Result]:
    """Every quantity of the question, correctly rounded. Precision is doubled until that is proven."""
    bits = FIRST_BITS
    while True:
        try:
            return _certified_at(question, bits) | posterior(question) | optimum(question)
        except (TooWide, ZeroDivisionError) as refusal:
            if bits >= LAST_BITS:
                raise ArithmeticError(f"not determined with {bits} bits: {refusal}") from refusal
            bits *= 2


def _certified_at(question: Question, bits: int) -> dict[str, Result]:
    intervals, prefixes = route_a(question, bits)
    rationals = exact(question, prefixes)
    check_enclosed(intervals, rationals)
    records = compare_routes(intervals | rationals, route_b(question, bits, prefixes), integrals_of(question))
    results = {}
    for name, balls in intervals.items():
        if name in rationals:
            exact_values = [as_fraction(v) for v in rationals[name]]
            digits = forty_digits(*exact_values * 2) if name in SCALARS else None
            results[name] = Result("E", [to_double(v, name) for v in exact_values], digits)
            continue
        ends = [interval_ends(ball) for ball in balls]
        digits = forty_digits(*ends[0]) if name in SCALARS else None
        tier = "Q" if name in records else "V" if name.startswith(WITH_INVERSES) and name not in NO_INVERSE else "M"
        results[name] = Result(tier, [round_between(low, high, name) for low, high in ends], digits, records.get(name))
    check_fisher(question, results)
    if "third.vv" in results and not any(results["third.vv"].data):     # dead units: the loss is quadratic here
        del results["third.vv"]
    return results


def check_fisher(question: Question, results: dict[str, Result]) -> None:
    """The Fisher matrix is the GGN in natural parameters, to the last bit, and differs from it everywhere else."""
    same = results["fisher.full"].data == results["ggn.full"].data
    if same != (question.likelihood in CANONICAL):
        raise Disagreement(f"fisher.full: expected {'F = G' if not same else 'F ≠ G'} for {question.likelihood}")


def route_a(question: Question, bits: int) -> tuple[dict[str, list], tuple[str, ...]]:
    """Intervals for every value; the prefixes of the precisions, G + P₀ and H + P₀, that are proven positive definite."""
    field = Interval(bits)
    with field.working():
        derivation = Derivation(question, field)
        precisions = {GGN: derivation.precision(derivation.ggn), HESSIAN: derivation.precision(derivation.hessian)}
        if question.structures:
            precisions |= {prefix: derivation.kron_precision(prefix) for prefix in (KRON, SPLIT)}
        prefixes = tuple(prefix for prefix, P in precisions.items() if is_positive_definite(P))
        values = derivation.network() | derivation.curvature() | laplace(derivation, prefixes)
        return values | derivation.scalars(prefixes), prefixes


def laplace(derivation: Derivation, prefixes: tuple[str, ...]) -> dict[str, list]:
    """What follows from the inverses."""
    return (derivation.laplace() if GGN in prefixes else {}) | \
        (derivation.hessian_laplace() if HESSIAN in prefixes else {}) | \
        {name: value for prefix in (KRON, SPLIT) if prefix in prefixes
         for name, value in derivation.kron_laplace(prefix).items()}


def is_positive_definite(matrix: list[list[flint.arb]]) -> bool:
    """Every pivot of L D Lᵀ is proven positive, or some pivot is proven negative."""
    try:
        pivots = ldl(matrix, flint.arb(0))[1]
    except ZeroDivisionError:
        return False
    for pivot in pivots:
        if pivot < 0:
            return False
        if not pivot > 0:
            raise TooWide("a pivot of a precision has no sign yet")
    return True


def route_b(question: Question, bits: int, prefixes: tuple[str, ...]) -> dict[str, list]:
    """The closed forms in decimal arithmetic of the same precision, by another library."""
    field = Decimal(int(bits * 0.30103))
    with field.working():
        return Closed(question.lifted(field), field).values(prefixes)


def exact(question: Question, prefixes: tuple[str, ...]) -> dict[str, list[flint.fmpq]]:
    """The values that are rational numbers, by both routes in exact arithmetic: they must be equal, digit for digit."""
    if not question.is_rational:
        return {}
    derivation = Derivation(question, Rational())
    values = derivation.network()
    if question.likelihood in RATIONAL_LIKELIHOODS:
        values |= derivation.curvature() | laplace(derivation, prefixes)
        closed = Closed(question.lifted(Rational()), Rational()).values(prefixes, with_logs=False)
        for name, numbers in values.items():
            if numbers != closed[name]:
                raise Disagreement(f"{name}: the two exact derivations differ")
    return values


def posterior(question: Question) -> dict[str, Result]:
    """The posterior of few parameters by two quadratures, which must agree to 13 digits of each value's largest entry."""
    if not question.posterior or question.is_quadratic:
        return {}
    field, (steps, nodes) = Interval(128), question.nodes
    with field.working():
        derivation = Derivation(question, field)
        edges = exact_posteriors.edges_of(derivation)
        first = exact_posteriors.by_definition(derivation, edges, steps)
        with Decimal(40).working():
            rule = [tuple(as_fraction(v) for v in pair) for pair in exact_posteriors.gauss_legendre(nodes)]
        axes = exact_posteriors.scaled(edges, [tuple(map(field.number, pair)) for pair in rule])
        second = exact_posteriors.in_closed_form(Answers(Closed(question.lifted(field), field)), axes)
    return {name: _by_quadrature(name, first[name], second[name], POSTERIOR_RULES.format(*question.nodes)) for name in first}


def optimum(question: Question) -> dict[str, Result]:
    """The best Gaussians by two routes, each to the end by itself, which must agree to 16 digits of each value's norm."""
    if not question.optimum or question.is_quadratic:
        return {}
    field, results = Interval(128), {}
    with field.working():
        for prefix in (optima.FULL, optima.MEAN_FIELD):
            first, second = optima.optima(question, field, prefix)
            values = second.values(prefix)
            results |= {name: _by_quadrature(name, a, values[name], OPTIMUM_RULES, OPTIMUM_AGREEMENT)
                        for name, a in first.values(prefix).items()}
    return results


POSTERIOR_RULES = "trapezoidal rule with {} steps and Gauss-Legendre with {} nodes a direction agree to"
OPTIMUM_RULES = ("trapezoidal rule on values and Gauss-Hermite on slopes, the equations of the optimum left with less than "
                 f"1e-{optima.DIGITS} in both, agree to")


def _by_quadrature(name: str, first: list, second: list, rules: str, agreement: Fraction = POSTERIOR_AGREEMENT) -> Result:
    """The doubles of the first, and to how many digits of the largest entry both agree."""
    pairs = [(as_fraction(a), as_fraction(b)) for a, b in zip(first, second)]
    size = max(abs(a) for a, _ in pairs)
    worst = max(abs(a - b) for a, b in pairs) / size
    if worst > agreement:
        raise Disagreement(f"{name}: two quadratures differ by {float(worst):.1e}")
    digits = next(d for d in range(40, -1, -1) if worst * 10 ** d <= 1)
    return Result("Q", [to_double(a, name) for a, _ in pairs], None, f"{rules} {digits} digits")


def integrals_of(question: Question) -> tuple[str, ...]:
    """Names of values that rest on two quadratures without a proven error."""
    return ("predictive.exact",) if question.likelihood == "categorical" else ()


def compare_routes(first: dict[str, list], second: dict[str, list], integrals: tuple[str, ...] = ()) -> dict[str, str]:
    """Disagreement unless both routes have the same names and every number agrees to 45 digits, or 22 for an integral.

    first: exact rationals where there are any, else balls. An exact zero is compared with the largest entry, or with 1. Returns
    what two quadratures gave for each of the integrals.
    """
    records = {}
    if set(first) != set(second):
        raise Disagreement(f"different quantities: {sorted(set(first) ^ set(second))}")
    for name, numbers in first.items():
        if len(numbers) != len(second[name]):
            raise Disagreement(f"{name}: {len(numbers)} numbers and {len(second[name])}")
        pairs = [(as_fraction(a), as_fraction(b)) for a, b in zip(numbers, second[name])]
        size = max(abs(a) for a, _ in pairs) or 1
        allowed = QUADRATURE_AGREEMENT if name in integrals else AGREEMENT
        for place, (a, b) in enumerate(pairs):
            if abs(a - b) > allowed * (abs(a) or size):
                raise Disagreement(f"{name}[{place}]: {float(a)!r} by definition, {float(b)!r} in closed form")
        if name in integrals:
            records[name] = f"two trapezoidal rules in different coordinates agree to {agreed_digits(pairs)} digits"
    return records


def agreed_digits(pairs: list[tuple[Fraction, Fraction]]) -> int:
    """Digits to which every pair agrees, at most 40."""
    worst = max(abs(a - b) / abs(a) for a, b in pairs)
    return next(digits for digits in range(40, -1, -1) if worst * 10 ** digits <= 1)


def check_enclosed(intervals: dict[str, list], rationals: dict[str, list]) -> None:
    """The third witness: an interval that misses the exact rational is a broken interval."""
    for name, numbers in rationals.items():
        for ball, number in zip(intervals[name], numbers):
            low, high = interval_ends(ball)
            if not low <= as_fraction(number) <= high:
                raise Disagreement(f"{name}: the interval does not hold the exact value")


# -- rounding -----------------------------------------------------------------------------------------------------

def as_fraction(value: Any) -> Fraction:
    """An exact number (fmpq, the midpoint of a ball, or mpf) as a fraction."""
    if isinstance(value, flint.fmpq):
        return Fraction(int(value.p), int(value.q))
    if isinstance(value, mpmath.mpf):
        sign, mantissa, exponent, _ = value._mpf_
        return (-1) ** sign * int(mantissa) * Fraction(2) ** int(exponent)
    mantissa, exponent = value.mid().man_exp()
    return int(mantissa) * Fraction(2) ** int(exponent)


def interval_ends(ball: flint.arb) -> tuple[Fraction, Fraction]:
    """Both ends, exactly."""
    if not ball.is_finite():
        raise TooWide("an interval without bounds")
    middle, radius = as_fraction(ball.mid()), as_fraction(ball.rad())
    return middle - radius, middle + radius


def round_between(low: Fraction, high: Fraction, name: str) -> float:
    """The double that both ends round to; TooWide if there are two. A ball around zero is never called zero."""
    if low <= 0 <= high and low != high:
        raise TooWide(f"{name}: the sign of {float(high)!r} is open")
    ends = to_double(low, name), to_double(high, name)
    if ends[0] != ends[1]:
        raise TooWide(f"{name}: between {ends[0]!r} and {ends[1]!r}")
    return ends[0]


def to_double(value: Fraction, name: str = "value") -> float:
    """Nearest double, ties to even (Python divides integers correctly rounded). Subnormal results are refused."""
    result = value.numerator / value.denominator
    if value and abs(result) < 2.0 ** -1022:
        raise ValueError(f"{name}: {result!r} is below the normal doubles: choose other inputs")
    return result


def forty_digits(low: Fraction, high: Fraction) -> str:
    """The decimal of 40 significant digits that both ends round to."""
    texts = _decimal(low), _decimal(high)
    if texts[0] != texts[1]:
        raise TooWide(f"40 digits are open: {texts[0]} or {texts[1]}")
    return texts[0]


def _decimal(value: Fraction, digits: int = 40) -> str:
    """d.ddd...e±x with `digits` digits, half to even; zero is "0"."""
    if not value:
        return "0"
    size, exponent = abs(value), 0
    while size >= 10:
        size, exponent = size / 10, exponent + 1
    while size < 1:
        size, exponent = size * 10, exponent - 1
    scaled = str(round(size * 10 ** (digits - 1)))
    if len(scaled) > digits:
        scaled, exponent = scaled[:-1], exponent + 1
    return f"{'-' if value < 0 else ''}{scaled[0]}.{scaled[1:]}e{exponent:+d}"
