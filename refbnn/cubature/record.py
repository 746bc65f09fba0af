"""How a deterministic result came about: one row a rule. A result that the rows do not support is refused with them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One rule: points a weight, how far it reaches (see the method), how many nodes it summed, and its log evidence."""

    num_points: int
    reach: float
    num_nodes: int
    log_evidence: float


@dataclass(frozen=True)
class Record:
    """Every rule that was tried, in that order. Two parameters vary independently: the step, and how far the domain reaches."""

    rows: tuple[Row, ...]

    def __str__(self) -> str:
        head = f"{'points':>7} {'reach':>8} {'nodes':>14} {'log evidence':>22}"
        lines = [f"{r.num_points:7d} {r.reach:8.3f} {r.num_nodes:14d} {r.log_evidence:22.15g}" for r in self.rows]
        return "\n".join([head, *lines])


class NotConverged(ValueError):
    """The record does not support the digits that were asked for."""

    def __init__(self, message: str, record: object):
        super().__init__(f"{message}\n{record}")
        self.record = record
