"""Adapter number one: this package's own code. The certified values come from a generator that shares none of it.

Each function answers the quantity of its name (conform/quantities.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
import scipy.linalg

import refbnn
from refbnn import (
    Gaussian, Linearised, Mlp, Posterior as _Posterior, activations, duals, gaussian, gp, kronecker, laplace as _laplace,
    likelihoods, low_rank, precision, predict, priors, quadrature, subnetwork, third, vi,
)
from refbnn.conform.problem import Problem
from refbnn.subnetwork import Subnetwork

name = "refbnn"
version = refbnn.__version__
conventions: dict[str, str] = {}
NUM_CHAINS, WARM_UP, NUM_DRAWS = 64, 100, 800  # of posterior.draws

_LIKELIHOODS = {
    "normal": lambda problem: likelihoods.Normal(problem.variance),
    "bernoulli": lambda problem: likelihoods.Bernoulli(),
    "categorical": lambda problem: likelihoods.Categorical(),
    "poisson": lambda problem: likelihoods.Poisson(),
    "normal_full": lambda problem: likelihoods.NormalFull(np.array(problem.likelihood_parameters["noise"])),
    "heteroscedastic": lambda problem: likelihoods.Heteroscedastic(),
    "student_t": lambda problem: likelihoods.StudentT(**problem.likelihood_parameters),
    "bernoulli_probit": lambda problem: likelihoods.BernoulliProbit(),
    "bernoulli_cloglog": lambda problem: likelihoods.BernoulliCloglog(),
    "ordinal": lambda problem: likelihoods.Ordinal(np.array(problem.likelihood_parameters["cut_points"])),
    "poisson_softplus": lambda problem: likelihoods.PoissonSoftplus(),
    "poisson_square": lambda problem: likelihoods.PoissonSquare(),
    "negative_binomial": lambda problem: likelihoods.NegativeBinomial(**problem.likelihood_parameters),
    "gamma": lambda problem: likelihoods.Gamma(**problem.likelihood_parameters),
    "heteroscedastic_natural": lambda problem: likelihoods.HeteroscedasticNatural(),
    "heteroscedastic_precision": lambda problem: likelihoods.HeteroscedasticPrecision(),
    "heteroscedastic_student_t": lambda problem: likelihoods.HeteroscedasticStudentT(**problem.likelihood_parameters),
    "heteroscedastic_gamma": lambda problem: likelihoods.HeteroscedasticGamma(),
    "heteroscedastic_negative_binomial": lambda problem: likelihoods.HeteroscedasticNegativeBinomial(),
}


@dataclass(frozen=True)
class _State:
    """The problem in the package's words; the two Laplace approximations are computed once."""

    problem: Problem
    net: Mlp
    posterior: _Posterior

    @cached_property
    def at(self):
        """Every curvature at θ, in every structure."""
        return self.posterior.loss.at(self.problem.theta)

    @cached_property
    def ggn(self) -> Gaussian:
        return _laplace.at(self.problem.theta, self.posterior.prior.precision + ggn_full(self))

    @cached_property
    def diagonal(self) -> Gaussian:
        """The diagonal of a precision that is positive definite."""
        return Gaussian(self.problem.theta, precision.Diagonal(np.diagonal(self.ggn.precision.matrix())))

    @cached_property
    def last_layer(self) -> Gaussian:
        """The block of a precision that is positive definite."""
        q = self.problem.layer_sizes[-1]
        return _laplace.at(self.problem.theta[-q:], self.ggn.precision.matrix()[-q:, -q:])

    @cached_property
    def subset(self) -> Gaussian:
        """The chosen parameters of a precision that is positive definite."""
        S = self.problem.subset
        return _laplace.at(self.problem.theta[S], self.ggn.precision.matrix()[np.ix_(S, S)])

    @cached_property
    def kron(self) -> Gaussian:
        """KFAC plus the prior's blocks of the layers."""
        return _laplace.at(self.problem.theta, kronecker.kfac(self.at.ggn).matrix() + self.prior_in_layers)

    @cached_property
    def kron_apart(self) -> Gaussian:
        """KFAC without what lies between weights and biases, plus the prior's blocks."""
        return _laplace.at(self.problem.theta, kronecker.kfac(self.at.ggn, split_bias=True).matrix() + self.prior_in_tensors)

    @cached_property
    def prior_in_tensors(self) -> np.ndarray:
        """P₀, zero but for the blocks of the weight matrices and of the biases."""
        sizes = zip(self.problem.sizes, self.problem.sizes[1:])
        widths = [width for into, out in sizes for width in ((out * into, out) if self.problem.bias else (out * into,))]
        stops = np.cumsum([0, *widths])
        return scipy.linalg.block_diag(*[self.problem.prior_precision[a:b, a:b] for a, b in zip(stops, stops[1:])])

    @cached_property
    def prior_in_layers(self) -> np.ndarray:
        """P₀, zero outside the blocks of the layers."""
        stops = np.cumsum([0, *self.problem.layer_sizes])
        return scipy.linalg.block_diag(*[self.problem.prior_precision[a:b, a:b] for a, b in zip(stops, stops[1:])])

    @cached_property
    def low_rank(self) -> Gaussian:
        """The leading eigenpairs of the GGN plus the prior."""
        leading = low_rank.leading(self.at.ggn, self.problem.rank)
        return _laplace.at(self.problem.theta, leading.matrix() + self.posterior.prior.precision)

    @cached_property
    def hessian_low_rank(self) -> Gaussian:
        """Of the eigenpairs of the Hessian of largest size those that are positive, plus the prior."""
        values = np.linalg.eigvalsh(hessian_full(self))
        kept = int((values[np.argsort(-np.abs(values))[:self.problem.rank]] > 0).sum())
        leading = low_rank.positive_part(self.at.hessian, kept).matrix() if kept else np.zeros((self.net.num_params,) * 2)
        return _laplace.at(self.problem.theta, leading + self.posterior.prior.precision)

    @cached_property
    def is_regression(self) -> bool:
        """Affine in θ with Normal noise: the posterior is Gaussian."""
        return self.problem.likelihood == "normal" and len(self.problem.sizes) == 2

    @cached_property
    def exact(self) -> Gaussian:
        """The posterior of a regression: one Newton step from any θ."""
        step = self.ggn.precision.solve(self.posterior.loss.gradient(self.problem.theta) + self.problem.prior_precision @ (
            self.problem.theta - self.problem.prior_mean))
        return Gaussian(self.problem.theta - step, self.ggn.precision)

    @cached_property
    def integrals(self):
        """The posterior of two parameters by cubature."""
        from refbnn import cubature
        if len(self.problem.theta) > 2:
            raise _TooManyNodes(f"{len(self.problem.theta)} parameters to integrate over")
        return cubature.product(self.posterior, within=1e-11)

    @cached_property
    def nodes(self):
        """Of the finest rule, whose error is far below the estimate: shares of the posterior, θ, log p(y | θ) and log p(y, θ)."""
        rule, log_evidence = self.integrals.rules[-1]
        z, log_weights = (np.concatenate(parts) for parts in zip(*rule.blocks()))
        heavy = log_weights > log_weights.max() - 38
        theta = self.posterior.prior.from_normals(z[heavy])
        shares, fit = np.exp(log_weights[heavy] - log_evidence), self.posterior.log_likelihood(theta)
        return shares, theta, fit, fit + self.posterior.prior.log_prob(theta)

    @cached_property
    def mean_field(self) -> Gaussian:
        """N(θ, diag c²), c = |problem.vector|."""
        return Gaussian(self.problem.theta, precision.Diagonal(self.problem.vector ** -2.0))

    @cached_property
    def full(self) -> Gaussian:
        """N(θ, C Cᵀ), C = problem.scale."""
        return Gaussian(self.problem.theta, precision.FromScale(self.problem.scale))

    @cached_property
    def mean_field_bound(self) -> vi.Elbo:
        """Summed over the given normals."""
        return self.bound_of(self.mean_field)

    @cached_property
    def full_bound(self) -> vi.Elbo:
        """Summed over the given normals."""
        return self.bound_of(self.full)

    def bound_of(self, q: Gaussian) -> vi.Elbo:
        """The bound at q, summed over the given normals."""
        return vi.elbo(self.posterior, q, vi.OverParameters(quadrature.draws(self.problem.normals)))

    @cached_property
    def best(self) -> vi.Elbo:
        """The bound at its optimum over all Gaussians."""
        if not self.net.is_linear:
            return _highest(self, vi.families.Full(self.net.num_params))
        how = vi.ClosedForm() if self.is_regression else _expectations(self)
        return _reached(vi.fixed_point(self.posterior, how))

    @cached_property
    def best_independent(self) -> vi.Elbo:
        """The same over independent parameters: for a Gaussian posterior the member nearest to it."""
        family = vi.families.MeanField(self.net.num_params)
        if self.is_regression:
            return vi.elbo(self.posterior, family.gaussian(family.free(self.best.q)), vi.ClosedForm())
        if self.net.is_linear:
            return _reached(_natural(self, family, _expectations(self), self.posterior.prior, 1e-10))
        return _highest(self, family)

    @cached_property
    def process(self):
        """The linearised network given the data, by functions."""
        linear = gp.GaussianProcess(Linearised(self.net, at=self.problem.theta), self.posterior.prior)
        return gp.condition(linear, self.problem.X, gp.expand(self.posterior.likelihood, forward(self), self.problem.y))

    def functions(self, q: Gaussian):
        """Moments of f at the new inputs."""
        return predict.moments(Linearised(self.net, at=self.problem.theta), q, self.problem.X_new)

    @cached_property
    def hessian(self) -> Gaussian:
        return _laplace.at(self.problem.theta, self.posterior.prior.precision + hessian_full(self))


