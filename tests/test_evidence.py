"""Estimators of log p(y) against exact values: conjugate, by quadrature, and through what holds in expectation.

Every estimate is judged by its own standard error, |z| < 5.7, a false alarm in 10⁸ for a normal one: for the 30 or so judgements
here below 10⁻⁶. Standard errors are asserted as well: with 0.05 nats an error of 0.4 is found with probability 0.99.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.signal import lfilter

from refbnn import Gaussian, Mlp, Posterior, evidence, laplace, likelihoods, optimize, priors, quadrature
from refbnn.evidence import annealing, bidirectional, bridge_sampling, thermodynamic_integration
from refbnn.samplers import Hmc, Streams, smc
from refbnn.precision import Dense, Diagonal
from refbnn.testing import taylor_order
from tests.evidence_targets import PRECISION, both_modes, classification, conjugate, exact, exact_conjugate, exact_draws, leaping
from tests.evidence_targets import regression

SIGMAS = 5.7
SEEN = 0.4  # nats: found with probability 0.99 where the standard error is below 0.05
TARGETS = {"regression": regression, "classification": classification}


def by_importance(post):
    return evidence.importance(post, evidence.Defensive(both_modes(TARGETS["regression"]()), prior(), 0.3),
                               np.random.default_rng(1), 20000)


def prior():
    return priors.isotropic(2, PRECISION)


def by_bridge(post):
    draws = exact_draws(replace_target(post), np.random.default_rng(2), 4000).reshape(4, 1000, 2)
    return evidence.bridge(post, both_modes(replace_target(post)), draws, np.random.default_rng(3), 4000)


def by_annealing(post):
    path = evidence.Path(post, prior())
    return evidence.annealed(path, evidence.ladder(30), leaping, Streams.spawn(4, 400)).estimate()


def by_integration(post):
    path = evidence.Path(post, prior())
    return evidence.thermodynamic(path, evidence.gauss_legendre(12), leaping, Streams.spawn(5, 60), 70, num_warmup=8).estimate


def by_particles(post):
    """30 runs of 60 particles."""
    path = evidence.Path(post, prior())
    return evidence.sequential(path, evidence.ladder(10), leaping, 60, 30, np.random.default_rng(6), num_updates=2)


ESTIMATORS = [by_particles, by_importance, by_bridge, by_annealing, by_integration]


def replace_target(post):
    """The true posterior behind a faulty one."""
    return getattr(post, "true", post)


def agrees(estimate, truth):
    """Within 5.7 standard errors."""
    return abs(estimate.log_evidence - truth) < SIGMAS * estimate.standard_error


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_every_estimator_agrees_with_quadrature(estimator, name):
    """Eqs. (importance), (bridge), (ais) and (thermodynamic)."""
    post = TARGETS[name]()
    truth, error = exact(post)
    found = estimator(post)
    assert error < 1e-3 and agrees(found, truth) and 0 < found.standard_error < SEEN / (SIGMAS + 2.33)


# -- standard errors are true -----------------------------------------------------------------------------------------------


def test_the_standard_error_of_an_average_of_weights_is_what_repetitions_show():
    """Eq. (log-mean-weight): the mean of 300 squared scores is 1 ± √(2/300)."""
    post = classification()
    q, truth = both_modes(post), exact(post)[0]
    thetas = q.sample(np.random.default_rng(8), (300, 400))
    estimates = [evidence.of_weights(post.log_prob(theta) - q.log_prob(theta)) for theta in thetas]
    scores = [(each.log_evidence - truth) / each.standard_error for each in estimates]
    assert abs(np.mean(np.square(scores)) - 1) < SIGMAS * np.sqrt(2 / 300)


@pytest.mark.parametrize("num_draws, num_proposals", [(30, 2000), (75, 60)])
def test_the_standard_error_of_the_bridge_counts_the_autocorrelation_of_its_draws(num_draws, num_proposals):
    """Draws that are each repeated ten times: 200 scores with the error of a tenth as many draws.

    With many proposals their weight matters, with few the error of the draws' own mean.
    """
    post = classification()
    q, truth, every = both_modes(post), exact(post)[0], exact_draws(post, np.random.default_rng(0), 200 * 4 * num_draws)
    scores = []
    for seed, draws in enumerate(every.reshape(200, 4, num_draws, 2)):
        found = evidence.bridge(post, q, np.repeat(draws, 10, axis=1), np.random.default_rng(seed), num_proposals)
        scores.append((found.log_evidence - truth) / found.standard_error)
    assert abs(np.mean(np.square(scores)) - 1) < SIGMAS * np.sqrt(2 / 200)


def integration_law():
    """Autoregressive log ratios, correlated 0.9, at five β: 200 scores of the draws' part of the error."""
    rule, rng, scores = evidence.gauss_legendre(5), np.random.default_rng(9), []
    for _ in range(200):
        log_ratios = lfilter([np.sqrt(1 - 0.9**2)], [1.0, -0.9], rng.normal(size=(5, 4, 700)), axis=-1)[..., 100:]
        found = evidence.integrate(log_ratios, rule).estimate
        scores.append(found.log_evidence / (found.standard_error - found.rule_error))
    assert abs(np.mean(np.square(scores)) - 1) < SIGMAS * np.sqrt(2 / 200)


