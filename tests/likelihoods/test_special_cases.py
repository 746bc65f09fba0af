"""What is special about a family: limits, determinants, constant information, canonical forms, one family inside another."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.special import polygamma

from refbnn import Loss, Mlp, activations, likelihoods
from refbnn.likelihoods.pairs import PairedOutputs
from refbnn.testing import taylor_order, tolerance
from tests.judge import agree
from tests.likelihoods.families import CUTS, DISPERSION, FAMILIES, FREEDOM, NOISE, SCALE
from tests.likelihoods.test_laws import problem

METHODS = ("residual", "curvature", "third")


def row(name):
    """The likelihood of a row with outputs and targets."""
    return FAMILIES[name].likelihood, *problem(FAMILIES[name])


# -- one formula in two places -----------------------------------------------------------------------------------------------


def loss_and_residual_together_are_those_of_their_own(likelihood):
    f = np.random.default_rng(29).standard_normal((2, 5, 3))
    y = f[1] + 0.3
    total, r = likelihood.loss_and_residual(f, y)
    agree(total, -likelihood.log_prob(f, y).sum(-1), terms=60)
    agree(r, likelihood.residual(f, y), terms=10)


def test_what_samplers_ask_of_the_normal_is_its_loss_and_residual_for_every_draw():
    loss_and_residual_together_are_those_of_their_own(likelihoods.Normal(0.37))


@pytest.mark.parametrize("fault", [lambda v, r: (v - 0.1, r), lambda v, r: (2 * v, r), lambda v, r: (v, 0.37 * r)])
def test_another_loss_or_residual_is_caught(fault, monkeypatch):
    true = likelihoods.Normal.loss_and_residual
    monkeypatch.setattr(likelihoods.Normal, "loss_and_residual", lambda self, f, y: fault(*true(self, f, y)))
    with pytest.raises(AssertionError):
        loss_and_residual_together_are_those_of_their_own(likelihoods.Normal(0.37))


# -- one family inside another ----------------------------------------------------------------------------------------------


def ordinal_with_one_cut_is_bernoulli(ordinal, cut):
    _, f, y = row("bernoulli")
    bernoulli = likelihoods.Bernoulli()
    for method in ("log_prob", *METHODS):
        agree(getattr(ordinal, method)(f, y), getattr(bernoulli, method)(f - cut, y), terms=10)
    for method in ("fisher", "mean", "covariance"):
        agree(getattr(ordinal, method)(f), getattr(bernoulli, method)(f - cut), terms=10)


def test_ordinal_with_one_cut_point_is_bernoulli():
    """Eq. (ordinal-two-grades)."""
    ordinal_with_one_cut_is_bernoulli(likelihoods.Ordinal([0.4]), 0.4)


def test_the_sign_of_the_cut_point_matters():
    with pytest.raises(AssertionError):
        ordinal_with_one_cut_is_bernoulli(likelihoods.Ordinal([-0.4]), 0.4)


def test_moving_the_output_and_all_cut_points_changes_nothing():
    ordinal, f, y = row("ordinal")
    moved = likelihoods.Ordinal(CUTS + 0.7)
    for method in ("log_prob", *METHODS):
        agree(getattr(moved, method)(f + 0.7, y), getattr(ordinal, method)(f, y), terms=100)


def test_the_information_of_ordinal_data_is_a_third_of_one_minus_the_sum_of_cubes():
    """Eq. (ordinal)."""
    ordinal, f, _ = row("ordinal")
    _, p = ordinal.outcomes(f)
    agree(ordinal.fisher(f)[..., 0, 0], (1 - (p**3).sum(0)) / 3, terms=30)


def test_a_diagonal_noise_matrix_is_independent_noise():
    full, plain = likelihoods.NormalFull(0.37 * np.eye(3)), likelihoods.Normal(0.37)
    _, f, y = row("normal_full")
    for method in ("log_prob", "residual", "curvature"):
        agree(getattr(full, method)(f, y), getattr(plain, method)(f, y), terms=10)
    agree(full.third(f, y), plain.third(f, y), terms=1, scale=1.0)


def heteroscedastic_at_a_constant_variance_is_normal(heteroscedastic, s, variance):
    normal, mu, y = likelihoods.Normal(variance), *row("normal")[1:]
    f = np.concatenate([mu, np.full_like(mu, s)], axis=-1)
    agree(heteroscedastic.log_prob(f, y), normal.log_prob(mu, y), terms=10)
    agree(heteroscedastic.residual(f, y)[..., 0], normal.residual(mu, y)[..., 0], terms=10)
    first, _ = normal.log_variance_derivatives(mu, y)
    agree(heteroscedastic.residual(f, y)[..., 1], -first, terms=10)


def test_heteroscedastic_noise_at_a_constant_log_variance_is_the_normal_and_its_learned_noise():
    heteroscedastic_at_a_constant_variance_is_normal(likelihoods.Heteroscedastic(), np.log(0.37), 0.37)


def test_a_log_standard_deviation_is_not_a_log_variance():
    with pytest.raises(AssertionError):
        heteroscedastic_at_a_constant_variance_is_normal(likelihoods.Heteroscedastic(), 0.5 * np.log(0.37), 0.37)


@pytest.mark.parametrize("name, fixed, second", [
    ("heteroscedastic_negative_binomial", "negative_binomial", np.log(DISPERSION)),
    ("heteroscedastic_student_t", "student_t", np.log(SCALE)),
    ("heteroscedastic_gamma", "gamma", np.log(1.7)),
])
def test_a_constant_second_output_is_the_fixed_parameter(name, fixed, second):
    fixed, f, y = row(fixed)
    paired, f2 = FAMILIES[name].likelihood, np.concatenate([f, np.full_like(f, second)], axis=-1)
    agree(paired.log_prob(f2, y), fixed.log_prob(f, y), terms=30)
    agree(paired.residual(f2, y)[..., :1], fixed.residual(f, y), terms=30)
    agree(paired.curvature(f2, y)[..., :1, :1], fixed.curvature(f, y), terms=30)
    agree(paired.third(f2, y)[..., :1, :1, :1], fixed.third(f, y), terms=30)


# -- limits, by their measured rate -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit, inner, outer", [
    ("negative_binomial", lambda h: likelihoods.NegativeBinomial(1 / h), likelihoods.Poisson()),
    ("student_t", lambda h: likelihoods.StudentT(0.8, 1 / h), likelihoods.Normal(0.64)),
])
@pytest.mark.parametrize("method", ["log_prob", *METHODS])
def test_the_limit_is_reached_at_first_order(limit, inner, outer, method):
    """Negative binomial -> Poisson like 1/ρ and Student-t -> normal like 1/ν, in the density and in every derivative.

    Eq. (negative-binomial-limit).
    """
    _, f, y = row(limit)
    difference = lambda h: getattr(inner(h), method)(f, y) - getattr(outer, method)(f, y)
    order = taylor_order(difference, steps=tuple(2.0**-j for j in range(10, 18)))
    assert abs(order - 1) < 0.02  # the next term bends the line by less than 2⁻¹⁰ times its size


def test_the_limit_is_not_the_poisson_likelihood_of_another_rate():
    _, f, y = row("negative_binomial")
    difference = lambda h: likelihoods.NegativeBinomial(1 / h).residual(f, y) - likelihoods.Poisson().residual(f + 0.01, y)
    assert taylor_order(difference, steps=tuple(2.0**-j for j in range(10, 18))) < 0.5


def test_the_limits_keep_their_digits():
    """At ρ = 2⁶⁰ the negative binomial is the Poisson likelihood to round-off, at ν = 2⁶⁰ Student's t the normal."""
    for name, near, limit in (("negative_binomial", likelihoods.NegativeBinomial(2.0**60), likelihoods.Poisson()),
                              ("student_t", likelihoods.StudentT(0.8, 2.0**60), likelihoods.Normal(0.64))):
        _, f, y = row(name)
        for method in ("log_prob", "residual", "curvature"):
            agree(getattr(near, method)(f, y), getattr(limit, method)(f, y), terms=60)


