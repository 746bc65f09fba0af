"""The reader of certified cases proves its parse and refuses everything else; the package's cases are what they claim to be."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import re
import shutil
import struct
import subprocess
import sys
from fractions import Fraction
from types import SimpleNamespace
from typing import Any, Callable

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from refbnn import Gaussian, linalg, vi
from refbnn.conform import case, layouts
from refbnn.conform.adapters import refbnn as right
from refbnn.conform.compare import Verdict, compare
from refbnn.conform.problem import ACTIVATIONS, LIKELIHOODS, PAIRED, PARAMETERS
from refbnn.conform.quantities import QUANTITIES
from refbnn.precision import Dense

CASES = case.read_all()
SMALL, INTEGRALS = "one-parameter", "two-classes"
BINARY, COUNTS, LABELS = "iris-logistic-regression", "linnerud-softplus-3-2-3", "no-bias-no-hidden-layer"
TAILS, CORRELATED, LEVELS = "student-t-tanh-2-3-3", "normal-full-tanh-2-3-3", "ordinal-tanh-2-3-3"
POSITIVE, PAIRS, MODES = "gamma-tanh-2-3-3", "heteroscedastic-tanh-2-3-2", "posterior-tanh-normal"
PACKED, ZERO, PER_LAYER = "linear-normal-2-3", "interpolation", "width-one"


def tree(name: str) -> dict:
    return json.loads((case.CASES / f"{name}.json").read_text(encoding="utf-8"))


def parsed(content: Any, name: str) -> case.Case:
    return case.parse(json.dumps(content).encode(), f"{name}.json")


def rehashed(entry: dict) -> None:
    """A consistent hash, so that a planted fault in the data meets the check behind the hash."""
    numbers = [number / entry.get("over", 1) for number in entry["data"]]
    entry["sha256"] = hashlib.sha256(struct.pack(f"<{len(numbers)}d", *numbers)).hexdigest()


every_case = pytest.mark.parametrize("one", CASES, ids=lambda c: c.id)
FULL = [c for c in CASES if "ggn.full" in c.values]
every_full = pytest.mark.parametrize("one", FULL, ids=lambda c: c.id)


# -- what the package ships -----------------------------------------------------------------------------------

def test_there_are_many_cases_of_every_family():
    families = [c.family for c in CASES]
    assert len(CASES) >= 300 and len(FULL) >= 60
    assert {c.family for c in FULL} == set(families)
    assert set(families) == set(case.FAMILIES)
    assert families.count("real") >= 8


def test_ids_are_the_sorted_file_names_and_unique():
    assert case.ids() == [c.id for c in CASES] == sorted(set(case.ids()))
    assert all(case.SLUG.match(name) for name in case.ids())


def test_every_activation_likelihood_prior_and_bias_occurs():
    assert {c.problem.activation for c in CASES} == set(ACTIVATIONS)
    assert {c.problem.likelihood for c in CASES} == set(LIKELIHOODS)
    assert {tree(c.id)["prior"]["kind"] for c in CASES} == set(case.PRIOR_KEYS)
    assert {c.problem.bias for c in CASES} == {True, False}
    assert any(c.problem.prior_mean.any() for c in CASES)
    assert {len(c.problem.sizes) for c in CASES} >= {2, 3, 4, 5}


def test_every_tier_and_a_positive_definite_hessian_occur():
    assert {value.tier for c in CASES for value in c.values.values()} == set(case.TIERS)
    assert sum("laplace.hessian.covariance" in c.values for c in CASES) >= 10


@every_case
def test_real_data_are_cited_and_only_they_have_a_source(one):
    assert bool(one.source) == (one.family == "real")


@every_case
def test_inputs_are_exact_in_float32_and_multiples_of_a_power_of_two(one):
    for name in ("prior_mean", "prior_precision", "X", "y", "theta", "X_new", "vector", "labels", "normals", "draws"):
        values = np.asarray(getattr(one.problem, name), dtype=float)
        unit = 2 ** 12 if name == "prior_precision" else 256
        assert np.array_equal(values.astype(np.float32), values), name
        assert np.array_equal(values * unit, np.rint(values * unit)), name


@every_case
def test_normals_determine_a_linear_map_well(one):
    assert len(one.problem.normals) > len(one.problem.theta)
    assert np.linalg.cond(one.problem.normals) < 10


@pytest.mark.parametrize("one", [c for c in CASES if c.family == "diagnostic"], ids=lambda c: c.id)
def test_sizes_of_the_diagnostic_family_are_multiplicatively_independent(one):
    """No product of powers of N, C, 2, σ² and τ is 1, so that a scale factor has one name only."""
    problem = one.problem
    numbers = [Fraction(problem.num_data), Fraction(problem.num_outputs), Fraction(2)]
    numbers += [Fraction(problem.variance)] if problem.variance else []
    numbers += [Fraction(value) for value in problem.likelihood_parameters.values() if isinstance(value, float)]
    prior = tree(one.id)["prior"]
    numbers += [Fraction(prior["precision"])] if prior["kind"] == "isotropic" else []
    assert problem.num_outputs > 2
    assert np.linalg.matrix_rank(exponents(numbers)) == len(numbers)


def exponents(numbers: list[Fraction]) -> np.ndarray:
    """Prime exponents, a row for each number."""
    primes = [p for p in range(2, 400) if all(p % q for q in range(2, p))]
    rows = [[power(x.numerator, p) - power(x.denominator, p) for p in primes] for x in numbers]
    assert all(math.prod(Fraction(p) ** e for p, e in zip(primes, row)) == x for row, x in zip(rows, numbers))
    return np.array(rows)


def power(number: int, prime: int) -> int:
    count = 0
    while number % prime == 0:
        number, count = number // prime, count + 1
    return count


def test_dependent_sizes_are_seen_as_such():
    assert np.linalg.matrix_rank(exponents([Fraction(6), Fraction(3), Fraction(2)])) == 2


# -- the values hang together -----------------------------------------------------------------------------------

@every_case
def test_values_have_the_shapes_of_their_quantities_and_cannot_be_written_to(one):
    problem = one.problem
    means = problem.num_outputs // 2 if problem.likelihood in PAIRED else problem.num_outputs
    axes = {"n": len(problem.X), "k": problem.num_outputs, "p": problem.num_params, "m": len(problem.X_new), "y": means,
            "q": problem.num_outputs * (problem.sizes[-2] + problem.bias), "r": int((problem.vector > 0).sum())}
    for name, certified in one.values.items():
        assert certified.value.shape == tuple(axes[a] for a in QUANTITIES[name].axes.split())
        assert not certified.value.flags.writeable
        assert np.isfinite(certified.value).all()
        assert certified.condition >= 1


@every_full
def test_diagonals_are_those_of_the_matrices_bit_for_bit(one):
    for name, matrix in DIAGONALS.items():
        if matrix in one.values:
            assert np.array_equal(np.diag(one.values[matrix].value), one.values[name].value)


DIAGONALS = {"ggn.diag": "ggn.full", "hessian.diag": "hessian.full", "fisher.diag": "fisher.full", "fisher.mc.diag": "fisher.mc",
             "fisher.empirical.diag": "fisher.empirical", "laplace.covariance.diag": "laplace.covariance",
             "fisher.empirical.centred.diag": "fisher.empirical.centred"}


@every_full
def test_products_are_those_of_the_matrices(one):
    v = one.problem.vector
    for name, matrix in PRODUCTS.items():
        if matrix in one.values:
            M, product = one.values[matrix].value, one.values[name].value
            allowed = 30 * len(v) * 2.0 ** -53 * np.linalg.norm(M) * np.linalg.norm(v)
            assert np.linalg.norm(M @ v - product) <= allowed, name


PRODUCTS = {"jacobian.vp": "jacobian", "ggn.vp": "ggn.full", "hessian.hvp": "hessian.full", "fisher.vp": "fisher.full",
            "fisher.mc.vp": "fisher.mc", "fisher.empirical.vp": "fisher.empirical", "laplace.covariance.vp": "laplace.covariance",
            "fisher.empirical.centred.vp": "fisher.empirical.centred"}


@pytest.mark.parametrize("one", [c for c in CASES if "ggn.full" not in c.values], ids=lambda c: c.id)
def test_where_matrices_are_left_out_diagonals_and_products_stand_for_them(one):
    for name in (*DIAGONALS, *PRODUCTS):
        if not name.startswith("laplace") or "laplace.log_det" in one.values:
            assert name in one.values


@every_full
def test_the_fisher_matrix_is_the_ggn_in_natural_parameters_bit_for_bit_and_nowhere_else(one):
    fisher, ggn = one.values["fisher.full"].value, one.values["ggn.full"].value
    canonical = one.problem.likelihood in ("normal", "normal_full", "bernoulli", "categorical", "poisson",
                                           "heteroscedastic_natural")
    least = 1e-7 if "nearly" in one.id else 1e-4 if "near a mode" in one.title else 0.01  # the two part with the residuals
    assert np.array_equal(fisher, ggn) if canonical else np.linalg.norm(fisher - ggn) > least * np.linalg.norm(ggn)


STRUCTURED = [c for c in CASES if {"ntk", "ggn.full"} <= set(c.values)]
every_structured = pytest.mark.parametrize("one", STRUCTURED, ids=lambda c: c.id)


def test_every_likelihood_has_structures_and_two_depths():
    structured = [c for c in CASES if "ntk" in c.values]
    depths = {name: {len(c.problem.sizes) for c in structured if c.problem.likelihood == name} for name in LIKELIHOODS}
    assert all(len(found) > 1 for name, found in depths.items() if name not in ("normal", "bernoulli", "categorical", "poisson"))
    assert all(depths.values()) and len(structured) >= 48 and len(STRUCTURED) >= 25
    assert {c.problem.bias for c in STRUCTURED} == {True, False}


def inside_layers(problem) -> np.ndarray:
    """True in the diagonal blocks of the layers."""
    layer = np.repeat(np.arange(len(problem.layer_sizes)), problem.layer_sizes)
    return layer[:, None] == layer


@every_case
def test_posteriors_from_parts_of_the_precision_are_their_inverses(one):
    values = {name: certified.value for name, certified in one.values.items()}
    q = one.problem.layer_sizes[-1]
    if "laplace.precision" in values:
        P = values["laplace.precision"]
        assert np.allclose(values["laplace.diag.variance"] * np.diag(P), 1, rtol=0, atol=2.0 ** -51)
        assert math.isclose(values["laplace.diag.log_det"], np.log(np.diag(P)).sum(), rel_tol=1e-13, abs_tol=1e-13 * len(P))
    if {"laplace.lastlayer.covariance", "laplace.precision"} <= set(values):
        block = values["laplace.precision"][-q:, -q:]
        assert inverse_to_round_off(block, values["laplace.lastlayer.covariance"])
        assert math.isclose(values["laplace.lastlayer.log_det"], np.linalg.slogdet(block)[1], rel_tol=1e-12, abs_tol=1e-12 * q)
    if {"laplace.subset.covariance", "laplace.precision"} <= set(values):
        S = np.flatnonzero(one.problem.vector > 0)
        block = values["laplace.precision"][np.ix_(S, S)]
        assert inverse_to_round_off(block, values["laplace.subset.covariance"])
        assert math.isclose(values["laplace.subset.log_det"], np.linalg.slogdet(block)[1], rel_tol=1e-12, abs_tol=1e-12 * len(S))
    if "laplace.kron.covariance" in values:
        P = values["ggn.kfac"] + np.where(inside_layers(one.problem), one.problem.prior_precision, 0.0)
        assert inverse_to_round_off(P, values["laplace.kron.covariance"])
        assert math.isclose(values["laplace.kron.log_det"], np.linalg.slogdet(P)[1], rel_tol=1e-12, abs_tol=1e-12 * len(P))


def inverse_to_round_off(P: np.ndarray, S: np.ndarray) -> bool:
    return bool(np.linalg.norm(P @ S - np.eye(len(P))) < 30 * len(P) * 2.0 ** -53 * np.linalg.norm(P) * np.linalg.norm(S))


@every_case
def test_slopes_of_the_evidence_follow_from_the_covariance(one):
    values, problem = {name: certified.value for name, certified in one.values.items()}, one.problem
    if "laplace.covariance" not in values:
        return
    d, P0, S = problem.theta - problem.prior_mean, problem.prior_precision, values["laplace.covariance"]
    effective = len(d) - np.sum(S * P0)
    size = len(d) + abs(d @ P0 @ d) + np.linalg.norm(S) * np.linalg.norm(P0)
    assert abs(values["laplace.evidence.prior"] - 0.5 * (effective - d @ P0 @ d)) <= 1e-12 * size
    assert ("laplace.evidence.noise" in values) == (problem.likelihood == "normal")
    if problem.likelihood == "normal":
        errors = ((values["forward"] - problem.y) ** 2).sum() / problem.variance
        assert abs(values["laplace.evidence.noise"] - 0.5 * (errors - problem.y.size + effective)) <= 1e-12 * (size + errors)
    structures = {"diag": np.diag(values["laplace.diag.variance"])}
    structures |= {"kron": values["laplace.kron.covariance"]} if "laplace.kron.covariance" in values else {}
    for name, S in structures.items():
        effective = len(d) - np.sum(S * P0)
        assert abs(values[f"laplace.{name}.evidence.prior"] - 0.5 * (effective - d @ P0 @ d)) <= 1e-12 * size, name
        if problem.likelihood == "normal":
            slope = 0.5 * (errors - problem.y.size + effective)
            assert abs(values[f"laplace.{name}.evidence.noise"] - slope) <= 1e-12 * (size + errors), name


@every_structured
def test_the_evidence_of_a_part_is_that_of_the_others_fixed(one):
    values, problem = {name: certified.value for name, certified in one.values.items()}, one.problem
    if "laplace.subset.log_det" not in values:
        return
    q = problem.layer_sizes[-1]
    for name, part in (("lastlayer", np.arange(problem.num_params)[-q:]), ("subset", np.flatnonzero(problem.vector > 0))):
        d, P0 = (problem.theta - problem.prior_mean)[part], problem.prior_precision[np.ix_(part, part)]
        terms = [np.linalg.slogdet(P0)[1], -d @ P0 @ d, -values[f"laplace.{name}.log_det"], -2 * values["loss"]]
        assert math.isclose(values[f"laplace.{name}.log_evidence"], sum(terms) / 2, abs_tol=1e-12 * np.abs(terms).sum())


@every_case
def test_a_process_is_the_linearised_network_by_functions(one):
    """Conditioning K = J P₀⁻¹ Jᵀ on the data gives what weights give: mean, covariance and evidence."""
    values, problem = {name: certified.value for name, certified in one.values.items()}, one.problem
    assert ("gp.mean" in values) == (problem.likelihood == "normal" and "predictive.joint" in values)
    if "gp.mean" not in values or "jacobian" not in values or problem.variance < 1e-3:
        return
    J, shift = values["jacobian"].reshape(-1, problem.num_params), problem.prior_mean - problem.theta
    K = J @ np.linalg.solve(problem.prior_precision, J.T) + problem.variance * np.eye(len(J))
    e = (problem.y - values["forward"]).ravel() - J @ shift
    evidence = -0.5 * (e @ np.linalg.solve(K, e) + np.linalg.slogdet(K)[1] + len(e) * np.log(2 * np.pi))
    assert math.isclose(values["gp.log_evidence"], evidence, rel_tol=1e-9)
    if "gp.kernel" in values:
        found = values["gp.kernel"].reshape(K.shape) + problem.variance * np.eye(len(J))
        assert np.linalg.norm(found - K) <= 1e-12 * np.linalg.norm(K) * np.linalg.cond(problem.prior_precision)


@every_structured
def test_the_gram_dual_has_the_eigenvalues_of_the_empirical_fisher_matrix(one):
    gram, fisher = one.values["fisher.empirical.gram"].value, one.values["fisher.empirical"].value
    small, large = sorted((np.linalg.eigvalsh(gram), np.linalg.eigvalsh(fisher)), key=len)
    assert np.allclose(small, large[-len(small):], rtol=0, atol=1e-13 * large[-1])


@every_structured
def test_the_nearest_kronecker_product_is_one_and_nearer_than_kfac(one):
    G, kfac, nearest = (one.values[name].value for name in ("ggn.blockdiag", "ggn.kfac", "ggn.vanloan"))
    for (into, block), (_, exact), (_, other) in zip(*(layers(one.problem, M) for M in (nearest, G, kfac))):
        singular = np.linalg.svd(rearranged(block, into, one.problem.bias), compute_uv=False)
        whole = np.linalg.svd(rearranged(exact, into, one.problem.bias), compute_uv=False)
        assert singular[1:].max(initial=0.0) <= 1e-14 * len(block) * whole[0]
        assert math.isclose(singular[0], whole[0], rel_tol=1e-13)
        assert np.linalg.norm(exact - block) <= np.linalg.norm(exact - other) * (1 + 1e-12)


@every_full
def test_third_derivatives_vanish_where_the_loss_is_quadratic_and_nowhere_else(one):
    quadratic = one.id == "dead-units" or len(one.problem.sizes) == 2 and one.problem.likelihood in ("normal", "normal_full")
    assert ("third.vv" in one.values) != quadratic
    assert quadratic or one.values["third.vv"].value.any()


@every_case
def test_bounds_hold_together(one):
    values, problem = {name: certified.value for name, certified in one.values.items()}, one.problem
    if "vi.elbo" not in values:
        return
    P0, d, c = problem.prior_precision, problem.theta - problem.prior_mean, np.abs(problem.vector)
    terms = [np.sum(np.diag(P0) * c ** 2), d @ P0 @ d, -len(d), -np.linalg.slogdet(P0)[1], -2 * np.log(c).sum()]
    assert math.isclose(values["vi.kl"], sum(terms) / 2, abs_tol=1e-13 * np.abs(terms).sum())
    assert values["vi.kl"] > 0 and values["vi.kl.reverse"] > 0
    assert ("vi.kl.laplace" in values) == ("laplace.log_det" in values)
    if {"vi.kl.laplace", "laplace.covariance"} <= set(values):
        S = values["laplace.covariance"]
        terms = [np.sum(P0 * S), d @ P0 @ d, -len(d), values["laplace.log_det"], -np.linalg.slogdet(P0)[1]]
        assert math.isclose(values["vi.kl.laplace"], sum(terms) / 2, abs_tol=1e-11 * np.abs(terms).sum())
        assert values["vi.kl.laplace.reverse"] > 0


@every_case
def test_the_divergence_of_a_full_scale_is_that_of_its_covariance(one):
    if "vi.full.kl" not in one.values:
        return
    problem, C = one.problem, one.problem.scale
    P0, d, S = problem.prior_precision, problem.theta - problem.prior_mean, C @ C.T
    for name, A, B in (("vi.full.kl", P0, S), ("vi.full.kl.reverse", np.linalg.inv(S), np.linalg.inv(P0))):
        terms = [np.sum(A * B), d @ A @ d, -len(d), -np.linalg.slogdet(A)[1], -np.linalg.slogdet(B)[1]]
        assert math.isclose(one.values[name].value, sum(terms) / 2, abs_tol=1e-11 * np.abs(terms).sum())
    assert not np.triu(one.values["vi.full.elbo.gradient.scale"].value, 1).any()
    assert one.values["vi.full.elbo"].value != one.values["vi.elbo"].value


OPTIMA = [c for c in CASES if "vi.optimum.mean" in c.values]


def test_at_least_sixteen_optima_are_certified_of_eight_likelihoods():
    assert len(OPTIMA) >= 16 and len({c.problem.likelihood for c in OPTIMA}) >= 8
    assert {c.values["vi.optimum.mean"].tier for c in OPTIMA} == {"E", "Q"}
    assert max(len(c.problem.theta) for c in OPTIMA if c.values["vi.optimum.mean"].tier == "Q") >= 4


@pytest.mark.parametrize("one", OPTIMA, ids=lambda c: c.id)
def test_the_best_gaussian_is_better_than_the_best_of_independent_parameters_and_no_better_than_the_posterior(one):
    values = {name: certified.value for name, certified in one.values.items()}
    gap = values["vi.optimum.elbo"] - values["vi.optimum.meanfield.elbo"]
    correlated = len(one.problem.theta) > 1
    assert gap > 1e-6 if correlated else abs(gap) < 1e-15
    assert (np.linalg.eigvalsh(values["vi.optimum.covariance"]) > 0).all() and (values["vi.optimum.meanfield.variance"] > 0).all()
    if "posterior.log_evidence" in values:
        lost = values["posterior.log_evidence"] - values["vi.optimum.elbo"]
        is_gaussian = one.values["vi.optimum.mean"].tier == "E"
        assert abs(lost) < 1e-13 * abs(values["vi.optimum.elbo"]) if is_gaussian else lost > 1e-6


@pytest.mark.parametrize("one", OPTIMA, ids=lambda c: c.id)
def test_no_step_from_the_best_gaussian_raises_the_bound(one):
    """By the package's own expectations; every entry of the mean and of C moved both ways, and a better one is not there."""
    if one.values["vi.optimum.mean"].tier == "E":
        return
    state, p = right.prepare(one.problem), len(one.problem.theta)
    how = right._expectations(state)
    mean, C = one.values["vi.optimum.mean"].value, np.linalg.cholesky(one.values["vi.optimum.covariance"].value)

    def bound(mean, C):
        return vi.elbo(state.posterior, Gaussian(mean, Dense(linalg.symmetric_part(np.linalg.inv(C @ C.T)))), how).value
    best = bound(mean, C)
    assert math.isclose(best, one.values["vi.optimum.elbo"].value, rel_tol=1e-9)
    for h in (1e-2, -1e-2):
        steps = [(mean + h * np.eye(p)[i], C) for i in range(p)]
        steps += [(mean, C + h * np.outer(np.eye(p)[i], np.eye(p)[j])) for i in range(p) for j in range(i + 1)]
        assert all(bound(*step) < best - 1e-6 for step in steps)


