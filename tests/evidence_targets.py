"""Posteriors whose evidence is known: conjugate, and by quadrature; and exact independent draws from them."""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp

from refbnn import Mlp, Posterior, activations, laplace, likelihoods, mixture, optimize, priors, quadrature, symmetry
from refbnn.precision import Diagonal
from refbnn.samplers import Hmc

PRECISION = 0.7


def regression():
    """A 1-1-1 tanh network without biases: two weights, two modes, each the other with its sign changed."""
    return Posterior(Mlp((1, 1, 1), activations.tanh, bias=False), likelihoods.Normal(0.2), priors.isotropic(2, PRECISION),
                     np.array([[-1.3], [-0.4], [0.3], [0.8], [1.7]]), np.array([[-1.1], [-0.2], [0.5], [0.7], [0.6]]))


def classification():
    """The same network with labels."""
    return Posterior(Mlp((1, 1, 1), activations.tanh, bias=False), likelihoods.Bernoulli(), priors.isotropic(2, PRECISION),
                     np.array([[-1.3], [-0.4], [0.3], [0.8], [1.7], [2.0], [-0.9]]),
                     np.array([[0], [1], [1], [0], [1], [1], [0]]))


def conjugate():
    """Linear regression: three weights; Laplace is exact."""
    rng = np.random.default_rng(3)
    return Posterior(Mlp((2, 1), ()), likelihoods.Normal(0.3), priors.full(np.eye(3) * 0.7 + 0.2), rng.normal(size=(7, 2)),
                     rng.normal(size=(7, 1)))


def exact(post, num_points=401):
    """log E_prior[p(y|θ)] and the rule's estimate of its error, by the trapezoid rule."""
    integral = quadrature.trapezoid(2, num_points).integrate(lambda z: np.exp(post.log_likelihood(post.prior.from_normals(z))))
    return float(np.log(integral.value)), float(integral.error / integral.value)


def exact_conjugate(post):
    """Laplace at the mode."""
    mode = optimize.maximize(post, np.zeros(post.num_params))
    return laplace.log_evidence(mode.log_prob, laplace.at(mode.theta, post.negative_hessian(mode.theta)))


def exact_draws(post, rng, count):
    """Independent draws of the posterior: draws of the prior, kept with probability p(y|θ)/max p(y|θ)."""
    kept = np.zeros((0, post.num_params))
    most = optimize.maximize(Posterior(post.net, post.likelihood, priors.isotropic(post.num_params, 1e-6), post.X, post.y),
                             np.array([1.0, 1.0])).theta
    top = float(post.log_likelihood(most)) + 1e-9
    while len(kept) < count:
        theta = post.prior.sample(rng, (20000,))
        chance = post.log_likelihood(theta) - top
        assert (chance <= 0).all()
        kept = np.concatenate([kept, theta[np.log(rng.random(len(theta))) < chance]])
    return kept[:count]


def both_modes(post, factor=1.5):
    """The Gaussians of Laplace at the mode and at its copy, a little widened."""
    mode = optimize.maximize(post, np.array([1.0, 1.0]))
    q = laplace.at(mode.theta, post.negative_hessian(mode.theta) / factor)
    return mixture.over_copies(symmetry.of_posterior(post), 0.0, q)


def leaping(beta):
    """Hamiltonian Monte Carlo for a path between prior and posterior in two dimensions."""
    return Hmc(step_size=0.5 - 0.2 * beta, num_steps=4, metric=Diagonal(np.ones(2)))


def log_mean(log_weights):
    """log of the mean of weights."""
    return logsumexp(log_weights) - np.log(len(log_weights))
