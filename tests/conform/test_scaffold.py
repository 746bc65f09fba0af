"""The scaffolded adapter runs as it is, is right, owes nothing to the package, and never overwrites."""

import ast
import runpy
from types import SimpleNamespace

import numpy as np
import pytest

from refbnn.conform import case as cases, run, scaffold

from .test_problem import changed


@pytest.fixture
def written(tmp_path):
    path = tmp_path / "mine.py"
    scaffold.write(str(path))
    return path


def test_it_is_green_for_what_it_covers_and_declares_the_rest(command, written):
    result = command("conform", str(written), "--color", "never")
    assert result.code == 0 and "PASSED" in result.out
    ran, declared, total = (int(word) for word in result.out.splitlines()[-1].split() if word.isdigit())
    assert ran == declared == 5 < total


def test_it_is_right_wherever_it_does_not_decline(written):
    chosen = [case for case in cases.read_all() if case.problem.activation == "tanh" and case.problem.likelihood == "normal"]
    asked = run.plan(chosen, ["forward", "jacobian", "gradient", "ggn.full", "laplace.covariance"])
    result = run.run(str(written), asked)
    assert result.exit_code() in (0, 4) and result.ran == run.count(asked) > 3 * len(chosen)
    assert any(not case.problem.bias for case in chosen) or len(chosen) >= 2


def test_networks_without_bias_or_hidden_layer_are_covered_by_the_code(small, written):
    mine = SimpleNamespace(**runpy.run_path(str(written)))
    problem = changed(small.problem, bias=False, sizes=(2, 3), **_trimmed(small.problem, 6))
    state = mine.prepare(problem)
    assert np.array_equal(mine.forward(state), problem.X @ problem.theta.reshape(3, 2).T)
    assert mine.jacobian(state).shape == (11, 3, 6)


def _trimmed(problem, p):
    return {"theta": problem.theta[:p], "vector": problem.vector[:p], "prior_mean": problem.prior_mean[:p],
            "prior_precision": problem.prior_precision[:p, :p], "normals": problem.normals[:, :p], "draws": problem.draws[:, :p]}


def test_it_imports_numpy_alone_and_is_short(written):
    tree = ast.parse(written.read_text("utf-8"))
    imported = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]
    assert [ast.unparse(node) for node in imported] == ["import numpy as np"]
    statements = [node for node in ast.walk(tree) if isinstance(node, ast.stmt) and not isinstance(node, ast.Expr)]
    assert len(statements) <= 45
    assert max(map(len, written.read_text("utf-8").splitlines())) <= 120


def test_it_refuses_to_overwrite(command, written):
    written.write_text("precious")
    result = command("scaffold", str(written))
    assert result.code == 2 and "exists already; nothing was written" in result.err and written.read_text() == "precious"


def test_it_says_what_to_do_next(command, tmp_path):
    path = tmp_path / "new.py"
    result = command("scaffold", str(path))
    assert result.code == 0 and f"refbnn conform {path}" in result.out and path.exists()
