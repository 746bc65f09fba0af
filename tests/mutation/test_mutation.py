"""The sample, the tests that are kept and the interval."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from . import forks, sample, score

BY_MODULE = {"a": [f"a.{i}" for i in range(70)], "b": [f"b.{i}" for i in range(29)], "c": ["c.0"]}


def test_each_module_has_its_share_and_no_name_comes_twice():
    drawn = sample.stratified(BY_MODULE, 31, random.Random(1))
    assert len(drawn) == len(set(drawn)) == 31
    assert [sum(name[0] == module for name in drawn) for module in "abc"] == [22, 9, 0]


def test_the_sample_follows_the_seed_and_ends_where_the_mutants_do():
    assert sample.stratified(BY_MODULE, 9, random.Random(1)) == sample.stratified(BY_MODULE, 9, random.Random(1))
    assert sample.stratified(BY_MODULE, 9, random.Random(1)) != sample.stratified(BY_MODULE, 9, random.Random(2))
    assert sorted(sample.stratified(BY_MODULE, 100, random.Random(1))) == sorted(sum(BY_MODULE.values(), []))
    with pytest.raises(ValueError, match="at most the 100 mutants"):
        sample.stratified(BY_MODULE, 101, random.Random(1))


@pytest.fixture
def clone(tmp_path):
    """What mutmut leaves behind, in small."""
    folder = tmp_path / "mutants" / "refbnn" / "vi"
    folder.mkdir(parents=True)
    (folder / "bfgs.py.meta").write_text(json.dumps({"exit_code_by_key": {"refbnn.vi.bfgs.x_f__mutmut_2": None, "a": 1}}))
    (folder / "flat.py.meta").write_text(json.dumps({"exit_code_by_key": {}}))
    (tmp_path / "mutants" / "mutmut-stats.json").write_text(json.dumps(
        {"duration_by_test": {"x": 3.0, "y": 1.0, "z": 2.5, "slow": 9.0, "tests/vi/test_bfgs.py::near": 1.5},
         "tests_by_mangled_function_name":
             {"refbnn.vi.bfgs.x_f": ["slow", "x", "y", "z", "tests/vi/test_bfgs.py::near"], "g": ["slow"]}}))
    return tmp_path


def test_mutants_are_found_by_module(clone):
    assert sample.mutants(clone) == {"refbnn/vi/bfgs.py": ["a", "refbnn.vi.bfgs.x_f__mutmut_2"]}


def test_the_nearest_and_fastest_tests_are_kept_up_to_the_limits(clone):
    near = "tests/vi/test_bfgs.py::near"
    assert sample.fast_tests(clone, slowest=4.0, budget=5.0) == {"refbnn.vi.bfgs.x_f": [near, "y", "z"], "g": []}
    assert sample.fast_tests(clone, slowest=4.0, budget=9.0)["refbnn.vi.bfgs.x_f"] == [near, "y", "z", "x"]
    assert sample.function_of("refbnn.vi.bfgs.x_f__mutmut_2") in sample.fast_tests(clone, slowest=4.0, budget=4.0)


TESTS = """
import os, subprocess, sys

MUTANT = os.environ.get("MUTANT_UNDER_TEST")      # as it was when the tests were collected


def mutant():
    return os.environ["MUTANT_UNDER_TEST"]


def test_value():
    assert MUTANT is None and mutant() != "wrong"


def test_end():
    while mutant() == "endless":
        pass
    if mutant() == "waiting":
        subprocess.run([sys.executable, "-c", "import time; time.sleep(600)"])
    if mutant() == "dead":
        os.abort()


def test_clean_up(request):
    request.addfinalizer(lambda: 1 / (mutant() != "untidy"))


def test_that_needs_a_mutant():
    assert mutant() == "harmless"


def test_slow():
    assert mutant() != "late"
