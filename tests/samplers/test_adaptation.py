"""Warm-up: what it finds, that it is frozen afterwards, and that a sampler that goes on adapting is caught."""

from __future__ import annotations

import math

import numpy as np
import pytest

from refbnn.precision import Diagonal
from refbnn.samplers import Hmc, Nuts, Streams, WithMoves, adapt, adaptation, run
from tests.judge import mean_agrees
from tests.samplers.targets import dense_normal

TARGET = dense_normal(3, 100.0)
CHAINS = 23


@pytest.mark.parametrize("kernel", [Nuts(3.0, Diagonal(np.ones(3))), Hmc(3.0, 7, Diagonal(np.ones(3)))], ids=["nuts", "hmc"])
def test_warm_up_finds_the_covariance_and_a_step_that_accepts_as_wished(kernel):
    """In coordinates in which the covariance is I the metric is I within 0.3: thousands of draws."""
    found = adapt(kernel, TARGET, np.zeros((CHAINS, 3)), 400, 1, metric=adaptation.dense, acceptance=0.7)
    L = np.linalg.cholesky(TARGET.gaussian.precision.matrix())
    assert np.abs(L.T @ found.kernel.metric.matrix() @ L - np.eye(3)).max() < 0.3
    drawn = run(found.kernel, TARGET, found.theta, 100, 2)
    assert abs(drawn.info["acceptance"].mean() - 0.7) < 0.12
    assert found.step_sizes.shape == (400,) and len(set(found.step_sizes)) > 100


def test_the_diagonal_metric_has_the_variances():
    found = adapt(Nuts(0.1, Diagonal(np.ones(3))), TARGET, np.zeros((CHAINS, 3)), 200, 1)
    assert np.abs(found.kernel.metric.diagonal() / np.diag(TARGET.gaussian.covariance()) - 1).max() < 0.4


def test_nothing_adapts_after_the_warm_up():
    """Bit for bit: the run after a warm-up is the run of a kernel made from its numbers, and the kernel is what it was."""
    found = adapt(Nuts(0.1, Diagonal(np.ones(3))), TARGET, np.zeros((CHAINS, 3)), 60, 1)
    before = found.kernel.step_size, found.kernel.metric.diagonal().tobytes()
    after = run(found.kernel, TARGET, found.theta, 50, 2)
    made = Nuts(before[0], Diagonal(np.frombuffer(before[1])))
    assert np.array_equal(run(made, TARGET, found.theta, 50, 2).draws, after.draws)
    assert (found.kernel.step_size, found.kernel.metric.diagonal().tobytes()) == before
    with pytest.raises(AttributeError):
        found.kernel.step_size = 1.0


def test_the_streams_of_the_warm_up_are_not_those_of_the_run():
    warm_up, drawing = Streams.spawn(1, 5, stage=(0,)), Streams.spawn(1, 5)
    assert not np.intersect1d(warm_up.uniforms(20), drawing.uniforms(20)).size


@pytest.mark.parametrize("num_updates, first, ends", [
    (1000, 75, [100, 150, 250, 450, 950]), (150, 75, [100]), (160, 75, [110]), (40, 6, [36]), (1, 0, [1])])
def test_windows_double_and_the_last_takes_what_is_left(num_updates, first, ends):
    assert adaptation.windows(num_updates) == (first, ends)


def test_dual_averaging_is_the_recursion_of_the_paper():
    """Hoffman and Gelman (2014), equation 6, written out: H̄, log ε, log ε̄ after each of a few updates.

    Eq. (dual-averaging).
    """
    tuner, seen, mu, h, average = adaptation.DualAveraging.starting(0.3, 0.8), [0.2, 0.9, 0.7, 0.85], math.log(3.0), 0.0, 0.0
    for t, acceptance in enumerate(seen, 1):
        tuner = tuner.updated(acceptance)
        h = (1 - 1 / (t + 10)) * h + (0.8 - acceptance) / (t + 10)
        x = mu - math.sqrt(t) / 0.05 * h
        average = t**-0.75 * x + (1 - t**-0.75) * average
        assert math.isclose(tuner.log_step, x, rel_tol=1e-12) and math.isclose(tuner.log_average, average, rel_tol=1e-12)


