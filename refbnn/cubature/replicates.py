"""Randomised quasi-Monte Carlo: points of the prior by scrambled Sobol sequences, weighted by the likelihood.

Every scrambling by itself gives an unbiased estimate of the evidence (not of its logarithm), with no Markov chain behind it;
their spread is its standard error. The prior must not be too far from the posterior: where few of the points that were met carry
the weight, effective size and Pareto k say so, and the result is refused. A mode that no point met leaves no trace in any of the
three: compare with many more points, with `units`, or with `evidence.sequential`, whose tempered particles can climb to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from refbnn import quadrature
from refbnn.cubature.answers import Answers, Arrays, Estimate, Given, inverted, refuse_beyond
from refbnn.cubature.deterministic import log_sum
from refbnn.cubature.record import NotConverged
from refbnn.diagnostics.weights import largest_k, pareto_k, weight_ess
from refbnn.quadrature import Integral
from refbnn.shapes import NewInputs, as_positive, expect_methods

CHUNK = 2**12  # points at a time
FEWEST = 400.0  # effective points; below, one point in the tail moves the evidence by more than the error says


@dataclass(frozen=True)
class WeightRecord:
    """How weights are spread: `effective_size` (Σw)²/Σw² of `num_points`, Pareto k of their tail, log Z of each scrambling."""

    num_points: int
    effective_size: float
    pareto_k: float
    log_evidences: tuple[float, ...]

    def __str__(self) -> str:
        each = ", ".join(f"{value:.6g}" for value in self.log_evidences)
        return (f"{self.num_points} points, effective size {self.effective_size:.4g}, Pareto k {self.pareto_k:.2f}\n"
                f"log evidence of each scrambling: {each}")


@dataclass(frozen=True, eq=False)
class Replicates(Answers):
    """Answers from r scramblings of j points: error estimates are one standard error, by leaving one scrambling out at a time."""

    target: object
    points: np.ndarray
    log_weights: np.ndarray
    log_evidence: Integral
    record: WeightRecord
    symmetries: Sequence[Callable] = ()

    def _settle(self, name: str, estimate: Estimate, within: float) -> tuple[Arrays, Arrays]:
        """Over all scramblings, then with each of them left out: ratios of sums, Eq. (jackknife)."""
        value, errors = self._estimate(estimate)
        refuse_beyond(within, name, errors, self.record)
        return value, errors

    def _quantiles(self, X_new: NewInputs, level: float, within: float) -> Arrays:
        """The error is that of the distribution function at the quantile over the density there."""
        y = inverted(lambda given: self._ratio({}, given, None), X_new, level)
        (_, density), (error, _) = self._estimate(lambda mean: mean(lambda at: at.distribution(X_new, y)))
        refuse_beyond(within, "quantiles", (error / density,), self.record)
        return y, error / density

    def _estimate(self, estimate: Estimate) -> tuple[Arrays, Arrays]:
        cache = {}
        found = [estimate(lambda given: self._ratio(cache, given, left_out)) for left_out in (None, *range(len(self.points)))]
        return found[0], tuple(_jackknife(np.stack(values[1:])) for values in zip(*found))

    def _ratio(self, cache: dict, given: Given, left_out: int | None) -> Arrays:
        """Posterior means without one scrambling; sums are kept in `cache`, which belongs to one `given`."""
        if not cache:
            shares = np.exp(self.log_weights - log_sum(self.log_weights))
            cache["sums"] = [np.stack(parts) for parts in zip(*(self._sum(*pair, given) for pair in zip(self.points, shares)))]
            cache["totals"] = shares.sum(1)
        kept = np.arange(len(self.points)) != (-1 if left_out is None else left_out)
        return tuple(part[kept].sum(0) / cache["totals"][kept].sum() for part in cache["sums"])

    def _sum(self, theta: np.ndarray, shares: np.ndarray, given: Given) -> list[np.ndarray]:
        parts = zip(*(self._chunk_sums(*chunk, given) for chunk in _chunks(theta, shares)))
        return [np.sum(part, axis=0) for part in parts]

    def _chunk_sums(self, theta: np.ndarray, shares: np.ndarray, given: Given) -> list[np.ndarray]:
        return [np.tensordot(shares, array, 1) for array in given(self.target.given(theta))]


def _jackknife(left_out: np.ndarray) -> np.ndarray:
    """√((r − 1)/r Σ (v₋ᵣ − v̄)²) over the r values with one scrambling left out."""
    count = len(left_out)
    return np.sqrt((count - 1) / count * ((left_out - left_out.mean(0)) ** 2).sum(0))


def sobol(target: object, num_points: int, num_replicates: int, rng: np.random.Generator, within: float) -> Replicates:
    """`num_replicates` scramblings of 2ᵐ = `num_points` points of the prior, Eq. (importance-evidence).

    `target` is a Collapsed, or AllWeights of a posterior with a Gaussian prior. `within` is the standard error of the log
    evidence that is asked for. Raises NotConverged, with the record, where the standard error is larger or the weights are worth
    less than FEWEST points, or their tail is too heavy (Vehtari et al. 2024). All three speak of what the points met, and of no
    mode that they missed: see the head of this module for what to compare with.
    """
    expect_methods("target", target, "prior", "log_likelihood", "given")
    normals = quadrature.sobol(target.num_params, num_points, num_replicates, rng).points
    points = target.prior.from_normals(normals)
    flat = points.reshape(-1, target.num_params)
    log_weights = np.concatenate([target.log_likelihood(chunk) for chunk, _ in _chunks(flat, flat)]).reshape(points.shape[:2])
    value, error = _log_evidence(log_weights - np.log(num_points))
    record = _record(log_weights)
    if record.effective_size < FEWEST or record.pareto_k > largest_k(record.num_points):
        raise NotConverged(f"sobol: expected weights worth at least {FEWEST:g} points with a Pareto k of at most "
                           f"{largest_k(record.num_points):.2f}; take more points", record)
    if not error <= as_positive("within", within):
        raise NotConverged(f"log evidence: expected a standard error within {within:.3g}, got {error:.3g}", record)
    return Replicates(target, points, log_weights, Integral(value, error), record, [lambda theta: theta])


def _log_evidence(log_terms: np.ndarray) -> tuple[float, float]:
    """log of the mean of the scramblings' estimates, and its standard error: that of the mean over the mean."""
    largest = log_terms.max()
    estimates = np.exp(log_terms - largest).sum(1)
    mean = estimates.mean()
    return float(largest + np.log(mean)), float(estimates.std(ddof=1) / np.sqrt(len(estimates)) / mean)


def _record(log_weights: np.ndarray) -> WeightRecord:
    each = tuple(log_sum(row) - float(np.log(len(row))) for row in log_weights)
    return WeightRecord(log_weights.size, float(weight_ess(log_weights.ravel())), pareto_k(log_weights.ravel()), each)


def _chunks(theta: np.ndarray, other: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for start in range(0, len(theta), CHUNK):
        yield theta[start:start + CHUNK], other[start:start + CHUNK]
