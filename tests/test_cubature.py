"""Posteriors by quadrature: laws of the collapsed layer, of grids and of answers, and honest error estimates."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import gammaincc, gammaln

from refbnn import Gaussian, Linearised, Mlp, Posterior, activations, cubature, laplace, likelihoods, optimize, priors
from refbnn.cubature import deterministic, layered_grid, replicates
from refbnn.cubature.answers import refuse_beyond
from refbnn.cubature.deterministic import log_sum
from refbnn.cubature.noise import KnownNoise, StudentLaw, noise_of
from refbnn.cubature.tails import PriorTail
from refbnn.cubature.unit_grid import unit_grid
from refbnn.cubature.weights import AllWeights
from refbnn.likelihoods.tempered import Tempered
from tests.judge import agree

X = np.array([[-1.7], [-0.6], [0.2], [0.9], [1.9]])
Y = np.array([[-0.8], [-1.1], [0.4], [0.7], [0.5]])
X_NEW = np.array([[-1.2], [0.4], [2.5]])


def many_data(number):
    """As many of one unit: nothing but their number matters."""
    many = np.linspace(-1, 1, number)[:, None]
    net = Mlp((1, 1, 1), activations.tanh)
    return cubature.collapse(Posterior(net, likelihoods.Normal(0.3), priors.isotropic(4, 1.0), many, np.sin(many)))


def test_more_data_than_memory_has_room_for_on_a_grid_are_refused():
    assert unit_grid(many_data(1009), 21, 9.0).points.shape == (183, 2)
    with pytest.raises(ValueError, match="few enough data for 21 points, .* got 2 weights and 300000 data"):
        unit_grid(many_data(300_000), 21, 9.0)


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
    """Eq. (collapsed-likelihood)."""
    posterior = uneven(regression(sizes))
    target = cubature.collapse(posterior)
    thetas = np.random.default_rng(1).normal(size=(7, target.num_params))
    agree(target.log_likelihood(thetas), [density_of_targets(posterior, theta) for theta in thetas], terms=100, condition=1e2)


@pytest.mark.parametrize("sizes", SHAPES, ids=str)
def test_the_collapsed_gradient_is_the_slope_of_the_value(sizes):
    """Eq. (collapsed-gradient), by Richardson's extrapolation of central differences, of error 1e-11 here."""
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
    """Chib's identity for Eq. (output-layer-posterior): log p(y, u) = log p(y, θ) − log p(w|u, y), whatever w."""
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


def test_a_temperature_weighs_the_data_and_leaves_new_targets_their_noise():
    """A power of the likelihood describes no measurement: both methods add the noise of the likelihood that is tempered."""
    plain = regression((1, 1, 1), bias=False)
    hot = Posterior(plain.net, Tempered(Tempered(plain.likelihood, 2.0), 1.25), plain.prior, plain.X, plain.y)
    one, two = cubature.units(cubature.collapse(hot), 1e-9), cubature.product(hot, 1e-9)
    assert abs(one.log_evidence.value - two.log_evidence.value) <= one.log_evidence.error + two.log_evidence.error
    for found in (one, two):
        agree(found.targets(X_NEW, 1e-6).value.covariance, found.outputs(X_NEW, 1e-6).value.covariance + 0.3, terms=1000)
    new = np.array([[-0.9], [0.4], [1.3]])
    for ask in (lambda found: found.density(X_NEW, new, 1e-6), lambda found: found.distribution(X_NEW, new, 1e-6),
                lambda found: found.quantiles(X_NEW, 0.9, 1e-5), lambda found: found.curves(X_NEW, new[:, None], 1e-6)):
        a, b = ask(one), ask(two)
        assert (np.abs(a.value - b.value) <= a.error + b.error).all()


# -- noise with a prior -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", [KnownNoise(0.3, -0.7 * np.log(0.6)), cubature.InverseGammaNoise(1.7, 0.4)])
def test_the_law_of_a_target_is_what_its_datum_adds_to_the_marginal(noise):
    """log p(y, y′) − log p(y) = log p(y′|y) for locations that are known: Q grows by the square of the residual."""
    Q, count, residual = np.array([0.3, 2.9, 11.0]), 5, 0.8
    law = noise.given(Q, count)
    more = noise.log_marginal(Q + residual**2, count + 1) - noise.log_marginal(Q, count)
    peak = noise.log_peak + 0.5 * np.log(2 * np.pi * noise.variance) if isinstance(noise, KnownNoise) else 0.0
    agree(law.log_density(residual**2 / law.scale2, 1) - 0.5 * np.log(law.scale2) + peak, more, terms=100)


def test_draws_of_the_variance_are_inverse_gamma_and_one_for_each_scale():
    """E[1/σ²] = 1/scale² and Var[1/σ²] = 2/ν scale⁻⁴, from 5000 draws; a false alarm in 10⁸."""
    scale2 = np.full((2, 2500), 0.7)
    precision = 1 / StudentLaw(scale2, 9.0).sample(np.random.default_rng(6))
    assert precision.shape == (2, 2500) and len(np.unique(precision)) == 5000
    assert abs(precision.mean() * 0.7 - 1) < 5.7 * np.sqrt(2 / 9 / 5000)


