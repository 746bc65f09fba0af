"""Parameters near a mode, rounded to k/256: damped Gauss-Newton steps (Levenberg 1944, Marquardt 1963) from the drawn θ."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import flint

from .certify import as_fraction
from .closed import Answers, Closed
from .fields import Interval
from .integers import UNIT
from .question import Question

FIELD = Interval(128)
STEPS = 30


def near_mode(question: Question) -> Question:
    """The question with θ moved towards a maximum of log p(y, θ). A zero after rounding becomes 1/256.

    The midpoints of Arb balls take the part of floats, so that the path is the same on every machine.
    """
    with FIELD.working():
        lifted, damping = question.lifted(FIELD), FIELD.number(1)
        answers = Answers(Closed(lifted, FIELD))
        best = answers.log_joint().mid()
        for _ in range(STEPS):
            moved = replace(lifted, theta=_step(lifted, answers, damping))
            after = Answers(Closed(moved, FIELD))
            value = after.log_joint().mid()
            if value > best:
                lifted, answers, best, damping = moved, after, value, damping / 8
            else:
                damping = damping * 8
        rounded = [round(as_fraction(v) * UNIT) or 1 for v in lifted.theta]
    return replace(question, theta=[Fraction(v, UNIT) for v in rounded])


def _step(q: Question, answers: Answers, damping: flint.arb) -> list:
    """θ − (G + P₀ + damping)⁻¹ (∇loss + P₀ (θ − μ))."""
    p = range(q.num_params)
    d = [a - b for a, b in zip(q.theta, q.prior_mean)]
    slope = [sum((g[i] for g in map(answers.gradient, answers.J, answers.r)), FIELD.number(0))
             + sum((q.prior_precision[i][j] * d[j] for j in p), FIELD.number(0)) for i in p]
    matrix = [[answers.G[i][j] + q.prior_precision[i][j] + (damping if i == j else 0) for j in p] for i in p]
    move = flint.arb_mat(matrix).solve(flint.arb_mat([[s] for s in slope]))
    return [(a - move[i, 0]).mid() for i, a in enumerate(q.theta)]
