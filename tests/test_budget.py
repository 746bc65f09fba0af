"""The error budget: what must vanish vanishes, what must add up adds up, and planted faults show."""

from __future__ import annotations

import dataclasses
import json
import time
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from refbnn import Gaussian, Mlp, Posterior, activations, budget, cubature, gaussian, laplace, likelihoods, predict, priors
from refbnn.budget import budgeting, evidences, figure, gaussians, laws, links, problems, reach, report, table, targets
from refbnn.budget import command as command_module, treatments, truth, widths
from refbnn.budget.datasets import DATASETS
from refbnn.budget.table import Table
from refbnn.budget.treatments import EXACT, GGN, HESSIAN, LINEAR, MATCHED, MEAN_FIELD, NETWORK, SUM, VI
from refbnn.precision import Dense
from refbnn.quadrature import Integral
from refbnn.vi import ClosedForm, families, fixed_point
from tests.certify import tables

REFERENCES = Path(__file__).parent / "references" / "data"
SMALL = {"FITTED": (64, 2), "FRESH": (2**9, 8)}  # points: the laws do not depend on them


@pytest.fixture(autouse=True)
def few_points(monkeypatch):
    """Fast settings."""
    for name, value in SMALL.items():
        monkeypatch.setattr(gaussians, name, value)
    monkeypatch.setattr(truth, "POINTS", 2**10)
    monkeypatch.setattr(truth, "SOBOL_WITHIN", 0.2)


def made(name="puromycin", width=1, precision=1.0):
    """The budget of a built-in data set; inputs are off centre, so that weights and biases depend on each other."""
    problem = problems.of_dataset(DATASETS[name], precision)
    problem = dataclasses.replace(problem, X=problem.X + 0.7)
    return budget.compute(problem.posterior(width), budget.around(problem.X), np.random.default_rng(5))


@pytest.fixture(scope="module")
def regression():
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SMALL.items():
            patch.setattr(gaussians, name, value)
        return made()


def zero(number, factor=1.0):
    """Whether a number is zero within its own error."""
    return abs(number.value) <= factor * number.error


# -- what must vanish -------------------------------------------------------------------------------------------------------

def test_without_a_hidden_layer_gaussian_noise_leaves_nothing_to_err_but_for_independent_parameters():
    found = made(width=0).predictions
    for row in found.rows:
        numbers = dict(zip(found.columns, row))
        exactly = numbers["inference"] in (EXACT, GGN, HESSIAN, MATCHED) or row[:2] == (LINEAR, VI)
        for region in ("inside", "outside"):
            if exactly:
                assert zero(numbers[f"KL {region}"]) and abs(numbers[f"KL {region}"].value) < 1e-4
                off = abs(numbers[f"sd ratio {region}"].value - 1)
                assert off <= 5 * numbers[f"sd ratio {region}"].error + 1e-9
    assert found.row(LINEAR, MEAN_FIELD, SUM)["KL outside"].value > 1e-4


def test_without_a_hidden_layer_the_model_does_not_change():
    found = made("o-rings", width=0)
    change = found.steps.row("model change")
    assert all(zero(change[f"adds {region}"]) for region in ("inside", "outside"))
    assert not zero(found.steps.row("inference")["adds outside"])
    assert zero(found.evidence.row(LINEAR, EXACT)[evidences.ONE])


def test_gaussian_noise_leaves_no_error_of_inference_in_the_linear_model(regression):
    exact = regression.predictions.row(LINEAR, EXACT, SUM)
    for inference in (GGN, VI):
        other = regression.predictions.row(LINEAR, inference, SUM)
        for column in regression.predictions.columns[3:]:
            assert abs(other[column].value - exact[column].value) < 1e-8
    assert abs(regression.evidence.row(LINEAR, VI)[evidences.ONE].value
               - regression.evidence.row(LINEAR, EXACT)[evidences.ONE].value) < 1e-8


def test_the_truth_is_at_no_distance_from_itself_and_all_others_are(regression):
    first, *others = regression.predictions.rows
    assert first[:2] == (NETWORK, EXACT) and zero(first[3]) and zero(first[4])
    assert all(not zero(row[4]) and row[4].value > 0 for row in others)


def test_errors_of_the_exact_column_are_far_below_the_differences(regression):
    truth_row, *rows = regression.predictions.rows
    gaps = [abs(a[i].value - b[i].value) for i in (3, 4) for a in rows for b in rows]
    smallest = min(gap for gap in gaps if gap > 1e-8)  # the rest are equal: no inference error with Gaussian noise
    assert 10 * max(truth_row[3].error, truth_row[4].error) < smallest


# -- what must add up -------------------------------------------------------------------------------------------------------

def test_the_steps_add_up_to_the_divergence_of_the_last_one():
    """Eq. (budget-in-nats)."""
    found = made("o-rings")
    for region in ("inside", "outside"):
        chain = [found.steps.row(name)[f"adds {region}"].value for name, _ in budgeting.CHAIN]
        last = found.predictions.row(*budgeting.CHAIN[-1][1])[f"KL {region}"].value
        assert abs(sum(chain) - last) < 1e-14


def test_regions_are_averages_of_inputs(regression):
    rows = [row for row in regression.inputs.rows if row[:3] == (NETWORK, GGN, SUM) and row[3] == "outside"]
    assert len(rows) == 4
    column = regression.predictions.row(NETWORK, GGN, SUM)["KL outside"]
    assert abs(np.mean([row[5].value for row in rows]) - column.value) < 1e-14


