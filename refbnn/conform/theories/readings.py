"""Ways to read an answer: in another parameter order, transposed, by its triangle, around another centre."""

from __future__ import annotations

import math
from itertools import permutations
from typing import Any, Callable, Mapping

import numpy as np

from ..compare import TooFewNormals, Unusable, linear_map
from ..conventions import AXES, resolve
from ..quantities import QUANTITIES, Quantity, axis_sizes
from .facts import ORDER, Array, Facts
from .theory import Reading

View = Callable[[Facts, Quantity, Array], Array | None]


def _implied(facts: Facts, quantity: Quantity, answer: Array, order: str) -> Array | None:
    """The covariance that a root or samples imply."""
    if answer.shape != quantity.shape(axis_sizes(facts.problem)):
        return None
    if quantity.kind == "root":
        return answer @ answer.T
    try:
        root, _ = linear_map(answer, facts.problem, order)
    except (Unusable, TooFewNormals):
        return None
    return root @ root.T


def in_package_order(facts: Facts, quantity: Quantity, value: Array, name: str) -> Array | None:
    """A value of this quantity from the order `name` to the package's; None for another shape or a quantity without θ."""
    axes = QUANTITIES[quantity.certified_by].axes.split()
    sizes = axis_sizes(facts.problem)
    if "p" not in axes or value.shape != tuple(sizes[axis] for axis in axes):
        return None
    back = np.argsort(facts.order(name))
    for axis, letter in enumerate(axes):
        value = value.take(back, axis) if letter == "p" else value
    return value


def _in_order(name: str, declared: str) -> View:
    def view(facts: Facts, quantity: Quantity, answer: Array) -> Array | None:
        if quantity.kind in ("root", "samples"):
            answer = _implied(facts, quantity, answer, name)
        ordered = None if answer is None else in_package_order(facts, quantity, answer, name)
        return answer if ordered is None and name == declared else ordered
    return view


def declared_order(facts: Facts, quantity: Quantity) -> str:
    """The parameter order that the adapter declares for a quantity."""
    return resolve(quantity, facts.conventions)[ORDER]


def _order_readings(declared: str) -> list[Reading]:
    names = next(axis for axis in AXES if axis.name == ORDER).meanings
    return [Reading("given" if name == declared else f"{ORDER}={name}", 0 if name == declared else 1,
                    f"Your parameters are in another order: {meaning}", f"declare {ORDER} = {name}",
                    _in_order(name, declared), "order") for name, meaning in names.items()]


def _transposed(axes: tuple[int, ...]) -> View:
    def view(facts: Facts, quantity: Quantity, answer: Array) -> Array | None:
        wanted = facts.value(quantity.name).shape
        fits = answer.ndim == len(axes) == len(wanted) and quantity.kind == "array"
        return answer.transpose(axes) if fits and answer.transpose(axes).shape == wanted else None
    return view


def _reshaped(facts: Facts, quantity: Quantity, answer: Array) -> Array | None:
    wanted = facts.value(quantity.name).shape
    same = answer.shape != wanted and answer.size == math.prod(wanted) and quantity.kind not in ("root", "samples")
    return answer.reshape(wanted) if same else None


def _summed(facts: Facts, quantity: Quantity, answer: Array) -> Array | None:
    wanted = facts.value(quantity.name).shape
    return answer.sum(0) if answer.ndim and answer.shape[1:] == wanted and answer.shape[0] == len(facts.problem.X) else None


def _mirrored(triangle: Callable[[Array], Array]) -> View:
    def view(facts: Facts, quantity: Quantity, answer: Array) -> Array | None:
        square = quantity.kind in ("symmetric", "positive_definite") and answer.shape == facts.value(quantity.name).shape
        if not square or not answer.any() or not np.array_equal(triangle(answer), answer):
            return None
        return answer + answer.T - np.diag(np.diag(answer))
    return view


def _half_of_square(triangle: Callable[[Array], Array]) -> View:
    """One triangle holds the value, the other something else."""
    def view(facts: Facts, quantity: Quantity, answer: Array) -> Array | None:
        square = quantity.kind in ("symmetric", "positive_definite") and answer.shape == facts.value(quantity.name).shape
        if not square or np.array_equal(answer, answer.T) or np.array_equal(triangle(answer), answer):
            return None
        half = triangle(answer)
        return half + half.T - np.diag(np.diag(answer))
    return view


def _diagonal_of(facts: Facts, quantity: Quantity, answer: Array) -> Array | None:
    wanted = facts.value(quantity.name).shape
    return np.diag(answer).copy() if len(wanted) == 1 and answer.shape == wanted * 2 else None


def _samples_around(centre: Callable[[Any], Array]) -> View:
    def view(facts: Facts, quantity: Quantity, answer: Array) -> Array | None:
        problem = facts.problem
        if quantity.kind != "samples" or answer.shape != problem.normals.shape or not np.any(centre(problem) != problem.theta):
            return None
        order = declared_order(facts, quantity)
        shift = (problem.theta - centre(problem))[facts.order(order)]
        return _implied(facts, quantity, answer + shift, order)
    return view


_SHAPE_READINGS = (
    Reading("shape", 1, "The numbers are in the expected order but the shape is not", "return the stated shape", _reshaped),
    *(Reading(f"transposed_{''.join(map(str, axes))}", 1, "Your axes are permuted", f"transpose the axes by {axes}",
              _transposed(axes)) for n in (2, 3) for axes in permutations(range(n)) if axes != tuple(range(n))),
    Reading("per_datum", 1, "You return one value per datum", "sum over the data", _summed),
    Reading("lower_triangle", 1, "Only the lower triangle is filled", "fill both triangles", _mirrored(np.tril)),
    Reading("upper_triangle", 1, "Only the upper triangle is filled", "fill both triangles", _mirrored(np.triu)),
    Reading("upper_triangle_wrong", 1, "The lower triangle is right, the upper one is not", "mirror the lower triangle",
            _half_of_square(np.tril)),
    Reading("lower_triangle_wrong", 1, "The upper triangle is right, the lower one is not", "mirror the upper triangle",
            _half_of_square(np.triu)),
    Reading("full_for_diagonal", 1, "You return the full matrix", "return its diagonal", _diagonal_of),
    Reading("centre_zero", 1, "Your samples lie around 0, not around θ", "add θ", _samples_around(lambda p: 0 * p.theta)),
    Reading("centre_prior_mean", 1, "Your samples lie around the prior mean, not around θ", "add θ instead",
            _samples_around(lambda p: p.prior_mean)),
    Reading("centre_twice", 1, "θ is added twice to your samples", "add it once", _samples_around(lambda p: 2 * p.theta)),
)


def readings(quantity: Quantity, conventions: Mapping[str, str]) -> list[Reading]:
    """Every way to read an answer, the declared one first."""
    orders = _order_readings(resolve(quantity, conventions)[ORDER])
    return sorted([*orders, *_SHAPE_READINGS], key=lambda reading: reading.complexity)
