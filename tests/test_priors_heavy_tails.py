"""Priors that are not Gaussian: normalised, differentiated exactly, sampled from, and usable wherever a Gaussian is."""

from __future__ import annotations

from math import lgamma

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import exp1

from refbnn import Mlp, Posterior, activations, laplace, likelihoods, optimize, priors
from refbnn.testing import taylor_order
from tests.judge import agree, mean_agrees

SCALES = np.array([0.3, 1.7, 0.9])
PRIORS = {
    "laplace": priors.Laplace(3, SCALES),
    "student": priors.StudentT(3, SCALES, 3.5),
    "cauchy": priors.StudentT(3, SCALES, 1.0),
    "horseshoe": priors.RegularisedHorseshoe(3, SCALES, [2.0, 0.5, 3.0]),
}
THETA = np.array([0.41, -1.3, 2.2])
QUADRATURE = 1e-9  # asked of scipy's adaptive rule, times ten


def alone(name, j):
    """The prior of parameter j by itself."""
    prior = PRIORS[name]
    more = {"laplace": (), "student": (3.5,), "cauchy": (1.0,), "horseshoe": (prior.slab[j],) if name == "horseshoe" else ()}
    return type(prior)(1, SCALES[j], *more[name])


def probability(prior, low, high):
    """P(low < θ < high) for 0 <= low < high, by quadrature in log θ."""
    low = max(low, 1e-100)
    density = lambda s: np.exp(prior.log_prob([np.exp(s)]) + s)
    cuts = np.unique(np.clip([-200, -40, -15, -5, -1, 0, 1, 3, 6, 15, np.log(low), np.log(high)], np.log(low), np.log(high)))
    return sum(quad(density, a, b, epsabs=1e-13, epsrel=1e-10, limit=200)[0] for a, b in zip(cuts, cuts[1:]))


@pytest.mark.parametrize("name", PRIORS)
@pytest.mark.parametrize("j", range(3))
def test_every_density_integrates_to_one(name, j):
    tail = 2e-17 if name != "cauchy" else 2 * SCALES[j] / (np.pi * 1e18)
    assert abs(2 * probability(alone(name, j), 0, 1e18) + tail - 1) < QUADRATURE


@pytest.mark.parametrize("name", PRIORS)
def test_parameters_are_independent_and_draws_batched(name):
    prior, thetas = PRIORS[name], np.random.default_rng(0).normal(size=(5, 2, 3))
    agree(prior.log_prob(thetas), sum(alone(name, j).log_prob(thetas[..., [j]]) for j in range(3)), terms=3, condition=10)
    gradients = [alone(name, j).gradient(thetas[..., [j]]) for j in range(3)]
    agree(prior.gradient(thetas), np.concatenate(gradients, -1), terms=3, condition=10)
    looped = [[prior.log_prob(theta) for theta in row] for row in thetas]
    agree(prior.log_prob(thetas), looped, terms=3, condition=10)


EXTREMES = [(1e150, 2.0, 3.0), (1e200, 1.0, 3.0), (-1e160, 1e-3, 0.5), (1e-170, 1e-140, 1.0), (3.0, 1e160, 2.0),
            (1e-200, 1.0, 1.0)]


def student_is_right_out_there(theta, scale, nu):
    """Logarithms, ratios and powers one by one: θ² and ν s² are out of range in most of these rows, the results in none."""
    prior, u = priors.StudentT(1, scale, nu), abs(theta) / scale / np.sqrt(nu)
    log_kernel = 2 * np.log(u) if u > 1e20 else np.log1p(u * u)
    constant = lgamma((nu + 1) / 2) - lgamma(nu / 2) - 0.5 * np.log(np.pi * nu) - np.log(scale)
    agree(prior.log_prob([theta]), constant - 0.5 * (nu + 1) * log_kernel, terms=10, condition=10)
    slope = -(nu + 1) / theta if u > 1e20 else -(nu + 1) * (theta / scale) / (nu + nu * u * u) / scale
    agree(prior.gradient([theta]) / slope, [1.0], terms=10, condition=10)
    bend = -(nu + 1) / theta / theta if u > 1e20 else (nu + 1) * (1 - u * u) / (1 + u * u) ** 2 / nu / scale / scale
    if abs(bend) > 1e-300 and np.isfinite(bend):
        agree(prior.negative_hessian([theta]) / bend, [[1.0]], terms=10, condition=10)


