"""Importance weights: how many count, and how heavy their tail is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from refbnn.shapes import Values, as_array, as_count

FEWEST = 25  # weights: so that five lie in the upper fifth
SAME = 1e-10  # relative spread of a tail below which its differences have less than six digits
_PRIOR_DRAWS, _PRIOR_K = 10, 0.5  # what k is pulled towards, and how strongly (Vehtari et al. 2024, appendix C)


@dataclass(frozen=True, eq=False)
class Smoothed:
    """Log weights (t) that add up to 1, their largest ones replaced by quantiles of the fitted tail; and k of that tail."""

    log_weights: np.ndarray
    pareto_k: float


def weight_ess(log_weights: Values) -> np.ndarray:
    """(Σ w)²/Σ w² along the last axis: 1 when one weight has it all, t when all are equal, Eq. (weight-ess) (Kong 1992)."""
    log_weights = as_array("log_weights", log_weights, "*s t")
    if log_weights.shape[-1] < 1:
        raise ValueError(f"log_weights: expected at least one weight, got shape {log_weights.shape}")
    return np.exp(2 * logsumexp(log_weights, axis=-1) - logsumexp(2 * log_weights, axis=-1))


def largest_k(num_draws: int) -> float:
    """min(1 − 1/log₁₀ t, 0.7): above it, errors of a smoothed estimate cannot be relied on (Vehtari et al. 2024, section 3.3)."""
    return min(1 - 1 / np.log10(as_count("num_draws", num_draws, FEWEST)), 0.7)


def pareto_k(log_weights: Values) -> float:
    """The shape k of a generalised Pareto law fitted to the largest min(t/5, 3√t) weights: 1/k moments exist.

    −∞ when these do not differ, ∞ when ties leave fewer than five of them above the rest. Raises ValueError for fewer than 25.
    """
    return pareto_smoothed(log_weights).pareto_k


def pareto_smoothed(log_weights: Values) -> Smoothed:
    """Pareto smoothed importance weights (Vehtari et al. 2024): the tail's order statistics become those of the fitted law.

    log_weights (t), not normalised; none becomes larger than the largest given one.
    """
    log_weights = as_array("log_weights", log_weights, "t")
    if len(log_weights) < FEWEST:
        raise ValueError(f"log_weights: expected at least {FEWEST}, which the fit of a tail needs, got {len(log_weights)}")
    scaled = log_weights - log_weights.max()
    size = int(np.ceil(min(len(scaled) / 5, 3 * np.sqrt(len(scaled)))))
    order = np.argsort(scaled, kind="stable")
    cut = max(np.exp(scaled[order[-size - 1]]), np.finfo(float).tiny)
    tail = order[np.exp(scaled[order]) > cut]
    if 1 - cut <= SAME:
        return Smoothed(scaled - logsumexp(scaled), -np.inf)
    if len(tail) < 5:
        return Smoothed(scaled - logsumexp(scaled), np.inf)
    k, scale = fit_tail(np.exp(scaled[tail]) - cut)
    smooth = scaled.copy()
    smooth[tail] = np.minimum(np.log(cut + _quantiles(len(tail), k, scale)), 0.0)
    return Smoothed(smooth - logsumexp(smooth), k)


def fit_tail(excesses: np.ndarray) -> tuple[float, float]:
    """k and σ of the generalised Pareto law 1 − (1 + k x/σ)^(−1/k) from sorted positive x (t): posterior means over a grid.

    The profile likelihood over −k/σ is averaged with the weakly informative prior of Zhang and Stephens (2009); k is pulled to ½
    as if by ten draws (Vehtari et al. 2024, appendix C).
    """
    x, count = np.asarray(excesses), len(excesses)
    grid = 30 + int(np.sqrt(count))
    quarter = x[int(count / 4 + 0.5) - 1]
    b = 1 / x[-1] + (1 - np.sqrt(grid / (np.arange(1, grid + 1) - 0.5))) / (3 * quarter)
    k = np.log1p(-b[:, None] * x).mean(1)
    profile = count * (np.log(-b / k) - k - 1)
    share = np.exp(profile - logsumexp(profile))
    b = float(b @ share)
    k = float(np.log1p(-b * x).mean())
    return (count * k + _PRIOR_DRAWS * _PRIOR_K) / (count + _PRIOR_DRAWS), -k / b


def _quantiles(count: int, k: float, scale: float) -> np.ndarray:
    """The law's quantiles at (i − ½)/count."""
    survival = np.log1p(-(np.arange(count) + 0.5) / count)
    return -scale * survival if abs(k) < np.finfo(float).eps else scale * np.expm1(-k * survival) / k
