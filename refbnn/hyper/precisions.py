"""Prior precisions as hyper-parameters: one a group of parameters, in logarithms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from refbnn import priors
from refbnn.hyper.arrays import Hyper, HyperGradients, as_logarithms
from refbnn.gaussian import Gaussian
from refbnn.shapes import Vector, as_array, as_count, as_own_array


@dataclass(frozen=True)
class Precisions:
    """θ_j ~ N(μ_j, 1/λ_g) for every parameter j of group g; η = log λ (h).

    `groups` (p) has the group of each parameter, 0 to h − 1, none of them empty. Raises ValueError otherwise.
    """

    groups: Vector
    mean: float | Vector = 0.0

    def __post_init__(self):
        groups = as_array("groups", self.groups, "p")
        if len(groups) == 0 or not np.array_equal(np.unique(groups), np.arange(groups.max(initial=0) + 1)):
            raise ValueError(f"groups: expected the numbers 0 to h − 1, each at least once, got {np.unique(groups).tolist()}")
        object.__setattr__(self, "groups", groups.astype(int))
        self.groups.flags.writeable = False
        mean = self.mean
        mean = as_own_array("mean", mean, "p", p=len(groups)) if np.ndim(mean) else float(as_array("mean", mean, ""))
        object.__setattr__(self, "mean", mean)

    @property
    def num_params(self) -> int:
        """p."""
        return len(self.groups)

    @property
    def num_hyper(self) -> int:
        """h, the number of groups."""
        return int(self.groups.max()) + 1

    @property
    def sizes(self) -> Hyper:
        """p_g, the number of parameters of each group: (h)."""
        return np.bincount(self.groups).astype(float)

    def prior(self, eta: Hyper) -> Gaussian:
        """N(μ, diag(λ)⁻¹)."""
        return priors.per_parameter(np.exp(self._hyper(eta))[self.groups], self.mean)

    def log_prob_derivatives(self, eta: Hyper, theta: Vector) -> Hyper:
        """∂ log p(θ)/∂log λ_g = ½(p_g − λ_g ‖θ_g − μ_g‖²), Eq. (evidence-gradient-precision): (h)."""
        return 0.5 * (self.sizes - np.exp(self._hyper(eta)) * self.sums((theta - self.mean) ** 2))

    def gradient_derivatives(self, eta: Hyper, theta: Vector) -> HyperGradients:
        """∂ ∇ log p(θ)/∂log λ_g = −λ_g (θ_g − μ_g), zero outside the group: (h p)."""
        members = (self.groups == np.arange(self.num_hyper)[:, None]).astype(float)
        return -members * np.exp(self._hyper(eta))[:, None] * (theta - self.mean)

    def traces(self, eta: Hyper, variances: Vector) -> Hyper:
        """tr(S ∂P₀/∂log λ_g) = λ_g tr S_gg from the diagonal of S, Eq. (direct-gradient-precision): (h)."""
        return np.exp(self._hyper(eta)) * self.sums(variances)

    def mackay(self, eta: Hyper, theta: Vector, variances: Vector) -> Hyper:
        """The next log λ_g = log γ_g/‖θ_g − μ_g‖², γ_g = p_g − λ_g tr S_gg (MacKay 1992): (h).

        Raises ValueError where γ_g is not positive, as it can be with an indefinite Hessian, and where θ_g = μ_g, λ_g infinite.
        """
        effective = self.sizes - self.traces(eta, variances)
        if not (effective > 0).all():
            raise ValueError(f"mackay: expected positive numbers γ of well-determined parameters, got {effective.tolist()}")
        squares = self.sums((theta - self.mean) ** 2)
        if not (squares > 0).all():
            raise ValueError(f"mackay: expected ‖θ_g − μ_g‖² > 0 for a finite precision, got {squares.tolist()}")
        return np.log(effective / squares)

    def em(self, eta: Hyper, theta: Vector, variances: Vector) -> Hyper:
        """The next log λ_g = log p_g/(‖θ_g − μ_g‖² + tr S_gg), the maximum of E_q[log p(θ)]: (h)."""
        self._hyper(eta)
        return np.log(self.sizes / self.sums((theta - self.mean) ** 2 + variances))

    def sums(self, values: Vector) -> Hyper:
        """The sum of values (p) over each group: (h)."""
        return np.bincount(self.groups, weights=values, minlength=self.num_hyper)

    def _hyper(self, eta):
        return as_logarithms(eta, self.num_hyper)


def one(num_params: int, mean: float | Vector = 0.0) -> Precisions:
    """One precision for all parameters."""
    return Precisions(np.zeros(as_count("num_params", num_params)), mean)


def per_layer(layer_sizes: Sequence[int], mean: float | Vector = 0.0) -> Precisions:
    """One precision a layer; `layer_sizes` is `Mlp.layer_sizes`."""
    counts = [as_count("layer_sizes", size) for size in layer_sizes]
    return Precisions(np.repeat(np.arange(len(counts)), counts), mean)


def per_parameter(num_params: int, mean: float | Vector = 0.0) -> Precisions:
    """One precision a parameter (automatic relevance determination)."""
    return Precisions(np.arange(as_count("num_params", num_params)), mean)
