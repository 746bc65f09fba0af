"""Likelihoods: derivatives, Bartlett identities, canonical forms, saturation, samplers (identities B1 to B10, B25)."""

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st

from refbnn import likelihoods
from tests import oracles
from tests.judge import agree, mean_agrees, norm_or_one, smallest_eigenvalue_is_not_negative
from tests.zoo import CANONICAL, FACTORISED, LIKELIHOODS

VARIANCE = 0.37
outputs = st.tuples(
    st.sampled_from(tuple(LIKELIHOODS)), st.integers(1, 4), st.integers(1, 4), st.integers(0, 2**16), st.floats(0.1, 3.0)
)


def draw(name, n, k, seed, spread=1.0):
    """A likelihood with outputs f (n k) of the given spread and targets y; Categorical has at least two outputs."""
    rng = np.random.default_rng([seed, n, k])
    likelihood, targets = LIKELIHOODS[name]
    k = max(k, 2) if name == "categorical" else k
    return likelihood, spread * rng.normal(size=(n, k)), targets(rng, n, k), rng


# -- derivatives of the log density -----------------------------------------------------------------------------------------


@given(outputs)
def test_the_log_density_equals_the_formula_with_every_constant(drawn):
    likelihood, f, y, _ = draw(*drawn)
    expected = oracles.log_prob(drawn[0], f, y)
    agree(likelihood.log_prob(f, y), expected, terms=20, scale=np.abs(expected).max() + np.abs(f).max())


def slopes_bends_and_third_derivatives_match(drawn):
    """r, Λ, T along random directions against derivatives of ℓ(f + t u) at t = 0 by Cauchy's integral, from ℓ alone."""
    likelihood, f, y, rng = draw(*drawn)
    r, bend, third = likelihood.residual(f, y), likelihood.curvature(f, y), likelihood.third(f, y)
    for _ in range(1 + f.shape[1]):
        u = rng.normal(size=f.shape)
        u /= np.linalg.norm(u, axis=-1, keepdims=True)
        along = np.array([
            np.einsum("nk,nk->n", r, u),
            np.einsum("nab,na,nb->n", bend, u, u),
            np.einsum("nabc,na,nb,nc->n", third, u, u, u),
        ])
        exact = oracles.cauchy_derivatives(lambda t: -oracles.log_prob(drawn[0], f + t * u, y), 3, radius=0.5)
        circle = f + 0.5 * u * np.exp(2j * np.pi * np.arange(8) / 8)[:, None, None]
        size = np.abs(oracles.log_prob(drawn[0], circle, y)).max() + (1 + np.abs(y).max()) * (1 + np.abs(f).max())
        for m in (1, 2, 3):
            agree(along[m - 1], exact[m], terms=64, condition=math.factorial(m) / 0.5**m, scale=size)


@given(outputs)
def test_residual_curvature_and_third_are_the_derivatives_of_the_loss(drawn):
    """Eqs. (normal), (bernoulli), (categorical) and (poisson)."""
    slopes_bends_and_third_derivatives_match(drawn)


@given(outputs)
def test_curvature_and_third_are_totally_symmetric(drawn):
    likelihood, f, y, _ = draw(*drawn)
    bend, T = likelihood.curvature(f, y), likelihood.third(f, y)
    agree(bend, np.swapaxes(bend, -1, -2), terms=4, scale=norm_or_one(bend))
    for axes in ((0, 2, 1, 3), (0, 1, 3, 2), (0, 3, 2, 1)):
        agree(T, T.transpose(axes), terms=10, scale=norm_or_one(bend))


@given(outputs)
def test_the_factor_is_a_root_of_the_curvature(drawn):
    """Eq. (categorical-root)."""
    likelihood, f, y, _ = draw(*drawn)
    S, bend = likelihood.factor(f, y), likelihood.curvature(f, y)
    agree(S @ np.swapaxes(S, -1, -2), bend, terms=10)
    for matrix in bend:
        smallest_eigenvalue_is_not_negative(matrix, terms=10)


@given(outputs)
def test_batched_likelihood_calls_equal_loops_over_single_ones(drawn):
    likelihood, f, y, rng = draw(*drawn)
    fs = rng.normal(size=(2, 3, *f.shape))
    for name in ("log_prob", "residual", "curvature", "factor", "third"):
        together = getattr(likelihood, name)(fs, y)
        looped = np.array([[getattr(likelihood, name)(fs[i, j], y) for j in range(3)] for i in range(2)])
        agree(together, looped, terms=10, scale=norm_or_one(looped))
    for name in ("fisher", "mean", "covariance"):
        together = getattr(likelihood, name)(fs)
        looped = np.array([[getattr(likelihood, name)(fs[i, j]) for j in range(3)] for i in range(2)])
        agree(together, looped, terms=10, scale=norm_or_one(looped))


