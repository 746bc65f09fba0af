"""Dense second-derivative matrices of a multilayer perceptron, assembled block by block in BLAS-3.

The second derivative of Σ_n h_n(f_n) in θ, with M_n = ∂²h_n/∂f² and v_n = ∂h_n/∂f, has for layers m >= l the block

    Σ_n  K_ml ⊗ ā_{m-1} ā_{l-1}ᵀ  +  [m > l] δ_m ⊗ T_ml ⊗ ā_{l-1},     K_ml = ∂²h/∂z_m∂z_l,  T_ml = ∂a_{m-1}/∂z_l,

Eq. (assembly). With v = 0 that is the Gauss-Newton matrix Σ JᵀMJ; with both it is the exact Hessian, at nearly the same cost.
The sum over data of each term is one matrix product: K (d_m·d_l, n) times the pairs ā ā (w_m·w_l, n). The number of outputs
does not enter. In a diagonal block both factors are symmetric, so only their triangles are multiplied: a quarter of the work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import accumulate

import numpy as np

from refbnn.networks import packed
from refbnn.networks.signals import Carried, Given, Layers, Signals, product, transpose
from refbnn.shapes import as_count

BLOCK_BYTES = 2**23  # the largest factor formed for one block of data: big enough for BLAS, small enough for the cache
FEW_COLUMNS = 2  # up to here pairs of δ cost less than the recursion of B
LEAST_BLOCK = 128  # data: with fewer, adding up the blocks' products costs more than the products
WRITE_BYTES = 2**20  # the most of a block that is unpacked at a time: it should stay in the cache until it is written
TRANSPOSED = 64  # rows of a block that are transposed at a time: they should stay in the cache
FORMING = 60  # flops of a matrix product in the time that forming one entry of its factors takes, roughly
WRITING = 150  # the same for putting one entry of a block where it belongs in θ's order


@dataclass(frozen=True)
class Layout:
    """Where the layers of a network with these sizes stand in θ: W (out x in, row-major), then b."""

    sizes: tuple[int, ...]
    bias: bool

    @property
    def num_params(self) -> int:
        """p."""
        return self._stops[-1]

    @property
    def depth(self) -> int:
        """The number of layers with weights."""
        return len(self.sizes) - 1

    def units(self, l: int) -> int:
        """d_l, the rows of W."""
        return self.sizes[l + 1]

    def width(self, l: int) -> int:
        """The inputs of a unit, the constant one of the bias included."""
        return self.sizes[l] + self.bias

    @cached_property
    def _stops(self) -> list[int]:
        return [0, *accumulate(out * (width + self.bias) for width, out in zip(self.sizes, self.sizes[1:]))]

    def span(self, l: int) -> slice:
        """The parameters of layer l."""
        return slice(self._stops[l], self._stops[l + 1])

    def weights_and_bias(self, l: int) -> tuple[slice, slice]:
        """The two parts of `span`; the second is empty without biases."""
        return self._parts[l]

    @cached_property
    def _parts(self) -> list[tuple[slice, slice]]:
        middles = [start + out * width for start, width, out in zip(self._stops, self.sizes, self.sizes[1:])]
        return [(slice(*ends[:2]), slice(*ends[1:])) for ends in zip(self._stops, middles, self._stops[1:])]

    def unflatten(self, theta: np.ndarray) -> Layers:
        """θ (*s p) as a list of (W (*s out in), b (*s out) or None): views."""
        batch = theta.shape[:-1]
        return [
            (theta[..., W].reshape(*batch, out, width), theta[..., b] if self.bias else None)
            for (W, b), width, out in zip(self._parts, self.sizes, self.sizes[1:])
        ]

    def matrices(self, theta: np.ndarray) -> list[np.ndarray]:
        """θ (*s p) as a list of (W b) (*s out width): one matrix a layer, copied."""
        return [theta.take(places, axis=-1) for places in self._places]

    def join(self, matrices: list[np.ndarray]) -> np.ndarray:
        """The inverse of `matrices`: (*s p)."""
        parts = [matrix.reshape(*matrix.shape[:-2], -1) for matrix in matrices]
        return np.concatenate(parts, axis=-1).take(self.inverse_order, axis=-1)

    @cached_property
    def _places(self) -> list[np.ndarray]:
        """Where the entries of every (W b) stand in θ: (out width)."""
        places = []
        for l in range(self.depth):
            parts = (np.arange(part.start, part.stop) for part in self._parts[l])
            places.append(np.concatenate([part.reshape(self.units(l), -1) for part in parts if len(part)], axis=1))
        return places

    @cached_property
    def order(self) -> np.ndarray:
        """Where the entries of the (W b), read row by row and one layer after the other, stand in θ: (p)."""
        return np.concatenate([places.ravel() for places in self._places])

    @cached_property
    def inverse_order(self) -> np.ndarray:
        """Where the entries of θ stand in the (W b): (p)."""
        return np.argsort(self.order)

    def flatten(self, layers: Layers) -> np.ndarray:
        """The inverse of `unflatten`: (*s p)."""
        parts = []
        for W, b in layers:
            parts.append(W.reshape(*W.shape[:-2], -1))
            if b is not None:
                parts.append(b)
        return np.concatenate(parts, axis=-1)

    def write(self, H: np.ndarray, m: int, l: int, block: np.ndarray, units: slice = slice(None)) -> None:
        """H's block of layers m, l := block[i, p, j, q]: units i (those of `units`) and p, their inputs j and q, bias last."""
        (W1, b1), (W2, b2) = self.weights_and_bias(m), self.weights_and_bias(l)
        (d1, w1), (d2, w2) = (self.units(m), self.sizes[m]), (self.units(l), self.sizes[l])
        H[W1, W2].reshape(d1, w1, d2, w2)[units] = block[:, :, :w1, :w2].transpose(0, 2, 1, 3)
        if self.bias:
            H[W1, b2].reshape(d1, w1, d2)[units] = block[:, :, :w1, -1].transpose(0, 2, 1)
            H[b1, W2].reshape(d1, d2, w2)[units] = block[:, :, -1, :w2]
            H[b1, b2][units] = block[:, :, -1, -1]

    def write_units(self, H: np.ndarray, l: int, blocks: np.ndarray) -> None:
        """H's block of each unit i of layer l with itself := blocks[i, j, q], its inputs j and q, bias last."""
        (W, b), d, w = self.weights_and_bias(l), self.units(l), self.sizes[l]
        i = np.arange(d)
        H[W, W].reshape(d, w, d, w)[i, :, i] = blocks[:, :w, :w]
        if self.bias:
            H[W, b].reshape(d, w, d)[i, :, i] = blocks[:, :w, -1]
            H[b, W].reshape(d, d, w)[i, i] = blocks[:, -1, :w]
            H[b, b][i, i] = blocks[:, -1, -1]


