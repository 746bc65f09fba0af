"""Route B: every quantity from formulas, index by index (Bishop 1992, "Exact calculation of the Hessian matrix").

With δ^l_i = ∂v/∂z^l_i and B^m_{uw} = ∂²v/∂z^m_u ∂z^m_w for v = Σ_k v_k f_k, T^{lm}_{wi} = ∂z^m_w/∂z^l_i and l <= m:

    ∂v/∂W^l_ij              = δ^l_i a^{l-1}_j
    ∂²v/∂W^l_ij ∂W^m_uv     = a^{l-1}_j ( Σ_w B^m_{uw} T^{lm}_{wi} a^{m-1}_v + δ^m_u φ'(z^{m-1}_v) T^{l,m-1}_{vi} [m > l] )

A bias is a weight on the constant 1. The Hessian of the loss is G + R, with r and Λ in closed form.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import factorial
from typing import Any

from . import low_rank
from .closed_likelihoods import FORMS
from .closed_posteriors import Posteriors
from .closed_structures import Structures
from .closed_variational import Variational
from .fields import Number
from .integrals import asked_for, summed
from .question import Question

Values = dict[str, Any]


class Closed:
    """All quantities of one question in one field, from closed forms."""

    def __init__(self, lifted: Question, field: Any) -> None:
        """`lifted`: the question already in the field's numbers (the condition numbers perturb those)."""
        self.q, self.field = lifted, field
        self.zero, self.one = field.number(0), field.number(1)
        self.form = FORMS[lifted.likelihood](lifted, field)
        self.offsets = [sum(lifted.layer_sizes[:l]) for l in range(len(lifted.layer_sizes))]

    # -- the network ------------------------------------------------------------------------------------------

    def weight(self, theta: list, l: int, i: int, j: int) -> Number:
        """W^l_ij, from its place in θ."""
        return theta[self.offsets[l] + i * self.q.sizes[l] + j]

    def place(self, l: int, i: int, j: int) -> int:
        """Where ∂/∂W^l_ij stands; j = fan-in means the bias b^l_i."""
        fan_in, fan_out = self.q.sizes[l], self.q.sizes[l + 1]
        return self.offsets[l] + (fan_out * fan_in + i if j == fan_in else i * fan_in + j)

    def forward(self, theta: list, x: list) -> tuple[list, list, list]:
        """(a, φ', φ'') per layer: a[l] is the input of layer l; the derivatives belong to a[l], from l = 1 on."""
        a, first, second = [x], [None], [None]
        depth = len(self.q.sizes) - 1
        for l in range(depth):
            z = [sum((self.weight(theta, l, i, j) * a[l][j] for j in range(self.q.sizes[l])), self.bias(theta, l, i))
                 for i in range(self.q.sizes[l + 1])]
            hidden = [self.activation(v) for v in z] if l < depth - 1 else [(v, None, None) for v in z]
            for table, column in zip((a, first, second), zip(*hidden)):
                table.append(list(column))
        return a, first, second

    def bias(self, theta: list, l: int, i: int) -> Number:
        return theta[self.place(l, i, self.q.sizes[l])] if self.q.bias else self.zero

    def activation(self, z: Number) -> tuple:
        return ACTIVATIONS[self.q.activation](self.field, z, self.q.slope)

    def deltas(self, first: list, seed: list) -> list[list]:
        """δ^l for every layer, from ∂v/∂f = seed backwards."""
        depth = len(self.q.sizes) - 1
        delta = [None] * depth
        delta[-1] = seed
        for l in range(depth - 2, -1, -1):
            delta[l] = [first[l + 1][i] * sum((self.weight(self.q.theta, l + 1, u, i) * delta[l + 1][u]
                                               for u in range(self.q.sizes[l + 2])), self.zero)
                        for i in range(self.q.sizes[l + 1])]
        return delta

    def inputs(self, a: list, l: int) -> list:
        """a^{l-1}, and a 1 for the bias."""
        return a[l] + [self.one] if self.q.bias else a[l]

    def jacobian(self, x: list) -> tuple[list, list[list]]:
        """f and ∂f_k/∂θ."""
        a, first, _ = self.forward(self.q.theta, x)
        rows = []
        for k in range(self.q.num_outputs):
            delta = self.deltas(first, [self.one if u == k else self.zero for u in range(self.q.num_outputs)])
            row = [self.zero] * self.q.num_params
            for l, signals in enumerate(delta):
                for i, d in enumerate(signals):
                    for j, value in enumerate(self.inputs(a, l)):
                        row[self.place(l, i, j)] = d * value
            rows.append(row)
        return a[-1], rows

    def output_hessian(self, x: list, v: list) -> list[list]:
        """Σ_k v_k ∇²f_k."""
        a, first, second = self.forward(self.q.theta, x)
        delta = self.deltas(first, v)
        B = self.signal_hessians(first, second, delta)
        depth = len(self.q.sizes) - 1
        H = [[self.zero] * self.q.num_params for _ in range(self.q.num_params)]
        for l in range(depth - 1):
            T = self.transfer(first, l)
            for m in range(l, depth):
                self.fill_block(H, l, m, a, first, delta, B, T)
        return H

    def signal_hessians(self, first: list, second: list, delta: list) -> list:
        """B^m = D Wᵀ B^{m+1} W D + diag(φ''(z^m) Wᵀ δ^{m+1}); zero at the output."""
        sizes, theta = self.q.sizes, self.q.theta
        depth = len(sizes) - 1
        B = [None] * depth
        B[-1] = [[self.zero] * sizes[-1] for _ in range(sizes[-1])]
        for m in range(depth - 2, -1, -1):
            after, width = range(sizes[m + 2]), range(sizes[m + 1])
            W = [[self.weight(theta, m + 1, s, u) for u in width] for s in after]
            half = [[sum((B[m + 1][s][t] * W[t][w] for t in after), self.zero) for w in width] for s in after]
            B[m] = [[first[m + 1][u] * first[m + 1][w] * sum((W[s][u] * half[s][w] for s in after), self.zero)
                     for w in width] for u in width]
            for u in width:
                B[m][u][u] += second[m + 1][u] * sum((W[s][u] * delta[m + 1][s] for s in after), self.zero)
        return B

    def transfer(self, first: list, l: int) -> dict[int, list[list]]:
        """T^{lm} for m >= l: T^{ll} = 1, T^{l,m+1} = W^{m+1} diag(φ'(z^m)) T^{lm}."""
        sizes = self.q.sizes
        T = {l: [[self.one if w == i else self.zero for i in range(sizes[l + 1])] for w in range(sizes[l + 1])]}
        for m in range(l, len(sizes) - 2):
            T[m + 1] = [[sum((self.weight(self.q.theta, m + 1, w, s) * first[m + 1][s] * T[m][s][i]
                              for s in range(sizes[m + 1])), self.zero)
                         for i in range(sizes[l + 1])] for w in range(sizes[m + 2])]
        return T

    def fill_block(self, H: list, l: int, m: int, a: list, first: list, delta: list, B: list, T: dict) -> None:
        """Second derivatives by weights of layers l <= m, both triangles."""
        left, right = self.inputs(a, l), self.inputs(a, m)
        for i in range(self.q.sizes[l + 1]):
            BT = [sum((B[m][u][w] * T[m][w][i] for w in range(len(T[m]))), self.zero) for u in range(len(B[m]))]
            for u in range(self.q.sizes[m + 1]):
                for v, signal in enumerate(right):
                    mixed = BT[u] * signal
                    if m > l and v < self.q.sizes[m]:
                        mixed = mixed + delta[m][u] * first[m][v] * T[m - 1][v][i]
                    for j, value in enumerate(left):
                        r, c = self.place(l, i, j), self.place(m, u, v)
                        H[r][c] = H[c][r] = value * mixed

    # -- the likelihood ----------------------------------------------------------------------------------------

    def residual(self, f: list, y: Any) -> list:
        """∂ℓ/∂f."""
        return self.form.residual(f, y)

    def mean(self, f: list) -> list:
        """E[y | f]."""
        return self.form.mean(f)

    def curvature(self, f: list, y: Any) -> list[list]:
        """Λ = ∂²ℓ/∂f²."""
        return self.form.curvature(f, y)

    def fisher(self, f: list) -> list[list]:
        """E[r rᵀ]."""
        return self.form.fisher(f)

    def loss(self, f: list, y: Any) -> Number:
        """−log p(y | f)."""
        return self.form.loss(f, y)

    # -- the answers ------------------------------------------------------------------------------------------

    def values(self, prefixes: tuple[str, ...], with_logs: bool = True) -> Values:
        """Every quantity, flat; of the precisions those with these prefixes. `with_logs` is off for exact rationals."""
        return Answers(self).all(prefixes, with_logs)


