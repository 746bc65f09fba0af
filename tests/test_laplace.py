"""The Laplace approximation (identities G1, G5 to G8, G13 to G15, G23, G25, G30, G31, G33, E12), with every structure."""

import functools
import math
from dataclasses import replace

import numpy as np
import pytest

from refbnn import Gaussian, Linearised, Posterior, curvature, kronecker, laplace, low_rank, optimize, predict, priors
from refbnn.blocks import BlockDiagonal, Blocks, layer_blocks
from refbnn.kronecker import KroneckerPrecision
from refbnn.likelihoods import Tempered
from refbnn.linalg import NotPositiveDefinite
from refbnn.low_rank import LowRankPlusDiagonal
from refbnn.precision import Dense, Diagonal
from refbnn.subnetwork import Subnetwork
from tests import oracles
from tests.judge import agree, norm_or_one
from tests.zoo import LIKELIHOODS, PRIORS, SMOOTH, Spec, law

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
    """Identity G1: posterior precision, mean and log evidence in closed form, every constant kept.

    Eqs. (laplace-exact) and (laplace-exact-posterior).
    """
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
    """Identity G7: log N(ỹ; Jμ₀, K + σ²I) = log evidence at θ* + ½ ∇Uᵀ P⁻¹ ∇U, with ỹ = y − f + Jθ*. Eq. (unconverged)."""
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
    """Identity G8. Eq. (linear-model-evidence)."""
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
    """Identity G14: θ = Tφ + t, prior and precision transformed; the Jacobian determinants cancel. Eq. (affine-invariance)."""
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


@law(activation=SMOOTH)
def test_functional_variances_do_not_depend_on_coordinates_if_the_prior_precision_moves_along(spec):
    """Identity G15: θ = ψ(φ), P₀ → ψ'ᵀP₀ψ' at the point; the Jacobian in φ by the complex step through ψ."""
    case = spec.build()
    rng, p = np.random.default_rng(2), case.net.num_params
    B = np.eye(p) + 0.3 * rng.normal(size=(p, p)) / np.sqrt(p)
    phi = np.arcsinh(np.linalg.solve(B, case.theta))  # θ = B sinh φ

    def outputs(points, X):
        return oracles.forward(spec, np.sinh(points) @ B.T, X)

    slope, P0 = B * np.cosh(phi), oracles.dense(case.prior.precision)
    J_data, J_new = (oracles.complex_step(lambda points: outputs(points, X), phi) for X in (case.X, case.X_new))
    G = curvature.congruence(J_data, case.likelihood.curvature(case.net.forward(case.theta, case.X), case.y))
    q = laplace.at(case.theta, case.prior.precision + case.loss.ggn(case.theta))
    expected = predict.moments(Linearised(case.net, at=case.theta), q, case.X_new).covariance
    moved = laplace.at(phi, slope.T @ P0 @ slope + G).precision
    kappa = conditioning(moved.matrix()) * conditioning(slope) ** 2
    half = moved.scale_transposed_matvec(J_new)
    agree(half @ np.swapaxes(half, 1, 2), expected, terms=case.terms, condition=kappa, scale=norm_or_one(expected))


def test_with_an_isotropic_prior_kept_they_do_depend_on_coordinates():
    """The other half of G15."""
    case = Spec((2, 3, 1), prior="isotropic").build()
    p = case.net.num_params
    J, J_new = (case.net.jacobian(case.theta, X).reshape(-1, p) for X in (case.X, case.X_new))
    slope = np.cosh(case.theta)  # θ = sinh φ
    variances = [np.diag(D @ np.linalg.solve(1.3 * np.eye(p) + J.T @ J / VARIANCE * np.outer(s, s), D.T))
                 for D, s in ((J_new, np.ones(p)), (J_new * slope, slope))]
    assert np.abs(variances[1] / variances[0] - 1).max() > 0.01


