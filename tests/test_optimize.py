"""Mode finding: to round-off, and never a saddle, a flat direction or an unfinished search (identity F21)."""

import numpy as np
import pytest

from refbnn import Mlp, Posterior, activations, likelihoods, optimize, priors
from refbnn.optimize import NotAMode
from tests import oracles
from tests.judge import agree
from tests.zoo import ACTIVATIONS, LIKELIHOODS, ODD, Spec


def gradient_is_round_off(case, mode):
    """‖∇ log p‖ <= 30·n·u·(Σ_n ‖g_n‖ + ‖P₀(θ − μ₀)‖)·κ: the size of what cancels, times how far a round-off in θ moves it."""
    post = case.posterior
    pull = np.linalg.norm(case.prior.gradient(mode.theta))
    A = post.negative_hessian(mode.theta)
    size = np.linalg.norm(case.loss.per_datum_gradients(mode.theta), axis=1).sum() + pull
    size += np.linalg.norm(A, 2) * np.linalg.norm(mode.theta)
    agree(post.value_and_gradient(mode.theta)[1], np.zeros(len(mode.theta)), terms=case.terms, scale=size)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("activation", ["tanh", "gelu"])
@pytest.mark.parametrize("seed", [0, 1])
def test_from_random_starts_the_gradient_reaches_round_off_at_a_maximum(likelihood, activation, seed):
    case = Spec((2, 3, 2), activation, likelihood, prior="isotropic", seed=seed).build()
    start = np.random.default_rng(seed).normal(size=case.net.num_params)
    mode = optimize.maximize(case.posterior, start)
    gradient_is_round_off(case, mode)
    assert mode.log_prob > case.posterior.log_prob(start) and mode.num_iterations > 0


@pytest.mark.parametrize("sizes", [(1, 1), (1, 1, 1), (3, 1), (2, 1, 2), (1, 2, 2, 1)])
@pytest.mark.parametrize("num_data", [1, 5])
def test_edge_cases_have_modes_too(sizes, num_data):
    case = Spec(sizes, "softplus", "normal", num_data=num_data, prior="full").build()
    gradient_is_round_off(case, optimize.maximize(case.posterior, case.theta))


def test_what_a_mode_reports_is_true():
    case = Spec((2, 4, 2), "tanh", "bernoulli", prior="full").build()
    mode = optimize.maximize(case.posterior, case.theta)
    A = oracles.complex_step(lambda points: oracles.gradient(case, points), mode.theta) + oracles.dense(case.prior.precision)
    gradient = case.posterior.value_and_gradient(mode.theta)[1]
    assert mode.log_prob == case.posterior.log_prob(mode.theta)
    assert mode.gradient_norm == np.linalg.norm(gradient)
    agree(mode.smallest_eigenvalue, np.linalg.eigvalsh(A)[0], terms=case.terms, scale=np.linalg.norm(A, 2))
    agree(mode.decrement, np.sqrt(gradient @ np.linalg.solve(A, gradient)), terms=case.terms, condition=np.linalg.cond(A) ** 2)
    nearby = mode.theta + 1e-3 * np.random.default_rng(0).normal(size=(100, len(mode.theta)))
    assert (case.posterior.log_prob(nearby) < mode.log_prob).all()


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_a_search_that_starts_at_the_mode_tries_one_step_and_stays(likelihood):
    case = Spec((2, 3, 2), "tanh", likelihood).build()
    found = optimize.maximize(case.posterior, case.theta)
    again = optimize.maximize(case.posterior, found.theta)
    assert again.num_iterations == 1 < found.num_iterations
    assert np.linalg.norm(again.theta - found.theta) <= 1e-12 * np.linalg.norm(found.theta)


@pytest.mark.parametrize("prior", ["isotropic", "per_layer", "per_parameter", "full"])
def test_the_mode_of_linear_regression_is_the_least_squares_solution(prior):
    case = Spec((3, 2), likelihood="normal", prior=prior).build()
    J = oracles.jacobian(case).reshape(-1, case.net.num_params)
    P0 = oracles.dense(case.prior.precision)
    P = P0 + J.T @ J / 0.37
    expected = np.linalg.solve(P, P0 @ case.prior.mean + J.T @ case.y.ravel() / 0.37)
    mode = optimize.maximize(case.posterior, case.theta)
    agree(mode.theta, expected, terms=case.terms, condition=np.linalg.cond(P))


@pytest.mark.parametrize("likelihood", ["bernoulli", "categorical", "poisson"])
def test_every_start_leads_to_the_one_mode_of_a_generalised_linear_model(likelihood):
    case = Spec((2, 2), likelihood=likelihood, prior="full").build()
    starts = 2 * np.random.default_rng(1).normal(size=(5, case.net.num_params))
    modes = [optimize.maximize(case.posterior, start) for start in starts]
    A = case.posterior.negative_hessian(modes[0].theta)
    for mode in modes[1:]:
        agree(mode.theta, modes[0].theta, terms=case.terms, condition=np.linalg.cond(A))


# -- what is no mode --------------------------------------------------------------------------------------------------------


