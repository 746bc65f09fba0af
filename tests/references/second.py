"""The same numbers by Gauss-Legendre rules in plain NumPy: no code and no formula of refbnn.

Hidden weights z = sinh(s)/2 with s on a Gauss-Legendre rule, the whole grid of one unit (no change of sign is folded), pairs of
units i <= j. The output layer of Gaussian noise by elimination of [ΛI + ΦᵀΦ/σ² | Φᵀy/σ² | φ(x)]; that of other likelihoods by a
Gauss-Legendre rule over the output weights themselves.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from scipy.special import erf, gammaln

from tests.references.catalogue import Case

BEND = 0.5
REACH = 9.0
PHI = {"tanh": np.tanh, "erf": erf}


def unit_points(case: Case, num_points: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Features at the data (g n) and at new inputs (g m), log weights (g) with the prior, for one hidden unit."""
    nodes, weights = np.polynomial.legendre.leggauss(num_points)
    s = nodes * math.asinh(REACH / BEND)
    z = BEND * np.sinh(s)
    log_weight = np.log(weights * math.asinh(REACH / BEND) * BEND * np.cosh(s)) - z**2 / 2 - math.log(2 * math.pi) / 2
    dim = case.sizes[0] + case.bias
    grid = np.array(np.meshgrid(*[z] * dim)).reshape(dim, -1) / math.sqrt(case.precision)
    total = np.array(np.meshgrid(*[log_weight] * dim)).reshape(dim, -1).sum(0)
    near = (grid**2).sum(0) * case.precision <= REACH**2
    grid, total = grid[:, near], total[near]

    def features(X):
        z = sum(np.outer(grid[j], X[:, j]) for j in range(case.sizes[0]))
        return PHI[case.activation](z + grid[-1][:, None] if case.bias else z)

    return features(case.X), features(case.X_new), total


