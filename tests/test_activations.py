"""Activations and their derivatives (identities A8, A13)."""

import math
from itertools import islice

import numpy as np
import pytest

from refbnn import activations
from tests import oracles
from tests.judge import agree
from tests.zoo import ACTIVATIONS, HOMOGENEOUS, KINKED, ODD, SLOPE, SMOOTH

POINTS = np.linspace(-4.1, 4.3, 29)
RADIUS = 0.25  # of Cauchy's circle: inside the distance to the nearest pole, 0.6 for tanh GELU at 4


def derivatives_match_cauchys_integral(activation):
    """φ, φ′, φ″, φ‴, φ⁗ against derivatives of φ alone; the oracle's error for the m-th is m!·u·max|φ|/radius^m."""
    phi = oracles.PHI[activation][0]
    got = ACTIVATIONS[activation].derivatives(POINTS, 4)
    for i, z in enumerate(POINTS):
        expected = oracles.cauchy_derivatives(lambda t: phi(z + t), 4, RADIUS)
        size = max(1.0, np.abs(phi(z + RADIUS * np.exp(1j * np.arange(64)))).max())
        for m in range(5):
            agree(got[m][i], expected[m], terms=64, condition=math.factorial(m) / RADIUS**m, scale=size)


@pytest.mark.parametrize("activation", SMOOTH)
def test_derivatives_are_those_of_the_function_itself(activation):
    derivatives_match_cauchys_integral(activation)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_value_in_a_given_room_is_the_value_and_so_are_the_derivatives_after_it(activation):
    z, room = POINTS.copy(), np.empty_like(POINTS)
    expected = ACTIVATIONS[activation].derivatives(POINTS, 4)
    found = list(islice(ACTIVATIONS[activation].successive(z, room), 5))
    assert np.array_equal(z, POINTS) and np.array_equal(found, expected)


@pytest.mark.parametrize("activation", KINKED)
def test_piecewise_linear_activations_have_the_two_slopes_and_no_bend(activation):
    slope = {"relu": 0.0, "leaky_relu": SLOPE}[activation]
    z = np.array([-2.0, -1e-300, 1e-300, 3.0])
    value, first, second, third, fourth = ACTIVATIONS[activation].derivatives(z, 4)
    assert value.tolist() == [-2 * slope, -1e-300 * slope, 1e-300, 3.0]
    assert first.tolist() == [slope, slope, 1.0, 1.0]
    assert not second.any() and not third.any() and not fourth.any()


@pytest.mark.parametrize("activation, slope", [("relu", 0.0), ("leaky_relu", SLOPE)])
def test_the_derivative_at_the_kink_is_the_left_one_as_stated(activation, slope):
    value, first = ACTIVATIONS[activation].derivatives(np.zeros(1))
    assert value == 0 and first == slope


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_order_says_how_many_derivatives_come_and_each_has_the_shape_of_z(activation):
    z = np.random.default_rng(0).normal(size=(2, 3, 5))
    for order in range(5):
        values = ACTIVATIONS[activation].derivatives(z, order)
        assert len(values) == order + 1 and all(value.shape == z.shape for value in values)
        assert np.array_equal(values[0], ACTIVATIONS[activation](z))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_are_finite_up_to_a_thousand(activation):
    z = np.array([-1e3, -709.0, -40.0, -0.0, 0.0, 40.0, 709.0, 1e3])
    assert all(np.isfinite(value).all() for value in ACTIVATIONS[activation].derivatives(z, 4))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_flags_tell_the_truth(activation):
    phi, z = ACTIVATIONS[activation], POINTS
    assert phi.name == activation
    assert np.array_equal(phi(-z), -phi(z)) == phi.odd == (activation in ODD)
    homogeneous = np.allclose(phi(4 * z), 4 * phi(z), rtol=1e-14, atol=0)
    assert homogeneous == phi.homogeneous == (activation in HOMOGENEOUS)
    assert phi.smooth == (activation not in KINKED)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_derivatives_leave_their_argument_alone(activation):
    z = np.linspace(-2, 2, 7)
    z.flags.writeable = False
    for value in ACTIVATIONS[activation].derivatives(z, 4)[1:]:
        value.sum()


def test_saturated_tails_keep_their_digits():
    """Leading terms of the tails; the next term is smaller by exp(−40), below round-off, or stated."""
    sigmoid = activations.sigmoid.derivatives(np.array([-40.0]), 4)
    agree(np.ravel(sigmoid), np.full(5, math.exp(-40)), terms=4)
    p, p1, p2, p3, p4 = np.ravel(activations.sigmoid.derivatives(np.array([40.0]), 4))
    agree([p1, p2, p3, p4], math.exp(-40) * np.array([1, -1, 1, -1]), terms=4)
    agree(activations.softplus(np.array([-40.0])), [math.exp(-40)], terms=4)
    agree(activations.silu(np.array([-40.0])), [-40 * math.exp(-40)], terms=4)
    agree(activations.erf.derivatives(np.array([6.0]), 1)[1], [2 / math.sqrt(math.pi) * math.exp(-36)], terms=4, condition=72)
    agree(activations.gelu(np.array([-10.0])), [-5 * math.erfc(10 / math.sqrt(2))], terms=4, condition=100)


def test_every_activation_is_found_by_its_name():
    assert all(activations.BY_NAME[name].name == name for name in activations.BY_NAME)
    assert set(activations.BY_NAME) == set(ACTIVATIONS) - {"leaky_relu"}
    assert activations.leaky_relu(0.1).name == "leaky_relu"