def prepare(problem: Problem) -> _State:
    """Network, likelihood and prior as objects."""
    leaky = problem.activation == "leaky_relu"
    activation = activations.leaky_relu(problem.slope) if leaky else activations.BY_NAME[problem.activation]
    net = Mlp(problem.sizes, activation=activation, bias=problem.bias)
    prior = priors.full(problem.prior_precision, mean=problem.prior_mean)
    likelihood = _LIKELIHOODS[problem.likelihood](problem)
    return _State(problem, net, _Posterior(net, likelihood, prior, problem.X, problem.y))


def forward(s):
    return s.net.forward(s.problem.theta, s.problem.X)


def loss(s):
    return s.posterior.loss.value(s.problem.theta)


def log_joint(s):
    return s.posterior.log_prob(s.problem.theta)


def gradient(s):
    return s.posterior.loss.gradient(s.problem.theta)


def jacobian(s):
    return s.net.jacobian(s.problem.theta, s.problem.X)


def jacobian_vp(s):
    return s.at.evaluation.jvp(s.problem.vector)


def ggn_full(s):
    return s.posterior.loss.ggn(s.problem.theta)


def ggn_diag(s):
    return s.at.ggn.diagonal()


def ggn_vp(s):
    return s.at.ggn.matvec(s.problem.vector)


