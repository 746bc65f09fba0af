"""Laplace in function space: Newton's method on the outputs at the data, for any log-concave likelihood."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from refbnn.gp.at_data import AtData
from refbnn.gp.conditioned import Conditioned, expect_process, finite
from refbnn.gp.sites import DataOutputs, expand, transposed_times
from refbnn.optimize import CONVERGED, NotAMode
from refbnn.shapes import Inputs, as_count, as_own_array, expect_methods

NEARLY = 1e-3  # standard deviations from the mode below which full steps converge quadratically and log densities no longer tell
HALVINGS = 60


@dataclass(frozen=True)
class Laplace:
    """The Laplace approximation of a process: `posterior` (its sites expanded at the mode) and what was reached.

    `gradient_norm` is ‖α + r‖, zero at a mode, Eq. (dual-mode); `decrement` is the distance to the exact mode in posterior
    standard deviations, the same number as in weight space; `num_iterations` counts the steps tried.
    """

    posterior: Conditioned
    gradient_norm: float
    decrement: float
    num_iterations: int


def laplace(process: object, likelihood: object, X: Inputs, y: np.ndarray, max_iterations: int = 100) -> Laplace:
    """The mode of p(f|y) under `process`, and the sites there, Eq. (dual-newton): exact for a Normal.

    Damped Newton steps α ← −r + S B⁻¹ Sᵀ K (α + r), which take a singular Λ as it is; near the mode full steps, until round-off
    stops them. Raises NotAMode without convergence, ValueError for a likelihood that is not log-concave.
    """
    expect_process(process)
    expect_methods("likelihood", likelihood, "log_prob", "residual", "factor", "check_targets")
    if not getattr(likelihood, "log_concave", False):
        raise ValueError(
            f"likelihood: expected a log-concave one, got {type(likelihood).__name__}: its posterior can have several modes"
        )
    X, limit = as_own_array("X", X, "n d"), as_count("max_iterations", max_iterations)
    if len(X) == 0:
        raise ValueError("X: expected at least one datum, got none")
    mean, K = finite(process, X)
    y = likelihood.check_targets(y, *mean.shape)
    start = _Point(likelihood, y, np.zeros_like(mean), AtData(mean, K, expand(likelihood, mean, y)))
    point, num_iterations = _search(start, limit)
    if not point.decrement <= CONVERGED:
        raise NotAMode(
            f"no convergence: expected to come within {CONVERGED:g} standard deviations of the mode, got {point.decrement:.3g} "
            f"with gradient norm {point.gradient_norm:.3g} after {num_iterations} iterations"
        )
    return Laplace(Conditioned(process, X, point.at_data), point.gradient_norm, point.decrement, num_iterations)


@dataclass(frozen=True)
class _Point:
    """Coefficients α and the sites at the outputs mean + K α."""

    likelihood: object
    y: np.ndarray
    alpha: DataOutputs
    at_data: AtData

    def moved(self, alpha: DataOutputs) -> _Point:
        """The same problem at another α."""
        sites = expand(self.likelihood, self.at_data.mean + self.at_data.times_kernel(alpha), self.y)
        return replace(self, alpha=alpha, at_data=replace(self.at_data, sites=sites))

    def log_joint(self, alpha: DataOutputs) -> float:
        """log p(y|f) − ½ αᵀKα at f = mean + K α; −∞ where it overflows, so that such a step is rejected."""
        change = self.at_data.times_kernel(alpha)
        with np.errstate(over="ignore", invalid="ignore"):
            value = self.likelihood.log_prob(self.at_data.mean + change, self.y).sum() - 0.5 * (alpha * change).sum()
        return value if np.isfinite(value) else -np.inf

    @property
    def error(self) -> DataOutputs:
        """α + r, the gradient in f of −log p(y|f) − log p(f): (n k)."""
        return self.alpha + self.at_data.sites.r

    @property
    def step(self) -> DataOutputs:
        """Newton's step in α: (n k)."""
        return self.at_data.coefficients(np.zeros_like(self.alpha), self.error)

    @property
    def gradient_norm(self) -> float:
        """‖α + r‖."""
        return float(np.linalg.norm(self.error))

    @property
    def decrement(self) -> float:
        """√(δᵀ(K⁻¹ + Λ)δ) for the step δ = K · step of f."""
        step = self.step
        change = self.at_data.times_kernel(step)
        return float(np.sqrt(max((step * change).sum(), 0.0) + (transposed_times(self.at_data.sites.S, change) ** 2).sum()))


def _search(point: _Point, limit: int) -> tuple[_Point, int]:
    """Newton steps until the decrement no longer falls, or `limit` of them."""
    for iteration in range(limit):
        near = point.decrement < NEARLY
        trial = point.moved(point.alpha + point.step) if near else _damped(point)
        if trial is None or near and not trial.decrement < point.decrement:
            return point, iteration + 1
        point = trial
    return point, limit


def _damped(point: _Point) -> _Point | None:
    """The first of the steps 1, ½, ¼, ... that gains a quarter of what the tangent promises; None when none does."""
    value, promised, step = point.log_joint(point.alpha), point.decrement**2, point.step
    for size in 0.5 ** np.arange(HALVINGS):
        alpha = point.alpha + size * step
        if point.log_joint(alpha) >= value + 0.25 * size * promised:
            return point.moved(alpha)
    return None
