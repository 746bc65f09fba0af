"""The entropy of a predicted label in nats, split into what more data could remove and what they could not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from scipy.special import softmax, xlogy

from refbnn.predict.classes import resolved_draws
from refbnn.predict.functions import Moments, expect_inputs
from refbnn.quadrature import Integral, Replicated, Rule
from refbnn.shapes import as_probabilities

Entropies = Annotated[np.ndarray, "m"]
ClassDraws = Annotated[np.ndarray, "t m k"]


@dataclass(frozen=True, eq=False)
class Information:
    """H[p̄] = E H[p] + I, Eq. (mutual-information), in nats: aleatoric E H[p] (m) and epistemic I (m).

    I is the mutual information of label and f, the score of Houlsby et al. (2011, BALD).
    """

    aleatoric: Entropies
    epistemic: Entropies

    @property
    def total(self) -> Entropies:
        """The entropy of the averaged prediction: (m)."""
        return self.aleatoric + self.epistemic


def of_draws(probabilities: ClassDraws) -> Information:
    """For given draws p_t of the class probabilities (t m k): E H[p_t], and E KL(p_t ‖ p̄), which is never negative.

    Raises ValueError for entries outside [0, 1] or rows that do not sum to one.
    """
    p = as_probabilities("probabilities", probabilities, "t m k")
    if len(p) == 0:
        raise ValueError("probabilities: expected at least one draw, got none")
    return Information(entropy(p).mean(0), divergence(p, p.mean(0)).mean(0))


def under(moments: Moments, rule: Rule | Replicated) -> Integral:
    """For softmax(f), f ~ N(m, S), by a rule over the k − 1 contrasts: value and error Information.

    Raises as `classes.probabilities` does.
    """
    expect_inputs(moments)
    parts = [_one_input(rule, draw) for draw in resolved_draws(moments, rule)]
    values, errors = (Information(*(np.array(part) for part in zip(*side))) for side in zip(*parts))
    return Integral(values, errors)


def entropy(p: np.ndarray) -> np.ndarray:
    """H[p] = −Σ_c p_c log p_c over the last axis, 0 log 0 = 0."""
    return -xlogy(p, p).sum(-1)


def divergence(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """KL(p ‖ q) = Σ_c p_c log(p_c/q_c) over the last axis, as Σ_c [p_c log(p_c/q_c) − p_c + q_c], no term negative."""
    return (xlogy(p, p) - xlogy(p, np.where(p > 0, q, 1.0)) - p + q).sum(-1)


def _one_input(rule: Rule | Replicated, draw) -> tuple[tuple, tuple]:
    """(aleatoric, epistemic) at one input and their errors; p̄ first, then the average divergence from it."""
    mean = rule.integrate(lambda z: softmax(draw(z), axis=-1))
    p_bar = np.maximum(mean.value, np.finfo(float).tiny)  # which can underflow, times a weight, where p does not

    def integrand(z):
        p = softmax(draw(z), axis=-1)
        return np.stack([entropy(p), divergence(p, p_bar)], axis=-1)

    parts = rule.integrate(integrand)
    # E KL(p ‖ q) is least at q = p̄, so an error of p̄ enters squared: Σ e²/p̄
    return tuple(parts.value), (parts.error[0], parts.error[1] + (mean.error**2 / p_bar).sum())
