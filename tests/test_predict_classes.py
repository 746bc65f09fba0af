"""Class probabilities and entropies for Gaussian logits (identities L2 to L7, L10, L14, L18 to L22)."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy.special import digamma, expit, ndtr, owens_t, polygamma, softmax

from refbnn import likelihoods, quadrature
from refbnn.linalg import symmetric_root
from refbnn.predict import Moments, binary, bridge, classes, entropy, targets
from tests.judge import agree, mean_agrees, vanishes
from tests.test_rejects_faults import after, instead

FINE = quadrature.trapezoid(1, 401)
TWO = quadrature.gauss_hermite(2, 5)
L6 = Moments([[0.5, -0.3, -0.2]], np.diag([1.0, 0.5, 2.0])[None])


def logits(k, m=4, seed=0, width=1.0):
    """Gaussian logits with dense covariances."""
    rng = np.random.default_rng([seed, k, m])
    A = width * rng.normal(size=(m, k, k)) / np.sqrt(k)
    return Moments(rng.normal(size=(m, k)), A @ np.swapaxes(A, 1, 2))


def pairs(mean, variance):
    """Moments of outputs without covariance between them, (m k) each."""
    variance = np.asarray(variance, float)
    return Moments(mean, variance[:, :, None] * np.eye(variance.shape[1]))


def within(integral, expected, others=0.0, standard_errors=1):
    """Assert that a value is at `expected` up to its own error estimate and `others`."""
    error = np.abs(integral.value - expected)
    assert (error <= standard_errors * integral.error + others).all(), f"error {error}, estimate {integral.error}"


GRID = [grid.reshape(-1, 1) for grid in np.meshgrid(np.linspace(-8, 8, 81), np.geomspace(1e-4, 900, 60))]  # mean, variance

# -- binary -----------------------------------------------------------------------------------------------------------------


def test_the_exact_binary_probability_is_the_integral_over_the_logistic_distribution():
    """E σ(f) = P(f > l) = ∫ Φ((m − l)/s) σ′(l) dl for a logistic l: another integrand, another variable.

    Eq. (logistic-normal).
    """
    moments = pairs([[0.3, -2.0, 1.0]], [[1.0, 4.0, 25.0]])
    l = np.linspace(-45, 45, 9001)  # noqa: E741
    density = expit(l) * expit(-l) / (expit(l) * expit(-l)).sum()
    expected = [[density @ ndtr((m - l) / np.sqrt(v)) for m, v in zip([0.3, -2.0, 1.0], [1.0, 4.0, 25.0])]]
    for rule in (FINE, quadrature.gauss_hermite(1, 60), quadrature.gauss_hermite(1, 120)):
        within(binary.probabilities(moments, rule), expected)
    assert binary.probabilities(moments, FINE).error.max() < 1e-12
    within(binary.probabilities(moments, quadrature.sobol(1, 256, 16, np.random.default_rng(0))), expected, standard_errors=6)
    within(binary.probabilities(moments, quadrature.draws(np.random.default_rng(0).normal(size=(500, 1)))), expected,
           standard_errors=5)


def test_the_probit_integral_is_exact():
    """Identity L2: E Φ(f) = Φ(m/√(1 + v)), by quadrature of Φ instead of the closed form, Eq. (probit-integral)."""
    m, v = GRID[0][GRID[1] < 30], GRID[1][GRID[1] < 30]
    found = FINE.integrate(lambda z: ndtr(m + np.sqrt(v) * z))
    exact = binary.bernoulli_probit(pairs(m[:, None], v[:, None]))[:, 0]
    within(found, exact, others=1e-14)  # of ndtr itself far out
    assert found.error.max() < 1e-9


def probit_is_within_its_published_error():
    moments = pairs(*GRID)
    exact = binary.probabilities(moments, quadrature.trapezoid(1, 3001))
    return np.abs(binary.probit(moments) - exact.value)


def test_the_probit_approximation_errs_by_less_than_its_supremum():
    """Identity L3: sup over all (m, v) is sup |Φ(x) − σ(√(8/π) x)| = 0.01767; 0.01504 on |m| <= 8, s <= 30."""
    x = np.linspace(0, 5, 50001)
    supremum = np.abs(ndtr(x) - expit(np.sqrt(8 / np.pi) * x)).max()
    assert abs(supremum - 0.01767) < 5e-6
    error = probit_is_within_its_published_error()
    assert 0.014 < error.max() < 0.01505 < supremum


def test_the_probit_approximation_attains_its_supremum_for_wide_gaussians():
    """As s → ∞ with m/s = x fixed, E σ(f) → Φ(x) and the approximation → σ(√(8/π) x), Eq. (probit-supremum)."""
    x = np.linspace(0.1, 3, 30)[:, None]
    moments = pairs(1e6 * x, np.full_like(x, 1e12))
    agree(binary.probit(moments), expit(np.sqrt(8 / np.pi) * x), terms=4, condition=1e4)


def test_the_binary_formulas_are_exact_where_they_must_be():
    """Identities L4, L18: one half at m = 0, the plug-in at v = 0, p(−m) = 1 − p(m), increasing in m, to one half as v → ∞."""
    for predict in (binary.probit, binary.bernoulli_probit, lambda moments: binary.probabilities(moments, FINE).value):
        agree(predict(pairs([[0.0, 0.0]], [[0.3, 90.0]])), [[0.5, 0.5]], terms=400)
        m, v = np.array([[0.7, 2.0, 3.0]]), np.array([[0.5, 0.5, 0.5]])
        agree(predict(pairs(-m, v)), 1 - predict(pairs(m, v)), terms=400)
        assert (np.diff(predict(pairs(m, v))) > 0).all()
        assert abs(predict(pairs([[1.0]], [[8e3]])) - 0.5).item() < 1e-2
    agree(binary.probit(pairs(m, 0 * v)), expit(m), terms=4)
    agree(binary.probabilities(pairs(m, 0 * v), FINE).value, expit(m), terms=400)
    agree(binary.bernoulli_probit(pairs(m, 0 * v)), ndtr(m), terms=4)


def test_the_slope_of_the_probit_approximation_is_matched_at_zero():
    """κ makes d/dm equal at m = 0 for Φ(λ m/√(1 + λ² v)) and σ(m/√(1 + π v/8)): λ φ(0) = 1/4, that is λ² = π/8.

    Eq. (probit-approximation).
    """
    agree(np.sqrt(binary.SLOPE) / np.sqrt(2 * np.pi), 0.25, terms=4)


def test_outputs_are_separate_targets():
    moments = logits(3)
    alone = np.concatenate([binary.probit(Moments(moments.mean[:, [i]], moments.covariance[:, [i]][:, :, [i]]))
                            for i in range(3)], axis=1)
    agree(binary.probit(moments), alone, terms=4)


# -- classes, exactly -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [2, 3, 5, 8])
def test_contrasts_are_an_orthonormal_basis_of_what_softmax_sees(k):
    """Eq. (contrasts)."""
    B = classes.contrasts(k)
    agree(B.T @ B, np.eye(k - 1), terms=k)
    agree(B @ B.T, np.eye(k) - 1 / k, terms=k)
    vanishes(B.sum(0), scale=1.0, terms=k)


def test_exact_class_probabilities_are_the_integral_over_all_outputs():
    """Over k = 3 outputs with the Cholesky factor, instead of over two contrasts with a symmetric root.

    Eq. (softmax-normal).
    """
    moments, rule = logits(3), quadrature.gauss_hermite(3, 24)
    integral = classes.probabilities(moments, quadrature.trapezoid(2, 61))
    for mean, S, found, error in zip(moments.mean, moments.covariance, integral.value, integral.error):
        other = rule.integrate(lambda z: softmax(mean + z @ np.linalg.cholesky(S).T, axis=-1))
        within(other, found, others=error)
        assert error.max() < 1e-3 and other.error.max() < 1e-3


def test_two_classes_are_one_binary_target():
    moments = logits(2, m=6, width=2.0)
    S = moments.covariance
    difference = Moments(moments.mean[:, :1] - moments.mean[:, 1:], (S[:, 0, 0] + S[:, 1, 1] - 2 * S[:, 0, 1])[:, None, None])
    for rule in (FINE, quadrature.gauss_hermite(1, 40)):
        agree(classes.probabilities(moments, rule).value[:, 0], binary.probabilities(difference, rule).value[:, 0], terms=400)
    agree(classes.mean_field_2(moments)[:, 0], binary.probit(difference)[:, 0], terms=10)


RULES = {
    "gauss_hermite": quadrature.gauss_hermite(2, 40), "trapezoid": quadrature.trapezoid(2, 31),
    "sobol": quadrature.sobol(2, 128, 8, np.random.default_rng(0)),
    "draws": quadrature.draws(np.random.default_rng(1).normal(size=(300, 2))),
}
APPROXIMATIONS = {
    "probit": classes.probit, "mf0": classes.mean_field_0, "mf1": classes.mean_field_1, "mf2": classes.mean_field_2,
    "bridge": lambda moments: bridge.probabilities(bridge.dirichlet(classes.zero_sum(moments))),
    "published bridge": lambda moments: bridge.probabilities(bridge.dirichlet(classes.conditioned(moments))),
    **{name: (lambda moments, rule=rule: classes.probabilities(moments, rule).value) for name, rule in RULES.items()},
}
SEES_CONTRASTS_ONLY = ("mf2", "bridge", *RULES)


@pytest.mark.parametrize("name", APPROXIMATIONS)
@given(seed=st.integers(0, 2**16))
def test_class_probabilities_are_probabilities(name, seed):
    """Identity L13."""
    p = APPROXIMATIONS[name](logits(3, seed=seed))  # wider ones no rule of these resolves for every seed
    assert (p > 0).all()
    agree(p.sum(-1), np.ones(4), terms=100)


@pytest.mark.parametrize("name", APPROXIMATIONS)
def test_a_shift_of_all_logits_changes_nothing_except_in_two_formulas(name):
    """Identity L19. The extended probit shrinks each logit by its own factor, and with it the constant.

    The published bridge takes S1 (1ᵀm)/(1ᵀS1) from the mean, whose contrasts the constant moves.
    """
    moments, approximate = logits(3), APPROXIMATIONS[name]
    shifted = Moments(moments.mean + 7, moments.covariance)
    if name == "published bridge":
        assert np.abs(approximate(shifted) - approximate(moments)).max() > 0.1
        return
    if name == "probit":
        assert np.abs(approximate(shifted) - approximate(moments)).max() > 0.1
        shifted, moments = classes.zero_sum(shifted), classes.zero_sum(moments)
    agree(approximate(shifted), approximate(moments), terms=100, condition=10)


def gauge(moments, seed=0):
    """The same contrasts with more variance along 1: S + a 1ᵀ + 1 aᵀ + c 11ᵀ."""
    a = np.random.default_rng(seed).normal(size=(len(moments.mean), moments.num_outputs, 1))
    ones = np.ones((1, 1, moments.num_outputs))
    return Moments(moments.mean, moments.covariance + a @ ones + np.swapaxes(a @ ones, 1, 2) + 9.0)


@pytest.mark.parametrize("name", APPROXIMATIONS)
def test_a_random_shift_of_all_logits_changes_nothing_where_only_contrasts_count(name):
    """Identity L20; the others see it, and stop seeing it after `zero_sum`."""
    moments, approximate = logits(3), APPROXIMATIONS[name]
    if name in SEES_CONTRASTS_ONLY:
        agree(approximate(gauge(moments)), approximate(moments), terms=100, condition=100)
    else:
        assert np.abs(approximate(gauge(moments)) - approximate(moments)).max() > 1e-2
    if name == "published bridge":  # no law is left to condition
        with pytest.raises(ValueError, match="expected outputs whose sum varies"):
            approximate(classes.zero_sum(moments))
        return
    agree(approximate(classes.zero_sum(gauge(moments))), approximate(classes.zero_sum(moments)), terms=100, condition=100)


def test_zero_sum_is_the_law_of_the_centred_logits_and_conditioning_is_another():
    """Draws f − mean(f) have the moments of `zero_sum`; `conditioned` keeps E softmax only if S1 ∝ 1, Eq. (zero-sum)."""
    moments, Pi = logits(3), np.eye(3) - 1 / 3
    centred = classes.zero_sum(moments)
    agree(centred.mean, moments.mean @ Pi, terms=10)
    agree(centred.covariance, Pi @ moments.covariance @ Pi, terms=10)
    rule = quadrature.trapezoid(2, 61)
    exact, kept, changed = (classes.probabilities(m, rule).value for m in (moments, centred, classes.conditioned(moments)))
    agree(kept, exact, terms=1000)
    assert np.abs(changed - exact).max() > 0.02
    exchangeable = Moments(moments.mean, np.broadcast_to(2 * np.eye(3) + 0.5, (4, 3, 3)))  # S1 ∝ 1
    agree(classes.conditioned(exchangeable).covariance, classes.zero_sum(exchangeable).covariance, terms=10)
    agree(classes.conditioned(exchangeable).mean, classes.zero_sum(exchangeable).mean, terms=10)


def test_conditioning_is_the_law_given_that_the_sum_is_zero():
    """Schur complement in the coordinates (f, 1ᵀf), Eq. (conditioned)."""
    moments = logits(3)
    found = classes.conditioned(moments)
    for n in range(4):
        m, S = moments.mean[n], moments.covariance[n]
        A = np.vstack([np.eye(3), np.ones(3)])
        joint = A @ S @ A.T
        agree(found.mean[n], m - joint[:3, 3] / joint[3, 3] * m.sum(), terms=20, condition=10)
        agree(found.covariance[n], joint[:3, :3] - np.outer(joint[:3, 3], joint[3, :3]) / joint[3, 3], terms=20, condition=10)


@pytest.mark.parametrize("rule", [
    *[quadrature.smolyak(2, level) for level in (3, 4, 6, 8)], *[quadrature.gauss_hermite(2, n) for n in (4, 8, 13)],
    quadrature.trapezoid(2, 13), quadrature.trapezoid(2, 25),
])
def test_class_probabilities_that_are_not_refused_have_an_honest_error_estimate(rule):
    """Logits as wide as the rule is allowed, with means up to five standard deviations away. Eq. (quadrature-error)."""
    rng, fine, B = np.random.default_rng(5), quadrature.trapezoid(2, 121), classes.contrasts(3)
    for far in (0.0, 1.0, 2.5, 5.0):
        A = rng.normal(size=(3, 3, 3))
        S = A @ np.swapaxes(A, 1, 2)
        reach = np.array([np.ptp(symmetric_root("S", B.T @ one @ B) @ B.T, axis=-1).max() for one in S])
        std = 0.999 * quadrature.BUMP / (rule.gap * reach[:, None])
        moments = Moments(far * std * rng.normal(size=(3, 3)), S * (std**2)[:, :, None])
        exact = classes.probabilities(moments, fine)
        within(classes.probabilities(moments, rule), exact.value, others=exact.error + 1e-13)
        with pytest.raises(ValueError, match="rule: expected points at most"):
            classes.probabilities(Moments(moments.mean, 1.01 * moments.covariance), rule)


def test_a_singular_covariance_is_no_obstacle():
    """Rank one over three classes: a one-dimensional integral."""
    direction, mean = np.array([1.0, -2.0, 0.5]), np.array([0.2, 0.0, -0.4])
    moments = Moments(mean[None], np.outer(direction, direction)[None])
    expected = FINE.integrate(lambda z: softmax(mean + z * direction, axis=-1))
    within(classes.probabilities(moments, quadrature.gauss_hermite(2, 40)), expected.value)


@pytest.mark.parametrize("name", [name for name in APPROXIMATIONS if "bridge" not in name])
def test_as_the_covariance_vanishes_every_prediction_becomes_the_plug_in(name):
    """Identity L18, at the first order in the covariance: the error is O(ε²)."""
    moments, plug_in = logits(3), softmax(logits(3).mean, axis=-1)

    def error(scale):
        return np.abs(APPROXIMATIONS[name](Moments(moments.mean, scale * moments.covariance)) - plug_in).max()

    vanishes(error(0.0), scale=1.0, terms=100)
    if name != "draws" and name != "sobol":  # their error is first order in the standard deviation
        assert 3 < error(1e-3) / error(1e-3 / 4) < 5


def bridge_error(scale):
    """|bridge − plug-in| as the covariance shrinks."""
    moments = classes.zero_sum(logits(3))
    p = bridge.probabilities(bridge.dirichlet(Moments(moments.mean, scale * moments.covariance)))
    return np.abs(p - softmax(moments.mean, axis=-1)).max()


def test_the_bridge_does_not_become_the_plug_in_as_the_covariance_vanishes():
    """It depends on the ratios of the variances only: a scale of S cancels in α/Σα, Eq. (bridge-scale)."""
    agree(bridge_error(1e-6), bridge_error(1.0), terms=20)
    assert bridge_error(1e-6) > 0.05


def test_monte_carlo_over_given_normals_is_the_loop():
    moments, z = logits(3), np.random.default_rng(1).normal(size=(11, 2))
    B = classes.contrasts(3)
    found = classes.probabilities(moments, quadrature.draws(z))
    for n in range(4):
        values, vectors = np.linalg.eigh(B.T @ moments.covariance[n] @ B)
        root = vectors @ np.diag(np.sqrt(values)) @ vectors.T
        p = [softmax(B @ (B.T @ moments.mean[n] + root @ zt)) for zt in z]
        agree(found.value[n], sum(p) / 11, terms=50, condition=10)
        agree(found.error[n], np.std(p, axis=0, ddof=1) / np.sqrt(11), terms=50, condition=10)


def test_monte_carlo_over_normals_is_unbiased():
    moments = logits(3, m=1)
    z = np.random.default_rng(3).normal(size=(20_000, 2))
    draw, = classes.contrast_draws(moments, quadrature.draws(z))
    mean_agrees(softmax(draw(z), axis=-1), classes.probabilities(moments, quadrature.trapezoid(2, 61)).value[0],
                smallest_effect=0.02)


# -- classes, approximately -------------------------------------------------------------------------------------------------


def test_the_extended_probit_and_the_mean_field_formulas_are_their_loops():
    """Eqs. (extended-probit) and (mean-field)."""
    moments = logits(3)
    for n, (m, S) in enumerate(zip(moments.mean, moments.covariance)):
        scaled = [np.exp(m[c] / np.sqrt(1 + np.pi * S[c, c] / 8)) for c in range(3)]
        agree(classes.probit(moments)[n], np.array(scaled) / sum(scaled), terms=20)
        variances = {classes.mean_field_0: lambda c, i: S[c, c], classes.mean_field_1: lambda c, i: S[c, c] + S[i, i],
                     classes.mean_field_2: lambda c, i: S[c, c] + S[i, i] - 2 * S[c, i]}
        for predict, variance in variances.items():
            p = [1 / (1 + sum(np.exp((m[i] - m[c]) / np.sqrt(1 + np.pi * variance(c, i) / 8)) for i in range(3) if i != c))
                 for c in range(3)]
            agree(predict(moments)[n], np.array(p) / sum(p), terms=20)


def test_the_mean_field_formula_is_exact_in_the_pairwise_probabilities_for_a_vanishing_covariance():
    """1/(2 − k + Σ_{i≠c} 1/σ(m_c − m_i)) = softmax(m)_c, the identity that it starts from."""
    m = np.array([0.3, -1.0, 2.0, 0.1])
    p = [1 / (2 - 4 + sum(1 / expit(m[c] - m[i]) for i in range(4) if i != c)) for c in range(4)]
    agree(p, softmax(m), terms=20)


def test_no_formula_overflows():
    moments = Moments([[800.0, -800.0, 0.0]], np.eye(3)[None])
    for predict in (classes.probit, classes.mean_field_0, classes.mean_field_1, classes.mean_field_2):
        agree(predict(moments)[0], [1.0, 0.0, 0.0], terms=4)


# -- the Laplace bridge -----------------------------------------------------------------------------------------------------

ALPHA = np.array([[0.4, 2.0, 7.0], [3.0, 3.0, 3.0], [0.1, 0.2, 50.0]])


def test_the_bridge_goes_there_and_back():
    """Identity L5, from Dirichlet to Gaussian and back, Eq. (laplace-bridge)."""
    agree(bridge.dirichlet(bridge.gaussian(ALPHA)), ALPHA, terms=20, condition=10)


def test_the_bridge_gaussian_has_the_mode_and_curvature_of_the_dirichlet_in_logit_coordinates():
    """In logits of zero sum the density is Π_c π_c^α_c: mode π = α/Σα, precision α₀(diag π − ππᵀ) on the contrasts.

    Eq. (dirichlet-laplace).
    """
    found = bridge.gaussian(ALPHA)
    pi = ALPHA / ALPHA.sum(-1, keepdims=True)
    agree(softmax(found.mean, axis=-1), pi, terms=10)
    vanishes(found.covariance.sum(-1), scale=np.abs(found.covariance).max(), terms=10)
    for S, p, total in zip(found.covariance, pi, ALPHA.sum(-1)):
        B = classes.contrasts(3)
        expected = B @ np.linalg.inv(total * B.T @ (np.diag(p) - np.outer(p, p)) @ B) @ B.T  # the pseudo-inverse
        agree(S, expected, terms=20, condition=1 / p.min())


def test_the_bridge_differs_from_the_exact_moments_of_log_dirichlet_variables_by_the_next_order():
    """E log π_c − mean = Π ψ(α) and Cov = Π diag ψ′(α) Π; the bridge has Π log α and Π diag(1/α) Π, right as α → ∞."""
    Pi = np.eye(3) - 1 / 3

    def errors(scale):
        alpha, found = scale * ALPHA[:2], bridge.gaussian(scale * ALPHA[:2])
        exact = [Pi @ np.diag(polygamma(1, a)) @ Pi for a in alpha]
        return np.abs(found.mean - digamma(alpha) @ Pi).max(), np.abs(found.covariance - exact).max()

    (mean, cov), (mean_2, cov_2) = errors(200), errors(400)
    assert abs(np.log2(mean / mean_2) - 1) < 0.05 and abs(np.log2(cov / cov_2) - 2) < 0.05


def test_the_published_bridge_can_reverse_the_order_of_classes_and_the_law_preserving_one_less_so():
    """Identity L6: truth (.466, .234, .301), published bridge (.377, .409, .214). Documented, and no fault of the code."""
    exact = classes.probabilities(L6, quadrature.trapezoid(2, 61))
    within(exact, [[0.4656, 0.2335, 0.3009]], others=1e-4)
    published = bridge.probabilities(bridge.dirichlet(classes.conditioned(L6)))
    assert np.abs(published - [[0.3774, 0.4088, 0.2138]]).max() < 5e-5
    kept = bridge.probabilities(bridge.dirichlet(classes.zero_sum(L6)))
    assert np.argmax(published) == 1 and np.argmax(kept) == 0
    assert np.abs(kept - exact.value).max() < np.abs(published - exact.value).max()


def test_the_published_bridge_sees_a_constant_added_to_all_logits_unless_their_covariances_have_equal_sums():
    """Conditioning moves the mean by −c k S1/(1ᵀS1), a constant only if S1 ∝ 1; the exact answer and mf2 do not move."""
    published = APPROXIMATIONS["published bridge"]
    shifted = Moments(L6.mean + 5, L6.covariance)
    assert np.abs(published(shifted) - published(L6)).max() > 0.3
    agree(APPROXIMATIONS["mf2"](shifted), APPROXIMATIONS["mf2"](L6), terms=100, condition=10)
    row, total = L6.covariance.sum(-1), L6.covariance.sum()
    agree(classes.conditioned(shifted).mean - classes.conditioned(L6).mean, 5 - 5 * 3 * row / total, terms=20, condition=10)
    equal = np.broadcast_to(2 * np.eye(3) + 0.5, (1, 3, 3))
    agree(published(Moments(L6.mean + 5, equal)), published(Moments(L6.mean, equal)), terms=100, condition=10)


def published_bridge(mean, S, rescale):
    """The same numbers as the formulas of the literature spell them, one input at a time."""
    k, total = len(mean), S.sum()
    row = S.sum(1)
    mean, S = mean - row * mean.sum() / total, S - np.outer(row, row) / total
    variance = np.diag(S).copy()
    if rescale:
        c = variance.mean() / np.sqrt(k / 2)
        mean, variance = mean / np.sqrt(c), variance / c
    alpha = (1 - 2 / k + np.exp(mean) * np.exp(-mean).sum() / k**2) / variance
    return alpha / alpha.sum()


@pytest.mark.parametrize("rescale", [False, True])
def test_the_variants_of_the_bridge_are_the_published_formulas(rescale):
    moments = logits(4)
    law = classes.conditioned(moments)
    found = bridge.probabilities(bridge.dirichlet(bridge.rescaled(law) if rescale else law))
    agree(found, [published_bridge(m, S, rescale) for m, S in zip(moments.mean, moments.covariance)], terms=50, condition=50)


def test_the_bridge_accepts_what_a_projection_leaves_and_nothing_else():
    """A gauge of a million in mean and variance, taken away again; equal means of a million, of which nothing is left."""
    moments = logits(3)
    far = Moments(moments.mean + 1e6, moments.covariance + 1e6)
    agree(bridge.dirichlet(classes.zero_sum(far)), bridge.dirichlet(classes.zero_sum(moments)), terms=100, condition=1e7)
    bridge.dirichlet(classes.zero_sum(Moments(np.full((4, 3), 1e6 / 3), moments.covariance)))
    for name, slip in (("mean", Moments(moments.mean * 0 + 1e-3, classes.zero_sum(moments).covariance)),
                       ("covariance", Moments(classes.zero_sum(moments).mean, moments.covariance))):
        with pytest.raises(ValueError, match=f"^{name}: expected logits that sum to zero"):
            bridge.dirichlet(slip)


# -- entropies --------------------------------------------------------------------------------------------------------------


def test_the_entropy_of_the_average_is_the_average_entropy_plus_the_mutual_information():
    """Identities L10, L21: H[p̄] = E H[p] + I, 0 <= I <= H[p̄] <= log k, Eq. (mutual-information)."""
    p = np.random.default_rng(0).dirichlet(np.ones(4), (9, 5))
    found, bar = entropy.of_draws(p), sum(p) / 9
    agree(found.total, [-sum(c * np.log(c) for c in row) for row in bar], terms=50)
    agree(found.aleatoric, [sum(-(row * np.log(row)).sum() for row in p[:, n]) / 9 for n in range(5)], terms=50)
    agree(found.epistemic, [sum((row * np.log(row / bar[n])).sum() for row in p[:, n]) / 9 for n in range(5)], terms=50)
    assert (found.epistemic > 0).all() and (found.aleatoric > 0).all() and (found.total < np.log(4)).all()


def test_entropies_of_certain_and_of_disagreeing_draws():
    certain, torn = np.array([[[1.0, 0.0]], [[1.0, 0.0]]]), np.array([[[1.0, 0.0]], [[0.0, 1.0]]])
    found = entropy.of_draws(certain)
    assert found.total == found.aleatoric == found.epistemic == 0
    found = entropy.of_draws(torn)
    assert found.aleatoric == 0
    agree(found.epistemic, [np.log(2)], terms=4)


@pytest.mark.parametrize("gap", [700.0, 720.0, 740.0, 800.0])
def test_entropies_of_saturated_logits_vanish_and_raise_nothing(gap):
    moments = Moments([[gap, 0.0, 0.0]], np.eye(3)[None])
    for rule in (quadrature.gauss_hermite(2, 10), quadrature.trapezoid(2, 25), quadrature.draws(np.ones((3, 2)))):
        found = entropy.under(moments, rule)
        assert found.value.aleatoric < 1e-250 and 0 <= found.value.epistemic < 1e-250


def test_the_mutual_information_is_the_same_from_the_label_and_from_the_function():
    """I = Σ_y P(y) KL(p(f|y) ‖ p(f)): over a discrete f, by the joint table."""
    p = np.random.default_rng(0).dirichlet(np.ones(3), (6, 1))
    joint = p[:, 0] / 6
    expected = sum(joint[t, c] * np.log(joint[t, c] / (joint[t].sum() * joint[:, c].sum()))
                   for t, c in itertools.product(range(6), range(3)))
    agree(entropy.of_draws(p).epistemic, [expected], terms=50)


def test_entropies_under_a_gaussian_agree_between_rules_and_with_draws():
    moments, z = logits(3), np.random.default_rng(0).normal(size=(400, 2))
    fine = entropy.under(moments, quadrature.trapezoid(2, 61))
    for rule, allowed in ((quadrature.gauss_hermite(2, 30), 1), (quadrature.sobol(2, 256, 16, np.random.default_rng(0)), 6)):
        found = entropy.under(moments, rule)
        for part in ("aleatoric", "epistemic"):
            error = np.abs(getattr(found.value, part) - getattr(fine.value, part))
            assert (error <= allowed * getattr(found.error, part) + getattr(fine.error, part)).all()
    rule = quadrature.draws(z)
    p = np.stack([softmax(draw(z), axis=-1) for draw in classes.contrast_draws(moments, rule)], axis=1)
    for part in ("aleatoric", "epistemic"):
        agree(getattr(entropy.under(moments, rule).value, part), getattr(entropy.of_draws(p), part), terms=1000)
    total = entropy.entropy(classes.probabilities(moments, quadrature.trapezoid(2, 61)).value)
    agree(fine.value.total, total, terms=4000)


@dataclasses.dataclass
class WrongMean:
    """A rule whose first expectation, of p, is off by the error that it states; the others are exact, and it says so."""

    error: np.ndarray
    rule: object = quadrature.trapezoid(2, 61)
    calls: int = 0
    dim = 2
    gap = 0.0

    def integrate(self, g):
        found, self.calls = self.rule.integrate(g), self.calls + 1
        wrong = self.error if self.calls == 1 else np.zeros(2)
        return quadrature.Integral(found.value + wrong, np.abs(wrong))


def test_an_error_of_the_mean_probability_is_an_error_of_the_information():
    """E KL(p ‖ q) − E KL(p ‖ p̄) = KL(p̄ ‖ q) <= Σ (p̄ − q)²/q: small, and stated."""
    moments = logits(3, m=1)
    exact = entropy.under(moments, quadrature.trapezoid(2, 61)).value.epistemic
    error = np.array([0.02, -0.03, 0.01])
    found = entropy.under(moments, WrongMean(error))
    apart = found.value.epistemic - exact
    assert 0 < apart <= found.error.epistemic < 4 * apart
    q = classes.probabilities(moments, quadrature.trapezoid(2, 61)).value[0] + error
    agree(found.error.epistemic, [(error**2 / q).sum()], terms=5000)


def test_a_small_mutual_information_keeps_its_digits():
    """To second order I = ½ tr(Λ S), Λ = diag p − ppᵀ: far below the round-off of H[p̄] − E H[p]."""
    moments, scale = logits(3, m=1), 1e-10
    p = softmax(moments.mean[0])
    expected = 0.5 * scale * np.trace((np.diag(p) - np.outer(p, p)) @ moments.covariance[0])
    found = entropy.under(Moments(moments.mean, scale * moments.covariance), quadrature.gauss_hermite(2, 8)).value.epistemic[0]
    assert abs(found / expected - 1) < 1e-4


def test_the_second_moment_of_a_probit_probability_is_owens():
    """E Φ(f)² = Φ(h) − 2T(h, 1/√(1 + 2v)), h = m/√(1 + v): the epistemic part of a probit target, by the rule that others use."""
    m, v = 0.7, 2.3
    h = m / np.sqrt(1 + v)
    found = FINE.integrate(lambda z: ndtr(m + np.sqrt(v) * z[:, 0]) ** 2)
    within(found, ndtr(h) - 2 * owens_t(h, 1 / np.sqrt(1 + 2 * v)))


# -- doors ------------------------------------------------------------------------------------------------------------------

INDEFINITE = Moments([[0.0, 0.0, 0.0]], np.diag([1.0, 1.0, -1.0])[None])


@pytest.mark.parametrize("call, message", [
    (lambda: binary.probabilities(logits(1), quadrature.gauss_hermite(2, 5)), "rule: expected one of dimension 1, got 2"),
    (lambda: binary.probit(INDEFINITE), "variances that are not negative, got a smallest one of -1"),
    (lambda: classes.probabilities(logits(1), FINE), "at least two classes, got 1"),
    (lambda: classes.probabilities(logits(4), quadrature.gauss_hermite(2, 5)), "3 contrasts of 4 classes, got dimension 2"),
    (lambda: entropy.under(logits(4), quadrature.gauss_hermite(2, 5)), "3 contrasts of 4 classes, got dimension 2"),
    (lambda: entropy.under(Moments([[195.0, 0.0]], np.diag([1e4, 1.0])[None]), quadrature.gauss_hermite(1, 20)),
     "rule: expected points at most .* take trapezoid with .* points an axis, or sobol"),
    *[(lambda rule=rule: binary.probabilities(Moments([[-993.0]], [[[160.0**2]]]), rule),
       "points at most .* take trapezoid with .* points an axis, or sobol")
      for rule in (quadrature.gauss_hermite(1, 8), quadrature.trapezoid(1, 13))],
    *[(lambda level=level: classes.probabilities(Moments([[30.0, 0.0, 0.0]], 144 * np.eye(3)[None]),
                                                 quadrature.smolyak(2, level)), "points at most .*, got gaps of")
      for level in (4, 6)],
    *[(lambda of=of: of(Moments(np.zeros((0, 3)), np.zeros((0, 3, 3))), FINE), "moments: expected at least one input, got none")
      for of in (classes.probabilities, entropy.under)],
    (lambda: classes.contrasts(1), "num_classes: expected an integer >= 2, got 1"),
    (lambda: classes.conditioned(classes.zero_sum(L6)), "expected outputs whose sum varies"),
    (lambda: bridge.dirichlet(L6), "expected logits that sum to zero.*zero_sum first"),
    (lambda: bridge.dirichlet(Moments([[0.0, 0.0]], np.zeros((1, 2, 2)))), "expected positive variances"),
    (lambda: bridge.probabilities([[1.0, 0.0]]), "alpha: expected positive concentrations"),
    (lambda: bridge.gaussian([[1.0, -2.0]]), "alpha: expected positive concentrations"),
    (lambda: bridge.rescaled(Moments([[0.0, 0.0]], np.zeros((1, 2, 2)))), "expected a positive mean variance"),
    (lambda: entropy.of_draws(np.ones((3, 2, 2))), "numbers that sum to one, got a smallest one of 1 and a sum of 2"),
    (lambda: entropy.of_draws(np.ones((0, 2, 2))), "at least one draw, got none"),
    (lambda: Moments(np.ones(3), np.ones((3, 1, 1))), r"mean: expected shape \(m, k\), got \(3,\)"),
    (lambda: Moments(np.ones((3, 2)), np.ones((3, 2))), r"covariance: expected shape \(3, 2, 2\), got \(3, 2\)"),
    (lambda: Moments(np.ones((3, 2)), np.full((3, 2, 2), np.nan)), "covariance: expected finite numbers"),
    (lambda: classes.probabilities(Moments([[0.0, 0]], [[[1.0, 0.5], [0.0, 1.0]]]), FINE), "is not a thing"),
])
def test_bad_input_is_refused(call, message):
    if message == "is not a thing":  # an asymmetric covariance of contrasts of two classes is a number: refused elsewhere
        with pytest.raises(ValueError, match="expected a symmetric matrix"):
            Moments([[0.0, 0]], [[[1.0, 0.5], [0.0, 1.0]]]).root
        return
    with pytest.raises(ValueError, match=message):
        call()


CORRELATED = Moments([[0.3, -0.3]], [[[1.0, 2.0], [2.0, 1.0]]])  # no law: the correlation is 2


@pytest.mark.parametrize("function", [
    classes.probit, classes.mean_field_0, classes.mean_field_1, classes.mean_field_2, classes.zero_sum, classes.conditioned,
    bridge.rescaled, binary.probit, binary.bernoulli_probit, targets.poisson, targets.heteroscedastic,
    lambda moments: binary.probabilities(moments, FINE), lambda moments: classes.probabilities(moments, FINE),
    lambda moments: entropy.under(moments, FINE), lambda moments: targets.under(moments, likelihoods.Poisson(), TWO),
    lambda moments: bridge.dirichlet(Moments([[0.3, -0.3]], [[[-1.0, 1.0], [1.0, -1.0]]])),
])
def test_an_indefinite_covariance_is_refused(function):
    with pytest.raises(ValueError, match="negative"):
        function(CORRELATED)


def test_an_asymmetric_covariance_is_refused_by_formulas_too():
    with pytest.raises(ValueError, match="symmetric"):
        classes.mean_field_2(Moments([[0.0, 0.0]], [[[1.0, 0.5], [0.0, 1.0]]]))


def test_the_round_off_of_a_large_constant_is_no_negative_eigenvalue():
    """Contrasts of variance one under a common part of variance 1e7 are conditioned and projected without complaint."""
    moments = logits(3)
    wide = Moments(moments.mean, moments.covariance + 1e7)
    for law in (classes.zero_sum(wide), classes.conditioned(wide)):
        assert np.isfinite(classes.mean_field_2(law)).all() and np.isfinite(bridge.rescaled(law).mean).all()


# -- planted faults ---------------------------------------------------------------------------------------------------------

TRUE_PROBABILITIES = classes.probabilities


def planted_probabilities(change):
    """Plant: probabilities of changed moments."""
    return instead(classes, "probabilities", lambda moments, rule: TRUE_PROBABILITIES(change(moments), rule))


def softmax_of_the_mean(moments, rule):
    """Plant: nothing is integrated."""
    p = softmax(moments.mean, axis=-1)
    return quadrature.Integral(p, 1e-10 + 0 * p)


exact_law = test_exact_class_probabilities_are_the_integral_over_all_outputs
supremum_law = test_the_probit_approximation_errs_by_less_than_its_supremum
two_class_law = test_two_classes_are_one_binary_target


@pytest.mark.parametrize("plant, law", [
    (instead(binary, "SLOPE", 8 / np.pi), supremum_law),
    (instead(binary, "SLOPE", np.pi / 8 * 1.1), supremum_law),
    (instead(binary, "SLOPE", np.pi / 4), test_the_slope_of_the_probit_approximation_is_matched_at_zero),
    (instead(binary, "shrinkage", lambda v: 1 / np.sqrt(1 + np.pi * np.sqrt(v) / 8)), supremum_law),
    (instead(classes, "shrinkage", lambda v: 1 / np.sqrt(1 + 8 / np.pi * v)),
     test_the_extended_probit_and_the_mean_field_formulas_are_their_loops),
    (instead(classes, "probabilities", softmax_of_the_mean), exact_law),
    (instead(classes, "probabilities", softmax_of_the_mean), two_class_law),
    (planted_probabilities(lambda m: Moments(m.mean, m.covariance @ m.covariance)), exact_law),
    (planted_probabilities(lambda m: Moments(m.mean, m.covariance * np.eye(m.num_outputs))), exact_law),
    (planted_probabilities(classes.conditioned), exact_law),
    (instead(classes, "symmetric_root", lambda name, S: S), two_class_law),
    (instead(classes, "contrasts", lambda k: np.linalg.qr(np.eye(k) - 1 / k)[0][:, :k - 1] * 1.1), two_class_law),
    (after(bridge, "dirichlet", lambda alpha, *_: alpha - 0.1), test_the_bridge_goes_there_and_back),
    (instead(bridge, "gaussian", lambda a: pairs(np.log(a) - np.log(a).mean(-1, keepdims=True), 1 / a)),
     test_the_bridge_gaussian_has_the_mode_and_curvature_of_the_dirichlet_in_logit_coordinates),
    (instead(entropy, "divergence", lambda p, q: (q * np.log(q / p)).sum(-1)),
     test_the_entropy_of_the_average_is_the_average_entropy_plus_the_mutual_information),
    (after(entropy, "of_draws", lambda r, p: entropy.Information(entropy.entropy(p.mean(0)), r.epistemic)),
     test_the_entropy_of_the_average_is_the_average_entropy_plus_the_mutual_information),
], ids=["8/π for π/8", "π/8 ten per cent off", "π/4 for π/8", "std for variance", "8/π for π/8 in classes", "softmax of the mean",
        "softmax of the mean, two classes", "S² for S", "covariances dropped", "conditioned for zero-sum", "S for its root",
        "contrasts too long", "α off", "no projection", "KL the wrong way round", "total for aleatoric"])
def test_a_planted_fault_is_caught(plant, law, monkeypatch):
    law()
    plant(monkeypatch)
    with np.errstate(all="ignore"), pytest.raises(AssertionError):
        law()
