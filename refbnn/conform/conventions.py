"""Conventions as data: what an adapter may declare, and how a certified value is converted into it.

The kit converts, the adapter never does. Every axis is one row of `AXES` with one function that covers all the quantities it
touches. Inputs (theta, vector, normals, draws) always reach the adapter in the package's order; only answers are converted.

An adapter declares {"loss.reduction": "mean"}. Where one quantity departs from the rest, it may say so with a glob after an
at sign, {"loss.reduction": "mean", "loss.reduction@fisher.empirical*": "sum"}; what is written later wins.
"""
from __future__ import annotations

import difflib
import math
from fnmatch import fnmatchcase
from typing import Any, Callable, Collection, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from refbnn import activations
from refbnn.networks.mlp import Mlp

from .divergence import SAMPLED, sampled_less_closed
from .notations import BOUNDS, LAYOUTS, MARGINALS, NOTATIONS, SCALINGS, VARIATIONAL, Axis, undone
from .quantities import QUANTITIES, Quantity, select

Array = NDArray[np.float64]
Settings = Mapping[str, str]

# The sums over data: of the loss and its derivatives (power 1), of products of two gradients (power 2). A factor s on the loss
# is s^power on these. The exact Fisher has power 1: rescaling a squared error rescales the noise that it implies.
_POWER = {
    "loss": 1, "gradient": 1, "ggn.full": 1, "ggn.diag": 1, "hessian.full": 1, "hessian.diag": 1, "hessian.hvp": 1,
    "ggn.vp": 1, "ggn.blockdiag": 1, "ggn.neuronblocks": 1, "ggn.lastlayer": 1, "ggn.kfac": 1, "ggn.kfra": 1, "ggn.ekfac": 1,
    "ggn.ekfac.split": 1, "ggn.subset": 1, "ggn.vanloan": 1, "third.vv": 1,
    "hessian.blockdiag": 1, "hessian.lastlayer": 1, "fisher.full": 1, "fisher.diag": 1, "fisher.vp": 1, "fisher.kfac": 1,
    "fisher.empirical": 2, "fisher.empirical.diag": 2, "fisher.empirical.vp": 2, "fisher.empirical.centred": 2,
    "fisher.empirical.centred.diag": 2, "fisher.empirical.centred.vp": 2, "fisher.empirical.gram": 2,
    "fisher.empirical.kfac": 2, "fisher.mc": 2, "fisher.mc.diag": 2, "fisher.mc.vp": 2, "fisher.mc.kfac": 2}


def likelihood_constants(problem) -> float:
    """The terms without θ of Σ_n ℓ, written out in the usual way: (N C / 2) log 2πσ² for Normal, Σ log y! for counts, else 0."""
    return float(_CONSTANTS[problem.likelihood](np.asarray(problem.y, float), problem))


def _log_two_pi(y: Array, problem) -> float:
    return 0.5 * y.size * math.log(2 * math.pi)


def _of_correlated_noise(y: Array, problem) -> float:
    log_det = np.linalg.slogdet(np.array(problem.likelihood_parameters["noise"]))[1]
    return _log_two_pi(y, problem) + 0.5 * len(y) * log_det


def _of_student_t(y: Array, problem) -> float:
    s, nu = (problem.likelihood_parameters[name] for name in ("scale", "degrees_of_freedom"))
    return y.size * (gammaln(nu / 2) - gammaln((nu + 1) / 2) + 0.5 * math.log(math.pi * nu) + math.log(s))


def _of_counts(y: Array, problem) -> float:
    return gammaln(y + 1).sum()


def _of_negative_binomial(y: Array, problem) -> float:
    """−log of Γ(y + ρ) ρ^ρ/(Γ(ρ) y!); what is left is (y + ρ) log(ρ + μ) − y f."""
    rho = problem.likelihood_parameters["dispersion"]
    return (gammaln(y + 1) + gammaln(rho) - gammaln(y + rho) - rho * math.log(rho)).sum()


def _of_gamma(y: Array, problem) -> float:
    """What is left is α (f + y/m)."""
    a = problem.likelihood_parameters["shape"]
    return (gammaln(a) - a * math.log(a) - (a - 1) * np.log(y)).sum()


def _of_student_t_with_a_scale(y: Array, problem) -> float:
    nu = problem.likelihood_parameters["degrees_of_freedom"]
    return y.size * (gammaln(nu / 2) - gammaln((nu + 1) / 2) + 0.5 * math.log(math.pi * nu))


def _none(y: Array, problem) -> float:
    return 0.0


