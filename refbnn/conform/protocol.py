"""The language between the kit and an adapter's process: one JSON object a line, one reply to each request.

Requests: {"op": "start"}, {"op": "case", "id", "problem", "quantities"}, {"op": "prepare"}, {"op": "run", "quantity"},
{"op": "stop"}; each also carries a running number "seq" that its reply repeats. A reply holds "ok": true and its results,
or "error": a sentence. Arrays travel as {"shape", "data"}: flat, C order, shortest decimals that give the same float64
back, with "nan", "inf" and "-inf" as strings. ASCII only; pickle never.
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

from .problem import ARRAYS, Problem

FORMAT = 1
MAX_NUMBERS = 5_000_000
MAX_MESSAGE = 300


class Unreadable(Exception):
    """An answer, or a line, that is not what the protocol asks for."""


def encode_line(message: dict[str, Any]) -> bytes:
    """One request or reply as a line of ASCII."""
    return json.dumps(message, allow_nan=False, separators=(",", ":")).encode("ascii") + b"\n"


def decode_line(line: bytes) -> dict[str, Any]:
    """The object on a line; Unreadable if it is anything else."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        raise Unreadable(f"wrote a line that is not JSON: {one_line(line[:60].decode('ascii', 'replace'))!r}") from None
    if not isinstance(message, dict):
        raise Unreadable(f"wrote a line that is not a JSON object: {one_line(str(message))[:60]!r}")
    return message


def encode_array(array: np.ndarray) -> dict[str, Any]:
    """Shape and flat decimals of an array of finite or non-finite numbers."""
    data = np.asarray(array).ravel().tolist()
    if not np.isfinite(array).all():
        data = [x if math.isfinite(x) else str(x) for x in data]
    return {"shape": list(np.shape(array)), "data": data}


def decode_array(item: Any) -> np.ndarray:
    """The float64 array of {"shape", "data"}; Unreadable unless shape and data fit together."""
    if not isinstance(item, dict) or set(item) != {"shape", "data"}:
        raise Unreadable("an array must be an object with the keys shape and data")
    shape, data = item["shape"], item["data"]
    if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
        raise Unreadable(f"the shape of an array must be a list of sizes, got {one_line(str(shape))[:60]}")
    if not isinstance(data, list) or len(data) != math.prod(shape):
        raise Unreadable(f"an array of shape {tuple(shape)} needs a flat list of {math.prod(shape)} numbers")
    if not all(type(x) in (float, int) or x in ("nan", "inf", "-inf") for x in data):
        raise Unreadable("the data of an array must be numbers")
    return np.array([float(x) for x in data], dtype=np.float64).reshape(shape)


def encode_problem(problem: Problem) -> dict[str, Any]:
    """The problem as JSON; `decode_problem` gives the same bits back."""
    plain = {name: getattr(problem, name) for name in ("activation", "slope", "bias", "likelihood", "variance")}
    arrays = {name: encode_array(getattr(problem, name)) for name in ARRAYS}
    return {"sizes": list(problem.sizes), **plain, **arrays, "likelihood_parameters": dict(problem.likelihood_parameters)}


def decode_problem(item: dict[str, Any]) -> Problem:
    """The problem that `encode_problem` wrote."""
    return Problem(**{name: decode_array(value) if name in ARRAYS else value for name, value in item.items()})


def encode_answer(value: Any) -> dict[str, Any]:
    """What an adapter's function returned, as an array of real numbers; Unreadable says what it was instead."""
    if value is None or isinstance(value, (str, bytes, dict, set)) or callable(value):
        raise Unreadable(f"returned {_described(value)}, not numbers")
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:
        raise Unreadable(f"returned {_described(value)} that NumPy cannot read: {one_line(str(error))}") from None
    if array.dtype.kind == "O":
        raise Unreadable(f"returned {_described(value)} of objects, not of numbers")
    if array.dtype.kind not in "fiu":
        raise Unreadable(f"returned {_described(value)} of dtype {array.dtype}, not of real numbers")
    if array.size > MAX_NUMBERS:
        raise Unreadable(f"returned an array of shape {array.shape}, more than {MAX_NUMBERS} numbers")
    return encode_array(array.astype(np.float64))


def printable(text: str) -> str:
    """The text on one line, with nothing in it that could steer a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))


def one_line(text: str) -> str:
    """The printable text, at most MAX_MESSAGE characters of it."""
    clean = printable(text)
    return clean if len(clean) <= MAX_MESSAGE else clean[:MAX_MESSAGE - 3] + "..."


def _described(value: Any) -> str:
    name = type(value).__name__
    return "None" if value is None else ("an " if name[0] in "aeiou" else "a ") + name
