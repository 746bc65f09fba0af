"""The optimum over all Gaussians of a model affine in θ, by its form: k + k² numbers a datum in place of p + p (p + 1)/2."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.linalg

from refbnn import linalg
from refbnn.duals import kernel
from refbnn.gaussian import Gaussian
from refbnn.precision import Dense
from refbnn.shapes import as_count, as_positive, expect_methods
from refbnn.vi.expectations import refuse_nonlinear
from refbnn.vi.families.full import Full
from refbnn.vi.objective import elbo
from refbnn.vi.optimum import Optimum, describe


@dataclass(frozen=True, eq=False)
class _Sites:
    """q with mean m₀ − P₀⁻¹Jᵀα and precision P₀ + JᵀΛ̄J, by α (n k), Λ̄ (n k k), f at m₀ (n k) and K = J P₀⁻¹ Jᵀ (nk nk)."""

    alpha: np.ndarray
    curvature: np.ndarray
    f: np.ndarray
    K: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """E_q f: (n k)."""
        return self.f - (self.K @ self.alpha.ravel()).reshape(self.f.shape)

    @cached_property
    def joint_covariance(self) -> np.ndarray:
        """J Σ Jᵀ = K (I + Λ̄ K)⁻¹: (nk nk)."""
        return linalg.symmetric_part(scipy.linalg.solve(self.one_plus(self.curvature).T, self.K))

    @property
    def covariances(self) -> np.ndarray:
        """Its diagonal blocks: (n k k)."""
        n, k = self.f.shape
        return np.einsum("nknl->nkl", self.joint_covariance.reshape(n, k, n, k))

    def one_plus(self, curvature: np.ndarray) -> np.ndarray:
        """I + Λ K: (nk nk)."""
        n, k = self.f.shape
        return np.eye(n * k) + (curvature @ self.K.reshape(n, k, n * k)).reshape(n * k, n * k)

    def residual(self, expected) -> float:
        """‖Cᵀ E ∇U‖ or ‖Cᵀ(E ∇²U − Σ⁻¹)C‖, the larger, both through JΣJᵀ."""
        r, V = (expected.residual - self.alpha).ravel(), self.joint_covariance
        n, k = self.f.shape
        off = ((expected.curvature - self.curvature) @ V.reshape(n, k, n * k)).reshape(n * k, n * k)
        return max(float(np.sqrt(max(r @ V @ r, 0.0))), float(np.sqrt(max(np.einsum("ab,ba->", off, off), 0.0))))

    def moved(self, expected, step: float) -> _Sites:
        """One damped step: Λ̄ towards E Λ, α by Newton's step towards α = E r."""
        curvature = (1 - step) * self.curvature + step * expected.curvature
        off = (expected.residual - self.alpha).ravel()
        change = scipy.linalg.solve(self.one_plus(curvature), off).reshape(self.alpha.shape)
        return _Sites(self.alpha + step * change, curvature, self.f, self.K)


def fixed_point(
    posterior: object, how: object, step: float = 1.0, tolerance: float = 1e-10, max_iterations: int = 500
) -> Optimum:
    """Σ⁻¹ = P₀ + Jᵀ E[Λ] J and m = m₀ − P₀⁻¹ Jᵀ E[r], Eq. (opper-archambeau) (Opper & Archambeau 2009), from q = the prior.

    The iteration runs over functions: with K = J P₀⁻¹ Jᵀ only matrices over data are met, and expectations over outputs. For
    networks affine in θ with a Gaussian prior; `how` is OverOutputs(rule) or ClosedForm(). Raises ValueError for others, and
    NotPositiveDefinite where an indefinite E Λ leaves the positive definite matrices: take a smaller step.
    """
    expect_methods("how", how, "of_outputs")
    expect_methods("posterior.prior", posterior.prior, "mean", "precision")
    refuse_nonlinear(posterior.loss.net)
    step, max_iterations = as_positive("step", step), as_count("max_iterations", max_iterations)
    prior, loss = posterior.prior, posterior.loss
    evaluation = loss.net.evaluate(prior.mean, loss.X)
    n, k = evaluation.f.shape
    K = kernel(evaluation, evaluation, prior.precision).reshape(n * k, n * k)
    sites = _Sites(np.zeros((n, k)), np.zeros((n, k, k)), evaluation.f, K)
    for iteration in range(max_iterations + 1):
        expected = how.of_outputs(loss, sites.mean, sites.covariances)
        residual = sites.residual(expected)
        if residual <= tolerance or iteration == max_iterations:
            break
        sites = sites.moved(expected, step)
    q = _over_weights(prior, evaluation.jacobian(), sites)
    family = Full(posterior.num_params)
    return describe(family, family.free(q), elbo(posterior, q, how), residual, tolerance, iteration)


def _over_weights(prior: Gaussian, J: np.ndarray, sites: _Sites) -> Gaussian:
    """The Gaussian over θ that the sites stand for."""
    p = J.shape[-1]
    added = linalg.symmetric_part(J.reshape(-1, p).T @ (sites.curvature @ J).reshape(-1, p))
    mean = prior.mean - prior.precision.solve(np.einsum("nkp,nk->p", J, sites.alpha))
    return Gaussian(mean, Dense(prior.precision.matrix() + added))
