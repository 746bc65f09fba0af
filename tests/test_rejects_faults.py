"""Every law must fail on the fault that it is there to detect: each fault is planted in the package and its laws are run.

A row is (fault in words, how to plant it, laws that must see it). Each law first passes without the fault.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from refbnn import Gaussian, Linearised, Loss, Mlp, Posterior
from refbnn import curvature, laplace, likelihoods, linalg, optimize, predict, priors
from refbnn.activations import Activation
from refbnn.likelihoods.independent import IndependentOutputs
from refbnn.linearised import LinearisedEvaluation
from refbnn.loss import Curvatures
from refbnn.networks import assembly, first_order, mlp, packed, pullback, signals
from refbnn.networks.assembly import Layout
from refbnn.networks.first_order import FirstOrder
from refbnn.networks.mlp import Evaluation
from refbnn.networks.pullback import Pullback
from refbnn.networks.signals import Carried
from refbnn.precision import Dense, Diagonal
from tests import test_activations, test_curvature, test_first_order, test_gaussian, test_laplace, test_likelihoods
from tests import test_linearised, test_loss, test_mlp, test_optimize, test_posterior, test_predict, test_priors
from tests.zoo import ACTIVATIONS, LIKELIHOODS, SMOOTH, Spec, statement

TANH = Spec((2, 5, 3), "tanh", "normal", num_data=7, prior="full", seed=1)
DEEP = Spec((2, 3, 4, 2), ("tanh", "gelu"), "categorical", num_data=5, prior="full", seed=2)
RELU = Spec((3, 5, 4, 2), "relu", "bernoulli", bias=False, num_data=7, seed=3)
LINEAR = Spec((3, 2), likelihood="normal", num_data=7, seed=5)
BINARY = Spec((2, 4, 1), "sin", "bernoulli", num_data=6, seed=6)
DEEP_BINARY = Spec((2, 3, 4, 1), "tanh", "bernoulli", num_data=5, seed=9)
DEEP_LINEAR = Spec((2, 3, 4, 2), "identity", num_data=5, seed=8)
SMALL = Spec((1, 2, 1), "tanh", "normal", num_data=3, prior="full", seed=7)


def on(test, spec=TANH):
    """A law of one Spec as a function of no arguments."""
    return lambda: statement(test)(spec)


def draws(test, *drawn):
    """A law of hypothesis draws at one draw."""
    return lambda: test.hypothesis.inner_test(*drawn)


def call(test, *arguments, **named):
    """A parametrised test at one row."""
    return lambda: test(*arguments, **named)


def after(owner, name, change):
    """Plant: the method's result goes through change(result, *its arguments)."""
    true = getattr(owner, name)

    def faulty(*args, **kwargs):
        return change(true(*args, **kwargs), *args, **kwargs)

    return lambda patch: patch.setattr(owner, name, faulty)


def instead(owner, name, faulty):
    """Plant: another method."""
    return lambda patch: patch.setattr(owner, name, faulty)


def scaled(owner, name, factor):
    """Plant: a factor on the result."""
    return after(owner, name, lambda result, *_, **__: factor * result)


# -- faults of the network --------------------------------------------------------------------------------------------------


def column_major(self, theta):
    """W read column by column."""
    layers, start = [], 0
    for into, out in zip(self.sizes, self.sizes[1:]):
        W = theta[..., start:start + into * out].reshape(*theta.shape[:-1], into, out)
        start += into * out
        b = theta[..., start:start + out] if self.bias else None
        start += out * self.bias
        layers.append((np.swapaxes(W, -1, -2), b))
    return layers


def without_ones(shape, bias):
    """Room for (a, 0)."""
    *batch, width, n = shape
    return np.zeros((*batch, width + bias, n))


def read_in_another_way(unflatten):
    """Plant: another order of θ, for (W, b) and for the two in one matrix."""
    def matrices(self, theta):
        return [W if b is None else np.concatenate([W, b[..., None]], axis=-1) for W, b in unflatten(self, theta)]

    def plant(patch):
        patch.setattr(Layout, "unflatten", unflatten)
        patch.setattr(Layout, "matrices", matrices)

    return plant


def without_hidden_biases(matrices, layout, *_):
    """The last column of the (W b) of every layer but the first."""
    for A in matrices[1:] if layout.bias else []:
        A[..., -1] = 0
    return matrices


def pulled_to_zero(self, theta):
    """The right density of a Gaussian; its gradient forgets the mean."""
    return self.log_prob(theta), -self.precision.matvec(np.asarray(theta))


true_pairs = assembly._pairs


def pairs_without_bend(B, columns):
    """Σ_c δ_c δ_cᵀ alone where both are there."""
    return true_pairs(B if columns is None else None, columns)


def unmirrored(out, block):
    """Zeros where the other triangle belongs."""
    out[...] = 0


def only_the_last_block(out, left, right, more):
    """Each block of data replaces the sum of those before."""
    np.matmul(left, right.T, out=out)


def without_bend_in_triangle(pairs, carried):
    """What was added to the diagonal taken off again."""
    if carried.bend is not None:
        pairs[packed.diagonal(len(carried.slope))] -= carried.bend
    return pairs


def halved(pairs, W, B):
    """Only B_ab W_ai W_bj with a <= b for a dense B."""
    return pairs if B.ndim == 2 else packed.triangle(np.einsum("ai,abn,bj->ijn", W, np.triu(B.T).T, W))


def only_the_last_bias(self, theta, X):
    """A linear network whose hidden biases are lost on the way."""
    a, layers = np.asarray(X), self.unflatten(theta)
    for W, _ in layers:
        a = a @ W.T
    return a + layers[-1][1]


def bias_first(J, net, *_):
    """The columns of every layer with b before W."""
    order, start = [], 0
    for into, out in zip(net.sizes, net.sizes[1:]):
        W, b = np.arange(start, start + into * out), np.arange(start + into * out, start + out * (into + net.bias))
        order += [*b, *W]
        start += len(W) + len(b)
    return J[..., order]


