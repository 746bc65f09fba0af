"""GGN, Fisher matrices and the residual part of the Hessian (identities C5 to C17, D1 to D14)."""

import dataclasses

import numpy as np
import pytest

from refbnn import Loss, Mlp, activations, curvature
from refbnn.kronecker import kfac
from refbnn.networks import assembly, packed
from refbnn.networks.assembly import Layout
from refbnn.networks.signals import MANY_ROWS, Carried, Signals
from refbnn.testing import taylor_order
from tests import oracles
from tests.judge import agree, condition, mean_agrees, norm_or_one, smallest_eigenvalue_is_not_negative, vanishes
from tests.zoo import CANONICAL, ENUMERABLE, HOMOGENEOUS, LIKELIHOODS, Spec, law


def rows(case):
    """The terms of the sums in a curvature: data, outputs and parameters."""
    return len(case.X) * case.net.num_outputs + case.net.num_params


def parts(case):
    """J, residual and curvature at θ."""
    f = case.net.forward(case.theta, case.X)
    return case.net.jacobian(case.theta, case.X), case.likelihood.residual(f, case.y), case.likelihood.curvature(f, case.y)


def with_targets(case, y):
    """The loss of the same network on other targets."""
    return Loss(case.net, case.likelihood, case.X, y)


def size(case):
    """‖G‖ + ‖R‖, the size of the two parts of the Hessian."""
    G, H = case.loss.ggn(case.theta), case.loss.hessian(case.theta)
    return np.linalg.norm(G) + np.linalg.norm(H - G) or 1.0


# -- functions of arrays ----------------------------------------------------------------------------------------------------


@law()
def test_the_ggn_is_the_plain_loop_over_data_and_outputs(spec):
    """Eq. (ggn)."""
    case = spec.build()
    J, _, Lambda = parts(case)
    expected = oracles.loop_congruence(J, Lambda)
    agree(case.loss.ggn(case.theta), expected, terms=case.terms, scale=norm_or_one(expected))
    S = case.likelihood.factor(case.net.forward(case.theta, case.X), case.y)
    agree(curvature.ggn(J, S), expected, terms=case.terms, scale=norm_or_one(expected))
    agree(curvature.congruence(J, Lambda), expected, terms=case.terms, scale=norm_or_one(expected))


def test_congruence_accepts_matrices_of_any_sign():
    case = Spec((2, 3, 3), num_data=5).build()
    J = case.net.jacobian(case.theta, case.X)
    M = np.random.default_rng(0).normal(size=(5, 3, 3))
    M = M + np.swapaxes(M, 1, 2)
    agree(curvature.congruence(J, M), oracles.loop_congruence(J, M), terms=case.terms, condition=10)


@law()
def test_every_matrix_is_symmetric_to_the_last_bit(spec):
    case = spec.build()
    for matrix in (case.loss.ggn, case.loss.hessian, case.loss.fisher, case.loss.empirical_fisher):
        A = matrix(case.theta)
        assert np.array_equal(A, A.T), matrix.__name__


@law()
def test_every_route_to_a_full_matrix_leads_to_the_same_matrix(spec):
    """Rows of SᵀJ in one product; blocks from pairs of δ; blocks from the recursion of B; any block of data at a time."""
    case = spec.build()
    at = case.loss.at(case.theta)
    pullback, v = at.ggn, at.hessian.v
    where = pullback.layout, pullback.signals
    routes = (
        assembly.gauss_newton_gram(*where, pullback.S),
        assembly.second_derivative(*where, None, None, S=pullback.S),
        assembly.second_derivative(*where, pullback.M, None, block_size=2),
    )
    for G in routes:
        agree(G, pullback.full(), terms=case.terms, scale=norm_or_one(G))
    H = assembly.second_derivative(*where, pullback.M, v)
    agree(assembly.second_derivative(*where, None, v, 3, S=pullback.S), H, terms=case.terms, scale=size(case))
    agree(at.hessian.full(), H, terms=case.terms, scale=size(case))


