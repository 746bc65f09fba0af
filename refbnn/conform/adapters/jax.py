"""Plain jax: every derivative from jacfwd, jacrev, jvp, vjp and hessian, densities and activations jax's own where it has them.

Double precision, unless the variable REFBNN_JAX_PRECISION says float32 (jax's default), which is then declared. What is
left to do with the derivatives, sums and Cholesky factors, is NumPy's in the same precision: compiling it for every shape
would take most of the time. The environment of tests/peers/README.md holds jax; refbnn does not install it.
"""
from __future__ import annotations

import math
import os
from functools import cached_property, partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
from jax import grad, hessian, jacfwd, jacrev, jit, jvp, lax, nn, value_and_grad, vjp, vmap
from jax.scipy import special, stats
from scipy import linalg

from refbnn.conform.problem import ARRAYS

PRECISION = os.environ.get("REFBNN_JAX_PRECISION", "float64")
jax.config.update("jax_enable_x64", PRECISION == "float64")
name = "jax"
version = jax.__version__ + ("" if PRECISION == "float64" else f" in {PRECISION}")
conventions = {} if PRECISION == "float64" else {"precision": PRECISION}

ACTIVATIONS = {
    "identity": lambda z: z, "tanh": jnp.tanh, "sigmoid": nn.sigmoid, "softplus": nn.softplus, "sin": jnp.sin, "silu": nn.silu,
    "gelu": partial(nn.gelu, approximate=False), "gelu_tanh": partial(nn.gelu, approximate=True), "erf": special.erf,
    "square": jnp.square, "relu": nn.relu,
}


def activation(problem):
    """That of the hidden layers."""
    return ACTIVATIONS.get(problem.activation, lambda z: nn.leaky_relu(z, problem.slope))


def network(problem):
    """(θ, x) -> f for one input x, and beside f inputs and outputs of every layer; `shifts` are added to what layers give."""
    def layers(theta, x, shifts=None):
        inputs, outputs, at = [], [], 0
        for depth, (d, out) in enumerate(zip(problem.sizes, problem.sizes[1:])):
            inputs.append(activation(problem)(x) if depth else x)
            x, at = theta[at:at + out * d].reshape(out, d) @ inputs[-1], at + out * d
            x, at = (x + theta[at:at + out], at + out) if problem.bias else (x, at)
            outputs.append(x if shifts is None else x + shifts[depth])
            x = outputs[-1]
        return x, (inputs, outputs)
    return layers


# Likelihoods at one datum's outputs f (k): log p(y | f), mean of y, covariance of ∂ log p/∂f under the model.
def _independent(log_prob, mean, information):
    """One target an output, from functions of all outputs and targets at once."""
    return SimpleNamespace(log_prob=lambda f, y: log_prob(f, y).sum(), mean=mean, fisher=lambda f: jnp.diag(information(f)))


def _levels(log_prob, mean, number):
    """The same with outcomes 0 ... number − 1: the information is a sum over them."""
    def information(f):
        y = jnp.arange(number, dtype=f.dtype)[:, None] + 0 * f
        score = vmap(grad(lambda f, y: log_prob(f, y).sum()), (None, 0))(f, y)
        return (jnp.exp(log_prob(f, y)) * score ** 2).sum(0)
    return _independent(log_prob, mean, information)


def _cloglog(f, y):
    return jnp.where(y == 1, jnp.log(-jnp.expm1(-jnp.exp(f))), -jnp.exp(f))


def _ordinal(parameters):
    cuts = jnp.array(parameters["cut_points"])

    def log_prob(f, y):
        """log(σ(b) − σ(a)) = log σ(b) + log σ(−a) + log(1 − exp(a − b)), b and a the cut-points above and below y, less f."""
        first, last, y = y == 0, y == len(cuts), y.astype(int)
        upper, lower = cuts[jnp.minimum(y, len(cuts) - 1)], cuts[jnp.maximum(y - 1, 0)]
        gap = jnp.log(-jnp.expm1(jnp.where(first | last, -1.0, lower - upper)))
        return (jnp.where(last, 0.0, nn.log_sigmoid(upper - f)) + jnp.where(first, 0.0, nn.log_sigmoid(f - lower))
                + jnp.where(first | last, 0.0, gap))
    return _levels(log_prob, lambda f: nn.sigmoid(f[:, None] - cuts).sum(-1), len(cuts) + 1)


def _poisson(rate, information):
    return _independent(lambda f, y: y * jnp.log(rate(f)) - rate(f) - special.gammaln(y + 1), rate, information)


def _count(f, log_odds, rho, y):
    """log of the negative binomial with dispersion ρ; Γ(y + ρ)/(Γ(ρ) y!) is 1/((y + ρ) B(ρ, y + 1))."""
    chosen = -special.betaln(rho, y + 1) - jnp.log(y + rho)
    return chosen + rho * nn.log_sigmoid(-log_odds) + y * nn.log_sigmoid(log_odds)


def _negative_binomial(parameters):
    rho = parameters["dispersion"]
    return _independent(lambda f, y: _count(f, f - math.log(rho), rho, y), jnp.exp, lambda f: rho * nn.sigmoid(f - math.log(rho)))


def _gamma(parameters):
    a = parameters["shape"]
    return _independent(lambda f, y: stats.gamma.logpdf(y, a, scale=jnp.exp(f) / a), jnp.exp, lambda f: jnp.full_like(f, a))


