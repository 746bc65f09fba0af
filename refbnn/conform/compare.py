"""Comparison of one answer with one certified value: errors on several scales, and a verdict.

Tolerance (LAPACK's rule): 30 · n · u · κ, with n = number of parameters + number of data, u the unit round-off (2⁻⁵³, or
2⁻²⁴ where float32 is declared) and κ the stored condition number of the value. The tolerance of a float64 answer may not
exceed 1e-6: where it would, the check has no power and says UNDERPOWERED instead of PASS. An answer within the float32
tolerance (at most 1e-3) is LOSSY: the formula is right, digits were lost; where float32 is declared, it passes.

Nothing that an adapter returns raises here: what cannot be compared is a MISMATCH with a message.
"""
from __future__ import annotations

import enum
import math
from dataclasses import dataclass, replace
from typing import Any, Mapping

import numpy as np
from numpy.typing import NDArray

from refbnn import linalg

from .conventions import amplification, convert, factor, permutation, resolve
from .quantities import Quantity, axis_sizes

Array = NDArray[np.float64]

U64, U32, TINY32 = 2.0 ** -53, 2.0 ** -24, 2.0 ** -126
SAFETY = 30.0
CAP64, CAP32 = 1e-6, 1e-3
MAX_DIGITS = 16.0


class Verdict(enum.Enum):
    """What a check says. The first four come from `compare`, with UNDERPOWERED; the others from running."""

    EXACT = "EXACT"
    PASS = "PASS"
    LOSSY = "LOSSY"
    MISMATCH = "MISMATCH"
    UNSUPPORTED = "UNSUPPORTED"
    SKIP = "SKIP"
    XFAIL = "XFAIL"
    XPASS = "XPASS"
    ERROR = "ERROR"
    INCONCLUSIVE = "INCONCLUSIVE"
    UNDERPOWERED = "UNDERPOWERED"


@dataclass(frozen=True)
class Comparison:
    """`error` and `tolerance` are relative, normwise; digits, componentwise and natural are −log₁₀ of errors, 0 to 16.

    componentwise: of the worst entry relative to itself. natural: of ‖L⁻¹(Â−A)L⁻ᵀ‖₂, L Lᵀ = A, for covariances and precisions.
    """

    verdict: Verdict
    digits: float
    componentwise: float
    natural: float | None
    error: float
    tolerance: float
    message: str = ""


class Unusable(ValueError):
    """An answer that is no array of finite real numbers of the right shape; the message says why."""


class TooFewNormals(ValueError):
    """The problem, not the answer, is at fault: its normals do not determine a linear map."""


@dataclass(frozen=True)
class Budget:
    """The relative errors that the two precisions may cost in one check, before caps."""

    rounding: float  # 30 n κ
    declared32: bool
    underflow: float = 0.0  # of float32, relative to the value

    @property
    def tolerance(self) -> float:
        """30 n u κ in the declared precision, and what its smallest numbers leave of a value as small as they are."""
        return self.rounding * U32 + self.underflow if self.declared32 else self.rounding * U64

    @property
    def cap(self) -> float:
        """The largest tolerance that still says something."""
        return CAP32 if self.declared32 else CAP64

    @property
    def lossy(self) -> float:
        """The error within which a formula counts as right, in single precision."""
        return min(self.rounding * U32, CAP32)

    def times(self, condition: float) -> Budget:
        """For a value whose condition is so many times larger."""
        return replace(self, rounding=self.rounding * max(condition, 1.0))

    def plus(self, terms: float) -> Budget:
        """For a value that picks up further rounding errors of so many units."""
        return replace(self, rounding=self.rounding + SAFETY * terms)

    def of(self, expected: Array) -> Budget:
        """For this value: every one of 30 n κ roundings may lose the smallest normal float32 instead."""
        size = float(np.linalg.norm(expected))
        return replace(self, underflow=min(self.rounding * TINY32 / size, 1.0) if size > 0 else 0.0)

    def verdict(self, error: float) -> Verdict:
        """PASS, UNDERPOWERED, LOSSY or MISMATCH for a relative error."""
        if error <= self.tolerance:
            powerful = self.tolerance <= self.cap or (self.declared32 and error <= self.cap)
            return Verdict.PASS if powerful else Verdict.UNDERPOWERED
        return Verdict.LOSSY if error <= self.lossy else Verdict.MISMATCH


def digits(error: float) -> float:
    """−log₁₀ of a relative error, between 0 and 16."""
    return min(max(0.0, -math.log10(error)), MAX_DIGITS) if error > 0 else MAX_DIGITS


def budget(quantity: Quantity, certified, problem, conventions: Mapping[str, str]) -> Budget:
    """The tolerance of a check before the answer is seen."""
    size = len(problem.theta) + len(problem.X)
    condition = (certified.condition or 1.0) * amplification(quantity, certified.value, problem, conventions)
    rounding = max(SAFETY * size * max(condition, 1.0), quantity.floor / U64)
    return Budget(rounding, resolve(quantity, conventions)["precision"] == "float32")


