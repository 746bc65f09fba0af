"""The oracles themselves: three ways that share no code must agree before they may judge the package."""

import numpy as np
import pytest

from tests import oracles
from tests.judge import agree, condition
from tests.zoo import ACTIVATIONS, LIKELIHOODS, KINKED, Spec, law


@law()
def test_autograd_and_complex_step_agree_on_jacobian_gradient_and_hessian(spec):
    case = spec.build()
    for by_hand, by_autograd in (
        (oracles.jacobian(case), oracles.autograd_jacobian(case)),
        (oracles.gradient(case, case.theta), oracles.autograd_gradient(case)),
        (oracles.hessian(case), oracles.autograd_hessian(case)),
    ):
        scale = max(np.linalg.norm(by_hand), 1.0)
        agree(by_hand, by_autograd, terms=case.terms, condition=condition(case, oracles.hessian, scale), scale=scale)


@law()
def test_the_gradient_oracle_is_the_complex_step_of_the_loss_oracle(spec):
    case = spec.build()
    expected = oracles.complex_step(lambda theta: oracles.loss(case, theta), case.theta)
    scale = max(np.linalg.norm(expected), 1.0)
    kappa = condition(case, lambda c: oracles.gradient(c, c.theta), scale)
    agree(oracles.gradient(case, case.theta), expected, terms=case.terms, condition=kappa, scale=scale)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_vectorised_forward_oracle_equals_plain_loops(activation):
    case = Spec((3, 5, 2, 4), activation).build()
    looped = np.array([oracles.loop_forward(case.spec, case.theta, x) for x in case.X])
    agree(oracles.forward(case.spec, case.theta, case.X), looped, terms=case.terms)


@pytest.mark.parametrize("activation", [name for name in ACTIVATIONS if name not in KINKED])
def test_the_slope_oracle_is_the_complex_step_of_the_activation_oracle(activation):
    """Eq. (complex-step)."""
    phi, slope = oracles.PHI[activation]
    z = np.linspace(-3, 3, 41)
    agree(phi(z + 1j * oracles.STEP).imag / oracles.STEP, slope(z), terms=10)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_the_support_of_every_likelihood_has_total_probability_one(likelihood):
    points, weights = oracles.support(likelihood, np.array([0.7, -1.1]))
    assert len(points) == len(weights)
    agree(weights.sum(), 1.0, terms=len(weights))


def test_cauchys_integral_differentiates_a_known_function():
    """Eq. (cauchy)."""
    values = oracles.cauchy_derivatives(lambda t: np.exp(2 * t), 3, radius=0.5)
    for m, value in enumerate(values):
        agree(value, 2.0**m, terms=64, condition=6 * np.e / 0.5**m)
