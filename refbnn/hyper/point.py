"""The Laplace evidence at one η and one θ, and its derivatives in η: with θ frozen, and through the mode."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from refbnn import laplace, optimize
from refbnn.hyper.arrays import Hyper, HyperGradients
from refbnn.hyper.curvatures import Curvature
from refbnn.hyper.family import Family
from refbnn.gaussian import Gaussian
from refbnn.loss import Curvatures
from refbnn.posterior import Posterior
from refbnn.precision import Dense
from refbnn.shapes import Vector, as_own_array, expect_methods


@dataclass(frozen=True)
class Evidence:
    """F(θ, η) = log p(y, θ|η) + ½ p log 2π − ½ log |C(θ, η) + P₀(η)|, Eq. (evidence-function), and its derivatives.

    At a mode θ*(η) this is the Laplace evidence. Raises NotPositiveDefinite where C + P₀ is not.
    """

    family: Family
    curvature: Curvature
    eta: Hyper
    theta: Vector

    def __post_init__(self):
        object.__setattr__(self, "eta", as_own_array("eta", self.eta, "h", h=self.family.num_hyper))
        object.__setattr__(self, "theta", as_own_array("theta", self.theta, "p", p=self.family.net.num_params))

    @property
    def num_hyper(self) -> int:
        """h."""
        return len(self.eta)

    @cached_property
    def posterior(self) -> Posterior:
        """p(θ|y, η)."""
        return self.family.at(self.eta)

    @cached_property
    def curvatures(self) -> Curvatures:
        """Those of the loss at θ."""
        return self.posterior.loss.at(self.theta)

    @cached_property
    def q(self) -> Gaussian:
        """N(θ, (C + P₀)⁻¹)."""
        return laplace.at(self.theta, self.posterior.prior.precision + self.curvature.matrix(self.curvature.of(self.curvatures)))

    @cached_property
    def log_evidence(self) -> float:
        """F(θ, η)."""
        return laplace.log_evidence(self.posterior.log_prob(self.theta), self.q)

    @cached_property
    def covariance(self) -> np.ndarray:
        """S = (C + P₀)⁻¹: (p p)."""
        return self.q.covariance()

    @cached_property
    def direct_gradient(self) -> Hyper:
        """∂F/∂η with θ frozen: ∂ log p(y, θ)/∂η − ½ tr(S ∂(C + P₀)/∂η), Eq. (direct-gradient): (h)."""
        return self._log_joint_derivatives() - 0.5 * self._traces()

    @cached_property
    def trace_gradient(self) -> Vector:
        """t = ∇_θ tr(S C(θ)) at fixed S = ∇_θ log |C(θ) + P₀|: (p)."""
        return self.curvature.trace_gradient(self.posterior.loss, self.theta, self.q.scale().T)

    @cached_property
    def gradient_derivatives(self) -> HyperGradients:
        """∂ ∇_θ log p(y, θ)/∂η: (h p)."""
        of_prior, of_likelihood = self.family.split(self.eta)
        residuals = self._likelihoods.residual_derivatives(of_likelihood, self._f, self.posterior.loss.y)
        from_data = [-self.curvatures.evaluation.vjp(v) for v in residuals]
        return np.array([*self.family.precisions.gradient_derivatives(of_prior, self.theta), *from_data])

    @cached_property
    def mode_derivatives(self) -> HyperGradients:
        """dθ*/dη = (H + P₀)⁻¹ ∂ ∇_θ log p(y, θ)/∂η by the implicit function theorem, Eq. (mode-derivative), at a mode: (h p).

        H is the Hessian of the loss whatever curvature the evidence uses: the mode knows nothing of the approximation.
        """
        return Dense(self.posterior.negative_hessian(self.theta)).solve(self.gradient_derivatives)

    @cached_property
    def total_gradient(self) -> Hyper:
        """dF(θ*(η), η)/dη = ∂F/∂η − ½ (dθ*/dη)ᵀ t, Eq. (total-gradient), at a mode: (h)."""
        return self.direct_gradient - 0.5 * self.mode_derivatives @ self.trace_gradient

    @property
    def _likelihoods(self):
        return self.family.likelihoods

    @property
    def _f(self):
        return self.curvatures.evaluation.f

    def _log_joint_derivatives(self):
        of_prior, of_likelihood = self.family.split(self.eta)
        of_data = self._likelihoods.log_prob_derivatives(of_likelihood, self._f, self.posterior.loss.y).sum(-1)
        return np.concatenate([self.family.precisions.log_prob_derivatives(of_prior, self.theta), of_data])

    def _traces(self):
        """tr(S ∂(C + P₀)/∂η): (h)."""
        (of_prior, of_likelihood), y = self.family.split(self.eta), self.posterior.loss.y
        matrices = self._likelihoods.curvature_derivatives(of_likelihood, self._f, y)
        residuals = self._likelihoods.residual_derivatives(of_likelihood, self._f, y)
        at = self.curvatures.evaluation
        changes = [self.curvature.matrix(self.curvature.pulled_back(at, M, v)) for M, v in zip(matrices, residuals)]
        of_prior = self.family.precisions.traces(of_prior, np.diagonal(self.covariance))
        return np.concatenate([of_prior, [(self.covariance * change).sum() for change in changes]])


def at(family: Family, curvature: Curvature, eta: Hyper, start: Vector) -> Evidence:
    """The Laplace evidence at η: the mode near `start` is found first. Raises NotAMode where there is none."""
    expect_methods("family", family, "at", "split")
    expect_methods("curvature", curvature, "of", "pulled_back", "trace_gradient", "matrix")
    return Evidence(family, curvature, eta, optimize.maximize(family.at(eta), start).theta)
