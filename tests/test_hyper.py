"""The Laplace evidence of hyper-parameters: gradients, fixed points, maximum, online scheme, marginal (identities H5 to H13)."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from numpy.polynomial import chebyshev
from scipy.integrate import quad, quad_vec

from refbnn import Linearised, Mlp, Posterior, activations, gp, hyper, kronecker, likelihoods, linearised, optimize, priors
from refbnn.hyper import alternating, marginal, maximum
from refbnn.hyper import point as point_module
from refbnn.hyper.likelihoods import NoiseVariance
from refbnn.hyper.point import Evidence
from refbnn.hyper.precisions import Precisions
from refbnn.networks import mlp
from refbnn.networks.pullback import Pullback
from refbnn.precision import Dense
from tests.judge import agree, vanishes

NODES, RADIUS = 13, 0.08  # of the interpolant of a re-optimised evidence: its derivative has about ten digits
NET = Mlp((2, 3, 2), activations.tanh)
P = NET.num_params
CURVATURES = {"hessian": hyper.hessian, "ggn": hyper.ggn}
STRUCTURES = {
    "layers of the GGN": hyper.layer_blocks(hyper.ggn), "layers of the Hessian": hyper.layer_blocks(hyper.hessian),
    "diagonal of the GGN": hyper.diagonal(hyper.ggn), "diagonal of the Hessian": hyper.diagonal(hyper.hessian),
    "KFAC": hyper.kfac,
}


def data(kind, n=23):
    """Inputs, and targets that depend on them."""
    rng = np.random.default_rng(5)
    X = rng.normal(size=(n, 2))
    f = np.stack([np.sin(X[:, 0]) + 0.3 * X[:, 1], X[:, 0] * X[:, 1]], -1)
    return X, {
        "normal": f + 0.2 * rng.normal(size=f.shape), "bernoulli": (f + rng.logistic(size=f.shape) > 0).astype(float),
        "categorical": (f[:, 0] + rng.logistic(size=n) > f[:, 1]).astype(int),
        "poisson": rng.poisson(np.exp(0.7 * f)).astype(float),
    }[kind]


FAMILIES = {
    "noise, one precision": ("normal", NoiseVariance(), hyper.one(P, mean=0.1), [0.2, -1.5]),
    "noise, per layer": ("normal", NoiseVariance(), hyper.per_layer(NET.layer_sizes), [0.1, -0.4, -1.5]),
    "categorical, per layer": ("categorical", hyper.Fixed(likelihoods.Categorical()), hyper.per_layer(NET.layer_sizes),
                               [-0.3, -1.1]),
    "poisson, three groups": ("poisson", hyper.Fixed(likelihoods.Poisson()), Precisions(np.arange(P) % 3), [-1.0, 0.5, 0.0]),
    "tempered bernoulli": ("bernoulli", hyper.Temperature(likelihoods.Bernoulli()), hyper.one(P), [-1.1, -0.3]),
    "tempered student": ("normal", hyper.Temperature(likelihoods.StudentT(0.3, 5.0)), hyper.one(P), [-0.2, 0.2]),
}


@cache
def family(name):
    """(family, η, a mode there, the best of a few starts)."""
    kind, of_likelihood, precisions, eta = FAMILIES[name]
    made = hyper.Family(NET, of_likelihood, precisions, *data(kind))
    rng, found = np.random.default_rng(11), []
    for _ in range(6):
        try:
            found.append(optimize.maximize(made.at(eta), rng.normal(size=P)))
        except optimize.NotAMode:
            continue
    return made, np.array(eta, dtype=float), max(found, key=lambda mode: mode.log_prob).theta


@cache
def linear_family(noise=True):
    """No hidden layer and Normal noise: everything is exact."""
    rng = np.random.default_rng(2)
    net, X = Mlp((3, 2), ()), rng.normal(size=(11, 3))
    y = X @ rng.normal(size=(3, 2)) + 0.5 * rng.normal(size=(11, 2))
    of_likelihood = NoiseVariance() if noise else hyper.Fixed(likelihoods.Normal(0.3))
    return hyper.Family(net, of_likelihood, Precisions([0, 0, 0, 1, 1, 1, 0, 1], mean=0.2), X, y)


def derivatives(function, eta):
    """The gradient of function(η), from the Chebyshev interpolant along every axis."""
    nodes, slopes = chebyshev.chebpts1(NODES), []
    for axis in np.eye(len(eta)):
        values = [function(eta + RADIUS * t * axis) for t in nodes]
        coefficients = chebyshev.chebfit(nodes, values, NODES - 1)
        assert np.abs(coefficients[-3:]).max() < 1e-8 * np.abs(coefficients).max(), "the interpolant has not converged"
        slopes.append(chebyshev.chebval(0.0, chebyshev.chebder(coefficients)) / RADIUS)
    return np.array(slopes)


def has_digits(value, expected, digits):
    """Assert ‖value − expected‖ <= 10^−digits ‖expected‖."""
    error = np.linalg.norm(value - expected)
    assert error <= 10.0**-digits * np.linalg.norm(expected), (value, expected)


# -- gradients (H5, H6, H7, H10, H11) ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("curvature", CURVATURES)
@pytest.mark.parametrize("name", FAMILIES)
def test_the_total_gradient_is_the_derivative_of_the_re_optimised_evidence(name, curvature):
    """Eqs. (evidence-function) and (total-gradient)."""
    made, eta, mode = family(name)
    choice = CURVATURES[curvature]
    found = hyper.at(made, choice, eta, mode)
    expected = derivatives(lambda eta: hyper.at(made, choice, eta, mode).log_evidence, eta)
    has_digits(found.total_gradient, expected, 7)


@pytest.mark.parametrize("curvature", CURVATURES)
@pytest.mark.parametrize("name", FAMILIES)
def test_the_direct_gradient_is_the_derivative_at_a_frozen_mode_and_differs_from_the_total_one(name, curvature):
    """Eq. (direct-gradient)."""
    made, eta, mode = family(name)
    found = Evidence(made, CURVATURES[curvature], eta, mode)
    expected = derivatives(lambda eta: Evidence(made, CURVATURES[curvature], eta, mode).log_evidence, eta)
    has_digits(found.direct_gradient, expected, 9)
    assert np.linalg.norm(found.direct_gradient - found.total_gradient) > 1e-3 * np.linalg.norm(found.total_gradient)


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("name", ["noise, per layer", "categorical, per layer", "poisson, three groups"])
def test_the_gradients_of_an_evidence_of_any_structure_are_derivatives_frozen_and_re_optimised(name, structure):
    """Eqs. (structured-evidence) and (kfac-trace-gradient)."""
    (made, eta, mode), choice = family(name), STRUCTURES[structure]
    found = hyper.at(made, choice, eta, mode)
    frozen = derivatives(lambda eta: Evidence(made, choice, eta, found.theta).log_evidence, eta)
    has_digits(found.direct_gradient, frozen, 9)
    re_optimised = derivatives(lambda eta: hyper.at(made, choice, eta, found.theta).log_evidence, eta)
    has_digits(found.total_gradient, re_optimised, 7)
    assert np.linalg.norm(found.direct_gradient - found.total_gradient) > 1e-3 * np.linalg.norm(found.total_gradient)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_the_structured_precision_is_the_prior_plus_the_structure_of_the_curvature(structure):
    """What stands in each evidence, by the package's other routes to the same matrices."""
    made, eta, mode = family("categorical, per layer")
    point = Evidence(made, STRUCTURES[structure], eta, mode)
    at, prior = point.curvatures, np.diag(np.repeat(np.exp(eta), NET.layer_sizes))
    full = (at.hessian if "Hessian" in structure else at.ggn).full()
    ones = np.repeat(np.arange(2), NET.layer_sizes)
    expected = {"layers": full * (ones[:, None] == ones), "diagonal": full * np.eye(P), "KFAC": kronecker.kfac(at.ggn).matrix()}
    agree(point.q.precision.matrix(), prior + expected[structure.split()[0]], terms=P)


