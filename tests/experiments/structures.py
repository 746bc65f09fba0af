"""Structures of the curvature: what each does to predictions and to the evidence, in the linear model."""

from __future__ import annotations

import numpy as np

from refbnn import budget, laplace
from refbnn.blocks import layer_blocks
from refbnn.budget import Table, gaussians, laws, links, truth
from refbnn.budget.budgeting import compared
from refbnn.budget.treatments import LINEAR, NETWORK, SUM, Treatment
from refbnn.gaussian import Gaussian
from refbnn.kronecker import ekfac, kfac
from refbnn.posterior import Posterior
from refbnn.precision import Dense, Diagonal
from refbnn.quadrature import Integral
from refbnn.subnetwork import Subnetwork, layer
from tests.experiments.budgets import LABELS_OF
from tests.experiments.catalogue import problem

CASES = [(name, 2, 1.0) for name in ("o-rings", "step-1", "step-2", "step-3")] + [
    (name, 1, 1.0) for name in ("puromycin", "puromycin-untreated", "wave-1", "wave-2")]
LAST = "last layer"


def precisions(posterior: Posterior, theta: np.ndarray, precision: float) -> dict[str, object]:
    """P of every structure; the prior is added exactly."""
    ggn = posterior.loss.at(theta).ggn
    return {
        "full": Dense(posterior.prior.precision.matrix() + ggn.full()),
        "layer blocks": layer_blocks(ggn).plus(precision),
        "KFAC": kfac(ggn).plus(precision),
        "EKFAC": ekfac(ggn).plus(precision),
        "diagonal": Diagonal(posterior.prior.precision.diagonal() + ggn.diagonal()),
    }


def last_layer(posterior: Posterior, theta: np.ndarray) -> tuple[Subnetwork, Gaussian]:
    """Laplace on the output layer, hidden weights known."""
    net = Subnetwork(posterior.net, theta, layer(posterior.net, -1))
    part = Posterior(net, posterior.likelihood, net.conditional(posterior.prior), posterior.loss.X, posterior.loss.y)
    at = theta[net.parameters]
    return net, laplace.at(at, part.prior.precision.matrix() + part.loss.ggn(at))


def one(name: str, width: int, precision: float) -> list[tuple]:
    """Rows of one problem."""
    made, rng = problem(name, precision), np.random.default_rng(1)
    posterior = made.posterior(width)
    mode = gaussians.modes(posterior, rng).best
    linear = gaussians.linearised(posterior, mode.theta)
    link = links.noise(posterior.likelihood.variance) if hasattr(posterior.likelihood, "variance") else links.integrated
    members = {name: laplace.at(mode.theta, P) for name, P in precisions(posterior, mode.theta, precision).items()}
    rows = [Treatment(NETWORK, "exact", SUM, truth.of_network(posterior, rng, 1e-4)),
            *(Treatment(LINEAR, name, SUM, laws.affine(linear.net, q, link)) for name, q in members.items()),
            Treatment(LINEAR, LAST, SUM, laws.affine(*last_layer(posterior, mode.theta), link))]
    places = budget.around(made.X)
    numbers = compared(tuple(rows), places.all, posterior.likelihood)
    evidence = {name: laplace.log_evidence(mode.log_prob, q) for name, q in members.items()}
    less = {name: Integral(value - evidence["full"], 1e-12) for name, value in evidence.items()}
    return [(name, str(width), f"{precision:g}", row.inference,
             *(Integral(measure.value[where].mean(), measure.error[where].mean())
               for measure in (found.kl, found.std_ratio) for where in places.regions.values()),
             less.get(row.inference, "")) for row, found in zip(rows, numbers)]


def structures(note) -> list[Table]:
    """KL and sd ratio to the exact network, log evidence less that of the full matrix."""
    rows = []
    for case in CASES:
        note(f"{case[0]}")
        rows += one(*case)
    columns = ("structure", "KL inside", "KL outside", "sd ratio inside", "sd ratio outside", "log evidence less full")
    return [Table("structures of the curvature", 4, (*LABELS_OF, *columns), tuple(rows))]
