"""Laws of one target at each of m inputs, held against each other on points that carry them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refbnn.quadrature import Integral

STEPS = 2.0  # points for each standard deviation of the noise: trapezoidal sums of what it smooths err by exp(−2π² STEPS²)
REACH = 9.0  # standard deviations of the widest law that the points cover: P(|z| > 9) = 2e-19
LARGEST = 4000  # points at an input
HUGE = 1e100  # a relative error that says as little as any larger one
TINY = np.finfo(float).tiny


@dataclass(frozen=True, eq=False)
class Points:
    """Targets y (m g 1), weights (m g) of the sum over them, and weights of a coarser sum, whose distance is the error."""

    y: np.ndarray
    weights: np.ndarray
    coarser: np.ndarray

    def sum(self, values: np.ndarray) -> Integral:
        """Σ over the targets of each input: (m), with the error of the sum."""
        fine = (self.weights * values).sum(-1)
        return Integral(fine, np.abs(fine - (self.coarser * values).sum(-1)))


def labels(num_inputs: int) -> Points:
    """0 and 1 at every input: nothing is left out."""
    ones = np.ones((num_inputs, 2))
    return Points(np.tile(np.array([0.0, 1.0])[:, None], (num_inputs, 1, 1)), ones, ones)


def line(lower: np.ndarray, upper: np.ndarray, noise: float) -> Points:
    """Equal steps from lower (m) to upper (m), fine for laws that a noise of variance `noise` has smoothed.

    The coarser sum takes every second point. Raises ValueError where that needs more than LARGEST points an input.
    """
    half = int(np.ceil(0.5 * STEPS * (upper - lower).max() / np.sqrt(noise)))
    if 2 * half + 1 > LARGEST:
        raise ValueError(f"likelihood: expected noise that shows beside the spread of f, got a standard deviation of "
                         f"{np.sqrt(noise):.3g} beside {(upper - lower).max():.3g}")
    steps = np.arange(2 * half + 1)
    size = (upper - lower)[:, None] / (2 * half)
    return Points((lower[:, None] + steps * size)[..., None], size * np.ones(len(steps)), 2 * size * (steps % 2 == 0))


def kl(p: Integral, q: Integral, points: Points) -> Integral:
    """KL(p ‖ q) = Σ w [p log(p/q) − p + q] in nats at each input, Eq. (predictive-divergence): (m).

    p and q are densities (m g) with errors. Each summand is positive and flat where p = q, so that an error δ of either shows
    as δ log(p/q) or δ (1 − p/q), and as δ² beyond; what the sums of p and q lack to one is counted as error too.
    """
    a, b = np.maximum(p.value, TINY), np.maximum(q.value, TINY)
    log_ratio = np.log(a / b)
    found = points.sum(a * log_ratio - a + b)
    first = np.abs(log_ratio) * p.error + np.abs(1 - a / b) * q.error
    second = p.error**2 / a + np.minimum(q.error / b, HUGE) ** 2 * a
    missing = sum(np.abs(points.sum(density).value - 1) for density in (p.value, q.value))
    return Integral(found.value, found.error + points.sum(first + np.minimum(second, a + b)).value + missing)


def tv(p: Integral, q: Integral, points: Points) -> Integral:
    """½ Σ w |p − q| at each input, between 0 and 1, Eq. (predictive-divergence): (m)."""
    found = points.sum(0.5 * np.abs(p.value - q.value))
    return Integral(found.value, found.error + points.sum(0.5 * (p.error + q.error)).value)
