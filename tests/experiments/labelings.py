"""The sum of evidences over all ways to label six inputs: 1 for the exact one."""

from __future__ import annotations

import itertools

import numpy as np

from refbnn import Mlp, Posterior, activations, laplace, likelihoods, mixture, priors, vi
from refbnn.budget import Table, gaussians
from refbnn.quadrature import Integral
from refbnn.vi import families

X = np.linspace(-2, 2, 6)[:, None]
PRECISIONS = (0.3, 1.0, 3.0)
ROUND_OFF = 1e-10  # of a log evidence at a mode


def evidences(precision: float, labels: np.ndarray, rng: np.random.Generator) -> dict[str, Integral]:
    """What each approximation says of one labeling, as a number and not its logarithm."""
    posterior = of_labels(precision, labels)
    modes = gaussians.modes(posterior, rng)
    bound = gaussians.in_network(posterior, families.Full(posterior.num_params), modes, rng)
    judged = bound.held_out(vi.OverParameters(gaussians.fresh_points(posterior, rng)))
    return {**by_laplace(posterior, modes), "bound of VI, full": _exp(judged.value, judged.error)}


def of_labels(precision: float, labels: np.ndarray) -> Posterior:
    """1-1-1 tanh."""
    net = Mlp((1, 1, 1), activations.tanh)
    return Posterior(net, likelihoods.Bernoulli(), priors.isotropic(net.num_params, precision), X, labels[:, None])


def by_laplace(posterior: Posterior, modes: gaussians.Modes) -> dict[str, Integral]:
    """With either curvature, at one mode and over all."""
    found = {}
    for name, curvature in (("Laplace, GGN", posterior.loss.ggn), ("Laplace, Hessian", posterior.loss.hessian)):
        each = [laplace.log_evidence(mode.log_prob, gaussians.at_mode(posterior, mode.theta, curvature(mode.theta)))
                for mode in modes.found]
        found[f"{name}, one mode"] = _exp(each[0], ROUND_OFF)
        found[f"{name}, all modes and copies"] = _exp(mixture.log_evidence(each, modes.copies), ROUND_OFF)
    return found


def _exp(value: float, error: float) -> Integral:
    return Integral(np.exp(value), np.exp(value) * error)


def half_of_them() -> list[np.ndarray]:
    """The 32 labelings that begin with 0."""
    return [np.array([0.0, *rest]) for rest in itertools.product((0.0, 1.0), repeat=5)]


def labelings(note) -> list[Table]:
    """Sums over the 64 labelings, from 32 and their complements, which the symmetry f -> −f makes equal."""
    rows = []
    for precision in PRECISIONS:
        note(f"precision {precision}")
        rng, total = np.random.default_rng(1), {}
        for labels in half_of_them():
            for name, value in evidences(precision, labels, rng).items():
                before = total.get(name, Integral(0.0, 0.0))
                total[name] = Integral(before.value + 2 * value.value, before.error + 2 * value.error)
        rows += [(f"{precision:g}", name, value) for name, value in {"exact": Integral(1.0, 0.0), **total}.items()]
    return [Table("sum of evidences over all 64 labelings of six inputs", 2, ("prior precision", "method", "sum"), tuple(rows))]
