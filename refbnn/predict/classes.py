"""Class probabilities E softmax(f) when f ~ N(m, S), input by input.

softmax does not see a constant added to all outputs, so the exact answer depends on contrasts alone. Of the approximations, mf0
and mf1 do see its variance, the extended probit its mean too. `zero_sum` removes it and leaves the exact answer alone;
`conditioned` changes the exact answer with its variance and, unless S1 is a multiple of 1, with its mean: the published Laplace
bridge, which is made of it, sees a constant added to all logits. Neither is applied behind your back.
"""

from __future__ import annotations

import numpy as np
from scipy.special import softmax

from refbnn.linalg import symmetric_root
from refbnn.predict.binary import shrinkage
from refbnn.predict.functions import Means, Moments, expect_inputs
from refbnn.quadrature import Integral, Replicated, Rule, expect_resolved
from refbnn.shapes import as_count


def probabilities(moments: Moments, rule: Rule | Replicated) -> Integral:
    """E softmax(f), Eq. (softmax-normal), by a rule over the k − 1 contrasts: value and error (m k).

    Raises ValueError when the rule has another dimension, and where its points are too far apart for its error estimate to mean
    anything (quadrature.expect_resolved); NotPositiveDefinite for an indefinite covariance.
    """
    expect_inputs(moments)
    draws = resolved_draws(moments, rule)
    parts = [rule.integrate(lambda z, one=one: softmax(one(z), axis=-1)) for one in draws]
    return Integral(np.stack([part.value for part in parts]), np.stack([part.error for part in parts]))


def contrast_draws(moments: Moments, rule: Rule | Replicated) -> list:
    """For every input the map z (j k−1) -> f (j k), f = B(Bᵀm + R z) with R² = BᵀSB, Eq. (contrasts)."""
    if moments.num_outputs < 2:
        raise ValueError("moments: expected at least two classes, got 1; one logit is what predict.binary is for")
    B = contrasts(moments.num_outputs)
    if rule.dim != B.shape[1]:
        raise ValueError(f"rule: expected one over {B.shape[1]} contrasts of {B.shape[0]} classes, got dimension {rule.dim}")
    roots = symmetric_root("covariance", B.T @ moments.covariance @ B)
    return [lambda z, mean=mean, root=root: (mean @ B + z @ root) @ B.T for mean, root in zip(moments.mean, roots)]


def resolved_draws(moments: Moments, rule: Rule | Replicated) -> list:
    """`contrast_draws`, or ValueError where differences of outputs move too far between the points of the rule."""
    draws = contrast_draws(moments, rule)
    for draw in draws:
        moves = draw(np.eye(rule.dim)) - draw(np.zeros((1, rule.dim)))
        expect_resolved(rule, np.ptp(moves, axis=-1).max())
    return draws


def contrasts(num_classes: int) -> np.ndarray:
    """B (k k−1) with orthonormal columns that sum to zero (Helmert's): B Bᵀ = I − 11ᵀ/k."""
    k = np.arange(1, as_count("num_classes", num_classes, 2))
    B = np.triu(np.ones((num_classes, num_classes - 1)))
    B[k, k - 1] = -k
    return B / np.sqrt(k * (k + 1))


def probit(moments: Moments) -> Means:
    """softmax of m_c/√(1 + π S_cc/8), Eq. (extended-probit): (m k). The extension of the binary formula by Gibbs (1997)."""
    return softmax(moments.mean * shrinkage(moments.variance), axis=-1)


def mean_field_0(moments: Moments) -> Means:
    """p_c ∝ 1/Σ_i exp((m_i − m_c)/√(1 + π S_cc/8)), mf0 of Lu, Ie and Sha (2020); normalised here. (m k)."""
    return _mean_field(moments, np.broadcast_to(moments.variance[:, :, None], moments.covariance.shape))


def mean_field_1(moments: Moments) -> Means:
    """As mf0 with the variance S_cc + S_ii of the difference of independent outputs, mf1 of Lu, Ie and Sha (2020). (m k)."""
    return _mean_field(moments, moments.variance[:, :, None] + moments.variance[:, None, :])


def mean_field_2(moments: Moments) -> Means:
    """As mf1 with the variance S_cc + S_ii − 2 S_ci, Eq. (mean-field): depends on contrasts alone. (m k).

    mf2 of Lu, Ie and Sha (2020). For two classes it is the binary probit approximation.
    """
    sums = moments.variance[:, :, None] + moments.variance[:, None, :]
    return _mean_field(moments, sums - moments.covariance - np.swapaxes(moments.covariance, 1, 2))


def zero_sum(moments: Moments) -> Moments:
    """The law of f − mean(f): mean Π m and covariance Π S Π, Π = I − 11ᵀ/k, Eq. (zero-sum). E softmax(f) is unchanged."""
    moments.expect_semidefinite()
    mean, S = moments.mean, moments.covariance
    rows = S - S.mean(-1, keepdims=True)
    return Moments(mean - mean.mean(-1, keepdims=True), rows - rows.mean(-2, keepdims=True))


def conditioned(moments: Moments) -> Moments:
    """The law of f *given* Σ f = 0, Eq. (conditioned): m − S1 (1ᵀm)/(1ᵀS1) and S − S11ᵀS/(1ᵀS1), as in Hobbhahn et al. (2022).

    Another law than that of `zero_sum` unless S1 is a multiple of 1: E softmax(f) changes, and a constant c added to all logits
    moves the contrasts of the mean by those of −c k S1/(1ᵀS1). Raises ValueError where 1ᵀS1 = 0.
    """
    moments.expect_semidefinite()
    row = moments.covariance.sum(-1)  # S1
    total = row.sum(-1)
    if not (total > 0).all():
        raise ValueError(f"covariance: expected outputs whose sum varies, got a variance of the sum of {total.min():g}")
    mean = moments.mean - row * (moments.mean.sum(-1) / total)[:, None]
    return Moments(mean, moments.covariance - row[:, :, None] * row[:, None, :] / total[:, None, None])


def _mean_field(moments: Moments, pair_variance: np.ndarray) -> np.ndarray:
    """1/Σ_i exp((m_i − m_c) κ(v_ci)), normalised over c."""
    gap = moments.mean[:, None, :] - moments.mean[:, :, None]  # m_i − m_c at [c, i]
    exponent = gap * shrinkage(np.maximum(pair_variance, 0.0))  # zero on the diagonal whatever the variance there
    top = exponent.max(-1)
    return softmax(-top - np.log(np.exp(exponent - top[:, :, None]).sum(-1)), axis=-1)
