"""Rules (y_j, w_j) with E_y[g(y)] = Σ_j w_j g(y_j) for y ~ p(.|f): enumeration, truncated sums and Gauss quadrature.

A rule is a pair of arrays: points (j ...) and weights (j ...), the leading axis running over the points.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import roots_hermitenorm

LARGEST = 2**20  # points of a joint rule
NODES = 10  # Gauss-Hermite: exact for polynomials in y of degree 19
_LOG_TAIL = -80.0  # counts are summed until their probability is below exp(−80) = 1.8e-35

Rule = tuple[np.ndarray, np.ndarray]


def joint(points: np.ndarray, weights: np.ndarray) -> Rule:
    """The product rule of independent targets: (j *s n k), (j *s n k) -> (jᵏ *s n k), (jᵏ *s n).

    Raises ValueError beyond 2²⁰ points.
    """
    size, num_targets = len(points), points.shape[-1]
    refuse_too_many(size**num_targets)
    index = np.indices((size,) * num_targets).reshape(num_targets, -1)
    y = np.stack([points[j, ..., t] for t, j in enumerate(index)], axis=-1)
    return y, np.prod([weights[j, ..., t] for t, j in enumerate(index)], axis=0)


def levels(probabilities: np.ndarray) -> Rule:
    """The outcomes 0, 1, ..., c − 1 with the given probabilities (c ...)."""
    values = np.arange(float(len(probabilities))).reshape(-1, *[1] * (probabilities.ndim - 1))
    return np.broadcast_to(values, probabilities.shape), probabilities


def counts(log_density: Callable[[np.ndarray], np.ndarray], mean: np.ndarray) -> Rule:
    """The counts 0, 1, ..., c with their probabilities; log_density takes y (c ...) and returns (c ...).

    c is a power of two, at least twice every mean, where every probability is below exp(−80): for a tail at least geometric,
    what is left out is below 1e-17 of the moments of orders 0 to 4. Raises ValueError where this needs more than 2²⁰ counts.
    """
    top = 32.0
    while top < 2 * mean.max() or log_density(np.full((1, *mean.shape), top)).max() > _LOG_TAIL:
        top *= 2
        refuse_too_many(top)
    y = np.arange(top + 1).reshape(-1, *[1] * mean.ndim) * np.ones(mean.shape)
    return y, np.exp(log_density(y))


def normal(mean: np.ndarray, std: np.ndarray) -> Rule:
    """Gauss-Hermite rule with ten points for N(mean, std²), exact for polynomials in y of degree 19 or less."""
    z, w = standard_normal(mean.ndim)
    return mean + std * z, w * np.ones(mean.shape)


def standard_normal(num_axes: int) -> Rule:
    """Ten Gauss-Hermite points and weights of N(0, 1), with `num_axes` axes of length one behind."""
    z, w = roots_hermitenorm(NODES)
    shape = (-1, *[1] * num_axes)
    return z.reshape(shape), (w / w.sum()).reshape(shape)


def refuse_too_many(size: float) -> None:
    """Raise ValueError where a rule would have more than 2²⁰ points."""
    if size > LARGEST:
        raise ValueError(f"outcomes: expected at most {LARGEST} points, got {size:.3g}; take fewer outputs or smaller means")
