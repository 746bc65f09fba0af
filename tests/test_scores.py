"""Scores: every formula by a second route, propriety as a law, and what calibration measures are worth."""

import itertools

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy.special import log_ndtr, ndtr, ndtri

from refbnn import likelihoods, scores
from refbnn.linalg import NotPositiveDefinite
from tests.judge import FALSE_ALARM, agree, mean_agrees
from tests.test_rejects_faults import after, instead

RNG = np.random.default_rng(0)
MEAN, VARIANCE, Y = RNG.normal(size=(7, 3)), RNG.uniform(0.2, 3.0, (7, 3)), 2 * RNG.normal(size=(7, 3))
DRAWS = RNG.normal(size=(5, 7, 3))
P, LABELS = RNG.dirichlet(np.ones(4), 7), RNG.integers(0, 4, 7)


@st.composite
def two_distributions(draw):
    """Two laws over 2 to 5 classes, edges among them."""
    k = draw(st.integers(2, 5))
    return tuple(np.random.default_rng(draw(st.integers(0, 2**16))).dirichlet(np.full(k, 0.7), 2))


def expected_over_classes(score, p, q):
    """E_{y~p} S(q, y), by the sum over y."""
    return p @ score(np.broadcast_to(q, (len(p), len(p))), np.arange(len(p)))


# -- propriety: what a wrong forecast loses is a divergence ------------------------------------------------------------------


@given(pair=two_distributions())
def test_what_a_wrong_class_forecast_loses_in_log_score_is_the_kullback_leibler_divergence(pair):
    """Identity L12: E_p[S(q, y)] − E_p[S(p, y)] = KL(p ‖ q), zero at q = p only, Eq. (log-score)."""
    p, q = pair
    lost = expected_over_classes(scores.log_score_of_classes, p, q) - expected_over_classes(scores.log_score_of_classes, p, p)
    kl = sum(a * np.log(a / b) for a, b in zip(p, q))
    agree(lost, kl, terms=10, scale=1 + np.abs(np.log([p, q])).max())
    assert kl > 0


@given(pair=two_distributions())
def test_what_a_wrong_class_forecast_loses_in_brier_score_is_the_squared_distance(pair):
    """Eq. (brier)."""
    p, q = pair
    lost = expected_over_classes(scores.brier, p, q) - expected_over_classes(scores.brier, p, p)
    agree(lost, sum((a - b) ** 2 for a, b in zip(p, q)), terms=10, scale=2.0)


def crps_divergence(m, v, n, w):
    """∫ (F − G)² dx of two normals, by a sum."""
    x = np.linspace(-40, 40, 80001)
    return ((ndtr((x - m) / v**0.5) - ndtr((x - n) / w**0.5)) ** 2).sum() * (x[1] - x[0])


def expected_over_normal(score, m, v):
    """E_{y~N(m,v)} score(y (n 1)): a trapezoidal sum."""
    z = np.linspace(-10, 10, 4001)
    weights = np.exp(-0.5 * z**2) / np.exp(-0.5 * z**2).sum()
    return weights @ score(m + v**0.5 * z[:, None]).ravel()


@pytest.mark.parametrize("n, w", [(0.3, 1.0), (0.9, 1.0), (0.3, 2.5), (-1.0, 0.2), (0.3, 0.6)])
def test_what_a_wrong_normal_forecast_loses(n, w):
    """In CRPS ∫(F − G)², in log score KL, when the truth is N(0.3, 1), Eq. (crps-divergence)."""
    def crps(mean, variance):
        return expected_over_normal(lambda y: scores.crps_of_normal(*np.broadcast_arrays(mean, variance, y)), 0.3, 1.0)

    def log(mean, variance):
        def score(y):
            ones = np.ones_like(y)
            return scores.log_score_of_normal(mean * ones, variance * ones[:, :, None], y)

        return expected_over_normal(score, 0.3, 1.0)

    agree(crps(n, w) - crps(0.3, 1.0), crps_divergence(0.3, 1.0, n, w), terms=4000, scale=1.0)
    kl = 0.5 * (1 / w + (n - 0.3) ** 2 / w - 1 + np.log(w))
    agree(log(n, w) - log(0.3, 1.0), kl, terms=4000, scale=1.0)
    assert (kl > 0) == ((n, w) != (0.3, 1.0))


