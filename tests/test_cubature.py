"""Posteriors by quadrature: laws of the collapsed layer, of grids and of answers, and honest error estimates."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.special import gammaln

from refbnn import Gaussian, Mlp, Posterior, activations, cubature, likelihoods, priors
from refbnn.cubature.unit_grid import unit_grid
from refbnn.likelihoods.tempered import Tempered
from tests.judge import agree

X = np.array([[-1.7], [-0.6], [0.2], [0.9], [1.9]])
Y = np.array([[-0.8], [-1.1], [0.4], [0.7], [0.5]])
X_NEW = np.array([[-1.2], [0.4], [2.5]])


def regression(sizes, activation=activations.tanh, variance=0.3, precision=1.3, bias=True, seed=3):
    """A posterior with Gaussian noise on five data, one output like another shifted."""
    net = Mlp(sizes, activation, bias=bias)
    inputs = np.concatenate([X * (1 + 0.4 * j) + 0.3 * j * X**2 for j in range(sizes[0])], axis=1)
    targets = np.concatenate([Y + 0.3 * j * X for j in range(sizes[-1])], axis=1)
    return Posterior(net, likelihoods.Normal(variance), priors.isotropic(net.num_params, precision), inputs, targets)


def uneven(posterior, seed=5):
    """The same with a prior of its own for each parameter, means included, and a full precision within each output."""
    rng = np.random.default_rng(seed)
    p, K, k = posterior.net.num_params, posterior.net.layer_sizes[-1] // posterior.net.num_outputs, posterior.net.num_outputs
    P = np.zeros((p, p))
    hidden = p - K * k
    root = rng.normal(size=(hidden, hidden))
    P[:hidden, :hidden] = root @ root.T + np.eye(hidden)
    W, b = posterior.net.layout.unflatten(np.arange(p))[-1]
    for rows in np.concatenate([W, b[:, None]], axis=1):
        root = rng.normal(size=(K, K))
        P[np.ix_(rows, rows)] = root @ root.T + np.eye(K)
    prior = priors.full(P, rng.normal(size=p))
    return Posterior(posterior.net, posterior.likelihood, prior, posterior.X, posterior.y)


# -- the collapsed output layer ---------------------------------------------------------------------------------------------


def density_of_targets(posterior, theta):
    """log N(y; Φm, σ²I + ΦΛ⁻¹Φᵀ) output by output, from dense covariances."""
    net, total = posterior.net, 0.0
    layers = net.unflatten(np.concatenate([theta, np.zeros(net.layer_sizes[-1])]))
    a = posterior.X
    for (W, b), phi in zip(layers[:-1], net.activation):
        a = phi(a @ W.T + b)
    Phi = np.concatenate([a, np.ones((len(a), 1))], axis=1)
    W, b = net.layout.unflatten(np.arange(net.num_params))[-1]
    P, mean = posterior.prior.precision.matrix(), posterior.prior.mean
    for j, rows in enumerate(np.concatenate([W, b[:, None]], axis=1)):
        C = Phi @ np.linalg.inv(P[np.ix_(rows, rows)]) @ Phi.T + posterior.likelihood.variance * np.eye(len(a))
        e = posterior.loss.y[:, j] - Phi @ mean[rows]
        total += -0.5 * (e @ np.linalg.solve(C, e) + np.linalg.slogdet(2 * np.pi * C)[1])
    return total


SHAPES = [(1, 2, 1), (2, 3, 2), (1, 2, 3, 2)]


@pytest.mark.parametrize("sizes", SHAPES, ids=str)
def test_the_collapsed_likelihood_is_the_density_of_the_targets_given_the_hidden_weights(sizes):
    posterior = uneven(regression(sizes))
    target = cubature.collapse(posterior)
    thetas = np.random.default_rng(1).normal(size=(7, target.num_params))
    agree(target.log_likelihood(thetas), [density_of_targets(posterior, theta) for theta in thetas], terms=100, condition=1e2)


@pytest.mark.parametrize("sizes", SHAPES, ids=str)
def test_the_collapsed_gradient_is_the_slope_of_the_value(sizes):
    """By Richardson's extrapolation of central differences: error of order h⁴ in theory, 1e-11 here."""
    target = cubature.collapse(uneven(regression(sizes)))
    theta = np.random.default_rng(2).normal(size=target.num_params)
    slopes = [np.array([(target.log_prob(theta + h * e) - target.log_prob(theta - h * e)) / (2 * h) for e in np.eye(len(theta))])
              for h in (2e-3, 1e-3)]
    value, gradient = target.value_and_gradient(theta)
    assert value == target.log_prob(theta)
    agree(gradient, (4 * slopes[1] - slopes[0]) / 3, terms=1, condition=1e6)


