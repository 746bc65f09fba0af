"""All there is to say about a table of draws."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refbnn.diagnostics.effective import ess_bulk, ess_tail
from refbnn.diagnostics.errors import mcse_mean, mcse_sd
from refbnn.diagnostics.mixing import rhat
from refbnn.shapes import Chains


@dataclass(frozen=True, eq=False)
class Summary:
    """Arrays of the shape of one draw. `worst` says in a line what is least certain."""

    mean: np.ndarray
    sd: np.ndarray
    mcse_mean: np.ndarray
    mcse_sd: np.ndarray
    ess_bulk: np.ndarray
    ess_tail: np.ndarray
    rhat: np.ndarray

    def worst(self) -> str:
        """The largest R-hat, the smallest effective sizes, the largest error of a mean in standard deviations; NaN wins."""
        return (f"R-hat {self.rhat.max():.4f}, bulk ESS {self.ess_bulk.min():.0f}, tail ESS {self.ess_tail.min():.0f}, "
                f"error of a mean {(self.mcse_mean / self.sd).max():.2g} sd")


def summary(draws: Chains) -> Summary:
    """Mean and standard deviation of every quantity with their standard errors, effective sizes and R-hat: draws (c t ...)."""
    shares = (mcse_mean(draws), mcse_sd(draws), ess_bulk(draws), ess_tail(draws), rhat(draws))
    draws = np.asarray(draws, dtype=float)
    together = draws.reshape(-1, *draws.shape[2:])
    return Summary(together.mean(0), together.std(0, ddof=1), *shares)
