"""The Laplace approximation (identities G1, G5 to G8, G13, G14, G23, G31, G33)."""

import math

import numpy as np
import pytest

from refbnn import Gaussian, laplace, optimize, priors
from refbnn.linalg import NotPositiveDefinite
from tests import oracles
from tests.judge import agree
from tests.zoo import LIKELIHOODS, PRIORS, Spec, law

VARIANCE = 0.37


def log_normal(y, mean, covariance):
    """log N(y; mean, covariance), written out."""
    shift = y - mean
    sign, log_det = np.linalg.slogdet(covariance)
    assert sign > 0
    return -0.5 * (shift @ np.linalg.solve(covariance, shift) + log_det + len(y) * math.log(2 * math.pi))


def dense_parts(case, theta=None):
    """Stacked Jacobian (n·k p), P₀ and G at θ as plain arrays."""
    theta = case.theta if theta is None else theta
    J = case.net.jacobian(theta, case.X).reshape(-1, case.net.num_params)
    return J, oracles.dense(case.prior.precision), case.loss.ggn(theta)


def conditioning(A):
    """κ₂(A)."""
    return np.linalg.cond(A)


@law(likelihood=("normal",), hidden=(0, 0))
def test_laplace_is_exact_for_linear_regression(spec):
    """Identity G1: posterior precision, mean and log evidence in closed form, every constant kept."""
    case = spec.build()
    J, P0, _ = dense_parts(case)
    P = P0 + J.T @ J / VARIANCE
    kappa = conditioning(P)
    mode = optimize.maximize(case.posterior, case.theta)
    q = laplace.at(mode.theta, case.prior.precision + case.loss.ggn(mode.theta))
    mean = np.linalg.solve(P, P0 @ case.prior.mean + J.T @ case.y.ravel() / VARIANCE)
    agree(q.precision.matrix(), P, terms=case.terms)
    agree(q.mean, mean, terms=case.terms, condition=kappa, scale=np.linalg.norm(mean) + np.linalg.norm(case.prior.mean))
    covariance = J @ np.linalg.solve(P0, J.T) + VARIANCE * np.eye(len(J))
    exact = log_normal(case.y.ravel(), J @ case.prior.mean, covariance)
    agree(laplace.log_evidence(mode.log_prob, q), exact, terms=case.terms, condition=kappa, scale=1 + abs(exact))


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("num_data", [1, 3, 20])
def test_the_ratio_of_determinants_has_its_dual_over_data(likelihood, num_data):
    """Identity G5: log |P| − log |P₀| = log |I + SᵀJP₀⁻¹JᵀS|, also for the singular curvature of the softmax."""
    case = Spec((2, 3, 2), "tanh", likelihood, num_data=num_data).build()
    J, P0, G = dense_parts(case)
    S = case.likelihood.factor(case.net.forward(case.theta, case.X), case.y)
    half = np.concatenate([Sn.T @ Jn for Sn, Jn in zip(S, J.reshape(num_data, 2, -1))])
    dual = np.linalg.slogdet(np.eye(len(half)) + half @ np.linalg.solve(P0, half.T))[1]
    q = laplace.at(case.theta, case.prior.precision + G)
    agree(q.precision.log_det() - case.prior.precision.log_det(), dual, terms=case.terms, condition=conditioning(P0 + G))


@law(likelihood=("normal",))
def test_the_evidence_at_any_point_is_that_of_the_linearised_regression_less_half_a_newton_decrement(spec):
    """Identity G7: log N(ỹ; Jμ₀, K + σ²I) = log evidence at θ* + ½ ∇Uᵀ P⁻¹ ∇U, with ỹ = y − f + Jθ*."""
    case = spec.build()
    J, P0, G = dense_parts(case)
    P = P0 + G
    f = case.net.forward(case.theta, case.X).ravel()
    log_joint, gradient = case.posterior.value_and_gradient(case.theta)
    evidence = laplace.log_evidence(log_joint, laplace.at(case.theta, P))
    exact = log_normal(case.y.ravel() - f + J @ case.theta, J @ case.prior.mean,
                       J @ np.linalg.solve(P0, J.T) + VARIANCE * np.eye(len(J)))
    decrement = gradient @ np.linalg.solve(P, gradient)
    scale = abs(exact) + abs(evidence) + decrement
    agree(evidence + 0.5 * decrement, exact, terms=case.terms, condition=conditioning(P) * conditioning(P0), scale=scale)


