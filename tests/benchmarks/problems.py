"""The networks and data of the benchmark. NumPy only: every contestant's interpreter builds the same arrays from the name."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


CHAINS = (1, 4, 64, 256)
NUM_STEPS, STEP_SIZE = 20, 0.01


@dataclass(frozen=True)
class Problem:
    """A tanh network, its data and a point θ: W (out x in, row-major) then b, layer by layer. Normal noise has variance 1."""

    name: str
    sizes: tuple[int, ...]
    num_data: int
    classes: bool = False

    @property
    def num_params(self) -> int:
        """p."""
        return sum(out * (into + 1) for into, out in zip(self.sizes, self.sizes[1:]))

    @property
    def title(self) -> str:
        """Sizes and number of data in words."""
        return f"{'-'.join(map(str, self.sizes))}, N = {self.num_data}, P = {self.num_params}"

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """X (n d), y (n k) or labels (n), θ (p) with weights of variance 1/inputs, and a direction (p)."""
        rng = np.random.default_rng(20261123)
        X = rng.standard_normal((self.num_data, self.sizes[0]))
        if self.classes:
            y = rng.integers(0, self.sizes[-1], self.num_data)
        else:
            y = rng.standard_normal((self.num_data, self.sizes[-1]))
        layers = [np.append(rng.standard_normal(out * into) / into**0.5, 0.3 * rng.standard_normal(out))
                  for into, out in zip(self.sizes, self.sizes[1:])]
        return X, y, np.concatenate(layers), rng.standard_normal(self.num_params)

    def trajectories(self, chains: int) -> tuple[np.ndarray, np.ndarray]:
        """θ and momenta of so many chains, (c p) each, for NUM_STEPS leapfrog steps of size STEP_SIZE from a prior N(0, I)."""
        rng = np.random.default_rng(chains)
        theta = self.arrays()[2] + 0.1 * rng.standard_normal((chains, self.num_params))
        return theta, rng.standard_normal(theta.shape)

    def layers(self, theta):
        """θ (an array of any library) as [(W, b), ...]."""
        result, at = [], 0
        for into, out in zip(self.sizes, self.sizes[1:]):
            W, b = theta[at:at + out * into].reshape(out, into), theta[at + out * into:at + out * (into + 1)]
            at += out * (into + 1)
            result.append((W, b))
        return result


PROBLEMS = {
    problem.name: problem for problem in (
        Problem("F", (1, 3, 1), 20),
        Problem("A", (1, 50, 1), 1000),
        Problem("B", (8, 50, 50, 1), 1000),
        Problem("C", (13, 50, 3), 500, classes=True),
        Problem("D", (64, 32, 10), 1797, classes=True),
        Problem("H", (1, 50, 1), 100),
    )
}

QUANTITIES = {
    "gradient": "gradient of the loss",
    "hessian.hvp": "one Hessian-vector product",
    "jacobian": "Jacobian of the outputs",
    "ggn.full": "full GGN",
    "fisher.full": "exact Fisher",
    "fisher.empirical": "empirical Fisher",
    "hessian.full": "full Hessian",
    "ggn.diag": "diagonal of the GGN",
    **{f"hmc.{chains}": f"{NUM_STEPS} leapfrog steps of {chains} chains" for chains in CHAINS},
    "ggn.kfac": "Kronecker factors of the GGN (KFAC, exact)",
}
