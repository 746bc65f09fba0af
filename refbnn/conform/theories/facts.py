"""What is known about a failing case: its certified values, in the package's parameter order, and what follows from them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from refbnn import linalg

from ..conventions import AXES, convert, permutation, resolve
from ..quantities import QUANTITIES, Quantity

if TYPE_CHECKING:
    from .scalars import Term

Array = NDArray[np.float64]
ORDER = "parameters.order"


@dataclass(frozen=True)
class Facts:
    """The certified values of one case in the declared conventions, but always in the package's parameter order."""

    case: Any
    conventions: Mapping[str, str]
    _seen: dict[str, Any] = field(default_factory=dict)

    @property
    def problem(self):
        """The question that the case asks."""
        return self.case.problem

    @cached_property
    def _unordered(self) -> dict[str, str]:
        return {key: choice for key, choice in self.conventions.items() if key.partition("@")[0] != ORDER}

    def value(self, name: str) -> Array | None:
        """The certified value of a quantity (for roots and samples: of the covariance); None where the case stores none."""
        return self.once(name, lambda: self._converted(QUANTITIES[name]))

    def _converted(self, quantity: Quantity) -> Array | None:
        stored = self.case.values.get(quantity.certified_by)
        return None if stored is None else self.convert(quantity, stored.value)

    def convert(self, quantity: Quantity, value: Any) -> Array:
        """A value of the quantity in the package's conventions, in the declared ones."""
        return convert(quantity, np.asarray(value, float), self.problem, self._unordered)

    def once(self, key: str, compute: Callable[[], Any]) -> Any:
        """What `compute` gives, kept under the key."""
        if key not in self._seen:
            self._seen[key] = compute()
        return self._seen[key]

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
        return self.once(f"order {name}", lambda: permutation(self.problem, name))

    def term(self, term: Term) -> float | None:
        """The value of a named addend, computed once."""
        return self.once(f"term {term.scope}{term.key}", lambda: term.value(self))

    def raw(self, name: str) -> Array | None:
        """The certified value as stored: sums, every constant kept."""
        stored = self.case.values.get(name)
        return None if stored is None else np.asarray(stored.value, float)

    @cached_property
    def model(self):
        """The problem in the package's own objects, for what no case stores (Jacobians at new inputs)."""
        from ..adapters import refbnn as own
        return own.prepare(self.problem)

    @cached_property
    def glm_jacobian(self) -> Array:
        """∂f/∂θ at the new inputs, m k p."""
        return self.model.net.jacobian(self.problem.theta, self.problem.X_new)

    def cholesky(self, name: str) -> Array | None:
        """Lower L with L Lᵀ = the certified matrix."""
        matrix = self.value(name)
        return self.once(f"cholesky {name}", lambda: None if matrix is None else _cholesky(matrix))


def _cholesky(matrix: Array) -> Array | None:
    try:
        return linalg.cholesky("matrix", matrix)
    except linalg.NotPositiveDefinite:
        return None
