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
from autograd import grad as _grad, jacobian as _jacobian_of, value_and_grad as _value_and_grad
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


def _layers(problem, theta, X, shifts=None):
    """Pre-activations z_1 ... z_L = f: (*s p), (*s n d) -> (*s n out) each. `shifts` (*s u), end to end, is added to them."""
    a, at, unit, act, found = X, 0, 0, _ACTIVATIONS[problem.activation], []
    for layer, (into, out) in enumerate(zip(problem.sizes[:-1], problem.sizes[1:])):
        W = np.reshape(theta[..., at:at + out * into], theta.shape[:-1] + (out, into))
        at += out * into
        a = np.matmul(act(a, problem.slope) if layer else a, np.swapaxes(W, -1, -2))
        if problem.bias:
            a, at = a + theta[..., None, at:at + out], at + out
        if shifts is not None:
            a, unit = a + shifts[..., None, unit:unit + out], unit + out
        found.append(a)
    return found


def _network(problem, theta, X):
    """f(X, θ): (*s p), (*s n d) -> (*s n k)."""
    return _layers(problem, theta, X)[-1]


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


def _log_cdf(u):
    """log Φ(u): by erfc, and for u < −3 by the continued fraction of Mills' ratio.

    The third derivative of log erfc is λ ((λ + u)(2λ + u) − 1), λ = φ/Φ; at u = −10 the bracket cancels to 2e-4 of its terms,
    and a rounding error of λ counts 6e5 times. What differs from −u²/2 in the fraction has derivatives of its own size.
    """
    far = _value(u) < -3
    return np.where(far, _log_tail(np.where(far, u, -3.0)), _log_body(np.where(far, 0.0, u))) if far.any() else _log_body(u)


def _log_body(u):
    return np.log(_erfc(-u / 2 ** 0.5) / 2)


def _log_tail(u):
    """log φ(u) − log(t + 1/(t + 2/(t + 3/...))), t = −u: 80 steps of it hold for t > 3."""
    below = -u
    for step in range(80, 0, -1):
        below = -u + step / below
    return -0.5 * u * u - 0.5 * numpy.log(2 * numpy.pi) - np.log(below)


def _count(rate, y):
    return np.sum(y * np.log(rate) - rate - _gammaln(y + 1.0), -1)


def _half_step(x):
    """log Γ(x + ½) − log Γ(x) − ½ log x, without cancellation where x is large."""
    if x < 1000:
        return _gammaln(x + 0.5) - _gammaln(x) - 0.5 * numpy.log(x)
    return -1 / (8 * x) + 1 / (192 * x ** 3)


def _rising(rho, y):
    """log Γ(y + ρ)/Γ(ρ), as the sum of log(ρ + i) over i < y."""
    steps = numpy.arange(numpy.max(y, initial=0.0))
    return np.sum(np.where(steps < y[..., None], np.log(rho + steps), 0.0), -1)


def _normal_full(f, y, problem):
    V = numpy.array(problem.likelihood_parameters["noise"])
    e = y - f
    constant = len(V) * numpy.log(2 * numpy.pi) + numpy.linalg.slogdet(V)[1]
    return -0.5 * np.sum(e * np.matmul(e, numpy.linalg.inv(V)), -1) - 0.5 * constant


def _heteroscedastic(f, y, problem):
    mu, s = f[..., 0::2], f[..., 1::2]
    return -0.5 * np.sum((y - mu) ** 2 * np.exp(-s) + s + np.log(2 * np.pi), -1)


def _natural(f, y, problem):
    v = -0.5 / f[..., 1::2]
    return -0.5 * np.sum((y - f[..., 0::2] * v) ** 2 / v + np.log(2 * np.pi * v), -1)


def _precision(f, y, problem):
    mu = f[..., 0::2] * np.exp(-f[..., 1::2])
    return -0.5 * np.sum((y - mu) ** 2 * np.exp(f[..., 1::2]) - f[..., 1::2] + np.log(2 * np.pi), -1)


def _student_t_of_pairs(f, y, problem):
    nu, tau = problem.likelihood_parameters["degrees_of_freedom"], f[..., 1::2]
    constant = _half_step(nu / 2) - 0.5 * numpy.log(2 * numpy.pi)
    return np.sum(constant - tau - 0.5 * (nu + 1) * np.log1p(((y - f[..., 0::2]) * np.exp(-tau)) ** 2 / nu), -1)


def _gamma_of_pairs(f, y, problem):
    a, log_rate = np.exp(f[..., 1::2]), f[..., 1::2] - f[..., 0::2]
    return np.sum(a * log_rate - _gammaln(a) + (a - 1) * numpy.log(y) - y * np.exp(log_rate), -1)


def _negative_binomial_of_pairs(f, y, problem):
    rho, log_odds = np.exp(f[..., 1::2]), f[..., 0::2] - f[..., 1::2]
    chosen = _gammaln(y + rho) - _gammaln(rho) - _gammaln(y + 1.0)
    return np.sum(chosen + rho * _log_sigmoid(-log_odds) + y * _log_sigmoid(log_odds), -1)


def _student_t(f, y, problem):
    scale, nu = (problem.likelihood_parameters[key] for key in ("scale", "degrees_of_freedom"))
    constant = _half_step(nu / 2) - 0.5 * numpy.log(2 * numpy.pi) - numpy.log(scale)
    return np.sum(constant - 0.5 * (nu + 1) * np.log1p(((y - f) / scale) ** 2 / nu), -1)


def _negative_binomial(f, y, problem):
    rho = problem.likelihood_parameters["dispersion"]
    chosen = _rising(rho, y) - _gammaln(y + 1.0)
    log_odds = f - numpy.log(rho)
    return np.sum(chosen + rho * _log_sigmoid(-log_odds) + y * _log_sigmoid(log_odds), -1)


def _gamma(f, y, problem):
    a = problem.likelihood_parameters["shape"]
    return np.sum(a * numpy.log(a) - _gammaln(a) + (a - 1) * numpy.log(y) - a * f - a * y * np.exp(-f), -1)


def _ordinal(f, y, problem):
    """log(σ(b) − σ(a)) = log σ(b) + log σ(−a) + log(1 − exp(a − b)), b and a the cut-points above and below y, less f."""
    cuts = numpy.array(problem.likelihood_parameters["cut_points"])
    last, y = len(cuts), y.astype(int)
    upper, lower = cuts[numpy.minimum(y, last - 1)], cuts[numpy.maximum(y - 1, 0)]
    below, above = (y == 0), (y == last)
    gap = numpy.where(below | above, 0.0, numpy.log(-numpy.expm1(numpy.where(below | above, -1.0, lower - upper))))
    return np.sum(np.where(above, 0.0, _log_sigmoid(upper - f)) + np.where(below, 0.0, _log_sigmoid(f - lower)) + gap, -1)


