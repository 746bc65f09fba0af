"""Published numbers of the O-ring flights: logistic regression, a network of no hidden layer, whose posterior can be integrated.

Maximum likelihood: what R prints for glm(Fail > 0 ~ Temp, family = binomial) on these 23 flights, among others in the notes of
Brigham Young University-Idaho, Math 325 (byui-kctolli.netlify.app/math325/analyses/examples/challengerlogisticreg).

Posterior: C. Davidson-Pilon, Bayesian Methods for Hackers, chapter 2, example "Challenger space shuttle disaster". Both weights
have the prior N(0, 1/0.001), temperatures are in °F as they are; printed, to two decimals, is the share of ones among 10,000
labels simulated along a Metropolis chain, flight by flight, in each of three editions of the notebook: for PyMC 2, for PyMC3 and
the current one (github.com/CamDavidsonPilon/Probabilistic-Programming-and-Bayesian-Methods-for-Hackers, commit 5b33f77).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from refbnn import laplace, likelihoods, optimize, predict, priors
from refbnn.budget import Table, links
from refbnn.budget.datasets import DATASETS
from refbnn.networks.mlp import Mlp
from refbnn.posterior import Posterior
from refbnn.quadrature import ROUND_OFF, Integral
from tests.experiments.fits import FLAT, printed

PRECISION = 1e-3
DRAWS = 10_000
PRINTED = {  # in the order of the flights
    "PyMC 2": ".41 .24 .28 .32 .36 .18 .16 .25 .77 .54 .24 .07 .37 .86 .36 .11 .24 .05 .10 .06 .12 .10 .75".split(),
    "PyMC3": ".40 .25 .28 .32 .36 .19 .17 .25 .73 .53 .25 .10 .36 .80 .36 .13 .25 .07 .12 .09 .13 .12 .71".split(),
    "current": ".43 .35 .35 .36 .41 .27 .25 .33 .66 .51 .32 .19 .42 .73 .43 .23 .30 .14 .21 .15 .21 .20 .63".split(),
}
LIKELIHOOD = {"intercept": ("15.0429", "7.3786"), "temperature": ("-0.2322", "0.1082")}  # estimate, standard error
ILL = 1e-9  # relative: what the mode and the inverse of a G of condition 10⁶ may lose
HALF, REACH = 200, 14.0  # points on either side and standard deviations of the rule below


def posterior(precision: float) -> Posterior:
    """f = w t + b, P(damage) = σ(f), for the temperatures of the flights in °F."""
    columns, net = DATASETS["o-rings"].columns, Mlp((1, 1), ())
    return Posterior(net, likelihoods.Bernoulli(), priors.isotropic(net.num_params, precision),
                     columns["temperature"][:, None], columns["damaged"][:, None])


@dataclass(frozen=True, eq=False)
class Known:
    """An exact posterior of two weights: points (c 2) around the mode and their weights (c)."""

    theta: np.ndarray
    weights: np.ndarray

    def mean(self, values: np.ndarray) -> np.ndarray:
        """The posterior mean of values (c ...)."""
        return np.tensordot(self.weights, values, 1)


def trapezoid(post: Posterior, half: int, reach: float) -> Known:
    """The trapezoidal rule in the coordinates of Laplace's Gaussian, (2 half + 1)² points on `reach` standard deviations."""
    q = at_mode(post)
    z = np.linspace(-reach, reach, 2 * half + 1)
    theta = q.from_normals(np.stack(np.meshgrid(z, z, indexing="ij"), axis=-1).reshape(-1, 2))
    log_weights = post.log_prob(theta)
    weights = np.exp(log_weights - log_weights.max())
    return Known(theta, weights / weights.sum())


def at_mode(post: Posterior):
    """Laplace's Gaussian; the link is canonical and the network linear, so that Gauss-Newton and Hessian are one matrix."""
    theta = optimize.maximize(post, post.prior.mean).theta
    return laplace.at(theta, post.negative_hessian(theta))


def exact(post: Posterior) -> Integral:
    """P(damage) at every flight (n); the error: distances to a rule of half the points and to one on 4/5 of the domain."""
    rules = [trapezoid(post, half, reach) for half, reach in ((HALF, REACH), (HALF // 2, REACH), (HALF, 0.8 * REACH))]
    finest, *others = [rule.mean(damage(post, rule.theta)) for rule in rules]
    return Integral(finest, np.max([np.abs(finest - other) for other in others], axis=0) + ROUND_OFF)


def damage(post: Posterior, theta: np.ndarray) -> np.ndarray:
    """σ(f) of every flight: (*s n)."""
    return expit(post.net.forward(theta, post.loss.X)[..., 0])


def predictions() -> Table:
    """What was printed, beside the exact posterior, Laplace's Gaussian and the mode alone."""
    post = posterior(PRECISION)
    q, X = at_mode(post), post.loss.X
    truth, by_laplace = exact(post), links.integrated(predict.moments(post.net, q, X), np.ones((len(X), 1, 1)))
    mode = damage(post, q.mean)
    rows = [(str(i + 1), f"{X[i, 0]:.0f}", f"{post.loss.y[i, 0]:.0f}", *(printed(numbers[i]) for numbers in PRINTED.values()),
             Integral(truth.value[i], truth.error[i]), Integral(by_laplace.value[i, 0], by_laplace.error[i, 0]),
             Integral(mode[i], ROUND_OFF)) for i in range(len(X))]
    return Table("P(damage), printed and found", 3, ("flight", "°F", "damaged", *PRINTED, "exact", "Laplace", "mode alone"),
                 tuple(rows))


def estimates() -> Table:
    """The maximum of the likelihood and its standard errors √(G⁻¹)ᵢᵢ."""
    post = posterior(FLAT)
    theta = optimize.maximize(post, post.prior.mean).theta
    spread = {name: np.sqrt(np.diag(np.linalg.inv(matrix)))
              for name, matrix in (("G", post.loss.ggn(theta)), ("H", post.loss.hessian(theta)))}
    number = lambda value: Integral(float(value), ILL * abs(float(value)))
    rows = [(name, printed(LIKELIHOOD[name][0]), number(theta[i]), printed(LIKELIHOOD[name][1]), number(spread["G"][i]),
             number(spread["H"][i])) for name, i in (("intercept", 1), ("temperature", 0))]
    return Table("maximum likelihood, printed and found", 1,
                 ("parameter", "published", "found", "published sd", "sd by the GGN", "sd by the Hessian"), tuple(rows))


def flights(note) -> list[Table]:
    """Both tables."""
    note("23 flights")
    return [predictions(), estimates()]