@law()
def test_a_layer_from_rows_is_that_from_packed_triangles(spec):
    """Which layers are packed is a matter of cost: none, all, and every second one give one matrix, in any blocks of data."""
    case = spec.build()
    pullback = case.loss.at(case.theta).ggn
    layout, S = pullback.layout, pullback.S
    expected = assembly.gauss_newton_rows(layout, pullback.signals, S)
    expected = expected @ expected.T
    for chosen in (set(), set(range(layout.depth)), set(range(0, layout.depth, 2))):
        bands = [(layout.span(l), l if l in chosen else None) for l in range(layout.depth)]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(assembly, "_bands", lambda *_, bands=bands: bands)
            for block_size in (None, 2, 1):
                G = assembly.gauss_newton_gram(layout, pullback.signals, S, block_size)
                agree(G, expected, terms=case.terms, scale=norm_or_one(expected))
                assert np.array_equal(G, G.T)


def test_wide_layers_are_packed_and_narrow_ones_joined():
    """The cost counts: with many data and both factors wide, packing pays; two thin layers are cheaper in one product."""
    assert assembly._bands(Layout((8, 50, 50, 1), True), 1, 1000) == [
        (slice(0, 450), None), (slice(450, 3000), 1), (slice(3000, 3051), None),
    ]
    assert assembly._bands(Layout((1, 50, 1), True), 1, 1000) == [(slice(0, 151), None)]
    assert assembly._bands(Layout((8, 50, 50, 1), True), 1, 10) == [(slice(0, 3051), None)]


@pytest.mark.parametrize("rows", [1, 3, MANY_ROWS + 1])
def test_the_triangle_of_a_congruence_is_that_of_the_whole(rows):
    """Few rows: from triangle to triangle at once; many: by way of all entries. Dense and diagonal, bent and not."""
    rng = np.random.default_rng(rows)
    W, slope, bend = rng.normal(size=(rows, 5)), rng.normal(size=(5, 7)), rng.normal(size=(5, 7))
    dense = rng.normal(size=(rows, rows, 7))
    for B, full in ((dense + dense.swapaxes(0, 1), dense + dense.swapaxes(0, 1)),
                    (dense[0], np.eye(rows)[..., None] * dense[0])):
        for bent in (bend, None):
            plain = np.einsum("ai,abn,bj->ijn", W, full, W) * slope * slope[:, None]
            if bent is not None:
                plain += np.eye(5)[..., None] * bent
            carried = Carried(B, W, slope, bent)
            agree(carried.matrix, plain, terms=rows**2)
            agree(carried.triangle(), np.array([plain[i, j] for i in range(5) for j in range(i, 5)]), terms=rows**2)
            agree(carried.triangle()[packed.index(5)], plain, terms=rows**2)


def test_no_more_data_than_the_block_size_are_worked_on_at_once(monkeypatch):
    """The memory beside the result is bounded by it."""
    pullback = Spec((2, 3, 4, 2), "tanh", "categorical", num_data=5).build()
    pullback = pullback.loss.at(pullback.theta).ggn
    sizes, true = [], Signals.block
    monkeypatch.setattr(Signals, "block", lambda self, data: sizes.append(true(self, data).num_data) or true(self, data))
    for route in (lambda: assembly.gauss_newton_gram(pullback.layout, pullback.signals, pullback.S, 2),
                  lambda: assembly.second_derivative(pullback.layout, pullback.signals, pullback.M, None, 2),
                  *[lambda way=way: way(2) for way in (pullback.layer_blocks, pullback.neuron_blocks, pullback.diagonal)],
                  lambda: kfac(pullback, block_size=2)):
        route()
        assert sizes == [2, 2, 1]
        sizes.clear()


