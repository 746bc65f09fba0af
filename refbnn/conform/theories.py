"""What a wrong answer may be: every theory that the diagnosis tries, as data.

A `Reading` undoes something that may have been done to the answer (another parameter order, a transpose). A `Theory` then says
which combination of certified matrices the answer should be: its `basis`, whose coefficients the diagnosis fits and names.
Adding a theory is one row. Everything here is in the package's parameter order and in the declared conventions; answers of kind
"root" and "samples" are read through the covariance that they imply.
"""
from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations, permutations
from typing import Any, Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from refbnn import linalg

from .compare import TooFewNormals, Unusable, linear_map
from .conventions import AXES, convert, permutation, resolve
from .quantities import QUANTITIES, Quantity, axis_sizes

Array = NDArray[np.float64]
Basis = tuple[Array, ...]

ORDER = "parameters.order"
LOSS_MATRICES = ("ggn.full", "hessian.full", "fisher.full", "fisher.empirical", "fisher.mc")
LOSS_DIAGONALS = ("ggn.diag", "hessian.diag", "fisher.empirical.diag")
COVARIANCES = {"laplace.covariance": "ggn.full", "laplace.scale": "ggn.full", "laplace.sample": "ggn.full",
               "laplace.hessian.covariance": "hessian.full"}
PRECISIONS = {"laplace.precision": "ggn.full", "laplace.hessian.precision": "hessian.full"}
LOG_DETS = {"laplace.log_det": "laplace.precision", "laplace.hessian.log_det": "laplace.hessian.precision"}
EVIDENCES = {"laplace.log_evidence": "laplace.precision", "laplace.hessian.log_evidence": "laplace.hessian.precision"}
NAMES = {"ggn.full": "the GGN", "hessian.full": "the Hessian", "fisher.full": "the exact Fisher matrix",
         "fisher.empirical": "the empirical Fisher matrix", "fisher.mc": "the Fisher matrix at the given labels"}


@dataclass(frozen=True)
class Facts:
    """The certified values of one case in the declared conventions, but always in the package's parameter order."""

    case: Any
    conventions: Mapping[str, str]
    _seen: dict[str, Array | None] = field(default_factory=dict)

    @property
    def problem(self):
        return self.case.problem

    @cached_property
    def _unordered(self) -> dict[str, str]:
        return {key: choice for key, choice in self.conventions.items() if key.partition("@")[0] != ORDER}

    def value(self, name: str) -> Array | None:
        """The certified value of a quantity (for roots and samples: of the covariance); None where the case stores none."""
        if name not in self._seen:
            quantity = QUANTITIES[name]
            stored = self.case.values.get(quantity.certified_by)
            self._seen[name] = None if stored is None else convert(quantity, stored.value, self.problem, self._unordered)
        return self._seen[name]

    def changed(self, quantity: Quantity, changes: Mapping[str, str]) -> Array | None:
        """The certified value, had these conventions been declared."""
        stored = self.case.values.get(quantity.certified_by)
        conventions = {**{axis.name: choice for axis, choice in self.settings(quantity)}, **changes, ORDER: "torch"}
        return None if stored is None else convert(quantity, stored.value, self.problem, conventions)

    def settings(self, quantity: Quantity) -> list[tuple[Any, str]]:
        """Every convention axis with its declared choice for this quantity."""
        resolved = resolve(quantity, self.conventions)
        return [(axis, resolved[axis.name]) for axis in AXES]

    def condition(self, name: str) -> float:
        """The condition number of a certified value, 1 where none is stored."""
        stored = self.case.values.get(QUANTITIES[name].certified_by)
        return 1.0 if stored is None else stored.condition or 1.0

    def order(self, name: str) -> NDArray[np.int64]:
        """Positions of a parameter order in the package's θ (see `conventions.permutation`)."""
        key = "order " + name
        if key not in self._seen:
            self._seen[key] = permutation(self.problem, name)
        return self._seen[key]

    def term(self, term: Term) -> float | None:
        """The value of a named addend, computed once."""
        key = "term " + term.key
        if key not in self._seen:
            self._seen[key] = term.value(self)
        return self._seen[key]

    def raw(self, name: str) -> Array | None:
        """The certified value as stored: sums, every constant kept."""
        stored = self.case.values.get(name)
        return None if stored is None else np.asarray(stored.value, float)

    @cached_property
    def model(self):
        """The problem in the package's own objects, for what no case stores (Jacobians at new inputs)."""
        from .adapters import refbnn as own
        return own.prepare(self.problem)

    @cached_property
    def glm_jacobian(self) -> Array:
        """∂f/∂θ at the new inputs, (m k) p."""
        jacobian = self.model.net.jacobian(self.problem.theta, self.problem.X_new)
        return jacobian.reshape(-1, jacobian.shape[-1])

    def cholesky(self, name: str) -> Array | None:
        """Lower L with L Lᵀ = the certified matrix."""
        key = "cholesky " + name
        if key not in self._seen:
            matrix = self.value(name)
            self._seen[key] = None if matrix is None else _cholesky(matrix)
        return self._seen[key]


def _cholesky(matrix: Array) -> Array | None:
    try:
        return linalg.cholesky("matrix", matrix)
    except linalg.NotPositiveDefinite:
        return None