def test_forecasting_the_likeliest_class_with_certainty_is_worse_than_the_truth():
    p = np.array([0.6, 0.3, 0.1])
    sure = np.array([1.0, 0.0, 0.0])
    assert expected_over_classes(scores.brier, p, sure) > expected_over_classes(scores.brier, p, p)
    assert scores.log_score_of_classes(sure[None], [1])[0] == np.inf  # an impossible label happened


# -- formulas by a second route ---------------------------------------------------------------------------------------------


def test_the_log_score_of_a_normal_is_that_of_the_likelihoods():
    """Identity L16."""
    V = np.array([A @ A.T + np.eye(3) for A in RNG.normal(size=(7, 3, 3))])
    found = scores.log_score_of_normal(MEAN, V, Y)
    expected = [-likelihoods.NormalFull(V[n]).log_prob(MEAN[n:n + 1], Y[n:n + 1])[0] for n in range(7)]
    agree(found, expected, terms=20, condition=np.linalg.cond(V).max())
    diagonal = VARIANCE[:, :, None] * np.eye(3)
    by_hand = 0.5 * ((Y - MEAN) ** 2 / VARIANCE + np.log(2 * np.pi * VARIANCE)).sum(-1)
    agree(scores.log_score_of_normal(MEAN, diagonal, Y), by_hand, terms=20)


def test_the_log_score_of_draws_averages_probabilities():
    """Eq. (log-score)."""
    log_probs = RNG.normal(size=(5, 7))
    expected = [-np.log(sum(np.exp(log_probs[t, n]) for t in range(5)) / 5) for n in range(7)]
    agree(scores.log_score_of_draws(log_probs), expected, terms=10)
    agree(scores.log_score_of_draws(log_probs - 1e5), np.array(expected) + 1e5, terms=10)  # far below underflow


def test_the_log_score_of_draws_is_never_worse_than_that_of_the_average_draw():
    """Identity L11, Jensen."""
    log_probs = 3 * RNG.normal(size=(5, 50))
    assert (scores.log_score_of_draws(log_probs) < -log_probs.mean(0)).all()


def test_the_class_scores_are_their_loops():
    agree(scores.brier(P, LABELS), [sum((P[n, c] - (LABELS[n] == c)) ** 2 for c in range(4)) for n in range(7)], terms=10)
    agree(scores.log_score_of_classes(P, LABELS), [-np.log(P[n, LABELS[n]]) for n in range(7)], terms=10)


def test_with_two_classes_the_brier_score_is_twice_the_binary_one():
    p = np.array([[0.2, 0.8], [0.9, 0.1]])
    agree(scores.brier(p, [1, 1]), 2 * (p[:, 1] - 1) ** 2, terms=4)


def crps_by_integration(cdf, y):
    """∫ (F(x) − 1[y ≤ x])² dx, split at y where the integrand jumps; F may jump as well (fine sum, midpoints)."""
    h = 1e-4
    below, above = y - 20 + h * (np.arange(200_000) + 0.5), y + h * (np.arange(200_000) + 0.5)
    return h * ((cdf(below) ** 2).sum() + ((1 - cdf(above)) ** 2).sum())


def test_the_crps_of_a_normal_is_its_integral():
    """Eq. (crps-normal)."""
    found = scores.crps_of_normal(MEAN, VARIANCE, Y)
    expected = [[crps_by_integration(lambda x: ndtr((x - MEAN[n, k]) / VARIANCE[n, k] ** 0.5), Y[n, k]) for k in range(3)]
                for n in range(7)]
    assert np.abs(found - expected).max() < 1e-8  # midpoint rule: h²/24 times the jump of the slope, below 1e-9 for s > 0.4


