"""The Gaussians that maximise the evidence lower bound: their means, covariances and bounds, with the expectations exact.

With θ = m + C z, C lower triangular (or diagonal) and U = −log p(y, θ) the bound is stationary where

    Cᵀ E[∇U] = 0   and   Cᵀ E[∇²U] C = 1   (on the diagonal alone, where parameters are independent).

Route A has these two from values alone, E[U z] and E[U (z zᵀ − 1)] (Stein), by the trapezoidal rule. Route B has them from first
derivatives, Cᵀ E[∇U] and Cᵀ E[∇U zᵀ], by Gauss-Hermite. For networks without hidden layer and one target an output, whose outputs
are normal variables, the rules have one dimension: route A has E[ℓ z] and E[ℓ (z² − 1)], route B E[ℓ′] and E[ℓ″]. Each is solved
by itself, until nothing moves: from starts by damped steps of the learning rule on a coarse rule, then by Newton's method with
the matrix of that rule. For networks without hidden layer and concave log p(y | f) the bound is concave in m and C (Challis &
Barber 2013): one optimum. Elsewhere it is the highest of those that several starts lead to.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Callable

import flint

from .closed import Answers, Closed, ldl
from .derive import Derivation
from .exact_posteriors import closed_density, defined_density
from .fields import Interval
from .jets import Jet
from .question import PAIRED, Question

FULL, MEAN_FIELD = "vi.optimum.", "vi.optimum.meanfield."
DIGITS, MOST = 28, 16           # of the equations, and corrections until they hold to these
DAMPED, ROUNDS = 2, 40          # denominator of the step, and number of steps, of the learning rule
REACH, COARSE_REACH = 12, 6     # standard deviations of the rules: beyond are 10⁻³¹ and 10⁻⁸
COARSE_STEP = 2                 # nodes a standard deviation
STEPS, HERMITE = {1: 16, 2: 5}, {1: 600, 2: 160}        # the same, and degree, by the number of directions
Matrix = list[list[Any]]
Rule = list[tuple[list, Any]]
Expectations = Callable[[list, Matrix], tuple[Any, list, Matrix]]     # E U, Cᵀ E[∇U], Cᵀ E[∇²U] C at (m, C)


@dataclass(frozen=True)
class Optimum:
    """The mean, C and the bound, and what is left of the equations."""

    mean: list
    scale: Matrix
    bound: Any
    residual: Any

    def values(self, prefix: str) -> dict[str, list]:
        """As in a case: a packed covariance, or variances."""
        p = range(len(self.mean))
        covariance = [sum(self.scale[i][k] * self.scale[j][k] for k in range(j + 1)) for i in p for j in range(i + 1)]
        spread = {"covariance": covariance} if prefix == FULL else {"variance": [self.scale[i][i] ** 2 for i in p]}
        return {prefix + name: value for name, value in ({"mean": self.mean} | spread | {"elbo": [self.bound]}).items()}


# -- rules for standard normals ---------------------------------------------------------------------------------------

@lru_cache(maxsize=None)
def trapezoid(dim: int, reach: int = REACH, steps: int = 0) -> Rule:
    """Nodes within a ball, of equal distance."""
    steps = steps or STEPS[dim]
    line = [(flint.arb(j) / steps, (-(flint.arb(j) / steps) ** 2 / 2).exp()) for j in range(-reach * steps, reach * steps + 1)]
    return _product([[(z.mid(), w.mid()) for z, w in line]] * dim, reach)


@lru_cache(maxsize=None)
def gauss_hermite(dim: int, reach: int = REACH + 1) -> Rule:
    """The nodes of that Gauss rule within a ball; roots of He_n by Newton's method from changes of sign."""
    line, last, scan, count = [], None, 40, HERMITE[dim]
    for j in range(-reach * scan, reach * scan + 1):
        z = flint.arb(2 * j + 1) / (2 * scan)
        sign = _hermite(count, z)[1] > 0
        if last is not None and sign != last:
            line.append(_root(count, z - flint.arb(1) / (2 * scan)))
        last = sign
    return _product([line] * dim, reach)


def _hermite(n: int, z: Any) -> tuple[Any, Any]:
    """Orthonormal polynomials of degree n − 1 and n."""
    before, now = flint.arb(0), flint.arb(1)
    for k in range(n):
        before, now = now, ((z * now - flint.arb(k).sqrt() * before) / flint.arb(k + 1).sqrt()).mid()
    return before, now


def _root(n: int, z: Any) -> tuple[Any, Any]:
    """(root, weight 1/(n p²)), p of degree n − 1; the derivative of the polynomial is √n p."""
    for _ in range(9):
        before, now = _hermite(n, z)
        z = (z - now / (flint.arb(n).sqrt() * before)).mid()
    return z, (1 / (n * _hermite(n, z)[0] ** 2)).mid()


