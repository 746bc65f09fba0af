"""What there is: cases, quantities, adapters and conventions, as tables of 80 columns."""

from __future__ import annotations

import difflib
import textwrap
from typing import Callable, Iterable

from . import case as _case, conventions, load
from .adapters.faults import ALL
from .case import Case
from .quantities import QUANTITIES, Quantity, nearest

WIDTH = 80


class Unknown(Exception):
    """A name that stands for nothing."""


def find(case_id: str, name: str) -> tuple[Case, Quantity]:
    """The case and the quantity of these names; Unknown with the nearest names, or if the one has no value for the other."""
    known = _case.ids()
    if case_id not in known:
        raise Unknown(_unknown("case", case_id, difflib.get_close_matches(case_id, known, n=3), "cases"))
    if name not in QUANTITIES:
        raise Unknown(_unknown("quantity", name, nearest(name), "quantities"))
    case, = _case.read_all(case_id)
    quantity = QUANTITIES[name]
    if quantity.certified_by not in case.values:
        raise Unknown(f"case {case_id} has no certified {quantity.certified_by}")
    return case, quantity


def _unknown(kind: str, name: str, near: list[str], section: str) -> str:
    return f"no {kind} {name!r}; " + (f"nearest: {', '.join(near)}" if near else f"see `refbnn list {section}`")


def cases() -> str:
    """One line a case: its id, numbers of parameters and data, title."""
    rows = [(case.id, str(len(case.problem.theta)), str(len(case.problem.X)), case.title) for case in _case.read_all("*")]
    return _table("cases", ("id", "p", "n", "title"), rows)


def quantities() -> str:
    """One line a quantity: name, axes, formula. The adapter's function has underscores for dots."""
    return _table("quantities (the adapter's function has underscores for dots)", ("name", "axes", "formula"),
                  [(q.name, q.axes or "-", q.formula) for q in QUANTITIES.values()])


def adapters() -> str:
    """One line a built-in adapter: whether it can run here, or how to make it. Those with planted faults come last."""
    rows = [(name, "missing", f"{entry.about}; {entry.install}") if entry.missing() else (name, "ready", entry.about)
            for name, entry in load.BUILTIN.items()]
    planted = [(load.FAULTS + name, fault.about) for name, fault in ALL.items()]
    return (_table("adapters (or module:object, path.py, 'cmd:PROGRAM ARGS')", ("name", "here", "what"), rows) + "\n\n"
            + _table("adapters with planted faults, to see what a report looks like", ("name", "what is wrong"), planted))


def conventions_table() -> str:
    """Every convention with its allowed values; the first is the default."""
    rows = [(axis.name if first else "", value, meaning) for axis in conventions.AXES
            for first, (value, meaning) in zip([True] + [False] * len(axis.meanings), axis.meanings.items())]
    return _table("conventions (the first value is the default)", ("name", "value", "meaning"), rows)


SECTIONS: dict[str, Callable[[], str]] = {"quantities": quantities, "adapters": adapters,
                                          "conventions": conventions_table, "cases": cases}


def _table(title: str, heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Aligned columns; the last one is wrapped."""
    rows = [heads, *rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(heads) - 1)]
    lines = []
    for row in rows:
        lead = "  " + "".join(f"{cell:<{width}}  " for cell, width in zip(row, widths))
        wrapped = textwrap.wrap(row[-1], max(WIDTH - len(lead), 24), break_on_hyphens=False) or [""]
        lines += [(lead + wrapped[0]).rstrip(), *(" " * len(lead) + rest for rest in wrapped[1:])]
    return "\n".join([title, *lines])
