"""Composed faults of right values, drawn from a catalogue of their own, and what a diagnosis may say of each.

Nothing here reads the theories of the search. A claimed cause is held to be true only if the answers that it describes, made
again from its words by the table below, are the planted ones on every case.

    python -m tests.conform.mutants 600        how many are detected and attributed, and how long a diagnosis takes
"""

from __future__ import annotations

import re
import sys
import time
from collections import Counter
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Callable

import numpy as np

from refbnn.conform import case as cases
from refbnn.conform.adapters import autograd as other
from refbnn.conform.compare import Verdict, compare
from refbnn.conform.conventions import convert
from refbnn.conform.diagnose import Finding, explain
from refbnn.conform.quantities import QUANTITIES
from refbnn.linalg import symmetric_part

SUMS = ("gradient", "ggn.full", "ggn.diag", "hessian.full", "hessian.diag", "hessian.hvp", "fisher.full", "fisher.diag", "ggn.vp")
MATRICES = ("ggn.full", "hessian.full", "fisher.full", "fisher.empirical")
SCALES: dict[str, Callable[[Any], float]] = {
    "2": lambda p: 2.0, "N": lambda p: float(len(p.X)), "C": lambda p: float(p.sizes[-1]),
    "σ²": lambda p: p.variance or 1.0, "τ": lambda p: float(p.prior_precision[0, 0]), "t": lambda p: float(len(p.draws))}
SCALES["C(y)"] = lambda p: p.y.size / len(p.X)
ORDERS = ("column_major", "bias_first", "biases_last", "flax")
CONVENTIONS = ({"loss.reduction": "mean"}, {"loss.reduction": "mean_all"}, {"loss.squared_error": "half"},
               {"loss.squared_error": "one"}, {"loss.squared_error": "half", "loss.reduction": "mean"},
               {"loss.squared_error": "one", "loss.reduction": "mean_all"})
Change = Callable[[np.ndarray, Any, str], np.ndarray]


def _prior_term(value: np.ndarray, case: Any, name: str) -> np.ndarray:
    """What the negative log prior adds to a derivative of the loss."""
    P, shift = case.problem.prior_precision, case.problem.theta - case.problem.prior_mean
    by_kind = {"gradient": lambda: P @ shift, "vp": lambda: P @ case.problem.vector, "diag": lambda: np.diag(P),
               "full": lambda: P}
    kind = "gradient" if name == "gradient" else "vp" if name.endswith("vp") else "diag" if name.endswith("diag") else "full"
    return by_kind[kind]()


# What may be done to a right value, by the words that a diagnosis has for it.
DEEDS: dict[str, tuple[tuple[str, ...], Change]] = {
    "prior_included": (SUMS, lambda v, c, n: v + _prior_term(v, c, n)),
    "lower_triangle": (MATRICES, lambda v, c, n: np.tril(v)),
    "upper_triangle": (MATRICES, lambda v, c, n: np.triu(v)),
    "upper_triangle_wrong": (MATRICES, lambda v, c, n: np.tril(v) + np.triu(v, 1) ** 2),
    "diagonal_only": (MATRICES, lambda v, c, n: np.diag(np.diag(v))),
    "diagonal_vector": (MATRICES, lambda v, c, n: np.diag(v).copy()),
    "shape": (("gradient", "hessian.hvp"), lambda v, c, n: v[:, None]),
    "transposed_102": (("jacobian",), lambda v, c, n: v.transpose(1, 0, 2)),
    "transposed_210": (("jacobian",), lambda v, c, n: v.transpose(2, 1, 0)),
    "transposed_10": (("forward",), lambda v, c, n: v.T),
    "prior_forgotten": (("laplace.precision",), lambda v, c, n: v - c.problem.prior_precision),
    "prior_doubled": (("laplace.precision",), lambda v, c, n: v + c.problem.prior_precision),
    "curvature_forgotten": (("laplace.precision",), lambda v, c, n: 0 * v + c.problem.prior_precision),
    "log_det_missing": (("laplace.log_evidence",), lambda v, c, n: v + c.values["laplace.log_det"].value / 2),
    "half_missing": (("laplace.log_evidence",), lambda v, c, n: v - c.values["laplace.log_det"].value / 2),
}


