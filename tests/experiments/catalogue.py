"""The problems: two real tables of regression, one of labels, and synthetic ones with several seeds."""

from __future__ import annotations

import numpy as np

from refbnn.budget import problems
from refbnn.budget.datasets import DATASETS
from refbnn.budget.problems import Problem

SEEDS = (1, 2, 3)
NOISE = 0.05  # of the variance of the targets


def wave(seed: int) -> dict[str, np.ndarray]:
    """Twelve points of a sine in two clusters, with a gap between them."""
    rng = np.random.default_rng([14, seed])
    x = np.concatenate([rng.uniform(-2.0, -0.9, 6), rng.uniform(0.9, 2.0, 6)])
    return {"x": x, "y": np.sin(1.5 * x) + 0.15 * rng.standard_normal(12)}


def step(seed: int) -> dict[str, np.ndarray]:
    """Sixteen labels that change from mostly 0 to mostly 1."""
    rng = np.random.default_rng([15, seed])
    x = np.sort(rng.uniform(-2, 2, 16))
    return {"x": x, "y": (x + 0.8 * rng.standard_normal(16) > 0).astype(float)}


def problem(name: str, precision: float, activation: str = "tanh") -> Problem:
    """A built-in data set, or a synthetic one such as wave-2 or step-1."""
    if name in DATASETS:
        return problems.of_dataset(DATASETS[name], precision, activation)
    kind, seed = name.split("-")
    columns, likelihood = {"wave": (wave, "normal"), "step": (step, "bernoulli")}[kind]
    return problems.problem(columns(int(seed)), ("x",), "y", likelihood, NOISE, precision, activation)


REGRESSION = ("puromycin", "puromycin-untreated", *(f"wave-{seed}" for seed in SEEDS))
LABELS = ("o-rings", *(f"step-{seed}" for seed in SEEDS))
