"""Bad parameters, targets and outputs are refused with what was expected and what came; shapes are those of the annotations."""

from __future__ import annotations

import dataclasses
import importlib
import pickle

import numpy as np
import pytest

from refbnn import Loss, Mlp, activations, likelihoods
from refbnn.likelihoods import outcomes
from tests.judge import agree, smallest_eigenvalue_is_not_negative
from tests.likelihoods.families import FAMILIES, NOISE
from tests.likelihoods.test_laws import problem
from tests.shape_checker import watch

BAD_PARAMETERS = [
    (lambda: likelihoods.StudentT(-0.1, 3.0), "scale: expected a positive number, got -0.1"),
    (lambda: likelihoods.StudentT(1.0, 0.0), "degrees_of_freedom: expected a positive number, got 0"),
    (lambda: likelihoods.HeteroscedasticStudentT(np.nan), "degrees_of_freedom: expected finite"),
    (lambda: likelihoods.NegativeBinomial(0.0), "dispersion: expected a positive number, got 0"),
    (lambda: likelihoods.NegativeBinomial("many"), "dispersion: expected real numbers"),
    (lambda: likelihoods.Gamma(np.inf), "shape: expected finite"),
    (lambda: likelihoods.Ordinal([0.3, 0.3]), "cut_points: expected at least one, strictly increasing"),
    (lambda: likelihoods.Ordinal([]), "cut_points: expected at least one"),
    (lambda: likelihoods.Ordinal(0.5), r"cut_points: expected shape \(c,\), got \(\)"),
    (lambda: likelihoods.NormalFull(NOISE[:2]), r"noise: expected a square matrix, got shape \(2, 3\)"),
    (lambda: likelihoods.NormalFull(NOISE + np.triu(np.ones((3, 3)), 1)), "noise: expected a symmetric matrix"),
    (lambda: likelihoods.NormalFull(NOISE - 2 * np.eye(3)), "noise: expected a positive-definite matrix, got .* eigenvalue -"),
]


@pytest.mark.parametrize("build, message", BAD_PARAMETERS)
def test_bad_parameters_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


BAD_TARGETS = [
    ("bernoulli_probit", [[0.5]], 1, "expected 0 or 1, got 0.5"),
    ("bernoulli_cloglog", [[2]], 1, "expected 0 or 1, got 2"),
    ("poisson_softplus", [[-1]], 1, r"expected counts 0, 1, 2, ..., got -1"),
    ("poisson_square", [[1.5]], 1, r"expected counts 0, 1, 2, ..., got 1.5"),
    ("negative_binomial", [[-2]], 1, r"expected counts 0, 1, 2, ..., got -2"),
    ("heteroscedastic_negative_binomial", [[0.1]], 2, r"expected counts 0, 1, 2, ..., got 0.1"),
    ("gamma", [[0.0]], 1, "expected positive numbers, got 0"),
    ("heteroscedastic_gamma", [[-3.0]], 2, "expected positive numbers, got -3"),
    ("ordinal", [[4]], 1, "expected levels 0 to 3, got 4"),
    ("ordinal", [[-1]], 1, "expected levels 0 to 3, got -1"),
    ("student_t", [[np.nan]], 1, "expected finite numbers"),
    ("normal_full", [[1.0, 2.0]], 3, r"expected shape \(1, 3\), got \(1, 2\)"),
    ("normal_full", [[1.0, 2.0]], 2, "expected a network with 3 outputs, as noise has, got 2"),
    ("heteroscedastic", [[1.0, 2.0]], 2, r"expected shape \(1, 1\), got \(1, 2\)"),
    ("heteroscedastic", [[1.0]], 3, "expected a network with two outputs a target, got 3 outputs"),
    ("heteroscedastic_full", [[1.0, 2.0]], 4, r"expected t \(t \+ 3\)/2 = 2, 5, 9, 14, ... outputs for t targets, got 4"),
    ("heteroscedastic_full", [[1.0]], 5, r"expected shape \(1, 2\), got \(1, 1\)"),
    ("heteroscedastic_gamma", [1.0], 2, r"expected shape \(1, 1\), got \(1,\)"),
]


@pytest.mark.parametrize("name, y, num_outputs, message", BAD_TARGETS)
def test_bad_targets_are_refused(name, y, num_outputs, message):
    with pytest.raises(ValueError, match=message):
        FAMILIES[name].likelihood.check_targets(y, 1, num_outputs)


@pytest.mark.parametrize("name", FAMILIES)
def test_good_targets_are_returned_as_they_are(name):
    f, y = problem(FAMILIES[name])
    assert np.array_equal(FAMILIES[name].likelihood.check_targets(y, len(y), f.shape[-1]), y)


@pytest.mark.parametrize("method", ["log_prob", "residual", "curvature", "factor", "third", "fisher", "mean", "outcomes"])
def test_natural_outputs_of_the_wrong_sign_are_refused_with_the_datum(method):
    f = np.array([[1.0, -1.0], [1.0, 0.5]])
    arguments = () if method in ("fisher", "mean", "outcomes") else (np.zeros((2, 1)),)
    with pytest.raises(ValueError, match="expected outputs η₂ < 0, got 0.5 for datum 1, target 0.*HeteroscedasticPrecision"):
        getattr(likelihoods.HeteroscedasticNatural(), method)(f, *arguments)


def test_moments_that_do_not_exist_are_refused():
    f = np.zeros((2, 2))
    for likelihood in (likelihoods.StudentT(1.0, 1.0), likelihoods.HeteroscedasticStudentT(0.5)):
        for method in (likelihood.mean, likelihood.covariance):
            with pytest.raises(ValueError, match="degrees_of_freedom: expected more than 1"):
                method(f)
    assert likelihoods.StudentT(1.0, 2.0).mean(f).tolist() == f.tolist()
    assert np.isinf(np.diagonal(likelihoods.StudentT(1.0, 2.0).covariance(f), axis1=-2, axis2=-1)).all()


