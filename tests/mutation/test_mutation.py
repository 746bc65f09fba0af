"""The sample, the tests that are kept and the interval."""

import json
import random

import pytest

from . import sample, score

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


def test_the_fastest_tests_are_kept_up_to_the_limits(tmp_path):
    file = tmp_path / "statistics.json"
    file.write_text(json.dumps({"duration_by_test": {"x": 3.0, "y": 1.0, "z": 2.5, "slow": 9.0, "a[\\u03bd]": 0.1},
                                "tests_by_mangled_function_name": {"f": ["slow", "x", "y", "z", "a[\\u03bd]"], "g": ["slow"]}}))
    sample.keep_fast_tests(file, slowest=4.0, budget=4.0)
    assert json.loads(file.read_text())["tests_by_mangled_function_name"] == {"f": ["y", "z"], "g": []}
    assert json.loads(file.read_text())["duration_by_test"]["slow"] == 9.0


def test_outcomes_are_read_from_where_mutmut_leaves_them(tmp_path):
    meta = tmp_path / "mutants" / "refbnn" / "vi" / "bfgs.py.meta"
    meta.parent.mkdir(parents=True)
    meta.write_text(json.dumps({"exit_code_by_key": {"a": 1, "b": 0, "c": None, "d": 33, "e": -24}}))
    assert sample.mutants(tmp_path) == {"refbnn/vi/bfgs.py": ["a", "b", "c", "d", "e"]}
    found = sample.outcomes(tmp_path, ["a", "b", "c", "d"])
    assert {name: one["outcome"] for name, one in found.items()} == {"a": "killed", "b": "survived", "d": "no test"}


def test_a_file_of_outcomes_is_read_as_it_was_written(tmp_path):
    outcomes = {name: {"mutant": name, "module": "refbnn/mlp.py", "outcome": "killed"} for name in "ba"}
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
    text = score.table([one("refbnn/mlp.py", "killed"), one("refbnn/mlp.py", "no test"), one("refbnn/vi/bfgs.py", "timeout")])
    assert [line.split("(")[0].split() for line in text.splitlines()] == [
        ["refbnn/*.py", "1", "of", "2", "killed:", "50.0%"], ["refbnn/vi/", "1", "of", "1", "killed:", "100.0%"],
        ["all", "2", "of", "3", "killed:", "66.7%"]]