@pytest.mark.parametrize("theta, scale, nu", EXTREMES)
def test_students_law_is_right_where_squares_are_out_of_range(theta, scale, nu):
    student_is_right_out_there(theta, scale, nu)


@pytest.mark.parametrize("method, textbook", [
    ("log_density", lambda self, theta: -0.5 * (self.degrees_of_freedom + 1) * np.log1p((theta / self.scale) ** 2)),
    ("score", lambda self, theta: -4 * theta / (3 * self.scale**2 + theta**2)),
    ("bend", lambda self, theta: 4 * (3 * self.scale**2 - theta**2) / (3 * self.scale**2 + theta**2) ** 2),
])
def test_the_formula_of_the_textbook_leaves_the_range_and_is_caught(method, textbook, monkeypatch):
    monkeypatch.setattr(priors.StudentT, method, textbook)
    with np.errstate(all="ignore"), pytest.raises((AssertionError, ValueError)):
        student_is_right_out_there(*EXTREMES[0])
        student_is_right_out_there(*EXTREMES[1])


@pytest.mark.parametrize("name", PRIORS)
def test_densities_are_symmetric_about_zero(name):
    prior = PRIORS[name]
    assert prior.log_prob(THETA) == prior.log_prob(-THETA)
    assert np.array_equal(prior.gradient(THETA), -prior.gradient(-THETA))
    assert np.array_equal(prior.negative_hessian(THETA), prior.negative_hessian(-THETA))


@pytest.mark.parametrize("name", ["student", "cauchy", "horseshoe"])
@pytest.mark.parametrize("scale", [0.05, 1.0, 4.0])
def test_the_remainders_of_the_taylor_series_have_the_orders_of_exact_derivatives(name, scale):
    """Eqs. (scale-mixture-score), (scale-mixture-curvature) and (student-prior-curvature)."""
    prior, theta, v = PRIORS[name], scale * THETA, scale * np.array([0.3, -0.2, 0.5])
    gradient, bend = prior.gradient(theta), prior.negative_hessian(theta)
    steps = [2.0**-j for j in range(4, 9)]
    first = lambda h: prior.log_prob(theta + h * v) - prior.log_prob(theta) - h * gradient @ v
    assert abs(taylor_order(first, steps) - 2) < 0.1
    assert abs(taylor_order(lambda h: first(h) + 0.5 * h**2 * v @ bend @ v, steps) - 3) < 0.1
    of_gradient = lambda h: prior.gradient(theta + h * v) - gradient + h * bend @ v
    assert abs(taylor_order(of_gradient, steps) - 2) < 0.1


def test_the_laplace_prior_is_a_straight_line_on_both_sides_of_its_kink():
    prior = PRIORS["laplace"]
    agree(prior.log_prob(THETA), sum(-abs(t) / b - np.log(2 * b) for t, b in zip(THETA, SCALES)), terms=3)
    agree(prior.gradient(THETA), [-1 / 0.3, 1 / 1.7, -1 / 0.9], terms=1)
    assert not prior.negative_hessian(THETA).any()
    agree(prior.log_prob(np.zeros(3)), -np.log(2 * SCALES).sum(), terms=3)


@pytest.mark.parametrize("name, what", [("laplace", "a kink"), ("horseshoe", "a pole")])
def test_a_derivative_that_does_not_exist_is_refused(name, what):
    for theta in ([0.3, 0.0, 0.1], [[0.3, 1.0, 0.1], [0.3, 0.0, 0.1]]):
        with pytest.raises(priors.NoDerivative, match=f"{what}; parameter 1 is 0"):
            PRIORS[name].gradient(theta)
    with pytest.raises(priors.NoDerivative, match=what):
        PRIORS[name].negative_hessian(np.zeros(3))


def test_the_density_of_the_horseshoe_at_its_pole_is_refused():
    with pytest.raises(priors.NoDerivative, match="a pole; parameter 0 is 0"):
        PRIORS["horseshoe"].log_prob(np.zeros(3))
    with pytest.raises(priors.NoDerivative, match="a pole; parameter 1 is 1e-160"):
        PRIORS["horseshoe"].gradient([0.1, 1e-160, 1e-160])


@pytest.mark.parametrize("theta", [1e-20, 1e-100, 2e-150])
def test_near_its_pole_the_horseshoe_has_finite_derivatives_of_a_logarithm(theta):
    """p ∝ L = −log a − γ up to a L, a = θ²/2τ²: θ ∂ log p = −2/L and −θ² ∂² log p = −2/L + 4/L²."""
    prior, L = priors.RegularisedHorseshoe(1, 0.3, 1e12), -np.log(0.5) - 2 * np.log(theta / 0.3) - np.euler_gamma
    score, bend = prior.gradient([theta])[0] * theta, prior.negative_hessian([theta])[0, 0] * theta * theta
    agree(score, -2 / L, terms=1000)
    agree(bend, -2 / L + 4 / L**2, terms=1000)


