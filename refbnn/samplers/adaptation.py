"""Step size and metric, found before the draws that count: what adapts is no Markov chain.

Warm-up as in Stan: the step size by dual averaging (Nesterov 2009; Hoffman and Gelman 2014, section 3.2), the metric from the
draws of windows that double in length, both pooled over all chains. What comes out is a frozen kernel.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from refbnn.precision import Dense, Diagonal
from refbnn.samplers.leapfrog import Point, energy, leapfrog
from refbnn.samplers.streams import Streams, as_chains
from refbnn.shapes import Draws, Parameters, as_array, as_count, expect_methods

SHRINKAGE, OFFSET, DECAY = 0.05, 10.0, 0.75  # γ, t₀ and κ of Hoffman and Gelman
FIRST_SLOW, SLOW_WINDOW, LAST_FAST = 75, 25, 50  # updates before the first window, in it, and after the last (Stan's)
PRIOR_DRAWS, PRIOR_VARIANCE = 5, 1e-3  # that a window is worth beside its draws: a metric from few of them stays usable


@dataclass(frozen=True)
class DualAveraging:
    """log ε after t updates: x_t = μ − √t/γ · H̄_t, H̄ the weighted mean of (wanted − seen acceptance); x̄ averages the x."""

    centre: float
    wanted: float
    log_step: float
    log_average: float = 0.0
    error: float = 0.0
    count: int = 0

    @classmethod
    def starting(cls, step_size: float, wanted: float) -> DualAveraging:
        """From a first guess; μ = log 10ε, since large steps cost less to try."""
        return cls(math.log(10 * step_size), wanted, math.log(step_size))

    def updated(self, acceptance: float) -> DualAveraging:
        """After an update that was accepted with this probability, Eq. (dual-averaging)."""
        count = self.count + 1
        error = self.error + (self.wanted - acceptance - self.error) / (count + OFFSET)
        log_step = self.centre - math.sqrt(count) / SHRINKAGE * error
        weight = count**-DECAY
        average = weight * log_step + (1 - weight) * self.log_average
        return DualAveraging(self.centre, self.wanted, log_step, average, error, count)


@dataclass(frozen=True)
class Adapted:
    """The frozen kernel, where its chains are, θ (c p), and the step size of every update of the warm-up (t)."""

    kernel: object
    theta: Parameters
    step_sizes: np.ndarray


def diagonal(draws: Draws) -> Diagonal:
    """M⁻¹ = the variances of draws (t p), drawn a little towards 10⁻³."""
    return Diagonal(_regularised(draws.var(0, ddof=1), 1.0, len(draws)))


def dense(draws: Draws) -> Dense:
    """M⁻¹ = the covariance of draws (t p), drawn a little towards 10⁻³ I."""
    return Dense(_regularised(np.atleast_2d(np.cov(draws, rowvar=False)), np.eye(draws.shape[1]), len(draws)))


def adapt(
    kernel: object, target: object, start: Parameters, num_updates: int, seed: int, *,
    metric: Callable[[Draws], object] = diagonal, acceptance: float = 0.8,
) -> Adapted:
    """`num_updates` updates of chains that start at the rows of `start` (c p), which tune `kernel` (Hmc or Nuts).

    Afterwards its mean acceptance is about `acceptance`, and its metric is what `metric`, `diagonal` or `dense`, makes of the
    draws of the last window. The streams are children of those that samplers.run draws from, so one seed may serve both.
    Raises ValueError for bad arguments.
    """
    expect_methods("kernel", kernel, "init", "step", "adapted", "step_size", "metric")
    start, num_updates = as_chains(start, target.num_params), as_count("num_updates", num_updates)
    first, ends = windows(num_updates)
    if (ends[0] - first) * len(start) < 2:
        raise ValueError(f"num_updates: expected enough for a window of 2 draws, got {num_updates} of {len(start)} chains")
    if not 0 < as_array("acceptance", acceptance, "") < 1:
        raise ValueError(f"acceptance: expected a number between 0 and 1, got {acceptance}")
    state, streams = kernel.init(target, start), Streams.spawn(seed, len(start), stage=(0,))
    kernel, averaging = _restarted(kernel, target, state, streams, acceptance)
    window, step_sizes = [], []
    for update in range(1, num_updates + 1):
        step_sizes.append(kernel.step_size)
        state, info = kernel.step(target, state, streams)
        averaging = averaging.updated(float(info.acceptance.mean()))
        kernel = kernel.adapted(math.exp(averaging.log_step), kernel.metric)
        if first < update <= ends[-1]:
            window.append(state.theta)
        if update in ends:
            kernel = kernel.adapted(math.exp(averaging.log_average), metric(np.concatenate(window)))
            kernel, averaging = _restarted(kernel, target, state, streams, acceptance)
            window = []
    return Adapted(kernel.adapted(math.exp(averaging.log_average), kernel.metric), state.theta, np.array(step_sizes))


def windows(num_updates: int) -> tuple[int, list[int]]:
    """The update after which the windows of the metric begin, and those at which they end, each twice as long as the one before.

    A warm-up too short for Stan's numbers gives the windows its middle three quarters, one window in all.
    """
    if num_updates < FIRST_SLOW + SLOW_WINDOW + LAST_FAST:
        first, last = int(0.15 * num_updates), int(0.9 * num_updates)
        return first, [max(last, 1)]
    last, ends, end, size = num_updates - LAST_FAST, [], FIRST_SLOW, SLOW_WINDOW
    while end < last:
        end = last if end + 3 * size > last else end + size
        ends.append(end)
        size *= 2
    return FIRST_SLOW, ends


def first_step_size(kernel: object, target: object, state: object, streams: Streams) -> float:
    """The power of two, times the kernel's own, at which one leapfrog step of all chains comes to accept half of the time."""
    momentum = kernel.metric.scale_matvec(streams.normals(target.num_params))
    begin = Point(state.theta, momentum, state.log_prob, state.gradient)
    step_size = kernel.step_size
    up = _accepts(kernel.metric, target, begin, step_size) > 0.5
    for _ in range(100):
        if (_accepts(kernel.metric, target, begin, step_size) > 0.5) != up:
            return step_size
        step_size *= 2.0 if up else 0.5
    raise ValueError(f"target: expected one with a scale, but a step of {step_size:.3g} does as one of {kernel.step_size:.3g}")


def _restarted(kernel, target, state, streams, wanted):
    """The kernel and its averaging from a new first guess."""
    step_size = first_step_size(kernel, target, state, streams)
    return kernel.adapted(step_size, kernel.metric), DualAveraging.starting(step_size, wanted)


def _accepts(metric, target, begin: Point, step_size: float) -> float:
    """The mean acceptance of one leapfrog step."""
    with np.errstate(over="ignore", invalid="ignore"):  # a step far too long may overflow
        end = leapfrog(target, metric, begin, np.full(len(begin.theta), step_size))
        lost = end.lost()
    error = energy(metric, begin.where(lost, end)) - energy(metric, begin)
    return float(np.where(lost, 0.0, np.exp(-np.maximum(error, 0.0))).mean())


def _regularised(estimate, unit, num_draws: int):
    share = num_draws / (num_draws + PRIOR_DRAWS)
    return share * estimate + (1 - share) * PRIOR_VARIANCE * unit
