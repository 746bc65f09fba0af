"""Thermodynamic integration: d log Z/dβ = E_β[log ratio] (Kirkwood 1935; Gelman and Meng 1998)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from refbnn.diagnostics import ess_mean, mcse_mean
from refbnn.evidence.estimate import Estimate
from refbnn.evidence.path import Path, as_ladder, moved
from refbnn.shapes import ChainPathValues, as_array, as_count, as_own_array


@dataclass(frozen=True, eq=False)
class Rule:
    """∫₀¹ u(β) dβ ≈ Σ_i w_i u(β_i): betas and weights (b), betas increasing."""

    betas: np.ndarray
    weights: np.ndarray

    def __post_init__(self):
        betas = as_own_array("betas", self.betas, "b")
        if not (np.diff(betas) > 0).all() or len(betas) < 1 or betas[0] < 0 or betas[-1] > 1:
            raise ValueError(f"betas: expected increasing numbers from 0 to 1, got {betas}")
        object.__setattr__(self, "betas", betas)
        object.__setattr__(self, "weights", as_own_array("weights", self.weights, "b", b=len(betas)))


@dataclass(frozen=True, eq=False)
class Thermodynamic:
    """What there was at every β: mean log ratio u, its standard error and the variance of the log ratio, which is du/dβ: (b)."""

    estimate: Estimate
    betas: np.ndarray
    means: np.ndarray
    errors: np.ndarray
    variances: np.ndarray


def gauss_legendre(num_points: int, power: float = 4.0) -> Rule:
    """Gauss-Legendre in s, β = s^power, which smooths the steep start: w_i = w_i^GL · power · s_i^(power − 1), Eq. (ti-rule)."""
    s, weights = np.polynomial.legendre.leggauss(as_count("num_points", num_points))
    s, weights = (s + 1) / 2, weights / 2
    return Rule(s**power, weights * power * s**(power - 1))


def integrate(log_ratios: ChainPathValues, rule: Rule) -> Thermodynamic:
    """Σ_i w_i (mean log ratio at β_i), Eq. (thermodynamic), from draws of every p_β: log_ratios (b c t).

    The standard error is that of the draws; what the rule leaves out it does not show: compare two rules, or see `riemann`.
    """
    log_ratios = as_array("log_ratios", log_ratios, "b c t", b=len(rule.betas))
    together = np.moveaxis(log_ratios, 0, -1)
    means, errors, variances = together.mean((0, 1)), mcse_mean(together), together.var((0, 1), ddof=1)
    estimate = Estimate(float(rule.weights @ means), float(np.sqrt(rule.weights**2 @ errors**2)), float(ess_mean(together).min()))
    return Thermodynamic(estimate, rule.betas, means, errors, variances)


def riemann(betas: np.ndarray, means: np.ndarray) -> tuple[float, float]:
    """Σ (β_{i+1} − β_i) u_i <= log Z <= Σ (β_{i+1} − β_i) u_{i+1} for a ladder from 0 to 1, Eq. (ti-bounds): u only rises.

    For exact means u_i (b); with estimated ones the bounds have their errors.
    """
    betas = as_ladder(betas)
    means = as_array("means", means, "b", b=len(betas))
    return float(np.diff(betas) @ means[:-1]), float(np.diff(betas) @ means[1:])


def thermodynamic(path: Path, rule: Rule, kernel: Callable[[float], object], streams: object, num_draws: int,
                  num_between: int = 1, num_warmup: int = 20) -> Thermodynamic:
    """`integrate` with draws by `kernel(beta)` at every β of the rule, from draws of the start upwards, one chain a stream.

    At every β first num_warmup updates, then num_draws draws with num_between updates between them. Raises Refused when the draws
    at some β are worth fewer than 25.
    """
    num_draws, num_between = as_count("num_draws", num_draws, 4), as_count("num_between", num_between)
    theta = np.stack([path.start.sample(generator) for generator in streams.generators])
    rows = []
    for beta in rule.betas:
        target, chosen = path.at(beta), kernel(float(beta))
        state = chosen.init(target, moved(target, chosen, theta, streams, num_warmup))
        row = []
        for _ in range(num_draws):
            for _ in range(num_between):
                state, _ = chosen.step(target, state, streams)
            row.append(path.log_ratio(state.theta))
        theta = state.theta
        rows.append(np.stack(row, 1))
    found = integrate(np.stack(rows), rule)
    found.estimate.supported()
    return found
