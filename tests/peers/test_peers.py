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
from pathlib import Path

import pytest

from refbnn.conform.case import read_all

from .rules import asdl, backpack, curvlinops, laplace_torch, laplax, nngeometry, posteriors
from .rules import jax as plain_jax
from .rules import torch as plain_torch
from .rules.peer import Peer

HERE = Path(__file__).parent
PEERS = os.environ.get("REFBNN_PEERS", "")
HOMES = {home: Path(PEERS, home, "bin", "python") for home in ("env", "jax")}
needs_peers = pytest.mark.skipif(not (PEERS and all(home.exists() for home in HOMES.values())), reason=(
    "peer libraries are not installed: run `bash tests/peers/setup.sh DIR` and set REFBNN_PEERS=DIR"))

MODULES = (plain_torch, laplace_torch, curvlinops, backpack, asdl, nngeometry, posteriors, plain_jax, laplax)
PEERS_UNDER_TEST: dict[str, Peer] = {module.PEER.library: module.PEER for module in MODULES}
RUNS = [(library, run) for library, peer in PEERS_UNDER_TEST.items() for run in peer.runs]


def environment(library: str, run: str) -> dict[str, str]:
    """The variables of the run; PYTHONPATH selects a release that is not the one in the environment."""
    peer, release = PEERS_UNDER_TEST[library], run.split()[0]
    older = {} if release == peer.current else {"PYTHONPATH": str(Path(PEERS, f"{library}-{release}"))}
    return {**os.environ, "OMP_NUM_THREADS": "1", **peer.runs[run], **older}


def python(library: str, run: str, *arguments: str | Path) -> subprocess.CompletedProcess:
    """The interpreter of the library's environment, for one run."""
    command = [HOMES[PEERS_UNDER_TEST[library].home], "-W", "ignore", *arguments]
    return subprocess.run(command, env=environment(library, run), capture_output=True, text=True, timeout=1800)


@functools.cache
def checks(library: str, run: str) -> list[dict]:
    """Every check of one run of the command, run once however many tests ask."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.jsonl")
        python(library, run, "-m", "refbnn", "conform", library, "--report", report)
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
    done = python(library, release, HERE / "findings" / f"{script}.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == verdict


def test_every_script_has_its_row_and_every_reason_its_script():
    scripts = {path.stem for path in (HERE / "findings").glob("*.py")}
    reasons = {why for peer in PEERS_UNDER_TEST.values() for why in (*(rule.why for rule in peer.rules), *peer.beside) if why}
    assert scripts == {script for script, *_ in findings()} == reasons
