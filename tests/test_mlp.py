"""The network and its hand-derived derivatives (identities A1 to A13, C3, C5 to C9, C17)."""

import math

import numpy as np
import pytest

from refbnn import Mlp, activations
from refbnn.networks import signals
from tests import oracles
from tests.judge import agree, condition, norm_or_one, vanishes
from tests.zoo import ACTIVATIONS, HOMOGENEOUS, ODD, Spec, law


# -- θ and its layout -------------------------------------------------------------------------------------------------------


def test_theta_holds_each_layer_as_W_in_row_major_order_and_then_b():
    """Eq. (parameter-order)."""
    net = Mlp((2, 3, 1), activations.tanh)
    (W1, b1), (W2, b2) = net.unflatten(np.arange(13.0))
    assert W1.tolist() == [[0, 1], [2, 3], [4, 5]] and b1.tolist() == [6, 7, 8]
    assert W2.tolist() == [[9, 10, 11]] and b2.tolist() == [12]
    assert net.layer_sizes == (9, 4) and net.num_params == 13 and net.num_inputs == 2 and net.num_outputs == 1


def test_theta_without_biases_holds_the_weights_alone():
    net = Mlp((2, 3, 1), activations.tanh, bias=False)
    (W1, b1), (W2, b2) = net.unflatten(np.arange(9.0))
    assert W1.tolist() == [[0, 1], [2, 3], [4, 5]] and W2.tolist() == [[6, 7, 8]] and b1 is None and b2 is None
    assert net.layer_sizes == (6, 3)


@law()
def test_flatten_undoes_unflatten_for_any_leading_axes(spec):
    net = spec.build().net
    thetas = np.random.default_rng(1).normal(size=(3, 2, net.num_params))
    assert np.array_equal(net.flatten(net.unflatten(thetas)), thetas)


@law()
def test_one_matrix_a_layer_holds_W_and_then_b_as_its_last_column(spec):
    net = spec.build().net
    thetas = np.random.default_rng(1).normal(size=(3, 2, net.num_params))
    matrices = net.layout.matrices(thetas)
    for A, (W, b) in zip(matrices, net.unflatten(thetas), strict=True):
        assert np.array_equal(A, W if b is None else np.concatenate([W, b[..., None]], axis=-1))
    assert np.array_equal(net.layout.join(matrices), thetas)


@pytest.mark.parametrize("left, right", [
    ((2, 3), (3, 5)), ((2, 1), (1, 5)), ((7, 2, 3), (3, 5)), ((2, 1), (7, 1, 5)), ((7, 2, 1), (1, 5)),
])
def test_a_product_is_a_product_whatever_its_leading_axes(left, right):
    A, B = (np.random.default_rng(2).normal(size=shape) for shape in (left, right))
    agree(signals.product(A, B), A @ B, terms=3, scale=np.linalg.norm(np.abs(A) @ np.abs(B)))


@pytest.mark.parametrize("sizes, linear", [((3, 2), True), ((3, 1, 2), False)])
def test_a_network_is_linear_when_it_has_no_hidden_layer(sizes, linear):
    assert Mlp(sizes, activations.tanh).is_linear is linear


def test_one_activation_serves_all_hidden_layers_or_each_has_its_own():
    one = Mlp((2, 3, 4, 1), activations.sin)
    assert one.activation == (activations.sin, activations.sin)
    assert Mlp((2, 3, 4, 1), [activations.sin, activations.tanh]).activation == (activations.sin, activations.tanh)


# -- forward and Jacobian ---------------------------------------------------------------------------------------------------


@law()
def test_forward_equals_plain_loops(spec):
    """Eq. (forward)."""
    case = spec.build()
    looped = np.array([oracles.loop_forward(spec, case.theta, x) for x in case.X])
    kappa = condition(case, lambda c: c.net.forward(c.theta, c.X))
    agree(case.net.forward(case.theta, case.X), looped, terms=case.terms, condition=kappa, scale=norm_or_one(looped))


