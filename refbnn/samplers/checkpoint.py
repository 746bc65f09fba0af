"""What a run leaves behind: arrays in files that appear whole or not at all."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from pathlib import Path

import numpy as np

SETTINGS = "settings.json"


def digest(arrays: Iterable) -> str:
    """Of the bytes of arrays, their shapes included."""
    found = hashlib.sha256()
    for array in map(np.asarray, arrays):
        found.update(f"{array.dtype.str}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def described(name: str, value: object) -> dict[str, str]:
    """What a dataclass is, name by name: its class and every field; other objects by class and the arrays that they hold."""
    if is_dataclass(value):
        inside = {f"{name}.{field.name}": getattr(value, field.name) for field in fields(value)}
        return {name: _class(value), **_all_described(inside)}
    if type(value) in (tuple, list):
        return {name: f"{len(value)} entries", **_all_described({f"{name}[{i}]": each for i, each in enumerate(value)})}
    if np.isscalar(value) or value is None:
        return {name: repr(value)}
    held = {"": value, **getattr(value, "__dict__", {})}
    arrays = [held[key] for key in sorted(held) if hasattr(held[key], "__array__")]
    return {name: f"{getattr(value, '__qualname__', _class(value))} {digest(arrays)}"}


def _all_described(values: dict) -> dict[str, str]:
    return {key: text for name, value in values.items() for key, text in described(name, value).items()}


def _class(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


class Folder:
    """A folder of named arrays that belongs to one run.

    A file is written under another name, forced to the disk and renamed, so that a process killed at any moment leaves only whole
    files. Nothing in them is executed when they are read: numbers, text and JSON. Raises ValueError for a folder of another run.
    """

    def __init__(self, path: str | os.PathLike, settings: dict):
        self._path = Path(path)
        self._path.mkdir(parents=True, exist_ok=True)
        for left_over in self._path.glob("*.partial"):
            left_over.unlink()
        known = self._path / SETTINGS
        settings = json.loads(json.dumps(settings))  # as it is read: a tuple is a list
        if not known.exists():
            self._write(SETTINGS, json.dumps(settings).encode())
        there = json.loads(known.read_text(encoding="utf-8"))
        if there != settings:
            changed = ", ".join(name for name in {**settings, **there} if there.get(name) != settings.get(name))
            raise ValueError(f"checkpoint: expected a new folder or one of the same run, got one in which {changed} differed")

    def load(self, name: str) -> dict[str, np.ndarray] | None:
        """The arrays saved under a name, or None."""
        path = self._path / f"{name}.npz"
        if not path.exists():
            return None
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)

    def save(self, name: str, arrays: dict[str, np.ndarray]) -> None:
        """Keep arrays under a name."""
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        self._write(f"{name}.npz", buffer.getvalue())

    def _write(self, name: str, content: bytes) -> None:
        partial = self._path / f"{name}.{os.getpid()}.partial"
        with open(partial, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, self._path / name)
        folder = os.open(self._path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
