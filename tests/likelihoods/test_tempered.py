"""Tempered likelihoods (identities B26, I30): derivatives of the divided loss; what concerns y is untouched."""

from __future__ import annotations

import dataclasses
import importlib
from dataclasses import replace

import numpy as np
import pytest

from refbnn import Loss, Mlp, activations, likelihoods
from refbnn.likelihoods import Tempered
from tests.judge import agree, norm_or_one
from tests.likelihoods.families import FAMILIES
from tests.likelihoods.test_laws import everywhere, expectation, problem, the_derivatives_are_those_of_the_density
from tests.shape_checker import watch

HOT, COLD = 2.7, 0.3
FINITE = [name for name, family in FAMILIES.items() if family.moments]


# -- the laws ---------------------------------------------------------------------------------------------------------------


def the_derivatives_are_those_of_the_divided_loss(tempered, family):
    """Eq. (tempering): ℓ/T, r/T, Λ/T and the third derivative over T against the Taylor coefficients of (log p)/T."""
    divided = replace(family, log_density=lambda f, y: family.log_density(f, y) / tempered.temperature)
    the_derivatives_are_those_of_the_density(tempered, divided)


def the_factor_is_a_root_of_the_curvature(tempered, family):
    """S Sᵀ = Λ, both tempered."""
    if family.definite:
        S, bend = tempered.factor(*problem(family)), tempered.curvature(*problem(family))
        agree(S @ np.swapaxes(S, -1, -2), bend, terms=10)


def the_fisher_matrix_is_the_mean_of_the_curvature(tempered, family):
    """F = E[Λ] over y of the untempered family, and T times E[r rᵀ]."""
    f, _ = problem(family)
    fs, y, weights = everywhere(tempered, f)
    r = tempered.residual(fs, y)
    for values in (tempered.curvature(fs, y), tempered.temperature * r[..., :, None] * r[..., None, :]):
        total, size = expectation(weights, values)
        agree(tempered.fisher(f), total, terms=len(weights), scale=size * np.sqrt(f.size))


def what_concerns_the_targets_is_untempered(tempered, family):
    """Mean, covariance, outcomes and draws are those of the family itself."""
    f, _ = problem(family)
    ours, theirs = ([one.mean(f), one.covariance(f), *one.outcomes(f), one.sample(f, np.random.default_rng(3))]
                    for one in (tempered, family.likelihood))
    for left, right in zip(ours, theirs, strict=True):
        assert np.array_equal(left, right)


LAWS = [
    the_derivatives_are_those_of_the_divided_loss, the_factor_is_a_root_of_the_curvature,
    the_fisher_matrix_is_the_mean_of_the_curvature, what_concerns_the_targets_is_untempered,
]


@pytest.mark.parametrize("temperature", [HOT, COLD])
@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("statement", LAWS)
def test_a_tempered_likelihood(statement, name, temperature):
    statement(Tempered(FAMILIES[name].likelihood, temperature), FAMILIES[name])


def test_a_tempered_normal_has_the_derivatives_of_a_normal_with_the_variance_times_the_temperature():
    """Eq. (tempered-normal)."""
    f, y = problem(FAMILIES["normal"])
    tempered, normal = Tempered(likelihoods.Normal(0.37), HOT), likelihoods.Normal(0.37 * HOT)
    for name in ("residual", "curvature", "factor"):
        agree(getattr(tempered, name)(f, y), getattr(normal, name)(f, y), terms=4)
    agree(tempered.fisher(f), normal.fisher(f), terms=4)
    assert not tempered.third(f, y).any()
    constant = 0.5 * np.log(2 * np.pi * 0.37 * HOT) - 0.5 * np.log(2 * np.pi * 0.37) / HOT
    agree(tempered.log_prob(f, y) - normal.log_prob(f, y), np.full(len(f), constant), terms=10, scale=np.abs(f - y).max() ** 2)


@pytest.mark.parametrize("name", FINITE)
def test_temperatures_multiply(name):
    f, y = problem(FAMILIES[name])
    once, twice = Tempered(FAMILIES[name].likelihood, HOT * COLD), Tempered(Tempered(FAMILIES[name].likelihood, HOT), COLD)
    for method in ("log_prob", "residual", "curvature", "third"):
        value = getattr(once, method)(f, y)
        agree(getattr(twice, method)(f, y), value, terms=4, scale=norm_or_one(value))
    agree(twice.fisher(f), once.fisher(f), terms=4)