@law()
def test_the_jacobian_is_the_complex_step_of_the_outputs(spec):
    """Eqs. (layer-jacobian) and (complex-step)."""
    case = spec.build()
    J = oracles.jacobian(case)
    kappa = condition(case, lambda c: c.net.jacobian(c.theta, c.X))
    agree(case.net.jacobian(case.theta, case.X), J, terms=case.terms, condition=kappa, scale=norm_or_one(J))


@law()
def test_products_with_the_jacobian_are_those_of_the_full_matrix(spec):
    """Eqs. (backward), (vjp) and (jvp)."""
    case = spec.build()
    net, theta, X, u, v = case.net, case.theta, case.X, case.vector, case.weights
    J = net.jacobian(theta, X)
    scale = norm_or_one(J) * np.linalg.norm(u)
    agree(net.jvp(theta, X, u), J @ u, terms=case.terms, scale=scale)
    per_datum = np.einsum("nkp,nk->np", J, v)
    scale = norm_or_one(J) * np.linalg.norm(v)
    agree(net.vjp_per_datum(theta, X, v), per_datum, terms=case.terms, scale=scale)
    agree(net.vjp(theta, X, v), per_datum.sum(0), terms=case.terms, scale=scale)


@law()
def test_forward_and_backward_mode_are_adjoint(spec):
    """Eq. (adjoint)."""
    case = spec.build()
    net, theta, X, u, v = case.net, case.theta, case.X, case.vector, case.weights
    scale = norm_or_one(net.jacobian(theta, X)) * np.linalg.norm(u) * np.linalg.norm(v)
    agree((v * net.jvp(theta, X, u)).sum(), net.vjp(theta, X, v) @ u, terms=case.terms, scale=scale)


@law()
def test_the_last_layer_block_of_the_jacobian_is_identity_kron_features(spec):
    """Eq. (last-layer)."""
    case = spec.build()
    features = oracles.states(spec, case.theta, case.X)[0][-1]
    k, last = case.net.num_outputs, case.net.layer_sizes[-1]
    expected = np.array([np.kron(np.eye(k), a) for a in features])
    if spec.bias:
        expected = np.concatenate([expected, np.broadcast_to(np.eye(k), (len(case.X), k, k))], axis=-1)
    block = case.net.jacobian(case.theta, case.X)[:, :, -last:]
    kappa = condition(case, lambda c: oracles.states(spec, c.theta, c.X)[0][-1])
    agree(block, expected, terms=case.terms, condition=kappa, scale=norm_or_one(expected))
    if spec.bias:
        assert all(np.linalg.matrix_rank(J) == k for J in block)


@law(bias=(True,))
def test_the_first_bias_columns_times_W_give_the_derivative_by_the_input(spec):
    """Eq. (input-jacobian)."""
    case = spec.build()
    W, b = case.net.unflatten(case.theta)[0]
    J = case.net.jacobian(case.theta, case.X)  # the condition number below is relative to all of it
    for x, J_b in zip(case.X, J[:, :, W.size:W.size + b.size]):
        points = x + 1j * oracles.STEP * np.eye(len(x))
        expected = oracles.forward(spec, case.theta, points).imag.T / oracles.STEP
        agree(J_b @ W, expected, terms=case.terms, scale=norm_or_one(J) * np.linalg.norm(W),
              condition=condition(case, lambda c: c.net.jacobian(c.theta, c.X)))


@law(activation=HOMOGENEOUS, bias=(False,))
def test_every_layer_of_a_homogeneous_network_obeys_euler(spec):
    """Eq. (euler)."""
    case = spec.build()
    J, f = case.net.jacobian(case.theta, case.X), case.net.forward(case.theta, case.X)
    scale = norm_or_one(J) * np.linalg.norm(case.theta)
    stops = np.cumsum(case.net.layer_sizes)
    for start, stop in zip(stops - case.net.layer_sizes, stops):
        agree(J[:, :, start:stop] @ case.theta[start:stop], f, terms=case.terms, scale=scale)
    agree(J @ case.theta, len(stops) * f, terms=case.terms, scale=scale)


# -- units ------------------------------------------------------------------------------------------------------------------

