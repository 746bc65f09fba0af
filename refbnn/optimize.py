"""The posterior mode to round-off, found with the exact Hessian; a saddle is refused."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refbnn.precision import Dense
from refbnn.shapes import Vector, as_array, as_count, expect_methods

NEWTON_STEPS = 50  # a handful suffice near a mode; the rest is for ill-conditioned ones
CONVERGED = 1e-7  # posterior standard deviations; log p(y, θ) is then within 5e-15 of the mode's


class NotAMode(ValueError):
    """The search ended where there is no mode: a saddle, a flat direction, or without convergence."""


@dataclass(frozen=True)
class Mode:
    """A posterior mode and what was reached.

    `gradient_norm` is ‖∇ log p(y, θ)‖; `decrement` is √(∇ᵀ A⁻¹ ∇), the distance to the exact mode in posterior standard
    deviations (A = −∇² log p); `smallest_eigenvalue` is that of A, positive; `num_iterations` counts the steps tried.
    """

    theta: Vector
    log_prob: float
    gradient_norm: float
    decrement: float
    smallest_eigenvalue: float
    num_iterations: int


def maximize(posterior: object, start: Vector, max_iterations: int = 500) -> Mode:
    """The mode of `posterior` near `start`: trust-region steps, then Newton steps until round-off stops them.

    `posterior` has log_prob, value_and_gradient and negative_hessian. Raises NotAMode at a saddle, on a flat direction, and when
    the distance to the mode (see Mode.decrement) does not fall below 1e-7; ValueError for a start of the wrong shape.
    """
    from scipy.optimize import minimize  # here, not above: it would double the time of `import refbnn`

    expect_methods("posterior", posterior, "log_prob", "value_and_gradient", "negative_hessian")
    start, max_iterations = as_array("start", start, "p"), as_count("max_iterations", max_iterations)
    with np.errstate(over="ignore", invalid="ignore"):  # a trial step may overflow a rate: its density is 0 and it is rejected
        coarse = minimize(
            lambda theta: -posterior.log_prob(theta),
            start,
            jac=lambda theta: -posterior.value_and_gradient(theta)[1],
            hess=posterior.negative_hessian,
            method="trust-exact",
            options={"maxiter": max_iterations, "gtol": 1e-6},
        )
    theta, steps = _polish(posterior, coarse.x)
    mode = _describe(posterior, theta, int(coarse.nit) + steps)
    if mode.decrement > CONVERGED:
        raise NotAMode(
            f"no convergence: expected to come within {CONVERGED:g} standard deviations of a mode, got {mode.decrement:.3g} "
            f"with gradient norm {mode.gradient_norm:.3g} after {mode.num_iterations} iterations"
        )
    return mode


def _polish(posterior, theta: np.ndarray) -> tuple[np.ndarray, int]:
    """Newton steps for as long as they reduce the gradient norm; at round-off they no longer do."""
    gradient = posterior.value_and_gradient(theta)[1]
    for step in range(NEWTON_STEPS):
        trial = theta + _hessian_at(posterior, theta).solve(gradient)
        trial_gradient = posterior.value_and_gradient(trial)[1]
        if not np.linalg.norm(trial_gradient) < np.linalg.norm(gradient):
            break
        theta, gradient = trial, trial_gradient
    return theta, step + 1


def _describe(posterior, theta: np.ndarray, num_iterations: int) -> Mode:
    value, gradient = posterior.value_and_gradient(theta)
    curvature = _hessian_at(posterior, theta, converged=True)
    return Mode(
        theta=theta,
        log_prob=float(value),
        gradient_norm=float(np.linalg.norm(gradient)),
        decrement=float(np.sqrt(gradient @ curvature.solve(gradient))),
        smallest_eigenvalue=float(np.linalg.eigvalsh(curvature.matrix())[0]),
        num_iterations=num_iterations,
    )


def _hessian_at(posterior, theta: np.ndarray, converged: bool = False) -> Dense:
    """−∇² log p at θ, or NotAMode when an eigenvalue is negative, indistinguishable from zero or, if `converged`, unexplained.

    Along a symmetry with generator X an exact mode is flat, and H Xθ = −Xᵀ∇ elsewhere: a curvature of the size ‖∇‖/‖θ‖ is what
    the gradient that is left makes of a flat direction.
    """
    matrix, gradient = posterior.negative_hessian(theta), posterior.value_and_gradient(theta)[1]
    smallest, largest = np.linalg.eigvalsh(matrix)[[0, -1]]
    norm, size = np.linalg.norm(gradient), np.abs([smallest, largest]).max()
    round_off = len(matrix) * np.finfo(float).eps * size
    flat = max(round_off, 10 * norm / max(np.linalg.norm(theta), 1 / np.sqrt(max(size, np.finfo(float).tiny))))
    if smallest <= (flat if converged else round_off):
        raise NotAMode(
            f"{'saddle' if smallest < -flat else 'flat'}: expected a mode, ended where the smallest eigenvalue of −∇² log p is "
            f"{smallest:.6g} (round-off {flat:.1g}) and the gradient norm {norm:.3g}; try another start"
        )
    return Dense(matrix)
