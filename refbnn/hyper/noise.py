"""Likelihoods as parts of a hierarchical model: with a noise precision of its own, or without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from refbnn.hyper.gamma import Gamma
from refbnn.likelihoods import Normal
from refbnn.loss import Loss
from refbnn.shapes import Inputs, Parameters, Targets, Values, expect_methods


@dataclass(frozen=True)
class Known:
    """A likelihood without hyper-parameters."""

    likelihood: object
    num_hyper = 0

    def __post_init__(self):
        expect_methods("likelihood", self.likelihood, "log_prob", "residual", "check_targets")

    def loss(self, net: object, X: Inputs, y: Targets) -> Loss:
        """−log p(y|θ)."""
        return Loss(net, self.likelihood, X, y)

    def joint(self, loss: Loss, theta: Parameters, xi: np.ndarray) -> tuple[Values, Parameters, np.ndarray]:
        """log p(y|θ) (*s), its gradient in θ (*s p), and none in ξ (*s 0)."""
        value, gradient = loss.value_and_gradient(theta)
        return -value, -gradient, np.zeros_like(xi)

    def log_prior(self, xi: np.ndarray) -> Values:
        """0: (*s)."""
        return xi.sum(-1)

    def prior_slope(self, xi: np.ndarray) -> np.ndarray:
        """None: (*s 0)."""
        return np.zeros_like(xi)

    def given(self, loss: Loss, theta: Parameters, generators: Sequence[np.random.Generator]) -> np.ndarray:
        """None: (c 0)."""
        return np.zeros((len(theta), 0))

    def sample(self, rng: np.random.Generator, batch: tuple[int, ...]) -> np.ndarray:
        """None: (*s 0)."""
        return np.zeros((*batch, 0))


@dataclass(frozen=True)
class UnknownNoise:
    """y ~ N(f, 1/τ), τ ~ `prior`; ξ = log τ."""

    prior: Gamma
    num_hyper = 1

    def __post_init__(self):
        expect_methods("prior", self.prior, "log_density", "slope", "given")

    def loss(self, net: object, X: Inputs, y: Targets) -> Loss:
        """½ SSE + ½ nk log 2π: the loss at τ = 1, which every other is made of."""
        return Loss(net, Normal(1.0), X, y)

    def joint(self, loss: Loss, theta: Parameters, xi: np.ndarray) -> tuple[Values, Parameters, np.ndarray]:
        """½ nk (log τ − log 2π) − ½ τ SSE (*s), its gradient in θ (*s p) and in log τ (*s 1), Eq. (noise-precision)."""
        value, gradient = loss.value_and_gradient(theta)
        tau, size = np.exp(xi[..., 0]), loss.y.size
        half_squares = value - 0.5 * size * np.log(2 * np.pi)
        log_prob = 0.5 * size * (xi[..., 0] - np.log(2 * np.pi)) - tau * half_squares
        return log_prob, -tau[..., None] * gradient, (0.5 * size - tau * half_squares)[..., None]

    def log_prior(self, xi: np.ndarray) -> Values:
        """log p(ξ): (*s)."""
        return self.prior.log_density(xi[..., 0])

    def prior_slope(self, xi: np.ndarray) -> np.ndarray:
        """Its slope: (*s 1)."""
        return self.prior.slope(xi)

    def given(self, loss: Loss, theta: Parameters, generators: Sequence[np.random.Generator]) -> np.ndarray:
        """log τ drawn given θ: (c 1)."""
        squares = 2 * loss.value(theta) - loss.y.size * np.log(2 * np.pi)
        return self.prior.given(loss.y.size, squares[:, None], generators)

    def sample(self, rng: np.random.Generator, batch: tuple[int, ...]) -> np.ndarray:
        """Draws of ξ from the prior: (*s 1)."""
        return np.log(rng.gamma(self.prior.shape, 1 / self.prior.rate, (*batch, 1)))
