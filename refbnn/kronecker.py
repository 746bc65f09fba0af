"""Kronecker-factored curvature: KFAC, KFLR, EKFAC, KFRA and the nearest Kronecker product of every layer.

A datum adds B_n ⊗ ā_n ā_nᵀ to the block of a layer, with B_n = Δ_nᵀ M_n Δ_n (Δ = ∂f/∂z, ā = (a, 1)): one Kronecker product a
datum, exactly. Their sum is none; everything here replaces it by a single product B ⊗ A, or by a diagonal matrix in the
eigenbasis of one. All of it takes a Pullback without v, so that GGN, exact Fisher, sampled Fisher and empirical Fisher differ
in what the Pullback was made from and in nothing else.

In an MLP each weight is used once a datum: the "expand" and "reduce" variants of KFAC for shared weights (Eschenhagen et al.
2023) are the same matrix here.

Order. The Kronecker order is (unit, input), row-major: entry (i, j) of [W b] is B's row i and A's row j. Papers that stack the
columns of W write A ⊗ B for the same matrix. θ holds W and then b, so that a joint block's [W b] differs from θ by a
permutation, which `KroneckerFactors.matrix` and its products undo.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from refbnn.blocks import Blocks
from refbnn.linalg import NotPositiveDefinite, symmetric_part
from refbnn.networks.assembly import Layout
from refbnn.networks.pullback import Pullback
from refbnn.networks.rows import Rows
from refbnn.networks.signals import Signals, transpose
from refbnn.precision import FromScale
from refbnn.shapes import Matrix, Parameters, Vector, as_array, as_positive

DENSE_EIGENPROBLEM = 64  # below this size an eigenvector costs least from the matrix itself


# -- blocks of one layer ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BlockShape:
    """How the parameters of a block stand in a (units, inputs) array: with a bias, its last column comes after the rest."""

    units: int
    inputs: int
    bias: bool

    @property
    def num_params(self) -> int:
        """p."""
        return self.units * self.inputs

    @property
    def layout(self) -> Layout:
        """That of a network of this layer alone."""
        return Layout((self.inputs - self.bias, self.units), self.bias)

    def rows(self, v: Parameters) -> np.ndarray:
        """v in θ's order as [W b]: (*s units inputs)."""
        (W, b), = self.layout.unflatten(as_array("v", v, "*s p", p=self.num_params))
        return W if b is None else np.concatenate([W, b[..., None]], axis=-1)

    def flat(self, V: np.ndarray) -> Parameters:
        """The inverse of `rows`: (*s p)."""
        return self.layout.flatten([(V[..., :-1], V[..., -1]) if self.bias else (V, None)])


@dataclass(frozen=True)
class KroneckerFactors:
    """B ⊗ A for B (units units) and A (inputs inputs), both symmetric; `bias`: whether A's last row is that of the constant 1.

    The parameters are in θ's order: the weights row-major, then the biases.
    """

    B: np.ndarray
    A: np.ndarray
    bias: bool

    @property
    def num_params(self) -> int:
        """p."""
        return len(self.B) * len(self.A)

    def rows(self, v: Parameters) -> np.ndarray:
        """v as [W b], the columns of A last: (*s units inputs)."""
        return self._shape.rows(v)

    def matrix(self) -> Matrix:
        """B ⊗ A in θ's order, exactly symmetric if B and A are: (p p)."""
        block = np.empty((self.num_params, self.num_params))
        self._shape.layout.write(block, 0, 0, self.B[:, :, None, None] * self.A)
        return block

    def diagonal(self) -> Vector:
        """B_ii A_jj: (p)."""
        return self._shape.flat(np.outer(np.diagonal(self.B), np.diagonal(self.A)))

    def matvec(self, v: Parameters) -> Parameters:
        """(B ⊗ A) vec V = vec(B V A) for row-major vec and symmetric A, Eq. (vec-kronecker): (*s p)."""
        return self._shape.flat(self.B @ self._shape.rows(v) @ self.A)

    def eigen(self) -> KroneckerEigen:
        """The same through B = U_B diag β U_Bᵀ and A = U_A diag α U_Aᵀ."""
        (beta, U_B), (alpha, U_A) = np.linalg.eigh(self.B), np.linalg.eigh(self.A)
        return KroneckerEigen(U_B, U_A, np.outer(beta, alpha), self.bias)

    def plus(self, precision: float) -> KroneckerPrecision:
        """B ⊗ A + λI, exactly: its eigenvalues are β_i α_j + λ, Eq. (kronecker-log-det)."""
        return self.eigen().plus(precision)

    def damped(self, root: float) -> KroneckerFactors:
        """(B + ρI) ⊗ (A + ρI), an approximation of B ⊗ A + ρ²I that stays a Kronecker product, Eq. (damping).

        It is larger by ρ(B ⊗ I + I ⊗ A) ⪰ 0, so that a posterior with it has too little variance (Martens & Grosse 2015, section
        6.3, where it serves optimisation). `plus` is exact and costs the same.
        """
        root = as_positive("root", root)
        return KroneckerFactors(self.B + root * np.eye(len(self.B)), self.A + root * np.eye(len(self.A)), self.bias)

    @property
    def _shape(self) -> BlockShape:
        return BlockShape(len(self.B), len(self.A), self.bias)


