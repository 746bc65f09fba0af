"""The generator: two routes that catch each other's faults, a third by differences, and the same bytes every time."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache, partial
from pathlib import Path

import pytest

flint = pytest.importorskip("flint", reason="python-flint (of the extra certify) is not installed")
mpmath = pytest.importorskip("mpmath", reason="mpmath (of the extra certify) is not installed")

from . import (  # noqa: E402
    certify, closed, closed_likelihoods, closed_posteriors, closed_structures, closed_variational, condition, derive,
    exact_posteriors, generate, integrals, jets, optima,
)
from .catalogue import BY_ID, DESIGNS  # noqa: E402
from .closed_likelihoods import CANONICAL, FORMS  # noqa: E402
from .derive_likelihoods import FAMILIES  # noqa: E402
from .designs import Design, F  # noqa: E402
from .fields import Decimal, Interval, Rational  # noqa: E402
from .integers import Integers  # noqa: E402
from .question import PAIRED  # noqa: E402
from .structured import negative  # noqa: E402

HERE = Path(__file__).parent


# -- the same bytes ---------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", ["one-parameter", "linear-poisson-2-3", "interpolation", "width-one",
                                  "saturated-bernoulli", "structures-linear-ordinal-3-1", "structures-width-one",
                                  "saturated-probit"])
def test_a_case_is_generated_again_byte_for_byte(name):
    assert generate.case_for(BY_ID[name]).encode() == (generate.CASES / f"{name}.json").read_bytes()


@pytest.mark.parametrize("name", ["iris-logistic-regression", "o-rings-logistic-regression"])
def test_a_case_from_real_data_is_generated_again_byte_for_byte(name):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    assert generate.case_for(BY_ID[name]).encode() == (generate.CASES / f"{name}.json").read_bytes()


@pytest.mark.parametrize("seed", ["0", "3"])
def test_the_seed_of_hashes_does_not_matter(seed):
    """The order of a set of strings follows PYTHONHASHSEED, and these two order one of two names differently."""
    command = [sys.executable, "-m", "tests.certify", "--check", "-k", "structures-normal-tanh-2-2-3"]
    done = subprocess.run(command, env=os.environ | {"PYTHONHASHSEED": seed}, cwd=HERE.parents[1], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_difference_is_shown_where_it_begins():
    assert generate.first_difference("abcdef", "abcxef", around=1) == "at character 3: stored 'cd', made 'cx'"
    assert generate.first_difference("abc", "ab", around=2) == "at character 2: stored 'abc', made 'ab'"
    assert generate.first_difference("", "ab", around=1) == "at character 0: stored '', made 'a'"


def test_designs_and_files_are_the_same_list():
    assert sorted(BY_ID) == sorted(path.stem for path in generate.CASES.glob("*.json") if path.stem != "schema")


def test_check_reports_a_changed_file_and_leaves_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(generate, "CASES", tmp_path)
    assert generate.main(["-k", "one-parameter"]) == 0
    assert generate.main(["-k", "one-parameter", "--check"]) == 0
    file = tmp_path / "one-parameter.json"
    file.write_text(file.read_text().replace('"revision": 1', '"revision": 2'))
    assert generate.main(["-k", "one-parameter", "--check"]) == 1
    assert '"revision": 2' in file.read_text()
    assert "DIFFERS" in capsys.readouterr().out


def test_a_glob_without_a_case_is_a_usage_error(capsys):
    with pytest.raises(SystemExit) as ended:
        generate.main(["-k", "zzz"])
    assert ended.value.code == 2


def test_the_generator_shares_no_code_with_the_package():
    for file in HERE.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else \
                [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.split(".")[0] in ("refbnn", "numpy", "scipy") for name in names), file.name


# -- planted faults -----------------------------------------------------------------------------------------------

PARAMETERS = {
    "normal_full": {"noise": [[F(3, 4), F(1, 8), F(-1, 4)], [F(1, 8), F(1, 2), F(1, 16)], [F(-1, 4), F(1, 16), F(5, 8)]]},
    "student_t": {"scale": F(3, 4), "degrees_of_freedom": F(9, 2)}, "ordinal": {"cut_points": [F(-1), F(-1, 8), F(3, 4)]},
    "negative_binomial": {"dispersion": F(5, 2)}, "gamma": {"shape": F(7, 4)},
    "heteroscedastic_student_t": {"degrees_of_freedom": F(9, 2)}}


@lru_cache(maxsize=None)
def design(likelihood: str, activation: str) -> Design:
    variance = F(95, 256) if likelihood == "normal" else None
    sizes = (2, 3, 4 if likelihood in PAIRED else 3)
    return Design(f"test-{activation}-{likelihood}", "", sizes, activation, likelihood, num_data=2, variance=variance,
                  prior=("full", full_prior), parameters=PARAMETERS.get(likelihood, {}), structures=True, ekfac=False,
                  change=negative if likelihood == "heteroscedastic_natural" else None)


def full_prior(stream: Integers, layer_sizes: list[int]) -> list[list[Fraction]]:
    from .designs import full
    return full(stream, layer_sizes)


def both_routes(likelihood: str = "normal", activation: str = "tanh") -> None:
    """The comparison that every case went through."""
    compare(design(likelihood, activation).question())


def compare(question) -> None:
    intervals, prefixes = certify.route_a(question, 256)
    certify.compare_routes(intervals, certify.route_b(question, 256, prefixes), certify.integrals_of(question))


@pytest.mark.parametrize("likelihood", FAMILIES)
def test_sound_routes_agree(likelihood):
    both_routes(likelihood)


def caught(quantity: str, likelihood: str = "normal", activation: str = "tanh") -> None:
    with pytest.raises(certify.Disagreement) as refusal:
        both_routes(likelihood, activation)
    assert str(refusal.value).startswith(quantity)


def test_a_transposed_weight_is_caught(monkeypatch):
    monkeypatch.setattr(closed.Closed, "weight", lambda self, theta, l, i, j: theta[
        self.offsets[l] + j * self.q.sizes[l + 1] + i])
    caught("forward")


def test_biases_before_weights_are_caught(monkeypatch):
    plain = closed.Closed.place
    monkeypatch.setattr(closed.Closed, "place", lambda self, l, i, j: plain(self, l, i, self.q.sizes[l] - j))
    with pytest.raises((certify.Disagreement, IndexError)):
        both_routes()


def test_a_missing_half_in_the_normal_loss_is_caught(monkeypatch):
    plain = closed.Closed.loss
    monkeypatch.setattr(closed.Closed, "loss", lambda self, f, y: 2 * plain(self, f, y))
    with pytest.raises(certify.Disagreement, match="^(loss|log_joint)"):
        both_routes()


def test_a_dropped_constant_is_caught(monkeypatch):
    monkeypatch.setattr(Decimal, "log_factorial", lambda self, count: mpmath.mpf(0))
    with pytest.raises(certify.Disagreement, match="^(loss|log_joint)"):
        both_routes("poisson")


def test_a_curvature_without_the_outer_product_is_caught(monkeypatch):
    def diagonal(self, f, y):
        mean = self.mean(f)
        return [[m if a == b else self.zero for b in range(len(f))] for a, m in enumerate(mean)]
    monkeypatch.setattr(closed.Closed, "curvature", diagonal)
    caught("ggn.full", "categorical")


def test_a_hessian_without_the_residual_term_is_caught(monkeypatch):
    monkeypatch.setattr(closed.Answers, "hessian", lambda self: [list(row) for row in self.G])
    caught("hessian.full")


def test_a_hessian_without_second_derivatives_of_the_activation_is_caught(monkeypatch):
    plain = closed.ACTIVATIONS["tanh"]
    monkeypatch.setitem(closed.ACTIVATIONS, "tanh",
                        lambda field, z, slope: (*plain(field, z, slope)[:2], field.number(0)))
    caught("hessian.full")


def test_the_wrong_triangle_of_a_cholesky_factor_is_caught(monkeypatch):
    plain = closed.ldl

    def transposed(A, zero):
        L, D = plain(A, zero)
        return [[L[j][i] for j in range(len(D))] for i in range(len(D))], D
    monkeypatch.setattr(closed, "ldl", transposed)
    with pytest.raises(certify.Disagreement, match="^(laplace|log_joint|predictive)"):
        both_routes()


def test_a_whole_instead_of_a_half_log_determinant_is_caught(monkeypatch):
    plain = closed.Answers.laplace

    def doubled(self, prefix, curvature, with_logs):
        values = plain(self, prefix, curvature, with_logs)
        values[prefix + "log_evidence"] = [values[prefix + "log_evidence"][0] - values[prefix + "log_det"][0] / 2]
        return values
    monkeypatch.setattr(closed.Answers, "laplace", doubled)
    caught("laplace.log_evidence")


def test_a_wrong_derivative_formula_of_any_activation_is_caught(monkeypatch):
    for activation in derive.TRANSCENDENTAL:
        plain = closed.ACTIVATIONS[activation]
        with monkeypatch.context() as patch:
            patch.setitem(closed.ACTIVATIONS, activation,
                          lambda field, z, slope: (*plain(field, z, slope)[:2], 2 * plain(field, z, slope)[2]))
            caught("hessian.full", "normal", activation)


def test_a_fault_in_the_jets_is_caught_too(monkeypatch):
    def forgets_mixed_terms(self, other):
        return jets.Jet(self.value * other.value,
                        jets._sum(self.first_times(other.value), other.first_times(self.value)),
                        jets._sum(self.second_times(other.value), other.second_times(self.value)))
    monkeypatch.setattr(jets.Jet, "__mul__", forgets_mixed_terms)
    with pytest.raises((certify.Disagreement, ZeroDivisionError)):  # or balls of no use, which nothing is certified from
        both_routes()


def test_a_fault_in_the_44th_digit_is_caught(monkeypatch):
    plain = closed.Closed.residual
    monkeypatch.setattr(closed.Closed, "residual", lambda self, f, y: [
        r * (1 + mpmath.mpf(10) ** -44) for r in plain(self, f, y)])
    caught("gradient")


def test_a_missing_quantity_is_caught():
    question = design("normal", "tanh").question()
    intervals, prefixes = certify.route_a(question, 256)
    decimals = certify.route_b(question, 256, prefixes)
    del decimals["ggn.full"]
    with pytest.raises(certify.Disagreement, match="ggn.full"):
        certify.compare_routes(intervals, decimals)


def test_an_interval_that_misses_the_exact_value_is_caught():
    third = flint.arb(flint.fmpq(1, 3))
    certify.check_enclosed({"forward": [third]}, {"forward": [flint.fmpq(1, 3)]})
    with pytest.raises(certify.Disagreement, match="forward"):
        certify.check_enclosed({"forward": [third]}, {"forward": [flint.fmpq(1, 3) + flint.fmpq(1, 10 ** 15)]})


def independent() -> dict:
    """Those families whose formulas are scalar."""
    return {name: form for name, form in FORMS.items() if issubclass(form, closed_likelihoods.Independent)}


@pytest.mark.parametrize("name", [name for name in independent() if name not in CANONICAL])
@pytest.mark.parametrize("formula", ["loss_of", "first", "second", "information", "mean_of"])
def test_a_wrong_formula_of_any_likelihood_is_caught(monkeypatch, name, formula):
    """Off in the 44th digit."""
    plain = getattr(FORMS[name], formula)
    monkeypatch.setitem(FORMS, name, type("Wrong", (FORMS[name],), {
        formula: lambda self, *given: plain(self, *given) * (1 + mpmath.mpf(10) ** -43)}))
    with pytest.raises(certify.Disagreement):
        both_routes(name)


def pairs() -> dict:
    """Those families with two outputs a target."""
    return {name: form for name, form in FORMS.items() if issubclass(form, closed_likelihoods.Pairs)}


@pytest.mark.parametrize("name", pairs())
@pytest.mark.parametrize("formula, place", [("loss_of", None), ("mean_of", None), ("first", 0), ("first", 1), ("second", 0),
                                            ("second", 1), ("second", 2), ("information", 0), ("information", 2)])
def test_a_wrong_formula_of_any_pair_is_caught(monkeypatch, name, formula, place):
    """Off in the 44th digit, in one entry."""
    plain = getattr(FORMS[name], formula)

    def wrong(self, *given):
        found, factor = plain(self, *given), 1 + mpmath.mpf(10) ** -43
        return found * factor if place is None else tuple(v * factor if i == place else v for i, v in enumerate(found))
    monkeypatch.setitem(FORMS, name, type("Wrong", (FORMS[name],), {formula: wrong}))
    with pytest.raises(certify.Disagreement):
        both_routes(name)


@pytest.mark.parametrize("attribute, quantity", [("carried", "(ggn|fisher).vp"), ("spread", "fisher.(empirical|mc).vp")])
def test_a_fault_in_any_product_is_caught(monkeypatch, attribute, quantity):
    plain = getattr(closed.Answers, attribute)
    monkeypatch.setattr(closed.Answers, attribute, lambda self, given: [
        v * (1 + mpmath.mpf(10) ** -43) for v in plain(self, given)])
    with pytest.raises(certify.Disagreement, match=f"^{quantity}"):
        both_routes("bernoulli")


@pytest.mark.parametrize("attribute, quantity", [
    ("diagonal_laplace", "laplace.diag"), ("last_layer_laplace", "laplace.lastlayer"), ("kron_laplace", "laplace.kron"),
    ("slopes", "laplace.evidence"), ("class_probabilities", "predictive.probit")])
def test_a_fault_in_any_posterior_is_caught(monkeypatch, attribute, quantity):
    """Off in the 44th digit, in the last entry of the first value."""
    plain = getattr(closed.Answers, attribute)

    def off(self, *given):
        values = plain(self, *given)
        first = next(iter(values.values()), [mpmath.mpf(0)])
        first[-1] = first[-1] * (1 + mpmath.mpf(10) ** -43)
        return values
    monkeypatch.setattr(closed.Answers, attribute, off)
    with pytest.raises(certify.Disagreement, match=f"^{quantity}"):
        both_routes("bernoulli")


def test_a_slope_by_the_noise_that_forgets_its_determinant_is_caught(monkeypatch):
    plain = closed.Answers.slopes

    def without_trace(self, S):
        values = plain(self, S)
        return values | {"laplace.evidence.noise": [self.loss() - values["laplace.evidence.noise"][0]]}
    monkeypatch.setattr(closed.Answers, "slopes", without_trace)
    caught("laplace.evidence.noise")


def test_a_solve_that_forgets_to_go_back_is_caught(monkeypatch):
    monkeypatch.setattr(closed, "_solved", lambda L, D, b, zero: closed._forward_solve(L, b, zero))
    caught("laplace.covariance.vp")


@pytest.mark.parametrize("attribute, quantity", [
    ("subset", "laplace.subset|predictive.subset"), ("part", "laplace.(subset|lastlayer)"), ("slopes", "laplace.(diag|kron)"),
    ("process", "gp.mean"), ("kernel", "gp.kernel")])
def test_a_fault_in_any_part_or_process_is_caught(monkeypatch, attribute, quantity):
    """Off in the 44th digit, in the last entry of the first value."""
    plain = getattr(closed_posteriors.Posteriors, attribute)

    def off(self, *given):
        values = plain(self, *given)
        first = values if attribute == "kernel" else next(iter(values.values()))
        first[-1] = first[-1] * (1 + mpmath.mpf(10) ** -43)
        return values
    monkeypatch.setattr(closed_posteriors.Posteriors, attribute, off)
    with pytest.raises(certify.Disagreement, match=f"^{quantity}"):
        both_routes("normal")


def test_a_process_without_the_prior_mean_is_caught(monkeypatch):
    plain = closed_posteriors.Posteriors.step

    def at_zero(self):
        self.d = list(self.q.theta)
        return plain(self)
    monkeypatch.setattr(closed_posteriors.Posteriors, "step", at_zero)
    with pytest.raises(certify.Disagreement, match="^gp"):
        compare(replace(design("normal", "tanh"), mean=F(1, 2)).question())


def test_two_quadratures_of_a_posterior_must_agree():
    value = [mpmath.mpf(1) / 3, mpmath.mpf(2) / 7]
    found = certify._by_quadrature("posterior.mean", value, [v * (1 + mpmath.mpf(10) ** -14) for v in value], "both agree to")
    assert found.tier == "Q" and "agree to 14 digits" in found.record
    with pytest.raises(certify.Disagreement, match="two quadratures differ"):
        certify._by_quadrature("posterior.mean", value, [value[0], value[1] * (1 + mpmath.mpf(10) ** -12)], "both")


def test_gauss_legendre_is_exact_for_polynomials():
    with mpmath.workdps(40):
        rule = exact_posteriors.gauss_legendre(8)
        for degree in range(16):
            exact = mpmath.mpf(2) / (degree + 1) if degree % 2 == 0 else 0
            assert abs(sum(w * x ** degree for x, w in rule) - exact) < mpmath.mpf(10) ** -36
        assert abs(sum(w * x ** 16 for x, w in rule) - mpmath.mpf(2) / 17) > mpmath.mpf(10) ** -8


@pytest.mark.parametrize("attribute", ["regression"])
def test_a_fault_in_the_posterior_of_a_regression_is_caught(monkeypatch, attribute):
    plain = getattr(closed_posteriors.Posteriors, attribute)

    def off(self, *given):
        values = plain(self, *given)
        values["posterior.mean"][0] = values["posterior.mean"][0] * (1 + mpmath.mpf(10) ** -43)
        return values
    monkeypatch.setattr(closed_posteriors.Posteriors, attribute, off)
    question = replace(design("normal", "tanh"), sizes=(2, 3), posterior=True).question()
    intervals, prefixes = certify.route_a(question, 256)
    with pytest.raises(certify.Disagreement, match="^posterior.mean"):
        certify.compare_routes(intervals, certify.route_b(question, 256, prefixes))


@pytest.mark.parametrize("name", ["vi.optimum.mean", "vi.optimum.covariance", "vi.optimum.meanfield.mean",
                                  "vi.optimum.meanfield.variance", "vi.optimum.elbo", "vi.optimum.meanfield.elbo"])
def test_a_fault_in_the_best_gaussians_of_a_regression_is_caught(monkeypatch, name):
    plain = closed_posteriors.Posteriors.process

    def off(self, *given):
        values = plain(self, *given)
        values[name] = [values[name][0] * (1 + mpmath.mpf(10) ** -43), *values[name][1:]]
        return values
    monkeypatch.setattr(closed_posteriors.Posteriors, "process", off)
    question = replace(design("normal", "tanh"), sizes=(2, 3), optimum=True).question()
    intervals, prefixes = certify.route_a(question, 256)
    with pytest.raises(certify.Disagreement, match=f"^{name}"):
        certify.compare_routes(intervals, certify.route_b(question, 256, prefixes))


@pytest.mark.parametrize("name", ["predictive.meanfield", "predictive.concentration", "predictive.bridge"])
def test_a_fault_in_any_class_approximation_is_caught(monkeypatch, name):
    plain = closed_posteriors.class_approximations

    def off(*given):
        values = plain(*given)
        values[name][0] = values[name][0] * (1 + mpmath.mpf(10) ** -43)
        return values
    monkeypatch.setattr(closed_posteriors, "class_approximations", off)
    caught(name, "categorical")


@pytest.mark.parametrize("likelihood", ["normal", "categorical", "heteroscedastic_gamma"])
def test_a_third_derivative_off_in_the_44th_digit_is_caught(monkeypatch, likelihood):
    plain = closed.Answers.third
    monkeypatch.setattr(closed.Answers, "third", lambda self: [v * (1 + mpmath.mpf(10) ** -43) for v in plain(self)])
    caught("third.vv", likelihood)


def test_a_difference_of_low_order_is_caught(monkeypatch):
    plain = closed.Answers.__init__
    monkeypatch.setattr(closed.Answers, "__init__", lambda self, given, reach=8: plain(self, given, 1))
    caught("third.vv")


def test_a_cubic_that_forgets_a_mixed_term_is_caught(monkeypatch):
    def forgets(self, c0, c1, c2, c3):
        b, c, d = self.powers
        return jets.Cubic(c0, c1 * b, c1 * c + c2 * b * b, c1 * d + c2 * b * c + c3 * b * b * b)
    monkeypatch.setattr(jets.Cubic, "composed", forgets)
    caught("third.vv", "poisson")


def test_the_second_singular_pair_for_the_first_is_caught(monkeypatch):
    def second(self, A):
        U = mpmath.eigsy(mpmath.matrix(A))[1]
        return [U[i, len(A) - 2] for i in range(len(A))]
    monkeypatch.setattr(Decimal, "leading", second)
    caught("ggn.vanloan")


@pytest.mark.parametrize("name", ["vi.elbo", "vi.elbo.gradient.mean", "vi.elbo.gradient.scale", "vi.kl", "vi.kl.reverse",
                                  "vi.kl.laplace", "vi.kl.laplace.reverse", "vi.full.elbo", "vi.full.elbo.gradient.mean",
                                  "vi.full.elbo.gradient.scale", "vi.full.kl", "vi.full.kl.reverse"])
def test_a_fault_in_any_bound_is_caught(monkeypatch, name):
    attribute = {"vi.kl.l": "laplace", "vi.full": "full"}.get(name[:7], "values")
    plain = getattr(closed_variational.Variational, attribute)

    def off(self, *given):
        values = plain(self, *given)
        values[name][-1] = values[name][-1] * (1 + mpmath.mpf(10) ** -43)
        return values
    monkeypatch.setattr(closed_variational.Variational, attribute, off)
    with pytest.raises(certify.Disagreement, match=f"^{name}"):
        compare(replace(design("poisson", "tanh"), structures=True).question())


def test_samples_scaled_by_variances_are_caught(monkeypatch):
    plain = closed_variational.Variational.__init__

    def squared(self, *given):
        plain(self, *given)
        self.spread = [s * s for s in self.spread]
    monkeypatch.setattr(closed_variational.Variational, "__init__", squared)
    with pytest.raises(certify.Disagreement, match="^vi"):
        compare(replace(design("poisson", "tanh"), structures=True).question())


def test_a_transposed_scale_is_caught(monkeypatch):
    plain = closed_variational.Variational.full

    def turned(self):
        C = self.q.scale
        other = type(self.q)(**vars(self.q))
        self.q = type("Turned", (), {**{name: getattr(other, name) for name in vars(other)}, "num_params": other.num_params,
                                     "scale": [list(row) for row in zip(*C)]})()
        return plain(self)
    monkeypatch.setattr(closed_variational.Variational, "full", turned)
    with pytest.raises(certify.Disagreement, match="^vi.full"):
        compare(replace(design("poisson", "tanh"), structures=True).question())


@pytest.mark.parametrize("rule", [optima.trapezoid, optima.gauss_hermite])
def test_rules_of_optima_have_the_moments_of_a_standard_normal(rule):
    """But for what lies beyond the twelfth standard deviation."""
    with Interval(128).working():
        nodes = rule(1)
        for degree, moment in enumerate([1, 0, 1, 0, 3, 0, 15, 0, 105]):
            assert abs(sum(w * z[0] ** degree for z, w in nodes) - moment) < flint.arb(12) ** degree * flint.arb(-72).exp()
        plane = optima.trapezoid(2, reach=8, steps=2)
        assert abs(sum(w * z[0] ** 2 * z[1] ** 2 for z, w in plane) - 1) < flint.arb(10) ** -10


@pytest.mark.parametrize("at", [0, 1, 2], ids=["loss", "slope", "bend"])
def test_a_fault_in_the_expectations_of_an_optimum_is_caught(monkeypatch, at):
    """Off in the 14th digit: the bound alone by the loss, all of the optimum by the others."""
    plain = optima.output_from_slopes

    def wrong(answers, rule):
        found = plain(answers, rule)
        return lambda *given: tuple(v * (1 + flint.arb(10) ** -13) if i == at else v for i, v in enumerate(found(*given)))
    question = BY_ID["structures-linear-ordinal-3-1"].question()
    few = replace(question, X=question.X[:2], y=question.y[:2])
    assert set(certify.optimum(few)) == {f"vi.optimum.{name}" for name in (
        "mean", "covariance", "elbo", "meanfield.mean", "meanfield.variance", "meanfield.elbo")}
    monkeypatch.setattr(optima, "output_from_slopes", wrong)
    with pytest.raises(certify.Disagreement, match="^vi.optimum.elbo" if at == 0 else "^vi.optimum.mean"):
        certify.optimum(few)


def test_an_optimum_that_is_none_is_refused(monkeypatch):
    """Corrections in the wrong direction never end."""
    monkeypatch.setattr(optima, "_corrected", lambda slopes, phi, left: [v + flint.arb(1) / 64 for v in phi])
    question = BY_ID["structures-linear-ordinal-3-1"].question()
    with pytest.raises(ArithmeticError, match="the equations are left with"):
        certify.optimum(replace(question, X=question.X[:2], y=question.y[:2]))


def test_values_and_slopes_have_one_expectation_over_two_parameters():
    """Stein's lemma, on a network with a hidden layer: the two routes that the optima of networks rest on."""
    with Interval(128).working():
        routes = optima.Routes(BY_ID["posterior-tanh-bernoulli"].question(), Interval(128))
        mean, C = [flint.arb(1) / 4, flint.arb(-1) / 3], [[flint.arb(2) / 5, flint.arb(0)], [flint.arb(-1) / 7, flint.arb(1) / 3]]
        rule = partial(optima.trapezoid, reach=10, steps=3)
        (value, first, second), (same, slopes, bends) = (one(mean, C) for one in (routes.first(rule), routes.second(rule)))
        pairs = [(value, same), *zip(first, slopes), *((second[i][j], bends[i][j]) for i in range(2) for j in range(i + 1))]
        assert all(abs(a - b) < 1e-12 for a, b in pairs)