@every_case
def test_expectations_under_normal_outputs_are_what_closed_forms_say(one):
    values, name = {key: certified.value for key, certified in one.values.items()}, one.problem.likelihood
    if "predictive.exact" not in values:
        return
    f, v = values["predictive.glm.mean"], np.diagonal(values["predictive.glm.variance"], axis1=-2, axis2=-1)
    E = values["predictive.exact"]
    if name in ("poisson", "negative_binomial", "gamma"):
        assert np.allclose(E, np.exp(f + v / 2), rtol=1e-12, atol=0)
    elif name == "categorical":
        assert one.values["predictive.exact"].tier == "Q" and "agree to" in one.values["predictive.exact"].record
        assert np.allclose(E.sum(-1), 1, rtol=0, atol=1e-15)
        assert np.abs(E - values["predictive.probit.multiclass"]).max() < 0.25
    elif name == "bernoulli":
        assert np.abs(E - values["predictive.probit"]).max() < 0.02
        assert ((E > 0.5) == (f > 0)).all() and (np.abs(E - 0.5) < np.abs(1 / (1 + np.exp(-f)) - 0.5)).all()


POSTERIORS = [c for c in CASES if "posterior.mean" in c.values]


def test_at_least_twelve_posteriors_are_certified_most_of_them_by_two_quadratures():
    by_quadrature = [c for c in POSTERIORS if c.values["posterior.log_evidence"].tier == "Q"]
    assert len(by_quadrature) >= 14 and len(POSTERIORS) >= len(by_quadrature) + 3
    assert all(int(value.record.split()[-2]) >= 13 for c in by_quadrature for name, value in c.values.items()
               if name.startswith("posterior."))
    assert len({c.problem.likelihood for c in by_quadrature}) >= 10


