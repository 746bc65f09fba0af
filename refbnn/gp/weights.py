"""From functions back to weights: the parameters of a posterior mean, and draws, without a matrix over parameters."""

from __future__ import annotations

import numpy as np

from refbnn.gp.conditioned import Conditioned
from refbnn.gp.sites import Reduced, times
from refbnn.shapes import Parameters, Vector, as_array, expect_methods


def mean_weights(posterior: Conditioned) -> Vector:
    """θ̄ = μ₀ + P₀⁻¹Jᵀα, whose outputs are the posterior mean, Eq. (dual-weights): (p). At a mode −P₀⁻¹Jᵀr for μ₀ = 0.

    Raises ValueError unless `posterior` conditions a GaussianProcess.
    """
    return _corrected(posterior, _prior(posterior).mean, posterior.alpha)


def draws(posterior: Conditioned, z_prior: Parameters, z_sites: Reduced) -> Parameters:
    """Draws of θ from the posterior by given standard normals (*s p) and (*s n c), Eq. (sample-then-optimise): (*s p).

    Draw θ₀ from the prior and disturb r by −S z, which for a Normal is noise on y; then solve the regularised regression that has
    θ₀ for its prior mean (Papandreou & Yuille 2010; Matheron's rule). The covariance is exactly (JᵀΛJ + P₀)⁻¹.
    """
    prior, sites = _prior(posterior), posterior.sites
    theta = prior.from_normals(as_array("z_prior", z_prior, "*s p", p=prior.num_params))
    z = as_array("z_sites", z_sites, "*s n c", n=sites.num_data, c=sites.S.shape[2])
    if theta.shape[:-1] != z.shape[:-2]:
        raise ValueError(f"z_sites: expected leading axes {theta.shape[:-1]} as z_prior has, got {z.shape[:-2]}")
    f = posterior.process.net.forward(theta, posterior.X)
    alpha = posterior.at_data.coefficients(sites.f - f, sites.r - times(sites.S, z))
    return _corrected(posterior, theta, alpha)


def _corrected(posterior: Conditioned, theta: Parameters, alpha: np.ndarray) -> Parameters:
    """θ + P₀⁻¹Jᵀα: (*s p)."""
    prior, net = _prior(posterior), posterior.process.net
    return theta + prior.precision.solve(net.vjp(prior.mean, posterior.X, alpha))


def _prior(posterior: Conditioned) -> object:
    expect_methods("posterior.process", posterior.process, "net", "gaussian")
    return posterior.process.gaussian
