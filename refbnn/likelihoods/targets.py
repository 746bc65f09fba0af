"""What targets may be: each function returns y, or raises ValueError with what was expected and what came."""

from __future__ import annotations

import numpy as np

from refbnn.shapes import expect_shape


def binary(y: np.ndarray) -> np.ndarray:
    """Zeros and ones."""
    return _all_good("0 or 1", y, np.isin(y, (0, 1)))


def counts(y: np.ndarray) -> np.ndarray:
    """0, 1, 2, ..."""
    return _all_good("counts 0, 1, 2, ...", y, (y >= 0) & (y == np.floor(y)))


def levels(y: np.ndarray, number: int) -> np.ndarray:
    """0, 1, ..., number − 1."""
    return _all_good(f"levels 0 to {number - 1}", y, (y >= 0) & (y < number) & (y == np.floor(y)))


def positive(y: np.ndarray) -> np.ndarray:
    """Positive numbers."""
    return _all_good("positive numbers", y, y > 0)


def aligned(y: np.ndarray, axes: str, sizes: tuple[int, ...]) -> np.ndarray:
    """Any y whose last axes have the sizes that f asks for: leading axes broadcast, data and outputs never do."""
    if np.shape(y)[-len(sizes):] != sizes:
        expect_shape("y", np.asarray(y), f"*s {axes}", **dict(zip(axes.split(), sizes)))
    return y


def _all_good(what: str, y: np.ndarray, good: np.ndarray) -> np.ndarray:
    if not good.all():
        raise ValueError(f"y: expected {what}, got {y[~good][0]:g}")
    return y
