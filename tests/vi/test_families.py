"""Families: what a member is, the gradient by hand, and the flows under which each is closed."""

from __future__ import annotations

import numpy as np
import pytest

from refbnn import Gaussian, Linearised, quadrature, vi
from refbnn.gaussian import kl
from refbnn.kronecker import BlockShape, MatrixNormal
from refbnn.linalg import NotPositiveDefinite
from refbnn.precision import Dense, FromScale
from refbnn.testing import taylor_order
from refbnn.vi import families
from refbnn.vi.bfgs import gradient
from tests.judge import agree
from tests.vi import problems

NET = problems.deep().net
P = NET.num_params
FAMILIES = {
    "full": families.Full(P), "mean_field": families.MeanField(P), "per_layer": families.per_layer(NET),
    "kronecker": families.kronecker(NET), "low_rank": families.LowRank(P, 2),
}
NATURAL = ("full", "mean_field", "per_layer")
each = pytest.mark.parametrize("name", FAMILIES)


def member(name, seed=0):
    """(family, φ, q)."""
    family = FAMILIES[name]
    phi = 0.4 * np.random.default_rng(seed).normal(size=family.num_free)
    if name == "low_rank":
        phi[P:2 * P] = np.exp(phi[P:2 * P]) * (-1) ** np.arange(P)  # d, of both signs
    return family, phi, family.gaussian(phi)


@each
def test_the_precision_of_a_member_keeps_its_protocol(name):
    """Against the dense matrix: products, solutions, roots and determinants."""
    _, _, q = member(name)
    precision, v = q.precision, np.random.default_rng(1).normal(size=(3, 5, P))
    dense = Dense(precision.matrix())
    agree(precision.matvec(v), dense.matvec(v), terms=P, condition=100)
    agree(precision.solve(v), dense.solve(v), terms=P, condition=100)
    agree(precision.diagonal(), dense.diagonal(), terms=P, condition=100)
    agree(precision.log_det(), dense.log_det(), terms=P, condition=100)
    agree(q.scale() @ q.scale().T, np.linalg.inv(dense.matrix()), terms=P, condition=100)
    agree(precision.scale_matvec(v), v @ q.scale().T, terms=P, condition=100)
    agree(precision.scale_transposed_matvec(v), v @ q.scale(), terms=P, condition=100)
    agree((precision + np.eye(P)).matrix(), dense.matrix() + np.eye(P), terms=P)


