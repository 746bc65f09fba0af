"""Estimators of log p(y), the evidence, each with its standard error, and bounds that need no convergence.

    path = evidence.Path(posterior, posterior.prior)                from the prior; or from any normalised density, as Laplace
    evidence.annealed(path, betas, kernel, streams).estimate()      annealed importance sampling
    evidence.sequential(path, betas, kernel, ...)                   sequential Monte Carlo, in many runs
    evidence.thermodynamic(path, rule, kernel, streams, ...)        the integral of E_β[log p(y|θ)]
    evidence.importance(posterior, q, rng, num_draws)               weights of a Gaussian, safe with `Defensive`
    evidence.bridge(posterior, q, draws, rng, num_proposals)        draws of the posterior beside draws of q
    evidence.bracket(forward, reverse)                              from below and above, on simulated data (`simulated`)

`kernel(beta)` is a kernel of refbnn.samplers. Averages of weights are unbiased for p(y), not for its logarithm, which is low by
about half its squared standard error; an Estimate whose weights rest on too few draws is refused.
"""

from refbnn.evidence.annealing import Annealed, annealed, reverse_annealed
from refbnn.evidence.bidirectional import Bracket, Simulated, bracket, simulated
from refbnn.evidence.bridge_sampling import bridge
from refbnn.evidence.estimate import Estimate, Refused, of_weights
from refbnn.evidence.importance_sampling import importance
from refbnn.evidence.path import Between, Path, ladder
from refbnn.evidence.proposals import Defensive, StudentT, widened
from refbnn.evidence.sequential import sequential
from refbnn.evidence.thermodynamic_integration import Rule, Thermodynamic, gauss_legendre, integrate, riemann, thermodynamic

__all__ = [
    "Annealed", "Between", "Bracket", "Defensive", "Estimate", "Path", "Refused", "Rule", "Simulated", "StudentT",
    "Thermodynamic", "annealed", "bracket", "bridge", "gauss_legendre", "importance", "integrate", "ladder", "of_weights",
    "reverse_annealed", "riemann", "sequential", "simulated", "thermodynamic", "widened",
]
