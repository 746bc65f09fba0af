"""The report as JSON lines: a header, one line a check, a summary."""

from __future__ import annotations

import json
import math
import platform
from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any, Sequence

import numpy

import refbnn

from ..compare import Verdict
from ..diagnose import Finding
from ..run import Check, Run, verdicts
from .records import FORMAT

Findings = Sequence[tuple[Verdict, Finding]]


def lines(run: Run, findings: Findings, strict_digits: bool = False) -> list[dict[str, Any]]:
    """The objects of the report, one a line."""
    return [_header(run), *(_check(check) for check in run.checks), _summary(run, findings, strict_digits)]


def text(objects: list[dict[str, Any]]) -> str:
    """The lines of the file."""
    return "".join(json.dumps(item, ensure_ascii=False, allow_nan=False) + "\n" for item in objects)


def _header(run: Run) -> dict[str, Any]:
    subject = run.subject
    return {"kind": "header", "format": FORMAT, "refbnn": refbnn.__version__,
            "adapter": {"spec": subject.spec, "name": subject.name, "version": subject.version,
                        "conventions": subject.conventions, "known_failures": subject.known_failures},
            "python": platform.python_version(), "numpy": numpy.__version__, "platform": platform.platform(),
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"), "seed": None,
            "cases": {case.id: case.revision for case, _ in run.plan}}


def _check(check: Check) -> dict[str, Any]:
    item = asdict(check)
    numbers = {key: value if math.isfinite(value) else None for key, value in item.items() if isinstance(value, float)}
    return {"kind": "check", **item, **numbers, "verdict": check.verdict.name}


def _summary(run: Run, findings: Findings, strict_digits: bool) -> dict[str, Any]:
    return {"kind": "summary", "ran": run.ran, "declared": run.declared, "total": run.total,
            "verdicts": {verdict.name: number for verdict, number in sorted(verdicts(run.checks).items(), key=str)},
            "findings": [_finding(verdict, finding) for verdict, finding in findings],
            "seconds": run.seconds, "stopped": run.stopped, "exit_code": run.exit_code(strict_digits)}


def _finding(verdict: Verdict, finding: Finding) -> dict[str, Any]:
    return {"verdict": verdict.name, **asdict(finding), "evidence": list(finding.evidence)}
