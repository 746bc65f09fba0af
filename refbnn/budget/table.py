"""Tables whose numbers carry their errors, as text, Markdown, CSV in long form and plain data."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from refbnn.quadrature import Integral

Cell = str | int | Integral


@dataclass(frozen=True, eq=False)
class Table:
    """Rows of words and numbers. `labels` is how many of the columns, from the left, name a row."""

    title: str
    labels: int
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def row(self, *labels: str) -> dict[str, Cell]:
        """The row with these labels, by column. Raises KeyError unless there is exactly one."""
        found = [row for row in self.rows if row[:len(labels)] == labels]
        if len(found) != 1:
            raise KeyError(f"{self.title}: expected one row {labels}, got {len(found)} of {[r[:self.labels] for r in self.rows]}")
        return dict(zip(self.columns, found[0]))

    def plain(self) -> dict:
        """Strings and numbers alone, for JSON: a number with an error is {"value": ..., "error": ...}."""
        rows = [[{"value": float(c.value), "error": float(c.error)} if isinstance(c, Integral) else c for c in row]
                for row in self.rows]
        return {"title": self.title, "labels": self.labels, "columns": list(self.columns), "rows": rows}

    def text(self) -> str:
        """Aligned columns, the labels of a row as one."""
        return self._lines(lambda cells, widths: "  ".join(c.ljust(w) for c, w in zip(cells, widths)).rstrip(), "-")

    def markdown(self) -> str:
        """The same as a table of Markdown."""
        return self._lines(lambda cells, widths: "| " + " | ".join(c.ljust(w) for c, w in zip(cells, widths)) + " |", "-")

    def long(self) -> list[tuple]:
        """A line for each number or word behind the labels: (table, labels, column, value, error)."""
        return [(self.title, " | ".join(map(str, row[:self.labels])), column, *_parts(cell))
                for row in self.rows for column, cell in zip(self.columns[self.labels:], row[self.labels:]) if cell != ""]

    def _lines(self, join: Callable, rule: str) -> str:
        cells = [[", ".join(row[:self.labels]), *map(shown, row[self.labels:])] for row in (self.columns, *self.rows)]
        widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
        lines = [join(row, widths) for row in cells]
        return "\n".join([lines[0], join([rule * w for w in widths], widths), *lines[1:]])


def from_plain(plain: dict) -> Table:
    """The inverse of Table.plain."""
    rows = tuple(tuple(Integral(c["value"], c["error"]) if isinstance(c, dict) else c for c in row) for row in plain["rows"])
    return Table(plain["title"], plain["labels"], tuple(plain["columns"]), rows)


def shown(cell: Cell) -> str:
    """A number to four significant digits or to those that its error leaves; the error in units of the last digit in parentheses.

    No parentheses: the error is less than half of a unit of the last digit.
    """
    if not isinstance(cell, Integral):
        return str(cell)
    value, error = float(cell.value), float(cell.error)
    if value == 0 and error == 0:
        return "0"
    size = math.floor(math.log10(max(abs(value), error)))
    last = max(size - 3, math.floor(math.log10(error)) if error else size - 3)  # the decimal place that is shown last
    doubt = f"({math.ceil(error / 10.0**last)})" if error >= 0.5 * 10.0**last else ""
    value = value if abs(value) >= 0.5 * 10.0**last else 0.0
    if size >= -4:
        return f"{round(value, -last):.{max(0, -last)}f}{doubt}"
    return f"{value / 10.0**size:.{size - last}f}{doubt}e{size}"


def csv_of(tables: Iterable[Table]) -> str:
    """All tables as one file in long form, numbers to the last digit."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("table", "row", "column", "value", "error"))
    for table in tables:
        writer.writerows(table.long())
    return out.getvalue()


def _parts(cell: Cell) -> tuple:
    if isinstance(cell, Integral):
        return repr(float(cell.value)), repr(float(cell.error))
    return cell, ""
