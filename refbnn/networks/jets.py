"""Jets through a network along a line: second derivatives of a gradient, four derivatives of outputs. Inside, data come last."""

from __future__ import annotations

import numpy as np

from refbnn.networks.signals import Signals, product, transpose


def times(M: np.ndarray, u: np.ndarray) -> np.ndarray:
    """M_n u_n for M (n k k) and u (*s n k): (*s n k)."""
    return (M @ u[..., None])[..., 0]


def twice(T: np.ndarray, u: np.ndarray) -> np.ndarray:
    """T_n[u_n, u_n] for T (n k k k) and u (*s n k): (*s n k)."""
    return times(times(T, u[..., None, :]), u)


def second_derivative_of_gradient(
    signals: Signals, directions: list[np.ndarray], r: np.ndarray, M: np.ndarray, T: np.ndarray,
) -> list[np.ndarray]:
    """The matrices (W b) of d²/dt² Σ_n J_nᵀ r_n along directions (V c), Eq. (jet), for r (n k) with derivatives M, T in f.

    Forward: ż = Va + c + Wȧ, ȧ = φ′ż, z̈ = 2Vȧ + Wä, ä = φ″ż² + φ′z̈. At the outputs δ = r, δ̇ = Mḟ, δ̈ = T[ḟ, ḟ] + Mf̈.
    Backward: u = Wᵀδ, u̇ = Wᵀδ̇ + Vᵀδ, ü = Wᵀδ̈ + 2Vᵀδ̇, δ̇ = φ″ż u + φ′u̇, δ̈ = (φ‴ż² + φ″z̈) u + 2φ″ż u̇ + φ′ü.
    A layer's part is Σ_n δ̈āᵀ + 2δ̇(ȧ, 0)ᵀ + δ(ä, 0)ᵀ.
    """
    z, a = second_order_tangents(signals, directions)
    f_dot, f_ddot = (transpose(value) for value in z[-1])
    delta_dot = transpose(times(M, f_dot))
    delta_ddot = transpose(twice(T, f_dot) + times(M, f_ddot))
    deltas, weights, products = signals.backward(r.T), signals.weights, []
    for l in range(signals.depth - 1, -1, -1):
        a_dot, a_ddot = a[l]
        width = weights[l].shape[-1]
        part = product(delta_ddot, transpose(signals.augmented[l]))
        part[..., :width] += 2 * delta_dot @ transpose(a_dot) + deltas[l] @ transpose(a_ddot)
        products.append(part)
        if l:
            W, V = weights[l].T, transpose(directions[l][..., :width])
            u, u_dot = W @ deltas[l], W @ delta_dot + V @ deltas[l]
            u_ddot = W @ delta_ddot + 2 * V @ delta_dot
            slope, bend, third = (signals.slopes[l - 1][order] for order in range(3))
            z_dot, z_ddot = z[l - 1]
            delta_ddot = (third * z_dot**2 + bend * z_ddot) * u + 2 * bend * z_dot * u_dot + slope * u_ddot
            delta_dot = bend * z_dot * u + slope * u_dot
    return products[::-1]


def second_order_tangents(signals: Signals, directions: list[np.ndarray]) -> tuple[list, list]:
    """[(ż_l, z̈_l)] and [(ȧ_{l-1}, ä_{l-1})] along directions (V c)."""
    a_dot = a_ddot = np.zeros_like(signals.inputs[0])
    z, a = [], []
    for l, (W, direction) in enumerate(zip(signals.weights, directions)):
        z_dot = product(direction, signals.augmented[l]) + W @ a_dot
        z_ddot = 2 * direction[..., :W.shape[-1]] @ a_dot + W @ a_ddot
        z.append((z_dot, z_ddot))
        a.append((a_dot, a_ddot))
        if l < len(signals.slopes):
            slope, bend = signals.slopes[l][0], signals.slopes[l][1]
            a_dot, a_ddot = slope * z_dot, bend * z_dot**2 + slope * z_ddot
    return z, a


def fourth_order_tangents(signals: Signals, directions: list[np.ndarray]) -> list[np.ndarray]:
    """The first four derivatives of the outputs along directions (V c), (*s k n) each, Eq. (fourth-jet).

    z⁽ᵐ⁾ = W a⁽ᵐ⁾ + m V a⁽ᵐ⁻¹⁾, c more for m = 1; a⁽ᵐ⁾ of the next layer from those of z by Faà di Bruno's formula.
    """
    tangents, z = [np.zeros_like(signals.inputs[0])] * 4, []
    for l, (W, direction) in enumerate(zip(signals.weights, directions)):
        V = direction[..., :W.shape[-1]]
        z = [W @ tangents[0] + product(direction, signals.augmented[l])]
        z += [W @ tangents[m] + (m + 1) * (V @ tangents[m - 1]) for m in range(1, 4)]
        if l < len(signals.slopes):
            tangents = _composed(signals.slopes[l], *z)
    return z


def _composed(slopes, z1: np.ndarray, z2: np.ndarray, z3: np.ndarray, z4: np.ndarray) -> list[np.ndarray]:
    """The first four derivatives of φ(z) from those of z (Faà di Bruno)."""
    slope, bend, third, fourth = (slopes[order] for order in range(4))
    return [
        slope * z1,
        bend * z1**2 + slope * z2,
        third * z1**3 + 3 * bend * z1 * z2 + slope * z3,
        fourth * z1**4 + 6 * third * z1**2 * z2 + bend * (3 * z2**2 + 4 * z1 * z3) + slope * z4,
    ]
