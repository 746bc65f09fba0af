"""Adapters with one planted fault each, made from the package's own: `refbnn conform faults:mean_for_sum`.

One table: what is wrong, in which quantities, and the cause that the diagnosis must name. The tests and `refbnn selftest` read
it. A cause of None means that the fault must be seen but need not be named.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, Callable, Mapping

import numpy as np

from refbnn import Gaussian, Linearised, Loss, linalg, low_rank, predict, third
from refbnn.conform.adapters import refbnn as right
from refbnn.conform.adapters.faults.sampling import SAMPLERS
from refbnn.conform.conventions import convert
from refbnn.conform.quantities import QUANTITIES
from refbnn.precision import Dense

Answer = Callable[[Any], Any]


@dataclass(frozen=True)
class Fault:
    """`spoils`: quantity -> wrong function of the state; `causes`: quantity -> key of the cause to be named."""

    about: str
    spoils: Mapping[str, Answer]
    causes: Mapping[str, str | None] = field(default_factory=dict)
    verdict: str = "MISMATCH"


def correct(name: str) -> Answer:
    """The right function of a quantity."""
    return getattr(right, QUANTITIES[name].function_name)


def adapter(name: str) -> SimpleNamespace:
    """The adapter with the named fault; KeyError for an unknown name."""
    functions = {quantity.function_name: correct(quantity.name) for quantity in QUANTITIES.values()}
    functions |= {QUANTITIES[spoilt].function_name: wrong for spoilt, wrong in ALL[name].spoils.items()}
    return SimpleNamespace(name=f"faults:{name}", version=right.version, conventions={}, prepare=right.prepare, **functions)


def __getattr__(name: str) -> SimpleNamespace:
    if name not in ALL:
        raise AttributeError(f"no planted fault {name!r}; there are {', '.join(ALL)}")
    return adapter(name)


def _all(change: Callable[[Any, Any], Any], names: tuple[str, ...]) -> dict[str, Answer]:
    """The same slip, change(answer, problem), in every named quantity."""
    return {name: lambda s, name=name: change(correct(name)(s), s.problem) for name in names}


EVIDENCE_PREFIXES = ("laplace.", "laplace.hessian.", "laplace.diag.", "laplace.lastlayer.", "laplace.subset.", "laplace.kron.",
                     "laplace.kron.split.", "laplace.lowrank.", "laplace.hessian.lowrank.")
EVIDENCE_SLOPES = tuple(f"{of}evidence.{by}" for by in ("prior", "noise") for of in (
    "laplace.", "laplace.diag.", "laplace.kron.", "laplace.kron.split.", "gp."))


def _of_evidences(excess: Callable[[Any, str], float]) -> dict[str, Answer]:
    """excess(state, prefix) added to the evidence of every structure."""
    return {f"{prefix}log_evidence": lambda s, prefix=prefix: correct(f"{prefix}log_evidence")(s) + excess(s, prefix)
            for prefix in EVIDENCE_PREFIXES}


def _of_slopes(times: float) -> dict[str, Answer]:
    """The trace in the slopes taken away so often: once and it is missing, twice and it has the other sign."""
    def wrong(s: Any, name: str) -> float:
        problem, value = s.problem, correct(name)(s)
        if name.endswith("prior"):
            shift = problem.theta - problem.prior_mean
            return value + times * (0.5 * (len(shift) - shift @ problem.prior_precision @ shift) - value)
        errors = ((problem.y - right.forward(s)) ** 2).sum() / problem.variance
        return value - times * (value - 0.5 * (errors - problem.y.size))
    return {name: lambda s, name=name: wrong(s, name) for name in EVIDENCE_SLOPES if name.startswith("laplace.")}


def _common_precision(s: Any) -> float | None:
    """τ of P₀ = τ I, or None."""
    tau = s.problem.prior_precision[0, 0]
    return tau if np.array_equal(s.problem.prior_precision, tau * np.eye(len(s.problem.theta))) else None


def _free(prefix: str, s: Any) -> Any:
    """The parameters that an evidence is over."""
    p = len(s.problem.theta)
    return {"laplace.lastlayer.": np.arange(p - s.problem.layer_sizes[-1], p), "laplace.subset.": s.problem.subset}.get(
        prefix, np.arange(p))


def _log_2pi(s: Any, free: np.ndarray) -> float:
    return len(free) * np.log(2 * np.pi)


def _log_prior_of(s: Any, free: np.ndarray) -> float:
    """log N(θ; m, P₀⁻¹) of some parameters, the others fixed."""
    P0, d = s.problem.prior_precision[np.ix_(free, free)], (s.problem.theta - s.problem.prior_mean)[free]
    return 0.5 * (np.linalg.slogdet(P0)[1] - d @ P0 @ d - _log_2pi(s, free))


def _not_left_out(s: Any) -> np.ndarray:
    """log ∫ p(y_n | f) p(f | all data) df."""
    at = s.process.at_data
    V = at.posterior_covariances() + s.problem.variance * np.eye(s.problem.num_outputs)
    e = s.problem.y - at.posterior_mean()
    square = (e * np.linalg.solve(V, e[..., None])[..., 0]).sum(-1)
    return -0.5 * (np.linalg.slogdet(2 * np.pi * V)[1] + square)


def _largest_in_size(s: Any) -> np.ndarray:
    """Σ λ v vᵀ + P₀ over pairs of the Hessian of both signs."""
    values, V = np.linalg.eigh(right.hessian_full(s))
    kept = np.argsort(-np.abs(values))[:s.problem.rank]
    return (V[:, kept] * values[kept]) @ V[:, kept].T + _prior(s)


def _converted(names: tuple[str, ...], **conventions: str) -> dict[str, Answer]:
    """Answers in conventions that are not declared."""
    spelled = {key.replace("__", "."): choice for key, choice in conventions.items()}
    return {name: lambda s, name=name: convert(QUANTITIES[name], correct(name)(s), s.problem, spelled) for name in names}


SCALARS = ("loss", "log_joint", "laplace.log_det", "laplace.log_evidence")


def _asked(names: tuple[str, ...], change: Callable[[Any], dict[str, Any] | None]) -> dict[str, Answer]:
    """Right answers to a problem with other fields; to the problem itself where `change` has none."""
    def state(s: Any) -> Any:
        changes = change(s.problem)
        return s if changes is None else right.prepare(replace(s.problem, **changes))
    return {name: lambda s, name=name: correct(name)(state(s)) for name in names}


def _std_for_variance(problem: Any) -> dict[str, Any] | None:
    return {"variance": problem.variance**0.5} if problem.likelihood == "normal" else None


def _covariance_for_precision(problem: Any) -> dict[str, Any]:
    return {"prior_precision": linalg.symmetric_part(np.linalg.inv(problem.prior_precision))}


def _data(problem: Any, rows: Callable[[int], list[int]]) -> dict[str, Any]:
    return {name: getattr(problem, name)[rows(len(problem.X))] for name in ("X", "y", "labels")}


def _float32(answer: Any, problem: Any) -> np.ndarray:
    return np.asarray(answer, np.float32).astype(float)


def _untransposed(s) -> np.ndarray:
    """L⁻¹ where L⁻ᵀ should be, L Lᵀ = P."""
    L = linalg.cholesky("precision", s.ggn.precision.matrix())
    return linalg.solve_lower(L, np.eye(len(L)))


def _sampled(root: Callable[[Any], np.ndarray]) -> Answer:
    return lambda s: s.problem.theta + s.problem.normals @ root(s).T


def _prior(s) -> np.ndarray:
    return s.problem.prior_precision


def _log_prior(s) -> float:
    return s.posterior.prior.log_prob(s.problem.theta)


def _without_mean(s) -> float:
    """log p(y, θ) with the prior's mean taken to be zero."""
    theta, mean = s.problem.theta, s.problem.prior_mean
    return right.log_joint(s) + 0.5 * ((theta - mean) @ _prior(s) @ (theta - mean) - theta @ _prior(s) @ theta)


