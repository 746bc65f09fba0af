"""refbnn itself, and the bare symmetric product that bounds what one dense product of the Jacobian can cost."""

import refbnn
from refbnn import activations, kronecker, likelihoods
from refbnn.assembly import gauss_newton_rows

from . import Task, factors


def prepare(problem):
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
