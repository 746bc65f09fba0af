"""Built-in adapters: formulas whose derivatives must keep their digits far out."""
from __future__ import annotations

import numpy as np
import pytest

from refbnn.likelihoods import BernoulliProbit

U64, STEPS = 2.0 ** -53, 80


def derivatives(function, u: np.ndarray) -> list[np.ndarray]:
    """Value and three derivatives, automatically."""
    elementwise_grad = pytest.importorskip("autograd").elementwise_grad
    found = [function]
    for _ in range(3):
        found.append(elementwise_grad(found[-1]))
    return [each(u) for each in found]


def test_derivatives_of_autograds_log_probability_of_a_probit_keep_their_digits_far_out():
    adapter = pytest.importorskip("refbnn.conform.adapters.autograd")
    u, probit = -np.array([3.01, 4.0, 7.0, 10.0463291469533, 20.0, 36.0]), BernoulliProbit()
    ones = np.ones_like(u)
    right = [probit.log_density(u, ones), -probit.first_derivative(u, ones), -probit.second_derivative(u, ones),
             -probit.third_derivative(u, ones)]
    found = derivatives(adapter._log_cdf, u)
    assert all(np.all(np.abs(a - b) <= 30 * STEPS * U64 * np.abs(b)) for a, b in zip(found, right))
    naive = derivatives(adapter._log_body, u[:4])[3]        # the logarithm of erfc, which cancels
    assert np.max(np.abs(naive / right[3][:4] - 1)) > 30 * STEPS * U64


def test_both_branches_of_autograds_log_probability_of_a_probit_meet():
    adapter = pytest.importorskip("refbnn.conform.adapters.autograd")
    u = np.array([-3.0])
    for order, (body, tail) in enumerate(zip(derivatives(adapter._log_body, u), derivatives(adapter._log_tail, u))):
        assert abs(body / tail - 1)[0] < 30 * STEPS * U64 * 10 ** order