def derivatives_changed(changes):
    """Plant: the derivatives of all activations go through `changes`."""
    true = Activation.successive

    def faulty(self, z, room=None):
        return (changes.get(m, lambda d, z: d)(value, z) for m, value in enumerate(true(self, z)))

    return instead(Activation, "successive", faulty)


def no_cross_terms(self, delta, T, a_l):
    """The cross term δ_l ∂a_{l-1}/∂z_m is dropped."""


def transposed_factor(pullback, *_, **__):
    """Σ Jᵀ Sᵀ S J."""
    S = pullback.S.swapaxes(0, 1)
    return dataclasses.replace(pullback, root=lambda: S, output_matrix=lambda: np.einsum("ckn,cln->kln", S, S))


def products_with_v(factor):
    """Plant: the part of the second derivatives of the outputs in matrix-free products is scaled."""
    true = pullback.second_order_product

    def faulty(signals, directions, M, v):
        return true(signals, directions, M, None if v is None else factor * v)

    return instead(mlp, "second_order_product", faulty)


def residual_changed(change):
    """Plant: the residual that enters Hessian and empirical Fisher goes through `change`."""
    return instead(Curvatures, "residual", property(lambda self: change(self.likelihood.residual(self.evaluation.f, self.y))))


def bent(change):
    """Plant: every matrix that has second derivatives of the outputs in it goes through change(matrix, pullback)."""
    return after(Pullback, "full", lambda H, pullback, *_: H if pullback.v is None else change(H, pullback))


def zero_block(i, j):
    """Plant: the block of layers i and j is lost."""
    def change(H, pullback):
        rows, columns = pullback.layout.span(i), pullback.layout.span(j)
        H = H.copy()
        H[rows, columns] = 0
        H[columns, rows] = 0
        return H

    return bent(change)


hessian_laws = (on(test_mlp.test_the_contracted_hessian_is_the_complex_step_of_the_vector_jacobian_product, DEEP),
                on(test_loss.test_the_hessian_is_the_complex_step_of_the_gradient, DEEP),
                on(test_loss.test_the_hessian_is_what_autograd_finds, DEEP))
jacobian_law = on(test_mlp.test_the_jacobian_is_the_complex_step_of_the_outputs)

