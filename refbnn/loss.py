"""The summed negative log-likelihood of a network on data: value, gradient and every curvature. The prior is not included."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from refbnn.linalg import semidefinite_root
from refbnn.networks.pullback import Pullback
from refbnn.networks.rows import Rows
from refbnn.shapes import (
    DataGradients, DataMatrices, Inputs, Matrix, Outputs, Parameters, Targets, Values, Vector, as_array, as_own_array,
    expect_methods,
)


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
        expect_methods("net", self.net, "evaluate", "num_inputs", "num_outputs", "num_params")
        expect_methods("likelihood", self.likelihood, "log_prob", "residual", "curvature", "check_targets")
        X = as_own_array("X", self.X, "n d", d=self.net.num_inputs)
        if len(X) == 0:
            raise ValueError("X: expected at least one datum, got none")
        object.__setattr__(self, "X", X)
        object.__setattr__(self, "y", self.likelihood.check_targets(self.y, len(X), self.net.num_outputs).copy())
        self.y.flags.writeable = False

    def value(self, theta: Parameters) -> Values:
        """Σ_n ℓ_n: (*s)."""
        return self._value(self._first_order.evaluate(theta).f)

    def gradient(self, theta: Parameters) -> Parameters:
        """Σ_n J_nᵀ r_n: (*s p)."""
        return self._first_order.gradient(theta, self._residual)

    def value_and_gradient(self, theta: Parameters) -> tuple[Values, Parameters]:
        """Σ_n ℓ_n (*s) and its gradient Σ_n J_nᵀ r_n (*s p), from one forward pass."""
        return self._first_order.value_and_gradient(theta, self._value_and_residual)

    def at(self, theta: Vector) -> Curvatures:
        """Every second derivative at one θ, in every structure, from one forward pass."""
        theta = as_array("theta", theta, "p", p=self.net.num_params)
        return Curvatures(self._first_order.evaluate(theta), self.likelihood, self.y)

    def per_datum_gradients(self, theta: Vector) -> DataGradients:
        """g_n = J_nᵀ r_n: (n p)."""
        return self.at(theta).per_datum_gradients()

    def ggn(self, theta: Vector) -> Matrix:
        """G = Σ_n J_nᵀ Λ_n J_n, Eq. (ggn): (p p)."""
        return self.at(theta).ggn.full()

    def hessian(self, theta: Vector) -> Matrix:
        """H = G + Σ_nk r_nk ∇²f_nk, Eq. (hessian-split): (p p)."""
        return self.at(theta).hessian.full()

    def hessian_vector_product(self, theta: Parameters, v: Parameters) -> Parameters:
        """H v without H: Jᵀ Λ J v and the second derivatives of the network along v (Pearlmutter 1994): (*s p).

        Eq. (r-operator).
        """
        at = self._first_order.evaluate(theta)
        f = at.f
        return at.second_order_product(v, self.likelihood.curvature(f, self.y), self.likelihood.residual(f, self.y))

    def fisher(self, theta: Vector) -> Matrix:
        """F = Σ_n J_nᵀ E_{y~p(.|f_n)}[r rᵀ] J_n, the exact Fisher matrix, Eq. (fisher): (p p)."""
        return self.at(theta).fisher.full()

    def sampled_fisher(self, theta: Vector, labels: Targets) -> Matrix:
        """Σ_n g_n g_nᵀ with g_n at one given draw of y_n from the model: unbiased for F when the labels are such draws. (p p).

        Eq. (fisher-sampled).
        """
        return self.at(theta).sampled_fisher(labels).full()

    def empirical_fisher(self, theta: Vector) -> Matrix:
        """Σ_n g_n g_nᵀ at the observed y, not centred, Eq. (empirical-fisher): (p p)."""
        return self.at(theta).empirical_fisher.full()

    def centred_empirical_fisher(self, theta: Vector) -> Matrix:
        """Σ_n (g_n − ḡ)(g_n − ḡ)ᵀ, ḡ the mean of the g_n, Eq. (centred-empirical-fisher): (p p)."""
        return self.at(theta).centred_empirical_fisher.full()

    @cached_property
    def _first_order(self) -> object:
        return self.net.first_order(self.X)

    def _value_and_residual(self, f: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Both at once where the likelihood can."""
        if hasattr(self.likelihood, "loss_and_residual"):
            return self.likelihood.loss_and_residual(f, self.y)
        return self._value(f), self._residual(f)

    def _residual(self, f: np.ndarray) -> np.ndarray:
        return self.likelihood.residual(f, self.y)

    def _value(self, f: np.ndarray) -> np.ndarray:
        return -self.likelihood.log_prob(f, self.y).sum(-1)