@dataclass(frozen=True)
class Reading:
    """A way to read an answer: `view` gives it in the certified value's shape, or None where it does not apply.

    Of kind "order" it is in the package's parameter order too, of kind "shape" still in the declared one.
    """

    key: str
    complexity: int
    sentence: str
    advice: str
    view: Callable[[Facts, Quantity, Array], Array | None]
    kind: str = "shape"


@dataclass(frozen=True)
class Theory:
    """The answer is Σ c_i basis_i. `free` coefficients are fitted and must be named; otherwise each is 1."""

    key: str
    kind: str
    complexity: int
    sentence: str
    advice: str
    basis: Callable[[Facts, Quantity], Basis | None]
    needs: tuple[str, ...] = ()
    free: bool = True
    terms: tuple[str, ...] = ()
    inverse: bool = False
    special: Mapping[tuple[str, ...], tuple[str, str, str]] = field(default_factory=dict)
    constant: bool = False  # the last coefficient may be any number that is the same on all cases
    predictive: bool = False  # coefficients may hold the numbers of draws and of new inputs


# Readings ------------------------------------------------------------------------------------------------------------

def _implied(facts: Facts, quantity: Quantity, answer: Array, order: str) -> Array | None:
    """The covariance that a root or samples imply."""
    if answer.shape != quantity.shape(axis_sizes(facts.problem)):
        return None
    if quantity.kind == "root":
        return answer @ answer.T
    try:
        root, _ = linear_map(answer, facts.problem, order)
    except (Unusable, TooFewNormals):
        return None
    return root @ root.T


def in_package_order(facts: Facts, quantity: Quantity, value: Array, name: str) -> Array | None:
    """A value of this quantity from the order `name` to the package's; None for another shape or a quantity without θ."""
    axes = QUANTITIES[quantity.certified_by].axes.split()
    sizes = axis_sizes(facts.problem)
    if "p" not in axes or value.shape != tuple(sizes[axis] for axis in axes):
        return None
    back = np.argsort(facts.order(name))
    for axis, letter in enumerate(axes):
        value = value.take(back, axis) if letter == "p" else value
    return value


def _in_order(name: str, declared: str) -> Callable[[Facts, Quantity, Array], Array | None]:
    def view(facts: Facts, quantity: Quantity, answer: Array) -> Array | None:
        if quantity.kind in ("root", "samples"):
            answer = _implied(facts, quantity, answer, name)
        ordered = None if answer is None else in_package_order(facts, quantity, answer, name)
        return answer if ordered is None and name == declared else ordered
    return view


def declared_order(facts: Facts, quantity: Quantity) -> str:
    """The parameter order that the adapter declares for a quantity."""
    return resolve(quantity, facts.conventions)[ORDER]


def _order_readings(declared: str) -> list[Reading]:
    names = next(axis for axis in AXES if axis.name == ORDER).meanings
    return [Reading("given" if name == declared else f"{ORDER}={name}", 0 if name == declared else 1,
                    f"Your parameters are in another order: {meaning}", f"declare {ORDER} = {name}", _in_order(name, declared), "order")
            for name, meaning in names.items()]


def _transposed(axes: tuple[int, ...]) -> Callable[[Facts, Quantity, Array], Array | None]:
    def view(facts: Facts, quantity: Quantity, answer: Array) -> Array | None:
        wanted = facts.value(quantity.name).shape
        fits = answer.ndim == len(axes) == len(wanted) and quantity.kind not in ("root", "samples")
        return answer.transpose(axes) if fits and answer.transpose(axes).shape == wanted else None
    return view


def _reshaped(facts: Facts, quantity: Quantity, answer: Array) -> Array | None:
    wanted = facts.value(quantity.name).shape
    same = answer.shape != wanted and answer.size == math.prod(wanted) and quantity.kind not in ("root", "samples")
    return answer.reshape(wanted) if same else None


def _summed(facts: Facts, quantity: Quantity, answer: Array) -> Array | None:
    wanted = facts.value(quantity.name).shape
    return answer.sum(0) if answer.ndim and answer.shape[1:] == wanted and answer.shape[0] == len(facts.problem.X) else None


def _mirrored(triangle: Callable[[Array], Array]) -> Callable[[Facts, Quantity, Array], Array | None]:
    def view(facts: Facts, quantity: Quantity, answer: Array) -> Array | None:
        square = quantity.kind in ("symmetric", "positive_definite") and answer.shape == facts.value(quantity.name).shape
        if not square or not answer.any() or not np.array_equal(triangle(answer), answer):
            return None
        return answer + answer.T - np.diag(np.diag(answer))
    return view


def _half_of_square(triangle: Callable[[Array], Array]) -> Callable[[Facts, Quantity, Array], Array | None]:
    """One triangle holds the value, the other something else."""
    def view(facts: Facts, quantity: Quantity, answer: Array) -> Array | None:
        square = quantity.kind in ("symmetric", "positive_definite") and answer.shape == facts.value(quantity.name).shape
        if not square or np.array_equal(answer, answer.T) or np.array_equal(triangle(answer), answer):
            return None
        half = triangle(answer)
        return half + half.T - np.diag(np.diag(answer))
    return view


