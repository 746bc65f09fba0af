"""The real BackPACK package: what its extensions of a backward pass save at the given θ, and its products; nothing is converted.

tests/peers/README.md makes the environments; the release that is checked is whichever `import backpack` finds. The model is
an ordinary torch module turned to float64, all data are one batch, torch's default dtype stays float32 unless the
variable REFBNN_TORCH_DEFAULT_DTYPE says float64. Losses are torch's, with the reduction that REFBNN_BACKPACK_REDUCTION names,
"mean" as in torch unless it says "sum"; a likelihood that torch has no loss for gets a module of its own, reduced likewise,
since first-order extensions and products take any. What the package refuses with NotImplementedError is a gap, in its own
words. A sampled Fisher draws problem.labels, its diagonal draws them twice.
"""
from __future__ import annotations

import os
import re
import warnings
from importlib import metadata
from unittest import mock

import torch
from backpack import backpack, extend, extensions
from backpack.core.derivatives.mseloss import MSELossDerivatives
from backpack.hessianfree.ggnvp import ggn_vector_product_from_plist
from backpack.hessianfree.hvp import hessian_vector_product
from torch import distributions, nn

from refbnn.conform.adapters.torch import likelihood, network

warnings.simplefilter("ignore")  # of the hooks of every backward pass
DTYPE = os.environ.get("REFBNN_TORCH_DEFAULT_DTYPE", "float32")
REDUCTION = os.environ.get("REFBNN_BACKPACK_REDUCTION", "mean")
torch.set_default_dtype(getattr(torch, DTYPE))
name = "backpack"
version = (metadata.version("backpack-for-pytorch") + ("" if REDUCTION == "mean" else f" with reduction {REDUCTION}")
           + ("" if DTYPE == "float32" else f" with torch default dtype {DTYPE}"))
# torch's means are over every entry of y. A per-datum gradient is that of the datum's share of the mean: products of two hold its
# square. Every block and every pair of Kronecker factors belongs to one tensor.
MEANS = {"loss.reduction": "mean_all", "loss.reduction@fisher.empirical*": "sum",
         "fisher.gradients@fisher.empirical*": "mean_all"}
conventions = {"loss.squared_error": "one", "kfac.bias": "split", "blockdiag.blocks": "tensors",
               **(MEANS if REDUCTION == "mean" else {})}
LOSSES = {"normal": nn.MSELoss, "categorical": nn.CrossEntropyLoss, "bernoulli": nn.BCEWithLogitsLoss}
OF_ANY_LOSS = ("forward", "loss", "gradient", "ggn.vp", "ggn.lastlayer", "hessian.hvp", "fisher.empirical")
DRAWN = {"normal": distributions.Normal, "categorical": distributions.Categorical, "bernoulli": distributions.Binomial}


class OwnLoss(nn.Module):
    """A likelihood that torch has no loss for, as such a loss."""

    def __init__(self, problem):
        super().__init__()
        self.losses = torch.func.vmap(likelihood(problem).loss)

    def forward(self, f, y):
        """Σ ℓ, or that over the number of entries of y."""
        return self.losses(f, y).sum() / (y.numel() if REDUCTION == "mean" else 1)


def unsupported(problem, quantity: str) -> str | None:
    """Second derivatives of a loss that is not one of torch's three; what the package itself refuses for this network."""
    if problem.likelihood not in LOSSES and not quantity.startswith(OF_ANY_LOSS):
        return f"BackPACK has no second derivatives of a {problem.likelihood} loss"
    try:
        globals()[quantity.replace(".", "_")](State(problem))
    except NotImplementedError as refusal:
        missing = re.search(r"extension for Module .*?(\w+)'>", str(refusal))
        return f"BackPACK {version}: " + (f"no extension for {missing[1]}" if missing else str(refusal) or "not implemented")
    except RuntimeError:
        return None  # no gap: the same call, made again for the check, is an error
    return None


class State:
    """The problem as tensors and an extended model."""

    def __init__(self, problem):
        self.problem = problem
        self.X, self.y, self.vector = (torch.tensor(array) for array in (problem.X, problem.y, problem.vector))
        own = LOSSES.get(problem.likelihood)
        self.model, self.cost = extend(network(problem)), extend(own(reduction=REDUCTION)) if own else OwnLoss(problem)
        self.parameters = list(self.model.parameters())

    def loss(self):
        """The loss with its graph."""
        return self.cost(self.model(self.X), self.y)

    def saved(self, extension: str, field: str, **options):
        """What an extension saves beside each parameter."""
        make = getattr(extensions, extension, None)
        if make is None:
            raise NotImplementedError(f"there is no {extension}")
        self.model.zero_grad()
        with backpack(make(**options)):
            self.loss().backward()
            return [getattr(parameter, field) for parameter in self.parameters]

    def sampled(self, extension: str, field: str, draws: int = 1):
        """The same where the extension draws labels: each time it draws problem.labels."""
        if not hasattr(MSELossDerivatives, "_make_distribution"):
            raise NotImplementedError("labels are not drawn from a distribution that could be given")
        labels = torch.stack([torch.tensor(self.problem.labels)] * draws)
        with mock.patch.object(DRAWN[self.problem.likelihood], "sample", lambda self, sample_shape: labels):
            return self.saved(extension, field, mc_samples=draws)

    def like_parameters(self, vector):
        """A vector (..., p) as a list of tensors (..., shape of the parameter)."""
        sizes = [parameter.numel() for parameter in self.parameters]
        return [part.reshape(*part.shape[:-1], *parameter.shape)
                for part, parameter in zip(vector.split(sizes, -1), self.parameters)]


