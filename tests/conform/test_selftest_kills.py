"""`refbnn selftest` notices every fault that is planted in the lines of the comparison itself."""

from __future__ import annotations

import ast
import copy
import sys
import types
from typing import Iterator

import numpy as np
import pytest

from refbnn.conform import case as cases, compare, selftest

SOURCE = compare.__file__


def planted() -> Iterator[tuple[str, ast.Module]]:
    """Every condition negated and every returned verdict, one at a time, with the line as it stands there."""
    with open(SOURCE, encoding="utf-8") as stream:
        text = stream.read()
    tree = ast.parse(text)
    for number, node in enumerate(_conditions(tree)):
        changed = copy.deepcopy(tree)
        site = _conditions(changed)[number]
        site.test = ast.UnaryOp(ast.Not(), site.test)
        yield f"line {node.lineno}, column {node.col_offset}: condition negated", ast.fix_missing_locations(changed)
    for number, node in enumerate(_verdicts(tree)):
        changed = copy.deepcopy(tree)
        site = _verdicts(changed)[number]
        site.attr = "PASS" if site.attr != "PASS" else "MISMATCH"
        yield f"line {node.lineno}, column {node.col_offset}: {node.attr} for {site.attr}", ast.fix_missing_locations(changed)


def _conditions(tree: ast.Module) -> list[ast.If | ast.IfExp]:
    return [node for node in ast.walk(tree) if isinstance(node, (ast.If, ast.IfExp))]


def _verdicts(tree: ast.Module) -> list[ast.Attribute]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "Verdict"]


def mutated(tree: ast.Module) -> types.ModuleType:
    module = types.ModuleType("refbnn.conform.compare")
    module.__package__ = "refbnn.conform"
    before = sys.modules["refbnn.conform.compare"]
    sys.modules["refbnn.conform.compare"] = module  # dataclasses look their module up
    try:
        exec(compile(tree, SOURCE, "exec"), module.__dict__)
    finally:
        sys.modules["refbnn.conform.compare"] = before
    return module


def noticed(module: types.ModuleType, monkeypatch) -> bool:
    """Whether a line of the self-test breaks, or it does not even run."""
    normal = cases.read("tanh-normal-2-5-3")
    monkeypatch.setattr(selftest, "compare", module.compare)
    try:
        with np.errstate(all="ignore"):
            return not all(line.holds for line in selftest.comparisons(normal))
    except Exception:
        return True


MUTANTS = dict(planted())


@pytest.mark.parametrize("fault", MUTANTS)
def test_a_fault_in_a_line_of_the_comparison_breaks_the_self_test(fault, monkeypatch):
    assert noticed(mutated(MUTANTS[fault]), monkeypatch)


def test_the_comparison_as_it_is_breaks_nothing(monkeypatch):
    assert not noticed(compare, monkeypatch) and len(MUTANTS) > 30
