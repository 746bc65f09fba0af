"""Low rank plus diagonal: leading eigenpairs by three routes, and the precision made of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from refbnn import Gaussian, Loss, Mlp, activations, laplace, likelihoods, low_rank
from refbnn.gaussian import kl
from refbnn.linalg import NotPositiveDefinite
from refbnn.low_rank import LowRank, LowRankPlusDiagonal
from refbnn.networks.pullback import Pullback
from refbnn.precision import Dense, Diagonal
from refbnn.testing import tolerance
from tests.judge import agree, norm_or_one
from tests.zoo import Spec, law, statement


def ranks(case):
    """Some ranks, the smallest and the largest among them."""
    p = case.net.num_params
    return sorted({1, (p + 1) // 2, p})


def prior_of(case):
    """Positive precisions, all different."""
    return Diagonal(np.linspace(0.4, 2.3, case.net.num_params))


@law()
def test_the_leading_pairs_are_those_of_the_full_matrix(spec):
    case = spec.build()
    at = case.loss.at(case.theta)
    for pullback in (at.ggn, at.fisher, at.empirical_fisher, replace(at.ggn, root=None)):
        G = pullback.full()
        values = np.linalg.eigvalsh(G)[::-1]
        for rank in ranks(case):
            found = low_rank.leading(pullback, rank)
            assert found.rank <= rank
            missing = np.zeros(rank - found.rank)
            agree(np.append(found.eigenvalues, missing), values[:rank], terms=case.terms, scale=norm_or_one(G))
            if found.rank:  # nothing is left behind a dead ReLU
                gram = found.U.T @ found.U
                agree(gram, np.diag(np.diag(gram)), terms=case.terms, scale=norm_or_one(G))


@law()
def test_what_a_low_rank_leaves_out_is_the_rest_of_the_spectrum(spec):
    """Eckart & Young (1936): no matrix of rank r is nearer than the one with the r leading pairs. Eq. (eckart-young)."""
    case = spec.build()
    pullback = case.loss.at(case.theta).ggn
    G = pullback.full()
    values = np.linalg.eigvalsh(G)[::-1]
    for rank in ranks(case):
        error = np.linalg.norm(G - low_rank.leading(pullback, rank).matrix())
        agree(error, np.linalg.norm(values[rank:]), terms=case.terms, scale=norm_or_one(G))


@law()
def test_with_all_pairs_it_is_the_curvature(spec):
    case = spec.build()
    at = case.loss.at(case.theta)
    for pullback in (at.ggn, at.fisher, at.empirical_fisher):
        G, found = pullback.full(), low_rank.leading(pullback, case.net.num_params)
        agree(found.matrix(), G, terms=case.terms, scale=norm_or_one(G))
        agree(found.diagonal(), np.diag(G), terms=case.terms, scale=norm_or_one(G))
        agree(found.matvec(case.vector), G @ case.vector, terms=case.terms, scale=norm_or_one(G) * np.linalg.norm(case.vector))
        agree(found.plus(prior_of(case)).matrix(), G + prior_of(case).matrix(), terms=case.terms)


@law()
def test_the_positive_part_of_a_hessian_is_asked_for_by_name(spec):
    case = spec.build()
    pullback = case.loss.at(case.theta).hessian
    H = pullback.full()
    values, vectors = np.linalg.eigh(H)
    expected = (vectors * np.maximum(values, 0)) @ vectors.T
    agree(low_rank.positive_part(pullback, case.net.num_params).matrix(), expected, terms=case.terms, scale=norm_or_one(H))


@pytest.mark.parametrize("name", ["ggn", "empirical_fisher", "hessian"])
def test_the_three_routes_to_the_leading_pairs_agree(name, monkeypatch):
    case = Spec((4, 6, 5, 3), "tanh", "categorical", num_data=9, seed=3).build()
    pullback, rank = getattr(case.loss.at(case.theta), name), 2
    values, vectors = np.linalg.eigh(pullback.full())
    kappa = values[-1] / (values[-2] - values[-3])  # how far the pairs turn when the matrix moves
    expected = low_rank._from_pairs(values, vectors, rank).matrix()
    route = low_rank.positive_part if name == "hessian" else low_rank.leading
    agree(route(pullback, rank).matrix(), expected, terms=case.terms, condition=kappa)
    monkeypatch.setattr(low_rank, "DENSE_EIGENPROBLEM", 1)
    lanczos = route(pullback, rank)
    agree(lanczos.matrix(), expected, terms=case.terms, condition=kappa)
    assert (np.diff(lanczos.eigenvalues) < 0).all()


def test_lanczos_never_asks_for_the_full_matrix(monkeypatch):
    case = Spec((4, 6, 5, 3), "tanh", "categorical", num_data=9, seed=3).build()
    monkeypatch.setattr(low_rank, "DENSE_EIGENPROBLEM", 1)
    monkeypatch.setattr(Pullback, "full", None)
    monkeypatch.setattr(low_rank, "gram_dual", None)
    assert low_rank.leading(case.loss.at(case.theta).ggn, 3).rank == 3


@pytest.mark.parametrize("rank", [0, 18, 2.0, True])
def test_a_rank_outside_of_1_to_p_is_refused(rank):
    case = Spec((2, 3, 2)).build()
    with pytest.raises(ValueError, match="rank: expected"):
        low_rank.leading(case.loss.at(case.theta).ggn, rank)


# -- the precision ----------------------------------------------------------------------------------------------------------


def random_precision(p, r, seed):
    """D + U Uᵀ with dense U of very different columns, and the same as a full matrix."""
    rng = np.random.default_rng([p, r, seed])
    U, D = rng.normal(size=(p, r)) * 10.0 ** np.linspace(-2, 1, r), rng.uniform(0.3, 3.0, p)
    return LowRankPlusDiagonal(U, D), np.diag(D) + U @ U.T


SIZES = [(7, 3), (5, 5), (3, 5), (1, 1), (4, 0)]
each_size = pytest.mark.parametrize("p, r", SIZES)


@each_size
def test_every_method_is_that_of_the_full_matrix(p, r):
    """Eq. (low-rank)."""
    P, expected = random_precision(p, r, 0)
    inverse, kappa = np.linalg.inv(expected), np.linalg.cond(expected)
    v = np.random.default_rng(1).normal(size=(2, 3, p))
    agree(P.matrix(), expected, terms=p)
    agree(P.diagonal(), np.diag(expected), terms=p)
    agree(P.matvec(v), v @ expected, terms=p, condition=kappa)
    agree(P.solve(v), v @ inverse, terms=p, condition=kappa)
    agree(P.log_det(), np.linalg.slogdet(expected)[1], terms=p, scale=10 * p)
    C = P.scale_matvec(np.eye(p)).T
    agree(C @ C.T, inverse, terms=p, condition=kappa)
    agree(P.scale_transposed_matvec(v), v @ C, terms=p, condition=kappa)
    for total in (P + np.eye(p), np.eye(p) + P):
        agree(total.matrix(), expected + np.eye(p), terms=p)


def test_an_entry_of_the_diagonal_that_is_not_positive_is_refused():
    with pytest.raises(ValueError, match="expected positive entries"):
        LowRankPlusDiagonal(np.ones((3, 1)), np.array([1.0, 0.0, 2.0]))
    with pytest.raises(ValueError, match=r"U: expected shape \(3, r\), got \(2, 1\)"):
        LowRankPlusDiagonal(np.ones((2, 1)), np.ones(3))


def test_a_gaussian_works_over_it():
    P, expected = random_precision(7, 3, 2)
    rng = np.random.default_rng(0)
    mean, theta = rng.normal(size=7), rng.normal(size=(2, 7))
    q, dense, other = Gaussian(mean, P), Gaussian(mean, Dense(expected)), Gaussian(np.zeros(7), Diagonal(np.full(7, 1.3)))
    kappa = np.linalg.cond(expected)
    agree(q.log_prob(theta), dense.log_prob(theta), terms=7, condition=kappa)
    agree(q.covariance(), dense.covariance(), terms=7, condition=kappa)
    agree(kl(q, other), kl(dense, other), terms=7, condition=kappa)


@law()
def test_more_pairs_never_lower_the_determinant(spec):
    """P_r ⪯ P_{r+1} ⪯ P: the evidence with a low rank over-states that with the full matrix at the same θ."""
    case = spec.build()
    pullback, D = case.loss.at(case.theta).ggn, prior_of(case)
    values = [low_rank.leading(pullback, rank).plus(D).log_det() for rank in ranks(case)]
    full = Dense(pullback.full() + D.matrix())
    kappa = np.linalg.cond(full.matrix())
    agree(values[-1], full.log_det(), terms=case.terms, condition=kappa, scale=case.terms)
    assert (np.diff([D.log_det(), *values]) >= -tolerance(case.terms, kappa) * case.terms).all()


# -- planted faults ---------------------------------------------------------------------------------------------------------

SMALL = Spec((2, 4, 3), "tanh", "categorical", num_data=11, seed=1)  # 27 parameters, 33 columns: from the full matrix
FEW = replace(SMALL, num_data=3)  # 9 columns: through the Gram dual


def on(test, spec=SMALL):
    """A law at one problem."""
    return lambda: statement(test)(spec)


def smallest_first(values, vectors, rank):
    """The trailing pairs."""
    return LowRank(vectors[:, :rank] * np.sqrt(np.maximum(values[:rank], 0)))


def without_root(values, vectors, rank):
    """μ v for √μ v."""
    order = np.argsort(values)[::-1][:rank]
    return LowRank(vectors[:, order] * np.maximum(values[order], 0))


def outputs_outside(pullback, rank):
    """The eigenvectors of the dual read with the columns of S outside of the data."""
    c, n = len(pullback.S), pullback.signals.num_data
    e = np.linalg.eigh(low_rank.gram_dual(pullback))[1][:, ::-1][:, :rank].T.reshape(-1, c, n)
    deltas = pullback.signals.backward((e[:, :, None] * pullback.S).sum(1))
    layers = [(d @ np.swapaxes(a, -1, -2), d.sum(-1)) for d, a in zip(deltas, pullback.signals.inputs)]
    return LowRank(pullback.layout.flatten(layers).T)


pairs_law, complete_law = test_the_leading_pairs_are_those_of_the_full_matrix, test_with_all_pairs_it_is_the_curvature


def every_method():
    """The law of the precision at one size."""
    test_every_method_is_that_of_the_full_matrix(7, 3)


FAULTS = [
    ("the smallest eigenvalues", low_rank, "_from_pairs", smallest_first,
     (on(pairs_law), on(test_what_a_low_rank_leaves_out_is_the_rest_of_the_spectrum))),
    ("μ for its root", low_rank, "_from_pairs", without_root, (on(pairs_law), on(complete_law))),
    ("data and columns of the dual exchanged", low_rank, "_from_dual", outputs_outside,
     (on(pairs_law, FEW), on(test_what_a_low_rank_leaves_out_is_the_rest_of_the_spectrum, FEW))),
    ("the covariance of the prior for its precision", LowRank, "plus",
     lambda self, prior: LowRankPlusDiagonal(self.U, 1 / prior.diagonal()),
     (on(complete_law), on(test_more_pairs_never_lower_the_determinant))),
    ("the square root for the inverse", LowRankPlusDiagonal, "solve", lambda self, v: self.scale_matvec(v), (every_method,)),
    ("scaled by √D for 1/√D (laplace-torch 0.2.1)", LowRankPlusDiagonal, "scale_matvec",
     lambda self, z: np.sqrt(self._D.diagonal()) * self._middle(z, np.expm1(-0.5 * self._log)), (every_method,)),
    ("the determinant without the diagonal", LowRankPlusDiagonal, "log_det", lambda self: float(self._log.sum()),
     (every_method, on(test_more_pairs_never_lower_the_determinant))),
    ("Cᵀ in the order of C, D^(−1/2) last", LowRankPlusDiagonal, "scale_transposed_matvec",
     lambda self, v: self.scale_matvec(v), (every_method,)),
]
PAIRS = [pytest.param(holder, name, fault, one, id=f"{words} [{i}]")
         for words, holder, name, fault, laws in FAULTS for i, one in enumerate(laws)]


@pytest.mark.parametrize("holder, name, fault, law_of_it", PAIRS)
def test_a_planted_fault_breaks_its_law(holder, name, fault, law_of_it, monkeypatch):
    law_of_it()
    monkeypatch.setattr(holder, name, fault)
    with pytest.raises(AssertionError):
        law_of_it()


def test_a_large_curvature_that_is_zero_has_rank_zero():
    net = Mlp((12, 40, 5), activations.tanh)
    theta, X = np.random.default_rng(0).normal(size=net.num_params), np.random.default_rng(1).normal(size=(200, 12))
    at = Loss(net, likelihoods.Normal(1.0), X, net.forward(theta, X)).at(theta)
    assert low_rank.leading(at.empirical_fisher, 3).rank == 0


def indefinite_hessian():
    """A Hessian of 673 parameters whose largest eigenvalue in size is negative, and its eigenvalues."""
    net = Mlp((12, 48, 1), activations.tanh)
    rng = np.random.default_rng(2)
    theta, X = rng.normal(size=net.num_params), rng.normal(size=(30, 12))
    hessian = Loss(net, likelihoods.Normal(1.0), X, net.forward(theta, X) + 30).at(theta).hessian
    values = np.linalg.eigvalsh(hessian.full())
    assert -values[0] > values[-1], "otherwise the two orders agree"
    return hessian, values


def test_of_the_positive_part_the_largest_pairs_are_kept_whatever_the_size_of_negative_ones():
    hessian, values = indefinite_hessian()
    np.testing.assert_allclose(low_rank.positive_part(hessian, 5).eigenvalues, values[:-6:-1], rtol=1e-9)


def test_a_negative_pair_among_the_largest_is_refused_by_lanczos_too():
    hessian, values = indefinite_hessian()
    with pytest.raises(NotPositiveDefinite, match=rf"among the 3 of largest size, got {values[0]:.4g}"):
        low_rank.leading(hessian, 3)


def heteroscedastic_ggn():
    """A GGN that is indefinite because Λ is: the mean and the log variance of a normal law, not yet fitted."""
    net = Mlp((1, 3, 2), activations.tanh)
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(11, 1)), rng.normal(size=(11, 1))
    return Loss(net, likelihoods.Heteroscedastic(), X, y).at(2 * rng.normal(size=net.num_params)).ggn


def test_negative_curvature_of_a_ggn_is_not_dropped_in_silence():
    """P0 + G has a negative eigenvalue, so no rank may give a Gaussian unless the pair left out is the smaller."""
    ggn = heteroscedastic_ggn()
    G = ggn.full()
    values, p = np.linalg.eigvalsh(G), len(G)
    assert values[0] < -1, "otherwise the prior precision 1 makes it definite"
    with pytest.raises(NotPositiveDefinite):
        laplace.at(np.zeros(p), Dense(G + np.eye(p)))
    before = int((values > -values[0]).sum())  # as many are larger in size than the most negative one
    for rank in range(before + 1, p + 1):
        with pytest.raises(NotPositiveDefinite, match="curvature: expected no negative eigenvalue.*positive_part"):
            low_rank.leading(ggn, rank)
    for rank in range(1, before + 1):
        kept = low_rank.leading(ggn, rank).matrix()
        agree(np.linalg.norm(G - kept), np.sqrt((np.sort(np.abs(values))[:-rank]**2).sum()), terms=p, scale=norm_or_one(G))


def test_the_positive_part_of_a_ggn_is_asked_for_by_name():
    ggn = heteroscedastic_ggn()
    values, vectors = np.linalg.eigh(ggn.full())
    expected = (vectors * np.maximum(values, 0)) @ vectors.T
    agree(low_rank.positive_part(ggn, len(values)).matrix(), expected, terms=11 * len(values), scale=norm_or_one(expected))


@pytest.mark.parametrize("prior, found", [
    (np.eye(17) + 0.1, r"a ndarray of shape \(17, 17\)"), (Dense(np.eye(17) + 0.1), "a Dense"), (1.0, "a float"),
])
def test_the_refusal_of_another_prior_says_its_type_and_prints_no_array(prior, found):
    case = Spec((2, 3, 2)).build()
    with pytest.raises(ValueError, match=f"^prior: expected a Diagonal precision, got {found};"):
        low_rank.leading(case.loss.at(case.theta).ggn, 2).plus(prior)
