"""What a Gaussian approximation gets wrong by its form, and laws that even a wrong one obeys."""

from __future__ import annotations

import numpy as np
import pytest

from refbnn import Mlp, Posterior, activations, likelihoods, priors, quadrature, vi
from refbnn.gaussian import Gaussian, kl
from refbnn.precision import Dense, Diagonal
from refbnn.vi import families
from tests.judge import agree
from tests.vi import problems
from tests.vi.test_bound import exact_posterior


# -- independence -----------------------------------------------------------------------------------------------------------


def test_mean_field_takes_the_diagonal_of_the_precision_and_pays_the_gap():
    """Eq. (mean-field-gap): the optimum has variances 1/P_ii, below the true ones; the bound lacks ½(Σ log P_ii − log |P|)."""
    post = problems.regression()
    exact, family = exact_posterior(post), families.MeanField(post.num_params)
    found = vi.natural_gradient(post, family, vi.ClosedForm(), post.prior)
    assert found.converged
    P = exact.precision.matrix()
    agree(found.q.mean, exact.mean, terms=1, condition=1e6)
    agree(np.diagonal(found.q.covariance()), 1 / np.diagonal(P), terms=100)
    assert (1 / np.diagonal(P) < np.diagonal(exact.covariance())).all()
    best = vi.elbo(post, exact, vi.ClosedForm()).value
    agree(best - found.elbo.value, vi.mean_field_gap(P), terms=1, condition=1e6)
    agree(kl(found.q, exact), vi.mean_field_gap(P), terms=1, condition=1e6)


def test_the_other_divergence_wants_the_true_variances():
    """Eq. (mean-field-gap) with the covariance: KL(p ‖ q) is least, ½(Σ log C_ii − log |C|), at variances C_ii."""
    p = problems.gaussian(70, 5)
    C = p.covariance()
    best = Gaussian(p.mean, Diagonal(1 / np.diagonal(C)))
    agree(kl(p, best), vi.mean_field_gap(C), terms=100)
    for factor in np.random.default_rng(71).uniform(0.8, 1.2, (11, 5)):
        assert kl(p, Gaussian(p.mean, Diagonal(factor / np.diagonal(C)))) > kl(p, best)


def test_the_gap_of_a_diagonal_matrix_is_zero_and_of_an_indefinite_one_refused():
    assert abs(vi.mean_field_gap(np.diag([1.0, 3.0]))) < 1e-15
    with pytest.raises(ValueError, match="positive-definite"):
        vi.mean_field_gap(np.array([[1.0, 2.0], [2.0, 1.0]]))


# -- pruned units -----------------------------------------------------------------------------------------------------------


def test_units_are_the_marginals_of_their_weights():
    """Eq. (pruned-unit): a loop over the rows and columns of a 2-3-1 network."""
    net = problems.deep().net
    q, prior = problems.gaussian(72, net.num_params), priors.isotropic(net.num_params, 1.3, mean=0.1)
    found = vi.units(net, q, prior)
    for u in range(3):
        into, out = [2 * u, 2 * u + 1, 6 + u], [9 + u]
        for rows, value in ((into, found.kl_in[u]), (out, found.kl_out[u])):
            C, m = q.covariance()[np.ix_(rows, rows)], q.mean[rows] - 0.1
            plain = 0.5 * (1.3 * (np.trace(C) + m @ m) - len(rows) - np.linalg.slogdet(1.3 * C)[1])
            agree(value, plain, terms=100)
        agree(found.outgoing[u], np.sqrt(1.3 * (q.mean[out] ** 2 + q.covariance()[out, out])[0]), terms=100)


def test_outgoing_weights_of_a_unit_are_averaged_over_the_outputs():
    """The root mean square over both outputs of a 2-3-2 network."""
    net = Mlp((2, 3, 2), activations.tanh)
    q = problems.gaussian(80, net.num_params)
    found = vi.units(net, q, priors.isotropic(net.num_params, 1.3))
    for u in range(3):
        out = [9 + u, 12 + u]
        agree(found.outgoing[u], np.sqrt(1.3 * np.mean(q.mean[out] ** 2 + q.covariance()[out, out])), terms=100)


