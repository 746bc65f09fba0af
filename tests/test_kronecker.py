"""Kronecker-factored curvature: exactness cases, exact errors, optimality, inverses and samples (identities E1 to E15)."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest

from refbnn import Gaussian, Loss, Mlp, activations, kronecker, likelihoods
from refbnn.blocks import BlockDiagonal, Blocks
from refbnn.gaussian import kl
from refbnn.kronecker import KroneckerEigen, KroneckerFactors, KroneckerPrecision
from refbnn.linalg import NotPositiveDefinite
from refbnn.networks.pullback import Pullback
from refbnn.precision import Dense, Diagonal
from refbnn.testing import tolerance
from tests import oracles
from tests.judge import agree, norm_or_one, smallest_eigenvalue_is_not_negative
from tests.zoo import Spec, law, statement

APPROXIMATIONS = (kronecker.kfac, kronecker.kfra, kronecker.ekfac, kronecker.nearest_kronecker)
WIDE = Spec((12, 10, 9, 11), "tanh", "categorical", num_data=23, seed=4)  # the leading pairs come from Lanczos
PRECISION = 0.37


def labels_of(case):
    """One draw of targets from the model."""
    return case.likelihood.sample(case.net.forward(case.theta, case.X), np.random.default_rng(5))


def curvatures(case, labels=None) -> dict[str, tuple[Pullback, np.ndarray]]:
    """Every kind of curvature without v: the pullback, and M (n k k) written out again."""
    at, f = case.loss.at(case.theta), case.net.forward(case.theta, case.X)
    labels = labels_of(case) if labels is None else labels
    r, sampled = (oracles.residual(case.spec.likelihood, f, y) for y in (case.y, labels))
    return {
        "ggn": (at.ggn, case.likelihood.curvature(f, case.y)),
        "fisher": (at.fisher, case.likelihood.fisher(f)),
        "empirical": (at.empirical_fisher, r[:, :, None] * r[:, None]),
        "sampled": (at.sampled_fisher(labels), sampled[:, :, None] * sampled[:, None]),
    }


def loop_parts(case, M):
    """[layer][datum] -> (B_n, ā_n, 1 if the network has biases, φ′ of the layer below), by the chain rule."""
    a, z = oracles.states(case.spec, case.theta, case.X)
    weights, parts = oracles.layers(case.spec, case.theta), []
    for l in range(len(z)):
        layer = []
        for n in range(len(case.X)):
            Delta = np.eye(z[-1].shape[1])
            for m in reversed(range(l, len(z) - 1)):
                Delta = Delta @ weights[m + 1][0] @ np.diag(oracles.PHI[case.spec.activations[m]][1](z[m][n]))
            layer.append((Delta.T @ M[n] @ Delta, np.append(a[l][n], [1.0] * case.spec.bias)))
        parts.append(layer)
    return parts


def in_theta_order(B, A, bias):
    """B ⊗ A entry by entry: weights row-major, then the biases, which are the last row of A."""
    units, inputs = len(B), len(A)
    ins = inputs - bias

    def position(i, j):
        return i * ins + j if j < ins else units * ins + i

    block = np.zeros((units * inputs,) * 2)
    for i in range(units):
        for j in range(inputs):
            for p in range(units):
                for q in range(inputs):
                    block[position(i, j), position(p, q)] = B[i, p] * A[j, q]
    return block


def spans(case):
    """The parameters of each layer."""
    stops = np.cumsum(case.net.layer_sizes)
    return [slice(stop - size, stop) for stop, size in zip(stops, case.net.layer_sizes)]


def errors(case, approximation, pullback):
    """‖G_ll − approximation‖_F of every layer."""
    matrix = approximation(pullback).matrix()
    return np.array([np.linalg.norm(G - matrix[span, span]) for G, span in zip(pullback.layer_blocks(), spans(case))])


@functools.lru_cache(maxsize=4)
def sizes(case, size=2.0**-24):
    """{kind: the size of every layer's matrices times a measured condition number}: what round-off is judged by, 1 for zero.

    Everything here is made of the same signals as G_ll and as B ⊗ A (either can be the larger, where few data have both a
    large B_n and a large A_n), and moves like them when θ and X are perturbed.
    """
    rng, labels = np.random.default_rng(len(case.theta)), labels_of(case)

    def blocks(moved):
        pullbacks = [(kind, pullback) for kind, (pullback, _) in curvatures(moved, labels).items()]
        return {kind: np.stack([flat(pullback.layer_blocks()), flat(block.matrix() for block in kronecker.kfac(pullback).blocks)])
                for kind, pullback in pullbacks}

    def flat(layers):
        return np.array([np.pad(block.ravel(), (0, case.net.num_params**2 - block.size)) for block in layers])

    here = blocks(case)
    found = {kind: np.linalg.norm(pair, axis=2) for kind, pair in here.items()}
    for _ in range(3):
        for kind, pair in blocks(case.perturbed(size, rng)).items():
            found[kind] = np.maximum(found[kind], np.linalg.norm(pair - here[kind], axis=2) / size)
    return {kind: np.where(scales.max(0) > 0, scales.max(0), 1.0) for kind, scales in found.items()}


def is_exact(case, approximation, kind="ggn", layers=slice(None)):
    """Assert that the approximation is the exact block in the given layers, to round-off."""
    pullback, _ = curvatures(case)[kind]
    matrix = approximation(pullback).matrix()
    for G, span, scale in list(zip(pullback.layer_blocks(), spans(case), sizes(case)[kind]))[layers]:
        agree(matrix[span, span], G, terms=case.terms, scale=scale)


# -- KFAC -------------------------------------------------------------------------------------------------------------------


@law()
def test_kfac_is_the_plain_loop_over_data_for_every_curvature(spec):
    """Eq. (kfac)."""
    case = spec.build()
    for kind, (pullback, M) in curvatures(case).items():
        matrix = kronecker.kfac(pullback).matrix()
        for layer, span, scale in zip(loop_parts(case, M), spans(case), sizes(case)[kind]):
            B = sum(B_n for B_n, _ in layer)
            A = sum(np.outer(a, a) for _, a in layer) / len(case.X)
            expected = in_theta_order(B, A, case.spec.bias)
            agree(matrix[span, span], expected, terms=case.terms, scale=scale)


@law()
def test_kfac_with_split_biases_keeps_the_two_blocks_of_joint_kfac_and_nothing_between(spec):
    case = spec.build()
    joint, split = (kronecker.kfac(case.loss.at(case.theta).ggn, split_bias) for split_bias in (False, True))
    expected = joint.matrix()
    for l, span in enumerate(spans(case)):
        weights, biases = case.net.layout.weights_and_bias(l)
        expected[weights, biases] = expected[biases, weights] = 0
    agree(split.matrix(), expected, terms=case.terms, scale=norm_or_one(expected))
    assert len(split.blocks) == len(joint.blocks) * (1 + case.spec.bias)


@law()
def test_what_kfac_leaves_out_is_the_covariance_of_its_factors_over_data(spec):
    """Identity E6: G_ll − B ⊗ A = Σ_n (B_n − B̄) ⊗ (A_n − Ā). Eqs. (kfac-error) and (kronecker-sum)."""
    case = spec.build()
    for kind, (pullback, M) in curvatures(case).items():
        matrix = kronecker.kfac(pullback).matrix()
        layers = zip(pullback.layer_blocks(), loop_parts(case, M), spans(case), sizes(case)[kind])
        for G, layer, span, scale in layers:
            Bs, As = np.array([B for B, _ in layer]), np.array([np.outer(a, a) for _, a in layer])
            left_out = [in_theta_order(B - Bs.mean(0), A - As.mean(0), case.spec.bias) for B, A in zip(Bs, As)]
            agree(G - matrix[span, span], sum(left_out), terms=case.terms, scale=scale)


@law()
def test_with_one_datum_every_approximation_is_exact(spec):
    """Identity E1. Eq. (kfac-exact)."""
    case = replace(spec, num_data=1).build()
    for kind in curvatures(case):
        for approximation in APPROXIMATIONS:
            is_exact(case, approximation, kind)


@law(activation=("identity",), likelihood=("normal",))
def test_kfac_is_exact_in_a_linear_network_with_constant_curvature_of_the_outputs(spec):
    """Identity E2."""
    is_exact(spec.build(), kronecker.kfac)


@law(likelihood=("normal",))
def test_kfac_of_the_last_layer_is_exact_for_a_normal_likelihood(spec):
    """Identity E3."""
    is_exact(spec.build(), kronecker.kfac, layers=slice(-1, None))


@law()
def test_kfac_of_the_ggn_is_exact_when_all_inputs_are_equal(spec):
    """Identity E4; of the exact Fisher, because Λ may depend on y and y is not the same for all. Eq. (kfac-exact)."""
    case = spec.build()
    case = replace(case, X=np.repeat(case.X[:1], len(case.X), axis=0))
    is_exact(case, kronecker.kfac, "fisher")


@pytest.mark.parametrize("spec", [
    Spec((2, 3, 3), "identity", "categorical", num_data=7, seed=1), Spec((2, 3, 2), "tanh", "normal", num_data=7, seed=2),
])
def test_kfac_is_not_exact_in_general(spec):
    """Identity E5: neither in a linear network with a categorical likelihood nor in hidden layers with a Normal one."""
    case = spec.build()
    pullback = case.loss.at(case.theta).ggn
    assert errors(case, kronecker.kfac, pullback)[0] > 0.05 * np.linalg.norm(pullback.layer_blocks()[0])


@pytest.mark.parametrize("spec", [
    Spec((2, 4, 1), "tanh", "bernoulli", num_data=7, seed=1), Spec((2, 4, 2), "tanh", "categorical", num_data=7, seed=2),
])
def test_the_last_layer_of_two_classes_is_a_kronecker_product_that_kfac_misses(spec):
    """Identity E7: B_n = s_n B₀ with one B₀ for all data, so that G = B₀ ⊗ Σ s_n ā āᵀ. Eq. (one-factor)."""
    case = spec.build()
    pullback = case.loss.at(case.theta).ggn
    is_exact(case, kronecker.nearest_kronecker, layers=slice(-1, None))
    assert errors(case, kronecker.kfac, pullback)[-1] > 0.01 * np.linalg.norm(pullback.last_layer())


# -- KFRA, EKFAC, the nearest Kronecker product -----------------------------------------------------------------------------


@law()
def test_kfra_is_the_recursion_with_averages_as_plain_loops(spec):
    """Eq. (kfra)."""
    case = spec.build()
    _, z = oracles.states(case.spec, case.theta, case.X)
    for kind, (pullback, M) in curvatures(case).items():
        mean = sum(M) / len(M)
        parts, blocks = loop_parts(case, M), []
        for l in reversed(range(len(z))):
            A = sum(np.outer(a, a) for _, a in parts[l]) / len(case.X)
            blocks.insert(0, in_theta_order(len(case.X) * mean, A, case.spec.bias))
            if l:
                W = oracles.layers(case.spec, case.theta)[l][0]
                slopes = [np.diag(oracles.PHI[case.spec.activations[l - 1]][1](z[l - 1][n])) for n in range(len(case.X))]
                mean = sum(D @ W.T @ mean @ W @ D for D in slopes) / len(case.X)
        matrix = kronecker.kfra(pullback).matrix()
        for expected, span, scale in zip(blocks, spans(case), sizes(case)[kind]):
            agree(matrix[span, span], expected, terms=case.terms, scale=max(scale, np.linalg.norm(expected)))


@law(activation=("identity",))
def test_kfra_is_kfac_in_a_linear_network(spec):
    """Identity E11."""
    case = spec.build()
    for kind, (pullback, _) in curvatures(case).items():
        for split_bias in (False, True):
            kfac, kfra = (approximation(pullback, split_bias).matrix() for approximation in (kronecker.kfac, kronecker.kfra))
            for span, scale in zip(spans(case), sizes(case)[kind]):
                agree(kfra[span, span], kfac[span, span], terms=case.terms, scale=scale)


def test_kfra_is_not_kfac_behind_an_activation():
    case = Spec((2, 4, 3), "tanh", "categorical", num_data=7, seed=2).build()
    pullback = case.loss.at(case.theta).ggn
    kfra, kfac = kronecker.kfra(pullback).matrix(), kronecker.kfac(pullback).matrix()
    assert np.linalg.norm(kfra - kfac) > 0.01 * np.linalg.norm(kfac)


@law()
def test_ekfac_is_the_diagonal_of_the_block_in_the_eigenbasis_of_kfac(spec):
    """Eq. (ekfac)."""
    case = spec.build()
    for kind, (pullback, _) in curvatures(case).items():
        blocks, kfac = kronecker.ekfac(pullback).blocks, kronecker.kfac(pullback).blocks
        for block, factors, G, scale in zip(blocks, kfac, pullback.layer_blocks(), sizes(case)[kind]):
            basis = in_theta_order(block.U_B, block.U_A, case.spec.bias)
            agree(block.values.ravel(), np.diag(order_of_rows(basis, block) @ G @ order_of_rows(basis, block).T),
                  terms=case.terms, scale=scale)
            turned = basis.T @ factors.matrix() @ basis
            agree(turned, np.diag(np.diag(turned)), terms=case.terms, scale=norm_or_one(turned))


def order_of_rows(basis, block):
    """The columns of U_B ⊗ U_A in θ's order as rows in the order of `values`: (i, j) row-major."""
    units, inputs = block.values.shape
    if not block.bias:
        return basis.T
    index = np.array([[i * (inputs - 1) + j if j < inputs - 1 else units * (inputs - 1) + i for j in range(inputs)]
                      for i in range(units)]).ravel()
    return basis.T[index]


@law()
def test_ekfac_keeps_the_trace_and_is_nearer_than_kfac(spec):
    """Identity E8. Eq. (ekfac-optimal)."""
    case = spec.build()
    for kind, (pullback, _) in curvatures(case).items():
        slack = tolerance(case.terms) * sizes(case)[kind]
        agree(np.trace(kronecker.ekfac(pullback).matrix()), np.trace(pullback.full()), terms=case.terms,
              scale=len(case.theta) * sizes(case)[kind].sum())
        assert (errors(case, kronecker.ekfac, pullback) <= errors(case, kronecker.kfac, pullback) + slack).all()


@law()
def test_the_nearest_kronecker_product_is_the_truncated_svd_of_the_rearranged_block(spec):
    """Van Loan & Pitsianis (1993): the squared error is the sum of all squared singular values but the first. Eq. (van-loan)."""
    case = spec.build()
    for kind, (pullback, M) in curvatures(case).items():
        found = errors(case, kronecker.nearest_kronecker, pullback)
        for error, layer, scale in zip(found, loop_parts(case, M), sizes(case)[kind]):
            rearranged = sum(np.outer(B.ravel(), np.outer(a, a).ravel()) for B, a in layer)
            expected = np.linalg.svd(rearranged)[1][1:]
            agree(error, np.sqrt((expected**2).sum()), terms=case.terms, scale=scale)


@pytest.mark.parametrize("spec", [WIDE, replace(WIDE, sizes=(3, 10, 12, 2)), replace(WIDE, sizes=(2, 14, 3), bias=False)])
def test_the_nearest_kronecker_product_of_wide_layers_is_the_truncated_svd_too(spec):
    statement(test_the_nearest_kronecker_product_is_the_truncated_svd_of_the_rearranged_block)(spec)


@law()
def test_nothing_of_its_form_is_nearer_than_the_nearest_kronecker_product(spec):
    """Identity E8."""
    case = spec.build()
    for kind, (pullback, _) in curvatures(case).items():
        nearest, slack = errors(case, kronecker.nearest_kronecker, pullback), tolerance(case.terms) * sizes(case)[kind]
        for other in (kronecker.kfac, kronecker.kfra):
            assert (nearest <= errors(case, other, pullback) + slack).all()


@pytest.mark.parametrize("spec", [WIDE, Spec((3, 4, 2), "gelu", "poisson", num_data=7, seed=3)])
def test_the_nearest_kronecker_product_is_positive_semidefinite(spec):
    case = spec.build()
    for block in kronecker.nearest_kronecker(case.loss.at(case.theta).ggn).blocks:
        smallest_eigenvalue_is_not_negative(block.B, case.terms)
        smallest_eigenvalue_is_not_negative(block.A, case.terms)


@law()
def test_all_of_them_are_the_same_with_and_without_a_factor_of_the_output_curvature(spec):
    case = spec.build()
    pullback = case.loss.at(case.theta).empirical_fisher
    for approximation in APPROXIMATIONS:
        expected = approximation(pullback).matrix()
        if approximation is not kronecker.ekfac:  # whose basis is not unique where eigenvalues coincide
            agree(approximation(replace(pullback, root=None)).matrix(), expected, terms=case.terms, condition=gap(case),
                  scale=sizes(case)["empirical"].sum())


def gap(case):
    """How far the nearest Kronecker product moves when the block does: σ₁/(σ₁ − σ₂), the worst of all layers."""
    worst = 1.0
    r = oracles.residual(case.spec.likelihood, case.net.forward(case.theta, case.X), case.y)
    for layer in loop_parts(case, r[:, :, None] * r[:, None]):
        rearranged = sum(np.outer(B.ravel(), np.outer(a, a).ravel()) for B, a in layer)
        first, second, *_ = (*np.linalg.svd(rearranged)[1], 0.0)
        worst = max(worst, first / max(first - second, 1e-12 * first) if first else 1.0)
    return worst


@pytest.mark.parametrize("approximation", APPROXIMATIONS)
def test_a_hessian_is_refused(approximation):
    case = Spec((2, 3, 2)).build()
    with pytest.raises(ValueError, match="without v"):
        approximation(case.loss.at(case.theta).hessian)


@pytest.mark.parametrize("approximation", APPROXIMATIONS)
def test_nothing_pulled_back_gives_zero(approximation):
    case = Spec((2, 10, 2)).build()
    empty = case.net.evaluate(case.theta, case.X).pullback()
    assert not approximation(empty).matrix().any()


# -- one block --------------------------------------------------------------------------------------------------------------


def random_block(seed, units, inputs, bias):
    """Factors of low rank, as from few data, for a block of a layer."""
    rng = np.random.default_rng([seed, units, inputs, bias])
    left, right = rng.normal(size=(units, units)), rng.normal(size=(inputs, max(1, inputs - 1)))
    return KroneckerFactors(left @ left.T, right @ right.T, bias)


BLOCKS = [random_block(i, *shape) for i, shape in enumerate([
    (3, 5, True), (5, 3, False), (1, 4, True), (4, 1, False), (1, 1, False), (1, 2, True), (7, 2, True),
])]
each_block = pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"{block.B.shape[0]}x{block.A.shape[0]}-{block.bias}")


