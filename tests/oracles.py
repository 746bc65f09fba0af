"""Independent answers, sharing no code with the package: plain loops, the complex step, Cauchy's integral, autograd.

The complex step (Squire & Trapp 1998) differentiates to round-off: ∂f = Im f(θ + ih e)/h with h = 1e-30, for code that is
analytic. `gradient` is backpropagation in such code, so that its complex step is the Hessian.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import autograd
import autograd.numpy as anp
import autograd.scipy.special as asp
import numpy as np
from scipy import special

from tests.zoo import CUTS, DISPERSION, FREEDOM, NOISE, SCALE, SHAPE, SLOPE

STEP = 1e-30

# -- the network, analytic in θ and x ---------------------------------------------------------------------------------------


def _logistic(z):
    return 1 / (1 + np.exp(-z))


def _density(z):
    return np.exp(-z * z / 2) / math.sqrt(2 * math.pi)


def _tanh_argument(z):
    return math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)


def _gelu_tanh_slope(z):
    t = np.tanh(_tanh_argument(z))
    return (1 + t) / 2 + z * (1 - t**2) / 2 * math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * z**2)


PHI = {  # name: (φ, φ′), written out once more, for complex z
    "identity": (lambda z: z, lambda z: z**0),
    "tanh": (np.tanh, lambda z: 1 / np.cosh(z) ** 2),
    "sigmoid": (_logistic, lambda z: _logistic(z) * _logistic(-z)),
    "softplus": (lambda z: np.log(1 + np.exp(z)), _logistic),
    "sin": (np.sin, np.cos),
    "silu": (lambda z: z * _logistic(z), lambda z: _logistic(z) * (1 + z * _logistic(-z))),
    "gelu": (lambda z: z * (1 + special.erf(z / math.sqrt(2))) / 2,
             lambda z: (1 + special.erf(z / math.sqrt(2))) / 2 + z * _density(z)),
    "gelu_tanh": (lambda z: z * (1 + np.tanh(_tanh_argument(z))) / 2, _gelu_tanh_slope),
    "erf": (special.erf, lambda z: 2 / math.sqrt(math.pi) * np.exp(-z * z)),
    "square": (lambda z: z**2, lambda z: 2 * z),
    "relu": (lambda z: np.where(z.real > 0, z, 0), lambda z: np.where(z.real > 0, 1.0, 0.0)),
    "leaky_relu": (lambda z: np.where(z.real > 0, z, SLOPE * z), lambda z: np.where(z.real > 0, 1.0, SLOPE)),
}


def layers(spec, theta):
    """θ (*s p) as [(W, b or None)]: W out x in in row-major order, then b, layer by layer."""
    found, rest = [], theta
    for into, out in zip(spec.sizes[:-1], spec.sizes[1:]):
        W, rest = rest[..., :out * into].reshape(rest.shape[:-1] + (out, into)), rest[..., out * into:]
        b = None
        if spec.bias:
            b, rest = rest[..., :out], rest[..., out:]
        found.append((W, b))
    assert rest.shape[-1] == 0
    return found


def states(spec, theta, X):
    """([a_0, a_1, ...], [z_1, ..., z_L]), each (*s n width)."""
    a, z = [X], []
    for (W, b), name in itertools.zip_longest(layers(spec, theta), spec.activations):
        z.append(np.einsum("...ij,...nj->...ni", W, a[-1]) + (0 if b is None else b[..., None, :]))
        if name is not None:
            a.append(PHI[name][0](z[-1]))
    return a, z


def forward(spec, theta, X):
    """f: (*s n k)."""
    return states(spec, theta, X)[1][-1]


def pullback(spec, theta, X, v):
    """Σ_n J_nᵀ v_n: (*s p). The weights v may depend on θ, in which case this is not a derivative of anything."""
    a, z = states(spec, theta, X)
    delta, parts = np.broadcast_to(v, np.broadcast_shapes(v.shape, z[-1].shape)), []
    for l in reversed(range(len(z))):
        if spec.bias:
            parts.append(delta.sum(-2))
        W = np.einsum("...ni,...nj->...ij", delta, a[l])
        parts.append(W.reshape(W.shape[:-2] + (-1,)))
        if l > 0:
            weight = layers(spec, theta)[l][0]
            delta = np.einsum("...ij,...ni->...nj", weight, delta) * PHI[spec.activations[l - 1]][1](z[l - 1])
    return np.concatenate(parts[::-1], axis=-1)


# -- the likelihoods, analytic in f -----------------------------------------------------------------------------------------


def log_prob(likelihood, f, y, variance=0.37):
    """log p(y_n|f_n) for every datum, constants included: (*s n)."""
    if likelihood == "categorical":
        chosen = sum(f[..., c] * (y == c) for c in range(f.shape[-1]))
        return chosen - np.log(sum(np.exp(f[..., c]) for c in range(f.shape[-1])))
    if likelihood == "normal_full":
        quadratic = np.einsum("...i,ij,...j->...", y - f, np.linalg.inv(NOISE), y - f)
        return -quadratic / 2 - math.log(np.linalg.det(2 * math.pi * NOISE)) / 2
    if likelihood == "cholesky":
        return _log_normal_by_factor(f, y)
    first, second = f[..., 0::2], f[..., 1::2]  # of likelihoods with two outputs a target
    terms = {
        "normal": lambda: -((y - f) ** 2) / (2 * variance) - math.log(math.sqrt(2 * math.pi * variance)),
        "bernoulli": lambda: y * f - np.log(1 + np.exp(f)),
        "poisson": lambda: y * f - np.exp(f) - special.gammaln(y + 1),
        "probit": lambda: np.log(special.erfc((1 - 2 * y) * f / math.sqrt(2)) / 2),
        "cloglog": lambda: y * np.log(-np.expm1(-np.exp(f))) - (1 - y) * np.exp(f),
        "softplus": lambda: _log_poisson(np.log1p(np.exp(f)), y),
        "negative_binomial": lambda: (
            special.gammaln(y + DISPERSION) - special.gammaln(DISPERSION) - special.gammaln(y + 1)
            + y * f + DISPERSION * math.log(DISPERSION) - (y + DISPERSION) * np.log(DISPERSION + np.exp(f))),
        "ordinal": lambda: sum(np.where(y == j, term, 0) for j, term in enumerate(_log_levels(f))),
        "student_t": lambda: (
            special.gammaln((FREEDOM + 1) / 2) - special.gammaln(FREEDOM / 2) - math.log(math.pi * FREEDOM) / 2 - math.log(SCALE)
            - (FREEDOM + 1) / 2 * np.log(1 + (y - f) ** 2 / (FREEDOM * SCALE**2))),
        "heteroscedastic": lambda: -((y - first) ** 2) * np.exp(-second) / 2 - second / 2 - math.log(2 * math.pi) / 2,
        "precision": lambda: (
            -np.exp(second) * (y - first * np.exp(-second)) ** 2 / 2 + second / 2 - math.log(2 * math.pi) / 2),
        "gamma": lambda: (
            SHAPE * (math.log(SHAPE) - f) - special.gammaln(SHAPE) + (SHAPE - 1) * np.log(y) - SHAPE * y * np.exp(-f)),
    }
    return terms[likelihood]().sum(-1)


def _factor(f, t):
    """L (*s n t t) of outputs (μ, then the rows of L with the diagonal as logarithms), complex outputs too."""
    L = np.zeros((*f.shape[:-1], t, t), dtype=f.dtype)
    for a, (i, j) in enumerate(zip(*np.tril_indices(t)), start=t):
        L[..., i, j] = np.exp(f[..., a]) if i == j else f[..., a]
    return L


def _log_normal_by_factor(f, y):
    """y ~ N(μ, (L Lᵀ)⁻¹)."""
    t = y.shape[-1]
    L, e = _factor(f, t), y - f[..., :t]
    z = np.einsum("...ij,...i->...j", L, e)
    return np.log(np.einsum("...ii->...i", L)).sum(-1) - (z**2).sum(-1) / 2 - t * math.log(2 * math.pi) / 2


def _residual_by_factor(f, y):
    """(−L z, then the lower triangle of e zᵀ ∘ ∂L/∂f − 1)."""
    t = y.shape[-1]
    L, e = _factor(f, t), y - f[..., :t]
    z = np.einsum("...ij,...i->...j", L, e)
    outer, eye = e[..., :, None] * z[..., None, :], np.eye(t)
    rows, columns = np.tril_indices(t)
    return np.concatenate(
        [-np.einsum("...ij,...j->...i", L, z), (outer * np.where(eye, L, 1) - eye)[..., rows, columns]], axis=-1)


def _log_poisson(rate, y):
    return y * np.log(rate) - rate - special.gammaln(y + 1)


def _log_levels(f):
    """log p_j of the ordinal levels; log (σ(b) − σ(a)) = log σ(b) + log σ(−a) + log (1 − exp(a − b))."""
    up, down = [-np.log1p(np.exp(f - c)) for c in CUTS], [-np.log1p(np.exp(c - f)) for c in CUTS]
    inner = [b + a + math.log(-math.expm1(low - high)) for b, a, low, high in zip(up[1:], down, CUTS, CUTS[1:])]
    return [up[0], *inner, down[-1]]


def _ordinal_residual(f, y):
    above = [0, *[_logistic(c - f) for c in CUTS], 1]
    return sum(np.where(y == j, 1 - a - b, 0) for j, (a, b) in enumerate(zip(above, above[1:])))


def residual(likelihood, f, y, variance=0.37):
    """r = ∂ℓ/∂f: (*s n k)."""
    if likelihood == "categorical":
        rates = np.exp(f)
        return rates / rates.sum(-1, keepdims=True) - np.eye(f.shape[-1])[y]
    if likelihood == "normal_full":
        return (f - y) @ np.linalg.inv(NOISE)
    if likelihood == "cholesky":
        return _residual_by_factor(f, y)
    first, second = f[..., 0::2], f[..., 1::2]
    terms = {
        "normal": lambda: (f - y) / variance,
        "bernoulli": lambda: _logistic(f) - y,
        "poisson": lambda: np.exp(f) - y,
        "probit": lambda: (1 - 2 * y) * _density(f) / (special.erfc((1 - 2 * y) * f / math.sqrt(2)) / 2),
        "cloglog": lambda: np.where(y == 1, -np.exp(f) / np.expm1(np.exp(f)), np.exp(f)),
        "softplus": lambda: _logistic(f) * (1 - y / np.log1p(np.exp(f))),
        "negative_binomial": lambda: DISPERSION * (np.exp(f) - y) / (DISPERSION + np.exp(f)),
        "ordinal": lambda: _ordinal_residual(f, y),
        "gamma": lambda: SHAPE * (1 - y * np.exp(-f)),
        "student_t": lambda: (FREEDOM + 1) * (f - y) / (FREEDOM * SCALE**2 + (y - f) ** 2),
        "heteroscedastic": lambda: _interleaved(
            (first - y) * np.exp(-second), (1 - (y - first) ** 2 * np.exp(-second)) / 2),
        "precision": lambda: _interleaved(
            first * np.exp(-second) - y, (np.exp(second) * y**2 - first**2 * np.exp(-second) - 1) / 2),
    }
    return terms[likelihood]()


def _interleaved(first, second):
    """(*s n t) and (*s n t) as (*s n 2t)."""
    both = np.stack([first, second], axis=-1)
    return both.reshape(*both.shape[:-2], -1)


def loss(case, theta):
    """Σ_n ℓ_n: (*s)."""
    return -log_prob(case.spec.likelihood, forward(case.spec, theta, case.X), case.y).sum(-1)


def gradient(case, theta):
    """∇ of the loss, by backpropagation: (*s p)."""
    r = residual(case.spec.likelihood, forward(case.spec, theta, case.X), case.y)
    return pullback(case.spec, theta, case.X, r)


def log_prior(case, theta):
    """log N(θ; μ₀, P₀⁻¹), constants included, for dense P₀: (*s)."""
    P0, shift = dense(case.prior.precision), theta - case.prior.mean
    quadratic = np.einsum("...i,ij,...j->...", shift, P0, shift)
    return -quadratic / 2 + np.log(np.linalg.det(P0)) / 2 - len(P0) / 2 * math.log(2 * math.pi)


def dense(precision):
    """A precision object as an array, column by column from its products with unit vectors."""
    return np.array([precision.matvec(e) for e in np.eye(precision.num_params)]).T


# -- derivatives ------------------------------------------------------------------------------------------------------------


def complex_step(function: Callable, theta):
    """∂function/∂θ, with the axis of θ last; `function` takes (p p) complex points at once."""
    points = theta + 1j * STEP * np.eye(len(theta))
    return np.moveaxis(np.asarray(function(points)).imag / STEP, 0, -1)


def jacobian(case, X=None):
    """J by the complex step: (n k p)."""
    X = case.X if X is None else X
    return complex_step(lambda theta: forward(case.spec, theta, X), case.theta)


def hessian(case):
    """H of the loss, as the complex step of the gradient: (p p)."""
    return complex_step(lambda theta: gradient(case, theta), case.theta)


def contracted_hessian(case, v):
    """Σ v_nk ∇²f_nk, as the complex step of the pullback of constant v: (p p)."""
    return complex_step(lambda theta: pullback(case.spec, theta, case.X, v), case.theta)


def cauchy_derivatives(function: Callable, order: int, radius: float, points: int = 64):
    """Derivatives 0 to `order` at 0 of an analytic function of one variable, by Cauchy's integral over a circle.

    The trapezoid rule converges geometrically in the number of points; the error is about m!·u·max|function|/radius^m.
    """
    angles = 2 * np.pi * np.arange(points) / points
    values = np.array([function(radius * np.exp(1j * angle)) for angle in angles])
    return [
        math.factorial(m) / radius**m * np.einsum("j,j...->...", np.exp(-1j * m * angles), values).real / points
        for m in range(order + 1)
    ]


# -- plain loops ------------------------------------------------------------------------------------------------------------


def loop_forward(spec, theta, x):
    """f(x) for one datum and one θ, unit by unit."""
    position, a = 0, list(x)
    for l, (into, out) in enumerate(zip(spec.sizes[:-1], spec.sizes[1:])):
        z = []
        for i in range(out):
            z.append(sum(theta[position + i * into + j] * a[j] for j in range(into)))
        position += into * out
        if spec.bias:
            z = [z[i] + theta[position + i] for i in range(out)]
            position += out
        a = z if l == len(spec.sizes) - 2 else [PHI[spec.activations[l]][0](np.asarray(value)) for value in z]
    return np.array(a)


def loop_congruence(J, M):
    """Σ_n J_nᵀ M_n J_n, index by index: (p p)."""
    total = np.zeros((J.shape[-1], J.shape[-1]))
    for Jn, Mn in zip(J, M):
        for a, b in itertools.product(range(len(Mn)), repeat=2):
            total += Mn[a, b] * np.outer(Jn[a], Jn[b])
    return total


def support(likelihood, f, variance=0.37):
    """Every target y of one datum and its probability p(y|f), or a quadrature rule for a density: (points, ...), (points).

    Trapezoid over ±14 standard deviations for the normal (error below u); counts until the tail is below u.
    """
    if likelihood == "categorical":
        labels = np.arange(len(f))
        return labels, np.exp(f) / np.exp(f).sum()
    grids = {
        "bernoulli": lambda m: (np.array([0.0, 1.0]), np.array([1 - _logistic(m), _logistic(m)])),
        "poisson": lambda m: _poisson_grid(math.exp(m)),
        "probit": lambda m: (np.array([0.0, 1.0]), np.array([special.ndtr(-m), special.ndtr(m)])),
        "normal": lambda m: _normal_grid(m, variance),
        "cloglog": lambda m: (np.array([0.0, 1.0]), np.array([math.exp(-math.exp(m)), -math.expm1(-math.exp(m))])),
        "softplus": lambda m: _poisson_grid(math.log1p(math.exp(m))),
        "negative_binomial": lambda m: _negative_binomial_grid(m),
        "ordinal": lambda m: (np.arange(len(CUTS) + 1.0), np.exp([term for term in _log_levels(np.float64(m))])),
        "gamma": lambda m: _gamma_grid(math.exp(m)),
    }
    rules = [grids[likelihood](m) for m in f]
    points = np.array(list(itertools.product(*[values for values, _ in rules])))
    weights = np.array([math.prod(w) for w in itertools.product(*[weights for _, weights in rules])])
    return points, weights


def _poisson_grid(rate):
    counts = np.arange(0, 30 + int(rate + 14 * math.sqrt(rate)))
    return counts.astype(float), np.exp(counts * math.log(rate) - rate - special.gammaln(counts + 1))


def _normal_grid(mean, variance):
    std = math.sqrt(variance)
    offsets = np.linspace(-14, 14, 85)
    return mean + std * offsets, np.exp(-(offsets**2) / 2) / math.sqrt(2 * math.pi) * (offsets[1] - offsets[0])


def _negative_binomial_grid(m):
    """Counts until nothing above u is left: the ratio of neighbouring probabilities tends to μ/(ρ + μ)."""
    counts = np.arange(0, 30 + int(45 / math.log1p(DISPERSION * math.exp(-m))))
    return counts.astype(float), np.exp(log_prob("negative_binomial", np.full((len(counts), 1), m), counts[:, None] * 1.0))


def _gamma_grid(mean):
    """Gauss-Laguerre rule with ten points, exact for polynomials in y up to degree 19."""
    x, w = special.roots_genlaguerre(10, SHAPE - 1)
    return mean * x / SHAPE, w / w.sum()


# -- autograd ---------------------------------------------------------------------------------------------------------------

AUTOGRAD_PHI = {
    "identity": lambda z: z,
    "tanh": anp.tanh,
    "sigmoid": lambda z: 0.5 * (anp.tanh(0.5 * z) + 1),
    "softplus": lambda z: anp.logaddexp(z, 0.0),
    "sin": anp.sin,
    "silu": lambda z: 0.5 * z * (anp.tanh(0.5 * z) + 1),
    "gelu": lambda z: 0.5 * z * asp.erfc(-z / anp.sqrt(2.0)),
    "gelu_tanh": lambda z: 0.5 * z * (1 + anp.tanh(anp.sqrt(2 / anp.pi) * (z + 0.044715 * z**3))),
    "erf": asp.erf,
    "square": anp.square,
    "relu": lambda z: z * (z > 0),
    "leaky_relu": lambda z: z * anp.where(z > 0, 1.0, SLOPE),
}


def autograd_forward(spec, theta, X):
    """f: (n k), in autograd's numpy."""
    position, a = 0, X
    for l, (into, out) in enumerate(zip(spec.sizes[:-1], spec.sizes[1:])):
        a = anp.dot(a, anp.transpose(anp.reshape(theta[position:position + into * out], (out, into))))
        position += into * out
        if spec.bias:
            a = a + theta[position:position + out]
            position += out
        if l < len(spec.activations):
            a = AUTOGRAD_PHI[spec.activations[l]](a)
    return a


