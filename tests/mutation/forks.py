"""Tests collected once, and a fork for every mutant: `python forks.py OUTCOMES < jobs`, run where the tests and the mutants are.

The jobs are {"pytest": arguments, "grace": s, "seconds": {test: s}, "mutants": [{"mutant":, "module":, "budget":, "tests":}]}.
A mutant is chosen by an environment variable that its functions read when they are called, so that a child has nothing to import
and nothing to collect: it runs the tests of its mutant in the order given, those first that have killed another mutant of the
module, and ends with the first that fails. A test that takes more processor time than `grace` seconds and five times what it
takes without mutants is stuck. A test by which a mutant was killed is also run alone and without mutant; if it does not pass
then, it is not asked again.

Lines of OUTCOMES: mutant, module, budget, outcome, the test that decided and the seconds of processor time."""

from __future__ import annotations

import gc
import json
import mmap
import os
import resource
import signal
import struct
import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

FAILED, BROKEN = 101, 102
OUTCOME = {0: "survived", FAILED: "killed", -signal.SIGPROF: "timeout", -signal.SIGALRM: "timeout"}
PATIENCE = 5.0  # processor time over that of the plain run
LOAD = 30.0  # wall time over processor time, for a test that waits
MEMORY = 8 * 2**30


@dataclass(frozen=True)
class Ending:
    """How a child ended, the test that it was at, and its processor time."""

    outcome: str
    item: pytest.Item
    seconds: float


class Forks:
    """A plugin of pytest that runs jobs in the place of the tests."""

    def __init__(self, jobs: dict, report: Callable[[dict], None]):
        self.jobs, self.report = jobs, report
        self.passes_plainly: dict[str, bool] = {}
        self.killers: dict[str, set[str]] = defaultdict(set)

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        items = {item.nodeid: item for item in session.items}
        gc.freeze()
        for job in self.jobs["mutants"]:
            killers = self.killers[job["module"]]
            tests = [items[name] for name in sorted(job["tests"], key=lambda name: name not in killers) if name in items]
            verdict = self.verdict(job["mutant"], tests)
            killers.add(verdict["test"])
            self.report({key: job[key] for key in ("mutant", "module", "budget")} | verdict)
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            os._exit(FAILED)

    def verdict(self, mutant: str, items: list[pytest.Item]) -> dict:
        items = [item for item in items if self.passes_plainly.get(item.nodeid, True)]
        if not items:
            return {"outcome": "no test", "test": "", "seconds": 0.0}
        end = self.ending(mutant, items)
        if end.outcome != "survived" and not self.sound(end.item):
            return self.verdict(mutant, items)
        decided = "" if end.outcome == "survived" else end.item.nodeid
        return {"outcome": end.outcome, "test": decided, "seconds": round(end.seconds, 3)}

    def sound(self, item: pytest.Item) -> bool:
        if item.nodeid not in self.passes_plainly:
            self.passes_plainly[item.nodeid] = self.ending("", [item]).outcome == "survived"
        return self.passes_plainly[item.nodeid]

    def ending(self, mutant: str, items: list[pytest.Item]) -> Ending:
        with mmap.mmap(-1, 8) as at:
            child = os.fork()
            if not child:
                self.run(mutant, items, at)
            _, status, used = os.wait4(child, 0)
            item = items[struct.unpack("q", at[:])[0]]
        end_group(child)
        outcome = OUTCOME.get(os.waitstatus_to_exitcode(status), "crash")
        return Ending(outcome, item, used.ru_utime + used.ru_stime)

    def run(self, mutant: str, items: list[pytest.Item], at: mmap.mmap) -> None:
        """In the child; does not return."""
        try:
            set_apart()
            os.environ["MUTANT_UNDER_TEST"] = mutant
            for i, (item, following) in enumerate(zip(items, [*items[1:], None])):
                at[:] = struct.pack("q", i)
                self.set_clocks(item)
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            os._exit(0)
        finally:
            os._exit(BROKEN)

    def set_clocks(self, item: pytest.Item) -> None:
        limit = self.jobs["grace"] + PATIENCE * self.jobs["seconds"].get(item.nodeid, 0.0)
        signal.setitimer(signal.ITIMER_PROF, limit)
        signal.setitimer(signal.ITIMER_REAL, LOAD * limit)


def set_apart() -> None:
    """A process group of its own, no output, signals that end it, memory that a mutated size does not take from others."""
    os.setpgid(0, 0)
    silence = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(silence, stream)
    for number in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def end_group(leader: int) -> None:
    """Processes that the tests of a child started and that outlived it."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        pass


def main() -> int:
    jobs, outcomes = json.load(sys.stdin), Path(sys.argv[1])
    sys.path[0] = os.getcwd()
    with open(outcomes, "a", encoding="utf-8", buffering=1) as file:
        forks = Forks(jobs, lambda line: file.write(json.dumps(line) + "\n"))
        os.environ.pop("PYTEST_ADDOPTS", None)  # of a pytest that may have started this: workers, for one
        alone = ["-s", "-q", "--rootdir=.", "--basetemp=.tests", "-p", "no:cacheprovider", "-p", "no:xdist"]
        return int(pytest.main([*alone, *jobs["pytest"]], plugins=[forks]))


if __name__ == "__main__":
    sys.exit(main())
