"""What runs in place gives the numbers of what keeps everything: one law over the zoo, whatever the blocks."""

from __future__ import annotations

import numpy as np
import pytest

from refbnn import Linearised, Mlp, Posterior, activations, first_order
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