def _product(lines: list[list], reach: int) -> Rule:
    """Of the rules in every direction, with weights that sum to 1."""
    nodes: Rule = [([], flint.arb(1))]
    for line in lines:
        nodes = [(z + [x], w * v) for z, w in nodes for x, v in line]
    kept = [(z, w) for z, w in nodes if sum(x * x for x in z) <= reach * reach]
    total = sum(w for _, w in kept)
    return [(z, (w / total).mid()) for z, w in kept]


# -- the expectations ---------------------------------------------------------------------------------------------------

def from_values(log_density: Callable[[list], tuple], rule: Rule) -> Expectations:
    """By Stein's lemma, over parameters."""
    def expectations(mean: list, C: Matrix) -> tuple[Any, list, Matrix]:
        p, zero = range(len(mean)), flint.arb(0)
        value, first, second = zero, [zero] * len(mean), [[zero] * len(mean) for _ in p]
        for z, w in rule:
            share = -w * log_density(_at(mean, C, z))[0].mid()
            value = value + share
            for i in p:
                first[i] = first[i] + share * z[i]
                for j in range(i + 1):
                    second[i][j] = second[i][j] + share * (z[i] * z[j] - int(i == j))
        return value, first, second
    return expectations


def from_slopes(energy: Callable[[list], tuple[Any, list]], rule: Rule) -> Expectations:
    """From U and ∇U, over parameters."""
    def expectations(mean: list, C: Matrix) -> tuple[Any, list, Matrix]:
        p, zero = range(len(mean)), flint.arb(0)
        value, first, cross = zero, [zero] * len(mean), [[zero] * len(mean) for _ in p]
        for z, w in rule:
            U, slope = energy(_at(mean, C, z))
            value = value + w * U.mid()
            for i in p:
                share = w * slope[i].mid()
                first[i] = first[i] + share
                for j in p:
                    cross[i][j] = cross[i][j] + share * z[j]
        back = [[sum((C[k][i] * cross[k][j] for k in p), zero) for j in range(i + 1)] + [zero] * (len(mean) - i - 1) for i in p]
        return value, [sum((C[k][i] * first[k] for k in p), zero) for i in p], back
    return expectations


def _at(mean: list, C: Matrix, z: list) -> list:
    return [m + sum(C[i][j] * z[j] for j in range(i + 1)) for i, m in enumerate(mean)]


def over_outputs(answers: Answers, of_output: Callable) -> Expectations:
    """For networks without hidden layer, whose outputs are normal; of_output(f, deviation, datum, output): E ℓ, E ℓ′, E ℓ″."""
    q, zero = answers.q, answers.zero
    p, P0 = range(q.num_params), q.prior_precision
    log, two_pi = answers.c.field.log, 2 * answers.c.field.pi()
    constant = sum((log(d / two_pi) for d in ldl(P0, zero)[1]), zero) / 2

    def expectations(mean: list, C: Matrix) -> tuple[Any, list, Matrix]:
        shift = [a - b for a, b in zip(mean, q.prior_mean)]
        pull = [sum((a * b for a, b in zip(row, shift)), zero) for row in P0]
        PC = [[sum((P0[i][k] * C[k][j] for k in p), zero) for j in p] for i in p]
        first = [sum((C[k][i] * pull[k] for k in p), zero) for i in p]
        second = [[sum((C[k][i] * PC[k][j] for k in p), zero) for j in p] for i in p]
        value = (sum((a * b for a, b in zip(shift, pull)), zero) + sum((second[i][i] for i in p), zero)) / 2 - constant
        for n, J in enumerate(answers.J):
            for k, row in enumerate(J):
                f = sum((a * b for a, b in zip(row, mean)), zero)
                along = [sum((row[i] * C[i][j] for i in p), zero) for j in p]
                loss, slope, bend = of_output(f.mid(), sum((a * a for a in along), zero).sqrt().mid(), n, k)
                value = value + loss
                for i in p:
                    first[i] = first[i] + slope * along[i]
                    for j in range(i + 1):
                        second[i][j] = second[i][j] + bend * along[i] * along[j]
        return value, first, second
    return expectations


def output_from_values(derivation: Derivation, rule: Rule) -> Callable:
    """E ℓ, E[ℓ z]/w and E[ℓ (z² − 1)]/w² for f + w z."""
    family, q = derivation.family, derivation.q

    def of_output(f: Any, width: Any, n: int, k: int) -> tuple:
        terms = [(z[0], w * family.loss([Jet(f + width * z[0])], [q.y[n][k]]).value.mid()) for z, w in rule]
        constant = family.constant([q.y[n][k]])
        return (sum(t for _, t in terms) + constant, sum(t * z for z, t in terms) / width,
                sum(t * (z * z - 1) for z, t in terms) / (width * width))
    return of_output