NETWORK = [
    ("A1 vec order: W read in column-major order", read_in_another_way(column_major),
     (jacobian_law, on(test_mlp.test_forward_equals_plain_loops),
      test_mlp.test_theta_holds_each_layer_as_W_in_row_major_order_and_then_b)),
    ("A1 bias columns before the weights", after(Mlp, "jacobian", bias_first),
     (jacobian_law, on(test_mlp.test_the_last_layer_block_of_the_jacobian_is_identity_kron_features),
      on(test_mlp.test_the_first_bias_columns_times_W_give_the_derivative_by_the_input))),
    ("A1 datum and output exchanged", after(Mlp, "jacobian", lambda J, *_: np.swapaxes(J, -2, -3)), (jacobian_law,)),
    ("A2 forward mode without the slope", instead(
        Mlp, "jvp", lambda self, theta, X, u, true=Mlp.jvp: true(Mlp(self.sizes, ACTIVATIONS["identity"]), theta, X, u)),
     (on(test_mlp.test_forward_and_backward_mode_are_adjoint),
      on(test_mlp.test_products_with_the_jacobian_are_those_of_the_full_matrix))),
    ("A2 backward mode averages over data", after(Evaluation, "vjp", lambda g, at, v: g / at.num_data),
     (on(test_mlp.test_forward_and_backward_mode_are_adjoint),
      on(test_first_order.test_in_place_is_evaluate_and_pull_back))),
    ("A2 many gradients average over data",
     after(FirstOrder, "gradient", lambda gradient, on_X, *_: gradient / on_X.num_data),
     (on(test_loss.test_everything_is_a_sum_over_data_and_never_a_mean),
      on(test_first_order.test_in_place_is_evaluate_and_pull_back))),
    ("A2 bias left out of many gradients", instead(
        first_order, "with_ones", lambda a, bias: np.concatenate([a, np.zeros((int(bias), a.shape[1]))])),
     (on(test_first_order.test_in_place_is_evaluate_and_pull_back),)),
    ("A4 batch leakage: outputs centred over data", instead(
        Evaluation, "f", property(lambda self, true=Evaluation.f.fget: true(self) - true(self).mean(-2, keepdims=True))),
     (on(test_loss.test_everything_is_a_sum_over_data_and_never_a_mean), on(test_mlp.test_forward_equals_plain_loops))),
    ("A5 last layer as features kron identity", after(
        Mlp, "jacobian",
        lambda J, net, *_: np.concatenate([J[..., :-net.layer_sizes[-1]], J[..., :-net.layer_sizes[-1] - 1:-1]], -1)),
     (on(test_mlp.test_the_last_layer_block_of_the_jacobian_is_identity_kron_features),)),
    ("A6 ReLU mask missing", derivatives_changed({1: lambda d, z: np.ones_like(d)}),
     (on(test_mlp.test_every_layer_of_a_homogeneous_network_obeys_euler, RELU),
      on(test_mlp.test_the_jacobian_is_the_complex_step_of_the_outputs, RELU))),
    ("A6 Euler's factor: Jacobian of one layer doubled",
     after(Mlp, "jacobian", lambda J, net, *_: J * np.where(np.arange(net.num_params) < net.layer_sizes[0], 2, 1)),
     (on(test_mlp.test_every_layer_of_a_homogeneous_network_obeys_euler, RELU),)),
    ("A7 first bias counted twice",
     after(Mlp, "jacobian", lambda J, net, *_: J * np.where(np.arange(net.num_params) == net.sizes[0] * net.sizes[1], 2, 1)),
     (on(test_mlp.test_the_first_bias_columns_times_W_give_the_derivative_by_the_input),)),
    ("A9, A10 units off by one", after(Mlp, "jacobian", lambda J, *_: np.roll(J, 1, axis=-1)),
     (call(test_mlp.test_a_new_unit_with_zero_outgoing_weights_changes_nothing_but_its_own_columns, test_mlp.ONE_HIDDEN[0]),
      call(test_mlp.test_splitting_a_unit_leaves_the_outputs_and_makes_the_two_halves_exchangeable, test_mlp.ONE_HIDDEN[2]))),
    ("A11 parity broken", derivatives_changed({0: lambda a, z: a + 0.01}),
     (on(test_mlp.test_flipping_all_signs_at_a_unit_of_an_odd_network_leaves_the_outputs),)),
    ("A12 biases of hidden layers dropped", after(Layout, "matrices", without_hidden_biases),
     (on(test_mlp.test_forward_equals_plain_loops), test_mlp.test_a_single_unit_network_gives_the_textbook_numbers)),
    ("A12 no ones beside the hidden units", instead(signals, "room_for", without_ones),
     (on(test_mlp.test_forward_equals_plain_loops), jacobian_law)),
    ("A12 biases do not propagate", instead(Mlp, "forward", only_the_last_bias),
     (on(test_mlp.test_a_deep_linear_network_is_the_collapsed_affine_map, DEEP_LINEAR),)),
    ("C1, C6, C7 φ″ dropped", derivatives_changed({2: lambda d, z: 0 * d}),
     hessian_laws),
    ("C1 φ″ of the wrong sign", derivatives_changed({2: lambda d, z: -d}), hessian_laws),
    ("C1 cross term δ ∂a/∂θ dropped", instead(assembly._CrossBlock, "add_first_order", no_cross_terms),
     (*hessian_laws, on(test_mlp.test_the_contracted_hessian_has_its_structure_in_terms_of_hidden_states, DEEP),
      on(test_mlp.test_the_contracted_hessian_of_a_homogeneous_network_obeys_euler_twice, RELU))),
    ("blocks beside the diagonal not mirrored", instead(assembly, "_transpose_into", unmirrored),
     (on(test_curvature.test_a_layer_from_rows_is_that_from_packed_triangles, DEEP),
      on(test_curvature.test_every_matrix_is_symmetric_to_the_last_bit, DEEP))),
    ("only the last block of data in a product", instead(assembly, "_put_product", only_the_last_block),
     (on(test_curvature.test_a_layer_from_rows_is_that_from_packed_triangles, DEEP),)),
    ("a block of data left out of diagonal, units and KFAC", after(Pullback, "pieces", lambda pieces, *_: list(pieces)[:2]),
     (on(test_curvature.test_blocks_of_data_change_no_structure, DEEP),)),
    ("no bend in a triangle", after(Carried, "triangle", without_bend_in_triangle),
     (call(test_curvature.test_the_triangle_of_a_congruence_is_that_of_the_whole, 3), *hessian_laws)),
    ("off-diagonal entries counted once from triangle to triangle", after(packed, "congruence", halved),
     (call(test_curvature.test_the_triangle_of_a_congruence_is_that_of_the_whole, 3),)),
    ("C1 no bend beside pairs of δ", instead(assembly, "_pairs", pairs_without_bend),
     (on(test_curvature.test_every_route_to_a_full_matrix_leads_to_the_same_matrix, DEEP),
      on(test_loss.test_the_hessian_is_the_complex_step_of_the_gradient, DEEP_BINARY))),
    ("C3 factor 2 in the contracted Hessian product", products_with_v(2.0),
     (on(test_mlp.test_the_product_with_the_contracted_hessian_is_that_of_the_matrix, DEEP),
      on(test_loss.test_the_hessian_vector_product_is_that_of_the_matrix, DEEP))),
    ("C3 the second-derivative part of Hv dropped", products_with_v(0.0),
     (on(test_loss.test_the_hessian_vector_product_is_that_of_the_matrix, DEEP),
      on(test_loss.test_central_differences_of_the_gradient_approach_the_hessian_product_with_order_two, DEEP))),
    ("C8 stray φ″ in a piecewise-linear network", derivatives_changed({2: lambda d, z: d + 0.1}),
     (on(test_mlp.test_same_layer_blocks_of_the_contracted_hessian_vanish_for_piecewise_linear_networks, RELU),
      on(test_curvature.test_piecewise_linear_networks_have_hessian_and_ggn_with_equal_same_layer_blocks, RELU))),
    ("C9 last-layer block not zero", bent(lambda H, _: H + np.eye(len(H))),
     (on(test_mlp.test_the_last_layer_block_of_the_contracted_hessian_vanishes),
      on(test_curvature.test_the_last_layer_block_of_the_hessian_is_that_of_the_ggn),
      on(test_curvature.test_without_hidden_layer_the_hessian_is_the_ggn, LINEAR),
      on(test_mlp.test_the_trace_of_the_contracted_hessian_comes_from_the_bends_alone))),
    ("C23 one triangle only", bent(lambda H, _: np.tril(H)),
     (on(test_mlp.test_the_contracted_hessian_is_symmetric_to_the_last_bit), *hessian_laws)),
    ("C23 symmetric to round-off only", bent(lambda H, _: H * (1 + 1e-15 * np.tri(len(H)))),
     (on(test_mlp.test_the_contracted_hessian_is_symmetric_to_the_last_bit),
      on(test_curvature.test_every_matrix_is_symmetric_to_the_last_bit))),
    *[(f"C1 block ({i}, {j}) of the Hessian lost", zero_block(i, j), hessian_laws)
      for i in range(3) for j in range(i + 1) if (i, j) != (2, 2)],
    ("batched draws share the first θ",
     instead(Mlp, "forward",
             lambda self, theta, X, true=Mlp.forward: true(self, theta[(0,) * (np.ndim(theta) - 1)] + 0 * theta, X)),
     (on(test_mlp.test_batched_calls_equal_loops_over_single_ones),)),
]

# -- faults of likelihoods --------------------------------------------------------------------------------------------------

ROW = {name: (name, 3, 3, 11, 1.0) for name in LIKELIHOODS}
LITTLE = {name: (name, 1, 2, 5) for name in LIKELIHOODS}


