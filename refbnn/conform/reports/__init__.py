"""What becomes of a run beside the terminal: JSON lines, Markdown, one HTML page, JUnit XML, the matrix of several, baselines.

A rendering is made from `records.Report`, so that one that is read back looks as it did when the run ended.
"""

from __future__ import annotations

import os
from typing import Any, Callable, Iterable

from refbnn import files
from ..run import Run
from . import jsonl, junit, markdown, page, records
from .jsonl import Findings
from .matrix import Matrix

__all__ = ["FORMATS", "MATRIX_FORMATS", "unwritable", "write", "write_matrix"]

Lines = list[dict[str, Any]]
FORMATS: dict[str, Callable[[Lines], str]] = {
    ".jsonl": jsonl.text, ".md": lambda lines: markdown.render(records.report(lines)),
    ".html": lambda lines: page.render(records.report(lines)), ".xml": lambda lines: junit.render(records.report(lines))}
MATRIX_FORMATS: dict[str, Callable[[Matrix], str]] = {".md": markdown.render_matrix, ".html": page.render_matrix}


def unwritable(path: str, formats: Iterable[str]) -> str:
    """Why a report could not be written there, or nothing."""
    if os.path.splitext(path)[1] not in formats:
        return f"expected a file name that ends in {', '.join(formats)}, got {path}"
    return files.unwritable(path)


def write(path: str, run: Run, findings: Findings, strict_digits: bool = False) -> None:
    """The run as a file in the format that its name says, whole or not at all."""
    files.write(path, [FORMATS[os.path.splitext(path)[1]](jsonl.lines(run, findings, strict_digits))])


def write_matrix(path: str, matrix: Matrix) -> None:
    """The matrix as a file, whole or not at all."""
    files.write(path, [MATRIX_FORMATS[os.path.splitext(path)[1]](matrix)])
