"""The real ASDL package: its Fisher and Hessian makers, kernels and per-datum gradients at the given θ; nothing is converted.

tests/peers/README.md makes the environments. The model is an ordinary torch module turned to float64; torch's default dtype
stays float32 unless the variable REFBNN_TORCH_DEFAULT_DTYPE says float64. Data come in batches of 4 that the makers accumulate
(one batch where they cannot), with data_size the number of data. Losses are torch's, summed; a likelihood that torch has no
loss for gets one of its own, which the empirical Fisher, the Hessian and gradients take. The exact Fisher, which ASDL has for
squared error and cross-entropy only, is the GGN there. A sampled Fisher draws problem.labels, its diagonal draws them twice.
"""
from __future__ import annotations

import os
import warnings
from importlib import metadata
from unittest import mock

import torch
from asdl.fisher import FisherConfig, get_fisher_maker
from asdl.grad_maker import LOSS_CROSS_ENTROPY, LOSS_MSE
from asdl.gradient import batch_gradient, jacobian as asdl_jacobian
from asdl.hessian import HessianConfig, HessianMaker
from asdl.kernel import batch, empirical_implicit_ntk
from asdl.matrices import (FISHER_EMP, FISHER_EXACT, FISHER_MC, SHAPE_DIAG, SHAPE_FULL, SHAPE_KFE, SHAPE_KRON,
                           SHAPE_LAYER_WISE)
from asdl.vector import ParamVector
from torch import distributions, nn

from refbnn.conform.adapters.torch import likelihood, network

warnings.simplefilter("ignore")  # of the hooks of every backward pass
DTYPE = os.environ.get("REFBNN_TORCH_DEFAULT_DTYPE", "float32")
torch.set_default_dtype(getattr(torch, DTYPE))
name = "asdl"
version = metadata.version("asdl") + ("" if DTYPE == "float32" else f" with torch default dtype {DTYPE}")
# Fishers are divided by data_size. The exact and the sampled one are those of ½‖y − f‖²; the others differentiate the caller's
# loss, here ‖y − f‖².
conventions = {"loss.squared_error": "half", "loss.reduction": "mean", "kfac.bias": "split",
               **{f"loss.squared_error@{glob}": "one" for glob in ("loss", "gradient", "hessian.*", "fisher.empirical*")},
               **{f"loss.reduction@{glob}": "sum" for glob in ("loss", "gradient", "hessian.*")}}
LOSSES = {"normal": nn.MSELoss, "categorical": nn.CrossEntropyLoss, "bernoulli": nn.BCEWithLogitsLoss}
EXACT = {"normal": LOSS_MSE, "categorical": LOSS_CROSS_ENTROPY}
DRAWN = {"normal": distributions.Normal, "categorical": distributions.Categorical}
OF_ANY_LOSS = ("forward", "loss", "gradient", "jacobian", "hessian", "fisher.empirical", "ntk")


class OwnLoss(nn.Module):
    """A likelihood that torch has no loss for, as such a loss."""

    def __init__(self, problem):
        super().__init__()
        self.losses, self.reduction = torch.func.vmap(likelihood(problem).loss), "sum"

    def forward(self, f, y):
        """Σ ℓ."""
        return self.losses(f, y).sum()


def unsupported(problem, quantity: str) -> str | None:
    """Exact and sampled Fishers exist for two losses."""
    if problem.likelihood in EXACT or quantity.startswith(OF_ANY_LOSS):
        return None
    return f"ASDL has no exact or sampled Fisher of a {problem.likelihood} likelihood"


class State:
    """The problem as a model, a loss and batches of data."""

    def __init__(self, problem):
        self.problem, self.model = problem, network(problem)
        own = LOSSES.get(problem.likelihood)
        self.cost = own(reduction="sum") if own else OwnLoss(problem)
        self.X, self.y, self.labels, self.vector = map(torch.tensor, (problem.X, problem.y, problem.labels, problem.vector))

    def layers(self):
        """The layers with parameters."""
        return [layer for layer in self.model if isinstance(layer, nn.Linear)]

    def parameter_vector(self):
        """problem.vector as the package has it."""
        return ParamVector(list(self.model.parameters()), self.vector)

    def loss(self):
        return self.cost(self.model(self.X), self.y)

    def fisher(self, kind, shape, rows=4, draws=1, **options):
        """The model after its Fisher of this kind and shape was made, from batches of so many rows."""
        maker = get_fisher_maker(self.model, FisherConfig(
            fisher_type=kind, fisher_shapes=[shape], loss_type=EXACT.get(self.problem.likelihood), n_mc_samples=draws))
        for X, y, labels in zip(self.X.split(rows), self.y.split(rows), self.labels.split(rows)):
            outputs = maker.setup_model_call(self.model, X)
            maker.setup_loss_call(self.cost, outputs, y)
            with mock.patch.object(DRAWN.get(self.problem.likelihood, nn.Module), "sample", lambda self: labels, create=True):
                maker.forward_and_backward(data_size=len(self.X), accumulate=True, **options)
        return self.model

    def hessian(self, shape, **options):
        """The model after its Hessian of this shape was made."""
        maker = HessianMaker(self.model, HessianConfig(hessian_shapes=[shape]))
        for X, y in zip(self.X.split(4), self.y.split(4)):
            maker.setup_loss_call(self.cost, maker.setup_model_call(self.model, X), y)
            maker.forward_and_backward(accumulate=True, **options)
        return self.model