# What may be taken for another thing: fields of the problem, None where there are none. Answers to it are autograd's.
QUESTIONS: dict[str, Callable[[Any], dict[str, Any] | None]] = {
    "noise_std": lambda p: {"variance": p.variance**0.5} if p.variance else None,
    "noise_precision": lambda p: {"variance": 1 / p.variance} if p.variance else None,
    "prior_covariance": lambda p: {"prior_precision": symmetric_part(np.linalg.inv(p.prior_precision))},
    "prior_squared": lambda p: {"prior_precision": symmetric_part(p.prior_precision @ p.prior_precision)},
    "last_datum": lambda p: {name: getattr(p, name)[:-1] for name in ("X", "y", "labels")},
    "first_datum_twice": lambda p: {name: getattr(p, name)[[0, *range(len(p.X))]] for name in ("X", "y", "labels")},
}
ASKED = ("loss", "log_joint", "gradient", "ggn.full", "hessian.hvp", "laplace.log_det", "laplace.log_evidence",
         "predictive.glm.variance")
SCALED = ("prior_included", "lower_triangle", "upper_triangle", "diagonal_only")
OTHERS = {"ggn.full": ("hessian.full", "fisher.empirical", "fisher.mc"), "hessian.full": ("ggn.full", "fisher.empirical"),
          "fisher.full": ("fisher.empirical", "fisher.mc", "hessian.full"), "fisher.empirical": ("fisher.mc", "hessian.full"),
          "ggn.diag": ("fisher.empirical.diag", "hessian.diag"), "hessian.diag": ("ggn.diag", "fisher.mc.diag"),
          "ggn.vp": ("hessian.hvp", "fisher.empirical.vp")}


@dataclass(frozen=True)
class Mutant:
    """Wrong answers to one quantity on some cases; `planted` says what was done."""

    quantity: str
    planted: str
    wrong: tuple[tuple[Any, np.ndarray], ...]

    def finding(self) -> tuple[Finding, float]:
        """The diagnosis, and the seconds that it took."""
        asked = [(case, QUANTITIES[self.quantity], answer) for case, answer in self.wrong]
        began = time.process_time()  # of this process alone: the machine may be busy
        found, = explain(asked, {})
        return found, time.process_time() - began


@lru_cache(maxsize=1)
def family() -> list[Any]:
    """The cases whose sizes tell factors apart, those with full matrices first."""
    found = [case for case in cases.read_all("*") if case.family == "diagnostic"]
    return sorted(found, key=lambda case: "ggn.full" not in case.values)


def mutant(seed: int) -> Mutant:
    """A mutant that changes the value on every one of its cases."""
    rng = np.random.default_rng(seed)
    while True:
        name, planted, change = _COMPOSERS[rng.integers(len(_COMPOSERS))](rng)
        chosen = [case for case in family() if name in case.values]
        chosen = [chosen[i] for i in rng.permutation(len(chosen))[:rng.integers(2, 5)]]
        wrong = []
        for case in chosen:
            answer = change(case)
            if answer is not None and differs(name, case, answer):
                wrong.append((case, answer))
        if len(wrong) > 1:
            return Mutant(name, planted, tuple(wrong))


def differs(name: str, case: Any, answer: np.ndarray) -> bool:
    """Whether the answer is another value than the right one, by 1% or its shape."""
    right = case.values[name].value
    return answer.shape != right.shape or np.linalg.norm(answer - right) > 0.01 * np.linalg.norm(right)


def detected(found: Mutant) -> bool:
    """Whether every one of its answers is judged wrong."""
    return all(compare(QUANTITIES[found.quantity], case.values[found.quantity], answer, case.problem, {}).verdict
               in (Verdict.MISMATCH, Verdict.LOSSY) for case, answer in found.wrong)


# Composers: a quantity, a text, and the answer on a case ---------------------------------------------------------------------

def _product(rng: np.random.Generator, names: tuple[str, ...] = ("2", "N", "C", "σ²")) -> tuple[str, Callable[[Any], float]]:
    """One or two different scales, above or below."""
    chosen = [str(name) for name in rng.permutation(names)[:rng.integers(1, 3)]]
    powers = [int(rng.choice((-1, 1))) for _ in chosen]
    text = " ".join(f"{name}^{power}" for name, power in zip(chosen, powers))
    return text, lambda case: float(np.prod([SCALES[name](case.problem) ** power for name, power in zip(chosen, powers)]))


def _scaled(rng):
    name = str(rng.choice((*SUMS, "jacobian", "forward", "fisher.empirical", "laplace.precision")))
    text, factor = _product(rng)
    sign = float(rng.choice((1.0, 1.0, -1.0)))
    return name, f"x {sign} {text}", lambda case: sign * factor(case) * case.values[name].value


def _conventional(rng):
    name, declared = str(rng.choice(SUMS)), dict(CONVENTIONS[rng.integers(len(CONVENTIONS))])
    if rng.random() < 0.4:
        declared["parameters.order"] = str(rng.choice(ORDERS))
    return name, str(declared), lambda case: convert(QUANTITIES[name], case.values[name].value, case.problem, declared)