@dataclass(frozen=True)
class KroneckerEigen:
    """(U_B ⊗ U_A) diag(values) (U_B ⊗ U_A)ᵀ with orthogonal U_B, U_A and `values` (units inputs), in θ's order.

    Of a Kronecker product the values are β_i α_j; EKFAC has others.
    """

    U_B: np.ndarray
    U_A: np.ndarray
    values: np.ndarray
    bias: bool

    @property
    def num_params(self) -> int:
        """p."""
        return self.values.size

    def matrix(self) -> Matrix:
        """The full matrix, exactly symmetric: (p p)."""
        basis = self._out_of_basis(np.eye(self.num_params).reshape(-1, *self.values.shape)).T
        return symmetric_part((basis * self.values.ravel()) @ basis.T)

    def diagonal(self) -> Vector:
        """Σ_kl U_B[i k]² values_kl U_A[j l]²: (p)."""
        return self._shape.flat(self.U_B**2 @ self.values @ self.U_A.T**2)

    def matvec(self, v: Parameters) -> Parameters:
        """The product with v: (*s p)."""
        return self._out_of_basis(self._into_basis(v) * self.values)

    def squares(self, v: Parameters) -> np.ndarray:
        """The squared coordinates of v, summed over its leading axis: (t p) to (units inputs)."""
        return (self._into_basis(v) ** 2).sum(0)

    def plus(self, precision: float) -> KroneckerPrecision:
        """The same plus λI, exactly. Raises NotPositiveDefinite unless every eigenvalue is positive."""
        return KroneckerPrecision(self.U_B, self.U_A, self.values + precision, self.bias)

    @property
    def _shape(self) -> BlockShape:
        return BlockShape(*self.values.shape, self.bias)

    def _into_basis(self, v: Parameters) -> np.ndarray:
        """U_Bᵀ V U_A: the coordinates of v, (*s units inputs)."""
        return self.U_B.T @ self._shape.rows(v) @ self.U_A

    def _out_of_basis(self, V: np.ndarray) -> Parameters:
        """vec(U_B V U_Aᵀ): (*s p)."""
        return self._shape.flat(self.U_B @ V @ self.U_A.T)


@dataclass(frozen=True)
class KroneckerPrecision(KroneckerEigen):
    """A positive-definite KroneckerEigen: one block of a precision, with the protocol of refbnn.precision.

    Raises NotPositiveDefinite with the smallest eigenvalue unless all are positive.
    """

    def __post_init__(self):
        if not (self.values > 0).all():
            smallest = self.values.min()
            raise NotPositiveDefinite(
                f"precision: expected a positive-definite matrix, got one with smallest eigenvalue {smallest:.6g}"
            )

    def solve(self, v: Parameters) -> Parameters:
        """P⁻¹ v, Eq. (kronecker-inverse): (*s p)."""
        return self._out_of_basis(self._into_basis(v) / self.values)

    def scale_matvec(self, z: Parameters) -> Parameters:
        """C z with C = (U_B ⊗ U_A) diag(values)^(−1/2), so that C Cᵀ = P⁻¹: (*s p)."""
        z = as_array("z", z, "*s p", p=self.num_params)
        return self._out_of_basis(z.reshape(*z.shape[:-1], *self.values.shape) / np.sqrt(self.values))

    def scale_transposed_matvec(self, v: Parameters) -> Parameters:
        """Cᵀ v: (*s p)."""
        return (self._into_basis(v) / np.sqrt(self.values)).reshape(v.shape)

    def log_det(self) -> float:
        """log |P| = Σ log of the eigenvalues, Eq. (kronecker-log-det)."""
        return float(np.log(self.values).sum())


