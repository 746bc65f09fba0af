"""Parameters near a mode, rounded to k/256: damped Gauss-Newton steps (Levenberg 1944, Marquardt 1963) from the drawn θ."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import flint

from .certify import as_fraction
from .closed import Answers, Closed, ldl
from .fields import Interval
from .integers import UNIT, Integers
from .question import Question

FIELD = Interval(128)
STEPS, KICKS = 30, 8


def near_mode(question: Question) -> Question:
    """The question with θ moved towards a maximum of log p(y, θ), where −∇² log p is positive definite.

    Gauss-Newton steps cannot leave a saddle, so from there θ is kicked aside and climbs again. The midpoints of Arb balls
    take the part of floats, so that the path is the same on every machine.
    """
    with FIELD.working():
        lifted = question.lifted(FIELD)
        for kick in range(KICKS):
            lifted = climbed(lifted)
            rounded = replace(question, theta=[Fraction(_at_least_one(v), UNIT) for v in lifted.theta])
            if _is_convex(rounded.lifted(FIELD)):
                return rounded
            aside = Integers(f"kick/{kick}").vector(question.num_params, Fraction(1, 2))
            lifted = replace(lifted, theta=[v + FIELD.number(k) for v, k in zip(lifted.theta, aside)])
    raise ArithmeticError("no mode was found: choose other inputs")


def climbed(lifted: Question) -> Question:
    """Up log p(y, θ): a step is kept if it gains, and damped more if it does not."""
    damping, answers = FIELD.number(1), Answers(Closed(lifted, FIELD))
    best = answers.log_joint().mid()
    for _ in range(STEPS):
        moved = replace(lifted, theta=_step(lifted, answers, damping))
        after = Answers(Closed(moved, FIELD))
        value = after.log_joint().mid()
        if value > best:
            lifted, answers, best, damping = moved, after, value, damping / 8
        else:
            damping = damping * 8
    return lifted


def _at_least_one(value: flint.arb) -> int:
    """The nearest multiple of 1/256 that is not zero, in units of 1/256."""
    return round(as_fraction(value) * UNIT) or 1


def _is_convex(lifted: Question) -> bool:
    """The pivots of H + P₀ are positive."""
    H = Answers(Closed(lifted, FIELD)).H
    pivots = ldl([[a + b for a, b in zip(*rows)] for rows in zip(H, lifted.prior_precision)], FIELD.number(0))[1]
    return all(pivot > 0 for pivot in pivots)


def _step(q: Question, answers: Answers, damping: flint.arb) -> list:
    """θ − (G + P₀ + damping)⁻¹ (∇loss + P₀ (θ − μ))."""
    p, zero = range(q.num_params), FIELD.number(0)
    d = [a - b for a, b in zip(q.theta, q.prior_mean)]
    gradients = [answers.gradient(J, r) for J, r in zip(answers.J, answers.r)]
    slope = [sum((g[i] for g in gradients), sum((q.prior_precision[i][j] * d[j] for j in p), zero)) for i in p]
    matrix = [[answers.G[i][j] + q.prior_precision[i][j] + (damping if i == j else 0) for j in p] for i in p]
    move = flint.arb_mat(matrix).solve(flint.arb_mat([[s] for s in slope]))
    return [(a - move[i, 0]).mid() for i, a in enumerate(q.theta)]
