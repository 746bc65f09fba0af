"""A progress bar on stderr, drawn only where somebody can watch it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TextIO

WIDTH = 24
PERIOD = 0.1
COLUMNS = 79


class Progress:
    """`with Progress(total) as watch: watch(label)` before each step; silent unless the stream is a terminal."""

    def __init__(self, total: int, stream: TextIO | None = None) -> None:
        self.total, self.stream = max(total, 1), stream or sys.stderr
        self.live = self.stream.isatty()
        self.done, self.next_draw = -1, 0.0

    def __enter__(self) -> Progress:
        return self

    def __call__(self, label: str) -> None:
        """A step begins, so the one before it is done; the label says what is being waited for."""
        self.done += 1
        now = time.monotonic()
        if self.live and now >= self.next_draw:
            self.next_draw = now + PERIOD
            bar = "#" * (WIDTH * self.done // self.total)
            self._write(f"[{bar:<{WIDTH}}] {self.done}/{self.total} {label}"[:COLUMNS])

    def __exit__(self, *exception: object) -> None:
        if self.live:
            self._write("")

    def _write(self, text: str) -> None:
        self.stream.write(f"\r{text:<{COLUMNS}}\r{text}")
        self.stream.flush()


def watched(parts: Iterable[tuple], total: int, label: str) -> Iterator[tuple]:
    """The same pairs; a bar shows what share of `total` the sizes of their second entries add up to."""
    done = 0
    with Progress(100) as watch:
        for part in parts:
            yield part
            done += part[1].size
            while watch.done < min(100, 100 * done // total):
                watch(label)
