"""Lemmas of the notebooks that no function of the package implements, held on the package's own matrices."""

from __future__ import annotations

import numpy as np
import pytest

from refbnn import Gaussian, Loss, Mlp, Posterior, activations, kronecker, laplace, likelihoods, optimize, priors
from refbnn.gaussian import kl
from refbnn.testing import taylor_order
from tests import oracles
from tests.judge import agree, norm_or_one, vanishes
from tests.zoo import HOMOGENEOUS, LIKELIHOODS, Spec, law


# -- networks ---------------------------------------------------------------------------------------------------------------


def test_the_complex_step_errs_by_a_sixth_of_the_third_derivative_times_the_step_squared():
    """Eq. (complex-step-error)."""
    phi, x = activations.tanh, np.array([0.7])
    _, slope, _, third = phi.derivatives(x, 3)

    def error(h):
        return (np.tanh(x + 1j * h).imag / h - slope).item()

    assert abs(taylor_order(error) - 2) < 0.05
    h = 2.0**-8
    agree((4 * error(h / 2) / (h / 2) ** 2 - error(h) / h**2) / 3, -third.item() / 6, terms=1, condition=2e7)  # h⁴ and u/h²


@law(activation=HOMOGENEOUS, hidden=(1, 3), bias=(True,))
def test_weights_of_a_layer_and_biases_from_there_on_make_up_the_outputs(spec):
    """Eq. (euler-with-bias)."""
    case = spec.build()
    J, f = case.net.jacobian(case.theta, case.X), case.net.forward(case.theta, case.X)
    layers = case.net.unflatten(case.theta)
    for l in range(len(layers)):
        parts = [(W if m == l else 0 * W, b if m >= l else 0 * b) for m, (W, b) in enumerate(layers)]
        direction = case.net.flatten(parts)
        agree(J @ direction, f, terms=case.terms, scale=norm_or_one(J) * norm_or_one(direction))


# -- likelihoods ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [2, 3, 6])
def test_the_softmax_curvature_is_at_most_a_half(k):
    """Eq. (softmax-bound), reached in the limit of two equally likely classes."""
    f = np.random.default_rng(k).normal(0, 3, (200, k))
    categorical = likelihoods.Categorical()
    assert np.linalg.eigvalsh(categorical.fisher(f)).max() <= 0.5 * (1 + 1e-14)
    two = np.where(np.arange(k) < 2, 0.0, -60.0)[None]
    agree(np.linalg.eigvalsh(categorical.fisher(two))[0, -1], 0.5, terms=k)


def third_by_link(base, eta, slope, bend, jerk, y):
    """g′³ T + 3 g′ g″ Λ + g‴ r at natural outputs η = g(w)."""
    r, curvature, T = base.residual(eta, y), base.curvature(eta, y)[..., 0], base.third(eta, y)[..., 0, 0]
    return slope**3 * T + 3 * slope * bend * curvature + jerk * r


def test_a_link_carries_the_third_derivative_with_two_further_terms():
    """Eq. (link-third), for the square link: η = 2 log w."""
    w, y = np.array([[1.3], [0.8], [2.1]]), np.array([[0.0], [3.0], [1.0]])
    derivatives = 2 / w, -2 / w**2, 4 / w**3
    found = likelihoods.PoissonSquare().third(w, y)[..., 0, 0]
    agree(third_by_link(likelihoods.Poisson(), 2 * np.log(w), *derivatives, y), found, terms=10, condition=10)
    without = third_by_link(likelihoods.Poisson(), 2 * np.log(w), derivatives[0], 0.0, 0.0, y)
    assert np.abs(without - found).max() > 0.1


# -- curvature --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_a_scale_of_the_loss_scales_curvature_once_and_the_empirical_fisher_twice(name):
    """Eq. (loss-scale)."""
    case = Spec((2, 3, 2), likelihood=name).build()
    scaled = Loss(case.net, likelihoods.Tempered(case.likelihood, 1 / 3), case.X, case.y)
    for method, factor in (("hessian", 3), ("ggn", 3), ("empirical_fisher", 9)):
        agree(getattr(scaled, method)(case.theta), factor * getattr(case.loss, method)(case.theta), terms=case.terms)


@law(likelihood=("normal",))
def test_a_levenberg_marquardt_step_is_a_ridge_regression(spec):
    """Eq. (levenberg-marquardt): (G + λI) δ = −g minimises ‖e + Jδ‖²/σ² + λ‖δ‖²."""
    case, damping = spec.build(), 0.8
    J = case.net.jacobian(case.theta, case.X).reshape(-1, case.net.num_params) / np.sqrt(0.37)
    e = (case.net.forward(case.theta, case.X) - case.y).ravel() / np.sqrt(0.37)
    rows = np.concatenate([J, np.sqrt(damping) * np.eye(J.shape[1])])
    ridge = np.linalg.lstsq(rows, -np.concatenate([e, np.zeros(J.shape[1])]), rcond=None)[0]
    A = case.loss.ggn(case.theta) + damping * np.eye(J.shape[1])
    step = -np.linalg.solve(A, case.loss.gradient(case.theta))
    agree(step, ridge, terms=case.terms, condition=np.linalg.cond(A), scale=norm_or_one(e))