def test_the_jackknife_of_a_mean_is_its_standard_error():
    values = np.random.default_rng(7).normal(size=(11, 3))
    left_out = np.array([np.delete(values, r, 0).mean(0) for r in range(11)])
    agree(replicates._jackknife(left_out), values.std(0, ddof=1) / np.sqrt(11), terms=30)


@pytest.mark.parametrize("extra", [1e-9, 1e-3])
def test_noise_whose_peak_depends_on_the_datum_is_none_that_collapses(extra):
    """log p(y|f) = log N(y; f, σ²) + ε y: the same drops and curvatures, but no density; 10⁻¹² of a drop is allowed."""
    class Leaning(likelihoods.Normal):
        def log_prob(self, f, y):
            return super().log_prob(f, y) + extra * y.sum(-1)

    with pytest.raises(ValueError, match="additive Gaussian noise.*Leaning"):
        noise_of(Leaning(0.3), Y, 1)


def test_with_all_weights_known_the_density_of_a_target_is_the_slope_of_its_distribution():
    """Central differences of order h², error 1e-8."""
    posterior, h = regression((1, 2, 2)), 1e-4
    known = AllWeights(posterior).given(np.random.default_rng(4).normal(size=(5, posterior.num_params)))
    y = np.concatenate([X_NEW, X_NEW**2], axis=1)
    slope = (known.distribution(X_NEW, y + h)[0] - known.distribution(X_NEW, y - h)[0]) / (2 * h)
    density = known.distribution(X_NEW, y)[1]
    assert density.shape == (5, 3, 2) and np.abs(slope - density).max() < 1e-7
    agree(np.log(density).sum(-1), known.log_density(X_NEW, y), terms=100, condition=10)


def test_noise_with_a_prior_is_the_average_over_known_noise():
    """Eq. (collapsed-student): ∫ p(y|u, σ²) p(σ²) dσ² by the trapezoidal rule in log σ², output weights scaled by σ."""
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


def log_sum_of(grid):
    """log Σ of all weights of a rule."""
    return deterministic.log_evidence(grid, "")


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
    """Eqs. (unit-whitening), (pair-of-units) and (folded-sum)."""
    monkeypatch.setattr("refbnn.cubature.unit_grid.SIDE", 5)
    grid = unit_grid(cubature.collapse(regression(sizes, bias=bias)), points, 3.0)
    agree(log_sum_of(grid), loop(grid), terms=len(grid.points) ** 2, condition=10)


@pytest.mark.parametrize("bias", [1.0, -0.7])
def test_targets_and_the_prior_mean_of_their_bias_move_together(bias):
    """p(y + c) under a prior mean m + c of the output bias is p(y) under m, point by point of the grid; two hidden units, so that
    the bias is neither the first nor the second output weight."""
    posterior = regression((1, 2, 1))
    p = posterior.net.num_params
    prior = priors.full(posterior.prior.precision.matrix(), bias * np.eye(p)[-1])
    moved = Posterior(posterior.net, posterior.likelihood, prior, posterior.X, posterior.y + bias)
    plain, other = (log_sum_of(unit_grid(cubature.collapse(each), 7, 3.0)) for each in (posterior, moved))
    agree(other, plain, terms=1000)


def test_the_rule_for_output_weights_is_even_and_counts_the_mass_of_a_ball():
    """Σ w = 1, Σ w z zᵀ = I and Σ w z = 0 for N(0, I) on a ball of 9.6 standard deviations and steps of 0.6: 1e-11 is above
    round-off, the error of the trapezoidal rule, e^(−2π²/0.6²), and the mass beyond the ball, 1e-20."""
    z, log_weights = layered_grid._inner((2, 1), 53, 6.0)
    z, weights = z.reshape(len(z), -1), np.exp(log_weights)
    assert np.linalg.norm(z, axis=1).max() <= 9.6 * (1 + 1e-12)
    assert abs(weights.sum() - 1) < 1e-11 and np.abs(weights @ z).max() < 1e-11
    assert np.abs((weights[:, None] * z).T @ z - np.eye(2)).max() < 1e-11


def test_outputs_with_priors_of_their_own_are_summed_as_in_the_loop():
    posterior = regression((1, 2, 2))
    precision = posterior.prior.precision.diagonal().copy()
    W, b = posterior.net.layout.unflatten(np.arange(posterior.net.num_params))[-1]
    precision[W[1]], precision[b[1]] = 0.7, 2.1
    other = Posterior(posterior.net, posterior.likelihood, priors.per_parameter(precision), posterior.X, posterior.y)
    grid = unit_grid(cubature.collapse(other), 7, 3.0)
    assert len(grid.channels) == 2
    agree(log_sum_of(grid), loop(grid), terms=len(grid.points) ** 2, condition=10)


