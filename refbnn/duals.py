"""The small side of a curvature: kernels over data in place of matrices over parameters.

J J'ᵀ is the neural tangent kernel of two sets of inputs. J itself is not formed: layer by layer J_l = Δ_l ⊗ ā_{l-1}, so that
the inner product of two rows is a product of two numbers, δ · δ' and ā · ā'.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch

import numpy as np

from refbnn.linalg import gram
from refbnn.networks.mlp import Evaluation
from refbnn.networks.pullback import Pullback
from refbnn.networks.rows import Rows
from refbnn.networks.signals import Signals
from refbnn.shapes import as_array


def ntk(left: Evaluation, right: Evaluation, layer_precisions: Sequence[float] | None = None) -> np.ndarray:
    """J J'ᵀ = Σ_l (Δ_l Δ'_lᵀ) ⊙ (ā ā'), Eq. (ntk) (Jacot et al. 2018): (n k m k) for n data on the left and m on the right.

    With `layer_precisions` (λ_l) each layer counts 1/λ_l times: J P₀⁻¹ J'ᵀ for a prior with one precision a layer. Both sides are
    evaluations of one network at one θ. Raises ValueError for different networks, a wrong number of layers or
    a precision that is not positive.
    """
    one, two = _signals(left), _signals(right)
    shapes = [[W.shape for W in signals.weights] for signals in (one, two)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"ntk: expected evaluations of one network, got layers {shapes[0]} and {shapes[1]}")
    precisions = np.ones(one.depth) if layer_precisions is None else as_array("precisions", layer_precisions, "l", l=one.depth)
    if not (precisions > 0).all():
        raise ValueError(f"precisions: expected positive numbers, got {precisions}")
    return _kernel(one, _seeds(one), two, _seeds(two), precisions)


def kernel(left: Evaluation, right: Evaluation, precision) -> np.ndarray:
    """J P₀⁻¹ J'ᵀ for any precision of refbnn.precision: (n k m k), the prior covariance of f_lin, Eq. (ntk) weighted.

    Through Cᵀ of P₀⁻¹ = C Cᵀ on both sides, which needs J; with one precision a layer, `ntk` is the cheaper way.
    """
    one, two = (precision.scale_transposed_matvec(evaluation.jacobian()) for evaluation in (left, right))
    p = precision.num_params
    return (one.reshape(-1, p) @ two.reshape(-1, p).T).reshape(*one.shape[:2], *two.shape[:2])


@singledispatch
def gram_dual(pullback: Pullback) -> np.ndarray:
    """SᵀJJᵀS for a Pullback JᵀSSᵀJ, Eq. (gram-dual): (n·c n·c), datum by datum. Its nonzero eigenvalues are the curvature's.

    Of Rows it is R Rᵀ (n n). Raises ValueError for a Pullback with v (a Hessian) or without a factor S.
    """
    if pullback.v is not None or pullback.S is None:
        raise ValueError("pullback: expected one with a factor S and without v, such as a GGN or an empirical Fisher matrix")
    signals = pullback.signals
    K = _kernel(signals, pullback.S, signals, pullback.S, np.ones(signals.depth))
    size = K.shape[0] * K.shape[1]
    K = K.reshape(size, size)
    return 0.5 * (K + K.T)


@gram_dual.register
def _(rows: Rows) -> np.ndarray:
    return gram(rows.R.T)


def _kernel(one: Signals, seeds_one: np.ndarray, two: Signals, seeds_two: np.ndarray, precisions: np.ndarray) -> np.ndarray:
    """Σ_l (1/λ_l) (δ_l · δ'_l)(ā · ā') for the δ that start from seeds (c k n) and (c' k m): (n c m c')."""
    total = 0.0
    deltas = zip(one.with_axis_for_outputs().backward(seeds_one), two.with_axis_for_outputs().backward(seeds_two))
    for l, (delta_one, delta_two) in enumerate(deltas):
        units = _rows(delta_one) @ _rows(delta_two).T
        inputs = one.augmented[l].T @ two.augmented[l] / precisions[l]
        n, m = inputs.shape
        total = total + units.reshape(n, -1, m, len(delta_two)) * inputs[:, None, :, None]
    return total


def _rows(delta: np.ndarray) -> np.ndarray:
    """(c d n) as (n·c, d)."""
    return delta.transpose(2, 0, 1).reshape(-1, delta.shape[1])


def _seeds(signals: Signals) -> np.ndarray:
    """One unit vector an output, for every datum: (k k n)."""
    k, n = signals.f.shape
    return np.broadcast_to(np.eye(k)[..., None], (k, k, n))


def _signals(evaluation: Evaluation) -> Signals:
    """The signals whose Jacobian an evaluation has; of a linearised network, those at the point of linearisation."""
    return evaluation.pullback().signals
