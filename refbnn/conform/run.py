"""Asking an adapter every question and judging its answers. A fault of the adapter costs its own check, never the run."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Callable, Iterable, Iterator

import numpy as np

from . import conventions, diagnose, draws, load, protocol
from .case import Case
from .compare import Comparison, Unusable, Verdict, compare, unusable
from .quantities import QUANTITIES, Quantity
from .session import Broken, Session

START_TIMEOUT = 120.0
MAX_CRASHES = 5
FAILING = (Verdict.MISMATCH, Verdict.ERROR, Verdict.XPASS)
GREEN = (Verdict.EXACT, Verdict.PASS, Verdict.LOSSY, Verdict.XFAIL)
SILENT = (Verdict.UNSUPPORTED, Verdict.SKIP)

Plan = list[tuple[Case, list[Quantity]]]
Failure = tuple[Verdict, Case, Quantity, np.ndarray]


class GaveUp(Exception):
    """The adapter's process died too often without one answer in between."""


@dataclass(frozen=True)
class Subject:
    """What an adapter says about itself."""

    spec: str
    name: str
    version: str
    conventions: dict[str, str]
    known_failures: dict[str, str]
    quantities: tuple[str, ...]
    imported: tuple[str, ...]

    def reason_to_fail(self, case: str, quantity: str) -> str | None:
        """The declared reason why this check fails, if there is one."""
        return next((reason for pattern, reason in self.known_failures.items() if _covers(pattern, case, quantity)), None)


@dataclass(frozen=True)
class Outcome:
    """What came of one question: an answer, or a declared gap, or what went wrong."""

    answer: np.ndarray | None = None
    gap: str = ""
    error: str = ""
    seconds: float | None = None


@dataclass(frozen=True)
class Check:
    """One quantity on one case: the verdict and its scales (None where there was no answer to measure)."""

    case: str
    quantity: str
    verdict: Verdict
    message: str
    digits: float | None = None
    componentwise: float | None = None
    natural: float | None = None
    error: float | None = None
    tolerance: float | None = None
    seconds: float | None = None
    answered: bool = False


@dataclass(frozen=True, eq=False)
class Sampled:
    """Draws that were measured; the verdict on them, the check at `place`, depends on all other draws of the run."""

    place: int
    case: Case
    quantity: Quantity
    outcome: Outcome
    measured: draws.Measured


@dataclass
class Run:
    """All checks of one adapter, in order; `failures` keeps the answers that are wrong or lossy for the diagnosis.

    level: the probability of a MISMATCH for draws that are right, in all of `plan`.
    """

    subject: Subject
    plan: Plan
    checks: list[Check] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    sampled: list[Sampled] = field(default_factory=list)
    level: float = draws.ALPHA
    stopped: str = ""
    interrupted: bool = False
    seconds: float = 0.0

    @property
    def total(self) -> int:
        """T: questions for which certified values exist."""
        return count(self.plan)

    @property
    def declared(self) -> int:
        """D: questions that the adapter has a function for and does not declare unsupported."""
        return sum(check.verdict is not Verdict.UNSUPPORTED for check in self.checks)

    @property
    def ran(self) -> int:
        """R: questions that were answered and judged."""
        return sum(check.answered for check in self.checks)

    @cached_property
    def num_averages(self) -> int:
        """Functions that draws are judged by, over the whole plan: one family of tests."""
        return sum(draws.count(case) for case, quantities in self.plan for quantity in quantities if quantity.kind == "draws")

    @property
    def failing(self) -> list[str]:
        """The quantities with wrong or lossy answers."""
        return list(dict.fromkeys(quantity.name for _, _, quantity, _ in self.failures))

    def exit_code(self, strict_digits: bool = False) -> int:
        """0 green, 1 wrong or failed, 3 nothing or not all of it ran, 4 nothing worse than undecided, 130 interrupted."""
        verdicts = {check.verdict for check in self.checks}
        if self.interrupted:
            return 130
        if self.ran == 0 or self.stopped:
            return 3
        if verdicts & set(FAILING) or (strict_digits and Verdict.LOSSY in verdicts):
            return 1
        if Verdict.SKIP in verdicts:
            return 3
        return 0 if verdicts <= {*GREEN, Verdict.UNSUPPORTED} else 4


def findings(result: Run, watch: Callable[[str], None] = lambda label: None) -> list[tuple[Verdict, diagnose.Finding]]:
    """Why answers are wrong or have lost digits: a finding for every quantity that failed, with its worst verdict.

    Ctrl-C ends the search, and the run counts as interrupted; what was found is returned.
    """
    found: list[tuple[Verdict, diagnose.Finding]] = []
    try:
        for name in result.failing:
            watch(f"looking for the cause of {name}")
            found.append(_finding(result, [failure for failure in result.failures if failure[2].name == name]))
    except KeyboardInterrupt:
        result.stopped, result.interrupted = "interrupted", True
    return found


