"""The posterior of two parameters itself: log evidence, moments and predictions as integrals, by two quadratures.

Route A: the trapezoidal rule on a grid over the box in which the density is not negligible, densities as the derivation has them,
in Arb. Its error falls exponentially with the number of nodes, since the density is analytic and vanishes at the edges. Route B:
Gauss-Legendre in each direction, densities in closed form.
"""

from __future__ import annotations

from typing import Any, Callable, Iterator

import flint
import mpmath

NAMES = ("posterior.log_evidence", "posterior.mean", "posterior.covariance", "posterior.predictive.mean",
         "posterior.f.mean", "posterior.predictive.variance", "posterior.log_likelihood.mean",
         "posterior.log_likelihood.variance", "posterior.log_joint.mean", "posterior.log_joint.variance")
BY_PRIOR, BY_NOISE = "posterior.evidence.prior", "posterior.evidence.noise"
COARSE, NEGLIGIBLE = 2, 38       # nodes a prior standard deviation; log of what may be left out
LogDensity = Callable[[list], tuple[Any, Any]]   # log p(y, θ) and log p(y | θ)
Outputs = Callable[[list], tuple[list, list]]    # (E[y] at every new input, f at every new input)


def box(log_density: LogDensity, mean: list, spread: list) -> list[tuple[Any, Any]]:
    """In every direction the range of the coarse nodes where the density is not negligible, and one node more."""
    reach = range(-10 * COARSE, 10 * COARSE + 1)
    axes = [[m + s * j / COARSE for j in reach] for m, s in zip(mean, spread)]
    values = [(place, log_density([axis[i] for axis, i in zip(axes, place)])[0].mid())
              for place in _places([len(reach)] * len(axes))]
    highest = values[0][1]
    for _, value in values:
        highest = value if value > highest else highest
    kept = [place for place, value in values if value > highest - NEGLIGIBLE]
    ends = [(min(place[a] for place in kept), max(place[a] for place in kept)) for a in range(len(axes))]
    return [(axis[max(low - 1, 0)], axis[min(high + 1, len(axis) - 1)]) for axis, (low, high) in zip(axes, ends)]


def _places(sizes: list[int]) -> Iterator[tuple[int, ...]]:
    """All index tuples."""
    if not sizes:
        yield ()
        return
    for first in range(sizes[0]):
        for rest in _places(sizes[1:]):
            yield (first, *rest)


def trapezoid(edges: list[tuple[Any, Any]], count: int) -> list[list[tuple[Any, Any]]]:
    """Nodes and weights in every direction."""
    return [[(low + (high - low) * j / count, (high - low) / count) for j in range(count + 1)] for low, high in edges]


