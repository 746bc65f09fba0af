"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from typing import Iterable


def write(path: str, parts: Iterable[str]) -> None:
    """The parts as a UTF-8 file: a temporary one in its folder, renamed at the end, so that a kill leaves no half of it.

    What UTF-8 cannot hold (half a surrogate pair, in somebody's name) is a question mark.
    """
    folder = os.path.dirname(os.path.abspath(path))
    descriptor, temporary = tempfile.mkstemp(prefix=os.path.basename(path) + ".", suffix=".part", dir=folder)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace", newline="\n") as stream:
            stream.writelines(parts)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _umask() -> int:
    """The process's umask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def unwritable(path: str) -> str:
    """Why no file could be written there, or nothing; to be asked before the work is done."""
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK):
        return f"cannot write into {folder}"
    return f"{path} is a folder" if os.path.isdir(path) else ""