_LOG_PROB = {
    "normal": lambda f, y, problem: -0.5 * np.sum((y - f) ** 2 / problem.variance + np.log(2 * np.pi * problem.variance), -1),
    "bernoulli": lambda f, y, problem: np.sum(_log_sigmoid((2 * y - 1) * f), -1),
    "bernoulli_probit": lambda f, y, problem: np.sum(_log_cdf((2 * y - 1) * f), -1),
    "bernoulli_cloglog": lambda f, y, problem: np.sum(
        y * np.log(-np.expm1(-np.exp(f))) - (1 - y) * np.exp(f), -1),
    "categorical": lambda f, y, problem: _categorical(f, y),
    "ordinal": _ordinal,
    "poisson": lambda f, y, problem: np.sum(y * f - np.exp(f) - _gammaln(y + 1.0), -1),
    "poisson_softplus": lambda f, y, problem: _count(-_log_sigmoid(-f), y),
    "poisson_square": lambda f, y, problem: _count(f * f, y),
    "negative_binomial": _negative_binomial, "gamma": _gamma, "student_t": _student_t,
    "normal_full": _normal_full, "heteroscedastic": _heteroscedastic, "heteroscedastic_natural": _natural,
    "heteroscedastic_precision": _precision, "heteroscedastic_student_t": _student_t_of_pairs,
    "heteroscedastic_gamma": _gamma_of_pairs, "heteroscedastic_negative_binomial": _negative_binomial_of_pairs,
}


def _softmax(f):
    e = np.exp(f - np.max(f, -1, keepdims=True))
    return e / np.sum(e, -1, keepdims=True)


def _ordinal_mean(f, problem):
    return sum(np.exp(_log_sigmoid(f - cut)) for cut in problem.likelihood_parameters["cut_points"])


_MEAN = {
    "normal": lambda f, problem: f, "normal_full": lambda f, problem: f, "student_t": lambda f, problem: f,
    "heteroscedastic": lambda f, problem: f[..., 0::2], "heteroscedastic_student_t": lambda f, problem: f[..., 0::2],
    "heteroscedastic_natural": lambda f, problem: -0.5 * f[..., 0::2] / f[..., 1::2],
    "heteroscedastic_precision": lambda f, problem: f[..., 0::2] * np.exp(-f[..., 1::2]),
    "heteroscedastic_gamma": lambda f, problem: np.exp(f[..., 0::2]),
    "heteroscedastic_negative_binomial": lambda f, problem: np.exp(f[..., 0::2]),
    "bernoulli": lambda f, problem: np.exp(_log_sigmoid(f)), "bernoulli_probit": lambda f, problem: np.exp(_log_cdf(f)),
    "bernoulli_cloglog": lambda f, problem: -np.expm1(-np.exp(f)), "ordinal": _ordinal_mean,
    "categorical": lambda f, problem: _softmax(f), "poisson": lambda f, problem: np.exp(f),
    "poisson_softplus": lambda f, problem: -_log_sigmoid(-f), "poisson_square": lambda f, problem: f * f,
    "negative_binomial": lambda f, problem: np.exp(f), "gamma": lambda f, problem: np.exp(f),
}
_LEVELS = {"bernoulli": 2, "bernoulli_probit": 2, "bernoulli_cloglog": 2}
_INFORMATION = {
    "normal": lambda f, problem: numpy.full_like(f, 1 / problem.variance), "poisson": lambda f, problem: np.exp(f),
    "poisson_softplus": lambda f, problem: np.exp(2 * _log_sigmoid(f)) / -_log_sigmoid(-f),
    "poisson_square": lambda f, problem: numpy.full_like(f, 4.0),
    "negative_binomial": lambda f, problem: 1 / (np.exp(-f) + 1 / problem.likelihood_parameters["dispersion"]),
    "gamma": lambda f, problem: numpy.full_like(f, problem.likelihood_parameters["shape"]),
    "student_t": lambda f, problem: numpy.full_like(f, _student_t_information(**problem.likelihood_parameters)),
    "heteroscedastic": lambda f, problem: numpy.where(numpy.arange(f.shape[-1]) % 2, 0.5, np.exp(-f[..., _own_scale(f)])),
}


def _student_t_information(scale, degrees_of_freedom):
    return (degrees_of_freedom + 1) / (degrees_of_freedom + 3) / scale ** 2


def _own_scale(f):
    """For every output the place of its target's log variance."""
    return numpy.arange(f.shape[-1]) // 2 * 2 + 1


def _fisher_of_output(problem, f):
    """E[r rᵀ] over y ~ p(y | f), r = ∂ log p / ∂f: (n k) -> (n k k). The definition, summed over y where y is finite."""
    if problem.likelihood == "categorical":
        r = numpy.eye(f.shape[-1]) - _softmax(f)[:, None, :]
        return np.einsum("nc,nci,ncj->nij", _softmax(f), r, r)
    if problem.likelihood == "normal_full":
        return numpy.broadcast_to(numpy.linalg.inv(numpy.array(problem.likelihood_parameters["noise"])), (*f.shape, f.shape[-1]))
    if problem.likelihood in _RULES:
        return _of_pairs(problem, f, *_RULES[problem.likelihood](f.reshape(-1, 2), problem))
    levels = _LEVELS.get(problem.likelihood) or len(problem.likelihood_parameters.get("cut_points", ())) + 1
    spread = _over_levels(problem, f, levels) if levels > 1 else _INFORMATION[problem.likelihood](f, problem)
    return spread[:, :, None] * numpy.eye(f.shape[-1])


def _hermite(mean, std):
    """Five points of y and their weights, exact for the fourth power of a normal."""
    z, w = numpy.polynomial.hermite_e.hermegauss(5)
    return mean + std * z[:, None], numpy.broadcast_to((w / w.sum())[:, None], (5, len(mean)))


def _natural_rule(f, problem):
    v = -0.5 / f[:, 1]
    return _hermite(f[:, 0] * v, v ** 0.5)


def _precision_rule(f, problem):
    return _hermite(f[:, 0] * numpy.exp(-f[:, 1]), numpy.exp(-f[:, 1] / 2))


def _counts_rule(f, problem):
    y = numpy.broadcast_to(numpy.arange(1000.0)[:, None], (1000, len(f)))
    return y, numpy.exp(_negative_binomial_of_pairs(f, y[..., None], problem))


