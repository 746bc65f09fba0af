"""An adapter may do anything: its fault costs its own check, is told in one line, and never ends green."""

import os
import time

import pytest

from refbnn.conform import run
from refbnn.conform.compare import Verdict

FAULTS = {
    "raises": ("raise TypeError('no such thing')", "raised TypeError: no such thing (mine.py:"),
    "calls sys.exit": ("sys.exit(3)", "called sys.exit(3)"),
    "exits at once": ("os._exit(7)", "ended its process with exit status 7"),
    "exits with success": ("os._exit(0)", "ended its process with exit status 0"),
    "segfault": ("os.kill(os.getpid(), signal.SIGSEGV)", "crashed: killed by SIGSEGV"),
    "interrupts itself": ("raise KeyboardInterrupt", "raised KeyboardInterrupt"),
    "unprintable exception": ("raise type('E', (Exception,), {'__str__': lambda self: 1 / 0})()", "ZeroDivisionError"),
    "endless recursion": ("return _forever()", "raised RecursionError"),
    "writes into an input": ("s.problem.theta[0] = 1", "read-only"),
    "forces its way into an input": (
        "s.problem.X.flags.writeable = True; s.problem.X[:] = 0; return 0.0",
        "wrote into problem.X: inputs must be left as they are"),
    "garbage in the channel": ("_answer(b'garbage')", "wrote a line that is not JSON: 'garbage'"),
    "a list in the channel": ("_answer(b'[1]')", "not a JSON object"),
    "forged reply": ("_answer(b'{\"id\":\"start\",\"ok\":true}')", "answers nothing asked"),
    "None": ("return None", "returned None, not numbers"),
    "text": ("return 'seven'", "returned a str, not numbers"),
    "ragged list": ("return [[1.0], [2.0, 3.0]]", "NumPy cannot read"),
    "object array": ("return np.array([1.0, None], dtype=object)", "of objects, not of numbers"),
    "complex": ("return 1j", "complex128"),
    "a function": ("return prepare", "returned a function, not numbers"),
    "huge array": ("return np.zeros(6_000_000)", "more than 5000000 numbers"),
    "escape codes": ("raise ValueError('\\x1b[31mred\\n' + 500 * 'x')", "raised ValueError: ?[31mred xxx"),
    "NaN": ("return np.nan * _good.{name}(s)", "not finite"),
    "infinity": ("return np.inf + _good.{name}(s)", "not finite"),
    "wrong shape": ("return np.ones((1, 2, 3, 4))", "shape"),
    "huge integer": ("return 10 ** 400", ""),
}
HARMLESS = {
    "prints what looks like a reply": "print('{\"id\": \"start\", \"ok\": true}')",
    "prints much": "print('x' * 200_000)",
    "closes sys.stdout": "sys.stdout.close()",
    "closes stdout": "os.close(1)",
    "reads stdin": "assert sys.stdin.read() == ''",  # before the next one, which may share its process
    "closes stdin": "os.close(0)",
    "writes to stderr": "sys.stderr.write('warning\\n')",
    "warns": "import warnings; warnings.warn('old')",
    "changes the folder": "os.chdir('/')",
}
HELPERS = """
def _forever():
    return _forever()


def _answer(line):
    import stat
    for fd in range(3, 20):
        try:
            if stat.S_ISFIFO(os.fstat(fd).st_mode):
                os.write(fd, line + b"\\n")
        except OSError:
            pass
    time.sleep(60)
"""
OPENING = "import os, signal, sys, time\nimport numpy as np\nfrom refbnn.conform.adapters import refbnn as _good\n"


