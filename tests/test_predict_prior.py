"""What networks predict before any data: their covariance functions, and limits of wide ones (identities M1 to M10).

The kernels are oracles of the tests: Williams (1997) for erf, Cho and Saul (2009) for ReLU, Neal (1996) for the limit.
"""

import itertools
import math

import numpy as np
import pytest
from scipy.special import erf

from refbnn import Linearised, Mlp, Posterior, activations, laplace, likelihoods, predict, priors, quadrature
from refbnn.subnetwork import Subnetwork, layer
from refbnn.testing import taylor_order
from tests.judge import agree, mean_agrees
from tests.test_rejects_faults import after, instead

X = np.array([[0.8, -0.4], [0.3, 1.1], [-1.2, 0.5]])
LAMBDA_W, LAMBDA_V, LAMBDA_C = 0.7, 2.0, 1.6  # precisions of hidden weights (biases too), output weights, output bias


def inner_kernel(X):
    """Covariance of a hidden pre-activation: (x·x' + 1)/λ_w."""
    return (X @ X.T + 1) / LAMBDA_W


def arc_sine(K):
    """E erf(u) erf(v) = (2/π) asin(2 k₁₂/√((1 + 2k₁₁)(1 + 2k₂₂)))."""
    d = 1 + 2 * np.diag(K)
    return 2 / np.pi * np.arcsin(2 * K / np.sqrt(np.outer(d, d)))


def arc_sine_slopes(K):
    """E erf′(u) erf′(v) = (4/π)/√((1 + 2k₁₁)(1 + 2k₂₂) − 4k₁₂²)."""
    d = 1 + 2 * np.diag(K)
    return 4 / np.pi / np.sqrt(np.outer(d, d) - 4 * K**2)


def arc_cosine(K):
    """E relu(u) relu(v) = √(k₁₁k₂₂)/2π (sin ϑ + (π − ϑ) cos ϑ)."""
    scale = np.sqrt(np.outer(np.diag(K), np.diag(K)))
    angle = np.arccos(np.clip(K / scale, -1, 1))
    return scale / (2 * np.pi) * (np.sin(angle) + (np.pi - angle) * np.cos(angle))


def expected_product(phi, K, i, j, rule):
    """E φ(u_i) φ(u_j) for u ~ N(0, K) by a rule of two dimensions."""
    root = np.linalg.cholesky(K[np.ix_([i, j], [i, j])])
    return rule.integrate(lambda z: np.prod(phi(z @ root.T), axis=-1))


def kernel_is_its_integral(phi, closed, rule, smallest):
    """Assert that a closed form is what quadrature finds, and that quadrature knows it to `smallest`."""
    K = inner_kernel(X)
    for i, j in itertools.combinations(range(3), 2):
        found = expected_product(phi, K, i, j, rule)
        assert abs(found.value - closed(K)[i, j]) <= found.error <= smallest


def test_the_arc_sine_kernel_is_its_integral():
    """Identity M1."""
    kernel_is_its_integral(erf, arc_sine, quadrature.trapezoid(2, 161), 1e-9)


def test_the_kernel_of_the_slopes_is_its_integral():
    def slope(u):
        return 2 / np.sqrt(np.pi) * np.exp(-(u**2))

    kernel_is_its_integral(slope, arc_sine_slopes, quadrature.trapezoid(2, 161), 1e-9)


def test_the_arc_cosine_kernel_is_its_integral():
    """Identity M2, as far as a kink lets quadrature see."""
    kernel_is_its_integral(lambda u: np.maximum(u, 0), arc_cosine, quadrature.trapezoid(2, 401), 1e-2)


def network_and_prior(width):
    """A one-hidden-layer erf network with output weights of variance 1/(λ_v H), so that its law has a limit."""
    net = Mlp((2, width, 1), activations.erf)
    precision = np.concatenate([np.full(3 * width, LAMBDA_W), np.full(width, LAMBDA_V * width), [LAMBDA_C]])
    return net, priors.per_parameter(precision)


def limit_kernel():
    """E[f(x) f(x')] of `network_and_prior`, at every width."""
    return arc_sine(inner_kernel(X)) / LAMBDA_V + 1 / LAMBDA_C


@pytest.mark.parametrize("width", [1, 3, 10])
def test_the_prior_covariance_of_a_shallow_network_is_its_kernel_at_every_width(width):
    """Identity M4."""
    net, prior = network_and_prior(width)
    f = net.forward(prior.sample(np.random.default_rng(width), (40_000,)), X)[..., 0]
    mean_agrees(f[:, :, None] * f[:, None, :], limit_kernel(), smallest_effect=0.12)


