"""Rules for normal expectations: what they are exact for, how fast they converge, and that their error estimates are honest."""

import itertools
import math
import re

import numpy as np
import pytest
from scipy.special import expit, ndtr, stdtrit, xlogy

from refbnn import quadrature
from refbnn.quadrature import Replicated, Rule
from tests.judge import agree, mean_agrees
from tests.test_rejects_faults import instead

RULES = {
    "gauss_hermite": (quadrature.gauss_hermite, (6, 10, 20, 40, 80)),
    "trapezoid": (quadrature.trapezoid, (13, 17, 25, 49, 97)),
}
MEANS, STDS = (grid.ravel() for grid in np.meshgrid(np.linspace(-2, 8, 21), np.geomspace(0.01, 100, 25)))


def moment(degree):
    """E zᵈ = (d − 1)!! for even d, 0 for odd d."""
    return 0.0 if degree % 2 else float(math.prod(range(1, degree, 2)))


# -- what is exact ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_points", [4, 5, 8, 13])
def test_gauss_hermite_is_exact_for_polynomials_up_to_twice_its_points_less_one(num_points):
    degrees = np.arange(2 * num_points)
    found = quadrature.gauss_hermite(1, num_points).integrate(lambda z: z**degrees)
    size = np.array([moment(2 * d) ** 0.5 for d in degrees])  # √E z²ᵈ, what cancels in the odd moments
    agree(found.value / size, [moment(d) for d in degrees] / size, terms=num_points**2, scale=1.0)


def test_gauss_hermite_is_not_exact_one_degree_further():
    found = quadrature.gauss_hermite(1, 5).integrate(lambda z: z[:, 0] ** 10)
    assert abs(found.value - moment(10)) / moment(10) == pytest.approx(math.factorial(5) / moment(10), rel=1e-9)  # He₅ squared


@pytest.mark.parametrize("rule", [quadrature.gauss_hermite(3, 8), quadrature.trapezoid(3, 31)], ids=["hermite", "trapezoid"])
def test_a_product_rule_multiplies_expectations(rule):
    powers = np.array(list(itertools.product(range(4), repeat=3)))
    found = rule.integrate(lambda z: np.prod(z[:, None] ** powers, axis=-1))
    expected = [math.prod(moment(d) for d in row) for row in powers]
    agree(found.value, expected, terms=len(rule.points))
    assert rule.dim == 3


@pytest.mark.parametrize("rule", [quadrature.gauss_hermite(2, 7), quadrature.trapezoid(2, 13)], ids=["hermite", "trapezoid"])
def test_all_weights_are_those_of_distributions(rule):
    for weights in (rule.weights, *rule.coarser):
        assert (weights >= 0).all()
        agree(weights.sum(), 1.0, terms=len(weights))


@pytest.mark.parametrize("dim, level", [(1, 5), (2, 4), (3, 5), (5, 3)])
def test_a_sparse_rule_is_exact_to_total_degree_twice_its_level_less_one(dim, level):
    """Eq. (smolyak): for every monomial up to that degree, and not for pure powers one degree further."""
    rule = quadrature.smolyak(dim, level)
    powers = np.array([row for row in itertools.product(range(2 * level), repeat=dim) if sum(row) <= 2 * level - 1])
    found = rule.integrate(lambda z: np.prod(z[:, None] ** powers, axis=-1))
    size = np.sqrt([math.prod(moment(2 * d) for d in row) for row in powers])
    agree(found.value / size, [math.prod(moment(d) for d in row) for row in powers] / size, terms=len(rule.points), scale=1.0,
          condition=np.abs(rule.weights).sum())
    further = rule.integrate(lambda z: z[:, 0] ** (2 * level))
    assert abs(further.value - moment(2 * level)) == pytest.approx(math.factorial(level), rel=1e-9)


def test_a_sparse_rule_is_the_combination_of_product_rules():
    """Eq. (smolyak) by a plain double loop in two dimensions: levels i + j = 4 with sign +, i + j = 3 with sign −."""
    def g(z):
        return np.exp(0.3 * z[:, 0] - 0.2 * z[:, 1] * z[:, 0])

    plain = 0.0
    for i, j, sign in [(1, 3, 1), (2, 2, 1), (3, 1, 1), (1, 2, -1), (2, 1, -1)]:
        (x, u), (y, v) = (np.polynomial.hermite_e.hermegauss(n) for n in (i, j))
        z = np.array([[a, b] for a in x for b in y])
        plain += sign * np.outer(u / u.sum(), v / v.sum()).ravel() @ g(z)
    agree(quadrature.smolyak(2, 3).integrate(g).value, plain, terms=30)


