"""Theories for curvatures, precisions, covariances and their roots."""

from __future__ import annotations

from typing import Callable

import numpy as np

from refbnn import linalg

from ..quantities import Quantity
from .facts import Array, Facts
from .theory import (COVARIANCES, LOSS_DIAGONALS, LOSS_MATRICES, LOSS_PRODUCTS, NAMES, PRECISIONS, Basis, MakeBasis, Part, Theory,
                     pair, prior_precision)


def prior_in_loss(quantity: Quantity) -> list[Theory]:
    """αR + βP₀ for what should hold no prior."""
    text, term = _PRIOR_TERMS[quantity.name]
    advice = "leave the prior out: the loss is the negative log-likelihood alone"
    special = {("1", "1"): ("prior_included", "The prior is included", advice),
               ("-1", "-1"): ("prior_included+sign", "You differentiate +log p(y, θ), prior included", f"negate, {advice}")}
    found = [Theory("with_prior", "prior", 1, "A multiple of the prior term is added", advice,
                    pair(lambda facts: facts.value(quantity.name), term), (quantity.name,), terms=("the value", text),
                    special=special)]
    if quantity.name in LOSS_MATRICES:
        found += [_other_with_prior(other) for other in LOSS_MATRICES if other != quantity.name]
    return found


_PRIOR_TERMS: dict[str, tuple[str, Part]] = {
    "gradient": ("P₀(θ − m)", lambda facts: prior_precision(facts) @ (facts.problem.theta - facts.problem.prior_mean)),
    **{name: ("P₀v", lambda facts: prior_precision(facts) @ facts.problem.vector) for name in LOSS_PRODUCTS},
    **{name: ("P₀", prior_precision) for name in LOSS_MATRICES},
    **{name: ("diag P₀", lambda facts: np.diag(prior_precision(facts)).copy()) for name in LOSS_DIAGONALS},
}


def _other_with_prior(other: str) -> Theory:
    return Theory(f"with_prior:{other}", "quantity_prior", 3, f"You return {NAMES[other]} with a prior term",
                  "leave the prior out", pair(lambda facts: facts.value(other), prior_precision), (other,),
                  terms=(NAMES[other], "P₀"))


_PRIOR_CASES = {
    ("1", "0"): ("prior_forgotten", "The prior precision is missing", "add P₀"),
    ("1", "2"): ("prior_doubled", "The prior precision is added twice", "add P₀ once"),
    ("0", "1"): ("curvature_forgotten", "Only the prior precision is there", "add the curvature of the loss"),
}


def curvature_plus_prior(quantity: Quantity) -> list[Theory]:
    """P = αG + βP₀, or with another curvature for G; for covariances, roots and samples: of the inverse."""
    mine = PRECISIONS.get(quantity.name) or COVARIANCES[quantity.name]
    jitter = Theory("jitter", "jitter", 1, "A multiple of the identity is added to the precision", "add no jitter or damping",
                    pair(lambda facts: _precision(facts, mine), lambda facts: np.eye(len(facts.problem.theta))), (quantity.name,),
                    inverse=quantity.name in COVARIANCES, terms=("P", "I"), constant=True)
    return [*(_mixed(quantity, name, mine) for name in LOSS_MATRICES), *_other_priors(quantity, mine), jitter]


def leading(quantity: Quantity) -> list[Theory]:
    """αL + βP₀ for the part L of the GGN on its leading directions; for covariances and samples of the inverse."""
    def part(facts: Facts) -> Array | None:
        precision = facts.raw("laplace.lowrank.precision")
        return None if precision is None else precision - prior_precision(facts)
    return [Theory("mixed", "curvature", 1, "The precision is a combination of the leading part of the GGN and the prior",
                   "it is that part of the summed curvature plus the prior precision, each once", pair(part, prior_precision),
                   (quantity.name,), terms=("the leading part of the GGN", "P₀"), inverse=quantity.name != LEADING[0],
                   special=_PRIOR_CASES)]


LEADING = ("laplace.lowrank.precision", "laplace.lowrank.covariance", "laplace.lowrank.sample")


def _other_priors(quantity: Quantity, mine: str) -> list[Theory]:
    """G plus something that was made of P₀."""
    return [Theory(key, "other_prior", 2, sentence, "add the prior precision P₀", _summed(mine, term), (quantity.name, mine),
                   inverse=quantity.name in COVARIANCES)
            for key, sentence, term in _INSTEAD_OF_PRIOR]


def _summed(name: str, term: Callable[[Array], Array | None]) -> MakeBasis:
    def basis(facts: Facts, quantity: Quantity) -> Basis | None:
        curvature, prior = _curvature(facts, name), term(prior_precision(facts))
        return None if curvature is None or prior is None else (curvature + prior,)
    return basis


def _root(prior: Array, power: float) -> Array | None:
    """Of a diagonal prior precision."""
    diagonal = np.diag(prior)
    return np.diag(diagonal ** power) if np.array_equal(np.diag(diagonal), prior) else None


_INSTEAD_OF_PRIOR: tuple[tuple[str, str, Callable[[Array], Array | None]], ...] = (
    ("covariance_of_prior", "The prior's covariance is added, not its precision", np.linalg.inv),
    ("std_of_prior", "The prior's standard deviations are added, not its precision", lambda prior: _root(prior, -0.5)),
    ("root_of_prior", "The square root of the prior precision is added", lambda prior: _root(prior, 0.5)),
    ("diagonal_of_prior", "Only the diagonal of the prior precision is added", lambda prior: np.diag(np.diag(prior))),
    ("identity_for_prior", "The identity is added, not the prior precision", lambda prior: np.eye(len(prior))),
)