@each_block
def test_a_block_is_its_factors_entry_by_entry(block):
    """Eq. (vec-kronecker)."""
    expected = in_theta_order(block.B, block.A, block.bias)
    v = np.random.default_rng(0).normal(size=(2, 3, block.num_params))
    for other in (block, block.eigen()):
        agree(other.matrix(), expected, terms=block.num_params)
        agree(other.diagonal(), np.diag(expected), terms=block.num_params)
        agree(other.matvec(v), v @ expected, terms=block.num_params, condition=5)
        assert np.array_equal(other.matrix(), other.matrix().T)


@each_block
def test_the_log_determinant_with_a_prior_is_that_of_the_full_matrix(block):
    """Identity E9: log|B ⊗ A + λI| = Σ log(β_i α_j + λ), exactly: no damping. Eq. (kronecker-log-det)."""
    expected = np.linalg.slogdet(block.matrix() + PRECISION * np.eye(block.num_params))[1]
    agree(block.plus(PRECISION).log_det(), expected, terms=block.num_params, scale=10 * block.num_params)


@each_block
def test_products_solutions_and_scales_with_a_prior_are_those_of_the_full_matrix(block):
    """Identity E15 among them: C Cᵀ = P⁻¹ for the map C that samples are made with. Eq. (kronecker-inverse)."""
    expected = block.matrix() + PRECISION * np.eye(block.num_params)
    P, inverse, kappa = block.plus(PRECISION), np.linalg.inv(expected), np.linalg.cond(expected)
    v = np.random.default_rng(1).normal(size=(2, block.num_params))
    agree(P.matrix(), expected, terms=block.num_params)
    agree(P.diagonal(), np.diag(expected), terms=block.num_params)
    agree(P.matvec(v), v @ expected, terms=block.num_params, condition=5)
    agree(P.solve(v), v @ inverse, terms=block.num_params, condition=kappa)
    C = P.scale_matvec(np.eye(block.num_params)).T
    agree(C @ C.T, inverse, terms=block.num_params, condition=kappa)
    agree(P.scale_transposed_matvec(np.eye(block.num_params)).T, C.T, terms=block.num_params, condition=kappa)


