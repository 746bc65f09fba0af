"""Adapters outside Python: programs in JavaScript and C pass, and whatever a program may do is charged to its own check."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from refbnn.conform import case as cases, load, protocol, run
from refbnn.conform.compare import Verdict

HERE = Path(__file__).parent / "languages"
PROTOCOL = (Path(protocol.__file__).parent / "PROTOCOL.md").read_text(encoding="utf-8")
LAPLACE = {"ggn.full", "laplace.precision", "laplace.covariance", "laplace.log_det", "laplace.log_evidence"}


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """The command of a language's program; skips where the language is not installed."""
    def command(language: str) -> str:
        tool = {"javascript": "node", "c": "gcc"}[language]
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
        if language == "javascript":
            return f"cmd:node '{HERE / 'mlp.js'}'"
        target = tmp_path_factory.mktemp("c") / "mlp"
        warnings = ["-Wall", "-Wextra", "-Werror"]
        subprocess.run(["gcc", "-O2", "-std=gnu11", *warnings, HERE / "mlp.c", "-o", target, "-lm"], check=True)
        return f"cmd:'{target}'"
    return command


@pytest.mark.parametrize("language, least", [("javascript", 150), ("c", 30)])
def test_a_program_in_another_language_passes_every_certified_case_that_it_supports(program, language, least):
    chosen = [case for case in cases.read_all() if len(case.problem.theta) <= 40]
    result = run.run(program(language), run.plan(chosen))
    checks = [check for check in result.checks if check.verdict is not Verdict.UNSUPPORTED]
    assert {check.verdict for check in checks} == {Verdict.EXACT, Verdict.PASS} and len(checks) >= least
    assert LAPLACE <= {check.quantity for check in checks} and result.exit_code() == 0


def test_the_programs_are_short():
    assert max(len(path.read_text(encoding="utf-8").splitlines()) for path in HERE.iterdir()) < 150


# Programs that misbehave -----------------------------------------------------------------------------------------------

RIGHT = """
import json, os, sys, time
VALUES = {}
def out(text):
    sys.stdout.write(text + "\\n")
    sys.stdout.flush()
for line in sys.stdin:
    request = json.loads(line)
    op, reply = request["op"], {"id": request["id"], "ok": True}
    if op == "stop":
        break
    if op == "start":
        reply |= {"protocol": 1, "name": "right", "version": "1", "quantities": ["forward", "loss", "gradient"]}
    if op == "echo":
        reply["array"] = request["array"]
    if op == "run":
        reply["answer"] = VALUES[request["quantity"]]
    WRONG
    out(json.dumps(reply))
"""


@pytest.fixture
def spoilt(tmp_path, small):
    """A right program, on the small case, with something planted before it replies."""
    values = {name: protocol.encode_array(small.values[name].value) for name in ("forward", "loss", "gradient")}

    def write(planted: str) -> str:
        path = tmp_path / "program.py"
        text = RIGHT.replace("{}\n", f"{values!r}\n", 1).replace("    WRONG\n", textwrap.indent(planted + "\n", "    "))
        path.write_text(f"#!{sys.executable}\n{text}", encoding="utf-8")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return f"cmd:'{path}'"
    return write


ON_LOSS = "if request.get('quantity') == 'loss': "
MISBEHAVIOUR = {
    "crashes": ("os.abort()", "crashed: killed by SIGABRT"),
    "is killed by a signal without a name": ("os.kill(os.getpid(), 37)", "crashed: killed by"),
    "ends": ("sys.stderr.write('out of luck\\n'); sys.exit(3)", "ended its process with exit status 3; last words: out of luck"),
    "closes its channel": ("os.close(1); time.sleep(60)", "closed its channel and went on running"),
    "prints garbage": ("out('hello')", "wrote a line that is not JSON: 'hello'"),
    "prints bytes": ("sys.stdout.buffer.write(b'\\xff\\xfe\\x00\\n')", "wrote a line that is not JSON"),
    "replies twice to the last": ("out(json.dumps({'id': 'echo', 'ok': True}))", "answers nothing asked"),
    "fails": ("reply = {'id': request['id'], 'ok': False, 'error': 'singular\\x1b[31m'}", "singular?[31m"),
    "fails without a word": ("reply = {'id': request['id'], 'ok': False}", "said that it failed, not why"),
    "answers nothing": ("del reply['answer']", "replied without an answer"),
    "answers text": ("reply['answer'] = '3'", "an array must be an object"),
    "answers an integer beyond all doubles": ("reply['answer']['data'] = [10 ** 400]", "doubles"),
    "says ok in other words": ("reply['ok'] = 'yes'", "answers nothing asked"),
}


@pytest.mark.parametrize("deed", MISBEHAVIOUR)
def test_what_a_program_does_is_charged_to_its_check_and_the_rest_survives(spoilt, conform, deed):
    planted, message = MISBEHAVIOUR[deed]
    report = conform(spoilt(ON_LOSS + planted), "forward", "loss", "gradient")
    assert report.verdicts["loss"] == "ERROR" and message in report.messages["loss"] and report.messages["loss"].isprintable()
    assert {report.verdicts["forward"], report.verdicts["gradient"]} == {"EXACT"}