def _diagonal_of(facts: Facts, quantity: Quantity, answer: Array) -> Array | None:
    wanted = facts.value(quantity.name).shape
    return np.diag(answer).copy() if len(wanted) == 1 and answer.shape == wanted * 2 else None


def _samples_around(centre: Callable[[Any], Array]) -> Callable[[Facts, Quantity, Array], Array | None]:
    def view(facts: Facts, quantity: Quantity, answer: Array) -> Array | None:
        problem = facts.problem
        if quantity.kind != "samples" or answer.shape != problem.normals.shape or not np.any(centre(problem) != problem.theta):
            return None
        order = declared_order(facts, quantity)
        shift = (problem.theta - centre(problem))[facts.order(order)]
        return _implied(facts, quantity, answer + shift, order)
    return view


_SHAPE_READINGS = (
    Reading("shape", 1, "The numbers are in the expected order but the shape is not", "return the stated shape", _reshaped),
    *(Reading(f"transposed_{''.join(map(str, axes))}", 1, "Your axes are permuted", f"transpose the axes by {axes}",
              _transposed(axes)) for n in (2, 3) for axes in permutations(range(n)) if axes != tuple(range(n))),
    Reading("per_datum", 1, "You return one value per datum", "sum over the data", _summed),
    Reading("lower_triangle", 1, "Only the lower triangle is filled", "fill both triangles", _mirrored(np.tril)),
    Reading("upper_triangle", 1, "Only the upper triangle is filled", "fill both triangles", _mirrored(np.triu)),
    Reading("upper_triangle_wrong", 1, "The lower triangle is right, the upper one is not", "mirror the lower triangle",
            _half_of_square(np.tril)),
    Reading("lower_triangle_wrong", 1, "The upper triangle is right, the lower one is not", "mirror the upper triangle",
            _half_of_square(np.triu)),
    Reading("full_for_diagonal", 1, "You return the full matrix", "return its diagonal", _diagonal_of),
    Reading("centre_zero", 1, "Your samples lie around 0, not around θ", "add θ", _samples_around(lambda p: 0 * p.theta)),
    Reading("centre_prior_mean", 1, "Your samples lie around the prior mean, not around θ", "add θ instead",
            _samples_around(lambda p: p.prior_mean)),
    Reading("centre_twice", 1, "θ is added twice to your samples", "add it once", _samples_around(lambda p: 2 * p.theta)),
)


def readings(quantity: Quantity, conventions: Mapping[str, str]) -> list[Reading]:
    """Every way to read an answer, the declared one first."""
    orders = _order_readings(resolve(quantity, conventions)[ORDER])
    return sorted([*orders, *_SHAPE_READINGS], key=lambda reading: reading.complexity)


# Theories ------------------------------------------------------------------------------------------------------------

def _value(name: str) -> Callable[[Facts, Quantity], Basis | None]:
    def basis(facts: Facts, quantity: Quantity) -> Basis | None:
        found = facts.value(name)
        return None if found is None else (found,)
    return basis


def _pair(first: Callable[[Facts], Array | None], second: Callable[[Facts], Array | None]) -> Callable[[Facts, Quantity], Basis | None]:
    def basis(facts: Facts, quantity: Quantity) -> Basis | None:
        pair = first(facts), second(facts)
        return None if pair[0] is None or pair[1] is None else pair
    return basis


def _prior(facts: Facts) -> Array:
    return facts.problem.prior_precision


def theories(quantity: Quantity, conventions: Mapping[str, str]) -> list[Theory]:
    """Every theory for one quantity."""
    found = [Theory("", "itself", 0, "", "", _value(quantity.name), (quantity.name,), predictive=quantity.name.startswith("predictive"))]
    found += _conventions(quantity, conventions) + _other_quantities(quantity)
    for names, build in _FAMILIES:
        if quantity.name in names:
            found += build(quantity)
    if quantity.kind != "scalar":
        found += _partial(quantity)
    return found


def _conventions(quantity: Quantity, conventions: Mapping[str, str]) -> list[Theory]:
    """One undeclared convention, or two."""
    declared = resolve(quantity, conventions)
    single = [{axis.name: choice} for axis in AXES if axis.name != ORDER and axis.touches(quantity)
              for choice in axis.meanings if choice != declared[axis.name]]
    double = [{**a, **b} for a, b in combinations(single, 2) if a.keys() != b.keys()]
    return [_convention(changes) for changes in single + double]


def _convention(changes: dict[str, str]) -> Theory:
    def basis(facts: Facts, quantity: Quantity) -> Basis | None:
        changed = facts.changed(quantity, changes)
        return None if changed is None else (changed,)
    meanings = {axis.name: axis.meanings for axis in AXES}
    sentence = "; ".join(meanings[name][choice] for name, choice in changes.items())
    advice = "declare " + " and ".join(f"{name} = {choice}" for name, choice in changes.items())
    return Theory(_joined(changes), "convention", len(changes), f"You use another convention ({sentence})", advice, basis, free=False)


def _joined(changes: dict[str, str]) -> str:
    return "+".join(f"{name}={choice}" for name, choice in changes.items())


