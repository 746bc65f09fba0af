"""The zoo: test problems for every likelihood, activation and architecture, and how hypothesis draws them.

A new likelihood or activation is one row of LIKELIHOODS or ACTIVATIONS; every law then runs on it. A likelihood whose Λ can be
indefinite is a row of OTHERS; laws of derivatives, which need no factor and no posterior, run on EVERY.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from hypothesis import example, given, strategies as st

from refbnn import Gaussian, Loss, Mlp, Posterior, activations, likelihoods, priors

SLOPE = 0.13
DISPERSION, SHAPE, CUTS = 2.6, 1.7, np.array([-1.1, 0.3, 0.9])
SCALE, FREEDOM, NOISE = 0.8, 4.3, np.array([[0.9, 0.4, -0.2], [0.4, 1.3, 0.3], [-0.2, 0.3, 0.7]])
ACTIVATIONS = {**activations.BY_NAME, "leaky_relu": activations.leaky_relu(SLOPE)}
KINKED = ("relu", "leaky_relu")
SMOOTH = tuple(name for name in ACTIVATIONS if name not in KINKED)
HOMOGENEOUS = ("identity", *KINKED)
ODD = ("identity", "tanh", "sin", "erf")

LIKELIHOODS = {
    "normal": (likelihoods.Normal(0.37), lambda rng, n, k: rng.normal(size=(n, k))),
    "bernoulli": (likelihoods.Bernoulli(), lambda rng, n, k: rng.integers(0, 2, (n, k)).astype(float)),
    "categorical": (likelihoods.Categorical(), lambda rng, n, k: rng.integers(0, k, n)),
    "poisson": (likelihoods.Poisson(), lambda rng, n, k: rng.poisson(2.0, (n, k)).astype(float)),
    "probit": (likelihoods.BernoulliProbit(), lambda rng, n, k: rng.integers(0, 2, (n, k)).astype(float)),
    "cloglog": (likelihoods.BernoulliCloglog(), lambda rng, n, k: rng.integers(0, 2, (n, k)).astype(float)),
    "softplus": (likelihoods.PoissonSoftplus(), lambda rng, n, k: rng.poisson(2.0, (n, k)).astype(float)),
    "negative_binomial": (likelihoods.NegativeBinomial(DISPERSION), lambda rng, n, k: rng.poisson(2.0, (n, k)).astype(float)),
    "ordinal": (likelihoods.Ordinal(CUTS), lambda rng, n, k: rng.integers(0, len(CUTS) + 1, (n, k)).astype(float)),
    "gamma": (likelihoods.Gamma(SHAPE), lambda rng, n, k: rng.gamma(2.0, size=(n, k)) + 0.1),
}
# Rows for laws of derivatives alone: Λ is indefinite in places, or the number of outputs is not free.
OTHERS = {
    "student_t": (likelihoods.StudentT(SCALE, FREEDOM), lambda rng, n, k: 2 * rng.normal(size=(n, k))),
    "heteroscedastic": (likelihoods.Heteroscedastic(), lambda rng, n, k: rng.normal(size=(n, k // 2))),
    "precision": (likelihoods.HeteroscedasticPrecision(), lambda rng, n, k: rng.normal(size=(n, k // 2))),
    "normal_full": (likelihoods.NormalFull(NOISE), lambda rng, n, k: rng.normal(size=(n, k))),
    "cholesky": (likelihoods.HeteroscedasticFull(), lambda rng, n, k: rng.normal(size=(n, 1 if k == 2 else 2))),
}
EVERY = (*LIKELIHOODS, *OTHERS)
OUTPUTS = {  # the number of outputs a likelihood can have instead of k
    "categorical": lambda k: max(k, 2), "normal_full": lambda k: len(NOISE), "heteroscedastic": lambda k: k + k % 2,
    "precision": lambda k: k + k % 2, "cholesky": lambda k: 2 if k < 3 else 5,
}
ENUMERABLE = {"normal": 2, "poisson": 2, "softplus": 2, "gamma": 2, "negative_binomial": 1}  # at most so many outputs together
CANONICAL = ("normal", "bernoulli", "categorical", "poisson")  # for the others the GGN is not the Fisher matrix
FACTORISED = tuple(name for name in LIKELIHOODS if name != "categorical")
REAL = ("normal", "gamma", *OTHERS)  # targets that can be moved a little

PRIORS = {
    "isotropic": lambda rng, net: priors.isotropic(net.num_params, 1.3, mean=0.2),
    "per_layer": lambda rng, net: priors.per_layer(net.layer_sizes, rng.uniform(0.5, 2.0, len(net.layer_sizes)), mean=-0.1),
    "per_parameter": lambda rng, net: priors.per_parameter(rng.uniform(0.5, 2, net.num_params), rng.normal(size=net.num_params)),
    "full": lambda rng, net: priors.full(_positive_definite(rng, net.num_params), rng.normal(size=net.num_params)),
}

LARGEST_OUTPUT = 3.0  # larger outputs are scaled down at the last layer, so that exp f stays of moderate size


@dataclass(frozen=True)
class Spec:
    """A test problem in words, and the seed that makes it numbers."""

    sizes: tuple[int, ...]
    activation: str | tuple[str, ...] = "tanh"
    likelihood: str = "normal"
    bias: bool = True
    num_data: int = 7
    prior: str = "full"
    seed: int = 0

    def __post_init__(self):
        allowed = OUTPUTS.get(self.likelihood, int)
        object.__setattr__(self, "sizes", (*self.sizes[:-1], allowed(self.sizes[-1])))

    @property
    def activations(self) -> tuple[str, ...]:
        """The name of the activation of each hidden layer."""
        hidden = len(self.sizes) - 2
        return (self.activation,) * hidden if isinstance(self.activation, str) else self.activation

    def build(self) -> Case:
        """The problem in numbers."""
        rng = np.random.default_rng([self.seed, *self.sizes, self.num_data])
        net = Mlp(self.sizes, tuple(ACTIVATIONS[name] for name in self.activations), bias=self.bias)
        likelihood, targets = (LIKELIHOODS | OTHERS)[self.likelihood]
        X = rng.normal(size=(self.num_data, net.num_inputs))
        theta = _with_moderate_outputs(net, 0.7 * rng.normal(size=net.num_params), X)
        return Case(
            spec=self, net=net, likelihood=likelihood, prior=PRIORS[self.prior](rng, net), X=X,
            y=targets(rng, self.num_data, net.num_outputs), theta=theta,
            X_new=rng.normal(size=(5, net.num_inputs)), vector=rng.normal(size=net.num_params),
            weights=rng.normal(size=(self.num_data, net.num_outputs)),
        )


@dataclass(frozen=True, eq=False)
class Case:
    """A test problem: a network with data, prior, a point θ, a direction `vector` (p) and output weights `weights` (n k)."""

    spec: Spec
    net: Mlp
    likelihood: object
    prior: Gaussian
    X: np.ndarray
    y: np.ndarray
    theta: np.ndarray
    X_new: np.ndarray
    vector: np.ndarray
    weights: np.ndarray

    @cached_property
    def loss(self) -> Loss:
        """The loss of the network on the data."""
        return Loss(self.net, self.likelihood, self.X, self.y)

    @cached_property
    def posterior(self) -> Posterior:
        """The posterior."""
        return Posterior(self.net, self.likelihood, self.prior, self.X, self.y)

    @property
    def terms(self) -> int:
        """Number of parameters plus data, the n of 30·n·u·κ."""
        return self.net.num_params + len(self.X)

    def perturbed(self, size: float, rng: np.random.Generator) -> Case:
        """The same problem with θ, X and real targets moved by a relative ±size."""
        def move(values):
            return values * (1 + size * rng.choice([-1.0, 1.0], values.shape))

        y = move(self.y) if self.spec.likelihood in REAL else self.y
        return replace(self, theta=move(self.theta), X=move(self.X), y=y)


@st.composite
def specs(draw, activation=tuple(ACTIVATIONS), likelihood=tuple(LIKELIHOODS), hidden=(0, 3), bias=(True, False)):
    """Random problems: `hidden` layers of width 1 to 5, 1 to 4 inputs and outputs, 1 to 8 data."""
    depth = draw(st.integers(*hidden))
    widths = draw(st.lists(st.integers(1, 5), min_size=depth, max_size=depth))
    ends = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    return Spec(
        sizes=(ends[0], *widths, ends[1]),
        activation=tuple(draw(st.sampled_from(activation)) for _ in widths),
        likelihood=draw(st.sampled_from(likelihood)),
        bias=draw(st.sampled_from(bias)),
        num_data=draw(st.integers(1, 8)),
        prior=draw(st.sampled_from(tuple(PRIORS))),
        seed=draw(st.integers(0, 2**16)),
    )


def edges(activation=tuple(ACTIVATIONS), likelihood=tuple(LIKELIHOODS), hidden=(0, 3), bias=(True, False)) -> list[Spec]:
    """One datum, one output, width 1, no hidden layer, no bias: where wrong code is right by accident, or wrong."""
    shapes = [((1, 1), 1), ((3, 1), 4), ((2, 3), 1), ((1, 1, 1), 1), ((2, 1, 3), 1), ((3, 4, 1), 5), ((2, 1, 1, 2), 3)]
    shapes = [(sizes, n) for sizes, n in shapes if hidden[0] <= len(sizes) - 2 <= hidden[1]]
    return [
        Spec(sizes, activation[i % len(activation)], likelihood[i % len(likelihood)], bias[i % len(bias)], n, seed=i)
        for i, (sizes, n) in enumerate(shapes)
    ]


def law(**choices) -> Callable:
    """Decorator: the test holds for every drawn `spec`, the edge cases always among them; `choices` as those of `specs`."""
    def decorate(test):
        drawn = given(spec=specs(**choices))(test)
        for edge in edges(**choices):
            drawn = example(spec=edge)(drawn)
        return drawn

    return decorate


def statement(test: Callable) -> Callable:
    """The law inside a test made by `law`: a function of one Spec, to be run on a planted fault."""
    return test.hypothesis.inner_test


def _with_moderate_outputs(net, theta, X):
    largest = np.abs(net.forward(theta, X)).max()
    if largest > LARGEST_OUTPUT:
        theta[-net.layer_sizes[-1]:] *= LARGEST_OUTPUT / largest
    return theta


def _positive_definite(rng, size):
    A = rng.normal(size=(size, size))
    return A @ A.T / size + np.eye(size)