@law()
def test_blocks_of_data_change_no_structure(spec):
    """Diagonal, blocks of units and Kronecker factors of the parts add up, with v too; the means of KFAC are weighted."""
    case = spec.build()
    at = case.loss.at(case.theta)
    for pullback in (at.ggn, at.empirical_fisher, at.hessian):
        scale = size(case) + norm_or_one(at.empirical_fisher.full())
        agree(pullback.diagonal(2), pullback.diagonal(), terms=case.terms, scale=scale)
        for parts, whole in zip(pullback.neuron_blocks(2), pullback.neuron_blocks()):
            agree(parts, whole, terms=case.terms, scale=scale)
    for parts, whole in zip(kfac(at.ggn, block_size=2).blocks, kfac(at.ggn).blocks):
        agree(parts.A, whole.A, terms=case.terms, scale=norm_or_one(whole.A))
        agree(parts.B, whole.B, terms=case.terms, scale=norm_or_one(whole.B))


@law()
def test_the_centred_empirical_fisher_lacks_the_mean_gradient_times_itself(spec):
    case = spec.build()
    g = case.loss.gradient(case.theta)
    expected = case.loss.empirical_fisher(case.theta) - np.outer(g, g) / len(case.X)
    scale = norm_or_one(case.loss.empirical_fisher(case.theta))
    agree(case.loss.centred_empirical_fisher(case.theta), expected, terms=case.terms, scale=scale)


# -- the split H = G + R ----------------------------------------------------------------------------------------------------


@law()
def test_the_residual_part_is_linear_in_the_residual(spec):
    """Identity C5: H − G = Σ_nk r_nk ∇²f_nk, with every ∇²f_nk from the complex step. Eq. (hessian-split)."""
    case = spec.build()
    _, r, _ = parts(case)
    R = np.zeros((case.net.num_params,) * 2)
    for n in range(len(r)):
        for k in range(r.shape[1]):
            v = np.zeros_like(r)
            v[n, k] = 1.0
            R += r[n, k] * oracles.contracted_hessian(case, v)
    kappa = condition(case, lambda c: c.loss.hessian(c.theta), size(case))
    agree(case.loss.hessian(case.theta) - case.loss.ggn(case.theta), R, terms=case.terms, condition=kappa, scale=size(case))


@law(activation=("relu", "leaky_relu", "identity"))
def test_piecewise_linear_networks_have_hessian_and_ggn_with_equal_same_layer_blocks(spec):
    """Identity C8: hence equal diagonals and traces. Eq. (piecewise-linear-hessian)."""
    case = spec.build()
    H, G = case.loss.hessian(case.theta), case.loss.ggn(case.theta)
    stops = np.cumsum(case.net.layer_sizes)
    for start, stop in zip(stops - case.net.layer_sizes, stops):
        vanishes(H[start:stop, start:stop] - G[start:stop, start:stop], scale=norm_or_one(G), terms=rows(case))
    vanishes(np.trace(H) - np.trace(G), scale=norm_or_one(G), terms=rows(case))


@law()
def test_the_last_layer_block_of_the_hessian_is_that_of_the_ggn(spec):
    """Eq. (residual-last-layer)."""
    case = spec.build()
    last = case.net.layer_sizes[-1]
    H, G = case.loss.hessian(case.theta), case.loss.ggn(case.theta)
    vanishes((H - G)[-last:, -last:], scale=norm_or_one(G), terms=rows(case))


@law(hidden=(0, 0))
def test_without_hidden_layer_the_hessian_is_the_ggn(spec):
    case = spec.build()
    assert np.array_equal(case.loss.hessian(case.theta), case.loss.ggn(case.theta))


@law(likelihood=("normal",))
def test_at_interpolation_the_hessian_is_the_ggn_and_the_empirical_fisher_vanishes(spec):
    """Eq. (interpolation). The gradient comes from a forward pass of its own, whose f differs from y by round-off."""
    case = spec.build()
    f = case.net.forward(case.theta, case.X)
    loss = with_targets(case, f)
    H, G = loss.hessian(case.theta), loss.ggn(case.theta)
    vanishes(H - G, scale=norm_or_one(G), terms=rows(case))
    assert not loss.empirical_fisher(case.theta).any()
    scale = np.linalg.norm(case.net.jacobian(case.theta, case.X)) * np.linalg.norm(f) / case.likelihood.variance
    vanishes(loss.gradient(case.theta), scale=scale, terms=rows(case))