def test_batches_are_loops():
    target = cubature.collapse(uneven(regression((2, 3, 2))))
    thetas = np.random.default_rng(3).normal(size=(2, 5, target.num_params))
    values, gradients = target.value_and_gradient(thetas)
    for index in np.ndindex(2, 5):
        value, gradient = target.value_and_gradient(thetas[index])
        agree(values[index], value, terms=100)
        agree(gradients[index], gradient, terms=100, condition=10)


def test_the_joint_density_is_that_of_hidden_weights_times_that_of_the_output_layer():
    """Chib's identity at several output layers: log p(y, u) = log p(y, θ) − log p(w|u, y), whatever w."""
    posterior = uneven(regression((2, 3, 2)))
    target, rng = cubature.collapse(posterior), np.random.default_rng(4)
    hidden = rng.normal(size=(5, target.num_params))
    at = target.given(hidden)
    thetas = at.sample(rng)
    mean, covariance = at.parameters()
    start = target.num_params
    found = []
    for theta, m, V in zip(thetas, mean, covariance):
        q = Gaussian(m[start:], priors.full(np.linalg.inv(V[start:, start:])).precision)
        found.append(posterior.log_prob(theta) - q.log_prob(theta[start:]))
    agree(target.log_prob(hidden), found, terms=100, condition=1e2)


def test_a_tempered_normal_collapses_too():
    plain = regression((1, 2, 1))
    hot = Posterior(plain.net, Tempered(plain.likelihood, 2.5), plain.prior, plain.X, plain.y)
    theta = np.random.default_rng(5).normal(size=4)
    target = cubature.collapse(hot)
    at = target.given(theta)
    mean, covariance = at.parameters()
    q = Gaussian(mean[4:], priors.full(np.linalg.inv(covariance[4:, 4:])).precision)
    agree(target.log_prob(theta), hot.log_prob(mean) - q.log_prob(mean[4:]), terms=100, condition=10)


# -- noise with a prior -----------------------------------------------------------------------------------------------------


def test_noise_with_a_prior_is_the_average_over_known_noise():
    """∫ p(y|u, σ²) p(σ²) dσ² by the trapezoidal rule in log σ², with the prior of the output layer scaled by σ²."""
    posterior, noise = regression((1, 2, 2)), cubature.InverseGammaNoise(1.7, 0.4)
    target = cubature.collapse_noise(posterior.net, noise, posterior.prior, posterior.X, posterior.y)
    theta = np.random.default_rng(6).normal(size=target.num_params)
    step, terms = 0.05, []
    for log_variance in np.arange(-12, 12, step):
        precision = posterior.prior.precision.diagonal().copy()
        precision[target.num_params:] *= np.exp(-log_variance)
        known = Posterior(posterior.net, likelihoods.Normal(np.exp(log_variance)), priors.per_parameter(precision), posterior.X,
                          posterior.y)
        prior = 1.7 * np.log(0.4) - gammaln(1.7) - 1.7 * log_variance - 0.4 * np.exp(-log_variance)
        terms.append(cubature.collapse(known).log_likelihood(theta) + prior + np.log(step))
    agree(target.log_likelihood(theta), np.logaddexp.reduce(terms), terms=len(terms))


def test_the_gradient_with_a_prior_on_the_noise_is_the_slope_of_the_value():
    posterior = regression((1, 2, 2))
    noise = cubature.InverseGammaNoise(1.7, 0.4)
    target = cubature.collapse_noise(posterior.net, noise, posterior.prior, posterior.X, posterior.y)
    theta = np.random.default_rng(7).normal(size=target.num_params)
    slopes = [np.array([(target.log_prob(theta + h * e) - target.log_prob(theta - h * e)) / (2 * h) for e in np.eye(len(theta))])
              for h in (2e-3, 1e-3)]
    agree(target.value_and_gradient(theta)[1], (4 * slopes[1] - slopes[0]) / 3, terms=1, condition=1e6)


