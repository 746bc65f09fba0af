"""The posteriors: networks, data in 256ths, likelihoods, isotropic priors, and how much is drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from refbnn import Mlp, Posterior, activations, likelihoods, priors
from tests.certify import tables
from tests.references.kernels import Plan

Data = tuple[np.ndarray, np.ndarray, np.ndarray]  # X, y, X_new
STEPS = 256  # inputs and real targets are k/256, exact in float32 and float64
LIKELIHOODS = {"normal": likelihoods.Normal, "bernoulli": likelihoods.Bernoulli, "categorical": likelihoods.Categorical}


@dataclass(frozen=True)
class Problem:
    """A posterior, `likelihood` as (name, parameters); `plans` say how much each kernel draws, `steps` of a trajectory."""

    id: str
    title: str
    sizes: tuple[int, ...]
    activation: str
    likelihood: tuple[str, dict]
    data: Callable[[], Data]
    precision: float = 1.0
    source: str = "made up by a formula and a seed"
    steps: int = 12
    plans: dict[str, Plan] = field(default_factory=dict)

    @property
    def net(self) -> Mlp:
        """The network."""
        return Mlp(self.sizes, activations.BY_NAME[self.activation])

    def posterior(self) -> Posterior:
        """The posterior."""
        name, parameters = self.likelihood
        X, y, _ = self.data()
        return Posterior(self.net, LIKELIHOODS[name](**parameters), priors.isotropic(self.net.num_params, self.precision), X, y)

    def plan(self, kernel: str) -> Plan:
        """Its own plan for a kernel, or the usual one."""
        return self.plans.get(kernel, USUAL[kernel](self.steps))


USUAL = {
    "hmc": lambda steps: Plan(3000, steps=steps, seed=11, acceptance=0.9),
    "nuts": lambda steps: Plan(1600, chains=16, seed=12, acceptance=0.9),
    "smc, elliptical": lambda steps: Plan(6, chains=256, seed=14, steps=steps, runs=64, rungs=12),
}


def waves(num_data: int, num_inputs: int, num_outputs: int, seed: int) -> Callable[[], Data]:
    """sin(1.5 Σ x + 0.3) and its like with noise."""
    def data() -> Data:
        rng = np.random.default_rng(seed)
        others = rng.uniform(-1.5, 1.5, (num_data, num_inputs - 1))
        X = _rounded(np.concatenate([np.linspace(-2, 2, num_data)[:, None], others], axis=1))
        f = np.stack([np.sin((1.5 + 0.4 * j) * X.sum(1) + 0.3 + j) for j in range(num_outputs)], axis=1)
        y = _rounded(f + 0.3 * rng.standard_normal(f.shape))
        return X, y, _rounded(np.stack([np.linspace(-1.3, 2.4, 3) / (1 + 0.5 * j) for j in range(num_inputs)], axis=1))
    return data


def real_data(load: Callable, *arguments) -> Callable[[], Data]:
    """A table of the certified cases, whose entries are exact fractions."""
    def data() -> Data:
        X, y, X_new = load(*arguments)
        return (np.array(X, dtype=float), np.array(y, dtype=float if np.ndim(y) == 2 else int), np.array(X_new[:3], dtype=float))
    return data


def _rounded(values: np.ndarray) -> np.ndarray:
    return np.round(values * STEPS) / STEPS


PROBLEMS = (
    Problem("s-1-4-1-tanh", "Four tanh units, noise of variance 1/2", (1, 4, 1), "tanh", ("normal", {"variance": 0.5}),
            waves(15, 1, 1, 1)),
    Problem("s-2-3-2-tanh", "Two inputs and two outputs that share three tanh units", (2, 3, 2), "tanh",
            ("normal", {"variance": 0.5}), waves(17, 2, 2, 2),
            plans={"smc, elliptical": Plan(8, chains=256, seed=14, steps=12, runs=112, rungs=18)}),
    Problem("s-1-3-3-1-tanh", "Two hidden layers of three tanh units", (1, 3, 3, 1), "tanh", ("normal", {"variance": 0.5}),
            waves(15, 1, 1, 3)),
    Problem("s-iris-4-5-3", "Iris, every seventh flower, five tanh units", (4, 5, 3), "tanh", ("categorical", {}),
            real_data(tables.iris), source=tables.IRIS),
    Problem("s-o-rings-1-4-1", "Damage to O-rings by temperature, four tanh units", (1, 4, 1), "tanh", ("bernoulli", {}),
            real_data(tables.o_rings), source=tables.O_RINGS, plans={"hmc": Plan(6000, steps=16, seed=11, acceptance=0.9)}),
    Problem("s-diabetes-10-4-1", "Diabetes, every 19th patient, four tanh units", (10, 4, 1), "tanh",
            ("normal", {"variance": 0.5}), real_data(tables.diabetes, list(range(10))), source=tables.DIABETES, precision=4.0),
)
