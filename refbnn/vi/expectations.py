"""How expectations under q are taken: over the parameters, over the outputs of a linear model, or in closed form.

Each has `.loss(loss, q)` and `.prior(prior, q)`. Both return the expectation of a negative log density and of its gradient (p),
with estimates of their errors, of gradient times zᵀ (p p) for θ = mean + C z, and of second derivatives (p p). The expectation of
a Gaussian prior is exact everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from refbnn import linalg
from refbnn.gaussian import Gaussian
from refbnn.loss import Loss
from refbnn.quadrature import ROUND_OFF, Integral, Replicated, Rule
from refbnn.shapes import Matrix, Vector, expect_methods

AT_ONCE = 2**18  # entries (points times parameters squared) of second derivatives that are computed together


@dataclass(frozen=True, eq=False)
class Expected:
    """E_q h for h = −log of a density, E ∇h (p), both with estimated errors, E ∇h zᵀ (p p) and E ∇²h (p p)."""

    value: float
    error: float
    gradient: Vector
    gradient_error: Vector
    cross: Matrix
    hessian: Matrix
    hessian_error: Matrix


@dataclass(frozen=True, eq=False)
class OverParameters:
    """Sums over a rule for the p standard normals z of θ = mean + C z: for every model and prior, and few parameters."""

    rule: Rule | Replicated

    def __post_init__(self):
        expect_methods("rule", self.rule, "integrate", "dim")

    def loss(self, loss: Loss, q: Gaussian) -> LossOverParameters:
        """E_q of the summed loss. Raises ValueError for a rule of another dimension than p."""
        return LossOverParameters(loss, self._fitting(q), self.rule)

    def prior(self, prior: object, q: Gaussian) -> Expected | PriorOverParameters:
        """E_q[−log p(θ)], exact for a Gaussian prior, Eq. (expected-prior)."""
        is_gaussian = hasattr(prior, "precision")
        return gaussian_prior(prior, q) if is_gaussian else PriorOverParameters(prior, self._fitting(q), self.rule)

    def _fitting(self, q: Gaussian) -> Gaussian:
        if self.rule.dim != q.num_params:
            raise ValueError(f"rule: expected one of dimension {q.num_params}, the number of parameters, got {self.rule.dim}")
        return q


@dataclass(frozen=True, eq=False)
class OverOutputs:
    """Sums over a rule for the k outputs of each datum, which are Gaussian under q: for networks affine in θ, of any size.

    Needed are E r_n (k) and E Λ_n (k k), Eq. (output-expectations). E ∇ℓ zᵀ is the derivative of the sum itself, from r alone:
    with one output Σ Jᵀ (E[r z]/s) J C for f = f̄ + s z, which is (E H) C up to the error of the rule, Eq. (price).
    """

    rule: Rule | Replicated

    def __post_init__(self):
        expect_methods("rule", self.rule, "integrate", "dim")

    def loss(self, loss: Loss, q: Gaussian) -> LossOverOutputs:
        """E_q of the summed loss. Raises ValueError for a network that is not affine in θ, or a rule not of dimension k."""
        return _over_outputs(self, loss, q)

    def prior(self, prior: object, q: Gaussian) -> Expected:
        """E_q[−log p(θ)]. Raises ValueError for a prior that is not Gaussian."""
        return gaussian_prior(prior, q)

    def of_outputs(self, loss: Loss, mean: np.ndarray, covariance: np.ndarray) -> OutputExpectations:
        """E ℓ, E r and E Λ for f_n ~ N(mean_n, covariance_n), means (n k) and covariances (n k k)."""
        if self.rule.dim != mean.shape[1]:
            raise ValueError(f"rule: expected one of dimension {mean.shape[1]}, the number of outputs, got {self.rule.dim}")
        root, (n, k) = linalg.symmetric_root("covariance", covariance), mean.shape

        def terms(z):
            f = mean + np.einsum("jl,nkl->jnk", z, root)
            y, likelihood = loss.y, loss.likelihood
            r = likelihood.residual(f, y)
            rz = r[..., None] * z[:, None, None, :]
            parts = (-likelihood.log_prob(f, y).sum(1)[:, None], r, likelihood.curvature(f, y), rz)
            return np.concatenate([part.reshape(len(z), -1) for part in parts], axis=1)

        sums = self.rule.integrate(terms)
        (r, r_error), (curvature, curvature_error), (rz, _) = (
            tuple(part[own].reshape(shape) for part in (sums.value, sums.error)) for own, shape in (
                (slice(1, 1 + n * k), (n, k)), (slice(1 + n * k, 1 + n * k + n * k * k), (n, k, k)),
                (slice(1 + n * k + n * k * k, None), (n, k, k))))
        return OutputExpectations(
            float(sums.value[0]), float(sums.error[0]), r, r_error, curvature, curvature_error, _by_stein(rz, root))


@dataclass(frozen=True)
class ClosedForm:
    """Exact formulas where ℓ is quadratic in f and f affine in θ: E ℓ = ℓ(f̄) + ½ tr(Λ Cov f), Eq. (delta-method)."""

    def loss(self, loss: Loss, q: Gaussian) -> LossOverOutputs:
        """E_q of the summed loss. Raises ValueError for other networks and likelihoods."""
        return _over_outputs(self, loss, q)

    def prior(self, prior: object, q: Gaussian) -> Expected:
        """E_q[−log p(θ)]. Raises ValueError for a prior that is not Gaussian."""
        return gaussian_prior(prior, q)

    def of_outputs(self, loss: Loss, mean: np.ndarray, covariance: np.ndarray) -> OutputExpectations:
        """E ℓ, E r and E Λ for f_n ~ N(mean_n, covariance_n), means (n k) and covariances (n k k)."""
        if not getattr(loss.likelihood, "quadratic", False):
            name = type(loss.likelihood).__name__
            raise ValueError(f"likelihood: expected one with a quadratic loss, such as Normal, got {name}; take OverOutputs")
        curvature = loss.likelihood.curvature(mean, loss.y)
        value = -loss.likelihood.log_prob(mean, loss.y).sum() + 0.5 * (curvature * covariance).sum()
        r, apart = loss.likelihood.residual(mean, loss.y), np.abs(mean) + np.abs(loss.y)  # of f − y: what cancels there
        r_error = ROUND_OFF * np.einsum("nkl,nl->nk", np.abs(curvature), apart)
        value_error = (mean.size + 1) * ROUND_OFF * abs(value) + (r_error * np.abs(mean - loss.y)).sum()
        return OutputExpectations(
            float(value), float(value_error), r, r_error, curvature, ROUND_OFF * np.abs(curvature), curvature)


@dataclass(frozen=True, eq=False)
class OutputExpectations:
    """Σ_n E ℓ_n, E r (n k) and E Λ (n k k) with estimated errors, and E Λ (n k k) once more, from r alone by Stein's lemma."""

    value: float
    error: float
    residual: np.ndarray
    residual_error: np.ndarray
    curvature: np.ndarray
    curvature_error: np.ndarray
    by_stein: np.ndarray