_CONSTANTS: dict[str, Callable[[Array, Any], float]] = {
    "normal": lambda y, problem: 0.5 * y.size * math.log(2 * math.pi * problem.variance),
    "normal_full": _of_correlated_noise, "heteroscedastic": _log_two_pi, "student_t": _of_student_t, "gamma": _of_gamma,
    "heteroscedastic_natural": _log_two_pi, "heteroscedastic_precision": _log_two_pi,
    "heteroscedastic_student_t": _of_student_t_with_a_scale,
    "heteroscedastic_gamma": lambda y, problem: float(np.log(y).sum()), "heteroscedastic_negative_binomial": _of_counts,
    "poisson": _of_counts, "poisson_softplus": _of_counts, "poisson_square": _of_counts,
    "negative_binomial": _of_negative_binomial, "bernoulli": _none, "bernoulli_probit": _none, "bernoulli_cloglog": _none,
    "categorical": _none, "ordinal": _none}


def prior_constants(problem) -> float:
    """The part of log p(θ) without θ: ½ log |P₀| − (p/2) log 2π."""
    return 0.5 * np.linalg.slogdet(problem.prior_precision)[1] - 0.5 * len(problem.theta) * math.log(2 * math.pi)


def _dropped_from_loss(problem, settings: Settings) -> float:
    without = settings["loss.constants"] == "dropped" or _squared_error_factor(problem, settings) is not None
    return likelihood_constants(problem) if without else 0.0


def _dropped_from_log_joint(problem, settings: Settings) -> float:
    dropped = settings["log_joint.constants"] == "dropped"
    return prior_constants(problem) - likelihood_constants(problem) if dropped else 0.0


def _squared_error_factor(problem, settings: Settings) -> float | None:
    if problem.likelihood != "normal":
        return None
    return {"nll": None, "half": problem.variance, "one": 2 * problem.variance}[settings["loss.squared_error"]]


def _dropped_from_bound(problem, settings: Settings) -> float:
    return -likelihood_constants(problem) if settings["vi.constants"] == "dropped" else 0.0


Terms = Callable[[Quantity, Any, Settings], list[Array]]  # what is added to a value


def _less(dropped: Callable[[Any, Settings], float], names: Collection[str]) -> Terms:
    """Minus `dropped`, in the quantities with these names."""
    return lambda quantity, problem, settings: [-np.asarray(dropped(problem, settings))] if quantity.name in names else []


def _divergence_of_draws(quantity: Quantity, problem, settings: Settings) -> list[Array]:
    sampled = settings["vi.divergence"] == "sampled" and quantity.name in SAMPLED
    return list(sampled_less_closed(quantity.name, problem)) if sampled else []


_TERMS: dict[str, Terms] = {  # by the axis that says whether they are there
    "loss.constants": _less(_dropped_from_loss, ("loss",)),
    "log_joint.constants": _less(_dropped_from_log_joint, ("log_joint",)),
    "vi.constants": _less(_dropped_from_bound, BOUNDS),
    "vi.divergence": _divergence_of_draws,
}


def _added(quantity: Quantity, problem, settings: Settings) -> list[Array]:
    """The terms that the declared conventions add to a value."""
    return [term for terms in _TERMS.values() for term in terms(quantity, problem, settings)]


def _adding(axis: str) -> Callable[..., Array]:
    """The conversion that adds the terms of an axis."""
    def add(quantity: Quantity, value: Array, problem, settings: Settings) -> Array:
        return sum(_TERMS[axis](quantity, problem, settings), value)
    return add


def _scale_squared_error(quantity: Quantity, value: Array, problem, settings: Settings) -> Array:
    factor = _squared_error_factor(problem, settings)
    return value if factor is None or quantity.name not in _POWER else value * factor ** _POWER[quantity.name]


def _count(problem, reduction: str) -> int:
    return {"sum": 1, "mean": len(problem.X), "mean_all": problem.y.size}[reduction]


def _reduce(quantity: Quantity, value: Array, problem, settings: Settings) -> Array:
    return value / _count(problem, settings["loss.reduction"]) if quantity.name in _POWER else value


def _is_product_of_gradients(quantity: Quantity) -> bool:
    return _POWER.get(quantity.name) == 2


def _reduce_gradients(quantity: Quantity, value: Array, problem, settings: Settings) -> Array:
    """Each of the two gradients carries the 1/N."""
    return value / _count(problem, settings["fisher.gradients"]) ** 2 if _is_product_of_gradients(quantity) else value


def permutation(problem, order: str) -> NDArray[np.int64]:
    """Positions in the package's θ, listed in another order: answer_in_order = value[permutation]."""
    net = Mlp(problem.sizes, activation=activations.identity, bias=problem.bias)
    layers = [(W.astype(int), np.array([], int) if b is None else b.astype(int))
              for W, b in net.unflatten(np.arange(net.num_params, dtype=float))]
    return np.concatenate(_ORDERS[order](layers))