def test_the_standard_error_of_an_integral_counts_the_autocorrelation_of_its_draws():
    """Taken for independent they would score 19 = (1 + 0.9)/(1 − 0.9) instead of 1."""
    integration_law()


# -- what holds exactly -----------------------------------------------------------------------------------------------------


def test_the_path_from_the_prior_is_the_tempered_posterior():
    """Eq. (path)."""
    post, theta = regression(), np.random.default_rng(0).normal(size=(7, 2))
    between, tempered = evidence.Path(post, post.prior).at(0.3), post.tempered(0.3)
    assert np.allclose(between.log_prob(theta), tempered.log_prob(theta), rtol=1e-13)
    for ours, theirs in zip(between.value_and_gradient(theta), tempered.value_and_gradient(theta)):
        assert np.allclose(ours, theirs, rtol=1e-12, atol=1e-13)
    assert np.allclose(between.log_likelihood(theta), tempered.log_likelihood(theta), rtol=1e-12)
    assert between.prior is post.prior and between.num_params == 2


def test_a_path_ends_where_it_should():
    post, q = regression(), both_modes(regression())
    theta, path = np.random.default_rng(0).normal(size=(7, 2)), evidence.Path(regression(), both_modes(regression()))
    assert np.allclose(path.at(0.0).log_prob(theta), q.log_prob(theta), rtol=1e-13)
    assert np.allclose(path.at(1.0).log_prob(theta), post.log_prob(theta), rtol=1e-12)
    assert np.allclose(path.at(1.0).value_and_gradient(theta)[1], post.value_and_gradient(theta)[1], rtol=1e-11, atol=1e-12)


def exact_means(post, betas):
    """E_β[log p(y|θ)] by quadrature: (b)."""
    def moments(z):
        value = post.log_likelihood(post.prior.from_normals(z))
        powers = np.exp(np.outer(value, betas))
        return np.stack([powers, powers * value[:, None]], -1)

    normaliser, product = np.moveaxis(quadrature.trapezoid(2, 401).integrate(moments).value, -1, 0)
    return product / normaliser


def test_the_thermodynamic_integral_is_the_evidence():
    """Eqs. (thermodynamic) and (ti-rule), with exact means; what the rule leaves out falls geometrically with its points."""
    post, errors = classification(), []
    for count in (3, 5, 7, 12):
        rule = evidence.gauss_legendre(count)
        repeated = np.tile(exact_means(post, rule.betas)[:, None, None], (1, 2, 4))
        errors.append(abs(rule.weights @ repeated[:, 0, 0] - exact(post)[0]))
    assert errors[3] < 1e-8 and errors[0] > 10 * errors[1] > 100 * errors[2] > 1000 * errors[3]