def test_folding_signs_changes_nothing():
    """tanh and −tanh(−.): an odd activation that does not say so has the whole grid, and the same sum."""
    folded = unit_grid(cubature.collapse(regression((1, 2, 1))), 9, 3.0)
    silent = activations.Activation("tanh, silent", activations.tanh.jet)
    whole = unit_grid(cubature.collapse(regression((1, 2, 1), silent)), 9, 3.0)
    assert len(whole.points) == 2 * len(folded.points) - 1
    agree(log_sum_of(folded), log_sum_of(whole), terms=len(whole.points) ** 2)


# -- evidence ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes, within", [((1, 1, 1), 1e-10), pytest.param((2, 1, 1), 1e-9, marks=pytest.mark.slow)], ids=str)
def test_collapsed_and_full_evidence_agree_in_dimensions_that_differ_by_one(sizes, within):
    posterior = regression(sizes, bias=False, precision=2.0)
    less, more = cubature.units(cubature.collapse(posterior), within), cubature.product(posterior, within)
    assert abs(less.log_evidence.value - more.log_evidence.value) <= less.log_evidence.error + more.log_evidence.error


FLAGSHIP_X = np.linspace(-2, 2, 20)[:, None]
FLAGSHIP_Y = np.sin(1.5 * FLAGSHIP_X) + 0.3 * np.cos(7 * FLAGSHIP_X)


def flagship(variance):
    """A 1-2-1 posterior, seven parameters, on twenty data."""
    net = Mlp((1, 2, 1), activations.tanh)
    prior = priors.isotropic(net.num_params, 1.3)
    return cubature.collapse(Posterior(net, likelihoods.Normal(variance), prior, FLAGSHIP_X, FLAGSHIP_Y))


@pytest.mark.parametrize("variance, within", [
    (0.09, 1e-7), pytest.param(0.09, 2e-11, marks=pytest.mark.slow), pytest.param(0.01, 1e-9, marks=pytest.mark.slow)])
def test_seven_parameters_have_an_evidence_whose_record_supports_it(variance, within):
    """And the record's own rules, fewer points included, say how far it is: each step of 1.4 in points gains digits."""
    found = cubature.units(flagship(variance), within)
    assert found.log_evidence.error <= within
    values = np.array([row.log_evidence for row in found.record.rows])
    errors = np.abs(values[:-2] - values[-2])
    assert errors[-1] <= within and errors[-1] < 0.1 * errors[-3]


def test_the_trapezoidal_rule_converges_geometrically():
    """Eq. (sinh-rule): adding a fixed number of points divides the error, until round-off."""
    target = cubature.collapse(regression((1, 1, 1)))
    exact = log_sum_of(unit_grid(target, 201, 9.0))
    errors = np.array([abs(log_sum_of(unit_grid(target, n, 9.0)) - exact) for n in (21, 41, 61, 81)])
    assert (errors[1:] < errors[:-1] * 0.1).all() and errors[-1] < 1e-7


@pytest.mark.parametrize("sizes, bias", [((1, 1, 1), True), ((1, 2, 1), False), ((2, 1, 2), False)], ids=str)
def test_deep_linear_networks_have_honest_error_estimates(sizes, bias):
    """Eq. (refinement-error) of a coarse rule covers the distance to a fine one."""
    target = cubature.collapse(regression(sizes, activations.identity, bias=bias))
    fine = cubature.units(target, 1e-11)
    for within in (1e-3, 1e-5, 1e-7):
        found = cubature.units(target, within)
        assert abs(found.log_evidence.value - fine.log_evidence.value) <= found.log_evidence.error <= within


# -- what a domain leaves out -----------------------------------------------------------------------------------------------


def far_away(frequency, noise):
    """sin(w x) on sixty-one data that only a weight of `frequency` prior standard deviations explains."""
    inputs = np.linspace(-3, 3, 61)[:, None]
    targets = np.sin(frequency * inputs) + noise * np.random.default_rng(0).standard_normal(inputs.shape)
    net = Mlp((1, 1, 1), activations.sin, bias=False)
    return cubature.collapse(Posterior(net, likelihoods.Normal(noise**2), priors.isotropic(2, 1.0), inputs, targets))


def plain_evidence(target, reach=40.0, count=32001):
    """Of one weight, by a uniform rule that steps over no mode."""
    w = np.linspace(-reach, reach, count)[:, None]
    return log_sum(target.log_prob(w)) + np.log(2 * reach / (count - 1))


@pytest.mark.parametrize("frequency", [10.0, 12.0, 20.0])
def test_a_mode_beyond_the_first_domain_is_found(frequency):
    """Eq. (left-out): twelve standard deviations out, behind a valley of a thousand nats."""
    target = far_away(frequency, 0.1)
    found = cubature.units(target, 1e-8)
    assert abs(found.log_evidence.value - plain_evidence(target)) <= found.log_evidence.error + 1e-9
    square = found.outputs(np.array([[0.1]]), 1e-4).value.covariance
    assert square < 0.02  # ±w and ±v are folded: the function is known