@dataclass(frozen=True)
class Curvatures:
    """The second derivatives of the loss at one θ, each a Pullback: `.full()`, `.diagonal()`, `.layer_blocks()`, ...

    The centred empirical Fisher is no sum over data; it comes as Rows, with the same methods.
    """

    evaluation: object
    likelihood: object
    y: Targets

    @cached_property
    def residual(self) -> Outputs:
        """r = ∂ℓ/∂f: (n k)."""
        return self.likelihood.residual(self.evaluation.f, self.y)

    @property
    def ggn(self) -> Pullback:
        """G = Σ_n J_nᵀ Λ_n J_n, Eq. (ggn)."""
        return self.evaluation.pullback(*self._output_curvature())

    @property
    def hessian(self) -> Pullback:
        """H = G + Σ_nk r_nk ∇²f_nk, Eq. (hessian-split)."""
        return self.evaluation.pullback(*self._output_curvature(), v=self.residual)

    @property
    def residual_part(self) -> Pullback:
        """R = H − G = Σ_nk r_nk ∇²f_nk, Eq. (hessian-split)."""
        return self.evaluation.pullback(v=self.residual)

    @property
    def fisher(self) -> Pullback:
        """F = Σ_n J_nᵀ E_{y~p(.|f_n)}[r rᵀ] J_n, Eq. (fisher)."""
        F = self.likelihood.fisher(self.evaluation.f)
        return self.evaluation.pullback(F, S=lambda: semidefinite_root(F))

    @property
    def empirical_fisher(self) -> Pullback:
        """Σ_n J_nᵀ r_n r_nᵀ J_n, not centred, Eq. (empirical-fisher)."""
        return self.evaluation.pullback(S=self.residual[..., None])

    @property
    def centred_empirical_fisher(self) -> Rows:
        """Σ_n (g_n − ḡ)(g_n − ḡ)ᵀ, g_n = J_nᵀ r_n with mean ḡ, Eq. (centred-empirical-fisher)."""
        return self.evaluation.scatter(self.residual)

    def sample_labels(self, rng: np.random.Generator) -> Targets:
        """One draw of every y from the model, for `sampled_fisher`: of the shape of y."""
        return self.likelihood.sample(self.evaluation.f, rng)

    def sampled_fisher(self, labels: Targets) -> Pullback:
        """The empirical Fisher at given draws of y from the model, such as `sample_labels(rng)`."""
        n, k = self.evaluation.f.shape
        labels = self.likelihood.check_targets(labels, n, k)
        return Curvatures(self.evaluation, self.likelihood, labels).empirical_fisher

    def per_datum_gradients(self) -> DataGradients:
        """g_n = J_nᵀ r_n: (n p)."""
        return self.evaluation.vjp_per_datum(self.residual)

    def _output_curvature(self) -> tuple[DataMatrices, DataMatrices | None]:
        """Λ and, where the likelihood says that it is never indefinite, its factor."""
        f, likelihood = self.evaluation.f, self.likelihood
        has_factor = getattr(likelihood, "log_concave", False)
        return likelihood.curvature(f, self.y), likelihood.factor(f, self.y) if has_factor else None