@dataclass(frozen=True)
class MatrixNormal:
    """The precision of a layer whose weights [W b] = B Z Aᵀ for a (units inputs) array Z of standard normals: θ ~ N(0, P⁻¹).

    B (units units) and A (inputs inputs) are lower triangular with positive diagonals; P⁻¹ = B Bᵀ ⊗ A Aᵀ, Eq. (matrix-normal).
    `bias`: whether the last input is the constant 1. z and v stand in θ's order. Raises ValueError for other B and A.
    """

    B: np.ndarray
    A: np.ndarray
    bias: bool

    def __post_init__(self):
        object.__setattr__(self, "_rows", FromScale(self.B, "B"))
        object.__setattr__(self, "_columns", FromScale(self.A, "A"))

    @property
    def num_params(self) -> int:
        """p."""
        return len(self.B) * len(self.A)

    def matrix(self) -> Matrix:
        """(B Bᵀ)⁻¹ ⊗ (A Aᵀ)⁻¹ in θ's order: (p p)."""
        return KroneckerFactors(self._rows.matrix(), self._columns.matrix(), self.bias).matrix()

    def matvec(self, v: Parameters) -> Parameters:
        """P v: (*s p)."""
        return self._both("matvec", v)

    def solve(self, v: Parameters) -> Parameters:
        """P⁻¹ v: (*s p)."""
        return self._both("solve", v)

    def scale_matvec(self, z: Parameters) -> Parameters:
        """C z = vec(B Z Aᵀ): (*s p)."""
        return self._both("scale_matvec", z)

    def scale_transposed_matvec(self, v: Parameters) -> Parameters:
        """Cᵀ v = vec(Bᵀ V A): (*s p)."""
        return self._both("scale_transposed_matvec", v)

    def log_det(self) -> float:
        """log |P| = inputs · log |(B Bᵀ)⁻¹| + units · log |(A Aᵀ)⁻¹|."""
        return len(self.A) * self._rows.log_det() + len(self.B) * self._columns.log_det()

    def diagonal(self) -> Vector:
        """The diagonal of P: (p)."""
        return self._shape.flat(np.outer(self._rows.diagonal(), self._columns.diagonal()))

    @property
    def _shape(self) -> BlockShape:
        return BlockShape(len(self.B), len(self.A), self.bias)

    def _both(self, method: str, v: Parameters) -> Parameters:
        """The method of A on every row and of B on every column."""
        V = getattr(self._columns, method)(self._shape.rows(v))
        return self._shape.flat(np.swapaxes(getattr(self._rows, method)(np.swapaxes(V, -1, -2)), -1, -2))


# -- the approximations -----------------------------------------------------------------------------------------------------


def kfac(pullback: Pullback, split_bias: bool = False, block_size: int | None = None) -> Blocks:
    """B ⊗ A for every layer, B = Σ_n Δ_nᵀ M_n Δ_n and A = (1/N) Σ_n ā_n ā_nᵀ, Eq. (kfac) (Martens & Grosse 2015, section 3).

    What is left out of a layer's block is Σ_n (B_n − B̄) ⊗ (A_n − Ā), bars for means, Eq. (kfac-error): nothing for one datum,
    for equal inputs, or where B_n is the same for all data, as in the last layer with a Normal likelihood. From exact M, without
    sampling, this is what Botev et al. (2017) call KFLR. `split_bias`: weights with (1/N) Σ a aᵀ, biases with B, nothing
    between them. Indefinite M (a likelihood that is not log-concave) can give an indefinite B.
    `block_size` data at a time bound the memory. Raises ValueError for a Pullback with v (a Hessian).
    """
    total, num_data = None, _without_v(pullback).signals.num_data
    for piece in pullback.pieces(block_size):
        share = piece.num_data / num_data
        more = [(_sum_of_outer_products(deltas), share * _mean_of_outer_products(a), bias)
                for deltas, a, bias in _pieces(piece, split_bias)]
        total = more if total is None else [(B + B2, A + A2, bias) for (B, A, bias), (B2, A2, _) in zip(total, more)]
    return Blocks(tuple(KroneckerFactors(*factors) for factors in total))