def test_integrate_is_the_rule_applied_to_means_with_their_errors():
    rule, draws = evidence.gauss_legendre(5), np.random.default_rng(0).normal(size=(5, 5, 40)) + np.arange(5)[:, None, None]
    found = evidence.integrate(draws, rule)
    assert np.allclose(found.means, draws.mean((1, 2))) and np.allclose(found.variances, draws.var((1, 2), ddof=1))
    assert abs(found.estimate.log_evidence - rule.weights @ draws.mean((1, 2))) < 1e-13
    of_draws = found.estimate.standard_error - found.estimate.rule_error
    assert abs(of_draws / np.linalg.norm(rule.weights * found.errors) - 1) < 1e-11


def linear_means(seed, p, n, noise):
    """u(β) of a linear model with prior N(0, I) as a function, and log p(y), both in closed form."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p))
    y = X @ rng.normal(size=p) + noise * rng.normal(size=n)

    def mean(beta):
        covariance = np.linalg.inv(np.eye(p) + beta * X.T @ X / noise**2)
        residual = y - X @ covariance @ X.T @ y * beta / noise**2
        return -0.5 * (n * np.log(2 * np.pi * noise**2) + (residual @ residual + np.trace(X @ covariance @ X.T)) / noise**2)

    C = X @ X.T + noise**2 * np.eye(n)
    return mean, -0.5 * (n * np.log(2 * np.pi) + np.linalg.slogdet(C)[1] + y @ np.linalg.solve(C, y))


LINEAR = [(0, 3, 7, 0.3), (0, 3, 41, 0.1), (1, 11, 61, 0.1), (2, 5, 31, 0.02), (3, 19, 53, 0.1), (4, 3, 7, 1.0), (5, 2, 5, 0.01)]


def rule_law(left_out):
    for count in (5, 8, 12, 20):
        for case in LINEAR:
            mean, truth = linear_means(*case)
            rule = evidence.gauss_legendre(count)
            means = np.array([mean(beta) for beta in rule.betas])
            assert abs(rule.weights @ means - truth) <= left_out(rule, means)


def test_what_a_rule_leaves_out_is_below_what_it_states():
    """Conjugate linear models with exact means, from one that hardly needs a path to one whose u falls to −10⁵ at β = 0."""
    rule_law(evidence.Rule.left_out)


@pytest.mark.parametrize("fault", [
    lambda rule, means: 0.0, lambda rule, means: 0.1 * rule.left_out(means)],
    ids=["the draws' error alone", "a tenth of it"])
def test_an_error_that_leaves_out_a_rule_is_found_out(fault):
    with pytest.raises(AssertionError):
        rule_law(fault)


@pytest.mark.parametrize("count", [4, 5, 8, 13])
def test_lower_rules_are_exact_for_polynomials_through_their_points(count):
    """∫ g(s) ds over (0, 1) of s^d is 1/(d + 1), up to the degree that half of the points allow and not beyond."""
    rule = evidence.gauss_legendre(count, 2.0)
    s = np.sqrt(rule.betas)
    for row, size in zip(rule.lower, ((count + 1) // 2, count // 2)):
        assert np.count_nonzero(row) == size
        for degree in range(size):
            assert abs(row @ (s**degree / (2 * s)) - 1 / (degree + 1)) < 1e-13
        assert np.abs(np.diff((rule.lower / (2 * s)) @ s[:, None]**np.arange(2 * size), axis=0)).max() > 1e-6


def test_an_integral_whose_rule_leaves_out_most_is_refused():
    """The same draws, exact ones: five points are refused, and twenty are not."""
    mean, truth = linear_means(*LINEAR[1])
    noise = 5 * np.random.default_rng(0).normal(size=(20, 4, 500))
    few, many = (evidence.integrate(np.array([mean(beta) for beta in rule.betas])[:, None, None] + noise[:len(rule.betas)], rule)
                 for rule in map(evidence.gauss_legendre, (5, 20)))
    assert many.estimate.supported() is many.estimate and agrees(many.estimate, truth)
    with pytest.raises(evidence.Refused, match="a rule's error up to 5 of the draws'"):
        few.estimate.supported()
    assert abs(few.estimate.log_evidence - truth) <= few.estimate.standard_error
    with pytest.raises(evidence.Refused):
        evidence.integrate(noise, evidence.Rule(many.betas, evidence.gauss_legendre(20).weights)).estimate.supported()


@pytest.mark.parametrize("name", TARGETS)
def test_sums_of_rectangles_bound_the_evidence_from_both_sides(name):
    """Eq. (ti-bounds)."""
    post = TARGETS[name]()
    betas, truth = evidence.ladder(12), exact(post)[0]
    lower, upper = evidence.riemann(betas, exact_means(post, betas))
    finer_lower, finer_upper = evidence.riemann(evidence.ladder(48), exact_means(post, evidence.ladder(48)))
    assert lower < finer_lower < truth < finer_upper < upper and finer_upper - finer_lower < 0.3 * (upper - lower)


def test_the_variance_on_the_path_is_the_slope_of_the_mean():
    """du/dβ = Var_β[log p(y|θ)] > 0, which is why the bounds are bounds, Eq. (ti-slope); central differences of order h²."""
    post, h = classification(), 1e-3
    low, middle, high = exact_means(post, np.array([0.3 - h, 0.3, 0.3 + h]))

    def squares(z):
        value = post.log_likelihood(post.prior.from_normals(z))
        return np.exp(0.3 * value) * (value - middle)**2

    def mass(z):
        return np.exp(0.3 * post.log_likelihood(post.prior.from_normals(z)))

    rule = quadrature.trapezoid(2, 401)
    assert abs((high - low) / (2 * h) / (rule.integrate(squares).value / rule.integrate(mass).value) - 1) < 1e-4


@dataclass(frozen=True)
class Independent:
    """A kernel whose updates are independent draws of p_β ∝ p(y|θ)^β p(θ), of a conjugate posterior."""

    gaussian: Gaussian

    @classmethod
    def of(cls, post, beta):
        J, P = post.net.jacobian(np.zeros(post.num_params), post.X)[:, 0], post.prior.precision.matrix()
        P = P + beta * J.T @ J / post.likelihood.variance
        return cls(Gaussian(np.linalg.solve(P, beta * J.T @ post.loss.y[:, 0] / post.likelihood.variance), Dense(P)))

    def init(self, target, theta):
        return SimpleNamespace(theta=np.asarray(theta), target=target)

    def step(self, target, state, streams):
        assert state.target is target
        return self.init(target, self.gaussian.from_normals(streams.normals(self.gaussian.num_params))), None


def test_a_path_of_exact_draws_integrates_to_the_evidence():
    """Eq. (thermodynamic) without chains: the error is of 13 · 70 independent draws at every β, and of the rule."""
    post = conjugate()
    path = evidence.Path(post, post.prior)
    found = evidence.thermodynamic(path, evidence.gauss_legendre(12), lambda beta: Independent.of(post, beta),
                                   Streams.spawn(5, 13), 70, num_warmup=1).estimate
    assert agrees(found, exact_conjugate(post)) and found.standard_error < 0.2


def test_an_estimate_without_any_error_is_supported():
    assert evidence.Estimate(-3.0, 0.0, 50.0).supported().standard_error == 0.0


def test_what_is_simulated_are_parameters_of_the_prior_and_targets_that_they_make():
    post = conjugate()
    found = bidirectional.simulated(post.net, likelihoods.Normal(1e-20), post.prior, post.X, np.random.default_rng(9))
    assert np.array_equal(found.theta, post.prior.sample(np.random.default_rng(9)))
    assert np.abs(found.posterior.loss.y - post.net.forward(found.theta, post.X)).max() < 1e-9


def test_importance_sampling_from_the_exact_posterior_has_no_error():
    """Chib's identity, Eq. (chib): log p(y, θ) − log p(θ|y) is log p(y) at every θ."""
    post = conjugate()
    mode = optimize.maximize(post, np.zeros(3))
    q = laplace.at(mode.theta, post.negative_hessian(mode.theta))
    found = evidence.importance(post, q, np.random.default_rng(0), 50)
    assert abs(found.log_evidence - exact_conjugate(post)) < 1e-12 and found.standard_error < 1e-12
    assert abs(found.effective_size - 50) < 1e-9 and found.pareto_k == -np.inf