def second_derivative(layout: Layout, signals: Signals, M, v, block_size: int | None = None, S=None) -> np.ndarray:
    """Σ_n J_nᵀ M_n J_n + Σ_nk v_nk ∇²f_nk, Eq. (assembly), for M (k k n) and v (k n), either None for zero: (p p).

    S (c k n) may stand in for M = Σ_c S_c S_cᵀ: with few columns, pairs of its δ cost less than the recursion of B from M.
    `block_size` data at a time; the result does not depend on it but for round-off.
    """
    sums = _Sums(layout)
    for data in _blocks(layout, signals, block_size):
        block = signals.block(data)
        M_b, v_b, S_b = (None if value is None else value[..., data] for value in (M, v, S))
        deltas = None if v_b is None else block.backward(v_b)
        columns = [None] * layout.depth if S_b is None else block.with_axis_for_outputs().backward(S_b)
        augmented = block.augmented
        for m, B in block.symmetric_curvatures(M_b, v_b):
            sums.diagonal[m].add(B, columns[m], augmented[m])
            for l, K in _carried(block, m, B):
                sums.crossed[m, l].add(K, columns[m], columns[l], augmented[m], augmented[l])
            if deltas is not None:
                for l, T in _reach(block, m):
                    sums.crossed[m, l].add_first_order(deltas[m], T, augmented[l])
    return sums.matrix()


def layer_blocks(layout: Layout, signals: Signals, M, v, block_size: int | None = None) -> list[np.ndarray]:
    """The diagonal blocks of `second_derivative`, one a layer, Eq. (diagonal-block): (p_l p_l) each."""
    parts = [_DiagonalBlock(layout.units(l), layout.width(l)) for l in range(layout.depth)]
    for data in _blocks(layout, signals, block_size):
        block, M_b, v_b = signals.block(data), None if M is None else M[..., data], None if v is None else v[..., data]
        for l, B in block.symmetric_curvatures(M_b, v_b):
            parts[l].add(B, None, block.augmented[l])
    results = []
    for l, part in enumerate(parts):
        single = Layout(layout.sizes[l:l + 2], layout.bias)
        H = np.zeros((single.num_params, single.num_params))
        part.write(single, H, 0)
        results.append(H)
    return results


