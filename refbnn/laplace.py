"""The Laplace approximation: a Gaussian at a point, and the evidence it implies.

With c = post.loss.at(θ).ggn (or .hessian, .fisher, .empirical_fisher) and a prior of matching structure, the precision is one of

    prior.precision + c.full()                          every parameter with every other
    layer_blocks(c).plus(λ)                             refbnn.blocks: the blocks of the layers
    kfac(c).plus(λ), ekfac(c).plus(λ)                   refbnn.kronecker: Kronecker factors, the prior added exactly
    Diagonal(prior.precision.diagonal() + c.diagonal()) refbnn.precision
    leading(c, rank).plus(prior.precision)              refbnn.low_rank: the leading eigenpairs

with one λ, or one a block. Laplace on the last layer or on a few parameters is Laplace on another network (refbnn.subnetwork);
at another temperature it is Laplace with another likelihood (likelihoods.Tempered).
"""

from __future__ import annotations

import numpy as np

from refbnn.gaussian import Gaussian
from refbnn.precision import Dense, Diagonal
from refbnn.shapes import Matrix, Vector, as_array, expect_methods


def at(theta: Vector, precision: Dense | Diagonal | Matrix) -> Gaussian:
    """N(θ, precision⁻¹), Eq. (laplace). The caller chose the matrix, an array or any precision of the package.

    Raises NotPositiveDefinite with the smallest eigenvalue where that is not positive, as at a saddle with the Hessian;
    ValueError for a curvature without a prior.
    """
    return Gaussian(as_array("theta", theta, "p"), precision if hasattr(precision, "matvec") else Dense(precision))


def log_evidence(log_joint: float, q: Gaussian) -> float:
    """log p(y) ≈ log p(y, θ*) + ½ p log 2π − ½ log |P|, every constant kept, Eq. (log-evidence)."""
    expect_methods("q", q, "num_params", "precision")
    return float(as_array("log_joint", log_joint, "") + 0.5 * q.num_params * np.log(2 * np.pi) - 0.5 * q.precision.log_det())
