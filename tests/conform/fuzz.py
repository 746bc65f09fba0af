"""A seeded mutator of JSON texts: bytes, tokens and structure are spoilt, and what comes out is mostly no longer what went in.

    python -m tests.conform.fuzz 20000        every reader under so many inputs; prints how many were refused
"""

from __future__ import annotations

import copy
import json
import random
import sys
from typing import Any, Callable, Iterator

NASTY: list[Any] = [None, True, False, 0, 1, -1, -0.0, 0.5, 1e308, 5e-324, 2 ** 53, 2 ** 63, 10 ** 30, 10 ** 400,
                    float("nan"), float("inf"), "", "nan", "inf", "loss", "\ud800", "\x00\x1b[31m", "x" * 5000, "<script>", [],
                    {}, [[]], [0], ["x"], {"shape": [1], "data": [1]}, {"shape": [10 ** 9], "data": []},
                    {"shape": [-1], "data": [0]}, {"": {}}]
TOKENS = [b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"\n", b"\r", b"\x00", b"\xff", b"\xed\xa0\x80", b"NaN", b"-Infinity",
          b"1e999", b"9" * 5000, b"[" * 3000, b"null", b"\\ud800", b"0x10", b"01", b"/**/", b"\xef\xbb\xbf"]


def spoilt(text: bytes, rng: random.Random) -> bytes:
    """The text after one to three mutations of its bytes, or of its structure if it is JSON lines."""
    if rng.random() < 0.5:
        return _structure(text, rng)
    data = bytearray(text)
    for _ in range(rng.randint(1, 3)):
        rng.choice(_BYTES)(data, rng)
    return bytes(data)


def _flip(data: bytearray, rng: random.Random) -> None:
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _delete(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data) + 1)
    del data[start:start + rng.choice((1, 2, 10, 1000, len(data)))]


def _repeat(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data) + 1)
    part = data[start:start + rng.choice((1, 10, 200))]
    data[start:start] = part


def _insert(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data) + 1)
    data[start:start] = rng.choice(TOKENS)


def _cut(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data) + 1):]


_BYTES: tuple[Callable[[bytearray, random.Random], None], ...] = (_flip, _delete, _repeat, _insert, _cut)


def _structure(text: bytes, rng: random.Random) -> bytes:
    """One value somewhere replaced, removed, renamed, moved or doubled; the lines of the others as they are."""
    lines = text.split(b"\n")
    at = rng.choice([i for i, line in enumerate(lines) if line.strip()] or [0])
    try:
        item = json.loads(lines[at])
    except ValueError:  # one JSON text over many lines
        lines, at = [text], 0
        item = json.loads(text)
    holder = {"": item}
    for _ in range(rng.randint(1, 2)):
        _change(holder, rng)
    lines[at] = json.dumps(holder.get("")).encode()
    return b"\n".join(lines)


def _change(holder: dict[str, Any], rng: random.Random) -> None:
    """Walk a random way down and spoil what is there."""
    inside: Any = holder
    while True:
        keys = list(inside) if isinstance(inside, dict) else list(range(len(inside)))
        if not keys:
            return
        key = rng.choice(keys)
        if not isinstance(inside[key], (dict, list)) or not inside[key] or rng.random() < 0.25:
            break
        inside = inside[key]
    deed = rng.randrange(4)
    if deed == 0 or inside is holder:
        inside[key] = copy.deepcopy(rng.choice(NASTY))
    elif deed == 1:
        del inside[key]
    elif isinstance(inside, dict):
        inside[rng.choice(("x", str(key) + "s", str(key).upper()))] = inside.pop(key) if deed == 2 else copy.deepcopy(inside[key])
    else:
        inside.insert(rng.randrange(len(inside) + 1), copy.deepcopy(rng.choice((inside[key], rng.choice(NASTY)))))


def inputs(text: bytes, seed: int, count: int) -> Iterator[bytes]:
    """So many spoilt texts, the same for the same seed."""
    for number in range(count):
        yield spoilt(text, random.Random(f"{seed} {number}"))


def main(count: int) -> None:
    from tests.conform.test_fuzz import READERS, refused
    for name in READERS:
        print(f"{name:<28} {count} inputs, {refused(name, count)} refused with a clear error, none otherwise", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
