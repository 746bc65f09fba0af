"""curvlinops: linear operators, made dense by the product with the identity, as its documentation does."""

import torch
from curvlinops import EFLinearOperator, FisherType, GGNLinearOperator, HessianLinearOperator, KFACLinearOperator

from . import Task, factors
from .torch_models import loss, model, numpy, scale


def prepare(problem):
    """GGN, empirical Fisher, Hessian, one product, and KFAC with the exact output curvature."""
    module, X, y, _, vector = model(problem)
    inputs = (module, loss(problem), list(module.parameters()), [(X, y)])
    unit, identity = scale(problem), torch.eye(problem.num_params)

    def operator(kind):
        return kind(*inputs, check_deterministic=False)

    def dense(kind, times=unit):
        return Task(lambda: operator(kind) @ identity, lambda H: times * numpy(H))

    def kfac():
        linop = KFACLinearOperator(
            *inputs, check_deterministic=False, fisher_type=FisherType.TYPE2, separate_weight_and_bias=True,
        )
        return linop.compute_kronecker_factors() or linop

    def pairs(linop):
        A, B = linop._input_covariances, linop._gradient_covariances
        return factors((unit * numpy(B[name]), numpy(A[name])) for name in linop._mapping)

    return {
        "ggn.full": dense(GGNLinearOperator),
        "fisher.empirical": dense(EFLinearOperator, unit**2),
        "hessian.full": dense(HessianLinearOperator),
        "hessian.hvp": Task(lambda: operator(HessianLinearOperator) @ vector, lambda Hv: unit * numpy(Hv)),
        "ggn.kfac": Task(kfac, pairs),
    }