def ggn_blockdiag(s):
    return scipy.linalg.block_diag(*s.at.ggn.layer_blocks())


def ggn_neuronblocks(s):
    M = np.zeros((s.net.num_params,) * 2)
    for own, block in zip(_units(s.problem), (block for layer in s.at.ggn.neuron_blocks() for block in layer)):
        M[np.ix_(own, own)] = block
    return M


def _units(problem):
    """Places in θ of every unit's weights and its bias."""
    start = 0
    for into, out in zip(problem.sizes, problem.sizes[1:]):
        for i in range(out):
            weights = start + i * into + np.arange(into)
            yield np.append(weights, start + out * into + i) if problem.bias else weights
        start += out * (into + problem.bias)


def ggn_subset(s):
    return s.at.ggn.subset(s.problem.subset)


def ggn_lastlayer(s):
    return s.at.ggn.last_layer()


def ggn_kfac(s):
    return kronecker.kfac(s.at.ggn).matrix()


def ggn_kfra(s):
    return kronecker.kfra(s.at.ggn).matrix()


def ggn_ekfac(s):
    return kronecker.ekfac(s.at.ggn).matrix()


def ggn_ekfac_split(s):
    return kronecker.ekfac(s.at.ggn, split_bias=True).matrix()


def ggn_vanloan(s):
    return kronecker.nearest_kronecker(s.at.ggn).matrix()