class Answers:
    """The quantities of one `Closed`, assembled. Differences are of order 2·reach."""

    def __init__(self, closed: Closed, reach: int = 8) -> None:
        self.reach = reach
        self.c, self.q, self.zero = closed, closed.q, closed.zero
        pairs = [closed.jacobian(x) for x in self.q.X]
        self.f, self.J = [f for f, _ in pairs], [J for _, J in pairs]
        self.new = [closed.jacobian(x) for x in self.q.X_new]
        self.r = [closed.residual(f, y) for f, y in zip(self.f, self.q.y)]
        self.G = self.pulled_back([closed.curvature(f, y) for f, y in zip(self.f, self.q.y)])
        self.H = self.hessian()

    def pulled_back(self, outputs: list[list[list]]) -> list[list]:
        """Σ_n Σ_ab J_na M_nab J_nb."""
        G = self.zeros()
        for curvature, J in zip(outputs, self.J):
            weighted = [[sum((row[b] * J[b][i] for b in range(len(J))), self.zero) for i in range(len(J[0]))]
                        for row in curvature]
            for i in range(len(G)):
                for j in range(i + 1):
                    G[i][j] += sum((J[a][i] * weighted[a][j] for a in range(len(J))), self.zero)
        return _mirrored(G)

    def hessian(self) -> list[list]:
        H = [list(row) for row in self.G]
        for x, r in zip(self.q.X, self.r):
            R = self.c.output_hessian(x, r)
            for i, row in enumerate(R):
                for j, value in enumerate(row):
                    H[i][j] += value
        return H

    def zeros(self) -> list[list]:
        return [[self.zero] * self.q.num_params for _ in range(self.q.num_params)]

    def outer(self, targets: list) -> list[list]:
        """Σ_n g_n g_nᵀ with g_n = Σ_a J_na r_na."""
        M = self.zeros()
        for g in self.gradients(targets):
            for i in range(len(g)):
                for j in range(i + 1):
                    M[i][j] += g[i] * g[j]
        return _mirrored(M)

    def gradient(self, J: list[list], r: list) -> list:
        return [sum((J[a][i] * r[a] for a in range(len(r))), self.zero) for i in range(self.q.num_params)]

    def all(self, prefixes: tuple[str, ...], with_logs: bool) -> Values:
        values = self.basic()
        curvatures = {"laplace.": self.G, "laplace.hessian.": self.H}
        for prefix in prefixes:
            values |= self.kron_laplace(prefix, with_logs) if prefix.startswith("laplace.kron.") else \
                self.laplace(prefix, curvatures[prefix], with_logs)
        if "laplace." in prefixes:
            values |= self.diagonal_laplace(with_logs) | (self.last_layer_laplace(with_logs) if self.q.structures else {})
            values |= self.posteriors.values(values["predictive.glm.variance"], with_logs)
        if with_logs and "laplace." in prefixes:
            values |= self.expectations(values["predictive.glm.variance"])
            values |= low_rank.in_closed_form(self, ldl, _inverse, _projected) if self.q.low_rank else {}
        if with_logs:
            loss, joint = self.loss(), self.log_joint()
            values |= self.variational_values("laplace." in prefixes)
            values |= {"loss": [loss], "log_joint": [joint]}
        return values

    @property
    def posteriors(self) -> Posteriors:
        return Posteriors(self, ldl, _inverse, _solved, _projected)

    def basic(self) -> Values:
        H, G, F, p = self.H, self.G, self.pulled_back([self.c.fisher(f) for f in self.f]), range(self.q.num_params)
        empirical = self.outer(self.q.y)
        gradients, sampled = self.gradients(self.q.y), self.gradients(self.q.labels)
        whole = [sum(column, self.zero) for column in zip(*gradients)]
        along = _dot(whole, self.q.vector, self.zero) / len(gradients)
        third = {} if self.q.is_quadratic else {"third.vv": self.third()}
        return {"forward": [v for f in self.f for v in f],
                "jacobian": [v for J in self.J for row in J for v in row],
                "jacobian.vp": [_dot(row, self.q.vector, self.zero) for J in self.J for row in J],
                "gradient": [sum(column, self.zero) for column in zip(*gradients)],
                "ggn.full": _lower(G), "ggn.diag": [G[i][i] for i in p], "ggn.vp": self.carried(self.c.curvature),
                "hessian.full": _lower(H), "hessian.diag": [H[i][i] for i in p],
                "hessian.hvp": [_dot(row, self.q.vector, self.zero) for row in H],
                "fisher.full": _lower(F), "fisher.diag": [F[i][i] for i in p],
                "fisher.vp": self.carried(lambda f, y: self.c.fisher(f)),
                "fisher.empirical": _lower(empirical), "fisher.empirical.diag": [empirical[i][i] for i in p],
                "fisher.empirical.vp": self.spread(gradients),
                "fisher.empirical.centred.diag": [empirical[i][i] - whole[i] * whole[i] / len(gradients) for i in p],
                "fisher.empirical.centred.vp": [a - b * along for a, b in zip(self.spread(gradients), whole)],
                "fisher.mc": _lower(self.outer(self.q.labels)), "fisher.mc.vp": self.spread(sampled),
                "fisher.mc.diag": [sum((g[i] * g[i] for g in sampled), self.zero) for i in p],
                "predictive.glm.mean": [v for f, _ in self.new for v in f],
                "predictive.mc": self.mean_of_draws()} | third | (Structures(self).values() if self.q.structures else {})

    def gradients(self, targets: list) -> list[list]:
        """Jᵀ r of every datum."""
        return [self.gradient(J, self.c.residual(f, y)) for f, J, y in zip(self.f, self.J, targets)]

    def third(self) -> list:
        """d²/dt² ∇loss(θ + t v) by a central difference of order 2K: weights 2 (−1)^(k+1) (K!)²/(k² (K − k)! (K + k)!)."""
        K, v = self.reach, self.q.vector
        h = self.c.field.step(K)
        sums = [g * -2 * sum((self.c.field.number(Fraction(1, k * k)) for k in range(1, K + 1)), self.zero)
                for g in self.slope_at(self.q.theta)]
        for k in range(1, K + 1):
            weight = self.c.field.number(Fraction(2 * (-1) ** (k + 1) * factorial(K) ** 2,
                                                  k * k * factorial(K - k) * factorial(K + k)))
            ends = [self.slope_at([a + sign * k * h * b for a, b in zip(self.q.theta, v)]) for sign in (1, -1)]
            sums = [s + weight * (a + b) for s, a, b in zip(sums, *ends)]
        return [s / (h * h) for s in sums]

    def slope_at(self, theta: list) -> list:
        """∇loss at another θ, by backpropagation of the residuals."""
        moved, result = Closed(replace(self.q, theta=theta), self.c.field), [self.zero] * len(theta)
        for x, y in zip(self.q.X, self.q.y):
            a, first, _ = moved.forward(theta, x)
            for l, signals in enumerate(moved.deltas(first, moved.residual(a[-1], y))):
                for i, d in enumerate(signals):
                    for j, value in enumerate(moved.inputs(a, l)):
                        result[moved.place(l, i, j)] += d * value
        return result

    def carried(self, output: Any) -> list:
        """Σ_n Jᵀ (M (J v)), without a matrix over the parameters."""
        result = [self.zero] * self.q.num_params
        for f, J, y in zip(self.f, self.J, self.q.y):
            moved = [_dot(row, self.q.vector, self.zero) for row in J]
            bent = [_dot(row, moved, self.zero) for row in output(f, y)]
            result = [a + b for a, b in zip(result, self.gradient(J, bent))]
        return result

    def spread(self, gradients: list[list]) -> list:
        """Σ_n g (g · v)."""
        sizes = [_dot(g, self.q.vector, self.zero) for g in gradients]
        return [sum((g[i] * s for g, s in zip(gradients, sizes)), self.zero) for i in range(self.q.num_params)]

    def mean_of_draws(self) -> list:
        means = [[m for x in self.q.X_new for m in self.c.mean(self.c.forward(draw, x)[0][-1])]
                 for draw in self.q.draws]
        return [sum(column, self.zero) / len(means) for column in zip(*means)]

    def laplace(self, prefix: str, curvature: list[list], with_logs: bool) -> Values:
        """Through P = L D Lᵀ, where route A inverts and takes a determinant."""
        P = [[a + b for a, b in zip(*rows)] for rows in zip(curvature, self.q.prior_precision)]
        L, D = ldl(P, self.zero)
        S = _inverse(L, D, self.zero)
        values = {prefix + "precision": _lower(P), prefix + "covariance": _lower(S)}
        if prefix == "laplace.":
            values |= {"laplace.covariance.diag": [S[i][i] for i in range(len(S))],
                       "laplace.covariance.vp": _solved(L, D, self.q.vector, self.zero)}
            values["predictive.glm.variance"] = [v for _, J in self.new for v in _projected(L, D, J, self.zero)]
            values["predictive.joint"] = _projected(L, D, [row for _, J in self.new for row in J], self.zero)
            if with_logs:
                values |= self.slopes(S) | self.class_probabilities(values["predictive.glm.variance"])
        if with_logs:
            values |= self.volume(prefix, D)
        return values

    def volume(self, prefix: str, D: list) -> Values:
        """log |P| from its pivots, and the evidence."""
        log_det = sum((self.c.field.log(d) for d in D), self.zero)
        evidence = self.log_joint() + (len(D) * self.c.field.log(2 * self.c.field.pi()) - log_det) / 2
        return {prefix + "log_det": [log_det], prefix + "log_evidence": [evidence]}

    def diagonal_laplace(self, with_logs: bool) -> Values:
        """P_ii alone."""
        P = [self.G[i][i] + self.q.prior_precision[i][i] for i in range(self.q.num_params)]
        spread = [sum((a * b / t for a, b, t in zip(left, right, P)), self.zero)
                  for _, J in self.new for left in J for right in J]
        return {"laplace.diag.variance": [1 / t for t in P], "predictive.diag.variance": spread} | (
            self.volume("laplace.diag.", P) if with_logs else {})

    def last_layer_laplace(self, with_logs: bool) -> Values:
        """The block of P of the last layer."""
        start = self.c.offsets[-1]
        P = [[a + b for a, b in zip(*rows)][start:] for rows in zip(self.G[start:], self.q.prior_precision[start:])]
        L, D = ldl(P, self.zero)
        spread = [v for _, J in self.new for v in _projected(L, D, [row[start:] for row in J], self.zero)]
        values = {"laplace.lastlayer.covariance": _lower(_inverse(L, D, self.zero)), "predictive.lastlayer.variance": spread}
        return values | ({"laplace.lastlayer.log_det": self.volume("", D)["log_det"]} if with_logs else {})

    def kron_laplace(self, prefix: str, with_logs: bool) -> Values:
        """Block by block: the blocks of a block-diagonal matrix know nothing of each other."""
        name = prefix.removeprefix("laplace.")
        prior, values = self.kron_blocks(self.q.prior_precision, prefix), self.zeros()
        P, pivots, spread = self.kron_precision(prefix), [], [[self.zero] * len(J) ** 2 for _, J in self.new]
        for span in self.kron_spans(prefix):
            L, D = ldl([row[span] for row in P[span]], self.zero)
            pivots += D
            for row, found in zip(values[span], _inverse(L, D, self.zero)):
                row[span] = found
            spread = [[a + b for a, b in zip(done, _projected(L, D, [row[span] for row in J], self.zero))]
                      for done, (_, J) in zip(spread, self.new)]
        return {prefix + "covariance": _lower(values), f"predictive.{name}variance": [v for each in spread for v in each]} | (
            self.volume(prefix, pivots) if with_logs else {}) | self.posteriors.slopes(name, [
                _dot(a, b, self.zero) for a, b in zip(values, prior)], with_logs)

    def kron_spans(self, prefix: str) -> list[slice]:
        """Where the blocks stand: layers, or every weight matrix and every bias."""
        spans = []
        for start, size, out in zip(self.c.offsets, self.q.layer_sizes, self.q.sizes[1:]):
            middle = start + size - (out if self.q.bias and prefix.endswith("split.") else 0)
            spans += [slice(a, b) for a, b in ((start, middle), (middle, start + size)) if a < b]
        return spans

    def kron_blocks(self, M: list[list], prefix: str) -> list[list]:
        """Zero outside the blocks."""
        result = self.zeros()
        for span in self.kron_spans(prefix):
            for i in range(span.start, span.stop):
                result[i][span] = M[i][span]
        return result

    def kron_precision(self, prefix: str) -> list[list]:
        kfac = Structures(self).kfac([self.c.curvature(f, y) for f, y in zip(self.f, self.q.y)])
        whole = [[a + b for a, b in zip(*rows)] for rows in zip(kfac, self.q.prior_precision)]
        return self.kron_blocks(whole, prefix)

    def slopes(self, S: list[list]) -> Values:
        """Of the evidence at fixed θ, by log τ (P₀ → τ P₀) and by log σ²: the trace of S P₀, and, as S P = 1, that of S G."""
        p, P0 = range(self.q.num_params), self.q.prior_precision
        d = [a - b for a, b in zip(self.q.theta, self.q.prior_mean)]
        trace = sum((S[i][j] * P0[i][j] for i in p for j in p), self.zero)
        quadratic = sum((P0[i][j] * d[i] * d[j] for i in p for j in p), self.zero)
        values = {"laplace.evidence.prior": [(len(d) - quadratic - trace) / 2]}
        if self.q.likelihood == "normal":
            errors = sum(((a - t) * (a - t) for f, y in zip(self.f, self.q.y) for a, t in zip(f, y)), self.zero)
            count = len(self.f) * self.q.num_outputs
            values["laplace.evidence.noise"] = [(errors / self.q.variance - count + len(d) - trace) / 2]
        return values

    def class_probabilities(self, variance: list) -> Values:
        """κ = (1 + π v/8)^(−1/2); σ(κf) and softmax(κf)."""
        name = {"bernoulli": "predictive.probit", "categorical": "predictive.probit.multiclass"}.get(self.q.likelihood)
        if name is None:
            return {}
        k, result = self.q.num_outputs, []
        for n, (f, _) in enumerate(self.new):
            v = [variance[n * k * k + i * k + i] for i in range(k)]
            scaled = [a * self.c.field.exp(-self.c.field.log(1 + self.c.field.pi() * b / 8) / 2) for a, b in zip(f, v)]
            result += self.c.form.mean(scaled)
        return {name: result}

    def variational_values(self, with_laplace: bool = False) -> Values:
        """Bounds at the given normals, and divergences."""
        variational = Variational(self, ldl, _inverse)
        values = variational.values() | variational.full() if self.q.variational else {}
        return values | (variational.laplace(self.posteriors.precision) if self.q.variational and with_laplace else {})

    def expectations(self, variance: list) -> Values:
        """E[y] under the normal distribution of the outputs."""
        k = self.q.num_outputs
        spread = [[variance[(n * k + i) * k:(n * k + i + 1) * k] for i in range(k)] for n in range(len(self.new))]
        if not asked_for(self.q.likelihood, spread):
            return {}
        return {"predictive.exact": [e for (f, _), V in zip(self.new, spread)
                                     for e in summed(self.c.field, self.q.likelihood, f, V)]}

    def loss(self) -> Number:
        return sum((self.c.loss(f, y) for f, y in zip(self.f, self.q.y)), self.zero)

    def log_joint(self) -> Number:
        """−loss + log N(θ; μ, P₀⁻¹), with ‖√D Lᵀ (θ − μ)‖² for the quadratic form."""
        L, D = ldl(self.q.prior_precision, self.zero)
        d = [a - b for a, b in zip(self.q.theta, self.q.prior_mean)]
        u = [sum((L[i][j] * d[i] for i in range(j, len(d))), self.zero) for j in range(len(d))]
        log, two_pi = self.c.field.log, 2 * self.c.field.pi()
        density = sum((log(t) - log(two_pi) - t * s * s for t, s in zip(D, u)), self.zero) / 2
        return density - self.loss()