def test_the_bound_of_what_is_left_out_is_one():
    """Eq. (left-out) covers the mass outside, of one unit or of two, and the first reach that meets it is taken."""
    for units, dim, reach in ((1, 1, 3.0), (2, 3, 4.0), (3, 2, 9.5)):
        tail = PriorTail(units, dim, peak=2.0, least=1.0)
        exact = -np.expm1(units * np.log1p(-gammaincc(dim / 2, reach**2 / 2))) * np.exp(2.0 + 5.0)
        assert exact <= tail.error(reach, -5.0) < 1000 * exact
        wanted = tail.reach(-5.0, 1e-9)
        assert tail.error(wanted, -5.0) <= 1e-9 < tail.error(wanted - 0.5, -5.0)
    assert tail.reach(-1000.0, 1e-9) > 40 and PriorTail(1, 1, 0.0, 9.0).reach(0.0, 1e-3) == 9.0


@pytest.mark.parametrize("noise", [cubature.InverseGammaNoise(1.7, 0.4), None], ids=["noise with a prior", "known noise"])
def test_no_hidden_weights_beat_the_peak_that_the_bound_takes(noise):
    """Wild weights, features that fit: log p(y|u) stays below its value at a misfit of zero."""
    posterior = regression((1, 4, 1), variance=0.01)
    target = cubature.collapse(posterior) if noise is None else cubature.collapse_noise(
        posterior.net, noise, posterior.prior, X, Y)
    wild = 9 * np.random.default_rng(12).normal(size=(20000, target.num_params))
    assert target.log_likelihood(wild).max() <= target.noise.log_marginal(np.array(0.0), target.num_targets)


class Beyond:
    """A rule with mass 1 and, from a reach of 4 on, with as much at 4: what a domain of seven eighths lacks."""

    round_off = 0.0

    def __init__(self, points, reach):
        self.points, self.reach, self.num_nodes = points, reach, 2

    def blocks(self):
        theta = np.array([[0.0], [4.0]])
        yield theta, np.where(theta[:, 0] < self.reach, 0.0, -np.inf)

    def chosen(self, theta, mask):
        return theta[mask]


class Itself:
    """A target that knows its parameters, and a network without kinks."""

    net = Mlp((1, 1), ())

    def given(self, theta):
        return theta


def test_an_answer_that_a_smaller_domain_changes_is_refused():
    """Moments have a check of their own: the log evidence may agree by chance where they do not."""
    rules = tuple((Beyond(points, 4.2), np.log(2)) for points in (5, 7, 9))
    found = deterministic.Deterministic(Itself(), rules, lambda rule: Beyond(rule.points, 3.5), None, "no record", [],
                                        deterministic.ANALYTIC)
    with pytest.raises(cubature.NotConverged, match="mean"):
        found._settle("mean", lambda mean: mean(lambda at: (at,)), 1e-3)
    wide = replace(found, narrow=lambda rule: rule)
    assert wide._settle("mean", lambda mean: mean(lambda at: (at,)), 1e-3)[0][0] == 2.0


@pytest.mark.parametrize("method, withins", [
    (cubature.product, (0.3, 0.1)), (lambda post, within: cubature.units(cubature.collapse(post), within), (0.1, 1e-2, 1e-3))],
    ids=["product", "units"])
def test_error_estimates_cover_kinks(method, withins):
    """ReLU: rules converge as the square of the step, and two may agree by chance."""
    for seed in range(7):
        rng = np.random.default_rng(seed)
        inputs = rng.normal(size=(7, 1))
        targets = np.sin(2 * inputs) + 0.3 * rng.normal(size=inputs.shape)
        net = Mlp((1, 1, 1), activations.relu, bias=False)
        posterior = Posterior(net, likelihoods.Normal(0.05), priors.isotropic(2, 1.0), inputs, targets)
        exact = plain_evidence(cubature.collapse(posterior), 10.0, 40001)
        for within in withins:
            found = method(posterior, within).log_evidence
            assert abs(found.value - exact) <= found.error <= within


def test_caution_takes_the_largest_of_several_distances():
    kinked, values = deterministic.KINKED, [(np.array([1.0, 2.0]),), (np.array([1.5, 2.1]),), (np.array([1.1, 2.0]),)]
    assert np.isinf(kinked.apart(values[0], values[:2])[0]).all()
    np.testing.assert_allclose(kinked.apart((np.array([1.0, 2.0]),), values)[0], [2.0, 0.4])
    np.testing.assert_allclose(deterministic.ANALYTIC.apart((np.array([1.0, 2.0]),), values)[0], [0.1, 0.0], atol=1e-15)
    assert deterministic.caution_for(Mlp((1, 2, 1), activations.relu)) is kinked
    assert deterministic.caution_for(Mlp((1, 2, 1), activations.tanh)) is deterministic.ANALYTIC


# -- answers ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def one_unit():
    """A 1-1-1 posterior, its grid of the unit, and its answers."""
    posterior = regression((1, 1, 1))
    return posterior, cubature.units(cubature.collapse(posterior), 1e-10)