def test_kfac_gradients_of_the_linearised_family_see_activations_that_do_not_move():
    made, eta, mode = family("categorical, per layer")
    linear = made.linearised(mode + 0.1 * np.cos(np.arange(P)))
    found = hyper.at(linear, hyper.kfac, eta, mode)
    has_digits(found.total_gradient, derivatives(lambda eta: hyper.at(linear, hyper.kfac, eta, mode).log_evidence, eta), 7)


def test_kfac_gradients_of_a_network_without_biases_are_refused():
    net = Mlp((2, 3, 2), activations.tanh, bias=False)
    made = hyper.Family(net, hyper.Fixed(likelihoods.Bernoulli()), hyper.one(12), *data("bernoulli"))
    with pytest.raises(ValueError, match="net: expected a network with biases"):
        Evidence(made, hyper.kfac, np.zeros(1), np.linspace(-1, 1, 12)).trace_gradient


@pytest.mark.parametrize("name", FAMILIES)
def test_the_mode_moves_as_the_implicit_function_theorem_says(name):
    """Eq. (mode-derivative)."""
    made, eta, mode = family(name)
    found = hyper.at(made, hyper.ggn, eta, mode)
    for derivative, axis in zip(found.mode_derivatives, np.eye(len(eta))):
        moved = [optimize.maximize(made.at(eta + h * axis), mode).theta for h in (1e-3, -1e-3, 2e-3, -2e-3)]
        expected = (8 * (moved[0] - moved[1]) - (moved[2] - moved[3])) / 12e-3
        has_digits(derivative, expected, 6)


def test_the_direct_gradient_of_a_precision_is_half_of_gamma_minus_the_weighted_square():
    """Eq. (direct-gradient-precision)."""
    made, eta, mode = family("categorical, per layer")
    found, S = Evidence(made, hyper.ggn, eta, mode), None
    precisions = np.repeat(np.exp(eta), NET.layer_sizes)
    S = np.linalg.inv(found.posterior.loss.ggn(mode) + np.diag(precisions))
    expected, start = [], 0
    for size, precision in zip(NET.layer_sizes, np.exp(eta)):
        block = range(start, start + size)
        start += size
        gamma = size - precision * sum(S[j, j] for j in block)
        expected.append(0.5 * (gamma - precision * sum(mode[j] ** 2 for j in block)))
    agree(found.direct_gradient, expected, terms=P, condition=np.linalg.cond(S))


def test_gradients_per_layer_and_per_parameter_sum_to_that_of_one_precision():
    made, _, mode = family("tempered bernoulli")
    for choice in CURVATURES.values():
        kinds = (hyper.one(P), hyper.per_layer(NET.layer_sizes), hyper.per_parameter(P))
        of_each = []
        for precisions in kinds:
            same = hyper.Family(NET, hyper.Fixed(likelihoods.Bernoulli()), precisions, made.X, made.y)
            start = hyper.at(same, choice, np.full(precisions.num_hyper, -0.4), mode)
            of_each.append((start.direct_gradient.sum(), start.total_gradient.sum(), start.log_evidence))
        for others in of_each[1:]:
            agree(others, of_each[0], terms=P, condition=1e5)


def closed_form(made, eta):
    """log N(y; Jμ₀, K) and its gradient, K = J P₀⁻¹ Jᵀ + σ²I, of the linear family: nothing of the package but the network."""
    variances, noise = np.exp(-eta[:2])[made.precisions.groups], np.exp(eta[2])
    J = made.net.jacobian(np.zeros(8), made.X).reshape(22, 8)
    e = made.y.ravel() - J @ np.full(8, 0.2)
    K = (J * variances) @ J.T + noise * np.eye(22)
    alpha = np.linalg.solve(K, e)
    changes = [-(J * (variances * (made.precisions.groups == g))) @ J.T for g in (0, 1)] + [noise * np.eye(22)]
    gradient = [0.5 * alpha @ change @ alpha - 0.5 * np.trace(np.linalg.solve(K, change)) for change in changes]
    return -0.5 * e @ alpha - 0.5 * np.linalg.slogdet(2 * np.pi * K)[1], np.array(gradient)