def test_a_sparse_rule_has_few_points_and_weights_that_add_up():
    rule = quadrature.smolyak(10, 3)
    assert len(rule.points) == len(np.unique(rule.points, axis=0)) < 4**10 / 1000
    for weights in (rule.weights, *rule.coarser):
        agree(weights.sum(), 1.0, terms=len(weights), condition=np.abs(weights).sum())
    assert rule.weights.min() < 0


@pytest.mark.parametrize("level", [4, 6, 8])
def test_the_error_estimate_of_a_sparse_rule_is_an_upper_bound(level):
    """For logistic functions of sums of five normals, whose expectation is one integral."""
    rule, fine = quadrature.smolyak(5, level), quadrature.trapezoid(1, 301)
    for mean, std in itertools.product((-2.0, 0.0, 1.0), (0.1, 0.4, 1.0)):
        direction = std * np.array([0.3, -0.5, 0.1, 0.6, 0.4]) / np.linalg.norm([0.3, -0.5, 0.1, 0.6, 0.4])
        found = rule.integrate(lambda z: expit(mean + z @ direction))
        assert abs(found.value - fine.integrate(lambda z: expit(mean + std * z[:, 0])).value) <= found.error


@pytest.mark.parametrize("make, message", [
    (lambda: quadrature.smolyak(3, 2), "level: expected an integer >= 3"),
    (lambda: quadrature.smolyak(0, 3), "dim: expected"),
    (lambda: quadrature.smolyak(60, 9), "take sobol instead"),
])
def test_sparse_rules_that_cannot_be_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_constant_has_an_error_of_round_off_only():
    for make, sizes in RULES.values():
        found = make(1, sizes[0]).integrate(lambda z: 3 + 0 * z)
        assert found.error < 1e-13 and abs(found.value - 3) <= found.error


def test_the_result_has_the_axes_of_the_values():
    for rule in (quadrature.gauss_hermite(2, 4), quadrature.draws(np.ones((5, 2)))):
        found = rule.integrate(lambda z: np.ones((len(z), 3, 4)))
        assert found.value.shape == found.error.shape == (3, 4)


# -- how fast ---------------------------------------------------------------------------------------------------------------


def test_the_trapezoidal_error_of_the_logistic_function_falls_at_the_rate_of_its_nearest_pole():
    """σ(s z) has poles at ±iπ/s, so that the error is about exp(−2π·(π/s)/h): the slope of its logarithm in 1/h is −2π²/s.

    Eq. (trapezoid-rule).
    """
    s, m = 6.0, 1.0
    exact = logistic_normal(np.array([m]), np.array([s]))[0]
    rules = [quadrature.trapezoid(1, n) for n in range(31, 112, 8)]
    steps = [rule.points[1, 0] - rule.points[0, 0] for rule in rules]
    errors = [abs(rule.integrate(lambda z: expit(m + s * z[:, 0])).value - exact) for rule in rules]
    rate = np.polyfit(1 / np.array(steps), np.log(errors), 1)[0]
    assert abs(rate / (-2 * np.pi**2 / s) - 1) < 0.15  # the error also oscillates with the place of the pole between points


def test_gauss_hermite_is_slower_there_with_as_many_points():
    def error(rule):
        return np.abs(rule.integrate(lambda z: expit(MEANS + STDS * z)).value - EXACT)[(STDS > 3) & (STDS < 15)].max()

    assert error(quadrature.trapezoid(1, 161)) < 1e-3 * error(quadrature.gauss_hermite(1, 160))


def test_scrambled_sobol_points_converge_faster_than_draws():
    """Of a smooth function in three dimensions: about 1/n and better, against 1/√n."""
    sizes = 2 ** np.arange(5, 11)

    def spread(n):
        return quadrature.sobol(3, n, 32, np.random.default_rng(0)).integrate(smooth).error

    slope = np.polyfit(np.log(sizes), np.log([spread(int(n)) for n in sizes]), 1)[0]
    assert slope < -0.9