# The same thing under two names, or what a theory with coefficients says better.
_NOT_OTHER = {
    **{name: (*LOSS_MATRICES, *PRECISIONS) for name in PRECISIONS},
    **{name: tuple(PRECISIONS) for name in LOSS_MATRICES},
    "laplace.covariance": ("laplace.hessian.covariance",),
    "laplace.hessian.covariance": ("laplace.covariance",),
}


def _other_quantities(quantity: Quantity) -> list[Theory]:
    if quantity.kind in ("root", "samples"):
        return []
    free = quantity.kind != "scalar"  # a scalar is a multiple of every other
    return [Theory(f"quantity:{name}", "quantity", 2, f"You return {name}: {other.formula}", f"return {quantity.formula}",
                   _value(name), (name,), free)
            for name, other in QUANTITIES.items()
            if name != quantity.name and other.kind not in ("root", "samples") and name not in _NOT_OTHER.get(quantity.name, ())]


def _prior_in_loss(quantity: Quantity) -> list[Theory]:
    """αR + βP₀ for what should hold no prior."""
    terms: dict[str, Callable[[Facts], Array | None]] = {
        "gradient": lambda facts: _prior(facts) @ (facts.problem.theta - facts.problem.prior_mean),
        "hessian.hvp": lambda facts: _prior(facts) @ facts.problem.vector,
        **{name: _prior for name in LOSS_MATRICES},
        **{name: lambda facts: np.diag(_prior(facts)).copy() for name in LOSS_DIAGONALS},
    }
    prior = {"gradient": "P₀(θ − m)", "hessian.hvp": "P₀v"}.get(quantity.name, "P₀")
    advice = "leave the prior out: the loss is the negative log-likelihood alone"
    special = {("1", "1"): ("prior_included", f"The prior is included: {prior} is added", advice),
               ("-1", "-1"): ("prior_included+sign", "You return the derivative of +log p(y, θ), prior included", "negate, and " + advice)}
    found = [Theory("with_prior", "prior", 1, "A multiple of the prior term is added", advice,
                    _pair(lambda facts: facts.value(quantity.name), terms[quantity.name]), (quantity.name,), terms=("the value", prior),
                    special=special)]
    if quantity.name in LOSS_MATRICES:
        found += [_other_with_prior(other) for other in LOSS_MATRICES if other != quantity.name]
    return found


def _other_with_prior(other: str) -> Theory:
    return Theory(f"with_prior:{other}", "quantity_prior", 3, f"You return {NAMES[other]} with a prior term", "leave the prior out",
                  _pair(lambda facts: facts.value(other), _prior), (other,), terms=(NAMES[other], "P₀"))


_PRIOR_CASES = {
    ("1", "0"): ("prior_forgotten", "The prior precision is missing", "add P₀"),
    ("1", "2"): ("prior_doubled", "The prior precision is added twice", "add P₀ once"),
    ("0", "1"): ("curvature_forgotten", "Only the prior precision is there", "add the curvature of the loss"),
}


def _curvature_plus_prior(quantity: Quantity) -> list[Theory]:
    """P = αG + βP₀, or with another curvature for G; for covariances, roots and samples: of the inverse."""
    mine = PRECISIONS.get(quantity.name) or COVARIANCES[quantity.name]
    inverse = quantity.name in COVARIANCES
    found = []
    for name in LOSS_MATRICES:
        own = name == mine
        same = {("1", "1"): (f"curvature:{name}", f"The curvature is {NAMES[name]}, not {NAMES[mine]}", f"use {NAMES[mine]}")}
        found.append(Theory(
            "mixed" if own else f"mixed:{name}", "curvature" if own else "other_curvature", 1 if own else 2,
            f"The precision is a combination of {NAMES[name]} and the prior", "P = G + P₀ holds the summed curvature and the prior once",
            _pair(lambda facts, name=name: _curvature(facts, name), _prior), (quantity.name, name), terms=(NAMES[name], "P₀"),
            inverse=inverse, special=_PRIOR_CASES if own else same))
    found.append(Theory("jitter", "jitter", 1, "A multiple of the identity is added to the precision", "add no jitter or damping",
                        _pair(lambda facts: _precision(facts, mine), lambda facts: np.eye(len(facts.problem.theta))), (quantity.name,),
                        inverse=inverse, terms=("P", "I"), constant=True))
    return found


def _curvature(facts: Facts, name: str) -> Array | None:
    """The curvature as the definition of P has it: summed, whatever reduction is declared for the loss."""
    stored = facts.raw(name)
    if stored is not None:
        return stored
    whole = {mine: precision for precision, mine in PRECISIONS.items()}.get(name)
    precision = None if whole is None else facts.raw(whole)
    return None if precision is None else precision - _prior(facts)


def _precision(facts: Facts, curvature: str) -> Array | None:
    found = _curvature(facts, curvature)
    return None if found is None else found + _prior(facts)