# -- expectations over y ----------------------------------------------------------------------------------------------------

small = st.tuples(st.sampled_from(tuple(LIKELIHOODS)), st.just(1), st.integers(1, 2), st.integers(0, 2**16))
small_canonical = st.tuples(st.sampled_from(CANONICAL), st.just(1), st.integers(1, 2), st.integers(0, 2**16))


def at_every_target(drawn):
    """For one output vector: every y of its support with its probability, and r, Λ, T there."""
    likelihood, f, _, _ = draw(*drawn)
    ys, weights = oracles.support(drawn[0], f[0])
    fs = np.broadcast_to(f[0], (len(weights), f.shape[1]))
    return likelihood, fs, ys, weights


@given(small)
def test_the_density_integrates_to_one(drawn):
    likelihood, fs, ys, weights = at_every_target(drawn)
    cell = weights / np.exp(oracles.log_prob(drawn[0], fs, ys))  # 1, or the size of a quadrature cell
    agree(np.exp(likelihood.log_prob(fs, ys)) @ cell, 1.0, terms=len(weights))


@given(small)
def test_the_expected_residual_is_zero(drawn):
    """Eq. (bartlett-1)."""
    likelihood, fs, ys, weights = at_every_target(drawn)
    r = likelihood.residual(fs, ys)
    agree(weights @ r, np.zeros(fs.shape[1]), terms=len(weights), scale=np.sqrt(weights @ (r**2).sum(-1)))


@given(small)
def test_the_fisher_matrix_is_both_the_expected_square_of_the_residual_and_the_expected_curvature(drawn):
    """Eq. (bartlett-2)."""
    likelihood, fs, ys, weights = at_every_target(drawn)
    r = likelihood.residual(fs, ys)
    F = likelihood.fisher(fs)[0]
    agree(np.einsum("y,ya,yb->ab", weights, r, r), F, terms=len(weights))
    agree(np.einsum("y,yab->ab", weights, likelihood.curvature(fs, ys)), F, terms=len(weights))


@given(small)
def test_third_derivatives_obey_the_third_bartlett_identity(drawn):
    """E[T_abc] = E[Λ_ab r_c] + E[Λ_bc r_a] + E[Λ_ca r_b] − E[r_a r_b r_c]. Eq. (bartlett-3)."""
    likelihood, fs, ys, weights = at_every_target(drawn)
    r, bend, T = likelihood.residual(fs, ys), likelihood.curvature(fs, ys), likelihood.third(fs, ys)
    mixed = sum(np.einsum(f"y,{i},{j}->abc", weights, bend, r) for i, j in (("yab", "yc"), ("ybc", "ya"), ("yca", "yb")))
    cubes = np.einsum("y,ya,yb,yc->abc", weights, r, r, r)
    scale = weights @ np.linalg.norm(r, axis=-1) ** 3
    agree(np.einsum("y,yabc->abc", weights, T), mixed - cubes, terms=len(weights), scale=scale)


@given(small)
def test_mean_and_covariance_are_those_of_the_targets(drawn):
    likelihood, fs, ys, weights = at_every_target(drawn)
    coded = np.eye(fs.shape[1])[ys] if drawn[0] == "categorical" else ys
    mean = weights @ coded
    agree(likelihood.mean(fs)[0], mean, terms=len(weights), scale=weights @ np.linalg.norm(coded, axis=-1))
    centred = coded - mean
    agree(likelihood.covariance(fs)[0], np.einsum("y,ya,yb->ab", weights, centred, centred), terms=len(weights))


@given(st.tuples(st.sampled_from(CANONICAL), st.integers(1, 4), st.integers(1, 4), st.integers(0, 2**16), st.floats(0.1, 3.0)))
def test_canonical_likelihoods_have_curvature_free_of_the_targets_equal_to_the_fisher_matrix(drawn):
    likelihood, f, y, rng = draw(*drawn)
    other = LIKELIHOODS[drawn[0]][1](rng, *f.shape)
    assert np.array_equal(likelihood.curvature(f, y), likelihood.curvature(f, other))
    assert np.array_equal(likelihood.third(f, y), likelihood.third(f, other))
    agree(likelihood.curvature(f, y), likelihood.fisher(f), terms=10)


