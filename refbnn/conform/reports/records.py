"""A run as it stands in a report file: what every rendering is made from, whether the run was just made or read back."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any, Iterable

from ..compare import Verdict
from ..protocol import one_line, printable

FORMAT = 1
MAX_BYTES = 200_000_000
GOOD = ("EXACT", "PASS")
FAILING = ("MISMATCH", "ERROR", "XPASS")


class ReportError(ValueError):
    """A file that is no report: which line, what was expected."""


@dataclass(frozen=True)
class Record:
    """One check: its verdict by name, and its digits where there was an answer to measure."""

    case: str
    quantity: str
    verdict: str
    message: str
    digits: float | None
    tolerance: float | None
    seconds: float | None

    @property
    def id(self) -> str:
        """case::quantity."""
        return f"{self.case}::{self.quantity}"

    def fails(self, strict_digits: bool = False) -> bool:
        """Whether this verdict ends a run with exit code 1."""
        return self.verdict in FAILING or (strict_digits and self.verdict == "LOSSY")


@dataclass(frozen=True)
class Told:
    """A finding as a report tells it: verdict, quantity, on how many cases of how many, and the text.

    Several told together: their names, and the most cases of one.
    """

    verdict: str
    quantity: str
    cases: int
    total: int
    text: str
    together: bool = False

    @property
    def where(self) -> str:
        """On how many cases of how many."""
        return f"on {'up to ' * self.together}{self.cases} of {self.total} cases"


@dataclass(frozen=True)
class Report:
    """One adapter's run, with what it ran on."""

    name: str
    version: str
    spec: str
    conventions: dict[str, str]
    environment: dict[str, str]
    date: str
    checks: tuple[Record, ...]
    findings: tuple[Told, ...]
    ran: int
    declared: int
    total: int
    exit_code: int
    stopped: str
    seconds: float

    @property
    def title(self) -> str:
        """Name and version."""
        return " ".join(filter(None, (self.name, self.version)))

    @property
    def counts(self) -> Counter[str]:
        """How often each verdict was given."""
        return Counter(check.verdict for check in self.checks)

    @property
    def remarks(self) -> tuple[Record, ...]:
        """Of each quantity whose passed checks say something, such as what draws could have shown, the one of fewest digits."""
        told: dict[str, Record] = {}
        for check in self.checks:
            if check.verdict in GOOD and check.message and check.digits is not None:
                told[check.quantity] = min(told.get(check.quantity, check), check, key=lambda each: each.digits)
        return tuple(told.values())

    @property
    def causes(self) -> list[Told]:
        """The findings, those that say the same of several quantities together."""
        groups: dict[tuple[str, str], list[Told]] = {}
        for told in self.findings:
            groups.setdefault((told.verdict, told.text), []).append(told)
        most = {key: max(members, key=lambda told: told.cases) for key, members in groups.items()}
        return [replace(most[key], quantity=", ".join(told.quantity for told in members), together=len(members) > 1)
                for key, members in groups.items()]

    @property
    def tally(self) -> str:
        """How often each verdict was given, in words, "3 MISMATCH, 12 PASS"."""
        return ", ".join(f"{number} {verdict}" for verdict, number in self.counts.most_common())


def read(path: str) -> Report:
    """The report in a JSONL file; ReportError says what is wrong with it."""
    try:
        with open(path, "rb") as stream:
            text = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise ReportError(f"cannot read {one_line(path)}: {getattr(error, 'strerror', None) or error}") from None
    return parse(text, path)


def parse(text: bytes, name: str) -> Report:
    """The report in the bytes of a file of that name."""
    if len(text) > MAX_BYTES:
        raise ReportError(f"{one_line(name)}: more than {MAX_BYTES} bytes")
    lines = [_line(f"{one_line(name)}: line {number}", line) for number, line in enumerate(text.split(b"\n"), 1) if line.strip()]
    return report(lines, one_line(name))


