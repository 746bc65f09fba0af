"""The machinery of the benchmark on the smallest case; what it measures is not tested, because machines differ."""

import json
import sys

import numpy as np
import pytest

from tests.benchmarks import __main__ as command
from tests.benchmarks import draws, goals, report, scaling
from tests.benchmarks.contest import PEERS, Contest, Contestant, Process, Timing, distance
from tests.benchmarks.contestants import Task
from tests.benchmarks.problems import PROBLEMS


def prepare(problem):
    """This module is a contestant too: its gradient is wrong in the fifth digit, and its GGN raises."""
    from tests.benchmarks.contestants import refbnn

    right = refbnn.prepare(problem)
    return {
        "gradient": Task(lambda: right["gradient"].run() * (1 + 1e-5)),
        "gradient/shape": Task(lambda: right["gradient"].run()[:-1]),
        "ggn.full": Task(lambda: 1 / 0),
        "ggn.diag": right["ggn.diag"],
    }


PLANTED = Contestant("planted", "tests.benchmarks.test_benchmarks", "own")
MISSING = Contestant("missing", "tests.benchmarks.contestants.missing", "own")
ELSEWHERE = Contestant("elsewhere", "tests.benchmarks.contestants.torch_func", "elsewhere")


@pytest.fixture(scope="module")
def contest():
    with Contest([PLANTED, MISSING, ELSEWHERE], {}) as running:
        running.tasks = running.prepare(PROBLEMS["F"])
        yield running


def test_a_child_that_died_with_a_request_under_way_can_be_stopped():
    """Or all that had been measured would be lost at the end."""
    process = Process(PLANTED, sys.executable)
    process.process.kill()
    process.process.wait()
    assert process.ask("run") == {"error": "the process has ended"}
    process.stop()


def row(contest, quantity):
    return {(t.name, t.way): t for t in contest.run(contest.tasks, quantity, rounds=3, budget=0.05)}


def test_a_wrong_answer_is_reported_and_not_timed(contest):
    timings = row(contest, "gradient")
    assert "differs from refbnn's by 1.0e-05" in timings["planted", ""].problem
    assert "inf" in timings["planted", "shape"].problem
    assert not timings["planted", ""].rounds and not timings["planted", "shape"].rounds
    assert timings["refbnn", ""].rounds


def test_what_a_library_raises_is_its_answer_and_the_next_row_goes_on(contest):
    assert "ZeroDivisionError" in row(contest, "ggn.full")["planted", ""].problem
    timings = row(contest, "ggn.diag")
    assert timings["planted", ""].error == 0.0
    assert 1 / 20 < goals.ratio_to("planted", list(timings.values())) < 20


def test_absent_libraries_are_skipped_with_a_word(contest):
    assert "missing" in contest.absent["missing"]
    assert contest.absent["elsewhere"] == "no interpreter given: --python elsewhere=PATH"


def test_the_command_prints_ratios_and_saves_them(tmp_path, capsys):
    pytest.importorskip("autograd")
    out = tmp_path / "timings.json"
    given = ["--cases", "F", "--quantities", "gradient,hessian.full", "--peers", "autograd", "--rounds", "2", "--out", str(out)]
    assert command.main(given) in (0, 1)
    printed = capsys.readouterr().out
    assert "autograd" in printed and "hessian.full: full Hessian" in printed and "absent" not in printed
    saved = json.loads(out.read_text())
    assert {"processor", "load", "blas"} <= set(saved["machine"])
    timed = {(t["quantity"], t["library"]) for t in saved["timings"] if t["seconds"]}
    assert timed >= {(quantity, library) for quantity in ("gradient", "hessian.full") for library in ("refbnn", "autograd")}


def test_names_that_do_not_exist_are_refused(capsys):
    for given in (["--cases", "F,Z"], ["--peers", "torch"], ["--quantities", "ggn"], ["--python", "torch=/nowhere"]):
        with pytest.raises(SystemExit):
            command.arguments(given)
        assert "expected" in capsys.readouterr().err


