"""The contracted fourth derivative of the loss: jets through the network, differences of the likelihood alone."""

from __future__ import annotations

import math

import numpy as np
import pytest

from refbnn import Linearised, Loss, Mlp, activations, fourth, likelihoods, third
from refbnn.networks import jets
from refbnn.subnetwork import Subnetwork
from refbnn.testing import taylor_order, tolerance
from tests import oracles
from tests.judge import agree, norm_or_one
from tests.test_expansion import tensors
from tests.test_third import radius_for, rows_for, unit
from tests.zoo import EVERY, SMOOTH, Spec, law

# -- jets -------------------------------------------------------------------------------------------------------------------


@law(activation=SMOOTH)
def test_a_jet_has_the_derivatives_of_the_outputs_along_a_line(spec):
    """Eq. (fourth-jet), against Cauchy's integral of the plain network in complex numbers."""
    case = spec.build()
    u = unit(case.vector)
    radius = radius_for(case, u)
    expected = oracles.cauchy_derivatives(lambda t: oracles.forward(spec, case.theta + t * u, case.X), 4, radius)
    size = norm_or_one(expected[0]) + 1
    for m, found in enumerate(case.net.evaluate(case.theta, case.X).jet(u), start=1):
        agree(found, expected[m], terms=64 * case.terms, condition=math.factorial(m) / radius**m, scale=size)


@law()
def test_a_jet_along_many_lines_is_the_jet_along_each_and_begins_as_the_tangent_and_the_bend(spec):
    case = spec.build()
    at, rows = case.net.evaluate(case.theta, case.X), rows_for(case)
    together = at.jet(rows)
    for i, u in enumerate(rows):
        for whole, one in zip(together, at.jet(u)):
            agree(whole[i], one, terms=case.terms, scale=norm_or_one(one))
    agree(together[0], at.jvp(rows), terms=case.terms, scale=norm_or_one(together[0]))
    agree(together[1], at.bend(rows), terms=case.terms, scale=norm_or_one(together[1]))


def test_a_tangent_goes_on_straight_and_a_part_moves_as_the_whole_does_along_its_directions():
    case = Spec((2, 3, 2)).build()
    chosen, u = np.array([1, 4, 9]), np.zeros((5, 17))
    u[:, chosen] = np.random.default_rng(0).normal(size=(5, 3))
    whole = case.net.evaluate(case.theta, case.X).jet(u)
    part = Subnetwork(case.net, case.theta, chosen).evaluate(case.theta[chosen], case.X).jet(u[:, chosen])
    assert all(np.array_equal(one, other) for one, other in zip(part, whole))
    first, *rest = Linearised(case.net, at=case.theta).evaluate(case.vector, case.X).jet(u)
    assert np.array_equal(first, whole[0]) and not np.any(rest)


# -- the contraction --------------------------------------------------------------------------------------------------------


def the_contraction_is_that_of_plain_derivatives(spec):
    """Eqs. (fourth-line), (fourth-polarisation), (likelihood-fourth), against Cauchy's integral of plain backpropagation."""
    case = spec.build()
    V = 0.3 * rows_for(case)
    _, U4, round_off = tensors(case, V)
    value, error = fourth.contraction(case.loss, case.theta, V)
    assert abs(value - U4.sum()) <= 8 * round_off[1] + error + tolerance(case.terms, 100) * np.abs(U4).sum()
    assert abs(U4.sum()) > 1000 * (8 * round_off[1] + error), "nothing seen"


@pytest.mark.parametrize("likelihood", EVERY)
def test_the_contraction_is_that_of_plain_derivatives_whatever_the_likelihood(likelihood):
    the_contraction_is_that_of_plain_derivatives(Spec((2, 2, 2), "tanh", likelihood, num_data=5, seed=3))