@each_block
def test_a_damped_block_exceeds_the_exact_one_by_the_kronecker_sum(block):
    """Identity E10: (B + √λ) ⊗ (A + √λ) − (B ⊗ A + λI) = √λ (B ⊗ I + I ⊗ A) ⪰ 0: damping under-states the variance.

    Eq. (damping).
    """
    root = np.sqrt(PRECISION)
    exact, damped = block.plus(PRECISION), block.damped(root)
    excess = damped.matrix() - exact.matrix()
    units, inputs = np.eye(len(block.B)), np.eye(len(block.A))
    expected = root * (in_theta_order(block.B, inputs, block.bias) + in_theta_order(units, block.A, block.bias))
    agree(excess, expected, terms=block.num_params, scale=np.linalg.norm(damped.matrix()))
    smallest_eigenvalue_is_not_negative(expected, block.num_params)
    assert (np.diag(np.linalg.inv(damped.matrix())) < np.diag(np.linalg.inv(exact.matrix()))).all()


def test_a_precision_with_an_eigenvalue_that_is_not_positive_is_refused():
    with pytest.raises(NotPositiveDefinite, match="smallest eigenvalue -0.5"):
        KroneckerFactors(np.diag([1.0, -1.0]), np.eye(3), bias=True).plus(0.5)


