"""The linearised network: the model that the Gauss-Newton approximation really uses (identities C22, G2, G3, G16)."""

import numpy as np
import pytest

from refbnn import Gaussian, Linearised, Loss, Posterior, laplace, optimize
from tests import oracles
from tests.judge import agree, condition, norm_or_one
from tests.zoo import HOMOGENEOUS, LIKELIHOODS, Spec, law


@law()
def test_outputs_are_the_tangent_of_the_network_at_its_point(spec):
    """Eq. (linearised)."""
    case = spec.build()
    linear, J = Linearised(case.net, at=case.theta), oracles.jacobian(case)
    theta = case.theta + case.vector
    expected = oracles.forward(spec, case.theta, case.X) + J @ case.vector
    scale = norm_or_one(J) * np.linalg.norm(case.vector) + np.linalg.norm(expected)
    kappa = condition(case, lambda c: c.net.jacobian(c.theta, c.X))
    agree(linear.forward(theta, case.X), expected, terms=case.terms, condition=kappa, scale=scale)
    agree(linear.forward(case.theta, case.X), case.net.forward(case.theta, case.X), terms=case.terms, scale=scale)


@law()
def test_its_derivatives_are_those_of_the_network_at_its_point_whatever_theta(spec):
    case = spec.build()
    net, linear, X, at = case.net, Linearised(case.net, at=case.theta), case.X, case.theta
    theta = at + case.vector
    assert np.array_equal(linear.jacobian(theta, X), net.jacobian(at, X))
    assert np.array_equal(linear.vjp(theta, X, case.weights), net.vjp(at, X, case.weights))
    assert np.array_equal(linear.vjp_per_datum(theta, X, case.weights), net.vjp_per_datum(at, X, case.weights))
    assert np.array_equal(linear.jvp(theta, X, case.vector), net.jvp(at, X, case.vector))
    assert not linear.contracted_hessian(theta, X, case.weights).any()
    assert not linear.contracted_hessian_product(theta, X, case.weights, case.vector).any()
    assert linear.is_linear and linear.num_params == net.num_params
    assert linear.num_inputs == net.num_inputs and linear.num_outputs == net.num_outputs


@law()
def test_the_hessian_of_the_linearised_model_is_the_ggn_of_the_network(spec):
    """Identity C22, the central theorem, and what follows: gradients, Fisher and empirical Fisher agree as well.

    Eqs. (ggn-is-linearised-hessian) and (ggn-laplace-is-laplace-of-linear-model).
    """
    case = spec.build()
    linear = Loss(Linearised(case.net, at=case.theta), case.likelihood, case.X, case.y)
    for ours, theirs in (("hessian", "ggn"), ("ggn", "ggn"), ("fisher", "fisher"), ("empirical_fisher", "empirical_fisher"),
                         ("gradient", "gradient"), ("value", "value")):
        expected = getattr(case.loss, theirs)(case.theta)
        kappa = condition(case, lambda c: getattr(c.loss, theirs)(c.theta))
        agree(getattr(linear, ours)(case.theta), expected, terms=case.terms, condition=kappa, scale=norm_or_one(expected))
    product = linear.hessian_vector_product(case.theta, case.vector)
    scale = norm_or_one(case.loss.ggn(case.theta)) * np.linalg.norm(case.vector)
    agree(product, case.loss.ggn(case.theta) @ case.vector, terms=case.terms, scale=scale)


@law()
def test_batched_calls_equal_loops_over_single_ones(spec):
    case = spec.build()
    linear, X, rng = Linearised(case.net, at=case.theta), case.X, np.random.default_rng(0)
    thetas, us = rng.normal(size=(2, 1, len(case.theta))), rng.normal(size=(3, len(case.theta)))
    vs = rng.normal(size=(2, 3, *case.weights.shape))
    for together, alone in (
        (linear.forward(thetas + us, X), lambda i, j: linear.forward(thetas[i, 0] + us[j], X)),
        (linear.jvp(thetas, X, us), lambda i, j: linear.jvp(thetas[i, 0], X, us[j])),
        (linear.vjp(thetas, X, vs), lambda i, j: linear.vjp(thetas[i, 0], X, vs[i, j])),
        (linear.jacobian(thetas + us, X), lambda i, j: linear.jacobian(thetas[i, 0] + us[j], X)),
        (linear.contracted_hessian_product(thetas, X, case.weights, us),
         lambda i, j: linear.contracted_hessian_product(thetas[i, 0], X, case.weights, us[j])),
        (linear.contracted_hessian_product(case.theta, X, vs, case.vector),
         lambda i, j: linear.contracted_hessian_product(case.theta, X, vs[i, j], case.vector)),
    ):
        looped = np.array([[alone(i, j) for j in range(3)] for i in range(2)])
        agree(together, looped, terms=case.terms, scale=norm_or_one(looped) + norm_or_one(linear.forward(case.theta, X)))


