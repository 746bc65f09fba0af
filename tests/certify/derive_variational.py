"""Route A, Gaussian variational inference at given parameters: q = N(θ, C Cᵀ) on the given standard normals, C either the
question's scale or the diagonal matrix of s = |vector|.

The lower bound is a function of θ and C through the samples θ + C z, so its slopes are first-order jets in both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .jets import Tangent, total

if TYPE_CHECKING:
    from .derive import Derivation

Matrix = list[list[Any]]


class Variational:
    """Bound, slopes and divergences of a Derivation."""

    def __init__(self, derivation: Derivation) -> None:
        self.d, self.q, self.zero, self.one = derivation, derivation.q, derivation.zero, derivation.one
        self.spread = [abs(v) for v in derivation.q.vector]
        self.shift = [a - b for a, b in zip(derivation.q.theta, derivation.q.prior_mean)]

    def values(self) -> dict[str, list]:
        """Everything that needs no precision, flat."""
        p, kl = self.q.num_params, self.divergence(self.diagonal([s * s for s in self.spread]), self.q.prior_precision)
        fit = self.fit()
        constants = sum((self.d.family.constant(y) for y in self.q.y), self.zero)
        pull = self.times(self.q.prior_precision, self.shift)
        slope = [-fit.first.get(i, self.zero) for i in range(2 * p)]
        return {"vi.elbo": [-fit.value - constants - kl], "vi.kl": [kl],
                "vi.kl.reverse": [self.divergence(self.d.field.matrix(self.q.prior_precision).inv().tolist(),
                                                  self.diagonal([1 / (s * s) for s in self.spread]))],
                "vi.elbo.gradient.mean": [a - b for a, b in zip(slope, pull)],
                "vi.elbo.gradient.scale": [a - self.q.prior_precision[i][i] * s + 1 / s
                                           for i, (a, s) in enumerate(zip(slope[p:], self.spread))]}

    def full(self) -> dict[str, list]:
        """The same with correlations. The scale's variables are the entries of its lower triangle, row by row."""
        p, C, P0 = self.q.num_params, self.q.scale, self.q.prior_precision
        matrix, places = self.d.field.matrix, [(i, j) for i in range(self.q.num_params) for j in range(i + 1)]
        covariance, fit = matrix(C) * matrix(C).transpose(), self.full_fit(places)
        kl = self.divergence(covariance.tolist(), P0)
        constants = sum((self.d.family.constant(y) for y in self.q.y), self.zero)
        slope = [-fit.first.get(i, self.zero) for i in range(p + len(places))]
        pull, spread = self.times(P0, self.shift), (matrix(P0) * matrix(C)).tolist()
        by_scale = [[self.zero] * p for _ in range(p)]
        for (i, j), a in zip(places, slope[p:]):
            by_scale[i][j] = a - spread[i][j] + (1 / C[i][i] if i == j else 0)
        return {"vi.full.elbo": [-fit.value - constants - kl], "vi.full.kl": [kl],
                "vi.full.kl.reverse": [self.divergence(matrix(P0).inv().tolist(), covariance.inv().tolist())],
                "vi.full.elbo.gradient.mean": [a - b for a, b in zip(slope, pull)],
                "vi.full.elbo.gradient.scale": [v for row in by_scale for v in row]}

    def full_fit(self, places: list[tuple[int, int]]) -> Tangent:
        """(1/s) Σ_s loss(θ + C z_s) without its constants; variables are the p entries of θ, then those of C."""
        p, C, each = self.q.num_params, self.q.scale, []
        at = {place: p + number for number, place in enumerate(places)}
        for z in self.q.normals:
            sample = [Tangent(a + sum((C[i][j] * z[j] for j in range(i + 1)), self.zero),
                              {i: self.one} | {at[i, j]: z[j] for j in range(i + 1)}) for i, a in enumerate(self.q.theta)]
            each.append(total([self.d.nll(self.d.outputs(sample, x), y) for x, y in zip(self.q.X, self.q.y)]))
        return total(each).scaled(self.one / len(each))

    def laplace(self, P: Matrix) -> dict[str, list]:
        """KL(N(θ, P⁻¹) ‖ prior) and the other way round."""
        inverse = [self.d.field.matrix(M).inv().tolist() for M in (P, self.q.prior_precision)]
        return {"vi.kl.laplace": [self.divergence(inverse[0], self.q.prior_precision)],
                "vi.kl.laplace.reverse": [self.divergence(inverse[1], P)]}

    def fit(self) -> Tangent:
        """(1/s) Σ_s loss(θ + s ∘ z_s) without its constants; variables are the p entries of θ and then those of s."""
        p, each = self.q.num_params, []
        for z in self.q.normals:
            sample = [Tangent(a + s * e, {i: self.one, p + i: e})
                      for i, (a, s, e) in enumerate(zip(self.q.theta, self.spread, z))]
            each.append(total([self.d.nll(self.d.outputs(sample, x), y) for x, y in zip(self.q.X, self.q.y)]))
        return total(each).scaled(self.one / len(each))

    def divergence(self, covariance: Matrix, precision: Matrix) -> Any:
        """KL(N(a, S) ‖ N(b, Q⁻¹)) = ½ (tr QS + (a − b)ᵀQ(a − b) − p − log |QS|), a − b = ± (θ − m)."""
        relative = self.d.field.matrix(precision) * self.d.field.matrix(covariance)
        trace = sum((relative[i, i] for i in range(len(precision))), self.zero)
        square = sum((a * b for a, b in zip(self.shift, self.times(precision, self.shift))), self.zero)
        return (trace + square - len(precision) - self.d.field.log(relative.det())) / 2

    def diagonal(self, values: list) -> Matrix:
        return [[v if i == j else self.zero for j in range(len(values))] for i, v in enumerate(values)]

    def times(self, M: Matrix, v: list) -> list:
        return [sum((a * b for a, b in zip(row, v)), self.zero) for row in M]
