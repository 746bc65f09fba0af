"""What a solver reached, and what proves it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from refbnn.gaussian import Gaussian
from refbnn.linalg import symmetric_part
from refbnn.quadrature import ROUND_OFF
from refbnn.shapes import Matrix, expect_methods
from refbnn.vi.objective import Elbo, elbo

STEPS = 64  # products with the Hessian: all of it where φ is no longer than that
DIFFERENCE = np.finfo(float).eps ** (1 / 3)  # of a central difference of first derivatives
_SAFETY = 4.0  # over the asymmetry of a Hessian by differences, which is what they err by


@dataclass(frozen=True, eq=False)
class Optimum:
    """The last q of a solver, its bound `elbo`, and three residuals that vanish at an optimum of the bound, whatever the solver.

    `mean_residual` is ‖Cᵀ E ∇U‖, a slope: nats per standard deviation of q; `mean_distance` is the way to the fixed point.
    `precision_residual` is that of Σ⁻¹ = E ∇²U, taken as E[∇²U] Σ = I, `virial_residual` that of E[∂_iU (θ − m)_j] = δ_ij, from
    first derivatives alone: both in the entries that the family frees, Eqs. (fixed-point), (virial), θ in standard deviations of
    q. Where the rule is exact they agree; their difference is an error of the rule. Two parts are in both alike: a Gaussian
    prior, and with ClosedForm the loss as well, so that the two are one number there. No residual depends on the units of θ.
    `rule_error` is how far, in standard deviations and to first order, the rule's error of E ∇U moves the mean, or its error
    of E ∇²U (over outputs: of E Λ) the covariance, the larger of the two (a standard error, where the rule is random), each with
    the other held.

    `residual` is that of the equations which the solver itself solves (of the GGN, for a solver with the GGN). `converged` says
    that it came below `tolerance`, in `num_iterations`, that this is no saddle: `is_maximum`, from `largest_curvature`, and that
    the law of E ∇²U, where it holds, is that of the bound: `laws_agree`. With kinks (ReLU, a Laplace prior) it is not: the
    derivative of the bound is E[∇U zᵀ] C⁻¹ there, Eq. (stein), and E ∇²U misses what ∇U jumps by.

    `elbo` is in-sample: a solver that maximised over the points of a rule has fitted those points, and elbo.error, which they
    estimate too, does not know it. With few draws the value can be far too high: `held_out` is the honest one.
    """

    family: object
    phi: np.ndarray
    elbo: Elbo
    mean_residual: float
    precision_residual: float
    virial_residual: float
    rule_error: float
    residual: float
    tolerance: float
    num_iterations: int

    @property
    def q(self) -> Gaussian:
        """The approximation."""
        return self.elbo.q

    @property
    def converged(self) -> bool:
        """Whether the solver's equations hold to its tolerance, at a maximum, and are those of the bound."""
        return self.residual <= self.tolerance and self.laws_agree and self.is_maximum

    @property
    def laws_agree(self) -> bool:
        """Whether, where Σ⁻¹ = E ∇²U holds to the tolerance, the virial law does too: to the tolerance and Elbo.summation_error.

        If not, the points miss a part of the second derivatives, as they do on kinks, and Σ⁻¹ = E ∇²U is no law of the bound.
        """
        at = self.elbo
        allowed = self.tolerance + _residual(self.family, at, np.eye(at.q.num_params) + _over_covariance(at, at.summation_error))
        return self.precision_residual > self.tolerance or self.virial_residual - self.precision_residual <= allowed

    @property
    def mean_distance(self) -> float:
        """‖(Cᵀ E[∇²U] C)⁻¹ Cᵀ E ∇U‖: Newton's step of the mean, the covariance held, in standard deviations of q.

        So far, to first order, is the mean from its fixed point, whatever the family. At the optimum over all Gaussians
        Cᵀ E[∇²U] C = I, and the distance is `mean_residual`; where a restricted q is too narrow, it is longer.
        """
        return float(np.linalg.norm(_newton(self.elbo) @ self.elbo.energy_gradient))

    @property
    def is_maximum(self) -> bool:
        """Whether the bound, as the rule sums it, bends upwards in no direction by more than `curvature_error`."""
        return self.largest_curvature <= self.curvature_error

    @property
    def largest_curvature(self) -> float:
        """The largest eigenvalue of T ∂²ELBO/∂φ² T, T = diag(family.lengths(φ)), Eq. (bend): positive at a saddle, in nats.

        So it counts per standard deviation of q, whatever the units of θ are. By central differences of the gradient by hand: of
        up to 64 numbers φ the whole Hessian; for longer φ a lower bound, by Krylov's space of 64 products.
        """
        return self._bend.largest

    @property
    def curvature_error(self) -> float:
        """What may be left of a largest curvature of zero, as where φ has more numbers than q: in nats.

        The differences err by what makes their Hessian asymmetric, and by round-off. The slope ‖T ∂ELBO/∂φ‖ is added: on
        a bent line along which q stays the same, the second derivative is the slope times the bend.
        """
        return self._bend.error

    def held_out(self, how: object) -> Elbo:
        """The bound at q over points not seen by the solver: found.held_out(OverParameters(sobol(p, 512, 8, rng))).value."""
        return elbo(self.elbo.posterior, self.q, how)

    @cached_property
    def _bend(self) -> _Bend:
        lengths = self.family.lengths(self.phi)

        def slope(x):
            phi = self.phi + lengths * x
            at = elbo(self.elbo.posterior, self.family.gaussian(phi), self.elbo.how)
            return lengths * self.family.pull_back(phi, at.mean_gradient, at.scale_gradient)

        def product(v):
            return (slope(DIFFERENCE * v) - slope(-DIFFERENCE * v)) / (2 * DIFFERENCE)

        size = len(self.phi)
        found = _bend(product, np.eye(size)) if size <= STEPS else _krylov(product, size)
        return _Bend(found.largest, found.error + float(np.linalg.norm(slope(np.zeros(size)))))


