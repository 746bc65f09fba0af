"""Plain PyTorch in float64: every quantity from automatic differentiation (torch.func), by no formula of this package.

Needs torch, which refbnn does not install (tests/peers/README.md says how to get a CPU build).
"""
from __future__ import annotations

import math
from types import SimpleNamespace

import torch
from torch import nn
from torch.distributions import MultivariateNormal, Normal
from torch.func import functional_call, grad, hessian, jacrev, jvp, vmap
from torch.nn import functional as F

from refbnn.conform.problem import ARRAYS

name, version = "torch", torch.__version__
conventions: dict[str, str] = {}


class Elementwise(nn.Module):
    """A function as a layer."""

    def __init__(self, function):
        super().__init__()
        self.forward = function


# nn.Softplus() turns linear above z = 20, which costs 2e-9; above 50 that costs nothing in float64.
ACTIVATIONS = {
    "identity": nn.Identity, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "softplus": lambda: nn.Softplus(threshold=50),
    "sin": lambda: Elementwise(torch.sin), "silu": nn.SiLU, "gelu": nn.GELU, "gelu_tanh": lambda: nn.GELU("tanh"),
    "erf": lambda: Elementwise(torch.erf), "square": lambda: Elementwise(torch.square), "relu": nn.ReLU,
}


def network(problem) -> nn.Sequential:
    """The problem's network as an ordinary float64 module, its parameters set to θ by torch's own order."""
    layers: list[nn.Module] = []
    for into, out in zip(problem.sizes[:-1], problem.sizes[1:]):
        slope = problem.slope
        layers += [nn.Linear(into, out, bias=problem.bias),
                   nn.LeakyReLU(slope) if slope is not None else ACTIVATIONS[problem.activation]()]
    model = nn.Sequential(*layers[:-1]).double()
    nn.utils.vector_to_parameters(torch.tensor(problem.theta), model.parameters())
    return model.requires_grad_(True)


# Per likelihood, at one datum's outputs f (k): loss with all constants, mean of y, covariance of r = ∂ℓ/∂f under the model.
def _normal(variance):
    return SimpleNamespace(
        loss=lambda f, y: -Normal(f, math.sqrt(variance)).log_prob(y).sum(),
        mean=lambda f: f, fisher=lambda f: torch.eye(len(f), dtype=f.dtype) / variance)


_bernoulli = SimpleNamespace(
    loss=lambda f, y: F.binary_cross_entropy_with_logits(f, y, reduction="sum"),
    mean=torch.sigmoid, fisher=lambda f: torch.diag(torch.sigmoid(f) * torch.sigmoid(-f)))
_poisson = SimpleNamespace(
    loss=lambda f, y: (F.poisson_nll_loss(f, y, reduction="none") + torch.lgamma(y + 1)).sum(),
    mean=torch.exp, fisher=lambda f: torch.diag(torch.exp(f)))


def _categorical_fisher(f):
    """Σ_c p_c r_c r_cᵀ with r_c = p − e_c: the expectation as a sum over all labels."""
    p = torch.softmax(f, dim=-1)
    r = p - torch.eye(len(f), dtype=f.dtype)
    return torch.einsum("c,ci,cj->ij", p, r, r)


_categorical = SimpleNamespace(
    loss=lambda f, y: F.cross_entropy(f, y, reduction="sum"),
    mean=lambda f: torch.softmax(f, dim=-1), fisher=_categorical_fisher)


def _likelihood(problem):
    others = {"bernoulli": _bernoulli, "poisson": _poisson, "categorical": _categorical}
    return _normal(problem.variance) if problem.likelihood == "normal" else others[problem.likelihood]


