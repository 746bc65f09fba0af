"""Densities whose moments are known, awkward on purpose: dense, ill-conditioned, asymmetric, with several modes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln, logsumexp, psi

from refbnn import Gaussian
from refbnn.precision import Dense


@dataclass(frozen=True)
class Normal:
    """N(mean, P⁻¹) as a target."""

    gaussian: Gaussian

    @property
    def num_params(self):
        """p."""
        return self.gaussian.num_params

    def value_and_gradient(self, theta):
        """Both in closed form."""
        return self.gaussian.log_prob(theta), self.gaussian.gradient(theta)

    def sample(self, rng, num_draws):
        """Exact draws."""
        return self.gaussian.sample(rng, (num_draws,))


def dense_normal(num_params: int, condition: float, seed: int = 0) -> Normal:
    """A Gaussian with a dense covariance whose eigenvalues spread over a factor `condition`, and a mean that is not 0."""
    rng = np.random.default_rng(seed)
    Q = np.linalg.qr(rng.normal(size=(num_params, num_params)))[0]
    precision = (Q * np.geomspace(1, condition, num_params)) @ Q.T
    return Normal(Gaussian(rng.normal(size=num_params), Dense((precision + precision.T) / 2)))


@dataclass(frozen=True)
class LogGamma:
    """θ = A x with x_j = log of a Gamma(shape_j) variable, independent: skewed, exact draws, exact moments of x."""

    A: np.ndarray
    shape: np.ndarray

    @property
    def num_params(self):
        """p."""
        return len(self.shape)

    def value_and_gradient(self, theta):
        """log p(x) = Σ shape_j x_j − exp(x_j) − log Γ(shape_j), minus log |det A|."""
        x = np.linalg.solve(self.A, theta[..., None])[..., 0]
        e = np.exp(x)
        log_det = np.linalg.slogdet(self.A)[1]
        return (self.shape * x - e - gammaln(self.shape)).sum(-1) - log_det, (self.shape - e) @ np.linalg.inv(self.A)

    def sample(self, rng, num_draws):
        """Exact draws."""
        return np.log(rng.gamma(self.shape, size=(num_draws, self.num_params))) @ self.A.T

    def moments(self):
        """Mean and covariance of θ."""
        return self.A @ psi(self.shape), (self.A * _trigamma(self.shape)) @ self.A.T


def _trigamma(shape):
    from scipy.special import polygamma

    return polygamma(1, shape)


@dataclass(frozen=True)
class Mixture:
    """Σ_k w_k N(m_k, s²I): several modes."""

    weights: np.ndarray
    means: np.ndarray
    std: float

    @property
    def num_params(self):
        """p."""
        return self.means.shape[-1]

    def value_and_gradient(self, theta):
        """Both from the responsibilities."""
        centred = theta[..., None, :] - self.means
        log_terms = np.log(self.weights) - 0.5 * (centred**2).sum(-1) / self.std**2
        total = logsumexp(log_terms, axis=-1)
        responsibilities = np.exp(log_terms - total[..., None])
        constant = 0.5 * self.num_params * np.log(2 * np.pi * self.std**2)
        return total - constant, -(responsibilities[..., None] * centred).sum(-2) / self.std**2

    def sample(self, rng, num_draws):
        """Exact draws."""
        chosen = rng.choice(len(self.weights), num_draws, p=self.weights)
        return self.means[chosen] + self.std * rng.standard_normal((num_draws, self.num_params))