def ldl(A: list[list], zero: Number) -> tuple[list[list], list]:
    """A = L D Lᵀ with a unit lower triangle. The pivots D are positive if and only if A is positive definite."""
    n = len(A)
    L, D = [[zero] * n for _ in range(n)], []
    for j in range(n):
        scaled = [L[j][k] * D[k] for k in range(j)]
        D.append(A[j][j] - sum((L[j][k] * scaled[k] for k in range(j)), zero))
        L[j][j] = zero + 1
        for i in range(j + 1, n):
            L[i][j] = (A[i][j] - sum((L[i][k] * scaled[k] for k in range(j)), zero)) / D[j]
    return L, D


def _forward_solve(L: list[list], b: list, zero: Number) -> list:
    """L⁻¹ b."""
    x: list = []
    for i, value in enumerate(b):
        x.append(value - sum((L[i][k] * x[k] for k in range(i)), zero))
    return x


def _solved(L: list[list], D: list, b: list, zero: Number) -> list:
    """L⁻ᵀ D⁻¹ L⁻¹ b."""
    x = [u / d for u, d in zip(_forward_solve(L, b, zero), D)]
    for i in range(len(x) - 1, -1, -1):
        x[i] = x[i] - sum((L[k][i] * x[k] for k in range(i + 1, len(x))), zero)
    return x


