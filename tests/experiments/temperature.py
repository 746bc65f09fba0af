"""Data counted β times: what a cold or warm posterior does to exact predictions, and what it does for approximate ones.

p(y|θ)^β p(θ), labels predicted by p(y|θ) itself; every prediction is compared with the exact one at β = 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refbnn import budget
from refbnn.budget import Table, gaussians, laws, links, truth
from refbnn.budget.budgeting import compared
from refbnn.budget.treatments import EXACT, GGN, LINEAR, NETWORK, SUM, Treatment
from refbnn.posterior import Posterior
from refbnn.quadrature import Integral
from tests.experiments.budgets import LABELS_OF
from tests.experiments.catalogue import LABELS, problem

BETAS = (0.25, 0.5, 1.0, 2.0)  # at 4 the points from a first look no longer find the posterior
CASES = [(name, 1, precision) for name in LABELS for precision in (0.3, 1.0)]
WITHIN = 1e-4


@dataclass(frozen=True, eq=False)
class Heated:
    """A posterior whose data count β times and whose likelihood of new targets is as it was."""

    posterior: Posterior
    beta: float

    def __getattr__(self, name):
        return getattr(self.posterior, name)

    def log_likelihood(self, theta):
        """β log p(y|θ): (*s)."""
        return self.beta * self.posterior.log_likelihood(theta)

    def log_prob(self, theta):
        """β log p(y|θ) + log p(θ): (*s)."""
        return self.log_likelihood(theta) + self.posterior.prior.log_prob(theta)


def treatments(posterior: Posterior, beta: float, rng: np.random.Generator) -> tuple[Treatment, ...]:
    """Exact inference, Laplace with G in the linear model, and the same Gaussian in the network, all at one β."""
    tempered = posterior.tempered(beta)
    theta = gaussians.modes(tempered, rng).best.theta
    q = gaussians.at_mode(tempered, theta, tempered.loss.ggn(theta))
    linear, rule = gaussians.linearised(posterior, theta), gaussians.fresh_points(posterior, rng)
    return (Treatment(NETWORK, EXACT, SUM, truth.of_network(Heated(posterior, beta), rng, WITHIN)),
            Treatment(LINEAR, GGN, SUM, laws.affine(linear.net, q, links.integrated)),
            Treatment(NETWORK, GGN, SUM, laws.Sampled(posterior.net, posterior.likelihood, q, rule)))


def one(name: str, width: int, precision: float) -> list[tuple]:
    """Rows of one problem."""
    made = problem(name, precision)
    posterior, places = made.posterior(width), budget.around(made.X)
    rows = {beta: treatments(posterior, beta, np.random.default_rng(1)) for beta in BETAS}
    true = Treatment(NETWORK, EXACT, SUM, truth.of_network(posterior, np.random.default_rng(2), WITHIN))
    found = []
    for beta, treated in rows.items():
        for row, numbers in zip(treated, compared((true, *treated), places.all, posterior.likelihood)[1:]):
            cells = [Integral(measure.value[where].mean(), measure.error[where].mean())
                     for measure in (numbers.kl, numbers.std_ratio) for where in places.regions.values()]
            found.append((name, str(width), f"{precision:g}", f"{beta:g}", row.model, row.inference, *cells))
    return found


def temperature(note) -> list[Table]:
    """KL from the exact prediction at β = 1, sd of f over the exact one."""
    rows = []
    for case in CASES:
        note(f"{case[0]}, precision {case[2]}")
        rows += one(*case)
    columns = ("data count", "model", "inference", "KL inside", "KL outside", "sd ratio inside", "sd ratio outside")
    return [Table("data counted several times", 6, (*LABELS_OF, *columns), tuple(rows))]