# -- block-diagonal matrices ------------------------------------------------------------------------------------------------


def dense_precision(case, l, G):
    """The exact block of a layer with the prior, as a precision."""
    return Dense(G + PRECISION * np.eye(len(G)))


@law()
def test_every_method_of_a_block_diagonal_precision_is_that_of_the_full_matrix(spec):
    case = spec.build()
    pullback = case.loss.at(case.theta).ggn
    for approximation in APPROXIMATIONS[:3]:
        blocks = approximation(pullback)
        P, expected = blocks.plus(PRECISION), blocks.matrix() + PRECISION * np.eye(blocks.num_params)
        inverse, kappa, v = np.linalg.inv(expected), np.linalg.cond(expected), np.stack([case.vector, case.theta])
        agree(P.matrix(), expected, terms=case.terms)
        agree(P.diagonal(), np.diag(expected), terms=case.terms)
        agree(P.matvec(v), v @ expected, terms=case.terms, condition=10)
        agree(P.solve(v), v @ inverse, terms=case.terms, condition=kappa)
        agree(P.log_det(), np.linalg.slogdet(expected)[1], terms=case.terms, scale=10 * case.terms)
        C = P.scale_matvec(np.eye(P.num_params)).T
        agree(C @ C.T, inverse, terms=case.terms, condition=kappa)
        agree(P.scale_transposed_matvec(v), v @ C, terms=case.terms, condition=kappa)
        for total in (P + np.eye(len(expected)), np.eye(len(expected)) + P):
            agree(total.matrix(), expected + np.eye(len(expected)), terms=case.terms)


