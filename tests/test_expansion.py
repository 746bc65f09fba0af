"""The terms after Laplace: contractions of third and fourth derivatives, orders of the errors (identities G18, G19, G25, G26)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from refbnn import Linearised, Mlp, Posterior, activations, expansion, fourth, laplace, likelihoods, optimize, predict, priors
from refbnn import third
from refbnn.likelihoods import Tempered
from refbnn.linalg import NotPositiveDefinite
from refbnn.subnetwork import Subnetwork
from refbnn.testing import taylor_order, tolerance
from tests import oracles
from tests.judge import agree, norm_or_one
from tests.test_third import radius_for
from tests.zoo import Spec, law

POINTS = 24  # of Cauchy's integral, on each of two circles


def at_a_mode(spec):
    """The case moved to a mode of its posterior, and the rows of V: the columns of C with C Cᵀ = P⁻¹."""
    case = spec.build()
    case = replace(case, theta=optimize.maximize(case.posterior, case.theta).theta)
    return case, np.linalg.inv(np.linalg.cholesky(case.posterior.negative_hessian(case.theta)))


def tensors(case, V):
    """(U_ijk, U_iijj, their round-off) of the loss along the rows of V, from backpropagation in complex numbers.

    Cauchy's integral on two circles of g(s, t) = ∇L(θ + s v_i + t v_j): U_ijk = ∂_s ∂_t g · v_k and U_iijj = ∂_s² ∂_t g · v_j.
    """
    p = len(V)
    U3, U4, round_off = np.empty((p, p, p)), np.empty((p, p)), np.zeros(2)
    roots = np.exp(2j * np.pi * np.arange(POINTS) / POINTS)
    for i in range(p):
        for j in range(p):
            r = min(radius_for(case, V[i]), radius_for(case, V[j])) / 2
            points = case.theta + r * roots[:, None, None] * V[i] + r * roots[:, None] * V[j]
            g = oracles.gradient(case, points)
            coefficients = np.fft.fft2(g, axes=(0, 1)) / POINTS**2
            U3[i, j] = V @ coefficients[1, 1].real / r**2
            U4[i, j] = V[j] @ coefficients[2, 1].real * 2 / r**3
            size = tolerance(POINTS + case.terms) * np.abs(g).max() * np.linalg.norm(V)
            round_off += size / r**2, 2 * size / r**3
    return U3, U4, round_off


SPECS = [
    Spec((1, 2, 1), "tanh", "normal", num_data=9, seed=1),
    Spec((2, 2, 1), "sigmoid", "bernoulli", num_data=7, seed=2, prior="per_layer"),
    Spec((1, 2, 1, 2), ("softplus", "sin"), "categorical", num_data=6, seed=3, prior="isotropic"),
    Spec((2, 1, 2), "gelu", "poisson", bias=False, num_data=5, seed=4),
    Spec((3, 1), (), "probit", num_data=8, seed=5, prior="per_parameter"),
    Spec((1, 1), (), "poisson", bias=False, num_data=1, seed=6),
]


def the_terms_are_the_contractions(spec):
    """Eqs. (laplace-second-order), (crossed-term) and (fourth-contraction), and the shift, against independent tensors."""
    case, V = at_a_mode(spec)
    U3, U4, round_off = tensors(case, V)
    found = expansion.second_order(case.posterior, case.theta)
    joined, crossed = np.einsum("iij->j", U3), (U3**2).sum()
    size, kappa = np.abs(U3).sum() + 1e-300, np.linalg.cond(case.posterior.negative_hessian(case.theta))
    third_error = round_off[0] * 2 * size + tolerance(case.terms, kappa) * size**2
    assert abs(found.third_joined - (joined**2).sum() / 8) <= third_error
    assert abs(found.third_crossed - crossed / 12) <= third_error
    assert abs(found.fourth + U4.sum() / 8) <= round_off[1] + found.fourth_error + tolerance(case.terms, kappa) * np.abs(U4).sum()
    shift = -0.5 * joined @ V
    allowed = (round_off[0] + tolerance(case.terms, kappa) * size) * np.linalg.norm(V)
    assert np.linalg.norm(found.mean_shift - shift) <= allowed
    assert min(found.third_joined, found.third_crossed, abs(found.fourth)) > 100 * max(third_error, round_off[1]), "nothing seen"


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_the_terms_are_the_contractions_of_the_third_and_fourth_derivatives(spec):
    the_terms_are_the_contractions(spec)


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_the_estimated_error_of_the_fourth_order_term_is_small_and_is_not_exceeded(spec):
    case, V = at_a_mode(spec)
    _, U4, round_off = tensors(case, V)
    found = expansion.second_order(case.posterior, case.theta)
    assert found.fourth_error <= 1e-8 * np.abs(U4).sum()
    assert abs(found.fourth + U4.sum() / 8) <= found.fourth_error + round_off[1]


@pytest.mark.parametrize("total", [1, 7, 60])
def test_for_a_rate_the_correction_is_the_first_term_of_the_series_of_stirling(total):
    """Eq. (stirling): ∫ exp(Sθ − N e^θ) dθ = Γ(S)/N^S, log Γ(S) = ... + 1/(12 S) − 1/(360 S³) + ...; nearly flat prior."""
    net = Mlp((1, 1), (), bias=False)
    post = Posterior(net, likelihoods.Poisson(), priors.isotropic(1, 1e-14), np.ones((1, 1)), [[total]])
    mode = optimize.maximize(post, np.zeros(1))
    found = expansion.second_order(post, mode.theta)
    for value, expected in ((found.fourth, -1 / 8), (found.third_joined, 1 / 8), (found.third_crossed, 1 / 12)):
        agree(value, expected / total, terms=10, condition=1e4)  # the prior's share is 1e-14
    agree(found.log_evidence, 1 / (12 * total), terms=10, condition=1e4)
    agree(found.mean_shift, [-0.5 / total], terms=10, condition=1e4)
    agree(found.shift_in_deviations, 0.5 / np.sqrt(total), terms=10, condition=1e4)


@law(likelihood=("normal",), hidden=(0, 0))
def test_for_a_gaussian_posterior_nothing_is_left_out(spec):
    case = spec.build()
    mode = optimize.maximize(case.posterior, case.theta)
    found = expansion.second_order(case.posterior, mode.theta)
    assert found.fourth == found.third_joined == found.third_crossed == 0 == found.log_evidence
    assert not found.mean_shift.any() and found.fourth_error == 0


@pytest.mark.parametrize("likelihood", ["bernoulli", "categorical", "poisson"])
def test_of_the_linearised_network_it_is_the_correction_of_a_generalised_linear_model(likelihood):
    """No second derivative of f is left in it: −⅛ Σ_n ℓ''''[JΣJᵀ, JΣJᵀ] and the third's, with differences of Λ for ℓ''''."""
    case = Spec((2, 3, 2), "tanh", likelihood, prior="isotropic").build()
    linear = Posterior(Linearised(case.net, at=case.theta), case.likelihood, case.prior, case.X, case.y)
    mode = optimize.maximize(linear, case.theta)
    found = expansion.second_order(linear, mode.theta)
    P = linear.negative_hessian(mode.theta)
    J, f = linear.net.jacobian(mode.theta, case.X), linear.net.forward(mode.theta, case.X)
    K = np.einsum("nap,pq,mbq->namb", J, np.linalg.inv(P), J)
    T = case.likelihood.third(f, case.y)
    t = np.einsum("nabc,nanb->nc", T, K)
    agree(found.third_joined, np.einsum("na,namb,mb->", t, K, t) / 8, terms=case.terms, condition=np.linalg.cond(P))
    crossed = np.einsum("nabc,mdef,namd,nbme,ncmf->", T, T, K, K, K)
    agree(found.third_crossed, crossed / 12, terms=case.terms, condition=np.linalg.cond(P))
    own, fourth = np.einsum("nanb->nab", K), 0.0
    for n, (root, datum) in enumerate(zip(np.linalg.cholesky(own), case.y)):
        for u in root.T:  # Σ_u ∂²/∂u² of ⟨Λ, K⟩
            def trace(s):
                return (case.likelihood.curvature((f[n] + s * u)[None], np.asarray(datum)[None])[0] * own[n]).sum()
            fourth += second_derivative(trace)
    agree(found.fourth, -fourth / 8, terms=1, condition=1e8)


