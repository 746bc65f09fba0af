"""The pytest plugin: `pytest --refbnn-adapter=ADAPTER` needs no code, and functions under `@refbnn_conforms` are tests.

Every check is a test with the id case::quantity. A mismatch fails and says why, a declared gap is skipped, a known failure is
a strict xfail. Verdict, digits, error and tolerance stand in the JUnit report as properties. The kit itself is imported when
it is needed, not when pytest starts.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import cache, partial
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest

ADAPTER = pytest.StashKey[Any]()
SHOWN = ("digits", "componentwise", "natural", "error", "tolerance", "seconds")


@cache
def _cases() -> list[Any]:
    """The certified cases, read once."""
    from . import case
    return case.read_all()


class Fails(Exception):
    """A check that failed; its text is the report."""


# Options -----------------------------------------------------------------------------------------------------------------

def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("refbnn", "certified values of Bayesian neural networks")
    group.addoption("--refbnn-adapter", metavar="ADAPTER",
                    help="hold this adapter (built-in name, module:object, path.py, 'cmd:PROGRAM') against the certified cases")
    group.addoption("--refbnn-timeout", metavar="S", type=float, default=60.0, help="limit for one call of it (default 60)")
    group.addoption("--refbnn-strict-digits", action="store_true", help="a right formula that lost digits (LOSSY) fails as well")


def pytest_configure(config: pytest.Config) -> None:
    """Refuse an adapter that cannot be there before anything is collected."""
    spec = config.getoption("--refbnn-adapter")
    if spec:
        from . import load
        try:
            load.check_spec(spec)
        except load.LoadError as error:
            raise pytest.UsageError(str(error)) from None
        config.pluginmanager.register(_Watch(), "refbnn-watch")


def pytest_unconfigure(config: pytest.Config) -> None:
    adapter = config.stash.get(ADAPTER, None)
    if adapter is not None:
        adapter.close()


# An adapter, without code ------------------------------------------------------------------------------------------------

@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Add the adapter's checks, before -k and -m choose."""
    spec = config.getoption("--refbnn-adapter")
    if spec:
        adapter = config.stash[ADAPTER] = _start(spec, config.getoption("--refbnn-timeout"))
        for case, quantities in adapter.plan:
            parent = CaseNode.from_parent(session, name=case.id, nodeid=case.id)
            checks = [Check.from_parent(parent, name=quantity.name, case=case, quantity=quantity, ask=adapter.ask)
                      for quantity in quantities]
            session.ihook.pytest_collectreport(report=pytest.CollectReport(case.id, "passed", None, checks))
            items.extend(checks)


def _start(spec: str, timeout: float) -> _Adapter:
    from . import load
    try:
        return _Adapter(spec, timeout)
    except load.LoadError as error:
        raise pytest.UsageError(str(error)) from None


class _Adapter:
    """A live adapter that is asked one check at a time, in any order."""

    def __init__(self, spec: str, timeout: float) -> None:
        from . import load, run
        self.spec, self.runner = spec, run.Runner(spec, timeout)
        self.subject = self.runner.start()
        plan = [(case, [q for q in quantities if q.name in self.subject.quantities])
                for case, quantities in run.plan(_cases())]
        self.plan = [(case, quantities) for case, quantities in plan if quantities]
        self.about = {case.id: quantities for case, quantities in self.plan}
        self.sampled = sum(quantity.kind == "draws" for _, quantities in self.plan for quantity in quantities)
        if not self.plan:
            self.close()
            raise load.LoadError(f"{spec}: the adapter has no function for any quantity: nothing would be checked")

    def ask(self, case: Any, quantity: Any) -> tuple[Any, str]:
        """The check, and how to look closer."""
        from . import run
        result = run.alone(self.subject, case, quantity, self.sampled)
        try:
            run.record(result, case, quantity, self.runner.outcome(case, quantity, self.about[case.id]))
        except run.GaveUp as error:
            raise Fails(str(error)) from None
        return result, f"Look closer: refbnn explain {case.id} {quantity.name} --adapter {self.spec}"

    def close(self) -> None:
        self.runner.__exit__()


# One's own function --------------------------------------------------------------------------------------------------------

def pytest_pycollect_makeitem(collector: pytest.Collector, name: str, obj: object) -> pytest.Collector | None:
    """Whatever its name, a function under `@refbnn_conforms` is collected."""
    if type(obj).__module__ != "refbnn.conform.declared":
        return None
    return FunctionNode.from_parent(collector, name=name, declared=obj)


class CaseNode(pytest.Collector):
    """What groups the checks of a case."""

    def __init__(self, checks: tuple[pytest.Item, ...] = (), **keywords: Any) -> None:
        super().__init__(**keywords)
        self.checks = checks

    def collect(self) -> tuple[pytest.Item, ...]:
        return self.checks


