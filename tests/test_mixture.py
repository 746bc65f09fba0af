"""Mixtures of Gaussians and of Laplace approximations over modes and their copies (identities F17, F19, F20, L1, L17, L19)."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from refbnn import Gaussian, Mlp, Posterior, activations, laplace, likelihoods, mixture, optimize, predict, priors, symmetry
from refbnn.gaussian import kl
from refbnn.mixture import Mixture
from refbnn.precision import Dense, Diagonal
from tests.judge import agree, mean_agrees
from tests.test_expansion import hermite

RNG = np.random.default_rng(0)


def dense(seed, p):
    """A random positive-definite precision."""
    A = np.random.default_rng(seed).normal(size=(p, p))
    return Dense(A @ A.T / p + np.eye(p))


def example(p=3, spread=1.0):
    """Three components of different kinds."""
    rng = np.random.default_rng(p)
    qs = [Gaussian(spread * rng.normal(size=p), P) for P in (dense(1, p), Diagonal(rng.uniform(1, 2, p)), dense(2, p))]
    return Mixture(np.array([-501.0, -500.2, -502.5]), qs)


# -- the distribution -------------------------------------------------------------------------------------------------------


def everything_agrees_with_plain_sums(mix):
    """Weights, density, gradient, mean, covariance and draws against sums over components written out."""
    log_masses, p = np.asarray(mix.log_masses), mix.num_params
    masses = np.array([math.exp(value - log_masses[0]) for value in log_masses])
    w, theta = masses / masses.sum(), np.random.default_rng(1).normal(size=(2, 5, p))
    agree(mix.weights, w, terms=10, condition=np.abs(log_masses).max())
    agree(mix.log_evidence(), log_masses[0] + math.log(masses.sum()), terms=10)
    parts = np.array([w[c] * np.exp(q.log_prob(theta)) for c, q in enumerate(mix.components)])
    kappa = np.abs(log_masses).max()
    agree(mix.log_prob(theta), np.log(parts.sum(0)), terms=10, condition=kappa, scale=10.0)
    gradient = sum(part[..., None] * q.gradient(theta) for part, q in zip(parts, mix.components)) / parts.sum(0)[..., None]
    agree(mix.gradient(theta), gradient, terms=10, condition=kappa)
    mean = sum(w[c] * q.mean for c, q in enumerate(mix.components))
    second = sum(w[c] * (q.covariance() + np.outer(q.mean, q.mean)) for c, q in enumerate(mix.components))
    agree(mix.mean(), mean, terms=10, condition=kappa)
    agree(mix.covariance(), second - np.outer(mean, mean), terms=10, condition=kappa, scale=np.linalg.norm(second))
    u, z = np.array([0.0, 0.999 * w[0], w[0] * 1.001, w[0] + w[1] * 0.999, w[0] + w[1] * 1.001, 1 - 1e-12]), theta[0, 0]
    draws = mix.from_uniforms_and_normals(u, np.broadcast_to(z, (6, p)))
    for draw, c in zip(draws, (0, 0, 1, 1, 2, 2)):
        agree(draw, mix.components[c].from_normals(z), terms=10)


@pytest.mark.parametrize("p", [1, 3])
def test_a_mixture_agrees_with_plain_sums(p):
    everything_agrees_with_plain_sums(example(p))


def test_the_density_integrates_to_one_and_has_the_stated_moments():
    mix, axis = example(2), np.arange(-60, 61) / 6
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    mass = np.exp(mix.log_prob(grid)) / 36
    agree(mass.sum(), 1.0, terms=100)
    agree(mass @ grid, mix.mean(), terms=100, scale=1.0)
    agree((grid * mass[:, None]).T @ grid - np.outer(mix.mean(), mix.mean()), mix.covariance(), terms=100)


def test_draws_have_its_moments():
    mix = example(2, spread=3.0)
    draws = mix.sample(np.random.default_rng(3), (40, 1000)).reshape(-1, 2)
    centred = draws - mix.mean()
    mean_agrees(draws, mix.mean(), smallest_effect=0.3)
    mean_agrees(np.einsum("ti,tj->tij", centred, centred), mix.covariance().ravel(), smallest_effect=2.0)


def test_the_gradient_is_the_slope_of_the_log_density():
    mix, theta, u = example(3), RNG.normal(size=3), RNG.normal(size=3)
    slope = (mix.log_prob(theta + 1e-5 * u) - mix.log_prob(theta - 1e-5 * u)) / 2e-5
    assert abs(mix.gradient(theta) @ u - slope) < 1e-7 * np.linalg.norm(u) ** 3 * 1e3


def test_one_component_is_that_component():
    q = Gaussian(RNG.normal(size=3), dense(4, 3))
    mix, theta = Mixture([-7.0], [q]), RNG.normal(size=(4, 3))
    agree(mix.log_prob(theta), q.log_prob(theta), terms=10)
    agree(mix.covariance(), q.covariance(), terms=10)
    assert np.array_equal(mix.sample(np.random.default_rng(1), (4,)), Mixture([3.0], [q]).sample(np.random.default_rng(1), (4,)))
    assert mix.log_evidence() == -7.0


def test_uniforms_and_normals_broadcast():
    mix = example(3)
    u, z = RNG.random((5, 1)), RNG.normal(size=(2, 3))
    together = mix.from_uniforms_and_normals(u, z)
    assert together.shape == (5, 2, 3)
    for i, j in np.ndindex(5, 2):
        assert np.array_equal(together[i, j], mix.from_uniforms_and_normals(u[i, 0], z[j]))


def test_far_apart_masses_do_not_overflow():
    q = Gaussian(np.zeros(1), Diagonal([1.0]))
    mix = Mixture([-1e4, 1e4], [q, Gaussian(np.ones(1), Diagonal([1.0]))])
    assert mix.weights.tolist() == [0.0, 1.0] and mix.mean().tolist() == [1.0] and mix.log_evidence() == 1e4


# -- evidence over modes ----------------------------------------------------------------------------------------------------


def test_the_evidence_of_several_orbits_adds_up():
    """Eq. (mixture-evidence), for modes m with n_m copies each: log Σ n_m Z_m."""
    assert mixture.log_evidence([-3.0], [1]) == -3.0
    agree(mixture.log_evidence([-1003.0, -1001.0, -1002.0], [48, 6, 1]),
          -1001 + math.log(48 * math.exp(-2) + 6 + math.exp(-1)), terms=10)


def test_a_mixture_over_copies_has_the_evidence_of_all_and_the_symmetry_of_the_posterior():
    """Eq. (mixture-posterior), and F17 for it: hidden weights have mean zero; the density is the same at every image."""
    net = Mlp((2, 2, 1), activations.tanh)
    group, theta = symmetry.of_network(net), np.random.default_rng(2).normal(size=9)
    q = Gaussian(theta, dense(5, 9))
    mix = mixture.over_copies(group, -12.5, q)
    assert len(mix.components) == 8
    agree(mix.log_evidence(), mixture.log_evidence([-12.5], [8]), terms=10)
    agree(mix.mean(), np.append(np.zeros(8), theta[-1]), terms=100, scale=np.linalg.norm(theta))
    points = RNG.normal(size=(5, 9))
    for g in group.generators():
        agree(mix.log_prob(g(points)), mix.log_prob(points), terms=100, condition=10)
        agree(g.sign[:, None] * mix.covariance()[np.ix_(g.index, g.index)] * g.sign, mix.covariance(), terms=100)


X_4 = np.array([[-1.5], [-0.7], [0.4], [1.1], [1.9]])
Y_4 = np.array([[-0.7], [-0.6], [0.1], [0.9], [0.6]])
H2 = Mlp((1, 2, 1), activations.tanh, bias=False)  # f = v₁ tanh(w₁x) + v₂ tanh(w₂x)
LINE = 0.55 * X_4  # as good as linear: two equal units, hardly bent, fit it at less cost than one


def exact_log_evidence(y, precision, noise, copies, half_width=8.0, points=1601):
    """log p(y) for H2: output weights integrated in closed form, input weights by a trapezoidal sum over a quarter of the plane.

    f is even in each pair (w, v), so that only w >= 0 is summed, the edges once for both sides.
    """
    w = np.linspace(0, half_width, points)
    weight = np.where(w == 0, 1.0, 2.0) * (w[1] - w[0])
    a = np.tanh(w[:, None] * X_4[:, 0])
    y, scale = y[:, 0], copies / noise
    cross, b = scale * a @ a.T, scale * a @ y
    own = precision + np.diagonal(cross)
    det = np.outer(own, own) - cross**2
    quadratic = (np.add.outer(b**2 / own, b**2 / own) - 2 * cross * np.outer(b / own, b / own)) * np.outer(own, own) / det
    constant = -0.5 * copies * len(y) * np.log(2 * np.pi * noise) - 0.5 * scale * y @ y + np.log(precision**2 / (2 * np.pi))
    values = constant - 0.5 * np.log(det) + 0.5 * quadratic - 0.5 * precision * np.add.outer(w**2, w**2)
    top = values.max()
    return top + np.log(np.einsum("i,j,ij->", weight, weight, np.exp(values - top)))


def modes_of(y, precision, noise, copies):
    """(group, log evidence, copies) of the modes found from twelve starts, one of each orbit."""
    likelihood = likelihoods.Tempered(likelihoods.Normal(noise), 1 / copies)
    post = Posterior(H2, likelihood, priors.isotropic(4, precision), X_4, y)
    found = []
    for start in np.random.default_rng(6).normal(size=(12, 4)) * 1.5:
        try:
            found.append(optimize.maximize(post, start))
        except optimize.NotAMode:
            continue
    group = symmetry.of_posterior(post)
    kept = [found[i] for i in group.distinct([mode.theta for mode in found], same=1e-4)]
    qs = [laplace.at(mode.theta, post.negative_hessian(mode.theta)) for mode in kept]
    values = [laplace.log_evidence(mode.log_prob, q) for mode, q in zip(kept, qs)]
    return group, values, [group.num_copies(mode.theta, same=1e-4) for mode in kept]


def test_the_quarter_of_the_plane_is_the_whole_of_it():
    """The exact value against a sum over the four weights themselves, coarse but of two digits more than is needed."""
    post = Posterior(H2, likelihoods.Normal(0.5), priors.isotropic(4, 2.0), X_4, LINE)
    axis = np.arange(-14, 15) / 4.0
    grid = np.stack(np.meshgrid(*[axis] * 4, indexing="ij"), axis=-1).reshape(29, -1, 4)
    mass = sum(np.exp(post.log_prob(part)).sum() for part in grid) / 4.0**4
    assert abs(np.log(mass) - exact_log_evidence(LINE, 2.0, 0.5, 1)) < 1e-4


@pytest.mark.parametrize("y, precision, noise, numbers", [
    (LINE, 2.0, 0.3, [4]),  # the only mode has two equal units
    (Y_4, 0.0125, 0.05, [4, 8, 8]),
    (Y_4, 0.05, 0.05, [8, 8]),
])
def test_the_orbit_and_not_the_group_makes_the_evidence(y, precision, noise, numbers):
    """Identity F19, Eq. (orbit-count): 4 copies of a mode with two equal units, where 2^H H! = 8.

    Data and prior are both counted m times, so that the modes stay where they are and the error of Laplace falls as 1/m: by
    orbits to nothing, by the order of the group to log 2.
    """
    copies, errors = [40, 80, 160], []
    for m in copies:
        group, values, found = modes_of(y, precision * m, noise, m)
        assert group.order == 8 and sorted(found) == numbers
        exact = exact_log_evidence(y, precision * m, noise, m)
        errors.append(mixture.log_evidence(values, found) - exact)
        if numbers == [4]:
            assert abs(mixture.log_evidence(values, [group.order]) - exact - errors[-1] - np.log(2)) < 1e-12
    assert abs(errors[-1]) < 0.01 and abs(np.polyfit(np.log(copies), np.log(np.abs(errors)), 1)[0] + 1) < 0.2


# -- bounds -----------------------------------------------------------------------------------------------------------------


def elbo(log_joint, q, nodes=24):
    """E_q[log p(y, θ) − log q] of a mixture in one or two dimensions, by Gauss-Hermite on every component."""
    z, w = hermite(q.num_params, nodes)
    total = 0.0
    for share, component in zip(q.weights, q.components):
        theta = component.from_normals(z)
        total += share * (w @ (log_joint(theta) - q.log_prob(theta)))
    return total


TINY = Mlp((1, 1, 1), activations.tanh, bias=False)


@pytest.mark.parametrize("noise, gap", [(0.01, 1e-9), (0.15, None)])
def test_a_mixture_over_copies_gains_no_more_than_the_logarithm_of_their_number(noise, gap):
    """Eq. (mixture-bound), identity F20: ELBO(mixture) <= ELBO(q) + log K, with equality when the copies are apart."""
    post = Posterior(TINY, likelihoods.Normal(noise), priors.isotropic(2, 0.5), X_4, Y_4)
    mode = optimize.maximize(post, np.ones(2))
    q = laplace.at(mode.theta, post.negative_hessian(mode.theta))
    if gap is None:  # a wide Gaussian whose copies overlap
        q = Gaussian(0.3 * q.mean, q.precision)
    one = elbo(post.log_prob, Mixture([0.0], [q]))
    both = elbo(post.log_prob, mixture.over_copies(symmetry.of_posterior(post), 0.0, q))
    gain = both - one
    if gap is None:
        assert 0 < gain < math.log(2) - 0.1
    else:
        assert math.log(2) - gap < gain < math.log(2) + gap


# -- predictions (block L) --------------------------------------------------------------------------------------------------


def test_moments_of_predictions_under_a_mixture_are_those_of_draws():
    """Identity L1 over modes: E[y] and E[Cov(y|f)] + Cov(E[y|f]) of mixture draws, mode by mode and in one go."""
    net, rng = Mlp((2, 2, 3), activations.tanh), np.random.default_rng(4)
    qs = [Gaussian(rng.normal(size=net.num_params), Diagonal(np.full(net.num_params, 40.0))) for _ in range(2)]
    mix, X = Mixture(np.log([0.25, 0.75]), qs), rng.normal(size=(4, 2))
    t = 4000
    u = (np.arange(t) + 0.5) / t  # a quarter of the draws from the first component, exactly
    thetas = mix.from_uniforms_and_normals(u, rng.standard_normal((t, net.num_params)))
    together = predict.monte_carlo(net, likelihoods.Categorical(), thetas, X)
    parts = [predict.monte_carlo(net, likelihoods.Categorical(), thetas[part], X) for part in (slice(0, 1000), slice(1000, t))]
    mean = 0.25 * parts[0].mean + 0.75 * parts[1].mean
    agree(together.mean, mean, terms=t)
    agree(together.mean.sum(-1), np.ones(4), terms=t)
    spread = sum(w * (part.covariance + np.einsum("mk,ml->mkl", part.mean - mean, part.mean - mean))
                 for w, part in zip((0.25, 0.75), parts))
    agree(together.covariance, spread, terms=t)


def test_every_copy_predicts_the_same():
    """Identity L17 for copies: what a mixture over an orbit predicts is what one of its components predicts."""
    net, rng = Mlp((2, 2, 1), activations.tanh), np.random.default_rng(4)
    q = Gaussian(rng.normal(size=9), dense(3, 9))
    mix, z, X = mixture.over_copies(symmetry.of_network(net), 0.0, q), rng.normal(size=(5, 9)), rng.normal(size=(4, 2))
    expected = net.forward(q.from_normals(z), X)
    for g in symmetry.of_network(net).orbit(q.mean):
        agree(net.forward(g(q.from_normals(z)), X), expected, terms=100)
    assert len(mix.components) == 8


# -- refusals ---------------------------------------------------------------------------------------------------------------

Q3 = Gaussian(np.zeros(3), Diagonal(np.ones(3)))


@pytest.mark.parametrize("build, message", [
    (lambda: Mixture([], []), "components: expected at least one"),
    (lambda: Mixture([0.0], [Q3, Q3]), r"log_masses: expected shape \(2,\), got \(1,\)"),
    (lambda: Mixture([0.0, np.nan], [Q3, Q3]), "log_masses: expected finite"),
    (lambda: Mixture([0.0, -np.inf], [Q3, Q3]), "log_masses: expected finite"),
    (lambda: Mixture([0.0], [np.zeros(3)]), "components: expected an object with mean"),
    (lambda: Mixture([0.0, 0.0], [Q3, Gaussian(np.zeros(2), Diagonal(np.ones(2)))]), r"Gaussians of one size, got \[2, 3\]"),
    (lambda: Mixture([0.0], [Q3]).from_uniforms_and_normals(1.0, np.zeros(3)), "u: expected numbers from 0 to below 1, got 1"),
    (lambda: Mixture([0.0], [Q3]).from_uniforms_and_normals(-0.1, np.zeros(3)), "u: expected numbers from 0 .* got -0.1"),
    (lambda: Mixture([0.0], [Q3]).from_uniforms_and_normals(0.5, np.zeros(2)), r"z: expected shape \(..., 3\), got \(2,\)"),
    (lambda: Mixture([0.0], [Q3]).log_prob(np.zeros(2)), "theta: expected shape"),
    (lambda: Mixture([0.0], [Q3]).sample(3), "rng: expected an object with random"),
    (lambda: mixture.log_evidence([1.0], [0]), "copies: expected at least one copy"),
    (lambda: mixture.log_evidence([1.0, 2.0], [1]), r"copies: expected shape \(2,\)"),
    (lambda: mixture.log_evidence([], []), "copies: expected at least one copy of at least one mode"),
    (lambda: mixture.over_copies(TINY, 0.0, Q3), "group: expected an object with orbit"),
])
def test_bad_input_is_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


# -- planted faults ---------------------------------------------------------------------------------------------------------

FAULTS = [
    ("weights not normalised", "weights", property(lambda self: np.exp(self.log_masses + 501))),
    ("equal weights", "weights", property(lambda self: np.full(3, 1 / 3))),
    ("the mean of log densities", "log_prob",
     lambda self, theta: sum(w * q.log_prob(theta) for w, q in zip(self.weights, self.components))),
    ("no spread between", "covariance", lambda self: sum(w * q.covariance() for w, q in zip(self.weights, self.components))),
    ("the gradient of one component", "gradient", lambda self, theta: self.components[0].gradient(theta)),
    ("components in turn", "from_uniforms_and_normals",
     lambda self, u, z: np.array([self.components[i % 3].from_normals(one) for i, one in enumerate(z)])),
    ("the largest mass alone", "log_evidence", lambda self: self.log_masses.max()),
]


@pytest.mark.parametrize("words, name, fault", [pytest.param(*row, id=row[0]) for row in FAULTS])
def test_a_planted_fault_in_a_mixture_is_caught(words, name, fault, monkeypatch):
    monkeypatch.setattr(Mixture, name, fault)
    with pytest.raises(AssertionError):
        everything_agrees_with_plain_sums(example(3))


def test_a_component_moved_changes_the_distance_between_copies():
    """KL between images is that between the originals: a check of `of_gaussian` by a number that mixtures rest on."""
    net, rng = Mlp((2, 2, 1), activations.tanh), np.random.default_rng(9)
    a, b = (Gaussian(rng.normal(size=9), dense(seed, 9)) for seed in (1, 2))
    for g in symmetry.of_network(net).generators():
        agree(kl(g.of_gaussian(a), g.of_gaussian(b)), kl(a, b), terms=100)
        assert kl(g.of_gaussian(a), replace(b)) != kl(a, b)
