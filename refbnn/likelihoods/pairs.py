"""What likelihoods with two outputs a target share: Λ, S, T and the Fisher matrix have one 2 x 2 (x 2) block a target.

Eq. (paired-outputs)."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from refbnn.likelihoods import targets
from refbnn.likelihoods.independent import diagonal, refuse_indefinite
from refbnn.likelihoods.outcomes import Rule, joint
from refbnn.shapes import DataValues, OutputMatrices, Outputs, OutputTensors, Targets, as_array


class PairedOutputs(ABC):
    """p(y|f) = Π_t p(y_t|a_t, b_t), y of shape (n t), outputs interleaved: f = (a_1, b_1, a_2, b_2, ...), k = 2t.

    A member defines the formulas of one target, elementwise in a and b (*s n t).
    """

    log_concave = False  # Λ is sometimes indefinite

    @abstractmethod
    def log_density(self, a, b, y):
        """log p(y_t|a_t, b_t), constants included."""

    @abstractmethod
    def first_derivatives(self, a, b, y):
        """(ℓ_a, ℓ_b)."""

    @abstractmethod
    def second_derivatives(self, a, b, y):
        """(ℓ_aa, ℓ_ab, ℓ_bb)."""

    @abstractmethod
    def third_derivatives(self, a, b, y):
        """(ℓ_aaa, ℓ_aab, ℓ_abb, ℓ_bbb)."""

    @abstractmethod
    def information(self, a, b):
        """(E[ℓ_a²], E[ℓ_a ℓ_b], E[ℓ_b²]) under y ~ p(.|a, b)."""

    @abstractmethod
    def target_mean(self, a, b):
        """E[y_t|a_t, b_t]."""

    @abstractmethod
    def target_variance(self, a, b):
        """Var[y_t|a_t, b_t]."""

    @abstractmethod
    def draw(self, a, b, rng):
        """One draw of y_t for every pair."""

    @abstractmethod
    def target_outcomes(self, a, b) -> Rule:
        """Points y_j and weights w_j of one target, (j *s n t) each, with E[g(y_t)] = Σ_j w_j g(y_j)."""

    def check_targets(self, y, num_data: int, num_outputs: int) -> Targets:
        """Return y as float64 (n t), t = num_outputs / 2, or raise ValueError saying what was expected and what came."""
        if num_outputs % 2:
            raise ValueError(f"{type(self).__name__}: expected a network with two outputs a target, got {num_outputs} outputs")
        return as_array("y", y, "n t", n=num_data, t=num_outputs // 2)

    def log_prob(self, f: Outputs, y: Targets) -> DataValues:
        """log p(y_n|f_n), constants included: (*s n)."""
        return self.log_density(*_split(f), _aligned(f, y)).sum(-1)

    def residual(self, f: Outputs, y: Targets) -> Outputs:
        """r = ∂ℓ/∂f, in the order of the outputs: (*s n k)."""
        r = np.stack(np.broadcast_arrays(*self.first_derivatives(*_split(f), _aligned(f, y))), axis=-1)
        return r.reshape(*r.shape[:-2], -1)

    def curvature(self, f: Outputs, y: Targets) -> OutputMatrices:
        """Λ = ∂²ℓ/∂f² at the observed y, which may be indefinite: (*s n k k)."""
        return _blocks(*self.second_derivatives(*_split(f), _aligned(f, y)))

    def factor(self, f: Outputs, y: Targets) -> OutputMatrices:
        """S with S Sᵀ = Λ, block by block: (*s n k k). Raises ValueError, naming the datum, where a block is indefinite."""
        return _scatter(2, *self.root(*_split(f), _aligned(f, y)))

    def root(self, a, b, y):
        """(S_aa, S_ab, S_ba, S_bb) of one target: the Cholesky factor of its block."""
        aa, ab, bb = np.broadcast_arrays(*self.second_derivatives(a, b, y))
        first = np.sqrt(np.where(aa > 0, aa, 0.0))  # a negative entry is refused three lines below
        cross = np.divide(ab, first, out=np.zeros_like(first), where=first > 0)
        rest = bb - cross**2
        refuse_indefinite((aa < 0) | (rest < 0) | ((first == 0) & (ab != 0)))
        return first, 0.0, cross, np.sqrt(rest)

    def third(self, f: Outputs, y: Targets) -> OutputTensors:
        """T = ∂³ℓ/∂f³: (*s n k k k)."""
        aaa, aab, abb, bbb = self.third_derivatives(*_split(f), _aligned(f, y))
        return _scatter(3, aaa, aab, aab, abb, aab, abb, abb, bbb)

    def fisher(self, f: Outputs) -> OutputMatrices:
        """E_{y~p(.|f)}[r rᵀ]: (*s n k k)."""
        return _blocks(*self.information(*_split(f)))

    def mean(self, f: Outputs) -> np.ndarray:
        """E[y|f]: (*s n t)."""
        return self.target_mean(*_split(f))

    def covariance(self, f: Outputs) -> np.ndarray:
        """Cov[y|f]: (*s n t t)."""
        return diagonal(self.target_variance(*_split(f)))

    def sample(self, f: Outputs, rng: np.random.Generator) -> np.ndarray:
        """One draw of y for every f: (*s n t)."""
        return self.draw(*_split(f), rng)

    def outcomes(self, f: Outputs) -> Rule:
        """Points y_j (j *s n t) and weights w_j (j *s n) with E_{y~p(.|f)}[g(y)] = Σ_j w_j g(y_j): a product over targets."""
        return joint(*self.target_outcomes(*_split(f)))


def _aligned(f: np.ndarray, y: np.ndarray) -> np.ndarray:
    return targets.aligned(y, "n t", (*f.shape[-2:-1], f.shape[-1] // 2))


def _split(f: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return f[..., 0::2], f[..., 1::2]


def _blocks(aa, ab, bb) -> np.ndarray:
    return _scatter(2, aa, ab, ab, bb)


def _scatter(order: int, *entries) -> np.ndarray:
    """The 2^order entries (*s n t) of a tensor per target as diagonal blocks: (*s n 2t ... 2t), zero elsewhere."""
    entries = np.broadcast_arrays(*entries)
    *lead, num_targets = entries[0].shape
    out, target = np.zeros((*lead, *[2 * num_targets] * order)), np.arange(num_targets)
    for position, entry in zip(np.ndindex(*[2] * order), entries):
        out[(..., *(2 * target + which for which in position))] = entry
    return out
