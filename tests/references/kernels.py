"""Draws of a posterior by kernels that share nothing but its density; each stands for itself, warm-up and settings included."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from refbnn import Posterior, diagnostics, symmetry
from refbnn.cubature import collapse
from refbnn.precision import Diagonal
from refbnn.samplers import EllipticalSlice, Hmc, Nuts, WithMoves, adapt, hidden_units, run, smc
from tests.references import monitor

WIDTH = 64  # chains of a shard, unless told otherwise
AT_PRIOR = 0.7  # step size of Hamiltonian Monte Carlo in units of the prior's standard deviations
CHUNK = 2**13


@dataclass(frozen=True)
class Plan:
    """`draws` updates of `chains` chains after `warmup` that do not count; `steps` leapfrog steps, their size from `acceptance`.

    For SMC: `runs` runs with `chains` particles, `draws` updates a rung, `rungs` rungs.
    """

    draws: int
    chains: int = 128
    warmup: int = 300
    steps: int = 8
    seed: int = 1
    acceptance: float = 0.8
    runs: int = 0
    rungs: int = 0

    def scaled(self, share: float) -> Plan:
        """The same with a share of the draws (of the runs, for SMC), with a seed of its own."""
        fewer = {"runs": max(2, round(share * self.runs))} if self.runs else {"draws": max(8, round(share * self.draws))}
        return replace(self, **fewer, seed=self.seed + 1000)


@dataclass(frozen=True)
class Drawn:
    """θ (c t p) with log p(y, θ) (c t), what the kernel's Info and settings were; for SMC c are runs, with log Ẑ of each."""

    theta: np.ndarray
    log_prob: np.ndarray
    settings: dict
    info: dict = field(default_factory=dict)
    log_evidence: np.ndarray | None = None

    def estimates(self, net: object, X_new: np.ndarray) -> monitor.Estimates:
        """What is monitored."""
        values = monitor.monitored(net, X_new, self.theta, self.log_prob)
        return monitor.of_chains(values) if self.log_evidence is None else monitor.of_runs(values, self.log_evidence)

    def health(self) -> dict:
        """Divergences and the smallest E-BFMI, where there are trajectories."""
        if "energy" not in self.info:
            return {}
        return {"divergences": int(self.info["diverged"].sum()), "e_bfmi": float(diagnostics.e_bfmi(self.info["energy"]).min()),
                "acceptance": float(self.info["acceptance"].mean())}


def tuned(kernel: object, target: object, plan: Plan) -> object:
    """What `adapt` makes of a kernel, from draws of the prior."""
    start = target.prior.sample(np.random.default_rng([plan.seed, 0]), (plan.chains,))
    return adapt(kernel, target, start, plan.warmup, plan.seed, acceptance=plan.acceptance)


def hamiltonian(make: Callable, post: Posterior, plan: Plan, **where) -> Drawn:
    """A tuned kernel, each update followed by a random symmetry of the hidden units."""
    found = tuned(make(plan, post.num_params), post, plan)
    drawn = _run(_with_moves(found.kernel, post), post, found.theta, plan, where)
    return Drawn(drawn.draws, drawn.log_prob, {**vars(plan), **_settings(found.kernel)}, drawn.info)


def elliptical(post: Posterior, plan: Plan, **where) -> Drawn:
    """Elliptical slice sampling with random symmetries; the first `warmup` draws are thrown away."""
    start = post.prior.sample(np.random.default_rng([plan.seed, 0]), (plan.chains,))
    longer = replace(plan, draws=plan.draws + plan.warmup)
    drawn = _run(_with_moves(EllipticalSlice(), post), post, start, longer, where)
    return Drawn(drawn.draws[:, plan.warmup:], drawn.log_prob[:, plan.warmup:], vars(plan))


def collapsed(post: Posterior, plan: Plan, **where) -> Drawn:
    """Hamiltonian Monte Carlo on the hidden weights, the output layer integrated out; then output weights given them."""
    target = collapse(post)
    found = tuned(_hmc(plan, target.num_params), target, plan)
    drawn = _run(found.kernel, target, found.theta, plan, where)
    rng, hidden = np.random.default_rng([plan.seed, 1]), drawn.draws.reshape(-1, target.num_params)
    theta = np.concatenate([target.given(hidden[i:i + CHUNK]).sample(rng) for i in range(0, len(hidden), CHUNK)])
    log_prob = np.concatenate([post.log_prob(theta[i:i + CHUNK]) for i in range(0, len(theta), CHUNK)])
    shape = drawn.log_prob.shape
    return Drawn(theta.reshape(*shape, -1), log_prob.reshape(shape), {**vars(plan), **_settings(found.kernel)}, drawn.info)