@law(hidden=(1, 3))
def test_what_the_ggn_leaves_out_is_indefinite_or_zero(spec):
    """Eq. (residual-indefinite): its last-layer block vanishes, so that any nonzero entry beside it brings both signs."""
    case = spec.build()
    R = case.loss.at(case.theta).residual_part.full()
    values = np.linalg.eigvalsh(R)
    last = case.net.num_outputs * (case.net.layer_sizes[-2] + spec.bias)
    cross = np.linalg.norm(R[-last:, :-last], 2)
    assert values[0] <= 1e-13 * np.abs(values).max() and values[-1] >= -1e-13 * np.abs(values).max()
    if cross > 1e-8 * np.abs(values).max():
        assert values[0] < 0 < values[-1]


@law()
def test_kfac_errs_in_the_trace_by_the_covariance_of_the_traces_of_its_factors(spec):
    """Eq. (kfac-trace)."""
    case = spec.build()
    ggn = case.loss.at(case.theta).ggn
    kfac = kronecker.kfac(ggn).matrix()
    ends = np.cumsum([0, *[len(block) for block in ggn.layer_blocks()]])
    single = [Loss(case.net, case.likelihood, case.X[n:n + 1], case.y[n:n + 1]) for n in range(len(case.X))]
    activations_in, _ = oracles.states(spec, case.theta, case.X)
    for l, block in enumerate(ggn.layer_blocks()):
        squares = (activations_in[l] ** 2).sum(-1) + spec.bias
        traces = np.array([np.trace(one.at(case.theta).ggn.layer_blocks()[l]) for one in single])
        outer = np.divide(traces, squares, out=np.zeros_like(traces), where=squares > 0)  # tr B_n
        expected = (outer - outer.mean()) @ (squares - squares.mean())
        found = np.trace(block) - np.trace(kfac[ends[l]:ends[l + 1], ends[l]:ends[l + 1]])
        agree(found, expected, terms=case.terms, condition=10, scale=np.trace(block) or 1.0)


# -- modes ------------------------------------------------------------------------------------------------------------------


def homogeneous_mode():
    """A mode, its prior precision (mean zero) and its error, of a homogeneous network whose modes have no kink nearby.

    One hidden unit without a kink: the only continuous symmetry is its rescaling, which the prior breaks.
    """
    rng, precision = np.random.default_rng(2), 0.3
    net = Mlp((2, 1, 2), activation=activations.identity, bias=False)
    X = rng.normal(size=(12, 2))
    y = X @ rng.normal(size=(2, 2)) + 0.1 * rng.normal(size=(12, 2))
    post = Posterior(net, likelihoods.Normal(0.2), priors.isotropic(net.num_params, precision), X, y)
    mode = optimize.maximize(post, rng.normal(size=net.num_params))
    assert np.abs(mode.theta).max() > 0.1
    error = mode.decrement / np.sqrt(mode.smallest_eigenvalue) + 30 * net.num_params * 2.0**-53 * norm_or_one(mode.theta)
    return post, mode.theta, precision, error


def test_at_a_mode_every_layer_and_every_unit_is_balanced():
    """Eqs. (relu-balance), (layer-balance) and (map-balance), for a prior with mean zero and one precision."""
    post, theta, precision, error = homogeneous_mode()
    (W, _), (V, _) = post.net.unflatten(theta)
    size, bend = norm_or_one(theta), np.linalg.norm(post.loss.hessian(theta), 2)
    assert np.abs((W**2).sum(1) - (V**2).sum(0)).max() <= 2 * error * size
    f = post.net.forward(theta, post.X)
    pull = -np.sum(post.likelihood.residual(f, post.y) * f)
    for weights in (W, V):
        assert abs(precision * np.sum(weights**2) - pull) <= 10 * error * size * bend
    assert abs(np.sum(W**2) - np.sum((1.01 * V) ** 2)) > 2 * error * size, "a departure of one per cent would be seen"


def test_along_an_orbit_the_hessian_grows_by_twice_and_the_ggn_by_once_the_prior():
    """Eq. (along-orbit): (H + λI) Xθ* = 2λ Xθ* and (G + λI) Xθ* = λ Xθ*."""
    post, theta, precision, error = homogeneous_mode()
    (W, _), (V, _) = post.net.unflatten(theta)
    direction = post.net.flatten([(W, None), (-V, None)])
    for matrix, factor in ((post.loss.hessian(theta), 2), (post.loss.ggn(theta), 1)):
        left = matrix @ direction + (1 - factor) * precision * direction
        assert np.linalg.norm(left) <= 10 * error * np.linalg.norm(matrix, 2)