def _centred(s) -> np.ndarray:
    g = s.posterior.loss.per_datum_gradients(s.problem.theta)
    return (g - g.mean(0)).T @ (g - g.mean(0))


def _link_of_mean(s) -> np.ndarray:
    return s.posterior.likelihood.mean(s.net.forward(s.problem.draws, s.problem.X_new).mean(0))


def _mean_and_column_major(name: str) -> Answer:
    return _converted((name,), loss__reduction="mean", parameters__order="column_major")[name]


def _of_marginals(s) -> np.ndarray:
    J = s.net.jacobian(s.problem.theta, s.problem.X_new)
    return J * right.laplace_covariance_diag(s) @ J.swapaxes(-1, -2)


def _of_last_layer(s) -> np.ndarray:
    q = s.problem.layer_sizes[-1]
    return right.laplace_covariance(s)[-q:, -q:]


def _damped(s) -> np.ndarray:
    """Of Kronecker factors that both have √τ added, which is not B ⊗ A + τ."""
    root = np.sqrt(np.diag(_prior(s)))
    factors = right.ggn_kfac(s)
    return np.linalg.inv(factors + np.diag(root * (root + 2 * np.sqrt(np.diag(factors)))))


def _third_of_tangent(s) -> np.ndarray:
    linear = Loss(Linearised(s.net, at=s.problem.theta), s.posterior.likelihood, s.problem.X, s.problem.y)
    return third.third_derivative(linear, s.problem.theta, s.problem.vector)


def _plain_bridge(s) -> np.ndarray:
    f, k = s.functions(s.ggn), s.problem.num_outputs
    return (1 - 2 / k + np.exp(f.mean) * np.exp(-f.mean).sum(-1, keepdims=True) / k ** 2) / f.variance


def _trace(s, M: np.ndarray) -> float:
    return np.trace(s.ggn.precision.solve(M))


def _turned(answer: Answer) -> Answer:
    """The answer with Cᵀ for C."""
    return lambda s: answer(_with(s, _turned_q(s)))


def _turned_q(s) -> Gaussian:
    """N(θ, Cᵀ C) whose `scale` is Cᵀ, the only upper-triangular root with a positive diagonal."""
    return Gaussian(s.problem.theta, Dense(linalg.symmetric_part(np.linalg.inv(_transposed_square(s.problem.scale)))))


