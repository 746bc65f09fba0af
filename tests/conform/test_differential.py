"""Differential mode: a user's own network, parameters and data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from refbnn import Mlp, activations, likelihoods, priors
from refbnn.conform.adapters import refbnn as right
from refbnn.conform.compare import Verdict
from refbnn.conform.differential import (LocalCase, compare_with_reference, network_from_flax, network_from_torch, perturbed,
                                         problem_from, random_problem)
from refbnn.conform.problem import PARAMETERS
from refbnn.conform.quantities import QUANTITIES

LIKELIHOODS = ("normal", "bernoulli", "categorical", "poisson")


@pytest.fixture(scope="module")
def problem():
    """A random problem."""
    return random_problem(4)


@given(seed=st.integers(0, 1000), likelihood=st.sampled_from(LIKELIHOODS), bias=st.booleans(), num_data=st.integers(1, 7),
       width=st.integers(1, 4), outputs=st.integers(2, 3),
       activation=st.sampled_from(["identity", "tanh", "leaky_relu", "square"]))
@settings(max_examples=15, deadline=None)
def test_the_package_passes_its_own_reference(seed, likelihood, bias, num_data, width, outputs, activation):
    mine = random_problem(seed, likelihood, (2, width, outputs), activation, num_data, bias)
    state = right.prepare(mine)
    for name, quantity in QUANTITIES.items():
        if quantity.certified_by in LocalCase(mine).values:
            result = compare_with_reference(getattr(right, quantity.function_name)(state), mine, name)
            assert result.verdict in (Verdict.EXACT, Verdict.PASS, Verdict.UNDERPOWERED), result


def test_a_function_of_the_problem_is_called_and_judged(problem):
    def gradient(p):
        f = right.forward(right.prepare(p))
        return np.einsum("nkp,nk->p", right.jacobian(right.prepare(p)), (f - p.y) / p.variance)
    result = compare_with_reference(gradient, problem, "gradient")
    assert result.passed and result.verdict is Verdict.PASS and str(result).startswith("PASS gradient: 1")


def test_a_wrong_function_is_explained(problem):
    result = compare_with_reference(lambda p: right.ggn_full(right.prepare(p)) / len(p.X), problem, "ggn.full")
    assert not result.passed and "declare loss.reduction = mean, or multiply by N" in str(result)
    mean = right.ggn_full(right.prepare(problem)) / 11
    assert compare_with_reference(mean, problem, "ggn.full", {"loss.reduction": "mean"}).passed


def test_a_function_cannot_spoil_the_problem(problem):
    def greedy(p):
        p.theta[:] = 0
    with pytest.raises(ValueError, match="read-only"):
        compare_with_reference(greedy, problem, "loss")


def test_what_is_no_array_is_a_mismatch_in_words(problem):
    result = compare_with_reference(lambda p: "many", problem, "loss")
    assert not result.passed and "expected numbers, got str" in str(result) and result.finding is None


@pytest.mark.parametrize("quantity, conventions, words", [
    ("gnn.full", {}, "did you mean 'ggn.full'"), ("ggn.full", {"loss.reduction": "all"}, "sum, mean, mean_all"),
    ("laplace.hessian.covariance", {}, "does not exist for this problem")])
def test_bad_questions_are_refused(problem, quantity, conventions, words):
    with pytest.raises(ValueError, match=words):
        compare_with_reference(0.0, problem, quantity, conventions)


def test_condition_numbers_are_at_least_one_and_grow_with_cancellation(problem):
    values = LocalCase(problem).values
    assert all(values[name].condition >= 1 for name in values)
    assert values["laplace.covariance"].condition >= np.linalg.cond(values["laplace.precision"].value)
    stored = {quantity.certified_by for quantity in QUANTITIES.values() if quantity.exists_for(problem.likelihood)}
    at_a_mode = {f"laplace.hessian.{part}" for part in ("precision", "covariance", "log_det", "log_evidence")}
    assert set(values) == {name for name in stored - at_a_mode if not name.startswith(("posterior.", "vi.optimum."))}
    assert len(values) == len(set(values))


def test_an_integral_that_no_grid_holds_has_no_reference():
    values = LocalCase(random_problem(1, "categorical", [2, 3, 5], "tanh", 7, True)).values
    assert "predictive.probit.multiclass" in values and "predictive.exact" not in values
    assert not any(name.startswith("posterior.") for name in values)


@pytest.mark.parametrize("sizes, likelihood", [((1, 1), "poisson"), ((2, 3), "normal")])
def test_two_parameters_or_a_linear_regression_have_their_posterior_as_reference(sizes, likelihood):
    problem = random_problem(1, likelihood, sizes, "identity", 7, True)
    result = compare_with_reference(lambda p: right.posterior_mean(right.prepare(p)), problem, "posterior.mean")
    assert result.passed
    assert not compare_with_reference(problem.prior_mean, problem, "posterior.mean").passed


def test_where_no_parameter_is_chosen_there_is_no_subset():
    problem = replace(random_problem(1), vector=-np.abs(random_problem(1).vector))
    values = LocalCase(problem).values
    assert "laplace.covariance" in values
    assert not {"ggn.subset", "laplace.subset.covariance", "laplace.subset.log_evidence"} & set(values)


def test_perturbations_are_seeded_small_and_leave_labels_alone():
    counts = random_problem(3, "poisson")
    first, again = ([p.theta for p in perturbed(counts, seed)] for seed in (0, 0))
    assert all(np.array_equal(a, b) for a, b in zip(first, again)) and len(first) == 6
    for moved in perturbed(counts):
        assert np.array_equal(moved.y, counts.y) and np.array_equal(moved.normals, counts.normals)
        assert 0 < np.abs(moved.theta / counts.theta - 1).max() < 1e-6


def test_random_problems_come_from_the_seed():
    assert np.array_equal(random_problem(7).theta, random_problem(7).theta)
    assert not np.array_equal(random_problem(7).theta, random_problem(8).theta)


LIKELIHOOD_OBJECTS = {
    "normal": (likelihoods.Normal(0.3), np.ones((4, 2))), "bernoulli": (likelihoods.Bernoulli(), np.ones((4, 2))),
    "categorical": (likelihoods.Categorical(), np.array([0, 1, 1, 0])), "poisson": (likelihoods.Poisson(), np.ones((4, 2)))}


@pytest.mark.parametrize("name", LIKELIHOODS)
@pytest.mark.parametrize("activation", [activations.tanh, activations.leaky_relu(0.2)], ids=lambda phi: phi.name)
def test_a_problem_from_ones_own_objects(name, activation):
    likelihood, y = LIKELIHOOD_OBJECTS[name]
    net = Mlp((3, 4, 2), activation=activation)
    rng = np.random.default_rng(0)
    theta, X = rng.standard_normal(net.num_params), rng.standard_normal((4, 3))
    mine = problem_from(net, likelihood, priors.isotropic(net.num_params, 2.0, 0.1), X, y, theta)
    assert mine.likelihood == name and mine.activation == activation.name and mine.X_new.shape == (4, 3)
    assert mine.slope == (0.2 if activation.name == "leaky_relu" else None)
    assert compare_with_reference(net.forward(theta, X), mine, "forward").verdict is Verdict.EXACT
    state = right.prepare(mine)
    assert compare_with_reference(right.laplace_sample(state), mine, "laplace.sample").passed


def test_a_problem_from_parts_that_do_not_fit_is_refused():
    mixed = Mlp((2, 3, 3, 2), activation=(activations.tanh, activations.sin))
    linear = Mlp((2, 2), activation=activations.tanh)
    X, y = np.ones((3, 2)), np.ones((3, 2))
    with pytest.raises(ValueError, match="one activation"):
        problem_from(mixed, likelihoods.Normal(1.0), priors.isotropic(mixed.num_params, 1.0), X, y, np.zeros(mixed.num_params))
    with pytest.raises(ValueError, match="theta: expected shape"):
        problem_from(linear, likelihoods.Normal(1.0), priors.isotropic(6, 1.0), X, y, np.zeros(5))
    with pytest.raises(ValueError, match="likelihood: expected one of"):
        problem_from(linear, object(), priors.isotropic(6, 1.0), X, y, np.zeros(6))
    assert problem_from(linear, likelihoods.Normal(1.0), priors.isotropic(6, 1.0), X, y, np.zeros(6)).activation == "identity"


def _weights(rng, bias):
    W1, b1, W2, b2 = rng.standard_normal((4, 3)), rng.standard_normal(4), rng.standard_normal((2, 4)), rng.standard_normal(2)
    return (W1, b1, W2, b2) if bias else (W1, 0 * b1, W2, 0 * b2)


@pytest.mark.parametrize("bias", [True, False])
def test_networks_from_torch_and_flax_arrays_compute_what_theirs_do(bias):
    rng = np.random.default_rng(1)
    W1, b1, W2, b2 = _weights(rng, bias)
    X = rng.standard_normal((5, 3))
    expected = np.tanh(X @ W1.T + b1) @ W2.T + b2
    torch = network_from_torch([W1, b1, W2, b2] if bias else [W1, W2], activations.tanh)
    layers = {"Dense_1": {"kernel": W2.T, "bias": b2}, "Dense_0": {"kernel": W1.T, "bias": b1}}
    if not bias:
        layers = {name: {"kernel": layer["kernel"]} for name, layer in layers.items()}
    flax = [network_from_flax(given, activations.tanh) for given in ({"params": layers}, layers)]
    for net, theta in (torch, *flax):
        assert net.bias is bias and np.allclose(net.forward(theta, X), expected, rtol=1e-14)


def test_flax_layers_are_taken_in_the_order_of_their_numbers():
    layers = {f"Dense_{i}": {"kernel": np.full((1, 1), float(i + 1))} for i in (10, 9, 2, 0, 1, 3, 4, 5, 6, 7, 8)}
    _, theta = network_from_flax(layers, activations.tanh)
    assert list(theta) == list(range(1, 12))


SHAPES = [[], [(3,)], [(2, 3), (3,)], [(2, 3), (2,), (2, 5), (2,)], [(2, 3), (2,), (2, 2)], [(2, 2, 2)]]


@pytest.mark.parametrize("shapes", SHAPES)
def test_torch_arrays_that_do_not_chain_are_refused(shapes):
    with pytest.raises(ValueError, match="parameters:"):
        network_from_torch([np.ones(shape) for shape in shapes], activations.tanh)


@pytest.mark.parametrize("layers", [
    {}, {"Dense_0": {"bias": np.ones(2)}}, {"Dense_0": {"kernel": np.ones((2, 3)), "bias": np.ones(2)}},
    {"Dense_0": {"kernel": np.ones((2, 3)), "bias": np.ones(3)}, "Dense_1": {"kernel": np.ones((3, 1))}}])
def test_flax_arrays_that_do_not_chain_are_refused(layers):
    with pytest.raises(ValueError, match="parameters:"):
        network_from_flax(layers, activations.tanh)


@pytest.mark.parametrize("likelihood", PARAMETERS)
def test_every_likelihood_has_random_problems_and_is_read_back_from_its_object(likelihood):
    problem = random_problem(3, likelihood, sizes=(2, 3, 4))
    state = right.prepare(problem)
    posterior = state.posterior
    again = problem_from(state.net, posterior.likelihood, posterior.prior, problem.X, problem.y, problem.theta)
    assert (again.likelihood, again.likelihood_parameters) == (problem.likelihood, problem.likelihood_parameters)
    for quantity in ("fisher.full", "ggn.kfac", "ntk"):
        answer = getattr(right, quantity.replace(".", "_"))(state)
        assert compare_with_reference(answer, problem, quantity).passed
        assert not compare_with_reference(answer * (1 + 1e-4), problem, quantity).passed