@law(hidden=(0, 0))
def test_without_hidden_layer_hessian_and_ggn_laplace_are_the_same(spec):
    case = spec.build()
    with_hessian = laplace.at(case.theta, case.prior.precision + case.loss.hessian(case.theta))
    with_ggn = laplace.at(case.theta, case.prior.precision + case.loss.ggn(case.theta))
    assert np.array_equal(with_hessian.precision.matrix(), with_ggn.precision.matrix())
    assert with_hessian.precision.log_det() == with_ggn.precision.log_det()


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_evidences_with_hessian_and_ggn_differ_by_half_the_log_ratio_of_determinants(likelihood):
    """Identity G31. Eq. (hessian-or-ggn)."""
    case = Spec((2, 3, 2), "tanh", likelihood).build()
    mode = optimize.maximize(case.posterior, case.theta)
    H, G, P0 = case.loss.hessian(mode.theta), case.loss.ggn(mode.theta), oracles.dense(case.prior.precision)
    evidences = [laplace.log_evidence(mode.log_prob, laplace.at(mode.theta, case.prior.precision + M)) for M in (G, H)]
    expected = 0.5 * (np.linalg.slogdet(H + P0)[1] - np.linalg.slogdet(G + P0)[1])
    agree(evidences[0] - evidences[1], expected, terms=case.terms, condition=conditioning(H + P0), scale=abs(evidences[0]))
    assert abs(expected) > 1e-6


@pytest.mark.parametrize("prior", PRIORS)
def test_the_log_evidence_is_the_log_joint_plus_the_log_volume(prior):
    """Eq. (log-evidence)."""
    case = Spec((2, 3, 2), "tanh", "categorical", prior=prior).build()
    J, P0, G = dense_parts(case)
    p = case.net.num_params
    q = laplace.at(case.theta, case.prior.precision + G)
    log_joint = case.posterior.log_prob(case.theta)
    expected = log_joint + 0.5 * p * math.log(2 * math.pi) - 0.5 * np.linalg.slogdet(P0 + G)[1]
    agree(laplace.log_evidence(log_joint, q), expected, terms=case.terms, condition=conditioning(P0 + G))
    agree(laplace.log_evidence(log_joint, q), log_joint - q.log_prob(q.mean), terms=case.terms, condition=conditioning(P0 + G))


def test_the_laplace_posterior_is_centred_where_asked_with_the_matrix_asked_for():
    """Eq. (laplace)."""
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
    """One-parameter logistic regression, data replicated: exact evidence by quadrature, slope −1 (identity G25).

    Eq. (laplace-error-rate).
    """
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


# -- every structure of precision with every curvature ----------------------------------------------------------------------

LAYER_PRECISIONS, PRIOR_MEAN = (0.7, 1.9, 1.3), 0.2
CURVATURES = ("ggn", "hessian", "fisher", "empirical_fisher")
WITHOUT_HESSIAN = ("kfac", "kfac, split bias", "ekfac", "ekfac, split bias", "kfra", "nearest Kronecker product")


def per_block(split):
    """One λ for every block: the layers' own, twice in a row where weights and biases are two blocks."""
    return np.repeat(LAYER_PRECISIONS, 2) if split else np.array(LAYER_PRECISIONS)


def kronecker_structure(approximation, split=False):
    """(precision, curvature as a plain matrix) of a Kronecker approximation with the prior added in its eigenbasis."""
    def build(pullback, prior):
        structured = approximation(pullback, split) if split else approximation(pullback)
        return structured.plus(per_block(split)), structured.matrix()
    return build


def low_rank_structure(rank):
    """(precision, curvature) of the leading eigenpairs, the latter from NumPy's eigenvectors of the whole matrix."""
    def build(pullback, prior):
        values, vectors = np.linalg.eigh(pullback.full())
        kept = np.where((values > 0) & (np.arange(len(values)) >= len(values) - rank), values, 0.0)
        return low_rank.positive_part(pullback, rank).plus(prior.precision), (vectors * kept) @ vectors.T
    return build


def block_diagonal(matrix, sizes):
    """The diagonal blocks of these sizes, zero elsewhere."""
    owner = np.repeat(np.arange(len(sizes)), sizes)
    return np.where(owner[:, None] == owner, matrix, 0.0)