def _with(s, q: Gaussian) -> SimpleNamespace:
    """The state with another correlated q."""
    return SimpleNamespace(problem=s.problem, posterior=s.posterior, full=q, full_bound=s.bound_of(q))


def _free_slope(s) -> np.ndarray:
    """C⁻ᵀ − P₀ C − (1/s) Σ ∇loss zᵀ, nothing above the diagonal left out."""
    C, z = s.problem.scale, s.problem.normals
    slopes = s.posterior.loss.gradient(s.problem.theta + z @ C.T)
    return np.linalg.inv(C).T - _prior(s) @ C - slopes.T @ z / len(z)


def _transposed_square(C: np.ndarray) -> np.ndarray:
    return C.T @ C


LOSS = ("loss", "gradient", "ggn.full", "ggn.diag", "hessian.full", "hessian.diag", "hessian.hvp", "fisher.full",
        "fisher.empirical", "fisher.empirical.diag", "fisher.mc", "ggn.vp", "fisher.vp", "fisher.empirical.vp", "fisher.mc.vp",
        "third.vv")
BOUNDS = ("vi.elbo", "vi.elbo.gradient.mean", "vi.elbo.gradient.scale", "vi.full.elbo", "vi.full.elbo.gradient.mean",
          "vi.full.elbo.gradient.scale")
CURVATURES = ("ggn.full", "ggn.diag", "hessian.full", "hessian.diag", "hessian.hvp", "fisher.full")
MATRICES = ("ggn.full", "hessian.full", "fisher.full", "fisher.empirical")
# Without those that few cases have, too few to tell the orders apart.
PARAMETERS = tuple(name for name, q in QUANTITIES.items() if "p" in q.axes.split() and q.kind not in ("root", "samples")
                   and not name.startswith(("laplace.hessian", "posterior.", "vi.optimum.")))
DETERMINISTIC = tuple(name for name, q in QUANTITIES.items() if q.kind not in ("root", "samples", "draws"))


def _named(cause: str | None, spoils: Mapping[str, Answer]) -> dict[str, Any]:
    return {"spoils": spoils, "causes": dict.fromkeys(spoils, cause)}


