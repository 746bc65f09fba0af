"""Gaussian processes: what weight space says, function space says too (identities G2 to G13, G16, G17, G21, G22, G27 to G29)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from operator import mul

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy.linalg import block_diag
from scipy.stats import multivariate_normal
from sklearn.gaussian_process import GaussianProcessClassifier, GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF

from refbnn import Gaussian, Linearised, Mlp, Posterior, activations, gp, laplace, likelihoods, optimize, predict, priors
from refbnn.gp import at_data, newton
from refbnn.linalg import NotPositiveDefinite
from refbnn.testing import taylor_order
from tests import oracles
from tests.judge import agree, norm_or_one, smallest_eigenvalue_is_not_negative
from tests.likelihoods.families import FAMILIES
from tests.zoo import CANONICAL, HOMOGENEOUS, LIKELIHOODS, Spec, law

REGRESSION = Spec((2, 4, 2), "tanh", "normal", num_data=5, seed=11)
CLASSES = Spec((2, 4, 3), "gelu", "categorical", num_data=6, seed=12)
COUNTS = Spec((2, 3, 1), "tanh", "poisson", num_data=7, seed=13)
CONCAVE = [name for name, family in FAMILIES.items() if getattr(family.likelihood, "log_concave", False)]


@dataclass(frozen=True)
class WeightSpace:
    """A network linearised at θ and a likelihood expanded there, with plain dense matrices over parameters."""

    J: np.ndarray  # n k p
    r: np.ndarray
    curvature: np.ndarray  # n k k
    P0: np.ndarray
    A: np.ndarray
    gradient: np.ndarray  # of −log p(y, θ)

    @property
    def flat(self):
        return self.J.reshape(-1, self.J.shape[2])

    @property
    def K(self):
        """J P₀⁻¹ Jᵀ: (n·k n·k)."""
        return self.flat @ np.linalg.solve(self.P0, self.flat.T)

    @property
    def condition(self):
        """What dense solves with A and P₀ may amplify."""
        return np.linalg.cond(self.A) * np.linalg.cond(self.P0)


def weight_space(case) -> WeightSpace:
    """The weight-space view at case.theta."""
    f = case.net.forward(case.theta, case.X)
    J, y = oracles.jacobian(case), case.loss.y
    r, curvature = case.likelihood.residual(f, y), case.likelihood.curvature(f, y)
    P0 = oracles.dense(case.prior.precision)
    gradient = np.einsum("nkp,nk->p", J, r) + P0 @ (case.theta - case.prior.mean)
    return WeightSpace(J, r, curvature, P0, oracles.loop_congruence(J, curvature) + P0, gradient)


def prior_process(case):
    """The process of the network linearised at case.theta under the prior."""
    return gp.GaussianProcess(Linearised(case.net, at=case.theta), case.prior)


def expanded(case):
    """The likelihood expanded at the outputs of the network."""
    return gp.expand(case.likelihood, case.net.forward(case.theta, case.X), case.y)


def posterior_process(case):
    """The prior process given the expansion at the outputs of the network."""
    return gp.condition(prior_process(case), case.X, expanded(case))


def stacked(blocks):
    """(n k k) as one block-diagonal matrix."""
    return block_diag(*blocks)


def log_size(case, value):
    """The size of what is added up in a log evidence."""
    return abs(value) + np.abs(case.posterior.log_prob(case.theta)) + case.net.num_params


# -- the process of a Gaussian over weights ---------------------------------------------------------------------------------


@law()
def test_the_process_of_a_gaussian_over_weights_has_its_mean_and_its_kernel(spec):
    """Eq. (weight-process)."""
    case = spec.build()
    process, w = prior_process(case), weight_space(case)
    J_new = oracles.jacobian(case, case.X_new)
    mean = case.net.forward(case.theta, case.X_new) + J_new @ (case.prior.mean - case.theta)
    inverse = np.linalg.inv(w.P0)
    scale = norm_or_one(J_new) * norm_or_one(inverse)
    size = norm_or_one(J_new) * norm_or_one(case.theta) + norm_or_one(mean)
    agree(process.mean(case.X_new), mean, terms=case.terms, scale=size)
    agree(process.kernel(case.X_new, case.X), np.einsum("akp,pq,blq->akbl", J_new, inverse, w.J), terms=case.terms,
          condition=np.linalg.cond(w.P0), scale=scale * norm_or_one(w.J))
    agree(process.covariance(case.X_new), np.einsum("akp,pq,alq->akl", J_new, inverse, J_new), terms=case.terms,
          condition=np.linalg.cond(w.P0), scale=scale * norm_or_one(J_new))


@law(activation=HOMOGENEOUS, bias=(False,))
def test_the_prior_mean_of_a_homogeneous_network_is_not_zero_but_minus_depth_less_one_times_the_outputs(spec):
    """Eq. (homogeneous-prior-mean), identity G16."""
    case = replace(spec.build(), prior=priors.isotropic(spec.build().net.num_params, 1.3))
    f, L = case.net.forward(case.theta, case.X), len(case.net.layer_sizes)
    scale = norm_or_one(case.net.jacobian(case.theta, case.X)) * np.linalg.norm(case.theta)
    agree(prior_process(case).mean(case.X), -(L - 1) * f, terms=case.terms, scale=scale)


@law()
def test_a_process_is_what_predictions_of_its_network_start_from(spec):
    """Marginal and joint moments of predict, from the same network and Gaussian."""
    case = spec.build()
    process = prior_process(case)
    moments, joint = (function(process.net, case.prior, case.X_new) for function in (predict.moments, predict.joint))
    scale = norm_or_one(oracles.jacobian(case, case.X_new)) ** 2 * np.linalg.norm(np.linalg.inv(weight_space(case).P0))
    ours = predict.Joint.from_covariance(process.mean(case.X_new), process.kernel(case.X_new, case.X_new))
    agree(ours.mean, joint.mean, terms=case.terms, scale=norm_or_one(joint.mean))
    agree(ours.covariance, joint.covariance, terms=case.terms, scale=scale)
    agree(process.covariance(case.X_new), moments.covariance, terms=case.terms, scale=scale)


# -- conditioning -----------------------------------------------------------------------------------------------------------


@law()
def test_sites_are_the_log_likelihood_to_second_order(spec):
    """Eq. (sites): value, slope −r and curvature Λ at the point of expansion, read off polarised differences of a quadratic."""
    case = spec.build()
    f, y, v = case.net.forward(case.theta, case.X), case.loss.y, case.weights
    sites = gp.expand(case.likelihood, f, case.y)
    at, up, down = (sites.log_value(f + t * v) for t in (0.0, 1.0, -1.0))
    scale = np.abs(at).max() + np.abs(up).max() + np.abs(down).max()
    agree(at, case.likelihood.log_prob(f, y), terms=case.terms, scale=scale)
    agree(0.5 * (up - down), -(case.likelihood.residual(f, y) * v).sum(-1), terms=case.terms, scale=scale)
    agree(2 * at - up - down, np.einsum("nk,nkl,nl->n", v, case.likelihood.curvature(f, y), v), terms=case.terms, scale=scale)


@law()
def test_the_posterior_over_functions_is_that_over_weights(spec):
    """Eqs. (site-posterior), (dual-weights), identities G2, G4: any point, any likelihood, Λ singular or not.

    θ̄ = θ* − A⁻¹∇U.
    """
    case = spec.build()
    posterior, w = posterior_process(case), weight_space(case)
    step = -np.linalg.solve(w.A, w.gradient)
    agree(gp.mean_weights(posterior), case.theta + step, terms=case.terms, condition=w.condition,
          scale=np.linalg.norm(case.theta) + np.linalg.norm(step) + np.linalg.norm(case.prior.mean))
    J_new, S = oracles.jacobian(case, case.X_new), np.linalg.inv(w.A)
    scale = norm_or_one(J_new) * np.linalg.norm(np.linalg.inv(w.P0))
    agree(posterior.mean(case.X_new), case.net.forward(case.theta, case.X_new) + J_new @ step, terms=case.terms,
          condition=w.condition, scale=norm_or_one(J_new) * (np.linalg.norm(step) + np.linalg.norm(case.theta)) + 1)
    agree(posterior.kernel(case.X_new, case.X), np.einsum("akp,pq,blq->akbl", J_new, S, w.J), terms=case.terms,
          condition=w.condition, scale=scale * norm_or_one(w.J))
    agree(posterior.covariance(case.X_new), np.einsum("akp,pq,alq->akl", J_new, S, J_new), terms=case.terms,
          condition=w.condition, scale=scale * norm_or_one(J_new))


@law()
def test_the_process_of_the_posterior_over_weights_is_the_posterior_process(spec):
    """Prior and posterior are one type: the Gaussian with precision G + P₀ goes in where the prior did."""
    case = spec.build()
    w, posterior = weight_space(case), posterior_process(case)
    q = Gaussian(gp.mean_weights(posterior), case.prior.precision + case.loss.ggn(case.theta))
    again = gp.GaussianProcess(prior_process(case).net, q)
    scale = norm_or_one(w.J) ** 2 * np.linalg.norm(np.linalg.inv(w.P0))
    agree(again.kernel(case.X_new, case.X), posterior.kernel(case.X_new, case.X), terms=case.terms, condition=w.condition,
          scale=scale + norm_or_one(oracles.jacobian(case, case.X_new)) ** 2)
    agree(again.mean(case.X), posterior.mean(case.X), terms=case.terms, condition=w.condition,
          scale=norm_or_one(w.J) * np.linalg.norm(q.mean) + norm_or_one(posterior.mean(case.X)) + 1)


@law()
def test_the_evidence_at_any_point_of_linearisation_has_half_the_squared_gradient_more_than_the_usual_formula(spec):
    """Eqs. (site-evidence), (evidence-anywhere). Identities G5, G7, H12, H13.

    log p(y, θ*) + ½ ∇ᵀA⁻¹∇ + ½ p log 2π − ½ log |A|, for every likelihood expanded at θ*.
    """
    case = spec.build()
    w = weight_space(case)
    usual = case.posterior.log_prob(case.theta) + 0.5 * len(w.A) * np.log(2 * np.pi) - 0.5 * np.linalg.slogdet(w.A)[1]
    gain = 0.5 * w.gradient @ np.linalg.solve(w.A, w.gradient)
    found = posterior_process(case).log_evidence
    agree(found, usual + gain, terms=case.terms, condition=w.condition, scale=log_size(case, usual) + gain)
    q = laplace.at(case.theta, case.prior.precision + case.loss.ggn(case.theta))
    agree(found - gain, laplace.log_evidence(case.posterior.log_prob(case.theta), q), terms=case.terms, condition=w.condition,
          scale=log_size(case, usual) + gain)


@law(likelihood=("normal",))
def test_the_evidence_of_regression_is_the_density_of_the_targets_under_the_process(spec):
    """Identity G8, against scipy's density: log N(y; m, K + σ²I), wherever the expansion is made."""
    case = spec.build()
    process, w = prior_process(case), weight_space(case)
    mean = process.mean(case.X)
    covariance = w.K + 0.37 * np.eye(len(w.K))
    expected = multivariate_normal(mean.ravel(), covariance).logpdf(case.y.ravel())
    for at in (mean, case.net.forward(case.theta, case.X), case.y):
        found = gp.condition(process, case.X, gp.expand(case.likelihood, at, case.y)).log_evidence
        size = log_size(case, expected) + np.sum((at - case.y) ** 2)
        agree(found, expected, terms=case.terms, condition=w.condition, scale=size)