def output_from_slopes(answers: Answers, rule: Rule) -> Callable:
    """The same from ℓ, ℓ′ and ℓ″ in closed form."""
    form, y = answers.c.form, answers.q.y

    def of_output(f: Any, width: Any, n: int, k: int) -> tuple:
        at = [(f + width * z[0], w) for z, w in rule]
        return (sum(w * form.loss([a], [y[n][k]]).mid() for a, w in at), sum(w * form.first(a, y[n][k]).mid() for a, w in at),
                sum(w * form.second(a, y[n][k]).mid() for a, w in at))
    return of_output


# -- solving ------------------------------------------------------------------------------------------------------------

def places(p: int, prefix: str) -> list[tuple[int, int]]:
    """The free entries of C."""
    return [(i, j) for i in range(p) for j in range(i + 1) if prefix == FULL or i == j]


def residual(expectations: Expectations, prefix: str, mean: list, C: Matrix) -> list:
    """What is left of the two equations."""
    return _left(prefix, *expectations(mean, C)[1:])


def _left(prefix: str, first: list, second: Matrix) -> list:
    return first + [second[i][j] - int(i == j) for i, j in places(len(first), prefix)]


def ascended(expectations: Expectations, prefix: str, mean: list, C: Matrix) -> tuple[list, Matrix]:
    """Damped steps of the learning rule; a step that leaves the positive definite matrices is halved."""
    p = range(len(mean))
    for _ in range(ROUNDS):
        _, first, second = expectations(mean, C)
        rho = flint.arb(1) / DAMPED
        inverse = flint.arb_mat(C).inv().tolist()
        while True:         # in the coordinates z, where the precision is 1
            P = [[rho * second[max(i, j)][min(i, j)] + (1 - rho if i == j else 0) if prefix == FULL or i == j
                  else flint.arb(0) for j in p] for i in p]
            if all(d > 0 for d in _pivots(P)):
                break
            rho = rho / 2
        step = flint.arb_mat(P).solve(flint.arb_mat([[v] for v in first])).entries()
        mean = [(m - rho * sum(C[i][j] * step[j] for j in p)).mid() for i, m in enumerate(mean)]
        precision = flint.arb_mat(inverse).transpose() * flint.arb_mat(P) * flint.arb_mat(inverse)
        C = root(precision.inv().tolist())
    return mean, C


def _pivots(P: Matrix) -> list:
    try:
        return ldl(P, flint.arb(0))[1]
    except ZeroDivisionError:
        return [flint.arb(-1)]


def root(S: Matrix) -> Matrix:
    """The lower triangular C with C Cᵀ = S."""
    L, D = ldl(S, flint.arb(0))
    return [[(L[i][j] * D[j].sqrt()).mid() if j <= i else flint.arb(0) for j in range(len(D))] for i in range(len(D))]


def slopes_at(expectations: Expectations, prefix: str, mean: list, C: Matrix) -> Any:
    """The matrix of the derivatives of the equations, by forward differences in many more digits than it needs."""
    h, phi, columns = flint.arb(2) ** -40, flat(prefix, mean, C), []
    base = residual(expectations, prefix, mean, C)
    for i in range(len(phi)):
        moved = residual(expectations, prefix, *unflat(prefix, len(mean), [v + h if i == j else v for j, v in enumerate(phi)]))
        columns.append([((a - b) / h).mid() for a, b in zip(moved, base)])
    return flint.arb_mat(columns).transpose()


def flat(prefix: str, mean: list, C: Matrix) -> list:
    return list(mean) + [C[i][j] for i, j in places(len(mean), prefix)]


def unflat(prefix: str, p: int, phi: list) -> tuple[list, Matrix]:
    C = [[flint.arb(0)] * p for _ in range(p)]
    for (i, j), value in zip(places(p, prefix), phi[p:]):
        C[i][j] = value
    return list(phi[:p]), C


def refined(fine: Expectations, coarse: Expectations, prefix: str, mean: list, C: Matrix) -> Optimum:
    """Newton's method on the fine rule with the matrix of the coarse one."""
    p, phi = len(mean), flat(prefix, mean, C)
    for _ in range(6):      # on the coarse rule to its end
        slopes = slopes_at(coarse, prefix, *unflat(prefix, p, phi))
        phi = _corrected(slopes, phi, residual(coarse, prefix, *unflat(prefix, p, phi)))
    for _ in range(MOST):
        energy, first, second = fine(*unflat(prefix, p, phi))
        left = _left(prefix, first, second)
        size = _largest(left)
        if size < flint.arb(10) ** -DIGITS:
            break
        phi = _corrected(slopes, phi, left)
    else:
        raise ArithmeticError(f"{prefix}: the equations are left with {float(size):.1e}")
    mean, C = unflat(prefix, p, phi)
    logs = sum((C[i][i].log() for i in range(p)), flint.arb(0))
    bound = logs + (1 + (2 * flint.arb.pi()).log()) * p / 2 - energy
    return Optimum(mean, C, bound, size)


