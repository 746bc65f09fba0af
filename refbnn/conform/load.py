"""Finding and reading adapters. `load` runs the adapter's code, so only the adapter's own process calls it."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import os
import shlex
import shutil
import sys
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from . import quantities
from .protocol import one_line

PARTS = ("name", "version", "conventions", "known_failures", "unsupported", "prepare")


class LoadError(Exception):
    """An adapter that cannot be used, in one sentence."""


@dataclass(frozen=True)
class Builtin:
    """An adapter that ships with the kit: its module, the modules it needs and how to install them."""

    module: str
    about: str
    needs: tuple[str, ...] = ()
    install: str = ""

    def missing(self) -> list[str]:
        """The needed modules that are not installed here (nothing is imported)."""
        return [name for name in self.needs if importlib.util.find_spec(name) is None]


HOME = "refbnn.conform.adapters."
OF_PEERS = "tests/peers/README.md of the source tree says how"
ON_TORCH = "tests/peers/README.md of the source tree says how, with a CPU build of torch: plain pip brings several GB of CUDA"
BUILTIN = {
    "refbnn": Builtin(HOME + "refbnn", "this package's own NumPy code"),
    "autograd": Builtin(HOME + "autograd", "HIPS autograd: forward and likelihood plain, every derivative automatic",
                        ("autograd",), "pip install autograd"),
    "jax": Builtin(HOME + "jax", "plain jax in float64", ("jax",), OF_PEERS),
    "blackjax": Builtin(HOME + "blackjax", "the BlackJAX package", ("jax", "blackjax"), OF_PEERS),
    "laplax": Builtin(HOME + "laplax", "the laplax package", ("jax", "laplax"), OF_PEERS),
    "numpyro": Builtin(HOME + "numpyro", "the NumPyro package", ("jax", "numpyro"), OF_PEERS),
    "torch": Builtin(HOME + "torch", "plain torch.func in float64", ("torch",), ON_TORCH),
    "laplace-torch": Builtin(HOME + "laplace_torch", "the laplace-torch package", ("torch", "laplace"), ON_TORCH),
    "curvlinops": Builtin(HOME + "curvlinops", "the curvlinops package", ("torch", "curvlinops"), ON_TORCH),
    "backpack": Builtin(HOME + "backpack", "the BackPACK package", ("torch", "backpack"), ON_TORCH),
    "asdl": Builtin(HOME + "asdl", "the ASDL package", ("torch", "asdl"), ON_TORCH),
    "nngeometry": Builtin(HOME + "nngeometry", "the NNGeometry package", ("torch", "nngeometry"), ON_TORCH),
    "posteriors": Builtin(HOME + "posteriors", "the posteriors package", ("torch", "posteriors"), ON_TORCH),
}
FAULTS = "faults:"
COMMAND = "cmd:"
# Like `python -m refbnn.conform.host`, but with the working folder last on the path from the very beginning: a user's
# random.py or laplace.py must not hide the real one.
HOST = "import sys; sys.path.append(sys.path.pop(0)); from refbnn.conform.host import main; main()"


def command(spec: str) -> list[str]:
    """The process that speaks the protocol for an adapter: a program of its own (cmd:PROGRAM ARGS), or Python with the host."""
    return _words(spec) if spec.startswith(COMMAND) else [sys.executable, "-c", HOST, spec]


def _words(spec: str) -> list[str]:
    try:
        words = shlex.split(spec[len(COMMAND):])
    except ValueError as error:
        raise LoadError(f"{one_line(spec)}: cannot be split into words: {error}") from None
    if not words:
        raise LoadError(f"{COMMAND} expected a program and its arguments")
    return words


def load(spec: str) -> Any:
    """The adapter that `spec` names: a built-in name, faults:NAME, module:object or path.py. Runs its code."""
    if spec in BUILTIN:
        return _builtin(BUILTIN[spec])
    if spec.startswith(FAULTS):
        return _object(_import(HOME + "faults"), spec[len(FAULTS):].replace("-", "_"))
    if spec.endswith(".py"):
        return _file(spec)
    module, _, name = spec.partition(":")
    return _object(_import(module), name)


def check_spec(spec: str) -> None:
    """LoadError for what can be seen to be wrong with `spec` without running any code of the adapter."""
    if spec in BUILTIN:
        missing = BUILTIN[spec].missing()
        if missing:
            raise LoadError(f"{spec} needs {' and '.join(missing)}, not installed here: {BUILTIN[spec].install}")
    elif spec.startswith(COMMAND):
        program = _words(spec)[0]
        if shutil.which(program) is None:
            raise LoadError(f"no program {one_line(program)} that could be run")
    elif spec.endswith(".py"):
        if not os.path.isfile(spec):
            raise LoadError(f"no such file: {spec}")
    elif ":" not in spec:
        near = difflib.get_close_matches(spec, BUILTIN, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise LoadError(f"no adapter {spec!r}{hint}: expected {', '.join(BUILTIN)}, faults:NAME, module:object, path.py "
                        "or cmd:PROGRAM")


def describe(adapter: Any, spec: str) -> dict[str, Any]:
    """What the kit must know before it asks: name, version, conventions, functions. LoadError for a misspelt part."""
    functions = {quantity.function_name: quantity.name for quantity in quantities.QUANTITIES.values()}
    public = [name for name in dir(adapter) if not name.startswith("_")]
    own = [name for name in public if not _is_imported(adapter, name)]
    _refuse_typos(adapter, own, functions)
    return {"name": str(getattr(adapter, "name", spec)), "version": str(getattr(adapter, "version", "")),
            "conventions": _table(adapter, "conventions"), "known_failures": _table(adapter, "known_failures"),
            "quantities": [functions[name] for name in functions if name in own and callable(getattr(adapter, name))],
            "imported": [name for name in public if name in functions and name not in own]}


def _builtin(entry: Builtin) -> ModuleType:
    try:
        return importlib.import_module(entry.module)
    except ImportError as error:
        hint = f" ({entry.install})" if entry.install else ""
        raise LoadError(f"cannot import {entry.module}: {one_line(str(error))}{hint}") from error


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise LoadError(f"cannot import {name}: {one_line(str(error))}") from error


def _file(path: str) -> ModuleType:
    """The module in a file; its folder goes last on the path, so that laplace.py can still import laplace."""
    if not os.path.isfile(path):
        raise LoadError(f"no such file: {path}")
    sys.path.append(os.path.dirname(os.path.abspath(path)))
    name = "adapter_" + os.path.basename(path)[:-3]
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _object(module: ModuleType, name: str) -> Any:
    """The named object of a module; a class is called without arguments."""
    try:
        found = getattr(module, name)
    except AttributeError as error:
        raise LoadError(one_line(str(error))) from error
    return found() if isinstance(found, type) else found


def _is_imported(adapter: Any, name: str) -> bool:
    """A module's function that comes from another top-level package, such as `from autograd import jacobian`."""
    home = getattr(getattr(adapter, name), "__module__", None)
    if not isinstance(adapter, ModuleType) or not isinstance(home, str) or name in getattr(adapter, "__all__", ()):
        return False
    return home.partition(".")[0] != adapter.__name__.partition(".")[0]


