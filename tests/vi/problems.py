"""Small posteriors whose integrals are known: quadratic, linear with classes, and the smallest network, with two parameters."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import logsumexp

from refbnn import Gaussian, Linearised, Mlp, Posterior, activations, likelihoods, optimize, priors, quadrature, vi
from refbnn.precision import Dense
from refbnn.vi import families

RULE = quadrature.gauss_hermite(2, 48)
OUTPUTS = vi.OverOutputs(quadrature.gauss_hermite(1, 60))


def positive_definite(rng, size):
    """A dense one, eigenvalues of order one."""
    A = rng.normal(size=(size, size))
    return A @ A.T / size + np.eye(size)


def gaussian(seed, size, std=1.0):
    """A dense Gaussian."""
    rng = np.random.default_rng(seed)
    return Gaussian(0.5 * rng.normal(size=size), Dense(positive_definite(rng, size) / std**2))


@lru_cache
def regression(inputs=3, outputs=2, num_data=7):
    """A linear model with a Normal likelihood and a dense prior: its posterior is Gaussian."""
    rng = np.random.default_rng(50)
    net = Mlp((inputs, outputs), ())
    prior = priors.full(positive_definite(rng, net.num_params), rng.normal(size=net.num_params))
    X, y = rng.normal(size=(num_data, inputs)), rng.normal(size=(num_data, outputs))
    return Posterior(net, likelihoods.Normal(0.37), prior, X, y)


@lru_cache
def logistic(inputs=1, num_data=11, seed=51):
    """A linear model with binary targets and a dense prior."""
    rng = np.random.default_rng(seed)
    net = Mlp((inputs, 1), ())
    prior = priors.full(0.3 * positive_definite(rng, net.num_params), 0.2)
    X = rng.normal(size=(num_data, inputs))
    return Posterior(net, likelihoods.Bernoulli(), prior, X, (X[:, :1] + rng.normal(size=(num_data, 1)) > 0.3).astype(float))


@lru_cache
def network(num_data=5, likelihood="normal"):
    """f = v tanh(w x): two parameters, a posterior with two bent modes."""
    rng = np.random.default_rng(52)
    X = rng.normal(size=(num_data, 1))
    y = 0.9 * np.tanh(1.3 * X) + 0.3 * rng.normal(size=X.shape)
    chosen = {"normal": (likelihoods.Normal(0.1), y), "bernoulli": (likelihoods.Bernoulli(), (y > 0).astype(float))}
    return Posterior(Mlp((1, 1, 1), activations.tanh, bias=False), chosen[likelihood][0], priors.isotropic(2, 0.8), X,
                     chosen[likelihood][1])


@lru_cache
def heavy_tailed():
    """The small network under a Student-t prior, which is no Gaussian and has to be summed; its data say little."""
    post = network()
    return Posterior(post.net, likelihoods.Normal(40.0), priors.StudentT(2, 0.9, 5.0), post.X, post.y)


def in_units(w, v):
    """`network()` for the parameters (w·θ_1, v·θ_2): inputs over w, targets times v, the prior's precision over the squares."""
    post = network()
    prior = priors.per_parameter(0.8 / np.array([w, v]) ** 2)
    return Posterior(post.net, likelihoods.Normal(0.1 * v**2), prior, post.X / w, post.y * v)


def scaled(q, by):
    """The law of diag(by) θ."""
    return Gaussian(by * q.mean, Dense(q.precision.matrix() / by[:, None] / by))


@lru_cache
def deep(likelihood="bernoulli", activation=activations.tanh, seed=53):
    """A 2-3-1 network with biases: thirteen parameters."""
    rng = np.random.default_rng(seed)
    net = Mlp((2, 3, 1), activation)
    X = rng.normal(size=(7, 2))
    targets = {"bernoulli": (likelihoods.Bernoulli(), rng.integers(0, 2, (7, 1)).astype(float)),
               "normal": (likelihoods.Normal(0.37), rng.normal(size=(7, 1)))}[likelihood]
    return Posterior(net, targets[0], priors.isotropic(net.num_params, 1.3), X, targets[1])


@lru_cache
def linearised():
    """The small network linearised at its mode, and the mode."""
    mode = optimize.maximize(network(), np.array([1.2, 0.9])).theta
    post = network()
    return Posterior(Linearised(post.net, at=mode), post.likelihood, post.prior, post.X, post.y), mode


@lru_cache
def optimum(name="network", family="full"):
    """The optimum of the bound by BFGS with the rule for two parameters."""
    post = {"network": network, "logistic": logistic}[name]()
    chosen = {"full": families.Full(2), "mean_field": families.MeanField(2)}[family]
    return vi.quasi_newton(post, chosen, vi.OverParameters(RULE), start(name))


def start(name="network"):
    """A Gaussian in one mode."""
    mean = np.array([1.2, 0.9]) if name == "network" else np.zeros(2)
    return Gaussian(mean, Dense(np.array([[5.0, 0.7], [0.7, 6.0]])))


@dataclass(frozen=True, eq=False)
class Grid:
    """A posterior over two parameters as a normalised sum over a square: what is exact, with an error from half of the points."""

    posterior: Posterior
    half_width: float = 9.0
    num_points: int = 601

    def _nodes(self, stride):
        line = np.linspace(-self.half_width, self.half_width, self.num_points)[::stride]
        theta = np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1).reshape(-1, 2)
        return theta, self.posterior.log_prob(theta) + 2 * np.log(line[1] - line[0])

    def log_evidence(self):
        """log p(y), and its error."""
        fine, coarse = (float(logsumexp(self._nodes(stride)[1])) for stride in (1, 2))
        return quadrature.Integral(fine, abs(fine - coarse) + 1e-12)

    def expect(self, g):
        """E g under the posterior, and its error."""
        values = []
        for stride in (1, 2):
            theta, log_mass = self._nodes(stride)
            values.append(np.tensordot(np.exp(log_mass - logsumexp(log_mass)), g(theta), 1))
        return quadrature.Integral(values[0], np.abs(values[0] - values[1]) + 1e-12 * np.abs(values[0]))


@lru_cache
def grid(name):
    """The grid of a problem."""
    return Grid({"network": network, "logistic": logistic}[name]())
