"""A problem is checked at the door and cannot be changed afterwards."""

from dataclasses import fields

import numpy as np
import pytest

from refbnn.conform.problem import ARRAYS, Problem


def changed(problem: Problem, **new) -> Problem:
    return Problem(**{**{field.name: getattr(problem, field.name) for field in fields(problem)}, **new})


@pytest.mark.parametrize("new, message", [
    ({"sizes": (2,)}, "sizes"), ({"sizes": (2, 0, 3)}, "sizes"), ({"activation": "tan"}, "activation: expected one of"),
    ({"likelihood": "gauss"}, "likelihood: expected one of"), ({"slope": 0.1}, "slope"), ({"activation": "leaky_relu"}, "slope"),
    ({"variance": None}, "variance"), ({"variance": -1.0}, "variance"), ({"variance": np.nan}, "variance"),
    ({"likelihood": "poisson"}, "variance"), ({"theta": np.zeros(3)}, r"theta: expected shape \(33,\), got \(3,\)"),
    ({"bias": False}, "expected shape"), ({"X": np.zeros(11)}, "X: expected two axes"),
    ({"y": np.zeros((11, 2))}, "y: expected shape"),
    ({"vector": np.full(33, np.inf)}, "vector: expected finite"), ({"prior_precision": np.triu(np.ones((33, 33)))}, "symmetric"),
    ({"likelihood": "bernoulli", "variance": None}, "outside the support of the bernoulli"),
    ({"likelihood": "poisson", "variance": None, "y": np.full((11, 3), 0.5)}, "outside the support of the poisson"),
    ({"likelihood": "categorical", "variance": None, "y": np.full(11, 0.5)}, "y: expected integer labels"),
    ({"likelihood": "categorical", "variance": None, "y": np.full(11, 3), "labels": np.zeros(11)}, "y: values outside"),
])
def test_what_does_not_fit_is_refused(small, new, message):
    with pytest.raises(ValueError, match=message):
        changed(small.problem, **new)


def test_arrays_are_private_and_read_only(small):
    theta = np.zeros(33)
    problem = changed(small.problem, theta=theta)
    theta[0] = 1
    assert problem.theta[0] == 0
    for name in ARRAYS:
        with pytest.raises(ValueError, match="read-only"):
            getattr(problem, name)[...] = 0


def test_labels_are_integers_and_other_targets_floats(small):
    assert small.problem.y.dtype == np.float64
    labels = changed(small.problem, likelihood="categorical", variance=None, y=np.arange(11) % 3, labels=np.ones(11))
    assert labels.y.dtype == labels.labels.dtype == np.int64