def _student_t(parameters):
    s, nu = parameters["scale"], parameters["degrees_of_freedom"]
    return _independent(lambda f, y: stats.t.logpdf(y, nu, f, s), lambda f: f,
                        lambda f: jnp.full_like(f, (nu + 1) / (nu + 3) / s ** 2))


def _normal_full(parameters):
    V = jnp.array(parameters["noise"])
    return SimpleNamespace(log_prob=lambda f, y: stats.multivariate_normal.logpdf(y, f, V), mean=lambda f: f,
                           fisher=lambda f: jnp.linalg.inv(V))


def _categorical(parameters):
    def fisher(f):
        """Σ_c p_c r_c r_cᵀ: the expectation as a sum over all labels."""
        r = nn.softmax(f) - jnp.eye(len(f))
        return jnp.einsum("c,ci,cj->ij", nn.softmax(f), r, r)
    return SimpleNamespace(log_prob=lambda f, y: nn.log_softmax(f)[y], mean=nn.softmax, fisher=fisher)


def _pairs(log_prob, mean, information):
    """Two outputs (a, b) a target, from functions of all a, all b and all targets at once."""
    def fisher(f):
        aa, ab, bb = (value + 0 * f[::2] for value in information(f[::2], f[1::2]))
        blocks = jnp.stack([jnp.stack([aa, ab], -1), jnp.stack([ab, bb], -1)], -1)
        return jax.scipy.linalg.block_diag(*blocks)
    return SimpleNamespace(log_prob=lambda f, y: log_prob(f[::2], f[1::2], y).sum(), fisher=fisher,
                           mean=lambda f: mean(f[::2], f[1::2]))


def _heteroscedastic(parameters):
    return _pairs(lambda a, b, y: stats.norm.logpdf(y, a, jnp.exp(b / 2)), lambda a, b: a, lambda a, b: (jnp.exp(-b), 0.0, 0.5))


def _natural(parameters):
    def information(a, b):
        v = -0.5 / b
        return v, 2 * a * v ** 2, 4 * a ** 2 * v ** 3 + 2 * v ** 2
    return _pairs(lambda a, b, y: stats.norm.logpdf(y, -0.5 * a / b, jnp.sqrt(-0.5 / b)), lambda a, b: -0.5 * a / b, information)


def _precision(parameters):
    return _pairs(lambda a, b, y: stats.norm.logpdf(y, a * jnp.exp(-b), jnp.exp(-b / 2)), lambda a, b: a * jnp.exp(-b),
                  lambda a, b: (jnp.exp(-b), -a * jnp.exp(-b), a ** 2 * jnp.exp(-b) + 0.5))


def _student_t_of_pairs(parameters):
    nu = parameters["degrees_of_freedom"]
    return _pairs(lambda a, b, y: stats.t.logpdf(y, nu, a, jnp.exp(b)), lambda a, b: a,
                  lambda a, b: ((nu + 1) / (nu + 3) * jnp.exp(-2 * b), 0.0, 2 * nu / (nu + 3)))


def _gamma_of_pairs(parameters):
    return _pairs(lambda a, b, y: stats.gamma.logpdf(y, jnp.exp(b), scale=jnp.exp(a - b)), lambda a, b: jnp.exp(a),
                  lambda a, b: (jnp.exp(b), 0.0, jnp.exp(2 * b) * special.polygamma(1, jnp.exp(b)) - jnp.exp(b)))


def _negative_binomial_of_pairs(parameters):
    def log_prob(a, b, y):
        return _count(a, a - b, jnp.exp(b), y)

    def information(a, b):
        """In b by summation."""
        y = jnp.arange(1000.0)[:, None] + 0 * a
        score = vmap(grad(lambda b, y: log_prob(a, b, y).sum()), (None, 0))(b, y)
        return 1 / (jnp.exp(-a) + jnp.exp(-b)), 0.0, (jnp.exp(log_prob(a, b, y)) * score ** 2).sum(0)
    return _pairs(log_prob, lambda a, b: jnp.exp(a), information)


_LIKELIHOODS = {
    "bernoulli": lambda _: _levels(lambda f, y: nn.log_sigmoid((2 * y - 1) * f), nn.sigmoid, 2),
    "bernoulli_probit": lambda _: _levels(lambda f, y: special.log_ndtr((2 * y - 1) * f), special.ndtr, 2),
    "bernoulli_cloglog": lambda _: _levels(_cloglog, lambda f: -jnp.expm1(-jnp.exp(f)), 2),
    "poisson": lambda _: _independent(lambda f, y: y * f - jnp.exp(f) - special.gammaln(y + 1), jnp.exp, jnp.exp),
    "poisson_softplus": lambda _: _poisson(nn.softplus, lambda f: nn.sigmoid(f) ** 2 / nn.softplus(f)),
    "poisson_square": lambda _: _poisson(jnp.square, lambda f: jnp.full_like(f, 4.0)),
    "categorical": _categorical, "normal_full": _normal_full, "ordinal": _ordinal, "negative_binomial": _negative_binomial,
    "gamma": _gamma, "student_t": _student_t, "heteroscedastic": _heteroscedastic, "heteroscedastic_natural": _natural,
    "heteroscedastic_precision": _precision, "heteroscedastic_student_t": _student_t_of_pairs,
    "heteroscedastic_gamma": _gamma_of_pairs, "heteroscedastic_negative_binomial": _negative_binomial_of_pairs,
}


