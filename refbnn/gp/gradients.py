"""Gradients of the log evidence in hyper-parameters of prior and noise, from kernels over data and whitened Jacobians."""

from __future__ import annotations

import numpy as np

from refbnn import linalg
from refbnn.gp.conditioned import Conditioned
from refbnn.gp.newton import Laplace
from refbnn.shapes import Vector, expect_methods


def log_precision_gradient(posterior: Conditioned) -> Vector:
    """∂ log evidence/∂ log λ_i with the sites fixed, Eq. (dual-hyper-gradient): (p). The whole gradient for a Normal.

    ½ ‖L⁻¹Sᵀh_i‖² − ½ (h_iᵀα)², h_i a column of J C. With a diagonal prior λ_i is the precision of parameter i, and the gradient
    in a precision that several share is the sum over them; with any prior the sum over all is the gradient in a common factor.
    Raises ValueError unless `posterior` conditions a GaussianProcess.
    """
    at, H = posterior.at_data, _columns(posterior)
    explained = linalg.solve_lower(at.L, at.reduced(H))
    return 0.5 * ((explained**2).sum(0) - (at.alpha.ravel() @ H) ** 2)


def laplace_log_precision_gradient(found: Laplace, likelihood: object, y: np.ndarray) -> Vector:
    """The total ∂ log evidence/∂ log λ_i of a Laplace approximation, the mode moving along, Eq. (dual-total-gradient): (p).

    To the gradient with fixed sites comes ½ (h_iᵀα) h_iᵀ(I + ΛK)⁻¹t with t_na = Σ_bc V_n,bc T_n,bca (Rasmussen & Williams 2006,
    section 5.5.1, here for singular Λ too). The point of linearisation stays.
    """
    expect_methods("found", found, "posterior")
    expect_methods("likelihood", likelihood, "third", "check_targets")
    at = found.posterior.at_data
    y = likelihood.check_targets(y, *at.mean.shape)
    t = np.einsum("nbc,nbca->na", at.posterior_covariances(), likelihood.third(at.sites.f, y))
    H = _columns(found.posterior)
    through = -at.coefficients(np.zeros_like(t), t).ravel()  # (I + ΛK)⁻¹t = t − S B⁻¹SᵀK t
    return log_precision_gradient(found.posterior) + 0.5 * (at.alpha.ravel() @ H) * (through @ H)


def log_variance_gradient(posterior: Conditioned, likelihood: object, y: np.ndarray) -> float:
    """∂ log evidence/∂ log σ² for a Normal likelihood with one variance, Eq. (dual-noise-gradient).

    Σ_n ∂ log p(y_n|f̄_n)/∂ log σ² + ½ γ at the posterior mean f̄, γ the effective number of parameters.
    """
    expect_methods("likelihood", likelihood, "log_variance_derivatives", "check_targets")
    f = posterior.at_data.posterior_mean()
    fit, _ = likelihood.log_variance_derivatives(f, likelihood.check_targets(y, *f.shape))
    return float(fit.sum() + 0.5 * posterior.effective_parameters())


def _columns(posterior: Conditioned) -> np.ndarray:
    """The whitened Jacobian of the prior at the data: (n·k p)."""
    expect_methods("posterior.process", posterior.process, "whitened_jacobian")
    H = posterior.process.whitened_jacobian(posterior.X)
    return H.reshape(-1, H.shape[-1])