@pytest.mark.parametrize("curvature", CURVATURES)
@pytest.mark.parametrize("eta", [[0.3, -0.5, -1.0], [2.0, 1.0, 0.5], [-2.0, 1.5, -2.5]])
def test_in_the_linear_model_evidence_and_gradients_are_those_of_the_gaussian_process(curvature, eta):
    made, eta = linear_family(), np.array(eta)
    found = hyper.at(made, CURVATURES[curvature], eta, np.zeros(8))
    value, gradient = closed_form(made, eta)
    agree(found.log_evidence, value, terms=22, condition=1e3)
    agree(found.total_gradient, gradient, terms=22, condition=1e3)
    agree(found.direct_gradient, gradient, terms=22, condition=1e3)
    vanishes(found.trace_gradient, scale=1.0, terms=22)


# -- fixed points (H8, H9) --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("update", [hyper.mackay, hyper.em])
def test_in_the_linear_model_a_fixed_point_is_a_stationary_point_of_the_exact_evidence(update):
    made = linear_family()
    found = hyper.iterate(update, made, hyper.ggn, np.zeros(3), np.zeros(8), tolerance=1e-11, max_iterations=2000)
    assert found.converged and found.change < 1e-11
    assert np.abs(closed_form(made, found.point.eta)[1]).max() < 1e-9


def test_mackay_em_and_gradient_ascent_find_the_same_point_of_the_linear_model():
    """Eq. (fixed-points-agree)."""
    made, start = linear_family(), (np.zeros(3), np.zeros(8))
    mackay = hyper.iterate(hyper.mackay, made, hyper.ggn, *start).point.eta
    em = hyper.iterate(hyper.em, made, hyper.ggn, *start).point.eta
    ascent = hyper.maximize(made, hyper.ggn, *start, tolerance=1e-8)
    assert ascent.converged
    assert np.abs(mackay - em).max() < 1e-7 and np.abs(mackay - ascent.point.eta).max() < 1e-6


@pytest.mark.parametrize("eta", [[0.0, 0.0, 0.0], [4.0, -3.0, 2.0], [-4.0, 4.0, -3.0]])
def test_in_the_linear_model_em_never_goes_down(eta):
    made = linear_family()
    values = hyper.iterate(hyper.em, made, hyper.ggn, np.array(eta), np.zeros(8), max_iterations=60).log_evidences
    assert len(values) > 5 and values[-1] > values[0] + 0.1
    assert (np.diff(values) > -1e-12 * np.abs(values[0])).all()


def test_updates_are_the_formulas_of_the_linear_model():
    """Eqs. (mackay) and (em)."""
    made, eta = linear_family(), np.array([0.3, -0.5, -1.0])
    found = hyper.at(made, hyper.ggn, eta, np.zeros(8))
    J = made.net.jacobian(np.zeros(8), made.X).reshape(22, 8)
    in_group, noise = made.precisions.groups == np.array([[0], [1]]), np.exp(-1.0)
    S = np.linalg.inv(J.T @ J / noise + np.diag(np.exp(eta[:2])[made.precisions.groups]))
    centred, misfit = found.theta - 0.2, ((made.y.ravel() - J @ found.theta) ** 2).sum()
    squares, traces = [(centred[g] ** 2).sum() for g in in_group], [np.diag(S)[g].sum() for g in in_group]
    gamma = 4 - np.exp(eta[:2]) * traces
    agree(np.exp(hyper.mackay(found)), [*gamma / squares, misfit / (22 - gamma.sum())], terms=22, condition=100)
    expected = [4 / (squares[0] + traces[0]), 4 / (squares[1] + traces[1]), (misfit + np.trace(J @ S @ J.T)) / 22]
    agree(np.exp(hyper.em(found)), expected, terms=22, condition=100)


@pytest.mark.parametrize("curvature", CURVATURES)
def test_in_a_network_the_fixed_point_of_mackay_has_no_direct_gradient_but_is_not_stationary(curvature):
    """Eq. (mackay-not-stationary)."""
    made, eta, mode = family("noise, one precision")
    found = hyper.iterate(hyper.mackay, made, CURVATURES[curvature], eta, mode)
    assert found.converged
    assert np.abs(found.point.direct_gradient).max() < 1e-7
    assert np.abs(found.point.total_gradient).max() > 0.1
    best = hyper.maximize(made, CURVATURES[curvature], found.point.eta, found.point.theta)
    assert best.point.log_evidence > found.point.log_evidence + 1e-3


def test_an_iteration_that_is_cut_short_says_so():
    found = hyper.iterate(hyper.em, linear_family(), hyper.ggn, np.zeros(3), np.zeros(8), max_iterations=2)
    assert not found.converged and found.change > 1e-9 and len(found.log_evidences) == 3


# -- the maximum ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, curvature", [
    ("noise, one precision", "hessian"), ("noise, one precision", "ggn"), ("noise, per layer", "hessian"),
    ("categorical, per layer", "ggn"),
])
def test_at_the_maximum_the_derivative_of_the_re_optimised_evidence_vanishes(name, curvature):
    made, eta, mode = family(name)
    choice = CURVATURES[curvature]
    best = hyper.maximize(made, choice, eta, mode)
    assert best.converged and best.gradient_norm < 1e-6 and best.num_evaluations > 2
    assert best.gradient_norm == np.linalg.norm(best.point.total_gradient)
    slopes = derivatives(lambda eta: hyper.at(made, choice, eta, best.point.theta).log_evidence, best.point.eta)
    assert np.abs(slopes).max() < 1e-5
    for axis in 0.1 * np.eye(made.num_hyper):
        for moved in (best.point.eta + axis, best.point.eta - axis):
            assert hyper.at(made, choice, moved, best.point.theta).log_evidence < best.point.log_evidence


def test_a_search_along_a_branch_of_modes_that_ends_is_refused():
    """The Hessian evidence grows without bound towards the precision at which two modes merge; there is no maximum to report."""
    made, eta, mode = family("categorical, per layer")
    with pytest.raises(optimize.NotAMode):
        hyper.maximize(made, hyper.hessian, eta, mode)


def test_a_search_that_cannot_reach_its_tolerance_says_so():
    made, eta, mode = family("noise, one precision")
    best = hyper.maximize(made, hyper.ggn, eta, mode, tolerance=1e-300)
    assert not best.converged and best.gradient_norm > 1e-300