@law(likelihood=("normal", "poisson", "bernoulli", "probit"))
def test_regression_on_pseudo_targets_has_the_mean_and_the_covariance_of_the_gauss_newton_step(spec):
    """Eq. (pseudo-data). Identity G6 (Khan et al. 2019): targets f − Λ⁻¹r with noise Λ⁻¹, through a plain solve with K + Λ⁻¹."""
    case = spec.build()
    process, sites, w = prior_process(case), expanded(case), weight_space(case)
    noisy = w.K + stacked(sites.pseudo_noise())
    solved = np.linalg.solve(noisy, (sites.pseudo_targets() - process.mean(case.X)).ravel())
    kappa = w.condition * np.linalg.cond(noisy)
    posterior = gp.condition(process, case.X, sites)
    targets = norm_or_one(sites.pseudo_targets()) + norm_or_one(w.J) * np.linalg.norm(case.theta)
    agree(posterior.mean(case.X).ravel(), process.mean(case.X).ravel() + w.K @ solved, terms=case.terms, condition=kappa,
          scale=targets)
    size = w.K.shape
    agree(posterior.kernel(case.X, case.X).reshape(size), w.K - w.K @ np.linalg.solve(noisy, w.K), terms=case.terms,
          condition=kappa, scale=norm_or_one(w.K))
    shifted = sites.pseudo_targets() - case.net.forward(case.theta, case.X) + w.J @ case.theta
    plain = w.J @ case.theta - np.linalg.solve(w.curvature, w.r[..., None])[..., 0]
    agree(shifted, plain, terms=case.terms, scale=targets)


def test_a_singular_curvature_has_no_pseudo_targets_and_says_so():
    sites = expanded(CLASSES.build())
    for method in (sites.pseudo_targets, sites.pseudo_noise):
        with pytest.raises(NotPositiveDefinite, match="expected Λ positive definite, got .* datum 0"):
            method()


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e9])
def test_whether_a_curvature_is_singular_does_not_depend_on_the_unit_of_the_outputs(unit):
    regular, singular = expanded(REGRESSION.build()), expanded(CLASSES.build())
    in_unit = replace(regular, S=regular.S / unit)
    agree(in_unit.pseudo_noise(), unit**2 * regular.pseudo_noise(), terms=4)
    with pytest.raises(NotPositiveDefinite):
        replace(singular, S=singular.S / unit).pseudo_noise()


