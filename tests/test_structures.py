"""Every matrix in every structure: the same numbers as in the full one, where the structure keeps them."""

from __future__ import annotations

import numpy as np
import pytest

from refbnn import Loss, duals, kronecker, low_rank, precision
from refbnn.blocks import Blocks, Symmetric
from refbnn.kronecker import KroneckerEigen
from refbnn.networks.mlp import Evaluation
from refbnn.networks.pullback import Pullback
from refbnn.networks.rows import Rows
from refbnn.subnetwork import Subnetwork, layer
from tests.judge import agree, norm_or_one
from tests.zoo import Spec, law, statement

MATRICES = ("ggn", "hessian", "residual_part", "fisher", "sampled_fisher", "empirical_fisher", "centred_empirical_fisher")


def at_theta(case):
    """{name: the matrix in all its structures}."""
    at = case.loss.at(case.theta)
    labels = at.sample_labels(np.random.default_rng(6))
    found = {name: getattr(at, name) for name in MATRICES}
    return found | {"sampled_fisher": at.sampled_fisher(labels)}


def loops(case):
    """{name: the matrix from gradients written out in loops}, for the three Fisher matrices that have one gradient a datum."""
    g = case.loss.per_datum_gradients(case.theta)
    p, mean = len(case.theta), sum(g) / len(g)
    plain, centred = np.zeros((p, p)), np.zeros((p, p))
    for row in g:
        plain += np.outer(row, row)
        centred += np.outer(row - mean, row - mean)
    return {"empirical_fisher": plain, "centred_empirical_fisher": centred}


def scale_of(case, matrix):
    """The size of what may cancel in a matrix: its own parts, and for the centred one those of the matrix that is not."""
    at = case.loss.at(case.theta)
    return sum(np.linalg.norm(part.full()) for part in (at.ggn, at.residual_part, at.empirical_fisher)) + norm_or_one(matrix)


def every_structure_agrees(case):
    """Assert it for every matrix."""
    stops = np.cumsum(case.net.layer_sizes)
    for name, curvature in at_theta(case).items():
        full = curvature.full()
        tolerance = {"terms": case.terms, "scale": scale_of(case, full)}
        agree(curvature.diagonal(), np.diagonal(full), **tolerance)
        for l, (block, units) in enumerate(zip(curvature.layer_blocks(), curvature.neuron_blocks())):
            start, (W, b) = stops[l] - case.net.layer_sizes[l], case.net.unflatten(np.arange(len(full)))[l]
            agree(block, full[start:stops[l], start:stops[l]], **tolerance)
            for i, unit in enumerate(units):
                own = W[i] if b is None else np.append(W[i], b[i])
                agree(unit, full[np.ix_(own, own)], **tolerance)
        last = layer(case.net, -1)
        agree(curvature.last_layer(), full[np.ix_(last, last)], **tolerance)
        chosen = np.arange(0, len(full), 2)[::-1]
        agree(curvature.subset(chosen), full[np.ix_(chosen, chosen)], **tolerance)
        u = np.stack([case.vector, case.theta]) / norm_or_one(case.vector)
        agree(curvature.matvec(u), u @ full, **tolerance)
        agree(curvature.linear_operator() @ u.T, full @ u.T, **tolerance)


@law()
def test_every_structure_of_every_matrix_has_the_numbers_of_the_full_one(spec):
    """Eqs. (centred-empirical-fisher), (ggn) and (fisher): diagonal, layers, units, last layer, a subset, products."""
    every_structure_agrees(spec.build())


@law()
def test_fisher_matrices_of_gradients_are_loops_over_data(spec):
    """Eq. (centred-empirical-fisher)."""
    case = spec.build()
    for name, expected in loops(case).items():
        agree(at_theta(case)[name].full(), expected, terms=case.terms, scale=scale_of(case, expected))