def _per_datum(s):
    def run():
        s.model.zero_grad()
        s.loss().backward()
    return batch_gradient(s.model, run)


def _diagonals(s, matrices):
    parts = [part for matrix in matrices for part in (matrix.diag.weight, matrix.diag.bias)[:1 + s.problem.bias]]
    return torch.cat([part.flatten() for part in parts])


def _fisher_full(s, kind, **options):
    return s.fisher(kind, SHAPE_FULL, **options).fisher.data


def _fisher_diag(s, kind, **options):
    s.fisher(kind, SHAPE_DIAG, **options)
    return _diagonals(s, [layer.fisher for layer in s.layers()])


def _fisher_kron(s, kind):
    """B ⊗ A for the weights of a layer, B for its biases."""
    s.fisher(kind, SHAPE_KRON)
    blocks = [(torch.kron(layer.fisher.kron.B, layer.fisher.kron.A), layer.fisher.kron.B) for layer in s.layers()]
    return torch.block_diag(*[block for pair in blocks for block in pair[:1 + s.problem.bias]])


def _eigenbasis(s):
    """U diag(scale) Uᵀ with U = Ub ⊗ Ua for the weights of a layer, Ub for its biases."""
    s.fisher(FISHER_EXACT, SHAPE_KFE, rows=len(s.X))
    blocks = []
    for layer in s.layers():
        kfe = layer.fisher.kfe
        bases = (torch.kron(kfe.Ub.contiguous(), kfe.Ua.contiguous()), kfe.Ub)[:1 + s.problem.bias]
        blocks += [U @ torch.diag(scale.flatten()) @ U.T for U, scale in zip(bases, kfe.scale)]
    return torch.block_diag(*blocks)


def _layer_fishers(s):
    s.fisher(FISHER_EXACT, SHAPE_LAYER_WISE)
    return [layer.fisher.data for layer in s.layers()]


def _fisher_product(s):
    """All data in one batch: products are not accumulated."""
    s.fisher(FISHER_EXACT, SHAPE_FULL, rows=len(s.X), fvp=True, vec=s.parameter_vector())
    return s.model.fvp.get_flatten_vector()


def _hessian_diag(s):
    s.hessian(SHAPE_DIAG)
    return _diagonals(s, [layer.hessian for layer in s.layers()])


def _hessian_blocks(s):
    s.hessian(SHAPE_LAYER_WISE)
    return torch.block_diag(*[layer.hessian.data for layer in s.layers()])


def _answers(function):
    """The adapter's function: a numpy array from a tensor. Each has a model of its own, since results are kept on its modules."""
    return lambda problem: function(State(problem)).detach().numpy()


forward = _answers(lambda s: s.model(s.X))
loss = _answers(State.loss)
gradient = _answers(lambda s: _per_datum(s).sum(0))
jacobian = _answers(lambda s: asdl_jacobian(s.model, s.X))
ggn_full = _answers(lambda s: _fisher_full(s, FISHER_EXACT))
ggn_diag = _answers(lambda s: _fisher_diag(s, FISHER_EXACT))
ggn_vp = _answers(_fisher_product)
ggn_blockdiag = _answers(lambda s: torch.block_diag(*_layer_fishers(s)))
ggn_lastlayer = _answers(lambda s: _layer_fishers(s)[-1])
ggn_kfac = _answers(lambda s: _fisher_kron(s, FISHER_EXACT))
ggn_ekfac_split = _answers(_eigenbasis)
hessian_full = _answers(lambda s: s.hessian(SHAPE_FULL).hessian.data)
hessian_diag = _answers(_hessian_diag)
hessian_blockdiag = _answers(_hessian_blocks)
hessian_hvp = _answers(lambda s: s.hessian(SHAPE_FULL, hvp=True, vec=s.parameter_vector()).hvp.get_flatten_vector())
fisher_full = _answers(lambda s: _fisher_full(s, FISHER_EXACT))
fisher_diag = _answers(lambda s: _fisher_diag(s, FISHER_EXACT))
fisher_kfac = _answers(lambda s: _fisher_kron(s, FISHER_EXACT))
fisher_empirical = _answers(lambda s: _fisher_full(s, FISHER_EMP))
fisher_empirical_diag = _answers(lambda s: _fisher_diag(s, FISHER_EMP))
fisher_empirical_kfac = _answers(lambda s: _fisher_kron(s, FISHER_EMP))
fisher_mc = _answers(lambda s: _fisher_full(s, FISHER_MC))
fisher_mc_diag = _answers(lambda s: _fisher_diag(s, FISHER_MC, draws=2))
fisher_mc_kfac = _answers(lambda s: _fisher_kron(s, FISHER_MC))
ntk = _answers(lambda s: batch(empirical_implicit_ntk, s.model, s.X).permute(0, 2, 1, 3))
