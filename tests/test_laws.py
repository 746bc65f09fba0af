"""Laws between modules: symmetries, updates, duality, limits (identities D12, D13, F1 to F9, G9, G11, G20, G27 to G30)."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from refbnn import Gaussian, Linearised, Loss, Mlp, Posterior, laplace, likelihoods, optimize, predict, priors
from refbnn.gaussian import kl
from refbnn.testing import taylor_order
from tests import oracles
from tests.judge import agree, condition, norm_or_one, vanishes
from tests.zoo import EVERY, HOMOGENEOUS, LIKELIHOODS, ODD, Spec, law, statement

VARIANCE = 0.37


# -- symmetries of the network ----------------------------------------------------------------------------------------------


def signed_permutation(case):
    """Q (p p) that reverses the order of the units of the first hidden layer and flips the sign of the last one there."""
    net, (W, b) = case.net, case.net.unflatten(np.arange(case.net.num_params))[0]
    units = np.arange(len(W))[::-1]
    signs = np.where(np.arange(len(W)) == 0, -1.0, 1.0)
    layers = net.unflatten(np.arange(float(net.num_params)))
    sign_layers = [(np.ones_like(W), None if b is None else np.ones_like(b)) for W, b in layers]
    layers[0] = (layers[0][0][units], None if b is None else layers[0][1][units])
    layers[1] = (layers[1][0][:, units], layers[1][1])
    sign_layers[0][0][:] = signs[:, None]
    sign_layers[1][0][:] = signs
    if b is not None:
        sign_layers[0][1][:] = signs
    order, sign = net.flatten(layers).astype(int), net.flatten(sign_layers)
    return sign[:, None] * np.eye(net.num_params)[order]


@law(activation=ODD, hidden=(1, 3), likelihood=EVERY)
def test_permuting_and_flipping_units_moves_every_curvature_along(spec):
    """Identity F1: f(Qθ) = f(θ), H(Qθ) = Q H(θ) Qᵀ, and so for G, F, the empirical Fisher and the gradient.

    Eqs. (symmetry) and (symmetry-derivatives).
    """
    case = spec.build()
    Q = signed_permutation(case)
    moved = Q @ case.theta
    f = case.net.forward(case.theta, case.X)
    scale = norm_or_one(case.net.jacobian(case.theta, case.X)) * np.linalg.norm(case.theta)
    agree(case.net.forward(moved, case.X), f, terms=case.terms, scale=scale)
    for name in ("hessian", "ggn", "fisher", "empirical_fisher"):
        matrix = getattr(case.loss, name)
        kappa = condition(case, lambda c: getattr(c.loss, name)(c.theta))
        expected = Q @ matrix(case.theta) @ Q.T
        agree(matrix(moved), expected, terms=case.terms, condition=kappa, scale=norm_or_one(expected))
    kappa = condition(case, lambda c: c.loss.per_datum_gradients(c.theta))
    g = case.loss.gradient(case.theta)
    agree(case.loss.gradient(moved), Q @ g, terms=case.terms, condition=kappa,
          scale=norm_or_one(case.loss.per_datum_gradients(case.theta)))


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_evidence_and_predictive_are_the_same_at_every_point_of_an_orbit(likelihood):
    """Identity F2, for an isotropic prior with mean zero. Eq. (orbit)."""
    case = Spec((2, 3, 2), "tanh", likelihood).build()
    prior = priors.isotropic(case.net.num_params, 1.3)
    post = Posterior(case.net, case.likelihood, prior, case.X, case.y)

    def evidence_and_moments(theta):
        q = laplace.at(theta, prior.precision + post.loss.ggn(theta))
        found = predict.moments(Linearised(case.net, at=theta), q, case.X_new)
        return laplace.log_evidence(post.log_prob(theta), q), found

    here, there = evidence_and_moments(case.theta), evidence_and_moments(signed_permutation(case) @ case.theta)
    kappa = np.linalg.cond(post.loss.ggn(case.theta) + 1.3 * np.eye(len(case.theta)))
    agree(there[0], here[0], terms=case.terms, condition=kappa)
    agree(there[1].mean, here[1].mean, terms=case.terms, condition=kappa)
    agree(there[1].covariance, here[1].covariance, terms=case.terms, condition=kappa)


@law(activation=HOMOGENEOUS, hidden=(1, 3), likelihood=EVERY)
def test_rescaling_a_unit_is_a_null_direction_of_the_ggn_and_turns_the_gradient_in_the_hessian(spec):
    """Identity F3, X = +1 on in-weights and bias of unit 0, −1 on its out-weights: gᵀXθ = 0, JXθ = 0, GXθ = 0, HXθ = −Xg.

    Eq. (generator).
    """
    case = spec.build()
    signs = [(np.zeros_like(W), None if b is None else np.zeros_like(b)) for W, b in case.net.unflatten(case.theta)]
    signs[0][0][0], signs[1][0][:, 0] = 1.0, -1.0
    if spec.bias:
        signs[0][1][0] = 1.0
    generator = case.net.flatten(signs)
    direction, loss = generator * case.theta, case.loss
    J, G, H, g = (function(case.theta) for function in (
        lambda theta: case.net.jacobian(theta, case.X), loss.ggn, loss.hessian, loss.gradient))
    size = norm_or_one(direction)
    gradients = norm_or_one(loss.per_datum_gradients(case.theta))
    vanishes(J @ direction, scale=norm_or_one(J) * size, terms=case.terms)
    vanishes(G @ direction, scale=norm_or_one(G) * size, terms=case.terms)
    vanishes(g @ direction, scale=gradients * size, terms=case.terms)
    agree(H @ direction, -generator * g, terms=case.terms, scale=(norm_or_one(H) + norm_or_one(G)) * size + gradients)


@law(likelihood=("categorical",), bias=(True,))
def test_shifting_all_output_biases_is_a_null_direction_of_ggn_and_hessian(spec):
    """Identity F8. Eq. (gauge)."""
    case = spec.build()
    shift = np.zeros(case.net.num_params)
    shift[-case.net.num_outputs:] = 1.0
    G, H = case.loss.ggn(case.theta), case.loss.hessian(case.theta)
    vanishes(G @ shift, scale=norm_or_one(G), terms=case.terms)
    vanishes(H @ shift, scale=norm_or_one(H) + norm_or_one(G), terms=case.terms)
    gradients = np.linalg.norm(case.loss.per_datum_gradients(case.theta), axis=1).sum()
    vanishes(case.loss.gradient(case.theta) @ shift, scale=gradients, terms=case.terms)


def test_the_softmax_mode_under_an_isotropic_prior_has_output_weights_that_sum_to_zero():
    """Identity F9. Eq. (gauge-balance)."""
    case = Spec((2, 3, 4), "tanh", "categorical").build()
    post = Posterior(case.net, case.likelihood, priors.isotropic(case.net.num_params, 0.8), case.X, case.y)
    mode = optimize.maximize(post, case.theta)
    W, b = case.net.unflatten(mode.theta)[-1]
    error = mode.decrement / math.sqrt(mode.smallest_eigenvalue) + 30 * case.terms * 1.2e-16 * np.linalg.norm(mode.theta)
    assert max(np.abs(W.sum(0)).max(), abs(b.sum())) <= 10 * error


# -- data, in one go or one after the other ---------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [True, False])
def test_the_posterior_after_some_data_is_the_prior_for_the_rest(bias):
    """Identities G9 and G11 for linear regression: the same posterior, and the log evidences of the steps add up."""
    case = Spec((3, 2), likelihood="normal", bias=bias, num_data=8).build()

    def update(prior, X, y):
        post = Posterior(case.net, case.likelihood, prior, X, y)
        mode = optimize.maximize(post, prior.mean)
        q = laplace.at(mode.theta, prior.precision + post.loss.ggn(mode.theta))
        return q, laplace.log_evidence(mode.log_prob, q)

    whole, evidence = update(case.prior, case.X, case.y)
    q, total = case.prior, 0.0
    for rows in (slice(0, 1), slice(1, 4), slice(4, 8)):
        q, step = update(q, case.X[rows], case.y[rows])
        total += step
    kappa = np.linalg.cond(whole.precision.matrix()) * np.linalg.cond(oracles.dense(case.prior.precision))
    agree(q.precision.matrix(), whole.precision.matrix(), terms=case.terms)
    agree(q.mean, whole.mean, terms=case.terms, condition=kappa)
    agree(total, evidence, terms=case.terms, condition=kappa)


@law()
def test_information_is_gained_never_lost_by_data(spec):
    """KL(q_after ‖ prior at the same point) = ½ [tr(P₀Σ) − p + log |P| − log |P₀|] >= 0, from the parts of Laplace."""
    case = spec.build()
    prior = Gaussian(case.theta, case.prior.precision)
    q = laplace.at(case.theta, case.prior.precision + case.loss.ggn(case.theta))
    P0, P = oracles.dense(prior.precision), q.precision.matrix()
    spread = np.trace(np.linalg.solve(P, P0)) - len(P)
    expected = 0.5 * (spread + np.linalg.slogdet(P)[1] - np.linalg.slogdet(P0)[1])
    kappa = np.linalg.cond(P) * np.linalg.cond(P0)
    agree(kl(q, prior), expected, terms=case.terms, condition=kappa, scale=len(P) + abs(expected))
    assert kl(q, prior) >= -30 * case.terms * 1.2e-16 * kappa * len(P)


@pytest.mark.parametrize("copies", [2, 5])
def test_data_seen_several_times_multiply_the_ggn_and_narrow_the_predictive_in_the_limit(copies):
    """Identity G30: P = βG + P₀ for β copies."""
    case = Spec((2, 3, 2), "tanh", "poisson").build()
    many = Loss(case.net, case.likelihood, np.tile(case.X, (copies, 1)), np.tile(case.y, (copies, 1)))
    agree(many.ggn(case.theta), copies * case.loss.ggn(case.theta), terms=case.terms)
    agree(many.hessian(case.theta), copies * case.loss.hessian(case.theta), terms=case.terms, condition=10)


# -- duality and solvers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("likelihood", ["bernoulli", "poisson", "categorical", "probit"])
def test_the_mode_of_a_linear_model_is_prior_mean_minus_prior_covariance_times_residuals(likelihood):
    """Identity G27: θ* = μ₀ − P₀⁻¹ Jᵀ r(θ*)."""
    case = Spec((3, 2), likelihood=likelihood).build()
    mode = optimize.maximize(case.posterior, case.theta)
    J = case.net.jacobian(mode.theta, case.X)
    r = case.likelihood.residual(case.net.forward(mode.theta, case.X), case.y)
    dual = case.prior.mean - case.prior.precision.solve(np.einsum("nkp,nk->p", J, r))
    P0 = oracles.dense(case.prior.precision)
    A = case.posterior.negative_hessian(mode.theta)
    agree(dual, mode.theta, terms=case.terms, condition=np.linalg.cond(P0) * np.linalg.cond(A))


def test_the_predictive_mean_moves_with_a_target_by_the_influence_matrix():
    """Identity G28: ∂m(x)/∂y = J(x) Σ Jᵀ/σ², exact because linear regression is linear in y."""
    case = Spec((2, 1), likelihood="normal").build()

    def predictive_mean(y):
        mode = optimize.maximize(Posterior(case.net, case.likelihood, case.prior, case.X, y), case.prior.mean)
        return case.net.forward(mode.theta, case.X_new).ravel()

    q = laplace.at(case.theta, case.prior.precision + case.loss.ggn(case.theta))
    J, J_new = (case.net.jacobian(case.theta, inputs)[:, 0] for inputs in (case.X, case.X_new))
    influence = J_new @ q.covariance() @ J.T / VARIANCE
    measured = np.array([predictive_mean(case.y + np.eye(len(case.y))[:, [n]]) - predictive_mean(case.y)
                         for n in range(len(case.y))]).T
    agree(measured, influence, terms=case.terms, condition=10 * np.linalg.cond(q.covariance()))


@law()
def test_leverages_are_a_projection_of_trace_rank(spec):
    """Identity D12 with J̃ = Sᵀ J: L = J̃ (J̃ᵀJ̃)⁺ J̃ᵀ is idempotent with trace rank G, also for singular Λ."""
    case = spec.build()
    J = case.net.jacobian(case.theta, case.X)
    S = case.likelihood.factor(case.net.forward(case.theta, case.X), case.y)
    half = np.concatenate([Sn.T @ Jn for Sn, Jn in zip(S, J)])
    G = case.loss.ggn(case.theta)
    cut = 1e-10
    L = half @ np.linalg.pinv(G, rcond=cut, hermitian=True) @ half.T
    values = np.linalg.eigvalsh(G)
    rank = int((values > cut * values[-1]).sum()) if values[-1] > 0 else 0
    gap = values[values > cut * values[-1]].min() / values[-1] if rank else 1.0
    agree(np.trace(L), float(rank), terms=case.terms, condition=1 / gap, scale=max(rank, 1))
    agree(L @ L, L, terms=case.terms, condition=1 / gap, scale=max(rank, 1))


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_one_natural_gradient_step_is_one_newton_step_on_the_linearised_model(likelihood):
    """Identity D13: with G + P₀ the two steps solve the same system; Newton's decrement then predicts the gain to third order.

    Eq. (natural-gradient).
    """
    case = Spec((2, 3, 2), "tanh", likelihood).build()
    linear = Posterior(Linearised(case.net, at=case.theta), case.likelihood, case.prior, case.X, case.y)
    gradient = linear.value_and_gradient(case.theta)[1]
    agree(gradient, case.posterior.value_and_gradient(case.theta)[1], terms=case.terms, condition=10)
    A = case.loss.ggn(case.theta) + oracles.dense(case.prior.precision)
    agree(linear.negative_hessian(case.theta), A, terms=case.terms)
    step = np.linalg.solve(A, gradient)

    def remainder(h):
        gain = linear.log_prob(case.theta + h * step) - linear.log_prob(case.theta)
        return gain - (h - h * h / 2) * (gradient @ step)

    if likelihood == "normal":
        vanishes(remainder(1.0), scale=abs(linear.log_prob(case.theta)) + gradient @ step, terms=case.terms)
    else:
        assert abs(taylor_order(remainder, 2.0 ** -np.arange(5, 10)) - 3) < 0.2


# -- limits -----------------------------------------------------------------------------------------------------------------


def test_a_strong_prior_leaves_the_likelihood_at_the_prior_mean():
    """Identity G29: λ → ∞ gives log evidence → log p(y|μ₀), with an error of order 1/λ. Eq. (firm-prior)."""
    case = Spec((2, 3, 2), "tanh", "categorical").build()
    p, mean = case.net.num_params, case.prior.mean

    def error(h):
        prior = priors.isotropic(p, 1 / h, mean)
        post = Posterior(case.net, case.likelihood, prior, case.X, case.y)
        mode = optimize.maximize(post, mean)
        q = laplace.at(mode.theta, prior.precision + post.loss.ggn(mode.theta))
        return laplace.log_evidence(mode.log_prob, q) - post.log_likelihood(mean)

    assert abs(taylor_order(error, 2.0 ** -np.arange(12, 16)) - 1) < 0.1


def test_a_weak_prior_costs_half_a_log_precision_for_every_determined_direction():
    """Identity G29: d log evidence / d log λ → ½ rank G as λ → 0, for linear regression with mean zero."""
    case = Spec((3, 2), likelihood="normal", num_data=12).build()

    def evidence(precision):
        prior = priors.isotropic(case.net.num_params, precision)
        post = Posterior(case.net, case.likelihood, prior, case.X, case.y)
        mode = optimize.maximize(post, case.theta)
        return laplace.log_evidence(mode.log_prob, laplace.at(mode.theta, prior.precision + post.loss.ggn(mode.theta)))

    slope = (evidence(2e-8) - evidence(1e-8)) / math.log(2)
    assert abs(slope - case.net.num_params / 2) < 1e-5


def test_constants_added_to_the_loss_change_the_evidence_and_nothing_else():
    """Identity D16, with the normaliser of the normal as the constant: rescale y, f and σ together."""
    case = Spec((3, 2), likelihood="normal").build()
    scale = 2.0
    net, prior = case.net, case.prior
    wide = priors.full(oracles.dense(prior.precision) / scale**2, scale * prior.mean)
    evidences, ggns = [], []
    for factor, own in ((1.0, prior), (scale, wide)):
        post = Posterior(net, likelihoods.Normal(VARIANCE * factor**2), own, case.X, factor * case.y)
        mode = optimize.maximize(post, factor * case.theta)
        q = laplace.at(mode.theta, own.precision + post.loss.ggn(mode.theta))
        evidences.append(laplace.log_evidence(mode.log_prob, q))
        ggns.append(post.loss.ggn(mode.theta) * factor**2)
    kappa = np.linalg.cond(ggns[0] + np.eye(8))
    agree(evidences[1], evidences[0] - case.y.size * math.log(scale), terms=case.terms, condition=kappa)
    agree(ggns[1], ggns[0], terms=case.terms)


# -- the order in which things are done -------------------------------------------------------------------------------------


@law(hidden=(1, 2))
def test_networks_compose_a_hidden_layer_is_a_network_of_its_own(spec):
    """The first layers as an Mlp, its activated outputs as inputs of the rest: the same outputs, and J by the chain rule."""
    case = spec.build()
    layers = case.net.unflatten(case.theta)
    first = Mlp(spec.sizes[:2], (), bias=spec.bias)
    rest = Mlp(spec.sizes[1:], case.net.activation[1:], bias=spec.bias)
    z = first.forward(first.flatten(layers[:1]), case.X)
    f = rest.forward(rest.flatten(layers[1:]), case.net.activation[0](z))
    scale = norm_or_one(case.net.jacobian(case.theta, case.X)) * np.linalg.norm(case.theta)
    agree(case.net.forward(case.theta, case.X), f, terms=case.terms, scale=scale)
    J = case.net.jacobian(case.theta, case.X)[:, :, first.num_params:]
    agree(J, rest.jacobian(rest.flatten(layers[1:]), case.net.activation[0](z)), terms=case.terms, scale=norm_or_one(J))


def test_a_law_rejects_a_wrong_sign_of_symmetry():
    """The checker itself: an even activation must fail the law of flipped signs."""
    odd = Spec((2, 3, 2), "tanh", seed=3)
    statement(test_permuting_and_flipping_units_moves_every_curvature_along)(odd)
    with pytest.raises(AssertionError):
        statement(test_permuting_and_flipping_units_moves_every_curvature_along)(dataclasses.replace(odd, activation="square"))


# -- the surface of outputs -------------------------------------------------------------------------------------------------


def second_derivative_along_a_line(spec, phi, w, X, radius=0.1, points=32):
    """d²/dt² f(X, sinh(φ + t w)) at t = 0, by Cauchy's integral through the plain network, and a bound of its round-off."""
    t = radius * np.exp(2j * np.pi * np.arange(points) / points)
    f = oracles.forward(spec, np.sinh(phi + t[:, None] * w), X)[..., 0]
    return 2 * np.mean(f / t[:, None] ** 2, axis=0).real, 60 * 2.0**-53 * np.abs(f).max() / radius**2


