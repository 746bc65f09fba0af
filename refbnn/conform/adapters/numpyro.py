"""The real NumPyro package, asked through its own interface at the given θ; nothing is converted.

tests/peers/README.md makes the environment. The model has one sample site "theta", a multivariate normal by its precision
matrix, and "y" with the package's own distributions, in double precision. The evidence lower bound is TraceMeanField_ELBO's,
whose divergence is analytic, one particle for each row of problem.normals; draws are those of NUTS. The optimum is where SVI
ends for AutoMultivariateNormal and AutoDiagonalNormal under shrinking steps of Adam, with one particle for each of 2p points that
have the moments of a standard normal up to the second: exact for Gaussian posteriors, of others it is not asked.
"""
from __future__ import annotations

import math
from functools import cached_property
from unittest import mock

import jax
import jax.numpy as jnp
import numpyro
from jax import grad, jit, nn, random, vmap
from numpyro import distributions as dist, handlers, infer

from refbnn.conform.adapters.jax import answers, network, sigma_points

jax.config.update("jax_enable_x64", True)
name, version = "numpyro", numpyro.__version__
conventions: dict[str, str] = {}
CHAINS, WARMUP, DRAWS = 16, 500, 3000
STEPS, FIRST, LAST = 20_000, 0.1, 1e-10


def _of_pairs(law):
    """Two outputs a target."""
    return lambda f, given: law(f[..., ::2], f[..., 1::2], **given)


def _gamma_by_shape(a, b):
    return dist.Gamma(jnp.exp(b), jnp.exp(b - a))


LAWS = {
    "bernoulli": lambda f, given: dist.Bernoulli(logits=f), "categorical": lambda f, given: dist.Categorical(logits=f),
    "poisson": lambda f, given: dist.Poisson(jnp.exp(f)), "poisson_softplus": lambda f, given: dist.Poisson(nn.softplus(f)),
    "poisson_square": lambda f, given: dist.Poisson(f ** 2),
    "normal_full": lambda f, given: dist.MultivariateNormal(f, covariance_matrix=jnp.array(given["noise"])),
    "student_t": lambda f, given: dist.StudentT(given["degrees_of_freedom"], f, given["scale"]),
    "negative_binomial": lambda f, given: dist.NegativeBinomial2(jnp.exp(f), given["dispersion"]),
    "gamma": lambda f, given: dist.Gamma(given["shape"], given["shape"] * jnp.exp(-f)),
    "ordinal": lambda f, given: dist.OrderedLogistic(f, jnp.array(given["cut_points"])),
    "heteroscedastic": _of_pairs(lambda a, b: dist.Normal(a, jnp.exp(b / 2))),
    "heteroscedastic_natural": _of_pairs(lambda a, b: dist.Normal(-0.5 * a / b, jnp.sqrt(-0.5 / b))),
    "heteroscedastic_precision": _of_pairs(lambda a, b: dist.Normal(a * jnp.exp(-b), jnp.exp(-b / 2))),
    "heteroscedastic_student_t": _of_pairs(lambda a, b, degrees_of_freedom: dist.StudentT(degrees_of_freedom, a, jnp.exp(b))),
    "heteroscedastic_gamma": _of_pairs(_gamma_by_shape),
    "heteroscedastic_negative_binomial": _of_pairs(lambda a, b: dist.NegativeBinomial2(jnp.exp(a), jnp.exp(b))),
}


def unsupported(problem, quantity: str) -> str | None:
    """Links that it has no distribution for."""
    known = problem.likelihood in LAWS or problem.likelihood == "normal"
    gaussian = problem.likelihood == "normal" and problem.activation == "identity" and len(problem.sizes) == 2
    if quantity.startswith("vi.optimum") and not gaussian:
        return "stochastic gradients end there only approximately"
    return None if known or quantity.startswith(("vi.kl", "vi.full.kl")) else f"NumPyro has no {problem.likelihood} distribution"


