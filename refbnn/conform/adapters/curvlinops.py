"""The real curvlinops package, asked through its linear operators at the given θ; nothing is converted here.

tests/peers/README.md makes the environments; the release that is checked is whichever `import curvlinops` finds. Losses are
torch's, with their default reduction "mean"; a likelihood that torch has no loss for gets a module of its own, averaged likewise
(the package takes any for GGN and Hessian). Data come in batches of 4, the last one often smaller, so that sums over batches are
seen. Operators of releases before 3 are single precision, so the model is too and the conventions say so.

`ggn.kfac` treats weights and bias of a layer jointly, `fisher.kfac` separately (the package's default); both are its "type-2"
Fisher. Sampled Fishers use the package's own sampling, its random numbers replaced by those that make problem.labels.
"""
from __future__ import annotations

import math
from contextlib import ExitStack, contextmanager
from importlib import metadata
from unittest import mock

import curvlinops as package
import numpy as np
import torch
from torch import nn

from refbnn.conform.adapters.torch import likelihood, network

name = "curvlinops"
version = metadata.version("curvlinops-for-pytorch")
SINGLE = not hasattr(package.GGNLinearOperator, "to_scipy")
DTYPE = torch.float32 if SINGLE else torch.float64
# torch's mean is over data and outputs for squared errors and binary cross-entropies, over data for cross-entropies.
conventions = {"loss.squared_error": "one", "loss.reduction": "mean_all", "kfac.bias@fisher.kfac": "split",
               "precision": "float32" if SINGLE else "float64"}
LOSSES = {"normal": nn.MSELoss, "categorical": nn.CrossEntropyLoss, "bernoulli": nn.BCEWithLogitsLoss}
OF_ANY_LOSS = ("loss", "gradient", "jacobian", "ggn.full", "ggn.vp", "ggn.blockdiag", "ggn.lastlayer", "hessian.full",
               "hessian.blockdiag", "hessian.hvp", "ntk")
NEWER = ("ggn.ekfac", "ggn.ekfac.split", "hessian.blockdiag")


class Average(nn.Module):
    """A likelihood that torch has no loss for, as such a loss: the mean of −log p over the entries of y."""

    reduction = "mean"

    def __init__(self, of):
        super().__init__()
        self.losses = torch.func.vmap(of.loss)

    def forward(self, f, y):
        """Σ ℓ / number of entries of y."""
        return self.losses(f, y).sum() / y.numel()


def unsupported(problem, quantity: str) -> str | None:
    """What the package refuses (KFAC names the losses that it takes), and what an older release does not have yet."""
    if SINGLE and quantity in NEWER:
        return f"curvlinops {version} has no {quantity}"
    if quantity not in OF_ANY_LOSS and LOSSES.get(problem.likelihood) not in package.KFACLinearOperator._SUPPORTED_LOSSES:
        return f"curvlinops {version} has no Fisher of a {problem.likelihood} likelihood"
    return None


class State:
    """The problem as the package wants it: a module, a loss, parameters, batches."""

    def __init__(self, problem):
        self.model = network(problem).to(DTYPE)
        self.loss = LOSSES.get(problem.likelihood, lambda: Average(likelihood(problem)))()
        self.params = list(self.model.parameters())
        self.X, self.y, self.labels, self.vector = map(_tensor, (problem.X, problem.y, problem.labels, problem.vector))
        self.data = list(zip(self.X.split(4), self.y.split(4)))

    def layers(self):
        """The parameters of each layer."""
        return [list(layer.parameters()) for layer in self.model if isinstance(layer, nn.Linear)]

    def operator(self, kind, params=None, **options):
        """The package's operator of this name: of all parameters, or of those given."""
        make = getattr(package, kind + "LinearOperator")
        return make(self.model, self.loss, params or self.params, self.data, check_deterministic=False, **options)

    def jacobian(self, kind="Jacobian"):
        """The operator J or, by name, its transpose."""
        return getattr(package, kind + "LinearOperator")(self.model, self.params, self.data, check_deterministic=False)


def _tensor(array):
    """In the model's precision; class labels stay integers."""
    return torch.tensor(array, dtype=None if array.dtype == np.int64 else DTYPE)


def _product(operator, right):
    """operator @ right; the operators of older releases take and return arrays, newer ones tensors."""
    return torch.tensor(operator @ right.numpy()) if SINGLE else operator @ right


