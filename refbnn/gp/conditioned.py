"""A process conditioned on sites: the exact posterior, in kernels over data alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from refbnn import linalg
from refbnn.gp.at_data import AtData
from refbnn.gp.process import Covariances, Kernel, Means, OtherInputs
from refbnn.gp.sites import DataOutputs, Sites
from refbnn.shapes import Inputs, NewInputs, as_own_array, expect_methods

Influence = Annotated[np.ndarray, "m k n k"]


@dataclass(frozen=True)
class Conditioned:
    """The posterior of `process` given sites at X, Eq. (site-posterior): a process again. Made by `condition`.

    Mean m(x) + K(x, X) α, kernel K(x, x') − K(x, X) S B⁻¹ Sᵀ K(X, x') with B = I + SᵀKS: exact for the sites, no inverse of K or
    Λ = S Sᵀ is taken. The price is the cube of the number of data times outputs.
    """

    process: object
    X: Inputs
    at_data: AtData

    @property
    def sites(self) -> Sites:
        """The sites."""
        return self.at_data.sites

    @property
    def num_outputs(self) -> int:
        """k."""
        return self.process.num_outputs

    @property
    def alpha(self) -> DataOutputs:
        """α: (n k). At a mode it is −r, Eq. (dual-mode)."""
        return self.at_data.alpha

    @property
    def log_evidence(self) -> float:
        """log ∫ Π t_n(f(x_n)) dp(f), every constant kept, Eq. (site-evidence)."""
        return self.at_data.log_evidence

    def effective_parameters(self) -> float:
        """γ = Σ_n tr(Λ_n Cov f(x_n)) = tr(I − B⁻¹): how many parameters the data fix (MacKay 1992), Eq. (dual-gamma)."""
        inverse = self.at_data.reduced_inverse()
        return float(len(inverse) - np.trace(inverse))

    def mean(self, X: NewInputs) -> Means:
        """E f(x): (m k)."""
        prior = self.process.mean(X)
        return prior + (self._cross(X) @ self.alpha.ravel()).reshape(prior.shape)

    def kernel(self, X: NewInputs, X_other: OtherInputs) -> Kernel:
        """Cov[f(x), f(x')]: (m k o k)."""
        prior = self.process.kernel(X, X_other)
        return prior - (self._explained(X).T @ self._explained(X_other)).reshape(prior.shape)

    def covariance(self, X: NewInputs) -> Covariances:
        """Cov f(x), input by input: (m k k)."""
        prior = self.process.covariance(X)
        explained = np.moveaxis(self._explained(X).reshape(-1, *prior.shape[:2]), 0, -1)
        return prior - explained @ np.swapaxes(explained, -1, -2)

    def influence(self, X: NewInputs) -> Influence:
        """−∂ E f(x)/∂r_n = Cov[f(x), f(x_n)] given the data, Eq. (influence): (m k n k).

        For a Normal, dividing by σ² gives ∂ E f(x)/∂y_n; for a canonical likelihood at its mode it is ∂f̂(x)/∂y_n itself.
        """
        return self.kernel(X, self.X)

    def _cross(self, X: NewInputs) -> np.ndarray:
        """K(x, X): (m·k n·k)."""
        cross = self.process.kernel(X, self.X)
        return cross.reshape(cross.shape[0] * cross.shape[1], -1)

    def _explained(self, X: NewInputs) -> np.ndarray:
        """L⁻¹ Sᵀ K(X, x): (n·c m·k)."""
        return linalg.solve_lower(self.at_data.L, self.at_data.reduced(self._cross(X).T))


def condition(process: object, X: Inputs, sites: Sites) -> Conditioned:
    """The posterior of a process given sites at X. A conditioned process can be conditioned again: data may come in parts.

    Raises ValueError for sites of another number of data or outputs, or without data.
    """
    expect_process(process)
    expect_methods("sites", sites, "f", "log_prob", "r", "S")
    X = as_own_array("X", X, "n d")
    if sites.f.shape != (len(X), process.num_outputs) or len(X) == 0:
        raise ValueError(
            f"sites: expected at least one datum and f of shape {(len(X), process.num_outputs)}, got {sites.f.shape}"
        )
    return Conditioned(process, X, AtData(*finite(process, X), sites))


def finite(process: object, X: Inputs) -> tuple[DataOutputs, np.ndarray]:
    """The process at X: mean (n k) and kernel (n·k n·k)."""
    mean = process.mean(X)
    return mean, linalg.symmetric_part(process.kernel(X, X).reshape(mean.size, mean.size))


def expect_process(process: object) -> None:
    """Raise ValueError unless `process` is one."""
    expect_methods("process", process, "mean", "kernel", "covariance", "num_outputs")
