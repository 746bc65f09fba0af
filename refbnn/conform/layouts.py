"""How the numbers of a value stand in a case file: without what is symmetric, zero, or there already.

"dense"    all entries
"lower"    of symmetric matrices the lower triangle, row by row: of the one matrix where axes repeat (p p, n k n k), else of each
"blocks"   of a matrix that is zero outside the diagonal blocks of the layers, the lower triangles of these, one after the other
taken      from another value of the case: the "same", its "diagonal", its diagonal blocks of "layers" or of "units", its "last"
           block of a layer, its "chosen" rows and columns, its diagonal blocks of "inputs" one after the other, or the value off
           the diagonal with another
           diagonal, which is given ("shifted")
"""

from __future__ import annotations

import math
from typing import Any, Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from refbnn.conform.quantities import QUANTITIES

Array = NDArray[np.float64]
Shape = tuple[int, ...]

BLOCKS = ("ggn.blockdiag", "ggn.neuronblocks", "ggn.kfac", "ggn.kfra", "ggn.ekfac", "ggn.ekfac.split", "ggn.vanloan",
          "hessian.blockdiag",
          "fisher.kfac", "fisher.empirical.kfac", "fisher.mc.kfac", "laplace.kron.covariance", "laplace.kron.split.covariance")
SYMMETRIC_ARRAYS = ("ntk", "predictive.joint", "predictive.glm.variance", "predictive.diag.variance",
                    "predictive.lastlayer.variance", "predictive.subset.variance", "predictive.kron.variance",
                    "predictive.kron.split.variance",
                    "predictive.lowrank.variance", "predictive.hessian.lowrank.variance", "gp.kernel")
# What a value may be taken from, and how.
TAKEN: dict[str, tuple[str, str]] = {
    "ggn.diag": ("diagonal", "ggn.full"), "ggn.blockdiag": ("layers", "ggn.full"), "ggn.lastlayer": ("last", "ggn.full"),
    "hessian.diag": ("diagonal", "hessian.full"), "hessian.blockdiag": ("layers", "hessian.full"),
    "fisher.full": ("same", "ggn.full"), "fisher.diag": ("diagonal", "fisher.full"),
    "fisher.empirical.diag": ("diagonal", "fisher.empirical"), "fisher.mc.diag": ("diagonal", "fisher.mc"),
    "laplace.precision": ("shifted", "ggn.full"), "laplace.hessian.precision": ("shifted", "hessian.full"),
    "laplace.covariance.diag": ("diagonal", "laplace.covariance"),
    "ggn.neuronblocks": ("units", "ggn.full"), "hessian.lastlayer": ("last", "hessian.full"),
    "predictive.glm.variance": ("inputs", "predictive.joint"), "ggn.subset": ("chosen", "ggn.full"),
    "fisher.empirical.centred.diag": ("diagonal", "fisher.empirical.centred"),
}


def layout_of(name: str) -> str:
    """The layout of a value that has numbers of its own."""
    if name in BLOCKS:
        return "blocks"
    return "lower" if name in SYMMETRIC_ARRAYS or QUANTITIES[name].kind in ("symmetric", "positive_definite") else "dense"


def packed_length(layout: str, shape: Shape, layer_sizes: Sequence[int]) -> int:
    """How many numbers a value of that shape has in a file."""
    if layout == "blocks":
        return sum(size * (size + 1) // 2 for size in layer_sizes)
    count, side = _triangles(shape) if layout == "lower" else (math.prod(shape), 1)
    return count * side * (side + 1) // 2


def packed(layout: str, value: Array, layer_sizes: Sequence[int]) -> Array:
    """The numbers of a value as they stand in a file, flat."""
    if layout == "dense":
        return value.ravel()
    if layout == "blocks":
        return np.concatenate([packed("lower", value[span, span], layer_sizes) for span in _spans(layer_sizes)])
    count, side = _triangles(value.shape)
    rows, columns = np.tril_indices(side)
    return value.reshape(count, side, side)[:, rows, columns].ravel()


def unpacked(layout: str, flat: Array, shape: Shape, layer_sizes: Sequence[int]) -> Array:
    """The whole value: what `packed` undoes."""
    if layout == "dense":
        return flat.reshape(shape)
    if layout == "blocks":
        return _from_blocks(flat, layer_sizes)
    count, side = _triangles(shape)
    rows, columns = np.tril_indices(side)
    matrices = np.zeros((count, side, side))
    matrices[:, rows, columns] = matrices[:, columns, rows] = flat.reshape(count, -1)
    return matrices.reshape(shape)


def taken(how: str, source: Array, problem: Any, diagonal: Array | None) -> Array:
    """The value that is taken from another; `diagonal` for "shifted"."""
    return _TAKE[how](source, problem, diagonal)


def _triangles(shape: Shape) -> tuple[int, int]:
    """(number, side) of the symmetric matrices in an array: one where the axes repeat, else all but the last two axes."""
    half = len(shape) // 2
    whole = len(shape) % 2 == 0 and shape[:half] == shape[half:]
    return (1, math.prod(shape[:half])) if whole else (math.prod(shape[:-2]), shape[-1])


def _spans(layer_sizes: Sequence[int]) -> list[slice]:
    stops = np.cumsum([0, *layer_sizes])
    return [slice(start, stop) for start, stop in zip(stops, stops[1:])]


def _from_blocks(flat: Array, layer_sizes: Sequence[int]) -> Array:
    matrix, ends = np.zeros((sum(layer_sizes),) * 2), np.cumsum([size * (size + 1) // 2 for size in layer_sizes])
    for span, size, part in zip(_spans(layer_sizes), layer_sizes, np.split(flat, ends[:-1])):
        matrix[span, span] = unpacked("lower", part, (size, size), layer_sizes)
    return matrix


def _together(labels: Sequence[Any]) -> NDArray[np.bool_]:
    """True where row and column have one label."""
    label = np.asarray(labels)
    return label[:, None] == label


def _layers(problem: Any) -> Array:
    return np.repeat(np.arange(len(problem.layer_sizes)), problem.layer_sizes)


def _units(problem: Any) -> list[int]:
    """The number of the unit that each parameter belongs to, over all layers."""
    labels, first = [], 0
    for into, out in zip(problem.sizes, problem.sizes[1:]):
        units = np.arange(first, first + out)
        labels += [*np.repeat(units, into), *(units if problem.bias else [])]
        first += out
    return labels


def _last(source: Array, problem: Any, diagonal: Array | None) -> Array:
    q = problem.layer_sizes[-1]
    return source[-q:, -q:].copy()


_TAKE: dict[str, Callable[[Array, Any, Array | None], Array]] = {
    "same": lambda source, problem, diagonal: source.copy(),
    "diagonal": lambda source, problem, diagonal: np.diag(source).copy(),
    "layers": lambda source, problem, diagonal: np.where(_together(_layers(problem)), source, 0.0),
    "units": lambda source, problem, diagonal: np.where(_together(_units(problem)), source, 0.0),
    "last": _last,
    "chosen": lambda source, problem, diagonal: source[np.ix_(problem.subset, problem.subset)],
    "inputs": lambda source, problem, diagonal: np.stack([each[:, i] for i, each in enumerate(source)]),
    "shifted": lambda source, problem, diagonal: np.where(np.eye(len(source), dtype=bool), diagonal, source),
}
