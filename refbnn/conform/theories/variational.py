"""Theories for bounds, divergences and the best Gaussians."""

from __future__ import annotations

from typing import Callable

import numpy as np

from refbnn import Gaussian, linalg
from refbnn.gaussian import kl
from refbnn.precision import Dense

from ..quantities import Quantity
from .facts import Array, Facts
from .theory import Basis, Part, Theory, pair, prior_precision

SLOPES = ("vi.elbo.gradient.mean", "vi.full.elbo.gradient.mean", "vi.elbo.gradient.scale", "vi.full.elbo.gradient.scale")
_ADVICE = "the bound is E log p(y | θ) − KL(q ‖ prior)"


def slopes(quantity: Quantity) -> list[Theory]:
    """The slope of a bound with another multiple of one of its parts: of the prior's, the entropy's or both."""
    if quantity.name.endswith("mean"):
        return [_reweighted(quantity, "prior", "−P₀(θ − m)", _pull)]
    prior, entropy = _OF_SCALE[quantity.name]
    return [_reweighted(quantity, "prior", "the prior's part", prior),
            _reweighted(quantity, "entropy", "the part of the entropy of q", entropy),
            _reweighted(quantity, "divergence", "the part of the divergence", lambda facts: prior(facts) + entropy(facts))]


def _reweighted(quantity: Quantity, key: str, text: str, part: Part) -> Theory:
    special = {("1", "0"): (f"{key}_forgotten", f"The slope lacks {text}", _ADVICE),
               ("1", "2"): (f"{key}_doubled", f"The slope has {text} twice", _ADVICE),
               ("1", "-1"): (f"{key}_sign", f"The slope has {text} with the wrong sign", _ADVICE)}

    def rest(facts: Facts) -> Array | None:
        whole = facts.value(quantity.name)
        return None if whole is None else whole - part(facts)
    return Theory(f"{key}_part", f"{key}_part", 1, f"The rest of the slope and {text} are weighted apart", "each counts once",
                  pair(rest, part), (quantity.name,), terms=("the rest", text), special=special, first_alone=False)


def _pull(facts: Facts) -> Array:
    return prior_precision(facts) @ (facts.problem.prior_mean - facts.problem.theta)


def _width(facts: Facts) -> Array:
    return np.abs(facts.problem.vector)


_OF_SCALE: dict[str, tuple[Part, Part]] = {
    "vi.elbo.gradient.scale": (lambda facts: -np.diag(prior_precision(facts)) * _width(facts), lambda facts: 1 / _width(facts)),
    "vi.full.elbo.gradient.scale": (lambda facts: -np.tril(prior_precision(facts) @ facts.problem.scale),
                                    lambda facts: np.diag(1 / _width(facts))),
}


CORRELATED = ("vi.full.elbo", "vi.full.kl", "vi.full.kl.reverse", "vi.full.elbo.gradient.mean", "vi.full.elbo.gradient.scale")
_LOWER = "the covariance of q is C Cᵀ, and a draw θ + C z, with the lower-triangular C as it stands"


def wrong_side(quantity: Quantity) -> list[Theory]:
    """Cᵀ where C belongs: in q altogether, in the draws alone, or in what the draws' gradients are multiplied with."""
    own = _SIDES[quantity.name]
    return [Theory(key, "form", 2, sentence, advice, _computed(key, own[key]), free=False)
            for key, sentence, advice in _SLIPS if key in own]


_SLIPS = (
    ("transposed_scale", "You take Cᵀ for C, so that the covariance is Cᵀ C", _LOWER),
    ("transposed_draws", "Your draws are θ + Cᵀ z, but your divergence has C Cᵀ", _LOWER),
    ("transposed_cross", "You average z ∇lossᵀ where ∇loss zᵀ belongs", "row i belongs to θ_i, column j to z_j"),
    ("free_scale", "You differentiate by what lies above the diagonal of C as well", "leave that out, for C is lower triangular"),
)


def _computed(key: str, make: Part) -> Callable[[Facts, Quantity], Basis | None]:
    return lambda facts, quantity: (facts.once(f"{key} {quantity.name}", lambda: facts.convert(quantity, make(facts))),)


def _upper(facts: Facts) -> Gaussian:
    """N(θ, CᵀC): Cᵀ is the root that it draws with, the only upper-triangular one with a positive diagonal."""
    C = facts.problem.scale
    return Gaussian(facts.problem.theta, Dense(linalg.symmetric_part(np.linalg.inv(C.T @ C))))


def _upper_bound(facts: Facts):
    """The bound there, at the given normals."""
    return facts.once("upper bound", lambda: facts.model.bound_of(_upper(facts)))


def _upper_draws(facts: Facts) -> Array:
    return -_upper_bound(facts).loss.value - kl(facts.model.full, facts.model.posterior.prior)


def _crossed(facts: Facts) -> Array:
    at = facts.model.full_bound
    return np.tril(at.scale_gradient + at.loss.cross - at.loss.cross.T)


_SIDES: dict[str, dict[str, Part]] = {
    "vi.full.elbo": {"transposed_scale": lambda facts: _upper_bound(facts).value, "transposed_draws": _upper_draws},
    "vi.full.kl": {"transposed_scale": lambda facts: kl(_upper(facts), facts.model.posterior.prior)},
    "vi.full.kl.reverse": {"transposed_scale": lambda facts: kl(facts.model.posterior.prior, _upper(facts))},
    "vi.full.elbo.gradient.mean": {"transposed_scale": lambda facts: _upper_bound(facts).mean_gradient},
    "vi.full.elbo.gradient.scale": {
        "transposed_scale": lambda facts: np.triu(_upper_bound(facts).scale_gradient).T,
        "transposed_cross": _crossed, "free_scale": lambda facts: facts.model.full_bound.scale_gradient},
}


def best_covariance(quantity: Quantity) -> list[Theory]:
    """Another form of the right covariance, or that of the other family."""
    rows = (
        ("precision_for_covariance", "You return the precision of q", "invert it", lambda S: np.linalg.inv(S)),
        ("root_for_covariance", "You return the lower Cholesky factor of the covariance", "return C Cᵀ",
         lambda S: linalg.cholesky("covariance", S)),
        ("transposed_root", "You return Cᵀ C for C Cᵀ, C the lower Cholesky factor", "return C Cᵀ", _turned),
    )
    found = [Theory(key, "form", 2, sentence, advice, _formed(quantity.name, change), (quantity.name,))
             for key, sentence, advice, change in rows]
    return [*found, Theory("independent", "form", 2, "You return the covariance of the best independent parameters",
                           "let parameters be correlated", _independent, (quantity.name,))]


def _turned(S: Array) -> Array:
    C = linalg.cholesky("covariance", S)
    return C.T @ C


def _formed(name: str, change: Callable[[Array], Array]) -> Callable[[Facts, Quantity], Basis | None]:
    return lambda facts, quantity: (change(facts.value(name)),)


def _independent(facts: Facts, quantity: Quantity) -> Basis | None:
    variances = facts.raw("vi.optimum.meanfield.variance")
    return None if variances is None else (np.diag(variances),)


def best_variances(quantity: Quantity) -> list[Theory]:
    """The marginals of the correlated optimum."""
    def marginals(facts: Facts, quantity: Quantity) -> Basis | None:
        covariance = facts.raw("vi.optimum.covariance")
        return None if covariance is None else (np.diag(covariance).copy(),)
    return [Theory("marginals_of_full", "form", 2, "You return the marginal variances of the best correlated Gaussian",
                   "take the best among those with independent parameters", marginals, (quantity.name,))]
