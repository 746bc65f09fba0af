"""HIPS autograd: the network and the likelihood written out, every derivative automatic, the Laplace algebra plain NumPy.

Nothing here comes from the package. Each function answers the quantity of its name (conform/quantities.py). Automatic
differentiation goes backwards only, so derivatives of many outputs are taken in one sweep on copies of θ: output i sees
copy i, and the gradient of Σ_i out_i has ∂out_i/∂θ as its row i.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from typing import Any

import autograd.numpy as np
import numpy
from autograd import grad as _grad
from autograd.scipy.special import erf as _erf, erfc as _erfc, gammaln as _gammaln

name = "autograd"
version = metadata.version("autograd")
conventions: dict[str, str] = {}


def _log_sigmoid(u):
    """log 1/(1 + exp(−u)), stable with all its derivatives on both sides."""
    return np.where(u > 0, 0.0, u) - np.log1p(np.exp(-np.where(u > 0, u, -u)))


_ACTIVATIONS = {
    "identity": lambda z, slope: z,
    "tanh": lambda z, slope: np.tanh(z),
    "sigmoid": lambda z, slope: np.exp(_log_sigmoid(z)),
    "softplus": lambda z, slope: -_log_sigmoid(-z),
    "sin": lambda z, slope: np.sin(z),
    "silu": lambda z, slope: z * np.exp(_log_sigmoid(z)),
    "gelu": lambda z, slope: 0.5 * z * _erfc(-z / 2 ** 0.5),
    "gelu_tanh": lambda z, slope: z * np.exp(_log_sigmoid(2 * (2 / np.pi) ** 0.5 * (z + 0.044715 * z * z * z))),
    "erf": lambda z, slope: _erf(z),
    "square": lambda z, slope: z * z,
    "relu": lambda z, slope: np.where(z > 0, z, 0.0),
    "leaky_relu": lambda z, slope: np.where(z > 0, z, slope * z),
}


def _network(problem, theta, X):
    """f(X, θ): (*s p), (*s n d) -> (*s n k)."""
    a, at, act = X, 0, _ACTIVATIONS[problem.activation]
    for layer, (into, out) in enumerate(zip(problem.sizes[:-1], problem.sizes[1:])):
        W = np.reshape(theta[..., at:at + out * into], theta.shape[:-1] + (out, into))
        at += out * into
        a = np.matmul(act(a, problem.slope) if layer else a, np.swapaxes(W, -1, -2))
        if problem.bias:
            a, at = a + theta[..., None, at:at + out], at + out
    return a


def _categorical(f, y):
    """log softmax(f)_y relative to the largest output, so that no derivative cancels when one class is certain."""
    rest = numpy.arange(f.shape[-1]) != numpy.argmax(_value(f), -1)[..., None]
    top = np.sum(np.where(rest, 0.0, f), -1, keepdims=True)
    chosen = np.sum(np.where(numpy.arange(f.shape[-1]) == y[..., None], f - top, 0.0), -1)
    return chosen - np.log1p(np.sum(np.where(rest, np.exp(f - top), 0.0), -1))


def _value(box):
    """The plain numbers under autograd's tracers."""
    while hasattr(box, "_value"):
        box = box._value
    return box


_LOG_PROB = {
    "normal": lambda f, y, variance: -0.5 * np.sum((y - f) ** 2 / variance + np.log(2 * np.pi * variance), -1),
    "bernoulli": lambda f, y, variance: np.sum(_log_sigmoid((2 * y - 1) * f), -1),
    "categorical": lambda f, y, variance: _categorical(f, y),
    "poisson": lambda f, y, variance: np.sum(y * f - np.exp(f) - _gammaln(y + 1.0), -1),
}


def _softmax(f):
    e = np.exp(f - np.max(f, -1, keepdims=True))
    return e / np.sum(e, -1, keepdims=True)


_MEAN = {"normal": lambda f: f, "bernoulli": lambda f: np.exp(_log_sigmoid(f)), "categorical": _softmax, "poisson": np.exp}


def _fisher_of_output(problem, f):
    """E[r rᵀ] over y ~ p(y | f), r = ∂ log p / ∂f: (n k) -> (n k k). The definition, summed over y where y is finite."""
    if problem.likelihood == "categorical":
        r = numpy.eye(f.shape[-1]) - _softmax(f)[:, None, :]
        return np.einsum("nc,nci,ncj->nij", _softmax(f), r, r)
    spread = {"normal": lambda f: numpy.full_like(f, 1 / (problem.variance or 1)), "poisson": np.exp,
              "bernoulli": lambda f: np.exp(_log_sigmoid(f) + _log_sigmoid(-f))}[problem.likelihood](f)
    return spread[:, :, None] * numpy.eye(f.shape[-1])


def _loss(problem, theta, X, y):
    """−log p(y | θ) summed over data: (*s)."""
    return -np.sum(_LOG_PROB[problem.likelihood](_network(problem, theta, X), y, problem.variance), -1)


def _rows(function, rows, at):
    """The Jacobian of `function`: (rows p) -> (rows), whose entry i reads row i alone: (rows p)."""
    return _grad(lambda copies: np.sum(function(copies)))(numpy.repeat(at[None], rows, axis=0))


def _jacobian(problem, X):
    def output(k):
        return _rows(lambda copies: _network(problem, copies, X[:, None, :])[:, 0, k], len(X), problem.theta)
    return numpy.stack([output(k) for k in range(problem.sizes[-1])], 1)


