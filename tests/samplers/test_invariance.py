"""Updates of exact draws are exact draws, by tests that say what they would have seen.

The target is a linear model's posterior, N(m, P⁻¹) with a dense P of condition 3000. With the metric M⁻¹ = P⁻¹ all directions are
alike, so w = Lᵀ(θ − m), P = LLᵀ, has p independent standard normal entries and one number, the mean of w², tells how wide the
draws are; its variance is 2/(n p). A kernel whose own stationary variance is 1 + b shows b(1 − ρ^k) of it after k updates, ρ the
autocorrelation of w² over one. So n p = 2((z_a + z_b)/(b(1 − ρ^k)))² entries catch a bias b with the wanted power.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy.special import ndtri

from refbnn import Mlp, Posterior, laplace, likelihoods, optimize, priors
from refbnn.precision import Dense
from refbnn.samplers import EllipticalSlice, Hmc, Nuts, Streams, hmc, nuts
from refbnn.samplers.leapfrog import leapfrog
from tests.judge import FALSE_ALARM, mean_agrees
from tests.samplers.targets import LogGamma, Mixture, dense_normal

P, UPDATES, POWER = 23, 8, 0.99
SHIPPED, QUICK = 0.004, 0.02  # the variance bias once shipped by a large library; what the quick tests see


@dataclass(frozen=True)
class OneStream:
    """The numbers of all chains from one generator: for tests with many thousand chains."""

    rng: np.random.Generator
    num_chains: int

    def normals(self, *shape):
        return self.rng.standard_normal((self.num_chains, *shape))

    def uniforms(self, *shape):
        return self.rng.random((self.num_chains, *shape))

    def exponentials(self):
        return self.rng.standard_exponential(self.num_chains)

    def __getitem__(self, chains):
        return OneStream(self.rng, len(chains))


def linear_model():
    """The posterior and the Gaussian that it is."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(29, P - 1)) @ np.diag(np.geomspace(0.1, 3, P - 1)) @ rng.normal(size=(P - 1, P - 1)) / 5
    net = Mlp((P - 1, 1), ())
    post = Posterior(net, likelihoods.Normal(0.5), priors.isotropic(P, 0.3), X, rng.normal(size=(29, 1)))
    mode = optimize.maximize(post, np.zeros(P))
    return post, laplace.at(mode.theta, post.prior.precision + post.loss.ggn(mode.theta))


TARGET, EXACT = linear_model()
L = np.linalg.cholesky(EXACT.precision.matrix())
METRIC = Dense(EXACT.covariance())
KERNELS = {"hmc": Hmc(0.4, 4, METRIC), "nuts": Nuts(0.5, METRIC, max_depth=4), "elliptical": EllipticalSlice()}
NUMBERS = {"hmc": UPDATES, "nuts": 3, "elliptical": 40}  # a trajectory of NUTS forgets more in an update than the others


def white(theta):
    return (theta - EXACT.mean) @ L


def mean_square(theta):
    """The mean of w² over p, one number a draw."""
    return (white(theta) ** 2).mean(-1)


def entries_needed(bias, share=1.0):
    """n p for the power that is stated above, `share` = 1 − ρ^k of the bias being visible."""
    threshold = -ndtri(FALSE_ALARM / 2)
    return int(np.ceil(2 * ((threshold + ndtri(POWER)) / (bias * share)) ** 2))


def updated(kernel, num_updates, chains, seed):
    """Exact draws and what becomes of them."""
    rng = np.random.default_rng(seed)
    theta = EXACT.sample(rng, (chains,))
    state, streams = kernel.init(TARGET, theta), OneStream(rng, chains)
    for _ in range(num_updates):
        state, info = kernel.step(TARGET, state, streams)
    return theta, state.theta, info


def forgotten(kernel, num_updates, chains=4000):
    """1 − ρ^k, ρ^k the correlation of w² with itself over all updates, less three standard errors."""
    before, after, _ = updated(kernel, num_updates, chains, 99)
    rho = np.corrcoef((white(before) ** 2).ravel(), (white(after) ** 2).ravel())[0, 1]
    return 1 - max(rho, 0.0) - 3 / np.sqrt(chains * P)


