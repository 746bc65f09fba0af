"""Gamma priors on precisions and noise: one density, two samplers, exact moments by quadrature, and simulation-based ranks.

Sampled moments are judged at 5.5 Monte-Carlo standard errors, a false alarm in 2·10⁷ for a normal one.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy import stats
from scipy.special import digamma, polygamma

from refbnn import Mlp, Posterior, activations, diagnostics, evidence, hyper, likelihoods
from refbnn.audit import audit
from refbnn.hyper import gamma, hierarchical, noise
from refbnn.precision import Diagonal
from refbnn.samplers import Hmc, Streams
from refbnn.testing import taylor_order

SIGMAS = 5.5
PRECISION, NOISE = hyper.Gamma(2.0, 1.5), hyper.Gamma(3.0, 0.4)


def deep():
    """A 2-3-2 tanh network with a precision a layer and unknown noise: 17 weights, 3 hyper-parameters."""
    net, rng = Mlp((2, 3, 2), activations.tanh), np.random.default_rng(0)
    return hyper.Hierarchical(net, hyper.UnknownNoise(NOISE), hyper.per_layer(net.layer_sizes, 0.1), PRECISION,
                              rng.normal(size=(7, 2)), rng.normal(size=(7, 2)))


@cache
def slope():
    """One weight, y = θx + noise: three numbers ζ, whose moments quadrature has."""
    X = np.array([[-1.0], [0.4], [1.3], [0.7]])
    return hyper.Hierarchical(Mlp((1, 1), (), bias=False), hyper.UnknownNoise(NOISE), hyper.one(1), PRECISION, X,
                              np.array([[-0.9], [0.1], [1.5], [0.2]]))


# -- the density ------------------------------------------------------------------------------------------------------------


def test_the_density_is_the_posteriors_times_that_of_the_log_precisions():
    """Eqs. (hierarchical), (log-gamma) and (noise-precision): scipy's Gamma with dλ/dξ = λ."""
    target = deep()
    zeta = 0.5 * np.random.default_rng(1).normal(size=(5, target.num_params))
    for each in zeta:
        theta, xi, log_tau = each[:17], each[17:19], each[19]
        post = Posterior(target.net, likelihoods.Normal(np.exp(-log_tau)), target.precisions.prior(xi), target.X, target.y)
        expected = post.log_prob(theta) + sum(
            stats.gamma.logpdf(np.exp(log), law.shape, scale=1 / law.rate) + log
            for log, law in zip(each[17:], (PRECISION, PRECISION, NOISE)))
        assert abs(target.log_prob(each) - expected) < 1e-12 * abs(expected)
        assert abs(target.log_likelihood(each) - post.log_likelihood(theta)) < 1e-12 * abs(expected)


@pytest.mark.parametrize("known", [False, True])
def test_the_gradient_is_the_slope_of_the_density(known):
    """Eq. (hierarchical-gradient): central differences of order h² along a direction through all of ζ."""
    target = deep()
    if known:
        target = hyper.Hierarchical(target.net, hyper.Known(likelihoods.Poisson()), target.precisions, PRECISION, target.X,
                                    np.arange(14).reshape(7, 2) % 3)
    rng = np.random.default_rng(2)
    zeta, along = 0.5 * rng.normal(size=(2, target.num_params))
    for density, gradient in ((target.log_prob, target.value_and_gradient(zeta)[1]),
                              (target.prior.log_prob, target.prior.gradient(zeta))):
        order = taylor_order(lambda h: (density(zeta + h * along) - density(zeta - h * along)) / (2 * h) - gradient @ along)
        assert abs(order - 2) < 0.1


def test_many_zetas_at_once_are_each_as_alone():
    target, rng = deep(), np.random.default_rng(3)
    zeta = rng.normal(size=(2, 5, target.num_params))
    values, gradients = target.value_and_gradient(zeta)
    one_value, one_gradient = target.value_and_gradient(zeta[1, 3])
    assert abs(values[1, 3] - one_value) < 1e-11 and np.abs(gradients[1, 3] - one_gradient).max() < 1e-11
    assert np.allclose(values, target.log_prob(zeta), rtol=1e-13)


def test_the_prior_is_normalised_and_drawn_as_it_says():
    """Moments of ζ under p(ζ): log λ has mean ψ(a) − log b and variance ψ′(a); θ²λ has mean 1."""
    prior = deep().prior
    zeta = prior.sample(np.random.default_rng(4), (40000,))
    for column, law in ((17, PRECISION), (18, PRECISION), (19, NOISE)):
        xi = zeta[:, column]
        assert abs(xi.mean() - digamma(law.shape) + np.log(law.rate)) < SIGMAS * np.sqrt(polygamma(1, law.shape) / 40000)
    scaled = (zeta[:, 0] - 0.1)**2 * np.exp(zeta[:, 17])
    assert abs(scaled.mean() - 1) < SIGMAS * np.sqrt(2 / 40000)
    assert prior.sample(np.random.default_rng(4)).shape == (20,)


