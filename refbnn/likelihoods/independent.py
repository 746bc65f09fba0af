"""What likelihoods with independent outputs share: scalar formulas become vectors, diagonal matrices and diagonal tensors.

Eq. (independent-outputs)."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from refbnn.likelihoods import targets
from refbnn.likelihoods.outcomes import Rule, joint
from refbnn.shapes import DataValues, OutputMatrices, Outputs, OutputTensors, Targets, as_array


class IndependentOutputs(ABC):
    """p(y|f) = Π_k p(y_k|f_k), y of shape (n k). A member defines the formulas of one output, elementwise."""

    log_concave = True  # Λ is never indefinite

    @abstractmethod
    def log_density(self, f, y):
        """log p(y_k|f_k), constants included."""

    @abstractmethod
    def first_derivative(self, f, y):
        """∂ℓ/∂f_k."""

    @abstractmethod
    def second_derivative(self, f, y):
        """∂²ℓ/∂f_k²."""

    @abstractmethod
    def third_derivative(self, f, y):
        """∂³ℓ/∂f_k³."""

    @abstractmethod
    def information(self, f):
        """E_{y~p(.|f)}[(∂ℓ/∂f_k)²], the Fisher information of one output."""

    @abstractmethod
    def mean(self, f: Outputs) -> Outputs:
        """E[y|f]: (*s n k)."""

    @abstractmethod
    def output_variance(self, f):
        """Var[y_k|f]."""

    @abstractmethod
    def sample(self, f: Outputs, rng: np.random.Generator) -> np.ndarray:
        """One draw of y for every f: (*s n k)."""

    @abstractmethod
    def output_outcomes(self, f) -> Rule:
        """Points y_j and weights w_j of one output, (j *s n k) each, with E[g(y_k)] = Σ_j w_j g(y_j)."""

    def check_targets(self, y, num_data: int, num_outputs: int) -> Targets:
        """Return y as float64 (n k), or raise ValueError saying what was expected and what came."""
        return as_array("y", y, "n k", n=num_data, k=num_outputs)

    def log_prob(self, f: Outputs, y: Targets) -> DataValues:
        """log p(y_n|f_n), constants included: (*s n)."""
        return self.log_density(f, aligned(f, y)).sum(-1)

    def residual(self, f: Outputs, y: Targets) -> Outputs:
        """r = ∂ℓ/∂f: (*s n k)."""
        return self.first_derivative(f, aligned(f, y))

    def curvature(self, f: Outputs, y: Targets) -> OutputMatrices:
        """Λ = ∂²ℓ/∂f²: (*s n k k)."""
        return diagonal(self.second_derivative(f, aligned(f, y)))

    def factor(self, f: Outputs, y: Targets) -> OutputMatrices:
        """S with S Sᵀ = Λ: (*s n k k). Raises ValueError, naming the datum, where Λ is negative."""
        second = self.second_derivative(f, aligned(f, y))
        refuse_indefinite(second < 0)
        return diagonal(np.sqrt(second))

    def third(self, f: Outputs, y: Targets) -> OutputTensors:
        """T = ∂³ℓ/∂f³: (*s n k k k)."""
        diagonal = self.third_derivative(f, aligned(f, y))
        index = np.arange(diagonal.shape[-1])
        T = np.zeros((*diagonal.shape, len(index), len(index)))
        T[..., index, index, index] = diagonal
        return T

    def fisher(self, f: Outputs) -> OutputMatrices:
        """E_{y~p(.|f)}[r rᵀ]: (*s n k k)."""
        return diagonal(self.information(f))

    def covariance(self, f: Outputs) -> OutputMatrices:
        """Cov[y|f]: (*s n k k)."""
        return diagonal(self.output_variance(f))

    def outcomes(self, f) -> Rule:
        """Points y_j (j *s n k) and weights w_j (j *s n) with E_{y~p(.|f)}[g(y)] = Σ_j w_j g(y_j): a product over outputs."""
        return joint(*self.output_outcomes(f))


def aligned(f: np.ndarray, y: np.ndarray) -> np.ndarray:
    """y, or ValueError unless its axes n and k are those of f."""
    return targets.aligned(y, "n k", f.shape[-2:])


def refuse_indefinite(bad: np.ndarray) -> None:
    """Raise ValueError where Λ has no real root; `bad` is (*s n k), true for a target whose Λ is not positive semi-definite."""
    if bad.any():
        *_, datum, target = np.argwhere(bad)[0]
        raise ValueError(
            f"factor: expected Λ positive semi-definite, got an indefinite Λ for datum {datum}, target {target}: no S has "
            "S Sᵀ = Λ. Use fisher(f) for a Gauss-Newton matrix, which is never indefinite, or curvature(f, y) for the Hessian"
        )


def diagonal(v: np.ndarray) -> np.ndarray:
    """(*s n k) as diagonal matrices (*s n k k); infinite entries leave the zeros beside them alone."""
    k = v.shape[-1]
    if k == 1:
        return v[..., None]
    matrices = np.zeros((*v.shape, k))
    matrices.reshape(*v.shape[:-1], k * k)[..., ::k + 1] = v
    return matrices
