"""Quantities by implementations: for every pair the worst digits and how many checks passed, from several report files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Sequence

from ..quantities import QUANTITIES
from .records import GOOD, Record, Report

# From worst to best, as in the report of one run: a cell is as good as its worst check.
SEVERITY = ("ERROR", "MISMATCH", "XPASS", "SKIP", "INCONCLUSIVE", "UNDERPOWERED", "LOSSY", "XFAIL", "PASS", "EXACT",
            "UNSUPPORTED")
COLUMNS = 5  # that fit beside the quantities in 80 columns
WIDTH = 10


@dataclass(frozen=True)
class Cell:
    """All checks of one quantity: the worst verdict, the worst digits, and how many of those asked passed."""

    verdict: str
    digits: float | None
    passed: int
    asked: int

    @property
    def text(self) -> str:
        """Digits, or a word where there are none; with a mark where something is wrong."""
        if not self.asked:
            return "–"
        shown = self.verdict if self.digits is None else f"{self.digits:.1f}"
        return f"{shown} {MARKS[self.verdict]}".rstrip()


MARKS = {"ERROR": "✗", "MISMATCH": "✗", "XPASS": "✗", "SKIP": "…", "INCONCLUSIVE": "?", "UNDERPOWERED": "?", "LOSSY": "~",
         "XFAIL": "x", "PASS": "", "EXACT": "", "UNSUPPORTED": ""}


@dataclass(frozen=True)
class Matrix:
    """Reports side by side; `rows` are the quantities that any of them was asked for."""

    reports: tuple[Report, ...]

    @property
    def rows(self) -> list[str]:
        """In the kit's order; names that it does not know, of other versions, come last."""
        asked = {check.quantity for report in self.reports for check in report.checks if check.verdict != "UNSUPPORTED"}
        return [name for name in QUANTITIES if name in asked] + sorted(asked - set(QUANTITIES))

    def cells(self, quantity: str) -> list[Cell]:
        """One for each report."""
        return [cell([check for check in report.checks if check.quantity == quantity]) for report in self.reports]


def cell(checks: Sequence[Record]) -> Cell:
    """What the checks of one quantity come to."""
    asked = [check for check in checks if check.verdict != "UNSUPPORTED"]
    worst = min((check.verdict for check in asked), key=SEVERITY.index, default="UNSUPPORTED")
    digits = [check.digits for check in asked if check.digits is not None]
    return Cell(worst, min(digits, default=None), sum(check.verdict in GOOD for check in asked), len(asked))


def render(matrix: Matrix) -> str:
    """As text of 80 columns: the implementations by number, several tables if there are many."""
    names = [f"  {number}  {report.title} ({report.tally})" for number, report in enumerate(matrix.reports, 1)]
    tables = [_table(matrix, range(start, min(start + COLUMNS, len(matrix.reports))))
              for start in range(0, len(matrix.reports), COLUMNS)]
    key = "worst digits over the cases; ✗ wrong, ~ lossy, x known failure, – not supported"
    return "\n\n".join(["\n".join(["implementations", *names]), *tables, key]) + "\n"


def _table(matrix: Matrix, columns: range) -> str:
    head = f"{'quantity':<28}" + "".join(f"{column + 1:>{WIDTH}}" for column in columns)
    rows = [f"{name:<28}" + "".join(f"{_short(cells[column]):>{WIDTH}}" for column in columns)
            for name in matrix.rows for cells in [matrix.cells(name)]]
    return "\n".join([head, *rows])


def _short(cell: Cell) -> str:
    return cell.text[:WIDTH - 1]
