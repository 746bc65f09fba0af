"""The online scheme: steps in θ and steps in η in turn, no mode in between (Immer, Bauer, Fortuin, Rätsch and Khan 2021)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from refbnn.hyper.arrays import Hyper
from refbnn.hyper.family import Family
from refbnn.hyper.curvatures import Curvature
from refbnn.hyper.point import Evidence
from refbnn.precision import Dense
from refbnn.shapes import Vector, as_count

SUFFICIENT = 1e-4  # of the linear prediction of an increase (Armijo 1966)
HALVINGS = 40


@dataclass(frozen=True)
class Online:
    """The points after every round, and the two gradient norms at the last: of log p(y, θ|η) in θ, of F in η with θ frozen."""

    points: list[Evidence]
    theta_gradient_norm: float
    direct_gradient_norm: float


def online(
    family: Family, curvature: Curvature, eta: Hyper, theta: Vector, num_rounds: int, theta_steps: int = 1, eta_steps: int = 1
) -> Online:
    """Rounds of `theta_steps` Gauss-Newton steps up log p(y, θ|η) and `eta_steps` gradient steps up F(θ, ·), Eq. (online-blocks).

    Step sizes are found by backtracking. The blocks go up two functions: the θ steps do not see log |C + P₀|. The scheme is
    block-coordinate ascent of F where C does not depend on θ (a linear model with Normal noise), and elsewhere it comes to rest
    where the direct gradient vanishes, as MacKay's rule does, not at a maximum of E(η). Raises NotPositiveDefinite where
    C + P₀, or G + P₀ for the steps in θ, is not.
    """
    points, size = [Evidence(family, curvature, eta, theta)], 1.0
    for _ in range(as_count("num_rounds", num_rounds)):
        theta = points[-1].theta
        for _ in range(as_count("theta_steps", theta_steps)):
            theta = _step_in_theta(family.at(points[-1].eta), theta)
        point = Evidence(family, curvature, points[-1].eta, theta)
        for _ in range(as_count("eta_steps", eta_steps)):
            point, size = _step_in_eta(point, size)
        points.append(point)
    gradient = points[-1].posterior.value_and_gradient(points[-1].theta)[1]
    return Online(points, float(np.linalg.norm(gradient)), float(np.linalg.norm(points[-1].direct_gradient)))


def _step_in_theta(posterior, theta):
    """The Gauss-Newton step, shortened until it goes up."""
    value, gradient = posterior.value_and_gradient(theta)
    direction = Dense(posterior.loss.ggn(theta) + posterior.prior.negative_hessian(theta)).solve(gradient)
    step = lambda size: theta + size * direction
    return step(_backtrack(lambda size: posterior.log_prob(step(size)), value, gradient @ direction, 1.0))


def _step_in_eta(point, size):
    """Up the direct gradient, at first by twice the last step size but by no more than one unit of log; and the new step size."""
    gradient = point.direct_gradient
    tried = {}

    def value(size):
        tried[size] = Evidence(point.family, point.curvature, point.eta + size * gradient, point.theta)
        return tried[size].log_evidence

    first = min(2 * size, 1 / max(1.0, np.abs(gradient).max()))
    found = _backtrack(value, point.log_evidence, gradient @ gradient, first)
    return (tried[found], found) if found else (point, size)


def _backtrack(function: Callable[[float], float], value: float, slope: float, size: float) -> float:
    """The first of size, size/2, size/4, ... that increases enough; 0 when round-off leaves none."""
    for _ in range(HALVINGS):
        if function(size) >= value + SUFFICIENT * size * slope:
            return size
        size /= 2
    return 0.0
