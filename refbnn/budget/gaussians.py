"""The Gaussians that stand in for a posterior: Laplace with either curvature, and variational ones, in either model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refbnn import laplace, optimize, quadrature, symmetry, vi
from refbnn.gaussian import Gaussian
from refbnn.linearised import Linearised
from refbnn.posterior import Posterior

STARTS = 16  # draws of the prior from which modes are sought
FITTED = (256, 4)  # Sobol points and scramblings that variational inference in the network fits, and fresh ones that judge it
FRESH = (2**11, 16)
NODES = 64  # of the Gauss-Hermite rule over an output
DAMPING = 0.5  # of the fixed-point iteration
TIES = 8  # decimals of a log joint: beyond them is round-off
BEST = 3  # modes from which variational inference starts


@dataclass(frozen=True, eq=False)
class Modes:
    """Different modes, best first, with the number of copies of each under the weight symmetries, and the group's order."""

    found: tuple[optimize.Mode, ...]
    copies: tuple[int, ...]
    order: int

    @property
    def best(self) -> optimize.Mode:
        """The highest one."""
        return self.found[0]


def modes(posterior: Posterior, rng: np.random.Generator) -> Modes:
    """Those that searches from STARTS draws of the prior reach. Raises NotAMode where all of them end elsewhere."""
    reached, refusal = [], None
    for start in posterior.prior.sample(rng, (STARTS,)):
        try:
            reached.append(optimize.maximize(posterior, start))
        except optimize.NotAMode as error:
            refusal = error
    if not reached:
        raise refusal
    group = symmetry.of_posterior(posterior)
    reached.sort(key=lambda mode: -round(mode.log_prob, TIES))  # copies of a mode tie: the first that was reached comes first
    kept = [reached[i] for i in group.distinct([mode.theta for mode in reached])]
    return Modes(tuple(kept), tuple(group.num_copies(mode.theta) for mode in kept), group.order)


def at_mode(posterior: Posterior, theta: np.ndarray, curvature: np.ndarray) -> Gaussian:
    """Laplace: the curvature of the loss plus the prior's precision."""
    return laplace.at(theta, posterior.prior.precision.matrix() + curvature)


def linearised(posterior: Posterior, theta: np.ndarray) -> Posterior:
    """The posterior of the model that the Gauss-Newton matrix belongs to."""
    return Posterior(Linearised(posterior.net, at=theta), posterior.likelihood, posterior.prior, posterior.loss.X,
                     posterior.loss.y)


def over_outputs(likelihood: object) -> object:
    """How expectations in a linear model are taken: exactly for Gaussian noise."""
    if getattr(likelihood, "quadratic", False):
        return vi.ClosedForm()
    return vi.OverOutputs(quadrature.gauss_hermite(1, NODES))


def in_linear_model(linear: Posterior) -> vi.Optimum:
    """The best of all Gaussians for the linear model, from its prior: with Gaussian noise by a single step over its parameters.

    Of labels, which are few, by a damped iteration over functions, whose matrices have a row a datum.
    """
    how = over_outputs(linear.likelihood)
    if getattr(linear.likelihood, "quadratic", False):
        return vi.natural_gradient(linear, vi.families.Full(linear.num_params), how, linear.prior)
    return vi.fixed_point(linear, how, DAMPING)


def mean_field_in_linear_model(linear: Posterior, start: Gaussian) -> vi.Optimum:
    """The best Gaussian with independent parameters for the linear model."""
    return vi.quasi_newton(linear, vi.families.MeanField(linear.num_params), over_outputs(linear.likelihood), start)


def in_network(posterior: Posterior, family: object, found: Modes, rng: np.random.Generator) -> vi.Optimum:
    """The best member of the family for the network that starts at up to BEST modes reach, over Sobol points that stay fixed.

    Another copy of the same mode meets these points elsewhere: the optimum, and divergences of it, move by some per cent.
    """
    how = vi.OverParameters(quadrature.sobol(posterior.num_params, *FITTED, rng))
    starts = [at_mode(posterior, mode.theta, posterior.loss.ggn(mode.theta)) for mode in found.found[:BEST]]
    return vi.multi_start(lambda start: vi.quasi_newton(posterior, family, how, start), starts)[0]


def fresh_points(posterior: Posterior, rng: np.random.Generator) -> quadrature.Replicated:
    """Points for θ that no fit has seen."""
    return quadrature.sobol(posterior.num_params, *FRESH, rng)
