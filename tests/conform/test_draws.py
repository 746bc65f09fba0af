"""Draws judged by certified averages: right ones pass, and each planted fault is caught; errors of the second kind are stated."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from refbnn.conform import case as cases, draws, explain, offline, protocol, report, run, selftest
from refbnn.conform.adapters import refbnn as right
from refbnn.conform.adapters.faults import OF_DRAWS
from refbnn.conform.case import read_all
from refbnn.conform.compare import Unusable, Verdict
from refbnn.conform.differential import compare_with_reference
from refbnn.conform.quantities import QUANTITIES
from refbnn.conform.run import Outcome, Run, Subject, record

QUANTITY = QUANTITIES["posterior.draws"]
SUBJECT = Subject("mine.py", "mine", "1", {}, {}, (QUANTITY.name,), ())


@pytest.fixture(scope="module")
def one():
    return cases.read("posterior-linear-poisson")


@pytest.fixture(scope="module")
def theta(one):
    """Draws of the package's own sampler, 64 chains of them."""
    return right.posterior_draws(right.prepare(one.problem))


@pytest.fixture(scope="module")
def independent():
    """Chains of independent draws, and a case of which nothing is needed."""
    return lambda seed, chains=16, count=250: np.random.default_rng(seed).standard_normal((chains, count, 2))


def measured(values, expected) -> draws.Measured:
    """Functions with these values (c d q) and means."""
    each = tuple(draws.Average(f"g[{q}]", values[..., q], expected[q]) for q in range(values.shape[-1]))
    return draws.Measured(None, values, each)


def concluded(values, expected, size=None):
    found = measured(values, expected)
    return draws.conclude([found], size or len(found.averages))[0]


def test_draws_of_the_package_pass_and_say_what_would_have_been_seen(one, theta):
    found, = draws.conclude([draws.measure(one, QUANTITY, theta, {})], 252)
    assert found.verdict is Verdict.PASS and found.tolerance < 0.1 and "would have been seen" in found.message


def test_the_functions_are_the_same_for_exchanged_and_reflected_units():
    case = cases.read("posterior-tanh-normal")
    theta = np.random.default_rng(0).standard_normal((3, 5, 2))
    for mine, other in zip(draws.averages(case, theta), draws.averages(case, -theta)):
        assert "log p(y, θ)" in mine.name or np.array_equal(mine.values, other.values)  # the prior's mean is not zero here


def test_every_case_with_the_certified_means_is_asked_for_draws_and_no_other():
    everything = read_all()
    asked = {case.id for case, quantities in run.plan(everything, [QUANTITY.name])}
    assert asked == {case.id for case in everything if case.values.get("posterior.f.mean")} and len(asked) >= 14


def test_averages_on_a_grid_are_the_certified_ones(one):
    """The grid of the causes, with nothing changed, is a third computation of the certified means."""
    itself = draws.targets.Target("", "", "", draws.targets.ONE, draws.targets.ONE)
    expected = [average.expected for average in draws.averages(one, one.problem.theta)]
    np.testing.assert_allclose(itself.means(one), expected, rtol=1e-9)


@pytest.mark.parametrize("shift, verdict", [(0.0, Verdict.PASS), (0.15, Verdict.MISMATCH)])
def test_a_shift_of_the_stated_size_is_seen(independent, shift, verdict):
    values = independent(1, chains=32, count=500)
    found = concluded(values + shift * values.std(), [0.0, 0.0], size=250)
    assert found.verdict is verdict and found.tolerance < 0.1


def test_the_stated_power_is_the_power():
    """A shift by `tolerance` is a MISMATCH in 99% of runs: at least 86 of 90, else by chance once in a thousand."""
    rng, seen = np.random.default_rng(2), 0
    for _ in range(90):
        values = rng.standard_normal((8, 125, 1))
        visible = measured(values, [0.0]).visible(7, draws.ALPHA).max()
        seen += measured(values + visible, [0.0]).log_p[0] <= np.log(draws.ALPHA / 7)
    assert seen >= 86


def test_z_scores_of_skewed_functions_have_the_tails_of_a_normal():
    """(χ² − 1)² is as skewed as the squares that draws are judged by; without Hall's transformation 2% are below −3."""
    rng = np.random.default_rng(3)
    z = np.array([measured(((rng.standard_normal((4, 100, 1)) ** 2 - 1) ** 2), [2.0]).z[0] for _ in range(600)])
    assert (np.abs(z) > 3.5).mean() < 0.02 and (np.abs(z) > 2.0).mean() < 0.12


def test_holm_rejects_what_bonferroni_does_and_more():
    log_p = np.log([0.004, 0.011, 0.02, 0.6])
    assert draws.judge._holm(log_p, 4, 0.05).tolist() == [True, True, True, False]
    assert draws.judge._holm(log_p, 100, 0.05).tolist() == [False] * 4
    assert draws.judge._holm(log_p[::-1], 4, 0.05).tolist() == [False, True, True, True]


@pytest.mark.parametrize("seed", range(20))
def test_no_false_alarm(independent, seed):
    """Autoregressive chains with the right mean, twenty times."""
    noise, values = independent(100 + seed), independent(200 + seed)
    for t in range(1, values.shape[1]):
        values[:, t] = 0.6 * values[:, t - 1] + 0.8 * noise[:, t]
    assert concluded(values, [0.0, 0.0]).verdict is not Verdict.MISMATCH


