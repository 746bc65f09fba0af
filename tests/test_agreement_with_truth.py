"""Every kernel agrees with the exact posterior of seven weights, and one that is a little wrong does not.

The record of the whole run is stored (tests/references/agreement.json); here it is checked, drawn again in part, and, with
-m slow, as a whole.
"""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from refbnn import likelihoods, priors
from refbnn.samplers import hmc, run
from tests.references import kernels, monitor, truth
from tests.references.truth import CASE, PLANS

STORED = json.loads(truth.FILE.read_text(encoding="utf-8"))
EXACT, EXACT_ERROR = np.array(STORED["exact"]), np.array(STORED["exact_error"])
FOUND = {name: monitor.Estimates.of_lists(kernel) for name, kernel in STORED["kernels"].items()}
SEEN = 0.035  # posterior standard deviations, by the whole run


# -- the stored record ------------------------------------------------------------------------------------------------------


def test_the_record_belongs_to_the_case_that_two_quadratures_certify_and_to_the_plans_of_today():
    certified = truth.certified()
    mean, variance = (np.ravel(certified[name]["value"]) for name in ("output_mean", "output_variance"))
    assert STORED["case"] == CASE.id and set(FOUND) == set(PLANS) <= set(kernels.KERNELS)
    assert np.abs(EXACT[:6] - np.concatenate([mean, variance + mean**2])).max() <= 1e-12
    assert STORED["log_evidence"]["value"] == certified["log_evidence"]["value"]
    for name, plan in PLANS.items():
        assert {key: STORED["kernels"][name]["settings"][key] for key in vars(plan)} == vars(plan)


@pytest.mark.parametrize("name", FOUND)
def test_every_kernel_is_worth_a_hundred_thousand_draws_of_chains_that_tell_one_story(name):
    found, stored = FOUND[name], STORED["kernels"][name]
    assert found.size.min() >= 1e5 and (found.error > 0).all()
    if name != "smc":
        assert stored["settings"]["chains"] >= 16 and found.rhat.max() < 1.003
    assert stored.get("divergences", 0) == 0 and stored.get("e_bfmi", 1.0) > 0.3


def test_every_kernel_agrees_with_the_exact_posterior_to_a_thirtieth_of_a_standard_deviation():
    """All z-scores as one family: a false rejection, and a miss of what is 0.035 sd off, have probability 10⁻⁶ each."""
    judged = truth.judged(FOUND, EXACT, EXACT_ERROR)
    assert judged["rejected"] == [] and judged["comparisons"] == 40 and judged["detectable"] <= SEEN
    assert all(np.allclose(judged["z"][name], STORED["z"][name]) for name in FOUND)


def test_the_evidence_of_sequential_monte_carlo_is_that_of_cubature():
    """Within 0.06 nats, were it further off."""
    found, value = STORED["kernels"]["smc"]["log_evidence"], STORED["log_evidence"]["value"]
    assert 11 * found["error"] <= 0.06
    assert not monitor.rejected(np.array([(found["value"] - value) / found["error"]])).any()


# -- drawn again ------------------------------------------------------------------------------------------------------------


def drawn_again(plans):
    return {name: truth.draw(name, plan).estimates(truth.posterior().net, CASE.X_new) for name, plan in plans.items()}


def test_a_short_run_of_every_kernel_agrees_with_the_exact_posterior():
    """An eightieth of the draws, with other seeds: what is 0.4 standard deviations off is seen."""
    short = {name: replace(plan.scaled(0.05), chains=64, warmup=200) for name, plan in PLANS.items()}
    short["smc"] = replace(PLANS["smc"].scaled(0.5), chains=64)
    judged = truth.judged(drawn_again(short), EXACT, EXACT_ERROR)
    assert judged["rejected"] == [] and judged["detectable"] <= 0.4


@pytest.mark.slow
def test_the_whole_run_again():
    """With other seeds: the exact posterior to a thirtieth of a standard deviation, and the stored numbers likewise."""
    again = drawn_again({name: plan.scaled(1.0) for name, plan in PLANS.items()})
    judged = truth.judged(again, EXACT, EXACT_ERROR)
    assert judged["rejected"] == [] and judged["detectable"] <= SEEN
    assert not monitor.rejected(np.array([monitor.z_between(again[name], FOUND[name]) for name in PLANS])).any()


def test_cubature_still_gives_the_stored_answers():
    values, errors = truth.exact()
    assert (np.abs(values - EXACT) <= errors + EXACT_ERROR).all()
    assert EXACT_ERROR[:6].max() <= 1e-8 and EXACT_ERROR.max() <= truth.COARSE


# -- planted faults ---------------------------------------------------------------------------------------------------------