def hidden(case: Case, num_points: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Φ at the data (c n K) and at new inputs (c m K), and log weights (c), over all combinations of units."""
    at_data, at_new, total = unit_points(case, num_points)
    one = lambda c, size: [np.ones((c, size))] if case.bias else []
    if case.sizes[1] == 1:
        for start in range(0, len(total), 4096):
            part = slice(start, start + 4096)
            c = len(total[part])
            yield (np.stack([at_data[part], *one(c, len(case.X))], -1), np.stack([at_new[part], *one(c, len(case.X_new))], -1),
                   total[part])
        return
    for i in range(len(total)):
        rest = slice(i, None)
        c = len(total) - i
        twice = math.log(2) * (np.arange(c) > 0)
        stack = lambda rows, size: np.stack([np.broadcast_to(rows[i], (c, size)), rows[rest], *one(c, size)], -1)
        yield stack(at_data, len(case.X)), stack(at_new, len(case.X_new)), total[i] + total[rest] + twice


def gaussian_layer(case: Case, Phi, Phi_new):
    """log p(y|Φ), and mean and variance of f at new inputs given Φ: (c), (c m k), (c m k)."""
    name, parameters = case.likelihood
    variance = parameters["variance"] if name == "normal" else 1.0
    K, (n, k), m = Phi.shape[-1], case.y.shape, Phi_new.shape[1]
    A = np.einsum("cni,cnj->ijc", Phi, Phi) / variance
    for i in range(K):
        A[i, i] += case.precision
    right = np.concatenate([np.einsum("cni,nk->ikc", Phi, case.y) / variance, Phi_new.transpose(2, 1, 0)], axis=1)
    log_det = 0.0
    forms = np.zeros((k + m, k + m, Phi.shape[0]))
    for i in range(K):
        log_det = log_det + np.log(A[i, i] / case.precision)
        forms += right[i][:, None] * right[i][None] / A[i, i]
        for j in range(i + 1, K):
            factor = A[j, i] / A[i, i]
            A[j] -= factor * A[i]
            right[j] -= factor * right[i]
    explained = sum(forms[j, j] for j in range(k))
    mean = forms[k:, :k].transpose(2, 0, 1)
    spread = np.stack([forms[k + j, k + j] for j in range(m)], -1)[..., None] * np.ones(k)
    misfit = (case.y**2).sum() / variance - explained
    if name == "normal":
        log_p = -0.5 * (misfit + k * log_det + n * k * math.log(2 * math.pi * variance))
        return log_p, mean, spread
    a, b = parameters["shape"], parameters["scale"]
    last = a + 0.5 * n * k
    log_p = (gammaln(last) - gammaln(a) + a * math.log(b) - last * np.log(b + 0.5 * misfit)
             - 0.5 * (n * k * math.log(2 * math.pi) + k * log_det))
    return log_p, mean, spread * ((b + 0.5 * misfit) / (last - 1))[:, None, None]


def log_density(case: Case, f: np.ndarray) -> np.ndarray:
    """log p(y_n|f_n) for one output: f (... n)."""
    name, parameters = case.likelihood
    y = case.y[:, 0]
    if name == "bernoulli":
        return -np.logaddexp(0, np.where(y > 0, -f, f))
    if name == "poisson":
        return y * f - np.exp(f) - gammaln(y + 1)
    nu, s = parameters["degrees_of_freedom"], parameters["scale"]
    constant = gammaln((nu + 1) / 2) - gammaln(nu / 2) - 0.5 * math.log(nu * math.pi) - math.log(s)
    return constant - 0.5 * (nu + 1) * np.log1p((y - f) ** 2 / (nu * s * s))


def summed_layer(case: Case, Phi, Phi_new, num_points):
    """The same three by a rule over the output weights: K is one or two."""
    nodes, weights = np.polynomial.legendre.leggauss(num_points)
    K = Phi.shape[-1]
    w = np.array(np.meshgrid(*[REACH * nodes] * K)).reshape(K, -1)
    log_weight = np.log(np.array(np.meshgrid(*[REACH * weights] * K)).reshape(K, -1)).sum(0) - (w**2).sum(0) / 2
    kept = (w**2).sum(0) <= REACH**2
    w, log_weight = w[:, kept] / math.sqrt(case.precision), log_weight[kept] - K / 2 * math.log(2 * math.pi)
    log_p, mean, variance = [], [], []
    for one, new in zip(Phi, Phi_new):
        terms = log_weight + log_density(case, (one @ w).T).sum(-1)
        top = terms.max()
        mass = np.exp(terms - top)
        f = new @ w
        log_p.append(top + math.log(mass.sum()))
        mean.append(f @ mass / mass.sum())
        variance.append((f**2) @ mass / mass.sum() - mean[-1] ** 2)
    return np.array(log_p), np.array(mean)[..., None], np.array(variance)[..., None]


def answers(case: Case, num_points: int, num_outer: int) -> dict[str, np.ndarray]:
    """Log evidence, mean and variance of f at new inputs, from `num_points` a hidden weight and `num_outer` an output weight."""
    gaussian = case.likelihood[0] in ("normal", "inverse-gamma")
    parts = []
    for Phi, Phi_new, weight in hidden(case, num_points):
        layer = gaussian_layer(case, Phi, Phi_new) if gaussian else summed_layer(case, Phi, Phi_new, num_outer)
        log_p, mean, variance = layer
        terms = weight + log_p
        top = terms.max()
        mass = np.exp(terms - top)
        parts.append((top, mass.sum(), np.tensordot(mass, mean, 1), np.tensordot(mass, variance + mean**2, 1)))
    top = max(part[0] for part in parts)
    scale = [math.exp(part[0] - top) for part in parts]
    total = math.fsum(s * part[1] for s, part in zip(scale, parts))
    mean = sum(s * part[2] for s, part in zip(scale, parts)) / total
    square = sum(s * part[3] for s, part in zip(scale, parts)) / total
    return {"log_evidence": top + math.log(total), "output_mean": mean, "output_variance": square - mean**2}