@pytest.mark.parametrize("likelihood", sorted(integrals.LIKELIHOODS))
def test_a_fault_in_any_integral_is_caught(monkeypatch, likelihood):
    """Off in the 21st digit for three classes, where two grids must agree, in the 44th elsewhere."""
    plain, size = closed.summed, mpmath.mpf(10) ** (-21 if likelihood == "categorical" else -43)
    question = design(likelihood, "tanh").question()
    intervals, prefixes = certify.route_a(question, 256)
    names = certify.integrals_of(question)
    certify.compare_routes(intervals, certify.route_b(question, 256, prefixes), names)
    monkeypatch.setattr(closed, "summed", lambda *given: [v * (1 + size) for v in plain(*given)])
    with pytest.raises(certify.Disagreement, match="^predictive.exact"):
        certify.compare_routes(intervals, certify.route_b(question, 256, prefixes), names)


@pytest.mark.parametrize("m, v", [("0", "1"), ("3", "5"), ("-7/2", "30"), ("1/8", "1/64")])
def test_the_expected_sigmoid_is_enclosed(m, v):
    """By symmetry E σ(f) + E σ(−f) = 1, and the trapezoidal rule lies within the enclosure."""
    field, decimal = Interval(256), Decimal(77)
    with field.working(), decimal.working():
        m, v = Fraction(m), Fraction(v)
        left, right = (integrals._sigmoid(field, field.number(a), field.number(v)) for a in (m, -m))
        assert (left + right).contains(1) and left.rad() < 1e-55
        found = integrals.trapezoid(decimal, lambda f: 1 / (1 + mpmath.exp(-f)), decimal.number(m), decimal.number(v))
        assert abs(certify.as_fraction(found) - certify.as_fraction(left.mid())) < Fraction(1, 10 ** 50)