def _inverse(L: list[list], D: list, zero: Number) -> list[list]:
    """L⁻ᵀ D⁻¹ L⁻¹."""
    n = len(D)
    columns = []
    for j in range(n):      # column j of L⁻¹, which starts at row j
        x = {j: zero + 1}
        for i in range(j + 1, n):
            x[i] = -sum((L[i][k] * x[k] for k in range(j, i)), zero)
        columns.append(x)
    M = [[zero] * n for _ in range(n)]
    for i in range(n):
        for j in range(i + 1):
            M[i][j] = sum((columns[i][k] * columns[j][k] / D[k] for k in range(i, n)), zero)
    return _mirrored(M)


def _projected(L: list[list], D: list, J: list[list], zero: Number) -> list:
    """J P⁻¹ Jᵀ, flat."""
    rows = [_forward_solve(L, row, zero) for row in J]
    return [sum((a * b / d for a, b, d in zip(left, right, D)), zero) for left in rows for right in rows]


def _dot(a: list, b: list, zero: Number) -> Number:
    return sum((x * y for x, y in zip(a, b)), zero)


def _lower(matrix: list[list]) -> list:
    return [value for i, row in enumerate(matrix) for value in row[:i + 1]]


def _mirrored(M: list[list]) -> list[list]:
    """The upper triangle from the lower one."""
    for i in range(len(M)):
        for j in range(i):
            M[j][i] = M[i][j]
    return M