def hessian_full(s):
    return s.posterior.loss.hessian(s.problem.theta)


def hessian_diag(s):
    return s.at.hessian.diagonal()


def hessian_blockdiag(s):
    return scipy.linalg.block_diag(*s.at.hessian.layer_blocks())


def hessian_lastlayer(s):
    return s.at.hessian.last_layer()


def hessian_hvp(s):
    return s.posterior.loss.hessian_vector_product(s.problem.theta, s.problem.vector)


def third_vv(s):
    return third.third_derivative(s.posterior.loss, s.problem.theta, s.problem.vector)


def fisher_full(s):
    return s.posterior.loss.fisher(s.problem.theta)


def fisher_diag(s):
    return s.at.fisher.diagonal()


def fisher_vp(s):
    return s.at.fisher.matvec(s.problem.vector)


def fisher_kfac(s):
    return kronecker.kfac(s.at.fisher).matrix()


def fisher_empirical(s):
    return s.posterior.loss.empirical_fisher(s.problem.theta)


def fisher_empirical_diag(s):
    return s.at.empirical_fisher.diagonal()


def fisher_empirical_vp(s):
    return s.at.empirical_fisher.matvec(s.problem.vector)


def fisher_empirical_centred(s):
    return s.posterior.loss.centred_empirical_fisher(s.problem.theta)


def _centred_gradients(s):
    g = s.posterior.loss.per_datum_gradients(s.problem.theta)
    return g - g.mean(0)


def fisher_empirical_centred_diag(s):
    return (_centred_gradients(s) ** 2).sum(0)


def fisher_empirical_centred_vp(s):
    g = _centred_gradients(s)
    return g.T @ (g @ s.problem.vector)


def fisher_empirical_gram(s):
    return duals.gram_dual(s.at.empirical_fisher)


def fisher_empirical_kfac(s):
    return kronecker.kfac(s.at.empirical_fisher).matrix()


def fisher_mc(s):
    return s.posterior.loss.sampled_fisher(s.problem.theta, s.problem.labels)


def fisher_mc_diag(s):
    return s.at.sampled_fisher(s.problem.labels).diagonal()


def fisher_mc_vp(s):
    return s.at.sampled_fisher(s.problem.labels).matvec(s.problem.vector)


def fisher_mc_kfac(s):
    return kronecker.kfac(s.at.sampled_fisher(s.problem.labels)).matrix()


def ntk(s):
    return duals.ntk(s.at.evaluation, s.at.evaluation)


def laplace_precision(s):
    return s.ggn.precision.matrix()


def laplace_covariance(s):
    return s.ggn.covariance()


def laplace_covariance_diag(s):
    return np.diagonal(s.ggn.covariance())


def laplace_covariance_vp(s):
    return s.ggn.precision.solve(s.problem.vector)


def laplace_scale(s):
    return s.ggn.scale()


def laplace_log_det(s):
    return s.ggn.precision.log_det()


def laplace_log_evidence(s):
    return _laplace.log_evidence(log_joint(s), s.ggn)


def laplace_sample(s):
    return s.ggn.from_normals(s.problem.normals)


def _prior_slope(s, trace):
    """½ (p − (θ − m)ᵀP₀(θ − m) − tr P⁻¹P₀)."""
    shift = s.problem.theta - s.problem.prior_mean
    return 0.5 * (len(shift) - shift @ s.problem.prior_precision @ shift - trace)