class AtPoints(infer.elbo.ELBO):
    """The package's Trace_ELBO averaged over particles with these normals."""

    def __init__(self, points):
        self.points = points
        super().__init__()

    def loss_with_mutable_state(self, rng_key, param_map, model, guide, *args, **kwargs):
        """As the package asks for it."""
        def particle(z):
            with normal_is(z):
                return infer.Trace_ELBO().loss(rng_key, param_map, model, guide, *args, **kwargs)
        return {"loss": vmap(particle)(self.points).mean(), "mutable_state": None}


def normal_is(z):
    """Inside, jax.random.normal returns z."""
    return mock.patch.object(random, "normal", lambda key, shape=(), *_, **__: z.reshape(shape))


def _law(problem, f):
    if problem.likelihood == "normal":
        return dist.Normal(f, math.sqrt(problem.variance))
    return LAWS[problem.likelihood](f, problem.likelihood_parameters)


def _mean(law):
    """E[y]: class probabilities, or the mean level of ordered ones."""
    if isinstance(law, dist.OrderedLogistic):
        return law.probs @ jnp.arange(law.probs.shape[-1])
    return law.probs if isinstance(law, dist.CategoricalLogits) else law.mean


class State:
    """The problem as a model of NumPyro."""

    def __init__(self, problem):
        self.problem, self.layers = problem, network(problem)
        self.theta, self.X, self.y = map(jnp.array, (problem.theta, problem.X, problem.y))
        self.y = self.y.astype(int) if problem.likelihood == "ordinal" else self.y  # a categorical distribution here
        self.prior = dist.MultivariateNormal(jnp.array(problem.prior_mean), precision_matrix=jnp.array(problem.prior_precision))

    def model(self, X, y=None):
        """θ, outputs, y and its mean."""
        theta = numpyro.sample("theta", self.prior)
        law = _law(self.problem, vmap(lambda x: self.layers(theta, x)[0])(X))
        numpyro.deterministic("mean", _mean(law))
        numpyro.sample("y", law, obs=y)

    def loss(self, theta):
        return -infer.log_likelihood(self.model, {"theta": theta[None]}, self.X, y=self.y)["y"].sum()

    def log_joint(self, theta):
        return infer.util.log_density(self.model, (self.X,), {"y": self.y}, {"theta": theta})[0]

    @property
    def start(self):
        """Where the package's guides begin: at θ."""
        return infer.init_to_value(values={"theta": self.theta})

    @cached_property
    def laplace(self):
        """The posterior of AutoLaplaceApproximation at θ."""
        guide = infer.autoguide.AutoLaplaceApproximation(self.model, init_loc_fn=self.start,
                                                         hessian_fn=lambda f, x: jit(jax.hessian(f))(x))
        with handlers.seed(rng_seed=0), handlers.block():
            guide(self.X, y=self.y)
        return guide.get_posterior({"auto_loc": self.theta})

    def bound(self, mean, root):
        """The evidence lower bound of N(mean, root rootᵀ) on the given normals."""
        elbo = infer.TraceMeanField_ELBO()

        def guide(X, y=None):
            numpyro.sample("theta", dist.MultivariateNormal(mean, scale_tril=root))

        def particle(z):
            with normal_is(z):
                return -elbo.loss(random.key(0), {}, self.model, guide, self.X, y=self.y)
        return vmap(particle)(jnp.array(self.problem.normals)).mean()

    @cached_property
    def full_optimum(self):
        return self.optimum(infer.autoguide.AutoMultivariateNormal)

    @cached_property
    def diagonal_optimum(self):
        return self.optimum(infer.autoguide.AutoDiagonalNormal)

    def optimum(self, family):
        """The guide's posterior at the end, and its bound there."""
        guide = family(self.model, init_loc_fn=self.start)
        optimiser = numpyro.optim.Adam(lambda step: FIRST * (LAST / FIRST) ** (step / STEPS))
        svi = infer.SVI(self.model, guide, optimiser, AtPoints(jnp.array(sigma_points(len(self.theta)))))
        found = svi.run(random.key(0), STEPS, self.X, y=self.y, progress_bar=False)
        return guide.get_posterior(found.params), -found.losses[-1]

    def mean_field(self, mean, widths):
        return self.bound(mean, jnp.diag(widths))

    @cached_property
    def widths(self):
        return jnp.abs(jnp.array(self.problem.vector))

    @cached_property
    def root(self):
        return jnp.array(self.problem.scale)


