"""Samplers with one planted fault each: what `posterior.draws` must notice, and name where draws can betray it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from refbnn import precision, priors, samplers
from refbnn.conform.adapters import refbnn as right
from refbnn.samplers import Hmc, Streams
from refbnn.samplers.hmc import Info, State, trajectory
from refbnn.samplers.leapfrog import energy

SEED, STEPS, LONG, SHORT, FAR = 20260102, 6, 1.25, 0.7, 10.0
Answer = Callable[[Any], np.ndarray]


@dataclass(frozen=True)
class Scaled:
    """p(y | θ)^a p(θ)^b as a target."""

    posterior: Any
    likelihood: float
    prior: float

    @property
    def num_params(self) -> int:
        """p."""
        return self.posterior.num_params

    def value_and_gradient(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Up to a constant."""
        loss, slope = self.posterior.loss.value_and_gradient(theta)
        value, gradient = self.posterior.prior.value_and_gradient(theta)
        return self.prior * value - self.likelihood * loss, self.prior * gradient - self.likelihood * slope


def _run(s: Any, target: Any, kernel: Callable[[Hmc], Any] = lambda kernel: kernel) -> samplers.Chains:
    """As the right adapter does it, with another target, or with another kernel after the warm-up."""
    start = right._chain_starts(s, SEED)
    first = Hmc(0.3, STEPS, precision.Diagonal(np.ones(len(s.problem.theta))), jitter=0.5)
    warm = samplers.adapt(first, target, start, right.WARM_UP, seed=SEED, metric=samplers.adaptation.dense)
    return samplers.run(kernel(warm.kernel), target, warm.theta, right.NUM_DRAWS, seed=SEED, width=right.NUM_CHAINS)


def _scaled(likelihood: Callable[[Any], float], prior: Callable[[Any], float]) -> Answer:
    """Draws from p(y | θ)^a p(θ)^b, with a and b from the problem."""
    return lambda s: _run(s, Scaled(s.posterior, likelihood(s.problem), prior(s.problem))).draws


def _of_likelihood(power: Callable[[Any], float]) -> Answer:
    return _scaled(power, lambda problem: 1.0)


def _without_mean(s: Any) -> np.ndarray:
    return _run(s, replace(s.posterior, prior=priors.full(s.problem.prior_precision))).draws


def _whitened(s: Any) -> np.ndarray:
    return (right.posterior_draws(s) - s.problem.prior_mean) * np.sqrt(np.diag(s.problem.prior_precision))


def _stepping(kernel: Hmc, factor: float) -> Hmc:
    """Longer steps, of which many proposals are rejected, or shorter ones, so that what takes all does not drift away."""
    return kernel.adapted(factor * kernel.step_size, kernel.metric)


def _accepted_only(s: Any) -> np.ndarray:
    """The states of accepted proposals, as many of every chain as of that with fewest."""
    chains = _run(s, s.posterior, lambda kernel: _stepping(kernel, LONG))
    kept = [draws[accepted] for draws, accepted in zip(chains.draws, chains.info["accepted"])]
    return np.stack([draws[:min(map(len, kept))] for draws in kept])


@dataclass(frozen=True)
class _Uncorrected:
    """Hamiltonian dynamics without acceptance: whatever does not diverge is taken."""

    kernel: Hmc

    def init(self, target: Any, theta: np.ndarray) -> State:
        return self.kernel.init(target, theta)

    def step(self, target: Any, state: State, streams: Streams) -> tuple[State, Info]:
        before = self.kernel.with_momentum(state, streams)
        step_size = np.full(len(state.theta), self.kernel.step_size)
        after, lost = trajectory(target, self.kernel.metric, before, step_size, self.kernel.num_steps)
        begin = energy(self.kernel.metric, before)
        error = np.where(lost, np.inf, energy(self.kernel.metric, after) - begin)
        kept = after.where(error < FAR, before)
        info = Info(acceptance=np.ones(len(lost)), accepted=error < FAR, energy=begin, energy_error=error, diverged=error >= FAR,
                    num_gradients=np.full(len(lost), STEPS))
        return State(kept.theta, kept.log_prob, kept.gradient), info


@dataclass(frozen=True)
class _OneStream:
    """Numbers of the first chain for all of them."""

    streams: Streams

    def normals(self, *shape: int) -> np.ndarray:
        return np.repeat(self.streams.normals(*shape)[:1], self.streams.num_chains, axis=0)

    def uniforms(self, *shape: int) -> np.ndarray:
        return np.repeat(self.streams.uniforms(*shape)[:1], self.streams.num_chains, axis=0)


@dataclass(frozen=True)
class _Shared:
    """A kernel whose chains share their numbers."""

    kernel: Hmc

    def init(self, target: Any, theta: np.ndarray) -> State:
        return self.kernel.init(target, theta)

    def step(self, target: Any, state: State, streams: Streams) -> tuple[State, Info]:
        return self.kernel.step(target, state, _OneStream(streams))


# name -> what is wrong, the wrong function, and the cause to be named; None where draws cannot tell it.
SAMPLERS: dict[str, tuple[str, Answer, str | None]] = {
    "draws_without_prior": ("draws from the normalised likelihood", _scaled(lambda problem: 1.0, lambda problem: 0.0),
                            "prior_forgotten"),
    "draws_with_prior_twice": ("draws with the prior squared", _scaled(lambda problem: 1.0, lambda problem: 2.0),
                               "prior_doubled"),
    "draws_from_prior": ("draws from the prior", _of_likelihood(lambda problem: 0.0), "likelihood_forgotten"),
    "draws_of_repeated_data": ("the log-likelihood times N", _of_likelihood(lambda problem: float(len(problem.X))),
                               "likelihood:N"),
    "draws_of_mean_loss": ("the log-likelihood averaged over data", _of_likelihood(lambda problem: 1 / len(problem.X)),
                           "likelihood:1/N"),
    "draws_without_half": ("a squared error without its ½", _of_likelihood(lambda problem: 2.0), "likelihood:2"),
    "draws_with_std_for_variance": ("σ for σ² in the noise", _of_likelihood(lambda problem: (problem.variance or 1.0) ** 0.5),
                                    "noise:std"),
    "draws_of_cold_posterior": ("the log density times N", _scaled(lambda problem: float(len(problem.X)),
                                                                   lambda problem: float(len(problem.X))), "temperature:1/N"),
    "draws_around_zero": ("the prior's mean taken to be zero", _without_mean, "prior_mean_ignored"),
    "whitened_draws": ("draws of (θ − m)/s", _whitened, "whitened"),
    "shared_streams": ("all chains with the same random numbers", lambda s: _run(s, s.posterior, _Shared).draws,
                       "shared_streams"),
    "accepted_draws_alone": ("rejected states dropped", _accepted_only, None),
    "every_proposal_accepted": ("no Metropolis correction", lambda s: _run(
        s, s.posterior, lambda kernel: _Uncorrected(_stepping(kernel, SHORT))).draws, None),
}