@pytest.mark.parametrize("activation", ["tanh", "relu", "gelu"])
def test_one_gauss_newton_step_lands_on_the_posterior_mean_of_the_linearised_regression(activation):
    """Identity G2: for any θ*, the mean is θ* − A⁻¹∇U(θ*) with A = G + P₀. Eq. (natural-gradient)."""
    case = Spec((2, 4, 2), activation, "normal").build()
    linear = Posterior(Linearised(case.net, at=case.theta), case.likelihood, case.prior, case.X, case.y)
    A = case.loss.ggn(case.theta) + oracles.dense(case.prior.precision)
    step = np.linalg.solve(A, case.posterior.value_and_gradient(case.theta)[1])
    mode = optimize.maximize(linear, np.zeros(case.net.num_params))
    agree(mode.theta, case.theta + step, terms=case.terms, condition=np.linalg.cond(A))


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_a_mode_of_the_network_is_the_mode_of_its_linearisation(likelihood):
    """Identity G3, and Laplace with the GGN is Laplace on the linearised model, evidence included."""
    case = Spec((2, 3, 2), "tanh", likelihood).build()
    mode = optimize.maximize(case.posterior, case.theta)
    linear = Posterior(Linearised(case.net, at=mode.theta), case.likelihood, case.prior, case.X, case.y)
    found = optimize.maximize(linear, mode.theta + 0.1)
    A = linear.negative_hessian(mode.theta)
    agree(found.theta, mode.theta, terms=case.terms, condition=np.linalg.cond(A))
    q = laplace.at(mode.theta, case.prior.precision + case.loss.ggn(mode.theta))
    q_linear = laplace.at(mode.theta, A)
    agree(q.precision.matrix(), q_linear.precision.matrix(), terms=case.terms)
    agree(laplace.log_evidence(case.posterior.log_prob(mode.theta), q),
          laplace.log_evidence(linear.log_prob(mode.theta), q_linear), terms=case.terms, condition=np.linalg.cond(A))


@law(activation=HOMOGENEOUS, bias=(False,))
def test_the_linearised_prior_mean_of_a_homogeneous_network_is_minus_the_outputs_times_depth_less_one(spec):
    """Identity G16: the linearised model at μ₀ = 0 gives f − Jθ* = −(L − 1) f, not zero."""
    case = spec.build()
    f, L = case.net.forward(case.theta, case.X), len(case.net.layer_sizes)
    prior_mean = Linearised(case.net, at=case.theta).forward(np.zeros(case.net.num_params), case.X)
    scale = norm_or_one(case.net.jacobian(case.theta, case.X)) * np.linalg.norm(case.theta)
    agree(prior_mean, -(L - 1) * f, terms=case.terms, scale=scale)


def test_it_can_be_linearised_again_without_change():
    case = Spec((2, 3, 2)).build()
    once = Linearised(case.net, at=case.theta)
    twice = Linearised(once, at=case.theta + 1.0)
    agree(twice.forward(case.vector, case.X), once.forward(case.vector, case.X), terms=case.terms)


def test_a_gaussian_over_its_parameters_gives_gaussian_outputs():
    """E and Cov of f over the prior: f(μ₀) and J P₀⁻¹ Jᵀ exactly, through sums over ± the columns of the scale."""
    case = Spec((2, 3, 2)).build()
    linear, q = Linearised(case.net, at=case.theta), Gaussian(case.prior.mean, case.prior.precision)
    p = q.num_params
    points = q.from_normals(np.sqrt(p) * np.concatenate([np.eye(p), -np.eye(p)]))
    f = linear.forward(points, case.X_new)
    J = linear.jacobian(case.theta, case.X_new)
    agree(f.mean(0), linear.forward(q.mean, case.X_new), terms=case.terms)
    centred = f - f.mean(0)
    agree(np.einsum("snk,snl->nkl", centred, centred) / (2 * p), J @ q.covariance() @ np.swapaxes(J, 1, 2),
          terms=case.terms, condition=np.linalg.cond(q.covariance()))