@law()
def test_every_matrix_without_second_derivatives_of_the_network_has_its_low_rank_and_its_gram_dual(spec):
    """The centred one too: as many leading pairs as it has, and R Rᵀ with the same eigenvalues. Eq. (gram-dual)."""
    case = spec.build()
    for name, curvature in at_theta(case).items():
        if name in ("hessian", "residual_part") or (name == "ggn" and curvature.S is None):
            continue
        full = curvature.full()
        scale = scale_of(case, full)
        found = low_rank.leading(curvature, len(full))
        agree(found.matrix(), full, terms=case.terms, scale=scale)
        few = low_rank.leading(curvature, 1)
        agree(few.eigenvalues.sum(), max(np.linalg.eigvalsh(full)[-1], 0.0), terms=case.terms, scale=scale)
        dual = np.linalg.eigvalsh(duals.gram_dual(curvature))[::-1][:len(full)]
        agree(np.linalg.eigvalsh(full)[::-1][:len(dual)], dual, terms=case.terms, scale=scale)


@law()
def test_the_centred_empirical_fisher_in_the_eigenbasis_of_kfac_has_the_exact_diagonal_there(spec):
    """The nearest matrix that is diagonal in that basis: same trace, and what is left out is orthogonal to it. Eq. (ekfac)."""
    case = spec.build()
    at = case.loss.at(case.theta)
    basis, rows = kronecker.ekfac(at.empirical_fisher), at.centred_empirical_fisher
    found, scale = kronecker.refit(basis, rows), scale_of(case, rows.full())
    agree(np.trace(found.matrix()), np.trace(rows.full()), terms=case.terms, scale=scale)
    for block, exact, old in zip(found.blocks, rows.layer_blocks(), basis.blocks):
        for unit in np.eye(len(exact)):
            v = old._out_of_basis(unit.reshape(old.values.shape))
            agree(v @ block.matrix() @ v, v @ exact @ v, terms=case.terms, scale=scale)
    uncentred = kronecker.refit(basis, Rows(rows.layout, case.loss.per_datum_gradients(case.theta)))
    agree(uncentred.matrix(), basis.matrix(), terms=case.terms, scale=scale)


@law()
def test_the_centred_empirical_fisher_of_a_part_of_a_network_is_a_part_of_it(spec):
    case = spec.build()
    chosen = np.arange(1, case.net.num_params, 2)
    if len(chosen):
        part = Loss(Subnetwork(case.net, case.theta, chosen), case.likelihood, case.X, case.y).at(case.theta[chosen])
        whole = case.loss.at(case.theta).centred_empirical_fisher.full()
        expected, found = whole[np.ix_(chosen, chosen)], part.centred_empirical_fisher
        tolerance = {"terms": case.terms, "scale": scale_of(case, whole)}
        agree(found.full(), expected, **tolerance)
        agree(found.diagonal(), np.diagonal(expected), **tolerance)
        start = 0
        for block in found.layer_blocks():
            stop = start + len(block)
            agree(block, expected[start:stop, start:stop], **tolerance)
            start = stop


def test_one_datum_has_no_scatter():
    """The centred matrix is then zero to the last bit, whatever the gradient."""
    case = Spec((2, 3, 2), num_data=1).build()
    assert not case.loss.at(case.theta).centred_empirical_fisher.full().any()


def test_precisions_are_made_of_it_like_of_any_other():
    """Low rank plus diagonal and EKFAC plus λI of the centred matrix are positive definite, and full with all pairs."""
    case = Spec((2, 3, 2), "tanh", "categorical").build()
    rows = case.loss.at(case.theta).centred_empirical_fisher
    prior = precision.Diagonal(np.linspace(0.4, 2.3, case.net.num_params))
    P = low_rank.leading(rows, case.net.num_params).plus(prior)
    agree(P.matrix(), rows.full() + prior.matrix(), terms=case.terms)
    E = kronecker.refit(kronecker.ekfac(case.loss.at(case.theta).empirical_fisher), rows).plus(0.7)
    agree(E.matrix() @ E.solve(case.vector), case.vector, terms=case.terms, condition=1e3)


def test_what_does_not_fit_is_refused():
    case = Spec((2, 3, 2)).build()
    at = case.loss.at(case.theta)
    with pytest.raises(ValueError, match=r"R: expected shape \(n, 17\), got \(4, 3\)"):
        Rows(case.net.layout, np.ones((4, 3)))
    with pytest.raises(ValueError, match="basis: expected one of 17 parameters, got 9"):
        kronecker.refit(kronecker.ekfac(Spec((2, 3)).build().loss.at(np.ones(9)).ggn), at.centred_empirical_fisher)
    with pytest.raises(ValueError, match="rank: expected at most the number of parameters, 17, got 18"):
        low_rank.leading(at.centred_empirical_fisher, 18)


