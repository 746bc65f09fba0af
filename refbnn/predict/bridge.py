"""The Laplace bridge: Laplace's approximation of a Dirichlet distribution in logit coordinates, and its inverse.

MacKay (1998) for the change of basis, Hobbhahn, Kristiadi and Hennig (2022) for its use in networks. The Gaussian lives on
logits that sum to zero. How the logits of a network come to sum to zero is a choice, made in the open:
`dirichlet(classes.zero_sum(moments))` keeps the law of the contrasts, `dirichlet(classes.conditioned(moments))` is the
published way, whose answer changes when a constant is added to all logits, although softmax does not see it.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np

from refbnn.predict.functions import Means, Moments
from refbnn.shapes import as_array

Concentrations = Annotated[np.ndarray, "m k"]


def dirichlet(moments: Moments) -> Concentrations:
    """α_c = (1 − 2/k + e^{m_c} Σ_b e^{−m_b}/k²)/S_cc, Eq. (laplace-bridge): (m k). Of S it uses the diagonal only.

    Raises ValueError for logits whose mean or covariance does not sum to zero, and where a variance is not positive.
    """
    _refuse_other_sums(moments)
    k = moments.num_outputs
    if not (moments.variance > 0).all():
        raise ValueError(f"covariance: expected positive variances, got a smallest one of {moments.variance.min():g}")
    gap = moments.mean[:, :, None] - moments.mean[:, None, :]
    return (1 - 2 / k + np.exp(gap).sum(-1) / k**2) / moments.variance


def probabilities(alpha: Concentrations) -> Means:
    """The mean α/Σα of a Dirichlet distribution: (m k). Raises ValueError unless α > 0."""
    alpha = _as_concentrations(alpha)
    return alpha / alpha.sum(-1, keepdims=True)


def gaussian(alpha: Concentrations) -> Moments:
    """Laplace's approximation of a Dirichlet in logits of zero sum, Eq. (dirichlet-laplace): (m k) and (m k k).

    Mean Π log α, covariance Π diag(1/α) Π, Π = I − 11ᵀ/k. Raises ValueError unless α > 0.
    """
    alpha = _as_concentrations(alpha)
    k = alpha.shape[-1]
    projection = np.eye(k) - 1 / k
    log = np.log(alpha)
    return Moments(log - log.mean(-1, keepdims=True), (projection / alpha[:, None, :]) @ projection)


def rescaled(moments: Moments) -> Moments:
    """Covariance/c and mean/√c, c the mean variance over √(k/2): the correction that laplace-torch calls `bridge_norm`."""
    c = moments.variance.mean(-1) / np.sqrt(moments.num_outputs / 2)
    if not (c > 0).all():
        raise ValueError(f"covariance: expected a positive mean variance, got {c.min():g}")
    return Moments(moments.mean / np.sqrt(c)[:, None], moments.covariance / c[:, None, None])


def _refuse_other_sums(moments: Moments) -> None:
    """Sums above a millionth are no round-off of a projection; beside logits 1 is a size too, beside variances it is not."""
    for name, values, least in (("mean", moments.mean, 1.0), ("covariance", moments.covariance, 0.0)):
        worst, scale = np.abs(values.sum(-1)).max(initial=0.0), np.abs(values).max(initial=least)
        if worst > 1e-6 * scale:
            raise ValueError(f"{name}: expected logits that sum to zero, got a sum of {worst:g}; take classes.zero_sum first")


def _as_concentrations(alpha: Concentrations) -> np.ndarray:
    alpha = as_array("alpha", alpha, "m k")
    if not (alpha > 0).all():
        raise ValueError(f"alpha: expected positive concentrations, got a smallest one of {alpha.min():g}")
    return alpha
