"""The real NNGeometry package: its Fisher matrices in every representation, Hessian, Jacobian and kernel; nothing is converted.

tests/peers/README.md makes the environments. The model is an ordinary torch module turned to float64; torch's default dtype
stays float32 unless the variable REFBNN_TORCH_DEFAULT_DTYPE says float64. Data come in batches of 4. The Fisher of
`nngeometry.metrics` exists for y ~ N(f, I), softmax and one logit, where it is the GGN; empirical ones come from the package's
own generator, given a datum's −log p as the function. A sampled Fisher draws problem.labels, its diagonal draws them twice.
"""
from __future__ import annotations

import os
from importlib import metadata
from unittest import mock

import torch
from nngeometry.backend import TorchHooksJacobianBackend
from nngeometry.gram import GramMatrix
from nngeometry.hessian import Hessian
from nngeometry.jacobian import Jacobian
from nngeometry.layercollection import LayerCollection
from nngeometry.metrics import FIM, FIM_MonteCarlo
from nngeometry.object import (PMatBlockDiag, PMatDense, PMatDiag, PMatEKFAC, PMatImplicit, PMatKFAC, PMatLowRank,
                               PMatQuasiDiag)
from nngeometry.object.vector import PVector
from torch.utils.data import DataLoader, TensorDataset

from refbnn.conform.adapters.torch import likelihood, network

DTYPE = os.environ.get("REFBNN_TORCH_DEFAULT_DTYPE", "float32")
torch.set_default_dtype(getattr(torch, DTYPE))
name = "nngeometry"
version = metadata.version(name) + ("" if DTYPE == "float32" else f" with torch default dtype {DTYPE}")
# Covariances are averages over the data. Regression has unit variance; where the function is given, it is −log p itself.
conventions = {"loss.reduction": "mean",
               **{f"loss.squared_error@{glob}": "half" for glob in ("ggn.*", "fisher.full", "fisher.diag", "fisher.kfac")},
               **{f"loss.reduction@{glob}": "sum" for glob in ("gradient", "hessian.*")}}
VARIANTS = {"normal": "regression", "categorical": "classif_logits", "bernoulli": "classif_binary_logits"}
OF_ANY_LOSS = ("forward", "gradient", "jacobian", "hessian", "fisher.empirical", "ntk")


def unsupported(problem, quantity: str) -> str | None:
    """The Fisher has three variants, one of them for a single output; labels are sampled for class labels only."""
    if quantity.startswith(OF_ANY_LOSS):
        return None
    if problem.likelihood not in VARIANTS or (problem.likelihood == "bernoulli" and problem.num_outputs > 1):
        return f"NNGeometry has no Fisher of a {problem.likelihood} likelihood" + (
            " with several outputs" if problem.likelihood == "bernoulli" else "")
    sampled = quantity.startswith("fisher.mc") and problem.likelihood != "categorical"
    return "NNGeometry samples class labels only" if sampled else None


class State:
    """The problem as a model and a loader."""

    def __init__(self, problem):
        self.problem, self.model = problem, network(problem)
        self.X, self.y, self.labels = map(torch.tensor, (problem.X, problem.y, problem.labels))
        self.loader = DataLoader(TensorDataset(self.X, self.y), batch_size=4)
        self.layers = LayerCollection.from_model(self.model)
        self.loss_per_datum = torch.func.vmap(likelihood(problem).loss)

    def fisher(self, representation, layers=None):
        """The package's Fisher."""
        return FIM(self.model, self.loader, representation, VARIANTS[self.problem.likelihood], layer_collection=layers)

    def empirical(self, representation, centering=False):
        """The covariance of the gradients of −log p."""
        generator = TorchHooksJacobianBackend(self.model, self.losses, centering=centering)
        return representation(generator=generator, examples=self.loader)

    def sampled(self, representation, draws=1):
        """The Fisher at problem.labels, drawn batch by batch."""
        labels = iter(self.labels.split(4) * 2)
        with mock.patch.object(torch, "multinomial", lambda p, trials, **_: next(labels)[:, None].expand(-1, trials)):
            return FIM_MonteCarlo(self.model, self.loader, representation, trials=draws)

    def hessian(self):
        """Of the summed loss."""
        return Hessian(self.model, self.loader, PMatDense, function=lambda f, y: self.loss_per_datum(f, y).sum())

    def losses(self, X, y):
        """−log p of each datum, n 1."""
        return self.loss_per_datum(self.model(X), y)[:, None]

    def vector(self):
        """problem.vector as the package has it."""
        return PVector(self.layers, vector_repr=torch.tensor(self.problem.vector))


def _last_layer(s):
    last = LayerCollection()
    last.add_layer_from_model(s.model, s.model[-1])
    return s.fisher(PMatDense, last).to_torch()


def _eigenbasis(s):
    """EKFAC starts as KFAC; `update_diag` refits its eigenvalues."""
    fisher = s.fisher(PMatEKFAC)
    fisher.update_diag(s.loader)
    return fisher.to_torch()


def _answers(function):
    """The adapter's function: a numpy array from a tensor. Each has a model of its own, since a call that fails leaves hooks."""
    return lambda problem: function(State(problem)).detach().numpy()


forward = _answers(lambda s: s.model(s.X))
gradient = _answers(lambda s: Jacobian(s.model, s.loader, function=s.losses).to_torch().sum((0, 1)))
jacobian = _answers(lambda s: Jacobian(s.model, s.loader).to_torch().permute(1, 0, 2))
ggn_full = _answers(lambda s: s.fisher(PMatDense).to_torch())
ggn_diag = _answers(lambda s: s.fisher(PMatDiag).get_diag())
ggn_vp = _answers(lambda s: s.fisher(PMatImplicit).mv(s.vector()).to_torch())
ggn_blockdiag = _answers(lambda s: s.fisher(PMatBlockDiag).to_torch())
ggn_lastlayer = _answers(_last_layer)
ggn_kfac = _answers(lambda s: s.fisher(PMatKFAC).to_torch())
ggn_ekfac = _answers(_eigenbasis)
hessian_full = _answers(lambda s: s.hessian().to_torch())
hessian_diag = _answers(lambda s: s.hessian().get_diag())
hessian_hvp = _answers(lambda s: s.hessian().mv(s.vector()).to_torch())
fisher_full = _answers(lambda s: s.fisher(PMatLowRank).to_torch())
fisher_diag = _answers(lambda s: s.fisher(PMatQuasiDiag).get_diag())
fisher_kfac = _answers(lambda s: s.fisher(PMatKFAC).to_torch())
fisher_empirical = _answers(lambda s: s.empirical(PMatDense).to_torch())
fisher_empirical_diag = _answers(lambda s: s.empirical(PMatDiag).get_diag())
fisher_empirical_centred = _answers(lambda s: s.empirical(PMatDense, centering=True).to_torch())
fisher_empirical_kfac = _answers(lambda s: s.empirical(PMatKFAC).to_torch())
fisher_mc = _answers(lambda s: s.sampled(PMatDense).to_torch())
fisher_mc_diag = _answers(lambda s: s.sampled(PMatDiag, draws=2).get_diag())
fisher_mc_kfac = _answers(lambda s: s.sampled(PMatKFAC).to_torch())
ntk = _answers(lambda s: GramMatrix(s.model, s.loader).to_torch().permute(1, 0, 3, 2))
