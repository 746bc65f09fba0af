"""Expectations E g(z) under z ~ N(0, I_d): Gauss-Hermite (product and sparse), trapezoid, scrambled Sobol points, given draws.

Every rule has `.integrate(g)`, which returns the value *and* an estimate of its error, so that "exact" is a number and not a
word. For deterministic rules the estimate is meant to be an upper bound (from coarser rules on the same function); for replicated
ones it is one standard error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import comb
from typing import Any

import numpy as np
from scipy.special import ndtri, roots_hermitenorm

from refbnn.shapes import as_array, as_count, as_own_array, expect_methods

ROUND_OFF = 30 * np.finfo(float).eps  # of a number made of others by a few operations, relative
LARGEST = 2**21  # points of a product rule
_SAFETY = 4.0  # observed: errors up to 2.1 times the largest difference for what points resolve. For what lies between them no
# factor is enough: of E σ(−993 + 160 z) both trapezoid(1, 13) and gauss_hermite(1, 8) miss 2.6e-10, and estimate 1.3e-13 and
# 1e-147; so `expect_resolved`. One beyond the outermost of 4 or 5 points is not seen at all
BUMP = 4.0  # p(1 − p) is 3.5 wide at half its height, the entropy of σ(f) 4.8; see `expect_resolved`
_BULK = 6.0  # standard deviations beyond which a gap does not matter
_END = 8.6  # P(|z| > 8.6) = 8e-18
_BITS = 52  # of a Sobol number; with half of the last one added it is neither 0 nor 1 and still a float64


@dataclass(frozen=True, eq=False)
class Integral:
    """An expectation and the estimate of its absolute error: two arrays, or two objects, of one form."""

    value: Any
    error: Any


@dataclass(frozen=True, eq=False)
class Rule:
    """E g(z) ≈ Σ_j w_j g(z_j): points (j d), weights (j), and the weights (c j) of c coarser rules on the same points."""

    points: np.ndarray
    weights: np.ndarray
    coarser: np.ndarray

    def __post_init__(self):
        count = len(as_array("points", self.points, "j d"))
        as_array("weights", self.weights, "j", j=count)
        if len(as_array("coarser", self.coarser, "c j", j=count)) == 0:
            raise ValueError("coarser: expected at least one coarser rule, which an error estimate needs, got none")

    @property
    def dim(self) -> int:
        """d."""
        return self.points.shape[1]

    @property
    def gap(self) -> float:
        """The largest distance along an axis between neighbouring points that carry weight, within six standard deviations."""
        used = self.points[self.weights != 0]
        axes = (np.unique(np.round(axis[np.abs(axis) <= _BULK], 9)) for axis in used.T)
        return max(float(np.diff(axis).max(initial=0.0)) if len(axis) > 1 else 2 * _BULK for axis in axes)

    def integrate(self, g: Callable[[np.ndarray], np.ndarray]) -> Integral:
        """Σ_j w_j g(z_j), Eq. (quadrature-error): g takes (j d) and returns (j ...).

        The error estimate is four times the largest difference to a coarser rule, plus round-off of the sum, which is large
        where weights of both signs cancel. What is narrower than the gaps between the points no rule can see, and no estimate:
        `expect_resolved`.
        """
        values = _values(g, self.points)
        value = np.tensordot(self.weights, values, 1)
        apart = np.abs(np.tensordot(self.coarser - self.weights, values, 1)).max(0)
        return Integral(value, _SAFETY * apart + ROUND_OFF * np.tensordot(np.abs(self.weights), np.abs(values), 1))


@dataclass(frozen=True, eq=False)
class Sparse(Rule):
    """A Rule of Smolyak's with products of 1 to `level` points an axis."""

    level: int

    @property
    def gap(self) -> float:
        """√d times the gap of the product rule that has as many points on every axis: 1 + ⌊(level − 1)/d⌋ of them.

        The points near the axes hide how few there are between them: along a diagonal, where f moves √d times as fast, this
        product is all there is. Measured for E σ(a·z) in 2, 3 and 5 dimensions, levels 3 to 10: errors up to 0.4 of the estimate
        where it resolves f (`expect_resolved`), up to 3e9 times the estimate at max|a_i| = 6.
        """
        points, weights = _hermite(1 + (self.level - 1) // self.dim)
        return np.sqrt(self.dim) * Rule(points[:, None], weights, weights[None]).gap


@dataclass(frozen=True, eq=False)
class Replicated:
    """r independent unbiased estimates of E g(z), each a plain average over j points: points (r j d)."""

    points: np.ndarray

    def __post_init__(self):
        points = as_own_array("points", self.points, "r j d")
        if len(points) < 2 or points.shape[1] < 1:
            raise ValueError(f"points: expected at least two replicates, which an error estimate needs, got shape {points.shape}")
        object.__setattr__(self, "points", points)

    gap = 0.0  # random points fall everywhere in the end, and their standard error says how seldom

    @property
    def dim(self) -> int:
        """d."""
        return self.points.shape[2]

    def integrate(self, g: Callable[[np.ndarray], np.ndarray]) -> Integral:
        """The mean of the replicates, and its standard error √(s²/r) with s² divided by r − 1, Eq. (replicates)."""
        count, each, dim = self.points.shape
        values = _values(g, self.points.reshape(-1, dim))
        estimates = values.reshape(count, each, *values.shape[1:]).mean(1)
        return Integral(estimates.mean(0), estimates.std(0, ddof=1) / np.sqrt(count))


def gauss_hermite(dim: int, num_points: int) -> Rule:
    """The product of Gauss-Hermite rules with `num_points` points a dimension, exact for polynomials of degree 2·num_points − 1.

    Coarser rules: n − 1, 2n/3 and n/2 points. Raises ValueError for fewer than 4 points or more than 2²¹ in all.
    """
    dim, num_points = as_count("dim", dim), as_count("num_points", num_points, 4)
    sizes = (num_points, num_points - 1, 2 * num_points // 3, num_points // 2)
    _refuse_too_many(sum(float(n) ** dim for n in sizes))
    rules = [_product(*_hermite(n), dim) for n in sizes]
    points = np.concatenate([points for points, _ in rules])
    starts = np.cumsum([0, *[len(points) for points, _ in rules]])
    spread = np.zeros((len(sizes), len(points)))
    for row, start, (_, weights) in zip(spread, starts, rules):
        row[start:start + len(weights)] = weights
    return Rule(points, spread[0], spread[1:])


def smolyak(dim: int, level: int) -> Sparse:
    """The sparse product of Gauss-Hermite rules with 1 to `level` points, Eq. (smolyak) (Smolyak 1963).

    Σ_i (−1)^(q − |i|) C(d − 1, q − |i|) ⊗_k H(i_k) over q − d < |i| <= q = d + level − 1, where H(n) has n points: exact for
    polynomials of total degree 2·level − 1. Far fewer points than the product in many dimensions, but weights of both signs: the
    estimate of a positive expectation can be negative, and a function that grows fast or is steep (Sparse.gap) needs a high
    level. Coarser rules: level − 1 and level − 2. Raises ValueError for a level below 3 or more than 2²¹ points.
    """
    dim, level = as_count("dim", dim), as_count("level", level, 3)
    rules = [_sparse(dim, at) for at in (level, level - 1, level - 2)]
    points, place = np.unique(np.concatenate([points for points, _ in rules]), axis=0, return_inverse=True)
    spread, start = np.zeros((len(rules), len(points))), 0
    for row, (own, weights) in zip(spread, rules):
        np.add.at(row, place.reshape(-1)[start:start + len(own)], weights)
        start += len(own)
    return Sparse(points, spread[0], spread[1:], level)


def trapezoid(dim: int, num_points: int) -> Rule:
    """The product of trapezoidal rules with an odd `num_points` on [−8.6, 8.6], Eq. (trapezoid-rule); narrower below 25 points.

    For bounded functions that are analytic in a strip the error falls geometrically (Trefethen and Weideman 2014), for the
    steep functions of wide Gaussians much sooner than that of Gauss-Hermite. Coarser rules: every second point, every third, and
    the inner nine tenths. Raises ValueError for an even number, fewer than 13 points or more than 2²¹ in all.
    """
    dim, num_points = as_count("dim", dim), as_count("num_points", num_points, 13)
    if num_points % 2 == 0:
        raise ValueError(f"num_points: expected an odd number, got {num_points}")
    _refuse_too_many(float(num_points) ** dim)
    end = min(_END, np.sqrt(np.pi * (num_points - 1)))
    index = np.arange(num_points) - num_points // 2
    z = index * (2 * end / (num_points - 1))
    density = np.exp(-0.5 * z**2)
    kept = (True, index % 2 == 0, index % 3 == 0, np.abs(z) < 0.9 * end)
    rules = [_product(z, density * keep / (density * keep).sum(), dim) for keep in kept]
    return Rule(rules[0][0], rules[0][1], np.array([weights for _, weights in rules[1:]]))


def sobol(dim: int, num_points: int, num_replicates: int, rng: np.random.Generator) -> Replicated:
    """`num_replicates` independent scramblings of 2ᵐ = `num_points` Sobol points (Owen 1997), mapped to normals by Φ⁻¹.

    Raises ValueError unless num_points is a power of two and there are at least two replicates.
    """
    from scipy.stats import qmc  # heavy: loaded only when asked for

    dim, num_points = as_count("dim", dim), as_count("num_points", num_points)
    expect_methods("rng", rng, "standard_normal", "spawn")
    if num_points & (num_points - 1):
        raise ValueError(f"num_points: expected a power of two, which the balance of Sobol points needs, got {num_points}")
    num_replicates = as_count("num_replicates", num_replicates, 2)
    uniforms = [qmc.Sobol(dim, bits=_BITS, seed=rng).random(num_points) for _ in range(num_replicates)]
    return Replicated(ndtri(np.array(uniforms) + 0.5**(_BITS + 1)))


def draws(normals: np.ndarray) -> Replicated:
    """Plain Monte Carlo with given standard normals (t d)."""
    return Replicated(as_array("normals", normals, "t d")[:, None])


def expect_resolved(rule: Rule | Replicated, reach: float) -> None:
    """Raise ValueError unless f, which moves by at most `reach` while z moves by one, moves by at most BUMP between points.

    For integrands that change where |f| is a few units, as the probability, the noise and the entropy of a label do: a rule with
    wider gaps can miss that altogether, its coarser rules as well, and then estimates an error of nothing. Measured for noise and
    entropy, ten rules and standard deviations from 0.3 to 300: errors up to half the estimate at gaps up to 5, 1.7 times at 8,
    any beyond. For σ itself, 25 rules and means up to ten standard deviations away: up to 0.42 of the estimate at gaps up to 4.
    """
    if rule.gap * reach > BUMP:
        enough = max(13, 2 * int(np.ceil(_END * reach / BUMP)) + 3)
        raise ValueError(
            f"rule: expected points at most {BUMP / reach:.3g} apart for outputs with a standard deviation of {reach:.3g}, got "
            f"gaps of {rule.gap:.3g}; take trapezoid with {enough} points an axis, or sobol"
        )


def _values(g: Callable[[np.ndarray], np.ndarray], points: np.ndarray) -> np.ndarray:
    values = np.asarray(g(points), dtype=float)
    if values.shape[:1] != points.shape[:1]:
        raise ValueError(f"g: expected one value for each of {len(points)} points, got shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError("g: expected finite values, got NaN or infinity at a point of the rule")
    return values


def _hermite(num_points: int) -> tuple[np.ndarray, np.ndarray]:
    points, weights = roots_hermitenorm(num_points)
    return points, weights / weights.sum()


def _product(points: np.ndarray, weights: np.ndarray, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """The product rule: points (jᵈ d) and weights (jᵈ)."""
    return _grid([points] * dim), np.prod(_grid([weights] * dim), axis=-1)


def _sparse(dim: int, level: int) -> tuple[np.ndarray, np.ndarray]:
    """One Smolyak rule; points that its products share stand in it several times."""
    _refuse_too_many(float(comb(level - 1 + dim, dim)))  # that many products, each of a point at least
    hermite, sizes = {n: _hermite(n) for n in range(1, level + 1)}, list(_compositions(dim, level - 1))
    _refuse_too_many(sum(float(np.prod(np.add(excess, 1.0))) for excess in sizes))
    points, weights = [], []
    for excess in sizes:
        missing = level - 1 - sum(excess)
        factors = [hermite[n + 1] for n in excess]
        points.append(_grid([z for z, _ in factors]))
        weights.append((-1) ** missing * comb(dim - 1, missing) * np.prod(_grid([w for _, w in factors]), axis=-1))
    return np.concatenate(points), np.concatenate(weights)


def _compositions(dim: int, total: int) -> Iterator[tuple[int, ...]]:
    """Every (i_1, ..., i_d) of integers from 0 with total − d < Σ i <= total."""
    def extend(head, left):
        if len(head) == dim:
            if left < dim:
                yield head
            return
        for n in range(left + 1):
            yield from extend((*head, n), left - n)

    return extend((), total)


def _grid(axes: list[np.ndarray]) -> np.ndarray:
    """Every combination of entries of the axes: (j d)."""
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))


def _refuse_too_many(size: float) -> None:
    if size > LARGEST:
        raise ValueError(f"num_points: expected a product of at most {LARGEST} points, got {size:.3g}; take sobol instead")
