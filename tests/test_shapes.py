"""The shapes in the signatures are true: every public function with annotated axes is called, on sizes that are all different."""

from __future__ import annotations

import dataclasses
import importlib
from typing import Annotated

import numpy as np
import pytest

import refbnn
from refbnn import Linearised, Loss, Mlp, Posterior
from refbnn import activations, audit, blocks, cubature, curvature, diagnostics, evidence, expansion, gp, hyper, kronecker
from refbnn import fourth, laplace, likelihoods, low_rank, mixture, optimize, predict, priors, quadrature, scores, symmetry
from refbnn import third, vi
from refbnn.networks.rows import Rows
from refbnn.precision import Diagonal, product
from refbnn.samplers import Hmc, Streams
from refbnn.shapes import Inputs, Outputs, Parameters, as_array, as_count, as_own_array, as_positive
from refbnn.subnetwork import Subnetwork
from tests.shape_checker import ShapeError, bind, checked, watch
from tests.test_layers import LAYER

# d, hidden, k, n, m, draws: distinct primes, so that no two axes can be confused
D, HIDDEN, K, N, M, DRAWS = 2, 5, 3, 11, 7, 13
NUMERICAL = [name for name, layer in LAYER.items() if 0 < layer < LAYER["__init__"]]
MEMBERS = [f"likelihoods.{name}" for name in ("independent", "normal", "bernoulli", "categorical", "poisson")]
MEMBERS += [f"networks.{name}" for name in ("packed", "signals", "assembly", "pullback", "rows", "jets", "first_order", "network",
                                            "mlp")]
MEMBERS += [f"priors.{name}" for name in ("gaussian", "independent")]
MEMBERS += [f"hyper.{name}" for name in ("precisions", "likelihoods", "family", "curvatures", "point", "fixed_points", "maximum",
                                         "alternating", "gamma", "noise", "hierarchical", "gibbs")]
# of hyper not marginal: there a Gaussian is over η, another p
MEMBERS += [f"gp.{name}" for name in ("process", "sites", "at_data", "conditioned", "newton", "left_out", "gradients", "weights",
                                      "multiclass")]
MEMBERS += [f"predict.{name}" for name in ("functions", "targets", "binary", "classes", "bridge", "entropy")]
MEMBERS += [f"diagnostics.{name}" for name in ("mixing", "effective", "errors", "energy", "weights", "table")]
MEMBERS += [f"evidence.{name}" for name in ("estimate", "proposals", "path", "importance_sampling", "bridge_sampling",
                                            "thermodynamic_integration", "annealing", "sequential", "bidirectional")]
MEMBERS += [f"vi.{name}" for name in ("objective", "expectations", "optimum", "natural", "bfgs", "opper_archambeau", "bounds",
                                      "estimators", "diagnosis", "families")]
MEMBERS += [f"vi.families.{name}" for name in ("full", "mean_field", "independent", "matrix_normal", "low_rank")]
MEMBERS += [f"cubature.{name}" for name in ("noise", "collapsed", "weights")]
MODULES = [importlib.import_module(f"refbnn.{name}") for name in NUMERICAL + MEMBERS]
TARGETS = {
    "Normal": (lambda rng: rng.normal(size=(N, K))),
    "Bernoulli": (lambda rng: rng.integers(0, 2, (N, K))),
    "Categorical": (lambda rng: rng.integers(0, K, N)),
    "Poisson": (lambda rng: rng.poisson(2.0, (N, K))),
}


