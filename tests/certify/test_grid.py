"""The plan of the small cases: what it promises, and that a plan which breaks the promise would be seen."""

from __future__ import annotations

from dataclasses import astuple, fields
from itertools import combinations, product

import pytest

pytest.importorskip("flint", reason="python-flint (of the extra certify) is not installed")
pytest.importorskip("mpmath", reason="mpmath (of the extra certify) is not installed")

from . import grid  # noqa: E402
from .catalogue import DESIGNS  # noqa: E402
from .closed import ACTIVATIONS  # noqa: E402
from .closed_likelihoods import FORMS  # noqa: E402

NAMES = [field.name for field in fields(grid.Row)]
EVERYWHERE = ("bias", "prior", "mean", "data", "inputs", "reach")   # factors with no level that another one forbids


def pairs(rows: list[grid.Row]) -> set:
    """Every two levels that meet in some row."""
    return {(a, b) for row in rows for a, b in combinations(zip(NAMES, astuple(row)), 2)}


def unmet(rows: list[grid.Row]) -> set:
    """Levels of two unconstrained factors that no row brings together; but one datum cannot occur twice."""
    levels = {name: sorted({getattr(row, name) for row in rows}) for name in ("hidden", *EVERYWHERE)}
    wanted = {((a, x), (b, y)) for a, b in combinations(levels, 2) for x, y in product(levels[a], levels[b])}
    wanted -= {(("data", "one"), ("inputs", "twice"))}
    return wanted - pairs(rows)


def test_every_activation_meets_every_likelihood_in_some_case():
    met = {(design.activation if len(design.sizes) > 2 else "identity", design.likelihood) for design in DESIGNS}
    assert met == set(product(ACTIVATIONS, FORMS))


def test_every_two_levels_meet():
    assert not unmet(grid.ROWS)


def test_a_plan_without_some_pair_is_seen():
    level = ("prior", "dense"), ("inputs", "twice")
    rest = [row for row in grid.ROWS if not (row.prior == "dense" and row.inputs == "twice")]
    assert level in unmet(rest)


def test_every_row_has_a_pair_of_activation_and_likelihood_or_a_depth_that_no_older_case_has():
    older = [design for design in DESIGNS if design.family != "grid"]
    met = {(design.activation if len(design.sizes) > 2 else "identity", design.likelihood) for design in older}
    without = {design.likelihood for design in older if len(design.sizes) == 2}
    assert all((row.activation, row.likelihood) not in met or row.hidden == "0" and row.likelihood not in without
               for row in grid.ROWS)


def test_every_regime_of_theta_occurs_with_every_depth_that_allows_it():
    met = {(row.theta, row.hidden) for row in grid.ROWS}
    assert {theta for theta, _ in met} == {"random", *grid.CHANGES, "large"}
    assert all((theta, hidden) in met for theta in ("random", "near", "weightless", "saturated") for hidden in "123")


def test_ids_say_what_the_rows_are():
    assert len({row.id for row in grid.ROWS}) == len(grid.ROWS) >= 157
    assert all(row.id.startswith(f"grid-{row.activation}-{row.likelihood}".replace("_", "-")) for row in grid.ROWS)