class FunctionNode(pytest.Collector):
    """A declared function: a node for every case, with the one check in it."""

    def __init__(self, declared: Any, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.declared = declared

    def collect(self) -> Iterator[CaseNode]:
        from . import run
        told = self.declared
        chosen = [case for case in _cases() if fnmatchcase(case.id, told.cases) and told.where(case.problem)]
        plan = [(case, [q for q in quantities if q.name == told.quantity]) for case, quantities in run.plan(chosen)]
        plan = [(case, quantities) for case, quantities in plan if quantities]
        if not plan:
            raise self.CollectError(f"{self.name}: no certified case is left to check")
        for case, (quantity,) in plan:
            node = CaseNode.from_parent(self, name=case.id)
            ask = partial(self.ask, number=len(plan))
            node.checks = (Check.from_parent(node, name=quantity.name, case=case, quantity=quantity, ask=ask),)
            yield node

    def ask(self, case: Any, quantity: Any, number: int) -> tuple[Any, str]:
        """The function called in this process, judged as an adapter's answer; what it raises is raised."""
        __tracebackhide__ = True
        from . import protocol, run
        known = {f"{glob}::*": reason for glob, reason in self.declared.known_failures.items()}
        subject = run.Subject("", self.name, "", dict(self.declared.conventions), known, (quantity.name,), ())
        result = run.alone(subject, case, quantity, number)
        try:
            answer = self.declared.function(case.problem)
        except Exception as error:
            if reason := subject.reason_to_fail(case.id, quantity.name):
                pytest.xfail(f"{reason} [raised {type(error).__name__}]")
            raise
        try:
            outcome = run.Outcome(answer=protocol.decode_array(protocol.encode_answer(answer)))
        except protocol.Unreadable as error:
            outcome = run.Outcome(error=str(error))
        run.record(result, case, quantity, outcome)
        return result, f"Look closer: refbnn explain {case.id} {quantity.name}"


# A check ---------------------------------------------------------------------------------------------------------------------

class Check(pytest.Item):
    """One quantity on one case."""

    def __init__(self, case: Any, quantity: Any, ask: Callable[[Any, Any], tuple[Any, str]], **keywords: Any) -> None:
        super().__init__(**keywords)
        self.case, self.quantity, self.ask = case, quantity, ask
        self.extra_keyword_matches.add(f"{case.id}::{quantity.name}")

    def runtest(self) -> None:
        __tracebackhide__ = True
        result, hint = self.ask(self.case, self.quantity)
        check, = result.checks
        self.user_properties.append(("verdict", check.verdict.name))
        numbers = [(key, getattr(check, key)) for key in SHOWN]
        self.user_properties += [(key, value) for key, value in numbers if value is not None]
        _conclude(result, check, hint, self.config.getoption("--refbnn-strict-digits"))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        return str(excinfo.value) if isinstance(excinfo.value, Fails) else excinfo.getrepr(style="long")

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.config.rootpath / self.nodeid.split("::")[0], None, f"{self.case.id} {self.quantity.name}"


def _conclude(result: Any, check: Any, hint: str, strict_digits: bool) -> None:
    """pytest's outcome for a verdict."""
    name = check.verdict.name
    if name == "XFAIL":
        pytest.xfail(check.message)
    if name == "UNSUPPORTED":
        pytest.skip(check.message)
    if name in ("UNDERPOWERED", "INCONCLUSIVE"):
        pytest.skip(f"undecided: {check.message}")
    if name not in ("EXACT", "PASS") and (name != "LOSSY" or strict_digits):
        raise Fails(_failure(result, check, hint))


def _failure(result: Any, check: Any, hint: str) -> str:
    """Verdict, digits, cause, and how to look closer."""
    from . import report, run
    digits = f": {check.digits:.1f} digits (tolerance {check.tolerance:.1e})" if check.answered else ""
    strict = "[XPASS(strict)] " if check.verdict.name == "XPASS" else ""
    lines = [f"{strict}{check.verdict.name} {check.quantity} on {check.case}{digits}", check.message]
    lines += [report.why(verdict, finding, result) for verdict, finding in run.findings(result)]
    return "\n".join(dict.fromkeys(filter(None, [*lines, hint])))


# Nothing checked is no success ---------------------------------------------------------------------------------------------

class _Watch:
    """Counts answers that were judged; a run with an adapter and without any ends like one without tests."""

    def __init__(self) -> None:
        self.asked = self.answered = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        told = dict(report.user_properties)
        self.asked += report.when == "call" and "verdict" in told
        self.answered += report.when == "call" and "digits" in told

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.asked and not self.answered and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if self.asked and not self.answered:
            terminalreporter.write_line("refbnn: no answer was judged: nothing was checked", red=True)