def likelihood(problem):
    """log_prob, mean and fisher at one datum."""
    if problem.likelihood == "normal":
        variance = problem.variance
        return _independent(lambda f, y: stats.norm.logpdf(y, f, math.sqrt(variance)), lambda f: f,
                            lambda f: jnp.full_like(f, 1 / variance))
    return _LIKELIHOODS[problem.likelihood](problem.likelihood_parameters)


class Gaussian:
    """N(θ, P⁻¹) from its precision, by Cholesky."""

    def __init__(self, precision):
        self.precision = precision

    @cached_property
    def factor(self):
        return linalg.cholesky(self.precision, lower=True)

    @cached_property
    def root(self):
        """C = L⁻ᵀ with L Lᵀ = P, so that C Cᵀ = P⁻¹."""
        return linalg.solve_triangular(self.factor, np.eye(len(self.factor), dtype=self.factor.dtype), lower=True).T

    @property
    def covariance(self):
        return self.root @ self.root.T

    @property
    def log_det(self):
        return 2 * np.log(np.diag(self.factor)).sum()


def _log_normal(shift, precision):
    """log N(shift; 0, P⁻¹)."""
    return 0.5 * (jnp.linalg.slogdet(precision)[1] - len(shift) * math.log(2 * math.pi) - shift @ precision @ shift)


@jit
def _prior_slope(shift, P0, curvature, prior):
    """∂/∂ log τ of the evidence with τP₀, τ times `prior` in its determinant, by differentiation."""
    def evidence(log_tau):
        tau = jnp.exp(log_tau)
        return _log_normal(shift, tau * P0) - 0.5 * jnp.linalg.slogdet(curvature + tau * prior)[1]
    return grad(evidence)(0.0)


@jit
def _noise_slope(f, y, variance, curvature, prior):
    """∂/∂ log σ² likewise; the curvature of a Normal is inverse to σ²."""
    def evidence(log_ratio):
        fit = stats.norm.logpdf(y, f, jnp.sqrt(variance * jnp.exp(log_ratio))).sum()
        return fit - 0.5 * jnp.linalg.slogdet(curvature * jnp.exp(-log_ratio) + prior)[1]
    return grad(evidence)(0.0)


@jit
def _divergence(shift, P, R):
    """KL between two Gaussians with precisions P and R whose means differ by `shift`."""
    logs = jnp.linalg.slogdet(P)[1] - jnp.linalg.slogdet(R)[1]
    return 0.5 * (jnp.trace(jnp.linalg.solve(P, R)) + shift @ R @ shift - len(shift) + logs)