ONE_HIDDEN = [Spec((3, 5, 2), "tanh"), Spec((1, 1, 1), "softplus", num_data=1), Spec((2, 3, 4), "gelu", num_data=3)]


@pytest.mark.parametrize("spec", ONE_HIDDEN)
def test_a_new_unit_with_zero_outgoing_weights_changes_nothing_but_its_own_columns(spec):
    case = spec.build()
    (W, b), (V, c) = case.net.unflatten(case.theta)
    w, beta = np.linspace(0.3, -0.8, len(W.T)), 0.4
    d, h, k = spec.sizes
    wider = Mlp((d, h + 1, k), case.net.activation)
    theta = wider.flatten([(np.vstack([W, w]), np.append(b, beta)), (np.hstack([V, np.zeros((k, 1))]), c)])
    agree(wider.forward(theta, case.X), case.net.forward(case.theta, case.X), terms=case.terms)
    J = wider.jacobian(theta, case.X)
    new_inputs = [h * d + j for j in range(d)] + [(h + 1) * d + h]
    new_outputs = [(h + 1) * (d + 1) + i * (h + 1) + h for i in range(k)]
    assert not J[:, :, new_inputs].any()
    phi = oracles.PHI[spec.activation][0](case.X @ w + beta)
    agree(J[:, :, new_outputs], phi[:, None, None] * np.eye(k), terms=case.terms)
    old = np.delete(J, new_inputs + new_outputs, axis=-1)
    agree(old, case.net.jacobian(case.theta, case.X), terms=case.terms)


@pytest.mark.parametrize("spec", ONE_HIDDEN)
def test_splitting_a_unit_leaves_the_outputs_and_makes_the_two_halves_exchangeable(spec):
    """Eq. (duplicate)."""
    case = spec.build()
    (W, b), (V, c) = case.net.unflatten(case.theta)
    d, h, k = spec.sizes
    wider = Mlp((d, h + 1, k), case.net.activation)
    V_split = np.hstack([V, 0.3 * V[:, -1:]])
    V_split[:, h - 1] *= 0.7
    theta = wider.flatten([(np.vstack([W, W[-1]]), np.append(b, b[-1])), (V_split, c)])
    agree(wider.forward(theta, case.X), case.net.forward(case.theta, case.X), terms=case.terms)
    J = wider.jacobian(theta, case.X)
    first_output = (h + 1) * (d + 1)
    for i in range(k):
        ends = [first_output + i * (h + 1) + j for j in (h - 1, h)]
        vanishes(J[:, :, ends[0]] - J[:, :, ends[1]], scale=np.linalg.norm(J), terms=case.terms)
    if k == 1:
        halves = [J[:, :, (h - 1) * d:h * d], J[:, :, h * d:(h + 1) * d]]
        vanishes(V_split[0, h] * halves[0] - V_split[0, h - 1] * halves[1], scale=np.linalg.norm(J), terms=case.terms)


@law(activation=ODD, hidden=(1, 3))
def test_flipping_all_signs_at_a_unit_of_an_odd_network_leaves_the_outputs(spec):
    case = spec.build()
    layers = [(W.copy(), None if b is None else b.copy()) for W, b in case.net.unflatten(case.theta)]
    (W, b), (V, _) = layers[0], layers[1]
    W[-1] *= -1
    V[:, -1] *= -1
    if b is not None:
        b[-1] *= -1
    f = case.net.forward(case.theta, case.X)
    scale = norm_or_one(case.net.jacobian(case.theta, case.X)) * np.linalg.norm(case.theta)
    agree(case.net.forward(case.net.flatten(layers), case.X), f, terms=case.terms, scale=scale)


