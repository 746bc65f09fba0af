"""The maximum of the Laplace evidence over hyper-parameters, by its total gradient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from refbnn.hyper.arrays import Hyper
from refbnn.hyper.family import Family
from refbnn.hyper.curvatures import Curvature
from refbnn.hyper.point import Evidence, at
from refbnn.shapes import Vector, as_array, as_positive


@dataclass(frozen=True)
class Maximum:
    """Where the search ended: `converged` says that ‖total gradient‖ fell below the tolerance, in nats per unit of log.

    A precision that is better the larger it is (a group that the data do not need) also ends there, at a large value.
    """

    point: Evidence
    gradient_norm: float
    converged: bool
    num_evaluations: int


def maximize(family: Family, curvature: Curvature, eta: Hyper, start: Vector, tolerance: float = 1e-6) -> Maximum:
    """Quasi-Newton steps (BFGS) on E(η) from η with its total gradient; every mode starts from the one before.

    The maximum is a local one, along one branch of modes. Raises NotAMode where the branch ends.
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
    norm = float(np.linalg.norm(point.total_gradient + more(point.eta)[1]))
    return Maximum(point, norm, norm < tolerance, len(points) - 1)