def test_a_rule_that_is_too_long_is_refused():
    for likelihood, f in ((likelihoods.Poisson(), np.full((1, 1), 20.0)), (likelihoods.Normal(1.0), np.zeros((1, 7))),
                          (likelihoods.NegativeBinomial(1e-6), np.full((1, 1), 3.0))):
        with pytest.raises(ValueError, match=f"outcomes: expected at most {outcomes.LARGEST} points"):
            likelihood.outcomes(f)
    with pytest.raises(ValueError, match="outcomes: expected targets that do not underflow, got a shape of 0.05"):
        likelihoods.Gamma(0.05).outcomes(np.zeros((1, 1)))


def test_with_an_outlier_the_ggn_of_student_t_is_indefinite_its_root_is_refused_and_the_fisher_matrix_is_sound():
    rng = np.random.default_rng(0)
    net, X = Mlp((2, 3, 1), activations.tanh), rng.normal(size=(3, 2))
    theta = rng.normal(size=net.num_params)
    outlier = net.forward(theta, X) + np.array([[0.0], [50.0], [0.0]])
    loss = Loss(net, likelihoods.StudentT(0.5, 3.0), X, outlier)
    f = net.forward(theta, X)
    with pytest.raises(ValueError, match=r"indefinite Λ for datum 1, target 0.*Use fisher\(f\)"):
        loss.likelihood.factor(f, loss.y)
    J, Lambda = net.jacobian(theta, X), loss.likelihood.curvature(f, loss.y)
    agree(loss.ggn(theta), np.einsum("nkp,nkl,nlq->pq", J, Lambda, J), terms=3 + net.num_params)
    assert np.linalg.eigvalsh(loss.ggn(theta))[0] < 0
    smallest_eigenvalue_is_not_negative(loss.fisher(theta), terms=net.num_params)


@pytest.mark.parametrize("name", FAMILIES)
def test_parameters_cannot_be_reassigned_and_likelihoods_can_be_copied(name):
    likelihood = FAMILIES[name].likelihood
    for field in dataclasses.fields(likelihood):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(likelihood, field.name, 1.0)
    again = pickle.loads(pickle.dumps(likelihood))
    f, y = problem(FAMILIES[name])
    assert np.array_equal(again.log_prob(f, y), likelihood.log_prob(f, y))


MEMBERS = ("independent", "pairs", "normal_full", "categorical")


def test_the_annotated_shapes_are_true():
    modules = [importlib.import_module(f"refbnn.likelihoods.{name}") for name in MEMBERS]
    with watch(modules) as (wrapped, calls):
        for family in FAMILIES.values():
            f, y = problem(family)
            for batch in ((), (2,), (5, 2)):
                call_everything(family, np.broadcast_to(f, (*batch, *f.shape)), y)
    assert len(wrapped) > 20 and wrapped == calls, wrapped - calls


def call_everything(family, f, y):
    """Every method whose signature has annotated axes."""
    likelihood = family.likelihood
    y = likelihood.check_targets(y, len(y), f.shape[-1])
    for method in (likelihood.log_prob, likelihood.residual, likelihood.curvature, likelihood.third,
                   getattr(likelihood, "distribution", likelihood.log_prob)):
        method(f, y)
    if family.definite:
        likelihood.factor(f, y)
    else:
        with pytest.raises(ValueError, match="factor: expected Λ positive semi-definite"):
            likelihood.factor(f, y)
    likelihood.fisher(f)
    likelihood.mean(f)
    likelihood.covariance(f)
    points, weights = likelihood.outcomes(f)
    assert points.shape[:len(weights.shape)] == weights.shape == (len(weights), *f.shape[:-1])
    draw = likelihood.sample(f, np.random.default_rng(0))
    assert draw.shape == points.shape[1:]


METHODS_OF_TARGETS = ("log_prob", "residual", "curvature", "factor", "third")


@pytest.mark.parametrize("method", METHODS_OF_TARGETS)
@pytest.mark.parametrize("name", FAMILIES)
def test_targets_of_another_shape_are_refused_and_never_broadcast(name, method):
    """A row, a column, one datum, no output axis: each would broadcast to a plausible number."""
    f, y = problem(FAMILIES[name])
    wrong = [y[:1], y[:, None], np.repeat(y[None], 2, axis=-1)] + ([y[:, 0]] if y.ndim == 2 else [])
    for other in wrong:
        with pytest.raises(ValueError, match=r"y: expected shape \(\.\.\., 7.*\), got \("):
            getattr(FAMILIES[name].likelihood, method)(f, other)


def test_learned_noise_refuses_targets_of_another_shape():
    with pytest.raises(ValueError, match=r"y: expected shape \(\.\.\., 3, 1\), got \(3,\)"):
        likelihoods.Normal(1.0).log_variance_derivatives(np.zeros((3, 1)), np.zeros(3))


@pytest.mark.parametrize("name", FAMILIES)
def test_leading_axes_of_targets_broadcast(name):
    """One y for many f, many y for one f, and as many of each."""
    f, y = problem(FAMILIES[name])
    value = FAMILIES[name].likelihood.log_prob(f, y)
    for fs, ys in ((np.stack([f, f]), y), (f, np.stack([y, y])), (np.stack([f, f]), np.stack([y, y]))):
        agree(FAMILIES[name].likelihood.log_prob(fs, ys), np.stack([value, value]), terms=30)