def _noise_slope(s, trace):
    """½ (‖y − f‖²/σ² − N C + tr P⁻¹G)."""
    errors = s.problem.y - forward(s)
    return 0.5 * ((errors ** 2).sum() / s.problem.variance - errors.size + trace)


def laplace_evidence_prior(s):
    return _prior_slope(s, np.trace(s.ggn.precision.solve(s.problem.prior_precision)))


def laplace_evidence_noise(s):
    return _noise_slope(s, np.trace(s.ggn.precision.solve(ggn_full(s))))


def laplace_diag_variance(s):
    return 1 / s.diagonal.precision.diagonal()


def laplace_diag_log_det(s):
    return s.diagonal.precision.log_det()


def laplace_diag_log_evidence(s):
    return _laplace.log_evidence(log_joint(s), s.diagonal)


def laplace_diag_sample(s):
    return s.diagonal.from_normals(s.problem.normals)


def laplace_diag_evidence_prior(s):
    return _prior_slope(s, (np.diagonal(s.problem.prior_precision) / s.diagonal.precision.diagonal()).sum())


def laplace_diag_evidence_noise(s):
    return _noise_slope(s, (ggn_diag(s) / s.diagonal.precision.diagonal()).sum())


def laplace_lastlayer_covariance(s):
    return s.last_layer.covariance()


def laplace_lastlayer_log_det(s):
    return s.last_layer.precision.log_det()


def _partial_evidence(s, part, q):
    """The evidence of some parameters, the others fixed, where the prior on them has the precision (P₀)_SS."""
    shift, P0 = (s.problem.theta - s.problem.prior_mean)[part], s.problem.prior_precision[np.ix_(part, part)]
    prior = Gaussian(np.zeros(len(shift)), precision.Dense(P0))
    return _laplace.log_evidence(prior.log_prob(shift) - loss(s), q)


def laplace_lastlayer_log_evidence(s):
    return _partial_evidence(s, np.arange(len(s.problem.theta))[-s.problem.layer_sizes[-1]:], s.last_layer)


def laplace_subset_covariance(s):
    return s.subset.covariance()


def laplace_subset_log_det(s):
    return s.subset.precision.log_det()


def laplace_subset_log_evidence(s):
    return _partial_evidence(s, s.problem.subset, s.subset)


def laplace_kron_covariance(s):
    return s.kron.covariance()


def laplace_kron_log_det(s):
    return s.kron.precision.log_det()


def laplace_kron_log_evidence(s):
    return _laplace.log_evidence(log_joint(s), s.kron)


def laplace_kron_scale(s):
    return s.kron.scale()


def laplace_kron_sample(s):
    return s.kron.from_normals(s.problem.normals)


def laplace_kron_evidence_prior(s):
    return _prior_slope(s, np.trace(s.kron.precision.solve(s.prior_in_layers)))


def laplace_kron_evidence_noise(s):
    return _noise_slope(s, np.trace(s.kron.precision.solve(ggn_kfac(s))))


def laplace_kron_split_covariance(s):
    return s.kron_apart.covariance()


def laplace_kron_split_sample(s):
    return s.kron_apart.from_normals(s.problem.normals)


def laplace_kron_split_log_det(s):
    return s.kron_apart.precision.log_det()


def laplace_kron_split_log_evidence(s):
    return _laplace.log_evidence(log_joint(s), s.kron_apart)


def laplace_kron_split_evidence_prior(s):
    return _prior_slope(s, np.trace(s.kron_apart.precision.solve(s.prior_in_tensors)))


def laplace_kron_split_evidence_noise(s):
    return _noise_slope(s, np.trace(s.kron_apart.precision.solve(kronecker.kfac(s.at.ggn, split_bias=True).matrix())))


def laplace_lowrank_precision(s):
    return s.low_rank.precision.matrix()


def laplace_lowrank_covariance(s):
    return s.low_rank.covariance()


def laplace_lowrank_sample(s):
    return s.low_rank.from_normals(s.problem.normals)