@dataclass(frozen=True, eq=False)
class LossOverOutputs:
    """E_q of the loss of a network affine in θ, from expectations over its outputs; J is its Jacobian (n k p)."""

    outputs: OutputExpectations
    J: np.ndarray
    scale: Matrix

    @property
    def value(self) -> float:
        """E Σ ℓ."""
        return self.outputs.value

    @property
    def error(self) -> float:
        """The estimated error of `value`."""
        return self.outputs.error

    @cached_property
    def gradient(self) -> Vector:
        """Σ_n J_nᵀ E r_n: (p)."""
        return np.einsum("nkp,nk->p", self.J, self.outputs.residual)

    @property
    def gradient_error(self) -> Vector:
        """The estimated error of `gradient`: (p)."""
        return np.einsum("nkp,nk->p", np.abs(self.J), self.outputs.residual_error)

    @cached_property
    def hessian(self) -> Matrix:
        """Σ_n J_nᵀ (E Λ_n) J_n: (p p)."""
        return _sandwich(self.J, self.outputs.curvature)

    @property
    def hessian_error(self) -> Matrix:
        """The error of `hessian` as its own sum estimates it, which Elbo.hessian_error does not leave it at: (p p)."""
        return _sandwich(np.abs(self.J), self.outputs.curvature_error)

    @property
    def ggn(self) -> Matrix:
        """The same: an affine network has no residual part. (p p)."""
        return self.hessian

    @property
    def cross(self) -> Matrix:
        """The derivative of `value` in C, Σ_n J_nᵀ (E Λ_n) J_n C with E Λ from first derivatives: (p p)."""
        return _sandwich(self.J, self.outputs.by_stein) @ self.scale


@dataclass(frozen=True, eq=False)
class _OverParameters:
    """E_q h from a rule for z in θ = mean + C z, for `of`, a loss or a prior. Second derivatives are summed when asked for."""

    of: object
    q: Gaussian
    rule: Rule | Replicated

    @property
    def value(self) -> float:
        """E h."""
        return float(self._first.value[0])

    @property
    def error(self) -> float:
        """The estimated error of `value`."""
        return float(self._first.error[0])

    @property
    def gradient(self) -> Vector:
        """E ∇h, Eq. (bonnet): (p)."""
        return self._first.value[1:1 + self.q.num_params]

    @property
    def gradient_error(self) -> Vector:
        """The estimated error of `gradient`: (p)."""
        return self._first.error[1:1 + self.q.num_params]

    @property
    def cross(self) -> Matrix:
        """E ∇h zᵀ, the derivative of E h in C, Eq. (scale-gradient): (p p)."""
        p = self.q.num_params
        return self._first.value[1 + p:].reshape(p, p)

    @cached_property
    def _first(self) -> Integral:
        """h, ∇h and ∇h zᵀ side by side: (1 + p + p²)."""
        def terms(z):
            value, gradient = self._value_and_gradient(self.q.from_normals(z))
            cross = gradient[:, :, None] * z[:, None, :]
            return np.concatenate([value[:, None], gradient, cross.reshape(len(z), -1)], axis=1)

        return self.rule.integrate(terms)