@law(activation=("identity",))
def test_a_deep_linear_network_is_the_collapsed_affine_map(spec):
    case = spec.build()
    A, c = np.eye(case.net.num_inputs), np.zeros(case.net.num_inputs)
    for W, b in case.net.unflatten(case.theta):
        A, c = W @ A, W @ c + (0 if b is None else b)
    scale = norm_or_one(case.net.jacobian(case.theta, case.X)) * np.linalg.norm(case.theta)
    agree(case.net.forward(case.theta, case.X), case.X @ A.T + c, terms=case.terms, scale=scale)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_everything_is_finite_for_pre_activations_of_a_thousand(activation):
    net = Mlp((1, 2, 1), ACTIVATIONS[activation])
    theta = np.array([1.0, -1.0, 0.0, 0.0, 1e-3, 1e-3, 0.0])
    X = np.array([[1000.0], [-1000.0], [0.0]])
    for value in (net.forward(theta, X), net.jacobian(theta, X), net.contracted_hessian(theta, X, np.ones((3, 1)))):
        assert np.isfinite(value).all()


@law()
def test_the_product_between_two_jacobians_is_forward_then_weights_then_backward(spec):
    """Σ_n J_nᵀ M_n J_n u for M_n that are not symmetric: with M_nᵀ in their place it is another vector."""
    case = spec.build()
    at, k = case.net.evaluate(case.theta, case.X), case.net.num_outputs
    M = np.random.default_rng(7).normal(size=(len(case.X), k, k))
    expected = at.vjp(np.einsum("nkl,nl->nk", M, at.jvp(case.vector)))
    J = case.net.jacobian(case.theta, case.X)
    scale = np.linalg.norm(M) * norm_or_one(J) ** 2 * np.linalg.norm(case.vector)
    agree(at.second_order_product(case.vector, M), expected, terms=case.terms, scale=scale)


# -- second derivatives -----------------------------------------------------------------------------------------------------


@law()
def test_the_contracted_hessian_is_the_complex_step_of_the_vector_jacobian_product(spec):
    """Eqs. (contracted-hessian), (forward-signal) and (second-back-signal)."""
    case = spec.build()
    expected = oracles.contracted_hessian(case, case.weights)
    scale = norm_or_one(expected)
    kappa = condition(case, lambda c: oracles.contracted_hessian(c, c.weights), scale)
    agree(case.net.contracted_hessian(case.theta, case.X, case.weights), expected, terms=case.terms, condition=kappa, scale=scale)


@law()
def test_the_contracted_hessian_is_symmetric_to_the_last_bit(spec):
    case = spec.build()
    H = case.net.contracted_hessian(case.theta, case.X, case.weights)
    assert np.array_equal(H, H.T)


@law()
def test_the_product_with_the_contracted_hessian_is_that_of_the_matrix(spec):
    """Eq. (contracted-hessian-product)."""
    case = spec.build()
    H = case.net.contracted_hessian(case.theta, case.X, case.weights)
    product = case.net.contracted_hessian_product(case.theta, case.X, case.weights, case.vector)
    kappa = condition(case, lambda c: c.net.contracted_hessian(c.theta, c.X, c.weights))
    agree(product, H @ case.vector, terms=case.terms, condition=kappa, scale=norm_or_one(H) * np.linalg.norm(case.vector))


@law()
def test_the_contracted_hessian_is_linear_in_the_weights_and_additive_over_data(spec):
    case = spec.build()
    H, v = case.net.contracted_hessian, case.weights
    whole = H(case.theta, case.X, v)
    pieces = []
    for n in range(len(v)):
        for c in range(v.shape[1]):
            pieces.append(v[n, c] * H(case.theta, case.X[n:n + 1], np.eye(v.shape[1])[[c]]))
    scale = sum(np.linalg.norm(piece) for piece in pieces) or 1.0
    agree(whole, sum(pieces), terms=case.terms, scale=scale)


@law(hidden=(1, 3))
def test_the_contracted_hessian_has_its_structure_in_terms_of_hidden_states(spec):
    """Identity C6: Σ_l J_{z_l}ᵀ diag(φ″ ⊙ W_{l+1}ᵀ δ_{l+1}) J_{z_l} + C + Cᵀ; J_{z_l} of the network up to z_l.

    Eq. (hessian-structure).
    """
    case = spec.build()
    main, C = state_form(case)
    expected = main + C + C.T
    scale = np.linalg.norm(main) + 2 * np.linalg.norm(C) or 1.0
    kappa = condition(case, lambda c: c.net.contracted_hessian(c.theta, c.X, c.weights), scale)
    agree(case.net.contracted_hessian(case.theta, case.X, case.weights), expected, terms=case.terms, condition=kappa, scale=scale)


