"""What mutmut made in a clone, mutants and which tests reach them; and samples of it."""

from __future__ import annotations

import json
import random
from pathlib import Path


def mutants(clone: Path) -> dict[str, list[str]]:
    """Names of mutants by module."""
    folder = clone / "mutants"
    return {str(path.relative_to(folder).with_suffix("")): sorted(_read(path)["exit_code_by_key"])
            for path in sorted((folder / "refbnn").rglob("*.meta")) if _read(path)["exit_code_by_key"]}


def stratified(by_module: dict[str, list[str]], size: int, rng: random.Random) -> list[str]:
    """`size` names, of each module in proportion to its number of them (largest remainders), in random order."""
    total = sum(map(len, by_module.values()))
    if size > total:
        raise ValueError(f"size: expected at most the {total} mutants that there are, got {size}")
    share = {module: size * len(names) / total for module, names in by_module.items()}
    count = {module: int(part) for module, part in share.items()}
    by_remainder = sorted(share, key=lambda module: (count[module] - share[module], module))
    for module in by_remainder[:size - sum(count.values())]:
        count[module] += 1
    drawn = [name for module, names in by_module.items() for name in rng.sample(names, count[module])]
    rng.shuffle(drawn)
    return drawn


def seconds(clone: Path) -> dict[str, float]:
    """What each test takes without mutants."""
    return _statistics(clone)["duration_by_test"]


def fast_tests(clone: Path, slowest: float, budget: float) -> dict[str, list[str]]:
    """Of each function the tests that reach it, none slower than `slowest` and together within `budget` seconds: first those in a
    file of its module's or folder's name, each time the fastest first."""
    took = seconds(clone)
    return {function: _within(sorted(tests, key=lambda test: (_far(test, function), took[test], test)), took, slowest, budget)
            for function, tests in _statistics(clone)["tests_by_mangled_function_name"].items()}


def beyond(function: str, asked: dict[str, list[str]], tests: dict[str, list[str]]) -> list[str]:
    """Those of `tests` that are not among `asked`."""
    before = set(asked.get(function, []))
    return [test for test in tests.get(function, []) if test not in before]


def function_of(mutant: str) -> str:
    return mutant.partition("__mutmut_")[0]


def _far(test: str, function: str) -> bool:
    return Path(test.partition("::")[0]).stem.removeprefix("test_") not in function.split(".")[1:-1]


def _within(tests: list[str], took: dict[str, float], slowest: float, budget: float) -> list[str]:
    kept, spent = [], 0.0
    for test in tests:
        if took[test] <= slowest and spent + took[test] <= budget:
            kept.append(test)
            spent += took[test]
    return kept


def _statistics(clone: Path) -> dict:
    return _read(clone / "mutants" / "mutmut-stats.json")


def _read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))
