"""The bound: equal to its definition, below the evidence by a KL divergence, with derivatives that theorems give in two ways."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from refbnn import Gaussian, Posterior, activations, cubature, diagnostics, likelihoods, priors, quadrature, vi
from refbnn.gaussian import kl
from refbnn.precision import Dense, FromScale
from refbnn.testing import taylor_order
from tests.judge import agree, mean_agrees
from tests.vi import problems
from tests.vi.problems import OUTPUTS, RULE

CASES = {"network": problems.network, "logistic": problems.logistic}
WIDE = vi.OverParameters(quadrature.trapezoid(2, 151))


def parameters(rule=RULE):
    """Expectations over the two parameters."""
    return vi.OverParameters(rule)


def within(found, expected, *errors):
    """Agreement up to the estimated errors of both sides, which must say something."""
    allowed = sum(np.max(error) for error in errors)
    assert allowed < 1e-4
    assert np.abs(found - expected).max() <= allowed, (found, expected, allowed)


# -- values -----------------------------------------------------------------------------------------------------------------


def test_the_bound_is_the_mean_of_the_log_weights():
    """Eq. (elbo): by a plain loop over the points of the rule."""
    post, q = problems.network(), problems.gaussian(1, 2, 0.4)
    rule, C = quadrature.gauss_hermite(2, 11), q.scale()
    plain = sum(
        w * (float(post.log_prob(q.mean + C @ z)) - float(q.log_prob(q.mean + C @ z))) for z, w in zip(rule.points, rule.weights)
    )
    at = vi.elbo(post, q, parameters(rule))
    agree(at.value, plain, terms=len(rule.points), condition=10)
    agree(at.value, -at.loss.value - at.kl_to_prior, terms=10)


@pytest.mark.parametrize("name", CASES)
def test_the_evidence_exceeds_the_bound_by_the_divergence_to_the_posterior(name):
    """Eq. (elbo): log p(y) − ELBO = KL(q ‖ p), every term by its own integral."""
    post, q, grid = CASES[name](), problems.gaussian(1, 2, 0.4), problems.grid(name)
    evidence, at = grid.log_evidence(), vi.elbo(post, q, WIDE)
    log_ratio = RULE.integrate(lambda z: q.log_prob(q.from_normals(z)) - post.log_prob(q.from_normals(z)) + evidence.value)
    within(evidence.value - at.value, log_ratio.value, evidence.error, at.error, log_ratio.error)
    assert evidence.value - at.value > 10 * (evidence.error + at.error)


@pytest.mark.parametrize("name", CASES)
def test_the_upper_bound_exceeds_the_evidence_by_the_divergence_from_the_posterior(name):
    """Eq. (eubo): on a grid, where p is known."""
    post, q, grid = CASES[name](), problems.gaussian(1, 2, 1.4), problems.grid(name)
    evidence, above = grid.log_evidence(), vi.eubo(CASES[name](), q, problems.grid(name).expect)
    divergence = grid.expect(lambda theta: post.log_prob(theta) - evidence.value - q.log_prob(theta))
    within(above.value - evidence.value, divergence.value, above.error, evidence.error, divergence.error)
    assert above.value > evidence.value > vi.elbo(post, q, WIDE).value


def test_all_bounds_are_the_evidence_where_q_is_the_posterior():
    post = problems.regression()
    q = exact_posterior(post)
    at = vi.elbo(post, q, vi.ClosedForm())
    theta = q.mean + 0.3
    evidence = post.log_prob(theta) - q.log_prob(theta)  # Bayes' theorem at any θ
    agree(at.value, evidence, terms=100)
    draws = q.from_normals(np.random.default_rng(2).normal(size=(13, q.num_params)))
    above = vi.eubo(post, q, quadrature.draws(draws).integrate)
    agree(above.value, evidence, terms=100)
    assert above.error < 1e-12 * abs(evidence)


def test_the_exact_evidence_has_two_independent_routes():
    """The plain grid of these tests, and the cubature of the package."""
    for name, make in CASES.items():
        grid, found = problems.grid(name).log_evidence(), cubature.product(make(), within=1e-8).log_evidence
        within(grid.value, found.value, grid.error, found.error)


def test_bounds_of_a_network_with_four_parameters_enclose_its_exact_evidence():
    """Eqs. (elbo) and (importance-weighted-bound): two hidden units, four modes and more; one Gaussian misses most of them."""
    base = problems.network()
    net = problems.Mlp((1, 2, 1), activations.tanh, bias=False)
    post = Posterior(net, base.likelihood, priors.isotropic(4, 0.8), base.X, base.y)
    exact = cubature.units(cubature.collapse(post), within=1e-8).log_evidence
    q = Gaussian(np.array([1.1, 0.3, 0.9, 0.2]), Dense(np.diag([5.0, 2.0, 6.0, 2.0]) + 0.4))
    at = vi.elbo(post, q, vi.OverParameters(quadrature.gauss_hermite(4, 14)))
    z = np.random.default_rng(22).normal(size=(256, 64, 4))
    many = vi.iwae(post, q, z)
    assert at.error < 0.05
    assert at.value + at.error < many.value < exact.value - exact.error
    assert exact.value - at.value > 1.0


def test_without_data_the_prior_is_optimal_and_the_bound_zero():
    """With a likelihood that does not depend on θ, up to its constant."""
    prior = problems.gaussian(3, 2)
    post = Posterior(problems.network().net, likelihoods.Bernoulli(), prior, np.zeros((5, 1)), np.ones((5, 1)))
    at = vi.elbo(post, prior, parameters())
    agree(at.value, 5 * np.log(0.5), terms=2000)
    assert abs(at.kl_to_prior) < 1e-13 and vi.elbo(post, problems.gaussian(4, 2), parameters()).value < at.value


@pytest.mark.parametrize("k", [1, 2, 3])
def test_importance_weighting_raises_the_bound_draw_by_draw(k):
    """Eq. (importance-weighted-bound): with the same draws, k of them at a time against 2k, the order holds without any noise."""
    post, q, t = problems.network(), problems.gaussian(1, 2, 0.4), 211
    z = np.random.default_rng(5).normal(size=(t, 2 * k, 2))
    few = vi.iwae(post, q, z.reshape(2 * t, k, 2))
    many = vi.iwae(post, q, z)
    assert few.value < many.value


def test_importance_weighting_starts_at_the_bound_and_stays_below_the_evidence():
    """Eq. (importance-weighted-bound)."""
    post, q = problems.logistic(), problems.gaussian(6, 2, 2.0)
    z = np.random.default_rng(7).normal(size=(1 << 14, 2))
    one, at = vi.iwae(post, q, z[:, None]), vi.elbo(post, q, WIDE)
    mean_agrees(vi.log_weights(post, q, z), at.value, smallest_effect=0.3)
    agree(one.value, vi.log_weights(post, q, z).mean(), terms=len(z))
    agree(one.error, vi.log_weights(post, q, z).std(ddof=1) / np.sqrt(len(z)), terms=len(z))
    many = vi.iwae(post, q, z.reshape(64, 256, 2))
    evidence = problems.grid("logistic").log_evidence()
    assert many.value > one.value and 0 < evidence.value - many.value + 6 * many.error < 0.1


def test_an_expected_prior_that_is_not_gaussian_is_summed():
    """Eq. (expected-prior): a Student-t with many degrees of freedom is nearly the Gaussian, and its sums are those of a loop."""
    post, q = problems.network(), problems.gaussian(8, 2, 0.5)
    heavy = priors.StudentT(2, 0.9, 5.0)
    found = parameters().prior(heavy, q)
    plain = [sum(w * g for w, g in zip(RULE.weights, values)) for values in (
        -heavy.log_prob(q.from_normals(RULE.points)), -heavy.gradient(q.from_normals(RULE.points)),
        [np.outer(-heavy.gradient(q.from_normals(z)), z) for z in RULE.points],
        [heavy.negative_hessian(q.from_normals(z)) for z in RULE.points])]
    for value, expected in zip((found.value, found.gradient, found.cross, found.hessian), plain):
        agree(value, expected, terms=len(RULE.points))
    at = vi.elbo(Posterior(post.net, post.likelihood, heavy, post.X, post.y), q, parameters())
    agree(at.value, q.entropy() - found.value - at.loss.value, terms=10)


def test_the_expected_gaussian_prior_is_the_cross_entropy():
    """Eq. (expected-prior): KL(q ‖ prior) + entropy, and sums over a rule that is exact for quadratics."""
    prior, q = problems.gaussian(9, 2), problems.gaussian(10, 2)
    found = parameters().prior(prior, q)
    agree(found.value, kl(q, prior) + q.entropy(), terms=30)
    theta = q.from_normals(RULE.points)
    agree(found.value, -RULE.weights @ prior.log_prob(theta), terms=len(theta))
    agree(found.gradient, -RULE.weights @ prior.gradient(theta), terms=len(theta))
    agree(found.cross, -(RULE.weights * prior.gradient(theta).T) @ RULE.points, terms=len(theta), condition=10)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
def test_the_tail_of_the_weights_of_a_gaussian_that_is_too_narrow_is_known(share):
    """Variance s² times the posterior's: w ∝ exp(½ z²(1 − s²)), a Pareto tail with k = 1 − s² up to logarithms."""
    post = problems.regression(inputs=1, outputs=1)
    exact = exact_posterior(post)
    L = np.linalg.cholesky(exact.covariance())
    q = Gaussian(exact.mean, FromScale(L @ np.diag([1.0, np.sqrt(share)])))  # narrow in one direction
    z = np.random.default_rng(21).normal(size=(1 << 18, 2))
    found = diagnostics.pareto_k(vi.log_weights(post, q, z))
    assert abs(found - (1 - share)) < 0.12  # standard error √((1 + k)²/1536) = 0.04, and what logarithms bend


