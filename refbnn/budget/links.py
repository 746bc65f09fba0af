"""From a Gaussian f to the law of one target: exactly, and by what is used in place of the integral.

A link is a function of the Moments of f (m 1) and of targets y (m g 1); it returns densities or probabilities (m g) as an
Integral.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import expit

from refbnn import predict, quadrature
from refbnn.predict import Moments
from refbnn.quadrature import ROUND_OFF, Integral

Link = Callable[[Moments, np.ndarray], Integral]
NODES = 401  # of the trapezoidal rule: resolves standard deviations of f up to 90


def noise(variance: float) -> Link:
    """y = f + ε: N(y; mean, variance of f + variance), exact, Eq. (noise-added)."""
    return lambda moments, y: _exactly(_normal(y[..., 0], moments.mean, moments.variance + variance))


def integrated(moments: Moments, y: np.ndarray) -> Integral:
    """P(y) = E σ(±f), Eq. (logistic-normal), by quadrature."""
    found = predict.binary.probabilities(moments, quadrature.trapezoid(1, NODES))
    return Integral(_of_label(found.value, y), np.broadcast_to(found.error, y.shape[:2]))


def probit(moments: Moments, y: np.ndarray) -> Integral:
    """MacKay's σ(κ m), Eq. (probit-approximation)."""
    return _exactly(_of_label(predict.binary.probit(moments), y))


def bridge(moments: Moments, y: np.ndarray) -> Integral:
    """The mean of the Dirichlet that the rescaled Laplace bridge makes of the logits (−f/2, f/2), Eq. (laplace-bridge).

    Without the rescaling it is σ(m): two logits that sum to zero have one variance, which cancels.
    """
    mean = 0.5 * np.concatenate([-moments.mean, moments.mean], axis=1)
    signs = np.array([[1.0, -1.0], [-1.0, 1.0]])
    logits = predict.bridge.rescaled(Moments(mean, 0.25 * moments.variance[..., None] * signs))
    alpha = predict.bridge.dirichlet(logits)
    return _exactly(_of_label(predict.bridge.probabilities(alpha)[:, 1:], y))


def plugged_in(moments: Moments, y: np.ndarray) -> Integral:
    """σ(m): the uncertainty of f is forgotten."""
    return _exactly(_of_label(expit(moments.mean), y))


def _normal(y: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    return np.exp(-0.5 * (y - mean) ** 2 / variance) / np.sqrt(2 * np.pi * variance)


def _of_label(probability: np.ndarray, y: np.ndarray) -> np.ndarray:
    """P(y = 1) (m 1) as the probability of each label y (m g 1): (m g)."""
    return np.where(y[..., 0] == 1, probability, 1 - probability)


def _exactly(values: np.ndarray) -> Integral:
    return Integral(values, ROUND_OFF * values)