# -- definiteness -----------------------------------------------------------------------------------------------------------


def the_determinant_is(likelihood, name, formula):
    f, y = row(name)[1:]
    found = np.linalg.det(likelihood.curvature(f, y))
    agree(found, formula(f[..., 0], f[..., 1], y[..., 0]), terms=100)
    return found


DETERMINANTS = {  # name: (det Λ, the sign that it has for every y)
    "heteroscedastic": (lambda mu, s, y: -0.5 * (y - mu) ** 2 * np.exp(-2 * s), -1),
    "heteroscedastic_precision": (lambda eta, b, y: 0.5 * (y**2 - (eta * np.exp(-b)) ** 2), 0),
    "heteroscedastic_natural": (lambda a, b, y: 2 * (-0.5 / b) ** 3, 1),
    "heteroscedastic_student_t": (
        lambda mu, tau, y: -2 * (FREEDOM + 1) ** 2 * FREEDOM * np.exp(2 * tau) * (y - mu) ** 2
        / (FREEDOM * np.exp(2 * tau) + (y - mu) ** 2) ** 3, -1),
}


@pytest.mark.parametrize("name", DETERMINANTS)
def test_the_determinant_of_the_observed_curvature(name):
    """Eqs. (heteroscedastic-indefinite) and (student-t-scale)."""
    formula, sign = DETERMINANTS[name]
    found = the_determinant_is(FAMILIES[name].likelihood, name, formula)
    assert sign == 0 and {-1, 1} == set(np.sign(found)) or set(np.sign(found)) == {sign}


