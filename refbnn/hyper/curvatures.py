"""Which matrix of the loss an evidence is made of: the Hessian or the GGN, in full or in a structure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import scipy.linalg

from refbnn import kronecker, third


@dataclass(frozen=True)
class Curvature:
    """Which matrix C(θ) of the loss enters P = C + P₀, and what its derivatives take.

    `of` picks a Pullback from the curvatures at θ; `pulled_back(evaluation, M, v)` is the same with Λ = M and r = v in the places
    of the likelihood's; `matrix` makes C (p p) of either, linearly; `trace_gradient(loss, θ, V)` is ∇_θ tr(Vᵀ V C(θ)), V (t p).
    """

    of: Callable
    pulled_back: Callable
    trace_gradient: Callable
    matrix: Callable = lambda pullback: pullback.full()


hessian = Curvature(lambda at: at.hessian, lambda at, M, v: at.pullback(M, v=v), third.trace_gradient_of_hessian)
ggn = Curvature(lambda at: at.ggn, lambda at, M, v: at.pullback(M), third.trace_gradient_of_ggn)
kfac = replace(ggn, trace_gradient=third.trace_gradient_of_kfac, matrix=lambda pullback: kronecker.kfac(pullback).matrix())


def layer_blocks(curvature: Curvature) -> Curvature:
    """The layers' diagonal blocks of `hessian` or `ggn`, nothing between layers, Eq. (structured-evidence).

    (C + P₀)⁻¹ is then block-diagonal as well, so that traces with it see nothing but the blocks: the gradient is that of the full
    matrix with another Vᵀ V. That needs a prior without correlations between layers, as all of `Precisions` are.
    """
    return replace(curvature, matrix=lambda pullback: scipy.linalg.block_diag(*pullback.layer_blocks()))


def diagonal(curvature: Curvature) -> Curvature:
    """The diagonal of `hessian` or `ggn`, Eq. (structured-evidence)."""
    return replace(curvature, matrix=lambda pullback: np.diag(pullback.diagonal()))