def temperature_without_a_prior():
    """Labels, one precision and a temperature: the evidence grows with both, without end, Eq. (temperature-monotone)."""
    X = np.random.default_rng(7).normal(size=(19, 2))
    labels = (np.random.default_rng(8).random((19, 1)) < 0.5).astype(float)
    return hyper.Family(Mlp((2, 1), ()), hyper.Temperature(likelihoods.Bernoulli()), hyper.one(3), X, labels)


def one_relevant_input():
    """A linear model with a precision for each weight, the last two of which the data switch off, Eq. (automatic-relevance)."""
    rng = np.random.default_rng(4)
    X = rng.normal(size=(29, 3))
    y = X[:, :1] + 0.3 * rng.normal(size=(29, 1))
    y -= X[:, 1:] @ np.linalg.lstsq(X, y, rcond=None)[0][1:]  # least squares gives them 0, less than a standard error
    return hyper.Family(Mlp((3, 1), (), bias=False), hyper.Fixed(likelihoods.Normal(0.09)), hyper.per_parameter(3), X, y)


RUNAWAYS = {"temperature": (temperature_without_a_prior, [0, 1]), "irrelevant inputs": (one_relevant_input, [1, 2])}


@pytest.mark.parametrize("name, start", [("temperature", 0.0), ("temperature", 45.0), ("irrelevant inputs", 0.0),
                                         ("irrelevant inputs", 25.0)])
def test_an_optimum_at_infinity_is_not_called_a_maximum_and_the_newton_step_says_who_runs_off(name, start):
    """The gradient vanishes there: only because the function is flat. From a start far out it vanishes at once."""
    (make, runaways), eta = RUNAWAYS[name], np.zeros(2 if name == "temperature" else 3)
    eta[runaways[-1]] = start
    best = hyper.maximize(make(), hyper.ggn, eta, np.zeros(3))
    assert best.gradient_norm < 1e-6 and not best.converged
    assert np.abs(best.newton_step).max() > 0.9
    if start == 0.0:
        assert np.flatnonzero(np.abs(best.newton_step) > 0.1).tolist() == runaways
        assert np.abs(np.abs(best.newton_step[runaways]) - 1).max() < 1e-3, "c/λ has one unit of log for a Newton step"


def test_newtons_step_along_a_direction_without_curvature_is_a_whole_unit():
    """There the second differences are round-off, of either sign, and would make any step of the gradient's round-off."""
    axes, gradient = np.linalg.qr(np.random.default_rng(6).normal(size=(3, 3)))[0], [-0.04, 1e-16, -1e-16]
    for round_off in (1e-13, -1e-13, 0.0):
        curvature = axes @ np.diag([2.0, round_off, -round_off]) @ axes.T
        found = maximum._newton_step(axes @ gradient, 0.5 * (curvature + curvature.T))
        agree(found @ axes[:, 0], -0.02, terms=3, condition=100)
        agree(np.linalg.norm(found), np.sqrt(2 + 0.02**2), terms=3, condition=100)


def test_mackays_iteration_to_an_infinite_precision_says_which_it_is():
    with pytest.raises(ValueError, match="hyper-parameter [12] moved most.* may be at infinity|finite precision"):
        hyper.iterate(hyper.mackay, one_relevant_input(), hyper.ggn, np.zeros(3), np.zeros(3))
    pinned = hyper.Family(Mlp((3, 1), (), bias=False), hyper.Fixed(likelihoods.Normal(0.09)), hyper.one(3),
                          np.random.default_rng(4).normal(size=(29, 3)), np.zeros((29, 1)))
    with pytest.raises(ValueError, match="finite precision"):
        hyper.iterate(hyper.mackay, pinned, hyper.ggn, np.zeros(1), np.zeros(3))


def test_the_second_derivative_at_a_maximum_is_that_of_the_gaussian_process():
    made = linear_family()
    best = hyper.maximize(made, hyper.ggn, np.zeros(3), np.zeros(8))
    steps = 1e-4 * np.eye(3)
    expected = [(closed_form(made, best.point.eta - h)[1] - closed_form(made, best.point.eta + h)[1]) / 2e-4 for h in steps]
    assert np.abs(best.negative_second_derivative - expected).max() < 1e-5 * np.abs(expected).max()
    newton = np.linalg.solve(expected, best.point.total_gradient)
    assert np.abs(best.newton_step - newton).max() < 1e-4 * np.linalg.norm(newton) + 1e-12


# -- the linear model's own evidence (H12, H13) -----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_away_from_a_mode_the_ggn_formula_is_below_the_linear_models_evidence_by_half_the_squared_newton_decrement(seed):
    made, eta, mode = family("noise, per layer")
    theta = mode + 0.3 * np.random.default_rng(seed).normal(size=P)
    here, own = Evidence(made, hyper.ggn, eta, theta), hyper.at(made.linearised(theta), hyper.hessian, eta, theta)
    gradient = made.at(eta).value_and_gradient(theta)[1]
    gap = 0.5 * gradient @ np.linalg.solve(here.q.precision.matrix(), gradient)
    assert gap > 0.1
    agree(own.log_evidence - here.log_evidence, gap, terms=P, condition=1e4)
    agree(own.theta, theta + here.q.precision.solve(gradient), terms=P, condition=1e4)


def test_the_family_of_the_linearised_network_has_the_exact_evidence_of_its_gaussian_process():
    """Eq. (own-mode-evidence)."""
    made, eta, mode = family("noise, per layer")
    theta = mode + 0.2
    own = hyper.at(made.linearised(theta), hyper.hessian, eta, theta)
    J, f = NET.jacobian(theta, made.X).reshape(-1, P), NET.forward(theta, made.X).ravel()
    K = J @ np.diag(np.repeat(np.exp(-eta[:2]), NET.layer_sizes)) @ J.T + np.exp(eta[2]) * np.eye(len(J))
    e = made.y.ravel() - (f - J @ theta)
    expected = -0.5 * e @ np.linalg.solve(K, e) - 0.5 * np.linalg.slogdet(2 * np.pi * K)[1]
    agree(own.log_evidence, expected, terms=P, condition=1e4)
    agree(own.total_gradient, own.direct_gradient, terms=P, condition=1e4)


