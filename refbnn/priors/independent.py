"""What priors with independent parameters, symmetric about 0, share: scalar formulas become sums, vectors and matrices."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from refbnn.shapes import Matrix, Parameters, Values, Vector, as_array, as_count, as_own_array, expect_methods


class NoDerivative(ValueError):
    """A density has no derivative at the point asked for: a kink, or a pole."""


@dataclass(frozen=True)
class IndependentPrior(ABC):
    """p(θ) = Π_j p(θ_j), each with its own `scale`: a positive number for all, or one a parameter (p).

    A member defines the formulas of one parameter, elementwise.
    """

    num_params: int
    scale: float | Vector

    def __post_init__(self):
        object.__setattr__(self, "num_params", as_count("num_params", self.num_params))
        object.__setattr__(self, "scale", positive_entries("scale", self.scale, self.num_params))

    @abstractmethod
    def log_density(self, theta):
        """log p(θ_j), constants included."""

    @abstractmethod
    def score(self, theta):
        """∂ log p/∂θ_j. Raises NoDerivative where there is none."""

    @abstractmethod
    def bend(self, theta):
        """−∂² log p/∂θ_j². Raises NoDerivative where there is none."""

    @abstractmethod
    def draw(self, rng, shape):
        """Independent draws: (*shape p)."""

    def log_prob(self, theta: Parameters) -> Values:
        """log p(θ), constants included: (*s)."""
        return self.log_density(self._vectors(theta)).sum(-1)

    def gradient(self, theta: Parameters) -> Parameters:
        """∇ log p(θ): (*s p)."""
        return self.score(self._vectors(theta))

    def negative_hessian(self, theta: Vector) -> Matrix:
        """−∇² log p(θ), a diagonal matrix, with negative entries in heavy tails: (p p)."""
        return np.diag(self.bend(as_array("theta", theta, "p", p=self.num_params)))

    def sample(self, rng: np.random.Generator, shape: tuple[int, ...] = ()) -> Parameters:
        """Independent draws: (*shape p)."""
        expect_methods("rng", rng, "standard_normal")
        return self.draw(rng, (*shape, self.num_params))

    def _vectors(self, theta):
        return as_array("theta", theta, "*s p", p=self.num_params)


def positive_entries(name: str, value: object, num_params: int) -> np.ndarray:
    """A positive number, or one a parameter, as a private (p) array. Raises ValueError."""
    entries = as_own_array(name, np.full(num_params, value) if np.ndim(value) == 0 else value, "p", p=num_params)
    if not (entries > 0).all():
        raise ValueError(f"{name}: expected positive entries, got a smallest one of {entries.min():g}")
    return entries


def refuse_zero(theta: np.ndarray, what: str, within: float | np.ndarray = 0.0) -> None:
    """Raise NoDerivative where a parameter is 0, or nearer to it than `within`."""
    near = np.abs(theta) <= within
    if near.any():
        place = tuple(np.argwhere(near)[0])
        raise NoDerivative(
            f"theta: expected parameters that are not 0, where the prior has {what}; parameter {place[-1]} is {theta[place]:g}"
        )