def test_the_crps_of_draws_is_its_integral():
    found = scores.crps_of_draws(DRAWS, Y)
    for n, k in itertools.product(range(3), range(2)):
        expected = crps_by_integration(lambda x: (DRAWS[:, n, k] <= x[:, None]).mean(-1), Y[n, k])
        assert abs(found[n, k] - expected) < 6e-4  # five jumps, each known to h = 1e-4


def test_the_crps_of_draws_is_the_double_loop():
    """Eq. (crps-ensemble)."""
    for score, pairs in ((scores.crps_of_draws, 25), (scores.fair_crps_of_draws, 20)):
        expected = sum(np.abs(x - Y) for x in DRAWS) / 5 - sum(np.abs(a - b) for a in DRAWS for b in DRAWS) / (2 * pairs)
        agree(score(DRAWS, Y), expected, terms=50)


def test_the_crps_of_one_draw_is_the_absolute_error():
    agree(scores.crps_of_draws(DRAWS[:1], Y), np.abs(DRAWS[0] - Y), terms=4)


def test_the_fair_crps_is_unbiased_for_any_number_of_draws_and_the_plain_one_is_not():
    """Over all ensembles of two draws from a law on four points: E fair = the score of the law; E plain = that + E|x − x'|/4."""
    points, weights, y = np.array([-1.0, 0.2, 0.7, 3.0]), np.array([0.1, 0.4, 0.3, 0.2]), 0.5
    spread = sum(w * v * abs(a - b) for a, w in zip(points, weights) for b, v in zip(points, weights))
    exact = weights @ np.abs(points - y) - spread / 2
    pairs = np.array(list(itertools.product(range(4), repeat=2)))
    ensembles, chance = points[pairs].T[:, :, None], weights[pairs].prod(-1)
    target = np.full((len(pairs), 1), y)
    agree(chance @ scores.fair_crps_of_draws(ensembles, target)[:, 0], exact, terms=30)
    agree(chance @ scores.crps_of_draws(ensembles, target)[:, 0], exact + spread / 4, terms=30)


def test_the_crps_of_many_draws_approaches_that_of_their_law():
    """At quantiles (i − ½)/t the ensemble score differs from the normal one by O(1/t)."""
    errors = []
    for t in (100, 200, 400, 800):
        x = ndtri((np.arange(t) + 0.5) / t)[:, None, None]
        errors.append(abs(scores.crps_of_draws(x, [[0.7]])[0, 0] - scores.crps_of_normal([[0.0]], [[1.0]], [[0.7]])[0, 0]))
    assert max(errors) < 2e-3 and errors[-1] < 0.3 * errors[0]


def test_the_crps_has_the_units_of_the_targets():
    agree(scores.crps_of_normal(10 * MEAN, 100 * VARIANCE, 10 * Y), 10 * scores.crps_of_normal(MEAN, VARIANCE, Y), terms=10,
          condition=30)


# -- calibration ------------------------------------------------------------------------------------------------------------


def binned_by_hand(forecast, event, edges):
    """n_b, mean forecast, frequency of every bin, datum by datum."""
    rows = []
    for i, (left, right) in enumerate(itertools.pairwise(edges)):
        inside = [n for n, p in enumerate(forecast) if left < p <= right or (i == 0 and p == left)]
        rows.append((len(inside), [forecast[n] for n in inside], [event[n] for n in inside]))
    return rows