def call_everything():
    """Every public function of the numerical layers, through the public objects, batched where it may be."""
    rng = np.random.default_rng(0)
    net = Mlp((D, HIDDEN, K), activations.tanh)
    p = net.num_params
    assert len({D, HIDDEN, K, N, M, DRAWS, p}) == 7
    X, X_new, theta, prior = rng.normal(size=(N, D)), rng.normal(size=(M, D)), 0.5 * rng.normal(size=p), priors.isotropic(p, 1.3)
    for batch in ((), (DRAWS,), (17, DRAWS)):
        call_network(net, rng, batch, X)
        call_network(Linearised(net, at=theta), rng, batch, X)
        call_network(Subnetwork(net, theta, np.arange(1, p, 2)), rng, batch, X)
        call_gaussian(prior, rng, batch)
        call_gaussian(priors.full(np.eye(p) + np.ones((p, p))), rng, batch)
        for heavy in (priors.Laplace(p, 0.5), priors.StudentT(p, 0.5, 3.0), priors.RegularisedHorseshoe(p, 0.5, 2.0)):
            call_prior(heavy, rng, batch)
        for name, targets in TARGETS.items():
            call_likelihood(getattr(likelihoods, name)(*[0.37] * (name == "Normal")), targets(rng), rng, batch)
    for name, targets in TARGETS.items():
        likelihood = getattr(likelihoods, name)(*[0.37] * (name == "Normal"))
        post = Posterior(net, likelihood, prior, X, targets(rng))
        call_posterior(post, rng, targets(rng))
        q = laplace.at(theta, prior.precision + post.loss.ggn(theta))
        laplace.log_evidence(post.log_prob(theta), q)
        call_predict(Linearised(net, at=theta), likelihood, q, X_new)
        refbnn.gaussian.kl(q, prior)
        call_processes(Linearised(net, at=theta), post, X_new, rng)
    call_quadrature_and_scores()
    call_diagnostics(np.random.default_rng(5))
    call_evidence(np.random.default_rng(6))
    call_hierarchical(np.random.default_rng(7))
    for network in (net, Linearised(net, at=theta), Subnetwork(net, theta, np.arange(p))):
        expansion.sampling_bias(network, q, X_new)
        network.evaluate(theta, X_new).bend(q.sample(rng, (17, DRAWS)))
        network.evaluate(theta, X_new).jet(q.sample(rng, (17, DRAWS)))
    call_symmetries_and_mixtures(Mlp((D, 2, K), activations.tanh), rng)
    expansion.second_order(post, optimize.maximize(post, theta).theta)
    priors.per_layer(net.layer_sizes, [1.0, 2.0])
    priors.per_parameter(np.ones(p))
    net.flatten(net.unflatten(theta))
    activations.leaky_relu(0.1)
    call_hyper(rng)
    call_vi(rng)
    call_cubature(net, X, rng)


def call_cubature(net, X, rng):
    """Collapsed targets, with known noise and with a prior on it, batched where they may be; all weights as points."""
    prior, y = priors.isotropic(net.num_params, 1.3), rng.normal(size=(N, K))
    post = Posterior(net, likelihoods.Normal(0.37), prior, X, y)
    noise = cubature.InverseGammaNoise(1.5, 0.5)
    for target in (cubature.collapse(post), cubature.collapse_noise(net, noise, prior, X, y)):
        for batch in ((), (DRAWS,), (17, DRAWS)):
            theta = rng.normal(size=(*batch, target.num_params))
            for function in (target.log_likelihood, target.log_prob, target.value_and_gradient):
                function(theta)
            assert target.given(theta).sample(rng).shape == (*batch, net.num_params)
    known = cubature.AllWeights(post)
    known.log_likelihood(prior.sample(rng, (DRAWS,)))
    for theta in (prior.sample(rng), prior.sample(rng, (DRAWS,))):
        at = known.given(theta)
        at.outputs(X), at.targets(X), at.log_density(X, y), at.distribution(X, y), at.log_densities(X, np.stack([y, y], axis=1))
    around = cubature.Around(post, prior)
    for theta in (prior.sample(rng), prior.sample(rng, (DRAWS,))):
        assert np.allclose(around.log_likelihood(theta), known.log_likelihood(theta))
        around.given(theta)
    cubature.noise.noise_of(post.likelihood, y, K)


def call_predict(linear, likelihood, q, X_new):
    """Predictions of f and of targets, class probabilities and their entropies."""
    thetas = q.sample(np.random.default_rng(3), (DRAWS,))
    for function in (predict.targets.monte_carlo, predict.targets.unbiased_monte_carlo):
        function(linear, likelihood, thetas, X_new)
    moments, joint = predict.functions.moments(linear, q, X_new), predict.functions.joint(linear, q, X_new)
    joint.from_normals(np.ones((DRAWS, q.num_params)))
    for function in (joint.marginals, predict.targets.poisson, predict.binary.probit, predict.binary.bernoulli_probit,
                     predict.classes.probit, predict.classes.mean_field_0, predict.classes.mean_field_1,
                     predict.classes.mean_field_2, predict.classes.zero_sum, predict.classes.conditioned,
                     predict.bridge.rescaled):
        function(*[moments] * (function != joint.marginals))
    predict.targets.with_noise(moments, likelihoods.Normal(0.37))
    predict.targets.under(moments, likelihood, quadrature.gauss_hermite(K, 4))
    predict.binary.probabilities(moments, quadrature.gauss_hermite(1, 4))
    for function in (predict.classes.probabilities, predict.entropy.under):
        function(moments, quadrature.gauss_hermite(K - 1, 4))
    even = predict.Moments(moments.mean[:, :2], moments.covariance[:, :2, :2])
    predict.targets.heteroscedastic(even)
    alpha = predict.bridge.dirichlet(predict.classes.zero_sum(moments))
    predict.bridge.gaussian(alpha)
    predict.bridge.probabilities(alpha)
    predict.entropy.of_draws(likelihoods.Categorical().mean(linear.forward(thetas, X_new)))


