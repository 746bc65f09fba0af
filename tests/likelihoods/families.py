"""Every likelihood with its density written plainly: complex-analytic in f, textbook form, one target. One row a family.

`outputs(rng, n)` draws moderate outputs (n k) and `targets(rng, n)` targets of one target: (n 1), or (n) labels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import special

from refbnn import likelihoods

NOISE = np.array([[0.9, 0.4, -0.2], [0.4, 1.3, 0.3], [-0.2, 0.3, 0.7]])
CUTS = np.array([-1.1, 0.3, 0.9])
VARIANCE, SCALE, FREEDOM, DISPERSION, SHAPE = 0.37, 0.8, 4.3, 2.6, 1.7
HALF_LOG_2PI = 0.5 * np.log(2 * np.pi)


@dataclass(frozen=True)
class Family:
    """A likelihood; log p(y|f) of one datum, f (..., k) complex; how to draw outputs and targets; what holds for it."""

    likelihood: object
    log_density: Callable
    outputs: Callable
    targets: Callable
    continuous: bool = False  # y has a density; otherwise it is counted
    moments: bool = True  # the rule of `outcomes` integrates y and its square
    definite: bool = True  # Λ is never indefinite
    circle: int = 32  # points of each circle of Cauchy's integral


def _logistic(z):
    return 1 / (1 + np.exp(-z))


def _choice(p, y):
    return np.where(y == 1, np.log(np.where(y == 1, p, 1)), np.log(np.where(y == 1, 1, 1 - p)))


def _poisson(mu, y):
    return y * np.log(mu) - mu - special.gammaln(y + 1)


def _negative_binomial(mu, rho, y):
    chosen = special.loggamma(rho + y) - special.loggamma(rho) - special.gammaln(y + 1)
    return chosen + rho * np.log(rho / (rho + mu)) + y * np.log(mu / (rho + mu))


def _student(e, scale, nu):
    constant = special.gammaln((nu + 1) / 2) - special.gammaln(nu / 2) - 0.5 * np.log(nu * np.pi)
    return constant - np.log(scale) - (nu + 1) / 2 * np.log(1 + (e / scale) ** 2 / nu)


def _gamma(mean, shape, y):
    return shape * np.log(shape / mean) - special.loggamma(shape) + (shape - 1) * np.log(y) - shape * y / mean


def _normal(mean, variance, y):
    return -((y - mean) ** 2) / (2 * variance) - 0.5 * np.log(variance) - HALF_LOG_2PI


def _normal_full(f, y):
    quadratic = np.einsum("...i,ij,...j->...", y - f, np.linalg.inv(NOISE), y - f)
    return -0.5 * quadratic - 0.5 * np.log(np.linalg.det(2 * np.pi * NOISE))


def _normal_by_factor(f, y):
    """Two targets, outputs (μ_1, μ_2, log L_11, L_21, log L_22)."""
    e = y - f[..., :2]
    z1, z2 = np.exp(f[..., 2]) * e[..., 0] + f[..., 3] * e[..., 1], np.exp(f[..., 4]) * e[..., 1]
    return f[..., 2] + f[..., 4] - 0.5 * (z1**2 + z2**2) - 2 * HALF_LOG_2PI


def _ordinal(f, y):
    upper = [_logistic(c - f) for c in CUTS] + [np.ones_like(f)]
    lower = [np.zeros_like(f)] + upper[:-1]
    return sum(np.where(y == j, np.log(b - a), 0) for j, (a, b) in enumerate(zip(lower, upper)))


def _categorical(f, y):
    return sum(np.where(y == c, f[..., c], 0) for c in range(f.shape[-1])) - np.log(np.exp(f).sum(-1))


def one(density):
    """A density of one output and one target as a function of f (..., 1) and y (..., 1)."""
    return lambda f, y: density(f[..., 0], y[..., 0])


def two(density):
    """A density of two outputs and one target as a function of f (..., 2) and y (..., 1)."""
    return lambda f, y: density(f[..., 0], f[..., 1], y[..., 0])


def _outputs(k):
    return lambda rng, n: rng.uniform(-1.2, 1.2, (n, k))


def _away_from_zero(rng, n):
    return rng.choice([-1, 1], (n, 1)) * rng.uniform(1.2, 2.0, (n, 1))


def _natural(rng, n):
    return np.stack([rng.uniform(-1.2, 1.2, n), -rng.uniform(0.6, 1.5, n)], axis=-1)


def _reals(rng, n):
    return rng.normal(size=(n, 1)) * 1.5


def _bits(rng, n):
    return rng.integers(0, 2, (n, 1)).astype(float)


def _counts(rng, n):
    return rng.poisson(2.0, (n, 1)).astype(float)


def _positives(rng, n):
    return rng.gamma(2.0, size=(n, 1)) + 0.1


FAMILIES = {
    "normal": Family(
        likelihoods.Normal(VARIANCE), one(lambda f, y: _normal(f, VARIANCE, y)), _outputs(1), _reals, continuous=True),
    "normal_full": Family(
        likelihoods.NormalFull(NOISE), _normal_full, _outputs(3), lambda rng, n: rng.normal(size=(n, 3)), continuous=True),
    "heteroscedastic": Family(
        likelihoods.Heteroscedastic(), two(lambda mu, s, y: _normal(mu, np.exp(s), y)), _outputs(2), _reals,
        continuous=True, definite=False),
    "heteroscedastic_full": Family(
        likelihoods.HeteroscedasticFull(), _normal_by_factor, _outputs(5), lambda rng, n: rng.normal(size=(n, 2)),
        continuous=True, definite=False, circle=14),
    "heteroscedastic_natural": Family(
        likelihoods.HeteroscedasticNatural(), two(lambda a, b, y: _normal(-a / (2 * b), -1 / (2 * b), y)), _natural, _reals,
        continuous=True),
    "heteroscedastic_precision": Family(
        likelihoods.HeteroscedasticPrecision(), two(lambda a, b, y: _normal(a / np.exp(b), 1 / np.exp(b), y)),
        _outputs(2), _reals, continuous=True, definite=False),
    "bernoulli": Family(likelihoods.Bernoulli(), one(lambda f, y: _choice(_logistic(f), y)), _outputs(1), _bits),
    "bernoulli_probit": Family(
        likelihoods.BernoulliProbit(), one(lambda f, y: _choice(0.5 * (1 + special.erf(f / np.sqrt(2))), y)), _outputs(1), _bits),
    "bernoulli_cloglog": Family(
        likelihoods.BernoulliCloglog(), one(lambda f, y: _choice(1 - np.exp(-np.exp(f)), y)), _outputs(1), _bits),
    "categorical": Family(likelihoods.Categorical(), _categorical, _outputs(3), lambda rng, n: rng.integers(0, 3, n)),
    "ordinal": Family(
        likelihoods.Ordinal(CUTS), one(_ordinal), _outputs(1), lambda rng, n: rng.integers(0, 4, (n, 1)).astype(float)),
    "poisson": Family(likelihoods.Poisson(), one(lambda f, y: _poisson(np.exp(f), y)), _outputs(1), _counts),
    "poisson_softplus": Family(
        likelihoods.PoissonSoftplus(), one(lambda f, y: _poisson(np.log(1 + np.exp(f)), y)), _outputs(1), _counts),
    "poisson_square": Family(likelihoods.PoissonSquare(), one(lambda f, y: _poisson(f**2, y)), _away_from_zero, _counts),
    "negative_binomial": Family(
        likelihoods.NegativeBinomial(DISPERSION), one(lambda f, y: _negative_binomial(np.exp(f), DISPERSION, y)),
        _outputs(1), _counts),
    "heteroscedastic_negative_binomial": Family(
        likelihoods.HeteroscedasticNegativeBinomial(), two(lambda a, b, y: _negative_binomial(np.exp(a), np.exp(b), y)),
        _outputs(2), _counts, definite=False),
    "student_t": Family(
        likelihoods.StudentT(SCALE, FREEDOM), one(lambda f, y: _student(y - f, SCALE, FREEDOM)), _outputs(1), _reals,
        continuous=True, moments=False, definite=False),
    "heteroscedastic_student_t": Family(
        likelihoods.HeteroscedasticStudentT(FREEDOM), two(lambda mu, tau, y: _student(y - mu, np.exp(tau), FREEDOM)),
        _outputs(2), _reals, continuous=True, moments=False, definite=False),
    "gamma": Family(
        likelihoods.Gamma(SHAPE), one(lambda f, y: _gamma(np.exp(f), SHAPE, y)), _outputs(1), _positives, continuous=True),
    "heteroscedastic_gamma": Family(
        likelihoods.HeteroscedasticGamma(), two(lambda a, b, y: _gamma(np.exp(a), np.exp(b), y)), _outputs(2), _positives,
        continuous=True, definite=False),
}


def polydisc_derivatives(function: Callable, f: np.ndarray, orders: tuple[int, ...], radius: float, points: int = 32):
    """For each order all derivatives (*s k ... k) of an analytic function of f (*s k), and a bound of their round-off.

    Cauchy's integral on a product of circles: a Fourier transform of the values gives every Taylor coefficient at once. The
    round-off is 30·m!·u·max|function|/radius^m; the aliasing, (radius/distance of the nearest singularity)^points, is below it.
    """
    k = f.shape[-1]
    circle = radius * np.exp(2j * np.pi * np.arange(points) / points)
    grid = np.stack(np.meshgrid(*[circle] * k, indexing="ij"), axis=-1)
    values = function(f.reshape(*f.shape[:-1], *[1] * k, k) + grid)
    coefficients = np.fft.fftn(values, axes=range(-k, 0)).real / points**k
    for order in orders:
        out = np.empty((*f.shape[:-1], *[k] * order))
        for index in np.ndindex(*[k] * order):
            powers = np.bincount(np.array(index, dtype=int), minlength=k) if order else np.zeros(k, dtype=int)
            out[(..., *index)] = coefficients[(..., *powers)] * np.prod(special.factorial(powers)) / radius**order
        yield out, 30 * special.factorial(order) * 2.0**-53 * np.abs(values).max() / radius**order
