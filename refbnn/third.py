"""Third derivatives of the loss, contracted: what the gradient of a Laplace evidence needs, and no more.

∇³L[v, v] is the second derivative of the gradient along a line, d²/dt² ∇L(θ + t v): one second-order jet through the network.
Gradients of traces are sums of such terms. That of tr(A G) needs no third derivative of the network; that of tr(A H) does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from refbnn.assembly import BLOCK_BYTES
from refbnn.loss import Loss
from refbnn.shapes import Parameters, Vector, as_array
from refbnn.signals import Layers, Signals, transpose

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


@dataclass(frozen=True)
class _Point:
    """A loss at one θ: the network there and the derivatives r (n k), Λ (n k k), T (n k k k) of ℓ in its outputs."""

    evaluation: object
    is_linear: bool
    r: np.ndarray
    curvature: np.ndarray
    T: np.ndarray

    @classmethod
    def of(cls, loss: Loss, theta: Vector) -> _Point:
        at = loss.net.evaluate(as_array("theta", theta, "p", p=loss.net.num_params), loss.X, order=3)
        derivatives = (getattr(loss.likelihood, name)(at.f, loss.y) for name in ("residual", "curvature", "third"))
        return cls(at, loss.net.is_linear, *derivatives)

    def third(self, v: Parameters) -> Parameters:
        """∇³L[v, v]: (*s p)."""
        if self.is_linear:
            return self.evaluation.vjp(_twice(self.T, self.evaluation.jvp(v)))
        layout = self.evaluation.layout
        return layout.flatten(_jet(self, layout.unflatten(v)))

    def ggn_along(self, v: Parameters) -> Parameters:
        """∇ vᵀG v: (*s p)."""
        f_dot = self.evaluation.jvp(v)
        bend = self.evaluation.second_order_product(v, v=_times(self.curvature, f_dot))
        return self.evaluation.vjp(_twice(self.T, f_dot)) + 2 * bend

    def sum_over_rows(self, contribution: Callable, V: Directions) -> Vector:
        """The sum of contribution(v) over the rows of V, as many at a time as keeps the working arrays small: (p)."""
        layout = self.evaluation.pullback().layout
        V = as_array("V", V, "t p", p=layout.num_params)
        size = max(1, BLOCK_BYTES // (8 * max(layout.sizes) * len(self.r)))
        total = np.zeros(layout.num_params)
        for start in range(0, len(V), size):
            total += contribution(V[start:start + size]).sum(0)
        return total


def _times(M: np.ndarray, u: np.ndarray) -> np.ndarray:
    """M_n u_n for M (n k k) and u (*s n k): (*s n k)."""
    return (M @ u[..., None])[..., 0]


def _twice(T: np.ndarray, u: np.ndarray) -> np.ndarray:
    """T_n[u_n, u_n] for T (n k k k) and u (*s n k): (*s n k)."""
    return _times(_times(T, u[..., None, :]), u)


def _jet(point: _Point, directions: Layers) -> Layers:
    """The layers of d²/dt² ∇L along directions (V, c), Eq. (jet); inside, data come last.

    Forward: ż = Va + Wȧ + c, ȧ = φ′ż, z̈ = 2Vȧ + Wä, ä = φ″ż² + φ′z̈. At the outputs δ = r, δ̇ = Λḟ, δ̈ = T[ḟ, ḟ] + Λf̈.
    Backward: u = Wᵀδ, u̇ = Wᵀδ̇ + Vᵀδ, ü = Wᵀδ̈ + 2Vᵀδ̇, δ̇ = φ″ż u + φ′u̇, δ̈ = (φ‴ż² + φ″z̈) u + 2φ″ż u̇ + φ′ü.
    A layer's part is Σ_n δ̈aᵀ + 2δ̇ȧᵀ + δäᵀ.
    """
    signals = point.evaluation.signals
    z, a = _second_order_tangents(signals, directions)
    f_dot, f_ddot = (transpose(value) for value in z[-1])
    delta_dot = transpose(_times(point.curvature, f_dot))
    delta_ddot = transpose(_twice(point.T, f_dot) + _times(point.curvature, f_ddot))
    deltas, products = signals.backward(point.r.T), []
    for l in range(signals.depth - 1, -1, -1):
        a_dot, a_ddot = a[l]
        W_part = delta_ddot @ signals.inputs[l].T + 2 * delta_dot @ transpose(a_dot) + deltas[l] @ transpose(a_ddot)
        products.append((W_part, delta_ddot.sum(-1) if signals.bias else None))
        if l:
            W, V = signals.layers[l][0].T, transpose(directions[l][0])
            u, u_dot = W @ deltas[l], W @ delta_dot + V @ deltas[l]
            u_ddot = W @ delta_ddot + 2 * V @ delta_dot
            slope, bend, third = signals.slopes[l - 1]
            z_dot, z_ddot = z[l - 1]
            delta_ddot = (third * z_dot**2 + bend * z_ddot) * u + 2 * bend * z_dot * u_dot + slope * u_ddot
            delta_dot = bend * z_dot * u + slope * u_dot
    return products[::-1]


def _second_order_tangents(signals: Signals, directions: Layers) -> tuple[list, list]:
    """[(ż_l, z̈_l)] and [(ȧ_{l-1}, ä_{l-1})] along directions (V, c)."""
    a_dot = a_ddot = np.zeros_like(signals.inputs[0])
    z, a = [], []
    for l, ((W, _), (V, c)) in enumerate(zip(signals.layers, directions)):
        z_dot = V @ signals.inputs[l] + W @ a_dot
        if c is not None:
            z_dot = z_dot + c[..., None]
        z_ddot = 2 * V @ a_dot + W @ a_ddot
        z.append((z_dot, z_ddot))
        a.append((a_dot, a_ddot))
        if l < len(signals.slopes):
            slope, bend, *_ = signals.slopes[l]
            a_dot, a_ddot = slope * z_dot, bend * z_dot**2 + slope * z_ddot
    return z, a
