"""The real laplace-torch package, asked through its own interface at the given θ; nothing is converted here.

tests/peers/README.md makes the environments; the release that is checked is whichever `import laplace` finds. The model
is an ordinary torch module turned to float64 by `.double()`. torch's default dtype stays float32, as in most scripts,
unless the variable REFBNN_TORCH_DEFAULT_DTYPE says float64: some releases lose digits, or stop, when the two differ.
Data come in batches of 4, so that what the package sums over batches is seen too. `fit` computes the curvature at the
model's parameters and optimises nothing.
"""
from __future__ import annotations

import math
import os
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec

import numpy as np
import torch
from laplace import Laplace
from laplace.curvature import CurvlinopsEF, CurvlinopsGGN, CurvlinopsHessian
from torch.utils.data import DataLoader, TensorDataset

from refbnn.conform.adapters.curvlinops import labels_drawn
from refbnn.conform.adapters.torch import network

DTYPE = os.environ.get("REFBNN_TORCH_DEFAULT_DTYPE", "float32")
torch.set_default_dtype(getattr(torch, DTYPE))
name = "laplace-torch"
version = metadata.version(name) + ("" if DTYPE == "float32" else f" with torch default dtype {DTYPE}")
# For regression the backends differentiate ½‖y − f‖² (their factor is 0.5), but `gradients` the bare sum of squares;
# σ² enters only in what the Laplace object itself returns.
conventions = {"loss.squared_error": "half", "loss.squared_error@gradient": "one", "kfac.bias": "split"}
POSTERIOR = ("laplace", "predictive.hessian", "predictive.glm.variance",
             "predictive.joint", "predictive.diag", "predictive.lastlayer",
             "predictive.subset", "predictive.kron", "predictive.probit", "predictive.bridge", "gp")
KINDS = {"normal": "regression", "categorical": "classification"}


def unsupported(problem, quantity: str) -> str | None:
    """What the package cannot express: other likelihoods; priors that are not a diagonal."""
    if problem.likelihood not in KINDS:
        return f"laplace-torch has no {problem.likelihood} likelihood"
    diagonal = np.array_equal(problem.prior_precision, np.diag(problem.prior_precision.diagonal()))
    if quantity.startswith(POSTERIOR) and not diagonal:
        return "laplace-torch takes a scalar, per-tensor or diagonal prior precision, no full matrix"
    if quantity.startswith(("laplace.kron", "predictive.kron")) and _per_tensor(problem) is None:
        return "its Kronecker posterior takes a scalar or per-tensor prior precision"
    if "hessian.lowrank" in quantity and find_spec("asdfghjkl") is None:
        return "its low-rank posterior needs the package asdfghjkl, not installed here (tests/peers/README.md)"
    if quantity.startswith("gp.") and len(set(problem.prior_precision.diagonal())) > 1:
        return "its functional posterior takes a scalar prior precision"
    return None


def _per_tensor(problem) -> list[float] | None:
    """One prior precision a parameter tensor, where the diagonal is such."""
    diagonal, found, at = problem.prior_precision.diagonal(), [], 0
    for into, out in zip(problem.sizes, problem.sizes[1:]):
        for size in (out * into, out)[:1 + problem.bias]:
            found.append(set(diagonal[at:at + size]))
            at += size
    return [values.pop() for values in found] if all(len(values) == 1 for values in found) else None


