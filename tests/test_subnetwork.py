"""Subnetworks: derivatives in some parameters, the others fixed; last-layer Laplace (identities A5, E14, G24)."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from refbnn import Linearised, Loss, Mlp, Posterior, activations, kronecker, laplace, low_rank, optimize, predict, priors, third
from refbnn.blocks import BlockDiagonal
from refbnn.precision import Dense, Diagonal
from refbnn.subnetwork import Subnetwork, SubnetworkEvaluation, SubnetworkPullback, layer
from refbnn.testing import tolerance
from tests import oracles
from tests.judge import agree, norm_or_one, smallest_eigenvalue_is_not_negative
from tests.zoo import LIKELIHOODS, Spec, law, statement


def chosen_of(case):
    """About half of the parameters, at least one; of a network with one parameter, that one."""
    rng = np.random.default_rng(case.spec.seed)
    return np.flatnonzero((rng.random(case.net.num_params) < 0.5) | (np.arange(case.net.num_params) == 0))


def part_of(case):
    """(subnetwork, its θ, the indices). The fixed values are those of θ; in the chosen places `at` holds something else."""
    chosen = chosen_of(case)
    at = case.theta.copy()
    at[chosen] += 1.0
    return Subnetwork(case.net, at, chosen), case.theta[chosen], chosen


# -- the derivatives are those of the whole ---------------------------------------------------------------------------------


@law()
def test_outputs_and_first_derivatives_are_those_of_the_network_in_the_chosen_parameters(spec):
    """Eq. (part-of-a-network)."""
    case = spec.build()
    net, theta, chosen = part_of(case)
    J, X, v, u = oracles.jacobian(case)[..., chosen], case.X, case.weights, case.vector[chosen]
    size = norm_or_one(oracles.jacobian(case))
    agree(net.forward(theta, X), oracles.forward(spec, case.theta, X), terms=case.terms, condition=10)
    for value, expected, scale in (
        (net.jacobian(theta, X), J, size),
        (net.jvp(theta, X, u), J @ u, size * np.linalg.norm(case.vector)),
        (net.vjp(theta, X, v), np.einsum("nk,nkp->p", v, J), size * np.linalg.norm(v)),
        (net.vjp_per_datum(theta, X, v), np.einsum("nk,nkp->np", v, J), size * np.linalg.norm(v)),
    ):
        agree(value, expected, terms=case.terms, condition=10, scale=scale)


@law()
def test_second_and_third_derivatives_are_the_chosen_rows_and_columns(spec):
    case = spec.build()
    net, theta, chosen = part_of(case)
    block, u = np.ix_(chosen, chosen), case.vector[chosen]
    whole = np.zeros_like(case.theta)
    whole[chosen] = u
    bend = case.net.contracted_hessian(case.theta, case.X, case.weights)
    agree(net.contracted_hessian(theta, case.X, case.weights), bend[block], terms=case.terms, scale=norm_or_one(bend))
    product = net.contracted_hessian_product(theta, case.X, case.weights, u)
    agree(product, (bend @ whole)[chosen], terms=case.terms, scale=norm_or_one(bend) * norm_or_one(u))
    jet = third.third_derivative(case.loss, case.theta, whole)
    part = Loss(net, case.likelihood, case.X, case.y)
    agree(third.third_derivative(part, theta, u), jet[chosen], terms=case.terms, scale=norm_or_one(jet))


@law()
def test_every_curvature_is_the_chosen_rows_and_columns_in_every_form(spec):
    case = spec.build()
    net, theta, chosen = part_of(case)
    ours, theirs = Loss(net, case.likelihood, case.X, case.y).at(theta), case.loss.at(case.theta)
    for name in ("ggn", "hessian", "residual_part", "fisher", "empirical_fisher"):
        pullback, whole = getattr(ours, name), getattr(theirs, name).full()
        expected, tolerance = whole[np.ix_(chosen, chosen)], {"terms": case.terms, "scale": norm_or_one(whole)}
        u = case.vector[chosen]
        agree(pullback.full(), expected, **tolerance)
        agree(pullback.diagonal(), np.diagonal(expected), **tolerance)
        agree(pullback.subset(np.arange(len(chosen))), expected, **tolerance)
        agree(pullback.matvec(u) / np.linalg.norm(u), expected @ u / np.linalg.norm(u), **tolerance)
        agree(pullback.linear_operator() @ u / np.linalg.norm(u), expected @ u / np.linalg.norm(u), **tolerance)
        start = 0
        for block in pullback.layer_blocks():
            stop = start + len(block)
            agree(block, expected[start:stop, start:stop], **tolerance)
            start = stop
        assert start == len(chosen) and tuple(map(len, pullback.layer_blocks())) == net.layer_sizes


@pytest.mark.parametrize("count", [3, 12])
def test_both_routes_to_the_matrix_give_it_symmetric(count):
    """Few parameters by products with unit vectors, many as a part of the whole matrix."""
    case = Spec((2, 3, 2), "tanh", "categorical").build()
    chosen = np.arange(17)[:count]
    block = Loss(Subnetwork(case.net, case.theta, chosen), case.likelihood, case.X, case.y).hessian(case.theta[chosen])
    agree(block, case.loss.hessian(case.theta)[:count, :count], terms=case.terms)
    assert np.array_equal(block, block.T)


@law()
def test_batched_calls_equal_loops_over_single_ones(spec):
    case = spec.build()
    net, theta, chosen = part_of(case)
    rng, X, p = np.random.default_rng(0), case.X, len(chosen)
    thetas, us, vs = rng.normal(size=(2, 1, p)), rng.normal(size=(3, p)), rng.normal(size=(2, 3, *case.weights.shape))
    for together, alone in (
        (net.forward(thetas + us, X), lambda i, j: net.forward(thetas[i, 0] + us[j], X)),
        (net.jvp(thetas, X, us), lambda i, j: net.jvp(thetas[i, 0], X, us[j])),
        (net.vjp(thetas, X, vs), lambda i, j: net.vjp(thetas[i, 0], X, vs[i, j])),
        (net.jacobian(thetas + us, X), lambda i, j: net.jacobian(thetas[i, 0] + us[j], X)),
        (net.contracted_hessian_product(thetas, X, case.weights, us),
         lambda i, j: net.contracted_hessian_product(thetas[i, 0], X, case.weights, us[j])),
    ):
        looped = np.array([[alone(i, j) for j in range(3)] for i in range(2)])
        agree(together, looped, terms=case.terms, scale=norm_or_one(looped))


@law()
def test_with_every_parameter_it_is_the_network(spec):
    case = spec.build()
    net = Subnetwork(case.net, np.zeros(case.net.num_params), np.arange(case.net.num_params))
    assert np.array_equal(net.forward(case.theta, case.X), case.net.forward(case.theta, case.X))
    assert np.array_equal(net.jacobian(case.theta, case.X), case.net.jacobian(case.theta, case.X))
    assert net.layer_sizes == case.net.layer_sizes and net.is_linear == case.net.is_linear
    assert (net.num_inputs, net.num_outputs) == (case.net.num_inputs, case.net.num_outputs)


@law()
def test_a_part_of_a_part_is_a_part(spec):
    case = spec.build()
    net, theta, chosen = part_of(case)
    inner = np.arange(0, len(chosen), 2)
    nested, direct = Subnetwork(net, theta, inner), Subnetwork(case.net, case.theta, chosen[inner])
    assert np.array_equal(nested.forward(theta[inner], case.X), direct.forward(theta[inner], case.X))
    assert np.array_equal(nested.jacobian(theta[inner], case.X), direct.jacobian(theta[inner], case.X))
    assert nested.is_linear == direct.is_linear and nested.layer_sizes == direct.layer_sizes


@law()
def test_linearising_and_choosing_parameters_commute(spec):
    """Both are f + J_s(θ_s − θ_s*), with the same Hessian of the loss."""
    case = spec.build()
    net, theta, chosen = part_of(case)
    one, other = Linearised(net, at=theta), Subnetwork(Linearised(case.net, at=case.theta), case.theta, chosen)
    moved = theta + 0.3
    scale = norm_or_one(case.net.forward(case.theta, case.X)) + norm_or_one(case.net.jacobian(case.theta, case.X))
    agree(one.forward(moved, case.X), other.forward(moved, case.X), terms=case.terms, scale=scale)
    hessians = [Loss(linear, case.likelihood, case.X, case.y).hessian(moved) for linear in (one, other)]
    agree(*hessians, terms=case.terms, condition=10, scale=norm_or_one(hessians[1]))
    assert one.is_linear and other.is_linear


@law()
def test_where_it_says_so_it_is_affine(spec):
    """Every layer, and what is chosen at random: is_linear implies that all second derivatives vanish."""
    case = spec.build()
    depth = len(case.net.layer_sizes)
    for chosen in [*(layer(case.net, l) for l in range(depth)), chosen_of(case)]:
        net = Subnetwork(case.net, case.theta, chosen)
        if net.is_linear:
            assert not net.contracted_hessian(case.theta[chosen], case.X, case.weights).any()
    assert Subnetwork(case.net, case.theta, layer(case.net, -1)).is_linear


def test_what_is_affine_is_known_from_the_structure():
    net, rng = Mlp((2, 3, 4, 5, 2), (activations.tanh, activations.identity, activations.identity)), np.random.default_rng(0)
    theta = rng.normal(size=net.num_params)
    affine = [Subnetwork(net, theta, layer(net, l)).is_linear for l in range(4)]
    assert affine == [False, True, True, True]
    two_layers = np.concatenate([layer(net, 1), layer(net, 2)])
    assert not Subnetwork(net, theta, two_layers).is_linear
    assert Subnetwork(Linearised(net, at=theta), theta, two_layers).is_linear


def test_layers_are_counted_from_either_end():
    net = Mlp((2, 3, 1), activations.tanh)
    assert layer(net, 0).tolist() == list(range(9)) == layer(net, -2).tolist()
    assert layer(net, 1).tolist() == [9, 10, 11, 12] == layer(net, -1).tolist()
    assert Subnetwork(net, np.zeros(13), [0, 12]).layer_sizes == (1, 1)
    assert Subnetwork(net, np.zeros(13), [10, 12]).layer_sizes == (2,)


# -- priors and posteriors --------------------------------------------------------------------------------------------------


@law()
def test_the_conditional_prior_is_the_prior_as_a_function_of_the_chosen_parameters(spec):
    """Eq. (conditional-prior): log p(θ) − log p(θ_s|θ_r) does not depend on θ_s, and does depend on θ_r where there are any."""
    case = spec.build()
    net, theta, _ = part_of(case)
    own, rng = net.conditional(case.prior), np.random.default_rng(1)
    differences = []
    for moved in (theta, theta + rng.normal(size=theta.shape), rng.normal(size=theta.shape)):
        differences.append(case.prior.log_prob(net.embed(moved)) - own.log_prob(moved))
    kappa = np.linalg.cond(oracles.dense(case.prior.precision))
    agree(differences[1:], [differences[0]] * 2, terms=case.terms, condition=kappa,
          scale=abs(case.prior.log_prob(case.theta)) + 10 * case.terms)


def test_the_conditional_of_a_diagonal_prior_stays_diagonal_and_keeps_its_mean():
    case = Spec((2, 3, 2), prior="per_parameter").build()
    net, _, chosen = part_of(case)
    own = net.conditional(case.prior)
    assert isinstance(own.precision, Diagonal) and np.array_equal(own.mean, case.prior.mean[chosen])
    assert np.array_equal(own.precision.diagonal(), case.prior.precision.diagonal()[chosen])


@pytest.mark.parametrize("make", [
    lambda case: case.prior.precision,
    lambda case: BlockDiagonal(Dense(block + 2 * np.eye(len(block))) for block in case.loss.at(case.theta).ggn.layer_blocks()),
    lambda case: low_rank.leading(case.loss.at(case.theta).ggn, 3).plus(Diagonal(np.ones(17))),
])
def test_the_principal_part_of_a_precision_is_its_rows_and_columns(make):
    case = Spec((2, 3, 2)).build()
    whole, chosen = make(case), chosen_of(case)
    agree(whole.principal(chosen).matrix(), whole.matrix()[np.ix_(chosen, chosen)], terms=case.terms)


@law(likelihood=("normal",), hidden=(1, 3))
def test_last_layer_laplace_is_the_exact_posterior_given_the_features(spec):
    """Eq. (last-layer-exact), identity G24: linear regression on the last hidden activations, with log p(y|features)."""
    case = spec.build()
    net = Subnetwork(case.net, case.theta, layer(case.net, -1))
    post = Posterior(net, case.likelihood, net.conditional(case.prior), case.X, case.y)
    mode = optimize.maximize(post, np.zeros(net.num_params))
    q = laplace.at(mode.theta, post.negative_hessian(mode.theta))
    k, N = case.net.num_outputs, len(case.X)
    features = oracles.states(spec, case.theta, case.X)[0][-1]
    Phi = np.concatenate([np.kron(np.eye(k), a)[:, None] for a in features]).reshape(N * k, -1)
    if spec.bias:
        Phi = np.concatenate([Phi, np.tile(np.eye(k), (N, 1))], axis=1)
    P0, m0, variance = oracles.dense(post.prior.precision), post.prior.mean, 0.37
    P = P0 + Phi.T @ Phi / variance
    mean = np.linalg.solve(P, P0 @ m0 + Phi.T @ case.y.ravel() / variance)
    kappa = np.linalg.cond(P) * np.linalg.cond(P0)
    agree(q.mean, mean, terms=case.terms, condition=kappa, scale=np.linalg.norm(mean) + np.linalg.norm(m0))
    agree(q.precision.matrix(), P, terms=case.terms)
    covariance = Phi @ np.linalg.solve(P0, Phi.T) + variance * np.eye(N * k)
    e = case.y.ravel() - Phi @ m0
    exact = -0.5 * (e @ np.linalg.solve(covariance, e) + np.linalg.slogdet(2 * np.pi * covariance)[1])
    agree(laplace.log_evidence(mode.log_prob, q), exact, terms=case.terms, condition=kappa, scale=1 + abs(exact))
    moments = predict.moments(net, q, case.X_new)
    agree(moments.mean, net.forward(q.mean, case.X_new), terms=case.terms)


@law()
def test_a_part_has_no_more_variance_than_the_whole(spec):
    """Eq. (subnetwork), identity E14: J_s P_ss⁻¹ J_sᵀ ⪯ J P⁻¹ Jᵀ at the same θ* (Schur), the difference a covariance again."""
    case = spec.build()
    net, theta, _ = part_of(case)
    q = laplace.at(case.theta, case.prior.precision + case.loss.ggn(case.theta))
    own = Loss(net, case.likelihood, case.X, case.y)
    q_part = laplace.at(theta, net.conditional(case.prior).precision + own.ggn(theta))
    whole = predict.moments(Linearised(case.net, at=case.theta), q, case.X_new).covariance
    part = predict.moments(Linearised(net, at=theta), q_part, case.X_new).covariance
    for larger, smaller in zip(whole, part):
        round_off = tolerance(case.terms, np.linalg.cond(q.precision.matrix())) * np.linalg.norm(larger)
        assert np.linalg.eigvalsh(larger - smaller)[0] >= -round_off
    smallest_eigenvalue_is_not_negative(q_part.covariance(), terms=case.terms)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_subnetwork_laplace_is_the_chosen_rows_and_columns_of_the_precision(likelihood):
    """With the precision of the whole P: that of the part is P_ss, and its functional variance J_s P_ss⁻¹ J_sᵀ."""
    case = Spec((2, 3, 2), "tanh", likelihood).build()
    net, theta, chosen = part_of(case)
    P = case.loss.ggn(case.theta) + oracles.dense(case.prior.precision)
    part = Posterior(net, case.likelihood, net.conditional(case.prior), case.X, case.y)
    q = laplace.at(theta, part.prior.precision + part.loss.ggn(theta))
    agree(q.precision.matrix(), P[np.ix_(chosen, chosen)], terms=case.terms)
    J = oracles.jacobian(dataclasses.replace(case, X=case.X_new))[..., chosen]
    expected = J @ np.linalg.solve(P[np.ix_(chosen, chosen)], np.swapaxes(J, 1, 2))
    agree(predict.moments(Linearised(net, at=theta), q, case.X_new).covariance, expected, terms=case.terms,
          condition=np.linalg.cond(P))


def test_low_rank_works_on_a_part_and_kronecker_factors_are_refused():
    case = Spec((2, 3, 2), "tanh", "categorical").build()
    net, theta, chosen = part_of(case)
    at = Loss(net, case.likelihood, case.X, case.y).at(theta)
    agree(low_rank.leading(at.ggn, len(chosen)).matrix(), at.ggn.full(), terms=case.terms)
    with pytest.raises(ValueError, match="expected that of a whole network, got that of a Subnetwork"):
        kronecker.kfac(at.ggn)


NET = Mlp((2, 3, 1), activations.tanh)


@pytest.mark.parametrize("build, message", [
    (lambda: Subnetwork(NET, np.zeros(12), [0]), r"at: expected shape \(13,\), got \(12,\)"),
    (lambda: Subnetwork(NET, np.full(13, np.nan), [0]), "at: expected finite"),
    (lambda: Subnetwork(NET, np.zeros(13), []), "parameters: expected increasing integers from 0 to 12"),
    (lambda: Subnetwork(NET, np.zeros(13), [3, 3]), "parameters: expected increasing"),
    (lambda: Subnetwork(NET, np.zeros(13), [4, 3]), "parameters: expected increasing"),
    (lambda: Subnetwork(NET, np.zeros(13), [-1, 3]), "parameters: expected increasing"),
    (lambda: Subnetwork(NET, np.zeros(13), [0, 13]), "parameters: expected increasing"),
    (lambda: Subnetwork(NET, np.zeros(13), [0.0, 1.0]), "parameters: expected increasing"),
    (lambda: Subnetwork(NET, np.zeros(13), np.ones(13, bool)), "parameters: expected increasing"),
    (lambda: Subnetwork("net", np.zeros(13), [0]), "net: expected an object with evaluate"),
    (lambda: Subnetwork(NET, np.zeros(13), [0, 2]).forward(np.zeros(13), np.zeros((1, 2))), r"theta: .* \(..., 2\), got \(13,\)"),
    (lambda: Subnetwork(NET, np.zeros(13), [0, 2]).jvp(np.zeros(2), np.zeros((1, 2)), np.zeros(13)), "u: expected shape"),
    (lambda: Subnetwork(NET, np.zeros(13), [0]).conditional(priors.isotropic(1, 1.0)), "prior: expected 13 parameters"),
    (lambda: layer(NET, 2), "index: expected a layer from -2 to 1, got 2"),
])
def test_bad_input_is_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_what_the_caller_does_to_its_arrays_later_stays_outside():
    at, chosen = np.zeros(13), np.array([1, 2])
    net = Subnetwork(NET, at, chosen)
    at[:], chosen[:] = 1.0, 5
    assert not net.at.any() and net.parameters.tolist() == [1, 2]
    assert not net.embed(np.zeros(2)).any()


# -- planted faults ---------------------------------------------------------------------------------------------------------


def on(test, **choices):
    """A law at one problem."""
    return lambda: statement(test)(Spec(**{"sizes": (2, 4, 3), "likelihood": "categorical", "num_data": 6, "seed": 1, **choices}))


FIRST = on(test_outputs_and_first_derivatives_are_those_of_the_network_in_the_chosen_parameters)
SECOND = on(test_second_and_third_derivatives_are_the_chosen_rows_and_columns)
FORMS = on(test_every_curvature_is_the_chosen_rows_and_columns_in_every_form)
PRIOR = on(test_the_conditional_prior_is_the_prior_as_a_function_of_the_chosen_parameters)
true_embed, true_conditional = Subnetwork.embed, Subnetwork.conditional
FAULTS = [
    ("the others at zero", Subnetwork, "embed", lambda self, theta: true_embed(dataclasses.replace(self, at=0 * self.at), theta),
     (FIRST, SECOND, FORMS)),
    ("θ ignored", Subnetwork, "embed", lambda self, theta: np.broadcast_to(self.at, (*theta.shape[:-1], len(self.at))), (FIRST,)),
    ("the first parameters for the chosen ones", SubnetworkEvaluation, "vjp",
     lambda self, v: self.base.vjp(v)[..., :self.num_params], (FIRST,)),
    ("jvp along every parameter", SubnetworkEvaluation, "jvp",
     lambda self, u: self.base.jvp(np.resize(u, self.base.num_params)), (FIRST,)),
    ("jets along every parameter", SubnetworkEvaluation, "third_order_product",
     lambda self, u, r, M, T: self.base.third_order_product(np.resize(u, self.base.num_params), r, M, T)[self.parameters],
     (SECOND,)),
    ("the whole diagonal's beginning", SubnetworkPullback, "diagonal", lambda self: self.base.diagonal()[:self.num_params],
     (FORMS,)),
    ("the marginal precision for the conditional", Subnetwork, "conditional", lambda self, prior: priors.full(
        np.linalg.inv(prior.covariance()[np.ix_(self.parameters, self.parameters)]), prior.mean[self.parameters]), (PRIOR,)),
    ("the prior's mean whatever the others are", Subnetwork, "conditional", lambda self, prior: dataclasses.replace(
        true_conditional(self, prior), mean=prior.mean[self.parameters]), (PRIOR,)),
]
PAIRS = [pytest.param(holder, name, fault, one, id=f"{words} [{i}]")
         for words, holder, name, fault, laws in FAULTS for i, one in enumerate(laws)]


@pytest.mark.parametrize("holder, name, fault, law_of_it", PAIRS)
def test_a_planted_fault_breaks_its_law(holder, name, fault, law_of_it, monkeypatch):
    law_of_it()
    monkeypatch.setattr(holder, name, fault)
    with pytest.raises(AssertionError):
        law_of_it()