def _corrected(slopes: Any, phi: list, left: list) -> list:
    step = slopes.solve(flint.arb_mat([[v] for v in left])).entries()
    return [(a - b).mid() for a, b in zip(phi, step)]


def _largest(values: list) -> Any:
    return max((abs(v).mid() for v in values), key=float)


# -- of a question --------------------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Routes:
    """Expectations of one question by two routes, on a fine rule and on a coarse one; in the field that is at work."""

    question: Question
    field: Interval

    @property
    def dim(self) -> int:
        return self.question.num_params

    @property
    def has_hidden_layer(self) -> bool:
        return len(self.question.sizes) > 2

    @property
    def by_output(self) -> bool:
        """Whether every output is a normal variable by itself."""
        alone = self.question.likelihood not in ("categorical", "normal_full", *PAIRED)
        return not self.has_hidden_layer and alone

    def first(self, rule: Callable[[int], Rule]) -> Expectations:
        derivation = Derivation(self.question, self.field)
        if self.by_output:
            return over_outputs(self.answers(), output_from_values(derivation, rule(1)))
        return from_values(defined_density(derivation), rule(self.dim))

    def second(self, rule: Callable[[int], Rule]) -> Expectations:
        if self.by_output:
            return over_outputs(self.answers(), output_from_slopes(self.answers(), rule(1)))
        return from_slopes(self.energy(), rule(self.dim))

    def answers(self) -> Answers:
        return Answers(Closed(self.question.lifted(self.field), self.field))

    def energy(self) -> Callable[[list], tuple[Any, list]]:
        """U and ∇U in closed form."""
        answers = self.answers()
        density, q = closed_density(answers), answers.q

        def at(theta: list) -> tuple[Any, list]:
            d = [a - b for a, b in zip(theta, q.prior_mean)]
            pull = [sum((a * b for a, b in zip(row, d)), answers.zero) for row in q.prior_precision]
            return -density(theta)[0], [a + b for a, b in zip(answers.slope_at(theta), pull)]
        return at

    def starts(self) -> list[tuple[list, Matrix]]:
        """Means at the prior's, and for networks also a standard deviation away from it in every direction."""
        q, p = self.question.lifted(self.field), range(self.dim)
        width = [(1 / q.prior_precision[i][i]).sqrt().mid() for i in p]
        C = [[width[i] / 2 if i == j else flint.arb(0) for j in p] for i in p]
        corners = [[]]
        for m, w in zip(q.prior_mean, width):
            corners = [c + [m + s * w] for c in corners for s in ((-1, 1) if self.has_hidden_layer else (0,))]
        return [([v.mid() for v in corner], C) for corner in corners]


COARSE = partial(trapezoid, reach=COARSE_REACH, steps=COARSE_STEP)


def optima(question: Question, field: Interval, prefix: str) -> tuple[Optimum, Optimum]:
    """By both routes."""
    routes = Routes(question, field)
    rough, coarse = routes.second(partial(trapezoid, reach=5, steps=1)), routes.second(COARSE)
    found = [ascended(rough, prefix, *start) for start in routes.starts()]
    mean, C = max(found, key=lambda one: float(_bound(coarse, *one)))
    return (refined(routes.first(trapezoid), coarse, prefix, mean, C),
            refined(routes.second(gauss_hermite), coarse, prefix, mean, C))


def _bound(expectations: Expectations, mean: list, C: Matrix) -> Any:
    return sum((C[i][i].log() for i in range(len(mean))), flint.arb(0)) - expectations(mean, C)[0]


# -- how much an optimum moves ----------------------------------------------------------------------------------------------

def changes(base: Expectations, turned: Expectations, slopes: Any, prefix: str, mean: list, C: Matrix) -> dict[str, list]:
    """By how much the optimum moves to first order when the expectations do: the equations, solved for m and C.

    The bound moves as if m and C did not.
    """
    p = range(len(mean))
    before, after = (residual(one, prefix, mean, C) for one in (base, turned))
    step = slopes.solve(flint.arb_mat([[b - a] for a, b in zip(before, after)])).entries()
    move, dC = unflat(prefix, len(mean), step)
    spread = [sum(dC[i][k] * C[j][k] + C[i][k] * dC[j][k] for k in p)
              for i in p for j in range(i + 1) if prefix == FULL or i == j]
    bound = _bound(turned, mean, C) - _bound(base, mean, C)
    return {prefix + "mean": move, prefix + ("covariance" if prefix == FULL else "variance"): spread, prefix + "elbo": [bound]}
