"""The stored experiments: a part of them is computed anew, and their exact columns are exact enough for what is told apart."""

from __future__ import annotations

import pytest

from refbnn.quadrature import Integral
from tests.experiments import budgets, gradients, structures
from tests.experiments.__main__ import DATA, EXPERIMENTS, read

FITTED = 0.1
STABLE = 1e-5  # what optimisers and another build's rounding may leave, of a number


def same(new, old, loose=0.0):
    """Whether a cell is what is stored: words are equal, numbers within their errors."""
    if not isinstance(old, Integral):
        return new == old
    return abs(new.value - old.value) <= 5 * (new.error + old.error) + STABLE * (1 + abs(old.value)) + loose * abs(old.value)


def same_rows(new, old):
    """Whether all cells are; variational optima of the network depend on which copy of a mode round-off puts first."""
    fitted = "network" in old and bool({"VI, full", "VI, mean field"} & set(cell for cell in old if isinstance(cell, str)))
    return all(same(a, b, FITTED * fitted) for a, b in zip(new, old))


def differences(new_rows, table, labels):
    """Rows that are not the stored ones with these labels."""
    old_rows = [row for row in table.rows if row[:len(labels)] == labels]
    assert len(new_rows) == len(old_rows)
    return [(new, old) for new, old in zip(new_rows, old_rows) if not same_rows(new, old)]


@pytest.mark.parametrize("name", ["puromycin", "wave-2"])
def test_a_stored_budget_is_computed_anew(name):
    found, labels = budgets.one(name, 1, 1.0).tables, (name, "1", "1")
    for table, key in zip(read("regression"), ("steps", "predictions", "evidence")):
        assert differences([(*labels, *row) for row in found[key].rows], table, labels) == []


def test_stored_slopes_are_computed_anew():
    assert differences(gradients.one("wave-3", 1, 3.0), read("gradients")[0], ("wave-3", "1", "3")) == []


@pytest.mark.slow
def test_stored_budgets_of_labels_and_structures_are_computed_anew():
    found, labels = budgets.one("step-2", 1, 1.0).tables, ("step-2", "1", "1")
    for table, key in zip(read("classification"), ("steps", "predictions", "evidence")):
        assert differences([(*labels, *row) for row in found[key].rows], table, labels) == []
    assert differences(structures.one("step-1", 2, 1.0), read("structures")[0], ("step-1", "2", "1")) == []


def test_a_number_that_moved_is_noticed():
    assert same(Integral(1.0, 0.0), Integral(1.0, 0.0)) and not same(Integral(1.001, 0.0), Integral(1.0, 0.0))
    table = read("gradients")[0]
    rows = [row for row in table.rows if row[:3] == ("wave-3", "1", "3")]
    moved = [(*row[:4], Integral(row[4].value + 0.01, row[4].error)) for row in rows]
    assert len(differences(moved, table, ("wave-3", "1", "3"))) == len(rows)


def test_every_experiment_is_stored():
    assert {path.stem for path in DATA.glob("*.json")} == set(EXPERIMENTS)


@pytest.mark.parametrize("name", ["regression", "classification"])
def test_the_truth_is_at_no_distance_from_itself_and_ten_times_closer_than_the_steps(name):
    """The error of the exact row beside the smallest step that is told from zero, case by case."""
    steps, predictions, _ = read(name)
    for row in predictions.rows:
        if row[3:6] == ("network", "exact", "exact"):
            case = [step for step in steps.rows if step[:3] == row[:3]]
            told = [abs(cell.value) for step in case for cell in step[-2:] if abs(cell.value) > 3 * cell.error]
            for cell in row[6:8]:
                assert abs(cell.value) <= cell.error and 10 * cell.error < min(told), (row[:3], cell)
