"""Diagnostics: equal to ArviZ's, and true of processes whose autocorrelation, spread and tails are known.

Bounds on random figures are five standard deviations of the estimator, a false alarm in two million.
"""

from __future__ import annotations

import sys

import numpy as np
import pytest
from scipy.signal import lfilter

from refbnn import Mlp, activations, diagnostics, symmetry
from refbnn.diagnostics import effective, errors, mixing, weights
from tests import golden_diagnostics

GOLDEN = golden_diagnostics.read()
SIGMAS = 5.0


def autoregressive(rho, shape, seed=1):
    """Stationary chains x_t = ρ x_{t−1} + √(1 − ρ²) ε_t with variance 1."""
    steps = np.random.default_rng(seed).normal(size=shape)
    steps[..., 1:] *= np.sqrt(1 - rho**2)
    return lfilter([1.0], [1.0, -rho], steps, axis=-1)


def ours(name):
    """The function and its further arguments from a name such as "ess_quantile(0.3)"."""
    function, _, argument = name.partition("(")
    further = [float(argument[:-1])] if argument else []
    return lambda draws: getattr(diagnostics, function)(draws, *further)


# -- against ArviZ ----------------------------------------------------------------------------------------------------------


def differences(answers):
    """The largest relative difference to given answers, and the names where ours is NaN."""
    worst, undefined = 0.0, []
    for name, values in answers["chains"].items():
        for key, value in zip(GOLDEN["data"]["chains"], values, strict=True):
            mine = ours(name)(np.array(GOLDEN["data"]["chains"][key]))
            undefined += [(name, key)] * bool(np.isnan(mine))
            worst = max(worst, 0.0 if np.isnan(mine) else abs(mine / value - 1))
    for key, value in answers["e_bfmi"].items():
        worst = max(worst, np.abs(diagnostics.e_bfmi(GOLDEN["data"]["chains"][key]) / value - 1).max())
    for key, value in answers["pareto_k"].items():
        smoothed = diagnostics.pareto_smoothed(GOLDEN["data"]["log_weights"][key])
        worst = max(worst, abs(smoothed.pareto_k / value - 1), np.abs(smoothed.log_weights / answers["smoothed"][key] - 1).max())
    return worst, undefined


def test_the_diagnostics_are_those_of_arviz():
    """ArviZ calls all draws effective where the indicator of a quantile is constant (of tied draws); here that is undefined."""
    worst, undefined = differences(GOLDEN["answers"])
    assert worst < 1e-12 and undefined == [("ess_tail", "ties")]


@pytest.mark.filterwarnings("ignore")
def test_the_stored_answers_are_those_of_the_installed_arviz():
    arviz = pytest.importorskip("arviz", exc_type=ImportError)
    if int(arviz.__version__.split(".")[0]) >= 1:
        pytest.skip("functions have other names from 1.0 on")
    worst, undefined = differences(golden_diagnostics.answers(GOLDEN["data"]))
    assert worst < 1e-12 and undefined == [("ess_tail", "ties")]


# -- laws -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rho", [0.7, 0.0, -0.5])
def test_the_effective_size_of_an_autoregression_is_that_of_its_spectrum(rho):
    """S (1 − ρ)/(1 + ρ), Eq. (ess). A sum over M lags has relative variance 2(2M + 1)/S; M: until ρᴹ is lost in noise."""
    draws = autoregressive(rho, (4, 2**15))
    lags = 2 if rho == 0 else np.log(draws.size) / (-2 * np.log(abs(rho)))
    allowed = SIGMAS * np.sqrt(2 * (2 * lags + 1) / draws.size)
    exact = draws.size * (1 - rho) / (1 + rho)
    assert allowed < 0.15
    for estimate in (diagnostics.ess_mean(draws), diagnostics.ess_bulk(draws)):
        assert abs(estimate / exact - 1) < allowed


def test_the_effective_size_for_the_spread_of_an_autoregression_is_that_of_its_squares():
    """The squares of a Gaussian autoregression have correlation ρ²ᵗ, whatever the sign of ρ."""
    draws = autoregressive(-0.7, (4, 2**15))
    assert abs(diagnostics.ess_sd(draws) / (draws.size * (1 - 0.49) / (1 + 0.49)) - 1) < 0.13


