"""Hamiltonian dynamics, integrated: H(θ, r) = −log p(θ) + ½ rᵀ M⁻¹ r.

`metric` is M⁻¹, the precision of the momentum r ~ N(0, M): any matrix of refbnn.precision. The best one is near the covariance of
θ under the target, which makes all directions equally wide: Eq. (metric).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refbnn.shapes import Parameters, Values, as_array, expect_methods

FAR = 1e200  # ‖θ‖² + ‖r‖² from which a trajectory is lost: one more step might overflow
DIVERGENCE = 1000.0  # nats of energy error that only an unstable trajectory shows


@dataclass(frozen=True)
class Point:
    """A point of phase space for every chain: θ and r (c p), log p(θ) (c) and its gradient (c p)."""

    theta: Parameters
    momentum: Parameters
    log_prob: Values
    gradient: Parameters

    def at(self, chains: np.ndarray) -> Point:
        """The same of some of the chains."""
        return Point(self.theta[chains], self.momentum[chains], self.log_prob[chains], self.gradient[chains])

    def where(self, chosen: np.ndarray, other: Point) -> Point:
        """This one in the chains that are chosen (c), the other elsewhere."""
        rows = chosen[:, None]
        return Point(np.where(rows, self.theta, other.theta), np.where(rows, self.momentum, other.momentum),
                     np.where(chosen, self.log_prob, other.log_prob), np.where(rows, self.gradient, other.gradient))

    def lost(self) -> np.ndarray:
        """Where the density is not a number, or θ or r out of all bounds (c).

        A property of the point and not of the way to it, so that refusing trajectories through such points is reversible.
        """
        return ~((extents(self.theta, self.momentum) < FAR) & np.isfinite(self.log_prob))


def extents(theta: Parameters, momentum: Parameters) -> Values:
    """‖θ‖² + ‖r‖²: (c)."""
    return np.einsum("cp,cp->c", theta, theta) + np.einsum("cp,cp->c", momentum, momentum)


def start(target: object, theta: Parameters, metric: object) -> tuple[Parameters, Values, Parameters]:
    """θ (c p), log p(θ) and its gradient where chains start.

    Raises ValueError where the density vanishes or has no gradient, and for a metric of another size than the target's.
    """
    expect_methods("target", target, "num_params", "value_and_gradient")
    if metric.num_params != target.num_params:
        raise ValueError(f"metric: expected {target.num_params} parameters as the target has, got {metric.num_params}")
    theta = as_array("theta", theta, "c p", p=target.num_params)
    log_prob, gradient = target.value_and_gradient(theta)
    bad = ~(np.isfinite(log_prob) & np.isfinite(gradient).all(-1))
    if bad.any():
        raise ValueError(f"theta: expected a finite density and gradient in every chain, got others in chain {np.argmax(bad)}")
    return theta, log_prob, gradient


def leapfrog(target: object, metric: object, point: Point, step_size: Values) -> Point:
    """One step of each chain: r += ½ε∇log p, θ += εM⁻¹r, r += ½ε∇log p. Backwards where ε (c) is negative.

    Eq. (leapfrog).
    """
    step_size = step_size[:, None]
    half = 0.5 * step_size
    momentum = point.momentum + half * point.gradient
    theta = point.theta + step_size * metric.matvec(momentum)
    log_prob, gradient = target.value_and_gradient(theta)
    momentum += half * gradient
    return Point(theta, momentum, log_prob, gradient)


def energy(metric: object, point: Point) -> Values:
    """H = −log p(θ) + ½ rᵀ M⁻¹ r, Eq. (hamiltonian): (c)."""
    return 0.5 * np.einsum("cp,cp->c", point.momentum, metric.matvec(point.momentum)) - point.log_prob