@pytest.mark.parametrize("layer", [0, 1])
def test_a_unit_of_a_deep_network_has_the_weights_of_the_next_layer(layer):
    """1-2-3-2: each unit by the moments of what enters it and of what leaves it, entry by entry."""
    net = Mlp((1, 2, 3, 2), (activations.tanh, activations.tanh))
    q, prior = problems.gaussian(81, net.num_params), priors.isotropic(net.num_params, 1.3)
    number = net.unflatten(np.arange(net.num_params))
    (W, b), (V, _) = number[layer], number[layer + 1]
    found = vi.units(net, q, prior, layer)
    for u in range(net.sizes[layer + 1]):
        into, out = [*W[u].astype(int), int(b[u])], V[:, u].astype(int)
        for rows, value in ((into, found.kl_in[u]), (out, found.kl_out[u])):
            C, m = q.covariance()[np.ix_(rows, rows)], q.mean[rows]
            agree(value, 0.5 * (1.3 * (np.trace(C) + m @ m) - len(rows) - np.linalg.slogdet(1.3 * C)[1]), terms=100)
        agree(found.outgoing[u], np.sqrt(1.3 * np.mean(q.mean[out] ** 2 + q.covariance()[out, out])), terms=100)


def test_mean_field_prunes_units_that_the_data_do_not_need():
    """Eq. (pruned-unit): a straight line as data, five hidden units: some take their incoming weights from the prior."""
    rng = np.random.default_rng(73)
    net = Mlp((1, 5, 1), activations.tanh)
    X = np.linspace(-1, 1, 11)[:, None]
    post = Posterior(net, likelihoods.Normal(0.01), priors.isotropic(net.num_params, 1.0), X, 0.6 * X)
    how = vi.OverParameters(quadrature.sobol(net.num_params, 128, 2, rng))
    start = Gaussian(0.7 * rng.normal(size=net.num_params), Diagonal(np.full(net.num_params, 50.0)))
    found = vi.quasi_newton(post, families.MeanField(net.num_params), how, start, tolerance=1e-4)
    seen = vi.units(net, found.q, post.prior)
    pruned = seen.outgoing < 0.25
    assert found.converged and pruned.any() and not pruned.all()
    assert seen.kl_in[pruned].max() < 0.1 < seen.kl_in[~pruned].min()


def test_an_output_layer_has_no_units():
    net = problems.deep().net
    with pytest.raises(ValueError, match="layer: expected a hidden one, 0 to 0, got 1"):
        vi.units(net, problems.gaussian(1, 13), priors.isotropic(13, 1.0), layer=1)


# -- laws of symmetry -------------------------------------------------------------------------------------------------------


def homogeneous(activation):
    """A 1-2-1 network whose units rescale, p = 7."""
    rng = np.random.default_rng(74)
    net = Mlp((1, 2, 1), activation)
    X = rng.normal(size=(7, 1))
    return Posterior(net, likelihoods.Normal(0.25), priors.isotropic(7, 0.8), X, 1.5 * X + 0.2 * rng.normal(size=(7, 1)))


START = Gaussian(np.array([1.1, -0.9, 0.1, 0.2, 0.8, 1.0, 0.1]), Dense(4.0 * np.eye(7)))
CLOSED = {"full": families.Full(7), "mean_field": families.MeanField(7), "low_rank": families.LowRank(7, 1)}


@pytest.mark.parametrize("name", CLOSED)
def test_the_conservation_law_holds_at_the_optimum_and_not_before(name):
    """Eq. (conservation): λ(E‖in‖² − E‖out‖²) = n_in − n_out for units of a linear network, here 1, whatever the data."""
    post, family = homogeneous(activations.identity), CLOSED[name]
    how = vi.OverParameters(quadrature.sobol(7, 64, 2, np.random.default_rng(75)))
    found = vi.quasi_newton(post, family, how, START, tolerance=1e-4)
    assert found.converged
    for unit in range(2):
        X = vi.rescaling(post.net, 0, unit)
        assert abs(vi.conservation(found.q, post.prior, X)) < 1e-3
        assert np.trace(X) == 1.0  # one weight and a bias in, one weight out
        assert abs(vi.conservation(START, post.prior, X)) > 0.1
        assert abs(vi.conservation(post.prior, post.prior, X)) < 1e-13  # without data it is the virial law of the prior


MIXING = {"one unit into the other": (0, 1), "the other into the one": (1, 0), "a scale": (0, 0)}


