"""How far draws can be trusted: functions of arrays with axes (chains, draws, ...), one number for each remaining entry.

    diagnostics.rhat(thetas)                          in weights: large for any network with equivalent copies of its modes
    diagnostics.rhat(net.forward(thetas, X))          in functions, thetas (chains draws p): what has to be small
    diagnostics.summary(net.forward(thetas, X))       mean, sd, their errors, effective sizes and R-hat at once

Weights of a network have symmetric copies, between which chains need not move; outputs, log densities and predictions do not.
Every function takes whatever has the axes: outputs (c t n k), log p(y, θ) (c t), a weight. A quantity that does not vary has no
effective size: the answer is NaN there, which no comparison passes.
"""

from refbnn.diagnostics.effective import ess_bulk, ess_mean, ess_quantile, ess_sd, ess_tail
from refbnn.diagnostics.energy import e_bfmi
from refbnn.diagnostics.errors import mcse_mean, mcse_quantile, mcse_sd
from refbnn.diagnostics.export import to_arviz
from refbnn.diagnostics.mixing import folded_rhat, nested_rhat, rank_rhat, rhat, split_rhat
from refbnn.diagnostics.table import Summary, summary
from refbnn.diagnostics.weights import Smoothed, largest_k, pareto_k, pareto_smoothed, weight_ess

__all__ = [
    "Smoothed", "Summary", "e_bfmi", "ess_bulk", "ess_mean", "ess_quantile", "ess_sd", "ess_tail", "folded_rhat", "largest_k",
    "mcse_mean", "mcse_quantile", "mcse_sd", "nested_rhat", "pareto_k", "pareto_smoothed", "rank_rhat", "rhat", "split_rhat",
    "summary", "to_arviz", "weight_ess",
]
