"""How values stand in a case file: symmetric matrices as lower triangles, block-diagonal ones without their zeros, and what can
be taken from another value of the case, bit for bit, as a word that says how. Matrices come as packed lower triangles.
"""

from __future__ import annotations

import hashlib
import struct

from .condition import KRONECKER, PACKED
from .question import Question

BLOCKS = ("ggn.blockdiag", "ggn.neuronblocks", "hessian.blockdiag", "laplace.kron.covariance", "laplace.kron.split.covariance",
          *KRONECKER)
# One symmetric matrix for each new input; one symmetric matrix, given in full.
STACKS = ("predictive.glm.variance", "predictive.diag.variance", "predictive.lastlayer.variance", "predictive.kron.variance",
          "predictive.kron.split.variance", "predictive.subset.variance", "predictive.lowrank.variance",
          "predictive.hessian.lowrank.variance")
WHOLE = {"ntk": lambda question: len(question.X) * question.num_outputs,
         "fisher.empirical.gram": lambda question: len(question.X),
         "gp.kernel": lambda question: len(question.X) * question.num_outputs,
         "predictive.joint": lambda question: len(question.X_new) * question.num_outputs}
TAKEN = {
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


def entry_of(name: str, values: dict[str, list[float]], question: Question) -> dict:
    """layout, data and hash; where the same numbers can be taken from another value, what it is and how."""
    layout, numbers = own(name, values[name], question)
    how, source = TAKEN.get(name, ("", ""))
    proof = {"sha256": digest(numbers)}
    if source in values and digest(own(name, taken(how, values, name, source, question), question)[1]) == proof["sha256"]:
        shift = {"data": diagonal(values[name])} if how == "shifted" else {}
        return {"layout": how, "of": source, **shift, **proof}
    return {"layout": layout, "data": numbers, **proof}


def own(name: str, data: list[float], question: Question) -> tuple[str, list[float]]:
    """The layout of a value by itself, and its numbers."""
    if name in BLOCKS:
        return "blocks", [v for span in spans(question) for v in square(data, span)]
    if name in PACKED:
        return "lower", data
    if name in STACKS or name in WHOLE:
        side = WHOLE[name](question) if name in WHOLE else question.num_outputs
        return "lower", [v for at in range(0, len(data), side * side) for v in triangle(data[at:at + side * side], side)]
    return "dense", data


def taken(how: str, values: dict[str, list[float]], name: str, source: str, question: Question) -> list[float]:
    """The value as it would be taken from its source, as the generator holds it."""
    data = values[source]
    if how == "same":
        return data
    if how == "diagonal":
        return diagonal(data)
    if how == "last":
        return square(data, spans(question)[-1])
    if how == "chosen":
        return [v for (i, j), v in places(data) if i in question.subset and j in question.subset]
    if how == "shifted":
        own_diagonal = diagonal(values[name])
        return [own_diagonal[i] if i == j else v for (i, j), v in places(data)]
    if how == "inputs":
        m, k = len(question.X_new), question.num_outputs
        return [data[((n * k + i) * m + n) * k + j] for n in range(m) for i in range(k) for j in range(k)]
    layer = [l for l, span in enumerate(spans(question)) for _ in span] if how == "layers" else units(question)
    return [v if layer[i] == layer[j] else 0.0 for (i, j), v in places(data)]


def places(data: list[float]) -> list[tuple[tuple[int, int], float]]:
    """((row, column), number) of a packed triangle."""
    side = 0
    while side * (side + 1) // 2 < len(data):
        side += 1
    return list(zip([(i, j) for i in range(side) for j in range(i + 1)], data))


def diagonal(data: list[float]) -> list[float]:
    return [v for (i, j), v in places(data) if i == j]


def square(data: list[float], span: range) -> list[float]:
    """The triangle of a diagonal block."""
    return [v for (i, j), v in places(data) if i in span and j in span]


def spans(question: Question) -> list[range]:
    """Where each layer stands in θ."""
    result, start = [], 0
    for size in question.layer_sizes:
        result.append(range(start, start + size))
        start += size
    return result


def units(question: Question) -> list[tuple[int, int]]:
    """(layer, unit) of every parameter."""
    result = []
    for l, (into, out) in enumerate(zip(question.sizes, question.sizes[1:])):
        result += [(l, i) for i in range(out) for _ in range(into)]
        result += [(l, i) for i in range(out)] if question.bias else []
    return result


def triangle(data: list[float], side: int) -> list[float]:
    """The lower triangle of a full matrix, which must be symmetric to the last bit."""
    rows = [data[i * side:(i + 1) * side] for i in range(side)]
    if any(rows[i][j] != rows[j][i] for i in range(side) for j in range(i)):
        raise ValueError("a symmetric matrix is not symmetric to the last bit")
    return [v for i, row in enumerate(rows) for v in row[:i + 1]]


def digest(data: list[float]) -> str:
    """SHA-256 over the little-endian doubles."""
    return hashlib.sha256(struct.pack(f"<{len(data)}d", *data)).hexdigest()