def test_the_bridge_between_equal_densities_is_one_whatever_their_draws():
    """Eq. (bridge) with p = q: the integrands are constant."""
    q = both_modes(classification())
    rng = np.random.default_rng(0)
    found = evidence.bridge(q, q, q.sample(rng, (3, 50)), rng, 100)
    assert abs(found.log_evidence) < 1e-12 and found.standard_error < 1e-12


def test_the_bridge_satisfies_its_own_equation():
    """The root is the fixed point in the form of Meng and Wong, in plain loops."""
    rng = np.random.default_rng(0)
    theirs, ours, offset = rng.normal(size=40), rng.normal(size=(3, 20)) + 1, np.log(60 / 40)
    r, s = np.exp(bridge_sampling.fixed_point(theirs, ours, offset)), np.array([0.6, 0.4])
    above = np.mean([np.exp(l) / (s[0] * np.exp(l) + s[1] * r) for l in theirs])
    below = np.mean([1 / (s[0] * np.exp(l) + s[1] * r) for l in ours.ravel()])
    assert abs(above / below / r - 1) < 1e-12


def test_the_total_mass_of_all_labellings_is_one():
    """Σ_y p(y) = 1, Eq. (labelling-mass): who forgets the prior, a constant or a mode is found out without any exact value."""
    post, total = classification(), 0.0
    for code in range(2**4):
        y = np.array([[(code >> i) & 1] for i in range(4)])
        total += np.exp(exact(Posterior(post.net, post.likelihood, post.prior, post.X[:4], y), 201)[0])
    assert abs(total - 1) < 1e-8