def test_a_coarse_grid_disagrees_with_a_fine_one():
    field = Interval(128)
    with field.working():
        m = [field.number(Fraction(v)) for v in ("0", "5/4", "-3/8")]
        V = [[field.number(Fraction(2 if i == j else 1, 1)) for j in range(3)] for i in range(3)]
        fine = integrals.classes(field, m, V, 0)
        again = integrals.classes(field, m, V, 1)
        assert all(abs(a - b) < 1e-24 for a, b in zip(fine, again))
        nodes = [field.number(1), field.number(Fraction(1, 2))]
        coarse = integrals._on_grid(field, [m[1], m[2]], [nodes[0], nodes[1], nodes[0]], 1, [1, 2], 0)
        assert max(float(abs(a - b)) for a, b in zip(fine, coarse)) > 1e-12


@pytest.mark.parametrize("attribute, quantity", [
    ("gram", "fisher.empirical.gram"),
    ("input_factor", "ggn.kfac"), ("kfra", "ggn.kfra"), ("centred", "fisher.empirical.centred"), ("ntk", "ntk"),
    ("blocks", "ggn.blockdiag"), ("masked", "hessian.blockdiag"), ("units", "ggn.neuronblocks")])
def test_a_fault_in_any_structure_is_caught(monkeypatch, attribute, quantity):
    plain = getattr(closed_structures.Structures, attribute)

    def off(self, *arguments):
        found = plain(self, *arguments)
        rows = [found] if attribute in ("ntk", "gram") else found
        rows[-1][-1] = rows[-1][-1] * (1 + mpmath.mpf(10) ** -43)
        return found
    monkeypatch.setattr(closed_structures.Structures, attribute, off)
    with pytest.raises(certify.Disagreement, match=f"^{quantity}|^fisher"):
        both_routes("bernoulli")