@pytest.mark.parametrize("theta", [1e-149, 1e-100, 1e-12, 1e-5, 0.01, 0.3, 5.0, 40.0])
def test_with_a_wide_slab_the_horseshoe_is_the_exponential_integral(theta):
    """p(θ) = e^a E₁(a)/(τ√(2π³)), a = θ²/2τ² (Carvalho, Polson and Scott 2010)."""
    a = theta**2 / (2 * 0.3**2)
    log_integral = a + np.log(exp1(a)) if a < 600 else np.log1p(-1 / a + 2 / a**2) - np.log(a)
    expected = log_integral - np.log(0.3 * np.sqrt(2 * np.pi**3))
    slab = 1e12  # its own effect is below 1e-17
    tail = 1e-9 if a >= 600 else 0.0  # of the asymptotic series
    assert abs(priors.RegularisedHorseshoe(1, 0.3, slab).log_prob([theta]) - expected) < 1e-13 * (1 + abs(expected)) + tail


@pytest.mark.parametrize("j", range(3))
def test_the_horseshoe_is_the_integral_over_its_local_scale(j):
    """Eq. (horseshoe-density)."""
    prior, (tau, slab, theta) = alone("horseshoe", j), (SCALES[j], PRIORS["horseshoe"].slab[j], THETA[j])

    def integrand(angle):
        """λ = tan(angle) makes the half-Cauchy law uniform."""
        omega = 1 / slab**2 + 1 / (tau * np.tan(angle)) ** 2
        return 2 / np.pi * np.sqrt(omega / (2 * np.pi)) * np.exp(-0.5 * omega * theta**2)

    expected = quad(integrand, 0, np.pi / 2, epsabs=0, epsrel=1e-11, limit=400)[0]
    agree(np.exp(prior.log_prob([theta])), expected, terms=1, condition=1e-10 / (30 * 1.1e-16))


def test_with_wide_local_scales_the_horseshoe_is_its_slab():
    wide, slab = priors.RegularisedHorseshoe(3, 1e12, SCALES), priors.per_parameter(1 / SCALES**2)
    agree(wide.log_prob(THETA), slab.log_prob(THETA), terms=10, condition=1e3)
    agree(wide.gradient(THETA), slab.gradient(THETA), terms=10, condition=1e3)
    agree(wide.negative_hessian(THETA), slab.negative_hessian(THETA), terms=10, condition=1e3)


def test_with_many_degrees_of_freedom_the_student_prior_tends_to_the_gaussian_as_one_over_their_number():
    gaussian = priors.per_parameter(1 / SCALES**2)
    for part in ("log_prob", "gradient", "negative_hessian"):
        limit = getattr(gaussian, part)(THETA)
        remainder = lambda h: getattr(priors.StudentT(3, SCALES, 1 / h), part)(THETA) - limit
        order = taylor_order(remainder, [1e-4 * 2.0**-j for j in range(5)])
        assert abs(order - 1) < 0.05, part


@pytest.mark.parametrize("name", PRIORS)
def test_draws_have_the_probabilities_of_the_density(name):
    cuts = np.array([0.0, 0.05, 0.3, 1.0, 4.0])
    draws = PRIORS[name].sample(np.random.default_rng(8), (40000,))
    for j in range(3):
        expected = [probability(alone(name, j), a, b) for a, b in zip(cuts, cuts[1:])]
        inside = (draws[:, j, None] > cuts[:-1]) & (draws[:, j, None] <= cuts[1:])
        mean_agrees(inside.astype(float), expected, smallest_effect=0.03)
        mean_agrees((draws[:, [j]] > 0).astype(float), [0.5], smallest_effect=0.03)


def test_draws_need_a_generator_and_have_the_shape_asked_for():
    for prior in PRIORS.values():
        assert prior.sample(np.random.default_rng(0)).shape == (3,)
        assert prior.sample(np.random.default_rng(0), (2, 5)).shape == (2, 5, 3)
        with pytest.raises(ValueError, match="rng"):
            prior.sample(None)


