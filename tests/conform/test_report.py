"""The report fits 80 columns in every situation, reads without colour, and its last line counts."""

import io
import json
import math
import re

import numpy as np
import pytest

from refbnn import files, progress
from refbnn.conform import report, reports, run
from refbnn.conform.compare import Verdict
from refbnn.conform.diagnose import Cause, Finding
from refbnn.conform.quantities import QUANTITIES
from refbnn.conform.report import Style

LONG = "a very long explanation with many words and ½‖θ‖² in it, " * 6
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
def everything(small):
    """A run with every verdict, long names, long messages and findings of both kinds."""
    (_, quantities), = run.plan([small])
    subject = run.Subject("folder/mine.py", "a rather long name of an implementation", "1.0", {"loss.reduction": "mean"}, {},
                          tuple(q.name for q in quantities[2:]), ("forward",))
    verdicts = list(Verdict)
    checks = [run.Check(small.id, q.name, Verdict.UNSUPPORTED if i < 2 else verdicts[i % len(verdicts)], LONG, 3.0 + i, 1.0, None,
                        math.inf, 1e-13, 0.5 * i, True) for i, q in enumerate(quantities)]
    causes = [Cause("key" + check.quantity, LONG, LONG, 13.9, 1) if i % 2 else None for i, check in enumerate(checks)]
    findings = [(check.verdict, Finding(check.quantity, 1, 1, cause, (LONG,)))
                for cause, check in zip(causes, checks) if check.verdict in (Verdict.MISMATCH, Verdict.LOSSY)]
    return run.Run(subject, [(small, quantities)], checks, seconds=12.3), findings


@pytest.mark.parametrize("style", [Style(), Style(color=True), Style(unicode=False)])
def test_no_line_is_wider_than_eighty_columns(everything, style):
    text = report.render(*everything, style)
    assert len(everything[1]) >= 3
    assert max(len(ESCAPES.sub("", line)) for line in text.splitlines()) <= 80


def test_the_last_line_counts_ran_declared_and_total(everything):
    result, findings = everything
    text = report.render(result, findings, Style())
    assert text.splitlines()[-1] == f"ran {len(result.checks)} / declared {result.declared} / total {len(result.checks)}"


def test_columns_are_aligned(everything):
    lines = report.render(*everything, Style()).splitlines()
    head = next(line for line in lines if line.startswith("  quantity"))
    rows = [line for line in lines if line[2:].split(" ")[0] in QUANTITIES and line[0] in "✓✗~·"]
    assert len(rows) == len(everything[0].subject.quantities)
    end = head.index("digits") + len("digits")
    assert {len(re.match(r".{35}  +\d+/\d+ .{5} +[\d.–]+", row).group()) for row in rows} == {end}
    assert all(row[head.index("verdict") - 1] == " " != row[head.index("verdict")] for row in rows)


def test_colour_adds_nothing_but_colour(everything):
    plain, coloured = (report.render(*everything, Style(color=color)) for color in (False, True))
    assert "\x1b[31m" in coloured and ESCAPES.sub("", coloured) == plain


def test_without_unicode_every_letter_is_ascii_and_mathematics_is_spelt_out(everything):
    text = report.render(*everything, Style(unicode=False))
    assert text.isascii() and "1/2|theta|^2" in text and "?" not in text


def test_every_formula_and_convention_can_be_spelt_in_ascii():
    from refbnn.conform import conventions
    texts = [q.formula for q in QUANTITIES.values()] + [m for axis in conventions.AXES for m in axis.meanings.values()]
    assert not any("?" in Style(unicode=False).plain(text) for text in texts)


@pytest.mark.parametrize("encoding, unicode", [("utf-8", True), ("ascii", False), ("latin-1", False), ("cp1252", False)])
def test_the_encoding_of_the_stream_decides(encoding, unicode):
    assert report.style_for(io.TextIOWrapper(io.BytesIO(), encoding=encoding)).unicode is unicode


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