@law()
def test_sites_at_a_batch_of_outputs_are_sites_at_each(spec):
    case = spec.build()
    sites = expanded(case)
    f = sites.f + np.random.default_rng(2).normal(size=(2, 3, *sites.f.shape))
    looped = np.array([[sites.log_value(f[i, j]) for j in range(3)] for i in range(2)])
    agree(sites.log_value(f), looped, terms=case.terms, scale=norm_or_one(looped))


@law()
def test_data_in_two_parts_are_data_at_once(spec):
    """Identities G9, G11: condition, then condition again; the log evidences add up."""
    case = spec.build()
    sites, w = expanded(case), weight_space(case)
    half = (len(case.X) + 1) // 2
    whole = gp.condition(prior_process(case), case.X, sites)
    first = gp.condition(prior_process(case), case.X[:half], sites[:half])
    if half == len(case.X):
        return
    second = gp.condition(first, case.X[half:], sites[half:])
    scale = norm_or_one(whole.mean(case.X_new)) + norm_or_one(w.J) * np.linalg.norm(case.theta)
    J_new = oracles.jacobian(case, case.X_new)
    agree(second.mean(case.X_new), whole.mean(case.X_new), terms=case.terms, condition=w.condition, scale=scale)
    agree(second.kernel(case.X_new, case.X), whole.kernel(case.X_new, case.X), terms=case.terms, condition=w.condition,
          scale=norm_or_one(w.J) * norm_or_one(J_new))
    agree(second.covariance(case.X_new), whole.covariance(case.X_new), terms=case.terms, condition=w.condition,
          scale=norm_or_one(J_new) ** 2)
    agree(first.log_evidence + second.log_evidence, whole.log_evidence, terms=case.terms, condition=w.condition,
          scale=log_size(case, whole.log_evidence) + w.gradient @ np.linalg.solve(w.A, w.gradient))


@law()
def test_data_narrow_the_process_in_every_direction(spec):
    """Identity G12, in the order of Loewner: prior ⪰ half of the data ⪰ all of them."""
    case = spec.build()
    sites, size = expanded(case), case.X_new.shape[0] * case.net.num_outputs
    half = (len(case.X) + 1) // 2
    processes = [prior_process(case), gp.condition(prior_process(case), case.X[:half], sites[:half]), posterior_process(case)]
    prior, some, all_ = (process.kernel(case.X_new, case.X_new).reshape(size, size) for process in processes)
    w = weight_space(case)
    for wide, narrow in ((prior, some), (some, all_)):
        lowest = np.linalg.eigvalsh(0.5 * (wide - narrow + (wide - narrow).T))[0]
        assert lowest >= -30 * case.terms * 2.0**-53 * w.condition * norm_or_one(prior)
    smallest_eigenvalue_is_not_negative(0.5 * (prior + prior.T), case.terms)


@law()
def test_the_order_of_the_data_does_not_matter(spec):
    case = spec.build()
    order = np.random.default_rng(3).permutation(len(case.X))
    w, sites, whole = weight_space(case), expanded(case), posterior_process(case)
    shuffled = gp.condition(prior_process(case), case.X[order], sites[order])
    size = norm_or_one(whole.alpha) + norm_or_one(w.r) + norm_or_one(w.curvature) * norm_or_one(w.J) * norm_or_one(case.theta)
    agree(shuffled.alpha, whole.alpha[order], terms=case.terms, condition=w.condition, scale=size)
    agree(shuffled.log_evidence, whole.log_evidence, terms=case.terms, condition=w.condition,
          scale=log_size(case, whole.log_evidence) + w.gradient @ np.linalg.solve(w.A, w.gradient))


@law()
def test_the_effective_number_of_parameters_agrees_in_all_its_forms(spec):
    """Eq. (dual-gamma). Identity G13: tr(I − B⁻¹) = tr(S G) = Σ tr(Λ_n V_n), between 0 and min(p, Σ rank Λ)."""
    case = spec.build()
    posterior, w = posterior_process(case), weight_space(case)
    gamma = posterior.effective_parameters()
    agree(gamma, np.trace(np.linalg.solve(w.A, w.A - w.P0)), terms=case.terms, condition=w.condition, scale=len(w.A))
    V = posterior.covariance(case.X)
    agree(gamma, np.einsum("nkl,nlk->", w.curvature, V), terms=case.terms, condition=w.condition, scale=len(w.A))
    assert -1e-9 < gamma < min(len(w.A), sum(np.linalg.matrix_rank(block) for block in w.curvature)) + 1e-9


# -- Newton in function space -----------------------------------------------------------------------------------------------


@law()
def test_laplace_over_functions_is_laplace_over_the_weights_of_the_linearised_network(spec):
    """Eq. (dual-mode). Identity G27 and the duality of the whole approximation: mode, covariance and evidence; α = −r."""
    case = spec.build()
    found = gp.laplace(prior_process(case), case.likelihood, case.X, case.y)
    post = Posterior(prior_process(case).net, case.likelihood, case.prior, case.X, case.y)
    mode = optimize.maximize(post, case.prior.mean)
    q = laplace.at(mode.theta, post.negative_hessian(mode.theta))
    kappa = np.linalg.cond(q.precision.matrix()) * np.linalg.cond(oracles.dense(case.prior.precision))
    size = norm_or_one(mode.theta) + norm_or_one(case.prior.mean)
    agree(gp.mean_weights(found.posterior), mode.theta, terms=case.terms, condition=kappa, scale=size)
    agree(found.posterior.log_evidence, laplace.log_evidence(mode.log_prob, q), terms=case.terms, condition=kappa,
          scale=abs(mode.log_prob) + len(mode.theta))
    over_weights = gp.GaussianProcess(post.net, q)
    J_new = norm_or_one(oracles.jacobian(case, case.X_new))
    agree(found.posterior.covariance(case.X_new), over_weights.covariance(case.X_new), terms=case.terms, condition=kappa,
          scale=J_new**2)
    agree(found.posterior.mean(case.X_new), over_weights.mean(case.X_new), terms=case.terms, condition=kappa,
          scale=J_new * size + norm_or_one(over_weights.mean(case.X_new)) + J_new * norm_or_one(case.theta))
    r = case.likelihood.residual(post.net.forward(mode.theta, case.X), case.loss.y)
    agree(found.posterior.alpha, -r, terms=case.terms, condition=kappa, scale=norm_or_one(r) + norm_or_one(case.y))


