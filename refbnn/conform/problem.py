"""What an adapter is asked about: network, likelihood, prior, data and the point θ, as read-only arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType

import numpy as np

# Every likelihood, and the names of what it is given beside f and y (see refbnn.likelihoods); Normal's variance is a field.
PARAMETERS: dict[str, tuple[str, ...]] = {
    "normal": (), "bernoulli": (), "categorical": (), "poisson": (),
    "normal_full": ("noise",), "heteroscedastic": (), "student_t": ("scale", "degrees_of_freedom"),
    "bernoulli_probit": (), "bernoulli_cloglog": (), "ordinal": ("cut_points",),
    "poisson_softplus": (), "poisson_square": (), "negative_binomial": ("dispersion",), "gamma": ("shape",),
    "heteroscedastic_natural": (), "heteroscedastic_precision": (), "heteroscedastic_student_t": ("degrees_of_freedom",),
    "heteroscedastic_gamma": (), "heteroscedastic_negative_binomial": (),
}
LIKELIHOODS = tuple(PARAMETERS)
PAIRED = tuple(name for name in LIKELIHOODS if name.startswith("heteroscedastic"))  # two outputs a target
POSITIVE = ("gamma", "heteroscedastic_gamma")
REAL = ("normal", "normal_full", "student_t", "heteroscedastic", "heteroscedastic_natural", "heteroscedastic_precision",
        "heteroscedastic_student_t")
REAL_TARGETS = REAL + POSITIVE
ACTIVATIONS = ("identity", "tanh", "sigmoid", "softplus", "sin", "silu", "gelu", "gelu_tanh", "erf", "square", "relu",
               "leaky_relu")
ARRAYS = ("prior_mean", "prior_precision", "X", "y", "theta", "X_new", "vector", "labels", "normals", "draws")


@dataclass(frozen=True, eq=False, kw_only=True)
class Problem:
    """Everything a quantity depends on. θ is laid out layer by layer: W (out × in, row-major), then b.

    sizes (d, ..., k); activation of the hidden layers, `slope` for leaky_relu only; variance σ² for the normal only;
    likelihood_parameters, numbers and nested tuples, for those in PARAMETERS that have any. prior_mean p; prior_precision p p;
    X n d; y n k (float64; n int64 labels if categorical; n k/2 if heteroscedastic, where f = (μ_1, log σ²_1, μ_2, ...), or if
    another of PAIRED); theta p;
    X_new m d; vector p; labels like y; normals s p; draws t p. Raises ValueError for a wrong shape, name or number.
    """

    sizes: tuple[int, ...]
    activation: str
    slope: float | None = None
    bias: bool = True
    likelihood: str
    variance: float | None = None
    prior_mean: np.ndarray
    prior_precision: np.ndarray
    X: np.ndarray
    y: np.ndarray
    theta: np.ndarray
    X_new: np.ndarray
    vector: np.ndarray
    labels: np.ndarray
    normals: np.ndarray
    draws: np.ndarray
    likelihood_parameters: Mapping[str, float | tuple] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sizes", tuple(int(size) for size in self.sizes))
        plain = {name: _plain(value) for name, value in self.likelihood_parameters.items()}
        object.__setattr__(self, "likelihood_parameters", MappingProxyType(plain))
        self._check_names()
        for name, shape in self.shapes().items():
            integer = name in ("y", "labels") and self.likelihood == "categorical"
            object.__setattr__(self, name, _read_only(name, getattr(self, name), shape, integer))
        self._check_values()

    @property
    def num_inputs(self) -> int:
        """d."""
        return self.sizes[0]

    @property
    def num_outputs(self) -> int:
        """k."""
        return self.sizes[-1]

    @property
    def num_targets(self) -> int:
        """Entries of y a datum, for all but categorical: k, or k/2 where a target has two outputs."""
        return self.num_outputs // 2 if self.likelihood in PAIRED else self.num_outputs

    @property
    def num_means(self) -> int:
        """Entries of E[y|f] a datum: class probabilities, or one for each target."""
        return self.num_outputs if self.likelihood == "categorical" else self.num_targets

    @property
    def num_data(self) -> int:
        """n."""
        return len(self.X)

    @property
    def layer_sizes(self) -> tuple[int, ...]:
        """Number of parameters of each layer, weights and bias together."""
        return tuple(out * (into + self.bias) for into, out in zip(self.sizes[:-1], self.sizes[1:]))

    @property
    def subset(self) -> np.ndarray:
        """The chosen parameters: places where `vector` is positive."""
        return np.flatnonzero(self.vector > 0)

    @property
    def rank(self) -> int:
        """How many eigenpairs laplace.lowrank.* keeps, of a Hessian at most: a third of p, rounded down, and at least one."""
        return max(1, self.num_params // 3)

    @property
    def scale(self) -> np.ndarray:
        """C (p p) of the Gaussian N(θ, C Cᵀ) of vi.full.*, from v = vector: diag |v| + ½ tril(v vᵀ, −1), exact in float32 too."""
        return np.diag(np.abs(self.vector)) + 0.5 * np.tril(np.outer(self.vector, self.vector), -1)

    @property
    def num_params(self) -> int:
        """p."""
        return sum(self.layer_sizes)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each array, from the sizes and the number of rows of X, X_new, normals and draws."""
        rows = {name: _rows(name, getattr(self, name)) for name in ("X", "X_new", "normals", "draws")}
        p, n = self.num_params, rows["X"]
        target = (n,) if self.likelihood == "categorical" else (n, self.num_targets)
        return {"prior_mean": (p,), "prior_precision": (p, p), "X": (n, self.num_inputs), "y": target, "theta": (p,),
                "X_new": (rows["X_new"], self.num_inputs), "vector": (p,), "labels": target,
                "normals": (rows["normals"], p), "draws": (rows["draws"], p)}

    def copy(self) -> Problem:
        """The same problem on arrays of its own."""
        return Problem(**{field.name: getattr(self, field.name) for field in fields(self)})

    def _check_names(self) -> None:
        if len(self.sizes) < 2 or min(self.sizes) < 1:
            raise ValueError(f"sizes: expected at least two positive integers, got {self.sizes}")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation: expected one of {', '.join(ACTIVATIONS)}, got {self.activation!r}")
        if self.likelihood not in LIKELIHOODS:
            raise ValueError(f"likelihood: expected one of {', '.join(LIKELIHOODS)}, got {self.likelihood!r}")
        if (self.slope is not None) != (self.activation == "leaky_relu"):
            raise ValueError(f"slope: for leaky_relu and nothing else, got {self.slope} with {self.activation}")
        if (self.variance is not None) != (self.likelihood == "normal"):
            raise ValueError(f"variance: for normal and nothing else, got {self.variance} with {self.likelihood}")
        if self.variance is not None and not 0 < self.variance < float("inf"):
            raise ValueError(f"variance: expected a positive number, got {self.variance}")
        if self.likelihood in PAIRED and self.num_outputs % 2:
            raise ValueError(f"sizes: expected two outputs a target for {self.likelihood}, got {self.num_outputs} outputs")
        check_parameters(self.likelihood, self.likelihood_parameters, self.num_outputs)

    def _check_values(self) -> None:
        if not np.array_equal(self.prior_precision, self.prior_precision.T):
            raise ValueError("prior_precision: expected a symmetric matrix")
        for name in ("y", "labels"):
            what, inside = support(self.likelihood, getattr(self, name), self.num_outputs, self.likelihood_parameters)
            if not inside.all():
                raise ValueError(f"{name}: values outside the support of the {self.likelihood} likelihood: expected {what}")