def call_quadrature_and_scores():
    """Rules, and every score of seven data."""
    rng, rule = np.random.default_rng(4), quadrature.gauss_hermite(2, 5)
    for made in (rule, quadrature.trapezoid(2, 13), quadrature.sobol(2, 8, 3, rng), quadrature.draws(np.ones((DRAWS, 2)))):
        made.integrate(lambda z: z)
    y, draws, p, labels = rng.normal(size=(N, K)), rng.normal(size=(DRAWS, N, K)), rng.dirichlet(np.ones(K), N), np.arange(N) % K
    for score in (scores.crps_of_normal, scores.pit_of_normal):
        score(y, y**2 + 1, y + 1)
    for score in (scores.brier, scores.log_score_of_classes, scores.confidence):
        score(p, labels)
    for score in (scores.crps_of_draws, scores.fair_crps_of_draws):
        score(draws, y)
    scores.pit_of_draws(draws, y, np.ones((N, K)))
    scores.log_score_of_draws(draws[..., 0])
    scores.log_score_of_normal(y, np.broadcast_to(np.eye(K), (N, K, K)), y)
    scores.reliability(p[:, 0], (labels == 0).astype(float), scores.equal_mass(p[:, 0], 3))
    below, at = scores.tail(np.ones((DRAWS, N)), np.full((DRAWS, N), 1 / DRAWS), y[:, 0])
    scores.coverage(scores.pit_of_discrete(below, at, np.ones(N)), [0.5, 0.9])


def call_diagnostics(rng):
    """Five chains of thirteen draws of outputs, and weights."""
    f = rng.normal(size=(5, DRAWS, N, K))
    for name in ("rhat", "rank_rhat", "folded_rhat", "split_rhat", "ess_mean", "ess_sd", "ess_bulk", "ess_tail", "mcse_mean",
                 "mcse_sd", "summary"):
        getattr(diagnostics, name)(f)
    diagnostics.ess_quantile(f, 0.3)
    diagnostics.mcse_quantile(f, 0.3)
    diagnostics.nested_rhat(rng.normal(size=(3, 5, DRAWS, K)))
    diagnostics.largest_k(100)
    diagnostics.e_bfmi(f[..., 0, 0])
    for function in (diagnostics.pareto_k, diagnostics.pareto_smoothed, diagnostics.weight_ess):
        function(rng.normal(size=29))


def call_evidence(rng):
    """log p(y) of a regression on two inputs, by every estimator."""
    net = Mlp((D, 1), ())
    prior = priors.isotropic(net.num_params, 1.3)
    post = Posterior(net, likelihoods.Normal(0.37), prior, rng.normal(size=(N, D)), rng.normal(size=(N, 1)))
    path, streams = evidence.Path(post, prior), Streams.spawn(7, 29)
    safe = evidence.Defensive(evidence.widened(prior, 0.5), evidence.StudentT(prior, 3.0), 0.5)
    for batch in ((), (DRAWS,), (17, DRAWS)):
        theta = safe.sample(rng, batch)
        for function in (safe.log_prob, safe.gradient, safe.safe.log_prob, safe.safe.gradient, path.log_ratio,
                         path.at(0.3).log_prob, path.at(0.3).log_likelihood,
                         path.at(0.3).value_and_gradient):
            function(theta)
    posterior = laplace.at(np.zeros(net.num_params), post.negative_hessian(np.zeros(net.num_params)))
    evidence.importance(posterior, posterior, rng, 50)
    evidence.bridge(posterior, posterior, posterior.sample(rng, (5, DRAWS)), rng, 50)
    evidence.integrate(rng.normal(size=(3, 5, DRAWS)), evidence.gauss_legendre(3))
    evidence.riemann([0.0, 0.5, 1.0], [1.0, 2.0, 3.0])
    assert evidence.Estimate(-3.0, 0.1, 30.0).supported().pareto_k == -np.inf
    still = Hmc(0.4, 2, Diagonal(np.ones(net.num_params)))
    evidence.thermodynamic(path, evidence.gauss_legendre(12), lambda beta: still, streams, 5)
    forward = evidence.annealed(path, evidence.ladder(3), lambda beta: still, streams)
    evidence.reverse_annealed(path, evidence.ladder(3), lambda beta: still, forward.theta, streams)
    evidence.bracket(forward.log_weights, forward.log_weights)
    evidence.Annealed(forward.theta, np.zeros(29)).estimate()
    path.at(1.0).tempered(0.5)
    evidence.sequential(path, evidence.ladder(3), lambda beta: still, 97, 40, rng)
    evidence.simulated(net, post.likelihood, prior, post.X, rng)