def test_at_a_mode_the_ggn_evidence_is_the_marginal_likelihood_of_the_gaussian_process():
    """Identity G8."""
    case = Spec((2, 4, 1), "tanh", "normal", num_data=9).build()
    mode = optimize.maximize(case.posterior, case.theta)
    J, P0, G = dense_parts(case, mode.theta)
    f = case.net.forward(mode.theta, case.X).ravel()
    exact = log_normal(case.y.ravel() - f + J @ mode.theta, J @ case.prior.mean,
                       J @ np.linalg.solve(P0, J.T) + VARIANCE * np.eye(len(J)))
    agree(laplace.log_evidence(mode.log_prob, laplace.at(mode.theta, P0 + G)), exact, terms=case.terms,
          condition=conditioning(P0 + G))


def test_the_mode_of_the_linearised_regression_is_gaussian_process_regression_on_pseudo_targets():
    """Identity G6: targets Jθ* − Λ⁻¹r with noise Λ⁻¹ give the function values J(θ* − P⁻¹∇U)."""
    case = Spec((2, 3, 2), "softplus", "poisson").build()
    J, P0, G = dense_parts(case)
    f = case.net.forward(case.theta, case.X)
    r = case.likelihood.residual(f, case.y).ravel()
    rates = np.diagonal(case.likelihood.curvature(f, case.y), axis1=1, axis2=2).ravel()
    K = J @ np.linalg.solve(P0, J.T)
    targets, prior_mean = J @ case.theta - r / rates, J @ case.prior.mean
    process = prior_mean + K @ np.linalg.solve(K + np.diag(1 / rates), targets - prior_mean)
    gradient = -case.posterior.value_and_gradient(case.theta)[1]
    weights = case.theta - laplace.at(case.theta, P0 + G).precision.solve(gradient)
    agree(J @ weights, process, terms=case.terms, condition=conditioning(P0 + G) * conditioning(K + np.diag(1 / rates)))


@law()
def test_the_effective_number_of_parameters_agrees_in_all_its_forms(spec):
    """Identity G13: γ = tr(ΣG) = p − λ tr Σ = Σ μ/(μ + λ) = Σ_n tr(Λ_n J_n Σ J_nᵀ), between 0 and its bound."""
    case = Spec(**{**vars(spec), "prior": "isotropic"}).build()
    G, p, precision = case.loss.ggn(case.theta), case.net.num_params, 1.3
    S = laplace.at(case.theta, case.prior.precision + G).covariance()
    eigenvalues = np.linalg.eigvalsh(G)
    gamma = (eigenvalues / (eigenvalues + precision)).sum()
    kappa = conditioning(G + precision * np.eye(p))
    f, J = case.net.forward(case.theta, case.X), case.net.jacobian(case.theta, case.X)
    per_datum = np.einsum("nab,nbp,pq,naq->", case.likelihood.curvature(f, case.y), J, S, J)
    for other in (np.trace(S @ G), p - precision * np.trace(S), per_datum):
        agree(other, gamma, terms=case.terms, condition=kappa, scale=p)
    assert -1e-12 <= gamma <= min(p, spec.num_data * case.net.num_outputs) + 1e-12 * kappa


@law()
def test_the_evidence_does_not_change_under_affine_maps_of_the_parameters(spec):
    """Identity G14: θ = Tφ + t, prior and precision transformed; the Jacobian determinants cancel."""
    case = spec.build()
    rng, p = np.random.default_rng(1), case.net.num_params
    T, shift = np.eye(p) + 0.3 * rng.normal(size=(p, p)) / np.sqrt(p), rng.normal(size=p)
    P0, G = oracles.dense(case.prior.precision), case.loss.ggn(case.theta)
    phi = np.linalg.solve(T, case.theta - shift)
    prior = priors.full(T.T @ P0 @ T, np.linalg.solve(T, case.prior.mean - shift))
    before = laplace.log_evidence(case.posterior.log_prob(case.theta), laplace.at(case.theta, case.prior.precision + G))
    log_joint = prior.log_prob(phi) - case.loss.value(T @ phi + shift)
    after = laplace.log_evidence(log_joint, laplace.at(phi, prior.precision + T.T @ G @ T))
    kappa = conditioning(P0 + G) * conditioning(T) ** 2
    agree(after, before, terms=case.terms, condition=kappa, scale=1 + abs(before))


