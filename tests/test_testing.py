"""refbnn.testing: the testers are tested."""

import numpy as np
import pytest

from refbnn.testing import check, check_zero, taylor_order, tolerance

U = 2.0**-53
A = np.array([[1.0, 2.0], [3.0, 4.0]])


def test_the_tolerance_is_thirty_terms_round_offs_and_conditions():
    assert tolerance(7) == 30 * 7 * U and tolerance(7, 11.0) == 30 * 7 * U * 11


def test_equal_arrays_agree_to_all_digits():
    assert check("same", A, A.copy()) == 16.0
    assert check("scalar", 2.0, 2.0) == 16.0


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_an_error_just_within_the_tolerance_passes_and_one_just_beyond_fails(size):
    step = tolerance(terms=5, condition=3.0)
    assert 13 < check("within", size * (1 + 0.9 * step), size, terms=5, condition=3.0) < 15
    with pytest.raises(AssertionError, match=rf"\(beyond\) relative error .*e-14 exceeds {step:.3g}"):
        check("beyond", size * (1 + 1.2 * step), size, terms=5, condition=3.0)


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_the_digits_are_those_of_the_relative_error(size):
    assert abs(check("digits", size * (1 + 1e-10), size, within=1e-9) - 10) < 1e-3


def test_a_stated_tolerance_replaces_the_one_of_round_off():
    check("loose", 1.01, 1.0, within=0.02)
    with pytest.raises(AssertionError):
        check("tight", 1.01, 1.0, within=0.005)


def test_the_error_is_relative_to_the_right_side_in_norm():
    check("normwise", np.array([1e9, 1e-9]), np.array([1e9, 0.0]))
    with pytest.raises(AssertionError):
        check("small", 1e-9 * (1 + 1e-6), 1e-9)


@pytest.mark.parametrize("left, right, message", [
    (A, A.T, "relative error"),
    (-A, A, "relative error"),
    (np.full((2, 2), np.nan), np.full((2, 2), np.nan), "NaN"),
    (np.array([np.inf]), np.array([np.inf]), "infinity"),
    (A, A[:1], "shapes differ"),
    (np.ones(3), np.ones((3, 1)), "shapes differ"),
    (np.ones((2, 1)), np.ones((2, 2)), "shapes differ"),
    (1.0, np.ones(1), "shapes differ"),
    (np.zeros(2), np.zeros(2), "both sides are zero"),
    (np.ones(2), np.zeros(2), "relative error"),
    (np.zeros(2), np.ones(2), "relative error"),
    (np.full(2, 1e-3), np.zeros(2), "relative error"),
    (np.zeros(2), np.full(2, 1e-3), "relative error"),
    (np.full(2, np.nan), np.ones(2), "NaN"),
    (np.ones(2), np.full(2, np.nan), "NaN"),
    (np.zeros((0, 2)), np.zeros((0, 2)), "empty"),
])
def test_what_must_not_pass_does_not_pass(left, right, message):
    with pytest.raises(AssertionError, match=message):
        check("label", left, right)


def test_every_message_carries_the_label(capsys):
    check("my-label", 1.0, 1.0)
    check_zero("other-label", 0.0, scale=1.0)
    printed = capsys.readouterr().out
    assert "(my-label) holds to 16.0 digits" in printed and "(other-label) vanishes" in printed


def test_what_vanishes_is_judged_against_its_scale():
    check_zero("fine", np.array([1e-14, -1e-14]), scale=1.0)
    check_zero("large", 1e-8, scale=1e6)
    with pytest.raises(AssertionError, match="expected 0"):
        check_zero("no", 1e-8, scale=1.0)


@pytest.mark.parametrize("value, scale", [(np.nan, 1.0), (0.0, 0.0), (0.0, -1.0), (np.zeros(0), 1.0), (np.inf, 1.0)])
def test_vacuous_or_broken_claims_of_zero_are_refused(value, scale):
    with pytest.raises(AssertionError):
        check_zero("label", value, scale=scale)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_the_order_of_a_remainder_is_measured(order):
    """Eq. (taylor)."""
    assert abs(taylor_order(lambda h: np.array([3 * h**order, -h**order])) - order) < 1e-10


def test_remainders_are_measured_at_five_halvings_unless_told_otherwise():
    seen = []
    taylor_order(lambda h: seen.append(h) or h)
    assert seen == [1 / 8, 1 / 16, 1 / 32, 1 / 64, 1 / 128]
    assert abs(taylor_order(lambda h: h**2, steps=(0.5, 0.1)) - 2) < 1e-12


def test_an_order_spoilt_by_the_next_term_is_still_seen():
    assert abs(taylor_order(lambda h: h**2 + 0.3 * h**3) - 2) < 0.1


@pytest.mark.parametrize("remainder", [lambda h: 0.0, lambda h: np.nan, lambda h: np.inf])
def test_a_remainder_that_is_zero_or_not_finite_proves_nothing(remainder):
    with pytest.raises(AssertionError, match="positive and finite"):
        taylor_order(remainder)