def test_copies_are_added_to_log_evidences(regression):
    """Eq. (evidence-of-copies)."""
    row = regression.evidence.row(LINEAR, GGN)
    assert abs(row[evidences.GROUP].value - row[evidences.ONE].value - np.log(2)) < 1e-12
    assert abs(row[evidences.ALL].value - row[evidences.COPIES].value) < 1e-9  # one mode


# -- the truth, by other routes ---------------------------------------------------------------------------------------------

def test_the_truth_of_regression_is_the_reference_posterior():
    reference = json.loads((REFERENCES / "q-1-1-1-tanh.json").read_text())
    net = Mlp(tuple(reference["sizes"]), activations.tanh)
    X, y, X_new = (np.array(reference[name]) for name in ("X", "y", "X_new"))
    post = Posterior(net, likelihoods.Normal(reference["likelihood"]["variance"]),
                     priors.isotropic(net.num_params, reference["prior_precision"]), X, y)
    exact = truth.of_network(post, np.random.default_rng(1), 1e-9)
    known = {name: np.array(result["value"]) for name, result in reference["results"].items()}
    assert abs(exact.log_evidence.value - known["log_evidence"]) < 1e-9
    curves = exact.answers.curves(X_new, X_new[:, None, :], 1e-8).value
    assert np.allclose(curves[:, 0], exact.answers.density(X_new, X_new, 1e-8).value, rtol=0, atol=1e-12)


def test_the_truth_of_labels_is_that_of_a_grid():
    post = small_labels()
    by_points = truth.of_network(post, np.random.default_rng(2), 1e-3)
    by_grid = cubature.product(post, 1e-4)
    assert abs(by_points.log_evidence.value - by_grid.log_evidence.value) < 5 * by_points.log_evidence.error + 1e-4
    X = np.array([[0.3, -1.0], [2.0, 0.4]])
    y = np.tile(np.array([0.0, 1.0])[:, None], (2, 1, 1))
    apart = by_points.targets(X, y).value - by_grid.curves(X, y, 1e-3).value
    assert (np.abs(apart) < 5 * by_points.targets(X, y).error + 1e-3).all()


def test_the_truth_of_a_linear_model_with_labels_is_that_of_a_grid():
    post = small_labels()
    linear = gaussians.linearised(post, np.array([0.7, -1.1, 0.4]))
    by_points, by_grid = truth.of_linear(linear, np.random.default_rng(3), 1e-3), cubature.product(linear, 1e-4)
    assert abs(by_points.log_evidence.value - by_grid.log_evidence.value) < 5 * by_points.log_evidence.error + 1e-4


def small_labels():
    """Two inputs, one unit, no biases: three parameters, which a product grid can do."""
    rng = np.random.default_rng(11)
    net = Mlp((2, 1, 1), activations.tanh, bias=False)
    X = rng.normal(size=(11, 2))
    y = (X[:, :1] + 0.5 * rng.normal(size=(11, 1)) > 0).astype(float)
    return Posterior(net, likelihoods.Bernoulli(), priors.isotropic(3, 0.7), X, y)


# -- divergences ------------------------------------------------------------------------------------------------------------

def densities(mean, variance, points):
    return Integral(*[np.exp(-0.5 * (points.y[..., 0] - mean) ** 2 / variance) / np.sqrt(2 * np.pi * variance)] * 2)


def line():
    return targets.line(np.array([-11.0]), np.array([13.0]), 0.5)


def test_the_divergence_of_two_gaussians_is_the_closed_form():
    """Eq. (predictive-divergence)."""
    points = line()
    p, q = (Integral(densities(*law, points).value, 0.0 * points.weights) for law in ((0.3, 0.7), (-0.4, 1.1)))
    exact = gaussian.kl(*(Gaussian(np.array([m]), Dense(np.array([[1 / v]]))) for m, v in ((0.3, 0.7), (-0.4, 1.1))))
    found = targets.kl(p, q, points)
    assert abs(found.value[0] - exact) < 1e-10 and abs(found.value[0] - exact) <= found.error[0] + 1e-12
    assert abs(targets.kl(q, p, points).value[0] - exact) > 0.05  # which way round matters


def test_total_variation_is_half_the_distance():
    """Two unit Gaussians a apart are 2Φ(a/2) − 1 apart."""
    from scipy.special import ndtr
    points = targets.line(np.array([-9.0]), np.array([10.0]), 1e-3)
    p, q = (Integral(densities(m, 1.0, points).value, 0.0 * points.weights) for m in (0.0, 1.3))
    assert abs(targets.tv(p, q, points).value[0] - (2 * ndtr(0.65) - 1)) < 1e-5
    of_labels = [Integral(np.array([[1 - t, t]]), np.zeros((1, 2))) for t in (0.2, 0.55)]
    assert abs(targets.tv(*of_labels, targets.labels(1)).value[0] - 0.35) < 1e-15


@pytest.mark.parametrize("which", [0, 1])
def test_the_error_of_a_divergence_covers_what_errors_of_the_densities_do(which):
    points, rng = line(), np.random.default_rng(7)
    laws_of = [densities(0.3, 0.7, points).value, densities(-0.1, 1.0, points).value]
    exact = targets.kl(*(Integral(law, 0 * law) for law in laws_of), points).value
    ripple = 1e-3 * laws_of[which] * rng.normal(size=laws_of[which].shape)
    ripple -= laws_of[which] * points.sum(ripple).value  # which leaves the total alone
    moved = [law + ripple * (i == which) for i, law in enumerate(laws_of)]
    found = targets.kl(*(Integral(law, np.abs(ripple) * (i == which)) for i, law in enumerate(moved)), points)
    assert np.abs(found.value - exact) <= found.error < 1e-2


# -- links and laws ---------------------------------------------------------------------------------------------------------

