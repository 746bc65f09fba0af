"""The certified cases as a third oracle: the package's own values against every certified one, not through the CLI."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
from scipy.linalg import block_diag

from refbnn import Linearised, Mlp, Posterior, activations, duals, kronecker, laplace, likelihoods, predict, priors
from refbnn.conform.adapters import refbnn as right
from refbnn.conform.case import ids, read, read_all
from refbnn.conform.compare import Verdict, compare
from refbnn.conform.quantities import QUANTITIES
from refbnn.testing import tolerance

LIKELIHOODS = {
    "normal": lambda problem: likelihoods.Normal(problem.variance),
    "bernoulli": lambda problem: likelihoods.Bernoulli(),
    "categorical": lambda problem: likelihoods.Categorical(),
    "poisson": lambda problem: likelihoods.Poisson(),
    "normal_full": lambda problem: likelihoods.NormalFull(np.array(problem.likelihood_parameters["noise"])),
    "heteroscedastic": lambda problem: likelihoods.Heteroscedastic(),
    "student_t": lambda problem: likelihoods.StudentT(**problem.likelihood_parameters),
    "bernoulli_probit": lambda problem: likelihoods.BernoulliProbit(),
    "bernoulli_cloglog": lambda problem: likelihoods.BernoulliCloglog(),
    "ordinal": lambda problem: likelihoods.Ordinal(problem.likelihood_parameters["cut_points"]),
    "poisson_softplus": lambda problem: likelihoods.PoissonSoftplus(),
    "poisson_square": lambda problem: likelihoods.PoissonSquare(),
    "negative_binomial": lambda problem: likelihoods.NegativeBinomial(**problem.likelihood_parameters),
    "gamma": lambda problem: likelihoods.Gamma(**problem.likelihood_parameters),
    "heteroscedastic_natural": lambda problem: likelihoods.HeteroscedasticNatural(),
    "heteroscedastic_precision": lambda problem: likelihoods.HeteroscedasticPrecision(),
    "heteroscedastic_student_t": lambda problem: likelihoods.HeteroscedasticStudentT(**problem.likelihood_parameters),
    "heteroscedastic_gamma": lambda problem: likelihoods.HeteroscedasticGamma(),
    "heteroscedastic_negative_binomial": lambda problem: likelihoods.HeteroscedasticNegativeBinomial(),
}


def values(problem) -> dict:
    """Every quantity: by a route of its own where there is one below, else as the package's adapter asks for it."""
    state = right.prepare(problem)
    asked = {name: functools.partial(getattr(right, name.replace(".", "_")), state) for name in QUANTITIES
             if hasattr(right, name.replace(".", "_"))}
    return asked | own_values(problem)