class State:
    """The model as functions of the flat θ, and the data as tensors."""

    def __init__(self, problem):
        self.model, self.likelihood = network(problem), _likelihood(problem)
        for array in ARRAYS:
            setattr(self, array, torch.tensor(getattr(problem, array)))

    def f(self, theta, X):
        """Outputs n k at flat parameters θ."""
        named = list(self.model.named_parameters())
        parts = theta.split([value.numel() for _, value in named])
        return functional_call(self.model, {key: part.view_as(value) for (key, value), part in zip(named, parts)}, (X,))

    def losses(self, theta, y):
        """ℓ of each datum, n."""
        return vmap(self.likelihood.loss)(self.f(theta, self.X), y)

    def loss(self, theta):
        return self.losses(theta, self.y).sum()

    def jacobian(self, X):
        return jacrev(self.f)(self.theta, X)

    def pulled_back(self, middle):
        """Σ_n J_nᵀ M_n J_n."""
        J = self.jacobian(self.X)
        return torch.einsum("nip,nij,njq->pq", J, middle, J)

    def outer_products(self, y):
        """Σ_n g_n g_nᵀ with g_n the gradient of datum n's loss."""
        g = jacrev(self.losses)(self.theta, y)
        return g.T @ g

    def ggn(self):
        return self.pulled_back(vmap(hessian(self.likelihood.loss))(self.f(self.theta, self.X), self.y))

    def hessian(self):
        return hessian(self.loss)(self.theta)

    def log_joint(self):
        prior = MultivariateNormal(self.prior_mean, precision_matrix=self.prior_precision)
        return prior.log_prob(self.theta) - self.loss(self.theta)

    def log_evidence(self, curvature):
        volume = len(self.theta) * math.log(2 * math.pi) - torch.logdet(curvature + self.prior_precision)
        return self.log_joint() + 0.5 * volume


def _covariance(precision):
    return torch.cholesky_inverse(torch.linalg.cholesky(precision))


def _scale(precision):
    """C = L⁻ᵀ with L Lᵀ = P, so that C Cᵀ = P⁻¹."""
    factor = torch.linalg.cholesky(precision)
    return torch.linalg.solve_triangular(factor.T, torch.eye(len(factor), dtype=factor.dtype), upper=True)


def _predictive_covariance(s):
    J = s.jacobian(s.X_new)
    return torch.einsum("mip,pq,mjq->mij", J, _covariance(s.ggn() + s.prior_precision), J)


def prepare(problem) -> State:
    """The state that every function below takes."""
    return State(problem)


def _answers(function):
    """The adapter's function: a numpy array from a tensor."""
    return lambda state: function(state).detach().numpy()


forward = _answers(lambda s: s.f(s.theta, s.X))
loss = _answers(lambda s: s.loss(s.theta))
log_joint = _answers(State.log_joint)
gradient = _answers(lambda s: grad(s.loss)(s.theta))
jacobian = _answers(lambda s: s.jacobian(s.X))
ggn_full = _answers(State.ggn)
ggn_diag = _answers(lambda s: s.ggn().diagonal())
hessian_full = _answers(State.hessian)
hessian_diag = _answers(lambda s: s.hessian().diagonal())
hessian_hvp = _answers(lambda s: jvp(grad(s.loss), (s.theta,), (s.vector,))[1])
fisher_full = _answers(lambda s: s.pulled_back(vmap(s.likelihood.fisher)(s.f(s.theta, s.X))))
fisher_empirical = _answers(lambda s: s.outer_products(s.y))
fisher_empirical_diag = _answers(lambda s: jacrev(s.losses)(s.theta, s.y).square().sum(0))
fisher_mc = _answers(lambda s: s.outer_products(s.labels))
laplace_precision = _answers(lambda s: s.ggn() + s.prior_precision)
laplace_covariance = _answers(lambda s: _covariance(s.ggn() + s.prior_precision))
laplace_scale = _answers(lambda s: _scale(s.ggn() + s.prior_precision))
laplace_log_det = _answers(lambda s: torch.logdet(s.ggn() + s.prior_precision))
laplace_log_evidence = _answers(lambda s: s.log_evidence(s.ggn()))
laplace_sample = _answers(lambda s: s.theta + s.normals @ _scale(s.ggn() + s.prior_precision).T)
laplace_hessian_precision = _answers(lambda s: s.hessian() + s.prior_precision)
laplace_hessian_covariance = _answers(lambda s: _covariance(s.hessian() + s.prior_precision))
laplace_hessian_log_det = _answers(lambda s: torch.logdet(s.hessian() + s.prior_precision))
laplace_hessian_log_evidence = _answers(lambda s: s.log_evidence(s.hessian()))
predictive_glm_mean = _answers(lambda s: s.f(s.theta, s.X_new))
predictive_glm_variance = _answers(_predictive_covariance)
predictive_mc = _answers(lambda s: vmap(vmap(s.likelihood.mean))(vmap(s.f, (0, None))(s.draws, s.X_new)).mean(0))
