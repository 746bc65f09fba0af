"""Budgets: predictions, steps and evidences of regression and of labels, one hidden unit, and two where that is affordable."""

from __future__ import annotations

import numpy as np

from refbnn import budget
from refbnn.budget import Table
from tests.experiments.catalogue import LABELS, REGRESSION, problem

PRECISIONS = (0.3, 1.0, 3.0)
REGRESSIONS = [(name, 1, precision) for name in REGRESSION for precision in PRECISIONS] + [
    (name, 2, 1.0) for name in ("puromycin", "wave-1")]
CLASSIFICATIONS = [(name, 1, precision) for name in LABELS for precision in (0.1, *PRECISIONS)] + [
    (name, 2, 1.0) for name in ("o-rings", "step-1")]
WITHIN = {1: 1e-6, 2: 1e-4}
LABELS_OF = ("data", "hidden", "prior precision")


def one(name: str, width: int, precision: float) -> budget.Budget:
    """The budget of one problem, seed 1."""
    made = problem(name, precision)
    return budget.compute(made.posterior(width), budget.around(made.X), np.random.default_rng(1), within=WITHIN[width])


def tables(which: list[tuple[str, int, float]], note) -> list[Table]:
    """The tables of all, one below another, with three more labels."""
    found = []
    for name, width, precision in which:
        note(f"{name}, {width} hidden, precision {precision}")
        found.append(((name, str(width), f"{precision:g}"), one(name, width, precision).tables))
    return [stacked([(labels, tables[key]) for labels, tables in found]) for key in ("steps", "predictions", "evidence")]


def stacked(parts: list[tuple[tuple[str, ...], Table]]) -> Table:
    """Tables of the same columns as one."""
    first = parts[0][1]
    rows = tuple((*labels, *row) for labels, table in parts for row in table.rows)
    return Table(first.title, first.labels + len(LABELS_OF), (*LABELS_OF, *first.columns), rows)


def regression(note) -> list[Table]:
    """Gaussian noise."""
    return tables(REGRESSIONS, note)


def classification(note) -> list[Table]:
    """Labels."""
    return tables(CLASSIFICATIONS, note)
