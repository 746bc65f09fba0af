"""What runs in place gives the numbers of what keeps everything: one law over the zoo, whatever the blocks."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from refbnn import Linearised, Mlp, Posterior, activations
from refbnn.networks import first_order
from refbnn.networks.first_order import FirstOrder
from tests.judge import agree, condition, norm_or_one
from tests.zoo import EVERY, Spec, law


def outer(case):
    """A function of f whose derivatives are not those of any likelihood: ½ Σ w f² + Σ w sin f."""
    w = case.weights
    return lambda f: ((0.5 * w * f * f + w * np.sin(f)).sum((-1, -2)), w * f + w * np.cos(f))


@law(likelihood=EVERY)
def test_in_place_is_evaluate_and_pull_back(spec):
    case = spec.build()
    thetas = case.theta * (1 + 0.1 * np.random.default_rng(0).normal(size=(2, 3, len(case.theta))))
    for theta in (case.theta, thetas):
        at = case.net.evaluate(theta, case.X)
        values, derivatives = outer(case)(at.f)
        found, gradient = case.net.first_order(case.X).value_and_gradient(theta, outer(case))
        kappa = condition(case, lambda c: c.net.vjp(c.theta, c.X, c.weights), norm_or_one(at.vjp(derivatives)))
        agree(gradient, at.vjp(derivatives), terms=case.terms, condition=kappa, scale=norm_or_one(at.vjp(derivatives)))
        agree(found, values, terms=case.terms, condition=kappa, scale=norm_or_one(values) + np.abs(case.weights).sum())


@law()
def test_on_its_inputs_a_network_is_evaluated_as_it_is_elsewhere(spec):
    case = spec.build()
    here, elsewhere = case.net.first_order(case.X).evaluate(case.theta), case.net.evaluate(case.theta, case.X)
    assert np.array_equal(here.f, elsewhere.f) and np.array_equal(here.jacobian(), elsewhere.jacobian())


def test_blocks_of_parameters_change_nothing(monkeypatch):
    case = Spec((2, 3, 5, 1), "tanh", "normal").build()
    thetas = case.theta * (1 + 0.1 * np.random.default_rng(0).normal(size=(7, len(case.theta))))
    whole = case.net.first_order(case.X).value_and_gradient(thetas, lambda f: (f.sum((-1, -2)), np.ones_like(f)))
    monkeypatch.setattr(first_order, "BLOCK", 2 * 5 * len(case.X))
    parts = case.net.first_order(case.X).value_and_gradient(thetas, lambda f: (f.sum((-1, -2)), np.ones_like(f)))
    agree(parts[0], whole[0], terms=case.terms)
    agree(parts[1], whole[1], terms=case.terms)


@pytest.mark.parametrize("phi", [phi for phi in activations.BY_NAME.values() if phi.in_place], ids=lambda phi: phi.name)
def test_what_overwrites_is_what_does_not(phi):
    z = np.random.default_rng(0).normal(size=(3, 5))
    value, slope = phi.derivatives(z)
    overwrite, slope_in_place = phi.in_place
    room = z.copy()
    assert overwrite(room) is room and np.array_equal(room, value)
    assert slope_in_place(room) is room and np.array_equal(room, slope)


def test_theta_is_not_overwritten_and_results_are_not_shared():
    case = Spec((2, 3, 1), "tanh", "normal").build()
    before = case.theta.copy()
    first = case.posterior.value_and_gradient(case.theta)[1]
    kept = first.copy()
    case.posterior.value_and_gradient(case.theta + 1)
    assert np.array_equal(case.theta, before) and np.array_equal(first, kept)


def one_inside_the_other():
    """A gradient that is asked for while another is being computed: what a thread can do to another, without the luck."""
    case = Spec((2, 3, 1), "tanh", "normal").build()
    on_X, other = case.net.first_order(case.X), 1.1 * case.theta
    expected = case.net.vjp(case.theta, case.X, np.cos(case.net.forward(case.theta, case.X)))

    def derivatives(f):
        found = np.cos(f)
        on_X.gradient(other, np.sin)
        return found

    for _ in range(3):
        agree(on_X.gradient(case.theta, derivatives), expected, terms=case.terms, condition=10)


def copied():
    case = Spec((2, 3, 1), "tanh", "normal").build()
    on_X = case.net.first_order(case.X)
    expected = on_X.gradient(case.theta, np.cos)
    copy = pickle.loads(pickle.dumps(on_X))
    assert np.array_equal(copy.gradient(1.1 * case.theta, np.cos), on_X.gradient(1.1 * case.theta, np.cos))
    assert np.array_equal(copy.gradient(case.theta, np.cos), expected)


def test_calls_at_the_same_time_do_not_disturb_each_other():
    one_inside_the_other()


def test_a_copy_computes_what_the_original_does():
    copied()


def shared_room(on_X, num):
    """Plant: nobody takes a room away."""
    if not on_X._spare:
        on_X._spare.append(first_order._Room(on_X.layout, on_X._X, num))
    return on_X._spare[0]


@pytest.mark.parametrize("law_, name, fault", [
    (one_inside_the_other, "_take_room", shared_room), (copied, "__getstate__", lambda on_X: on_X.__dict__),
])
def test_a_room_that_is_shared_or_copied_is_caught(law_, name, fault, monkeypatch):
    monkeypatch.setattr(FirstOrder, name, fault)
    with pytest.raises(AssertionError):
        law_()


def test_other_networks_go_through_their_evaluation():
    case = Spec((2, 3, 2), "tanh", "categorical").build()
    linear = Linearised(case.net, at=case.theta + 0.1)
    post = Posterior(linear, case.likelihood, case.prior, case.X, case.y)
    at = linear.evaluate(case.theta, case.X)
    agree(post.loss.gradient(case.theta), at.vjp(case.likelihood.residual(at.f, case.y)), terms=case.terms)


@pytest.mark.parametrize("theta", [np.zeros(3), np.full(13, np.nan)])
def test_bad_parameters_are_refused(theta):
    net = Mlp((2, 3, 1), activations.tanh)
    with pytest.raises(ValueError, match="theta: expected"):
        net.first_order(np.ones((2, 2))).value_and_gradient(theta, lambda f: (f, f))
