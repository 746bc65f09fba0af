"""A linearised network goes wherever a network goes, and gives there what it should: the GGN for the Hessian, no bend.

`CURVATURES` are consumers of a curvature: the Hessian of the linearised network and the GGN of the network, one answer. The other
consumers have a law each, named in `ELSEWHERE`. Every public function that takes a network, or what is made of one, stands in one
of the two, or in `ABOUT_WEIGHTS` because it is about the layers and units of an Mlp rather than about a function f(x, θ).
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from dataclasses import dataclass, replace

import numpy as np
import pytest

import refbnn
from refbnn import Gaussian, Linearised, Loss, Mlp, Posterior, activations, audit, blocks, cubature, duals, evidence, expansion
from refbnn import fourth, gp, hyper, kronecker, laplace, likelihoods, low_rank, optimize, predict, priors, quadrature, samplers
from refbnn import third, vi
from refbnn.precision import Dense, Diagonal
from refbnn.subnetwork import Subnetwork, layer
from refbnn.testing import tolerance
from tests import oracles
from tests.judge import agree, mean_agrees, norm_or_one, vanishes
from tests.zoo import LIKELIHOODS, Spec, law

TAKEN_FROM_NETWORKS = {"net", "loss", "posterior", "pullback", "left", "evaluation", "family"}

CURVATURES = {
    "pullback.full": lambda C: C.full(),
    "pullback.diagonal": lambda C: C.diagonal(),
    "pullback.layer_blocks": lambda C: C.layer_blocks(),
    "pullback.neuron_blocks": lambda C: [block for layer_of in C.neuron_blocks() for block in layer_of],
    "pullback.last_layer": lambda C: C.last_layer(),
    "pullback.subset": lambda C: C.subset(np.array([0, C.num_params - 1])),
    "pullback.matvec": lambda C: C.matvec(np.cos(np.arange(C.num_params))),
    "pullback.linear_operator": lambda C: C.linear_operator() @ np.cos(np.arange(C.num_params)),
    "blocks.layer_blocks": lambda C: blocks.layer_blocks(C).plus(1.3).matrix(),
    "kronecker.kfac": lambda C: kronecker.kfac(C).plus(1.3).matrix(),
    "kronecker.kfra": lambda C: kronecker.kfra(C).plus(1.3).matrix(),
    "kronecker.ekfac": lambda C: kronecker.ekfac(C).matrix(),
    "kronecker.nearest_kronecker": lambda C: kronecker.nearest_kronecker(C).matrix(),
    "low_rank.leading": lambda C: low_rank.leading(C, 1).eigenvalues,
    "low_rank.positive_part": lambda C: low_rank.positive_part(C, 1).eigenvalues,
    "duals.gram_dual": lambda C: duals.gram_dual(C),
}
ELSEWHERE = {
    "loss.Loss": "test_the_loss_has_the_gradients_and_the_curvatures_of_the_network",
    "loss.Curvatures": "test_the_loss_has_the_gradients_and_the_curvatures_of_the_network",
    "linearised.Linearised": "test_linearising_it_changes_nothing",
    "posterior.Posterior": "test_search_laplace_and_evidence_run_on_it",
    "optimize.maximize": "test_search_laplace_and_evidence_run_on_it",
    "duals.ntk": "test_kernels_and_processes_are_those_of_its_jacobian",
    "duals.kernel": "test_kernels_and_processes_are_those_of_its_jacobian",
    "gp.process.GaussianProcess": "test_kernels_and_processes_are_those_of_its_jacobian",
    "third.third_derivative": "test_third_derivatives_are_those_of_the_likelihood_alone",
    "third.trace_gradient_of_hessian": "test_third_derivatives_are_those_of_the_likelihood_alone",
    "third.trace_gradient_of_ggn": "test_third_derivatives_are_those_of_the_likelihood_alone",
    "predict.functions.moments": "test_predictions_from_its_draws_have_its_exact_moments",
    "predict.functions.joint": "test_predictions_from_its_draws_have_its_exact_moments",
    "predict.targets.monte_carlo": "test_predictions_from_its_draws_have_its_exact_moments",
    "predict.targets.unbiased_monte_carlo": "test_predictions_from_its_draws_have_its_exact_moments",
    "expansion.sampling_bias": "test_it_has_no_bend_and_a_normal_posterior_of_it_no_next_order",
    "expansion.second_order": "test_it_has_no_bend_and_a_normal_posterior_of_it_no_next_order",
    "subnetwork.Subnetwork": "test_a_subnetwork_of_it_is_a_linearised_subnetwork",
    "subnetwork.layer": "test_a_subnetwork_of_it_is_a_linearised_subnetwork",
    "fourth.contraction": "test_its_fourth_derivatives_are_those_of_the_likelihood_alone",
    "third.trace_gradient_of_kfac": "test_third_derivatives_are_those_of_the_likelihood_alone",
    "cubature.deterministic.caution_for": "test_cubature_and_importance_weights_find_its_evidence",
    "cubature.product_grid.product": "test_cubature_and_importance_weights_find_its_evidence",
    "cubature.weights.Around": "test_cubature_and_importance_weights_find_its_evidence",
    "evidence.bidirectional.Simulated": "test_linearising_what_is_affine_already_changes_no_estimator",
    "evidence.bidirectional.simulated": "test_linearising_what_is_affine_already_changes_no_estimator",
    **{f"vi.{name}": "test_variational_inference_on_it_finds_the_exact_posterior" for name in (
        "bounds.eubo", "bounds.iwae", "bounds.log_weights", "estimators.sticking_the_landing", "opper_archambeau.fixed_point",
        "natural.natural_gradient", "bfgs.gradient", "bfgs.quasi_newton", "bfgs.residual_of", "objective.Elbo", "objective.elbo",
        "optimum.Optimum", "optimum.describe", "optimum.expect_fitting", "optimum.rule_error", "optimum.precision_residual",
        "optimum.virial_residual")},
    **{f"vi.{name}": "test_linearising_what_is_affine_already_changes_no_estimator" for name in (
        "estimators.local_reparametrisation", "estimators.mini_batch", "estimators.pathwise", "estimators.score",
        "expectations.refuse_nonlinear")},
    **{f"cubature.{name}": "test_what_is_about_the_layers_of_a_network_refuses_it_in_words" for name in (
        "collapsing.collapse", "collapsing.collapse_noise", "collapsed.Collapsed", "layered_grid.layered",
        "output_layer.OutputLayer", "weights.AllWeights", "weights.Known")},
    **{f"vi.{name}": "test_priors_over_its_layers_are_those_over_the_layers_of_the_network" for name in (
        "diagnosis.rescaling", "diagnosis.units", "families.independent.kronecker", "families.independent.per_layer")},
    **{f"audit.{name}": "test_its_draws_are_audited_by_the_laws_of_any_density" for name in ("audit", "scaling", "shifts")},
}
ABOUT_WEIGHTS = {"symmetry", "mixture"}  # permutations and signs of hidden units
ABOUT_BOTH = {"budget"}  # sets the linear model beside the network: tests/test_budget.py holds what vanishes on an affine one
ABOUT_DRAWS = {"diagnostics"}  # `posterior` names arrays of draws there
LATER = {"hyper", "gp"}  # take posteriors that are made above: tests/test_hyper.py and tests/test_gp.py run on Linearised
OTHERS = {"conform", "testing", "cli", "__main__"} | ABOUT_WEIGHTS | ABOUT_BOTH | ABOUT_DRAWS | LATER


def linearised(case):
    """The linearised network at case.theta and its loss."""
    net = Linearised(case.net, at=case.theta)
    return net, Loss(net, case.likelihood, case.X, case.y)


def flat(value):
    """Arrays, or lists of them, as one vector."""
    return np.concatenate([np.ravel(part) for part in value]) if isinstance(value, list) else np.ravel(value)


@law()
def test_every_consumer_of_a_curvature_takes_its_hessian_for_the_ggn_of_the_network(spec):
    case = spec.build()
    ours, theirs = linearised(case)[1].at(case.theta).hessian, case.loss.at(case.theta).ggn
    for name, consumer in CURVATURES.items():
        expected = flat(consumer(theirs))
        agree(flat(consumer(ours)), expected, terms=case.terms, scale=norm_or_one(expected))


@law()
def test_the_loss_has_the_gradients_and_the_curvatures_of_the_network(spec):
    case = spec.build()
    loss = linearised(case)[1]
    for name in ("value", "gradient", "per_datum_gradients", "ggn", "fisher", "empirical_fisher", "centred_empirical_fisher"):
        expected = getattr(case.loss, name)(case.theta)
        agree(getattr(loss, name)(case.theta), expected, terms=case.terms, scale=norm_or_one(expected))
    assert not loss.at(case.theta).residual_part.full().any()
    product = loss.hessian_vector_product(case.theta, case.vector)
    expected = case.loss.ggn(case.theta)
    agree(product, expected @ case.vector, terms=case.terms, scale=norm_or_one(expected) * norm_or_one(case.vector))
    labels = case.loss.y
    agree(loss.sampled_fisher(case.theta, labels), case.loss.sampled_fisher(case.theta, labels), terms=case.terms,
          scale=norm_or_one(case.loss.sampled_fisher(case.theta, labels)))


@law()
def test_third_derivatives_are_those_of_the_likelihood_alone(spec):
    """∇³L[v, v] = Σ_n J_nᵀ T_n[J_n v, J_n v], which is the gradient of vᵀGv and of vᵀHv at once."""
    case = spec.build()
    net, loss = linearised(case)
    f, J = case.net.forward(case.theta, case.X), oracles.jacobian(case)
    T, u = case.likelihood.third(f, case.loss.y), J @ case.vector
    expected = np.einsum("nkp,nkab,na,nb->p", J, T, u, u)
    scale = norm_or_one(J) ** 3 * norm_or_one(T) * norm_or_one(case.vector) ** 2
    agree(third.third_derivative(loss, case.theta, case.vector), expected, terms=case.terms, scale=scale)
    for function in (third.trace_gradient_of_ggn, third.trace_gradient_of_hessian):
        agree(function(loss, case.theta, case.vector[None]), expected, terms=case.terms, scale=scale)
    if spec.bias:  # of KFAC B moves with Λ alone, and A not at all
        moved = net.evaluate(case.theta, case.X).pullback(np.einsum("nkab,nk->nab", T, J @ case.theta))
        expected = case.vector @ kronecker.kfac(moved).matrix() @ case.vector
        found = third.trace_gradient_of_kfac(loss, case.theta, case.vector[None]) @ case.theta
        agree(found, expected, terms=case.terms, scale=scale * norm_or_one(case.theta) * len(J))


@law()
def test_its_fourth_derivatives_are_those_of_the_likelihood_alone(spec):
    """And the derivatives of the third: the plain central difference along the rows, extrapolated."""
    case = spec.build()
    loss = linearised(case)[1]
    V = np.random.default_rng(2).normal(size=(3, len(case.theta))) / norm_or_one(oracles.jacobian(case))

    def difference(h):
        t = [[third.trace_gradient_of_hessian(loss, case.theta + step * v, V) for step in (h, -h)] for v in V]
        size = sum(np.abs(v) @ (np.abs(ahead) + np.abs(behind)) for v, (ahead, behind) in zip(V, t))
        return sum(v @ (ahead - behind) for v, (ahead, behind) in zip(V, t)) / (2 * h), tolerance(case.terms) * size / h

    expected, own = fourth.derivative(difference)
    value, error = fourth.contraction(loss, case.theta, V)
    assert abs(value - expected) <= error + own + tolerance(case.terms) * abs(value)


@law()
def test_kernels_and_processes_are_those_of_its_jacobian(spec):
    case = spec.build()
    net, _ = linearised(case)
    left, right = (net.evaluate(case.vector, inputs) for inputs in (case.X_new, case.X))
    J_new, J = oracles.jacobian(case, case.X_new), oracles.jacobian(case)
    scale = norm_or_one(J_new) * norm_or_one(J)
    agree(duals.ntk(left, right), np.einsum("akp,blp->akbl", J_new, J), terms=case.terms, scale=scale)
    inverse = np.linalg.inv(oracles.dense(case.prior.precision))
    expected = np.einsum("akp,pq,blq->akbl", J_new, inverse, J)
    process = gp.GaussianProcess(net, case.prior)
    for kernel in (duals.kernel(left, right, case.prior.precision), process.kernel(case.X_new, case.X)):
        agree(kernel, expected, terms=case.terms, condition=np.linalg.cond(inverse), scale=scale * np.linalg.norm(inverse))


@law()
def test_predictions_from_its_draws_have_its_exact_moments(spec):
    """Draws at ± the columns of the scale have the mean and covariance of θ: an affine function of them has its own exactly."""
    case = spec.build()
    net, _ = linearised(case)
    q, p = case.prior, case.net.num_params
    points = q.from_normals(np.sqrt(p) * np.concatenate([np.eye(p), -np.eye(p)]))
    exact, joint = predict.moments(net, q, case.X_new), predict.joint(net, q, case.X_new)
    f = net.forward(points, case.X_new)
    J = oracles.jacobian(case, case.X_new)
    size = norm_or_one(J) * (norm_or_one(points) + norm_or_one(case.theta)) + norm_or_one(f)
    agree(f.mean(0), exact.mean, terms=case.terms, scale=size)
    centred = (f - f.mean(0)).reshape(len(f), -1)
    together = (centred.T @ centred / len(f)).reshape(joint.covariance.shape)
    agree(together, joint.covariance, terms=case.terms, scale=size**2)
    agree(np.array([together[m, :, m] for m in range(len(J))]), exact.covariance, terms=case.terms, scale=size**2)
    noisy = predict.monte_carlo(net, refbnn.likelihoods.Normal(0.37), points, case.X_new)
    agree(noisy.mean, exact.mean, terms=case.terms, scale=size)
    identity = 0.37 * np.eye(net.num_outputs)
    agree(noisy.covariance, exact.covariance + identity, terms=case.terms, scale=size**2)
    unbiased = predict.unbiased_monte_carlo(net, refbnn.likelihoods.Normal(0.37), points, case.X_new)
    agree(unbiased.covariance, exact.covariance * len(f) / (len(f) - 1) + identity, terms=case.terms, scale=2 * size**2)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_search_laplace_and_evidence_run_on_it(likelihood):
    """And the total gradient of its Laplace evidence over weights is that over functions (identity H11)."""
    case = Spec((2, 3, 2), "tanh", likelihood, prior="per_parameter").build()
    net, _ = linearised(case)
    post = Posterior(net, case.likelihood, case.prior, case.X, case.y)
    mode = optimize.maximize(post, case.prior.mean)
    q = laplace.at(mode.theta, post.negative_hessian(mode.theta))
    kappa = np.linalg.cond(q.precision.matrix()) * np.linalg.cond(case.prior.precision.matrix())
    found = gp.laplace(gp.GaussianProcess(net, case.prior), case.likelihood, case.X, case.y)
    size = abs(mode.log_prob) + net.num_params
    agree(found.posterior.log_evidence, laplace.log_evidence(mode.log_prob, q), terms=case.terms, condition=kappa, scale=size)

    family = hyper.Family(net, hyper.Fixed(case.likelihood), hyper.per_parameter(net.num_params, case.prior.mean),
                          case.X, case.y)
    eta = np.log(case.prior.precision.diagonal())
    over_functions = gp.laplace_log_precision_gradient(found, case.likelihood, case.y)
    for curvature in (hyper.hessian, hyper.ggn):
        over_weights = hyper.Evidence(family, curvature, eta, mode.theta)
        agree(over_weights.log_evidence, found.posterior.log_evidence, terms=case.terms, condition=kappa, scale=size)
        agree(over_weights.total_gradient, over_functions, terms=case.terms, condition=kappa, scale=size)


@law(hidden=(0, 2))
def test_a_subnetwork_of_it_is_a_linearised_subnetwork(spec):
    case = spec.build()
    net, _ = linearised(case)
    chosen = layer(net, len(net.layer_sizes) - 1)
    part, other = Subnetwork(net, case.theta, chosen), Linearised(Subnetwork(case.net, case.theta, chosen), case.theta[chosen])
    theta = case.vector[chosen]
    expected = other.forward(theta, case.X)
    size = norm_or_one(expected) + norm_or_one(part.jacobian(theta, case.X)) * (norm_or_one(theta) + norm_or_one(case.theta))
    agree(part.forward(theta, case.X), expected, terms=case.terms, scale=size)
    agree(part.jacobian(theta, case.X), other.jacobian(theta, case.X), terms=case.terms,
          scale=norm_or_one(other.jacobian(theta, case.X)))
    assert part.is_linear and other.is_linear


@law()
def test_linearising_it_changes_nothing(spec):
    case = spec.build()
    net, _ = linearised(case)
    again = Linearised(net, at=case.vector)
    theta = case.vector - 0.3 * case.theta
    expected = net.forward(theta, case.X)
    size = norm_or_one(expected) + norm_or_one(net.jacobian(theta, case.X)) * (norm_or_one(theta) + norm_or_one(case.theta))
    agree(again.forward(theta, case.X), expected, terms=case.terms, scale=size)
    agree(again.jacobian(theta, case.X), net.jacobian(theta, case.X), terms=case.terms,
          scale=norm_or_one(net.jacobian(theta, case.X)))


def test_it_has_no_bend_and_a_normal_posterior_of_it_no_next_order():
    case = Spec((2, 3, 2), "tanh", "normal").build()
    net, _ = linearised(case)
    post = Posterior(net, case.likelihood, case.prior, case.X, case.y)
    mode = optimize.maximize(post, case.prior.mean)
    assert not expansion.sampling_bias(net, case.prior, case.X_new).any()
    correction = expansion.second_order(post, mode.theta)
    vanishes(correction.log_evidence, scale=1.0, terms=case.terms)
    vanishes(correction.mean_shift, scale=1.0, terms=case.terms)


def test_priors_over_its_layers_are_those_over_the_layers_of_the_network():
    case = Spec((2, 3, 2)).build()
    net, _ = linearised(case)
    ours, theirs = (priors.per_layer(each.layer_sizes, [0.5, 2.0]).precision.diagonal() for each in (net, case.net))
    assert np.array_equal(ours, theirs)


# -- exact inference: everything that samples, integrates or optimises ------------------------------------------------------


@dataclass(frozen=True)
class Regression:
    """A linearised 1-1-1 network with Normal noise: a posterior q and an evidence that plain linear algebra knows exactly."""

    post: Posterior
    q: Gaussian
    log_evidence: float

    @classmethod
    def made(cls):
        """Five data, four parameters, linearised where no mode is."""
        rng, net = np.random.default_rng(7), Mlp((1, 1, 1), activations.tanh)
        theta, X, y, variance = rng.normal(size=4), rng.normal(size=(5, 1)), rng.normal(size=(5, 1)), 0.37
        P0, mean = np.diag([0.8, 1.3, 0.6, 1.1]) + 0.1, np.array([0.2, -0.1, 0.3, 0.0])
        post = Posterior(Linearised(net, at=theta), likelihoods.Normal(variance), priors.full(P0, mean), X, y)
        J, offset = net.jacobian(theta, X)[:, 0], net.forward(theta, X)[:, 0] - net.jacobian(theta, X)[:, 0] @ theta
        P = P0 + J.T @ J / variance
        q = Gaussian(np.linalg.solve(P, P0 @ mean + J.T @ (y[:, 0] - offset) / variance), Dense(P))
        covariance, e = J @ np.linalg.solve(P0, J.T) + variance * np.eye(5), y[:, 0] - offset - J @ mean
        return cls(post, q, -0.5 * (e @ np.linalg.solve(covariance, e) + np.linalg.slogdet(2 * np.pi * covariance)[1]))

    def is_found(self, q, digits=8):
        """Assert that q is the exact posterior."""
        assert np.abs(q.mean - self.q.mean).max() < 10.0**-digits
        assert np.abs(q.covariance() - self.q.covariance()).max() < 10.0**-digits


def test_cubature_and_importance_weights_find_its_evidence():
    exact = Regression.made()
    found = cubature.product(exact.post, within=1e-4).log_evidence
    assert abs(found.value - exact.log_evidence) <= found.error + 1e-12 and found.error < 1e-4
    estimate = evidence.importance(exact.post, exact.q, np.random.default_rng(0), 200)
    assert abs(estimate.log_evidence - exact.log_evidence) < 1e-11
    around = cubature.sobol(cubature.Around(exact.post, exact.q), 256, 4, np.random.default_rng(1), 1e-9).log_evidence
    assert abs(around.value - exact.log_evidence) < 1e-11  # points from the posterior itself: every weight is the evidence


def test_variational_inference_on_it_finds_the_exact_posterior():
    """Every solver, family Full; at q the bound is the evidence, weights are constant, sticking the landing has no variance."""
    exact = Regression.made()
    how, full, start = vi.ClosedForm(), vi.families.Full(4), exact.post.prior
    for optimum in (vi.fixed_point(exact.post, how), vi.natural_gradient(exact.post, full, how, start),
                    vi.natural_gradient(exact.post, full, how, start, curvature=vi.ggn)):
        assert optimum.converged
        exact.is_found(optimum.q)
        agree(optimum.elbo.value, exact.log_evidence, terms=1000, condition=100)
    exact.is_found(vi.quasi_newton(exact.post, full, how, start).q, digits=5)
    z = np.random.default_rng(1).normal(size=(7, 4))
    agree(vi.log_weights(exact.post, exact.q, z), np.full(7, exact.log_evidence), terms=1000)
    bounds = vi.iwae(exact.post, exact.q, z[:6].reshape(2, 3, 4)), vi.eubo(exact.post, exact.q, lambda g: quadrature.Integral(
        g(exact.q.from_normals(z)).mean(0), 0.0))
    for bound in bounds:
        agree(bound.value, exact.log_evidence, terms=1000)
    estimates = vi.estimators.sticking_the_landing(exact.post, exact.q, z)
    vanishes(estimates.mean, scale=norm_or_one(vi.estimators.pathwise(exact.post, exact.q, z).mean), terms=1000)


def test_linearising_what_is_affine_already_changes_no_estimator():
    """The same draws, the same gradients of the bound: of all data, of a batch, and with the noise taken layer by layer."""
    case = Spec((3, 2), likelihood="bernoulli").build()
    posts = [Posterior(net, case.likelihood, priors.isotropic(8, 1.3), case.X, case.y)
             for net in (case.net, Linearised(case.net, at=case.vector))]
    q, z = Gaussian(case.theta, Diagonal(np.linspace(0.5, 2, 8))), np.random.default_rng(1).normal(size=(5, 8))
    for estimator in (vi.estimators.pathwise, vi.estimators.score, vi.estimators.sticking_the_landing):
        for whole in (posts, [vi.estimators.mini_batch(post, np.array([0, 2, 3])) for post in posts]):
            theirs, ours = (estimator(post, q, z) for post in whole)
            agree(ours.mean, theirs.mean, terms=1000)
            agree(ours.scale, theirs.scale, terms=1000)
    noise = np.random.default_rng(3).normal(size=(5, *case.y.shape))
    theirs, ours = (vi.estimators.local_reparametrisation(post, q, noise) for post in posts)
    agree(ours.mean, theirs.mean, terms=1000)
    theirs, ours = (evidence.simulated(post.net, case.likelihood, post.prior, case.X, np.random.default_rng(2)) for post in posts)
    assert np.array_equal(theirs.theta, ours.theta) and np.array_equal(theirs.posterior.y, ours.posterior.y)
    how = [vi.OverOutputs(quadrature.gauss_hermite(2, 20)) for _ in posts]
    theirs, ours = (vi.elbo(post, q, one) for post, one in zip(posts, how))
    agree(ours.value, theirs.value, terms=1000)
    agree(ours.mean_gradient, theirs.mean_gradient, terms=1000)


@pytest.mark.parametrize("refuses", [
    lambda post: cubature.collapse(post), lambda post: cubature.layered(post, within=1e-6),
])
def test_what_is_about_the_layers_of_a_network_refuses_it_in_words(refuses):
    """The output layer of the network is linear, that of its tangent is not an output layer."""
    with pytest.raises(ValueError, match="net: expected"):
        refuses(Regression.made().post)


@pytest.mark.parametrize("kernel", [
    samplers.Hmc(0.25, 5, Diagonal(np.ones(4))), samplers.Nuts(0.35, Diagonal(np.ones(4))), samplers.EllipticalSlice(),
], ids=["hmc", "nuts", "elliptical"])
def test_chains_on_it_keep_the_exact_posterior(kernel):
    """3000 chains that start in the posterior are still there after five updates; sees a tenth of a standard deviation."""
    exact = Regression.made()
    start = exact.q.sample(np.random.default_rng(3), (3000,))
    chains = samplers.run(kernel, exact.post, start, 5, seed=4, width=3000)
    z = exact.q.precision.scale_transposed_matvec(exact.q.precision.matvec(chains.draws[:, -1] - exact.q.mean))  # C⁻¹(θ − mean)
    mean_agrees(np.concatenate([z, z**2], axis=1), np.repeat([0.0, 1.0], 4), smallest_effect=0.4)
    assert np.abs(chains.draws[:, -1] - start).max() > 0.1


def test_its_draws_are_audited_by_the_laws_of_any_density():
    """Scaling of units and shifts of outputs are laws of weights, which a linearised network does not have."""
    exact = Regression.made()
    draws = exact.q.sample(np.random.default_rng(5), (4, 1000))
    found = audit.audit(exact.post, draws)
    assert found.passed and {law.name for law in found.laws} == set(audit.virial(exact.post, draws))
    wide = exact.q.mean + 1.2 * (draws - exact.q.mean)
    assert any(law.name.startswith("virial") for law in audit.audit(exact.post, wide).broken)


# -- completeness -----------------------------------------------------------------------------------------------------------


def consumers():
    """Every public function and class of the numerical modules with a parameter that is a network or made of one."""
    found = set()
    for module in pkgutil.walk_packages(refbnn.__path__, "refbnn."):
        name = module.name.removeprefix("refbnn.")
        if name.split(".")[0] in OTHERS and name != "gp.process":
            continue
        for public, value in vars(importlib.import_module(module.name)).items():
            own = getattr(value, "__module__", "") == module.name and not public.startswith("_")
            if own and callable(value) and TAKEN_FROM_NETWORKS & parameters(value):
                found.add(f"{name}.{public}")
    return found


def parameters(value):
    """The names of the parameters of a function or class; none for exceptions, which have no signature."""
    return set() if inspect.isclass(value) and issubclass(value, Exception) else set(inspect.signature(value).parameters)


def test_every_public_consumer_of_networks_is_tried_on_it():
    """A new function that takes a network, posterior, loss or curvature needs a row above, on which it meets Linearised."""
    assert consumers() - set(ELSEWHERE) - set(CURVATURES) == set()


def test_every_row_names_a_consumer_and_a_law_that_exist():
    assert set(ELSEWHERE) <= consumers()
    assert {name for name in CURVATURES if not name.startswith("pullback.")} <= consumers()
    assert set(ELSEWHERE.values()) <= set(globals())


# -- planted faults ---------------------------------------------------------------------------------------------------------

SPEC = Spec((2, 4, 3), "tanh", "categorical", num_data=5, seed=3)


def statement(test):
    return lambda: test.hypothesis.inner_test(SPEC)


@pytest.mark.parametrize("fault, law_of_it", [
    pytest.param("bend", statement(test_every_consumer_of_a_curvature_takes_its_hessian_for_the_ggn_of_the_network), id="bends"),
    pytest.param("bend", statement(test_third_derivatives_are_those_of_the_likelihood_alone), id="bends, third derivatives"),
    pytest.param("elsewhere", statement(test_every_consumer_of_a_curvature_takes_its_hessian_for_the_ggn_of_the_network),
                 id="tangent at another point"),
    pytest.param("elsewhere", statement(test_kernels_and_processes_are_those_of_its_jacobian), id="tangent elsewhere, kernels"),
    pytest.param("offset", statement(test_the_loss_has_the_gradients_and_the_curvatures_of_the_network), id="no offset"),
])
def test_a_planted_fault_of_the_linearised_network_breaks_its_law(fault, law_of_it, monkeypatch):
    from refbnn.linearised import LinearisedEvaluation
    law_of_it()
    true = Linearised.evaluate
    plants = {
        "bend": lambda: monkeypatch.setattr(Linearised, "evaluate", lambda self, theta, X: self.net.evaluate(theta, X)),
        "elsewhere": lambda: monkeypatch.setattr(Linearised, "evaluate", lambda self, theta, X: true(
            replace(self, at=self.at * 1.01), theta, X)),
        "offset": lambda: monkeypatch.setattr(LinearisedEvaluation, "f", property(lambda self: self.base.jvp(self.shift))),
    }
    plants[fault]()
    with pytest.raises(AssertionError):
        law_of_it()