@law(likelihood=("normal",), hidden=(0, 0))
def test_the_evidence_is_the_fit_less_the_prior_and_the_loss_of_volume(spec):
    """Eq. (occam)."""
    case = spec.build()
    q = laplace.at(case.theta, case.prior.precision + case.loss.ggn(case.theta))
    P, P0, shift = q.precision.matrix(), oracles.dense(case.prior.precision), case.theta - case.prior.mean
    volume = 0.5 * (np.linalg.slogdet(P)[1] - np.linalg.slogdet(P0)[1])
    expected = case.posterior.log_likelihood(case.theta) - 0.5 * shift @ P0 @ shift - volume
    kappa = np.linalg.cond(P) * np.linalg.cond(P0)
    evidence = laplace.log_evidence(case.posterior.log_prob(case.theta), q)
    agree(evidence, expected, terms=case.terms, condition=kappa, scale=abs(expected) + len(P))


def test_a_gaussian_integrates_to_one():
    """Eq. (gaussian-integral), by the trapezoid rule in two dimensions."""
    P = np.array([[1.3, 0.4], [0.4, 0.8]])
    q = Gaussian(np.zeros(2), laplace.at(np.zeros(2), P).precision)
    line = np.linspace(-12, 12, 241)
    grid = np.stack(np.meshgrid(line, line), axis=-1)
    agree(np.exp(q.log_prob(grid)).sum() * 0.1**2, 1.0, terms=100)
    vanishes(q.log_prob(np.zeros(2)) - 0.5 * np.linalg.slogdet(P / (2 * np.pi))[1], scale=1.0, terms=10)


def test_the_log_joint_at_a_mode_is_quadratic_up_to_third_order():
    """Eq. (laplace-remainder)."""
    case = Spec((2, 3, 2), likelihood="categorical").build()
    mode = optimize.maximize(case.posterior, case.theta)
    P = case.posterior.negative_hessian(mode.theta)
    bend = case.vector @ P @ case.vector

    def remainder(h):
        return case.posterior.log_prob(mode.theta + h * case.vector) - mode.log_prob + 0.5 * h**2 * bend

    assert abs(taylor_order(remainder, 2.0 ** -np.arange(6, 11)) - 3) < 0.1


# -- Gaussians and steps ----------------------------------------------------------------------------------------------------


def test_the_best_gaussian_with_independent_blocks_has_the_blocks_of_the_precision():
    """Eq. (block-kl): any other covariances S_b of the blocks cost ½ Σ [tr(P_bb S_b) − log |P_bb S_b| − p_b] more."""
    rng = np.random.default_rng(3)
    A = rng.normal(size=(5, 9))
    P, blocks = A @ A.T, (slice(0, 2), slice(2, 5))
    p, mean = laplace.at(np.zeros(5), P), np.zeros(5)
    best, other, cost = np.zeros((5, 5)), np.zeros((5, 5)), 0.0
    for block in blocks:
        size = block.stop - block.start
        S = np.diag(rng.uniform(0.1, 0.5, size)) + 0.05
        best[block, block], other[block, block] = P[block, block], np.linalg.inv(S)
        M = P[block, block] @ S
        cost += 0.5 * (np.trace(M) - np.linalg.slogdet(M)[1] - size)
    excess = kl(laplace.at(mean, other), p) - kl(laplace.at(mean, best), p)
    agree(excess, cost, terms=25, condition=np.linalg.cond(P))
    assert cost > 0.01


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_a_natural_gradient_step_does_not_know_the_units_of_the_parameters(name):
    """Eq. (natural-gradient-invariant): inputs in units 5 times as large, first weights 5 times as small: the same step."""
    case = Spec((2, 3, 2), likelihood=name, bias=False).build()
    units = np.where(np.arange(case.net.num_params) < 6, 0.2, 1.0)  # the six weights of the first layer
    other = Loss(case.net, case.likelihood, 5 * case.X, case.y)
    damping = np.eye(case.net.num_params)
    F, moved = case.loss.fisher(case.theta) + damping, other.fisher(units * case.theta) + damping / np.outer(units, units)
    step = np.linalg.solve(F, case.loss.gradient(case.theta))
    found = np.linalg.solve(moved, other.gradient(units * case.theta))
    agree(found / units, step, terms=case.terms, condition=np.linalg.cond(F) * 25)
    plain = np.linalg.norm(other.gradient(units * case.theta) / units - case.loss.gradient(case.theta))
    assert plain > 0.1 * np.linalg.norm(case.loss.gradient(case.theta)), "the gradient itself does know them"