def _sides(quantity: Quantity) -> list[Theory]:
    """Roots with the Cholesky factor on the wrong side, transposed or not inverted; L Lᵀ = P, K Kᵀ = P⁻¹."""
    rows = (
        ("transposed_cholesky", "C = L⁻¹, the inverse of the Cholesky factor of P untransposed",
         "solve with Lᵀ: C = L⁻ᵀ", lambda L, K: linalg.solve_lower(L, np.eye(len(L)))),
        ("transposed_cholesky_of_covariance", "C = Kᵀ, the Cholesky factor of P⁻¹ transposed", "use K (or normals @ K.T)",
         lambda L, K: K.T),
        ("cholesky_of_precision", "C Cᵀ = P: the root of the precision, not of the covariance", "invert: C = L⁻ᵀ", lambda L, K: L),
        ("transposed_cholesky_of_precision", "C = Lᵀ, the transposed Cholesky factor of the precision", "invert: C = L⁻ᵀ",
         lambda L, K: L.T),
        ("covariance_for_root", "C = P⁻¹: the covariance itself, not its root", "take a root", lambda L, K: K @ K.T),
        ("precision_for_root", "C = P: the precision itself, not a root of its inverse", "take a root of P⁻¹", lambda L, K: L @ L.T),
        ("marginal_root", "C holds only the marginal standard deviations", "use the full covariance",
         lambda L, K: np.diag(np.sqrt((K * K).sum(1)))),
        ("diagonal_root", "C = diag(P)^(−1/2): the precision's diagonal alone", "use the full matrix",
         lambda L, K: np.diag(1 / np.sqrt((L * L).sum(1)))),
    )
    return [Theory(key, "side", 2, sentence, advice, _root_basis(root), ("laplace.precision", "laplace.covariance"))
            for key, sentence, advice, root in rows]


def _root_basis(root: Callable[[Array, Array], Array]) -> Callable[[Facts, Quantity], Basis | None]:
    def basis(facts: Facts, quantity: Quantity) -> Basis | None:
        L, K = facts.cholesky("laplace.precision"), facts.cholesky("laplace.covariance")
        if L is None or K is None:
            return None
        C = root(L, K)
        return (C @ C.T,)
    return basis


def _partial(quantity: Quantity) -> list[Theory]:
    """Parts of the right matrix, elementwise slips."""
    if quantity.axes == "p p" and quantity.kind != "root":
        return [
            Theory("diagonal_only", "part", 1, "Only the diagonal is filled", "return the full matrix",
                   lambda facts, q: (np.diag(np.diag(facts.value(q.name))),)),
            Theory("diagonal_vector", "part", 1, "You return the diagonal alone", "return the full matrix",
                   lambda facts, q: (np.diag(facts.value(q.name)).copy(),)),
            Theory("block_diagonal", "part", 2, "Only the blocks of the layers are filled", "return the full matrix", _layer_blocks),
            Theory("inverse", "part", 2, "You return the inverse", "do not invert", _inverse),
        ]
    return []


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


def _empirical(quantity: Quantity) -> list[Theory]:
    """Σ g gᵀ − β (Σ g)(Σ g)ᵀ: centred, or the outer product of the sum."""
    def total(facts: Facts) -> Array | None:
        gradient = facts.value("gradient")
        return None if gradient is None else np.outer(gradient, gradient)
    special = {("0", "1"): ("outer_of_sum", "You return the outer product of the summed gradient", "sum the outer products per datum"),
               ("1", "-1/N"): ("centred", "The per-datum gradients are centred", "do not subtract their mean")}
    return [Theory("centred", "centred", 1, "A multiple of the outer product of the summed gradient is there", "sum g gᵀ per datum",
                   _pair(lambda facts: facts.value(quantity.name), total), (quantity.name, "gradient"), terms=("the value", "(Σg)(Σg)ᵀ"),
                   special=special)]


def _means(quantity: Quantity) -> list[Theory]:
    """Network outputs where the likelihood's mean is asked for, and the reverse."""
    def mean_of(name: str) -> Callable[[Facts, Quantity], Basis | None]:
        def basis(facts: Facts, quantity: Quantity) -> Basis | None:
            f = facts.value(name)
            return None if f is None or facts.problem.likelihood == "normal" else (facts.model.posterior.likelihood.mean(f),)
        return basis
    return [Theory(f"mean_of:{quantity.name}", "link", 2, "You return the mean of y (softmax, sigmoid or exp of the output)",
                   "return the network's output", mean_of(quantity.name), (quantity.name,))]


def _monte_carlo(quantity: Quantity) -> list[Theory]:
    """Slips in (1/t) Σ_t E[y | f_t]."""
    def outputs(facts: Facts) -> Array:
        return facts.model.net.forward(facts.problem.draws, facts.problem.X_new)

    def link(facts: Facts, f: Array) -> Array:
        return facts.model.posterior.likelihood.mean(f)
    rows = (("mean_output", "You average the network's output, not the mean of y", "average softmax, sigmoid or exp of the output",
             lambda facts, q: (outputs(facts).mean(0),)),
            ("link_of_mean", "You apply softmax, sigmoid or exp after averaging the outputs", "average E[y | f] over the draws",
             lambda facts, q: (link(facts, outputs(facts).mean(0)),)),
            ("at_mean_draw", "You predict at the mean of the draws", "average the predictions over the draws",
             lambda facts, q: (link(facts, facts.model.net.forward(facts.problem.draws.mean(0), facts.problem.X_new)),)),
            ("at_theta", "You predict at θ, the draws are not used", "average the predictions over the draws",
             lambda facts, q: (link(facts, facts.model.net.forward(facts.problem.theta, facts.problem.X_new)),)),
            ("first_draw", "Only the first draw is used", "average over all draws",
             lambda facts, q: (link(facts, outputs(facts)[0]),)))
    return [Theory(key, "predictive", 2, sentence, advice, basis, (quantity.name,)) for key, sentence, advice, basis in rows]