@dataclass(frozen=True, eq=False)
class LossOverParameters(_OverParameters):
    """E_q of the loss of any network."""

    @cached_property
    def hessian(self) -> Matrix:
        """E H, with the true Hessian: (p p)."""
        return linalg.symmetric_part(self._hessian.value)

    @property
    def hessian_error(self) -> Matrix:
        """The error of `hessian` as its own sum estimates it, which Elbo.hessian_error does not leave it at: (p p)."""
        return self._hessian.error

    @cached_property
    def ggn(self) -> Matrix:
        """E G: (p p). E H − E G is the expected residual part, Eq. (expected-split)."""
        return linalg.symmetric_part(self._second_order(lambda likelihood, f, y: None).value)

    @cached_property
    def _hessian(self) -> Integral:
        return self._second_order(lambda likelihood, f, y: likelihood.residual(f, y))

    def _value_and_gradient(self, theta):
        return self.of.value_and_gradient(theta)

    def _second_order(self, weights) -> Integral:
        """E of Σ JᵀΛJ + Σ v ∇²f with v = weights(likelihood, f, y): products with all unit vectors, many θ at once."""
        p, likelihood, y = self.q.num_params, self.of.likelihood, self.of.y

        def matrices(z):
            at = self.of.net.evaluate(self.q.from_normals(z)[:, None], self.of.X)
            f = at.f
            return at.second_order_product(np.eye(p), likelihood.curvature(f, y), weights(likelihood, f, y))

        def in_pieces(z):
            return np.concatenate([matrices(part) for part in np.array_split(z, 1 + z.shape[0] * p * p // AT_ONCE)])

        return self.rule.integrate(in_pieces)


@dataclass(frozen=True, eq=False)
class PriorOverParameters(_OverParameters):
    """E_q[−log p(θ)] for a prior that is not Gaussian."""

    @property
    def hessian(self) -> Matrix:
        """E of −∇² log p(θ): (p p)."""
        return self._hessian.value

    @property
    def hessian_error(self) -> Matrix:
        """The error of `hessian` as its own sum estimates it, which Elbo.hessian_error does not leave it at: (p p)."""
        return self._hessian.error

    @cached_property
    def _hessian(self) -> Integral:
        return self.rule.integrate(lambda z: np.array([self.of.negative_hessian(theta) for theta in self.q.from_normals(z)]))

    def _value_and_gradient(self, theta):
        return -self.of.log_prob(theta), -self.of.gradient(theta)


def gaussian_prior(prior: Gaussian, q: Gaussian) -> Expected:
    """E_q[−log N(θ; m₀, P₀⁻¹)] = ½[(m − m₀)ᵀP₀(m − m₀) + tr(P₀Σ) − log |P₀| + p log 2π], Eq. (expected-prior), exactly."""
    if not hasattr(prior, "precision"):
        raise ValueError(f"prior: expected a Gaussian, got a {type(prior).__name__}; take OverParameters, which any prior suits")
    scale, shift = q.scale(), q.mean - prior.mean
    cross = prior.precision.matvec(scale.T).T
    gradient = prior.precision.matvec(shift)
    quadratic = shift @ gradient + (cross * scale).sum()
    value = 0.5 * (quadratic - prior.precision.log_det() + q.num_params * np.log(2 * np.pi))
    return Expected(float(value), 0.0, gradient, np.zeros(q.num_params), cross, prior.precision.matrix(),
                    np.zeros(2 * (q.num_params,)))


def refuse_nonlinear(net: object) -> None:
    """Raise ValueError unless f is affine in θ."""
    if not net.is_linear:
        raise ValueError(
            f"net: expected a network that is linear in its parameters, got {type(net).__name__}; "
            "take OverParameters, or Linearised(net, at=...)"
        )


def _over_outputs(how, loss: Loss, q: Gaussian) -> LossOverOutputs:
    refuse_nonlinear(loss.net)
    J = loss.net.jacobian(q.mean, loss.X)
    half = q.precision.scale_transposed_matvec(J)
    outputs = how.of_outputs(loss, loss.net.forward(q.mean, loss.X), half @ np.swapaxes(half, -1, -2))
    return LossOverOutputs(outputs, J, q.scale())


def _sandwich(J: np.ndarray, middle: np.ndarray) -> Matrix:
    """Σ_n J_nᵀ M_n J_n: (p p)."""
    p = J.shape[-1]
    return linalg.symmetric_part(J.reshape(-1, p).T @ (middle @ J).reshape(-1, p))


def _by_stein(rz: np.ndarray, root: np.ndarray) -> np.ndarray:
    """Twice the derivative of E ℓ(f̄ + R z) in S = R², from E[r zᵀ] and R (n k k): 2 Γ with R Γ + Γ R = sym E[r zᵀ].

    For one output E[r z]/s. In directions without variance, which J C does not have either, Γ is zero.
    """
    s, W = np.linalg.eigh(root)
    inside = np.swapaxes(W, -1, -2) @ linalg.symmetric_part(rz) @ W
    sums = s[..., :, None] + s[..., None, :]
    return 2 * W @ np.divide(inside, sums, out=np.zeros_like(inside), where=sums > 0) @ np.swapaxes(W, -1, -2)