def call_hierarchical(rng):
    """Weights with their precisions, sampled together, and the laws that draws of a posterior obey."""
    net, law = Mlp((D, 2, K), activations.relu), hyper.Gamma(2.0, 1.5)
    X, labels = rng.normal(size=(N, D)), rng.integers(0, K, N)
    for noise, y in ((hyper.UnknownNoise(law), rng.normal(size=(N, K))), (hyper.Known(likelihoods.Categorical()), labels)):
        target = hyper.Hierarchical(net, noise, hyper.per_layer(net.layer_sizes), law, X, y)
        for batch in ((), (DRAWS,), (17, DRAWS)):
            zeta = target.prior.sample(rng, batch)
            for function in (target.log_likelihood, target.log_prob, target.value_and_gradient, target.prior.log_prob,
                             target.prior.gradient):
                function(zeta)
        kernel, streams = hyper.Gibbs(Hmc(0.1, 2, Diagonal(np.ones(net.num_params)))), Streams.spawn(9, 17)
        state = kernel.init(target, target.prior.sample(rng, (17,)))
        kernel.step(target, state, streams)
        noise.given(target.loss, state.theta[:, :net.num_params], streams.generators)
    post = Posterior(net, likelihoods.Categorical(), priors.isotropic(net.num_params, 1.3), X, labels)
    audit.audit(post, rng.normal(size=(5, DRAWS, net.num_params)))


def call_hyper(rng):
    """Hyper-parameters, of a small network: learned noise, none but a precision, a temperature."""
    net, X, labels = Mlp((D, K), ()), rng.normal(size=(N, D)), rng.integers(0, 2, (N, K))
    start = np.zeros(net.num_params)
    families = [hyper.Family(net, hyper.NoiseVariance(), hyper.per_layer(net.layer_sizes), X, rng.normal(size=(N, K))),
                hyper.Family(net, hyper.Fixed(likelihoods.Bernoulli()), hyper.one(net.num_params), X, labels),
                hyper.Family(net, hyper.Temperature(likelihoods.Bernoulli()), hyper.one(net.num_params), X, labels)]
    for family in families:
        found = hyper.at(family.linearised(start), hyper.ggn, np.zeros(family.num_hyper), start)
        assert found.total_gradient.shape == found.direct_gradient.shape == (family.num_hyper,)
    for choice in (hyper.kfac, hyper.layer_blocks(hyper.ggn), hyper.diagonal(hyper.hessian)):
        hyper.at(families[0], choice, np.zeros(families[0].num_hyper), start).total_gradient
    for family in families[:2]:
        hyper.iterate(hyper.mackay, family, hyper.ggn, np.zeros(family.num_hyper), start, max_iterations=2)
        hyper.iterate(hyper.em, family, hyper.ggn, np.zeros(family.num_hyper), start, max_iterations=2)
    hyper.per_parameter(net.num_params)
    hyper.maximize(families[0], hyper.ggn, np.zeros(2), start)
    hyper.online(families[0], hyper.ggn, np.zeros(2), start, 2)


