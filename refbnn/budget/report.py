"""A budget as text for a terminal, and as a file in the format of its name: .json, .csv, .md, .svg."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence

from refbnn import files
from refbnn.budget import figure
from refbnn.budget.budgeting import Budget
from refbnn.budget.table import Table, csv_of


LEGEND = "In parentheses: the error, in units of the last digit; without them it is less than half a unit."


def text(found: Budget, more: Sequence[Table] = ()) -> str:
    """Facts and tables, but not those by input."""
    tables = (found.steps, found.predictions, found.evidence, *more)
    return "\n\n".join([_facts(found), *(f"{table.title}\n{table.text()}" for table in tables), LEGEND]) + "\n"


def markdown(found: Budget, more: Sequence[Table] = ()) -> str:
    """All tables."""
    facts = "\n".join(f"* {name}: {value}" for name, value in found.facts.items())
    return "\n\n".join([facts, *(f"### {table.title}\n\n{table.markdown()}" for table in _all(found, more))]) + "\n"


def plain(found: Budget, more: Sequence[Table] = ()) -> str:
    """JSON: {"facts": ..., "tables": [...]}, see Table.plain."""
    return json.dumps({"facts": found.facts, "tables": [table.plain() for table in _all(found, more)]}, indent=1) + "\n"


def long_csv(found: Budget, more: Sequence[Table] = ()) -> str:
    """A number a line."""
    return csv_of(_all(found, more))


class FormatError(ValueError):
    """A file name that says no format, or where no file can be written."""


FORMATS: dict[str, Callable[..., str]] = {
    ".json": plain, ".csv": long_csv, ".md": markdown, ".svg": lambda found, more=(): figure.svg(found.predictions)}


def writer_of(path: str) -> Callable[..., str]:
    """What makes the text of such a file, asked before the work is done. Raises FormatError for another ending or no folder."""
    ending = os.path.splitext(path)[1].lower()
    if ending not in FORMATS:
        raise FormatError(f"expected a file that ends in {', '.join(FORMATS)}, got {path}")
    if trouble := files.unwritable(path):
        raise FormatError(trouble)
    return FORMATS[ending]


def _all(found: Budget, more: Sequence[Table]) -> list[Table]:
    return [*found.tables.values(), *more]


def _facts(found: Budget) -> str:
    facts = found.facts
    exact = facts["log evidence"]
    sizes = "-".join(map(str, facts["sizes"]))
    return (f"{sizes} network, {facts['parameters']} parameters, {facts['data']} data, {facts['likelihood']}; "
            f"log evidence {exact['value']:.8g} ±{exact['error']:.0e} "
            f"({facts['exact posterior']}); {facts['modes found']} modes found, "
            f"the best with {facts['copies of the best mode']} copies")
