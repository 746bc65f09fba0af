"""Normal likelihood whose means and whole precision matrix, by its Cholesky factor, are outputs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import isqrt

import numpy as np

from refbnn.likelihoods import outcomes, targets
from refbnn.likelihoods.independent import refuse_indefinite
from refbnn.shapes import DataValues, OutputMatrices, Outputs, OutputTensors, Targets, as_array


@dataclass(frozen=True)
class HeteroscedasticFull:
    """y_n ~ N(μ, (L Lᵀ)⁻¹), t targets, L lower triangular: ℓ = ½ |Lᵀ e|² − Σ_j log L_jj + ½ t log 2π, e = y − μ.

    Eq. (heteroscedastic-full). The k = t (t + 3)/2 outputs are the means and then the rows of L, its diagonal as logarithms:
    f = (μ_1, ..., μ_t, log L_11, L_21, log L_22, L_31, L_32, log L_33, ...), so that every f is allowed (Williams 1996).

    Not canonical: Λ is indefinite wherever y ≠ μ, Eq. (heteroscedastic-full-indefinite), and `factor` raises ValueError there;
    the Fisher matrix, Eq. (heteroscedastic-full-fisher), is positive definite.
    """

    log_concave = False  # Λ is indefinite at almost every datum

    def check_targets(self, y, num_data: int, num_outputs: int) -> Targets:
        """Return y as float64 (n t), or raise ValueError saying what was expected and what came."""
        return as_array("y", y, "n t", n=num_data, t=_num_targets(num_outputs))

    def log_prob(self, f: Outputs, y: Targets) -> DataValues:
        """−½ |Lᵀ e|² + Σ_j log L_jj − ½ t log 2π: (*s n)."""
        point = _Point(f)
        log_det = f[..., point.logarithmic].sum(-1)
        return -0.5 * (_Square(point, y).z ** 2).sum(-1) + log_det - 0.5 * point.num_targets * np.log(2 * np.pi)

    def residual(self, f: Outputs, y: Targets) -> Outputs:
        """r = (−L z, z_j e_i L′_ij) − (0, 1 for each log L_jj), z = Lᵀ e: (*s n k)."""
        point = _Point(f)
        return point.slope * _Square(point, y).first - point.logarithmic

    def curvature(self, f: Outputs, y: Targets) -> OutputMatrices:
        """Λ = q_ab h′_a h′_b + δ_ab h″_a q_a, q = ½ |Lᵀ e|² as a function of (μ, L) and h the exponential: (*s n k k)."""
        point = _Point(f)
        square, slope, bend = _Square(point, y), point.slope, point.bend
        return square.second * _outer(slope, slope) + _on_diagonal(bend * square.first)

    def factor(self, f: Outputs, y: Targets) -> OutputMatrices:
        """S = (L, 0) where y = μ: (*s n k k). Raises ValueError, naming the datum, everywhere else: Λ is indefinite."""
        point = _Point(f)
        refuse_indefinite(_Square(point, y).e != 0)
        S = np.zeros((*f.shape, f.shape[-1]))
        S[..., :point.num_targets, :point.num_targets] = point.L
        return S

    def third(self, f: Outputs, y: Targets) -> OutputTensors:
        """T = q_abc h′_a h′_b h′_c + (δ_ab h″_a q_ac h′_c, three times) + δ_abc h‴_a q_a: (*s n k k k)."""
        point = _Point(f)
        square, slope, bend = _Square(point, y), point.slope, point.bend
        T = square.third * _outer(slope, slope)[..., None] * slope[..., None, None, :]
        index = np.arange(f.shape[-1])
        mixed = bend[..., :, None] * square.second * slope[..., None, :]  # the pair's index a, the single one's c
        T[..., index, index, :] += mixed
        T[..., index, :, index] += np.moveaxis(mixed, -2, 0)
        T[..., :, index, index] += np.swapaxes(mixed, -1, -2)
        T[..., index, index, index] += bend * square.first
        return T

    def fisher(self, f: Outputs) -> OutputMatrices:
        """E[r rᵀ] = diag(L Lᵀ, h′_a h′_b δ_jl Σ_ik + 1 at each log L_jj), Σ = (L Lᵀ)⁻¹, a = L_ij, b = L_kl: (*s n k k)."""
        point = _Point(f)
        t, rows = point.num_targets, point.rows
        F = np.zeros((*f.shape, f.shape[-1]))
        F[..., :t, :t] = point.precision
        slope = point.slope[..., t:]
        pairs = np.where(point.same_column, point.covariance[..., rows[:, None], rows], 0.0)
        F[..., t:, t:] = pairs * _outer(slope, slope) + np.diag(point.logarithmic[t:].astype(float))
        return F

    def mean(self, f: Outputs) -> np.ndarray:
        """μ: (*s n t)."""
        return f[..., :_num_targets(f.shape[-1])]

    def covariance(self, f: Outputs) -> np.ndarray:
        """(L Lᵀ)⁻¹: (*s n t t)."""
        return _Point(f).covariance

    def sample(self, f: Outputs, rng: np.random.Generator) -> np.ndarray:
        """μ + L⁻ᵀ ε: (*s n t)."""
        point = _Point(f)
        return point.spread(rng.standard_normal(point.mu.shape))

    def outcomes(self, f: Outputs) -> outcomes.Rule:
        """Gauss-Hermite rule through L⁻ᵀ, ten points an axis: y_j (j *s n t), w_j (j *s n). Exact to degree 19."""
        point = _Point(f)
        z, w = outcomes.standard_normal(f.ndim)
        z, w = outcomes.joint(*np.broadcast_arrays(z, w, np.empty((1, *point.mu.shape)))[:2])
        return point.spread(z), w


class _Point:
    """μ and L at the outputs f, with the slope h′ and the bend h″ = h‴ of L in f."""

    def __init__(self, f: np.ndarray):
        self.num_targets = t = _num_targets(f.shape[-1])
        self.rows, self.columns = np.tril_indices(t)
        self.same_column = self.columns[:, None] == self.columns
        self.logarithmic = np.concatenate([np.zeros(t, dtype=bool), self.rows == self.columns])
        self.mu, self.slope = f[..., :t], np.ones_like(f)
        self.slope[..., self.logarithmic] = np.exp(f[..., self.logarithmic])
        self.bend = np.where(self.logarithmic, self.slope, 0.0)
        self.L = np.zeros((*f.shape[:-1], t, t))
        self.L[..., self.rows, self.columns] = np.where(self.logarithmic, self.slope, f)[..., t:]

    @cached_property
    def precision(self) -> np.ndarray:
        """L Lᵀ: (*s n t t)."""
        return self.L @ np.swapaxes(self.L, -1, -2)

    @cached_property
    def inverse(self) -> np.ndarray:
        """L⁻¹: (*s n t t)."""
        return np.tril(np.linalg.solve(self.L, np.broadcast_to(np.eye(self.num_targets), self.L.shape)))

    @property
    def covariance(self) -> np.ndarray:
        """L⁻ᵀ L⁻¹: (*s n t t)."""
        return np.swapaxes(self.inverse, -1, -2) @ self.inverse

    def spread(self, z: np.ndarray) -> np.ndarray:
        """μ + L⁻ᵀ z."""
        return self.mu + np.einsum("...ji,...j->...i", self.inverse, z)


class _Square:
    """q = ½ |Lᵀ e|² and its derivatives in (μ, L): a polynomial, with e = y − μ and z = Lᵀ e."""

    def __init__(self, point: _Point, y: np.ndarray):
        self.point = point
        self.e = targets.aligned(y, "n t", point.mu.shape[-2:]) - point.mu
        self.z = np.einsum("...ij,...i->...j", point.L, self.e)

    @property
    def first(self) -> np.ndarray:
        """(−L z, z_j e_i): (*s n k)."""
        L, rows, columns = self.point.L, self.point.rows, self.point.columns
        return np.concatenate([-np.einsum("...ij,...j->...i", L, self.z), self.z[..., columns] * self.e[..., rows]], axis=-1)

    @property
    def second(self) -> np.ndarray:
        """L Lᵀ for two means, −L_kj e_i − δ_ki z_j for μ_k and L_ij, δ_jl e_i e_k for L_ij and L_kl: (*s n k k)."""
        L, rows, columns, t = self.point.L, self.point.rows, self.point.columns, self.point.num_targets
        e, same_row = self.e[..., rows], np.eye(t)[:, rows]
        mixed = -L[..., columns] * e[..., None, :] - same_row * self.z[..., None, columns]
        return np.concatenate([
            np.concatenate([np.broadcast_to(self.point.precision, (*e.shape[:-1], t, t)), mixed], axis=-1),
            np.concatenate([np.swapaxes(mixed, -1, -2), self.point.same_column * _outer(e, e)], axis=-1),
        ], axis=-2)

    @property
    def third(self) -> np.ndarray:
        """L_kj δ_mi + L_mj δ_ki for (μ_k, μ_m, L_ij), −δ_jl (δ_mi e_k + δ_mk e_i) for (μ_m, L_ij, L_kl), else 0: (*s n k k k)."""
        L, rows, columns, t = self.point.L, self.point.rows, self.point.columns, self.point.num_targets
        size = t + len(rows)
        same_row, e = np.eye(t)[:, rows], self.e[..., rows]
        means = L[..., :, None, columns] * same_row
        means = means + np.swapaxes(means, -2, -3)
        factors = -same_row[:, :, None] * self.point.same_column * e[..., None, None, :]
        factors = factors + np.swapaxes(factors, -1, -2)
        q = np.zeros((*e.shape[:-1], size, size, size))
        q[..., :t, :t, t:] = means
        q[..., :t, t:, :t] = np.swapaxes(means, -1, -2)
        q[..., t:, :t, :t] = np.moveaxis(means, -1, -3)
        q[..., :t, t:, t:] = factors
        q[..., t:, :t, t:] = np.swapaxes(factors, -2, -3)
        q[..., t:, t:, :t] = np.moveaxis(factors, -3, -1)
        return q


def _num_targets(num_outputs: int) -> int:
    t = (isqrt(9 + 8 * num_outputs) - 3) // 2
    if t < 1 or t * (t + 3) // 2 != num_outputs:
        raise ValueError(f"HeteroscedasticFull: expected t (t + 3)/2 = 2, 5, 9, 14, ... outputs for t targets, got {num_outputs}")
    return t


def _outer(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[..., :, None] * b[..., None, :]


def _on_diagonal(v: np.ndarray) -> np.ndarray:
    return v[..., None] * np.eye(v.shape[-1])
