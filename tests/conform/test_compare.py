"""Verdicts: what passes, what does not, and that no answer whatever raises."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp

from refbnn.conform import case as cases, selftest
from refbnn.conform.adapters import refbnn as right
from refbnn.conform.compare import (CAP32, CAP64, MAX_DIGITS, U64, Unusable, Verdict, budget, compare, digits, expected_shape,
                                    linear_map, relative_error, usable)
from refbnn.conform.conventions import convert, permutation
from refbnn.conform.differential import LocalCase, random_problem
from refbnn.conform.quantities import QUANTITIES


@pytest.fixture(scope="module")
def case():
    """One certified case."""
    return cases.read("tanh-normal-2-5-3")


def judge(case, name, answer, conventions=None):
    quantity = QUANTITIES[name]
    return compare(quantity, case.values[quantity.certified_by], answer, case.problem, conventions or {})


@pytest.mark.parametrize("line", [*selftest.comparisons(cases.read("tanh-normal-2-5-3"))], ids=lambda line: line.planted)
def test_planted_answers_get_their_verdict(line):
    assert line.holds, line


@pytest.mark.parametrize("line", [*selftest.conventions(cases.read("tanh-normal-2-5-3"))], ids=lambda line: line.planted)
def test_declared_conventions_are_followed_and_undeclared_ones_seen(line):
    assert line.holds, line


def test_the_package_passes_every_check_of_a_case(case):
    state = right.prepare(case.problem)
    for name, quantity in QUANTITIES.items():
        if quantity.certified_by in case.values:
            found = judge(case, name, getattr(right, quantity.function_name)(state))
            assert found.verdict in (Verdict.EXACT, Verdict.PASS), (name, found)


def test_the_tolerance_is_thirty_n_u_kappa(case):
    certified = case.values["ggn.full"]
    size = len(case.problem.theta) + len(case.problem.X)
    assert budget(QUANTITIES["ggn.full"], certified, case.problem, {}).tolerance == 30 * size * certified.condition * U64


def test_one_direction_doubled_passes_allclose_and_has_natural_error_one():
    covariance = np.diag([1.0, 1.0, 1e-9])
    doubled = covariance + np.diag([0, 0, 1e-9])
    assert np.allclose(doubled, covariance)
    case = LocalCase(random_problem(0, sizes=(1, 1, 1), num_data=3, bias=False))
    certified = selftest.Certified(covariance[1:, 1:], "M", 1.0, None, None)
    found = compare(QUANTITIES["laplace.covariance"], certified, doubled[1:, 1:], case.problem, {})
    assert found.verdict is Verdict.MISMATCH and found.natural == 0.0 and found.digits > 8.9


@given(size=st.floats(-15, 1).map(lambda x: 10.0 ** x), seed=st.integers(0, 10 ** 6))
@settings(max_examples=60, deadline=None)
def test_digits_and_verdict_follow_the_size_of_the_error(case, size, seed):
    value = case.values["fisher.empirical"].value
    noise = np.random.default_rng(seed).standard_normal(value.shape)
    answer = value + size * np.linalg.norm(value) * noise / np.linalg.norm(noise)
    found = judge(case, "fisher.empirical", answer)
    assert math.isclose(found.error, size, rel_tol=0.2, abs_tol=1e-15)
    limit = budget(QUANTITIES["fisher.empirical"], case.values["fisher.empirical"], case.problem, {})
    if found.error > limit.lossy:
        assert found.verdict is Verdict.MISMATCH
    elif found.error > limit.tolerance:
        assert found.verdict is Verdict.LOSSY
    else:
        assert found.verdict in (Verdict.PASS, Verdict.EXACT)


JUNK = st.one_of(
    st.none(), st.text(), st.binary(), st.booleans(), st.complex_numbers(), st.dictionaries(st.text(), st.integers()),
    st.recursive(st.floats() | st.text() | st.none(), lambda inner: st.lists(inner, max_size=4), max_leaves=8),
    hnp.arrays(st.sampled_from(["f8", "f4", "i4", "u1", "?", "c16", "O", "U3", "M8[s]"]),
               hnp.array_shapes(min_dims=0, max_dims=3)),
    st.builds(object), st.just(np.float64), st.just(float("nan")), st.sets(st.integers()))


@given(junk=JUNK, name=st.sampled_from(list(QUANTITIES)))
@settings(max_examples=150, deadline=None)
def test_junk_never_raises_and_never_passes(case, junk, name):
    if QUANTITIES[name].certified_by in case.values:
        found = judge(case, name, junk)
        assert found.verdict is Verdict.MISMATCH and (found.message or found.error > 1e-3)


@given(data=st.data(), name=st.sampled_from(list(QUANTITIES)))
@settings(max_examples=80, deadline=None)
def test_any_floats_of_the_right_shape_never_raise(case, data, name):
    quantity = QUANTITIES[name]
    if quantity.certified_by not in case.values:
        return
    shape = expected_shape(quantity, case.values[quantity.certified_by], case.problem, {})
    number = data.draw(st.floats(allow_nan=True, allow_infinity=True))
    answer = np.full(shape, number)
    assert judge(case, name, answer).verdict is Verdict.MISMATCH


def test_nan_is_never_equal_to_nan(case):
    certified = selftest.Certified(np.full((2, 2), np.nan), "M", 1.0, None, None)
    assert judge(case, "forward", np.full_like(case.values["forward"].value, np.nan)).verdict is Verdict.MISMATCH
    assert relative_error(certified.value, certified.value) == math.inf


def test_shapes_do_not_broadcast(case):
    value = case.values["gradient"].value
    for shape in ((1, len(value)), (len(value), 1), ()):
        assert judge(case, "gradient", np.full(shape, value[0])).message.startswith("expected shape")


def test_float32_answers_are_lossy_and_pass_where_declared(case):
    state = right.prepare(case.problem)
    for name in ("ggn.full", "laplace.covariance", "laplace.log_evidence", "predictive.glm.variance"):
        answer = np.asarray(getattr(right, QUANTITIES[name].function_name)(state), np.float32)
        assert judge(case, name, answer).verdict is Verdict.LOSSY, name
        assert judge(case, name, answer, {"precision": "float32"}).verdict is Verdict.PASS, name


def test_a_tolerance_over_the_cap_is_never_a_pass(case):
    certified = case.values["ggn.full"]
    loose = selftest.Certified(certified.value, "M", 1e8, None, None)
    limit = budget(QUANTITIES["ggn.full"], loose, case.problem, {})
    assert limit.tolerance > CAP64
    answer = certified.value * (1 + limit.tolerance / 2)
    assert compare(QUANTITIES["ggn.full"], loose, answer, case.problem, {}).verdict is Verdict.UNDERPOWERED


def test_any_root_passes_and_the_root_of_another_matrix_does_not(case):
    covariance = case.values["laplace.covariance"].value
    sizes, vectors = np.linalg.eigh(covariance)
    for root in (np.linalg.cholesky(covariance), vectors * np.sqrt(sizes), (vectors * np.sqrt(sizes)) @ vectors.T):
        assert judge(case, "laplace.scale", root).verdict is Verdict.PASS
    assert judge(case, "laplace.scale", covariance).verdict is Verdict.MISMATCH
    assert judge(case, "laplace.scale", np.diag(np.sqrt(np.diag(covariance)))).verdict is Verdict.MISMATCH


@pytest.mark.parametrize("order", ["torch", "flax"])
def test_the_map_of_the_normals_is_recovered_in_any_order(case, order):
    problem = case.problem
    root = np.linalg.cholesky(convert(QUANTITIES["laplace.covariance"], case.values["laplace.covariance"].value, problem,
                                      {"parameters.order": order}))
    samples = problem.theta[permutation(problem, order)] + problem.normals @ root.T
    found, growth = linear_map(samples, problem, order)
    assert np.allclose(found, root, rtol=0, atol=1e-12) and growth >= 1
    assert judge(case, "laplace.sample", samples, {"parameters.order": order}).verdict is Verdict.PASS


@pytest.mark.parametrize("spoil, words", [
    (lambda s, p: s + 1, "their mean is shifted"), (lambda s, p: np.tanh(s), "no linear map"),
    (lambda s, p: 0 * s + p.theta, "not used"), (lambda s, p: s[::-1], "no linear map")])
def test_samples_that_are_no_linear_map_around_theta_are_refused_in_words(case, spoil, words):
    samples = right.laplace_sample(right.prepare(case.problem))
    found = judge(case, "laplace.sample", spoil(samples, case.problem))
    assert found.verdict is Verdict.MISMATCH and words in found.message


def test_too_few_normals_are_the_problems_fault():
    problem = random_problem(0)
    few = selftest.replace(problem, normals=problem.normals[:3])
    samples = few.theta + few.normals
    found = compare(QUANTITIES["laplace.sample"], LocalCase(problem).values["laplace.covariance"], samples, few, {})
    assert found.verdict is Verdict.UNDERPOWERED and "too few" in found.message


def test_asymmetry_is_reported(case):
    assert "not symmetric" in judge(case, "ggn.full", np.triu(case.values["ggn.full"].value)).message


def test_digits_are_between_zero_and_sixteen():
    assert [digits(x) for x in (0.0, 1e-20, 1e-3, 1.0, 50.0, math.inf)] == [MAX_DIGITS, MAX_DIGITS, 3.0, 0.0, 0.0, 0.0]


def test_usable_names_what_came():
    with pytest.raises(Unusable, match=r"expected shape \(2,\), got \(3,\)"):
        usable([1, 2, 3], (2,))
    with pytest.raises(Unusable, match="1 of 2 entries not finite"):
        usable([1, np.inf], (2,))


def test_the_caps_are_those_that_the_readme_states():
    """Beyond a relative error of 1e-6 nothing passes, whatever the condition number; 1e-3 where single precision is declared."""
    assert (CAP64, CAP32) == (1e-6, 1e-3)


@pytest.mark.parametrize("name, conventions, verdict", [
    ("ggn.full", {"precision": "float32"}, Verdict.UNDERPOWERED), ("ggn.full", {}, Verdict.MISMATCH),
    ("hessian.full", {"precision": "float32"}, Verdict.MISMATCH)])
def test_a_zero_for_what_single_precision_cannot_hold_is_no_mismatch_where_it_is_declared(name, conventions, verdict):
    tiny = cases.read("grid-square-gamma-1-1-1-1-1-no-bias-near")  # a GGN of 1e-77, a Hessian of 1e-35
    assert judge(tiny, name, np.zeros((4, 4)), conventions).verdict is verdict