@pytest.mark.parametrize("edges", [scores.equal_width(5), scores.equal_width(1), np.array([0, 0.1, 0.7, 1])])
def test_reliability_is_its_loop_over_bins(edges):
    """Eq. (calibration-error)."""
    forecast = np.concatenate([RNG.random(60), [0.0, 1.0, 0.2, 0.4, 0.6]])  # edges among them
    event = (RNG.random(65) < forecast).astype(float)
    found, error, squared = scores.reliability(forecast, event, edges), 0.0, 0.0
    for b, (count, p, e) in enumerate(binned_by_hand(forecast, event, edges)):
        agree([found.counts[b], found.forecast[b], found.frequency[b]], [count, sum(p) / count, sum(e) / count], terms=100)
        gap = np.array(e) - np.array(p)
        error += count / 65 * abs(gap.mean())
        squared += count / 65 * (gap.mean() ** 2 - gap.var(ddof=1) / count)
    agree(found.error, error, terms=100)
    agree(found.squared_error, squared, terms=100, scale=1.0)


def test_an_empty_bin_says_nothing_and_costs_nothing():
    found = scores.reliability([0.1, 0.15], [0, 1], scores.equal_width(4))
    assert found.counts.tolist() == [2, 0, 0, 0] and np.isnan(found.frequency[1:]).all()
    agree(found.error, 0.5 - 0.125, terms=4)


def test_forecasts_that_are_off_by_a_constant_have_that_calibration_error():
    event = np.repeat([0.0, 1.0], [30, 70])
    agree(scores.reliability(np.full(100, 0.9), event, scores.equal_width(10)).error, 0.2, terms=100)


def all_outcomes(p):
    """Every vector of events (2ⁿ n) and its probability under independent events with probabilities p."""
    events = np.array(list(itertools.product((0.0, 1.0), repeat=len(p))))
    return events, np.prod(np.where(events == 1, p, 1 - p), axis=1)


def test_the_calibration_error_of_perfect_forecasts_is_positive_on_average_and_the_squared_one_is_zero():
    """By enumeration of all outcomes, without simulation."""
    p = np.array([0.3] * 4 + [0.8] * 5)
    events, chance = all_outcomes(p)
    found = [scores.reliability(p, event, scores.equal_width(2)) for event in events]
    biased, unbiased = chance @ [f.error for f in found], chance @ [f.squared_error for f in found]
    assert biased > 0.1
    agree(unbiased, 0.0, terms=600, scale=1.0)
    assert abs(found[0].noise_floor / biased - 1) < 0.1  # the normal approximation with four and five data a bin


def test_the_squared_calibration_error_is_unbiased_when_forecasts_are_wrong():
    """One bin, forecast 0.5, truth 0.7: the squared error is 0.04 on average, for any number of data.

    Eq. (calibration-unbiased).
    """
    for n in (2, 3, 6):
        events, chance = all_outcomes(np.full(n, 0.7))
        found = chance @ [scores.reliability(np.full(n, 0.5), e, scores.equal_width(1)).squared_error for e in events]
        agree(found, 0.04, terms=100, scale=1.0)


def test_bins_of_equal_mass_hold_equally_many():
    forecast = RNG.random(100)
    found = scores.reliability(forecast, np.zeros(100), scores.equal_mass(forecast, 8))
    assert found.counts.max() - found.counts.min() <= 1
    assert len(scores.equal_mass(np.full(10, 0.5), 4)) == 3  # ties: 0, 0.5, 1


def test_confidence_is_the_largest_probability_and_whether_it_was_right():
    p, right = scores.confidence([[0.2, 0.5, 0.3], [0.4, 0.4, 0.2]], [1, 1])
    assert p.tolist() == [0.5, 0.4] and right.tolist() == [1, 0]  # the tie goes to the first class


# -- PIT and coverage -------------------------------------------------------------------------------------------------------


def is_uniform(u):
    """Kolmogorov-Smirnov by the Dvoretzky-Kiefer-Wolfowitz bound with Massart's constant: false alarms below FALSE_ALARM."""
    n, u = u.size, np.sort(np.ravel(u))
    distance = max(np.abs(u - np.arange(n) / n).max(), np.abs(u - np.arange(1, n + 1) / n).max())
    assert distance < np.sqrt(np.log(2 / FALSE_ALARM) / (2 * n)), f"not uniform: distance {distance:.3f}"


