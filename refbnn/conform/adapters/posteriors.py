"""The real posteriors package: its Laplace and variational transforms and its curvature functions; nothing is converted.

tests/peers/README.md makes the environment. Parameters are the dictionary of an ordinary torch module turned to float64; torch's
default dtype stays float32 unless the variable REFBNN_TORCH_DEFAULT_DTYPE says float64. Every likelihood is a function, as
the package has it. The prior enters as `init_prec`, in the package's own order; data come in batches of 4, which the Laplace
transforms add up.
"""
from __future__ import annotations

import os
import warnings
from importlib import metadata
from unittest import mock

import torch
from optree.integrations.torch import tree_ravel
from torch.func import functional_call

from refbnn.conform.adapters.torch import likelihood, network

warnings.simplefilter("ignore")  # of tensordict, at import
import posteriors as package  # noqa: E402
from posteriors import laplace  # noqa: E402

DTYPE = os.environ.get("REFBNN_TORCH_DEFAULT_DTYPE", "float32")
torch.set_default_dtype(getattr(torch, DTYPE))
name = "posteriors"
version = metadata.version(name) + ("" if DTYPE == "float32" else f" with torch default dtype {DTYPE}")
# Trees answer tensor by tensor; matrices are in optree's order, keys sorted: "0.bias" before "0.weight".
MATRICES = ("ggn.full", "hessian.full", "fisher.empirical", "fisher.mc", "laplace.precision", "laplace.hessian.precision")
conventions = {f"parameters.order@{quantity}": "bias_first" for quantity in MATRICES}


class State:
    """The problem as functions of a dictionary of parameters and a batch."""

    def __init__(self, problem):
        self.problem, self.model, self.density = problem, network(problem), likelihood(problem)
        self.params = {key: value.detach() for key, value in self.model.named_parameters()}
        self.X, self.y, self.labels, self.vector, self.precision = map(torch.tensor, (
            problem.X, problem.y, problem.labels, problem.vector, problem.prior_precision))
        order = tree_ravel(self.tree(torch.arange(len(self.vector))))[0]
        self.ravelled_precision = self.precision[order][:, order]

    def forward(self, params, batch):
        """Outputs of a batch, and nothing beside."""
        return functional_call(self.model, params, (batch[0],)), torch.tensor([])

    def outer(self, f, batch):
        """log p(y | f) of a batch."""
        return -torch.func.vmap(self.density.loss)(f, batch[1]).sum()

    def each(self, params, batch):
        """log p(y | θ) of each datum."""
        return -torch.func.vmap(self.density.loss)(self.forward(params, batch)[0], batch[1]), torch.tensor([])

    def whole(self, params, batch):
        """Their sum."""
        return self.each(params, batch)[0].sum(), torch.tensor([])

    def tree(self, theta):
        """A vector in θ's order as such a dictionary."""
        parts = theta.split([value.numel() for value in self.params.values()])
        return {key: part.view_as(value) for (key, value), part in zip(self.params.items(), parts)}

    def fitted(self, transform, batches=None):
        """The transform's state after all batches."""
        state = transform.init(self.params)
        for batch in batches or zip(self.X.split(4), self.y.split(4)):
            state, _ = transform.update(state, batch)
        return state

    def dense(self, prior=None):
        """The dense GGN transform; without a prior, its own default of none."""
        return self.fitted(laplace.dense_ggn.build(self.forward, self.outer, 0.0 if prior is None else prior))

    def diagonal(self, prior):
        return self.fitted(laplace.diag_ggn.build(self.forward, self.outer, self.tree(prior)))

    def from_hessian(self, prior=None):
        return self.fitted(laplace.dense_hessian.build(self.whole, 0.0 if prior is None else prior))

    def empirical(self, targets):
        """The dense empirical Fisher's transform, of log p(y | θ)."""
        return self.fitted(laplace.dense_fisher.build(self.each, per_sample=True), zip(self.X.split(4), targets.split(4))).prec

    def empirical_diagonal(self, targets):
        """The package takes the function of a whole batch apart."""
        return _flat(self.fitted(laplace.diag_fisher.build(self.whole), zip(self.X.split(4), targets.split(4))).prec_diag)


def _flat(tree):
    """A dictionary of parameters as a vector in θ's order."""
    return torch.cat([value.flatten() for value in tree.values()])


