"""What draws are judged by: functions of θ that exchanges and signs of hidden units leave alone, with certified means.

Outputs f at the new inputs and their squares about the certified mean, E[y | f], and log p(y | θ) and log p(y, θ) with their
squares. The package evaluates them; its own forward pass and densities are among what is certified.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refbnn.conform.adapters import refbnn as reference

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Average:
    """A function of θ: its name, its values at draws, and its certified mean under the posterior."""

    name: str
    values: Array
    expected: float


def averages(case: Any, theta: Array) -> list[Average]:
    """Every function at θ (*s p): values (*s)."""
    state = reference.prepare(case.problem)
    f = state.net.forward(theta, case.problem.X_new)
    mean, variance = _certified(case, "f.mean"), _certified(case, "predictive.variance")
    found = [*_each("f", f, mean), *_each("(f − E f)²", (f - mean) ** 2, variance)]
    expected = state.posterior.likelihood.mean(f)
    if expected.shape != f.shape or (expected != f).any():
        found += _each("E[y | f]", expected, _certified(case, "predictive.mean"))
    fit = state.posterior.log_likelihood(theta)
    for part, name, values in (("log_likelihood", "log p(y | θ)", fit),
                               ("log_joint", "log p(y, θ)", fit + state.posterior.prior.log_prob(theta))):
        centre, spread = _certified(case, f"{part}.mean"), _certified(case, f"{part}.variance")
        found += [Average(name, values, float(centre)), Average(f"variance of {name}", (values - centre) ** 2, float(spread))]
    return found


def count(case: Any) -> int:
    """How many functions draws of this case are judged by."""
    return len(averages(case, case.problem.theta))


def _certified(case: Any, part: str) -> Array:
    return case.values[f"posterior.{part}"].value


def _each(name: str, values: Array, expected: Array) -> Iterator[Average]:
    """One function for every new input and output."""
    for place in np.ndindex(expected.shape):
        yield Average(f"{name}[{', '.join(map(str, place))}]", values[(..., *place)], float(expected[place]))