class State:
    """The model as functions of the flat θ; its derivatives as arrays of NumPy, each computed once."""

    def __init__(self, problem):
        self.problem, self.layers, self.likelihood = problem, network(problem), likelihood(problem)
        for array in ARRAYS:
            setattr(self, array, np.asarray(jnp.asarray(getattr(problem, array))))

    def f(self, theta, X):
        """Outputs n k."""
        return vmap(lambda x: self.layers(theta, x)[0])(X)

    def losses(self, theta, y):
        """−log p of each datum, n."""
        return -vmap(self.likelihood.log_prob)(self.f(theta, self.X), y)

    def loss(self, theta):
        return self.losses(theta, self.y).sum()

    def joint(self, theta):
        return _log_normal(theta - self.prior_mean, self.prior_precision) - self.loss(theta)

    def bound(self, mean, root):
        """The evidence lower bound of N(mean, root rootᵀ) by θ = mean + root z."""
        fit = lax.map(self.loss, mean + self.normals @ root.T).mean()
        shift, P0 = mean - self.prior_mean, self.prior_precision
        logs = jnp.linalg.slogdet(P0)[1] + 2 * jnp.log(jnp.diag(root)).sum()
        return -fit - 0.5 * (jnp.trace(root.T @ P0 @ root) + shift @ P0 @ shift - len(shift) - logs)

    def along(self, theta):
        """H v: forwards over backwards."""
        return jvp(grad(self.loss), (theta,), (self.vector,))[1]

    @cached_property
    def value_and_gradient(self):
        return jit(value_and_grad(self.loss))(self.theta)

    @cached_property
    def log_joint(self):
        return jit(self.joint)(self.theta)

    @cached_property
    def product_and_third(self):
        """H v and its derivative along v."""
        return jit(lambda theta: jvp(self.along, (theta,), (self.vector,)))(self.theta)

    @cached_property
    def bound_and_gradients(self):
        """Of independent parameters, by mean and widths."""
        bound = value_and_grad(lambda mean, width: self.bound(mean, jnp.diag(width)), (0, 1))
        return jit(bound)(self.theta, abs(self.vector))

    @cached_property
    def full_bound_and_gradients(self):
        """Of correlated ones, by mean and root."""
        return jit(value_and_grad(self.bound, (0, 1)))(self.theta, _array(jnp.asarray(self.problem.scale)))

    @cached_property
    def outputs(self):
        return _array(jit(self.f)(self.theta, self.X))

    @cached_property
    def new_outputs(self):
        return _array(jit(self.f)(self.theta, self.X_new))

    @cached_property
    def jacobian(self):
        return _array(jit(jacrev(self.f))(self.theta, self.X))

    @cached_property
    def new_jacobian(self):
        """Forwards."""
        return _array(jit(jacfwd(self.f))(self.theta, self.X_new))

    @cached_property
    def hessian(self):
        return _array(jit(hessian(self.loss))(self.theta))

    @cached_property
    def curvatures(self):
        """Λ of each datum, n k k."""
        return -_array(jit(vmap(hessian(self.likelihood.log_prob)))(self.outputs, self.y))

    @cached_property
    def informations(self):
        """E[r rᵀ] of each datum, n k k."""
        return _array(jit(vmap(self.likelihood.fisher))(self.outputs))

    @cached_property
    def gradients(self):
        """Of each datum's loss, n p."""
        return _array(jit(jacrev(self.losses))(self.theta, self.y))

    @cached_property
    def drawn(self):
        """The same at the given labels."""
        return _array(jit(jacrev(self.losses))(self.theta, self.labels))

    @cached_property
    def signals(self):
        """Of every layer inputs a, outputs z and Δ = ∂f/∂z, for each datum."""
        shifts = [np.zeros(out, self.theta.dtype) for out in self.problem.sizes[1:]]
        found = jit(vmap(lambda x: jacrev(lambda z: self.layers(self.theta, x, z), has_aux=True)(shifts)))(self.X)
        return [tuple(map(_array, layer)) for layer in zip(*found[1], found[0])]

    @cached_property
    def ggn(self):
        return _pulled_back(self.jacobian, self.curvatures)

    @cached_property
    def kfac(self):
        return _kfac(self, self.curvatures)

    @cached_property
    def laplace(self):
        return Gaussian(self.ggn + self.prior_precision)

    @cached_property
    def diagonal(self):
        return Gaussian(_diagonal(self.laplace.precision))

    @cached_property
    def kron(self):
        return Gaussian(self.kfac + _layers(self, self.prior_precision))

    @cached_property
    def kron_apart(self):
        return Gaussian(_tensors(self, self.kron.precision))

    @cached_property
    def last_layer(self):
        return Gaussian(_part(self.laplace.precision, _last(self)))

    @cached_property
    def subset(self):
        return Gaussian(_part(self.laplace.precision, self.problem.subset))

    @cached_property
    def low_rank(self):
        """The leading eigenpairs of the GGN and the prior."""
        values, V = (part[..., -self.problem.rank:] for part in np.linalg.eigh(self.ggn))
        return Gaussian((V * values) @ V.T + self.prior_precision)

    @cached_property
    def hessian_low_rank(self):
        """Of the eigenpairs of the Hessian largest in size the positive ones, and the prior."""
        values, V = np.linalg.eigh(self.hessian)
        kept = np.argsort(np.abs(values))[-self.problem.rank:]
        return Gaussian((V[:, kept] * np.maximum(values[kept], 0)) @ V[:, kept].T + self.prior_precision)

    @cached_property
    def from_hessian(self):
        return Gaussian(self.hessian + self.prior_precision)

    def outer(self, y):
        """r rᵀ of each datum at these targets, n k k."""
        r = _array(jit(vmap(grad(self.likelihood.log_prob)))(self.outputs, y))
        return np.einsum("ni,nj->nij", r, r)

    def sandwich(self, middle):
        """Jᵀ M J v without a Jacobian."""
        def product(theta):
            pull = vjp(lambda theta: self.f(theta, self.X), theta)[1]
            return pull(jnp.einsum("nij,nj->ni", middle, self.tangent(theta)))[0]
        return jit(product)(self.theta)

    def tangent(self, theta):
        """J v."""
        return jvp(lambda theta: self.f(theta, self.X), (theta,), (self.vector,))[1]

    def mean_of_draws(self):
        """E[y | f(X_new, θ)] averaged over problem.draws."""
        return jit(lambda draws: vmap(vmap(self.likelihood.mean))(lax.map(lambda t: self.f(t, self.X_new), draws)).mean(0))(
            self.draws)


def _array(found):
    """As NumPy's; in the precision that it has."""
    return np.asarray(found)


def _pulled_back(J, middle):
    """Σ_n J_nᵀ M_n J_n."""
    return np.einsum("nip,nij,njq->pq", J, middle, J, optimize=True)


def _diagonal(matrix):
    return np.diag(np.diag(matrix))


def _same(labels, matrix):
    return np.where(labels[:, None] == labels, matrix, np.zeros((), matrix.dtype))


def _layers(s, matrix):
    """The matrix, zero outside the blocks of the layers."""
    return _same(np.repeat(np.arange(len(s.problem.layer_sizes)), s.problem.layer_sizes), matrix)


def _tensors(s, matrix):
    """The matrix, zero but for the blocks of weight matrices and of biases."""
    shapes = zip(s.problem.sizes, s.problem.sizes[1:])
    sizes = [size for d, out in shapes for size in (out * d, out)[:1 + s.problem.bias]]
    return _same(np.repeat(np.arange(len(sizes)), sizes), matrix)


def _units(s, matrix):
    """The matrix, zero unless both parameters belong to one unit."""
    labels, first = [], 0
    for d, out in zip(s.problem.sizes, s.problem.sizes[1:]):
        unit = first + np.arange(out)
        labels += [np.repeat(unit, d), unit][:1 + s.problem.bias]
        first += out
    return _same(np.concatenate(labels), matrix)


def _part(matrix, places):
    return matrix[np.ix_(places, places)]


def _last(s):
    """Places of the output layer's parameters."""
    return np.arange(len(s.theta))[-s.problem.layer_sizes[-1]:]