def expected_shape(quantity: Quantity, certified, problem, conventions: Mapping[str, str]) -> tuple[int, ...]:
    """The shape of an answer under the declared conventions."""
    return _shape_of_answer(quantity, convert(quantity, certified.value, problem, conventions), problem)


def _shape_of_answer(quantity: Quantity, expected: Array, problem) -> tuple[int, ...]:
    """That of the value that it is held against, but for roots and samples, whose covariance that is."""
    return quantity.shape(axis_sizes(problem)) if quantity.kind in ("root", "samples") else expected.shape


def as_real_array(answer: Any) -> Array:
    """The answer as a float64 array; Unusable for anything but finite real numbers."""
    if isinstance(answer, (str, bytes, dict, set)) or answer is None:
        raise Unusable(f"expected numbers, got {type(answer).__name__}")
    try:
        array = np.asarray(answer)
    except (ValueError, TypeError, RuntimeError) as error:
        raise Unusable(f"expected numbers, got a {type(answer).__name__} that NumPy cannot read: {error}") from None
    if np.ma.isMaskedArray(answer):
        raise Unusable("expected numbers, got a masked array")
    if array.dtype.kind == "c":
        raise Unusable("expected real numbers, got complex ones")
    if array.dtype.kind not in "fiu":
        raise Unusable(f"expected numbers, got an array of {array.dtype.name}")
    return array.astype(np.float64)


def unusable(error: Unusable, tolerance: float = 0.0) -> Comparison:
    """What is said of an answer that cannot be compared."""
    return Comparison(Verdict.MISMATCH, 0.0, 0.0, None, math.inf, tolerance, str(error))


def usable(answer: Any, shape: tuple[int, ...]) -> Array:
    """The answer as a finite float64 array of this shape, else Unusable."""
    array = as_real_array(answer)
    if array.shape != shape:
        raise Unusable(f"expected shape {shape}, got {array.shape}")
    bad = ~np.isfinite(array)
    if bad.any():
        what = "NaN" if np.isnan(array).any() else "infinite"
        raise Unusable(f"{int(bad.sum())} of {array.size} entries not finite ({what})")
    return array


def compare(quantity: Quantity, certified, answer: Any, problem, conventions: Mapping[str, str]) -> Comparison:
    """Judge `answer` against `certified` in the declared conventions. Never raises because of the answer."""
    limit = budget(quantity, certified, problem, conventions)
    expected = convert(quantity, certified.value, problem, conventions)
    limit, shape = limit.of(expected), _shape_of_answer(quantity, expected, problem)
    if quantity.kind in ("root", "samples") and expected.ndim == 1:     # marginal variances of independent parameters
        expected = np.diag(expected)
    try:
        array = usable(answer, shape)
        implied = _IMPLIED.get(quantity.kind, _as_given)(quantity, array, problem, conventions)
    except Unusable as error:
        return unusable(error, limit.tolerance)
    except TooFewNormals as error:
        return Comparison(Verdict.UNDERPOWERED, 0.0, 0.0, None, math.inf, math.inf, str(error))
    scale = None if certified.scale is None else certified.scale * abs(factor(quantity, problem, conventions))
    with np.errstate(all="ignore"):  # an answer of 1e300 overflows to an infinite error, which is what it is
        return _judge(quantity, implied, expected, scale, limit)


@dataclass(frozen=True)
class Implied:
    """What is unique in an answer, the factor by which its errors grow on the way, and the units of round-off added."""

    value: Array
    growth: float = 1.0
    added: float = 0.0


def _as_given(quantity: Quantity, array: Array, problem, conventions: Mapping[str, str]) -> Implied:
    return Implied(array)


def _from_root(quantity: Quantity, root: Array, problem, conventions: Mapping[str, str]) -> Implied:
    """C Cᵀ of a square root."""
    with np.errstate(over="ignore", invalid="ignore"):
        return Implied(linalg.gram(root.T), 2.0)


def _from_samples(quantity: Quantity, samples: Array, problem, conventions: Mapping[str, str]) -> Implied:
    """M Mᵀ, where samples − θ = normals Mᵀ."""
    with np.errstate(over="ignore", invalid="ignore"):
        root, growth = linear_map(samples, problem, resolve(quantity, conventions)["parameters.order"])
        return Implied(linalg.gram(root.T), 2.0, 2.0 * len(samples) * growth)


_IMPLIED = {"root": _from_root, "samples": _from_samples}