def second_derivative(function, h=2.0**-6):
    """function''(0) by a central difference of order eight: error about 1e-9 of the function for scales of order one."""
    weights = {0: -205 / 72, 1: 8 / 5, 2: -1 / 5, 3: 8 / 315, 4: -1 / 560}
    return sum(w * (function(k * h) + function(-k * h)) / (1 + (k == 0)) for k, w in weights.items()) / h**2


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_the_shift_is_as_long_as_the_joined_term_says(spec):
    """Eq. (joined-term): ½ shiftᵀ P shift = ⅛ |Cᵀt|²."""
    case, _ = at_a_mode(spec)
    found, P = expansion.second_order(case.posterior, case.theta), case.posterior.negative_hessian(case.theta)
    agree(0.5 * found.mean_shift @ P @ found.mean_shift, found.third_joined, terms=case.terms, condition=np.linalg.cond(P))
    agree(0.5 * found.shift_in_deviations**2, found.third_joined, terms=10)


def test_it_is_that_of_a_part_of_the_parameters_on_a_subnetwork():
    case, _ = at_a_mode(SPECS[0])
    chosen = np.array([0, 3, 5])
    net = Subnetwork(case.net, case.theta, chosen)
    post = Posterior(net, case.likelihood, net.conditional(case.prior), case.X, case.y)
    found = expansion.second_order(post, case.theta[chosen])
    V = np.zeros((3, len(case.theta)))
    V[:, chosen] = np.linalg.inv(np.linalg.cholesky(post.negative_hessian(case.theta[chosen])))
    t = third.trace_gradient_of_hessian(case.loss, case.theta, V)
    agree(found.third_joined, ((V @ t) ** 2).sum() / 8, terms=case.terms, condition=100)


