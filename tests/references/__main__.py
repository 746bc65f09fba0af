"""`python -m tests.references [ID ...]`: compute the reference posteriors and write them."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

from tests.references import first, second
from tests.references.catalogue import CASES, Case

DATA = Path(__file__).parent / "data"
POINTS = {1: (150, 110), 2: (100, 110)}  # of `second`, by the number of hidden units
AGREEMENT = 1e-9  # between the two, absolute


def computed(case: Case) -> dict:
    """The file of a case, as a dictionary. Raises AssertionError where the two quadratures disagree."""
    ours, record = first.answers(case)
    weights_a_unit = case.sizes[0] + case.bias
    points = 160 if weights_a_unit == 3 else POINTS[case.sizes[1]][0]
    theirs = second.answers(case, points, POINTS[case.sizes[1]][1])
    results = {}
    for name, integral in ours.items():
        apart = float(np.max(np.abs(integral.value - theirs[name])))
        assert apart <= AGREEMENT, f"{case.id}: {name} by two quadratures differs by {apart:.3g}\n{record}"
        results[name] = {"value": _plain(integral.value), "error": float(np.max(integral.error)), "second": _plain(theirs[name]),
                         "difference": apart}
    name, parameters = case.likelihood
    return {
        "id": case.id, "title": case.title, "sizes": case.sizes, "activation": case.activation, "bias": case.bias,
        "likelihood": {"name": name, **parameters}, "prior_precision": case.precision,
        "X": case.X.tolist(), "y": case.y.tolist(), "X_new": case.X_new.tolist(),
        "results": results, "record": [asdict(row) for row in record.rows],
        "second": {"rule": "Gauss-Legendre in asinh(2z), z in prior standard deviations", "points": points},
    }


def _plain(value: object) -> object:
    return np.asarray(value).tolist()


def main(wanted: list[str]) -> None:
    """Write the files of the cases that were asked for, of all by default."""
    DATA.mkdir(exist_ok=True)
    for case in CASES:
        if not wanted or case.id in wanted:
            start = time.perf_counter()
            found = computed(case)
            (DATA / f"{case.id}.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
            value = found["results"]["log_evidence"]
            print(f"{case.id:28s} {value['value']:.14g} ± {value['error']:.1e}, second differs by {value['difference']:.1e}, "
                  f"{time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
