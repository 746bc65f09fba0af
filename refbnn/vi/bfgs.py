"""The bound maximised in the family's own parameters, at fixed points of integration."""

from __future__ import annotations

import numpy as np

from refbnn.gaussian import Gaussian
from refbnn.shapes import as_count, as_positive, expect_methods
from refbnn.vi.families.arrays import Free
from refbnn.vi.objective import Elbo, elbo
from refbnn.vi.optimum import Optimum, describe, expect_fitting, mean_residual, virial_residual

RESTARTS = 8  # a fresh quadratic model each time; what is left after the first is its round-off


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
    gradient that of the sum itself, and only first derivatives are used. The residual is that of mean and virial law at that
    rule. A start where the gradient is zero can be a saddle: Optimum.converged says that a maximum was reached. The bound is
    fitted to the points of the rule and its error is in-sample: Optimum.held_out has the value at others. A trial step
    at which the rule meets no finite value counts as −∞. Raises ValueError for a start or family of another size, and what the
    bound raises at the start.
    """
    from scipy.optimize import minimize  # here, not above: it would double the time of `import refbnn`

    expect_methods("family", family, "gaussian", "free", "pull_back", "along", "num_params")
    expect_fitting(posterior, family, start)
    tolerance, left = as_positive("tolerance", tolerance), as_count("max_iterations", max_iterations)
    phi, taken = family.free(start), 0
    elbo(posterior, family.gaussian(phi), how).value
    for _ in range(RESTARTS):
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            found = minimize(
                lambda phi: _value_and_gradient(posterior, family, how, phi), phi, jac=True, method="BFGS",
                options={"maxiter": left - taken, "gtol": 1e-3 * tolerance},
            )
        phi, taken = found.x, taken + int(found.nit)
        at = elbo(posterior, family.gaussian(phi), how)
        residual = max(mean_residual(at), virial_residual(family, at))
        if residual <= tolerance or found.nit == 0 or taken >= left:
            break
    return describe(family, phi, at, residual, tolerance, taken)


def gradient(family: object, phi: Free, at: Elbo) -> Free:
    """∂ELBO/∂φ at the member φ of the family, Eq. (pull-back): (f)."""
    return family.pull_back(phi, at.mean_gradient, at.scale_gradient)


def _value_and_gradient(posterior, family, how, phi: np.ndarray) -> tuple[float, np.ndarray]:
    """Those of −ELBO."""
    try:
        at = elbo(posterior, family.gaussian(phi), how)
        return -at.value, -gradient(family, phi, at)
    except ValueError:  # raised at the door for NaN, infinity and variances that underflow
        return np.inf, np.zeros(len(phi))
