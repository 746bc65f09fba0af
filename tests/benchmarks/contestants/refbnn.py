"""refbnn itself, and the bare symmetric product that bounds what one dense product of the Jacobian can cost."""

import numpy as np

import refbnn
from refbnn import activations, kronecker, likelihoods, priors
from refbnn.networks.assembly import gauss_newton_rows
from refbnn.precision import Diagonal
from refbnn.samplers import hmc, leapfrog
from tests.benchmarks.problems import CHAINS, NUM_STEPS, STEP_SIZE

from . import Task, factors


def prepare(problem):
    """Derivatives of every problem; trajectories of the one that is for samplers."""
    return {**derivatives(problem), **(trajectories(problem) if problem.name == "H" else {})}


def trajectories(problem):
    """Leapfrog steps as the samplers take them, without the Metropolis test."""
    X, y, *_ = problem.arrays()
    net = refbnn.Mlp(problem.sizes, activations.tanh)
    post = refbnn.Posterior(net, likelihoods.Normal(1.0), priors.isotropic(net.num_params, 1.0), X, y)
    metric = Diagonal(np.ones(net.num_params))
    return {f"hmc.{chains}": _trajectory(post, metric, *problem.trajectories(chains)) for chains in CHAINS}


def _trajectory(post, metric, theta, momentum):
    value, gradient = post.value_and_gradient(theta)
    begin, step_size = leapfrog.Point(theta, momentum, value, gradient), np.full(len(theta), STEP_SIZE)
    return Task(lambda: hmc.trajectory(post, metric, begin, step_size, NUM_STEPS)[0].theta)


def derivatives(problem):
    """Every quantity, from scratch at θ; "syrk" ways are R Rᵀ alone, of rows R that are there already."""
    X, y, theta, vector = problem.arrays()
    net = refbnn.Mlp(problem.sizes, activations.tanh)
    loss = refbnn.Loss(net, likelihoods.Categorical() if problem.classes else likelihoods.Normal(1.0), X, y)
    return {
        "gradient": Task(lambda: loss.gradient(theta)),
        "hessian.hvp": Task(lambda: loss.hessian_vector_product(theta, vector)),
        "jacobian": Task(lambda: net.jacobian(theta, X)),
        "ggn.full": Task(lambda: loss.ggn(theta)),
        "ggn.full/syrk": _syrk(loss.at(theta).ggn),
        "fisher.full": Task(lambda: loss.fisher(theta)),
        "fisher.full/syrk": _syrk(loss.at(theta).ggn),
        "fisher.empirical": Task(lambda: loss.empirical_fisher(theta)),
        "fisher.empirical/syrk": _syrk(loss.at(theta).empirical_fisher),
        "hessian.full": Task(lambda: loss.hessian(theta)),
        "hessian.full/ggn": Task(lambda: loss.ggn(theta), lambda G: G + loss.at(theta).residual_part.full()),
        "ggn.diag": Task(lambda: loss.at(theta).ggn.diagonal()),
        "ggn.kfac": Task(lambda: kronecker.kfac(loss.at(theta).ggn), _factors),
    }


def _syrk(pullback):
    R = gauss_newton_rows(pullback.layout, pullback.signals, pullback.S)
    return Task(lambda: R @ R.T)


def _factors(blocks):
    return factors((block.B, block.A[:-1, :-1]) for block in blocks.blocks)
