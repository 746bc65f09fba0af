"""Third derivatives of the loss: jets and gradients of traces (identities C19 to C21)."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import assume
from numpy.polynomial import chebyshev

from refbnn import Linearised, Loss, Mlp, activations, third
from refbnn.networks import jets
from refbnn.precision import Dense
from tests import oracles
from tests.judge import agree, norm_or_one
from tests.likelihoods.families import FAMILIES
from tests.zoo import EVERY, KINKED, SMOOTH, Spec, law, statement

POINTS = 24
RADIUS = 2.0**-4  # of steps along unit vectors, where `radius_for` does not shrink it


def unit(v):
    """v / ‖v‖."""
    return v / np.linalg.norm(v)


def rows_for(case, count=3):
    """Directions v_t as rows: (t p)."""
    return np.random.default_rng([case.spec.seed, 9]).normal(size=(count, case.net.num_params))


def radius_for(case, v):
    """A radius of steps along v on which no pre-activation or output moves by more than 1/2, also in complex numbers.

    The nearest singularities of activations and likelihoods (π/2 for tanh) are then at least three times as far.
    """
    radius, here = RADIUS, oracles.states(case.spec, case.theta, case.X)[1]
    angles = np.exp(2j * np.pi * np.arange(8) / 8)
    while any(
        np.abs(moved - z).max() > 0.5
        for moved, z in zip(oracles.states(case.spec, case.theta + radius * angles[:, None] * v, case.X)[1], here)
    ):
        radius /= 2
    return radius


def slope_at_zero(function, radius):
    """(derivative, max|function|) of a smooth function of t at t = 0, from its Chebyshev interpolant on [−radius, radius].

    Interpolation converges geometrically; what remains is round-off of about POINTS·u·max|function|/radius.
    """
    nodes = chebyshev.chebpts1(POINTS)
    values = np.array([function(radius * t) for t in nodes])
    coefficients = chebyshev.chebfit(nodes, values, POINTS - 1)
    return chebyshev.chebval(0.0, chebyshev.chebder(coefficients)) / radius, np.abs(values).max()


def is_the_gradient(gradient, function, case, radius):
    """Assert that `gradient` at θ is that of function(θ), along a random direction."""
    u = unit(case.vector)
    slope, size = slope_at_zero(lambda t: function(case.theta + t * u), radius)
    agree(gradient @ u, slope, terms=case.terms + POINTS, condition=max(1.0, 10 / radius), scale=size or 1.0)


def second_derivative_of_the_gradient(case, v, radius):
    """d²/dt² ∇L(θ + t v) at 0 by Cauchy's integral of backpropagation in complex numbers, and the size of what it adds up."""
    def gradient(t):
        return oracles.gradient(case, case.theta + t * v)

    size = max(np.linalg.norm(gradient(radius * np.exp(2j * np.pi * j / 8))) for j in range(8))
    return oracles.cauchy_derivatives(gradient, 2, radius)[2], size


# -- ∇³L[v, v] --------------------------------------------------------------------------------------------------------------


@law(activation=SMOOTH, likelihood=EVERY)
def test_a_jet_is_the_second_derivative_of_the_gradient_along_a_line(spec):
    """Identity C19. Eq. (jet)."""
    case = spec.build()
    v = unit(case.vector)
    radius = radius_for(case, v)
    expected, size = second_derivative_of_the_gradient(case, v, radius)
    agree(third.third_derivative(case.loss, case.theta, v), expected, terms=case.terms + 64, condition=2 / radius**2,
          scale=size or 1.0)


@law(activation=KINKED, hidden=(1, 3))
def test_beside_a_kink_a_jet_is_the_derivative_of_the_hessian_product(spec):
    case = spec.build()
    v, radius = unit(case.vector), 2.0**-9
    pattern = [np.sign(z) for z in oracles.states(case.spec, case.theta, case.X)[1][:-1]]
    for t in radius * chebyshev.chebpts1(POINTS):
        moved = oracles.states(case.spec, case.theta + t * unit(case.vector), case.X)[1][:-1]
        assume(all(np.array_equal(np.sign(z), signs) and np.abs(signs).all() for z, signs in zip(moved, pattern)))
    is_the_gradient(third.third_derivative(case.loss, case.theta, v),
                    lambda theta: v @ case.loss.hessian_vector_product(theta, v), case, radius)


