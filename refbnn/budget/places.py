"""Where predictions are compared: inside the data and outside."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refbnn.shapes import Inputs, NewInputs, as_own_array

INSIDE, OUTSIDE = 6, 4
BEYOND = 0.5  # of the range of the data, on either side
FAR = 2.0  # times as far from the centre as the data: several inputs


@dataclass(frozen=True, eq=False)
class Places:
    """New inputs `inside` (m d) and `outside` (m d) the data. Raises ValueError where one of them is empty."""

    inside: NewInputs
    outside: NewInputs

    def __post_init__(self):
        inside = as_own_array("inside", self.inside, "m d")
        outside = as_own_array("outside", self.outside, "m d", d=inside.shape[1])
        if not len(inside) or not len(outside):
            raise ValueError(f"places: expected at least one input inside and one outside, got {len(inside)} and {len(outside)}")
        object.__setattr__(self, "inside", inside)
        object.__setattr__(self, "outside", outside)

    @property
    def all(self) -> NewInputs:
        """Both, those inside first."""
        return np.concatenate([self.inside, self.outside])

    @property
    def regions(self) -> dict[str, slice]:
        """Where each region stands in `all`."""
        return {"inside": slice(0, len(self.inside)), "outside": slice(len(self.inside), None)}


def around(X: Inputs) -> Places:
    """Of one input: a grid over the range of the data, and steps beyond it on both sides, up to half of the range.

    Of several: data inputs, evenly chosen in the order of their distance from the centre, and the farthest of them moved twice as
    far out.
    """
    X = np.asarray(X, dtype=float)
    if X.shape[1] == 1:
        low, high = X.min(), X.max()
        steps = BEYOND * (high - low) * np.arange(1, OUTSIDE // 2 + 1) / (OUTSIDE // 2)
        inside, outside = np.linspace(low, high, INSIDE), np.concatenate([low - steps[::-1], high + steps])
        return Places(inside[:, None], outside[:, None])
    centre = X.mean(0)
    order = np.argsort(np.linalg.norm((X - centre) / X.std(0), axis=1), kind="stable")
    chosen = order[np.unique(np.linspace(0, len(X) - 1, INSIDE).astype(int))]
    return Places(X[chosen], centre + FAR * (X[order[-OUTSIDE:]] - centre))
