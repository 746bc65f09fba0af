"""Priors over hyper-parameters, sampled together with the weights (Neal 1996): the prior can then be questioned by the data.

    noise, precisions = hyper.UnknownNoise(hyper.Gamma(2.0, 0.1)), hyper.per_layer(net.layer_sizes)
    target = hyper.Hierarchical(net, noise, precisions, hyper.Gamma(1.0, 0.5), X, y)

ζ = (θ, ξ): the weights, then the logarithms of the prior precisions and, last, of the noise precision. `target` is a density of ζ
for any sampler; `Gibbs(kernel)` alternates a kernel for θ with exact draws of ξ given θ. Both leave the same density as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from refbnn.hyper.gamma import Gamma
from refbnn.hyper.precisions import Precisions
from refbnn.shapes import Inputs, Parameters, Targets, Values, as_array, expect_methods


@dataclass(frozen=True)
class Hyperprior:
    """p(θ|ξ) p(ξ): θ_j ~ N(μ_j, 1/λ_g) in group g, λ_g ~ `prior`, and the hyper-parameters of the noise."""

    precisions: Precisions
    prior: Gamma
    noise: object

    @property
    def num_params(self) -> int:
        """The length of ζ."""
        return self.precisions.num_params + self.precisions.num_hyper + self.noise.num_hyper

    def split(self, zeta: Parameters) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """θ, log λ and the hyper-parameters of the noise."""
        zeta = as_array("zeta", zeta, "*s p", p=self.num_params)
        first, second = self.precisions.num_params, self.precisions.num_params + self.precisions.num_hyper
        return zeta[..., :first], zeta[..., first:second], zeta[..., second:]

    def log_prob(self, zeta: Parameters) -> Values:
        """Σ_g [½ p_g (ξ_g − log 2π) − ½ λ_g ‖θ_g − μ_g‖² + log p(ξ_g)] + log p(noise), Eq. (hierarchical): (*s)."""
        theta, xi, noise = self.split(zeta)
        sizes = self.precisions.sizes
        of_theta = 0.5 * (sizes * (xi - np.log(2 * np.pi)) - np.exp(xi) * self.squares(theta)).sum(-1)
        return of_theta + self.prior.log_density(xi).sum(-1) + self.noise.log_prior(noise)

    def gradient(self, zeta: Parameters) -> Parameters:
        """−λ_g (θ_g − μ_g); ½ p_g − ½ λ_g ‖θ_g − μ_g‖² + a − b λ_g; that of the noise, Eq. (hierarchical-gradient): (*s p)."""
        theta, xi, noise = self.split(zeta)
        of_theta = -np.exp(xi)[..., self.precisions.groups] * (theta - self.precisions.mean)
        of_xi = 0.5 * (self.precisions.sizes - np.exp(xi) * self.squares(theta)) + self.prior.slope(xi)
        return np.concatenate([of_theta, of_xi, self.noise.prior_slope(noise)], -1)

    def sample(self, rng: np.random.Generator, shape: tuple[int, ...] = ()) -> Parameters:
        """Independent draws of ζ: (*shape p)."""
        xi = np.log(rng.gamma(self.prior.shape, 1 / self.prior.rate, (*shape, self.precisions.num_hyper)))
        normals = rng.standard_normal((*shape, self.precisions.num_params))
        theta = self.precisions.mean + np.exp(-0.5 * xi)[..., self.precisions.groups] * normals
        return np.concatenate([theta, xi, self.noise.sample(rng, shape)], -1)

    def squares(self, theta: np.ndarray) -> np.ndarray:
        """‖θ_g − μ_g‖² of every group: (*s h)."""
        members = (self.precisions.groups[:, None] == np.arange(self.precisions.num_hyper)).astype(float)
        return (theta - self.precisions.mean)**2 @ members


@dataclass(frozen=True)
class Hierarchical:
    """p(ζ|y) ∝ p(y|θ, ξ) p(θ|ξ) p(ξ) as a target: num_params, log_prob, value_and_gradient, log_likelihood, prior.

    `noise` is Known(likelihood) or UnknownNoise(Gamma), `precisions` a Precisions, `precision_prior` the Gamma of each precision.
    """

    net: object
    noise: object
    precisions: Precisions
    precision_prior: Gamma
    X: Inputs
    y: Targets

    def __post_init__(self):
        expect_methods("noise", self.noise, "num_hyper", "loss", "joint", "given")
        expect_methods("precisions", self.precisions, "num_hyper", "groups", "sizes")
        if self.precisions.num_params != self.net.num_params:
            raise ValueError(f"precisions: expected {self.net.num_params} parameters as the network has, got "
                             f"{self.precisions.num_params}")
        object.__setattr__(self, "loss", self.noise.loss(self.net, self.X, self.y))
        object.__setattr__(self, "prior", Hyperprior(self.precisions, self.precision_prior, self.noise))

    @property
    def num_params(self) -> int:
        """The length of ζ: weights, precisions, noise."""
        return self.prior.num_params

    def log_likelihood(self, zeta: Parameters) -> Values:
        """log p(y|θ, ξ): (*s)."""
        theta, _, noise = self.prior.split(zeta)
        return self.noise.joint(self.loss, theta, noise)[0]

    def log_prob(self, zeta: Parameters) -> Values:
        """log p(y, θ, ξ), every constant kept: (*s)."""
        return self.log_likelihood(zeta) + self.prior.log_prob(zeta)

    def value_and_gradient(self, zeta: Parameters) -> tuple[Values, Parameters]:
        """The same (*s) and its gradient (*s p)."""
        theta, xi, noise = self.prior.split(zeta)
        value, of_theta, of_noise = self.noise.joint(self.loss, theta, noise)
        likelihood = np.concatenate([of_theta, np.zeros_like(xi), of_noise], -1)
        return value + self.prior.log_prob(zeta), likelihood + self.prior.gradient(zeta)

    def given(self, zeta: Parameters) -> object:
        """The density of θ with ξ as in ζ (c p): a target in which every chain has its own hyper-parameters."""
        return WeightsGiven(self, zeta[..., self.net.num_params:])

    def hyper_given(self, theta: np.ndarray, generators: Sequence[np.random.Generator]) -> np.ndarray:
        """ξ drawn from p(ξ|θ, y), independent Gammas of the precisions, for the weights of c chains: (c h)."""
        counts, squares = self.precisions.sizes, self.prior.squares(theta)
        of_precisions = self.precision_prior.given(counts, squares, generators)
        return np.concatenate([of_precisions, self.noise.given(self.loss, theta, generators)], -1)


@dataclass(frozen=True)
class WeightsGiven:
    """p(θ|ξ, y) up to a constant, ξ (c h) fixed chain by chain."""

    target: Hierarchical
    xi: np.ndarray

    @property
    def num_params(self) -> int:
        """p."""
        return self.target.net.num_params

    def value_and_gradient(self, theta: Parameters) -> tuple[Values, Parameters]:
        """log p(y, θ, ξ) (c) and its gradient in θ (c p)."""
        value, gradient = self.target.value_and_gradient(np.concatenate([theta, self.xi], -1))
        return value, gradient[..., :self.num_params]