def kfra(pullback: Pullback, split_bias: bool = False) -> Blocks:
    """KFAC with the *averaged* curvature passed backward, Eq. (kfra) (Botev et al. 2017, section 3.3).

    B̄_L = (1/N) Σ M_n, B̄_l = (W_{l+1}ᵀ B̄_{l+1} W_{l+1}) ⊙ (1/N) Σ φ′(z_l) φ′(z_l)ᵀ; the block is N B̄_l ⊗ A_l. One (d d) matrix
    a layer is passed back instead of one a datum. Equal to KFAC for one datum, and in a network of linear layers.
    """
    signals, n = _without_v(pullback).signals, pullback.signals.num_data
    B = _output_matrices(pullback).sum(-1)
    blocks = []
    for l in range(signals.depth - 1, -1, -1):
        layer = [KroneckerFactors(B, _mean_of_outer_products(a), bias) for a, bias in _inputs(signals, l, split_bias)]
        blocks = layer + blocks
        if l:
            W, slope = signals.weights[l], signals.slopes[l - 1][0]
            B = symmetric_part(W.T @ B @ W) * (slope @ slope.T / n)
    return Blocks(tuple(blocks))


def ekfac(pullback: Pullback, split_bias: bool = False) -> Blocks:
    """The layer's block restricted to a diagonal matrix in KFAC's eigenbasis, Eq. (ekfac) (George et al. 2018).

    values_ij = Σ_n (U_Bᵀ B_n U_B)_ii (U_Aᵀ ā_n)_j²: the exact diagonal there, one matrix product, the block is never formed. Of
    all matrices diagonal in that basis it is the nearest in Frobenius norm, so nearer than KFAC; the trace is the exact one.
    """
    blocks = []
    for (left, right), a, bias in _pieces(pullback, split_bias):
        basis = KroneckerFactors(_sum_of_outer_products((left, right)), _mean_of_outer_products(a), bias).eigen()
        turned = basis.U_B.T @ left
        own = (turned * (turned if right is left else basis.U_B.T @ right)).sum(0)
        values = own @ ((basis.U_A.T @ a) ** 2).T
        blocks.append(KroneckerEigen(basis.U_B, basis.U_A, values, bias))
    return Blocks(tuple(blocks))


def refit(basis: Blocks, rows: Rows) -> Blocks:
    """The diagonal matrix in the given eigenbasis, of `ekfac`, that is nearest to RᵀR: values_ij = Σ_n (U_Bᵀ [W b]_n U_A)_ij².

    [W b]_n is row n as a matrix. For the centred empirical Fisher matrix, whose blocks are no sums of one Kronecker product a
    datum, so that KFAC itself is not defined: refit(ekfac(at.empirical_fisher), at.centred_empirical_fisher). It has the exact
    trace, Eq. (ekfac). Raises ValueError for a basis of another number of parameters.
    """
    if basis.num_params != rows.num_params:
        raise ValueError(f"basis: expected one of {rows.num_params} parameters, got {basis.num_params}")
    return Blocks(tuple(
        KroneckerEigen(block.U_B, block.U_A, block.squares(rows.R[:, span]), block.bias)
        for block, span in zip(basis.blocks, basis.spans())
    ))


def nearest_kronecker(pullback: Pullback, split_bias: bool = False) -> Blocks:
    """For every layer the B ⊗ A nearest to its block in Frobenius norm, Eq. (van-loan) (Van Loan & Pitsianis 1993).

    ‖Σ B_n ⊗ A_n − B ⊗ A‖ = ‖Σ vec B_n vec(A_n)ᵀ − vec B vec(A)ᵀ‖: the leading singular pair of a (units² inputs²) matrix 𝓡,
    which is used only through products. For M ⪰ 0 both 𝓡 and 𝓡ᵀ map positive semidefinite matrices to such, so that the leading
    pair is positive semidefinite when it is unique. Only B ⊗ A is determined; here ‖A‖ = 1 unless the block is zero.
    """
    return Blocks(tuple(
        KroneckerFactors(*_leading_pair(deltas, a), bias) for deltas, a, bias in _pieces(pullback, split_bias)
    ))