_ORDERS: dict[str, Callable[[list], list]] = {
    "torch": lambda layers: [part for W, b in layers for part in (W.ravel(), b)],
    "column_major": lambda layers: [part for W, b in layers for part in (W.T.ravel(), b)],
    "bias_first": lambda layers: [part for W, b in layers for part in (b, W.ravel())],
    "biases_last": lambda layers: [W.ravel() for W, _ in layers] + [b for _, b in layers],
    "flax": lambda layers: [part for W, b in layers for part in (b, W.T.ravel())],
}


def _reorder(quantity: Quantity, value: Array, problem, settings: Settings) -> Array:
    if settings["parameters.order"] == "torch":
        return value
    everything = permutation(problem, settings["parameters.order"])
    start = len(everything) - problem.layer_sizes[-1]
    chosen = everything[np.isin(everything, problem.subset)]
    orders = {"p": everything, "q": everything[everything >= start] - start, "r": np.searchsorted(problem.subset, chosen)}
    for axis, letter in enumerate(_stored_axes(quantity)):
        value = value.take(orders[letter], axis) if letter in orders else value
    return value


def _stored_axes(quantity: Quantity) -> list[str]:
    return (quantity if quantity.kind == "draws" else QUANTITIES[quantity.certified_by]).axes.split()


def _is_kronecker(quantity: Quantity) -> bool:
    return quantity.name.endswith((".kfac", ".kfra"))


def _is_blockdiag(quantity: Quantity) -> bool:
    return quantity.name.endswith(".blockdiag")


def _split_bias(quantity: Quantity, value: Array, problem, settings: Settings) -> Array:
    """Nothing between the weights and the biases of a layer; both blocks are those of B ⊗ A with the 1 in ā."""
    return _tensor_blocks(value, problem) if settings["kfac.bias"] == "split" and _is_kronecker(quantity) else value


def _split_blocks(quantity: Quantity, value: Array, problem, settings: Settings) -> Array:
    return _tensor_blocks(value, problem) if settings["blockdiag.blocks"] == "tensors" and _is_blockdiag(quantity) else value


def _tensor_blocks(value: Array, problem) -> Array:
    """Zero between weights and biases. What lies between layers is zero already."""
    if not problem.bias:
        return value
    is_bias = np.concatenate([np.repeat([False, True], [out * into, out])
                              for into, out in zip(problem.sizes[:-1], problem.sizes[1:])])
    return np.where(is_bias[:, None] == is_bias, value, 0.0)


def _add_noise(quantity: Quantity, value: Array, problem, settings: Settings) -> Array:
    wanted = quantity.name == "predictive.glm.variance" and settings["predictive.noise"] == "included"
    return value + problem.variance * np.eye(value.shape[-1]) if wanted and problem.likelihood == "normal" else value


def _summarise_variance(quantity: Quantity, value: Array, problem, settings: Settings) -> Array:
    choice = settings["predictive.variance"]
    if quantity.name != "predictive.glm.variance" or choice == "covariance":
        return value
    marginal = np.diagonal(value, axis1=-2, axis2=-1)
    return np.sqrt(marginal) if choice == "std" else marginal.copy()


def _has_slope_by_scale(quantity: Quantity) -> bool:
    return quantity.name in ("vi.elbo.gradient.scale", "vi.full.elbo.gradient.scale")


_BY: dict[str, Callable[[Array], Array]] = {
    "log_scale": lambda c: c, "variance": lambda c: 0.5 / c, "log_variance": lambda c: 0.5 * c}


def _by_scale(quantity: Quantity, value: Array, problem, settings: Settings) -> Array:
    """∂c/∂u for the variable u: of every c, or of the diagonal entries of C."""
    choice = settings["vi.scale.by"]
    if choice == "scale" or not _has_slope_by_scale(quantity):
        return value
    factors = _BY[choice](np.abs(problem.vector))
    return value * factors if value.ndim == 1 else np.where(np.eye(len(value), dtype=bool), value * factors, value)


def _keep(quantity: Quantity, value: Array, problem, settings: Settings) -> Array:
    return value  # the declared precision changes how an answer is judged, not the value