@law(hidden=(0, 0))
def test_without_hidden_layer_hessian_and_ggn_laplace_are_the_same(spec):
    case = spec.build()
    with_hessian = laplace.at(case.theta, case.prior.precision + case.loss.hessian(case.theta))
    with_ggn = laplace.at(case.theta, case.prior.precision + case.loss.ggn(case.theta))
    assert np.array_equal(with_hessian.precision.matrix(), with_ggn.precision.matrix())
    assert with_hessian.precision.log_det() == with_ggn.precision.log_det()


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_evidences_with_hessian_and_ggn_differ_by_half_the_log_ratio_of_determinants(likelihood):
    """Identity G31."""
    case = Spec((2, 3, 2), "tanh", likelihood).build()
    mode = optimize.maximize(case.posterior, case.theta)
    H, G, P0 = case.loss.hessian(mode.theta), case.loss.ggn(mode.theta), oracles.dense(case.prior.precision)
    evidences = [laplace.log_evidence(mode.log_prob, laplace.at(mode.theta, case.prior.precision + M)) for M in (G, H)]
    expected = 0.5 * (np.linalg.slogdet(H + P0)[1] - np.linalg.slogdet(G + P0)[1])
    agree(evidences[0] - evidences[1], expected, terms=case.terms, condition=conditioning(H + P0), scale=abs(evidences[0]))
    assert abs(expected) > 1e-6


@pytest.mark.parametrize("prior", PRIORS)
def test_the_log_evidence_is_the_log_joint_plus_the_log_volume(prior):
    case = Spec((2, 3, 2), "tanh", "categorical", prior=prior).build()
    J, P0, G = dense_parts(case)
    p = case.net.num_params
    q = laplace.at(case.theta, case.prior.precision + G)
    log_joint = case.posterior.log_prob(case.theta)
    expected = log_joint + 0.5 * p * math.log(2 * math.pi) - 0.5 * np.linalg.slogdet(P0 + G)[1]
    agree(laplace.log_evidence(log_joint, q), expected, terms=case.terms, condition=conditioning(P0 + G))
    agree(laplace.log_evidence(log_joint, q), log_joint - q.log_prob(q.mean), terms=case.terms, condition=conditioning(P0 + G))


def test_the_laplace_posterior_is_centred_where_asked_with_the_matrix_asked_for():
    case = Spec((2, 3, 2)).build()
    P = case.loss.ggn(case.theta) + oracles.dense(case.prior.precision)
    for precision in (P, case.prior.precision + case.loss.ggn(case.theta), case.prior.precision):
        q = laplace.at(case.theta, precision)
        assert isinstance(q, Gaussian) and np.array_equal(q.mean, case.theta)
    agree(laplace.at(case.theta, P).covariance() @ P, np.eye(len(P)), terms=case.terms, condition=conditioning(P))
    assert laplace.at(case.theta, case.prior.precision).precision is case.prior.precision


def test_a_precision_that_is_not_positive_definite_is_refused_with_its_smallest_eigenvalue():
    case = Spec((2, 3, 2), num_data=2).build()
    P = -0.25 * np.eye(case.net.num_params)
    with pytest.raises(NotPositiveDefinite, match="smallest eigenvalue -0.25"):
        laplace.at(case.theta, P)


def test_the_error_of_the_laplace_evidence_falls_as_one_over_the_number_of_data():
    """One-parameter logistic regression, data replicated: exact evidence by quadrature, slope −1 (identity G25)."""
    from refbnn import Mlp, Posterior, activations, likelihoods
    from scipy.integrate import quad

    net, prior = Mlp((1, 1), activations.tanh, bias=False), priors.isotropic(1, 1.3)
    X, y = np.array([[0.6], [1.1], [-0.4], [0.9]]), np.array([[1.0], [0.0], [0.0], [1.0]])
    copies, errors = [64, 128, 256], []
    for m in copies:
        post = Posterior(net, likelihoods.Bernoulli(), prior, np.tile(X, (m, 1)), np.tile(y, (m, 1)))
        mode = optimize.maximize(post, np.zeros(1))
        q = laplace.at(mode.theta, prior.precision + post.loss.ggn(mode.theta))
        width = np.sqrt(q.covariance()[0, 0])
        mass = quad(lambda t: np.exp(post.log_prob(mode.theta + width * t) - mode.log_prob), -12, 12, epsabs=0, epsrel=1e-12)[0]
        errors.append(laplace.log_evidence(mode.log_prob, q) - mode.log_prob - np.log(mass * width))
    slope = np.polyfit(np.log(copies), np.log(np.abs(errors)), 1)[0]
    assert abs(slope + 1) < 0.1
