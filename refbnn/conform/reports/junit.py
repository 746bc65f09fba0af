"""The report as JUnit XML: a test suite, a test case a check, digits as properties."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

from .records import Record, Report

PROPERTIES = ("verdict", "digits", "tolerance")


def render(report: Report) -> str:
    """One `testsuite` in `testsuites`. Texts are printable already, and the writer escapes them."""
    fails = sum(check.verdict in ("MISMATCH", "XPASS") for check in report.checks)
    numbers = {"tests": len(report.checks), "failures": fails, "errors": report.counts["ERROR"],
               "skipped": sum(_element(check) == "skipped" for check in report.checks)}
    counted = {key: str(value) for key, value in numbers.items()}
    root = ElementTree.Element("testsuites", counted)
    suite = ElementTree.SubElement(root, "testsuite", {"name": report.title, "timestamp": report.date,
                                                       "time": f"{report.seconds:.3f}", **counted})
    for check in report.checks:
        _add(suite, check)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _add(suite: ElementTree.Element, check: Record) -> None:
    case = ElementTree.SubElement(suite, "testcase", {"classname": check.case, "name": check.quantity,
                                                      "time": f"{check.seconds or 0.0:.6f}"})
    properties = ElementTree.SubElement(case, "properties")
    for name in PROPERTIES:
        if (value := getattr(check, name)) is not None:
            ElementTree.SubElement(properties, "property", {"name": name, "value": str(value)})
    kind = _element(check)
    if check.message and not kind:
        ElementTree.SubElement(properties, "property", {"name": "message", "value": check.message})
    if kind:
        ElementTree.SubElement(case, kind, {"message": f"{check.verdict}: {check.message}"})


def _element(check: Record) -> str:
    """failure, error or skipped; nothing for what passes."""
    if check.verdict in ("MISMATCH", "XPASS"):
        return "failure"
    if check.verdict == "ERROR":
        return "error"
    return "" if check.verdict in ("EXACT", "PASS", "LOSSY") else "skipped"
