"""Adapter number one: this package's own code. The certified values come from a generator that shares none of it.

Each function answers the quantity of its name (conform/quantities.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.linalg

import refbnn
from refbnn import (
    Gaussian, Linearised, Mlp, Posterior, activations, duals, kronecker, laplace as _laplace, likelihoods, precision, predict,
    priors, subnetwork,
)
from refbnn.conform.problem import Problem
from refbnn.subnetwork import Subnetwork

name = "refbnn"
version = refbnn.__version__
conventions: dict[str, str] = {}

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
    posterior: Posterior

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
    def kron(self) -> Gaussian:
        """KFAC plus the prior's blocks of the layers."""
        factors = kronecker.kfac(self.at.ggn)
        prior = scipy.linalg.block_diag(*[self.problem.prior_precision[span, span] for span in factors.spans()])
        return _laplace.at(self.problem.theta, factors.matrix() + prior)

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
    return _State(problem, net, Posterior(net, likelihood, prior, problem.X, problem.y))


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


def laplace_evidence_prior(s):
    P0, shift = s.problem.prior_precision, s.problem.theta - s.problem.prior_mean
    return 0.5 * (len(shift) - shift @ P0 @ shift - np.trace(s.ggn.precision.solve(P0)))


def laplace_evidence_noise(s):
    errors = s.problem.y - forward(s)
    return 0.5 * ((errors ** 2).sum() / s.problem.variance - errors.size + np.trace(s.ggn.precision.solve(ggn_full(s))))


def laplace_diag_variance(s):
    return 1 / s.diagonal.precision.diagonal()


def laplace_diag_log_det(s):
    return s.diagonal.precision.log_det()


def laplace_diag_log_evidence(s):
    return _laplace.log_evidence(log_joint(s), s.diagonal)


def laplace_lastlayer_covariance(s):
    return s.last_layer.covariance()


def laplace_lastlayer_log_det(s):
    return s.last_layer.precision.log_det()


def laplace_kron_covariance(s):
    return s.kron.covariance()


def laplace_kron_log_det(s):
    return s.kron.precision.log_det()


def laplace_kron_log_evidence(s):
    return _laplace.log_evidence(log_joint(s), s.kron)


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


def predictive_kron_variance(s):
    return s.functions(s.kron).covariance


def predictive_probit(s):
    return predict.binary.probit(s.functions(s.ggn))


def predictive_probit_multiclass(s):
    return predict.classes.probit(s.functions(s.ggn))


def predictive_mc(s):
    return predict.monte_carlo(s.net, s.posterior.likelihood, s.problem.draws, s.problem.X_new).mean
