"""Densities to draw from whose tails are safe: weights p/q stay bounded, or have a variance, only if q is nowhere too small."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, gammaln

from refbnn.gaussian import Gaussian
from refbnn.precision import Dense
from refbnn.shapes import Parameters, Values, as_array, as_positive, expect_methods


@dataclass(frozen=True)
class StudentT:
    """mean + √(ν/χ²_ν)·C z, the multivariate t with ν degrees of freedom about a Gaussian's mean and precision."""

    centre: Gaussian
    degrees_of_freedom: float

    def __post_init__(self):
        expect_methods("centre", self.centre, "mean", "precision", "from_normals")
        object.__setattr__(self, "degrees_of_freedom", as_positive("degrees_of_freedom", self.degrees_of_freedom))

    @property
    def num_params(self) -> int:
        """p."""
        return self.centre.num_params

    def log_prob(self, theta: Parameters) -> Values:
        """log t_ν(θ), constants included: (*s)."""
        nu, p = self.degrees_of_freedom, self.num_params
        _, square = self._pull(theta)
        constant = gammaln((nu + p) / 2) - gammaln(nu / 2) - p / 2 * np.log(nu * np.pi) + 0.5 * self.centre.precision.log_det()
        return constant - (nu + p) / 2 * np.log1p(square / nu)

    def gradient(self, theta: Parameters) -> Parameters:
        """−(ν + p)/(ν + δᵀPδ) P δ with δ = θ − mean: (*s p)."""
        pull, square = self._pull(theta)
        return -((self.degrees_of_freedom + self.num_params) / (self.degrees_of_freedom + square))[..., None] * pull

    def sample(self, rng: np.random.Generator, shape: tuple[int, ...] = ()) -> Parameters:
        """Independent draws: (*shape p)."""
        stretch = np.sqrt(self.degrees_of_freedom / rng.chisquare(self.degrees_of_freedom, shape))
        draws = self.centre.sample(rng, shape) - self.centre.mean
        return self.centre.mean + np.asarray(stretch)[..., None] * draws

    def _pull(self, theta: Parameters) -> tuple[Parameters, Values]:
        """P(θ − mean) and (θ − mean)ᵀP(θ − mean)."""
        centred = as_array("theta", theta, "*s p", p=self.num_params) - self.centre.mean
        pull = self.centre.precision.matvec(centred)
        return pull, (centred * pull).sum(-1)


@dataclass(frozen=True)
class Defensive:
    """(1 − share)·q + share·safe: no weight exceeds p/(share·safe), so that the prior as `safe` bounds them (Hesterberg 1995).

    q and safe: anything with num_params, log_prob, gradient and sample. Raises ValueError unless 0 < share < 1.
    """

    q: object
    safe: object
    share: float = 0.1

    def __post_init__(self):
        for name in ("q", "safe"):
            expect_methods(name, getattr(self, name), "num_params", "log_prob", "gradient", "sample")
        if self.q.num_params != self.safe.num_params:
            raise ValueError(f"safe: expected {self.q.num_params} parameters as q has, got {self.safe.num_params}")
        if not 0 < as_positive("share", self.share) < 1:
            raise ValueError(f"share: expected a number between 0 and 1, got {self.share}")

    @property
    def num_params(self) -> int:
        """p."""
        return self.q.num_params

    def log_prob(self, theta: Parameters) -> Values:
        """log of the mixture's density: (*s)."""
        return np.logaddexp(*self._log_terms(theta))

    def gradient(self, theta: Parameters) -> Parameters:
        """Its gradient, that of either part in proportion to what it adds to the density: (*s p)."""
        of_q, of_safe = self._log_terms(theta)
        safe = expit(of_safe - of_q)[..., None]
        return (1 - safe) * self.q.gradient(theta) + safe * self.safe.gradient(theta)

    def sample(self, rng: np.random.Generator, shape: tuple[int, ...] = ()) -> Parameters:
        """Independent draws: (*shape p)."""
        safe = rng.random(shape) < self.share
        return np.where(np.asarray(safe)[..., None], self.safe.sample(rng, shape), self.q.sample(rng, shape))

    def _log_terms(self, theta: Parameters) -> tuple[Values, Values]:
        """The logarithms of the two summands."""
        return np.log1p(-self.share) + self.q.log_prob(theta), np.log(self.share) + self.safe.log_prob(theta)


def widened(q: Gaussian, factor: float) -> Gaussian:
    """q with its covariance times `factor`."""
    return Gaussian(q.mean, Dense(q.precision.matrix() / as_positive("factor", factor)))
