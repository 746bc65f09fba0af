"""A small certified case, adapters written on the spot, and the command line run in this process."""

from __future__ import annotations

import textwrap
from types import SimpleNamespace

import pytest

from refbnn import cli
from refbnn.conform import case as cases, run

GOOD = """
import os, signal, sys, time
import numpy as np
from refbnn.conform.adapters import refbnn as _good

name, version = "mine", "1.0"
prepare = _good.prepare


def forward(s):
    return _good.forward(s)


def loss(s):
    return _good.loss(s)


def gradient(s):
    return _good.gradient(s)
"""


@pytest.fixture(scope="session")
def small():
    """One certified case."""
    return cases.read("tanh-normal-2-5-3")


@pytest.fixture
def adapter(tmp_path):
    """Write an adapter: a good one for three quantities, followed by whatever the test plants. Returns its path."""
    def write(planted: str = "", good: str = GOOD, name: str = "mine.py") -> str:
        path = tmp_path / name
        path.write_text(good + "\n\n" + textwrap.dedent(planted), encoding="utf-8")
        return str(path)
    return write


@pytest.fixture
def conform(small):
    """Run an adapter on the small case; `verdicts` maps quantity to verdict name, `messages` to its message."""
    def start(spec: str, *globs: str, timeout: float = 60.0, **keywords) -> SimpleNamespace:
        result = run.run(spec, run.plan([small], globs), timeout=timeout, **keywords)
        return SimpleNamespace(run=result, exit_code=result.exit_code(),
                               verdicts={check.quantity: check.verdict.name for check in result.checks},
                               messages={check.quantity: check.message for check in result.checks})
    return start


@pytest.fixture
def command(monkeypatch, capsys, small):
    """Run `refbnn ARGUMENTS` on the small case alone; returns exit code, stdout and stderr."""
    monkeypatch.setattr(cases, "read_all", lambda pattern="*": [small])

    def start(*arguments: str) -> SimpleNamespace:
        try:
            code = cli.main(arguments)
        except SystemExit as ended:  # argparse
            code = ended.code
        out, err = capsys.readouterr()
        return SimpleNamespace(code=code, out=out, err=err)
    return start
