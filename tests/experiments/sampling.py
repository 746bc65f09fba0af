"""Faults planted in a sampler or in its target: which of R-hat, effective sizes and the laws of the posterior see them."""

from __future__ import annotations

import numpy as np

from refbnn import Posterior, audit, diagnostics, priors, samplers
from refbnn.budget import Table
from refbnn.precision import Diagonal
from refbnn.quadrature import Integral
from tests.experiments.catalogue import problem

CASES = [("puromycin", 2), ("wave-1", 2), ("o-rings", 2)]
CHAINS, WARMUP, DRAWS = 16, 200, 1500
PRECISION = 1.0


def with_precision(posterior: Posterior, precision: float) -> Posterior:
    """Another prior."""
    return Posterior(posterior.net, posterior.likelihood, priors.isotropic(posterior.num_params, precision), posterior.loss.X,
                     posterior.loss.y)


TARGETS = {
    "none": lambda posterior: posterior,
    "prior precision 1.25 for 1": lambda posterior: with_precision(posterior, 1.25 * PRECISION),
    "likelihood to the power 0.8": lambda posterior: posterior.tempered(0.8),
}


def moved_only(draws: np.ndarray) -> np.ndarray:
    """Rejected states are dropped: the draws that moved, cut to the shortest chain."""
    kept = [chain[np.r_[True, (np.diff(chain, axis=0) != 0).any(1)]] for chain in draws]
    shortest = min(map(len, kept))
    return np.stack([chain[:shortest] for chain in kept])


def judged(posterior: Posterior, draws: np.ndarray, X_new: np.ndarray) -> tuple:
    """Largest R-hat and smallest effective size of f, laws broken, largest |z|."""
    f = posterior.net.forward(draws, X_new)[..., 0]
    rhat = max(float(np.max(of(f))) for of in (diagnostics.rank_rhat, diagnostics.folded_rhat))
    laws = audit.audit(posterior, draws)
    largest = max(laws.laws, key=lambda law: abs(law.z))
    return (Integral(rhat, 0.0), Integral(float(np.min(diagnostics.ess_bulk(f))), 0.0), f"{len(laws.broken)} of {len(laws.laws)}",
            Integral(abs(largest.z), 1.0))


def one(name: str, width: int) -> list[tuple]:
    """Rows of one problem."""
    made = problem(name, PRECISION)
    posterior, rows = made.posterior(width), []
    X_new = np.linspace(made.X.min(), made.X.max(), 5)[:, None]
    start = posterior.prior.sample(np.random.default_rng(1), (CHAINS,))
    for fault, change in TARGETS.items():
        target = change(posterior)
        warm = samplers.adapt(samplers.Hmc(0.1, 12, Diagonal(np.ones(posterior.num_params))), target, start, WARMUP, seed=1)
        draws = samplers.run(warm.kernel, target, warm.theta, DRAWS, seed=2).draws
        rows.append((name, fault, *judged(posterior, draws, X_new)))
        if fault == "none":
            coarse = samplers.run(samplers.Hmc(1.3 * warm.kernel.step_size, 6, warm.kernel.metric), target, warm.theta, DRAWS,
                                  seed=3).draws
            rows += [(name, "none, long steps", *judged(posterior, coarse, X_new)),
                     (name, "rejected states dropped, long steps", *judged(posterior, moved_only(coarse), X_new))]
    return rows


def sampling(note) -> list[Table]:
    """One row a fault."""
    rows = []
    for case in CASES:
        note(case[0])
        rows += one(*case)
    columns = ("data", "fault", "largest R-hat of f", "smallest ESS of f", "laws broken", "largest |z| of a law")
    return [Table("what sees planted faults", 2, columns, tuple(rows))]
