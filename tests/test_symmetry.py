"""Symmetries of networks and the number of copies of a mode (identities F1, F2, F19)."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pytest

from refbnn import Gaussian, Linearised, Mlp, Posterior, activations, laplace, likelihoods, priors, symmetry
from refbnn.precision import Dense
from refbnn.symmetry import Group, Symmetry
from tests.judge import agree, norm_or_one
from tests.zoo import ODD, Spec, law

NETS = {
    "one layer, odd": Mlp((2, 3, 2), activations.tanh),
    "one layer, not odd": Mlp((2, 3, 1), activations.softplus),
    "two layers, odd": Mlp((1, 2, 2, 1), activations.tanh),
    "two layers, mixed": Mlp((2, 3, 2, 1), (activations.relu, activations.sin), bias=False),
    "three layers": Mlp((1, 2, 1, 2, 1), (activations.erf, activations.gelu, activations.tanh)),
    "no hidden layer": Mlp((2, 3), ()),
}


def all_symmetries(group):
    """Every element, by enumeration."""
    choices = []
    for h, signed in zip(group.net.sizes[1:-1], group.signed):
        signs = product([1.0, -1.0], repeat=h) if signed else [(1.0,) * h]
        choices.append([(np.array(order), np.array(sign)) for sign in signs for order in permutations(range(h))])
    return [group.symmetry([order for order, _ in one], [sign for _, sign in one]) for one in product(*choices)]


def theta_of(net, seed=0):
    """Generic parameters."""
    return np.random.default_rng(seed).normal(size=net.num_params)


def tied(net, kind):
    """Parameters with equal units, equal up to sign, dead ones, or ties that only a joint exchange in two layers keeps."""
    layers = [(W.copy(), None if b is None else b.copy()) for W, b in net.unflatten(theta_of(net))]
    (W, b), (V, _) = layers[0], layers[1]

    def set_unit(i, sign, source):
        W[i], V[:, i] = sign * W[source], sign * V[:, source]
        if b is not None:
            b[i] = sign * b[source]

    if kind == "equal":
        set_unit(1, 1, 0)
    elif kind == "opposite":
        set_unit(1, -1, 0)
    elif kind == "one dead":
        set_unit(0, 0, 0)
    elif kind == "all dead":
        for i in range(len(W)):
            set_unit(i, 0, i)
    elif kind == "equal in, different out":
        W[1] = W[0]
        if b is not None:
            b[1] = b[0]
    elif kind == "crossed":  # two inputs of layer 2 and its two units exchanged together
        W[1] = W[0]
        V[:2, :2] = [[0.3, -0.7], [-0.7, 0.3]]
        layers[2][0][:, 1] = layers[2][0][:, 0]
        for bias in (b, layers[1][1]):
            if bias is not None:
                bias[1] = bias[0]
    return net.flatten(layers)


CASES = [(name, "generic") for name in NETS] + [
    (name, kind) for name in NETS if name != "no hidden layer"
    for kind in ("equal", "opposite", "one dead", "all dead", "equal in, different out")
] + [("two layers, odd", "crossed"), ("two layers, mixed", "crossed")]


# -- the action -------------------------------------------------------------------------------------------------------------


@law(activation=ODD)
def test_every_generator_leaves_the_function_and_carries_its_derivatives_along(spec):
    """Identities F1 and F2: f(gθ) = f(θ); gradient, H and G at gθ are those at θ moved by g."""
    case = spec.build()
    for g in symmetry.of_network(case.net).generators():
        f, moved = case.net.forward(case.theta, case.X), g(case.theta)
        agree(case.net.forward(moved, case.X), f, terms=case.terms, scale=norm_or_one(f) + norm_or_one(case.theta))
        gradient = case.loss.gradient(case.theta)
        agree(case.loss.gradient(moved), g(gradient), terms=case.terms, condition=10, scale=norm_or_one(gradient))
        for name in ("hessian", "ggn"):
            M = getattr(case.loss, name)(case.theta)
            expected = (g.sign[:, None] * M[np.ix_(g.index, g.index)]) * g.sign
            agree(getattr(case.loss, name)(moved), expected, terms=case.terms, condition=10, scale=norm_or_one(M))


@pytest.mark.parametrize("name", NETS)
def test_every_symmetry_leaves_the_function(name):
    net, X = NETS[name], np.random.default_rng(1).normal(size=(5, NETS[name].num_inputs))
    group, theta = symmetry.of_network(net), theta_of(net)
    elements = all_symmetries(group)
    assert len(elements) == group.order
    for g in elements:
        agree(net.forward(g(theta), X), net.forward(theta, X), terms=net.num_params, condition=10)


@pytest.mark.parametrize("name", NETS)
def test_symmetries_compose_and_act_on_batches(name):
    group, theta = symmetry.of_network(NETS[name]), np.random.default_rng(0).normal(size=(2, 3, NETS[name].num_params))
    elements = all_symmetries(group)[::5]
    for g, h in product(elements, elements):
        assert np.array_equal(g.after(h)(theta), g(h(theta)))
        assert np.array_equal(g(theta)[1, 2], g(theta[1, 2]))


@law(activation=ODD, likelihood=("categorical",))
def test_the_image_of_a_gaussian_is_that_of_its_draws(spec):
    """And Laplace at gθ is the image of Laplace at θ, its evidence the same (F2)."""
    case = replace(spec, prior="isotropic").build()
    prior = priors.isotropic(case.net.num_params, 1.3)
    q = laplace.at(case.theta, prior.precision + case.loss.ggn(case.theta))
    for g in symmetry.of_network(case.net).generators():
        image, there = g.of_gaussian(q), laplace.at(g(case.theta), prior.precision + case.loss.ggn(g(case.theta)))
        assert np.array_equal(image.mean, there.mean)
        agree(image.precision.matrix(), there.precision.matrix(), terms=case.terms, condition=10)
        z = np.random.default_rng(0).normal(size=(3, q.num_params))
        agree(image.log_prob(g(q.from_normals(z))), q.log_prob(q.from_normals(z)), terms=case.terms,
              condition=np.linalg.cond(q.precision.matrix()), scale=10.0 * case.terms)


# -- counting ---------------------------------------------------------------------------------------------------------------


def counts_agree_with_enumeration(name, kind):
    """Eq. (orbit-count): orders of group and stabiliser and size of the orbit, by listing symmetries and comparing images."""
    net, group = NETS[name], symmetry.of_network(NETS[name])
    theta = theta_of(net) if kind == "generic" else tied(net, kind)
    images = np.array([g(theta) for g in all_symmetries(group)])
    fixed = np.abs(images - theta).max(1) == 0
    different = np.unique(images + 0.0, axis=0)  # + 0.0: no negative zeros
    assert group.num_maps(theta, theta) == fixed.sum()
    assert group.num_copies(theta) == len(different)
    assert group.num_copies(theta) * group.num_maps(theta, theta) == group.order == len(images)
    found = np.array([g(theta) for g in group.orbit(theta)])
    assert np.array_equal(found[0], theta) and len(found) == len(different)
    assert np.array_equal(np.unique(found + 0.0, axis=0), different)


@pytest.mark.parametrize("name, kind", CASES)
def test_counts_agree_with_enumeration(name, kind):
    counts_agree_with_enumeration(name, kind)


@pytest.mark.parametrize("name, kind", CASES)
def test_maps_lead_to_copies_and_to_nothing_else(name, kind):
    net, group = NETS[name], symmetry.of_network(NETS[name])
    theta = theta_of(net) if kind == "generic" else tied(net, kind)
    for g in all_symmetries(group)[::7]:
        assert group.num_maps(theta, g(theta)) == group.num_maps(theta, theta)
    assert group.num_maps(theta, theta + 0.01) == 0
    for position in (0, -1):
        other = theta.copy()
        other[position] += 0.01
        assert group.num_maps(theta, other) == 0 or group.num_copies(theta) == group.num_copies(other)


def test_copies_of_wide_layers_are_counted_without_listing_them():
    net = Mlp((1, 20, 1), activations.tanh)
    group, theta = symmetry.of_network(net), theta_of(net)
    assert group.num_copies(theta) == group.order == math.factorial(20) * 2**20
    W, b, v, c = theta[:20], theta[20:40], theta[40:60], theta[60:]
    pruned = np.concatenate([*(np.where(np.arange(20) < 12, 0.0, part) for part in (W, b, v)), c])
    assert group.num_copies(pruned) == math.factorial(20) * 2**20 // (math.factorial(12) * 2**12)
    with pytest.raises(ValueError, match="orbit: expected at most 65536 copies"):
        group.orbit(theta)
    with pytest.raises(ValueError, match="ways to arrange the equal units"):
        symmetry.of_network(Mlp((1, 9, 1, 1), activations.tanh)).num_copies(np.zeros(30))


def test_round_off_of_an_optimiser_does_not_tell_equal_units_apart_and_distances_of_its_size_are_refused():
    net, rng = Mlp((2, 3, 1), activations.tanh), np.random.default_rng(0)
    group, theta = symmetry.of_network(net), tied(Mlp((2, 3, 1), activations.tanh), "equal")
    noisy = theta * (1 + 1e-9 * rng.normal(size=theta.shape))
    assert group.num_maps(noisy, noisy) == 2 and group.num_maps(noisy, theta) == 2
    chain = net.flatten([(np.array([[1.0, 1], [1, 1.008], [1, 1.016]]), np.zeros(3)), (np.ones((1, 3)), np.zeros(1))])
    with pytest.raises(ValueError, match="same: expected a number that tells equal weights from different ones"):
        group.num_maps(chain, chain, same=0.01)


def test_copies_are_dropped_from_a_list_of_modes():
    net = NETS["two layers, odd"]
    group, a, b = symmetry.of_network(net), theta_of(net, 1), theta_of(net, 2)
    moved = [g(a) for g in list(group.generators())]
    assert group.distinct([a, *moved, b, moved[0], b]) == [0, len(moved) + 1]


# -- priors -----------------------------------------------------------------------------------------------------------------


def posterior(net, prior):
    """A posterior with that prior."""
    return Posterior(net, likelihoods.Normal(1.0), prior, np.ones((1, net.num_inputs)), np.ones((1, net.num_outputs)))


def test_only_symmetries_that_leave_the_prior_count():
    net = NETS["two layers, odd"]
    p = net.num_params
    both = symmetry.of_posterior(posterior(net, priors.isotropic(p, 1.3)))
    assert both.signed == (True, True) == symmetry.of_network(net).signed
    layers = priors.per_layer(net.layer_sizes, [1.0, 2.0, 3.0])
    assert symmetry.of_posterior(posterior(net, layers)).signed == (True, True)
    shifted = np.zeros(p)
    shifted[-3:-1] = 0.5  # the output weights: signs of the second layer no longer change nothing
    assert symmetry.of_posterior(posterior(net, priors.isotropic(p, 1.3, mean=shifted))).signed == (True, False)
    heavy = symmetry.of_posterior(posterior(net, priors.StudentT(p, 1.0, 3.0)))
    assert heavy.signed == (True, True)
    uneven = np.ones(p)
    uneven[0] = 2.0
    with pytest.raises(ValueError, match="prior: expected one that does not tell the units of a hidden layer apart"):
        symmetry.of_posterior(posterior(net, priors.per_parameter(uneven)))


def test_a_layer_without_odd_activation_keeps_its_signs():
    assert symmetry.of_network(NETS["two layers, mixed"]).signed == (False, True)
    assert symmetry.of_network(NETS["two layers, mixed"]).order == 6 * 2 * 4
    assert symmetry.of_network(NETS["no hidden layer"]).order == 1


@pytest.mark.parametrize("build, message", [
    (lambda group: group.num_copies(np.zeros(12)), r"theta: expected shape \(17,\), got \(12,\)"),
    (lambda group: group.num_copies(np.full(17, np.nan)), "theta: expected finite"),
    (lambda group: group.num_copies(np.ones(17), same=0.0), "same: expected a positive number"),
    (lambda group: next(group.generators())(np.zeros(3)), r"theta: expected shape \(..., 17\)"),
    (lambda group: symmetry.of_network("net"), "net: expected an object with sizes"),
    (lambda group: symmetry.of_posterior(NETS["one layer, odd"]), "posterior: expected an object with net, prior"),
])
def test_bad_input_is_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build(symmetry.of_network(NETS["one layer, odd"]))


# -- planted faults ---------------------------------------------------------------------------------------------------------

true_arrangements = symmetry._num_arrangements
FAULTS = [
    ("2^H H! always", Group, "num_copies", lambda self, theta, same=1e-6: self.order, "one layer, odd", "equal"),
    ("signs of dead units forgotten", symmetry, "_num_arrangements", lambda matches: true_arrangements(matches[..., :1]),
     "one layer, odd", "one dead"),
    ("incoming weights alone", Group, "_num_last_maps",
     staticmethod(lambda start, end, signs, scale: true_arrangements(symmetry._matches(
         symmetry._joined(start[0]), symmetry._joined(end[0]), signs, scale))), "one layer, odd", "equal in, different out"),
    ("layers counted apart", symmetry, "_arrangements",
     lambda matches, signs, used=(): iter([(np.arange(len(matches)), np.ones(len(matches)))]), "two layers, odd", "crossed"),
    ("no signs", symmetry, "of_network", lambda net: Group(net, (False,) * len(net.activation)), "one layer, odd", "one dead"),
    ("outgoing weights left behind", Group, "exchange", lambda self, layer, i, j: Symmetry(
        np.where(np.arange(17) < 9, np.roll(np.arange(17), 2), np.arange(17)), np.ones(17)), "one layer, odd", "generic"),
]


@pytest.mark.parametrize("words, holder, name, fault, net, kind", [pytest.param(*row, id=row[0]) for row in FAULTS])
def test_a_planted_fault_is_caught(words, holder, name, fault, net, kind, monkeypatch):
    counts_agree_with_enumeration(net, kind)
    true_order = symmetry.of_network(NETS[net]).order
    monkeypatch.setattr(holder, name, fault)
    with pytest.raises((AssertionError, IndexError, ValueError)):
        counts_agree_with_enumeration(net, kind)
        assert symmetry.of_network(NETS[net]).order == true_order


def test_an_image_that_is_not_normalised_is_no_image():
    """A planted fault of `of_gaussian`: the precision left where it was."""
    net = NETS["one layer, odd"]
    rng, p = np.random.default_rng(0), net.num_params
    A = rng.normal(size=(p, p))
    q = Gaussian(rng.normal(size=p), Dense(A @ A.T + np.eye(p)))
    g = next(symmetry.of_network(net).generators())
    wrong, right = Gaussian(g(q.mean), q.precision), g.of_gaussian(q)
    point = q.mean + rng.normal(size=p)
    agree(right.log_prob(g(point)), q.log_prob(point), terms=p, condition=np.linalg.cond(q.precision.matrix()))
    assert abs(wrong.log_prob(g(point)) - q.log_prob(point)) > 1


def test_specs_with_odd_activations_have_signed_groups():
    for name in ODD:
        assert symmetry.of_network(Spec((2, 3, 1), name).build().net).signed == (True,)


@pytest.mark.parametrize("prior_of", [
    lambda values: priors.per_parameter(values),
    lambda values: priors.full(np.diag(values)),
    lambda values: priors.StudentT(len(values), values**-0.5, 3.0),
    lambda values: priors.isotropic(len(values), 1.0, mean=values),
])
def test_a_large_entry_of_the_prior_does_not_hide_a_broken_symmetry(prior_of):
    net = Mlp((1, 3, 1), activations.tanh)
    values = np.ones(net.num_params)
    values[[0, -1]] = 3.0, 1e12
    X = np.zeros((1, 1))
    with pytest.raises(ValueError, match="tell the units of a hidden layer apart"):
        symmetry.of_posterior(Posterior(net, likelihoods.Normal(1.0), prior_of(values), X, X))


def test_a_network_without_units_is_refused():
    net = Linearised(NETS["one layer, odd"], theta_of(NETS["one layer, odd"]))
    post = Posterior(net, likelihoods.Normal(1.0), priors.isotropic(net.num_params, 1.0), np.zeros((1, 2)), np.zeros((1, 2)))
    with pytest.raises(ValueError, match="posterior.net: expected an object with sizes"):
        symmetry.of_posterior(post)
