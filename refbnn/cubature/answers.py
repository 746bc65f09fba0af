"""What can be asked of an integrated posterior: every answer comes with its error estimate, or is refused.

A method (`units`, `layered`, `product`, `sobol`) makes an `Answers`: its rules give weighted points of what was integrated
numerically, and the target says what is known `given` such a point. Answers are averages of that. Each takes `within`, the
absolute error that is asked for, in the units of the answer, and raises NotConverged where the estimate is larger.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from refbnn.cubature.record import NotConverged
from refbnn.quadrature import Integral
from refbnn.shapes import NewInputs, as_array, as_positive

Arrays = tuple[np.ndarray, ...]
Given = Callable[[object], Iterable]  # from what is known given points (c) to arrays (c ...)
Mean = Callable[[Given], Arrays]  # the posterior means of these
Estimate = Callable[[Mean], Arrays]
NEWTON_STEPS = 60
STILL = 1e-13  # standard deviations: a step of Newton's method that ends it


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean and covariance: of θ (p; p p), of f or of new targets at each input (m k; m k k)."""

    mean: np.ndarray
    covariance: np.ndarray


class Answers(ABC):
    """A posterior whose log evidence is known: `log_evidence` is an Integral, `record` says how it was found."""

    target: object
    log_evidence: Integral
    record: object
    symmetries: Sequence[Callable]  # of θ that the rule folded; functions do not see them

    @abstractmethod
    def _settle(self, name: str, estimate: Estimate, within: float) -> tuple[Arrays, Arrays]:
        """The arrays that `estimate` makes of posterior means, and their error estimates; NotConverged unless within `within`."""

    def parameters(self, within: float) -> Integral:
        """Mean (P) and covariance (P P) of all parameters of the network: value and error are Moments.

        Averaged over the symmetries that were folded: under an odd activation the weights of a hidden unit have mean zero.
        """
        return self._moments("parameters", lambda at: _raw(*at.parameters()), within, self._over_symmetries)

    def outputs(self, X_new: NewInputs, within: float) -> Integral:
        """Mean (m k) and covariance (m k k) of f at each new input: value and error are Moments."""
        X_new = self._inputs(X_new)
        return self._moments("outputs", lambda at: _raw(*at.outputs(X_new)), within)

    def targets(self, X_new: NewInputs, within: float) -> Integral:
        """Mean (m k) and covariance (m k k) of new targets: value and error are Moments. Eq. (total-variance)."""
        X_new = self._inputs(X_new)
        return self._moments("targets", lambda at: _raw(*at.targets(X_new)), within)

    def average(self, given: Given, within: float) -> Integral:
        """The posterior mean of whatever follows once the weights that were integrated numerically are known.

        `given(at)` is an array (c ...) for c points, `at` what the target knows there: `at.theta` (c p), `at.outputs(X_new)`, ...
        """
        value, error = self._settle("average", lambda mean: mean(lambda at: (given(at),)), within)
        return Integral(value[0], error[0])

    def density(self, X_new: NewInputs, y_new: np.ndarray, within: float) -> Integral:
        """p(y_new|x_new, y), all outputs of a datum at once, or a probability: (m). Eq. (predictive-mixture)."""
        X_new = self._inputs(X_new)
        p = lambda at: (np.exp(at.log_density(X_new, y_new)),)
        value, error = self._settle("density", lambda mean: mean(p), within)
        return Integral(value[0], error[0])

    def curves(self, X_new: NewInputs, y_new: np.ndarray, within: float) -> Integral:
        """p(y_new|x_new, y) at several targets y_new (m g k) for each new input: (m g). Eq. (predictive-mixture)."""
        X_new = self._inputs(X_new)
        y_new = as_array("y_new", y_new, "m g k", m=len(X_new), k=self.target.net.num_outputs)
        places = [slice(i, i + 1) for i in range(len(X_new))]  # one at a time: all of them are a large array
        p = lambda at: (np.exp(at.log_densities(X_new[i], y_new[i])) for i in places)
        value, error = self._settle("curves", lambda mean: mean(p), within)
        return Integral(np.concatenate(value), np.concatenate(error))

    def distribution(self, X_new: NewInputs, y_new: np.ndarray, within: float) -> Integral:
        """P(target <= y_new|x_new, y), output by output: (m k). Eq. (predictive-mixture). Continuous targets only."""
        X_new = self._inputs(X_new)
        cdf = lambda at: at.distribution(X_new, y_new)[:1]
        value, error = self._settle("distribution", lambda mean: mean(cdf), within)
        return Integral(value[0], error[0])

    def quantiles(self, X_new: NewInputs, probability: float, within: float) -> Integral:
        """y with P(target <= y|x_new, y) = `probability`, output by output: (m k). Continuous targets only.

        Raises ValueError where targets have no variance, by which quantiles are enclosed.
        """
        X_new, level = self._inputs(X_new), float(as_array("probability", probability, ""))
        if not 0 < level < 1:
            raise ValueError(f"probability: expected a number between 0 and 1, got {level}")
        value, error = self._quantiles(X_new, level, within)
        return Integral(value, error)

    def _quantiles(self, X_new: NewInputs, level: float, within: float) -> Arrays:
        value, error = self._settle("quantiles", lambda mean: (inverted(mean, X_new, level),), within)
        return value[0], error[0]

    def _moments(self, name: str, raw: Given, within: float, change: Callable = lambda *moments: moments) -> Integral:
        value, error = self._settle(name, lambda mean: change(*_central(*mean(raw))), within)
        return Integral(Moments(*value), Moments(*error))

    def _over_symmetries(self, mean: np.ndarray, covariance: np.ndarray) -> Arrays:
        """Moments of the mixture of all images: means average, and so do second moments."""
        square = covariance + np.outer(mean, mean)
        mean = np.mean([move(mean) for move in self.symmetries], axis=0)
        square = np.mean([move(move(square).T) for move in self.symmetries], axis=0)
        return mean, square - np.outer(mean, mean)

    def _inputs(self, X_new: NewInputs) -> NewInputs:
        return as_array("X_new", X_new, "m d", d=self.target.net.num_inputs)


