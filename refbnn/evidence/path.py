"""From a density that is known to one that is not: p_β ∝ q^(1−β) p^β."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refbnn.shapes import Parameters, Values, as_array, as_count, as_positive, expect_methods


@dataclass(frozen=True)
class Path:
    """The geometric path from `start`, normalised (log_prob, gradient, sample), to `target` (log_prob, value_and_gradient).

    With a posterior and its prior, p_β ∝ p(y|θ)^β p(θ), Eq. (path). A Gaussian near the posterior makes a shorter path. Raises
    ValueError for another number of parameters.
    """

    target: object
    start: object

    def __post_init__(self):
        expect_methods("target", self.target, "num_params", "log_prob", "value_and_gradient")
        expect_methods("start", self.start, "num_params", "log_prob", "gradient", "sample")
        if self.start.num_params != self.target.num_params:
            expected = self.target.num_params
            raise ValueError(f"start: expected {expected} parameters as the target has, got {self.start.num_params}")

    @property
    def num_params(self) -> int:
        """p."""
        return self.target.num_params

    def log_ratio(self, theta: Parameters) -> Values:
        """log p(y, θ) − log q(θ), which is log p(y|θ) when q is the prior: (*s)."""
        return self.target.log_prob(theta) - self.start.log_prob(theta)

    def at(self, beta: float) -> Between:
        """The unnormalised density at β, as a target of samplers: 0 <= β <= 1."""
        return Between(self, beta)


@dataclass(frozen=True)
class Between:
    """log q + β (log p − log q), not normalised; `prior` and `log_likelihood` are its two parts, for kernels that need them."""

    path: Path
    beta: float

    def __post_init__(self):
        beta = float(as_array("beta", self.beta, ""))
        if not 0 <= beta <= 1:
            raise ValueError(f"beta: expected a number from 0 to 1, got {beta:g}")
        object.__setattr__(self, "beta", beta)

    @property
    def num_params(self) -> int:
        """p."""
        return self.path.num_params

    @property
    def prior(self) -> object:
        """q."""
        return self.path.start

    def tempered(self, beta: float) -> Between:
        """The same at β times `beta`: what sequential Monte Carlo (refbnn.samplers.smc) asks of a target."""
        return Between(self.path, self.beta * beta)

    def log_likelihood(self, theta: Parameters) -> Values:
        """β (log p − log q): (*s)."""
        return self.beta * self.path.log_ratio(theta)

    def log_prob(self, theta: Parameters) -> Values:
        """(1 − β) log q + β log p: (*s)."""
        return self.path.start.log_prob(theta) + self.log_likelihood(theta)

    def value_and_gradient(self, theta: Parameters) -> tuple[Values, Parameters]:
        """The same (*s) and its gradient (*s p)."""
        value, gradient = self.path.target.value_and_gradient(theta)
        start = self.path.start
        return ((1 - self.beta) * start.log_prob(theta) + self.beta * value,
                (1 - self.beta) * start.gradient(theta) + self.beta * gradient)


def ladder(num_steps: int, power: float = 4.0) -> np.ndarray:
    """β_i = (i/n)^power, i = 0 to n = `num_steps`: small steps near the start, where the density changes most: (n + 1)."""
    return (np.arange(as_count("num_steps", num_steps) + 1) / num_steps) ** as_positive("power", power)


def as_ladder(betas: object) -> np.ndarray:
    """Increasing from 0 to 1, or ValueError."""
    betas = as_array("betas", betas, "b")
    if len(betas) < 2 or betas[0] != 0 or betas[-1] != 1 or not (np.diff(betas) > 0).all():
        raise ValueError(f"betas: expected numbers that increase from 0 to 1, got {betas}")
    return betas


def moved(target: object, kernel: object, theta: Parameters, streams: object, num_steps: int) -> Parameters:
    """θ (c p) after `num_steps` updates by a kernel that leaves the target as it is."""
    state = kernel.init(target, theta)
    for _ in range(num_steps):
        state, _ = kernel.step(target, state, streams)
    return state.theta
