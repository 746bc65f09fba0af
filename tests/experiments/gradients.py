"""Slopes of the log evidence in log λ: exact, Laplace with the mode frozen, and through the mode."""

from __future__ import annotations

import numpy as np

from refbnn import hyper
from refbnn.budget import Table, gaussians, truth
from refbnn.quadrature import Integral
from tests.experiments.budgets import LABELS_OF
from tests.experiments.catalogue import problem

CASES = [(name, 1, precision) for name in ("puromycin", "wave-1", "wave-2", "wave-3", "o-rings", "step-1")
         for precision in (0.3, 1.0, 3.0)]


def exact_slope(posterior, exact: truth.Exact, precision: float) -> Integral:
    """p/2 − ½ λ E‖θ‖², Eq. (fisher-identity) for an isotropic prior."""
    within = np.finfo(float).max if len(exact.levels) == 1 else exact.levels[-1]
    found = exact.answers.parameters(within)
    square = (found.value.mean**2).sum() + np.trace(found.value.covariance)
    error = 2 * np.abs(found.value.mean) @ found.error.mean + np.trace(found.error.covariance)
    return Integral(0.5 * (posterior.num_params - precision * square), 0.5 * precision * error)


def one(name: str, width: int, precision: float) -> list[tuple]:
    """Rows of one problem."""
    made, rng = problem(name, precision), np.random.default_rng(1)
    posterior = made.posterior(width)
    exact = exact_slope(posterior, truth.of_network(posterior, rng, 1e-6), precision)
    mode = gaussians.modes(posterior, rng).best
    family = hyper.Family(posterior.net, hyper.Fixed(made.likelihood), hyper.one(posterior.num_params), made.X, made.y)
    rows = [("exact", exact)]
    for curvature, method in (("GGN", hyper.ggn), ("Hessian", hyper.hessian)):
        at = hyper.at(family, method, np.array([np.log(precision)]), mode.theta)
        rows += [(f"{curvature}, mode frozen", Integral(at.direct_gradient[0], 1e-10)),
                 (f"{curvature}, through the mode", Integral(at.total_gradient[0], 1e-8))]
    return [(name, str(width), f"{precision:g}", words, number) for words, number in rows]


def gradients(note) -> list[Table]:
    """d log Z/d log λ."""
    rows = []
    for case in CASES:
        note(f"{case[0]}, precision {case[2]}")
        rows += one(*case)
    return [Table("slope of the log evidence in log precision", 4, (*LABELS_OF, "method", "slope"), tuple(rows))]
