"""Why draws are wrong: another target by a usual slip, another meaning of θ, a beginning that was not left out, shared numbers.

Each cause says what the averages should be, or how the draws should be read, on every case; it is claimed if on all failing
cases all averages then agree within their Monte-Carlo errors, no passed case contradicts it and no other cause does as well. What
no draw betrays, such as rejected states that were left out, is told as evidence: which function is off, by how much.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refbnn.conform.compare import digits
from refbnn.conform.conventions import permutation
from refbnn.conform.diagnose import Finding
from refbnn.conform.draws.functions import averages
from refbnn.conform.draws.judge import SHOWN, Measured
from refbnn.conform.draws.targets import TARGETS
from refbnn.conform.hypotheses import Cause

Array = NDArray[np.float64]

FITS = 4.5  # standard errors within which all averages must be: 7e-6 for each
CLEAR = 9.0  # standard errors that draws must be off for their second halves to prove anything
NEVER = 0.002  # of the updates: who repeats a state less often than that never repeats one


@dataclass(frozen=True)
class Suspect:
    """A cause, and the z-scores that would be left if it were true; None where it says nothing about a case."""

    key: str
    sentence: str
    advice: str
    complexity: int
    left: Callable[[Measured], Array | None]


def explain(wrong: Sequence[Measured], passed: Sequence[Measured], unusable: Sequence[str] = ()) -> Finding:
    """One finding for draws that failed on some cases; `unusable` says what was no array of draws at all."""
    name, total = "posterior.draws", len(wrong) + len(passed) + len(unusable)
    failing = len(wrong) + len(unusable)
    shared = [found.together for found in wrong if found.together]
    if unusable or (shared and len(shared) < len(wrong)):
        return Finding(name, failing, total, None, tuple(dict.fromkeys([*unusable, *shared]))[:SHOWN])
    if shared:
        return Finding(name, failing, total, Cause(
            "shared_streams", "Chains share their random numbers", "give every chain a stream of its own", 16.0, 1), (shared[0],))
    fitting = [(suspect, score) for suspect in suspects() if (score := _score(suspect, wrong)) is not None]
    least = min((suspect.complexity for suspect, _ in fitting), default=0)
    best = [suspect for suspect, _ in fitting if suspect.complexity == least]
    against = [found.case.id for suspect in best[:1] for found in passed if _contradicts(suspect, found)]
    if len(best) == 1 and not against:
        known = digits(max(float((1 / np.sqrt(found.effective)).max()) for found in wrong))
        return Finding(name, failing, total, Cause(best[0].key, best[0].sentence, best[0].advice, known, least))
    return Finding(name, failing, total, None, tuple(_evidence(wrong, best, against)))


def _score(suspect: Suspect, wrong: Sequence[Measured]) -> float | None:
    """The largest z-score that it leaves on any failing case; None if too large, or if it says nothing about most of them."""
    left = [z for found in wrong if (z := suspect.left(found)) is not None]
    worst = max((float(np.abs(z).max()) for z in left), default=np.inf)
    return worst if worst <= FITS and 2 * len(left) > len(wrong) else None


def _contradicts(suspect: Suspect, found: Measured) -> bool:
    z = suspect.left(found)
    return z is not None and bool(np.abs(z).max() > FITS)


def _evidence(wrong: Sequence[Measured], best: Sequence[Suspect], against: Sequence[str]) -> Iterator[str]:
    """What is known without a cause."""
    if len(best) > 1:
        yield "as draws would be if: " + ", or: ".join(suspect.sentence for suspect in best[:SHOWN])
    elif against:
        yield (f"as draws would be if: {best[0].sentence}; but {len(against)} cases pass where that would show, {against[0]} "
               "for one")
    worst = max(wrong, key=lambda found: float(np.abs(found.z).max()))
    yield f"{worst.case.id}: {worst.told(np.argsort(-np.abs(worst.z))[:SHOWN])}"
    if all(_repeats(found) <= NEVER for found in wrong):
        yield ("no state is ever repeated: right for a sampler that always moves, but one that accepts or rejects must repeat "
               "its state when it rejects")


def _repeats(found: Measured) -> float:
    """The share of updates that leave θ where it was."""
    return float((np.diff(found.theta, axis=1) == 0).all(-1).mean())


# -- suspects -----------------------------------------------------------------------------------------------------

def suspects() -> Iterator[Suspect]:
    """All causes that are tried."""
    for target in TARGETS:
        yield Suspect(target.key, target.sentence, target.advice, target.complexity, _Under(target))
    yield Suspect("parameters.order=bias_first", "The biases of a layer come before its weights",
                  "declare parameters.order = bias_first, or flax where kernels are in × out", 1, _Read(_reordered))
    yield Suspect("whitened", "Draws are of (θ − m)/s, with the prior's mean m and standard deviations s",
                  "return θ = m + s z", 1, _Read(_coloured))
    yield Suspect("centred", "The prior's mean is not added to the draws", "return θ, not θ − m", 1,
                  _Read(lambda found: found.theta + found.case.problem.prior_mean))
    yield Suspect("warm_up", "The beginning of the chains is not from the posterior", "leave out the warm-up", 2, _second_half)


@dataclass(frozen=True)
class _Under:
    """z-scores from the averages under another target."""

    target: object

    def __call__(self, found: Measured) -> Array | None:
        means = self.target.means(found.case)
        return None if means is None else found.away_from(means)


@dataclass(frozen=True)
class _Read:
    """z-scores of draws that are read in another way."""

    change: Callable[[Measured], Array]

    def __call__(self, found: Measured) -> Array | None:
        theta = self.change(found)
        if np.array_equal(theta, found.theta):
            return None
        with np.errstate(all="ignore"):
            return Measured(found.case, theta, tuple(averages(found.case, theta))).z


def _reordered(found: Measured) -> Array:
    theta = np.empty_like(found.theta)
    theta[..., permutation(found.case.problem, "bias_first")] = found.theta
    return theta


def _coloured(found: Measured) -> Array:
    problem = found.case.problem
    return problem.prior_mean + found.theta / np.sqrt(np.diag(problem.prior_precision))


def _second_half(found: Measured) -> Array | None:
    """Where the whole is clearly wrong; of what is wrong throughout, half is as wrong as all."""
    if np.abs(found.z).max() < CLEAR:
        return None
    theta = found.theta[:, found.theta.shape[1] // 2:]
    return Measured(found.case, theta, tuple(averages(found.case, theta))).z