def test_a_summed_second_factor_is_caught(monkeypatch):
    """Σ ā āᵀ in the place of its mean."""
    plain = closed_structures.Structures.input_factor
    monkeypatch.setattr(closed_structures.Structures, "input_factor",
                        lambda self, l: [[v * len(self.q.X) for v in row] for row in plain(self, l)])
    caught("ggn.kfac")


def test_exchanged_kronecker_factors_are_caught(monkeypatch):
    plain = closed_structures.Structures.written
    monkeypatch.setattr(closed_structures.Structures, "written", lambda self, terms: plain(self, (
        (l, A, B) if len(A) == len(B) else (l, B, A) for l, B, A in terms)))
    swapped = replace(design("poisson", "tanh"), id="test-swapped", sizes=(2, 3, 4))
    with pytest.raises(certify.Disagreement, match="^ggn.blockdiag|^ggn.kfac"):
        compare(swapped.question())


@pytest.fixture(scope="module")
def with_ekfac():
    """A case whose Kronecker factors have different eigenvalues."""
    return BY_ID["structures-width-one"].question()


def test_sound_routes_agree_on_ekfac(with_ekfac):
    assert {"ggn.ekfac", "ggn.ekfac.split"} <= set(certify.route_a(with_ekfac, 256)[0])
    compare(with_ekfac)