def _factors(s, middle):
    """A and B of each layer: (1/N) Σ ā āᵀ with ā = (a, 1), and Σ_n Δ_nᵀ M_n Δ_n."""
    for a, _, delta in s.signals:
        a = np.concatenate([a, np.ones((len(a), 1), a.dtype)], 1) if s.problem.bias else a
        yield a.T @ a / len(a), _pulled_back(delta, middle)


def _order(s, B, A):
    """Where θ's entries of a layer, W row by row and then b, stand in B ⊗ A."""
    at = np.arange(len(B) * len(A)).reshape(len(B), len(A))
    return np.concatenate([at[:, :-1].ravel(), at[:, -1]]) if s.problem.bias else at.ravel()


def _products(s, factors):
    return linalg.block_diag(*[_part(np.kron(B, A), _order(s, B, A)) for A, B in factors])


def _kfac(s, middle):
    return _products(s, _factors(s, middle))


def _kfra(s):
    """N B̄ ⊗ A: B̄_L = (1/N) Σ Λ_n, one layer further down (Wᵀ B̄ W) ⊙ (1/N) Σ φ′φ′ᵀ."""
    found, slope, stop = [s.curvatures.mean(0)], jit(vmap(vmap(grad(activation(s.problem))))), len(s.theta)
    for depth in range(len(s.problem.sizes) - 2, 0, -1):
        d, out = s.problem.sizes[depth:depth + 2]
        stop -= s.problem.layer_sizes[depth]
        W, slopes = s.theta[stop:stop + out * d].reshape(out, d), _array(slope(s.signals[depth - 1][1]))
        found.insert(0, (W.T @ found[0] @ W) * (slopes.T @ slopes) / len(s.X))
    return _products(s, [(A, len(s.X) * B) for (A, _), B in zip(_factors(s, s.curvatures), found)])


def _eigenbasis(s, joint):
    """Orthogonal U in θ's order: per layer the eigenvectors of B ⊗ A, or those of its weights and of its biases."""
    blocks = []
    for A, B in _factors(s, s.curvatures):
        U = np.linalg.eigh(B)[1]
        if joint or not s.problem.bias:
            blocks.append(np.kron(U, np.linalg.eigh(A)[1])[_order(s, B, A)])
        else:
            blocks += [np.kron(U, np.linalg.eigh(A[:-1, :-1])[1]), U]
    return linalg.block_diag(*blocks)


def _ekfac(s, joint):
    U = _eigenbasis(s, joint)
    return (U * np.diag(U.T @ s.ggn @ U)) @ U.T


def _nearest_kronecker(s):
    """Per layer the leading singular pair of G's block, rearranged to (units², inputs²)."""
    blocks, start = [], 0
    for (A, B), size in zip(_factors(s, s.curvatures), s.problem.layer_sizes):
        order = _order(s, B, A)
        block = _part(s.ggn[start:start + size, start:start + size], np.argsort(order))
        cube = block.reshape(len(B), len(A), len(B), len(A)).transpose(0, 2, 1, 3)
        U, sizes, V = np.linalg.svd(cube.reshape(len(B) ** 2, -1), full_matrices=False)
        found = _part(np.kron(U[:, 0].reshape(B.shape) * sizes[0], V[0].reshape(A.shape)), order)
        blocks.append((found + found.T) / 2)
        start += size
    return linalg.block_diag(*blocks)


def _evidence(s, q):
    return s.log_joint + 0.5 * (len(s.theta) * math.log(2 * math.pi) - q.log_det)


def _partial_evidence(s, places, q):
    """Of some parameters, the others fixed."""
    prior = _log_normal((s.theta - s.prior_mean)[places], _part(s.prior_precision, places))
    return prior - s.value_and_gradient[0] + 0.5 * (len(places) * math.log(2 * math.pi) - q.log_det)


def _by_prior(s, curvature, prior):
    return _prior_slope(s.theta - s.prior_mean, s.prior_precision, curvature, prior)


def _by_noise(s, curvature, prior):
    return _noise_slope(s.outputs, s.y, s.problem.variance, curvature, prior)


def _spread(J, q):
    half = J @ q.root
    return half @ half.swapaxes(-1, -2)


def _variances(V):
    return np.diagonal(V, axis1=-2, axis2=-1)


def _moments(s):
    """f and its covariance at the new inputs."""
    return s.new_outputs, _spread(s.new_jacobian, s.laplace)


def _shrunk(s):
    f, V = _moments(s)
    return f / np.sqrt(1 + np.pi / 8 * _variances(V))


def _mean_field(s):
    """mf2 of Lu, Ie and Sha (2020)."""
    f, V = _moments(s)
    spread = _variances(V)[:, :, None] + _variances(V)[:, None, :] - 2 * V
    weights = 1 / np.exp((f[:, None, :] - f[:, :, None]) / np.sqrt(1 + np.pi / 8 * spread)).sum(-1)
    return weights / weights.sum(-1, keepdims=True)


def _concentrations(s):
    """The bridge, logits conditioned on a sum of zero."""
    f, V = _moments(s)
    k, row = f.shape[-1], V.sum(-1)
    f = f - row * (f.sum(-1) / row.sum(-1))[:, None]
    v = _variances(V) - row ** 2 / row.sum(-1)[:, None]
    return (1 - 2 / k + np.exp(f) * np.exp(-f).sum(-1, keepdims=True) / k ** 2) / v


