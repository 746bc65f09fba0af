"""An estimate of log p(y), and when there is none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from refbnn.diagnostics import pareto_k, weight_ess
from refbnn.shapes import Weights, as_array

SMALLEST = 25.0  # effective weights: below, the standard error has itself an error of a sixth or more
LARGEST_K = 0.7  # above, the variance of an average is not seen in any practicable number of weights (Vehtari et al. 2024)


@dataclass(frozen=True)
class Estimate:
    """log p(y) in nats with its standard error.

    `effective_size` of the draws or weights that it rests on; `pareto_k` of the weights, ½ or more where their variance is
    infinite, and −∞ where there are none.
    """

    log_evidence: float
    standard_error: float
    effective_size: float
    pareto_k: float = -np.inf

    def supported(self) -> Estimate:
        """This estimate; raises Refused when fewer than 25 effective draws or weights carry it or when k exceeds 0.7."""
        if not (self.effective_size >= SMALLEST and self.pareto_k <= LARGEST_K and np.isfinite(self.standard_error)):
            raise Refused(self)
        return self


class Refused(ValueError):
    """Too few points carry the estimate, which is still there: `.estimate`."""

    def __init__(self, estimate: Estimate):
        super().__init__(
            f"log evidence: expected at least {SMALLEST:g} effective points and Pareto k up to {LARGEST_K}, got "
            f"{estimate.effective_size:.1f} and {estimate.pareto_k:.2f} behind {estimate.log_evidence:.3f}"
        )
        self.estimate = estimate


def of_weights(log_weights: Weights) -> Estimate:
    """log (1/t) Σ w from independent log weights (t) whose mean is p(y), Eq. (log-mean-weight).

    Standard error √((t/ESS − 1)/(t − 1)) of the logarithm, to first order. Nothing is refused here: `.supported()` does.
    """
    log_weights = as_array("log_weights", log_weights, "t")
    count, size = len(log_weights), float(weight_ess(log_weights))
    error = np.sqrt(max(count / size - 1, 0.0) / (count - 1)) if count > 1 else np.nan
    return Estimate(float(logsumexp(log_weights) - np.log(count)), float(error), size, pareto_k(log_weights))