def inverted(mean: Mean, X_new: NewInputs, level: float) -> np.ndarray:
    """Where the distribution function of new targets is `level`: Newton's method inside a bracket. (m k)."""
    centre, square = mean(lambda at: _raw(*at.targets(X_new)))
    std = np.sqrt(np.diagonal(square, axis1=-2, axis2=-1) - centre**2)
    if not np.isfinite(std).all():
        raise ValueError("quantiles: expected targets with a variance, by which quantiles are enclosed, got an infinite one")
    far = 1 / np.sqrt(min(level, 1 - level))  # Chebyshev: no quantile is further from the mean, in standard deviations
    low, high, y = centre - far * std, centre + far * std, centre + ndtri(level) * std
    for _ in range(NEWTON_STEPS):
        cdf, density = mean(lambda at: at.distribution(X_new, y))
        low, high = np.where(cdf < level, y, low), np.where(cdf < level, high, y)
        with np.errstate(divide="ignore", invalid="ignore"):
            newton = y - (cdf - level) / density
        moved = np.where((low < newton) & (newton < high), newton, 0.5 * (low + high))
        done = np.abs(moved - y) <= STILL * std
        y = moved
        if done.all():
            break
    return y


def refuse_beyond(within: float, name: str, errors: Arrays, record: object) -> None:
    """Raise NotConverged unless every error is within `within`."""
    largest = max(float(np.max(error)) for error in errors)
    if not largest <= as_positive("within", within):
        raise NotConverged(f"{name}: expected an error within {within:.3g}, got an estimate of {largest:.3g}", record)


def _raw(mean: np.ndarray, covariance: np.ndarray) -> Arrays:
    """Mean and second moment, which average; covariances do not."""
    return mean, covariance + mean[..., :, None] * mean[..., None, :]


def _central(mean: np.ndarray, square: np.ndarray) -> Arrays:
    return mean, square - mean[..., :, None] * mean[..., None, :]
