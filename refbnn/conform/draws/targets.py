"""What else a sampler may have drawn from, by the usual slips, and the exact averages under that: trapezoidal rule on a grid.

A slip changes log p(y | θ) and log p(θ) by a factor, or moves the prior. With one or two parameters the averages under what comes
of it are sums over a grid, so that draws can be held against each of them as they are against the posterior.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refbnn.conform.adapters import refbnn as reference
from refbnn.conform.draws.functions import averages

Array = NDArray[np.float64]

LARGEST = 2  # parameters of a grid
REACH, DEPTHS, POINTS = 12.0, (150.0, 60.0, 38.0), (121, 121, 161)  # prior deviations; nats kept, nodes a direction, grid by grid
EDGE = 20.0  # nats: what is no further below its largest value at the edge of the widest grid has no end there

Power = Callable[[Any], float | None]  # of a problem; None where the slip cannot be made


@dataclass(frozen=True)
class Target:
    """p(y | θ)^a p(θ)^b, with the prior's mean at 0 if `centred`; and what one did who draws from it."""

    key: str
    sentence: str
    advice: str
    likelihood: Power
    prior: Power
    centred: bool = False
    complexity: int = 1

    def log_density(self, state: Any, theta: Array) -> Array | None:
        """At θ (*s p), up to a constant; None where the slip cannot be made."""
        a, b = self.likelihood(state.problem), self.prior(state.problem)
        if a is None or b is None or (self.centred and not state.problem.prior_mean.any()):
            return None
        away = theta if self.centred else theta - state.problem.prior_mean
        return a * state.posterior.log_likelihood(theta) - 0.5 * b * (away @ state.problem.prior_precision * away).sum(-1)

    def means(self, case: Any) -> list[float] | None:
        """Averages of the functions that draws are judged by; None where there are none, or no grid for them."""
        state = reference.prepare(case.problem)
        if len(case.problem.theta) > LARGEST:
            return None
        spread = REACH / np.sqrt(np.diag(case.problem.prior_precision))
        low, high = case.problem.prior_mean - spread, case.problem.prior_mean + spread
        for depth, points in zip(DEPTHS, POINTS):
            theta = _nodes(low, high, points)
            with np.errstate(all="ignore"):
                log_density = self.log_density(state, theta)
            if log_density is None or not np.isfinite(log_density.max()):
                return None
            if depth == DEPTHS[0] and _has_no_end(log_density, points, len(low)):
                return None
            kept, step = theta[log_density > log_density.max() - depth], (high - low) / (points - 1)
            low, high = kept.min(0) - step, kept.max(0) + step
        weights = np.exp(log_density - log_density.max())
        heavy = weights > math.exp(-DEPTHS[-1])
        weights = weights[heavy] / weights[heavy].sum()
        return [float(weights @ average.values) for average in averages(case, theta[heavy])]


def _nodes(low: Array, high: Array, points: int) -> Array:
    axes = np.meshgrid(*[np.linspace(a, b, points) for a, b in zip(low, high)], indexing="ij")
    return np.stack([axis.ravel() for axis in axes], axis=-1)


def _has_no_end(log_density: Array, points: int, size: int) -> bool:
    grid = log_density.reshape((points,) * size)
    edges = [grid.take(end, axis).max() for axis in range(size) for end in (0, -1)]
    return max(edges) > grid.max() - EDGE


def _constant(value: float) -> Power:
    return lambda problem: value


def _data(power: int) -> Power:
    return lambda problem: float(len(problem.X)) ** power


def _noise(power: float) -> Power:
    """(σ²)^power, for Normal noise."""
    return lambda problem: None if problem.variance is None else problem.variance ** power


def _precision(power: float) -> Power:
    """τ^power, for a prior that has one precision, and that not 1."""
    def of(problem: Any) -> float | None:
        tau = problem.prior_precision[0, 0]
        isotropic = np.array_equal(problem.prior_precision, tau * np.eye(len(problem.prior_precision)))
        return float(tau ** power) if isotropic and tau != 1 else None
    return of


ONE = _constant(1.0)
TARGETS = (
    Target("prior_forgotten", "The prior is missing: draws of the normalised likelihood", "add log p(θ) to the log density",
           ONE, _constant(0.0)),
    Target("prior_doubled", "The prior counts twice", "add log p(θ) once, with its ½", ONE, _constant(2.0)),
    Target("likelihood_forgotten", "The likelihood is missing: draws from the prior", "add log p(y | θ) to the log density",
           _constant(0.0), ONE),
    Target("likelihood:N", "The log-likelihood counts N times", "sum it over the data and do not multiply by N", _data(1), ONE),
    Target("likelihood:1/N", "The log-likelihood is averaged over data", "multiply it by N, or sum it over the data",
           _data(-1), ONE),
    Target("likelihood:2", "The log-likelihood counts twice", "add it once; a squared error has a ½", _constant(2.0), ONE),
    Target("likelihood:1/2", "The log-likelihood counts half", "add it once, without another ½", _constant(0.5), ONE),
    Target("noise:std", "The standard deviation of the noise is taken for its variance", "divide the squared error by σ²",
           _noise(0.5), ONE),
    Target("noise:squared", "The variance of the noise is taken for its standard deviation",
           "hand √problem.variance to whatever wants a scale", _noise(-1.0), ONE),
    Target("noise:one", "The variance of the noise is taken to be 1", "divide the squared error by problem.variance",
           _noise(1.0), ONE),
    Target("noise:precision", "The variance of the noise is taken for its precision", "divide by problem.variance",
           _noise(2.0), ONE),
    Target("prior:one", "The precision of the prior is taken to be 1", "use problem.prior_precision", ONE, _precision(-1.0)),
    Target("prior:variance", "The precision of the prior is taken for its variance", "invert problem.prior_precision",
           ONE, _precision(-2.0)),
    Target("prior:std", "The precision of the prior is taken for its standard deviation",
           "hand 1/√precision to whatever wants a scale", ONE, _precision(-3.0)),
    Target("prior:root", "The standard deviation of the prior is taken for its variance",
           "square it, or hand it to what wants a scale", ONE, _precision(-0.5)),
    Target("prior:N", "The prior counts N times, once with every datum", "add log p(θ) once, outside the sum over data",
           ONE, _data(1)),
    Target("prior:1/N", "The log prior is divided by N", "divide neither part of the log density, or both", ONE, _data(-1)),
    Target("prior_mean_ignored", "The mean of the prior is taken to be zero", "use problem.prior_mean", ONE, ONE, centred=True),
    Target("temperature:1/2", "The log density counts twice: a posterior at temperature ½", "a squared norm has a ½, once",
           _constant(2.0), _constant(2.0)),
    Target("temperature:2", "The log density counts half: a posterior at temperature 2", "leave out the ½",
           _constant(0.5), _constant(0.5)),
    Target("temperature:1/N", "The log density counts N times", "do not multiply it by N", _data(1), _data(1)),
    Target("temperature:N", "The log density is divided by N", "sum over data and leave log p(y, θ) as it is",
           _data(-1), _data(-1)),
)
