"""What a Laplace approximation leaves out at the next order: of the evidence, of the mean, of predictions through the network.

Diagnostics. The series is asymptotic in the number of data: a correction that is not small says that Laplace is not to be trusted
here, and neither is the correction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from refbnn import fourth, third
from refbnn.gaussian import Gaussian
from refbnn.loss import Loss
from refbnn.precision import Dense
from refbnn.shapes import NewInputs, Vector, as_array, expect_methods

AT_A_MODE = 1e-4  # posterior standard deviations; farther off, the first-order term that a mode lacks may not be small

Functions = Annotated[np.ndarray, "m k"]


@dataclass(frozen=True)
class SecondOrder:
    """The terms of order 1/N, Eq. (laplace-second-order), with U = −log p(y, θ) in coordinates where P = I.

    `fourth` is −⅛ Σ U_iijj, with an estimate of the absolute error of what is differentiated numerically in it, the third
    derivative of the likelihood; `third_joined` is
    ⅛ Σ U_iij U_jkk and `third_crossed` 1/12 Σ U_ijk², to round-off. `mean_shift` takes the mode to the mean, Eq. (mean-shift).
    """

    fourth: float
    fourth_error: float
    third_joined: float
    third_crossed: float
    mean_shift: Vector

    @property
    def log_evidence(self) -> float:
        """log p(y) − log p(y)_Laplace up to O(1/N²), to be added to laplace.log_evidence."""
        return self.fourth + self.third_joined + self.third_crossed

    @property
    def shift_in_deviations(self) -> float:
        """√(shiftᵀ P shift), how many posterior standard deviations the mean is from the mode: √(2 third_joined)."""
        return float(np.sqrt(2 * self.third_joined))


def second_order(posterior: object, theta: Vector) -> SecondOrder:
    """The next terms after Laplace with the Hessian at the mode θ (Tierney & Kadane 1986; Kass, Tierney & Kadane 1990).

    Third derivatives are exact, by jets: p(p + 1)/2 of them. So is the fourth but for that of the likelihood (refbnn.fourth):
    p² jets. On Linearised it is the correction of Laplace with the GGN. Raises ValueError away from a mode, and for a prior that
    is not Gaussian; NotPositiveDefinite at a saddle.
    """
    expect_methods("posterior", posterior, "loss", "prior", "value_and_gradient", "negative_hessian")
    if not hasattr(posterior.prior, "precision"):
        raise ValueError(f"prior: expected a Gaussian, which has no third derivatives, got a {type(posterior.prior).__name__}")
    theta = as_array("theta", theta, "p", p=posterior.net.num_params)
    P = Dense(posterior.negative_hessian(theta))
    _refuse_away_from_a_mode(posterior, theta, P)
    V = P.scale_matvec(np.eye(P.num_params))  # row i is column i of C, with C Cᵀ = P⁻¹
    t = third.trace_gradient_of_hessian(posterior.loss, theta, V)
    contraction, error = fourth.contraction(posterior.loss, theta, V)
    return SecondOrder(
        fourth=-contraction / 8,
        fourth_error=error / 8,
        third_joined=float(((V @ t) ** 2).sum()) / 8,
        third_crossed=_sum_of_squares(posterior.loss, theta, V) / 12,
        mean_shift=-0.5 * P.solve(t),
    )


def sampling_bias(net: object, q: Gaussian, X_new: NewInputs) -> Functions:
    """½ tr(Σ ∇²f(x)), by how much the mean of f over θ ~ q differs from f at q's mean, to first order: (m k).

    Eq. (network-sampling-bias). Zero for a network affine in θ: it is what sampling a network with the posterior of its
    linearisation adds to the GLM predictive.
    """
    expect_methods("q", q, "mean", "precision")
    bends = net.evaluate(q.mean, X_new).bend(q.precision.scale_matvec(np.eye(q.num_params)))
    return 0.5 * bends.sum(0)


def _refuse_away_from_a_mode(posterior, theta: np.ndarray, P: Dense) -> None:
    gradient = posterior.value_and_gradient(theta)[1]
    distance = np.sqrt(gradient @ P.solve(gradient))
    if distance > AT_A_MODE:
        raise ValueError(f"theta: expected a mode to {AT_A_MODE:g} standard deviations, got a point {distance:.3g} away from one")


def _sum_of_squares(loss: Loss, theta: np.ndarray, V: np.ndarray) -> float:
    """Σ_ijk U_ijk² for the rows of V (p p), Eq. (crossed-term); ∇³U[u, v] = ½ (∇³U[u + v, u + v] − ∇³U[u, u] − ∇³U[v, v])."""
    own = third.third_derivative(loss, theta, V)
    total = ((own @ V.T) ** 2).sum()
    for i in range(len(V) - 1):
        sums = third.third_derivative(loss, theta, V[i] + V[i + 1:])
        mixed = 0.5 * (sums - own[i] - own[i + 1:])
        total += 2 * ((mixed @ V.T) ** 2).sum()
    return float(total)
