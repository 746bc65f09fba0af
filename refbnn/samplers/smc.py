"""Sequential Monte Carlo along p(y|θ)^β p(θ), β from 0 to 1 (Del Moral, Doucet and Jasra 2006): draws and their evidence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from refbnn.samplers.streams import Streams
from refbnn.shapes import Parameters, Values, Vector, as_array, as_count, expect_methods

Ladder = Callable[[float, Values], float]  # (β, log p(y|θ) of all particles) to the next β


@dataclass(frozen=True)
class Particles:
    """Draws from the posterior, θ (s p), all of one weight; log p(y) estimated; β of every rung (rungs + 1), ESS before each."""

    theta: Parameters
    log_evidence: float
    betas: np.ndarray
    effective: np.ndarray


def by_effective_size(share: float) -> Ladder:
    """The next β is where the weights p(y|θ)^(β′ − β) are worth `share` of the particles, 0 < share < 1."""
    if not 0 < float(as_array("share", share, "")) < 1:
        raise ValueError(f"share: expected a number between 0 and 1, got {share}")

    def ladder(beta: float, log_likelihood: Values) -> float:
        wanted, low, high = share * len(log_likelihood), 0.0, 1 - beta
        if effective_size(high * log_likelihood) >= wanted:
            return 1.0
        while high - low > 1e-10 * high:
            middle = 0.5 * (low + high)
            low, high = (middle, high) if effective_size(middle * log_likelihood) >= wanted else (low, middle)
        return beta + high

    return ladder


def given(betas: Vector) -> Ladder:
    """These β, increasing, the last of them 1: with them, and kernels that do not look at the particles, E[Ẑ] = p(y) exactly."""
    rungs = as_array("betas", betas, "n")
    if not ((np.diff(rungs) > 0).all() and rungs[0] > 0 and rungs[-1] == 1):
        raise ValueError(f"betas: expected increasing numbers above 0 that end with 1, got {betas}")
    return lambda beta, log_likelihood: float(rungs[np.searchsorted(rungs, beta, side="right")])


def run(
    target: object, mutation: Callable[[float, Parameters], object], ladder: Ladder, num_particles: int, num_updates: int,
    rng: np.random.Generator,
) -> Particles:
    """Particles from the prior, weighted by p(y|θ)^(β′ − β), resampled and moved, rung by rung.

    `mutation(beta, theta)` is the kernel at β; its `num_updates` updates leave p(y|θ)^β p(θ) invariant. The estimate multiplies
    the mean weights, each since the last resampling. A ladder or kernel that looks at the particles makes E[Ẑ] right only in the
    limit of many; take the β of a first run for `given`. `target` has log_likelihood, tempered(beta) and prior.
    """
    expect_methods("target", target, "num_params", "log_likelihood", "tempered", "prior")
    expect_methods("target.prior", target.prior, "sample")
    num_particles, num_updates = as_count("num_particles", num_particles), as_count("num_updates", num_updates)
    theta = target.prior.sample(rng, (num_particles,))
    streams = Streams.spawn(int(rng.integers(2**62)), num_particles)
    betas, sizes, log_evidence = [0.0], [], 0.0
    while betas[-1] < 1:
        log_likelihood = target.log_likelihood(theta)
        betas.append(ladder(betas[-1], log_likelihood))
        log_weights = (betas[-1] - betas[-2]) * log_likelihood
        log_evidence += log_mean_exp(log_weights)
        sizes.append(effective_size(log_weights))
        theta = theta[systematic(log_weights, rng)]
        theta = _moved(mutation(betas[-1], theta), target.tempered(betas[-1]), theta, num_updates, streams)
    return Particles(theta, float(log_evidence), np.array(betas), np.array(sizes))


def systematic(log_weights: Values, rng: np.random.Generator) -> np.ndarray:
    """Which particle each of the next generation descends from: one uniform number moves a comb over the weights (Kitagawa 1996).

    The expected number of descendants of particle i is s·w_i exactly, the actual one less than 1 from it.
    """
    weights = np.exp(log_weights - log_weights.max())
    edges = np.cumsum(weights)
    comb = (np.arange(len(weights)) + rng.random()) * (edges[-1] / len(weights))
    return np.minimum(np.searchsorted(edges, comb, side="right"), np.flatnonzero(weights)[-1])


def effective_size(log_weights: Values) -> float:
    """(Σw)²/Σw²."""
    weights = np.exp(log_weights - log_weights.max())
    return float(weights.sum() ** 2 / (weights**2).sum())


def log_mean_exp(log_weights: Values) -> float:
    """log of the mean weight."""
    top = log_weights.max()
    return float(top + np.log(np.exp(log_weights - top).mean()))


def _moved(kernel, target, theta: Parameters, num_updates: int, streams: Streams) -> Parameters:
    state = kernel.init(target, theta)
    for _ in range(num_updates):
        state, _ = kernel.step(target, state, streams)
    return state.theta
