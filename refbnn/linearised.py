"""The linearised network: the model that the Gauss-Newton approximation really uses."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from refbnn.mlp import Evaluation
from refbnn.pullback import Pullback
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

    def evaluate(self, theta: Parameters, X: Inputs, order: int = 2) -> LinearisedEvaluation:
        """The linearised network at θ on X; derivatives beyond the first vanish, so `order` above 1 costs nothing."""
        theta = as_array("theta", theta, "*s p", p=self.num_params)
        return LinearisedEvaluation(self.net.evaluate(self.at, X, order=1), theta - self.at)

    def forward(self, theta: Parameters, X: Inputs) -> Outputs:
        """f(X, θ*) + J(X, θ*)(θ − θ*): (*s n k)."""
        return self.evaluate(theta, X).f

    def vjp(self, theta: Parameters, X: Inputs, v: Outputs) -> Parameters:
        """Σ_n J_n(θ*)ᵀ v_n, whatever θ: (*s p)."""
        return self.evaluate(theta, X).vjp(v)

    def vjp_per_datum(self, theta: Vector, X: Inputs, v: Outputs) -> DataGradients:
        """J_n(θ*)ᵀ v_n: (n p)."""
        return self.evaluate(self._one(theta), X).vjp_per_datum(v)

    def jvp(self, theta: Parameters, X: Inputs, u: Parameters) -> Outputs:
        """J_n(θ*) u: (*s n k)."""
        return self.evaluate(theta, X).jvp(u)

    def jacobian(self, theta: Parameters, X: Inputs) -> Jacobian:
        """J(X, θ*), the same for every θ: (*s n k p)."""
        return self.evaluate(theta, X).jacobian()

    def contracted_hessian(self, theta: Vector, X: Inputs, v: Outputs) -> Matrix:
        """Zero: the network is affine in θ. (p p)."""
        at = self.evaluate(self._one(theta), X)
        return at.pullback(v=as_array("v", v, "n k", n=at.num_data, k=self.num_outputs)).full()

    def contracted_hessian_product(self, theta: Parameters, X: Inputs, v: Outputs, u: Parameters) -> Parameters:
        """Zero: the network is affine in θ. (*s p)."""
        at = self.evaluate(theta, X)
        return at.second_order_product(u, v=as_array("v", v, "*s n k", n=at.num_data, k=self.num_outputs))

    def _one(self, theta: Vector) -> Vector:
        return as_array("theta", theta, "p", p=self.num_params)


@dataclass(frozen=True)
class LinearisedEvaluation:
    """What `Evaluation` is for a network: `base` is that of the original network at θ*, `shift` is θ − θ* (*s p)."""

    base: Evaluation
    shift: Parameters

    @property
    def num_params(self) -> int:
        """p."""
        return self.base.num_params

    @property
    def num_data(self) -> int:
        """n."""
        return self.base.num_data

    @property
    def num_outputs(self) -> int:
        """k."""
        return self.base.num_outputs

    @property
    def batch(self) -> tuple[int, ...]:
        """The leading axes of θ, *s."""
        return self.shift.shape[:-1]

    @property
    def f(self) -> Outputs:
        """f(X, θ*) + J(X, θ*)(θ − θ*): (*s n k)."""
        return self.base.f + self.base.jvp(self.shift)

    def vjp(self, v: Outputs) -> Parameters:
        """Σ_n J_n(θ*)ᵀ v_n: (*s p)."""
        return self._batched(self.base.vjp(v), 1)

    def vjp_per_datum(self, v: Outputs) -> DataGradients:
        """J_n(θ*)ᵀ v_n: (n p)."""
        return self.base.vjp_per_datum(v)

    def jvp(self, u: Parameters) -> Outputs:
        """J_n(θ*) u: (*s n k)."""
        return self._batched(self.base.jvp(u), 2)

    def jacobian(self) -> Jacobian:
        """J(X, θ*): (*s n k p)."""
        return self._batched(self.base.jacobian(), 3)

    def pullback(self, M: np.ndarray | None = None, S: np.ndarray | None = None, v: Outputs | None = None) -> Pullback:
        """Σ_n J_n(θ*)ᵀ M_n J_n(θ*): v plays no part, because the second derivative of the outputs is zero."""
        return replace(self.base.pullback(M, S, v), v=None)

    def second_order_product(self, u: Parameters, M: np.ndarray | None = None, v: Outputs | None = None) -> Parameters:
        """(Σ_n J_nᵀ M_n J_n) u: (*s p)."""
        product = self._batched(self.base.second_order_product(u, M), 1)
        if v is None:
            return product
        v = as_array("v", v, "*s n k", n=self.base.num_data, k=self.base.num_outputs)
        return np.broadcast_to(product, np.broadcast_shapes(product.shape, (*v.shape[:-2], 1)))

    def _batched(self, value: np.ndarray, trailing: int) -> np.ndarray:
        """`value`, which does not depend on θ, with the leading axes of θ."""
        batch = np.broadcast_shapes(self.shift.shape[:-1], value.shape[:-trailing])
        return np.broadcast_to(value, (*batch, *value.shape[-trailing:]))
