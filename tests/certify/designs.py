"""The synthetic cases: one entry a case. What a field leaves open is drawn from a stream named by the case's id."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Callable

from .integers import Integers
from .mode import near_mode
from .question import PAIRED, POSITIVE, REAL_TARGETS, Question, dense_prior

F = Fraction
VARIANCE, PRECISION = F(95, 256), F(83, 64)     # 5·19/2⁸ and 83/2⁶: no product of sizes gives them
NUM_NEW, NUM_DRAWS = 4, 4


@dataclass(frozen=True)
class Design:
    """A case before its numbers are drawn.

    prior: (kind, what is stated), where a callable draws it from (stream, layer sizes). mean: a number, or "array".
    data: None for drawn data, else a function returning (X, y, X_new) in fractions. change: the last word on the question.
    spread: the size of real targets.
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
    scale: Fraction = F(1)          # of θ and the draws
    reach: Fraction = F(2)          # of X and X_new
    counts: tuple[int, int] = (0, 5)
    spread: Fraction = F(2)
    data: Callable[[], tuple[list, list, list]] | None = None
    change: Callable[[Question], Question] | None = None
    flags: tuple[str, ...] = ()
    source: str = ""
    revision: int = 1
    parameters: dict[str, Any] = field(default_factory=dict)    # of the likelihood
    structures: bool = False        # block-diagonal, Kronecker-factored and dual forms too
    ekfac: bool = True              # off where a Kronecker factor has a repeated eigenvalue
    posterior: bool = False         # the exact posterior too
    nodes: tuple[int, int] = (96, 144)  # of its two quadratures, in each direction
    optimum: bool = False           # the best Gaussians too
    low_rank: bool = False          # Laplace with the leading eigenpairs alone too
    num_new: int = NUM_NEW          # inputs to predict at
    num_draws: int = NUM_DRAWS
    matrices: bool = True           # off: diagonals and products stand for the full matrices
    layer_sizes: list[int] = field(init=False)

    def __post_init__(self) -> None:
        sizes = [out * (into + self.bias) for into, out in zip(self.sizes, self.sizes[1:])]
        object.__setattr__(self, "layer_sizes", sizes)

    @property
    def num_params(self) -> int:
        return sum(self.layer_sizes)

    @property
    def variational(self) -> bool:
        """Where samples around θ stay in the domain of the likelihood and within what doubles can hold."""
        return self.structures and "saturated" not in self.flags and self.likelihood != "heteroscedastic_natural"

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
        if self.likelihood == "categorical":
            return stream.shuffled([i % k for i in range(n)])
        k = k // 2 if self.likelihood in PAIRED else k
        if self.likelihood in POSITIVE:
            return [[stream.positive(F(1, 8), self.spread) for _ in range(k)] for _ in range(n)]
        if self.likelihood in REAL_TARGETS:
            return stream.matrix(n, k, self.spread)
        low, high = {"bernoulli": (0, 1), "bernoulli_probit": (0, 1), "bernoulli_cloglog": (0, 1),
                     "ordinal": (0, len(self.parameters.get("cut_points", ())))}.get(self.likelihood, self.counts)
        return [[stream.between(low, high) for _ in range(k)] for _ in range(n)]

    def question(self) -> Question:
        """Every number of the case."""
        p, d = self.num_params, self.sizes[0]
        X, y, X_new = self.data() if self.data else (
            self.stream("X").matrix(self.num_data, d, self.reach), self.targets("y"),
            self.stream("X_new").matrix(self.num_new, d, self.reach))
        if len(X) != self.num_data:
            raise ValueError(f"{self.id}: {len(X)} data, {self.num_data} stated")
        mean = self.stated_mean()
        question = Question(
            sizes=self.sizes, activation=self.activation, slope=self.slope, bias=self.bias,
            likelihood=self.likelihood, variance=self.variance,
            prior_mean=mean if isinstance(mean, list) else [mean] * p,
            prior_precision=dense_prior(self.prior[0], self.stated_prior(), self.layer_sizes),
            X=X, y=y, theta=self.stream("theta").vector(p, self.scale),
            X_new=X_new, vector=self.stream("vector").vector(p),
            labels=self.targets("labels"), normals=normals(self.stream("normals"), p),
            draws=self.stream("draws").matrix(self.num_draws, p, self.scale),
            parameters=self.parameters, structures=self.structures, ekfac=self.ekfac, variational=self.variational,
            posterior=self.posterior, nodes=self.nodes, optimum=self.optimum, low_rank=self.low_rank)
        return self.change(question) if self.change else question


def normals(stream: Integers, p: int) -> list[list[Fraction]]:
    """p + 2 rows to be mapped linearly, with one large entry in each of the first p: so the map can be recovered well.

    Plain draws would have a condition number of 10 to 500, which every check of a sampler would then have to allow for.
    """
    rows = stream.matrix(p + 2, p, F(1, 4))
    for row, column in zip(rows, stream.shuffled(list(range(p)))):
        row[column] = stream.positive(F(5, 2), F(3)) * (1 if stream.below(2) else -1)
    return rows


# -- priors -------------------------------------------------------------------------------------------------------

def per_parameter(stream: Integers, layer_sizes: list[int]) -> list[Fraction]:
    """One precision a parameter, between 1/2 and 4."""
    return [stream.positive(F(1, 2), F(4)) for _ in range(sum(layer_sizes))]


