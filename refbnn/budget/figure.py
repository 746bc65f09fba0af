"""The divergences of a budget as horizontal bars with error marks, written as SVG by hand."""

from __future__ import annotations

import math
from html import escape

from refbnn.budget.table import Table

ROW, LEFT, WIDE, MARGIN, HEAD = 22, 300, 420, 24, 46
COLOURS = {"inside": "#0072B2", "outside": "#D55E00"}


def svg(predictions: Table, regions: tuple[str, ...] = ("inside", "outside")) -> str:
    """A row a treatment, a bar a region, KL on a logarithmic axis; a line at the end of a bar spans its error."""
    rows = [dict(zip(predictions.columns, row)) for row in predictions.rows[1:]]
    values = [float(row[f"KL {region}"].value) for row in rows for region in regions]
    low, high = _decades([value for value in values if value > 0])
    at = lambda value: LEFT + WIDE * (math.log10(min(max(value, 10**low), 10**high)) - low) / (high - low)
    height = HEAD + ROW * len(rows) + MARGIN
    parts = [_axis(low, high, at, height), *(_key(i, region) for i, region in enumerate(regions))]
    for i, row in enumerate(rows):
        top = HEAD + ROW * i
        name = f"{row['model']}: {row['inference']}" + (f", {row['integral']}" if row["integral"] != "exact" else "")
        parts.append(_text(LEFT - 8, top + 13, name, "end"))
        parts += [_bar(top + 2 + 9 * j, row[f"KL {region}"], at, COLOURS[region]) for j, region in enumerate(regions)]
    title = "KL divergence of each prediction from the exact one, in nats"
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDE + MARGIN}" height="{height}" role="img" '
            f'font-family="sans-serif" font-size="11"><title>{title}</title>'
            f'<rect width="100%" height="100%" fill="white"/>{"".join(parts)}</svg>\n')


def _decades(values: list[float]) -> tuple[int, int]:
    low, high = math.floor(math.log10(min(values, default=1e-3))), math.ceil(math.log10(max(values, default=1.0)))
    return max(low, high - 8), max(high, low + 1)


def _bar(top: float, number: object, at, colour: str) -> str:
    value, error = float(number.value), float(number.error)
    start, end, near, far = at(0.0), at(value), at(value - error), at(value + error)
    return (f'<rect x="{start:.1f}" y="{top}" width="{end - start:.1f}" height="8" fill="{colour}"/>'
            f'<line x1="{near:.1f}" x2="{far:.1f}" y1="{top + 4}" y2="{top + 4}" stroke="black"/>')


def _axis(low: int, high: int, at, height: int) -> str:
    lines = [f'<line x1="{at(10.0**d):.1f}" x2="{at(10.0**d):.1f}" y1="{HEAD - 6}" y2="{height - MARGIN}" stroke="#cccccc"/>'
             + _text(at(10.0**d), HEAD - 10, f"{10.0**d:g}", "middle") for d in range(low, high + 1)]
    return "".join(lines)


def _key(i: int, region: str) -> str:
    x = LEFT + 130 * i
    square = f'<rect x="{x}" y="8" width="10" height="10" fill="{COLOURS[region]}"/>'
    return square + _text(x + 15, 17, f"KL {region}, nats", "start")


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y}" text-anchor="{anchor}">{escape(words)}</text>'
