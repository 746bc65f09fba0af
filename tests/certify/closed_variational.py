"""Route B, Gaussian variational inference: backpropagation at every sample, divergences from pivots and sums.

∂/∂θ of the bound is −(1/s) Σ ∇loss(θ_s) − P₀ (θ − m), ∂/∂s is −(1/s) Σ z ∘ ∇loss(θ_s) − diag(P₀) s + 1/s, and ∂/∂C is
the lower triangle of −(1/s) Σ ∇loss(θ_s) zᵀ − P₀ C + C⁻ᵀ, of whose last summand that is the diagonal 1/C_ii.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .closed import Answers

Matrix = list[list[Any]]


class Variational:
    """Bound, slopes and divergences of `Answers`."""

    def __init__(self, answers: Answers, ldl: Any, inverse: Any) -> None:
        self.a, self.c, self.q, self.zero = answers, answers.c, answers.q, answers.zero
        self.ldl, self.inverse = ldl, inverse
        self.spread = [abs(v) for v in self.q.vector]
        self.shift = [a - b for a, b in zip(self.q.theta, self.q.prior_mean)]

    def values(self) -> dict[str, list]:
        """Everything that needs no precision, flat."""
        p, P0, log = range(self.q.num_params), self.q.prior_precision, self.c.field.log
        samples = [[a + s * e for a, s, e in zip(self.q.theta, self.spread, z)] for z in self.q.normals]
        slopes, count = [self.a.slope_at(sample) for sample in samples], len(samples)
        by_mean = [-sum((g[i] for g in slopes), self.zero) / count - self.dot(P0[i], self.shift) for i in p]
        by_scale = [1 / self.spread[i] - P0[i][i] * self.spread[i]
                    - sum((g[i] * z[i] for g, z in zip(slopes, self.q.normals)), self.zero) / count for i in p]
        widths = sum((log(s) for s in self.spread), self.zero)
        L, D = self.ldl(P0, self.zero)
        depth, square = sum((log(v) for v in D), self.zero), self.square(P0)
        inverse = self.inverse(L, D, self.zero)
        kl = (sum((P0[i][i] * self.spread[i] * self.spread[i] for i in p), self.zero) + square - len(P0) - depth) / 2 - widths
        reverse = (sum(((inverse[i][i] + self.shift[i] * self.shift[i]) / (self.spread[i] * self.spread[i]) for i in p),
                       self.zero) - len(P0) + depth) / 2 + widths
        fit = sum((self.loss_at(sample) for sample in samples), self.zero) / count
        return {"vi.elbo": [-fit - kl], "vi.elbo.gradient.mean": by_mean, "vi.elbo.gradient.scale": by_scale,
                "vi.kl": [kl], "vi.kl.reverse": [reverse]}

    def full(self) -> dict[str, list]:
        """With correlations, index by index."""
        P0, C, p, log = self.q.prior_precision, self.q.scale, range(self.q.num_params), self.c.field.log
        samples = [[a + self.dot(row[:i + 1], z) for i, (a, row) in enumerate(zip(self.q.theta, C))] for z in self.q.normals]
        slopes, count = [self.a.slope_at(sample) for sample in samples], len(samples)
        pulled = [[self.dot(P0[i][j:], [C[k][j] for k in p][j:]) for j in p] for i in p]      # P₀ C
        by_scale = [self.zero if j > i else -pulled[i][j] + (1 / C[i][i] if i == j else self.zero)
                    - sum((g[i] * z[j] for g, z in zip(slopes, self.q.normals)), self.zero) / count for i in p for j in p]
        L, D = self.ldl(P0, self.zero)
        widths, depth = sum((log(C[i][i]) for i in p), self.zero), sum((log(v) for v in D), self.zero)
        spread = sum((C[i][j] * pulled[i][j] for i in p for j in p), self.zero)
        kl = (spread + self.square(P0) - len(P0) - depth) / 2 - widths
        fit = sum((self.loss_at(sample) for sample in samples), self.zero) / count
        return {"vi.full.elbo": [-fit - kl], "vi.full.kl": [kl], "vi.full.elbo.gradient.scale": by_scale,
                "vi.full.kl.reverse": [(self.whitened(C, L, D) - len(P0) + depth) / 2 + widths],
                "vi.full.elbo.gradient.mean": [-sum((g[i] for g in slopes), self.zero) / count - self.dot(P0[i], self.shift)
                                               for i in p]}

    def whitened(self, C: Matrix, L: Matrix, D: list) -> Any:
        """tr (C Cᵀ)⁻¹P₀⁻¹ + dᵀ(C Cᵀ)⁻¹d, d = θ − m: the squares of C⁻¹ times the columns of L⁻ᵀ D^(−1/2), and times d."""
        n = len(D)
        columns = []
        for j in range(n):      # column j of L⁻ᵀ: zero below row j
            x = [self.zero] * n
            x[j] = self.zero + 1
            for i in range(j - 1, -1, -1):
                x[i] = -sum((L[k][i] * x[k] for k in range(i + 1, j + 1)), self.zero)
            columns.append(x)
        total = sum((v * v for v in self.solved(C, self.shift)), self.zero)
        return total + sum((v * v / d for x, d in zip(columns, D) for v in self.solved(C, x)), self.zero)

    def solved(self, C: Matrix, b: list) -> list:
        """C⁻¹ b."""
        x: list = []
        for i, value in enumerate(b):
            x.append((value - self.dot(C[i][:i], x)) / C[i][i])
        return x

    def laplace(self, P: Matrix) -> dict[str, list]:
        """KL of Laplace and the prior, both ways, from the pivots of both precisions."""
        P0, p, log = self.q.prior_precision, range(self.q.num_params), self.c.field.log
        (L, D), (L0, D0) = self.ldl(P, self.zero), self.ldl(P0, self.zero)
        S, S0 = self.inverse(L, D, self.zero), self.inverse(L0, D0, self.zero)
        ratio = sum((log(a / b) for a, b in zip(D, D0)), self.zero)
        found = []
        for precision, covariance, sign in ((P0, S, 1), (P, S0, -1)):
            trace = sum((precision[i][j] * covariance[i][j] for i in p for j in p), self.zero)
            found.append([(trace + self.square(precision) - len(P) + sign * ratio) / 2])
        return {"vi.kl.laplace": found[0], "vi.kl.laplace.reverse": found[1]}

    def loss_at(self, theta: list) -> Any:
        return sum((self.c.loss(self.c.forward(theta, x)[0][-1], y) for x, y in zip(self.q.X, self.q.y)), self.zero)

    def square(self, M: Matrix) -> Any:
        return sum((a * self.dot(row, self.shift) for a, row in zip(self.shift, M)), self.zero)

    def dot(self, a: list, b: list) -> Any:
        return sum((x * y for x, y in zip(a, b)), self.zero)