STRUCTURES = {  # name: (pullback, prior) -> (precision, the curvature in it as a plain matrix)
    "full": lambda c, prior: (prior.precision + c.full(), c.full()),
    "layer blocks": lambda c, prior: (layer_blocks(c).plus(LAYER_PRECISIONS), block_diagonal(c.full(), (9, 16, 15))),
    "kfac": kronecker_structure(kronecker.kfac),
    "kfac, split bias": kronecker_structure(kronecker.kfac, split=True),
    "ekfac": kronecker_structure(kronecker.ekfac),
    "ekfac, split bias": kronecker_structure(kronecker.ekfac, split=True),
    "kfra": kronecker_structure(kronecker.kfra),
    "nearest Kronecker product": kronecker_structure(kronecker.nearest_kronecker),
    "diagonal": lambda c, prior: (Diagonal(prior.precision.diagonal() + c.diagonal()), np.diag(np.diagonal(c.full()))),
    "low rank, 4": low_rank_structure(4),
    "low rank, all": low_rank_structure(40),
}


@functools.cache
def case_at_its_mode():
    """A three-layer problem at its mode; one whose Hessian is positive definite with the prior."""
    case = Spec((2, 3, 4, 3), "tanh", "categorical", num_data=9, seed=3).build()
    prior = priors.per_layer(case.net.layer_sizes, LAYER_PRECISIONS, mean=PRIOR_MEAN)
    mode = optimize.maximize(Posterior(case.net, case.likelihood, prior, case.X, case.y), case.theta)
    return replace(case, prior=prior, theta=mode.theta)


def everything_agrees_with_the_matrix(q, P, log_joint, J, means, X_new, net):
    """Covariance, scale, draws, determinant, evidence, functional variance of q against the plain matrix P."""
    p, kappa, rng = len(P), np.linalg.cond(P), np.random.default_rng(5)
    tolerance = {"terms": p, "condition": kappa}
    S, (sign, log_det) = np.linalg.inv(P), np.linalg.slogdet(P)
    assert sign > 0
    agree(q.precision.matrix(), P, terms=p)
    agree(q.precision.diagonal(), np.diagonal(P), terms=p)
    agree(q.covariance(), S, **tolerance)
    agree(q.scale() @ q.scale().T, S, **tolerance)
    z = rng.normal(size=(2, 3, p))
    agree(q.from_normals(z) - q.mean, z @ q.scale().T, **tolerance)
    agree(q.sample(np.random.default_rng(1), (4,)), q.from_normals(np.random.default_rng(1).standard_normal((4, p))), terms=1)
    agree(q.precision.solve(z), z @ S, **tolerance)
    agree(q.precision.matvec(z), z @ P, terms=p)
    agree((q.precision.scale_transposed_matvec(z) ** 2).sum(-1), np.einsum("stp,pq,stq->st", z, S, z), **tolerance)
    agree(q.precision.log_det(), log_det, terms=p, condition=kappa, scale=p)
    agree(laplace.log_evidence(log_joint, q), log_joint + 0.5 * p * math.log(2 * math.pi) - 0.5 * log_det, terms=p,
          condition=kappa, scale=p + abs(log_joint))
    moments = predict.moments(Linearised(net, at=q.mean), q, X_new)
    agree(moments.covariance, J @ S @ np.swapaxes(J, 1, 2), **tolerance)
    agree(moments.mean, means, terms=p)


@pytest.mark.parametrize("curvature", CURVATURES)
@pytest.mark.parametrize("structure", STRUCTURES)
def test_every_structure_of_every_curvature_agrees_with_the_dense_matrix(structure, curvature):
    """Issue 4: full, block, Kronecker, diagonal and low rank, each with the exact prior of one precision a layer and a mean."""
    case = case_at_its_mode()
    pullback = getattr(case.loss.at(case.theta), curvature)
    if curvature == "hessian" and structure in WITHOUT_HESSIAN:
        with pytest.raises(ValueError, match="expected one without v"):
            STRUCTURES[structure](pullback, case.prior)
        return
    precision, matrix = STRUCTURES[structure](pullback, case.prior)
    P = matrix + np.diag(np.repeat(LAYER_PRECISIONS, case.net.layer_sizes))
    everything_agrees_with_the_matrix(
        laplace.at(case.theta, precision), P, case.posterior.log_prob(case.theta),
        case.net.jacobian(case.theta, case.X_new), case.net.forward(case.theta, case.X_new), case.X_new, case.net,
    )


