"""Priors: each is a Gaussian whose precision stands where the parameters stand."""

import numpy as np
import pytest

from refbnn import Mlp, activations, priors
from tests.judge import agree

NET = Mlp((2, 3, 1), activations.tanh)


def test_the_isotropic_prior_has_one_precision():
    prior = priors.isotropic(5, 1.7, mean=0.3)
    assert np.array_equal(prior.precision.matrix(), 1.7 * np.eye(5)) and np.array_equal(prior.mean, np.full(5, 0.3))


def test_the_precision_is_not_a_variance():
    assert np.allclose(priors.isotropic(3, 4.0).covariance(), np.eye(3) / 4)


def test_the_prior_per_layer_covers_weights_and_biases_of_each_layer():
    prior = priors.per_layer(NET.layer_sizes, [2.0, 5.0])
    (W1, b1), (W2, b2) = NET.unflatten(prior.precision.diagonal())
    assert (W1 == 2).all() and (b1 == 2).all() and (W2 == 5).all() and (b2 == 5).all()
    assert not prior.mean.any()


def test_the_prior_per_parameter_keeps_their_order():
    precisions = np.linspace(0.5, 2.0, NET.num_params)
    prior = priors.per_parameter(precisions, mean=precisions**2)
    assert np.array_equal(prior.precision.diagonal(), precisions) and np.array_equal(prior.mean, precisions**2)


def test_the_full_prior_has_the_given_matrix():
    A = np.random.default_rng(0).normal(size=(4, 4))
    prior = priors.full(A @ A.T + np.eye(4), mean=[1.0, 2.0, 3.0, 4.0])
    agree(prior.precision.matrix(), A @ A.T + np.eye(4), terms=2)
    assert prior.mean.tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("mean", [0.0, 0.4, np.linspace(-1, 1, 13)])
def test_equal_precisions_make_equal_priors(mean):
    p = NET.num_params
    theta = np.random.default_rng(1).normal(size=(3, p))
    expected = priors.isotropic(p, 1.3, mean)
    for prior in (priors.per_layer(NET.layer_sizes, [1.3, 1.3], mean), priors.per_parameter(np.full(p, 1.3), mean),
                  priors.full(1.3 * np.eye(p), mean)):
        agree(prior.log_prob(theta), expected.log_prob(theta), terms=p)
        agree(prior.gradient(theta), expected.gradient(theta), terms=p)


def test_priors_are_centred_at_zero_unless_told_otherwise():
    made = (priors.isotropic(13, 1.0), priors.per_layer((9, 4), [1.0, 2.0]), priors.per_parameter(np.ones(13)),
            priors.full(np.eye(13)))
    assert all(np.array_equal(prior.mean, np.zeros(13)) for prior in made)


def test_later_changes_to_the_arguments_do_not_reach_the_prior():
    precisions, mean = np.ones(3), np.zeros(3)
    prior = priors.per_parameter(precisions, mean)
    before = prior.log_prob(np.ones(3))
    precisions[:], mean[:] = 7.0, 7.0
    assert prior.log_prob(np.ones(3)) == before
