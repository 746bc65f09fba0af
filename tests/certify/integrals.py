"""E[y] where f ~ N(m, V): integrals of a smooth function over the normal distribution, by two rules.

One dimension: Arb's adaptive integration, which encloses, and the trapezoidal rule in decimals, whose error falls as exp(−2πd/h)
with the distance d of the nearest pole (Trefethen & Weideman 2014). Three classes: the trapezoidal rule on two different pairs of
contrasts, at two steps.
"""

from __future__ import annotations

from typing import Any

import flint

REACH = 17              # standard deviations: what lies beyond is below exp(−17²/2) = 10⁻⁶²
PLANE_REACH = 12        # in two dimensions: 10⁻³¹
CLOSED = {"bernoulli_probit", "poisson", "poisson_square", "negative_binomial", "gamma"}
LIKELIHOODS = CLOSED | {"bernoulli", "categorical"}
WIDEST = 36             # variance of a contrast, above which grids in the plane would need too many nodes


def asked_for(likelihood: str, variances: list[list[list]]) -> bool:
    """Whether the integrals are certified, from V at every input."""
    if likelihood != "categorical":
        return likelihood in LIKELIHOODS
    k = range(len(variances[0]))
    return len(k) <= 3 and all(V[a][a] + V[b][b] - 2 * V[a][b] < WIDEST for V in variances for a in k for b in k)


def enclosed(field: Any, likelihood: str, m: list, V: list[list]) -> list:
    """Route A, in intervals: every entry of E[y] at one input."""
    if likelihood == "categorical":
        return classes(field, m, V, 0)
    return [_closed(field, likelihood, a, V[i][i]) if likelihood in CLOSED else _sigmoid(field, a, V[i][i])
            for i, a in enumerate(m)]


def summed(field: Any, likelihood: str, m: list, V: list[list]) -> list:
    """Route B, in decimals."""
    if likelihood == "categorical":
        return classes(field, m, V, 1)
    if likelihood in CLOSED:
        return [_moment(field, likelihood, a, V[i][i]) for i, a in enumerate(m)]
    return [trapezoid(field, lambda f: 1 / (1 + field.exp(-f)), a, V[i][i]) for i, a in enumerate(m)]


def _closed(field: Any, likelihood: str, m: Any, v: Any) -> Any:
    """Φ(m/√(1 + v)) = ½ erfc(−m/√(2 + 2v)), exp(m + v/2), m² + v."""
    if likelihood == "bernoulli_probit":
        return field.erfc(-m / (2 + 2 * v).sqrt()) / 2
    return m * m + v if likelihood == "poisson_square" else field.exp(m + v / 2)


def _moment(field: Any, likelihood: str, m: Any, v: Any) -> Any:
    """The same as sums over nodes."""
    mean = {"bernoulli_probit": lambda f: field.erfc(-f / field.sqrt(field.number(2))) / 2,
            "poisson_square": lambda f: f * f}.get(likelihood, field.exp)
    return trapezoid(field, mean, m, v)


def _sigmoid(field: Any, m: Any, v: Any) -> Any:
    """∫ σ(m + √v z) φ(z) dz with a bound for the tails."""
    root, scale = v.sqrt(), (2 * flint.arb.pi()).sqrt()

    def integrand(z: flint.acb, analytic: bool) -> flint.acb:
        return (-z * z / 2).exp() / (1 + (-(m + root * z)).exp()) / scale
    found = flint.acb.integral(integrand, flint.acb(-REACH), flint.acb(REACH), rel_tol=flint.arb(2) ** -190,
                               abs_tol=flint.arb(2) ** -260)
    return found.real + flint.arb(0, (flint.arb(-REACH * REACH) / 2).exp().abs_upper())


def trapezoid(field: Any, function: Any, m: Any, v: Any) -> Any:
    """Σ_j h φ(jh) function(m + √v jh), h a twentieth of the distance of the poles at ±iπ, and at most a quarter."""
    root = field.sqrt(v)
    inverse = max(4, int(20 * float(_middle(root)) / 3.14) + 1)
    h, reach = field.number(1) / inverse, 24 * inverse
    total, weights = field.number(0), field.number(0)
    for j in range(-reach, reach + 1):
        w = field.exp(-(j * h) * (j * h) / 2)
        total, weights = total + w * function(m + root * (j * h)), weights + w
    return total / weights


def classes(field: Any, m: list, V: list[list], base: int) -> list:
    """E softmax over the contrasts f_c − f_base, L u their deviations with L lower triangular, on a square grid in u."""
    others = [c for c in range(len(m)) if c != base]
    mean = [m[c] - m[base] for c in others]
    S = [[V[a][b] - V[a][base] - V[base][b] + V[base][base] for b in others] for a in others]
    L = [field.sqrt(S[0][0])]
    L += [S[1][0] / L[0], field.sqrt(S[1][1] - S[1][0] * S[1][0] / S[0][0])] if len(others) == 2 else []
    widest = max(float(_middle(field.sqrt(S[i][i]))) for i in range(len(others)))
    inverse = max(4 + base, int((10 + base) * widest / 3.14) + 1)
    return _on_grid(field, mean, L, inverse, others, base)


def _on_grid(field: Any, mean: list, L: list, inverse: int, others: list[int], base: int) -> list:
    reach, zero = PLANE_REACH * inverse, field.number(0)
    nodes = [field.number(j) / inverse for j in range(-reach, reach + 1)]
    weights = [field.exp(-u * u / 2) for u in nodes]
    shifts = [field.exp(L[2] * u) for u in nodes] if len(mean) == 2 else [zero]
    steps = weights if len(mean) == 2 else [field.number(1)]
    ones = first = second = total = zero
    for u, w in zip(nodes, weights):
        e = field.exp(mean[0] + L[0] * u)
        centre = field.exp(mean[1] + L[1] * u) if len(mean) == 2 else zero
        for t, s in zip(steps, shifts):
            share = w * t / (1 + e + centre * s)
            ones, first, second, total = ones + share, first + share * e, second + share * centre * s, total + w * t
    placed = dict(zip([base, *others], (ones, first, second)))
    return [placed[c] / total for c in sorted(placed)]


def _middle(value: Any) -> Any:
    """A float of a ball or of a decimal."""
    return value.mid() if isinstance(value, flint.arb) else value
