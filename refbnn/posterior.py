"""The posterior of a network: likelihood on data times prior."""

from __future__ import annotations

from dataclasses import dataclass

from refbnn.likelihoods.tempered import Tempered
from refbnn.loss import Loss
from refbnn.shapes import Inputs, Matrix, Parameters, Targets, Values, Vector, as_positive, expect_methods


@dataclass(frozen=True)
class Posterior:
    """p(θ|y) ∝ p(y|θ) p(θ). Densities and their gradients go up; `loss` has the curvatures of −log p(y|θ).

    `prior` is a Gaussian, any other member of `refbnn.priors`, or any object with num_params, log_prob, gradient and
    negative_hessian. Raises ValueError when the prior's length is not the network's number of parameters, and what Loss raises.
    """

    net: object
    likelihood: object
    prior: object
    X: Inputs
    y: Targets

    def __post_init__(self):
        expect_methods("prior", self.prior, "num_params", "log_prob", "gradient", "negative_hessian")
        if self.prior.num_params != self.net.num_params:
            raise ValueError(
                f"prior: expected {self.net.num_params} parameters as the network has, got {self.prior.num_params}"
            )
        object.__setattr__(self, "loss", Loss(self.net, self.likelihood, self.X, self.y))

    @property
    def num_params(self) -> int:
        """p."""
        return self.net.num_params

    def tempered(self, beta: float) -> Posterior:
        """p(y|θ)^β p(θ), unnormalised, as a posterior: the path from the prior (β → 0) to this one (β = 1). β > 0."""
        return Posterior(self.net, Tempered(self.likelihood, 1 / as_positive("beta", beta)), self.prior, self.X, self.y)

    def log_likelihood(self, theta: Parameters) -> Values:
        """log p(y|θ): (*s)."""
        return -self.loss.value(theta)

    def log_prob(self, theta: Parameters) -> Values:
        """log p(y, θ) = log p(y|θ) + log p(θ), every constant kept: (*s)."""
        return self.log_likelihood(theta) + self.prior.log_prob(theta)

    def value_and_gradient(self, theta: Parameters) -> tuple[Values, Parameters]:
        """log p(y, θ) (*s) and its gradient (*s p)."""
        loss, gradient = self.loss.value_and_gradient(theta)
        log_prior, prior_gradient = self._prior_value_and_gradient(theta)
        return log_prior - loss, prior_gradient - gradient

    def gradient(self, theta: Parameters) -> Parameters:
        """∇ log p(y, θ): (*s p)."""
        return self.prior.gradient(theta) - self.loss.gradient(theta)

    def negative_hessian(self, theta: Vector) -> Matrix:
        """−∇² log p(y, θ) = H − ∇² log p(θ), which is H + P₀ for a Gaussian prior: (p p)."""
        return self.loss.hessian(theta) + self.prior.negative_hessian(theta)

    def _prior_value_and_gradient(self, theta: Parameters) -> tuple[Values, Parameters]:
        """Both at once where the prior can."""
        if hasattr(self.prior, "value_and_gradient"):
            return self.prior.value_and_gradient(theta)
        return self.prior.log_prob(theta), self.prior.gradient(theta)
