"""Theories for any quantity: an undeclared convention, another quantity, a part of the right one."""

from __future__ import annotations

from itertools import combinations
from typing import Mapping

import numpy as np

from refbnn import linalg

from ..conventions import AXES, resolve
from ..notations import NOTATIONS
from ..quantities import QUANTITIES, Quantity
from .facts import ORDER, Facts
from .theory import LOSS_MATRICES, PRECISIONS, Basis, Theory, value_of


def conventions_theories(quantity: Quantity, conventions: Mapping[str, str]) -> list[Theory]:
    """One undeclared convention, or two."""
    declared = resolve(quantity, conventions)
    single = [{axis.name: choice} for axis in AXES if axis.name != ORDER and axis.touches(quantity)
              for choice in axis.meanings if choice != declared[axis.name] and (axis.name, choice) in _IN_WORDS]
    plain = [changes for changes in single if not changes.keys() & _NOTATIONS]
    double = [{**a, **b} for a, b in combinations(plain, 2) if a.keys() != b.keys()]
    return [_convention(changes) for changes in single + double]


def _convention(changes: dict[str, str]) -> Theory:
    def basis(facts: Facts, quantity: Quantity) -> Basis | None:
        changed = facts.changed(quantity, changes)
        return None if changed is None else (changed,)
    sentence = "; ".join(_IN_WORDS[name, choice] for name, choice in changes.items())
    advice = "declare " + " and ".join(f"{name} = {choice}" for name, choice in changes.items())
    key = "+".join(f"{name}={choice}" for name, choice in changes.items())
    return Theory(key, "convention", len(changes), sentence, advice, basis, free=False)


_NOTATIONS = {axis.name for axis in NOTATIONS}
_DEFAULT = "You follow the default where you declare otherwise"
_IN_WORDS = {
    **{(axis.name, axis.default): f"{_DEFAULT} ({axis.name})" for axis in AXES},
    ("loss.constants", "dropped"): "You leave out the constants of the likelihood",
    ("log_joint.constants", "dropped"): "You leave out the constants of likelihood and prior",
    ("loss.squared_error", "half"): "Your loss is ½‖y − f‖², without its variance and constants",
    ("loss.squared_error", "one"): "Your loss is ‖y − f‖², without the ½, its variance and constants",
    ("loss.reduction", "mean"): "You return the value for the loss averaged over data",
    ("loss.reduction", "mean_all"): "You return the value for the loss averaged over data and outputs",
    ("fisher.gradients", "mean"): "Each of the gradients whose products you sum is divided by N",
    ("fisher.gradients", "mean_all"): "Each of the gradients whose products you sum is divided by N and the number of outputs",
    ("blockdiag.blocks", "tensors"): "Weights and biases of a layer are blocks of their own",
    ("kfac.bias", "split"): "Weights and biases of a layer are treated apart",
    ("predictive.noise", "included"): "You return the variance of y, σ² included, not of the function",
    ("predictive.variance", "marginal"): "You return marginal variances",
    ("predictive.variance", "std"): "You return marginal standard deviations",
    ("laplace.marginals", "std"): "You return standard deviations",
    ("laplace.marginals", "precision"): "You return one over the variances",
    ("vi.sign", "negative"): "You return the negative bound, or its slope",
    ("vi.reduction", "mean"): "You return the bound, or its slope, divided by N",
    ("vi.constants", "dropped"): "You leave out the constants of the likelihood",
    ("vi.divergence", "sampled"): "You average log q − log prior over the draws in place of the closed divergence",
    ("vi.scale.by", "log_scale"): "You return the slope by logarithms of the scale",
    ("vi.scale.by", "variance"): "You return the slope by variances",
    ("vi.scale.by", "log_variance"): "You return the slope by logarithms of variances",
    ("vi.marginals", "std"): "You return standard deviations",
    ("vi.marginals", "precision"): "You return one over the variances",
    ("ntk.outputs", "trace"): "You sum the kernel over equal outputs",
    ("ntk.outputs", "mean"): "You average the kernel over equal outputs",
    ("ntk.axes", "data_data"): "Your kernel has both data axes first",
    ("predictive.joint.axes", "data_data"): "Your covariance has both data axes first",
    ("symmetric.storage", "lower_packed"): "You return the lower triangle in one axis",
    ("symmetric.storage", "upper_packed"): "You return the upper triangle in one axis",
}


# The same thing under two names, or what a theory with coefficients says better.
_NOT_OTHER = {
    **{name: (*LOSS_MATRICES, *PRECISIONS) for name in PRECISIONS},
    **{name: tuple(PRECISIONS) for name in LOSS_MATRICES},
    "laplace.covariance": ("laplace.hessian.covariance",),
    "laplace.hessian.covariance": ("laplace.covariance",),
}
# Found by a search, which takes seconds where no value is stored: nobody returns them for a matrix of the loss by mistake.
_SOUGHT = tuple(name for name in QUANTITIES if name.startswith("vi.optimum."))
_AVERAGES = ("vi.optimum.", "posterior.")


def other_quantities(quantity: Quantity) -> list[Theory]:
    """Every other certified value of the same shape."""
    if quantity.certified_by != quantity.name:
        return []
    free = quantity.kind != "scalar"  # a scalar is a multiple of every other
    left_out = (quantity.name, *_NOT_OTHER.get(quantity.name, ()), *([] if quantity.name.startswith(_AVERAGES) else _SOUGHT))
    return [Theory(f"quantity:{name}", "quantity", 2, f"You return {name}: {other.formula}", f"return {quantity.formula}",
                   value_of(name), (name,), free)
            for name, other in QUANTITIES.items() if other.certified_by == name and name not in left_out]


def parts(quantity: Quantity) -> list[Theory]:
    """Parts of the right matrix, elementwise slips."""
    rows = (
        ("diagonal_only", 1, "Only the diagonal is filled", "return the full matrix",
         lambda facts, q: (np.diag(np.diag(facts.value(q.name))),)),
        ("diagonal_vector", 1, "You return the diagonal alone", "return the full matrix",
         lambda facts, q: (np.diag(facts.value(q.name)).copy(),)),
        ("block_diagonal", 2, "Only the blocks of the layers are filled", "return the full matrix", _layer_blocks),
        ("inverse", 2, "You return the inverse", "do not invert", _inverse),
    )
    wanted = quantity.axes == "p p" and quantity.kind != "root"
    return [Theory(key, "part", complexity, sentence, advice, basis)
            for key, complexity, sentence, advice, basis in rows if wanted]


def _layer_blocks(facts: Facts, quantity: Quantity) -> Basis | None:
    sizes = facts.problem.layer_sizes
    layer = np.repeat(np.arange(len(sizes)), sizes)
    return (np.where(layer[:, None] == layer, facts.value(quantity.name), 0.0),) if len(sizes) > 1 else None


def _inverse(facts: Facts, quantity: Quantity) -> Basis | None:
    if quantity.kind == "positive_definite":
        return None  # the precision for the covariance is another certified quantity
    L = facts.cholesky(quantity.name)
    if L is None:
        return None
    half = linalg.solve_lower(L, np.eye(len(L)))
    return (linalg.gram(half),)
