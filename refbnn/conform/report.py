"""The report on a terminal: one line a quantity, then causes, gaps and the count, in 80 columns, with or without colour."""

from __future__ import annotations

import os
import re
import textwrap
from collections import Counter
from dataclasses import dataclass
from typing import Iterable, Sequence, TextIO

from .compare import Verdict
from .diagnose import Finding
from .protocol import printable
from .quantities import QUANTITIES
from .run import Check, Run, verdicts

WIDTH = 80
VERDICT_WIDTH = 25
MAX_GROUPS = 12
MAX_NAMES = 40
NUMBER = re.compile(r"-?\d+(\.\d+)?(e[+-]?\d+)?")
SCALED = re.compile(r"\bfactor:|:[^+]*,")  # keys of causes in which numbers of the problem stand
SCALES = "N: data; C: outputs, C(y): of them those a loss sums over; σ²: noise variance; τ: prior precision; t: draws."
SLOW = 1.0

# From worst to best: a line shows the worst verdict of its quantity.
SEVERITY = (Verdict.ERROR, Verdict.MISMATCH, Verdict.XPASS, Verdict.SKIP, Verdict.INCONCLUSIVE, Verdict.UNDERPOWERED,
            Verdict.LOSSY, Verdict.XFAIL, Verdict.PASS, Verdict.EXACT, Verdict.UNSUPPORTED)
RED, GREEN, YELLOW, DIM, BOLD = "31", "32", "33", "2", "1"
COLORS = {Verdict.ERROR: RED, Verdict.MISMATCH: RED, Verdict.XPASS: RED, Verdict.PASS: GREEN, Verdict.EXACT: GREEN,
          Verdict.UNSUPPORTED: DIM}
MARKS = {RED: "✗", GREEN: "✓", YELLOW: "~", DIM: "·"}
ASCII = str.maketrans({"✗": "x", "✓": "+", "·": "-", "−": "-", "–": "-", "—": "-", "×": "x", "ᵀ": "^T", "⁻": "^-",
                       "¹": "1", "²": "^2", "½": "1/2", "‖": "|", "Σ": "sum ", "σ": "sigma", "θ": "theta", "Λ": "Lambda",
                       "ℓ": "l", "∂": "d", "∇": "grad ", "κ": "kappa", "π": "pi", "₀": "0", "₂": "2", "τ": "tau", "λ": "lambda",
                       "’": "'", "…": "...", "≤": "<=", "≥": ">=", "≈": "~", "√": "sqrt ", "Â": "A", "α": "alpha",
                       "β": "beta", "φ": "phi", "δ": "delta", "Δ": "Delta", "ā": "a_", "ḡ": "g_", "\u0304": "_", "′": "'",
                       "⊗": "(x)", "⊙": "(.)", "η": "eta", "μ": "mu", "ν": "nu", "Γ": "Gamma", "∘": "*", "∝": "~",
                       "∫": "integral ", "³": "^3"})
OUTCOMES = {0: ("PASSED", GREEN), 1: ("FAILED", RED), 3: ("INCOMPLETE", RED), 4: ("UNDECIDED", YELLOW),
            130: ("INTERRUPTED", RED)}
Findings = Sequence[tuple[Verdict, Finding]]


@dataclass(frozen=True)
class Style:
    """What the output stream can show."""

    color: bool = False
    unicode: bool = True

    def paint(self, text: str, color: str) -> str:
        """The text in a colour, where there are colours."""
        return f"\x1b[{color}m{text}\x1b[0m" if self.color else text

    def plain(self, text: str) -> str:
        """The text in letters that the stream can encode."""
        return text if self.unicode else text.translate(ASCII).encode("ascii", "replace").decode("ascii")

    def fill(self, text: str, indent: str = "") -> str:
        """A paragraph of at most 80 columns, its later lines indented."""
        return textwrap.fill(self.plain(printable(text)), WIDTH, initial_indent=indent, subsequent_indent="  ",
                             break_on_hyphens=False)


def style_for(stream: TextIO, color: str = "auto") -> Style:
    """`color` is auto, always or never; auto means a terminal without NO_COLOR (no-color.org) that is not dumb."""
    wanted = stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    try:
        "".join(MARKS.values()).encode(stream.encoding or "ascii")
        "½‖θ‖²ᵀ⁻¹".encode(stream.encoding or "ascii")
        unicode = True
    except (UnicodeEncodeError, LookupError):
        unicode = False
    return Style({"always": True, "never": False}.get(color, wanted), unicode)


def render(run: Run, findings: Findings, style: Style, strict_digits: bool = False) -> str:
    """The whole report; its last line is `ran R / declared D / total T`."""
    sections = [_head(run, style), _table(run, style), _sampled(run, style), _causes(findings, run, style), _troubles(run, style),
                _gaps(run, style), _slowest(run, style), _foot(run, style, strict_digits)]
    return style.plain("\n\n".join(section for section in sections if section)) + "\n"


