"""What stands in the first row of a budget: the exact posterior, by the route that suits the model, or a clear refusal.

Each route gives `log_evidence` (an Integral) and answers `outputs(X, within)` and `curves(X, y, within)` as `refbnn.cubature`
does. Deterministic where that is affordable, randomised with a standard error elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from refbnn import cubature, laplace, optimize, predict
from refbnn.budget import gaussians, reach
from refbnn.gaussian import Gaussian
from refbnn.networks.mlp import Mlp
from refbnn.posterior import Posterior
from refbnn.precision import Dense
from refbnn.quadrature import ROUND_OFF, Integral
from refbnn.shapes import NewInputs, as_positive, expect_methods

POINTS, SCRAMBLINGS = 2**14, 16
NODES = {1: 10**7, 2: 4 * 10**8}  # of a grid of units, by the number of hidden units: seconds
WIDER = 2.5  # times the covariance found: labels leave heavier tails than a Gaussian has, and Pareto k shows it
SOBOL_WITHIN = 5e-3  # nats: what a standard error may be, where the caller asks for what only grids give
ON_GRIDS = (30.0, 1000.0, 3e4)  # times the error of the log evidence: what is asked of answers from grids, the best that is had
LEAST = 1e-9
ROOM = 2.0  # times round-off: rules differ by some of it besides
BY_SOBOL = 1.0  # those of Sobol points come with what they have


class TooLarge(ValueError):
    """No route has the exact posterior of this network to the accuracy that was asked for."""


@dataclass(frozen=True, eq=False)
class ClosedForm:
    """The exact posterior of a model affine in θ with Gaussian noise: a Gaussian `q`, errors at round-off."""

    posterior: Posterior
    q: Gaussian
    log_evidence: Integral

    def outputs(self, X_new: NewInputs, within: float) -> Integral:
        """Mean and covariance of f, Eq. (glm-predictive)."""
        found = predict.moments(self.posterior.net, self.q, X_new)
        return Integral(cubature.Moments(found.mean, found.covariance),
                        cubature.Moments(ROUND_OFF * np.abs(found.mean), ROUND_OFF * np.abs(found.covariance)))

    def curves(self, X_new: NewInputs, y_new: np.ndarray, within: float) -> Integral:
        """N(y; mean, variance of f and noise), one output: (m g)."""
        found = predict.moments(self.posterior.net, self.q, X_new)
        variance = found.variance + self.posterior.likelihood.variance
        density = np.exp(-0.5 * (y_new[..., 0] - found.mean) ** 2 / variance) / np.sqrt(2 * np.pi * variance)
        return Integral(density, ROUND_OFF * density)


@dataclass(frozen=True, eq=False)
class Exact:
    """An exact posterior as a law: what it answers comes to the first accuracy of `levels` that its rules support.

    `route` names what found it.
    """

    answers: object
    levels: tuple[float, ...]
    route: str = ""

    @property
    def log_evidence(self) -> Integral:
        """log p(y), in nats."""
        return self.answers.log_evidence

    def functions(self, X: NewInputs) -> Integral:
        """Mean and variance of f, (m) each: value and error are pairs."""
        found = self._ask(lambda within: self.answers.outputs(X, within))
        return Integral(*((part.mean[:, 0], part.covariance[:, 0, 0]) for part in (found.value, found.error)))

    def targets(self, X: NewInputs, y: np.ndarray) -> Integral:
        """p(y|x, data) for y (m g 1): (m g)."""
        return self._ask(lambda within: self.answers.curves(X, y, within))

    def _ask(self, question: Callable[[float], Integral]) -> Integral:
        for within in self.levels[:-1]:
            try:
                return question(within)
            except cubature.NotConverged:
                continue
        return question(self.levels[-1])


def of_network(posterior: Posterior, rng: np.random.Generator, within: float) -> Exact:
    """The exact posterior of a small network with one output, its log evidence to `within` nats.

    Gaussian noise: `cubature.units`, then Sobol points over the hidden weights. Labels: Sobol points over all weights. No
    hidden layer: as `of_linear`. Raises TooLarge where none gets there, with what each found, and at
    once where that is known beforehand, as `expect_reach`.
    """
    expect_methods("posterior", posterior, "net", "likelihood", "prior", "loss")
    if posterior.net.is_linear:
        return of_linear(posterior, rng, within)
    expect_reach(posterior.net, posterior.likelihood, len(posterior.loss.y))
    return _first(_routes(posterior, rng, as_positive("within", within)), posterior)


def expect_reach(net: Mlp, likelihood: object, num_data: int) -> None:
    """Raise TooLarge, at once, where Sobol points of a network take more than there is, and grids have too many units as well."""
    try:
        _expect_points(net, likelihood, num_data)
    except ValueError as error:
        if not (getattr(likelihood, "quadratic", False) and net.sizes[1] in NODES):
            raise _too_large(net.sizes, net.num_params, num_data, [f"Sobol points: {error}"]) from None


def expect_accuracy(posterior: Posterior, within: float) -> None:
    """Raise TooLarge, at once, where round-off in float64 alone is more than `within` nats of the log evidence.

    That of a grid is known, and rules that agree may differ by it; by other routes log p(y|θ) has at least that of its terms.
    """
    least = float(f"{_least(posterior):.2g}")  # the number that is printed
    if not as_positive("within", within) >= least:
        raise TooLarge(f"within: expected at least {least:g} nats, what round-off leaves of the log evidence of "
                       f"{len(posterior.loss.y)} data, got {within:.3g}")


def of_linear(posterior: Posterior, rng: np.random.Generator, within: float) -> Exact:
    """The exact posterior of a model affine in θ: closed for Gaussian noise, else around the best Gaussian for it.

    There by Sobol points. Raises TooLarge as `of_network`, ValueError for a network that is not affine.
    """
    if not posterior.net.is_linear:
        raise ValueError("posterior: expected a network that is linear in its parameters, got one that is not; use of_network")
    return _first(_linear_routes(posterior, rng, as_positive("within", within)), posterior)


def gaussian_at_mode(posterior: Posterior) -> Gaussian:
    """Laplace's Gaussian of a model affine in θ, whose log posterior is concave."""
    mode = optimize.maximize(posterior, posterior.prior.mean)
    return laplace.at(mode.theta, posterior.negative_hessian(mode.theta))


