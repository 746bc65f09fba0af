"""Bounds, divergences and optima beside certified values, of which the package knows nothing, and the kit that judges by them."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from refbnn import Gaussian, quadrature, vi
from refbnn.conform.adapters import refbnn as right
from refbnn.conform.case import read, read_all
from refbnn.conform.compare import Verdict, compare
from refbnn.conform.conventions import convert
from refbnn.conform.quantities import QUANTITIES
from refbnn.precision import Dense, Diagonal
from refbnn.vi import estimators, families
from refbnn.vi.objective import Elbo
from tests.judge import agree

BOUNDED = "normal-full-tanh-2-3-3", "cloglog-tanh-2-2-2-3", "heteroscedastic-tanh-2-3-2"


@lru_cache
def optima():
    """The certified cases with an optimum: id -> (case, state)."""
    return {case.id: (case, right.prepare(case.problem)) for case in read_all() if "vi.optimum.mean" in case.values}


HERMITE = vi.OverParameters(quadrature.gauss_hermite(2, 48))
LINEAR = sorted(name for name, (_, s) in optima().items() if s.net.is_linear)
SCALAR = sorted(name for name, (_, s) in optima().items() if s.net.is_linear and s.net.num_outputs == 1)
NETWORKS = sorted(set(optima()) - set(LINEAR))


def how_for(s):
    """Another rule than the kit's own adapter has: fewer nodes over outputs, a trapezoidal rule over parameters."""
    if s.is_regression:
        return vi.ClosedForm()
    if s.net.is_linear:
        return vi.OverOutputs(quadrature.gauss_hermite(s.net.num_outputs, 120 if s.net.num_outputs == 1 else 40))
    return vi.OverParameters(quadrature.trapezoid(s.net.num_params, 91))


def meets(found, case, family="", factor=10.0):
    """The optimum is the certified one, in its standard deviations, to what residual, rule and the certificate leave."""
    value = {name: case.values[f"vi.optimum.{family}{name}"].value for name in ("mean", "elbo")}
    spread = np.diag(case.values[f"vi.optimum.{family}variance"].value) if family else case.values["vi.optimum.covariance"].value
    root = np.linalg.inv(np.linalg.cholesky(spread))
    off_mean = np.linalg.norm(root @ (found.q.mean - value["mean"]))
    off_spread = np.linalg.norm(root @ found.q.covariance() @ root.T - np.eye(len(root)))
    allowed = factor * (found.residual + found.rule_error) + 1e-9
    assert found.converged and allowed < 1e-3
    assert max(off_mean, off_spread) < allowed, (off_mean, off_spread, allowed)
    assert abs(found.elbo.value - value["elbo"]) < found.elbo.error + allowed ** 2 + 1e-10 * max(1, abs(value["elbo"]))


# -- two solvers, two rules, every family: to the digits that the rules support ------------------------------------------------


@pytest.mark.parametrize("name", LINEAR)
def test_the_fixed_point_is_the_certified_optimum(name):
    """Eq. (opper-archambeau): with 120 nodes where the kit's adapter takes 200."""
    case, s = optima()[name]
    meets(vi.fixed_point(s.posterior, how_for(s)), case)


@pytest.mark.parametrize("name", LINEAR)
def test_bfgs_finds_the_certified_optimum_of_a_linear_model(name):
    """Eqs. (pull-back), (fixed-point): from the prior, by first derivatives."""
    case, s = optima()[name]
    meets(vi.quasi_newton(s.posterior, families.Full(s.net.num_params), how_for(s), s.posterior.prior), case)
    meets(vi.quasi_newton(s.posterior, families.MeanField(s.net.num_params), how_for(s), s.posterior.prior), case, "meanfield.")


@pytest.mark.parametrize("name", NETWORKS)
def test_two_solvers_find_the_certified_optimum_of_a_network(name):
    """Eqs. (learning-rule), (pull-back): each with a rule of its own, trapezoidal and Gauss-Hermite."""
    case, s = optima()[name]
    start = Gaussian(case.values["vi.optimum.mean"].value + 0.1, Diagonal(4 / np.diagonal(s.posterior.prior.covariance())))
    for family, prefix in ((families.Full(2), ""), (families.MeanField(2), "meanfield.")):
        meets(vi.quasi_newton(s.posterior, family, how_for(s), start), case, prefix)
        meets(vi.natural_gradient(s.posterior, family, HERMITE, start, step=0.5, tolerance=1e-8), case, prefix)


@pytest.mark.parametrize("name", SCALAR)
def test_families_that_hold_every_gaussian_find_the_certified_optimum(name):
    """Eqs. (low-rank-family), (matrix-normal): rank p − 1 leaves nothing out, nor does a layer of one unit or a single layer."""
    case, s = optima()[name]
    p = s.net.num_params
    chosen = [families.kronecker(s.net), families.per_layer(s.net), *([families.LowRank(p, p - 1)] if 1 < p < 6 else [])]
    for family in chosen:
        meets(vi.quasi_newton(s.posterior, family, how_for(s), s.posterior.prior), case)


@pytest.mark.parametrize("name", SCALAR)
def test_blocks_of_one_parameter_each_are_the_certified_mean_field(name):
    case, s = optima()[name]
    family = families.Independent(tuple(families.Full(1) for _ in range(s.net.num_params)))
    meets(vi.quasi_newton(s.posterior, family, how_for(s), s.posterior.prior), case, "meanfield.")