def gauss_legendre(count: int) -> list[tuple[Any, Any]]:
    """(root, weight) of the Legendre polynomial of an even degree on [−1, 1], by Newton's method."""
    half = [_legendre_root(count, i) for i in range(1, count // 2 + 1)]
    return half + [(-x, w) for x, w in reversed(half)]


def scaled(edges: list[tuple[Any, Any]], rule: list[tuple[Any, Any]]) -> list[list[tuple[Any, Any]]]:
    """A rule on [−1, 1] in every direction of the box."""
    return [[((high + low) / 2 + (high - low) / 2 * x, (high - low) / 2 * w) for x, w in rule] for low, high in edges]


def _legendre_root(n: int, i: int) -> tuple[Any, Any]:
    """(root, weight 2/((1 − x²) P′²)) number i of an even degree."""
    x = mpmath.cos(mpmath.pi * (i - mpmath.mpf(1) / 4) / (n + mpmath.mpf(1) / 2))
    for _ in range(8):
        before, now = mpmath.mpf(1), x
        for k in range(2, n + 1):
            before, now = now, ((2 * k - 1) * x * now - (k - 1) * before) / k
        slope = n * (x * now - before) / (x * x - 1)
        x -= now / slope
    return x, 2 / ((1 - x * x) * slope * slope)


def integrated(axes: list[list[tuple[Any, Any]]], log_density: LogDensity, outputs: Outputs, exp: Callable,
               log: Callable) -> dict:
    """Every value from nodes and weights. The density is divided by that at the heaviest node."""
    nodes = []
    for place in _places([len(axis) for axis in axes]):
        theta, weight = [axis[i][0] for axis, i in zip(axes, place)], 1
        for axis, i in zip(axes, place):
            weight = weight * axis[i][1]
        nodes.append((theta, weight, *log_density(theta)))
    top = nodes[0][2]
    for _, _, value, _ in nodes:
        top = value if _mid(value) > _mid(top) else top
    heavy = [(theta, weight * exp(joint - top), joint, fit) for theta, weight, joint, fit in nodes
             if _mid(joint - top) > -NEGLIGIBLE]
    total = sum(weight for _, weight, _, _ in heavy[1:]) + heavy[0][1]
    shares = [weight / total for _, weight, _, _ in heavy]
    mean, covariance = _moments(shares, [theta for theta, _, _, _ in heavy])
    predicted = [outputs(theta) for theta, _, _, _ in heavy]
    p, marginal = range(len(axes)), [_moments(shares, [[f[a]] for _, f in predicted]) for a in range(len(predicted[0][1]))]
    joint, fit = (_moments(shares, [[node[at]] for node in heavy]) for at in (2, 3))
    return dict(zip(NAMES, (
        [top + log(total)], mean, [covariance[i][j] for i in p for j in range(i + 1)],
        [_average(shares, [y[a] for y, _ in predicted]) for a in range(len(predicted[0][0]))],
        [centre for (centre,), _ in marginal], [spread for _, ((spread,),) in marginal],
        fit[0], fit[1][0], joint[0], joint[1][0])))


def _average(shares: list, values: list) -> Any:
    return sum((w * v for w, v in zip(shares[1:], values[1:])), shares[0] * values[0])


def _moments(shares: list, rows: list[list]) -> tuple[list, list[list]]:
    """Mean and covariance."""
    size = range(len(rows[0]))
    mean = [_average(shares, [row[i] for row in rows]) for i in size]
    away = [[row[i] - mean[i] for i in size] for row in rows]
    return mean, [[_average(shares, [row[i] * row[j] for row in away]) for j in size] for i in size]


def _mid(value: Any) -> Any:
    return value.mid() if isinstance(value, flint.arb) else value


def by_definition(derivation: Any, edges: list[tuple[Any, Any]], count: int) -> dict:
    """Route A; the slopes from averages of log densities, as E log p(θ) = c − ½ E(θ − m)ᵀP₀(θ − m)."""
    field, q = derivation.field, derivation.q
    found = integrated(trapezoid(edges, count), defined_density(derivation), lambda theta: _defined_outputs(derivation, theta),
                       field.exp, field.log)
    (joint,), (fit,) = (found[f"posterior.{name}.mean"] for name in ("log_joint", "log_likelihood"))
    found[BY_PRIOR] = [joint - fit - _prior_constant(derivation) + field.number(q.num_params) / 2]
    if q.likelihood == "normal":
        found[BY_NOISE] = [-fit - (1 + field.log(field.pi() * 2 * q.variance)) * len(q.X) * q.num_outputs / 2]
    return found


def _prior_constant(derivation: Any) -> Any:
    """log p(m), the highest density of the prior."""
    q, field = derivation.q, derivation.field
    return (field.log(field.matrix(q.prior_precision).det()) - field.log(field.pi() * 2) * q.num_params) / 2


def edges_of(derivation: Any) -> list[tuple[Any, Any]]:
    """The box of a question whose prior has independent parameters."""
    q = derivation.q
    spread = [(1 / q.prior_precision[i][i]).sqrt().mid() for i in range(q.num_params)]
    return [(low.mid(), high.mid()) for low, high in box(defined_density(derivation), q.prior_mean, spread)]


def defined_density(derivation: Any) -> LogDensity:
    """From the family's loss."""
    from .jets import Jet, total
    q, of_prior = derivation.q, _prior_constant(derivation)
    of_loss = sum((derivation.family.constant(y) for y in q.y), derivation.zero)

    def log_density(theta: list) -> tuple[Any, Any]:
        jets, d = [Jet(v) for v in theta], [a - b for a, b in zip(theta, q.prior_mean)]
        square = sum((a * t * b for a, row in zip(d, q.prior_precision) for b, t in zip(d, row)), derivation.zero)
        fit = -of_loss - total([derivation.nll(derivation.outputs(jets, x), y) for x, y in zip(q.X, q.y)]).value
        return of_prior - square / 2 + fit, fit
    return log_density


def _defined_outputs(derivation: Any, theta: list) -> tuple[list, list]:
    from .jets import Jet
    f = [[a.value for a in derivation.outputs([Jet(v) for v in theta], x)] for x in derivation.q.X_new]
    return [m for row in f for m in derivation.family.mean(row)], [a for row in f for a in row]


def closed_density(answers: Any) -> LogDensity:
    """From closed forms."""
    q, c, log = answers.q, answers.c, answers.c.field.log
    P0, two_pi = q.prior_precision, 2 * answers.c.field.pi()
    constant = sum((log(P0[i][i] / two_pi) for i in range(q.num_params)), answers.zero) / 2

    def log_density(theta: list) -> tuple[Any, Any]:
        square = sum((P0[i][i] * (a - b) * (a - b) for i, (a, b) in enumerate(zip(theta, q.prior_mean))), answers.zero)
        fit = -sum((c.loss(c.forward(theta, x)[0][-1], y) for x, y in zip(q.X, q.y)), answers.zero)
        return constant - square / 2 + fit, fit
    return log_density


def in_closed_form(answers: Any, axes: list[list[tuple[Any, Any]]]) -> dict:
    """Route B, and what conditions are estimated from."""
    q, c = answers.q, answers.c

    def outputs(theta: list) -> tuple[list, list]:
        f = [c.forward(theta, x)[0][-1] for x in q.X_new]
        return [m for row in f for m in c.mean(row)], [a for row in f for a in row]
    found = integrated(axes, closed_density(answers), outputs, c.field.exp, c.field.log)
    return found | _slopes(found, answers)


def _slopes(found: dict, answers: Any) -> dict:
    """By log τ from the posterior's moments, by log σ² from the average loss."""
    q, p = answers.q, answers.q.num_params
    away, S = [a - b for a, b in zip(found["posterior.mean"], q.prior_mean)], found["posterior.covariance"]
    square = sum((q.prior_precision[i][j] * (away[i] * away[j] + S[max(i, j) * (max(i, j) + 1) // 2 + min(i, j)])
                  for i in range(p) for j in range(p)), answers.zero)
    slopes = {BY_PRIOR: [(p - square) / 2]}
    if q.likelihood == "normal":
        count, log = len(q.X) * q.num_outputs, answers.c.field.log
        errors = -2 * found["posterior.log_likelihood.mean"][0] - count * log(2 * answers.c.field.pi() * q.variance)
        slopes[BY_NOISE] = [(errors - count) / 2]
    return slopes
