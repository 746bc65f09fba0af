"""Route B, structures: layer by layer from the signals δ^l and a^{l-1} of backpropagation, index by index.

With Δ^l_ki = ∂f_k/∂z^l_i for every datum: B^l = Δᵀ M Δ for the output matrix M, a block of the GGN is Σ_n B^l_n ⊗ ā ā', the
kernel is Σ_l (Δ Δ')(ā · ā'), the centred empirical Fisher matrix is Σ g g' − (1/N) (Σ g)(Σ g)'.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .closed import Answers

Matrix = list[list[Any]]


class Structures:
    """The structured values of `Answers`."""

    def __init__(self, answers: Answers) -> None:
        self.answers, self.c, self.q, self.zero = answers, answers.c, answers.q, answers.zero
        self.layers = range(len(self.q.sizes) - 1)

    @cached_property
    def signals(self) -> list[tuple[list, list]]:
        """(ā of every layer, Δ of every layer as one row per output) for every datum."""
        result = []
        for x in self.q.X:
            a, first, _ = self.c.forward(self.q.theta, x)
            k = range(self.q.num_outputs)
            back = [self.c.deltas(first, [self.c.one if u == c else self.zero for u in k]) for c in k]
            result.append(([self.c.inputs(a, l) for l in self.layers], [[d[l] for d in back] for l in self.layers]))
        return result

    def curved(self, l: int, outputs: list[Matrix]) -> list[Matrix]:
        """B^l_n = Δᵀ M_n Δ for every datum."""
        width, result = range(self.q.sizes[l + 1]), []
        for (_, deltas), M in zip(self.signals, outputs):
            D, k = deltas[l], range(len(M))
            half = [[sum((M[a][b] * D[b][j] for b in k), self.zero) for j in width] for a in k]
            result.append([[sum((D[a][i] * half[a][j] for a in k), self.zero) for j in width] for i in width])
        return result

    def input_factor(self, l: int) -> Matrix:
        rows = [inputs[l] for inputs, _ in self.signals]
        width = range(len(rows[0]))
        return [[sum((a[i] * a[j] for a in rows), self.zero) / len(rows) for j in width] for i in width]

    def factor(self, l: int, outputs: list[Matrix]) -> Matrix:
        """Σ_n B^l_n."""
        each = self.curved(l, outputs)
        width = range(len(each[0]))
        return [[sum((B[i][j] for B in each), self.zero) for j in width] for i in width]

    def written(self, terms: Any) -> Matrix:
        """A block-diagonal matrix from (layer, B, A): the sum of B ⊗ A, each entry at its place."""
        M = self.answers.zeros()
        for l, B, A in terms:
            for i, row in enumerate(B):
                for u, b in enumerate(row):
                    for j, line in enumerate(A):
                        for v, a in enumerate(line):
                            M[self.c.place(l, i, j)][self.c.place(l, u, v)] += b * a
        return M

    def kfac(self, outputs: list[Matrix]) -> Matrix:
        return self.written((l, self.factor(l, outputs), self.input_factor(l)) for l in self.layers)

    def blocks(self, outputs: list[Matrix]) -> Matrix:
        """Σ_n B_n ⊗ ā ā', layer by layer."""
        return self.written((l, B, [[a * b for b in inputs[l]] for a in inputs[l]])
                            for l in self.layers for B, (inputs, _) in zip(self.curved(l, outputs), self.signals))

    def units(self, outputs: list[Matrix]) -> Matrix:
        """Σ_n (B_n)_ii ā ā', unit by unit."""
        return self.written((l, [[v if i == u else self.zero for u, v in enumerate(row)] for i, row in enumerate(B)],
                             [[a * b for b in inputs[l]] for a in inputs[l]])
                            for l in self.layers for B, (inputs, _) in zip(self.curved(l, outputs), self.signals))

    def kfra(self, outputs: list[Matrix]) -> Matrix:
        """S_L = Σ Λ_n, S_l,ij = (1/N) Σ_uw W_ui S_{l+1},uw W_wj Σ_n φ′_ni φ′_nj."""
        n, B = len(self.q.X), self.factor(self.layers[-1], outputs)
        slopes = [self.c.forward(self.q.theta, x)[1] for x in self.q.X]
        terms = [(self.layers[-1], B, self.input_factor(self.layers[-1]))]
        for l in reversed(self.layers[:-1]):
            after, width = range(self.q.sizes[l + 2]), range(self.q.sizes[l + 1])
            W = [[self.c.weight(self.q.theta, l + 1, u, i) for i in width] for u in after]
            B = [[sum((W[u][i] * B[u][w] * W[w][j] for u in after for w in after), self.zero)
                  * sum((s[l + 1][i] * s[l + 1][j] for s in slopes), self.zero) / n for j in width] for i in width]
            terms.append((l, B, self.input_factor(l)))
        return self.written(terms)

    def ekfac(self, outputs: list[Matrix], split: bool) -> Matrix:
        """Σ_ij s_ij P_i ⊗ Q_j with s_ij = Σ_n tr(P_i B_n) ā' Q_j ā."""
        def terms() -> Any:
            for l in self.layers:
                B, A = self.curved(l, outputs), self.input_factor(l)
                units = self.c.field.projectors(self.factor(l, outputs))
                for low, high in self.parts(l, split):
                    for Q in self.c.field.projectors([row[low:high] for row in A[low:high]]):
                        wide = self.widened(Q, low, len(A))
                        onto = [_quadratic(wide, inputs[l], self.zero) for inputs, _ in self.signals]
                        for P in units:
                            weight = sum((_trace(P, M, self.zero) * o for M, o in zip(B, onto)), self.zero)
                            yield l, [[weight * v for v in row] for row in P], wide
        return self.written(terms())

    def parts(self, l: int, split: bool) -> list[tuple[int, int]]:
        """Ranges of inputs that are treated apart."""
        fan_in = self.q.sizes[l]
        if not self.q.bias:
            return [(0, fan_in)]
        return [(0, fan_in), (fan_in, fan_in + 1)] if split else [(0, fan_in + 1)]

    def widened(self, Q: Matrix, low: int, size: int) -> Matrix:
        M = [[self.zero] * size for _ in range(size)]
        for i, row in enumerate(Q):
            M[low + i][low:low + len(row)] = row
        return M

    def centred(self) -> Matrix:
        M = self.answers.outer(self.q.y)
        rows = [self.answers.gradient(J, r) for J, r in zip(self.answers.J, self.answers.r)]
        whole = [sum(column, self.zero) for column in zip(*rows)]
        return [[v - whole[i] * whole[j] / len(rows) for j, v in enumerate(row)] for i, row in enumerate(M)]

    def vanloan(self, outputs: list[Matrix]) -> Matrix:
        """B ⊗ A with B = Σ_n ⟨A, ā_n ā_n'⟩ B_n, A the leading eigenvector of Σ_nm ⟨B_n, B_m⟩ (ā_n ā_n') ⊗ (ā_m ā_m')."""
        return self.written(self.nearest(l, self.curved(l, outputs)) for l in self.layers)

    def nearest(self, l: int, B: list[Matrix]) -> tuple[int, Matrix, Matrix]:
        """(l, B, A); symmetric pairs of inputs j <= v count once, weighted √2 off the diagonal."""
        rows, width = [inputs[l] for inputs, _ in self.signals], range(len(self.signals[0][0][l]))
        square, pairs, root = self.paired(l, B)
        found = self.c.field.leading(square)
        A = [[found[pairs.index((min(j, v), max(j, v)))] / (root if j != v else 1) for v in width] for j in width]
        weights = [_quadratic(A, a, self.zero) for a in rows]
        units = range(len(B[0]))
        return l, [[sum((w * M[i][u] for w, M in zip(weights, B)), self.zero) for u in units] for i in units], A

    def paired(self, l: int, B: list[Matrix]) -> tuple[Matrix, list[tuple[int, int]], Any]:
        """The symmetric matrix whose eigenvector is A, its pairs of inputs and √2."""
        rows, width = [inputs[l] for inputs, _ in self.signals], range(len(self.signals[0][0][l]))
        pairs, root = [(j, v) for j in width for v in width if j <= v], self.c.field.sqrt(self.c.field.number(2))
        flat = [[a[j] * a[v] * (root if j != v else self.c.one) for j, v in pairs] for a in rows]
        alike = [[_trace(one, two, self.zero) for two in B] for one in B]
        half = [[_dot(row, column, self.zero) for column in zip(*flat)] for row in alike]
        return [[_dot(left, right, self.zero) for right in zip(*half)] for left in zip(*flat)], pairs, root

    def gram(self) -> list:
        """r_n' (J_n J_m') r_m."""
        a, k = self.answers, range(self.q.num_outputs)
        kernel, size = self.ntk(), len(self.q.X) * self.q.num_outputs
        r = [[a.c.residual(f, y)[i] for i in k] for f, y in zip(a.f, self.q.y)]
        data = range(len(r))
        return [sum((r[n][i] * r[m][j] * kernel[(n * len(k) + i) * size + m * len(k) + j] for i in k for j in k), self.zero)
                for n in data for m in data]

    def ntk(self) -> list:
        k, data = range(self.q.num_outputs), self.signals
        return [sum((_dot(one[1][l][a], two[1][l][b], self.zero) * _dot(one[0][l], two[0][l], self.zero)
                     for l in self.layers), self.zero) for one in data for a in k for two in data for b in k]

    def values(self) -> dict[str, list]:
        """Everything, flat. EKFAC is there where the field has eigenvectors and the question asks for it."""
        q, c, G, H = self.q, self.c, self.answers.G, self.answers.H
        curvature = [c.curvature(f, y) for f, y in zip(self.answers.f, q.y)]
        fisher = [c.fisher(f) for f in self.answers.f]
        empirical, mc = ([_outer(c.residual(f, y)) for f, y in zip(self.answers.f, t)] for t in (q.y, q.labels))
        last = c.offsets[-1]
        matrices = {
            "ggn.blockdiag": self.blocks(curvature), "hessian.blockdiag": self.masked(H),
            "ggn.neuronblocks": self.units(curvature), "ggn.lastlayer": [row[last:] for row in G[last:]],
            "hessian.lastlayer": [row[last:] for row in H[last:]],
            "ggn.subset": [[G[i][j] for j in q.subset] for i in q.subset],
            "ggn.kfac": self.kfac(curvature), "ggn.kfra": self.kfra(curvature), "fisher.kfac": self.kfac(fisher),
            "fisher.empirical.centred": self.centred(), "fisher.empirical.kfac": self.kfac(empirical),
            "fisher.mc.kfac": self.kfac(mc)}
        if hasattr(c.field, "projectors"):
            matrices["ggn.vanloan"] = self.vanloan(curvature)
        if q.ekfac and hasattr(c.field, "projectors"):
            matrices |= {"ggn.ekfac": self.ekfac(curvature, False), "ggn.ekfac.split": self.ekfac(curvature, True)}
        packed = {name: [v for i, row in enumerate(M) for v in row[:i + 1]] for name, M in matrices.items()}
        return packed | {"ntk": self.ntk(), "fisher.empirical.gram": self.gram()}

    def masked(self, M: Matrix) -> Matrix:
        """Zero outside the diagonal blocks of the layers."""
        layer = [l for l, size in enumerate(self.q.layer_sizes) for _ in range(size)]
        return [[v if layer[i] == layer[j] else self.zero for j, v in enumerate(row)] for i, row in enumerate(M)]


def _dot(a: list, b: list, zero: Any) -> Any:
    return sum((x * y for x, y in zip(a, b)), zero)


def _outer(r: list) -> Matrix:
    return [[a * b for b in r] for a in r]


def _trace(P: Matrix, M: Matrix, zero: Any) -> Any:
    return sum((_dot(a, b, zero) for a, b in zip(P, M)), zero)


def _quadratic(Q: Matrix, a: list, zero: Any) -> Any:
    return _dot([_dot(row, a, zero) for row in Q], a, zero)