def report(lines: Iterable[dict[str, Any]], name: str = "report") -> Report:
    """The report in the objects of its lines: a header, the checks, a summary."""
    header, *checks, summary = _ends([_Fields(name, line) for line in lines], name)
    adapter = _Fields(name, header.get("adapter", dict))
    seen = [_record(check) for check in checks]
    if len({record.id for record in seen}) < len(seen):
        twice = next(key for key, number in Counter(record.id for record in seen).items() if number > 1)
        raise ReportError(f"{name}: {one_line(twice)} stands there twice")
    return Report(adapter.text("name"), adapter.text("version"), adapter.text("spec"), adapter.table("conventions"),
                  {key: header.text(key) for key in ("refbnn", "python", "numpy", "platform")}, header.text("date"), tuple(seen),
                  tuple(_told(_Fields(name, item), seen) for item in summary.get("findings", list)), *(
                      summary.count(key) for key in ("ran", "declared", "total", "exit_code")), summary.text("stopped"),
                  summary.number("seconds") or 0.0)


def _line(where: str, line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        raise ReportError(f"{where}: not a line of JSON") from None
    if not isinstance(found, dict):
        raise ReportError(f"{where}: expected a JSON object")
    return found


def _ends(lines: list[_Fields], name: str) -> list[_Fields]:
    """The lines, once the first is a header, the last a summary and all others checks."""
    kinds = [line.item.get("kind") for line in lines]
    if len(kinds) < 2 or kinds[0] != "header" or kinds[-1] != "summary" or any(kind != "check" for kind in kinds[1:-1]):
        raise ReportError(f"{name}: expected a header, checks and a summary, as `refbnn conform --report FILE.jsonl` writes them")
    if lines[0].item.get("format") != FORMAT:
        raise ReportError(f"{name}: expected format {FORMAT}, got {one_line(str(lines[0].item.get('format')))}")
    return lines


def _record(check: _Fields) -> Record:
    verdict = check.text("verdict")
    if verdict not in Verdict.__members__:
        raise ReportError(f"{check.name}: unknown verdict {one_line(verdict)!r}")
    return Record(check.text("case"), check.text("quantity"), verdict, check.text("message"), check.number("digits"),
                  check.number("tolerance"), check.number("seconds"))


def _told(finding: _Fields, checks: list[Record]) -> Told:
    """A cause; or else what is evident, and what is said of the worst check."""
    evidence, about = finding.get("evidence", list), (finding.text("quantity"), finding.text("verdict"))
    if finding.item.get("cause") is not None:
        parts = _Fields(finding.name, finding.get("cause", dict))
        text = f"{parts.text('sentence')}: {parts.text('advice')}."
    else:
        worst = [check.message for check in sorted((check for check in checks if (check.quantity, check.verdict) == about),
                                                   key=lambda check: check.digits or 0.0)[:1]]
        text = "; ".join(filter(None, [*(printable(item) for item in evidence if isinstance(item, str)), *worst]))
    return Told(finding.text("verdict"), finding.text("quantity"), finding.count("cases"), finding.count("total"),
                text or "nothing in the search comes near")


@dataclass(frozen=True)
class _Fields:
    """An object whose entries are asked for by kind; ReportError for another kind. Texts come out printable."""

    name: str
    item: Any

    def get(self, key: str, kind: type) -> Any:
        found = self.item.get(key) if isinstance(self.item, dict) else None
        if not isinstance(found, kind):
            raise ReportError(f"{self.name}: {key}: expected {_KINDS[kind]}, got {one_line(ascii(found))[:60]}")
        return found

    def text(self, key: str) -> str:
        return printable(self.get(key, str))

    def table(self, key: str) -> dict[str, str]:
        found = self.get(key, dict)
        return {printable(name): printable(value) if isinstance(value, str) else "" for name, value in found.items()}

    def number(self, key: str) -> float | None:
        """A finite number, or null."""
        found = self.item.get(key)
        if found is None:
            return None
        if type(found) not in (int, float) or not abs(found) < math.inf or abs(found) > 1e308:
            raise ReportError(f"{self.name}: {key}: expected a finite number or null, got {one_line(ascii(found))[:60]}")
        return float(found)

    def count(self, key: str) -> int:
        found = self.item.get(key) if isinstance(self.item, dict) else None
        if type(found) is not int or not 0 <= found < 10 ** 9:
            raise ReportError(f"{self.name}: {key}: expected a count, got {one_line(ascii(found))[:60]}")
        return found


_KINDS: dict[type, str] = {str: "a text", dict: "an object", list: "a list"}
