"""Route A, structures: blocks, Kronecker factors and kernels, from what they mean.

    pre-activation curvature   B_n, the Hessian of ℓ_n, f replaced by its tangent, in a shift of every pre-activation
    KFAC                       (Σ_n B_n) ⊗ (1/N) Σ_n ā ā'
    KFRA                       the same with averages passed backward by matrix products
    EKFAC                      Σ_ij tr(Π_ij G_l) Π_ij, Π_ij = P_i ⊗ Q_j projectors on KFAC's eigenvectors
    empirical Fisher, centred  from gradients whose mean was taken away
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from .jets import Jet, total, variable

if TYPE_CHECKING:
    from .derive import Derivation

Matrix = list[list[Any]]


class Structures:
    """The structured values of a Derivation."""

    def __init__(self, derivation: Derivation) -> None:
        self.d, self.q = derivation, derivation.q
        self.zero, self.one = derivation.zero, derivation.one
        self.depth = len(self.q.layer_sizes)

    # -- order of the parameters --------------------------------------------------------------------------------

    def places(self, layer: int) -> list[tuple[int, int]]:
        """(unit, input) of the layer's parameters in θ's order; the last input is the constant 1 of a bias."""
        fan_in, fan_out = self.q.sizes[layer:layer + 2]
        weights = [(i, j) for i in range(fan_out) for j in range(fan_in)]
        return weights + ([(i, fan_in) for i in range(fan_out)] if self.q.bias else [])

    def start(self, layer: int) -> int:
        return sum(self.q.layer_sizes[:layer])

    def empty(self) -> Matrix:
        return [[self.zero] * self.q.num_params for _ in range(self.q.num_params)]

    def together(self, blocks: list[Matrix]) -> Matrix:
        """A block-diagonal matrix."""
        M = self.empty()
        for layer, block in enumerate(blocks):
            at = self.start(layer)
            for i, row in enumerate(block):
                M[at + i][at:at + len(row)] = row
        return M

    def by_unit(self, M: Matrix) -> Matrix:
        """Zero but where row and column belong to one unit."""
        unit = [(layer, i) for layer in range(self.depth) for i, _ in self.places(layer)]
        return [[v if unit[r] == unit[c] else self.zero for c, v in enumerate(row)] for r, row in enumerate(M)]

    def block_of(self, M: Matrix, layer: int) -> Matrix:
        span = slice(self.start(layer), self.start(layer) + self.q.layer_sizes[layer])
        return [row[span] for row in M[span]]

    def inside(self, M: Matrix) -> Matrix:
        """Zero outside the diagonal blocks of the layers."""
        return self.together([self.block_of(M, layer) for layer in range(self.depth)])

    def tensors_apart(self, M: Matrix) -> Matrix:
        """Zero between weights and biases."""
        bias = [j == self.q.sizes[layer] for layer in range(self.depth) for _, j in self.places(layer)]
        return [[v if bias[r] == bias[c] else self.zero for c, v in enumerate(row)] for r, row in enumerate(M)]

    # -- one datum ----------------------------------------------------------------------------------------------

    @cached_property
    def data(self) -> list[tuple[list[list], list[Jet]]]:
        """(ā of every layer, tangents of f in the shifts of all pre-activations) for every datum."""
        return [self.shifted(x) for x in self.q.X]

    def shifted(self, x: list) -> tuple[list[list], list[Jet]]:
        parameters, shifts = iter(self.q.theta), iter(range(sum(self.q.sizes[1:])))
        signal, inputs = [Jet(value) for value in x], []
        for layer, width in enumerate(self.q.sizes[1:]):
            if layer:
                signal = [self.d.activated(z) for z in signal]
            inputs.append([a.value for a in signal] + ([self.one] if self.q.bias else []))
            z = [total([a.scaled(next(parameters)) for a in signal]) for _ in range(width)]
            z = [s.shifted(next(parameters)) for s in z] if self.q.bias else z
            signal = [s + variable(self.zero, next(shifts), self.one) for s in z]
        return inputs, [a.linearised() for a in signal]

    def by_layer(self, entry: Any) -> list[Matrix]:
        """The diagonal blocks, one a layer, of a matrix over all shifts given entry by entry."""
        blocks, at = [], 0
        for width in self.q.sizes[1:]:
            blocks.append([[entry(at + i, at + j) for j in range(width)] for i in range(width)])
            at += width
        return blocks

    # -- pre-activation curvature, summed over data ----------------------------------------------------------------

    def summed(self, per_datum: list[list[Matrix]]) -> list[Matrix]:
        return [_sum(layer) for layer in zip(*per_datum)]

    def of_ggn(self) -> list[Matrix]:
        """Hessians of ℓ in the shifts, with f linear in them."""
        losses = [self.d.nll(f, y) for (_, f), y in zip(self.data, self.q.y)]
        return self.summed([self.by_layer(lambda i, j: loss.second.get((min(i, j), max(i, j)), self.zero))
                            for loss in losses])

    def of_fisher(self) -> list[Matrix]:
        """Jᵀ E[r rᵀ] J with J by the shifts."""
        per_datum = []
        for _, f in self.data:
            moments = self.d.score_moments([a.value for a in f])
            terms = [(a.first, b.first, m) for a, row in zip(f, moments) for b, m in zip(f, row) if m is not None]
            per_datum.append(self.by_layer(lambda i, j: sum(
                (a[i] * m * b[j] for a, b, m in terms if i in a and j in b), self.zero)))
        return self.summed(per_datum)

    def of_gradients(self, targets: list) -> list[Matrix]:
        """δ δᵀ at the given targets."""
        gradients = [self.d.nll(f, y).first for (_, f), y in zip(self.data, targets)]
        return self.summed([self.by_layer(lambda i, j: g[i] * g[j] if i in g and j in g else self.zero)
                            for g in gradients])

    # -- Kronecker factors ------------------------------------------------------------------------------------------

    @cached_property
    def input_factors(self) -> list[Matrix]:
        """(1/N) Σ_n ā ā' of every layer."""
        return [[[sum((a[layer][i] * a[layer][j] for a, _ in self.data), self.zero) / len(self.data)
                  for j in range(len(self.data[0][0][layer]))] for i in range(len(self.data[0][0][layer]))]
                for layer in range(self.depth)]

    def kronecker(self, layer: int, B: Matrix, A: Matrix) -> Matrix:
        return [[B[i][u] * A[j][v] for u, v in self.places(layer)] for i, j in self.places(layer)]

    def kfac(self, unit_factors: list[Matrix]) -> Matrix:
        return self.together([self.kronecker(layer, B, A)
                              for layer, (B, A) in enumerate(zip(unit_factors, self.input_factors))])

    def kfra(self) -> Matrix:
        """B̄_L = (1/N) Σ Λ_n, B̄_l = (W' B̄_{l+1} W) ⊙ (1/N) Σ φ′ φ′'; N B̄_l ⊗ A_l (Botev et al. 2017)."""
        matrix, n = self.d.field.matrix, len(self.data)
        factors = [[[value / n for value in row] for row in self.of_ggn()[-1]]]
        for layer in range(self.depth - 1, 0, -1):
            W, at = [], self.start(layer)
            for i in range(self.q.sizes[layer + 1]):
                W.append(self.q.theta[at + i * self.q.sizes[layer]:at + (i + 1) * self.q.sizes[layer]])
            passed = (matrix(W).transpose() * matrix(factors[0]) * matrix(W)).tolist()
            slopes = [self.slopes(x, layer) for x in self.q.X]
            width = range(self.q.sizes[layer])
            factors.insert(0, [[passed[i][j] * sum((s[i] * s[j] for s in slopes), self.zero) / n for j in width]
                               for i in width])
        return self.kfac([[[value * n for value in row] for row in B] for B in factors])

    def slopes(self, x: list, layer: int) -> list:
        """φ′ at the pre-activations that feed this layer."""
        parameters, signal, last = iter(self.q.theta), x, []
        for width in self.q.sizes[1:layer + 1]:
            z = [sum((a * next(parameters) for a in signal), self.zero) for _ in range(width)]
            z = [value + next(parameters) for value in z] if self.q.bias else z
            series = [self.d.series(value) for value in z]
            signal, last = [s[0] for s in series], [s[1] for s in series]
        return last

    def ekfac(self, split: bool) -> Matrix:
        """The exact diagonal of every block in KFAC's eigenbasis."""
        G, units = self.d.ggn, self.of_ggn()
        blocks = []
        for layer, (B, A) in enumerate(zip(units, self.input_factors)):
            block = self.block_of(G, layer)
            places = self.places(layer)
            fan_in = self.q.sizes[layer]
            parts = [(0, fan_in), (fan_in, fan_in + 1)] if split and self.q.bias else [(0, len(A))]
            result = [[self.zero] * len(places) for _ in places]
            for low, high in parts:
                inside = [(p, i, j - low) for p, (i, j) in enumerate(places) if low <= j < high]
                for P in self.d.field.projectors(B):
                    for Q in self.d.field.projectors([row[low:high] for row in A[low:high]]):
                        _add_projection(result, block, inside, P, Q, self.zero)
            blocks.append(result)
        return self.together(blocks)

    # -- matrices over parameters and data -------------------------------------------------------------------------

    def centred(self) -> Matrix:
        """Σ (g − ḡ)(g − ḡ)'."""
        moved, p = self.d.centred(), range(self.q.num_params)
        return [[sum((g[i] * g[j] for g in moved), self.zero) for j in p] for i in p]

    def vanloan(self) -> Matrix:
        """𝓡 Π per layer, 𝓡 the block with rows (i, u), columns (j, v), Π on the leading right singular vector."""
        blocks, G, matrix = [], self.d.ggn, self.d.field.matrix
        for layer in range(self.depth):
            places, block = self.places(layer), self.block_of(G, layer)
            at = {place: r for r, place in enumerate(places)}
            units, inputs = (sorted({place[side] for place in places}) for side in (0, 1))
            R = matrix([[block[at[i, j]][at[u, v]] for j in inputs for v in inputs] for i in units for u in units])
            nearest = (R * self.leading(R.transpose() * R)).tolist()
            k, w = len(units), len(inputs)
            blocks.append([[nearest[units.index(i) * k + units.index(u)][inputs.index(j) * w + inputs.index(v)]
                            for u, v in places] for i, j in places])
        return self.together([[[(row[c] + block[c][r]) / 2 for c in range(len(row))] for r, row in enumerate(block)]
                              for block in blocks])

    def leading(self, A: Any) -> Any:
        """u uᵀ for the leading eigenvector of A ⪰ 0, by squaring: B = A^(2^m)/tr, with a bound for what is left.

        B = Σ w_i u_i u_iᵀ, Σ w = 1, and tr B² = Σ w_i² <= max w_i = 1 − ε, so that ‖B − u uᵀ‖ <= 2ε. Where a row of A is an
        exact zero, u has one.
        """
        size, enough = A.nrows(), self.d.field.tiny().sqrt()
        A = A / _trace(A)
        for _ in range(64):
            small = 2 * (1 - _trace(A * A)) < enough
            A = A * A
            A = A / _trace(A)
            if small:       # and now squared once more
                ball = self.d.field.around(2 * (1 - _trace(A * A)))
                seen = [not all(A[i, j].is_zero() for j in range(size)) for i in range(size)]
                return self.d.field.matrix([[A[i, j] + ball if seen[i] and seen[j] else A[i, j] for j in range(size)]
                                            for i in range(size)])
        raise ZeroDivisionError("two leading singular values cannot be told apart")

    def gram(self) -> list:
        """g_n · g_m."""
        rows = self.d.field.matrix(self.d.gradients(self.q.y))
        return (rows * rows.transpose()).entries()

    def ntk(self) -> list:
        """J Jᵀ, row by row, from the gradients of all outputs."""
        J = [self.d.gradient_of(a) for f in self.d.output_jets for a in f]
        return (self.d.field.matrix(J) * self.d.field.matrix(J).transpose()).entries()

    def values(self) -> dict[str, list]:
        """Everything, flat. EKFAC is there where the field has eigenvectors and the question asks for it."""
        G, H, last = self.d.ggn, self.d.hessian, self.depth - 1
        matrices = {
            "ggn.blockdiag": self.together([self.block_of(G, layer) for layer in range(self.depth)]),
            "hessian.blockdiag": self.together([self.block_of(H, layer) for layer in range(self.depth)]),
            "ggn.neuronblocks": self.by_unit(G), "ggn.lastlayer": self.block_of(G, last),
            "hessian.lastlayer": self.block_of(H, last), "ggn.subset": self.d.posteriors.chosen(G),
            "ggn.kfac": self.kfac(self.of_ggn()), "ggn.kfra": self.kfra(),
            "fisher.kfac": self.kfac(self.of_fisher()), "fisher.empirical.centred": self.centred(),
            "fisher.empirical.kfac": self.kfac(self.of_gradients(self.q.y)),
            "fisher.mc.kfac": self.kfac(self.of_gradients(self.q.labels))}
        if self.q.ekfac and hasattr(self.d.field, "projectors"):
            matrices |= {"ggn.ekfac": self.ekfac(False), "ggn.ekfac.split": self.ekfac(True)}
        if hasattr(self.d.field, "projectors"):
            matrices["ggn.vanloan"] = self.vanloan()
        packed = {name: [v for i, row in enumerate(M) for v in row[:i + 1]] for name, M in matrices.items()}
        return packed | {"ntk": self.ntk(), "fisher.empirical.gram": self.gram()}


def _trace(A: Any) -> Any:
    return sum((A[i, i] for i in range(1, A.nrows())), A[0, 0])


def _sum(matrices: list[Matrix] | tuple[Matrix, ...]) -> Matrix:
    result = [list(row) for row in matrices[0]]
    for M in matrices[1:]:
        for i, row in enumerate(M):
            for j, value in enumerate(row):
                result[i][j] = result[i][j] + value
    return result


def _add_projection(result: Matrix, block: Matrix, inside: list[tuple[int, int, int]], P: Matrix, Q: Matrix,
                    zero: Any) -> None:
    """result += tr(Π block) Π with Π = P ⊗ Q on the rows (place, unit, input) of `inside`."""
    entries = [(a, b, P[i][u] * Q[j][v]) for a, i, j in inside for b, u, v in inside]
    weight = sum((value * block[a][b] for a, b, value in entries), zero)
    for a, b, value in entries:
        result[a][b] = result[a][b] + weight * value