def test_a_target_without_a_scale_is_refused():
    class Flat:
        num_params = 2

        def value_and_gradient(self, theta):
            return np.zeros(len(theta)), np.zeros_like(theta)

    with pytest.raises(ValueError, match="expected one with a scale"):
        adapt(Nuts(0.1, Diagonal(np.ones(2))), Flat(), np.zeros((3, 2)), 10, 1)


def test_a_step_after_which_the_density_is_not_a_number_counts_as_refused():
    """The density of Exponential(1) in two coordinates, 0 where one is negative: from a step that leaves it the first guess goes
    down, and to one that would not."""
    class Positive:
        num_params = 2

        def value_and_gradient(self, theta):
            return np.where((theta > 0).all(-1), -theta.sum(-1), np.nan), -np.ones_like(theta)

    start = np.ones((CHAINS, 2))
    kernel, streams = Nuts(64.0, Diagonal(np.ones(2))), Streams.spawn(1, CHAINS)
    found = adaptation.first_step_size(kernel, Positive(), kernel.init(Positive(), start), streams)
    assert 0.25 <= found <= 4.0


def test_kernels_without_a_step_size_are_refused():
    with pytest.raises(ValueError, match="kernel: expected an object with"):
        adapt(WithMoves(Nuts(0.1, Diagonal(np.ones(3))), lambda theta, streams: theta), TARGET, np.zeros((3, 3)), 10, 1)


@pytest.mark.parametrize("chains, num_updates, changes, message", [
    (1, 1, {}, "num_updates: expected enough for a window of 2 draws, got 1 of 1 chains"),
    (1, 2, {}, "num_updates: expected enough for a window of 2 draws"), (0, 10, {}, "start: expected at least one chain"),
    (3, 10, {"acceptance": 2.0}, "acceptance: expected a number between 0 and 1, got 2.0"),
    (3, 10, {"acceptance": 0.0}, "acceptance: expected a number between 0 and 1"),
    (3, 10, {"seed": -1}, "seed: expected an integer >= 0"),
    (3, 10, {"kernel": Nuts(0.1, Diagonal(np.ones(2)))}, "metric: expected 3 parameters as the target has, got 2")])
def test_warm_ups_that_cannot_be_are_refused(chains, num_updates, changes, message):
    arguments = {"kernel": Nuts(0.1, Diagonal(np.ones(3))), "seed": 1, **changes}
    with pytest.raises(ValueError, match=message):
        adapt(target=TARGET, start=np.zeros((chains, 3)), num_updates=num_updates, **arguments)


@pytest.mark.parametrize("chains, num_updates", [(1, 3), (2, 1)])
def test_the_shortest_warm_ups_give_a_metric(chains, num_updates):
    found = adapt(Nuts(0.1, Diagonal(np.ones(3))), TARGET, np.ones((chains, 3)), num_updates, 1)
    assert (found.kernel.metric.diagonal() > 0).all()


def test_adaptation_that_is_never_frozen_is_caught():
    """A step size that follows the state of its own chain: long steps where it is flat, so that chains linger elsewhere.

    With 4000 chains a second moment off by a quarter of a standard deviation is seen.
    """
    target, streams = dense_normal(1, 1.0), Streams.spawn(3, 4000)
    white = lambda theta: (theta - target.gaussian.mean) * np.sqrt(target.gaussian.precision.diagonal())
    theta = target.sample(np.random.default_rng(0), 4000)
    state = Hmc(0.5, 3, Diagonal(np.ones(1))).init(target, theta)
    for _ in range(40):
        outside = np.abs(white(state.theta)[:, 0]) > 1.0
        far, _ = Hmc(0.1, 1, Diagonal(np.ones(1))).step(target, state, streams)
        near, _ = Hmc(0.7, 3, Diagonal(np.ones(1))).step(target, state, streams)
        state = type(state)(*(np.where(outside.reshape(-1, *[1] * (a.ndim - 1)), a, b)
                              for a, b in zip(vars(far).values(), vars(near).values())))
    with pytest.raises(AssertionError, match="z"):
        mean_agrees(white(state.theta) ** 2, 1.0, 0.35)
