"""Every way of not being an adapter ends in one clear sentence, and nothing is silently left out."""

import ast
import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from refbnn.conform import adapters, load, protocol, run
from refbnn.conform.load import LoadError


@pytest.mark.parametrize("spec, message", [
    ("missing.py", "no such file: missing.py"),
    ("autogrd", r"no adapter 'autogrd' \(did you mean autograd\?\)"),
    ("", "no adapter ''"),
    ("no_such_module:adapter", "cannot import no_such_module"),
    ("refbnn.networks.mlp:adapter", "has no attribute 'adapter'"),
    ("faults:no_such_fault", "no planted fault 'no_such_fault'"),
])
def test_what_cannot_be_found_is_named(conform, spec, message):
    with pytest.raises(LoadError, match=message):
        conform(spec)


def test_a_missing_peer_is_told_with_its_command(conform, monkeypatch):
    monkeypatch.setitem(load.BUILTIN, "peer", load.Builtin("peer", "a peer", ("numpy", "no_such_peer"), "pip install peer"))
    with pytest.raises(LoadError, match="peer needs no_such_peer, not installed here: pip install peer"):
        conform("peer")


@pytest.mark.parametrize("planted, message", [
    ("raise RuntimeError('too old')", r"importing it raised RuntimeError: too old \(mine.py:"),
    ("def broken(:", "importing it raised SyntaxError"),
    ("import no_such_module", "importing it raised ModuleNotFoundError: No module named 'no_such_module'"),
    ("sys.exit(0)", r"importing it called sys.exit\(0\)"),
    ("os._exit(0)", "while being started it ended its process with exit status 0"),
    ("conventions = {'loss.reducton': 'mean'}", "mine.py: conventions: unknown 'loss.reducton'"),
    ("known_failures = {'*::gardient': 'issue 7'}", "'\\*::gardient' matches no quantity"),
    ("def gnn_full(s):\n    return 0", "mine.py: the adapter's gnn_full is no quantity; nearest is ggn_full"),
])
def test_an_unusable_adapter_is_refused_with_the_reason(adapter, conform, planted, message):
    with pytest.raises(LoadError, match=message):
        conform(adapter(planted), "loss")


@pytest.fixture
def described(adapter, monkeypatch):
    """What an adapter says about itself, read in this process."""
    def read(planted: str, **keywords):
        monkeypatch.setattr(sys, "path", list(sys.path))
        monkeypatch.setattr(sys, "modules", dict(sys.modules))
        spec = adapter(planted, **keywords)
        return load.describe(load.load(spec), spec)
    return read


@pytest.mark.parametrize("planted, message", [
    ("def ggn_ful(s):\n    return 0", "ggn_ful is no quantity; nearest is ggn_full"),
    ("def hesian_diag(s):\n    return 0", "nearest is hessian_diag"),
    ("def laplace_logdet(s):\n    return 0", "nearest is laplace_log_det"),
    ("def fisher_kfoc(s):\n    return 0", "fisher_kfoc is no quantity"),
    ("def GGN_full(s):\n    return 0", "GGN_full is no quantity; nearest is ggn_full"),
    ("def JACOBIAN(s):\n    return 0", "nearest is jacobian"),
    ("def ggn(s):\n    return 0", "ggn is no quantity; nearest is ggn_"),
    ("def hessian(s):\n    return 0", "hessian is no quantity; nearest is hessian_"),
    ("def covariance(s):\n    return 0", "covariance is no quantity; nearest is laplace_covariance"),
    ("def log_evidence(s):\n    return 0", "log_evidence is no quantity; nearest is laplace_log_evidence"),
    ("def predictive_variance(s):\n    return 0", "nearest is posterior_predictive_variance"),
    ("known_failure = {}", "known_failure is no quantity; nearest is known_failures"),
    ("convention = {}", "convention is no quantity; nearest is conventions"),
    ("def unsuported(problem, quantity):\n    return 'all'", "nearest is unsupported"),
    ("conventions = {'loss.reduction': 1}", "conventions must be a dict of strings"),
    ("conventions = 'mean'", "conventions must be a dict of strings"),
    ("known_failures = ['gradient']", "known_failures must be a dict"),
])
def test_a_slip_in_a_name_or_a_table_is_told(described, planted, message):
    with pytest.raises(LoadError, match=message):
        described(planted)