@law(likelihood=("bernoulli", "categorical"))
def test_the_hessian_averaged_over_targets_from_the_model_is_the_ggn(spec):
    """Identity C12, by enumeration of the targets of every datum: E_y[H(y)] = G for canonical likelihoods.

    Eq. (expected-hessian).
    """
    case = spec.build()
    total, f = np.zeros((case.net.num_params,) * 2), case.net.forward(case.theta, case.X)
    for n in range(len(case.X)):
        ys, weights = oracles.support(spec.likelihood, f[n])
        for y, weight in zip(ys, weights):
            loss = Loss(case.net, case.likelihood, case.X[n:n + 1], y[None])
            total += weight * loss.hessian(case.theta)
    kappa = condition(case, lambda c: c.loss.hessian(c.theta), size(case))
    agree(total, case.loss.ggn(case.theta), terms=case.terms * 16, condition=kappa, scale=size(case))


@law()
def test_the_ggn_is_positive_semi_definite_with_rank_bounded_by_that_of_the_curvatures(spec):
    """Eq. (ggn-psd)."""
    case = spec.build()
    G, (_, _, Lambda) = case.loss.ggn(case.theta), parts(case)
    smallest_eigenvalue_is_not_negative(G, terms=case.terms)
    bound = sum(np.linalg.matrix_rank(matrix) for matrix in Lambda)
    values = np.linalg.eigvalsh(G)
    round_off = 30 * case.terms * 1.2e-16 * values[-1]
    assert (values > round_off).sum() <= min(len(G), bound)


@law()
def test_eigenvalues_of_the_hessian_obey_weyl(spec):
    """Identity C14, up to round-off of the eigenvalues."""
    case = spec.build()
    H, G = case.loss.hessian(case.theta), case.loss.ggn(case.theta)
    bound = np.linalg.norm(H - G, 2)
    moved = np.abs(np.linalg.eigvalsh(H) - np.linalg.eigvalsh(G)).max()
    assert moved <= bound + 30 * case.terms * 1.2e-16 * size(case)


@law(hidden=(1, 3))
def test_a_single_datum_has_same_layer_hessian_blocks_of_kronecker_form(spec):
    """Identity C15: H_ll = B_l ⊗ ā āᵀ with B_l = ∂²ℓ/∂z_l∂z_l, read off the bias block, weights in row-major order.

    Eq. (diagonal-block).
    """
    case = spec.build()
    loss = Loss(case.net, case.likelihood, case.X[:1], case.y[:1])
    H, (a, _) = loss.hessian(case.theta), oracles.states(spec, case.theta, case.X[:1])
    start = 0
    for (W, b), inputs, length in zip(case.net.unflatten(case.theta), a, case.net.layer_sizes):
        if b is not None:
            block = H[start:start + length, start:start + length]
            B, x = block[W.size:, W.size:], inputs[0]
            expected = np.block([[np.kron(B, np.outer(x, x)), np.kron(B, x[:, None])], [np.kron(B, x), B]])
            kappa = condition(case, lambda c: oracles.states(spec, c.theta, c.X)[0][-1])
            agree(block, expected, terms=case.terms, condition=kappa, scale=norm_or_one(H))
        start += length


@law(activation=HOMOGENEOUS, bias=(False,))
def test_homogeneous_networks_obey_euler_in_gradient_ggn_and_residual_part(spec):
    """Identity C17: θᵀg = L r·f, θᵀGθ = L² Σ fᵀΛf, θᵀRθ = L(L − 1) r·f. Eq. (euler-second-order)."""
    case = spec.build()
    theta, L = case.theta, len(case.net.layer_sizes)
    f, (_, r, Lambda) = case.net.forward(theta, case.X), parts(case)
    G, H = case.loss.ggn(theta), case.loss.hessian(theta)
    rf, fLf = (r * f).sum(), np.einsum("na,nab,nb->", f, Lambda, f)
    scale = size(case) * (theta @ theta) + np.linalg.norm(case.loss.per_datum_gradients(theta)) * np.linalg.norm(theta)
    agree(theta @ case.loss.gradient(theta), L * rf, terms=case.terms, scale=scale)
    agree(theta @ G @ theta, L * L * fLf, terms=case.terms, scale=scale)
    agree(theta @ (H - G) @ theta, L * (L - 1) * rf, terms=case.terms, scale=scale)