@pytest.fixture(scope="module")
def faulty(tmp_path_factory, small):
    """Every fault in a quantity of its own, good answers between them: fault -> (its check, the check after it)."""
    path, checks = tmp_path_factory.mktemp("faulty") / "mine.py", {}
    bodies = {**{fault: body for fault, (body, _) in FAULTS.items()},
              **{fault: f"{body}; return _good.{{name}}(s)" for fault, body in HARMLESS.items()}}
    (_, quantities), = run.plan([small])
    room = len(quantities) // 2
    for batch in (list(bodies)[i:i + room] for i in range(0, len(bodies), room)):
        planted = {quantities[2 * i].function_name: bodies[fault] for i, fault in enumerate(batch)}
        functions = [f"def {q.function_name}(s):\n    " + planted.get(q.function_name, "return _good.{name}(s)").replace(
            "{name}", q.function_name) for q in quantities]
        path.write_text("\n\n\n".join([OPENING + HELPERS, "prepare = _good.prepare", *functions, ""]), encoding="utf-8")
        found = run.run(str(path), run.plan([small])).checks
        checks |= {fault: (found[2 * i], found[2 * i + 1]) for i, fault in enumerate(batch)}
    return checks


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_charged_to_its_own_check_and_the_next_is_judged(faulty, fault):
    check, after = faulty[fault]
    assert check.verdict in (Verdict.ERROR, Verdict.MISMATCH) and FAULTS[fault][1] in check.message
    assert check.answered == (check.verdict is Verdict.MISMATCH)
    assert len(check.message) <= 300 and check.message.isprintable()
    assert after.verdict in (Verdict.PASS, Verdict.EXACT)


@pytest.mark.parametrize("deed", HARMLESS)
def test_what_an_adapter_prints_or_closes_does_no_harm(faulty, deed):
    assert {check.verdict for check in faulty[deed]} <= {Verdict.PASS, Verdict.EXACT}


def test_a_hang_is_ended_at_the_time_limit(adapter, conform):
    began = time.monotonic()
    report = conform(adapter("def loss(s):\n    time.sleep(100)\n"), "forward", "loss", "gradient", timeout=2.0)
    assert report.verdicts["loss"] == "ERROR" and report.messages["loss"] == "hung: no answer within 2 s"
    assert report.verdicts["gradient"] in ("PASS", "EXACT")
    assert time.monotonic() - began < 30


def test_the_process_and_its_children_are_gone_after_a_hang(adapter, conform, tmp_path):
    planted = f"""
    def loss(s):
        import subprocess
        child = subprocess.Popen(["sleep", "100"])
        open({str(tmp_path / 'pids')!r}, "w").write(f"{{os.getpid()}} {{child.pid}}")
        time.sleep(100)
    """
    conform(adapter(planted), "loss", timeout=2.0)
    for pid in map(int, (tmp_path / "pids").read_text().split()):
        assert _ended(pid)


def _ended(pid: int) -> bool:
    for _ in range(100):
        try:
            with open(f"/proc/{pid}/stat") as status:
                if status.read().rpartition(")")[2].split()[0] == "Z":
                    return True
        except FileNotFoundError:
            return True
        time.sleep(0.02)
    return False


def test_an_adapter_that_crashes_on_every_call_is_given_up(adapter, conform):
    report = conform(adapter("def prepare(problem):\n    os._exit(1)\n"), "forward", "loss", "gradient")
    assert set(report.verdicts.values()) == {"ERROR"}  # one case: its preparation failed once
    crash = "".join(f"def {name}(s):\n    os._exit(1)\n\n" for name in
                    ("forward", "loss", "gradient", "log_joint", "ggn_full", "ggn_diag", "jacobian"))
    report = conform(adapter(crash))
    assert [check.verdict.name for check in report.run.checks if check.verdict is not Verdict.UNSUPPORTED] == (
        ["ERROR"] * run.MAX_CRASHES + ["SKIP"] * 2)
    assert report.exit_code == 3 and report.run.stopped.startswith("gave up: 5 crashes in a row")
    assert (report.run.ran, report.run.declared) == (0, 7)