def _finding(result: Run, failures: list[Failure]) -> tuple[Verdict, diagnose.Finding]:
    """One cause for all failures of a quantity; or else for those of them that are no mere loss of digits."""
    quantity, settings = failures[0][2], result.subject.conventions
    if quantity.kind == "draws":
        return Verdict.MISMATCH, _of_draws(result, failures)
    right = {check.case for check in result.checks
             if check.quantity == quantity.name and check.verdict in (Verdict.EXACT, Verdict.PASS)}
    passed = [(case, quantity) for case, _ in result.plan if case.id in right]
    wrong = [failure for failure in failures if failure[0] is Verdict.MISMATCH]
    verdict = Verdict.MISMATCH if wrong else Verdict.LOSSY
    finding, = diagnose.explain([failure[1:] for failure in failures], settings, passed)
    if finding.cause is None and 0 < len(wrong) < len(failures):
        finding, = diagnose.explain([failure[1:] for failure in wrong], settings, passed)
    return verdict, replace(finding, total=len(failures) + len(passed))


def _of_draws(result: Run, failures: list[Failure]) -> diagnose.Finding:
    """Why draws are wrong, from what was measured of all of them."""
    measured = {sampled.case.id: sampled for sampled in result.sampled}
    right = [sampled.measured for sampled in result.sampled if result.checks[sampled.place].verdict is Verdict.PASS]
    wrong = [measured[case.id].measured for _, case, _, _ in failures if case.id in measured]
    lost = [check.message for check in result.checks if check.verdict is Verdict.MISMATCH and check.case not in measured
            and QUANTITIES[check.quantity].kind == "draws"]
    return draws.explain(wrong, right, lost)


def plan(cases: Iterable[Case], globs: Iterable[str] = ()) -> Plan:
    """The checks to make: per case the quantities with a certified value that a glob selects.

    A glob matches "case::quantity", or a case, or a quantity; ValueError names one that matches nothing.
    """
    everything = [(case, [q for q in QUANTITIES.values()
                          if q.certified_by in case.values and q.exists_for(case.problem.likelihood)]) for case in cases]
    globs = list(globs)
    for glob in globs:
        if not any(_selected(glob, case.id, q.name) for case, quantities in everything for q in quantities):
            raise ValueError(f"-k {glob!r} matches no case and no quantity (see `refbnn list`)")
    if not globs:
        return everything
    chosen = [(case, [q for q in quantities if any(_selected(glob, case.id, q.name) for glob in globs)])
              for case, quantities in everything]
    return [(case, quantities) for case, quantities in chosen if quantities]


def count(chosen: Plan) -> int:
    """How many checks a plan holds."""
    return sum(len(quantities) for _, quantities in chosen)


def run(spec: str, chosen: Plan, *, timeout: float = 60.0, echo: bool = False,
        watch: Callable[[str], None] = lambda label: None) -> Run:
    """Ask the adapter `spec` everything in the plan. LoadError if it cannot be used at all.

    `watch(label)` is told what is asked next; `echo` shows what the adapter prints. Ctrl-C and an adapter that keeps
    crashing end the run early: what is missing is SKIP and `stopped` says why.
    """
    began = time.perf_counter()
    with Runner(spec, timeout, echo, watch) as runner:
        result = Run(runner.start(), chosen)
        try:
            for case, quantities in chosen:
                for quantity, outcome in runner.outcomes(case, quantities):
                    record(result, case, quantity, outcome)
        except GaveUp as error:
            result.stopped = str(error)
        except KeyboardInterrupt:
            result.stopped, result.interrupted = "interrupted", True
    result.checks += _not_run(result)
    result.seconds = time.perf_counter() - began
    return result


def ask(spec: str, case: Case, quantity: Quantity, timeout: float) -> tuple[Run, Outcome]:
    """One check alone, with the answer itself."""
    with Runner(spec, timeout, echo=False, watch=lambda label: None) as runner:
        result = Run(runner.start(), [(case, [quantity])])
        (_, outcome), = runner.outcomes(case, [quantity])
    record(result, case, quantity, outcome)
    return result, outcome


def alone(subject: Subject, case: Case, quantity: Quantity, number: int) -> Run:
    """A run of one check; with draws it is one of `number`, which share the probability of a false MISMATCH."""
    return Run(subject, [(case, [quantity])], level=draws.ALPHA / max(number, 1))


