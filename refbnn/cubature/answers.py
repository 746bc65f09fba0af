"""What can be asked of an integrated posterior: every answer comes with its error estimate, or is refused.

A method (`units`, `layered`, `product`, `sobol`) makes an `Answers`: its rules give weighted points of what was integrated
numerically, and the target says what is known `given` such a point. Answers are averages of that. Each takes `within`, the
absolute error that is asked for, in the units of the answer, and raises NotConverged where the estimate is larger.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from refbnn.cubature.record import NotConverged
from refbnn.quadrature import Integral
from refbnn.shapes import NewInputs, as_array, as_positive

Arrays = tuple[np.ndarray, ...]
Given = Callable[[object], Arrays]  # from what is known given points (c) to arrays (c ...)
NEWTON_STEPS = 60


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
    def means(self, given: Given) -> list[Arrays]:
        """Posterior means of the arrays that `given` makes, for every rule or replicate: the first is the best one."""

    @abstractmethod
    def best(self, given: Given) -> Arrays:
        """The first of `means` alone."""

    @abstractmethod
    def spread(self, values: list[np.ndarray]) -> np.ndarray:
        """The error estimate of the first value, from all."""

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
        """Mean (m k) and covariance (m k k) of new targets, noise included: value and error are Moments. Eq. (total-variance)."""
        X_new = self._inputs(X_new)
        return self._moments("targets", lambda at: _raw(*at.targets(X_new)), within)

    def density(self, X_new: NewInputs, y_new: np.ndarray, within: float) -> Integral:
        """p(y_new|x_new, y), all outputs of a datum at once: (m). A probability for discrete targets. Eq (predictive-mixture)."""
        X_new = self._inputs(X_new)
        value, error = self._settle("density", lambda at: (np.exp(at.log_density(X_new, y_new)),), lambda p: (p,), within)
        return Integral(value[0], error[0])

    def distribution(self, X_new: NewInputs, y_new: np.ndarray, within: float) -> Integral:
        """P(target <= y_new|x_new, y), output by output: (m k). Eq (predictive-mixture). Gaussian noise only."""
        X_new = self._inputs(X_new)
        value, error = self._settle("distribution", lambda at: at.distribution(X_new, y_new), lambda *both: both[:1], within)
        return Integral(value[0], error[0])

    def quantiles(self, X_new: NewInputs, probability: float, within: float) -> Integral:
        """y with P(target <= y|x_new, y) = `probability`, output by output: (m k). Gaussian noise only.

        Newton's method inside a bracket; the error is that of the distribution function there over the density.
        """
        X_new, level = self._inputs(X_new), float(as_array("probability", probability, ""))
        if not 0 < level < 1:
            raise ValueError(f"probability: expected a number between 0 and 1, got {level}")
        y = self._invert(X_new, level)
        both = self.means(lambda at: at.distribution(X_new, y))
        density = both[0][1]
        error = (self.spread([cdf for cdf, _ in both]) + np.abs(both[0][0] - level)) / density
        self._accept("quantiles", (error,), within)
        return Integral(y, error)

    def _invert(self, X_new: NewInputs, level: float) -> np.ndarray:
        mean, square = self.best(lambda at: _raw(*at.targets(X_new)))
        std = np.sqrt(np.diagonal(square, axis1=-2, axis2=-1) - mean**2)
        far = 1 / np.sqrt(min(level, 1 - level))  # Chebyshev: the quantile is no further from the mean, in standard deviations
        low, high, y = mean - far * std, mean + far * std, mean.copy()
        for _ in range(NEWTON_STEPS):
            cdf, density = self.best(lambda at: at.distribution(X_new, y))
            low, high = np.where(cdf < level, y, low), np.where(cdf < level, high, y)
            with np.errstate(divide="ignore", invalid="ignore"):
                step = y - (cdf - level) / density
            moved = np.where((low < step) & (step < high), step, 0.5 * (low + high))
            done = np.abs(moved - y) <= 1e-14 * (np.abs(y) + std)
            y = moved
            if done.all():
                break
        return y

    def _moments(self, name: str, raw: Given, within: float, change: Callable = lambda *moments: moments) -> Integral:
        value, error = self._settle(name, raw, lambda *sums: change(*_central(*sums)), within)
        return Integral(Moments(*value), Moments(*error))

    def _settle(self, name: str, given: Given, finish: Callable[..., Arrays], within: float) -> tuple[Arrays, Arrays]:
        """What `finish` makes of the means, and its error."""
        found = [finish(*means) for means in self.means(given)]
        error = tuple(self.spread(list(values)) for values in zip(*found))
        self._accept(name, error, within)
        return found[0], error

    def _accept(self, name: str, errors: Arrays, within: float) -> None:
        largest = max(float(np.max(error)) for error in errors)
        if not largest <= as_positive("within", within):
            raise NotConverged(f"{name}: expected an error within {within:.3g}, got an estimate of {largest:.3g}", self.record)

    def _over_symmetries(self, mean: np.ndarray, covariance: np.ndarray) -> Arrays:
        """Moments of the mixture of all images: means average, and so do second moments."""
        square = covariance + np.outer(mean, mean)
        mean = np.mean([move(mean) for move in self.symmetries], axis=0)
        square = np.mean([move(move(square).T) for move in self.symmetries], axis=0)
        return mean, square - np.outer(mean, mean)

    def _inputs(self, X_new: NewInputs) -> NewInputs:
        return as_array("X_new", X_new, "m d", d=self.target.net.num_inputs)


def _raw(mean: np.ndarray, covariance: np.ndarray) -> Arrays:
    """Mean and second moment, which average; covariances do not."""
    return mean, covariance + mean[..., :, None] * mean[..., None, :]


def _central(mean: np.ndarray, square: np.ndarray) -> Arrays:
    return mean, square - mean[..., :, None] * mean[..., None, :]
