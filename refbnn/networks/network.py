"""What a network is: something that can be evaluated. Everything else that one asks of a network is read off the evaluation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from refbnn.shapes import DataGradients, Inputs, Jacobian, Matrix, Outputs, Parameters, Vector, as_array


class Network(ABC):
    """f(x, θ) with its derivatives. A member defines its sizes, what it is affine in, and `evaluate` (returning an Evaluation).

    Every method here evaluates the network anew; call `evaluate` yourself to read several things off one forward pass.
    """

    @property
    @abstractmethod
    def num_inputs(self) -> int:
        """d, the number of inputs."""

    @property
    @abstractmethod
    def num_outputs(self) -> int:
        """k, the number of outputs."""

    @property
    @abstractmethod
    def num_params(self) -> int:
        """p, the number of parameters."""

    @property
    @abstractmethod
    def layer_sizes(self) -> tuple[int, ...]:
        """The number of parameters of each layer."""

    @property
    @abstractmethod
    def is_linear(self) -> bool:
        """Whether f is affine in θ."""

    @abstractmethod
    def is_linear_in(self, parameters: object) -> bool:
        """Whether f is affine in the parameters with these indices, the rest fixed at any values; False where in doubt."""

    @abstractmethod
    def evaluate(self, theta: Parameters, X: Inputs) -> object:
        """Run the network once: everything else is read off the result, and computed when it is asked for."""

    def first_order(self, X: Inputs) -> object:
        """The network on X: `evaluate(theta)`, `gradient(theta, derivatives)` for derivatives(f) (*s n k), and
        `value_and_gradient(theta, outer)` for outer(f) = (values (*s), derivatives)."""
        return _Evaluated(self, X)

    def forward(self, theta: Parameters, X: Inputs) -> Outputs:
        """f(x_n, θ), Eq. (forward): (*s n k)."""
        return self.evaluate(theta, X).f

    def vjp(self, theta: Parameters, X: Inputs, v: Outputs) -> Parameters:
        """Σ_n J_nᵀ v_n, Eq. (vjp): (*s p). Leading axes of θ and v broadcast."""
        return self.evaluate(theta, X).vjp(v)

    def vjp_per_datum(self, theta: Vector, X: Inputs, v: Outputs) -> DataGradients:
        """J_nᵀ v_n for every datum, Eq. (layer-jacobian): (n p), without forming J. θ is one parameter vector."""
        return self.evaluate(self._one(theta), X).vjp_per_datum(v)

    def jvp(self, theta: Parameters, X: Inputs, u: Parameters) -> Outputs:
        """J_n u, the derivative of f along u, Eq. (jvp): (*s n k). Leading axes of θ and u broadcast."""
        return self.evaluate(theta, X).jvp(u)

    def jacobian(self, theta: Parameters, X: Inputs) -> Jacobian:
        """J_n = ∂f(x_n)/∂θ, Eq. (layer-jacobian): (*s n k p)."""
        return self.evaluate(theta, X).jacobian()

    def contracted_hessian(self, theta: Vector, X: Inputs, v: Outputs) -> Matrix:
        """Σ_nk v_nk ∇²f_nk in closed form, Eq. (contracted-hessian): (p p), exactly symmetric. θ is one parameter vector."""
        at = self.evaluate(self._one(theta), X)
        return at.pullback(v=as_array("v", v, "n k", n=at.num_data, k=self.num_outputs)).full()

    def contracted_hessian_product(self, theta: Parameters, X: Inputs, v: Outputs, u: Parameters) -> Parameters:
        """(Σ_nk v_nk ∇²f_nk) u without the matrix (Pearlmutter 1994), Eq. (contracted-hessian-product): (*s p)."""
        at = self.evaluate(theta, X)
        return at.second_order_product(u, v=as_array("v", v, "*s n k", n=at.num_data, k=self.num_outputs))

    def _one(self, theta: Vector) -> Vector:
        return as_array("theta", theta, "p", p=self.num_params)


@dataclass(frozen=True)
class _Evaluated:
    """First order from a full evaluation."""

    net: Network
    X: Inputs

    def evaluate(self, theta):
        """The evaluation at θ."""
        return self.net.evaluate(theta, self.X)

    def value_and_gradient(self, theta, outer):
        """outer's values (*s) and Σ_n J_nᵀ of its derivatives (*s p)."""
        at = self.net.evaluate(theta, self.X)
        values, derivatives = outer(at.f)
        return values, at.vjp(derivatives)

    def gradient(self, theta, derivatives):
        """Σ_n J_nᵀ derivatives(f)_n (*s p)."""
        at = self.net.evaluate(theta, self.X)
        return at.vjp(derivatives(at.f))
