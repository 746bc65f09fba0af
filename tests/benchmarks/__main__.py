"""`python -m tests.benchmarks`: refbnn and the peers side by side. README.md says how to install the peers."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from tests.benchmarks import report, scaling
from tests.benchmarks.contest import PEERS, Contest
from tests.benchmarks.goals import verdicts
from tests.benchmarks.problems import PROBLEMS, QUANTITIES


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """The command line, with lists split and names checked."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description="refbnn and other libraries side by side")
    parser.add_argument("--cases", type=_subset(PROBLEMS), default=list(PROBLEMS), help="of " + ",".join(PROBLEMS))
    parser.add_argument("--quantities", type=_subset(QUANTITIES), default=list(QUANTITIES), help="of " + ",".join(QUANTITIES))
    names = {peer.name: peer for peer in PEERS}
    parser.add_argument("--peers", type=_subset(names), default=list(names), help="of " + ",".join(names))
    parser.add_argument("--python", action="append", default=[], type=_named_path, metavar="NAME=PATH",
                        help="interpreter of an environment: torch=..., jax=...")
    parser.add_argument("--rounds", type=int, default=25, help="most rounds of one row")
    parser.add_argument("--budget", type=float, default=0.5, help="CPU seconds for one library on one row, after two rounds")
    parser.add_argument("--out", type=Path, help="all timings and machine facts as JSON")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="two pictures, with growth in N and P measured for them")
    parser.add_argument("--memory", action="store_true", help="also the peak memory of one large GGN")
    chosen = parser.parse_args(given)
    chosen.peers = [names[name] for name in chosen.peers]
    return chosen


def _subset(known):
    def split(text: str) -> list[str]:
        chosen = [part for part in text.split(",") if part]
        unknown = [part for part in chosen if part not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"expected some of {', '.join(known)}, got {', '.join(unknown)}")
        return chosen
    return split


def _named_path(text: str) -> tuple[str, str]:
    name, separator, path = text.partition("=")
    if not separator or not Path(path).exists():
        raise argparse.ArgumentTypeError(f"expected NAME=PATH of an interpreter, got {text}")
    return name, path


def measure(contest: Contest, chosen: argparse.Namespace) -> dict:
    """{(quantity, case): [Timing, ...]}."""
    by_case = {}
    for case in chosen.cases:
        tasks = contest.prepare(PROBLEMS[case])
        for quantity in [q for q in chosen.quantities if any(q == name for _, name, _ in tasks)]:
            print(f"{case} {quantity}", file=sys.stderr)
            by_case[quantity, case] = contest.run(tasks, quantity, chosen.rounds, chosen.budget)
    keys = [(quantity, case) for quantity in chosen.quantities for case in chosen.cases]
    return {key: by_case[key] for key in keys if key in by_case}


def main(given: list[str] | None = None) -> int:
    """Measure, print, save; 0 unless a must is missed or an answer of a peer is wrong."""
    chosen = arguments(given)
    with Contest(chosen.peers, dict(chosen.python)) as contest:
        facts = {**report.machine(), "absent": contest.absent}
        results = measure(contest, chosen)
    found = [verdict for key, timings in results.items() for verdict in verdicts(*key, timings)]
    print(report.table(results))
    print("\n".join([*report.verdict_lines(found), *report.problem_lines(results)]))
    for name, reason in facts["absent"].items():
        print(f"absent: {name}: {reason}")
    saved = {"machine": facts, "timings": report.as_json(results), "verdicts": [{**vars(v), "word": v.word} for v in found]}
    if chosen.memory:
        saved["memory"] = scaling.memory()
        print(report.memory_line(saved["memory"]))
    if chosen.plots:
        saved["growth"] = _plots(results, chosen.plots)
    if chosen.out:
        chosen.out.write_text(json.dumps(saved, indent=1) + "\n")
    missed = any(v.word == "MISSED" for v in found) or any(t.problem for timings in results.values() for t in timings)
    return int(missed)


def _plots(results: dict, folder: Path) -> dict:
    from tests.benchmarks import plots  # here, not above: only the pictures need matplotlib

    curves = scaling.growth()
    for path in (plots.ratios(results, folder), plots.growth(curves, folder)):
        print(f"wrote {path}")
    return curves


if __name__ == "__main__":
    sys.exit(main())
