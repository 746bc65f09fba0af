"""Third derivatives of the loss, contracted: what the gradient of a Laplace evidence needs, and no more.

∇³L[v, v] is the second derivative of the gradient along a line, d²/dt² ∇L(θ + t v): one second-order jet through the network. Gradients of
traces are sums of such terms. That of tr(A G) needs no third derivative of the network; that of tr(A H) does.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from refbnn.assembly import BLOCK_BYTES
from refbnn.loss import Loss
from refbnn.shapes import Directions, Parameters, Vector, as_array
from refbnn.signals import Layers, Signals, transpose


def third_derivative(loss: Loss, theta: Vector, v: Parameters) -> Parameters:
    """∇³L[v, v] at θ, d²/dt² ∇L(θ + t v) at t = 0, Eq. (jet), for every leading axis of v: (*s p).

    Where f is affine in θ it is Σ_n J_nᵀ T_n[J_n v, J_n v], with T = ∂³ℓ/∂f³. Activations with a kink: the derivative off the kink.
    """
    theta, v = (as_array(name, value, axes, p=loss.net.num_params) for name, value, axes in (("theta", theta, "p"), ("v", v, "*s p")))
    at = loss.net.evaluate(theta, loss.X, order=3)
    T = loss.likelihood.third(at.f, loss.y)
    if loss.net.is_linear:
        return at.vjp(_twice(T, at.jvp(v)))
    r, curvature = loss.likelihood.residual(at.f, loss.y), loss.likelihood.curvature(at.f, loss.y)
    directions = at.layout.unflatten(v)
    seeds = [np.moveaxis(array, 0, -1) for array in (r, curvature, T)]
    return at.layout.flatten(_jet(at.signals, directions, *seeds))


def trace_gradient_of_hessian(loss: Loss, theta: Vector, V: Directions) -> Vector:
    """∇_θ tr(A H(θ)) = Σ_t ∇³L[v_t, v_t] for A = Σ_t v_t v_tᵀ, the rows of V (t p), Eq. (trace-gradient): (p).

    For A = P⁻¹ the rows are the columns of a scale C with C Cᵀ = P⁻¹: `gaussian.scale().T`.
    """
    return _summed(lambda part: third_derivative(loss, theta, part), loss, V)


def trace_gradient_of_ggn(loss: Loss, theta: Vector, V: Directions) -> Vector:
    """∇_θ tr(A G(θ)) = Σ_t Σ_n J_nᵀ T_n[J_n v_t, J_n v_t] + 2 R_{w_t} v_t for A = Σ_t v_t v_tᵀ, Eq. (trace-gradient): (p).

    w_t = Λ J v_t, and R_w = Σ_nk w_nk ∇²f_nk. G = JᵀΛJ depends on θ through J, twice, and through Λ: second derivatives of f and T
    are all it takes. V (t p) as above.
    """
    at = loss.net.evaluate(as_array("theta", theta, "p", p=loss.net.num_params), loss.X)
    T, curvature = loss.likelihood.third(at.f, loss.y), loss.likelihood.curvature(at.f, loss.y)

    def contribution(part):
        f_dot = at.jvp(part)
        w = (curvature @ f_dot[..., None])[..., 0]
        return at.vjp(_twice(T, f_dot)) + 2 * at.second_order_product(part, v=w)

    return _summed(contribution, loss, V)


def _twice(T: np.ndarray, u: np.ndarray) -> np.ndarray:
    """T_n[u_n, u_n] for T (n k k k) and u (*s n k): (*s n k)."""
    return ((T @ u[..., None, :, None])[..., 0] @ u[..., None])[..., 0]


def _summed(contribution: Callable, loss: Loss, V: Directions) -> Vector:
    """The sum of contribution(rows of V) over all rows, as many at a time as keep the working arrays small."""
    V = as_array("V", V, "t p", p=loss.net.num_params)
    widest = max(max(layer) for layer in [(loss.net.num_params // loss.net.num_inputs,)])
    rows = max(1, BLOCK_BYTES // (8 * widest * len(loss.X)))
    return sum(contribution(V[start:start + rows]).sum(0) for start in range(0, len(V), rows))


def _jet(signals: Signals, directions: Layers, r: np.ndarray, M: np.ndarray, T: np.ndarray) -> Layers:
    """The layers of d²/dt² Σ_n J_nᵀ r_n along directions (V, c), data last; r (k n), M (k k n), T (k k k n), Eq. (jet).

    Forward ż = Va + Wȧ + c, ȧ = φ′ż, z̈ = 2Vȧ + Wä, ä = φ″ż² + φ′z̈. At the outputs δ = r, δ̇ = M ḟ, δ̈ = T[ḟ, ḟ] + M f̈. Backward with
    u = Wᵀδ, u̇ = Wᵀδ̇ + Vᵀδ, ü = Wᵀδ̈ + 2Vᵀδ̇: δ̇ = φ″ż u + φ′u̇, δ̈ = (φ‴ż² + φ″z̈) u + 2φ″ż u̇ + φ′ü. Layer: δ̈ aᵀ + 2 δ̇ ȧᵀ + δ äᵀ.
    """
    z, a = _second_order_tangents(signals, directions)
    f_dot, f_ddot = z[-1]
    M_f = M * f_dot[..., None, :, :]
    delta_dot = M_f.sum(-2)
    delta_ddot = (T * f_dot[..., None, None, :, :] * f_dot[..., None, :, None, :]).sum((-2, -3)) + (M * f_ddot[..., None, :, :]).sum(-2)
    deltas, products = signals.backward(r), []
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