@pytest.mark.parametrize("spec", [
    Spec((2, 3, 2, 2), ("gelu", "sin"), "categorical", num_data=5, seed=1), Spec((1, 2, 1), "softplus", "normal", bias=False),
    Spec((2, 3, 1), "silu", "poisson", num_data=1, seed=4), Spec((3, 1), (), "student_t", num_data=11, seed=2),
], ids=str)
def test_the_contraction_is_that_of_plain_derivatives_whatever_the_network(spec):
    the_contraction_is_that_of_plain_derivatives(spec)


def differences(case, V, h):
    """Eq. (fourth-contraction): Σ_j v_j · [t(θ + h v_j) − t(θ − h v_j)]/2h, t = Σ_i ∇³L[v_i, v_i]: the second route."""
    t = [[third.trace_gradient_of_hessian(case.loss, case.theta + step * v, V) for step in (h, -h)] for v in V]
    return sum(v @ (ahead - behind) for v, (ahead, behind) in zip(V, t)) / (2 * h)


@pytest.mark.parametrize("spec", [Spec((2, 3, 2), "tanh", "categorical"), Spec((2, 2, 2, 1), "sigmoid", "poisson", seed=2)],
                         ids=str)
def test_differences_of_the_third_derivative_approach_it_with_order_two(spec):
    case = spec.build()
    V = rows_for(case)
    value, _ = fourth.contraction(case.loss, case.theta, V)
    order = taylor_order(lambda h: differences(case, V, h) - value, [2.0**-j for j in range(5, 9)])
    assert abs(order - 2) < 0.1


# -- where differences through the network go wrong -------------------------------------------------------------------------


def near_a_kink(distance):
    """A rectified 1-2-1 network, Normal noise, with the kink of either unit so far from a datum; and the gates of the units."""
    X, y = np.array([[-1.0], [0.4], [0.7], [1.3]]), np.array([[0.3], [-0.2], [1.1], [0.6]])
    W, b = np.array([[1.1], [-0.9]]), np.array([-1.1 * 0.4 + distance, 0.9 * 0.7 - distance])
    net = Mlp((1, 2, 1), activations.relu)
    loss = Loss(net, likelihoods.Normal(0.37), X, y)
    return loss, net.flatten([(W, b), (np.array([[0.8, -1.2]]), np.array([0.1]))]), X @ W.T + b > 0


def the_kink_does_not_matter(distance):
    """With gates g fixed f is bilinear, Q(w) = 3 Σ (wᵀ∇²f w)²/σ²: Σ_ij U_iijj = Σ_n [(tr B_n)² + 2 tr B_n²]/σ², B = V∇²f Vᵀ."""
    loss, theta, gates = near_a_kink(distance)
    V = np.random.default_rng(5).normal(size=(7, 7))
    expected = 0.0
    for x, g in zip(loss.X[:, 0], gates):
        bend = np.zeros((7, 7))  # θ = (w_1, w_2, b_1, b_2, v_1, v_2, c)
        for j in range(2):
            bend[j, 4 + j] = bend[4 + j, j] = g[j] * x
            bend[2 + j, 4 + j] = bend[4 + j, 2 + j] = g[j]
        B = V @ bend @ V.T
        expected += (np.trace(B) ** 2 + 2 * np.trace(B @ B)) / 0.37
    value, error = fourth.contraction(loss, theta, V)
    agree(value, expected, terms=1000)
    assert error == 0


@pytest.mark.parametrize("distance", [0.1, 1e-3, 1e-9])
def test_it_does_not_matter_how_near_a_kink_is(distance):
    the_kink_does_not_matter(distance)


SCALARS = {  # likelihood, f, y and ℓ⁗ in closed form
    "bernoulli": (likelihoods.Bernoulli(), 0.7, 1.0, lambda f: (s := 1 / (2 + 2 * np.cosh(f))) * (1 - 6 * s)),
    "saturated bernoulli": (likelihoods.Bernoulli(), 40.0, 1.0, lambda f: np.exp(-f)),
    "poisson": (likelihoods.Poisson(), 11.0, 7.0, np.exp),
    "narrow student": (likelihoods.StudentT(1e-5, 3.0), 0.4, 0.4, lambda f: -24 / 9e-20),
    "tempered poisson": (likelihoods.Tempered(likelihoods.Poisson(), 0.25), -2.0, 1.0, lambda f: 4 * np.exp(f)),
}


