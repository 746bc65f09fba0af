"""An estimate of log p(y), and when there is none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from refbnn.diagnostics import pareto_k, weight_ess
from refbnn.shapes import Weights

SMALLEST = 25.0  # effective weights: below, the standard error has itself an error of a sixth or more
MOST_OF_RULE = 5.0  # errors of the draws that a rule of integration may leave out: above, the total is no standard error
LARGEST_K = 0.7  # above, the variance of an average is not seen in any practicable number of weights (Vehtari et al. 2024)


@dataclass(frozen=True)
class Estimate:
    """log p(y) in nats with its standard error.

    `effective_size` of the draws or weights that it rests on; `pareto_k` of the weights, ½ or more where their variance is
    infinite, and −∞ where there are none. `rule_error` is the part of the standard error that more draws do not lessen.
    """

    log_evidence: float
    standard_error: float
    effective_size: float
    pareto_k: float = -np.inf
    rule_error: float = 0.0

    def supported(self) -> Estimate:
        """This estimate; raises Refused when fewer than 25 effective draws or weights carry it, when k exceeds 0.7, or when a
        rule of integration may leave out more than five errors of the draws.
        """
        carried = self.effective_size >= SMALLEST and self.pareto_k <= LARGEST_K and np.isfinite(self.standard_error)
        if not (carried and self.rule_error <= MOST_OF_RULE * (self.standard_error - self.rule_error)):
            raise Refused(self)
        return self


class Refused(ValueError):
    """Too few points carry the estimate, or too few rungs its integral. It is still there: `.estimate`."""

    def __init__(self, estimate: Estimate):
        super().__init__(
            f"log evidence: expected at least {SMALLEST:g} effective points, Pareto k up to {LARGEST_K} and a rule's error up to "
            f"{MOST_OF_RULE:g} of the draws', got {estimate.effective_size:.1f}, {estimate.pareto_k:.2f} and "
            f"{estimate.rule_error:.2g} in {estimate.standard_error:.2g} behind {estimate.log_evidence:.3f}"
        )
        self.estimate = estimate


def of_weights(log_weights: Weights) -> Estimate:
    """log (1/t) Σ w from independent log weights (t) whose mean is p(y), Eq. (log-mean-weight).

    Standard error √((t/ESS − 1)/(t − 1)) of the logarithm, to first order. Poor weights are refused by `.supported()` only.
    Raises ValueError for fewer weights than the fit of their tail needs, 25.
    """
    k = pareto_k(log_weights)
    count, size = len(log_weights), float(weight_ess(log_weights))
    error = np.sqrt(max(count / size - 1, 0.0) / (count - 1))
    return Estimate(float(logsumexp(log_weights) - np.log(count)), float(error), size, k)