# -- Fisher matrices --------------------------------------------------------------------------------------------------------


@law(likelihood=CANONICAL)
def test_the_fisher_matrix_is_the_ggn_for_canonical_likelihoods(spec):
    """Eq. (canonical)."""
    case = spec.build()
    F = case.loss.fisher(case.theta)
    kappa = condition(case, lambda c: c.loss.ggn(c.theta))
    agree(F, case.loss.ggn(case.theta), terms=case.terms, condition=kappa, scale=norm_or_one(F))


@law()
def test_the_fisher_matrix_is_the_enumerated_expectation_of_squared_gradients_and_of_the_ggn(spec):
    """Identities D1, D2 and D14: Σ_n E_{y ~ model}[g_n g_nᵀ] over every target, and E_y[G(y)], whatever the likelihood.

    Eqs. (fisher) and (fisher-sampled).
    """
    outputs = min(spec.sizes[-1], ENUMERABLE.get(spec.likelihood, spec.sizes[-1]))
    case = dataclasses.replace(spec, sizes=(*spec.sizes[:-1], outputs)).build()
    F, f, J = case.loss.fisher(case.theta), case.net.forward(case.theta, case.X), case.net.jacobian(case.theta, case.X)
    squares, ggns, points = np.zeros_like(F), np.zeros_like(F), 0
    for fn, Jn in zip(f, J):
        ys, weights = oracles.support(spec.likelihood, fn)
        fs, points = np.broadcast_to(fn, (len(weights), len(fn))), points + len(weights)
        g = oracles.residual(spec.likelihood, fs, ys) @ Jn
        squares += np.einsum("y,yp,yq->pq", weights, g, g)
        mean_curvature = np.einsum("y,yab->ab", weights, case.likelihood.curvature(fs, ys))
        ggns += Jn.T @ mean_curvature @ Jn
    kappa = condition(case, lambda c: c.loss.fisher(c.theta))
    agree(F, squares, terms=case.terms + points, condition=kappa, scale=norm_or_one(F))
    agree(F, ggns, terms=case.terms + points, condition=kappa, scale=norm_or_one(F))


def test_the_ggn_of_a_likelihood_that_is_not_canonical_depends_on_the_targets_and_is_not_the_fisher_matrix():
    """Eq. (probit)."""
    case = Spec((2, 3, 2), likelihood="probit").build()
    F, G, other = case.loss.fisher(case.theta), case.loss.ggn(case.theta), with_targets(case, 1 - case.y).ggn(case.theta)
    assert np.linalg.norm(F - G) > 0.01 * np.linalg.norm(F) and np.linalg.norm(G - other) > 0.01 * np.linalg.norm(F)


@law()
def test_the_empirical_fisher_is_the_loop_over_squared_gradients_not_centred(spec):
    """Eq. (empirical-fisher)."""
    case = spec.build()
    J, r, _ = parts(case)
    expected = sum(np.outer(Jn.T @ rn, Jn.T @ rn) for Jn, rn in zip(J, r))
    EF = case.loss.empirical_fisher(case.theta)
    scale = sum(np.linalg.norm(Jn) ** 2 * np.linalg.norm(rn) ** 2 for Jn, rn in zip(J, r)) or 1.0
    agree(EF, expected, terms=case.terms, scale=scale)
    assert np.linalg.matrix_rank(EF) <= len(case.X)


def test_the_empirical_fisher_differs_from_the_fisher_matrix():
    for likelihood in LIKELIHOODS:
        case = Spec((2, 3, 2), likelihood=likelihood).build()
        F, EF = case.loss.fisher(case.theta), case.loss.empirical_fisher(case.theta)
        assert np.linalg.norm(F - EF) > 0.1 * np.linalg.norm(F)


