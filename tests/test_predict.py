"""Predictions (identities G1, G4, G12, G15, G18, G19, G34)."""

import itertools

import numpy as np
import pytest

from refbnn import Gaussian, Linearised, Mlp, activations, laplace, optimize, predict, priors
from refbnn.precision import Dense
from refbnn.testing import taylor_order
from tests import oracles
from tests.judge import agree, norm_or_one, smallest_eigenvalue_is_not_negative
from tests.zoo import LIKELIHOODS, Spec, law

VARIANCE = 0.37


def glm(case):
    """The GLM predictive at θ with the GGN, and P = G + P₀ as a plain array."""
    q = laplace.at(case.theta, case.prior.precision + case.loss.ggn(case.theta))
    P = case.loss.ggn(case.theta) + oracles.dense(case.prior.precision)
    return predict.moments(Linearised(case.net, at=case.theta), q, case.X_new), P


@law()
def test_the_glm_predictive_is_the_loop_over_inputs_with_the_inverse_precision(spec):
    """Eq. (glm-predictive)."""
    case = spec.build()
    found, P = glm(case)
    J = oracles.jacobian(case, case.X_new)
    S = np.linalg.inv(P)
    expected = np.array([Jn @ S @ Jn.T for Jn in J])
    scale = np.linalg.norm(S, 2) * norm_or_one(J) ** 2
    agree(found.covariance, expected, terms=case.terms, condition=np.linalg.cond(P), scale=scale)
    f = oracles.forward(spec, case.theta, case.X_new)
    agree(found.mean, f, terms=case.terms, scale=norm_or_one(f) + norm_or_one(J) * np.linalg.norm(case.theta))


@law(likelihood=("normal",), hidden=(0, 0))
def test_the_predictive_of_linear_regression_is_exact(spec):
    """Identity G1: mean and covariance of f(x) in closed form; the noise σ² is not in it."""
    case = spec.build()
    mode = optimize.maximize(case.posterior, case.theta)
    q = laplace.at(mode.theta, case.prior.precision + case.loss.ggn(mode.theta))
    found = predict.moments(case.net, q, case.X_new)
    J, J_new = (oracles.jacobian(case, X).reshape(-1, case.net.num_params) for X in (case.X, case.X_new))
    P0, k = oracles.dense(case.prior.precision), case.net.num_outputs
    K, K_cross, K_new = (A @ np.linalg.solve(P0, B.T) for A, B in ((J, J), (J_new, J), (J_new, J_new)))
    noisy = K + VARIANCE * np.eye(len(K))
    mean = J_new @ case.prior.mean + K_cross @ np.linalg.solve(noisy, case.y.ravel() - J @ case.prior.mean)
    covariance = K_new - K_cross @ np.linalg.solve(noisy, K_cross.T)
    kappa = np.linalg.cond(noisy) * np.linalg.cond(P0)
    scale = np.linalg.norm(mean) + np.linalg.norm(J_new) * np.linalg.norm(case.prior.mean)
    agree(found.mean.ravel(), mean, terms=case.terms, condition=kappa, scale=scale)
    for m, block in enumerate(found.covariance):
        at = slice(m * k, (m + 1) * k)
        agree(block, covariance[at, at], terms=case.terms, condition=kappa, scale=np.linalg.norm(K_new))


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_the_weight_space_predictive_equals_its_dual_over_data(likelihood):
    """Identity G4 with the root S of Λ on both sides, so that the singular curvature of the softmax needs no inverse."""
    case = Spec((2, 3, 2), "tanh", likelihood, num_data=5).build()
    found, P = glm(case)
    P0, p = oracles.dense(case.prior.precision), case.net.num_params
    J, J_new = case.net.jacobian(case.theta, case.X), case.net.jacobian(case.theta, case.X_new)
    S = case.likelihood.factor(case.net.forward(case.theta, case.X), case.y)
    half = np.concatenate([Sn.T @ Jn for Sn, Jn in zip(S, J)])
    inner = np.eye(len(half)) + half @ np.linalg.solve(P0, half.T)
    for block, Jx in zip(found.covariance, J_new):
        cross = Jx @ np.linalg.solve(P0, half.T)
        dual = Jx @ np.linalg.solve(P0, Jx.T) - cross @ np.linalg.solve(inner, cross.T)
        agree(block, dual, terms=p + 5, condition=np.linalg.cond(P) * np.linalg.cond(P0),
              scale=np.linalg.norm(Jx @ np.linalg.solve(P0, Jx.T)))


