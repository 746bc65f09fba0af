"""A problem is checked at the door and cannot be changed afterwards."""

import json
from dataclasses import fields

import numpy as np
import pytest

from refbnn.conform import case as cases
from refbnn.conform.problem import ARRAYS, Problem
from refbnn.conform.protocol import decode_problem, encode_problem


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
    ({"likelihood_parameters": {"scale": 1.0}}, "likelihood_parameters: expected none for normal, got scale"),
    ({"likelihood": "gamma", "variance": None}, "likelihood_parameters: expected shape for gamma, got none"),
    ({"likelihood": "gamma", "variance": None, "likelihood_parameters": {"shape": -1.0}}, "shape: expected a positive number"),
    ({"likelihood": "gamma", "variance": None, "likelihood_parameters": {"shape": (1.0, 2.0)}}, "shape: expected a positive"),
    ({"likelihood": "gamma", "variance": None, "likelihood_parameters": {"shape": 1.0}}, "expected positive numbers"),
    ({"likelihood": "normal_full", "variance": None, "likelihood_parameters": {"noise": np.eye(2)}}, "noise: expected 3 rows"),
    ({"likelihood": "normal_full", "variance": None, "likelihood_parameters": {"noise": np.ones((3, 3))}}, "positive definite"),
    ({"likelihood": "normal_full", "variance": None, "likelihood_parameters": {"noise": ((1.0,), (0.0, 1.0), 2.0)}}, "noise"),
    ({"likelihood": "ordinal", "variance": None, "likelihood_parameters": {"cut_points": (1.0, 1.0)}}, "strictly increasing"),
    ({"likelihood": "ordinal", "variance": None, "likelihood_parameters": {"cut_points": ()}}, "at least one"),
    ({"likelihood": "ordinal", "variance": None, "likelihood_parameters": {"cut_points": (1.0, 2.0)}}, "integers from 0 to 2"),
    ({"likelihood": "heteroscedastic", "variance": None}, "two outputs a target"),
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


def test_the_scale_is_lower_triangular_with_a_positive_diagonal_and_exact_in_single_precision(small):
    v, C = small.problem.vector, small.problem.scale
    assert np.array_equal(np.diag(C), np.abs(v)) and not np.triu(C, 1).any()
    assert all(C[i, j] == v[i] * v[j] / 2 != 0 for i in range(len(v)) for j in range(i))
    assert np.array_equal(C.astype(np.float32).astype(float), C)


def test_parameters_are_plain_numbers_that_cannot_be_changed(small):
    noise = np.eye(3)
    problem = changed(small.problem, likelihood="normal_full", variance=None, likelihood_parameters={"noise": noise})
    noise[0, 0] = 7
    assert problem.likelihood_parameters["noise"] == ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    with pytest.raises(TypeError):
        problem.likelihood_parameters["noise"] = 1.0


def test_a_problem_with_parameters_travels_unchanged():
    for name in ("normal-full-tanh-2-3-3", "student-t-tanh-2-3-3", "ordinal-tanh-2-3-3"):
        problem = cases.read(name).problem
        there = decode_problem(json.loads(json.dumps(encode_problem(problem))))
        assert there.likelihood_parameters == problem.likelihood_parameters and there.likelihood == problem.likelihood


def test_labels_are_integers_and_other_targets_floats(small):
    assert small.problem.y.dtype == np.float64
    labels = changed(small.problem, likelihood="categorical", variance=None, y=np.arange(11) % 3, labels=np.ones(11))
    assert labels.y.dtype == labels.labels.dtype == np.int64