@law()
def test_what_newton_reports_is_true(spec):
    """Eqs. (dual-newton), (dual-mode): ‖α + r‖, the decrement of weight space √(∇ᵀA⁻¹∇) and its Newton step, at the same θ."""
    case = spec.build()
    process = prior_process(case)
    found = gp.laplace(process, case.likelihood, case.X, case.y)
    assert found.decrement <= optimize.CONVERGED and 1 <= found.num_iterations < 100
    assert found.gradient_norm <= 1e-6 * (1 + norm_or_one(found.posterior.alpha))
    mean, K = process.mean(case.X), process.kernel(case.X, case.X)
    alpha = 0.1 * case.weights
    f = mean + np.einsum("nkml,ml->nk", K, alpha)
    at = gp.at_data.AtData(mean, K.reshape(mean.size, -1), gp.expand(case.likelihood, f, case.y))
    point = newton._Point(case.likelihood, case.loss.y, alpha, at)
    theta = case.prior.mean + case.prior.precision.solve(case.net.vjp(case.theta, case.X, alpha))
    post = Posterior(process.net, case.likelihood, case.prior, case.X, case.y)
    A, gradient = post.negative_hessian(theta), post.value_and_gradient(theta)[1]
    expected = np.sqrt(gradient @ np.linalg.solve(A, gradient))
    kappa = np.linalg.cond(A) * np.linalg.cond(oracles.dense(case.prior.precision))
    agree(point.decrement, expected, terms=case.terms, condition=kappa, scale=expected + norm_or_one(gradient))
    step = case.prior.precision.solve(case.net.vjp(case.theta, case.X, point.step))
    newton_step = np.linalg.solve(A, gradient)  # upwards
    agree(step, newton_step, terms=case.terms, condition=kappa,
          scale=norm_or_one(newton_step) + norm_or_one(gradient) + norm_or_one(case.theta))
    agree(point.gradient_norm, np.linalg.norm(alpha + case.likelihood.residual(f, case.loss.y)), terms=case.terms,
          scale=norm_or_one(alpha) + norm_or_one(case.likelihood.residual(f, case.loss.y)))


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_at_a_mode_of_the_network_the_process_has_it_for_its_mean_and_the_ggn_evidence(likelihood):
    """Identities G3, G8: GGN-Laplace of the network, its mode found in weight space, is Laplace of the process."""
    case = Spec((2, 3, 2), "tanh", likelihood).build()
    mode = optimize.maximize(case.posterior, case.theta)
    case = replace(case, theta=mode.theta)
    found = gp.laplace(prior_process(case), case.likelihood, case.X, case.y)
    q = laplace.at(mode.theta, case.prior.precision + case.loss.ggn(mode.theta))
    kappa = np.linalg.cond(q.precision.matrix()) * np.linalg.cond(oracles.dense(case.prior.precision))
    agree(found.posterior.mean(case.X_new), case.net.forward(mode.theta, case.X_new), terms=case.terms, condition=kappa)
    agree(found.posterior.log_evidence, laplace.log_evidence(mode.log_prob, q), terms=case.terms, condition=kappa)
    agree(posterior_process(case).log_evidence, found.posterior.log_evidence, terms=case.terms, condition=kappa)


@pytest.mark.parametrize("name, spread", [
    (name, spread) for name in CONCAVE for spread in (0.3, 3.0)
    if (name, spread) != ("heteroscedastic_natural", 3.0)  # such a prior allows outputs for which it is not defined
])
def test_newton_reaches_round_off_for_every_log_concave_likelihood(name, spread):
    """And nothing near is better: the log joint density falls along every direction of the weights."""
    family, rng = FAMILIES[name], np.random.default_rng(5)
    k = family.outputs(rng, 1).shape[1]
    net = Mlp((2, k), ())
    X, y = rng.normal(size=(9, 2)), family.targets(rng, 9)
    start = np.zeros(net.num_params)
    start[-k:] = family.outputs(rng, 1)[0]  # some likelihoods are defined for some outputs only
    prior = priors.isotropic(net.num_params, 1 / spread**2, mean=start)
    found = gp.laplace(gp.GaussianProcess(net, prior), family.likelihood, X, y)
    theta, post = gp.mean_weights(found.posterior), Posterior(net, family.likelihood, prior, X, y)
    assert found.decrement <= 1e-10 and found.num_iterations < 60
    gradient = post.value_and_gradient(theta)[1]
    assert np.sqrt(gradient @ np.linalg.solve(post.negative_hessian(theta), gradient)) < 1e-8
    best = post.log_prob(theta)
    assert all(post.log_prob(theta + 1e-3 * rng.normal(size=theta.shape)) < best for _ in range(20))


def test_large_counts_and_wide_priors_do_not_stop_newton():
    net, X = Mlp((1, 1), ()), np.linspace(-1, 1, 5)[:, None]
    y = np.array([[0.0], [3.0], [900.0], [2e4], [5e5]])
    prior = priors.isotropic(2, 1e-4)
    found = gp.laplace(gp.GaussianProcess(net, prior), likelihoods.Poisson(), X, y)
    mode = optimize.maximize(Posterior(net, likelihoods.Poisson(), prior, X, y), gp.mean_weights(found.posterior) + 0.01)
    agree(gp.mean_weights(found.posterior), mode.theta, terms=10, condition=1e6)


def test_a_prior_mean_that_is_sure_and_wrong_does_not_stop_newton():
    """Full steps would jump from one flat end of the sigmoid to the other and back."""
    net = Mlp((1, 1), ())
    prior = priors.isotropic(2, 1e-6, mean=np.array([0.0, 12.0]))
    found = gp.laplace(gp.GaussianProcess(net, prior), likelihoods.Bernoulli(), np.array([[0.2], [-0.4]]), np.zeros((2, 1)))
    assert found.decrement < 1e-10 and found.posterior.sites.f.max() < 0


def test_newton_counts_the_steps_that_it_tried():
    """The last one improved nothing; without it the answer is the same."""
    case = CLASSES.build()
    full = gp.laplace(prior_process(case), case.likelihood, case.X, case.y)
    short = gp.laplace(prior_process(case), case.likelihood, case.X, case.y, max_iterations=full.num_iterations - 1)
    assert short.num_iterations == full.num_iterations - 1 and short.decrement == full.decrement


def test_newton_without_convergence_is_refused():
    case = CLASSES.build()
    with pytest.raises(optimize.NotAMode, match="no convergence: expected to come within .* got .* after 1 iterations"):
        gp.laplace(prior_process(case), case.likelihood, case.X, case.y, max_iterations=1)


def test_a_likelihood_that_is_not_log_concave_is_refused():
    case = REGRESSION.build()
    with pytest.raises(ValueError, match="expected a log-concave one, got StudentT"):
        gp.laplace(prior_process(case), likelihoods.StudentT(4.0, 0.5), case.X, case.y)


@dataclass(frozen=True)
class Rbf:
    """A process without weights: mean zero, kernel exp(−½‖x − x'‖²), one output."""

    num_outputs = 1

    def mean(self, X):
        """0."""
        return np.zeros((len(X), 1))

    def kernel(self, X, X_other):
        """exp(−½‖x − x'‖²)."""
        return np.exp(-0.5 * ((X[:, None] - X_other[None]) ** 2).sum(-1))[:, None, :, None]

    def covariance(self, X):
        """1."""
        return np.ones((len(X), 1, 1))


