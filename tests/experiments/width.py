"""Which width each evidence picks: widths with an exact evidence, and more units with one that has a standard error."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from refbnn import cubature, laplace, mixture
from refbnn.budget import Table, evidences, gaussians, treatments, widths
from refbnn.gaussian import Gaussian
from refbnn.precision import Dense
from refbnn.quadrature import Integral
from tests.experiments.budgets import LABELS_OF, stacked
from tests.experiments.catalogue import problem

WIDTHS = (0, 1, 2)
MORE = (3, 4)
CASES = [("puromycin", 1.0), ("wave-1", 1.0), ("wave-2", 1.0), ("wave-1", 3.0)]
POINTS, SCRAMBLINGS, WITHIN = 2**17, 16, 0.05
WEIGHT, BIAS = 2.0, 1.3  # times the standard deviations of the prior: where points over the hidden weights come from


@dataclass(frozen=True, eq=False)
class Wider:
    """The hidden weights of a collapsed target, with points from a wider Gaussian than their prior: a target of `cubature.sobol`.

    Good fits of the sines have hidden weights that the prior seldom draws: weights from it have heavy tails, those from here not.
    """

    target: cubature.Collapsed

    @property
    def num_params(self) -> int:
        """p, the number of hidden weights."""
        return self.target.num_params

    @property
    def prior(self) -> Gaussian:
        """Where the points come from: the prior with WEIGHT and BIAS times its standard deviations."""
        prior, units = self.target.prior, self.num_params // 2
        times = np.repeat([WEIGHT, BIAS], units)
        return Gaussian(prior.mean, Dense(prior.precision.matrix() / np.outer(times, times)))

    def log_likelihood(self, theta):
        """log p(y, u) - log proposal(u): (*s)."""
        return self.target.log_prob(theta) - self.prior.log_prob(theta)

    def given(self, theta):
        """The law of the output layer."""
        return self.target.given(theta)


def exact_by_points(posterior, num_points: int, rng: np.random.Generator) -> Integral:
    """Sobol points over the hidden weights, the output layer integrated out: unbiased for Z, with a standard error."""
    return cubature.sobol(Wider(cubature.collapse(posterior)), num_points, SCRAMBLINGS, rng, WITHIN).log_evidence


def by_laplace(posterior, rng: np.random.Generator) -> dict[tuple[str, str], Integral]:
    """(inference, copies) -> log evidence, of the best mode and of all that were found."""
    found, made = gaussians.modes(posterior, rng), {}
    counts = {evidences.ONE: 0.0, evidences.GROUP: math.log(found.order), evidences.COPIES: math.log(found.copies[0])}
    for name, curvature in ((treatments.GGN, posterior.loss.ggn), (treatments.HESSIAN, posterior.loss.hessian)):
        each = [laplace.log_evidence(mode.log_prob, gaussians.at_mode(posterior, mode.theta, curvature(mode.theta)))
                for mode in found.found]
        made |= {(name, factor): Integral(each[0] + count, 1e-9) for factor, count in counts.items()}
        made[name, evidences.ALL] = Integral(mixture.log_evidence(each, found.copies), 1e-9)
    return made


def wider(name: str, precision: float, hidden: int) -> list[tuple]:
    """The rows of one data set and width."""
    posterior = problem(name, precision).posterior(hidden)
    labels, rng = (name, str(hidden), f"{precision:g}"), np.random.default_rng(1)
    exact = (*labels, treatments.EXACT, evidences.ALL, exact_by_points(posterior, POINTS, rng))
    return [exact, *((*labels, *key, value) for key, value in by_laplace(posterior, rng).items())]


def width(note) -> list[Table]:
    """Log evidences by width, and of more units."""
    found, rows = [], []
    for name, precision in CASES:
        note(f"{name}, precision {precision}")
        made = widths.compare(problem(name, precision).posterior, WIDTHS, np.random.default_rng(1), 1e-4)
        found.append(((name, "all", f"{precision:g}"), made))
        for hidden in MORE:
            note(f"{name}, precision {precision}, {hidden} hidden")
            rows += wider(name, precision, hidden)
    columns = (*LABELS_OF, "inference", "copies", "log evidence")
    return [stacked(found), Table("log evidence of more units, nats", 5, columns, tuple(rows))]