def own_values(problem) -> dict:
    """Quantities from the package's objects or from its dense matrices, not through its adapter: name -> function."""
    theta, X, X_new = problem.theta, problem.X, problem.X_new
    leaky = problem.activation == "leaky_relu"
    phi = activations.leaky_relu(problem.slope) if leaky else activations.BY_NAME[problem.activation]
    net = Mlp(problem.sizes, phi, bias=problem.bias)
    prior = priors.full(problem.prior_precision, problem.prior_mean)
    post = Posterior(net, LIKELIHOODS[problem.likelihood](problem), prior, X, problem.y)
    loss = post.loss

    def q(matrix):
        return laplace.at(theta, prior.precision + matrix(theta))

    def glm():
        return predict.moments(Linearised(net, at=theta), q(loss.ggn), X_new)

    def kfac(curvature):
        return kronecker.kfac(curvature).matrix()

    def P():
        return problem.prior_precision + loss.ggn(theta)

    def kron():
        blocks = np.cumsum([0, *problem.layer_sizes])
        spans = [slice(a, b) for a, b in zip(blocks, blocks[1:])]
        return kfac(loss.at(theta).ggn) + block_diag(*[problem.prior_precision[span, span] for span in spans])

    def J_new():
        return net.jacobian(theta, X_new)

    at, last = loss.at(theta), slice(-problem.layer_sizes[-1], None)
    sampled = at.sampled_fisher(problem.labels)
    return {
        "ggn.neuronblocks": lambda: by_units(problem, loss.ggn(theta)),
        "hessian.lastlayer": lambda: loss.hessian(theta)[last, last],
        "ggn.vp": lambda: at.ggn.matvec(problem.vector),
        "ggn.blockdiag": lambda: block_diag(*at.ggn.layer_blocks()),
        "ggn.lastlayer": lambda: at.ggn.last_layer(),
        "ggn.kfac": lambda: kfac(at.ggn),
        "ggn.kfra": lambda: kronecker.kfra(at.ggn).matrix(),
        "ggn.ekfac": lambda: kronecker.ekfac(at.ggn).matrix(),
        "ggn.ekfac.split": lambda: kronecker.ekfac(at.ggn, split_bias=True).matrix(),
        "hessian.blockdiag": lambda: block_diag(*at.hessian.layer_blocks()),
        "fisher.diag": lambda: at.fisher.diagonal(),
        "fisher.kfac": lambda: kfac(at.fisher),
        "fisher.empirical.centred": lambda: loss.centred_empirical_fisher(theta),
        "fisher.empirical.kfac": lambda: kfac(at.empirical_fisher),
        "fisher.mc.diag": lambda: sampled.diagonal(),
        "fisher.mc.kfac": lambda: kfac(sampled),
        "ntk": lambda: duals.ntk(at.evaluation, at.evaluation),
        "forward": lambda: net.forward(theta, X),
        "loss": lambda: loss.value(theta),
        "log_joint": lambda: post.log_prob(theta),
        "gradient": lambda: loss.gradient(theta),
        "jacobian": lambda: net.jacobian(theta, X),
        "jacobian.vp": lambda: net.jvp(theta, X, problem.vector),
        "fisher.vp": lambda: loss.fisher(theta) @ problem.vector,
        "fisher.empirical.vp": lambda: loss.empirical_fisher(theta) @ problem.vector,
        "fisher.mc.vp": lambda: loss.sampled_fisher(theta, problem.labels) @ problem.vector,
        "laplace.covariance.diag": lambda: np.diagonal(q(loss.ggn).covariance()),
        "laplace.covariance.vp": lambda: q(loss.ggn).precision.solve(problem.vector),
        "ggn.full": lambda: loss.ggn(theta),
        "ggn.diag": lambda: np.diagonal(loss.ggn(theta)),
        "hessian.full": lambda: loss.hessian(theta),
        "hessian.diag": lambda: np.diagonal(loss.hessian(theta)),
        "hessian.hvp": lambda: loss.hessian_vector_product(theta, problem.vector),
        "fisher.full": lambda: loss.fisher(theta),
        "fisher.empirical": lambda: loss.empirical_fisher(theta),
        "fisher.empirical.diag": lambda: np.diagonal(loss.empirical_fisher(theta)),
        "fisher.mc": lambda: loss.sampled_fisher(theta, problem.labels),
        "laplace.precision": lambda: q(loss.ggn).precision.matrix(),
        "laplace.covariance": lambda: q(loss.ggn).covariance(),
        "laplace.log_det": lambda: q(loss.ggn).precision.log_det(),
        "laplace.log_evidence": lambda: laplace.log_evidence(post.log_prob(theta), q(loss.ggn)),
        "laplace.hessian.precision": lambda: q(loss.hessian).precision.matrix(),
        "laplace.hessian.covariance": lambda: q(loss.hessian).covariance(),
        "laplace.hessian.log_det": lambda: q(loss.hessian).precision.log_det(),
        "laplace.hessian.log_evidence": lambda: laplace.log_evidence(post.log_prob(theta), q(loss.hessian)),
        "laplace.evidence.prior": lambda: slope(lambda t: evidence_of(
            problem, post.likelihood, loss.ggn, priors.full(np.exp(t) * problem.prior_precision, problem.prior_mean))),
        "laplace.evidence.noise": lambda: slope(lambda t: evidence_of(
            problem, likelihoods.Normal(np.exp(t) * problem.variance), lambda at: np.exp(-t) * loss.ggn(at), prior)),
        "laplace.diag.variance": lambda: 1 / np.diagonal(P()),
        "laplace.diag.log_det": lambda: np.log(np.diagonal(P())).sum(),
        "laplace.diag.log_evidence": lambda: laplace.log_evidence(
            post.log_prob(theta), laplace.at(theta, np.diag(np.diagonal(P())))),
        "laplace.lastlayer.covariance": lambda: np.linalg.inv(P()[last, last]),
        "laplace.lastlayer.log_det": lambda: np.linalg.slogdet(P()[last, last])[1],
        "laplace.kron.covariance": lambda: np.linalg.inv(kron()),
        "laplace.kron.log_det": lambda: np.linalg.slogdet(kron())[1],
        "laplace.kron.log_evidence": lambda: laplace.log_evidence(post.log_prob(theta), laplace.at(theta, kron())),
        "predictive.joint": lambda: np.einsum("mip,pq,njq->minj", J_new(), np.linalg.inv(P()), J_new()),
        "predictive.diag.variance": lambda: spread(J_new(), np.diag(1 / np.diagonal(P()))),
        "predictive.lastlayer.variance": lambda: spread(J_new()[..., last], np.linalg.inv(P()[last, last])),
        "predictive.kron.variance": lambda: spread(J_new(), np.linalg.inv(kron())),
        "predictive.probit": lambda: predict.binary.probit(glm()),
        "predictive.probit.multiclass": lambda: predict.classes.probit(glm()),
        "laplace.scale": lambda: q(loss.ggn).scale(),
        "laplace.sample": lambda: q(loss.ggn).from_normals(problem.normals),
        "predictive.glm.mean": lambda: Linearised(net, at=theta).forward(theta, X_new),
        "predictive.glm.variance": lambda: glm().covariance,
        "predictive.mc": lambda: predict.monte_carlo(net, post.likelihood, problem.draws, X_new).mean,
    }


