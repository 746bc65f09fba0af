"""python -m tests.peers.parts OUT.jsonl PART.jsonl...: one report of an adapter that was run in parts (-k '[a-m]*::*').

A check stands in it once, from the first part that made it; what no part made, since it was stopped, is left out, so that the
counts say it.
"""
import json
import sys
from collections import Counter
from pathlib import Path


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


if __name__ == "__main__":
    out, *paths = sys.argv[1:]
    lines = joined([[json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()] for path in paths])
    Path(out).write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
