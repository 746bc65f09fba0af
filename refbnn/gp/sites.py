"""Sites: a log likelihood as a quadratic polynomial of the outputs, one factor a datum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from refbnn.linalg import NotPositiveDefinite
from refbnn.shapes import DataMatrices, DataValues, Outputs, as_array, as_own_array, expect_methods

DataOutputs = Annotated[np.ndarray, "n k"]
PerDatum = Annotated[np.ndarray, "n"]
Factors = Annotated[np.ndarray, "n k c"]
Reduced = Annotated[np.ndarray, "*s n c"]


@dataclass(frozen=True)
class Sites:
    """log t_n(f) = log_prob_n − r_nᵀ(f − f_n) − ½ ‖S_nᵀ(f − f_n)‖², Eq. (sites): f (n k), log_prob (n), r (n k), S (n k c).

    Λ_n = S_n S_nᵀ may be singular. Made by `expand`, or by hand with any other S (of a Fisher matrix, say).
    """

    f: DataOutputs
    log_prob: PerDatum
    r: DataOutputs
    S: np.ndarray  # n k c, with any c

    def __post_init__(self):
        n, k = as_array("f", self.f, "n k").shape
        for name, axes in (("f", "n k"), ("log_prob", "n"), ("r", "n k"), ("S", "n k c")):
            object.__setattr__(self, name, as_own_array(name, getattr(self, name), axes, n=n, k=k))

    @property
    def num_data(self) -> int:
        """n."""
        return len(self.f)

    @property
    def num_outputs(self) -> int:
        """k."""
        return self.f.shape[1]

    def __getitem__(self, data: slice) -> Sites:
        """The sites of some of the data."""
        return Sites(self.f[data], self.log_prob[data], self.r[data], self.S[data])

    def log_value(self, f: Outputs) -> DataValues:
        """log t_n(f_n): (*s n)."""
        move = f - self.f
        quadratic = (transposed_times(self.S, move) ** 2).sum(-1)
        return self.log_prob - (self.r * move).sum(-1) - 0.5 * quadratic

    def curvature(self) -> DataMatrices:
        """Λ = S Sᵀ: (n k k)."""
        return self.S @ np.swapaxes(self.S, -1, -2)

    def pseudo_targets(self) -> DataOutputs:
        """f − Λ⁻¹ r, what a regression with noise covariance Λ⁻¹ would have to observe, Eq. (pseudo-data): (n k).

        For a network linearised at θ* that is J θ* − Λ⁻¹ r (Khan et al. 2019) after adding f(θ*) − J θ* to both sides. Raises
        NotPositiveDefinite where Λ is singular, as for a Categorical: then no pseudo-target exists, but the sites do.
        """
        return self.f - np.linalg.solve(self._regular_curvature(), self.r[..., None])[..., 0]

    def pseudo_noise(self) -> DataMatrices:
        """Λ⁻¹, the noise covariance of the pseudo-targets: (n k k). Raises as `pseudo_targets` does."""
        return np.linalg.inv(self._regular_curvature())

    def _regular_curvature(self) -> np.ndarray:
        curvature = self.curvature()
        values = np.linalg.eigvalsh(curvature)
        bad = values[:, 0] <= values.shape[1] * np.finfo(float).eps * values[:, -1]
        if bad.any():
            datum = np.argmax(bad)
            raise NotPositiveDefinite(
                f"pseudo-data: expected Λ positive definite, got a smallest eigenvalue {values[datum, 0]:.3g} for datum {datum}; "
                "a singular Λ has no inverse, condition on the sites themselves"
            )
        return curvature


def expand(likelihood: object, f: DataOutputs, y: np.ndarray) -> Sites:
    """log p(y|f') to second order in f' at f, for a Normal the same wherever f is but for round-off, Eq. (sites).

    With little noise f = y keeps the most digits for a Normal: there r = 0. Raises ValueError where Λ is indefinite (naming the
    datum), for y of the wrong shape and what else the likelihood refuses.
    """
    expect_methods("likelihood", likelihood, "log_prob", "residual", "factor", "check_targets")
    f = as_array("f", f, "n k")
    y = likelihood.check_targets(y, *f.shape)
    return Sites(f, likelihood.log_prob(f, y), likelihood.residual(f, y), likelihood.factor(f, y))


def transposed_times(S: Factors, v: Outputs) -> Reduced:
    """S_nᵀ v_n: (*s n c)."""
    return np.einsum("nkc,...nk->...nc", S, v)


def times(S: Factors, v: Reduced) -> Outputs:
    """S_n v_n: (*s n k)."""
    return np.einsum("nkc,...nc->...nk", S, v)
