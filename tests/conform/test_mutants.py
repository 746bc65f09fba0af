"""Composed mutants on random cases: all detected, each attributed to its true and only cause; a sample here, 600 with -m slow."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from refbnn.conform.diagnose import Cause, Finding
from tests.conform import mutants

SAMPLE, ALL = range(0, 600, 15), range(600)
LIMIT = 0.02  # seconds of CPU for a case


def attributed(seeds) -> tuple[dict[str, list[int]], list[float]]:
    """Which mutants were attributed to the truth, to nothing, to something wrong; seconds a case."""
    said, seconds = {"true": [], "none": [], "wrong": [], "undetected": []}, []
    for seed in seeds:
        found = mutants.mutant(seed)
        finding, took = found.finding()
        said[mutants.verdict(found, finding)].append(seed)
        said["undetected"] += [] if mutants.detected(found) else [seed]
        seconds.append(took / len(found.wrong))
    return said, seconds


def test_mutants_are_detected_and_attributed_to_the_truth():
    said, seconds = attributed(SAMPLE)
    assert said["undetected"] == said["wrong"] == [] and len(said["none"]) <= 1, said
    assert np.median(seconds) < LIMIT


@pytest.mark.slow
def test_six_hundred_mutants_are_detected_and_attributed_to_the_truth():
    said, seconds = attributed(ALL)
    assert said["undetected"] == said["wrong"] == [] and len(said["none"]) <= len(ALL) // 100, said
    assert np.quantile(seconds, 0.99) < LIMIT


def test_the_catalogue_is_wide():
    made = [mutants.mutant(seed) for seed in ALL]
    assert len({(found.quantity, found.planted) for found in made}) > 300
    assert len({found.quantity for found in made}) > 10 and len({case.id for found in made for case, _ in found.wrong}) > 20


@pytest.mark.parametrize("key", [
    "factor:2", "factor:N·C", "loss.reduction=mean", "parameters.order=flax", "quantity:hessian.full", "prior_included",
    "lower_triangle", "no_such_word", "factor:__import__"])
def test_a_false_cause_is_called_wrong(key):
    case = mutants.family()[0]
    found = mutants.Mutant("ggn.full", "x 3", ((case, 3 * case.values["ggn.full"].value),))
    assert mutants.verdict(found, Finding("ggn.full", 1, 1, Cause(key, "", "", 16.0, 1))) == "wrong"


def test_a_true_cause_is_called_true_and_none_is_none():
    case = mutants.family()[0]
    found = mutants.Mutant("ggn.full", "x 2", ((case, 2 * case.values["ggn.full"].value),))
    finding, _ = found.finding()
    assert mutants.verdict(found, finding) == "true" and mutants.verdict(found, replace(finding, cause=None)) == "none"


def test_a_right_value_is_not_detected_as_a_mutant():
    case = mutants.family()[0]
    assert not mutants.detected(mutants.Mutant("ggn.full", "", ((case, case.values["ggn.full"].value),)))
    assert not mutants.differs("ggn.full", case, case.values["ggn.full"].value * 1.001)