# -- activations: (φ, φ', φ'') in closed form ---------------------------------------------------------------------

def _sigmoid(field: Any, z: Number) -> Number:
    return 1 / (1 + field.exp(-z))


def _tanh(field: Any, z: Number, slope: Number) -> tuple:
    t = field.tanh(z)
    return t, 1 - t * t, -2 * t * (1 - t * t)


def _logistic(field: Any, z: Number, slope: Number) -> tuple:
    s = _sigmoid(field, z)
    return s, s * (1 - s), s * (1 - s) * (1 - 2 * s)


def _softplus(field: Any, z: Number, slope: Number) -> tuple:
    s = _sigmoid(field, z)
    return field.log(1 + field.exp(z)), s, s * (1 - s)


def _sin(field: Any, z: Number, slope: Number) -> tuple:
    return field.sin(z), field.cos(z), -field.sin(z)


def _silu(field: Any, z: Number, slope: Number) -> tuple:
    s, first, second = _logistic(field, z, slope)
    return z * s, s + z * first, 2 * first + z * second


def _gelu(field: Any, z: Number, slope: Number) -> tuple:
    """z Φ(z): derivatives Φ + z ϕ and (2 − z²) ϕ."""
    cumulative = (1 + field.erf(z / field.sqrt(field.number(2)))) / 2
    density = field.exp(-z * z / 2) / field.sqrt(2 * field.pi())
    return z * cumulative, cumulative + z * density, (2 - z * z) * density