@law(hidden=(1, 3))
def test_the_trace_of_the_contracted_hessian_comes_from_the_bends_alone(spec):
    """Identity C7: tr C = 0, hence tr R = Σ_l tr of the φ″ part. Eq. (trace-cross)."""
    case = spec.build()
    main, C = state_form(case)
    trace = np.trace(case.net.contracted_hessian(case.theta, case.X, case.weights))
    scale = np.linalg.norm(main) + np.linalg.norm(C) or 1.0
    kappa = condition(case, lambda c: c.net.contracted_hessian(c.theta, c.X, c.weights), scale)
    agree(trace, np.trace(main), terms=case.terms, condition=kappa, scale=scale)


def state_form(case):
    """The two parts of C6: the φ″ part and C, whose row (m, i, j) is δ_{m,i} ∂a_{m-1,j}/∂θ. Indices written out."""
    net, spec, p = case.net, case.spec, case.net.num_params
    main, C = np.zeros((p, p)), np.zeros((p, p))
    layers, (_, z) = net.unflatten(case.theta), oracles.states(spec, case.theta, case.X)
    starts = np.concatenate([[0], np.cumsum(net.layer_sizes)])
    delta = case.weights  # ∂(v·f)/∂z_L, then further down
    for m in reversed(range(1, len(layers))):
        below = Mlp(spec.sizes[:m + 1], net.activation[:m - 1], bias=spec.bias)
        J_z = np.zeros((len(case.X), below.num_outputs, p))
        J_z[:, :, :starts[m]] = below.jacobian(case.theta[:starts[m]], case.X)
        slope, bend = net.activation[m - 1].derivatives(z[m - 1], 2)[1:]
        into, out = spec.sizes[m], spec.sizes[m + 1]
        for i in range(out):
            rows = slice(starts[m] + i * into, starts[m] + (i + 1) * into)
            C[rows] += np.einsum("n,nj,njp->jp", delta[:, i], slope, J_z)
        signal = delta @ layers[m][0]
        main += np.einsum("njp,nj,njq->pq", J_z, bend * signal, J_z)
        delta = slope * signal
    return main, C


@law(activation=("relu", "leaky_relu", "identity"))
def test_same_layer_blocks_of_the_contracted_hessian_vanish_for_piecewise_linear_networks(spec):
    """Eq. (piecewise-linear)."""
    case = spec.build()
    H = case.net.contracted_hessian(case.theta, case.X, case.weights)
    stops = np.cumsum(case.net.layer_sizes)
    for start, stop in zip(stops - case.net.layer_sizes, stops):
        assert not H[start:stop, start:stop].any()


@law()
def test_the_last_layer_block_of_the_contracted_hessian_vanishes(spec):
    case = spec.build()
    last = case.net.layer_sizes[-1]
    assert not case.net.contracted_hessian(case.theta, case.X, case.weights)[-last:, -last:].any()


@law(activation=HOMOGENEOUS, bias=(False,))
def test_the_contracted_hessian_of_a_homogeneous_network_obeys_euler_twice(spec):
    """Identity C17: θᵀ (Σ v·∇²f) θ = L(L − 1) v·f."""
    case = spec.build()
    H, f = case.net.contracted_hessian(case.theta, case.X, case.weights), case.net.forward(case.theta, case.X)
    L = len(case.net.layer_sizes)
    scale = norm_or_one(H) * np.linalg.norm(case.theta) ** 2
    agree(case.theta @ H @ case.theta, L * (L - 1) * (case.weights * f).sum(), terms=case.terms, scale=scale)


# -- batches ----------------------------------------------------------------------------------------------------------------


def batched(rng, shape, *axes):
    return rng.normal(size=(*shape, *axes))


