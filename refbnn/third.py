"""Third derivatives of the loss, contracted: what the gradient of a Laplace evidence needs, and no more.

∇³L[v, v] is the second derivative of the gradient along a line, d²/dt² ∇L(θ + t v): one second-order jet through the network.
Gradients of traces are sums of such terms. That of tr(A G) needs no third derivative of the network; that of tr(A H) does. With
a block-diagonal or diagonal A they are those of traces with the blocks or the diagonal of G and H.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from refbnn.kronecker import kfac
from refbnn.linalg import symmetric_root
from refbnn.loss import Loss
from refbnn.networks import jets
from refbnn.networks.assembly import BLOCK_BYTES
from refbnn.shapes import Parameters, Vector, as_array

Directions = Annotated[np.ndarray, "t p"]


def third_derivative(loss: Loss, theta: Vector, v: Parameters) -> Parameters:
    """∇³L[v, v] at θ, d²/dt² ∇L(θ + t v) at t = 0, Eq. (jet), for every leading axis of v: (*s p).

    Where f is affine in θ it is Σ_n J_nᵀ T_n[J_n v, J_n v], with T = ∂³ℓ/∂f³.
    """
    return _Point.of(loss, theta).third(as_array("v", v, "*s p", p=loss.net.num_params))


def trace_gradient_of_hessian(loss: Loss, theta: Vector, V: Directions) -> Vector:
    """∇_θ tr(A H(θ)) = Σ_t ∇³L[v_t, v_t] for A = Σ_t v_t v_tᵀ, the rows of V (t p), Eq. (trace-gradient): (p).

    For A = P⁻¹ the rows are the columns of a scale C with C Cᵀ = P⁻¹: `gaussian.scale().T`.
    """
    point = _Point.of(loss, theta)
    return point.sum_over_rows(point.third, V)


def trace_gradient_of_ggn(loss: Loss, theta: Vector, V: Directions) -> Vector:
    """∇_θ tr(A G(θ)) = Σ_t Σ_n J_nᵀ T_n[J_n v_t, J_n v_t] + 2 R_t v_t for A = Σ_t v_t v_tᵀ, Eq. (trace-gradient): (p).

    R_t = Σ_nk (Λ_n J_n v_t)_k ∇²f_nk. G = JᵀΛJ depends on θ through J, twice, and through Λ: second derivatives of f and T are
    all that it takes, no third derivative of the network. V (t p) as above.
    """
    point = _Point.of(loss, theta)
    return point.sum_over_rows(point.ggn_along, V)


def trace_gradient_of_kfac(loss: Loss, theta: Vector, V: Directions) -> Vector:
    """∇_θ Σ_l tr(S_ll (B_l ⊗ A_l)(θ)) for S = Σ_t v_t v_tᵀ, KFAC of the GGN with joint biases, Eq. (kfac-trace-gradient): (p).

    By the product rule tr(β̃ ∂B) + tr(α̃ ∂A) for each layer, with partial traces β̃_ii' = Σ_jj' S_ij,i'j' A_jj' and α̃ likewise.
    B_l is the block of G that belongs to the layer's biases, so that its part is that of the GGN; A_l moves with the activations.
    Raises ValueError for a network without biases.
    """
    at = _Point.of(loss, theta).evaluation
    pullback = at.pullback(loss.likelihood.curvature(at.f, loss.y))
    if not pullback.layout.bias:
        raise ValueError("net: expected a network with biases, whose block of the GGN is B")
    V = as_array("V", V, "t p", p=at.num_params)
    total, directions = np.zeros(at.num_params), []
    for l, block in enumerate(kfac(pullback).blocks):
        rows, own = block.rows(V[:, pullback.layout.span(l)]), pullback.layout.weights_and_bias(l)[1]
        inputs = np.einsum("tij,ik,tkm->jm", rows, block.B, rows)  # α̃ (w w)
        a = pullback.signals.augmented[l].T
        total += at.inputs_vjp(l, 2 / len(a) * (a @ inputs)[:, :-1])
        units = np.zeros((len(block.B), at.num_params))
        units[:, own] = symmetric_root("partial trace", np.einsum("tij,jm,tkm->ik", rows, block.A, rows))
        directions.append(units)
    return total + trace_gradient_of_ggn(loss, theta, np.concatenate(directions))


@dataclass(frozen=True)
class _Point:
    """A loss at one θ: the network there and the derivatives r (n k), Λ (n k k), T (n k k k) of ℓ in its outputs."""

    evaluation: object
    r: np.ndarray
    curvature: np.ndarray
    T: np.ndarray

    @classmethod
    def of(cls, loss: Loss, theta: Vector) -> _Point:
        at = loss.net.evaluate(as_array("theta", theta, "p", p=loss.net.num_params), loss.X)
        derivatives = (getattr(loss.likelihood, name)(at.f, loss.y) for name in ("residual", "curvature", "third"))
        return cls(at, *derivatives)

    def third(self, v: Parameters) -> Parameters:
        """∇³L[v, v]: (*s p)."""
        return self.evaluation.third_order_product(v, self.r, self.curvature, self.T)

    def ggn_along(self, v: Parameters) -> Parameters:
        """∇ vᵀG v: (*s p)."""
        f_dot = self.evaluation.jvp(v)
        bend = self.evaluation.second_order_product(v, v=jets.times(self.curvature, f_dot))
        return self.evaluation.vjp(jets.twice(self.T, f_dot)) + 2 * bend

    def sum_over_rows(self, contribution: Callable, V: Directions) -> Vector:
        """The sum of contribution(v) over the rows of V, as many at a time as keeps the working arrays small: (p)."""
        V = as_array("V", V, "t p", p=self.evaluation.num_params)
        size = max(1, BLOCK_BYTES // (8 * max(self.evaluation.pullback().layout.sizes) * len(self.r)))
        total = np.zeros(self.evaluation.num_params)
        for start in range(0, len(V), size):
            total += contribution(V[start:start + size]).sum(0)
        return total
