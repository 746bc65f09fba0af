"""Ordinal likelihood: cumulative logits with known cut-points, Eq. (ordinal)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from scipy.special import expit, log_expit

from refbnn.likelihoods import outcomes, targets
from refbnn.likelihoods.independent import IndependentOutputs
from refbnn.shapes import as_array

CutPoints = Annotated[np.ndarray, "c"]


@dataclass(frozen=True, eq=False)
class Ordinal(IndependentOutputs):
    """y_k in {0, ..., c}, P(y_k <= j) = σ(c_j − f_k), cut-points c_0 < ... < c_{c−1} (McCullagh 1980). Not canonical; Λ > 0.

    With b = c_y − f, a = c_{y−1} − f (infinite at the ends): p = σ(b) − σ(a) = σ(b) σ(−a) (1 − exp(a − b)), r = σ(−b) − σ(a),
    Λ = σ′(b) + σ′(a), F = (1 − Σ p_j³)/3, summed here as Σ p_j Λ_j, which does not cancel. Raises ValueError unless the
    cut-points increase strictly.
    """

    bounded = True  # targets of a finite set: where |f| is large they have no noise

    cut_points: CutPoints

    def __post_init__(self):
        cuts = as_array("cut_points", self.cut_points, "c")
        if len(cuts) == 0 or (np.diff(cuts) <= 0).any():
            raise ValueError(f"cut_points: expected at least one, strictly increasing, got {cuts}")
        object.__setattr__(self, "cut_points", cuts)

    def check_targets(self, y, num_data, num_outputs):
        """Return y as float64 (n k) of levels 0 to c, or raise ValueError."""
        return targets.levels(super().check_targets(y, num_data, num_outputs), len(self.cut_points) + 1)

    def log_density(self, f, y):
        """log σ(b) + log σ(−a) + log(1 − exp(a − b))."""
        lower, upper = self._interval(y)
        return log_expit(upper - f) + log_expit(f - lower) + np.log(-np.expm1(lower - upper))

    def first_derivative(self, f, y):
        """σ(−b) − σ(a)."""
        lower, upper = self._interval(y)
        return expit(f - upper) - expit(lower - f)

    def second_derivative(self, f, y):
        """σ′(b) + σ′(a)."""
        lower, upper = self._interval(y)
        return _slope(upper - f) + _slope(lower - f)

    def third_derivative(self, f, y):
        """−σ″(b) − σ″(a) = σ′(b) tanh(b/2) + σ′(a) tanh(a/2)."""
        lower, upper = self._interval(y)
        return sum(_slope(x) * np.tanh(x / 2) for x in (upper - f, lower - f))

    def information(self, f):
        """Σ_j p_j Λ_j = (1 − Σ_j p_j³)/3."""
        levels, p = self.output_outcomes(f)
        return (p * self.second_derivative(f, levels)).sum(0)

    def mean(self, f):
        """E[y] = Σ_j j p_j = Σ_j σ(f − c_j)."""
        return expit(f[..., None] - self.cut_points).sum(-1)

    def output_variance(self, f):
        """Var[y] = Σ_{i < j} p_i p_j (i − j)²."""
        levels, p = self.output_outcomes(f)
        return 0.5 * np.einsum("i...,j...,ij->...", p, p, (np.arange(len(p)) - np.arange(len(p))[:, None]) ** 2.0)

    def sample(self, f, rng):
        """The number of cut-points below f + a logistic variable."""
        latent = f + rng.logistic(size=f.shape)
        return (latent[..., None] > self.cut_points).sum(-1).astype(float)

    def output_outcomes(self, f):
        """Every level with its probability."""
        levels = np.arange(len(self.cut_points) + 1.0).reshape(-1, *[1] * f.ndim)
        return outcomes.levels(np.exp(self.log_density(f, levels)))

    def _interval(self, y):
        """(c_{y−1}, c_y), minus and plus infinity at the ends."""
        ends = np.concatenate([[-np.inf], self.cut_points, [np.inf]])
        level = y.astype(np.intp)
        return ends[level], ends[level + 1]


def _slope(x: np.ndarray) -> np.ndarray:
    """σ′(x) = σ(x) σ(−x)."""
    return expit(x) * expit(-x)
