"""`python -m tests.mutation FOLDER`: the mutation score of the mathematical modules, on a stratified random sample.

mutmut (the extra `mutation`) makes every mutant of the committed tree in a clone in FOLDER and notes which tests reach which
function. Of each module a share of the mutants is drawn that is proportional to their number. A mutant is killed when a test
that reaches its function fails or does not end; tests that take longer than SLOWEST seconds, or of which the faster ones
together take more than BUDGET, are not asked, so that the score is a lower bound. Ask again with the same FOLDER to go on."""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

from . import sample, score

ROOT = Path(__file__).parents[2]
SETTINGS = Path(__file__).with_name("mutmut.cfg")
SLOWEST, BUDGET = 4.0, 60.0
BATCH = 100


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the clone and its mutants are or will be")
    parser.add_argument("--mutants", type=int, default=1000, help="size of the sample (default 1000)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--results", type=Path, default=ROOT / "tests" / "mutation" / "results.jsonl")
    options = parser.parse_args(arguments)
    clone = prepared(options.folder)
    drawn = sample.stratified(sample.mutants(clone), options.mutants, random.Random(options.seed))
    tried = run(clone, drawn, options.workers, options.results)
    print(score.table(tried))
    return 0


def prepared(folder: Path) -> Path:
    """A clone with its mutants, and with the tests that reach each function."""
    clone = folder / "refbnn"
    if not clone.exists():
        subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
        with open(clone / "setup.cfg", "a", encoding="utf-8") as file:
            file.write("\n" + SETTINGS.read_text(encoding="utf-8"))
    if not (clone / "mutants" / "mutmut-stats.json").exists():
        mutmut(clone, 1, ["refbnn.linalg.x_symmetric_part__mutmut_1"])  # it wants a name; what it does for all comes first
    sample.keep_fast_tests(clone / "mutants" / "mutmut-stats.json", SLOWEST, BUDGET)
    return clone


def run(clone: Path, drawn: list[str], workers: int, results: Path) -> list[dict]:
    """The outcome of each; those in the file or, of a run that was stopped, in the clone are not tried again."""
    known = score.read(results) | sample.outcomes(clone, drawn)
    left = [name for name in drawn if name not in known]
    for at in range(0, len(left), BATCH):
        batch = left[at:at + BATCH]
        mutmut(clone, workers, batch)
        known |= sample.outcomes(clone, batch)
        score.write(results, known)
        print(f"{len(known)} of {len(drawn)}: {dict(Counter(one['outcome'] for one in known.values()))}", flush=True)
    return [known[name] for name in drawn]


def mutmut(clone: Path, workers: int, names: list[str]) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    command = [sys.executable, "-m", "mutmut", "run", "--max-children", str(workers), *names]
    done = subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"mutmut failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")


if __name__ == "__main__":
    sys.exit(main())
