"""The regularised horseshoe prior, its local scales integrated out (Piironen and Vehtari 2017)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refbnn.priors.independent import IndependentPrior, positive_entries, refuse_zero
from refbnn.shapes import Vector

STEP = 0.125  # of the trapezoidal rule in t; the rule's error falls as exp(−2π·strip/STEP), below round-off here
LOWEST = -4.75  # u = κ exp(t − exp(−t)) is below 1e-51 there
NEAREST = 1e-150  # closer to the pole ω = 1/θ² and its square leave the range of float64
HIGHEST = 7.0  # beyond t = HIGHEST − log(aκ) the factor exp(−a u) is below 1e-400


@dataclass(frozen=True)
class RegularisedHorseshoe(IndependentPrior):
    """θ_j | ω_j ~ N(0, 1/ω_j), ω_j = 1/c² + 1/(τλ_j)², λ_j half-Cauchy; τ = scale, c = slab, both given.

    Small parameters are drawn to 0, large ones have the Gaussian tail of the slab. λ_j is integrated out by a trapezoidal rule
    that is exact to round-off, Eq. (horseshoe-density); derivatives are exact moments of ω given θ.
    The density is infinite at 0 (as −log|θ|), so that every posterior with it is unbounded there and its other modes are local:
    log_prob, gradient and negative_hessian raise NoDerivative within 1e-150 of 0 (or 1e-150 τ), where 1/θ² leaves float64.
    """

    slab: float | Vector

    def __post_init__(self):
        super().__post_init__()
        object.__setattr__(self, "slab", positive_entries("slab", self.slab, self.num_params))

    def log_density(self, theta):
        """log ∫ N(θ; 0, 1/ω) p(λ) dλ."""
        log_terms = self._log_terms(theta)[0]
        top = log_terms.max(-1)
        return top + np.log(np.exp(log_terms - top[..., None]).sum(-1))

    def score(self, theta):
        """−θ E[ω|θ], Eq. (scale-mixture-score)."""
        return -theta * self._moments(theta)[0]

    def bend(self, theta):
        """E[ω|θ] − θ² Var[ω|θ], Eq. (scale-mixture-curvature)."""
        mean, spread = self._moments(theta)
        return mean - spread

    def draw(self, rng, shape):
        """N(0, 1/ω) with a half-Cauchy λ each."""
        local = self.scale * np.abs(rng.standard_cauchy(shape))
        return rng.standard_normal(shape) / np.hypot(1 / self.slab, 1 / local)

    def _moments(self, theta):
        """E[ω|θ] and θ² Var[ω|θ]; the square is taken of θω, because ω² can overflow."""
        log_terms, omega = self._log_terms(theta)
        weights = np.exp(log_terms - log_terms.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        mean = (weights * omega).sum(-1)
        return mean, (weights * (theta[..., None] * (omega - mean[..., None])) ** 2).sum(-1)

    def _log_terms(self, theta):
        """Logarithms of the terms of the rule, and ω at its nodes, both with a last axis of nodes.

        With u = λ⁻² the density is ∫ u^(−1/2)/(π(1 + u)) √(ω/2π) exp(−θ²ω/2) du, ω = 1/c² + u/τ². The nodes are
        u = κ exp(t − exp(−t)), κ = min(1, 1/a), a = θ²/2τ²: the integrand falls double-exponentially on both sides.
        """
        refuse_zero(theta, "a pole", within=NEAREST * np.maximum(self.scale, 1.0))
        a = 0.5 * (theta / self.scale)[..., None] ** 2
        kappa = 1 / np.maximum(1.0, a)
        t = np.arange(LOWEST, HIGHEST - np.log(a * kappa).min(), STEP)
        log_u = np.log(kappa) + t - np.exp(-t)
        u = np.exp(log_u)
        omega = 1 / self.slab[:, None] ** 2 + u / self.scale[:, None] ** 2
        log_jacobian = log_u + np.log1p(np.exp(-t)) + np.log(STEP)
        log_weight = -0.5 * log_u - np.log(np.pi) - np.log1p(u) + log_jacobian
        return log_weight + 0.5 * np.log(omega / (2 * np.pi)) - 0.5 * theta[..., None] ** 2 * omega, omega