def _dense(operator):
    return _product(operator, torch.eye(operator.shape[1], dtype=DTYPE))


class Rows:
    """Hands out rows of stored values in order, and again from the first, since every product goes through all data."""

    def __init__(self, values):
        self.values, self.at = values, 0

    def take(self, count):
        """The next rows, never across the end."""
        rows = self.values[self.at:self.at + count]
        self.at = (self.at + count) % len(self.values)
        return rows


@contextmanager
def labels_drawn(labels, normals):
    """Inside, curvlinops draws these labels, or for regression those that these standard normals make; a row a datum."""
    labels, normals = Rows(labels), Rows(normals)

    def classes(probabilities, *_, **__):
        rows = probabilities.shape[:-1]
        return labels.take(rows.numel()).reshape(*rows, 1)

    stand_ins = {"curvlinops.kfac.randn": lambda shape, **_: normals.take(shape[0]),
                 "curvlinops.fisher.normal": lambda mean, std, **_: mean + std * normals.take(mean.shape[-2]),
                 "curvlinops.fisher.multinomial": classes, "torch.Tensor.multinomial": classes,
                 "torch.Tensor.bernoulli": lambda p, **_: labels.take(p.shape[-2]).expand_as(p)}
    with ExitStack() as stack:
        for target, stand_in in stand_ins.items():
            stack.enter_context(mock.patch(target, stand_in, create=True))
        yield


def _sampled(s, kind, **options):
    """The package's squared error stands for y ~ N(f, ½), so label y needs the standard normal (y − f)√2."""
    normals = (s.labels.reshape(len(s.X), -1) - s.model(s.X).detach()) * math.sqrt(2)
    with labels_drawn(s.labels, normals):
        return _dense(s.operator(kind, **options))


def _kfac(s, fisher_type, kind="KFAC", joint=True):
    return _dense(s.operator(kind, fisher_type=fisher_type, separate_weight_and_bias=not joint))


def _kernel(s):
    """J Jᵀ: the package's product with Jᵀ, then with J."""
    transposed = _dense(s.jacobian("TransposedJacobian"))
    n = len(s.X)
    return _product(s.jacobian(), transposed).reshape(n, -1, n, transposed.shape[1] // n)


def prepare(problem) -> State:
    """Model, loss, parameters and batches."""
    return State(problem)


def _answers(function):
    """The adapter's function: a numpy array from a tensor."""
    return lambda state: function(state).detach().numpy()


loss = _answers(lambda s: s.operator("GGN").gradient_and_loss()[1].reshape(()))
gradient = _answers(lambda s: torch.cat([part.flatten() for part in s.operator("GGN").gradient_and_loss()[0]]))
jacobian = _answers(lambda s: _dense(s.jacobian()).reshape(len(s.X), -1, len(s.vector)))
ggn_full = _answers(lambda s: _dense(s.operator("GGN")))
ggn_vp = _answers(lambda s: _product(s.operator("GGN"), s.vector))
ggn_blockdiag = _answers(lambda s: torch.block_diag(*[_dense(s.operator("GGN", layer)) for layer in s.layers()]))
ggn_lastlayer = _answers(lambda s: _dense(s.operator("GGN", s.layers()[-1])))
ggn_kfac = _answers(lambda s: _kfac(s, "type-2"))
ggn_ekfac = _answers(lambda s: _kfac(s, "type-2", "EKFAC"))
ggn_ekfac_split = _answers(lambda s: _kfac(s, "type-2", "EKFAC", joint=False))
hessian_full = _answers(lambda s: _dense(s.operator("Hessian")))
hessian_blockdiag = _answers(lambda s: _dense(s.operator("Hessian", block_sizes=[len(layer) for layer in s.layers()])))
hessian_hvp = _answers(lambda s: _product(s.operator("Hessian"), s.vector))
fisher_kfac = _answers(lambda s: _kfac(s, "type-2", joint=False))
fisher_empirical = _answers(lambda s: _dense(s.operator("EF")))
fisher_empirical_kfac = _answers(lambda s: _kfac(s, "empirical"))
fisher_mc = _answers(lambda s: _sampled(s, "FisherMC"))
fisher_mc_kfac = _answers(lambda s: _sampled(s, "KFAC", fisher_type="mc", separate_weight_and_bias=False))
ntk = _answers(_kernel)
