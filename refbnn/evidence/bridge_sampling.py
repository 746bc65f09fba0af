"""Bridge sampling (Bennett 1976; Meng and Wong 1996)."""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit

from refbnn.diagnostics import ess_mean
from refbnn.evidence.estimate import Estimate
from refbnn.shapes import ChainDraws, as_array, as_count, expect_methods


def bridge(target: object, q: object, draws: ChainDraws, rng: np.random.Generator, num_proposals: int) -> Estimate:
    """log r at the fixed point of r = E_q[p/(s₁p + s₂rq)]/E_post[q/(s₁p + s₂rq)], Eq. (bridge), the optimum of Meng and Wong.

    draws (c t p) are the posterior's, q a normalised density near it, fitted to *other* draws than these. s₁ : s₂ are the
    effective number of draws and the number of proposals; the standard error (Frühwirth-Schnatter 2004) counts autocorrelation.
    With l = log p(y, θ) − log q(θ) the fixed point is the root of a monotone function, the intercept of a logistic regression
    between the two sets, and found as such. Raises Refused when either side rests on fewer than 25 effective draws.
    """
    expect_methods("q", q, "log_prob", "sample", "num_params")
    draws = as_array("draws", draws, "c t p", p=q.num_params)
    proposals = q.sample(rng, (as_count("num_proposals", num_proposals, 25),))
    theirs, ours = (target.log_prob(theta) - q.log_prob(theta) for theta in (proposals, draws))
    offset = np.log(_size(ours) / len(theirs))
    log_r = fixed_point(theirs, ours, offset)
    f_q, f_post = expit(theirs - log_r + offset), expit(log_r - offset - ours)  # up to constants, the two integrands
    error = np.sqrt(_relative_variance(f_q) / len(theirs) + _relative_variance(f_post) / _size(f_post))
    return Estimate(log_r, float(error), min(_share(f_q) * len(theirs), _share(f_post) * _size(f_post))).supported()


def fixed_point(theirs: np.ndarray, ours: np.ndarray, offset: float) -> float:
    """The root x of mean σ(l_q − x + c)·e^{−c} = mean σ(x − c − l_post), c = log s₁/s₂: rising minus falling, so just one."""
    def surplus(x: float) -> float:
        return np.mean(expit(x - offset - ours)) - np.exp(-offset) * np.mean(expit(theirs - x + offset))

    everything = np.concatenate([theirs.ravel(), ours.ravel()])
    reach = abs(offset) + np.log(everything.size) + 1
    return float(brentq(surplus, everything.min() - reach, everything.max() + reach, xtol=1e-13, rtol=1e-14))


def _size(chains: np.ndarray) -> float:
    """Effective draws, no more than there are: all of them when nothing varies."""
    size = float(ess_mean(chains))
    return chains.size if np.isnan(size) else min(size, chains.size)


def _relative_variance(values: np.ndarray) -> float:
    return float(values.var() / values.mean()**2)


def _share(values: np.ndarray) -> float:
    """(mean)²/mean of squares: the share of values that carries their mean."""
    return float(values.mean()**2 / (values**2).mean())