def _product(s, function):
    """A product with a matrix that the package never forms, by one of its functions of (primals, tangents)."""
    return _flat(function((s.params,), (s.tree(s.vector),))[1])


def _fisher_product(s, targets):
    return _product(s, lambda at, along: package.fvp(lambda params: s.each(params, (s.X, targets))[0], at, along))


def _ggn_product(s):
    return _product(s, lambda at, along: package.ggnvp(lambda params: s.forward(params, (s.X, s.y))[0],
                                                       lambda f: -s.outer(f, (s.X, s.y)), at, along))


def _hessian_product(s):
    return -_product(s, lambda at, along: package.hvp(lambda params: s.whole(params, (s.X, s.y))[0], at, along))


class Drawn:
    """Stands for a source of normals: hands out the given rows, in the shape and dtype that is asked for."""

    def __init__(self, s):
        self.rows, self.at = torch.tensor(s.problem.normals), 0

    def flat(self, shape, dtype=None, device=None):
        """All parameters of so many draws at once."""
        if tuple(shape) != tuple(self.rows.shape):
            raise ValueError(f"the package drew normals of shape {tuple(shape)}, expected {tuple(self.rows.shape)}")
        return self.rows.to(dtype or torch.get_default_dtype())

    def tensor(self, shape, device=None):
        """The next parameter tensor of every draw."""
        size = shape[1:].numel()
        found = self.rows[:, self.at:self.at + size].reshape(shape)
        self.at += size
        return found.to(torch.get_default_dtype())


def _draws(s, drawn):
    """A dictionary of so many draws as rows in θ's order."""
    return torch.cat([drawn[key].flatten(1) for key in s.params], 1)


def _sample_dense(s):
    with mock.patch("torch.distributions.multivariate_normal._standard_normal", Drawn(s).flat):
        return _draws(s, laplace.dense_ggn.sample(s.dense(s.ravelled_precision), torch.Size([len(s.problem.normals)])))


def _sample_diagonal(s):
    with mock.patch.object(torch, "randn", Drawn(s).tensor):
        return _draws(s, laplace.diag_ggn.sample(s.diagonal(s.precision.diagonal()), torch.Size([len(s.problem.normals)])))


def _linearised(s, precision):
    """Mean and a root of the covariance of the linearised network at the new inputs, for these precisions of parameters."""
    widths = {key: value.rsqrt() for key, value in precision.items()}
    return package.linearized_forward_diag(s.forward, s.params, (torch.tensor(s.problem.X_new),), widths)[:2]


def _variance(s):
    root = _linearised(s, s.diagonal(s.precision.diagonal()).prec_diag)[1]
    return root @ root.mT


def prepare(problem) -> State:
    """The state that every function below takes."""
    return State(problem)


def _answers(function):
    """The adapter's function: a numpy array from a tensor."""
    return lambda state: function(state).detach().numpy()


ggn_full = _answers(lambda s: s.dense().prec)
ggn_diag = _answers(lambda s: _flat(s.diagonal(0 * s.vector).prec_diag))
ggn_vp = _answers(_ggn_product)
hessian_full = _answers(lambda s: s.from_hessian().prec)
hessian_hvp = _answers(_hessian_product)
fisher_empirical = _answers(lambda s: s.empirical(s.y))
fisher_empirical_diag = _answers(lambda s: s.empirical_diagonal(s.y))
fisher_empirical_vp = _answers(lambda s: _fisher_product(s, s.y))
fisher_mc = _answers(lambda s: s.empirical(s.labels))
fisher_mc_diag = _answers(lambda s: s.empirical_diagonal(s.labels))
fisher_mc_vp = _answers(lambda s: _fisher_product(s, s.labels))
laplace_precision = _answers(lambda s: s.dense(s.ravelled_precision).prec)
laplace_sample = _answers(_sample_dense)
laplace_diag_variance = _answers(lambda s: 1 / _flat(s.diagonal(s.precision.diagonal()).prec_diag))
laplace_diag_sample = _answers(_sample_diagonal)
laplace_hessian_precision = _answers(lambda s: s.from_hessian(s.ravelled_precision).prec)
predictive_glm_mean = _answers(lambda s: _linearised(s, s.tree(s.precision.diagonal()))[0])
predictive_diag_variance = _answers(_variance)
