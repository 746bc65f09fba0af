"""Route B, posteriors of parts, of functions and of classes: through L D Lᵀ and in weight space.

The process that the linearised network is has the posterior mean f + J (μ − θ), μ = θ − P⁻¹(∇loss + P₀(θ − m)), and the
evidence of a Gaussian integral over weights; tr P⁻¹P₀ = p − tr P⁻¹G turns one slope into the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .closed import Answers

Matrix = list[list[Any]]
Values = dict[str, list]


class Posteriors:
    """What `Answers` says about posteriors beyond G + P₀ itself."""

    def __init__(self, answers: Answers, ldl: Any, inverse: Any, solved: Any, projected: Any) -> None:
        self.a, self.c, self.q, self.zero = answers, answers.c, answers.q, answers.zero
        self.ldl, self.inverse, self.solved, self.projected = ldl, inverse, solved, projected
        self.has_noise = self.q.likelihood == "normal"
        self.d = [a - b for a, b in zip(self.q.theta, self.q.prior_mean)]

    @property
    def precision(self) -> Matrix:
        return [[a + b for a, b in zip(*rows)] for rows in zip(self.a.G, self.q.prior_precision)]

    def values(self, variance: list, with_logs: bool) -> Values:
        """All of it that needs G + P₀ alone."""
        P, p = self.precision, range(self.q.num_params)
        found = self.slopes("diag.", [self.q.prior_precision[i][i] / P[i][i] for i in p], with_logs)
        if self.q.structures:
            found |= self.subset(P, with_logs) | {"gp.kernel": self.kernel()}
            if with_logs:
                found |= self.part("laplace.lastlayer.", P, list(range(self.c.offsets[-1], self.q.num_params)))
        if self.has_noise:
            found |= self.process(P, with_logs)
        if with_logs and self.q.likelihood == "categorical":
            found |= class_approximations(self.c.field, self.a.new, variance, self.q.num_outputs)
        return found

    # -- parts --------------------------------------------------------------------------------------------------------

    def subset(self, P: Matrix, with_logs: bool) -> Values:
        """The chosen rows and columns."""
        chosen = self.q.subset
        L, D = self.ldl([[P[i][j] for j in chosen] for i in chosen], self.zero)
        spread = [v for _, J in self.a.new
                  for v in self.projected(L, D, [[row[i] for i in chosen] for row in J], self.zero)]
        found = {"laplace.subset.covariance": _lower(self.inverse(L, D, self.zero)), "predictive.subset.variance": spread}
        return found | (self.part("laplace.subset.", P, chosen) if with_logs else {})

    def part(self, prefix: str, P: Matrix, part: list[int]) -> Values:
        """log det and evidence, the other parameters fixed: from the pivots of both precisions, where 2π drops out."""
        log, zero = self.c.field.log, self.zero
        pivots = self.ldl([[P[i][j] for j in part] for i in part], zero)[1]
        P0 = [[self.q.prior_precision[i][j] for j in part] for i in part]
        before = self.ldl(P0, zero)[1]
        square = sum((P0[a][b] * self.d[i] * self.d[j] for a, i in enumerate(part) for b, j in enumerate(part)), zero)
        gain = sum((log(b / a) for a, b in zip(pivots, before)), zero)
        return {prefix + "log_det": [sum((log(v) for v in pivots), zero)],
                prefix + "log_evidence": [(gain - square) / 2 - self.a.loss()]}

    # -- slopes -------------------------------------------------------------------------------------------------------

    def slopes(self, name: str, shares: list, with_logs: bool) -> Values:
        """From the summands of tr P⁻¹P₀; tr P⁻¹G = p − tr P⁻¹P₀ within a structure too."""
        p, trace = range(len(shares)), sum(shares, self.zero)
        square = sum((self.q.prior_precision[i][j] * self.d[i] * self.d[j] for i in p for j in p), self.zero)
        found = {f"laplace.{name}evidence.prior": [(len(shares) - square - trace) / 2]}
        if self.has_noise and with_logs:
            errors = sum(((a - t) * (a - t) for f, y in zip(self.a.f, self.q.y) for a, t in zip(f, y)), self.zero)
            count = len(self.a.f) * self.q.num_outputs
            found[f"laplace.{name}evidence.noise"] = [(errors / self.q.variance - count + len(shares) - trace) / 2]
        return found

    # -- function space, by weights -------------------------------------------------------------------------------------

    def kernel(self) -> list:
        """J P₀⁻¹ Jᵀ through L D Lᵀ = P₀."""
        L, D = self.ldl(self.q.prior_precision, self.zero)
        return self.projected(L, D, [row for J in self.a.J for row in J], self.zero)

    def kernel_matrix(self) -> Matrix:
        flat, size = self.kernel(), len(self.a.J) * self.q.num_outputs
        return [flat[at:at + size] for at in range(0, size * size, size)]

    def step(self) -> list:
        """μ − θ = −P⁻¹(∇loss + P₀(θ − m))."""
        L, D = self.ldl(self.precision, self.zero)
        slope = [sum(column, self.zero) for column in zip(*self.a.gradients(self.q.y))]
        slope = [g + self.dot(row, self.d) for g, row in zip(slope, self.q.prior_precision)]
        return [-v for v in self.solved(L, D, slope, self.zero)]

    def process(self, P: Matrix, with_logs: bool) -> Values:
        """Mean at the new inputs, and the evidence as a Gaussian integral over weights."""
        step, D = self.step(), self.ldl(P, self.zero)[1]
        found = {"gp.mean": [a + self.dot(row, step) for f, J in self.a.new for a, row in zip(f, J)]}
        found |= self.process_slopes(step, P)
        if self.q.posterior and self.q.is_quadratic:
            found |= self.regression(step, *self.ldl(P, self.zero), found["gp.mean"])
            found |= {f"posterior.evidence.{part}": found[f"gp.evidence.{part}"] for part in ("prior", "noise")}
        if self.q.optimum and self.q.is_quadratic:
            found |= self.best_of_regression(step, P, D)
        if with_logs:
            log = self.c.field.log
            found["gp.loo.log_density"] = self.left_out(step, P)
            before = self.ldl(self.q.prior_precision, self.zero)[1]
            at_mean = [a + b for a, b in zip(self.d, step)]
            square = self.dot(at_mean, [self.dot(row, at_mean) for row in self.q.prior_precision])
            e = [v for row in self.errors(step) for v in row]
            fit = self.dot(e, e) / self.q.variance + len(e) * log(2 * self.c.field.pi() * self.q.variance)
            found["gp.log_evidence"] = [(sum((log(b / a) for a, b in zip(D, before)), self.zero) - square - fit) / 2]
            if self.q.posterior and self.q.is_quadratic:
                found["posterior.log_evidence"] = found["gp.log_evidence"]
            if self.q.optimum and self.q.is_quadratic:
                evidence = found["gp.log_evidence"][0]
                lost = sum((log(P[i][i] / d) for i, d in enumerate(D)), self.zero) / 2
                found |= {"vi.optimum.elbo": [evidence], "vi.optimum.meanfield.elbo": [evidence - lost]}
        return found

    def process_slopes(self, step: list, P: Matrix) -> Values:
        """At the posterior mean μ of the weights: ½ (p − (μ − m)ᵀP₀(μ − m) − tr P⁻¹P₀), ½ (‖e‖²/σ² − N C + p − tr P⁻¹P₀)."""
        S, p = self.inverse(*self.ldl(P, self.zero), self.zero), range(len(P))
        trace = sum((self.q.prior_precision[i][j] * S[i][j] for i in p for j in p), self.zero)
        at_mean, e = [a + b for a, b in zip(self.d, step)], [v for row in self.errors(step) for v in row]
        square = self.dot(at_mean, [self.dot(row, at_mean) for row in self.q.prior_precision])
        return {"gp.evidence.prior": [(len(P) - square - trace) / 2],
                "gp.evidence.noise": [(self.dot(e, e) / self.q.variance - len(e) + len(P) - trace) / 2]}

    def errors(self, step: list) -> Matrix:
        """y − f of the linearised network at its posterior mean, datum by datum."""
        return [[t - a - self.dot(row, step) for a, row, t in zip(f, J, y)] for f, J, y in zip(self.a.f, self.a.J, self.q.y)]

    def left_out(self, step: list, P: Matrix) -> list:
        """log p(y_n | all other data): with R = I − J_n P⁻¹J_nᵀ/σ², ½ log |R| − ½ eᵀR⁻¹e/σ² − (C/2) log 2πσ²."""
        log, densities = self.c.field.log, []
        for e, (L, D) in zip(self.errors(step), self.remainders(P)):
            fit = self.dot(e, self.solved(L, D, e, self.zero)) / self.q.variance
            fit += len(e) * log(2 * self.c.field.pi() * self.q.variance)
            densities.append((sum((log(d) for d in D), self.zero) - fit) / 2)
        return densities

    def remainders(self, P: Matrix) -> list[tuple[Matrix, list]]:
        """I − J_n P⁻¹J_nᵀ/σ² as L D Lᵀ, for every datum."""
        L, D = self.ldl(P, self.zero)
        found = []
        for J in self.a.J:
            flat, k = self.projected(L, D, J, self.zero), range(len(J))
            found.append(self.ldl([[(i == j) - flat[i * len(J) + j] / self.q.variance for j in k] for i in k], self.zero))
        return found

    def best_of_regression(self, step: list, P: Matrix, D: list) -> Values:
        """The best Gaussians: θ − P⁻¹∇ with P⁻¹, or with 1/P_ii. Independence costs ½ Σ log (P_ii/d_i), d the pivots of P."""
        mean, L = [a + b for a, b in zip(self.q.theta, step)], self.ldl(P, self.zero)[0]
        return {"vi.optimum.mean": mean, "vi.optimum.covariance": _lower(self.inverse(L, D, self.zero)),
                "vi.optimum.meanfield.mean": mean, "vi.optimum.meanfield.variance": [1 / row[i] for i, row in enumerate(P)]}

    def regression(self, step: list, L: Matrix, D: list, mean: list) -> Values:
        """The posterior of the weights: θ − P⁻¹∇ and P⁻¹."""
        spread = [self.projected(L, D, [row], self.zero)[0] for _, J in self.a.new for row in J]
        return {"posterior.mean": [a + b for a, b in zip(self.q.theta, step)],
                "posterior.covariance": _lower(self.inverse(L, D, self.zero)),
                "posterior.predictive.mean": mean, "posterior.predictive.variance": spread}

    def dot(self, a: list, b: list) -> Any:
        return sum((x * y for x, y in zip(a, b)), self.zero)


def class_approximations(field: Any, logits: list, variance: list, k: int) -> Values:
    """Mean field and the Laplace bridge, index by index, from (f, ...) at every new input and the flat covariances."""
    zero, eighth, classes = field.number(0), field.pi() / 8, range(k)
    found: Values = {"predictive.meanfield": [], "predictive.concentration": [], "predictive.bridge": []}
    for n, (m, _) in enumerate(logits):
        S = [[variance[(n * k + i) * k + j] for j in classes] for i in classes]
        weights = []
        for c in classes:
            shrunk = [field.exp(-field.log(1 + eighth * (S[c][c] + S[i][i] - 2 * S[c][i])) / 2) for i in classes]
            weights.append(1 / sum((field.exp((m[i] - m[c]) * shrunk[i]) for i in classes), zero))
        sums = [sum(row, zero) for row in S]
        whole, total = sum(sums, zero), sum(m, zero)
        moved = [m[c] - sums[c] * total / whole for c in classes]
        alpha = [(1 - field.number(2) / k + sum((field.exp(moved[c] - b) for b in moved), zero) / (k * k))
                 / (S[c][c] - sums[c] * sums[c] / whole) for c in classes]
        found["predictive.meanfield"] += [w / sum(weights, zero) for w in weights]
        found["predictive.concentration"] += alpha
        found["predictive.bridge"] += [a / sum(alpha, zero) for a in alpha]
    return found


def _lower(matrix: Matrix) -> list:
    return [value for i, row in enumerate(matrix) for value in row[:i + 1]]