def smooth(z):
    """A bounded function of all coordinates whose mean is not simple."""
    return expit(1 + z @ np.arange(1.0, z.shape[1] + 1))


# -- honest errors ----------------------------------------------------------------------------------------------------------


def logistic_normal(mean, std):
    """E σ(f) as ∫ Φ((m + l)/s) σ′(l) dl with σ′ the logistic density: the integrand is smooth where that of E σ(m + sz) is not.

    For s < 1 it is the other way round.
    """
    l = np.linspace(-45, 45, 9001)  # noqa: E741
    density = expit(l) * expit(-l) / (expit(l) * expit(-l)).sum()
    wide = np.array([ndtr((m + l) / s) @ density for m, s in zip(mean, std)])
    z = np.linspace(-9, 9, 3601)
    weights = np.exp(-0.5 * z**2) / np.exp(-0.5 * z**2).sum()
    narrow = np.array([expit(m + s * z) @ weights for m, s in zip(mean, std)])
    return np.where(std > 1, wide, narrow)


EXACT = logistic_normal(MEANS, STDS)


def test_the_reference_agrees_with_mpmath():
    mpmath = pytest.importorskip("mpmath")
    for m, s in ((0.7, 0.05), (2.0, 1.5), (-1.0, 10.0), (3.0, 60.0)):
        def integrand(z, m=m, s=s):
            return mpmath.exp(-z * z / 2) / (1 + mpmath.exp(-(m + s * z)))

        breaks = sorted([-12, -m / s - 1 / s, -m / s, -m / s + 1 / s, 0, 12])
        expected = float(mpmath.quad(integrand, breaks) / mpmath.sqrt(2 * mpmath.pi))
        agree(logistic_normal(np.array([m]), np.array([s])), [expected], terms=4000)


def honest(make, sizes):
    """Assert that the error of E σ(m + sz) is below its estimate on the whole grid."""
    for n in sizes:
        found = make(1, n).integrate(lambda z: expit(MEANS + STDS * z))
        worst = (np.abs(found.value - EXACT) / (found.error + 1e-15)).max()
        assert worst <= 1, f"{n} points: the error is {worst:.2f} times its estimate"


@pytest.mark.parametrize("name", RULES)
def test_the_error_estimate_bounds_the_error_for_all_means_and_widths(name):
    """Eq. (quadrature-error)."""
    honest(*RULES[name])


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("words, g, expected", [
    ("cosine", lambda z: np.cos(np.array([0.5, 1.0, 3.0]) * z), np.exp(-0.5 * np.array([0.25, 1, 9]))),
    ("growing", lambda z: np.exp(np.array([0.5, 1.0, 2.5]) * z), np.exp(0.5 * np.array([0.25, 1, 6.25]))),
    ("kink", np.abs, np.array([np.sqrt(2 / np.pi)])),
    ("kink elsewhere", lambda z: np.maximum(z - 0.3, 0),
     np.array([np.exp(-0.045) / np.sqrt(2 * np.pi) - 0.3 * ndtr(-0.3)])),
    ("step", lambda z: (z > np.linspace(-2, 2, 9)).astype(float), ndtr(-np.linspace(-2, 2, 9))),
    ("poles near by", lambda z: 1 / (1 + z**2), np.array([np.sqrt(np.pi * np.e / 2) * 2 * ndtr(-1.0)])),
])
def test_the_error_estimate_bounds_the_error_of_other_functions(name, words, g, expected):
    make, sizes = RULES[name]
    for n in sizes:
        found = make(1, n).integrate(g)
        assert (np.abs(found.value - expected) <= found.error).all(), f"{words}, {n} points: {found}, {expected}"


@pytest.mark.parametrize("name", RULES)
def test_the_error_estimate_bounds_the_error_in_two_dimensions(name):
    """E σ(a·z) = E σ(‖a‖ z)."""
    make, sizes = RULES[name]
    directions = np.array([[0.3, 0.1], [1.0, 2.0], [4.0, -1.0], [3.0, 3.0]])
    exact = logistic_normal(np.full(4, 0.8), np.linalg.norm(directions, axis=1))
    for n in sizes[:4]:
        found = make(2, n).integrate(lambda z: expit(0.8 + z @ directions.T))
        assert (np.abs(found.value - exact) <= found.error).all()


