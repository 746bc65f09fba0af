"""The language of shapes: one letter an axis, one name for each kind of array.

Axis order is always `*s n k p`: draws or chains (any number of leading axes, maybe none), data, outputs, parameters.
Other letters: `d` inputs, `m` new data, `t` given draws of θ, `c` chains of them, `g` groups of chains. Axes are never
squeezed; a network with one output has k = 1.
The tests execute these annotations: every public function is called and the letters must agree between its arguments and
its result.
"""

from __future__ import annotations

import math
from functools import cache, lru_cache
from typing import Annotated

import numpy as np

Parameters = Annotated[np.ndarray, "*s p"]
Inputs = Annotated[np.ndarray, "n d"]
NewInputs = Annotated[np.ndarray, "m d"]
Targets = Annotated[np.ndarray, "n ..."]  # n k, or n for class labels
Values = Annotated[np.ndarray, "*s"]
DataValues = Annotated[np.ndarray, "*s n"]
Outputs = Annotated[np.ndarray, "*s n k"]
OutputMatrices = Annotated[np.ndarray, "*s n k k"]
OutputTensors = Annotated[np.ndarray, "*s n k k k"]
Jacobian = Annotated[np.ndarray, "*s n k p"]
DataGradients = Annotated[np.ndarray, "n p"]
DataJacobians = Annotated[np.ndarray, "n k p"]
DataMatrices = Annotated[np.ndarray, "n k k"]
Draws = Annotated[np.ndarray, "t p"]
Chains = Annotated[np.ndarray, "c t ..."]
Superchains = Annotated[np.ndarray, "g c t ..."]
ChainValues = Annotated[np.ndarray, "c t"]
ChainDraws = Annotated[np.ndarray, "c t p"]
ChainPathValues = Annotated[np.ndarray, "b c t"]
Weights = Annotated[np.ndarray, "t"]
Vector = Annotated[np.ndarray, "p"]
Matrix = Annotated[np.ndarray, "p p"]


def as_array(name: str, value: object, axes: str, **sizes: int) -> np.ndarray:
    """Return `value` as a float64 array with the given axes, or raise ValueError saying what was expected and what came.

    `axes` is a string such as "n d" or "*s p"; `sizes` fixes letters whose size is known. Refused: another number of axes,
    another size, text, objects, complex numbers, NaN and infinity.
    """
    array = value if type(value) is np.ndarray and value.dtype is _FLOAT else _as_float(name, value, axes)
    if not _fits(array.shape, axes, **sizes):
        expect_shape(name, array, axes, **sizes)
    if not math.isfinite(np.vdot(array, array)) and not np.isfinite(array).all():  # a finite sum of squares proves it in no time
        raise ValueError(f"{name}: expected finite numbers, got {np.count_nonzero(~np.isfinite(array))} NaN or infinite")
    return array


_FLOAT = np.dtype(np.float64)  # what nearly every array has: samplers come through here a million times


def _as_float(name: str, value: object, axes: str) -> np.ndarray:
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name}: expected an array with axes ({axes}), got a ragged sequence") from error
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name}: expected real numbers, got dtype {array.dtype}")
    return array.astype(np.float64, copy=False)


def as_own_array(name: str, value: object, axes: str, **sizes: int) -> np.ndarray:
    """`as_array` as a private read-only copy, for objects that keep it: what the caller does to `value` later stays outside."""
    array = as_array(name, value, axes, **sizes).copy()
    array.flags.writeable = False
    return array


def expect_shape(name: str, array: np.ndarray, axes: str, **sizes: int) -> None:
    """Raise ValueError unless `array` has these axes, e.g. "y: expected shape (7, 3), got (7,)"."""
    if not _fits(array.shape, axes, **sizes):
        batched, named = _axes(axes)
        expected = ["..."] * batched + [str(sizes.get(letter, letter)) for letter in named]
        raise ValueError(f"{name}: expected shape ({', '.join(expected)}{',' if len(expected) == 1 else ''}), got {array.shape}")


@lru_cache(maxsize=2**12)
def _fits(shape: tuple[int, ...], axes: str, **sizes: int) -> bool:
    batched, named = _axes(axes)
    extra = len(shape) - len(named)
    own = shape[max(extra, 0):]
    return extra >= 0 and (batched or not extra) and own == tuple(sizes.get(letter, n) for letter, n in zip(named, own))


@cache
def _axes(axes: str) -> tuple[bool, tuple[str, ...]]:
    """Whether "*s" comes first, and the other letters."""
    letters = tuple(axes.split())
    batched = letters[:1] == ("*s",)
    return batched, letters[batched:]


def expect_methods(name: str, value: object, *methods: str) -> None:
    """Raise ValueError unless `value` is an object (not a class) that has these methods or attributes."""
    missing = [method for method in methods if not hasattr(value, method)]
    if missing or isinstance(value, type):
        got = f"the class {value.__name__}; make one, with ()" if isinstance(value, type) else f"a {type(value).__name__}"
        raise ValueError(f"{name}: expected an object with {', '.join(methods)}, got {got}")


def as_probabilities(name: str, value: object, axes: str, **sizes: int) -> np.ndarray:
    """`value` as an array whose last axis holds numbers >= 0 that sum to one, or ValueError saying what came.

    To 1e-9, or the round-off of the type in which they come: probabilities in float32 are taken, and not made to sum to one.
    """
    p = as_array(name, value, axes, **sizes)
    given = np.asarray(value).dtype
    allowed = max(1e-9, 2 * p.shape[-1] * np.finfo(given).eps) if given.kind == "f" else 1e-9
    sums = p.sum(-1)
    if (p < 0).any() or (np.abs(sums - 1) > allowed).any():
        worst = sums.flat[np.abs(sums - 1).argmax()]
        raise ValueError(f"{name}: expected non-negative numbers that sum to one, got a smallest one of {p.min():g} and a sum of "
                         f"{worst:.10g}")
    return p


def as_count(name: str, value: object, minimum: int = 1) -> int:
    """Return `value` as an int of at least `minimum`, or raise ValueError."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < minimum:
        raise ValueError(f"{name}: expected an integer >= {minimum}, got {value!r}")
    return int(value)


def as_positive(name: str, value: object) -> float:
    """Return `value` as a positive finite float, or raise ValueError."""
    number = float(as_array(name, value, ""))
    if number <= 0:
        raise ValueError(f"{name}: expected a positive number, got {number}")
    return number


def as_indices(parameters: object, num_params: int) -> np.ndarray:
    """Return `parameters` as an array of at least one, different, integers from 0 to num_params − 1, or raise ValueError."""
    chosen = np.asarray(parameters)
    valid = chosen.ndim == 1 and chosen.size > 0 and chosen.dtype.kind in "iu" and ((0 <= chosen) & (chosen < num_params)).all()
    if not valid or len(np.unique(chosen)) != len(chosen):
        raise ValueError(f"parameters: expected different integers from 0 to {num_params - 1}, got {parameters!r}")
    return chosen