"""


def test_a_fork_for_each_mutant_finds_how_its_tests_end(tmp_path):
    (tmp_path / "test_it.py").write_text(TESTS)
    tests = [f"test_it.py::test_{name}" for name in ("value", "end", "clean_up", "that_needs_a_mutant", "slow", "gone")]
    names = ("wrong", "endless", "waiting", "dead", "untidy", "harmless", "late", "unknown")
    jobs = {"pytest": ["test_it.py"], "grace": 0.2, "seconds": {}, "mutants":
            [{"mutant": name, "module": "m", "budget": 1.0, "tests": tests} for name in names]
            + [{"mutant": "far", "module": "m", "budget": 1.0, "tests": []}]}
    subprocess.run([sys.executable, forks.__file__, str(tmp_path / "outcomes.jsonl")], cwd=tmp_path, input=json.dumps(jobs),
                   text=True, check=True, capture_output=True, timeout=60)
    found = score.read(tmp_path / "outcomes.jsonl")
    assert {name: (one["outcome"], one["test"].partition("::test_")[2]) for name, one in found.items()} == {
        "wrong": ("killed", "value"), "endless": ("timeout", "end"), "waiting": ("timeout", "end"), "dead": ("crash", "end"),
        "untidy": ("killed", "clean_up"), "harmless": ("survived", ""), "late": ("killed", "slow"), "unknown": ("survived", ""),
        "far": ("no test", "")}


def test_a_file_of_outcomes_is_read_as_it_was_written(tmp_path):
    outcomes = {name: {"mutant": name, "module": "refbnn/loss.py", "outcome": "killed"} for name in "ba"}
    score.write(tmp_path / "results.jsonl", outcomes)
    assert score.read(tmp_path / "results.jsonl") == outcomes
    assert [path.name for path in tmp_path.iterdir()] == ["results.jsonl"]
    assert score.read(tmp_path / "none.jsonl") == {}


def test_the_interval_is_where_the_share_is_z_standard_deviations_away():
    low, high = score.wilson(930, 1000)
    for bound in (low, high):
        assert abs(0.93 - bound) == pytest.approx(score.Z * (bound * (1 - bound) / 1000) ** 0.5, rel=1e-12)
    assert low < 0.93 < high


def test_the_table_counts_by_folder():
    one = lambda module, outcome: {"mutant": "m", "module": module, "outcome": outcome}
    text = score.table([one("refbnn/loss.py", "killed"), one("refbnn/loss.py", "no test"), one("refbnn/vi/bfgs.py", "timeout")])
    assert [line.split("(")[0].split() for line in text.splitlines()] == [
        ["refbnn/*.py", "1", "of", "2", "killed:", "50.0%"], ["refbnn/vi/", "1", "of", "1", "killed:", "100.0%"],
        ["all", "2", "of", "3", "killed:", "66.7%"]]


# -- the stored run ---------------------------------------------------------------------------------------------------------

HERE = Path(__file__).parent
STORED = list(score.read(HERE / "results.jsonl").values())
SURVIVORS = json.loads((HERE / "survivors.json").read_text(encoding="utf-8"))


def test_the_page_tells_the_score_of_the_stored_run():
    assert score.table(STORED) in (HERE / "README.md").read_text(encoding="utf-8")


def test_every_survivor_of_the_stored_run_is_explained_and_no_other_mutant():
    assert set(SURVIVORS) == {one["mutant"] for one in STORED if one["outcome"] not in score.KILLED}
    assert all(one["change"] and one["why"] for one in SURVIVORS.values())


def test_a_survivor_is_closed_by_a_test_that_there_is_and_by_nothing_else():
    for one in SURVIVORS.values():
        assert one["kind"] in ("closed", "equivalent", "import", "text", "open")
        assert ("test" in one) == (one["kind"] == "closed")
    for one in filter(lambda one: one["kind"] == "closed", SURVIVORS.values()):
        file, name = one["test"].split("::")
        assert f"def {name}(" in (HERE.parents[1] / file).read_text(encoding="utf-8")
