"""Samplers of other libraries on posteriors of real data, beside the stored references.

    python -m tests.peers.on_references LIBRARY [ID ...]        # in the library's environment; adds to on_references.json

Each library draws by its own sampler, as the kit asks it to (`posterior_draws`); of its draws f, f² and the log density are
averaged in the way of the references, with the errors that the draws themselves show, and held against the reference by Holm's
rule. Draws that have not mixed, or are worth too little, are no verdict on a library: they are "undecided".
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from refbnn import Mlp, Posterior, activations, likelihoods, priors
from refbnn.conform import load
from refbnn.conform.draws.judge import FEWEST_EFFECTIVE, LARGEST_RHAT, plain
from refbnn.conform.quantities import QUANTITIES
from refbnn.testing import problem_from
from tests.references import monitor

FILE = Path(__file__).parent / "on_references.json"
STORED = Path(__file__).parents[1] / "references" / "data"
IDS = ("s-o-rings-1-4-1", "s-iris-4-5-3", "s-diabetes-10-4-1")  # real data
LIKELIHOODS = {"normal": likelihoods.Normal, "bernoulli": likelihoods.Bernoulli, "categorical": likelihoods.Categorical}


def reference(id: str) -> dict:
    """The stored record."""
    return json.loads((STORED / f"{id}.json").read_text(encoding="utf-8"))


def posterior(record: dict) -> Posterior:
    """The posterior that a record is of."""
    net = Mlp(record["sizes"], activations.BY_NAME[record["activation"]], bias=record["bias"])
    name, parameters = record["likelihood"]["name"], dict(record["likelihood"])
    del parameters["name"]
    y = np.array(record["y"], dtype=int if name == "categorical" else float)
    return Posterior(net, LIKELIHOODS[name](**parameters), priors.isotropic(net.num_params, record["prior_precision"]),
                     np.array(record["X"]), y)


def drawn(adapter: object, record: dict) -> np.ndarray:
    """θ (chains draws p) by an adapter's own sampler, in the package's order."""
    post = posterior(record)
    problem = problem_from(post.net, post.likelihood, post.prior, post.X, post.y, np.zeros(post.num_params))
    answer = np.asarray(adapter.posterior_draws(adapter.prepare(problem)))
    return plain(SimpleNamespace(problem=problem), QUANTITIES["posterior.draws"], answer, adapter.conventions)


def judged(record: dict, theta: np.ndarray) -> dict:
    """What draws say, how far that is from the reference, and what would have been seen, in posterior standard deviations."""
    post, known = posterior(record), monitor.Estimates.of_lists(record["kernels"][record["reference"]])
    found = monitor.of_chains(monitor.monitored(post.net, np.array(record["X_new"]), theta, post.log_prob(theta)))
    z = monitor.z_between(found, known)
    mixed = found.rhat.max() <= LARGEST_RHAT and found.size.min() >= FEWEST_EFFECTIVE
    verdict = "undecided" if not mixed else "disagrees" if monitor.rejected(z).any() else "agrees"
    return {"chains": theta.shape[0], "draws": theta.shape[1], **found.as_lists(), "z": z.tolist(), "verdict": verdict,
            "detectable": monitor.detectable([np.hypot(found.error, known.error)], [known.sd])}


def told(id: str, found: dict) -> str:
    """A line."""
    return (f"{id:20s} {found['verdict']:10s} largest |z| {np.abs(found['z']).max():.2f}, R-hat {max(found['rhat']):.4f}, "
            f"smallest ESS {min(found['size']):.0f}; sees {found['detectable']:.3f} posterior sds")


def main(given: list[str] | None = None) -> int:
    """Draw, judge, store; 1 where a library disagrees."""
    parser = argparse.ArgumentParser(prog="python -m tests.peers.on_references", description=__doc__)
    parser.add_argument("library", help="a built-in adapter whose library is installed here")
    parser.add_argument("ids", nargs="*", choices=[[], *IDS], metavar="ID")
    chosen = parser.parse_args(given)
    adapter = load.load(chosen.library)
    found = {}
    for id in chosen.ids or IDS:
        found[id] = judged(reference(id), drawn(adapter, reference(id)))
        print(told(id, found[id]), flush=True)
    there = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    before = there.get(chosen.library, {}).get("posteriors", {})
    there[chosen.library] = {"version": adapter.version, "posteriors": {**before, **found}}
    FILE.write_text(json.dumps(there, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return int(any(each["verdict"] == "disagrees" for each in found.values()))


if __name__ == "__main__":
    sys.exit(main())