def _refuse_typos(adapter: Any, own: list[str], functions: dict[str, str]) -> None:
    """A name close to a part or a quantity, in whatever case, or a family of quantities or what is asked of one ("ggn",
    "covariance", "hessian_vp"), is a slip: silence would hide a gap."""
    families = {name.split(".")[0] for name in functions.values() if "." in name}
    tails = {name.partition(".")[2].replace(".", "_") for name in functions.values()} - {""}
    for name in sorted(set(own) - set(functions) - set(PARTS)):
        known = [*functions, *PARTS] if callable(getattr(adapter, name)) else PARTS
        lower = name.lower()
        near = difflib.get_close_matches(lower, known, n=1, cutoff=0.85)
        meant = known is not PARTS and (lower in tails or lower.split("_")[0] in families)
        if (near and near[0] not in own) or meant:
            raise LoadError(_misspelt(name, functions))


def _misspelt(name: str, functions: dict[str, str]) -> str:
    """The nearest is the first quantity that ends so, else the one most alike."""
    alike = difflib.get_close_matches(name.lower(), [*functions, *PARTS], n=1, cutoff=0.0)
    near = next(iter([function for function in functions if function.endswith("_" + name.lower())] + alike))
    return f"the adapter's {name} is no quantity; nearest is {near} (a name with a leading underscore is left alone)"


def _table(adapter: Any, name: str) -> dict[str, str]:
    table = getattr(adapter, name, {})
    if not isinstance(table, dict) or not all(isinstance(item, str) for pair in table.items() for item in pair):
        raise LoadError(f"the adapter's {name} must be a dict of strings, got {one_line(repr(table))}")
    return dict(table)
