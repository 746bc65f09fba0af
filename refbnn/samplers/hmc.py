"""Hamiltonian Monte Carlo (Duane et al. 1987; Neal 2011)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from refbnn.precision import product
from refbnn.samplers.leapfrog import DIVERGENCE, FAR, Point, energy, extents, start
from refbnn.samplers.streams import Streams
from refbnn.shapes import Parameters, Values, as_array, as_count, as_positive, expect_methods


@dataclass(frozen=True)
class State:
    """Where the chains are: θ (c p), log p(θ) (c), its gradient (c p)."""

    theta: Parameters
    log_prob: Values
    gradient: Parameters


@dataclass(frozen=True)
class Info:
    """What an update did, one entry a chain (c).

    acceptance: min(1, exp(−energy_error)), the probability with which the end of the trajectory was accepted; diverged: energy
    error above 1000 nats, or a density that was not a number on the way; num_gradients: what it cost; energy: H where the
    trajectory began, for diagnostics.e_bfmi.
    """

    acceptance: Values
    accepted: np.ndarray
    energy: Values
    energy_error: Values
    diverged: np.ndarray
    num_gradients: np.ndarray


@dataclass(frozen=True)
class Hmc:
    """Momentum r ~ N(0, M), `num_steps` leapfrog steps, Metropolis test with min(1, exp(−ΔH)), Eq. (metropolis).

    Each chain jitters its trajectory length: ε uniform on step_size·(1 ± jitter), anew in every update, without which a
    trajectory that comes back to where it began can stay there for ever. `metric` is M⁻¹ (Dense or Diagonal). Raises
    ValueError unless step_size > 0, num_steps >= 1, 0 <= jitter < 1.
    """

    step_size: float
    num_steps: int
    metric: object
    jitter: float = 0.2

    def __post_init__(self):
        object.__setattr__(self, "step_size", as_positive("step_size", self.step_size))
        object.__setattr__(self, "num_steps", as_count("num_steps", self.num_steps))
        expect_methods("metric", self.metric, "num_params", "matvec", "scale_matvec")
        object.__setattr__(self, "jitter", float(as_array("jitter", self.jitter, "")))
        if not 0 <= self.jitter < 1:
            raise ValueError(f"jitter: expected a number in [0, 1), got {self.jitter}")

    def init(self, target: object, theta: Parameters) -> State:
        """Chains that start at θ (c p). Raises ValueError where the density vanishes or has no gradient, for another size."""
        return State(*start(target, theta, self.metric))

    def step(self, target: object, state: State, streams: Streams) -> tuple[State, Info]:
        """One update of every chain."""
        before = self.with_momentum(state, streams)
        step_size = self.step_size * (1 + self.jitter * (2 * streams.uniforms() - 1))
        after, lost = trajectory(target, self.metric, before, step_size, self.num_steps)
        begin = energy(self.metric, before)
        error = np.where(lost, np.inf, energy(self.metric, after) - begin)
        acceptance = np.exp(-np.maximum(error, 0.0))
        accepted = streams.uniforms() < acceptance
        kept = after.where(accepted, before)
        info = Info(acceptance, accepted, begin, error, error > DIVERGENCE, np.full(len(error), self.num_steps))
        return State(kept.theta, kept.log_prob, kept.gradient), info

    def with_momentum(self, state: State, streams: Streams) -> Point:
        """θ with a fresh momentum."""
        momentum = self.metric.scale_matvec(streams.normals(self.metric.num_params))
        return Point(state.theta, momentum, state.log_prob, state.gradient)

    def adapted(self, step_size: float, metric: object) -> Hmc:
        """The same with another step size and metric; the trajectory keeps its number of steps."""
        return replace(self, step_size=step_size, metric=metric)


def trajectory(target, metric, point: Point, step_size: Values, num_steps: int) -> tuple[Point, np.ndarray]:
    """`num_steps` leapfrog steps, and which chains were lost on the way; these have come to nowhere in particular.

    The two half kicks between neighbouring drifts are one, Eq. (leapfrog), and only the end needs its density. Looked at are the
    momentum of every drift and the place it leads to: the same ones backwards, so that refusing trajectories through them is
    reversible.
    """
    gradient_at, velocity = getattr(target, "gradient", lambda theta: target.value_and_gradient(theta)[1]), product(metric)
    lost, step = np.zeros(len(point.theta), dtype=bool), np.repeat(step_size[:, None], point.theta.shape[1], axis=1)
    theta, momentum = point.theta, point.momentum + 0.5 * step * point.gradient
    with np.errstate(over="ignore", invalid="ignore"):  # a lost trajectory may overflow: it is rejected below
        for _ in range(num_steps - 1):
            theta = theta + step * velocity(momentum)
            momentum = momentum + step * gradient_at(theta)
            if not np.vdot(theta, theta) + np.vdot(momentum, momentum) < FAR:  # of all chains together: cheaper than `extents`
                newly = ~(extents(theta, momentum) < FAR)
                lost |= newly
                theta[newly], momentum[newly] = point.theta[newly], point.momentum[newly]  # where the arithmetic can go on
        theta = theta + step * velocity(momentum)
        log_prob, gradient = target.value_and_gradient(theta)
        end = Point(theta, momentum + 0.5 * step * gradient, log_prob, gradient)
        newly = end.lost()
    return point.where(newly, end), lost | newly