def _gamma_rule(f, problem):
    """Gauss-Legendre in x = log y: the density of x is smooth, and falls off exponentially on both sides."""
    z, w = numpy.polynomial.legendre.leggauss(400)
    a = numpy.exp(f[:, 1])
    low, high = -40 / a - 3, numpy.log(1 + 60 / a)
    x = (low + high) / 2 + (high - low) / 2 * z[:, None]
    y = numpy.exp(f[:, 0] + x)
    return y, w[:, None] * (high - low) / 2 * y * numpy.exp(_gamma_of_pairs(f, y[..., None], problem))


def _student_t_rule(f, problem):
    """Gauss-Legendre in the angle of e = s √ν tan u, where the score is a polynomial in cos u and sin u."""
    z, w = numpy.polynomial.legendre.leggauss(400)
    nu, u = problem.likelihood_parameters["degrees_of_freedom"], numpy.pi / 2 * z[:, None]
    width = numpy.exp(f[:, 1]) * nu ** 0.5
    y = f[:, 0] + width * numpy.tan(u)
    density = numpy.exp(_student_t_of_pairs(f, y[..., None], problem))
    return y, w[:, None] * numpy.pi / 2 * width / numpy.cos(u) ** 2 * density


_RULES = {"heteroscedastic_natural": _natural_rule, "heteroscedastic_precision": _precision_rule,
          "heteroscedastic_negative_binomial": _counts_rule, "heteroscedastic_gamma": _gamma_rule,
          "heteroscedastic_student_t": _student_t_rule}


def _of_pairs(problem, f, y, weights):
    """Σ_j w_j r_j r_jᵀ of every target, from targets and weights (j, n t), as diagonal blocks of (n k k)."""
    density = _LOG_PROB[problem.likelihood]
    copies = numpy.broadcast_to(f.reshape(-1, 2), (*y.shape, 2))
    r = _grad(lambda copies: np.sum(density(copies, y[..., None], problem)))(copies)
    blocks = numpy.einsum("jt,jta,jtb->tab", weights, r, r).reshape(len(f), -1, 2, 2)
    result = numpy.zeros((*f.shape, f.shape[-1]))
    for target in range(blocks.shape[1]):
        own = slice(2 * target, 2 * target + 2)
        result[:, own, own] = blocks[:, target]
    return result


def _over_levels(problem, f, levels):
    """Σ_y p(y) (∂ log p/∂f)² for every output by itself: (n k)."""
    density = _LOG_PROB[problem.likelihood]
    flat, total = f.reshape(-1, 1), 0.0
    for level in range(levels):
        y = numpy.full(flat.shape, float(level))
        score = _grad(lambda f: np.sum(density(f, y, problem)))(flat)
        total = total + numpy.exp(density(flat, y, problem))[:, None] * score ** 2
    return total.reshape(f.shape)


def _loss(problem, theta, X, y):
    """−log p(y | θ) summed over data: (*s)."""
    return -np.sum(_LOG_PROB[problem.likelihood](_network(problem, theta, X), y, problem), -1)


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
        return np.sum(_grad(lambda f: -np.sum(_LOG_PROB[problem.likelihood](f, problem.y, problem)))(f)[:, k])
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
    def curvature(self):
        return _curvature(self.problem, forward(self))

    @cached_property
    def ggn(self):
        return _sandwich(self.jacobian, self.curvature)

    @cached_property
    def fisher(self):
        return _sandwich(self.jacobian, self.fisher_of_output)

    @cached_property
    def fisher_of_output(self):
        return _fisher_of_output(self.problem, forward(self))

    @cached_property
    def per_datum(self):
        """Gradients of the log-likelihood of every datum."""
        return _per_datum(self.problem, self.problem.y)

    @cached_property
    def centred(self):
        return self.per_datum - self.per_datum.mean(0)

    @cached_property
    def per_label(self):
        """The same, of the labels given as drawn from the model."""
        return _per_datum(self.problem, self.problem.labels)

    @cached_property
    def hessian(self):
        return _hessian(self.problem)

    @cached_property
    def kronecker(self):
        return _Kronecker(self.problem)

    @cached_property
    def from_ggn(self):
        return _Gaussian(self.ggn + self.problem.prior_precision)

    @cached_property
    def diagonal(self):
        """The precision's diagonal alone."""
        return _Gaussian(numpy.diag(numpy.diag(self.from_ggn.precision)))

    @cached_property
    def last_layer(self):
        q = self.problem.layer_sizes[-1]
        return _Gaussian(self.from_ggn.precision[-q:, -q:])

    @cached_property
    def subset(self):
        S = self.problem.subset
        return _Gaussian(self.from_ggn.precision[numpy.ix_(S, S)])

    @cached_property
    def kron(self):
        return _Gaussian(ggn_kfac(self) + _blocks(self, self.problem.prior_precision))

    @cached_property
    def kron_apart(self):
        return _Gaussian(_tensors(self, self.kron.precision))

    @cached_property
    def low_rank(self):
        """The leading eigenpairs of the GGN plus the prior."""
        values, V = (part[..., -self.problem.rank:] for part in numpy.linalg.eigh(self.ggn))
        return _Gaussian((V * values) @ V.T + self.problem.prior_precision)

    @cached_property
    def hessian_low_rank(self):
        """Of the pairs of the Hessian largest in size the positive ones, plus the prior."""
        values, V = numpy.linalg.eigh(self.hessian)
        leading = numpy.argsort(abs(values))[-self.problem.rank:]
        return _Gaussian((V[:, leading] * numpy.maximum(values[leading], 0)) @ V[:, leading].T + self.problem.prior_precision)

    @cached_property
    def integrals(self):
        return _integrals(self)

    @cached_property
    def best(self):
        """Of all Gaussians."""
        return _best(self.problem, list(zip(*numpy.tril_indices(len(self.problem.theta)))))

    @cached_property
    def best_independent(self):
        """Of those with independent parameters."""
        return _best(self.problem, [(i, i) for i in range(len(self.problem.theta))])

    @cached_property
    def process(self):
        """(L, K_new, y − f − J (m − θ)) with K + σ² = L Lᵀ, K = J P₀⁻¹ Jᵀ and K_new between new inputs and data."""
        p, root = len(self.problem.theta), numpy.linalg.inv(numpy.linalg.cholesky(self.problem.prior_precision))
        old, new = (J.reshape(-1, p) @ root.T for J in (self.jacobian, self.new_jacobian))
        shift = self.jacobian @ (self.problem.prior_mean - self.problem.theta)
        L = numpy.linalg.cholesky(old @ old.T + self.problem.variance * numpy.eye(len(old)))
        return L, new @ old.T, (self.problem.y - forward(self) - shift).ravel()

    @cached_property
    def new_jacobian(self):
        return _jacobian(self.problem, self.problem.X_new)

    @cached_property
    def from_hessian(self):
        return _Gaussian(self.hessian + self.problem.prior_precision)