class Runner:
    """Keeps an adapter process alive through a run: starts it, restarts it after a crash, and gives up in the end."""

    def __init__(self, spec: str, timeout: float = 60.0, echo: bool = False,
                 watch: Callable[[str], None] = lambda label: None) -> None:
        self.spec, self.timeout, self.echo, self.watch = spec, timeout, echo, watch
        self.session: Session | None = None
        self.crashes, self.last = 0, ""
        self.functions: set[str] = set()
        self.ready, self.gaps, self.trouble = "", {}, ""  # the case that the process has been told, and what came of it

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *exception: object) -> None:
        self._close()

    def start(self) -> Subject:
        """Start the process and learn what the adapter is; LoadError if it is unusable."""
        load.check_spec(self.spec)
        try:
            said = self._open()
        except Broken as error:
            raise load.LoadError(f"{self.spec}: while being started it {error}") from None
        self.functions = set(said.quantities)
        return subject(self.spec, said)

    def outcomes(self, case: Case, quantities: list[Quantity]) -> Iterator[tuple[Quantity, Outcome]]:
        """The outcome of every quantity on one case; GaveUp after too many crashes in a row."""
        for quantity in quantities:
            yield quantity, self.outcome(case, quantity, quantities)
        self.ready = ""  # the next case may have the same id

    def outcome(self, case: Case, quantity: Quantity, quantities: list[Quantity]) -> Outcome:
        """The outcome of one quantity out of those that are asked about the case; GaveUp after too many crashes in a row."""
        if self.crashes >= MAX_CRASHES:
            raise GaveUp(f"gave up: {self.crashes} crashes in a row without one answer; the last: {self.last}")
        self.watch(f"{case.id} {quantity.name}")
        if self.ready != case.id and (have := [asked.name for asked in quantities if asked.name in self.functions]):
            self.gaps, self.trouble = self._prepare(case, have)
            self.ready = case.id
        if quantity.name not in self.functions:
            return Outcome(gap="no function " + quantity.function_name)
        if quantity.name in self.gaps:
            return Outcome(gap=self.gaps[quantity.name])
        return Outcome(error=self.trouble) if self.trouble else self._ask(case, quantity)

    def _prepare(self, case: Case, names: list[str]) -> tuple[dict[str, str], str]:
        """Declared gaps, and what went wrong before any question could be asked."""
        try:
            if self.session is None:
                self._open()
            reply = self.session.ask(protocol.case_request(case.id, case.problem, names), f"case {case.id}", self.timeout)
            gaps = protocol.read_gaps(reply)
            if reply["ok"] and self.prepares and set(names) - set(gaps):
                reply = self.session.ask({"op": "prepare"}, f"prepare {case.id}", self.timeout)
        except (Broken, load.LoadError) as error:
            self._crashed(error)
            return {}, f"prepare: {error}"
        except protocol.Unreadable as error:
            return {}, f"prepare: {error}"
        return gaps, "" if reply["ok"] else f"prepare: {reply['error']}"

    def _ask(self, case: Case, quantity: Quantity) -> Outcome:
        """One answer; `ready` afterwards says whether the process is fit for the next question on the same case."""
        began = time.perf_counter()
        try:
            reply = self.session.ask({"op": "run", "quantity": quantity.name}, identity(case, quantity), self.timeout)
            seconds = protocol.read_seconds(reply) or time.perf_counter() - began
            if not reply["ok"]:
                self.ready = "" if "mutated" in reply else self.ready
                return Outcome(error=reply["error"], seconds=seconds)
            answer = protocol.read_answer(reply)
        except Broken as error:
            self._crashed(error)
            return Outcome(error=str(error))
        except protocol.Unreadable as error:
            return Outcome(error=str(error))
        self.crashes = 0
        return Outcome(answer=answer, seconds=seconds)

    def _open(self) -> protocol.Introduction:
        self.session = Session(load.command(self.spec), self.echo)
        limit = max(START_TIMEOUT, self.timeout)
        reply = self.session.ask(protocol.start_request(conventions.DEFAULTS), "start", limit)
        if not reply["ok"]:
            raise load.LoadError(f"{self.spec}: {reply['error']}")
        try:
            said = protocol.read_introduction(reply)
            protocol.check_echo(self.session.ask(protocol.echo_request(), "echo", limit))
        except protocol.Unreadable as error:
            raise load.LoadError(f"{self.spec}: {error}") from None
        self.prepares = said.prepares
        return said

    def _crashed(self, error: Exception) -> None:
        self._close()
        self.crashes += 1
        self.last = str(error)

    def _close(self) -> None:
        self.ready = ""
        if self.session is not None:
            self.session.close()
            self.session = None


def identity(case: Case, quantity: Quantity) -> str:
    """What a check is called: "case::quantity"."""
    return f"{case.id}::{quantity.name}"