@law(likelihood=EVERY)
def test_a_jet_is_quadratic_and_symmetric_in_its_directions(spec):
    """The form behind ∇³L[v, v] is symmetric: w · ∇³L[u, v] = u · ∇³L[w, v], by polarisation. Eq. (polarisation)."""
    case = spec.build()
    u, v, w = rows_for(case)

    def mixed(a, b):
        plus, minus = third.third_derivative(case.loss, case.theta, np.stack([a + b, a - b]))
        return (plus - minus) / 4

    size = sum(np.linalg.norm(third.third_derivative(case.loss, case.theta, x + s * v)) for x in (u, w) for s in (1, -1))
    terms = case.terms
    agree(w @ mixed(u, v), u @ mixed(w, v), terms=terms, condition=10, scale=size * np.linalg.norm(u) * np.linalg.norm(w) or 1.0)
    agree(third.third_derivative(case.loss, case.theta, 3 * v), 9 * third.third_derivative(case.loss, case.theta, v), terms=terms,
          condition=10, scale=size or 1.0)


@law(likelihood=EVERY)
def test_jets_of_many_directions_are_those_of_each(spec):
    case = spec.build()
    V = rows_for(case, 6).reshape(2, 3, -1)
    together = third.third_derivative(case.loss, case.theta, V)
    for index in np.ndindex(2, 3):
        agree(together[index], third.third_derivative(case.loss, case.theta, V[index]), terms=case.terms, condition=10,
              scale=norm_or_one(together))


@law()
def test_in_a_linear_model_only_the_third_derivative_of_the_likelihood_is_left(spec):
    """Σ_n J_nᵀ T_n[J_n v, J_n v] as a plain loop, for the linearised network."""
    case = spec.build()
    J, f = oracles.jacobian(case), case.net.forward(case.theta, case.X)
    T, expected = case.likelihood.third(f, case.y), np.zeros(case.net.num_params)
    for n, a, b, c in np.ndindex(T.shape):
        expected += T[n, a, b, c] * (J[n, a] @ case.vector) * (J[n, b] @ case.vector) * J[n, c]
    linear = Loss(Linearised(case.net, at=case.theta), case.likelihood, case.X, case.y)
    scale = norm_or_one(T) * norm_or_one(J) ** 3 * np.linalg.norm(case.vector) ** 2
    agree(third.third_derivative(linear, case.theta, case.vector), expected, terms=case.terms, scale=scale)
    V = rows_for(case)
    traces = [gradient(linear, case.theta, V) for gradient in (third.trace_gradient_of_hessian, third.trace_gradient_of_ggn)]
    agree(*traces, terms=case.terms, scale=norm_or_one(T) * norm_or_one(J) ** 3 * np.linalg.norm(V) ** 2)


# -- gradients of traces ----------------------------------------------------------------------------------------------------


@law(activation=SMOOTH, likelihood=EVERY)
def test_the_trace_gradient_of_the_hessian_is_the_slope_of_the_trace(spec):
    """Identity C20. Eq. (trace-gradient)."""
    case = spec.build()
    V = unit(rows_for(case))
    gradient = third.trace_gradient_of_hessian(case.loss, case.theta, V)
    is_the_gradient(gradient, lambda theta: (V * (V @ case.loss.hessian(theta))).sum(), case, radius_for(case, unit(case.vector)))


@law(activation=SMOOTH, likelihood=EVERY)
def test_the_trace_gradient_of_the_ggn_is_the_slope_of_the_trace(spec):
    """Identity C21. Eq. (trace-gradient)."""
    case = spec.build()
    V = unit(rows_for(case))
    gradient = third.trace_gradient_of_ggn(case.loss, case.theta, V)
    is_the_gradient(gradient, lambda theta: (V * (V @ case.loss.ggn(theta))).sum(), case, radius_for(case, unit(case.vector)))


