"""Laplace with the leading eigenpairs of a curvature alone: V diag(λ) Vᵀ + P₀, λ the k largest eigenvalues of the GGN.

Route A encloses the projector on the leading directions. For approximate ones V̂ with M = V̂ᵀGV̂ the error of V̂V̂ᵀ is at most
‖GV̂ − V̂M‖/(σ − σ′) where the eigenvalues of M are above σ and all but k of G's below σ′ (Davis & Kahan 1970); both are proven
by signs of pivots (Sylvester's law of inertia). Route B sums λ v vᵀ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import flint
import mpmath

from .fields import Decimal

if TYPE_CHECKING:
    from .closed import Answers
    from .derive import Derivation

Matrix = list[list[Any]]
PREFIX, VARIANCE = "laplace.lowrank.", "predictive.lowrank.variance"


def enclosed(G: Matrix, k: int) -> Matrix:
    """Route A: the part of a positive semi-definite matrix on its k leading directions."""
    whole, p = flint.arb_mat(G), len(G)
    V, values = _approximate(whole, k)
    middle, half = (values[k - 1] + values[k]) / 2, (values[k - 1] - values[k]) / 4
    low, high = (middle - half).mid(), (middle + half).mid()
    M = V.transpose() * whole * V
    if _above(G, low) != k or _above(G, high) != k or _above(M.tolist(), high) != k:
        raise ZeroDivisionError("the gap after the leading eigenvalues is not proven")
    R = whole * V - V * M
    turned = sum((v.abs_upper() ** 2 for v in R.entries()), flint.arb(0)).sqrt() / (high - low)
    P = V * (V.transpose() * V).inv() * V.transpose()
    ball = flint.arb(0, turned.abs_upper())
    P = flint.arb_mat(p, p, [v + ball for v in P.entries()])
    found = (P * whole * P).tolist()
    return [[found[max(i, j)][min(i, j)] for j in range(p)] for i in range(p)]


def _approximate(G: Any, k: int) -> tuple[Any, list]:
    """k orthonormal directions by Gram and Schmidt, and all eigenvalues, as numbers that nothing is claimed of."""
    middle = flint.acb_mat(flint.arb_mat([[v.mid() for v in row] for row in G.tolist()]))
    values, R = middle.eig(right=True, algorithm="approx")
    order = sorted(range(len(values)), key=lambda i: -float(values[i].real))
    columns: list[list] = []
    for c in order[:k]:
        v = [R[i, c].real.mid() for i in range(len(values))]
        for _ in range(2):
            for u in columns:
                share = sum((a * b for a, b in zip(u, v)), flint.arb(0))
                v = [(a - share * b).mid() for a, b in zip(v, u)]
        size = sum((a * a for a in v), flint.arb(0)).sqrt()
        columns.append([(a / size).mid() for a in v])
    return flint.arb_mat(columns).transpose(), [values[c].real.mid() for c in order]


def _above(M: Matrix, shift: Any) -> int:
    """How many eigenvalues of a symmetric matrix are above: the positive pivots of M − shift."""
    rows, count = [[v - shift if i == j else v for j, v in enumerate(row)] for i, row in enumerate(M)], 0
    for j, pivot_row in enumerate(rows):
        pivot = pivot_row[j]
        if not (pivot > 0 or pivot < 0):
            raise ZeroDivisionError("a pivot has no sign yet")
        count += bool(pivot > 0)
        for row in rows[j + 1:]:
            share = row[j] / pivot
            row[j:] = [a - share * b for a, b in zip(row[j:], pivot_row[j:])]
    return count


def summed(G: Matrix, k: int) -> Matrix:
    """Route B: Σ λ v vᵀ."""
    values, V = mpmath.eigsy(mpmath.matrix(G))
    p, leading = range(len(G)), range(len(G) - k, len(G))
    return [[sum(values[c] * V[i, c] * V[j, c] for c in leading) for j in p] for i in p]


def separation(G: Matrix, k: int) -> float:
    """λ₁/(λ_k − λ_{k+1}), by which errors of G are magnified."""
    with Decimal(40).working():
        values = mpmath.eigsy(mpmath.matrix([[mpmath.mpf(v) for v in row] for row in G]), eigvals_only=True)
        return float(values[len(G) - 1] / (values[len(G) - k] - values[len(G) - k - 1]))


def by_definition(d: Derivation, joint: Any) -> dict[str, list]:
    """Route A: through inverses and determinants of enclosures."""
    matrix, P = d.field.matrix, d.precision(enclosed(d.ggn, d.q.rank))
    covariance, log_det = matrix(P).inv(), d.field.log(matrix(P).det())
    evidence = joint + d.field.log(d.field.pi() * 2) * len(P) / 2 - log_det / 2
    return {PREFIX + "precision": _lower(P), PREFIX + "covariance": _lower(covariance.tolist()), PREFIX + "log_det": [log_det],
            PREFIX + "log_evidence": [evidence], VARIANCE: d.projected(covariance)}


def in_closed_form(a: Answers, ldl: Any, inverse: Any, projected: Any) -> dict[str, list]:
    """Route B: through L D Lᵀ."""
    P = [[u + v for u, v in zip(*rows)] for rows in zip(summed(a.G, a.q.rank), a.q.prior_precision)]
    L, D = ldl(P, a.zero)
    spread = [v for _, J in a.new for v in projected(L, D, J, a.zero)]
    return {PREFIX + "precision": _lower(P), PREFIX + "covariance": _lower(inverse(L, D, a.zero)), VARIANCE: spread,
            **a.volume(PREFIX, D)}


def _lower(M: Matrix) -> list:
    return [v for i, row in enumerate(M) for v in row[:i + 1]]
