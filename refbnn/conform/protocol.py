"""The language between the kit and an adapter's process: one JSON object a line, one reply to each request (see PROTOCOL.md).

Requests carry "op" (start, echo, case, prepare, run, stop) and an "id" that the reply repeats. A reply holds "ok": true and its
results, or "ok": false and "error": a sentence. Arrays travel as {"shape", "data"}: flat, C order, shortest decimals that give
the same float64 back, with "nan", "inf" and "-inf" as strings. The kit writes ASCII only; pickle never.

What comes from the other side is checked here, `Unreadable` says what is wrong with it; nothing else is raised.
"""

from __future__ import annotations

import difflib
import json
import math
from dataclasses import dataclass, fields
from typing import Any, Callable

import numpy as np

from .problem import ARRAYS, Problem
from .quantities import QUANTITIES

VERSION = 1
MAX_NUMBERS = 5_000_000
MAX_MESSAGE = 300
# Doubles that a careless printer or reader spoils: 17 digits, both ends of the range, subnormals, ties, large integers.
NASTY = (0.0, 1.0, -1.5, 0.1, 0.1 + 0.2, 1 / 3, -2 / 3, 1e23, 9007199254740993.0, 123456789.123456789, 1e-5, 5e-324,
         2.2250738585072011e-308, 2.2250738585072014e-308, 1.7976931348623157e308, -4.9406564584124654e-310, 1 + 2.0 ** -52,
         -(1 - 2.0 ** -53), 6.02214076e23, 3.141592653589793e-200)


class Unreadable(Exception):
    """An answer, or a line, that is not what the protocol asks for."""


@dataclass(frozen=True)
class Introduction:
    """What an adapter says about itself when it starts; `prepares` if it wants to be asked to prepare a case."""

    name: str
    version: str
    conventions: dict[str, str]
    known_failures: dict[str, str]
    quantities: tuple[str, ...]
    imported: tuple[str, ...]
    prepares: bool


# Lines -----------------------------------------------------------------------------------------------------------------

def encode_line(message: dict[str, Any]) -> bytes:
    """One request or reply as a line of ASCII."""
    return json.dumps(message, allow_nan=False, separators=(",", ":")).encode("ascii") + b"\n"


