"""The special functions that the likelihoods need, against Arb."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import gammaln

from refbnn.likelihoods import special

flint = pytest.importorskip("flint")
arb, series = flint.arb, flint.arb_series
U = 2.0**-53


def relative_error(value, true):
    """|value − true|/|true|."""
    return float(abs((arb(float(value)) - true) / true).mid())


@pytest.mark.parametrize("x", [1e-300, -1e-9, 1e-9, 0.5, -0.5, 0.999999, -0.999999, 1.0, -1.0, 1.5, -20.0, 300.0, -1e6])
def test_phi_functions_keep_their_digits(x):
    with flint.ctx.workprec(4000):
        z = arb(x)
        assert relative_error(special.phi1(x), (z.exp() - 1) / z) <= 10 * U * (1 + abs(x))
        assert relative_error(special.phi2(x), (z.exp() - 1 - z) / z**2) <= 10 * U * (1 + abs(x))


def test_phi_functions_at_zero():
    assert special.phi1(0.0) == 1 and special.phi2(0.0) == 0.5


def test_the_textbook_form_of_phi2_loses_its_digits():
    x = 1e-9
    with flint.ctx.workprec(4000):
        assert relative_error((np.exp(x) - 1 - x) / x**2, (arb(x).exp() - 1 - arb(x)) / arb(x) ** 2) > 0.1


def stirling_terms(a):
    """c and its derivatives by log a to third order, and the size of what cancels in the definition."""
    b = series([arb(a).log(), 1])
    x = b.exp()
    parts = x.lgamma(), (x - 0.5) * b, x, 0.5 * (2 * arb.pi()).log()
    remainder = parts[0] - parts[1] + parts[2] - parts[3]
    return [(remainder[m] * (1, 1, 2, 6)[m], max(float(abs(part[m]).mid()) for part in parts[:3])) for m in range(4)]


@pytest.mark.parametrize("a", [1e-9, 0.02, 0.7, 1.0, 2.5, 11.99, 12.0, 12.5, 100.0, 1e6, 1e15])
def test_stirlings_remainder_and_its_derivatives(a):
    """To round-off from 12 up; below, to the round-off of the terms of its definition, which are at most 40."""
    with flint.ctx.workprec(4000):
        flint.ctx.cap = 4
        for m, (true, size) in enumerate(stirling_terms(a)):
            allowed = 10 * U * float(abs(true).mid()) + (30 * U * size if a < 12 else 0)
            assert float(abs(arb(float(special.stirling(a, m))) - true).mid()) <= allowed, m


@pytest.mark.parametrize("a, d", [(0.3, 0.5), (5.0, 7.0), (40.0, 3.0), (1e9, 0.5), (1e15, 3.0), (2.5, 1e6)])
def test_the_step_of_log_gamma_does_not_cancel(a, d):
    with flint.ctx.workprec(4000):
        true = (arb(a) + arb(d)).lgamma() - arb(a).lgamma()
        size = 40 + d + abs(float(true.mid()))  # what is added: at most 40 below a = 12, d and d log(a + d) above
        assert float(abs(arb(float(special.log_gamma_step(a, d))) - true).mid()) <= 10 * U * size


def test_the_difference_of_two_log_gammas_would_cancel():
    with flint.ctx.workprec(4000):
        true = (arb(1e15) + arb(3.0)).lgamma() - arb(1e15).lgamma()
        assert relative_error(gammaln(1e15 + 3.0) - gammaln(1e15), true) > 1e-4