def call_vi(rng):
    """Families, bounds, solvers and estimators, on a linear model and on a small network with a prior that is not Gaussian."""
    net, X, y = Mlp((D, K), ()), rng.normal(size=(N, D)), rng.integers(0, 2, (N, K)).astype(float)
    p, deep = net.num_params, Mlp((D, 2, K), activations.relu)
    post = Posterior(net, likelihoods.Bernoulli(), priors.isotropic(p, 1.3), X, y)
    normal = Posterior(net, likelihoods.Normal(0.37), post.prior, X, y)
    wide = Posterior(deep, likelihoods.Bernoulli(), priors.StudentT(deep.num_params, 0.5, 3.0), X, y)
    over_outputs = vi.OverOutputs(quadrature.gauss_hermite(K, 4))
    over_parameters = vi.OverParameters(quadrature.smolyak(p, 3))
    for family in (vi.families.Full(p), vi.families.MeanField(p), vi.families.per_layer(net), vi.families.kronecker(net),
                   vi.families.LowRank(p, 2)):
        call_gaussian(family.gaussian(family.free(post.prior)), rng, (DRAWS,))
        vi.quasi_newton(post, family, over_outputs, post.prior, max_iterations=2)
    for family in (vi.families.Full(p), vi.families.MeanField(p), vi.families.per_layer(net)):
        family.natural(np.eye(p))
    vi.natural_gradient(post, vi.families.Full(p), over_outputs, post.prior, vi.ggn, max_iterations=2)
    found = vi.fixed_point(normal, vi.ClosedForm())
    vi.hessian(found.elbo), found.held_out(vi.ClosedForm())
    for how, target in ((over_outputs, post), (over_parameters, post), (vi.ClosedForm(), normal)):
        how.loss(target.loss, found.q), how.prior(target.prior, found.q)
    q = priors.isotropic(deep.num_params, 2.0)
    at = vi.elbo(wide, q, vi.OverParameters(quadrature.smolyak(deep.num_params, 3)))
    at.energy_hessian, at.hessian_error
    for estimate in (vi.estimators.pathwise, vi.estimators.sticking_the_landing, vi.estimators.score):
        estimate(post, found.q, rng.normal(size=(DRAWS, p)))
    vi.estimators.local_reparametrisation(post, found.q, rng.normal(size=(DRAWS, N, K)))
    vi.estimators.mini_batch(post, np.array([0, 2]))
    vi.iwae(post, found.q, rng.normal(size=(DRAWS, M, p)))
    vi.eubo(post, found.q, quadrature.draws(found.q.sample(rng, (DRAWS,))).integrate)
    vi.mean_field_gap(found.q.covariance())
    vi.conservation(q, q, vi.rescaling(deep, 0, 1))
    vi.units(deep, q, q)


def call_network(net, rng, batch, X):
    """Everything that is vectorised over draws, and what takes one θ."""
    theta, u = (0.5 * rng.normal(size=(*batch, net.num_params)) for _ in range(2))
    v = rng.normal(size=(*batch, N, K))
    one = 0.5 * rng.normal(size=net.num_params)
    net.is_linear_in(np.arange(3))
    net.forward(theta, X)
    net.jacobian(theta, X)
    for a, b, c in ((theta, u, v), (one, u, v), (theta, u, v.reshape(-1, N, K)[0]), (theta, u.reshape(-1, net.num_params)[0], v)):
        net.vjp(a, X, c)
        net.jvp(a, X, b)
        net.contracted_hessian_product(a, X, c, b)
    net.vjp_per_datum(one, X, v.reshape(-1, N, K)[0])
    net.evaluate(one, X).scatter(v.reshape(-1, N, K)[0])
    if not isinstance(net, Subnetwork):
        net.evaluate(one, X).inputs_vjp(1, v.reshape(-1, N, K)[0] @ np.ones((K, HIDDEN)))
    net.contracted_hessian(one, X, v.reshape(-1, N, K)[0])


def call_symmetries_and_mixtures(net, rng):
    """The group of a network, images of a Gaussian, and a mixture of them."""
    prior = priors.isotropic(net.num_params, 1.3)
    theta = prior.sample(rng)
    post = Posterior(net, likelihoods.Normal(0.37), prior, rng.normal(size=(N, D)), rng.normal(size=(N, K)))
    group = symmetry.of_posterior(post)
    assert group == symmetry.of_network(net)
    group.num_maps(theta, theta)
    group.num_copies(theta)
    group.distinct([theta])
    first, second = group.exchange(0, 0, 1), group.change_of_sign(0, 1)
    first.after(second).of_gaussian(prior)
    mix = mixture.over_copies(group, -3.0, laplace.at(theta, prior.precision))
    mixture.log_evidence([-3.0], [8])
    mix.log_evidence()
    mix.mean()
    mix.covariance()
    for batch in ((), (DRAWS,), (19, DRAWS)):
        thetas = mix.sample(rng, batch)
        mix.log_prob(thetas)
        mix.gradient(thetas)
        mix.from_uniforms_and_normals(rng.random(batch), thetas)


def call_gaussian(q, rng, batch):
    """A Gaussian and its precision."""
    call_prior(q, rng, batch)
    theta = rng.normal(size=(*batch, q.num_params))
    for function in (q.from_normals, q.precision.matvec, product(q.precision), q.precision.solve, q.precision.scale_matvec,
                     q.precision.scale_transposed_matvec):
        function(theta)
    for function in (q.covariance, q.scale, q.entropy, q.precision.matrix, q.precision.log_det, q.precision.diagonal):
        function()