def test_the_evidence_is_joint_over_posterior_density_at_every_parameter(one_unit):
    """Chib's identity: p(θ|y) from the density of hidden weights, normalised by quadrature, times that of the output layer."""
    posterior, found = one_unit
    target, rng = cubature.collapse(posterior), np.random.default_rng(8)
    hidden = rng.normal(size=(5, 2))
    thetas = target.given(hidden).sample(rng)
    mean, covariance = target.given(hidden).parameters()
    for theta, m, V in zip(thetas, mean, covariance):
        q = Gaussian(m[2:], priors.full(np.linalg.inv(V[2:, 2:])).precision)
        density = target.log_prob(theta[:2]) - found.log_evidence.value + q.log_prob(theta[2:])
        agree(posterior.log_prob(theta) - density, found.log_evidence.value, terms=1000)


def test_the_predictive_density_is_a_ratio_of_evidences(one_unit):
    """Eq. (predictive-mixture)."""
    posterior, found = one_unit
    density = found.density(np.array([[0.4]]), np.array([[0.9]]), 1e-9)
    more = Posterior(posterior.net, posterior.likelihood, posterior.prior, np.append(X, [[0.4]], 0), np.append(Y, [[0.9]], 0))
    ratio = cubature.units(cubature.collapse(more), 1e-10).log_evidence.value - found.log_evidence.value
    assert abs(density.value[0] - np.exp(ratio)) <= 1e-9


def test_predictive_density_distribution_and_moments_belong_to_one_law(one_unit):
    """Sums over a grid of y: moments 0, 1 and 2, and the distribution function as the integral of the density."""
    _, found = one_unit
    grid = np.linspace(-9, 9, 401)
    at = np.full((401, 1), 0.4)
    density = found.density(at, grid[:, None], 1e-8).value
    step, moments = grid[1] - grid[0], found.targets(at[:1], 1e-9).value
    assert abs(density.sum() * step - 1) < 1e-8
    assert abs((density * grid).sum() * step - moments.mean[0, 0]) < 1e-7
    assert abs((density * (grid - moments.mean[0, 0]) ** 2).sum() * step - moments.covariance[0, 0, 0]) < 1e-6
    cdf = found.distribution(at[:1], np.zeros((1, 1)), 1e-8).value[0, 0]
    assert abs(density[:200].sum() * step + density[200] * step / 2 - cdf) < 1e-6 + step**2


def test_quantiles_invert_the_distribution(one_unit):
    _, found = one_unit
    for level in (1e-4, 0.3, 0.975):
        y = found.quantiles(X_NEW, level, 1e-6)
        cdf = found.distribution(X_NEW, y.value, 1e-9)
        density = found.density(X_NEW, y.value, 1e-9).value[:, None]
        assert (np.abs(cdf.value - level) <= density * y.error + cdf.error).all()


def test_the_variance_of_a_target_is_that_of_the_function_and_the_noise(one_unit):
    posterior, found = one_unit
    f, y = found.outputs(X_NEW, 1e-8).value, found.targets(X_NEW, 1e-8).value
    agree(y.covariance, f.covariance + posterior.likelihood.variance, terms=1000)
    agree(y.mean, f.mean, terms=1000)


def test_averages_of_what_is_known_at_a_point_are_those_that_have_a_name(one_unit):
    _, found = one_unit
    mean = found.average(lambda at: at.outputs(X_NEW)[0], 1e-8)
    outputs = found.outputs(X_NEW, 1e-8)
    assert (np.abs(mean.value - outputs.value.mean) <= mean.error + outputs.error.mean).all()
    second = found.average(lambda at: at.theta[..., :, None] * at.theta[..., None, :], 1e-8)
    moments = found.parameters(1e-8).value
    raw = moments.covariance + np.outer(moments.mean, moments.mean)
    assert np.abs(second.value - raw[:2, :2]).max() <= 1e-7


def test_the_covariance_of_the_parameters_is_one():
    """Symmetric, positive definite, about a mean of zero where every sign can change."""
    posterior = regression((2, 1, 1), activations.identity, bias=False)
    found = cubature.units(cubature.collapse(posterior), 1e-8)
    theta = found.parameters(1e-6)
    assert np.abs(theta.value.mean).max() == 0
    agree(theta.value.covariance, theta.value.covariance.T, terms=10)
    assert np.linalg.eigvalsh(theta.value.covariance)[0] > 0


# -- exact derivatives and symmetry laws ------------------------------------------------------------------------------------


def test_the_slope_in_the_log_precision_is_half_of_p_minus_the_expected_square(one_unit):
    posterior, found = one_unit
    p, lam = posterior.net.num_params, 1.3
    moments = found.parameters(1e-6).value
    expected = 0.5 * p - 0.5 * lam * (np.trace(moments.covariance) + moments.mean @ moments.mean)
    assert abs(slope(lambda log_lam: evidence(precision=np.exp(log_lam)), np.log(lam)) - expected) < 1e-6


def test_the_slope_in_the_log_noise_variance_is_the_expected_misfit_less_half_a_count(one_unit):
    posterior, found = one_unit
    f = found.outputs(X, 1e-8).value
    misfit = ((Y - f.mean) ** 2 + f.covariance[..., 0]).sum()
    expected = 0.5 * misfit / 0.3 - 0.5 * len(X)
    assert abs(slope(lambda log_variance: evidence(variance=np.exp(log_variance)), np.log(0.3)) - expected) < 1e-6


