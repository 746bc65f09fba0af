"""Effective sample size: how many independent draws would estimate as well."""

from __future__ import annotations

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft

from refbnn.diagnostics.chains import for_each, halves, is_constant, normal_scores
from refbnn.shapes import Chains, as_array


def ess_mean(draws: Chains) -> np.ndarray:
    """S/τ for the mean of S = c·t draws, τ = 1 + 2 Σ_lag ρ(lag), Eq. (ess): (...).

    ρ combines the autocovariances of half chains with the variance between them, so that chains that disagree have few effective
    draws; it is summed in pairs while these are positive, and made monotone (Geyer 1992, section 3.3; Vehtari et al. 2021,
    section 3.2). Antithetic chains can have more than S; τ is kept above 1/log₁₀ S. draws (c t ...), at least 4 draws.
    """
    return for_each(effective, draws)


def ess_sd(draws: Chains) -> np.ndarray:
    """The effective size for the standard deviation: ess_mean of (x − mean)² (Vehtari et al. 2021)."""
    return for_each(lambda chains: effective((chains - chains.mean())**2), draws)


def ess_bulk(draws: Chains) -> np.ndarray:
    """The effective size of normal scores of ranks: how well the middle of the distribution is known, whatever its moments."""
    return for_each(lambda chains: _ess(normal_scores(halves(chains))), draws)


def ess_quantile(draws: Chains, probability: float) -> np.ndarray:
    """The effective size of the share of draws up to the `probability` quantile, 0 < probability < 1."""
    probability = as_probability(probability)
    return for_each(lambda chains: effective_quantile(chains, probability), draws)


def ess_tail(draws: Chains) -> np.ndarray:
    """The smaller of the effective sizes at the quantiles 0.05 and 0.95."""
    return np.minimum(ess_quantile(draws, 0.05), ess_quantile(draws, 0.95))


def effective(chains: np.ndarray) -> float:
    """S/τ of chains (c t), computed from their halves."""
    return _ess(halves(chains))


def effective_quantile(chains: np.ndarray, probability: float) -> float:
    """S/τ of the indicator of draws up to a quantile."""
    return effective((chains <= np.quantile(chains, probability)).astype(float))


def as_probability(probability: object) -> float:
    """A number between 0 and 1, both excluded, or ValueError."""
    number = float(as_array("probability", probability, ""))
    if not 0 < number < 1:
        raise ValueError(f"probability: expected a number between 0 and 1, got {number:g}")
    return number


def _ess(chains: np.ndarray) -> float:
    if is_constant(chains):
        return np.nan
    count, num_draws = chains.size, chains.shape[1]
    covariance = _autocovariance(chains).mean(0)
    within = covariance[0] * num_draws / (num_draws - 1)
    between = chains.mean(1).var(ddof=1) if len(chains) > 1 else 0.0
    rho = 1 - (within - covariance) / (covariance[0] + between)
    rho[0] = 1.0
    return float(count / max(_geyer(rho), 1 / np.log10(count)))


def _geyer(rho: np.ndarray) -> float:
    """1 + 2 Σ ρ over Geyer's initial monotone sequence of pairs; of the pair after the last, the even lag if positive."""
    last = max((len(rho) - 3) // 2, 0)
    pairs = rho[:2 * last + 2].reshape(-1, 2).sum(1)
    end = int(np.argmax(pairs <= 0)) if (pairs <= 0).any() else last
    return float(-1 + 2 * np.minimum.accumulate(pairs[:end]).sum() + max(rho[2 * end], 0.0))


def _autocovariance(chains: np.ndarray) -> np.ndarray:
    """Σ_i (x_i − x̄)(x_{i+lag} − x̄)/t of every chain, by the fast Fourier transform of the series padded with zeros: (c t)."""
    num_draws = chains.shape[1]
    size = next_fast_len(2 * num_draws)
    transform = rfft(chains - chains.mean(1, keepdims=True), size, axis=1)
    return irfft(np.abs(transform)**2, size, axis=1)[:, :num_draws] / num_draws