def test_scikit_learn_finds_the_same_mode_evidence_and_variances():
    """Algorithms 2.1, 3.1 and 3.2 of Rasmussen & Williams (2006) by others, with a kernel of no network."""
    rng = np.random.default_rng(6)
    X, X_new = rng.normal(size=(12, 2)), rng.normal(size=(5, 2))
    y = (X[:, 0] + 0.7 * rng.normal(size=12) > 0).astype(float)
    peer = GaussianProcessClassifier(RBF(1.0), optimizer=None).fit(X, y).base_estimator_
    found = gp.laplace(Rbf(), likelihoods.Bernoulli(), X, y[:, None]).posterior
    # the peer stops when its evidence gains less than 1e-10; Newton's next error is of the order of that
    agree(found.log_evidence, peer.log_marginal_likelihood(peer.kernel_.theta), terms=12, condition=1e4)
    agree(found.influence(X)[:, 0, :, 0] @ np.ones(12), _smoothed(peer, X), terms=12, condition=1e4)

    targets = rng.normal(size=12)
    regression = GaussianProcessRegressor(RBF(1.0), alpha=0.3, optimizer=None).fit(X, targets)
    ours = gp.laplace(Rbf(), likelihoods.Normal(0.3), X, targets[:, None]).posterior
    mean, covariance = regression.predict(X_new, return_cov=True)
    agree(ours.mean(X_new)[:, 0], mean, terms=12, condition=10)
    agree(ours.kernel(X_new, X_new)[:, 0, :, 0], covariance, terms=12, condition=10)
    agree(ours.log_evidence, regression.log_marginal_likelihood_value_, terms=12, condition=10)


def _smoothed(peer, X):
    """(K⁻¹ + W)⁻¹ 1 from the peer's own factors."""
    K, root = peer.kernel_(X), peer.W_sr_
    half = np.linalg.solve(peer.L_, root[:, None] * K)
    return (K - half.T @ half) @ np.ones(len(X))


# -- one datum at a time ----------------------------------------------------------------------------------------------------


@law()
def test_leaving_one_datum_out_in_closed_form_is_leaving_it_out(spec):
    """Eq. (leave-one-out). Identity G10, for sites of every likelihood, with the evidence that the datum adds."""
    case = spec.build()
    sites, w, posterior = expanded(case), weight_space(case), posterior_process(case)
    left_out = gp.leave_one_out(posterior)
    size = norm_or_one(w.J) * (np.linalg.norm(case.theta) + norm_or_one(case.prior.mean)) + norm_or_one(posterior.mean(case.X))
    for n in range(len(case.X)):
        others = np.arange(len(case.X)) != n
        rest = gp.condition(prior_process(case), case.X[others], sites[others]) if others.any() else prior_process(case)
        agree(left_out.mean[n:n + 1], rest.mean(case.X[n:n + 1]), terms=case.terms, condition=w.condition, scale=size)
        agree(left_out.covariance[n:n + 1], rest.covariance(case.X[n:n + 1]), terms=case.terms, condition=w.condition,
              scale=norm_or_one(w.J) ** 2)
        gained = posterior.log_evidence - (rest.log_evidence if others.any() else 0.0)
        agree(left_out.log_density[n], gained, terms=case.terms, condition=w.condition,
              scale=log_size(case, posterior.log_evidence) + w.gradient @ np.linalg.solve(w.A, w.gradient))


@law(likelihood=("normal",))
def test_the_left_out_density_of_a_normal_is_that_of_the_textbook(spec):
    """μ₋ = y − [K_y⁻¹(y − m)]_n/[K_y⁻¹]_nn, noise 1/[K_y⁻¹]_nn (Rasmussen & Williams 2006, section 5.4.2); scalar outputs."""
    case = replace(spec, sizes=(*spec.sizes[:-1], 1)).build()
    process, w = prior_process(case), weight_space(case)
    inverse = np.linalg.inv(w.K + 0.37 * np.eye(len(w.K)))
    e = (case.y - process.mean(case.X))[:, 0]
    mean, variance = case.y[:, 0] - inverse @ e / np.diagonal(inverse), 1 / np.diagonal(inverse)
    found = gp.leave_one_out(gp.laplace(process, case.likelihood, case.X, case.y).posterior)
    kappa = w.condition * np.linalg.cond(inverse)
    agree(found.mean[:, 0], mean, terms=case.terms, condition=kappa, scale=norm_or_one(case.y) + norm_or_one(e))
    agree(found.covariance[:, 0, 0] + 0.37, variance, terms=case.terms, condition=kappa)
    expected = -0.5 * (case.y[:, 0] - mean) ** 2 / variance - 0.5 * np.log(2 * np.pi * variance)
    agree(found.log_density, expected, terms=case.terms, condition=kappa, scale=norm_or_one(expected) + (e**2).sum())


@law()
def test_the_evidence_is_the_sum_of_what_each_datum_says_after_those_before_it(spec):
    """Eq. (chain-rule). Identity G9: one term a datum, each that of conditioning on the data before it."""
    case = spec.build()
    sites, w, posterior = expanded(case), weight_space(case), posterior_process(case)
    terms = gp.prequential(posterior)
    scale = log_size(case, posterior.log_evidence) + w.gradient @ np.linalg.solve(w.A, w.gradient)
    agree(terms.sum(), posterior.log_evidence, terms=case.terms, condition=w.condition, scale=scale)
    for n in range(1, len(case.X)):
        before = gp.condition(prior_process(case), case.X[:n], sites[:n])
        after = gp.condition(before, case.X[n:n + 1], sites[n:n + 1])
        agree(terms[n], after.log_evidence, terms=case.terms, condition=w.condition, scale=scale)


# -- draws and influence ----------------------------------------------------------------------------------------------------


@law()
def test_draws_are_an_affine_map_of_normals_with_the_covariance_of_the_posterior(spec):
    """Eq. (sample-then-optimise), identity G21, without Monte Carlo.

    The map's matrix times its transpose is (G + P₀)⁻¹, and at 0 it gives the mean.
    """
    case = spec.build()
    posterior, w = posterior_process(case), weight_space(case)
    p, (n, _, c) = case.net.num_params, posterior.sites.S.shape
    unit = np.eye(p + n * c)
    at_zero = gp.draws(posterior, np.zeros(p), np.zeros((n, c)))
    M = gp.draws(posterior, unit[:, :p], unit[:, p:].reshape(-1, n, c)) - at_zero
    scale = np.linalg.norm(at_zero) + np.linalg.norm(M)
    agree(at_zero, gp.mean_weights(posterior), terms=case.terms, condition=w.condition, scale=scale)
    agree(M.T @ M, np.linalg.inv(w.A), terms=case.terms, condition=w.condition, scale=scale**2)


