"""The real laplax package: its curvatures, posteriors, evidence and pushforwards at the given θ; nothing is converted.

tests/peers/README.md makes the environment. Parameters are a list of (W, b), in double precision. Regression has the package's
loss "mse", ‖y − f‖², classes its "cross_entropy", binary outcomes its "binary_cross_entropy"; every other likelihood is
handed over as a function. Its prior arguments are the prior precision, and for regression sigma_squared = 1/(2σ²), which
multiplies the curvature, and sigma = σ², which divides ½‖y − f‖².
"""
from __future__ import annotations

from functools import cached_property
from importlib import metadata
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from laplax import util
from laplax.curv.cov import CURVATURE_PRECISION_METHODS, estimate_curvature, set_posterior_fn
from laplax.curv.ggn import create_ggn_mv
from laplax.curv.hessian import create_hessian_mv
from laplax.curv.utils import concatenate_model_and_loss_fn
from laplax.eval import likelihood as likelihoods, pushforward
from loguru import logger

from refbnn.conform.adapters.jax import answers, likelihood, network

jax.config.update("jax_enable_x64", True)
logger.disable("laplax")
name, version = "laplax", metadata.version("laplax")
# "mse" is the bare sum of squares; σ² enters only in the posterior.
conventions = {"loss.squared_error": "one"}
LOSSES = {"normal": "mse", "categorical": "cross_entropy", "bernoulli": "binary_cross_entropy"}
OF_PRIOR = ("laplace", "log_joint", "predictive.joint", "predictive.glm.variance", "predictive.diag", "predictive.lowrank",
            "predictive.probit", "predictive.meanfield", "predictive.bridge")
OF_MEAN = ("log_joint", "laplace.log_evidence", "laplace.diag.log_evidence", "laplace.lowrank.log_evidence",
           "laplace.hessian.log_evidence")


def unsupported(problem, quantity: str) -> str | None:
    """What the package cannot express: priors that are not isotropic; in evidences, means other than zero."""
    isotropic = np.array_equal(problem.prior_precision, problem.prior_precision[0, 0] * np.eye(problem.num_params))
    if quantity.startswith(OF_PRIOR) and not isotropic:
        return "laplax has isotropic priors"
    if quantity in OF_MEAN and problem.prior_mean.any():
        return "laplax has priors of mean zero"
    return "laplax averages outputs or softmax over draws" if (
        quantity == "predictive.mc" and problem.likelihood not in ("normal", "normal_full", "student_t", "categorical")) else None