# -- derivatives ------------------------------------------------------------------------------------------------------------


def moved(q, mean=0.0, covariance=0.0):
    """q with another mean, and with another covariance."""
    return Gaussian(q.mean + mean, Dense(np.linalg.inv(q.covariance() + covariance)))


@pytest.mark.parametrize("name", CASES)
def test_the_derivative_in_the_mean_is_the_expected_gradient(name):
    """Eq. (bonnet): the remainder of first order falls as h²."""
    post, q, step = CASES[name](), problems.gaussian(11, 2, 0.6), np.array([0.7, -0.4])
    at = vi.elbo(post, q, parameters())
    order = taylor_order(lambda h: vi.elbo(post, moved(q, h * step), parameters()).value - at.value - h * at.mean_gradient @ step)
    assert abs(order - 2) < 0.2


@pytest.mark.parametrize("name", CASES)
def test_the_derivative_in_the_covariance_is_half_the_expected_hessian(name):
    """Eq. (price): with the entropy's ½ Σ⁻¹."""
    post, q, step = CASES[name](), problems.gaussian(12, 2, 0.6), 0.1 * np.array([[1.0, 0.4], [0.4, -0.7]])
    at = vi.elbo(post, q, parameters())
    slope = 0.5 * ((q.precision.matrix() - at.energy_hessian) * step).sum()
    order = taylor_order(lambda h: vi.elbo(post, moved(q, 0, h * step), parameters()).value - at.value - h * slope)
    assert abs(order - 2) < 0.2