def defined(text: str) -> SimpleNamespace:
    """What a module would have for its functions and classes, read without importing what it stands on."""
    found = [part for part in ast.parse(text).body if isinstance(part, (ast.FunctionDef, ast.ClassDef))]
    return SimpleNamespace(**{part.name: len for part in found})


@pytest.mark.parametrize("name", load.BUILTIN)
def test_no_adapter_of_the_package_has_a_name_that_is_taken_for_a_slip(name):
    path = Path(adapters.__file__).parent / (load.BUILTIN[name].module.rpartition(".")[2] + ".py")
    assert load.describe(defined(path.read_text(encoding="utf-8")), name)["imported"] == []


def test_a_class_that_is_called_like_a_quantity_is_taken_for_a_slip():
    with pytest.raises(LoadError, match="Draws is no quantity; nearest is posterior_draws"):
        load.describe(defined("class Draws:\n    pass"), "mine.py")


@pytest.mark.parametrize("conventions, known, message", [
    ({"loss.reduction": "average"}, {}, "loss.reduction must be one of sum, mean"),
    ({}, {"gradient": "issue 7"}, "expected 'case-glob::quantity-glob', got 'gradient'"),
])
def test_declarations_are_checked_before_anything_is_asked(conventions, known, message):
    with pytest.raises(LoadError, match=message):
        run.subject("mine.py", protocol.Introduction("mine", "1", conventions, known, (), (), False))


def test_helpers_with_other_names_are_left_alone(described):
    helpers = """
    ggn = gnn = 3
    laplace_samples = 7
    def my_hessian(s): return 0
    def helper(s): return 0
    def _gnn_full(s): return 0
    class Model: pass
    """
    assert described(helpers)["quantities"] == ["forward", "loss", "gradient"]


def test_an_imported_function_is_not_taken_for_an_answer_but_told(described):
    told = described("from autograd import jacobian\n")
    assert told["imported"] == ["jacobian"] and "jacobian" not in told["quantities"]
    told = described("from autograd import jacobian\n__all__ = ['jacobian', 'loss']\n", name="other.py")
    assert told["imported"] == [] and "jacobian" in told["quantities"]


def test_an_object_or_a_class_in_a_module_is_an_adapter(tmp_path, conform, monkeypatch):
    (tmp_path / "house.py").write_text(
        "class Mine:\n    name = 'object'\n    def prepare(self, problem):\n        return problem\n"
        "    def forward(self, problem):\n        return problem.y\n\nmine = Mine()\n", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    for spec in ("house:mine", "house:Mine"):
        report = conform(spec, "forward")
        assert report.run.subject.name == "object" and report.verdicts == {"forward": "MISMATCH"}


def test_the_file_may_have_the_name_of_a_package_and_import_its_neighbours(adapter, tmp_path, conform, monkeypatch):
    (tmp_path / "neighbour.py").write_text("version = 'from next door'\n", encoding="utf-8")
    (tmp_path / "random.py").write_text("raise ImportError('this is not the real random')\n", encoding="utf-8")
    spec = adapter("import autograd, neighbour\nversion = neighbour.version + ' ' + autograd.grad.__name__\n", name="autograd.py")
    monkeypatch.chdir(tmp_path)
    assert conform(spec, "loss").run.subject.version == "from next door grad"


def test_the_adapter_is_never_imported_by_this_process(adapter, conform):
    conform(adapter(), "loss")
    assert not any("mine" in name.split(".") or name == "adapter_mine" for name in sys.modules)


def test_parts_have_defaults(described):
    told = described("def forward(problem):\n    return problem.y\n", good="import numpy\n", name="bare.py")
    assert told["name"].endswith("bare.py") and (told["version"], told["conventions"], told["known_failures"]) == ("", {}, {})


@pytest.mark.parametrize("name", sorted(load.BUILTIN))
def test_every_builtin_adapter_has_a_module_and_a_command_for_what_it_needs(name):
    entry = load.BUILTIN[name]
    assert entry.module.startswith(load.HOME) and (entry.install or not entry.needs)
    assert importlib.util.find_spec(entry.module) is not None


@pytest.mark.parametrize("name", ["refbnn", "autograd"])
def test_the_builtin_adapters_answer_everything(small, name):
    pytest.importorskip(name)
    result = run.run(name, run.plan([small]))
    assert result.exit_code() == 0 and result.ran == result.declared == result.total
