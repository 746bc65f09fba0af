"""Families of likelihoods: members differ in hyper-parameters η (h), given as logarithms.

Any object with num_hyper, likelihood(eta) and the derivatives in η of log p(y|f), the residual r and the curvature Λ is one.
`mackay` and `em` are optional: the fixed points need them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refbnn.hyper.arrays import Hyper, HyperMatrices, HyperOutputs, HyperValues, as_logarithms
from refbnn.likelihoods import Normal
from refbnn.likelihoods.tempered import Tempered
from refbnn.shapes import Outputs, Targets, as_array, expect_methods


@dataclass(frozen=True)
class Fixed:
    """One likelihood without hyper-parameters: h = 0."""

    member: object
    num_hyper = 0

    def __post_init__(self):
        expect_methods("member", self.member, "log_prob", "residual", "curvature")

    def likelihood(self, eta: Hyper) -> object:
        """The likelihood."""
        as_array("eta", eta, "h", h=0)
        return self.member

    def log_prob_derivatives(self, eta: Hyper, f: Outputs, y: Targets) -> HyperValues:
        """None: (0 n)."""
        return np.zeros((0, len(f)))

    def residual_derivatives(self, eta: Hyper, f: Outputs, y: Targets) -> HyperOutputs:
        """None: (0 n k)."""
        return np.zeros((0, *f.shape))

    def curvature_derivatives(self, eta: Hyper, f: Outputs, y: Targets) -> HyperMatrices:
        """None: (0 n k k)."""
        return np.zeros((0, *f.shape, f.shape[-1]))

    def mackay(self, eta: Hyper, f: Outputs, y: Targets, effective: float) -> Hyper:
        """None: (0)."""
        return np.asarray(eta)

    def em(self, eta: Hyper, f: Outputs, y: Targets, spread: float) -> Hyper:
        """None: (0)."""
        return np.asarray(eta)


@dataclass(frozen=True)
class NoiseVariance:
    """Normal(σ²) with η = log σ²: h = 1."""

    num_hyper = 1

    def likelihood(self, eta: Hyper) -> Normal:
        """Normal(exp η)."""
        return Normal(np.exp(as_logarithms(eta, 1)[0]))

    def log_prob_derivatives(self, eta: Hyper, f: Outputs, y: Targets) -> HyperValues:
        """∂ log p/∂log σ² = Σ_k e²/(2σ²) − ½, Eq. (evidence-gradient-noise): (1 n)."""
        return self.likelihood(eta).log_variance_derivatives(f, y)[0][None]

    def residual_derivatives(self, eta: Hyper, f: Outputs, y: Targets) -> HyperOutputs:
        """∂r/∂log σ² = −r: (1 n k)."""
        return -self.likelihood(eta).residual(f, y)[None]

    def curvature_derivatives(self, eta: Hyper, f: Outputs, y: Targets) -> HyperMatrices:
        """∂Λ/∂log σ² = −Λ: (1 n k k)."""
        return -self.likelihood(eta).curvature(f, y)[None]

    def mackay(self, eta: Hyper, f: Outputs, y: Targets, effective: float) -> Hyper:
        """The next log σ² = log SSE/(nk − γ), γ = `effective`. Raises ValueError unless γ < nk. (1)"""
        if effective >= f.size:
            raise ValueError(f"mackay: expected fewer well-determined parameters than the {f.size} targets, got {effective:g}")
        return np.log([((y - f) ** 2).sum() / (f.size - effective)])

    def em(self, eta: Hyper, f: Outputs, y: Targets, spread: float) -> Hyper:
        """The next log σ² = log (SSE + tr(J S Jᵀ))/(nk), `spread` = tr(S G) = tr(J S Jᵀ)/σ²: (1)."""
        return np.log([(((y - f) ** 2).sum() + np.exp(eta[0]) * spread) / f.size])


@dataclass(frozen=True)
class Temperature:
    """Tempered(member, T) with η = log T: h = 1.

    p(y|f)^(1/T) is no density of y and its normaliser is left out, so that the evidence has no reason to prefer one T: for labels
    it grows with T without end, Eq. (temperature-monotone). The gradient is exact; a maximum needs a prior over T.
    """

    member: object
    num_hyper = 1

    def __post_init__(self):
        expect_methods("member", self.member, "log_prob", "residual", "curvature")

    def likelihood(self, eta: Hyper) -> Tempered:
        """Tempered(member, exp η)."""
        return Tempered(self.member, np.exp(as_logarithms(eta, 1)[0]))

    def log_prob_derivatives(self, eta: Hyper, f: Outputs, y: Targets) -> HyperValues:
        """∂ log p/∂log T = −log p: (1 n)."""
        return -self.likelihood(eta).log_prob(f, y)[None]

    def residual_derivatives(self, eta: Hyper, f: Outputs, y: Targets) -> HyperOutputs:
        """∂r/∂log T = −r: (1 n k)."""
        return -self.likelihood(eta).residual(f, y)[None]

    def curvature_derivatives(self, eta: Hyper, f: Outputs, y: Targets) -> HyperMatrices:
        """∂Λ/∂log T = −Λ: (1 n k k)."""
        return -self.likelihood(eta).curvature(f, y)[None]