def _glm_variance(quantity: Quantity) -> list[Theory]:
    """J A Jᵀ with a wrong A, and noise."""
    def outputs(A: Callable[[Array, Array, Facts], Array]) -> Callable[[Facts, Quantity], Basis | None]:
        def basis(facts: Facts, quantity: Quantity) -> Basis | None:
            precision, covariance, J = facts.value("laplace.precision"), facts.value("laplace.covariance"), facts.glm_jacobian
            if precision is None or covariance is None:
                return None
            k = facts.problem.sizes[-1]
            rows = J.reshape(-1, k, J.shape[-1])
            return (rows @ A(precision, covariance, facts) @ rows.swapaxes(-1, -2),)
        return basis
    needs = ("laplace.precision", "laplace.covariance", quantity.name)
    rows = (("precision_for_covariance", "J P Jᵀ: the precision stands where its inverse should", "use P⁻¹", lambda P, S, facts: P),
            ("marginal_covariance", "Only the marginal variances of θ are used", "use the full covariance",
             lambda P, S, facts: np.diag(np.diag(S))),
            ("diagonal_precision", "Only the diagonal of the precision is used", "use the full precision",
             lambda P, S, facts: np.diag(1 / np.diag(P))),
            ("prior_covariance", "The prior's covariance stands for the posterior's", "use P⁻¹",
             lambda P, S, facts: np.linalg.inv(_prior(facts))),
            ("prior_forgotten", "The prior precision is missing in P", "add P₀", lambda P, S, facts: np.linalg.pinv(P - _prior(facts))),
            ("prior_doubled", "The prior precision is added twice", "add P₀ once", lambda P, S, facts: np.linalg.inv(P + _prior(facts))),
            ("mean_curvature", "The curvature in P is divided by N, the prior is not", "sum the curvature over the data",
             lambda P, S, facts: np.linalg.inv(_prior(facts) + (P - _prior(facts)) / len(facts.problem.X))),
            ("variance_missing", "The noise variance is missing in the curvature: ½‖y − f‖²", "divide by σ²",
             lambda P, S, facts: np.linalg.inv(_prior(facts) + (P - _prior(facts)) * (facts.problem.variance or math.nan))),
            ("transposed_cholesky", "A = L⁻¹L⁻ᵀ: the Cholesky factor is on the wrong side", "use L⁻ᵀL⁻¹",
             lambda P, S, facts: _outer(linalg.solve_lower(facts.cholesky("laplace.precision"), np.eye(len(P))))))
    found = [Theory(key, "predictive", 2, sentence, advice, outputs(A), needs) for key, sentence, advice, A in rows]

    def identity(facts: Facts) -> Array | None:
        value = facts.value(quantity.name)
        return np.broadcast_to(np.eye(value.shape[-1]), value.shape) if value.ndim == 3 else None
    found.append(Theory("noise", "noise", 2, "A multiple of the identity is added to the variance", "leave the noise out",
                        _pair(lambda facts: facts.value(quantity.name), identity), (quantity.name,), terms=("the value", "I")))
    return found


def _outer(root: Array) -> Array:
    return root @ root.T


# Scalars: the certified value plus one or two named terms ------------------------------------------------------------

@dataclass(frozen=True)
class Term:
    """A named addend of a scalar; None where the problem has none."""

    key: str
    text: str
    value: Callable[[Facts], float | None]


def _normal_only(value: Callable[[Any], float]) -> Callable[[Facts], float | None]:
    return lambda facts: value(facts.problem) if facts.problem.likelihood == "normal" else None


def _prior_quadratic(problem, mean: Array) -> float:
    shift = problem.theta - mean
    return 0.5 * float(shift @ problem.prior_precision @ shift)


def _mean_effect(facts: Facts) -> float:
    problem = facts.problem
    return _prior_quadratic(problem, problem.prior_mean) - _prior_quadratic(problem, 0 * problem.theta)


def _half_log_det_prior(facts: Facts) -> float:
    return 0.5 * float(np.linalg.slogdet(_prior(facts))[1])


def _half_p_log_2pi(facts: Facts) -> float:
    return 0.5 * len(facts.problem.theta) * math.log(2 * math.pi)


def _log_prior(facts: Facts) -> float:
    return _half_log_det_prior(facts) - _half_p_log_2pi(facts) - _prior_quadratic(facts.problem, facts.problem.prior_mean)


def _scalar(name: str, factor: float) -> Callable[[Facts], float | None]:
    def value(facts: Facts) -> float | None:
        found = facts.raw(name)
        return None if found is None else factor * float(found)
    return value


