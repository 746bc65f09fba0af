"""The table of quantities: names, shapes, selection."""

from __future__ import annotations

import pytest

from refbnn.conform import case as cases
from refbnn.conform.quantities import QUANTITIES, Quantity, axis_sizes, nearest, select


def test_function_names_are_unique_and_are_python_names():
    names = [quantity.function_name for quantity in QUANTITIES.values()]
    assert len(set(names)) == len(names) and all(name.isidentifier() for name in names)


def test_every_quantity_is_certified_by_a_stored_one():
    for quantity in QUANTITIES.values():
        assert QUANTITIES[quantity.certified_by].certified_by == quantity.certified_by


def test_certified_values_have_the_stated_shapes():
    case = cases.read("tanh-normal-2-5-3")
    sizes = axis_sizes(case.problem)
    for name, certified in case.values.items():
        assert certified.value.shape == QUANTITIES[name].shape(sizes), name


def test_select_takes_globs_in_table_order():
    assert [quantity.name for quantity in select(["loss", "ggn.*"])] == ["loss", "ggn.full", "ggn.diag"]


def test_select_refuses_a_glob_that_matches_nothing_and_names_the_nearest():
    with pytest.raises(ValueError, match="'gnn.full'.*ggn.full"):
        select(["loss", "gnn.full"])


def test_nearest_forgives_underscores_and_slips():
    assert nearest("ggn_ful")[0] == "ggn.full" and nearest("xyzzy") == []


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="kind"):
        Quantity("x", "matrix", "p p", "x")
