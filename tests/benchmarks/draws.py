"""`python -m tests.benchmarks.draws --python jax=PATH`: independent draws per CPU second, refbnn's HMC beside numpyro's NUTS.

Each sampler runs in a process of its own, 64 chains, warm-up and compilation excluded from the clock. Of the draws the smallest
bulk or tail effective size over the monitored numbers counts: θ itself for the logistic regression, f at 20 inputs for the
network, whose weights have symmetric copies. A side whose largest folded R-hat of these is 1.01 or more has not sampled the
posterior: its line says so and the contest is undecided.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from os import getloadavg
from pathlib import Path

import numpy as np

from tests.benchmarks.contest import ROOT, environment

CHAINS = 64
MUST, AIM = 2.5, 5.0
LARGEST_RHAT = 1.01
PROBLEMS = ("logistic", "network")


def data(name: str) -> tuple[np.ndarray, np.ndarray]:
    """1000 x 25 correlated inputs with labels; or 100 inputs of one regression."""
    rng = np.random.default_rng(17)
    if name == "logistic":
        X = rng.standard_normal((1000, 25)) @ (np.eye(25) + 0.3 * rng.standard_normal((25, 25)))
        return X, (rng.random((1000, 1)) < 1 / (1 + np.exp(-X @ rng.standard_normal((25, 1)) / 5))).astype(float)
    X = rng.uniform(-2, 2, (100, 1))
    return X, np.sin(2 * X) + 0.3 * rng.standard_normal(X.shape)


NEW = np.linspace(-2, 2, 20)[:, None]


def measured(module: str, python: str, problem: str) -> tuple[float, float, float]:
    """(smallest bulk or tail ESS, the CPU seconds, the largest R-hat) of a sampler in its own process."""
    from refbnn import diagnostics

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "draws.npz"
        command = [python, "-m", f"tests.benchmarks.samplers.{module}", problem, str(file)]
        subprocess.run(command, cwd=ROOT, env=environment(), check=True, stdout=subprocess.DEVNULL)
        with np.load(file) as saved:
            monitored, seconds = saved["monitored"], float(saved["seconds"])
    size = min(diagnostics.ess_bulk(monitored).min(), diagnostics.ess_tail(monitored).min())
    return float(size), seconds, float(diagnostics.rhat(monitored).max())


def main(given: list[str] | None = None) -> int:
    """Print a line a problem and sampler, and the verdict; 1 where a must is missed or nothing is decided."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.draws", description=__doc__)
    parser.add_argument("--python", required=True, metavar="jax=PATH", help="interpreter that has jax and numpyro")
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS, default=list(PROBLEMS))
    parser.add_argument("--out", type=Path, help="what was measured as JSON")
    chosen, missed, saved = parser.parse_args(given), False, []
    for problem in chosen.problems:
        rates, valid = {}, True
        for module, python in (("refbnn", sys.executable), ("numpyro", chosen.python.partition("=")[2])):
            size, seconds, rhat = measured(module, python, problem)
            rates[module], valid = size / seconds, valid and rhat < LARGEST_RHAT
            saved.append({"problem": problem, "sampler": module, "ess": size, "seconds": seconds, "rhat": rhat,
                          "load": getloadavg()})
            print(f"{problem:10}{module:10}{rates[module]:10.0f} a second: {size:.0f} in {seconds:.2f} CPU seconds, "
                  f"R-hat {rhat:.4f}", flush=True)
        ratio = rates["refbnn"] / rates["numpyro"]
        word = verdict(ratio, valid)
        missed = missed or word in ("MISSED", "?")
        print(f"{word:7}{problem}: {ratio:.2f} times numpyro's NUTS, must {MUST} aim {AIM}", flush=True)
    if chosen.out:
        chosen.out.write_text(json.dumps(saved, indent=1) + "\n")
    return int(missed)


def verdict(ratio: float, valid: bool) -> str:
    """"?" unless both sides sampled the posterior."""
    if not valid:
        return "?"
    return "aim" if ratio >= AIM else "must" if ratio >= MUST else "MISSED"


if __name__ == "__main__":
    sys.exit(main())