# Applied from top to bottom: constants leave before factors come.
AXES: tuple[Axis, ...] = (
    Axis("loss.constants", {
        "kept": "the loss is −log p(y | f) with every constant",
        "dropped": "terms without θ are left out of the loss: (N C / 2) log 2πσ², Σ log y!, factors Γ"},
        _adding("loss.constants"), lambda quantity: quantity.name == "loss"),
    Axis("log_joint.constants", {
        "kept": "log p(y, θ) is a normalised density",
        "dropped": "terms without θ are left out of log_joint, also the prior's; never out of an evidence"},
        _adding("log_joint.constants"), lambda quantity: quantity.name == "log_joint"),
    Axis("vi.constants", {
        "kept": "bounds hold every constant of the likelihood",
        "dropped": "terms without θ of −log p(y | f) are left out of the bound; never any of the divergence"},
        _adding("vi.constants"), lambda quantity: quantity.name in BOUNDS),
    Axis("vi.divergence", {
        "closed": "bounds at given normals hold the closed KL(q ‖ prior)",
        "sampled": "they hold the mean of log q − log prior at the same draws, and slopes are those of that"},
        _adding("vi.divergence"), lambda quantity: quantity.name in SAMPLED),
    Axis("vi.scale.by", {
        "scale": "slopes by the standard deviations, or by the entries of C",
        "log_scale": "by the logarithms of the standard deviations, or of the diagonal entries of C",
        "variance": "by the squares of these",
        "log_variance": "by the logarithms of their squares"},
        _by_scale, _has_slope_by_scale),
    Axis("loss.squared_error", {
        "nll": "Normal likelihood: −log p with its variance",
        "half": "Normal likelihood: ½‖y − f‖², no variance, no constants",
        "one": "Normal likelihood: ‖y − f‖², no variance, no constants"},
        _scale_squared_error, lambda quantity: quantity.name in _POWER),
    Axis("loss.reduction", {
        "sum": "the loss is summed over data",
        "mean": "loss, gradient, Hessian, GGN, Fisher are divided by N (empirical: (1/N) Σ g gᵀ, g not averaged)",
        "mean_all": "the same, divided by the number of entries of y: N C, but N for class labels"},
        _reduce, lambda quantity: quantity.name in _POWER),
    Axis("fisher.gradients", {
        "sum": "empirical and sampled Fisher are made of the gradients of each datum's own loss",
        "mean": "each such gradient is divided by N, as under a mean loss: Σ (g/N)(g/N)ᵀ",
        "mean_all": "the same, divided by the number of entries of y"},
        _reduce_gradients, _is_product_of_gradients),
    Axis("kfac.bias", {
        "joint": "a layer's KFAC and KFRA are B ⊗ A with ā = (a, 1)",
        "split": "weights B ⊗ (1/N) Σ a aᵀ, biases B, nothing between them (EKFAC has a quantity of its own: ggn.ekfac.split)"},
        _split_bias, _is_kronecker),
    Axis("blockdiag.blocks", {
        "layers": "a block holds the weights and biases of a layer",
        "tensors": "weights and biases of a layer are blocks of their own, nothing between them"},
        _split_blocks, _is_blockdiag),
    Axis("parameters.order", {
        "torch": "layer by layer: W (out × in) row by row, then b",
        "column_major": "layer by layer: W column by column, then b",
        "bias_first": "layer by layer: b, then W row by row",
        "biases_last": "every W row by row, then every b",
        "flax": "layer by layer: b, then the kernel (in × out) row by row"},
        _reorder, lambda quantity: bool({"p", "q", "r"} & set(_stored_axes(quantity)))),
    Axis("predictive.noise", {
        "excluded": "variance of the function",
        "included": "variance of y: σ² added to predictive.glm.variance (Normal likelihood only)"},
        _add_noise, lambda quantity: quantity.name == "predictive.glm.variance"),
    Axis("predictive.variance", {
        "covariance": "predictive.glm.variance is m k k",
        "marginal": "its diagonal, m k",
        "std": "the square root of its diagonal, m k"},
        _summarise_variance, lambda quantity: quantity.name == "predictive.glm.variance"),
    *NOTATIONS,
    Axis("precision", {
        "float64": "answers are computed in double precision",
        "float32": "answers are computed in single precision and judged by its unit round-off"},
        _keep, lambda quantity: False),
)
DEFAULTS: dict[str, str] = {axis.name: axis.default for axis in AXES}
_ALLOWED: dict[str, dict[str, str]] = {axis.name: axis.meanings for axis in AXES}


def check(conventions: Mapping[str, str]) -> dict[str, str]:
    """`conventions` over `DEFAULTS`; ValueError names an unknown axis, value or quantity and what is allowed."""
    if not isinstance(conventions, Mapping):
        raise ValueError(f"conventions: expected a mapping of names to values, got {type(conventions).__name__}")
    for key, choice in conventions.items():
        _check_one(key, choice)
    return {**DEFAULTS, **conventions}


