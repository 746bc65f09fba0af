"""Gradient estimators: one expectation, by sums that are exact where they can be, and the variances that tell them apart."""

from __future__ import annotations

import numpy as np
import pytest

from refbnn import Mlp, Posterior, likelihoods, priors, quadrature, vi
from refbnn.gaussian import Gaussian
from refbnn.precision import Diagonal
from refbnn.subnetwork import Subnetwork
from refbnn.vi import estimators
from tests.judge import agree, mean_agrees
from tests.vi import problems
from tests.vi.problems import OUTPUTS, RULE
from tests.vi.test_bound import exact_posterior

ESTIMATORS = {"pathwise": estimators.pathwise, "stl": estimators.sticking_the_landing, "score": estimators.score}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_expectation_of_an_estimator_is_the_gradient_of_the_bound(name):
    """Eqs. (pathwise), (sticking-the-landing) and (score): summed over the rule instead of drawn."""
    post, q = problems.network(), problems.gaussian(60, 2, 0.35)
    at, one = vi.elbo(post, q, vi.OverParameters(RULE)), ESTIMATORS[name](post, q, RULE.points)
    agree(RULE.weights @ one.mean, at.mean_gradient, terms=1, condition=1e7)  # what 48 points leave of Stein's lemma
    agree(np.tensordot(RULE.weights, one.scale, 1), at.scale_gradient, terms=1, condition=1e7)


def test_the_landing_sticks_where_q_is_the_posterior():
    """Eq. (sticking-the-landing): zero draw by draw; the pathwise estimate of the same zero is not."""
    post = problems.regression()
    q, z = exact_posterior(post), np.random.default_rng(61).normal(size=(31, post.num_params))
    landing, path = estimators.sticking_the_landing(post, q, z), estimators.pathwise(post, q, z)
    size = np.abs(path.mean).max()
    assert np.abs(landing.mean).max() < 1e-12 * size and np.abs(landing.scale).max() < 1e-12 * np.abs(path.scale).max()
    assert path.mean.std(0).min() > 0.1


def test_the_order_of_variances_near_the_optimum():
    """Sticking the landing least, then pathwise, then the score: of the gradient in the mean, summed over coordinates."""
    post, q = problems.network(), problems.optimum().q
    z = np.random.default_rng(62).normal(size=(4096, 2))
    landing, path, score = (ESTIMATORS[name](post, q, z).mean.var(0).sum() for name in ("stl", "pathwise", "score"))
    assert landing < 0.5 * path < 0.5 * 0.5 * score


def test_local_reparametrisation_has_the_gradient_of_the_bound_as_its_mean():
    """Eq. (local): z-test at a family-wise false-alarm rate of 1e-6."""
    post, q = problems.logistic(), problems.gaussian(63, 2, 0.7)
    noise = np.random.default_rng(64).normal(size=(40000, len(post.X), 1))
    one, at = estimators.local_reparametrisation(post, q, noise), vi.elbo(post, q, OUTPUTS)
    mean_agrees(one.mean, at.mean_gradient, smallest_effect=0.1)
    mean_agrees(one.scale, at.scale_gradient, smallest_effect=0.1)


def test_local_reparametrisation_with_several_outputs_has_the_same_mean():
    rng = np.random.default_rng(65)
    net = problems.Mlp((1, 3), ())
    post = Posterior(net, likelihoods.Categorical(), priors.isotropic(6, 1.3), rng.normal(size=(5, 1)), rng.integers(0, 3, 5))
    q = problems.gaussian(66, 6, 0.5)
    one = estimators.local_reparametrisation(post, q, rng.normal(size=(20000, 5, 3)))
    at = vi.elbo(post, q, vi.OverOutputs(quadrature.gauss_hermite(3, 10)))
    mean_agrees(one.mean, at.mean_gradient, smallest_effect=0.2)
    mean_agrees(one.scale, at.scale_gradient, smallest_effect=0.4)


SINGULAR = {
    "an output that knows no weight": (
        Mlp((1, 1), (), bias=False), likelihoods.Bernoulli(), [[0.0], [1.0], [2.0]], [[0.0], [1.0], [1.0]]),
    "one weight, three outputs": (
        Subnetwork(Mlp((1, 3), (), bias=False), np.array([0.3, -0.2, 0.5]), [1]), likelihoods.Categorical(),
        [[0.4], [1.3], [-0.7]], [0, 2, 1]),
}


@pytest.mark.parametrize("net, likelihood, X, y", SINGULAR.values(), ids=SINGULAR)
def test_local_reparametrisation_has_that_mean_where_covariances_of_outputs_are_singular(net, likelihood, X, y):
    """Eq. (local): the nodes of a rule as the noise of all data, weighted; exact but for what they leave of Stein's lemma."""
    post = Posterior(net, likelihood, priors.isotropic(net.num_params, 1.3), np.array(X), np.array(y))
    q = problems.gaussian(69, net.num_params, 0.5)
    rule = quadrature.gauss_hermite(net.num_outputs, 40 if net.num_outputs == 1 else 16)
    noise = np.repeat(rule.points[:, None], len(X), axis=1)
    one, at = estimators.local_reparametrisation(post, q, noise), vi.elbo(post, q, vi.OverOutputs(rule))
    assert rule.weights @ one.mean == pytest.approx(at.mean_gradient, abs=1e-9)
    assert np.tensordot(rule.weights, one.scale, 1) == pytest.approx(at.scale_gradient, abs=1e-6)


