"""Conversions against plain recomputation: each convention covers every quantity that it touches, and no other."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.stats import multivariate_normal

from refbnn import kronecker
from refbnn.conform import case as cases, notations
from refbnn.conform.adapters import refbnn as right
from refbnn.conform.conventions import (AXES, DEFAULTS, amplification, check, convert, factor, likelihood_constants, permutation,
                                        prior_constants, resolve, without_layout)
from refbnn.conform.differential import random_problem
from refbnn.conform.divergence import SAMPLED, sampled_less_closed
from refbnn.conform.quantities import QUANTITIES

LIKELIHOODS = ("normal", "bernoulli", "categorical", "poisson")
LOSS = ("loss", "gradient", "ggn.full", "ggn.diag", "hessian.full", "hessian.diag", "hessian.hvp", "fisher.full",
        "fisher.empirical", "fisher.empirical.diag", "fisher.mc", "ggn.vp", "ggn.blockdiag", "ggn.lastlayer", "ggn.kfac",
        "ggn.kfra", "ggn.ekfac", "ggn.ekfac.split", "hessian.blockdiag", "fisher.diag", "fisher.kfac",
        "fisher.empirical.centred", "fisher.empirical.kfac", "fisher.mc.diag", "fisher.mc.kfac",
        "fisher.vp", "fisher.empirical.vp", "fisher.mc.vp",
        "ggn.neuronblocks", "hessian.lastlayer", "ggn.subset", "ggn.vanloan", "third.vv", "fisher.empirical.centred.diag",
        "fisher.empirical.centred.vp", "fisher.empirical.gram")
TWO_GRADIENTS = tuple(name for name in LOSS if name.startswith(("fisher.empirical", "fisher.mc")))
STORED = tuple(name for name, quantity in QUANTITIES.items() if quantity.certified_by == name and "hessian." not in name[8:])


def answers(problem):
    """Every quantity of a problem of many parameters by the package."""
    state = right.prepare(problem)
    return {name: np.asarray(getattr(right, QUANTITIES[name].function_name)(state)) for name in STORED
            if not name.startswith(("laplace.hessian", "posterior.", "vi.optimum."))
            and QUANTITIES[name].exists_for(problem.likelihood)}


def converted(problem, name, value, **conventions):
    return convert(QUANTITIES[name], value, problem, {key.replace("__", "."): choice for key, choice in conventions.items()})


@pytest.fixture(scope="module", params=LIKELIHOODS)
def solved(request):
    """A problem with its right answers, for each likelihood."""
    problem = random_problem(1, request.param)
    return problem, answers(problem)


def test_defaults_change_nothing(solved):
    problem, values = solved
    for name, value in values.items():
        assert np.array_equal(convert(QUANTITIES[name], value, problem, {}), value), name


@pytest.mark.parametrize("reduction, count", [("mean", lambda p: len(p.X)), ("mean_all", lambda p: p.y.size)])
def test_reduction_divides_the_loss_and_its_curvatures_and_nothing_else(solved, reduction, count):
    problem, values = solved
    for name, value in values.items():
        expected = value / count(problem) if name in LOSS else value
        assert np.array_equal(converted(problem, name, value, loss__reduction=reduction), expected), name


@pytest.mark.parametrize("choice, count", [("mean", lambda p: len(p.X)), ("mean_all", lambda p: p.y.size)])
def test_gradients_of_a_mean_loss_are_divided_before_they_are_multiplied(solved, choice, count):
    problem, values = solved
    loss = right.prepare(problem).posterior.loss
    g = loss.per_datum_gradients(problem.theta) / count(problem)
    got = converted(problem, "fisher.empirical", values["fisher.empirical"], fisher__gradients=choice)
    np.testing.assert_allclose(got, g.T @ g, rtol=1e-12, atol=1e-13 * np.abs(got).max())
    for name, value in values.items():
        expected = value / count(problem) ** 2 if name in TWO_GRADIENTS else value
        assert np.array_equal(converted(problem, name, value, fisher__gradients=choice), expected), name
        assert factor(QUANTITIES[name], problem, {"fisher.gradients": choice}) == (
            1 / count(problem) ** 2 if name in TWO_GRADIENTS else 1), name


def test_blocks_of_tensors_are_those_of_weights_and_of_biases():
    problem = random_problem(4)
    values, names = answers(problem), []
    for layer, (into, out) in enumerate(zip(problem.sizes, problem.sizes[1:])):
        names += [f"W{layer}"] * out * into + [f"b{layer}"] * out
    same = np.array(names)[:, None] == np.array(names)
    for name in ("ggn", "hessian"):
        got = converted(problem, f"{name}.blockdiag", values[f"{name}.blockdiag"], blockdiag__blocks="tensors")
        np.testing.assert_allclose(got, np.where(same, values[f"{name}.full"], 0.0), rtol=1e-12, atol=1e-12)
        assert 1 < amplification(QUANTITIES[f"{name}.blockdiag"], values[f"{name}.blockdiag"], problem,
                                 {"blockdiag.blocks": "tensors"}) < 10
    whole = random_problem(4, bias=False)
    value = answers(whole)["ggn.blockdiag"]
    assert np.array_equal(converted(whole, "ggn.blockdiag", value, blockdiag__blocks="tensors"), value)


def test_mean_over_all_entries_is_the_mean_over_data_for_class_labels():
    problem = random_problem(1, "categorical")
    assert converted(problem, "loss", 1.0, loss__reduction="mean_all") == converted(problem, "loss", 1.0, loss__reduction="mean")


def test_half_squared_error_is_the_likelihood_of_unit_variance_without_constants():
    problem = random_problem(2)
    values, unit = answers(problem), answers(replace(problem, variance=1.0))
    half = 0.5 * np.sum((problem.y - values["forward"]) ** 2)
    assert np.isclose(converted(problem, "loss", values["loss"], loss__squared_error="half"), half, rtol=1e-12)
    assert np.isclose(converted(problem, "loss", values["loss"], loss__squared_error="one"), 2 * half, rtol=1e-12)
    for name in LOSS[1:]:
        got = converted(problem, name, values[name], loss__squared_error="half")
        np.testing.assert_allclose(got, unit[name], rtol=1e-12, atol=1e-11)


def test_whole_squared_error_doubles_derivatives_and_quadruples_products_of_gradients():
    problem = random_problem(2)
    values, unit = answers(problem), answers(replace(problem, variance=1.0))
    for name in LOSS[1:]:
        times = 4 if name in TWO_GRADIENTS else 2
        got = converted(problem, name, values[name], loss__squared_error="one")
        np.testing.assert_allclose(got, times * unit[name], rtol=1e-12, atol=1e-11)


def test_squared_error_leaves_other_likelihoods_alone(solved):
    problem, values = solved
    if problem.likelihood != "normal":
        for name in LOSS:
            assert np.array_equal(converted(problem, name, values[name], loss__squared_error="one"), values[name])


def test_dropped_constants_leave_what_depends_on_the_parameters(solved):
    problem, values = solved
    moved = replace(problem, theta=problem.theta + 0.1)
    for name in ("loss", "log_joint"):
        change = answers(moved)[name] - values[name]
        got = [converted(p, name, answers(p)[name], loss__constants="dropped", log_joint__constants="dropped")
               for p in (problem, moved)]
        assert np.isclose(got[1] - got[0], change, rtol=1e-10)


def test_the_constants_are_those_of_the_densities():
    normal, poisson = random_problem(3), random_problem(3, "poisson")
    state = right.prepare(normal)
    assert np.isclose(-state.posterior.likelihood.log_prob(normal.y, normal.y).sum(), likelihood_constants(normal))
    assert np.isclose(state.posterior.prior.log_prob(normal.prior_mean), prior_constants(normal))
    assert np.isclose(likelihood_constants(poisson), sum(math.log(math.factorial(int(y))) for y in poisson.y.ravel()))
    assert likelihood_constants(random_problem(3, "bernoulli")) == 0


def test_orders_by_the_names_of_the_parameters():
    problem = random_problem(0, sizes=(2, 1, 2), num_data=2)
    torch = np.array(["W0[0,0]", "W0[0,1]", "b0[0]", "W1[0,0]", "W1[1,0]", "b1[0]", "b1[1]"])
    problem23 = random_problem(0, sizes=(2, 3), num_data=2)
    wide = np.array([f"W[{i},{j}]" for i in range(3) for j in range(2)] + [f"b[{i}]" for i in range(3)])
    columns = [f"W[{i},{j}]" for j in range(2) for i in range(3)]
    biases = [f"b[{i}]" for i in range(3)]
    assert list(wide[permutation(problem23, "column_major")]) == columns + biases
    assert list(wide[permutation(problem23, "bias_first")]) == biases + list(wide[:6])
    assert list(wide[permutation(problem23, "flax")]) == biases + columns
    assert list(torch[permutation(problem, "biases_last")]) == [*torch[:2], *torch[3:5], torch[2], *torch[5:]]


@pytest.mark.parametrize("order", ["column_major", "bias_first", "biases_last", "flax"])
def test_an_order_permutes_every_parameter_axis(solved, order):
    problem, values = solved
    rank = permutation(problem, order)
    assert sorted(rank) == list(range(len(problem.theta)))
    names = np.array([f"{layer}/{i}" for layer, size in enumerate(problem.layer_sizes) for i in range(size)])
    last = f"{len(problem.layer_sizes) - 1}/"
    chosen = [list(problem.subset).index(i) for i in rank if problem.vector[i] > 0]
    ranks = {"p": rank, "q": np.array([int(name.removeprefix(last)) for name in names[rank] if name.startswith(last)]),
             "r": np.array(chosen)}
    for name, value in values.items():
        expected = value
        for axis, letter in enumerate(QUANTITIES[name].axes.split()):
            expected = expected.take(ranks[letter], axis) if letter in ranks else expected
        assert np.array_equal(converted(problem, name, value, parameters__order=order), expected), name


def test_a_split_bias_is_what_the_package_computes_with_split_bias(solved):
    problem, values = solved
    at = right.prepare(problem).posterior.loss.at(problem.theta)
    for name, split in (("ggn.kfac", kronecker.kfac(at.ggn, split_bias=True)),
                        ("ggn.kfra", kronecker.kfra(at.ggn, split_bias=True)),
                        ("fisher.kfac", kronecker.kfac(at.fisher, split_bias=True)),
                        ("fisher.empirical.kfac", kronecker.kfac(at.empirical_fisher, split_bias=True)),
                        ("fisher.mc.kfac", kronecker.kfac(at.sampled_fisher(problem.labels), split_bias=True))):
        got = converted(problem, name, values[name], kfac__bias="split")
        np.testing.assert_allclose(got, split.matrix(), rtol=1e-12, atol=1e-13 * np.abs(got).max())
        assert not np.allclose(got, values[name])
        assert 1 < amplification(QUANTITIES[name], values[name], problem, {"kfac.bias": "split"}) < 10


def test_a_split_bias_and_an_order_are_taken_together():
    problem = random_problem(4)
    value = answers(problem)["ggn.kfac"]
    both = converted(problem, "ggn.kfac", value, kfac__bias="split", parameters__order="bias_first")
    order = permutation(problem, "bias_first")
    assert np.array_equal(both, converted(problem, "ggn.kfac", value, kfac__bias="split")[np.ix_(order, order)])
    whole = random_problem(4, bias=False)
    value = answers(whole)["ggn.kfac"]
    assert np.array_equal(converted(whole, "ggn.kfac", value, kfac__bias="split"), value)


@pytest.mark.parametrize("name", ["poisson-softplus-tanh-2-3-3", "poisson-square-tanh-2-3-3", "normal-full-tanh-2-3-3",
                                  "heteroscedastic-tanh-2-3-2", "student-t-tanh-2-3-3", "negative-binomial-tanh-2-3-3",
                                  "gamma-tanh-2-3-3", "ordinal-tanh-2-3-3", "cloglog-sigmoid-2-3-3", "probit-tanh-2-3-3"])
def test_without_its_constants_the_loss_is_what_is_usually_minimised(name):
    problem = cases.read(name).problem
    f, y = right.forward(right.prepare(problem)), problem.y
    loss = float(cases.read(name).values["loss"].value)
    given = {key: np.array(value) for key, value in problem.likelihood_parameters.items()}
    usual = {"poisson_softplus": lambda: np.logaddexp(0, f) - y * np.log(np.logaddexp(0, f)),
             "poisson_square": lambda: f ** 2 - y * np.log(f ** 2),
             "normal_full": lambda: 0.5 * (f - y) @ np.linalg.inv(given["noise"]) * (f - y),
             "heteroscedastic": lambda: 0.5 * (y - f[:, ::2]) ** 2 * np.exp(-f[:, 1::2]) + 0.5 * f[:, 1::2],
             "student_t": lambda: (0.5 * (given["degrees_of_freedom"] + 1)
                                   * np.log1p((y - f) ** 2 / given["degrees_of_freedom"] / given["scale"] ** 2)),
             "negative_binomial": lambda: (given["dispersion"] + y) * np.log(given["dispersion"] + np.exp(f)) - y * f,
             "gamma": lambda: given["shape"] * (f + y * np.exp(-f))}
    expected = usual.get(problem.likelihood, lambda: np.array(loss))().sum()
    assert np.isclose(converted(problem, "loss", loss, loss__constants="dropped"), expected, rtol=1e-12)


def test_noise_and_summaries_of_the_predictive_variance(solved):
    problem, values = solved
    name = "predictive.glm.variance"
    noise = (problem.variance or 0.0) * np.eye(problem.sizes[-1])
    included = converted(problem, name, values[name], predictive__noise="included")
    assert np.array_equal(included, values[name] + noise)
    std = converted(problem, name, values[name], predictive__noise="included", predictive__variance="std")
    assert np.array_equal(std, np.sqrt(np.stack([np.diag(matrix) for matrix in included])))
    assert np.array_equal(converted(problem, name, values[name], predictive__variance="marginal"),
                          np.stack([np.diag(matrix) for matrix in values[name]]))


def test_an_override_holds_for_its_quantities_and_the_later_one_wins():
    declared = {"loss.reduction": "mean", "loss.reduction@fisher.*": "sum", "loss.reduction@fisher.mc": "mean_all"}
    got = {name: resolve(QUANTITIES[name], declared)["loss.reduction"] for name in ("ggn.full", "fisher.empirical", "fisher.mc")}
    assert got == {"ggn.full": "mean", "fisher.empirical": "sum", "fisher.mc": "mean_all"}


@pytest.mark.parametrize("bad, words", [
    ({"loss.reductoin": "mean"}, "loss.reductoin.*did you mean 'loss.reduction'"),
    ({"loss.reduction": "average"}, "sum, mean, mean_all"),
    ({"loss.reduction@nothing": "mean"}, "nothing"), ({"loss.reduction": 1}, "loss.reduction"), ({1: "mean"}, "string"),
    ([("loss.reduction", "mean")], "mapping"), ({"loss.reduction": ["mean"]}, "loss.reduction")])
def test_unknown_conventions_are_refused_by_name(bad, words):
    with pytest.raises(ValueError, match=words):
        check(bad)


def test_check_fills_in_the_defaults():
    assert check({}) == DEFAULTS and check({"precision": "float32"})["precision"] == "float32"


def test_touching_is_what_the_conversion_does(solved):
    problem, values = solved
    for axis in AXES:
        for choice in list(axis.meanings)[1:]:
            for name, value in values.items():
                got = convert(QUANTITIES[name], value, problem, {axis.name: choice})
                changed = got.shape != value.shape or not np.array_equal(got, value)
                assert axis.touches(QUANTITIES[name]) or not changed, (axis.name, choice, name)


@given(value=st.floats(-1e3, 1e3), reduction=st.sampled_from(["sum", "mean", "mean_all"]),
       error=st.sampled_from(["nll", "half", "one"]))
@settings(max_examples=30, deadline=None)
def test_factor_and_conversion_agree_on_scalings(value, reduction, error):
    problem = random_problem(5)
    declared = {"loss.reduction": reduction, "loss.squared_error": error}
    assert np.isclose(convert(QUANTITIES["ggn.diag"], np.array([value]), problem, {**declared, "parameters.order": "torch"})[0],
                      value * factor(QUANTITIES["ggn.diag"], problem, declared), rtol=1e-14)


def test_amplification_tells_of_cancellation_and_of_unequal_roots():
    problem = random_problem(6)
    constant = likelihood_constants(problem)
    dropped = {"loss.constants": "dropped"}
    assert np.isclose(amplification(QUANTITIES["loss"], constant * (1 + 1e-6), problem, dropped), 1e6, rtol=1e-3)
    assert amplification(QUANTITIES["loss"], constant, problem, dropped) == math.inf
    assert amplification(QUANTITIES["loss"], constant, problem, {}) == 1
    variance = np.array([np.diag([1.0, 1e-8, 1.0])])
    std = {"predictive.variance": "std"}
    assert np.isclose(amplification(QUANTITIES["predictive.glm.variance"], variance, problem, std), 0.5e4)


# Notations -----------------------------------------------------------------------------------------------------------------

def test_there_are_many_axes_each_with_a_default_and_a_meaning_for_every_choice():
    assert len(AXES) >= 25 and len({axis.name for axis in AXES}) == len(AXES)
    assert all(len(axis.meanings) >= 2 and all(axis.meanings.values()) for axis in AXES)


@pytest.mark.parametrize("declared, name, expected", [
    ({"loss.sign": "log_likelihood"}, "hessian.full", lambda H, problem: -H),
    ({"loss.unit": "bits"}, "loss", lambda loss, problem: loss / np.log(2)),
    ({"log_joint.sign": "energy"}, "log_joint", lambda value, problem: -value),
    ({"evidence.reduction": "mean", "evidence.sign": "negative"}, "laplace.log_evidence", lambda value, problem: -value / 11),
    ({"evidence.prior.by": "log_std"}, "laplace.evidence.prior", lambda slope, problem: -2 * slope),
    ({"log_det.of": "covariance", "log_det.factor": "half"}, "laplace.log_det", lambda value, problem: -0.5 * value),
    ({"kfac.reduction": "both_means"}, "ggn.kfac", lambda B, problem: B / 11),
    ({"fisher.centred.divisor": "unbiased", "loss.reduction": "mean"}, "fisher.empirical.centred", lambda F, problem: F / 10),
    ({"laplace.reduction": "mean"}, "laplace.covariance", lambda S, problem: np.linalg.inv(np.linalg.inv(S) / 11)),
    ({"laplace.marginals": "std", "laplace.reduction": "mean"}, "laplace.covariance.diag", lambda v, problem: np.sqrt(11 * v)),
    ({"vi.sign": "negative", "vi.reduction": "mean"}, "vi.full.elbo.gradient.scale", lambda slope, problem: -slope / 11),
    ({"ntk.outputs": "trace"}, "ntk", lambda K, problem: sum(K[:, c, :, c] for c in range(3))),
    ({"ntk.axes": "matrix"}, "ntk", lambda K, problem: K.reshape(33, 33)),
    ({"ntk.axes": "data_data"}, "ntk", lambda K, problem: np.moveaxis(K, 2, 1)),
    ({"outputs.axes": "data_last"}, "forward", lambda f, problem: f.T),
    ({"symmetric.storage": "lower_packed"}, "ggn.full",
     lambda G, problem: np.array([G[i, j] for i in range(33) for j in range(i + 1)])),
    ({"symmetric.storage": "upper_packed"}, "ggn.full",
     lambda G, problem: np.array([G[i, j] for i in range(33) for j in range(i, 33)]))])
def test_a_notation_means_what_it_says(declared, name, expected):
    problem = random_problem(7)
    value = getattr(right, QUANTITIES[name].function_name)(right.prepare(problem))
    got = convert(QUANTITIES[name], value, problem, declared)
    np.testing.assert_allclose(got, expected(value, problem), rtol=1e-10)


@pytest.mark.parametrize("by, slope", [
    ("log_variance", np.log), ("log_std", lambda s: 0.5 * np.log(s)), ("variance", lambda s: s), ("std", np.sqrt),
    ("log_precision", lambda s: -np.log(s)), ("precision", lambda s: 1 / s)])
def test_a_slope_by_another_parameter_follows_the_chain_rule(by, slope):
    """∂E/∂ log σ² divided by the derivative of the parameter by log σ², here by a central difference."""
    problem, h = random_problem(8), 1e-5
    derivative = (slope(problem.variance * np.exp(h)) - slope(problem.variance * np.exp(-h))) / (2 * h)
    got = convert(QUANTITIES["laplace.evidence.noise"], np.array(3.0), problem, {"evidence.noise.by": by})
    assert np.isclose(got, 3.0 / derivative, rtol=1e-9)


@pytest.mark.parametrize("by, variable", [
    ("log_scale", np.log), ("variance", np.square), ("log_variance", lambda c: np.log(c * c))])
def test_a_slope_by_another_form_of_the_scale_follows_the_chain_rule(by, variable):
    """∂/∂c divided by ∂u/∂c, here by a central difference; of a full scale on the diagonal alone."""
    problem = random_problem(8)
    c, h = np.abs(problem.vector), 1e-6 * np.abs(problem.vector)
    inner = (variable(c + h) - variable(c - h)) / (2 * h)
    state = right.prepare(problem)
    slope, full = right.vi_elbo_gradient_scale(state), right.vi_full_elbo_gradient_scale(state)
    got = [converted(problem, name, value, vi__scale__by=by) for name, value in (
        ("vi.elbo.gradient.scale", slope), ("vi.full.elbo.gradient.scale", full))]
    np.testing.assert_allclose(got[0], slope / inner, rtol=1e-8)
    np.testing.assert_allclose(np.diag(got[1]), np.diag(full) / inner, rtol=1e-8)
    assert np.array_equal(np.tril(got[1], -1), np.tril(full, -1)) and not np.triu(got[1], 1).any()
    assert amplification(QUANTITIES["vi.elbo.gradient.scale"], slope, problem, {"vi.scale.by": by}) > 1


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_a_bound_without_constants_is_one_with_the_usual_loss(likelihood):
    problem = random_problem(9, likelihood)
    state = right.prepare(problem)
    whole = {"vi.elbo": right.vi_elbo(state), "vi.full.elbo": right.vi_full_elbo(state)}
    for name, value in whole.items():
        got = converted(problem, name, value, vi__constants="dropped", vi__sign="negative", vi__reduction="mean")
        assert np.isclose(got, -(value + likelihood_constants(problem)) / len(problem.X), rtol=1e-12)
    assert (likelihood_constants(problem) != 0) == (likelihood in ("normal", "poisson"))


def test_a_single_output_may_have_no_axis():
    problem = random_problem(9, sizes=(2, 5, 1))
    assert convert(QUANTITIES["forward"], np.ones((11, 1)), problem, {"outputs.squeeze": "squeezed"}).shape == (11,)
    assert convert(QUANTITIES["forward"], np.ones((11, 3)), random_problem(9), {"outputs.squeeze": "squeezed"}).shape == (11, 3)


def test_layouts_are_undone_to_the_last_bit(solved):
    problem, values = solved
    for axis in notations.LAYOUTS:
        for choice in axis.meanings:
            for name, value in values.items():
                if QUANTITIES[name].kind in ("root", "samples"):
                    continue
                laid = convert(QUANTITIES[name], value, problem, {axis.name: choice})
                back, left = without_layout(QUANTITIES[name], laid, problem, {axis.name: choice, "loss.reduction": "mean"})
                packed = QUANTITIES[name].kind == "symmetric" and laid.ndim == 1
                expected = (np.tril if choice == "lower_packed" else np.triu)(value) if packed else value
                expected = expected + expected.T - np.diag(np.diag(value)) if packed else expected
                assert np.array_equal(back, expected) and left == {"loss.reduction": "mean"}, (name, choice)


# The divergence of a bound -------------------------------------------------------------------------------------------------

FAMILIES = {"vi.elbo": lambda problem: np.diag(np.abs(problem.vector)), "vi.full.elbo": lambda problem: problem.scale}


def sampled_bound(problem, mu, C):
    """(1/s) Σ_s [log p(y | θ_s) + log p(θ_s) − log q(θ_s)], θ_s = μ + C z_s: a loop over densities."""
    posterior, total = right.prepare(problem).posterior, 0.0
    for z in problem.normals:
        theta = mu + C @ z
        log_q = multivariate_normal(mu, C @ C.T).logpdf(theta)
        total += posterior.prior.log_prob(theta) - posterior.loss.value(theta) - log_q
    return total / len(problem.normals)


def slopes_of_sampled_bound(problem, C):
    """By μ and by the lower triangle of C, at fixed z: log q(θ_s) depends on log |C| alone."""
    posterior, p = right.prepare(problem).posterior, len(problem.theta)
    by_mean, by_scale = np.zeros(p), np.diag(1 / np.diagonal(C))
    for z in problem.normals:
        theta = problem.theta + C @ z
        pull = -posterior.loss.gradient(theta) - problem.prior_precision @ (theta - problem.prior_mean)
        by_mean, by_scale = by_mean + pull / len(problem.normals), by_scale + np.outer(pull, z) / len(problem.normals)
    return by_mean, np.tril(by_scale)


@pytest.fixture(scope="module", params=["normal", "poisson"])
def bounded(request):
    """A problem of seven parameters whose prior and scale are full."""
    return random_problem(2, request.param, sizes=(2, 1, 2), num_data=5)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_sampled_divergence_is_that_of_the_densities_at_the_draws(bounded, family):
    problem, C = bounded, FAMILIES[family](bounded)
    names = [family, f"{family}.gradient.mean", f"{family}.gradient.scale"]
    closed = [getattr(right, QUANTITIES[name].function_name)(right.prepare(problem)) for name in names]
    got = [converted(problem, name, value, vi__divergence="sampled") for name, value in zip(names, closed)]
    by_mean, by_scale = slopes_of_sampled_bound(problem, C)
    expected = sampled_bound(problem, problem.theta, C), by_mean, np.diag(by_scale) if family == "vi.elbo" else by_scale
    for mine, theirs, before in zip(got, expected, closed):
        np.testing.assert_allclose(mine, theirs, rtol=1e-10, atol=1e-11 * np.abs(theirs).max())
        assert np.linalg.norm(mine - before) > 1e-4 * np.linalg.norm(before)  # a million times what is allowed above
        wrong_sign = 2 * before - mine
        assert np.linalg.norm(wrong_sign - theirs) > 1e-4 * np.linalg.norm(theirs)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_slopes_of_a_sampled_divergence_are_those_of_its_value(bounded, family):
    """Five points along θ and along v(1 + t): what is added is of degree 1 in θ and at most 4 in t, so that they are exact."""
    direction, v = np.random.default_rng(3).normal(size=len(bounded.theta)), bounded.vector
    by_mean, by_scale = (sum(sampled_less_closed(f"{family}.gradient.{name}", bounded)) for name in ("mean", "scale"))
    stretched = {"vi.elbo": np.abs(v), "vi.full.elbo": np.diag(np.abs(v)) + np.tril(np.outer(v, v), -1)}[family]
    for change, slope in ((lambda t: {"theta": bounded.theta + t * direction}, by_mean @ direction),
                          (lambda t: {"vector": v * (1 + t)}, np.sum(by_scale * stretched))):
        far, near = (sum(sampled_less_closed(family, replace(bounded, **change(h))))
                     - sum(sampled_less_closed(family, replace(bounded, **change(-h)))) for h in (0.5, 0.25))
        assert np.isclose((8 * near - far) / (12 * 0.25), slope, rtol=1e-10)


def test_normals_with_the_moments_of_a_standard_normal_leave_no_difference(bounded):
    p = len(bounded.theta)
    points = math.sqrt(p) * np.concatenate([np.eye(p), -np.eye(p)])
    for name in SAMPLED:
        terms, before = sampled_less_closed(name, replace(bounded, normals=points)), sampled_less_closed(name, bounded)
        assert np.linalg.norm(sum(terms)) <= 1e-13 * sum(map(np.linalg.norm, before)), name


def test_a_sampled_divergence_comes_before_every_factor_and_beside_dropped_constants(bounded):
    state, count = right.prepare(bounded), len(bounded.X)
    wanted = dict(vi__divergence="sampled", vi__sign="negative", vi__reduction="mean", vi__constants="dropped",
                  vi__scale__by="log_scale")
    for family, C in FAMILIES.items():
        C = C(bounded)
        value, _, slope = (getattr(right, QUANTITIES[name].function_name)(state)
                           for name in (family, f"{family}.gradient.mean", f"{family}.gradient.scale"))
        got = converted(bounded, family, value, **wanted)
        expected = -(sampled_bound(bounded, bounded.theta, C) + likelihood_constants(bounded)) / count
        assert np.isclose(got, expected, rtol=1e-10)
        got = converted(bounded, f"{family}.gradient.scale", slope, **wanted)
        by_log = -np.diagonal(slopes_of_sampled_bound(bounded, C)[1]) * np.diagonal(C) / count
        np.testing.assert_allclose(got if got.ndim == 1 else np.diagonal(got), by_log, rtol=1e-9)


def test_amplification_tells_of_a_divergence_that_cancels(bounded):
    added = sampled_less_closed("vi.elbo", bounded)
    value = -sum(added) * (1 + 1e-6)
    assert amplification(QUANTITIES["vi.elbo"], value, bounded, {"vi.divergence": "sampled"}) >= 0.99e6
    slope = right.vi_elbo_gradient_scale(right.prepare(bounded))
    alone = [amplification(QUANTITIES["vi.elbo.gradient.scale"], slope, bounded, {axis: choice})
             for axis, choice in (("vi.divergence", "sampled"), ("vi.scale.by", "log_scale"))]
    both = amplification(QUANTITIES["vi.elbo.gradient.scale"], slope, bounded,
                         {"vi.divergence": "sampled", "vi.scale.by": "log_scale"})
    assert np.isclose(both, math.prod(alone), rtol=1e-12)
