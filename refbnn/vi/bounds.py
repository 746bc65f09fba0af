"""Bounds of the log evidence from both sides, and the importance weights that tell how far q is off."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import logsumexp

from refbnn.gaussian import Gaussian
from refbnn.quadrature import Integral
from refbnn.shapes import Parameters, Values, as_array


def log_weights(posterior: object, q: Gaussian, z: Parameters) -> Values:
    """log p(y, θ) − log q(θ) at θ = mean + C z, for standard normals z: (*s). Their mean is the ELBO, that of exp the evidence.

    The tail of the weights tells whether q can stand in for the posterior: refbnn.diagnostics has Pareto k.
    """
    theta = q.from_normals(z)
    return posterior.log_prob(theta) - q.log_prob(theta)


def iwae(posterior: object, q: Gaussian, normals: np.ndarray) -> Integral:
    """E log (1/k) Σ_i w_i over k independent draws, Eq. (importance-weighted-bound) (Burda et al. 2016).

    A lower bound that rises with k from the ELBO (k = 1) to log p(y). normals (t k p): t independent estimates, of which the
    mean and its standard error are returned. Raises ValueError for t < 2 or k = 0.
    """
    normals = as_array("normals", normals, "t k p", p=q.num_params)
    if len(normals) < 2:
        raise ValueError(f"normals: expected at least two estimates, which a standard error needs, got {len(normals)}")
    if normals.shape[1] < 1:
        raise ValueError(f"normals: expected at least one draw an estimate, got shape {normals.shape}")
    estimates = logsumexp(log_weights(posterior, q, normals), axis=1) - np.log(normals.shape[1])
    return Integral(float(estimates.mean()), float(estimates.std(ddof=1) / np.sqrt(len(estimates))))


def eubo(posterior: object, q: Gaussian, expect: Callable[[Callable[[np.ndarray], np.ndarray]], Integral]) -> Integral:
    """E_p[log p(y, θ) − log q(θ)] = log p(y) + KL(posterior ‖ q), Eq. (eubo): an upper bound.

    `expect(g)` is the expectation of g under the *posterior*, with its error: quadrature.draws(thetas).integrate for
    independent draws of the posterior, or a cubature.
    """
    return expect(lambda theta: posterior.log_prob(theta) - q.log_prob(theta))
