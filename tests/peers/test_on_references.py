"""Other libraries' samplers agree with the stored posteriors of real data, and a sampler of another posterior does not."""
from __future__ import annotations

import json

import numpy as np
import pytest

from refbnn.conform import load
from tests.peers import on_references
from tests.peers.on_references import IDS, judged, reference
from tests.references import monitor

STORED = json.loads(on_references.FILE.read_text(encoding="utf-8"))
FOUND = [(library, id) for library in sorted(STORED) for id in IDS]
SEEN = 0.12  # posterior standard deviations
QUICK = IDS[0]


@pytest.mark.parametrize("library, id", FOUND)
def test_a_library_agrees_with_a_posterior_of_real_data(library, id):
    """What is 0.12 posterior standard deviations off in any of f, f², log p and its square would have been seen."""
    found = STORED[library]["posteriors"][id]
    known = monitor.Estimates.of_lists(reference(id)["kernels"][reference(id)["reference"]])
    assert np.allclose(found["z"], monitor.z_between(monitor.Estimates.of_lists(found), known))
    assert found["verdict"] == "agrees" and found["detectable"] <= SEEN and found["chains"] >= 16


def test_all_libraries_together_agree():
    """One family of z-scores: a false alarm has probability 10⁻⁶."""
    assert {"numpyro", "blackjax", "torch"} <= set(STORED)
    z = np.concatenate([STORED[library]["posteriors"][id]["z"] for library, id in FOUND])
    assert not monitor.rejected(z).any()


@pytest.fixture
def by_refbnn(monkeypatch):
    """Makes few draws by our own adapter, of a posterior that is like the stored one but for some changes."""
    adapter = load.load("refbnn")
    monkeypatch.setattr(adapter, "NUM_DRAWS", 400)
    return lambda **changes: on_references.drawn(adapter, {**reference(QUICK), **changes})


def test_draws_of_the_posterior_agree_and_those_under_another_prior_do_not(by_refbnn):
    """With a precision that is half too large; what is 0.3 posterior standard deviations off is seen."""
    record = reference(QUICK)
    right, wrong = judged(record, by_refbnn()), judged(record, by_refbnn(prior_precision=1.5 * record["prior_precision"]))
    assert right["verdict"] == "agrees" and wrong["verdict"] == "disagrees"
    assert right["detectable"] <= 0.3 and "disagrees" in on_references.told(QUICK, wrong)


def test_chains_that_do_not_mix_are_undecided(by_refbnn):
    theta = by_refbnn()
    stuck = np.concatenate([theta, np.repeat(theta[:, :1] + 1.0, theta.shape[1], axis=1)])
    assert judged(reference(QUICK), stuck)["verdict"] == "undecided"
