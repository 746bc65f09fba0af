"""Which width each evidence picks."""

from __future__ import annotations

import numpy as np

from refbnn.budget import Table, widths
from tests.experiments.budgets import stacked
from tests.experiments.catalogue import problem

WIDTHS = (0, 1, 2)
CASES = [("puromycin", 1.0), ("wave-1", 1.0), ("wave-2", 1.0), ("wave-1", 3.0)]


def width(note) -> list[Table]:
    """Log evidences by width."""
    found = []
    for name, precision in CASES:
        note(f"{name}, precision {precision}")
        made = widths.compare(problem(name, precision).posterior, WIDTHS, np.random.default_rng(1), 1e-4)
        found.append(((name, "all", f"{precision:g}"), made))
    return [stacked(found)]
