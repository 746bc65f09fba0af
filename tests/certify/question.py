"""What a case asks, in exact fractions; and the same question lifted into a field of numbers."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, Callable

RATIONAL_ACTIVATIONS = ("identity", "square", "relu", "leaky_relu")
PAIRED = ("heteroscedastic", "heteroscedastic_natural", "heteroscedastic_precision", "heteroscedastic_student_t",
          "heteroscedastic_gamma", "heteroscedastic_negative_binomial")       # two outputs a target
POSITIVE = ("gamma", "heteroscedastic_gamma")
REAL_TARGETS = ("normal", "normal_full", "student_t", *POSITIVE, *PAIRED[:4])


@dataclass(frozen=True)
class Question:
    """A network at θ, its data, likelihood and prior, and the extra inputs. Lists of numbers, row by row.

    y and labels: integers or, for the likelihoods of REAL_TARGETS, fractions; one list of labels for the categorical.
    parameters: what the likelihood is given beside a variance, by the names that the case file has for them.
    structures: whether block-diagonal, Kronecker-factored and dual forms are asked for; ekfac: whether EKFAC is (it is not
    unique where a Kronecker factor has a repeated eigenvalue); variational: whether bounds at the given normals are;
    posterior: whether the exact posterior is, as an integral or, for linear regression, in closed form; nodes: of the two
    quadratures, in each direction; optimum: whether the best Gaussians are; low_rank: whether Laplace with the leading
    eigenpairs alone is.
    """

    sizes: tuple[int, ...]
    activation: str
    slope: Any
    bias: bool
    likelihood: str
    variance: Any
    prior_mean: list
    prior_precision: list
    X: list
    y: list
    theta: list
    X_new: list
    vector: list
    labels: list
    normals: list
    draws: list
    parameters: dict[str, Any] = field(default_factory=dict)
    structures: bool = False
    ekfac: bool = True
    variational: bool = False
    posterior: bool = False
    nodes: tuple[int, int] = (96, 144)
    optimum: bool = False
    low_rank: bool = False

    @property
    def num_params(self) -> int:
        return sum(self.layer_sizes)

    @property
    def layer_sizes(self) -> list[int]:
        return [out * (into + self.bias) for into, out in zip(self.sizes, self.sizes[1:])]

    @property
    def num_outputs(self) -> int:
        return self.sizes[-1]

    @property
    def num_targets(self) -> int:
        """Entries of y a datum: half as many as outputs where a target has two."""
        return self.num_outputs // 2 if self.likelihood in PAIRED else self.num_outputs

    @property
    def is_rational(self) -> bool:
        """Network outputs are exact rationals."""
        return self.activation in RATIONAL_ACTIVATIONS or len(self.sizes) == 2

    @property
    def is_quadratic(self) -> bool:
        """The loss is a polynomial of degree two in θ: third derivatives vanish."""
        return len(self.sizes) == 2 and self.likelihood in ("normal", "normal_full")

    @property
    def subset(self) -> list[int]:
        """The chosen parameters: where the vector is positive."""
        return [i for i, value in enumerate(self.vector) if value > 0]

    @property
    def rank(self) -> int:
        """How many eigenpairs lead: a third of the parameters, rounded down, and at least one."""
        return max(1, self.num_params // 3)

    @property
    def scale(self) -> list[list]:
        """C = diag|v| + ½ tril(v vᵀ, −1) for the vector v: any lower triangular matrix with a positive diagonal would do."""
        v, zero = self.vector, self.vector[0] - self.vector[0]
        return [[a * v[j] / 2 if j < i else abs(a) if j == i else zero for j in range(len(v))] for i, a in enumerate(v)]

    def mapped(self, change: Callable[[Any], Any]) -> "Question":
        """Every real input changed; integer targets stay as they are."""
        def deep(value):
            return [deep(v) for v in value] if isinstance(value, list) else change(value)

        real = ["prior_mean", "prior_precision", "X", "theta", "X_new", "vector", "normals", "draws"]
        real += ["y", "labels"] if self.likelihood in REAL_TARGETS else []
        real += ["variance"] if self.variance is not None else []
        parameters = {name: deep(value) for name, value in self.parameters.items()}
        return replace(self, parameters=parameters, **{name: deep(getattr(self, name)) for name in real})

    def lifted(self, field: Any) -> "Question":
        """The question in the numbers of a field."""
        slope = None if self.slope is None else field.number(self.slope)
        return replace(self.mapped(field.number), slope=slope)


def dense_prior(kind: str, given: Any, layer_sizes: list[int]) -> list[list[Fraction]]:
    """The prior precision as a matrix, from its kind and what the case file states."""
    p = sum(layer_sizes)
    if kind == "full":
        return given
    diagonal = {"isotropic": lambda: [given] * p,
                "per_layer": lambda: [tau for tau, size in zip(given, layer_sizes) for _ in range(size)],
                "per_parameter": lambda: given}[kind]()
    return [[diagonal[i] if i == j else Fraction(0) for j in range(p)] for i in range(p)]