def test_an_answer_in_between_resets_the_count_of_crashes(adapter, conform):
    names = [quantity for quantity in ("loss", "log_joint", "gradient", "jacobian", "ggn_full", "hessian_full", "fisher_full")]
    crash = "".join(f"def {name}(s):\n    os._exit(1)\n\n" for name in names)
    good = "".join(f"def {name}(s):\n    return _good.{name}(s)\n\n" for name in ("jacobian", "ggn_diag"))
    report = conform(adapter(crash + good))
    assert not report.run.stopped and report.run.ran == 3 and report.exit_code == 1


def test_an_adapter_that_raises_on_every_call_ends_with_nothing_run(adapter, conform):
    report = conform(adapter("def forward(s):\n    return 1 / 0\n", good="name = 'mine'\n"))
    assert report.verdicts["forward"] == "ERROR"
    assert (report.run.ran, report.run.declared, report.exit_code) == (0, 1, 3)


def test_last_words_are_those_of_the_call_that_crashed(adapter, conform):
    planted = """
    def forward(s):
        print("long before")

    def loss(s):
        sys.stderr.write("malloc(): corrupted\\n\\n")
        os._exit(1)

    def gradient(s):
        os._exit(1)
    """
    report = conform(adapter(planted), "forward", "loss", "gradient")
    assert report.messages["loss"] == "ended its process with exit status 1; last words: malloc(): corrupted"
    assert report.messages["gradient"] == "ended its process with exit status 1"


def test_an_adapter_without_functions_ends_with_nothing_run(adapter, conform):
    report = conform(adapter(good="name = 'empty'\n"))
    assert (report.run.ran, report.run.declared, report.exit_code) == (0, 0, 3)
    assert report.run.total == len(report.run.checks) > 20


@pytest.mark.parametrize("part", ["prepare", "unsupported"])
@pytest.mark.parametrize("body, message", [("raise ValueError('not today')", "raised ValueError: not today"),
                                           ("os._exit(1)", "exit status 1"), ("sys.exit()", "called sys.exit(None)")])
def test_a_fault_before_the_first_question_is_charged_to_the_whole_case(adapter, conform, part, body, message):
    report = conform(adapter(f"def {part}(*arguments):\n    {body}\n"), "forward", "loss")
    assert set(report.verdicts.values()) == {"ERROR"}
    assert all(text.startswith("prepare: ") and message in text for text in report.messages.values())
    assert report.exit_code == 3


def test_declared_gaps_are_not_asked_and_not_prepared(adapter, conform):
    gap = "def unsupported(problem, quantity):\n    return 'no ' + problem.activation if quantity != 'loss' else None\n"
    report = conform(adapter(gap), "forward", "loss")
    assert report.verdicts["forward"] == "UNSUPPORTED" and report.messages["forward"] == "no tanh"
    assert (report.run.ran, report.run.declared, report.run.total, report.exit_code) == (1, 1, 2, 0)
    report = conform(adapter(gap + "def prepare(problem):\n    os._exit(1)\n"), "forward")
    assert set(report.verdicts.values()) == {"UNSUPPORTED"} and report.exit_code == 3


def test_without_prepare_the_state_is_the_problem(adapter, conform):
    report = conform(adapter("def forward(problem):\n    return problem.y\n", good="import numpy\n"), "forward")
    assert report.verdicts == {"forward": "MISMATCH"}


@pytest.mark.parametrize("pattern", ["*::gradient", "tanh-normal-2-5-3::grad*"])
def test_a_known_failure_must_fail(adapter, conform, pattern):
    known = f"known_failures = {{{pattern!r}: 'issue 7'}}\n"
    wrong = "def gradient(s):\n    return 2 * _good.gradient(s)\n"
    report = conform(adapter(known + wrong), "loss", "gradient")
    assert report.verdicts["gradient"] == "XFAIL" and report.messages["gradient"].startswith("issue 7 [MISMATCH")
    assert report.exit_code == 0
    report = conform(adapter(known), "loss", "gradient")
    assert report.verdicts["gradient"] == "XPASS" and report.exit_code == 1