@pytest.mark.parametrize("name", CASES)
def test_stein_turns_gradients_times_normals_into_hessians(name):
    """Eq. (stein): E[∇U zᵀ] = E[∇²U] C, to the error of the rule."""
    post, q = CASES[name](), problems.gaussian(13, 2, 0.35)
    at = vi.elbo(post, q, parameters())
    agree(at.energy_cross, at.energy_hessian @ q.scale(), terms=1, condition=1e7)


def test_stein_of_second_order_turns_values_into_hessians():
    """Eq. (stein): E[U z zᵀ] − E[U] I = Cᵀ E[∇²U] C, and E[U C⁻ᵀ z] = E ∇U."""
    post, q = problems.network(), problems.gaussian(13, 2, 0.35)
    at = vi.elbo(post, q, parameters())
    U, z, w = -post.log_prob(q.from_normals(RULE.points)), RULE.points, RULE.weights
    second = (w * U * z.T) @ z - (w @ U) * np.eye(2)
    agree(second, q.scale().T @ at.energy_hessian @ q.scale(), terms=1, condition=1e7)
    agree((w * U) @ z, q.scale().T @ at.energy_gradient, terms=1, condition=1e7)


@pytest.mark.parametrize("name", CASES)
def test_the_gradient_in_the_scale_is_that_of_the_sum_itself(name):
    """Eq. (scale-gradient): exact for the rule, whatever its accuracy; here a rule of few points."""
    post, q = CASES[name](), problems.gaussian(14, 2, 0.8)
    how, step = parameters(quadrature.gauss_hermite(2, 4)), np.array([[0.3, 0.0], [-0.5, 0.4]])

    def of_scale(h):
        return Gaussian(q.mean, FromScale(np.linalg.cholesky(q.covariance()) + h * step))

    at = vi.elbo(post, of_scale(0), how)
    order = taylor_order(lambda h: vi.elbo(post, of_scale(h), how).value - at.value - h * (at.scale_gradient * step).sum())
    assert abs(order - 2) < 0.2


