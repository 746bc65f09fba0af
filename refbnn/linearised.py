"""The linearised network: the model that the Gauss-Newton approximation really uses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refbnn.networks import jets
from refbnn.networks.mlp import Evaluation
from refbnn.networks.network import Network
from refbnn.networks.pullback import Pullback
from refbnn.networks.rows import Rows
from refbnn.shapes import DataGradients, Inputs, Jacobian, Outputs, Parameters, Vector, as_array, as_own_array, expect_methods


@dataclass(frozen=True)
class Linearised(Network):
    """f_lin(x, θ) = f(x, θ*) + J(x, θ*)(θ − θ*), Eq. (linearised): a network like any other, affine in θ.

    Its Jacobian is that of `net` at θ* = `at`, whatever θ; second derivatives are zero. The Hessian of its loss is the GGN
    of `net` at θ* for every likelihood, so that Laplace with the GGN is Laplace on this model.
    """

    net: object
    at: Vector

    is_linear = True

    def __post_init__(self):
        expect_methods("net", self.net, "evaluate", "num_inputs", "num_outputs", "num_params")
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

    @property
    def layer_sizes(self) -> tuple[int, ...]:
        """The number of parameters of each layer, those of `net`."""
        return self.net.layer_sizes

    def is_linear_in(self, parameters: np.ndarray) -> bool:
        """True."""
        return True

    def evaluate(self, theta: Parameters, X: Inputs) -> LinearisedEvaluation:
        """The linearised network at θ on X; derivatives beyond the first vanish."""
        theta = as_array("theta", theta, "*s p", p=self.num_params)
        return LinearisedEvaluation(self.net.evaluate(self.at, X), theta - self.at)


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

    def inputs_vjp(self, l: int, v: np.ndarray) -> Parameters:
        """Zero: the inputs of the layers are those at θ*, whatever θ. (p)"""
        return np.zeros(self.num_params)

    def jvp(self, u: Parameters) -> Outputs:
        """J_n(θ*) u: (*s n k)."""
        return self._batched(self.base.jvp(u), 2)

    def jacobian(self) -> Jacobian:
        """J(X, θ*): (*s n k p)."""
        return self._batched(self.base.jacobian(), 3)

    def pullback(self, M: np.ndarray | None = None, S: np.ndarray | None = None, v: Outputs | None = None) -> Pullback:
        """Σ_n J_n(θ*)ᵀ M_n J_n(θ*): v plays no part, because the second derivative of the outputs is zero."""
        if v is not None:
            as_array("v", v, "n k", n=self.num_data, k=self.num_outputs)
        return self.base.pullback(M, S)

    def scatter(self, v: Outputs) -> Rows:
        """Σ_n (g_n − ḡ)(g_n − ḡ)ᵀ for g_n = J_n(θ*)ᵀ v_n and their mean ḡ."""
        return self.base.scatter(v)

    def second_order_product(self, u: Parameters, M: np.ndarray | None = None, v: Outputs | None = None) -> Parameters:
        """(Σ_n J_nᵀ M_n J_n) u: (*s p)."""
        product = self._batched(self.base.second_order_product(u, M), 1)
        if v is None:
            return product
        v = as_array("v", v, "*s n k", n=self.base.num_data, k=self.base.num_outputs)
        return np.broadcast_to(product, np.broadcast_shapes(product.shape, (*v.shape[:-2], 1)))

    def bend(self, u: Parameters) -> Outputs:
        """Zero: (*s n k)."""
        return np.zeros_like(self.jvp(u))

    def jet(self, u: Parameters) -> tuple[Outputs, Outputs, Outputs, Outputs]:
        """(J_n(θ*) u, 0, 0, 0): (*s n k) each."""
        slope = self.jvp(u)
        return slope, *[np.zeros_like(slope)] * 3

    def third_order_product(self, u: Parameters, r: np.ndarray, M: np.ndarray, T: np.ndarray) -> Parameters:
        """Σ_n J_nᵀ T_n[J_n u, J_n u]: r and M play no part, because the second derivative of the outputs is zero. (*s p)."""
        return self.vjp(jets.twice(T, self.jvp(u)))

    def _batched(self, value: np.ndarray, trailing: int) -> np.ndarray:
        """`value`, which does not depend on θ, with the leading axes of θ."""
        batch = np.broadcast_shapes(self.shift.shape[:-1], value.shape[:-trailing])
        return np.broadcast_to(value, (*batch, *value.shape[-trailing:]))