@law(activation=SMOOTH)
def test_with_the_posterior_scale_it_is_the_gradient_of_the_log_determinant(spec):
    """∇ log|G(θ) + P₀| = ∇ tr(P⁻¹ G(θ)) with P held fixed: the rows of V are the columns of C, C Cᵀ = P⁻¹."""
    case = spec.build()
    P0 = case.prior.precision.matrix() + np.eye(case.net.num_params)
    P = Dense(case.loss.ggn(case.theta) + P0)
    V = P.scale_matvec(np.eye(P.num_params))
    gradient = third.trace_gradient_of_ggn(case.loss, case.theta, V)
    start = P.log_det()
    u = unit(case.vector)
    radius = radius_for(case, u)
    slope, _ = slope_at_zero(lambda t: Dense(case.loss.ggn(case.theta + t * u) + P0).log_det() - start, radius)
    kappa = np.linalg.cond(P.matrix())
    agree(gradient @ u, slope, terms=case.terms + POINTS, condition=kappa * 10 / radius, scale=case.terms)


def with_likelihood(name):
    """A small network whose outputs are near those that the family draws, as a case."""
    family, rng = FAMILIES[name], np.random.default_rng(3)
    centre = family.outputs(rng, 1)[0]
    net = Mlp((2, 4, len(centre)), activations.tanh)
    (W1, b1), (W2, _) = net.unflatten(rng.normal(size=net.num_params))
    X, y, theta = rng.normal(size=(6, 2)), family.targets(rng, 6), net.flatten([(W1, b1), (0.2 * W2, centre)])
    loss = Loss(net, family.likelihood, X, y)
    return SimpleNamespace(loss=loss, theta=theta, vector=rng.normal(size=net.num_params), terms=net.num_params + 6)


@pytest.mark.parametrize("name", FAMILIES)
def test_trace_gradients_are_slopes_for_every_likelihood(name):
    case = with_likelihood(name)
    V, loss = unit(np.random.default_rng(4).normal(size=(3, len(case.theta)))), case.loss
    for gradient, matrix in ((third.trace_gradient_of_hessian, loss.hessian), (third.trace_gradient_of_ggn, ggn_of(loss))):
        is_the_gradient(gradient(loss, case.theta, V), lambda theta: (V * (V @ matrix(theta))).sum(), case, RADIUS)


def ggn_of(loss):
    """θ -> Σ JᵀΛJ, by way of the Hessian: some likelihoods have an indefinite Λ, which Loss.ggn refuses."""
    return lambda theta: loss.hessian(theta) - loss.at(theta).residual_part.full()


@law()
def test_blocks_of_directions_change_nothing(spec):
    case = spec.build()
    V = rows_for(case, 7)
    for gradient in (third.trace_gradient_of_hessian, third.trace_gradient_of_ggn):
        expected = gradient(case.loss, case.theta, V)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(third, "BLOCK_BYTES", 16 * max(case.spec.sizes) * len(case.X))  # two at a time
            agree(gradient(case.loss, case.theta, V), expected, terms=case.terms, condition=10, scale=norm_or_one(expected))


@pytest.mark.parametrize("gradient", [third.trace_gradient_of_hessian, third.trace_gradient_of_ggn])
def test_directions_are_rows_as_long_as_theta(gradient):
    case = Spec((2, 3, 2)).build()
    with pytest.raises(ValueError, match=r"V: expected shape \(t, 17\), got \(17,\)"):
        gradient(case.loss, case.theta, case.vector)
    with pytest.raises(ValueError, match=r"theta: expected shape \(17,\), got \(1, 17\)"):
        gradient(case.loss, case.theta[None], np.eye(17))


# -- planted faults ---------------------------------------------------------------------------------------------------------

SMALL = Spec((2, 4, 3), "tanh", "categorical", num_data=6, seed=1)
DEEP = Spec((3, 4, 3, 2), ("tanh", "silu"), "poisson", num_data=5, seed=2)
BINARY = Spec((2, 3, 3, 1), "sigmoid", "bernoulli", num_data=6, seed=4)


def on(test, spec=SMALL):
    """A law at one problem."""
    return lambda: statement(test)(spec)