def evidence(**changes):
    return cubature.units(cubature.collapse(regression((1, 1, 1), **changes)), 1e-10).log_evidence.value


def slope(function, at):
    """Central differences, extrapolated: errors of order h⁴ and 1e-10/h, below 1e-8."""
    coarse, fine = [(function(at + h) - function(at - h)) / (2 * h) for h in (0.04, 0.02)]
    return (4 * fine - coarse) / 3


def test_a_deep_linear_posterior_obeys_its_conservation_law():
    """Rescaling w by e^t and v by e^−t changes no function: λ E[w² − v²] = d − k for d inputs and k outputs."""
    for sizes in ((1, 1, 1), (2, 1, 1), (1, 1, 2)):
        found = cubature.units(cubature.collapse(regression(sizes, activations.identity, bias=False)), 1e-8)
        square = found.parameters(1e-6).value.covariance.diagonal()
        d, k = sizes[0], sizes[-1]
        assert abs(1.3 * (square[:d].sum() - square[d:].sum()) - (d - k)) < 1e-6


def test_hidden_weights_have_mean_zero_and_equal_moments_under_the_symmetries():
    moments = cubature.units(cubature.collapse(regression((1, 2, 1))), 1e-6).parameters(1e-3).value
    square = moments.covariance.diagonal()
    assert (moments.mean[:6] == 0).all() and moments.mean[6] != 0
    agree(square[[0, 2, 4]], square[[1, 3, 5]], terms=10)


# -- other likelihoods ------------------------------------------------------------------------------------------------------


def other(likelihood, y, precision=2.0, sizes=(1, 1, 1), bias=True):
    net = Mlp(sizes, activations.tanh, bias=bias)
    return Posterior(net, likelihood, priors.isotropic(net.num_params, precision), X, y)


def test_the_evidence_does_not_depend_on_the_stand_in():
    """Eq. (stand-in): Gaussian noise through another Gaussian is the collapsed evidence."""
    posterior = regression((1, 1, 1))
    exact, found = cubature.units(cubature.collapse(posterior), 1e-9), cubature.layered(posterior, 1e-5)
    assert abs(exact.log_evidence.value - found.log_evidence.value) <= found.log_evidence.error + 1e-9


@pytest.mark.parametrize("likelihood, y", [
    (likelihoods.Bernoulli(), (Y > 0).astype(float)), (likelihoods.Poisson(), np.array([[0.0], [2.0], [1.0], [0.0], [3.0]])),
    (likelihoods.StudentT(0.5, 4.0), Y)], ids=["bernoulli", "poisson", "student_t"])
def test_two_methods_agree_within_their_error_estimates(likelihood, y):
    posterior = other(likelihood, y, bias=False)
    one, two = cubature.layered(posterior, 1e-8), cubature.product(posterior, 1e-7)
    assert abs(one.log_evidence.value - two.log_evidence.value) <= one.log_evidence.error + two.log_evidence.error
    f, g = one.targets(X_NEW, 1e-5), two.targets(X_NEW, 1e-5)
    assert (np.abs(f.value.mean - g.value.mean) <= f.error.mean + g.error.mean).all()


@pytest.mark.parametrize("likelihood, y", [(likelihoods.StudentT(0.5, 4.0), Y), (likelihoods.Gamma(3.0), np.exp(Y))],
                         ids=["student_t", "gamma"])
def test_continuous_targets_have_quantiles_whatever_their_noise(likelihood, y):
    """They invert the distribution function, which is the sum of the density: a trapezoid whose step is 1/100 of its width."""
    found = cubature.product(other(likelihood, y, bias=False), 1e-8)
    for level in (1e-3, 0.4, 0.975):
        at = found.quantiles(X_NEW, level, 1e-5)
        cdf, density = (ask(X_NEW, at.value, 1e-7) for ask in (found.distribution, found.density))
        assert (np.abs(cdf.value - level) <= density.value[:, None] * at.error + cdf.error).all()
    low, high = found.quantiles(X_NEW[:1], 0.2, 1e-6).value[0, 0], found.quantiles(X_NEW[:1], 0.7, 1e-6).value[0, 0]
    grid = np.linspace(low, high, 201)
    density = found.curves(X_NEW[:1], grid[None, :, None], 1e-7).value[0]
    curve = np.abs(np.gradient(np.gradient(density, grid), grid)).max()
    area = ((density[1:] + density[:-1]) / 2 * np.diff(grid)).sum()
    assert abs(area - 0.5) <= 1e-5 + curve * (grid[1] - grid[0]) ** 2 * (high - low) / 12


def test_quantiles_of_counts_and_without_variance_are_refused():
    labels = cubature.product(other(likelihoods.Bernoulli(), (Y > 0).astype(float), bias=False), 1e-2)
    with pytest.raises(ValueError, match="expected one of continuous targets,.*got Bernoulli; of the others `density`"):
        labels.quantiles(X_NEW, 0.5, 1e-2)
    wild = cubature.product(other(likelihoods.StudentT(0.5, 1.5), Y, bias=False), 1e-2)
    with pytest.raises(ValueError, match="expected targets with a variance"):
        wild.quantiles(X_NEW, 0.5, 1e-2)
    assert np.isfinite(wild.distribution(X_NEW, np.zeros((3, 1)), 1e-2).value).all()


