"""The natural gradient in the family's natural parameters: the Bayesian learning rule."""

from __future__ import annotations

from collections.abc import Callable

from refbnn.gaussian import Gaussian
from refbnn.linalg import NotPositiveDefinite
from refbnn.shapes import Matrix, as_count, as_positive, expect_methods
from refbnn.vi.objective import Elbo, elbo
from refbnn.vi.optimum import Optimum, describe, expect_fitting, mean_residual, precision_residual

Curvature = Callable[[Elbo], Matrix]


def hessian(at: Elbo) -> Matrix:
    """E_q ∇²U: with it the natural gradient is that of the bound (variational online Newton).

    Not with kinks (ReLU, a Laplace prior), which second derivatives point by point miss: Elbo.hessian_by_stein has them.
    """
    return at.energy_hessian


def ggn(at: Elbo) -> Matrix:
    """E_q G − E_q ∇² log p(θ), always positive definite for log-concave likelihoods: variational online Gauss-Newton.

    Its fixed point is not an optimum of the bound unless E_q R = 0, Eq. (expected-split): look at `precision_residual`.
    """
    return at.energy_ggn


def natural_gradient(
    posterior: object,
    family: object,
    how: object,
    start: Gaussian,
    curvature: Curvature = hessian,
    step: float = 1.0,
    tolerance: float = 1e-9,
    max_iterations: int = 500,
) -> Optimum:
    """P ← (1 − ρ) P + ρ E_q ∇²U, then m ← m − ρ P⁻¹ E_q ∇U, with ρ = step, Eq. (learning-rule) (Khan & Rue 2023).

    For `family` with a natural step (Full, MeanField, Independent blocks of those), from the member with the mean and the blocks
    of the precision of `start`. ρ = 1 on a quadratic energy is Newton's step and ends at once. Stops when the residual is below
    the tolerance; Optimum.converged says whether it did, at a maximum, by a law that the points support: with kinks `hessian`
    ends away from the optimum (Optimum.laws_agree), and quasi_newton does not. Raises NotPositiveDefinite where a step leaves
    the positive definite matrices, as an indefinite E_q H can make it: take a smaller step, or `ggn`; ValueError for a start or
    a family of another size.
    """
    expect_methods("family", family, "natural", "gaussian", "free", "pull_back", "lengths", "along", "num_params")
    expect_fitting(posterior, family, start)
    step, max_iterations = as_positive("step", step), as_count("max_iterations", max_iterations)
    at = elbo(posterior, Gaussian(start.mean, family.natural(start.precision.matrix())), how)
    for iteration in range(max_iterations + 1):
        matrix = curvature(at)
        residual = max(mean_residual(at), precision_residual(family, at, matrix))
        if residual <= tolerance or iteration == max_iterations:
            return describe(family, family.free(at.q), at, residual, tolerance, iteration)
        at = elbo(posterior, _moved(family, at, matrix, step), how)


def _moved(family, at: Elbo, matrix: Matrix, step: float) -> Gaussian:
    """q after one step."""
    try:
        precision = family.natural((1 - step) * at.q.precision.matrix() + step * matrix)
    except ValueError as error:
        raise NotPositiveDefinite(f"step: expected one that stays in the family, got {step:g}, where {error}") from None
    return Gaussian(at.q.mean - step * precision.solve(at.energy_gradient), precision)