def test_the_pit_of_a_normal_is_uniform_when_the_prediction_is_right():
    """Identity L22, Eq. (pit)."""
    rng = np.random.default_rng(1)
    mean, variance = rng.normal(size=(4000, 1)), rng.uniform(4, 9, (4000, 1))
    is_uniform(scores.pit_of_normal(mean, variance, mean + np.sqrt(variance) * rng.normal(size=(4000, 1))))


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_the_pit_shows_a_wrong_variance(factor):
    rng = np.random.default_rng(1)
    y = rng.normal(size=(4000, 1))
    with pytest.raises(AssertionError, match="not uniform"):
        is_uniform(scores.pit_of_normal(0 * y, factor**2 + 0 * y, y))


def test_the_pit_of_a_normal_is_its_distribution_function():
    expected = np.exp(log_ndtr((Y - MEAN) / np.sqrt(VARIANCE)))
    agree(scores.pit_of_normal(MEAN, VARIANCE, Y), expected, terms=20)


def randomised(likelihood, f, rng, uniforms=None):
    """PIT values of targets drawn from a discrete likelihood."""
    y = likelihood.sample(f, rng)
    points, weights = likelihood.output_outcomes(f)
    below, at = scores.tail(points[..., 0], weights[..., 0], y[:, 0])
    return scores.pit_of_discrete(below, at, rng.random(len(f)) if uniforms is None else uniforms)


@pytest.mark.parametrize("likelihood", [likelihoods.Poisson(), likelihoods.Bernoulli()], ids=["poisson", "bernoulli"])
def test_the_randomised_pit_of_counts_and_labels_is_uniform_and_without_randomisation_it_is_not(likelihood):
    f = np.random.default_rng(2).normal(size=(3000, 1))
    is_uniform(randomised(likelihood, f, np.random.default_rng(3)))
    for constant in (0.0, 0.5, 1.0):
        with pytest.raises(AssertionError, match="not uniform"):
            is_uniform(randomised(likelihood, f, np.random.default_rng(3), np.full(3000, constant)))


def test_the_randomised_pit_is_uniform_by_exact_integration():
    """P(PIT ≤ v) = Σ_y P(y) P(below + u at ≤ v) = v, for every v, Eq. (pit-randomised)."""
    p = np.array([0.1, 0.4, 0.2, 0.3])
    points, weights = np.arange(4.0)[:, None].repeat(4, 1), p[:, None].repeat(4, 1)
    below, at = scores.tail(points, weights, np.arange(4))
    agree(at, p, terms=4)
    for v in np.linspace(0, 1, 11):
        agree(p @ np.clip((v - below) / at, 0, 1), v, terms=10, scale=1.0)


def test_the_pit_of_draws_is_uniform_for_any_number_of_draws_with_and_without_ties():
    """Eq. (pit-draws)."""
    rng = np.random.default_rng(4)
    for draw in (rng.standard_normal, lambda shape: rng.poisson(1.0, shape).astype(float)):
        for t in (1, 4):
            is_uniform(scores.pit_of_draws(draw((t, 3000, 1)), draw((3000, 1)), rng.random((3000, 1))))


def test_coverage_counts_central_intervals_and_knows_its_scatter():
    inside, error = scores.coverage([0.02, 0.2, 0.5, 0.8, 0.99], [0.0, 0.5, 0.9, 1.0])
    assert inside.tolist() == [0.2, 0.2, 0.6, 1.0]
    agree(error, np.sqrt([0, 0.05, 0.018, 0]), terms=4)


def test_coverage_is_nominal_when_the_prediction_is_right():
    """Eq. (coverage)."""
    rng = np.random.default_rng(5)
    levels = np.array([0.5, 0.9])
    runs = np.array([scores.coverage(rng.random((20, 1)), levels)[0] for _ in range(2000)])
    mean_agrees(runs, levels, smallest_effect=0.03)


