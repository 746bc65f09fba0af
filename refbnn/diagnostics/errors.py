"""Monte-Carlo standard errors: the uncertainty of a number that was computed from dependent draws."""

from __future__ import annotations

import numpy as np
from scipy.special import betaincinv, ndtr

from refbnn.diagnostics.chains import for_each
from refbnn.diagnostics.effective import as_probability, effective, effective_quantile
from refbnn.shapes import Chains


def mcse_mean(draws: Chains) -> np.ndarray:
    """sd/√ESS, the standard error of the mean over all chains, Eq. (ess): (...). draws (c t ...), at least 4 draws."""
    return for_each(lambda chains: chains.std(ddof=1) / np.sqrt(effective(chains)), draws)


def mcse_sd(draws: Chains) -> np.ndarray:
    """The standard error of the standard deviation s, by the delta method: √(Var[(x − x̄)²]/ESS)/(2s) (Kenney and Keeping 1951).

    ESS is that of (x − x̄)², so that heavy tails count. Variances divide by S, as in the formula for large S.
    """
    return for_each(_of_sd, draws)


def mcse_quantile(draws: Chains, probability: float) -> np.ndarray:
    """Half the distance of the order statistics at the 16% and 84% points of Beta(ESS·π + 1, ESS·(1 − π) + 1), π = probability.

    (Vehtari et al. 2021, section 4.4.) 0 < probability < 1.
    """
    probability = as_probability(probability)
    return for_each(lambda chains: _of_quantile(chains, probability), draws)


def _of_sd(chains: np.ndarray) -> float:
    squares = (chains - chains.mean())**2
    return float(0.5 * np.sqrt(squares.var() / effective(squares) / squares.mean())) if squares.any() else np.nan


def _of_quantile(chains: np.ndarray, probability: float) -> float:
    size = effective_quantile(chains, probability)
    if np.isnan(size):
        return np.nan
    low, high = betaincinv(size * probability + 1, size * (1 - probability) + 1, ndtr([-1.0, 1.0])) * chains.size - 1
    order = np.sort(chains, axis=None)
    return float(order[min(int(np.ceil(high)), chains.size - 1)] - order[max(int(np.floor(low)), 0)]) / 2