def neuron_blocks(layout: Layout, signals: Signals, own: list[np.ndarray]) -> list[np.ndarray]:
    """For every layer, the blocks of its units' own inputs and bias, Σ_n B_ii ā āᵀ: (d_l w_l w_l), bias last."""
    blocks = []
    for l in range(layout.depth):
        a = signals.augmented[l]
        total = (own[l][:, None] * a) @ a.T
        blocks.append(0.5 * (total + transpose(total)))
    return blocks


def diagonal(layout: Layout, signals: Signals, own: list[np.ndarray]) -> np.ndarray:
    """The diagonal of `second_derivative`: Σ_n B_ii ā_j², (p)."""
    return layout.join([product(B, transpose(a * a)) for B, a in zip(own, signals.augmented)])


def own_curvatures(signals: Signals, M, S, v) -> list[np.ndarray]:
    """The diagonals of B_l, one a layer (d_l n): from the factor S (c k n) where there is one, else from M; and v's part."""
    if S is not None:
        own = _squares_of_columns(signals, S)
    elif M is not None:
        batched = signals.with_axis_for_outputs()
        seeds = np.broadcast_to(np.eye(len(M))[..., None], M.shape)
        own = [_sum_over_columns(np.multiply, left, right) for left, right in zip(batched.backward(seeds), batched.backward(M))]
    else:
        own = [np.zeros((len(W), signals.num_data)) for W in signals.weights]
    if v is not None:
        for l, B in signals.curvatures(None, v):
            if B is not None:
                own[l] += B if B.ndim == 2 else np.diagonal(B).T
    return own


def _squares_of_columns(signals: Signals, S: np.ndarray) -> list[np.ndarray]:
    """Σ_c δ_c² of every layer (d_l n), δ_c from the columns of S (c k n)."""
    own = [None] * signals.depth
    for column in S.copy():  # δ is squared where it stands, and that of the outputs is the column itself
        for l, delta in enumerate(signals.backward(column)):
            own[l] = _sum(own[l], np.multiply(delta, delta, out=delta))
    return own


def gauss_newton_rows(layout: Layout, signals: Signals, S: np.ndarray) -> np.ndarray:
    """R = (S_nᵀ J_n) with all data and factor columns side by side: (p, c·n), so that R Rᵀ = Σ JᵀS SᵀJ. S is (c k n)."""
    return _rows(layout, signals, signals.with_axis_for_outputs().backward(S))


def _rows(layout: Layout, signals: Signals, deltas: list[np.ndarray]) -> np.ndarray:
    """δ ⊗ ā for δ (c d_l n) of every layer: (p, c·n)."""
    c, n = len(deltas[0]), signals.num_data
    R = np.empty((layout.num_params, c, n))
    for l, delta in enumerate(deltas):
        W, b = layout.weights_and_bias(l)
        delta = np.swapaxes(delta, 0, 1)  # (d_l c n)
        a = signals.inputs[l]
        np.multiply(delta[:, None], a[:, None], out=R[W].reshape(len(delta), len(a), c, n))
        if layout.bias:
            R[b] = delta
    return R.reshape(layout.num_params, c * n)