def _gelu_tanh(field: Any, z: Number, slope: Number) -> tuple:
    cubic, c = field.number(44715) / 1000000, field.sqrt(2 / field.pi())
    t, first, second = _tanh(field, c * (z + cubic * z * z * z), slope)
    u1, u2 = c * (1 + 3 * cubic * z * z), 6 * c * cubic * z
    return z * (1 + t) / 2, (1 + t) / 2 + z * first * u1 / 2, first * u1 + z * (second * u1 * u1 + first * u2) / 2


def _erf(field: Any, z: Number, slope: Number) -> tuple:
    first = 2 * field.exp(-z * z) / field.sqrt(field.pi())
    return field.erf(z), first, -2 * z * first


def _relu(field: Any, z: Number, slope: Number) -> tuple:
    zero, one = field.number(0), field.number(1)
    return (z, one, zero) if field.sign(z) > 0 else (zero, zero, zero)


def _leaky_relu(field: Any, z: Number, slope: Number) -> tuple:
    zero, one = field.number(0), field.number(1)
    return (z, one, zero) if field.sign(z) > 0 else (slope * z, slope, zero)


ACTIVATIONS = {
    "identity": lambda field, z, slope: (z, field.number(1), field.number(0)),
    "square": lambda field, z, slope: (z * z, 2 * z, field.number(2)),
    "relu": _relu, "leaky_relu": _leaky_relu, "tanh": _tanh, "sigmoid": _logistic, "softplus": _softplus,
    "sin": _sin, "silu": _silu, "gelu": _gelu, "gelu_tanh": _gelu_tanh, "erf": _erf,
}