@dataclass(frozen=True)
class _Kronecker:
    """What the blocks of the layers are made of; units of all layers stand end to end."""

    problem: Any

    @cached_property
    def spans(self):
        """Where each layer's units and its parameters stand."""
        units = numpy.cumsum([0, *self.problem.sizes[1:]])
        params = numpy.cumsum([0, *self.problem.layer_sizes])
        return [(slice(*units[l:l + 2]), slice(*params[l:l + 2])) for l in range(len(units) - 1)]

    @cached_property
    def by_shift(self):
        """∂f_k/∂z of all layers: (n k u)."""
        problem, n, units = self.problem, len(self.problem.X), sum(self.problem.sizes[1:])

        def output(k):
            return _rows(lambda copies: _layers(problem, problem.theta, problem.X[:, None, :], copies)[-1][:, 0, k], n,
                         numpy.zeros(units))
        return numpy.stack([output(k) for k in range(problem.sizes[-1])], 1)

    @cached_property
    def inputs(self):
        """ā of every layer: (n, in + 1), or (n in) without biases."""
        hidden = _layers(self.problem, self.problem.theta, self.problem.X)[:-1]
        a = [self.problem.X, *(_ACTIVATIONS[self.problem.activation](z, self.problem.slope) for z in hidden)]
        return [numpy.column_stack([each, numpy.ones(len(each))]) if self.problem.bias else each for each in a]

    @cached_property
    def slopes(self):
        """φ′(z) of every hidden layer."""
        act, slope = _ACTIVATIONS[self.problem.activation], self.problem.slope
        return [_grad(lambda z: np.sum(act(z, slope)))(z) for z in _layers(self.problem, self.problem.theta, self.problem.X)[:-1]]

    def order(self, layer):
        """Places of θ's entries of this layer in the rows of [W b]."""
        into, out = self.problem.sizes[layer:layer + 2]
        place = numpy.arange(out * (into + self.problem.bias)).reshape(out, -1)
        return numpy.concatenate([place[:, :into].ravel(), place[:, into:].ravel()])

    def assemble(self, blocks):
        """Blocks in the order of [W b] as one matrix in the order of θ."""
        M = numpy.zeros((len(self.problem.theta),) * 2)
        for layer, block in enumerate(blocks):
            order, (_, span) = self.order(layer), self.spans[layer]
            M[span, span] = block[numpy.ix_(order, order)]
        return M

    def unit_factors(self, middle):
        """Σ_n Δ_nᵀ M_n Δ_n of every layer."""
        return [numpy.einsum("nai,nab,nbj->ij", D, middle, D) for D in (self.by_shift[..., units] for units, _ in self.spans)]

    def input_factors(self):
        return [a.T @ a / len(a) for a in self.inputs]

    def kfac(self, middle):
        return self.assemble(numpy.kron(B, A) for B, A in zip(self.unit_factors(middle), self.input_factors()))

    def nearest(self, G):
        """The leading singular pair of every block, rearranged to (units², inputs²)."""
        blocks = []
        for layer, (_, span) in enumerate(self.spans):
            back, out = numpy.argsort(self.order(layer)), self.problem.sizes[layer + 1]
            cube = G[span, span][numpy.ix_(back, back)].reshape(out, -1, out, len(back) // out)
            U, sizes, V = numpy.linalg.svd(cube.transpose(0, 2, 1, 3).reshape(out * out, -1), full_matrices=False)
            B, A = U[:, 0].reshape(out, out), V[0].reshape(cube.shape[1], -1)
            blocks.append(sizes[0] * numpy.kron(B + B.T, A + A.T) / 4)
        return self.assemble(blocks)

    def kfra(self, middle):
        factors, n = [middle.mean(0)], len(self.problem.X)
        for layer in range(len(self.spans) - 1, 0, -1):
            into, out = self.problem.sizes[layer:layer + 2]
            W = self.problem.theta[self.spans[layer][1]][:out * into].reshape(out, into)
            factors.insert(0, (W.T @ factors[0] @ W) * (self.slopes[layer - 1].T @ self.slopes[layer - 1]) / n)
        return self.assemble(n * numpy.kron(B, A) for B, A in zip(factors, self.input_factors()))

    def ekfac(self, G, middle, split):
        """Per layer U diag(Uᵀ G U) Uᵀ, U = U_B ⊗ U_A the eigenvectors of KFAC."""
        blocks = []
        for layer, (B, A) in enumerate(zip(self.unit_factors(middle), self.input_factors())):
            back, (_, span) = numpy.argsort(self.order(layer)), self.spans[layer]
            U = numpy.kron(numpy.linalg.eigh(B)[1], _eigenvectors(A, split and self.problem.bias))
            own = numpy.einsum("pi,pq,qi->i", U, G[span, span][numpy.ix_(back, back)], U)
            blocks.append((U * own) @ U.T)
        return self.assemble(blocks)


def _eigenvectors(A, apart):
    """Eigenvectors as columns; `apart`: the last row and column by themselves, whatever their eigenvalue."""
    if not apart:
        return numpy.linalg.eigh(A)[1]
    U = numpy.eye(len(A))
    U[:-1, :-1] = numpy.linalg.eigh(A[:-1, :-1])[1]
    return U


def _outer(r):
    return r[:, :, None] * r[:, None, :]


def _residual(problem, f, y):
    """r = ∂ℓ/∂f: (n k)."""
    return _grad(lambda f: -np.sum(_LOG_PROB[problem.likelihood](f, y, problem)))(f)


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


def jacobian_vp(s):
    return s.jacobian @ s.problem.vector


def ggn_full(s):
    return s.ggn


def ggn_diag(s):
    return numpy.diag(s.ggn)


def ggn_vp(s):
    return s.ggn @ s.problem.vector


def _blocks(s, matrix):
    """The matrix, zero outside the blocks of the layers."""
    layer = numpy.repeat(numpy.arange(len(s.problem.layer_sizes)), s.problem.layer_sizes)
    return numpy.where(layer[:, None] == layer, matrix, 0.0)


def _tensors(s, matrix):
    """The matrix, zero but for the blocks of the weight matrices and of the biases."""
    tensor, count = [], 0
    for into, out in zip(s.problem.sizes, s.problem.sizes[1:]):
        tensor += [count] * (out * into) + ([count + 1] * out if s.problem.bias else [])
        count += 2
    return numpy.where(numpy.equal.outer(tensor, tensor), matrix, 0.0)


def ggn_blockdiag(s):
    return _blocks(s, s.ggn)


def ggn_neuronblocks(s):
    unit = numpy.concatenate([_unit_of_each(s, layer) for layer in range(len(s.problem.layer_sizes))])
    return numpy.where(unit[:, None] == unit, s.ggn, 0.0)


def _unit_of_each(s, layer):
    """A number for the unit that each parameter of the layer belongs to."""
    into, out = s.problem.sizes[layer:layer + 2]
    units = sum(s.problem.sizes[1:layer + 1]) + numpy.arange(out)
    return numpy.concatenate([numpy.repeat(units, into), units if s.problem.bias else units[:0]])


def ggn_subset(s):
    return s.ggn[numpy.ix_(s.problem.subset, s.problem.subset)]


def ggn_lastlayer(s):
    q = s.problem.layer_sizes[-1]
    return s.ggn[-q:, -q:]


def ggn_kfac(s):
    return s.kronecker.kfac(s.curvature)


def ggn_kfra(s):
    return s.kronecker.kfra(s.curvature)


def ggn_ekfac(s):
    return s.kronecker.ekfac(s.ggn, s.curvature, split=False)


def ggn_ekfac_split(s):
    return s.kronecker.ekfac(s.ggn, s.curvature, split=True)


def ggn_vanloan(s):
    return s.kronecker.nearest(s.ggn)


def hessian_full(s):
    return s.hessian


def hessian_diag(s):
    return numpy.diag(s.hessian)


def hessian_blockdiag(s):
    return _blocks(s, s.hessian)


def hessian_lastlayer(s):
    q = s.problem.layer_sizes[-1]
    return s.hessian[-q:, -q:]


def hessian_hvp(s):
    def along(theta):
        return np.sum(s.problem.vector * _grad(lambda t: _loss(s.problem, t, s.problem.X, s.problem.y))(theta))
    return _grad(along)(s.problem.theta)


def third_vv(s):
    def twice(theta):
        def along(t):
            return np.sum(s.problem.vector * _grad(lambda u: _loss(s.problem, u, s.problem.X, s.problem.y))(t))
        return np.sum(s.problem.vector * _grad(along)(theta))
    return _grad(twice)(s.problem.theta)


def fisher_full(s):
    return s.fisher


def fisher_diag(s):
    return numpy.diag(s.fisher)


def fisher_vp(s):
    return s.fisher @ s.problem.vector


def fisher_kfac(s):
    return s.kronecker.kfac(s.fisher_of_output)


def fisher_empirical(s):
    return s.per_datum.T @ s.per_datum


def fisher_empirical_diag(s):
    return numpy.sum(s.per_datum ** 2, 0)


def fisher_empirical_vp(s):
    return s.per_datum.T @ (s.per_datum @ s.problem.vector)


def fisher_empirical_centred(s):
    return s.centred.T @ s.centred


def fisher_empirical_centred_diag(s):
    return numpy.sum(s.centred ** 2, 0)


def fisher_empirical_centred_vp(s):
    return s.centred.T @ (s.centred @ s.problem.vector)


def fisher_empirical_gram(s):
    return s.per_datum @ s.per_datum.T


def fisher_empirical_kfac(s):
    return s.kronecker.kfac(_outer(_residual(s.problem, forward(s), s.problem.y)))


def fisher_mc(s):
    return s.per_label.T @ s.per_label


def fisher_mc_diag(s):
    return numpy.sum(s.per_label ** 2, 0)


def fisher_mc_vp(s):
    return s.per_label.T @ (s.per_label @ s.problem.vector)


def fisher_mc_kfac(s):
    return s.kronecker.kfac(_outer(_residual(s.problem, forward(s), s.problem.labels)))


def ntk(s):
    return numpy.tensordot(s.jacobian, s.jacobian, ([-1], [-1]))


def laplace_precision(s):
    return s.from_ggn.precision


def laplace_covariance(s):
    return s.from_ggn.covariance


def laplace_covariance_diag(s):
    return numpy.sum(s.from_ggn.root ** 2, 0)


def laplace_covariance_vp(s):
    return s.from_ggn.root.T @ (s.from_ggn.root @ s.problem.vector)


def laplace_scale(s):
    return s.from_ggn.root.T


def laplace_log_det(s):
    return s.from_ggn.log_det


def laplace_log_evidence(s):
    return _log_evidence(s, s.from_ggn)


def laplace_sample(s):
    return s.problem.theta + s.problem.normals @ s.from_ggn.root


def _prior_slope(s, gaussian, prior):
    P0, shift = s.problem.prior_precision, s.problem.theta - s.problem.prior_mean
    return 0.5 * (len(shift) - shift @ P0 @ shift - numpy.sum(gaussian.covariance * prior))


def _noise_slope(s, gaussian, curvature):
    errors = s.problem.y - forward(s)
    return 0.5 * (numpy.sum(errors ** 2) / s.problem.variance - errors.size + numpy.sum(gaussian.covariance * curvature))


def laplace_evidence_prior(s):
    return _prior_slope(s, s.from_ggn, s.problem.prior_precision)


def laplace_evidence_noise(s):
    return _noise_slope(s, s.from_ggn, s.ggn)


def laplace_diag_variance(s):
    return 1 / numpy.diag(s.from_ggn.precision)


def laplace_diag_log_det(s):
    return s.diagonal.log_det


def laplace_diag_log_evidence(s):
    return _log_evidence(s, s.diagonal)


def laplace_diag_sample(s):
    return s.problem.theta + s.problem.normals * numpy.sqrt(laplace_diag_variance(s))


def laplace_diag_evidence_prior(s):
    return _prior_slope(s, s.diagonal, s.problem.prior_precision)


def laplace_diag_evidence_noise(s):
    return _noise_slope(s, s.diagonal, s.ggn)


def laplace_lastlayer_covariance(s):
    return s.last_layer.covariance


def laplace_lastlayer_log_det(s):
    return s.last_layer.log_det


def _partial_evidence(s, part, gaussian):
    """log p(y | θ) + log N(θ_S; m_S, (P₀)_SS⁻¹) + (|S|/2) log 2π − ½ log |P_SS|, where 2π drops out."""
    shift, P0 = (s.problem.theta - s.problem.prior_mean)[part], s.problem.prior_precision[numpy.ix_(part, part)]
    return 0.5 * (numpy.linalg.slogdet(P0)[1] - shift @ P0 @ shift - gaussian.log_det) - loss(s)


def laplace_lastlayer_log_evidence(s):
    return _partial_evidence(s, numpy.arange(len(s.problem.theta))[-s.problem.layer_sizes[-1]:], s.last_layer)


def laplace_subset_covariance(s):
    return s.subset.covariance


def laplace_subset_log_det(s):
    return s.subset.log_det


def laplace_subset_log_evidence(s):
    return _partial_evidence(s, s.problem.subset, s.subset)


def laplace_kron_covariance(s):
    return s.kron.covariance


def laplace_kron_log_det(s):
    return s.kron.log_det


def laplace_kron_log_evidence(s):
    return _log_evidence(s, s.kron)


def laplace_kron_scale(s):
    return s.kron.root.T


def laplace_kron_sample(s):
    return s.problem.theta + s.problem.normals @ s.kron.root


def laplace_kron_evidence_prior(s):
    return _prior_slope(s, s.kron, s.problem.prior_precision)


def laplace_kron_evidence_noise(s):
    return _noise_slope(s, s.kron, ggn_kfac(s))


def laplace_kron_split_covariance(s):
    return s.kron_apart.covariance


def laplace_kron_split_sample(s):
    return s.problem.theta + s.problem.normals @ s.kron_apart.root


def laplace_kron_split_log_det(s):
    return s.kron_apart.log_det


def laplace_kron_split_log_evidence(s):
    return _log_evidence(s, s.kron_apart)


def laplace_kron_split_evidence_prior(s):
    return _prior_slope(s, s.kron_apart, s.problem.prior_precision)


def laplace_kron_split_evidence_noise(s):
    return _noise_slope(s, s.kron_apart, ggn_kfac(s))


def laplace_lowrank_precision(s):
    return s.low_rank.precision


def laplace_lowrank_covariance(s):
    return s.low_rank.covariance


def laplace_lowrank_sample(s):
    return s.problem.theta + s.problem.normals @ s.low_rank.root


def laplace_lowrank_log_det(s):
    return s.low_rank.log_det


def laplace_lowrank_log_evidence(s):
    return _log_evidence(s, s.low_rank)


def predictive_lowrank_variance(s):
    return _spread(s.new_jacobian, s.low_rank)


def laplace_hessian_lowrank_precision(s):
    return s.hessian_low_rank.precision


def laplace_hessian_lowrank_log_det(s):
    return s.hessian_low_rank.log_det


def laplace_hessian_lowrank_log_evidence(s):
    return _log_evidence(s, s.hessian_low_rank)


def predictive_hessian_lowrank_variance(s):
    return _spread(s.new_jacobian, s.hessian_low_rank)


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


def predictive_joint(s):
    half = s.new_jacobian @ s.from_ggn.root.T
    return numpy.tensordot(half, half, ([-1], [-1]))


def _spread(J, gaussian):
    """J P⁻¹ Jᵀ of every input."""
    half = J @ gaussian.root.T
    return half @ numpy.swapaxes(half, -1, -2)


def predictive_glm_variance(s):
    return _spread(s.new_jacobian, s.from_ggn)


def predictive_diag_variance(s):
    return _spread(s.new_jacobian, s.diagonal)


def predictive_lastlayer_variance(s):
    return _spread(s.new_jacobian[..., -s.problem.layer_sizes[-1]:], s.last_layer)


def predictive_subset_variance(s):
    return _spread(s.new_jacobian[..., s.problem.subset], s.subset)


def predictive_kron_variance(s):
    return _spread(s.new_jacobian, s.kron)


def _shrunk(s):
    """f/√(1 + π v/8)."""
    variance = numpy.diagonal(predictive_glm_variance(s), axis1=-2, axis2=-1)
    return predictive_glm_mean(s) / numpy.sqrt(1 + numpy.pi * variance / 8)


def predictive_kron_split_variance(s):
    return _spread(s.new_jacobian, s.kron_apart)


def predictive_probit(s):
    return np.exp(_log_sigmoid(_shrunk(s)))


def predictive_probit_multiclass(s):
    return _softmax(_shrunk(s))


def predictive_meanfield(s):
    """mf2 of Lu, Ie and Sha (2020), by differences of logits."""
    f, V = predictive_glm_mean(s), predictive_glm_variance(s)
    v = numpy.diagonal(V, axis1=-2, axis2=-1)
    spread = v[:, :, None] + v[:, None, :] - 2 * V
    weights = 1 / numpy.exp((f[:, None, :] - f[:, :, None]) / numpy.sqrt(1 + numpy.pi * spread / 8)).sum(-1)
    return weights / weights.sum(-1, keepdims=True)


def predictive_concentration(s):
    """Conditioned on Σ f = 0, then Laplace's approximation of a Dirichlet in logit coordinates read backwards."""
    f, V, k = predictive_glm_mean(s), predictive_glm_variance(s), s.problem.sizes[-1]
    row = V.sum(-1)
    f = f - row * (f.sum(-1) / row.sum(-1))[:, None]
    v = numpy.diagonal(V, axis1=-2, axis2=-1) - row ** 2 / row.sum(-1)[:, None]
    return (1 - 2 / k + numpy.exp(f) * numpy.exp(-f).sum(-1, keepdims=True) / k ** 2) / v


def predictive_bridge(s):
    alpha = predictive_concentration(s)
    return alpha / alpha.sum(-1, keepdims=True)


def predictive_exact(s):
    """Expectations of the link by the trapezoidal rule, in as many dimensions as there are contrasts of classes."""
    f, V = predictive_glm_mean(s), predictive_glm_variance(s)
    if s.problem.likelihood == "categorical":
        return numpy.stack([_expected_softmax(*moments) for moments in zip(f, V)])
    u, w = _grid(numpy.sqrt(max(1.0, V.max())))
    nodes = f + numpy.sqrt(numpy.diagonal(V, axis1=-2, axis2=-1)) * u[:, None, None]
    return numpy.tensordot(w, _MEAN[s.problem.likelihood](nodes, s.problem), 1)


def _grid(width):
    """Nodes and weights of a standard normal, fine enough for a function with poles at ±iπ/width."""
    u = numpy.linspace(-10, 10, 2 * int(16 * width + 40) + 1)
    w = numpy.exp(-u * u / 2)
    return u, w / w.sum()


def _expected_softmax(m, S):
    """Logits relative to the first: a normal vector of k − 1 entries."""
    D = numpy.hstack([-numpy.ones((len(m) - 1, 1)), numpy.eye(len(m) - 1)])
    L = numpy.linalg.cholesky(D @ S @ D.T)
    u, w = _grid(numpy.sqrt(max(1.0, numpy.diag(S).max())))
    z = numpy.stack(numpy.meshgrid(*[u] * len(L), indexing="ij"), -1)
    weights = w if len(L) == 1 else w[:, None] * w
    logits = numpy.concatenate([numpy.zeros((*z.shape[:-1], 1)), D @ m + z @ L.T], -1)
    return numpy.tensordot(weights, _softmax(logits), len(L))


def _bound(s, mean, width):
    """The evidence lower bound of N(mean, diag width²) on the given normals."""
    P0, shift = s.problem.prior_precision, mean - s.problem.prior_mean
    fit = np.mean(_loss(s.problem, mean + width * s.problem.normals, s.problem.X, s.problem.y))
    trace = np.sum(numpy.diag(P0) * width ** 2)
    constant = numpy.linalg.slogdet(P0)[1] + len(P0)
    return -fit - 0.5 * (trace + np.dot(shift, np.dot(P0, shift)) - constant) + np.sum(np.log(width))


def _width(s):
    return numpy.abs(s.problem.vector)


def vi_elbo(s):
    return _bound(s, s.problem.theta, _width(s))


def vi_elbo_gradient_mean(s):
    return _grad(lambda mean: _bound(s, mean, _width(s)))(s.problem.theta)


def vi_elbo_gradient_scale(s):
    return _grad(lambda width: _bound(s, s.problem.theta, width))(_width(s))


def _divergence(s, S, P):
    """KL(N(a, S) ‖ N(b, P⁻¹)) with a − b = ± (θ − m)."""
    shift = s.problem.theta - s.problem.prior_mean
    logs = numpy.linalg.slogdet(S)[1] + numpy.linalg.slogdet(P)[1]
    return 0.5 * (numpy.sum(P * S) + shift @ P @ shift - len(P) - logs)


def vi_kl(s):
    return _divergence(s, numpy.diag(_width(s) ** 2), s.problem.prior_precision)


def vi_kl_reverse(s):
    return _divergence(s, numpy.linalg.inv(s.problem.prior_precision), numpy.diag(_width(s) ** -2.0))


def _full_divergence(problem, mean, C):
    """KL(N(mean, C Cᵀ) ‖ prior)."""
    P0, shift = problem.prior_precision, mean - problem.prior_mean
    logs = numpy.linalg.slogdet(P0)[1] + 2 * np.sum(np.log(np.abs(np.diag(C))))
    return 0.5 * (np.sum(np.dot(P0, C) * C) + np.dot(shift, np.dot(P0, shift)) - len(P0) - logs)


def _full_bound(problem, mean, C):
    """The evidence lower bound of N(mean, C Cᵀ) on the given normals."""
    fit = np.mean(_loss(problem, mean + np.dot(problem.normals, C.T), problem.X, problem.y))
    return -fit - _full_divergence(problem, mean, C)


def vi_full_elbo(s):
    return _full_bound(s.problem, s.problem.theta, s.problem.scale)


def vi_full_elbo_gradient_mean(s):
    return _grad(lambda mean: _full_bound(s.problem, mean, s.problem.scale))(s.problem.theta)


def vi_full_elbo_gradient_scale(s):
    return _grad(lambda C: _full_bound(s.problem, s.problem.theta, np.tril(C)))(s.problem.scale)


def vi_full_kl(s):
    return _full_divergence(s.problem, s.problem.theta, s.problem.scale)


def vi_full_kl_reverse(s):
    half = numpy.linalg.inv(s.problem.scale)
    return _divergence(s, numpy.linalg.inv(s.problem.prior_precision), half.T @ half)


def _exact_bound(problem):
    """The bound of N(mean, C Cᵀ) with its expectation: of each output where f is affine in θ, else over two parameters."""
    if len(problem.sizes) == 2 and problem.likelihood in _BY_OUTPUT:
        u = numpy.linspace(-9, 9, 289)[:, None, None]
        weights = numpy.exp(-u[:, 0, 0] ** 2 / 2)
        J = _jacobian(problem, problem.X)

        def losses(mean, C):
            width = np.sqrt(np.sum(np.dot(J, C) ** 2, -1))
            return -np.sum(_LOG_PROB[problem.likelihood](np.dot(J, mean) + width * u, problem.y, problem), -1)
    else:
        axis = numpy.linspace(-7.5, 7.5, 61)
        z = numpy.stack(numpy.meshgrid(*[axis] * len(problem.theta), indexing="ij"), -1).reshape(-1, len(problem.theta))
        weights = numpy.exp(-(z ** 2).sum(-1) / 2)

        def losses(mean, C):
            return _loss(problem, mean + np.dot(z, C.T), problem.X, problem.y)
    weights = weights / weights.sum()
    return lambda mean, C: -np.dot(weights, losses(mean, C)) - _full_divergence(problem, mean, C)


_BY_OUTPUT = ("normal", "bernoulli", "bernoulli_probit", "bernoulli_cloglog", "ordinal", "poisson", "negative_binomial", "gamma")


def _best(problem, places):
    """(mean, C, bound) at the highest optimum over the mean and these entries of C: BFGS, then Newton's method."""
    from scipy.optimize import minimize
    p, exact, entries = len(problem.theta), _exact_bound(problem), numpy.zeros((len(places), *[len(problem.theta)] * 2))
    entries[numpy.arange(len(places)), [i for i, _ in places], [j for _, j in places]] = 1

    def energy(phi):
        return -exact(phi[:p], np.tensordot(phi[p:], entries, 1))

    slope, both, found = _grad(energy), _value_and_grad(energy), []
    width = numpy.diag(problem.prior_precision) ** -0.5
    sides = (0,) if len(problem.sizes) == 2 else (-1, 1)
    for side in numpy.stack(numpy.meshgrid(*[sides] * p), -1).reshape(-1, p):
        start = numpy.concatenate([problem.prior_mean + side * width, [0.5 * width[i] * (i == j) for i, j in places]])
        with numpy.errstate(all="ignore"):
            found.append(minimize(both, start, jac=True, method="BFGS", options={"gtol": 1e-6}))
    phi = min(found, key=lambda one: one.fun).x
    for _ in range(3):
        phi = phi - numpy.linalg.solve(_jacobian_of(slope)(phi), slope(phi))
    return phi[:p], numpy.tensordot(phi[p:], entries, 1), -energy(phi)


def vi_optimum_mean(s):
    return s.best[0]


def vi_optimum_covariance(s):
    return s.best[1] @ s.best[1].T


def vi_optimum_elbo(s):
    return s.best[2]


def vi_optimum_meanfield_mean(s):
    return s.best_independent[0]


def vi_optimum_meanfield_variance(s):
    return numpy.diag(s.best_independent[1]) ** 2


def vi_optimum_meanfield_elbo(s):
    return s.best_independent[2]


def vi_kl_laplace(s):
    return _divergence(s, s.from_ggn.covariance, s.problem.prior_precision)


def vi_kl_laplace_reverse(s):
    return _divergence(s, numpy.linalg.inv(s.problem.prior_precision), s.from_ggn.precision)


def _regression(s):
    """(mean, covariance) of the weights where f is affine in them and noise is Normal."""
    step = numpy.linalg.solve(s.from_ggn.precision, gradient(s) + s.problem.prior_precision @ (
        s.problem.theta - s.problem.prior_mean))
    return s.problem.theta - step, s.from_ggn.covariance


def _integrals(s):
    """log evidence, mean, covariance, E[y], Var f, E f, then mean and variance of log p(y | θ) and of log p(y, θ): on a grid
    around the prior of one or two parameters; the first five in closed form for a regression."""
    problem = s.problem
    if problem.likelihood == "normal" and len(problem.sizes) == 2:
        mean, S = _regression(s)
        return gp_log_evidence(s), mean, S, gp_mean(s), numpy.diagonal(_spread(s.new_jacobian, s.from_ggn), axis1=-2, axis2=-1)
    theta, log_density = _on_a_grid(problem, [(m - 8.5 * w, m + 8.5 * w) for m, w in zip(
        problem.prior_mean, numpy.diag(problem.prior_precision) ** -0.5)], 129)
    heavy = theta[log_density > log_density.max() - 45]
    low, high = heavy.min(0), heavy.max(0)
    margin = 0.02 * (high - low)
    theta, log_density = _on_a_grid(problem, list(zip(low - margin, high + margin)), 321)
    cell = numpy.prod((high - low + 2 * margin) / 320)
    weights = numpy.exp(log_density - log_density.max())
    evidence, weights = log_density.max() + numpy.log(weights.sum() * cell), weights / weights.sum()
    mean, f = weights @ theta, _network(problem, theta, problem.X_new)
    spread = (theta - mean).T * weights @ (theta - mean)
    centre, spread_f = _moments(weights, f)
    return (evidence, mean, spread, numpy.tensordot(weights, _MEAN[problem.likelihood](f, problem), 1), spread_f, centre,
            *_moments(weights, -_loss(problem, theta, problem.X, problem.y)), *_moments(weights, log_density))


def _moments(weights, values):
    mean = numpy.tensordot(weights, values, 1)
    return mean, numpy.tensordot(weights, (values - mean) ** 2, 1)


def _on_a_grid(problem, edges, count):
    """(nodes, log p(y, θ))."""
    axes = numpy.meshgrid(*[numpy.linspace(low, high, count) for low, high in edges], indexing="ij")
    theta = numpy.stack([axis.ravel() for axis in axes], -1)
    d, P0 = theta - problem.prior_mean, problem.prior_precision
    constant = 0.5 * (numpy.linalg.slogdet(P0)[1] - len(P0) * numpy.log(2 * numpy.pi))
    return theta, constant - 0.5 * numpy.einsum("ti,ij,tj->t", d, P0, d) - _loss(problem, theta, problem.X, problem.y)


def posterior_log_evidence(s):
    return s.integrals[0]


def posterior_mean(s):
    return s.integrals[1]


def posterior_covariance(s):
    return s.integrals[2]


def posterior_predictive_mean(s):
    return s.integrals[3]


def posterior_predictive_variance(s):
    return s.integrals[4]


def posterior_f_mean(s):
    return s.integrals[5]


def posterior_log_likelihood_mean(s):
    return s.integrals[6]


def posterior_log_likelihood_variance(s):
    return s.integrals[7]


def posterior_log_joint_mean(s):
    return s.integrals[8]


def posterior_log_joint_variance(s):
    return s.integrals[9]


def posterior_evidence_prior(s):
    problem, d = s.problem, s.integrals[1] - s.problem.prior_mean
    return 0.5 * (len(d) - numpy.sum(problem.prior_precision * (s.integrals[2] + numpy.outer(d, d))))


def posterior_evidence_noise(s):
    if s.problem.likelihood == "normal" and len(s.problem.sizes) == 2:
        return gp_evidence_noise(s)
    size, variance = s.problem.y.size, s.problem.variance
    return -s.integrals[6] - 0.5 * size * (1 + numpy.log(2 * numpy.pi * variance))


def gp_kernel(s):
    J = s.jacobian.reshape(-1, len(s.problem.theta))
    return (J @ numpy.linalg.solve(s.problem.prior_precision, J.T)).reshape(s.jacobian.shape[:2] * 2)


def gp_mean(s):
    L, cross, e = s.process
    f = predictive_glm_mean(s) + s.new_jacobian @ (s.problem.prior_mean - s.problem.theta)
    return f + (cross @ numpy.linalg.solve(L.T, numpy.linalg.solve(L, e))).reshape(f.shape)


def gp_variance(s):
    L, cross, _ = s.process
    prior = s.new_jacobian @ numpy.linalg.solve(s.problem.prior_precision, numpy.swapaxes(s.new_jacobian, -1, -2))
    explained = numpy.linalg.solve(L, cross.T).T.reshape(*prior.shape[:2], -1)
    return prior - explained @ numpy.swapaxes(explained, -1, -2)


def gp_log_evidence(s):
    L, _, e = s.process
    white = numpy.linalg.solve(L, e)
    return -0.5 * white @ white - numpy.log(numpy.diag(L)).sum() - 0.5 * len(e) * numpy.log(2 * numpy.pi)


def _process_evidence(s, log_tau, log_ratio):
    """log N(e; 0, F/τ + σ² ratio) of the linearised network, to be differentiated."""
    e = s.process[2]
    F = gp_kernel(s).reshape(len(e), len(e))
    K = F * np.exp(-log_tau) + s.problem.variance * np.exp(log_ratio) * np.eye(len(e))
    return -0.5 * (np.dot(e, np.linalg.solve(K, e)) + np.linalg.slogdet(K)[1] + len(e) * np.log(2 * np.pi))


def gp_evidence_prior(s):
    return _grad(lambda t: _process_evidence(s, t, 0.0))(0.0)


def gp_evidence_noise(s):
    return _grad(lambda t: _process_evidence(s, 0.0, t))(0.0)


def gp_loo_log_density(s):
    """From the blocks of K⁻¹: log N(y_n; y_n − B⁻¹(K⁻¹e)_n, B⁻¹), B the block of datum n."""
    L, _, e = s.process
    half = numpy.linalg.inv(L)
    n, k = s.problem.y.shape
    weights = (half.T @ (half @ e)).reshape(n, k)
    inverse = (half.T @ half).reshape(n, k, n, k)
    B = numpy.stack([inverse[i, :, i] for i in range(n)])
    away = numpy.linalg.solve(B, weights[..., None])[..., 0]
    return 0.5 * (numpy.linalg.slogdet(B)[1] - k * numpy.log(2 * numpy.pi) - numpy.sum(weights * away, -1))


def predictive_mc(s):
    return numpy.mean(_MEAN[s.problem.likelihood](_network(s.problem, s.problem.draws, s.problem.X_new), s.problem), 0)
