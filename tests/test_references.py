"""The stored reference posteriors: two quadratures agree in each, and the cheap ones are what refbnn computes today."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.references import first
from tests.references.__main__ import AGREEMENT, DATA
from tests.references.catalogue import CASES

STORED = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(DATA.glob("q-*.json"))}
BY_ID = {case.id: case for case in CASES}


def test_every_stored_posterior_is_in_the_catalogue():
    assert len(STORED) >= 12 and set(STORED) <= set(BY_ID)


@pytest.mark.parametrize("id", STORED)
def test_two_quadratures_agree_and_the_question_is_that_of_the_catalogue(id):
    stored, case = STORED[id], BY_ID[id]
    for name, result in stored["results"].items():
        apart = np.abs(np.array(result["value"]) - np.array(result["second"])).max()
        assert apart <= 0.3 * AGREEMENT and result["error"] <= 10 * AGREEMENT, name  # as the page about the files says
        assert apart <= result["difference"] * (1 + 1e-9) + 1e-16, name
    for name in ("X", "y", "X_new"):
        assert np.array_equal(np.array(stored[name]), getattr(case, name)) and not (256 * getattr(case, name) % 1).any()


@pytest.mark.parametrize("id", ["q-1-1-1-tanh", "q-1-1-1-erf", "q-1-1-1-noise-prior", "q-1-1-2-tanh"])
def test_refbnn_still_answers_what_is_stored(id):
    answers, _ = first.answers(BY_ID[id])
    for name, result in STORED[id]["results"].items():
        assert np.abs(answers[name].value - np.array(result["value"])).max() <= np.max(answers[name].error) + result["error"]
