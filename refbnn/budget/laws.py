"""What predicts besides the truth: each law has `functions(X)`, mean and variance of f, and `targets(X, y)`, densities of y.

Both come with errors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refbnn import predict
from refbnn.budget.links import Link
from refbnn.budget.truth import Exact
from refbnn.gaussian import Gaussian
from refbnn.quadrature import Integral, Replicated
from refbnn.shapes import NewInputs, Vector

ROUND_OFF = 30 * np.finfo(float).eps


@dataclass(frozen=True, eq=False)
class Affine:
    """θ ~ q in a model affine in θ: f is Gaussian; `link` makes targets of it."""

    net: object
    q: Gaussian
    link: Link

    def functions(self, X: NewInputs) -> Integral:
        """As truth.Exact."""
        return _moments(self._law(X))

    def targets(self, X: NewInputs, y: np.ndarray) -> Integral:
        """As truth.Exact."""
        return self.link(self._law(X), y)

    def _law(self, X):
        return predict.moments(self.net, self.q, X)


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
class Plugged:
    """θ is taken for known: f has no variance."""

    net: object
    theta: Vector
    link: Link

    def functions(self, X: NewInputs) -> Integral:
        """As truth.Exact."""
        return _moments(self._law(X))

    def targets(self, X: NewInputs, y: np.ndarray) -> Integral:
        """As truth.Exact."""
        return self.link(self._law(X), y)

    def _law(self, X):
        f = self.net.forward(self.theta, X)
        return predict.Moments(f, np.zeros((*f.shape, 1)))


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


def _moments(law: predict.Moments) -> Integral:
    mean, variance = law.mean[:, 0], law.variance[:, 0]
    return Integral((mean, variance), (ROUND_OFF * np.abs(mean), ROUND_OFF * variance))