@pytest.mark.parametrize("one", POSTERIORS, ids=lambda c: c.id)
@pytest.mark.parametrize("name, wrong", [
    ("posterior.log_evidence", lambda s: right.posterior_log_evidence(s) + 1e-6),
    ("posterior.mean", lambda s: right.posterior_mean(s) * (1 + 1e-6)),
    ("posterior.covariance", lambda s: right.posterior_covariance(s) * (1 + 1e-6)),
    ("posterior.predictive.mean", lambda s: right.posterior_predictive_mean(s) * (1 + 1e-6)),
    ("posterior.predictive.variance", lambda s: right.posterior_predictive_variance(s) + 1e-6),
    ("posterior.f.mean", lambda s: right.posterior_f_mean(s) * (1 + 1e-6)),
    ("posterior.log_likelihood.mean", lambda s: right.posterior_log_likelihood_mean(s) * (1 + 1e-6)),
    ("posterior.log_likelihood.variance", lambda s: right.posterior_log_likelihood_variance(s) * (1 + 1e-6)),
    ("posterior.log_joint.mean", lambda s: right.posterior_log_joint_mean(s) * (1 + 1e-6)),
    ("posterior.log_joint.variance", lambda s: right.posterior_log_joint_variance(s) * (1 + 1e-6))])
