"""Names for numbers: a coefficient as a product of N, C, 2, σ², τ that holds on all cases."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Sequence

import numpy as np
from numpy.typing import NDArray

from .compare import CAP32

Array = NDArray[np.float64]
MAX_DEGREE = 3
MAX_EXPONENT = 2


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


def named(column: Array, spread: Array, problems: list[Any], predictive: bool) -> list[Monomial]:
    """Zero, or the products that equal the coefficient wherever a case determines it to three digits."""
    if np.all(np.abs(column) <= 2 * spread):
        return [ZERO]
    sharp = _sharp(column, spread)
    bases = scales([problem for problem, clear in zip(problems, sharp) if clear], predictive)
    return bases.matches(column[sharp], 2 * np.abs(spread[sharp] / column[sharp])) if sharp.any() else []


def _sharp(column: Array, spread: Array) -> NDArray[np.bool_]:
    return spread <= 2 * CAP32 * np.abs(column)


def constant(column: Array, spread: Array, names: list[Monomial]) -> list[Monomial]:
    """The number that at least two cases share, unless it has a better name."""
    column, spread = column[_sharp(column, spread)], spread[_sharp(column, spread)]
    if len(column) < 2 or names:
        return []
    number = float(f"{column[np.argmin(spread / np.abs(column))]:.6g}")
    return [Monomial(number=number)] if np.all(np.abs(column - number) <= 4 * spread) else []
