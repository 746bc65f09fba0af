"""The process that one library runs in: `python -m tests.benchmarks.child MODULE`, JSON lines in on stdin and out on stdout.

start                        -> {"version"} or {"absent"} with the reason
prepare {problem}            -> {"tasks"}: the keys of what it can do
answer {key, file}           -> {"seconds"} a call when warm, its result in `file` (.npy) in refbnn's convention; the first,
                                which warms up or compiles, is not timed unless it is so long that warming up is no part of it
time {key, calls}            -> {"seconds"} of process CPU time a call
Whatever a library raises becomes {"error"}; what it prints goes to stderr.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import time
import warnings

import numpy as np

from tests.benchmarks.problems import Problem

SLOW = 2.0  # CPU seconds
WARM = 0.005  # CPU seconds of calls on end before the time of one is believed


class Child:
    """Answers the requests about one module of contestants."""

    def __init__(self, module: str):
        self.module = module

    def start(self) -> dict:
        """Import the library."""
        try:
            self.contestant = importlib.import_module(self.module)
        except ImportError as error:
            return {"absent": str(error)}
        return {"version": getattr(self.contestant, "version", "")}

    def prepare(self, problem: dict) -> dict:
        """Build the model and drop that of the problem before."""
        self.tasks = {}
        gc.collect()
        self.tasks = self.contestant.prepare(Problem(**{**problem, "sizes": tuple(problem["sizes"])}))
        return {"tasks": list(self.tasks)}

    def answer(self, key: str, file: str) -> dict:
        """Run twice, or once if that is slow, and write the result."""
        task = self.tasks[key]
        seconds, result = _timed(task.run)
        if seconds < SLOW or task.compiles:
            del result  # its memory is what the next run writes to, as in every later one
            seconds, result = _timed_when_warm(task.run)
        np.save(file, np.asarray(task.plain(result), dtype=np.float64))
        return {"seconds": seconds}

    def time(self, key: str, calls: int) -> dict:
        """The mean over `calls` runs, results dropped one by one."""
        run = self.tasks[key].run
        began = time.process_time()
        for _ in range(calls):
            run()
        return {"seconds": (time.process_time() - began) / calls}

    def reply(self, request: dict) -> dict:
        """The isolation boundary: a library's exception is its answer."""
        operation = request.pop("op")
        try:
            return {"start": self.start, "prepare": self.prepare, "answer": self.answer, "time": self.time}[operation](**request)
        except Exception as error:
            return {"error": f"{type(error).__name__}: {error}"[:300]}


def _timed(run) -> tuple[float, object]:
    began = time.process_time()
    result = run()
    return time.process_time() - began, result


def _timed_when_warm(run) -> tuple[float, object]:
    calls, total = 1, 0.0
    while total < WARM:
        began = time.process_time()
        for _ in range(calls):
            result = None
            result = run()
        total = time.process_time() - began
        calls *= 2
    return 2 * total / calls, result


def main() -> None:
    """Serve until stdin ends."""
    warnings.simplefilter("ignore")
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    child = Child(sys.argv[1])
    for line in sys.stdin:
        replies.write(json.dumps(child.reply(json.loads(line))) + "\n")
        replies.flush()


if __name__ == "__main__":
    main()
