"""`python -m tests.references.sampled [ID ...] --checkpoints DIR [--workers N]`: make the sampled references."""

from __future__ import annotations

import argparse
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path

from tests.references import monitor
from tests.references.__main__ import DATA
from tests.references.kernels import KERNELS, Drawn, hamiltonian_at_every_beta
from tests.references.parts import Parts
from tests.references.sampled import evidence, standard
from tests.references.sampled.problems import PROBLEMS, USUAL, Problem
from tests.references.truth import of_kernel, versions

ABOUT = """All numbers belong to the posterior p(θ|y) of a multilayer perceptron with an isotropic Gaussian prior of precision
`prior_precision` on all weights and biases. Quantities: `quantities`, in order; f_k(x_m) is output k at row m of X_new, log p is
log p(y, θ) with every constant. For each kernel: posterior mean and its standard error, posterior sd and its standard error,
effective sample size of the mean, rank-normalised folded R-hat. Those of `reference` are the reference."""


def made(problem: Problem, folder: Path, executor: object = None) -> dict:
    """The record of a problem; what is in the folder is not computed again."""
    post, parts, (X, y, X_new) = problem.posterior(), Parts(folder), problem.data()

    @cache
    def drawn(name: str) -> Drawn:
        return KERNELS[name](post, problem.plan(name), folder=folder / f"chains-{name}", executor=executor)

    kernels = {name: parts.kept(name, lambda: of_kernel(post.net, drawn(name), X_new)) for name in USUAL}
    orbit = parts.kept("orbit", lambda: standard.orbit(post.net, drawn("hmc").theta))
    tempered = cache(lambda: hamiltonian_at_every_beta(post, problem.plan("hmc")))
    log_evidence = {"smc": kernels["smc, elliptical"].pop("log_evidence")}
    for name, attempt in evidence.attempts(post, tempered, lambda: drawn("hmc").theta).items():
        log_evidence[name] = parts.kept(name, lambda: evidence.unless_refused(attempt))
    refused = [name for name, found in log_evidence.items() if "refused" in found]
    record = {
        "id": problem.id, "title": problem.title, "about": " ".join(ABOUT.split()), "source": problem.source,
        "sizes": problem.sizes, "activation": problem.activation, "bias": True,
        "likelihood": {"name": problem.likelihood[0], **problem.likelihood[1]}, "prior_precision": problem.precision,
        "X": X.tolist(), "y": y.tolist(), "X_new": X_new.tolist(), "num_params": post.num_params,
        "quantities": monitor.names(len(X_new), problem.sizes[-1]), "reference": standard.REFERENCE, "kernels": kernels,
        "log_evidence": {name: found for name, found in log_evidence.items() if name not in refused}, "refused": refused,
        "orbit": orbit, "versions": versions(),
    }
    pairs = {what: standard.pairwise(record[what]) for what in ("kernels", "log_evidence")}
    return {**record, "z": {what: {pair: z.tolist() for pair, z in found.items()} for what, found in pairs.items()}}


def main(given: list[str] | None = None) -> int:
    """Make and write the references that were asked for; 1 where one does not meet the standard, which is then not stored."""
    parser = argparse.ArgumentParser(prog="python -m tests.references.sampled", description=__doc__)
    parser.add_argument("ids", nargs="*", choices=[[], *(problem.id for problem in PROBLEMS)], metavar="ID")
    parser.add_argument("--checkpoints", type=Path, required=True, help="a folder that keeps what is finished")
    parser.add_argument("--workers", type=int, default=1)
    chosen, missed = parser.parse_args(given), 0
    with ProcessPoolExecutor(chosen.workers) as pool:
        for problem in [problem for problem in PROBLEMS if problem.id in (chosen.ids or [each.id for each in PROBLEMS])]:
            print(problem.id, flush=True)
            record = made(problem, chosen.checkpoints / problem.id, pool if chosen.workers > 1 else None)
            found = standard.complaints(record)
            missed += bool(found)
            if found:
                print("  not stored: " + "; ".join(found), flush=True)
            else:
                (DATA / f"{problem.id}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
                print("  stored", flush=True)
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
