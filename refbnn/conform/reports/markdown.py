"""Reports in Markdown, to be pasted into an issue or a pull request. Whatever an adapter says is shown, never obeyed."""

from __future__ import annotations

import html
import re

from .matrix import Matrix, cell
from .records import Report

MAX_ROWS = 200
SPECIAL = re.compile(r"([\\`*_{}\[\]()#+!|~@:])")


def escape(text: str) -> str:
    """The text as plain words in any place of a page or a table."""
    return SPECIAL.sub(r"\\\1", html.escape(text))


def render(report: Report) -> str:
    """One run: what was checked, a line a quantity, causes, and what failed."""
    sections = [f"### {escape(report.title)}: {_outcome(report)}", _environment(report), _quantities(report), _findings(report),
                _remarks(report), _failures(report), f"ran {report.ran} / declared {report.declared} / total {report.total}"]
    return "\n\n".join(section for section in sections if section) + "\n"


def _outcome(report: Report) -> str:
    words = {0: "passed", 1: "failed", 3: "incomplete", 4: "undecided"}
    return f"{words.get(report.exit_code, 'interrupted')} ({report.tally})"


def _environment(report: Report) -> str:
    declared = ", ".join(f"{name} = {choice}" for name, choice in report.conventions.items()) or "the defaults"
    made = ", ".join(f"{name} {value}" for name, value in report.environment.items())
    return f"{escape(made)}; {escape(report.date)}. Conventions: {escape(declared)}."


def _quantities(report: Report) -> str:
    names = dict.fromkeys(check.quantity for check in report.checks)
    cells = {name: cell([check for check in report.checks if check.quantity == name]) for name in names}
    rows = [f"| {escape(name)} | {found.passed}/{found.asked} | {_digits(found.digits)} | {found.verdict} |"
            for name, found in cells.items() if found.asked]
    return "\n".join(["| quantity | passed | worst digits | worst verdict |", "|---|---|---|---|", *rows]) if rows else ""


def _digits(digits: float | None) -> str:
    return "–" if digits is None else f"{digits:.1f}"


def _findings(report: Report) -> str:
    lines = [f"* **{escape(told.verdict)} {escape(told.quantity)}** {told.where}: {escape(told.text)}" for told in report.causes]
    return "\n".join(lines)


def _remarks(report: Report) -> str:
    return "\n".join(f"* {escape(check.quantity)}, on {escape(check.case)} at worst: {escape(check.message)}"
                     for check in report.remarks)


def _failures(report: Report) -> str:
    failing = [check for check in report.checks if check.fails() or check.verdict in ("LOSSY", "XFAIL", "SKIP")]
    rows = [f"| {escape(check.id)} | {check.verdict} | {_digits(check.digits)} | {escape(check.message)} |"
            for check in failing[:MAX_ROWS]]
    more = [f"\n... and {len(failing) - MAX_ROWS} more"] if len(failing) > MAX_ROWS else []
    head = [f"<details><summary>{len(failing)} checks that did not pass</summary>", "", "| check | verdict | digits | message |",
            "|---|---|---|---|"]
    return "\n".join([*head, *rows, *more, "", "</details>"]) if rows else ""


def render_matrix(matrix: Matrix) -> str:
    """Quantities by implementations."""
    head = ["quantity", *(report.title for report in matrix.reports)]
    lines = ["| " + " | ".join(map(escape, head)) + " |", "|---" * len(head) + "|"]
    for name in matrix.rows:
        cells = [f"{found.text} ({found.passed}/{found.asked})" if found.asked else "–" for found in matrix.cells(name)]
        lines.append(f"| {escape(name)} | " + " | ".join(map(escape, cells)) + " |")
    key = "Worst digits over the cases (passed/asked); ✗ wrong, ~ digits lost, x known failure, – not supported."
    made = [f"* {escape(report.title)}: {escape(report.tally)}; {escape(report.date)}" for report in matrix.reports]
    return "\n".join([*lines, "", escape(key), "", *made]) + "\n"
