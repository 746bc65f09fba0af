"""A run against an older report: what fails now and did not then, what failed then and does not now, what is no longer checked.

A baseline lets a project with known failures ask for "nothing worse than that". It must be kept true: a failure that is gone
(FIXED) or is no longer asked for (STALE) fails until the baseline is written again, as an unexpected pass does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterable

from ..run import Run, identity
from .records import Report

MAX_SHOWN = 20


@dataclass(frozen=True)
class Changes:
    """The checks, as case::quantity, that are new failures, fixed, stale, or failures as before."""

    new: tuple[str, ...]
    fixed: tuple[str, ...]
    stale: tuple[str, ...]
    known: tuple[str, ...]

    def exit_code(self, without: int) -> int:
        """Of a run that would end with `without`: 0 and 1 depend on the changes, what did not run stays as it is."""
        changed = bool(self.new or self.fixed or self.stale)
        return int(changed) if without in (0, 1) else without


def compare(run: Run, old: Report, strict_digits: bool = False) -> Changes:
    """The changes since `old`. What was not asked this time (-k) is neither fixed nor stale; what exists no more is stale."""
    now = {f"{check.case}::{check.quantity}": check.verdict.name for check in run.checks}
    before = {check.id: check.verdict for check in old.checks if check.fails(strict_digits)}
    worst = {"MISMATCH", "ERROR", "XPASS"} | ({"LOSSY"} if strict_digits else set())
    failing = [name for name, verdict in now.items() if verdict in worst]
    return Changes(
        new=tuple(name for name in failing if before.get(name) != now[name]),
        fixed=tuple(name for name in before if name in now and now[name] not in worst | {"UNSUPPORTED", "SKIP"}),
        stale=tuple(name for name in before if now.get(name) == "UNSUPPORTED" or name in _gone(run, before)),
        known=tuple(name for name in failing if before.get(name) == now[name]))


def _gone(run: Run, names: Iterable[str]) -> set[str]:
    """Those whose case was asked about in full, but which do not exist any more."""
    asked = {identity(case, quantity) for case, quantities in run.plan for quantity in quantities}
    whole = {case.id for case, quantities in run.plan if {q.certified_by for q in quantities} >= set(case.values)}
    return {name for name in names if name not in asked and name.partition("::")[0] in whole}


def render(changes: Changes, path: str, outcome: str) -> str:
    """The changes in words; the last line has the outcome that counts."""
    counts = (f"{outcome} against {path}: {len(changes.new)} NEW, {len(changes.fixed)} FIXED, {len(changes.stale)} STALE, "
              f"{len(changes.known)} as before")
    lines = [f"{label} {name}" for label, names in (("NEW", changes.new), ("FIXED", changes.fixed), ("STALE", changes.stale))
             for name in names]
    more = [f"... and {len(lines) - MAX_SHOWN} more"] if len(lines) > MAX_SHOWN else []
    again = ["the baseline is out of date: write it again with --report"] if changes.fixed or changes.stale else []
    return "\n".join([*(f"  {line}" for line in lines[:MAX_SHOWN] + more + again), counts]) + "\n"
