"""Thermodynamic integration: d log Z/dβ = E_β[log ratio] (Kirkwood 1935; Gelman and Meng 1998)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from refbnn.diagnostics import ess_mean, mcse_mean
from refbnn.evidence.estimate import Estimate
from refbnn.evidence.path import Path, as_ladder, moved
from refbnn.shapes import ChainPathValues, as_array, as_count, as_own_array, as_positive


@dataclass(frozen=True, eq=False)
class Rule:
    """∫₀¹ u(β) dβ ≈ Σ_i w_i u(β_i): betas and weights (b), betas increasing.

    `lower`: the weights of other rules on some of the same points, of lower order (r b), one a row. How far they are from this
    one tells what it leaves out; without any the error of an integral is infinite.
    """

    betas: np.ndarray
    weights: np.ndarray
    lower: np.ndarray = field(default_factory=lambda: np.zeros((0, 1)))

    def __post_init__(self):
        betas = as_own_array("betas", self.betas, "b")
        if not (np.diff(betas) > 0).all() or len(betas) < 1 or betas[0] < 0 or betas[-1] > 1:
            raise ValueError(f"betas: expected increasing numbers from 0 to 1, got {betas}")
        object.__setattr__(self, "betas", betas)
        object.__setattr__(self, "weights", as_own_array("weights", self.weights, "b", b=len(betas)))
        lower = np.reshape(self.lower, (-1, len(betas))) if np.size(self.lower) == 0 else self.lower
        object.__setattr__(self, "lower", as_own_array("lower", lower, "r b", b=len(betas)))

    def left_out(self, means: np.ndarray) -> float:
        """An estimate from above of this rule's error: the largest distance to a lower rule's integral of the same means (b)."""
        return float(np.abs((self.weights - self.lower) @ means).max(initial=0.0)) if len(self.lower) else np.inf


@dataclass(frozen=True, eq=False)
class Thermodynamic:
    """What there was at every β: mean log ratio u, its standard error and the variance of the log ratio, which is du/dβ: (b)."""

    estimate: Estimate
    betas: np.ndarray
    means: np.ndarray
    errors: np.ndarray
    variances: np.ndarray


def gauss_legendre(num_points: int, power: float = 4.0) -> Rule:
    """Gauss-Legendre in s, β = s^power, which smooths the steep start: w_i = w_i^GL · power · s_i^(power − 1), Eq. (ti-rule).

    The lower rules integrate the polynomials in s through every other point, from the first and from the second on. With three
    points or fewer there are none. Raises ValueError unless power > 0.
    """
    power = as_positive("power", power)
    s, weights = np.polynomial.legendre.leggauss(as_count("num_points", num_points))
    s, weights = (s + 1) / 2, weights / 2
    lower = np.array([_on_some(s, weights, every) for every in (slice(0, None, 2), slice(1, None, 2)) if num_points > 3])
    slope = power * s**(power - 1)
    return Rule(s**power, weights * slope, lower * slope if len(lower) else lower)


def _on_some(s: np.ndarray, weights: np.ndarray, chosen: slice) -> np.ndarray:
    """The interpolatory rule on the chosen points: it integrates, exactly with the weights of all, their Lagrange polynomials."""
    kept, found = s[chosen], np.zeros(len(s))
    others = [np.delete(kept, k) for k in range(len(kept))]
    found[chosen] = [weights @ np.prod((s[:, None] - other) / (point - other), axis=1) for point, other in zip(kept, others)]
    return found


def integrate(log_ratios: ChainPathValues, rule: Rule) -> Thermodynamic:
    """Σ_i w_i (mean log ratio at β_i), Eq. (thermodynamic), from draws of every p_β: log_ratios (b c t).

    The standard error is that of the draws plus what the rule may leave out, estimated from above by its lower rules: a bias,
    which no number of draws makes smaller, so the two add. See also `riemann`.
    """
    log_ratios = as_array("log_ratios", log_ratios, "b c t", b=len(rule.betas))
    together = np.moveaxis(log_ratios, 0, -1)
    means, errors, variances = together.mean((0, 1)), mcse_mean(together), together.var((0, 1), ddof=1)
    of_draws, of_rule = float(np.sqrt(rule.weights**2 @ errors**2)), rule.left_out(means)
    estimate = Estimate(float(rule.weights @ means), of_draws + of_rule, float(ess_mean(together).min()), rule_error=of_rule)
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
    at some β are worth fewer than 25, or when what the rule may leave out is above five errors of the draws: take more points.
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
