"""`python -m tests.simulation --replicates 10000 --workers 2`: ranks and Geweke's test for every kernel."""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from tests.simulation.replicates import KERNELS, STATISTICS, TESTS, allowed, block, largest_distance

BLOCK = 50  # replicates of one task, whatever the workers
FALSE_ALARM = 1e-6  # of the whole run


def measure(executor, replicates: int, kernels, tests) -> dict:
    """{(test, kernel): the numbers of all replicates}, by anything with the interface of concurrent.futures.Executor."""
    tasks = {(test, kernel): [executor.submit(block, test, kernel, range(first, min(first + BLOCK, replicates)))
                              for first in range(0, replicates, BLOCK)]
             for test in tests for kernel in kernels}
    return {key: np.concatenate([future.result() for future in futures]) for key, futures in tasks.items()}


def report(found: dict) -> tuple[list[str], bool]:
    """A line a statistic, and whether all are uniform: the false alarms of all statistics together are FALSE_ALARM."""
    number = sum(numbers.shape[1] for numbers in found.values())
    lines, good = [], True
    for (test, kernel), numbers in found.items():
        limit = allowed(len(numbers), FALSE_ALARM / number)
        for name, distance in zip(STATISTICS[test], largest_distance(numbers)):
            good = good and distance <= limit
            lines.append(f"{'ok' if distance <= limit else 'OFF':4}{test:8}{kernel:12}{name:12}sup|F̂ − F| = {distance:.4f}, "
                         f"allowed {limit:.4f}, surely seen from {2 * limit:.4f}; {len(numbers)} replicates")
    return lines, good


def main(given: list[str] | None = None) -> int:
    """Run and print; 1 where something is not uniform."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--replicates", type=int, default=10000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--kernels", nargs="+", choices=KERNELS, default=list(KERNELS))
    parser.add_argument("--tests", nargs="+", choices=TESTS, default=list(TESTS))
    chosen = parser.parse_args(given)
    with ProcessPoolExecutor(chosen.workers) as executor:
        lines, good = report(measure(executor, chosen.replicates, chosen.kernels, chosen.tests))
    print("\n".join(lines))
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