# -- the grid of a unit -----------------------------------------------------------------------------------------------------


def loop(grid):
    """log Σ over every combination of points, by the collapsed likelihood; exchanges of units are not folded."""
    target, layout = grid.target, grid.target.features.inner.layout
    terms = []
    for index in itertools.product(range(len(grid.points)), repeat=grid.num_units):
        units = grid.points[list(index)]
        theta = layout.flatten([(units[:, :target.net.num_inputs], units[:, -1] if target.net.bias else None)])
        terms.append(target.log_likelihood(theta) + grid.log_weights[list(index)].sum())
    return np.logaddexp.reduce(terms)


@pytest.mark.parametrize("sizes, bias, points", [
    ((1, 1, 1), True, 11), ((1, 2, 1), True, 7), ((1, 2, 2), True, 7), ((1, 3, 1), False, 11), ((2, 2, 1), False, 5),
    ((1, 4, 2), False, 7)], ids=str)
def test_the_sum_in_blocks_is_the_loop_over_all_combinations(sizes, bias, points, monkeypatch):
    monkeypatch.setattr("refbnn.cubature.unit_grid.SIDE", 5)
    grid = unit_grid(cubature.collapse(regression(sizes, bias=bias)), points, 3.0)
    agree(grid.log_evidence(), loop(grid), terms=len(grid.points) ** 2, condition=10)


def test_outputs_with_priors_of_their_own_are_summed_as_in_the_loop():
    posterior = regression((1, 2, 2))
    precision = posterior.prior.precision.diagonal().copy()
    W, b = posterior.net.layout.unflatten(np.arange(posterior.net.num_params))[-1]
    precision[W[1]], precision[b[1]] = 0.7, 2.1
    other = Posterior(posterior.net, posterior.likelihood, priors.per_parameter(precision), posterior.X, posterior.y)
    grid = unit_grid(cubature.collapse(other), 7, 3.0)
    assert len(grid.channels) == 2
    agree(grid.log_evidence(), loop(grid), terms=len(grid.points) ** 2, condition=10)


def test_folding_signs_changes_nothing():
    """tanh and −tanh(−.): an odd activation that does not say so has the whole grid, and the same sum."""
    folded = unit_grid(cubature.collapse(regression((1, 2, 1))), 9, 3.0)
    silent = activations.Activation("tanh, silent", activations.tanh.jet)
    whole = unit_grid(cubature.collapse(regression((1, 2, 1), silent)), 9, 3.0)
    assert len(whole.points) == 2 * len(folded.points) - 1
    agree(folded.log_evidence(), whole.log_evidence(), terms=len(whole.points) ** 2)


# -- evidence ---------------------------------------------------------------------------------------------------------------


def test_collapsed_and_full_evidence_agree_in_two_and_three_dimensions():
    posterior = regression((2, 1, 1), bias=False, precision=2.0)
    two, three = cubature.units(cubature.collapse(posterior), 1e-8), cubature.product(posterior, 1e-8)
    assert abs(two.log_evidence.value - three.log_evidence.value) <= two.log_evidence.error + three.log_evidence.error


def test_the_trapezoidal_rule_converges_geometrically():
    """Each time a fixed number of points is added the error falls by a factor, until round-off: log error is linear in points."""
    target = cubature.collapse(regression((1, 1, 1)))
    exact = unit_grid(target, 201, 9.0).log_evidence()
    errors = np.array([abs(unit_grid(target, n, 9.0).log_evidence() - exact) for n in (21, 41, 61, 81)])
    assert (errors[1:] < errors[:-1] * 0.1).all() and errors[-1] < 1e-7


@pytest.mark.parametrize("sizes, bias", [((1, 1, 1), True), ((1, 2, 1), False), ((2, 1, 2), False)], ids=str)
def test_deep_linear_networks_have_honest_error_estimates(sizes, bias):
    """Two rules of very different size: the coarse one's error estimate covers the distance to the fine one."""
    target = cubature.collapse(regression(sizes, activations.identity, bias=bias))
    fine = cubature.units(target, 1e-11)
    for within in (1e-3, 1e-5, 1e-7):
        found = cubature.units(target, within)
        assert abs(found.log_evidence.value - fine.log_evidence.value) <= found.log_evidence.error <= within
