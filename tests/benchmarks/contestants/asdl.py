"""ASDL: Fisher and Hessian makers. Its exact Fisher of a regression is Σ JJᵀ; its Kronecker A is a sum, not a mean."""

import torch
from asdl.fisher import FisherConfig, get_fisher_maker
from asdl.grad_maker import LOSS_CROSS_ENTROPY, LOSS_MSE
from asdl.hessian import HessianConfig, HessianMaker
from asdl.matrices import FISHER_EMP, FISHER_EXACT, SHAPE_DIAG, SHAPE_FULL, SHAPE_KRON

from . import Task, factors
from .torch_models import flat, loss, model, numpy, scale


def prepare(problem):
    """Exact and empirical Fisher, full, diagonal and Kronecker, and the full Hessian."""
    _, X, y, *_ = model(problem)
    cost, unit = loss(problem), scale(problem)

    def fisher(kind, shape, read):
        module = model(problem)[0]
        config = FisherConfig(
            fisher_type=kind, fisher_shapes=[shape], data_size=1, loss_type=LOSS_CROSS_ENTROPY if problem.classes else LOSS_MSE,
        )
        maker = get_fisher_maker(module, config)

        def run():
            outputs = maker.setup_model_call(module, X)
            if kind == FISHER_EMP:
                maker.setup_loss_call(cost, outputs, y)
            maker.forward_and_backward()
            return read(module)
        return run

    def hessian():
        module = model(problem)[0]
        maker = HessianMaker(module, HessianConfig(hessian_shapes=[SHAPE_FULL]))

        def run():
            maker.setup_loss_call(cost, maker.setup_model_call(module, X), y)
            maker.forward_and_backward()
            return module.hessian.data
        return run

    full = fisher(FISHER_EXACT, SHAPE_FULL, lambda module: module.fisher.data)
    return {
        "ggn.full": Task(full, numpy),
        "fisher.full": Task(full, numpy),
        "fisher.empirical": Task(fisher(FISHER_EMP, SHAPE_FULL, lambda module: module.fisher.data), lambda F: unit**2 * numpy(F)),
        "hessian.full": Task(hessian(), lambda H: unit * numpy(H)),
        "ggn.diag": Task(fisher(FISHER_EXACT, SHAPE_DIAG, _diagonal), numpy),
        "ggn.kfac": Task(fisher(FISHER_EXACT, SHAPE_KRON, _kron), lambda pairs: _factors(pairs, len(X))),
    }


def _linear(module):
    return [layer for layer in module if isinstance(layer, torch.nn.Linear)]


def _diagonal(module):
    return flat([part for layer in _linear(module) for part in (layer.fisher.diag.weight, layer.fisher.diag.bias)])


def _kron(module):
    return [(layer.fisher.kron.B, layer.fisher.kron.A) for layer in _linear(module)]


def _factors(pairs, num_data):
    return factors((numpy(B), numpy(A) / num_data) for B, A in pairs)
