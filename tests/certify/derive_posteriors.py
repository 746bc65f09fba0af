"""Route A, posteriors of parts of the parameters, of functions and of classes, from what they mean.

    subset            the rows and columns of the parameters whose entry of the vector is positive
    slopes            derivatives of the evidence of a structure at fixed θ, through inverses
    process           function space: y ~ N(f + J (m − θ), J P₀⁻¹ Jᵀ + σ²), conditioned on the data
    classes           mean field and the Laplace bridge, arithmetic on their definitions
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .derive import Derivation

Matrix = list[list[Any]]


class Posteriors:
    """What `Derivation` says about posteriors beyond G + P₀ itself."""

    def __init__(self, derivation: Derivation) -> None:
        self.d, self.q, self.zero, self.one = derivation, derivation.q, derivation.zero, derivation.one
        self.subset = derivation.q.subset
        self.has_noise = derivation.q.likelihood == "normal"

    def chosen(self, M: Matrix) -> Matrix:
        """Rows and columns of the subset."""
        return [[M[i][j] for j in self.subset] for i in self.subset]

    def laplace(self, P: Matrix, values: dict[str, list]) -> dict[str, list]:
        """All of it that is a rational number where f and σ² are, and class probabilities."""
        P0, p = self.q.prior_precision, range(len(P))
        diagonal = [[P[i][i] if i == j else self.zero for j in p] for i in p]
        found = self.traces("diag.", diagonal, [[P0[i][i] if i == j else self.zero for j in p] for i in p])
        if self.q.structures:
            covariance = self.d.field.matrix(self.chosen(P)).inv()
            found |= {"laplace.subset.covariance": _lower(covariance.tolist()),
                      "predictive.subset.variance": self.spread(covariance), "gp.kernel": self.kernel()}
        if self.q.is_quadratic and self.has_noise:
            found |= self.regression() if self.q.posterior else {}
            found |= self.best_of_regression() if self.q.optimum else {}
        return found | (self.process() if self.has_noise else {}) | self.classes(values)

    def spread(self, covariance: Any) -> list:
        """J_S Σ J_Sᵀ for every new input."""
        result = []
        for f in self.d.new_jets:
            J = self.d.field.matrix([[self.d.gradient_of(a)[i] for i in self.subset] for a in f])
            result += (J * covariance * J.transpose()).entries()
        return result

    # -- slopes of the evidence -------------------------------------------------------------------------------------

    def traces(self, name: str, precision: Matrix, prior: Matrix) -> dict[str, list]:
        """By log τ, τ P₀ for P₀, at τ = 1."""
        d = [a - b for a, b in zip(self.q.theta, self.q.prior_mean)]
        square = sum((d[i] * t * d[j] for i, row in enumerate(self.q.prior_precision) for j, t in enumerate(row)), self.zero)
        return {f"laplace.{name}evidence.prior": [(len(d) - square - self.trace(precision, prior)) / 2]}

    def trace(self, precision: Matrix, part: Matrix) -> Any:
        """tr P⁻¹M."""
        relative = self.d.field.matrix(precision).solve(self.d.field.matrix(part))
        return sum((relative[i, i] for i in range(len(part))), self.zero)

    def noise_slope(self, name: str, precision: Matrix, curvature: Matrix, fit: Any) -> dict[str, Any]:
        """By log σ²; `fit`: the loss without its constants, ½‖y − f‖²/σ²."""
        count = len(self.q.X) * self.q.num_outputs
        slope = fit - (count - self.trace(precision, curvature)) / 2
        return {f"laplace.{name}evidence.noise": slope} if self.has_noise else {}

    def scalars(self, loss: Any, constants: Any, values: dict[str, Any]) -> dict[str, Any]:
        """What holds a logarithm."""
        p = range(self.q.num_params)
        P, G = self.d.precision(self.d.ggn), self.d.ggn
        diagonal = [[P[i][i] if i == j else self.zero for j in p] for i in p]
        found = self.noise_slope("diag.", diagonal, [[G[i][i] if i == j else self.zero for j in p] for i in p], loss - constants)
        if self.q.structures:
            start = self.q.num_params - self.q.layer_sizes[-1]
            parts = {"laplace.lastlayer.": list(range(start, self.q.num_params)), "laplace.subset.": self.subset}
            found |= {prefix + "log_evidence": self.log_prior(part) - loss - values[prefix + "log_det"] / 2
                      + self.d.field.log(self.d.field.pi() * 2) * len(part) / 2 for prefix, part in parts.items()}
        if self.q.posterior and self.q.is_quadratic:
            found["posterior.log_evidence"] = self.process_evidence()
        if self.q.optimum and self.q.is_quadratic and self.has_noise:
            found |= {"vi.optimum.elbo": self.process_evidence(), "vi.optimum.meanfield.elbo": self.independent_bound()}
        return found | ({"gp.log_evidence": self.process_evidence()} if self.has_noise else {})

    def log_prior(self, part: list[int]) -> Any:
        """log N(θ_S; m_S, (P₀)_SS⁻¹)."""
        d = [self.q.theta[i] - self.q.prior_mean[i] for i in part]
        P0 = [[self.q.prior_precision[i][j] for j in part] for i in part]
        square = sum((a * t * b for a, row in zip(d, P0) for b, t in zip(d, row)), self.zero)
        log = self.d.field.log
        return (log(self.d.field.matrix(P0).det()) - square - log(self.d.field.pi() * 2) * len(d)) / 2

    # -- function space ---------------------------------------------------------------------------------------------

    def rows(self, outputs: list) -> Any:
        """∂f/∂θ, one row an output."""
        return self.d.field.matrix([self.d.gradient_of(a) for f in outputs for a in f])

    def kernel(self) -> list:
        """J P₀⁻¹ Jᵀ."""
        J = self.rows(self.d.output_jets)
        return (J * self.d.field.matrix(self.q.prior_precision).inv() * J.transpose()).entries()

    def conditioned(self) -> tuple[Any, Any, Any]:
        """(P₀⁻¹Jᵀ, J P₀⁻¹ Jᵀ + σ², y − f − J (m − θ)) of the linearised network."""
        matrix, J = self.d.field.matrix, self.rows(self.d.output_jets)
        half = matrix(self.q.prior_precision).inv() * J.transpose()
        K = (J * half).tolist()
        K = matrix([[v + self.q.variance if i == j else v for j, v in enumerate(row)] for i, row in enumerate(K)])
        shift = matrix([[a - b] for a, b in zip(self.q.prior_mean, self.q.theta)])
        seen = matrix([[y - a.value] for f, t in zip(self.d.output_jets, self.q.y) for a, y in zip(f, t)])
        return half, K, seen - J * shift

    def process(self) -> dict[str, list]:
        """The mean at the new inputs: f + J (m − θ) + J P₀⁻¹Jᵀ K⁻¹ (y − ...)."""
        half, K, e = self.conditioned()
        shift = self.d.field.matrix([[a - b] for a, b in zip(self.q.prior_mean, self.q.theta)])
        J = self.rows(self.d.new_jets)
        moved = (J * (shift + half * K.solve(e))).entries()
        mean = [a + b for a, b in zip([a.value for f in self.d.new_jets for a in f], moved)]
        return {"gp.mean": mean} | self.process_slopes(K, e)

    def process_slopes(self, K: Any, e: Any) -> dict[str, list]:
        """Of log N(e; 0, K), K = F/τ + σ²: ½ (aᵀ dK a − tr K⁻¹dK) with a = K⁻¹e; dK = −F by log τ, σ² by log σ²."""
        size, weights = range(K.nrows()), K.solve(e).entries()
        inverse = K.inv()
        noise = [[self.q.variance if i == j else self.zero for j in size] for i in size]
        of_prior = [[noise[i][j] - K[i, j] for j in size] for i in size]
        return {f"gp.evidence.{name}": [sum((dK[i][j] * (weights[i] * weights[j] - inverse[i, j]) for i in size for j in size),
                                            self.zero) / 2] for name, dK in (("prior", of_prior), ("noise", noise))}

    def left_out(self) -> list:
        """log p(y_n | all other data), by conditioning on these."""
        _, K, e = self.conditioned()
        k, densities = self.q.num_outputs, []
        for n in range(len(self.q.X)):
            here = list(range(n * k, (n + 1) * k))
            others = [i for i in range(K.nrows()) if i not in here]
            mean, V = [e[i, 0] for i in here], [[K[i, j] for j in here] for i in here]
            if others:
                cross = self.d.field.matrix([[K[i, j] for j in here] for i in others])
                known = self.d.field.matrix([[K[i, j] for j in others] for i in others])
                gain = known.solve(cross).transpose()
                explained, expected = gain * cross, (gain * self.d.field.matrix([[e[i, 0]] for i in others])).entries()
                mean = [a - b for a, b in zip(mean, expected)]
                V = [[v - explained[i, j] for j, v in enumerate(row)] for i, row in enumerate(V)]
            V, away = self.d.field.matrix(V), self.d.field.matrix([[a] for a in mean])
            log = self.d.field.log
            densities.append(-(log(V.det()) + log(self.d.field.pi() * 2) * k + (away.transpose() * V.solve(away))[0, 0]) / 2)
        return densities

    def of_weights(self) -> tuple[list, Any]:
        """(mean, covariance) of a network without hidden layer: Gaussian conditioning on all of y."""
        half, K, e = self.conditioned()
        covariance = self.d.field.matrix(self.q.prior_precision).inv() - half * K.solve(half.transpose())
        return [a + b for a, b in zip(self.q.prior_mean, (half * K.solve(e)).entries())], covariance

    def best_of_regression(self) -> dict[str, list]:
        """The best Gaussian is the posterior; the best with independent parameters has its mean and the conditional variances."""
        mean, covariance = self.of_weights()
        precision = covariance.inv()
        return {"vi.optimum.mean": mean, "vi.optimum.covariance": _lower(covariance.tolist()), "vi.optimum.meanfield.mean": mean,
                "vi.optimum.meanfield.variance": [1 / precision[i, i] for i in range(len(mean))]}

    def independent_bound(self) -> Any:
        """Expected log likelihood less divergence at the best independent parameters, by their definitions."""
        q, log, best = self.q, self.d.field.log, self.best_of_regression()
        mean, width = best["vi.optimum.meanfield.mean"], best["vi.optimum.meanfield.variance"]
        moved, d = [a - b for a, b in zip(mean, q.theta)], [a - b for a, b in zip(mean, q.prior_mean)]
        fit = self.zero
        for f, y in zip(self.d.output_jets, q.y):
            for a, t in zip(f, y):
                J = self.d.gradient_of(a)
                e = t - a.value - sum((g * m for g, m in zip(J, moved)), self.zero)
                fit = fit + (e * e + sum((g * g * w for g, w in zip(J, width)), self.zero)) / q.variance + log(
                    self.d.field.pi() * 2 * q.variance)
        square = sum((a * t * b for a, row in zip(d, q.prior_precision) for b, t in zip(d, row)), self.zero)
        trace = sum((q.prior_precision[i][i] * w - log(w) - 1 for i, w in enumerate(width)), self.zero)
        return -(fit + square + trace - log(self.d.field.matrix(q.prior_precision).det())) / 2

    def regression(self) -> dict[str, list]:
        """The posterior itself of a network without hidden layer."""
        k = range(self.q.num_outputs)
        mean, covariance = self.of_weights()
        spread = self.d.projected(covariance)
        slopes = self.process()
        return {"posterior.mean": mean, "posterior.evidence.prior": slopes["gp.evidence.prior"],
                "posterior.evidence.noise": slopes["gp.evidence.noise"],
                "posterior.covariance": _lower(covariance.tolist()), "posterior.predictive.mean": slopes["gp.mean"],
                "posterior.predictive.variance": [spread[(n * len(k) + i) * len(k) + i] for n in range(len(self.q.X_new))
                                                  for i in k]}

    def process_evidence(self) -> Any:
        """log N(y; ..., K)."""
        _, K, e = self.conditioned()
        log, size = self.d.field.log, e.nrows()
        square = (e.transpose() * K.solve(e))[0, 0]
        return -(square + log(K.det()) + log(self.d.field.pi() * 2) * size) / 2

    # -- classes ----------------------------------------------------------------------------------------------------

    def classes(self, values: dict[str, list]) -> dict[str, list]:
        """Of Gaussian logits with more than one class."""
        if self.q.likelihood != "categorical" or not hasattr(self.d.field, "pi"):
            return {}
        k, found = self.q.num_outputs, {"predictive.meanfield": [], "predictive.concentration": [], "predictive.bridge": []}
        for n, f in enumerate(self.d.new_jets):
            flat = values["predictive.glm.variance"][n * k * k:(n + 1) * k * k]
            m, S = [a.value for a in f], [flat[i * k:(i + 1) * k] for i in range(k)]
            alpha = self.concentrations(m, S)
            total = sum(alpha, self.zero)
            found["predictive.meanfield"] += self.mean_field(m, S)
            found["predictive.concentration"] += alpha
            found["predictive.bridge"] += [a / total for a in alpha]
        return found

    def mean_field(self, m: list, S: Matrix) -> list:
        """p_c ∝ 1/Σ_i exp((m_i − m_c)/√(1 + π Var(f_i − f_c)/8))."""
        k, eighth = range(len(m)), self.d.field.pi() / 8
        each = [1 / sum((((m[i] - m[c]) / (1 + eighth * (S[c][c] + S[i][i] - S[c][i] - S[i][c])).sqrt()).exp()
                         for i in k if i != c), self.one) for c in k]
        return [v / sum(each, self.zero) for v in each]

    def concentrations(self, m: list, S: Matrix) -> list:
        """The bridge after conditioning on Σ f = 0, by matrices: S − S1 1ᵀS/(1ᵀS1)."""
        k, matrix = len(m), self.d.field.matrix
        ones, whole, mean = matrix([[self.one]] * k), matrix(S), matrix([[a] for a in m])
        gain = whole * ones / (ones.transpose() * whole * ones)[0, 0]
        moved = (mean - gain * (ones.transpose() * mean)).entries()
        left = (whole - gain * (ones.transpose() * whole)).tolist()
        spread = [sum(((-b).exp() for b in moved), self.zero) for _ in range(k)]
        return [(1 - self.one * 2 / k + moved[c].exp() * spread[c] / (k * k)) / left[c][c] for c in range(k)]


def _lower(matrix: Matrix) -> list:
    return [matrix[i][j] for i in range(len(matrix)) for j in range(i + 1)]