@pytest.mark.parametrize("kind, likelihood", [("categorical", likelihoods.Categorical()), ("poisson", likelihoods.Poisson())])
def test_the_total_gradient_of_the_linear_model_is_that_of_its_gaussian_process(kind, likelihood):
    """Weight space, through third derivatives of the loss, and function space, through kernels, share no formula (H11).

    Eq. (gp-evidence-gradient).
    """
    precisions, eta, (X, y) = hyper.per_parameter(P, mean=0.1), np.linspace(-0.5, 1.0, P), data(kind)
    theta = 0.6 * np.random.default_rng(13).normal(size=P)
    linear = hyper.Family(Linearised(NET, theta), hyper.Fixed(likelihood), precisions, X, y)
    here = hyper.at(linear, hyper.hessian, eta, theta)
    there = gp.laplace(gp.GaussianProcess(linear.net, precisions.prior(eta)), likelihood, X, y)
    agree(here.log_evidence, there.posterior.log_evidence, terms=P, condition=1e4)
    agree(here.total_gradient, gp.laplace_log_precision_gradient(there, likelihood, y), terms=P, condition=1e6)
    agree(here.direct_gradient, gp.log_precision_gradient(there.posterior), terms=P, condition=1e6)
    assert np.linalg.norm(here.total_gradient - here.direct_gradient) > 1e-3


def test_at_a_mode_network_and_linear_model_have_the_same_ggn_evidence_but_not_the_same_gradient():
    made, eta, mode = family("categorical, per layer")
    here, own = hyper.at(made, hyper.ggn, eta, mode), hyper.at(made.linearised(mode), hyper.hessian, eta, mode)
    agree(own.log_evidence, here.log_evidence, terms=P, condition=1e4)
    agree(own.direct_gradient, here.direct_gradient, terms=P, condition=1e4)
    assert np.linalg.norm(own.total_gradient - here.total_gradient) > 1e-2


def test_the_linear_models_evidence_is_maximised_at_fixed_linearisation_point():
    made, eta, mode = family("noise, per layer")
    linear = made.linearised(mode)
    best = hyper.maximize(linear, hyper.hessian, eta, mode)
    fixed = hyper.iterate(hyper.mackay, linear, hyper.ggn, eta, mode)
    assert best.converged and fixed.converged
    assert np.abs(best.point.eta - fixed.point.eta).max() < 1e-5
    assert isinstance(best.point.posterior.net, Linearised)


# -- the online scheme ------------------------------------------------------------------------------------------------------


def test_in_the_linear_model_the_online_scheme_is_coordinate_ascent_to_the_maximum():
    made = linear_family()
    run = hyper.online(made, hyper.ggn, np.zeros(3), np.ones(8), 60, eta_steps=10)
    values = [point.log_evidence for point in run.points]
    assert len(values) == 61 and (np.diff(values) > -1e-12 * abs(values[0])).all()
    assert run.theta_gradient_norm < 1e-4 and run.direct_gradient_norm < 1e-4
    assert np.abs(closed_form(made, run.points[-1].eta)[1]).max() < 1e-4


def test_in_the_linear_model_one_step_of_the_online_scheme_in_theta_lands_on_the_mode():
    """Gauss-Newton is exact there: with any other matrix than G + P₀ the step would end elsewhere."""
    made, eta = linear_family(), np.array([0.3, -0.5, -1.0])
    after = hyper.online(made, hyper.ggn, eta, np.ones(8), 1).points[1].theta
    J = made.net.jacobian(np.zeros(8), made.X).reshape(22, 8)
    A = J.T @ J * np.exp(1.0) + np.diag(np.exp(eta[:2])[made.precisions.groups])
    agree(after, 0.2 + np.linalg.solve(A, J.T @ (made.y.ravel() - J @ np.full(8, 0.2)) * np.exp(1.0)), terms=22,
          condition=np.linalg.cond(A))


def test_in_a_network_the_online_scheme_rests_where_mackays_rule_does():
    made, eta, mode = family("noise, one precision")
    fixed = hyper.iterate(hyper.mackay, made, hyper.ggn, eta, mode)
    run = hyper.online(made, hyper.ggn, eta, mode, 80, theta_steps=3, eta_steps=5)
    assert run.theta_gradient_norm < 1e-4 and run.direct_gradient_norm < 1e-4
    assert np.abs(run.points[-1].eta - fixed.point.eta).max() < 1e-4
    assert np.abs(run.points[-1].total_gradient).max() > 0.1


def test_every_block_of_the_online_scheme_goes_up_its_own_function():
    """Eq. (online-blocks)."""
    made, eta, mode = family("noise, per layer")
    run = hyper.online(made, hyper.ggn, eta, mode + 0.5, 15)
    for before, after in zip(run.points, run.points[1:]):
        assert before.posterior.log_prob(after.theta) >= before.posterior.log_prob(before.theta)
        between = Evidence(made, hyper.ggn, before.eta, after.theta)
        assert after.log_evidence >= between.log_evidence
    assert run.points[-1].log_evidence > run.points[0].log_evidence + 1


# -- hyper-parameters integrated out ----------------------------------------------------------------------------------------


def one_precision():
    """The linear model with one precision, for which everything but the last integral is exact."""
    made = linear_family(noise=False)
    return hyper.Family(made.net, made.likelihoods, hyper.one(8), made.X, made.y), priors.isotropic(1, 0.25)


def test_the_marginal_over_one_hyper_parameter_is_that_of_adaptive_quadrature_within_its_error_estimate():
    """Eq. (hyper-marginal)."""
    made, hyper_prior = one_precision()
    found = hyper.marginalise(made, hyper.ggn, hyper_prior, np.zeros(1), np.zeros(8))
    J, y = made.net.jacobian(np.zeros(8), made.X).reshape(22, 8), made.y.ravel()

    def density(eta):
        K = np.exp(-eta) * J @ J.T + 0.3 * np.eye(22)
        value = -0.5 * y @ np.linalg.solve(K, y) - 0.5 * np.linalg.slogdet(2 * np.pi * K)[1]
        return np.exp(value + hyper_prior.log_prob([eta]) - found.log_evidence)

    expected = np.log(quad(density, -25, 25, epsabs=0, epsrel=1e-10, limit=400)[0])
    assert abs(expected) <= found.error < 1e-4
    agree(found.weights.sum(), 1.0, terms=len(found.weights))
    mean = quad(lambda eta: eta * density(eta), -25, 25, epsabs=1e-9, limit=400)[0]
    assert abs(sum(w * point.eta[0] for w, point in zip(found.weights, found.points)) - mean) < 1e-4


