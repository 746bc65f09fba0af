"""The pytest plugin as people use it: ids, outcomes, digits in the JUnit report, one's own functions, and xdist."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest

from refbnn.conform import case as cases, pytest_plugin
from refbnn.conform.declared import refbnn_conforms

pytest_plugins = "pytester"
ADAPTER = """
import numpy as np

name, version = "mine", "1.0"
known_failures = {"*::laplace.log_det": "issue 7", "*::loss": "issue 8"}


def unsupported(problem, quantity):
    return "too hard" if quantity == "hessian.full" else None


def prepare(problem):
    from refbnn.conform.adapters import refbnn as good
    return good, good.prepare(problem)


def forward(state):
    return state[0].forward(state[1])


def loss(state):  # listed as a known failure, but right
    return state[0].loss(state[1])


def gradient(state):
    return 2 * state[0].gradient(state[1])


def ggn_full(state):
    return state[0].ggn_full(state[1]) * (1 + 1e-9)


def jacobian(state):
    raise RuntimeError("no luck")


def laplace_log_det(state):
    return 0.0


def hessian_full(state):
    return 0.0
"""
FUNCTIONS = """
from refbnn.testing import refbnn_conforms
from refbnn.conform.adapters import refbnn as good


@refbnn_conforms("ggn.full", cases="tanh-normal-*", where=lambda problem: problem.num_data == 11)
def my_ggn(problem):
    return good.ggn_full(good.prepare(problem))


@refbnn_conforms("gradient", cases="tanh-normal-2-5-3", conventions={"loss.reduction": "mean"})
def mean_gradient(problem):
    return good.gradient(good.prepare(problem)) / len(problem.X)


@refbnn_conforms("loss", cases="tanh-normal-2-5-3")
def doubled_loss(problem):
    return 2 * good.loss(good.prepare(problem))


@refbnn_conforms("forward", cases="tanh-normal-2-5-3")
def returns_nothing(problem):
    pass


@refbnn_conforms("forward", cases="tanh-normal-2-5-3", known_failures={"tanh-*": "issue 9"})
def raises_as_known(problem):
    raise RuntimeError("no luck")


@refbnn_conforms("forward", cases="tanh-normal-2-5-3")
def raises(problem):
    raise RuntimeError("no luck")


@refbnn_conforms("forward", cases="no-such-case")
def has_no_case(problem):
    return 0


def test_a_declared_function_can_be_called():
    from refbnn.conform.case import read
    assert my_ggn(read("tanh-normal-2-5-3").problem).shape == (33, 33) and my_ggn.__name__ == "my_ggn"
"""


@pytest.fixture
def run(pytester, monkeypatch, small):
    """Run pytest on the small case, in this process, with the plugin and no other; the result."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setattr(pytest_plugin, "_cases", lambda: [small])

    def start(*arguments: str) -> pytest.RunResult:
        return pytester.runpytest_inprocess("-p", "refbnn.conform.pytest_plugin", *arguments)
    return start


@pytest.fixture
def mine(pytester):
    return str(pytester.makepyfile(mine=ADAPTER))


def test_an_adapter_needs_no_code_and_every_check_is_a_test(run, mine):
    result = run(f"--refbnn-adapter={mine}", "-v", "-rsx")
    assert "collected 7 items" in result.stdout.str()
    result.assert_outcomes(passed=2, failed=3, skipped=1, xfailed=1)
    result.stdout.fnmatch_lines_random([
        "tanh-normal-2-5-3::forward PASSED*", "tanh-normal-2-5-3::ggn.full PASSED*", "tanh-normal-2-5-3::gradient FAILED*",
        "tanh-normal-2-5-3::jacobian FAILED*", "tanh-normal-2-5-3::loss FAILED*", "*::hessian.full SKIPPED (too hard)*",
        "*::laplace.log_det XFAIL (issue 7*", "MISMATCH gradient on tanh-normal-2-5-3: 0.0 digits (tolerance*",
        "You return the right value, times 2: multiply by 1/2.", "ERROR jacobian on tanh-normal-2-5-3",
        "raised RuntimeError: no luck (mine.py:*",
        "[[]XPASS(strict)[]] XPASS loss on tanh-normal-2-5-3*", "passes, but is listed in known_failures: issue 8",
        "Look closer: refbnn explain tanh-normal-2-5-3 gradient --adapter *mine.py"])
    assert "Traceback" not in result.stdout.str()


def test_lossy_fails_when_digits_are_asked_for(run, mine):
    run(f"--refbnn-adapter={mine}", "-k", "ggn.full").assert_outcomes(passed=1, deselected=6)
    run(f"--refbnn-adapter={mine}", "-k", "ggn.full", "--refbnn-strict-digits").assert_outcomes(failed=1, deselected=6)