def moments():
    return predict.Moments(np.array([[0.4], [-2.0]]), np.array([[[1.7]], [[0.3]]]))


def test_for_two_classes_the_plain_laplace_bridge_forgets_the_variance():
    at, signs = moments(), np.array([[1.0, -1.0], [-1.0, 1.0]])
    logits = predict.Moments(0.5 * np.concatenate([-at.mean, at.mean], axis=1), 0.25 * at.variance[..., None] * signs)
    plain = predict.bridge.probabilities(predict.bridge.dirichlet(logits))[:, 1]
    y = np.ones((2, 1, 1))
    assert np.allclose(plain, links.plugged_in(at, y).value[:, 0], rtol=1e-14)
    assert np.abs(links.bridge(at, y).value[:, 0] - plain).max() > 0.01


def test_the_rescaled_bridge_of_two_classes_is_a_logistic_of_a_function_of_both_moments():
    """By hand: c = v/4, logits ∓m/√v of variance 1, so that α_c = e^{m_c}(e^{−m_1} + e^{−m_2})/4, and p = σ(2m/√v)."""
    at = moments()
    m, v = at.mean[:, 0], at.covariance[:, 0, 0]
    by_hand = 1 / (1 + np.exp(-2 * m / np.sqrt(v)))
    assert np.allclose(links.bridge(at, np.ones((2, 1, 1))).value[:, 0], by_hand, rtol=1e-13)


def test_the_wider_the_law_of_f_the_less_the_rescaled_bridge_knows():
    wider = [predict.Moments(moments().mean, factor * moments().covariance) for factor in (0.3, 1.0, 4.0, 30.0)]
    known = np.array([np.abs(links.bridge(at, np.ones((2, 1, 1))).value[:, 0] - 0.5) for at in wider])
    assert (np.diff(known, axis=0) < 0).all()


@pytest.mark.parametrize("link", [links.integrated, links.probit, links.bridge, links.plugged_in])
def test_probabilities_of_labels_add_up_to_one(link):
    y = np.tile(np.array([0.0, 1.0])[:, None], (2, 1, 1))
    assert np.allclose(link(moments(), y).value.sum(-1), 1, atol=1e-12)


def test_a_gaussian_put_into_a_linear_model_is_its_affine_law():
    problem = problems.of_dataset(DATASETS["puromycin"], 1.0)
    post = problem.posterior(1)
    q = Gaussian(np.array([0.5, -0.2, 1.0, 0.1]), Dense(np.diag([9.0, 7.0, 11.0, 13.0]) + 1.0))
    linear = gaussians.linearised(post, q.mean)
    rule = gaussians.fresh_points(post, np.random.default_rng(3))
    affine = laws.affine(linear.net, q, links.noise(post.likelihood.variance))
    sampled = laws.Sampled(linear.net, post.likelihood, q, rule)
    X, y = problem.X[:3], np.linspace(-1.2, 0.4, 5)[:, None] * np.ones((3, 1, 1))
    for one, other in zip(affine.functions(X).value, sampled.functions(X).value):
        assert np.allclose(one, other, atol=5e-3)
    a, b = affine.targets(X, y), sampled.targets(X, y)
    assert (np.abs(a.value - b.value) < 6 * b.error + 1e-12).all()


# -- planted faults ---------------------------------------------------------------------------------------------------------

NOISE = links.noise


def forget_noise(variance):
    return NOISE(0.25 * variance)


def forget_prior(posterior, theta, curvature):
    return laplace.at(theta, 0.25 * posterior.prior.precision.matrix() + curvature)


def swap_models(posterior, theta):
    return gaussians.Posterior(gaussians.Linearised(posterior.net, at=0.5 * theta), posterior.likelihood, posterior.prior,
                               posterior.loss.X, posterior.loss.y)


