"""The posterior: likelihood times prior, with every constant (identities A3, D9)."""

import numpy as np

from refbnn import Linearised, Posterior, optimize
from tests import oracles
from tests.judge import agree, condition, norm_or_one
from tests.zoo import Spec, law


@law()
def test_the_log_joint_is_log_likelihood_plus_log_prior_with_every_constant(spec):
    case = spec.build()
    prior, loss = oracles.log_prior(case, case.theta), oracles.loss(case, case.theta)
    kappa = condition(case, lambda c: c.posterior.log_prob(c.theta), abs(prior) + abs(loss))
    agree(case.posterior.log_prob(case.theta), prior - loss, terms=case.terms, condition=kappa, scale=abs(prior) + abs(loss))
    agree(case.posterior.log_likelihood(case.theta), -loss, terms=case.terms,
          condition=condition(case, lambda c: c.loss.value(c.theta)))


@law()
def test_the_gradient_is_the_complex_step_of_the_log_joint(spec):
    case = spec.build()
    value, gradient = case.posterior.value_and_gradient(case.theta)
    expected = oracles.complex_step(lambda points: oracles.log_prior(case, points) - oracles.loss(case, points), case.theta)
    scale = np.linalg.norm(case.loss.per_datum_gradients(case.theta)) + np.linalg.norm(case.prior.gradient(case.theta))
    kappa = condition(case, lambda c: c.posterior.value_and_gradient(c.theta)[1], scale)
    for found in (gradient, case.posterior.gradient(case.theta)):
        agree(found, expected, terms=case.terms, condition=kappa, scale=scale)
    size = abs(oracles.log_prior(case, case.theta)) + abs(oracles.loss(case, case.theta))
    kappa = condition(case, lambda c: c.posterior.log_prob(c.theta), size)
    agree(value, case.posterior.log_prob(case.theta), terms=case.terms, condition=kappa, scale=size)  # summed in another order


@law()
def test_the_negative_hessian_is_the_complex_step_of_the_gradient_with_the_prior(spec):
    case = spec.build()
    expected = oracles.hessian(case) + oracles.dense(case.prior.precision)
    scale = norm_or_one(expected)
    kappa = condition(case, lambda c: c.posterior.negative_hessian(c.theta), scale)
    agree(case.posterior.negative_hessian(case.theta), expected, terms=case.terms, condition=kappa, scale=scale)


@law()
def test_batched_posteriors_equal_loops_over_single_ones(spec):
    case = spec.build()
    thetas = case.theta * (1 + 0.1 * np.random.default_rng(0).normal(size=(2, 3, len(case.theta))))
    post = case.posterior
    for together, alone in (
        (post.log_prob(thetas), post.log_prob),
        (post.log_likelihood(thetas), post.log_likelihood),
        (post.value_and_gradient(thetas)[0], lambda theta: post.value_and_gradient(theta)[0]),
        (post.value_and_gradient(thetas)[1], lambda theta: post.value_and_gradient(theta)[1]),
    ):
        looped = np.array([[alone(theta) for theta in row] for row in thetas])
        agree(together, looped, terms=case.terms, condition=10, scale=norm_or_one(looped))


def test_at_the_mode_the_gradients_of_the_data_balance_the_prior():
    """Identity D9: Σ_n g_n = −P₀(θ* − μ₀), to the accuracy that the mode reports."""
    case = Spec((2, 3, 2), "tanh", "categorical", prior="full").build()
    mode = optimize.maximize(case.posterior, case.theta)
    pull = -oracles.dense(case.prior.precision) @ (mode.theta - case.prior.mean)
    g = case.loss.per_datum_gradients(mode.theta)
    agree(g.sum(0), pull, terms=case.terms, scale=np.linalg.norm(g, axis=1).sum())


def test_later_changes_to_the_arguments_do_not_reach_the_model():
    """A step θ += ... in place must not move a linearisation, nor new data a posterior."""
    case = Spec((2, 3, 2), prior="full").build()
    X, y, at = case.X.copy(), case.y.copy(), case.theta.copy()
    models = [Posterior(net, case.likelihood, case.prior, X, y) for net in (case.net, Linearised(case.net, at=at))]
    point = case.theta + 0.1
    before = [model.log_prob(point) for model in models]
    assert not models[0].loss.X.flags.writeable and not models[0].loss.y.flags.writeable
    X += 1
    y += 1
    at += 1
    assert [model.log_prob(point) for model in models] == before


@law()
def test_a_tempered_posterior_weighs_the_data_by_beta_and_leaves_the_prior(spec):
    case = spec.build()
    beta = 83 / 256
    log_joint = case.posterior.log_prob(case.theta)
    expected = oracles.log_prior(case, case.theta) - beta * oracles.loss(case, case.theta)
    scale = abs(oracles.log_prior(case, case.theta)) + abs(oracles.loss(case, case.theta))
    kappa = condition(case, lambda c: c.posterior.log_prob(c.theta), scale)
    agree(case.posterior.tempered(beta).log_prob(case.theta), expected, terms=case.terms, condition=kappa, scale=scale)
    agree(case.posterior.tempered(1).log_prob(case.theta), log_joint, terms=case.terms, condition=kappa, scale=scale)
    assert case.posterior.tempered(beta).num_params == len(case.theta)