@pytest.mark.parametrize("make", [
    lambda: priors.Laplace(0, 1.0), lambda: priors.Laplace(3, 0.0), lambda: priors.Laplace(3, [1.0, 2.0]),
    lambda: priors.Laplace(3, [1.0, -2.0, 1.0]), lambda: priors.StudentT(3, 1.0, 0.0), lambda: priors.StudentT(3, np.nan, 2.0),
    lambda: priors.RegularisedHorseshoe(3, 1.0, 0.0), lambda: priors.RegularisedHorseshoe(3, 1.0, np.ones(4)),
    lambda: priors.Laplace(3, 1.0).log_prob(np.ones(4)), lambda: priors.Laplace(3, 1.0).negative_hessian(np.ones((2, 3))),
])
def test_bad_input_is_refused(make):
    with pytest.raises(ValueError, match="expected"):
        make()


# -- posteriors -------------------------------------------------------------------------------------------------------------

NET = Mlp((1, 3, 1), activations.tanh)
X = np.linspace(-2, 2, 13)[:, None]
Y = np.sin(1.5 * X) + 0.1 * np.cos(7 * X)


def network_posterior(name):
    """A 1-3-1 network under a prior of that kind."""
    p = NET.num_params
    prior = {"laplace": priors.Laplace(p, 1.0), "student": priors.StudentT(p, 1.0, 4.0),
             "horseshoe": priors.RegularisedHorseshoe(p, 1.0, 2.0)}[name]
    return Posterior(NET, likelihoods.Normal(0.04), prior, X, Y)


@pytest.mark.parametrize("name", ["laplace", "student", "horseshoe"])
def test_the_posterior_derivatives_include_those_of_the_prior(name):
    post, theta = network_posterior(name), np.random.default_rng(1).normal(size=NET.num_params)
    value, gradient = post.value_and_gradient(theta)
    agree(value, post.log_prob(theta), terms=len(Y) + NET.num_params)
    agree(gradient, post.prior.gradient(theta) - post.loss.gradient(theta), terms=10)
    agree(post.negative_hessian(theta), post.loss.hessian(theta) + post.prior.negative_hessian(theta), terms=10)
    v = 0.1 * np.random.default_rng(2).normal(size=NET.num_params)
    bend = post.negative_hessian(theta)
    remainder = lambda h: post.log_prob(theta + h * v) - value - h * gradient @ v + 0.5 * h**2 * v @ bend @ v
    assert abs(taylor_order(remainder, [2.0**-j for j in range(4, 9)]) - 3) < 0.1


def test_hessian_laplace_with_a_student_prior_finds_the_mode_of_a_network_and_its_curvature():
    post = network_posterior("student")
    mode = optimize.maximize(post, np.random.default_rng(3).normal(size=NET.num_params))
    q = laplace.at(mode.theta, post.negative_hessian(mode.theta))
    agree(q.precision.matrix(), post.loss.hessian(mode.theta) + np.diag(
        5 * (4 - mode.theta**2) / (4 + mode.theta**2) ** 2), terms=100)
    assert mode.decrement < 1e-10


def scalar_posterior(prior, copies=1, slope=0.9):
    """Regression through the origin, one weight."""
    net, x = Mlp((1, 1), (), bias=False), np.tile([[0.5], [-1.0], [1.5]], (copies, 1))
    return Posterior(net, likelihoods.Normal(0.3), prior, x, slope * x + np.tile([[0.1], [0.0], [-0.1]], (copies, 1)))


ONE_WEIGHT = [priors.StudentT(1, 0.5, 3.0), priors.RegularisedHorseshoe(1, 0.5, 2.0), priors.Laplace(1, 0.5)]


@pytest.mark.parametrize("prior", ONE_WEIGHT, ids=["student", "horseshoe", "laplace"])
def test_in_a_linear_model_the_error_of_the_laplace_evidence_falls_as_one_over_the_number_of_data_squared(prior):
    """Higher derivatives than the second are the prior's alone and do not grow with N: −U⁗Σ²/8 = O(N⁻²)."""
    copies, errors = [64, 128, 256], []
    for m in copies:
        post = scalar_posterior(prior, m)
        mode = optimize.maximize(post, [0.9])
        q = laplace.at(mode.theta, post.negative_hessian(mode.theta))
        width = q.scale().item()
        ratio = lambda t: np.exp(post.log_prob(mode.theta + width * t) - mode.log_prob)
        mass = quad(ratio, -11, 11, epsabs=0, epsrel=1e-13)[0]
        errors.append(laplace.log_evidence(mode.log_prob, q) - mode.log_prob - np.log(mass * width))
    if isinstance(prior, priors.Laplace):  # log-linear around the mode: nothing is dropped
        assert np.abs(errors).max() < 1e-11
    else:
        assert abs(np.polyfit(np.log(copies), np.log(np.abs(errors)), 1)[0] + 2) < 0.1


