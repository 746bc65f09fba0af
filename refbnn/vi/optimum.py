"""What a solver reached, and what proves it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from refbnn.gaussian import Gaussian
from refbnn.shapes import Matrix
from refbnn.vi.objective import Elbo


@dataclass(frozen=True, eq=False)
class Optimum:
    """The last q of a solver, its bound `elbo`, and three residuals that vanish at an optimum of the bound, whatever the solver.

    `mean_residual` is ‖Cᵀ E ∇U‖. `precision_residual` is that of Σ⁻¹ = E ∇²U, taken as E[∇²U] Σ = I, `virial_residual` that of
    E[∂_iU (θ − m)_j] = δ_ij, from first derivatives alone: both in the entries that the family frees, Eqs. (fixed-point),
    (virial), in standard deviations of q. Where the rule is exact they agree; their difference is an error of the rule.
    `rule_error` is how far, in standard deviations and to first order, the rule's error of E ∇U moves the mean (a standard error,
    where the rule is random). What its error in the covariance adds to that is not in it, and shows in that difference.

    `residual` is that of the equations which the solver itself solves (of the GGN, for a solver with the GGN), and
    `converged` says whether it came below the tolerance that was asked for, in `num_iterations`.
    """

    family: object
    elbo: Elbo
    mean_residual: float
    precision_residual: float
    virial_residual: float
    rule_error: float
    residual: float
    converged: bool
    num_iterations: int

    @property
    def q(self) -> Gaussian:
        """The approximation."""
        return self.elbo.q


def describe(family: object, at: Elbo, residual: float, tolerance: float, num_iterations: int) -> Optimum:
    """The Optimum at q."""
    return Optimum(
        family=family,
        elbo=at,
        mean_residual=mean_residual(at),
        precision_residual=precision_residual(family, at, at.energy_hessian),
        virial_residual=virial_residual(family, at),
        rule_error=float(np.linalg.norm(np.abs(at.q.scale()).T @ at.gradient_error)),
        residual=float(residual),
        converged=bool(residual <= tolerance),
        num_iterations=num_iterations,
    )


def mean_residual(at: Elbo) -> float:
    """‖Cᵀ E_q ∇U‖: how far the mean is from its fixed point, in standard deviations of q."""
    return float(np.linalg.norm(at.q.precision.scale_transposed_matvec(at.energy_gradient)))


def precision_residual(family: object, at: Elbo, curvature: Matrix) -> float:
    """‖E[∇²U] Σ − I‖ in the entries that the family frees, with any curvature in place of E ∇²U, Eq. (fixed-point)."""
    return _residual(family, at, at.q.precision.solve(curvature))


def virial_residual(family: object, at: Elbo) -> float:
    """‖E[∇U (θ − m)ᵀ] − I‖ in the entries that the family frees, Eq. (virial)."""
    return _residual(family, at, at.energy_cross @ at.q.scale().T)


def multi_start(solve: Callable[[Gaussian], Optimum], starts: Iterable[Gaussian]) -> tuple[Optimum, ...]:
    """What `solve` reached from every start: those that converged first, and of those the highest bound first.

    The bound of a network has many optima, copies under its symmetries among them. Raises ValueError for no start.
    """
    found = sorted((solve(start) for start in starts), key=lambda optimum: (not optimum.converged, -optimum.elbo.value))
    if not found:
        raise ValueError("starts: expected at least one Gaussian, got none")
    return tuple(found)


def _residual(family, at: Elbo, law: Matrix) -> float:
    """‖law − I‖ along the family, rows and columns in standard deviations of q."""
    std = np.linalg.norm(at.q.scale(), axis=1)
    return float(np.linalg.norm(family.along(std[:, None] * law / std - np.eye(len(std)))))
