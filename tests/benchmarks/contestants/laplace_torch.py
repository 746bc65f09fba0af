"""laplace-torch: each of its curvature backends as its own way. Its empirical Fisher of a regression is twice refbnn's."""

from functools import cache

from laplace.curvature import (
    AsdlEF, AsdlGGN, AsdlHessian, BackPackEF, BackPackGGN, CurvlinopsEF, CurvlinopsGGN, CurvlinopsHessian,
)

from . import Task, factors
from .torch_models import model, numpy, scale


def prepare(problem):
    """Full, diagonal and Kronecker curvature of one batch with all data, and Jacobians."""
    _, X, y, *_ = model(problem)
    likelihood = "classification" if problem.classes else "regression"

    def backend(kind):  # made when first asked for: BackPACK's Jacobians remove the hooks of every model there is
        module = model(problem)[0]
        module.output_size = problem.sizes[-1]
        return kind(module, likelihood)

    def second(kind, structure="full", read=numpy, **options):
        own = cache(lambda: backend(kind))
        return Task(lambda: getattr(own(), structure)(X, y, **options)[1], read)

    def jacobians(kind):
        own = cache(lambda: backend(kind))
        return Task(lambda: own().jacobians(X)[0], numpy)

    tasks = {}
    for name, GGN in {"asdl": AsdlGGN, "backpack": BackPackGGN, "curvlinops": CurvlinopsGGN}.items():
        tasks |= {
            f"jacobian/{name}": jacobians(GGN),
            f"ggn.full/{name}": second(GGN),
            f"ggn.diag/{name}": second(GGN, "diag"),
            f"ggn.kfac/{name}": second(GGN, "kron", _factors, N=len(X)),
        }
    for name, EF in {"asdl": AsdlEF, "backpack": BackPackEF, "curvlinops": CurvlinopsEF}.items():
        tasks[f"fisher.empirical/{name}"] = second(EF, read=lambda F: scale(problem) * numpy(F))
    for name, Hessian in {"asdl": AsdlHessian, "curvlinops": CurvlinopsHessian}.items():
        tasks[f"hessian.full/{name}"] = second(Hessian)
    if problem.num_params > 1000:  # a product a parameter, never this library's fastest: minutes
        tasks = {key: task for key, task in tasks.items() if not key.endswith("curvlinops") or key.startswith("ggn.kfac")}
    return tasks


def _factors(kron):
    """The weights' blocks are pairs; biases have single factors."""
    pairs = [block for block in kron.kfacs if len(block) == 2]
    return factors((numpy(B), numpy(A)) for B, A in pairs)
