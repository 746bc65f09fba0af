"""`python -m tests.experiments [NAME ...]`: run the experiments and write their tables."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from refbnn.budget import Table
from refbnn.budget.table import from_plain
from tests.experiments import between, budgets, digits, fits, flights, gradients, labelings, sampling, structures, temperature
from tests.experiments import width

DATA = Path(__file__).parent / "data"
EXPERIMENTS = {
    "regression": budgets.regression, "classification": budgets.classification, "width": width.width, "between": between.between,
    "structures": structures.structures, "gradients": gradients.gradients, "labelings": labelings.labelings,
    "sampling": sampling.sampling, "digits": digits.digits, "fits": fits.fits, "temperature": temperature.temperature,
    "flights": flights.flights,
}


def read(name: str) -> list[Table]:
    """The stored tables of an experiment."""
    return [from_plain(plain) for plain in json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))]


def write(name: str) -> None:
    """Run one and store its tables, a row a line."""
    start = time.perf_counter()
    note = lambda words: print(f"{name} {time.perf_counter() - start:6.0f} s  {words}", flush=True)
    tables = [table.plain() for table in EXPERIMENTS[name](note)]
    text = ",\n".join(_lines(table) for table in tables)
    (DATA / f"{name}.json").write_text(f"[{text}]\n", encoding="utf-8")
    note("written")


def _lines(table: dict) -> str:
    rows = ",\n  ".join(json.dumps(row) for row in table.pop("rows"))
    return json.dumps(table)[:-1] + ', "rows": [\n  ' + rows + "]}"


def main(wanted: list[str]) -> None:
    """Those that were asked for, all by default."""
    for name in wanted or EXPERIMENTS:
        write(name)


if __name__ == "__main__":
    main(sys.argv[1:])
