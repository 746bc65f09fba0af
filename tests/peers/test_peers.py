"""The real peer libraries give the verdicts that were traced by hand; the scripts that show their defects still show them.

Needs the environments of tests/peers/setup.sh, named by the variable REFBNN_PEERS; what runs a peer is skipped without.
"""
from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import tempfile
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Callable

import numpy as np
import pytest

from refbnn.conform.case import Case, read_all

HERE = Path(__file__).parent
PEERS = os.environ.get("REFBNN_PEERS", "")
PYTHON = Path(PEERS, "env", "bin", "python")
needs_peers = pytest.mark.skipif(not (PEERS and PYTHON.exists()), reason=(
    "peer libraries are not installed: run `bash tests/peers/setup.sh DIR` and set REFBNN_PEERS=DIR"))

CURRENT = "0.3"
RUNS = ("0.3", "0.3 float64", "0.2.2.2", "0.2.1", "0.2.1 float64")
NO_FUNCTION = ("log_joint", "hessian.diag", "hessian.hvp", "fisher.full", "fisher.mc")


def environment(run: str) -> dict[str, str]:
    """The variables that select a release ("0.2.1") and torch's default dtype (" float64")."""
    release, _, dtype = run.partition(" ")
    older = {} if release == CURRENT else {"PYTHONPATH": str(Path(PEERS, f"laplace-torch-{release}"))}
    return {**os.environ, "OMP_NUM_THREADS": "1", "REFBNN_TORCH_DEFAULT_DTYPE": dtype or "float32", **older}


def python(*arguments: str | Path, run: str = CURRENT) -> subprocess.CompletedProcess:
    """The peers' interpreter, for one release."""
    command = [PYTHON, "-W", "ignore", *arguments]
    return subprocess.run(command, env=environment(run), capture_output=True, text=True, timeout=1800)


