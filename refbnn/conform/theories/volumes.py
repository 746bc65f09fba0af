"""Precisions whose determinants enter evidences: of which parameters, and which part of the prior is in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable

import numpy as np

from .facts import Array, Facts

Places = Callable[[Any], Any]
Pair = tuple[Array, Array]


def _everywhere(problem: Any) -> slice:
    return slice(None)


@dataclass(frozen=True)
class Volume:
    """P of one structure from the certified value `stored`, which `read` turns into it.

    places: the parameters that it is of, the others are fixed. within: the part of P₀ (of those) that such a P holds.
    """

    prefix: str
    stored: str
    read: Callable[[Array], Array]
    places: Places = _everywhere
    within: Callable[[Array, Any], Array] = lambda P0, problem: P0

    @property
    def is_of_part(self) -> bool:
        """Whether some parameters are fixed."""
        return self.places is not _everywhere

    def prior(self, facts: Facts) -> Array:
        """P₀ of the parameters that are free."""
        places = self.places(facts.problem)
        return facts.problem.prior_precision[places][:, places]

    def pair(self, facts: Facts) -> Pair | None:
        """(P, its part of P₀), or None where the case does not store it."""
        found = facts.raw(self.stored)
        return None if found is None else (self.read(found), self.within(self.prior(facts), facts.problem))


def _same(matrix: Array) -> Array:
    return matrix


def _layers(problem: Any) -> Array:
    """The layer of every parameter."""
    return np.repeat(np.arange(len(problem.layer_sizes)), problem.layer_sizes)


def _tensors(problem: Any) -> Array:
    """The weight matrix or bias that every parameter is in."""
    widths = [width for into, out in zip(problem.sizes, problem.sizes[1:]) for width in (out * into, out * problem.bias)]
    return np.repeat(np.arange(len(widths)), widths)


def _among(groups: Callable[[Any], Array]) -> Callable[[Array, Any], Array]:
    """Zero between parameters of different groups."""
    def within(P0: Array, problem: Any) -> Array:
        group = groups(problem)
        return np.where(group[:, None] == group, P0, 0.0)
    return within


_VOLUMES = (
    Volume("laplace.", "laplace.precision", _same),
    Volume("laplace.hessian.", "laplace.hessian.precision", _same),
    Volume("laplace.diag.", "laplace.diag.variance", lambda v: np.diag(1 / v), within=lambda P0, problem: np.diag(np.diag(P0))),
    Volume("laplace.lastlayer.", "laplace.lastlayer.covariance", np.linalg.inv,
           places=lambda problem: np.arange(len(problem.theta) - problem.layer_sizes[-1], len(problem.theta))),
    Volume("laplace.subset.", "laplace.subset.covariance", np.linalg.inv, places=lambda problem: problem.subset),
    Volume("laplace.kron.", "laplace.kron.covariance", np.linalg.inv, within=_among(_layers)),
    Volume("laplace.kron.split.", "laplace.kron.split.covariance", np.linalg.inv, within=_among(_tensors)),
    Volume("laplace.lowrank.", "laplace.lowrank.precision", _same),
    Volume("laplace.hessian.lowrank.", "laplace.hessian.lowrank.precision", _same),
)
LOG_DETS: dict[str, Volume] = {volume.prefix + "log_det": volume for volume in _VOLUMES}
EVIDENCES: dict[str, Volume] = {volume.prefix + "log_evidence": volume for volume in _VOLUMES}