def laplace_lowrank_log_det(s):
    return s.low_rank.precision.log_det()


def laplace_lowrank_log_evidence(s):
    return _laplace.log_evidence(log_joint(s), s.low_rank)


def laplace_hessian_lowrank_precision(s):
    return s.hessian_low_rank.precision.matrix()


def laplace_hessian_lowrank_log_det(s):
    return s.hessian_low_rank.precision.log_det()


def laplace_hessian_lowrank_log_evidence(s):
    return _laplace.log_evidence(log_joint(s), s.hessian_low_rank)


def laplace_hessian_precision(s):
    return s.hessian.precision.matrix()


def laplace_hessian_covariance(s):
    return s.hessian.covariance()


def laplace_hessian_log_det(s):
    return s.hessian.precision.log_det()


def laplace_hessian_log_evidence(s):
    return _laplace.log_evidence(log_joint(s), s.hessian)


def predictive_glm_mean(s):
    return Linearised(s.net, at=s.problem.theta).forward(s.problem.theta, s.problem.X_new)


def predictive_joint(s):
    return predict.joint(Linearised(s.net, at=s.problem.theta), s.ggn, s.problem.X_new).covariance


def predictive_glm_variance(s):
    return s.functions(s.ggn).covariance


def predictive_diag_variance(s):
    return s.functions(s.diagonal).covariance


def predictive_lastlayer_variance(s):
    last = Subnetwork(s.net, s.problem.theta, subnetwork.layer(s.net, -1))
    return predict.moments(Linearised(last, at=s.last_layer.mean), s.last_layer, s.problem.X_new).covariance


def predictive_subset_variance(s):
    chosen = Subnetwork(s.net, s.problem.theta, s.problem.subset)
    return predict.moments(Linearised(chosen, at=s.subset.mean), s.subset, s.problem.X_new).covariance


def predictive_kron_variance(s):
    return s.functions(s.kron).covariance


def predictive_kron_split_variance(s):
    return s.functions(s.kron_apart).covariance


def predictive_lowrank_variance(s):
    return s.functions(s.low_rank).covariance


def predictive_hessian_lowrank_variance(s):
    return s.functions(s.hessian_low_rank).covariance


def predictive_probit(s):
    return predict.binary.probit(s.functions(s.ggn))


def predictive_probit_multiclass(s):
    return predict.classes.probit(s.functions(s.ggn))


def predictive_meanfield(s):
    return predict.classes.mean_field_2(s.functions(s.ggn))


def predictive_concentration(s):
    return predict.bridge.dirichlet(predict.classes.conditioned(s.functions(s.ggn)))


def predictive_bridge(s):
    return predict.bridge.probabilities(predictive_concentration(s))


def predictive_exact(s):
    return _EXPECTATIONS[s.problem.likelihood](s.functions(s.ggn))


class _TooManyNodes(ValueError):
    """Four classes or more, very wide logits, or three parameters of a posterior: no grid for them."""


def _rule(f, dim):
    """A trapezoidal rule with as many nodes as wide logits need."""
    count = 2 * int(20 * np.sqrt(max(1.0, f.variance.max()))) + 61
    if float(count) ** dim > 2e6:
        raise _TooManyNodes(f"{count} nodes in {dim} dimensions")
    return quadrature.trapezoid(dim, count)


_EXPECTATIONS = {
    "bernoulli": lambda f: predict.binary.probabilities(f, _rule(f, 1)).value,
    "bernoulli_probit": predict.binary.bernoulli_probit,
    "categorical": lambda f: predict.classes.probabilities(f, _rule(f, f.num_outputs - 1)).value,
    "poisson_square": lambda f: f.mean ** 2 + f.variance,
    **dict.fromkeys(("poisson", "negative_binomial", "gamma"), lambda f: np.exp(f.mean + f.variance / 2)),
}


def vi_elbo(s):
    return s.mean_field_bound.value


def vi_elbo_gradient_mean(s):
    return s.mean_field_bound.mean_gradient