def _grid(width):
    """Nodes and weights of a standard normal for a function with poles at ±iπ/width."""
    u = np.linspace(-10, 10, 2 * int(16 * max(width, 1.0) + 40) + 1)
    w = np.exp(-u * u / 2)
    return u, w / w.sum()


def _expected_softmax(m, S):
    """By the trapezoidal rule in the contrasts of logits."""
    D = np.hstack([-np.ones((len(m) - 1, 1)), np.eye(len(m) - 1)])
    L = linalg.cholesky(D @ S @ D.T, lower=True)
    u, w = _grid(float(np.diag(S).max()) ** 0.5)
    z = np.stack(np.meshgrid(*[u] * len(L), indexing="ij"), -1).reshape(-1, len(L))
    weights = w if len(L) == 1 else np.outer(w, w).ravel()
    return weights @ nn.softmax(np.pad(D @ m + z @ L.T, ((0, 0), (1, 0))))


def _expectations(s):
    """E[y]: closed forms, or a trapezoidal rule."""
    f, V = _moments(s)
    v = _variances(V)
    if s.problem.likelihood == "categorical":
        return np.stack([_expected_softmax(*moments) for moments in zip(f, V)])
    closed = {"poisson_square": lambda: f ** 2 + v, "bernoulli_probit": lambda: special.ndtr(f / np.sqrt(1 + v)),
              **dict.fromkeys(("poisson", "negative_binomial", "gamma"), lambda: np.exp(f + v / 2))}
    if s.problem.likelihood in closed:
        return closed[s.problem.likelihood]()
    u, w = _grid(float(v.max()) ** 0.5)
    return np.tensordot(w, nn.sigmoid(f + np.sqrt(v) * u[:, None, None]), 1)


def _kl(s, P, R):
    return _divergence(s.theta - s.prior_mean, P, R)


def _mean_field_precision(s):
    return np.diag(s.vector ** -2)


def _full_precision(s):
    root = linalg.inv(s.problem.scale)
    return _array(jnp.asarray(root.T @ root))


def _process(s):
    """(cross and own covariance at the new inputs, Cholesky factor of the data's, their errors) of the linearised network."""
    p = len(s.theta)
    old, new = s.jacobian.reshape(-1, p), s.new_jacobian.reshape(-1, p)
    half = linalg.solve(s.prior_precision, np.concatenate([old, new]).T, assume_a="pos")
    K = old @ half
    L = linalg.cholesky(K[:, :len(old)] + s.problem.variance * np.eye(len(old), dtype=K.dtype), lower=True)
    return K[:, len(old):], new @ half[:, len(old):], L, (s.y - s.outputs).ravel() - old @ (s.prior_mean - s.theta)


def _process_mean(s):
    cross, _, L, e = _process(s)
    prior = s.new_outputs + s.new_jacobian @ (s.prior_mean - s.theta)
    return prior + (cross.T @ linalg.cho_solve((L, True), e)).reshape(prior.shape)


def _process_variance(s):
    cross, own, L, _ = _process(s)
    m, k = len(s.X_new), s.problem.num_outputs
    whole = own - cross.T @ linalg.cho_solve((L, True), cross)
    return np.einsum("mimj->mij", whole.reshape(m, k, m, k))


def _process_evidence(s):
    L, e = _process(s)[2:]
    white = linalg.solve_triangular(L, e, lower=True)
    return -0.5 * white @ white - np.log(np.diag(L)).sum() - 0.5 * len(e) * math.log(2 * math.pi)


def _process_slopes(s):
    """By log τ and log σ² of log N(e; 0, F/τ + σ²), by differentiating it."""
    L, e = _process(s)[2:]
    noise = s.problem.variance * np.eye(len(e))
    F = L @ L.T - noise

    def evidence(at):
        K = F * jnp.exp(-at[0]) + noise * jnp.exp(at[1])
        return -0.5 * (e @ jnp.linalg.solve(K, e) + jnp.linalg.slogdet(K)[1])
    return grad(evidence)(np.zeros(2))


def _left_out(s):
    """log p(y_n | all other data), from the blocks B of K⁻¹: log N(y_n; y_n − B⁻¹(K⁻¹e)_n, B⁻¹)."""
    L, e = _process(s)[2:]
    n, k = len(s.problem.X), s.problem.num_outputs
    inverse = linalg.cho_solve((L, True), np.eye(len(e))).reshape(n, k, n, k)
    B, weights = np.einsum("nink->nik", inverse), linalg.cho_solve((L, True), e).reshape(n, k)
    away = np.linalg.solve(B, weights[..., None])[..., 0]
    return 0.5 * (np.linalg.slogdet(B)[1] - k * math.log(2 * math.pi) - (weights * away).sum(-1))


def _centred(s):
    return s.gradients - s.gradients.mean(0)


def prepare(problem) -> State:
    """The state that every function below takes."""
    return State(problem)


def sigma_points(p):
    """2p points, equally likely, with the moments of p standard normals up to the second (and the third)."""
    return math.sqrt(p) * np.concatenate([np.eye(p), -np.eye(p)])


def answers(function):
    """The adapter's function: a numpy array in double precision from one of jax."""
    return lambda state: np.asarray(function(state), dtype=np.float64)


