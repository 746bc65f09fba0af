"""The real posteriors package: its Laplace and variational transforms and its curvature functions; nothing is converted.

tests/peers/README.md makes the environment. Parameters are the dictionary of an ordinary torch module turned to float64; torch's
default dtype stays float32 unless the variable REFBNN_TORCH_DEFAULT_DTYPE says float64. Every likelihood is a function, as
the package has it. The prior enters as `init_prec`, in the package's own order; data come in batches of 4, which the Laplace
transforms add up.
"""
from __future__ import annotations

import math
import os
import warnings
from functools import cached_property
from importlib import metadata
from unittest import mock

import torch
from optree import tree_map
from optree.integrations.torch import tree_ravel
from torch.func import functional_call

from refbnn.conform.adapters.torch import likelihood, network

warnings.simplefilter("ignore")  # of tensordict, at import
import posteriors as package  # noqa: E402
from posteriors import laplace, vi  # noqa: E402

DTYPE = os.environ.get("REFBNN_TORCH_DEFAULT_DTYPE", "float32")
torch.set_default_dtype(getattr(torch, DTYPE))
name = "posteriors"
version = metadata.version(name) + ("" if DTYPE == "float32" else f" with torch default dtype {DTYPE}")
# Trees answer tensor by tensor; matrices are in optree's order, keys sorted: "0.bias" before "0.weight".
MATRICES = ("ggn.full", "hessian.full", "fisher.empirical", "fisher.mc", "laplace.precision", "laplace.hessian.precision")
# Of variational inference it returns what is minimised, with log q at the draws; vi.diag steps in log widths.
conventions = {**{f"parameters.order@{quantity}": "bias_first" for quantity in MATRICES}, "vi.sign": "negative",
               "vi.divergence": "sampled", "vi.scale.by@vi.elbo.gradient.scale": "log_scale"}


class State:
    """The problem as functions of a dictionary of parameters and a batch."""

    def __init__(self, problem):
        self.problem, self.model, self.density = problem, network(problem), likelihood(problem)
        self.params = {key: value.detach() for key, value in self.model.named_parameters()}
        self.X, self.y, self.labels, self.vector, self.precision = map(torch.tensor, (
            problem.X, problem.y, problem.labels, problem.vector, problem.prior_precision))
        self.theta, self.mean, self.normals = map(torch.tensor, (problem.theta, problem.prior_mean, problem.normals))
        self.order = tree_ravel(self.tree(torch.arange(len(self.vector))))[0]
        self.ravelled_precision = self.precision[self.order][:, self.order]

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

    def log_posterior(self, params, batch):
        """log p(y, θ), every constant kept."""
        theta = torch.cat([params[key].flatten() for key in self.params])
        away, constant = theta - self.mean, torch.logdet(self.precision) - len(theta) * math.log(2 * math.pi)
        return self.whole(params, batch)[0] + 0.5 * (constant - away @ self.precision @ away), torch.tensor([])

    def log_posterior_of_vector(self, params, batch):
        """The same of a tree that holds θ as one tensor."""
        return self.log_posterior(self.tree(params["theta"]), batch)

    @cached_property
    def diagonal_bound(self):
        """The bound and its slopes by mean and log widths, with the given normals in the order of optree."""
        drawn = Drawn(self.normals[:, self.order])
        with mock.patch.object(torch, "randn", drawn.tensor):
            return self.bound(vi.diag, self.log_posterior, self.params, init_log_sds=self.tree(self.vector.abs().log()))

    @cached_property
    def dense_bound(self):
        """The same by mean and packed lower triangle. θ is one tensor, so that the triangle is that of the problem's order."""
        with mock.patch(NORMALS, Drawn(self.normals).flat):
            C = torch.tensor(self.problem.scale)
            return self.bound(vi.dense, self.log_posterior_of_vector, {"theta": self.theta}, init_L=C)

    def bound(self, method, density, params, **start):
        """The state after one update of the package, and the slopes that its optimiser was given.

        Its own draws cannot be chosen, so that for this call its source of normals gives those of the problem. The total
        derivative is asked for: sticking the landing estimates another one.
        """
        seen = Watched()
        transform = method.build(density, seen, n_samples=len(self.normals), stl=False, **start)
        state, _ = transform.update(transform.init(params), (self.X, self.y))
        return state.nelbo, seen.slopes

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


NORMALS = "torch.distributions.multivariate_normal._standard_normal"


class Drawn:
    """Stands for a source of normals: hands out the given rows, in the shape and dtype that is asked for."""

    def __init__(self, rows):
        self.rows, self.at = rows, 0

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


class Watched:
    """Stands for an optimiser: keeps the slopes that it is given and takes no step."""

    def init(self, params):
        return ()

    def update(self, slopes, state, *, params=None, inplace=False):
        self.slopes = slopes
        return tree_map(torch.zeros_like, slopes), state


def _lower(packed, size):
    """The lower triangle in its places."""
    rows, columns = torch.tril_indices(size, size)
    return torch.zeros(size, size, dtype=packed.dtype).index_put((rows, columns), packed)


def _draws(s, drawn):
    """A dictionary of so many draws as rows in θ's order."""
    return torch.cat([drawn[key].flatten(1) for key in s.params], 1)


def _sample_dense(s):
    with mock.patch(NORMALS, Drawn(s.normals).flat):
        return _draws(s, laplace.dense_ggn.sample(s.dense(s.ravelled_precision), torch.Size([len(s.problem.normals)])))


def _sample_diagonal(s):
    with mock.patch.object(torch, "randn", Drawn(s.normals[:, s.order]).tensor):
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
vi_elbo = _answers(lambda s: s.diagonal_bound[0])
vi_elbo_gradient_mean = _answers(lambda s: _flat(s.diagonal_bound[1][0]))
vi_elbo_gradient_scale = _answers(lambda s: _flat(s.diagonal_bound[1][1]))
vi_full_elbo = _answers(lambda s: s.dense_bound[0])
vi_full_elbo_gradient_mean = _answers(lambda s: s.dense_bound[1][0]["theta"])
vi_full_elbo_gradient_scale = _answers(lambda s: _lower(s.dense_bound[1][1], len(s.theta)))
