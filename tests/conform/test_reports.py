"""Report files: read back as they were written, safe whatever an adapter says, side by side, and against a baseline."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from refbnn.conform import reports, run
from refbnn.conform.compare import Verdict
from refbnn.conform.diagnose import Cause, Finding
from refbnn.conform.reports import baseline, jsonl, junit, markdown, matrix, page, records

HOSTILE = ("</table></script><script>alert(1)</script>' onmouseover='alert(2) \"><img src=x onerror=alert(3)> | `x` *b* "
           "[l](javascript:0) \x1b[31m\ud800\x00 &lt;")


@pytest.fixture
def hostile(small):
    """A run with every verdict, in which everything that an adapter can say is hostile."""
    (_, quantities), = run.plan([small])
    subject = run.Subject(HOSTILE, HOSTILE, HOSTILE, {HOSTILE: HOSTILE}, {}, tuple(q.name for q in quantities), ())
    verdicts = list(Verdict)
    checks = [run.Check(small.id, q.name, verdicts[i % len(verdicts)], HOSTILE, 15.0 - i, 1.0, None, 0.1, 1e-13, 0.5, True)
              for i, q in enumerate(quantities)]
    findings = [(Verdict.MISMATCH, Finding("loss", 1, 2, Cause(HOSTILE, HOSTILE, HOSTILE, 13.9, 1))),
                (Verdict.LOSSY, Finding("gradient", 1, 1, None, (HOSTILE, "more")))]
    return run.Run(subject, [(small, quantities)], checks, seconds=12.3), findings


@pytest.fixture
def report(hostile):
    return records.report(jsonl.lines(*hostile))


class Page(HTMLParser):
    """Which elements and attributes a page has, and whether every element is closed."""

    VOID = {"meta", "link", "br", "img", "wbr"}

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.attributes, self.open, self.text = set(), set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attributes}
        self.open += [tag] * (tag not in self.VOID)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.mark.parametrize("render", [page.render, lambda report: page.render_matrix(matrix.Matrix((report, report)))])
def test_the_page_holds_no_element_that_an_adapter_planted_and_asks_for_nothing(report, render):
    text = render(report)
    found = Page(text)
    assert found.open == [] and not found.tags & {"script", "img", "iframe", "object", "link", "a"}
    assert found.attributes <= {"lang", "charset", "name", "content", "http-equiv", "class", "scope", "title", "open"}
    assert "http:" not in text and "https:" not in text and "url(" not in text and "@import" not in text
    assert "<script>alert(1)</script>" in "".join(found.text)  # it is shown, not obeyed


def test_the_page_is_for_light_and_dark_and_narrow_screens(report):
    text = page.render(report)
    assert "prefers-color-scheme: dark" in text and "width=device-width" in text and "overflow-x: auto" in text


def test_findings_that_say_the_same_are_told_together_and_none_says_nothing(small):
    cause = Cause("mean", "Equal after x N", "multiply by N", 15.0, 1)
    found = [(Verdict.MISMATCH, Finding("loss", 3, 5, cause)), (Verdict.MISMATCH, Finding("ggn.full", 4, 6, cause)),
             (Verdict.LOSSY, Finding("ggn.diag", 1, 2, cause)), (Verdict.MISMATCH, Finding("jacobian", 2, 2, None)),
             (Verdict.MISMATCH, Finding("gradient", 1, 2, None))]
    checks = [run.Check(small.id, "loss", Verdict.MISMATCH, "of another quantity", 0.0),
              run.Check(small.id, "gradient", Verdict.PASS, "of a right one", 15.0),
              run.Check("other", "gradient", Verdict.MISMATCH, "less wrong", 3.0),
              run.Check("third", "gradient", Verdict.MISMATCH, "expected shape (7,), got (7, 1)", 0.0)]
    subject = run.Subject("spec", "name", "1", {}, {}, (), ())
    made = records.report(jsonl.lines(run.Run(subject, [], checks), found))
    told = [(cause.verdict, cause.quantity, cause.where, cause.text) for cause in made.causes]
    assert told == [
        ("MISMATCH", "loss, ggn.full", "on up to 4 of 6 cases", "Equal after x N: multiply by N."),
        ("LOSSY", "ggn.diag", "on 1 of 2 cases", "Equal after x N: multiply by N."),
        ("MISMATCH", "jacobian", "on 2 of 2 cases", "nothing in the search comes near"),
        ("MISMATCH", "gradient", "on 1 of 2 cases", "expected shape (7,), got (7, 1)")]
    for text in (page.render(made), markdown.render(made)):
        assert text.count("multiply by N") == 2 and "nothing in the search comes near" in text


def test_a_dotted_name_may_be_broken_after_a_dot_alone(report):
    assert "<th scope=row title='jacobian.vp'>jacobian.<wbr>vp</th>" in page.render(report)


def test_every_check_of_the_run_is_in_the_heat_map(report):
    text = page.render(report)
    body = text[text.index("<table class=map"):]
    spots = re.findall(r"<td class=(\w+) title='tanh-normal-2-5-3::([\w.]+): (\w+)", body)
    asked = [check for check in report.checks if check.verdict != "UNSUPPORTED"]
    assert [(name, verdict) for _, name, verdict in spots] == [(check.quantity, check.verdict) for check in asked]
    shades = {verdict: shade for shade, _, verdict in spots}
    assert (shades["MISMATCH"], shades["ERROR"], shades["LOSSY"], shades["XFAIL"], shades["SKIP"]) == (
        "bad", "bad", "lossy", "known", "open")


@pytest.mark.parametrize("digits, shade", [(0.0, "s0"), (1.9, "s0"), (2.0, "s1"), (13.9, "s6"), (16.0, "s7"), (-0.0, "s0")])
def test_shades_are_steps_of_two_digits(digits, shade):
    assert page._shade("PASS", digits) == shade


def test_markdown_is_a_table_whatever_an_adapter_says(report):
    text = markdown.render(report) + markdown.render_matrix(matrix.Matrix((report,)))
    assert re.findall(r"<[^>]*>", text) == ["<details>", "<summary>", "</summary>", "</details>"]
    tables = [block.splitlines() for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)]
    assert len(tables) == 3
    for rows in tables:
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1
    assert not re.search(r"(?<!\\)[`\[]", text) and "ran " in text


def test_junit_counts_what_failed_and_holds_digits(report):
    root = ElementTree.fromstring(junit.render(report))
    cases = list(root.iter("testcase"))
    assert root.get("tests") == str(len(cases)) == str(len(report.checks))
    for kind, count in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        assert len(list(root.iter(kind))) == int(root.get(count)) > 0
    told = {p.get("name"): p.get("value") for p in cases[0].iter("property")}
    assert told.pop("message").startswith("</table>")
    assert told == {"verdict": "EXACT", "digits": "15.0", "tolerance": "1e-13"}
    assert cases[0].get("classname") == "tanh-normal-2-5-3"


def test_a_report_is_read_back_as_it_was(hostile, tmp_path):
    path = tmp_path / "report.jsonl"
    reports.write(str(path), *hostile)
    back, here = records.read(str(path)), records.report(jsonl.lines(*hostile))
    assert replace(back, date="") == replace(here, date="")
    assert back.findings[0].cases == 1 and back.findings[1].text.endswith("; more") and back.exit_code == 1


@pytest.mark.parametrize("suffix", [".jsonl", ".md", ".html", ".xml"])
def test_every_format_is_written_whole_or_not_at_all(hostile, tmp_path, monkeypatch, suffix):
    path = tmp_path / f"report{suffix}"
    reports.write(str(path), *hostile)
    before = path.read_text("utf-8")
    monkeypatch.setattr(reports.files.os, "replace", lambda *names: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        reports.write(str(path), *hostile)
    assert path.read_text("utf-8") == before and [file.name for file in tmp_path.iterdir()] == [path.name]


def _spoil(change):
    def spoilt(hostile) -> bytes:
        lines = jsonl.lines(*hostile)
        change(lines)
        return jsonl.text(lines).encode("utf-8", "replace")
    return spoilt


@pytest.mark.parametrize("spoil, message", [
    (lambda run: b"", "expected a header"), (lambda run: b"{}\n", "expected a header"),
    (lambda run: b"\xff\n", "line 1: not a line of JSON"),
    (lambda run: b"[]\n", "line 1: expected a JSON object"), (lambda run: b"[" * 100_000, "line 1: not a line of JSON"),
    (_spoil(lambda lines: lines.pop()), "expected a header, checks and a summary"),
    (_spoil(lambda lines: lines.pop(0)), "expected a header"),
    (_spoil(lambda lines: lines[0].update(format=2)), "expected format 1, got 2"),
    (_spoil(lambda lines: lines[0].update(adapter=3)), "adapter: expected an object, got 3"),
    (_spoil(lambda lines: lines[0].update(date=None)), "date: expected a text, got None"),
    (_spoil(lambda lines: lines[1].update(verdict="FINE")), "unknown verdict 'FINE'"),
    (_spoil(lambda lines: lines[1].update(digits="15")), "digits: expected a finite number or null"),
    (_spoil(lambda lines: lines[1].update(case=lines[2]["case"], quantity=lines[2]["quantity"])), "stands there twice"),
    (_spoil(lambda lines: lines[-1].update(ran=-1)), "ran: expected a count"),
    (_spoil(lambda lines: lines[-1].update(findings={})), "findings: expected a list"),
    (_spoil(lambda lines: lines[-1].update(findings=[1])), "evidence: expected a list")])
def test_what_is_no_report_is_told(hostile, spoil, message):
    with pytest.raises(records.ReportError, match=re.escape(message)):
        records.parse(spoil(hostile), "old.jsonl")


# The matrix ----------------------------------------------------------------------------------------------------------------

def _of(small, name, **verdicts):
    """A report of that name with these verdicts and 10 digits in each."""
    checks = [run.Check(small.id, quantity.replace("_", "."), Verdict[verdict], "", 10.0, 10.0, None, 1e-10, 1e-9, 0.1, True)
              for quantity, verdict in verdicts.items()]
    subject = run.Subject(name, name, "1", {}, {}, (), ())
    return run.Run(subject, [(small, [])], checks)


def _report(made):
    return records.report(jsonl.lines(made, []))


def test_a_matrix_has_a_row_for_every_quantity_and_a_column_for_every_report(small):
    left, right = _of(small, "left", loss="PASS", ggn_full="MISMATCH"), _of(small, "right", loss="LOSSY", hessian_full="XFAIL")
    table = matrix.Matrix((_report(left), _report(right)))
    assert table.rows == ["loss", "ggn.full", "hessian.full"]
    assert [[cell.text for cell in table.cells(name)] for name in table.rows] == [
        ["10.0", "10.0 ~"], ["10.0 ✗", "–"], ["–", "10.0 x"]]
    text = matrix.render(table)
    assert re.search(r"ggn\.full +10\.0 ✗ +–\n", text) and max(map(len, text.splitlines())) <= 80


def test_many_implementations_are_told_in_several_tables(small):
    made = tuple(_report(_of(small, f"n{i}", loss="PASS")) for i in range(7))
    text = matrix.render(matrix.Matrix(made))
    assert text.count("quantity") == 2 and max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("verdicts, worst", [
    (["PASS", "ERROR", "MISMATCH"], "ERROR"), (["EXACT", "PASS"], "PASS"), (["UNSUPPORTED"], "UNSUPPORTED"),
    (["XFAIL", "PASS", "UNSUPPORTED"], "XFAIL")])
def test_a_cell_is_as_good_as_its_worst_check(verdicts, worst):
    checks = [records.Record(f"c{i}", "loss", verdict, "", 10.0 - i, None, None) for i, verdict in enumerate(verdicts)]
    found = matrix.cell(checks)
    assert found.verdict == worst and found.asked == sum(v != "UNSUPPORTED" for v in verdicts)


# Baselines -------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("before, now, new, fixed, stale, known, code", [
    ({"loss": "PASS"}, {"loss": "PASS"}, [], [], [], [], 0),
    ({"loss": "MISMATCH"}, {"loss": "MISMATCH"}, [], [], [], ["loss"], 0),
    ({"loss": "PASS"}, {"loss": "MISMATCH"}, ["loss"], [], [], [], 1),
    ({"loss": "MISMATCH"}, {"loss": "ERROR"}, ["loss"], [], [], [], 1),
    ({"loss": "ERROR"}, {"loss": "PASS"}, [], ["loss"], [], [], 1),
    ({"loss": "ERROR"}, {"loss": "LOSSY"}, [], ["loss"], [], [], 1),
    ({"loss": "MISMATCH"}, {"loss": "UNSUPPORTED", "gradient": "PASS"}, [], [], ["loss"], [], 1),
    ({"loss": "MISMATCH"}, {"gradient": "PASS"}, [], [], [], [], 0),  # not asked this time
    ({"loss": "LOSSY"}, {"loss": "PASS"}, [], [], [], [], 0)])
def test_a_baseline_tells_new_fixed_and_stale(small, before, now, new, fixed, stale, known, code):
    result = _of(small, "now", **now)
    found = baseline.compare(result, _report(_of(small, "before", **before)))
    named = [[name.partition("::")[2] for name in group] for group in (found.new, found.fixed, found.stale, found.known)]
    assert named == [new, fixed, stale, known] and found.exit_code(result.exit_code()) == code


def test_a_failure_that_exists_no_more_is_stale(small):
    (_, quantities), = run.plan([small])
    result = run.Run(run.Subject("now", "now", "1", {}, {}, (), ()), [(small, quantities)], [])
    found = baseline.compare(result, _report(_of(small, "before", loss_of_old="MISMATCH", loss="MISMATCH")))
    assert found.stale == ("tanh-normal-2-5-3::loss.of.old",)


def test_lost_digits_are_changes_where_digits_are_asked_for(small):
    found = baseline.compare(_of(small, "now", loss="LOSSY"), _report(_of(small, "before", loss="PASS")), strict_digits=True)
    assert found.new == ("tanh-normal-2-5-3::loss",)


def test_a_baseline_changes_no_exit_code_of_what_did_not_run(small):
    nothing = baseline.Changes((), (), (), ())
    assert [nothing.exit_code(code) for code in (0, 1, 3, 4, 130)] == [0, 0, 3, 4, 130]


# The command line ------------------------------------------------------------------------------------------------------------

def test_reports_of_every_kind_matrix_and_baseline_on_the_command_line(command, adapter, tmp_path):
    old, new, table = tmp_path / "old.jsonl", tmp_path / "new.jsonl", tmp_path / "matrix.html"
    wrong = adapter("def gradient(s):\n    return 2 * _good.gradient(s)\n", name="wrong.py")
    others = [str(tmp_path / f"report{suffix}") for suffix in (".md", ".html", ".xml")]
    arguments = [part for path in [str(old), *others] for part in ("--report", path)]
    assert command("conform", wrong, *arguments).code == 1
    assert all(len(Path(path).read_text("utf-8")) > 500 for path in others)
    told = command("conform", wrong, "--baseline", str(old))
    assert told.code == 0 and told.out.endswith(f"\nPASSED against {old}: 0 NEW, 0 FIXED, 0 STALE, 1 as before\n")
    told = command("conform", adapter(), "--baseline", str(old), "--report", str(new))
    assert told.code == 1 and "FIXED tanh-normal-2-5-3::gradient" in told.out and "write it again" in told.out
    assert told.out.endswith(f"\nFAILED against {old}: 0 NEW, 1 FIXED, 0 STALE, 0 as before\n")
    told = command("matrix", str(old), str(new), "--report", str(table))
    assert told.code == 0 and re.search(r"gradient +0\.0 ✗ +1\d\.\d\n", told.out)
    assert table.read_text("utf-8").startswith("<!doctype html>")


@pytest.mark.parametrize("arguments, message", [
    (["matrix", "missing.jsonl"], "cannot read missing.jsonl: No such file"),
    (["matrix", __file__], "line 1: not a line of JSON"),
    (["matrix", "x", "--report", "m.xml"], "ends in .md, .html, got m.xml"), (["matrix"], "required"),
    (["conform", "refbnn", "--baseline", "missing.jsonl"], "cannot read missing.jsonl")])
def test_usage_ends_with_two(command, arguments, message):
    told = command(*arguments)
    assert told.code == 2 and told.out == "" and message in told.err


def test_the_matrix_can_be_read_by_programs(small):
    lines = jsonl.text(jsonl.lines(_of(small, "left", loss="PASS"), [])).splitlines()
    assert [json.loads(line)["kind"] for line in lines] == ["header", "check", "summary"]
