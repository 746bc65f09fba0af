"""Which width each evidence picks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from refbnn.budget import evidences
from refbnn.budget.table import Table
from refbnn.budget.treatments import prepare
from refbnn.posterior import Posterior
from refbnn.quadrature import Integral


def compare(make: Callable[[int], Posterior], widths: Sequence[int], rng: np.random.Generator, within: float = 1e-6,
            watch: Callable[[str], None] = lambda label: None) -> Table:
    """Log evidences of `make(width)` for each width, by every approximation, and the width that each picks.

    A pick is "undecided" where errors do not tell the two best apart. Raises what `prepare` does.
    """
    found = []
    for width in widths:
        watch(f"width {width}")
        found.append(evidences.values(prepare(make(width), rng, within)))
    keys = [key for key in found[0] if all(key in of_width for of_width in found)]
    rows = [(*key, *(of_width[key] for of_width in found), _pick(widths, [of_width[key] for of_width in found])) for key in keys
            if key[:2] != (evidences.NETWORK, evidences.EXACT) or key[2] == evidences.ONE]
    columns = ("model", "inference", "copies", *(f"{width} hidden" for width in widths), "picks")
    return Table("log evidence by width, nats", 3, columns, tuple(rows))


def _pick(widths: Sequence[int], values: list[Integral]) -> str:
    order = sorted(range(len(values)), key=lambda i: -values[i].value)
    first = values[order[0]]
    clear = all(first.value - values[i].value > first.error + values[i].error for i in order[1:])
    return str(widths[order[0]]) if clear else "undecided"