@law()
def test_data_never_widen_the_linearised_predictive(spec):
    """Identity G12: J P⁻¹ Jᵀ ⪯ J P₀⁻¹ Jᵀ, and one datum less is in between."""
    case = spec.build()
    linear = Linearised(case.net, at=case.theta)
    G_less = type(case.loss)(case.net, case.likelihood, case.X[:1], case.y[:1]).ggn(case.theta)
    covariances = [
        predict.moments(linear, laplace.at(case.theta, precision), case.X_new).covariance
        for precision in (case.prior.precision, case.prior.precision + G_less, case.prior.precision + case.loss.ggn(case.theta))
    ]
    scale = norm_or_one(covariances[0])
    for wider, narrower in itertools.pairwise(covariances):
        for a, b in zip(wider, narrower):
            smallest_eigenvalue_is_not_negative(a - b + 30 * case.terms * 1.2e-16 * scale * np.eye(len(a)), terms=case.terms)


@law()
def test_the_glm_covariance_is_unchanged_by_a_linear_map_of_the_parameters_if_the_prior_moves_along(spec):
    """Identities G15 and G34 in coordinates θ = Tφ: J becomes JT, P becomes TᵀPT."""
    case = spec.build()
    p, rng = case.net.num_params, np.random.default_rng(0)
    T = np.eye(p) + 0.3 * rng.normal(size=(p, p)) / np.sqrt(p)
    found, P = glm(case)
    J = case.net.jacobian(case.theta, case.X_new)
    q = Gaussian(np.zeros(p), Dense(T.T @ P @ T))
    kappa = np.linalg.cond(P) * np.linalg.cond(T) ** 2
    half = q.precision.scale_transposed_matvec(J @ T)
    scale = norm_or_one(found.covariance)
    agree(half @ np.swapaxes(half, 1, 2), found.covariance, terms=case.terms, condition=kappa, scale=scale)