def judged_alone(post=None):
    """Hamiltonian Monte Carlo with a tenth of the draws, of the posterior or of another, log p being always the right one."""
    return judged_draws(truth.draw("hmc", PLANS["hmc"].scaled(0.1), post, width=truth.WIDTH).theta)


def judged_draws(theta):
    right = truth.posterior()
    found = {"hmc": kernels.Drawn(theta, right.log_prob(theta), {}).estimates(right.net, CASE.X_new)}
    return truth.judged(found, EXACT, EXACT_ERROR)


def test_a_tenth_of_the_draws_of_the_right_kernel_is_not_rejected_and_sees_a_tenth_of_a_standard_deviation():
    judged = judged_alone()
    assert judged["rejected"] == [] and judged["detectable"] <= 0.11


def test_a_noise_that_is_a_little_too_large_is_caught():
    """Its variance by a fifth: about a sixth of a standard deviation of log p."""
    right = truth.posterior()
    judged = judged_alone(replace(right, likelihood=likelihoods.Normal(1.2 * right.likelihood.variance)))
    assert judged["rejected"] == ["hmc"]


def test_a_prior_that_is_a_little_too_narrow_is_caught():
    """Its precision by a fifth, likewise."""
    right = truth.posterior()
    judged = judged_alone(replace(right, prior=priors.isotropic(right.num_params, 1.2 * CASE.precision)))
    assert judged["rejected"] == ["hmc"]


def test_a_kernel_without_its_metropolis_test_is_caught(monkeypatch):
    """All trajectories accepted, with the step that the test was to make good: off by the square of the step."""
    post, plan = truth.posterior(), PLANS["hmc"].scaled(0.1)
    found = kernels.tuned(kernels.KERNELS["hmc"].args[0](plan, post.num_params), post, plan)
    monkeypatch.setattr(hmc, "energy", lambda metric, point: np.zeros(len(point.theta)))
    drawn = run(found.kernel, post, found.theta, plan.draws, plan.seed, width=truth.WIDTH)
    assert judged_draws(drawn.draws)["rejected"] == ["hmc"]


# -- the judge --------------------------------------------------------------------------------------------------------------


def test_holm_rejects_from_the_smallest_p_on_until_one_passes():
    """Thresholds α/3, α/2, α for three: by hand at α = 0.05, p = 0.0455, 0.0124, 0.0027."""
    assert monitor.rejected(np.array([2.0, -2.5, 3.0]), 0.05).tolist() == [True, True, True]
    assert monitor.rejected(np.array([1.9, -2.5, 3.0]), 0.05).tolist() == [False, True, True]
    assert monitor.rejected(np.array([2.5, 2.1, 2.3]), 0.03).tolist() == [False, False, False]


def test_the_detectable_discrepancy_is_missed_as_rarely_as_it_says():
    """By simulation at a false alarm of 1%: an effect of that size is rejected in 99% of 4000 families, within five errors."""
    rng, sd, error = np.random.default_rng(0), np.ones(7), np.full(7, 0.02)
    z = rng.standard_normal((4000, 7))
    z[:, 0] += monitor.detectable([error], [sd], 0.01) / 0.02
    missed = 1 - np.mean([monitor.rejected(row, 0.01)[0] for row in z])
    assert missed <= 0.01 + 5 * np.sqrt(0.01 * 0.99 / 4000)


def test_runs_are_averaged_with_their_evidence_and_have_the_error_of_a_ratio():
    """Against two thousand sets of runs whose means depend on their weights: the plain average is off, this one is not."""
    rng, found = np.random.default_rng(0), []
    for _ in range(2000):
        log_weights = 0.5 * rng.standard_normal(64) - 0.125
        values = (0.4 * log_weights[:, None] + 0.3 * rng.standard_normal((64, 5)))[..., None]
        found.append(monitor.of_runs(values, log_weights))
    mean = np.array([each.mean[0] for each in found])
    expected = 0.4 * (0.125 + 0.0)  # E[w log w] = s²/2 for log w ~ N(−s²/2, s²)
    assert abs(mean.mean() - expected) < 6 * mean.std() / np.sqrt(2000) + 2e-3
    assert abs(np.mean([each.error[0] for each in found]) / mean.std() - 1) < 0.1


def test_the_mean_of_the_log_joint_given_hidden_weights_is_that_of_draws():
    post = truth.posterior()
    target, rng = kernels.collapse(post), np.random.default_rng(0)
    u = post.prior.sample(rng)[:target.num_params]
    drawn = post.log_prob(target.given(np.tile(u, (40000, 1))).sample(rng))
    found = truth.log_joint(target, target.given(u[None]))[0]
    for power in (1, 2):
        assert abs((drawn**power).mean() - found[power - 1]) < 6 * (drawn**power).std() / 200