def spread_of_scores(estimate, error, truth):
    """The mean square of (estimate − truth)/error over 600 independent sets of 4 chains, and five of its standard deviations."""
    sets = autoregressive(0.6, (600, 4, 500), seed=3)
    scores = np.array([(estimate(draws) - truth) / error(draws) for draws in sets])
    return np.mean(scores**2), SIGMAS * np.sqrt(2 / len(sets))


def test_the_error_of_a_mean_is_what_repetitions_show():
    """Mean squared scores are 1."""
    square, allowed = spread_of_scores(np.mean, diagnostics.mcse_mean, 0.0)
    assert abs(square - 1) < allowed


def test_the_error_of_a_standard_deviation_is_what_repetitions_show():
    square, allowed = spread_of_scores(lambda draws: draws.std(ddof=1), diagnostics.mcse_sd, 1.0)
    assert abs(square - 1) < allowed


def test_the_error_of_a_quantile_is_what_repetitions_show():
    """The interval ends at order statistics and is rounded outwards, so that it may be a little wide."""
    square, allowed = spread_of_scores(lambda draws: np.quantile(draws, 0.1), lambda d: diagnostics.mcse_quantile(d, 0.1),
                                       -1.2815515655446004)
    assert 1 - allowed - 0.1 < square < 1 + allowed


def test_r_hat_of_chains_that_agree_is_one_and_of_chains_in_two_places_is_not():
    """Means at 0 and 6 and variance 1 within: B/t = 36·(8/7)/4 over eight halves, R-hat² = 1 + B/(tW), Eq. (split-rhat)."""
    draws = np.random.default_rng(5).normal(size=(4, 5000))
    apart = draws + np.array([[0.0], [0.0], [6.0], [6.0]])
    assert max(diagnostics.rhat(draws), diagnostics.split_rhat(draws)) < 1.002
    assert abs(diagnostics.split_rhat(apart) / np.sqrt(1 + 9 * 8 / 7) - 1) < 0.02
    assert diagnostics.rhat(apart) > 1.5


def leapfrog_chain(position, step, length, count, rng):
    """Hamiltonian Monte Carlo on N(0, 1), of many chains: (c t)."""
    draws = []
    for _ in range(count):
        momentum, q = rng.normal(size=position.shape), position
        p = momentum - step / 2 * q
        for i in range(length):
            q = q + step * p
            p = p - step * q * (0.5 if i == length - 1 else 1)
        accepted = np.log(rng.random(position.shape)) < (position**2 + momentum**2 - q**2 - p**2) / 2
        position = np.where(accepted, q, position)
        draws.append(position)
    return np.stack(draws, 1)


def test_only_folding_sees_chains_that_half_turns_keep_at_one_distance():
    """Three leapfrog steps of length 1 turn by 3·60°: q ↦ −q for ever. Means agree, spreads are those of the starting points."""
    rng = np.random.default_rng(0)
    draws = leapfrog_chain(np.linspace(0.3, 2.7, 8), 1.0, 3, 1000, rng)
    assert draws.var() > 2.7 and diagnostics.split_rhat(draws) < 1 and diagnostics.rank_rhat(draws) < 1
    assert diagnostics.folded_rhat(draws) > 2 and diagnostics.rhat(draws) == diagnostics.folded_rhat(draws)
    good = leapfrog_chain(rng.normal(size=8), 0.7, 3, 1000, rng)
    assert abs(good.var() - 1) < 0.1 and diagnostics.rhat(good) < 1.01


def test_nested_r_hat_of_single_chains_is_r_hat_and_one_draw():
    """1 + B/(tW) against (B/W + t − 1)/t: the squares differ by 1/t."""
    draws = autoregressive(0.9, (7, 50))
    assert abs(diagnostics.nested_rhat(draws[:, None])**2 - mixing._rhat(draws)**2 - 1 / 50) < 1e-14


