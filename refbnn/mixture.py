"""Mixtures of Gaussians: Laplace approximations at several modes as one posterior, with the evidence of them all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from refbnn.gaussian import Gaussian
from refbnn.shapes import Matrix, Parameters, Values, Vector, as_array, as_own_array, expect_methods


@dataclass(frozen=True)
class Mixture:
    """Σ_c w_c N(θ; m_c, P_c⁻¹), w_c proportional to exp(log_masses[c]): the log evidence of each mode, times its copies.

    Raises ValueError for no components, components of different sizes, or another number of masses.
    """

    log_masses: np.ndarray
    components: tuple[Gaussian, ...]

    def __post_init__(self):
        components = tuple(self.components)
        if not components:
            raise ValueError("components: expected at least one, got none")
        for component in components:
            expect_methods("components", component, "mean", "precision", "log_prob")
        sizes = {component.num_params for component in components}
        if len(sizes) > 1:
            raise ValueError(f"components: expected Gaussians of one size, got {sorted(sizes)}")
        object.__setattr__(self, "components", components)
        object.__setattr__(self, "log_masses", as_own_array("log_masses", self.log_masses, "c", c=len(components)))

    @property
    def num_params(self) -> int:
        """p."""
        return self.components[0].num_params

    @property
    def weights(self) -> np.ndarray:
        """w_c, which add up to 1: (c)."""
        return np.exp(self.log_masses - logsumexp(self.log_masses))

    def log_evidence(self) -> float:
        """log Σ_c exp(log_masses[c]), the evidence of modes that do not overlap, Eq. (mixture-evidence)."""
        return float(logsumexp(self.log_masses))

    def log_prob(self, theta: Parameters) -> Values:
        """log Σ_c w_c N(θ; m_c, P_c⁻¹): (*s)."""
        return logsumexp(self._log_terms(theta), axis=0)

    def gradient(self, theta: Parameters) -> Parameters:
        """∇ log of the density, Σ_c p(c|θ) ∇ log N_c: (*s p)."""
        terms = self._log_terms(theta)
        shares = np.exp(terms - logsumexp(terms, axis=0))
        return sum(share[..., None] * q.gradient(theta) for share, q in zip(shares, self.components))

    def mean(self) -> Vector:
        """m = Σ_c w_c m_c: (p)."""
        return self.weights @ np.array([q.mean for q in self.components])

    def covariance(self) -> Matrix:
        """Σ_c w_c [Σ_c + (m_c − m)(m_c − m)ᵀ], the spread within and between: (p p)."""
        mean = self.mean()
        return sum(w * (q.covariance() + np.outer(q.mean - mean, q.mean - mean)) for w, q in zip(self.weights, self.components))

    def from_uniforms_and_normals(self, u: Values, z: Parameters) -> Parameters:
        """Draws from given uniforms u in [0, 1), which choose the components, and standard normals z: (*s p)."""
        u, z = as_array("u", u, "*s"), as_array("z", z, "*s p", p=self.num_params)
        if not ((0 <= u) & (u < 1)).all():
            raise ValueError(f"u: expected numbers from 0 to below 1, got {u[(u < 0) | (u >= 1)].flat[0]:g}")
        batch = np.broadcast_shapes(u.shape, z.shape[:-1])
        chosen = np.broadcast_to(np.searchsorted(np.cumsum(self.weights)[:-1], u, side="right"), batch)
        z, draws = np.broadcast_to(z, (*batch, self.num_params)), np.empty((*batch, self.num_params))
        for c in np.unique(chosen):
            draws[chosen == c] = self.components[c].from_normals(z[chosen == c])
        return draws

    def sample(self, rng: np.random.Generator, shape: tuple[int, ...] = ()) -> Parameters:
        """Independent draws: (*shape p)."""
        expect_methods("rng", rng, "random", "standard_normal")
        return self.from_uniforms_and_normals(rng.random(shape), rng.standard_normal((*shape, self.num_params)))

    def _log_terms(self, theta: Parameters) -> np.ndarray:
        """log w_c + log N(θ; m_c, P_c⁻¹): (c *s)."""
        log_weights = self.log_masses - logsumexp(self.log_masses)
        return np.array([w + q.log_prob(theta) for w, q in zip(log_weights, self.components)])


def log_evidence(log_evidences: Sequence[float], copies: Sequence[int]) -> float:
    """log Σ_m copies_m exp(log_evidences_m), one mode m of each orbit with the number of its copies, Eq. (mixture-evidence)."""
    values = as_array("log_evidences", log_evidences, "m")
    copies = as_array("copies", copies, "m", m=len(values))
    if not len(values) or (copies < 1).any() or (copies != np.round(copies)).any():
        raise ValueError(f"copies: expected at least one copy of at least one mode, in whole numbers, got {copies}")
    return float(logsumexp(values + np.log(copies)))


def over_copies(group: object, log_mass: float, q: Gaussian) -> Mixture:
    """Every different image of q under `group` (refbnn.symmetry), with the log evidence of q, Eq. (mixture-posterior)."""
    expect_methods("group", group, "orbit")
    images = tuple(symmetry.of_gaussian(q) for symmetry in group.orbit(q.mean))
    return Mixture(np.full(len(images), log_mass), images)