# -- orders of the errors ---------------------------------------------------------------------------------------------------

X_12 = np.linspace(-2, 2, 12)[:, None]
Y_12 = np.array([[0, 0, 1, 0, 0, 1, 0, 1, 1, 0, 1, 1.0]]).T
Y_REAL = np.tanh(1.3 * X_12) + 0.3 * np.cos(9 * X_12)
RATES = np.array([[0, 2, 1, 0, 3, 1, 2, 4, 2, 6, 4, 9.0]]).T
SQUARES = np.concatenate([X_12, np.cos(3 * X_12)], axis=1)
MODELS = {  # name: (net, likelihood, prior precision, X, y, start, copies to start from); 1, 2 or 3 parameters
    "logistic, slope alone": (Mlp((1, 1), (), bias=False), likelihoods.Bernoulli(), 1.0, X_12, Y_12, [0.0], 256),
    "logistic": (Mlp((1, 1), ()), likelihoods.Bernoulli(), 1.0, X_12, Y_12, [0.0, 0.0], 256),
    "probit": (Mlp((1, 1), ()), likelihoods.BernoulliProbit(), 1.0, X_12, Y_12, [0.0, 0.0], 256),
    "rates, two inputs": (Mlp((2, 1), ()), likelihoods.Poisson(), 0.5, SQUARES, RATES, [0.0, 0.0, 0.0], 32),
    "tanh network": (Mlp((1, 1, 1), activations.tanh, bias=False), likelihoods.Normal(0.3), 1.0, X_12, Y_REAL, [1.0, 1.0], 256),
}


