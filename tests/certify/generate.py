"""One design in, one case file out; and the command line."""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from fnmatch import fnmatchcase
from fractions import Fraction
from pathlib import Path

import flint

from .certify import as_fraction, certified, is_positive_definite
from .closed import Answers, Closed
from .condition import FIELD, condition_numbers, frobenius, norm, unpacked
from .designs import Design
from .fields import Rational
from .catalogue import BY_ID
from .question import Question
from .writer import case_text

CASES = Path(__file__).parents[2] / "refbnn" / "conform" / "cases"
LARGEST_NORMALS_CONDITION = 200
DELICATE = (("predictive.meanfield", "predictive.concentration", "predictive.bridge"), ("gp.loo.log_density",),
            ("gp.evidence.noise",))


def case_for(design: Design) -> str:
    """The text of the case file. The same design gives the same bytes."""
    question = design.question()
    check_normals(question)
    results = certified(question)
    scales = scales_of_zeros(question, results)
    conditions = condition_numbers(design.id, question, results, scales)
    design = replace(design, flags=flags_of(design, results))
    return case_text(design, question, powerful(question, results, conditions), conditions, scales)


def flags_of(design: Design, results: dict) -> tuple[str, ...]:
    """Its own remarks; of a GGN that is there as a whole also whether its least eigenvalue is below −10⁻⁹ ‖G‖_F."""
    if "ggn.full" not in results or "indefinite-ggn" in design.flags:
        return design.flags
    G = unpacked(results["ggn.full"].data, design.question().num_params)
    shift = 1e-9 * frobenius(G)
    with FIELD.working():
        shifted = [[flint.arb(v) + (shift if i == j else 0) for j, v in enumerate(row)] for i, row in enumerate(G)]
        return design.flags if is_positive_definite(shifted) else (*design.flags, "indefinite-ggn")


def powerful(question: Question, results: dict, conditions: dict[str, float]) -> dict:
    """Without what doubles could not keep six digits of: class probabilities, densities of data left out, slopes near zero."""
    size = 30 * (question.num_params + len(question.X)) * 2.0 ** -53
    hopeless = [name for together in DELICATE for name in together
                if any(conditions[other] * size > 1e-6 for other in together if other in results)]
    return {name: result for name, result in results.items() if name not in hopeless}


def check_normals(question: Question) -> None:
    """‖N‖_F ‖N⁺‖_F bounds κ₂ of the given normals: a sampler's linear map must be recoverable from them."""
    exact = Rational()
    N = exact.matrix([[exact.number(v) for v in row] for row in question.normals])
    gram = N.transpose() * N
    trace = sum((gram[i, i] for i in range(gram.nrows())), flint.fmpq(0))
    with FIELD.working():
        inverse = flint.arb_mat(gram).inv()
        bound = sum((inverse[i, i] for i in range(gram.nrows())), flint.arb(0)) * flint.arb(trace)
        if not bound < LARGEST_NORMALS_CONDITION ** 2:
            raise ValueError(f"normals: condition {bound.sqrt()}, expected below {LARGEST_NORMALS_CONDITION}")


def scales_of_zeros(question: Question, results: dict) -> dict[str, float]:
    """For a value that is exactly zero: the norm that it would have if the targets were zero, or, of a centred matrix, if it
    were not centred."""
    zeros = [name for name, result in results.items() if result.data and not any(result.data)]
    if not zeros:
        return {}
    centred = [name for name in zeros if ".centred" in name]
    without_targets = question if zeros == centred else replace(question, y=[[Fraction(0)] * len(row) for row in question.y])
    with FIELD.working():
        values = Answers(Closed(without_targets.lifted(FIELD), FIELD)).basic()
        norms = {name: norm(name, [float(as_fraction(v.mid())) for v in values[name.replace(".centred", "")]])
                 for name in zeros}
    if not all(norms.values()):
        raise ValueError(f"no scale for {[name for name, size in norms.items() if not size]}")
    return norms


def timed(name: str) -> tuple[str, str, float]:
    """The case of that id, in a process of its own."""
    start = time.perf_counter()
    return name, case_for(BY_ID[name]), time.perf_counter() - start


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.certify", description="Write or check the certified cases.")
    parser.add_argument("-k", metavar="GLOB", default="*", help="only cases whose id matches")
    parser.add_argument("--check", action="store_true", help="compare with the files byte for byte and write nothing")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default 1)")
    options = parser.parse_args(arguments)
    chosen = [name for name in BY_ID if fnmatchcase(name, options.k)]
    if not chosen:
        parser.error(f"no case matches {options.k!r}")
    differing = 0
    with ProcessPoolExecutor(options.jobs) as pool:
        for name, text, seconds in pool.map(timed, chosen):
            differing += not settle(CASES / f"{name}.json", text, options.check, seconds)
    print(f"{len(chosen)} cases, {differing} {'differ' if options.check else 'changed'}")
    return int(options.check and differing > 0)


def settle(path: Path, text: str, check: bool, seconds: float) -> bool:
    """Write or compare; True when the file was already as it should be."""
    same = path.exists() and path.read_bytes() == text.encode()
    if not check and not same:
        path.write_bytes(text.encode())
    word = "same" if same else "DIFFERS" if check else "written"
    print(f"{path.stem:40s} {len(text) / 1024:7.0f} KB {seconds:6.1f} s  {word}", flush=True)
    if check and not same:
        print(f"    {first_difference(path.read_text() if path.exists() else '', text)}", flush=True)
    return same


def first_difference(stored: str, made: str, around: int = 60) -> str:
    """Where two texts part, with what stands there in each."""
    at = next((i for i, (a, b) in enumerate(zip(stored, made)) if a != b), min(len(stored), len(made)))
    near = slice(max(at - around, 0), at + around)
    return f"at character {at}: stored {stored[near]!r}, made {made[near]!r}"


if __name__ == "__main__":
    sys.exit(main())
