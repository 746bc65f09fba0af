"""Kernels over data: the neural tangent kernel, the prior's kernel and the Gram dual (identities D11, G5, G17)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from refbnn import Linearised, Mlp, activations, duals, predict
from refbnn.gaussian import Gaussian
from refbnn.networks.signals import Signals
from refbnn.testing import tolerance
from tests import oracles
from tests.judge import agree, norm_or_one
from tests.zoo import Spec, law, statement


def both_sides(case):
    """The evaluations on X and on X_new, and their Jacobians by the complex step."""
    evaluations = [case.net.evaluate(case.theta, X) for X in (case.X, case.X_new)]
    return evaluations, [oracles.jacobian(case, X) for X in (case.X, case.X_new)]


def loop_kernel(J, J_new, inverse):
    """J P⁻¹ J'ᵀ pair by pair: (n k m k)."""
    K = np.zeros((*J.shape[:2], *J_new.shape[:2]))
    for n, a in np.ndindex(*J.shape[:2]):
        for m, b in np.ndindex(*J_new.shape[:2]):
            K[n, a, m, b] = J[n, a] @ inverse @ J_new[m, b]
    return K


def scale_of(J, J_new, inverse):
    """The size of what is added up in a kernel: ‖J‖ ‖P⁻¹‖ ‖J'‖."""
    return norm_or_one(J) * np.linalg.norm(inverse, 2) * norm_or_one(J_new)


@law()
def test_the_tangent_kernel_of_two_sets_of_inputs_is_the_plain_loop_over_pairs(spec):
    """Eq. (ntk)."""
    case = spec.build()
    (left, right), (J, J_new) = both_sides(case)
    identity = np.eye(case.net.num_params)
    for one, two, J_one, J_two in ((left, right, J, J_new), (left, left, J, J), (right, left, J_new, J)):
        agree(duals.ntk(one, two), loop_kernel(J_one, J_two, identity), terms=case.terms, scale=scale_of(J_one, J_two, identity))


@law()
def test_a_precision_for_each_layer_weights_its_part_of_the_tangent_kernel(spec):
    case = spec.build()
    (left, right), (J, J_new) = both_sides(case)
    precisions = np.linspace(0.4, 2.3, len(case.net.layer_sizes))
    inverse = np.diag(1 / np.repeat(precisions, case.net.layer_sizes))
    agree(duals.ntk(left, right, precisions), loop_kernel(J, J_new, inverse), terms=case.terms, scale=scale_of(J, J_new, inverse))


@law()
def test_the_kernel_of_any_prior_is_the_plain_loop_over_pairs(spec):
    """Identity G17: the prior covariance of the linearised network."""
    case = spec.build()
    (left, right), (J, J_new) = both_sides(case)
    P0 = oracles.dense(case.prior.precision)
    inverse = np.linalg.inv(P0)
    agree(duals.kernel(left, right, case.prior.precision), loop_kernel(J, J_new, inverse), terms=case.terms,
          condition=np.linalg.cond(P0), scale=scale_of(J, J_new, inverse))


@law()
def test_the_kernel_of_the_prior_is_the_predictive_of_the_linearised_network_before_data(spec):
    case = spec.build()
    new = case.net.evaluate(case.theta, case.X_new)
    kernel = duals.kernel(new, new, case.prior.precision)
    q = Gaussian(case.theta, case.prior.precision)
    moments = predict.moments(Linearised(case.net, at=case.theta), q, case.X_new)
    expected = moments.covariance
    agree(np.array([kernel[m, :, m] for m in range(len(expected))]), expected, terms=case.terms, scale=norm_or_one(expected))


@law()
def test_a_linearised_network_has_the_kernel_of_the_network_at_its_point(spec):
    case = spec.build()
    linear = Linearised(case.net, at=case.theta)
    (left, right), (J, J_new) = both_sides(case)
    expected = duals.ntk(left, right)
    found = duals.ntk(linear.evaluate(case.vector, case.X), linear.evaluate(case.vector, case.X_new))
    agree(found, expected, terms=case.terms, scale=norm_or_one(expected))


@law()
def test_the_gram_dual_is_the_plain_product_of_factored_jacobians(spec):
    case = spec.build()
    _, (J, _) = both_sides(case)
    S = case.likelihood.factor(case.net.forward(case.theta, case.X), case.y)
    rows = np.array([S[n][:, c] @ J[n] for n in range(len(J)) for c in range(S.shape[2])])
    found = duals.gram_dual(case.loss.at(case.theta).ggn)
    agree(found, rows @ rows.T, terms=case.terms, scale=norm_or_one(S) ** 2 * norm_or_one(J) ** 2)
    assert np.array_equal(found, found.T)


@law()
def test_the_gram_dual_has_the_nonzero_eigenvalues_of_the_curvature(spec):
    """Identity D11, for the GGN and for the empirical Fisher. Eq. (gram-dual)."""
    case = spec.build()
    for pullback in (case.loss.at(case.theta).ggn, case.loss.at(case.theta).empirical_fisher):
        small, large = (np.linalg.eigvalsh(A)[::-1] for A in (duals.gram_dual(pullback), pullback.full()))
        shared = min(len(small), len(large))
        agree(small[:shared], large[:shared], terms=case.terms, scale=norm_or_one(large))
        for rest in (small[shared:], large[shared:]):
            assert (np.abs(rest) <= tolerance(case.terms) * norm_or_one(large)).all()