@dataclass(frozen=True)
class State:
    """The problem as tensors and the package's Laplace object, fitted on demand with the curvature asked for."""

    problem: object
    X: torch.Tensor
    y: torch.Tensor
    X_new: torch.Tensor

    def laplace(self, backend=CurvlinopsGGN):
        """Laplace(...) at θ with the problem's prior, not fitted."""
        given = self.problem
        return self.unfitted("all", "full", backend=backend, prior_precision=torch.tensor(given.prior_precision.diagonal()),
                             prior_mean=torch.tensor(given.prior_mean))

    def unfitted(self, subset, structure, **options):
        """Laplace(...) at θ of these weights and this structure, not fitted."""
        given = self.problem
        noise = {} if given.variance is None else {"sigma_noise": math.sqrt(given.variance)}
        return Laplace(network(given), KINDS[given.likelihood], subset_of_weights=subset, hessian_structure=structure,
                       **noise, **options)

    @property
    def data(self):
        """Batches of 4."""
        return DataLoader(TensorDataset(self.X, self.y), batch_size=4)

    def backend(self, backend=CurvlinopsGGN):
        """The package's curvature backend for this model."""
        return backend(network(self.problem), KINDS[self.problem.likelihood])

    def posterior(self, structure, subset="all", places=slice(None), **options):
        """Laplace(...) with the problem's prior on the parameters at `places`, fitted."""
        given = self.problem
        options.setdefault("prior_precision", torch.tensor(given.prior_precision.diagonal()[places].copy()))
        mean = given.prior_mean[places]
        prior_mean = float(mean[0]) if len(set(mean)) == 1 else torch.tensor(mean)
        la = self.unfitted(subset, structure, backend=CurvlinopsGGN, prior_mean=prior_mean, **options)
        la.fit(self.data)
        return la

    def kron(self):
        """Kronecker factors; one prior precision a tensor."""
        given = torch.tensor(_per_tensor(self.problem), dtype=torch.float64)
        return self.posterior("kron", prior_precision=given if len(given.unique()) > 1 else given[:1])

    def last_layer(self):
        return self.posterior("full", "last_layer", slice(-self.problem.layer_sizes[-1], None))

    def subnetwork(self):
        """A scalar prior precision where there is one; else one entry a chosen parameter."""
        chosen = self.problem.subset
        diagonal = torch.tensor(self.problem.prior_precision.diagonal()[chosen])
        prior = diagonal[:1] if len(set(diagonal.tolist())) == 1 else diagonal
        return self.posterior("full", "subnetwork", chosen, subnetwork_indices=torch.tensor(chosen), prior_precision=prior)

    def low_rank(self):
        """Of the Hessian's eigenpairs largest in size, found by its power iterations, the positive ones."""
        given = self.problem
        la = self.unfitted("all", "lowrank", prior_precision=torch.tensor(given.prior_precision.diagonal()),
                           prior_mean=torch.tensor(given.prior_mean), backend_kwargs={"low_rank": given.rank})
        torch.manual_seed(0)
        la.fit(self.data)
        return la

    def functional(self):
        """The process, with all data in the subset. Its log_marginal_likelihood is Laplace's at θ, not the process's own."""
        return self.posterior("gp", n_subset=len(self.X), prior_precision=float(self.problem.prior_precision[0, 0]))

    def jacobians(self):
        """At the new inputs, as the backend gives them."""
        return self.backend().jacobians(self.X_new)[0]

    def fitted(self, backend=CurvlinopsGGN):
        """Laplace(...) after fit."""
        la = self.laplace(backend)
        la.fit(self.data)
        return la

    def curvature(self, structure, backend=CurvlinopsGGN, subset="all", **backend_options):
        """The matrix that fit adds up, before any prior; of Kronecker products as it is before their decomposition."""
        la = self.unfitted(subset, structure, backend=backend, backend_kwargs=backend_options)
        la.fit(self.data)
        return la.H_facs.to_matrix() if structure == "kron" else la.H


@contextmanager
def normals_from(normals: np.ndarray):
    """Inside, torch.randn, which the package's `sample` draws from, returns these normals in the dtype asked of it."""
    original = torch.randn

    def given(*shape, dtype=None, **_):
        if shape != normals.shape:
            raise ValueError(f"the package drew normals of shape {shape}, expected {normals.shape}")
        return torch.tensor(normals, dtype=dtype or torch.get_default_dtype())

    torch.randn = given
    try:
        yield
    finally:
        torch.randn = original


def prepare(problem) -> State:
    """Tensors of the data; the model is built anew for each quantity, so that none can spoil another."""
    return State(problem, *(torch.tensor(array) for array in (problem.X, problem.y, problem.X_new)))


