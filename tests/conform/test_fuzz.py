"""Malformed input of every kind ends in one clear error: never another exception, a hang or half a file.

Some hundred inputs a reader run here; `python -m pytest -m slow tests/conform/test_fuzz.py` takes ten thousand each.
"""

from __future__ import annotations

import functools
import io
import json
import os
import sys
import time
from typing import Callable

import pytest

from refbnn.conform import case as cases, host, load, offline, protocol, run
from refbnn.conform.quantities import QUANTITIES
from refbnn.conform.reports import baseline, jsonl, junit, markdown, matrix, page, records
from tests.conform import fuzz

SHORT, WIDE = 150, 10_000
LIMIT = 20.0  # seconds for one input, on a machine that may be busy
CASE = "linear-normal-2-3"


@functools.cache
def _case() -> cases.Case:
    return cases.read(CASE)


@functools.cache
def _asked() -> tuple[run.Plan, list[bytes]]:
    plan = run.plan([_case()], ["loss", "forward", "ggn.diag"])
    return plan, list(offline.questions(plan))


@functools.cache
def _replies() -> bytes:
    replies = io.BytesIO()
    host.serve("refbnn", io.BytesIO(b"".join(_asked()[1])), replies)
    return replies.getvalue()


@functools.cache
def _run() -> run.Run:
    with io.BytesIO(_replies()) as stream:
        made = run.Run(run.subject("x", protocol.read_introduction(json.loads(stream.readline()))), _asked()[0])
    for quantity in _asked()[0][0][1]:
        run.record(made, _case(), quantity, run.Outcome(answer=2 * _case().values[quantity.name].value))
    return made


def _clear(error: Exception) -> None:
    """A sentence for people: printable, on one line, not endless."""
    text = str(error)
    assert text and text.isprintable() and len(text) <= 1000, text


def _read_case(data: bytes) -> None:
    found = cases.parse(data, f"{CASE}.json")
    assert found.problem.num_params == _case().problem.num_params


def _read_reply(data: bytes) -> None:
    for line in data.split(b"\n"):
        wanted = protocol.decode_line(line).get("id")
        reply = protocol.read_reply(line, wanted if isinstance(wanted, str) else "start")
        protocol.read_seconds(reply)
        protocol.read_gaps(reply)
        for reader in (protocol.read_introduction, protocol.read_answer, protocol.check_echo):
            try:
                reader(reply)
            except protocol.Unreadable as error:
                _clear(error)


def _read_introduction(data: bytes) -> None:
    run.subject("x", protocol.read_introduction(protocol.read_reply(data, "start")))


def _read_answer(data: bytes) -> None:
    protocol.read_answer(protocol.read_reply(data, f"{CASE}::forward"))


def _serve(data: bytes) -> None:
    """The host answers every line, whatever it is, with a reply of the protocol."""
    replies = io.BytesIO()
    host.serve("refbnn", io.BytesIO(data), replies)
    for line in replies.getvalue().splitlines():
        reply = protocol.decode_line(line)
        assert type(reply["ok"]) is bool and (reply["ok"] or _clear(Exception(reply["error"])) is None)
        if not reply["ok"] and not reply["error"].startswith("raised"):
            raise protocol.Unreadable(reply["error"])


def _judge(data: bytes) -> None:
    found = offline.judge_bytes(data, "answers", _asked()[0])
    assert len(found.checks) == run.count(_asked()[0])
    run.findings(found)


def _read_report(data: bytes) -> None:
    report = records.parse(data, "report.jsonl")
    table = matrix.Matrix((report, report))
    for text in (page.render(report), markdown.render(report), junit.render(report), page.render_matrix(table),
                 markdown.render_matrix(table), matrix.render(table)):
        assert isinstance(text, str)
    baseline.render(baseline.compare(_run(), report), "old", "FAILED")


