"""Hyper-parameters integrated out: a trapezoidal rule over their logarithms, with an error estimate."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from refbnn.hyper.arrays import Hyper
from refbnn.hyper.family import Family
from refbnn.hyper.maximum import ascend
from refbnn.hyper.curvatures import Curvature
from refbnn.hyper.point import Evidence, at
from refbnn.gaussian import Gaussian
from refbnn.mixture import Mixture
from refbnn.precision import Dense
from refbnn.shapes import Vector, as_count, as_positive


@dataclass(frozen=True)
class Marginal:
    """log ∫ exp E(η) p(η) dη, Eq. (hyper-marginal), and what the integral is a sum of: `points` with `weights` that sum to 1.

    `error` estimates the absolute error of `log_evidence` that comes from the rule: |rule − rule with every second node| plus the
    mass beyond the grid, Π_j (1 + t_j) − 1. t_j sums w r/(1 − r) over both faces of axis j, with w the share of the nodes on the
    face and r the factor by which it is below that of the layer inside: more than what is missing where the tail falls at least
    as fast as between these two layers, as log-concave ones do, at any spacing; infinite where it does not fall at the border.
    It says nothing of the error of the Laplace evidence itself.
    """

    log_evidence: float
    error: float
    points: list[Evidence]
    log_masses: np.ndarray

    @property
    def weights(self) -> np.ndarray:
        """The share of each point in the sum."""
        return np.exp(self.log_masses - self.log_evidence)

    @property
    def posterior(self) -> Mixture:
        """p(θ|y) with η integrated out: the mixture of the Laplace approximations at all points."""
        return Mixture(self.log_masses, tuple(point.q for point in self.points))


def marginalise(
    family: Family,
    curvature: Curvature,
    hyper_prior: Gaussian,
    eta: Hyper,
    start: Vector,
    spacing: float = 0.5,
    half_width: int = 6,
) -> Marginal:
    """Integrate η out under `hyper_prior` over log hyper-parameters, in a grid around the maximum of E(η) + log p(η) near `eta`.

    Nodes are η̂ + C u, C Cᵀ the inverse of the negative second derivative at the maximum η̂, u on a grid of the given spacing
    reaching `half_width` standard deviations to both sides: (2 half_width/spacing + 1)^h modes to find, each started from a node
    nearer to the centre. Raises ValueError when the maximum is not found or spacing does not divide half_width evenly.
    """
    count = as_count("half_width", half_width) / as_positive("spacing", spacing)
    if count % 2:
        raise ValueError(f"spacing: expected half_width/spacing to be an even number, got {count:g}")
    top = ascend(lambda eta, theta: at(family, curvature, eta, theta), _log_prior(hyper_prior), eta, start, 1e-6)
    if not top.converged:
        raise ValueError(f"eta: expected a start from which a maximum is found, ended with gradient norm {top.gradient_norm:.3g} "
                         f"and a Newton step of {top.newton_step.tolist()}")
    scale = Gaussian(top.point.eta, Dense(top.negative_second_derivative)).scale()
    axis = range(-int(count), int(count) + 1)
    nodes = sorted(itertools.product(axis, repeat=family.num_hyper), key=lambda node: sum(i * i for i in node))
    points = _along_branches(top.point, nodes, lambda node: top.point.eta + spacing * scale @ np.array(node))
    logs = np.array([point.log_evidence + hyper_prior.log_prob(point.eta) for point in points])
    volume = family.num_hyper * np.log(spacing) + np.linalg.slogdet(scale)[1]
    return _summed(points, logs + volume, np.array(nodes), int(count))


def _log_prior(hyper_prior: Gaussian) -> Callable:
    return lambda eta: (float(hyper_prior.log_prob(eta)), hyper_prior.gradient(eta))


def _along_branches(centre: Evidence, nodes: list[tuple], eta_of: Callable) -> list[Evidence]:
    """The evidence at every node, its mode started from that of a neighbour nearer to the centre."""
    found = {}
    for node in nodes:
        inwards = tuple(i - np.sign(i) for i in node)
        start = found[inwards].theta if any(node) else centre.theta
        found[node] = at(centre.family, centre.curvature, eta_of(node), start)
    return list(found.values())


def _summed(points: list[Evidence], logs: np.ndarray, nodes: np.ndarray, count: int) -> Marginal:
    total, coarse = np.logaddexp.reduce(logs), (nodes % 2 == 0).all(-1)
    half = np.logaddexp.reduce(logs[coarse]) + nodes.shape[1] * np.log(2)
    return Marginal(float(total), float(abs(total - half) + _beyond(logs - total, nodes, count)), points, logs)


def _beyond(log_weights: np.ndarray, nodes: np.ndarray, count: int) -> float:
    """The mass beyond the grid, in units of the mass inside, every face continued by the geometric series of its last layers."""
    tails = [_tail(log_weights[steps == count], log_weights[steps == count - 1]) +
             _tail(log_weights[steps == -count], log_weights[steps == 1 - count]) for steps in nodes.T]
    return float(np.prod(1 + np.array(tails)) - 1)


def _tail(last: np.ndarray, before: np.ndarray) -> float:
    """w r + w r² + ... = w r/(1 − r), from the logarithms of what w, the last layer, and w/r, that before it, are sums of."""
    log_mass = np.logaddexp.reduce(last)
    log_factor = log_mass - np.logaddexp.reduce(before)
    return np.exp(log_mass + log_factor) / -np.expm1(log_factor) if log_factor < 0 else np.inf