def test_the_error_estimate_of_a_resolved_function_is_small():
    for make, n in ((quadrature.gauss_hermite, 80), (quadrature.trapezoid, 97)):
        assert make(1, n).integrate(lambda z: expit(1 + 0.5 * z)).error < 1e-11


def test_draws_have_the_standard_error_of_their_mean():
    """Eq. (replicates)."""
    z = np.random.default_rng(0).normal(size=(17, 2))
    found = quadrature.draws(z).integrate(lambda z: z[:, 0] * z[:, 1])
    values = z[:, 0] * z[:, 1]
    agree(found.value, sum(values) / 17, terms=17)
    agree(found.error**2, sum((v - sum(values) / 17) ** 2 for v in values) / 16 / 17, terms=17)


@pytest.mark.parametrize("make", [
    pytest.param(lambda rng: quadrature.draws(rng.standard_normal((128, 2))), id="draws"),
    pytest.param(lambda rng: quadrature.sobol(2, 64, 8, rng), id="sobol"),
])
def test_replicated_rules_are_unbiased_and_their_standard_error_covers_as_often_as_it_says(make):
    exact = logistic_normal(np.array([1.0]), np.array([np.sqrt(5.0)]))[0]
    rng = np.random.default_rng(1)
    runs = [(found.value, found.error, rule.points.shape[0])
            for rule, found in ((rule, rule.integrate(smooth)) for rule in (make(rng) for _ in range(150)))]
    values, errors, counts = (np.array(column) for column in zip(*runs))
    mean_agrees(values, exact, smallest_effect=0.1)
    covered = (np.abs(values - exact) <= stdtrit(counts - 1, 0.75) * errors).mean()  # half of them if normal
    assert abs(covered - 0.5) < 4.9 * np.sqrt(0.25 / 150)  # false alarms: 1e-6


def test_the_same_seed_gives_the_same_points_and_another_seed_others():
    one, two, three = (quadrature.sobol(2, 8, 3, np.random.default_rng(seed)).points for seed in (0, 0, 1))
    assert np.array_equal(one, two) and not np.array_equal(one, three)
    assert len({tuple(replicate.ravel()) for replicate in one}) == 3  # replicates differ


def test_sobol_points_are_balanced_normals():
    """Of 2ᵐ scrambled points each coordinate has exactly one in every interval of probability 2⁻ᵐ."""
    points = quadrature.sobol(3, 64, 2, np.random.default_rng(3)).points
    cells = np.floor(64 * ndtr(points)).astype(int)
    assert np.isfinite(points).all()
    assert (np.sort(cells, axis=1) == np.arange(64)[None, :, None]).all()


# -- doors ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call, message", [
    (lambda: quadrature.gauss_hermite(0, 5), "dim: expected an integer >= 1, got 0"),
    (lambda: quadrature.gauss_hermite(1, 3), "num_points: expected an integer >= 4, got 3"),
    (lambda: quadrature.gauss_hermite(8, 20), "at most 2097152 points.*sobol"),
    (lambda: quadrature.trapezoid(1, 18), "num_points: expected an odd number, got 18"),
    (lambda: quadrature.trapezoid(1, 5), "num_points: expected an integer >= 13, got 5"),
    (lambda: quadrature.trapezoid(5, 41), "at most 2097152 points"),
    (lambda: quadrature.sobol(2, 100, 4, np.random.default_rng(0)), "expected a power of two.* got 100"),
    (lambda: quadrature.sobol(2, 64, 1, np.random.default_rng(0)), "num_replicates: expected an integer >= 2, got 1"),
    (lambda: quadrature.draws(np.ones((1, 2))), "at least two replicates"),
    (lambda: quadrature.sobol(2, 8, 3, None), "rng: expected an object with standard_normal"),
    (lambda: quadrature.draws(np.ones(5)), r"normals: expected shape \(t, d\), got \(5,\)"),
    (lambda: quadrature.draws(np.full((5, 1), np.nan)), "normals: expected finite numbers, got 5"),
    (lambda: Rule(np.ones((3, 1)), np.ones(2), np.ones((1, 3))), r"weights: expected shape \(3,\), got \(2,\)"),
    (lambda: Rule(np.ones((3, 1)), np.ones(3), np.ones((0, 3))), "coarser: expected at least one coarser rule"),
    (lambda: Replicated(np.ones((3, 0, 2))), r"points: expected .* got shape \(3, 0, 2\)"),
    (lambda: quadrature.gauss_hermite(1, 5).integrate(lambda z: z[:2]), "g: expected one value for each of"),
    (lambda: quadrature.gauss_hermite(1, 5).integrate(lambda z: z / 0), "g: expected finite values"),
])
def test_bad_input_is_refused(call, message):
    with np.errstate(all="ignore"), pytest.raises(ValueError, match=message):
        call()


