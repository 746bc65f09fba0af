"""python -m tests.peers.parts OUT.jsonl PART.jsonl...: one report of an adapter that was run in parts (-k '[a-m]*::*').

A check stands in it once, from the first part that made it; what no part made, since it was stopped, is left out, so that the
counts say it. The text of the report, as a terminal shows it, is printed.
"""
import dataclasses
import json
import sys
from collections import Counter
from pathlib import Path

from refbnn.conform import report
from refbnn.conform.case import read_all
from refbnn.conform.compare import Verdict
from refbnn.conform.diagnose import Finding
from refbnn.conform.hypotheses import Cause
from refbnn.conform.quantities import QUANTITIES
from refbnn.conform.run import Check, Run, Subject


def joined(parts):
    """The objects of the lines of all parts, a list each, as those of one report."""
    headers, summaries = [part[0] for part in parts], [part[-1] for part in parts]
    checks = {}
    for check in (line for part in parts for line in part[1:-1] if line["verdict"] != "SKIP"):
        checks.setdefault((check["case"], check["quantity"]), check)
    found = sorted(checks.values(), key=lambda check: check["case"])
    asked = [check for check in found if check["verdict"] != "UNSUPPORTED"]
    cases = {name: revision for header in headers for name, revision in header["cases"].items()}
    return [{**headers[0], "date": max(header["date"] for header in headers), "cases": dict(sorted(cases.items()))}, *found,
            {**summaries[0], "ran": sum(check["answered"] for check in found), "declared": len(asked), "total": len(found),
             "verdicts": dict(sorted(Counter(check["verdict"] for check in found).items())), "stopped": "",
             "findings": [finding for summary in summaries for finding in summary["findings"]],
             "seconds": sum(summary["seconds"] for summary in summaries),
             "exit_code": max(summary["exit_code"] % 130 for summary in summaries)}]


def text(lines):
    """What a terminal shows of such a report."""
    header, *checks, summary = lines
    about = header["adapter"]
    answered = {check["quantity"] for check in checks if check["verdict"] != "UNSUPPORTED"}
    subject = Subject(about["spec"], about["name"], about["version"], about["conventions"], about["known_failures"],
                      tuple(name for name in QUANTITIES if name in answered), ())
    asked = {}
    for check in checks:
        asked.setdefault(check["case"], []).append(QUANTITIES[check["quantity"]])
    fields = [field.name for field in dataclasses.fields(Check)]
    run = Run(subject, [(case, asked[case.id]) for case in read_all() if case.id in asked],
              [Check(**{**{name: check[name] for name in fields if name in check}, "verdict": Verdict[check["verdict"]]})
               for check in checks], seconds=summary["seconds"])
    return report.render(run, [(Verdict[finding["verdict"]], _finding(finding)) for finding in summary["findings"]],
                         report.Style())


def _finding(told):
    cause = told["cause"] and Cause(**told["cause"])
    return Finding(told["quantity"], told["cases"], told["total"], cause, tuple(told["evidence"]))


if __name__ == "__main__":
    out, *paths = sys.argv[1:]
    lines = joined([[json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()] for path in paths])
    Path(out).write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    print(text(lines), end="")