def test_cubature_agrees_with_a_certified_posterior_and_a_millionth_is_seen(one, name, wrong):
    """A third computation, the package's own cubature; what is off by a millionth does not pass."""
    if name not in one.values:
        pytest.skip("a linear regression has the posterior of its weights alone")
    quantity, state = QUANTITIES[name], right.prepare(one.problem)
    judged = [compare(quantity, one.values[name], answer(state), one.problem, {}).verdict
              for answer in (getattr(right, quantity.function_name), wrong)]
    assert judged[0] in (Verdict.PASS, Verdict.EXACT) and judged[1] not in (Verdict.PASS, Verdict.EXACT)


def test_laplace_is_the_posterior_of_linear_regression_and_of_nothing_else():
    for one in POSTERIORS:
        if "laplace.log_evidence" in one.values and "gp.log_evidence" in one.values:
            evidence, exact = one.values["gp.log_evidence"].value, one.values["posterior.log_evidence"].value
            assert (evidence == exact) == (len(one.problem.sizes) == 2)


@every_case
def test_approximate_class_probabilities_are_probabilities(one):
    for name in {"predictive.meanfield", "predictive.bridge"} & set(one.values):
        p = one.values[name].value
        assert (p > 0).all() and np.allclose(p.sum(-1), 1, rtol=0, atol=1e-15 * one.problem.num_outputs)
    if "predictive.bridge" in one.values:
        alpha = one.values["predictive.concentration"].value
        assert np.allclose(alpha / alpha.sum(-1, keepdims=True), one.values["predictive.bridge"].value, rtol=1e-14, atol=0)


@every_case
def test_predictives_are_blocks_of_the_joint_one_and_probabilities(one):
    values = {name: certified.value for name, certified in one.values.items()}
    if "predictive.joint" in values:
        blocks = np.stack([each[:, i] for i, each in enumerate(values["predictive.joint"])])
        assert np.array_equal(blocks, values["predictive.glm.variance"])
        assert ("predictive.probit" in values) == (one.problem.likelihood == "bernoulli")
        assert ("predictive.probit.multiclass" in values) == (one.problem.likelihood == "categorical")
    if "predictive.probit.multiclass" in values:
        assert np.allclose(values["predictive.probit.multiclass"].sum(-1), 1, rtol=0, atol=1e-15 * one.problem.num_outputs)


@every_structured
def test_blocks_and_diagonals_are_cut_out_of_their_matrices_bit_for_bit(one):
    inside = inside_layers(one.problem)
    q = one.problem.layer_sizes[-1]
    values = {name: certified.value for name, certified in one.values.items()}
    for name in ("ggn", "hessian"):
        assert np.array_equal(values[f"{name}.blockdiag"], np.where(inside, values[f"{name}.full"], 0.0))
    assert np.array_equal(values["ggn.lastlayer"], values["ggn.full"][-q:, -q:])
    assert np.array_equal(values["hessian.lastlayer"], values["hessian.full"][-q:, -q:])
    assert np.array_equal(values["ggn.subset"], values["ggn.full"][np.ix_(*[np.flatnonzero(one.problem.vector > 0)] * 2)])
    for name in values:
        if name.endswith(("kfac", "kfra", "ekfac", "ekfac.split")):
            assert not values[name][~inside].any(), name


def close(a: np.ndarray, b: np.ndarray, terms: float) -> bool:
    """Equal to round-off of so many terms, relative to the larger entries."""
    return bool(np.linalg.norm(a - b) <= 30 * terms * 2.0 ** -53 * max(np.linalg.norm(a), np.linalg.norm(b)))


@every_structured
def test_kernels_and_centring_follow_from_what_is_certified_beside_them(one):
    values, problem = {name: certified.value for name, certified in one.values.items()}, one.problem
    n, p, J = len(problem.X), problem.num_params, values["jacobian"]
    assert close(np.tensordot(J, J, ([-1], [-1])), values["ntk"], p)
    mean = values["gradient"] / n
    whole = values["fisher.empirical"]
    assert np.linalg.norm(whole - n * np.outer(mean, mean) - values["fisher.empirical.centred"]) \
        <= 30 * n * 2.0 ** -53 * (np.linalg.norm(whole) + n * mean @ mean)