@law(likelihood=("normal",), hidden=(0, 2))
def test_the_gaussian_empirical_fisher_weights_each_datum_by_its_squared_error(spec):
    """Identity D3 for one output: Σ_n (e_n²/σ⁴) j_n j_nᵀ. Eq. (normal-empirical-fisher)."""
    case = Spec(**{**vars(spec), "sizes": (*spec.sizes[:-1], 1)}).build()
    e, j = case.y - case.net.forward(case.theta, case.X), case.net.jacobian(case.theta, case.X)[:, 0]
    expected = np.einsum("n,np,nq->pq", (e[:, 0] / 0.37) ** 2, j, j)
    agree(case.loss.empirical_fisher(case.theta), expected, terms=case.terms, scale=norm_or_one(expected), condition=4)


@law(likelihood=("categorical",))
def test_the_ggn_depends_on_where_loss_and_network_are_split(spec):
    """Identity D4: with the softmax in the network, −log f̃_y has the empirical Fisher as its GGN, not the Fisher matrix.

    Eq. (split-dependence).
    """
    case = spec.build()
    J, _, _ = parts(case)
    p = case.likelihood.mean(case.net.forward(case.theta, case.X))
    J_softmax = np.einsum("nab,nbp->nap", np.einsum("na,ab->nab", p, np.eye(p.shape[1])) - p[:, :, None] * p[:, None, :], J)
    chosen = J_softmax[np.arange(len(p)), case.y]
    split = np.einsum("n,np,nq->pq", p[np.arange(len(p)), case.y] ** -2, chosen, chosen)
    kappa = condition(case, lambda c: c.loss.per_datum_gradients(c.theta))
    agree(case.loss.empirical_fisher(case.theta), split, terms=case.terms, condition=kappa / p.min(), scale=norm_or_one(split))


@law()
def test_curvatures_are_tensors_and_the_hessian_picks_up_the_gradient_times_the_bend_of_the_map(spec):
    """Identity D6 with θ = ψ(φ) = φ + ½ (aᵀφ)² b: M_φ = Tᵀ M_θ T for G, F, EF; H_φ = TᵀHT + (g·b) a aᵀ.

    Eqs. (tensor-law) and (hessian-reparametrised).
    """
    case = spec.build()
    rng = np.random.default_rng(1)
    p = case.net.num_params
    a, b, phi = rng.normal(size=p) / p, rng.normal(size=p) / p, case.theta
    theta = phi + 0.5 * (a @ phi) ** 2 * b
    T = np.eye(p) + np.outer(b, a) * (a @ phi)
    J_phi = oracles.complex_step(lambda points: oracles.forward(spec, points + 0.5 * (points @ a)[:, None] ** 2 * b, case.X), phi)
    f = case.net.forward(theta, case.X)
    G_phi = oracles.loop_congruence(J_phi, case.likelihood.curvature(f, case.y))
    G = case.loss.ggn(theta)
    kappa = 10 * condition(case, lambda c: c.loss.hessian(c.theta), size(case))
    agree(T.T @ G @ T, G_phi, terms=case.terms, condition=kappa, scale=size(case))

    def gradient_phi(points):
        g = oracles.gradient(case, points + 0.5 * (points @ a)[:, None] ** 2 * b)
        return g + (points @ a)[:, None] * (g @ b)[:, None] * a

    H_phi = oracles.complex_step(gradient_phi, phi)
    law_side = T.T @ case.loss.hessian(theta) @ T + (case.loss.gradient(theta) @ b) * np.outer(a, a)
    agree(law_side, H_phi, terms=case.terms, condition=kappa, scale=max(size(case), norm_or_one(H_phi)))


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_the_kullback_leibler_divergence_to_a_nearby_model_is_half_the_fisher_form(likelihood):
    """Identity D7: KL(p_θ ‖ p_{θ+εv}) − ½ε² vᵀFv falls as ε³, KL by enumeration of the targets. Eq. (kl-taylor)."""
    case = Spec((2, 3, 2), likelihood=likelihood, num_data=3).build()
    v = case.vector / np.linalg.norm(case.vector)
    f, F = case.net.forward(case.theta, case.X), case.loss.fisher(case.theta)

    def divergence(step):
        moved, total = case.net.forward(case.theta + step * v, case.X), 0.0
        for fn, gn in zip(f, moved):
            ys, weights = oracles.support(likelihood, fn)
            at, to = (np.broadcast_to(point, (len(weights), len(fn))) for point in (fn, gn))
            total += weights @ (oracles.log_prob(likelihood, at, ys) - oracles.log_prob(likelihood, to, ys))
        return total

    assert abs(taylor_order(lambda h: divergence(h) - 0.5 * h * h * (v @ F @ v), 2.0 ** -np.arange(7, 12)) - 3) < 0.2