def test_probabilities_in_single_precision_are_taken_as_they_are_and_others_that_do_not_sum_to_one_are_not():
    """Rows of float32 sum to one to the round-off of float32; the same numbers in float64 have no such excuse."""
    single = P.astype(np.float32)
    assert np.abs(single.astype(float).sum(-1) - 1).max() > 1e-9
    expected = [sum((float(p) - (c == label)) ** 2 for c, p in enumerate(row)) for row, label in zip(single, LABELS)]
    agree(scores.brier(single, LABELS), expected, terms=4)
    for wrong in (single.astype(float), single * np.float32(1 + 1e-5)):
        with pytest.raises(ValueError, match="sum to one, got a smallest one of .* and a sum of"):
            scores.brier(wrong, LABELS)


# -- doors ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call, message", [
    (lambda: scores.brier(P, LABELS[:3]), r"y: expected shape \(7,\), got \(3,\)"),
    (lambda: scores.brier(2 * P, LABELS), "non-negative numbers that sum to one, got .* a sum of 2"),
    (lambda: scores.brier([[1.5, -0.5]], [0]), "non-negative numbers that sum to one, got a smallest one of -0.5"),
    (lambda: scores.brier(P, LABELS + 4), "expected labels 0 to 3"),
    (lambda: scores.log_score_of_classes(P, LABELS + 0.5), "expected labels 0 to 3"),
    (lambda: scores.log_score_of_draws(np.ones((0, 3))), "log_probs: expected at least one"),
    (lambda: scores.log_score_of_normal(MEAN, VARIANCE, Y), r"covariance: expected shape \(7, 3, 3\), got \(7, 3\)"),
    (lambda: scores.log_score_of_normal([[0.0, 0]], [[[1.0, 2], [2, 1]]], [[0.0, 0]]), "smallest eigenvalue -1"),
    (lambda: scores.crps_of_normal(MEAN, 0 * VARIANCE, Y), "variance: expected positive numbers"),
    (lambda: scores.crps_of_normal(MEAN, VARIANCE, Y[:, :1]), r"y: expected shape \(7, 3\), got \(7, 1\)"),
    (lambda: scores.pit_of_normal(MEAN, -VARIANCE, Y), "variance: expected positive numbers"),
    (lambda: scores.crps_of_draws(DRAWS[:0], Y), "draws: expected at least 1, got 0"),
    (lambda: scores.fair_crps_of_draws(DRAWS[:1], Y), "draws: expected at least 2, got 1"),
    (lambda: scores.reliability([0.5, 1.5], [0, 1], scores.equal_width(2)), r"expected probabilities in \[0, 1\]"),
    (lambda: scores.reliability([0.5, 0.5], [0, 2], scores.equal_width(2)), "events 0 or 1"),
    (lambda: scores.reliability([], [], scores.equal_width(2)), "forecast: expected at least one"),
    (lambda: scores.reliability([0.5], [1], [0.0, 0.5]), "edges: expected increasing numbers from 0 to 1"),
    (lambda: scores.reliability([0.5], [1], [0.0, 0.7, 0.7, 1.0]), "edges: expected increasing"),
    (lambda: scores.reliability([0.5], [1], scores.equal_width(2)).squared_error, "at least two data in every bin"),
    (lambda: scores.equal_width(0), "num_bins: expected an integer >= 1"),
    (lambda: scores.pit_of_discrete([0.5], [0.7], [0.1]), "below \\+ at at most 1"),
    (lambda: scores.pit_of_discrete([0.5], [0.2], [1.1]), "uniforms in"),
    (lambda: scores.pit_of_draws(DRAWS, Y, np.ones((7, 2))), r"uniforms: expected shape \(7, 3\)"),
    (lambda: scores.coverage([1.2], [0.5]), r"expected numbers in \[0, 1\]"),
    (lambda: scores.coverage([0.2], [1.5]), r"expected numbers in \[0, 1\]"),
    (lambda: scores.crps_of_normal(MEAN * np.nan, VARIANCE, Y), "mean: expected finite numbers"),
])
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_covariance_that_is_not_positive_definite_is_refused_as_such():
    with pytest.raises(NotPositiveDefinite):
        scores.log_score_of_normal([[0.0]], [[[0.0]]], [[0.0]])