def describe(family: object, phi: np.ndarray, at: Elbo, residual: float, tolerance: float, num_iterations: int) -> Optimum:
    """The Optimum at q, the member φ of the family."""
    return Optimum(
        family=family,
        phi=phi,
        elbo=at,
        mean_residual=mean_residual(at),
        precision_residual=precision_residual(family, at, at.energy_hessian),
        virial_residual=virial_residual(family, at),
        rule_error=rule_error(family, at),
        residual=float(residual),
        tolerance=float(tolerance),
        num_iterations=num_iterations,
    )


def mean_residual(at: Elbo) -> float:
    """‖Cᵀ E_q ∇U‖: the slope of the bound in the mean, in nats per standard deviation of q."""
    return float(np.linalg.norm(at.q.precision.scale_transposed_matvec(at.energy_gradient)))


def precision_residual(family: object, at: Elbo, curvature: Matrix) -> float:
    """‖E[∇²U] Σ − I‖ in the entries that the family frees, with any curvature in place of E ∇²U, Eq. (fixed-point)."""
    return _residual(family, at, at.q.precision.solve(curvature))


def virial_residual(family: object, at: Elbo) -> float:
    """‖E[∇U (θ − m)ᵀ] − I‖ in the entries that the family frees, Eq. (virial)."""
    return _residual(family, at, at.energy_cross @ at.q.scale().T)


def rule_error(family: object, at: Elbo) -> float:
    """‖|N| δ‖ for the error δ of E ∇U and Newton's N, or half of ‖|C|ᵀ Δ |C|‖ for that of E ∇²U, Δ, if larger."""
    C = np.abs(at.q.scale())
    of_precision = family.along(C.T @ at.hessian_error @ C)
    return float(max(np.linalg.norm(np.abs(_newton(at)) @ at.gradient_error), 0.5 * np.linalg.norm(of_precision)))


def expect_fitting(posterior: object, family: object, start: object) -> None:
    """Raise ValueError unless family and start are Gaussians over the parameters of the posterior."""
    expect_methods("start", start, "mean", "precision", "covariance", "num_params")
    expect_methods("posterior", posterior, "loss", "prior", "num_params")
    for name, given in (("family", family), ("start", start)):
        if given.num_params != posterior.num_params:
            raise ValueError(f"{name}: expected {posterior.num_params} parameters as the posterior has, got {given.num_params}")


def multi_start(solve: Callable[[Gaussian], Optimum], starts: Iterable[Gaussian]) -> tuple[Optimum, ...]:
    """What `solve` reached from every start: those that converged first, then maxima, and of those the highest bound first.

    The bound of a network has many optima, copies under its symmetries among them. A start from which `solve` raises ValueError,
    as NotPositiveDefinite is one, is left out: fewer come back. Raises that error if no start is left, ValueError for no start.
    """
    found, refused = [], [ValueError("starts: expected at least one Gaussian, got none")]
    for start in starts:
        expect_methods("starts", start, "mean", "precision")
        try:
            found.append(solve(start))
        except ValueError as error:
            refused.append(error)
    if not found:
        raise refused[-1]
    return tuple(sorted(found, key=lambda one: (not one.converged, not one.is_maximum, -one.elbo.value)))


def _newton(at: Elbo) -> Matrix:
    """(Cᵀ E[∇²U] C)⁻¹ Cᵀ, from a gradient to a step in standard deviations, NaN where E ∇²U is singular: (p p)."""
    C = at.q.scale()
    try:
        return np.linalg.solve(C.T @ at.energy_hessian @ C, C.T)
    except np.linalg.LinAlgError:
        return np.full(C.shape, np.nan)


def _over_covariance(at: Elbo, error: Matrix) -> Matrix:
    """The error of E[∇²U] Σ from that of E ∇²U, entry by entry: (p p)."""
    C = np.abs(at.q.scale())
    return error @ C @ C.T


def _residual(family, at: Elbo, law: Matrix) -> float:
    """‖law − I‖ along the family, rows and columns in standard deviations of q."""
    std = np.linalg.norm(at.q.scale(), axis=1)
    return float(np.linalg.norm(family.along(std[:, None] * law / std - np.eye(len(std)))))


@dataclass(frozen=True)
class _Bend:
    """The largest eigenvalue of a symmetric matrix, or of its part in a space, and how far differences may have moved a zero."""

    largest: float
    error: float


def _krylov(product: Callable[[np.ndarray], np.ndarray], size: int) -> _Bend:
    """That of its part in the space of v, Hv, H²v, ... for one v in no special direction."""
    basis = np.empty((0, size))
    v = np.cos(1.0 + np.arange(size))
    for _ in range(STEPS):
        basis = np.vstack([basis, v / np.linalg.norm(v)])
        v = product(basis[-1])
        length = np.linalg.norm(v)
        for _ in range(2):  # twice is enough
            v = v - basis.T @ (basis @ v)
        if np.linalg.norm(v) <= ROUND_OFF / DIFFERENCE * length:  # the space holds all that v knows
            break
    return _bend(product, basis)


def _bend(product: Callable[[np.ndarray], np.ndarray], basis: np.ndarray) -> _Bend:
    """Of B H Bᵀ: errors of its two triangles are different ones."""
    part = basis @ np.array([product(v) for v in basis]).T
    round_off = ROUND_OFF / DIFFERENCE * np.abs(part).max()
    return _Bend(float(np.linalg.eigvalsh(symmetric_part(part))[-1]), float(_SAFETY * np.linalg.norm(part - part.T) + round_off))
