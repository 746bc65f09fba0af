"""The search on one case: every reading of an answer fitted by every theory."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Sequence

import numpy as np
from numpy.typing import NDArray

from .compare import CAP32, CAP64, SAFETY, U32, U64
from .conventions import amplification
from .quantities import Quantity
from .theories import Basis, Facts, Reading, Theory, declared_order, in_package_order, readings, theories

Array = NDArray[np.float64]


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
        growth = amplification(self.quantity, np.asarray(stored, float), self.facts.problem, self.facts.conventions)
        return max(SAFETY * size * doubled * growth, self.quantity.floor / U64)

    @cached_property
    def floor(self) -> float:
        """A scalar is a sum of terms that may cancel in the answer: their size."""
        return abs(float(self.facts.case.values[self.quantity.certified_by].value)) if self.quantity.kind == "scalar" else 0.0

    def rounding(self, needs: Sequence[str] = ()) -> float:
        """30 n κ, with the largest condition number of the quantity and of the values that a theory needs beside it."""
        return self._rounding * max(1.0, *(self.facts.condition(name) for name in (self.quantity.name, *needs)))


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
        rest = norm(self.view - sum(terms))
        return rest / max(self.floor, norm(self.view), *map(norm, terms)) if rest else 0.0


Key = tuple[str, str]
Found = dict[Key, Trial]


def fits(failure: Failure) -> Found:
    """Every reading and theory that applies to one answer, with its fit (good or bad)."""
    found: Found = {}
    bases = _bases(failure)
    inverts = any(theory.inverse for theory, *_ in bases)
    for reading in readings(failure.quantity, failure.facts.conventions):
        view = _view(failure, reading)
        if view is None:
            continue
        views = {False: view, True: inverted(view) if inverts else None}
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
            found.append((theory, basis, failure.rounding(theory.needs)))
    return found


@lru_cache(maxsize=64)
def _theories(quantity: Quantity, conventions: tuple[tuple[str, str], ...]) -> list[Theory]:
    return theories(quantity, dict(conventions))


def inverted(view: Array) -> Array | None:
    """The inverse, None where there is none."""
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


def norm(array: Array) -> float:
    """Frobenius."""
    flat = np.ravel(array)
    return math.sqrt(float(flat @ flat))


def _fit_one(view: Array, basis: Basis) -> Fit | None:
    part = basis[0]
    square = float(np.vdot(part, part))
    if not 0 < square < math.inf:
        return None
    coefficient = float(np.vdot(part, view)) / square
    size = norm(view)
    return Fit((coefficient,), (size / math.sqrt(square),), norm(view - coefficient * part) / size, proves=view.size > 1)


def _fit_two(view: Array, basis: Basis) -> Fit | None:
    """By orthogonalisation, so that nearly parallel parts are seen as such; needs more numbers than coefficients."""
    first, second = basis
    a, b = norm(first), norm(second)
    if view.size < 5 or a == 0 or b == 0:
        return None
    overlap = float(np.vdot(first, second)) / (a * b)
    rest = second / b - overlap * first / a
    alone = norm(rest)  # the sine of the angle between the two
    if alone < 1e-4:
        return None
    beta = float(np.vdot(rest, view)) / alone ** 2
    alpha = float(np.vdot(first, view)) / a - overlap * beta
    size = norm(view)
    error = norm(view - alpha * first / a - beta * second / b) / size
    return Fit((alpha / a, beta / b), (size / alone / a, size / alone / b), error)
