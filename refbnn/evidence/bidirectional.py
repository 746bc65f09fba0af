"""Bidirectional Monte Carlo (Grosse et al. 2015): bounds on log p(y) that no failure to converge can turn round."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refbnn.evidence.estimate import of_weights
from refbnn.posterior import Posterior
from refbnn.shapes import Inputs, Vector, Weights, as_array


@dataclass(frozen=True)
class Bracket:
    """E[lower] <= log p(y) <= E[upper]; kernels that mix badly only widen it. The errors are standard errors of the two."""

    lower: float
    upper: float
    lower_error: float
    upper_error: float

    @property
    def gap(self) -> float:
        """upper − lower: in expectation at least what either of the two has wrong."""
        return self.upper - self.lower

    def sure(self, probability: float) -> tuple[float, float]:
        """Bounds that hold together with at least this probability, whatever the law of the weights: Markov's inequality.

        A mean of weights exceeds its expectation e^b times with probability at most e^{−b}; b = log(2/(1 − probability)).
        """
        if not 0 < as_array("probability", probability, "") < 1:
            raise ValueError(f"probability: expected a number between 0 and 1, got {probability}")
        margin = float(np.log(2 / (1 - probability)))
        return self.lower - margin, self.upper + margin


def bracket(forward: Weights, reverse: np.ndarray) -> Bracket:
    """log mean w from `annealed` and −log mean 1/w from `reverse_annealed`, at least 25 log weights each, Eq. (sandwich)."""
    below = of_weights(as_array("forward", forward, "t"))
    above = of_weights(-as_array("reverse", reverse, "t"))
    return Bracket(below.log_evidence, -above.log_evidence, below.standard_error, above.standard_error)


@dataclass(frozen=True)
class Simulated:
    """A posterior of simulated targets, and the θ (p) that made them: an exact draw from it, for which no chain need converge."""

    posterior: Posterior
    theta: Vector


def simulated(net: object, likelihood: object, prior: object, X: Inputs, rng: np.random.Generator) -> Simulated:
    """θ ~ prior, y ~ p(y|θ): a draw (θ, y) of the joint density, so that θ is one of the posterior of y, Eq. (exact-draw)."""
    theta = prior.sample(rng)
    y = likelihood.sample(net.forward(theta, X), rng)
    return Simulated(Posterior(net, likelihood, prior, X, y), theta)
