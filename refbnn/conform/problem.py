"""What an adapter is asked about: network, likelihood, prior, data and the point θ, as read-only arrays."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

LIKELIHOODS = ("normal", "bernoulli", "categorical", "poisson")
ACTIVATIONS = ("identity", "tanh", "sigmoid", "softplus", "sin", "silu", "gelu", "gelu_tanh", "erf", "square", "relu",
               "leaky_relu")
ARRAYS = ("prior_mean", "prior_precision", "X", "y", "theta", "X_new", "vector", "labels", "normals", "draws")


@dataclass(frozen=True, eq=False, kw_only=True)
class Problem:
    """Everything a quantity depends on. θ is laid out layer by layer: W (out × in, row-major), then b.

    sizes (d, ..., k); activation of the hidden layers, `slope` for leaky_relu only; variance σ² for the normal only.
    prior_mean p; prior_precision p p; X n d; y n k (float64; n int64 labels if categorical); theta p; X_new m d;
    vector p; labels like y; normals s p; draws t p. Raises ValueError for a wrong shape, name or number.
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

    def __post_init__(self) -> None:
        object.__setattr__(self, "sizes", tuple(int(size) for size in self.sizes))
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
    def num_data(self) -> int:
        """n."""
        return len(self.X)

    @property
    def layer_sizes(self) -> tuple[int, ...]:
        """Number of parameters of each layer, weights and bias together."""
        return tuple(out * (into + self.bias) for into, out in zip(self.sizes[:-1], self.sizes[1:]))

    @property
    def num_params(self) -> int:
        """p."""
        return sum(self.layer_sizes)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each array, from the sizes and the number of rows of X, X_new, normals and draws."""
        rows = {name: _rows(name, getattr(self, name)) for name in ("X", "X_new", "normals", "draws")}
        p, n = self.num_params, rows["X"]
        target = (n,) if self.likelihood == "categorical" else (n, self.num_outputs)
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

    def _check_values(self) -> None:
        if not np.array_equal(self.prior_precision, self.prior_precision.T):
            raise ValueError("prior_precision: expected a symmetric matrix")
        for name in ("y", "labels"):
            _check_targets(name, getattr(self, name), self.likelihood, self.num_outputs)


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


def _check_targets(name: str, values: np.ndarray, likelihood: str, num_outputs: int) -> None:
    """Refuse targets outside the support of the likelihood."""
    count = values == np.rint(values)
    support = {"normal": True,
               "bernoulli": np.isin(values, (0, 1)).all(),
               "categorical": ((values >= 0) & (values < num_outputs)).all(),
               "poisson": ((values >= 0) & count).all()}
    if not support[likelihood]:
        raise ValueError(f"{name}: values outside the support of the {likelihood} likelihood")