def owner(name, method):
    """The class of a likelihood on which a method is found."""
    return next(c for c in type(LIKELIHOODS[name][0]).__mro__ if method in vars(c))


DERIVATIVES = test_likelihoods.test_residual_curvature_and_third_are_the_derivatives_of_the_loss
LIKELIHOOD = [
    *[(f"B{order} {method} of {name} times {factor}", scaled(owner(name, method), method, factor),
       (draws(DERIVATIVES, ROW[name]),))
      for name in LIKELIHOODS for order, method in ((1, "residual"), (2, "curvature"), (3, "third"))
      for factor in (-1.0, 2.0, 1 + 1e-8) if (name, method) != ("normal", "third")],
    *[(f"B4 constant missing in {name}", after(owner(name, "log_prob"), "log_prob", lambda value, *_: value + 0.01),
       (draws(test_likelihoods.test_the_density_integrates_to_one, LITTLE[name]),
        draws(test_likelihoods.test_the_log_density_equals_the_formula_with_every_constant, ROW[name]))) for name in LIKELIHOODS],
    *[(f"B5 biased score of {name}", after(owner(name, "residual"), "residual", lambda r, *_: r + 1e-6),
       (draws(test_likelihoods.test_the_expected_residual_is_zero, LITTLE[name]),)) for name in LIKELIHOODS],
    *[(f"B6 Fisher matrix of {name} doubled", scaled(owner(name, "fisher"), "fisher", 2.0),
       (draws(test_likelihoods.test_the_fisher_matrix_is_both_the_expected_square_of_the_residual_and_the_expected_curvature,
              LITTLE[name]),)) for name in LIKELIHOODS],
    *[(f"B7 third derivative of {name} with the wrong sign", scaled(owner(name, "third"), "third", -1.0),
       (draws(test_likelihoods.test_third_derivatives_obey_the_third_bartlett_identity, LITTLE[name]),))
      for name in LIKELIHOODS if name != "normal"],
    ("B8 curvature that depends on the target", after(
        IndependentOutputs, "curvature", lambda value, self, f, y: value * (1 + 1e-3 * y[..., None])),
     (draws(test_likelihoods.test_canonical_likelihoods_have_curvature_free_of_the_targets_equal_to_the_fisher_matrix,
            ROW["poisson"]),)),
    *[(f"B8 variance of {name} as standard deviation", after(
        owner(name, "covariance"), "covariance", lambda value, *_: np.sign(value) * np.sqrt(np.abs(value))),
       (draws(test_likelihoods.test_mean_and_covariance_are_those_of_the_targets, LITTLE[name]),)) for name in LIKELIHOODS],
    *[(f"B8 mean of {name} is the raw output", instead(owner(name, "mean"), "mean", lambda self, f: f),
       (draws(test_likelihoods.test_mean_and_covariance_are_those_of_the_targets, LITTLE[name]),))
      for name in ("bernoulli", "poisson", "categorical")],
    ("B9 root of the softmax curvature without −p√pᵀ", instead(
        likelihoods.Categorical, "factor", lambda self, f, y: np.sqrt(self.mean(f))[..., None] * np.eye(f.shape[-1])),
     (draws(test_likelihoods.test_the_factor_is_a_root_of_the_curvature, ROW["categorical"]),)),
    ("B9 root of the softmax curvature transposed", after(
        likelihoods.Categorical, "factor", lambda S, *_: np.swapaxes(S, -1, -2)),
     (draws(test_likelihoods.test_the_factor_is_a_root_of_the_curvature, ROW["categorical"]),)),
    ("B9 softmax curvature as diag p", instead(
        likelihoods.Categorical, "curvature", lambda self, f, y: self.mean(f)[..., None] * np.eye(f.shape[-1])),
     (draws(test_likelihoods.test_the_categorical_curvature_is_singular_along_ones_and_has_rank_one_less_than_outputs,
            ROW["categorical"]),)),
    ("B10 classes in reverse order", after(likelihoods.Categorical, "mean", lambda p, *_: p[..., ::-1]),
     (draws(test_likelihoods.test_two_classes_are_a_bernoulli_of_the_difference, 3),)),
    ("B10 softmax without the maximum taken out", instead(
        likelihoods.Categorical, "log_prob", lambda self, f, y: np.take_along_axis(
            f - np.log(np.exp(f).sum(-1, keepdims=True)), y[..., None], -1)[..., 0]),
     (test_likelihoods.test_saturated_categorical_outputs_keep_all_digits,)),
    ("1 − p by subtraction", instead(likelihoods.Bernoulli, "information", lambda self, f: self.mean(f) * (1 - self.mean(f))),
     (test_likelihoods.test_saturated_bernoulli_outputs_keep_all_digits,)),
    ("B25 normal sampler with the variance as standard deviation", instead(
        likelihoods.Normal, "sample", lambda self, f, rng: f + self.variance * rng.standard_normal(f.shape)),
     (call(test_likelihoods.test_samples_have_the_mean_the_covariance_and_the_scores_of_the_density, "normal"),)),
    ("B25 Poisson sampler with the output as rate", instead(
        likelihoods.Poisson, "sample", lambda self, f, rng: rng.poisson(np.abs(f)).astype(float)),
     (call(test_likelihoods.test_samples_have_the_mean_the_covariance_and_the_scores_of_the_density, "poisson"),)),
    ("B25 Bernoulli sampler that flips the labels", instead(
        likelihoods.Bernoulli, "sample", lambda self, f, rng: (rng.random(f.shape) > self.mean(f)).astype(float)),
     (call(test_likelihoods.test_samples_have_the_mean_the_covariance_and_the_scores_of_the_density, "bernoulli"),)),
    ("B25 categorical sampler with half the noise", instead(
        likelihoods.Categorical, "sample", lambda self, f, rng: np.argmax(f + 0.5 * rng.gumbel(size=f.shape), axis=-1)),
     (call(test_likelihoods.test_samples_have_the_mean_the_covariance_and_the_scores_of_the_density, "categorical"),)),
    ("B25 one draw for all outputs", instead(
        likelihoods.Bernoulli, "sample", lambda self, f, rng: (rng.random((*f.shape[:-1], 1)) < self.mean(f)).astype(float)),
     (call(test_likelihoods.test_outputs_of_a_factorised_likelihood_are_sampled_independently, "bernoulli"),)),
]

