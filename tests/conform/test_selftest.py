"""`refbnn selftest`: all its lines hold, and one that does not is told and ends in 3."""

from __future__ import annotations

import io

import pytest

from refbnn.conform import case as cases, selftest
from refbnn.conform.compare import Verdict


def test_every_line_holds_and_there_are_many(monkeypatch):
    """But for the samplers with faults, which take a minute and are planted one by one in test_draws.py."""
    monkeypatch.setattr(selftest, "samplers", lambda cases: iter(()))
    out = io.StringIO()
    assert selftest.main(out) == 0
    last = out.getvalue().splitlines()[-1]
    number = int(last.split()[0])
    assert last == f"{number} of {number} lines hold" and number > 250 and "BROKEN" not in out.getvalue()


def test_every_verdict_is_shown():
    lines = [*selftest.comparisons(cases.read("tanh-normal-2-5-3")), *selftest.running(cases.read("tanh-normal-2-5-3")),
             *selftest.draws([cases.read(selftest.POSTERIORS[0])])]
    shown = {word for line in lines for word in line.got.split()}
    assert {verdict.value for verdict in Verdict} <= shown


@pytest.mark.parametrize("attribute, broken", [
    ("compare", lambda *args: type("Sleepy", (), {"verdict": Verdict.PASS, "message": ""})()), ("explain", lambda *args: [])])
def test_a_kit_that_notices_nothing_is_noticed(monkeypatch, attribute, broken):
    monkeypatch.setattr(selftest, attribute, broken)
    for section in ("running", "garbage", "draws", "samplers", *(["diagnoses"] if attribute == "compare" else [])):  # slow
        monkeypatch.setattr(selftest, section, lambda cases: iter(()))
    out = io.StringIO()
    assert selftest.main(out) == 3
    assert f"BROKEN {'comparison' if attribute == 'compare' else 'diagnosis'}" in out.getvalue()


def test_no_line_at_all_is_no_success(monkeypatch):
    monkeypatch.setattr(selftest, "lines", lambda: iter(()))
    assert selftest.main(io.StringIO()) == 3