def _mixed(quantity: Quantity, name: str, mine: str) -> Theory:
    """α times a curvature plus βP₀."""
    own = name == mine
    other = {("1", "1"): (f"curvature:{name}", f"The curvature is {NAMES[name]}, not {NAMES[mine]}", f"use {NAMES[mine]}")}
    return Theory("mixed" if own else f"mixed:{name}", "curvature" if own else "other_curvature", 1 if own else 2,
                  f"The precision is a combination of {NAMES[name]} and the prior",
                  "it is the summed curvature plus the prior precision, each once",
                  pair(lambda facts: _curvature(facts, name), prior_precision), (quantity.name, name), terms=(NAMES[name], "P₀"),
                  inverse=quantity.name in COVARIANCES, special=_PRIOR_CASES if own else other)


def _curvature(facts: Facts, name: str) -> Array | None:
    """The curvature as the definition of P has it: summed, whatever reduction is declared for the loss."""
    stored = facts.raw(name)
    if stored is not None:
        return stored
    whole = {mine: precision for precision, mine in PRECISIONS.items()}.get(name)
    precision = None if whole is None else facts.raw(whole)
    return None if precision is None else precision - prior_precision(facts)


def _precision(facts: Facts, curvature: str) -> Array | None:
    found = _curvature(facts, curvature)
    return None if found is None else found + prior_precision(facts)


def sides(quantity: Quantity) -> list[Theory]:
    """Roots with the Cholesky factor on the wrong side, transposed or not inverted; L Lᵀ = P, K Kᵀ = P⁻¹."""
    rows = (
        ("transposed_cholesky", "C = L⁻¹, the inverse of the Cholesky factor of P untransposed",
         "solve with Lᵀ: C = L⁻ᵀ", lambda L, K: linalg.solve_lower(L, np.eye(len(L)))),
        ("transposed_cholesky_of_covariance", "C = Kᵀ, the Cholesky factor of P⁻¹ transposed", "use K (or normals @ K.T)",
         lambda L, K: K.T),
        ("cholesky_of_precision", "C Cᵀ = P: the root of the precision, not of the covariance", "invert: C = L⁻ᵀ",
         lambda L, K: L),
        ("transposed_cholesky_of_precision", "C = Lᵀ, the transposed Cholesky factor of the precision", "invert: C = L⁻ᵀ",
         lambda L, K: L.T),
        ("covariance_for_root", "C = P⁻¹: the covariance itself, not its root", "take a root", lambda L, K: K @ K.T),
        ("precision_for_root", "C = P: the precision itself, not a root of its inverse", "take a root of P⁻¹",
         lambda L, K: L @ L.T),
        ("marginal_root", "C holds only the marginal standard deviations", "use the full covariance",
         lambda L, K: np.diag(np.sqrt((K * K).sum(1)))),
        ("diagonal_root", "C = diag(P)^(−1/2): the precision's diagonal alone", "use the full matrix",
         lambda L, K: np.diag(1 / np.sqrt((L * L).sum(1)))),
    )
    return [Theory(key, "side", 2, sentence, advice, _root_basis(root), ("laplace.precision", "laplace.covariance"))
            for key, sentence, advice, root in rows]


def _root_basis(root: Callable[[Array, Array], Array]) -> MakeBasis:
    def basis(facts: Facts, quantity: Quantity) -> Basis | None:
        L, K = facts.cholesky("laplace.precision"), facts.cholesky("laplace.covariance")
        if L is None or K is None:
            return None
        C = root(L, K)
        return (C @ C.T,)
    return basis


def hessian_parts(quantity: Quantity) -> list[Theory]:
    """αG + βR with R = H − G: the part of the loss's curvature and the part of the network's, scaled apart."""
    ggn = quantity.name.replace("hessian", "ggn")

    def rest(facts: Facts) -> Array | None:
        whole, part = facts.value(quantity.name), facts.value(ggn)
        return None if whole is None or part is None else whole - part
    special = {("0", "1"): ("residual_part", "You return H − G, the Hessian without the GGN", "add the GGN")}
    return [Theory("parts", "parts", 1, "The GGN part G and the residual part R = H − G of the Hessian are scaled apart",
                   "H = G + R", pair(lambda facts: facts.value(ggn), rest), (quantity.name, ggn), terms=("G", "R"),
                   special=special, first_alone=False)]


def empirical(quantity: Quantity) -> list[Theory]:
    """Σ g gᵀ − β (Σ g)(Σ g)ᵀ: centred, or the outer product of the sum."""
    def total(facts: Facts) -> Array | None:
        gradient = facts.value("gradient")
        return None if gradient is None else np.outer(gradient, gradient)
    special = {("0", "1"): ("outer_of_sum", "You return the outer product of the summed gradient", "sum over data last"),
               ("1", "-1/N"): ("centred", "The per-datum gradients are centred", "do not subtract their mean")}
    return [Theory("centred", "centred", 1, "A multiple of the outer product of the summed gradient is there",
                   "sum g gᵀ per datum", pair(lambda facts: facts.value(quantity.name), total), (quantity.name, "gradient"),
                   terms=("the value", "(Σg)(Σg)ᵀ"), special=special)]