def subject(spec: str, said: protocol.Introduction) -> Subject:
    """The subject, once its conventions and known failures are seen to be meant for this kit; LoadError if they are not."""
    try:
        conventions.check(said.conventions)
    except ValueError as error:
        raise load.LoadError(f"{spec}: {error}") from None
    for pattern in said.known_failures:
        if "::" not in pattern:
            raise load.LoadError(f"{spec}: known_failures: expected 'case-glob::quantity-glob', got {pattern!r}")
        if not any(fnmatchcase(name, pattern.partition("::")[2]) for name in QUANTITIES):
            raise load.LoadError(f"{spec}: known_failures: {pattern!r} matches no quantity")
    return Subject(spec, said.name, said.version, said.conventions, said.known_failures, said.quantities, said.imported)


def record(result: Run, case: Case, quantity: Quantity, outcome: Outcome) -> None:
    """Judge what came of one question and add it to the run."""
    if quantity.kind == "draws" and outcome.answer is not None:
        return _record_draws(result, case, quantity, outcome)
    found = None if outcome.answer is None else compare(
        quantity, case.values[quantity.certified_by], outcome.answer, case.problem, result.subject.conventions)
    _add(result, case, quantity, outcome, found)


def _add(result: Run, case: Case, quantity: Quantity, outcome: Outcome, found: Comparison | None) -> None:
    check = _judged(result.subject, case, quantity, outcome, found)
    result.checks.append(check)
    if found is not None and check.verdict in (Verdict.MISMATCH, Verdict.LOSSY):
        result.failures.append((check.verdict, case, quantity, outcome.answer))


def _record_draws(result: Run, case: Case, quantity: Quantity, outcome: Outcome) -> None:
    """Measure draws and judge all draws of the run together: the verdict on some depends on how many others there are."""
    try:
        measured = draws.measure(case, quantity, outcome.answer, result.subject.conventions)
    except Unusable as error:
        return _add(result, case, quantity, outcome, unusable(error))
    result.sampled.append(Sampled(len(result.checks), case, quantity, outcome, measured))
    result.checks.append(Check(case.id, quantity.name, Verdict.SKIP, "not judged yet"))
    concluded = draws.conclude([sampled.measured for sampled in result.sampled], result.num_averages, result.level)
    again = {sampled.case.id for sampled in result.sampled}
    result.failures = [failure for failure in result.failures if failure[2].kind != "draws" or failure[1].id not in again]
    for sampled, found in zip(result.sampled, concluded):
        check = _judged(result.subject, sampled.case, sampled.quantity, sampled.outcome, found)
        result.checks[sampled.place] = check
        if check.verdict is Verdict.MISMATCH:
            result.failures.append((check.verdict, sampled.case, sampled.quantity, sampled.outcome.answer))


def _judged(subject: Subject, case: Case, quantity: Quantity, outcome: Outcome, found: Comparison | None) -> Check:
    if outcome.gap:
        return Check(case.id, quantity.name, Verdict.UNSUPPORTED, outcome.gap)
    if found is None:
        check = Check(case.id, quantity.name, Verdict.ERROR, outcome.error, seconds=outcome.seconds)
    else:
        check = Check(case.id, quantity.name, found.verdict, found.message, found.digits, found.componentwise,
                      found.natural, found.error, found.tolerance, outcome.seconds, answered=True)
    return _strict(check, subject.reason_to_fail(case.id, quantity.name))


def _strict(check: Check, reason: str | None) -> Check:
    """A known failure must fail (XFAIL); one that passes is news that the list is stale (XPASS)."""
    if reason is None or check.verdict in (Verdict.INCONCLUSIVE, Verdict.UNDERPOWERED):
        return check
    if check.verdict in (Verdict.EXACT, Verdict.PASS):
        return replace(check, verdict=Verdict.XPASS, message=f"passes, but is listed in known_failures: {reason}")
    was = check.verdict.name + (f": {check.message}" if check.message else "")
    return replace(check, verdict=Verdict.XFAIL, message=f"{reason} [{was}]")


def _not_run(result: Run) -> list[Check]:
    """SKIP for what an early end left unasked."""
    rest = [(case, quantity) for case, quantities in result.plan for quantity in quantities][len(result.checks):]
    return [Check(case.id, quantity.name, Verdict.SKIP, f"not run: {result.stopped}")
            if quantity.name in result.subject.quantities else
            Check(case.id, quantity.name, Verdict.UNSUPPORTED, "no function " + quantity.function_name)
            for case, quantity in rest]


def verdicts(checks: Iterable[Check]) -> Counter[Verdict]:
    """How often each verdict was given."""
    return Counter(check.verdict for check in checks)


def _selected(glob: str, case: str, quantity: str) -> bool:
    return any(fnmatchcase(text, glob) for text in (f"{case}::{quantity}", case, quantity))


def _covers(pattern: str, case: str, quantity: str) -> bool:
    case_glob, _, quantity_glob = pattern.partition("::")
    return fnmatchcase(case, case_glob) and fnmatchcase(quantity, quantity_glob)
