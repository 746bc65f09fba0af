"""How good predictions were: proper scores (smaller is better), calibration, coverage and probability integral transforms.

Everything is a function of arrays; scores come one a datum, and the average is the caller's. A score is proper when nobody can
gain in expectation by predicting anything but the truth: E_{y~p} S(q, y) − E_{y~p} S(p, y) is a divergence of q from p.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from scipy.special import logsumexp, ndtr

from refbnn import linalg
from refbnn.shapes import as_array, as_count, as_probabilities

PerDatum = Annotated[np.ndarray, "n"]
PerTarget = Annotated[np.ndarray, "n k"]
Probabilities = Annotated[np.ndarray, "n k"]
Labels = Annotated[np.ndarray, "n"]
TargetDraws = Annotated[np.ndarray, "t n k"]
LogProbs = Annotated[np.ndarray, "t n"]
Levels = Annotated[np.ndarray, "q"]
Atoms = Annotated[np.ndarray, "j n"]

# -- proper scores ----------------------------------------------------------------------------------------------------------


def log_score_of_draws(log_probs: LogProbs) -> PerDatum:
    """−log (1/t) Σ_t p(y_n|f_t), Eq. (log-score), from log p(y_n|f_t) (t n): the mixture is averaged before the logarithm."""
    log_probs = as_array("log_probs", log_probs, "t n")
    _some("log_probs", log_probs)
    return np.log(len(log_probs)) - logsumexp(log_probs, axis=0)


def log_score_of_classes(probabilities: Probabilities, y: Labels) -> PerDatum:
    """−log p_y in nats, (n); infinite where the label had probability zero. Raises ValueError unless rows sum to one."""
    p, y = _class_data(probabilities, y)
    with np.errstate(divide="ignore"):  # an impossible label deserves the infinity
        return -np.log(p[np.arange(len(p)), y])


def log_score_of_normal(mean: PerTarget, covariance: Annotated[np.ndarray, "n k k"], y: PerTarget) -> PerDatum:
    """½ eᵀ V⁻¹ e + ½ log |2πV|, e = y − mean, V the covariance *of the targets*, noise included: (n).

    Raises NotPositiveDefinite for a covariance that is not positive definite.
    """
    mean = as_array("mean", mean, "n k")
    n, k = mean.shape
    y, covariance = as_array("y", y, "n k", n=n, k=k), as_array("covariance", covariance, "n k l", n=n, k=k, l=k)
    factors = [linalg.cholesky("covariance", linalg.as_symmetric("covariance", V)) for V in covariance]
    whitened = np.array([linalg.solve_lower(L, e) for L, e in zip(factors, y - mean)]).reshape(n, k)
    log_det = np.array([linalg.log_det_from_cholesky(L) for L in factors])
    return 0.5 * ((whitened**2).sum(-1) + log_det + k * np.log(2 * np.pi))


def brier(probabilities: Probabilities, y: Labels) -> PerDatum:
    """Σ_c (p_c − 1[y = c])², Eq. (brier), between 0 and 2: (n). With two classes it is twice the binary score (p₁ − y)²."""
    p, y = _class_data(probabilities, y)
    return ((p - (y[:, None] == np.arange(p.shape[1]))) ** 2).sum(-1)


def crps_of_normal(mean: PerTarget, variance: PerTarget, y: PerTarget) -> PerTarget:
    """∫ (Φ((x − mean)/s) − 1[y ≤ x])² dx = s [u (2Φ(u) − 1) + 2φ(u) − 1/√π], u = (y − mean)/s, Eq. (crps-normal): (n k).

    In units of y. `variance` = s² is that of the target, noise included (Gneiting and Raftery 2007, section 4.2).
    """
    u, std = _standardised(mean, variance, y)
    return std * (u * (2 * ndtr(u) - 1) + np.sqrt(2 / np.pi) * np.exp(-0.5 * u**2) - 1 / np.sqrt(np.pi))


def crps_of_draws(draws: TargetDraws, y: PerTarget) -> PerTarget:
    """(1/t) Σ_i |x_i − y| − (1/2t²) Σ_ij |x_i − x_j|, Eq. (crps-ensemble): the score of the empirical law of t draws, (n k)."""
    distance, pairs = _crps_parts(draws, y, minimum=1)
    return distance - pairs / len(draws) ** 2


def fair_crps_of_draws(draws: TargetDraws, y: PerTarget) -> PerTarget:
    """As `crps_of_draws` with t(t − 1) for t²: unbiased, from independent draws, for the score of the law they come from.

    (Ferro 2014.) Can be negative. Raises ValueError for fewer than two draws.
    """
    distance, pairs = _crps_parts(draws, y, minimum=2)
    return distance - pairs / (len(draws) * (len(draws) - 1))


# -- calibration of class probabilities -------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Reliability:
    """Forecasts in bins: counts, mean forecast, frequency of the event and variance of (event − forecast) (b each, n_b − 1).

    Empty bins have NaN. The binning is part of the result: `edges` (b + 1), bin i is (edges_i, edges_i+1], the first one closed.
    """

    edges: np.ndarray
    counts: np.ndarray
    forecast: np.ndarray
    frequency: np.ndarray
    variance: np.ndarray

    @property
    def error(self) -> float:
        """Σ_b (n_b/n) |frequency − forecast|, Eq. (calibration-error): the "expected calibration error" (Naeini et al. 2015).

        Biased upwards: perfectly calibrated forecasts score about Σ_b (n_b/n) √(2 variance_b/(π n_b)) > 0; see `noise_floor`.
        """
        used = self.counts > 0
        weights = self.counts[used] / self.counts.sum()
        return float(weights @ np.abs(self.frequency - self.forecast)[used])

    @property
    def noise_floor(self) -> float:
        """What `error` is about on average when the forecasts are calibrated: Σ_b (n_b/n) √(2 p̄_b(1 − p̄_b)/(π n_b))."""
        used = self.counts > 0
        p, n = self.forecast[used], self.counts[used]
        return float((n / n.sum()) @ np.sqrt(2 * p * (1 - p) / (np.pi * n)))

    @property
    def squared_error(self) -> float:
        """Σ_b (n_b/n) [(frequency − forecast)² − variance_b/n_b], Eq. (calibration-unbiased): unbiased given the counts, and so
        sometimes negative.

        Raises ValueError where a bin has a single datum, which says nothing about its own scatter.
        """
        if (self.counts == 1).any():
            raise ValueError("counts: expected at least two data in every bin that has any, got a single one; use fewer bins")
        used = self.counts > 0
        gap = (self.frequency - self.forecast)[used]
        weights = self.counts[used] / self.counts.sum()
        return float(weights @ (gap**2 - self.variance[used] / self.counts[used]))


def reliability(forecast: PerDatum, event: PerDatum, edges: np.ndarray) -> Reliability:
    """Forecast probabilities (n) of events (n, zeros and ones) in bins with the given edges, which must cover [0, 1].

    For classes: the largest probability and whether it was right (`confidence`), or one class against the rest.
    """
    forecast = as_array("forecast", forecast, "n")
    event = as_array("event", event, "n", n=len(forecast))
    _some("forecast", forecast)
    if (forecast < 0).any() or (forecast > 1).any() or not np.isin(event, (0, 1)).all():
        raise ValueError("forecast, event: expected probabilities in [0, 1] and events 0 or 1, got others")
    edges = _as_edges(edges)
    index = np.maximum(np.searchsorted(edges, forecast, side="left") - 1, 0)
    counts = np.bincount(index, minlength=len(edges) - 1).astype(float)
    gap = event - forecast

    def mean(values):
        return np.divide(np.bincount(index, values, len(counts)), counts, out=np.full(len(counts), np.nan), where=counts > 0)

    squares = np.bincount(index, (gap - mean(gap)[index]) ** 2, len(counts))
    variance = np.divide(squares, counts - 1, out=np.full(len(counts), np.nan), where=counts > 1)
    return Reliability(edges, counts, mean(forecast), mean(event), variance)


def equal_width(num_bins: int) -> np.ndarray:
    """Edges of bins of equal width: (num_bins + 1)."""
    return np.linspace(0, 1, as_count("num_bins", num_bins) + 1)


def equal_mass(forecast: PerDatum, num_bins: int) -> np.ndarray:
    """Edges at quantiles of the forecasts, so that bins hold about equally many: at most num_bins + 1, fewer for ties."""
    forecast = as_array("forecast", forecast, "n")
    _some("forecast", forecast)
    inner = np.quantile(forecast, np.linspace(0, 1, as_count("num_bins", num_bins) + 1)[1:-1])
    return np.unique(np.concatenate([[0.0], inner, [1.0]]))


def confidence(probabilities: Probabilities, y: Labels) -> tuple[PerDatum, PerDatum]:
    """The largest probability of every row, and 1 where its class was right: (n) each; ties go to the first class."""
    p, y = _class_data(probabilities, y)
    return p.max(-1), (p.argmax(-1) == y).astype(float)


# -- probability integral transform and coverage ----------------------------------------------------------------------------


def pit_of_normal(mean: PerTarget, variance: PerTarget, y: PerTarget) -> PerTarget:
    """Φ((y − mean)/√variance), Eq. (pit): uniform on [0, 1] when the prediction is right. (n k)."""
    return ndtr(_standardised(mean, variance, y)[0])


def pit_of_discrete(below: PerDatum, at: PerDatum, uniforms: PerDatum) -> PerDatum:
    """P(Y < y) + u P(Y = y) for given uniforms u, Eq. (pit-randomised): uniform for a right prediction, atoms or not. (n).

    `below` and `at` are those two probabilities, e.g. from `tail`. Raises ValueError unless all are probabilities.
    """
    below = as_array("below", below, "n")
    at, uniforms = as_array("at", at, "n", n=len(below)), as_array("uniforms", uniforms, "n", n=len(below))
    if any((v < 0).any() for v in (below, at, uniforms)) or (below + at > 1 + 1e-9).any() or (uniforms > 1).any():
        raise ValueError("below, at, uniforms: expected probabilities, below + at at most 1, and uniforms in [0, 1], got others")
    return below + uniforms * at


def tail(points: Atoms, weights: Atoms, y: PerDatum) -> tuple[PerDatum, PerDatum]:
    """(P(Y < y), P(Y = y)) of discrete predictions with points and weights (j n), as from `likelihood.outcomes`: (n) each."""
    points = as_array("points", points, "j n")
    j, n = points.shape
    weights, y = as_array("weights", weights, "j n", j=j, n=n), as_array("y", y, "n", n=n)
    return (weights * (points < y)).sum(0), (weights * (points == y)).sum(0)


def pit_of_draws(draws: TargetDraws, y: PerTarget, uniforms: PerTarget) -> PerTarget:
    """(#{x_i < y} + u (1 + #{x_i = y}))/(t + 1), Eq. (pit-draws): exactly uniform when y and the t draws have one law. (n k)."""
    draws, y = _draw_data(draws, y, minimum=1)
    uniforms = as_array("uniforms", uniforms, "n k", n=y.shape[0], k=y.shape[1])
    return ((draws < y).sum(0) + uniforms * (1 + (draws == y).sum(0))) / (len(draws) + 1)


def coverage(pit: np.ndarray, levels: Levels) -> tuple[Levels, Levels]:
    """The fraction of PIT values in the central interval of each level (q), Eq. (coverage), and its standard error if calibrated.

    The central interval of level l is [(1 − l)/2, (1 + l)/2]; the standard error is √(l(1 − l)/n).
    """
    pit, levels = np.ravel(as_array("pit", pit, "*s n")), as_array("levels", levels, "q")
    _some("pit", pit)
    if (np.abs(pit - 0.5) > 0.5).any() or (levels < 0).any() or (levels > 1).any():
        raise ValueError("pit, levels: expected numbers in [0, 1], got others")
    inside = (np.abs(pit - 0.5) <= 0.5 * levels[:, None]).mean(-1)
    return inside, np.sqrt(levels * (1 - levels) / len(pit))


# -- doors ------------------------------------------------------------------------------------------------------------------


def _some(name: str, values: np.ndarray) -> None:
    if values.size == 0:
        raise ValueError(f"{name}: expected at least one entry, got shape {values.shape}")


def _class_data(probabilities, y) -> tuple[np.ndarray, np.ndarray]:
    p = as_probabilities("probabilities", probabilities, "n k")
    labels = as_array("y", y, "n", n=len(p))
    if (labels != np.floor(labels)).any() or (labels < 0).any() or (labels >= p.shape[1]).any():
        raise ValueError(f"y: expected labels 0 to {p.shape[1] - 1}, got others")
    return p, labels.astype(np.intp)


def _standardised(mean, variance, y) -> tuple[np.ndarray, np.ndarray]:
    """((y − mean)/s, s), s² = variance > 0."""
    mean = as_array("mean", mean, "n k")
    variance, y = (as_array(name, v, "n k", n=mean.shape[0], k=mean.shape[1]) for name, v in (("variance", variance), ("y", y)))
    if not (variance > 0).all():
        raise ValueError(f"variance: expected positive numbers, got a smallest one of {variance.min():g}")
    std = np.sqrt(variance)
    return (y - mean) / std, std


def _draw_data(draws, y, minimum: int) -> tuple[np.ndarray, np.ndarray]:
    draws = as_array("draws", draws, "t n k")
    if len(draws) < minimum:
        raise ValueError(f"draws: expected at least {minimum}, got {len(draws)}")
    return draws, as_array("y", y, "n k", n=draws.shape[1], k=draws.shape[2])


def _crps_parts(draws, y, minimum: int) -> tuple[np.ndarray, np.ndarray]:
    """(1/t) Σ_i |x_i − y| and ½ Σ_ij |x_i − x_j|, the latter as Σ_i (2i − t − 1) x_(i) over the sorted draws."""
    draws, y = _draw_data(draws, y, minimum)
    t = len(draws)
    rank = np.arange(1 - t, t, 2.0)[:, None, None]
    return np.abs(draws - y).mean(0), (rank * np.sort(draws, axis=0)).sum(0)


def _as_edges(edges: np.ndarray) -> np.ndarray:
    edges = as_array("edges", edges, "b")
    if len(edges) < 2 or edges[0] != 0 or edges[-1] != 1 or (np.diff(edges) <= 0).any():
        raise ValueError(f"edges: expected increasing numbers from 0 to 1, got {edges}")
    return edges