def _mean_of_draws(s):
    """Predictive's mean of y, averaged over the given draws."""
    predict = infer.Predictive(s.model, {"theta": jnp.array(s.problem.draws)}, return_sites=["mean"])
    return predict(random.key(0), jnp.array(s.problem.X_new))["mean"].mean(0)


def _draws(s):
    """NUTS with its own adaptation, chains in parallel, each from a draw of the prior."""
    kernel = infer.NUTS(s.model, init_strategy=infer.init_to_sample, dense_mass=True, target_accept_prob=0.9)
    sampler = infer.MCMC(kernel, num_warmup=WARMUP, num_samples=DRAWS, num_chains=CHAINS, chain_method="vectorized",
                         progress_bar=False)
    sampler.run(random.key(1), s.X, y=s.y)
    return sampler.get_samples(group_by_chain=True)["theta"]


def _kl(s, root):
    return dist.kl_divergence(dist.MultivariateNormal(s.theta, scale_tril=root), s.prior)


def _kl_reverse(s, root):
    return dist.kl_divergence(s.prior, dist.MultivariateNormal(s.theta, scale_tril=root))


def prepare(problem) -> State:
    """The state that every function below takes."""
    return State(problem)


loss = answers(lambda s: jit(s.loss)(s.theta))
log_joint = answers(lambda s: jit(s.log_joint)(s.theta))
gradient = answers(lambda s: jit(grad(s.loss))(s.theta))
laplace_hessian_precision = answers(lambda s: s.laplace.precision_matrix)
laplace_hessian_covariance = answers(lambda s: s.laplace.covariance_matrix)
vi_elbo = answers(lambda s: jit(s.mean_field)(s.theta, s.widths))
vi_elbo_gradient_mean = answers(lambda s: jit(grad(s.mean_field))(s.theta, s.widths))
vi_elbo_gradient_scale = answers(lambda s: jit(grad(s.mean_field, 1))(s.theta, s.widths))
vi_kl = answers(lambda s: _kl(s, jnp.diag(s.widths)))
vi_kl_reverse = answers(lambda s: _kl_reverse(s, jnp.diag(s.widths)))
predictive_mc = answers(_mean_of_draws)
vi_full_elbo = answers(lambda s: jit(s.bound)(s.theta, s.root))
vi_full_elbo_gradient_mean = answers(lambda s: jit(grad(s.bound))(s.theta, s.root))
vi_full_elbo_gradient_scale = answers(lambda s: jnp.tril(jit(grad(s.bound, 1))(s.theta, s.root)))
vi_full_kl = answers(lambda s: _kl(s, s.root))
vi_full_kl_reverse = answers(lambda s: _kl_reverse(s, s.root))
vi_optimum_mean = answers(lambda s: s.full_optimum[0].mean)
vi_optimum_covariance = answers(lambda s: s.full_optimum[0].covariance_matrix)
vi_optimum_elbo = answers(lambda s: s.full_optimum[1])
vi_optimum_meanfield_mean = answers(lambda s: s.diagonal_optimum[0].mean)
vi_optimum_meanfield_variance = answers(lambda s: s.diagonal_optimum[0].variance)
vi_optimum_meanfield_elbo = answers(lambda s: s.diagonal_optimum[1])
posterior_draws = answers(_draws)
