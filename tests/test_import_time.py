"""`import refbnn` is light. Structural, so it cannot flake: which modules are loaded, not how long it took."""

import json
import subprocess
import sys

import pytest

HEAVY = ("scipy.stats", "scipy.optimize", "autograd", "torch", "laplace", "matplotlib", "sklearn", "mpmath", "flint",
         "pytest", "hypothesis", "refbnn.conform", "refbnn.testing", "refbnn.cli")


def loaded_after(statement: str) -> set[str]:
    """Names of all modules in a fresh interpreter after a statement."""
    code = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


@pytest.fixture(scope="module")
def loaded():
    """Modules after `import refbnn`."""
    return loaded_after("import refbnn")


def test_the_import_loads_nothing_but_its_own_modules_and_those_of_numpy_and_two_of_scipy(loaded):
    allowed = loaded_after("import __future__, abc, dataclasses, itertools, typing, numpy, scipy.linalg, scipy.special")
    assert [name for name in sorted(loaded - allowed) if name.partition(".")[0] != "refbnn"] == []


@pytest.mark.parametrize("module", HEAVY)
def test_what_the_numerical_core_does_not_need_is_not_loaded(loaded, module):
    assert module not in loaded


def test_the_core_is_loaded(loaded):
    assert {"refbnn.networks.mlp", "refbnn.laplace", "refbnn.predict", "refbnn.likelihoods.categorical"} <= loaded
