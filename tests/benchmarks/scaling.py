"""How time grows in N and in P, and how much memory the largest matrix takes: refbnn alone, in children of its own."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np

from tests.benchmarks.contest import REFBNN, ROOT, Process, environment
from tests.benchmarks.problems import Problem
from dataclasses import asdict

GROWTH = ("ggn.full", "hessian.full")
BY_DATA = [Problem("data", (8, 50, 50, 1), n) for n in (250, 500, 1000, 2000, 4000, 8000)]
BY_PARAMS = [Problem("params", (8, width, width, 1), 4000) for width in (10, 16, 25, 40, 63, 90)]
LIMIT = 4 * 2**30  # bytes, the must for the memory
MEMORY_AIM = 3 * 2**30

_MEASURE_MEMORY = """
import json, resource, time
import numpy as np
import refbnn
from refbnn import activations, likelihoods
rng = np.random.default_rng(1)
net = refbnn.Mlp((784, 16, 10), activations.tanh)
X, y = rng.standard_normal((2000, 784)), rng.integers(0, 10, 2000)
loss = refbnn.Loss(net, likelihoods.Categorical(), X, y)
G = loss.ggn(rng.standard_normal(net.num_params) / 28)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"bytes": peak, "result": G.nbytes, "seconds": time.process_time()}))
"""


def memory() -> dict:
    """Peak resident bytes of a process that computes the GGN of 784-16-10 on 2000 data, bytes of the result, CPU seconds."""
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE_MEMORY], cwd=ROOT, env=environment(), capture_output=True, text=True, check=True,
    )
    found = json.loads(done.stdout)
    word = "aim" if found["bytes"] <= MEMORY_AIM else "must" if found["bytes"] <= LIMIT else "MISSED"
    return {**found, "limit": LIMIT, "verdict": word}


def growth(rounds: int = 3) -> dict:
    """{"N": {quantity: [(size, seconds), ...]}, "P": ...}: medians."""
    process = Process(REFBNN, sys.executable)
    process.ask("start")
    try:
        return {"N": _curves(process, BY_DATA, lambda problem: problem.num_data, rounds),
                "P": _curves(process, BY_PARAMS, lambda problem: problem.num_params, rounds)}
    finally:
        process.stop()


def _curves(process: Process, problems: list[Problem], size, rounds: int) -> dict:
    curves = {quantity: [] for quantity in GROWTH}
    for problem in problems:
        process.ask("prepare", problem=asdict(problem))
        for quantity in GROWTH:
            process.ask("time", key=quantity, calls=1)
            seconds = [process.ask("time", key=quantity, calls=2)["seconds"] for _ in range(rounds)]
            curves[quantity].append((size(problem), float(np.median(seconds))))
    return curves


def slope(curve: list[tuple[int, float]]) -> float:
    """The exponent b of seconds = a·size^b, by least squares on the larger half."""
    sizes, seconds = np.log(np.array(curve[len(curve) // 2:])).T
    return float(np.polyfit(sizes, seconds, 1)[0])
