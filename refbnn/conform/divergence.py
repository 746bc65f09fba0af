"""The divergence in a bound at given normals z_s: in closed form, as certified, or as the mean of log q − log prior at the draws.

With θ_s = μ + C z_s, d = μ − m, z̄ the mean of z_s and E = (1/s) Σ z_s z_sᵀ − I, the bound with the sampled divergence less that
with the closed one is

    (1/s) Σ [log N(θ_s | m, P₀⁻¹) − log N(θ_s | μ, C Cᵀ)] + KL = ½ tr E − ½ tr(CᵀP₀C E) − dᵀP₀C z̄,

since E of z zᵀ is I, and both log determinants cancel. Its slopes at fixed z are −P₀C z̄ by μ and −P₀C E − P₀d z̄ᵀ by C. All
vanish where the normals have the first two moments of a standard normal.
"""
from __future__ import annotations

from typing import Any, Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Parts = tuple[Array, ...]


class _Moments:
    """P₀C and CᵀP₀C with the moments of the normals, and P₀d."""

    def __init__(self, problem: Any, C: Array) -> None:
        z = problem.normals
        self.mean, self.excess = z.mean(0), z.T @ z / len(z) - np.eye(z.shape[1])
        self.PC = problem.prior_precision @ C
        self.CPC = C.T @ self.PC
        self.pull = problem.prior_precision @ (problem.theta - problem.prior_mean)
        self.moved = self.PC @ self.mean
        self.along = self.pull @ (C @ self.mean)


def _of_bound(m: _Moments) -> Parts:
    return 0.5 * np.trace(m.excess), -0.5 * np.sum(m.CPC * m.excess), -m.along


def _by_mean(m: _Moments) -> Parts:
    return (-m.moved,)


def _by_scale(m: _Moments) -> Parts:
    return -np.tril(m.PC @ m.excess), -np.tril(np.outer(m.pull, m.mean))


def _by_widths(m: _Moments) -> Parts:
    """Of a diagonal C, by its diagonal."""
    return tuple(np.diagonal(part) for part in _by_scale(m))


def _widths(problem: Any) -> Array:
    return np.diag(np.abs(problem.vector))


def _full(problem: Any) -> Array:
    return problem.scale


_PARTS: dict[str, tuple[Callable[[Any], Array], Callable[[_Moments], Parts]]] = {
    "vi.elbo": (_widths, _of_bound), "vi.elbo.gradient.mean": (_widths, _by_mean),
    "vi.elbo.gradient.scale": (_widths, _by_widths), "vi.full.elbo": (_full, _of_bound),
    "vi.full.elbo.gradient.mean": (_full, _by_mean), "vi.full.elbo.gradient.scale": (_full, _by_scale)}
SAMPLED = tuple(_PARTS)  # the quantities that have normals and a divergence


def sampled_less_closed(name: str, problem: Any) -> Parts:
    """The terms whose sum is the quantity with a sampled divergence less that with the closed one."""
    C, parts = _PARTS[name]
    return parts(_Moments(problem, C(problem)))
