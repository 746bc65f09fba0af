"""The real peer libraries give the verdicts that were traced by hand; the scripts that show their defects still show them.

Needs the environments of tests/peers/setup.sh, named by the variable REFBNN_PEERS; what runs a peer is skipped without.
"""
from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import refbnn.conform
from refbnn.conform.case import read_all

from . import parts
from .rules import asdl, autograd, backpack, blackjax, curvlinops, laplace_torch, laplax, nngeometry, numpyro, posteriors
from .rules import jax as plain_jax
from .rules import torch as plain_torch
from .rules.peer import Peer

HERE = Path(__file__).parent
PEERS = os.environ.get("REFBNN_PEERS", "")
HOMES = {home: Path(PEERS, home, "bin", "python") for home in ("env", "jax")}
needs_peers = pytest.mark.skipif(not (PEERS and all(home.exists() for home in HOMES.values())), reason=(
    "peer libraries are not installed: run `bash tests/peers/setup.sh DIR` and set REFBNN_PEERS=DIR"))

MODULES = (plain_torch, laplace_torch, curvlinops, backpack, asdl, nngeometry, posteriors, plain_jax, autograd, laplax, numpyro,
           blackjax)
PEERS_UNDER_TEST: dict[str, Peer] = {module.PEER.library: module.PEER for module in MODULES}
RUNS = [(library, run) for library, peer in PEERS_UNDER_TEST.items() for run in peer.runs]


def environment(library: str, run: str) -> dict[str, str]:
    """The variables of the run; PYTHONPATH adds a package that is not in the environment, or an older release."""
    peer, release, package = PEERS_UNDER_TEST[library], run.split()[0], run.partition(" with ")[2]
    beside = package or (f"{library}-{release}" if release != peer.current else "")
    path = {"PYTHONPATH": str(Path(PEERS, beside))} if beside else {}
    return {**os.environ, "OMP_NUM_THREADS": "1", **peer.runs.get(run, {}), **path}


def python(library: str, run: str, *arguments: str | Path) -> subprocess.CompletedProcess:
    """The interpreter of the library's environment, for one run."""
    command = [HOMES[PEERS_UNDER_TEST[library].home], "-W", "ignore", *arguments]
    return subprocess.run(command, env=environment(library, run), capture_output=True, text=True, timeout=7200)


def kept(library: str, run: str) -> Path | None:
    """The report that report.sh left of this run, unless something of the kit is younger."""
    report, kit = Path(PEERS, "reports", f"{library}-{run.replace(' ', '-')}.jsonl"), Path(refbnn.conform.__file__).parent
    sources = [path for ending in ("py", "json") for path in kit.rglob(f"*.{ending}")]
    younger = report.exists() and report.stat().st_mtime > max(path.stat().st_mtime for path in sources)
    return report if younger else None


@functools.cache
def checks(library: str, run: str) -> list[dict]:
    """Every check of one run: as report.sh found them, or of the command, run once however many tests ask."""
    with tempfile.TemporaryDirectory() as folder:
        report = kept(library, run)
        if report is None:
            report = Path(folder, "report.jsonl")
            python(library, run, "-m", "refbnn", "conform", library, "--timeout", "900", "--report", report)
        lines = [json.loads(line) for line in report.read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line["kind"] == "check"]


@needs_peers
@pytest.mark.parametrize("library, run", RUNS)
def test_a_peer_gets_the_verdicts_that_were_traced(library, run):
    peer, cases = PEERS_UNDER_TEST[library], {case.id: case for case in read_all("*")}
    found = checks(library, run)
    assert {check["case"] for check in found} == set(cases)
    rules = [peer.rule_for(run, cases[check["case"]], check["quantity"]) for check in found]
    surprises = [f"{check['case']}::{check['quantity']} {check['verdict']}: {check['message']}"
                 for check, rule in zip(found, rules) if check["verdict"] not in rule.verdicts]
    assert surprises == []
    assert [rule.why for rule in peer.rules if rule.why and rule.must_be_met and rule.of_run(run) and rule not in rules] == []


@needs_peers
def test_single_precision_is_seen_where_it_happens_and_gone_in_double():
    rounded = {run: sum(check["verdict"] == "LOSSY" for check in checks("laplace-torch", run))
               for run in ("0.3", "0.3 float64")}
    assert rounded["0.3"] > 100 and rounded["0.3 float64"] == 0


# Of the newest adapters: what is done to the state that `prepare` returns, and the quantities that then must be found wrong.
PLANTED = {
    ("jax", "s.y = s.y + 1", ("loss", "gradient", "fisher.empirical")),
    ("jax", "s.prior_precision = 2 * s.prior_precision", ("log_joint", "laplace.precision", "gp.mean")),
    ("laplax", "s.prior['sigma_squared'] = 1.0", ("laplace.precision", "laplace.sample", "predictive.joint")),
    ("laplax", "s.params = [2 * part for part in s.params]", ("ggn.diag", "hessian.hvp", "predictive.glm.mean")),
    ("posteriors", "s.ravelled_precision = 0 * s.precision", ("laplace.precision",)),
    ("posteriors", "s.y = s.y.flip(0)", ("fisher.empirical", "hessian.hvp")),
    ("posteriors", "s.precision = 2 * s.precision", ("vi.elbo", "vi.elbo.gradient.mean", "vi.elbo.gradient.scale")),
    ("posteriors", "s.order = s.order.sort()[0]", ("vi.elbo", "vi.elbo.gradient.mean", "vi.elbo.gradient.scale")),
    ("numpyro", "s.prior = real.dist.MultivariateNormal(s.prior.mean, s.prior.precision_matrix)", ("log_joint", "vi.kl")),
    ("numpyro", "s.X = s.X[::-1]", ("loss", "gradient")),
    ("blackjax", "s.density = lambda theta: real._State(problem).loss(theta)", ("log_joint",)),
}
FAULTY = """
from refbnn.conform.adapters import {library} as real
name, version, conventions = "faulty", "0", real.conventions
def prepare(problem):
    s = real.prepare(problem)
    {change}
    return s
"""


