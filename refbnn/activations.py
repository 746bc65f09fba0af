"""Activation functions with their first four derivatives, by hand.

Each is written as a generator that yields φ, φ′, φ″, φ‴, φ⁗ in turn, so that a derivative reuses what the ones before it have
computed and nothing is computed that was not asked for. The derivative at a kink is a convention, stated where it matters.
All are finite for |z| <= 1000.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from scipy import special

from refbnn.shapes import as_array

Jet = Callable[[np.ndarray], Iterator[np.ndarray]]


@dataclass(frozen=True)
class Activation:
    """An elementwise function φ and its derivatives.

    `odd`: φ(−z) = −φ(z). `homogeneous`: φ(cz) = cφ(z) for every c > 0. `smooth`: analytic, no kink. `in_place`, where φ′ is a
    function of φ alone: two functions that overwrite their argument, z with φ(z) and φ(z) with φ′(z), which they return; then the
    jet takes a second argument too, where to write φ(z).
    """

    name: str
    jet: Jet
    odd: bool = False
    homogeneous: bool = False
    smooth: bool = True
    in_place: tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray]] | None = None

    def derivatives(self, z: np.ndarray, order: int = 1) -> tuple[np.ndarray, ...]:
        """(φ(z), φ′(z), ..., φ^(order)(z)), each of the shape of z; ValueError unless order is 0 to 4."""
        if order not in (0, 1, 2, 3, 4):
            raise ValueError(f"order: expected 0, 1, 2, 3 or 4, got {order!r}")
        return tuple(islice(self.successive(z), order + 1))

    def successive(self, z: np.ndarray, room: np.ndarray | None = None) -> Iterator[np.ndarray]:
        """φ(z), φ′(z), φ″(z), φ‴(z), φ⁗(z), each computed when it is asked for; φ(z) may be written to `room`."""
        return self.jet(z, room) if self.in_place else self.jet(z)

    def __call__(self, z: np.ndarray) -> np.ndarray:
        """φ(z)."""
        return next(self.successive(z))


_ONE, _MINUS_TWO = np.array(1.0), np.array(-2.0)  # NumPy makes an array of a Python number, in every call


def _identity(z):
    yield z
    yield np.ones_like(z)
    yield np.zeros_like(z)
    yield np.zeros_like(z)
    yield np.zeros_like(z)


def _tanh(z, room=None):
    t = np.tanh(z, out=room)
    yield t
    slope = t * t
    np.subtract(_ONE, slope, out=slope)  # in place: memory costs as much as tanh
    yield slope
    bend = t * slope
    bend *= _MINUS_TWO
    yield bend
    yield (4 * t * t - 2 * slope) * slope
    yield 8 * t * slope * (3 * slope - 1)


def _tanh_in_place(z):
    return np.tanh(z, out=z)


def _tanh_slope_in_place(t):
    np.multiply(t, t, out=t)
    return np.subtract(_ONE, t, out=t)


def _sigmoid(z):
    p = special.expit(z)
    yield p
    slope = p * special.expit(-z)  # p(1 − p) without cancellation
    yield slope
    odd = -np.tanh(z / 2)  # 1 − 2p
    yield slope * odd
    yield slope * (odd * odd - 2 * slope)
    yield slope * odd * (odd * odd - 8 * slope)


def _softplus(z):
    yield np.logaddexp(0, z)
    yield from _sigmoid(z)


def _sin(z):
    s, c = np.sin(z), np.cos(z)
    yield s
    yield c
    yield -s
    yield -c
    yield s


def _silu(z):
    yield from _times_z(z, _sigmoid(z))


def _times_z(z, gate):
    """z g and its derivatives z g^(m) + m g^(m−1)."""
    before = next(gate)
    yield z * before
    for m, derivative in enumerate(gate, start=1):
        yield m * before + z * derivative
        before = derivative


def _gelu(z):
    """z Φ(z), with Φ the standard normal distribution function (Hendrycks & Gimpel 2016, exact form)."""
    cdf = special.ndtr(z)
    yield z * cdf
    density = np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi)
    yield cdf + z * density
    yield (2 - z * z) * density
    yield z * (z * z - 4) * density
    yield ((7 - z * z) * z * z - 4) * density


def _gelu_tanh(z):
    """z σ(2u), u = √(2/π)(z + 0.044715 z³): the tanh form of GELU, ½z(1 + tanh u), since ½(1 + tanh u) = σ(2u)."""
    yield from _times_z(z, _gelu_tanh_gate(z))


def _gelu_tanh_gate(z):
    c = 2 * np.sqrt(2 / np.pi)
    v, v1, v2, v3 = c * (z + 0.044715 * z**3), c * (1 + 0.134145 * z * z), c * 0.26829 * z, c * 0.26829
    p, s1, s2, s3, s4 = _sigmoid(v)
    yield p
    yield s1 * v1
    yield s2 * v1 * v1 + s1 * v2
    yield s3 * v1**3 + 3 * s2 * v1 * v2 + s1 * v3
    yield s4 * v1**4 + 6 * s3 * v1 * v1 * v2 + s2 * (3 * v2 * v2 + 4 * v1 * v3)


def _erf(z):
    yield special.erf(z)
    slope = 2 / np.sqrt(np.pi) * np.exp(-z * z)
    yield slope
    yield -2 * z * slope
    yield (4 * z * z - 2) * slope
    yield 4 * z * (3 - 2 * z * z) * slope


def _square(z):
    yield z * z
    yield 2 * z
    yield np.full_like(z, 2.0)
    yield np.zeros_like(z)
    yield np.zeros_like(z)


def _leaky_relu(slope: float) -> Jet:
    def jet(z):
        gain = np.where(z > 0, 1.0, slope)
        yield gain * z
        yield gain
        yield np.zeros_like(z)
        yield np.zeros_like(z)
        yield np.zeros_like(z)

    return jet


def leaky_relu(slope: float) -> Activation:
    """max(z, 0) + slope·min(z, 0). At the kink φ′(0) = slope, as in torch; φ″ = φ‴ = φ⁗ = 0 everywhere."""
    gain = float(as_array("slope", slope, ""))
    if gain < 0:
        raise ValueError(f"slope: expected a number >= 0, got {slope!r}")
    return Activation("leaky_relu", _leaky_relu(gain), homogeneous=True, smooth=False)


identity = Activation("identity", _identity, odd=True, homogeneous=True)
tanh = Activation("tanh", _tanh, odd=True, in_place=(_tanh_in_place, _tanh_slope_in_place))
sigmoid = Activation("sigmoid", _sigmoid)
softplus = Activation("softplus", _softplus)
sin = Activation("sin", _sin, odd=True)
silu = Activation("silu", _silu)
gelu = Activation("gelu", _gelu)
gelu_tanh = Activation("gelu_tanh", _gelu_tanh)
erf = Activation("erf", _erf, odd=True)
square = Activation("square", _square)
relu = Activation("relu", _leaky_relu(0.0), homogeneous=True, smooth=False)  # φ′(0) = 0, as in torch

BY_NAME = {a.name: a for a in (identity, tanh, sigmoid, softplus, sin, silu, gelu, gelu_tanh, erf, square, relu)}
