"""Categorical likelihood with softmax, Eq. (categorical)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refbnn.likelihoods import targets
from refbnn.likelihoods.outcomes import Rule
from refbnn.shapes import DataValues, OutputMatrices, Outputs, OutputTensors, Targets, as_array


@dataclass(frozen=True)
class Categorical:
    """y in {0, ..., k − 1}, P(y = c) = p_c = softmax(f)_c: ℓ = −f_y + log Σ_c exp f_c. Canonical.

    Λ = diag p − p pᵀ is singular along (1, ..., 1): adding a constant to all outputs changes nothing, Eq. (softmax-null).
    1 − p_c is computed as the sum of the other probabilities, Eq. (saturation), so that saturated outputs keep all their digits.
    """

    log_concave = True  # Λ is never indefinite
    bounded = True  # targets of a finite set: where |f| is large they have no noise

    def check_targets(self, y, num_data: int, num_outputs: int) -> Targets:
        """Return y as integer labels (n), or raise ValueError saying what was expected and what came."""
        labels = as_array("y", y, "n", n=num_data)
        if num_outputs < 2:
            raise ValueError(f"Categorical: expected a network with at least 2 outputs, got {num_outputs}")
        bad = (labels != np.floor(labels)) | (labels < 0) | (labels >= num_outputs)
        if bad.any():
            raise ValueError(f"y: expected labels 0 to {num_outputs - 1}, got {labels[bad][0]:g}")
        return labels.astype(np.intp)

    def log_prob(self, f: Outputs, y: Targets) -> DataValues:
        """log p(y_n|f_n) = log softmax(f_n)[y_n]: (*s n)."""
        return _pick(_log_softmax(f), _aligned(f, y))

    def residual(self, f: Outputs, y: Targets) -> Outputs:
        """r = p − e_y: (*s n k)."""
        p = self.mean(f)
        return np.where(_one_hot(f, _aligned(f, y)), -_others(p), p)

    def curvature(self, f: Outputs, y: Targets) -> OutputMatrices:
        """Λ = diag p − p pᵀ: (*s n k k)."""
        _aligned(f, y)
        return self.fisher(f)

    def factor(self, f: Outputs, y: Targets) -> OutputMatrices:
        """S = diag √p − p √pᵀ, with S Sᵀ = Λ, Eq. (categorical-root): (*s n k k)."""
        _aligned(f, y)
        p = self.mean(f)
        root = np.sqrt(p)
        return _with_diagonal(-p[..., :, None] * root[..., None, :], root * _others(p))

    def third(self, f: Outputs, y: Targets) -> OutputTensors:
        """T_abc = ∂Λ_ab/∂f_c = Σ_j p_j (δ_ja − p_a)(δ_jb − p_b)(δ_jc − p_c), the third cumulant of e_y: (*s n k k k)."""
        _aligned(f, y)
        p = self.mean(f)
        centred = _with_diagonal(np.repeat(-p[..., None, :], p.shape[-1], axis=-2), _others(p))  # e_j − p, row j
        return np.einsum("...j,...ja,...jb,...jc->...abc", p, centred, centred, centred)

    def fisher(self, f: Outputs) -> OutputMatrices:
        """E_{y~p(.|f)}[r rᵀ] = diag p − p pᵀ: (*s n k k)."""
        p = self.mean(f)
        return _with_diagonal(-p[..., :, None] * p[..., None, :], p * _others(p))

    def mean(self, f: Outputs) -> Outputs:
        """Class probabilities p = softmax(f): (*s n k)."""
        weights = np.exp(f - f.max(axis=-1, keepdims=True))
        return weights / weights.sum(-1, keepdims=True)

    def covariance(self, f: Outputs) -> OutputMatrices:
        """Cov of the one-hot y, diag p − p pᵀ: (*s n k k)."""
        return self.fisher(f)

    def sample(self, f: Outputs, rng: np.random.Generator) -> np.ndarray:
        """One label for every f, by the Gumbel-max trick: (*s n) integers."""
        return np.argmax(f + rng.gumbel(size=f.shape), axis=-1)

    def outcomes(self, f) -> Rule:
        """Every label y_j (j *s n) and its probability w_j (j *s n): E_{y~p(.|f)}[g(y)] = Σ_j w_j g(y_j), exactly."""
        p = np.moveaxis(self.mean(f), -1, 0)
        labels = np.arange(len(p)).reshape(-1, *[1] * (f.ndim - 1))
        return np.broadcast_to(labels, p.shape), p


def _aligned(f: np.ndarray, y: np.ndarray) -> np.ndarray:
    return targets.aligned(y, "n", f.shape[-2:-1])


def _log_softmax(f: np.ndarray) -> np.ndarray:
    """f − max f − log1p(Σ_{c ≠ argmax} exp(f_c − max f)): accurate also where a probability is nearly one."""
    top = np.argmax(f, axis=-1, keepdims=True)
    shifted = f - np.take_along_axis(f, top, -1)
    rest = np.exp(shifted)
    np.put_along_axis(rest, top, 0.0, -1)
    return shifted - np.log1p(rest.sum(-1, keepdims=True))


def _others(p: np.ndarray) -> np.ndarray:
    """1 − p_c as Σ_{b ≠ c} p_b."""
    return p @ (1 - np.eye(p.shape[-1]))


def _one_hot(f: np.ndarray, y: np.ndarray) -> np.ndarray:
    return y[..., None] == np.arange(f.shape[-1])


def _pick(values: np.ndarray, y: np.ndarray) -> np.ndarray:
    values, index = np.broadcast_arrays(values, np.asarray(y)[..., None])
    return np.take_along_axis(values, index[..., :1], -1)[..., 0]


def _with_diagonal(A: np.ndarray, diagonal: np.ndarray) -> np.ndarray:
    index = np.arange(A.shape[-1])
    A[..., index, index] = diagonal
    return A