def test_intrinsic_curvature_is_the_same_in_all_coordinates_and_that_of_the_parameters_is_not():
    """Identity G20 (Bates and Watts 1980): with θ = sinh φ the second derivative along a line is f̈ + J (θ ⊙ w²).

    It differs from f̈ within the tangent plane of the outputs and not beside it.
    """
    spec = Spec((2, 2, 1), "tanh", num_data=31)
    case = spec.build()
    phi, w = np.arcsinh(case.theta), case.vector
    u, at = np.cosh(phi) * w, case.net.evaluate(case.theta, case.X)
    J, bend, speed = case.net.jacobian(case.theta, case.X)[:, 0], at.bend(u)[:, 0], at.jvp(u)[:, 0] @ at.jvp(u)[:, 0]
    other, bound = second_derivative_along_a_line(spec, phi, w, case.X)
    basis = np.linalg.qr(J)[0]
    beside = [value - basis @ (basis.T @ value) for value in (bend, other)]
    assert np.abs(other - bend - J @ (case.theta * w**2)).max() <= bound
    assert abs(np.subtract(*[np.linalg.norm(value) for value in beside])) <= bound * np.sqrt(len(bend))
    assert np.linalg.norm(beside[0]) > 0.01 * speed, "a surface that is flat would show nothing"
    within = [np.linalg.norm(basis.T @ value) for value in (bend, other)]
    assert abs(np.subtract(*within)) > 0.01 * max(within)