def test_the_posterior_with_the_precision_integrated_out_is_the_mixture_over_it():
    """Its mean and covariance by total variance, from adaptive quadrature of the closed forms.

    A mass ε that a rule leaves out or misplaces moves the mean by at most ε sup |m(η) − m|, and the covariance C by at most
    ε sup |S(η) + (m(η) − m)(m(η) − m)ᵀ − C| to first order in ε.
    """
    made, hyper_prior = one_precision()
    found = hyper.marginalise(made, hyper.ggn, hyper_prior, np.zeros(1), np.zeros(8))
    J, y = made.net.jacobian(np.zeros(8), made.X).reshape(22, 8), made.y.ravel()

    def given(eta):
        S = np.linalg.inv(J.T @ J / 0.3 + np.exp(eta) * np.eye(8))
        return S @ J.T @ y / 0.3, S

    def moments(eta):
        K, (mean, S) = np.exp(-eta) * J @ J.T + 0.3 * np.eye(22), given(eta)
        value = -0.5 * y @ np.linalg.solve(K, y) - 0.5 * np.linalg.slogdet(2 * np.pi * K)[1]
        mass = np.exp(value + hyper_prior.log_prob([eta]) - found.log_evidence)
        return mass * np.concatenate([mean, (S + np.outer(mean, mean)).ravel()])

    expected = quad_vec(moments, -25, 25, epsabs=1e-11, epsrel=1e-11)[0]
    mean, second = expected[:8], expected[8:].reshape(8, 8)
    covariance = second - np.outer(mean, mean)
    members = [given(eta) for eta in np.linspace(-25, 25, 101)]
    furthest = max(np.abs(m - mean).max() for m, _ in members)
    widest = max(np.abs(S + np.outer(m - mean, m - mean) - covariance).max() for m, S in members)
    assert np.abs(found.posterior.mean() - mean).max() < found.error * furthest
    assert np.abs(found.posterior.covariance() - covariance).max() < found.error * widest
    agree(found.posterior.weights, found.weights, terms=len(found.weights), condition=10)


def test_a_coarser_or_shorter_rule_says_that_it_is_worse():
    made, hyper_prior = one_precision()
    arguments = made, hyper.ggn, hyper_prior, np.zeros(1), np.zeros(8)
    reference = hyper.marginalise(*arguments, spacing=0.25, half_width=9)
    assert reference.error < 1e-7
    for spacing, half_width in ((1.5, 6), (1.0, 2), (0.5, 2), (0.5, 6)):
        rule = hyper.marginalise(*arguments, spacing=spacing, half_width=half_width)
        assert abs(rule.log_evidence - reference.log_evidence) <= rule.error, (spacing, half_width)
    with pytest.raises(ValueError, match="even number"):
        hyper.marginalise(*arguments, spacing=2.0, half_width=6)


SPACINGS = (0.5, 0.25, 0.125, 0.0625)


def test_the_error_estimate_of_the_marginal_covers_what_lies_beyond_the_grid_at_every_spacing():
    """A wide prior over log λ and targets of zero: at six standard deviations the tail still holds 0.8 per cent."""
    X = np.random.default_rng(4).normal(size=(30, 3))
    net, fixed = Mlp((3, 1), (), bias=False), hyper.Fixed(likelihoods.Normal(0.09))
    made = hyper.Family(net, fixed, hyper.one(3), X, np.zeros((30, 1)))
    spectrum = np.concatenate([np.linalg.svd(X, compute_uv=False)**2, np.zeros(27)])

    def density(eta):
        value = -0.5 * np.log(2 * np.pi * (spectrum * np.exp(-eta) + 0.09)).sum()
        return np.exp(value - 0.005 * eta**2 + 0.5 * np.log(0.01 / (2 * np.pi)))

    exact = np.log(quad(density, -80, 80, points=[-10, 0, 10], epsabs=0, epsrel=1e-10, limit=400)[0])
    for spacing in SPACINGS:
        rule = hyper.marginalise(made, hyper.ggn, priors.isotropic(1, 0.01), [0.0], np.zeros(3), spacing=spacing)
        off = abs(rule.log_evidence - exact)
        assert 5e-3 < off <= rule.error < 2 * off, spacing


def test_the_mass_beyond_a_grid_is_that_of_geometric_tails_corners_included():
    nodes, factors = np.array([(i, j) for i in range(-4, 5) for j in range(-4, 5)]), np.array([0.7, 0.4])
    log_weights = np.abs(nodes) @ np.log(factors)
    inside, whole = np.exp(log_weights).sum(), np.prod((1 + factors) / (1 - factors))
    agree(marginal._beyond(log_weights - np.log(inside), nodes, 4), whole / inside - 1, terms=81, condition=100)
    assert marginal._beyond(0.1 * nodes[:, 0], nodes, 4) == np.inf, "a tail that does not fall has no bound"


def test_the_marginal_over_two_hyper_parameters_is_the_double_sum_within_its_error_estimate():
    made, hyper_prior = linear_family(noise=False), priors.per_parameter([0.5, 1.0], mean=[0.3, -0.2])
    found = hyper.marginalise(made, hyper.ggn, hyper_prior, np.zeros(2), np.zeros(8), spacing=1.0, half_width=4)
    axis, total = np.linspace(-9, 9, 61), []
    for a in axis:
        total += [closed_form(made, np.array([a, b, np.log(0.3)]))[0] + hyper_prior.log_prob([a, b]) for b in axis]
    assert len(found.points) == 9**2
    assert abs(found.log_evidence - np.logaddexp.reduce(total) - 2 * np.log(axis[1] - axis[0])) <= found.error < 0.05
    best = max(found.points, key=lambda point: point.log_evidence + hyper_prior.log_prob(point.eta))
    assert best is found.points[0], "the grid is centred at the maximum"


