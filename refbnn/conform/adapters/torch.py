"""Plain PyTorch in float64: every quantity from automatic differentiation (torch.func), by no formula of this package.

Needs torch, which refbnn does not install (tests/peers/README.md says how to get a CPU build).
"""
from __future__ import annotations

import math
from types import SimpleNamespace

import torch
from torch import nn
from torch.distributions import Gamma, MultivariateNormal, NegativeBinomial, Normal, Poisson, StudentT
from torch.func import functional_call, grad, hessian, jacrev, jvp, vjp, vmap
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
        self.layer_sizes, self.bias = list(problem.layer_sizes), problem.bias
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
jacobian_vp = _answers(lambda s: jvp(lambda theta: s.f(theta, s.X), (s.theta,), (s.vector,))[1])
ggn_full = _answers(State.ggn)
ggn_diag = _answers(lambda s: s.ggn().diagonal())
ggn_vp = _answers(State.ggn_product)
ggn_blockdiag = _answers(lambda s: s.layer_blocks(s.ggn()))
ggn_neuronblocks = _answers(lambda s: s.unit_blocks(s.ggn()))
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
fisher_full = _answers(State.fisher)
fisher_diag = _answers(lambda s: s.fisher().diagonal())
fisher_vp = _answers(lambda s: s.fisher() @ s.vector)
fisher_kfac = _answers(lambda s: _kfac(s, s.expected_outer_products()))
fisher_empirical = _answers(lambda s: s.outer_products(s.y))
fisher_empirical_diag = _answers(lambda s: jacrev(s.losses)(s.theta, s.y).square().sum(0))
fisher_empirical_vp = _answers(lambda s: s.outer_product_times_vector(s.y))
fisher_empirical_centred = _answers(lambda s: s.outer_products(s.y, centred=True))
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
laplace_hessian_precision = _answers(lambda s: s.hessian() + s.prior_precision)
laplace_hessian_covariance = _answers(lambda s: _covariance(s.hessian() + s.prior_precision))
laplace_hessian_log_det = _answers(lambda s: torch.logdet(s.hessian() + s.prior_precision))
laplace_hessian_log_evidence = _answers(lambda s: s.log_evidence(s.hessian()))
predictive_glm_mean = _answers(lambda s: s.f(s.theta, s.X_new))
predictive_glm_variance = _answers(_predictive_covariance)
predictive_mc = _answers(lambda s: vmap(vmap(s.likelihood.mean))(vmap(s.f, (0, None))(s.draws, s.X_new)).mean(0))
