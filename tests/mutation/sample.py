"""What mutmut left in a clone: its mutants, the tests that reach them, how they ended; and samples of them."""

from __future__ import annotations

import json
import random
from pathlib import Path

OUTCOMES = {0: "survived", 1: "killed", 3: "killed", 5: "no test", 33: "no test", 36: "timeout", 24: "timeout",
            -24: "timeout", 152: "timeout", 255: "timeout", -11: "crash", -9: "crash"}


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


def keep_fast_tests(statistics: Path, slowest: float, budget: float) -> None:
    """Of each function keep the fastest tests, none slower than `slowest` and together within `budget` seconds; and none whose
    name has a backslash (an escaped ν, say), by which pytest cannot be asked for it."""
    content = _read(statistics)
    seconds = content["duration_by_test"]
    content["tests_by_mangled_function_name"] = {
        function: _within(sorted((test for test in tests if "\\" not in test),
                                 key=lambda test: (seconds[test], test)), seconds, slowest, budget)
        for function, tests in content["tests_by_mangled_function_name"].items()}
    statistics.write_text(json.dumps(content), encoding="utf-8")


def _within(tests: list[str], seconds: dict[str, float], slowest: float, budget: float) -> list[str]:
    kept, spent = [], 0.0
    for test in tests:
        spent += seconds[test]
        if seconds[test] > slowest or spent > budget:
            break
        kept.append(test)
    return kept


def outcomes(clone: Path, names: list[str]) -> dict[str, dict]:
    """Module and outcome of each that has been tried."""
    found, wanted = {}, set(names)
    for module, own in mutants(clone).items():
        codes = _read(clone / "mutants" / f"{module}.meta")["exit_code_by_key"]
        found |= {name: {"mutant": name, "module": module, "outcome": OUTCOMES.get(codes[name], "unknown")}
                  for name in own if name in wanted and codes[name] is not None}
    return found


def _read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))
