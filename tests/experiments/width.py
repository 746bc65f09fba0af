"""Which width each evidence picks: widths with an exact evidence, and more units with one that has a standard error."""

from __future__ import annotations

import math

import numpy as np

from refbnn import cubature, evidence, laplace, mixture
from refbnn.budget import Table, evidences, gaussians, treatments, widths
from refbnn.quadrature import Integral
from refbnn.samplers import EllipticalSlice
from tests.experiments.budgets import LABELS_OF, stacked
from tests.experiments.catalogue import problem

WIDTHS = (0, 1, 2)
MORE = (3, 4)
CASES = [("puromycin", 1.0), ("wave-1", 1.0), ("wave-2", 1.0), ("wave-1", 3.0)]
RUNGS, PARTICLES, RUNS, UPDATES = 20, 300, 30, 2


def exact_by_particles(posterior, rng: np.random.Generator) -> Integral:
    """Sequential Monte Carlo over the hidden weights, the output layer integrated out: unbiased for Z, with a standard error."""
    target = cubature.collapse(posterior)
    path = evidence.Path(target, target.prior)
    found = evidence.sequential(path, evidence.ladder(RUNGS), lambda beta: EllipticalSlice(), PARTICLES, RUNS, rng, UPDATES)
    return Integral(found.log_evidence, found.standard_error)


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
    exact = (*labels, treatments.EXACT, evidences.ALL, exact_by_particles(posterior, rng))
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