@law()
def test_batched_calls_equal_loops_over_single_ones(spec):
    case = spec.build()
    net, X, rng = case.net, case.X, np.random.default_rng(3)
    n, k, p = len(X), net.num_outputs, net.num_params
    thetas, us, vs = batched(rng, (2, 3), p), batched(rng, (2, 3), p), batched(rng, (2, 3), n, k)
    for together, alone in (
        (net.forward(thetas, X), lambda s: net.forward(thetas[s], X)),
        (net.jacobian(thetas, X), lambda s: net.jacobian(thetas[s], X)),
        (net.vjp(thetas, X, vs), lambda s: net.vjp(thetas[s], X, vs[s])),
        (net.jvp(thetas, X, us), lambda s: net.jvp(thetas[s], X, us[s])),
        (net.contracted_hessian_product(thetas, X, vs, us),
         lambda s: net.contracted_hessian_product(thetas[s], X, vs[s], us[s])),
    ):
        looped = np.array([[alone((i, j)) for j in range(3)] for i in range(2)])
        agree(together, looped, terms=case.terms, scale=norm_or_one(looped))


@law()
def test_leading_axes_of_parameters_and_vectors_broadcast(spec):
    case = spec.build()
    net, X, rng = case.net, case.X, np.random.default_rng(4)
    n, k, p = len(X), net.num_outputs, net.num_params
    thetas, us, vs = batched(rng, (3, 1), p), batched(rng, (2,), p), batched(rng, (3, 2), n, k)
    for together, alone in (
        (net.jvp(thetas, X, us), lambda i, j: net.jvp(thetas[i, 0], X, us[j])),
        (net.jvp(case.theta, X, np.stack([us] * 3)), lambda i, j: net.jvp(case.theta, X, us[j])),
        (net.vjp(thetas, X, vs), lambda i, j: net.vjp(thetas[i, 0], X, vs[i, j])),
        (net.vjp(case.theta, X, vs), lambda i, j: net.vjp(case.theta, X, vs[i, j])),
        (net.contracted_hessian_product(thetas, X, case.weights, us),
         lambda i, j: net.contracted_hessian_product(thetas[i, 0], X, case.weights, us[j])),
        (net.contracted_hessian_product(case.theta, X, vs, case.vector),
         lambda i, j: net.contracted_hessian_product(case.theta, X, vs[i, j], case.vector)),
    ):
        looped = np.array([[alone(i, j) for j in range(2)] for i in range(3)])
        agree(together, looped, terms=case.terms, scale=norm_or_one(looped))


def test_one_backward_pass_serves_many_weights_at_one_theta():
    case = Spec((2, 3, 2)).build()
    vs = np.random.default_rng(5).normal(size=(4, *case.weights.shape))
    agree(case.net.vjp(case.theta, case.X, vs), [case.net.vjp(case.theta, case.X, v) for v in vs], terms=case.terms)


def test_arguments_are_never_written_to():
    case = Spec((2, 3, 4, 2), ("tanh", "relu")).build()
    arrays = (case.theta, case.X, case.weights, case.vector)
    before = [a.copy() for a in arrays]
    for a in arrays:
        a.flags.writeable = False
    case.net.jacobian(case.theta, case.X)
    case.net.contracted_hessian(case.theta, case.X, case.weights)
    case.net.contracted_hessian_product(case.theta, case.X, case.weights, case.vector)
    case.net.jvp(case.theta, case.X, case.vector)
    assert all(np.array_equal(a, b) for a, b in zip(arrays, before))


def test_a_single_unit_network_gives_the_textbook_numbers():
    """f = v tanh(w x + b) + c, everything by hand."""
    net, x, (w, b, v, c) = Mlp((1, 1, 1), activations.tanh), 0.7, (0.5, -0.2, 1.5, 0.3)
    t = math.tanh(w * x + b)
    s, theta = 1 - t * t, np.array([w, b, v, c])
    agree(net.forward(theta, [[x]]), [[v * t + c]], terms=10)
    agree(net.jacobian(theta, [[x]]), [[[v * s * x, v * s, t, 1.0]]], terms=10)
    bend = -2 * t * s * v
    expected = [[bend * x * x, bend * x, s * x, 0], [bend * x, bend, s, 0], [s * x, s, 0, 0], [0, 0, 0, 0]]
    agree(net.contracted_hessian(theta, [[x]], [[1.0]]), expected, terms=10)