def _leading_pair(deltas, a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(B, A): σ₁ times the left singular matrix of 𝓡, and the right one, from the eigenproblem on the smaller side."""
    def to_inputs(B):  # 𝓡ᵀ vec B = Σ_n ⟨B_n, B⟩ ā_n ā_nᵀ
        left, right = deltas
        return (a * ((B @ left) * right).sum((0, 1))) @ a.T

    def to_units(A):  # 𝓡 vec A = Σ_n ⟨ā_n ā_nᵀ, A⟩ B_n
        left, right = deltas
        weighted = left * ((A @ a) * a).sum(0)
        return (weighted @ transpose(right)).sum(0)

    units, inputs = deltas[0].shape[-2], len(a)
    if units <= inputs:
        A = to_inputs(_leading_eigenvector(lambda B: to_units(to_inputs(B)), units))
    else:
        A = _leading_eigenvector(lambda A: to_inputs(to_units(A)), inputs)
    A = symmetric_part(A) / (np.linalg.norm(A) or 1.0)
    return symmetric_part(to_units(A)), A


def _leading_eigenvector(apply, size: int) -> np.ndarray:
    """The leading eigenvector, symmetric with tr >= 0, of a symmetric positive semidefinite map of (size size) arrays."""
    from scipy.sparse.linalg import LinearOperator, eigsh  # here, not above: it would slow down `import refbnn`

    def on_vectors(x):
        return apply(x.reshape(size, size)).ravel()

    if size**2 <= DENSE_EIGENPROBLEM:
        operator = np.array([on_vectors(e) for e in np.eye(size**2)])
        vector = np.linalg.eigh(symmetric_part(operator))[1][:, -1]
    else:  # the identity is never orthogonal to a positive semidefinite matrix
        operator = LinearOperator((size**2, size**2), matvec=on_vectors, dtype=np.float64)
        start = np.eye(size).ravel()
        vector = eigsh(operator, k=1, v0=start)[1][:, 0] if on_vectors(start).any() else start
    found = symmetric_part(vector.reshape(size, size))
    return found if np.trace(found) >= 0 else -found


# -- what a layer is made of ------------------------------------------------------------------------------------------------


def _pieces(pullback: Pullback, split_bias: bool) -> Iterator[tuple]:
    """((left, right), a, bias) for every block: Σ_c left_c right_cᵀ = B_n with left, right (c units n), and the inputs a."""
    signals = _without_v(pullback).signals
    for l, deltas in enumerate(_factored_curvatures(pullback)):
        for a, bias in _inputs(signals, l, split_bias):
            yield deltas, a, bias


def _factored_curvatures(pullback: Pullback) -> list[tuple[np.ndarray, np.ndarray]]:
    """For every layer (left, right), (c units n) each, with B_n = Σ_c left_c right_cᵀ; the same array twice where S is known."""
    batched = pullback.signals.with_axis_for_outputs()
    if pullback.S is not None:
        return [(delta, delta) for delta in batched.backward(pullback.S)]
    M = _output_matrices(pullback)
    seeds = np.broadcast_to(np.eye(len(M))[..., None], M.shape)
    return list(zip(batched.backward(M), batched.backward(seeds)))


def _inputs(signals: Signals, l: int, split_bias: bool) -> list[tuple[np.ndarray, bool]]:
    """The inputs of the blocks of a layer, each with whether its last row is the constant 1 after weights."""
    if not (signals.bias and split_bias):
        return [(signals.augmented[l], signals.bias)]
    return [(signals.inputs[l], False), (np.ones((1, signals.num_data)), False)]


def _sum_of_outer_products(deltas) -> np.ndarray:
    """Σ_n Σ_c left_c right_cᵀ, exactly symmetric."""
    left, right = deltas
    return symmetric_part((left @ transpose(right)).sum(0))


def _mean_of_outer_products(a: np.ndarray) -> np.ndarray:
    """(1/N) Σ_n a_n a_nᵀ, exactly symmetric."""
    return symmetric_part(a @ a.T) / a.shape[-1]


def _output_matrices(pullback: Pullback) -> np.ndarray:
    """M (k k n), zero where the Pullback has none."""
    k, n = pullback.signals.f.shape
    return np.zeros((k, k, n)) if pullback.M is None else pullback.M


def _without_v(pullback: Pullback) -> Pullback:
    """The Pullback itself, or ValueError if it holds second derivatives of the network."""
    if pullback.v is not None:
        raise ValueError("pullback: expected one without v (a GGN or Fisher matrix), got one with v (a Hessian)")
    return pullback
