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
from refbnn.linalg import symmetric_part
from refbnn.mixture import Mixture
from refbnn.precision import Dense
from refbnn.shapes import Vector, as_count, as_positive

DIFFERENCE = 1e-3  # of η, for the second derivative that only sets the scale of the grid


@dataclass(frozen=True)
class Marginal:
    """log ∫ exp E(η) p(η) dη, Eq. (hyper-marginal), and what the integral is a sum of: `points` with `weights` that sum to 1.

    `error` estimates the absolute error of `log_evidence` that comes from the rule: |rule − rule with every second node| plus the
    share of the nodes on the border. It says nothing of the error of the Laplace evidence itself.
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
        raise ValueError(f"eta: expected a start from which a maximum is found, ended with gradient norm {top.gradient_norm:.3g}")
    scale = Gaussian(top.point.eta, Dense(_negative_second_derivative(top.point, hyper_prior))).scale()
    axis = range(-int(count), int(count) + 1)
    nodes = sorted(itertools.product(axis, repeat=family.num_hyper), key=lambda node: sum(i * i for i in node))
    points = _along_branches(top.point, nodes, lambda node: top.point.eta + spacing * scale @ np.array(node))
    logs = np.array([point.log_evidence + hyper_prior.log_prob(point.eta) for point in points])
    volume = family.num_hyper * np.log(spacing) + np.linalg.slogdet(scale)[1]
    return _summed(points, logs + volume, np.array(nodes), int(count))


def _log_prior(hyper_prior: Gaussian) -> Callable:
    return lambda eta: (float(hyper_prior.log_prob(eta)), hyper_prior.gradient(eta))


def _negative_second_derivative(point: Evidence, hyper_prior: Gaussian) -> np.ndarray:
    """−∂²(E + log p(η))/∂η² by central differences of the total gradient: (h h)."""
    def gradient(eta):
        return at(point.family, point.curvature, eta, point.theta).total_gradient + hyper_prior.gradient(eta)

    steps = DIFFERENCE * np.eye(len(point.eta))
    rows = [gradient(point.eta - step) - gradient(point.eta + step) for step in steps]
    return symmetric_part(np.array(rows) / (2 * DIFFERENCE))


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
    weights = np.exp(logs - total)
    half = np.logaddexp.reduce(logs[coarse]) + nodes.shape[1] * np.log(2)
    border = weights[(np.abs(nodes) == count).any(-1)].sum()
    return Marginal(float(total), float(abs(total - half) + border), points, logs)