def test_the_evidences_of_all_labelings_sum_to_one():
    total = sum(np.exp(cubature.product(other(likelihoods.Bernoulli(), np.array(labels, dtype=float)[:, None], bias=False),
                                        1e-6).log_evidence.value) for labels in itertools.product((0, 1), repeat=5))
    assert abs(total - 1) < 1e-5


def test_the_evidence_of_linear_regression_is_that_in_closed_form():
    """Linear networks and Linearised ones: the error estimates of evidence, mean and covariance cover the actual errors."""
    net = Mlp((2, 1), ())
    rng = np.random.default_rng(9)
    inputs = rng.normal(size=(5, 2))
    small = Mlp((1, 1, 1), activations.tanh, bias=False)
    for model, at in ((net, inputs), (Linearised(small, at=np.array([0.7, -1.1])), X)):
        posterior = Posterior(model, likelihoods.Normal(0.3), priors.isotropic(model.num_params, 1.3), at, Y)
        mode = optimize.maximize(posterior, np.zeros(model.num_params))
        q = laplace.at(mode.theta, posterior.prior.precision + posterior.loss.ggn(mode.theta))
        exact = laplace.log_evidence(mode.log_prob, q)
        for within in (1e-2, 1e-5, 1e-9):
            found = cubature.product(posterior, within)
            assert abs(found.log_evidence.value - exact) <= found.log_evidence.error + 1e-13 <= 2 * within
            moments = found.parameters(100 * within)
            assert (np.abs(moments.value.mean - q.mean) <= moments.error.mean + 1e-12).all()
            assert (np.abs(moments.value.covariance - q.covariance()) <= moments.error.covariance + 1e-12).all()


def test_no_mode_is_lost():
    """v w² = 6 with w either way: two modes far apart, which only a grid that covers the prior sees both."""
    net = Mlp((1, 1, 1), activations.square, bias=False)
    posterior = Posterior(net, likelihoods.Normal(0.5), priors.isotropic(2, 1.0), np.ones((5, 1)), np.full((5, 1), 6.0))
    found = cubature.product(posterior, 1e-6)
    both = found.parameters(1e-4).value
    assert abs(both.mean[0]) < 1e-9 and both.covariance[0, 0] > 1.0


# -- randomised points ------------------------------------------------------------------------------------------------------


def test_randomised_evidence_is_unbiased_and_its_error_honest():
    """Eq. (importance-evidence), forty independent runs: z-scores have mean 0 and square 1.4 within chance."""
    target = cubature.collapse(regression((1, 1, 1)))
    exact = cubature.units(target, 1e-9).log_evidence.value
    runs = [cubature.sobol(target, 256, 8, np.random.default_rng(seed), 1.0) for seed in range(40)]
    z = np.array([(run.log_evidence.value - exact) / run.log_evidence.error for run in runs])
    assert abs(z.mean()) < 6.0 / np.sqrt(40) and 0.3 < (z**2).mean() < 5.0  # t with 7 degrees of freedom: E z² = 1.4


def test_randomised_answers_are_those_of_the_grid_within_their_standard_errors(one_unit):
    """Eq. (jackknife)."""
    posterior, exact = one_unit
    found = cubature.sobol(cubature.collapse(posterior), 2**10, 16, np.random.default_rng(10), 1e-2)
    for name in ("outputs", "targets"):
        ours, theirs = getattr(found, name)(X_NEW, 1.0), getattr(exact, name)(X_NEW, 1e-8)
        assert (np.abs(ours.value.mean - theirs.value.mean) <= 8 * ours.error.mean).all()
        assert (np.abs(ours.value.covariance - theirs.value.covariance) <= 8 * ours.error.covariance).all()
    y = found.quantiles(X_NEW, 0.9, 1.0)
    assert (np.abs(y.value - exact.quantiles(X_NEW, 0.9, 1e-7).value) <= 8 * y.error).all()


def test_randomised_points_refuse_when_few_carry_the_weight():
    target = cubature.collapse(regression((1, 3, 1), variance=1e-4))
    with pytest.raises(cubature.NotConverged, match="effective size"):
        cubature.sobol(target, 256, 8, np.random.default_rng(11), 1.0)


def test_randomised_points_refuse_below_the_floor_whatever_the_tail_says(monkeypatch):
    """Pareto k is fine and the spread small, but points are worth fewer than FEWEST."""
    target = cubature.collapse(regression((1, 1, 1)))
    draw = lambda: cubature.sobol(target, 64, 8, np.random.default_rng(13), 1.0)
    monkeypatch.setattr(replicates, "FEWEST", 0.0)
    record = draw().record
    assert record.effective_size < 400.0
    monkeypatch.undo()
    with pytest.raises(cubature.NotConverged, match="at least 400 points"):
        draw()


