"""What targets may be: each function returns y, or raises ValueError with what was expected and what came."""

from __future__ import annotations

import numpy as np


def binary(y: np.ndarray) -> np.ndarray:
    """Zeros and ones."""
    return _expect("0 or 1", y, np.isin(y, (0, 1)))


def counts(y: np.ndarray) -> np.ndarray:
    """0, 1, 2, ..."""
    return _expect("counts 0, 1, 2, ...", y, (y >= 0) & (y == np.floor(y)))


def levels(y: np.ndarray, number: int) -> np.ndarray:
    """0, 1, ..., number − 1."""
    return _expect(f"levels 0 to {number - 1}", y, (y >= 0) & (y < number) & (y == np.floor(y)))


def positive(y: np.ndarray) -> np.ndarray:
    """Positive numbers."""
    return _expect("positive numbers", y, y > 0)


def _expect(what: str, y: np.ndarray, good: np.ndarray) -> np.ndarray:
    if not good.all():
        raise ValueError(f"y: expected {what}, got {y[~good][0]:g}")
    return y