LIKELIHOOD_TERMS = (
    Term("log_2pi_noise", "½ N C log 2πσ²", _normal_only(lambda p: 0.5 * p.y.size * math.log(2 * math.pi * p.variance))),
    Term("log_2pi_data", "½ N C log 2π", _normal_only(lambda p: 0.5 * p.y.size * math.log(2 * math.pi))),
    Term("log_variance", "½ N C log σ²", _normal_only(lambda p: 0.5 * p.y.size * math.log(p.variance))),
    Term("log_2pi_datum", "½ N log 2πσ²", _normal_only(lambda p: 0.5 * len(p.X) * math.log(2 * math.pi * p.variance))),
    Term("log_factorials", "Σ log y!",
         lambda facts: float(gammaln(facts.problem.y + 1.0).sum()) if facts.problem.likelihood == "poisson" else None),
)
PRIOR_TERMS = (
    Term("log_2pi_parameters", "(p/2) log 2π", _half_p_log_2pi),
    Term("log_det_prior", "½ log |P₀|", _half_log_det_prior),
    Term("prior_normaliser", "½ log |P₀| − (p/2) log 2π", lambda facts: _half_log_det_prior(facts) - _half_p_log_2pi(facts)),
    Term("prior_quadratic", "½ (θ − m)ᵀP₀(θ − m)", lambda facts: _prior_quadratic(facts.problem, facts.problem.prior_mean)),
    Term("prior_mean_effect", "the effect of the prior mean on the quadratic", _mean_effect),
    Term("log_prior", "log p(θ)", _log_prior),
)
_LOSS_TERM = Term("loss", "the loss", _scalar("loss", 1.0))
_SMALL = {"loss": LIKELIHOOD_TERMS + PRIOR_TERMS, "log_joint": LIKELIHOOD_TERMS + PRIOR_TERMS + (_LOSS_TERM,)}


def _evidence_terms(quantity: Quantity) -> tuple[Term, ...]:
    log_det = next(name for name, precision in LOG_DETS.items() if precision == EVIDENCES[quantity.name])
    return (*LIKELIHOOD_TERMS, *PRIOR_TERMS, _LOSS_TERM, Term("half_log_det", "½ log |P|", _scalar(log_det, 0.5)))


# What a multiple of a term means, in words: (quantity, term, coefficient of the answer's excess) -> key, sentence, advice.
SPECIAL_TERMS = {
    ("log_joint", "prior_mean_effect", 1.0): ("prior_mean_ignored", "The prior mean is ignored", "use θ − m in the prior"),
    ("log_joint", "log_prior", -1.0): ("prior_forgotten", "The log prior is missing", "add log p(θ)"),
    ("log_joint", "log_prior", 1.0): ("prior_doubled", "The log prior is added twice", "add log p(θ) once"),
    ("loss", "log_prior", -1.0): ("prior_included", "The prior is included: −log p(θ) is added", "leave the prior out of the loss"),
    ("loss", "prior_quadratic", 1.0): ("penalty_included", "The prior's quadratic form is included", "leave the prior out of the loss"),
    **{(name, "half_log_det", 1.0): ("log_det_missing", "½ log |P| is missing", "subtract ½ log |P|") for name in EVIDENCES},
    **{(name, "half_log_det", -1.0): ("half_missing", "log |P| is subtracted without the ½", "subtract ½ log |P|") for name in EVIDENCES},
    **{(name, "half_log_det", 2.0): ("log_det_sign", "½ log |P| is added instead of subtracted", "subtract it") for name in EVIDENCES},
    **{(name, "log_prior", -1.0): ("prior_forgotten", "The log prior is missing in log p(y, θ)", "add log p(θ)") for name in EVIDENCES},
    **{(name, "prior_mean_effect", 1.0): ("prior_mean_ignored", "The prior mean is ignored", "use θ − m in the prior")
       for name in EVIDENCES},
    **{(name, "log_2pi_parameters", -1.0): ("log_2pi_missing", "(p/2) log 2π is missing", "add it") for name in EVIDENCES},
}
_WHERE = {-1.0: "missing", 1.0: "added once too often", -0.5: "half missing", 0.5: "added half too often", -2.0: "of the wrong sign",
          2.0: "added twice too often"}


def _additive(quantity: Quantity) -> list[Theory]:
    """The value plus ±½, ±1 or ±2 times one term, or ±1 times two."""
    terms = _SMALL.get(quantity.name) or _evidence_terms(quantity)
    singles = [_added(quantity, ((term, c),)) for term in terms for c in _WHERE]
    pairs = [_added(quantity, ((a, ca), (b, cb))) for a, b in combinations(terms, 2) for ca in (-1.0, 1.0) for cb in (-1.0, 1.0)]
    return singles + pairs


def _added(quantity: Quantity, addends: tuple[tuple[Term, float], ...]) -> Theory:
    def basis(facts: Facts, q: Quantity) -> Basis | None:
        values = [facts.term(term) for term, _ in addends]
        if None in values:
            return None
        expected = facts.value(q.name)
        shift = sum(c * value for (_, c), value in zip(addends, values))
        return (expected + shift,) if min(map(abs, values)) > 1e-9 * abs(expected) else None
    key, sentence, advice = _words(quantity, addends)
    return Theory(key, "additive", 2 * len(addends), sentence, advice, basis, (quantity.name,), free=False)