FAULTS = {  # where it is planted, and the row that no longer agrees with what it must equal
    "noise left out of the predictive": (treatments.links, "noise", forget_noise),
    "prior weakened in Laplace": (treatments.gaussians, "at_mode", forget_prior),
    "linear model taken elsewhere than Laplace": (treatments.gaussians, "linearised", swap_models),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_breaks_the_closed_form_of_regression(fault, monkeypatch):
    module, name, wrong = FAULTS[fault]
    monkeypatch.setattr(module, name, wrong)
    found = made().predictions
    exact, ggn = (found.row(LINEAR, inference, SUM) for inference in (EXACT, GGN))
    apart = abs(ggn["KL outside"].value - exact["KL outside"].value)
    assert apart > 10 * (ggn["KL outside"].error + exact["KL outside"].error)


def test_steps_in_the_wrong_order_do_not_add_up(monkeypatch):
    monkeypatch.setattr(budgeting, "CHAIN", (budgeting.CHAIN[1], budgeting.CHAIN[0], budgeting.CHAIN[2]))
    found = made("o-rings")
    assert found.steps.row("inference")["from"] == "network: exact"  # the step named so has changed the model as well
    assert found.steps.row("model change")["adds outside"].value != found.predictions.row(LINEAR, EXACT, SUM)["KL outside"].value


def test_answers_from_grids_come_to_the_first_accuracy_that_the_rules_support():
    """What no rule answers to a thousand errors of the log evidence is answered to thirty thousand, and none beyond."""
    asked = []

    class Rules:
        log_evidence = Integral(-3.0, 1e-8)

        def __init__(self, best):
            self.best = best

        def curves(self, X, y, within):
            asked.append(within)
            if within < self.best:
                raise cubature.NotConverged("curves", "record")
            return Integral(0.5, self.best)

    assert truth._on_grid(Rules(2e-4)).targets(None, None).error == 2e-4
    assert np.allclose(asked, [3e-7, 1e-5, 3e-4])
    with pytest.raises(cubature.NotConverged):
        truth._on_grid(Rules(4e-4)).targets(None, None)


# -- refusals ---------------------------------------------------------------------------------------------------------------

def test_a_network_that_is_too_large_is_refused_with_what_was_tried(monkeypatch):
    monkeypatch.setattr(truth, "SOBOL_WITHIN", 1e-9)
    problem = problems.of_dataset(DATASETS["puromycin"], 1.0)
    with pytest.raises(budget.TooLarge, match=r"expected one small enough .* sizes \(1, 40, 1\).*Sobol points"):
        truth.of_network(Posterior(Mlp((1, 40, 1), activations.tanh), likelihoods.Normal(1e-4), priors.isotropic(121, 0.01),
                                   problem.X, problem.y), np.random.default_rng(1), 1e-6)


def test_points_from_a_wider_gaussian_are_worth_no_more_than_the_bound_that_refuses():
    """A Gaussian posterior of P weights: each takes c/√(2c − 1) times more points. The bound holds for all laws: it is weaker."""
    rng, c = np.random.default_rng(3), truth.WIDER
    X, y = rng.normal(size=(11, 4)), rng.normal(size=(11, 1))
    linear = Posterior(Mlp((4, 1), ()), likelihoods.Normal(0.7), priors.isotropic(5, 1.3), X, y)
    record = truth._sobol(truth._wider_than(linear, truth.gaussian_at_mode(linear)), 2**12, rng, 1.0).answers.record
    share = record.effective_size / record.num_points
    assert abs(share * (c / np.sqrt(2 * c - 1)) ** 5 - 1) < 0.03
    net = Mlp((2, 1, 1), activations.tanh)  # five weights too
    enough = cubature.replicates.FEWEST * np.exp(0.5 * 5 * (np.log(c) + 1 / c - 1))
    assert enough < cubature.replicates.FEWEST / share
    reach.expect_all_weights(net, 11, int(enough) + 1, c)
    with pytest.raises(ValueError, match="worth at least 400 points, got at most 399"):
        reach.expect_all_weights(net, 11, int(enough) - 1, c)


def test_the_cost_of_points_is_refused_by_operations_and_by_memory():
    reach.expect_collapsed(Mlp((1, 13, 1), activations.tanh), 14, 2**18)
    for sizes, num_data in (((1, 50, 1), 14), ((1, 3, 1), 10**5), ((97, 3, 1), 5)):
        with pytest.raises(ValueError, match="operations and 5e.07 numbers, got"):
            reach.expect_collapsed(Mlp(sizes, activations.tanh), num_data, 2**18)
    with pytest.raises(ValueError, match="operations and"):
        reach.expect_all_weights(Mlp((1, 3, 1), activations.tanh), 10**4, 2**20, truth.WIDER)


def test_the_cost_of_the_best_gaussian_is_refused_beyond_its_bound():
    reach.expect_full_gaussian(Mlp((1, 11, 1), activations.tanh))
    with pytest.raises(ValueError, match="in variational inference, got 1.2e.12 for a Gaussian of 37 parameters"):
        reach.expect_full_gaussian(Mlp((1, 12, 1), activations.tanh))
    assert families.Full(37).free(Gaussian(np.zeros(37), Dense(np.eye(37)))).size == 37 * 40 // 2


def test_data_beyond_what_a_fit_meets_are_refused_at_once_and_one_datum_less_is_not(monkeypatch):
    monkeypatch.setattr(gaussians, "FITTED", (256, 4))
    net, linear = Mlp((1, 1, 1), activations.tanh), Mlp((1, 1), ())
    for one, most in ((net, 3662), (linear, 7324)):
        treatments.expect_reach(one, likelihoods.Normal(0.1), most)
        with pytest.raises(budget.TooLarge, match=f"expected at most {most} data in variational inference, got {most + 1}"):
            treatments.expect_reach(one, likelihoods.Normal(0.1), most + 1)


def many_data(num_data, noise_variance):
    """A noisy line."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=num_data)
    return problems.problem({"x": x, "y": x + rng.normal(size=num_data)}, ("x",), "y", "normal", noise_variance, 1.0, "tanh")


def test_the_best_gaussian_of_many_data_with_gaussian_noise_needs_no_matrix_over_data():
    """3,000 data were met with some sixty systems of 3,000 equations, 72 MB a matrix."""
    post = many_data(3000, 0.7).posterior(1)
    linear = gaussians.linearised(post, np.array([0.5, -0.2, 1.0, 0.1]))
    tracemalloc.start()
    found = gaussians.in_linear_model(linear)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3000**2 * 8 / 3 and found.converged and found.num_iterations <= 2
    exact = truth.gaussian_at_mode(linear)
    assert np.allclose(found.q.mean, exact.mean, rtol=0, atol=1e-10)
    assert np.allclose(found.q.precision.matrix(), exact.precision.matrix(), rtol=1e-12)


def test_over_functions_and_over_parameters_the_best_gaussian_is_one():
    """Another iteration, whose unknowns are a number and a matrix a datum, from the same prior."""
    linear = gaussians.linearised(many_data(23, 0.7).posterior(1), np.array([0.5, -0.2, 1.0, 0.1]))
    one, other = gaussians.in_linear_model(linear), fixed_point(linear, ClosedForm())
    assert np.allclose(one.q.mean, other.q.mean, rtol=0, atol=1e-9)
    assert np.allclose(one.q.precision.matrix(), other.q.precision.matrix(), rtol=1e-9)
    assert abs(one.elbo.value - other.elbo.value) < 1e-9


@pytest.mark.slow
def test_three_thousand_data_end_in_a_budget_or_a_refusal(monkeypatch):
    """Little noise: no grid resolves the posterior, and points are too many. Much noise: a grid does. A minute each."""
    monkeypatch.setattr(truth, "POINTS", 2**14)
    known, vague = many_data(3000, 0.1), many_data(3000, 10.0)
    for problem, least in ((known, None), (vague, 1)):
        started = time.process_time()
        if least is None:
            with pytest.raises(budget.TooLarge, match="units on one grid: target: expected few enough weights .* operations"):
                budget.compute(problem.posterior(1), budget.around(problem.X), np.random.default_rng(1))
        else:
            found = budget.compute(problem.posterior(1), budget.around(problem.X), np.random.default_rng(1))
            assert found.facts["exact posterior"] == "units on one grid" and found.facts["log evidence"]["error"] < 1e-6
        assert time.process_time() - started < 300


@pytest.mark.parametrize("name", ["puromycin", "puromycin-untreated"])
@pytest.mark.parametrize("noise_variance", [0.03, 0.4])
def test_the_least_accuracy_that_is_accepted_is_reached_by_a_grid(name, noise_variance):
    """Half of it is round-off, below which the grid itself refuses; whatever is accepted comes from a grid as exact."""
    problem = problems.of_dataset(DATASETS[name], 1.0)
    post = dataclasses.replace(problem, likelihood=likelihoods.Normal(noise_variance)).posterior(1)
    least = float(f"{truth._least(post):.2g}")
    truth.expect_accuracy(post, least)
    found = truth.of_network(post, np.random.default_rng(1), least)
    assert found.route == "units on one grid" and found.log_evidence.error <= least
    with pytest.raises(budget.TooLarge, match=r"within: expected at least .* nats, what round-off leaves of the log evidence"):
        truth.expect_accuracy(post, 0.98 * least)
    with pytest.raises(cubature.NotConverged, match="got round-off of up to"):
        cubature.units(cubature.collapse(post), 0.45 * least)


@pytest.mark.parametrize("name, width", [("o-rings", 1), ("puromycin", 3), ("puromycin", 0)])
def test_no_route_is_asked_for_less_than_the_round_off_of_as_many_terms_as_there_are_data(name, width):
    problem = problems.of_dataset(DATASETS[name], 1.0)
    least = float(f"{30 * np.finfo(float).eps * len(problem.y):.2g}")
    truth.expect_accuracy(problem.posterior(width), least)
    with pytest.raises(budget.TooLarge, match=f"within: expected at least {least:g} nats"):
        truth.expect_accuracy(problem.posterior(width), 0.98 * least)


@pytest.mark.parametrize("arguments", [("--within", "1e-30"), ("--within", "1e-30", "--width", 0),
                                       ("--compare-widths", "0,2", "--width", 0, "--within", "5e-13")])
def test_the_command_refuses_an_accuracy_below_round_off_before_anything_is_computed(arguments, capsys, monkeypatch):
    monkeypatch.setattr(command_module, "compute", lambda *arguments: pytest.fail("computed"))
    assert command("puromycin", *arguments) == 2
    told = capsys.readouterr().err
    assert "within: expected at least" in told and told.rstrip().endswith("got " + arguments[arguments.index("--within") + 1])


def test_the_command_says_which_route_found_the_exact_posterior(monkeypatch, capsys):
    """A grid with too few combinations of points to spend leaves Sobol points, and their error."""
    monkeypatch.setattr(truth, "NODES", {1: 10})
    assert command("puromycin", "--within", "1e-9") == 0
    assert "(Sobol points, output layer integrated out); " in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [("puromycin", "--width", 12), ("puromycin", "--width", 50), ("o-rings", "--width", 17),
                                       ("puromycin", "--compare-widths", "1,1000000")])
def test_a_network_whose_points_would_take_minutes_is_refused_at_once(arguments, monkeypatch, capsys):
    monkeypatch.undo()  # as many points as users get
    start = time.process_time()
    assert command(*arguments) == 2
    assert time.process_time() - start < 1
    assert "network: expected " in (told := capsys.readouterr().err) and "got sizes (1, " in told


def test_other_likelihoods_and_outputs_are_refused():
    rng, X = np.random.default_rng(1), np.linspace(-1, 1, 5)[:, None]
    counts = Posterior(Mlp((1, 1, 1), activations.tanh), likelihoods.Poisson(), priors.isotropic(4, 1.0), X, np.ones((5, 1)))
    two = Posterior(Mlp((1, 1, 2), activations.tanh), likelihoods.Normal(1.0), priors.isotropic(6, 1.0), X, np.ones((5, 2)))
    for post, words in ((counts, "Normal noise or Bernoulli labels"), (two, "one output, got 2")):
        with pytest.raises(ValueError, match=words):
            budget.compute(post, budget.around(X), rng)


# -- tables -----------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("value, error, text", [
    (0.0123456, 0.0, "0.01235"), (0.0123456, 2e-4, "0.0123(2)"), (-3.21, 0.4, "-3.2(4)"), (1234.56, 3.0, "1235(3)"),
    (2.3e-7, 1e-9, "2.30(1)e-7"), (1e-12, 1e-9, "0(1)e-9"), (0.0, 0.0, "0"), (0.5, 1e-9, "0.5000"),
    (123456.0, 200.0, "123500(2)"),
])
def test_numbers_are_shown_to_the_digits_that_errors_leave(value, error, text):
    assert table.shown(Integral(value, error)) == text


def test_a_table_survives_its_plain_form(regression):
    again = table.from_plain(json.loads(report.plain(regression))["tables"][1])
    assert again.text() == regression.predictions.text()
    lines = report.long_csv(regression).splitlines()
    assert lines[0] == "table,row,column,value,error" and len(lines) > 100
    assert regression.predictions.markdown().count("\n") == len(regression.predictions.rows) + 1


def test_the_figure_is_xml_with_a_bar_for_each_treatment_and_region(regression):
    from xml.etree import ElementTree
    drawn = ElementTree.fromstring(figure.svg(regression.predictions))
    bars = [e for e in drawn.iter("{http://www.w3.org/2000/svg}rect") if e.get("height") == "8"]
    assert len(bars) == 2 * (len(regression.predictions.rows) - 1)


def test_a_width_is_picked_only_where_errors_allow():
    assert widths._pick([1, 2], [Integral(-3.0, 0.1), Integral(-2.0, 0.1)]) == "2"
    assert widths._pick([1, 2], [Integral(-3.0, 0.6), Integral(-2.0, 0.6)]) == "undecided"


def test_what_a_report_says_and_in_which_columns(regression):
    """Names that scripts of users read."""
    assert list(regression.facts) == [
        "sizes", "parameters", "data", "likelihood", "inputs inside", "inputs outside", "within", "exact posterior",
        "log evidence", "modes found", "copies of the best mode", "order of the group", "variational residuals"]
    assert {name: (table.title, table.columns) for name, table in regression.tables.items()} == {
        "steps": ("what each step adds to KL(exact || prediction), nats", ("step", "from", "to", "adds inside", "adds outside")),
        "predictions": ("predictions against the exact ones", (
            "model", "inference", "integral", "KL inside", "KL outside", "TV inside", "TV outside", "sd ratio inside",
            "sd ratio outside")),
        "evidence": ("log evidence less the exact one, nats", ("model", "inference", *evidences.FACTORS)),
        "inputs": ("at each input", ("model", "inference", "integral", "region", "input", "KL", "sd ratio"))}
    assert set(json.loads(report.plain(regression))) == {"facts", "tables"}
    facts = regression.facts
    assert (facts["parameters"], facts["inputs inside"], facts["inputs outside"], facts["order of the group"]) == (4, 6, 4, 2)


def test_a_step_is_a_difference_of_averages_over_the_same_region(regression):
    kls = {row[:3]: row for row in regression.predictions.rows}
    at = {region: regression.predictions.columns.index(f"KL {region}") for region in ("inside", "outside")}
    name, start, end = budgeting.SAMPLING
    for place, region in enumerate(("inside", "outside")):
        step = next(row for row in regression.steps.rows if row[0] == name)[3 + place]
        expected = kls[end][at[region]].value - kls[start][at[region]].value
        assert abs(step.value - expected) <= 1e-12 * max(1.0, abs(expected))


def test_several_inputs_are_chosen_from_the_nearest_to_the_farthest_of_the_centre():
    X = np.random.default_rng(3).normal(size=(23, 2)) * [1.0, 5.0]
    distance = np.linalg.norm((X - X.mean(0)) / X.std(0), axis=1)
    places = budget.around(X)
    assert np.array_equal(places.inside[0], X[distance.argmin()]) and np.array_equal(places.inside[-1], X[distance.argmax()])
    assert len(places.inside) == 6 and len(places.outside) == 4
    assert np.allclose(places.outside - X.mean(0), 2 * (X[np.argsort(distance)[-4:]] - X.mean(0)))


def test_an_error_of_the_second_density_shows_to_first_and_second_order():
    """One target of weight one: δ |1 − p/q| + p (δ/q)² more than without an error."""
    at, p, q, delta = targets.Points(np.zeros((1, 1, 1)), np.ones((1, 1)), np.ones((1, 1))), 0.3, 0.5, 1e-3
    density = lambda value, error: Integral(np.array([[value]]), np.array([[error]]))
    more = targets.kl(density(p, 0.0), density(q, delta), at).error - targets.kl(density(p, 0.0), density(q, 0.0), at).error
    assert np.allclose(more, delta * abs(1 - p / q) + p * (delta / q) ** 2, rtol=1e-9)


def test_cells_of_markdown_stand_to_the_left():
    shown = Table("t", 1, ("name", "n"), (("a", 1), ("longer", 22))).markdown().splitlines()
    assert shown[2] == "| a      | 1  |"


def test_a_label_that_is_none_is_told():
    with pytest.raises(problems.DataError, match="y: expected labels 0 and 1 for bernoulli, got 7"):
        problems.problem({"x": np.arange(5.0), "y": np.array([0, 1, 7, 1, 0])}, ["x"], "y", "bernoulli", 1.0, 1.0, "tanh")


def test_a_network_is_not_taken_for_a_linear_model():
    posterior = problems.of_dataset(DATASETS["puromycin"], 1.0).posterior(1)
    with pytest.raises(ValueError, match="posterior: expected a network that is linear in its parameters, got one that is not"):
        truth.of_linear(posterior, np.random.default_rng(0), 1e-3)


def test_every_built_in_data_set_has_columns_of_one_length():
    for name, dataset in DATASETS.items():
        lengths = {len(column) for column in dataset.columns.values()}
        assert len(lengths) == 1 and {*dataset.inputs, dataset.target} <= set(dataset.columns), name


def test_evidences_by_width_have_a_row_for_what_every_width_has(monkeypatch):
    found = iter([{("network", "exact", "one"): Integral(1.0, 0.0), ("a", "b", "c"): Integral(2.0, 0.0)},
                  {("network", "exact", "one"): Integral(3.0, 0.0)}])
    monkeypatch.setattr(widths, "prepare", lambda *arguments: None)
    monkeypatch.setattr(evidences, "values", lambda made: next(found))
    monkeypatch.setattr(evidences, "ONE", "one")
    heard = []
    table = widths.compare(lambda width: None, [1, 2], np.random.default_rng(0), watch=heard.append)
    assert [row[:3] for row in table.rows] == [("network", "exact", "one")]
    assert table.rows[0][-1] == "2" and heard == ["width 1", "width 2"]
    assert table.columns == ("model", "inference", "copies", "1 hidden", "2 hidden", "picks")


# -- data -------------------------------------------------------------------------------------------------------------------

def test_built_in_data_are_those_of_the_certified_cases():
    flights = np.array(tables.O_RING_FLIGHTS)
    assert np.array_equal(DATASETS["o-rings"].columns["temperature"], flights[:, 0])
    assert np.array_equal(DATASETS["o-rings"].columns["damaged"], flights[:, 1])
    for name, rows in (("puromycin", tables.TREATED), ("puromycin-untreated", tables.UNTREATED)):
        columns = DATASETS[name].columns
        assert np.array_equal(np.stack([columns["concentration"], columns["rate"]], axis=1), np.array(rows))


# -- the command ------------------------------------------------------------------------------------------------------------

def command(*arguments):
    """Exit code of `refbnn budget`."""
    from refbnn import cli
    return cli.main(["budget", *map(str, arguments)])


def csv_file(folder, text):
    path = folder / "data.csv"
    path.write_text(text)
    return path


ROWS = "age, dose,answer\n" + "".join(f"{i},{(3 * i) % 7},{1.5 * np.sin(i):.3f}\n" for i in range(9))


MANY_INPUTS = ",".join(f"c{i}" for i in range(1, 41))
MANY = "\n".join([",".join(f"c{i}" for i in range(41)),
                  *(",".join(f"{np.sin(i * j + j):.3f}" for j in range(1, 42)) for i in range(9))])


def test_the_command_writes_what_it_prints(tmp_path, capsys):
    files = [tmp_path / f"out{ending}" for ending in report.FORMATS]
    outs = [part for path in files for part in ("--out", path)]
    assert command("puromycin", "--hold-out", 4, "--compare-widths", "0,1", *outs) == 0
    printed = capsys.readouterr().out
    plain = json.loads(files[0].read_text())
    assert [one["title"] for one in plain["tables"]][-1].startswith("log evidence by width")
    for one in plain["tables"][:3]:
        assert table.from_plain(one).text() in printed
    assert "-log p held out" in printed and printed.count("model change") == 1
    assert files[1].read_text().startswith("table,") and files[2].read_text().startswith("* sizes")
    assert files[3].read_text().startswith("<svg")


def test_the_command_takes_a_file_of_ones_own(tmp_path, capsys):
    assert command("--data", csv_file(tmp_path, ROWS), "--target", "answer", "--inputs", "age,dose", "--width", 0) == 0
    assert "2-1 network, 3 parameters, 9 data, Normal" in capsys.readouterr().out


@pytest.mark.parametrize("arguments, text, message", [
    ((), ROWS, "expected a built-in data set"),
    (("--data", "FILE"), ROWS, "expected --target NAME and --inputs"),
    (("--data", "FILE", "--target", "height", "--inputs", "age"), ROWS, "no column 'height'"),
    (("--data", "FILE", "--target", "age", "--inputs", "age"), ROWS, "the target as an input"),
    (("--data", "FILE", "--target", "answer", "--inputs", "age"), ROWS.replace("4,5,", "nan,5,"), "line 6: expected a finite"),
    (("--data", "FILE", "--target", "answer", "--inputs", "age"), ROWS.replace("4,5,", "four,5,"), "line 6: expected a number"),
    (("--data", "FILE", "--target", "answer", "--inputs", "age"), ROWS.replace("4,5,", "4,"), "line 6: expected 3 cells, got 2"),
    (("--data", "FILE", "--target", "answer", "--inputs", "age"), "", "got an empty file"),
    (("--data", "FILE", "--target", "answer", "--inputs", "age"), "age,age,answer\n", "expected different column names"),
    (("--data", "FILE", "--target", "answer", "--inputs", "age"), "age,answer\n1,2\n2,3\n", "at least 4 rows, got 2"),
    (("--data", "FILE", "--target", "answer", "--inputs", "age", "--likelihood", "bernoulli"), ROWS, "expected labels 0 and 1"),
    (("--data", "FILE", "--target", "answer", "--inputs", "c"), "c,answer\n1,2\n1,3\n1,4\n1,5\n", "got a constant column"),
    (("--data", "FILE", "--target", "answer", "--inputs", "age"), "age,answer\n1,2\n", "at least 4 rows, got 1"),
    (("--data", "FILE", "--target", "answer", "--inputs", "age"), "age,answer\n", "at least 4 rows, got 0"),
    (("--data", "FILE", "--target", "answer", "--inputs", "age"), ROWS.replace("4,5,", ",5,"), "expected a number, got ''"),
    (("--data", "FILE", "--target", "c0", "--inputs", MANY_INPUTS), MANY, "got sizes (40, 1, 1)"),
    (("--data", "FILE", "--target", "answer", "--inputs", "age,age"), ROWS, "different inputs and another target of age, dose, "
     "answer; got 'age' twice"),
    (("--data", "FILE", "--target", "answer", "--inputs", "age"), ROWS.replace("4,5,", "1_0,5,"), "expected a number, got '1_0'"),
    (("--data", "FILE", "--target", "answer", "--inputs", "age"), ROWS.replace("4,5,", "\n\nx,5,"), "line 8: expected a number"),
    (("--data", "FILE", "--target", "answer", "--inputs", "age"), ROWS.replace("4,5,", "\n4,"), "line 7: expected 3 cells"),
    (("puromycin", "--within", "0"), ROWS, "--within: expected a positive number, got 0"),
    (("puromycin", "--within", "nan"), ROWS, "--within: expected finite numbers"),
    (("puromycin", "--seed", "-1"), ROWS, "--seed: expected an integer >= 0, got -1"),
    (("puromycin", "--prior-precision", "-1"), ROWS, "prior precision: expected a positive number"),
    (("puromycin", "--out", "budget.xlsx"), ROWS, "expected a file that ends in .json, .csv, .md, .svg"),
    (("puromycin", "--out", "nowhere/budget.json"), ROWS, "cannot write into"),
    (("--data", "FILE", "--target", "answer", "--inputs", "age"), ROWS.replace(",", ";"), "expected commas between the cells"),
    (("puromycin", "--compare-widths", "1,x"), ROWS, "expected integers such as 1,2,3"),
    (("puromycin", "--hold-out", "100"), ROWS, "hold out: expected 4 data left"),
    (("puromycin", "--hold-out", "1"), ROWS, "expected an integer >= 2, got 1"),
    (("o-rings", "--width", "30"), ROWS, "expected one small enough for its exact posterior, got sizes (1, 30, 1)"),
    (("--data", "missing.csv", "--target", "answer", "--inputs", "age"), ROWS, "missing.csv"),
])
def test_the_command_refuses_with_what_was_expected_and_what_came(arguments, text, message, tmp_path, capsys):
    path = csv_file(tmp_path, text)
    assert command(*(path if argument == "FILE" else argument for argument in arguments)) == 2
    told = capsys.readouterr().err
    assert message in told and told.startswith("refbnn: budget:") and "Traceback" not in told


def test_a_file_that_cannot_be_written_is_refused_before_the_work(tmp_path, monkeypatch, capsys):
    (tmp_path / "folder.json").mkdir()
    monkeypatch.setattr(command_module, "compute", lambda *arguments: pytest.fail("the work was begun"))
    for path in (tmp_path / "none" / "budget.json", tmp_path / "folder.json"):
        assert command("puromycin", "--out", tmp_path / "first.json", "--out", path) == 2
        assert str(path.parent) in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.json"]


def test_what_cannot_be_finished_leaves_no_file(tmp_path, monkeypatch):
    def broken(found, more):
        raise KeyboardInterrupt
    monkeypatch.setitem(report.FORMATS, ".md", broken)
    assert command("puromycin", "--width", 0, "--out", tmp_path / "budget.md") == 130
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [("--width", "1_0"), ("--within", "1_0"), ("--seed", "1_0"), ("--hold-out", "x")])
def test_the_command_takes_digits_alone_for_numbers(arguments, capsys):
    with pytest.raises(SystemExit) as refusal:
        command("puromycin", *arguments)
    assert refusal.value.code == 2 and f"argument {arguments[0]}: expected a" in (told := capsys.readouterr().err)
    assert f"in digits, got {arguments[1]}" in told


def test_what_is_held_out_and_what_is_left_are_the_data():
    whole = problems.of_dataset(DATASETS["puromycin"], 1.0)
    part = whole.holding_out(5)
    assert len(part.held_out[0]) == len(whole.X) // 5
    out = np.arange(len(whole.X)) % 5 == 4
    for left, kept, every in ((part.X, part.held_out[0], whole.X), (part.y, part.held_out[1], whole.y)):
        assert np.array_equal(left, every[~out]) and np.array_equal(kept, every[out])


def test_scores_are_mean_negative_log_densities_and_their_errors_to_first_order():
    density, error = np.array([0.5, 0.25, 2.0]), np.array([0.01, 0.02, 0.03])
    row = SimpleNamespace(law=SimpleNamespace(targets=lambda X, y: Integral(density, error)))
    score, = budgeting._scores((row,), (np.ones((3, 1)), np.ones(3)))
    assert abs(score.value - 2 * np.log(2) / 3) < 1e-15 and abs(score.error - (0.02 + 0.08 + 0.015) / 3) < 1e-15


def test_a_line_of_more_points_than_allowed_is_refused():
    low, half = np.zeros(1), (targets.LARGEST - 1) // 2
    assert targets.line(low, low + half - 1.0, 1.0).y.shape[1] <= targets.LARGEST
    with pytest.raises(ValueError, match="^likelihood: expected noise that shows beside the spread of f, got a standard dev"):
        targets.line(low, low + half + 2.0, 1.0)


@pytest.mark.parametrize("size", [1e300, 1.7e308, 1e-200, 1e-307])
def test_numbers_of_any_size_are_standardised_to_the_same_columns(size):
    x, y = np.array([0.2, -1.0, 0.7, 0.9, 0.4]), np.array([1.0, 0.1, -0.3, 0.2, 0.8])
    plain, far = (problems.problem({"x": s * x, "y": s * y}, ("x",), "y", "normal", 0.1, 1.0, "tanh") for s in (1.0, size))
    assert abs(far.X.std() - 1) < 1e-14 and np.allclose(far.X, plain.X, rtol=0, atol=1e-14)
    assert np.allclose(far.y, plain.y, rtol=0, atol=1e-14)


def test_columns_that_are_not_finite_are_refused():
    columns = {"x": np.array([0.2, np.inf, 0.7, 0.9]), "y": np.arange(4.0)}
    with pytest.raises(problems.DataError, match="x: expected finite numbers, got inf"):
        problems.problem(columns, ("x",), "y", "normal", 0.1, 1.0, "tanh")