def test_a_draw_minimises_the_loss_with_disturbed_targets_and_a_disturbed_prior_mean():
    """Sample, then optimise: the minimiser of ‖y + σε − f‖²/2σ² + ½ (θ − θ₀)ᵀP₀(θ − θ₀), found by a plain solve."""
    case, rng = REGRESSION.build(), np.random.default_rng(0)
    posterior, w = posterior_process(case), weight_space(case)
    z, epsilon = rng.normal(size=case.net.num_params), rng.normal(size=case.y.shape)
    theta_0 = case.prior.from_normals(z)
    offset = case.net.forward(case.theta, case.X) - w.J @ case.theta
    targets = (case.y + np.sqrt(0.37) * epsilon - offset).ravel()
    expected = np.linalg.solve(w.A, w.flat.T @ targets / 0.37 + w.P0 @ theta_0)
    agree(gp.draws(posterior, z, epsilon), expected, terms=case.terms, condition=w.condition)


@law()
def test_influence_is_the_derivative_of_the_mean_in_what_each_datum_says(spec):
    """Eq. (influence). Identity G28: the mean is affine in r, and its slope is minus the posterior covariance."""
    case = spec.build()
    sites, w = expanded(case), weight_space(case)
    posterior = posterior_process(case)
    other = gp.condition(prior_process(case), case.X, replace(sites, r=sites.r + case.weights))
    moved = other.mean(case.X_new) - posterior.mean(case.X_new)
    expected = -np.einsum("mknl,nl->mk", posterior.influence(case.X_new), case.weights)
    J_new = oracles.jacobian(case, case.X_new)
    size = norm_or_one(J_new) * (norm_or_one(w.J) * norm_or_one(case.weights) + np.linalg.norm(case.theta) + 1)
    agree(moved, expected, terms=case.terms, condition=w.condition, scale=size + norm_or_one(posterior.mean(case.X_new)))


def test_in_regression_influence_over_the_variance_is_the_matrix_that_smooths_the_targets():
    """∂m*/∂y = K*(K + σ²I)⁻¹ = J*ΣJᵀ/σ²."""
    case = REGRESSION.build()
    posterior, w = posterior_process(case), weight_space(case)
    J_new = oracles.jacobian(case, case.X_new)
    found = (posterior.influence(case.X_new) / 0.37).reshape(-1, len(w.K))
    cross = J_new.reshape(-1, len(w.A)) @ np.linalg.solve(w.P0, w.flat.T)
    agree(found, cross @ np.linalg.inv(w.K + 0.37 * np.eye(len(w.K))), terms=case.terms, condition=w.condition)


# -- gradients of the evidence ----------------------------------------------------------------------------------------------


def with_precisions(case, values):
    """The Laplace approximation with one prior precision a parameter."""
    process = gp.GaussianProcess(prior_process(case).net, priors.per_parameter(values, case.prior.mean))
    return gp.laplace(process, case.likelihood, case.X, case.y)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_the_total_gradient_in_the_log_precisions_is_the_slope_of_the_evidence(likelihood):
    """Eq. (dual-total-gradient): its central remainder falls as h³, that of the part with fixed sites for a Normal only."""
    case = Spec((2, 3, 2), "tanh", likelihood, num_data=6).build()
    log_precision, direction = 0.3 * case.vector, np.random.default_rng(1).normal(size=case.net.num_params)
    found = with_precisions(case, np.exp(log_precision))
    total = gp.laplace_log_precision_gradient(found, case.likelihood, case.y)

    def remainder(h, gradient):
        up, down = (with_precisions(case, np.exp(log_precision + s * h * direction)).posterior.log_evidence for s in (1, -1))
        return 0.5 * (up - down) - h * gradient @ direction

    steps = [2.0**-j for j in range(2, 7)]
    assert abs(taylor_order(lambda h: remainder(h, total), steps) - 3) < 0.2
    if likelihood == "normal":
        agree(total, gp.log_precision_gradient(found.posterior), terms=case.terms)
    else:
        direct = gp.log_precision_gradient(found.posterior)
        assert abs(taylor_order(lambda h: remainder(h, direct), steps[2:]) - 1) < 0.2


@law()
def test_the_gradient_with_fixed_sites_is_that_of_weight_space(spec):
    """Eq. (dual-hyper-gradient). Identities H5, H10, H11: ½ (1 − λ_i Σ_ii − λ_i (θ̄_i − μ_i)²) for a diagonal prior."""
    case = replace(spec, prior="per_parameter").build()
    posterior, w = posterior_process(case), weight_space(case)
    precision = np.diagonal(w.P0)
    shift = gp.mean_weights(posterior) - case.prior.mean
    expected = 0.5 * (1 - precision * np.diagonal(np.linalg.inv(w.A)) - precision * shift**2)
    agree(gp.log_precision_gradient(posterior), expected, terms=case.terms, condition=w.condition,
          scale=norm_or_one(expected) + len(expected) + (precision * shift**2).sum() + w.gradient @ w.gradient)


def test_the_gradient_of_a_prior_with_full_precision_adds_up_to_that_of_a_common_factor():
    case = COUNTS.build()

    def found(t):
        prior = priors.full(np.exp(t) * oracles.dense(case.prior.precision), case.prior.mean)
        return gp.laplace(gp.GaussianProcess(prior_process(case).net, prior), case.likelihood, case.X, case.y)

    slope = gp.laplace_log_precision_gradient(found(0.0), case.likelihood, case.y).sum()
    order = taylor_order(lambda h: 0.5 * (found(h).posterior.log_evidence - found(-h).posterior.log_evidence) - h * slope)
    assert abs(order - 3) < 0.2


def test_the_gradient_in_the_log_variance_is_the_slope_of_the_evidence_of_regression():
    """Eq. (dual-noise-gradient)."""
    case = REGRESSION.build()

    def evidence(t):
        likelihood = likelihoods.Normal(0.37 * np.exp(t))
        return gp.laplace(prior_process(case), likelihood, case.X, case.y).posterior.log_evidence

    slope = gp.log_variance_gradient(posterior_process(case), case.likelihood, case.y)
    assert abs(taylor_order(lambda h: 0.5 * (evidence(h) - evidence(-h)) - h * slope) - 3) < 0.2


# -- determinants of several classes ----------------------------------------------------------------------------------------


@given(st.integers(2, 5), st.integers(1, 7), st.integers(0, 2**16))
def test_the_determinant_class_by_class_is_the_determinant(k, n, seed):
    """Eq. (multiclass-determinant). Identity G22; without the last term (algorithm 3.3 as it circulates) it is another number."""
    rng = np.random.default_rng(seed)
    roots = rng.normal(size=(k, n, n))
    kernels = roots @ roots.transpose(0, 2, 1) / n
    p = rng.dirichlet(np.ones(k), size=n) * 0.9 + 0.1 / k
    p /= p.sum(1, keepdims=True)
    D, Pi = np.concatenate(p.T), np.concatenate([np.diag(column) for column in p.T])
    dense = np.linalg.slogdet(np.eye(k * n) + block_diag(*kernels) @ (np.diag(D) - Pi @ Pi.T))[1]
    found = gp.log_det_one_plus_kernel_curvature(kernels, p)
    condition = 1 + np.linalg.norm(kernels)
    agree(found, dense, terms=k * n, condition=condition, scale=1 + abs(dense) + k * n)
    per_class = sum(np.linalg.slogdet(np.eye(n) + K * column[:, None])[1] for K, column in zip(kernels, p.T))
    assert per_class - found > 1e-6  # |Σ E| < 1