def test_the_covariance_of_a_matrix_normal_is_a_kronecker_product_in_the_order_of_theta():
    """Eq. (matrix-normal): Cov(W_ij, W_kl) = (B Bᵀ)_ik (A Aᵀ)_jl, by a loop over θ's order."""
    rng = np.random.default_rng(2)
    B, A = np.tril(rng.normal(size=(2, 2))), np.tril(rng.normal(size=(3, 3)))
    np.fill_diagonal(B, [1.1, 0.6]), np.fill_diagonal(A, [0.7, 1.3, 0.9])
    of_units, of_inputs = B @ B.T, A @ A.T
    order = [(0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (1, 2)]  # W row by row, then b
    plain = [[of_units[i, k] * of_inputs[j, l] for k, l in order] for i, j in order]
    precision = MatrixNormal(B, A, bias=True)
    agree(Gaussian(np.zeros(6), precision).covariance(), plain, terms=10)
    assert BlockShape(2, 3, True).num_params == precision.num_params == 6


def test_low_rank_plus_diagonal_is_a_precision():
    """Eq. (low-rank-family): P_ij = δ_ij d_i² + Σ_r W_ir W_jr, by a loop; with two zeros of d as well."""
    family, phi, _ = member("low_rank")
    for zeros in ([], [3, 7]):
        phi[P + np.array(zeros, int)] = 0.0
        q, d, W = family.gaussian(phi), phi[P:2 * P], phi[2 * P:].reshape(P, 2)
        plain = [[(i == j) * d[i] ** 2 + W[i] @ W[j] for j in range(P)] for i in range(P)]
        agree(q.precision.matrix(), plain, terms=10)
        agree(q.covariance(), np.linalg.inv(plain), terms=P, condition=1e4)


def test_more_zeros_than_the_rank_are_refused():
    family, phi, _ = member("low_rank")
    phi[P + np.arange(3)] = 0.0
    with pytest.raises(NotPositiveDefinite):
        family.gaussian(phi)


def image(name, phi, by):
    """φ of the member that D θ follows, D = diag(by), for θ of the member φ."""
    if name == "low_rank":
        return np.concatenate([by * phi[:P], phi[P:2 * P] / by, (phi[2 * P:].reshape(P, 2) / by[:, None]).ravel()])
    q = FAMILIES[name].gaussian(phi)
    return FAMILIES[name].free(Gaussian(by * q.mean, Dense(q.precision.matrix() / by[:, None] / by)))


@each
def test_steps_in_lengths_do_not_depend_on_the_units_of_theta(name):
    """The image of the member at φ + lengths x is the member at φ' + lengths' x, φ' the image of φ: units over ten decades."""
    family, phi, _ = member(name)
    rng = np.random.default_rng(14)
    by = 10.0 ** rng.uniform(-5, 5, P)
    if name == "kronecker":  # closed under units of rows and columns of [W b]
        by = np.concatenate([BlockShape(out, into + 1, True).flat(np.outer(10.0 ** rng.uniform(-3, 3, out),
                                                                           10.0 ** rng.uniform(-2, 2, into + 1)))
                             for into, out in zip(NET.sizes, NET.sizes[1:])])
    x, other = 0.2 * rng.normal(size=family.num_free), image(name, phi, by)
    one, two = family.gaussian(phi + family.lengths(phi) * x), family.gaussian(other + family.lengths(other) * x)
    agree(two.mean / by, one.mean, terms=P, condition=1e4)
    agree(two.covariance() / by[:, None] / by, one.covariance(), terms=P, condition=1e4)
    assert (family.lengths(phi) > 0).all() and np.abs(one.covariance() - family.gaussian(phi).covariance()).max() > 0.01


@each
def test_the_gradient_by_hand_is_that_of_the_bound(name):
    """Eq. (pull-back): the remainder of first order along a dense direction falls as h²."""
    family, phi, q = member(name)
    post, how = problems.deep(), vi.OverParameters(quadrature.sobol(P, 16, 2, np.random.default_rng(3)))
    step = np.random.default_rng(4).normal(size=family.num_free) / np.sqrt(family.num_free)
    at = vi.elbo(post, q, how)
    slope = gradient(family, phi, at) @ step
    order = taylor_order(lambda h: vi.elbo(post, family.gaussian(phi + h * step), how).value - at.value - h * slope)
    assert abs(order - 2) < 0.2


@each
def test_every_entry_of_the_gradient_is_right(name):
    """Eq. (pull-back): entry by entry, of a function of mean and scale that tells all of their entries apart."""
    family, phi, q = member(name)
    rng = np.random.default_rng(5)
    of_mean, of_scale = rng.normal(size=P), rng.normal(size=(P, P))

    def function(phi):
        q = family.gaussian(phi)
        return of_mean @ q.mean + (of_scale * q.scale()).sum()

    found = family.pull_back(phi, of_mean, of_scale)
    plain = [(function(phi + h) - function(phi - h)) / 2e-5 for h in 1e-5 * np.eye(family.num_free)]
    agree(found, plain, terms=1, condition=1e6)  # h² = 1e-10


@pytest.mark.parametrize("name", ["full", "mean_field", "per_layer", "kronecker"])
def test_free_names_a_member(name):
    family, phi, q = member(name)
    agree(family.free(q), phi, terms=P, condition=1000)


@each
def test_free_gives_a_start_from_any_gaussian(name):
    q = problems.gaussian(6, P)
    start = FAMILIES[name].gaussian(FAMILIES[name].free(q))
    agree(start.mean, q.mean, terms=1)
    assert kl(start, q) < P


@pytest.mark.parametrize("name", ["mean_field", "per_layer"])
def test_free_is_the_projection_that_minimises_the_reverse_divergence(name):
    """Eq. (mean-field-gap): precision 1/diag P, or the blocks of P; every step away costs more."""
    family, q = FAMILIES[name], problems.gaussian(6, P)
    phi = family.free(q)
    best = kl(family.gaussian(phi), q)
    for step in np.random.default_rng(7).normal(size=(11, family.num_free)):
        assert kl(family.gaussian(phi + 1e-2 * step), q) > best


@each
def test_entropy_and_divergence_are_those_of_the_gaussian(name):
    """½ log |2πeΣ|, and KL against the dense formula: chain rule and affine invariance hold."""
    _, _, q = member(name)
    dense, other = Gaussian(q.mean, Dense(q.precision.matrix())), problems.gaussian(8, P)
    agree(q.entropy(), 0.5 * np.linalg.slogdet(2 * np.pi * np.e * q.covariance())[1], terms=P, condition=100)
    agree(kl(q, other), kl(dense, other), terms=P, condition=100)
    agree(kl(other, q), kl(other, dense), terms=P, condition=100)
    A = np.random.default_rng(9).normal(size=(P, P)) + 4 * np.eye(P)
    images = [Gaussian(A @ g.mean, Dense(np.linalg.inv(A @ g.covariance() @ A.T))) for g in (q, other)]
    agree(kl(*images), kl(q, other), terms=P, condition=1e4)


def test_the_divergence_obeys_the_chain_rule_and_pinsker():
    """KL(q ‖ p) = KL of a marginal + expected KL of the rest given it; TV <= √(KL/2) by a sum over a grid."""
    q, p = problems.gaussian(10, 2), problems.gaussian(11, 2)

    def first(g):
        return Gaussian(g.mean[:1], Dense([[1 / g.covariance()[0, 0]]]))

    def second_given(g, t):
        C = g.covariance()
        mean = g.mean[1] + C[1, 0] / C[0, 0] * (t - g.mean[0])
        return Gaussian([mean], Dense([[g.precision.matrix()[1, 1]]]))

    rule = quadrature.gauss_hermite(1, 4)
    given = rule.integrate(lambda z: np.array([kl(second_given(q, t), second_given(p, t)) for t, in first(q).from_normals(z)]))
    agree(kl(q, p), kl(first(q), first(p)) + given.value, terms=100)
    line = np.linspace(-9, 9, 401)
    theta = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    variation = 0.5 * np.abs(np.exp(q.log_prob(theta)) - np.exp(p.log_prob(theta))).sum() * (line[1] - line[0]) ** 2
    assert 0.01 < variation <= np.sqrt(kl(q, p) / 2)


def test_the_divergence_of_neighbours_is_half_the_fisher_form():
    """Eq. (gaussian-fisher): KL(q ‖ q + h·step) = ½h² [dmᵀΣ⁻¹dm + ½ tr (Σ⁻¹dΣ)²] + O(h³), mean and covariance orthogonal."""
    q, rng = problems.gaussian(15, 5), np.random.default_rng(16)
    dm, S = rng.normal(size=5), rng.normal(size=(5, 5))
    S = 0.1 * (S + S.T)
    relative = q.precision.matrix() @ S
    form = dm @ q.precision.matvec(dm) + 0.5 * np.trace(relative @ relative)

    def remainder(h):
        return kl(q, Gaussian(q.mean + h * dm, Dense(np.linalg.inv(q.covariance() + h * S)))) - 0.5 * h**2 * form

    assert abs(taylor_order(remainder, [2.0**-j for j in range(3, 8)]) - 3) < 0.2


@pytest.mark.parametrize("name, image", [
    ("full", lambda T: T), ("mean_field", lambda T: np.diag(np.diagonal(T))), ("low_rank", lambda T: np.diag(np.diagonal(T)))])
def test_a_family_is_closed_under_the_maps_that_its_laws_use(name, image):
    """The image of a member under a triangular, or a diagonal, map is a member again: `along` has its flows from there."""
    family, _, q = member(name)
    T = image(np.tril(np.random.default_rng(12).normal(size=(P, P)) * 0.1) + np.eye(P))
    moved = T @ q.covariance() @ T.T
    if name != "low_rank":
        agree(family.gaussian(family.free(Gaussian(T @ q.mean, Dense(np.linalg.inv(moved))))).covariance(), moved, terms=P,
              condition=1000)
    else:
        precision, scale = np.linalg.inv(moved), np.diagonal(T)
        D = member(name)[1][P:2 * P] ** 2 / scale**2
        assert np.linalg.matrix_rank(precision - np.diag(D), tol=1e-8) == family.rank


@pytest.mark.parametrize("name", ["full", "mean_field", "per_layer", "kronecker"])
def test_along_sees_what_the_gradient_sees(name):
    """Eq. (virial): an error of E[∂_iU (θ − m)_j], one entry at a time, is in `along` if and only if it moves the spread.

    ∂ELBO/∂C = (I − E[∇U (θ − m)ᵀ]) C⁻ᵀ.
    """
    family, phi, q = member(name)
    inverse = np.linalg.inv(q.scale())
    moves, seen = np.zeros((P, P)), np.zeros((P, P))
    for i, j in np.ndindex(P, P):
        error = np.zeros((P, P))
        error[i, j] = 1.0
        moves[i, j] = np.abs(family.pull_back(phi, np.zeros(P), -error @ inverse.T)).max()
        seen[i, j] = np.abs(family.along(error)).max()
    assert ((moves > 1e-8) == (seen > 1e-8)).all() and 0 < (seen > 0).sum() < P * P


@pytest.mark.parametrize("name", NATURAL)
def test_natural_keeps_the_entries_that_are_free(name):
    matrix = problems.positive_definite(np.random.default_rng(13), P)
    kept = FAMILIES[name].natural(matrix).matrix()
    mask = np.abs(member(name)[2].precision.matrix()) > 0
    agree(kept, np.where(mask, matrix, 0), terms=1)


def test_the_root_of_a_covariance_is_refused_unless_it_is_triangular_with_a_positive_diagonal():
    with pytest.raises(ValueError, match="scale: expected a square matrix"):
        FromScale(np.ones((2, 3)))
    with pytest.raises(ValueError, match="lower-triangular"):
        FromScale([[1.0, 0.1], [0.0, 1.0]])
    with pytest.raises(ValueError, match="positive diagonal, got a smallest entry of -1"):
        FromScale([[1.0, 0.0], [0.3, -1.0]])
    assert repr(FromScale(np.eye(3))) == "FromScale(num_params=3)"
    agree(FromScale([[2.0, 0.0], [1.0, 0.5]]).principal(np.array([1])).matrix(), [[4.0]], terms=10)


@pytest.mark.parametrize("make, message", [
    (lambda: families.Full(2).gaussian(np.zeros(4)), "phi: expected shape"),
    (lambda: families.MeanField(2).gaussian([np.nan, 0, 0, 0]), "NaN"),
    (lambda: families.LowRank(3, 4), "rank: expected an integer from 1 to 3, got 4"),
    (lambda: families.LowRank(3, 0), "rank: expected"),
    (lambda: families.Independent((families.Full(2), 3)), "parts: expected an object"),
    (lambda: families.kronecker(NET).natural(np.eye(P)), "parts: expected an object with natural"),
    (lambda: families.Independent(()), "parts: expected at least one family of a block, got none"),
    (lambda: families.kronecker(Linearised(NET, at=np.zeros(P))), "its net: expected an object with sizes"),
])
def test_bad_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
