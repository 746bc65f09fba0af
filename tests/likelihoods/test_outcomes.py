"""How exact `outcomes` is: what each rule promises, checked where the answer is known, and where its promise ends."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import digamma, factorial2, polygamma

from refbnn import likelihoods
from tests.judge import agree
from tests.likelihoods.families import NOISE


def rule(likelihood, *f):
    """Points and weights at one output vector."""
    y, weights = likelihood.outcomes(np.array([f], dtype=float))
    return y[:, 0], weights[:, 0]


def the_even_moment_is_exact(degree):
    y, weights = rule(likelihoods.Normal(0.49), 1.3)
    agree(weights @ (y[:, 0] - 1.3) ** degree, 0.7**degree * factorial2(degree - 1), terms=30, condition=degree)


@pytest.mark.parametrize("degree", [2, 8, 18])
def test_the_normal_rule_is_exact_to_degree_nineteen(degree):
    the_even_moment_is_exact(degree)


def test_the_normal_rule_is_not_exact_at_degree_twenty():
    with pytest.raises(AssertionError):
        the_even_moment_is_exact(20)


def test_the_full_covariance_rule_has_the_fourth_moments_of_a_normal():
    """E[e_a e_b e_c e_d] = V_ab V_cd + V_ac V_bd + V_ad V_bc."""
    y, weights = rule(likelihoods.NormalFull(NOISE), 0.3, -1.0, 0.2)
    e = y - np.array([0.3, -1.0, 0.2])
    products = np.einsum("ab,cd->abcd", NOISE, NOISE)
    expected = products + products.transpose(0, 2, 1, 3) + products.transpose(0, 2, 3, 1)
    agree(np.einsum("j,ja,jb,jc,jd->abcd", weights, e, e, e, e), expected, terms=len(weights))


def the_power_of_the_residual_is_exact(power, nu=2.7, scale=0.6):
    """x² ~ Beta(½, ν/2) and r = −(ν + 1) x √(1 − x²)/(s √ν): E[r^2m] is a ratio of rising factorials."""
    likelihood, half = likelihoods.StudentT(scale, nu), power // 2
    y, weights = rule(likelihood, 0.4)
    r = likelihood.residual(np.full_like(y, 0.4), y)[:, 0]
    factor = ((nu + 1) / (scale * np.sqrt(nu))) ** power
    up = lambda start, number: np.prod(start + np.arange(number))
    expected = factor * up(0.5, half) * up(nu / 2, half) / up(0.5 + nu / 2, power)
    agree(weights @ r**power, expected, terms=100, condition=power)


@pytest.mark.parametrize("power", [2, 8, 14])
def test_the_student_rule_is_exact_to_order_fifteen(power):
    the_power_of_the_residual_is_exact(power)


def test_the_student_rule_is_not_exact_at_order_sixteen():
    with pytest.raises(AssertionError):
        the_power_of_the_residual_is_exact(16)


@pytest.mark.parametrize("nu", [0.01, 0.3, 1.0, 4.0, 300.0, 1e9])
def test_the_student_rule_holds_for_heavy_and_light_tails(nu):
    the_power_of_the_residual_is_exact(6, nu=nu)


@pytest.mark.parametrize("rate", [1e-8, 0.4, 17.0, 900.0])
def test_counts_are_summed_until_nothing_is_left(rate):
    """Factorial moments of the Poisson distribution: E[y (y − 1) (y − 2) (y − 3)] = μ⁴."""
    y, weights = rule(likelihoods.Poisson(), np.log(rate))
    terms = np.prod([y[:, 0] - i for i in range(4)], axis=0)
    agree(weights @ terms, rate**4, terms=len(y), condition=1 + rate)  # log p is a difference of terms of size μ log μ


@pytest.mark.parametrize("mean, dispersion", [(3.0, 2.0), (20.0, 0.05), (400.0, 1.0), (0.1, 1e6)])
def test_long_geometric_tails_are_summed_too(mean, dispersion):
    """Factorial moments of the negative binomial: E[y (y − 1)] = μ² (1 + 1/ρ), E[y (y − 1) (y − 2)] = μ³ (1 + 1/ρ)(1 + 2/ρ)."""
    y, weights = rule(likelihoods.NegativeBinomial(dispersion), np.log(mean))
    y, once = y[:, 0], 1 + 1 / dispersion
    agree(weights @ (y * (y - 1)), mean**2 * once, terms=len(y))
    agree(weights @ (y * (y - 1) * (y - 2)), mean**3 * once * (1 + 2 / dispersion), terms=len(y))


@pytest.mark.parametrize("alpha", [0.08, 0.3, 1.0, 3.0, 12.0, 200.0, 1e6])
def test_the_gamma_rule_integrates_powers_and_logarithms(alpha):
    y, weights = rule(likelihoods.Gamma(alpha), 0.7)
    z, log = y[:, 0] / np.exp(0.7), np.log(y[:, 0]) - 0.7
    mean_log = digamma(alpha) - np.log(alpha)
    agree(weights.sum(), 1.0, terms=len(y))
    agree(weights @ z, 1.0, terms=len(y))
    agree(weights @ z**3, (1 + 1 / alpha) * (1 + 2 / alpha), terms=len(y))
    agree(weights @ log, mean_log, terms=len(y), scale=1 + weights @ np.abs(log))
    agree(weights @ (log - mean_log) ** 2, polygamma(1, alpha), terms=len(y))


def test_a_coarser_gamma_rule_is_not_exact():
    y, weights = rule(likelihoods.Gamma(3.0), 0.7)
    with pytest.raises(AssertionError):
        agree(4 * weights[::4].sum(), 1.0, terms=len(y))


def test_several_targets_are_a_product():
    """E[y_1 y_2²] = μ_1 (μ_2 + μ_2²) for independent counts, and all 2³ outcomes of three bits."""
    y, weights = rule(likelihoods.Poisson(), 0.2, -0.4)
    first, second = np.exp([0.2, -0.4])
    agree(weights @ (y[:, 0] * y[:, 1] ** 2), first * (second + second**2), terms=len(weights))
    y, weights = rule(likelihoods.BernoulliProbit(), 0.2, -0.4, 1.0)
    assert sorted(map(tuple, y)) == [(a, b, c) for a in (0, 1) for b in (0, 1) for c in (0, 1)]
    agree(weights.sum(), 1.0, terms=8)


def test_every_datum_of_a_batch_has_its_own_rule():
    f = np.random.default_rng(0).normal(size=(2, 3, 1))
    for likelihood in (likelihoods.Poisson(), likelihoods.Gamma(2.0), likelihoods.Normal(0.3), likelihoods.Ordinal([0.0, 1.0])):
        y, weights = likelihood.outcomes(f)
        agree((weights[..., None] * y).sum(0), likelihood.mean(f), terms=len(weights))