def test_the_expected_hessian_splits_into_gauss_newton_and_residual_part():
    """Eq. (expected-split), by a loop; the residual part is large, and can make E H indefinite where E G is not."""
    post, q = problems.network(), Gaussian(np.array([0.1, 0.2]), Dense(np.eye(2) / 0.3**2))
    rule = quadrature.gauss_hermite(2, 11)
    at, theta = vi.elbo(post, q, parameters(rule)).loss, q.from_normals(rule.points)
    plain = [np.tensordot(rule.weights, [of(post.loss.at(t)).full() for t in theta], 1) for of in (
        lambda c: c.hessian, lambda c: c.ggn, lambda c: c.residual_part)]
    agree(at.hessian, plain[0], terms=len(theta))
    agree(at.ggn, plain[1], terms=len(theta))
    agree(at.hessian - at.ggn, plain[2], terms=len(theta))
    assert np.linalg.norm(plain[2]) > 0.3 * np.linalg.norm(plain[0])
    assert np.linalg.eigvalsh(at.hessian)[0] < 0 < np.linalg.eigvalsh(at.ggn)[0]


def test_second_derivatives_in_pieces_are_those_at_once(monkeypatch):
    post, q = problems.network(), problems.gaussian(1, 2, 0.4)
    whole = vi.elbo(post, q, parameters()).loss.hessian
    monkeypatch.setattr(vi.expectations, "AT_ONCE", 1000)
    agree(vi.elbo(post, q, parameters()).loss.hessian, whole, terms=len(RULE.points))


# -- how expectations are taken ---------------------------------------------------------------------------------------------


def test_over_outputs_and_over_parameters_agree():
    """Eq. (output-expectations): one integral a datum against one over all parameters."""
    post, q = problems.logistic(), problems.gaussian(15, 2, 0.6)
    one, two = vi.elbo(post, q, OUTPUTS), vi.elbo(post, q, parameters())
    within(one.value, two.value, one.error, two.error)
    for name in ("gradient", "cross", "hessian", "ggn"):
        agree(getattr(one.loss, name), getattr(two.loss, name), terms=1, condition=1e8)


QUADRATIC = {
    "normal": likelihoods.Normal(0.37),
    "tempered": likelihoods.Tempered(likelihoods.Normal(0.37), 0.6),
    "full": likelihoods.NormalFull(np.array([[0.9, 0.4], [0.4, 0.7]])),
}