def call_prior(prior, rng, batch):
    """What every prior has."""
    theta = rng.normal(size=(*batch, prior.num_params))
    prior.log_prob(theta), prior.gradient(theta)
    prior.negative_hessian(rng.normal(size=prior.num_params))
    assert prior.sample(rng, batch).shape == (*batch, prior.num_params)


def call_likelihood(likelihood, y, rng, batch):
    """A likelihood on outputs of any leading axes."""
    f = rng.normal(size=(*batch, N, K))
    y = likelihood.check_targets(y, N, K)
    for method in (likelihood.log_prob, likelihood.residual, likelihood.curvature, likelihood.factor, likelihood.third):
        method(f, y)
    for method in (likelihood.fisher, likelihood.mean, likelihood.covariance):
        method(f)
    likelihood.sample(f, rng)


def call_posterior(post, rng, labels):
    """The posterior and its loss, batched where they may be."""
    p = post.net.num_params
    theta, thetas = 0.5 * rng.normal(size=p), 0.5 * rng.normal(size=(17, DRAWS, p))
    post.tempered(0.5)
    for argument in (theta, thetas):
        for function in (post.log_prob, post.log_likelihood, post.value_and_gradient, post.gradient, post.loss.value,
                         post.loss.gradient):
            function(argument)
        post.loss.hessian_vector_product(argument, rng.normal(size=argument.shape))
    for function in (post.negative_hessian, post.loss.hessian, post.loss.ggn, post.loss.fisher, post.loss.empirical_fisher,
                     post.loss.per_datum_gradients):
        function(theta)
    post.tempered(0.5)
    post.loss.sampled_fisher(theta, labels)
    post.loss.centred_empirical_fisher(theta)
    J, f = post.net.jacobian(theta, post.X), post.net.forward(theta, post.X)
    curvature.ggn(J, post.likelihood.factor(f, post.loss.y))
    curvature.congruence(J, post.likelihood.curvature(f, post.loss.y))
    curvature.empirical_fisher(post.loss.per_datum_gradients(theta))
    call_pullback(post.loss.at(theta), labels)
    call_structures(post.loss.at(theta).ggn, rng)
    chosen = np.arange(0, p, 2)
    part = Loss(Subnetwork(post.net, theta, chosen), post.likelihood, post.X, labels)
    call_pullback(part.at(theta[chosen]), labels)
    third.third_derivative(part, theta[chosen], thetas[..., chosen])
    linear = Loss(Linearised(post.net, at=theta), post.likelihood, post.X, labels)
    for argument in (theta, thetas):
        third.third_derivative(post.loss, theta, argument)
        third.third_derivative(linear, theta, argument)
    fourth.contraction(linear, theta, thetas[0])
    third.trace_gradient_of_ggn(post.loss, theta, thetas[0])
    third.trace_gradient_of_kfac(post.loss, theta, thetas[0])
    third.trace_gradient_of_hessian(post.loss, theta, thetas[0])


def call_processes(linear, post, X_new, rng):
    """A process, its posterior, and the posterior's posterior."""
    prior, sites = gp.GaussianProcess(linear, post.prior), gp.expand(post.likelihood, rng.normal(size=(N, K)), post.loss.y)
    found = gp.laplace(prior, post.likelihood, post.X, post.loss.y)
    again = gp.condition(found.posterior, post.X, sites)
    for process in (prior, found.posterior, again):
        process.mean(X_new), process.covariance(X_new), process.kernel(X_new, rng.normal(size=(17, D)))
    prior.whitened_jacobian(X_new)
    for posterior in (found.posterior, again):
        posterior.influence(X_new), posterior.effective_parameters()
        posterior.at_data.posterior_mean(), gp.leave_one_out(posterior), gp.prequential(posterior)
    for batch in ((), (DRAWS,), (17, DRAWS)):
        gp.draws(found.posterior, rng.normal(size=(*batch, linear.num_params)), rng.normal(size=(*batch, N, K)))
        sites.log_value(rng.normal(size=(*batch, N, K)))
    gp.mean_weights(found.posterior), gp.log_precision_gradient(found.posterior)
    gp.laplace_log_precision_gradient(found, post.likelihood, post.loss.y)
    if isinstance(post.likelihood, likelihoods.Normal):
        sites.pseudo_targets(), sites.pseudo_noise(), gp.log_variance_gradient(found.posterior, post.likelihood, post.loss.y)
    gp.log_det_one_plus_kernel_curvature(np.zeros((K, N, N)), np.full((N, K), 1 / K))


