"""The tester tested: every comparison, verdict, convention and diagnosis notices its planted fault and leaves the truth alone.

`refbnn selftest` prints one line for each claim and ends with 0, or with 3 if any does not hold.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from . import case as _case, draws as _draws, run
from .adapters import faults, refbnn as right
from .case import Case, Certified
from .compare import Comparison, Unusable, Verdict, compare, expected_shape, unusable
from .conventions import AXES, convert
from .diagnose import Finding, explain
from .quantities import QUANTITIES

FAMILY = "diagnostic"
MOST = 8  # cases a fault is planted in
OPTIMA = ("linear-normal-2-3", "posterior-linear-poisson", "posterior-linear-ordinal")  # or one in best Gaussians
POSTERIORS = ("posterior-tanh-normal", "posterior-linear-poisson")  # that samplers are judged on
SEED = 20260101


@dataclass(frozen=True)
class Line:
    """One claim about the kit: what was planted, what the kit must say, what it said."""

    section: str
    planted: str
    expected: str
    got: str

    @property
    def holds(self) -> bool:
        """Whether the kit said what it must."""
        return self.expected == self.got


def main(out: TextIO | None = None) -> int:
    """Print every line; 0 if all hold, else 3."""
    out = out or sys.stdout
    results = []
    for line in lines():
        results.append(line.holds)
        mark = "ok    " if line.holds else "BROKEN"
        said = line.got if line.holds else f"{line.got}, expected {line.expected}"
        print(f"{mark} {line.section:<11} {line.planted:<44} {said}", file=out)
    broken = len(results) - sum(results)
    print(f"\n{len(results) - broken} of {len(results)} lines hold" + (f", {broken} BROKEN" if broken else ""), file=out)
    return 3 if broken or not results else 0


def lines() -> Iterator[Line]:
    """All claims, in the order of the report, on cases that have their full matrices."""
    cases = [case for case in _case.read_all("*") if case.family == FAMILY and "ggn.full" in case.values]
    normal = next(case for case in cases if case.problem.likelihood == "normal" and case.problem.bias)
    yield from comparisons(normal)
    yield from conventions(normal)
    yield from running(normal)
    yield from diagnoses(_spread(cases))
    yield from garbage(cases[:3])
    posteriors = [_case.read(name) for name in POSTERIORS]
    yield from draws(posteriors)
    yield from samplers(posteriors)


def _spread(cases: list[Case]) -> list[Case]:
    """A few cases with every likelihood among them, positive-definite Hessians first; the last has several prior precisions."""
    by_likelihood: dict[str, list[Case]] = {}
    for case in sorted(cases, key=lambda case: "laplace.hessian.precision" not in case.values):
        by_likelihood.setdefault(case.problem.likelihood, []).append(case)
    turns = zip_longest(*by_likelihood.values())
    several = next(case for case in cases if "ntk" in case.values and len(set(case.problem.prior_precision.diagonal())) > 1)
    return [case for turn in turns for case in turn if case is not None and case is not several][:MOST - 1] + [several]


# Comparisons ---------------------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Planted:
    """An answer made from the right one, the verdict it deserves, and words that its message must or must not hold."""

    text: str
    quantity: str
    verdict: Verdict
    answer: Callable[[np.ndarray, Any], Any]
    certified: Callable[[Certified], Certified] = lambda certified: certified
    settings: tuple[tuple[str, str], ...] = ()
    problem: Callable[[Any], Any] = lambda problem: problem
    says: str = ""
    hides: str = ""


def _moved(size: float) -> Callable[[np.ndarray, Any], np.ndarray]:
    """Every entry changed by a relative amount of random sign."""
    def change(value: np.ndarray, problem: Any) -> np.ndarray:
        return value * (1 + size * np.random.default_rng(SEED).choice((-1.0, 1.0), value.shape))
    return change


def _doubled_direction(value: np.ndarray, problem: Any) -> np.ndarray:
    """The variance along the most certain direction doubled: small in norm."""
    sizes, vectors = np.linalg.eigh(value)
    return value + sizes[0] * np.outer(vectors[:, 0], vectors[:, 0])


def _rotation(p: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(SEED).standard_normal((p, p)))[0]


def _samples(covariance: np.ndarray, problem: Any, normals: np.ndarray) -> np.ndarray:
    root = np.linalg.cholesky(covariance) @ _rotation(len(covariance))
    return problem.theta + normals @ root.T


_FULL, _COVARIANCE, _SCALE, _SAMPLE = "ggn.full", "laplace.covariance", "laplace.scale", "laplace.sample"
COMPARISONS = (
    Planted("the certified value itself", _FULL, Verdict.EXACT, lambda value, problem: value),
    Planted("off by rounding", _FULL, Verdict.PASS, _moved(1e-15)),
    Planted("off by 1e-7", _FULL, Verdict.LOSSY, _moved(1e-7), says="not symmetric", hides="too wide"),
    Planted("off by 1%", _FULL, Verdict.MISMATCH, _moved(1e-2), says="not symmetric"),
    Planted("1% too large", _FULL, Verdict.MISMATCH, lambda value, problem: 1.01 * value, hides="not symmetric"),
    Planted("a covariance off by 1e-7", _COVARIANCE, Verdict.LOSSY, _moved(1e-7)),
    Planted("an ill-conditioned covariance off by 1e-7", _COVARIANCE, Verdict.UNDERPOWERED, _moved(1e-7),
            lambda certified: replace(certified, condition=1e9), says="too wide"),
    Planted("a covariance judged near the cap, off by 1e-10", _COVARIANCE, Verdict.PASS, _moved(1e-10),
            lambda certified: replace(certified, condition=5e6)),
    Planted("a certified matrix that is not definite", _COVARIANCE, Verdict.PASS,
            lambda value, problem: np.full_like(value, 1 + 1e-15),
            lambda certified: replace(certified, value=np.ones_like(certified.value))),
    Planted("samples of too few normals", _SAMPLE, Verdict.UNDERPOWERED,
            lambda value, problem: problem.theta + problem.normals, problem=lambda problem: replace(
                problem, normals=problem.normals[:5]), says="too few to recover a map"),
    Planted("one entry of the matrix off by 1%", _FULL, Verdict.MISMATCH, lambda value, problem: value + np.where(
        np.arange(value.size).reshape(value.shape) == np.argmax(np.abs(value)), 0.01 * np.abs(value).max(), 0)),
    Planted("a number off by rounding", "loss", Verdict.PASS, _moved(1e-15)),
    Planted("a number off by 1%", "loss", Verdict.MISMATCH, _moved(1e-2)),
    Planted("transposed", "jacobian", Verdict.MISMATCH, lambda value, problem: value.transpose(1, 0, 2)),
    Planted("flattened", _FULL, Verdict.MISMATCH, lambda value, problem: value.ravel()),
    Planted("a number as an array of one", "loss", Verdict.MISMATCH, lambda value, problem: value.reshape(1)),
    Planted("empty", _FULL, Verdict.MISMATCH, lambda value, problem: np.zeros((0, 0))),
    Planted("NaN", _FULL, Verdict.MISMATCH, lambda value, problem: np.full_like(value, np.nan), says="(NaN)"),
    Planted("infinite", _FULL, Verdict.MISMATCH, lambda value, problem: np.full_like(value, np.inf), says="(infinite)"),
    Planted("1e300 everywhere", _FULL, Verdict.MISMATCH, lambda value, problem: np.full_like(value, 1e300)),
    Planted("complex", _FULL, Verdict.MISMATCH, lambda value, problem: value.astype(complex)),
    Planted("truth values", _FULL, Verdict.MISMATCH, lambda value, problem: value > 0),
    Planted("text", _FULL, Verdict.MISMATCH, lambda value, problem: str(value)),
    Planted("an array of text", _FULL, Verdict.MISMATCH, lambda value, problem: value.astype(str)),
    Planted("objects", _FULL, Verdict.MISMATCH, lambda value, problem: value.astype(object)),
    Planted("masked", _FULL, Verdict.MISMATCH, lambda value, problem: np.ma.masked_array(value, value > 0)),
    Planted("a ragged list", _FULL, Verdict.MISMATCH, lambda value, problem: [[1.0], [1.0, 2.0]]),
    Planted("nothing", _FULL, Verdict.MISMATCH, lambda value, problem: None),
    Planted("a nested list of the right numbers", _FULL, Verdict.EXACT, lambda value, problem: value.tolist()),
    Planted("one direction's variance doubled", _COVARIANCE, Verdict.MISMATCH, _doubled_direction,
            says="worst direction off by"),
    Planted("a rotated root", _SCALE, Verdict.PASS,
            lambda value, problem: np.linalg.cholesky(value) @ _rotation(len(value))),
    Planted("a root transposed", _SCALE, Verdict.MISMATCH, lambda value, problem: np.linalg.cholesky(value).T),
    Planted("samples by a rotated root", _SAMPLE, Verdict.PASS,
            lambda value, problem: _samples(value, problem, problem.normals)),
    Planted("samples twice as wide", _SAMPLE, Verdict.MISMATCH,
            lambda value, problem: _samples(value, problem, 2 * problem.normals)),
    Planted("samples around another mean", _SAMPLE, Verdict.MISMATCH,
            lambda value, problem: _samples(value, problem, problem.normals) + 1, says="their mean is shifted"),
    Planted("samples from other normals", _SAMPLE, Verdict.MISMATCH, lambda value, problem: _samples(
        value, problem, np.random.default_rng(SEED).standard_normal(problem.normals.shape)), says="no linear map"),
    Planted("all samples at θ", _SAMPLE, Verdict.MISMATCH,
            lambda value, problem: _samples(value, problem, 0 * problem.normals)),
    Planted("zero certified, zero answered", _FULL, Verdict.EXACT, lambda value, problem: 0 * value,
            lambda certified: replace(certified, value=0 * certified.value, scale=1.0)),
    Planted("zero certified, rounding answered", _FULL, Verdict.PASS, lambda value, problem: np.full_like(value, 1e-17),
            lambda certified: replace(certified, value=0 * certified.value, scale=1.0)),
    Planted("zero certified, 1% of the scale answered", _FULL, Verdict.MISMATCH, lambda value, problem: np.full_like(value, 1e-2),
            lambda certified: replace(certified, value=0 * certified.value, scale=1.0)),
    Planted("an ill-conditioned value off by 1e-7", _FULL, Verdict.UNDERPOWERED, _moved(1e-7),
            lambda certified: replace(certified, condition=1e9)),
    Planted("float32 declared, off by 1e-7", _FULL, Verdict.PASS, _moved(1e-7), settings=(("precision", "float32"),)),
    Planted("float32 declared, off by 1%", _FULL, Verdict.MISMATCH, _moved(1e-2), settings=(("precision", "float32"),)),
)


def comparisons(case: Case) -> Iterator[Line]:
    """Right and wrong answers of every sort, each with its verdict."""
    for planted in COMPARISONS:
        quantity = QUANTITIES[planted.quantity]
        certified = planted.certified(case.values[quantity.certified_by])
        problem = planted.problem(case.problem)
        found = compare(quantity, certified, planted.answer(case.values[quantity.certified_by].value, problem), problem,
                        dict(planted.settings))
        silent = planted.says not in found.message or (planted.hides and planted.hides in found.message)
        words = " without its words" if silent else ""
        yield Line("comparison", planted.text, planted.verdict.value, found.verdict.value + words)


# Conventions ---------------------------------------------------------------------------------------------------------

def conventions(case: Case) -> Iterator[Line]:
    """Every value of every axis: followed and declared it passes, declared only or followed only it fails."""
    for axis in AXES:
        for choice in list(axis.meanings)[1:]:
            touched = next((q for q in QUANTITIES.values() if _shows(q, case, {axis.name: choice})), None)
            if touched is None:
                continue
            certified, declared = case.values[touched.name], {axis.name: choice}
            followed = convert(touched, certified.value, case.problem, declared)
            trials = (followed, declared), (certified.value, declared), (followed, {})
            got = [compare(touched, certified, answer, case.problem, settings).verdict.value for answer, settings in trials]
            yield Line("convention", f"{axis.name} = {choice}", "EXACT MISMATCH MISMATCH", " ".join(got))


def _shows(quantity, case: Case, declared: dict[str, str]) -> bool:
    """Whether declaring this changes what is expected of the quantity."""
    if quantity.name not in case.values:
        return False
    value = case.values[quantity.name].value
    return not np.array_equal(value, convert(quantity, value, case.problem, declared))


# Running -------------------------------------------------------------------------------------------------------------

_ADAPTER = '''
import os
from refbnn.conform.adapters import refbnn as _right
name, version, conventions, prepare = "selftest", "1", {}, _right.prepare
known_failures = {"*::jacobian": "planted", "*::hessian.full": "planted"}
def unsupported(problem, quantity): return "planted" if quantity == "fisher.full" else None
def forward(s): return _right.forward(s)
def gradient(s): raise RuntimeError("planted")
def jacobian(s): return 2 * _right.jacobian(s)
def hessian_full(s): return _right.hessian_full(s)
def fisher_full(s): return _right.fisher_full(s)
def loss(s): os._exit(0)
def ggn_full(s): s.problem.theta.flags.writeable = True; s.problem.theta[:] = 0; return _right.ggn_full(s)
'''
_EXPECTED = {"forward": Verdict.PASS, "gradient": Verdict.ERROR, "jacobian": Verdict.XFAIL, "hessian.full": Verdict.XPASS,
             "fisher.full": Verdict.UNSUPPORTED, "loss": Verdict.ERROR, "ggn.full": Verdict.ERROR,
             "ggn.diag": Verdict.UNSUPPORTED}
_SILENT = 'name = "silent"\ndef prepare(problem): return problem\n'
_CRASHING = _SILENT + "import os\n" + "".join(
    f"def {name}(s): os._exit(1)\n" for name in ("forward", "loss", "gradient", "log_joint", "jacobian", "ggn_full", "ggn_diag"))


def running(case: Case) -> Iterator[Line]:
    """An adapter that raises, exits, mutates its input, fails as announced and passes unexpectedly; others that never answer."""
    with tempfile.TemporaryDirectory() as folder:
        result = _run(folder, "faulty", _ADAPTER, case)
        got = {check.quantity: check.verdict for check in result.checks}
        for name, expected in _EXPECTED.items():
            passed = {Verdict.EXACT: Verdict.PASS}
            yield Line("running", f"planted in {name}", expected.value, passed.get(got[name], got[name]).value)
        yield Line("running", "errors and an unexpected pass", "exit 1", f"exit {result.exit_code()}")
        yield Line("running", "no function at all", "exit 3", f"exit {_run(folder, 'silent', _SILENT, case).exit_code()}")
        crashing = _run(folder, "crashing", _CRASHING, case)
        yield Line("running", "a crash on every call", "exit 3", f"exit {crashing.exit_code()}")
        skipped = [check for check in crashing.checks if check.verdict is Verdict.SKIP]
        yield Line("running", "what a crashed adapter was not asked", "SKIP", skipped[0].verdict.value if skipped else "nothing")


def _run(folder: str, name: str, text: str, case: Case) -> run.Run:
    path = Path(folder) / f"{name}.py"
    path.write_text(text, encoding="utf-8")
    return run.run(str(path), run.plan([case]))


# Diagnoses -----------------------------------------------------------------------------------------------------------

def diagnoses(cases: list[Case]) -> Iterator[Line]:
    """Every planted fault: its worst verdict, and the cause named for each quantity that it spoils."""
    few = [_case.read(name) for name in OPTIMA]
    states = {case.id: right.prepare(case.problem) for case in (*cases, *few)}
    for name, fault in faults.FAULTS.items():
        wrong, passed, verdicts = [], [], set()
        for spoilt, function in fault.spoils.items():
            quantity = QUANTITIES[spoilt]
            for case in few if spoilt.startswith("vi.optimum.") else cases:
                if quantity.certified_by in case.values and quantity.exists_for(case.problem.likelihood):
                    answer = function(states[case.id])
                    verdict = compare(quantity, case.values[quantity.certified_by], answer, case.problem, {}).verdict
                    verdicts.add(verdict)
                    (wrong if verdict in (Verdict.MISMATCH, Verdict.LOSSY) else passed).append((case, quantity, answer))
        worst = next((v for v in (Verdict.MISMATCH, Verdict.LOSSY) if v in verdicts), Verdict.PASS)
        yield Line("fault", name, fault.verdict, worst.value)
        said = {finding.quantity: finding for finding in explain(wrong, {}, [(case, quantity) for case, quantity, _ in passed])}
        for spoilt in dict.fromkeys(quantity.name for _, quantity, _ in wrong):
            yield Line("diagnosis", f"{name}: {spoilt}", fault.causes[spoilt] or "no cause", _cause(said.get(spoilt)))


def _cause(finding: Finding | None) -> str:
    if finding is None:
        return "no finding"
    return finding.cause.key if finding.cause else "no cause"


def garbage(cases: list[Case]) -> Iterator[Line]:
    """Random answers of the right shape get no cause."""
    rng = np.random.default_rng(SEED)
    for quantity in (quantity for quantity in QUANTITIES.values() if quantity.kind != "draws"):
        wrong = []
        for case in (case for case in cases if quantity.certified_by in case.values
                     and quantity.exists_for(case.problem.likelihood)):
            shape = expected_shape(quantity, case.values[quantity.certified_by], case.problem, {})
            wrong.append((case, quantity, rng.standard_normal(shape)))
        for finding in explain(wrong):
            yield Line("diagnosis", f"random numbers: {finding.quantity}", "no cause", _cause(finding))


# Draws ---------------------------------------------------------------------------------------------------------------

def _fewer(theta: np.ndarray) -> np.ndarray:
    """Of 24 chains in 64."""
    return theta[:24, ::3]


def _one_apart(theta: np.ndarray) -> np.ndarray:
    """The first chain in a place of its own."""
    theta = theta.copy()
    theta[0] += 3 * theta.std(axis=(0, 1))
    return theta


DRAWS: tuple[tuple[str, Callable[[np.ndarray], Any], Verdict, str], ...] = (
    ("draws of a right sampler", lambda theta: theta, Verdict.PASS, "would have been seen"),
    ("a third of 24 chains", _fewer, Verdict.UNDERPOWERED, "times as many draws"),
    ("three chains of them", lambda theta: theta[:3], Verdict.INCONCLUSIVE, "at least 4"),
    ("fifty draws of each chain", lambda theta: theta[:, :50], Verdict.INCONCLUSIVE, "of 100"),
    ("one chain elsewhere", _one_apart, Verdict.INCONCLUSIVE, "R-hat"),
    ("draws sorted in every chain", lambda theta: np.sort(theta, axis=1), Verdict.INCONCLUSIVE, "effective size"),
    ("one chain repeated", lambda theta: np.concatenate([theta[:1], theta[:-1]]), Verdict.MISMATCH, "move together"),
    ("draws moved by a fifth of their spread", lambda theta: theta + 0.2 * theta.std(axis=(0, 1)), Verdict.MISMATCH,
     "Monte-Carlo errors"),
    ("draws as one long chain", lambda theta: theta.reshape(-1, theta.shape[-1]), Verdict.MISMATCH, "expected shape"),
    ("a draw that is NaN", lambda theta: np.where(np.arange(theta.size).reshape(theta.shape) == 7, np.nan, theta),
     Verdict.MISMATCH, "not finite"),
)


def draws(cases: list[Case]) -> Iterator[Line]:
    """Draws that are right, too few, do not mix, or are of another distribution."""
    quantity, first = QUANTITIES["posterior.draws"], cases[0]
    theta = right.posterior_draws(right.prepare(first.problem))
    for planted, change, verdict, words in DRAWS:
        found = _concluded(first, quantity, change(theta))
        silent = "" if words in found.message else " without its words"
        yield Line("draws", planted, verdict.value, found.verdict.value + silent)


def samplers(cases: list[Case]) -> Iterator[Line]:
    """Samplers with planted faults: the worst verdict on their draws, and the cause named."""
    quantity = QUANTITIES["posterior.draws"]
    for name, fault in faults.OF_DRAWS.items():
        answers = [fault.spoils[quantity.name](right.prepare(case.problem)) for case in cases]
        measured = [_draws.measure(case, quantity, answer, {}) for case, answer in zip(cases, answers)]
        concluded = _draws.conclude(measured, sum(len(found.averages) for found in measured))
        verdicts = [comparison.verdict for comparison in concluded]
        worst = next((v for v in (Verdict.MISMATCH, Verdict.INCONCLUSIVE) if v in verdicts), Verdict.PASS)
        yield Line("fault", name, Verdict.MISMATCH.value, worst.value)
        wrong, passed = ([found for found, verdict in zip(measured, verdicts) if verdict is wanted]
                         for wanted in (Verdict.MISMATCH, Verdict.PASS))
        said = _draws.explain(wrong, passed) if wrong else None
        yield Line("diagnosis", f"{name}: {quantity.name}", fault.causes[quantity.name] or "no cause", _cause(said))


def _concluded(case: Case, quantity: Any, answer: np.ndarray) -> Comparison:
    try:
        measured = _draws.measure(case, quantity, answer, {})
    except Unusable as error:
        return unusable(error)
    return _draws.conclude([measured], len(measured.averages))[0]