def test_colour_is_for_terminals_and_no_color_is_respected(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert report.style_for(Terminal()).color and not report.style_for(io.StringIO()).color
    assert report.style_for(io.StringIO(), "always").color and not report.style_for(Terminal(), "never").color
    monkeypatch.setenv("NO_COLOR", "1")
    assert not report.style_for(Terminal()).color and report.style_for(Terminal(), "always").color
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not report.style_for(Terminal()).color


def _run_of(small, *checks):
    subject = run.Subject("mine.py", "mine", "1", {}, {}, tuple(QUANTITIES), ())
    return run.Run(subject, [(small, [QUANTITIES[check.quantity] for check in checks])], list(checks))


def test_a_line_tells_how_many_of_which_verdict(small):
    checks = [run.Check(f"case-{i}", "loss", verdict, "", digits=15.0 - i, answered=True)
              for i, verdict in enumerate([Verdict.PASS, Verdict.EXACT, Verdict.MISMATCH, Verdict.LOSSY, Verdict.LOSSY])]
    text = report.render(_run_of(small, *checks), [], Style())
    assert re.search(r"✗ loss +2/5 +11\.0 +1 MISMATCH, 2 LOSSY\n", text)
    gaps = [run.Check("a", "loss", Verdict.PASS, "", digits=-0.0, answered=True),
            run.Check("b", "loss", Verdict.UNSUPPORTED, "no")]
    assert re.search(r"✓ loss +1/1 +1 +0\.0 +PASS\n", report.render(_run_of(small, *gaps), [], Style()))


def test_lost_digits_are_told_once_with_the_worst_of_them(small):
    lossy = [run.Check(f"case-{i}", name, Verdict.LOSSY, "", digits=7.0 - i, answered=True)
             for i, name in enumerate(("loss", "gradient"))]
    findings = [(Verdict.LOSSY, Finding(check.quantity, 1, 1, None, (f"right to {check.digits} digits",))) for check in lossy]
    text = report.render(_run_of(small, *lossy), findings, Style())
    assert "LOSSY loss, gradient on up to 1 of 1 cases, worst case-1\n  right to 6.0 digits\n" in text


def test_equal_causes_are_told_once_and_messages_that_differ_in_numbers_too(small):
    wrong = [run.Check("case", name, Verdict.MISMATCH, "", digits=0.0, answered=True) for name in ("loss", "gradient")]
    errors = [run.Check("case", name, Verdict.ERROR, f"raised Singular: pivot {i}e-{i} too small")
              for i, name in enumerate(("ggn.full", "ggn.diag"))]
    cause = Cause("factor:2", "It is doubled", "halve it", 15.0, 1)
    findings = [(Verdict.MISMATCH, Finding(check.quantity, 1, 1, cause)) for check in wrong]
    text = report.render(_run_of(small, *wrong, *errors), findings, Style())
    assert text.count("It is doubled: halve it.") == 1 and "MISMATCH loss, gradient on up to 1 of 1 cases" in text
    assert text.count("too small") == 1 and "ERROR ggn.full, ggn.diag on case" in text


def test_the_advice_for_one_quantity_is_not_given_to_another(small):
    wrong = [run.Check("case", name, Verdict.MISMATCH, "", digits=0.0, answered=True)
             for name in ("gradient", "ggn.full", "fisher.mc")]
    advised = ("multiply by 1/σ²", "multiply by 1/σ²", "by 1/(σ²)^2")
    causes = [Cause("half", "Your loss is half", advice, 15.0, 1) for advice in advised]
    findings = [(Verdict.MISMATCH, Finding(check.quantity, 1, 1, cause)) for check, cause in zip(wrong, causes)]
    text = report.render(_run_of(small, *wrong), findings, Style())
    assert "MISMATCH gradient, ggn.full on up to 1" in text and "MISMATCH fisher.mc on 1 of" in text
    assert text.count("multiply by 1/σ²") == 1 and text.count("by 1/(σ²)^2") == 1


def test_what_never_ran_is_said_in_words(small):
    gap = run.Check("case", "loss", Verdict.UNSUPPORTED, "no function loss")
    assert "nothing was checked" in report.render(_run_of(small, gap), [], Style())
    error = run.Check("case", "loss", Verdict.ERROR, "raised")
    assert "no call returned an answer: nothing was checked" in report.render(_run_of(small, error), [], Style())


def test_many_reasons_for_gaps_do_not_drown_the_rest(small):
    names = [name for name in QUANTITIES if name != "ggn.full"][:report.MAX_GROUPS + 3]
    checks = [run.Check(small.id, name, Verdict.UNSUPPORTED, f"reason of {name}") for name in names]
    result = run.Run(run.Subject("mine.py", "mine", "1", {}, {}, ("ggn.full", *names), ()), [], [
        *checks, run.Check(small.id, "ggn.full", Verdict.PASS, "", 15.0, answered=True)])
    text = report.render(result, [], Style())
    assert text.count("declared gap in") == report.MAX_GROUPS and "and 3 more reasons for gaps" in text


@pytest.mark.parametrize("key, explained", [("factor:1/C", True), ("mixed:τ,1", True), ("difference:1,-N", True), ("sign", False),
                                            ("question:noise_std", False), ("loss.reduction=mean", False)])
def test_letters_in_a_cause_are_explained(small, key, explained):
    cause = Cause(key, "a sentence", "advice", 15.0, 1)
    result = run.Run(run.Subject("mine.py", "mine", "1", {}, {}, ("loss",), ()), [], [
        run.Check(small.id, "loss", Verdict.MISMATCH, "", 0.0, answered=True)])
    text = report.render(result, [(Verdict.MISMATCH, Finding("loss", 1, 1, cause))], Style())
    assert (report.SCALES[:20] in text) == explained


@pytest.mark.parametrize("number, told", [
    (2, "not supported: forward, loss\n"), (report.MAX_NAMES + 1, f"{report.MAX_NAMES + 1} quantities")])
def test_missing_functions_are_named_as_long_as_they_do_not_drown_the_rest(small, number, told):
    checks = [run.Check(small.id, name, Verdict.UNSUPPORTED, "no function")
              for name in [name for name in QUANTITIES if name != "ggn.full"][:number]]
    result = run.Run(run.Subject("mine.py", "mine", "1", {}, {}, ("ggn.full",), ()), [], [
        *checks, run.Check(small.id, "ggn.full", Verdict.PASS, "", 15.0, answered=True)])
    text = report.render(result, [], Style())
    assert told in text and text.count("\n") < 20


def test_the_jsonl_report_is_header_checks_and_summary(everything, tmp_path):
    result, findings = everything
    path = tmp_path / "report.jsonl"
    reports.write(str(path), result, findings)
    header, *checks, summary = [json.loads(line, parse_constant=pytest.fail) for line in path.read_text("utf-8").splitlines()]
    assert header["kind"] == "header" and header["format"] == 1 and header["adapter"]["name"] == result.subject.name
    assert header["cases"] == {"tanh-normal-2-5-3": 1} and header["seed"] is None and header["date"].endswith("+00:00")
    assert [(check["kind"], check["quantity"], check["verdict"]) for check in checks] == [
        ("check", check.quantity, check.verdict.name) for check in result.checks]
    assert checks[0]["error"] is None and checks[0]["digits"] == 3.0  # infinity has no place in JSON
    assert summary["kind"] == "summary" and summary["exit_code"] == 1 and sum(summary["verdicts"].values()) == len(checks)
    assert [finding["quantity"] for finding in summary["findings"]] == [finding.quantity for _, finding in findings]


def test_a_report_is_written_whole_or_not_at_all(everything, tmp_path, monkeypatch):
    path = tmp_path / "report.jsonl"
    path.write_text("the old report")
    monkeypatch.setattr(files.os, "replace", lambda *names: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        reports.write(str(path), *everything)
    assert path.read_text() == "the old report" and [file.name for file in tmp_path.iterdir()] == ["report.jsonl"]


def test_a_report_replaces_the_old_one_with_ordinary_rights(everything, tmp_path):
    path = tmp_path / "report.jsonl"
    path.write_text("the old report")
    ordinary = path.stat().st_mode
    reports.write(str(path), *everything)
    assert path.stat().st_mode == ordinary and "the old report" not in path.read_text("utf-8")


def test_progress_is_drawn_on_terminals_alone_and_wiped_at_the_end():
    silent, terminal = io.StringIO(), Terminal()
    for stream in (silent, terminal):
        with progress.Progress(2, stream) as watch:
            watch("case-with-a-long-name " * 9)
            watch("second")
    assert silent.getvalue() == ""
    assert "0/2 case" in terminal.getvalue() and terminal.getvalue().endswith("\r")
    assert max(len(part) for part in terminal.getvalue().split("\r")) <= 79


def test_digits_of_an_answer_that_is_not_finite_do_not_break_the_table(small):
    check = run.Check("case", "loss", Verdict.MISMATCH, "1 of 1 entries not finite", digits=0.0, error=np.inf, answered=True)
    assert re.search(r"✗ loss +0/1 +0\.0 +MISMATCH", report.render(_run_of(small, check), [], Style()))