def call_pullback(at, labels):
    """Every structure of every curvature at one θ."""
    rng = np.random.default_rng(1)
    at.sampled_fisher(labels)
    at.sampled_fisher(at.sample_labels(rng))
    for pullback in (at.ggn, at.hessian, at.residual_part, at.fisher, at.empirical_fisher, at.centred_empirical_fisher):
        p = pullback.num_params
        for function in (pullback.full, pullback.diagonal, pullback.layer_blocks, pullback.linear_operator):
            function()
        getattr(pullback, "neuron_blocks", list)()
        if getattr(pullback, "M", getattr(pullback, "R", None)) is not None:
            pullback.last_layer()
        pullback.subset(np.array([1, 4]))
        for batch in ((), (DRAWS,), (17, DRAWS)):
            pullback.matvec(rng.normal(size=(*batch, p)))


def call_structures(pullback, rng):
    """Kronecker factors and low rank of a curvature: their blocks, and the precisions made of them."""
    for approximation in (blocks.layer_blocks, kronecker.kfac, kronecker.kfra, kronecker.ekfac, kronecker.nearest_kronecker):
        structured = approximation(pullback)
        precision = structured.plus(1.3)
        for matrix in (structured, *structured.blocks, precision, *precision.blocks):
            call_matrix(matrix, rng)
    call_matrix(kronecker.kfac(pullback).blocks[0].damped(0.2).eigen(), rng)
    rows = Rows(pullback.layout, rng.normal(size=(N, pullback.num_params)))
    call_matrix(kronecker.refit(kronecker.ekfac(pullback), rows), rng)
    leading = low_rank.leading(pullback, 3)
    low_rank.positive_part(pullback, 3)
    for matrix in (leading, leading.plus(Diagonal(np.ones(pullback.num_params)))):
        call_matrix(matrix, rng)


def call_matrix(matrix, rng):
    """What a structured curvature has, and what a precision has besides."""
    for name in ("matrix", "diagonal", "log_det", "spans"):
        getattr(matrix, name, list)()
    for name in ("matvec", "solve", "scale_matvec", "scale_transposed_matvec"):
        for batch in ((), (DRAWS,), (17, DRAWS)):
            getattr(matrix, name, np.copy)(rng.normal(size=(*batch, matrix.num_params)))


def test_every_annotated_shape_is_true_and_every_function_that_has_one_is_called():
    with watch(MODULES) as (wrapped, calls):
        call_everything()
    assert len(wrapped) > 60
    assert sorted(wrapped - calls) == []


def test_every_value_of_the_package_is_immutable():
    classes = {value for module in MODULES for value in vars(module).values() if dataclasses.is_dataclass(value)}
    assert len(classes) > 8
    assert [value.__name__ for value in classes if not value.__dataclass_params__.frozen] == []


# -- planted faults ---------------------------------------------------------------------------------------------------------

Row = Annotated[np.ndarray, "n p"]
Batch = Annotated[np.ndarray, "*s n"]
New = Annotated[np.ndarray, "m"]


class Owner:
    """An object that knows p = 3."""

    num_params = 3

    def wrong_length(self, theta: Annotated[np.ndarray, "p"]) -> Annotated[np.ndarray, "p"]:
        """Returns one entry less than it says."""
        return theta[:-1]


def same(a: Row, b: Row) -> Row:
    """What it says."""
    return a + b


def transposed(a: Row) -> Row:
    """Returns p n."""
    return a.T


def squeezed(a: Batch) -> Batch:
    """Drops the leading axis."""
    return a[0]


def unbound(a: Row) -> New:
    """Its result has a letter that no argument has."""
    return a[0]


def an_array(a: Row) -> float:
    """Says float, returns an array."""
    return a.sum(0)


def two(a: Row) -> tuple[Row, Batch]:
    """The second entry is wrong."""
    return a, a


ONE = np.ones((2, 3))