def _rows(name: str, array: np.ndarray) -> int:
    if np.ndim(array) != 2:
        raise ValueError(f"{name}: expected two axes, got shape {np.shape(array)}")
    return len(array)


def _read_only(name: str, array: np.ndarray, shape: tuple[int, ...], integer: bool) -> np.ndarray:
    """A private copy in C order that refuses to be written to."""
    values = np.array(array, dtype=np.float64, order="C")
    if values.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"{name}: expected finite numbers")
    if integer:
        if np.any(values != np.rint(values)):
            raise ValueError(f"{name}: expected integer labels")
        values = values.astype(np.int64)
    values.flags.writeable = False
    return values


def _plain(value: object) -> float | tuple:
    """A number as a float, nested sequences of numbers as tuples of floats."""
    value = value.tolist() if isinstance(value, np.ndarray) else value
    return tuple(map(_plain, value)) if isinstance(value, (list, tuple)) else float(value)


def check_parameters(likelihood: str, parameters: Mapping[str, float | tuple], num_outputs: int) -> None:
    """ValueError unless these are the parameters of that likelihood, by name, shape and range."""
    wanted = PARAMETERS[likelihood]
    if set(parameters) != set(wanted):
        raise ValueError(f"likelihood_parameters: expected {', '.join(wanted) or 'none'} for {likelihood}, "
                         f"got {', '.join(sorted(parameters)) or 'none'}")
    for name in wanted:
        _RANGES.get(name, _check_positive)(name, parameters[name], num_outputs)


def _check_positive(name: str, value: float | tuple, num_outputs: int) -> None:
    if isinstance(value, tuple) or not 0 < value < float("inf"):
        raise ValueError(f"{name}: expected a positive number, got {value}")


def _check_noise(name: str, value: float | tuple, num_outputs: int) -> None:
    noise = np.array(value, dtype=float) if _is_rectangular(value, 2) else np.empty(0)
    if noise.shape != (num_outputs, num_outputs):
        raise ValueError(f"{name}: expected {num_outputs} rows of {num_outputs} numbers, one for each output")
    if not (np.isfinite(noise).all() and np.array_equal(noise, noise.T) and np.linalg.eigvalsh(noise)[0] > 0):
        raise ValueError(f"{name}: expected a symmetric positive definite matrix")


def _check_cuts(name: str, value: float | tuple, num_outputs: int) -> None:
    cuts = np.array(value, dtype=float) if _is_rectangular(value, 1) else np.empty(0)
    if not (cuts.size and np.isfinite(cuts).all() and (np.diff(cuts) > 0).all()):
        raise ValueError(f"{name}: expected at least one number, strictly increasing")


def _is_rectangular(value: float | tuple, depth: int) -> bool:
    """Tuples nested to this depth, all of a level equally long."""
    if depth == 0 or not isinstance(value, tuple):
        return depth == 0 and not isinstance(value, tuple)
    lengths = {len(item) if isinstance(item, tuple) else -1 for item in value}
    return len(lengths) <= 1 and all(_is_rectangular(item, depth - 1) for item in value)


_RANGES: dict[str, Callable[[str, float | tuple, int], None]] = {"noise": _check_noise, "cut_points": _check_cuts}


def support(likelihood: str, values: np.ndarray, num_outputs: int,
            parameters: Mapping[str, float | tuple]) -> tuple[str, np.ndarray]:
    """What targets the likelihood can produce, in words, and which of the values are such."""
    if likelihood in REAL:
        return "numbers", np.isfinite(values)
    if likelihood in POSITIVE:
        return "positive numbers", values > 0
    tops = {"categorical": num_outputs - 1, "ordinal": len(parameters.get("cut_points", ()))}
    binary = likelihood.startswith("bernoulli")
    top = 1 if binary else tops.get(likelihood, float("inf"))
    return f"integers from 0 to {top} for {likelihood}", (values == np.rint(values)) & (values >= 0) & (values <= top)
