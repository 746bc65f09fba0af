"""The evidence itself, by quadrature or in closed form: derivatives, data, models (identities H1 to H4, H14 to H20)."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from refbnn import Gaussian, Mlp, activations, hyper, laplace, likelihoods, optimize, predict
from refbnn.hyper.likelihoods import NoiseVariance, Temperature
from refbnn.hyper.precisions import Precisions
from refbnn.testing import taylor_order
from tests.judge import agree, vanishes
from tests.test_hyper import derivatives, has_digits, linear_family

STEP, REACH = 0.1, 84  # of the trapezoidal rule; the prior beyond STEP·REACH has a mass below 1e-15
X = np.array([[0.7], [-1.2], [0.3], [1.6]])
Y = {"normal": np.array([[0.9], [-0.7], [0.1], [0.8]]), "bernoulli": np.array([[1.0], [0.0], [0.0], [1.0]])}
GRID = STEP * np.array(list(itertools.product(range(-REACH, REACH + 1), repeat=2)))
FAMILIES = {
    "noise": (NoiseVariance(), "normal", [0.1, 0.3, -0.4]),
    "temperature": (Temperature(likelihoods.Bernoulli()), "bernoulli", [-0.1, 0.3, 0.4]),
    "normal": (hyper.Fixed(likelihoods.Normal(0.5)), "normal", [0.1, 0.3]),
    "bernoulli": (hyper.Fixed(likelihoods.Bernoulli()), "bernoulli", [0.1, 0.3]),
}
DIGITS = 9  # of derivatives of a quadrature, see `derivatives`


def small(name, X=X, y=None):
    """The two-parameter network f = v tanh(w x) with a precision for each, and its η."""
    of_likelihood, kind, eta = FAMILIES[name]
    net = Mlp((1, 1, 1), activations.tanh, bias=False)
    return hyper.Family(net, of_likelihood, hyper.per_parameter(2), X, Y[kind] if y is None else y), np.array(eta)


def log_evidence(posterior, grid=GRID):
    """log p(y) by the trapezoidal rule."""
    return np.logaddexp.reduce(posterior.log_prob(grid)) + 2 * np.log(STEP)


def expectation(posterior, values, grid=GRID):
    """E_post of values (t ...) at the nodes of the grid."""
    return np.tensordot(np.exp(posterior.log_prob(grid) + 2 * np.log(STEP) - log_evidence(posterior, grid)), values, 1)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_quadrature_agrees_with_itself_on_every_second_node(name):
    """For an analytic integrand half the step squares the error, or better: that of the rule is below 1e-10."""
    made, eta = small(name)
    values = made.at(eta).log_prob(GRID).reshape(2 * REACH + 1, -1)
    coarse = np.logaddexp.reduce(values[::2, ::2].ravel()) + 2 * np.log(2 * STEP)
    assert abs(coarse - log_evidence(made.at(eta))) < 1e-5


# -- Fisher's identity (H1 to H4) -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["noise", "temperature", "bernoulli"])
def test_the_exact_gradient_is_the_posterior_mean_of_the_derivative_of_the_log_joint(name):
    """It holds for sums over nodes as for integrals, so that a few hundred nodes will do. Eq. (evidence-fisher-identity)."""
    (made, eta), some = small(name), GRID[::61]
    post, (of_prior, of_likelihood) = made.at(eta), made.split(eta)
    f = made.net.forward(some, made.X)
    from_prior = np.array([made.precisions.log_prob_derivatives(of_prior, theta) for theta in some])
    from_data = np.array([made.likelihoods.log_prob_derivatives(of_likelihood, one, post.loss.y).sum(-1) for one in f])
    expected = expectation(post, np.concatenate([from_prior, from_data], 1), some)
    has_digits(derivatives(lambda eta: log_evidence(made.at(eta), some), eta), expected, DIGITS)


def test_the_derivative_in_the_log_precision_is_half_of_p_minus_the_expected_square():
    """Eq. (evidence-gradient-precision)."""
    made, eta = small("bernoulli")
    squares = expectation(made.at(eta), GRID**2)
    has_digits(derivatives(lambda eta: log_evidence(made.at(eta)), eta), 0.5 - 0.5 * np.exp(eta) * squares, DIGITS)


def test_the_derivative_in_the_log_noise_variance_is_the_expected_misfit_less_half_a_count():
    """Eq. (evidence-gradient-noise)."""
    made, eta = small("noise")
    misfit = ((Y["normal"] - made.net.forward(GRID, X)) ** 2).sum((-1, -2))
    expected = 0.5 * expectation(made.at(eta), misfit) / np.exp(eta[2]) - 0.5 * len(X)
    found = derivatives(lambda noise: log_evidence(made.at([*eta[:2], *noise])), eta[2:])
    has_digits(found, np.array([expected]), DIGITS)


def test_the_derivatives_in_the_inverse_temperature_are_mean_and_variance_of_the_log_likelihood():
    """Eq. (temperature-monotone). Eq. (evidence-gradient-power)."""
    made, eta = small("temperature")
    plain, _ = small("bernoulli")
    log_likelihood = plain.at(eta[:2]).log_likelihood(GRID)
    beta = np.exp(-eta[2:])

    def mean(beta):
        return expectation(made.at([*eta[:2], -np.log(beta[0])]), log_likelihood)

    found = derivatives(lambda beta: log_evidence(made.at([*eta[:2], -np.log(beta[0])])), beta)
    has_digits(found, np.array([mean(beta)]), DIGITS)
    variance = expectation(made.at(eta), (log_likelihood - mean(beta)) ** 2)
    assert variance > 0.01
    has_digits(derivatives(mean, beta), np.array([variance]), DIGITS)


def test_posterior_means_move_with_the_precision_by_minus_half_a_covariance():
    """Eq. (posterior-mean-precision)."""
    made, eta = small("normal")
    values = GRID[:, 0] * GRID[:, 1] ** 3
    post, lam = made.at(eta), np.exp(eta)
    for j in range(2):
        squares = GRID[:, j] ** 2
        covariance = expectation(post, values * squares) - expectation(post, values) * expectation(post, squares)
        moved = derivatives(lambda eta: expectation(made.at(eta), values), eta)[j]
        has_digits(np.array([moved / lam[j]]), np.array([-0.5 * covariance]), DIGITS)


# -- distributions over data (H14 to H16) -----------------------------------------------------------------------------------


def labelings(n):
    """Every y in {0, 1}^n."""
    return [np.array(labels, dtype=float)[:, None] for labels in itertools.product((0, 1), repeat=n)]


def test_the_evidences_of_all_labelings_sum_to_one():
    """Eq. (total-mass)."""
    masses = [np.exp(log_evidence(small("bernoulli", y=y)[0].at([0.1, 0.3]))) for y in labelings(4)]
    agree(sum(masses), 1.0, terms=len(GRID))


def test_laplace_evidences_of_all_labelings_need_not_sum_to_one():
    """They do for no reason: neither with the Hessian nor with the GGN is the approximation a distribution over data."""
    start = np.random.default_rng(3).normal(size=2)
    for curvature in (hyper.hessian, hyper.ggn):
        masses = [np.exp(hyper.at(small("bernoulli", y=y)[0], curvature, np.array([0.1, 0.3]), start).log_evidence)
                  for y in labelings(4)]
        assert abs(sum(masses) - 1) > 1e-2


@pytest.mark.parametrize("name", ["normal", "bernoulli"])
def test_the_evidence_grows_by_the_predictive_density_of_the_next_datum(name):
    """Eq. (prequential)."""
    y, eta = Y[name], FAMILIES[name][2]
    before, after = small(name, X[:3], y[:3])[0].at(eta), small(name)[0].at(eta)
    f = before.net.forward(GRID, X[3:])
    predictive = expectation(before, np.exp(before.likelihood.log_prob(f, y[3:])[:, 0]))
    agree(np.exp(log_evidence(after) - log_evidence(before)), predictive, terms=len(GRID))


def test_in_the_linear_model_the_evidence_is_the_product_of_one_step_predictions():
    made, eta, total = linear_family(), np.array([0.3, -0.5, -1.0]), 0.0
    for n in range(1, 11):
        part = hyper.Family(made.net, made.likelihoods, made.precisions, made.X[:n], made.y[:n])
        q = hyper.at(part, hyper.ggn, eta, np.zeros(8)).q
        ahead = predict.moments(made.net, q, made.X[n:n + 1])
        total += Gaussian(ahead.mean[0], laplace.at(ahead.mean[0], np.linalg.inv(
            ahead.covariance[0] + np.exp(-1.0) * np.eye(2))).precision).log_prob(made.y[n])
    first = hyper.Family(made.net, made.likelihoods, made.precisions, made.X[:1], made.y[:1])
    total += hyper.at(first, hyper.ggn, eta, np.zeros(8)).log_evidence
    agree(hyper.at(made, hyper.ggn, eta, np.zeros(8)).log_evidence, total, terms=22, condition=1e3)


@pytest.mark.parametrize("name", ["normal", "bernoulli"])
def test_the_left_out_predictive_is_the_harmonic_mean_of_the_likelihood_of_the_datum(name):
    """Eq. (left-out-predictive)."""
    y, eta, post = Y[name], FAMILIES[name][2], small(name)[0].at(FAMILIES[name][2])
    f = post.net.forward(GRID, X)
    for n in range(4):
        rest = small(name, np.delete(X, n, 0), np.delete(y, n, 0))[0].at(eta)
        of_datum = np.exp(post.likelihood.log_prob(f[:, n:n + 1], y[n:n + 1])[:, 0])
        agree(1 / expectation(post, 1 / of_datum), expectation(rest, of_datum), terms=len(GRID), condition=10)


# -- what changes the evidence and what does not (H17 to H20) ---------------------------------------------------------------


def test_the_evidence_is_the_best_fit_less_half_of_p_log_n_up_to_a_constant():
    """BIC (Schwarz 1978): on replicated data the rest settles with an error O(1/N)."""
    made, eta = linear_family(), np.array([0.3, -0.5, -1.0])

    def rest(copies):
        copies = int(round(copies))
        data = np.tile(made.X, (copies, 1)), np.tile(made.y, (copies, 1))
        many = hyper.Family(made.net, made.likelihoods, made.precisions, *data)
        best = np.linalg.lstsq(np.column_stack([made.X, np.ones(11)]), made.y, rcond=None)[0]
        fit = many.at(eta).log_likelihood(np.concatenate([best[:3].T.ravel(), best[3]]))
        return hyper.at(many, hyper.ggn, eta, np.zeros(8)).log_evidence - fit + 4 * np.log(11 * copies)

    order = taylor_order(lambda h: rest(1 / h) - rest(1 / (2 * h)), [1 / 16, 1 / 32, 1 / 64, 1 / 128])
    assert abs(order - 1) < 0.05


@pytest.mark.parametrize("kind", ["normal", "bernoulli"])
def test_evidences_of_outputs_that_share_no_weights_add_up(kind):
    rng, noise = np.random.default_rng(6), {"normal": likelihoods.Normal(0.4), "bernoulli": likelihoods.Bernoulli()}
    X = rng.normal(size=(9, 2))
    y = rng.normal(size=(9, 3)) if kind == "normal" else rng.integers(0, 2, (9, 3)).astype(float)
    eta, values = np.array([-0.7]), []
    for targets in (y, *(y[:, [k]] for k in range(3))):
        net = Mlp((2, targets.shape[1]), ())
        made = hyper.Family(net, hyper.Fixed(noise[kind]), hyper.one(net.num_params), X, targets)
        found = hyper.at(made, hyper.hessian, eta, np.zeros(net.num_params))
        values.append([found.log_evidence, found.total_gradient[0]])
    agree(values[0], np.sum(values[1:], 0), terms=20, condition=1e3)


def network_family(X, y, groups, hidden=2):
    """A tanh network with Normal noise and given groups of precisions."""
    net = Mlp((X.shape[1], hidden, 1), activations.tanh)
    return hyper.Family(net, hyper.Fixed(likelihoods.Normal(0.2)), Precisions(groups), X, y)


@pytest.mark.parametrize("curvature", [hyper.hessian, hyper.ggn], ids=["hessian", "ggn"])
def test_the_evidence_depends_neither_on_the_order_of_data_nor_on_a_feature_that_is_always_zero(curvature):
    rng = np.random.default_rng(9)
    X = rng.normal(size=(13, 1))
    y = np.sin(2 * X) + 0.1 * rng.normal(size=X.shape)
    made, eta = network_family(X, y, np.zeros(7)), np.array([-0.5])
    start = optimize.maximize(made.at(eta), rng.normal(size=7)).theta
    plain, order = hyper.at(made, curvature, eta, start), rng.permutation(13)
    shuffled = hyper.at(network_family(X[order], y[order], np.zeros(7)), curvature, eta, start)
    agree(shuffled.log_evidence, plain.log_evidence, terms=20, condition=1e3)
    wider = network_family(np.column_stack([X, np.zeros(13)]), y, np.zeros(9))
    wide_start = np.concatenate([np.column_stack([start[:2], np.zeros(2)]).ravel(), start[2:]])
    padded = hyper.at(wider, curvature, eta, wide_start)
    agree(padded.log_evidence, plain.log_evidence, terms=20, condition=1e3)
    agree(padded.total_gradient, plain.total_gradient, terms=20, condition=1e5)


def test_a_hidden_unit_whose_output_is_held_at_zero_leaves_the_evidence_alone():
    """With the Hessian the difference falls as 1/λ of the outgoing weight; the tangent at an idle unit does not see it at all."""
    rng = np.random.default_rng(9)
    X = rng.normal(size=(13, 1))
    y = np.sin(2 * X) + 0.1 * rng.normal(size=X.shape)
    made = network_family(X, y, np.zeros(7))
    start = optimize.maximize(made.at([-0.5]), rng.normal(size=7)).theta
    wider = network_family(X, y, [0, 0, 0, 0, 0, 0, 0, 0, 1, 0], hidden=3)
    wide_start = np.insert(start, [2, 4, 6], 0.0)

    def difference(h, curvature=hyper.hessian):
        with_unit = hyper.at(wider, curvature, np.array([-0.5, -np.log(h)]), wide_start)
        return with_unit.log_evidence - hyper.at(made, curvature, np.array([-0.5]), start).log_evidence

    assert abs(taylor_order(difference, [1e-4 * 2.0**-j for j in range(4)]) - 1) < 0.05
    vanishes(difference(1e-3, hyper.ggn), scale=10.0, terms=20, condition=1e3)


# -- planted faults ---------------------------------------------------------------------------------------------------------

def after(owner, name, change):
    """The method's result goes through change(result, *its arguments)."""
    true = getattr(owner, name)
    return owner, name, lambda *arguments: change(true(*arguments), *arguments)


