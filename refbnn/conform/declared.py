"""`@refbnn_conforms("ggn.full")`: one's own function, declared to be a quantity, which pytest holds against the cases."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any, Callable, Mapping

from . import conventions as _conventions
from .problem import Problem
from .quantities import QUANTITIES, nearest


@dataclass(eq=False)
class Declared:
    """A function problem -> answer and what was declared of it; called like the function itself."""

    function: Callable[[Problem], Any]
    quantity: str
    cases: str = "*"
    where: Callable[[Problem], bool] = lambda problem: True
    conventions: Mapping[str, str] = field(default_factory=dict)
    known_failures: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        functools.update_wrapper(self, self.function)

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        return self.function(*arguments, **keywords)


def refbnn_conforms(quantity: str, *, cases: str = "*", where: Callable[[Problem], bool] = lambda problem: True,
                    conventions: Mapping[str, str] | None = None,
                    known_failures: Mapping[str, str] | None = None) -> Callable[[Callable[[Problem], Any]], Declared]:
    """Declare that the decorated function of a problem computes `quantity`; pytest then runs it on every certified case.

    `cases` is a glob of case ids and `where` a condition on the problem, to leave out what the function is not meant for;
    `conventions` as an adapter declares them; known_failures {case glob: reason} must fail. ValueError for an unknown
    quantity or convention.
    """
    if quantity not in QUANTITIES:
        raise ValueError(f"no quantity {quantity!r}; nearest: {', '.join(nearest(quantity)) or 'see `refbnn list quantities`'}")
    _conventions.check(conventions or {})
    return lambda function: Declared(function, quantity, cases, where, dict(conventions or {}), dict(known_failures or {}))
