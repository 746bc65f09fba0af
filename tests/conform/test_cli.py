"""The command line as people use it: what is printed, and every exit code."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from refbnn import __version__, cli
from refbnn.conform.adapters.faults import ALL
from refbnn.conform.quantities import QUANTITIES


def test_a_right_adapter_ends_with_zero(command, adapter):
    result = command("conform", adapter(), "--color", "never")
    assert result.code == 0 and result.err == ""
    assert result.out.splitlines()[-1].startswith("ran 3 / declared 3 / total ")
    assert "mine 1.0 on 1 certified case" in result.out and "PASSED" in result.out


def test_a_wrong_adapter_ends_with_one_and_the_cause(command, adapter):
    result = command("conform", adapter("def gradient(s):\n    return 2 * _good.gradient(s)\n"), "--color", "never")
    assert result.code == 1 and "MISMATCH gradient on 1 of 1 cases" in result.out and "FAILED" in result.out


@pytest.mark.parametrize("arguments, message", [
    (["conform"], "the following arguments are required: ADAPTER"),
    ([], "required"),
    (["conform", "autogrd"], "did you mean autograd?"),
    (["conform", "missing.py"], "no such file: missing.py"),
    (["conform", "refbnn", "-k", "gnn.*"], "'gnn.*' matches no case and no quantity"),
    (["conform", "refbnn", "--timeout", "0"], "expected a positive number of seconds"),
    (["conform", "refbnn", "--timeout", "soon"], "invalid"),
    (["conform", "refbnn", "--report", "report.txt"], "ends in .jsonl, .md, .html, .xml"),
    (["conform", "refbnn", "--report", "/no/such/folder/report.jsonl"], "cannot write into /no/such/folder"),
    (["explain", "tanh-normal-2-5", "ggn.full"], "no case 'tanh-normal-2-5'; nearest: tanh-normal-2-5-3"),
    (["explain", "tanh-normal-2-5-3", "gnn.full"], "no quantity 'gnn.full'; nearest: ggn.full"),
    (["explain", "tanh-normal-2-5-3", "laplace.hessian.log_det"], "has no certified laplace.hessian.log_det"),
    (["explain", "tanh-normal-2-5-3", "ggn.full", "--adapter", "missing.py"], "no such file: missing.py"),
    (["list", "everything"], "invalid choice"),
    (["scaffold", "mine.txt"], "ends in .py"),
    (["scaffold", "/no/such/folder/mine.py"], "cannot write /no/such/folder/mine.py"),
])
def test_usage_ends_with_two_and_one_clear_line(command, arguments, message):
    result = command(*arguments)
    assert result.code == 2 and result.out == ""
    last = result.err.splitlines()[-1]
    assert message in last and last.startswith("refbnn")


def test_a_typo_in_an_adapter_is_usage(command, adapter):
    result = command("conform", adapter("def gnn_full(s):\n    return 0\n"))
    assert result.code == 2 and result.out == "" and len(result.err.splitlines()) == 1 and "nearest is ggn_full" in result.err


@pytest.mark.parametrize("planted", ["", "def prepare(p):\n    raise ValueError\n", "def forward(s):\n    os._exit(0)\n"])
def test_nothing_run_ends_with_three_and_says_so(command, adapter, planted):
    good = "import os\n" + ("def forward(s):\n    return 0\n" if planted else "")
    result = command("conform", adapter(planted, good=good), "--color", "never")
    assert result.code == 3 and "nothing was checked" in result.out and "INCOMPLETE" in result.out
    assert result.out.splitlines()[-1].startswith("ran 0 / declared ")


def test_lossy_fails_only_when_digits_are_asked_for(command):
    arguments = ("conform", "faults:float32", "-k", "ggn.full")
    assert command(*arguments).code == 0
    assert command(*arguments, "--strict-digits").code == 1


def test_the_report_file_is_json_lines(command, adapter, tmp_path):
    path = tmp_path / "report.jsonl"
    result = command("conform", adapter(), "--report", str(path), "-k", "loss", "-k", "*::forward")
    kinds = [json.loads(line)["kind"] for line in path.read_text("utf-8").splitlines()]
    assert result.code == 0 and kinds == ["header", "check", "check", "summary"]


def test_verbose_shows_what_the_adapter_prints(command, adapter):
    noisy = adapter("def loss(s):\n    print('hello from inside')\n    return _good.loss(s)\n")
    assert "hello from inside" not in command("conform", noisy).err
    assert "hello from inside" in command("conform", noisy, "-v").err


def test_colour_can_be_forced(command, adapter):
    assert "\x1b[32m" in command("conform", adapter(), "--color", "always").out


def test_list_names_everything_within_eighty_columns(command):
    result = command("list")
    assert result.code == 0 and max(map(len, result.out.splitlines())) <= 80
    others = ("tanh-normal-2-5-3", "autograd", "laplace-torch", "loss.reduction", *(f"faults:{name}" for name in ALL))
    for name in (*QUANTITIES, *others):
        assert f"  {name} " in result.out
    assert command("list", "cases").out in result.out + "\n"


def test_list_adapters_says_what_to_install(command, monkeypatch):
    from refbnn.conform import load
    monkeypatch.setitem(load.BUILTIN, "peer", load.Builtin("peer", "a peer", ("no_such_peer",), "pip install peer"))
    line = next(line for line in command("list", "adapters").out.splitlines() if line.startswith("  peer "))
    assert "missing" in line and "pip install peer" in line
    assert command("conform", "peer").code == 2


@pytest.mark.parametrize("quantity", ["ggn.full", "jacobian", "laplace.log_evidence", "laplace.sample", "forward"])
def test_explain_tells_the_formula_and_how_it_was_certified(command, quantity):
    result = command("explain", "tanh-normal-2-5-3", quantity)
    assert result.code == 0 and max(map(len, result.out.splitlines())) <= 80
    for word in (QUANTITIES[quantity].formula[:20], "tier ", "condition", "tolerance", "certified ", "33 parameters"):
        assert word in result.out
    digits = [word for word in result.out.split() if len(word) > 40]
    assert bool(digits) == (quantity == "laplace.log_evidence")


@pytest.mark.parametrize("spec, code, words", [
    ("refbnn", 0, ["adapter", "digits", "normwise 1"]),
    ("faults:factor_two", 1, ["MISMATCH", "diagnosis", "answer, shape (33, 33)"]),
    ("faults:not_finite", 1, ["not finite", "diagnosis"])])
def test_explain_sets_an_answer_beside_the_certified_value(command, spec, code, words):
    result = command("explain", "tanh-normal-2-5-3", "ggn.full", "--adapter", spec)
    assert result.code == code and max(map(len, result.out.splitlines())) <= 80
    assert all(word in result.out for word in words)


def test_explain_tells_why_there_is_no_answer(command, adapter):
    result = command("explain", "tanh-normal-2-5-3", "ggn.full", "--adapter", adapter())
    assert result.code == 3 and "UNSUPPORTED: no function ggn_full" in result.out
    result = command("explain", "tanh-normal-2-5-3", "loss", "--adapter", adapter("def loss(s):\n    return 1 / 0\n"))
    assert result.code == 3 and "raised ZeroDivisionError" in result.out


def test_version_and_help(command):
    assert command("--version").out.strip() == f"refbnn {__version__}"
    for arguments in (["-h"], ["conform", "-h"], ["explain", "-h"]):
        result = command(*arguments)
        assert result.code == 0 and max(map(len, result.out.splitlines())) <= 80
    assert "runs with your rights" in " ".join(command("conform", "-h").out.split())
    assert "refbnn scaffold mine.py" in command("-h").out


def test_a_fault_of_the_kit_itself_is_no_verdict(command, adapter, monkeypatch):
    from refbnn.conform import case
    monkeypatch.setattr(case, "read_all", lambda pattern: (_ for _ in ()).throw(case.CaseError("x.json: theta: not the SHA-256")))
    result = command("conform", adapter())
    assert result.code == 3 and "not the SHA-256" in result.err and "a fault of refbnn itself" in result.err.splitlines()[-1]


def _refbnn(*arguments: str, **keywords) -> subprocess.Popen:
    command = [sys.executable, "-m", "refbnn", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=_hear_ctrl_c, **keywords)


def _hear_ctrl_c() -> None:
    """A shell's background job, which these tests may be, ignores Ctrl-C and its children inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_ctrl_c_ends_cleanly_with_what_there_is(adapter, tmp_path):
    path, flag = tmp_path / "report.jsonl", tmp_path / "asked"
    slow = adapter(f"def gradient(s):\n    open({str(flag)!r}, 'w').write(str(os.getpid()))\n    time.sleep(100)\n")
    with _refbnn("conform", slow, "--report", str(path), "-k", "tanh-normal-2-5-3") as process:
        while process.poll() is None and not (flag.exists() and flag.read_text()):
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=90)  # of a call that sleeps for 100 s, on a machine that may be busy
    assert process.returncode == 130 and b"Traceback" not in err
    assert b"INTERRUPTED" in out and out.splitlines()[-1].startswith(b"ran 2 / declared 3 / total ")
    summary = json.loads(path.read_text("utf-8").splitlines()[-1])
    assert summary["stopped"] == "interrupted" and summary["ran"] == 2
    with pytest.raises(ProcessLookupError):
        os.kill(int(flag.read_text()), 0)


def test_a_reader_that_leaves_early_is_no_error():
    process = _refbnn("list")
    process.stdout.close()
    assert b"Traceback" not in process.stderr.read()
    process.stderr.close()
    process.wait(timeout=30)


def test_an_ascii_terminal_gets_ascii():
    process = _refbnn("list", "quantities", env={**os.environ, "PYTHONIOENCODING": "ascii"})
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0 and out.isascii() and b"theta" in out and b"?" not in out


def test_the_command_line_needs_nothing_of_the_kit_to_start():
    code = "import sys, refbnn.cli; print([name for name in sys.modules if name.startswith('refbnn.conform')])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_interrupting_anything_else_ends_with_130(command, monkeypatch):
    monkeypatch.setattr(cli, "_print", lambda text: (_ for _ in ()).throw(KeyboardInterrupt))
    assert command("list", "quantities").code == 130