# -- what lies between the points -------------------------------------------------------------------------------------------

FINEST = np.linspace(-60, 60, 6001)
BUMPS = {"noise": lambda f: expit(f) * expit(-f), "entropy": lambda f: -xlogy(expit(f), expit(f)) - xlogy(expit(-f), expit(-f))}
EVERY_RULE = [make(1, n) for make, sizes in ((quadrature.gauss_hermite, (4, 8, 13, 20, 40)), (quadrature.trapezoid, (13, 25, 51)))
              for n in sizes]


def worst_of_steps(rule, std):
    """The largest error over its estimate of E σ(m + sz), for means up to ten standard deviations away."""
    mean = std * np.linspace(-10, 10, 41)
    found = rule.integrate(lambda z: expit(mean + std * z))
    return (np.abs(found.value - logistic_normal(mean, np.full(41, std))) / (found.error + 1e-13)).max()


def worst_of_bumps(rule, std):
    """The largest error over its estimate, for both bumps and means up to four standard deviations away."""
    worst = 0.0
    for bump in BUMPS.values():
        for mean in std * np.linspace(0, 4, 41):
            found = rule.integrate(lambda z: bump(mean + std * z[:, 0]))
            density = np.exp(-0.5 * ((FINEST - mean) / std) ** 2) / (std * np.sqrt(2 * np.pi))
            exact = (bump(FINEST) * density).sum() * (FINEST[1] - FINEST[0])
            worst = max(worst, abs(found.value - exact) / (found.error + 1e-13))
    return worst


def test_what_the_points_resolve_has_an_honest_error_estimate():
    """Every rule at the widest Gaussian that it is allowed and a little beyond: noise and entropy of a label.

    Eq. (quadrature-error).
    """
    for rule in EVERY_RULE:
        std = quadrature.BUMP / rule.gap
        quadrature.expect_resolved(rule, 0.999 * std)
        assert worst_of_bumps(rule, std) < 1 and worst_of_bumps(rule, 1.15 * std) < 1
        assert worst_of_steps(rule, std) < 1 and worst_of_steps(rule, 0.3 * std) < 1


@pytest.mark.parametrize("dim, level", [(1, 4), (1, 6), (2, 3), (2, 4), (2, 6), (2, 9), (3, 3), (3, 5), (3, 8), (5, 4), (5, 6)])
def test_what_a_sparse_rule_resolves_has_an_honest_error_estimate(dim, level):
    """E σ(m + a·z) with every |a_i| as large as is allowed, signs and smaller entries at random."""
    rule, rng = quadrature.smolyak(dim, level), np.random.default_rng(3)
    reach = 0.999 * quadrature.BUMP / rule.gap
    a = reach * np.concatenate([np.ones((1, dim)), rng.choice([-1.0, 1.0], (5, dim)), rng.uniform(-1, 1, (11, dim))])
    std = np.linalg.norm(a, axis=1)
    quadrature.expect_resolved(rule, reach)
    for far in np.linspace(-6, 0, 7):
        found = rule.integrate(lambda z: expit(far * std + z @ a.T))
        assert (np.abs(found.value - logistic_normal(far * std, std)) <= found.error + 1e-13).all()