FAULTS: dict[str, Fault] = {
    "mean_for_sum": Fault("the loss is averaged over data", **_named(
        "loss.reduction=mean", _converted((*LOSS, "ggn.subset", "fisher.empirical.centred.vp", "fisher.empirical.gram"),
                                          loss__reduction="mean"))),
    "mean_all_for_sum": Fault("the loss is averaged over data and outputs",
                              **_named("loss.reduction=mean_all", _converted(LOSS, loss__reduction="mean_all"))),
    "mean_gradients": Fault("empirical Fisher of gradients that carry the 1/N of a mean loss", **_named(
        "fisher.gradients=mean", _converted(tuple(name for name in LOSS if name.startswith(("fisher.empirical", "fisher.mc"))),
                                            fisher__gradients="mean"))),
    "blocks_of_tensors": Fault("nothing between the weights and the biases of a layer", **_named(
        "blockdiag.blocks=tensors", _converted(("ggn.blockdiag", "hessian.blockdiag"), blockdiag__blocks="tensors"))),
    "factor_two": Fault("curvatures are doubled", **_named("factor:2", _all(lambda answer, problem: 2 * answer, CURVATURES))),
    "wrong_sign": Fault("derivatives of +log p", **_named("factor:-1", _all(
        lambda answer, problem: -answer, ("gradient", "hessian.full", "hessian.diag", "hessian.hvp")))),
    "half_squared_error": Fault("½‖y − f‖² without its variance", **_named(
        "loss.squared_error=half", _converted(LOSS, loss__squared_error="half"))),
    "squared_error": Fault("‖y − f‖² averaged over all entries", **_named(
        "loss.squared_error=one+loss.reduction=mean_all",
        _converted(LOSS, loss__squared_error="one", loss__reduction="mean_all"))),
    "noise_std_for_variance": Fault("σ in the place of σ²", **_named("question:noise_std", _asked(
        (*SCALARS, "gradient", "ggn.full", "hessian.hvp", "predictive.glm.variance"), _std_for_variance))),
    "covariance_for_precision": Fault("the prior's covariance in the place of its precision", **_named(
        "question:prior_covariance", _asked(
            (*SCALARS[1:], "predictive.glm.variance"), _covariance_for_precision))),
    "last_datum_left_out": Fault("a loop over data that ends too early", **_named("question:last_datum", _asked(
        (*SCALARS, "gradient", "hessian.full", "ggn.vp"), lambda problem: _data(problem, lambda n: [*range(n - 1)])))),
    "first_datum_twice": Fault("a loop over data that begins twice", **_named("question:first_datum_twice", _asked(
        (*SCALARS, "gradient", "ggn.diag"), lambda problem: _data(problem, lambda n: [0, *range(n)])))),
    "dropped_constants": Fault("constants are left out of the loss", **_named(
        "loss.constants=dropped", _converted(("loss",), loss__constants="dropped"))),
    "forgotten_prior": Fault("the prior is missing", {
        "laplace.precision": right.ggn_full, "laplace.hessian.precision": right.hessian_full,
        "log_joint": lambda s: -right.loss(s), "laplace.log_evidence": lambda s: right.laplace_log_evidence(s) - _log_prior(s),
    }, {"laplace.precision": "prior_forgotten", "laplace.hessian.precision": "prior_forgotten",
        "log_joint": "log_prior_forgotten", "laplace.log_evidence": "log_prior_forgotten"}),
    "doubled_prior": Fault("the prior precision is added twice", **_named("prior_doubled", {
        "laplace.precision": lambda s: right.laplace_precision(s) + _prior(s),
        "laplace.covariance": lambda s: np.linalg.inv(right.laplace_precision(s) + _prior(s)),
        "laplace.log_det": lambda s: np.linalg.slogdet(right.laplace_precision(s) + _prior(s))[1],
        "laplace.sample": _sampled(lambda s: np.linalg.cholesky(np.linalg.inv(right.laplace_precision(s) + _prior(s)))),
    })),
    "included_prior": Fault("derivatives of the log joint, not of the loss", **_named("prior_included", {
        "gradient": lambda s: right.gradient(s) + _prior(s) @ (s.problem.theta - s.problem.prior_mean),
        "hessian.full": lambda s: right.hessian_full(s) + _prior(s), "ggn.full": lambda s: right.ggn_full(s) + _prior(s),
        "hessian.hvp": lambda s: right.hessian_hvp(s) + _prior(s) @ s.problem.vector,
        "hessian.diag": lambda s: right.hessian_diag(s) + np.diag(_prior(s)),
    })),
    "ignored_prior_mean": Fault("the prior's mean is taken to be zero", **_named(
        "prior_mean_ignored", {"log_joint": _without_mean})),
    "empirical_for_true_fisher": Fault("the empirical Fisher for the exact one", **_named(
        "quantity:fisher.empirical", {"fisher.full": right.fisher_empirical})),
    "ggn_for_hessian": Fault("the GGN for the Hessian", {
        "hessian.full": right.ggn_full, "hessian.diag": right.ggn_diag, "hessian.hvp": right.ggn_vp,
        "laplace.hessian.precision": right.laplace_precision,
        "laplace.hessian.covariance": right.laplace_covariance,
    }, {"hessian.full": "quantity:ggn.full", "hessian.diag": "quantity:ggn.diag", "hessian.hvp": "quantity:ggn.vp",
        "laplace.hessian.precision": "curvature:ggn.full", "laplace.hessian.covariance": "curvature:ggn.full"}),
    "scaled_ggn_part": Fault("the GGN within the Hessian is multiplied by the number of outputs", **_named("parts:C,1", {
        f"hessian.{part}": lambda s, part=part: (
            correct(f"hessian.{part}")(s) + (s.problem.num_outputs - 1) * correct(f"ggn.{part}")(s))
        for part in ("full", "diag", "blockdiag")})),
    "all_eigenpairs": Fault("all eigenpairs of the GGN for the leading ones", {
        f"laplace.lowrank.{part}": correct(f"laplace.{part}") for part in ("precision", "covariance", "log_det", "log_evidence")
    } | {"predictive.lowrank.variance": right.predictive_glm_variance}, {
        f"laplace.lowrank.{part}": f"quantity:laplace.{part}" for part in ("precision", "covariance", "log_det", "log_evidence")
    } | {"predictive.lowrank.variance": "quantity:predictive.glm.variance"}),
    "leading_without_prior": Fault("the leading eigenpairs without the prior, or with twice that", {
        "laplace.lowrank.precision": lambda s: right.laplace_lowrank_precision(s) - _prior(s),
        "laplace.lowrank.covariance": lambda s: np.linalg.inv(right.laplace_lowrank_precision(s) + _prior(s)),
        "laplace.lowrank.sample": _sampled(lambda s: np.linalg.cholesky(right.laplace_lowrank_precision(s))),
    }, {"laplace.lowrank.precision": "prior_forgotten", "laplace.lowrank.covariance": "prior_doubled",
        "laplace.lowrank.sample": None}),
    "one_eigenpair_more": Fault("one eigenpair more than asked for", **_named(None, {
        "laplace.lowrank.precision": lambda s: (
            low_rank.leading(s.at.ggn, s.problem.rank + 1).matrix() + _prior(s))})),
    "layers_for_units": Fault("the blocks of whole layers for those of their units", **_named(
        "quantity:ggn.blockdiag", {"ggn.neuronblocks": right.ggn_blockdiag})),
    "marginals_of_the_full_posterior": Fault("the diagonal of P⁻¹ for the inverse of P's diagonal", {
        "laplace.diag.variance": right.laplace_covariance_diag, "predictive.diag.variance": _of_marginals,
        "laplace.lastlayer.covariance": _of_last_layer,
        "laplace.subset.covariance": lambda s: right.laplace_covariance(s)[np.ix_(s.problem.subset, s.problem.subset)],
    }, {"laplace.diag.variance": "quantity:laplace.covariance.diag", "predictive.diag.variance": None,
        "laplace.lastlayer.covariance": None, "laplace.subset.covariance": None}),
    "kfac_for_nearest": Fault("KFAC for the nearest Kronecker product", **_named(
        "quantity:ggn.kfac", {"ggn.vanloan": right.ggn_kfac})),
    "taylor_coefficient": Fault("the Taylor coefficient for the third derivative", **_named(
        "factor:1/2", {"third.vv": lambda s: 0.5 * right.third_vv(s)})),
    "third_of_the_tangent": Fault("the third derivative of the loss of the linearised network", **_named(
        None, {"third.vv": _third_of_tangent})),
    "uncentred": Fault("gradients are not centred", {
        "fisher.empirical.centred.diag": right.fisher_empirical_diag, "fisher.empirical.centred.vp": right.fisher_empirical_vp,
    }, {"fisher.empirical.centred.diag": "quantity:fisher.empirical.diag",
        "fisher.empirical.centred.vp": "quantity:fisher.empirical.vp"}),
    "joint_for_split": Fault("biases together with their weights where they should be apart", {
        f"laplace.kron.split.{part}": correct(f"laplace.kron.{part}")
        for part in ("covariance", "sample", "log_det", "log_evidence")
    } | {"predictive.kron.split.variance": right.predictive_kron_variance}, {
        "laplace.kron.split.covariance": "quantity:laplace.kron.covariance", "laplace.kron.split.sample": None,
        "laplace.kron.split.log_det": "quantity:laplace.kron.log_det",
        "laplace.kron.split.log_evidence": "quantity:laplace.kron.log_evidence",
        "predictive.kron.split.variance": "quantity:predictive.kron.variance"}),
    "variance_for_std": Fault("independent samples scaled by variances", **_named(None, {
        "laplace.diag.sample": lambda s: s.problem.theta + s.problem.normals * right.laplace_diag_variance(s)})),
    "untransposed_kron": Fault("Kronecker samples with L⁻¹ where L⁻ᵀ should be", **_named(None, {
        "laplace.kron.sample": _sampled(lambda s: np.linalg.inv(np.linalg.cholesky(s.kron.precision.matrix()))),
        "laplace.kron.scale": lambda s: np.linalg.inv(np.linalg.cholesky(s.kron.precision.matrix()))})),
    "whole_prior": Fault("the evidence of a part with the prior of all parameters", **_named("prior_of_all", {
        f"laplace.{part}.log_evidence": lambda s, part=part: (
            correct(f"laplace.{part}.log_evidence")(s) + _log_prior(s) - _log_prior_of(s, _free(f"laplace.{part}.", s)))
        for part in ("lastlayer", "subset")})),
    "unconditioned_bridge": Fault("the bridge without logits that sum to zero", **_named(None, {
        "predictive.concentration": _plain_bridge,
        "predictive.bridge": lambda s: _plain_bridge(s) / _plain_bridge(s).sum(-1, keepdims=True)})),
    "independent_logits": Fault("mean field without the covariance of two logits", **_named(None, {
        "predictive.meanfield": lambda s: predict.classes.mean_field_1(s.functions(s.ggn))})),
    "negative_bound": Fault("the negative evidence lower bound", **_named(
        "vi.sign=negative", _converted(BOUNDS, vi__sign="negative"))),
    "bound_of_a_datum": Fault("the bound divided by N", **_named("vi.reduction=mean", _converted(BOUNDS, vi__reduction="mean"))),
    "bound_without_constants": Fault("constants of the likelihood are left out of the bound", **_named(
        "vi.constants=dropped", _converted(("vi.elbo", "vi.full.elbo"), vi__constants="dropped"))),
    "sampled_divergence": Fault("the divergence is that of the draws", **_named(
        "vi.divergence=sampled", _converted(BOUNDS, vi__divergence="sampled"))),
    "turned_divergence": Fault("what sampling the divergence changes has the wrong sign", **_named(None, {
        name: lambda s, name=name: 2 * correct(name)(s) - _converted((name,), vi__divergence="sampled")[name](s)
        for name in BOUNDS})),
    "added_divergence": Fault("the divergence is added to the bound", **_named("divergence_added", {
        "vi.elbo": lambda s: right.vi_elbo(s) + 2 * right.vi_kl(s),
        "vi.full.elbo": lambda s: right.vi_full_elbo(s) + 2 * right.vi_full_kl(s)})),
    "no_divergence": Fault("no divergence in the bound", **_named("divergence_forgotten", {
        "vi.elbo": lambda s: right.vi_elbo(s) + right.vi_kl(s),
        "vi.full.elbo": lambda s: right.vi_full_elbo(s) + right.vi_full_kl(s),
        "vi.full.elbo.gradient.scale": lambda s: (
            right.vi_full_elbo_gradient_scale(s) + np.tril(_prior(s) @ s.problem.scale)
            - np.diag(1 / np.abs(s.problem.vector)))})),
    "divergence_without_half_p": Fault("p/2 is missing in the divergence", **_named("term:+1*half_p", {
        name: lambda s, name=name: correct(name)(s) + 0.5 * len(s.problem.theta) for name in ("vi.kl", "vi.full.kl")})),
    "transposed_scale": Fault("Cᵀ z for C z, Cᵀ C for C Cᵀ", {
        "vi.full.elbo": _turned(right.vi_full_elbo), "vi.full.kl": _turned(right.vi_full_kl),
        "vi.full.elbo.gradient.mean": _turned(right.vi_full_elbo_gradient_mean),
        "vi.full.kl.reverse": _turned(right.vi_full_kl_reverse),
        "vi.full.elbo.gradient.scale": lambda s: right.vi_full_elbo_gradient_scale(s).T,
    }, {"vi.full.elbo": "transposed_scale", "vi.full.kl": "transposed_scale", "vi.full.elbo.gradient.mean": "transposed_scale",
        "vi.full.kl.reverse": "transposed_scale", "vi.full.elbo.gradient.scale": "transposed_10"}),
    "transposed_draws": Fault("Cᵀ z for C z, the divergence that of C Cᵀ", **_named("transposed_draws", {
        "vi.full.elbo": lambda s: -s.bound_of(_turned_q(s)).loss.value - right.vi_full_kl(s)})),
    "transposed_cross": Fault("z ∇lossᵀ for ∇loss zᵀ in the slope by the scale", **_named("transposed_cross", {
        "vi.full.elbo.gradient.scale": lambda s: right.vi_full_elbo_gradient_scale(s) + np.tril(
            s.full_bound.loss.cross - s.full_bound.loss.cross.T)})),
    "no_correlations": Fault("the bound of independent parameters for that of correlated ones", {
        "vi.full.elbo": right.vi_elbo, "vi.full.kl": right.vi_kl, "vi.full.elbo.gradient.mean": right.vi_elbo_gradient_mean,
    }, {"vi.full.elbo": "quantity:vi.elbo", "vi.full.kl": "quantity:vi.kl",
        "vi.full.elbo.gradient.mean": "quantity:vi.elbo.gradient.mean"}),
    "free_scale": Fault("the slope by every entry of C, not by its lower triangle alone", **_named("free_scale", {
        "vi.full.elbo.gradient.scale": _free_slope})),
    "reversed_divergence": Fault("the divergence the other way round", {
        "vi.full.kl": right.vi_full_kl_reverse,
        "vi.kl": right.vi_kl_reverse, "vi.kl.reverse": right.vi_kl, "vi.kl.laplace": right.vi_kl_laplace_reverse,
    }, {"vi.full.kl": "quantity:vi.full.kl.reverse", "vi.kl": "quantity:vi.kl.reverse", "vi.kl.reverse": "quantity:vi.kl",
        "vi.kl.laplace": "quantity:vi.kl.laplace.reverse"}),
    "forgotten_entropy": Fault("no entropy in the bound", {
        "vi.elbo": lambda s: right.vi_elbo(s) - s.mean_field.entropy(),
        "vi.elbo.gradient.scale": lambda s: right.vi_elbo_gradient_scale(s) - 1 / np.abs(s.problem.vector),
        "vi.full.elbo.gradient.scale": lambda s: right.vi_full_elbo_gradient_scale(s) - np.diag(1 / np.abs(s.problem.vector)),
    }, {"vi.elbo": None, "vi.elbo.gradient.scale": "entropy_forgotten", "vi.full.elbo.gradient.scale": "entropy_forgotten"}),
    "forgotten_pull": Fault("no prior in the slope of the bound", **_named("prior_forgotten", {
        name: lambda s, name=name: correct(name)(s) + _prior(s) @ (s.problem.theta - s.problem.prior_mean)
        for name in ("vi.elbo.gradient.mean", "vi.full.elbo.gradient.mean")})),
    "slope_by_logarithm": Fault("the slope by log c for that by c", **_named("vi.scale.by=log_scale", _converted(
        ("vi.elbo.gradient.scale", "vi.full.elbo.gradient.scale"), vi__scale__by="log_scale"))),
    "slope_by_log_variance": Fault("the slope by log c² for that by c", **_named("vi.scale.by=log_variance", _converted(
        ("vi.elbo.gradient.scale",), vi__scale__by="log_variance"))),
    "other_forms_of_an_optimum": Fault("the precision of the best Gaussian, standard deviations for variances", {
        "vi.optimum.covariance": lambda s: np.linalg.inv(right.vi_optimum_covariance(s)),
        "vi.optimum.meanfield.variance": lambda s: np.sqrt(right.vi_optimum_meanfield_variance(s)),
    }, {"vi.optimum.covariance": "precision_for_covariance", "vi.optimum.meanfield.variance": "vi.marginals=std"}),
    "scale_of_an_optimum": Fault("a Cholesky factor for the covariance of the best Gaussian", **_named("root_for_covariance", {
        "vi.optimum.covariance": lambda s: np.linalg.cholesky(right.vi_optimum_covariance(s))})),
    "turned_optimum": Fault("Cᵀ C for the covariance of the best Gaussian", **_named("transposed_root", {
        "vi.optimum.covariance": lambda s: _transposed_square(np.linalg.cholesky(right.vi_optimum_covariance(s)))})),
    "families_of_optima": Fault("the best Gaussian of the other family", {
        "vi.optimum.covariance": lambda s: np.diag(right.vi_optimum_meanfield_variance(s)),
        "vi.optimum.meanfield.variance": lambda s: np.diag(right.vi_optimum_covariance(s)),
        "vi.optimum.mean": right.vi_optimum_meanfield_mean, "vi.optimum.elbo": right.vi_optimum_meanfield_elbo,
    }, {"vi.optimum.covariance": "independent", "vi.optimum.meanfield.variance": "marginals_of_full",
        "vi.optimum.mean": "quantity:vi.optimum.meanfield.mean", "vi.optimum.elbo": "quantity:vi.optimum.meanfield.elbo"}),
    "posterior_for_optimum": Fault("moments of the posterior for those of the best Gaussian", {
        "vi.optimum.mean": right.posterior_mean, "vi.optimum.covariance": right.posterior_covariance,
        "vi.optimum.elbo": right.posterior_log_evidence,
    }, {"vi.optimum.mean": "quantity:posterior.mean", "vi.optimum.covariance": "quantity:posterior.covariance",
        "vi.optimum.elbo": "quantity:posterior.log_evidence"}),
    "certain_outputs": Fault("E[y] at the mean output", **_named(None, {
        "predictive.exact": lambda s: s.posterior.likelihood.mean(right.predictive_glm_mean(s))})),
    "kernel_without_prior": Fault("the tangent kernel for the prior's", **_named("quantity:ntk", {"gp.kernel": right.ntk})),
    "process_at_the_network": Fault("f(x, θ) for the mean of the process, the prior's variance for the posterior's", {
        "gp.mean": right.predictive_glm_mean,
        "gp.variance": lambda s: s.process.process.covariance(s.problem.X_new),
        "gp.log_evidence": right.laplace_log_evidence,
    }, {"gp.mean": "quantity:predictive.glm.mean", "gp.variance": None, "gp.log_evidence": "quantity:laplace.log_evidence"}),
    "damped_factors": Fault("√τ is added to both Kronecker factors", **_named(None, {"laplace.kron.covariance": _damped})),
    "inputs_apart": Fault("no covariance between inputs", **_named(None, {"predictive.joint": lambda s: np.where(
        np.eye(len(s.problem.X_new), dtype=bool)[:, None, :, None], right.predictive_joint(s), 0.0)})),
    "fixed_determinant": Fault("slopes of the evidence without those of its log-determinant", **_named("trace_missing", {
        "laplace.evidence.prior": lambda s: right.laplace_evidence_prior(s) + 0.5 * _trace(s, _prior(s)),
        "laplace.evidence.noise": lambda s: right.laplace_evidence_noise(s) - 0.5 * _trace(s, right.ggn_full(s)),
        "laplace.diag.evidence.prior": lambda s: right._prior_slope(s, 0.0),
        "laplace.diag.evidence.noise": lambda s: right._noise_slope(s, 0.0),
        "laplace.kron.evidence.prior": lambda s: right._prior_slope(s, 0.0),
        "laplace.kron.split.evidence.prior": lambda s: right._prior_slope(s, 0.0),
        "laplace.kron.split.evidence.noise": lambda s: right._noise_slope(s, 0.0),
        "laplace.kron.evidence.noise": lambda s: right._noise_slope(s, 0.0)})),
    "certain_logits": Fault("class probabilities without the variance of the logits", **_named(None, {
        name: lambda s: s.posterior.likelihood.mean(right.predictive_glm_mean(s))
        for name in ("predictive.probit", "predictive.probit.multiclass", "predictive.meanfield")})),
    "centred_fisher": Fault("per-datum gradients are centred", **_named("centred", {"fisher.empirical": _centred})),
    "transposed_cholesky": Fault("L⁻¹ where L⁻ᵀ should be", **_named("transposed_cholesky", {
        "laplace.scale": _untransposed, "laplace.sample": _sampled(_untransposed)})),
    "transposed_covariance_factor": Fault("normals times K, not Kᵀ, K Kᵀ = P⁻¹", **_named(
        "transposed_cholesky_of_covariance",
        {"laplace.sample": _sampled(lambda s: np.linalg.cholesky(right.laplace_covariance(s)).T)})),
    "precision_for_covariance": Fault("the precision is not inverted", {
        "laplace.covariance": right.laplace_precision, "laplace.scale": lambda s: np.linalg.cholesky(right.laplace_precision(s)),
        "laplace.sample": _sampled(lambda s: np.linalg.cholesky(right.laplace_precision(s))),
    }, {"laplace.covariance": "quantity:laplace.precision", "laplace.scale": "cholesky_of_precision",
        "laplace.sample": "cholesky_of_precision"}),
    "marginal_samples": Fault("samples know the marginal variances alone", **_named("marginal_root", {
        "laplace.sample": _sampled(lambda s: np.diag(np.sqrt(np.diag(right.laplace_covariance(s)))))})),
    "samples_around_zero": Fault("θ is not added to the samples", **_named("centre_zero", {
        "laplace.sample": lambda s: right.laplace_sample(s) - s.problem.theta})),
    "jitter": Fault("0.01 I is added to the precision", **_named("jitter:1,0.01", {
        "laplace.precision": lambda s: right.laplace_precision(s) + 0.01 * np.eye(len(s.problem.theta)),
        "laplace.covariance": lambda s: np.linalg.inv(right.laplace_precision(s) + 0.01 * np.eye(len(s.problem.theta)))})),
    "one_triangle": Fault("only the upper triangle is filled", **_named("upper_triangle", _all(
        lambda answer, problem: np.triu(answer), MATRICES))),
    "not_symmetrised": Fault("the lower triangle is left as it was", **_named("lower_triangle_wrong", _all(
        lambda answer, problem: np.triu(answer) + 0.5 * np.tril(answer, -1), MATRICES))),
    "diagonal_only": Fault("off-diagonal entries are zero", **_named("diagonal_only", _all(
        lambda answer, problem: np.diag(np.diag(answer)), MATRICES))),
    "column_major": Fault("weights are laid out column by column", **_named("parameters.order=column_major", _converted(
        PARAMETERS, parameters__order="column_major"))),
    "biases_last": Fault("biases come after all weights", **_named("parameters.order=biases_last", _converted(
        PARAMETERS, parameters__order="biases_last"))),
    "flax_order": Fault("bias first, kernels in × out", **_named(
        "parameters.order=flax", _converted(PARAMETERS, parameters__order="flax"))),
    "mean_and_column_major": Fault("two slips at once", **_named(
        "loss.reduction=mean+parameters.order=column_major",
        {name: _mean_and_column_major(name) for name in ("gradient", "ggn.full", "hessian.full", "fisher.empirical")})),
    "permuted_axes": Fault("the Jacobian is laid out p k n", **_named("transposed_210", _all(
        lambda answer, problem: answer.transpose(2, 1, 0), ("jacobian",)))),
    "missing_log_det": Fault("½ log |P| is missing in the evidence", **_named("log_det_missing", _of_evidences(
        lambda s, prefix: 0.5 * correct(prefix + "log_det")(s)))),
    "missing_half": Fault("log |P| without its ½ in the evidence", **_named("half_missing", _of_evidences(
        lambda s, prefix: -0.5 * correct(prefix + "log_det")(s)))),
    "missing_log_2pi": Fault("(p/2) log 2π is missing in the evidence", **_named("log_2pi_missing", _of_evidences(
        lambda s, prefix: -0.5 * _log_2pi(s, _free(prefix, s))))),
    "mean_loss_in_evidence": Fault("the loss in the evidence is averaged over data", **_named("mean_loss", _of_evidences(
        lambda s, prefix: right.loss(s) * (1 - 1 / len(s.problem.X))))),
    "prior_missing_in_evidence": Fault("the log prior is missing in the evidence", **_named("log_prior_forgotten", _of_evidences(
        lambda s, prefix: -_log_prior_of(s, _free(prefix, s))))),
    "turned_trace": Fault("a slope of the evidence with its trace of the other sign", **_named("trace_sign", _of_slopes(2.0))),
    "missing_half_of_slope": Fault("slopes of the evidence without their ½", **_named("factor:2", {
        name: lambda s, name=name: 2 * correct(name)(s) for name in EVIDENCE_SLOPES})),
    "negative_slope": Fault("slopes of the negative log evidence", **_named("factor:-1", {
        name: lambda s, name=name: -correct(name)(s) for name in EVIDENCE_SLOPES})),
    "slope_by_precision": Fault("slopes by the prior precision, not by its logarithm", **_named("factor:1/τ", {
        name: lambda s, name=name: correct(name)(s) / (_common_precision(s) or 1.0)
        for name in EVIDENCE_SLOPES if name.endswith("prior")})),
    "datum_not_left_out": Fault("densities of the data given all of them", **_named(None, {
        "gp.loo.log_density": _not_left_out})),
    "negative_eigenpairs_kept": Fault("the eigenpairs of the Hessian largest in size, negative ones too", **_named(None, {
        "laplace.hessian.lowrank.precision": _largest_in_size})),
    "noise_included": Fault("σ² is added to the function's variance", **_named("predictive.noise=included", _converted(
        ("predictive.glm.variance",), predictive__noise="included"))),
    "std_for_variance": Fault("standard deviations for variances", **_named("predictive.variance=std", _converted(
        ("predictive.glm.variance",), predictive__variance="std"))),
    "softmax_of_mean": Fault("softmax after averaging the outputs", **_named("link_of_mean", {"predictive.mc": _link_of_mean})),
    "float32": Fault("answers rounded to single precision", **_named("float32", _all(_float32, DETERMINISTIC)), verdict="LOSSY"),
    "not_finite": Fault("one entry is NaN", **_named("not_finite", _all(
        lambda answer, problem: np.where(np.arange(answer.size).reshape(answer.shape) == 0, np.nan, answer),
        ("gradient", "ggn.full")))),
    "zeros": Fault("the result is never written", **_named("zero", _all(
        lambda answer, problem: np.zeros_like(answer), ("gradient", "ggn.full")))),
}
OF_DRAWS: dict[str, Fault] = {name: Fault(about, {"posterior.draws": wrong}, {"posterior.draws": cause})
                              for name, (about, wrong, cause) in SAMPLERS.items()}
ALL: dict[str, Fault] = {**FAULTS, **OF_DRAWS}