@pytest.mark.parametrize("i, j", MIXING.values(), ids=MIXING)
def test_every_linear_symmetry_has_its_law_at_the_optimum_over_all_gaussians(i, j):
    """Eq. (conservation): units of a deep linear network may be mixed, W ↦ e^{tE} W, V ↦ V e^{−tE}, by any E, here E_ij.

    The energy is a polynomial of degree four and the rule exact, so that no flow is left out. Independent parameters, which no
    mixing leaves independent, obey the law of scales alone.
    """
    rng = np.random.default_rng(82)
    net = Mlp((1, 2, 1), activations.identity, bias=False)
    X = rng.normal(size=(7, 1))
    prior = priors.full(problems.positive_definite(rng, 4), 0.3 * rng.normal(size=4))
    post = Posterior(net, likelihoods.Normal(0.25), prior, X, 1.5 * X + 0.2 * rng.normal(size=(7, 1)))
    theta, generator = rng.normal(size=4), np.zeros((4, 4))  # θ = (w_0, w_1, v_0, v_1)
    generator[i, j], generator[2 + j, 2 + i] = 1.0, -1.0
    assert np.abs(net.jvp(theta, X, generator @ theta)).max() < 1e-14
    how, start = vi.OverParameters(quadrature.gauss_hermite(4, 4)), Gaussian([0.9, 0.5, 0.8, 0.4], Dense(4.0 * np.eye(4)))
    full, independent = (vi.quasi_newton(post, family, how, start) for family in (families.Full(4), families.MeanField(4)))
    assert full.converged and abs(vi.conservation(full.q, prior, generator)) < 1e-6
    assert independent.converged and (abs(vi.conservation(independent.q, prior, generator)) < 1e-6) == (i == j)


def test_rectified_units_obey_the_conservation_law_as_far_as_draws_have_no_kinks():
    """Eq. (conservation): a sum over draws of a kinked loss has kinks itself, of the size of one draw in 8192."""
    post = homogeneous(activations.relu)
    how = vi.OverParameters(quadrature.sobol(7, 4096, 2, np.random.default_rng(75)))
    found = vi.quasi_newton(post, families.MeanField(7), how, START, tolerance=1e-3, max_iterations=100)
    assert all(abs(vi.conservation(found.q, post.prior, vi.rescaling(post.net, 0, unit))) < 5e-3 for unit in range(2))


def test_the_conservation_law_by_a_plain_sum():
    """Eq. (conservation): with a dense prior, its mean, and any generator."""
    q, prior = problems.gaussian(76, 3), problems.gaussian(77, 3)
    X = np.random.default_rng(78).normal(size=(3, 3))
    rule = quadrature.gauss_hermite(3, 4)
    P0 = prior.precision.matrix()
    plain = sum(w * (t - prior.mean) @ P0 @ X @ t for w, t in zip(rule.weights, q.from_normals(rule.points))) - np.trace(X)
    agree(vi.conservation(q, prior, X), plain, terms=100)


def test_rescaling_leaves_a_rectified_network_alone():
    """Eq. (rescaling-generator): J X θ = 0."""
    post = homogeneous(activations.relu)
    theta = np.random.default_rng(79).normal(size=7)
    X = vi.rescaling(post.net, 0, 1)
    along = post.net.jvp(theta, post.X, X @ theta)
    assert np.abs(along).max() < 1e-14 < np.abs(post.net.jvp(theta, post.X, np.abs(X) @ theta)).max()


def test_only_rectified_layers_of_a_network_rescale():
    """Two hidden layers, of which the second is rectified: its units have a generator, those of the first have none."""
    net = Mlp((1, 2, 3, 1), (activations.tanh, activations.relu))
    theta, x = np.random.default_rng(81).normal(size=net.num_params), np.linspace(-1, 1, 5)[:, None]
    assert np.abs(net.jvp(theta, x, vi.rescaling(net, 1, 2) @ theta)).max() < 1e-13
    with pytest.raises(ValueError, match="layer: expected an activation with"):
        vi.rescaling(net, 0, 1)


def test_units_that_do_not_rescale_are_refused():
    with pytest.raises(ValueError, match="layer: expected an activation"):
        vi.rescaling(problems.deep().net, 0, 1)
