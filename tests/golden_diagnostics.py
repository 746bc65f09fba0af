"""Writes what ArviZ says about a few awkward chains and weights: python -m tests.golden_diagnostics, where ArviZ is installed.

`answers(data)` is what a test also calls live. The draws are stored with the answers, so that neither depends on a generator.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

PLACE = Path(__file__).with_name("golden_diagnostics.json")
OF_CHAINS = ("rhat", "rank_rhat", "folded_rhat", "split_rhat", "ess_mean", "ess_sd", "ess_bulk", "ess_tail", "ess_quantile(0.3)",
             "mcse_mean", "mcse_sd", "mcse_quantile(0.3)")


def data() -> dict[str, dict[str, list]]:
    """Chains (c t) and log weights (t) as lists of short numbers."""
    rng = np.random.default_rng(20)
    moving = np.cumsum(rng.normal(size=(3, 62)), 1)
    heavy = rng.standard_cauchy((4, 50))
    apart = rng.normal(size=(4, 40)) + np.array([[0.0], [0.0], [0.5], [2.0]])
    spread = rng.normal(size=(4, 47)) * np.array([[1.0], [1.0], [1.0], [3.0]])
    alternating = rng.normal(size=(2, 64)) + 2 * (-1.0)**np.arange(64)
    ties = rng.integers(0, 4, (4, 46))
    weights = {"light": rng.normal(size=200), "heavy": rng.standard_exponential(333) * 1.5, "bounded": np.log(rng.random(150))}
    chains = {"moving": moving, "heavy": heavy, "apart": apart, "spread": spread, "alternating": alternating, "ties": ties}
    return {"chains": {name: np.round(x, 4).tolist() for name, x in chains.items()},
            "log_weights": {name: np.round(x, 5).tolist() for name, x in weights.items()}}


def answers(given: dict) -> dict[str, dict]:
    """What the installed ArviZ (before 1.0) says: numbers by function and name."""
    import arviz

    table = {name: [] for name in OF_CHAINS}
    for chains in (np.array(chains, dtype=float) for chains in given["chains"].values()):
        values = [arviz.rhat(chains, method=method) for method in ("rank", "z_scale", "folded", "split")]
        values += [arviz.ess(chains, method=method) for method in ("mean", "sd", "bulk", "tail")]
        values += [arviz.ess(chains, method="quantile", prob=0.3), arviz.mcse(chains, method="mean"),
                   arviz.mcse(chains, method="sd"), arviz.mcse(chains, method="quantile", prob=0.3)]
        for name, value in zip(OF_CHAINS, values, strict=True):
            table[name].append(float(value))
    smoothed = {name: arviz.psislw(np.array(w)) for name, w in given["log_weights"].items()}
    return {"chains": table, "e_bfmi": {name: arviz.bfmi(np.array(x)).tolist() for name, x in given["chains"].items()},
            "pareto_k": {name: float(k) for name, (_, k) in smoothed.items()},
            "smoothed": {name: np.asarray(w).tolist() for name, (w, _) in smoothed.items()}}


def read() -> dict:
    """The stored file: arviz (version), data, answers."""
    return json.loads(PLACE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    import arviz

    stored = {"arviz": arviz.__version__, "data": data(), "answers": answers(data())}
    PLACE.write_text(json.dumps(stored) + "\n", encoding="utf-8")
