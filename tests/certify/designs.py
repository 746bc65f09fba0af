"""The synthetic cases: one entry a case. What a field leaves open is drawn from a stream named by the case's id."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Callable

from .integers import Integers
from .question import Question, dense_prior

F = Fraction
VARIANCE, PRECISION = F(95, 256), F(83, 64)     # 5·19/2⁸ and 83/2⁶: no product of sizes gives them
NUM_NEW, NUM_DRAWS = 4, 4


@dataclass(frozen=True)
class Design:
    """A case before its numbers are drawn.

    prior: (kind, what is stated), where a callable draws it from (stream, layer sizes). mean: a number, or "array".
    data: None for drawn data, else a function returning (X, y) in fractions. change: the last word on the question.
    """

    id: str
    title: str
    sizes: tuple[int, ...]
    activation: str
    likelihood: str
    num_data: int = 11
    family: str = "diagnostic"
    bias: bool = True
    slope: Fraction | None = None
    variance: Fraction | None = None
    prior: tuple[str, Any] = ("isotropic", PRECISION)
    mean: Any = F(0)
    scale: Fraction = F(1)
    counts: tuple[int, int] = (0, 5)
    data: Callable[[], tuple[list, list]] | None = None
    change: Callable[[Question], Question] | None = None
    flags: tuple[str, ...] = ()
    source: str = ""
    revision: int = 1
    layer_sizes: list[int] = field(init=False)

    def __post_init__(self) -> None:
        sizes = [out * (into + self.bias) for into, out in zip(self.sizes, self.sizes[1:])]
        object.__setattr__(self, "layer_sizes", sizes)

    @property
    def num_params(self) -> int:
        return sum(self.layer_sizes)

    def stream(self, name: str) -> Integers:
        return Integers(f"{self.id}/{name}")

    def stated_prior(self) -> Any:
        """What the case file says about the precision: a number, a list, or a matrix."""
        given = self.prior[1]
        return given(self.stream("prior"), self.layer_sizes) if callable(given) else given

    def stated_mean(self) -> Any:
        """A number or a list."""
        return self.stream("mean").vector(self.num_params, F(1, 2)) if self.mean == "array" else self.mean

    def targets(self, name: str) -> list:
        """Drawn from integers alone, within the support of the likelihood."""
        stream, k, n = self.stream(name), self.sizes[-1], self.num_data
        if self.likelihood == "normal":
            return stream.matrix(n, k, F(2))
        if self.likelihood == "categorical":
            return stream.shuffled([i % k for i in range(n)])
        low, high = (0, 1) if self.likelihood == "bernoulli" else self.counts
        return [[stream.between(low, high) for _ in range(k)] for _ in range(n)]

    def question(self) -> Question:
        """Every number of the case."""
        p, d = self.num_params, self.sizes[0]
        X, y = self.data() if self.data else (self.stream("X").matrix(self.num_data, d, F(2)), self.targets("y"))
        mean = self.stated_mean()
        question = Question(
            sizes=self.sizes, activation=self.activation, slope=self.slope, bias=self.bias,
            likelihood=self.likelihood, variance=self.variance,
            prior_mean=mean if isinstance(mean, list) else [mean] * p,
            prior_precision=dense_prior(self.prior[0], self.stated_prior(), self.layer_sizes),
            X=X, y=y, theta=self.stream("theta").vector(p, self.scale),
            X_new=self.stream("X_new").matrix(NUM_NEW, d, F(2)), vector=self.stream("vector").vector(p),
            labels=self.targets("labels"), normals=self.stream("normals").matrix(p + 2, p, F(2)),
            draws=self.stream("draws").matrix(NUM_DRAWS, p, self.scale))
        return self.change(question) if self.change else question


# -- priors -------------------------------------------------------------------------------------------------------

def per_parameter(stream: Integers, layer_sizes: list[int]) -> list[Fraction]:
    """One precision a parameter, between 1/2 and 4."""
    return [stream.positive(F(1, 2), F(4)) for _ in range(sum(layer_sizes))]


def full(stream: Integers, layer_sizes: list[int], ridge: Fraction = F(83, 256)) -> list[list[Fraction]]:
    """A Aᵀ/256 + ridge, with A of small integers: every entry is k/256."""
    p = sum(layer_sizes)
    A = [[stream.between(-7, 7) for _ in range(p)] for _ in range(p)]
    gram = [[sum(a * b for a, b in zip(left, right)) for right in A] for left in A]
    return [[F(gram[i][j], 256) + (ridge if i == j else 0) for j in range(p)] for i in range(p)]


PER_LAYER_2 = ("per_layer", [F(83, 64), F(29, 64)])
PER_LAYER_3 = ("per_layer", [F(83, 64), F(29, 64), F(173, 256)])
PER_PARAMETER = ("per_parameter", per_parameter)
FULL = ("full", full)


DIAGNOSTIC = [
    Design("tanh-normal-2-5-3", "One tanh layer, normal likelihood", (2, 5, 3), "tanh", "normal", variance=VARIANCE),
    Design("tanh-bernoulli-2-5-3", "One tanh layer, three independent binary outputs, prior mean not zero", (2, 5, 3),
           "tanh", "bernoulli", mean=F(-19, 64)),
    Design("tanh-categorical-2-5-3", "One tanh layer, softmax over three classes, one prior precision per layer",
           (2, 5, 3), "tanh", "categorical", prior=PER_LAYER_2),
    Design("tanh-poisson-2-5-3", "One tanh layer, counts, one prior precision per parameter, prior means not zero",
           (2, 5, 3), "tanh", "poisson", prior=PER_PARAMETER, mean="array"),
]
EXACT = [
    Design("relu-normal-2-5-3", "One ReLU layer, normal likelihood: every matrix is rational", (2, 5, 3), "relu",
           "normal", family="exact", variance=VARIANCE),
    Design("leaky-relu-normal-2-3-5-3", "Two leaky ReLU layers of slope 1/8, normal likelihood", (2, 3, 5, 3),
           "leaky_relu", "normal", family="exact", slope=F(1, 8), variance=VARIANCE, prior=PER_LAYER_3),
]