forward = answers(lambda s: s.outputs)
loss = answers(lambda s: s.value_and_gradient[0])
log_joint = answers(lambda s: s.log_joint)
gradient = answers(lambda s: s.value_and_gradient[1])
jacobian = answers(lambda s: s.jacobian)
jacobian_vp = answers(lambda s: jit(s.tangent)(s.theta))
ggn_full = answers(lambda s: s.ggn)
ggn_diag = answers(lambda s: np.diag(s.ggn))
ggn_vp = answers(lambda s: s.sandwich(s.curvatures))
ggn_blockdiag = answers(lambda s: _layers(s, s.ggn))
ggn_neuronblocks = answers(lambda s: _units(s, s.ggn))
ggn_subset = answers(lambda s: _part(s.ggn, s.problem.subset))
ggn_lastlayer = answers(lambda s: _part(s.ggn, _last(s)))
ggn_kfac = answers(lambda s: s.kfac)
ggn_kfra = answers(_kfra)
ggn_ekfac = answers(lambda s: _ekfac(s, joint=True))
ggn_ekfac_split = answers(lambda s: _ekfac(s, joint=False))
ggn_vanloan = answers(_nearest_kronecker)
hessian_full = answers(lambda s: s.hessian)
hessian_diag = answers(lambda s: np.diag(s.hessian))
hessian_blockdiag = answers(lambda s: _layers(s, s.hessian))
hessian_lastlayer = answers(lambda s: _part(s.hessian, _last(s)))
hessian_hvp = answers(lambda s: s.product_and_third[0])
third_vv = answers(lambda s: s.product_and_third[1])
fisher_full = answers(lambda s: _pulled_back(s.jacobian, s.informations))
fisher_diag = answers(lambda s: np.diag(_pulled_back(s.jacobian, s.informations)))
fisher_vp = answers(lambda s: s.sandwich(s.informations))
fisher_kfac = answers(lambda s: _kfac(s, s.informations))
fisher_empirical = answers(lambda s: s.gradients.T @ s.gradients)
fisher_empirical_diag = answers(lambda s: (s.gradients ** 2).sum(0))
fisher_empirical_vp = answers(lambda s: s.gradients.T @ (s.gradients @ s.vector))
fisher_empirical_centred = answers(lambda s: _centred(s).T @ _centred(s))
fisher_empirical_centred_diag = answers(lambda s: (_centred(s) ** 2).sum(0))
fisher_empirical_centred_vp = answers(lambda s: _centred(s).T @ (_centred(s) @ s.vector))
fisher_empirical_gram = answers(lambda s: s.gradients @ s.gradients.T)
fisher_empirical_kfac = answers(lambda s: _kfac(s, s.outer(s.y)))
fisher_mc = answers(lambda s: s.drawn.T @ s.drawn)
fisher_mc_diag = answers(lambda s: (s.drawn ** 2).sum(0))
fisher_mc_vp = answers(lambda s: s.drawn.T @ (s.drawn @ s.vector))
fisher_mc_kfac = answers(lambda s: _kfac(s, s.outer(s.labels)))
ntk = answers(lambda s: np.einsum("nip,mjp->nimj", s.jacobian, s.jacobian))
laplace_precision = answers(lambda s: s.laplace.precision)
laplace_covariance = answers(lambda s: s.laplace.covariance)
laplace_covariance_diag = answers(lambda s: np.diag(s.laplace.covariance))
laplace_covariance_vp = answers(lambda s: linalg.cho_solve((s.laplace.factor, True), s.vector))
laplace_scale = answers(lambda s: s.laplace.root)
laplace_log_det = answers(lambda s: s.laplace.log_det)
laplace_log_evidence = answers(lambda s: _evidence(s, s.laplace))
laplace_sample = answers(lambda s: s.theta + s.normals @ s.laplace.root.T)
laplace_evidence_prior = answers(lambda s: _by_prior(s, s.ggn, s.prior_precision))
laplace_evidence_noise = answers(lambda s: _by_noise(s, s.ggn, s.prior_precision))
laplace_diag_variance = answers(lambda s: 1 / np.diag(s.laplace.precision))
laplace_diag_log_det = answers(lambda s: s.diagonal.log_det)
laplace_diag_log_evidence = answers(lambda s: _evidence(s, s.diagonal))
laplace_diag_sample = answers(lambda s: s.theta + s.normals @ s.diagonal.root.T)
laplace_diag_evidence_prior = answers(lambda s: _by_prior(s, _diagonal(s.ggn), _diagonal(s.prior_precision)))
laplace_diag_evidence_noise = answers(lambda s: _by_noise(s, _diagonal(s.ggn), _diagonal(s.prior_precision)))
laplace_lastlayer_covariance = answers(lambda s: s.last_layer.covariance)
laplace_lastlayer_log_det = answers(lambda s: s.last_layer.log_det)
laplace_lastlayer_log_evidence = answers(lambda s: _partial_evidence(s, _last(s), s.last_layer))
laplace_subset_covariance = answers(lambda s: s.subset.covariance)
laplace_subset_log_det = answers(lambda s: s.subset.log_det)
laplace_subset_log_evidence = answers(lambda s: _partial_evidence(s, s.problem.subset, s.subset))
laplace_kron_covariance = answers(lambda s: s.kron.covariance)
laplace_kron_scale = answers(lambda s: s.kron.root)
laplace_kron_sample = answers(lambda s: s.theta + s.normals @ s.kron.root.T)
laplace_kron_log_det = answers(lambda s: s.kron.log_det)
laplace_kron_log_evidence = answers(lambda s: _evidence(s, s.kron))
laplace_kron_evidence_prior = answers(lambda s: _by_prior(s, s.kfac, _layers(s, s.prior_precision)))
laplace_kron_evidence_noise = answers(lambda s: _by_noise(s, s.kfac, _layers(s, s.prior_precision)))
laplace_kron_split_covariance = answers(lambda s: s.kron_apart.covariance)
laplace_kron_split_sample = answers(lambda s: s.theta + s.normals @ s.kron_apart.root.T)
laplace_kron_split_log_det = answers(lambda s: s.kron_apart.log_det)
laplace_kron_split_log_evidence = answers(lambda s: _evidence(s, s.kron_apart))
laplace_kron_split_evidence_prior = answers(
    lambda s: _by_prior(s, _tensors(s, s.kfac), _tensors(s, s.prior_precision)))