def row(test, *arguments):
    """A parametrised test at one row."""
    return lambda: test(*arguments)


FAULTS = {
    "H1 normaliser of the prior dropped": (
        after(Gaussian, "log_prob", lambda v, q, theta: v - 0.5 * q.precision.log_det()),
        test_the_derivative_in_the_log_precision_is_half_of_p_minus_the_expected_square),
    "H1 derivative in λ for that in log λ": (
        after(Precisions, "log_prob_derivatives", lambda v, self, eta, theta: v / np.exp(eta)),
        row(test_the_exact_gradient_is_the_posterior_mean_of_the_derivative_of_the_log_joint, "bernoulli")),
    "H2 normaliser of the noise dropped": (
        after(likelihoods.Normal, "log_density", lambda v, self, f, y: v + 0.5 * np.log(self.variance)),
        test_the_derivative_in_the_log_noise_variance_is_the_expected_misfit_less_half_a_count),
    "H3 prior tempered too": (
        after(Temperature, "likelihood", lambda v, self, eta: type("Cold", (), {
            **{name: getattr(v, name) for name in ("residual", "curvature", "check_targets")},
            "log_prob": staticmethod(lambda f, y: v.log_prob(f, y) * np.exp(0.1 * eta[0]))})()),
        test_the_derivatives_in_the_inverse_temperature_are_mean_and_variance_of_the_log_likelihood),
    "H3 sign of the derivative in T": (
        after(Temperature, "log_prob_derivatives", lambda v, *_: -v),
        row(test_the_exact_gradient_is_the_posterior_mean_of_the_derivative_of_the_log_joint, "temperature")),
    "H4 mean for sum over data": (
        after(type(small("normal")[0].at([0.0, 0.0])), "log_likelihood", lambda v, post, theta: v * (1 + 0.1 * np.log(
            post.prior.precision.diagonal()[0]))),
        test_posterior_means_move_with_the_precision_by_minus_half_a_covariance),
    "H14 a likelihood that does not sum to one": (
        after(likelihoods.Bernoulli, "log_density", lambda v, self, f, y: v + 1e-9),
        test_the_evidences_of_all_labelings_sum_to_one),
    "H15 a mean for the sum over data": (
        after(type(small("normal")[0].at([0.0, 0.0])), "log_likelihood", lambda v, post, theta: v / len(post.X)),
        row(test_the_evidence_grows_by_the_predictive_density_of_the_next_datum, "normal")),
    "H15 noise missing in the prediction": (
        after(predict, "moments", lambda m, net, q, X_new: predict.Moments(m.mean, 0.9 * m.covariance)),
        test_in_the_linear_model_the_evidence_is_the_product_of_one_step_predictions),
    "H16 data counted twice": (
        after(type(small("normal")[0].at([0.0, 0.0])), "log_likelihood", lambda v, post, theta: 2 * v),
        row(test_the_left_out_predictive_is_the_harmonic_mean_of_the_likelihood_of_the_datum, "bernoulli")),
    "H17 log |P| doubled": (
        (laplace, "log_evidence", lambda log_joint, q, true=laplace.log_evidence: true(
            log_joint, q) - 0.5 * q.precision.log_det()),
        test_the_evidence_is_the_best_fit_less_half_of_p_log_n_up_to_a_constant),
    "H18 2π once instead of p times": (
        (laplace, "log_evidence", lambda log_joint, q, true=laplace.log_evidence: true(log_joint, q) + 0.5 * (
            1 - q.num_params) * np.log(2 * np.pi)), row(test_evidences_of_outputs_that_share_no_weights_add_up, "bernoulli")),
    "H19 2π of the Laplace volume forgotten": (
        (laplace, "log_evidence", lambda log_joint, q, true=laplace.log_evidence: true(
            log_joint, q) - 0.5 * q.num_params * np.log(2 * np.pi)),
        row(test_the_evidence_depends_neither_on_the_order_of_data_nor_on_a_feature_that_is_always_zero, hyper.ggn)),
    "H20 normaliser of the prior dropped": (
        after(Gaussian, "log_prob", lambda v, q, theta: v - 0.5 * q.precision.log_det()),
        test_a_hidden_unit_whose_output_is_held_at_zero_leaves_the_evidence_alone),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_breaks_its_law(fault, monkeypatch):
    plant, law = FAULTS[fault]
    law()
    monkeypatch.setattr(*plant)
    with np.errstate(all="ignore"), pytest.raises((AssertionError, optimize.NotAMode)):
        law()
