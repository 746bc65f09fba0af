"""Adapter number one: this package's own code. The certified values come from a generator that shares none of it.

Each function answers the quantity of its name (conform/quantities.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

import refbnn
from refbnn import Gaussian, Linearised, Mlp, Posterior, activations, laplace as _laplace, likelihoods, predict, priors
from refbnn.conform.problem import Problem

name = "refbnn"
version = refbnn.__version__
conventions: dict[str, str] = {}

_LIKELIHOODS = {
    "normal": lambda problem: likelihoods.Normal(problem.variance),
    "bernoulli": lambda problem: likelihoods.Bernoulli(),
    "categorical": lambda problem: likelihoods.Categorical(),
    "poisson": lambda problem: likelihoods.Poisson(),
}


@dataclass(frozen=True)
class _State:
    """The problem in the package's words; the two Laplace approximations are computed once."""

    problem: Problem
    net: Mlp
    posterior: Posterior

    @cached_property
    def ggn(self) -> Gaussian:
        return _laplace.at(self.problem.theta, self.posterior.prior.precision + ggn_full(self))

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


def ggn_full(s):
    return s.posterior.loss.ggn(s.problem.theta)


def ggn_diag(s):
    return np.diag(ggn_full(s))


def hessian_full(s):
    return s.posterior.loss.hessian(s.problem.theta)


def hessian_diag(s):
    return np.diag(hessian_full(s))


def hessian_hvp(s):
    return s.posterior.loss.hessian_vector_product(s.problem.theta, s.problem.vector)


def fisher_full(s):
    return s.posterior.loss.fisher(s.problem.theta)


def fisher_empirical(s):
    return s.posterior.loss.empirical_fisher(s.problem.theta)


def fisher_empirical_diag(s):
    return np.diag(fisher_empirical(s))


def fisher_mc(s):
    return s.posterior.loss.sampled_fisher(s.problem.theta, s.problem.labels)


def laplace_precision(s):
    return s.ggn.precision.matrix()


def laplace_covariance(s):
    return s.ggn.covariance()


def laplace_scale(s):
    return s.ggn.scale()


def laplace_log_det(s):
    return s.ggn.precision.log_det()


def laplace_log_evidence(s):
    return _laplace.log_evidence(log_joint(s), s.ggn)


def laplace_sample(s):
    return s.ggn.from_normals(s.problem.normals)


def laplace_hessian_precision(s):
    return s.hessian.precision.matrix()


def laplace_hessian_covariance(s):
    return s.hessian.covariance()


def laplace_hessian_log_det(s):
    return s.hessian.precision.log_det()


def laplace_hessian_log_evidence(s):
    return _laplace.log_evidence(log_joint(s), s.hessian)


def _glm(s):
    return predict.moments(Linearised(s.net, at=s.problem.theta), s.ggn, s.problem.X_new)


def predictive_glm_mean(s):
    return _glm(s).mean


def predictive_glm_variance(s):
    return _glm(s).covariance


def predictive_mc(s):
    return predict.monte_carlo(s.net, s.posterior.likelihood, s.problem.draws, s.problem.X_new).mean
