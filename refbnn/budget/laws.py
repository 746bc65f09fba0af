"""What predicts besides the truth: each law has `functions(X)`, mean and variance of f, and `targets(X, y)`, densities of y.

Both come with errors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from refbnn import predict
from refbnn.budget.links import Link
from refbnn.budget.truth import Exact
from refbnn.gaussian import Gaussian
from refbnn.quadrature import ROUND_OFF, Integral, Replicated
from refbnn.shapes import NewInputs, Vector


@dataclass(frozen=True, eq=False)
class Linked:
    """f at each input has the Gaussian moments of `of_f(X)`; `link` makes targets of them."""

    of_f: Callable[[NewInputs], predict.Moments]
    link: Link

    def functions(self, X: NewInputs) -> Integral:
        """As truth.Exact."""
        law = self.of_f(X)
        mean, variance = law.mean[:, 0], law.variance[:, 0]
        return Integral((mean, variance), (ROUND_OFF * np.abs(mean), ROUND_OFF * variance))

    def targets(self, X: NewInputs, y: np.ndarray) -> Integral:
        """As truth.Exact."""
        return self.link(self.of_f(X), y)


def affine(net: object, q: Gaussian, link: Link) -> Linked:
    """θ ~ q in a model affine in θ: f is Gaussian."""
    return Linked(lambda X: predict.moments(net, q, X), link)


def plugged(net: object, theta: Vector, link: Link) -> Linked:
    """θ is taken for known: f has no variance."""
    def of_f(X: NewInputs) -> predict.Moments:
        f = net.forward(theta, X)
        return predict.Moments(f, np.zeros((*f.shape, 1)))
    return Linked(of_f, link)


@dataclass(frozen=True, eq=False)
class Sampled:
    """θ ~ q put into the network itself: averages over the points of a rule for θ, with their standard errors."""

    net: object
    likelihood: object
    q: Gaussian
    rule: Replicated

    def functions(self, X: NewInputs) -> Integral:
        """As truth.Exact. The variance is centred at the first estimate of the mean."""
        centre = self.rule.integrate(lambda z: self._f(z, X)).value
        raw = self.rule.integrate(lambda z: np.stack([self._f(z, X) - centre, (self._f(z, X) - centre) ** 2], axis=1))
        (shift, square), (shift_error, square_error) = raw.value, raw.error
        return Integral((centre + shift, square - shift**2), (shift_error, square_error + 2 * np.abs(shift) * shift_error))

    def targets(self, X: NewInputs, y: np.ndarray) -> Integral:
        """As truth.Exact."""
        parts = [self.rule.integrate(lambda z: self._densities(z, X[i:i + 1], y[i])) for i in range(len(X))]
        return Integral(np.stack([part.value for part in parts]), np.stack([part.error for part in parts]))

    def _f(self, z, X):
        return self.net.forward(self.q.from_normals(z), X)[..., 0]

    def _densities(self, z, x, y):
        f = np.repeat(self.net.forward(self.q.from_normals(z), x), len(y), axis=-2)
        return np.exp(self.likelihood.log_prob(f, y))


@dataclass(frozen=True, eq=False)
class Matched:
    """f is Gaussian with the mean and the variance of the exact law at every input: what a Gaussian for f can do, by moments."""

    truth: Exact
    link: Link

    def functions(self, X: NewInputs) -> Integral:
        """Those of the truth."""
        return self.truth.functions(X)

    def targets(self, X: NewInputs, y: np.ndarray) -> Integral:
        """As truth.Exact; the errors of the two moments are moved through the link."""
        found = self.functions(X)
        at = lambda mean, variance: self.link(predict.Moments(mean[:, None], variance[:, None, None]), y)
        (mean, variance), (mean_error, variance_error) = found.value, found.error
        density = at(mean, variance)
        moved = [np.abs(at(*pair).value - density.value) for pair in ((mean + mean_error, variance),
                                                                      (mean, variance + variance_error))]
        return Integral(density.value, density.error + sum(moved))
