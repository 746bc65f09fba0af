"""Checks that our tests and notebooks use and that you can run on your own code.

`check` compares two arrays normwise and fails on NaN, on shapes that would broadcast, and on two sides that are both zero.
`check_zero` is for what must vanish, against a stated scale. `taylor_order` measures the order of a derivative's remainder, so
that a claim is tested by its order rather than by a tolerance. `compare` holds your own function against this package on your
own network and data, with the scales and the diagnosis of `refbnn conform`; `refbnn_conforms` makes it a pytest test on the
certified cases.
`audit` holds draws, of any sampler, against what their posterior obeys
whatever the data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from refbnn.conform.declared import refbnn_conforms
from refbnn.audit import Audit, Law, audit
from refbnn.conform.differential import Result, network_from_flax, network_from_torch, problem_from, random_problem
from refbnn.conform.differential import compare_with_reference as compare

__all__ = [
    "Audit", "Law", "Result", "audit", "check", "check_zero", "compare", "network_from_flax", "network_from_torch",
    "problem_from", "random_problem", "refbnn_conforms", "taylor_order", "tolerance",
]

UNIT_ROUND_OFF = np.finfo(np.float64).eps / 2


def tolerance(terms: int, condition: float = 1.0) -> float:
    """30·n·u·κ, the relative error that a backward stable evaluation with n terms and condition number κ may show."""
    return 30 * terms * UNIT_ROUND_OFF * condition


def check(
    label: str,
    left: np.ndarray | float,
    right: np.ndarray | float,
    *,
    terms: int = 100,
    condition: float = 1.0,
    within: float | None = None,
) -> float:
    """Assert ‖left − right‖ <= τ ‖right‖ and return the number of agreeing digits; printed with the label.

    τ = 30·terms·u·condition, or `within` for claims that are not about round-off (state where it comes from). `label` is that
    of the equation. Raises AssertionError for different shapes, NaN, two zero sides, or disagreement.
    """
    left, right = _pair(label, left, right)
    scale = np.linalg.norm(right)
    assert scale > 0 or np.linalg.norm(left) > 0, f"({label}) both sides are zero: nothing was compared; use check_zero"
    allowed = tolerance(terms, condition) if within is None else within
    error = np.linalg.norm(left - right)
    digits = min(16.0, -np.log10(max(error / scale, 1e-17))) if scale > 0 else 0.0
    assert error <= allowed * scale, f"({label}) relative error {error / max(scale, 1e-300):.3g} exceeds {allowed:.3g}"
    print(f"({label}) holds to {digits:.1f} digits")
    return digits


def check_zero(label: str, value, *, scale: float, terms: int = 100, condition: float = 1.0) -> None:
    """Assert ‖value‖ <= 30·terms·u·condition·scale, where `scale` is the size of what cancels."""
    value = np.asarray(value, dtype=float)
    assert value.size > 0 and np.isfinite(value).all(), f"({label}) empty or not finite"
    assert scale > 0, f"({label}) the scale must be positive, got {scale}"
    size, allowed = np.linalg.norm(value), tolerance(terms, condition) * scale
    assert size <= allowed, f"({label}) expected 0, got norm {size:.3g}, more than {allowed:.3g}"
    print(f"({label}) vanishes: {size:.1e} beside {scale:.1e}")


def taylor_order(remainder: Callable[[float], float], steps: Sequence[float] = tuple(2.0**-j for j in range(3, 8))) -> float:
    """The observed order q of remainder(h) = O(h^q): the least-squares slope of log |remainder| against log h.

    Raises AssertionError when a remainder is zero or not finite, so that a vacuous claim cannot pass. Eq. (taylor).
    """
    sizes = np.array([np.linalg.norm(remainder(h)) for h in steps])
    assert np.isfinite(sizes).all() and (sizes > 0).all(), f"remainders must be positive and finite, got {sizes}"
    return float(np.polyfit(np.log(steps), np.log(sizes), 1)[0])


def _pair(label: str, left, right) -> tuple[np.ndarray, np.ndarray]:
    left, right = np.asarray(left, dtype=float), np.asarray(right, dtype=float)
    assert left.shape == right.shape, f"({label}) shapes differ: {left.shape} and {right.shape}"
    assert left.size > 0, f"({label}) nothing to compare: empty arrays"
    assert np.isfinite(left).all() and np.isfinite(right).all(), f"({label}) NaN or infinity in the comparison"
    return left, right