def test_the_marginal_of_a_network_does_not_depend_on_the_grid():
    made, eta, mode = family("tempered bernoulli")
    same = hyper.Family(NET, hyper.Fixed(likelihoods.Bernoulli()), made.precisions, made.X, made.y)
    hyper_prior, eta = priors.isotropic(1, 4.0, mean=eta[0]), eta[:1]
    rules = [hyper.marginalise(same, hyper.ggn, hyper_prior, eta, mode, spacing=h) for h in (0.75, 0.5)]
    assert abs(rules[0].log_evidence - rules[1].log_evidence) <= rules[0].error + rules[1].error < 0.1


# -- families ---------------------------------------------------------------------------------------------------------------


def test_a_member_of_a_family_is_the_posterior_with_the_exponentials_of_eta():
    made, eta, mode = family("noise, per layer")
    prior = priors.per_layer(NET.layer_sizes, np.exp(eta[:2]))
    plain = Posterior(NET, likelihoods.Normal(np.exp(eta[2])), prior, made.X, made.y)
    assert made.num_hyper == 3 and made.at(eta).log_prob(mode) == plain.log_prob(mode)
    tempered = family("tempered bernoulli")
    plain = Posterior(NET, likelihoods.Bernoulli(), priors.isotropic(P, np.exp(-1.1)), tempered[0].X, tempered[0].y)
    agree(tempered[0].at([-1.1, 0.0]).log_prob(mode), plain.log_prob(mode), terms=P)
    at_two = tempered[0].at([-1.1, np.log(2.0)])
    agree(at_two.log_likelihood(mode), plain.log_likelihood(mode) / 2, terms=P)


def tempered_point():
    """An evidence with a temperature, for which there is no fixed-point rule."""
    made, eta, mode = family("tempered bernoulli")
    return Evidence(made, hyper.ggn, eta, mode)


@pytest.mark.parametrize("make, message", [
    (lambda: Precisions([0, 2, 2]), "groups"),
    (lambda: Precisions([]), "groups"),
    (lambda: Precisions([0.5, 1.0]), "groups"),
    (lambda: Precisions([-1, 0]), "groups"),
    (lambda: hyper.one(0), "num_params"),
    (lambda: hyper.per_layer((3, 0)), "layer_sizes"),
    (lambda: hyper.one(3, mean=np.ones(2)), "mean"),
    (lambda: hyper.Fixed(np.ones(3)), "member"),
    (lambda: hyper.Family(NET, likelihoods.Normal(1.0), hyper.one(P), *data("normal")), "likelihoods"),
    (lambda: hyper.Family(NET, NoiseVariance(), priors.isotropic(P, 1.0), *data("normal")), "precisions"),
    (lambda: linear_family().at(np.zeros(2)), "eta"),
    (lambda: linear_family().at([0.0, np.nan, 0.0]), "eta"),
    (lambda: hyper.maximize(linear_family(), hyper.ggn, np.zeros(3), np.zeros(8), tolerance=0.0), "tolerance"),
    (lambda: hyper.at(linear_family(), hyper.ggn, [800.0, 0.0, 0.0], np.zeros(8)), r"eta: .*between -300 and 300, got \[800"),
    (lambda: hyper.at(linear_family(), hyper.ggn, [0.0, 0.0, -301.0], np.zeros(8)), r"eta: .*got \[-301.0\] at positions \[2\]"),
    (lambda: linear_family().precisions.prior([0.0, 800.0]), "eta: "),
    (lambda: NoiseVariance().likelihood([800.0]), "eta: "),
    (lambda: hyper.Temperature(likelihoods.Bernoulli()).likelihood([-800.0]), "eta: "),
    (lambda: hyper.mackay(tempered_point()), "mackay"),
    (lambda: hyper.em(tempered_point()), "em"),
])
def test_bad_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_mackays_rule_refuses_a_negative_number_of_parameters():
    with pytest.raises(ValueError, match="well-determined"):
        hyper.one(3).mackay(np.zeros(1), np.ones(3), np.full(3, 2.0))
    with pytest.raises(ValueError, match="well-determined"):
        NoiseVariance().mackay(np.zeros(1), np.zeros((2, 1)), np.ones((2, 1)), 2.0)


# -- planted faults ---------------------------------------------------------------------------------------------------------

def row(test, *arguments):
    """A parametrised test at one row."""
    return lambda: test(*arguments)


def prop(function):
    """A property in the place of a cached one."""
    return property(function)


def step_with_twice_the_prior(posterior, theta):
    """Goes up and comes to rest at the mode, as every positive-definite matrix would make it."""
    matrix = posterior.loss.ggn(theta) + 2 * posterior.prior.negative_hessian(theta)
    return theta + Dense(matrix).solve(posterior.value_and_gradient(theta)[1])


TOTAL = {name: row(test_the_total_gradient_is_the_derivative_of_the_re_optimised_evidence, "categorical, per layer", name)
         for name in CURVATURES}
