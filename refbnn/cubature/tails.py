"""What a domain that ends may leave out: the prior's mass beyond it times the largest likelihood that any weights could have.

Rules see what lies on their domain. That a smaller domain gives the same says nothing of a mode beyond a valley; a bound does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from refbnn.shapes import as_positive

STEP = 0.5  # standard deviations by which a domain grows until its bound is met


@dataclass(frozen=True)
class PriorTail:
    """Balls in standard deviations of the prior, one for each of `num_units` alike with `dim` weights, Eq. (left-out).

    `peak` is a bound of the log likelihood, whatever the weights; no ball is smaller than `least`.
    """

    num_units: int
    dim: int
    peak: float
    least: float

    def error(self, reach: float, log_z: float) -> float:
        """A bound of what the posterior has beyond `reach`, as an error of the log evidence `log_z`."""
        square = reach**2
        inside = 0.5 * self.dim * math.log(square / self.dim) - 0.5 * (square - self.dim)  # Chernoff: P(χ² > reach²)
        return math.exp(min(math.log(self.num_units) + inside + self.peak - log_z, 700.0))

    def reach(self, log_z: float, error: float) -> float:
        """The first reach with a bound of at most `error` > 0: it is larger where the evidence is poor."""
        error = as_positive("error", error)
        reach = max(self.least, STEP * math.ceil(math.sqrt(2 * self.dim) / STEP))
        while self.error(reach, log_z) > error:
            reach += STEP
        return reach


@dataclass(frozen=True)
class NoBound:
    """A domain that reaches `least`, of a likelihood whose largest value is not known: what is beyond it is not bounded."""

    least: float

    def error(self, reach: float, log_z: float) -> float:
        """Nothing is known, and nothing is added."""
        return 0.0

    def reach(self, log_z: float, error: float) -> float:
        """`least`."""
        return self.least