def _head(run: Run, style: Style) -> str:
    subject, number = run.subject, len(run.plan)
    name = " ".join(filter(None, (subject.name, subject.version)))
    title = style.paint(style.fill(f"{name} on {number} certified case{'s' * (number != 1)}"), BOLD)
    declared = [style.fill(f"{key} = {value}", "  ") for key, value in subject.conventions.items()]
    return "\n".join([title, *(["conventions declared:", *declared] if declared else [])])


def _table(run: Run, style: Style) -> str:
    """A line for every quantity that the adapter has a function for; `passed` is of those without a declared gap."""
    by_quantity: dict[str, list[Check]] = {}
    for check in run.checks:
        by_quantity.setdefault(check.quantity, []).append(check)
    rows = [_row(name, by_quantity[name], style) for name in QUANTITIES
            if name in by_quantity and name in run.subject.quantities]
    head = f"  {'quantity':<33}  {'passed':>7}  {'gaps':>4}  {'digits':>6}  verdict"
    return "\n".join([style.paint(head, DIM), *rows]) if rows else ""


def _row(name: str, checks: list[Check], style: Style) -> str:
    counts = verdicts(checks)
    gaps, passed = counts[Verdict.UNSUPPORTED], counts[Verdict.PASS] + counts[Verdict.EXACT]
    worst = next(verdict for verdict in SEVERITY if counts[verdict])
    color = COLORS.get(worst, YELLOW)
    digits = [check.digits for check in checks if check.digits is not None]
    cells = (f"{name:<33}  {f'{passed}/{len(checks) - gaps}':>7}  {gaps or '':>4}  "
             f"{f'{min(digits):.1f}'.replace('-0.0', '0.0') if digits else '–':>6}  ")
    return style.paint(MARKS[color], color) + " " + cells + style.paint(_verdict(counts), color)


def _verdict(counts: Counter[Verdict]) -> str:
    """One word where all checks agree, else how many were what, worst first, as far as there is room."""
    asked = Counter({verdict: count for verdict, count in counts.items() if verdict is not Verdict.UNSUPPORTED})
    others = [verdict for verdict in SEVERITY if asked[verdict] and verdict not in (Verdict.PASS, Verdict.EXACT)]
    if not asked:
        return Verdict.UNSUPPORTED.name
    if not others:
        return Verdict.PASS.name if asked[Verdict.PASS] else Verdict.EXACT.name
    if len(asked) == 1:
        return others[0].name
    return textwrap.shorten(", ".join(f"{asked[v]} {v.name}" for v in others), VERDICT_WIDTH, placeholder=" ...")


def _sampled(run: Run, style: Style) -> str:
    """What judging draws came to: how many averages, the largest z-score, what would have been seen."""
    judged = [sampled for sampled in run.sampled
              if run.checks[sampled.place].verdict not in (Verdict.INCONCLUSIVE, Verdict.UNSUPPORTED)]
    if not judged:
        return ""
    z = max(float(abs(sampled.measured.z).max()) for sampled in judged)
    visible = max(run.checks[sampled.place].tolerance for sampled in judged)
    number = sum(len(sampled.measured.averages) for sampled in judged)
    return style.fill(f"{judged[0].quantity.name}: {number} averages on {len(judged)} cases, largest z-score {z:.1f}; a "
                      f"discrepancy of {visible:.2g} standard deviations would have been seen in any of them "
                      f"(Holm at {run.level:g})")


def _causes(findings: Findings, run: Run, style: Style) -> str:
    """What the diagnosis found for wrong and lossy answers, and how to look closer."""
    if not findings:
        return ""
    groups: dict[tuple[Verdict, str], list[Finding]] = {}
    for verdict, finding in findings:
        groups.setdefault((verdict, _same(verdict, finding, run)), []).append(finding)
    hint = style.plain(f"Look closer: refbnn explain CASE QUANTITY --adapter {run.subject.spec}")
    scales = [style.fill(SCALES)] if any(found.cause and SCALED.search(found.cause.key) for _, found in findings) else []
    return "\n".join([*(_told(verdict, members, run, style) for (verdict, _), members in groups.items()), *scales, hint])


def _same(verdict: Verdict, finding: Finding, run: Run) -> str:
    """Findings that agree in this are told together: one cause may ask for another remedy in another quantity.

    Of lost digits, how many is no difference.
    """
    text = why(verdict, finding, run)
    return NUMBER.sub("#", text) if verdict is Verdict.LOSSY and finding.cause is None else text


def _told(verdict: Verdict, members: Sequence[Finding], run: Run, style: Style) -> str:
    """The quantities, on how many cases and the worst of them; why."""
    worst = min(members, key=lambda finding: _worst(verdict, finding, run).digits)
    most = max(members, key=lambda finding: finding.cases)
    where = f"on {'up to ' * (len(members) > 1)}{most.cases} of {most.total} cases"
    names = ", ".join(finding.quantity for finding in members)
    return _entry(verdict, f"{names} {where}, worst {_worst(verdict, worst, run).case}", why(verdict, worst, run), style)


def why(verdict: Verdict, finding: Finding, run: Run) -> str:
    """The cause of a finding, or what else is known."""
    if finding.cause is not None:
        return f"{finding.cause.sentence}: {finding.cause.advice}."
    remarks = [*finding.evidence, _worst(verdict, finding, run).message]
    return "; ".join(filter(None, remarks)) or "nothing in the search comes near"


