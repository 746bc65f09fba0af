"""Chains cut in half, ranked, folded: what the diagnostics are computed from."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy.special import ndtri

from refbnn.shapes import as_array

FEWEST = 4  # draws of a chain: two in each half


def for_each(function: Callable[[np.ndarray], float], draws: object, axes: str = "c t", fewest: int = FEWEST) -> np.ndarray:
    """function(chains) of every quantity of `draws` (c t ...), each as (c t): (...).

    Raises ValueError for missing axes, no chains or fewer than `fewest` draws, NaN and infinity.
    """
    array, lead = np.asarray(draws), len(axes.split())
    if array.ndim < lead:
        raise ValueError(f"draws: expected axes ({axes} ...), got shape {array.shape}")
    if min(array.shape[:lead]) < 1 or array.shape[lead - 1] < fewest:
        raise ValueError(f"draws: expected at least one chain of at least {fewest} draws, got shape {array.shape}")
    flat = as_array("draws", array.reshape(*array.shape[:lead], math.prod(array.shape[lead:])), f"{axes} q")
    return np.array([function(flat[..., q]) for q in range(flat.shape[-1])]).reshape(array.shape[lead:])


def halves(chains: np.ndarray) -> np.ndarray:
    """Both halves of every chain as chains of their own, without the middle draw of an odd number: (c t) to (2c t/2)."""
    half = chains.shape[1] // 2
    return np.concatenate([chains[:, :half], chains[:, -half:]])


def normal_scores(chains: np.ndarray) -> np.ndarray:
    """Φ⁻¹((r − 3/8)/(S + 1/4)) with r the rank among all S draws, ties sharing theirs (Blom 1958; Vehtari et al. 2021, 14)."""
    _, place, count = np.unique(chains, return_inverse=True, return_counts=True)
    rank = np.cumsum(count) - (count - 1) / 2
    return ndtri((rank - 0.375) / (chains.size + 0.25))[place.reshape(chains.shape)]


def folded(chains: np.ndarray) -> np.ndarray:
    """|x − median|: what differs in spread differs in its mean."""
    return np.abs(chains - np.median(chains))


def is_constant(chains: np.ndarray) -> bool:
    """Whether all draws are one number."""
    return bool((chains == chains.flat[0]).all())
