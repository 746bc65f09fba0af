"""The Laplace approximation: a Gaussian at a point, and the evidence it implies."""

from __future__ import annotations

import numpy as np

from refbnn.gaussian import Gaussian
from refbnn.precision import Dense, Diagonal
from refbnn.shapes import Matrix, Vector, as_array


def at(theta: Vector, precision: Dense | Diagonal | Matrix) -> Gaussian:
    """N(θ, precision⁻¹), Eq. (laplace). The caller chose the matrix: `prior.precision + loss.ggn(theta)`, or with the Hessian.

    Raises NotPositiveDefinite with the smallest eigenvalue when it has none, as at a saddle with the Hessian.
    """
    return Gaussian(theta, precision if hasattr(precision, "matvec") else Dense(precision))


def log_evidence(log_joint: float, q: Gaussian) -> float:
    """log p(y) ≈ log p(y, θ*) + ½ p log 2π − ½ log |P|, every constant kept, Eq. (log-evidence)."""
    return float(as_array("log_joint", log_joint, "") + 0.5 * q.num_params * np.log(2 * np.pi) - 0.5 * q.precision.log_det())