ACTIVATION = [
    (f"A8 derivative {m} of {name} off by one part in a hundred million",
     derivatives_changed({m: lambda d, z: d + 1e-8 * np.cos(z)}),
     (call(test_activations.derivatives_match_cauchys_integral, name),))
    for name in SMOOTH for m in range(5)
] + [
    ("A13 softplus that overflows", instead(Activation, "successive", lambda self, z: iter((np.log1p(np.exp(z)),))),
     (call(test_activations.test_activations_are_finite_up_to_a_thousand, "softplus"),)),
]

# -- faults of curvature ----------------------------------------------------------------------------------------------------


def ggn_with_transposed_factor(J, factor):
    """Σ Jᵀ Sᵀ S J."""
    return curvature.congruence(J, np.swapaxes(factor, -1, -2) @ factor)


def centred_empirical_fisher(self, theta):
    """The covariance of gradients instead of their second moment."""
    g = self.per_datum_gradients(theta)
    return (g - g.mean(0)).T @ (g - g.mean(0))


categorical = dataclasses.replace(TANH, likelihood="categorical")
sum_law = on(test_loss.test_everything_is_a_sum_over_data_and_never_a_mean)
fisher_law = test_curvature.test_the_fisher_matrix_is_the_enumerated_expectation_of_squared_gradients_and_of_the_ggn
probit = dataclasses.replace(TANH, likelihood="probit")

CURVATURE = [
    *[(f"mean for sum in {name}", after(Loss, name, lambda value, loss, *_: value / len(loss.X)), (sum_law,))
      for name in ("value", "gradient", "hessian", "ggn", "fisher", "empirical_fisher")],
    ("A3 gradient of the wrong sign", scaled(Loss, "gradient", -1),
     (on(test_loss.test_the_gradient_is_the_complex_step_of_the_loss), on(test_loss.test_the_gradient_is_what_autograd_finds),
      on(test_posterior.test_the_gradient_is_the_complex_step_of_the_log_joint))),
    ("A3 gradient of the wrong sign beside the value",
     after(Loss, "value_and_gradient", lambda result, *_: (result[0], -result[1])),
     (on(test_posterior.test_the_gradient_is_the_complex_step_of_the_log_joint),)),
    ("per-datum gradients averaged", after(Loss, "per_datum_gradients", lambda g, *_: g / len(g)),
     (on(test_loss.test_per_datum_gradients_are_jacobian_times_residual_and_sum_to_the_gradient),)),
    ("order of data lost", after(Loss, "per_datum_gradients", lambda g, *_: np.sort(g, axis=0)),
     (on(test_loss.test_the_order_of_the_data_does_not_matter),)),
    ("½ missing: GGN doubled", scaled(Loss, "ggn", 2.0),
     (on(test_curvature.test_the_ggn_is_the_plain_loop_over_data_and_outputs),
      on(test_curvature.test_the_gram_matrix_of_data_has_the_eigenvalues_of_the_ggn),
      on(test_curvature.test_homogeneous_networks_obey_euler_in_gradient_ggn_and_residual_part, RELU),
      on(test_linearised.test_the_hessian_of_the_linearised_model_is_the_ggn_of_the_network))),
    ("factor transposed in the GGN", instead(curvature, "ggn", ggn_with_transposed_factor),
     (on(test_curvature.test_the_ggn_is_the_plain_loop_over_data_and_outputs, categorical),)),
    ("factor transposed on the way to every matrix", after(Evaluation, "pullback", transposed_factor),
     (on(test_curvature.test_the_ggn_is_the_plain_loop_over_data_and_outputs, categorical),
      on(test_curvature.test_the_gram_matrix_of_data_has_the_eigenvalues_of_the_ggn, categorical))),
    ("C5 residual contaminated by Λ", residual_changed(lambda r: 1.1 * r),
     (on(test_curvature.test_the_residual_part_is_linear_in_the_residual, DEEP),)),
    ("C11 R not proportional to the residual", residual_changed(lambda r: r + 1e-3),
     (on(test_curvature.test_at_interpolation_the_hessian_is_the_ggn_and_the_empirical_fisher_vanishes),
      on(test_curvature.test_the_hessian_averaged_over_targets_from_the_model_is_the_ggn, categorical))),
    ("C10 the GGN used for the Hessian", instead(Loss, "hessian", lambda self, theta: self.ggn(theta)),
     (on(test_loss.test_the_hessian_is_the_complex_step_of_the_gradient),
      on(test_loss.test_the_hessian_vector_product_is_that_of_the_matrix),
      on(test_curvature.test_the_residual_part_is_linear_in_the_residual))),
    ("C13 GGN of the wrong sign", scaled(Loss, "ggn", -1.0),
     (on(test_curvature.test_the_ggn_is_positive_semi_definite_with_rank_bounded_by_that_of_the_curvatures),)),
    ("C13 jitter in the GGN", after(Loss, "ggn", lambda G, *_: G + 1e-6 * np.eye(len(G))),
     (on(test_curvature.test_the_ggn_is_positive_semi_definite_with_rank_bounded_by_that_of_the_curvatures, SMALL),
      on(test_curvature.test_the_ggn_is_the_plain_loop_over_data_and_outputs))),
    ("C14 Hessian far from the GGN in one direction only", after(
        Loss, "hessian", lambda H, *_: np.where(np.tri(len(H), k=-1) > 0, H + 5.0, H)),
     (on(test_curvature.test_every_matrix_is_symmetric_to_the_last_bit),)),
    ("C15 Kronecker factors in column-major order", after(Loss, "hessian", lambda H, loss, *_: bias_first(H, loss.net)),
     (on(test_curvature.test_a_single_datum_has_same_layer_hessian_blocks_of_kronecker_form),)),
    ("C17 Euler: residual part doubled", bent(lambda H, _: 2 * H),
     (on(test_curvature.test_homogeneous_networks_obey_euler_in_gradient_ggn_and_residual_part, RELU), *hessian_laws)),
    ("C18 factor 2 in Hv", scaled(Loss, "hessian_vector_product", 2.0),
     (on(test_loss.test_central_differences_of_the_gradient_approach_the_hessian_product_with_order_two, DEEP),)),
    ("contracted Hessian not linear in its weights",
     after(Mlp, "contracted_hessian", lambda H, net, theta, X, v: H * np.linalg.norm(v)),
     (on(test_mlp.test_the_contracted_hessian_is_linear_in_the_weights_and_additive_over_data),)),
    ("D1 empirical for true Fisher", instead(Loss, "fisher", lambda self, theta: self.empirical_fisher(theta)),
     (on(fisher_law, categorical), test_curvature.test_the_empirical_fisher_differs_from_the_fisher_matrix)),
    ("D2 GGN called Fisher", instead(Loss, "fisher", lambda self, theta: self.ggn(theta)),
     (on(fisher_law, probit),
      test_curvature.test_the_ggn_of_a_likelihood_that_is_not_canonical_depends_on_the_targets_and_is_not_the_fisher_matrix)),
    ("Fisher called GGN", instead(
        Curvatures, "_output_curvature", lambda self: (self.likelihood.fisher(self.evaluation.f), None)),
     (on(test_curvature.test_the_ggn_is_the_plain_loop_over_data_and_outputs, probit),
      on(test_loss.test_the_hessian_is_what_autograd_finds, probit))),
    ("D1 Fisher matrix from curvatures at the targets", scaled(Loss, "fisher", 1 + 1e-9),
     (on(test_curvature.test_the_fisher_matrix_is_the_ggn_for_canonical_likelihoods, categorical),)),
    ("D3 empirical Fisher centred", instead(Loss, "empirical_fisher", centred_empirical_fisher),
     (on(test_curvature.test_the_empirical_fisher_is_the_loop_over_squared_gradients_not_centred),
      on(test_curvature.test_the_gaussian_empirical_fisher_weights_each_datum_by_its_squared_error))),
    ("D4 GGN for empirical Fisher", instead(Loss, "empirical_fisher", lambda self, theta: self.ggn(theta)),
     (on(test_curvature.test_the_ggn_depends_on_where_loss_and_network_are_split, categorical),)),
    ("D6 GGN that is no tensor: its diagonal", after(Loss, "ggn", lambda G, *_: np.diag(np.diag(G))),
     (on(test_curvature.test_curvatures_are_tensors_and_the_hessian_picks_up_the_gradient_times_the_bend_of_the_map),)),
    ("D7 Fisher matrix doubled", scaled(Loss, "fisher", 2.0),
     (call(test_curvature.test_the_kullback_leibler_divergence_to_a_nearby_model_is_half_the_fisher_form, "bernoulli"),
      call(test_curvature.test_the_sampled_fisher_is_unbiased, "poisson"))),
    ("D8 sampled Fisher at the observed targets",
     instead(Loss, "sampled_fisher", lambda self, theta, labels: self.empirical_fisher(theta)),
     (call(test_curvature.test_the_sampled_fisher_is_the_empirical_one_at_the_given_labels, "normal"),)),
    ("congruence that takes roots", instead(curvature, "congruence", lambda J, M: curvature.ggn(J, np.sqrt(np.abs(M)))),
     (test_curvature.test_congruence_accepts_matrices_of_any_sign,)),
]

