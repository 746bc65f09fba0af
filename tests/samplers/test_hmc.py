"""Hamiltonian Monte Carlo: chains that ignore each other, an exact Metropolis test, exact moments."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from refbnn.precision import Dense, Diagonal
from refbnn.samplers import Hmc, Nuts, Streams, hmc
from refbnn.samplers.leapfrog import Point, leapfrog
from tests.judge import agree, mean_agrees
from tests.samplers.targets import dense_normal
from tests.zoo import Spec

CASE = Spec((2, 3, 1), "tanh", "normal", num_data=5, prior="full").build()
P = CASE.net.num_params


def test_a_chain_does_not_depend_on_those_beside_it():
    kernel = Hmc(0.2, 5, Diagonal(np.linspace(0.5, 2, P)))
    theta = 0.5 * np.random.default_rng(0).normal(size=(7, P))
    state, streams = kernel.init(CASE.posterior, theta), Streams.spawn(1, 7)
    alone, alone_streams = kernel.init(CASE.posterior, theta[3:4]), Streams.spawn(1, 1, first=3)
    for _ in range(11):
        state, info = kernel.step(CASE.posterior, state, streams)
        alone, alone_info = kernel.step(CASE.posterior, alone, alone_streams)
        assert info.accepted[3] == alone_info.accepted[0]
    np.testing.assert_allclose(alone.theta[0], state.theta[3], rtol=1e-9)
    assert alone_streams.uniforms()[0] == streams.uniforms()[3]


def test_a_trajectory_is_one_leapfrog_step_after_another():
    """Half kicks joined between drifts: the same points but for round-off, with steps of its own for every chain."""
    metric, rng, steps = Diagonal(np.linspace(0.5, 2, P)), np.random.default_rng(1), np.linspace(0.05, 0.2, 7)
    theta, momentum = 0.5 * rng.normal(size=(2, 7, P))
    point = Point(theta, momentum, *CASE.posterior.value_and_gradient(theta))
    joined, lost = hmc.trajectory(CASE.posterior, metric, point, steps, 9)
    for _ in range(9):
        point = leapfrog(CASE.posterior, metric, point, steps)
    assert not lost.any()
    for name, value in vars(point).items():
        agree(getattr(joined, name), value, terms=9 * P, condition=100)


@dataclass
class Counting:
    """A target that counts what it is asked for; `gradient` only if there is one."""

    target: object
    asked: list = field(default_factory=list)

    def value_and_gradient(self, theta):
        self.asked.append("both")
        return self.target.value_and_gradient(theta)


class CountingGradient(Counting):
    def gradient(self, theta):
        self.asked.append("gradient")
        return self.target.gradient(theta)


def test_only_the_end_of_a_trajectory_needs_its_density():
    """And a target that has no gradient of its own gives the same."""
    theta, momentum = np.random.default_rng(1).normal(size=(2, 3, P))
    begin = Point(theta, momentum, *CASE.posterior.value_and_gradient(theta))
    ends = []
    for kind, asked in ((CountingGradient, [*4 * ["gradient"], "both"]), (Counting, 5 * ["both"])):
        target = kind(CASE.posterior)
        ends.append(hmc.trajectory(target, Diagonal(np.ones(P)), begin, np.full(3, 0.05), 5)[0])
        assert target.asked == asked
    agree(ends[0].theta, ends[1].theta, terms=5 * P, condition=100)
    agree(ends[0].log_prob, ends[1].log_prob, terms=5 * P, condition=100)


def test_a_chain_that_is_lost_on_the_way_leaves_the_others_alone():
    metric, steps = Diagonal(np.ones(P)), np.array([0.05, 1e150, 0.05])
    theta, momentum = np.random.default_rng(1).normal(size=(2, 3, P))
    begin = Point(theta, momentum, *CASE.posterior.value_and_gradient(theta))
    end, lost = hmc.trajectory(CASE.posterior, metric, begin, steps, 7)
    assert lost.tolist() == [False, True, False]
    kept = ~lost
    alone, _ = hmc.trajectory(CASE.posterior, metric, begin.at(kept), steps[kept], 7)
    agree(end.theta[kept], alone.theta, terms=7 * P, condition=100)
    assert np.isfinite(end.theta).all() and np.isfinite(end.log_prob).all()


@pytest.mark.parametrize("name", ["hmc", "nuts"])
def test_the_energy_told_is_that_of_the_state_and_a_fresh_momentum(name):
    """H + log p(θ) before the update is half of a χ² with as many degrees of freedom as parameters."""
    target = dense_normal(5, 20.0)
    kernel = {"hmc": Hmc(0.2, 3, Dense(np.eye(5) + 0.3)), "nuts": Nuts(0.2, Dense(np.eye(5) + 0.3), max_depth=3)}[name]
    state = kernel.init(target, target.sample(np.random.default_rng(0), 9000))
    _, info = kernel.step(target, state, Streams.spawn(2, 9000))
    mean_agrees(2 * (info.energy + state.log_prob) / 5, 1.0, 0.1)


def test_the_mean_of_exp_minus_the_energy_error_is_one_at_stationarity():
    """From exact draws of a Gaussian and a step that accepts about 0.8, Eq. (exp-energy)."""
    target = dense_normal(5, 20.0)
    kernel = Hmc(0.35, 3, Diagonal(np.ones(5)), jitter=0.0)
    draws = target.sample(np.random.default_rng(0), 40000)
    _, info = kernel.step(target, kernel.init(target, draws), Streams.spawn(0, len(draws)))
    assert 0.5 < info.acceptance.mean() < 0.95
    mean_agrees(np.exp(-info.energy_error), 1.0, 0.15)
    assert info.energy_error.mean() > 0


def test_moments_of_a_dense_ill_conditioned_gaussian_are_exact():
    target = dense_normal(3, 50.0)
    kernel = Hmc(0.2, 13, Dense(np.eye(3)), jitter=0.3)
    chains, streams = 2000, Streams.spawn(5, 2000)
    state = kernel.init(target, np.zeros((chains, 3)))
    for _ in range(60):
        state, _ = kernel.step(target, state, streams)
    white = (state.theta - target.gaussian.mean) @ np.linalg.cholesky(target.gaussian.precision.matrix())
    mean_agrees(white, 0.0, 0.3)
    mean_agrees(np.einsum("ci,cj->cij", white, white), np.eye(3), 0.5)


def test_a_lost_trajectory_is_rejected_and_leaves_the_chain_where_it_was():
    kernel = Hmc(1e3, 17, Diagonal(np.ones(P)))
    state = kernel.init(CASE.posterior, np.zeros((3, P)))
    after, info = kernel.step(CASE.posterior, state, Streams.spawn(2, 3))
    assert info.diverged.all() and not info.accepted.any() and (info.acceptance == 0).all()
    assert np.array_equal(after.theta, state.theta) and np.array_equal(after.gradient, state.gradient)


def test_streams_are_those_that_a_seed_sequence_spawns_and_go_on_after_a_rest():
    spawned = [np.random.default_rng(s).random() for s in np.random.SeedSequence(3).spawn(5)]
    assert Streams.spawn(3, 5).uniforms().tolist() == spawned
    streams = Streams.spawn(3, 5)
    streams.normals(2)
    resumed = Streams.restore(streams.save())
    assert np.array_equal(streams.permutations(7), resumed.permutations(7))
    assert np.array_equal(streams.integers(9), resumed.integers(9))
    assert np.array_equal(streams[np.array([4, 1])].uniforms(3), resumed.uniforms(3)[[4, 1]])


@pytest.mark.parametrize("change, message", [
    ({"step_size": 0.0}, "step_size: expected a positive number, got 0"), ({"num_steps": 0}, "num_steps: expected"),
    ({"metric": np.eye(2)}, "metric: expected an object with"), ({"jitter": 1.0}, "jitter: expected a number in"),
])
def test_bad_settings_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Hmc(**{"step_size": 0.1, "num_steps": 3, "metric": Diagonal(np.ones(2)), **change})


class Cliff:
    """Flat, but at the first gradient that is asked for on the way."""

    num_params, asked = 2, 0

    def value_and_gradient(self, theta):
        return np.zeros(len(theta)), np.zeros_like(theta)

    def gradient(self, theta):
        self.asked += 1
        steep = np.zeros_like(theta)
        steep[0] = 1e300 if self.asked == 1 else 0.0
        return steep


def test_a_chain_that_was_lost_on_the_way_is_lost_although_its_end_is_finite():
    point = Point(np.zeros((3, 2)), np.ones((3, 2)), np.zeros(3), np.zeros((3, 2)))
    end, lost = hmc.trajectory(Cliff(), Diagonal(np.ones(2)), point, np.full(3, 0.1), 4)
    assert lost.tolist() == [True, False, False] and np.isfinite(end.theta).all()


def test_a_chain_that_was_lost_on_the_way_stays_where_it_was():
    kernel = Hmc(0.1, 4, Diagonal(np.ones(2)))
    state = kernel.init(Cliff(), np.zeros((3, 2)))
    state, info = kernel.step(Cliff(), state, Streams.spawn(5, 3))
    assert info.accepted.tolist() == [False, True, True] and info.diverged.tolist() == [True, False, False]
    assert not state.theta[0].any() and state.theta[1:].all()