def _words(quantity: Quantity, addends: tuple[tuple[Term, float], ...]) -> tuple[str, str, str]:
    if len(addends) == 1:
        (term, c), = addends
        if (quantity.name, term.key, c) in SPECIAL_TERMS:
            return SPECIAL_TERMS[quantity.name, term.key, c]
    key = "+".join(f"term:{c:+g}*{term.key}" for term, c in addends)
    text = " and ".join(f"{c:+g} x [{term.text}]" for term, c in addends)
    return key, f"Your value is the right one {text}", "check these constants"


def _log_det_variants(quantity: Quantity) -> list[Theory]:
    """log |αG + βP₀| for a wrong α, β; in an evidence, −½ of it."""
    rows: tuple[tuple[str, str, str, Callable[[Any], tuple[float, float] | None]], ...] = (
        ("prior_forgotten", "P lacks the prior precision", "add P₀", lambda p: (1, 0)),
        ("prior_doubled", "P holds the prior precision twice", "add P₀ once", lambda p: (1, 2)),
        ("curvature_forgotten", "P is the prior precision alone", "add the curvature", lambda p: (0, 1)),
        ("mean_curvature", "The curvature in P is divided by N, the prior is not", "sum the curvature over data",
         lambda p: (1 / len(p.X), 1)),
        ("mean_all_curvature", "The curvature in P is divided by N C, the prior is not", "sum the curvature over data",
         lambda p: (1 / p.y.size, 1) if p.y.ndim == 2 and p.y.shape[1] > 1 else None),
        ("variance_missing", "The noise variance is missing in P: curvature of ½‖y − f‖²", "divide it by σ²",
         lambda p: (p.variance, 1) if p.variance else None),
        ("variance_missing_doubled", "P has the curvature of ‖y − f‖²: no noise variance, no ½", "multiply it by 1/(2σ²)",
         lambda p: (2 * p.variance, 1) if p.variance else None),
        ("curvature_doubled", "The curvature in P is doubled", "halve it", lambda p: (2, 1)),
        ("curvature_halved", "The curvature in P is halved", "double it", lambda p: (0.5, 1)),
        ("curvature_times_n", "The curvature in P is multiplied by N", "divide it by N", lambda p: (len(p.X), 1)),
        ("prior_over_n", "The prior in P is divided by N", "add P₀ itself", lambda p: (1, 1 / len(p.X))),
        ("prior_times_n", "The prior in P is multiplied by N", "add P₀ itself", lambda p: (1, len(p.X))),
    )
    precision = LOG_DETS.get(quantity.name) or EVIDENCES[quantity.name]
    where = "_in_log_det" if quantity.name in EVIDENCES else ""
    return [Theory(key + where, "log_det", 2, sentence, advice, _log_det_basis(precision, weights), (quantity.name, precision), free=False)
            for key, sentence, advice, weights in rows]


def _log_det_basis(name: str, weights: Callable[[Any], tuple[float, float] | None]) -> Callable[[Facts, Quantity], Basis | None]:
    def basis(facts: Facts, quantity: Quantity) -> Basis | None:
        precision, chosen = facts.raw(name), weights(facts.problem)
        if precision is None or chosen is None:
            return None
        curvature, prior = _generalised_eigenvalues(facts, name, precision), chosen[1]
        values = chosen[0] * curvature + prior
        if values.min() <= 1e-12 * values.max():
            return None
        log_det = 2 * _half_log_det_prior(facts) + np.log(values).sum()
        right = facts.value(quantity.name)
        stored = 2 * _half_log_det_prior(facts) + np.log(curvature + 1).sum()
        return (np.asarray(right + (log_det - stored) * (-0.5 if quantity.name in EVIDENCES else 1.0)),)
    return basis


def _generalised_eigenvalues(facts: Facts, name: str, precision: Array) -> Array:
    """λ with |αG + βP₀| = |P₀| Π (αλ + β)."""
    key = "eigenvalues " + name
    if key not in facts._seen:
        half = linalg.solve_lower(linalg.cholesky("prior", _prior(facts)), precision - _prior(facts))
        whole = linalg.solve_lower(linalg.cholesky("prior", _prior(facts)), half.T)
        facts._seen[key] = np.linalg.eigvalsh(whole)
    return facts._seen[key]


_FAMILIES: tuple[tuple[tuple[str, ...], Callable[[Quantity], list[Theory]]], ...] = (
    (("gradient", "hessian.hvp", *LOSS_MATRICES, *LOSS_DIAGONALS), _prior_in_loss),
    ((*PRECISIONS, *COVARIANCES), _curvature_plus_prior),
    (("laplace.scale", "laplace.sample"), _sides),
    (("fisher.empirical",), _empirical),
    (("forward", "predictive.glm.mean"), _means),
    (("predictive.mc",), _monte_carlo),
    (("predictive.glm.variance",), _glm_variance),
    (("loss", "log_joint", *EVIDENCES), _additive),
    ((*LOG_DETS, *EVIDENCES), _log_det_variants),
)
