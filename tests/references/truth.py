"""Every kernel beside the exact posterior of a 1-2-1 network with seven weights.

    python -m tests.references.truth [KERNEL ...] --checkpoints DIR [--workers N]

Exact are the posterior means of f and f² at new inputs and of log p(y, θ) and its square, by cubature (q-1-2-1-tanh-much-noise,
whose log evidence and outputs a second quadrature confirms). Each kernel's means are worth more than 10⁵ independent draws. The
z-scores of all kernels are one family, judged by Holm's rule; what it is able to see is in the record, agreement.json.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import scipy

from refbnn import Mlp, Posterior, activations, likelihoods, priors
from refbnn.cubature import collapse, units
from tests.references import monitor
from tests.references.__main__ import DATA
from tests.references.catalogue import CASES
from tests.references.kernels import KERNELS, Drawn, Plan
from tests.references.parts import Parts

COARSE, FINE = 2e-4, 1e-7  # nats: of log p(y, θ), whose standard deviation is near 2, and of the log evidence
FILE = Path(__file__).parent / "agreement.json"
CASE = next(case for case in CASES if case.id == "q-1-2-1-tanh-much-noise")
PLANS = {
    "hmc": Plan(3200, chains=256, steps=12, acceptance=0.9),
    "nuts": Plan(1600, chains=256, seed=2),
    "elliptical": Plan(4500, chains=256, seed=3),
    "collapsed hmc": Plan(1500, chains=256, seed=4, steps=10),
    "smc": Plan(4, chains=1024, seed=5, steps=8, runs=128, rungs=6),
}
WIDTH = 128  # chains of a shard: small products, many at once


def posterior() -> Posterior:
    """That of the case."""
    net = Mlp(CASE.sizes, activations.BY_NAME[CASE.activation])
    name, parameters = CASE.likelihood
    return Posterior(net, likelihoods.Normal(**parameters), priors.isotropic(net.num_params, CASE.precision), CASE.X, CASE.y)


def certified() -> dict:
    """What two quadratures found for the case."""
    return json.loads((DATA / f"{CASE.id}.json").read_text(encoding="utf-8"))["results"]


def exact() -> tuple[np.ndarray, np.ndarray]:
    """What is monitored, and error estimates: (q) each. Outputs as they are certified, log p(y, θ) by cubature here."""
    known = certified()
    mean, variance = (np.ravel(known[name]["value"]) for name in ("output_mean", "output_variance"))
    mean_error, variance_error = (np.full(len(mean), known[name]["error"]) for name in ("output_mean", "output_variance"))
    target = collapse(posterior())
    joint = units(target, FINE).average(partial(log_joint, target), COARSE)
    return (np.concatenate([mean, variance + mean**2, joint.value]),
            np.concatenate([mean_error, variance_error + 2 * np.abs(mean) * mean_error, joint.error]))


def log_joint(target: object, at: object) -> np.ndarray:
    """E and E² of log p(y, θ) given hidden weights u: log p(y, u) + log N(w; M, Σ), in which (w − M)ᵀΣ⁻¹(w − M) is χ². (c 2)."""
    covariance = at.covariance * at.law.variance[..., None, None, None]
    log_det, count = np.linalg.slogdet(covariance)[1].sum(-1), covariance.shape[-3] * covariance.shape[-1]
    mean = target.log_prob(at.theta) - 0.5 * (log_det + count * (math.log(2 * math.pi) + 1))
    return np.stack([mean, mean**2 + 0.5 * count], axis=-1)


def draw(name: str, plan: Plan, post: Posterior | None = None, **where) -> Drawn:
    """A kernel's draws of the case's posterior, or of another one in its place."""
    return KERNELS[name](posterior() if post is None else post, plan, **where)


def judged(found: dict[str, monitor.Estimates], values: np.ndarray, errors: np.ndarray) -> dict:
    """z-scores of all kernels as one family, which of them are rejected, and what could have been seen, in posterior sds."""
    z = np.array([monitor.z_scores(each, values, errors) for each in found.values()])
    seen = monitor.detectable([each.error for each in found.values()], [each.sd for each in found.values()])
    bad = monitor.rejected(z)
    return {"z": dict(zip(found, z.tolist())), "rejected": [name for name, row in zip(found, bad) if row.any()],
            "false_alarm": monitor.FALSE_ALARM, "comparisons": z.size, "detectable": seen}


def of_kernel(net: object, drawn: Drawn, X_new: np.ndarray) -> dict:
    """What is stored of a kernel's draws."""
    found = {"settings": drawn.settings, **drawn.estimates(net, X_new).as_lists(), **drawn.health()}
    return found if drawn.log_evidence is None else {**found, "log_evidence": evidence_of(drawn.log_evidence)}


def stored(name: str, folder: Path, executor: object = None) -> dict:
    """A kernel's part of the record, from the folder if it is there."""
    return Parts(folder).kept(name, lambda: of_kernel(
        posterior().net, draw(name, PLANS[name], executor=executor, width=WIDTH), CASE.X_new))


def record(folder: Path, executor: object = None) -> dict:
    """The file; what is in the folder is not computed again."""
    kernels = {name: stored(name, folder, executor) for name in PLANS}
    found = {name: monitor.Estimates.of_lists(kernel) for name, kernel in kernels.items()}
    values, errors = exact()
    return {
        "case": CASE.id, "quantities": monitor.names(len(CASE.X_new), CASE.sizes[-1]),
        "exact": values.tolist(), "exact_error": errors.tolist(),
        "log_evidence": {name: certified()["log_evidence"][name] for name in ("value", "error")},
        "kernels": kernels, **judged(found, values, errors), "versions": versions(),
    }


def evidence_of(log_evidences: np.ndarray) -> dict:
    """log of the mean of Ẑ over runs, and its standard error."""
    weights = np.exp(log_evidences - log_evidences.max())
    error = weights.std(ddof=1) / weights.mean() / np.sqrt(len(weights))
    return {"value": float(log_evidences.max() + np.log(weights.mean())), "error": float(error)}


def versions() -> dict[str, str]:
    """Of what computed."""
    return {"python": platform.python_version(), "numpy": np.__version__, "scipy": scipy.__version__}


def main(given: list[str] | None = None) -> int:
    """Draw, and write the record; 1 where a kernel disagrees."""
    parser = argparse.ArgumentParser(prog="python -m tests.references.truth", description=__doc__)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--checkpoints", type=Path, required=True, help="a folder that keeps what is finished")
    parser.add_argument("kernels", nargs="*", help="draw by these alone, into the folder; without any: by all, and write")
    chosen = parser.parse_args(given)
    with ProcessPoolExecutor(chosen.workers) as pool:
        executor = pool if chosen.workers > 1 else None
        for name in chosen.kernels:
            stored(name, chosen.checkpoints, executor)
        if chosen.kernels:
            return 0
        made = record(chosen.checkpoints, executor)
    FILE.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    worst = max(abs(value) for row in made["z"].values() for value in row)
    print(f"largest |z| of {made['comparisons']}: {worst:.2f}; sees {made['detectable']:.4f} posterior sds; "
          f"rejected: {', '.join(made['rejected']) or 'none'}")
    return int(bool(made["rejected"]))


if __name__ == "__main__":
    sys.exit(main())
