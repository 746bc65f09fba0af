"""The no-U-turn sampler against a plain recursion on the same random numbers, and what its trees are."""

from __future__ import annotations

import numpy as np
import pytest

from refbnn.precision import Dense, Diagonal
from refbnn.samplers import Nuts, Streams
from refbnn.samplers import nuts
from tests.judge import mean_agrees
from tests.samplers.targets import Mixture, dense_normal
from tests.zoo import Spec

CASE = Spec((2, 3, 1), "tanh", "normal", num_data=5, prior="full").build()


class Recursion:
    """One update of one chain, tree by tree as in the papers, all points kept in lists."""

    def __init__(self, target, metric, step_size, max_depth):
        self.target, self.metric, self.step_size, self.max_depth = target, metric.matrix(), step_size, max_depth

    def leap(self, point, step):
        theta, r = point
        r = r + step / 2 * self.gradient(theta)
        theta = theta + step * self.metric @ r
        return theta, r + step / 2 * self.gradient(theta)

    def gradient(self, theta):
        return self.target.value_and_gradient(theta[None])[1][0]

    def energy(self, point):
        return point[1] @ self.metric @ point[1] / 2 - self.target.value_and_gradient(point[0][None])[0][0]

    def turned(self, points):
        """Whether a list of adjacent points, as two halves and joined, turns."""
        half = len(points) // 2
        for stretch in (points, points[:half + 1], points[half - 1:]):
            rho = self.metric @ sum(r for _, r in stretch)
            if stretch[0][1] @ rho <= 0 or stretch[-1][1] @ rho <= 0:
                return True
        return False

    def grow(self, edge, step, depth):
        """2^depth points that go on from an edge, nearest first, and whether the tree and all its sub-trees are sound."""
        if depth == 0:
            point = self.leap(edge, step)
            return [point], self.energy(point) - self.begin <= 1000
        near, sound = self.grow(edge, step, depth - 1)
        if not sound:
            return near, False
        far, sound = self.grow(near[-1], step, depth - 1)
        return near + far, sound and not self.turned(near + far)

    def update(self, theta, r, draw):
        """The next θ and the depth; draw(k) are k uniform numbers."""
        self.begin = self.energy((theta, r))
        points, chosen, weight = [(theta, r)], theta, 1.0
        for depth in range(self.max_depth):
            numbers = draw(2 + 2**depth)
            forward = numbers[0] < 0.5
            branch, sound = self.grow(points[-1 if forward else 0], self.step_size if forward else -self.step_size, depth)
            if not sound:
                return chosen, depth
            candidate, total = None, 0.0
            for point, number in zip(branch, numbers[2:]):
                own = np.exp(self.begin - self.energy(point))
                total += own
                candidate = point[0] if number < own / total else candidate
            chosen = candidate if numbers[1] < total / weight else chosen
            weight += total
            points = points + branch if forward else branch[::-1] + points
            if self.turned(points):
                return chosen, depth + 1
        return chosen, self.max_depth


@pytest.mark.parametrize("target, step_size", [
    (CASE.posterior, 0.13), (dense_normal(3, 30.0), 0.4), (dense_normal(3, 30.0), 0.08),
    (Mixture(np.array([0.3, 0.7]), np.array([[-2.0, 0.5], [2.0, 0.0]]), 0.8), 0.5)])
def test_all_chains_at_once_are_the_recursion_one_by_one(target, step_size):
    """Eqs. (u-turn), (multinomial)."""
    chains, p = 17, target.num_params
    A = np.random.default_rng(3).normal(size=(p, p))
    metric = Dense(A @ A.T / p + np.eye(p))
    kernel, theta = Nuts(step_size, metric, max_depth=6), 0.5 * np.random.default_rng(0).normal(size=(chains, p))
    state, streams, own = kernel.init(target, theta), Streams.spawn(7, chains), Streams.spawn(7, chains)
    recursion, depths = Recursion(target, metric, step_size, 6), set()
    for _ in range(3):
        before = state.theta
        state, info = kernel.step(target, state, streams)
        for i, generator in enumerate(own.generators):
            r = metric.scale_matvec(generator.standard_normal(p))
            expected, depth = recursion.update(before[i], r, generator.random)
            np.testing.assert_allclose(state.theta[i], expected, rtol=1e-8, atol=1e-10)
            assert info.depth[i] == depth
            depths.add(depth)
    assert len(depths) > 1