@functools.cache
def checks(adapter: str, run: str) -> list[dict]:
    """Every check of one run of the command, run once however many tests ask."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.jsonl")
        python("-m", "refbnn", "conform", adapter, "--report", report, run=run)
        lines = [json.loads(line) for line in report.read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line["kind"] == "check"]


def anything(case: Case) -> bool:
    return True


def one_by_one_first_weight(case: Case) -> bool:
    return case.problem.sizes[:2] == (1, 1)


def silu(case: Case) -> bool:
    return case.problem.activation == "silu"


def regression_with_residuals(case: Case) -> bool:
    return case.problem.likelihood == "normal" and bool(np.any(case.values["fisher.empirical"].value))


def correlated_posterior(case: Case) -> bool:
    """P has off-diagonal entries, so that a triangular factor and its transpose differ."""
    P = case.values["laplace.precision"].value
    return bool(np.abs(P - np.diag(np.diag(P))).max() > 1e-5 * np.abs(P).max())


def ggn_of_single_numbers(case: Case) -> bool:
    """Every entry of the GGN (of ½‖y − f‖² for regression) is a float32 number, so that rounding to float32 loses nothing."""
    G = case.values["ggn.full"].value * (case.problem.variance or 1)
    return bool(np.all(np.abs(G.astype(np.float32) - G) <= 1e-15 * np.abs(G)))


def ggn_of_other_numbers(case: Case) -> bool:
    return not ggn_of_single_numbers(case)


@dataclass(frozen=True)
class Rule:
    """On these runs, cases and quantities the verdict is one of these, for the reason shown by findings/WHY.py."""

    runs: tuple[str, ...]
    cases: Callable[[Case], bool]
    quantities: tuple[str, ...]
    verdicts: set[str]
    why: str = ""

    def covers(self, run: str, case: Case, quantity: str) -> bool:
        return run in self.runs and any(fnmatchcase(quantity, glob) for glob in self.quantities) and self.cases(case)


FITTED = ("loss", "ggn.full", "hessian.full", "fisher.empirical", "laplace.*", "predictive.glm.variance", "predictive.mc")
ROUNDED = ("ggn.full", "hessian.full", "fisher.empirical", "laplace.*", "predictive.glm.variance")
RIGHT = {"EXACT", "PASS"}
# The first rule that covers a check says what it must be. Each of the first five has to be met in each of its runs.
RULES = (
    Rule(("0.3",), one_by_one_first_weight, FITTED, {"ERROR"}, "one_by_one_layer_of_double_model"),
    Rule(("0.3", "0.3 float64"), silu, ("hessian.full", "laplace.hessian.*"), {"ERROR"}, "hessian_of_silu"),
    Rule(RUNS, regression_with_residuals, ("fisher.empirical*",), {"MISMATCH"}, "empirical_fisher_of_regression"),
    Rule(("0.2.1",), anything, ("laplace.sample",), {"ERROR"}, "sample_of_double_model"),
    Rule(("0.2.2.2", "0.2.1 float64"), correlated_posterior, ("laplace.sample",), {"MISMATCH"}, "transposed_cholesky_factor"),
    Rule(("0.3 float64",), anything, ("*",), RIGHT),
    Rule(RUNS, ggn_of_single_numbers, ("ggn.full",), RIGHT),
    Rule(RUNS, ggn_of_other_numbers, ("ggn.full",), {"LOSSY"}, "curvature_in_single_precision"),
    Rule(RUNS, anything, ROUNDED, RIGHT | {"LOSSY"}, "curvature_in_single_precision"),
    Rule(RUNS, anything, ("*",), RIGHT),
)
GAP = Rule(RUNS, anything, ("*",), {"UNSUPPORTED"})


def is_gap(case: Case, quantity: str) -> bool:
    """What laplace-torch has no way to say: some quantities, other likelihoods, a full prior precision."""
    P0 = case.problem.prior_precision
    full = np.any(P0 != np.diag(np.diag(P0)))
    return (quantity in NO_FUNCTION or case.problem.likelihood in ("bernoulli", "poisson")
            or bool(full) and (quantity.startswith("laplace") or quantity == "predictive.glm.variance"))


def rule_for(run: str, case: Case, quantity: str) -> Rule:
    if is_gap(case, quantity):
        return GAP
    return next(rule for rule in RULES if rule.covers(run, case, quantity))


@needs_peers
@pytest.mark.parametrize("run", RUNS)
def test_laplace_torch_gets_the_verdicts_that_were_traced(run):
    cases = {case.id: case for case in read_all("*")}
    found = checks("laplace-torch", run)
    assert {check["case"] for check in found} == set(cases)
    surprises = [f"{check['case']}::{check['quantity']} {check['verdict']}: {check['message']}" for check in found
                 if check["verdict"] not in rule_for(run, cases[check["case"]], check["quantity"]).verdicts]
    assert surprises == []
    met = [rule_for(run, cases[check["case"]], check["quantity"]) for check in found]
    assert [rule.why for rule in RULES[:5] if run in rule.runs and rule not in met] == []


@needs_peers
def test_single_precision_is_seen_where_it_happens_and_gone_in_double():
    rounded = {run: sum(check["verdict"] == "LOSSY" for check in checks("laplace-torch", run))
               for run in ("0.3", "0.3 float64")}
    assert rounded["0.3"] > 100 and rounded["0.3 float64"] == 0


@needs_peers
def test_plain_torch_is_right_on_every_case():
    assert {check["verdict"] for check in checks("torch", CURRENT)} <= RIGHT


def findings() -> list[tuple[str, str, str]]:
    """(script, release, WRONG or RIGHT) from the table in findings/README.md."""
    table = [[cell.strip() for cell in line.strip("|").split("|")]
             for line in (HERE / "findings" / "README.md").read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    releases = table[0][1:]
    return [(re.search(r"\((\w+)\.py\)", row[0])[1], release, verdict)
            for row in table[2:] for release, verdict in zip(releases, row[1:])]


@needs_peers
@pytest.mark.parametrize("script, release, verdict", findings())
def test_a_finding_shows_what_its_page_says(script, release, verdict):
    done = python(HERE / "findings" / f"{script}.py", run=release)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == verdict


def test_every_script_has_its_row_and_every_reason_its_script():
    scripts = {path.stem for path in (HERE / "findings").glob("*.py")}
    assert scripts == {script for script, _, _ in findings()} == {rule.why for rule in RULES if rule.why}