def test_the_evidence_over_one_half_space_times_the_order_of_the_symmetry_is_that_over_all():
    """Eq. (folding): the sign of the hidden unit folds the plane; the trapezoid has half a point on the edge."""
    post = regression()

    def half(z):
        return np.exp(post.log_likelihood(post.prior.from_normals(z))) * (1 + np.sign(z[:, 0])) / 2

    folded = np.log(2 * quadrature.trapezoid(2, 401).integrate(half).value)
    assert abs(folded - exact(post)[0]) < 1e-12


# -- annealing from both sides ----------------------------------------------------------------------------------------------

LINE = Mlp((1, 1), ())


def brackets(count=80, num_steps=3):
    """Simulated data on a line: bounds with a short ladder, and the exact log evidence, which for a linear model Laplace has."""
    X, prior = np.linspace(-1, 1, 5)[:, None], priors.isotropic(2, 0.5)
    rng, found = np.random.default_rng(1), []
    for seed in range(count):
        made = evidence.simulated(LINE, likelihoods.Normal(0.1), prior, X, rng)
        path, betas = evidence.Path(made.posterior, prior), evidence.ladder(num_steps, 2.0)
        forward = annealing.annealed(path, betas, short_leaps, Streams.spawn(2 * seed, 25))
        back = annealing.reverse_annealed(path, betas, short_leaps, np.tile(made.theta, (25, 1)), Streams.spawn(2 * seed + 1, 25))
        mode = post_mode(made.posterior)
        found.append((bidirectional.bracket(forward.log_weights, back.log_weights), mode, forward, back))
    return found


def post_mode(post):
    """The exact log evidence of a linear model."""
    return exact_conjugate(post)


def short_leaps(beta):
    return Hmc(step_size=0.3, num_steps=2, metric=Diagonal(np.ones(2)))


def sandwich_law():
    found = brackets()
    below = np.array([each.lower - truth for each, truth, _, _ in found])
    above = np.array([each.upper - truth for each, truth, _, _ in found])
    error = 1 / np.sqrt(len(found))
    assert below.mean() < -3 * below.std() * error and above.mean() > 3 * above.std() * error
    assert all(low <= truth <= high for (each, truth, _, _) in found for low, high in [each.sure(1 - 1e-6 / len(found))])
    return found


