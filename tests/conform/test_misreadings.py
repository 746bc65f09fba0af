"""Another question answered rightly is told by which: answers of autograd, which shares no code with the package's own."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest

from refbnn.conform import case as cases, misreadings
from refbnn.conform.adapters import autograd as other
from refbnn.conform.compare import Verdict, compare
from refbnn.conform.diagnose import explain
from refbnn.conform.fitting import Failure
from refbnn.conform.misreadings import MISREADINGS
from refbnn.conform.quantities import QUANTITIES
from refbnn.conform.theories import Facts

SCALARS = ("loss", "log_joint", "laplace.log_det", "laplace.log_evidence")
ARRAYS = ("gradient", "hessian.full", "laplace.covariance", "predictive.glm.variance")
SHORTER = {  # a simpler word for the same
    "question:prior_mean": {"prior_mean_ignored"}, "question:prior_covariance": {"covariance_of_prior"},
    "question:prior_std": {"std_of_prior"}, "question:prior_squared": {"mixed:1,τ"}, "question:prior_root": {"root_of_prior"},
    "question:noise_squared": {"factor:1/σ²", "mixed:1/σ²,1"}, "question:noise_precision": {"factor:(σ²)^2", "mixed:(σ²)^2,1"}}


@lru_cache(maxsize=1)
def family():
    """Cases whose sizes tell causes apart, small ones first."""
    found = [case for case in cases.read_all("*") if case.family == "diagnostic" and "ggn.full" in case.values]
    return sorted(found, key=lambda case: case.problem.theta.size)


def planted(row, name):
    """Checks of a quantity that answers to another question fail."""
    wrong = []
    for case in family():
        problem = row.problem(case.problem)
        if problem is None or name not in case.values:
            continue
        answer = np.asarray(getattr(other, QUANTITIES[name].function_name)(other.prepare(problem)), float)
        if compare(QUANTITIES[name], case.values[name], answer, case.problem, {}).verdict is Verdict.MISMATCH:
            wrong.append((case, QUANTITIES[name], answer))
    return wrong


def seen(row, name):
    """Whether a quantity depends on what was misread: the loss has no prior, only densities have its mean."""
    if row.key == "question:prior_mean":
        return name in ("log_joint", "laplace.log_evidence")
    return "prior" not in row.key or name not in ("loss", "gradient", "hessian.full")


@pytest.mark.parametrize("name", SCALARS + ARRAYS)
@pytest.mark.parametrize("row", MISREADINGS, ids=lambda row: row.key)
def test_the_question_that_was_answered_is_named(row, name):
    wrong = planted(row, name)
    assert bool(wrong) == seen(row, name)
    if wrong:
        finding, = explain(wrong, {})
        assert finding.cause is not None, finding.evidence
        assert finding.cause.key in {row.key, *SHORTER.get(row.key, ())} and finding.cause.digits > 6


def test_a_case_that_passes_where_it_would_show_speaks_against_it():
    row = next(row for row in MISREADINGS if row.key == "question:noise_std")
    wrong = planted(row, "laplace.log_evidence")
    finding, = explain(wrong[:1], {}, [(case, quantity) for case, quantity, _ in wrong[1:]])
    assert finding.cause is None


def test_two_misreadings_that_are_one_on_a_case_are_both_told():
    """Where the first datum is the last."""
    case, quantity, _ = planted(next(row for row in MISREADINGS if row.key == "question:last_datum"), "loss")[0]
    twice = replace(case.problem, **{name: getattr(case.problem, name)[[0, *range(1, len(case.problem.X) - 1), 0]]
                                     for name in ("X", "y", "labels")})
    first, last = (row.problem(twice) for row in MISREADINGS if row.key in ("question:first_datum", "question:last_datum"))
    assert np.isclose(other.loss(other.prepare(first)), other.loss(other.prepare(last)), rtol=1e-12)
    stored = {**case.values, "loss": replace(case.values["loss"], value=np.array(other.loss(other.prepare(twice))))}
    finding, = explain([(replace(case, problem=twice, values=stored), quantity, np.array(other.loss(other.prepare(first))))], {})
    assert finding.cause is None and "the first datum is missing, or the last datum is missing" in finding.evidence[0]


def test_a_number_that_is_not_there_is_not_misread():
    count = next(case for case in cases.read_all("*") if case.problem.likelihood == "poisson").problem
    noise = [row for row in MISREADINGS if row.key.startswith("question:noise")]
    assert len(noise) == 3 and [row.problem(count) for row in noise] == [None] * 3
    one = next(row for row in MISREADINGS if row.key == "question:noise_std")
    normal = next(case for case in family() if case.problem.likelihood == "normal").problem
    assert one.problem(replace(normal, variance=1.0)) is None  # the same question


@pytest.mark.parametrize("prefix", misreadings.SOUGHT)
def test_questions_that_take_a_search_are_not_asked(prefix, monkeypatch):
    monkeypatch.setattr(misreadings, "answered", lambda *asked: pytest.fail("asked"))
    name, case = next((name, case) for case in cases.read_all("*") for name in case.values if name.startswith(prefix))
    failure = Failure(Facts(case, {}), QUANTITIES[name], 3.0 * case.values[name].value)
    assert misreadings.misread([failure], []) == (None, [])
