"""What draws say about a posterior in function space, every number with its error, and how such numbers are compared.

Monitored are f and f² at new inputs, log p(y, θ) and (log p(y, θ))², which no symmetry of the weights changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from refbnn import diagnostics

FALSE_ALARM = 1e-6  # of a whole family of comparisons
CHUNK = 2**14  # θ at a time


@dataclass(frozen=True)
class Estimates:
    """Of each monitored quantity (q): its posterior mean and standard deviation, their standard errors, effective size, R-hat.

    `size` is that of the mean; `rhat` is max(rank, folded), NaN where there are no chains.
    """

    mean: np.ndarray
    error: np.ndarray
    sd: np.ndarray
    sd_error: np.ndarray
    size: np.ndarray
    rhat: np.ndarray

    def as_lists(self) -> dict[str, list[float]]:
        """What a file holds; `Estimates.of_lists` is the inverse."""
        return {name: value.tolist() for name, value in vars(self).items() if not np.isnan(value).any()}

    @classmethod
    def of_lists(cls, lists: dict[str, list[float]]) -> Estimates:
        """From a file."""
        missing = np.full(len(lists["mean"]), np.nan)
        return cls(*(np.array(lists.get(name, missing)) for name in cls.__dataclass_fields__))


def names(num_inputs: int, num_outputs: int) -> list[str]:
    """What is monitored, in order."""
    outputs = [f"f_{k + 1}(x_{m + 1})" for m in range(num_inputs) for k in range(num_outputs)]
    return [*outputs, *(f"{name}²" for name in outputs), "log p", "(log p)²"]


def monitored(net: object, X_new: np.ndarray, theta: np.ndarray, log_prob: np.ndarray) -> np.ndarray:
    """Of draws (*s p) with log p(y, θ) (*s): (*s q)."""
    flat = theta.reshape(-1, theta.shape[-1])
    f = np.concatenate([net.forward(flat[i:i + CHUNK], X_new) for i in range(0, len(flat), CHUNK)])
    f = f.reshape(*theta.shape[:-1], -1)
    return np.concatenate([f, f**2, log_prob[..., None], log_prob[..., None] ** 2], axis=-1)


def of_chains(values: np.ndarray) -> Estimates:
    """From chains (c t q), whose autocorrelation and differences count."""
    return Estimates(values.mean((0, 1)), diagnostics.mcse_mean(values), values.std((0, 1), ddof=1), diagnostics.mcse_sd(values),
                     diagnostics.ess_mean(values), diagnostics.rhat(values))


def of_runs(values: np.ndarray, log_evidence: np.ndarray) -> Estimates:
    """From independent runs of SMC (r s q) with their estimates of log p(y) (r).

    E[Ẑ·mean] = Z·E[h|y] exactly on a given ladder, so runs are averaged with weights Ẑ; the error is that of a ratio of means.
    """
    weights = np.exp(log_evidence - log_evidence.max())
    mean, error = _ratio(values.mean(1), weights)
    variance, variance_error = _ratio(((values - mean) ** 2).mean(1), weights)
    sd = np.sqrt(variance)
    return Estimates(mean, error, sd, variance_error / (2 * sd), variance / error**2, np.full(len(mean), np.nan))


def _ratio(means: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Σ w m/Σ w over runs (r q) and its standard error."""
    count, shares = len(weights), weights / weights.sum()
    mean = shares @ means
    return mean, np.sqrt(count / (count - 1) * (shares**2) @ (means - mean) ** 2)


# -- comparisons ------------------------------------------------------------------------------------------------------------


def z_scores(found: Estimates, exact: np.ndarray, exact_error: np.ndarray | float = 0.0) -> np.ndarray:
    """(mean − exact)/error: (q)."""
    return (found.mean - exact) / np.hypot(found.error, exact_error)


def z_between(a: Estimates, b: Estimates) -> np.ndarray:
    """The same between two kernels: (q)."""
    return z_scores(a, b.mean, b.error)


def rejected(z: np.ndarray, false_alarm: float = FALSE_ALARM) -> np.ndarray:
    """Which of a family of z-scores are too large, by Holm's step-down rule (1979): false_alarm bounds any false rejection."""
    p = 2 * ndtr(-np.abs(np.ravel(z)))
    order = np.argsort(p)
    passed = p[order] > false_alarm / np.arange(len(p), 0, -1)
    first = int(np.argmax(passed)) if passed.any() else len(p)  # the first that passes ends it
    found = np.zeros(len(p), dtype=bool)
    found[order[:first]] = True
    return found.reshape(np.shape(z))


def detectable(errors: Sequence[np.ndarray], sds: Sequence[np.ndarray], false_alarm: float = FALSE_ALARM) -> float:
    """The discrepancy, in posterior standard deviations, that is missed with probability `false_alarm` at most.

    Of whichever quantity: Holm's first step, (z_{1 − α/2m} + z_{1 − α}) times the largest error.
    """
    relative = np.concatenate([np.ravel(error) / np.ravel(sd) for error, sd in zip(errors, sds)])
    return float((-ndtri(false_alarm / 2 / relative.size) - ndtri(false_alarm)) * relative.max())