@pytest.mark.parametrize("likelihood", QUADRATIC.values(), ids=QUADRATIC)
def test_the_closed_form_is_the_sum_over_outputs_for_quadratic_losses(likelihood):
    """Eq. (delta-method): several outputs at once."""
    base = problems.regression()
    post = Posterior(base.net, likelihood, base.prior, base.X, base.y)
    q = problems.gaussian(16, post.num_params)
    one, two = vi.elbo(post, q, vi.ClosedForm()), vi.elbo(post, q, vi.OverOutputs(quadrature.gauss_hermite(2, 4)))
    agree(one.value, two.value, terms=1000)
    for name in ("gradient", "cross", "hessian"):
        agree(getattr(one.loss, name), getattr(two.loss, name), terms=1000)


def test_several_classes_are_summed_over_their_outputs():
    """Eq. (output-expectations) with softmax: a root of each 3 × 3 covariance, against Sobol points over all parameters."""
    rng = np.random.default_rng(17)
    net = problems.Mlp((1, 3), ())
    post = Posterior(net, likelihoods.Categorical(), priors.isotropic(6, 1.3), rng.normal(size=(5, 1)), rng.integers(0, 3, 5))
    q = problems.gaussian(18, 6, 0.5)
    one = vi.elbo(post, q, vi.OverOutputs(quadrature.gauss_hermite(3, 12)))
    two = vi.elbo(post, q, vi.OverParameters(quadrature.sobol(6, 1 << 12, 8, rng)))
    assert one.error < 1e-5 and two.error < 1e-3 and abs(one.value - two.value) < 6 * two.error
    assert np.abs(one.loss.hessian - two.loss.hessian).max() < 0.01 * np.abs(one.loss.hessian).max()


def test_every_rule_gives_the_bound_within_its_error():
    post, q, rng = problems.network(), problems.gaussian(1, 2, 0.4), np.random.default_rng(19)
    best = vi.elbo(post, q, parameters())
    for rule, largest in ((quadrature.trapezoid(2, 61), 1e-6), (quadrature.smolyak(2, 13), 1e-2),
                          (quadrature.sobol(2, 512, 8, rng), 1e-2), (quadrature.draws(rng.normal(size=(4096, 2))), 0.2)):
        at = vi.elbo(post, q, parameters(rule))
        assert at.error < largest
        assert abs(at.value - best.value) < 6 * at.error + best.error


ROUGH = {
    "over parameters": (problems.network, lambda n: vi.OverParameters(quadrature.gauss_hermite(2, n))),
    "over outputs": (problems.logistic, lambda n: vi.OverOutputs(quadrature.gauss_hermite(1, n))),
    "a prior that is summed": (problems.heavy_tailed, lambda n: vi.OverParameters(quadrature.gauss_hermite(2, n))),
}


@pytest.mark.parametrize("make, how", ROUGH.values(), ids=ROUGH)
def test_a_rough_rule_says_by_how_much_it_misses(make, how):
    """Of the bound, of E ∇U and of E ∇²U, entry by entry: no less than what 48 points find, and no 10⁴ times that."""
    q = problems.gaussian(8, 2, 0.9)
    few, many = vi.elbo(make(), q, how(6)), vi.elbo(make(), q, how(48))
    for name, error in (("value", "error"), ("energy_gradient", "gradient_error"),
                        ("energy_hessian", "summation_error"), ("energy_hessian", "hessian_error")):
        missed = np.abs(getattr(few, name) - getattr(many, name))
        estimated = getattr(few, error) + getattr(many, error)
        assert (missed <= estimated).all() and missed.max() > 1e-6, name
        assert np.max(estimated) < 1e4 * np.max(missed), name


@pytest.mark.parametrize("mean, std, num_points", [(0.3, 0.4, 20), (0.1, 0.2, 20), (0.5, 0.5, 9), (0.6, 0.3, 20), (0.3, 1.0, 48)])
def test_the_error_of_the_hessian_covers_a_kink(mean, std, num_points):
    """−log p = |θ|/b bends by 2/b at zero and nowhere else: E ∇²U = 1 + (2/b) N(0; mean, std²), of which points see the 1.

    Eq. (stein).
    """
    post = Posterior(problems.Mlp((1, 1), (), bias=False), likelihoods.Normal(1.0), priors.Laplace(1, 0.5), [[1.0]], [[0.7]])
    at = vi.elbo(post, Gaussian([mean], Dense([[std**-2.0]])), parameters(quadrature.gauss_hermite(1, num_points)))
    true = 1 + 4 * np.exp(-0.5 * (mean / std) ** 2) / (std * np.sqrt(2 * np.pi))
    agree(at.energy_hessian, [[1.0]], terms=num_points)
    assert at.summation_error < 1e-10
    assert true - 1 <= at.hessian_error[0, 0] < 4 * (true - 1)