def test_a_sparse_rule_that_steep_functions_fool_is_refused():
    """Three levels see the same far from their points, and the estimate says nothing; so expect_resolved says it."""
    rule, a = quadrature.smolyak(2, 4), np.array([8.0, 8.0])
    found = rule.integrate(lambda z: expit(-40 + z @ a))
    assert abs(found.value - logistic_normal(np.array([-40.0]), np.array([8 * np.sqrt(2)]))[0]) > 100 * found.error
    with pytest.raises(ValueError, match="rule: expected points at most"):
        quadrature.expect_resolved(rule, 8.0)


def test_what_lies_between_the_points_is_refused_because_no_estimate_sees_it():
    """At five times the width some estimates are wrong by orders of magnitude; a rule as the message asks for is right."""
    blind = 0.0
    for rule in EVERY_RULE:
        std = 5 * quadrature.BUMP / rule.gap
        blind = max(blind, worst_of_bumps(rule, std))
        with pytest.raises(ValueError, match="rule: expected points at most") as error:
            quadrature.expect_resolved(rule, std)
        enough = quadrature.trapezoid(1, int(re.search(r"trapezoid with (\d+) points", str(error.value)).group(1)))
        quadrature.expect_resolved(enough, std)
        assert worst_of_bumps(enough, std) < 1
    assert blind > 100


def test_the_gap_is_the_largest_between_points_that_carry_weight():
    assert quadrature.trapezoid(2, 13).gap == pytest.approx(2 * np.sqrt(12 * np.pi) / 12, rel=1e-8)
    points = np.polynomial.hermite_e.hermegauss(7)[0]
    assert quadrature.gauss_hermite(2, 7).gap == pytest.approx(np.diff(points).max(), rel=1e-8)
    assert quadrature.draws(np.ones((3, 2))).gap == 0


# -- planted faults ---------------------------------------------------------------------------------------------------------


def only(row):
    """Plant: the error estimate looks at one coarser rule alone, and trusts its difference without a margin."""
    def integrate(self, g):
        values = g(self.points)
        value = np.tensordot(self.weights, values, 1)
        return quadrature.Integral(value, np.abs(np.tensordot(self.coarser[row], values, 1) - value))

    return instead(Rule, "integrate", integrate)


def without_root(self, g):
    """Plant: the spread of the replicates for the standard error of their mean."""
    estimates = g(self.points.reshape(-1, self.dim)).reshape(*self.points.shape[:2]).mean(1)
    return quadrature.Integral(estimates.mean(), estimates.std(ddof=1))


@pytest.mark.parametrize("plant, law", [
    (only(0), lambda: honest(*RULES["gauss_hermite"])),
    (only(2), lambda: honest(*RULES["gauss_hermite"])),
    (only(0), lambda: honest(*RULES["trapezoid"])),
    (lambda patch: patch.setattr(quadrature, "_SAFETY", 2.0), test_what_the_points_resolve_has_an_honest_error_estimate),
    (lambda patch: patch.setattr(quadrature, "BUMP", 20.0), test_what_the_points_resolve_has_an_honest_error_estimate),
    (instead(Rule, "gap", 0.3), test_the_gap_is_the_largest_between_points_that_carry_weight),
    (instead(quadrature, "_END", 4.0), test_the_error_estimate_of_a_resolved_function_is_small),
    (instead(quadrature, "_hermite", np.polynomial.hermite.hermgauss),
     lambda: test_gauss_hermite_is_exact_for_polynomials_up_to_twice_its_points_less_one(5)),
    (instead(Replicated, "integrate", without_root), test_draws_have_the_standard_error_of_their_mean),
    (instead(Replicated, "integrate", without_root),
     lambda: test_replicated_rules_are_unbiased_and_their_standard_error_covers_as_often_as_it_says(
         lambda rng: quadrature.sobol(2, 64, 8, rng))),
], ids=["n − 1 alone", "n/2 alone", "every second alone", "factor 2 for 4", "too wide a gap", "another gap",
        "cut at 4", "physicists' weight", "no √r", "no √r, sobol"])
def test_a_planted_fault_is_caught(plant, law, monkeypatch):
    law()
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        law()


def test_coarser_rules_of_gauss_hermite_have_fewer_points_each():
    """n, n − 1, 2n/3 and n/2 points a dimension: each weighs only its own."""
    rule = quadrature.gauss_hermite(1, 9)
    assert [int((row != 0).sum()) for row in (rule.weights, *rule.coarser)] == [9, 8, 6, 4]