laplace_kron_split_evidence_noise = answers(
    lambda s: _by_noise(s, _tensors(s, s.kfac), _tensors(s, s.prior_precision)))
laplace_lowrank_precision = answers(lambda s: s.low_rank.precision)
laplace_lowrank_covariance = answers(lambda s: s.low_rank.covariance)
laplace_lowrank_sample = answers(lambda s: s.theta + s.normals @ s.low_rank.root.T)
laplace_lowrank_log_det = answers(lambda s: s.low_rank.log_det)
laplace_lowrank_log_evidence = answers(lambda s: _evidence(s, s.low_rank))
predictive_lowrank_variance = answers(lambda s: _spread(s.new_jacobian, s.low_rank))
laplace_hessian_lowrank_precision = answers(lambda s: s.hessian_low_rank.precision)
laplace_hessian_lowrank_log_det = answers(lambda s: s.hessian_low_rank.log_det)
laplace_hessian_lowrank_log_evidence = answers(lambda s: _evidence(s, s.hessian_low_rank))
predictive_hessian_lowrank_variance = answers(lambda s: _spread(s.new_jacobian, s.hessian_low_rank))
laplace_hessian_precision = answers(lambda s: s.from_hessian.precision)
laplace_hessian_covariance = answers(lambda s: s.from_hessian.covariance)
laplace_hessian_log_det = answers(lambda s: s.from_hessian.log_det)
laplace_hessian_log_evidence = answers(lambda s: _evidence(s, s.from_hessian))
predictive_glm_mean = answers(lambda s: s.new_outputs)
predictive_glm_variance = answers(lambda s: _spread(s.new_jacobian, s.laplace))
predictive_joint = answers(lambda s: np.einsum("mia,njb,ab->minj", s.new_jacobian, s.new_jacobian, s.laplace.covariance))
predictive_diag_variance = answers(lambda s: _spread(s.new_jacobian, s.diagonal))
predictive_lastlayer_variance = answers(lambda s: _spread(s.new_jacobian[..., _last(s)], s.last_layer))
predictive_subset_variance = answers(lambda s: _spread(s.new_jacobian[..., s.problem.subset], s.subset))
predictive_kron_variance = answers(lambda s: _spread(s.new_jacobian, s.kron))
predictive_kron_split_variance = answers(lambda s: _spread(s.new_jacobian, s.kron_apart))
predictive_probit = answers(lambda s: nn.sigmoid(_shrunk(s)))
predictive_probit_multiclass = answers(lambda s: nn.softmax(_shrunk(s)))
predictive_meanfield = answers(_mean_field)
predictive_concentration = answers(_concentrations)
predictive_bridge = answers(lambda s: _concentrations(s) / _concentrations(s).sum(-1, keepdims=True))
predictive_exact = answers(_expectations)
vi_elbo = answers(lambda s: s.bound_and_gradients[0])
vi_elbo_gradient_mean = answers(lambda s: s.bound_and_gradients[1][0])
vi_elbo_gradient_scale = answers(lambda s: s.bound_and_gradients[1][1])
vi_full_elbo = answers(lambda s: s.full_bound_and_gradients[0])
vi_full_elbo_gradient_mean = answers(lambda s: s.full_bound_and_gradients[1][0])
vi_full_elbo_gradient_scale = answers(lambda s: np.tril(s.full_bound_and_gradients[1][1]))
vi_full_kl = answers(lambda s: _kl(s, _full_precision(s), s.prior_precision))
vi_full_kl_reverse = answers(lambda s: _kl(s, s.prior_precision, _full_precision(s)))
vi_kl = answers(lambda s: _kl(s, _mean_field_precision(s), s.prior_precision))
vi_kl_reverse = answers(lambda s: _kl(s, s.prior_precision, _mean_field_precision(s)))
vi_kl_laplace = answers(lambda s: _kl(s, s.laplace.precision, s.prior_precision))
vi_kl_laplace_reverse = answers(lambda s: _kl(s, s.prior_precision, s.laplace.precision))
gp_kernel = answers(lambda s: np.einsum("nia,ab,mjb->nimj", s.jacobian, Gaussian(s.prior_precision).covariance, s.jacobian))
gp_mean = answers(_process_mean)
gp_variance = answers(_process_variance)
gp_evidence_prior = answers(lambda s: _process_slopes(s)[0])
gp_evidence_noise = answers(lambda s: _process_slopes(s)[1])
gp_loo_log_density = answers(_left_out)
gp_log_evidence = answers(_process_evidence)
predictive_mc = answers(State.mean_of_draws)