def _sample(s):
    return _sampled(s, s.fitted())


def _sampled(s, la):
    with normals_from(s.problem.normals):
        return la.sample(len(s.problem.normals))


def _prior_slope(la):
    """∂/∂ log τ by differentiating log_marginal_likelihood in the prior precision, as its documentation says."""
    log_tau = torch.zeros((), dtype=torch.float64, requires_grad=True)
    evidence = la.log_marginal_likelihood(prior_precision=la.prior_precision.detach() * torch.exp(log_tau))
    return torch.autograd.grad(evidence, log_tau)[0]


def _noise_slope(la):
    """∂/∂ log σ² likewise, in the standard deviation."""
    log_ratio = torch.zeros((), dtype=torch.float64, requires_grad=True)
    evidence = la.log_marginal_likelihood(sigma_noise=la.sigma_noise.detach() * torch.exp(0.5 * log_ratio))
    return torch.autograd.grad(evidence, log_ratio)[0]


def _joint(s):
    covariance = s.fitted().functional_covariance(s.jacobians())
    return covariance.reshape(len(s.X_new), -1, len(s.X_new), s.problem.num_outputs)


def _low_rank_precision(s):
    """Put together from what the package returns: (vectors, values) and a diagonal."""
    (vectors, values), prior = s.low_rank().posterior_precision
    return (vectors * values) @ vectors.T + torch.diag(prior)


def _probabilities(s, approximation):
    return s.fitted()(s.X_new, pred_type="glm", link_approx=approximation)


def _drawn(s, structure):
    """A curvature of sampled labels. The package's ½‖y − f‖² stands for y ~ N(f, 1): label y needs the normal y − f."""
    labels = torch.tensor(s.problem.labels)
    with labels_drawn(labels, labels.reshape(len(s.X), -1) - network(s.problem)(s.X).detach()):
        return s.curvature(structure, stochastic=True)


def _predictive_mc(s):
    """The package's own network-sampling predictive, its `sample` replaced by the given draws."""
    la, draws = s.fitted(), torch.tensor(s.problem.draws)
    la.sample = lambda *_, **__: draws
    answer = la(s.X_new, pred_type="nn", link_approx="mc", n_samples=len(draws))
    return answer[0] if s.problem.likelihood == "normal" else answer


def _answers(function):
    """The adapter's function: a numpy array from a tensor."""
    return lambda state: function(state).detach().numpy()


