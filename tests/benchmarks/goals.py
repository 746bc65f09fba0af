"""What is promised about speed, as data: a Goal compares refbnn with one rival on some cases, and is met, missed or aimed for."""

from __future__ import annotations

from dataclasses import dataclass

from tests.benchmarks.contest import Timing
from tests.benchmarks.problems import PROBLEMS


@dataclass(frozen=True)
class Goal:
    """rival / refbnn in CPU time must reach `must` (every case), and better `aim`.

    `rival` is "peers" (the fastest), a peer's name, or a way of refbnn's own ("syrk", "ggn").
    """

    quantities: tuple[str, ...]
    rival: str
    cases: str
    must: float
    aim: float
    min_params: int = 0

    def covers(self, quantity: str, case: str) -> bool:
        """Whether it is about this quantity on this case."""
        return quantity in self.quantities and case in self.cases and PROBLEMS[case].num_params >= self.min_params


DENSE = ("ggn.full", "fisher.full", "fisher.empirical")
FIRST_ORDER = ("jacobian", "gradient", "hessian.hvp")
CHEAP = ("ggn.diag", "ggn.kfac")

GOALS = (
    Goal(DENSE, "peers", "ABCD", must=2.5, aim=4.0),
    Goal(DENSE, "syrk", "ABCD", must=1 / 1.15, aim=1 / 1.15, min_params=800),
    Goal(("hessian.full",), "peers", "ABCD", must=12.0, aim=20.0),
    Goal(("hessian.full",), "ggn", "ABCD", must=1 / 2, aim=1 / 2),
    Goal(FIRST_ORDER, "jax", "BCD", must=1 / 1.3, aim=1.0),
    Goal(FIRST_ORDER, "jax", "AF", must=1 / 2, aim=1.0),
    Goal(("hmc.64", "hmc.256"), "jax", "H", must=1.3, aim=2.0),
    Goal(("hmc.1", "hmc.4"), "jax", "H", must=0.35, aim=0.5),
    Goal(CHEAP, "peers", "ABCD", must=2.0, aim=4.0),
)


@dataclass(frozen=True)
class Verdict:
    """A goal on one case: the ratio that was measured, and in a word what that means."""

    quantity: str
    case: str
    rival: str
    ratio: float
    must: float
    aim: float

    @property
    def word(self) -> str:
        """"aim", "must" or "MISSED"."""
        return "aim" if self.ratio >= self.aim else "must" if self.ratio >= self.must else "MISSED"


def verdicts(quantity: str, case: str, timings: list[Timing]) -> list[Verdict]:
    """Every goal about this row whose rival was timed."""
    result = []
    for goal in GOALS:
        ratio = ratio_to(goal.rival, timings)
        if goal.covers(quantity, case) and ratio is not None:
            result.append(Verdict(quantity, case, goal.rival, ratio, goal.must, goal.aim))
    return result


def ratio_to(rival: str, timings: list[Timing]) -> float | None:
    """rival / refbnn, the fastest way of each; None if either was not timed."""
    own = [t.seconds for t in timings if t.name == "refbnn" and t.way == "" and t.rounds]
    theirs = [t.seconds for t in timings if t.rounds and _is(rival, t)]
    return min(theirs) / own[0] if own and theirs else None


def _is(rival: str, timing: Timing) -> bool:
    if timing.name == "refbnn":
        return timing.way == rival and rival != ""
    return rival in ("peers", timing.name)
