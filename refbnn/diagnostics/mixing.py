"""R-hat: whether chains tell one story. Values near 1; Vehtari et al. (2021) ask for less than 1.01, a reference for less."""

from __future__ import annotations

import numpy as np

from refbnn.diagnostics.chains import folded, for_each, halves, is_constant, normal_scores
from refbnn.shapes import Chains, Superchains


def rhat(draws: Chains) -> np.ndarray:
    """max(rank_rhat, folded_rhat), the R-hat of Vehtari et al. (2021, section 4): of location and of spread.

    draws (c t ...) with at least 4 draws; result (...). One chain is compared with itself, its first half with its second.
    """
    return np.maximum(rank_rhat(draws), folded_rhat(draws))


def split_rhat(draws: Chains) -> np.ndarray:
    """√((B/W + t − 1)/t) of half chains of t draws each: variance between means against variance within, Eq. (split-rhat).

    B/t is the variance of the chains' means, W the mean of their variances (Gelman et al. 2013, section 11.4). It does not
    see spreads that differ between chains, and needs finite variance. NaN for constant draws, ∞ for different chains that do not
    move.
    """
    return for_each(lambda chains: _rhat(halves(chains)), draws)


def rank_rhat(draws: Chains) -> np.ndarray:
    """split_rhat of normal scores of ranks: needs no moments, and is the same for any increasing function of the draws."""
    return for_each(lambda chains: _rhat(normal_scores(halves(chains))), draws)


def folded_rhat(draws: Chains) -> np.ndarray:
    """rank_rhat of |x − median|: chains that differ in spread alone (Vehtari et al. 2021, section 4.2)."""
    return for_each(lambda chains: _rhat(normal_scores(folded(halves(chains)))), draws)


def nested_rhat(draws: Superchains) -> np.ndarray:
    """√(1 + B/W) for many short chains, those of a group started at one point (Margossian et al. 2024, definition 2).

    draws (g c t ...): B is the variance of the groups' means; W, the mean over groups of the variance of the chains' means in
    a group (0 for one chain) plus the mean variance within a chain (0 for one draw). Raises ValueError for one group.
    """
    return for_each(_nested, draws, axes="g c t", fewest=1)


def _rhat(chains: np.ndarray) -> float:
    if _do_not_move(chains):
        return _of_still(chains)
    count, between = chains.shape[1], chains.mean(1).var(ddof=1)
    return float(np.sqrt((count * between / chains.var(1, ddof=1).mean() + count - 1) / count))


def _nested(groups: np.ndarray) -> float:
    num_groups, num_chains, num_draws = groups.shape
    if num_groups < 2:
        raise ValueError("draws: expected at least two groups of chains, got one")
    if _do_not_move(groups) and (groups == groups[:, :1]).all():
        return _of_still(groups)
    means = groups.mean(2)
    among = means.var(1, ddof=1).mean() if num_chains > 1 else 0.0
    along = groups.var(2, ddof=1).mean() if num_draws > 1 else 0.0
    return float(np.sqrt(1 + means.mean(1).var(ddof=1) / (among + along)))


def _do_not_move(chains: np.ndarray) -> bool:
    return bool((chains == chains[..., :1]).all())


def _of_still(chains: np.ndarray) -> float:
    """Chains that stay where they started: no R-hat when that is one place, else an infinite one."""
    return np.nan if is_constant(chains) else np.inf
