"""Route A: every quantity from its definition, by differentiating truncated polynomials. No formula for a derivative is used.

    gradient, Hessian      the jet of Σ_n ℓ(y_n, f(x_n, θ)) in θ
    GGN                    the Hessian of the same sum after f was replaced by its tangent at θ
    Fisher                 E[g gᵀ] summed over the outcomes y with their probabilities
    activations            power series of exp, erf, sin ... from flint, not derivative formulas
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import flint

from . import low_rank
from .derive_likelihoods import FAMILIES
from .derive_posteriors import Posteriors
from .derive_structures import Structures
from .derive_variational import Variational
from .integrals import asked_for, enclosed
from .fields import Interval, Rational
from .jets import Cubic, Jet, total, variable
from .question import Question

# Prefixes of what follows from G + P₀, from H + P₀, and from KFAC plus the blocks of P₀, biases with their weights or apart.
GGN, HESSIAN, KRON, SPLIT = "laplace.", "laplace.hessian.", "laplace.kron.", "laplace.kron.split."
PARTS = ("laplace.lastlayer.", "laplace.subset.")   # of the parameters
Values = dict[str, Any]     # flat lists; symmetric matrices as packed lower triangles; scalars as one-element lists


def lower(matrix: list[list]) -> list:
    """The lower triangle, row by row."""
    return [matrix[i][j] for i in range(len(matrix)) for j in range(i + 1)]


class Derivation:
    """All quantities of one question in one field (exact rationals or intervals)."""

    def __init__(self, question: Question, field: Rational | Interval) -> None:
        self.field = field
        self.q = question.lifted(field)
        self.zero, self.one = field.number(0), field.number(1)
        self.family = FAMILIES[question.likelihood](self.q, field)

    # -- the network ------------------------------------------------------------------------------------------

    def outputs(self, theta: list[Jet], x: list) -> list[Jet]:
        """f(x, θ), walking once through θ: W row by row, then b, layer by layer."""
        parameters, signal = iter(theta), x
        for layer, width in enumerate(self.q.sizes[1:]):
            if layer:
                signal = [self.activated(z) for z in signal]
            z = [total([next(parameters) * a if layer else next(parameters).scaled(a) for a in signal]) for _ in range(width)]
            signal = [s + next(parameters) for s in z] if self.q.bias else z
        return signal

    def activated(self, z: Jet) -> Jet:
        return z.composed(*self.series(z.value))

    def series(self, z: Any) -> tuple:
        """Taylor coefficients of φ at z up to t³, by arithmetic on power series."""
        if self.q.activation in PIECEWISE:
            return PIECEWISE[self.q.activation](self, z)
        polynomial = TRANSCENDENTAL[self.q.activation](flint.arb_series([z, 1], 4), self.field)
        return tuple(polynomial[i] for i in range(4))

    @cached_property
    def structures(self) -> Structures:
        return Structures(self)

    @cached_property
    def theta_jets(self) -> list[Jet]:
        return [variable(value, i, self.one) for i, value in enumerate(self.q.theta)]

    @cached_property
    def output_jets(self) -> list[list[Jet]]:
        return [self.outputs(self.theta_jets, x) for x in self.q.X]

    @cached_property
    def new_jets(self) -> list[list[Jet]]:
        """First order is enough at the new inputs."""
        return [[f.linearised() for f in self.outputs(self.theta_jets, x)] for x in self.q.X_new]

    def gradient_of(self, jet: Jet) -> list:
        return [jet.first.get(i, self.zero) for i in range(self.q.num_params)]

    @cached_property
    def posteriors(self) -> Posteriors:
        return Posteriors(self)

    def along_vector(self, jet: Jet) -> Any:
        """The derivative along the given vector."""
        return sum((slope * self.q.vector[i] for i, slope in sorted(jet.first.items())), self.zero)

    def hessian_of(self, jet: Jet) -> list[list]:
        p = self.q.num_params
        return [[jet.second.get((min(i, j), max(i, j)), self.zero) for j in range(p)] for i in range(p)]

    # -- the loss ---------------------------------------------------------------------------------------------

    def nll(self, f: list[Jet], y: Any) -> Jet:
        """ℓ(y, f) up to terms without f, as a jet."""
        return self.family.loss(f, y)

    @cached_property
    def datum_losses(self) -> list[Jet]:
        return [self.nll(f, y) for f, y in zip(self.output_jets, self.q.y)]

    @cached_property
    def ggn(self) -> list[list]:
        tangents = [[a.linearised() for a in f] for f in self.output_jets]
        return self.hessian_of(total([self.nll(f, y) for f, y in zip(tangents, self.q.y)]))

    @cached_property
    def hessian(self) -> list[list]:
        return self.hessian_of(total(self.datum_losses))

    def third(self) -> list:
        """∇³[v, v, e_i] from third derivatives along lines: (L(v + e) − L(v − e))/2 = 3 L[v, v, e] + L[e, e, e]."""
        v, result = self.q.vector, []
        for i in range(self.q.num_params):
            unseen = all(self.unseen_by(a, i) for f in self.output_jets for a in f)
            unit = [self.one if j == i else self.zero for j in range(len(v))]
            ends = [self.along([a + b for a, b in zip(v, unit)]), self.along([a - b for a, b in zip(v, unit)]), self.along(unit)]
            result.append(self.zero if unseen else ends[0] - ends[1] - ends[2] * 2)
        return result

    def along(self, direction: list) -> Any:
        """The coefficient of t³ of the loss at θ + t u."""
        line = [Cubic(a, b, self.zero, self.zero) for a, b in zip(self.q.theta, direction)]
        return total([self.nll(self.outputs(line, x), y) for x, y in zip(self.q.X, self.q.y)]).powers[2]

    def unseen_by(self, output: Jet, i: int) -> bool:
        """No first derivative by parameter i and no second one. With output weights of zero the first ones alone vanish."""
        of_i = [value for pair, value in output.second.items() if i in pair]
        return all(self.vanishes(value) for value in (output.first.get(i, self.zero), *of_i))

    def vanishes(self, value: Any) -> bool:
        """An exact zero, no ball around it."""
        return value.is_zero() if hasattr(value, "is_zero") else value == 0

    def gradients(self, targets: list) -> list[list]:
        """g_n at the given targets."""
        first = [[a.linearised() for a in f] for f in self.output_jets]
        return [self.gradient_of(self.nll(f, y)) for f, y in zip(first, targets)]

    def centred(self) -> list[list]:
        """g_n − ḡ; of a single gradient, exactly zero."""
        gradients = self.gradients(self.q.y)
        if len(gradients) == 1:
            return [[self.zero] * self.q.num_params]
        means = [sum(column, self.zero) / len(gradients) for column in zip(*gradients)]
        return [[a - b for a, b in zip(g, means)] for g in gradients]

    def outer_products(self, targets: list) -> list[list]:
        """Σ_n g_n g_nᵀ at the given targets."""
        gradients = self.gradients(targets)
        p = self.q.num_params
        return [[sum((g[i] * g[j] for g in gradients), self.zero) for j in range(p)] for i in range(p)]

    # -- the Fisher matrix ------------------------------------------------------------------------------------

    @cached_property
    def fisher(self) -> list[list]:
        """Σ_n Jᵀ E[r rᵀ] J."""
        p = self.q.num_params
        result = [[self.zero] * p for _ in range(p)]
        for f in self.output_jets:
            moments = self.score_moments([a.value for a in f])
            J = [self.gradient_of(a) for a in f]
            for a, row in enumerate(moments):
                for b, moment in enumerate(row):
                    if moment is not None:
                        _add_outer(result, J[a], J[b], moment)
        return result

    def score_moments(self, f: list) -> list[list]:
        """E[r rᵀ] over y ~ p(y | f). None marks an exact zero."""
        return self.family.moments(f)

    # -- the answers ------------------------------------------------------------------------------------------

    def network(self) -> Values:
        """What needs no likelihood."""
        return {"forward": [a.value for f in self.output_jets for a in f],
                "jacobian.vp": [self.along_vector(a) for f in self.output_jets for a in f],
                "jacobian": [v for f in self.output_jets for a in f for v in self.gradient_of(a)],
                "predictive.glm.mean": [a.value for f in self.new_jets for a in f]}

    def curvature(self) -> Values:
        """Derivatives of the loss."""
        H, G, F = self.hessian, self.ggn, self.fisher
        empirical, mc = self.outer_products(self.q.y), self.outer_products(self.q.labels)
        moved = self.centred()
        p = range(self.q.num_params)
        return {"gradient": self.gradient_of(total(self.datum_losses)),
                "ggn.full": lower(G), "ggn.diag": [G[i][i] for i in p], "ggn.vp": self.times_vector(G),
                "hessian.full": lower(H), "hessian.diag": [H[i][i] for i in p], "hessian.hvp": self.times_vector(H),
                "fisher.full": lower(F), "fisher.diag": [F[i][i] for i in p], "fisher.vp": self.times_vector(F),
                "fisher.empirical": lower(empirical), "fisher.empirical.diag": [empirical[i][i] for i in p],
                "fisher.empirical.vp": self.times_vector(empirical),
                "fisher.empirical.centred.diag": [sum((g[i] * g[i] for g in moved), self.zero) for i in p],
                "fisher.empirical.centred.vp": self.times_vector([[sum((g[i] * g[j] for g in moved), self.zero) for j in p]
                                                                  for i in p]),
                "fisher.mc": lower(mc), "fisher.mc.diag": [mc[i][i] for i in p], "fisher.mc.vp": self.times_vector(mc),
                "predictive.mc": self.mean_of_draws()} | ({} if self.q.is_quadratic else {"third.vv": self.third()}) | (
                    self.structures.values() if self.q.structures else {})

    def times_vector(self, M: list[list]) -> list:
        """M v."""
        return [sum((a * b for a, b in zip(row, self.q.vector)), self.zero) for row in M]

    def mean_of_draws(self) -> list:
        """(1/t) Σ_t E[y | f(x, θ_t)]."""
        means = [[m for x in self.q.X_new for m in self.mean(draw, x)] for draw in self.q.draws]
        return [sum(column, self.zero) / len(means) for column in zip(*means)]

    def mean(self, theta: list, x: list) -> list:
        """E[y | f(x, θ)]."""
        return self.family.mean([a.value for a in self.outputs([Jet(value) for value in theta], x)])

    def precision(self, curvature: list[list]) -> list[list]:
        """Curvature plus prior precision."""
        return [[a + b for a, b in zip(*rows)] for rows in zip(curvature, self.q.prior_precision)]

    def laplace(self) -> Values:
        """P = G + P₀ and what follows from its inverse."""
        P = self.precision(self.ggn)
        covariance = self.field.matrix(P).inv()
        S, p = covariance.tolist(), range(len(P))
        variances = [self.one / P[i][i] for i in p]
        diagonal = self.field.matrix([[variances[i] if i == j else self.zero for j in p] for i in p])
        result = {"laplace.precision": lower(P), "laplace.covariance": lower(S),
                  "laplace.covariance.diag": [S[i][i] for i in p], "laplace.covariance.vp": self.times_vector(S),
                  "laplace.diag.variance": variances, "predictive.diag.variance": self.projected(diagonal),
                  "predictive.glm.variance": self.projected(covariance), "predictive.joint": self.jointly(covariance)}
        result |= (self.last_layer_laplace(P) if self.q.structures else {}) | self.class_probabilities(result)
        return result | self.posteriors.laplace(P, result) | self.expectations(result["predictive.glm.variance"])

    def projected(self, covariance: Any, start: int = 0) -> list:
        """J(x) Σ J(x)ᵀ for every new input, in the parameters from `start` on."""
        result = []
        for f in self.new_jets:
            J = self.field.matrix([self.gradient_of(a)[start:] for a in f])
            result += (J * covariance * J.transpose()).entries()
        return result

    def jointly(self, covariance: Any) -> list:
        """J Σ Jᵀ over all new inputs and outputs."""
        J = self.field.matrix([self.gradient_of(a) for f in self.new_jets for a in f])
        return (J * covariance * J.transpose()).entries()

    def last(self, P: list[list]) -> list[list]:
        """The block of the last layer."""
        start = self.q.num_params - self.q.layer_sizes[-1]
        return [row[start:] for row in P[start:]]

    def last_layer_laplace(self, P: list[list]) -> Values:
        covariance = self.field.matrix(self.last(P)).inv()
        start = self.q.num_params - self.q.layer_sizes[-1]
        return {"laplace.lastlayer.covariance": lower(covariance.tolist()),
                "predictive.lastlayer.variance": self.projected(covariance, start)}

    def class_probabilities(self, values: Values) -> Values:
        """The probit approximation σ(f/√(1 + π v/8)), and with softmax for σ: arithmetic on the definition."""
        name = PROBIT.get(self.q.likelihood)
        if name is None or not hasattr(self.field, "pi"):
            return {}
        k, result = self.q.num_outputs, []
        for n, f in enumerate(self.new_jets):
            v = [values["predictive.glm.variance"][n * k * k + i * (k + 1)] for i in range(k)]
            result += self.family.mean([a.value / (1 + self.field.pi() * b / 8).sqrt() for a, b in zip(f, v)])
        return {name: result}

    def expectations(self, variance: list) -> Values:
        """E[y] under the normal distribution of the outputs."""
        k = self.q.num_outputs
        spread = [[variance[(n * k + i) * k:(n * k + i + 1) * k] for i in range(k)] for n in range(len(self.q.X_new))]
        if not hasattr(self.field, "pi") or not asked_for(self.q.likelihood, spread):
            return {}
        return {"predictive.exact": [e for f, V in zip(self.new_jets, spread)
                                     for e in enclosed(self.field, self.q.likelihood, [a.value for a in f], V)]}

    @cached_property
    def kron_parts(self) -> dict[str, tuple[list[list], list[list]]]:
        """KFAC of the GGN and the diagonal blocks of P₀; with biases apart both without what lies between these and weights."""
        kfac, prior = self.structures.kfac(self.structures.of_ggn()), self.structures.inside(self.q.prior_precision)
        return {KRON: (kfac, prior), SPLIT: (self.structures.tensors_apart(kfac), self.structures.tensors_apart(prior))}

    def kron_precision(self, prefix: str) -> list[list]:
        return self.precision_of(*self.kron_parts[prefix])

    def precision_of(self, curvature: list[list], prior: list[list]) -> list[list]:
        return [[a + b for a, b in zip(*rows)] for rows in zip(curvature, prior)]

    def kron_laplace(self, prefix: str) -> Values:
        name = prefix.removeprefix("laplace.")
        covariance = self.field.matrix(self.kron_precision(prefix)).inv()
        together = self.structures.together([self.structures.block_of(covariance.tolist(), layer)
                                             for layer in range(len(self.q.layer_sizes))])
        return {prefix + "covariance": lower(together), f"predictive.{name}variance": self.projected(covariance),
                **self.posteriors.traces(name, self.kron_precision(prefix), self.kron_parts[prefix][1])}

    def hessian_laplace(self) -> Values:
        P = self.precision(self.hessian)
        return {"laplace.hessian.precision": lower(P),
                "laplace.hessian.covariance": lower(self.field.matrix(P).inv().tolist())}

    def scalars(self, prefixes: tuple[str, ...]) -> Values:
        """Everything that holds a logarithm; log-determinants of the precisions with these prefixes."""
        constants = sum((self.family.constant(y) for y in self.q.y), self.zero)
        loss = total(self.datum_losses).value + constants
        joint = self.log_prior() - loss
        result = {"loss": loss, "log_joint": joint}
        half_log_two_pi = self.field.log(self.field.pi() * 2) / 2
        for prefix, P in self.precisions(prefixes).items():
            log_det = self.field.log(self.field.matrix(P).det())
            result[prefix + "log_det"] = log_det
            if prefix not in PARTS:
                result[prefix + "log_evidence"] = joint + half_log_two_pi * self.q.num_params - log_det / 2
        variational = Variational(self)
        found = variational.values() | variational.full() if self.q.variational else {}
        if GGN in prefixes and self.q.variational:
            found |= variational.laplace(self.precision(self.ggn))
        if GGN in prefixes:
            result |= self.slopes(loss, constants) | self.posteriors.scalars(loss, constants, result)
            found |= low_rank.by_definition(self, joint) if self.q.low_rank else {}
            found |= {"gp.loo.log_density": self.posteriors.left_out()} if self.posteriors.has_noise else {}
        for prefix in (prefix for prefix in (KRON, SPLIT) if prefix in prefixes):
            result |= self.posteriors.noise_slope(prefix.removeprefix("laplace."), self.kron_precision(prefix),
                                                  self.kron_parts[prefix][0], loss - constants)
        return {name: [value] for name, value in result.items()} | found

    def precisions(self, prefixes: tuple[str, ...]) -> dict[str, list[list]]:
        """Every precision that has a log-determinant, by its prefix."""
        of = {GGN: lambda: self.precision(self.ggn), HESSIAN: lambda: self.precision(self.hessian),
              KRON: lambda: self.kron_precision(KRON), SPLIT: lambda: self.kron_precision(SPLIT)}
        found = {prefix: of[prefix]() for prefix in prefixes}
        if GGN in prefixes:
            p = range(self.q.num_params)
            found["laplace.diag."] = [[found[GGN][i][i] if i == j else self.zero for j in p] for i in p]
        if GGN in prefixes and self.q.structures:
            found["laplace.lastlayer."] = self.last(found[GGN])
            found["laplace.subset."] = self.posteriors.chosen(found[GGN])
        return found

    def slopes(self, loss: Any, constants: Any) -> dict[str, Any]:
        """By log τ, of the evidence with τ P₀ for P₀ at τ = 1; by log σ², of which the loss without constants is a multiple."""
        P, matrix = self.precision(self.ggn), self.field.matrix
        d = [a - b for a, b in zip(self.q.theta, self.q.prior_mean)]
        square = sum((d[i] * t * d[j] for i, row in enumerate(self.q.prior_precision) for j, t in enumerate(row)), self.zero)
        relative = matrix(P).solve(matrix(self.q.prior_precision))
        trace = sum((relative[i, i] for i in range(len(P))), self.zero)
        result = {"laplace.evidence.prior": (len(P) - square - trace) / 2}
        if self.q.likelihood == "normal":
            of_data = matrix(P).solve(matrix(self.ggn))
            trace = sum((of_data[i, i] for i in range(len(P))), self.zero)
            count = len(self.q.X) * self.q.num_outputs
            result["laplace.evidence.noise"] = loss - constants - (count - trace) / 2
        return result

    def log_prior(self) -> Any:
        """log N(θ; μ, P₀⁻¹)."""
        d = [a - b for a, b in zip(self.q.theta, self.q.prior_mean)]
        square = sum((d[i] * t * d[j] for i, row in enumerate(self.q.prior_precision) for j, t in enumerate(row)),
                     self.zero)
        log_det = self.field.log(self.field.matrix(self.q.prior_precision).det())
        return (log_det - square - self.field.log(self.field.pi() * 2) * len(d)) / 2


PROBIT = {"bernoulli": "predictive.probit", "categorical": "predictive.probit.multiclass"}


def _add_outer(matrix: list[list], left: list, right: list, factor: Any) -> None:
    """matrix += factor · left rightᵀ."""
    for i, a in enumerate(left):
        scaled = a * factor
        row = matrix[i]
        for j, b in enumerate(right):
            row[j] = row[j] + scaled * b


def _kinked(derivation: Derivation, z: Any, below: Any) -> tuple:
    """z above the kink, a constant times z below it. A case with a point on the kink is refused."""
    side = derivation.field.sign(z)
    if side == 0:
        raise ValueError("a pre-activation lies exactly on the kink: choose other inputs")
    slope = derivation.one if side > 0 else below
    return slope * z, slope, derivation.zero, derivation.zero


PIECEWISE = {
    "identity": lambda d, z: (z, d.one, d.zero, d.zero),
    "square": lambda d, z: (z * z, z + z, d.one, d.zero),       # (z + t)² = z² + 2 z t + t²
    "relu": lambda d, z: _kinked(d, z, d.zero),
    "leaky_relu": lambda d, z: _kinked(d, z, d.q.slope),
}


def _tanh(t: flint.arb_series, field: Interval) -> flint.arb_series:
    e = (t + t).exp()
    return (e - 1) / (e + 1)


def _sigmoid(t: flint.arb_series, field: Interval) -> flint.arb_series:
    return 1 / (1 + (-t).exp())


def _gelu_tanh(t: flint.arb_series, field: Interval) -> flint.arb_series:
    """Hendrycks & Gimpel (2016): ½ t (1 + tanh(√(2/π) (t + 0.044715 t³)))."""
    cubic = flint.arb(flint.fmpq(44715, 1000000))
    return t * (1 + _tanh((2 / field.pi()).sqrt() * (t + cubic * t * t * t), field)) / 2


TRANSCENDENTAL = {
    "tanh": _tanh,
    "sigmoid": _sigmoid,
    "softplus": lambda t, field: (1 + t.exp()).log(),
    "sin": lambda t, field: t.sin(),
    "silu": lambda t, field: t * _sigmoid(t, field),
    "gelu": lambda t, field: t * (1 + (t / flint.arb(2).sqrt()).erf()) / 2,
    "gelu_tanh": _gelu_tanh,
    "erf": lambda t, field: t.erf(),
}