def test_off_the_kink_the_mode_under_a_laplace_prior_is_the_soft_threshold():
    """Eq. (soft-threshold)."""
    post = scalar_posterior(priors.Laplace(1, 0.5))
    x, y = post.X[:, 0], post.y[:, 0]
    expected = (x @ y / 0.3 - 1 / 0.5) / (x @ x / 0.3)
    assert expected > 0
    agree(optimize.maximize(post, [0.9]).theta, [expected], terms=10, condition=10)


def test_a_mode_on_the_kink_is_refused_rather_than_approximated():
    post = scalar_posterior(priors.Laplace(1, 0.5), slope=0.1)
    x, y = post.X[:, 0], post.y[:, 0]
    assert abs(x @ y / 0.3) < 1 / 0.5, "the mode must lie at 0"
    with pytest.raises((optimize.NotAMode, priors.NoDerivative)):
        optimize.maximize(post, [0.7])


# -- planted faults ---------------------------------------------------------------------------------------------------------

def after(owner, name, change):
    """The method's result goes through change(result, *its arguments)."""
    true = getattr(owner, name)
    return owner, name, lambda *arguments: change(true(*arguments), *arguments)


def row(test, *arguments):
    """A parametrised test at one row."""
    return lambda: test(*arguments)


H, S, L = priors.RegularisedHorseshoe, priors.StudentT, priors.Laplace
TAYLOR = row(test_the_remainders_of_the_taylor_series_have_the_orders_of_exact_derivatives, "student", 1.0)
TAYLOR_HORSESHOE = row(test_the_remainders_of_the_taylor_series_have_the_orders_of_exact_derivatives, "horseshoe", 1.0)


@pytest.mark.parametrize("fault, law", [
    (after(S, "log_density", lambda v, prior, theta: v + np.log(prior.scale)),
     row(test_every_density_integrates_to_one, "student", 0)),
    (after(S, "score", lambda g, prior, theta: g * prior.degrees_of_freedom / (prior.degrees_of_freedom + 1)), TAYLOR),
    (after(S, "bend", lambda b, prior, theta: np.abs(b)), row(
        test_the_remainders_of_the_taylor_series_have_the_orders_of_exact_derivatives, "cauchy", 4.0)),
    (after(S, "draw", lambda d, prior, rng, shape: d * prior.scale),
     row(test_draws_have_the_probabilities_of_the_density, "student")),
    (after(L, "log_density", lambda v, prior, theta: v + np.log(2)), row(test_every_density_integrates_to_one, "laplace", 1)),
    (after(L, "draw", lambda d, prior, rng, shape: d / np.sqrt(2)),
     row(test_draws_have_the_probabilities_of_the_density, "laplace")),
    ((L, "score", lambda prior, theta: -np.sign(theta) / prior.scale),
     row(test_a_derivative_that_does_not_exist_is_refused, "laplace", "a kink")),
    (after(H, "_log_terms", lambda v, prior, theta: (v[0] + 0.1 * np.log(v[1]), v[1])),
     row(test_every_density_integrates_to_one, "horseshoe", 0)),
    (after(H, "_log_terms", lambda v, prior, theta: (v[0], v[1] - 1 / prior.slab[:, None] ** 2)), TAYLOR_HORSESHOE),
    (after(H, "bend", lambda b, prior, theta: -prior.score(theta) / theta), TAYLOR_HORSESHOE),
    (after(H, "draw", lambda d, prior, rng, shape: rng.standard_normal(shape) * prior.scale * np.abs(rng.standard_cauchy(shape))),
     row(test_draws_have_the_probabilities_of_the_density, "horseshoe")),
    ((Posterior, "negative_hessian", lambda post, theta: post.loss.hessian(theta)),
     row(test_the_posterior_derivatives_include_those_of_the_prior, "student")),
], ids=["no scale in the constant", "ν for ν + 1", "tail made convex", "scale squared in draws", "half the mass",
        "scale for variance", "a subgradient at the kink", "wrong power of ω", "slab missing in ω", "variance of ω dropped",
        "draws without slab",
        "prior missing in the Hessian"])
def test_a_planted_fault_breaks_its_law(fault, law, monkeypatch):
    law()
    monkeypatch.setattr(*fault)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        law()