@pytest.mark.parametrize("name", DETERMINANTS)
def test_another_determinant_is_rejected(name):
    formula, _ = DETERMINANTS[name]
    with pytest.raises(AssertionError):
        the_determinant_is(FAMILIES[name].likelihood, name, lambda *at: 2 * formula(*at))


def test_student_curvature_is_negative_exactly_beyond_the_root_of_nu_scales():
    """Eq. (student-t-negative)."""
    student = likelihoods.StudentT(SCALE, FREEDOM)
    edge = SCALE * np.sqrt(FREEDOM)
    y = edge * np.array([[0.5], [0.999], [1.001], [2.0], [-0.999], [-1.001]])
    negative = student.curvature(np.zeros_like(y), y)[..., 0, 0] < 0
    assert negative.tolist() == [False, False, True, True, False, True]
    with pytest.raises(ValueError, match="datum 2, target 0"):
        student.factor(np.zeros_like(y), y)


def test_student_weights_majorise_the_curvature():
    """w = (ν + 1)/(νs² + e²): r = −w e, w − Λ = 2w²e²/(ν + 1) >= 0 (Lange, Little and Taylor 1989). Eq. (em-majoriser)."""
    student, f, y = row("student_t")
    weight = (FREEDOM + 1) / (FREEDOM * SCALE**2 + (y - f) ** 2)
    agree(student.residual(f, y), -weight * (y - f), terms=10)
    agree(weight - student.curvature(f, y)[..., 0], 2 * weight**2 * (y - f) ** 2 / (FREEDOM + 1), terms=100)


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.definite])
def test_definite_families_are_definite_at_every_outcome(name):
    likelihood, f, _ = row(name)
    y, weights = likelihood.outcomes(f)
    bend = likelihood.curvature(np.broadcast_to(f, (len(weights), *f.shape)), y)
    assert np.linalg.eigvalsh(bend).min() >= -tolerance(10) * np.abs(bend).max()  # the categorical Λ is singular


# -- information ------------------------------------------------------------------------------------------------------------


def canonical_curvature_does_not_depend_on_y(name):
    likelihood, f, _ = row(name)
    y, weights = likelihood.outcomes(f)
    fs = np.broadcast_to(f, (len(weights), *f.shape))
    for method in (likelihood.curvature, likelihood.third):
        values = method(fs, y)
        agree(values, np.broadcast_to(values[:1], values.shape), terms=1, scale=np.linalg.norm(values) or 1.0)
    agree(likelihood.curvature(fs, y)[0], likelihood.fisher(f), terms=1)


CANONICAL = ("normal", "normal_full", "bernoulli", "categorical", "poisson", "heteroscedastic_natural")


@pytest.mark.parametrize("name", CANONICAL)
def test_in_a_canonical_family_curvature_is_fisher_whatever_y_is(name):
    canonical_curvature_does_not_depend_on_y(name)


@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in CANONICAL])
def test_in_other_families_it_is_not(name):
    with pytest.raises(AssertionError):
        canonical_curvature_does_not_depend_on_y(name)


