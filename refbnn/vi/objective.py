"""The evidence lower bound of a Gaussian q, with its gradient and what its optimum is judged by."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from refbnn.gaussian import Gaussian
from refbnn.linalg import symmetric_part
from refbnn.shapes import Matrix, Vector, expect_methods

_SAFETY = 2.0  # over the difference to what first derivatives say, which err too: observed are errors up to 1.4 differences


@dataclass(frozen=True, eq=False)
class Elbo:
    """E_q[log p(y, θ)] + entropy of q = log p(y) − KL(q ‖ posterior), every constant kept, Eq. (elbo).

    U(θ) = −log p(y, θ) is the energy. Everything is computed when asked for, at one q, by the expectations `how`.
    """

    posterior: object
    q: Gaussian
    how: object

    @cached_property
    def loss(self) -> object:
        """E_q of −log p(y|θ): value, error, gradient, cross, hessian (E H), ggn (E G)."""
        return self.how.loss(self.posterior.loss, self.q)

    @cached_property
    def prior(self) -> object:
        """E_q of −log p(θ): value, error, gradient, cross, hessian."""
        return self.how.prior(self.posterior.prior, self.q)

    @property
    def value(self) -> float:
        """The bound, in nats."""
        return self.q.entropy() - self.loss.value - self.prior.value

    @property
    def error(self) -> float:
        """The estimated error of `value`: that of the rule."""
        return self.loss.error + self.prior.error

    @property
    def kl_to_prior(self) -> float:
        """KL(q ‖ prior), so that value = −loss.value − kl_to_prior."""
        return self.prior.value - self.q.entropy()

    @property
    def energy_gradient(self) -> Vector:
        """E_q ∇U: (p). Zero at the optimum of every family with a free mean, Eq. (fixed-point)."""
        return self.loss.gradient + self.prior.gradient

    @property
    def gradient_error(self) -> Vector:
        """The estimated error of `energy_gradient`, that of the rule: (p)."""
        return self.loss.gradient_error + self.prior.gradient_error

    @property
    def hessian_error(self) -> Matrix:
        """The estimated error of `energy_hessian`: `summation_error` or 2 |E ∇²U − E[∇U zᵀ] C⁻¹|, Eq. (stein), if larger: (p p).

        Second derivatives between the points, or on the kinks of a ReLU or a Laplace prior, are in no sum of them; first
        derivatives tell them by how much they change.
        """
        return np.maximum(self.summation_error, _SAFETY * np.abs(self.energy_hessian - self.hessian_by_stein))

    @property
    def summation_error(self) -> Matrix:
        """What the rule itself estimates as the error of its sum of second derivatives: (p p)."""
        return self.loss.hessian_error + self.prior.hessian_error

    @property
    def hessian_by_stein(self) -> Matrix:
        """E[∇U zᵀ] C⁻¹, its symmetric part: (p p). Eq. (stein): E ∇²U in the sense in which it is the derivative of the bound."""
        return symmetric_part(self.q.precision.matvec(self.energy_cross @ self.q.scale().T))

    @property
    def energy_cross(self) -> Matrix:
        """E_q[∇U zᵀ] for θ = mean + C z: (p p). By Stein's lemma E[∇²U] C, up to the error of the rule, Eq. (stein)."""
        return self.loss.cross + self.prior.cross

    @property
    def energy_hessian(self) -> Matrix:
        """E_q ∇²U = E H − E ∇² log p(θ): (p p). The precision of q at the optimum over all Gaussians, Eq. (fixed-point).

        Of second derivatives point by point. With kinks (ReLU, a Laplace prior) these are not the derivative of the bound:
        what ∇U jumps by on the kinks is missing, and `hessian_by_stein` has it.
        """
        return self.loss.hessian + self.prior.hessian

    @property
    def energy_ggn(self) -> Matrix:
        """The same with G for H: (p p)."""
        return self.loss.ggn + self.prior.hessian

    @property
    def mean_gradient(self) -> Vector:
        """∂ELBO/∂mean = −E_q ∇U: (p)."""
        return -self.energy_gradient

    @property
    def scale_gradient(self) -> Matrix:
        """∂ELBO/∂C = C⁻ᵀ − E_q[∇U zᵀ], every entry of C taken as free, Eq. (scale-gradient): (p p)."""
        return self.q.precision.matvec(self.q.scale().T).T - self.energy_cross


def elbo(posterior: object, q: Gaussian, how: object) -> Elbo:
    """The bound at q: `posterior` has loss and prior, `how` is OverParameters(rule), OverOutputs(rule) or ClosedForm().

    Raises ValueError when q is not of the posterior's size, and what `how` raises.
    """
    expect_methods("posterior", posterior, "loss", "prior", "num_params")
    expect_methods("q", q, "mean", "precision", "from_normals")
    expect_methods("how", how, "loss", "prior")
    if q.num_params != posterior.num_params:
        raise ValueError(f"q: expected {posterior.num_params} parameters as the posterior has, got {q.num_params}")
    return Elbo(posterior, q, how)