def test_a_check_is_chosen_by_its_id(run, mine):
    run(f"--refbnn-adapter={mine}", "-k", "tanh-normal-2-5-3::forward").assert_outcomes(passed=1, deselected=6)
    listed = run(f"--refbnn-adapter={mine}", "--collect-only", "-q").stdout.lines
    assert "tanh-normal-2-5-3::forward" in listed and "tanh-normal-2-5-3::ggn.full" in listed


def test_the_junit_report_holds_verdict_and_digits(run, mine, pytester):
    run(f"--refbnn-adapter={mine}", "--junitxml=report.xml")
    found = {(item.get("classname"), item.get("name")): {p.get("name"): p.get("value") for p in item.iter("property")}
             for item in ElementTree.parse(pytester.path / "report.xml").iter("testcase")}
    right, wrong = found["tanh-normal-2-5-3", "forward"], found["tanh-normal-2-5-3", "gradient"]
    assert right["verdict"] in ("PASS", "EXACT") and float(right["digits"]) > 14
    assert wrong["verdict"] == "MISMATCH" and float(wrong["digits"]) < 1 and float(wrong["tolerance"]) < 1e-10
    assert found["tanh-normal-2-5-3", "laplace.log_det"]["verdict"] == "XFAIL"


def test_it_works_with_xdist(run, mine, pytester):
    pytest.importorskip("xdist")
    result = pytester.runpytest_subprocess("-p", "xdist", "-p", "refbnn.conform.pytest_plugin", "-n2", "--junitxml=report.xml",
                                           f"--refbnn-adapter={mine}", "-k", "tanh-normal-2-3-5-3")
    result.assert_outcomes(passed=1, failed=2, xfailed=1)
    assert 'name="digits"' in (pytester.path / "report.xml").read_text("utf-8")


@pytest.mark.parametrize("spec, message", [
    ("autogrd", "did you mean autograd"), ("missing.py", "no such file: missing.py"), ("no_such_module:it", "cannot import"),
    ("silent.py", "nothing would be checked")])
def test_an_adapter_that_cannot_be_used_is_usage(run, pytester, spec, message):
    pytester.makepyfile(silent="name = 'silent'\n")
    result = run(f"--refbnn-adapter={spec}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR and message in result.stderr.str() + result.stdout.str()


def test_nothing_judged_is_no_success(run, pytester):
    pytester.makepyfile(gaps="def unsupported(problem, quantity):\n    return 'no'\n\n\ndef forward(problem):\n    return 0\n")
    result = run("--refbnn-adapter=gaps.py")
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED and "nothing was checked" in result.stdout.str()


def test_an_adapter_that_crashes_for_ever_fails_and_ends(run, pytester):
    names = ("forward", "loss", "gradient", "jacobian", "ggn_full", "ggn_diag", "hessian_full")
    pytester.makepyfile(crashing="import os\n" + "".join(f"def {name}(problem):\n    os._exit(1)\n" for name in names))
    result = run("--refbnn-adapter=crashing.py")
    result.assert_outcomes(failed=7)
    assert "gave up: 5 crashes in a row" in result.stdout.str()


def test_functions_under_the_decorator_are_tests_of_their_own(run, pytester):
    pytester.makepyfile(test_mine=FUNCTIONS)
    result = run("-v", "-rs", "--continue-on-collection-errors")
    result.assert_outcomes(passed=3, failed=3, xfailed=1, errors=1)
    result.stdout.fnmatch_lines_random([
        "test_mine.py::my_ggn::tanh-normal-2-5-3::ggn.full PASSED*", "test_mine.py::mean_gradient::*::gradient PASSED*",
        "test_mine.py::doubled_loss::tanh-normal-2-5-3::loss FAILED*", "*MISMATCH loss on tanh-normal-2-5-3*",
        "*returned None, not numbers*", "*raises_as_known::*::forward XFAIL*", "*RuntimeError: no luck*",
        "*has_no_case: no certified case is left to check*"])


def test_a_declared_function_is_chosen_by_its_node_id(run, pytester):
    pytester.makepyfile(test_mine=FUNCTIONS)
    run("test_mine.py::my_ggn").assert_outcomes(passed=1)
    run("test_mine.py::my_ggn::tanh-normal-2-5-3::ggn.full").assert_outcomes(passed=1)


@pytest.mark.parametrize("arguments, keywords, message", [
    (["gnn.full"], {}, "no quantity 'gnn.full'; nearest: ggn.full"),
    (["ggn.full"], {"conventions": {"loss.reduction": "average"}}, "must be one of sum")])
def test_a_slip_in_the_decorator_is_told(arguments, keywords, message):
    with pytest.raises(ValueError, match=message):
        refbnn_conforms(*arguments, **keywords)


def test_without_an_adapter_the_plugin_does_nothing(run, pytester):
    pytester.makepyfile(test_other="def test_it():\n    assert True\n")
    run().assert_outcomes(passed=1)


def test_every_case_is_collected_once(pytester):
    assert [case.id for case in pytest_plugin._cases()] == cases.ids()
