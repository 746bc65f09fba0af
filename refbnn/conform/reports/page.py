"""Reports as one HTML page that needs no network and no script: heat maps of digits, light and dark, wide and narrow.

Everything that an adapter or a case can say goes through `html.escape`, and the page's own policy forbids scripts and requests.
"""

from __future__ import annotations

import html
from pathlib import Path
from typing import Iterable, Sequence

from ..compare import MAX_DIGITS
from .matrix import MARKS, Cell, Matrix
from .records import Record, Report

STEPS = 8  # shades of digits, .s0 to .s7 in the style
STYLE = Path(__file__).with_name("page.css")
BAD = ("MISMATCH", "ERROR", "XPASS")
MEANINGS = {"EXACT": "every bit right", "PASS": "within the tolerance", "LOSSY": "right formula, digits lost",
            "MISMATCH": "wrong", "ERROR": "no answer", "XFAIL": "known failure", "XPASS": "known failure that passes",
            "UNSUPPORTED": "declared gap",
            "SKIP": "not run", "UNDERPOWERED": "tolerance too wide", "INCONCLUSIVE": "undecided"}
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
{body}
</body>
</html>
"""


def escape(text: str) -> str:
    """The text, whatever it is, as text."""
    return html.escape(text, quote=True)


def _breakable(name: str) -> str:
    """A dotted name that may go on in the next line after a dot."""
    return escape(name).replace(".", ".<wbr>")


def render(report: Report) -> str:
    """One run: the outcome, causes, a table of quantities, the heat map of quantities by cases, and what did not pass."""
    parts = [_head(report), _findings(report), _section("Quantities", _quantities(report) + _remarks(report)),
             _section("Digits, quantity by case", _key() + _map(report)), _section("What did not pass", _troubles(report)),
             f"<p>ran {report.ran} / declared {report.declared} / total {report.total}</p>"]
    return _page(f"{report.title} under refbnn", parts)


def render_matrix(matrix: Matrix) -> str:
    """Several runs: the heat map of quantities by implementations."""
    parts = ["<h1>Quantities by implementations</h1>",
             "<p>Each cell: the worst number of right digits over all certified cases, then passed/asked.</p>",
             _key(), _grid(matrix), _section("Implementations", _implementations(matrix.reports))]
    return _page("Quantities by implementations", parts)


def _page(title: str, parts: Iterable[str]) -> str:
    return PAGE.format(title=escape(title), style=STYLE.read_text(encoding="utf-8"), body="\n".join(filter(None, parts)))


def _section(title: str, body: str) -> str:
    return f"<h2>{title}</h2>\n{body}" if body else ""


def _head(report: Report) -> str:
    words = {0: "passed", 1: "failed", 3: "incomplete", 4: "undecided"}
    outcome = words.get(report.exit_code, "interrupted")
    declared = ", ".join(f"{name} = {choice}" for name, choice in report.conventions.items()) or "the defaults"
    made = ", ".join(f"{name} {value}" for name, value in report.environment.items())
    tally = "".join(f"<li><b>{number}</b> {escape(verdict)} <span class=soft>{MEANINGS[verdict]}</span></li>"
                    for verdict, number in report.counts.most_common())
    why = f"<p>{escape(report.stopped)}</p>" if report.stopped else ""
    return (f"<h1>{escape(report.title)}: {outcome}</h1>\n<ul class=tally>{tally}</ul>{why}\n"
            f"<p class=soft>{escape(made)}; {escape(report.date)}. Conventions: {escape(declared)}.</p>")


def _findings(report: Report) -> str:
    told = "".join(f"<li><b>{escape(told.verdict)} {escape(told.quantity)}</b> {told.where}: {escape(told.text)}</li>"
                   for told in report.causes)
    return f"<h2>Why</h2>\n<ul>{told}</ul>" if told else ""


def _quantities(report: Report) -> str:
    single = Matrix((report,))
    rows = "".join(f"<tr><th scope=row>{_breakable(name)}</th><td class=number>{cell.passed}/{cell.asked}</td>"
                   f"<td class='number {_shade(cell.verdict, cell.digits)}'>{_number(cell.digits)}</td>"
                   f"<td>{cell.verdict}</td></tr>"
                   for name in single.rows for cell in single.cells(name))
    heads = "".join(f"<th scope=col>{name}</th>" for name in ("quantity", "passed", "digits", "verdict"))
    return _table("list", heads, rows, "<caption>Digits and verdict: of the worst case.</caption>") if rows else ""


def _remarks(report: Report) -> str:
    return "".join(f"<p class=soft>{escape(check.quantity)}, on {escape(check.case)} at worst: {escape(check.message)}</p>"
                   for check in report.remarks)


def _table(kind: str, heads: str, rows: str, caption: str = "") -> str:
    """A table in a box that scrolls sideways by itself."""
    return (f"<div class=scroll><table class={kind}>{caption}<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>")


def _map(report: Report) -> str:
    cases = list(dict.fromkeys(check.case for check in report.checks))
    found = {(check.quantity, check.case): check for check in report.checks}
    heads = "".join(f"<th scope=col title='{escape(case)}'><span>{escape(case)}</span></th>" for case in cases)
    rows = "".join(f"<tr><th scope=row title='{escape(name)}'>{_breakable(name)}</th>"
                   + "".join(_spot(found.get((name, case))) for case in cases) + "</tr>" for name in Matrix((report,)).rows)
    caption = "<caption>An empty cell: nothing is certified there, or not supported.</caption>"
    return _table("map", f"<th scope=col>quantity</th>{heads}", rows, caption)


def _spot(check: Record | None) -> str:
    if check is None or check.verdict == "UNSUPPORTED":
        return "<td></td>"
    digits = "" if check.digits is None else f", {_number(check.digits)} digits"
    return (f"<td class={_shade(check.verdict, check.digits)} title='{escape(check.id)}: {check.verdict}{digits}'>"
            f"{MARKS[check.verdict]}</td>")


def _grid(matrix: Matrix) -> str:
    heads = "".join(f"<th scope=col>{escape(report.title)}</th>" for report in matrix.reports)
    rows = "".join(f"<tr><th scope=row title='{escape(name)}'>{_breakable(name)}</th>"
                   + "".join(map(_square, matrix.cells(name))) + "</tr>" for name in matrix.rows)
    return _table("grid", f"<th scope=col>quantity</th>{heads}", rows)


def _square(cell: Cell) -> str:
    if not cell.asked:
        return "<td class=gap>–</td>"
    return (f"<td class={_shade(cell.verdict, cell.digits)} title='{MEANINGS[cell.verdict]}'>{cell.text}"
            f"<small>{cell.passed}/{cell.asked}</small></td>")


def _shade(verdict: str, digits: float | None) -> str:
    """The class of a cell: what is wrong, or else how many digits are right."""
    if verdict in BAD:
        return "bad"
    if verdict in ("LOSSY", "XFAIL"):
        return {"LOSSY": "lossy", "XFAIL": "known"}[verdict]
    if digits is None or verdict not in ("EXACT", "PASS"):
        return "open"
    return f"s{min(int(max(digits, 0.0) / MAX_DIGITS * STEPS), STEPS - 1)}"


def _number(digits: float | None) -> str:
    return "–" if digits is None else f"{digits:.1f}"


def _key() -> str:
    shades = "".join(f"<i class=s{i}></i>" for i in range(STEPS))
    marks = "".join(f"<span><i class={_shade(verdict, 0.0)}>{MARKS[verdict]}</i>{text}</span>" for verdict, text in (
        ("MISMATCH", "wrong, or no answer"), ("LOSSY", "digits lost"), ("XFAIL", "known failure"),
        ("SKIP", "not run or undecided")))
    return f"<div class=key><span>right to 0 <span>{shades}</span> 16 digits</span>{marks}</div>"


def _troubles(report: Report) -> str:
    troubles = [check for check in report.checks if check.verdict not in ("EXACT", "PASS", "UNSUPPORTED")]
    rows = "".join(f"<tr><td class=name>{escape(check.case)}</td><td class=name>{escape(check.quantity)}</td>"
                   f"<td>{check.verdict}</td><td class=number>{_number(check.digits)}</td>"
                   f"<td class=said>{escape(check.message)}</td></tr>" for check in troubles)
    heads = "".join(f"<th scope=col>{name}</th>" for name in ("case", "quantity", "verdict", "digits", "message"))
    return f"<details open><summary>{len(troubles)} checks</summary>{_table('list', heads, rows)}</details>" if troubles else ""


def _implementations(reports: Sequence[Report]) -> str:
    rows = "".join(f"<tr><td class=said>{escape(report.title)}</td><td>{escape(report.tally)}</td><td>{escape(report.date)}</td>"
                   f"<td class=said>{escape(', '.join(f'{key} {value}' for key, value in report.environment.items()))}</td></tr>"
                   for report in reports)
    heads = "".join(f"<th scope=col>{name}</th>" for name in ("implementation", "verdicts", "date", "made with"))
    return _table("list", heads, rows)