def test_ekfac_with_kfacs_own_diagonal_is_caught(with_ekfac, monkeypatch):
    monkeypatch.setattr(closed_structures.Structures, "ekfac", lambda self, outputs, split: self.kfac(outputs))
    with pytest.raises(certify.Disagreement, match="ggn.ekfac"):
        compare(with_ekfac)


def test_a_repeated_eigenvalue_is_refused_and_never_guessed():
    field = Interval(128)
    with field.working():
        one, zero = flint.arb(1), flint.arb(0)
        assert len(field.projectors([[one + one, one], [one, one + one]])) == 2
        with pytest.raises(ZeroDivisionError):
            field.projectors([[one, zero], [zero, one]])
        with pytest.raises(ZeroDivisionError):
            field.projectors([[one, one, one]] * 3)


def test_projectors_are_projectors_and_keep_exact_zeros():
    field = Interval(192)
    with field.working():
        A = [[flint.arb(v) for v in row] for row in ([4, 1, 0], [1, 3, 0], [0, 0, 2])]
        for P in field.projectors(A):
            M = flint.arb_mat(P)
            square, turned = (M * M - M).entries(), (flint.arb_mat(A) * M - M * flint.arb_mat(A)).entries()
            assert all(v.contains(0) and v.rad() < 1e-40 for v in square + turned)
            assert all(P[i][2].is_zero() and P[2][i].is_zero() for i in (0, 1))