def test_short_annealing_brackets_the_evidence_of_simulated_data():
    """Eqs. (sandwich), (reverse-ais) and (exact-draw): on 80 data sets, means beyond log p(y) on either side by 3 errors or more.

    And the bounds of Markov's inequality hold on every one of them (a false alarm in 10⁶ runs).
    """
    found = sandwich_law()
    assert np.mean([each.gap for each, _, _, _ in found]) > 0.1


def test_weights_are_unbiased_however_short_the_ladder():
    """Eq. (ais): E[w] = p(y), E[1/w] = 1/p(y). On many chains of one data set, with the error of their mean."""
    post = classification()
    path, truth = evidence.Path(post, post.prior), exact(post)[0]
    forward = evidence.annealed(path, evidence.ladder(4), leaping, Streams.spawn(1, 3000))
    back = evidence.reverse_annealed(path, evidence.ladder(4), leaping, exact_draws(post, np.random.default_rng(1), 3000),
                                     Streams.spawn(2, 3000))
    for log_weights in (forward.log_weights - truth, truth - back.log_weights):
        w = np.exp(log_weights)
        assert abs(w.mean() - 1) < SIGMAS * w.std() / np.sqrt(len(w)) < 0.2
    assert forward.log_weights.mean() < truth - 0.03 and back.log_weights.mean() > truth + 0.03


# -- refusals ---------------------------------------------------------------------------------------------------------------


def test_weights_that_rest_on_few_draws_are_refused_but_can_be_read():
    post = regression()
    narrow = evidence.widened(both_modes(post).components[0], 0.01)
    with pytest.raises(evidence.Refused, match="expected at least 25 effective points") as caught:
        evidence.importance(post, narrow, np.random.default_rng(0), 200)
    assert caught.value.estimate.effective_size < 25 or caught.value.estimate.pareto_k > 0.7


@pytest.mark.parametrize("change", [{"effective_size": 24.0}, {"pareto_k": 0.71}, {"standard_error": np.nan}])
def test_an_estimate_is_refused_for_one_reason_alone(change):
    good = evidence.Estimate(-3.0, 0.01, 100.0, 0.3)
    assert good.supported() is good
    with pytest.raises(evidence.Refused):
        replace(good, **change).supported()


@pytest.mark.parametrize("call, message", [
    (lambda: evidence.Path(regression(), priors.isotropic(3, 1.0)), "start: expected 2 parameters"),
    (lambda: evidence.Path(regression(), prior()).at(1.5), "beta: expected a number from 0 to 1"),
    (lambda: evidence.annealed(evidence.Path(regression(), prior()), [0.0, 0.5], leaping, Streams.spawn(0, 2)), "from 0 to 1"),
    (lambda: evidence.riemann([0.0, 1.0], [1.0]), "means: expected shape"),
    (lambda: evidence.Rule([0.5, 0.4], [1.0, 1.0]), "betas: expected increasing"),
    (lambda: evidence.Rule([0.5, 1.0 + 1e-15], [1.0, 1.0]), "betas: expected increasing numbers from 0 to 1"),
    (lambda: evidence.Rule([-1e-300, 0.5], [1.0, 1.0]), "betas: expected increasing numbers from 0 to 1"),
    (lambda: evidence.Defensive(prior(), priors.isotropic(3, 1.0)), "safe: expected 2 parameters"),
    (lambda: evidence.Defensive(prior(), prior(), 1.0), "share: expected a number between"),
    (lambda: evidence.of_weights(np.ones(24)), "log_weights: expected at least 25"),
    (lambda: evidence.bridge(regression(), prior(), np.ones((4, 5, 3)), np.random.default_rng(0), 50), "draws: expected shape"),
    (lambda: evidence.Bracket(0.0, 1.0, 0.1, 0.1).sure(1.0), "probability"),
    (lambda: evidence.StudentT(prior(), -1.0), "degrees_of_freedom: expected a positive"),
])
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_safe_proposals_are_normalised_and_drawn_as_they_say():
    """E_t[g/t] = 1 for a Gaussian g under the t and under a defensive mixture; t draws have covariance Σ ν/(ν − 2)."""
    rng = np.random.default_rng(0)
    centre = priors.full(np.array([[2.0, 0.7], [0.7, 1.5]]), mean=np.array([0.3, -1.0]))
    t = evidence.StudentT(centre, 7.0)
    for q in (t, evidence.Defensive(evidence.widened(centre, 0.5), t, 0.2)):
        w = np.exp(centre.log_prob(theta := q.sample(rng, (20000,))) - q.log_prob(theta))
        assert abs(w.mean() - 1) < SIGMAS * w.std() / np.sqrt(len(w))
    covariance = np.cov(t.sample(rng, (200000,)).T)
    assert np.abs(covariance / (centre.covariance() * 7 / 5) - 1).max() < 0.05
    assert t.sample(rng).shape == (2,) and evidence.Defensive(t, centre).sample(rng).shape == (2,)
    assert np.allclose(evidence.widened(centre, 3.0).covariance(), 3 * centre.covariance())


