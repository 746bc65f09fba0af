"""`python -m tests.mutation FOLDER`: the mutation score of the mathematical modules, on a stratified random sample.

mutmut (the extra `mutation`) makes every mutant of the committed tree in a clone in FOLDER and notes which tests reach which
function. Of each module a share of the mutants is drawn that is proportional to their number. A mutant is killed when a test
that reaches its function fails or does not end. Those that survive the tests that together take the first of BUDGETS seconds are
asked by those within the next; slower tests, and any that takes longer than SLOWEST, are not asked, so that the score is a lower
bound. The tests run in forks of one process that has collected them (forks.py). Ask again with the same FOLDER to go on after a
stop."""

from __future__ import annotations

import argparse
import configparser
import json
import os
import random
import subprocess
import sys
from pathlib import Path

from . import forks, sample, score

ROOT = Path(__file__).parents[2]
SETTINGS = Path(__file__).with_name("mutmut.cfg")
SLOWEST, BUDGETS = 10.0, (10.0, 60.0)
GRACE = 5.0
FIRST = "refbnn.budget.table.x_csv_of__mutmut_1"  # few tests reach it


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the clone and its mutants are or will be")
    parser.add_argument("--mutants", type=int, default=1000, help="size of the sample (default 1000)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--results", type=Path, default=ROOT / "tests" / "mutation" / "results.jsonl")
    options = parser.parse_args(arguments)
    clone = prepared(options.folder)
    module = {name: of for of, names in sample.mutants(clone).items() for name in names}
    drawn = sample.stratified(sample.mutants(clone), options.mutants, random.Random(options.seed))
    outcomes = options.folder.absolute() / "outcomes.jsonl"
    for spent, budget in zip((0.0, *BUDGETS), BUDGETS):
        known = score.read(outcomes)
        run(clone, {name: module[name] for name in drawn if is_open(known.get(name), spent)}, (spent, budget), outcomes)
    known = score.read(outcomes)
    score.write(options.results, {name: known[name] for name in drawn})
    print(score.table([known[name] for name in drawn]))
    return 0


def prepared(folder: Path) -> Path:
    """A clone with its mutants, and with the tests that reach each function."""
    clone = folder / "refbnn"
    if not clone.exists():
        subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
        with open(clone / "setup.cfg", "a", encoding="utf-8") as file:
            file.write("\n" + SETTINGS.read_text(encoding="utf-8"))
    if not (clone / "mutants" / "mutmut-stats.json").exists():  # mutmut wants a mutant; what it does for all comes first
        subprocess.run([sys.executable, "-m", "mutmut", "run", FIRST], cwd=clone, env=environment(), check=True)
    return clone


def is_open(known: dict | None, spent: float) -> bool:
    """Whether a mutant has survived the tests within `spent` seconds and was not asked by others."""
    return known is None if not spent else known["outcome"] in ("survived", "no test") and known["budget"] <= spent


def run(clone: Path, module: dict[str, str], budgets: tuple[float, float], outcomes: Path) -> None:
    """A line of `outcomes` for each of these mutants, from the tests that the second budget adds to the first."""
    asked, tests = (sample.fast_tests(clone, SLOWEST, budget) for budget in budgets)
    more = {name: sample.beyond(sample.function_of(name), asked, tests) for name in module}
    left = [{"mutant": name, "module": of, "budget": budgets[1], "tests": more[name]}
            for name, of in module.items() if more[name] or not budgets[0]]
    jobs = {"pytest": selection(clone), "grace": GRACE, "seconds": sample.seconds(clone), "mutants": left}
    if left:
        subprocess.run([sys.executable, forks.__file__, str(outcomes)], cwd=clone / "mutants", env=environment(),
                       input=json.dumps(jobs), text=True, check=True)


def selection(clone: Path) -> list[str]:
    """What pytest is asked to collect."""
    settings = configparser.ConfigParser()
    settings.read(clone / "setup.cfg", encoding="utf-8")
    return settings["mutmut"]["pytest_add_cli_args_test_selection"].split("\n")[1:]


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}


if __name__ == "__main__":
    sys.exit(main())