# -- a third route for likelihoods: integrals, sums and derivatives by mpmath ---------------------------------------

def outcomes(name: str, form, f: mpmath.mpf) -> mpmath.mpf:
    """E[(∂ℓ/∂f)²] by summing or integrating over y; the mass, which must be one."""
    def weight(y):
        return mpmath.exp(-form.loss_of(f, y))

    def both(function):
        if name in ("student_t", "gamma"):
            low = -mpmath.inf if name == "student_t" else mpmath.mpf(0)
            points = [low, *(mpmath.mpf(p) for p in ((0.25, 1, 2, 4) if name == "gamma" else (-4, -1, 0, 1, 4))), mpmath.inf]
            return mpmath.quad(function, points)
        top = {"bernoulli_probit": 1, "bernoulli_cloglog": 1, "bernoulli": 1, "ordinal": 3}.get(name, 400)
        return sum(function(y) for y in range(top + 1))
    return both(weight), both(lambda y: weight(y) * form.first(f, y) ** 2), both(lambda y: weight(y) * y)


@pytest.mark.parametrize("name", independent())
@pytest.mark.parametrize("f", [F(-5, 4), F(3, 8), F(9, 8)])
def test_fisher_information_and_mean_are_expectations_over_a_density_of_mass_one(name, f):
    field = Decimal(40)
    with field.working():
        form, at = FORMS[name](design(name, "tanh").question().lifted(field), field), field.number(f)
        mass, information, mean = outcomes(name, form, at)
        close = mpmath.mpf(10) ** -(10 if name == "student_t" else 15)
        assert abs(mass - 1) < close
        assert abs(information - form.information(at)) < close * information
        assert abs(mean - form.mean_of(at)) < mpmath.mpf(10) ** -(6 if name == "student_t" else 15) * (1 + abs(mean))


@pytest.mark.parametrize("name", independent())
def test_residual_and_curvature_are_derivatives_of_the_loss(name):
    field = Decimal(60)
    with field.working():
        form = FORMS[name](design(name, "tanh").question().lifted(field), field)
        for y in (1, 0, 3, mpmath.mpf(5) / 4):
            if (y not in (0, 1, 3) and name not in ("student_t", "gamma")) or (name == "gamma" and not y) \
                    or (y == 3 and name.startswith("bernoulli")):
                continue
            for f in (mpmath.mpf(-9) / 8, mpmath.mpf(5) / 8):
                first, second = (mpmath.diff(lambda x: form.loss_of(x, y), f, order) for order in (1, 2))
                assert abs(first - form.first(f, y)) < mpmath.mpf(10) ** -20
                assert abs(second - form.second(f, y)) < mpmath.mpf(10) ** -15


def at_a_pair(name: str, field) -> tuple:
    """A form, and outputs that every one of these families allows."""
    form = FORMS[name](design(name, "tanh").question().lifted(field), field)
    return form, [field.number(F(3, 8)), field.number(F(7, 8) if name == "heteroscedastic_gamma" else F(-7, 8))]


