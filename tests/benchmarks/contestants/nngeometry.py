"""NNGeometry: the Fisher matrix in several representations; it averages over data."""

from nngeometry.metrics import FIM
from nngeometry.object import PMatDense, PMatDiag, PMatKFAC
from torch.utils.data import DataLoader, TensorDataset

from . import Task, factors
from .torch_models import model, numpy


def prepare(problem):
    """Exact Fisher (here the GGN): dense, diagonal and KFAC, all data in one batch."""
    module, X, y, *_ = model(problem)
    loader = DataLoader(TensorDataset(X, y), batch_size=len(X))
    variant = "classif_logits" if problem.classes else "regression"

    def fisher(representation, read):
        return Task(lambda: FIM(module, loader, representation, variant=variant), read)

    dense = fisher(PMatDense, lambda F: len(X) * numpy(F.to_torch()))
    return {
        "ggn.full": dense,
        "fisher.full": dense,
        "ggn.diag": fisher(PMatDiag, lambda F: len(X) * numpy(F.get_diag())),
        "ggn.kfac": fisher(PMatKFAC, lambda F: _factors(F, len(X), problem)),
    }


def _factors(F, num_data, problem):
    """Joint factors (A with the constant 1 last) in the order of the layers."""
    pairs = [(num_data * numpy(B), numpy(A)[:into, :into]) for (A, B), into in zip(F.data.values(), problem.sizes)]
    return factors(pairs)
