"""Theories for network outputs and predictions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable

import numpy as np

from refbnn import linalg

from ..quantities import Quantity
from .facts import Array, Facts
from .theory import Basis, MakeBasis, Theory, pair, prior_precision


def means(quantity: Quantity) -> list[Theory]:
    """The likelihood's mean where the network's output is asked for."""
    def basis(facts: Facts, quantity: Quantity) -> Basis | None:
        f = facts.value(quantity.name)
        return None if f is None or facts.problem.likelihood == "normal" else (facts.model.posterior.likelihood.mean(f),)
    return [Theory("mean_of_output", "link", 2, "You return the mean of y (softmax, sigmoid or exp of the output)",
                   "return the network's output", basis, (quantity.name,))]


def monte_carlo(quantity: Quantity) -> list[Theory]:
    """Slips in (1/t) Σ_t E[y | f_t]."""
    return [Theory(key, "predictive", 2, sentence, advice, _predicted(answer), (quantity.name,))
            for key, sentence, advice, answer in _MONTE_CARLO]


def _predicted(answer: Callable[[Facts], Array]) -> MakeBasis:
    return lambda facts, quantity: (answer(facts),)


def _outputs(facts: Facts, theta: Array) -> Array:
    return facts.model.net.forward(theta, facts.problem.X_new)


def _mean(facts: Facts, f: Array) -> Array:
    return facts.model.posterior.likelihood.mean(f)


_MONTE_CARLO: tuple[tuple[str, str, str, Callable[[Facts], Array]], ...] = (
    ("mean_output", "You average the network's output, not the mean of y", "average softmax, sigmoid or exp of the output",
     lambda facts: _outputs(facts, facts.problem.draws).mean(0)),
    ("link_of_mean", "You apply softmax, sigmoid or exp after averaging the outputs", "average E[y | f] over the draws",
     lambda facts: _mean(facts, _outputs(facts, facts.problem.draws).mean(0))),
    ("at_mean_draw", "You predict at the mean of the draws", "average the predictions over the draws",
     lambda facts: _mean(facts, _outputs(facts, facts.problem.draws.mean(0)))),
    ("at_theta", "You predict at θ, the draws are not used", "average the predictions over the draws",
     lambda facts: _mean(facts, _outputs(facts, facts.problem.theta))),
    ("first_draw", "Only the first draw is used", "average over all draws",
     lambda facts: _mean(facts, _outputs(facts, facts.problem.draws[0]))),
)


def glm_variance(quantity: Quantity) -> list[Theory]:
    """J A Jᵀ with a wrong A, and noise."""
    def identity(facts: Facts) -> Array | None:
        value = facts.value(quantity.name)
        return np.broadcast_to(np.eye(value.shape[-1]), value.shape) if value.ndim == 3 else None
    noise = Theory("noise", "noise", 2, "A multiple of the identity is added to the variance", "leave the noise out",
                   pair(lambda facts: facts.value(quantity.name), identity), (quantity.name,), terms=("the value", "I"))
    needs = ("laplace.precision", "laplace.covariance", quantity.name)
    wrong = [Theory(key, "predictive", 2, sentence, advice, _propagated(A), needs) for key, sentence, advice, A in _COVARIANCES]
    return [*wrong, noise]


@dataclass(frozen=True)
class Matrices:
    """P = G + P₀, its inverse and its Cholesky factor on one case."""

    P: Array
    inverse: Array
    L: Array
    prior: Array

    @property
    def G(self) -> Array:
        """The curvature."""
        return self.P - self.prior


def _propagated(A: Callable[[Matrices, Any], Array]) -> MakeBasis:
    """J A Jᵀ at each new input."""
    def basis(facts: Facts, quantity: Quantity) -> Basis | None:
        P, inverse, L = facts.value("laplace.precision"), facts.value("laplace.covariance"), facts.cholesky("laplace.precision")
        if P is None or inverse is None or L is None:
            return None
        J = facts.glm_jacobian
        return (J @ A(Matrices(P, inverse, L, prior_precision(facts)), facts.problem) @ J.swapaxes(-1, -2),)
    return basis


def _inverse_cholesky(L: Array) -> Array:
    return linalg.solve_lower(L, np.eye(len(L)))


_COVARIANCES: tuple[tuple[str, str, str, Callable[[Matrices, Any], Array]], ...] = (
    ("precision_for_covariance", "J P Jᵀ: the precision stands where its inverse should", "use P⁻¹", lambda m, problem: m.P),
    ("marginal_covariance", "Only the marginal variances of θ are used", "use the full covariance",
     lambda m, problem: np.diag(np.diag(m.inverse))),
    ("diagonal_precision", "Only the diagonal of the precision is used", "use the full precision",
     lambda m, problem: np.diag(1 / np.diag(m.P))),
    ("prior_covariance", "The prior's covariance stands for the posterior's", "use P⁻¹",
     lambda m, problem: np.linalg.inv(m.prior)),
    ("prior_forgotten", "The prior precision is missing in P", "add P₀", lambda m, problem: np.linalg.pinv(m.G)),
    ("prior_doubled", "The prior precision is added twice", "add P₀ once", lambda m, problem: np.linalg.inv(m.P + m.prior)),
    ("mean_curvature", "The curvature in P is divided by N, the prior is not", "sum the curvature over the data",
     lambda m, problem: np.linalg.inv(m.prior + m.G / len(problem.X))),
    ("variance_missing", "The noise variance is missing in the curvature: ½‖y − f‖²", "divide by σ²",
     lambda m, problem: np.linalg.inv(m.prior + m.G * (problem.variance or 1.0))),
    ("transposed_cholesky", "A = L⁻¹L⁻ᵀ: the Cholesky factor is on the wrong side", "use L⁻ᵀL⁻¹",
     lambda m, problem: linalg.gram(_inverse_cholesky(m.L).T)),
)