def test_a_criterion_on_the_wrong_blocks_is_seen_by_the_recursion(monkeypatch):
    """Blocks that start one point late: the fault that breaks reversibility and that no run of a chain shows at a glance."""
    true = nuts._Branch._turns
    monkeypatch.setattr(nuts._Branch, "_turns", lambda self, leaf, rows, momentum: true(self, leaf + 1, rows, momentum))
    with pytest.raises(AssertionError):
        test_all_chains_at_once_are_the_recursion_one_by_one(dense_normal(3, 30.0), 0.08)


def test_a_chain_does_not_depend_on_those_beside_it():
    kernel, theta = Nuts(0.2, Diagonal(np.linspace(0.5, 2, 13))), 0.5 * np.random.default_rng(0).normal(size=(7, 13))
    state, streams = kernel.init(CASE.posterior, theta), Streams.spawn(1, 7)
    alone, alone_streams = kernel.init(CASE.posterior, theta[3:4]), Streams.spawn(1, 1, first=3)
    for _ in range(5):
        state, info = kernel.step(CASE.posterior, state, streams)
        alone, alone_info = kernel.step(CASE.posterior, alone, alone_streams)
        assert info.depth[3] == alone_info.depth[0]
    np.testing.assert_allclose(alone.theta[0], state.theta[3], rtol=1e-7)
    assert alone_streams.uniforms()[0] == streams.uniforms()[3]


def test_moments_of_a_dense_ill_conditioned_gaussian_are_exact():
    target = dense_normal(3, 50.0)
    state, streams = Nuts(0.2, Diagonal(np.ones(3))).init(target, np.zeros((2000, 3))), Streams.spawn(5, 2000)
    for _ in range(12):
        state, _ = Nuts(0.2, Diagonal(np.ones(3))).step(target, state, streams)
    white = (state.theta - target.gaussian.mean) @ np.linalg.cholesky(target.gaussian.precision.matrix())
    mean_agrees(white, 0.0, 0.3)
    mean_agrees(np.einsum("ci,cj->cij", white, white), np.eye(3), 0.5)


def test_trajectories_that_diverge_end_and_leave_the_chain_where_it_was():
    kernel = Nuts(1e3, Diagonal(np.ones(13)))
    state = kernel.init(CASE.posterior, np.zeros((3, 13)))
    after, info = kernel.step(CASE.posterior, state, Streams.spawn(2, 3))
    assert info.diverged.all() and (info.depth == 0).all() and (info.num_gradients == 1).all() and (info.acceptance == 0).all()
    assert np.array_equal(after.theta, state.theta)


def test_a_trajectory_has_at_most_the_length_that_was_allowed():
    state = Nuts(1e-4, Diagonal(np.ones(13)), max_depth=3).init(CASE.posterior, np.zeros((3, 13)))
    _, info = Nuts(1e-4, Diagonal(np.ones(13)), max_depth=3).step(CASE.posterior, state, Streams.spawn(2, 3))
    assert (info.depth == 3).all() and (info.num_gradients == 7).all()
    assert info.depth.dtype == info.num_gradients.dtype == int


@pytest.mark.parametrize("change, message", [
    ({"step_size": -1.0}, "step_size: expected"), ({"max_depth": 0}, "max_depth: expected"),
    ({"metric": None}, "metric: expected")])
def test_bad_settings_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Nuts(**{"step_size": 0.1, "metric": Diagonal(np.ones(2)), **change})