def test_nested_r_hat_is_its_definition_in_plain_loops():
    groups = autoregressive(0.8, (3, 5, 7)) + np.arange(3)[:, None, None]
    means = [np.mean([chain.mean() for chain in group]) for group in groups]
    among = [np.var([chain.mean() for chain in group], ddof=1) for group in groups]
    along = [np.mean([np.var(chain, ddof=1) for chain in group]) for group in groups]
    expected = np.sqrt(1 + np.var(means, ddof=1) / np.mean(np.add(among, along)))
    assert abs(diagnostics.nested_rhat(groups) / expected - 1) < 1e-14


def test_nested_r_hat_of_one_draw_a_chain_falls_with_the_number_of_chains():
    """Groups of M independent draws: R-hat² − 1 = (χ²₍g₋₁₎/(g − 1))/M, and its variance over that of a mean is 2/(g − 1)."""
    groups = np.random.default_rng(2).normal(size=(400, 64, 1))
    excess = (diagnostics.nested_rhat(groups)**2 - 1) * 64
    assert abs(excess - 1) < SIGMAS * np.sqrt(2 / 399)


def test_e_bfmi_is_twice_one_minus_the_correlation_of_neighbouring_energies():
    """The sum of squared steps over 2·10⁵ energies: relative error below √(2·(1 + ...)/10⁵) < 1%."""
    for rho in (0.0, 0.9):
        assert abs(diagnostics.e_bfmi(autoregressive(rho, (2, 10**5))) / (2 * (1 - rho)) - 1).max() < 0.05


@pytest.mark.parametrize("k", [0.2, 0.7, 1.2])
def test_pareto_k_is_the_exponent_of_weights_that_follow_a_power_law(k):
    """w = u⁻ᵏ has exactly a generalised Pareto tail; the estimate has standard deviation (1 + k)/√m (Smith 1987)."""
    count = 10**5
    used = int(np.ceil(3 * np.sqrt(count)))
    pulled = (used * k + 5) / (used + 10)
    found = diagnostics.pareto_k(-k * np.log(np.random.default_rng(7).random(count)))
    assert abs(found - pulled) < SIGMAS * (1 + k) / np.sqrt(used)


def test_smoothing_replaces_the_tail_alone_and_keeps_the_order():
    given = np.random.default_rng(8).standard_exponential(1000) * 0.8
    smoothed = diagnostics.pareto_smoothed(given).log_weights
    order = np.argsort(given)
    moved = smoothed - given
    assert abs(np.exp(smoothed).sum() - 1) < 1e-13 and (np.diff(smoothed[order[:-3]]) > 0).all()
    assert np.ptp(moved[order[:-95]]) < 1e-13 and np.ptp(moved[order[-95:]]) > 1e-3


def test_equal_weights_have_no_tail_and_tied_ones_none_that_can_be_fitted():
    assert diagnostics.pareto_k(np.full(100, -3.0)) == -np.inf
    assert diagnostics.pareto_k(np.r_[np.zeros(97), 5.0, 6.0, 7.0]) == np.inf


def test_the_effective_number_of_weights_lies_between_one_and_all():
    """Eq. (weight-ess)."""
    w = np.random.default_rng(9).random((3, 11))
    assert np.allclose(diagnostics.weight_ess(np.log(w) - 800), w.sum(1)**2 / (w**2).sum(1), rtol=1e-12, atol=0)
    assert abs(diagnostics.weight_ess(np.zeros(7)) - 7) < 1e-12 and abs(diagnostics.weight_ess([0.0, -900.0]) - 1) < 1e-12


def test_the_largest_k_grows_with_the_number_of_draws_up_to_seven_tenths():
    assert abs(diagnostics.largest_k(100) - 0.5) < 1e-15 and diagnostics.largest_k(10**6) == 0.7