def spread(J, covariance) -> np.ndarray:
    """J Σ Jᵀ of every input."""
    return np.einsum("mip,pq,mjq->mij", J, covariance, J)


def by_units(problem, M) -> np.ndarray:
    """Zero unless row and column belong to one unit."""
    unit = [(l, i) for l, (d, k) in enumerate(zip(problem.sizes, problem.sizes[1:]))
            for i in [*np.repeat(range(k), d), *(range(k) if problem.bias else ())]]
    return np.array([[v if a == b else 0.0 for b, v in zip(unit, row)] for a, row in zip(unit, M)])


def evidence_of(problem, likelihood, ggn, prior) -> float:
    """Laplace's log evidence at the problem's θ with another likelihood, curvature or prior."""
    net = right.prepare(problem).net
    post = Posterior(net, likelihood, prior, problem.X, problem.y)
    return laplace.log_evidence(post.log_prob(problem.theta), laplace.at(problem.theta, prior.precision + ggn(problem.theta)))


def slope(function) -> float:
    """The derivative at 0, by a difference of order 12: a third route, not in closed form.

    What is left out is about (h/ρ)¹² for a singularity at the distance ρ, where the precision stops being definite; round-off is
    divided by h.
    """
    h, m = 0.035, 6
    weights = [(-1) ** (k + 1) * math.factorial(m) ** 2 / (k * math.factorial(m - k) * math.factorial(m + k))
               for k in range(1, m + 1)]
    return sum(w * (function(k * h) - function(-k * h)) for k, w in enumerate(weights, 1)) / h


@functools.cache
def cases() -> list:
    """All certified cases, read once."""
    return read_all()


@pytest.mark.parametrize("case_id", ids())
def test_every_value_of_the_package_agrees_with_the_certified_one(case_id):
    """Judged twice: by the kit, and by 30·n·u·κ (of an integral its floor) written out here, n = parameters + data."""
    case = read(case_id)
    own = values(case.problem)
    wrong = {}
    for name, quantity in QUANTITIES.items():
        certified = case.values.get(quantity.certified_by)
        if quantity.kind == "draws":    # judged by statistics, by tests/conform/test_draws.py
            continue
        if certified is None or (quantity.likelihoods and case.problem.likelihood not in quantity.likelihoods):
            continue
        got = own[name]()
        judged = compare(quantity, certified, got, case.problem, {})
        if judged.verdict not in (Verdict.EXACT, Verdict.PASS, Verdict.UNDERPOWERED):
            wrong[name] = judged
        if name == quantity.certified_by:
            terms = len(case.problem.theta) + len(case.problem.X)
            scale = np.linalg.norm(certified.value) or certified.scale
            error = np.linalg.norm(got - certified.value) / scale
            allowed = max(tolerance(terms, certified.condition), quantity.floor)
            if not (np.shape(got) == certified.value.shape and error <= allowed):
                wrong[f"{name}, written out"] = error
    assert wrong == {}


def test_every_quantity_of_the_kit_is_judged_and_certified_somewhere():
    assert set(values(cases()[0].problem)) == set(QUANTITIES)
    certified = {name for case in cases() for name in case.values}
    assert {quantity.certified_by for quantity in QUANTITIES.values()} == certified


def test_the_cases_cover_every_likelihood_and_activation():
    problems = [case.problem for case in cases()]
    assert {problem.likelihood for problem in problems} == set(LIKELIHOODS)
    assert {problem.activation for problem in problems} >= {*activations.BY_NAME, "leaky_relu"}


def test_almost_every_check_has_power():
    """A tolerance above 1e-6 says nothing; few certified values may be so ill-conditioned."""
    checks = [
        tolerance(len(case.problem.theta) + len(case.problem.X), certified.condition)
        for case in cases() for certified in case.values.values()
    ]
    assert np.mean(np.array(checks) > 1e-6) < 0.02 and np.median(checks) < 1e-10


@pytest.mark.parametrize("name", ["gradient", "ggn.full", "hessian.full", "laplace.covariance", "laplace.log_evidence"])
def test_an_error_of_one_part_in_a_hundred_million_is_seen(name):
    case = read("tanh-normal-2-5-3")
    answer = own_values(case.problem)[name]() * (1 + 1e-8)
    assert compare(QUANTITIES[name], case.values[name], answer, case.problem, {}).verdict in (Verdict.LOSSY, Verdict.MISMATCH)