@given(small_canonical)
def test_canonical_cumulants_are_derivatives_curvature_scales_variance_and_third_scales_the_third_cumulant(drawn):
    """With natural parameter f (f/σ² for the normal): Λ = Cov(t), T = κ₃(t), t the sufficient statistic.

    Eq. (exponential-family).
    """
    likelihood, fs, ys, weights = at_every_target(drawn)
    coded = np.eye(fs.shape[1])[ys] if drawn[0] == "categorical" else ys
    statistic = coded / VARIANCE if drawn[0] == "normal" else coded
    centred = statistic - weights @ statistic
    agree(likelihood.curvature(fs, ys)[0], np.einsum("y,ya,yb->ab", weights, centred, centred), terms=len(weights))
    cumulant = np.einsum("y,ya,yb,yc->abc", weights, centred, centred, centred)
    scale = weights @ np.linalg.norm(centred, axis=-1) ** 3
    agree(likelihood.third(fs, ys)[0], cumulant, terms=len(weights), scale=scale)


# -- categorical ------------------------------------------------------------------------------------------------------------

categorical = st.tuples(st.just("categorical"), st.integers(1, 4), st.integers(2, 5), st.integers(0, 2**16), st.floats(0.1, 3.0))


@given(categorical)
def test_the_categorical_curvature_is_singular_along_ones_and_has_rank_one_less_than_outputs(drawn):
    """Eqs. (softmax-null) and (softmax-pseudo-inverse)."""
    likelihood, f, y, _ = draw(*drawn)
    p = likelihood.mean(f)
    agree(p.sum(-1), np.ones(len(f)), terms=10)
    for matrix, probabilities in zip(likelihood.curvature(f, y), p):
        k = len(matrix)
        agree(matrix.sum(-1), np.zeros(k), terms=k, scale=np.linalg.norm(matrix))
        assert np.linalg.matrix_rank(matrix, tol=1e-3 * probabilities.min()) == k - 1
        centring = np.eye(k) - 1 / k
        inverse = centring @ np.diag(1 / probabilities) @ centring
        agree(matrix @ inverse, centring, terms=k * k, condition=1 / probabilities.min())


@given(categorical, st.floats(-30, 30))
def test_a_constant_added_to_all_outputs_changes_nothing(drawn, constant):
    """Eq. (softmax-null)."""
    likelihood, f, y, _ = draw(*drawn)
    condition = 1 + abs(constant)
    agree(likelihood.log_prob(f + constant, y), likelihood.log_prob(f, y), terms=10, condition=condition,
          scale=1 + np.abs(f).max())
    agree(likelihood.curvature(f + constant, y), likelihood.curvature(f, y), terms=10, condition=condition)


@given(st.integers(0, 2**16))
def test_two_classes_are_a_bernoulli_of_the_difference(seed):
    """Eq. (two-classes)."""
    rng = np.random.default_rng(seed)
    f, y = rng.normal(size=(5, 2)), rng.integers(0, 2, 5)
    g, t = f[:, 1:] - f[:, :1], y[:, None].astype(float)
    two, one = likelihoods.Categorical(), likelihoods.Bernoulli()
    agree(two.log_prob(f, y), one.log_prob(g, t), terms=10, condition=10)
    agree(two.residual(f, y), one.residual(g, t) * [-1, 1], terms=10, condition=10)
    agree(two.curvature(f, y), one.curvature(g, t) * [[1, -1], [-1, 1]], terms=10, condition=10)
    agree(two.mean(f)[:, 1:], one.mean(g), terms=10, condition=10)


# -- saturation -------------------------------------------------------------------------------------------------------------


def test_saturated_bernoulli_outputs_keep_all_digits():
    """Eq. (saturation)."""
    bernoulli, f, y = likelihoods.Bernoulli(), np.array([[40.0], [-40.0]]), np.array([[1.0], [0.0]])
    tiny = math.exp(-40)
    agree(bernoulli.log_prob(f, y), [-tiny, -tiny], terms=4)
    agree(bernoulli.residual(f, y), [[-tiny], [tiny]], terms=4)
    agree(bernoulli.curvature(f, y), [[[tiny]], [[tiny]]], terms=4)
    agree(bernoulli.third(f, y), [[[[-tiny]]], [[[tiny]]]], terms=4)


def test_saturated_categorical_outputs_keep_all_digits():
    """Eq. (saturation)."""
    categorical, f, y = likelihoods.Categorical(), np.array([[40.0, 0.0, -1.0]]), np.array([0])
    a, b = math.exp(-40), math.exp(-41)
    agree(categorical.log_prob(f, y), [-(a + b)], terms=4)
    agree(categorical.residual(f, y), [[-(a + b), a, b]], terms=4)
    expected = np.array([[[a + b, -a, -b], [-a, a, -a * b], [-b, -a * b, b]]])
    agree(categorical.curvature(f, y), expected, terms=4)
    assert abs(categorical.curvature(f, y)[0, 1, 2] / (-a * b) - 1) < 1e-13
    S = categorical.factor(f, y)[0]
    agree(S @ S.T, expected[0], terms=10)
    third = categorical.third(f, y)[0]
    assert abs(third[0, 0, 0] / -(a + b) - 1) < 1e-13 and abs(third[1, 1, 1] / a - 1) < 1e-13
    assert abs(third[0, 1, 1] / -a - 1) < 1e-13 and abs(third[1, 1, 2] / (-a * b) - 1) < 1e-13