def layers(problem, matrix: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """(fan-in, block) of every layer."""
    stops = np.cumsum([0, *problem.layer_sizes])
    return [(into, matrix[a:b, a:b]) for into, a, b in zip(problem.sizes, stops, stops[1:])]


@every_structured
@pytest.mark.parametrize("name", ["ggn.kfac", "ggn.kfra", "fisher.kfac", "fisher.empirical.kfac", "fisher.mc.kfac"])
def test_kronecker_products_are_kronecker_products(one, name):
    """Rearranged to (units², inputs²), a Kronecker product has rank one (Van Loan & Pitsianis 1993)."""
    for into, block in layers(one.problem, one.values[name].value):
        singular = np.linalg.svd(rearranged(block, into, one.problem.bias), compute_uv=False)
        assert singular[1:].max(initial=0.0) <= 30 * len(block) * 2.0 ** -53 * singular[0]


def rearranged(block: np.ndarray, into: int, bias: bool) -> np.ndarray:
    out = len(block) // (into + bias)
    weights, biases = np.arange(out * into).reshape(out, into), np.arange(out * into, len(block)).reshape(out, -1)
    place = np.hstack([weights, biases])
    cube = block[np.ix_(place.ravel(), place.ravel())].reshape(*place.shape, *place.shape)
    return cube.transpose(0, 2, 1, 3).reshape(out ** 2, -1)


def test_a_block_that_is_no_kronecker_product_is_seen_as_such():
    one = case.read("structures-categorical-tanh-2-3-3")
    for into, block in layers(one.problem, one.values["ggn.full"].value):
        assert np.linalg.svd(rearranged(block, into, True), compute_uv=False)[1] > 0.01 * np.linalg.norm(block)


@every_structured
def test_kfac_keeps_the_curvature_of_the_biases_and_ekfac_keeps_the_trace(one):
    """The block of the biases is B, exactly; EKFAC has the exact diagonal in another basis, so the trace of every layer."""
    values, problem = one.values, one.problem
    for name, whole in (("ggn.kfac", "ggn.full"), ("fisher.kfac", "fisher.full"), ("fisher.mc.kfac", "fisher.mc")):
        for (into, block), (_, exact) in zip(layers(problem, values[name].value), layers(problem, values[whole].value)):
            if problem.bias:
                first = len(block) // (into + 1) * into
                assert close(block[first:, first:], exact[first:, first:], len(block))
    for name in {"ggn.ekfac", "ggn.ekfac.split"} & set(values):
        for (_, block), (_, exact) in zip(layers(problem, values[name].value), layers(problem, values["ggn.full"].value)):
            size = np.linalg.norm(exact) * len(exact)
            assert abs(np.trace(block) - np.trace(exact)) <= 30 * 2.0 ** -53 * size


@every_structured
def test_ekfac_is_nearer_to_the_block_than_kfac(one):
    if "ggn.ekfac" in one.values:
        G, kfac, ekfac = (one.values[name].value for name in ("ggn.blockdiag", "ggn.kfac", "ggn.ekfac"))
        assert np.linalg.norm(G - ekfac) <= np.linalg.norm(G - kfac) * (1 + 1e-12)


@pytest.mark.parametrize("name, exact", [
    ("structures-deep-linear-2-2-2-3", True), ("structures-one-datum", True), ("structures-same-inputs", True),
    ("structures-one-output", False), ("structures-categorical-tanh-2-3-3", False)])
def test_kfac_is_exact_where_it_should_be_and_nowhere_else(name, exact):
    one = case.read(name)
    G, kfac, kfra = (one.values[key].value for key in ("ggn.blockdiag", "ggn.kfac", "ggn.kfra"))
    assert close(G, kfac, len(G)) == close(G, kfra, len(G)) == exact
    assert exact or np.linalg.norm(G - kfac) > 0.1 * np.linalg.norm(G)


def test_with_relu_units_the_hessian_has_the_diagonal_blocks_of_the_ggn():
    one = case.read("structures-relu-normal-2-2-2-3")
    assert np.array_equal(one.values["ggn.blockdiag"].value, one.values["hessian.blockdiag"].value)
    assert not np.array_equal(one.values["ggn.full"].value, one.values["hessian.full"].value)
    assert one.values["ggn.kfac"].tier == one.values["ggn.kfra"].tier == "E"


@every_full
def test_an_indefinite_ggn_is_flagged_and_without_laplace_where_the_prior_does_not_mend_it(one):
    G = one.values["ggn.full"].value
    assert ("indefinite-ggn" in one.flags) == (np.linalg.eigvalsh(G)[0] < -1e-9 * np.linalg.norm(G))
    mended = np.linalg.eigvalsh(G + one.problem.prior_precision)[0] > 0
    assert ("laplace.covariance" in one.values) == mended == ("predictive.glm.variance" in one.values)


def test_indefinite_curvature_occurs_with_and_without_a_laplace_approximation():
    found = [c for c in CASES if "indefinite-ggn" in c.flags]
    assert len(found) >= 3
    assert {"laplace.covariance" in c.values for c in found} == {True, False}


@every_case
def test_precision_is_curvature_plus_prior_and_covariance_its_inverse(one):
    for prefix, curvature in (("laplace.", "ggn.full"), ("laplace.hessian.", "hessian.full")):
        if prefix + "precision" not in one.values:
            assert one not in FULL or \
                np.linalg.eigvalsh(one.values[curvature].value + one.problem.prior_precision)[0] < 0
            continue
        P, S = one.values[prefix + "precision"].value, one.values[prefix + "covariance"].value
        total = one.values[curvature].value + one.problem.prior_precision
        assert np.allclose(P, total, rtol=2.0 ** -51, atol=2.0 ** -52 * np.abs(total).max())
        allowed = 30 * len(P) * 2.0 ** -53 * np.linalg.norm(P) * np.linalg.norm(S)
        assert np.linalg.norm(P @ S - np.eye(len(P))) < allowed


@every_case
def test_evidence_is_joint_plus_half_log_two_pi_minus_half_log_determinant(one):
    for prefix in ("laplace.", "laplace.hessian."):
        if prefix + "log_det" not in one.values:
            continue
        joint, log_det, evidence = (float(one.values[key].value) for key in
                                    ("log_joint", prefix + "log_det", prefix + "log_evidence"))
        expected = joint + one.problem.num_params / 2 * math.log(2 * math.pi) - log_det / 2
        assert math.isclose(evidence, expected, rel_tol=0, abs_tol=8 * 2.0 ** -52 * (abs(joint) + abs(log_det) + 100))


@every_case
def test_gradient_and_empirical_fisher_follow_from_the_jacobian_where_the_residual_is_plain(one):
    """Only the normal likelihood has a residual that needs no function: r = (f − y)/σ²."""
    if one.problem.likelihood != "normal" or one not in FULL:
        return
    r = (one.values["forward"].value - one.problem.y) / one.problem.variance
    per_datum = np.einsum("nk,nkp->np", r, one.values["jacobian"].value)
    scale = np.abs(per_datum).max() + 1e-30
    assert np.allclose(per_datum.sum(0), one.values["gradient"].value, rtol=1e-12, atol=1e-13 * scale * len(r))
    assert np.allclose(per_datum.T @ per_datum, one.values["fisher.empirical"].value, rtol=1e-12,
                       atol=1e-13 * scale ** 2 * len(r))


def test_where_the_network_interpolates_the_gradient_is_zero_and_has_a_scale():
    one = case.read(ZERO)
    for name in ("gradient", "fisher.empirical", "fisher.empirical.diag"):
        assert not one.values[name].value.any()
        assert one.values[name].scale > 0
    assert one.values["ggn.full"].value.any() and one.values["fisher.mc"].value.any()
    fitted = {c.id for c in CASES if "exact-zero" in c.flags and not c.values["gradient"].value.any()}
    zeros = {(c.id, name) for c in CASES for name, value in c.values.items() if value.scale is not None and c.id not in fitted}
    one_datum = {c.id for c in CASES if len(c.problem.X) == 1} - fitted
    assert zeros == {(name, "fisher.empirical.centred" + part) for name in one_datum for part in (".diag", ".vp")} | {
        ("structures-one-datum", "fisher.empirical.centred")}
    assert ZERO in fitted and len(fitted) > 3
    assert not one.values["fisher.empirical.vp"].value.any() and one.values["fisher.mc.vp"].value.any()


def test_rank_deficient_means_what_it_says():
    for one in FULL:
        if "rank-deficient" in one.flags:
            assert np.linalg.matrix_rank(one.values["ggn.full"].value) < one.problem.num_params


# -- the reader refuses -----------------------------------------------------------------------------------------

def planted(*path: str | int, value: Any = None, rehash: bool = True, remove: bool = False) -> Callable[[dict], None]:
    """A fault: the entry at the path replaced or removed."""
    def plant(content: dict) -> None:
        place = content
        for key in path[:-1]:
            place = place[key]
        if remove:
            del place[path[-1]]
        else:
            place[path[-1]] = value
        if rehash and len(path) > 2 and isinstance(path[-1], int) and path[-2] == "data":
            entry = content
            for key in path[:-2]:
                entry = entry[key]
            rehashed(entry)
    return plant


def shorter(*path: str) -> Callable[[dict], None]:
    """One row fewer, consistently."""
    def plant(content: dict) -> None:
        entry = content
        for key in path:
            entry = entry[key]
        entry["shape"][0] -= 1
        entry["data"] = entry["data"][:math.prod(entry["shape"])]
        rehashed(entry)
    return plant


def wider(*path: str) -> Callable[[dict], None]:
    """Every column twice, consistently."""
    def plant(content: dict) -> None:
        entry = content
        for key in path:
            entry = entry[key]
        entry["shape"][1] *= 2
        entry["data"] = entry["data"] * 2
        rehashed(entry)
    return plant


def not_positive_definite(content: dict) -> None:
    entry = content["prior"]["precision"]
    p = entry["shape"][0]
    entry["data"][1] = entry["data"][p] = 4096 * entry["over"]
    rehashed(entry)


def taken_from_nothing(content: dict) -> None:
    entry = content["values"]["fisher.diag"]
    del entry["data"]
    entry |= {"layout": "diagonal", "of": "fisher.full"}


# (case, planted fault, the key that the message names, whether the schema sees it too)
FAULTS = {
    "unknown key": (SMALL, planted("extra", value=1), "extra", True),
    "missing key": (SMALL, planted("flags", remove=True), "flags", True),
    "format 1": (SMALL, planted("format", value=1), "format", True),
    "format true": (SMALL, planted("format", value=True), "format", True),
    "other licence": (SMALL, planted("licence", value="MIT"), "licence", True),
    "other family": (SMALL, planted("family", value="easy"), "family", True),
    "id of another file": (SMALL, planted("id", value="one-datum"), "id", False),
    "id no slug": (SMALL, planted("id", value="One Parameter"), "id", True),
    "revision 0": (SMALL, planted("revision", value=0), "revision", True),
    "revision 1.5": (SMALL, planted("revision", value=1.5), "revision", True),
    "revision true": (SMALL, planted("revision", value=True), "revision", True),
    "title a number": (SMALL, planted("title", value=3), "title", True),
    "flag a number": (SMALL, planted("flags", value=[3]), "flags[0]", True),
    "unknown activation": (SMALL, planted("network", "activation", value="swish"), "network.activation", True),
    "slope without leaky relu": (SMALL, planted("network", "slope", value=0.5), "network.slope", True),
    "no slope": ("leaky-relu-poisson-2-3-5", planted("network", "slope", value=None), "network.slope", True),
    "bias 1": (SMALL, planted("network", "bias", value=1), "network.bias", True),
    "one size": (SMALL, planted("network", "sizes", value=[1]), "network.sizes", True),
    "size zero": (SMALL, planted("network", "sizes", value=[1, 0]), "network.sizes[1]", True),
    "size true": (SMALL, planted("network", "sizes", value=[True, 1]), "network.sizes[0]", True),
    "sizes no list": (SMALL, planted("network", "sizes", value={"0": 1, "1": 1}), "network.sizes", True),
    "size a text": (SMALL, planted("network", "sizes", value=[1, "1"]), "network.sizes[1]", True),
    "wider network": (SMALL, planted("network", "sizes", value=[1, 2]), "inputs.y.shape", False),
    "network of astronomic size": (SMALL, planted("network", "sizes", value=[1, 2 ** 52, 1]), "inputs.theta.shape",
                                   False),
    "network no object": (SMALL, planted("network", value=[]), "network", True),
    "unknown likelihood": (SMALL, planted("likelihood", "name", value="cauchy"), "likelihood.name", True),
    "another likelihood": (SMALL, planted("likelihood", "name", value="gamma"), "likelihood.variance", True),
    "parameters of a normal": (SMALL, planted("likelihood", "parameters", value={}), "likelihood", True),
    "no parameters": (TAILS, planted("likelihood", "parameters", remove=True), "likelihood", True),
    "half of the parameters": (TAILS, planted("likelihood", "parameters", "scale", remove=True), "likelihood.parameters", True),
    "parameter of another": (TAILS, planted("likelihood", "parameters", "shape", value=1.0), "likelihood.parameters", True),
    "parameters no object": (TAILS, planted("likelihood", "parameters", value=[1.0, 2.0]), "likelihood.parameters", True),
    "scale of the noise zero": (TAILS, planted("likelihood", "parameters", "scale", value=0), "likelihood.parameters.scale",
                                True),
    "degrees of freedom a text": (TAILS, planted("likelihood", "parameters", "degrees_of_freedom", value="4"),
                                  "likelihood.parameters.degrees_of_freedom", True),
    "asymmetric noise": (CORRELATED, planted("likelihood", "parameters", "noise", "data", 1, value=128), "noise", False),
    "indefinite noise": (CORRELATED, planted("likelihood", "parameters", "noise", "data", 0, value=-128), "noise", False),
    "noise of another size": (CORRELATED, planted("likelihood", "parameters", "noise", "shape", value=[1, 9]), "noise", False),
    "cut-points out of order": (LEVELS, planted("likelihood", "parameters", "cut_points", "data", 0, value=768), "cut_points",
                                False),
    "level out of range": (LEVELS, planted("inputs", "y", "data", 0, value=4), "inputs.y", False),
    "target not positive": (POSITIVE, planted("inputs", "y", "data", 0, value=0), "inputs.y", False),
    "target for every output of a pair": (PAIRS, wider("inputs", "y"), "inputs.y.shape", False),
    "no variance": (SMALL, planted("likelihood", "variance", value=None), "likelihood.variance", True),
    "variance zero": (SMALL, planted("likelihood", "variance", value=0), "likelihood.variance", True),
    "variance of a bernoulli": (BINARY, planted("likelihood", "variance", value=1.0), "likelihood.variance", True),
    "unknown prior": (SMALL, planted("prior", "kind", value="horseshoe"), "prior.kind", True),
    "prior without kind": (SMALL, planted("prior", "kind", remove=True), "prior", True),
    "prior of two kinds": (SMALL, planted("prior", "precisions", value=[1.0]), "prior", True),
    "negative precision": (SMALL, planted("prior", "precision", value=-1.0), "prior.precision", True),
    "layers miscounted": ("tanh-categorical-2-5-3", planted("prior", "precisions", value=[1.0]), "prior.precisions",
                          False),
    "layer precision zero": ("tanh-categorical-2-5-3", planted("prior", "precisions", value=[1.0, 0]),
                             "prior.precisions[1]", True),
    "parameter precision zero": (COUNTS, planted("prior", "precision", "data", 0, value=0), "prior.precision", False),
    "asymmetric precision": (PACKED, planted("prior", "precision", "data", 1, value=128), "prior.precision", False),
    "indefinite precision": (PACKED, not_positive_definite, "prior.precision", False),
    "mean a text": (SMALL, planted("prior", "mean", value="0"), "prior.mean", True),
    "unknown input": (SMALL, planted("inputs", "Z", value=1), "inputs", True),
    "missing input": (SMALL, planted("inputs", "vector", remove=True), "inputs", True),
    "key too many in an array": (SMALL, planted("inputs", "X", "dtype", value="f8"), "inputs.X", True),
    "array without hash": (SMALL, planted("inputs", "X", "sha256", remove=True), "inputs.X", True),
    "wrong digit": (SMALL, planted("inputs", "X", "data", 0, value=12345, rehash=False), "inputs.X.sha256", False),
    "last bit wrong": (PACKED, lambda c: c["values"]["gradient"]["data"].__setitem__(
        0, math.nextafter(c["values"]["gradient"]["data"][0], 9)), "values.gradient.sha256", False),
    "hash of nothing": (SMALL, planted("inputs", "X", "sha256", value="0" * 64), "inputs.X.sha256", False),
    "hash a number": (SMALL, planted("inputs", "X", "sha256", value=0), "inputs.X.sha256", True),
    "a fraction over a denominator": (SMALL, planted("inputs", "X", "data", 0, value=0.5), "inputs.X.data", True),
    "denominator of three": (SMALL, planted("inputs", "X", "over", value=3), "inputs.X.over", False),
    "denominator of one": (SMALL, planted("inputs", "X", "over", value=1), "inputs.X.over", True),
    "denominator a text": (SMALL, planted("inputs", "X", "over", value="256"), "inputs.X.over", True),
    "another denominator": (SMALL, planted("inputs", "X", "over", value=512), "inputs.X.sha256", False),
    "denominator forgotten": (SMALL, planted("inputs", "X", "over", remove=True), "inputs.X.sha256", False),
    "number as text": (SMALL, planted("inputs", "X", "data", value=["0.5"]), "inputs.X.data[0]", True),
    "number true": (SMALL, planted("inputs", "X", "data", value=[True]), "inputs.X.data[0]", True),
    "number null": (SMALL, planted("inputs", "X", "data", value=[None]), "inputs.X.data[0]", True),
    "integer beyond doubles": (SMALL, planted("inputs", "X", "data", value=[2 ** 53 + 1]), "inputs.X.data[0]", False),
    "data no list": (SMALL, planted("inputs", "X", "data", value="0"), "inputs.X.data", True),
    "nested data": (SMALL, planted("inputs", "X", "data", value=[[0.5]]), "inputs.X.data[0]", True),
    "shape of other rank": (SMALL, planted("inputs", "X", "shape", value=[1]), "inputs.X.shape", True),
    "shape zero": (SMALL, planted("inputs", "X", "shape", value=[0, 1]), "inputs.X.shape[0]", True),
    "shape too large": (SMALL, planted("inputs", "X_new", "shape", value=[2 ** 40, 1]), "inputs.X_new.data", False),
    "fewer targets": (BINARY, shorter("inputs", "y"), "inputs.y.shape", False),
    "fewer labels": (BINARY, shorter("inputs", "labels"), "inputs.labels.shape", False),
    "too few normals": (SMALL, lambda c: [shorter("inputs", "normals")(c) for _ in range(2)], "inputs.normals", False),
    "target two": (BINARY, planted("inputs", "y", "data", 0, value=2), "inputs.y", False),
    "target a half": (BINARY, planted("inputs", "labels", "data", 0, value=0.5), "inputs.labels", False),
    "label out of range": (LABELS, planted("inputs", "y", "data", 0, value=2), "inputs.y", False),
    "label negative": (LABELS, planted("inputs", "labels", "data", 0, value=-1), "inputs.labels", False),
    "count negative": (COUNTS, planted("inputs", "y", "data", 0, value=-1), "inputs.y", False),
    "count a half": (COUNTS, planted("inputs", "y", "data", 0, value=1.5), "inputs.y", False),
    "unknown quantity": (SMALL, planted("values", "gnn.full", value=1), "values", True),
    "missing quantity": (SMALL, planted("values", "ggn.full", remove=True), "values", True),
    "half of the matrices": (SMALL, planted("values", "jacobian", remove=True), "values", True),
    "precision without covariance": (SMALL, planted("values", "laplace.covariance", remove=True), "values", True),
    "taken from another value": (SMALL, planted("values", "ggn.diag", "of", value="hessian.full"), "values.ggn.diag.of", True),
    "taken in another way": (SMALL, planted("values", "ggn.diag", "layout", value="last"), "values.ggn.diag.layout", True),
    "taken, and given too": (SMALL, planted("values", "ggn.diag", "data", value=[1.0]), "values.ggn.diag", True),
    "taken from nowhere": (SMALL, planted("values", "ggn.diag", "of", remove=True), "values.ggn.diag", True),
    "called dense without numbers": (SMALL, planted("values", "ggn.diag", "layout", value="dense"), "values.ggn.diag", True),
    "hash of what is taken": (SMALL, planted("values", "ggn.diag", "sha256", value="0" * 64), "values.ggn.diag.sha256", False),
    "taken without its source": ("wine-silu-6-3-3", taken_from_nothing, "values.fisher.diag.of", False),
    "another shift": (SMALL, planted("values", "laplace.precision", "data", 0, value=2.0, rehash=False),
                      "values.laplace.precision.sha256", False),
    "shift of another length": (SMALL, planted("values", "laplace.precision", "data", value=[1.0, 2.0]),
                                "values.laplace.precision.data", False),
    "blocks called lower": (TAILS, planted("values", "ggn.kfac", "layout", value="lower"), "values.ggn.kfac.layout", True),
    "blocks cut": (TAILS, planted("values", "ggn.kfac", "data", value=[1.0]), "values.ggn.kfac.data", False),
    "half a laplace": (SMALL, planted("values", "laplace.log_det", remove=True), "values", True),
    "half of the structures": (TAILS, planted("values", "ntk", remove=True), "values", True),
    "one EKFAC of two": (TAILS, planted("values", "ggn.ekfac", remove=True), "values", True),
    "half a hessian laplace": (SMALL, planted("values", "laplace.hessian.log_det", remove=True), "values", True),
    "key too many in a value": (SMALL, planted("values", "loss", "error", value=0), "values.loss", True),
    "unknown tier": (SMALL, planted("values", "loss", "tier", value="Z"), "values.loss.tier", True),
    "condition below one": (SMALL, planted("values", "loss", "condition", value=0.5), "values.loss.condition", True),
    "condition null": (SMALL, planted("values", "loss", "condition", value=None), "values.loss.condition", True),
    "triangle called dense": (SMALL, planted("values", "ggn.full", "layout", value="dense"), "values.ggn.full.layout",
                              True),
    "vector called lower": (SMALL, planted("values", "gradient", "layout", value="lower"), "values.gradient.layout",
                            True),
    "value of other shape": (PACKED, planted("values", "gradient", "shape", value=[3]), "values.gradient.shape", False),
    "triangle cut": (PACKED, planted("values", "ggn.full", "data", value=[1.0]), "values.ggn.full.data", False),
    "digits of another number": (SMALL, planted("values", "loss", "digits", value="1." + "0" * 39 + "e+0"),
                                 "values.loss.digits", False),
    "record without quadratures": (SMALL, planted("values", "loss", "record", value="two rules"), "values.loss", False),
    "quadratures without record": (INTEGRALS, planted("values", "predictive.exact", "record", remove=True),
                                   "values.predictive.exact", False),
    "record a number": (INTEGRALS, planted("values", "predictive.exact", "record", value=26), "values.predictive.exact", True),
    "digits of a quadrature": (MODES, planted("values", "posterior.log_evidence", "digits", value="0"),
                               "values.posterior.log_evidence", True),
    "few digits": (SMALL, planted("values", "loss", "digits", value="1.5"), "values.loss.digits", True),
    "no digits": (SMALL, planted("values", "loss", "digits", remove=True), "values.loss", True),
    "digits of a vector": (SMALL, planted("values", "gradient", "digits", value="0"), "values.gradient", True),
    "scale of a value that is not zero": (SMALL, planted("values", "loss", "scale", value=1.0), "values.loss", False),
    "zero without scale": (ZERO, planted("values", "gradient", "scale", remove=True), "values.gradient", False),
    "scale zero": (ZERO, planted("values", "gradient", "scale", value=0), "values.gradient.scale", True),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_refused_and_named(name):
    source, plant, key, _ = FAULTS[name]
    content = tree(source)
    parsed(content, source)
    plant(content)
    with pytest.raises(case.CaseError) as refusal:
        parsed(content, source)
    message = str(refusal.value)
    assert message.startswith(f"{source}.json: ")
    assert key in message
    assert "expected" in message and "got" in message
    assert len(message) < 1000


@pytest.mark.parametrize("text, fragment", [
    (b"", "not valid JSON"),
    (b"{", "not valid JSON"),
    (b"\xff\xfe", "not valid JSON"),
    (b"[]", "expected an object"),
    (b"null", "expected an object"),
    (b'{"id": 1, "id": 2}', "'id': the key appears twice"),
    (b'{"a": {"\\ud800": 1, "\\ud800": 2}}', "twice"),
    (b'{"a": NaN}', "finite"),
    (b'{"a": -Infinity}', "finite"),
    (b'{"a": ' + b"1" * 5000 + b"}", "not valid JSON"),
    (b"[" * 100_000, "nested too deeply"),
    (b"{} {}", "not valid JSON"),
    (b'\xef\xbb\xbf{}', "not valid JSON"),
])
def test_what_is_not_one_json_object_is_refused(text, fragment):
    with pytest.raises(case.CaseError, match=re.escape(fragment)):
        case.parse(text, "some.json")


@pytest.mark.parametrize("before, after, key", [
    ('"mean": 0.0', '"mean": 1e999', "prior.mean"), ('"variance": 0.37109375', '"variance": -1e999', "likelihood.variance"),
    ('"condition": 2.0', '"condition": 1e999', "condition")])
def test_infinite_numbers_are_refused(before, after, key):
    text = json.dumps(tree(SMALL))
    assert before in text
    with pytest.raises(case.CaseError, match=f"{key}: expected a finite number, got -?inf"):
        case.parse(text.replace(before, after, 1).encode(), f"{SMALL}.json")


def test_an_id_that_is_no_slug_is_refused_even_under_its_own_name():
    content = tree(SMALL) | {"id": "One Parameter"}
    with pytest.raises(case.CaseError, match="id: expected a slug"):
        parsed(content, "One Parameter")


def test_files_that_are_not_there_are_refused_with_near_names(tmp_path):
    with pytest.raises(case.CaseError, match="nearest: .*tanh-normal-2-5-3"):
        case.read("tanh-normal-2-5")
    with pytest.raises(case.CaseError, match="no case"):
        case.read(tmp_path / "nothing.json")
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(case.CaseError, match="cannot be read"):
        case.read(tmp_path / "folder.json")
    with pytest.raises(case.CaseError):
        case.read("a\0b")
    with pytest.raises(case.CaseError, match="no case matches 'zzz'"):
        case.read_all("zzz")


def test_a_case_reads_from_anywhere_under_its_own_name(tmp_path):
    shutil.copy(case.CASES / f"{SMALL}.json", tmp_path)
    assert case.read(tmp_path / f"{SMALL}.json").id == SMALL
    (tmp_path / f"{SMALL}.json").rename(tmp_path / "other.json")
    with pytest.raises(case.CaseError, match="id: expected 'other'"):
        case.read(tmp_path / "other.json")


# -- layouts ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("layout, shape", [("dense", (5,)), ("dense", (2, 3, 4)), ("dense", ()), ("lower", (5, 5)),
                                           ("lower", (2, 3, 2, 3)), ("lower", (4, 3, 3)), ("blocks", (9, 9))])