class State:
    """The problem as laplax has it: a model of one input, parameters, data, loss and prior arguments."""

    def __init__(self, problem):
        self.problem, layers, density = problem, network(problem), likelihood(problem)
        self.params = self.tree(problem.theta)
        self.data = {"input": jnp.array(problem.X), "target": jnp.array(problem.y)}
        self.model = lambda input, params: layers(util.flatten.full_flatten(params), input)[0]
        own = jnp.vectorize(density.log_prob, signature="(k),(t)->()")
        self.loss = LOSSES.get(problem.likelihood, lambda f, y: -own(f, y).sum())
        self.prior = {"prior_prec": problem.prior_precision[0, 0]}
        if problem.likelihood == "normal":
            self.prior |= {"sigma_squared": 0.5 / problem.variance, "sigma": problem.variance}

    def tree(self, theta):
        """A vector in θ's order as a list of weights and biases."""
        parts, at = [], 0
        for d, out in zip(self.problem.sizes, self.problem.sizes[1:]):
            shapes = ((out, d), (out,))[:1 + self.problem.bias]
            for shape in shapes:
                size = int(np.prod(shape))
                parts.append(jnp.array(theta[at:at + size]).reshape(shape))
                at += size
        return parts

    @cached_property
    def ggn(self):
        """The product with the GGN."""
        return create_ggn_mv(self.model, self.params, self.data, loss_fn=self.loss)

    @cached_property
    def hessian(self):
        """The product with the Hessian."""
        return create_hessian_mv(self.model, self.params, self.data, self.loss)

    @cached_property
    def full(self):
        """The package's estimate of the curvature; likewise below."""
        return estimate_curvature("full", self.ggn, layout=self.params)

    @cached_property
    def diagonal(self):
        return estimate_curvature("diagonal", self.ggn, layout=self.params)

    @cached_property
    def low_rank(self):
        """By Lanczos, as many eigenpairs as the problem says."""
        return estimate_curvature("lanczos", self.ggn, layout=self.params, key=jax.random.key(0), rank=self.problem.rank)

    @cached_property
    def full_hessian(self):
        return estimate_curvature("full", self.hessian, layout=self.params)

    def eigenpairs_and_prior(self):
        """U S Uᵀ + δ of the package's low-rank precision."""
        terms = CURVATURE_PRECISION_METHODS["lanczos"](self.low_rank, self.prior)
        return (terms.U * terms.S) @ terms.U.T + terms.scalar * jnp.eye(len(terms.U))

    def posterior_fn(self, curvature):
        """The package's function from prior arguments to a posterior."""
        return set_posterior_fn(_kind(curvature), curvature, layout=self.params)

    def covariance(self, curvature):
        """The dense matrix of the posterior's product with its covariance."""
        found = self.posterior_fn(curvature)(self.prior)
        return _dense(self, found.cov_mv(found.state))

    def evidence(self, curvature):
        """The package's marginal_log_likelihood."""
        return likelihoods.marginal_log_likelihood(curvature, self.prior, self.data, self.model, self.params, self.loss,
                                                   _kind(curvature), vmap_over_data=True)

    def pushed(self, *functions, curvature, **options):
        """What the linearised pushforward returns at the new inputs."""
        predict = pushforward.set_lin_pushforward(
            model_fn=self.model, mean_params=self.params, posterior_fn=self.posterior_fn(curvature), prior_arguments=self.prior,
            pushforward_fns=[pushforward.lin_setup, *functions], **options)
        return jax.vmap(predict)(jnp.array(self.problem.X_new))


def _kind(curvature):
    """The package's name of such a curvature."""
    return {2: "full", 1: "diagonal"}.get(getattr(curvature, "ndim", None), "lanczos")


def _dense(s, product):
    """A product of trees as a matrix."""
    flat = util.flatten.wrap_function(product, s.tree, util.flatten.full_flatten)
    return util.mv.to_dense(flat, layout=len(s.problem.theta))


def _flat(tree):
    return util.flatten.full_flatten(tree)


def _sample(s, curvature):
    """The package's sampler, handed the given normals."""
    found = s.posterior_fn(curvature)(s.prior)
    scale = found.scale_mv(found.state)

    def draw(normals):
        parts = iter(s.tree(normals))
        with mock.patch.object(jax.random, "normal", lambda key, shape: next(parts)):
            return _flat(util.tree.normal_like(jax.random.key(0), s.params, scale))
    return jnp.stack([draw(normals) for normals in s.problem.normals])


def _tangent(s):
    """The Jacobian's product of the linearised model with problem.vector, input by input."""
    state = pushforward.get_dist_state(s.params, s.model, s.posterior_fn(s.diagonal)({"prior_prec": 1.0}), linearized=True)
    return jax.vmap(lambda x: state["jvp"](x, s.tree(s.problem.vector)))(s.data["input"])


def _joint(s):
    """Its Gaussian process kernel between all new inputs."""
    kernel, state = pushforward.set_posterior_gp_kernel(s.model, s.params, s.posterior_fn(s.full), s.prior, dense=True,
                                                        output_layout=s.problem.num_outputs)
    X = jnp.array(s.problem.X_new)
    return jax.vmap(jax.vmap(kernel, (None, 0)), (0, None))(X, X).transpose(0, 2, 1, 3)


def _special(s, kind):
    return s.pushed(pushforward.lin_special_pred_act, special_pred_type=kind, curvature=s.full)["special_pred_act"]


