"""How the tests judge: by round-off with a measured condition number, by measured orders, by z-scores with a stated rate."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import ndtri

from refbnn.testing import tolerance

FALSE_ALARM = 1e-6  # of a whole Monte-Carlo test, whatever the number of statistics in it


def agree(left, right, *, terms: int, condition: float = 1.0, scale: float | None = None) -> None:
    """Assert ‖left − right‖ <= 30·terms·u·condition·scale; `scale` is ‖right‖ (which must not vanish) unless stated.

    Fails on shapes that differ, on NaN and on empty arrays.
    """
    left, right = np.asarray(left), np.asarray(right)
    assert left.shape == right.shape, f"shapes differ: {left.shape} and {right.shape}"
    assert left.size > 0, "nothing to compare"
    assert np.isfinite(left).all() and np.isfinite(right).all(), "NaN or infinity"
    if scale is None:
        scale = np.linalg.norm(right)
    assert scale > 0, "the scale vanishes: nothing is compared"
    error, allowed = np.linalg.norm(left - right), tolerance(terms, condition) * scale
    assert error <= allowed, f"error {error:.3g} beside {scale:.3g}, allowed {allowed:.3g} (condition {condition:.3g})"


def vanishes(value, *, scale: float, terms: int, condition: float = 1.0) -> None:
    """Assert ‖value‖ <= 30·terms·u·condition·scale, `scale` being the size of what cancels."""
    agree(value, np.zeros(np.shape(value)), terms=terms, condition=condition, scale=scale)


def condition(case, quantity: Callable, scale: float | None = None, draws: int = 3, size: float = 2.0**-24) -> float:
    """The measured relative condition number of quantity(case), at least 1.

    Relative random-sign perturbations of θ, X and real targets; `scale` is the size that errors are compared with, by default
    that of the quantity itself.
    """
    rng = np.random.default_rng(len(case.theta))
    value = quantity(case)
    scale = np.linalg.norm(value) if scale is None else scale
    changes = [np.linalg.norm(quantity(case.perturbed(size, rng)) - value) for _ in range(draws)]
    return max(1.0, max(changes) / (size * scale)) if scale > 0 else 1.0


def mean_agrees(samples: np.ndarray, expected, smallest_effect: float) -> None:
    """z-test of E[samples] = expected, entry by entry over the leading axis, at the family-wise false-alarm rate FALSE_ALARM.

    `smallest_effect` is the discrepancy that the test must be able to see (with a miss rate of 1e-6 too); too few samples for
    that fail the test rather than pass it.
    """
    samples = samples.reshape(len(samples), -1)
    error = samples.std(0, ddof=1) / np.sqrt(len(samples))
    threshold = -ndtri(FALSE_ALARM / 2 / samples.shape[1])
    detectable = (threshold - ndtri(1e-6)) * error.max()
    assert detectable <= smallest_effect, f"too few samples: sees {detectable:.3g} at best, must see {smallest_effect:.3g}"
    z = (samples.mean(0) - np.ravel(expected)) / error
    assert np.abs(z).max() <= threshold, f"|z| = {np.abs(z).max():.2f} exceeds {threshold:.2f}"


def smallest_eigenvalue_is_not_negative(A: np.ndarray, terms: int) -> None:
    """Assert A ⪰ 0 up to 30·terms·u·‖A‖, the round-off of an eigenvalue of a computed matrix."""
    values = np.linalg.eigvalsh(A)
    allowed = tolerance(terms) * np.abs(values).max()
    assert values[0] >= -allowed, f"smallest eigenvalue {values[0]:.3g}, allowed {-allowed:.3g}"


def norm_or_one(value) -> float:
    """‖value‖, or 1 (the size of outputs and parameters in the zoo) where it vanishes, as behind a dead ReLU."""
    return np.linalg.norm(value) or 1.0
