"""Contestants in processes of their own, asked in turn: agreement first, then interleaved rounds of timing."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from tests.benchmarks.problems import Problem

ROOT = Path(__file__).resolve().parents[2]
TOLERANCE = 1e-6  # relative, in norm: an answer further from refbnn's is wrong and is not timed
MEASUREMENT = 0.01  # CPU seconds of one measurement, so that the clock's resolution does not matter
PATIENCE = 180.0  # wall seconds for one request


@dataclass(frozen=True)
class Contestant:
    """A library: its module under `contestants` (or any other), and the name of the environment it lives in."""

    name: str
    module: str
    environment: str


def _contestant(name: str, environment: str) -> Contestant:
    return Contestant(name, f"tests.benchmarks.contestants.{name.replace('.', '_').replace('-', '_')}", environment)


REFBNN = _contestant("refbnn", "own")
PEERS = (
    _contestant("autograd", "own"),
    _contestant("jax", "jax"),
    _contestant("torch.func", "torch"),
    _contestant("laplace-torch", "torch"),
    _contestant("curvlinops", "torch"),
    _contestant("backpack", "torch"),
    _contestant("asdl", "torch"),
    _contestant("nngeometry", "torch"),
)


@dataclass
class Timing:
    """CPU seconds a call of one way of one library, one entry a round; or the reason why there are none."""

    name: str
    way: str
    rounds: list[float] = field(default_factory=list)
    problem: str = ""
    error: float | None = None

    @property
    def seconds(self) -> float:
        """The median."""
        return float(np.median(self.rounds))


class Process:
    """A running child. `ask` returns its reply; a child that dies or hangs replies {"error"} and stays dead."""

    def __init__(self, contestant: Contestant, python: str):
        self.name = contestant.name
        command = [python, "-m", "tests.benchmarks.child", contestant.module]
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )

    def ask(self, op: str, **request) -> dict:
        """One request, one reply."""
        try:
            self.process.stdin.write((json.dumps({"op": op, **request}) + "\n").encode())
            self.process.stdin.flush()
        except OSError:
            return {"error": "the process has ended"}
        if not select.select([self.process.stdout], [], [], PATIENCE)[0]:
            self.process.kill()
            return {"error": f"no answer within {PATIENCE:.0f} s"}
        line = self.process.stdout.readline()
        return json.loads(line) if line else {"error": "the process has ended"}

    def stop(self) -> None:
        """End it."""
        with suppress(OSError):  # what was not delivered to a child that died is tried once more by `close`
            self.process.stdin.close()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


def environment() -> dict[str, str]:
    """The variables that a child gets: one thread in every library, and the BLAS kernel that fits the machine.

    Memory that one call frees stays with the process for the next, in every library alike: by default glibc gives blocks above
    32 MiB back, and the page faults of a call that has to ask the kernel again can cost five times its arithmetic, the more so
    in a virtual machine, whose host backs a page at its first use.
    """
    threads = ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "VECLIB_MAXIMUM")
    kept = {name: value for name, value in os.environ.items() if name != "OPENBLAS_CORETYPE"}
    memory = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1)}
    return {**kept, **memory, "PYTHONPATH": str(ROOT), **{f"{name}_NUM_THREADS": "1" for name in threads}}


class Contest:
    """All contestants that could be started, refbnn first; `absent` says of each other why not."""

    def __init__(self, peers: Iterable[Contestant], pythons: dict[str, str]):
        self.processes, self.absent = [], {}
        for contestant in (REFBNN, *peers):
            self._start(contestant, pythons.get(contestant.environment))

    def _start(self, contestant: Contestant, python: str | None) -> None:
        if contestant.environment == "own":
            python = python or sys.executable
        if python is None:
            self.absent[contestant.name] = f"no interpreter given: --python {contestant.environment}=PATH"
            return
        process = Process(contestant, python)
        reply = process.ask("start")
        reason = reply.get("absent") or reply.get("error")
        if reason:
            self.absent[contestant.name] = reason
            process.stop()
        else:
            self.processes.append(process)

    def __enter__(self) -> Contest:
        return self

    def __exit__(self, *_) -> None:
        for process in self.processes:
            process.stop()

    def prepare(self, problem: Problem) -> dict[tuple[str, str], Process]:
        """What each can do on the problem: (quantity, way) by process."""
        tasks = []
        for process in self.processes:
            for key in process.ask("prepare", problem=asdict(problem)).get("tasks", []):
                tasks.append((process, *key.partition("/")[::2]))
        return tasks

    def run(self, tasks, quantity: str, rounds: int, budget: float) -> list[Timing]:
        """Every way to compute one quantity: checked against refbnn's, then timed for at most `budget` CPU seconds each.

        Rounds are interleaved, so that a slow spell of the machine hits all alike. The first Timing is refbnn's.
        """
        entrants = [(process, way) for process, name, way in tasks if name == quantity]
        timings = [Timing(process.name, way) for process, way in entrants]
        plans = self._check(entrants, timings, quantity)
        plans = [_plan(seconds, rounds, budget) for seconds in plans]
        for round_ in range(rounds):
            for (process, way), timing, (calls, own_rounds) in zip(entrants, timings, plans):
                if round_ >= own_rounds or timing.problem:
                    continue
                reply = process.ask("time", key=_key(quantity, way), calls=calls)
                if "error" in reply:
                    timing.problem = reply["error"]
                else:
                    timing.rounds.append(reply["seconds"])
        return timings

    def _check(self, entrants, timings: list[Timing], quantity: str) -> list[float]:
        """Fill in `error`, and `problem` where there is one; the seconds of a warm run of each."""
        seconds, expected = [], None
        with tempfile.TemporaryDirectory() as folder:
            file = os.path.join(folder, "answer.npy")
            for (process, way), timing in zip(entrants, timings):
                reply = process.ask("answer", key=_key(quantity, way), file=file)
                seconds.append(reply.get("seconds", 0.0))
                if "error" in reply:
                    timing.problem = reply["error"]
                    continue
                answer = np.load(file)
                expected = answer if expected is None else expected
                timing.error = distance(answer, expected)
                timing.rounds = [reply["seconds"]] if reply["seconds"] > MEASUREMENT else []
                if not timing.error <= TOLERANCE:
                    timing.problem = f"wrong: differs from refbnn's by {timing.error:.1e}"
                    timing.rounds = []
        return seconds


def _key(quantity: str, way: str) -> str:
    return f"{quantity}/{way}" if way else quantity


def _plan(seconds: float, rounds: int, budget: float) -> tuple[int, int]:
    """(calls a measurement, measurements) for something that takes this long: at least one measurement."""
    calls = max(1, round(MEASUREMENT / max(seconds, 1e-5)))
    return calls, int(np.clip(budget / max(seconds * calls, 1e-5), 1, rounds))


def distance(answer: np.ndarray, expected: np.ndarray) -> float:
    """‖answer − expected‖ / ‖expected‖; infinite for another shape."""
    if answer.shape != expected.shape:
        return float("inf")
    return float(np.linalg.norm((answer - expected).ravel()) / np.linalg.norm(expected.ravel()))