@law()
def test_the_determinant_of_the_posterior_is_that_of_its_dual(spec):
    """Identity G5: log|G + λI| − p log λ = log|I + SᵀJJᵀS/λ|. Eq. (gram-dual-determinant)."""
    case = spec.build()
    pullback, precision = case.loss.at(case.theta).ggn, 1.3
    small, large = duals.gram_dual(pullback), pullback.full()
    left = np.linalg.slogdet(large + precision * np.eye(len(large)))[1] - len(large) * np.log(precision)
    right = np.linalg.slogdet(np.eye(len(small)) + small / precision)[1]
    kappa = 1 + np.linalg.norm(large, 2) / precision
    agree(left, right, terms=case.terms, condition=kappa, scale=case.terms)


def test_kernels_of_different_networks_are_refused():
    small, wide = (Spec(sizes).build() for sizes in ((2, 3, 2), (2, 4, 2)))
    with pytest.raises(ValueError, match="one network"):
        duals.ntk(small.net.evaluate(small.theta, small.X), wide.net.evaluate(wide.theta, wide.X))


def test_a_precision_for_each_layer_means_one_a_layer():
    case = Spec((2, 3, 2)).build()
    at = case.net.evaluate(case.theta, case.X)
    with pytest.raises(ValueError, match=r"precisions: expected shape \(2,\), got \(3,\)"):
        duals.ntk(at, at, [1.0, 2.0, 3.0])


def test_a_gram_dual_needs_a_factor_and_no_second_derivative():
    case = Spec((2, 3, 2)).build()
    at = case.loss.at(case.theta)
    for pullback in (at.hessian, at.residual_part, replace(at.ggn, root=None)):
        with pytest.raises(ValueError, match="a factor S and without v"):
            duals.gram_dual(pullback)


# -- planted faults ---------------------------------------------------------------------------------------------------------

SMALL = Spec((2, 5, 3), "tanh", "categorical", num_data=7, prior="full", seed=1)


def kernel_with(units_of, inputs_of):
    """`_kernel` with another product of units or of inputs."""
    def faulty(one, seeds_one, two, seeds_two, precisions):
        total = 0.0
        deltas = zip(one.with_axis_for_outputs().backward(seeds_one), two.with_axis_for_outputs().backward(seeds_two))
        for l, pair in enumerate(deltas):
            inputs = inputs_of(one, two, l, precisions[l])
            total = total + units_of(*pair).reshape(len(inputs), -1, len(inputs.T), len(pair[1])) * inputs[:, None, :, None]
        return total
    return faulty


def rows(delta):
    return delta.transpose(2, 0, 1).reshape(-1, delta.shape[1])


def plain_units(one, two):
    return rows(one) @ rows(two).T


def plain_inputs(one, two, l, precision):
    return one.augmented[l].T @ two.augmented[l] / precision


def on(test):
    """A law at one problem."""
    return lambda: statement(test)(SMALL)


loop_law = on(test_the_tangent_kernel_of_two_sets_of_inputs_is_the_plain_loop_over_pairs)
weighted_law = on(test_a_precision_for_each_layer_weights_its_part_of_the_tangent_kernel)
dual_law = on(test_the_gram_dual_is_the_plain_product_of_factored_jacobians)
FAULTS = [
    ("biases left out", duals, "_kernel", kernel_with(
        plain_units, lambda one, two, l, precision: one.inputs[l].T @ two.inputs[l] / precision), (loop_law, dual_law)),
    ("multiplied by the precision", duals, "_kernel", kernel_with(
        plain_units, lambda one, two, l, precision: one.augmented[l].T @ two.augmented[l] * precision), (weighted_law,)),
    ("outputs and data exchanged", duals, "_rows", lambda delta: np.moveaxis(delta, 1, 2).reshape(-1, delta.shape[1]),
     (loop_law, dual_law)),
    ("the slope of the activation left out", Signals, "backward",
     lambda self, v: [np.swapaxes(self.weights[1], -1, -2) @ v, v], (loop_law, dual_law)),
    ("no activation: the kernel of the last layer alone", duals, "_kernel",
     lambda one, S, two, S_two, precisions: np.einsum("akn,bkm,nm->namb", S, S_two, one.augmented[1].T @ two.augmented[1]),
     (loop_law, dual_law, on(test_the_gram_dual_has_the_nonzero_eigenvalues_of_the_curvature),
      on(test_the_determinant_of_the_posterior_is_that_of_its_dual))),
    ("the precision for its inverse", duals, "kernel",
     lambda left, right, precision: loop_kernel(left.jacobian(), right.jacobian(), precision.matrix()),
     (on(test_the_kernel_of_any_prior_is_the_plain_loop_over_pairs),
      on(test_the_kernel_of_the_prior_is_the_predictive_of_the_linearised_network_before_data))),
]
PAIRS = [pytest.param(holder, name, fault, one, id=f"{words} [{i}]")
         for words, holder, name, fault, laws in FAULTS for i, one in enumerate(laws)]


@pytest.mark.parametrize("holder, name, fault, law_of_it", PAIRS)
def test_a_planted_fault_breaks_its_law(holder, name, fault, law_of_it, monkeypatch):
    law_of_it()
    monkeypatch.setattr(holder, name, fault)
    with pytest.raises(AssertionError):
        law_of_it()


def test_the_rewritten_kernel_in_which_faults_are_planted_is_itself_right(monkeypatch):
    monkeypatch.setattr(duals, "_kernel", kernel_with(plain_units, plain_inputs))
    loop_law()
    weighted_law()
    dual_law()


def test_a_kernel_of_two_networks_names_the_layers_of_both():
    one, other = (Mlp(sizes, activations.tanh) for sizes in ((2, 3, 1), (2, 5, 1)))
    X = np.ones((2, 2))
    with pytest.raises(ValueError, match=r"got layers .*3.* and .*5"):
        duals.ntk(one.evaluate(np.ones(one.num_params), X), other.evaluate(np.ones(other.num_params), X))
