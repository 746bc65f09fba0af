"""Executes the shape annotations of the package: letters must agree between the arguments and the result of every call.

`watch(modules)` wraps every public function and method whose signature has annotated shapes. Each call then binds letters: those
that `self` and other objects among the arguments know (p, d, k and n), those of the arguments, and at last those of the result,
where each letter must be known already. `*s` in a result is the broadcast of the `*s` of all arguments.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import types
import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

SELF = {"p": "num_params", "d": "num_inputs", "k": "num_outputs", "n": "num_data", "h": "num_hyper", "m": "num_new",
        "f": "num_free", "*s": "batch"}
COUNTS = {"num_params": "p", "num_data": "n", "num_outputs": "k"}  # arguments that are a letter's size


class ShapeError(AssertionError):
    """An array whose shape is not what its annotation says."""


def axes_of(hint) -> str | None:
    """The axes in an Annotated hint, or None."""
    return hint.__metadata__[0] if typing.get_origin(hint) is typing.Annotated else None


def bind(axes: str, shape: tuple[int, ...], known: dict, where: str, closed: bool = False) -> None:
    """Match a shape with axes such as "*s n k"; new letters are added to `known`, or refused if `closed`."""
    letters = axes.split()
    open_ended = letters[-1:] == ["..."]
    letters = letters[:-1] if open_ended else letters
    batched = letters[:1] == ["*s"]
    named = letters[batched:]
    if len(shape) < len(named) or not (batched or open_ended) and len(shape) != len(named):
        raise ShapeError(f"{where}: expected axes ({axes}), got shape {shape}")
    split = 0 if open_ended else len(shape) - len(named)
    for letter, size in zip(named, shape[split:]):
        if closed and letter not in known:
            raise ShapeError(f"{where}: letter {letter} of ({axes}) stands in no argument")
        if known.setdefault(letter, size) != size:
            raise ShapeError(f"{where}: expected {letter} = {known[letter]} in ({axes}), got shape {shape}")
    if batched:
        bind_batch(shape[:split], known, where, closed)


def bind_batch(batch: tuple[int, ...], known: dict, where: str, closed: bool) -> None:
    """Leading axes: of arguments, they broadcast with those before; of a result, they are what all arguments broadcast to."""
    if closed:
        if known.get("*s", batch) != batch:
            raise ShapeError(f"{where}: expected leading axes {known['*s']}, got {batch}")
        return
    known["*s"] = np.broadcast_shapes(known.get("*s", ()), batch)


def bind_result(hint, value, known: dict, where: str) -> None:
    """The result, entry by entry for tuples and field by field for dataclasses; floats and ints must be such."""
    axes = axes_of(hint)
    if axes is not None:
        bind(axes, np.shape(value), known, where, closed=True)
    elif typing.get_origin(hint) is tuple and Ellipsis not in typing.get_args(hint):
        for i, (part, entry) in enumerate(zip(typing.get_args(hint), value, strict=True)):
            bind_result(part, entry, known, f"{where}[{i}]")
    elif dataclasses.is_dataclass(hint):
        known = merged(known, letters_of(value), where)
        hints = typing.get_type_hints(type(value), include_extras=True)  # which may be another class with the same protocol
        for field in dataclasses.fields(value):
            if axes_of(hints[field.name]) is not None:
                bind_result(hints[field.name], getattr(value, field.name), known, f"{where}.{field.name}")
    elif hint in (float, int, bool) and not isinstance(value, hint):
        raise ShapeError(f"{where}: expected {hint.__name__}, got {type(value).__name__}")


def letters_of(owner) -> dict:
    """What an object knows of its letters: its own sizes, or those of its network and data."""
    known = {}
    for part in ("process", "posterior"):  # of a conditioned process, and of what found it
        known.update(letters_of(getattr(owner, part)) if hasattr(owner, part) else {})
    for holder in (getattr(owner, "net", None), getattr(owner, "evaluation", None), owner):
        known.update({letter: getattr(holder, name) for letter, name in SELF.items() if hasattr(holder, name)})
    X = getattr(owner, "X", None)
    return known if X is None else {**known, "n": len(X)}


def merged(known: dict, more: dict, where: str) -> dict:
    """Both together; a letter that they disagree on is an error."""
    for letter in known.keys() & more.keys() - {"*s"}:
        if known[letter] != more[letter]:
            raise ShapeError(f"{where}: expected {letter} = {known[letter]}, got {more[letter]}")
    batches = {"*s": np.broadcast_shapes(known["*s"], more["*s"])} if "*s" in known.keys() & more.keys() else {}
    return {**known, **more, **batches}


def checked(function: Callable, name: str, calls: set[str]) -> Callable:
    """The function, checking the shapes of every call."""
    signature = inspect.signature(function)
    hints = typing.get_type_hints(function, include_extras=True)

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        result = function(*args, **kwargs)
        bound = signature.bind(*args, **kwargs).arguments
        known = {}
        for parameter, value in bound.items():
            where, axes = f"{name}, argument {parameter}", axes_of(hints.get(parameter))
            if axes is None:
                sizes = {COUNTS[parameter]: value} if parameter in COUNTS else letters_of(value)
                known = merged(known, sizes, where)
            else:
                known.setdefault("*s", ())
                bind(axes, np.shape(value), known, where)
        bind_result(hints.get("return"), result, known, f"{name}, result")
        calls.add(name)
        return result

    return wrapper


def has_shapes(function: Callable) -> bool:
    """Whether a signature has a shape or a plain number as result."""
    hints = typing.get_type_hints(function, include_extras=True)
    annotated = any(axes_of(hint) for hint in hints.values())
    result = hints.get("return")
    inside = [result, *typing.get_args(result)] if typing.get_origin(result) is tuple else [result]
    return annotated or any(axes_of(hint) for hint in inside) or dataclasses.is_dataclass(result) or result in (float, int, bool)


def public_callables(module: types.ModuleType) -> Iterator[tuple[object, str, Callable]]:
    """(holder, attribute, function) for the public functions of a module and the public methods of its classes."""
    for name, value in vars(module).items():
        if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
            continue
        if inspect.isfunction(value):
            yield module, name, value
        elif inspect.isclass(value):
            for attribute, method in vars(value).items():
                if inspect.isfunction(method) and not attribute.startswith("_"):
                    yield value, attribute, method


def re_exports(function: Callable, modules) -> list[tuple[types.ModuleType, str]]:
    """(module, attribute) wherever a watched module has the function of another one, as the __init__ of a folder does."""
    return [(module, name) for module in modules for name, value in list(vars(module).items())
            if value is function and module.__name__ != function.__module__]


@contextmanager
def watch(modules) -> Iterator[tuple[set[str], set[str]]]:
    """Wrap everything public with shapes; yields (names that are wrapped, names that were called and passed)."""
    wrapped, calls, undo = set(), set(), []
    for module in modules:
        for holder, attribute, function in list(public_callables(module)):
            if has_shapes(function) and not getattr(function, "__isabstractmethod__", False):
                name = f"{module.__name__}.{function.__qualname__}"
                wrapped.add(name)
                wrapper = checked(function, name, calls)
                for owner, known_as in [(holder, attribute), *re_exports(function, modules)]:
                    undo.append((owner, known_as, function))
                    setattr(owner, known_as, wrapper)
    try:
        yield wrapped, calls
    finally:
        for holder, attribute, function in undo:
            setattr(holder, attribute, function)
