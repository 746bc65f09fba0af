"""Laplace with the leading eigenpairs of a curvature alone: V diag(λ) Vᵀ + P₀, λ the positive ones of the r eigenvalues of
largest size: of the GGN all r, of a Hessian perhaps fewer.

Route A encloses the projector on the k kept directions. For approximate ones V̂ with M = V̂ᵀGV̂ the error of V̂V̂ᵀ is at most
‖GV̂ − V̂M‖/(σ − σ′) where the eigenvalues of M are above σ and all but k of G's below σ′ (Davis & Kahan 1970); both are proven
by signs of pivots (Sylvester's law of inertia), as is that r eigenvalues are larger in size than all others. Route B sums λ v vᵀ.
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
GGN, HESSIAN = "lowrank.", "hessian.lowrank."


def kept(values: list, rank: int) -> int:
    """How many of the `rank` numbers of largest size are positive."""
    return sum(1 for v in sorted(values, key=lambda v: -abs(float(v)))[:rank] if v > 0)


def enclosed(G: Matrix, rank: int) -> Matrix:
    """Route A: the part of a symmetric matrix on the positive ones of its `rank` eigenpairs of largest size."""
    whole, p = flint.arb_mat(G), len(G)
    values, directions = _approximate(whole)
    k = kept(values, rank)
    _prove_sizes(G, values, rank, k)
    V = _orthonormal(directions[:k])
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


def _approximate(G: Any) -> tuple[list, list[list]]:
    """Eigenvalues, largest first, and directions, as numbers that nothing is claimed of."""
    middle = flint.acb_mat(flint.arb_mat([[v.mid() for v in row] for row in G.tolist()]))
    values, R = middle.eig(right=True, algorithm="approx")
    order = sorted(range(len(values)), key=lambda i: -float(values[i].real))
    return [values[c].real.mid() for c in order], [[R[i, c].real.mid() for i in range(len(values))] for c in order]


def _orthonormal(directions: list[list]) -> Any:
    """By Gram and Schmidt, twice."""
    columns: list[list] = []
    for v in directions:
        for _ in range(2):
            for u in columns:
                share = sum((a * b for a, b in zip(u, v)), flint.arb(0))
                v = [(a - share * b).mid() for a, b in zip(v, u)]
        size = sum((a * a for a in v), flint.arb(0)).sqrt()
        columns.append([(a / size).mid() for a in v])
    return flint.arb_mat(columns).transpose()


def _prove_sizes(G: Matrix, values: list, rank: int, k: int) -> None:
    """`rank` eigenvalues are above t in size, k of them positive, for a t between the sizes of number `rank` and the next."""
    sizes = sorted((abs(v) for v in values), reverse=True)
    t = ((sizes[rank - 1] + sizes[rank]) / 2).mid()
    if _above(G, t) != k or len(G) - _above(G, -t) != rank - k:
        raise ZeroDivisionError("which eigenvalues are largest in size is not proven")


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


def summed(G: Matrix, rank: int) -> Matrix:
    """Route B: Σ λ v vᵀ over the positive ones of the `rank` pairs of largest size."""
    values, V = mpmath.eigsy(mpmath.matrix(G))
    p, k = range(len(G)), kept(list(values), rank)
    leading = range(len(G) - k, len(G))
    return [[sum(values[c] * V[i, c] * V[j, c] for c in leading) for j in p] for i in p]


def separation(G: Matrix, rank: int) -> float:
    """max |λ|/(λ_k − λ_{k+1}) for the k kept ones, by which errors of G are magnified."""
    with Decimal(40).working():
        values = list(mpmath.eigsy(mpmath.matrix([[mpmath.mpf(v) for v in row] for row in G]), eigvals_only=True))
        p, k = len(G), kept(values, rank)
        return float(max(abs(v) for v in values) / (values[p - k] - values[p - k - 1]))


def by_definition(d: Derivation, joint: Any) -> dict[str, list]:
    """Route A: through inverses and determinants of enclosures."""
    matrix, found = d.field.matrix, {}
    for name, curvature in ((GGN, d.ggn), (HESSIAN, d.hessian)):
        P = d.precision(enclosed(curvature, d.q.rank))
        covariance, log_det = matrix(P).inv(), d.field.log(matrix(P).det())
        evidence = joint + d.field.log(d.field.pi() * 2) * len(P) / 2 - log_det / 2
        found |= _named(name, P, covariance.tolist(), d.projected(covariance)) | {
            f"laplace.{name}log_det": [log_det], f"laplace.{name}log_evidence": [evidence]}
    return found


def in_closed_form(a: Answers, ldl: Any, inverse: Any, projected: Any) -> dict[str, list]:
    """Route B: through L D Lᵀ."""
    found = {}
    for name, curvature in ((GGN, a.G), (HESSIAN, a.H)):
        P = [[u + v for u, v in zip(*rows)] for rows in zip(summed(curvature, a.q.rank), a.q.prior_precision)]
        L, D = ldl(P, a.zero)
        spread = [v for _, J in a.new for v in projected(L, D, J, a.zero)]
        found |= _named(name, P, inverse(L, D, a.zero), spread) | a.volume(f"laplace.{name}", D)
    return found


def _named(name: str, P: Matrix, covariance: Matrix, spread: list) -> dict[str, list]:
    """What is not a scalar. Of the Hessian the precision stands for the covariance too."""
    inverse = {f"laplace.{name}covariance": _lower(covariance)} if name == GGN else {}
    return inverse | {f"laplace.{name}precision": _lower(P), f"predictive.{name}variance": spread}


def _lower(M: Matrix) -> list:
    return [v for i, row in enumerate(M) for v in row[:i + 1]]