def test_each_block_can_have_its_own_precision():
    case = Spec((2, 3, 2), num_data=5).build()
    blocks = kronecker.kfac(case.loss.at(case.theta).ggn)
    expected = blocks.matrix() + np.diag(np.repeat([0.3, 1.7], case.net.layer_sizes))
    agree(blocks.plus([0.3, 1.7]).matrix(), expected, terms=case.terms)
    with pytest.raises(ValueError, match=r"precisions: expected shape \(2,\), got \(3,\)"):
        blocks.plus([1.0, 2.0, 3.0])


def test_a_gaussian_works_over_a_kronecker_precision():
    case = Spec((2, 3, 2), num_data=5).build()
    P = kronecker.kfac(case.loss.at(case.theta).ggn).plus(PRECISION)
    q, dense = Gaussian(case.theta, P), Gaussian(case.theta, Dense(P.matrix()))
    agree(q.log_prob(case.vector), dense.log_prob(case.vector), terms=case.terms)
    agree(q.covariance(), dense.covariance(), terms=case.terms, condition=np.linalg.cond(P.matrix()))
    agree(kl(q, case.prior), kl(dense, case.prior), terms=case.terms, condition=10)


@law()
def test_leaving_out_blocks_can_only_raise_the_determinant(spec):
    """Identity E12 (Hadamard, Fischer): log|P| <= log|layers of P| <= Σ log P_ii: a coarser structure lowers the evidence.

    Eq. (fischer).
    """
    case = spec.build()
    pullback = case.loss.at(case.theta).ggn
    full = Dense(pullback.full() + PRECISION * np.eye(case.net.num_params))
    layers = BlockDiagonal(tuple(Dense(G + PRECISION * np.eye(len(G))) for G in pullback.layer_blocks()))
    diagonal = Diagonal(pullback.diagonal() + PRECISION)
    slack = tolerance(case.terms, np.linalg.cond(full.matrix()))
    assert full.log_det() <= layers.log_det() + slack <= diagonal.log_det() + 2 * slack