def z_of_width(kernel, num_updates, bias, share, seed=1):
    """z of the mean of w² after the updates, with as many draws as the bias needs, in batches of 2000 chains."""
    needed, values = entries_needed(bias, share), []
    for batch in range(-(-needed // (2000 * P))):
        values.append(mean_square(updated(kernel, num_updates, 2000, [seed, batch])[1]))
    values = np.concatenate(values)
    assert len(values) * P >= needed
    return (values.mean() - 1) / np.sqrt(2 / (len(values) * P))


def test_the_target_is_dense_and_ill_conditioned():
    assert np.linalg.cond(EXACT.precision.matrix()) > 1000
    off = EXACT.precision.matrix() - np.diag(np.diag(EXACT.precision.matrix()))
    assert np.abs(off).max() > 1


@pytest.mark.parametrize("name", KERNELS)
def test_updates_leave_the_width_of_exact_draws_alone(name):
    """A stationary variance off by 2% is caught with probability 0.99, at a false alarm in a million, Eq. (metropolis)."""
    share = forgotten(KERNELS[name], NUMBERS[name])
    assert share > 0.4
    assert abs(z_of_width(KERNELS[name], NUMBERS[name], QUICK, share)) < -ndtri(FALSE_ALARM / 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", KERNELS)
def test_a_bias_of_four_per_mille_would_be_caught(name):
    """The same for 0.4%: 6.5 million entries and more."""
    share = forgotten(KERNELS[name], NUMBERS[name], 40000)
    assert abs(z_of_width(KERNELS[name], NUMBERS[name], SHIPPED, share)) < -ndtri(FALSE_ALARM / 2)


@pytest.mark.parametrize("name", KERNELS)
def test_means_and_covariances_stay_where_they_are(name):
    """Every entry of E[w] and E[wwᵀ]; a shift of 0.2 standard deviations is seen."""
    _, theta, _ = updated(KERNELS[name], NUMBERS[name] // 2, 6000, 5)
    w = white(theta)
    mean_agrees(w, 0.0, 0.2)
    mean_agrees(np.einsum("ci,cj->cij", w, w), np.eye(P), 0.4)


SKEWED = LogGamma(np.array([[1.0, 0.4, 0.0], [-0.3, 0.5, 0.2], [0.1, 0.0, 2.0]]), np.array([0.8, 3.0, 1.5]))
MODES = Mixture(np.array([0.2, 0.5, 0.3]), np.array([[-3.0, 0.0], [0.5, 1.0], [3.0, -1.0]]), 0.7)


@pytest.mark.parametrize("target", [SKEWED, MODES], ids=["skewed", "three modes"])
@pytest.mark.parametrize("name", ["hmc", "nuts"])
def test_skewed_and_multimodal_densities_are_left_alone(target, name):
    """Means, second moments and bounded functions, from exact draws; a shift of a quarter of a standard deviation is seen."""
    rng, p, chains = np.random.default_rng(7), target.num_params, 6000
    kernel = {"hmc": Hmc(0.4, 4, Dense(np.eye(p) + 0.3)), "nuts": Nuts(0.4, Dense(np.eye(p) + 0.3))}[name]
    statistics = lambda theta: np.concatenate([theta, theta**2, theta[:, :1] * theta[:, 1:], np.tanh(theta)], axis=1)
    state, streams = kernel.init(target, target.sample(rng, chains)), OneStream(rng, chains)
    for _ in range(5):
        state, _ = kernel.step(target, state, streams)
    many = statistics(target.sample(np.random.default_rng(8), 10**6))
    spread = many.std(0)
    mean_agrees(statistics(state.theta) / spread, many.mean(0) / spread, 0.25)


# -- planted faults, each a bug that was once shipped somewhere ------------------------------------------------------------


class AlwaysAccepts(Hmc):
    """Metropolis forgotten."""

    def step(self, target, state, streams):
        point, step_size = self.with_momentum(state, streams), np.full(len(state.theta), self.step_size)
        for _ in range(self.num_steps):
            point = leapfrog(target, self.metric, point, step_size)
        return hmc.State(point.theta, point.log_prob, point.gradient), None


def test_without_metropolis_the_variance_is_that_of_the_shadow():
    """1/(1 − ε²/4) for ε in units of the standard deviation: the bias has the sign and size of theory.

    Eq. (shadow-variance).
    """
    _, theta, _ = updated(AlwaysAccepts(0.4, 4, METRIC), 12, 20000, 3)
    mean_agrees(mean_square(theta), 1 / (1 - 0.4**2 / 4), 0.022)


def test_always_accepting_is_caught_at_two_per_cent():
    """ε = 0.28 makes the variance 2.0% too large: what the quick test is built to see, it sees."""
    kernel = AlwaysAccepts(0.28, 5, METRIC)
    assert z_of_width(kernel, UPDATES, QUICK, forgotten(kernel, UPDATES)) > -ndtri(FALSE_ALARM / 2)


@pytest.mark.slow
def test_always_accepting_is_caught_at_four_per_mille():
    """ε = 0.1263: 0.4% too large."""
    kernel = AlwaysAccepts(0.1263, 12, METRIC)
    assert z_of_width(kernel, UPDATES, SHIPPED, forgotten(kernel, UPDATES, 40000)) > -ndtri(FALSE_ALARM / 2)


def test_averages_over_accepted_proposals_alone_are_caught():
    """The estimate leaves out what was rejected; at an acceptance of 0.7 that is off by several per cent, and 1.5% are seen."""
    kernel = replace(KERNELS["hmc"], step_size=0.9, num_steps=2)
    _, theta, info = updated(kernel, UPDATES, 40000, 4)
    assert 0.5 < info.accepted.mean() < 0.9
    kept = mean_square(theta[info.accepted])
    assert len(kept) * P >= entries_needed(0.015)
    assert abs(kept.mean() - 1) / np.sqrt(2 / (len(kept) * P)) > -ndtri(FALSE_ALARM / 2)
    assert abs(mean_square(theta).mean() - 1) / np.sqrt(2 / theta.size) < -ndtri(FALSE_ALARM / 2)


class DropsRejected(Hmc):
    """Proposes until something is accepted: rejected states are dropped."""

    def step(self, target, state, streams):
        rows = np.arange(len(state.theta))
        done = {name: value.copy() for name, value in vars(state).items()}
        while len(rows):
            part = hmc.State(*(value[rows] for value in vars(state).values()))
            after, info = super().step(target, part, streams[rows])
            for name, value in vars(after).items():
                done[name][rows[info.accepted]] = value[info.accepted]
            rows = rows[~info.accepted]
        return hmc.State(**done), None


def test_dropping_rejected_states_is_caught():
    """At an acceptance of 0.7 the width is off by more than the 2% that the quick test sees."""
    kernel = DropsRejected(0.9, 2, METRIC)
    assert abs(z_of_width(kernel, UPDATES, QUICK, 1.0)) > -ndtri(FALSE_ALARM / 2)


class WrongTriangle(Dense):
    """C = L⁻¹ in place of L⁻ᵀ."""

    def scale_matvec(self, z):
        return self.scale_transposed_matvec(z)


def test_momenta_from_the_wrong_triangle_are_caught_where_the_metric_is_dense():
    """Their covariance is (LᵀL)⁻¹ and not (LLᵀ)⁻¹: the width is off by more than 2%. A diagonal metric would show nothing."""
    kernel = replace(KERNELS["hmc"], metric=WrongTriangle(METRIC.matrix()))
    assert abs(z_of_width(kernel, UPDATES, QUICK, 1.0)) > -ndtri(FALSE_ALARM / 2)
    z, diagonal = np.random.default_rng(0).normal(size=(3, P)), np.diag(np.linspace(1, 2, P))
    np.testing.assert_allclose(WrongTriangle(diagonal).scale_matvec(z), Dense(diagonal).scale_matvec(z))


def test_turns_looked_for_on_the_whole_trajectory_alone_bias_the_draws(monkeypatch):
    """Without a look at sub-trees the same trajectory would not be built from each of its points: not reversible.

    On one dimension, where 20,000 chains see 7% of the variance, it is off by more than a half. Sub-trees of which some are the
    wrong ones bias the draws by too little to be seen so; the plain recursion, point by point, tells them.
    """
    def width(chains):
        target, rng = dense_normal(1, 1.0), np.random.default_rng(1)
        kernel = Nuts(0.35 / np.sqrt(target.gaussian.precision.diagonal()[0]), Dense([[1.0]]))
        state, streams = kernel.init(target, target.sample(rng, chains)), OneStream(rng, chains)
        for _ in range(3):
            state, _ = kernel.step(target, state, streams)
        w = (state.theta - target.gaussian.mean) * np.sqrt(target.gaussian.precision.diagonal())
        return ((w**2).mean() - 1) / np.sqrt(2 / chains)

    def no_look(branch, leaf, rows, momentum):
        if leaf == 0:
            branch.first[rows] = momentum
        return np.zeros(len(rows), dtype=bool)

    assert abs(width(20000)) < -ndtri(FALSE_ALARM / 2)
    monkeypatch.setattr(nuts._Branch, "_turns", no_look)
    assert width(20000) > 50


def test_streams_of_a_shard_are_seen_by_the_kernel_as_one_stream_is():
    """The stand-in of this file has the methods that kernels call, with the shapes of the real one."""
    real, fake = Streams.spawn(1, 5), OneStream(np.random.default_rng(1), 5)
    for call in (lambda s: s.normals(3), lambda s: s.uniforms(), lambda s: s.exponentials(),
                 lambda s: s[np.arange(2)].uniforms(4)):
        assert call(real).shape == call(fake).shape