@pytest.mark.parametrize("curvature", CURVATURES)
@pytest.mark.parametrize("chosen", [np.arange(25, 40), np.array([0, 3, 9, 20, 36])], ids=["last layer", "a few"])
def test_a_part_of_the_parameters_agrees_with_the_dense_matrix(chosen, curvature):
    case = case_at_its_mode()
    net = Subnetwork(case.net, case.theta, chosen)
    post = Posterior(net, case.likelihood, net.conditional(case.prior), case.X, case.y)
    theta = case.theta[chosen]
    P = getattr(case.loss.at(case.theta), curvature).full() + oracles.dense(case.prior.precision)
    everything_agrees_with_the_matrix(
        laplace.at(theta, post.prior.precision + getattr(post.loss.at(theta), curvature).full()), P[np.ix_(chosen, chosen)],
        post.log_prob(theta), case.net.jacobian(case.theta, case.X_new)[..., chosen], case.net.forward(case.theta, case.X_new),
        case.X_new, net,
    )


@pytest.mark.parametrize("curvature", CURVATURES)
def test_a_prior_with_dense_blocks_and_a_mean_agrees_with_the_dense_matrix(curvature):
    """The prior is a Gaussian with a block-diagonal precision: the mode is found with it, the posterior keeps the blocks."""
    case, rng = case_at_its_mode(), np.random.default_rng(8)
    roots = [rng.normal(size=(size, size)) / np.sqrt(size) for size in case.net.layer_sizes]
    own = BlockDiagonal(Dense(A @ A.T + np.eye(len(A))) for A in roots)
    prior = Gaussian(rng.normal(size=case.net.num_params), own)
    post = Posterior(case.net, case.likelihood, prior, case.X, case.y)
    mode = optimize.maximize(post, case.theta)
    pullback = getattr(post.loss.at(mode.theta), curvature)
    precision = BlockDiagonal(P0 + C for P0, C in zip(own.blocks, pullback.layer_blocks()))
    P = own.matrix() + block_diagonal(pullback.full(), case.net.layer_sizes)
    shift, P0 = mode.theta - prior.mean, own.matrix()
    log_prior = -0.5 * (shift @ P0 @ shift - np.linalg.slogdet(P0 / (2 * math.pi))[1])
    everything_agrees_with_the_matrix(
        laplace.at(mode.theta, precision), P, log_prior - post.loss.value(mode.theta),
        case.net.jacobian(mode.theta, case.X_new), case.net.forward(mode.theta, case.X_new), case.X_new, case.net,
    )


def test_the_evidence_orders_diagonal_blocks_and_full():
    """Identity E12 at one θ*: log |P| <= log |blocks of P| <= Σ log P_ii, so that structure lost is evidence lost."""
    case = case_at_its_mode()
    c, log_joint = case.loss.at(case.theta).ggn, case.posterior.log_prob(case.theta)
    values = [laplace.log_evidence(log_joint, laplace.at(case.theta, STRUCTURES[name](c, case.prior)[0]))
              for name in ("diagonal", "layer blocks", "full")]
    assert values[0] < values[1] < values[2]


@pytest.mark.parametrize("build, message", [
    (lambda c, prior: c, "precision: expected an object with matvec, solve, log_det, got a Pullback"),
    (lambda c, prior: kronecker.kfac(c), "expected an object with matvec, solve, log_det, got a Blocks"),
    (lambda c, prior: low_rank.leading(c, 3), "expected an object with matvec, solve, log_det, got a LowRank"),
    (lambda c, prior: c.full(), "precision: expected a positive-definite matrix, got one with smallest eigenvalue"),
    (lambda c, prior: kronecker.kfac(c).plus([1.0, 2.0]), r"precisions: expected shape \(3,\), got \(2,\)"),
    (lambda c, prior: layer_blocks(c).plus(-100.0), "precision: expected a positive-definite matrix, got one"),
    (lambda c, prior: layer_blocks(c).plus(1.0).blocks[0], r"mean: expected shape \(9,\), got \(40,\)"),
    (lambda c, prior: np.triu(c.full()) + 40 * np.eye(40), "precision: expected a symmetric matrix"),
    (lambda c, prior: 1.3, r"precision: expected shape \(p, q\), got \(\)"),
    (lambda c, prior: "kron", "precision: expected real numbers"),
])
def test_what_is_no_precision_is_refused_in_plain_words(build, message):
    case = case_at_its_mode()
    with pytest.raises(ValueError, match=message):
        laplace.at(case.theta, build(case.loss.at(case.theta).ggn, case.prior))