def test_the_determinant_class_by_class_is_that_of_the_posterior_of_a_linear_softmax_network():
    """With an isotropic prior the classes of a network without hidden layer have independent processes."""
    case = Spec((2, 3), likelihood="categorical", prior="isotropic", num_data=6).build()
    posterior = gp.laplace(prior_process(case), case.likelihood, case.X, case.y).posterior
    p, K = case.likelihood.mean(posterior.sites.f), prior_process(case).kernel(case.X, case.X)
    agree(gp.log_det_one_plus_kernel_curvature(np.array([K[:, c, :, c] for c in range(3)]), p),
          np.linalg.slogdet(posterior.at_data.L @ posterior.at_data.L.T)[1], terms=case.terms, condition=np.linalg.cond(
              posterior.at_data.L) ** 2)


# -- limits and invariances -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("likelihood", CANONICAL)
def test_under_a_firm_prior_the_evidence_is_the_likelihood_at_the_prior_mean(likelihood):
    """Identity G29: λ → ∞, log Z → log p(y|f(μ₀)) with an error of order 1/λ, and λ times the covariance of θ goes to one."""
    case = Spec((2, 3, 2), "tanh", likelihood).build()
    net = prior_process(case).net
    limit = case.likelihood.log_prob(net.forward(np.zeros(net.num_params), case.X), case.loss.y).sum()

    def posterior(h):
        return gp.laplace(gp.GaussianProcess(net, priors.isotropic(net.num_params, 1 / h)), case.likelihood, case.X, case.y)

    steps = [2.0**-j for j in range(14, 20)]
    assert abs(taylor_order(lambda h: posterior(h).posterior.log_evidence - limit, steps) - 1) < 0.1
    prior_variance = case.net.jacobian(case.theta, case.X_new)
    prior_variance = prior_variance @ np.swapaxes(prior_variance, 1, 2)
    order = taylor_order(lambda h: posterior(h).posterior.covariance(case.X_new) / h - prior_variance, steps)
    assert abs(order - 1) < 0.1


def test_under_a_vague_prior_the_evidence_falls_by_half_the_rank_of_the_data_for_each_e_fold():
    """Identity G29: λ → 0, ∂ log Z/∂ log λ → ½ rank G, with an error of order λ."""
    case = replace(REGRESSION, prior="isotropic").build()
    rank = np.linalg.matrix_rank(case.loss.ggn(case.theta))

    def slope(h):
        process = gp.GaussianProcess(prior_process(case).net, priors.isotropic(case.net.num_params, h))
        return gp.log_precision_gradient(gp.condition(process, case.X, expanded(case))).sum()

    assert rank == 10
    assert abs(taylor_order(lambda h: slope(h) - rank / 2, [2.0**-j for j in range(12, 18)]) - 1) < 0.1


@dataclass(frozen=True)
class Rotated:
    """A network in rotated parameters, f(x, Qφ): any object with these methods is a network."""

    net: object
    Q: np.ndarray
    is_linear = True
    num_inputs, num_outputs, num_params = (property(lambda self, name=name: getattr(self.net, name))
                                           for name in ("num_inputs", "num_outputs", "num_params"))

    def evaluate(self, phi, X):
        """The inner evaluation, with its Jacobian rotated."""
        inner = self.net.evaluate(phi @ self.Q.T, X)
        return RotatedEvaluation(inner.f, inner.jacobian() @ self.Q)

    def forward(self, phi, X):
        """f(x, Qφ)."""
        return self.evaluate(phi, X).f

    def jacobian(self, phi, X):
        """J Q."""
        return self.evaluate(phi, X).jacobian()


@dataclass(frozen=True)
class RotatedEvaluation:
    """What the kernel asks of an evaluation."""

    f: np.ndarray
    J: np.ndarray

    def jacobian(self):
        """J Q."""
        return self.J


@law()
def test_rotating_the_parameters_under_an_isotropic_prior_changes_nothing(spec):
    """Identity G34: the process knows J through J P₀^(−½) alone."""
    case = replace(spec.build(), prior=priors.isotropic(spec.build().net.num_params, 1.3))
    process, w = prior_process(case), weight_space(case)
    Q = np.linalg.qr(np.random.default_rng(1).normal(size=w.A.shape))[0]
    rotated = gp.GaussianProcess(Rotated(process.net, Q), case.prior)
    one, two = (gp.condition(each, case.X, expanded(case)) for each in (process, rotated))
    size = norm_or_one(w.J) * (np.linalg.norm(case.theta) + 1) + norm_or_one(one.mean(case.X))
    agree(two.mean(case.X), one.mean(case.X), terms=case.terms, condition=w.condition, scale=size)
    agree(two.kernel(case.X, case.X), one.kernel(case.X, case.X), terms=case.terms, condition=w.condition,
          scale=norm_or_one(w.J) ** 2)
    agree(two.log_evidence, one.log_evidence, terms=case.terms, condition=w.condition,
          scale=log_size(case, one.log_evidence) + w.gradient @ np.linalg.solve(w.A, w.gradient))


def test_outputs_that_share_no_weights_have_evidences_that_add_up():
    """Identity H18: two outputs of a network without hidden layer, under an isotropic prior."""
    rng, likelihood = np.random.default_rng(4), likelihoods.Normal(0.3)
    X, y = rng.normal(size=(7, 2)), rng.normal(size=(7, 2))
    both, one = (gp.GaussianProcess(Mlp((2, k), ()), priors.isotropic(3 * k, 0.8)) for k in (2, 1))
    apart = sum(gp.laplace(one, likelihood, X, y[:, c:c + 1]).posterior.log_evidence for c in range(2))
    agree(gp.laplace(both, likelihood, X, y).posterior.log_evidence, apart, terms=20, condition=100)


# -- doors ------------------------------------------------------------------------------------------------------------------

CASE = REGRESSION.build()
PROCESS, SITES = prior_process(CASE), expanded(CASE)
POSTERIOR = gp.condition(PROCESS, CASE.X, SITES)
P, N, K = CASE.net.num_params, len(CASE.X), CASE.net.num_outputs
AGAIN = gp.condition(POSTERIOR, CASE.X, SITES)