def _per_datum(problem, y):
    """Gradient of each datum's log-likelihood: (n p)."""
    X = problem.X[:, None, :]
    return _rows(lambda copies: _loss(problem, copies, X, y[:, None]), len(X), problem.theta)


def _curvature(problem, f):
    """∂²ℓ/∂f² by differentiating twice, row by row: (n k k)."""
    def gradient_of(k, f):
        return np.sum(_grad(lambda f: -np.sum(_LOG_PROB[problem.likelihood](f, problem.y, problem.variance)))(f)[:, k])
    return numpy.stack([_grad(lambda f: gradient_of(k, f))(f) for k in range(f.shape[-1])], 1)


def _hessian(problem):
    """Row i is the derivative of gradient entry i; all rows at once on p copies of θ."""
    p = len(problem.theta)

    def entries(copies):
        gradients = _grad(lambda copies: np.sum(_loss(problem, copies, problem.X, problem.y)))(copies)
        return np.sum(gradients * numpy.eye(p), -1)
    H = _rows(entries, p, problem.theta)
    return 0.5 * (H + H.T)


@dataclass(frozen=True)
class _Gaussian:
    """N(θ, P⁻¹) through P = L Lᵀ."""

    precision: Any

    @cached_property
    def root(self):
        return numpy.linalg.inv(numpy.linalg.cholesky(self.precision))

    @property
    def covariance(self):
        return self.root.T @ self.root

    @property
    def log_det(self):
        return -2 * numpy.sum(numpy.log(numpy.diag(self.root)))


@dataclass(frozen=True)
class _State:
    """What several quantities share, computed once a case."""

    problem: Any

    @cached_property
    def jacobian(self):
        return _jacobian(self.problem, self.problem.X)

    @cached_property
    def ggn(self):
        return _sandwich(self.jacobian, _curvature(self.problem, forward(self)))

    @cached_property
    def hessian(self):
        return _hessian(self.problem)

    @cached_property
    def from_ggn(self):
        return _Gaussian(self.ggn + self.problem.prior_precision)

    @cached_property
    def from_hessian(self):
        return _Gaussian(self.hessian + self.problem.prior_precision)


def _sandwich(J, middle):
    """Σ_n J_nᵀ M_n J_n: (p p)."""
    p = J.shape[-1]
    return J.reshape(-1, p).T @ (middle @ J).reshape(-1, p)


def _log_evidence(s, gaussian):
    return log_joint(s) + 0.5 * len(s.problem.theta) * numpy.log(2 * numpy.pi) - 0.5 * gaussian.log_det


def prepare(problem):
    return _State(problem)


def forward(s):
    return _network(s.problem, s.problem.theta, s.problem.X)


def loss(s):
    return _loss(s.problem, s.problem.theta, s.problem.X, s.problem.y)


def log_joint(s):
    P, shift = s.problem.prior_precision, s.problem.theta - s.problem.prior_mean
    log_prior = 0.5 * (numpy.linalg.slogdet(P)[1] - len(shift) * numpy.log(2 * numpy.pi) - shift @ P @ shift)
    return log_prior - loss(s)


def gradient(s):
    return _grad(lambda theta: _loss(s.problem, theta, s.problem.X, s.problem.y))(s.problem.theta)


def jacobian(s):
    return s.jacobian


def ggn_full(s):
    return s.ggn


def ggn_diag(s):
    return numpy.diag(s.ggn)


def hessian_full(s):
    return s.hessian


def hessian_diag(s):
    return numpy.diag(s.hessian)


def hessian_hvp(s):
    def along(theta):
        return np.sum(s.problem.vector * _grad(lambda t: _loss(s.problem, t, s.problem.X, s.problem.y))(theta))
    return _grad(along)(s.problem.theta)


def fisher_full(s):
    return _sandwich(s.jacobian, _fisher_of_output(s.problem, forward(s)))


def fisher_empirical(s):
    g = _per_datum(s.problem, s.problem.y)
    return g.T @ g


def fisher_empirical_diag(s):
    return numpy.sum(_per_datum(s.problem, s.problem.y) ** 2, 0)


def fisher_mc(s):
    g = _per_datum(s.problem, s.problem.labels)
    return g.T @ g


def laplace_precision(s):
    return s.from_ggn.precision


def laplace_covariance(s):
    return s.from_ggn.covariance


def laplace_scale(s):
    return s.from_ggn.root.T


def laplace_log_det(s):
    return s.from_ggn.log_det


def laplace_log_evidence(s):
    return _log_evidence(s, s.from_ggn)


def laplace_sample(s):
    return s.problem.theta + s.problem.normals @ s.from_ggn.root


def laplace_hessian_precision(s):
    return s.from_hessian.precision


def laplace_hessian_covariance(s):
    return s.from_hessian.covariance


def laplace_hessian_log_det(s):
    return s.from_hessian.log_det


def laplace_hessian_log_evidence(s):
    return _log_evidence(s, s.from_hessian)


def predictive_glm_mean(s):
    return _network(s.problem, s.problem.theta, s.problem.X_new)


def predictive_glm_variance(s):
    half = _jacobian(s.problem, s.problem.X_new) @ s.from_ggn.root.T
    return half @ numpy.swapaxes(half, -1, -2)


def predictive_mc(s):
    return numpy.mean(_MEAN[s.problem.likelihood](_network(s.problem, s.problem.draws, s.problem.X_new)), 0)