def sequential(moves: Callable, post: Posterior, plan: Plan, **where) -> Drawn:
    """Independent runs of tempered SMC on one ladder that was fixed before: θ (runs particles p)."""
    kernel = moves(post, plan)
    ladder = smc.given(np.linspace(0, 1, plan.rungs + 1)[1:] ** 4)
    submit = _submitter(where.get("executor"))
    runs = [submit(_one_run, post, kernel, ladder, plan, i) for i in range(plan.runs)]
    theta, log_evidence = (np.array(part) for part in zip(*(each() for each in runs)))
    log_prob = np.stack([post.log_prob(particles) for particles in theta])
    return Drawn(theta, log_prob, {**vars(plan), **_settings(kernel(1.0))}, log_evidence=log_evidence)


@dataclass(frozen=True)
class Tempered:
    """Hamiltonian Monte Carlo for p(y|θ)^β p(θ), its step and metric between those of the prior and those tuned at β = 1."""

    prior_variance: np.ndarray
    at_one: Hmc

    def __call__(self, beta: float, theta: np.ndarray | None = None) -> Hmc:
        """Precisions, and squared inverse steps, go linearly with β."""
        between = lambda start, end: 1 / (1 / start + beta * (1 / end - 1 / start))
        step = np.sqrt(between(AT_PRIOR**2, self.at_one.step_size**2))
        return self.at_one.adapted(float(step), Diagonal(between(self.prior_variance, self.at_one.metric.diagonal())))


def hamiltonian_at_every_beta(post: Posterior, plan: Plan) -> Tempered:
    """From a kernel tuned to the posterior."""
    at_one = tuned(_hmc(plan, post.num_params), post, replace(plan, chains=WIDTH)).kernel
    return Tempered(np.diagonal(post.prior.covariance()).copy(), at_one)


def elliptical_at_every_beta(post: Posterior, plan: Plan) -> Callable:
    """Which is the same at every β, and shares no line with the leapfrog steps."""
    return _the_same


def _the_same(beta: float, theta: np.ndarray | None = None) -> EllipticalSlice:
    return EllipticalSlice()


def _one_run(post, kernel, ladder, plan: Plan, index: int):
    found = smc.run(post, kernel, ladder, plan.chains, plan.draws, np.random.default_rng([plan.seed, 2, index]))
    return found.theta, found.log_evidence


def _submitter(executor: object) -> Callable:
    if executor is None:
        return lambda function, *arguments: partial(function, *arguments)
    return lambda function, *arguments: executor.submit(function, *arguments).result


def _hmc(plan: Plan, num_params: int) -> Hmc:
    return Hmc(0.1, plan.steps, Diagonal(np.ones(num_params)))


def _nuts(plan: Plan, num_params: int) -> Nuts:
    return Nuts(0.1, Diagonal(np.ones(num_params)), max_depth=7)


def _with_moves(kernel: object, post: Posterior) -> object:
    if not getattr(post.net, "sizes", ())[1:-1]:
        return kernel
    return WithMoves(kernel, hidden_units(symmetry.of_posterior(post)))


def _run(kernel, target, start, plan: Plan, where: dict):
    folder: Path | None = where.get("folder")
    return run(kernel, target, start, plan.draws, plan.seed, width=where.get("width", WIDTH), executor=where.get("executor"),
               checkpoint=folder)


def _settings(kernel: object) -> dict:
    """What was tuned, where there was something to tune."""
    return {"step_size": kernel.step_size, "metric": kernel.metric.diagonal().tolist()} if hasattr(kernel, "metric") else {}


KERNELS = {
    "hmc": partial(hamiltonian, _hmc), "nuts": partial(hamiltonian, _nuts), "elliptical": elliptical,
    "collapsed hmc": collapsed, "smc": partial(sequential, hamiltonian_at_every_beta),
    "smc, elliptical": partial(sequential, elliptical_at_every_beta),
}
