"""Polynomials in all parameters, truncated after second order: forward differentiation, one scalar at a time.

A jet is a value, its first derivatives {i: ∂_i} and its second ones {(i, j): ∂_i ∂_j, i <= j}. What is absent is exactly
zero, so that structural zeros (a bias has no second derivative in a last layer) come out as zeros and need no rounding.
"""

from __future__ import annotations

from typing import Any


class Jet:
    """Value, gradient and Hessian of one scalar, stored sparsely."""

    __slots__ = ("value", "first", "second")

    def __init__(self, value: Any, first: dict | None = None, second: dict | None = None) -> None:
        self.value = value
        self.first = first or {}
        self.second = second or {}

    def __add__(self, other: "Jet") -> "Jet":
        return Jet(self.value + other.value, _sum(self.first, other.first), _sum(self.second, other.second))

    def __mul__(self, other: "Jet") -> "Jet":
        """Leibniz: (ab)_i = a_i b + a b_i and (ab)_ij = a_ij b + a_i b_j + a_j b_i + a b_ij."""
        first = _sum(self.first_times(other.value), other.first_times(self.value))
        second = _sum(self.second_times(other.value), other.second_times(self.value))
        for i, a in self.first.items():
            for j, b in other.first.items():
                _add_to(second, (i, j) if i <= j else (j, i), a * b * (2 if i == j else 1))
        return Jet(self.value * other.value, first, second)

    def scaled(self, factor: Any) -> "Jet":
        """A constant times the jet."""
        return Jet(self.value * factor, self.first_times(factor), self.second_times(factor))

    def shifted(self, constant: Any) -> "Jet":
        """A constant added to the jet."""
        return Jet(self.value + constant, self.first, self.second)

    def composed(self, c0: Any, c1: Any, c2: Any, c3: Any) -> "Jet":
        """φ(jet), where φ(value + t) = c0 + c1 t + c2 t² + ...: second derivatives c1 a_ij + 2 c2 a_i a_j, no use of c3."""
        second = self.second_times(c1)
        twice = c2 + c2
        items = sorted(self.first.items())
        for position, (i, a) in enumerate(items):
            left = twice * a
            for j, b in items[position:]:
                _add_to(second, (i, j), left * b)
        return Jet(c0, self.first_times(c1), second)

    def linearised(self) -> "Jet":
        """The same value and gradient, no curvature: the jet of the tangent."""
        return Jet(self.value, self.first)

    def first_times(self, factor: Any) -> dict:
        return {i: a * factor for i, a in self.first.items()}

    def second_times(self, factor: Any) -> dict:
        return {ij: a * factor for ij, a in self.second.items()}


class Tangent(Jet):
    """A jet of first order, where second derivatives are not asked for."""

    __slots__ = ()

    def __add__(self, other: Jet) -> "Tangent":
        return Tangent(self.value + other.value, _sum(self.first, other.first))

    def __mul__(self, other: Jet) -> "Tangent":
        return Tangent(self.value * other.value, _sum(self.first_times(other.value), other.first_times(self.value)))

    def scaled(self, factor: Any) -> "Tangent":
        return Tangent(self.value * factor, self.first_times(factor))

    def shifted(self, constant: Any) -> "Tangent":
        return Tangent(self.value + constant, self.first)

    def composed(self, c0: Any, c1: Any, c2: Any, c3: Any) -> "Tangent":
        return Tangent(c0, self.first_times(c1))


class Cubic(Jet):
    """A polynomial a + b t + c t² + d t³ in one variable, for derivatives along a line: arithmetic modulo t⁴."""

    __slots__ = ("powers",)

    def __init__(self, value: Any, *powers: Any) -> None:
        super().__init__(value)
        self.powers = powers

    def __add__(self, other: "Cubic") -> "Cubic":
        return Cubic(self.value + other.value, *(a + b for a, b in zip(self.powers, other.powers)))

    def __mul__(self, other: "Cubic") -> "Cubic":
        (a0, a1, a2, a3), (b0, b1, b2, b3) = (self.value, *self.powers), (other.value, *other.powers)
        return Cubic(a0 * b0, a0 * b1 + a1 * b0, a0 * b2 + a1 * b1 + a2 * b0, a0 * b3 + a1 * b2 + a2 * b1 + a3 * b0)

    def scaled(self, factor: Any) -> "Cubic":
        return Cubic(self.value * factor, *(a * factor for a in self.powers))

    def shifted(self, constant: Any) -> "Cubic":
        return Cubic(self.value + constant, *self.powers)

    def composed(self, c0: Any, c1: Any, c2: Any, c3: Any) -> "Cubic":
        """c0 + c1 s + c2 s² + c3 s³ with s = b t + c t² + d t³."""
        b, c, d = self.powers
        return Cubic(c0, c1 * b, c1 * c + c2 * b * b, c1 * d + (c2 + c2) * b * c + c3 * b * b * b)


def variable(value: Any, index: int, one: Any) -> Jet:
    """The jet of the parameter with this index."""
    return Jet(value, {index: one})


def total(jets: list[Jet]) -> Jet:
    """The sum of one or more jets."""
    result = jets[0]
    for jet in jets[1:]:
        result = result + jet
    return result


def _sum(a: dict, b: dict) -> dict:
    merged = dict(a)
    for key, value in b.items():
        _add_to(merged, key, value)
    return merged


def _add_to(table: dict, key: Any, value: Any) -> None:
    table[key] = table[key] + value if key in table else value