def _worst(verdict: Verdict, finding: Finding, run: Run) -> Check:
    checks = [check for check in run.checks if check.quantity == finding.quantity and check.verdict is verdict]
    return min(checks, key=lambda check: check.digits)


def _entry(verdict: Verdict, title: str, text: str, style: Style) -> str:
    """A verdict in its colour, what it is about, and an indented explanation."""
    head = style.fill(f"{verdict.name} {title}")
    return style.paint(verdict.name, COLORS.get(verdict, YELLOW)) + head[len(verdict.name):] + "\n" + style.fill(text, "  ")


def _troubles(run: Run, style: Style) -> str:
    """Whatever else is not green, grouped by what it says."""
    wanted = (Verdict.ERROR, Verdict.XPASS, Verdict.UNDERPOWERED, Verdict.INCONCLUSIVE, Verdict.XFAIL)
    groups = _grouped(run.checks, wanted)
    lines = [_entry(verdict, _where(checks), message, style) for (verdict, message), checks in groups[:MAX_GROUPS]]
    if len(groups) > MAX_GROUPS:
        lines.append(f"... and {len(groups) - MAX_GROUPS} more kinds of trouble (all of them are in --report FILE)")
    return "\n".join(lines)


def _gaps(run: Run, style: Style) -> str:
    """Declared gaps by reason, and names that look like answers but were not taken."""
    missing = [name for name in dict.fromkeys(c.quantity for c in run.checks) if name not in run.subject.quantities]
    lines = [f"not supported: {_listed(missing)}"] if missing else []
    declared = [check for check in run.checks if check.quantity in run.subject.quantities]
    groups = _grouped(declared, (Verdict.UNSUPPORTED,))
    lines += [f"declared gap in {_where(checks)}: {message}" for (_, message), checks in groups[:MAX_GROUPS]]
    if len(groups) > MAX_GROUPS:
        lines.append(f"... and {len(groups) - MAX_GROUPS} more reasons for gaps (all of them are in --report FILE)")
    lines += [f"{name} is imported from elsewhere and was not taken for an answer; define a function that calls it"
              for name in run.subject.imported]
    return "\n".join(style.paint(style.fill(line), DIM) for line in lines)


def _listed(names: Sequence[str]) -> str:
    """The names, or how many where they would drown what was found."""
    if len(names) <= MAX_NAMES:
        return ", ".join(names)
    return f"{len(names)} quantities, for which the adapter has no function (`refbnn list quantities` names all)"


def _grouped(checks: Iterable[Check], wanted: Sequence[Verdict]) -> list[tuple[tuple[Verdict, str], list[Check]]]:
    """Checks by verdict and message; messages that differ in their numbers alone count as one, told by the first."""
    groups: dict[tuple[Verdict, str], list[Check]] = {}
    for check in checks:
        if check.verdict in wanted:
            groups.setdefault((check.verdict, NUMBER.sub("#", check.message)), []).append(check)
    found = [((verdict, members[0].message), members) for (verdict, _), members in groups.items()]
    return sorted(found, key=lambda item: (wanted.index(item[0][0]), -len(item[1])))


def _where(checks: Sequence[Check]) -> str:
    """Which checks, as short as can be."""
    names, cases = list(dict.fromkeys(c.quantity for c in checks)), list(dict.fromkeys(c.case for c in checks))
    what = ", ".join(names) if len(names) <= 3 else f"{len(names)} quantities ({', '.join(names[:2])}, ...)"
    where = cases[0] if len(cases) == 1 else f"{len(cases)} cases ({cases[0]}, ...)"
    return f"{what} on {where}"


def _slowest(run: Run, style: Style) -> str:
    slow = sorted((check for check in run.checks if (check.seconds or 0) >= SLOW), key=lambda check: -check.seconds)[:3]
    return "\n".join(style.paint(f"slow: {check.quantity} on {check.case} took {check.seconds:.1f} s", DIM) for check in slow)


def _foot(run: Run, style: Style, strict_digits: bool) -> str:
    word, color = OUTCOMES[run.exit_code(strict_digits)]
    counts = verdicts(run.checks)
    tally = ", ".join(f"{counts[verdict]} {verdict.name}" for verdict in SEVERITY if counts[verdict])
    summary = style.fill(f"{word}: {tally} in {run.seconds:.1f} s")
    reason = style.fill(_why_incomplete(run), "  ") + "\n" if _why_incomplete(run) else ""
    return f"{style.paint(summary, color)}\n{reason}ran {run.ran} / declared {run.declared} / total {run.total}"


def _why_incomplete(run: Run) -> str:
    """Why a run without verdicts, or without all of them, is no success."""
    if run.stopped:
        return run.stopped
    if run.ran and run.exit_code() == 3:
        return next(check.message for check in run.checks if check.verdict is Verdict.SKIP)
    if run.declared == 0:
        return "the adapter has no function for anything that was asked: nothing was checked"
    return "no call returned an answer: nothing was checked" if run.ran == 0 else ""
