"""The summed negative log-likelihood of a network on data: value, gradient and every curvature. The prior is not included."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refbnn import curvature
from refbnn.shapes import DataGradients, Inputs, Matrix, Parameters, Targets, Values, Vector, as_own_array, expect_methods


@dataclass(frozen=True)
class Loss:
    """Σ_n ℓ(y_n, f(x_n, θ)), ℓ = −log p(y|f), constants included, summed and never averaged.

    `net` is any network (Mlp, Linearised), `likelihood` any member of `refbnn.likelihoods`. Raises ValueError for inputs or
    targets of the wrong shape, NaN, or labels out of range.
    """

    net: object
    likelihood: object
    X: Inputs
    y: Targets

    def __post_init__(self):
        expect_methods("net", self.net, "forward", "vjp", "jvp", "jacobian")
        expect_methods("likelihood", self.likelihood, "log_prob", "residual", "curvature", "check_targets")
        X = as_own_array("X", self.X, "n d", d=self.net.num_inputs)
        if len(X) == 0:
            raise ValueError("X: expected at least one datum, got none")
        object.__setattr__(self, "X", X)
        object.__setattr__(self, "y", self.likelihood.check_targets(self.y, len(X), self.net.num_outputs).copy())
        self.y.flags.writeable = False

    def value(self, theta: Parameters) -> Values:
        """Σ_n ℓ_n: (*s)."""
        return -self.likelihood.log_prob(self.net.forward(theta, self.X), self.y).sum(-1)

    def gradient(self, theta: Parameters) -> Parameters:
        """Σ_n J_nᵀ r_n: (*s p)."""
        return self.net.vjp(theta, self.X, self._residual(theta))

    def per_datum_gradients(self, theta: Vector) -> DataGradients:
        """g_n = J_nᵀ r_n: (n p)."""
        return self.net.vjp_per_datum(theta, self.X, self._residual(theta))

    def ggn(self, theta: Vector) -> Matrix:
        """G = Σ_n J_nᵀ Λ_n J_n, Eq. (ggn): (p p)."""
        f = self.net.forward(theta, self.X)
        return curvature.ggn(self.net.jacobian(theta, self.X), self.likelihood.factor(f, self.y))

    def hessian(self, theta: Vector) -> Matrix:
        """H = G + Σ_nk r_nk ∇²f_nk, Eq. (hessian-split): (p p)."""
        return self.ggn(theta) + self.net.contracted_hessian(theta, self.X, self._residual(theta))

    def hessian_vector_product(self, theta: Parameters, v: Parameters) -> Parameters:
        """H v without H: Jᵀ Λ J v, then the second derivatives of the network along v (Pearlmutter 1994): (*s p)."""
        f = self.net.forward(theta, self.X)
        tangent = self.net.jvp(theta, self.X, v)
        bent = (self.likelihood.curvature(f, self.y) @ tangent[..., None])[..., 0]
        residual = self.likelihood.residual(f, self.y)
        return self.net.vjp(theta, self.X, bent) + self.net.contracted_hessian_product(theta, self.X, residual, v)

    def fisher(self, theta: Vector) -> Matrix:
        """F = Σ_n J_nᵀ E_{y~p(.|f_n)}[r rᵀ] J_n, the exact Fisher matrix, Eq. (fisher): (p p)."""
        f = self.net.forward(theta, self.X)
        return curvature.congruence(self.net.jacobian(theta, self.X), self.likelihood.fisher(f))

    def sampled_fisher(self, theta: Vector, labels: Targets) -> Matrix:
        """Σ_n g_n g_nᵀ with g_n at one given draw of y_n from the model: unbiased for F when the labels are such draws. (p p)."""
        return Loss(self.net, self.likelihood, self.X, labels).empirical_fisher(theta)

    def empirical_fisher(self, theta: Vector) -> Matrix:
        """Σ_n g_n g_nᵀ at the observed y, not centred, Eq. (empirical-fisher): (p p)."""
        return curvature.empirical_fisher(self.per_datum_gradients(theta))

    def _residual(self, theta: Parameters) -> np.ndarray:
        return self.likelihood.residual(self.net.forward(theta, self.X), self.y)
