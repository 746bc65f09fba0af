"""log p(y) in four ways, each with its standard error."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from refbnn import Posterior, evidence, laplace, mixture, optimize, symmetry
from refbnn.samplers import Streams
from tests.references.kernels import Tempered

POINTS, CHAINS, DRAWS, WARM_UP = 16, 64, 100, 40  # of thermodynamic integration
RUNGS, PATHS = 250, 512  # of annealing
COPIES = 400  # images of a mode, at most, that the bridge's proposal is summed over
PROPOSALS = 20000
WIDER = 1.5  # covariance of the proposal over that of Laplace
SEED = 21


def thermodynamic(post: Posterior, kernel: Tempered) -> dict:
    """∫ E_β[log p(y|θ)] dβ, the rule's error included."""
    path = evidence.Path(post, post.prior)
    found = evidence.thermodynamic(path, evidence.gauss_legendre(POINTS), kernel, Streams.spawn([SEED, 1], CHAINS), DRAWS,
                                   num_warmup=WARM_UP)
    return _numbers(found.estimate)


def annealed(post: Posterior, kernel: Tempered) -> dict:
    """Annealing from the prior, a bound from below in expectation."""
    found = evidence.annealed(evidence.Path(post, post.prior), evidence.ladder(RUNGS), kernel, Streams.spawn([SEED, 2], PATHS))
    return _numbers(found.estimate())


def reverse_annealed(post: Posterior, kernel: Tempered, draws: np.ndarray) -> dict:
    """Annealing back from draws of the posterior (PATHS p), independent ones: a bound from above in expectation."""
    path = evidence.Path(post, post.prior)
    back = evidence.reverse_annealed(path, evidence.ladder(RUNGS), kernel, draws, Streams.spawn([SEED, 3], PATHS))
    above = evidence.of_weights(-back.log_weights).supported()
    return {"value": -above.log_evidence, "error": above.standard_error, "effective_size": above.effective_size}


def bridge(post: Posterior, draws: np.ndarray) -> dict:
    """Between draws (c t p), spread evenly over the images of the modes, and Laplace at the best mode and its images."""
    rng = np.random.default_rng([SEED, 4])
    q = proposal(post, draws[:, 0])
    return _numbers(evidence.bridge(post, q, draws, rng, PROPOSALS))


def proposal(post: Posterior, starts: np.ndarray) -> mixture.Mixture:
    """Laplace, widened, at the highest mode that some starts lead to, and at all of its images."""
    best = starts[np.argmax(post.log_prob(starts))]
    mode = optimize.maximize(post, best)
    q = evidence.widened(laplace.at(mode.theta, post.negative_hessian(mode.theta)), WIDER)
    return mixture.over_copies(symmetry.of_posterior(post), 0.0, q)


def attempts(post: Posterior, kernel: Callable[[], Tempered], draws: Callable[[], np.ndarray]) -> dict[str, Callable[[], dict]]:
    """Each method by name, to be called; kernel() moves at every β, draws() are of the posterior (c t p)."""
    def thinned(count: int) -> np.ndarray:
        theta = draws()
        return theta[:, -1:-1 - count * 25:-25]

    methods = {
        "thermodynamic": lambda: thermodynamic(post, kernel()),
        "annealed": lambda: annealed(post, kernel()),
        "reverse annealed": lambda: reverse_annealed(
            post, kernel(), thinned(-(-PATHS // len(draws()))).reshape(-1, post.num_params)[:PATHS]),
    }
    if symmetry.of_posterior(post).order <= COPIES:
        methods["bridge"] = lambda: bridge(post, thinned(60)[:, ::-1])
    return methods


def unless_refused(attempt: Callable[[], dict]) -> dict:
    """What a method finds, or why it refuses to say."""
    try:
        return attempt()
    except evidence.Refused as refusal:
        return {"refused": str(refusal)}


def _numbers(found: evidence.Estimate) -> dict:
    return {"value": found.log_evidence, "error": found.standard_error, "effective_size": found.effective_size}
