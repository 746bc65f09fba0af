"""Theories for numbers: the right one plus named terms, or the log-determinant of another matrix."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Callable

import numpy as np

from refbnn import linalg

from ..conventions import likelihood_constants
from ..quantities import Quantity
from .facts import Array, Facts
from .theory import Basis, MakeBasis, Theory, prior_precision
from .volumes import EVIDENCES, LOG_DETS, Volume

Value = Callable[[Facts], float | None]
Weights = Callable[[Any], tuple[float, float] | None]


@dataclass(frozen=True)
class Term:
    """A named addend of a scalar; None where the problem has none."""

    key: str
    text: str
    value: Value
    scope: str = ""  # of the parameters that it is of, where not all


def _normal_only(value: Callable[[Any], float]) -> Value:
    return lambda facts: value(facts.problem) if facts.problem.likelihood == "normal" else None


@dataclass(frozen=True)
class _Prior:
    """N(θ; m, P₀⁻¹) of the parameters at some places, the others fixed."""

    volume: Volume

    def quadratic(self, facts: Facts, with_mean: bool = True) -> float:
        problem, places = facts.problem, self.volume.places(facts.problem)
        shift = problem.theta[places] - with_mean * problem.prior_mean[places]
        return 0.5 * float(shift @ self.volume.prior(facts) @ shift)

    def mean_effect(self, facts: Facts) -> float:
        return self.quadratic(facts) - self.quadratic(facts, with_mean=False)

    def half_log_det(self, facts: Facts) -> float:
        return 0.5 * float(np.linalg.slogdet(self.volume.prior(facts))[1])

    def half_p_log_2pi(self, facts: Facts) -> float:
        return 0.5 * len(self.volume.prior(facts)) * math.log(2 * math.pi)

    def normaliser(self, facts: Facts) -> float:
        return self.half_log_det(facts) - self.half_p_log_2pi(facts)

    def log_density(self, facts: Facts) -> float:
        return self.normaliser(facts) - self.quadratic(facts)

    def terms(self, scope: str = "") -> tuple[Term, ...]:
        """What log p(θ) is made of."""
        return (Term("log_2pi_parameters", "(p/2) log 2π", self.half_p_log_2pi, scope),
                Term("log_det_prior", "½ log |P₀|", self.half_log_det, scope),
                Term("prior_normaliser", "½ log |P₀| − (p/2) log 2π", self.normaliser, scope),
                Term("prior_quadratic", "½ (θ − m)ᵀP₀(θ − m)", self.quadratic, scope),
                Term("prior_mean_effect", "the effect of the prior mean on the quadratic", self.mean_effect, scope),
                Term("log_prior", "log p(θ)", self.log_density, scope))


def _scalar(name: str, factor: float) -> Value:
    def value(facts: Facts) -> float | None:
        found = facts.raw(name)
        return None if found is None else factor * float(found)
    return value


LIKELIHOOD_TERMS = (
    Term("log_2pi_noise", "½ N C log 2πσ²", _normal_only(likelihood_constants)),
    Term("log_2pi_data", "½ N C log 2π", _normal_only(lambda p: 0.5 * p.y.size * math.log(2 * math.pi))),
    Term("log_variance", "½ N C log σ²", _normal_only(lambda p: 0.5 * p.y.size * math.log(p.variance))),
    Term("log_2pi_datum", "½ N log 2πσ²", _normal_only(lambda p: 0.5 * len(p.X) * math.log(2 * math.pi * p.variance))),
    Term("log_factorials", "Σ log y!",
         lambda facts: likelihood_constants(facts.problem) if facts.problem.likelihood == "poisson" else None),
)
_WHOLE = _Prior(EVIDENCES["laplace.log_evidence"])
PRIOR_TERMS = _WHOLE.terms()
_OF_PRIOR = {term.key: term for term in PRIOR_TERMS}


def _averaging(facts: Facts) -> float | None:
    """What a mean for the summed loss adds to log p."""
    loss = _scalar("loss", 1.0)(facts)
    return None if loss is None else loss * (1 - 1 / len(facts.problem.X))


def _without_variance(facts: Facts) -> float | None:
    """What −½‖y − f‖² for log p(y | f) adds."""
    loss, problem = _scalar("loss", 1.0)(facts), facts.problem
    if loss is None or problem.likelihood != "normal":
        return None
    return loss - problem.variance * (loss - likelihood_constants(problem))


LOSS_TERMS = (
    Term("loss", "the loss", _scalar("loss", 1.0)),
    Term("averaging", "loss · (1 − 1/N)", _averaging),
    Term("squared_error", "loss − ½‖y − f‖²", _without_variance),
)


_HALF_P = Term("half_p", "p/2", lambda facts: 0.5 * len(facts.problem.theta))
_HALF_COUNT = Term("half_count", "N C/2", _normal_only(lambda p: 0.5 * p.y.size))


def _half_errors(facts: Facts) -> float | None:
    loss = _scalar("loss", 1.0)(facts)
    return None if loss is None or facts.problem.likelihood != "normal" else loss - likelihood_constants(facts.problem)


def _slope_by_prior(name: str) -> tuple[Term, ...]:
    """½ (p − (θ − m)ᵀP₀(θ − m) − tr P⁻¹P₀), by log τ at fixed θ."""
    def half_trace(facts: Facts) -> float | None:
        found = facts.raw(name)
        return None if found is None else _HALF_P.value(facts) - _WHOLE.quadratic(facts) - float(found)
    return _HALF_P, _OF_PRIOR["prior_quadratic"], Term("half_trace", "½ tr P⁻¹P₀", half_trace, name)


def _slope_by_noise(name: str) -> tuple[Term, ...]:
    """½ (‖y − f‖²/σ² − N C + tr P⁻¹G), by log σ² at fixed θ."""
    def half_trace(facts: Facts) -> float | None:
        found, errors = facts.raw(name), _half_errors(facts)
        return None if found is None or errors is None else float(found) - errors + _HALF_COUNT.value(facts)
    return _HALF_COUNT, Term("half_errors", "½ ‖y − f‖²/σ²", _half_errors), Term("half_trace", "½ tr P⁻¹G", half_trace, name)


_WITH_SLOPES = ("laplace.", "laplace.diag.", "laplace.kron.", "laplace.kron.split.")
_BY_PRIOR, _BY_NOISE = ([f"{prefix}evidence.{by}" for prefix in _WITH_SLOPES] for by in ("prior", "noise"))
SLOPES = {**dict.fromkeys(_BY_PRIOR, _slope_by_prior), **dict.fromkeys(_BY_NOISE, _slope_by_noise)}


BOUNDS = {"vi.elbo": "vi.kl", "vi.full.elbo": "vi.full.kl"}
DIVERGENCES = ("vi.kl", "vi.kl.reverse", "vi.full.kl", "vi.full.kl.reverse")


def _spread(facts: Facts, quantity: str) -> float:
    """½ tr P₀ Σ of q."""
    C = facts.problem.scale if quantity.startswith("vi.full") else np.diag(np.abs(facts.problem.vector))
    return 0.5 * float((prior_precision(facts) @ C * C).sum())


def _of_divergence(name: str) -> tuple[Term, ...]:
    """What a divergence between q and the prior is made of."""
    return (_HALF_P, Term("log_widths", "Σ log C_ii", lambda facts: float(np.log(np.abs(facts.problem.vector)).sum())),
            Term("spread", "½ tr P₀ Σ", lambda facts: _spread(facts, name)), _OF_PRIOR["log_det_prior"],
            _OF_PRIOR["prior_quadratic"])


def _terms(quantity: Quantity) -> tuple[Term, ...]:
    """What may be missing in a scalar, or too much."""
    if quantity.name in DIVERGENCES:
        return _of_divergence(quantity.name)
    if quantity.name in BOUNDS:
        divergence = Term("divergence", "KL(q ‖ prior)", _scalar(BOUNDS[quantity.name], 1.0))
        return (divergence, *LIKELIHOOD_TERMS, *_of_divergence(quantity.name))
    if quantity.name in SLOPES:
        return SLOPES[quantity.name](quantity.name)
    if quantity.name in LOG_DETS:
        return _prior_terms(LOG_DETS[quantity.name])[:2]
    if quantity.name not in EVIDENCES:
        return LIKELIHOOD_TERMS + PRIOR_TERMS + (LOSS_TERMS if quantity.name == "log_joint" else ())
    volume = EVIDENCES[quantity.name]
    log_det = Term("half_log_det", "½ log |P|", _scalar(volume.prefix + "log_det", 0.5), volume.prefix)
    return (*LIKELIHOOD_TERMS, *_prior_terms(volume), *LOSS_TERMS, log_det)


def _prior_terms(volume: Volume) -> tuple[Term, ...]:
    """Of its parameters; of a part of them the prior of all as well."""
    if not volume.is_of_part:
        return PRIOR_TERMS
    prior = _Prior(volume)
    others = Term("others", "log p of all parameters less that of those which are free",
                  lambda facts: _WHOLE.log_density(facts) - prior.log_density(facts), volume.prefix)
    return (*prior.terms(volume.prefix), others)


# What a multiple of a term in the answer's excess means: (quantity, term, coefficient) -> key, sentence, advice.
SPECIAL_TERMS: dict[tuple[str, str, float], tuple[str, str, str]] = {
    ("log_joint", "prior_mean_effect", 1.0): ("prior_mean_ignored", "The prior mean is ignored", "use θ − m in the prior"),
    ("log_joint", "log_prior", -1.0): ("log_prior_forgotten", "The log prior is missing", "add log p(θ)"),
    ("log_joint", "log_prior", 1.0): ("log_prior_doubled", "The log prior is added twice", "add log p(θ) once"),
    ("loss", "log_prior", -1.0): ("log_prior_included", "The log prior is included", "leave it out of the loss"),
    **{(name, "half_trace", c * sign): words for sign, names in ((1.0, _BY_PRIOR), (-1.0, _BY_NOISE)) for name in names
       for c, words in ((1.0, ("trace_missing", "The trace is missing", "include it")),
                        (2.0, ("trace_sign", "The trace has the wrong sign", "turn it")))},
    **{(name, "log_det_prior", -2.0): ("log_det_ratio", "You return log |P| − log |P₀|", "leave P₀ out") for name in LOG_DETS},
    ("loss", "prior_quadratic", 1.0): ("penalty_included", "The prior's quadratic form is added", "leave it out of the loss"),
}
_OF_EVIDENCES = {
    ("half_log_det", 1.0): ("log_det_missing", "½ log |P| is missing", "subtract ½ log |P|"),
    ("half_log_det", -1.0): ("half_missing", "log |P| is subtracted without the ½", "subtract ½ log |P|"),
    ("half_log_det", 2.0): ("log_det_sign", "½ log |P| is added instead of subtracted", "subtract it"),
    ("log_prior", -1.0): ("log_prior_forgotten", "The log prior is missing", "add log p(θ)"),
    ("prior_mean_effect", 1.0): ("prior_mean_ignored", "The prior mean is ignored", "use θ − m in the prior"),
    ("log_2pi_parameters", -1.0): ("log_2pi_missing", "(p/2) log 2π is missing", "add it"),
    ("others", 1.0): ("prior_of_all", "The prior of parameters that are fixed is in it", "take the prior of the free ones"),
}
_OF_LOSS = {
    "averaging": ("mean_loss", "The loss is averaged over data, the rest is not", "sum it"),
    "squared_error": ("squared_error", "The likelihood is −½‖y − f‖², without its variance and constants", "use log p(y | f)"),
}
SPECIAL_TERMS |= {(name, term, 1.0): words for name in ("log_joint", *EVIDENCES) for term, words in _OF_LOSS.items()}
SPECIAL_TERMS |= {(name, *what): words for name in EVIDENCES for what, words in _OF_EVIDENCES.items()}
_OF_BOUNDS = {
    ("divergence", 1.0): ("divergence_forgotten", "The divergence from the prior is missing", "subtract KL(q ‖ prior)"),
    ("divergence", 2.0): ("divergence_added", "The divergence from the prior is added", "subtract KL(q ‖ prior)"),
    ("divergence", -1.0): ("divergence_doubled", "The divergence from the prior is subtracted twice", "subtract it once"),
}
SPECIAL_TERMS |= {(name, *what): words for name in BOUNDS for what, words in _OF_BOUNDS.items()}
_COEFFICIENTS = (-1.0, 1.0, -0.5, 0.5, -2.0, 2.0)


def additive(quantity: Quantity) -> list[Theory]:
    """The value plus ±½, ±1 or ±2 times one term, or ±1 times two."""
    terms = _terms(quantity)
    singles = [_added(quantity, ((term, c),)) for term in terms for c in _COEFFICIENTS]
    pairs = [_added(quantity, ((a, ca), (b, cb))) for a, b in combinations(terms, 2) for ca in (-1.0, 1.0) for cb in (-1.0, 1.0)]
    return singles + pairs


def _added(quantity: Quantity, addends: tuple[tuple[Term, float], ...]) -> Theory:
    def basis(facts: Facts, q: Quantity) -> Basis | None:
        values = [facts.term(term) for term, _ in addends]
        if None in values:
            return None
        expected = facts.value(q.name)
        shift = sum(c * value for (_, c), value in zip(addends, values))
        return (expected + shift,) if min(map(abs, values)) > 1e-9 * abs(expected) else None
    key, sentence, advice = _words(quantity, addends)
    return Theory(key, "additive", 2 * len(addends), sentence, advice, basis, (quantity.name,), free=False)


def _words(quantity: Quantity, addends: tuple[tuple[Term, float], ...]) -> tuple[str, str, str]:
    if len(addends) == 1:
        (term, c), = addends
        if (quantity.name, term.key, c) in SPECIAL_TERMS:
            return SPECIAL_TERMS[quantity.name, term.key, c]
    key = "+".join(f"term:{c:+g}*{term.key}" for term, c in addends)
    return key, f"You return the right value {' '.join(_addend(term, c) for term, c in addends)}", "check these terms"


def _addend(term: Term, coefficient: float) -> str:
    times = "" if abs(coefficient) == 1 else f"{abs(coefficient):g} x "
    return f"{'plus' if coefficient > 0 else 'minus'} {times}[{term.text}]"


def log_det_variants(quantity: Quantity) -> list[Theory]:
    """log |αG + βP₀| for a wrong α, β; in an evidence, −½ of it."""
    volume = LOG_DETS.get(quantity.name) or EVIDENCES[quantity.name]
    where = "_in_log_det" if quantity.name in EVIDENCES else ""
    return [Theory(key + where, "log_det", 2, sentence, advice, _log_det_basis(volume, weights), (quantity.name, volume.stored),
                   free=False) for key, sentence, advice, weights in _MIXTURES]


# (α, β), or None where the problem has no such thing.
_MIXTURES: tuple[tuple[str, str, str, Weights], ...] = (
    ("prior_forgotten", "P lacks the prior precision", "add P₀", lambda p: (1, 0)),
    ("prior_doubled", "P holds the prior precision twice", "add P₀ once", lambda p: (1, 2)),
    ("curvature_forgotten", "P is the prior precision alone", "add the curvature", lambda p: (0, 1)),
    ("mean_curvature", "The curvature in P is divided by N, the prior is not", "sum the curvature over data",
     lambda p: (1 / len(p.X), 1)),
    ("mean_all_curvature", "The curvature in P is divided by N C, the prior is not", "sum the curvature over data",
     lambda p: (1 / p.y.size, 1) if p.y.ndim == 2 and p.y.shape[1] > 1 else None),
    ("variance_missing", "The noise variance is missing in P: curvature of ½‖y − f‖²", "divide it by σ²",
     lambda p: (p.variance, 1) if p.variance else None),
    ("variance_missing_doubled", "P has the curvature of ‖y − f‖²: no noise variance, no ½", "multiply it by 1/(2σ²)",
     lambda p: (2 * p.variance, 1) if p.variance else None),
    ("curvature_doubled", "The curvature in P is doubled", "halve it", lambda p: (2, 1)),
    ("curvature_halved", "The curvature in P is halved", "double it", lambda p: (0.5, 1)),
    ("curvature_times_n", "The curvature in P is multiplied by N", "divide it by N", lambda p: (len(p.X), 1)),
    ("prior_over_n", "The prior in P is divided by N", "add P₀ itself", lambda p: (1, 1 / len(p.X))),
    ("prior_times_n", "The prior in P is multiplied by N", "add P₀ itself", lambda p: (1, len(p.X))),
)


def _log_det_basis(volume: Volume, weights: Weights) -> MakeBasis:
    def basis(facts: Facts, quantity: Quantity) -> Basis | None:
        pair, chosen = facts.once(f"pair {volume.prefix}", lambda: volume.pair(facts)), weights(facts.problem)
        if pair is None or chosen is None:
            return None
        alpha, beta = chosen
        curvature = facts.once(f"eigenvalues {volume.prefix}", lambda: _generalised_eigenvalues(*pair))
        mixed = alpha * curvature + beta
        if mixed.min() <= 1e-12 * mixed.max():
            return None
        change = np.log(mixed).sum() - np.log(curvature + 1).sum()
        return (np.asarray(facts.value(quantity.name) + change * (-0.5 if quantity.name in EVIDENCES else 1.0)),)
    return basis


def _generalised_eigenvalues(precision: Array, prior: Array) -> Array:
    """λ with |αG + βP₀| = |P₀| Π (αλ + β)."""
    L = linalg.cholesky("prior precision", prior)
    half = linalg.solve_lower(L, precision - prior)
    return np.linalg.eigvalsh(linalg.solve_lower(L, half.T))