def full(stream: Integers, layer_sizes: list[int], ridge: Fraction = F(83, 256), rank: int | None = None) -> list:
    """A Aᵀ/256 + ridge, with A (p × rank, p × p if not given) of small integers: every entry is k/256."""
    p = sum(layer_sizes)
    A = [[stream.between(-7, 7) for _ in range(rank or p)] for _ in range(p)]
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
    Design("sigmoid-normal-2-3-5", "One sigmoid layer, full prior precision, prior means not zero", (2, 3, 5),
           "sigmoid", "normal", num_data=7, variance=F(57, 256), prior=FULL, mean="array"),
    Design("softplus-poisson-2-3-5", "One softplus layer, counts", (2, 3, 5), "softplus", "poisson", num_data=7,
           scale=F(1, 2)),
    Design("sin-normal-2-3-7", "One sine layer, seven outputs, one prior precision per layer", (2, 3, 7), "sin",
           "normal", variance=VARIANCE, prior=PER_LAYER_2),
    Design("silu-categorical-2-3-3-5", "Two SiLU layers, softmax over five classes, one prior precision per layer",
           (2, 3, 3, 5), "silu", "categorical", prior=PER_LAYER_3),
    Design("gelu-bernoulli-2-5-3", "One GELU layer (exact, by erf), binary outputs, full prior precision", (2, 5, 3),
           "gelu", "bernoulli", prior=FULL),
    Design("gelu-tanh-normal-2-5-3", "One GELU layer in its tanh form, one prior precision per parameter", (2, 5, 3),
           "gelu_tanh", "normal", variance=VARIANCE, prior=PER_PARAMETER),
    Design("erf-categorical-2-5-3", "One erf layer, softmax, prior means not zero", (2, 5, 3), "erf", "categorical",
           num_data=13, mean="array"),
    Design("tanh-normal-2-3-5-3", "Two tanh layers, normal likelihood", (2, 3, 5, 3), "tanh", "normal", num_data=7,
           variance=VARIANCE),
    Design("sigmoid-categorical-2-5-3-no-bias", "One sigmoid layer without biases, softmax", (2, 5, 3), "sigmoid",
           "categorical", bias=False),
    Design("sin-poisson-2-3-5-3-no-bias", "Two sine layers without biases, counts", (2, 3, 5, 3), "sin", "poisson",
           bias=False, prior=PER_LAYER_3),
    Design("tanh-normal-2-5-3-near-mode", "One tanh layer near a mode: the Hessian too gives a Laplace approximation",
           (2, 5, 3), "tanh", "normal", variance=VARIANCE, change=near_mode),
    Design("sigmoid-categorical-2-3-5-near-mode", "One sigmoid layer, softmax, near a mode", (2, 3, 5), "sigmoid",
           "categorical", change=near_mode),
    Design("softplus-poisson-2-3-5-near-mode", "One softplus layer, counts, near a mode, prior means not zero",
           (2, 3, 5), "softplus", "poisson", num_data=7, prior=PER_LAYER_2, mean=F(-19, 64), change=near_mode),
    Design("silu-bernoulli-2-3-5-near-mode", "One SiLU layer, binary outputs, near a mode, full prior precision",
           (2, 3, 5), "silu", "bernoulli", prior=FULL, change=near_mode),
]
EXACT = [
    Design("relu-normal-2-5-3", "One ReLU layer, normal likelihood: every matrix is rational", (2, 5, 3), "relu",
           "normal", family="exact", variance=VARIANCE),
    Design("leaky-relu-normal-2-3-2-3", "Two leaky ReLU layers of slope 1/8, normal likelihood", (2, 3, 2, 3),
           "leaky_relu", "normal", family="exact", slope=F(1, 8), variance=VARIANCE, prior=PER_LAYER_3),
    Design("square-normal-2-3-5", "One layer of squares, normal likelihood, full prior precision", (2, 3, 5), "square",
           "normal", num_data=7, family="exact", variance=VARIANCE, prior=FULL, mean="array"),
    Design("square-normal-2-3-2-3", "Two layers of squares: a polynomial of degree four", (2, 3, 2, 3), "square",
           "normal", num_data=7, family="exact", variance=VARIANCE, scale=F(3, 4), reach=F(1)),
    Design("deep-linear-normal-3-2-5-3", "A deep linear network without biases", (3, 2, 5, 3), "identity", "normal",
           family="exact", bias=False, variance=VARIANCE, prior=PER_PARAMETER),
    Design("linear-normal-2-3", "No hidden layer: linear regression, where Laplace is exact", (2, 3), "identity",
           "normal", family="exact", variance=VARIANCE, prior=FULL, mean=F(19, 64)),
    Design("linear-bernoulli-2-3", "No hidden layer: three logistic regressions", (2, 3), "identity", "bernoulli",
           family="exact"),
    Design("linear-categorical-2-5", "No hidden layer: softmax regression", (2, 5), "identity", "categorical",
           family="exact", prior=PER_PARAMETER),
    Design("linear-poisson-2-3", "No hidden layer: three Poisson regressions", (2, 3), "identity", "poisson",
           num_data=7, family="exact", mean="array"),
    Design("relu-categorical-2-5-3", "One ReLU layer, softmax: outputs and Jacobian rational", (2, 5, 3), "relu",
           "categorical", family="exact", prior=PER_LAYER_2),
    Design("leaky-relu-poisson-2-3-5", "One leaky ReLU layer of slope 1/8, counts", (2, 3, 5), "leaky_relu", "poisson",
           num_data=7, family="exact", slope=F(1, 8)),
    Design("square-bernoulli-2-5-3-no-bias", "One layer of squares without biases, binary outputs", (2, 5, 3),
           "square", "bernoulli", family="exact", bias=False, reach=F(1)),
]