@pytest.mark.parametrize("width", [2, 8])
def test_a_narrow_network_is_not_gaussian_and_its_kurtosis_says_by_how_much(width):
    """Identity M3, without output bias: E f⁴/(E f²)² − 3 = (3/H)(Eφ⁴/(Eφ²)² − 1).

    Given the hidden units f ~ N(0, S), S = Σφ²/(λ_v H), so that E f⁴ = 3 E S²: draws of the hidden layer are enough.
    """
    k = inner_kernel(X)[0, 0]
    rule = quadrature.gauss_hermite(1, 120)
    second, fourth = (rule.integrate(lambda z, power=power: erf(np.sqrt(k) * z[:, 0]) ** power).value for power in (2, 4))
    units = erf(np.sqrt(k) * np.random.default_rng(0).normal(size=(200_000, width)))
    samples = 3 * (units**2).mean(1) ** 2 / second**2 - 3
    excess = 3 / width * (fourth / second**2 - 1)
    mean_agrees(samples, [excess], smallest_effect=excess / 4)


def test_a_deeper_network_has_its_kernel_only_in_the_limit_and_the_error_is_one_over_the_width():
    """Identity M5: the second layer sees the random kernel K̂ of the first; E g(K̂) − g(E K̂) = O(1/H).

    The law of a unit's square is replaced by three values, so that K̂ is multinomial and the expectation an exact sum.
    """
    values, chance = np.array([0.1, 0.5, 0.9]), np.array([0.3, 0.3, 0.4])

    def g(k):
        return 2 / np.pi * np.arcsin(2 * k / (1 + 2 * k))

    def expected(width):
        total = 0.0
        for a in range(width + 1):
            for b in range(width + 1 - a):
                counts = np.array([a, b, width - a - b])
                weight = math.exp(math.lgamma(width + 1) - sum(math.lgamma(n + 1) for n in counts)) * np.prod(chance**counts)
                total += weight * g(values @ counts / width)
        return total

    order = taylor_order(lambda h: expected(round(1 / h)) - g(values @ chance), [1 / width for width in (8, 16, 32, 64)])
    assert abs(order - 1) < 0.05


def linearised_prior_kernel(width, draws):
    """J P₀⁻¹ Jᵀ at draws of θ* from the prior: the kernel of the linearised model before any data, (t m m)."""
    net, prior = network_and_prior(width)
    thetas = prior.sample(np.random.default_rng(0), (draws,))
    return np.array([predict.joint(Linearised(net, at=theta), prior, X).covariance[:, 0, :, 0] for theta in thetas])


def tangent_law():
    """Identity M6: E[J P₀⁻¹ Jᵀ] = K + E[φ′φ′] (x·x' + 1)/(λ_v λ_w): the last layer gives K, the first the rest."""
    hidden = arc_sine_slopes(inner_kernel(X)) * inner_kernel(X) / LAMBDA_V
    mean_agrees(linearised_prior_kernel(4, 3000), limit_kernel() + hidden, smallest_effect=0.2)


def test_the_expected_kernel_of_the_linearised_prior_is_that_of_the_network_plus_what_the_first_layer_adds():
    tangent_law()


def test_a_network_with_frozen_features_is_a_gaussian_process_with_their_kernel():
    """Identity M7: the last layer alone, weights against functions."""
    net, prior = network_and_prior(5)
    theta = prior.sample(np.random.default_rng(0))
    head = Subnetwork(net, theta, layer(net, -1))
    prior_head = priors.per_parameter(prior.precision.diagonal()[layer(net, -1)])
    y, noise = np.array([[0.3], [-0.2], [0.9]]), 0.1
    G = Posterior(head, likelihoods.Normal(noise), prior_head, X, y).loss.ggn(theta[layer(net, -1)])
    X_new = np.array([[0.1, 0.2], [2.0, -1.0]])
    found = predict.joint(head, laplace.at(theta[layer(net, -1)], prior_head.precision + G), X_new)

    W = theta[:10].reshape(5, 2)
    features = [erf(Z @ W.T + theta[10:15]) for Z in (X, X_new)]
    K, cross, new = (a @ b.T / (LAMBDA_V * 5) + 1 / LAMBDA_C for a, b in (
        (features[0], features[0]), (features[1], features[0]), (features[1], features[1])))
    noisy = K + noise * np.eye(3)
    expected = new - cross @ np.linalg.solve(noisy, cross.T)
    agree(found.covariance[:, 0, :, 0], expected, terms=50, condition=np.linalg.cond(noisy), scale=np.linalg.norm(new))


