"""Replicates of two tests of everything at once, on random architectures. What each returns is uniform on (0, 1) if all is right.

Ranks (simulation-based calibration; Talts et al. 2018, made exact for Markov chains as by Gandy and Scott 2021): θ₀ from the
prior, y from the likelihood at θ₀. Then θ₀ is a draw from p(θ|y), and so is every state of a stationary chain through it. The
chain is run from θ₀ to both sides, by a reversible kernel, so that θ₀ stands at a random place of it: whatever the
autocorrelation, the rank of any function of θ₀ among the states is uniform; ties, as after a rejection, are broken at random.

Geweke (2004): from the same exact start, updates of θ given y alternate with new data y given θ. Both leave p(θ, y) invariant, so
θ has its prior law at the end, and λ‖θ‖² that of χ²; with data drawn anew the chain moves far.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import gammainc, ndtr

from refbnn import Mlp, Posterior, activations, likelihoods, priors
from refbnn.precision import Diagonal
from refbnn.samplers import EllipticalSlice, Hmc, Nuts, Streams

LENGTH, ROUNDS = 9, 8  # states of a chain beside θ₀; alternations of θ and y
ACTIVATIONS = (activations.tanh, activations.sin, activations.softplus, activations.relu, activations.erf)
LIKELIHOODS = (likelihoods.Normal(0.4), likelihoods.Bernoulli(), likelihoods.Categorical(), likelihoods.BernoulliProbit())
KERNELS = {
    "hmc": lambda p: Hmc(0.25, 4, Diagonal(np.linspace(0.5, 1.0, p)), jitter=0.3),
    "nuts": lambda p: Nuts(0.25, Diagonal(np.linspace(0.5, 1.0, p)), max_depth=3),
    "elliptical": lambda p: EllipticalSlice(),
}
STATISTICS = {"ranks": ("λ‖θ‖²", "f(x*)", "log p(y|θ)"), "geweke": ("λ‖θ‖²", "θ_1")}


@dataclass(frozen=True)
class Model:
    """A network, a likelihood, a prior and inputs, drawn at random; what a sampler is given is `posterior(y)`."""

    net: Mlp
    likelihood: object
    precision: float
    X: np.ndarray
    posterior: Callable[[Model, np.ndarray], object]

    @classmethod
    def draw(cls, rng: np.random.Generator, posterior: Callable) -> Model:
        """Up to two hidden layers of up to three units, one to six data."""
        hidden = rng.integers(1, 4, rng.integers(0, 3))
        net = Mlp((int(rng.integers(1, 3)), *map(int, hidden), int(rng.integers(2, 4))),
                  tuple(ACTIVATIONS[i] for i in rng.integers(0, len(ACTIVATIONS), len(hidden))), bias=bool(rng.integers(2)))
        likelihood = LIKELIHOODS[rng.integers(len(LIKELIHOODS))]
        X = rng.normal(size=(int(rng.integers(1, 7)), net.num_inputs))
        return cls(net, likelihood, float(rng.uniform(0.7, 2.0)), X, posterior)

    @property
    def prior(self):
        """N(0, I/precision)."""
        return priors.isotropic(self.net.num_params, self.precision)

    def data(self, theta: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """y ~ p(y|f(X, θ))."""
        return self.likelihood.sample(self.net.forward(theta, self.X), rng)


def right(model: Model, y: np.ndarray) -> Posterior:
    """The posterior that the data come from."""
    return Posterior(model.net, model.likelihood, model.prior, model.X, y)


def ranks(kernel: str, seed: int, posterior: Callable = right) -> np.ndarray:
    """(rank of θ₀ + U)/(number of states), U uniform, for every one of STATISTICS["ranks"]."""
    rng, streams = np.random.default_rng([seed, 0]), Streams.spawn([seed, 1], 1)
    model = Model.draw(rng, posterior)
    theta = model.prior.sample(rng)
    y, x_new = model.data(theta, rng), rng.normal(size=(1, model.net.num_inputs))
    target, update = model.posterior(model, y), KERNELS[kernel](model.net.num_params)
    states, before = [theta], int(rng.integers(LENGTH + 1))
    for number in (before, LENGTH - before):
        state = update.init(target, theta[None])
        for _ in range(number):
            state, _ = update.step(target, state, streams)
            states.append(state.theta[0])
    states = np.array(states)
    values = np.array([(states**2).sum(1), model.net.forward(states, x_new)[:, 0, 0], right(model, y).log_likelihood(states)])
    smaller, equal = (values < values[:, :1]).sum(1), (values == values[:, :1]).sum(1)
    return (smaller + equal * rng.random(len(values))) / (LENGTH + 1)


def geweke(kernel: str, seed: int, posterior: Callable = right) -> np.ndarray:
    """The prior distribution function at θ after all alternations, for every one of STATISTICS["geweke"]."""
    rng, streams = np.random.default_rng([seed, 2]), Streams.spawn([seed, 3], 1)
    model = Model.draw(rng, posterior)
    theta, update = model.prior.sample(rng)[None], KERNELS[kernel](model.net.num_params)
    for _ in range(ROUNDS):
        target = model.posterior(model, model.data(theta[0], rng))
        theta = update.step(target, update.init(target, theta), streams)[0].theta
    square = model.precision * (theta**2).sum()
    return np.array([gammainc(model.net.num_params / 2, square / 2), ndtr(theta[0, 0] * np.sqrt(model.precision))])


TESTS = {"ranks": ranks, "geweke": geweke}


def block(test: str, kernel: str, seeds: range, posterior: Callable = right) -> np.ndarray:
    """The numbers of several replicates: (replicates statistics)."""
    return np.array([TESTS[test](kernel, seed, posterior) for seed in seeds])


def largest_distance(numbers: np.ndarray) -> np.ndarray:
    """sup |F̂ − F| for the uniform F, of every column."""
    ordered, n = np.sort(numbers, axis=0), len(numbers)
    steps = np.arange(n)[:, None] / n
    return np.maximum(np.abs(ordered - steps), np.abs(ordered - steps - 1 / n)).max(0)


def allowed(num_replicates: int, false_alarm: float) -> float:
    """ε with P(sup |F̂ − F| > ε) <= false_alarm (Dvoretzky, Kiefer, Wolfowitz; Massart 1990): √(log(2/false_alarm)/2n)."""
    return float(np.sqrt(np.log(2 / false_alarm) / (2 * num_replicates)))
