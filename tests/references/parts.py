"""Results kept one by one in a folder, so that a run that was killed goes on behind the last of them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Parts:
    """A folder of JSON files that appear whole or not at all."""

    folder: Path

    def kept(self, name: str, make: Callable[[], dict]) -> dict:
        """What was made under this name, now or before, and the CPU seconds of this process that it took."""
        path = self.folder / f"{name.replace(' ', '-').replace(',', '')}.json"
        if not path.exists():
            began, found = time.process_time(), make()
            found = {**found, "cpu_seconds": round(time.process_time() - began, 1)}
            self.folder.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(f".{os.getpid()}.partial")
            partial.write_text(json.dumps(found), encoding="utf-8")
            os.replace(partial, path)
            print(f"  {name}: {found['cpu_seconds']} CPU s", flush=True)
        return json.loads(path.read_text(encoding="utf-8"))