def test_bayesian_regression_on_random_features_approaches_the_process_of_the_wide_network_like_one_over_root_width():
    """Identity M8: root mean square difference of posterior means, slope −½ in the width."""
    y, noise, widths = np.array([0.3, -0.2, 0.9]), 0.2, (16, 64, 256, 1024)
    K, rng = arc_sine(inner_kernel(X)), np.random.default_rng(0)
    exact = K @ np.linalg.solve(K + noise * np.eye(3), y)
    root, errors = np.linalg.cholesky(inner_kernel(X)), []
    for width in widths:
        features = erf(root @ rng.normal(size=(150, 3, width)))
        kernels = features @ np.swapaxes(features, 1, 2) / width
        means = (kernels @ np.linalg.solve(kernels + noise * np.eye(3), y[:, None]))[..., 0]
        errors.append(np.sqrt(((means - exact) ** 2).mean()))
    slope = np.polyfit(np.log(widths), np.log(errors), 1)[0]
    assert abs(slope + 0.5) < 0.06  # 150 repetitions of 3 values: each error known to about 4 %, the slope to 0.015


def test_the_prior_of_the_linearised_network_has_a_mean_where_the_network_itself_has_none():
    """Identity M9: for homogeneous networks without bias f(θ*) − Jθ* = −(L − 1) f(θ*), L layers; the network's own mean is 0."""
    net = Mlp((2, 5, 4, 1), activations.relu, bias=False)
    prior = priors.isotropic(net.num_params, 1.0)
    theta = prior.sample(np.random.default_rng(1))
    f = net.forward(theta, X)
    assert np.abs(f).max() > 0.1
    agree(predict.moments(Linearised(net, at=theta), prior, X).mean, -2 * f, terms=50, condition=10)
    draws = prior.sample(np.random.default_rng(2), (20_000,))
    mean_agrees(net.forward(draws, X)[..., 0], np.zeros(3), smallest_effect=0.4)


def test_rescaling_a_relu_unit_changes_everything_but_the_function():
    """Identity M10: prior density, Laplace evidence and predictive variance depend on which of the equal θ* one stands at."""
    net = Mlp((2, 3, 1), activations.relu)
    theta = np.random.default_rng(3).normal(size=net.num_params)
    moved = theta.copy()
    unit = [0, 1, 6]  # weights into the first unit, its bias
    moved[unit], moved[9] = 3 * theta[unit], theta[9] / 3
    agree(net.forward(moved, X), net.forward(theta, X), terms=20)
    prior = priors.isotropic(net.num_params, 1.0)
    post = Posterior(net, likelihoods.Normal(0.1), prior, X, net.forward(theta, X) + 0.1)
    q = [laplace.at(at, prior.precision + post.loss.ggn(at)) for at in (theta, moved)]
    evidence = [laplace.log_evidence(post.log_prob(at), one) for at, one in zip((theta, moved), q)]
    X_new = np.array([[2.0, 1.5], [-1.0, -2.0]])
    variances = [predict.moments(Linearised(net, at=at), one, X_new).variance for at, one in zip((theta, moved), q)]
    assert abs(prior.log_prob(theta) - prior.log_prob(moved)) > 0.1
    assert abs(evidence[0] - evidence[1]) > 0.1
    assert np.abs(variances[0] / variances[1] - 1).max() > 0.01


# -- planted faults ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("plant, law", [
    (lambda patch: patch.setitem(globals(), "arc_sine", lambda K, true=arc_sine: true(K / 2)),
     lambda: kernel_is_its_integral(erf, arc_sine, quadrature.trapezoid(2, 161), 1e-9)),
    (after(Mlp, "forward", lambda f, *_: 1.1 * f),
     lambda: test_the_prior_covariance_of_a_shallow_network_is_its_kernel_at_every_width(3)),
    (instead(Linearised, "forward", lambda self, theta, X: self.net.forward(self.at, X)),
     test_the_prior_of_the_linearised_network_has_a_mean_where_the_network_itself_has_none),
    (after(predict, "joint", lambda f, net, q, X: predict.Joint(f.mean, f.root[..., :q.num_params // 2])), tangent_law),
    (after(predict, "joint", lambda f, *_: predict.Joint(f.mean, f.root[::-1])),
     test_a_network_with_frozen_features_is_a_gaussian_process_with_their_kernel),
], ids=["2 missing in the arc sine", "outputs scaled", "tangent without its slope", "first layer only", "inputs exchanged"])
def test_a_planted_fault_is_caught(plant, law, monkeypatch):
    law()
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        law()