def test_packing_is_undone_by_unpacking(layout, shape):
    rng, layers = np.random.default_rng(0), (2, 3, 4)
    value = rng.standard_normal(shape)
    if layout != "dense":
        side = 6 if len(shape) == 4 else shape[-1]
        square = value.reshape(-1, side, side)
        value = (square + square.swapaxes(1, 2)).reshape(shape)
    if layout == "blocks":
        value = layouts.taken("layers", value, SimpleNamespace(layer_sizes=layers), None)
    flat = layouts.packed(layout, value, layers)
    assert flat.shape == (layouts.packed_length(layout, shape, layers),)
    assert np.array_equal(layouts.unpacked(layout, flat, shape, layers), value)


def test_what_is_taken_is_there_to_the_last_bit():
    M, layers = np.arange(25.0).reshape(5, 5), SimpleNamespace(layer_sizes=(2, 3))
    assert layouts.taken("diagonal", M, layers, None).tolist() == [0, 6, 12, 18, 24]
    assert layouts.taken("last", M, layers, None).tolist() == M[2:, 2:].tolist()
    assert layouts.taken("layers", M, layers, None)[1].tolist() == [5, 6, 0, 0, 0]
    assert np.array_equal(layouts.taken("same", M, layers, None), M)
    two = SimpleNamespace(layer_sizes=(6,), sizes=(2, 2), bias=True)
    units = layouts.taken("units", np.ones((6, 6)), two, None)
    assert [np.flatnonzero(row).tolist() for row in units] == [[0, 1, 4], [0, 1, 4], [2, 3, 5], [2, 3, 5], [0, 1, 4], [2, 3, 5]]
    inputs = layouts.taken("inputs", np.arange(36.0).reshape(3, 2, 3, 2), two, None)
    assert inputs[1].tolist() == [[14, 15], [20, 21]]
    shifted = layouts.taken("shifted", M, layers, np.full(5, -1.0))
    assert np.array_equal(np.diag(shifted), np.full(5, -1.0)) and shifted[0, 1] == 1


