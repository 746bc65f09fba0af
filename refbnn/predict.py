"""Predictions under a distribution over θ: exact moments of linear models, averages over given draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from refbnn.gaussian import Gaussian
from refbnn.shapes import Draws, NewInputs, as_array, expect_methods

Means = Annotated[np.ndarray, "m k"]
Covariances = Annotated[np.ndarray, "m k k"]


@dataclass(frozen=True)
class Moments:
    """Mean (m k) and covariance (m k k) of the function values f(x) or of the targets y(x), input by input."""

    mean: Means
    covariance: Covariances


def moments(net: object, q: Gaussian, X_new: NewInputs) -> Moments:
    """Mean f(x, m) and covariance J(x) Σ J(x)ᵀ of f under θ ~ N(m, Σ), exact for a network affine in θ, Eq. (glm-predictive).

    This is the GLM predictive when `net` is Linearised at q's mean. The noise of y is not included. Raises ValueError for a
    network that is not affine in θ.
    """
    expect_methods("q", q, "mean", "precision")
    if not net.is_linear:
        raise ValueError(
            "net: expected a network that is linear in its parameters, got "
            f"{type(net).__name__}; use Linearised(net, at=q.mean), or monte_carlo for draws of θ"
        )
    half = q.precision.scale_transposed_matvec(net.jacobian(q.mean, X_new))
    return Moments(net.forward(q.mean, X_new), half @ np.swapaxes(half, -1, -2))


def monte_carlo(net: object, likelihood: object, thetas: Draws, X_new: NewInputs) -> Moments:
    """Moments of y averaged over given draws of θ (t p): mean E[y], covariance E[Cov(y|f)] + Cov(E[y|f]).

    The second term is divided by t, the number of draws (the moments of the mixture itself), not by t − 1.
    """
    thetas = as_array("thetas", thetas, "t p", p=net.num_params)
    if len(thetas) == 0:
        raise ValueError("thetas: expected at least one draw, got none")
    f = net.forward(thetas, X_new)
    means = likelihood.mean(f)
    mean = means.mean(0)
    centred = np.moveaxis(means - mean, 0, -1)  # (m k t)
    between = centred @ np.swapaxes(centred, -1, -2) / len(thetas)
    return Moments(mean, likelihood.covariance(f).mean(0) + between)