def test_independent_data_noise_averages_out_where_shared_weights_do_not():
    """Eq. (local): on equal inputs the variance of the summed gradient falls by the number of data."""
    base = problems.logistic()
    n = 13
    post = Posterior(base.net, base.likelihood, base.prior, np.full((n, 1), 0.7), np.ones((n, 1)))
    q, rng = problems.gaussian(67, 2, 1.5), np.random.default_rng(68)
    local = estimators.local_reparametrisation(post, q, rng.normal(size=(8192, n, 1))).mean
    J = post.net.jacobian(q.mean, post.X)[:, 0]
    f = post.net.forward(q.from_normals(rng.normal(size=(8192, 2))), post.X)
    shared = post.likelihood.residual(f, post.y)[..., 0] @ J
    assert shared.var(0)[0] / local.var(0)[0] == pytest.approx(n, rel=0.15)


def test_the_outputs_of_one_datum_have_the_law_of_shared_weights_but_not_of_two():
    """Covariances of f at two inputs: one from weights, none from independent noise."""
    post, q = problems.logistic(), Gaussian(np.zeros(2), Diagonal([1.0, 2.0]))
    f = post.net.forward(q.from_normals(RULE.points), post.X[:2])[..., 0]
    covariance = (RULE.weights * f.T) @ f
    J = post.net.jacobian(q.mean, post.X[:2])[:, 0]
    agree(covariance, J @ q.covariance() @ J.T, terms=len(f))
    assert abs(covariance[0, 1]) > 0.1 * np.sqrt(covariance[0, 0] * covariance[1, 1])


# -- mini-batches -----------------------------------------------------------------------------------------------------------


def batches(num_data, size):
    """A partition."""
    return np.arange(num_data).reshape(-1, size)


def test_the_mean_over_mini_batches_is_the_whole():
    """Eq. (mini-batch): of log density, gradient and bound; the prior counts once."""
    post, q = problems.logistic(num_data=12), problems.gaussian(69, 2, 0.6)
    parts = [estimators.mini_batch(post, batch) for batch in batches(12, 3)]
    agree(np.mean([part.log_prob(q.mean) for part in parts]), post.log_prob(q.mean), terms=20)
    agree(np.mean([part.value_and_gradient(q.mean)[1] for part in parts], axis=0), post.value_and_gradient(q.mean)[1], terms=20)
    bounds = [vi.elbo(part, q, OUTPUTS) for part in parts]
    whole = vi.elbo(post, q, OUTPUTS)
    agree(np.mean([bound.value for bound in bounds]), whole.value, terms=1000)
    agree(np.mean([bound.scale_gradient for bound in bounds], axis=0), whole.scale_gradient, terms=1000)


def test_the_plain_sum_over_a_batch_is_not_the_whole():
    """Without N/B the mean over batches is the bound of a quarter of the data; N/B on everything counts the prior four times."""
    post, q = problems.logistic(num_data=12), problems.gaussian(69, 2, 0.6)
    plain = [Posterior(post.net, post.likelihood, post.prior, post.X[b], post.y[b]) for b in batches(12, 3)]
    mean = np.mean([vi.elbo(part, q, OUTPUTS).value for part in plain])
    whole = vi.elbo(post, q, OUTPUTS)
    agree(mean, -whole.loss.value / 4 - whole.kl_to_prior, terms=1000)
    agree(4 * mean, -whole.loss.value - 4 * whole.kl_to_prior, terms=1000)
    assert abs(mean - whole.value) > 1 < abs(4 * mean - whole.value)


@pytest.mark.parametrize("batch", [[0, 0], [12], [], [0.5], [-1]])
def test_a_batch_is_made_of_different_data(batch):
    with pytest.raises(ValueError, match="expected different integers from 0 to 11"):
        estimators.mini_batch(problems.logistic(num_data=12), np.array(batch))


@pytest.mark.parametrize("attempt, message", [
    (lambda: estimators.local_reparametrisation(problems.network(), problems.start(), np.ones((3, 5, 1))), "linear in its"),
    (lambda: estimators.local_reparametrisation(problems.logistic(), problems.start(), np.ones((3, 5, 1))), "noise: expected"),
    (lambda: estimators.pathwise(problems.logistic(), problems.start(), np.ones((3, 5))), "z: expected shape"),
    (lambda: estimators.score(problems.logistic(), problems.start(), np.ones(2)), "z: expected shape"),
])
def test_bad_input_is_refused(attempt, message):
    with pytest.raises(ValueError, match=message):
        attempt()
