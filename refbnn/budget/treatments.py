"""The rows of a budget: what is predicted with, in which model, after which inference, by which integral."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from refbnn import quadrature, vi
from refbnn.budget import gaussians, laws, links, reach, truth
from refbnn.gaussian import Gaussian
from refbnn.networks.mlp import Mlp
from refbnn.posterior import Posterior
from refbnn.vi import families

NETWORK, LINEAR = "network", "linear model"
EXACT, GGN, HESSIAN, MODE = "exact", "Laplace, GGN", "Laplace, Hessian", "mode alone"
VI, MEAN_FIELD = "VI, full", "VI, mean field"
MATCHED = "Gaussian f, exact moments"
SUM, PROBIT, BRIDGE, PLUG_IN = "exact", "probit", "rescaled Laplace bridge", "plug-in"


@dataclass(frozen=True, eq=False)
class Treatment:
    """One row."""

    model: str
    inference: str
    integration: str
    law: object

    @property
    def labels(self) -> tuple[str, str, str]:
        """What names the row."""
        return self.model, self.inference, self.integration


@dataclass(frozen=True, eq=False)
class Prepared:
    """Everything that rows are made of: both posteriors with their truths, the modes, the Gaussians and the points for θ.

    `by_model` has, for each model, the Gaussians that belong to it; `optima` the variational ones with their bounds.
    """

    posterior: Posterior
    linear: Posterior
    truth: truth.Exact
    linear_truth: truth.Exact
    modes: gaussians.Modes
    laplace: dict[str, Gaussian]
    optima: dict[tuple[str, str], vi.Optimum]
    rule: quadrature.Replicated


def expect_reach(net: Mlp, likelihood: object, num_data: int) -> None:
    """Raise TooLarge, at once, where the exact posterior of a network or the best Gaussian for it is known to be out of reach."""
    truth.expect_reach(net, likelihood, num_data)
    try:
        reach.expect_fits(net, num_data, math.prod(gaussians.FITTED))
        if not net.is_linear:  # else the search starts at its end, or near it
            reach.expect_full_gaussian(net)
    except ValueError as error:
        raise truth.TooLarge(f"network: expected a smaller one, got sizes {net.sizes} with {net.num_params} parameters and "
                             f"{num_data} data; {error}") from None


def prepare(posterior: Posterior, rng: np.random.Generator, within: float, watch=lambda label: None) -> Prepared:
    """All inference of a budget; the predictions come later. `watch(label)` is told what begins. Raises TooLarge."""
    expect_reach(posterior.net, posterior.likelihood, len(posterior.loss.y))
    truth.expect_accuracy(posterior, within)
    watch("exact posterior of the network")
    exact = truth.of_network(posterior, rng, within)
    watch("modes")
    found = gaussians.modes(posterior, rng)
    theta = found.best.theta
    linear = gaussians.linearised(posterior, theta)
    watch("exact posterior of the linear model")
    exact_linear = truth.of_linear(linear, rng, within)
    at = {GGN: gaussians.at_mode(posterior, theta, posterior.loss.ggn(theta)),
          HESSIAN: gaussians.at_mode(posterior, theta, posterior.loss.hessian(theta))}
    watch("variational inference")
    full, diagonal = families.Full(posterior.num_params), families.MeanField(posterior.num_params)
    optima = {
        (LINEAR, VI): gaussians.in_linear_model(linear),
        (LINEAR, MEAN_FIELD): gaussians.mean_field_in_linear_model(linear, at[GGN]),
        (NETWORK, VI): gaussians.in_network(posterior, full, found, rng),
        (NETWORK, MEAN_FIELD): gaussians.in_network(posterior, diagonal, found, rng),
    }
    return Prepared(posterior, linear, exact, exact_linear, found, at, optima, gaussians.fresh_points(posterior, rng))


def treatments(made: Prepared) -> tuple[Treatment, ...]:
    """All rows; the first is the truth."""
    likelihood = made.posterior.likelihood
    if getattr(likelihood, "quadratic", False):
        return _rows(made, links.noise(likelihood.variance), {})
    return _rows(made, links.integrated, {PROBIT: links.probit, BRIDGE: links.bridge, PLUG_IN: links.plugged_in})


def _rows(made: Prepared, link: links.Link, others: dict[str, links.Link]) -> tuple[Treatment, ...]:
    affine = lambda q, by=link: laws.affine(made.linear.net, q, by)
    sampled = lambda q: laws.Sampled(made.posterior.net, made.posterior.likelihood, q, made.rule)
    optimum = lambda *key: made.optima[key].q
    return (
        Treatment(NETWORK, EXACT, SUM, made.truth),
        Treatment(LINEAR, EXACT, SUM, made.linear_truth),
        Treatment(LINEAR, GGN, SUM, affine(made.laplace[GGN])),
        *(Treatment(LINEAR, GGN, name, affine(made.laplace[GGN], by)) for name, by in others.items()),
        Treatment(LINEAR, VI, SUM, affine(optimum(LINEAR, VI))),
        Treatment(LINEAR, MEAN_FIELD, SUM, affine(optimum(LINEAR, MEAN_FIELD))),
        Treatment(LINEAR, HESSIAN, SUM, affine(made.laplace[HESSIAN])),
        Treatment(NETWORK, GGN, SUM, sampled(made.laplace[GGN])),
        Treatment(NETWORK, HESSIAN, SUM, sampled(made.laplace[HESSIAN])),
        Treatment(NETWORK, VI, SUM, sampled(optimum(NETWORK, VI))),
        Treatment(NETWORK, MEAN_FIELD, SUM, sampled(optimum(NETWORK, MEAN_FIELD))),
        Treatment(NETWORK, MODE, PLUG_IN, laws.plugged(made.posterior.net, made.modes.best.theta, link)),
        Treatment(NETWORK, MATCHED, SUM, laws.Matched(made.truth, link)),
    )
