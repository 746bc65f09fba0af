"""The evidence by sequential Monte Carlo, with an error: many small independent runs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from refbnn.evidence.estimate import Estimate, of_weights
from refbnn.evidence.path import Path, as_ladder
from refbnn.samplers import smc
from refbnn.shapes import as_count


def sequential(path: Path, betas: np.ndarray, kernel: Callable[[float], object], num_particles: int, num_runs: int,
               rng: np.random.Generator, num_updates: int = 1) -> Estimate:
    """log of the mean of Z over `num_runs` runs of refbnn.samplers.smc with a given ladder and kernels, Eq. (log-mean-weight).

    Each run is unbiased for p(y), so that their mean is, and the runs are its independent weights: a single run has no standard
    error of its own. Raises Refused when too few runs carry the mean, ValueError for fewer than 25 runs.
    """
    ladder, target = smc.given(as_ladder(betas)[1:]), path.at(1.0)
    runs = [smc.run(target, lambda beta, theta: kernel(beta), ladder, num_particles, num_updates, rng).log_evidence
            for _ in range(as_count("num_runs", num_runs, 25))]
    return of_weights(np.array(runs)).supported()
