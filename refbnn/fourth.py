"""The fourth derivative of the loss in the one contraction that the next term of an evidence needs: Σ_ij ∇⁴L[v_i, v_i, v_j, v_j].

Through the network it is exact, by jets along lines. Of the likelihood there are three derivatives by hand; ℓ⁗ is the derivative
of the third, by differences in the outputs alone, datum by datum, with an estimate of their error. No step is taken in θ: it
does not matter how near a kink of an activation is.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from refbnn.loss import Loss
from refbnn.networks import jets
from refbnn.shapes import Vector, as_array
from refbnn.third import Directions

FIRST_STEP = 0.25  # of differences, in units of the outputs or of 1/√F where that is less
LEAST_UNIT = 2.0**-30  # of the outputs' size
STEPS = 12  # at most, each half of the one before


def contraction(loss: Loss, theta: Vector, V: Directions) -> tuple[float, float]:
    """Σ_ij ∇⁴L[v_i, v_i, v_j, v_j] for the rows of V (t p), Eq. (fourth-contraction), and the error of its differences.

    The error is an estimate of that of ℓ⁗ alone, zero where ℓ‴ is constant in f; the rest is exact to round-off.
    """
    theta = as_array("theta", theta, "p", p=loss.net.num_params)
    at = loss.net.evaluate(theta, loss.X)
    V = as_array("V", V, "t p", p=at.num_params)
    value, error = _of_likelihood(loss, at.f, at.jvp(V))
    return _of_network(loss, at, V) + value, error


def _of_network(loss: Loss, at: object, V: np.ndarray) -> float:
    """Everything but ℓ⁗: along a line a quartic form Q(w), Eq. (fourth-line), whose contraction is a sum over lines.

    Eq. (fourth-polarisation): 1/6 Σ_{i<j} [Q(v_i + v_j) + Q(v_i − v_j)] + (4 − t)/3 Σ_i Q(v_i), for t rows.
    """
    r, M, T = (getattr(loss.likelihood, name)(at.f, loss.y) for name in ("residual", "curvature", "third"))

    def along(w):
        f1, f2, f3, f4 = at.jet(w)
        return (6 * jets.twice(T, f1) * f2 + jets.times(M, 3 * f2) * f2 + 4 * jets.times(M, f1) * f3 + r * f4).sum()

    pairs = sum(along(np.concatenate([V[i] + V[i + 1:], V[i] - V[i + 1:]])) for i in range(len(V) - 1))
    return float(pairs / 6 + (4 - len(V)) / 3 * along(V))


def _of_likelihood(loss: Loss, f: np.ndarray, tangents: np.ndarray) -> tuple[float, float]:
    """Σ_n ℓ⁗_n[K_n, K_n] for K_n = Σ_i (J_n v_i)(J_n v_i)ᵀ = Σ_b w_b e_b e_bᵀ, and its error, Eq. (likelihood-fourth).

    ℓ⁗[K, K] = Σ_b w_b d/ds T(f + s e_b)[e_b, K]: as many directions as outputs, whatever the number of rows of V.
    """
    K = np.einsum("tna,tnb->nab", tangents, tangents)
    weights, axes = np.linalg.eigh(K)
    e = np.moveaxis(axes, -1, 0)  # (b n k)
    unit = _units(loss.likelihood.fisher(f), e, f)

    def inside(s):
        T = loss.likelihood.third(f + s * unit[..., None] * e, loss.y)
        return np.einsum("bnacd,bna,ncd->bn", T, e, K)

    def difference(h):
        ahead, behind = inside(h), inside(-h)
        scaled, change = np.maximum(weights.T, 0.0) / (2 * h * unit), ahead - behind
        rounded = np.abs(ahead) + np.abs(behind) + np.abs(change) * np.abs(f).max(-1) / (h * unit)  # of T, and of f ± h
        return float((scaled * change).sum()), float(np.finfo(float).eps * (scaled * rounded).sum())

    return derivative(difference)


def _units(F: np.ndarray, e: np.ndarray, f: np.ndarray) -> np.ndarray:
    """On which scale ℓ changes along e (b n k): 1/√(eᵀFe) for the Fisher information F (n k k), at most 1. (b n)"""
    information = np.einsum("bna,nac,bnc->bn", e, F, e)
    return np.maximum(1 / np.sqrt(np.maximum(information, 1.0)), LEAST_UNIT * (1 + np.abs(f).max(-1)))


def derivative(difference: Callable[[float], tuple[float, float]]) -> tuple[float, float]:
    """The limit at 0 of difference(h), even and smooth in h, and an estimate of its error (Ridders 1982).

    A triangle of Richardson extrapolations, a row for every halving of h. The entry with the smallest error is kept: its
    disagreement with its two neighbours of lower order, plus the round-off of its row. Rows that disagree more end the search.
    """
    value, _ = difference(FIRST_STEP)
    row, best, error = [value], np.nan, np.inf
    for k in range(1, STEPS):
        value, round_off = difference(FIRST_STEP / 2**k)
        above, row = row, [value]
        for m in range(1, k + 1):
            row.append(row[-1] + (row[-1] - above[m - 1]) / (4**m - 1))
            own = max(abs(row[m] - row[m - 1]), abs(row[m] - above[m - 1])) + round_off
            if own <= error:
                best, error = row[m], own
        if abs(row[-1] - above[-1]) > 2 * error:
            break
    return float(best), float(error)
