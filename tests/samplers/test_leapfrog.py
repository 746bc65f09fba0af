"""The integrator: reversible, volume-preserving, symplectic, of order two; exact laws on quadratic densities."""

from __future__ import annotations

import numpy as np
import pytest

from refbnn.precision import Dense, Diagonal
from refbnn.samplers.leapfrog import Point, energy, leapfrog, start
from refbnn.testing import taylor_order
from tests.judge import agree
from tests.samplers.targets import dense_normal
from tests.zoo import Spec

CHAINS, STEPS = 3, 7
CASE = Spec((2, 3, 1), "tanh", "normal", num_data=5, prior="full").build()
P = CASE.net.num_params


def a_metric(seed=0):
    A = np.random.default_rng(seed).normal(size=(P, P))
    return Dense(A @ A.T / P + np.eye(P))


def a_point(target=CASE.posterior, metric=None, chains=CHAINS):
    rng = np.random.default_rng(1)
    theta = 0.7 * rng.normal(size=(chains, target.num_params))
    momentum = rng.normal(size=theta.shape)
    return Point(theta, momentum, *target.value_and_gradient(theta))


def run(target, metric, point, step_size, num_steps=STEPS):
    for _ in range(num_steps):
        point = leapfrog(target, metric, point, np.full(len(point.theta), step_size))
    return point


def flow(target, metric, step_size, num_steps, phase):
    """The map of one chain's (θ, r) as one vector."""
    theta, momentum = np.split(phase[None], 2, axis=1)
    end = run(target, metric, Point(theta, momentum, *target.value_and_gradient(theta)), step_size, num_steps)
    return np.concatenate([end.theta[0], end.momentum[0]])


def jacobian_of_flow(step_size=0.11, num_steps=3):
    """By central differences of fourth order: error h⁴ beside u/h, 1e-11 or so at h = 1e-3."""
    point, metric, h = a_point(chains=1), a_metric(), 1e-3
    phase = np.concatenate([point.theta[0], point.momentum[0]])
    rows = []
    for unit in np.eye(2 * P):
        near, far = ((flow(CASE.posterior, metric, step_size, num_steps, phase + k * h * unit)
                      - flow(CASE.posterior, metric, step_size, num_steps, phase - k * h * unit)) / (2 * k * h) for k in (1, 2))
        rows.append((4 * near - far) / 3)
    return np.array(rows).T


def test_a_trajectory_with_its_momentum_reversed_comes_back():
    """Eqs. (leapfrog), (reversible)."""
    metric, begin = a_metric(), a_point()
    end = run(CASE.posterior, metric, begin, 0.1)
    back = run(CASE.posterior, metric, Point(end.theta, -end.momentum, end.log_prob, end.gradient), 0.1)
    agree(back.theta, begin.theta, terms=STEPS * P, condition=100)
    agree(-back.momentum, begin.momentum, terms=STEPS * P, condition=100)


def test_a_negative_step_undoes_a_positive_one():
    metric, begin = a_metric(), a_point()
    back = run(CASE.posterior, metric, run(CASE.posterior, metric, begin, 0.1), -0.1)
    agree(back.theta, begin.theta, terms=STEPS * P, condition=100)


def test_the_flow_is_symplectic_and_so_preserves_volume():
    """DΦᵀ Ω DΦ = Ω for a dense metric; differences are good to 1e-8 at least, the fault M for M⁻¹ costs an order of one.

    Eq. (symplectic).
    """
    D = jacobian_of_flow()
    omega = np.block([[np.zeros((P, P)), np.eye(P)], [-np.eye(P), np.zeros((P, P))]])
    assert np.abs(D.T @ omega @ D - omega).max() < 1e-8
    assert abs(np.linalg.det(D) - 1) < 1e-8


def error_after(time, step_size):
    metric, begin = a_metric(), a_point()
    end = run(CASE.posterior, metric, begin, step_size, int(round(time / step_size)))
    return energy(metric, end) - energy(metric, begin)


def test_the_energy_error_has_order_two_at_a_fixed_time_and_three_in_one_step():
    """Eqs. (energy-order), (hamiltonian)."""
    at_fixed_time = taylor_order(lambda h: error_after(1.0, h), [1 / 32, 1 / 64, 1 / 128, 1 / 256])
    in_one_step = taylor_order(lambda h: error_after(h, h), [2.0**-k for k in range(9, 14)])
    assert abs(at_fixed_time - 2) < 0.1 and abs(in_one_step - 3) < 0.1, (at_fixed_time, in_one_step)