def _autograd_level(f, bound):
    """P(level < bound), 0 below the first level and 1 above the last."""
    inner = sum((np.floor(bound) == j) * 0.5 * (anp.tanh(0.5 * (c - f)) + 1) for j, c in enumerate(CUTS))
    return inner + (bound > len(CUTS))


def autograd_loss(case) -> Callable:
    """θ -> loss, in autograd's numpy."""
    y = case.y
    of_outputs = {
        "normal": lambda f: anp.sum(0.5 * (f - y) ** 2 / 0.37 + 0.5 * anp.log(2 * anp.pi * 0.37)),
        "bernoulli": lambda f: anp.sum(anp.logaddexp(0.0, (1 - 2 * y) * f)),
        "categorical": lambda f: anp.sum(asp.logsumexp(f, axis=1) - f[anp.arange(len(y)), y]),
        "poisson": lambda f: anp.sum(anp.exp(f) - y * f + special.gammaln(y + 1)),
        "probit": lambda f: -anp.sum(anp.log(0.5 * asp.erfc((1 - 2 * y) * f / anp.sqrt(2.0)))),
        "cloglog": lambda f: anp.sum((1 - y) * anp.exp(f) - y * anp.log(-anp.expm1(-anp.exp(f)))),
        "softplus": lambda f: anp.sum(anp.logaddexp(f, 0.0) - y * anp.log(anp.logaddexp(f, 0.0)) + special.gammaln(y + 1)),
        "negative_binomial": lambda f: anp.sum(
            special.gammaln(DISPERSION) + special.gammaln(y + 1) - special.gammaln(y + DISPERSION)
            + DISPERSION * anp.logaddexp(0.0, f - anp.log(DISPERSION)) + y * anp.logaddexp(0.0, anp.log(DISPERSION) - f)),
        "ordinal": lambda f: -anp.sum(anp.log(_autograd_level(f, y + 0.5) - _autograd_level(f, y - 0.5))),
        "gamma": lambda f: anp.sum(
            SHAPE * (f - math.log(SHAPE)) + special.gammaln(SHAPE) - (SHAPE - 1) * anp.log(y) + SHAPE * y * anp.exp(-f)),
    }[case.spec.likelihood]
    return lambda theta: of_outputs(autograd_forward(case.spec, theta, case.X))


def autograd_gradient(case):
    """∇ of the loss: (p)."""
    return autograd.grad(autograd_loss(case))(case.theta)


def autograd_hessian(case):
    """∇² of the loss: (p p)."""
    return autograd.hessian(autograd_loss(case))(case.theta)


def autograd_jacobian(case):
    """J: (n k p)."""
    return autograd.jacobian(lambda theta: autograd_forward(case.spec, theta, case.X))(case.theta)