# -- what must not matter ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", golden_diagnostics.OF_CHAINS)
def test_quantities_are_treated_one_by_one_and_chains_alike(name):
    draws = np.random.default_rng(11).normal(size=(3, 23, 5, 2)) + autoregressive(0.5, (3, 23))[..., None, None]
    values = ours(name)(draws)
    assert values.shape == (5, 2)
    assert values[4, 1] == ours(name)(draws[:, :, 4, 1])
    assert np.allclose(values, ours(name)(draws[[2, 0, 1]]), rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", ["rank_rhat", "ess_bulk", "ess_tail", "ess_quantile(0.3)"])
def test_ranks_see_no_increasing_function(name):
    draws = autoregressive(0.5, (4, 201))
    assert abs(ours(name)(draws) / ours(name)(np.exp(3 * draws)) - 1) < 1e-13


def test_outputs_do_not_see_the_copies_of_a_network_that_weights_are_torn_between():
    net = Mlp((2, 3, 1), activations.tanh)
    thetas = np.random.default_rng(12).normal(size=(4, 100, net.num_params)) * 0.3 + np.linspace(1, 2, net.num_params)
    group = symmetry.of_network(net)
    copies = thetas.copy()
    copies[:2] = group.exchange(0, 0, 2).after(group.change_of_sign(0, 1))(thetas[:2])
    X = np.array([[0.5, 1.0], [-1.0, 0.3]])
    before, after = (diagnostics.rhat(net.forward(draws, X)) for draws in (thetas, copies))
    assert before.shape == (2, 1) and np.allclose(before, after, rtol=1e-6, atol=0)
    assert diagnostics.rhat(thetas).max() < 1.1 and diagnostics.rhat(copies).max() > 1.5


def test_a_quantity_that_does_not_vary_has_no_effective_size_and_chains_that_stand_still_no_finite_r_hat():
    still = np.full((3, 10), 0.1)
    for name in golden_diagnostics.OF_CHAINS:
        assert np.isnan(ours(name)(still)), name
    assert diagnostics.split_rhat(still + np.arange(3)[:, None]) == np.inf
    assert diagnostics.nested_rhat(still[:, None] + np.arange(3)[:, None, None]) == np.inf
    assert np.isnan(diagnostics.nested_rhat(still[:, None])) and np.isnan(diagnostics.e_bfmi(still)).all()


def test_a_summary_says_the_same_as_its_parts():
    draws = autoregressive(0.5, (3, 5, 40)).swapaxes(1, 2)
    made = diagnostics.summary(draws)
    for name in ("mcse_mean", "mcse_sd", "ess_bulk", "ess_tail", "rhat"):
        assert np.array_equal(getattr(made, name), getattr(diagnostics, name)(draws))
    assert np.allclose(made.mean, draws.mean((0, 1))) and np.allclose(made.sd, draws.std((0, 1), ddof=1))
    assert f"R-hat {made.rhat.max():.4f}" in made.worst()


# -- bad input --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call, message", [
    (lambda: diagnostics.rhat(np.ones(5)), r"draws: expected axes \(c t ...\), got shape \(5,\)"),
    (lambda: diagnostics.ess_bulk(np.ones((4, 3))), "at least 4 draws, got shape"),
    (lambda: diagnostics.ess_mean(np.ones((0, 9))), "at least one chain"),
    (lambda: diagnostics.mcse_mean([[1.0, 2.0, np.nan, 3.0]]), "draws: expected finite numbers"),
    (lambda: diagnostics.ess_quantile(np.ones((4, 9)), 1.0), "probability: expected a number between 0 and 1"),
    (lambda: diagnostics.nested_rhat(np.ones((1, 2, 9))), "two groups"),
    (lambda: diagnostics.nested_rhat(np.ones((4, 9))), r"expected axes \(g c t ...\)"),
    (lambda: diagnostics.e_bfmi(np.ones((4, 3))), "energies: expected at least 4"),
    (lambda: diagnostics.pareto_k(np.ones(24)), "log_weights: expected at least 25"),
    (lambda: diagnostics.pareto_k(np.ones((3, 99))), "log_weights: expected shape"),
    (lambda: diagnostics.weight_ess([]), "at least one weight"),
    (lambda: diagnostics.to_arviz({}), "posterior: expected at least one"),
    (lambda: diagnostics.to_arviz({"f": np.ones((2, 5, 3))}, {"lp": np.ones((2, 4))}), "the same chains and draws"),
])
def test_bad_input_is_refused_with_what_was_expected(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# -- ArviZ's container ------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")
def test_draws_arrive_in_arviz():
    pytest.importorskip("arviz", exc_type=ImportError)
    f, lp = np.random.default_rng(1).normal(size=(3, 7, 5)), np.zeros((3, 7))
    made = diagnostics.to_arviz({"f": f}, {"lp": lp})
    assert np.array_equal(made["posterior"]["f"].values, f) and made["sample_stats"]["lp"].shape == (3, 7)


def test_without_arviz_the_error_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "arviz", None)
    with pytest.raises(ImportError, match="pip install arviz"):
        diagnostics.to_arviz({"f": np.ones((2, 5))})