def test_a_program_that_hangs_is_ended_at_the_time_limit(spoilt, conform):
    report = conform(spoilt(ON_LOSS + "time.sleep(60)"), "forward", "loss", "gradient", timeout=1.0)
    assert report.messages["loss"] == "hung: no answer within 1 s" and report.verdicts["gradient"] == "EXACT"


def test_a_program_that_does_not_read_its_questions_is_ended_at_the_time_limit(spoilt):
    began = time.monotonic()
    large = max(cases.read_all("*digits*"), key=lambda case: case.problem.normals.size)  # more than a pipe holds
    deaf = spoilt("if op == 'echo': out(json.dumps(reply)); time.sleep(100)")
    result = run.run(deaf, run.plan([large], ["loss"]), timeout=1.0)
    assert result.checks[0].message == "prepare: hung: no answer within 1 s" and time.monotonic() - began < 30


def test_a_line_that_nobody_asked_for_is_told_at_the_next_question(spoilt, conform):
    late = "if request.get('quantity') == 'forward': out(json.dumps(reply)); reply = 'debug'"
    report = conform(spoilt(late), "forward", "loss", "gradient")
    assert report.verdicts["forward"] == "EXACT" and report.verdicts["loss"] == "ERROR"
    assert "nobody asked for" in report.messages["loss"] or "not a JSON object" in report.messages["loss"]
    assert report.verdicts["gradient"] == "EXACT"


def test_gaps_of_a_program_and_what_it_prints_to_stderr_are_no_failures(spoilt, conform):
    planted = "sys.stderr.write('noise\\n')\nif op == 'case': reply['unsupported'] = {'loss': 'too hard'}"
    report = conform(spoilt(planted), "forward", "loss", "gradient")
    assert report.verdicts == {"forward": "EXACT", "loss": "UNSUPPORTED", "gradient": "EXACT"} and report.exit_code == 0
    assert report.messages["loss"] == "too hard"


@pytest.mark.parametrize("planted, message", [
    ("if op == 'start': reply['protocol'] = 2", "speaks protocol '2', the kit speaks 1"),
    ("if op == 'start': reply['quantities'] = ['gnn.full']", "'gnn.full' is no quantity; nearest is ggn.full"),
    ("if op == 'start': reply['conventions'] = {'loss.reduction': 'average'}", "loss.reduction must be one of"),
    ("if op == 'start': reply = {'id': 'start', 'ok': False, 'error': 'no licence'}", "no licence"),
    ("if op == 'echo': reply['array']['data'] = [float(f'{x:.6g}') for x in reply['array']['data']]", "loses digits on the way"),
    ("os.abort()", "while being started it crashed")])
def test_a_program_that_cannot_be_used_is_refused_with_the_reason(spoilt, conform, planted, message):
    with pytest.raises(load.LoadError, match=re.escape(message)):
        conform(spoilt(planted), "loss")


@pytest.mark.parametrize("spec, message", [
    ("cmd:", "expected a program"), ("cmd:no-such-program --fast", "no program no-such-program that could be run"),
    ("cmd:'unbalanced", "cannot be split into words"), ("cmd:/", "no program / that could be run")])
def test_a_program_that_is_none_is_told_before_anything_runs(spec, message):
    with pytest.raises(load.LoadError, match=re.escape(message)):
        load.check_spec(spec)


def test_a_program_that_cannot_be_executed_is_told(tmp_path, conform):
    path = tmp_path / "program"
    path.write_bytes(b"\x7fELF nonsense")
    path.chmod(0o755)
    assert os.access(path, os.X_OK)
    with pytest.raises(load.LoadError, match="could not be started"):
        conform(f"cmd:{path}", "loss")


# The page ----------------------------------------------------------------------------------------------------------------

def test_the_lines_on_the_page_are_of_the_protocol():
    blocks = re.findall(r"^```json\n(.*?)^```", PROTOCOL, re.MULTILINE | re.DOTALL)
    told = {}
    for block in blocks:
        asked, answered = block.splitlines()
        request = protocol.read_request(asked.encode())
        told[request["op"]] = request, protocol.read_reply(answered.encode(), request["id"])
    assert set(told) == {"start", "echo", "case", "run"}
    assert protocol.read_introduction(told["start"][1]).quantities == ("loss", "ggn.full")
    sent, back = told["echo"][0]["array"], protocol.decode_array(told["echo"][1]["array"])
    assert sent.tobytes() == back.tobytes()
    assert protocol.read_gaps(told["case"][1]) == {"ggn.full": "not written yet"}
    from refbnn.conform.adapters import refbnn as right
    expected = right.loss(right.prepare(told["case"][0]["problem"]))
    assert abs(protocol.read_answer(told["run"][1]) - expected) < 1e-14
    assert f"protocol **{protocol.VERSION}**" in PROTOCOL
