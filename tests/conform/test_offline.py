"""Questions and answers in files: the same verdicts as of a live adapter, and what is wrong with a file is told by its line."""

from __future__ import annotations

import io
import json

import pytest

from refbnn.conform import host, load, offline, run
from refbnn.conform.compare import Verdict

ASKED = ["loss", "gradient", "ggn.*"]


@pytest.fixture
def answered(small, tmp_path):
    """Answer the questions on the small case and write what `change` makes of the replies; the path."""
    def answer(change=lambda replies: replies, spec: str = "refbnn") -> str:
        replies = io.BytesIO()
        host.serve(spec, io.BytesIO(b"".join(offline.questions(run.plan([small], ASKED)))), replies)
        lines = change([json.loads(line) for line in replies.getvalue().splitlines()])
        path = tmp_path / "answers.jsonl"
        path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines), encoding="utf-8")
        return str(path)
    return answer


@pytest.fixture
def judged(small, answered):
    def judge(*arguments, globs=ASKED):
        result = offline.judge(answered(*arguments), run.plan([small], globs))
        return result, {check.quantity: check.verdict.name for check in result.checks}
    return judge


def test_answers_in_a_file_are_judged_like_those_of_a_live_adapter(small, judged):
    result, _ = judged()
    live = run.run("refbnn", run.plan([small], ASKED))
    assert [(c.quantity, c.verdict, c.digits) for c in result.checks] == [(c.quantity, c.verdict, c.digits) for c in live.checks]
    assert result.exit_code() == 0 and result.subject.name == "refbnn" and result.ran == result.total >= 5


def test_the_order_of_the_lines_and_empty_lines_do_not_matter(judged):
    _, verdicts = judged(lambda replies: ["", *reversed(replies), "   "])
    assert verdicts["loss"] in ("PASS", "EXACT") and verdicts["ggn.full"] in ("PASS", "EXACT")


def test_a_wrong_answer_is_explained(answered, small):
    result = offline.judge(answered(spec="faults:factor_two"), run.plan([small], ASKED))
    (verdict, finding), *_ = run.findings(result)
    assert verdict is Verdict.MISMATCH and finding.cause.key == "factor:2" and result.exit_code() == 1


def test_a_quantity_that_the_introduction_does_not_name_is_a_gap(judged):
    result, verdicts = judged(_change("start", quantities=["gradient"]))
    assert verdicts["loss"] == "UNSUPPORTED" and "no function loss" in {check.message for check in result.checks}
    assert result.exit_code() == 0 and result.declared == 1


def test_what_is_not_answered_has_not_run(judged):
    result, verdicts = judged(lambda replies: [reply for reply in replies if not reply["id"].endswith("::loss")])
    assert verdicts["loss"] == "SKIP" and result.exit_code() == 3 and result.ran == result.declared - 1


def _change(name, **changes):
    return lambda replies: [{**reply, **changes} if reply["id"].endswith(name) else reply for reply in replies]


@pytest.mark.parametrize("change, verdict, message", [
    (_change("::loss", answer=3), "ERROR", "an array must be an object"),
    (_change("::loss", ok=False, error="out of memory"), "ERROR", "out of memory"),
    (_change("::loss", answer={"shape": [], "data": ["nan"]}), "MISMATCH", "not finite"),
    (_change("case tanh-normal-2-5-3", unsupported={"loss": "no"}), "UNSUPPORTED", "no"),
    (_change("case tanh-normal-2-5-3", unsupported=3), "ERROR", "prepare: unsupported: expected an object"),
    (_change("case tanh-normal-2-5-3", ok=False, error="singular"), "ERROR", "prepare: singular"),
    (lambda replies: [r for r in replies if not r["id"].startswith("case")], "PASS EXACT", "")])
def test_what_a_reply_says_counts_for_its_check(judged, change, verdict, message):
    result, verdicts = judged(change)
    assert verdicts["loss"] in verdict.split()
    assert message in next(check.message for check in result.checks if check.quantity == "loss")


@pytest.mark.parametrize("change, message", [
    (lambda replies: [], "no reply to 'start'"), (lambda replies: replies[:1], "no reply to 'echo'"),
    (lambda replies: [*replies, "garbage"], "line [0-9]+: wrote a line that is not JSON: 'garbage"),
    (lambda replies: [*replies, "[]"], "line [0-9]+: .*not a JSON object"),
    (lambda replies: [*replies, {"ok": True}], "line [0-9]+: has no id"),
    (lambda replies: [*replies, {"id": "x"}], "line [0-9]+: wrote a line that answers nothing"),
    (lambda replies: [*replies, replies[3]], "line [0-9]+: a second reply to 'tanh-normal-2-5-3::loss'"),
    (lambda replies: [*replies, {"id": "x::loss", "ok": True}], "'x::loss' is no question here"),
    (_change("start", quantities=["gnn"]), "'gnn' is no quantity"), (_change("start", ok=False, error="sorry"), "start: sorry"),
    (_change("echo", array={"shape": [1], "data": [0]}), "sent back an array")])
def test_a_file_that_cannot_be_judged_is_refused_with_the_reason(judged, change, message):
    with pytest.raises(offline.FileError, match=message):
        judged(change)


def test_declarations_are_checked(judged):
    with pytest.raises(load.LoadError, match="loss.reduction must be one of"):
        judged(_change("start", conventions={"loss.reduction": "average"}))


def test_emit_and_check_on_the_command_line(command, tmp_path):
    questions, answers = tmp_path / "questions.jsonl", tmp_path / "answers.jsonl"
    told = command("emit", str(questions), "-k", "loss", "-k", "gradient")
    assert told.code == 0 and told.out.startswith("wrote 2 questions on 1 cases")
    with answers.open("wb") as stream:
        host.serve("refbnn", io.BytesIO(questions.read_bytes()), stream)
    told = command("check", str(answers), "-k", "loss", "-k", "gradient", "--report", str(tmp_path / "report.jsonl"))
    assert told.code == 0 and told.out.splitlines()[-1] == "ran 2 / declared 2 / total 2" and (tmp_path / "report.jsonl").exists()
    told = command("check", str(answers), "-k", "loss", "-k", "gradient", "-k", "forward")
    assert told.code == 3 and "no answer in the file" in told.out


@pytest.mark.parametrize("arguments, message", [
    (["emit", "/no/such/folder/q.jsonl"], "cannot write into"), (["emit", "/tmp"], "is a folder"),
    (["check", "missing.jsonl"], "cannot read missing.jsonl"), (["emit", "q.jsonl", "-k", "gnn"], "matches no case"),
    (["check", __file__], "line 1: wrote a line that is not JSON")])
def test_usage_ends_with_two(command, arguments, message):
    told = command(*arguments)
    assert told.code == 2 and told.out == "" and message in told.err