@pytest.mark.parametrize("slow, word", [(5.0, "aim"), (3.0, "must"), (2.0, "MISSED")])
def test_the_fastest_way_of_the_fastest_peer_decides(slow, word):
    timings = [Timing("refbnn", "", [1.0, 1.0, 9.0]), Timing("refbnn", "syrk", [1.0]), Timing("jax", "a", [9.0]),
               Timing("jax", "b", [slow]), Timing("asdl", "", [70.0]), Timing("torch.func", "", problem="wrong")]
    verdict, syrk = goals.verdicts("ggn.full", "B", timings)
    assert (verdict.rival, verdict.ratio, verdict.word) == ("peers", slow, word)
    assert (syrk.rival, syrk.word) == ("syrk", "aim")


def test_every_promised_row_has_a_goal_and_every_goal_a_row():
    assert {quantity for goal in goals.GOALS for quantity in goal.quantities} == set(command.QUANTITIES)
    assert {goal.rival for goal in goals.GOALS} <= {"peers", "syrk", "ggn", *(peer.name for peer in PEERS)}


def test_a_goal_without_its_rival_gives_no_verdict():
    assert goals.verdicts("gradient", "B", [Timing("refbnn", "", [1.0]), Timing("asdl", "", [2.0])]) == []


def test_the_exponent_of_a_power_law_is_found():
    assert scaling.slope([(n, 3e-6 * n**1.5) for n in (10, 20, 40, 80)]) == pytest.approx(1.5)


def test_distance_is_relative_and_sees_shapes():
    assert distance(np.array([1.0, 1.0]), np.array([1.0, 1.0])) == 0
    assert distance(np.array([3.0, 0.0]), np.array([2.0, 0.0])) == 0.5
    assert distance(np.ones(3), np.ones(2)) == np.inf
    assert not distance(np.array([np.nan]), np.ones(1)) <= 1e-6


def test_plots_are_drawn(tmp_path):
    plots = pytest.importorskip("tests.benchmarks.plots")
    results = {("gradient", "F"): [Timing("refbnn", "", [1.0]), Timing("jax", "", [0.7]), Timing("asdl", "", [3.0])]}
    curve = [(10, 1.0), (20, 2.0), (40, 4.0)]
    for path in (plots.ratios(results, tmp_path), plots.growth({"N": {"ggn.full": curve}, "P": {"ggn.full": curve}}, tmp_path)):
        assert path.stat().st_size > 1000
    assert "0.70" in report.table(results)


def test_children_run_on_one_thread(monkeypatch):
    from tests.benchmarks.contest import environment

    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    assert environment()["OMP_NUM_THREADS"] == "1" and "OPENBLAS_CORETYPE" not in environment()
    assert sys.executable


@pytest.mark.parametrize("ratio, mixed, word",
                         [(5.0, True, "aim"), (4.9, True, "must"), (2.4, True, "MISSED"), (9.0, False, "?")])
def test_a_contest_of_samplers_is_decided_only_if_both_have_sampled_the_posterior(ratio, mixed, word):
    assert draws.verdict(ratio, mixed) == word


@pytest.mark.parametrize("size, rhats, code, word", [
    (600.0, (1.002, 1.003), 0, "aim"), (300.0, (1.002, 1.003), 0, "must"), (200.0, (1.002, 1.003), 1, "MISSED"),
    (600.0, (1.02, 1.003), 1, "?"), (600.0, (1.002, 1.02), 1, "?"),
])
def test_either_side_that_has_not_mixed_leaves_it_undecided(size, rhats, code, word, monkeypatch, capsys, tmp_path):
    found = {"refbnn": (size, 1.0, rhats[0]), "numpyro": (100.0, 1.0, rhats[1])}
    monkeypatch.setattr(draws, "measured", lambda module, python, problem: found[module])
    out = tmp_path / "draws.json"
    assert draws.main(["--python", "jax=python", "--problems", "network", "--out", str(out)]) == code
    assert capsys.readouterr().out.splitlines()[-1].startswith(word)
    assert [row["rhat"] for row in json.loads(out.read_text())] == list(rhats)