def test_randomised_points_do_not_see_a_mode_that_none_of_them_met():
    """What no estimate from the points can say, `units` does: the statement of `sobol`, and the check that it names."""
    target = far_away(8.0, 0.3)
    met = cubature.sobol(target, 2**12, 16, np.random.default_rng(1), 1.0).log_evidence
    exact = cubature.units(target, 1e-8).log_evidence
    assert abs(exact.value - plain_evidence(target)) <= exact.error + 1e-9
    assert met.value < exact.value - 5 and met.error < 0.1


# -- refusals and doors -----------------------------------------------------------------------------------------------------


def test_a_result_that_the_record_does_not_support_is_refused_with_the_record():
    target = cubature.collapse(regression((1, 2, 1)))
    with pytest.raises(cubature.NotConverged, match="at most 100000 nodes") as refusal:
        cubature.units(target, 1e-9, largest=100000)
    assert refusal.value.record.rows and "log evidence" in str(refusal.value.record)
    with pytest.raises(cubature.NotConverged, match="round-off"):
        cubature.units(target, 1e-16)
    with pytest.raises(cubature.NotConverged, match=r"^density: expected an error within 1e-06, got an estimate of 0\.3"):
        refuse_beyond(1e-6, "density", (np.array([0.1, 0.3]),), "a record")
    found = cubature.units(target, 1e-3)
    y_new = np.zeros((3, 1))
    for name, arguments in {"parameters": (), "outputs": (X_NEW,), "targets": (X_NEW,), "density": (X_NEW, y_new),
                            "distribution": (X_NEW, y_new), "curves": (X_NEW, y_new[:, None]),
                            "average": (lambda at: at.theta,)}.items():
        with pytest.raises(cubature.NotConverged, match=rf"^{name}\b"):
            getattr(found, name)(*arguments, 1e-15)


NET = Mlp((1, 2, 1), activations.tanh)


def posterior_with(prior=None, likelihood=likelihoods.Normal(0.3), net=NET, y=Y):
    return Posterior(net, likelihood, priors.isotropic(net.num_params, 1.3) if prior is None else prior, X, y)


def coupled(i, j):
    P = np.eye(7)
    P[i, j] = P[j, i] = 0.5
    return priors.full(P)


@pytest.mark.parametrize("call, message", [
    (lambda: cubature.collapse(posterior_with(likelihood=likelihoods.Bernoulli(), y=(Y > 0) * 1.0)),
     "additive Gaussian noise.*Bernoulli"),
    (lambda: cubature.collapse(posterior_with(likelihood=likelihoods.StudentT(1.0, 4.0))), "additive Gaussian noise.*StudentT"),
    (lambda: cubature.collapse(posterior_with(priors.Laplace(7, 1.0))), "prior: expected a Gaussian, got Laplace"),
    (lambda: cubature.collapse(posterior_with(coupled(0, 5))), "independent of hidden ones"),
    (lambda: cubature.collapse(posterior_with(net=Mlp((1, 1), ()))), "expected a hidden layer"),
    (lambda: cubature.collapse_noise(NET, cubature.InverseGammaNoise(1.0, 1.0), priors.isotropic(3, 1.0), X, Y),
     "expected 7 parameters"),
    (lambda: cubature.InverseGammaNoise(-1.0, 1.0), "shape: expected a positive number"),
    (lambda: cubature.units(cubature.collapse(posterior_with(coupled(4, 5))), 1e-3), "precision"),
    (lambda: cubature.units(cubature.collapse(posterior_with(priors.per_parameter(np.arange(1.0, 8.0)))), 1e-3), "tell the"),
    (lambda: cubature.product(posterior_with(), 1e-3), "at most 4 parameters, got 7"),
    (lambda: cubature.layered(posterior_with(net=Mlp((1, 1, 2), activations.tanh), y=np.concatenate([Y, Y], 1)), 1e-3),
     "at most 3 output weights, got 4"),
    (lambda: cubature.units(cubature.collapse(posterior_with()), -1.0), "within: expected a positive number"),
    (lambda: cubature.collapse(posterior_with()).log_prob(np.zeros(3)), r"theta: expected shape \(\.\.\., 4\), got \(3,\)"),
])
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_grid_that_round_off_stops_says_so():
    with pytest.raises(cubature.NotConverged, match="log evidence: expected an error within 1e-17, got round-off of up to"):
        cubature.units(flagship(0.04), 1e-17)


def test_units_of_two_hidden_layers_are_refused():
    net = Mlp((1, 1, 1, 1), activations.tanh)
    deep = Posterior(net, likelihoods.Normal(0.1), priors.isotropic(net.num_params, 1.0), np.ones((3, 1)), np.ones((3, 1)))
    with pytest.raises(ValueError, match="target: expected a network with one hidden layer"):
        cubature.units(cubature.collapse(deep), 1e-3)


def test_the_jackknife_leaves_out_each_scrambling_once(monkeypatch):
    seen = []
    monkeypatch.setattr(replicates, "_jackknife", lambda values: seen.append(len(values)) or np.zeros(values.shape[1:]))
    found = cubature.sobol(flagship(4.0), 256, 8, np.random.default_rng(3), 10.0)
    found.outputs(np.zeros((2, 1)), 10.0)
    assert set(seen) == {8}