@law()
def test_the_marginal_variance_of_a_parameter_is_at_least_its_conditional_one(spec):
    """Identity E13: 1/P_ii <= [P⁻¹]_ii, and [P⁻¹]_ll ⪰ (P_ll)⁻¹ for a layer. Eq. (block-variance)."""
    case = spec.build()
    pullback = case.loss.at(case.theta).ggn
    P = pullback.full() + PRECISION * np.eye(case.net.num_params)
    S, allowed = np.linalg.inv(P), tolerance(case.terms, np.linalg.cond(P))
    assert (1 / np.diag(P) <= np.diag(S) + allowed * np.linalg.norm(S)).all()
    for G, span in zip(pullback.layer_blocks(), spans(case)):
        gain = S[span, span] - np.linalg.inv(G + PRECISION * np.eye(len(G)))
        assert np.linalg.eigvalsh(gain)[0] >= -allowed * np.linalg.norm(S)


def test_a_block_diagonal_posterior_can_over_state_the_variance_of_a_function():
    """Identity E13: P⁻¹ − (layers of P)⁻¹ is indefinite, although each of its diagonal blocks is not."""
    case = Spec((2, 3, 2), "tanh", num_data=7, seed=3).build()
    pullback = case.loss.at(case.theta).ggn
    layers = Blocks(tuple(dense_precision(case, l, G) for l, G in enumerate(pullback.layer_blocks())))
    difference = np.linalg.inv(pullback.full() + PRECISION * np.eye(case.net.num_params)) - np.linalg.inv(layers.matrix())
    values = np.linalg.eigvalsh(difference)
    assert values[0] < -0.01 and values[-1] > 0.01


