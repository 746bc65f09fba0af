"""Imports point down only, nothing but numpy and scipy is needed at run time, and no two modules need each other."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

import refbnn

ROOT = Path(refbnn.__file__).parent
LAYER = {
    "shapes": 0, "linalg": 0, "progress": 0, "files": 0,
    "activations": 1, "networks": 1, "likelihoods": 1,
    "precision": 1, "blocks": 1, "gaussian": 1, "priors": 1, "curvature": 1, "quadrature": 1, "scores": 1,
    "diagnostics": 1,
    "loss": 2, "linearised": 2, "subnetwork": 2, "posterior": 2, "kronecker": 2, "duals": 2, "low_rank": 2, "third": 2,
    "fourth": 2, "symmetry": 2,
    "optimize": 3, "laplace": 3, "expansion": 3, "mixture": 3, "vi": 3, "samplers": 3, "cubature": 3,
    "gp": 4, "evidence": 4, "audit": 4, "predict": 4, "hyper": 4,
    "budget": 5,
    "__init__": 5,  # the map of the package: modules below
    "conform": 6,
    "testing": 7, "cli": 7, "__main__": 7,
}
INSIDE_A_LAYER = {  # the only imports between modules of one layer
    ("linalg", "shapes"), ("networks", "activations"), ("gaussian", "precision"), ("priors", "gaussian"), ("priors", "precision"),
    ("posterior", "loss"), ("low_rank", "duals"), ("third", "loss"), ("third", "kronecker"), ("fourth", "loss"),
    ("fourth", "third"), ("blocks", "precision"), ("__main__", "cli"),
}
RUN_TIME = {"numpy", "scipy"}
GUESTS = {"conform.pytest_plugin": {"pytest"}}  # modules that their host imports, so that it is there
WRAPPERS = ("conform.adapters.", "diagnostics.export")  # may import, when asked for, the library that they serve


def modules(root: Path) -> dict[str, Path]:
    """Dotted name below refbnn ("conform.case", "likelihoods", "__init__") of every module."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)] = path
    return found


def imports(name: str, path: Path, known: dict[str, Path], top_level: bool = False) -> tuple[set[str], set[str]]:
    """Modules of refbnn, and other top-level packages, that a module imports (anywhere in it, or at its top level)."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside, outside = set(), set()
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in tree.body if top_level else ast.walk(tree):
        if isinstance(node, ast.Import):
            targets = [(alias.name, None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[:len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join(["refbnn", *filter(None, above)] if node.level else []) + ("." if node.level and node.module else "")
            targets = [(base + (node.module or ""), alias.name) for alias in node.names]
        else:
            continue
        for module, attribute in targets:
            if module.split(".")[0] != "refbnn":
                outside.add(module.split(".")[0])
                continue
            below = ".".join(filter(None, (module.partition(".")[2], attribute)))
            while below and below not in known:
                below = below.rpartition(".")[0]
            inside.add(below or "__init__")
    return inside - {name}, outside


def violations(root: Path) -> list[str]:
    """Every import that does not point down, every undeclared dependency, and every module without a layer."""
    known, problems = modules(root), []
    for name, path in known.items():
        own = name.split(".")[0]
        if own not in LAYER:
            problems.append(f"{name}: no layer; add it to LAYER")
            continue
        inside, outside = imports(name, path, known)
        for target in sorted(inside):
            other = target.split(".")[0]
            if other != own and LAYER[other] >= LAYER[own] and (own, other) not in INSIDE_A_LAYER:
                problems.append(f"{name} imports {target}, which is not below it")
        if not name.startswith(WRAPPERS):
            allowed = {*RUN_TIME, *GUESTS.get(name, ()), *sys.stdlib_module_names}
            problems += [f"{name} needs {other} at run time" for other in outside - allowed]
    return problems


def cycles(root: Path) -> list[str]:
    """Modules that come back to themselves through imports at top level."""
    known = modules(root)
    graph = {name: imports(name, path, known, top_level=True)[0] - {"__init__"} for name, path in known.items()}

    def reach(name):
        seen, todo = set(), list(graph[name])
        while todo:
            step = todo.pop()
            if step not in seen:
                seen.add(step)
                todo += graph[step]
        return seen

    return [name for name in graph if name in reach(name)]


def test_imports_point_down_only_and_need_nothing_but_numpy_and_scipy():
    assert violations(ROOT) == []


def test_no_module_needs_itself_through_others():
    assert cycles(ROOT) == []


def test_every_exception_inside_a_layer_is_used():
    known = modules(ROOT)
    pairs = [(name, target) for name, path in known.items() for target in imports(name, path, known)[0]]
    used = {(name.split(".")[0], target.split(".")[0]) for name, target in pairs}
    assert INSIDE_A_LAYER <= used


def test_draws_are_measured_by_the_package_and_by_no_adapter_but_its_own():
    """R-hat, effective sizes and errors come from `diagnostics`, f and log densities from adapter number one."""
    known = modules(ROOT)
    used = set().union(*(imports(name, path, known)[0] for name, path in known.items() if name.startswith("conform.draws")))
    assert {name for name in used if not name.startswith("conform.")} == {"diagnostics"}
    assert {name for name in used if name.startswith("conform.adapters")} == {"conform.adapters.refbnn"}


def test_every_layer_names_a_module_that_exists():
    assert set(LAYER) <= {name.split(".")[0] for name in modules(ROOT)}


@pytest.mark.parametrize("module, text, complaint", [
    ("shapes", "from refbnn.networks.mlp import Mlp", "shapes imports networks.mlp"),
    ("networks/mlp", "from refbnn import likelihoods", "networks.mlp imports likelihoods"),
    ("networks/mlp", "import refbnn.posterior", "networks.mlp imports posterior"),
    ("networks/mlp", "from ..posterior import Posterior", "networks.mlp imports posterior"),
    ("networks/mlp", "from .. import posterior", "networks.mlp imports posterior"),
    ("networks/mlp", "from refbnn import Mlp", "networks.mlp imports __init__"),
    ("optimize", "def f():\n    from refbnn import laplace", "optimize imports laplace"),
    ("predict", "from refbnn.conform.case import read", "predict imports conform.case"),
    ("loss", "from .posterior import Posterior", "loss imports posterior"),
    ("networks/mlp", "import autograd.numpy", "networks.mlp needs autograd"),
    ("conform/case", "def f():\n    import torch", "conform.case needs torch"),
    ("conform/case", "from ..testing import check", "conform.case imports testing"),
    ("utils", "", "utils: no layer"),
])
def test_a_planted_import_is_caught(tmp_path, module, text, complaint):
    for name in (*LAYER, "conform/case", "conform/__init__", "networks/mlp", "networks/__init__"):
        path = tmp_path / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        if name not in ("conform", "networks"):
            path.write_text("import numpy as np\n")
    (tmp_path / f"{module}.py").write_text(text + "\n")
    assert [problem for problem in violations(tmp_path) if problem.startswith(complaint)], violations(tmp_path)


def test_an_adapter_may_import_the_library_that_it_adapts(tmp_path):
    path = tmp_path / "conform" / "adapters" / "torch.py"
    path.parent.mkdir(parents=True)
    path.write_text("import torch\nfrom refbnn.conform import problem\n")
    (tmp_path / "conform" / "problem.py").write_text("")
    assert violations(tmp_path) == []


def test_a_planted_cycle_is_caught(tmp_path):
    (tmp_path / "loss.py").write_text("from refbnn.linearised import Linearised\n")
    (tmp_path / "linearised.py").write_text("from refbnn.loss import Loss\n")
    assert set(cycles(tmp_path)) == {"loss", "linearised"}