@pytest.mark.parametrize("name", pairs())
def test_the_fisher_matrix_and_the_mean_of_a_pair_are_expectations_over_a_density_of_mass_one(name):
    field = Decimal(40)
    with field.working():
        form, f = at_a_pair(name, field)
        grid = [mpmath.mpf(0) if name == "heteroscedastic_gamma" else -mpmath.inf, 0.125, 0.5, 1, 3, mpmath.inf]

        def expectation(function):
            def weighted(y):
                return mpmath.exp(-form.loss(f, [y])) * function(form.residual(f, [y]), y)
            if name == "heteroscedastic_negative_binomial":
                return sum(weighted(y) for y in range(400))
            return mpmath.quad(weighted, grid)
        close = mpmath.mpf(10) ** -(4 if name == "heteroscedastic_student_t" else 12)
        assert abs(expectation(lambda r, y: 1) - 1) < close
        assert abs(expectation(lambda r, y: y) - form.mean(f)[0]) < close
        F_f = form.fisher(f)
        for i in range(2):
            assert abs(expectation(lambda r, y: r[i])) < close
            for j in range(2):
                assert abs(expectation(lambda r, y: r[i] * r[j]) - F_f[i][j]) < close


@pytest.mark.parametrize("name", pairs())
def test_residual_and_curvature_of_a_pair_are_derivatives_of_its_loss(name):
    field = Decimal(60)
    with field.working():
        form, f = at_a_pair(name, field)
        for y in (1, 3):
            orders = {(1, 0): form.first(*f, y)[0], (0, 1): form.first(*f, y)[1], (2, 0): form.second(*f, y)[0],
                      (1, 1): form.second(*f, y)[1], (0, 2): form.second(*f, y)[2]}
            for order, formula in orders.items():
                assert abs(mpmath.diff(lambda a, b: form.loss_of(a, b, y), tuple(f), order) - formula) < mpmath.mpf(10) ** -15


@pytest.mark.parametrize("name", FORMS)
def test_the_output_fisher_matrix_differs_from_the_curvature_unless_the_likelihood_is_canonical(name):
    field = Decimal(40)
    with field.working():
        question = design(name, "tanh").question()
        form = FORMS[name](question.lifted(field), field)
        sign = -1 if name == "heteroscedastic_natural" else 1
        f = [field.number(sign * F(i + 2, 8)) for i in range(question.num_outputs)]
        pairs = [(form.fisher(f), form.curvature(f, y)) for y in question.lifted(field).y]
        differs = any(abs(a - b) > 1e-3 for F_f, L in pairs for r, s in zip(F_f, L) for a, b in zip(r, s))
        assert differs != (name in CANONICAL)


def test_a_fisher_matrix_that_should_differ_from_the_ggn_and_does_not_is_refused(monkeypatch):
    question = BY_ID["structures-linear-ordinal-3-1"].question()
    results = certify.certified(question)
    with pytest.raises(certify.Disagreement, match="F ≠ G"):
        certify.check_fisher(question, results | {"fisher.full": results["ggn.full"]})
    with pytest.raises(certify.Disagreement, match="F = G"):
        certify.check_fisher(replace(question, likelihood="poisson"), results)


# -- a third route: differences at 250 digits ---------------------------------------------------------------------

@pytest.mark.parametrize("name", ["width-one", "no-bias-no-hidden-layer", "linear-poisson-2-3", "one-parameter"])
def test_certified_derivatives_are_those_of_central_differences_at_250_digits(name):
    """(ℓ(θ+h) − ℓ(θ−h))/2h has error O(h²) = 10⁻¹²⁰: the differences must round to the certified doubles."""
    values = json.loads((generate.CASES / f"{name}.json").read_text(encoding="utf-8"))["values"]
    question, field, h = BY_ID[name].question(), Decimal(250), mpmath.mpf(10) ** -60
    p = range(question.num_params)
    with field.working():
        lifted = question.lifted(field)

        def loss(*moves: tuple[int, int]) -> mpmath.mpf:
            theta = list(lifted.theta)
            for i, sign in moves:
                theta[i] += sign * h
            network = closed.Closed(replace(lifted, theta=theta), field)
            return sum(network.loss(network.forward(theta, x)[0][-1], y) for x, y in zip(lifted.X, lifted.y))

        gradient = [(loss((i, 1)) - loss((i, -1))) / (2 * h) for i in p]
        hessian = [sum(a * b * loss((i, a), (j, b)) for a in (1, -1) for b in (1, -1)) / (4 * h * h)
                   for i in p for j in range(i + 1)]
        assert mpmath.almosteq(loss(), mpmath.mpf(values["loss"]["digits"]), rel_eps=mpmath.mpf(10) ** -38)
    assert [rounded(v) for v in gradient] == values["gradient"]["data"]
    assert [rounded(v) for v in hessian] == values["hessian.full"]["data"]


def rounded(value: mpmath.mpf) -> float:
    """The double; what is left of a structural zero after differences is far below 10⁻⁵⁰."""
    return certify.to_double(certify.as_fraction(value)) if abs(value) > mpmath.mpf(10) ** -50 else 0.0


# -- rounding -----------------------------------------------------------------------------------------------------

def test_rounding_needs_both_ends_on_one_double():
    tenth = Fraction(1, 10)
    assert certify.round_between(tenth, tenth + Fraction(1, 10 ** 20), "x") == 0.1
    with pytest.raises(certify.TooWide):
        certify.round_between(tenth, tenth + Fraction(1, 10 ** 16), "x")


def test_an_interval_around_zero_is_not_called_zero():
    assert certify.round_between(Fraction(0), Fraction(0), "x") == 0.0
    with pytest.raises(certify.TooWide, match="sign"):
        certify.round_between(-Fraction(1, 10 ** 400), Fraction(1, 10 ** 400), "x")