# -- two samplers and quadrature --------------------------------------------------------------------------------------------


@cache
def exact_moments():
    """log p(y) and E[θ, ξ, ω, θ², ξ², ω²] by the trapezoid rule on a cube, in plain code; converged to ten digits."""
    axes = np.linspace(-6, 7, 105), np.linspace(-9, 4, 105), np.linspace(-4, 6, 105)
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    weights = np.exp(slope().log_prob(grid)) * np.prod([axis[1] - axis[0] for axis in axes])
    return np.log(weights.sum()), weights @ np.concatenate([grid, grid**2], 1) / weights.sum()


@cache
def draws_of(name):
    """40 chains of 500 draws each."""
    inner = Hmc(0.2, 6, Diagonal(np.ones(3)))
    kernel = {"joint": inner, "gibbs": hyper.Gibbs(Hmc(0.3, 3, Diagonal(np.ones(1))))}[name]
    streams, kept = Streams.spawn(5, 40), []
    state = kernel.init(slope(), slope().prior.sample(np.random.default_rng(5), (40,)))
    for _ in range(600):
        state, _ = kernel.step(slope(), state, streams)
        kept.append(state.theta)
    return np.stack(kept[100:], 1)


def agreement(draws, moments):
    """The largest difference of moments in Monte-Carlo standard errors, and the errors."""
    values = np.concatenate([draws, draws**2], -1)
    errors = diagnostics.mcse_mean(values)
    return np.abs((values.mean((0, 1)) - moments) / errors).max(), errors


@pytest.mark.parametrize("name", ["joint", "gibbs"])
def test_weights_and_precisions_have_the_moments_of_quadrature(name):
    """Eqs. (hierarchical) and (gamma-given): Hamiltonian steps in ζ, and steps in θ with exact draws of ξ, agree with it."""
    worst, errors = agreement(draws_of(name), exact_moments()[1])
    assert worst < SIGMAS and (errors < 0.5).all()


def test_draws_of_gibbs_sampling_obey_the_virial_laws():
    """An independent check of draws and gradient, Eq. (virial-laws)."""
    assert audit(slope(), draws_of("gibbs")).passed


def test_the_evidence_of_a_hierarchical_model_is_that_of_quadrature():
    """Annealing from the joint prior of weights and hyper-parameters."""
    target = slope()
    found = evidence.annealed(evidence.Path(target, target.prior), evidence.ladder(25, 3.0),
                              lambda beta: Hmc(0.3, 3, Diagonal(np.ones(3))), Streams.spawn(6, 400)).estimate()
    assert abs(found.log_evidence - exact_moments()[0]) < SIGMAS * found.standard_error < 0.3


def test_without_information_hyper_parameters_keep_their_prior_and_noise_its_conjugate_law():
    """Inputs that are all zero: f = 0 whatever θ; λ ~ Gamma(a, b), τ ~ Gamma(a + n/2, b + ½Σy²) exactly."""
    y = np.array([[0.4], [-0.7], [1.1]])
    net = Mlp((1, 1), (), bias=False)
    target = hyper.Hierarchical(net, hyper.UnknownNoise(NOISE), hyper.one(1), PRECISION, np.zeros((3, 1)), y)
    kernel, streams, kept = hyper.Gibbs(Hmc(0.5, 3, Diagonal(np.ones(1)))), Streams.spawn(7, 50), []
    state = kernel.init(target, target.prior.sample(np.random.default_rng(7), (50,)))
    for _ in range(400):
        state, _ = kernel.step(target, state, streams)
        kept.append(state.theta)
    draws = np.stack(kept[50:], 1)
    laws = ((PRECISION.shape, PRECISION.rate), (NOISE.shape + 1.5, NOISE.rate + 0.5 * (y**2).sum()))
    for column, (a, b) in enumerate(laws, start=1):
        xi = draws[..., column] - digamma(a) + np.log(b)
        for values, expected in ((xi, 0.0), (xi**2, polygamma(1, a))):
            assert abs(values.mean() - expected) < SIGMAS * diagnostics.mcse_mean(values) < 0.25


def test_a_precision_given_normals_has_the_moments_of_its_gamma():
    """Eq. (gamma-given): log λ ~ log Gamma(a + n/2, b + s/2), from 5000 draws."""
    law, squares = hyper.Gamma(2.5, 1.5), 3.7
    log = law.given(3, np.full((1, 5000), squares), [np.random.default_rng(5)])[0]
    a = 2.5 + 1.5
    error = np.sqrt(polygamma(1, a) / 5000)
    assert abs(log.mean() - digamma(a) + np.log(1.5 + 0.5 * squares)) < SIGMAS * error < 0.05


