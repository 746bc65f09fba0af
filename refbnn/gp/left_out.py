"""What the rest of the data say about each datum: leave-one-out in closed form, and one datum after the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refbnn import linalg
from refbnn.gp.at_data import AtData, blocks
from refbnn.gp.conditioned import Conditioned
from refbnn.gp.sites import DataOutputs, PerDatum
from refbnn.shapes import DataMatrices, expect_methods


@dataclass(frozen=True)
class LeftOut:
    """f at each datum given all others: mean (n k), covariance (n k k), and `log_density` (n), log ∫ t_n(f) p(f | others) df.

    For a Normal the last is log p(y_n | others), noise included, exactly.
    """

    mean: DataOutputs
    covariance: DataMatrices
    log_density: PerDatum


def leave_one_out(posterior: Conditioned) -> LeftOut:
    """f(x_n) without datum n, for all n at the price of one posterior, Eq. (leave-one-out); exact for the sites.

    V₋ = V + V S [B⁻¹]_nn⁻¹ Sᵀ V and μ₋ = μ − V₋ α. For a Normal, μ₋ = y − [K_y⁻¹(y − m)]/[K_y⁻¹]_nn with K_y = K + σ²I. For other
    likelihoods the sites stay where the mode of all the data put them.
    """
    expect_methods("posterior", posterior, "at_data")
    at = posterior.at_data
    n = at.sites.num_data
    SV = blocks(linalg.solve_lower_transposed(at.L, linalg.solve_lower(at.L, at.SK)), n)  # B⁻¹SᵀK = SᵀV
    kept = blocks(at.reduced_inverse(), n)
    covariance = at.posterior_covariances() + np.swapaxes(SV, -1, -2) @ np.linalg.solve(kept, SV)
    with_datum = at.posterior_mean()
    shift = (covariance @ at.alpha[..., None])[..., 0]
    at_maximum = at.sites.log_value(with_datum) - 0.5 * (at.alpha * shift).sum(-1)
    return LeftOut(with_datum - shift, covariance, at_maximum + 0.5 * np.linalg.slogdet(kept)[1])


def prequential(posterior: Conditioned) -> PerDatum:
    """log ∫ t_n(f) p(f | data before n) df, one datum after the other, Eq. (chain-rule): (n). Their sum is the log evidence.

    For a Normal: log p(y_n | y_1, ..., y_{n−1}).
    """
    expect_methods("posterior", posterior, "at_data")
    at, terms = posterior.at_data, []
    k = at.sites.num_outputs
    mean, K = at.mean.ravel().copy(), at.K.copy()
    for n in range(at.sites.num_data):
        here = slice(n * k, (n + 1) * k)
        one = AtData(mean[None, here], K[here, here], at.sites[n:n + 1])
        terms.append(one.log_evidence)
        mean = mean + K[:, here] @ one.alpha[0]
        explained = linalg.solve_lower(one.L, one.reduced(K[here]))
        K = K - linalg.gram(explained)
    return np.array(terms)
