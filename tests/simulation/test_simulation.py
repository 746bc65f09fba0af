"""A short run of the simulation tests, and that they see what is planted."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from refbnn import Posterior, likelihoods, priors
from tests.simulation import __main__ as command
from tests.simulation.replicates import KERNELS, TESTS, allowed, block, largest_distance

REPLICATES = 250  # distances of 0.17 are allowed at a false alarm of 1e-6, those from 0.35 are surely seen
FEWER = {"nuts": 60}  # which costs more in small batches: 0.35 and 0.7


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("test", TESTS)
def test_simulated_truths_are_like_any_draw_of_their_posterior(test, kernel):
    """Eqs. (exact-rank), (geweke)."""
    replicates = FEWER.get(kernel, REPLICATES)
    distances = largest_distance(block(test, kernel, range(replicates)))
    assert (distances < allowed(replicates, 1e-6 / len(distances))).all(), distances


def without_prior(model, y):
    return Posterior(model.net, model.likelihood, priors.isotropic(model.net.num_params, 0.05), model.X, y)


def overconfident(model, y):
    """Data counted six times."""
    return Posterior(model.net, likelihoods.Tempered(model.likelihood, 1 / 6), model.prior, model.X, y)


@pytest.mark.parametrize("test, posterior", [("ranks", without_prior), ("geweke", without_prior), ("ranks", overconfident)])
def test_a_sampler_of_another_posterior_is_caught(test, posterior):
    distances = largest_distance(block(test, "hmc", range(REPLICATES), posterior))
    assert (distances > allowed(REPLICATES, 1e-6 / len(distances))).any(), distances


def test_the_distance_is_that_of_the_empirical_distribution_function():
    assert largest_distance(np.array([[0.1], [0.2], [0.9]])).tolist() == pytest.approx([2 / 3 - 0.2])
    assert allowed(10000, 1e-6) == pytest.approx(np.sqrt(np.log(2e6) / 20000))


def test_the_command_gives_the_same_numbers_for_any_executor_and_says_what_is_off():
    with ThreadPoolExecutor(2) as executor:
        found = command.measure(executor, 70, ["elliptical"], ["geweke"])
    assert np.array_equal(found["geweke", "elliptical"], block("geweke", "elliptical", range(70)))
    assert command.report(found)[1]
    lines, good = command.report({("geweke", "hmc"): found["geweke", "elliptical"] / 4})
    assert not good and lines[0].startswith("OFF")
