"""Whether the momenta of Hamiltonian Monte Carlo move the energy far enough."""

from __future__ import annotations

import numpy as np

from refbnn.diagnostics.chains import FEWEST
from refbnn.shapes import ChainValues, as_array


def e_bfmi(energies: ChainValues) -> np.ndarray:
    """Mean (E_t − E_{t−1})² / Var E of every chain: (c). Below 0.3 heavy tails are hardly visited (Betancourt 2016, 2.2).

    energies (c t): −log p(θ) + kinetic energy after the momentum was drawn. 2 for independent energies. NaN where the energy
    does not vary.
    """
    energies = as_array("energies", energies, "c t")
    if energies.shape[1] < FEWEST:
        raise ValueError(f"energies: expected at least {FEWEST} draws, got shape {energies.shape}")
    spread, steps = energies.var(1, ddof=1), (np.diff(energies)**2).mean(1)
    return np.divide(steps, spread, out=np.full(len(energies), np.nan), where=spread > 0)