def test_an_update_of_gibbs_moves_every_number_and_knows_its_density():
    target, kernel = deep(), hyper.Gibbs(Hmc(0.01, 3, Diagonal(np.ones(17))))
    zeta = 0.5 * np.random.default_rng(4).normal(size=(5, target.num_params))
    start = kernel.init(target, zeta)
    state, info = kernel.step(target, start, Streams.spawn(2, 5))
    assert np.allclose(start.log_prob, target.log_prob(zeta), rtol=1e-12) and info.acceptance.shape == (5,)
    assert state.theta.shape == zeta.shape and (state.theta != zeta).all()
    assert np.allclose(state.log_prob, target.log_prob(state.theta), rtol=1e-12)


def test_ranks_of_simulated_truths_are_uniform():
    """40 data sets: the rank of θ², λ, τ among 19 nearly independent draws; mean ½ ± √(1/12/40), mean square ⅓ ± √(4/45/40)."""
    rng, ranks = np.random.default_rng(8), []
    net, X = Mlp((1, 1), (), bias=False), np.array([[-1.0], [0.5], [1.2]])
    kernel = hyper.Gibbs(Hmc(0.3, 4, Diagonal(np.ones(1))))
    for _ in range(40):
        target = hyper.Hierarchical(net, hyper.UnknownNoise(NOISE), hyper.one(1), PRECISION, X, np.zeros((3, 1)))
        truth = target.prior.sample(rng)
        y = truth[0] * X + np.exp(-0.5 * truth[2]) * rng.normal(size=(3, 1))
        target = hyper.Hierarchical(net, hyper.UnknownNoise(NOISE), hyper.one(1), PRECISION, X, y)
        state, streams = kernel.init(target, np.tile(truth, (19, 1))), Streams.spawn(int(rng.integers(2**31)), 19)
        for _ in range(25):
            state, _ = kernel.step(target, state, streams)
        ranks.append((state.theta**[2, 1, 1] < truth**[2, 1, 1]).sum(0))
    u = (np.array(ranks) + 0.5) / 20
    assert np.abs(u.mean(0) - 0.5).max() < SIGMAS * np.sqrt(1 / 12 / 40)
    assert np.abs((u**2).mean(0) - 1 / 3).max() < SIGMAS * np.sqrt(4 / 45 / 40)


# -- bad input, planted faults ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call, message", [
    (lambda: hyper.Gamma(0.0, 1.0), "shape: expected a positive number"),
    (lambda: hyper.Gamma(1.0, np.inf), "rate: expected"),
    (lambda: hyper.Known(object()), "likelihood: expected an object with log_prob"),
    (lambda: hyper.UnknownNoise(2.0), "prior: expected an object with log_density"),
    (lambda: hyper.Hierarchical(Mlp((1, 1), ()), hyper.UnknownNoise(NOISE), hyper.one(3), PRECISION, [[0.0]], [[0.0]]),
     "precisions: expected 2 parameters"),
    (lambda: slope().log_prob(np.ones(4)), "zeta: expected shape"),
    (lambda: hyper.Gibbs(object()), "kernel: expected an object with init, step"),
])
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def joint_law():
    draws_of.cache_clear()
    try:
        test_weights_and_precisions_have_the_moments_of_quadrature("gibbs")
    finally:
        draws_of.cache_clear()


def without_jacobian(self, xi):
    return self.shape * np.log(self.rate) - gamma.gammaln(self.shape) + (self.shape - 1) * xi - self.rate * np.exp(xi)


def drawn(count_factor=1.0, square_factor=1.0, invert=False):
    """Conjugate draws with a wrong count, wrong squares, or the scale taken for the rate."""
    def given(self, count, squares, generators):
        rates = self.rate + 0.5 * square_factor * squares
        shapes = np.broadcast_to(self.shape + 0.5 * count_factor * count, rates.shape)
        logs = np.stack([np.log(generator.gamma(a)) for generator, a in zip(generators, shapes)])
        return logs + np.log(rates) if invert else logs - np.log(rates)

    return given


@pytest.mark.parametrize("law, owner, name, fault", [
    (test_the_density_is_the_posteriors_times_that_of_the_log_precisions, hyper.Gamma, "log_density", without_jacobian),
    (lambda: test_the_gradient_is_the_slope_of_the_density(False), hyper.Gamma, "slope",
     lambda self, xi: self.shape - 1 - self.rate * np.exp(xi)),
    (lambda: test_the_gradient_is_the_slope_of_the_density(False), hierarchical.Hyperprior, "squares",
     lambda self, theta: 2 * hierarchical.np.square(theta - self.precisions.mean) @ np.eye(2)[self.precisions.groups]),
    (joint_law, hyper.Gamma, "given", drawn(count_factor=0.0)),
    (joint_law, hyper.Gamma, "given", drawn(square_factor=2.0)),
    (joint_law, hyper.Gamma, "given", drawn(invert=True)),
    (test_the_density_is_the_posteriors_times_that_of_the_log_precisions, noise.UnknownNoise, "log_prior", lambda self, xi: 0.0),
])
def test_a_law_fails_on_its_fault(law, owner, name, fault, monkeypatch):
    monkeypatch.setattr(owner, name, fault)
    with pytest.raises(AssertionError):
        law()