def test_nothing_is_stored_twice():
    """Wherever a value could be taken from another of its case, it is."""
    for one in CASES:
        values = tree(one.id)["values"]
        for name, (how, source) in layouts.TAKEN.items():
            if {name, source} <= set(values) and values[name]["layout"] != how:
                shift = np.diag(one.values[name].value) if how == "shifted" else None
                there = layouts.taken(how, one.values[source].value, one.problem, shift)
                assert not np.array_equal(there, one.values[name].value), (one.id, name)


def test_the_cases_are_small():
    size = sum((case.CASES / f"{name}.json").stat().st_size for name in case.ids())
    assert size < 50_000 * len(CASES) and size < 8_000_000


# -- fuzz -------------------------------------------------------------------------------------------------------

def places(content: Any, path: tuple = ()) -> list[tuple]:
    """The path of every member of every object and list."""
    members = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [found for key, value in members for found in [(*path, key), *places(value, (*path, key))]]


ORIGINAL = tree(SMALL)
PLACES = places(ORIGINAL)
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.sampled_from(["", "\ud800", "normal", "full", 2 ** 53, -1, 0, 1e308, 5e-324, -0.0, 10 ** 30]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["kind", "shape", "data", "x"]), inner),
    max_leaves=5)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.sampled_from(PLACES), st.sampled_from(["replace", "remove", "add"]), JUNK), min_size=1,
                max_size=3))