def the_error_of_differences_is_not_exceeded(name):
    likelihood, f, y, exact = SCALARS[name]
    loss = Loss(Mlp((1, 1), (), bias=False), likelihood, np.ones((1, 1)), np.array([[y]]))
    for width in (1e-3, 1.0, 1e4):
        value, error = fourth.contraction(loss, np.array([f]), np.array([[width]]))
        expected = exact(f) * width**4
        assert abs(value - expected) <= error + tolerance(10) * abs(expected)
        assert error < 1e-7 * abs(expected)


@pytest.mark.parametrize("name", SCALARS)
def test_the_estimated_error_is_not_exceeded_however_wide_the_posterior_and_narrow_the_likelihood(name):
    """Eq. (likelihood-fourth)."""
    the_error_of_differences_is_not_exceeded(name)


def test_bad_rows_are_refused():
    case = Spec((2, 3, 1)).build()
    with pytest.raises(ValueError, match="V: expected shape"):
        fourth.contraction(case.loss, case.theta, np.ones(13))
    with pytest.raises(ValueError, match="theta: expected shape"):
        fourth.contraction(case.loss, case.theta[1:], np.ones((1, 13)))


# -- planted faults ---------------------------------------------------------------------------------------------------------

true_composed, true_of_network = jets._composed, fourth._of_network
SPEC = Spec((2, 3, 2, 1), "softplus", "poisson", num_data=5, seed=3)


def without_the_fourth_slope(slopes, z1, z2, z3, z4):
    *rest, last = true_composed(slopes, z1, z2, z3, z4)
    return *rest, last - slopes[3] * z1**4


def three_for_six(slopes, z1, z2, z3, z4):
    *rest, last = true_composed(slopes, z1, z2, z3, z4)
    return *rest, last - 3 * slopes[2] * z1**2 * z2


def along_rows_alone(loss, at, V):
    """The quartic form along the rows, as if mixed derivatives were none."""
    return sum(true_of_network(loss, at, v[None]) for v in V)


def by_differences(loss, theta, V):
    """What the contraction was before: central differences through the network, extrapolated."""
    case = type("Case", (), {"loss": loss, "theta": theta})
    return fourth.derivative(lambda h: (differences(case, V, h), 0.0))


FAULTS = [
    ("no φ⁗", jets, "_composed", without_the_fourth_slope, lambda: the_contraction_is_that_of_plain_derivatives(SPEC)),
    ("3 for 6 before φ‴", jets, "_composed", three_for_six, lambda: the_contraction_is_that_of_plain_derivatives(SPEC)),
    ("no mixed derivatives", fourth, "_of_network", along_rows_alone, lambda: the_contraction_is_that_of_plain_derivatives(SPEC)),
    ("ℓ⁗ left out", fourth, "_of_likelihood", lambda loss, f, tangents: (0.0, 0.0),
     lambda: the_contraction_is_that_of_plain_derivatives(SPEC)),
    ("differences across a kink", fourth, "contraction", by_differences, lambda: the_kink_does_not_matter(1e-3)),
    ("units of the outputs for those of the likelihood", fourth, "_units", lambda F, e, f: np.ones(e.shape[:2]),
     lambda: the_error_of_differences_is_not_exceeded("narrow student")),
    ("one difference, no extrapolation", fourth, "derivative", lambda difference: (difference(fourth.FIRST_STEP)[0], 0.0),
     lambda: the_error_of_differences_is_not_exceeded("bernoulli")),
]


@pytest.mark.parametrize("holder, name, fault, holds", [pytest.param(*row[1:], id=row[0]) for row in FAULTS])
def test_a_planted_fault_breaks_its_law(holder, name, fault, holds, monkeypatch):
    holds()
    monkeypatch.setattr(holder, name, fault)
    with pytest.raises(AssertionError):
        holds()
