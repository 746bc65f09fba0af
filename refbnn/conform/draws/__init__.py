"""Draws from a posterior, judged by what is certified of it: never a number that their sampler gives about itself.

    measured = measure(case, QUANTITIES["posterior.draws"], answer, conventions)   # R-hat, effective sizes, z-scores
    comparison, = conclude([measured], size=len(measured.averages))                # Holm over everything that was measured
    finding = explain([measured], [])                                              # why draws are of another distribution
"""

from refbnn.conform.draws.causes import explain
from refbnn.conform.draws.functions import Average, averages, count
from refbnn.conform.draws.judge import ALPHA, Measured, asked, conclude, measure, table

__all__ = ["ALPHA", "Average", "Measured", "asked", "averages", "conclude", "count", "explain", "measure", "table"]