def test_a_mutilated_case_gives_a_case_or_a_case_error(changes):
    content = copy.deepcopy(ORIGINAL)
    for path, action, junk in changes:
        mutilate(content, path, action, junk)
    readable_or_refused(json.dumps(content).encode())


def mutilate(content: Any, path: tuple, action: str, junk: Any) -> None:
    """One change at a path, if it is still there."""
    place = content
    for key in path[:-1]:
        if not (isinstance(place, dict) and key in place or isinstance(place, list) and type(key) is int
                and key < len(place)):
            return
        place = place[key]
    if not isinstance(place, (dict, list)) or (isinstance(place, list) and not (type(path[-1]) is int and place)):
        return
    key = path[-1] if isinstance(place, dict) else min(path[-1], len(place) - 1)
    if action == "replace":
        place[key] = junk
    elif action == "remove":
        place.pop(key) if isinstance(place, list) else place.pop(key, None)
    elif isinstance(place, dict):
        place["added"] = junk
    else:
        place.append(junk)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.integers(0, 6000), st.integers(0, 40), st.binary(max_size=6))
def test_a_file_with_damaged_bytes_gives_a_case_or_a_case_error(start, length, put_in):
    text = (case.CASES / f"{SMALL}.json").read_bytes()
    readable_or_refused(text[:start] + put_in + text[start + length:])


def readable_or_refused(text: bytes) -> None:
    """Nothing but a CaseError may come out, and what is read has the numbers of the original: their hashes were checked."""
    try:
        one = case.parse(text, f"{SMALL}.json")
    except case.CaseError as refusal:
        assert str(refusal).isascii() or str(refusal).encode()
        return
    assert one.id == SMALL
    assert one.problem.theta.shape == (1,)


def test_the_fuzz_reaches_both_outcomes():
    harmless, harmful = copy.deepcopy(ORIGINAL), copy.deepcopy(ORIGINAL)
    mutilate(harmless, ("title",), "replace", "another title")
    mutilate(harmful, ("title",), "remove", None)
    assert parsed(harmless, SMALL).title == "another title"
    with pytest.raises(case.CaseError):
        parsed(harmful, SMALL)


# -- schema, errata, readme ---------------------------------------------------------------------------------------

SCHEMA = json.loads((case.CASES / "schema.json").read_text(encoding="utf-8"))


def test_the_schema_knows_the_keys_of_the_reader_and_no_others():
    top = SCHEMA["properties"]
    assert SCHEMA["required"] == list(top) == list(ORIGINAL)
    assert top["format"] == {"const": case.FORMAT} and top["licence"] == {"const": case.LICENCE}
    assert top["family"]["enum"] == list(case.FAMILIES)
    assert top["network"]["properties"]["activation"]["enum"] == list(ACTIVATIONS)
    assert top["likelihood"]["properties"]["name"]["enum"] == list(LIKELIHOODS)
    assert list(top["values"]["properties"]) == list(case.CERTIFIED)
    assert set(case.CERTIFIED) - set(top["values"]["required"]) == set(case.OPTIONAL)
    options = top["likelihood"]["properties"]["parameters"]["oneOf"]
    assert {tuple(option["required"]) for option in options} == {names for names in PARAMETERS.values() if names}
    kinds = {option["properties"]["kind"]["const"]: option for option in top["prior"]["oneOf"]}
    assert set(kinds) == set(case.PRIOR_KEYS)
    assert all(set(option["properties"]) == {"kind", case.PRIOR_KEYS[kind], "mean"} for kind, option in kinds.items())
    assert SCHEMA["$defs"]["scalar"]["properties"]["tier"]["enum"] == list(case.TIERS)


def test_every_object_of_the_schema_refuses_unknown_keys():
    objects = [node for node in schema_nodes(SCHEMA) if node.get("type") == "object"]
    assert len(objects) > 10
    assert all(node["additionalProperties"] is False and node["required"] for node in objects)


def schema_nodes(node: Any) -> list[dict]:
    members = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return ([node] if isinstance(node, dict) else []) + [found for member in members for found in schema_nodes(member)]


@pytest.fixture(scope="module")
def validator():
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema (of the extra derivations) is not installed")
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    return jsonschema.Draft202012Validator(SCHEMA)


@pytest.mark.parametrize("name", case.ids())
def test_the_schema_accepts_every_case(validator, name):
    validator.validate(tree(name))


@pytest.mark.parametrize("name", FAULTS)
def test_the_schema_refuses_the_faults_that_a_schema_can_see(validator, name):
    source, plant, _, visible = FAULTS[name]
    content = tree(source)
    plant(content)
    assert validator.is_valid(content) != visible


def test_every_revision_has_its_line_in_the_errata():
    text = (case.CASES / "ERRATA.md").read_text(encoding="utf-8")
    listed = {tuple(cell.strip() for cell in row.split("|")[1:3]) for row in text.splitlines() if row.startswith("| ")}
    listed -= {("case", "revision")}
    expected = {(c.id, str(revision)) for c in CASES for revision in range(2, c.revision + 1)}
    assert expected == {entry for entry in listed if entry[0] in case.ids()}


def readme_block(language: str) -> str:
    text = (case.CASES / "README.md").read_text(encoding="utf-8")
    return re.search(rf"```{language}\n(.*?)```", text, re.DOTALL).group(1)


def test_the_python_of_the_readme_reads_a_case_without_refbnn():
    program = readme_block("python") + "\nimport sys\nprint(json.dumps([theta, ggn]), 'refbnn' in sys.modules)"
    ran = subprocess.run([sys.executable, "-W", "ignore::ResourceWarning", "-c", program], cwd=case.CASES, text=True,
                         capture_output=True, timeout=60, check=True)
    numbers, imported = ran.stdout.rsplit(" ", 1)
    assert_same_matrix(json.loads(numbers))
    assert imported.strip() == "False"


def test_the_javascript_of_the_readme_reads_a_case():
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    program = readme_block("javascript") + "\nconsole.log(JSON.stringify([theta, ggn]));"
    ran = subprocess.run([node, "-e", program], cwd=case.CASES, text=True, capture_output=True, timeout=60, check=True)
    assert_same_matrix(json.loads(ran.stdout))


def assert_same_matrix(numbers: list) -> None:
    one = case.read("tanh-normal-2-5-3")
    assert np.array_equal(numbers[0], one.problem.theta)
    assert np.array_equal(numbers[1], one.values["ggn.full"].value)


@pytest.mark.parametrize("language", ["python", "javascript", "julia", "r"])
def test_the_readme_reads_a_case_in_about_ten_lines(language):
    assert len(readme_block(language).splitlines()) <= 12
