"""Plain PyTorch in float64: every quantity from automatic differentiation (torch.func), by no formula of this package.

Needs torch, which refbnn does not install (tests/peers/README.md says how to get a CPU build).
"""
from __future__ import annotations

import math
from functools import lru_cache
from types import SimpleNamespace

import torch
from torch import nn
from torch.distributions import Gamma, Independent, MultivariateNormal, NegativeBinomial, Normal, Poisson, StudentT, kl_divergence
from torch.func import functional_call, grad, hessian, jacrev, jvp, vjp, vmap
from torch.nn import functional as F

from refbnn.conform.adapters import torch_hmc
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


def _independent(log_prob, mean, information):
    """A likelihood with one target an output, from functions of all outputs and targets at once."""
    return SimpleNamespace(loss=lambda f, y: -log_prob(f, y).sum(), mean=mean, fisher=lambda f: torch.diag(information(f)))


def _levels(log_prob, mean, number):
    """The same with outcomes 0 ... number − 1: E[r²] is a sum over them, r by differentiation."""
    def information(f):
        y = torch.arange(number, dtype=f.dtype)[:, None].expand(number, len(f))
        score = vmap(grad(lambda f, y: log_prob(f, y).sum()), (None, 0))(f, y)
        return (log_prob(f.expand(number, -1), y).exp() * score ** 2).sum(0)
    return _independent(log_prob, mean, information)


def _probit(parameters):
    def log_prob(f, y):
        return torch.special.log_ndtr((2 * y - 1) * f)
    return _levels(log_prob, torch.special.ndtr, 2)


def _cloglog(parameters):
    def log_prob(f, y):
        return torch.where(y == 1, torch.log(-torch.expm1(-f.exp())), -f.exp())
    return _levels(log_prob, lambda f: -torch.expm1(-f.exp()), 2)


def _ordinal(parameters):
    cuts = torch.tensor(parameters["cut_points"], dtype=torch.float64)

    def log_prob(f, y):
        ends = torch.cat([torch.tensor([-50.0], dtype=f.dtype), cuts, torch.tensor([50.0], dtype=f.dtype)])
        upper, lower = ends[y.long() + 1], ends[y.long()]
        below = torch.where(y == 0, 0.0, F.logsigmoid(f - lower))
        return below + torch.where(y == len(cuts), 0.0, F.logsigmoid(upper - f)) + torch.where(
            (y == 0) | (y == len(cuts)), 0.0, torch.log(-torch.expm1(lower - upper)))
    return _levels(log_prob, lambda f: torch.sigmoid(f[:, None] - cuts).sum(-1), len(cuts) + 1)


def _counts(rate, information):
    return lambda parameters: _independent(lambda f, y: Poisson(rate(f), validate_args=False).log_prob(y), rate, information)


def _softplus(f):
    return F.softplus(f, threshold=50)


def _negative_binomial(parameters):
    rho = parameters["dispersion"]
    return _independent(lambda f, y: NegativeBinomial(rho, logits=f - math.log(rho), validate_args=False).log_prob(y), torch.exp,
                        lambda f: rho * torch.sigmoid(f - math.log(rho)))


def _gamma(parameters):
    shape = torch.tensor(parameters["shape"], dtype=torch.float64)
    return _independent(lambda f, y: Gamma(shape, shape * torch.exp(-f), validate_args=False).log_prob(y), torch.exp,
                        lambda f: shape.expand(len(f)))


def _student_t(parameters):
    scale, nu = (torch.tensor(parameters[key], dtype=torch.float64) for key in ("scale", "degrees_of_freedom"))
    return _independent(lambda f, y: StudentT(nu, f, scale, validate_args=False).log_prob(y), lambda f: f,
                        lambda f: ((nu + 1) / (nu + 3) / scale ** 2).expand(len(f)))


def _normal_full(parameters):
    noise = torch.tensor(parameters["noise"], dtype=torch.float64)
    return SimpleNamespace(
        loss=lambda f, y: -MultivariateNormal(f, noise, validate_args=False).log_prob(y),
        mean=lambda f: f, fisher=lambda f: torch.linalg.inv(noise))


def _heteroscedastic(parameters):
    return SimpleNamespace(
        loss=lambda f, y: -Normal(f[0::2], torch.exp(0.5 * f[1::2]), validate_args=False).log_prob(y).sum(),
        mean=lambda f: f[0::2],
        fisher=lambda f: torch.diag(torch.stack([torch.exp(-f[1::2]), torch.full_like(f[1::2], 0.5)], -1).flatten()))