def test_a_known_failure_that_raises_is_expected_but_alone_is_nothing_run(adapter, conform):
    planted = "known_failures = {'*::gradient': 'issue 7'}\ndef gradient(s):\n    raise ValueError\n"
    assert conform(adapter(planted), "loss", "gradient").exit_code == 0
    assert conform(adapter(planted), "gradient").exit_code == 3


def test_interrupting_keeps_what_there_is(adapter, conform):
    def interrupt(label):
        if label.endswith(" gradient"):
            raise KeyboardInterrupt
    report = conform(adapter(), watch=interrupt)
    assert report.exit_code == 130 and report.run.stopped == "interrupted"
    assert report.verdicts["loss"] in ("PASS", "EXACT") and report.verdicts["gradient"] == "SKIP"
    assert (report.run.ran, report.run.declared) == (2, 3) and len(report.run.checks) == report.run.total


def test_every_question_is_announced_before_it_is_asked(adapter, conform):
    labels = []
    conform(adapter(), "forward", "loss", watch=labels.append)
    assert labels == ["tanh-normal-2-5-3 forward", "tanh-normal-2-5-3 loss"]


def test_the_state_is_prepared_afresh_after_a_crash_and_inputs_are_restored_after_a_mutation(adapter, conform):
    planted = """
    def loss(s):
        s.problem.X.flags.writeable = True
        s.problem.X[:] = 0
        return 0.0
    """
    report = conform(adapter(planted), "forward", "loss", "gradient")
    assert report.verdicts["gradient"] in ("PASS", "EXACT")


@pytest.mark.parametrize("checks, expected", [
    (["PASS"], 0), (["EXACT", "XFAIL"], 0), (["LOSSY"], 0), (["PASS", "UNSUPPORTED"], 0), (["PASS", "MISMATCH"], 1),
    (["PASS", "ERROR"], 1), (["XPASS"], 1), (["UNSUPPORTED"], 3), (["PASS", "SKIP"], 3), (["PASS", "UNDERPOWERED"], 4),
    (["INCONCLUSIVE"], 4), (["UNDERPOWERED", "MISMATCH"], 1), ([], 3)])
def test_exit_codes_follow_the_worst_verdict(small, checks, expected):
    answered = {"UNSUPPORTED": False, "SKIP": False, "ERROR": False}
    subject = run.Subject("mine", "mine", "", {}, {}, (), ())
    made = [run.Check("case", "loss", Verdict[name], "", answered=answered.get(name, True)) for name in checks]
    assert run.Run(subject, [], made).exit_code() == expected
    assert run.Run(subject, [], made).exit_code(strict_digits=True) == (1 if checks == ["LOSSY"] else expected)


def test_a_glob_selects_by_case_or_quantity_or_both_and_one_that_matches_nothing_is_refused(small):
    assert run.count(run.plan([small], ["ggn.*"])) == 3
    assert run.count(run.plan([small], ["tanh-*::loss", "forward"])) == 2
    assert run.count(run.plan([small], ["tanh-normal-2-5-3"])) == run.count(run.plan([small])) == len(run.plan([small])[0][1])
    for glob in ("gnn.*", "relu-*", "relu-*::loss", ""):
        with pytest.raises(ValueError, match="matches no case and no quantity"):
            run.plan([small], ["loss", glob])


def test_roots_and_samples_are_asked_where_only_the_covariance_is_certified(small):
    names = {quantity.name for quantity in run.plan([small])[0][1]}
    assert {"laplace.scale", "laplace.sample"} <= names and "laplace.scale" not in small.values


def test_this_process_is_untouched(adapter, conform):
    before = (os.getcwd(), dict(os.environ))
    conform(adapter("os.environ['REFBNN_TEST'] = '1'\nos.chdir('/')\n"), "loss")
    assert before == (os.getcwd(), dict(os.environ))