def test_the_gradients_of_safe_proposals_are_slopes():
    """Central differences: what is left falls as h²."""
    centre = priors.full(np.array([[2.0, 0.7], [0.7, 1.5]]), mean=np.array([0.3, -1.0]))
    t, theta, along = evidence.StudentT(centre, 7.0), np.array([[0.5, 0.2], [-2.0, 1.0]]), np.array([0.6, -0.8])
    for q in (t, evidence.Defensive(centre, t, 0.3)):
        slope = q.gradient(theta) @ along
        order = taylor_order(lambda h: (q.log_prob(theta + h * along) - q.log_prob(theta - h * along)) / (2 * h) - slope)
        assert abs(order - 2) < 0.1


# -- planted faults ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Faulty:
    """A posterior whose log density has `fault(theta)` nats too many."""

    true: object
    fault: object
    num_params: int = 2

    def log_prob(self, theta):
        return self.true.log_prob(theta) + self.fault(self.true, theta)

    def value_and_gradient(self, theta):
        value, gradient = self.true.value_and_gradient(theta)
        return value + self.fault(self.true, theta), gradient


FAULTS = {
    "prior missing": lambda post, theta: -post.prior.log_prob(theta),
    "constant of the prior missing": lambda post, theta: -np.log(PRECISION / (2 * np.pi)),
    "constant of the likelihood missing": lambda post, theta: 0.5 * 5 * np.log(2 * np.pi * 0.2),
    "copies counted twice": lambda post, theta: np.log(2),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_density_with_something_missing_is_found_out(estimator, fault):
    post = regression()
    try:
        found = estimator(Faulty(post, FAULTS[fault]))
    except evidence.Refused as refused:
        found = refused.estimate
    assert not agrees(found, exact(post)[0]) and abs(found.log_evidence - exact(post)[0]) > SEEN


def test_one_mode_of_two_is_found_out():
    """The logarithm of the number of copies: a bridge from one mode, to draws that stay there, has half the mass."""
    post = classification()
    draws = exact_draws(post, np.random.default_rng(2), 8000)
    one = both_modes(post).components[0]
    near = draws[((draws - one.mean)**2).sum(1) < ((draws + one.mean)**2).sum(1)][:3000].reshape(3, 1000, 2)
    found = evidence.bridge(post, one, near, np.random.default_rng(3), 3000)
    assert not agrees(found, exact(post)[0]) and SEEN < exact(post)[0] - found.log_evidence < 1.0


def not_reset(path, betas, kernel, streams, num_updates=1):
    """The whole power at every step, instead of its increment."""
    true = TRUE["annealed"](path, betas, kernel, streams, num_updates)
    return annealing.Annealed(true.theta, true.log_weights + betas[-2] * path.log_ratio(true.theta))


def weighed_after(path, betas, kernel, streams, num_updates=1):
    """The increment with the state after the update, instead of before."""
    theta, log_weights = path.start.sample(np.random.default_rng(0), (len(streams.generators),)), 0.0
    for before, beta in zip(betas, betas[1:]):
        theta = annealing.moved(path.at(beta), kernel(float(beta)), theta, streams, num_updates)
        log_weights = log_weights + (beta - before) * path.log_ratio(theta)
    return annealing.Annealed(theta, log_weights)


TRUE = {"annealed": annealing.annealed}


@pytest.mark.parametrize("fault", [not_reset, weighed_after])
def test_wrong_increments_are_found_out(fault, monkeypatch):
    monkeypatch.setattr(annealing, "annealed", fault)
    monkeypatch.setattr(evidence, "annealed", fault)
    with pytest.raises(AssertionError):
        test_weights_are_unbiased_however_short_the_ladder()


def test_bounds_in_the_wrong_direction_are_found_out(monkeypatch):
    true = bidirectional.bracket
    monkeypatch.setattr(bidirectional, "bracket", lambda forward, reverse: true(reverse, forward))
    with pytest.raises(AssertionError):
        sandwich_law()


def test_draws_that_are_not_the_posteriors_break_the_upper_bound(monkeypatch):
    """Reverse chains that start at draws of the prior: no bound above."""
    true = annealing.reverse_annealed
    monkeypatch.setattr(annealing, "reverse_annealed", lambda path, betas, kernel, theta, streams: true(
        path, betas, kernel, path.start.sample(np.random.default_rng(0), (len(theta),)), streams))
    with pytest.raises(AssertionError):
        sandwich_law()


class SizeOfIntegrandOnly:
    """The number of draws in the error alone: the first call of three is that of the weights of the bridge."""

    def __init__(self):
        self.calls, self.true = 0, bridge_sampling._size

    def __call__(self, chains):
        self.calls += 1
        return self.true(chains) if self.calls % 3 == 1 else chains.size


@pytest.mark.parametrize("fault, sizes", [(lambda: np.size, (30, 2000)), (SizeOfIntegrandOnly, (75, 60))],
                         ids=["everywhere", "in the error only"])
def test_an_error_that_takes_dependent_draws_for_independent_is_found_out(fault, sizes, monkeypatch):
    monkeypatch.setattr(bridge_sampling, "_size", fault())
    with pytest.raises(AssertionError):
        test_the_standard_error_of_the_bridge_counts_the_autocorrelation_of_its_draws(*sizes)


def test_an_integral_that_takes_dependent_draws_for_independent_is_found_out(monkeypatch):
    monkeypatch.setattr(thermodynamic_integration, "mcse_mean", lambda x: x.std((0, 1)) / np.sqrt(x[..., 0].size))
    with pytest.raises(AssertionError):
        integration_law()


def test_bounds_that_hold_together_are_as_far_apart_as_markov_asks():
    """Each fails with probability at most e^{−b}; 2 e^{−b} = 0.1."""
    low, high = evidence.Bracket(-3.0, -2.0, 0.1, 0.1).sure(0.9)
    assert np.allclose([low, high], [-3 - np.log(20), -2 + np.log(20)], rtol=1e-15)


def test_too_few_weights_for_the_fit_of_their_tail_are_refused():
    with pytest.raises(ValueError, match="log_weights: expected at least 25, which the fit of a tail needs, got 1"):
        evidence.of_weights(np.array([-2.5]))


class Still:
    """A kernel that stays where it is."""

    def init(self, target, theta):
        return SimpleNamespace(theta=theta)

    def step(self, target, state, streams):
        return state, None


def test_in_one_step_from_prior_to_posterior_particles_weigh_by_the_likelihood():
    """Runs on the ladder (0, 1) are means of the likelihood over draws of the prior, wherever particles move afterwards."""
    path = evidence.Path(regression(), prior())
    found = evidence.sequential(path, np.array([0.0, 1.0]), lambda beta: Still(), 200, 40, np.random.default_rng(8))
    assert agrees(found, exact(regression())[0]) and found.standard_error < 0.1


def test_rungs_of_a_ladder_are_no_two_alike():
    with pytest.raises(ValueError, match="betas: expected increasing numbers above 0 that end with 1"):
        smc.given(np.array([0.5, 0.5, 1.0]))