@law()
def test_a_subset_of_the_parameters_never_gives_more_variance_than_all(spec):
    """Identity E14: J_s (P_ss)⁻¹ J_sᵀ ⪯ J P⁻¹ Jᵀ at every input, for the last layer and for any subset, with one prior.

    Eq. (subnetwork).
    """
    case = spec.build()
    pullback, p = case.loss.at(case.theta).ggn, case.net.num_params
    J = case.net.jacobian(case.theta, case.X_new)
    P = pullback.full() + PRECISION * np.eye(p)
    full = J @ np.linalg.solve(P, np.swapaxes(J, 1, 2))
    subsets = {"last layer": np.arange(p)[spans(case)[-1]], "every other": np.arange(0, p, 2)}
    blocks = {"last layer": pullback.last_layer(), "every other": pullback.subset(subsets["every other"])}
    for name, chosen in subsets.items():
        part = J[:, :, chosen]
        variance = part @ np.linalg.solve(blocks[name] + PRECISION * np.eye(len(chosen)), np.swapaxes(part, 1, 2))
        allowed = tolerance(case.terms, np.linalg.cond(P)) * norm_or_one(full)
        assert np.linalg.eigvalsh(full - variance).min() >= -allowed


# -- planted faults ---------------------------------------------------------------------------------------------------------

SMALL = Spec((2, 5, 3), "tanh", "categorical", num_data=7, seed=1)
DEEP = Spec((3, 4, 3, 2), ("tanh", "silu"), "normal", num_data=6, seed=2)
JOINT = BLOCKS[0]


def fault_of_mean(a):
    """A as a sum over data."""
    return a @ a.T


def bias_first(signals, l, split_bias):
    """(1, a) for (a, 1)."""
    return [(np.roll(signals.augmented[l], 1, axis=0), signals.bias)]


def biases_inside(self):
    """[W b] row-major, as if θ held each unit's bias after its weights."""
    return np.kron(self.B, self.A)


def damped_for_exact(self, precision):
    """(B + √λ) ⊗ (A + √λ) for B ⊗ A + λI."""
    (beta, U_B), (alpha, U_A) = np.linalg.eigh(self.B), np.linalg.eigh(self.A)
    root = np.sqrt(precision)
    return KroneckerPrecision(U_B, U_A, np.outer(beta + root, alpha + root), self.bias)


def transposed_reshape(self, z):
    """z as (inputs units), transposed."""
    Z = np.swapaxes(z.reshape(*z.shape[:-1], *self.values.shape[::-1]), -1, -2)
    return self._out_of_basis(np.sqrt(self.values) * Z / self.values[..., ::-1])


def kfac_values(pullback, split_bias=False):
    """EKFAC with KFAC's own eigenvalues."""
    return Blocks(tuple(block.eigen() for block in kronecker.kfac(pullback).blocks))


def one_power_step(apply, size):
    """The first step towards the leading eigenvector, taken for the vector itself."""
    step = apply(np.eye(size))
    return step / (np.linalg.norm(step) or 1.0)


def without_average(pullback, split_bias=False):
    """KFRA with every datum's own curvature: KFAC."""
    return kronecker.kfac(pullback)


def on(test, spec=SMALL):
    """A law at one problem."""
    return lambda: statement(test)(spec)


def at(test, *arguments):
    """A parametrised test at one row."""
    return lambda: test(*arguments)


