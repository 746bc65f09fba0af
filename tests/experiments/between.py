"""Uncertainty between clusters of data: standard deviations of f in the gap over those at the data, by every treatment."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from refbnn import cubature
from refbnn.budget import Table
from refbnn.budget.treatments import Prepared, prepare, treatments
from refbnn.budget.truth import BY_SOBOL, Exact
from refbnn.quadrature import Integral
from tests.experiments.budgets import LABELS_OF
from tests.experiments.catalogue import SEEDS, problem

CASES = [(f"wave-{seed}", 1, activation, 1.0) for activation in ("tanh", "relu") for seed in SEEDS] + [
    (f"wave-{seed}", 2, "tanh", 1.0) for seed in SEEDS]

WITHIN = {("tanh", 1): 1e-6, ("tanh", 2): 1e-4, ("relu", 1): 1e-3}


def prepared(posterior, activation: str, width: int) -> Prepared:
    """Everything; kinks spoil grids, and the exact posterior of ReLU is that of Sobol points, which do not mind."""
    made = prepare(posterior, np.random.default_rng(1), WITHIN[activation, width])
    return replace(made, truth=by_sobol(posterior)) if activation == "relu" else made


def by_sobol(posterior) -> Exact:
    """Half a million points of the prior of the hidden weights."""
    return Exact(cubature.sobol(cubature.collapse(posterior), 2**15, 16, np.random.default_rng(1), 1e-3), (BY_SOBOL,))


def ratio(law, gap: np.ndarray, data: np.ndarray) -> Integral:
    """The standard deviation in the gap over the mean one at the data."""
    found = law.functions(np.concatenate([gap, data]))
    std = np.sqrt(found.value[1])
    relative = np.divide(found.error[1], 2 * found.value[1], out=np.zeros_like(std), where=std > 0)
    if not std.any():
        return Integral(0.0, 0.0)
    value = std[0] / std[1:].mean()
    return Integral(value, value * (relative[0] + relative[1:].max()))


def one(name: str, width: int, activation: str, precision: float) -> list[tuple]:
    """Rows of one problem."""
    made = problem(name, precision, activation)
    gap = np.array([[0.5 * (made.X[made.X < 0].max() + made.X[made.X > 0].min())]])
    return [(name, str(width), f"{precision:g}", activation, *row.labels[:2], ratio(row.law, gap, made.X))
            for row in treatments(prepared(made.posterior(width), activation, width))]


def between(note) -> list[Table]:
    """One row a treatment with an integral over f that is exact; labels say the activation too."""
    rows = []
    for case in CASES:
        note(", ".join(map(str, case)))
        rows += one(*case)
    columns = (*LABELS_OF, "activation", "model", "inference", "sd in the gap over sd at the data")
    return [Table("uncertainty between clusters", 6, columns, tuple(rows))]