# -- temperature ------------------------------------------------------------------------------------------------------------


@law()
def test_a_tempered_likelihood_divides_the_curvature_and_leaves_the_prior(spec):
    """Identity G30: P = G/T + P₀; with the prior tempered as well, P/T: the covariance is T times as large."""
    case = spec.build()
    temperature, P0 = 0.4, oracles.dense(case.prior.precision)
    cold = Posterior(case.net, Tempered(case.likelihood, temperature), case.prior, case.X, case.y)
    q = laplace.at(case.theta, case.prior.precision + cold.loss.ggn(case.theta))
    agree(q.precision.matrix(), case.loss.ggn(case.theta) / temperature + P0, terms=case.terms)
    both = laplace.at(case.theta, P0 / temperature + cold.loss.ggn(case.theta)).covariance()
    untempered = laplace.at(case.theta, case.prior.precision + case.loss.ggn(case.theta))
    agree(both, temperature * untempered.covariance(), terms=case.terms, condition=np.linalg.cond(both))


def test_mode_and_evidence_at_temperature_one_third_are_those_of_the_data_three_times():
    case = Spec((2, 3, 2), "tanh", "categorical", prior="isotropic").build()
    cold = Posterior(case.net, Tempered(case.likelihood, 1 / 3), case.prior, case.X, case.y)
    thrice = Posterior(case.net, case.likelihood, case.prior, np.tile(case.X, (3, 1)), np.tile(case.y, 3))
    modes = [optimize.maximize(post, case.theta) for post in (cold, thrice)]
    P = thrice.negative_hessian(modes[1].theta)
    agree(modes[0].theta, modes[1].theta, terms=case.terms, condition=np.linalg.cond(P))
    evidences = [laplace.log_evidence(mode.log_prob, laplace.at(mode.theta, post.negative_hessian(mode.theta)))
                 for mode, post in zip(modes, (cold, thrice))]
    agree(*evidences, terms=case.terms, condition=np.linalg.cond(P))


# -- planted faults ---------------------------------------------------------------------------------------------------------

FAULTS = [
    ("a precision squared", BlockDiagonal, "matvec", lambda true: lambda self, v: true(self, true(self, v)), "kfac"),
    ("½ forgotten", BlockDiagonal, "log_det", lambda true: lambda self: 0.5 * true(self), "ekfac"),
    ("a scale that is too wide", KroneckerPrecision, "scale_matvec", lambda true: lambda self, z: 2 * true(self, z), "kfac"),
    ("the wrong triangle", Dense, "scale_matvec", lambda true: Dense.scale_transposed_matvec, "layer blocks"),
    ("the wrong triangle in variances", Dense, "scale_transposed_matvec", lambda true: Dense.scale_matvec, "full"),
    ("one λ for all blocks", Blocks, "plus", lambda true: lambda self, values: true(self, values[0]), "layer blocks"),
    ("biases without a prior", Blocks, "plus", lambda true: lambda self, values: true(self, values * np.tile([1, 1e-3], 3)),
     "kfac, split bias"),
    ("eigenpairs alone", LowRankPlusDiagonal, "diagonal", lambda true: lambda self: (self._U**2).sum(1), "low rank, 4"),
    ("a determinant without the prior", LowRankPlusDiagonal, "log_det", lambda true: lambda self: self._log.sum(), "low rank, 4"),
    ("variances for precisions", Diagonal, "solve", lambda true: Diagonal.matvec, "diagonal"),
]


@pytest.mark.parametrize("words, holder, name, fault, structure", [pytest.param(*row, id=row[0]) for row in FAULTS])
def test_a_planted_fault_in_a_structure_is_caught(words, holder, name, fault, structure, monkeypatch):
    test_every_structure_of_every_curvature_agrees_with_the_dense_matrix(structure, "ggn")
    monkeypatch.setattr(holder, name, fault(getattr(holder, name)))
    with pytest.raises(AssertionError):
        test_every_structure_of_every_curvature_agrees_with_the_dense_matrix(structure, "ggn")