def test_symplectic_euler_preserves_volume_and_fails_the_order():
    """The fault that only the order shows: whole kicks where halves belong."""
    def euler(target, metric, point, h):
        momentum = point.momentum + h * point.gradient
        theta = point.theta + h * metric.matvec(momentum)
        return Point(theta, momentum, *target.value_and_gradient(theta))

    def error(h):
        metric, begin = a_metric(), a_point()
        point = begin
        for _ in range(int(round(1 / h))):
            point = euler(CASE.posterior, metric, point, h)
        return energy(metric, point) - energy(metric, begin)

    assert taylor_order(error, [1 / 16, 1 / 32, 1 / 64, 1 / 128]) < 1.5


def test_on_a_quadratic_the_shadow_energy_is_conserved():
    """½r² + ½ω²(1 − ε²ω²/4)q² for one dimension, over 1000 steps, Eq. (shadow)."""
    omega, h = 1.7, 0.6
    target = _quadratic(omega)
    point = a_point(target)
    shadow = lambda at: (0.5 * at.momentum**2 + 0.5 * omega**2 * (1 - (h * omega) ** 2 / 4) * at.theta**2)[:, 0]
    before = shadow(point)
    agree(shadow(run(target, Diagonal(np.ones(1)), point, h, 1000)), before, terms=1000)


@pytest.mark.parametrize("product", [1.9, 2.1])
def test_a_step_is_stable_below_two_over_omega(product):
    """The step matrix has half-trace 1 − ε²ω²/2 and eigenvalues of modulus one iff εω < 2, Eq. (stability)."""
    omega = 1.7
    h = product / omega
    target = _quadratic(omega)
    theta, momentum = np.array([[1.0], [0.0]]), np.array([[0.0], [1.0]])
    end = run(target, Diagonal(np.ones(1)), Point(theta, momentum, *target.value_and_gradient(theta)), h, 1)
    matrix = np.hstack([end.theta, end.momentum]).T
    agree(np.trace(matrix) / 2, 1 - product**2 / 2, terms=10)
    half = product**2 / 2 - 1
    largest = half + np.sqrt(half**2 - 1) if product > 2 else 1.0
    agree(np.abs(np.linalg.eigvals(matrix)).max(), largest, terms=10)


def _quadratic(omega):
    from refbnn import Gaussian
    from tests.samplers.targets import Normal

    return Normal(Gaussian(np.zeros(1), Dense([[omega**2]])))


def test_a_metric_is_a_change_of_coordinates():
    """Momentum N(0, M) in θ is momentum N(0, I) in φ = Lᵀ θ, M = L Lᵀ: the same trajectories, Eq. (metric)."""
    target = dense_normal(5, 30.0)
    A = np.random.default_rng(3).normal(size=(5, 5))
    M = A @ A.T + np.eye(5)
    L = np.linalg.cholesky(M)

    class Moved:
        num_params = 5

        def value_and_gradient(self, phi):
            value, gradient = target.value_and_gradient(np.linalg.solve(L.T, phi.T).T)
            return value, np.linalg.solve(L, gradient.T).T

    rng = np.random.default_rng(4)
    phi, s = rng.normal(size=(2, CHAINS, 5))
    theta, momentum = np.linalg.solve(L.T, phi.T).T, s @ L.T
    moved = run(Moved(), Diagonal(np.ones(5)), Point(phi, s, *Moved().value_and_gradient(phi)), 0.1)
    metric = Dense(np.linalg.inv(M))
    plain = run(target, metric, Point(theta, momentum, *target.value_and_gradient(theta)), 0.1)
    agree(np.linalg.solve(L.T, moved.theta.T).T, plain.theta, terms=100, condition=np.linalg.cond(M))
    agree(moved.momentum @ L.T, plain.momentum, terms=100, condition=np.linalg.cond(M))
    agree(0.5 * (moved.momentum**2).sum(-1) - moved.log_prob, energy(metric, plain), terms=100, condition=np.linalg.cond(M))


@pytest.mark.parametrize("theta, message", [
    (np.zeros((2, P + 1)), "theta: expected shape"), (np.zeros(P), "theta: expected shape"), (np.full((2, P), np.nan), "finite")])
def test_starts_are_checked(theta, message):
    with pytest.raises(ValueError, match=message):
        start(CASE.posterior, theta, a_metric())


def test_a_start_without_density_is_refused():
    class Half:
        num_params = 2

        def value_and_gradient(self, theta):
            return np.where(theta[:, 0] > 0, -theta[:, 0], -np.inf), np.zeros_like(theta)

    with pytest.raises(ValueError, match="chain 1"):
        start(Half(), np.array([[1.0, 0.0], [-1.0, 0.0]]), Diagonal(np.ones(2)))
