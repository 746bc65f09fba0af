"""From columns of numbers to posteriors of networks: a user's file, or a built-in data set."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from refbnn import activations, likelihoods, priors
from refbnn.budget.datasets import Dataset
from refbnn.networks.mlp import Mlp
from refbnn.posterior import Posterior
from refbnn.shapes import as_count, as_positive

FEWEST = 4  # data
LIKELIHOODS = {"normal": likelihoods.Normal, "bernoulli": lambda noise_variance: likelihoods.Bernoulli()}
ACTIVATIONS = {name: getattr(activations, name) for name in ("tanh", "erf", "sigmoid", "softplus", "relu", "silu", "gelu", "sin")}


class DataError(ValueError):
    """A table that cannot be used as it was asked for."""


@dataclass(frozen=True, eq=False)
class Problem:
    """Standardised inputs X (n d) and targets y (n 1), and what makes posteriors of them; `held_out` is (X, y) or None.

    Columns have mean 0 and standard deviation 1, labels stay as they are. The noise variance is in those units.
    """

    X: np.ndarray
    y: np.ndarray
    likelihood: object
    precision: float
    activation: activations.Activation
    held_out: tuple | None = None

    def network(self, width: int) -> Mlp:
        """One hidden layer of `width` units, none for 0, and one output."""
        hidden = (width,) if as_count("width", width, 0) else ()
        return Mlp((self.X.shape[1], *hidden, 1), self.activation if hidden else ())

    def posterior(self, width: int) -> Posterior:
        """That network under an isotropic prior."""
        net = self.network(width)
        return Posterior(net, self.likelihood, priors.isotropic(net.num_params, self.precision), self.X, self.y)

    def holding_out(self, every: int) -> Problem:
        """Every `every`-th datum is kept for scores."""
        out = np.arange(len(self.X)) % as_count("every", every, 2) == every - 1
        if not out.any() or (~out).sum() < FEWEST:
            raise DataError(f"hold out: expected {FEWEST} data left and one held out, got {(~out).sum()} and {out.sum()}")
        return replace(self, X=self.X[~out], y=self.y[~out], held_out=(self.X[out], self.y[out]))


def problem(columns: dict[str, np.ndarray], inputs: Sequence[str], target: str, likelihood: str, noise_variance: float,
            precision: float, activation: str) -> Problem:
    """From columns by name. Raises DataError for columns that are not there or constant, and labels other than 0 and 1."""
    _expect_columns(columns, inputs, target)
    y = np.asarray(columns[target], dtype=float)
    if len(y) < FEWEST:
        raise DataError(f"data: expected at least {FEWEST} rows, got {len(y)}")
    X = np.stack([_standardised(name, columns[name]) for name in inputs], axis=1)
    labelled = likelihood == "bernoulli"
    if labelled and not np.isin(y, (0, 1)).all():
        raise DataError(f"{target}: expected labels 0 and 1 for bernoulli, got {y[~np.isin(y, (0, 1))][0]:g}")
    y = y if labelled else _standardised(target, y)
    made = LIKELIHOODS[likelihood](as_positive("noise variance", noise_variance))
    return Problem(X, y[:, None], made, as_positive("prior precision", precision), ACTIVATIONS[activation])


def _expect_columns(columns: dict[str, np.ndarray], inputs: Sequence[str], target: str) -> None:
    missing = [name for name in (*inputs, target) if name not in columns]
    twice = [name for i, name in enumerate(inputs) if name in inputs[:i]]
    wrong = ([f"no column {', '.join(map(repr, missing))}"] * bool(missing) + ["no inputs"] * (not inputs)
             + ["the target as an input"] * (target in inputs) + [f"{name!r} twice" for name in twice[:1]])
    if wrong:
        raise DataError(f"columns: expected different inputs and another target of {', '.join(columns)}; got {wrong[0]}")


def of_dataset(dataset: Dataset, precision: float, activation: str = "tanh") -> Problem:
    """A built-in data set with its own likelihood and noise."""
    return problem(dataset.columns, dataset.inputs, dataset.target, dataset.likelihood, dataset.noise_variance, precision,
                   activation)


@dataclass(frozen=True)
class Cells:
    """The columns of a file as text, by name, and the line of the file on which each row ends."""

    columns: dict[str, list[str]]
    lines: tuple[int, ...]

    def numbers(self, name: str) -> np.ndarray:
        """A column as finite numbers in decimal digits. Raises DataError with the line of the first that is none."""
        return np.array([_number(f"column {name}, line {line}", cell) for line, cell in zip(self.lines, self.columns[name])])


def read_csv(path: str) -> Cells:
    """Columns by the names of the first row; empty lines are none. Raises DataError for ragged or repeated ones, OSError."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream)
            rows = [(reader.line_num, row) for row in reader if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: expected comma-separated text in UTF-8, got what cannot be read as that ({error})") from error
    if not rows:
        raise DataError(f"{path}: expected a first row of column names, got an empty file")
    names = [name.strip() for name in rows[0][1]]
    if len(names) == 1 and any(mark in names[0] for mark in ";\t"):
        raise DataError(f"{path}: expected commas between the cells, got one column named {names[0]!r}")
    if len(set(names)) != len(names):
        raise DataError(f"{path}: expected different column names, got {', '.join(names)}")
    for line, row in rows[1:]:
        if len(row) != len(names):
            raise DataError(f"{path}, line {line}: expected {len(names)} cells, got {len(row)}")
    columns = {name: [row[i].strip() for _, row in rows[1:]] for i, name in enumerate(names)}
    return Cells(columns, tuple(line for line, _ in rows[1:]))


def in_digits(number: Callable[[str], float], text: str) -> float:
    """number(text) of a text without underscores: Python would read 1_0 as 10. Raises ValueError."""
    return number(text.replace("_", "no digit"))


def _number(where: str, cell: str) -> float:
    try:
        value = in_digits(float, cell)
    except ValueError:
        raise DataError(f"{where}: expected a number, got {cell!r}") from None
    if not math.isfinite(value):
        raise DataError(f"{where}: expected a finite number, got {cell!r}")
    return value


def _standardised(name: str, values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    if not np.isfinite(values).all():
        raise DataError(f"{name}: expected finite numbers, got {values[~np.isfinite(values)][0]:g}")
    scaled = values / (np.abs(values).max(initial=0.0) or 1.0)  # numbers near 1e300 and 1e-300 have no squares
    std = scaled.std()
    if not std > 1e-12:
        raise DataError(f"{name}: expected numbers that differ, got a constant column")
    return (scaled - scaled.mean()) / std