@pytest.mark.parametrize("name", ["normal", "bernoulli", "poisson", "categorical", "student_t"])
def test_a_temperature_of_one_third_counts_every_datum_three_times(name):
    """Value, gradient, Hessian, GGN and Fisher of the loss; not the empirical Fisher matrix, which is a square of gradients."""
    family, rng = FAMILIES[name], np.random.default_rng(2)
    net = Mlp((2, 3, problem(family)[0].shape[1]), activations.tanh)
    theta, X, y = 0.5 * rng.normal(size=net.num_params), rng.normal(size=(7, 2)), family.targets(rng, 7)
    cold = Loss(net, Tempered(family.likelihood, 1 / 3), X, y)
    thrice = Loss(net, family.likelihood, np.tile(X, (3, 1)), np.concatenate([y] * 3))
    for method in ("value", "gradient", "hessian", "ggn", "fisher"):
        agree(getattr(cold, method)(theta), getattr(thrice, method)(theta), terms=100)
    agree(cold.empirical_fisher(theta), 3 * thrice.empirical_fisher(theta), terms=100)


def test_the_annotated_shapes_are_true():
    f, y = problem(FAMILIES["categorical"])
    likelihood = Tempered(FAMILIES["categorical"].likelihood, HOT)
    with watch([importlib.import_module("refbnn.likelihoods.tempered")]) as (wrapped, calls):
        likelihood.check_targets(y, *f.shape)
        for batch in ((), (2,), (5, 2)):
            fs = np.broadcast_to(f, (*batch, *f.shape))
            for method in (likelihood.log_prob, likelihood.residual, likelihood.curvature, likelihood.factor, likelihood.third):
                method(fs, y)
            for method in (likelihood.fisher, likelihood.mean, likelihood.covariance, likelihood.outcomes):
                method(fs)
            likelihood.sample(fs, np.random.default_rng(0))
    assert len(wrapped) > 5 and wrapped == calls, wrapped - calls


def test_whether_the_loss_is_convex_in_the_outputs_is_passed_on():
    assert Tempered(likelihoods.Bernoulli(), HOT).log_concave
    assert not Tempered(likelihoods.StudentT(1.0, 3.0), HOT).log_concave


@pytest.mark.parametrize("build, message", [
    (lambda: Tempered(likelihoods.Bernoulli(), 0.0), "temperature: expected a positive number, got 0"),
    (lambda: Tempered(likelihoods.Bernoulli(), -1.0), "temperature: expected a positive number, got -1"),
    (lambda: Tempered(likelihoods.Bernoulli(), np.inf), "temperature: expected finite"),
    (lambda: Tempered(likelihoods.Bernoulli, 1.0), "likelihood: expected an object .* got the class Bernoulli"),
    (lambda: Tempered(1.0, 1.0), "likelihood: expected an object .* got a float"),
    (lambda: Tempered(likelihoods.Bernoulli(), HOT).check_targets([[0.5]], 1, 1), "expected 0 or 1, got 0.5"),
    (lambda: Tempered(likelihoods.StudentT(1.0, 3.0), HOT).factor(np.zeros((1, 1)), np.full((1, 1), 9.0)), "expected Λ positive"),
])
def test_bad_input_is_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


# -- planted faults ---------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Faulty(Tempered):
    """A tempered likelihood one of whose methods is scaled by another power of the temperature."""

    method: str = ""
    power: float = 0.0

    def __getattribute__(self, name):
        true = super().__getattribute__(name)
        if name != super().__getattribute__("method"):
            return true
        factor = super().__getattribute__("temperature") ** super().__getattribute__("power")
        return lambda *arguments: factor * true(*arguments)


@pytest.mark.parametrize("method, power", [
    ("log_prob", 1), ("residual", 1), ("curvature", 1), ("third", 1), ("factor", 0.5), ("factor", -0.5), ("fisher", 1),
    ("fisher", -1), ("mean", -1), ("covariance", 1), ("sample", 0.5), ("third", -1),
])
def test_a_wrong_power_of_the_temperature_is_caught(method, power):
    family = FAMILIES["gamma"]
    faulty, caught = Faulty(family.likelihood, HOT, method, power), 0
    for statement in LAWS:
        try:
            statement(faulty, family)
        except AssertionError:
            caught += 1
    assert caught