# -- faults of Gaussians, posterior, modes ----------------------------------------------------------------------------------

DENSE, DIAGONAL = ("dense", 4, 9), ("diagonal", 4, 9)
exact_law = on(test_laplace.test_laplace_is_exact_for_linear_regression, LINEAR)
evidence_law = on(test_laplace.test_the_evidence_at_any_point_is_that_of_the_linearised_regression_less_half_a_newton_decrement)
volume_law = call(test_laplace.test_the_log_evidence_is_the_log_joint_plus_the_log_volume, "full")
joint_law = on(test_posterior.test_the_log_joint_is_log_likelihood_plus_log_prior_with_every_constant)
evidence = laplace.log_evidence


def transposed_scale(self, z):
    """L⁻¹ z for L⁻ᵀ z: the wrong triangle."""
    return linalg.solve_lower(self._L, z.reshape(-1, self.num_params).T).T.reshape(z.shape)


GAUSSIAN = [
    ("G33 L for Lᵀ in the scale", instead(Dense, "scale_matvec", transposed_scale),
     (draws(test_gaussian.test_given_normals_become_draws_by_one_linear_map_whose_square_is_the_covariance, DENSE),
      draws(test_gaussian.test_the_covariance_is_the_inverse_of_the_precision_and_the_scale_its_upper_triangular_root, DENSE),
      call(test_gaussian.test_samples_have_the_mean_and_covariance, "dense"))),
    ("precision used as covariance", instead(Diagonal, "scale_matvec", lambda self, z: z * np.sqrt(self.diagonal())),
     (draws(test_gaussian.test_given_normals_become_draws_by_one_linear_map_whose_square_is_the_covariance, DIAGONAL),
      test_priors.test_the_precision_is_not_a_variance)),
    ("draws without the mean", instead(Gaussian, "from_normals", lambda self, z: self.precision.scale_matvec(np.asarray(z))),
     (call(test_gaussian.test_samples_have_the_mean_and_covariance, "dense"),)),
    ("½ missing in log |P|", scaled(Dense, "log_det", 0.5),
     (draws(test_gaussian.test_the_log_density_has_every_constant, DENSE),
      draws(test_gaussian.test_every_precision_method_is_that_of_the_full_matrix, DENSE),
      draws(test_gaussian.test_the_entropy_is_minus_the_expected_log_density, DENSE),
      call(test_laplace.test_the_ratio_of_determinants_has_its_dual_over_data, "categorical", 3), exact_law)),
    ("log |P| of a diagonal precision dropped", scaled(Diagonal, "log_det", 0.0),
     (draws(test_gaussian.test_the_log_density_has_every_constant, DIAGONAL),)),
    ("2π missing in the density", instead(Gaussian, "_twice_log_constant", property(lambda q: q.precision.log_det())),
     (draws(test_gaussian.test_the_log_density_has_every_constant, DENSE), joint_law, exact_law)),
    ("A3 prior mean missing in the gradient", instead(
        Gaussian, "gradient", lambda self, theta: -self.precision.matvec(np.asarray(theta))),
     (draws(test_gaussian.test_the_gradient_is_the_complex_step_of_the_log_density, DENSE),
      on(test_posterior.test_the_gradient_is_the_complex_step_of_the_log_joint))),
    ("A3 prior mean missing in the gradient beside the density", instead(Gaussian, "value_and_gradient", pulled_to_zero),
     (on(test_posterior.test_the_gradient_is_the_complex_step_of_the_log_joint),)),
    ("prior precision as its inverse in the gradient", instead(
        Gaussian, "gradient", lambda self, theta: -self.precision.solve(np.asarray(theta) - self.mean)),
     (draws(test_gaussian.test_the_gradient_is_the_complex_step_of_the_log_density, DENSE),)),
    ("dropped prior in the log joint",
     instead(Posterior, "log_prob", lambda self, theta: self.log_likelihood(theta)), (joint_law,)),
    ("dropped prior in the negative Hessian",
     instead(Posterior, "negative_hessian", lambda self, theta: self.loss.hessian(theta)),
     (on(test_posterior.test_the_negative_hessian_is_the_complex_step_of_the_gradient_with_the_prior),)),
    ("mean for sum in the log likelihood",
     after(Posterior, "log_likelihood", lambda v, post, *_: v / len(post.loss.X)), (joint_law,)),
    ("prior per layer without the biases", instead(
        priors, "per_layer", lambda sizes, precisions, mean=0.0: priors.per_parameter(
            np.concatenate([[a] * (s - 1) + [1.0] for s, a in zip(sizes, precisions)]), mean)),
     (test_priors.test_the_prior_per_layer_covers_weights_and_biases_of_each_layer,)),
    ("entropy of the wrong sign of log |P|", after(Gaussian, "entropy", lambda h, q: h + q.precision.log_det()),
     (draws(test_gaussian.test_the_entropy_is_minus_the_expected_log_density, DENSE),)),
    ("divergence with its arguments exchanged", instead(
        test_gaussian, "kl", lambda q, p, true=test_gaussian.kl: true(p, q)),
     (draws(test_gaussian.test_the_divergence_is_the_expected_log_ratio, DENSE, "diagonal", 3),
      test_gaussian.test_the_divergence_of_two_known_gaussians)),
]