def _pairs(log_prob, mean, information):
    """A likelihood with two outputs (a, b) a target, from functions of all a, all b and all targets at once."""
    def fisher(f):
        aa, ab, bb = (value.expand(len(f) // 2) for value in information(f[0::2], f[1::2]))
        blocks = torch.stack([torch.stack([aa, ab], -1), torch.stack([ab, bb], -1)], -1)
        return torch.einsum("tij,tu->tiuj", blocks, torch.eye(len(aa), dtype=f.dtype)).reshape(len(f), len(f))
    return SimpleNamespace(loss=lambda f, y: -log_prob(f[0::2], f[1::2], y).sum(), mean=lambda f: mean(f[0::2], f[1::2]),
                           fisher=fisher)


def _natural(parameters):
    def information(a, b):
        v = -0.5 / b
        return v, 2 * a * v ** 2, 4 * a ** 2 * v ** 3 + 2 * v ** 2
    return _pairs(lambda a, b, y: Normal(-0.5 * a / b, (-0.5 / b).sqrt(), validate_args=False).log_prob(y),
                  lambda a, b: -0.5 * a / b, information)


def _precision(parameters):
    return _pairs(lambda a, b, y: Normal(a * torch.exp(-b), torch.exp(-b / 2), validate_args=False).log_prob(y),
                  lambda a, b: a * torch.exp(-b),
                  lambda a, b: (torch.exp(-b), -a * torch.exp(-b), a ** 2 * torch.exp(-b) + 0.5))


def _student_t_of_pairs(parameters):
    nu = torch.tensor(parameters["degrees_of_freedom"], dtype=torch.float64)
    return _pairs(lambda a, b, y: StudentT(nu, a, torch.exp(b), validate_args=False).log_prob(y), lambda a, b: a,
                  lambda a, b: ((nu + 1) / (nu + 3) * torch.exp(-2 * b), torch.zeros_like(a), 2 * nu / (nu + 3)))


def _gamma_of_pairs(parameters):
    return _pairs(lambda a, b, y: Gamma(torch.exp(b), torch.exp(b - a), validate_args=False).log_prob(y),
                  lambda a, b: torch.exp(a),
                  lambda a, b: (torch.exp(b), torch.zeros_like(a), torch.exp(2 * b) * torch.polygamma(1, b.exp()) - torch.exp(b)))


def _negative_binomial_of_pairs(parameters):
    def log_prob(a, b, y):
        return NegativeBinomial(torch.exp(b), logits=a - b, validate_args=False).log_prob(y)

    def information(a, b):
        y = torch.arange(1000, dtype=a.dtype)[:, None].expand(1000, len(a))
        score = vmap(grad(lambda b, y: log_prob(a, b, y).sum()), (None, 0))(b, y)
        mixed = (log_prob(a, b, y).exp() * score ** 2).sum(0)
        return 1 / (torch.exp(-a) + torch.exp(-b)), torch.zeros_like(a), mixed
    return _pairs(log_prob, lambda a, b: torch.exp(a), information)


_LIKELIHOODS = {
    "heteroscedastic_natural": _natural, "heteroscedastic_precision": _precision,
    "heteroscedastic_student_t": _student_t_of_pairs, "heteroscedastic_gamma": _gamma_of_pairs,
    "heteroscedastic_negative_binomial": _negative_binomial_of_pairs,
    "bernoulli": lambda parameters: _bernoulli, "poisson": lambda parameters: _poisson,
    "categorical": lambda parameters: _categorical, "normal_full": _normal_full, "heteroscedastic": _heteroscedastic,
    "student_t": _student_t, "bernoulli_probit": _probit, "bernoulli_cloglog": _cloglog, "ordinal": _ordinal,
    "poisson_softplus": _counts(_softplus, lambda f: torch.sigmoid(f) ** 2 / _softplus(f)),
    "poisson_square": _counts(torch.square, lambda f: torch.full_like(f, 4.0)),
    "negative_binomial": _negative_binomial, "gamma": _gamma,
}


def likelihood(problem):
    if problem.likelihood == "normal":
        return _normal(problem.variance)
    return _LIKELIHOODS[problem.likelihood](problem.likelihood_parameters)


class State:
    """The model as functions of the flat θ, and the data as tensors."""

    def __init__(self, problem):
        self.model, self.likelihood = network(problem), likelihood(problem)
        self.name, self.rank = problem.likelihood, problem.rank
        self.layer_sizes, self.bias, self.variance = list(problem.layer_sizes), problem.bias, problem.variance
        for array in ARRAYS:
            setattr(self, array, torch.tensor(getattr(problem, array)))
        self.best = lru_cache(lambda correlated: _optimum(self, correlated))

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

    def outer_products(self, y, centred=False):
        """Σ_n g_n g_nᵀ with g_n the gradient of datum n's loss; `centred`: less their mean."""
        g = jacrev(self.losses)(self.theta, y)
        g = g - g.mean(0) if centred else g
        return g.T @ g

    def outer_product_times_vector(self, y):
        """Σ_n g_n (g_n · v): g · v forwards, the sum backwards."""
        _, along = jvp(lambda theta: self.losses(theta, y), (self.theta,), (self.vector,))
        return vjp(lambda theta: self.losses(theta, y), self.theta)[1](along)[0]

    def layer_blocks(self, matrix):
        """The matrix, zero outside the blocks of the layers."""
        sizes = self.layer_sizes
        return torch.block_diag(*[row.split(sizes, 1)[i] for i, row in enumerate(matrix.split(sizes))])

    def unit_blocks(self, matrix):
        """The matrix, zero unless row and column belong to one unit: its weights are a row of a weight matrix."""
        unit, first = [], 0
        for parameter in self.model.parameters():
            rows = first + torch.arange(len(parameter))
            unit.append(rows.repeat_interleave(parameter[0].numel()))
            first += len(parameter) if parameter.ndim == 1 or not self.bias else 0
        unit = torch.cat(unit)
        return torch.where(unit[:, None] == unit, matrix, 0.0)

    def ggn_product(self):
        """Jᵀ Λ J v without G."""
        _, along = jvp(lambda theta: self.f(theta, self.X), (self.theta,), (self.vector,))
        bent = torch.einsum("nij,nj->ni", self.curvatures(), along)
        return vjp(lambda theta: self.f(theta, self.X), self.theta)[1](bent)[0]

    def expected_outer_products(self):
        """E[r rᵀ] of each datum, n k k."""
        return vmap(self.likelihood.fisher)(self.f(self.theta, self.X))

    def outer_products_at(self, y):
        """r rᵀ of each datum at these targets, n k k."""
        r = vmap(grad(self.likelihood.loss))(self.f(self.theta, self.X), y)
        return torch.einsum("ni,nj->nij", r, r)

    def curvatures(self):
        """Λ of each datum, n k k."""
        return vmap(hessian(self.likelihood.loss))(self.f(self.theta, self.X), self.y)

    def fisher(self):
        return self.pulled_back(self.expected_outer_products())

    def kernel(self):
        J = self.jacobian(self.X)
        return torch.einsum("nip,mjp->nimj", J, J)

    def ggn(self):
        return self.pulled_back(self.curvatures())

    def hessian(self):
        return hessian(self.loss)(self.theta)

    def log_joint(self):
        prior = MultivariateNormal(self.prior_mean, precision_matrix=self.prior_precision)
        return prior.log_prob(self.theta) - self.loss(self.theta)

    def log_evidence(self, curvature):
        volume = len(self.theta) * math.log(2 * math.pi) - torch.logdet(curvature + self.prior_precision)
        return self.log_joint() + 0.5 * volume


def _pushed(model, offsets, x):
    """The inputs of every linear layer at one x, and the outputs, when offsets are added to what the linear layers give."""
    inputs, offsets = [], iter(offsets)
    for module in model:
        if isinstance(module, nn.Linear):
            inputs.append(x)
            x = module(x) + next(offsets)
        else:
            x = module(x)
    return x, inputs


def _factors(s, middle):
    """A and B of each layer: (1/N) Σ ā āᵀ with ā = (a, 1), and Σ_n Δ_nᵀ M_n Δ_n, Δ = ∂f/∂z by automatic differentiation."""
    linear = [module for module in s.model if isinstance(module, nn.Linear)]
    zeros = tuple(torch.zeros(layer.out_features, dtype=torch.float64) for layer in linear)
    signals, inputs = vmap(lambda x: jacrev(lambda z: _pushed(s.model, z, x), has_aux=True)(zeros))(s.X)
    for layer, a, delta in zip(linear, inputs, signals):
        a = torch.cat([a, torch.ones(len(a), 1, dtype=a.dtype)], 1) if layer.bias is not None else a
        yield a.T @ a / len(a), torch.einsum("nka,nkl,nlb->ab", delta, middle, delta)


def _kron(B, A):
    """B ⊗ A; torch.kron of torch 2.13 raises for operands that are not contiguous."""
    return torch.einsum("ij,ab->iajb", B, A).reshape(len(B) * len(A), -1)


def _layer_order(B, A, bias):
    """Where θ's entries of a layer, W row by row and then b, stand in B ⊗ A."""
    at = torch.arange(len(B) * len(A)).view(len(B), len(A))
    return torch.cat([at[:, :-1].flatten(), at[:, -1]]) if bias else at.flatten()


def _products(s, factors):
    """Per layer B ⊗ A, in θ's order."""
    blocks = []
    for A, B in factors:
        order = _layer_order(B, A, s.model[0].bias is not None)
        blocks.append(_kron(B, A)[order][:, order])
    return torch.block_diag(*blocks)


def _kfac(s, middle):
    return _products(s, _factors(s, middle))


def _kfra(s):
    """N B̄ ⊗ A with B̄ = (1/N) Σ Λ_n at the output and, one layer further down each time, (Wᵀ B̄ W) ⊙ (1/N) Σ φ′φ′ᵀ."""
    A = [A for A, _ in _factors(s, s.curvatures())]
    average = [s.curvatures().mean(0)]
    for at in range(len(s.model) - 1, 1, -2):
        slopes = vmap(vmap(grad(s.model[at - 1])))(s.model[:at - 1](s.X))
        W = s.model[at].weight
        average.insert(0, (W.T @ average[0] @ W) * (slopes.T @ slopes) / len(s.X))
    return _products(s, [(a, len(s.X) * b) for a, b in zip(A, average)])


def _eigenvectors(s, joint):
    """Orthogonal U in θ's order: per layer the eigenvectors of B ⊗ A, or of the two blocks that are left without bias terms."""
    blocks, bias = [], s.model[0].bias is not None
    for A, B in _factors(s, s.curvatures()):
        U = torch.linalg.eigh(B).eigenvectors
        if joint or not bias:
            blocks.append(_kron(U, torch.linalg.eigh(A).eigenvectors)[_layer_order(B, A, bias)])
        else:
            blocks += [_kron(U, torch.linalg.eigh(A[:-1, :-1]).eigenvectors), U]
    return torch.block_diag(*blocks)


def _ekfac(s, joint):
    """Σ_u (uᵀ G u) u uᵀ over the columns of U."""
    U = _eigenvectors(s, joint)
    return (U * torch.einsum("pi,pq,qi->i", U, s.ggn(), U)) @ U.T


def _covariance(precision):
    return torch.cholesky_inverse(torch.linalg.cholesky(precision))


def _scale(precision):
    """C = L⁻ᵀ with L Lᵀ = P, so that C Cᵀ = P⁻¹."""
    factor = torch.linalg.cholesky(precision)
    return torch.linalg.solve_triangular(factor.T, torch.eye(len(factor), dtype=factor.dtype), upper=True)


def _precision(s):
    return s.ggn() + s.prior_precision


def _spread(s, covariance, parameters=slice(None)):
    """J Σ Jᵀ of every new input, in some of the parameters."""
    J = s.jacobian(s.X_new)[..., parameters]
    return torch.einsum("mip,pq,mjq->mij", J, covariance, J)


def _kron_precision(s):
    return _kfac(s, s.curvatures()) + s.layer_blocks(s.prior_precision)


def _leading(s):
    """The leading eigenpairs of the GGN plus the prior."""
    values, V = (part[..., -s.rank:] for part in torch.linalg.eigh(s.ggn()))
    return (V * values) @ V.T + s.prior_precision


def _positive_leading(s):
    """Of the eigenpairs of the Hessian largest in size the positive ones, plus the prior."""
    values, V = torch.linalg.eigh(s.hessian())
    kept = values.abs().argsort()[-s.rank:]
    return (V[:, kept] * values[kept].clamp(min=0)) @ V[:, kept].T + s.prior_precision


def _tensors(s, matrix):
    """The matrix, zero but for the blocks of the parameter tensors."""
    sizes = [parameter.numel() for parameter in s.model.parameters()]
    return torch.block_diag(*_diagonal_blocks(matrix, sizes))


def _last(s):
    """The places of the output layer's parameters."""
    return torch.arange(len(s.theta))[-s.layer_sizes[-1]:]


def _chosen(s):
    """The places where the vector is positive."""
    return torch.nonzero(s.vector > 0)[:, 0]


def _part(matrix, places):
    return matrix[places][:, places]


def _structured_evidence(s, precision):
    """log_joint + (p/2) log 2π − ½ log |P|."""
    return s.log_joint() + 0.5 * (len(s.theta) * math.log(2 * math.pi) - torch.logdet(precision))


def _partial_evidence(s, places):
    """Laplace in some parameters, the others fixed."""
    prior = MultivariateNormal(s.prior_mean[places], precision_matrix=_part(s.prior_precision, places))
    volume = len(places) * math.log(2 * math.pi) - torch.logdet(_part(_precision(s), places))
    return prior.log_prob(s.theta[places]) - s.loss(s.theta) + 0.5 * volume


def _slope(s, curvature, prior):
    """∂/∂ log τ of the evidence of a structure, by automatic differentiation through its determinant."""
    def evidence(log_tau):
        tau = torch.exp(log_tau)
        whole = MultivariateNormal(s.prior_mean, precision_matrix=tau * s.prior_precision)
        volume = len(s.theta) * math.log(2 * math.pi) - torch.logdet(curvature + tau * prior)
        return whole.log_prob(s.theta) - s.loss(s.theta) + 0.5 * volume
    return grad(evidence)(torch.zeros((), dtype=torch.float64))


def _noise_slope(s, curvature, prior):
    """∂/∂ log σ² likewise; the curvature of a Normal is inverse to σ²."""
    errors = (s.y - s.f(s.theta, s.X)).square().sum()

    def evidence(log_ratio):
        variance = s.variance * torch.exp(log_ratio)
        fit = errors / variance + s.y.numel() * torch.log(2 * math.pi * variance)
        return -0.5 * (fit + torch.logdet(curvature * s.variance / variance + prior))
    return grad(evidence)(torch.zeros((), dtype=torch.float64))


def _diagonal(matrix):
    return torch.diag(matrix.diagonal())


def _moments(s):
    """f and its covariance at the new inputs."""
    return s.f(s.theta, s.X_new), _spread(s, _covariance(_precision(s)))


def _shrunk(s):
    f, V = _moments(s)
    return f / torch.sqrt(1 + math.pi / 8 * V.diagonal(dim1=-2, dim2=-1))


def _mean_field(s):
    """mf2 of Lu, Ie and Sha (2020)."""
    f, V = _moments(s)
    v = V.diagonal(dim1=-2, dim2=-1)
    spread = v[:, :, None] + v[:, None, :] - 2 * V
    weights = 1 / torch.exp((f[:, None, :] - f[:, :, None]) / torch.sqrt(1 + math.pi / 8 * spread)).sum(-1)
    return weights / weights.sum(-1, keepdim=True)


def _concentrations(s):
    """The bridge, logits conditioned on a sum of zero."""
    f, V = _moments(s)
    k, row = f.shape[-1], V.sum(-1)
    f = f - row * (f.sum(-1) / row.sum(-1))[:, None]
    v = V.diagonal(dim1=-2, dim2=-1) - row ** 2 / row.sum(-1)[:, None]
    return (1 - 2 / k + torch.exp(f) * torch.exp(-f).sum(-1, keepdim=True) / k ** 2) / v


def _process(s):
    """(J_new P₀⁻¹Jᵀ, J_new P₀⁻¹J_newᵀ, law of y, y less its mean) of the linearised network, outputs end to end."""
    p = len(s.theta)
    old, new = s.jacobian(s.X).reshape(-1, p), s.jacobian(s.X_new).reshape(-1, p)
    half = torch.linalg.solve(s.prior_precision, torch.cat([old, new]).T)
    K = old @ half
    noisy = K[:, :len(old)] + s.variance * torch.eye(len(old), dtype=K.dtype)
    mean = s.f(s.theta, s.X).flatten() + old @ (s.prior_mean - s.theta)
    return K[:, len(old):].T, new @ half[:, len(old):], MultivariateNormal(mean, noisy), s.y.flatten() - mean


def _process_slopes(s):
    """By log τ and log σ² of log N(e; 0, F/τ + σ²), by differentiating it."""
    _, _, law, e = _process(s)
    noise = s.variance * torch.eye(len(e), dtype=e.dtype)
    F, at = law.covariance_matrix - noise, torch.zeros(2, dtype=e.dtype, requires_grad=True)
    K = F * torch.exp(-at[0]) + noise * torch.exp(at[1])
    return torch.autograd.grad(-0.5 * (e @ torch.linalg.solve(K, e) + torch.logdet(K)), at)[0]


def _left_out(s):
    """log p(y_n | all other data), each by conditioning on these."""
    _, _, law, e = _process(s)
    K, k, found = law.covariance_matrix, s.y.shape[-1], []
    for n in range(len(s.X)):
        here = torch.arange(n * k, (n + 1) * k)
        others = torch.tensor([i for i in range(len(e)) if not n * k <= i < (n + 1) * k], dtype=torch.long)
        gain = torch.linalg.solve(K[others][:, others], K[others][:, here]).T
        V = K[here][:, here] - gain @ K[others][:, here]
        found.append(MultivariateNormal(gain @ e[others], 0.5 * (V + V.T)).log_prob(e[here]))
    return torch.stack(found)


def _process_mean(s):
    cross, _, law, e = _process(s)
    prior = s.f(s.theta, s.X_new) + s.jacobian(s.X_new) @ (s.prior_mean - s.theta)
    return prior + (cross @ torch.linalg.solve(law.covariance_matrix, e)).view_as(prior)


def _process_variance(s):
    cross, prior, law, _ = _process(s)
    m, k = len(s.X_new), s.y.shape[-1]
    whole = (prior - cross @ torch.linalg.solve(law.covariance_matrix, cross.T)).view(m, k, m, k)
    return torch.stack([whole[i, :, i] for i in range(m)])


def _bound(s, mean, width):
    """The evidence lower bound of N(mean, diag width²) by the reparametrisation θ = mean + width ∘ z."""
    q = Independent(Normal(mean, width), 1)
    fit = torch.stack([s.loss(mean + width * z) for z in s.normals]).mean()
    return -fit - kl_divergence(_as_full(q), _prior(s))


def _full_bound(s, mean, scale):
    """The evidence lower bound of N(mean, C Cᵀ) on the given normals."""
    fit = torch.stack([s.loss(mean + scale @ z) for z in s.normals]).mean()
    return -fit - kl_divergence(MultivariateNormal(mean, scale_tril=scale), _prior(s))


def _full_law(s):
    return MultivariateNormal(s.theta, scale_tril=_scale_of(s))


def _scale_of(s):
    """problem.scale: diag |v| + ½ tril(v vᵀ, −1)."""
    return torch.diag(s.vector.abs()) + 0.5 * torch.outer(s.vector, s.vector).tril(-1)


def _exact_bound(s):
    """The bound of N(mean, C Cᵀ) with its expectation: of each output where f is affine in θ, else over two parameters."""
    prior = _prior(s)
    if len(s.layer_sizes) == 1 and s.name in BY_OUTPUT:
        u = torch.linspace(-9, 9, 289, dtype=torch.float64)
        J, weights = s.jacobian(s.X), torch.softmax(-u ** 2 / 2, 0)
        at_zero = s.f(s.theta, s.X) - J @ s.theta

        def fit(mean, scale):
            f = at_zero + J @ mean + (J @ scale).square().sum(-1).sqrt() * u[:, None, None]
            return weights @ vmap(vmap(s.likelihood.loss), (0, None))(f, s.y).sum(-1)
    else:
        u = torch.linspace(-7.5, 7.5, 61, dtype=torch.float64)
        z = torch.cartesian_prod(*[u] * len(s.theta)).view(-1, len(s.theta))
        weights = torch.softmax(-z.square().sum(-1) / 2, 0)

        def fit(mean, scale):
            return weights @ vmap(s.loss)(mean + z @ scale.T)

    def bound(mean, scale):
        law = MultivariateNormal(mean, scale_tril=scale, validate_args=False)
        return -fit(mean, scale) - kl_divergence(law, prior)
    return bound


BY_OUTPUT = ("normal", "bernoulli", "bernoulli_probit", "bernoulli_cloglog", "ordinal", "poisson", "negative_binomial", "gamma")


def _optimum(s, correlated):
    """(mean, C, bound) of the highest optimum: L-BFGS over the mean, log C_ii and the rest of C, then Newton's method."""
    bound, p = _exact_bound(s), len(s.theta)
    rows, columns = torch.tril_indices(p, p, -1) if correlated else torch.zeros((2, 0), dtype=torch.long)

    def unpacked(phi):
        below = torch.zeros(p, p, dtype=phi.dtype).index_put((rows, columns), phi[2 * p:])
        return phi[:p], torch.diag(phi[p:2 * p].exp()) + below

    def energy(phi):
        return -bound(*unpacked(phi))

    width = s.prior_precision.diagonal().rsqrt()
    sides = torch.tensor([0.0] if len(s.layer_sizes) == 1 else [-1.0, 1.0], dtype=torch.float64)
    found = []
    for side in torch.cartesian_prod(*[sides] * p).view(-1, p):
        start = torch.cat([s.prior_mean + side * width, (0.5 * width).log(), torch.zeros(len(rows), dtype=torch.float64)])
        found.append(_minimised(energy, start))
    phi = min(found, key=lambda one: float(energy(one)))
    for _ in range(3):
        phi = phi - torch.linalg.solve(hessian(energy)(phi), grad(energy)(phi))
    return *unpacked(phi), -energy(phi)


def _minimised(energy, start):
    phi = start.clone().requires_grad_(True)
    optimiser = torch.optim.LBFGS([phi], max_iter=300, tolerance_grad=1e-6, line_search_fn="strong_wolfe")

    def closure():
        optimiser.zero_grad()
        value = energy(phi)
        value.backward()
        return value
    optimiser.step(closure)
    return phi.detach()


def _as_full(q):
    return MultivariateNormal(q.mean, scale_tril=torch.diag(q.stddev))


def _prior(s):
    return MultivariateNormal(s.prior_mean, precision_matrix=s.prior_precision)


def _mean_field_law(s):
    return _as_full(Independent(Normal(s.theta, s.vector.abs()), 1))


def _laplace_law(s):
    return MultivariateNormal(s.theta, precision_matrix=_precision(s))


def _expectations(s):
    """Closed forms, or trapezoidal rules in the contrasts of logits."""
    f, V = _moments(s)
    v = V.diagonal(dim1=-2, dim2=-1)
    if s.name == "categorical":
        return torch.stack([_expected_softmax(*moments) for moments in zip(f, V)])
    if s.name == "poisson_square":
        return f ** 2 + v
    if s.name in ("poisson", "negative_binomial", "gamma"):
        return torch.exp(f + v / 2)
    if s.name == "bernoulli_probit":
        return torch.special.ndtr(f / torch.sqrt(1 + v))
    u, w = _grid(float(v.max()) ** 0.5)
    return torch.einsum("t,tmk->mk", w, torch.sigmoid(f + v.sqrt() * u[:, None, None]))


def _grid(width):
    """Nodes and weights of a standard normal for a function with poles at ±iπ/width."""
    u = torch.linspace(-10, 10, 2 * int(16 * max(width, 1.0) + 40) + 1, dtype=torch.float64)
    return u, torch.softmax(-u * u / 2, 0)


def _expected_softmax(m, S):
    D = torch.cat([-torch.ones(len(m) - 1, 1, dtype=m.dtype), torch.eye(len(m) - 1, dtype=m.dtype)], 1)
    L = torch.linalg.cholesky(D @ S @ D.T)
    u, w = _grid(float(S.diagonal().max()) ** 0.5)
    z = torch.cartesian_prod(*[u] * len(L)).view(-1, len(L))
    weights = torch.cartesian_prod(*[w] * len(L)).view(-1, len(L)).prod(-1)
    return weights @ torch.softmax(F.pad(D @ m + z @ L.T, (1, 0)), -1)


def _nearest_kronecker(s):
    """Per layer the leading singular pair of G's block, rearranged to (units², inputs²) (Van Loan & Pitsianis 1993)."""
    blocks, bias = [], s.model[0].bias is not None
    for (A, B), block in zip(_factors(s, s.curvatures()), _diagonal_blocks(s.ggn(), s.layer_sizes)):
        back = torch.argsort(_layer_order(B, A, bias))
        cube = block[back][:, back].reshape(len(B), len(A), len(B), len(A))
        U, sizes, V = torch.linalg.svd(cube.permute(0, 2, 1, 3).reshape(len(B) ** 2, -1), full_matrices=False)
        order = _layer_order(B, A, bias)
        found = _kron(U[:, 0].reshape(B.shape) * sizes[0], V[0].reshape(A.shape))[order][:, order]
        blocks.append(0.5 * (found + found.T))
    return torch.block_diag(*blocks)


def _diagonal_blocks(matrix, sizes):
    return [row.split(sizes, 1)[i] for i, row in enumerate(matrix.split(sizes))]


def _centred(s):
    g = jacrev(s.losses)(s.theta, s.y)
    return g - g.mean(0)


def _gram(s):
    g = jacrev(s.losses)(s.theta, s.y)
    return g @ g.T


def _third(s):
    """The derivative of H v along v, forwards over forwards over backwards."""
    def product(theta):
        return jvp(grad(s.loss), (theta,), (s.vector,))[1]
    return jvp(product, (s.theta,), (s.vector,))[1]


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
jacobian_vp = _answers(lambda s: jvp(lambda theta: s.f(theta, s.X), (s.theta,), (s.vector,))[1])
ggn_full = _answers(State.ggn)
ggn_diag = _answers(lambda s: s.ggn().diagonal())
ggn_vp = _answers(State.ggn_product)
ggn_blockdiag = _answers(lambda s: s.layer_blocks(s.ggn()))
ggn_neuronblocks = _answers(lambda s: s.unit_blocks(s.ggn()))
ggn_subset = _answers(lambda s: _part(s.ggn(), _chosen(s)))
ggn_vanloan = _answers(_nearest_kronecker)
ggn_lastlayer = _answers(lambda s: s.ggn()[-s.layer_sizes[-1]:, -s.layer_sizes[-1]:])
ggn_kfac = _answers(lambda s: _kfac(s, s.curvatures()))
ggn_kfra = _answers(_kfra)
ggn_ekfac = _answers(lambda s: _ekfac(s, joint=True))
ggn_ekfac_split = _answers(lambda s: _ekfac(s, joint=False))
hessian_full = _answers(State.hessian)
hessian_diag = _answers(lambda s: s.hessian().diagonal())
hessian_blockdiag = _answers(lambda s: s.layer_blocks(s.hessian()))
hessian_lastlayer = _answers(lambda s: s.hessian()[-s.layer_sizes[-1]:, -s.layer_sizes[-1]:])
hessian_hvp = _answers(lambda s: jvp(grad(s.loss), (s.theta,), (s.vector,))[1])
third_vv = _answers(_third)
fisher_full = _answers(State.fisher)
fisher_diag = _answers(lambda s: s.fisher().diagonal())
fisher_vp = _answers(lambda s: s.fisher() @ s.vector)
fisher_kfac = _answers(lambda s: _kfac(s, s.expected_outer_products()))
fisher_empirical = _answers(lambda s: s.outer_products(s.y))
fisher_empirical_diag = _answers(lambda s: jacrev(s.losses)(s.theta, s.y).square().sum(0))
fisher_empirical_vp = _answers(lambda s: s.outer_product_times_vector(s.y))
fisher_empirical_centred = _answers(lambda s: s.outer_products(s.y, centred=True))
fisher_empirical_centred_diag = _answers(lambda s: _centred(s).square().sum(0))
fisher_empirical_centred_vp = _answers(lambda s: _centred(s).T @ (_centred(s) @ s.vector))
fisher_empirical_gram = _answers(_gram)
fisher_empirical_kfac = _answers(lambda s: _kfac(s, s.outer_products_at(s.y)))
fisher_mc = _answers(lambda s: s.outer_products(s.labels))
fisher_mc_diag = _answers(lambda s: jacrev(s.losses)(s.theta, s.labels).square().sum(0))
fisher_mc_vp = _answers(lambda s: s.outer_product_times_vector(s.labels))
fisher_mc_kfac = _answers(lambda s: _kfac(s, s.outer_products_at(s.labels)))
ntk = _answers(State.kernel)
laplace_precision = _answers(lambda s: s.ggn() + s.prior_precision)
laplace_covariance = _answers(lambda s: _covariance(s.ggn() + s.prior_precision))
laplace_covariance_diag = _answers(lambda s: _covariance(s.ggn() + s.prior_precision).diagonal())
laplace_covariance_vp = _answers(lambda s: torch.linalg.solve(s.ggn() + s.prior_precision, s.vector))
laplace_scale = _answers(lambda s: _scale(s.ggn() + s.prior_precision))
laplace_log_det = _answers(lambda s: torch.logdet(s.ggn() + s.prior_precision))
laplace_log_evidence = _answers(lambda s: s.log_evidence(s.ggn()))
laplace_sample = _answers(lambda s: s.theta + s.normals @ _scale(s.ggn() + s.prior_precision).T)
laplace_evidence_prior = _answers(lambda s: _slope(s, s.ggn(), s.prior_precision))
laplace_evidence_noise = _answers(lambda s: _noise_slope(s, s.ggn(), s.prior_precision))
laplace_diag_variance = _answers(lambda s: 1 / _precision(s).diagonal())
laplace_diag_log_det = _answers(lambda s: _precision(s).diagonal().log().sum())
laplace_diag_log_evidence = _answers(lambda s: _structured_evidence(s, _diagonal(_precision(s))))
laplace_diag_sample = _answers(lambda s: s.theta + s.normals / _precision(s).diagonal().sqrt())
laplace_diag_evidence_prior = _answers(lambda s: _slope(s, _diagonal(s.ggn()), _diagonal(s.prior_precision)))
laplace_diag_evidence_noise = _answers(lambda s: _noise_slope(s, _diagonal(s.ggn()), _diagonal(s.prior_precision)))
laplace_lastlayer_covariance = _answers(lambda s: _covariance(_part(_precision(s), _last(s))))
laplace_lastlayer_log_det = _answers(lambda s: torch.logdet(_part(_precision(s), _last(s))))
laplace_lastlayer_log_evidence = _answers(lambda s: _partial_evidence(s, _last(s)))
laplace_subset_covariance = _answers(lambda s: _covariance(_part(_precision(s), _chosen(s))))
laplace_subset_log_det = _answers(lambda s: torch.logdet(_part(_precision(s), _chosen(s))))
laplace_subset_log_evidence = _answers(lambda s: _partial_evidence(s, _chosen(s)))
laplace_kron_covariance = _answers(lambda s: _covariance(_kron_precision(s)))
laplace_kron_scale = _answers(lambda s: _scale(_kron_precision(s)))
laplace_kron_sample = _answers(lambda s: s.theta + s.normals @ _scale(_kron_precision(s)).T)
laplace_kron_log_det = _answers(lambda s: torch.logdet(_kron_precision(s)))
laplace_kron_log_evidence = _answers(lambda s: _structured_evidence(s, _kron_precision(s)))
laplace_kron_evidence_prior = _answers(
    lambda s: _slope(s, _kfac(s, s.curvatures()), s.layer_blocks(s.prior_precision)))
laplace_kron_evidence_noise = _answers(
    lambda s: _noise_slope(s, _kfac(s, s.curvatures()), s.layer_blocks(s.prior_precision)))
laplace_kron_split_covariance = _answers(lambda s: _covariance(_tensors(s, _kron_precision(s))))
laplace_kron_split_sample = _answers(lambda s: s.theta + s.normals @ _scale(_tensors(s, _kron_precision(s))).T)
laplace_kron_split_log_det = _answers(lambda s: torch.logdet(_tensors(s, _kron_precision(s))))
laplace_kron_split_log_evidence = _answers(lambda s: _structured_evidence(s, _tensors(s, _kron_precision(s))))
laplace_kron_split_evidence_prior = _answers(
    lambda s: _slope(s, _tensors(s, _kfac(s, s.curvatures())), _tensors(s, s.prior_precision)))
laplace_kron_split_evidence_noise = _answers(
    lambda s: _noise_slope(s, _tensors(s, _kfac(s, s.curvatures())), _tensors(s, s.prior_precision)))
laplace_lowrank_precision = _answers(_leading)
laplace_lowrank_covariance = _answers(lambda s: _covariance(_leading(s)))
laplace_lowrank_sample = _answers(lambda s: s.theta + s.normals @ _scale(_leading(s)).T)
laplace_lowrank_log_det = _answers(lambda s: torch.logdet(_leading(s)))
laplace_lowrank_log_evidence = _answers(lambda s: _structured_evidence(s, _leading(s)))
predictive_lowrank_variance = _answers(lambda s: _spread(s, _covariance(_leading(s))))
laplace_hessian_lowrank_precision = _answers(_positive_leading)
laplace_hessian_lowrank_log_det = _answers(lambda s: torch.logdet(_positive_leading(s)))
laplace_hessian_lowrank_log_evidence = _answers(lambda s: _structured_evidence(s, _positive_leading(s)))
predictive_hessian_lowrank_variance = _answers(lambda s: _spread(s, _covariance(_positive_leading(s))))
laplace_hessian_precision = _answers(lambda s: s.hessian() + s.prior_precision)
laplace_hessian_covariance = _answers(lambda s: _covariance(s.hessian() + s.prior_precision))
laplace_hessian_log_det = _answers(lambda s: torch.logdet(s.hessian() + s.prior_precision))
laplace_hessian_log_evidence = _answers(lambda s: s.log_evidence(s.hessian()))
predictive_glm_mean = _answers(lambda s: s.f(s.theta, s.X_new))
predictive_glm_variance = _answers(lambda s: _spread(s, _covariance(_precision(s))))
predictive_joint = _answers(lambda s: torch.einsum("mip,pq,njq->minj", s.jacobian(s.X_new), _covariance(_precision(s)),
                                                   s.jacobian(s.X_new)))
predictive_diag_variance = _answers(lambda s: _spread(s, torch.diag(1 / _precision(s).diagonal())))
predictive_lastlayer_variance = _answers(lambda s: _spread(s, _covariance(_part(_precision(s), _last(s))), _last(s)))
predictive_subset_variance = _answers(lambda s: _spread(s, _covariance(_part(_precision(s), _chosen(s))), _chosen(s)))
predictive_kron_variance = _answers(lambda s: _spread(s, _covariance(_kron_precision(s))))
predictive_kron_split_variance = _answers(lambda s: _spread(s, _covariance(_tensors(s, _kron_precision(s)))))
predictive_probit = _answers(lambda s: torch.sigmoid(_shrunk(s)))
predictive_probit_multiclass = _answers(lambda s: torch.softmax(_shrunk(s), -1))
predictive_meanfield = _answers(_mean_field)
predictive_concentration = _answers(_concentrations)
predictive_bridge = _answers(lambda s: _concentrations(s) / _concentrations(s).sum(-1, keepdim=True))
predictive_exact = _answers(_expectations)
vi_elbo = _answers(lambda s: _bound(s, s.theta, s.vector.abs()))
vi_elbo_gradient_mean = _answers(lambda s: grad(lambda mean: _bound(s, mean, s.vector.abs()))(s.theta))
vi_elbo_gradient_scale = _answers(lambda s: grad(lambda width: _bound(s, s.theta, width))(s.vector.abs()))
vi_kl = _answers(lambda s: kl_divergence(_mean_field_law(s), _prior(s)))
vi_kl_reverse = _answers(lambda s: kl_divergence(_prior(s), _mean_field_law(s)))
vi_full_elbo = _answers(lambda s: _full_bound(s, s.theta, _scale_of(s)))
vi_full_elbo_gradient_mean = _answers(lambda s: grad(lambda mean: _full_bound(s, mean, _scale_of(s)))(s.theta))
vi_full_elbo_gradient_scale = _answers(lambda s: grad(lambda scale: _full_bound(s, s.theta, scale.tril()))(_scale_of(s)))
vi_full_kl = _answers(lambda s: kl_divergence(_full_law(s), _prior(s)))
vi_full_kl_reverse = _answers(lambda s: kl_divergence(_prior(s), _full_law(s)))
vi_optimum_mean = _answers(lambda s: s.best(True)[0])
vi_optimum_covariance = _answers(lambda s: s.best(True)[1] @ s.best(True)[1].T)
vi_optimum_elbo = _answers(lambda s: s.best(True)[2])
vi_optimum_meanfield_mean = _answers(lambda s: s.best(False)[0])
vi_optimum_meanfield_variance = _answers(lambda s: s.best(False)[1].diagonal().square())
vi_optimum_meanfield_elbo = _answers(lambda s: s.best(False)[2])
vi_kl_laplace = _answers(lambda s: kl_divergence(_laplace_law(s), _prior(s)))
vi_kl_laplace_reverse = _answers(lambda s: kl_divergence(_prior(s), _laplace_law(s)))
gp_kernel = _answers(lambda s: torch.einsum("nip,pq,mjq->nimj", s.jacobian(s.X), _covariance(s.prior_precision),
                                            s.jacobian(s.X)))
gp_mean = _answers(_process_mean)
gp_variance = _answers(_process_variance)
gp_evidence_prior = _answers(lambda s: _process_slopes(s)[0])
gp_evidence_noise = _answers(lambda s: _process_slopes(s)[1])
gp_loo_log_density = _answers(_left_out)
gp_log_evidence = _answers(lambda s: _process(s)[2].log_prob(s.y.flatten()))
predictive_mc = _answers(lambda s: vmap(vmap(s.likelihood.mean))(vmap(s.f, (0, None))(s.draws, s.X_new)).mean(0))
posterior_draws = _answers(torch_hmc.sample)