@pytest.mark.parametrize("num_points", [4, 8, 20, 21, 40, 48])
def test_the_error_of_the_hessian_covers_what_lies_between_the_points(num_points):
    """σ′(f) for f ~ N(60, 10⁴) is a bump of area one that falls between nodes: E σ′ against a sum of 2·10⁶ points."""
    post = Posterior(problems.Mlp((1, 1), (), bias=False), likelihoods.Bernoulli(), priors.isotropic(1, 1e-4), [[1.0]], [[1.0]])
    at = vi.elbo(post, Gaussian([60.0], Dense([[1e-4]])), vi.OverOutputs(quadrature.gauss_hermite(1, num_points)))
    f = np.linspace(-60, 60, 2_000_001)
    true = np.exp(-0.5 * ((f - 60) / 100) ** 2) / (100 * np.sqrt(2 * np.pi)) @ (0.25 / np.cosh(f / 2) ** 2) * (f[1] - f[0])
    missed = np.abs(at.loss.hessian[0, 0] - true)
    assert 2e-3 < missed <= at.hessian_error[0, 0] < 10 * missed


def test_the_closed_form_knows_what_cancels_between_predictions_and_targets():
    """Against exact fractions: r = (f − y)/σ² with f and y of size 3·10⁷ and a difference of a tenth."""
    x, y, m, variance, precision = 1 / 3, 1e8 / 3 + 0.1, 1e8, 0.01, 4.0
    post = Posterior(problems.Mlp((1, 1), (), bias=False), likelihoods.Normal(variance), priors.isotropic(1, 1.0), [[x]], [[y]])
    found = vi.elbo(post, Gaussian([m], Dense([[precision]])), vi.ClosedForm()).loss
    apart, exact_x = Fraction(x) * Fraction(m) - Fraction(y), Fraction(x)
    gradient = exact_x * apart / Fraction(variance)
    value = (apart**2 + exact_x**2 / Fraction(precision)) / (2 * Fraction(variance))
    missed = abs(float(Fraction(float(found.gradient[0])) - gradient))
    assert 1e-9 < missed <= found.gradient_error[0] < 1e4 * missed
    missed = abs(float(Fraction(found.value) - Fraction(0.5 * np.log(2 * np.pi * variance)) - value))
    assert 1e-9 < missed <= found.error < 1e4 * missed


def test_the_delta_method_is_of_fourth_order():
    """Eq. (delta-method): E_q h = h(m) + ½ tr(Σ ∇²h) + O(ε⁴) for covariances ε²Σ."""
    post, q = problems.network(), problems.gaussian(20, 2, 0.5)
    value, H = post.loss.value(q.mean), post.loss.hessian(q.mean)

    def remainder(h):
        small = Gaussian(q.mean, Dense(q.precision.matrix() / h**2))
        return vi.elbo(post, small, parameters()).loss.value - value - 0.5 * h**2 * (q.covariance() * H).sum()

    assert abs(taylor_order(remainder, [2.0**-j for j in range(1, 5)]) - 4) < 0.2


def exact_posterior(post):
    """Of a linear model with Normal noise, by the normal equations."""
    J = post.net.jacobian(np.zeros(post.num_params), post.X).reshape(-1, post.num_params)
    P = post.prior.precision.matrix() + J.T @ J / post.likelihood.variance
    rhs = post.prior.precision.matvec(post.prior.mean) + J.T @ post.y.ravel() / post.likelihood.variance
    return Gaussian(np.linalg.solve(P, rhs), Dense(P))
