"""The table of quantities: names, shapes, selection."""

from __future__ import annotations

import pytest

from refbnn.conform import case as cases
from refbnn.conform.quantities import QUANTITIES, Quantity, axis_sizes, nearest, select


GGN = ["ggn.vp", "ggn.blockdiag", "ggn.neuronblocks", "ggn.subset", "ggn.lastlayer", "ggn.kfac", "ggn.kfra", "ggn.ekfac",
       "ggn.ekfac.split", "ggn.vanloan"]


def test_function_names_are_unique_and_are_python_names():
    names = [quantity.function_name for quantity in QUANTITIES.values()]
    assert len(set(names)) == len(names) and all(name.isidentifier() for name in names)


def test_every_quantity_is_certified_by_a_stored_one():
    for quantity in QUANTITIES.values():
        assert QUANTITIES[quantity.certified_by].certified_by == quantity.certified_by


def test_certified_values_have_the_stated_shapes():
    for name in ("tanh-normal-2-5-3", "heteroscedastic-tanh-2-3-2"):
        case = cases.read(name)
        sizes = axis_sizes(case.problem)
        for quantity, certified in case.values.items():
            assert certified.value.shape == QUANTITIES[quantity].shape(sizes), quantity


def test_axis_letters_have_the_sizes_of_the_problem():
    paired = axis_sizes(cases.read("heteroscedastic-tanh-2-3-2").problem)
    assert paired == {"n": 7, "k": 2, "p": 17, "q": 8, "r": 8, "m": 4, "y": 1, "s": 19, "t": 4}
    assert axis_sizes(cases.read("structures-categorical-no-bias-2-3-3").problem)["q"] == 9


def test_select_takes_globs_in_table_order():
    assert [quantity.name for quantity in select(["loss", "ggn.*"])] == ["loss", "ggn.full", "ggn.diag", *GGN]


def test_select_refuses_a_glob_that_matches_nothing_and_names_the_nearest():
    with pytest.raises(ValueError, match="'gnn.full'.*ggn.full"):
        select(["loss", "gnn.full"])


def test_nearest_forgives_underscores_and_slips():
    assert nearest("ggn_ful")[0] == "ggn.full" and nearest("xyzzy") == []


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="kind"):
        Quantity("x", "matrix", "p p", "x")
