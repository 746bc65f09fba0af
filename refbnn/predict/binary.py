"""P(y = 1) when f ~ N(m, v), output by output: k outputs are k separate binary targets."""

from __future__ import annotations

import numpy as np
from scipy.special import expit, ndtr

from refbnn.predict.functions import Means, Moments
from refbnn.quadrature import Integral, Replicated, Rule, expect_resolved

SLOPE = np.pi / 8  # λ² for which Φ(λx) has the slope of the logistic function at zero: λ φ(0) = 1/4


def probabilities(moments: Moments, rule: Rule | Replicated) -> Integral:
    """E σ(f), Eq. (logistic-normal), by a rule of one dimension: value and error (m k).

    Raises ValueError for other rules, and where the points are too far apart for their error estimate to mean anything
    (quadrature.expect_resolved).
    """
    if rule.dim != 1:
        raise ValueError(f"rule: expected one of dimension 1, got {rule.dim}")
    mean, std = moments.mean, np.sqrt(moments.variance)
    expect_resolved(rule, std.max(initial=0.0))
    return rule.integrate(lambda z: expit(mean + std * z[:, :, None]))


def probit(moments: Moments) -> Means:
    """σ(κ m), κ = 1/√(1 + π v/8), Eq. (probit-approximation): (m k).

    Exact at m = 0 and at v = 0, elsewhere wrong by less than 0.018 (Spiegelhalter and Lauritzen 1990; MacKay 1992).
    """
    return expit(moments.mean * shrinkage(moments.variance))


def bernoulli_probit(moments: Moments) -> Means:
    """E Φ(f) = Φ(m/√(1 + v)), exactly, Eq. (probit-integral): the predictive of the BernoulliProbit likelihood, (m k)."""
    return ndtr(moments.mean / np.sqrt(1 + moments.variance))


def shrinkage(variance: np.ndarray) -> np.ndarray:
    """κ(v) = 1/√(1 + π v/8), elementwise."""
    return 1 / np.sqrt(1 + SLOPE * variance)
