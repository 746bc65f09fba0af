"""The linearised network: the model that the Gauss-Newton approximation really uses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refbnn.shapes import DataGradients, Inputs, Jacobian, Matrix, Outputs, Parameters, Vector, as_array, as_own_array


@dataclass(frozen=True)
class Linearised:
    """f_lin(x, θ) = f(x, θ*) + J(x, θ*)(θ − θ*), Eq. (linearised): a network like any other, affine in θ.

    Its Hessian equals the GGN of `net` at θ* = `at` for every likelihood, so that Laplace with the GGN is Laplace on this model.
    """

    net: object
    at: Vector

    is_linear = True

    def __post_init__(self):
        object.__setattr__(self, "at", as_own_array("at", self.at, "p", p=self.net.num_params))

    @property
    def num_inputs(self) -> int:
        """d."""
        return self.net.num_inputs

    @property
    def num_outputs(self) -> int:
        """k."""
        return self.net.num_outputs

    @property
    def num_params(self) -> int:
        """p."""
        return self.net.num_params

    def forward(self, theta: Parameters, X: Inputs) -> Outputs:
        """f(X, θ*) + J(X, θ*)(θ − θ*): (*s n k)."""
        return self.net.forward(self.at, X) + self.net.jvp(self.at, X, self._theta(theta) - self.at)

    def vjp(self, theta: Parameters, X: Inputs, v: Outputs) -> Parameters:
        """Σ_n J_n(θ*)ᵀ v_n, whatever θ: (*s p)."""
        X = as_array("X", X, "n d", d=self.num_inputs)
        v = as_array("v", v, "*s n k", n=len(X), k=self.num_outputs)
        batch = np.broadcast_shapes(self._theta(theta).shape[:-1], v.shape[:-2])
        return np.broadcast_to(self.net.vjp(self.at, X, v), (*batch, self.num_params))

    def vjp_per_datum(self, theta: Vector, X: Inputs, v: Outputs) -> DataGradients:
        """J_n(θ*)ᵀ v_n: (n p)."""
        as_array("theta", theta, "p", p=self.num_params)
        return self.net.vjp_per_datum(self.at, X, v)

    def jvp(self, theta: Parameters, X: Inputs, u: Parameters) -> Outputs:
        """J_n(θ*) u: (*s n k)."""
        u = as_array("u", u, "*s p", p=self.num_params)
        batch = np.broadcast_shapes(self._theta(theta).shape[:-1], u.shape[:-1])
        return np.broadcast_to(self.net.jvp(self.at, X, u), (*batch, len(X), self.num_outputs))

    def jacobian(self, theta: Parameters, X: Inputs) -> Jacobian:
        """J(X, θ*), the same for every θ: (*s n k p)."""
        J = self.net.jacobian(self.at, X)
        return np.broadcast_to(J, (*self._theta(theta).shape[:-1], *J.shape))

    def contracted_hessian(self, theta: Vector, X: Inputs, v: Outputs) -> Matrix:
        """Zero: the network is affine in θ. (p p)."""
        as_array("theta", theta, "p", p=self.num_params)
        X = as_array("X", X, "n d", d=self.num_inputs)
        as_array("v", v, "n k", n=len(X), k=self.num_outputs)
        return np.zeros((self.num_params, self.num_params))

    def contracted_hessian_product(self, theta: Parameters, X: Inputs, v: Outputs, u: Parameters) -> Parameters:
        """Zero: the network is affine in θ. (*s p)."""
        X = as_array("X", X, "n d", d=self.num_inputs)
        v = as_array("v", v, "*s n k", n=len(X), k=self.num_outputs)
        u = as_array("u", u, "*s p", p=self.num_params)
        batch = np.broadcast_shapes(self._theta(theta).shape[:-1], v.shape[:-2], u.shape[:-1])
        return np.zeros((*batch, self.num_params))

    def _theta(self, theta: Parameters) -> np.ndarray:
        return as_array("theta", theta, "*s p", p=self.num_params)
