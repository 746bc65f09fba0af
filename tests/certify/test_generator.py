"""The generator: two routes that catch each other's faults, a third by differences, and the same bytes every time."""

from __future__ import annotations

import ast
import json
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import pytest

flint = pytest.importorskip("flint", reason="python-flint (of the extra certify) is not installed")
mpmath = pytest.importorskip("mpmath", reason="mpmath (of the extra certify) is not installed")

from . import certify, closed, condition, derive, generate, jets  # noqa: E402
from .catalogue import BY_ID, DESIGNS  # noqa: E402
from .designs import Design, F  # noqa: E402
from .fields import Decimal, Interval, Rational  # noqa: E402
from .integers import Integers  # noqa: E402

HERE = Path(__file__).parent


# -- the same bytes ---------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", ["one-parameter", "linear-poisson-2-3", "interpolation", "width-one",
                                  "saturated-bernoulli"])
def test_a_case_is_generated_again_byte_for_byte(name):
    assert generate.case_for(BY_ID[name]).encode() == (generate.CASES / f"{name}.json").read_bytes()


@pytest.mark.parametrize("name", ["iris-logistic-regression", "o-rings-logistic-regression"])
def test_a_case_from_real_data_is_generated_again_byte_for_byte(name):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    assert generate.case_for(BY_ID[name]).encode() == (generate.CASES / f"{name}.json").read_bytes()


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

@lru_cache(maxsize=None)
def design(likelihood: str, activation: str) -> Design:
    variance = F(95, 256) if likelihood == "normal" else None
    return Design(f"test-{activation}-{likelihood}", "", (2, 3, 3), activation, likelihood, num_data=2,
                  variance=variance, prior=("full", full_prior))


def full_prior(stream: Integers, layer_sizes: list[int]) -> list[list[Fraction]]:
    from .designs import full
    return full(stream, layer_sizes)


def both_routes(likelihood: str = "normal", activation: str = "tanh") -> None:
    """The comparison that every case went through."""
    question = design(likelihood, activation).question()
    intervals, with_hessian = certify.route_a(question, 256)
    certify.compare_routes(intervals, certify.route_b(question, 256, with_hessian))


@pytest.mark.parametrize("likelihood", ["normal", "bernoulli", "categorical", "poisson"])
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
    def diagonal(self, f):
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
    with pytest.raises(certify.Disagreement):
        both_routes()


def test_a_fault_in_the_44th_digit_is_caught(monkeypatch):
    plain = closed.Closed.residual
    monkeypatch.setattr(closed.Closed, "residual", lambda self, f, y: [
        r * (1 + mpmath.mpf(10) ** -44) for r in plain(self, f, y)])
    caught("gradient")


def test_a_missing_quantity_is_caught():
    question = design("normal", "tanh").question()
    intervals, with_hessian = certify.route_a(question, 256)
    decimals = certify.route_b(question, 256, with_hessian)
    del decimals["ggn.full"]
    with pytest.raises(certify.Disagreement, match="ggn.full"):
        certify.compare_routes(intervals, decimals)


def test_an_interval_that_misses_the_exact_value_is_caught():
    third = flint.arb(flint.fmpq(1, 3))
    certify.check_enclosed({"forward": [third]}, {"forward": [flint.fmpq(1, 3)]})
    with pytest.raises(certify.Disagreement, match="forward"):
        certify.check_enclosed({"forward": [third]}, {"forward": [flint.fmpq(1, 3) + flint.fmpq(1, 10 ** 15)]})


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
        moment = derive.Derivation(question, field).poisson_moment(flint.arb(f))
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
