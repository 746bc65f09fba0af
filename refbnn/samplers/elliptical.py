"""Elliptical slice sampling (Murray, Adams and MacKay 2010): Gaussian priors, any likelihood, nothing to tune, no gradient."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refbnn.samplers.streams import Streams
from refbnn.shapes import Parameters, Values, as_array, expect_methods


@dataclass(frozen=True)
class State:
    """Where the chains are: θ (c p), log p(y, θ) (c), log p(y|θ) (c)."""

    theta: Parameters
    log_prob: Values
    log_likelihood: Values


@dataclass(frozen=True)
class Info:
    """The angle by which a chain moved along its ellipse, and how many likelihoods that took: (c) each."""

    angle: Values
    num_evaluations: np.ndarray


@dataclass(frozen=True)
class EllipticalSlice:
    """θ′ = m + (θ − m) cos φ + ν sin φ, ν ~ N(0, P₀⁻¹), with a likelihood above a random level.

    Each try that falls below the level shrinks the bracket of angles to it. Needs target.log_likelihood, of the data alone, and a
    Gaussian target.prior, N(m, P₀⁻¹) with `mean` and `from_normals`.
    """

    def init(self, target: object, theta: Parameters) -> State:
        """Chains that start at θ (c p). Raises ValueError where the likelihood vanishes, or for a prior that is not Gaussian."""
        expect_methods("target", target, "num_params", "log_likelihood", "prior")
        expect_methods("target.prior", target.prior, "mean", "from_normals", "log_prob")
        theta = as_array("theta", theta, "c p", p=target.num_params)
        log_likelihood = target.log_likelihood(theta)
        if not np.isfinite(log_likelihood).all():
            bad = np.argmax(~np.isfinite(log_likelihood))
            raise ValueError(f"theta: expected a finite likelihood in every chain, got another in chain {bad}")
        return State(theta, log_likelihood + target.prior.log_prob(theta), log_likelihood)

    def step(self, target: object, state: State, streams: Streams) -> tuple[State, Info]:
        """One update of every chain."""
        mean = target.prior.mean
        other = target.prior.from_normals(streams.normals(target.num_params)) - mean
        level = state.log_likelihood - streams.exponentials()
        angle = 2 * np.pi * streams.uniforms()
        bracket = np.stack([angle - 2 * np.pi, angle])
        theta, log_likelihood = state.theta.copy(), state.log_likelihood.copy()
        count, rows = np.zeros(len(theta), dtype=int), np.arange(len(theta))
        while len(rows):
            turn = angle[rows, None]
            tried = mean + (state.theta[rows] - mean) * np.cos(turn) + other[rows] * np.sin(turn)
            with np.errstate(over="ignore", invalid="ignore"):  # far out a rate may overflow: its likelihood is 0
                found = target.log_likelihood(tried)
            count[rows] += 1
            good = found >= level[rows]
            theta[rows[good]], log_likelihood[rows[good]] = tried[good], found[good]
            rows = rows[~good]
            bracket[(angle[rows] > 0).astype(int), rows] = angle[rows]
            angle[rows] = bracket[0, rows] + (bracket[1, rows] - bracket[0, rows]) * streams[rows].uniforms()
        return State(theta, log_likelihood + target.prior.log_prob(theta), log_likelihood), Info(angle, count)
