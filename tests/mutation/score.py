"""Outcomes in a file, and the table that they make."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from pathlib import Path

KILLED = ("killed", "timeout", "crash")
Z = 1.959963984540054  # 95 %


def read(path: Path) -> dict[str, dict]:
    if not path.exists():
        return {}
    lines = path.read_text(encoding="utf-8").splitlines()
    return {one["mutant"]: one for one in map(json.loads, lines)}


def write(path: Path, outcomes: dict[str, dict]) -> None:
    """One line each, by name; the file is replaced at once."""
    partial = path.with_suffix(".part")
    partial.write_text("".join(json.dumps(outcomes[name]) + "\n" for name in sorted(outcomes)), encoding="utf-8")
    partial.replace(path)


def wilson(killed: int, tried: int) -> tuple[float, float]:
    """The 95 % interval for a share (Wilson 1927)."""
    share, spread = killed / tried, Z * Z / tried
    centre, half = share + spread / 2, Z * math.sqrt(share * (1 - share) / tried + spread / (4 * tried))
    return (centre - half) / (1 + spread), (centre + half) / (1 + spread)


def table(outcomes: list[dict]) -> str:
    """Killed of tried, with the interval, by folder and in all."""
    by_folder = defaultdict(list)
    for one in outcomes:
        parts = Path(one["module"]).parts
        by_folder["/".join(parts[:2]) + "/" if len(parts) > 2 else "refbnn/*.py"].append(one["outcome"] in KILLED)
    rows = [*sorted(by_folder.items()), ("all", [hit for hits in by_folder.values() for hit in hits])]
    return "\n".join(_row(name, sum(hits), len(hits)) for name, hits in rows if hits)


def _row(name: str, killed: int, tried: int) -> str:
    low, high = wilson(killed, tried)
    return f"{name:24s} {killed:5d} of {tried:5d} killed: {killed / tried:6.1%}  ({low:.1%} to {high:.1%})"