def linear_map(samples: Array, problem, order: str) -> tuple[Array, float]:
    """M with samples − θ = normals Mᵀ by least squares, and how much it may magnify rounding errors.

    Unusable where no linear map of the normals around θ gives the samples.
    """
    normals, theta = problem.normals, problem.theta[permutation(problem, order)]
    if len(normals) <= normals.shape[1]:
        raise TooFewNormals(f"{len(normals)} normals for {normals.shape[1]} parameters: too few to recover a map")
    centred = samples - theta
    size = np.linalg.norm(centred)
    if size == 0:
        raise Unusable("every sample equals θ: the normals were not used")
    root, _, _, singular = np.linalg.lstsq(normals, centred, rcond=None)
    growth = singular[0] / singular[-1] * max(1.0, np.linalg.norm(samples) / size)
    residual = np.linalg.norm(centred - normals @ root) / size
    if residual > max(CAP32, SAFETY * len(samples) * U64 * growth):
        raise Unusable(_why_not_linear(normals, centred, size, residual))
    return root.T, float(growth)


def _why_not_linear(normals: Array, centred: Array, size: float, residual: float) -> str:
    with_mean = np.column_stack([normals, np.ones(len(normals))])
    shifted = centred - with_mean @ np.linalg.lstsq(with_mean, centred, rcond=None)[0]
    if len(normals) > normals.shape[1] + 1 and np.linalg.norm(shifted) / size < CAP64:
        return "the samples are a linear map of the given normals, but not around θ: their mean is shifted"
    return f"the samples are no linear map of the given normals around θ: {residual:.2g} of them is unexplained"


def _judge(quantity: Quantity, implied: Implied, expected: Array, scale: float | None, limit: Budget) -> Comparison:
    limit = limit.times(implied.growth).plus(implied.added)
    error = relative_error(implied.value, expected, scale)
    worst = _componentwise(implied.value, expected)
    verdict, natural, limits = limit.verdict(error), None, limit
    if quantity.kind in ("positive_definite", "root", "samples"):
        natural, inside, limits = _natural(implied.value, expected, limit)
        verdict = _worse(verdict, inside)
    if quantity.kind in ("array", "scalar", "symmetric", "positive_definite") and np.array_equal(implied.value, expected):
        verdict = Verdict.EXACT
    message = _remark(quantity, implied.value, verdict, limits, natural)
    return Comparison(verdict, digits(error), digits(worst), None if natural is None else digits(natural), error,
                      limit.tolerance, message)


def relative_error(value: Array, expected: Array, scale: float | None = None) -> float:
    """‖value − expected‖ / ‖expected‖ (Frobenius), or / scale where the certified value is zero; NaN is infinite."""
    size = float(np.linalg.norm(expected))
    if size == 0:
        size = scale or 1.0
    error = float(np.linalg.norm(value - expected)) / size
    return error if math.isfinite(error) else math.inf


def _componentwise(value: Array, expected: Array) -> float:
    """The worst entry relative to itself; entries that must be zero, relative to the largest."""
    size = np.abs(expected)
    largest = size.max(initial=0.0)
    errors = np.abs(value - expected) / np.where(size > 0, size, largest or 1.0)
    return float(np.nan_to_num(errors, nan=np.inf).max(initial=0.0))


def _natural(value: Array, expected: Array, limit: Budget) -> tuple[float | None, Verdict, Budget]:
    """‖L⁻¹(Â−A)L⁻ᵀ‖₂ with L Lᵀ = A, its verdict and budget; no error where A is positive definite only before rounding.

    The tolerance holds the factor κ₂(A); where that exceeds the cap, an error within the cap still passes.
    """
    try:
        L = linalg.cholesky("certified value", expected)
    except linalg.NotPositiveDefinite:
        return None, Verdict.PASS, limit
    half = linalg.solve_lower(L, value - expected)
    inner = linalg.solve_lower(L, half.T)
    error = float(np.linalg.norm(inner, 2)) if np.isfinite(inner).all() else math.inf
    limit = limit.times(float(np.linalg.cond(expected)))
    return error, Verdict.PASS if error <= limit.cap < limit.tolerance else limit.verdict(error), limit


_SEVERITY = (Verdict.PASS, Verdict.UNDERPOWERED, Verdict.LOSSY, Verdict.MISMATCH)


def _worse(first: Verdict, second: Verdict) -> Verdict:
    return max(first, second, key=_SEVERITY.index)


def _remark(quantity: Quantity, value: Array, verdict: Verdict, limit: Budget, natural: float | None) -> str:
    remarks = []
    if verdict is Verdict.UNDERPOWERED:
        remarks.append(f"the tolerance {limit.tolerance:.1e} is too wide to say anything")
    if quantity.kind in ("symmetric", "positive_definite") and verdict in (Verdict.LOSSY, Verdict.MISMATCH):
        asymmetry = relative_error(value, value.T)
        if asymmetry > limit.tolerance:
            remarks.append(f"not symmetric: ‖A − Aᵀ‖/‖A‖ = {asymmetry:.2g}")
    if verdict is Verdict.MISMATCH and natural is not None:
        remarks.append(f"worst direction off by {natural:.2g} of its size")
    return "; ".join(remarks)