def gauss_newton_gram(layout: Layout, signals: Signals, S: np.ndarray, block_size: int | None = None) -> np.ndarray:
    """Σ_n J_nᵀ S_n S_nᵀ J_n from the rows R of `gauss_newton_rows`, Eq. (ggn): (p p). S is (c k n).

    Layer by layer: its rows times all rows above them, and a symmetric product of its own, in one with those of its neighbours.
    A large layer's block with itself is rather made of the packed triangles of its two factors, which can take half as long.
    """
    blocks_of_rows = _slices(signals.num_data, block_size, 16 * BLOCK_BYTES // (8 * layout.num_params * len(S)))
    bands = _bands(layout, len(S), signals.num_data)
    blocks = {l: _DiagonalBlock(layout.units(l), layout.width(l)) for _, l in bands if l is not None}
    H = np.empty((layout.num_params, layout.num_params))
    for data in blocks_of_rows:
        block, more = signals.block(data), data.start > 0
        deltas = block.with_axis_for_outputs().backward(S[..., data])
        R = _rows(layout, block, deltas)
        for span, l in bands:
            rows, columns = _shorter_first(span)
            _put_product(H[rows, columns], R[rows], R[columns], more)
            if l is None:
                _put_product(H[span, span], R[span], R[span], more)
            else:
                blocks[l].add(None, deltas[l], block.augmented[l])
    for span, l in bands:
        if l is not None:
            blocks[l].write(layout, H, l)
        rows, columns = _shorter_first(span)
        _transpose_into(H[columns, rows], H[rows, columns])
    return H


def gram_is_cheaper(layout: Layout, num_columns: int, num_data: int) -> bool:
    """Whether `gauss_newton_gram` with this many factor columns costs less than `second_derivative` without v."""
    return _gram_cost(layout, num_columns, num_data) <= _blocks_cost(layout, num_data)


@cache
def _gram_cost(layout: Layout, num_columns: int, num_data: int) -> float:
    """Flops a datum, or what takes the same time."""
    cost = FORMING * num_columns * layout.num_params
    for span, l in _bands(layout, num_columns, num_data):
        size = span.stop - span.start
        own = num_columns * size**2 if l is None else _packed_cost(layout, l, num_columns, num_data)
        cost += own + 2 * num_columns * size * span.start
    return cost


@cache
def _blocks_cost(layout: Layout, num_data: int) -> float:
    """The same for `second_derivative`."""
    cost = WRITING * layout.num_params**2 / num_data
    for m in range(layout.depth):
        cost += _way_of_diagonal_block(layout.units(m), layout.width(m))[1]
        for l in range(m):
            units, inputs = layout.units(m) * layout.units(l), layout.width(m) * layout.width(l)
            cost += 2 * units * inputs + FORMING * (2 * units + inputs)
    return cost


@cache
def _bands(layout: Layout, num_columns: int, num_data: int) -> list[tuple[slice, int | None]]:
    """The parameters in bands: (span, layer) of each layer whose block with itself is packed, (span, None) of those between."""
    bands = []
    for l in range(layout.depth):
        span = layout.span(l)
        if _packed_cost(layout, l, num_columns, num_data) < num_columns * (span.stop - span.start) ** 2:
            bands.append((span, l))
        elif bands and bands[-1][1] is None:
            bands[-1] = (slice(bands[-1][0].start, span.stop), None)
        else:
            bands.append((span, None))
    return bands


def _packed_cost(layout: Layout, l: int, num_columns: int, num_data: int) -> float:
    """Flops a datum for a layer's block with itself from pairs of units and pairs of inputs."""
    units, width = layout.units(l), layout.width(l)
    more_columns = FORMING * (num_columns - 1) * packed.count(units)
    return _way_of_diagonal_block(units, width)[1] + more_columns + WRITING * (units * width) ** 2 / num_data


def _put_product(out: np.ndarray, left: np.ndarray, right: np.ndarray, more: bool) -> None:
    """out := left rightᵀ, or more of it; exactly symmetric for left = right."""
    if more:
        out += left @ right.T
    else:
        np.matmul(left, right.T, out=out)


def _shorter_first(span: slice) -> tuple[slice, slice]:
    """The parameters of `span` and those before it, the fewer first: BLAS multiplies such rows faster in that order."""
    before = slice(0, span.start)
    return (span, before) if span.stop - span.start <= span.start else (before, span)


def _transpose_into(out: np.ndarray, block: np.ndarray) -> None:
    """out := blockᵀ, in pieces that stay in the cache."""
    for start in range(0, len(out), TRANSPOSED):
        piece = slice(start, start + TRANSPOSED)
        out[piece] = block[:, piece].T


def blocks_of_data(
    layout: Layout, num_data: int, num_columns: int, pairs: bool, block_size: int | None
) -> Iterator[slice]:
    """Blocks for what needs δ (c d n) of a layer at a time, and with `pairs` B (d d n): by default what fits the cache."""
    units = max(layout.units(l) for l in range(layout.depth))
    columns = num_columns or layout.units(layout.depth - 1)
    return _slices(num_data, block_size, max(LEAST_BLOCK, BLOCK_BYTES // (8 * units * (columns + units * pairs))))


def _blocks(layout: Layout, signals: Signals, block_size: int | None) -> Iterator[slice]:
    return _slices(signals.num_data, block_size, max(LEAST_BLOCK, BLOCK_BYTES // (8 * max(_largest_factor(layout), 1))))


def _slices(num_data: int, block_size: int | None, most: int) -> Iterator[slice]:
    """`block_size` data at a time, or as few equal blocks as have at most `most`; ValueError unless a positive integer."""
    if block_size is None:
        size = -(-num_data // -(-num_data // max(1, most)))
    else:
        size = as_count("block_size", block_size)
    return (slice(start, min(start + size, num_data)) for start in range(0, num_data, size))


def _sum_over_columns(combine: Callable, *deltas: np.ndarray) -> np.ndarray:
    """Σ_c of what is made of the deltas' (c d n) members c."""
    total = None
    for columns in zip(*deltas):
        total = _sum(total, combine(*columns))
    return total


def _sum(total: np.ndarray | None, part: np.ndarray) -> np.ndarray:
    """total, None at first, plus one more part, in place."""
    return part if total is None else np.add(total, part, out=total)


def _largest_factor(layout: Layout) -> int:
    """The rows of the largest factor of a block: pairs of units or pairs of inputs."""
    units = max(layout.units(l) for l in range(layout.depth))
    inputs = sorted(layout.width(l) for l in range(layout.depth))
    return max(units * units, inputs[-1] * inputs[-2] if len(inputs) > 1 else 0, packed.count(inputs[-1]))


def _carried(signals: Signals, m: int, B: Given | Carried | None) -> Iterator[tuple[int, np.ndarray | None]]:
    """(l, K_ml) for l = m − 1, ..., 0, from K_mm = B on: W and φ′ carry it one layer down."""
    K = B.matrix if m and B is not None else None
    for l in range(m - 1, -1, -1):
        K = _carry(K, signals.weights[l + 1], signals.slopes[l][0])
        yield l, K


def _reach(signals: Signals, m: int) -> Iterator[tuple[int, np.ndarray]]:
    """(l, T_ml) for l = m − 1, ..., 0, carried likewise, Eq. (forward-signal); T_{m,m-1} is diagonal, (d n)."""
    T = None
    for l in range(m - 1, -1, -1):
        slope = signals.slopes[l][0]
        T = slope if T is None else _carry(T, signals.weights[l + 1], slope)
        yield l, T


def _carry(K, W, slope):
    """K W D per datum, for K (i j n), diagonal (i n) or zero."""
    if K is None:
        return None
    carried = K[:, None] * W[..., None] if K.ndim == 2 else np.matmul(W.T, K)
    carried *= slope
    return carried


class _Sums:
    """The sums over data of every block of the lower triangle, and the matrix that they make."""

    def __init__(self, layout: Layout):
        self.layout = layout
        self.diagonal = [_DiagonalBlock(layout.units(l), layout.width(l)) for l in range(layout.depth)]
        self.crossed = {(m, l): _CrossBlock(layout, m, l) for m in range(layout.depth) for l in range(m)}

    def matrix(self) -> np.ndarray:
        """All blocks where they belong, exactly symmetric: (p p)."""
        layout = self.layout
        H = np.empty((layout.num_params, layout.num_params))
        for m, part in enumerate(self.diagonal):
            part.write(layout, H, m)
            for l in range(m):
                self.crossed[m, l].write(layout, H, m, l)
            own, before = layout.span(m), slice(0, layout.span(m).start)
            _transpose_into(H[before, own], H[own, before])
        return H


@cache
def _way_of_diagonal_block(units: int, width: int) -> tuple[bool, float]:
    """Whether packed pairs of units and of inputs are the cheaper way to a `_DiagonalBlock`, and its flops a datum."""
    pairs, inputs = packed.count(units), packed.count(width)
    by_pairs = FORMING * (pairs + inputs) + 2 * pairs * inputs
    by_units = pairs * (FORMING * width + 2 * width**2)
    return by_pairs < by_units, min(by_pairs, by_units)


class _DiagonalBlock:
    """Σ_n B ⊗ ā āᵀ of one layer. Both factors are symmetric: either their triangles meet in one product ("packed"), or, with
    few units, each pair of units weights one small product."""

    def __init__(self, units: int, width: int):
        self.units, self.width = units, width
        self.packed, _ = _way_of_diagonal_block(units, width)
        self.total = None
        self.diagonal_only = False

    def add(self, B: Given | Carried | None, columns: np.ndarray | None, a: np.ndarray) -> None:
        """Add a block of data: B, or None for zero, plus Σ_c δ_c δ_cᵀ (c d n) or nothing; and ā (w n)."""
        self.diagonal_only = columns is None and B is not None and B.is_diagonal
        if self.diagonal_only:
            self._accumulate((B.matrix[:, None] * a) @ a.T)
        elif B is not None or columns is not None:
            pairs = _pairs(B, columns)
            self._accumulate(_product(pairs, packed.products(a)) if self.packed else (pairs[:, None] * a) @ a.T)

    def _accumulate(self, part: np.ndarray) -> None:
        self.total = _sum(self.total, part)

    def write(self, layout: Layout, H: np.ndarray, l: int) -> None:
        """Put the sum into H, exactly symmetric."""
        if self.total is None or self.diagonal_only:
            H[layout.span(l), layout.span(l)] = 0
        if self.total is None:
            return
        total = self.total if self.total.ndim == 2 else 0.5 * (self.total + transpose(self.total))
        if self.diagonal_only:
            layout.write_units(H, l, total)
            return
        pairs, inputs = packed.index(self.units), packed.index(self.width)
        size = max(1, WRITE_BYTES // (8 * self.units * self.width**2))
        for start in range(0, self.units, size):
            units = slice(start, start + size)
            part = total[pairs[units]]  # (i p ...)
            layout.write(H, l, l, part.take(inputs, axis=-1) if part.ndim == 3 else part, units)


class _CrossBlock:
    """The block of two different layers, total[i, p, j, q]."""

    def __init__(self, layout: Layout, m: int, l: int):
        self.shape = layout.units(m), layout.units(l), layout.width(m), layout.width(l)
        self.inputs_m = layout.sizes[m]
        self.total = None

    def add(self, K, columns_m, columns_l, a_m: np.ndarray, a_l: np.ndarray) -> None:
        """Add Σ_n K ⊗ ā_m ā_lᵀ, K plus Σ_c of the pairs of δ_m and δ_l (c d n) where there are any."""
        if columns_m is not None:
            own = _sum_over_columns(lambda left, right: left[:, None] * right, columns_m, columns_l)
            K = own if K is None else np.add(own, K, out=own)
        if K is not None:
            n = K.shape[-1]
            part = (K.reshape(-1, n) @ (a_m[:, None] * a_l).reshape(-1, n).T).reshape(self.shape)
            self.total = _sum(self.total, part)

    def add_first_order(self, delta: np.ndarray, T: np.ndarray, a_l: np.ndarray) -> None:
        """Add Σ_n δ[i] T[j, p] ā_l[q]; the bias of layer m (the last j) has no incoming activation to differentiate."""
        if self.total is None:
            self.total = np.zeros(self.shape)
        d, n = delta.shape
        if T.ndim == 2:
            units = np.arange(len(T))
            left = (delta[:, None] * T).reshape(-1, n)
            self.total[:, units, units] += (left @ a_l.T).reshape(d, len(T), -1)
        else:
            left = (delta[:, None] * a_l).reshape(-1, n)
            block = (left @ T.reshape(-1, n).T).reshape(d, len(a_l), *T.shape[:2])  # i q j p
            self.total[:, :, :self.inputs_m] += block.transpose(0, 3, 2, 1)

    def write(self, layout: Layout, H: np.ndarray, m: int, l: int) -> None:
        """Put the sum into H."""
        layout.write(H, m, l, np.zeros(self.shape) if self.total is None else self.total)


def _product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """left rightᵀ; BLAS is faster with the shorter one first."""
    return left @ right.T if len(left) <= len(right) else (right @ left.T).T


def _pairs(B: Given | Carried | None, columns: np.ndarray | None) -> np.ndarray:
    """The upper triangle, packed, of B plus Σ_c δ_c δ_cᵀ for δ (c d n), either None for zero."""
    if columns is None:
        return B.triangle()
    pairs = _sum_over_columns(packed.products, columns)
    if B is not None and B.is_diagonal:
        pairs[packed.diagonal(len(B.matrix))] += B.matrix
    elif B is not None:
        pairs += B.triangle()
    return pairs