def _first(routes: Iterator[tuple[str, Callable[[], Exact]]], posterior: Posterior) -> Exact:
    """What the first route finds that does not refuse."""
    refusals = []
    for name, route in routes:
        try:
            return replace(route(), route=name)
        except (cubature.NotConverged, ValueError) as error:
            refusals.append(f"{name}: {str(error).splitlines()[0]}")
    sizes = getattr(posterior.net, "sizes", (posterior.num_params,))
    raise _too_large(sizes, posterior.num_params, len(posterior.loss.y), refusals)


def _least(posterior: Posterior) -> float:
    """The accuracy of the log evidence, in nats, below which float64 has nothing to say."""
    net = posterior.net
    if not net.is_linear and getattr(posterior.likelihood, "quadratic", False) and net.sizes[1] in NODES:
        return ROOM * cubature.collapse(posterior).round_off
    return ROUND_OFF * len(posterior.loss.y)


def _too_large(sizes, num_params, num_data, refusals) -> TooLarge:
    return TooLarge("; ".join([f"network: expected one small enough for its exact posterior, got sizes {tuple(sizes)} with "
                               f"{num_params} parameters and {num_data} data", *refusals]))


def _expect_points(net, likelihood, num_data):
    if net.is_linear:
        return
    if getattr(likelihood, "quadratic", False):
        reach.expect_collapsed(net, num_data, POINTS * SCRAMBLINGS)
    else:
        reach.expect_all_weights(net, num_data, 4 * POINTS * SCRAMBLINGS, WIDER)


def _routes(posterior, rng, within):
    if getattr(posterior.likelihood, "quadratic", False):
        target = cubature.collapse(posterior)
        largest = NODES.get(posterior.net.sizes[1], 0)
        if largest:
            yield "units on one grid", lambda: _on_grid(cubature.units(target, within, largest))
        yield "Sobol points, output layer integrated out", lambda: _collapsed(target, rng, within)
    else:
        yield "Sobol points", lambda: _sobol(_widened(posterior, rng), 4 * POINTS, rng, within)


def _linear_routes(posterior, rng, within):
    if getattr(posterior.likelihood, "quadratic", False):
        yield "closed form", lambda: _closed(posterior)
    else:
        yield "Sobol points", lambda: _sobol(_around_best(posterior), 2 * POINTS, rng, within)


def _on_grid(found):
    return Exact(found, tuple(factor * max(LEAST, float(found.log_evidence.error)) for factor in ON_GRIDS))


def _closed(posterior):
    q = gaussian_at_mode(posterior)
    value = laplace.log_evidence(posterior.log_prob(q.mean), q)
    error = ROUND_OFF * (abs(value) + posterior.num_params + len(posterior.loss.y))
    return Exact(ClosedForm(posterior, q, Integral(value, error)), (1.0,))


def _collapsed(target, rng, within):
    reach.expect_collapsed(target.net, len(target.y), POINTS * SCRAMBLINGS)  # a grid refused first: not checked before
    return _sobol(target, POINTS, rng, within)


def _around_best(posterior):
    """Points from the best of all Gaussians, wider: its tails are lighter than those of a posterior of labels."""
    return _wider_than(posterior, gaussians.in_linear_model(posterior).q)


def _widened(posterior, rng):
    """Points from a Gaussian as wide as the posterior with all its copies, by a first look from the prior, and wider."""
    look = cubature.sobol(cubature.AllWeights(posterior), POINTS, SCRAMBLINGS, rng, 1.0)
    found = look.parameters(np.finfo(float).max).value
    return _wider_than(posterior, Gaussian(found.mean, Dense(np.linalg.inv(found.covariance))))


def _wider_than(posterior, q):
    return cubature.Around(posterior, Gaussian(q.mean, Dense(q.precision.matrix() / WIDER)))


def _sobol(target, num_points, rng, within):
    return Exact(cubature.sobol(target, num_points, SCRAMBLINGS, rng, max(within, SOBOL_WITHIN)), (BY_SOBOL,))
