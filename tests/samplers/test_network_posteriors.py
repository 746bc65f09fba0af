"""What holds on the posterior of any network, whatever the data: virial and Stein identities, signs, equivariance.

With U = −log p(θ|y) and integration by parts, E[θ_i ∂U/∂θ_j] = δ_ij, E[∇U] = 0 and E[∇U ∇Uᵀ] = E[∇²U].
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from refbnn import Mlp, Posterior, activations, likelihoods, priors, symmetry
from refbnn.precision import Diagonal
from refbnn.samplers import EllipticalSlice, Hmc, Nuts, Streams, WithMoves, adapt, hidden_units, run
from refbnn.samplers.leapfrog import Point, leapfrog
from tests.judge import agree, mean_agrees
from tests.zoo import Spec

CHAINS, P = 300, 9


@cache
def a_posterior():
    """A 2-2-1 tanh network on 7 labels: 9 parameters, 8 copies of each mode."""
    rng = np.random.default_rng(4)
    X = rng.normal(size=(7, 2))
    y = (X[:, :1] * X[:, 1:] > 0).astype(float)
    return Posterior(Mlp((2, 2, 1), activations.tanh), likelihoods.Bernoulli(), priors.isotropic(P, 0.6), X, y)


@cache
def drawn(name):
    """The mean over each of many independent chains after warm-up, of every statistic: (c ...)."""
    post = a_posterior()
    start = post.prior.sample(np.random.default_rng(0), (CHAINS,))
    kernel = {"hmc": Hmc(0.3, 9, Diagonal(np.ones(P))), "nuts": Nuts(0.3, Diagonal(np.ones(P))), "elliptical": EllipticalSlice(),
              "hmc with moves": WithMoves(Hmc(0.3, 9, Diagonal(np.ones(P))), hidden_units(symmetry.of_posterior(post)))}[name]
    return run(kernel, post, start, 50, 3, width=CHAINS).draws[:, 10:]


KERNELS = ["hmc", "nuts", "elliptical", "hmc with moves"]


def of_chains(statistic, name):
    """The chains' means of a statistic: independent numbers, whatever the correlation within."""
    draws = drawn(name)
    return np.stack([statistic(draws[:, t]) for t in range(0, draws.shape[1], 4)]).mean(0)


def pull(theta):
    """∇U."""
    return -a_posterior().value_and_gradient(theta)[1]


@pytest.mark.parametrize("name", KERNELS)
def test_the_virial_identity_holds_entry_by_entry(name):
    """Entry by entry to half, on average over the diagonal to 12%: a density off in scale, or a gradient that is not its own.

    Eq. (stationary-virial).
    """
    mean_agrees(of_chains(lambda theta: theta[:, :, None] * pull(theta)[:, None], name), np.eye(P), 0.5)
    mean_agrees(of_chains(lambda theta: (theta * pull(theta)).sum(-1) / P, name), 1.0, 0.12)


@pytest.mark.parametrize("name", ["hmc", "nuts"])
def test_the_mean_force_vanishes_and_its_square_is_the_mean_curvature(name):
    """E[∇U] = 0 and E‖∇U‖² = E[tr ∇²U], the latter at one draw of each chain.

    Eq. (mean-curvature).
    """
    mean_agrees(of_chains(pull, name), 0.0, 0.3)
    theta = drawn(name)[:, -1]
    curvature = np.array([np.trace(a_posterior().negative_hessian(point)) for point in theta])
    mean_agrees((pull(theta) ** 2).sum(-1) / curvature.mean() - curvature / curvature.mean(), 0.0, 0.6)


def test_hidden_units_are_identically_distributed_after_random_moves():
    """The orbit test: incoming and outgoing weights of either unit have one law, symmetric about 0, Eq. (odd-mean)."""
    theta = drawn("hmc with moves")
    first, second = theta[..., [0, 1, 4, 6]], theta[..., [2, 3, 5, 7]]
    for power in (1, 2):
        mean_agrees((first**power - second**power).mean(1), 0.0, 0.6)
    mean_agrees(theta[..., :8].mean(1), 0.0, 0.4)


def test_kernels_agree_with_each_other_in_function_space():
    """f and f² at three inputs, pairwise, on chains that share nothing: a shift of 0.3 is seen."""
    X_new = np.array([[-1.0, 0.5], [0.2, 0.3], [1.5, 2.0]])

    def outputs(theta):
        f = np.tanh(a_posterior().net.forward(theta, X_new)[..., 0])
        return np.concatenate([f, f**2], axis=-1)
    found = {name: of_chains(outputs, name) for name in KERNELS}
    for a, b in [("hmc", "nuts"), ("hmc", "elliptical"), ("nuts", "hmc with moves")]:
        mean_agrees(found[a] - found[b], 0.0, 0.3)


def test_a_trajectory_from_an_image_is_the_image_of_the_trajectory():
    case = Spec((2, 3, 2), "tanh", "categorical", num_data=5, prior="isotropic").build()
    post = Posterior(case.net, case.likelihood, priors.isotropic(case.net.num_params, 1.3), case.X, case.y)
    group = symmetry.of_posterior(post)
    Q = group.exchange(0, 0, 2).after(group.change_of_sign(0, 1))
    rng = np.random.default_rng(0)
    theta, momentum = rng.normal(size=(2, 3, case.net.num_params))
    metric, ends = Diagonal(np.ones(case.net.num_params)), []
    for move in (lambda v: v, Q):
        point = Point(move(theta), move(momentum), *post.value_and_gradient(move(theta)))
        for _ in range(7):
            point = leapfrog(post, metric, point, np.full(3, 0.1))
        ends.append(point)
    agree(ends[1].theta, Q(ends[0].theta), terms=100, condition=30)
    agree(ends[1].momentum, Q(ends[0].momentum), terms=100, condition=30)


def test_momenta_have_the_kinetic_energy_that_they_should():
    """E[rᵀM⁻¹r] = p for a dense metric, of fresh momenta."""
    from tests.samplers.test_leapfrog import a_metric

    metric = a_metric()
    kernel = Hmc(0.1, 1, metric)
    state = kernel.init(Spec((2, 3, 1), "tanh", "normal", num_data=5, prior="full").build().posterior, np.zeros((9000, 13)))
    r = kernel.with_momentum(state, Streams.spawn(2, 9000)).momentum
    mean_agrees(np.einsum("ci,ij,cj->c", r, metric.matrix(), r) / 13, 1.0, 0.06)


def test_warm_up_on_a_network_gives_chains_that_accept_as_wished():
    post = a_posterior()
    found = adapt(Nuts(0.1, Diagonal(np.ones(P))), post, post.prior.sample(np.random.default_rng(0), (23,)), 100, 1)
    assert abs(run(found.kernel, post, found.theta, 30, 2, width=23).info["acceptance"].mean() - 0.8) < 0.15