def _check_one(key: Any, choice: Any) -> None:
    if not isinstance(key, str):
        raise ValueError(f"conventions: a name must be a string, got {key!r}")
    axis, at, glob = key.partition("@")
    if axis not in _ALLOWED:
        near = difflib.get_close_matches(axis, _ALLOWED, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise ValueError(f"conventions: unknown {axis!r}{hint}; known: {', '.join(_ALLOWED)}")
    if at:
        select([glob])
    if not isinstance(choice, str) or choice not in _ALLOWED[axis]:
        raise ValueError(f"conventions: {key} must be one of {', '.join(_ALLOWED[axis])}; got {choice!r}")


def resolve(quantity: Quantity, conventions: Mapping[str, str]) -> dict[str, str]:
    """The value of every axis for this quantity, overrides applied."""
    check(conventions)
    settings = {**DEFAULTS, **{name: choice for name, choice in conventions.items() if name in DEFAULTS}}
    for key, choice in conventions.items():
        axis, at, glob = key.partition("@")
        if at and fnmatchcase(quantity.name, glob):
            settings[axis] = choice
    return settings


def convert(quantity: Quantity, value: Array, problem, conventions: Mapping[str, str]) -> Array:
    """The certified value in the declared conventions (for roots and samples: the covariance that judges them)."""
    settings = resolve(quantity, conventions)
    value = np.asarray(value, float)
    for axis in AXES if settings != DEFAULTS else ():
        value = axis.apply(quantity, value, problem, settings)
    return value


def without_layout(quantity: Quantity, answer: Array, problem, conventions: Settings) -> tuple[Array, dict[str, str]]:
    """The answer with its numbers in their usual places, and the conventions that are left."""
    names = {axis.name for axis in LAYOUTS}
    left = {key: choice for key, choice in conventions.items() if key.partition("@")[0] not in names}
    return undone(quantity, answer, problem, resolve(quantity, conventions)), left


_SCALINGS = (_scale_squared_error, _reduce, _reduce_gradients, *(axis.apply for axis in SCALINGS))


def factor(quantity: Quantity, problem, conventions: Mapping[str, str]) -> float:
    """The number by which the declared reductions and squared error multiply the quantity."""
    settings, value = resolve(quantity, conventions), np.ones(())
    for scaling in _SCALINGS:
        value = scaling(quantity, value, problem, settings)
    return float(value)


def amplification(quantity: Quantity, value: Array, problem, conventions: Mapping[str, str]) -> float:
    """How much the conversion may multiply relative errors: by cancellation, by leaving entries out, by unequal roots."""
    settings = resolve(quantity, conventions)
    return _cancellation(quantity, value, problem, settings) * _spread(quantity, value, problem, settings, conventions)


def _cancellation(quantity: Quantity, value: Array, problem, settings: Settings) -> float:
    """Of the largest term and the sum."""
    added = _added(quantity, problem, settings)
    if not any(np.any(term) for term in added):
        return 1.0
    rest = np.linalg.norm(sum(added, value))
    return max(1.0, *(float(np.linalg.norm(term) / rest) for term in (value, *added))) if rest else math.inf


def _spread(quantity: Quantity, value: Array, problem, settings: Settings, conventions: Mapping[str, str]) -> float:
    """Of factors that differ from entry to entry, of entries left out."""
    if (_is_kronecker(quantity) or _is_blockdiag(quantity)) and np.any(value):
        left = _split_blocks(quantity, _split_bias(quantity, value, problem, settings), problem, settings)
        return float(np.linalg.norm(value) / (np.linalg.norm(left) or 1.0))
    if quantity.name == "ntk" and settings["ntk.outputs"] != "full" and np.any(value):
        return max(1.0, float(np.linalg.norm(value) / np.linalg.norm(np.einsum("nkmk->nm", value))) * value.shape[1])
    marginals = {MARGINALS: "laplace.marginals", VARIATIONAL: "vi.marginals"}
    form = next((settings[name] for touches, name in marginals.items() if touches(quantity)), "variance")
    if form != "variance":
        return float((value.max() / value.min()) ** (0.5 if form == "std" else 1.0))
    if _has_slope_by_scale(quantity) and settings["vi.scale.by"] != "scale":
        factors = _BY[settings["vi.scale.by"]](np.abs(problem.vector))
        return float(factors.max() / factors.min())
    if quantity.name != "predictive.glm.variance" or settings["predictive.variance"] != "std":
        return 1.0
    std = convert(quantity, value, problem, conventions)
    return max(1.0, std.max() / (2 * std.min())) if std.min() > 0 else math.inf