true_of, true_tangents = third._Point.of.__func__, jets.second_order_tangents


def without_third_slope(cls, loss, theta):
    """φ‴ dropped."""
    point = true_of(cls, loss, theta)
    signals = point.evaluation.signals
    slopes = [[s[0], s[1], 0 * s[1]] for s in signals.slopes]
    return replace(point, evaluation=replace(point.evaluation, signals=replace(signals, slopes=slopes)))


def one_crossing(signals, directions):
    """z̈ with V ȧ once instead of twice."""
    z, a = true_tangents(signals, directions)
    return [(z1, z2 - V[..., :a1.shape[-2]] @ a1) for (z1, z2), (a1, _), V in zip(z, a, directions)], a


def straight_activations(signals, directions):
    """ä without φ″ ż²."""
    z, a = true_tangents(signals, directions)
    bent = [a[0]] + [(a1, a2 - slopes[1] * z1**2) for (a1, a2), slopes, (z1, _) in zip(a[1:], signals.slopes, z)]
    return z, bent


def biases_held(signals, directions):
    """The biases do not move along the direction."""
    held = [V * (np.arange(V.shape[-1]) < W.shape[-1]) for V, W in zip(directions, signals.weights)]
    return true_tangents(signals, held)


def ggn_with(factor):
    """∇ vᵀG v with another factor on the part through J."""
    def faulty(self, v):
        f_dot = self.evaluation.jvp(v)
        bend = self.evaluation.second_order_product(v, v=jets.times(self.curvature, f_dot))
        return self.evaluation.vjp(jets.twice(self.T, f_dot)) + factor * bend
    return faulty


of_jets = [on(test_a_jet_is_the_second_derivative_of_the_gradient_along_a_line, spec) for spec in (SMALL, DEEP, BINARY)]
of_hessian = [on(test_the_trace_gradient_of_the_hessian_is_the_slope_of_the_trace, spec) for spec in (SMALL, DEEP, BINARY)]
of_ggn = [on(test_the_trace_gradient_of_the_ggn_is_the_slope_of_the_trace, spec) for spec in (SMALL, DEEP, BINARY)]
log_det = on(test_with_the_posterior_scale_it_is_the_gradient_of_the_log_determinant)
FAULTS = [
    ("T dropped", jets, "twice", lambda T, u: 0 * u,
     (*of_jets, *of_hessian, *of_ggn, log_det, on(test_in_a_linear_model_only_the_third_derivative_of_the_likelihood_is_left))),
    ("φ‴ dropped", third._Point, "of", classmethod(without_third_slope), (*of_jets, *of_hessian)),
    ("V ȧ once in z̈", jets, "second_order_tangents", one_crossing, (*of_jets, *of_hessian)),
    ("φ″ ż² dropped from ä", jets, "second_order_tangents", straight_activations, (*of_jets, *of_hessian)),
    ("biases held", jets, "second_order_tangents", biases_held, (*of_jets, *of_hessian)),
    ("C21 factor 1 for 2", third._Point, "ggn_along", ggn_with(1), (*of_ggn, log_det)),
    ("C21 G held but for Λ", third._Point, "ggn_along", ggn_with(0), (*of_ggn, log_det)),
    ("the Hessian's for the GGN's", third._Point, "ggn_along", third._Point.third, (*of_ggn, log_det)),
    ("the GGN's for the Hessian's", third._Point, "third", third._Point.ggn_along, (*of_jets, *of_hessian)),
    ("the first block of directions alone", third._Point, "sum_over_rows",
     lambda self, contribution, V: contribution(V[:2]).sum(0), (of_hessian[0], of_ggn[0])),
]
PAIRS = [pytest.param(holder, name, fault, one, id=f"{words} [{i}]")
         for words, holder, name, fault, laws in FAULTS for i, one in enumerate(laws)]


@pytest.mark.parametrize("holder, name, fault, law_of_it", PAIRS)
def test_a_planted_fault_breaks_its_law(holder, name, fault, law_of_it, monkeypatch):
    law_of_it()
    monkeypatch.setattr(holder, name, fault)
    with pytest.raises(AssertionError):
        law_of_it()