@needs_peers
@pytest.mark.parametrize("library, change, quantities", sorted(PLANTED))
def test_a_fault_planted_in_an_adapter_is_caught(library, change, quantities, tmp_path):
    functions = [f"def {name.replace('.', '_')}(s):\n    return real.{name.replace('.', '_')}(s)\n" for name in quantities]
    adapter, report = tmp_path / "faulty.py", tmp_path / "report.jsonl"
    adapter.write_text(FAULTY.format(library=library, change=change) + "".join(functions), encoding="utf-8")
    run = next(iter(PEERS_UNDER_TEST[library].runs))
    python(library, run, "-m", "refbnn", "conform", adapter, "-k", "structures-normal-tanh-2-2-3", "--report", report)
    lines = map(json.loads, report.read_text(encoding="utf-8").splitlines())
    verdicts = {line["quantity"]: line["verdict"] for line in lines if line["kind"] == "check" and line["quantity"] in quantities}
    assert verdicts == dict.fromkeys(quantities, "MISMATCH")


def findings() -> list[tuple[str, str, str, str]]:
    """(script, library, release, WRONG or RIGHT) from the tables in findings/README.md, headed | LIBRARY | RELEASE | ... |."""
    found, heads = [], []
    for line in (HERE / "findings" / "README.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        script = re.search(r"\((\w+)\.py\)", line) if cells else None
        if script:
            found += [(script[1], heads[0], release, verdict) for release, verdict in zip(heads[1:], cells[1:])]
        elif cells and not set(line) <= set("|- "):
            heads = cells
    return found


@needs_peers
@pytest.mark.parametrize("script, library, release, verdict", findings())
def test_a_finding_shows_what_its_page_says(script, library, release, verdict):
    package = release.partition(" with ")[2]
    if package and not Path(PEERS, package).exists():
        pytest.skip(f"setup.sh could not bring {package}")
    done = python(library, release, HERE / "findings" / f"{script}.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == verdict


def test_every_script_has_its_row_and_every_reason_its_script():
    scripts = {path.stem for path in (HERE / "findings").glob("*.py")}
    reasons = {why for peer in PEERS_UNDER_TEST.values() for why in (*(rule.why for rule in peer.rules), *peer.beside) if why}
    assert scripts == {script for script, *_ in findings()} == reasons


def test_stored_reports_are_text():
    texts = {path.name: path.read_bytes() for path in (HERE / "reports").iterdir()}
    assert len(texts) > 20 and [name for name, text in texts.items() if b"\0" in text or not text.decode("utf-8")] == []


def a_part(*verdicts: str, code: int = 0) -> list[dict]:
    """A report of these verdicts, on cases 0, 1, ..."""
    checks = [{"kind": "check", "case": str(at), "quantity": "loss", "verdict": verdict, "answered": verdict == "PASS"}
              for at, verdict in enumerate(verdicts)]
    return [{"date": "2026", "cases": {str(at): 1 for at in range(len(verdicts))}}, *checks,
            {"findings": [], "seconds": 1.0, "exit_code": code}]


def test_the_text_of_parts_is_what_a_terminal_shows(tmp_path):
    """A wrong subject, so that there is a cause to tell."""
    adapter, stored = tmp_path / "mine.py", tmp_path / "report.jsonl"
    adapter.write_text("def loss(problem):\n    return 3.0\n", encoding="utf-8")
    command = [sys.executable, "-m", "refbnn", "conform", str(adapter), "-k", "one-parameter::loss", "-k", "dead-units::loss",
               "--color", "never", "--report", str(stored)]
    shown = subprocess.run(command, capture_output=True, encoding="utf-8", cwd=HERE.parents[1])
    lines = [json.loads(line) for line in stored.read_text(encoding="utf-8").splitlines()]
    assert shown.returncode == 1 and "MISMATCH" in shown.stdout
    assert parts.text(lines) == shown.stdout


def test_a_run_in_parts_has_every_check_once_and_none_that_was_not_made():
    found = parts.joined([a_part("PASS", "SKIP", "SKIP", code=130), a_part("ERROR", "PASS", "SKIP", "UNSUPPORTED", code=1)])
    assert [(check["case"], check["verdict"]) for check in found[1:-1]] == [("0", "PASS"), ("1", "PASS"), ("3", "UNSUPPORTED")]
    assert (found[-1]["ran"], found[-1]["declared"], found[-1]["total"], found[-1]["exit_code"]) == (2, 2, 3, 1)
