"""The maximum of the Laplace evidence over hyper-parameters, by its total gradient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from refbnn.hyper.arrays import Hyper
from refbnn.hyper.family import Family
from refbnn.hyper.curvatures import Curvature
from refbnn.hyper.point import Evidence, at
from refbnn.linalg import symmetric_part
from refbnn.shapes import Vector, as_array, as_positive

DIFFERENCE = 1e-3  # of η, for the second derivative
FLAT = 1e-8  # nats per squared unit of log: below it a second derivative is not told from none
SETTLED = 0.1  # units of log: a longer Newton step says that the optimum is elsewhere


@dataclass(frozen=True)
class Maximum:
    """Where the search ended: `gradient_norm` is ‖total gradient‖ in nats per unit of log, `newton_step` (h) is in units of log.

    `converged` says that the gradient norm fell below the tolerance and that ‖newton_step‖ < 0.1. The first alone proves nothing:
    an optimum at infinity, such as the precision of a group that the data do not need or a temperature without a prior, is
    approached as E ≈ E_∞ − c/λ, whose gradient c e^(−η) also vanishes. There −∂²E/∂η² = c e^(−η) too, and the Newton step is one
    unit of log however far the search has gone; the entries of `newton_step` show which hyper-parameters run off.
    """

    point: Evidence
    gradient_norm: float
    negative_second_derivative: np.ndarray
    newton_step: Hyper
    converged: bool
    num_evaluations: int


def maximize(family: Family, curvature: Curvature, eta: Hyper, start: Vector, tolerance: float = 1e-6) -> Maximum:
    """Quasi-Newton steps (BFGS) on E(η) from η with its total gradient; every mode starts from the one before.

    The maximum is a local one, along one branch of modes. An optimum at infinity is not `converged`. Raises NotAMode where the
    branch ends.
    """
    return ascend(lambda eta, theta: at(family, curvature, eta, theta), no_more, eta, start, tolerance)


def no_more(eta: Hyper) -> tuple[float, Hyper]:
    """Nothing added to the log evidence: 0 and its gradient."""
    return 0.0, np.zeros(len(eta))


def ascend(
    evidence_at: Callable[[Hyper, Vector], Evidence],
    more: Callable[[Hyper], tuple[float, Hyper]],
    eta: Hyper,
    start: Vector,
    tolerance: float,
) -> Maximum:
    """The maximum of E(η) + more(η), `more` giving a value and a gradient, such as those of a prior over η."""
    from scipy.optimize import minimize  # here, not above: it is slow to import

    points = [evidence_at(as_array("eta", eta, "h"), start)]

    def negative(eta):
        points.append(evidence_at(eta, points[-1].theta))
        value, gradient = more(eta)
        return -points[-1].log_evidence - value, -points[-1].total_gradient - gradient

    found = minimize(negative, points[0].eta, jac=True, method="BFGS", options={"gtol": as_positive("tolerance", tolerance)})
    point = next(point for point in reversed(points) if np.array_equal(point.eta, found.x))
    gradient, curvature = point.total_gradient + more(point.eta)[1], _negative_second_derivative(point, evidence_at, more)
    norm, step = float(np.linalg.norm(gradient)), _newton_step(gradient, curvature)
    converged = norm < tolerance and bool(np.linalg.norm(step) < SETTLED)
    return Maximum(point, norm, curvature, step, converged, len(points) - 1)


def _negative_second_derivative(point: Evidence, evidence_at: Callable, more: Callable) -> np.ndarray:
    """−∂²(E + more)/∂η² by central differences of the total gradient: (h h)."""
    def gradient(eta):
        return evidence_at(eta, point.theta).total_gradient + more(eta)[1]

    steps = DIFFERENCE * np.eye(len(point.eta))
    rows = [gradient(point.eta - step) - gradient(point.eta + step) for step in steps]
    return symmetric_part(np.array(rows) / (2 * DIFFERENCE))


def _newton_step(gradient: Hyper, curvature: np.ndarray) -> Hyper:
    """Newton's step, of at most one unit along each principal axis, and of a whole one where the function is flat or turns up."""
    along, axes = np.linalg.eigh(curvature)
    slopes = axes.T @ gradient
    lengths = np.minimum(np.abs(slopes) / np.maximum(along, FLAT), 1.0)
    return axes @ np.copysign(np.where(along > FLAT, lengths, 1.0), slopes)