def test_ties_go_to_even_and_subnormals_are_refused():
    assert certify.to_double(1 + Fraction(1, 2 ** 53)) == 1.0
    assert certify.to_double(1 + Fraction(3, 2 ** 53)) == 1 + 2.0 ** -51
    with pytest.raises(ValueError, match="below the normal doubles"):
        certify.to_double(Fraction(1, 2 ** 1030))


@pytest.mark.parametrize("value, digits", [
    (Fraction(0), "0"), (Fraction(1), "1." + "0" * 39 + "e+0"), (-Fraction(1, 3), "-3." + "3" * 39 + "e-1"),
    (Fraction(10 ** 41 - 1), "1." + "0" * 39 + "e+41"), (Fraction(2, 3) * 1000, "6." + "6" * 38 + "7e+2")])
def test_forty_digits_are_correctly_rounded(value, digits):
    assert certify.forty_digits(value, value) == digits


def test_ends_of_a_ball_hold_it_exactly():
    with Interval(64).working():
        ball = flint.arb(2).sqrt()
        low, high = certify.interval_ends(ball)
    assert low ** 2 < 2 < high ** 2 and high - low < Fraction(1, 10 ** 17)
    with pytest.raises(certify.TooWide):
        certify.interval_ends(flint.arb("nan"))


def test_precision_is_raised_until_the_rounding_is_proven(monkeypatch):
    asked = []
    plain = certify.route_a

    def too_wide_at_first(question, bits):
        asked.append(bits)
        if len(asked) == 1:
            raise certify.TooWide("planted")
        return plain(question, bits)
    monkeypatch.setattr(certify, "route_a", too_wide_at_first)
    question = BY_ID["one-parameter"].question()
    assert certify.certified(question)["loss"].digits
    assert asked == [certify.FIRST_BITS, 2 * certify.FIRST_BITS]


def test_a_value_that_never_rounds_is_given_up(monkeypatch):
    def never(question, bits):
        raise certify.TooWide("planted")
    monkeypatch.setattr(certify, "route_a", never)
    with pytest.raises(ArithmeticError, match="not determined with 12288 bits"):
        certify.certified(BY_ID["one-parameter"].question())


# -- the parts ------------------------------------------------------------------------------------------------------

def test_integers_are_splitmix64():
    """The first outputs for seed 0, as published with the algorithm."""
    stream = Integers("")
    stream.state = 0
    assert [stream.below(1 << 64) for _ in range(3)] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


def test_inputs_are_never_zero_and_within_their_scale():
    values = Integers("some name").vector(1000, F(1, 2))
    assert all(0 < abs(v) <= F(1, 2) and (v * 256).denominator == 1 for v in values)
    assert Integers("some name").vector(5) != Integers("another").vector(5)


@pytest.mark.parametrize("f", [-5.0, 0.0, 2.5, 7.0])
def test_the_poisson_moment_with_its_bound_for_the_tail_holds_the_rate(f):
    field = Interval(256)
    with field.working():
        question = BY_ID["zero-counts"].question()
        moment = derive.Derivation(question, field).family.moment(flint.arb(f))
        rate = flint.arb(f).exp()
        assert moment.overlaps(rate)
        assert moment.rad() < rate * flint.arb(10) ** -60


def test_a_point_on_the_kink_is_refused():
    question = BY_ID["relu-normal-2-5-3"].question()
    on_kink = replace(question, X=[[Fraction(0), Fraction(0)]], y=question.y[:1], labels=question.labels[:1],
                      theta=[Fraction(0)] * 15 + question.theta[15:])
    with pytest.raises(ValueError, match="kink"):
        derive.Derivation(on_kink, Rational()).network()


def test_normals_that_hide_the_linear_map_are_refused():
    question = BY_ID["width-one"].question()
    generate.check_normals(question)
    with pytest.raises((ValueError, ZeroDivisionError)):
        generate.check_normals(replace(question, normals=[question.normals[0]] * len(question.normals)))
    nearly = [[v + (F(1, 256) if i == j else 0) for j, v in enumerate(question.normals[0])]
              for i in range(len(question.normals))]
    with pytest.raises(ValueError, match="normals: condition"):
        generate.check_normals(replace(question, normals=nearly))


def test_positive_definite_is_decided_or_left_open():
    def matrix(corner):
        return [[flint.arb(1), flint.arb(1)], [flint.arb(1), corner]]
    assert certify.is_positive_definite(matrix(flint.arb(2)))
    assert not certify.is_positive_definite(matrix(flint.arb("0.5")))
    with pytest.raises(certify.TooWide):
        certify.is_positive_definite(matrix(flint.arb(1, 0.25)))


# -- condition numbers ----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("value, result", [(0.0, 1.0), (1.0, 1.0), (1.01, 1.1), (2.0, 2.0), (99.1, 100.0),
                                           (1234.0, 1300.0)])
def test_conditions_are_rounded_up_to_two_digits(value, result):
    assert condition.round_up(value) == result


def test_the_condition_of_a_product_is_two():
    """f = θ x: when both grow by ε, f grows by 2 ε."""
    values = json.loads((generate.CASES / "one-parameter.json").read_text(encoding="utf-8"))["values"]
    assert values["forward"]["condition"] == 2.0
    assert values["jacobian"]["condition"] == 1.0


def test_norms_of_packed_triangles_are_those_of_the_matrix():
    assert condition.norm("ggn.full", [3.0, 4.0, 0.0]) == pytest.approx((9 + 2 * 16) ** 0.5)
    assert condition.norm("gradient", [3.0, 4.0]) == pytest.approx(5)
    assert condition.norm("gradient", [1e200, 1e200]) == pytest.approx(2 ** 0.5 * 1e200)
    assert condition.spectral_norm([[2.0, 1.0], [1.0, 2.0]]) == pytest.approx(3)


def test_every_design_is_drawn_within_the_support_of_its_likelihood():
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    for one in DESIGNS:
        if one.family == "real":
            continue
        question = one.question()
        assert len(question.X) == len(question.y) == len(question.labels) == one.num_data
        assert len(question.theta) == len(question.vector) == question.num_params
