"""Every kernel draws from the posterior that quadrature knows, and SMC finds its evidence."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from refbnn import symmetry
from refbnn.precision import Dense, Diagonal
from refbnn.samplers import EllipticalSlice, Hmc, Nuts, Streams, WithMoves, hidden_units, smc
from tests.judge import mean_agrees
from tests.samplers import exact

TARGETS = {"one unit": exact.one_unit, "logistic": exact.logistic}
KERNELS = {
    "hmc": lambda p: Hmc(0.25, 5, Diagonal(np.linspace(0.8, 1.3, p)), jitter=0.3),
    "hmc, dense metric": lambda p: Hmc(0.25, 5, Dense(np.eye(p) + 0.3), jitter=0.3),
    "nuts": lambda p: Nuts(0.3, Dense(np.eye(p) + 0.3)),
    "elliptical": lambda p: EllipticalSlice(),
}


@cache
def known(name):
    return TARGETS[name]()


def started(truth, chains):
    """Draws from the posterior by rejection from the prior, exact, so that nothing depends on how fast a chain forgets."""
    rng = np.random.default_rng(1)
    posterior, draws = truth.posterior, []
    top = posterior.log_likelihood(posterior.prior.sample(rng, (100000,))).max() + 0.5  # a bound: never passed, see below
    while sum(map(len, draws)) < chains:
        theta = posterior.prior.sample(rng, (100000,))
        height = posterior.log_likelihood(theta)
        assert height.max() < top
        draws.append(theta[np.log(rng.random(len(theta))) < height - top])
    return np.concatenate(draws)[:chains]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", TARGETS)
def test_every_kernel_agrees_with_quadrature(name, kernel):
    """Chains from exact draws, eight updates on: independent chains, so the error of the mean over chains is exact."""
    truth, chains = known(name), 4000
    target, update = truth.posterior, KERNELS[kernel](truth.posterior.num_params)
    theta = started(truth, chains)
    state, streams = update.init(target, theta), Streams.spawn([1, len(kernel)], chains)
    for _ in range(8):
        state, _ = update.step(target, state, streams)
    assert np.mean((state.theta != theta).any(1)) > 0.95
    np.testing.assert_allclose(state.log_prob, target.log_prob(state.theta), rtol=1e-10)
    spread = truth.statistics(theta).std(0)
    mean_agrees(truth.statistics(state.theta) / spread, truth.expected / spread, 0.25)


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("kernel", ["hmc", "elliptical"])
def test_sequential_monte_carlo_finds_the_evidence(name, kernel):
    """E[Ẑ] = Z exactly on a given ladder: the mean of independent runs within their own standard error."""
    truth = known(name)
    first = _smc(truth, kernel, smc.by_effective_size(0.6), 300, 0)
    ratios = np.array([
        np.exp(_smc(truth, kernel, smc.given(first.betas[1:]), 100, 1 + seed).log_evidence - truth.log_evidence)
        for seed in range(40)])
    mean_agrees(ratios, 1.0, 0.5)
    assert first.betas[-1] == 1 and (np.diff(first.betas) > 0).all() and len(first.betas) > 3
    np.testing.assert_allclose(first.effective[:-1], 0.6 * 300, rtol=0.01)


def _smc(truth, kernel, ladder, particles, seed):
    update = KERNELS[kernel](truth.posterior.num_params)
    return smc.run(truth.posterior, lambda beta, theta: update, ladder, particles, 2, np.random.default_rng(seed))


@pytest.mark.parametrize("name", TARGETS)
def test_the_particles_are_draws_from_the_posterior(name):
    truth = known(name)
    means = np.array([truth.statistics(_smc(truth, "elliptical", smc.by_effective_size(0.6), 300, seed).theta).mean(0)
                      for seed in range(40)])
    spread = truth.statistics(started(truth, 4000)).std(0)
    mean_agrees(means / spread, truth.expected / spread, 0.2)


def test_moves_take_chains_to_all_copies_of_a_mode_and_leave_the_posterior_alone():
    truth = known("one unit")
    posterior = exact.Posterior(truth.posterior.net, truth.posterior.likelihood, exact.priors.isotropic(2, 0.7),
                                truth.posterior.X, truth.posterior.y)
    truth, chains = exact.integrated(posterior, 9.0), 4000
    kernel = WithMoves(Hmc(0.1, 3, Diagonal(np.ones(2))), hidden_units(symmetry.of_posterior(posterior)))
    theta = started(truth, chains)
    theta = theta * np.sign(theta[:, :1])  # all of them in one copy
    state, streams = kernel.init(posterior, theta), Streams.spawn(3, chains)
    state, _ = kernel.step(posterior, state, streams)
    mean_agrees(np.sign(state.theta[:, 0]), 0.0, 0.2)
    spread = truth.statistics(theta).std(0)
    mean_agrees(truth.statistics(state.theta) / spread, truth.expected / spread, 0.25)


# -- planted faults ---------------------------------------------------------------------------------------------------------


class Joint:
    """A target whose likelihood is the joint: the prior counted twice by a sampler that multiplies by it once more."""

    def __init__(self, posterior):
        self.prior, self.num_params, self.log_likelihood = posterior.prior, posterior.num_params, posterior.log_prob
        self.log_prob = posterior.log_prob


def test_elliptical_slice_given_the_joint_is_caught():
    """The prior twice: with 4000 chains the second moments are seen to be off if by a quarter of a standard deviation."""
    truth, chains = known("logistic"), 4000
    theta, target = started(truth, chains), Joint(truth.posterior)
    state, streams = EllipticalSlice().init(target, theta), Streams.spawn(3, chains)
    for _ in range(20):
        state, _ = EllipticalSlice().step(target, state, streams)
    spread = truth.statistics(theta).std(0)
    with pytest.raises(AssertionError, match="z"):
        mean_agrees(truth.statistics(state.theta) / spread, truth.expected / spread, 0.25)


def test_the_likelihood_without_the_prior_is_caught():
    """A statistic off by 0.8 of its posterior standard deviations is seen."""
    class NoPrior:
        def __init__(self, posterior):
            self.num_params, self.loss = posterior.num_params, posterior.loss

        def value_and_gradient(self, theta):
            value, gradient = self.loss.value_and_gradient(theta)
            return -value, -gradient

    truth, chains, update = known("logistic"), 4000, KERNELS["hmc"](3)
    theta, target = started(truth, chains), NoPrior(truth.posterior)
    state, streams = update.init(target, theta), Streams.spawn(3, chains)
    for _ in range(4):  # no more, or the chains are so far out that their spread hides the shift
        state, _ = update.step(target, state, streams)
    spread = truth.statistics(theta).std(0)
    with pytest.raises(AssertionError, match="z"):
        mean_agrees(truth.statistics(state.theta) / spread, truth.expected / spread, 0.8)


def test_increments_that_are_not_reset_after_resampling_are_caught(monkeypatch):
    """Weights since the prior at every rung, as when the particles had not been resampled between: Ẑ off by a half is seen."""
    true, seen = smc.log_mean_exp, []

    def since_the_prior(log_weights):
        seen.append(log_weights)
        return true(np.sum(seen, axis=0))

    monkeypatch.setattr(smc, "log_mean_exp", since_the_prior)
    truth = known("logistic")
    betas, ratios = [0.05, 0.2, 0.5, 1.0], []
    for seed in range(40):
        seen.clear()
        ratios.append(np.exp(_smc(truth, "elliptical", smc.given(betas), 100, seed).log_evidence - truth.log_evidence))
    with pytest.raises(AssertionError, match="z"):
        mean_agrees(np.array(ratios), 1.0, 0.5)
