"""BackPACK: extensions of the backward pass; the full GGN from its symmetric factorisation V Vᵀ."""

import torch
from backpack import backpack, extend, extensions
from backpack.hessianfree.hvp import hessian_vector_product

from . import Task, factors
from .torch_models import flat, loss, model, numpy, scale


def prepare(problem):
    """Diagonal GGN, KFLR (KFAC with the exact output curvature), GGN from its factor, empirical Fisher, one product."""
    module, X, y, _, vector = model(problem)
    module, cost = extend(module), extend(loss(problem))
    parameters, unit = list(module.parameters()), scale(problem)
    direction = [part.reshape(p.shape) for part, p in zip(vector.split([p.numel() for p in parameters]), parameters)]

    def backward(extension):
        module.zero_grad()
        with backpack(extension):
            cost(module(X), y).backward()

    def diagonal():
        backward(extensions.DiagGGNExact())
        return flat([p.diag_ggn_exact for p in parameters])

    def kflr():
        backward(extensions.KFLR())
        return [p.kflr for p in parameters[::2]]

    def ggn():
        backward(extensions.SqrtGGNExact())
        V = torch.cat([p.sqrt_ggn_exact.reshape(-1, p.numel()) for p in parameters], dim=1)
        return V.T @ V

    def empirical():
        backward(extensions.BatchGrad())
        g = torch.cat([p.grad_batch.reshape(len(X), -1) for p in parameters], dim=1)
        return g.T @ g

    def product():
        return flat(hessian_vector_product(cost(module(X), y), parameters, direction))

    return {
        "hessian.hvp": Task(product, lambda Hv: unit * numpy(Hv)),
        "ggn.full": Task(ggn, lambda G: unit * numpy(G)),
        "fisher.full": Task(ggn, lambda G: unit * numpy(G)),
        "fisher.empirical": Task(empirical, lambda F: unit**2 * numpy(F)),
        "ggn.diag": Task(diagonal, lambda d: unit * numpy(d)),
        "ggn.kfac": Task(kflr, lambda pairs: factors((unit * numpy(B), numpy(A)) for B, A in pairs)),
    }
