"""What every public function refuses, and by which name: `python -m tests.refusals` writes the record, tests/refusals.json.

The calls are those of tests/test_shapes.py, one of each function and constructor. Each of their arguments in turn is made wrong:
a word in its place; for an array NaN in every entry, or axes too many; for a number a negative one, or an array. A refusal is an
error that says "NAME: expected ..., got ...". An argument that may be so, or that is used where nothing checks, has no entry.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from tests.shape_checker import public_callables, re_exports

STORED = Path(__file__).with_name("refusals.json")
REFUSAL = re.compile(r"(.{1,60}?): expected .*, got ", re.DOTALL)


def table() -> dict[str, dict[str, dict[str, str]]]:
    """By function, by argument, by what is wrong with it: the name that the refusal begins with."""
    from tests.test_shapes import MODULES, call_everything

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a warning that a test run makes an error would pass for a refusal's absence
        with first_calls(MODULES) as calls:
            call_everything()
        found = {name: refusals(function, bound) for name, (function, bound) in sorted(calls.items())}
    return {name: arguments for name, arguments in found.items() if arguments}


@contextmanager
def first_calls(modules) -> Iterator[dict[str, tuple[Callable, inspect.BoundArguments]]]:
    """The first call of every public function, method and constructor of a value, as it comes."""
    calls, undo = {}, []

    def record(owner, attribute, function, name):
        signature = inspect.signature(function)

        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            calls.setdefault(name, (function, signature.bind(*args, **kwargs)))
            return function(*args, **kwargs)

        undo.append((owner, attribute, function))
        setattr(owner, attribute, wrapper)

    for module in modules:
        for holder, attribute, function in list(public_callables(module)):
            if not getattr(function, "__isabstractmethod__", False):
                for owner, known_as in [(holder, attribute), *re_exports(function, modules)]:
                    record(owner, known_as, function, f"{module.__name__}.{function.__qualname__}")
        for name, value in list(vars(module).items()):
            own = inspect.isclass(value) and value.__module__ == module.__name__ and not name.startswith("_")
            if own and dataclasses.is_dataclass(value):
                record(value, "__init__", value.__init__, f"{module.__name__}.{name}")
    try:
        yield calls
    finally:
        for owner, attribute, function in reversed(undo):
            setattr(owner, attribute, function)


def refusals(function: Callable, bound: inspect.BoundArguments) -> dict[str, dict[str, str]]:
    """By argument, by what is wrong with it: the name in the refusal."""
    found = {}
    for parameter, value in bound.arguments.items():
        if parameter != "self" and not inspect.isroutine(value):
            names = {kind: refused_as(function, bound, parameter, wrong) for kind, wrong in wrongs(value)}
            found[parameter] = {kind: name for kind, name in names.items() if name}
    return {parameter: names for parameter, names in found.items() if names}


def wrongs(value) -> Iterator[tuple[str, object]]:
    """What an argument is replaced by."""
    yield "word", "wrong"
    if isinstance(value, np.ndarray):
        yield "nan", np.full(value.shape, np.nan)
        yield "axes", np.ones((1,) * 7 + value.shape + (2,))
    elif isinstance(value, (float, int)) and not isinstance(value, bool):
        yield "negative", -1
        yield "array", np.ones((1, 1))


def refused_as(function: Callable, bound: inspect.BoundArguments, parameter: str, wrong: object) -> str | None:
    """What the refusal calls the argument; None where it is no refusal."""
    call = inspect.BoundArguments(bound.signature, {**bound.arguments, parameter: wrong})
    args = list(call.args)
    if function.__name__ == "__init__":
        args[0] = object.__new__(type(args[0]))
    try:
        result = function(*args, **call.kwargs)
        if inspect.isgenerator(result):
            list(result)
    except Exception as error:  # whatever an unchecked argument leads to is not asked here
        refusal = REFUSAL.match(str(error))
        return refusal and refusal[1]
    return None


def stored() -> dict[str, dict[str, dict[str, str]]]:
    return json.loads(STORED.read_text(encoding="utf-8"))


def write(found: dict[str, dict[str, dict[str, str]]]) -> None:
    """A line for each function."""
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(found[name], ensure_ascii=False)}" for name in sorted(found))
    STORED.write_text("{\n" + lines + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    write(table())