# -- planted faults ---------------------------------------------------------------------------------------------------------


def spectrum_law():
    test_the_effective_size_of_an_autoregression_is_that_of_its_spectrum(0.7)


@pytest.mark.parametrize("law, owner, name, fault", [
    (spectrum_law, effective, "_geyer", lambda rho: float(rho[:1 + np.argmax(rho < 0)].sum())),
    (spectrum_law, effective, "_geyer", lambda rho: 1.0),
    (test_the_diagnostics_are_those_of_arviz, effective, "_autocovariance",
     lambda x: np.fft.ifft(np.abs(np.fft.fft(x))**2, axis=1).real / x.shape[1]),
    (test_the_error_of_a_mean_is_what_repetitions_show, errors, "effective", lambda chains: chains.size),
    (test_the_error_of_a_standard_deviation_is_what_repetitions_show, errors, "_of_sd",
     lambda chains: np.std((chains - chains.mean())**2) / np.sqrt(effective.effective(chains**2))),
    (test_the_error_of_a_standard_deviation_is_what_repetitions_show, errors, "effective", lambda chains: chains.size),
    (test_the_error_of_a_quantile_is_what_repetitions_show, errors, "effective_quantile", lambda chains, p: chains.size),
    (test_only_folding_sees_chains_that_half_turns_keep_at_one_distance, mixing, "folded", lambda chains: chains),
    (test_r_hat_of_chains_that_agree_is_one_and_of_chains_in_two_places_is_not, mixing, "halves", lambda chains: chains),
    (test_nested_r_hat_is_its_definition_in_plain_loops, mixing, "_nested", lambda g: mixing._rhat(g.mean(1))),
    (test_nested_r_hat_of_one_draw_a_chain_falls_with_the_number_of_chains, mixing, "_nested",
     lambda g: np.sqrt(1 + g.mean((1, 2)).var() / g.var() / g.shape[1])),
    (lambda: test_pareto_k_is_the_exponent_of_weights_that_follow_a_power_law(1.2), weights, "fit_tail",
     lambda x: (0.5, x.mean())),
    (test_smoothing_replaces_the_tail_alone_and_keeps_the_order, weights, "_quantiles", lambda n, k, s: np.full(n, s)),
    (test_the_diagnostics_are_those_of_arviz, effective, "halves", lambda chains: chains),
    (test_the_diagnostics_are_those_of_arviz, mixing, "normal_scores", lambda chains: chains),
])
def test_a_law_fails_on_its_fault(law, owner, name, fault, monkeypatch):
    monkeypatch.setattr(owner, name, fault)
    with pytest.raises(AssertionError):
        law()


def test_without_halves_a_drift_that_all_chains_share_is_not_seen(monkeypatch):
    drift = np.random.default_rng(3).normal(size=(4, 400)) + np.linspace(-2, 2, 400)
    assert diagnostics.rhat(drift) > 1.3
    monkeypatch.setattr(mixing, "halves", lambda chains: chains)
    assert diagnostics.rhat(drift) < 1.01


def test_a_chain_whose_halves_disagree_has_few_effective_draws():
    """One chain: between its two halves there is all the variance, within them next to none of it."""
    halves = np.random.default_rng(3).normal(size=(2, 500)) + [[0.0], [100.0]]
    assert diagnostics.ess_mean(halves.reshape(1, -1)) < 10
    assert all(diagnostics.ess_mean(half[None]) > 300 for half in halves)


def test_arrays_of_any_further_shape_are_exported_together():
    pytest.importorskip("arviz", exc_type=ImportError)
    found = diagnostics.to_arviz({"theta": np.ones((2, 5, 3)), "log_prob": np.ones((2, 5)), "noise": np.ones((2, 5, 7))})
    assert found.posterior["noise"].shape == (2, 5, 7)