# -- planted faults ---------------------------------------------------------------------------------------------------------

crps_integral = test_the_crps_of_a_normal_is_its_integral
crps_loss = lambda: test_what_a_wrong_normal_forecast_loses(0.3, 2.5)  # noqa: E731
pit_uniform = test_the_pit_of_a_normal_is_uniform_when_the_prediction_is_right
TRUE_CRPS, TRUE_PIT, TRUE_BRIER = scores.crps_of_normal, scores.pit_of_normal, scores.brier


@pytest.mark.parametrize("plant, law", [
    (instead(scores, "crps_of_normal", lambda m, v, y: TRUE_CRPS(m, v**2, y)), crps_integral),
    (instead(scores, "crps_of_normal", lambda m, v, y: TRUE_CRPS(m, v**2, y)), crps_loss),
    (instead(scores, "crps_of_normal", lambda m, v, y: TRUE_CRPS(m, np.sqrt(v), y)), crps_integral),
    (after(scores, "crps_of_normal", lambda r, m, v, y: r + np.sqrt(v) / np.sqrt(np.pi)), crps_integral),
    (after(scores, "crps_of_normal", lambda r, m, v, y: r + np.sqrt(v) / np.sqrt(np.pi)), crps_loss),
    (instead(scores, "crps_of_draws", scores.fair_crps_of_draws), test_the_crps_of_draws_is_its_integral),
    (instead(scores, "fair_crps_of_draws", scores.crps_of_draws),
     test_the_fair_crps_is_unbiased_for_any_number_of_draws_and_the_plain_one_is_not),
    (instead(scores, "pit_of_normal", lambda m, v, y: TRUE_PIT(m, np.sqrt(v), y)), pit_uniform),
    (instead(scores, "log_score_of_draws", lambda lp: -np.asarray(lp).mean(0)),
     test_the_log_score_of_draws_averages_probabilities),
    (instead(scores, "brier", lambda p, y: 1 - p[np.arange(len(p)), y]),  # linear, and thus improper
     lambda: test_what_a_wrong_class_forecast_loses_in_brier_score_is_the_squared_distance.hypothesis.inner_test(
         (np.array([0.6, 0.4]), np.array([0.7, 0.3])))),
    (instead(scores, "log_score_of_classes", lambda p, y: TRUE_BRIER(p, y)),
     lambda: test_what_a_wrong_class_forecast_loses_in_log_score_is_the_kullback_leibler_divergence.hypothesis.inner_test(
         (np.array([0.6, 0.4]), np.array([0.7, 0.3])))),
    (instead(scores.Reliability, "squared_error", property(lambda r: float(
        (r.counts / r.counts.sum()) @ (r.frequency - r.forecast) ** 2))),
     test_the_squared_calibration_error_is_unbiased_when_forecasts_are_wrong),
    (instead(scores, "pit_of_draws", lambda x, y, u: (x < y).mean(0)),
     test_the_pit_of_draws_is_uniform_for_any_number_of_draws_with_and_without_ties),
    (after(scores, "tail", lambda r, *_: (r[0] + r[1], r[1])), test_the_randomised_pit_is_uniform_by_exact_integration),
], ids=["v² for v", "v² for v: improper", "std for variance", "1/√π missing", "1/√π missing: wide wins", "fair for plain",
        "plain for fair", "PIT with std for variance", "average of logarithms", "linear score", "Brier for log",
        "squared bias kept", "PIT without randomisation", "P(Y ≤ y) for P(Y < y)"])
def test_a_planted_fault_is_caught(plant, law, monkeypatch):
    law()
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        law()