@law()
def test_the_gram_matrix_of_data_has_the_eigenvalues_of_the_ggn(spec):
    """Identity D11: nonzero eigenvalues of JᵀΛJ and SᵀJJᵀS agree."""
    case = spec.build()
    J = case.net.jacobian(case.theta, case.X)
    S = case.likelihood.factor(case.net.forward(case.theta, case.X), case.y)
    half = np.concatenate([Sn.T @ Jn for Sn, Jn in zip(S, J)])
    dual, primal = np.linalg.eigvalsh(half @ half.T)[::-1], np.linalg.eigvalsh(case.loss.ggn(case.theta))[::-1]
    m = min(len(dual), len(primal))
    agree(primal[:m], dual[:m], terms=case.terms, scale=norm_or_one(primal))
    vanishes(np.append(primal[m:], 0.0), scale=norm_or_one(primal), terms=case.terms)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_the_sampled_fisher_is_the_empirical_one_at_the_given_labels(likelihood):
    case = Spec((2, 3, 2), likelihood=likelihood).build()
    labels = case.likelihood.sample(case.net.forward(case.theta, case.X), np.random.default_rng(3))
    agree(case.loss.sampled_fisher(case.theta, labels), with_targets(case, labels).empirical_fisher(case.theta), terms=case.terms)
    assert np.linalg.norm(case.loss.sampled_fisher(case.theta, labels) - case.loss.empirical_fisher(case.theta)) > 0


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_the_sampled_fisher_is_unbiased(likelihood):
    """Identity D8 along one direction, from 4000 draws of all targets: sees a bias of half of vᵀFv, false alarms 1e-6.

    Eq. (fisher-sampled).
    """
    case = Spec((2, 2, 2), likelihood=likelihood, num_data=3).build()
    X = np.tile(case.X, (4000, 1))
    labels = case.likelihood.sample(case.net.forward(case.theta, X), np.random.default_rng(4))
    g = Loss(case.net, case.likelihood, X, labels).per_datum_gradients(case.theta)
    samples = ((g @ case.vector) ** 2).reshape(4000, 3).sum(-1)
    truth = case.vector @ case.loss.fisher(case.theta) @ case.vector
    mean_agrees(samples, truth, smallest_effect=0.5 * truth)


@pytest.mark.parametrize("columns", [2, 5])
def test_pieces_of_a_pullback_add_up_to_it_and_know_their_columns(columns):
    """From a matrix alone, and from a factor with fewer or more columns than outputs."""
    rng = np.random.default_rng(columns)
    net, X = Mlp((2, 5, 3), activations.tanh), rng.normal(size=(7, 2))
    at = net.evaluate(rng.normal(size=net.num_params), X)
    S = rng.normal(size=(7, 3, columns))
    M = S @ S.swapaxes(1, 2)
    whole = np.einsum("nkp,nkl,nlq->pq", at.jacobian(), M, at.jacobian())
    for pullback in (at.pullback(M=M), at.pullback(S=S)):
        assert len(list(pullback.pieces(2))) == 4
        agree(sum(piece.full() for piece in pullback.pieces(2)), whole, terms=1000)
        agree(pullback.diagonal(2), np.diag(whole), terms=1000)
    assert at.pullback(M=M).num_columns == 0 and at.pullback(S=S).num_columns == columns