def prepare(problem) -> State:
    """The state that every function below takes."""
    return State(problem)


def _flat(parts, batch: int = 0):
    """Tensors (*batch, shape of a parameter) as one (*batch, p)."""
    return torch.cat([part.reshape(*part.shape[:batch], -1) for part in parts], -1)


def _gram(roots):
    """V Vᵀ of a square root saved as (c, n, shape of a parameter)."""
    V = _flat(roots, 2).flatten(0, 1)
    return V.T @ V


def _per_datum(s):
    return _flat(s.saved("BatchGrad", "grad_batch"), 1)


def _empirical(s):
    g = _per_datum(s)
    return g.T @ g


def _kronecker(factors):
    """One block a tensor: B ⊗ A for a weight, B for a bias."""
    blocks = [[factor.contiguous() for factor in block] for block in factors]
    return torch.block_diag(*[torch.kron(*block) if len(block) == 2 else block[0] for block in blocks])


def _blocks(s, extension: str, field: str):
    """One block a tensor, from its function that multiplies rows (v, shape of the parameter)."""
    def block(times, parameter):
        p = parameter.numel()
        return times(torch.eye(p, dtype=parameter.dtype).reshape(p, *parameter.shape)).reshape(p, p)
    return torch.block_diag(*[block(times, parameter) for times, parameter in zip(s.saved(extension, field), s.parameters)])


def _ggn_product(s):
    f = s.model(s.X)
    return _flat(ggn_vector_product_from_plist(s.cost(f, s.y), f, s.parameters, s.like_parameters(s.vector)))


def _ggn_of_last_layer(s):
    """Products with every unit vector of the last layer's parameters."""
    last = s.parameters[-1 - s.problem.bias:]
    units = torch.eye(sum(parameter.numel() for parameter in last), dtype=s.X.dtype)
    f = s.model(s.X)
    loss = s.cost(f, s.y)
    parts = [unit.split([parameter.numel() for parameter in last]) for unit in units]
    return torch.stack([_flat(ggn_vector_product_from_plist(
        loss, f, last, [part.reshape(parameter.shape) for part, parameter in zip(row, last)])) for row in parts])


def _answers(function):
    """The adapter's function: a numpy array from a tensor."""
    return lambda state: function(state).detach().numpy()


forward = _answers(lambda s: s.model(s.X))
loss = _answers(State.loss)
gradient = _answers(lambda s: _per_datum(s).sum(0))
ggn_full = _answers(lambda s: _gram(s.saved("SqrtGGNExact", "sqrt_ggn_exact")))
ggn_diag = _answers(lambda s: _flat(s.saved("DiagGGNExact", "diag_ggn_exact")))
ggn_vp = _answers(_ggn_product)
ggn_blockdiag = _answers(lambda s: _blocks(s, "GGNMP", "ggnmp"))
ggn_lastlayer = _answers(_ggn_of_last_layer)
ggn_kfac = _answers(lambda s: _kronecker(s.saved("KFLR", "kflr")))
ggn_kfra = _answers(lambda s: _kronecker(s.saved("KFRA", "kfra")))
hessian_diag = _answers(lambda s: _flat(s.saved("DiagHessian", "diag_h")))
hessian_blockdiag = _answers(lambda s: _blocks(s, "HMP", "hmp"))
hessian_hvp = _answers(lambda s: _flat(hessian_vector_product(s.loss(), s.parameters, s.like_parameters(s.vector))))
fisher_diag = _answers(lambda s: _flat(s.saved("BatchDiagGGNExact", "diag_ggn_exact_batch"), 1).sum(0))
fisher_kfac = _answers(lambda s: _kronecker(s.saved("KFLR", "kflr")))
fisher_empirical = _answers(_empirical)
fisher_empirical_diag = _answers(lambda s: _flat(s.saved("SumGradSquared", "sum_grad_squared")))
fisher_mc = _answers(lambda s: _gram(s.sampled("SqrtGGNMC", "sqrt_ggn_mc")))
fisher_mc_diag = _answers(lambda s: _flat(s.sampled("DiagGGNMC", "diag_ggn_mc", draws=2)))
fisher_mc_kfac = _answers(lambda s: _kronecker(s.sampled("KFAC", "kfac")))