def errors_of(name, copies):
    """(exact − Laplace, that − correction; the same for the mean) with every datum counted `copies` times.

    The exact values are trapezoidal sums over ±8 standard deviations in steps of a quarter: for the network around one of its
    two modes, the other of which is at these sizes too far away to matter.
    """
    net, likelihood, precision, X, y, start, _ = MODELS[name]
    post = Posterior(net, Tempered(likelihood, 1 / copies), priors.isotropic(net.num_params, precision), X, y)
    mode = optimize.maximize(post, np.array(start))
    q = laplace.at(mode.theta, post.negative_hessian(mode.theta))
    axis = np.arange(-32, 33) / 4
    z = np.stack(np.meshgrid(*[axis] * net.num_params, indexing="ij"), axis=-1).reshape(-1, net.num_params)
    weights = np.exp(post.log_prob(q.from_normals(z)) - mode.log_prob)
    volume = 0.25**net.num_params / (2 * np.pi) ** (net.num_params / 2)
    found = expansion.second_order(post, mode.theta)
    evidence, mean = np.log(weights.sum() * volume), q.scale() @ (weights @ z / weights.sum())
    return evidence, evidence - found.log_evidence, np.linalg.norm(mean), np.linalg.norm(mean - found.mean_shift)


def orders_of(name):
    """The measured powers of 1/N of the four errors; an error that changes its sign has none."""
    copies = MODELS[name][-1] * np.array([1, 2, 4, 8])
    errors = np.array([errors_of(name, m) for m in copies])
    assert (np.sign(errors) == np.sign(errors[0])).all()
    return [taylor_order(dict(zip(1 / copies, column)).get, 1 / copies) for column in errors.T]


@pytest.mark.parametrize("name", MODELS)
def test_the_error_of_evidence_and_mean_is_of_order_one_and_with_the_correction_two(name):
    """Eqs. (laplace-second-order) and (mean-shift), identities G25 and G26."""
    assert np.abs(np.array(orders_of(name)) - [1, 2, 1, 2]).max() < 0.1


def hermite(p, nodes):
    """Points (s p) and weights (s) of a Gauss-Hermite rule for N(0, I)."""
    z, w = np.polynomial.hermite_e.hermegauss(nodes)
    points = np.stack(np.meshgrid(*[z] * p, indexing="ij"), axis=-1).reshape(-1, p)
    weights = np.prod(np.stack(np.meshgrid(*[w / w.sum()] * p, indexing="ij"), axis=-1), axis=-1).ravel()
    return points, weights


def test_sampling_a_network_shifts_the_mean_by_its_curvature_and_leaves_the_variance():
    """Identities G18 and G19: with Σ scaled by ε², what is left is of order ε⁴; without the curvature term ε²."""
    net, rng = Mlp((2, 1, 2), activations.tanh, bias=False), np.random.default_rng(4)
    theta, X, root = rng.normal(size=4), rng.normal(size=(3, 2)), rng.normal(size=(4, 4))
    z, w = hermite(4, 10)
    linear, f = Linearised(net, at=theta), net.forward(theta, X)

    def remainders(epsilon):
        q = laplace.at(theta, (root @ root.T + np.eye(4)) / epsilon**2)
        draws = net.forward(q.from_normals(z), X)
        mean = np.einsum("s,snk->nk", w, draws)
        covariance = np.einsum("s,snk,snl->nkl", w, draws - mean, draws - mean)
        return (mean - f, mean - f - expansion.sampling_bias(net, q, X),
                covariance - predict.moments(linear, q, X).covariance)

    steps = [2.0**-j for j in range(3, 7)]
    orders = [taylor_order(lambda h: np.linalg.norm(remainders(h)[i]), steps) for i in range(3)]
    assert np.abs(np.array(orders) - [2, 4, 4]).max() < 0.1


@law()
def test_the_bias_of_sampling_is_half_the_trace_of_the_covariance_times_the_second_derivative(spec):
    case = spec.build()
    q = laplace.at(case.theta, case.prior.precision + case.loss.ggn(case.theta))
    found, S = expansion.sampling_bias(case.net, q, case.X_new), np.linalg.inv(q.precision.matrix())
    assert found.shape == (len(case.X_new), case.net.num_outputs)
    for m, k in np.ndindex(found.shape):
        v = np.zeros((1, case.net.num_outputs))
        v[0, k] = 1.0
        bend = case.net.contracted_hessian(case.theta, case.X_new[m:m + 1], v)
        agree(found[m, k], 0.5 * np.trace(S @ bend), terms=case.terms, condition=np.linalg.cond(S),
              scale=np.linalg.norm(S) * norm_or_one(bend))
    assert not expansion.sampling_bias(Linearised(case.net, at=case.theta), q, case.X_new).any()


