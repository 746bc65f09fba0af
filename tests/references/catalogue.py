"""The reference posteriors: networks, data in 256ths, likelihoods and isotropic priors."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

STEPS = 256  # inputs and real targets are k/256, exact in float32 and float64


@dataclass(frozen=True)
class Case:
    """A posterior. `likelihood` is (name, parameters); for "inverse-gamma" the prior of the output layer is in units of σ²."""

    id: str
    title: str
    sizes: tuple[int, ...]
    likelihood: tuple[str, dict]
    num_data: int
    precision: float = 1.0
    activation: str = "tanh"
    bias: bool = True
    within: float = 1e-10
    seed: int = 1
    X: np.ndarray = field(init=False)
    y: np.ndarray = field(init=False)
    X_new: np.ndarray = field(init=False)

    def __post_init__(self):
        rng = np.random.default_rng(self.seed)
        d, k, n = self.sizes[0], self.sizes[-1], self.num_data
        X = _rounded(np.concatenate([np.linspace(-2, 2, n)[:, None], rng.uniform(-1.5, 1.5, (n, d - 1))], axis=1))
        f = np.stack([np.sin((1.5 + 0.4 * j) * X.sum(1) + 0.3 * j) for j in range(k)], axis=1)
        noise = rng.standard_normal(f.shape)
        targets = {
            "bernoulli": lambda: (f + 0.5 * noise > 0).astype(float),
            "poisson": lambda: np.floor(np.exp(0.8 * f + 0.3 * noise) + 0.5),
        }
        y = targets.get(self.likelihood[0], lambda: _rounded(f + 0.3 * noise))()
        object.__setattr__(self, "X", X)
        object.__setattr__(self, "y", y)
        X_new = np.stack([np.linspace(-1.3, 2.6, 3) / (1 + 0.5 * j) for j in range(d)], axis=1)
        object.__setattr__(self, "X_new", _rounded(X_new))


def _rounded(values: np.ndarray) -> np.ndarray:
    return np.round(values * STEPS) / STEPS


def normal(variance):
    return "normal", {"variance": variance}


CASES = (
    Case("q-1-1-1-tanh", "One tanh unit, noise of variance 1/4", (1, 1, 1), normal(0.25), 11),
    Case("q-1-1-1-tanh-little-noise", "One tanh unit, noise of variance 1/64", (1, 1, 1), normal(1 / 64), 11, seed=2),
    Case("q-1-1-1-erf", "One erf unit, a prior that shrinks", (1, 1, 1), normal(0.25), 7, precision=2.0, activation="erf",
         seed=3),
    Case("q-2-1-1-tanh", "Two inputs, one tanh unit", (2, 1, 1), normal(0.25), 11, seed=4),
    Case("q-1-1-2-tanh", "Two outputs that share one tanh unit", (1, 1, 2), normal(0.25), 7, seed=5),
    Case("q-1-2-1-tanh", "Two tanh units, 20 data, noise of variance 1/4", (1, 2, 1), normal(0.25), 20, seed=6),
    Case("q-1-2-1-tanh-much-noise", "Two tanh units, 11 data, noise of variance 1: what every kernel is held against", (1, 2, 1),
         normal(1.0), 11, seed=6),
    Case("q-1-1-1-noise-prior", "One tanh unit, noise with an inverse-gamma prior", (1, 1, 1),
         ("inverse-gamma", {"shape": 2.0, "scale": 0.5}), 11, seed=9),
    Case("q-1-2-1-noise-prior", "Two tanh units, noise with an inverse-gamma prior", (1, 2, 1),
         ("inverse-gamma", {"shape": 2.0, "scale": 0.5}), 11, seed=10),
    Case("q-1-1-1-bernoulli", "One tanh unit, labels", (1, 1, 1), ("bernoulli", {}), 7, precision=2.0, within=1e-9, seed=11),
    Case("q-1-1-1-poisson", "One tanh unit, counts", (1, 1, 1), ("poisson", {}), 7, precision=2.0, within=1e-9, seed=12),
    Case("q-1-1-1-student-t", "One tanh unit, noise with heavy tails", (1, 1, 1),
         ("student_t", {"scale": 0.5, "degrees_of_freedom": 4.0}), 7, precision=2.0, within=1e-9, seed=13),
    Case("q-2-1-1-bernoulli-no-bias", "Two inputs, one tanh unit, no biases, labels", (2, 1, 1), ("bernoulli", {}), 11,
         bias=False, within=1e-9, seed=14),
    Case("q-1-2-1-bernoulli-no-bias", "Two tanh units, no biases, labels", (1, 2, 1), ("bernoulli", {}), 11, bias=False,
         within=1e-9, seed=15),
)