@pytest.mark.parametrize("answer, words", [
    (lambda theta: theta[0], "expected shape"), (lambda theta: theta[..., :1], "expected shape"),
    (lambda theta: np.where(theta == theta.max(), np.inf, theta), "not finite"), (lambda theta: theta[:, :2], "at least"),
    (lambda theta: 1e200 * theta, "not finite"), (lambda theta: "draws", "expected numbers")])
def test_what_is_no_array_of_draws_is_unusable(one, theta, answer, words):
    with pytest.raises(Unusable, match=words):
        draws.measure(one, QUANTITY, answer(theta), {})


@pytest.mark.parametrize("declared, change", [
    ({"draws.axes": "draws_chains"}, lambda theta: theta.swapaxes(0, 1)),
    ({"parameters.order": "flax"}, lambda theta: theta[..., ::-1]),
    ({"precision": "float32"}, lambda theta: theta.astype(np.float32))])
def test_draws_are_taken_in_the_declared_conventions(one, theta, declared, change):
    found = draws.measure(one, QUANTITY, change(theta), declared)
    assert np.allclose(found.theta, theta, rtol=1e-6)


def test_a_run_judges_all_draws_together_and_ends_with_4_when_undecided(one, theta):
    result = Run(SUBJECT, [(one, [QUANTITY])])
    record(result, one, QUANTITY, Outcome(answer=theta[:3]))
    check, = result.checks
    assert check.verdict is Verdict.INCONCLUSIVE and result.exit_code() == 4 and not result.failures


def test_swapped_parameters_are_named_and_a_report_tells_it(one, theta):
    result = Run(SUBJECT, [(one, [QUANTITY])])
    record(result, one, QUANTITY, Outcome(answer=theta[..., ::-1]))
    (verdict, finding), = run.findings(result)
    assert verdict is Verdict.MISMATCH and finding.cause.key == "parameters.order=bias_first"
    text = report.render(result, run.findings(result), report.Style())
    assert "parameters.order" in text and "largest z-score" in text and result.exit_code() == 1


@pytest.mark.parametrize("name", ["draws_with_prior_twice", "draws_of_mean_loss", "shared_streams"])
def test_a_sampler_with_a_fault_is_caught_and_the_cause_named(one, name):
    """The others are lines of the selftest."""
    fault = OF_DRAWS[name]
    found = draws.measure(one, QUANTITY, fault.spoils[QUANTITY.name](right.prepare(one.problem)), {})
    verdict, = draws.conclude([found], 252)
    assert verdict.verdict is Verdict.MISMATCH
    assert draws.explain([found], []).cause.key == fault.causes[QUANTITY.name]


def test_a_cause_that_a_passed_case_contradicts_is_not_claimed(one, theta):
    doubled = OF_DRAWS["draws_with_prior_twice"].spoils[QUANTITY.name](right.prepare(one.problem))
    wrong, fine = (draws.measure(one, QUANTITY, answer, {}) for answer in (doubled, theta))
    finding = draws.explain([wrong], [fine])
    assert finding.cause is None and "cases pass where that would show" in finding.evidence[0]


def test_draws_can_be_answered_from_a_file(one, theta, tmp_path):
    replies = [{"id": "start", "ok": True, "protocol": 1, "name": "x", "version": "", "quantities": [QUANTITY.name]},
               {"id": "echo", "ok": True, "array": protocol.encode_array(np.array(protocol.NASTY))},
               {"id": f"{one.id}::{QUANTITY.name}", "ok": True, "answer": protocol.encode_array(theta)}]
    text = b"".join(map(protocol.encode_line, replies))
    result = offline.judge_bytes(text, "answers.jsonl", [(one, [QUANTITY])])
    assert [check.verdict for check in result.checks] == [Verdict.PASS]


def test_explain_shows_every_function(one, theta):
    text = explain.question(one, QUANTITY)
    assert "c d p with c = any, d = any, p = 2" in text and "log p(y, θ)" in text
    lines = draws.table(draws.measure(one, QUANTITY, theta, {}))
    assert len(lines) == 1 + draws.count(one)


def test_differential_mode_takes_draws(one, theta):
    assert compare_with_reference(theta, one.problem, QUANTITY.name).passed
    assert not compare_with_reference(theta + 0.5, one.problem, QUANTITY.name).passed
    assert not compare_with_reference(theta[0], one.problem, QUANTITY.name).passed


def test_the_selftest_shows_every_verdict_on_draws():
    wanted = {Verdict.PASS, Verdict.UNDERPOWERED, Verdict.INCONCLUSIVE, Verdict.MISMATCH}
    assert {verdict for _, _, verdict, _ in selftest.DRAWS} == wanted


def test_a_target_that_cannot_be_normalised_says_nothing():
    """Without the prior a tanh unit has a likelihood that does not fall at infinity."""
    forgotten = next(target for target in draws.targets.TARGETS if target.key == "prior_forgotten")
    assert forgotten.means(cases.read("posterior-tanh-normal")) is None
    assert forgotten.means(SimpleNamespace(problem=cases.read("one-output-normal").problem)) is None
