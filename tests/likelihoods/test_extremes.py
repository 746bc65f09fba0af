"""Saturated and extreme outputs, |f| up to 1000, against power series of the densities in balls of 4000 bits (Arb).

The tolerance is that of a backward stable evaluation: 100 u times the size of the value, plus what a relative change of 100 u in
the outputs does to it. What is below 1e-300 may underflow, what is above 1e300 may overflow.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.special import digamma, expit, ndtr

from tests.likelihoods.families import CUTS, DISPERSION, FAMILIES, FREEDOM, SCALE, SHAPE

flint = pytest.importorskip("flint")
arb, series = flint.arb, flint.arb_series

BITS, UNIT = 4000, 2.0**-53
STEP = arb(2) ** -60  # relative change of the outputs that measures the condition
OUTPUTS = (-1000.0, -310.0, -40.0, -7.9, -1.6, -1.4, -0.3, 0.0, 0.7, 1.4, 6.9, 7.1, 40.0, 310.0, 1000.0)
NOT_ZERO = tuple(f for f in OUTPUTS if f != 0)


def _bit(p, q, y):
    return (p if y == 1 else q).log()


def _logistic(f):
    return 1 / (1 + (-f).exp())


def _ordinal(f, y):
    edges = [0 * f, *[_logistic(float(c) - f) for c in CUTS], 0 * f + 1]
    return (edges[int(y) + 1] - edges[int(y)]).log()


def _poisson(mu, y):
    return (y * mu.log() if y else 0) - mu - arb(y + 1).lgamma()


def _negative_binomial(mu, rho, y):
    chosen = (rho + y).lgamma() - rho.lgamma() - arb(y + 1).lgamma()
    return chosen + rho * (rho / (rho + mu)).log() + y * (mu / (rho + mu)).log()


def _student(mu, scale, y):
    nu = arb(FREEDOM)
    constant = ((nu + 1) / 2).lgamma() - (nu / 2).lgamma() - (nu * arb.pi()).log() / 2
    return constant - scale.log() - (nu + 1) / 2 * (1 + ((y - mu) / scale) ** 2 / nu).log()


def _gamma(m, shape, y):
    return shape * (shape / m).log() - shape.lgamma() + (shape - 1) * arb(y).log() - shape * y / m


def _constant(value):
    return series([arb(value)])


DENSITIES = {  # name: (log p(y|f) of power series, outputs, targets)
    "bernoulli": (lambda f, y: _bit(_logistic(f), _logistic(-f), y), OUTPUTS, (0, 1)),
    "bernoulli_probit": (lambda f, y: (((1 - 2 * y) * f / arb(2).sqrt()).erfc() / 2).log(), OUTPUTS, (0, 1)),
    "bernoulli_cloglog": (lambda f, y: _bit(1 - (-f.exp()).exp(), (-f.exp()).exp(), y) if y else -f.exp(), OUTPUTS, (0, 1)),
    "ordinal": (_ordinal, OUTPUTS, (0, 1, 3)),
    "poisson_softplus": (lambda f, y: _poisson((1 + f.exp()).log(), y), OUTPUTS, (0, 3)),
    "poisson_square": (lambda f, y: _poisson(f * f, y), NOT_ZERO, (0, 3)),
    "negative_binomial": (lambda f, y: _negative_binomial(f.exp(), _constant(DISPERSION), y), OUTPUTS, (0, 3)),
    "student_t": (lambda f, y: _student(f, _constant(SCALE), y), OUTPUTS, (0.75,)),
    "gamma": (lambda f, y: _gamma(f.exp(), _constant(SHAPE), y), OUTPUTS, (0.75,)),
    "heteroscedastic_negative_binomial": (
        lambda a, b, y: _negative_binomial(a.exp(), b.exp(), y),
        ((-30, 20), (1, 25), (1.5, 12), (3, 2.4), (2, -30), (300, 1), (1000, -2)), (0, 3)),
    "heteroscedastic_student_t": (
        lambda a, b, y: _student(a, b.exp(), y), ((1000, -1000), (2, -700), (2, 300), (0.75, 1), (-40, 1000), (3, 0.2)), (0.75,)),
    "heteroscedastic_gamma": (
        lambda a, b, y: _gamma(a.exp(), b.exp(), y),
        ((-0.2876820724517809, 25), (0.1, 25), (0.1, 12), (1, 2.4), (1, 2.5), (1, -30), (300, 1), (-30, 1)), (0.75,)),
}
CASES = [(name, f, y) for name, (_, outputs, targets) in DENSITIES.items() for f in outputs for y in targets]


def along(density, f, direction, y):
    """Derivatives 0 to 3 of −log p at f along a direction."""
    expanded = -density(*[series([value, arb(u)]) for value, u in zip(f, direction)], y)
    return [expanded[m] * (1, 1, 2, 6)[m] for m in range(4)]


def exact(name, f, y):
    """{(times by the first output, times by the second): derivative of −log p}; mixed ones by polarisation."""
    density = DENSITIES[name][0]
    if len(f) == 1:
        return {(m,): value for m, value in enumerate(along(density, f, (1,), y))}
    a, b, plus, minus = (along(density, f, direction, y) for direction in ((1, 0), (0, 1), (1, 1), (1, -1)))
    pure = {(m, 0): a[m] for m in range(4)} | {(0, m): b[m] for m in range(1, 4)}
    return pure | {
        (1, 1): (plus[2] - minus[2]) / 4,
        (2, 1): (plus[3] - minus[3] - 2 * b[3]) / 6,
        (1, 2): (plus[3] + minus[3] - 2 * a[3]) / 6,
    }


def tolerances(name, f, y, true):
    """100 u (size + Σ_i |f_i ∂value/∂f_i|) for every derivative; log p counts as at least 1 where it cannot saturate."""
    size = {orders: abs(value) for orders, value in true.items()}
    if not name.startswith(("bernoulli", "ordinal")):
        size[(0,) * len(f)] += 1
    for i in range(len(f)):
        moved = exact(name, [value * (1 + STEP * (i == j)) for j, value in enumerate(f)], y)
        size = {orders: size[orders] + abs(moved[orders] - value) / STEP for orders, value in true.items()}
    return {orders: 100 * UNIT * total for orders, total in size.items()}


def errors_and_tolerances(likelihood, name, f, y):
    """{orders: (error, tolerance)} of log p, r, Λ, T at one output; what overflows must do so with the right sign."""
    fs, ys = np.array([f], dtype=float), np.array([[float(y)]])
    at = [arb(value) for value in f]
    true = exact(name, at, y)
    overflows = any(abs(float(value.mid())) > 1e300 for value in true.values())
    with np.errstate(over="ignore" if overflows else "warn"):
        methods = (likelihood.residual, likelihood.curvature, likelihood.third)
        values = [-likelihood.log_prob(fs, ys), *[method(fs, ys) for method in methods]]
    allowed = tolerances(name, at, y, true)
    found = {}
    for order, value in enumerate(values):
        for index in itertools.combinations_with_replacement(range(len(f)), order):
            orders = tuple(index.count(i) for i in range(len(f)))
            entry, expected = float(value[(0, *index)]), float(true[orders].mid())
            if abs(expected) > 1e300:
                assert abs(entry) > 1e299 and np.sign(entry) == np.sign(expected), (orders, entry, expected)
                continue
            assert np.isfinite(entry), orders
            found[orders] = float(abs(arb(entry) - true[orders]).mid()), float(allowed[orders].mid()) + 1e-300
    return found


def the_digits_are_kept(likelihood, name, f, y):
    """Every error is within its tolerance."""
    with flint.ctx.workprec(BITS):
        flint.ctx.cap = 4
        found = errors_and_tolerances(likelihood, name, np.atleast_1d(f).tolist(), y)
    excess = {orders: error / allowed for orders, (error, allowed) in found.items()}
    assert max(excess.values(), default=0) <= 1, {orders: f"{value:.2g}" for orders, value in excess.items()}


@pytest.mark.parametrize("name, f, y", CASES)
def test_extreme_outputs_keep_their_digits(name, f, y):
    the_digits_are_kept(FAMILIES[name].likelihood, name, f, y)


def probability_of_one(name, f):
    """P(y = 1|f) and P(y = 0|f), with their derivatives by f."""
    density = DENSITIES[name][0]
    return [density(series([arb(f), arb(1)]), y).exp() for y in (1, 0)]


@pytest.mark.parametrize("name", [name for name in DENSITIES if name.startswith("bernoulli")])
@pytest.mark.parametrize("f", OUTPUTS)
def test_saturated_means_variances_and_informations_keep_their_digits(name, f):
    likelihood, outputs = FAMILIES[name].likelihood, np.array([[f]])
    with flint.ctx.workprec(BITS):
        flint.ctx.cap = 4
        p, q = probability_of_one(name, f)
        exact_values = p[0], p[0] * q[0], p[1] ** 2 / (p[0] * q[0])
        moved = probability_of_one(name, arb(f) * (1 + STEP))
        moved_values = moved[0][0], moved[0][0] * moved[1][0], moved[0][1] ** 2 / (moved[0][0] * moved[1][0])
        for method, true, near in zip((likelihood.mean, likelihood.covariance, likelihood.fisher), exact_values, moved_values):
            allowed = 100 * UNIT * (abs(true) + abs(near - true) / STEP)
            assert abs(method(outputs).item() - float(true.mid())) <= float(allowed.mid()) + 1e-300


# -- on planted faults: the formulas of the textbooks -----------------------------------------------------------------------


class Textbook:
    """A likelihood with one method replaced by a function of (f, y)."""

    def __init__(self, likelihood, method, formula):
        self._likelihood, self._method, self._formula = likelihood, method, formula

    def __getattr__(self, name):
        return self._formula if name == self._method else getattr(self._likelihood, name)


def _probit_hazard(f, y):
    u = (2 * y - 1) * f
    return u, np.exp(-(u**2) / 2) / np.sqrt(2 * np.pi) / ndtr(u)


def _probit_bend(u, kappa):
    return (kappa * (kappa + u))[..., None]


def _dispersion_score(f, y):
    """(ℓ_a, ℓ_b) of the negative binomial with digamma functions."""
    mu, rho = np.exp(f[..., :1]), np.exp(f[..., 1:])
    score = digamma(y + rho) - digamma(rho) + np.log(rho / (rho + mu)) + 1 - (rho + y) / (rho + mu)
    return np.concatenate([rho * (mu - y) / (rho + mu), -rho * score], axis=-1)


TEXTBOOK = {  # name: (method, the formula as the textbook has it, f and y where it loses digits)
    "bernoulli": ("curvature", lambda f, y: (expit(f) * (1 - expit(f)))[..., None], 40.0, 1),
    "bernoulli_probit": ("curvature", lambda f, y: _probit_bend(*_probit_hazard(f, y)), -30.0, 1),
    "bernoulli_cloglog": ("log_prob", lambda f, y: np.log(1 - np.exp(-np.exp(f)))[..., 0], -40.0, 1),
    "ordinal": ("residual", lambda f, y: 1 - expit(CUTS[0] - f), -40.0, 0),
    "poisson_softplus": ("residual", lambda f, y: expit(f) * (1 - y / np.log(1 + np.exp(f))), -310.0, 3),
    "negative_binomial": ("residual", lambda f, y: DISPERSION * (np.exp(f) - y) / (DISPERSION + np.exp(f)), 1000.0, 3),
    "heteroscedastic_negative_binomial": ("residual", _dispersion_score, (1, 25), 3),
    "heteroscedastic_gamma": (
        "residual",
        lambda f, y: np.exp(f[..., 1:]) * np.concatenate([
            1 - y / np.exp(f[..., :1]),
            digamma(np.exp(f[..., 1:])) - f[..., 1:] - 1 + f[..., :1] - np.log(y) + y / np.exp(f[..., :1])], axis=-1),
        (-0.2876820724517809, 25), 0.75),
}


@pytest.mark.parametrize("name", TEXTBOOK)
def test_the_formula_of_the_textbook_loses_digits_and_is_caught(name):
    method, formula, f, y = TEXTBOOK[name]
    with np.errstate(all="ignore"), pytest.raises((AssertionError, RuntimeWarning)):
        the_digits_are_kept(Textbook(FAMILIES[name].likelihood, method, formula), name, f, y)
