"""From draws to a verdict: mixing, Monte-Carlo errors, z-scores, Holm's procedure over all, and what would have been seen.

R-hat is rank-normalised, split and folded, effective sizes are of the average itself, of ranks and of squares (Vehtari et al.
2021). z is the bias over its Monte-Carlo error with the skewness of the function taken out (Hall 1992), since an average of
squares is far from normal in its tails. MISMATCH is said with a probability of at most ALPHA for a run of right samplers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr, ndtri

from refbnn import diagnostics
from refbnn.conform.compare import Comparison, Unusable, Verdict, as_real_array, digits
from refbnn.conform.conventions import permutation, resolve
from refbnn.conform.draws.functions import Average, averages, count
from refbnn.conform.quantities import Quantity

Array = NDArray[np.float64]

ALPHA = 1e-6  # of a false MISMATCH in a whole run
POWER = 0.99  # with which a discrepancy of the stated size would have been seen
VISIBLE = 0.1  # posterior standard deviations of a function: who could not have seen so much is UNDERPOWERED
LARGEST_RHAT, FEWEST_EFFECTIVE = 1.01, 400.0  # Vehtari et al. (2021)
FEWEST_CHAINS, FEWEST_DRAWS = 4, 100
TOGETHER, APART = 0.5, 8.0  # a correlation between chains that is none of chance, and in its standard errors
SHOWN = 3


@dataclass(frozen=True, eq=False)
class Measured:
    """Draws θ (c d p) in the package's order, the functions that they are judged by, and how well these are known."""

    case: Any
    theta: Array
    averages: tuple[Average, ...]

    @cached_property
    def values(self) -> Array:
        """(c d q)."""
        return np.stack([average.values for average in self.averages], axis=-1)

    @cached_property
    def sd(self) -> Array:
        """Standard deviations of the functions (q)."""
        return self.values.std(axis=(0, 1))

    @cached_property
    def rhat(self) -> Array:
        return np.nan_to_num(diagnostics.rhat(self.values), nan=np.inf)

    @cached_property
    def effective(self) -> Array:
        """Effective sizes of the averages (q); never more than there are draws."""
        return np.minimum(np.nan_to_num(diagnostics.ess_mean(self.values)), self.theta.shape[0] * self.theta.shape[1])

    @cached_property
    def least_effective(self) -> Array:
        """The smallest of the effective sizes of the average, of ranks and of squares (q)."""
        others = diagnostics.ess_bulk(self.values), diagnostics.ess_sd(self.values)
        return np.minimum(self.effective, np.nan_to_num(np.minimum(*others)))

    @cached_property
    def mcse(self) -> Array:
        """Monte-Carlo standard errors of the averages (q)."""
        with np.errstate(divide="ignore"):
            return self.sd / np.sqrt(self.effective)

    @cached_property
    def bias(self) -> Array:
        """Averages less certified means (q)."""
        return self.values.mean(axis=(0, 1)) - [average.expected for average in self.averages]

    @cached_property
    def z(self) -> Array:
        return self.away_from([average.expected for average in self.averages])

    def away_from(self, expected: Sequence[float]) -> Array:
        """z-scores (q) of the averages from other means: Hall's transformation of the studentised bias."""
        away = self.values - self.values.mean(axis=(0, 1))
        with np.errstate(all="ignore"):
            skewness = (away ** 3).mean(axis=(0, 1)) / self.sd ** 3 / np.sqrt(self.effective)
            t = (self.values.mean(axis=(0, 1)) - expected) / self.mcse
            z = t + skewness * (t ** 2 / 3 + 1 / 6) + skewness ** 2 * t ** 3 / 27
        return np.nan_to_num(z, nan=np.inf)

    @cached_property
    def log_p(self) -> Array:
        """Logarithms of two-sided p-values (q)."""
        return np.log(2.0) + log_ndtr(-np.abs(self.z))

    @cached_property
    def together(self) -> str:
        """Which two chains move together, if any do: they share their random numbers."""
        chains = self.values - self.values.mean(axis=1, keepdims=True)
        with np.errstate(invalid="ignore", divide="ignore"):
            chains = np.moveaxis(chains / np.sqrt((chains ** 2).sum(axis=1, keepdims=True)), -1, 0)
        correlation = np.nan_to_num(chains @ chains.swapaxes(1, 2)).min(0)
        np.fill_diagonal(correlation, 0.0)
        per_chain = float(self.effective.min()) / len(self.theta)
        first, second = np.unravel_index(int(correlation.argmax()), correlation.shape)
        if correlation.max() < max(TOGETHER, APART / math.sqrt(max(per_chain, 1e-300))):
            return ""
        return f"chains {first} and {second} move together (correlation {correlation.max():.2f} in every function)"

    @property
    def unsettled(self) -> str:
        """Why nothing can be concluded, or nothing."""
        chains, num_draws = self.theta.shape[:2]
        if chains < FEWEST_CHAINS or num_draws < FEWEST_DRAWS:
            return f"{chains} chains of {num_draws} draws: at least {FEWEST_CHAINS} of {FEWEST_DRAWS} can be judged"
        worst, fewest = int(np.argmax(self.rhat)), int(np.argmin(self.least_effective))
        told = []
        if not self.rhat[worst] <= LARGEST_RHAT:
            told.append(f"R-hat {self.rhat[worst]:.3f} for {self.averages[worst].name}, {LARGEST_RHAT} is asked for")
        if not self.least_effective[fewest] >= FEWEST_EFFECTIVE:
            told.append(f"effective size {self.least_effective[fewest]:.0f} for {self.averages[fewest].name}, "
                        f"{FEWEST_EFFECTIVE:.0f} is asked for")
        return "; ".join(told)

    def visible(self, size: int, level: float) -> Array:
        """Biases, in standard deviations of the functions, that would have been seen with probability POWER (q)."""
        return (ndtri(POWER) - ndtri(0.5 * level / size)) / np.sqrt(self.effective)

    def told(self, which: Sequence[int]) -> str:
        """The averages in words: by how much they are off."""
        with np.errstate(all="ignore"):
            sds = self.bias / self.sd
            errors = self.bias / self.mcse
        return "; ".join(f"{self.averages[q].name} too {'large' if sds[q] > 0 else 'small'} by {abs(sds[q]):.2g} standard "
                         f"deviations, {abs(errors[q]):.1f} Monte-Carlo errors" for q in which)


