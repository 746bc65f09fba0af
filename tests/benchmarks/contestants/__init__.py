"""One module a library, each with `prepare(problem) -> dict[str, Task]`: how that library is best asked for each quantity.

A key is a quantity ("ggn.full") or a quantity and a way ("ggn.full/backpack") where a library has several. `Task.run` is what
is timed: from θ and the data to the library's own kind of result, in double precision, everything that does not depend on θ
made before. `Task.plain` turns that result into refbnn's convention, untimed. Each library is imported in its module only.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Task:
    """What to time, how to read its result, and whether the first run compiles."""

    run: Callable[[], object]
    plain: Callable[[object], np.ndarray] = np.asarray
    compiles: bool = False


def factors(pairs) -> np.ndarray:
    """Kronecker factors (B, A) of the layers as one vector, for comparison.

    B ⊗ A leaves a factor free between the two, and libraries differ in whether A has the row of the constant 1: kept is the
    part of A for the weights with trace 1, given by the caller, and B times the trace.
    """
    parts = []
    for B, A in pairs:
        B, A = np.asarray(B), np.asarray(A)
        parts += [(B * np.trace(A)).ravel(), (A / np.trace(A)).ravel()]
    return np.concatenate(parts)