def trivial_point(activation, precision, width=3):
    """F21: an odd network with one output at θ = (0, ..., 0, c*), and λ_c = φ′(0) ‖Σ_n r_n (x_n, 1)‖."""
    net = Mlp((2, width, 1), ACTIVATIONS[activation])
    rng = np.random.default_rng(6)
    X, variance = rng.normal(size=(7, 2)), 0.37
    y = rng.normal(size=(7, 1)) + 0.5
    c = (y.sum() / variance) / (len(y) / variance + precision)
    theta = np.append(np.zeros(net.num_params - 1), c)
    post = Posterior(net, likelihoods.Normal(variance), priors.isotropic(net.num_params, precision), X, y)
    slope = oracles.PHI[activation][1](np.zeros(1))[0]
    pull = ((c - y) / variance * np.column_stack([X, np.ones(7)])).sum(0)
    return post, theta, slope * np.linalg.norm(pull)


@pytest.mark.parametrize("activation", ODD)
def test_the_trivial_point_of_an_odd_network_has_the_smallest_eigenvalue_of_theory(activation):
    """Eq. (saddle-spectrum)."""
    post, theta, critical = trivial_point(activation, precision=0.7)
    A = post.negative_hessian(theta)
    scale = np.linalg.norm(A, 2)
    assert np.linalg.norm(post.value_and_gradient(theta)[1]) < 1e-13 * scale
    agree(np.linalg.eigvalsh(A)[:3], np.full(3, 0.7 - critical), terms=20, scale=scale)
    agree(np.linalg.eigvalsh(post.loss.ggn(theta) + 0.7 * np.eye(len(A)))[0], 0.7, terms=20, scale=scale)


@pytest.mark.parametrize("activation", ODD)
def test_a_search_that_starts_at_a_saddle_is_refused_there(activation):
    post, theta, critical = trivial_point(activation, precision=0.7)
    assert critical > 0.7
    with pytest.raises(NotAMode, match="saddle: .*smallest eigenvalue"):
        optimize.maximize(post, theta)


@pytest.mark.parametrize("activation", ODD)
def test_the_same_point_is_a_mode_once_the_prior_is_strong_enough(activation):
    """Eq. (critical-precision)."""
    precision = 3 * trivial_point(activation, precision=0.7)[2]
    post, theta, critical = trivial_point(activation, precision)
    assert critical < precision
    mode = optimize.maximize(post, theta)
    agree(mode.theta, theta, terms=20)
    assert mode.smallest_eigenvalue > 0


class Density:
    """Any object with the three methods is a target: here a function of one parameter and its first two derivatives."""

    def __init__(self, value, slope, bend):
        self.value, self.slope, self.bend = value, slope, bend

    def log_prob(self, theta):
        """The value: ()."""
        return self.value(theta[..., 0])

    def value_and_gradient(self, theta):
        """The value and the slope."""
        return self.value(theta[..., 0]), np.array([self.slope(theta[0])])

    def negative_hessian(self, theta):
        """Minus the second derivative: (1 1)."""
        return np.array([[-self.bend(theta[0])]])


class LikelihoodOnly:
    """The log likelihood as a target: an improper flat prior."""

    def __init__(self, posterior):
        self.log_prob, self.loss = posterior.log_likelihood, posterior.loss
        self.negative_hessian = posterior.loss.hessian

    def value_and_gradient(self, theta):
        """log p(y|θ) and its gradient."""
        return self.log_prob(theta), -self.loss.gradient(theta)


def test_flat_directions_without_a_prior_are_refused():
    """The softmax gauge: the likelihood is constant along a shift of all output biases."""
    case = Spec((2, 3), likelihood="categorical", num_data=40).build()
    with pytest.raises(NotAMode, match="^flat: .* smallest eigenvalue"):
        optimize.maximize(LikelihoodOnly(case.posterior), case.theta)


def test_a_flat_constant_density_is_refused_as_flat():
    with pytest.raises(NotAMode, match="^flat"):
        optimize.maximize(Density(lambda x: 0 * x, lambda x: 0.0, lambda x: 0.0), np.array([0.3]))


def test_a_minimum_is_refused():
    with pytest.raises(NotAMode, match="^saddle"):
        optimize.maximize(Density(lambda x: x**2, lambda x: 2 * x, lambda x: 2.0), np.zeros(1))


def test_a_search_that_runs_out_of_iterations_says_so():
    """−x⁴ has no curvature at its top: Newton only gains a factor 2/3 a step."""
    quartic = Density(lambda x: -(x**4), lambda x: -4 * x**3, lambda x: -12 * x**2)
    with pytest.raises(NotAMode, match="no convergence: .* standard deviations"):
        optimize.maximize(quartic, np.array([1e6]), max_iterations=1)


def test_a_user_density_with_three_methods_has_its_mode_found():
    """log p = 3x − exp x, mode at log 3."""
    mode = optimize.maximize(Density(lambda x: 3 * x - np.exp(x), lambda x: 3 - np.exp(x), lambda x: -np.exp(x)), np.zeros(1))
    agree(mode.theta, [np.log(3)], terms=4)
    agree(mode.smallest_eigenvalue, 3.0, terms=4)


@pytest.mark.parametrize("seed", range(12))
def test_a_mode_on_an_orbit_of_a_continuous_symmetry_is_refused_whatever_round_off_makes_of_its_flat_direction(seed):
    """A deep linear network with an isotropic prior can turn its hidden units: no mode is isolated."""
    rng = np.random.default_rng(seed)
    net = Mlp((2, 2, 2), activations.identity)
    X = rng.normal(size=(40, 2))
    y = 2 * X @ rng.normal(size=(2, 2)) + 0.3 * rng.normal(size=(40, 2))
    post = Posterior(net, likelihoods.Normal(0.09), priors.isotropic(net.num_params, 0.5), X, y)
    with pytest.raises(optimize.NotAMode, match="^flat"):
        optimize.maximize(post, rng.normal(size=net.num_params))