def test_the_square_link_makes_the_poisson_information_four():
    """Eq. (poisson-square)."""
    likelihood = likelihoods.PoissonSquare()
    f = np.array([[-3.0], [-0.2], [0.7], [5.0]])
    y, weights = likelihood.outcomes(f)
    r = likelihood.residual(np.broadcast_to(f, (len(weights), *f.shape)), y)
    agree((weights[..., None] * r**2).sum(0), np.full(f.shape, 4.0), terms=len(weights))
    agree(likelihood.fisher(f)[..., 0], np.full(f.shape, 4.0), terms=1)


def links_transform_the_information(linked, base, f, eta, slope, bend, y):
    """f = h(u): F_u = h′ F h′ and Λ_u = h′² Λ + r h″, for another link of the same family."""
    agree(linked.fisher(f)[..., 0], slope**2 * base.fisher(eta)[..., 0], terms=30)
    expected = slope**2 * base.curvature(eta, y)[..., 0] + base.residual(eta, y) * bend
    agree(linked.curvature(f, y)[..., 0], expected, terms=30)


def test_a_change_of_link_transforms_fisher_as_a_tensor_and_curvature_with_a_residual_term():
    """Eq. (link-change)."""
    _, f, y = row("poisson_square")
    linked, base, eta = likelihoods.PoissonSquare(), likelihoods.Poisson(), 2 * np.log(np.abs(f))
    links_transform_the_information(linked, base, f, eta, 2 / f, -2 / f**2, y)
    with pytest.raises(AssertionError):
        links_transform_the_information(linked, base, f, eta, 2 / f, 0, y)


def test_the_precision_link_carries_the_natural_information():
    """η₂ = −½ exp b: F_f = hᵀ F_η h with h = diag(1, −½ exp b), and Λ_f = hᵀ Λ_η h + r_2 diag(0, −½ exp b).

    Eq. (heteroscedastic-precision).
    """
    linked, f, y = row("heteroscedastic_precision")
    natural, tau = likelihoods.HeteroscedasticNatural(), np.exp(f[:, 1])
    eta = np.stack([f[:, 0], -0.5 * tau], axis=-1)
    h = np.array([np.diag([1.0, -0.5 * t]) for t in tau])
    agree(linked.fisher(f), h @ natural.fisher(eta) @ h, terms=10)
    bent = np.array([np.diag([0.0, -0.5 * t * r]) for t, r in zip(tau, natural.residual(eta, y)[:, 1])])
    agree(linked.curvature(f, y), h @ natural.curvature(eta, y) @ h + bent, terms=30)
    agree(linked.log_prob(f, y), natural.log_prob(eta, y), terms=30)


def test_mean_and_dispersion_are_orthogonal():
    """Eqs. (negative-binomial-dispersion) and (gamma-shape)."""
    for name in ("heteroscedastic", "heteroscedastic_student_t", "heteroscedastic_negative_binomial", "heteroscedastic_gamma"):
        likelihood, f, _ = row(name)
        assert (likelihood.fisher(f)[..., 0, 1] == 0).all()


def test_the_dispersion_information_of_counts_is_the_trigamma_sum():
    """F_ρρ = ρ² (ψ₁(ρ) − E ψ₁(y + ρ) − μ/(ρ(ρ + μ))), at a ρ where that does not cancel. Eq. (negative-binomial-dispersion)."""
    likelihood, f, _ = row("heteroscedastic_negative_binomial")
    y, weights = likelihood.outcomes(f)
    mu, rho = np.exp(f[:, 0]), np.exp(f[:, 1])
    expected = (weights[..., None] * polygamma(1, y + rho[:, None])).sum(0)[:, 0]
    agree(likelihood.fisher(f)[:, 1, 1], rho**2 * (polygamma(1, rho) - expected - mu / (rho * (rho + mu))), terms=1000)


# -- learned noise ----------------------------------------------------------------------------------------------------------


def the_noise_derivatives_are_those_of_the_density(normal):
    _, f, y = row("normal")
    step = 1e-20
    log_prob = lambda s: (-((y - f) ** 2) / 2 * np.exp(-s) - 0.5 * s - 0.5 * np.log(2 * np.pi)).sum(-1)
    slope = lambda s: ((y - f) ** 2 / 2 * np.exp(-s) - 0.5).sum(-1)
    first, second = normal.log_variance_derivatives(f, y)
    s = np.log(normal.variance)
    agree(first, log_prob(s + 1j * step).imag / step, terms=10)
    agree(second, slope(s + 1j * step).imag / step, terms=10)