FAULTS = {
    "H6 the GGN in the implicit function theorem": (
        Evidence, "mode_derivatives", prop(lambda self: self.q.precision.solve(self.gradient_derivatives)), TOTAL["ggn"]),
    "H6 direct gradient for the total one": (
        Evidence, "total_gradient", prop(lambda self: self.direct_gradient), TOTAL["hessian"]),
    "H6 trace gradient of the GGN for the Hessian": (
        None, "trace_gradient_of_hessian", None, TOTAL["hessian"]),
    "H6 sign of the implicit term": (Evidence, "total_gradient", prop(
        lambda self: self.direct_gradient + 0.5 * self.mode_derivatives @ self.trace_gradient), TOTAL["ggn"]),
    "H6 the prior missing in the implicit function theorem": (Evidence, "mode_derivatives", prop(
        lambda self: np.linalg.solve(self.posterior.loss.hessian(self.theta), self.gradient_derivatives.T).T), TOTAL["ggn"]),
    "KFAC: inputs held still": (mlp.Evaluation, "inputs_vjp", lambda self, l, v: np.zeros(self.num_params), row(
        test_the_gradients_of_an_evidence_of_any_structure_are_derivatives_frozen_and_re_optimised,
        "categorical, per layer", "KFAC")),
    "KFAC: inputs of the linear model moved": (
        linearised.LinearisedEvaluation, "inputs_vjp", lambda self, l, v: self.base.inputs_vjp(l, v),
        test_kfac_gradients_of_the_linearised_family_see_activations_that_do_not_move),
    "KFAC for the layers' blocks": (
        Pullback, "layer_blocks", lambda self, block_size=None: [block.matrix() for block in kronecker.kfac(self).blocks],
        row(test_the_structured_precision_is_the_prior_plus_the_structure_of_the_curvature, "layers of the GGN")),
    "prior mean missing in the derivative of the gradient": (
        Precisions, "gradient_derivatives", lambda self, eta, theta: -np.exp(eta)[:, None] * theta,
        row(test_the_total_gradient_is_the_derivative_of_the_re_optimised_evidence, "noise, one precision", "ggn")),
    "H5 the trace without ½": (Evidence, "direct_gradient", prop(
        lambda self: self._log_joint_derivatives() - self._traces()),
        test_the_direct_gradient_of_a_precision_is_half_of_gamma_minus_the_weighted_square),
    "H10 precision per layer read as one": (
        Precisions, "traces", lambda self, eta, variances: np.exp(eta) * variances.sum() / self.num_hyper,
        test_the_direct_gradient_of_a_precision_is_half_of_gamma_minus_the_weighted_square),
    "noise forgets the residual part of the Hessian": (
        NoiseVariance, "residual_derivatives", lambda self, eta, f, y: np.zeros((1, *f.shape)),
        row(test_the_direct_gradient_is_the_derivative_at_a_frozen_mode_and_differs_from_the_total_one,
            "noise, one precision", "hessian")),
    "noise by σ instead of σ²": (
        NoiseVariance, "log_prob_derivatives",
        lambda self, eta, f, y: 2 * self.likelihood(eta).log_variance_derivatives(f, y)[0][None],
        row(test_in_the_linear_model_evidence_and_gradients_are_those_of_the_gaussian_process, "ggn", [0.3, -0.5, -1.0])),
    "temperature for its inverse": (
        hyper.Temperature, "log_prob_derivatives", lambda self, eta, f, y: self.likelihood(eta).log_prob(f, y)[None],
        row(test_the_direct_gradient_is_the_derivative_at_a_frozen_mode_and_differs_from_the_total_one,
            "tempered bernoulli", "ggn")),
    "H8 γ missing in the noise": (
        NoiseVariance, "mackay", lambda self, eta, f, y, effective: np.log([((y - f) ** 2).mean()]),
        row(test_in_the_linear_model_a_fixed_point_is_a_stationary_point_of_the_exact_evidence, hyper.mackay)),
    "H8 p for γ": (
        Precisions, "mackay", lambda self, eta, theta, variances: np.log(self.sizes / self.sums((theta - self.mean) ** 2)),
        row(test_in_the_linear_model_a_fixed_point_is_a_stationary_point_of_the_exact_evidence, hyper.mackay)),
    "H9 spread missing in the noise": (
        NoiseVariance, "em", lambda self, eta, f, y, spread: np.log([((y - f) ** 2).mean()]),
        row(test_in_the_linear_model_a_fixed_point_is_a_stationary_point_of_the_exact_evidence, hyper.em)),
    "H9 trace missing in EM": (
        Precisions, "em", lambda self, eta, theta, variances: np.log(self.sizes / self.sums((theta - self.mean) ** 2)),
        row(test_in_the_linear_model_em_never_goes_down, [4.0, -3.0, 2.0])),
    "H13 the linear model at θ* instead of its own mode": (
        point_module.optimize, "maximize", lambda posterior, start: type("Start", (), {"theta": start}),
        row(test_away_from_a_mode_the_ggn_formula_is_below_the_linear_models_evidence_by_half_the_squared_newton_decrement, 0)),
    "any step of θ accepted": (
        alternating, "_backtrack", lambda function, value, slope, size: size if function(size) else size,
        test_every_block_of_the_online_scheme_goes_up_its_own_function),
    "P₀ twice in the step of θ": (
        alternating, "_step_in_theta", step_with_twice_the_prior,
        test_in_the_linear_model_one_step_of_the_online_scheme_in_theta_lands_on_the_mode),
    "a small gradient taken for a maximum": (
        maximum, "SETTLED", np.inf,
        row(test_an_optimum_at_infinity_is_not_called_a_maximum_and_the_newton_step_says_who_runs_off, "temperature", 0.0)),
    "a flat function taken for a maximum": (
        maximum, "FLAT", np.finfo(float).tiny,
        test_newtons_step_along_a_direction_without_curvature_is_a_whole_unit),
    "the border for what is beyond it": (
        marginal, "_beyond", lambda logs, nodes, count: np.exp(logs[(np.abs(nodes) == count).any(-1)]).sum(),
        test_the_error_estimate_of_the_marginal_covers_what_lies_beyond_the_grid_at_every_spacing),
    "the last layer counted as beyond": (
        marginal, "_tail", lambda last, before: np.exp(np.logaddexp.reduce(last)),
        test_the_mass_beyond_a_grid_is_that_of_geometric_tails_corners_included),
    "no steps in η": (
        alternating, "_step_in_eta", lambda point, size: (point, size),
        test_in_the_linear_model_the_online_scheme_is_coordinate_ascent_to_the_maximum),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_breaks_its_law(fault, monkeypatch):
    owner, name, faulty, law = FAULTS[fault]
    law()
    if faulty is None:
        swapped = hyper.Curvature(hyper.hessian.of, hyper.hessian.pulled_back, hyper.ggn.trace_gradient)
        monkeypatch.setitem(CURVATURES, "hessian", swapped)
    else:
        monkeypatch.setattr(owner, name, faulty)
    with pytest.raises((AssertionError, ValueError)):
        law()


@pytest.mark.parametrize("constant", [np.log(0.5), 1e-3])
def test_a_constant_in_the_rule_breaks_the_law_of_the_marginal(constant, monkeypatch):
    true = marginal._summed
    monkeypatch.setattr(marginal, "_summed", lambda points, logs, nodes, count: true(points, logs + constant, nodes, count))
    with pytest.raises(AssertionError):
        test_the_marginal_over_one_hyper_parameter_is_that_of_adaptive_quadrature_within_its_error_estimate()
