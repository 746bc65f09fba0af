"""Fixed-point updates of hyper-parameters: MacKay's and those of expectation maximisation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from refbnn.hyper.arrays import Hyper
from refbnn.hyper.family import Family
from refbnn.hyper.curvatures import Curvature
from refbnn.hyper.point import Evidence, at
from refbnn.optimize import NotAMode
from refbnn.shapes import Vector, as_count, as_positive, expect_methods


@dataclass(frozen=True)
class FixedPoint:
    """Where the updates ended: `change` is the last max |Δη|, `converged` that it fell below the tolerance.

    `log_evidences` are those along the way. In a network a fixed point of `mackay` has a `point.total_gradient` that does not
    vanish, Eq. (mackay-not-stationary).
    """

    point: Evidence
    log_evidences: list[float]
    change: float
    converged: bool


def mackay(point: Evidence) -> Hyper:
    """MacKay's next η (1992): λ_g = γ_g/‖θ_g − μ_g‖² with γ_g = p_g − λ_g tr S_gg, σ² = SSE/(nk − Σγ_g).

    It solves ∂F/∂η = 0 with the γ at hand, Eq. (mackay); where it stays, the direct gradient vanishes and the total one need
    not. Raises ValueError for a γ_g that is not positive, and for a likelihood without such a rule. (h)
    """
    of_prior, of_likelihood = _split(point, "mackay")
    variances = np.diagonal(point.covariance)
    effective = point.theta.size - point.family.precisions.traces(of_prior, variances).sum()
    following = point.family.likelihoods.mackay(of_likelihood, point.curvatures.evaluation.f, point.posterior.loss.y, effective)
    return np.concatenate([point.family.precisions.mackay(of_prior, point.theta, variances), following])


def em(point: Evidence) -> Hyper:
    """The η that maximises E_q[log p(y, θ|η)] in the linear model, q the Laplace approximation: never downhill where q is exact.

    λ_g = p_g/(‖θ_g − μ_g‖² + tr S_gg), σ² = (SSE + tr(J S Jᵀ))/(nk), Eq. (em). (h)
    """
    of_prior, of_likelihood = _split(point, "em")
    spread = (point.covariance * point.curvatures.ggn.full()).sum()
    following = point.family.likelihoods.em(of_likelihood, point.curvatures.evaluation.f, point.posterior.loss.y, spread)
    return np.concatenate([point.family.precisions.em(of_prior, point.theta, np.diagonal(point.covariance)), following])


def iterate(
    update: Callable[[Evidence], Hyper],
    family: Family,
    curvature: Curvature,
    eta: Hyper,
    start: Vector,
    tolerance: float = 1e-9,
    max_iterations: int = 500,
) -> FixedPoint:
    """`update` (mackay or em) and a new mode, in turn, until max |Δη| < tolerance. The result says whether it came to that.

    Raises NotAMode where the new η has no mode that arithmetic can find, as when the optimum of a precision is at infinity.
    """
    tolerance, point = as_positive("tolerance", tolerance), at(family, curvature, eta, start)
    log_evidences, change = [point.log_evidence], np.inf
    for _ in range(as_count("max_iterations", max_iterations)):
        following = update(point)
        change = float(np.abs(following - point.eta).max())
        point = _moved(point, following)
        log_evidences.append(point.log_evidence)
        if change < tolerance:
            break
    return FixedPoint(point, log_evidences, change, change < tolerance)


def _moved(point, following):
    """The evidence at the next η; where there is none, the hyper-parameter that moved most is named."""
    try:
        return at(point.family, point.curvature, following, point.theta)
    except ValueError as cause:
        j = int(np.abs(following - point.eta).argmax())
        raise NotAMode(
            f"iterate: no mode at the next eta = {following.tolist()}; hyper-parameter {j} moved most, from {point.eta[j]:.4g} "
            f"to {following[j]:.4g}: its optimum may be at infinity, then leave it out or give it a prior ({cause})"
        ) from cause


def _split(point, rule):
    expect_methods(f"likelihoods of {rule}", point.family.likelihoods, rule)
    expect_methods(f"precisions of {rule}", point.family.precisions, rule)
    return point.family.split(point.eta)