def vi_elbo_gradient_scale(s):
    return np.diagonal(s.mean_field_bound.scale_gradient)


def vi_kl(s):
    return gaussian.kl(s.mean_field, s.posterior.prior)


def vi_kl_reverse(s):
    return gaussian.kl(s.posterior.prior, s.mean_field)


def vi_full_elbo(s):
    return s.full_bound.value


def vi_full_elbo_gradient_mean(s):
    return s.full_bound.mean_gradient


def vi_full_elbo_gradient_scale(s):
    return np.tril(s.full_bound.scale_gradient)


def vi_full_kl(s):
    return gaussian.kl(s.full, s.posterior.prior)


def vi_full_kl_reverse(s):
    return gaussian.kl(s.posterior.prior, s.full)


_NODES = {1: 200, 2: 64}     # of Gauss-Hermite, by the number of directions
_SEARCH = 24                  # those of a first search


def _expectations(s):
    """How E_q is taken: over the outputs of a linear model, or over few parameters."""
    outputs, parameters = s.problem.num_outputs, len(s.problem.theta)
    if s.net.is_linear and outputs in _NODES:
        return vi.OverOutputs(quadrature.gauss_hermite(outputs, _NODES[outputs]))
    if parameters > 2:
        raise _TooManyNodes(f"{parameters} parameters to integrate over")
    return vi.OverParameters(quadrature.gauss_hermite(parameters, _NODES[parameters]))


def _starts(s):
    """Gaussians in every orthant of the prior, for the bound of a network has several optima."""
    prior = s.posterior.prior
    width = np.diagonal(prior.precision.matrix()) ** -0.5
    for signs in product((1.0, -1.0), repeat=len(width)):
        yield Gaussian(prior.mean + np.array(signs) * width, precision.Diagonal(4 * width ** -2))


def _natural(s, family, how, start, tolerance):
    return vi.natural_gradient(s.posterior, family, how, start, step=0.5, tolerance=tolerance)


def _highest(s, family):
    """The bound at the highest optimum of a network: sought with few nodes, found with many."""
    fine = _expectations(s)
    coarse = vi.OverParameters(quadrature.gauss_hermite(s.net.num_params, _SEARCH))
    rough = vi.multi_start(lambda start: _natural(s, family, coarse, start, 1e-6), _starts(s))
    return _reached(_natural(s, family, fine, rough[0].q, 1e-10))


def _reached(found):
    """The bound at an optimum that was reached."""
    if not found.converged:
        raise _TooManyNodes("no optimum was reached")
    return found.elbo


def vi_optimum_mean(s):
    return s.best.q.mean


def vi_optimum_covariance(s):
    return s.best.q.covariance()


def vi_optimum_elbo(s):
    return s.best.value


def vi_optimum_meanfield_mean(s):
    return s.best_independent.q.mean


def vi_optimum_meanfield_variance(s):
    return 1 / s.best_independent.q.precision.diagonal()


def vi_optimum_meanfield_elbo(s):
    return s.best_independent.value


def vi_kl_laplace(s):
    return gaussian.kl(s.ggn, s.posterior.prior)


def vi_kl_laplace_reverse(s):
    return gaussian.kl(s.posterior.prior, s.ggn)


def _average(s, function):
    """Over the posterior of a function of θ (t p): (t ...) to (...)."""
    return np.tensordot(s.nodes[0], function(s.nodes[1]), 1)


def posterior_log_evidence(s):
    return s.process.log_evidence if s.is_regression else s.integrals.log_evidence.value


def posterior_mean(s):
    return s.exact.mean if s.is_regression else _average(s, lambda theta: theta)


def posterior_covariance(s):
    if s.is_regression:
        return s.exact.covariance()
    away = s.nodes[1] - posterior_mean(s)
    return away.T * s.nodes[0] @ away


def posterior_predictive_mean(s):
    if s.is_regression:
        return s.net.forward(s.exact.mean, s.problem.X_new)
    return _average(s, lambda theta: s.posterior.likelihood.mean(s.net.forward(theta, s.problem.X_new)))