def test_the_second_derivative_of_a_part_is_that_of_the_whole_along_its_directions():
    case = Spec((2, 3, 2)).build()
    chosen, whole = np.array([1, 4, 9]), np.zeros((5, 17))
    whole[:, chosen] = np.random.default_rng(0).normal(size=(5, 3))
    part = Subnetwork(case.net, case.theta, chosen).evaluate(case.theta[chosen], case.X)
    assert np.array_equal(part.bend(whole[:, chosen]), case.net.evaluate(case.theta, case.X).bend(whole))


# -- refusals ---------------------------------------------------------------------------------------------------------------


def test_what_has_no_expansion_is_refused():
    case, _ = at_a_mode(SPECS[0])
    with pytest.raises(ValueError, match="theta: expected a mode to 0.0001 standard deviations, got a point 0"):
        expansion.second_order(case.posterior, case.theta + 0.01)
    with pytest.raises(ValueError, match=r"theta: expected shape \(7,\)"):
        expansion.second_order(case.posterior, case.theta[:-1])
    with pytest.raises(ValueError, match="prior: expected a Gaussian, which has no third derivatives, got a StudentT"):
        expansion.second_order(replace(case.posterior, prior=priors.StudentT(7, 1.0, 3.0)), case.theta)
    with pytest.raises(ValueError, match="posterior: expected an object with loss"):
        expansion.second_order(case.loss, case.theta)
    odd = Mlp((1, 1, 1), activations.tanh, bias=False)
    saddle = Posterior(odd, likelihoods.Normal(0.1), priors.isotropic(2, 0.1), X_12, Y_REAL)
    with pytest.raises(NotPositiveDefinite):
        expansion.second_order(saddle, np.zeros(2))


# -- planted faults ---------------------------------------------------------------------------------------------------------

true_squares, true_contraction = expansion._sum_of_squares, fourth.contraction


def scaled_field(name, factor):
    """second_order with one of its terms multiplied."""
    true = expansion.second_order

    def faulty(posterior, theta):
        found = true(posterior, theta)
        return replace(found, **{name: factor * getattr(found, name)})
    return faulty


FAULTS = [
    ("1/8 for −1/8", expansion, "second_order", scaled_field("fourth", -1)),
    ("1/24 for 1/8", expansion, "second_order", scaled_field("third_joined", 1 / 3)),
    ("1/8 for 1/12", expansion, "second_order", scaled_field("third_crossed", 1.5)),
    ("the shift in the other direction", expansion, "second_order", scaled_field("mean_shift", -1)),
    ("the GGN's third derivatives", third, "trace_gradient_of_hessian", third.trace_gradient_of_ggn),
    ("pairs counted once", expansion, "_sum_of_squares", lambda loss, theta, V: 0.5 * true_squares(loss, theta, V)),
    ("the fourth derivative beside the mode", fourth, "contraction",
     lambda loss, theta, V: true_contraction(loss, theta + 1e-3 * V[0], V)),
]


@pytest.mark.parametrize("words, holder, name, fault", [pytest.param(*row, id=row[0]) for row in FAULTS])
def test_a_planted_fault_breaks_the_contractions(words, holder, name, fault, monkeypatch):
    the_terms_are_the_contractions(SPECS[0])
    monkeypatch.setattr(holder, name, fault)
    with pytest.raises(AssertionError):
        the_terms_are_the_contractions(SPECS[0])


@pytest.mark.parametrize("field, factor, order", [
    ("fourth", -1, 1), ("fourth", 0, 1), ("third_joined", 1 / 3, 1), ("third_crossed", 1.5, 1), ("mean_shift", -1, 3),
    ("mean_shift", 0.5, 3),
])
def test_a_wrong_coefficient_leaves_an_error_of_the_first_order(field, factor, order, monkeypatch):
    monkeypatch.setattr(expansion, "second_order", scaled_field(field, factor))
    assert orders_of("logistic")[order] < 1.5