@pytest.mark.parametrize("function", [
    pytest.param(function, id=words) for words, function in {
        "a network that bends": lambda: gp.GaussianProcess(CASE.net, CASE.prior),
        "a Gaussian of another length": lambda: gp.GaussianProcess(PROCESS.net, priors.isotropic(3, 1.0)),
        "no Gaussian": lambda: gp.GaussianProcess(PROCESS.net, np.eye(3)),
        "no network": lambda: gp.GaussianProcess(None, CASE.prior),
        "inputs of another width": lambda: PROCESS.mean(CASE.X[:, :1]),
        "NaN among the inputs": lambda: POSTERIOR.covariance(np.full((1, 2), np.nan)),
        "outputs that are text": lambda: gp.expand(CASE.likelihood, [["a"]], CASE.y),
        "targets of another shape": lambda: gp.expand(CASE.likelihood, SITES.f, CASE.y[:, 0]),
        "no likelihood": lambda: gp.expand(None, SITES.f, CASE.y),
        "r of another shape": lambda: replace(SITES, r=SITES.r[:, :1]),
        "S of another shape": lambda: replace(SITES, S=SITES.S[:, :1]),
        "log_prob with NaN": lambda: replace(SITES, log_prob=np.full(N, np.nan)),
        "fewer sites than data": lambda: gp.condition(PROCESS, CASE.X, SITES[:2]),
        "no data": lambda: gp.condition(PROCESS, CASE.X[:0], SITES[:0]),
        "no process": lambda: gp.condition(CASE.net, CASE.X, SITES),
        "no sites": lambda: gp.condition(PROCESS, CASE.X, CASE.y),
        "laplace without data": lambda: gp.laplace(PROCESS, CASE.likelihood, CASE.X[:0], CASE.y[:0]),
        "laplace of targets of another shape": lambda: gp.laplace(PROCESS, CASE.likelihood, CASE.X, CASE.y[:2]),
        "laplace in no steps": lambda: gp.laplace(PROCESS, CASE.likelihood, CASE.X, CASE.y, max_iterations=0),
        "weights of a process without any": lambda: gp.mean_weights(AGAIN),
        "draws of a process without weights": lambda: gp.draws(AGAIN, np.zeros(P), np.zeros((N, K))),
        "gradient of a process without weights": lambda: gp.log_precision_gradient(AGAIN),
        "too few normals": lambda: gp.draws(POSTERIOR, np.zeros(P - 1), np.zeros((N, K))),
        "normals of other sites": lambda: gp.draws(POSTERIOR, np.zeros(P), np.zeros((N, K + 1))),
        "normals that would broadcast": lambda: gp.draws(POSTERIOR, np.zeros((3, P)), np.zeros((N, K))),
        "the variance of a likelihood without one": lambda: gp.log_variance_gradient(POSTERIOR, likelihoods.Poisson(), CASE.y),
        "probabilities that do not add up": lambda: gp.log_det_one_plus_kernel_curvature(np.zeros((2, 1, 1)), [[0.3, 0.6]]),
        "a probability of zero": lambda: gp.log_det_one_plus_kernel_curvature(np.zeros((2, 1, 1)), [[0.0, 1.0]]),
    }.items()])
def test_bad_input_is_refused_with_what_was_expected_and_what_came(function):
    with pytest.raises(ValueError, match="expected .* got"):
        function()


def test_sites_and_inputs_are_copies_of_what_was_given():
    f, X = SITES.f.copy(), CASE.X.copy()
    sites = replace(SITES, f=f)
    posterior = gp.condition(PROCESS, X, sites)
    before = posterior.mean(CASE.X)
    f[:], X[:] = 99.0, 99.0
    assert np.array_equal(posterior.mean(CASE.X), before) and not sites.f.flags.writeable


def test_gelu_and_relu_processes_exist_for_deep_networks():
    """A deep, wide network: more parameters than a matrix over them should have; nothing of that size is made."""
    net, rng = Mlp((3, 60, 60, 2), activations.gelu), np.random.default_rng(2)
    theta, X = 0.3 * rng.normal(size=net.num_params), rng.normal(size=(8, 3))
    process = gp.GaussianProcess(Linearised(net, at=theta), priors.isotropic(net.num_params, 2.0))
    found = gp.laplace(process, likelihoods.Categorical(), X, rng.integers(0, 2, 8))
    assert found.posterior.covariance(X).shape == (8, 2, 2) and found.decrement < 1e-10


def evidence_in_fractions(J, d, variance):
    """log N(d; 0, JJᵀ + σ²I) for floats as the rational numbers that they are, one logarithm of a fraction at the end."""
    rows, d, variance = [[Fraction(x) for x in row] for row in J], [Fraction(x) for x in d], Fraction(variance)
    A = [[sum(map(mul, left, right)) + variance * (i == j) for j, right in enumerate(rows)] + [d[i]]
         for i, left in enumerate(rows)]
    determinant, squares = Fraction(1), Fraction(0)
    for i, pivot_row in enumerate(A):
        pivot = pivot_row[i]
        determinant, squares = determinant * pivot, squares + pivot_row[-1] ** 2 / pivot
        for row in A[i + 1:]:
            factor = row[i] / pivot
            row[i:] = [x - factor * y for x, y in zip(row[i:], pivot_row[i:])]
    log_determinant = math.log(determinant.numerator) - math.log(determinant.denominator)
    return -0.5 * (float(squares) + log_determinant + len(d) * math.log(2 * math.pi))


def evidences_with_little_noise(variance):
    """By sites at the network and at the targets, and exactly; and what one rounding of the kernel does to it.

    δ log Z = ½ αᵀ δK α to first order, and |δK| ≤ u‖K‖.
    """
    X = np.linspace(-2, 2, 10)[:, None]
    net = Mlp((1, 5, 1), activations.tanh)
    linear = Linearised(net, at=np.random.default_rng(0).normal(size=net.num_params))
    process, likelihood = gp.GaussianProcess(linear, priors.isotropic(net.num_params, 1.0)), likelihoods.Normal(variance)
    conditioned = [gp.condition(process, X, gp.expand(likelihood, f, np.sin(X)))
                   for f in (linear.forward(linear.at, X), np.sin(X))]
    J, d = linear.jacobian(linear.at, X)[:, 0], (np.sin(X) - process.mean(X))[:, 0]
    kernel = np.linalg.norm(conditioned[1].at_data.K, 2)
    tolerance = 0.5 * 2.0**-53 * kernel * np.sum(conditioned[1].alpha ** 2)
    return [each.log_evidence for each in conditioned], evidence_in_fractions(J, d, variance), tolerance


@pytest.mark.parametrize("variance", [1e-8, 1e-10, 1e-12])
def test_with_little_noise_sites_at_the_network_and_at_the_targets_give_the_exact_evidence(variance):
    (there, here), exact, tolerance = evidences_with_little_noise(variance)
    assert abs(there - exact) < tolerance and abs(here - exact) < tolerance


@pytest.mark.parametrize("variance", [1e-10, 1e-12])  # at 1e-8 the residual has the digits without it
def test_without_the_refinement_of_alpha_they_do_not(variance, monkeypatch):
    monkeypatch.setattr(at_data, "REFINEMENTS", 0)
    (there, _), exact, tolerance = evidences_with_little_noise(variance)
    assert abs(there - exact) > 10 * tolerance
