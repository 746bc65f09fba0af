"""Every kernel beside the exact posterior of a 1-2-1 network with seven weights.

    python -m tests.references.truth --checkpoints DIR [--workers N]

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
from refbnn.quadrature import Integral
from tests.references import first, monitor
from tests.references.catalogue import CASES
from tests.references.kernels import KERNELS, Drawn, Plan
from tests.references.parts import Parts

FILE = Path(__file__).parent / "agreement.json"
CASE = next(case for case in CASES if case.id == "q-1-2-1-tanh-much-noise")
PLANS = {
    "hmc": Plan(6000, steps=12, acceptance=0.9),
    "nuts": Plan(2500, seed=2),
    "elliptical": Plan(9000, seed=3),
    "collapsed hmc": Plan(2500, seed=4, steps=10),
    "smc": Plan(4, chains=1024, seed=5, steps=8, runs=160, rungs=6),
}


def posterior() -> Posterior:
    """That of the case."""
    net = Mlp(CASE.sizes, activations.BY_NAME[CASE.activation])
    name, parameters = CASE.likelihood
    return Posterior(net, likelihoods.Normal(**parameters), priors.isotropic(net.num_params, CASE.precision), CASE.X, CASE.y)


def exact() -> tuple[np.ndarray, np.ndarray, Integral]:
    """What is monitored (q), error estimates (q), and the log evidence."""
    found = first.integrated(CASE)
    outputs = found.outputs(CASE.X_new, 1e-9)
    mean, variance = (np.ravel(part) for part in (outputs.value.mean, outputs.value.covariance))
    mean_error, variance_error = (np.ravel(part) for part in (outputs.error.mean, outputs.error.covariance))
    joint = found.average(partial(log_joint, found.target), 1e-6)
    return (np.concatenate([mean, variance + mean**2, joint.value]),
            np.concatenate([mean_error, variance_error + 2 * np.abs(mean) * mean_error, joint.error]), found.log_evidence)


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


def record(folder: Path, executor: object = None) -> dict:
    """The file; what is in the folder is not computed again."""
    net, parts, (values, errors, log_evidence) = posterior().net, Parts(folder), exact()
    kernels = {name: parts.kept(name, lambda: of_kernel(net, draw(name, plan, executor=executor), CASE.X_new))
               for name, plan in PLANS.items()}
    found = {name: monitor.Estimates.of_lists(kernel) for name, kernel in kernels.items()}
    return {
        "case": CASE.id, "quantities": monitor.names(len(CASE.X_new), CASE.sizes[-1]),
        "exact": values.tolist(), "exact_error": errors.tolist(),
        "log_evidence": {"value": log_evidence.value, "error": log_evidence.error},
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
    """Write the record; 1 where a kernel disagrees."""
    parser = argparse.ArgumentParser(prog="python -m tests.references.truth", description=__doc__)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--checkpoints", type=Path, required=True, help="a folder that keeps what is finished")
    chosen = parser.parse_args(given)
    with ProcessPoolExecutor(chosen.workers) as executor:
        made = record(chosen.checkpoints, executor if chosen.workers > 1 else None)
    FILE.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    worst = max(abs(value) for row in made["z"].values() for value in row)
    print(f"largest |z| of {made['comparisons']}: {worst:.2f}; sees {made['detectable']:.4f} posterior sds; "
          f"rejected: {', '.join(made['rejected']) or 'none'}")
    return int(bool(made["rejected"]))


if __name__ == "__main__":
    sys.exit(main())
