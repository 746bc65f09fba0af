"""The bound maximised in the family's own parameters, at fixed points of integration."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from refbnn.gaussian import Gaussian
from refbnn.shapes import as_count, as_positive, expect_methods
from refbnn.vi.families.arrays import Free
from refbnn.vi.objective import Elbo, elbo
from refbnn.vi.optimum import Optimum, describe, expect_fitting, mean_residual, virial_residual

RESTARTS = 8  # a fresh quadratic model each time; what is left after the first is its round-off
POLISH = 16  # steps by gradients alone after each


def quasi_newton(
    posterior: object,
    family: object,
    how: object,
    start: Gaussian,
    tolerance: float = 1e-7,
    max_iterations: int = 2000,
) -> Optimum:
    """A stationary point of the bound over φ near `start` by BFGS, with the gradient by hand, Eq. (pull-back).

    The rule in `how` stays fixed, so that the bound is a smooth function (with draws: a sample-average approximation) and its
    gradient that of the sum itself, and only first derivatives are used. φ is counted in family.lengths, so that the units of θ
    do not matter. Where the round-off of the bound, u |ELBO|, hides what is left to gain, the last steps go by gradients alone.
    The residual is that of mean and virial law at that rule, or the slope in φ: `residual_of`. A start where the gradient is
    zero can be a saddle: Optimum.converged says that a maximum was reached. The bound is fitted to the points of the rule and its
    error is in-sample: Optimum.held_out has the value at others. A trial step at which the rule meets no finite value counts as
    −∞. Raises ValueError for a start or family of another size, and what the bound raises at the start.
    """
    expect_methods("family", family, "gaussian", "free", "pull_back", "lengths", "along", "num_params")
    expect_fitting(posterior, family, start)
    tolerance, left = as_positive("tolerance", tolerance), as_count("max_iterations", max_iterations)
    phi, taken = family.free(start), 0
    elbo(posterior, family.gaussian(phi), how).value
    for _ in range(RESTARTS):
        phi, steps = _climbed(posterior, family, how, phi, 1e-3 * tolerance, left - taken)
        taken += steps
        at = elbo(posterior, family.gaussian(phi), how)
        residual = residual_of(family, phi, at)
        if residual <= tolerance or steps == 0 or taken >= left:
            break
    return describe(family, phi, at, residual, tolerance, taken)


def residual_of(family: object, phi: Free, at: Elbo) -> float:
    """The largest of mean residual, virial residual and ‖T ∂ELBO/∂φ‖, T = diag(family.lengths(φ)), in nats.

    The last proves what the laws leave open: of LowRank the virial law has p equations, and φ has more numbers.
    """
    slope = float(np.linalg.norm(family.lengths(phi) * gradient(family, phi, at)))
    return max(mean_residual(at), virial_residual(family, at), slope)


def gradient(family: object, phi: Free, at: Elbo) -> Free:
    """∂ELBO/∂φ at the member φ of the family, Eq. (pull-back): (f)."""
    return family.pull_back(phi, at.mean_gradient, at.scale_gradient)


def _climbed(posterior, family, how, phi: np.ndarray, gradient_tolerance: float, max_iterations: int) -> tuple[np.ndarray, int]:
    """φ after BFGS and polish, and the number of steps; both in x for φ + lengths x."""
    from scipy.optimize import minimize  # here, not above: it would double the time of `import refbnn`

    lengths = family.lengths(phi)

    def loss(x):
        value, slope = _value_and_gradient(posterior, family, how, phi + lengths * x)
        return value, lengths * slope

    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        found = minimize(loss, np.zeros(len(phi)), jac=True, method="BFGS",
                         options={"maxiter": max_iterations, "gtol": gradient_tolerance})
        x, polished = _polished(loss, found.x, found.hess_inv, gradient_tolerance, min(POLISH, max_iterations - found.nit))
    return phi + lengths * x, int(found.nit) + polished


def _polished(loss: Callable, x: np.ndarray, inverse: np.ndarray, enough: float, max_steps: int) -> tuple[np.ndarray, int]:
    """x after quasi-Newton steps for as long as the gradient falls by each, down to `enough`, and their number."""
    slope = loss(x)[1]
    for taken in range(max_steps):
        if np.abs(slope).max() <= enough:
            return x, taken
        step = -inverse @ slope
        value, following = loss(x + step)
        change = following - slope
        if not (np.isfinite(value) and np.linalg.norm(following) < np.linalg.norm(slope) and step @ change > 0):
            return x, taken
        x, slope, inverse = x + step, following, _updated(inverse, step, change)
    return x, max(max_steps, 0)


def _updated(inverse: np.ndarray, step: np.ndarray, change: np.ndarray) -> np.ndarray:
    """The inverse Hessian by BFGS's formula: it maps the change of the gradient to the step."""
    left = np.eye(len(step)) - np.outer(step, change) / (step @ change)
    return left @ inverse @ left.T + np.outer(step, step) / (step @ change)


def _value_and_gradient(posterior, family, how, phi: np.ndarray) -> tuple[float, np.ndarray]:
    """Those of −ELBO."""
    try:
        at = elbo(posterior, family.gaussian(phi), how)
        return -at.value, -gradient(family, phi, at)
    except ValueError:  # raised at the door for NaN, infinity and variances that underflow
        return np.inf, np.zeros(len(phi))