MODES = [
    ("F21 a saddle accepted as a mode", instead(
        optimize, "_hessian_at",
        lambda posterior, theta, converged=False: Dense(posterior.negative_hessian(theta) + 100 * np.eye(len(theta)))),
     (call(test_optimize.test_a_search_that_starts_at_a_saddle_is_refused_there, "tanh"),
      test_optimize.test_a_minimum_is_refused, test_optimize.test_flat_directions_without_a_prior_are_refused)),
    ("no convergence accepted", instead(optimize, "CONVERGED", np.inf),
     (test_optimize.test_a_search_that_runs_out_of_iterations_says_so,)),
    ("no Newton steps at the end", instead(optimize, "_polish", lambda posterior, theta: (theta, 0)),
     (call(test_optimize.test_from_random_starts_the_gradient_reaches_round_off_at_a_maximum, "categorical", "tanh", 0),)),
    ("F21 Hessian replaced by the GGN", instead(
        Posterior, "negative_hessian", lambda self, theta: self.loss.ggn(theta) + self.prior.precision.matrix()),
     (call(test_optimize.test_the_trivial_point_of_an_odd_network_has_the_smallest_eigenvalue_of_theory, "tanh"),
      call(test_optimize.test_a_search_that_starts_at_a_saddle_is_refused_there, "tanh"),
      test_optimize.test_what_a_mode_reports_is_true)),
    ("wrong gradient: prior mean missing", instead(Gaussian, "value_and_gradient", pulled_to_zero),
     (test_posterior.test_at_the_mode_the_gradients_of_the_data_balance_the_prior,)),
]

# -- faults of Laplace, the linearised network and prediction ---------------------------------------------------------------


def moments_with(change):
    """Plant: the covariance of predictive moments goes through change(covariance, net, q, X)."""
    return after(predict, "moments", lambda m, net, q, X: predict.Moments(m.mean, change(m.covariance, net, q, X)))


moments_law = on(test_predict.test_the_glm_predictive_is_the_loop_over_inputs_with_the_inverse_precision)
monte_carlo_law = on(test_predict.test_the_monte_carlo_predictive_is_the_loop_over_draws_by_total_variance)

