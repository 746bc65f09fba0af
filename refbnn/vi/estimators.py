"""Gradient estimators that implementations use, each from given standard normals: unbiased all, with very different variances."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from refbnn import linalg
from refbnn.gaussian import Gaussian
from refbnn.likelihoods.tempered import Tempered
from refbnn.posterior import Posterior
from refbnn.quadrature import ROUND_OFF
from refbnn.shapes import Draws, as_array, as_indices
from refbnn.vi.bounds import log_weights
from refbnn.vi.expectations import gaussian_prior, refuse_nonlinear

Noise = Annotated[np.ndarray, "t n k"]


@dataclass(frozen=True, eq=False)
class Gradients:
    """t estimates of ∂ELBO/∂mean (t p) and of ∂ELBO/∂C (t p p), every entry of C taken as free."""

    mean: Draws
    scale: np.ndarray


def pathwise(posterior: object, q: Gaussian, z: Draws) -> Gradients:
    """∇ log p(y, θ) and ∇ log p(y, θ) zᵀ + C⁻ᵀ at θ = mean + C z, Eq. (pathwise): z (t p).

    The entropy is exact. So it is when −log q(θ) is differentiated along with θ: at θ = mean + C z it does not depend on z's q.
    """
    z = as_array("z", z, "t p", p=q.num_params)
    gradient = posterior.value_and_gradient(q.from_normals(z))[1]
    return Gradients(gradient, _outer(gradient, z) + _inverse_transposed(q))


def sticking_the_landing(posterior: object, q: Gaussian, z: Draws) -> Gradients:
    """∇[log p(y, θ) − log q(θ)] and that times zᵀ, q held fixed, Eq. (sticking-the-landing) (Roeder et al. 2017): z (t p).

    Zero for every z where q is the posterior.
    """
    z = as_array("z", z, "t p", p=q.num_params)
    theta = q.from_normals(z)
    gradient = posterior.value_and_gradient(theta)[1] - q.gradient(theta)
    return Gradients(gradient, _outer(gradient, z))


def score(posterior: object, q: Gaussian, z: Draws) -> Gradients:
    """(log p(y, θ) − log q(θ)) times C⁻ᵀz and C⁻ᵀ(z zᵀ − I), Eq. (score): z (t p). No gradient of the model is needed."""
    z = as_array("z", z, "t p", p=q.num_params)
    weights, inverse = log_weights(posterior, q, z), _inverse_transposed(q)
    of_scale = inverse @ (_outer(z, z) - np.eye(q.num_params))
    return Gradients(weights[:, None] * (z @ inverse.T), weights[:, None, None] * of_scale)


def local_reparametrisation(posterior: object, q: Gaussian, noise: Noise) -> Gradients:
    """Pathwise through f_n = f̄_n + R_n ε_n with independent ε (t n k) for every datum, Eq. (local) (Kingma et al. 2015).

    For networks affine in θ with a Gaussian prior. Each f_n has its law under q, but data are independent here, so that their
    errors average out where those of shared θ add up. R_n is the symmetric root of f_n's covariance, which may be singular:
    r εᵀR_n⁺ then has the mean E Λ on its range, and J_n does not leave that. The symmetric part of r εᵀR_n⁺ stands for E Λ; with
    several outputs it is unbiased, yet not draw by draw the derivative of the sampled bound. Raises ValueError for other
    networks and priors.
    """
    loss = posterior.loss
    refuse_nonlinear(loss.net)
    J, mean = loss.net.jacobian(q.mean, loss.X), loss.net.forward(q.mean, loss.X)
    noise = as_array("noise", noise, "t n k", n=len(mean), k=mean.shape[1])
    half = q.precision.scale_transposed_matvec(J)
    root = linalg.symmetric_root("covariance", half @ np.swapaxes(half, -1, -2))
    r = loss.likelihood.residual(mean + np.einsum("nkl,tnl->tnk", root, noise), loss.y)
    curvature = np.einsum("tnk,tnl,nlm->tnkm", r, noise, _inverse_on_range(root))
    prior = gaussian_prior(posterior.prior, q)
    cross = np.einsum("nkp,tnkm,nmq->tpq", J, linalg.symmetric_part(curvature), half)
    return Gradients(-np.einsum("nkp,tnk->tp", J, r) - prior.gradient, _inverse_transposed(q) - cross - prior.cross)


def mini_batch(posterior: Posterior, batch: np.ndarray) -> object:
    """A Posterior in which the data with indices `batch` stand for all, Eq. (mini-batch): their log-likelihood times N/B.

    The prior counts once. Averaged over batches its log density, gradient and ELBO are those of `posterior`; with the plain sum
    over the batch they would be those of a posterior with B/N of the data.
    """
    chosen = as_indices(batch, len(posterior.X))
    likelihood = Tempered(posterior.likelihood, len(chosen) / len(posterior.X))
    return Posterior(posterior.net, likelihood, posterior.prior, posterior.loss.X[chosen], posterior.loss.y[chosen])


def _inverse_on_range(root: np.ndarray) -> np.ndarray:
    """R⁺ (n k k); round-off of size u in a covariance is √u in its root."""
    return np.linalg.pinv(root, rcond=np.sqrt(ROUND_OFF * root.shape[-1]), hermitian=True)


def _outer(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[:, :, None] * b[:, None, :]


def _inverse_transposed(q: Gaussian) -> np.ndarray:
    """C⁻ᵀ = P C: (p p)."""
    return q.precision.matvec(q.scale().T).T