def decode_line(line: bytes) -> dict[str, Any]:
    """The object on a line; Unreadable if it is anything else."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        raise Unreadable(f"wrote a line that is not JSON: {_quoted(line[:60].decode('ascii', 'replace'))}") from None
    if not isinstance(message, dict):
        raise Unreadable(f"wrote a line that is not a JSON object: {_quoted(message)}")
    return message


# Requests --------------------------------------------------------------------------------------------------------------

def start_request(defaults: dict[str, str]) -> dict[str, Any]:
    """The first request: which protocol, which conventions hold where the adapter declares nothing."""
    return {"op": "start", "protocol": VERSION, "conventions": dict(defaults)}


def echo_request() -> dict[str, Any]:
    """Numbers to be sent back as they are."""
    return {"op": "echo", "array": encode_array(np.array(NASTY))}


def case_request(case_id: str, problem: Problem, quantities: list[str]) -> dict[str, Any]:
    """A problem, and what will be asked about it."""
    return {"op": "case", "case": case_id, "problem": encode_problem(problem), "quantities": quantities}


def read_request(line: bytes) -> dict[str, Any]:
    """A request with all that its operation needs, its problem and array decoded; Unreadable says what is missing."""
    request = decode_line(line)
    op = request.get("op")
    if not isinstance(op, str) or op not in _REQUESTS:
        raise Unreadable(f"expected an op out of {', '.join(_REQUESTS)}, got {_quoted(op)}")
    return {**request, **_REQUESTS[op](request)}


def _read_start(request: dict[str, Any]) -> dict[str, Any]:
    if request.get("protocol") != VERSION:
        raise Unreadable(f"expected protocol {VERSION}, got {_quoted(request.get('protocol'))}")
    return {}


def _read_echo(request: dict[str, Any]) -> dict[str, Any]:
    return {"array": decode_array(request.get("array"))}


def _read_case(request: dict[str, Any]) -> dict[str, Any]:
    names = request.get("quantities")
    if not isinstance(names, list) or not all(isinstance(name, str) and name in QUANTITIES for name in names):
        raise Unreadable(f"quantities: expected a list of names of quantities, got {_quoted(names)}")
    return {"problem": decode_problem(request.get("problem"))}


def _read_run(request: dict[str, Any]) -> dict[str, Any]:
    name = request.get("quantity")
    if not isinstance(name, str) or name not in QUANTITIES:
        raise Unreadable(f"quantity: expected the name of a quantity, got {_quoted(name)}")
    return {}


def _read_nothing(request: dict[str, Any]) -> dict[str, Any]:
    return {}


_REQUESTS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "start": _read_start, "echo": _read_echo, "case": _read_case, "prepare": _read_nothing, "run": _read_run,
    "stop": _read_nothing}


# Replies ---------------------------------------------------------------------------------------------------------------

def read_reply(line: bytes, wanted: str) -> dict[str, Any]:
    """The reply to the request of that id, with "ok" and, where that is false, a printable "error"."""
    reply = decode_line(line)
    if reply.get("id") != wanted or type(reply.get("ok")) is not bool:
        raise Unreadable("wrote a line that answers nothing asked")
    if not reply["ok"]:
        error = reply.get("error")
        reply["error"] = one_line(error) if isinstance(error, str) and error.strip() else "said that it failed, not why"
    return reply


def read_introduction(reply: dict[str, Any]) -> Introduction:
    """What the reply to "start" says; Unreadable names the key that is not as it should be."""
    if reply.get("protocol") != VERSION:
        raise Unreadable(f"speaks protocol {_quoted(reply.get('protocol'))}, the kit speaks {VERSION}")
    return Introduction(
        _words(reply, "name"), _words(reply, "version"), _table(reply, "conventions"), _table(reply, "known_failures"),
        _names(reply), tuple(item for item in _list(reply, "imported") if isinstance(item, str)),
        reply.get("prepare") is True)


def read_gaps(reply: dict[str, Any]) -> dict[str, str]:
    """What the adapter declares unsupported for a case, with the reasons."""
    return {name: one_line(reason) or "no reason given" for name, reason in _table(reply, "unsupported").items()}


def read_answer(reply: dict[str, Any]) -> np.ndarray:
    """The array of an answer."""
    if "answer" not in reply:
        raise Unreadable("replied without an answer")
    return decode_array(reply["answer"])


def read_seconds(reply: dict[str, Any]) -> float | None:
    """How long the adapter says that it took, if it does."""
    seconds = reply.get("seconds")
    return float(seconds) if type(seconds) in (int, float) and 0 <= seconds < 1e9 else None


def check_echo(reply: dict[str, Any]) -> None:
    """Unreadable unless the numbers came back as they were sent (the sign of a zero is not asked for)."""
    if not reply["ok"]:
        raise Unreadable(f"could not send numbers back: {reply['error']}")
    if "array" not in reply:
        raise Unreadable("replied to echo without an array")
    got = decode_array(reply["array"])
    if got.shape != (len(NASTY),):
        raise Unreadable(f"sent back an array of shape {got.shape} for one of shape {(len(NASTY),)}")
    wrong = [(sent, back) for sent, back in zip(NASTY, got.tolist()) if sent != back]
    if wrong:
        sent, back = wrong[0]
        raise Unreadable(f"loses digits on the way, in {len(wrong)} of {len(NASTY)} numbers: was sent {sent!r}, "
                         f"sent back {back!r} (print 17 significant digits, %.17g)")


def _words(reply: dict[str, Any], key: str) -> str:
    if not isinstance(reply.get(key), str):
        raise Unreadable(f"{key}: expected a text, got {_quoted(reply.get(key))}")
    return one_line(reply[key])


def _list(reply: dict[str, Any], key: str) -> list[Any]:
    found = reply.get(key, [])
    if not isinstance(found, list):
        raise Unreadable(f"{key}: expected a list, got {_quoted(found)}")
    return found


def _table(reply: dict[str, Any], key: str) -> dict[str, str]:
    found = reply.get(key, {})
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise Unreadable(f"{key}: expected an object of texts, got {_quoted(found)}")
    return {printable(name): printable(value) for name, value in found.items()}


def _names(reply: dict[str, Any]) -> tuple[str, ...]:
    """The quantities it can answer, each a known one."""
    names = _list(reply, "quantities")
    for name in names:
        if not isinstance(name, str) or name not in QUANTITIES:
            near = difflib.get_close_matches(str(name)[:60], QUANTITIES, n=1, cutoff=0.0)[0]
            raise Unreadable(f"quantities: {_quoted(name)} is no quantity; nearest is {near}")
    return tuple(dict.fromkeys(names))


# Arrays and problems -----------------------------------------------------------------------------------------------------

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
    if not isinstance(shape, list) or len(shape) > 8 or not all(type(size) is int and 0 <= size <= MAX_NUMBERS for size in shape):
        raise Unreadable(f"the shape of an array must be a list of at most 8 sizes, got {_quoted(shape)}")
    if not isinstance(data, list) or len(data) != math.prod(shape):
        raise Unreadable(f"an array of shape {tuple(shape)} needs a flat list of {math.prod(shape)} numbers")
    if not all(type(x) in (float, int) or x in ("nan", "inf", "-inf") for x in data):
        raise Unreadable("the data of an array must be numbers")
    try:
        return np.array([float(x) for x in data], dtype=np.float64).reshape(shape)
    except OverflowError:
        raise Unreadable("the data of an array must be doubles, got an integer beyond their range") from None


def encode_problem(problem: Problem) -> dict[str, Any]:
    """The problem as JSON; `decode_problem` gives the same bits back."""
    plain = {name: getattr(problem, name) for name in ("activation", "slope", "bias", "likelihood", "variance")}
    arrays = {name: encode_array(getattr(problem, name)) for name in ARRAYS}
    return {"sizes": list(problem.sizes), **plain, **arrays, "likelihood_parameters": dict(problem.likelihood_parameters)}


def decode_problem(item: Any) -> Problem:
    """The problem that `encode_problem` wrote; Unreadable for anything else."""
    if not isinstance(item, dict) or set(item) != {field.name for field in fields(Problem)}:
        raise Unreadable(f"problem: expected an object with the keys {', '.join(field.name for field in fields(Problem))}")
    decoded = {name: decode_array(value) if name in ARRAYS else value for name, value in item.items()}
    try:
        return Problem(**decoded)
    except (ValueError, TypeError, OverflowError, AttributeError, RecursionError) as error:
        raise Unreadable(f"problem: {one_line(str(error))}") from None


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


# Text --------------------------------------------------------------------------------------------------------------------

def printable(text: str) -> str:
    """The text on one line, with nothing in it that could steer a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))


def one_line(text: str) -> str:
    """The printable text, at most MAX_MESSAGE characters of it."""
    clean = printable(text)
    return clean if len(clean) <= MAX_MESSAGE else clean[:MAX_MESSAGE - 3] + "..."


def _quoted(value: Any) -> str:
    try:
        return repr(one_line(str(value))[:60])
    except RecursionError:
        return "something nested too deeply"


def _described(value: Any) -> str:
    name = type(value).__name__
    return "None" if value is None else ("an " if name[0] in "aeiou" else "a ") + name