@pytest.mark.parametrize("function, arguments, message", [
    (transposed, (ONE,), "expected n = 2"),
    (squeezed, (np.ones((4, 2)),), "leading axes"),
    (unbound, (ONE,), "stands in no argument"),
    (an_array, (ONE,), "expected float"),
    (two, (ONE,), r"result\[1\]: expected n = 2"),
    (same, (ONE, np.ones((1, 3))), "expected n = 2"),
    (same, (np.ones(3), np.ones(3)), "expected axes"),
    (Owner.wrong_length, (Owner(), np.ones(3)), "expected p = 3"),
])
def test_a_shape_that_is_not_as_annotated_is_caught(function, arguments, message):
    with pytest.raises(ShapeError, match=message):
        checked(function, "function", set())(*arguments)


def test_a_true_annotation_passes_and_is_counted():
    calls = set()
    assert checked(same, "same", calls)(ONE, ONE).shape == (2, 3) and calls == {"same"}


def test_a_wrong_method_of_the_package_is_caught(monkeypatch):
    true = Mlp.jvp

    def wrong(self, theta: Parameters, X: Inputs, u: Parameters) -> Outputs:
        """The outputs before the data."""
        return np.swapaxes(true(self, theta, X, u), -1, -2)

    wrong.__module__, wrong.__qualname__ = Mlp.__module__, "Mlp.jvp"
    monkeypatch.setattr(Mlp, "jvp", wrong)
    with pytest.raises(ShapeError, match="Mlp.jvp"), watch(MODULES):
        call_everything()


def test_watching_leaves_no_trace():
    before = Mlp.forward
    with watch(MODULES):
        assert Mlp.forward is not before
    assert Mlp.forward is before


def test_open_ended_axes_accept_any_number_of_trailing_ones():
    for shape in ((5,), (5, 2)):
        known = {}
        bind("n ...", shape, known, "y")
        assert known == {"n": 5}


# -- the language of shapes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value, axes, sizes", [
    (np.ones((2, 3)), "n k", {"n": 2, "k": 3}), (np.ones((4, 5, 3)), "*s p", {"p": 3}), (np.ones(3), "*s p", {}),
    (2.0, "", {}), ([[1, 2], [3, 4]], "n d", {"d": 2}), (np.ones((0, 3)), "n k", {}),
])
def test_good_arrays_come_back_as_float64(value, axes, sizes):
    array = as_array("value", value, axes, **sizes)
    assert array.dtype == np.float64 and np.array_equal(array, value)


@pytest.mark.parametrize("value, axes, sizes, message", [
    (np.ones(7), "n k", {"n": 7, "k": 3}, r"y: expected shape \(7, 3\), got \(7,\)"),
    (np.ones((7, 4)), "n k", {"k": 3}, r"y: expected shape \(n, 3\), got \(7, 4\)"),
    (np.ones((2, 4)), "*s p", {"p": 3}, r"y: expected shape \(..., 3\), got \(2, 4\)"),
    (1.0, "*s p", {"p": 3}, r"y: expected shape \(..., 3\), got \(\)"),
    (np.ones(4), "p", {"p": 3}, r"y: expected shape \(3,\), got \(4,\)"),
    ([[1.0], [1.0, 2.0]], "n k", {}, "ragged"),
    (["a"], "n", {}, "real numbers"),
    (np.array([1j]), "n", {}, "real numbers"),
    (np.array([None]), "n", {}, "real numbers"),
    (None, "n", {}, "real numbers"),
    ([np.nan, np.inf, 1.0], "n", {}, "2 NaN or infinite"),
])
def test_other_arrays_are_refused_with_what_was_expected_and_what_came(value, axes, sizes, message):
    with pytest.raises(ValueError, match=message):
        as_array("y", value, axes, **sizes)


def test_an_own_array_is_a_private_read_only_copy():
    given = np.ones(3)
    own = as_own_array("given", given, "p")
    given[:] = 2
    assert own.tolist() == [1, 1, 1] and not own.flags.writeable


@pytest.mark.parametrize("value", [0, -1, 1.0, 2.5, True, "3", None])
def test_counts_are_positive_integers(value):
    with pytest.raises(ValueError, match="expected an integer >= 1"):
        as_count("count", value)


@pytest.mark.parametrize("value", [0, -1.0, np.nan, np.inf, "3", None, 1j, [1.0]])
def test_positive_numbers_are_positive_finite_and_single(value):
    with pytest.raises(ValueError, match="expected"):
        as_positive("variance", value)


def test_good_numbers_come_back_as_python_numbers():
    assert as_count("count", np.int64(3)) == 3 and type(as_count("count", np.int64(3))) is int
    assert as_positive("variance", np.float32(0.5)) == 0.5 and type(as_positive("variance", 2)) is float


def test_a_diagonal_precision_knows_its_size():
    assert Diagonal([1.0, 2.0]).num_params == 2
