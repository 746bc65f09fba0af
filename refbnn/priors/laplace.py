"""The Laplace (double exponential) prior: the one behind the lasso. Not the Laplace approximation, which is refbnn.laplace."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refbnn.priors.independent import IndependentPrior, refuse_zero


@dataclass(frozen=True)
class Laplace(IndependentPrior):
    """p(θ_j) = exp(−|θ_j|/b)/(2b), b = scale; variance 2b². Raises ValueError unless scale > 0.

    At θ_j = 0 the density has a kink: log_prob is defined, gradient and negative_hessian raise NoDerivative. Elsewhere the
    negative Hessian is 0. A mode that lies on the kink (|∂ log p(y|θ)/∂θ_j| <= 1/b there) has no Laplace approximation, and
    optimize.maximize raises NotAMode on the way to it, Eq. (soft-threshold).
    """

    def log_density(self, theta):
        """−|θ|/b − log 2b."""
        return -np.abs(theta) / self.scale - np.log(2 * self.scale)

    def score(self, theta):
        """−sign(θ)/b."""
        refuse_zero(theta, "a kink")
        return -np.sign(theta) / self.scale

    def bend(self, theta):
        """0."""
        refuse_zero(theta, "a kink")
        return np.zeros(theta.shape)

    def draw(self, rng, shape):
        """Differences of two exponential numbers have this law."""
        return self.scale * rng.laplace(size=shape)