LAPLACE = [
    ("G1 ½ missing before log |P|",
     instead(laplace, "log_evidence", lambda lp, q: evidence(lp, q) - 0.5 * q.precision.log_det()),
     (exact_law, evidence_law, volume_law,
      call(test_laplace.test_evidences_with_hessian_and_ggn_differ_by_half_the_log_ratio_of_determinants, "categorical"))),
    ("G1 2π missing", instead(laplace, "log_evidence", lambda lp, q: evidence(lp, q) - 0.5 * q.num_params * np.log(2 * np.pi)),
     (exact_law, evidence_law, volume_law,
      test_laplace.test_at_a_mode_the_ggn_evidence_is_the_marginal_likelihood_of_the_gaussian_process)),
    ("G1 2π once instead of p times", instead(
        laplace, "log_evidence", lambda lp, q: evidence(lp, q) - 0.5 * (q.num_params - 1) * np.log(2 * np.pi)),
     (exact_law, volume_law)),
    ("G5 log |P| of the wrong sign", instead(laplace, "log_evidence", lambda lp, q: evidence(lp, q) + q.precision.log_det()),
     (exact_law, on(test_laplace.test_the_evidence_does_not_change_under_affine_maps_of_the_parameters))),
    ("G14 log determinant missing in the prior", after(Gaussian, "log_prob", lambda v, q, *_: v - 0.5 * q.precision.log_det()),
     (on(test_laplace.test_the_evidence_does_not_change_under_affine_maps_of_the_parameters),)),
    ("G13 covariance for precision", after(laplace, "at", lambda q, *_: Gaussian(
        q.mean, Dense(linalg.symmetric_part(np.linalg.inv(q.precision.matrix()))))),
     (on(test_laplace.test_the_effective_number_of_parameters_agrees_in_all_its_forms), moments_law)),
    ("jitter in the posterior precision", instead(laplace, "at", lambda theta, precision, true=laplace.at: true(
        theta, precision + 1e-6 * np.eye(len(theta)))), (exact_law, moments_law)),
    ("G6 sign of r", after(Loss, "value_and_gradient", lambda result, *_: (result[0], -result[1])),
     (test_laplace.test_the_mode_of_the_linearised_regression_is_gaussian_process_regression_on_pseudo_targets,)),
    ("C22 linearised at θ instead of θ*", instead(
        Linearised, "jacobian", lambda self, theta, X: self.net.jacobian(theta, X)),
     (on(test_linearised.test_its_derivatives_are_those_of_the_network_at_its_point_whatever_theta),)),
    ("C22 linearised network that bends", instead(
        Linearised, "evaluate", lambda self, theta, X: self.net.evaluate(self.at, X)),
     (on(test_linearised.test_the_hessian_of_the_linearised_model_is_the_ggn_of_the_network),
      call(test_linearised.test_a_mode_of_the_network_is_the_mode_of_its_linearisation, "normal"))),
    ("G16 tangent without f(θ*)", instead(
        LinearisedEvaluation, "f", property(lambda self: self.base.jvp(self.shift))),
     (on(test_linearised.test_outputs_are_the_tangent_of_the_network_at_its_point),
      call(test_linearised.test_one_gauss_newton_step_lands_on_the_posterior_mean_of_the_linearised_regression, "tanh"))),
    ("G16 tangent through the origin: J θ for J (θ − θ*)", instead(
        Linearised, "forward", lambda self, theta, X: self.net.forward(self.at, X) + self.net.jvp(self.at, X, theta)),
     (on(test_linearised.test_outputs_are_the_tangent_of_the_network_at_its_point),
      on(test_linearised.test_the_linearised_prior_mean_of_a_homogeneous_network_is_minus_the_outputs_times_depth_less_one,
         RELU))),
    ("noise included in the predictive covariance", moments_with(lambda C, *_: C + 0.37 * np.eye(C.shape[-1])),
     (moments_law, on(test_predict.test_the_predictive_of_linear_regression_is_exact, LINEAR))),
    ("G4 prior forgotten: J J ᵀ", moments_with(lambda C, net, q, X: (J := net.jacobian(q.mean, X)) @ np.swapaxes(J, 1, 2)),
     (moments_law, call(test_predict.test_the_weight_space_predictive_equals_its_dual_over_data, "categorical"))),
    ("G4 precision for covariance: J P Jᵀ", moments_with(
        lambda C, net, q, X: (J := net.jacobian(q.mean, X)) @ q.precision.matrix() @ np.swapaxes(J, 1, 2)),
     (moments_law, on(test_predict.test_data_never_widen_the_linearised_predictive),
      on(test_predict.test_the_glm_covariance_is_unchanged_by_a_linear_map_of_the_parameters_if_the_prior_moves_along))),
    ("G4 the wrong triangle: J L⁻ᵀ L⁻¹ Jᵀ with L for Lᵀ", instead(
        Dense, "scale_transposed_matvec", lambda self, v: self.scale_matvec(v)),
     (moments_law, draws(test_gaussian.test_every_precision_method_is_that_of_the_full_matrix, DENSE))),
    ("standard deviations for variances", moments_with(lambda C, *_: np.sign(C) * np.sqrt(np.abs(C))), (moments_law,)),
    ("G18 bend doubled", scaled(Mlp, "contracted_hessian", 2.0),
     (test_predict.test_averaging_the_network_itself_differs_from_the_linearised_mean_by_half_the_trace_of_its_bend,)),
    ("monte carlo without the spread between draws", after(
        predict, "monte_carlo", lambda m, net, likelihood, thetas, X: predict.Moments(
            m.mean, likelihood.covariance(net.forward(thetas, X)).mean(0))),
     (monte_carlo_law, test_predict.test_the_monte_carlo_covariance_of_a_binary_label_is_that_of_its_mean,
      test_predict.test_the_monte_carlo_covariance_of_a_label_is_that_of_its_mean_probabilities)),
    ("monte carlo: mean of f, then the link", after(
        predict, "monte_carlo", lambda m, net, likelihood, thetas, X: predict.Moments(
            likelihood.mean(net.forward(thetas, X).mean(0)), m.covariance)),
     (on(test_predict.test_the_monte_carlo_predictive_is_the_loop_over_draws_by_total_variance, BINARY),)),
    ("monte carlo: divided by t − 1", after(
        predict, "monte_carlo", lambda m, net, likelihood, thetas, X: predict.Moments(
            m.mean, m.covariance * len(thetas) / max(len(thetas) - 1, 1))),
     (monte_carlo_law, test_predict.test_the_monte_carlo_covariance_of_a_binary_label_is_that_of_its_mean)),
]

ROWS = NETWORK + LIKELIHOOD + ACTIVATION + CURVATURE + GAUSSIAN + MODES + LAPLACE
PAIRS = [pytest.param(plant, one, id=f"{words} [{i}]") for words, plant, laws in ROWS for i, one in enumerate(laws)]


@pytest.mark.parametrize("plant, law_of_it", PAIRS)
def test_a_planted_fault_breaks_its_law(plant, law_of_it, monkeypatch):
    law_of_it()
    plant(monkeypatch)
    with np.errstate(all="ignore"), pytest.raises((AssertionError, pytest.fail.Exception, optimize.NotAMode)):
        law_of_it()