forward = _answers(lambda s: s.laplace().model(s.X))
loss = _answers(lambda s: s.fitted().loss)
gradient = _answers(lambda s: s.backend().gradients(s.X, s.y)[0].sum(0))
jacobian = _answers(lambda s: s.backend().jacobians(s.X)[0])
ggn_full = _answers(lambda s: s.fitted().H)
ggn_diag = _answers(lambda s: s.backend().diag(s.X, s.y)[1])
ggn_lastlayer = _answers(lambda s: s.curvature("full", subset="last_layer"))
ggn_kfac = _answers(lambda s: s.curvature("kron"))
hessian_full = _answers(lambda s: s.fitted(CurvlinopsHessian).H)
fisher_empirical = _answers(lambda s: s.fitted(CurvlinopsEF).H)
fisher_empirical_diag = _answers(lambda s: s.backend(CurvlinopsEF).diag(s.X, s.y)[1])
fisher_empirical_kfac = _answers(lambda s: s.curvature("kron", CurvlinopsEF))
fisher_mc = _answers(lambda s: _drawn(s, "full"))
fisher_mc_kfac = _answers(lambda s: _drawn(s, "kron"))
laplace_precision = _answers(lambda s: s.fitted().posterior_precision)
laplace_covariance = _answers(lambda s: s.fitted().posterior_covariance)
laplace_scale = _answers(lambda s: s.fitted().posterior_scale)
laplace_log_det = _answers(lambda s: s.fitted().log_det_posterior_precision)
laplace_log_evidence = _answers(lambda s: s.fitted().log_marginal_likelihood())
laplace_sample = _answers(_sample)
laplace_hessian_precision = _answers(lambda s: s.fitted(CurvlinopsHessian).posterior_precision)
laplace_hessian_covariance = _answers(lambda s: s.fitted(CurvlinopsHessian).posterior_covariance)
laplace_hessian_log_det = _answers(lambda s: s.fitted(CurvlinopsHessian).log_det_posterior_precision)
laplace_hessian_log_evidence = _answers(lambda s: s.fitted(CurvlinopsHessian).log_marginal_likelihood())
laplace_hessian_lowrank_precision = _answers(_low_rank_precision)
laplace_hessian_lowrank_log_det = _answers(lambda s: s.low_rank().log_det_posterior_precision)
laplace_hessian_lowrank_log_evidence = _answers(lambda s: s.low_rank().log_marginal_likelihood())
predictive_hessian_lowrank_variance = _answers(lambda s: s.low_rank().functional_variance(s.jacobians()))
predictive_glm_mean = _answers(lambda s: s.backend().jacobians(s.X_new)[1])
predictive_glm_variance = _answers(lambda s: s.fitted().functional_variance(s.backend().jacobians(s.X_new)[0]))
predictive_mc = _answers(_predictive_mc)
predictive_joint = _answers(_joint)
predictive_probit_multiclass = _answers(lambda s: _probabilities(s, "probit"))
predictive_bridge = _answers(lambda s: _probabilities(s, "bridge"))
laplace_evidence_prior = _answers(lambda s: _prior_slope(s.fitted()))
laplace_evidence_noise = _answers(lambda s: _noise_slope(s.fitted()))
laplace_diag_variance = _answers(lambda s: s.posterior("diag").posterior_variance)
laplace_diag_log_det = _answers(lambda s: s.posterior("diag").log_det_posterior_precision)
laplace_diag_log_evidence = _answers(lambda s: s.posterior("diag").log_marginal_likelihood())
laplace_diag_sample = _answers(lambda s: _sampled(s, s.posterior("diag")))
laplace_diag_evidence_prior = _answers(lambda s: _prior_slope(s.posterior("diag")))
laplace_diag_evidence_noise = _answers(lambda s: _noise_slope(s.posterior("diag")))
predictive_diag_variance = _answers(lambda s: s.posterior("diag").functional_variance(s.jacobians()))
laplace_lastlayer_covariance = _answers(lambda s: s.last_layer().posterior_covariance)
laplace_lastlayer_log_det = _answers(lambda s: s.last_layer().log_det_posterior_precision)
laplace_lastlayer_log_evidence = _answers(lambda s: s.last_layer().log_marginal_likelihood())
predictive_lastlayer_variance = _answers(lambda s: s.last_layer()._glm_predictive_distribution(s.X_new)[1])
laplace_subset_covariance = _answers(lambda s: s.subnetwork().posterior_covariance)
laplace_subset_log_det = _answers(lambda s: s.subnetwork().log_det_posterior_precision)
laplace_subset_log_evidence = _answers(lambda s: s.subnetwork().log_marginal_likelihood())
predictive_subset_variance = _answers(lambda s: s.subnetwork()._glm_predictive_distribution(s.X_new)[1])
laplace_kron_split_covariance = _answers(lambda s: s.kron().posterior_precision.to_matrix(exponent=-1))
laplace_kron_split_sample = _answers(lambda s: _sampled(s, s.kron()))
laplace_kron_split_log_det = _answers(lambda s: s.kron().log_det_posterior_precision)
laplace_kron_split_log_evidence = _answers(lambda s: s.kron().log_marginal_likelihood())
laplace_kron_split_evidence_prior = _answers(lambda s: _prior_slope(s.kron()))
laplace_kron_split_evidence_noise = _answers(lambda s: _noise_slope(s.kron()))
predictive_kron_split_variance = _answers(lambda s: s.kron().functional_variance(s.jacobians()))
gp_variance = _answers(lambda s: s.functional()._glm_predictive_distribution(s.X_new)[1])
