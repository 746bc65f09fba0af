"""Posteriors of tiny networks by product quadrature: what every kernel must agree with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refbnn import Mlp, Posterior, activations, likelihoods, priors


@dataclass(frozen=True)
class Exact:
    """A posterior with its log evidence and the moments of θ ⊗ θ and of f at two inputs, by the trapezoid rule."""

    posterior: Posterior
    log_evidence: float
    second_moments: np.ndarray
    f_mean: np.ndarray
    f_square: np.ndarray
    X_new: np.ndarray

    @property
    def expected(self) -> np.ndarray:
        """The moments that `statistics` estimates, side by side."""
        return np.concatenate([self.second_moments, self.f_mean, self.f_square])

    def statistics(self, theta: np.ndarray) -> np.ndarray:
        """θ_j², f and f² at the new inputs, side by side: (*s, ...)."""
        f = self.posterior.net.forward(theta, self.X_new)[..., 0]
        return np.concatenate([theta**2, f, f**2], axis=-1)


def one_unit() -> Exact:
    """A 1-1-1 tanh network without biases, 5 data: two parameters, two modes that are each other's image, curved."""
    rng = np.random.default_rng(2)
    net = Mlp((1, 1, 1), activations.tanh, bias=False)
    X = np.array([[-1.3], [-0.4], [0.3], [0.9], [1.7]])
    y = 1.2 * np.tanh(0.9 * X) + 0.3 * rng.standard_normal(X.shape)
    return integrated(Posterior(net, likelihoods.Normal(0.3), priors.isotropic(2, 0.7, mean=0.1), X, y), 9.0)


def logistic() -> Exact:
    """Logistic regression on two inputs with a bias, 7 data: three parameters, skewed."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(7, 2))
    y = (X[:, :1] + 0.5 * rng.normal(size=(7, 1)) > 0).astype(float)
    return integrated(Posterior(Mlp((2, 1), ()), likelihoods.Bernoulli(), priors.isotropic(3, 0.5), X, y), 12.0, 101)


def integrated(posterior: Posterior, reach: float, num_points: int = 201) -> Exact:
    """Every moment on a grid of num_points^p over [−reach, reach]^p, the boundary far out in the tails of the prior."""
    p, axis = posterior.num_params, np.linspace(-reach, reach, num_points)
    grid = np.stack(np.meshgrid(*[axis] * p, indexing="ij"), -1).reshape(-1, p)
    log_prob = posterior.log_prob(grid)
    weights = np.exp(log_prob - log_prob.max())
    total = weights.sum()
    X_new = np.linspace(-1, 1, 2 * posterior.net.num_inputs).reshape(2, -1)
    f = posterior.net.forward(grid, X_new)[..., 0]
    mean = lambda values: weights @ values / total
    log_evidence = log_prob.max() + np.log(total) + p * np.log(axis[1] - axis[0])
    return Exact(posterior, log_evidence, mean(grid**2), mean(f), mean(f**2), X_new)
