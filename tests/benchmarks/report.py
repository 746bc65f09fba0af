"""What was measured, as a table of ratios, a list of verdicts and JSON."""

from __future__ import annotations

import os
import platform
from importlib import metadata

import numpy as np

from tests.benchmarks.goals import Verdict, ratio_to
from tests.benchmarks.problems import PROBLEMS, QUANTITIES


def machine() -> dict:
    """What the numbers depend on."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": metadata.version("scipy"),
        "blas": f"{blas.get('name')} {blas.get('version')}",
        "threads": 1,
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def table(results: dict) -> str:
    """One block a quantity: a row a case, refbnn in milliseconds and each peer as a multiple of it."""
    names = list(dict.fromkeys(t.name for timings in results.values() for t in timings if t.name != "refbnn"))
    columns = ["syrk", *names]
    head = f"{'':4}{'refbnn ms':>10}" + "".join(f"{name:>14}" for name in columns)
    lines = ["peer / refbnn in CPU time: above 1 refbnn is faster. syrk is R Rᵀ alone, of rows R already there.", ""]
    for quantity in dict.fromkeys(quantity for quantity, _ in results):
        lines += [f"{quantity}: {QUANTITIES[quantity]}", head]
        for (name, case), timings in results.items():
            if name == quantity:
                lines.append(_row(case, timings, columns))
        lines.append("")
    return "\n".join(lines)


def _row(case: str, timings, columns: list[str]) -> str:
    own = timings[0].seconds * 1e3 if timings and timings[0].rounds else float("nan")
    ratios = [ratio_to(name, timings) for name in columns]
    return f"{case:4}{own:10.3f}" + "".join(f"{'-' if ratio is None else format(ratio, '.2f'):>14}" for ratio in ratios)


def verdict_lines(found: list[Verdict]) -> list[str]:
    """One line a quantity and rival: the ratio of every case, and the slowest case's verdict."""
    lines = []
    for quantity, rival, must in dict.fromkeys((v.quantity, v.rival, v.must) for v in found):
        group = [v for v in found if (v.quantity, v.rival, v.must) == (quantity, rival, must)]
        worst = min(group, key=lambda v: v.ratio / v.must)
        ratios = "  ".join(f"{v.case} {v.ratio:.2f}" for v in group)
        lines.append(f"{worst.word:7}{quantity:18}{'/ ' + rival:9}must {must:5.2f} aim {worst.aim:5.2f}   {ratios}")
    return lines


def problem_lines(results: dict) -> list[str]:
    """What was not timed, and why."""
    return [
        f"not timed: {t.name}{' (' + t.way + ')' if t.way else ''}, {quantity} on {case}: {t.problem}"
        for (quantity, case), timings in results.items() for t in timings if t.problem
    ]


def as_json(results: dict) -> list[dict]:
    """Every timing with its rounds."""
    return [
        {"quantity": quantity, "case": case, "network": PROBLEMS[case].title, "library": t.name, "way": t.way,
         "seconds": t.seconds if t.rounds else None, "rounds": t.rounds, "error": t.error, "not_timed": t.problem or None}
        for (quantity, case), timings in results.items() for t in timings
    ]


def memory_line(found: dict) -> str:
    """The peak of the large GGN against the must."""
    gib = {name: found[name] / 2**30 for name in ("bytes", "result", "limit")}
    return (f"{found['verdict']:7}memory of the GGN of 784-16-10, N = 2000: peak {gib['bytes']:.2f} GiB, the result is "
            f"{gib['result']:.2f} GiB, must {gib['limit']:.0f} GiB; {found['seconds']:.0f} CPU seconds")