loop_law = on(test_kfac_is_the_plain_loop_over_data_for_every_curvature)
FAULTS = [
    ("E1 A summed over data like B", kronecker, "_mean_of_outer_products", fault_of_mean,
     (loop_law, on(test_what_kfac_leaves_out_is_the_covariance_of_its_factors_over_data),
      on(test_kfac_of_the_last_layer_is_exact_for_a_normal_likelihood, DEEP))),
    ("E6 B averaged like A", kronecker, "_sum_of_outer_products",
     lambda deltas: (deltas[0] @ np.swapaxes(deltas[1], 1, 2)).sum(0) / deltas[0].shape[-1],
     (loop_law, on(test_what_kfac_leaves_out_is_the_covariance_of_its_factors_over_data),
      on(test_kfac_of_the_ggn_is_exact_when_all_inputs_are_equal))),
    ("only the first column of the factor", kronecker, "_sum_of_outer_products",
     lambda deltas: deltas[0][0] @ deltas[1][0].T, (loop_law, on(test_with_one_datum_every_approximation_is_exact))),
    ("bias first in ā", kronecker, "_inputs", bias_first,
     (loop_law, on(test_with_one_datum_every_approximation_is_exact))),
    ("factors swapped", KroneckerFactors, "matrix", lambda self: in_theta_order(self.A, self.B, self.bias),
     (loop_law, at(test_a_block_is_its_factors_entry_by_entry, JOINT))),
    ("biases among the weights", KroneckerFactors, "matrix", biases_inside,
     (loop_law, at(test_a_block_is_its_factors_entry_by_entry, JOINT))),
    ("weights and biases not split", kronecker, "_inputs", lambda signals, l, split: [(signals.augmented[l], signals.bias)],
     (on(test_kfac_with_split_biases_keeps_the_two_blocks_of_joint_kfac_and_nothing_between),)),
    ("E9 damping for the exact prior", KroneckerFactors, "plus", damped_for_exact,
     (at(test_the_log_determinant_with_a_prior_is_that_of_the_full_matrix, JOINT),
      at(test_a_damped_block_exceeds_the_exact_one_by_the_kronecker_sum, JOINT),
      on(test_every_method_of_a_block_diagonal_precision_is_that_of_the_full_matrix))),
    ("E9 λ on each factor's eigenvalues alone", KroneckerEigen, "plus",
     lambda self, precision: KroneckerPrecision(self.U_B, self.U_A, np.maximum(self.values, precision), self.bias),
     (at(test_the_log_determinant_with_a_prior_is_that_of_the_full_matrix, JOINT),)),
    ("E15 transposed reshape of the normals", KroneckerPrecision, "scale_matvec", transposed_reshape,
     (at(test_products_solutions_and_scales_with_a_prior_are_those_of_the_full_matrix, JOINT),
      on(test_every_method_of_a_block_diagonal_precision_is_that_of_the_full_matrix))),
    ("E15 the covariance for its root", KroneckerPrecision, "scale_matvec", lambda self, z: self.solve(z),
     (at(test_products_solutions_and_scales_with_a_prior_are_those_of_the_full_matrix, JOINT),)),
    ("KFRA without the average over slopes", kronecker, "kfra", without_average,
     (on(test_kfra_is_the_recursion_with_averages_as_plain_loops), test_kfra_is_not_kfac_behind_an_activation)),
    ("EKFAC with the eigenvalues of KFAC", kronecker, "ekfac", kfac_values,
     (on(test_ekfac_is_the_diagonal_of_the_block_in_the_eigenbasis_of_kfac),)),
    ("one power step for the leading pair", kronecker, "_leading_eigenvector", one_power_step,
     (on(test_the_nearest_kronecker_product_is_the_truncated_svd_of_the_rearranged_block),)),
    ("KFAC for the nearest Kronecker product", kronecker, "nearest_kronecker", kronecker.kfac,
     (on(test_the_nearest_kronecker_product_is_the_truncated_svd_of_the_rearranged_block),
      at(test_the_last_layer_of_two_classes_is_a_kronecker_product_that_kfac_misses,
         Spec((2, 4, 1), "tanh", "bernoulli", num_data=7, seed=1)))),
    ("a determinant of the first block alone", BlockDiagonal, "log_det", lambda self: self.blocks[0].log_det(),
     (on(test_every_method_of_a_block_diagonal_precision_is_that_of_the_full_matrix),)),
]
PAIRS = [pytest.param(holder, name, fault, one, id=f"{words} [{i}]")
         for words, holder, name, fault, laws in FAULTS for i, one in enumerate(laws)]


@pytest.mark.parametrize("holder, name, fault, law_of_it", PAIRS)
def test_a_planted_fault_breaks_its_law(holder, name, fault, law_of_it, monkeypatch):
    law_of_it()
    monkeypatch.setattr(holder, name, fault)
    with np.errstate(all="ignore"), pytest.raises(AssertionError):
        law_of_it()


def test_a_wide_layer_that_does_not_count_has_zero_as_its_nearest_kronecker_product():
    net = Mlp((9, 9, 9, 2), activations.relu)
    theta = np.random.default_rng(0).normal(size=net.num_params)
    theta[net.layout.weights_and_bias(1)[1]] = -1000.0  # no unit of the second layer is ever on
    X = np.random.default_rng(1).normal(size=(5, 9))
    pullback = Loss(net, likelihoods.Categorical(), X, [0, 1, 0, 1, 1]).at(theta).ggn
    blocks = kronecker.nearest_kronecker(pullback).blocks
    assert not blocks[1].matrix().any() and blocks[2].matrix().any()