@pytest.mark.parametrize("name", ["bernoulli", "categorical", "normal"])
def test_outputs_of_a_thousand_give_finite_values(name):
    likelihood = LIKELIHOODS[name][0]
    f = np.array([[1000.0, -1000.0], [-1000.0, 1000.0], [1000.0, 1000.0]])
    y = np.array([0, 0, 1]) if name == "categorical" else np.array([[1.0, 1.0], [0.0, 0.0], [1.0, 0.0]])
    for method in ("log_prob", "residual", "curvature", "factor", "third"):
        assert np.isfinite(getattr(likelihood, method)(f, y)).all(), method
    for method in ("mean", "covariance", "fisher"):
        assert np.isfinite(getattr(likelihood, method)(f)).all(), method


def test_a_very_wrong_label_costs_the_distance_between_outputs():
    agree(likelihoods.Categorical().log_prob(np.array([[1000.0, 0.0, -1000.0]]), np.array([2])), [-2000.0], terms=4)
    agree(likelihoods.Bernoulli().log_prob(np.array([[1000.0]]), np.array([[0.0]])), [-1000.0], terms=4)


# -- constructors and targets -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variance", [0.01, 1.0, 250.0])
def test_the_variance_of_the_normal_enters_every_formula(variance):
    normal, f, y = likelihoods.Normal(variance), np.array([[0.3, -1.0]]), np.array([[1.0, 2.0]])
    assert normal.variance == variance
    agree(normal.log_prob(f, y), oracles.log_prob("normal", f, y, variance), terms=10)
    agree(normal.residual(f, y), (f - y) / variance, terms=4)
    agree(normal.curvature(f, y), np.eye(2)[None] / variance, terms=4)
    agree(normal.fisher(f), np.eye(2)[None] / variance, terms=4)
    agree(normal.covariance(f), np.eye(2)[None] * variance, terms=4)
    agree(normal.factor(f, y), np.eye(2)[None] / math.sqrt(variance), terms=4)


@pytest.mark.parametrize("num_outputs", [2, 3])
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_check_targets_returns_good_targets_unchanged(name, num_outputs):
    likelihood, f, y, _ = draw(name, 5, num_outputs, seed=1)
    checked = likelihood.check_targets(y, 5, num_outputs)
    assert np.array_equal(checked, y) and checked.shape == y.shape
    assert np.array_equal(likelihood.check_targets(y.tolist(), 5, num_outputs), y)


# -- samplers ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_samples_have_the_mean_the_covariance_and_the_scores_of_the_density(name):
    """First and second moments of y and of r from 80 000 draws. False alarms 1e-6 each; errors of the stated size are seen."""
    likelihood = LIKELIHOODS[name][0]
    f = np.array([0.4, -0.9, 0.2])
    fs = np.broadcast_to(f, (80_000, 3))
    y = likelihood.sample(fs, np.random.default_rng(7))
    coded = np.eye(3)[y] if name == "categorical" else y
    mean_agrees(coded, likelihood.mean(f[None])[0], smallest_effect=0.06)
    centred = coded - likelihood.mean(f[None])[0]
    mean_agrees(np.einsum("sa,sb->sab", centred, centred), likelihood.covariance(f[None])[0],
                smallest_effect=0.2)
    r = likelihood.residual(fs, y)
    mean_agrees(r, np.zeros(3), smallest_effect=0.09)
    mean_agrees(np.einsum("sa,sb->sab", r, r), likelihood.fisher(f[None])[0], smallest_effect=0.3)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_samples_have_the_shape_and_type_of_targets(name):
    likelihood, f, _, rng = draw(name, 4, 3, seed=2)
    fs = np.stack([f, f])
    y = likelihood.sample(fs, rng)
    assert y.shape == ((2, 4) if name == "categorical" else (2, 4, 3))
    for drawn in y:
        likelihood.check_targets(drawn, 4, 3)


@pytest.mark.parametrize("name", FACTORISED)
def test_outputs_of_a_factorised_likelihood_are_sampled_independently(name):
    """Correlation of two outputs over 40 000 draws: sees covariances of 0.1, false alarms 1e-6."""
    likelihood, f = LIKELIHOODS[name][0], np.zeros((40_000, 2))
    y = likelihood.sample(f, np.random.default_rng(8)) - likelihood.mean(f)
    mean_agrees(y[:, 0] * y[:, 1], 0.0, smallest_effect=0.1)
