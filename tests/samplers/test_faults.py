"""Every law of the dynamics fails on the fault that it is there to detect."""

from __future__ import annotations

import numpy as np
import pytest

from refbnn.precision import Diagonal
from refbnn.samplers import hmc
from refbnn.samplers import leapfrog as module
from refbnn.samplers.leapfrog import Point
from tests.samplers import test_hmc, test_leapfrog, test_network_posteriors

TRUE, ENERGY = module.leapfrog, module.energy


def whole_kicks(target, metric, point, step_size):
    """Symplectic Euler: a whole kick before the drift, none after it."""
    step = step_size[:, None]
    momentum = point.momentum + step * point.gradient
    theta = point.theta + step * metric.matvec(momentum)
    return Point(theta, momentum, *target.value_and_gradient(theta))


def friction(target, metric, point, step_size):
    """Momenta lose a millionth in every step."""
    end = TRUE(target, metric, point, step_size)
    return Point(end.theta, end.momentum * (1 - 1e-6), end.log_prob, end.gradient)


class Longer:
    """A target whose gradient is 1% too long."""

    def __init__(self, target):
        self.num_params, self._target = target.num_params, target

    def value_and_gradient(self, theta):
        value, gradient = self._target.value_and_gradient(theta)
        return value, 1.01 * gradient


def long_gradient(target, metric, point, step_size):
    """Kicks by another density's gradient."""
    return TRUE(Longer(target), metric, Point(point.theta, point.momentum, point.log_prob, 1.01 * point.gradient), step_size)


class Inverse:
    """A metric taken for its inverse."""

    def __init__(self, metric):
        self.matvec = metric.solve


def inverse_metric(target, metric, point, step_size):
    """M where M⁻¹ belongs."""
    return TRUE(target, Inverse(metric), point, step_size)


def units_told_apart(target, metric, point, step_size):
    """A metric that is another one for every weight."""
    return TRUE(target, Diagonal(np.linspace(0.5, 2, target.num_params)), point, step_size)


FAULTS = [
    ("whole kicks where halves belong", test_leapfrog, whole_kicks,
     test_leapfrog.test_a_trajectory_with_its_momentum_reversed_comes_back),
    ("friction", test_leapfrog, friction, test_leapfrog.test_the_flow_is_symplectic_and_so_preserves_volume),
    ("whole kicks and the shadow", test_leapfrog, whole_kicks, test_leapfrog.test_on_a_quadratic_the_shadow_energy_is_conserved),
    ("a gradient that is too long", test_leapfrog, long_gradient,
     lambda: test_leapfrog.test_a_step_is_stable_below_two_over_omega(1.9)),
    ("M for its inverse", test_leapfrog, inverse_metric, test_leapfrog.test_a_metric_is_a_change_of_coordinates),
    ("a metric that tells units apart", test_network_posteriors, units_told_apart,
     test_network_posteriors.test_a_trajectory_from_an_image_is_the_image_of_the_trajectory),
    ("a whole last kick", test_hmc, whole_kicks, test_hmc.test_a_trajectory_is_one_leapfrog_step_after_another),
]


@pytest.mark.parametrize("owner, fault, law", [row[1:] for row in FAULTS], ids=[row[0] for row in FAULTS])
def test_a_planted_fault_breaks_its_law(owner, fault, law, monkeypatch):
    monkeypatch.setattr(owner, "leapfrog", fault)
    with pytest.raises(AssertionError):
        law()


ENERGIES = {
    "kinetic energy not halved": lambda metric, point: ENERGY(metric, point) + 0.5 * np.einsum(
        "cp,cp->c", point.momentum, metric.matvec(point.momentum)),
    "potential energy with the wrong sign": lambda metric, point: ENERGY(metric, point) + 2 * point.log_prob,
}


@pytest.mark.parametrize("law", [test_hmc.test_the_mean_of_exp_minus_the_energy_error_is_one_at_stationarity,
                                 lambda: test_hmc.test_the_energy_told_is_that_of_the_state_and_a_fresh_momentum("hmc")],
                         ids=["acceptance", "record"])
@pytest.mark.parametrize("fault", ENERGIES)
def test_a_wrong_energy_is_caught(fault, law, monkeypatch):
    monkeypatch.setattr(hmc, "energy", ENERGIES[fault])
    with pytest.raises(AssertionError):
        law()