def gauss_hermite(q, points=8):
    """Nodes θ (t p) and weights (t) that integrate polynomials exactly over q, a product rule."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(points)
    z = np.array(list(itertools.product(nodes, repeat=q.num_params)))
    w = np.array([np.prod(row) for row in itertools.product(weights / weights.sum(), repeat=q.num_params)])
    return q.from_normals(z), w


def test_averaging_the_network_itself_differs_from_the_linearised_mean_by_half_the_trace_of_its_bend():
    """Identities G18 and G19: E f = f + ½ε² tr(Σ∇²f) + O(ε⁴), Var f = ε² JΣJᵀ + O(ε⁴), for q = N(θ, ε²Σ).

    Eqs. (network-sampling-bias) and (network-sampling-variance).
    """
    net, X = Mlp((1, 1, 1), activations.tanh), np.array([[0.7]])
    theta = np.array([0.5, -0.2, 1.5, 0.3])
    A = np.random.default_rng(0).normal(size=(4, 4))
    P = A @ A.T + np.eye(4)
    S, J = np.linalg.inv(P), net.jacobian(theta, X)[0, 0]
    bend = np.trace(S @ net.contracted_hessian(theta, X, np.ones((1, 1))))

    def outputs(step):
        thetas, w = gauss_hermite(Gaussian(theta, Dense(P / step**2)))
        return net.forward(thetas, X)[:, 0, 0], w

    def mean_remainder(step):
        f, w = outputs(step)
        return w @ f - net.forward(theta, X)[0, 0] - 0.5 * step**2 * bend

    def variance_remainder(step):
        f, w = outputs(step)
        return w @ (f - w @ f) ** 2 - step**2 * J @ S @ J

    steps = 2.0 ** -np.arange(2, 6)
    assert abs(taylor_order(mean_remainder, steps) - 4) < 0.2
    assert abs(taylor_order(variance_remainder, steps) - 4) < 0.2


def test_moments_refuse_a_network_that_is_not_linear_and_say_what_to_do():
    case = Spec((2, 3, 1)).build()
    with pytest.raises(ValueError, match="Linearised"):
        predict.moments(case.net, case.prior, case.X_new)


# -- Monte Carlo over given draws -------------------------------------------------------------------------------------------


@law()
def test_the_monte_carlo_predictive_is_the_loop_over_draws_by_total_variance(spec):
    """Eq. (monte-carlo-predictive)."""
    case = spec.build()
    thetas = case.theta * (1 + 0.2 * np.random.default_rng(0).normal(size=(4, case.net.num_params)))
    found = predict.monte_carlo(case.net, case.likelihood, thetas, case.X_new)
    means = np.array([case.likelihood.mean(case.net.forward(theta, case.X_new)) for theta in thetas])
    noise = np.array([case.likelihood.covariance(case.net.forward(theta, case.X_new)) for theta in thetas])
    mean = sum(means) / 4
    agree(found.mean, mean, terms=case.terms, condition=10, scale=norm_or_one(means))
    within, between = sum(noise) / 4, sum(np.einsum("mk,ml->mkl", m - mean, m - mean) for m in means) / 4
    agree(found.covariance, within + between, terms=case.terms, condition=10, scale=norm_or_one(within) + norm_or_one(means) ** 2)


def test_the_monte_carlo_covariance_of_a_binary_label_is_that_of_its_mean():
    """For one Bernoulli output, total variance must give m(1 − m) whatever the spread of the draws."""
    case = Spec((2, 3, 1), likelihood="bernoulli").build()
    thetas = case.theta + np.random.default_rng(0).normal(size=(9, case.net.num_params))
    found = predict.monte_carlo(case.net, case.likelihood, thetas, case.X_new)
    m = found.mean[:, 0]
    agree(found.covariance[:, 0, 0], m * (1 - m), terms=case.terms)


def test_the_monte_carlo_covariance_of_a_label_is_that_of_its_mean_probabilities():
    case = Spec((2, 3, 4), likelihood="categorical").build()
    thetas = case.theta + np.random.default_rng(0).normal(size=(9, case.net.num_params))
    found = predict.monte_carlo(case.net, case.likelihood, thetas, case.X_new)
    expected = np.einsum("mk,kl->mkl", found.mean, np.eye(4)) - found.mean[:, :, None] * found.mean[:, None, :]
    agree(found.covariance, expected, terms=case.terms)


def test_one_draw_has_no_spread_between_draws():
    case = Spec((2, 3, 2), likelihood="normal").build()
    found = predict.monte_carlo(case.net, case.likelihood, case.theta[None], case.X_new)
    agree(found.mean, case.net.forward(case.theta, case.X_new), terms=case.terms)
    agree(found.covariance, np.broadcast_to(VARIANCE * np.eye(2), (5, 2, 2)), terms=2)


def test_draws_at_the_nodes_of_a_gaussian_reproduce_the_linearised_moments_plus_noise():
    """Over ± √p columns of the scale, Monte Carlo of the linearised normal model has the moments of `moments`, plus σ².

    Eq. (noise).
    """
    case = Spec((2, 3, 2), likelihood="normal").build()
    linear = Linearised(case.net, at=case.theta)
    q = laplace.at(case.theta, case.prior.precision + case.loss.ggn(case.theta))
    p = q.num_params
    draws = q.from_normals(np.sqrt(p) * np.concatenate([np.eye(p), -np.eye(p)]))
    found = predict.monte_carlo(linear, case.likelihood, draws, case.X_new)
    expected = predict.moments(linear, q, case.X_new)
    kappa = np.linalg.cond(q.precision.matrix())
    agree(found.mean, expected.mean, terms=case.terms, condition=kappa)
    agree(found.covariance - VARIANCE * np.eye(2), expected.covariance, terms=case.terms, condition=kappa)


def test_the_prior_predictive_is_that_of_the_prior_itself():
    net, X = Mlp((2, 1), activations.tanh), np.array([[1.0, 2.0]])
    found = predict.moments(net, priors.isotropic(3, 4.0, mean=0.5), X)
    agree(found.mean, [[0.5 + 1.0 + 0.5]], terms=4)
    agree(found.covariance, [[[(1 + 4 + 1) / 4]]], terms=4)