def test_what_independence_costs_a_regression_is_certified():
    """Eq. (mean-field-gap): two certified bounds apart, the gap of the certified covariance's inverse."""
    for case, s in optima().values():
        if s.is_regression:
            value = {name: case.values[f"vi.optimum.{name}"].value for name in ("elbo", "meanfield.elbo", "covariance")}
            apart = value["elbo"] - value["meanfield.elbo"]
            gap = vi.mean_field_gap(np.linalg.inv(value["covariance"]))
            assert abs(apart - gap) < 1e-11 * max(1, abs(value["elbo"])), case.id


@pytest.mark.parametrize("name", sorted(set(optima()) & {case.id for case in read_all("posterior-*")}))
def test_the_certified_evidence_exceeds_the_certified_bound_by_the_divergence(name):
    """Eq. (elbo): log p(y) by two quadratures over the posterior, KL(q ‖ p) by one over q."""
    case, s = optima()[name]
    q = Gaussian(case.values["vi.optimum.mean"].value, Dense(np.linalg.inv(case.values["vi.optimum.covariance"].value)))
    evidence = case.values["posterior.log_evidence"].value
    found = quadrature.gauss_hermite(2, 64).integrate(
        lambda z: q.log_prob(q.from_normals(z)) - s.posterior.log_prob(q.from_normals(z)) + evidence)
    apart = evidence - case.values["vi.optimum.elbo"].value
    assert abs(apart - found.value) < found.error + 1e-9 < 1e-5 and apart > 0


# -- estimators at given normals -------------------------------------------------------------------------------------------------


def sampled(case, name):
    """A certified bound or slope with the divergence of the same draws."""
    return convert(QUANTITIES[name], case.values[name].value, case.problem, {"vi.divergence": "sampled"})


@pytest.mark.parametrize("name", BOUNDED)
def test_the_pathwise_estimator_is_the_certified_slope_of_the_sampled_bound(name):
    """Eqs. (pathwise), (elbo), (importance-weighted-bound): both families, the values by log weights and by k = 1."""
    case = read(name)
    s, z = right.prepare(case.problem), case.problem.normals
    for q, prefix, of_scale in ((s.mean_field, "vi.elbo", np.diagonal), (s.full, "vi.full.elbo", np.tril)):
        found = estimators.pathwise(s.posterior, q, z)
        agree(found.mean.mean(0), sampled(case, f"{prefix}.gradient.mean"), terms=100, condition=100)
        agree(of_scale(found.scale.mean(0)), sampled(case, f"{prefix}.gradient.scale"), terms=100, condition=100)
        value = sampled(case, prefix)
        agree(vi.log_weights(s.posterior, q, z).mean(), value, terms=100, condition=100)
        agree(vi.iwae(s.posterior, q, z[:, None]).value, value, terms=100, condition=100)


# -- the kit judges the package --------------------------------------------------------------------------------------------------


def verdict(quantity):
    """Of the kit on its own adapter, on one case."""
    case = read("linear-normal-2-3" if quantity.startswith("vi.optimum") else BOUNDED[0])
    answer = getattr(right, QUANTITIES[quantity].function_name)(right.prepare(case.problem))
    return compare(QUANTITIES[quantity], case.values[quantity], answer, case.problem, {}).verdict


def spoilt(change):
    """A property with another result."""
    return lambda true: property(lambda self: change(true.fget(self)))


FAULTS = {
    "value": (Elbo, "value", spoilt(lambda v: v + 0.5), ("vi.elbo", "vi.full.elbo", "vi.optimum.elbo")),
    "mean gradient": (Elbo, "mean_gradient", spoilt(np.negative), ("vi.elbo.gradient.mean", "vi.full.elbo.gradient.mean")),
    "cross term transposed": (Elbo, "energy_cross", spoilt(np.transpose), ("vi.full.elbo.gradient.scale",)),
    "entropy": (Gaussian, "entropy", lambda true: lambda q: true(q) + 0.5 * q.num_params,
                ("vi.elbo", "vi.full.elbo", "vi.optimum.elbo", "vi.optimum.meanfield.elbo")),
    "divergence": (right.gaussian, "kl", lambda true: lambda q, p: true(p, q), ("vi.kl", "vi.full.kl", "vi.kl.reverse")),
    "fixed point": (vi.opper_archambeau._Sites, "mean", spoilt(lambda f: f + 1.0), ("vi.optimum.mean", "vi.optimum.elbo")),
    "projection": (families.MeanField, "free", lambda true: lambda self, q: np.concatenate(
        [q.mean, 0.5 * np.log(np.diagonal(q.covariance()))]), ("vi.optimum.meanfield.variance",)),
}


@pytest.mark.parametrize("words", FAULTS)
def test_a_fault_in_the_package_fails_the_kit(words, monkeypatch):
    """The answers that the kit judges are those of refbnn.vi, not formulas of the adapter."""
    owner, attribute, change, quantities = FAULTS[words]
    assert {verdict(quantity) for quantity in quantities} <= {Verdict.PASS, Verdict.EXACT}
    monkeypatch.setattr(owner, attribute, change(getattr(owner, attribute)))
    assert {verdict(quantity) for quantity in quantities} == {Verdict.MISMATCH}