READERS: dict[str, tuple[Callable[[], bytes], Callable[[bytes], None], tuple[type[Exception], ...]]] = {
    "case reader": (lambda: (cases.CASES / f"{CASE}.json").read_bytes(), _read_case, (cases.CaseError,)),
    "kit, any reply": (lambda: _replies().strip(), _read_reply, (protocol.Unreadable,)),
    "kit, introduction": (lambda: _replies().splitlines()[0], _read_introduction, (protocol.Unreadable, load.LoadError)),
    "kit, answer": (lambda: _replies().splitlines()[3], _read_answer, (protocol.Unreadable,)),
    "host, requests": (lambda: b"".join(_asked()[1][:5]), _serve, (protocol.Unreadable,)),
    "answers in a file": (_replies, _judge, (offline.FileError, load.LoadError)),
    "report reader": (lambda: jsonl.text(jsonl.lines(_run(), run.findings(_run()))).encode(), _read_report,
                      (records.ReportError,)),
}


def refused(name: str, count: int, seed: int = 1) -> int:
    """How many of so many inputs the reader refuses; AssertionError for a slow one or an unclear message."""
    text, read, clear = READERS[name]
    number = 0
    for data in fuzz.inputs(text(), seed, count):
        began = time.monotonic()
        try:
            read(data)
        except clear as error:
            _clear(error)
            number += 1
        assert time.monotonic() - began < LIMIT, data[:200]
    return number


@pytest.mark.parametrize("name", READERS)
def test_malformed_input_ends_in_a_clear_error(name, capfd):
    assert refused(name, SHORT) > SHORT / 3


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_much_malformed_input_ends_in_a_clear_error(name, capfd):
    assert refused(name, WIDE, seed=2) > WIDE / 3


@pytest.mark.parametrize("name", READERS)
def test_the_inputs_are_spoilt_from_what_is_read(name):
    make, read, _ = READERS[name]
    text = make()
    read(text)
    assert sum(data != text for data in fuzz.inputs(text, 3, 100)) > 90


PROGRAM = """
import random, sys
sys.path.insert(0, {root!r})
from tests.conform import fuzz
rng, replies = random.Random({seed}), {replies!r}.splitlines()
for number, line in enumerate(sys.stdin.buffer):
    reply = replies[min(number, len(replies) - 1)]
    sys.stdout.buffer.write((fuzz.spoilt(reply, rng) if number >= {sound} and rng.random() < 0.7 else reply) + b"\\n")
    sys.stdout.buffer.flush()
"""


def _live(path, seed: int, sound: int) -> str:
    """What becomes of a program that spoils its replies from number `sound` on."""
    root = str(os.path.dirname(os.path.dirname(os.path.dirname(__file__))))
    path.write_text(PROGRAM.format(root=root, seed=seed, replies=_replies(), sound=sound), encoding="utf-8")
    try:
        found = run.run(f"cmd:{sys.executable} -S -E {path}", _asked()[0], timeout=5.0)
    except load.LoadError as error:
        _clear(error)
        return "refused"
    assert len(found.checks) == run.count(_asked()[0]) and all(check.message.isprintable() for check in found.checks)
    return found.checks[-1].verdict.name


@pytest.mark.parametrize("seed", range(6))
def test_a_program_that_spoils_its_replies_is_judged_or_refused(tmp_path, seed):
    assert _live(tmp_path / "program.py", seed, sound=seed % 3) in {
        "refused", "ERROR", "EXACT", "PASS", "SKIP", "MISMATCH", "UNSUPPORTED"}


@pytest.mark.slow
def test_many_programs_that_spoil_their_replies_are_judged_or_refused(tmp_path):
    for seed in range(100, 400):
        _live(tmp_path / "program.py", seed, sound=seed % 4)


def test_no_quantity_is_forgotten_by_the_protocol():
    said = {"id": "start", "ok": True, "protocol": 1, "name": "x", "version": "", "quantities": list(QUANTITIES)}
    assert protocol.read_introduction(said).quantities == tuple(QUANTITIES)