def test_learned_noise_has_the_derivatives_of_the_density():
    """Eq. (learned-noise)."""
    the_noise_derivatives_are_those_of_the_density(likelihoods.Normal(0.37))


def test_the_derivative_by_the_variance_is_not_that_by_its_logarithm():
    class Wrong:
        variance = 0.37

        def log_variance_derivatives(self, f, y):
            first, second = likelihoods.Normal(0.37).log_variance_derivatives(f, y)
            return first / 0.37, second / 0.37**2

    with pytest.raises(AssertionError):
        the_noise_derivatives_are_those_of_the_density(Wrong())


def test_learned_noise_bends_the_residual_by_minus_itself():
    """∂² log p/∂f ∂log σ² = r, measured by the residuals at nearby variances: a remainder of second order.

    Eq. (learned-noise).
    """
    _, f, y = row("normal")
    r = likelihoods.Normal(0.37).residual(f, y)
    remainder = lambda h: likelihoods.Normal(0.37 * np.exp(h)).residual(f, y) - r + h * r
    assert abs(taylor_order(remainder) - 2) < 0.1  # h³/6 beside h²/2 at h <= 1/8


# -- through a network ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FAMILIES)
def test_the_gradient_through_a_network_is_the_slope_of_the_loss(name):
    """Loss takes every likelihood: the remainder of its Taylor expansion has order 2 in the step."""
    family = FAMILIES[name]
    rng = np.random.default_rng(3)
    f, y = problem(family)
    net = Mlp((2, 3, f.shape[-1]), activations.tanh)
    theta, X, v = 0.3 * rng.normal(size=net.num_params), rng.normal(size=(len(f), 2)), rng.normal(size=net.num_params)
    v /= np.linalg.norm(v)
    theta[-f.shape[-1]:] = f[0]  # the output biases: a moderate output that the family allows
    loss = Loss(net, family.likelihood, X, y)
    value, slope = loss.value(theta), loss.gradient(theta) @ v
    order = taylor_order(lambda h: loss.value(theta + h * v) - value - h * slope, steps=tuple(2.0**-j for j in range(8, 13)))
    assert abs(order - 2) < 0.1
    assert loss.fisher(theta).shape == (net.num_params,) * 2


def test_noise_is_kept_as_given():
    agree(likelihoods.NormalFull(NOISE).covariance(np.zeros((2, 3))), np.array([NOISE, NOISE]), terms=1)


def test_a_count_of_zero_has_derivatives_where_its_rate_under_a_square_link_is_zero():
    """ℓ = f² for y = 0: 0, 2, 0 at f = 0."""
    member, zero = likelihoods.PoissonSquare(), np.zeros((5, 1))
    for name, expected in {"first_derivative": 0.0, "second_derivative": 2.0, "third_derivative": 0.0}.items():
        assert np.array_equal(getattr(member, name)(zero, zero), np.full((5, 1), expected)), name


@pytest.mark.parametrize("nu, expected", [(2.0, np.inf), (2.5, 5.0), (3.0, 3.0), (7.0, 1.4)])
def test_the_variance_of_a_students_t_is_finite_above_two_degrees_of_freedom(nu, expected):
    assert likelihoods.StudentT(1.0, nu).covariance(np.zeros((1, 1))).item() == pytest.approx(expected, rel=1e-15)


def test_class_probabilities_of_one_datum_do_not_see_the_logits_of_another():
    """Logits a thousand apart between data: each datum is shifted by its own largest one."""
    p = likelihoods.Categorical().mean(np.array([[0.0, np.log(3.0)], [1000.0, 1000.0 + np.log(4.0)], [-1000.0, -1000.0]]))
    assert np.allclose(p, [[0.25, 0.75], [0.2, 0.8], [0.5, 0.5]], rtol=1e-12)


def test_a_block_without_curvature_in_its_first_output_has_a_root():
    flat = SimpleNamespace(second_derivatives=lambda a, b, y: (0.0 * a, 0.0 * a, 2.0 + 0.0 * a))
    found = [np.asarray(part).tolist() for part in PairedOutputs.root(flat, np.ones(3), np.ones(3), np.ones(3))]
    assert found == [[0.0] * 3, 0.0, [0.0] * 3, [np.sqrt(2.0)] * 3]