# -- planted faults ---------------------------------------------------------------------------------------------------------

DEEP = Spec((2, 3, 4, 2), "tanh", "categorical", num_data=5, seed=2)


def transposed_refit(basis, rows):
    """The coordinates of the rows taken with U_B and U_A in place of their transposes."""
    return Blocks(tuple(
        KroneckerEigen(block.U_B.T, block.U_A.T, block.squares(rows.R[:, span]), block.bias)
        for block, span in zip(basis.blocks, basis.spans())
    ))


FAULTS = [
    ("not centred", Evaluation, "scatter", lambda self, v: Rows(self.layout, self.vjp_per_datum(v)),
     test_fisher_matrices_of_gradients_are_loops_over_data),
    ("divided by N", Evaluation, "scatter",
     lambda self, v: Rows(self.layout, (g := self.vjp_per_datum(v)) / np.sqrt(len(g)) - g.mean(0) / np.sqrt(len(g))),
     test_fisher_matrices_of_gradients_are_loops_over_data),
    ("centred by the sum", Evaluation, "scatter", lambda self, v: Rows(self.layout, (g := self.vjp_per_datum(v)) - g.sum(0)),
     test_fisher_matrices_of_gradients_are_loops_over_data),
    ("diagonal not squared", Rows, "diagonal", lambda self: np.abs(self.R).sum(0),
     test_every_structure_of_every_matrix_has_the_numbers_of_the_full_one),
    ("the first layer for the last", Rows, "last_layer", lambda self: self.layer_blocks()[0],
     test_every_structure_of_every_matrix_has_the_numbers_of_the_full_one),
    ("units' biases forgotten", Pullback, "neuron_blocks",
     lambda self: [block * (np.arange(block.shape[-1]) < block.shape[-1] - 1) for block in own_neuron_blocks(self)],
     test_every_structure_of_every_matrix_has_the_numbers_of_the_full_one),
    ("a subset in increasing order", Rows, "subset", lambda self, chosen: (R := self.R[:, np.sort(chosen)]).T @ R,
     test_every_structure_of_every_matrix_has_the_numbers_of_the_full_one),
    ("a product with R Rᵀ's row sums", Rows, "matvec", lambda self, u: u * self.diagonal(),
     test_every_structure_of_every_matrix_has_the_numbers_of_the_full_one),
    ("leading pairs not scaled", low_rank, "leading",
     lambda rows, rank: low_rank.LowRank(np.linalg.eigh(rows.full())[1][:, :rank]),
     test_every_matrix_without_second_derivatives_of_the_network_has_its_low_rank_and_its_gram_dual),
    ("eigenbasis transposed", kronecker, "refit", transposed_refit,
     test_the_centred_empirical_fisher_in_the_eigenbasis_of_kfac_has_the_exact_diagonal_there),
]
own_neuron_blocks = Pullback.neuron_blocks


@pytest.mark.parametrize("owner, name, faulty, law_of_it", [row[1:] for row in FAULTS], ids=[row[0] for row in FAULTS])
def test_a_planted_fault_breaks_its_law(owner, name, faulty, law_of_it, monkeypatch):
    statement(law_of_it)(DEEP)
    monkeypatch.setattr(owner, name, faulty)
    with pytest.raises(AssertionError):
        statement(law_of_it)(DEEP)


def test_the_product_with_blocks_of_any_sign_is_that_of_the_full_matrix():
    rng = np.random.default_rng(3)
    first, second = (root + root.T for root in (rng.normal(size=(3, 3)), rng.normal(size=(5, 5))))
    v = rng.normal(size=(2, 7, 8))
    agree(Symmetric(first).matvec(v[..., :3]), v[..., :3] @ first, terms=3)
    blocks = Blocks((Symmetric(first), Symmetric(second)))
    agree(blocks.matvec(v), v @ blocks.matrix(), terms=8, condition=10)