def posterior_predictive_variance(s):
    if s.is_regression:
        return predict.moments(s.net, s.exact, s.problem.X_new).variance
    mean = posterior_f_mean(s)
    return _average(s, lambda theta: (s.net.forward(theta, s.problem.X_new) - mean) ** 2)


def posterior_f_mean(s):
    if s.is_regression:
        return s.net.forward(s.exact.mean, s.problem.X_new)
    return _average(s, lambda theta: s.net.forward(theta, s.problem.X_new))


def posterior_log_likelihood_mean(s):
    shares, _, fit, _ = s.nodes
    return shares @ fit


def posterior_log_likelihood_variance(s):
    shares, _, fit, _ = s.nodes
    return shares @ (fit - shares @ fit) ** 2


def posterior_log_joint_mean(s):
    shares, _, _, joint = s.nodes
    return shares @ joint


def posterior_log_joint_variance(s):
    shares, _, _, joint = s.nodes
    return shares @ (joint - shares @ joint) ** 2


def posterior_evidence_prior(s):
    """½ (p − E (θ − m)ᵀP₀(θ − m)): over the weights of a regression, or over nodes."""
    if s.is_regression:
        return 0.5 * (s.net.num_params - s.posterior.prior.precision.matvec(s.exact.covariance()).trace()
                      - _square(s, s.exact.mean))
    shares, theta, _, _ = s.nodes
    return 0.5 * (s.net.num_params - shares @ _square(s, theta))


def _square(s, theta):
    """(θ − m)ᵀP₀(θ − m)."""
    away = theta - s.problem.prior_mean
    return np.einsum("...i,ij,...j->...", away, s.problem.prior_precision, away)


def posterior_evidence_noise(s):
    """½ (E‖y − f‖²/σ² − N C)."""
    if s.is_regression:
        return gp_evidence_noise(s)
    shares, theta, _, _ = s.nodes
    errors = ((s.problem.y - s.net.forward(theta, s.problem.X)) ** 2).sum((-2, -1))
    return 0.5 * (shares @ errors / s.problem.variance - s.problem.y.size)


def _chain_starts(s, seed):
    """Draws of the prior, taken by their likelihood: where no chain is lost in a tail."""
    rng = np.random.default_rng(seed)
    theta = s.posterior.prior.sample(rng, (32 * NUM_CHAINS,))
    fit = s.posterior.log_likelihood(theta)
    weights = np.exp(fit - fit.max())
    return theta[rng.choice(len(theta), NUM_CHAINS, p=weights / weights.sum())]


def posterior_draws(s, seed=20260101):
    """Chains of Hamiltonian Monte Carlo, adapted first."""
    from refbnn import samplers
    start = _chain_starts(s, seed)
    kernel = samplers.Hmc(0.3, 6, precision.Diagonal(np.ones(len(s.problem.theta))), jitter=0.5)
    warm = samplers.adapt(kernel, s.posterior, start, WARM_UP, seed=seed, metric=samplers.adaptation.dense)
    return samplers.run(warm.kernel, s.posterior, warm.theta, NUM_DRAWS, seed=seed, width=NUM_CHAINS).draws


def gp_kernel(s):
    return duals.kernel(s.at.evaluation, s.at.evaluation, s.posterior.prior.precision)


def gp_mean(s):
    return s.process.mean(s.problem.X_new)


def gp_variance(s):
    return s.process.covariance(s.problem.X_new)


def gp_log_evidence(s):
    return s.process.log_evidence


def gp_evidence_prior(s):
    return gp.log_precision_gradient(s.process).sum()


def gp_evidence_noise(s):
    return gp.log_variance_gradient(s.process, s.posterior.likelihood, s.problem.y)


def gp_loo_log_density(s):
    return gp.leave_one_out(s.process).log_density


def predictive_mc(s):
    return predict.monte_carlo(s.net, s.posterior.likelihood, s.problem.draws, s.problem.X_new).mean