def measure(case: Any, quantity: Quantity, answer: Any, conventions: Mapping[str, str]) -> Measured:
    """The draws of an answer, in the declared conventions. Unusable where it is no array of finite numbers (chains draws p)."""
    theta = plain(case, quantity, answer, conventions)
    with np.errstate(all="ignore"):
        found = averages(case, theta)
    lost = [average.name for average in found if not np.isfinite(average.values).all()]
    if lost:
        raise Unusable(f"draws lie where {lost[0]} is not finite")
    return Measured(case, theta, tuple(found))


def plain(case: Any, quantity: Quantity, answer: Any, conventions: Mapping[str, str]) -> Array:
    """θ (c d p) in the package's order."""
    settings, p = resolve(quantity, conventions), len(case.problem.theta)
    array = as_real_array(answer)
    if array.ndim != 3 or array.shape[-1] != p or not array.size:
        raise Unusable(f"expected shape ({', '.join(settings['draws.axes'].split('_'))}, {p}), got {array.shape}")
    if not np.isfinite(array).all():
        raise Unusable(f"{int((~np.isfinite(array)).sum())} of {array.size} entries not finite")
    array = array if settings["draws.axes"] == "chains_draws" else array.swapaxes(0, 1)
    if array.shape[1] < diagnostics.chains.FEWEST:
        raise Unusable(f"expected at least {diagnostics.chains.FEWEST} draws of each chain, got {array.shape[1]}")
    theta = np.empty_like(array)
    theta[..., permutation(case.problem, settings["parameters.order"])] = array
    return theta


def conclude(measured: Sequence[Measured], size: int, level: float = ALPHA) -> list[Comparison]:
    """A verdict for each; all of their averages, and others up to `size`, are one family in Holm's procedure."""
    judged = [not (found.together or found.unsettled) for found in measured]
    flat = np.concatenate([found.log_p for found, open_ in zip(measured, judged) if open_] or [np.empty(0)])
    rejected = iter(np.split(_holm(flat, size, level), np.cumsum([len(found.averages) for found, open_ in zip(measured, judged)
                                                                  if open_])[:-1]) if len(flat) else [])
    return [_concluded(found, next(rejected) if open_ else np.zeros(len(found.averages), bool), size, level)
            for found, open_ in zip(measured, judged)]


def _holm(log_p: Array, size: int, level: float) -> NDArray[np.bool_]:
    """Which are rejected: from the smallest p on while p <= level/(size − rank) (Holm 1979)."""
    order = np.argsort(log_p)
    small = log_p[order] <= math.log(level) - np.log(size - np.arange(len(log_p)))
    rejected = np.zeros(len(log_p), bool)
    rejected[order[:int(np.argmin(small)) if not small.all() else len(small)]] = True
    return rejected


def _concluded(found: Measured, rejected: NDArray[np.bool_], size: int, level: float) -> Comparison:
    with np.errstate(all="ignore"):
        error = float(np.nan_to_num(np.abs(found.bias) / found.sd, nan=np.inf).max())
        visible = float(found.visible(size, level).max())
    verdict, message = _verdict(found, rejected, visible)
    right = digits(max(error, visible))
    return Comparison(verdict, right, right, None, error, visible, message)


def _verdict(found: Measured, rejected: NDArray[np.bool_], visible: float) -> tuple[Verdict, str]:
    if found.together:
        return Verdict.MISMATCH, found.together
    if found.unsettled:
        return Verdict.INCONCLUSIVE, found.unsettled
    worst = np.argsort(-np.abs(found.z))
    if rejected.any():
        return Verdict.MISMATCH, found.told([q for q in worst if rejected[q]][:SHOWN])
    seen = f"largest z-score {np.abs(found.z).max():.1f}; {visible:.2g} standard deviations of any function would have been seen"
    if visible > VISIBLE:
        more = math.ceil(10 * (visible / VISIBLE) ** 2) / 10
        return Verdict.UNDERPOWERED, f"{seen}, {VISIBLE:g} is asked for: {more:g} times as many draws"
    return Verdict.PASS, seen


def asked(case: Any) -> str:
    """What draws must be to pass, in words."""
    return (f"averages of {count(case)} functions within their Monte-Carlo errors, by Holm's procedure over all cases at "
            f"{ALPHA:g}; R-hat at most {LARGEST_RHAT}, effective sizes at least {FEWEST_EFFECTIVE:.0f}, and large enough for "
            f"{VISIBLE:g} standard deviations to be seen")


def table(found: Measured) -> list[str]:
    """A line for every function: certified mean, average, Monte-Carlo error, z, R-hat and effective size."""
    head = f"{'function':<28} {'certified':>12} {'of draws':>12} {'error':>9} {'z':>6} {'R-hat':>6} {'ESS':>7}"
    rows = [f"{average.name:<28} {average.expected:>12.6g} {average.expected + bias:>12.6g} {error:>9.2g} {z:>6.1f} "
            f"{rhat:>6.3f} {size:>7.0f}" for average, bias, error, z, rhat, size in zip(
                found.averages, found.bias, found.mcse, found.z, found.rhat, found.least_effective)]
    return [head, *rows]
