"""What a peer library is expected to get: the rules of one library are a `Peer`, one file each beside this one."""
from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Callable, Mapping

import numpy as np

from refbnn.conform.case import Case

RIGHT = {"EXACT", "PASS"}


def anything(case: Case) -> bool:
    """Every case."""
    return True


def silu(case: Case) -> bool:
    """Networks with SiLU."""
    return case.problem.activation == "silu"


def likelihood(*names: str) -> Callable[[Case], bool]:
    """Cases with one of these likelihoods."""
    return lambda case: case.problem.likelihood in names


def regression_with_residuals(case: Case) -> bool:
    """Normal likelihood, outputs that miss their targets."""
    return case.problem.likelihood == "normal" and bool(np.any(case.values["forward"].value != case.problem.y))


def named(*ids: str) -> Callable[[Case], bool]:
    """These cases."""
    return lambda case: case.id in ids


@dataclass(frozen=True)
class Rule:
    """On these runs (names or globs), cases and quantities the verdict is one of these, for the reason shown by findings/WHY.py.

    A rule that `must_be_met` covers at least one check of each of its runs.
    """

    runs: tuple[str, ...]
    cases: Callable[[Case], bool]
    quantities: tuple[str, ...]
    verdicts: set[str]
    why: str = ""
    must_be_met: bool = True

    def covers(self, run: str, case: Case, quantity: str) -> bool:
        """Whether the rule says something about this check."""
        return self.of_run(run) and any(fnmatchcase(quantity, glob) for glob in self.quantities) and self.cases(case)

    def of_run(self, run: str) -> bool:
        """Whether the rule says something about this run."""
        return any(fnmatchcase(run, glob) for glob in self.runs)


GAP = Rule(("*",), anything, ("*",), {"UNSUPPORTED"}, must_be_met=False)


@dataclass(frozen=True)
class Peer:
    """A library: its name as an adapter, its runs ("RELEASE" or "RELEASE VARIANT") with the variables that make them, the rules.

    `offers` are the quantities that its adapter has; of these, `refuses(run, case, quantity)` says which it cannot express. The
    first rule that covers a check says what it must be. `beside` are scripts of findings on what the adapter does not ask;
    `home` is the environment that holds the library.
    """

    library: str
    current: str
    runs: Mapping[str, Mapping[str, str]]
    offers: tuple[str, ...]
    rules: tuple[Rule, ...]
    refuses: Callable[[str, Case, str], bool] = field(default=lambda run, case, quantity: False)
    beside: tuple[str, ...] = ()
    home: str = "env"

    def rule_for(self, run: str, case: Case, quantity: str) -> Rule:
        """What is expected of this check."""
        if quantity not in self.offers or self.refuses(run, case, quantity):
            return GAP
        return next(rule for rule in self.rules if rule.covers(run, case, quantity))
