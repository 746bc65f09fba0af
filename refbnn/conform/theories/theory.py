"""The two nouns of the search: a reading of an answer and a theory of what it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Callable, Mapping

from ..quantities import Quantity
from .facts import Array, Facts

Basis = tuple[Array, ...]
Part = Callable[[Facts], Array | None]
MakeBasis = Callable[[Facts, Quantity], Basis | None]

LOSS_MATRICES = ("ggn.full", "hessian.full", "fisher.full", "fisher.empirical", "fisher.mc")
LOSS_DIAGONALS = ("ggn.diag", "hessian.diag", "fisher.diag", "fisher.empirical.diag", "fisher.mc.diag")
LOSS_PRODUCTS = ("ggn.vp", "hessian.hvp", "fisher.vp", "fisher.empirical.vp", "fisher.mc.vp")
COVARIANCES = {"laplace.covariance": "ggn.full", "laplace.scale": "ggn.full", "laplace.sample": "ggn.full",
               "laplace.hessian.covariance": "hessian.full"}
PRECISIONS = {"laplace.precision": "ggn.full", "laplace.hessian.precision": "hessian.full"}
NAMES = {"ggn.full": "the GGN", "hessian.full": "the Hessian", "fisher.full": "the exact Fisher matrix",
         "fisher.empirical": "the empirical Fisher matrix", "fisher.mc": "the Fisher matrix at the given labels"}


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
    basis: MakeBasis
    needs: tuple[str, ...] = ()
    free: bool = True
    terms: tuple[str, ...] = ()
    inverse: bool = False
    special: Mapping[tuple[str, ...], tuple[str, str, str]] = field(default_factory=dict)
    constant: bool = False  # the last coefficient may be any number that is the same on all cases
    first_alone: bool = True  # a multiple of the first term alone is for this theory to tell, not for another
    predictive: bool = False  # coefficients may hold the number of draws


def value_of(name: str) -> MakeBasis:
    """A basis of one certified value."""
    def basis(facts: Facts, quantity: Quantity) -> Basis | None:
        found = facts.value(name)
        return None if found is None else (found,)
    return basis


def pair(first: Part, second: Part) -> MakeBasis:
    """A basis of two parts."""
    def basis(facts: Facts, quantity: Quantity) -> Basis | None:
        pair = first(facts), second(facts)
        return None if pair[0] is None or pair[1] is None else pair
    return basis


def prior_precision(facts: Facts) -> Array:
    """P₀."""
    return facts.problem.prior_precision