def _monte_carlo(s):
    """The network-sampling pushforward, its draws replaced by the given ones."""
    draws = [s.tree(theta) for theta in s.problem.draws]
    stacked = jax.tree.map(lambda *parts: jnp.stack(parts), *draws)
    last = ("mc_pred_act", pushforward.nonlin_mc_pred_act) if s.problem.likelihood == "categorical" else (
        "pred_mean", pushforward.nonlin_pred_mean)
    given = mock.patch.object(pushforward, "set_get_weight_sample",
                              lambda *_, **__: lambda i: jax.tree.map(lambda x: x[i], stacked))
    with given:
        predict = pushforward.set_nonlin_pushforward(
            model_fn=s.model, mean_params=s.params, posterior_fn=s.posterior_fn(s.diagonal), prior_arguments={"prior_prec": 1.0},
            key=jax.random.key(0), num_samples=len(draws), pushforward_fns=[pushforward.nonlin_setup, last[1]])
    return jax.vmap(predict)(jnp.array(s.problem.X_new))[last[0]]


def _log_joint(s):
    full = concatenate_model_and_loss_fn(s.model, s.loss, vmap_over_data=True)
    return likelihoods.joint_log_likelihood(full, s.prior, s.params, s.data)


def prepare(problem) -> State:
    """The state that every function below takes. What was compiled for the last one is of no more use, and heavy."""
    jax.clear_caches()
    return State(problem)


log_joint = answers(_log_joint)
jacobian_vp = answers(_tangent)
ggn_full = answers(lambda s: s.full)
ggn_diag = answers(lambda s: s.diagonal)
ggn_vp = answers(lambda s: _flat(s.ggn(s.tree(s.problem.vector))))
hessian_full = answers(lambda s: s.full_hessian)
hessian_diag = answers(lambda s: estimate_curvature("diagonal", s.hessian, layout=s.params))
hessian_hvp = answers(lambda s: _flat(s.hessian(s.tree(s.problem.vector))))
laplace_precision = answers(lambda s: CURVATURE_PRECISION_METHODS["full"](s.full, s.prior))
laplace_covariance = answers(lambda s: s.covariance(s.full))
laplace_covariance_diag = answers(lambda s: jnp.diag(s.covariance(s.full)))
laplace_covariance_vp = answers(lambda s: s.covariance(s.full) @ s.problem.vector)
laplace_scale = answers(lambda s: s.posterior_fn(s.full)(s.prior).state["scale"])
laplace_sample = answers(lambda s: _sample(s, s.full))
laplace_log_evidence = answers(lambda s: s.evidence(s.full))
laplace_diag_variance = answers(lambda s: jnp.diag(s.covariance(s.diagonal)))
laplace_diag_sample = answers(lambda s: _sample(s, s.diagonal))
laplace_diag_log_evidence = answers(lambda s: s.evidence(s.diagonal))
laplace_lowrank_precision = answers(lambda s: s.eigenpairs_and_prior())
laplace_lowrank_covariance = answers(lambda s: s.covariance(s.low_rank))
laplace_lowrank_log_evidence = answers(lambda s: s.evidence(s.low_rank))
predictive_lowrank_variance = answers(
    lambda s: s.pushed(pushforward.lin_pred_mean, pushforward.lin_pred_cov, curvature=s.low_rank)["pred_cov"])
laplace_hessian_precision = answers(lambda s: CURVATURE_PRECISION_METHODS["full"](s.full_hessian, s.prior))
laplace_hessian_covariance = answers(lambda s: s.covariance(s.full_hessian))
laplace_hessian_log_evidence = answers(lambda s: s.evidence(s.full_hessian))
predictive_glm_mean = answers(lambda s: s.pushed(pushforward.lin_pred_mean, curvature=s.diagonal)["pred_mean"])
predictive_glm_variance = answers(
    lambda s: s.pushed(pushforward.lin_pred_mean, pushforward.lin_pred_cov, curvature=s.full)["pred_cov"])
predictive_diag_variance = answers(
    lambda s: s.pushed(pushforward.lin_pred_mean, pushforward.lin_pred_cov, curvature=s.diagonal)["pred_cov"])
predictive_joint = answers(_joint)
predictive_probit_multiclass = answers(lambda s: _special(s, "mean_field_0"))
predictive_meanfield = answers(lambda s: _special(s, "mean_field_2"))
predictive_bridge = answers(lambda s: _special(s, "laplace_bridge"))
predictive_mc = answers(_monte_carlo)
