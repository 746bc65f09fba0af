"""Mean and covariance of the targets y, the covariance split by the law of total variance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from refbnn.predict.functions import Moments, expect_inputs
from refbnn.quadrature import Integral, Replicated, Rule, expect_resolved
from refbnn.shapes import Draws, NewInputs, as_array

TargetMeans = Annotated[np.ndarray, "m ..."]  # m o, with o targets: as many as outputs except for likelihoods of pairs
TargetCovariances = Annotated[np.ndarray, "m ..."]  # m o o


@dataclass(frozen=True, eq=False)
class TargetMoments:
    """E[y] (m o) and the two parts of Cov[y] (m o o), Eq. (total-variance).

    aleatoric = E[Cov(y|f)], the noise that stays when f is known; epistemic = Cov(E[y|f]), which more data would remove.
    """

    mean: TargetMeans
    aleatoric: TargetCovariances
    epistemic: TargetCovariances

    @property
    def covariance(self) -> TargetCovariances:
        """Cov[y] = aleatoric + epistemic: (m o o)."""
        return self.aleatoric + self.epistemic


def with_noise(moments: Moments, likelihood: object) -> TargetMoments:
    """Targets y = f + ε with noise whose law does not depend on f: the covariance of f plus that of ε, Eq. (noise-added).

    Raises ValueError for a likelihood of another kind; those need `under`.
    """
    f = moments.mean
    noise = likelihood.covariance(f)
    if not np.array_equal(likelihood.mean(f), f) or not np.array_equal(likelihood.covariance(f + 1), noise):
        raise ValueError(
            "likelihood: expected additive noise, E[y|f] = f and a covariance that is the same for every f, got "
            f"{type(likelihood).__name__}; use targets.under"
        )
    return TargetMoments(f, noise, moments.covariance)


def monte_carlo(net: object, likelihood: object, thetas: Draws, X_new: NewInputs) -> TargetMoments:
    """Moments of y averaged over given draws of θ (t p), Eq. (monte-carlo-predictive): those of the mixture of t predictions.

    Mean E[y], covariance E[Cov(y|f)] + Cov(E[y|f]). The second term is divided by t, the number of draws (the moments of the
    mixture itself), not by t − 1. One draw gives the plug-in prediction.
    """
    means, aleatoric = _over_draws(net, likelihood, thetas, X_new, minimum=1)
    return TargetMoments(means.mean(0), aleatoric, _spread(means) / len(means))


def unbiased_monte_carlo(net: object, likelihood: object, thetas: Draws, X_new: NewInputs) -> TargetMoments:
    """Unbiased estimates, from independent draws of θ (t p), of the moments of y under the law of the draws.

    As `monte_carlo`, but the spread between draws is divided by t − 1, Eq. (bessel). Raises ValueError for fewer than two draws.
    """
    means, aleatoric = _over_draws(net, likelihood, thetas, X_new, minimum=2)
    return TargetMoments(means.mean(0), aleatoric, _spread(means) / (len(means) - 1))


def under(moments: Moments, likelihood: object, rule: Rule | Replicated) -> Integral:
    """The moments of y for f ~ N(mean, covariance), input by input, by a rule over the k outputs: value and error TargetMoments.

    Any likelihood. Raises ValueError when the rule has another dimension, and for labels where its points are too far apart to
    see their noise (quadrature.expect_resolved); NotPositiveDefinite for an indefinite covariance.
    """
    expect_inputs(moments)
    if rule.dim != moments.num_outputs:
        raise ValueError(f"rule: expected one over {moments.num_outputs} outputs, got dimension {rule.dim}")
    roots = moments.root
    if getattr(likelihood, "bounded", False):
        expect_resolved(rule, max(np.abs(roots).max(), np.ptp(roots, axis=-1).max()))
    parts = [_one_input(mean, root, likelihood, rule) for mean, root in zip(moments.mean, roots)]
    values, errors = (TargetMoments(*(np.stack(part) for part in zip(*side))) for side in zip(*parts))
    return Integral(values, errors)


def poisson(moments: Moments) -> TargetMoments:
    """Counts with rate exp f, f ~ N(m, S), exactly, Eq. (poisson-lognormal).

    E[y_k] = E[e^f_k] = exp(m_k + S_kk/2) = a_k; aleatoric diag(a); epistemic a_k a_l (exp S_kl − 1).
    """
    rate = np.exp(moments.mean + 0.5 * moments.variance)
    aleatoric = rate[:, :, None] * np.eye(rate.shape[-1])
    return TargetMoments(rate, aleatoric, rate[:, :, None] * rate[:, None, :] * np.expm1(moments.covariance))


def heteroscedastic(moments: Moments) -> TargetMoments:
    """Targets N(μ, exp s) with outputs (μ_1, s_1, μ_2, s_2, ...) ~ N(m, S), exactly, Eq. (heteroscedastic-predictive).

    aleatoric E[exp s] = exp(m_s + S_ss/2); epistemic the covariance of the μ. Raises ValueError for an odd number of outputs.
    """
    if moments.num_outputs % 2:
        raise ValueError(f"moments: expected two outputs a target, got {moments.num_outputs} outputs")
    noise = np.exp(moments.mean[:, 1::2] + 0.5 * moments.variance[:, 1::2])
    return TargetMoments(moments.mean[:, 0::2], noise[:, :, None] * np.eye(noise.shape[-1]), moments.covariance[:, 0::2, 0::2])


def _over_draws(net, likelihood, thetas, X_new, minimum: int) -> tuple[np.ndarray, np.ndarray]:
    """E[y|f] for every draw (t m o), and the average of Cov(y|f) (m o o)."""
    thetas = as_array("thetas", thetas, "t p", p=net.num_params)
    if len(thetas) < minimum:
        raise ValueError(f"thetas: expected at least {('one draw', 'two draws')[minimum - 1]}, got {len(thetas) or 'none'}")
    f = net.forward(thetas, X_new)
    return likelihood.mean(f), likelihood.covariance(f).mean(0)


def _spread(means: np.ndarray) -> np.ndarray:
    """Σ_t (m_t − m̄)(m_t − m̄)ᵀ: (m o o)."""
    centred = np.moveaxis(means - means.mean(0), 0, -1)  # (m o t)
    return centred @ np.swapaxes(centred, -1, -2)


def _one_input(mean, root, likelihood, rule) -> tuple[tuple, tuple]:
    """(mean, aleatoric, epistemic) at one input, and their errors; centred at E[y|f = mean] so that little cancels."""
    at = likelihood.mean(mean[None])[0]

    def integrand(z):
        f = mean + z @ root
        shift = likelihood.mean(f) - at
        square = shift[:, :, None] * shift[:, None, :]
        return np.concatenate([shift[:, :, None], square, likelihood.covariance(f)], axis=-1)  # (j o 1+o+o)

    integral, o = rule.integrate(integrand), len(at)
    (shift, square, noise), (e_shift, e_square, e_noise) = (
        (whole[:, 0], whole[:, 1:o + 1], whole[:, o + 1:]) for whole in (integral.value, integral.error)
    )
    cross = np.outer(np.abs(shift), e_shift)
    e_spread = e_square + cross + cross.T + np.outer(e_shift, e_shift)
    return (at + shift, noise, square - np.outer(shift, shift)), (e_shift, e_noise, e_spread)
