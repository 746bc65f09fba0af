"""The arithmetics that both routes are written over. A field turns fractions into its numbers and knows functions of them."""

from __future__ import annotations

from contextlib import contextmanager
from fractions import Fraction
from typing import Any, Iterator

import flint
import mpmath

Number = Any        # fmpq, arb or mpf: whatever the field in use computes with


class Rational:
    """Exact rationals. Logarithms and exponentials are not asked of it."""

    name = "rational"

    def number(self, value: Fraction) -> flint.fmpq:
        return flint.fmpq(value.numerator, value.denominator)

    def sign(self, value: flint.fmpq) -> int:
        return (value > 0) - (value < 0)

    def matrix(self, rows: list[list[flint.fmpq]]) -> flint.fmpq_mat:
        return flint.fmpq_mat(rows)

    def step(self, reach: int) -> flint.fmpq:
        """Small enough for any kink; a central difference is exact for a polynomial up to its order."""
        return flint.fmpq(1, 2 ** 40)

    @contextmanager
    def working(self) -> Iterator[None]:
        yield


class Interval:
    """Arb balls: every result encloses the exact one."""

    name = "interval"

    def __init__(self, bits: int) -> None:
        self.bits = bits

    @contextmanager
    def working(self) -> Iterator[None]:
        """Set flint's precision, and put back what was there."""
        before = flint.ctx.prec
        flint.ctx.prec = self.bits
        try:
            yield
        finally:
            flint.ctx.prec = before

    def number(self, value: Fraction) -> flint.arb:
        return flint.arb(flint.fmpq(value.numerator, value.denominator))

    def sign(self, value: flint.arb) -> int:
        """The proven sign; ArithmeticError when the ball holds zero and more."""
        if value > 0:
            return 1
        if value < 0:
            return -1
        if value.is_zero():
            return 0
        raise ArithmeticError("the sign is not determined at this precision")

    def matrix(self, rows: list[list[flint.arb]]) -> flint.arb_mat:
        return flint.arb_mat(rows)

    def pi(self) -> flint.arb:
        return flint.arb.pi()

    def exp(self, x: flint.arb) -> flint.arb:
        return x.exp()

    def log(self, x: flint.arb) -> flint.arb:
        return x.log()

    def sqrt(self, x: flint.arb) -> flint.arb:
        return x.sqrt()

    def tanh(self, x: flint.arb) -> flint.arb:
        return x.tanh()

    def sin(self, x: flint.arb) -> flint.arb:
        return x.sin()

    def cos(self, x: flint.arb) -> flint.arb:
        return x.cos()

    def erf(self, x: flint.arb) -> flint.arb:
        return x.erf()

    def erfc(self, x: flint.arb) -> flint.arb:
        return x.erfc()

    def log_gamma(self, x: flint.arb) -> flint.arb:
        return x.lgamma()

    def digamma(self, x: flint.arb) -> flint.arb:
        return x.digamma()

    def trigamma(self, x: flint.arb) -> flint.arb:
        return flint.arb(2).zeta(x)

    def tiny(self) -> flint.arb:
        """What a sum may leave out."""
        return flint.arb(2) ** -self.bits

    def around(self, radius: flint.arb) -> flint.arb:
        """A ball around zero."""
        return flint.arb(0, radius.abs_upper())

    def step(self, reach: int) -> flint.arb:
        """h, so that the error h^(2 reach) of a central second difference is that of rounding, 2^−bits/h²."""
        return flint.arb(2) ** -(self.bits // (2 * reach + 2))

    def leading(self, A: list[list[flint.arb]]) -> list[flint.arb]:
        """The eigenvector of the largest eigenvalue, of length 1, by 512 steps of the power method: midpoints, no enclosure."""
        M, v = flint.arb_mat(A), flint.arb_mat([[1 + flint.arb(1) / (i + 2)] for i in range(len(A))])
        for _ in range(9):
            M = flint.arb_mat([[x.mid() for x in row] for row in (M * M / (M * M).trace()).tolist()])
        v = M * v
        size = sum((x * x for x in v.entries()), flint.arb(0)).sqrt()
        return [(x / size).mid() for x in v.entries()]

    def log_factorial(self, count: int) -> flint.arb:
        return flint.arb(flint.fmpz.fac_ui(count)).log()

    def projectors(self, A: list[list[flint.arb]]) -> list[list[list[flint.arb]]]:
        """u uᵀ for the eigenvectors of a symmetric matrix; ZeroDivisionError where two eigenvalues cannot be told apart.

        r rᵀ/(rᵀ r) is the same for every multiple of r. Rows that only touch each other are treated apart: what is zero there
        by structure stays an exact zero.
        """
        values, result = [], []
        for rows in connected(A):
            try:
                eigenvalues, R = flint.acb_mat([[A[i][j] for j in rows] for i in rows]).eig(right=True)
            except ValueError as refusal:
                raise ZeroDivisionError(str(refusal)) from refusal
            values += [value.real for value in eigenvalues]
            for c in range(len(rows)):
                square = sum((R[i, c] * R[i, c] for i in range(len(rows))), flint.acb(0))
                P = [[flint.arb(0)] * len(A) for _ in A]
                for a, i in enumerate(rows):
                    for b, j in enumerate(rows):
                        P[i][j] = (R[a, c] * R[b, c] / square).real if len(rows) > 1 else flint.arb(1)
                result.append(P)
        if any(values[i].overlaps(values[j]) for i in range(len(values)) for j in range(i)):
            raise ZeroDivisionError("two eigenvalues cannot be told apart")
        return result


class Decimal:
    """mpmath's multi-precision floats: another library, another radix of thought, no enclosure."""

    name = "decimal"

    def __init__(self, digits: int) -> None:
        self.digits = digits

    @contextmanager
    def working(self) -> Iterator[None]:
        with mpmath.workdps(self.digits):
            yield

    def number(self, value: Fraction) -> mpmath.mpf:
        return mpmath.mpf(value.numerator) / value.denominator

    def sign(self, value: mpmath.mpf) -> int:
        return (value > 0) - (value < 0)

    def pi(self) -> mpmath.mpf:
        return +mpmath.pi

    def exp(self, x: mpmath.mpf) -> mpmath.mpf:
        return mpmath.exp(x)

    def log(self, x: mpmath.mpf) -> mpmath.mpf:
        return mpmath.log(x)

    def sqrt(self, x: mpmath.mpf) -> mpmath.mpf:
        return mpmath.sqrt(x)

    def tanh(self, x: mpmath.mpf) -> mpmath.mpf:
        return mpmath.tanh(x)

    def sin(self, x: mpmath.mpf) -> mpmath.mpf:
        return mpmath.sin(x)

    def cos(self, x: mpmath.mpf) -> mpmath.mpf:
        return mpmath.cos(x)

    def erf(self, x: mpmath.mpf) -> mpmath.mpf:
        return mpmath.erf(x)

    def erfc(self, x: mpmath.mpf) -> mpmath.mpf:
        return mpmath.erfc(x)

    def log_gamma(self, x: mpmath.mpf) -> mpmath.mpf:
        return mpmath.loggamma(x)

    def digamma(self, x: mpmath.mpf) -> mpmath.mpf:
        return mpmath.digamma(x)

    def trigamma(self, x: mpmath.mpf) -> mpmath.mpf:
        return mpmath.polygamma(1, x)

    def tiny(self) -> mpmath.mpf:
        """What a sum may leave out."""
        return mpmath.mpf(10) ** -self.digits

    def step(self, reach: int) -> mpmath.mpf:
        """h, so that the error h^(2 reach) of a central second difference is that of rounding, 10^−digits/h²."""
        return mpmath.mpf(2) ** -int(self.digits / 0.30103 / (2 * reach + 2))

    def log_factorial(self, count: int) -> mpmath.mpf:
        return mpmath.loggamma(count + 1)

    def leading(self, A: list[list[mpmath.mpf]]) -> list[mpmath.mpf]:
        """The eigenvector of the largest eigenvalue, of length 1."""
        U = mpmath.eigsy(mpmath.matrix(A))[1]
        return [U[i, len(A) - 1] for i in range(len(A))]

    def projectors(self, A: list[list[mpmath.mpf]]) -> list[list[list[mpmath.mpf]]]:
        """u uᵀ for the eigenvectors of a symmetric matrix."""
        U = mpmath.eigsy(mpmath.matrix(A))[1]
        n = range(len(A))
        return [[[U[i, c] * U[j, c] for j in n] for i in n] for c in n]


def connected(A: list[list[flint.arb]]) -> list[list[int]]:
    """Index sets between which every entry is an exact zero: a symmetric matrix as blocks."""
    left, blocks = list(range(len(A))), []
    while left:
        block, found = [], [left[0]]
        while found:
            i = found.pop()
            block.append(i)
            left.remove(i)
            found += [j for j in left if j not in found and not A[i][j].is_zero()]
        blocks.append(sorted(block))
    return blocks