def _ordered(rng):
    name, order = str(rng.choice((*SUMS, "jacobian"))), str(rng.choice(ORDERS))
    text, factor = _product(rng) if rng.random() < 0.5 else ("", lambda case: 1.0)
    return name, f"{order} x {text}", lambda case: factor(case) * convert(
        QUANTITIES[name], case.values[name].value, case.problem, {"parameters.order": order})


def _done(rng):
    word = str(rng.choice(list(DEEDS)))
    name = str(rng.choice(DEEDS[word][0]))
    text, factor = _product(rng) if word in SCALED[1:] and rng.random() < 0.5 else ("", lambda case: 1.0)
    return name, f"{word} x {text}", lambda case: factor(case) * DEEDS[word][1](case.values[name].value, case, name)


def _other(rng):
    name = str(rng.choice(list(OTHERS)))
    other = str(rng.choice(OTHERS[name]))
    text, factor = _product(rng) if rng.random() < 0.5 else ("", lambda case: 1.0)
    return name, f"{other} x {text}", lambda case: factor(case) * case.values[other].value if other in case.values else None


def _answered(word: str, name: str, case: Any) -> np.ndarray | None:
    """The right answer to another question."""
    changes = QUESTIONS[word](case.problem)
    state = None if changes is None else other.prepare(replace(case.problem, **changes))
    return None if state is None else np.asarray(getattr(other, QUANTITIES[name].function_name)(state), float)


def _asked(rng):
    word, name = str(rng.choice(list(QUESTIONS))), str(rng.choice(ASKED))
    return name, f"question {word}", lambda case: _answered(word, name, case)


_COMPOSERS = (_scaled, _scaled, _conventional, _conventional, _ordered, _ordered, _done, _done, _other, _asked, _asked)


# Is it true? -------------------------------------------------------------------------------------------------------------------

def described(key: str, name: str, case: Any) -> np.ndarray | None:
    """The answer that a cause's key describes on a case; None for words that are not in the tables above."""
    parts, declared, factor, source, deeds = key.split("+"), {}, 1.0, name, []
    for part in parts:
        if part.startswith("factor:"):
            factor *= _evaluated(part[len("factor:"):], case.problem)
        elif part.startswith(("quantity:", "curvature:")):
            source = part.partition(":")[2]
        elif "=" in part:
            axis, _, choice = part.partition("=")
            declared[axis] = choice
        elif part == "sign":
            factor = -factor
        elif part in DEEDS:
            deeds.append(part)
        elif key == f"question:{part.partition(':')[2]}":
            return _answered(part.partition(":")[2], name, case)
        else:
            return None
    value = case.values[source].value
    for deed in deeds:
        value = DEEDS[deed][1](value, case, name)
    return factor * convert(QUANTITIES[name], value, case.problem, declared) if declared else factor * value


def _evaluated(text: str, problem: Any) -> float:
    """A product such as -N·σ²/(2·C) or (σ²)^2/N."""
    words = re.sub(r"C\(y\)", "Cy", text).replace("σ²", "s").replace("τ", "u").replace("·", "*").replace("^", "**")
    known = {"N": SCALES["N"], "C": SCALES["C"], "Cy": SCALES["C(y)"], "s": SCALES["σ²"], "u": SCALES["τ"], "t": SCALES["t"]}
    if not re.fullmatch(r"[-+*/().0-9NCysut]+", words):
        return float("nan")
    return float(eval(words, {"__builtins__": {}}, {name: value(problem) for name, value in known.items()}))


def verdict(found: Mutant, finding: Finding) -> str:
    """true, none or wrong: what the claimed cause is."""
    if finding.cause is None:
        return "none"
    for case, answer in found.wrong:
        told = described(finding.cause.key, found.quantity, case)
        same = told is not None and told.shape == answer.shape
        if not same or not np.linalg.norm(told - answer) <= 1e-8 * np.linalg.norm(answer):
            return "wrong"
    return "true"


def main(count: int) -> None:
    tally, seconds = Counter(), []
    for seed in range(count):
        found = mutant(seed)
        finding, took = found.finding()
        said = verdict(found, finding)
        tally[said] += 1
        tally["detected"] += detected(found)
        seconds.append(took / len(found.wrong))
        if said != "true":
            print(seed, found.quantity, found.planted, [case.id for case, _ in found.wrong], said, finding, flush=True)
    print(dict(tally), f"ms a case: median {1e3 * np.median(seconds):.1f}, largest {1e3 * max(seconds):.1f}")


if __name__ == "__main__":
    main(int(sys.argv[1]))
