"""Annealed importance sampling (Neal 2001), forwards from the start and backwards from the posterior."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from refbnn.evidence.estimate import Estimate, of_weights
from refbnn.evidence.path import Path, as_ladder, moved
from refbnn.shapes import Parameters, as_array, as_count


@dataclass(frozen=True, eq=False)
class Annealed:
    """Where the chains ended, θ (c p), and their log weights (c)."""

    theta: np.ndarray
    log_weights: np.ndarray

    def estimate(self) -> Estimate:
        """log of the mean weight. Raises Refused when too few chains carry it."""
        return of_weights(self.log_weights).supported()


def annealed(path: Path, betas: np.ndarray, kernel: Callable[[float], object], streams: object, num_updates: int = 1) -> Annealed:
    """log w = Σ_i (β_i − β_{i−1}) log ratio(θ_{i−1}), θ_0 from the start, θ_i by updates that leave p_{β_i} as it is.

    E[w] = p(y) whatever the kernel and the ladder, Eq. (ais); E[log w] <= log p(y). One chain a stream; `num_updates` by
    kernel(β_i) at every β_i below 1, and at 1, so that θ has nearly the posterior's law.
    """
    betas, num_updates = as_ladder(betas), as_count("num_updates", num_updates)
    theta = np.stack([path.start.sample(generator) for generator in streams.generators])
    log_weights = np.zeros(len(theta))
    for before, beta in zip(betas, betas[1:]):
        log_weights = log_weights + (beta - before) * path.log_ratio(theta)
        theta = moved(path.at(beta), kernel(float(beta)), theta, streams, num_updates)
    return Annealed(theta, log_weights)


def reverse_annealed(path: Path, betas: np.ndarray, kernel: Callable[[float], object], theta: Parameters, streams: object,
                     num_updates: int = 1) -> Annealed:
    """The same way back from *exact* draws θ (c p) of the posterior: log w = Σ_i (β_i − β_{i−1}) log ratio(θ_i), i downwards.

    E[1/w] = 1/p(y), so that E[log w] >= log p(y), Eq. (reverse-ais): this is annealing from the posterior to the start, so any
    updates that leave p_{β_i} as it is will do, reversible or not (several updates in a row, or WithMoves, are not in general).
    The reversed chain, which Neal weighs `annealed` with, uses their time reversals, and nobody has to know these.
    """
    betas, num_updates = as_ladder(betas), as_count("num_updates", num_updates)
    theta = as_array("theta", theta, "c p", p=path.num_params, c=len(streams.generators))
    log_weights = np.zeros(len(theta))
    for before, beta in zip(betas[-2::-1], betas[:0:-1]):
        theta = moved(path.at(beta), kernel(float(beta)), theta, streams, num_updates)
        log_weights = log_weights + (beta - before) * path.log_ratio(theta)
    return Annealed(theta, log_weights)
