"""A refusal begins with the name of the argument that is refused; an object is refused that lacks any single thing it is for."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from refbnn import Gaussian, Linearised, Loss, Mlp, Posterior
from refbnn import activations, audit, cubature, diagnostics, evidence, expansion, gp, hyper, laplace
from refbnn import likelihoods, low_rank, mixture, optimize, predict, priors, quadrature, samplers, scores, symmetry, third, vi
from refbnn.gaussian import kl
from refbnn.blocks import Symmetric
from refbnn.budget import truth
from refbnn.cubature.weights import AllWeights
from refbnn.precision import Dense, Diagonal, FromScale
from refbnn.subnetwork import Subnetwork

RNG = np.random.default_rng(3)
NET = Mlp((2, 3, 1), activations.tanh)
P = NET.num_params
X, Y, THETA = RNG.normal(size=(7, 2)), RNG.normal(size=(7, 1)), RNG.normal(size=P)
NOISE, PRIOR = likelihoods.Normal(0.4), priors.isotropic(P, 1.3)
POSTERIOR = Posterior(NET, NOISE, PRIOR, X, Y)
Q = Gaussian(THETA, Dense(np.eye(P) + 0.1))
PROCESS = gp.GaussianProcess(Linearised(NET, at=THETA), PRIOR)
FAMILY = hyper.Family(NET, hyper.Fixed(NOISE), hyper.one(P), X, Y)

DOORS = {  # what is called with the object, the argument that it is, what it needs
    "budget.truth.of_network": (lambda it: truth.of_network(it, RNG, 1e-3), "posterior", "net likelihood prior loss"),
    "audit.audit": (lambda it: audit.audit(it, np.ones((2, 5, P))), "posterior", "num_params value_and_gradient"),
    "cubature.weights.AllWeights": (AllWeights, "posterior", "net likelihood prior loss log_likelihood"),
    "cubature.collapse": (lambda it: cubature.collapse(it), "posterior", "net likelihood prior loss"),
    "cubature.layered": (lambda it: cubature.layered(it, 1e-3), "posterior", "net likelihood prior loss"),
    "evidence.importance": (lambda it: evidence.importance(POSTERIOR, it, RNG, 50), "q", "log_prob sample"),
    "evidence.bridge": (lambda it: evidence.bridge(POSTERIOR, it, np.ones((2, 5, P)), RNG, 50), "q",
                        "log_prob sample num_params"),
    "expansion.second_order": (lambda it: expansion.second_order(it, THETA), "posterior",
                               "loss prior value_and_gradient negative_hessian"),
    "expansion.sampling_bias": (lambda it: expansion.sampling_bias(NET, it, X), "q", "mean precision"),
    "gaussian.kl": (lambda it: kl(Q, it), "p", "mean precision"),
    "Gaussian": (lambda it: Gaussian(THETA, it), "precision", "matvec solve log_det"),
    "Gaussian.sample": (lambda it: Q.sample(it), "rng", "standard_normal"),
    "GaussianProcess, net": (lambda it: gp.GaussianProcess(it, PRIOR), "net",
                             "evaluate is_linear num_inputs num_outputs num_params"),
    "GaussianProcess, gaussian": (lambda it: gp.GaussianProcess(PROCESS.net, it), "gaussian", "mean precision"),
    "gp.laplace, process": (lambda it: gp.laplace(it, NOISE, X, Y), "process", "mean kernel covariance num_outputs"),
    "gp.laplace, likelihood": (lambda it: gp.laplace(PROCESS, it, X, Y), "likelihood",
                               "log_prob residual factor check_targets"),
    "gp.laplace_log_precision_gradient": (lambda it: gp.laplace_log_precision_gradient(it, NOISE, Y), "found", "posterior"),
    "gp.expand": (lambda it: gp.expand(it, Y, Y), "likelihood", "log_prob residual factor check_targets"),
    "hyper.Family, likelihoods": (lambda it: hyper.Family(NET, it, FAMILY.precisions, X, Y), "likelihoods",
                                  "num_hyper likelihood log_prob_derivatives residual_derivatives curvature_derivatives"),
    "hyper.Family, precisions": (lambda it: hyper.Family(NET, FAMILY.likelihoods, it, X, Y), "precisions",
                                 "num_hyper prior log_prob_derivatives gradient_derivatives traces"),
    "hyper.Hierarchical, precisions": (lambda it: hyper.Hierarchical(NET, hyper.Known(NOISE), it, hyper.Gamma(2.0, 1.5), X, Y),
                                       "precisions", "num_hyper groups sizes"),
    "hyper.Fixed": (lambda it: hyper.Fixed(it), "member", "log_prob residual curvature"),
    "hyper.Temperature": (lambda it: hyper.Temperature(it), "member", "log_prob residual curvature"),
    "hyper.at, family": (lambda it: hyper.at(it, hyper.ggn, [0.3], THETA), "family", "at split"),
    "hyper.at, curvature": (lambda it: hyper.at(FAMILY, it, [0.3], THETA), "curvature", "of pulled_back trace_gradient matrix"),
    "laplace.log_evidence": (lambda it: laplace.log_evidence(0.7, it), "q", "num_params precision"),
    "likelihoods.Tempered": (lambda it: likelihoods.Tempered(it, 0.7), "likelihood", "log_prob residual curvature check_targets"),
    "Linearised": (lambda it: Linearised(it, at=THETA), "net", "evaluate num_inputs num_outputs num_params"),
    "Loss, net": (lambda it: Loss(it, NOISE, X, Y), "net", "evaluate num_inputs num_outputs num_params"),
    "Loss, likelihood": (lambda it: Loss(NET, it, X, Y), "likelihood", "log_prob residual curvature check_targets"),
    "mixture.over_copies": (lambda it: mixture.over_copies(it, 0.0, Q), "group", "orbit"),
    "mixture.Mixture": (lambda it: mixture.Mixture([0.0], [it]), "components", "mean precision log_prob"),
    "optimize.maximize": (lambda it: optimize.maximize(it, THETA), "posterior", "log_prob value_and_gradient negative_hessian"),
    "Posterior": (lambda it: Posterior(NET, NOISE, it, X, Y), "prior", "num_params log_prob gradient negative_hessian"),
    "predict.functions": (lambda it: predict.functions.moments(NET, it, X), "q", "mean precision"),
    "IndependentPrior.sample": (lambda it: priors.Laplace(P, 1.3).sample(it), "rng", "standard_normal"),
    "quadrature.sobol": (lambda it: quadrature.sobol(2, 8, 3, it), "rng", "standard_normal spawn"),
    "samplers.run": (lambda it: samplers.run(it, POSTERIOR, np.ones((2, P)), 5, 1), "kernel", "init step"),
    "samplers.Hmc": (lambda it: samplers.Hmc(0.1, 7, it), "metric", "num_params matvec scale_matvec"),
    "samplers.Nuts": (lambda it: samplers.Nuts(0.1, it), "metric", "num_params matvec scale_matvec"),
    "samplers.WithMoves": (lambda it: samplers.WithMoves(it, None), "kernel", "init step"),
    "Subnetwork": (lambda it: Subnetwork(it, THETA, [0]), "net", "evaluate is_linear_in num_params"),
    "Subnetwork.conditional": (lambda it: Subnetwork(NET, THETA, [0, 2]).conditional(it), "prior", "mean precision"),
    "symmetry.of_network": (lambda it: symmetry.of_network(it), "net", "sizes activation layout"),
    "symmetry.of_posterior": (lambda it: symmetry.of_posterior(it), "posterior", "net prior"),
    "vi.elbo, posterior": (lambda it: vi.elbo(it, Q, vi.ClosedForm()), "posterior", "loss prior num_params"),
    "vi.elbo, q": (lambda it: vi.elbo(POSTERIOR, it, vi.ClosedForm()), "q", "mean precision from_normals"),
    "vi.elbo, how": (lambda it: vi.elbo(POSTERIOR, Q, it), "how", "loss prior"),
    "vi.quasi_newton": (lambda it: vi.quasi_newton(POSTERIOR, it, vi.ClosedForm(), Q), "family",
                        "gaussian free pull_back lengths along num_params"),
    "families.Independent": (lambda it: vi.families.Independent((it,)), "parts",
                             "num_params num_free gaussian pull_back lengths along"),
    "vi.fixed_point": (lambda it: vi.fixed_point(POSTERIOR, it), "how", "of_outputs"),
}


@pytest.mark.parametrize("door", DOORS)
def test_a_door_refuses_an_object_that_lacks_one_of_the_things_it_needs(door):
    call, argument, needed = DOORS[door]
    for missing in needed.split():
        almost = SimpleNamespace(**{name: None for name in needed.split() if name != missing})
        with pytest.raises(ValueError, match=rf"^{argument}: expected an object .*\b{missing}\b.*, got a SimpleNamespace"):
            call(almost)


def test_a_class_in_the_place_of_an_object_is_told_to_be_made():
    with pytest.raises(ValueError, match=r"^likelihood: expected an object .*, got the class Bernoulli; make one, with \(\)"):
        Loss(NET, likelihoods.Bernoulli, X, Y)


@pytest.mark.parametrize("call, message", [
    (lambda: samplers.smc.given([0.5, 0.4, 1.0]),
     r"^betas: expected increasing numbers above 0 that end with 1, got \[0\.5, 0\.4, 1\.0\]$"),
    (lambda: gp.GaussianProcess(NET, PRIOR),
     r"^net: expected a network that is affine in its parameters, got Mlp; use Linearised\(net, at=theta\)$"),
    (lambda: vi.elbo(Posterior(PROCESS.net, NOISE, priors.Laplace(P, 1.3), X, Y), Q, vi.ClosedForm()).value,
     r"^prior: expected a Gaussian, got a Laplace; take OverParameters, which any prior suits$"),
])
def test_a_refusal_names_what_came_and_what_to_do(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# -- arrays and numbers -----------------------------------------------------------------------------------------------------

K = 3
WIDE = Mlp((2, 5, K), activations.tanh)
AT, OUT = RNG.normal(size=WIDE.num_params), RNG.normal(size=(7, K))
LINEAR, GROUP, STREAMS = Linearised(WIDE, at=AT), symmetry.of_network(NET), samplers.Streams.spawn(1, 2)
LOSS, PATH = Loss(NET, NOISE, X, Y), evidence.Path(POSTERIOR, PRIOR)
PRECISION, EVEN = Dense(np.eye(P) + 0.1), np.full((7, K), 1 / K)
LABELS, UNIT = np.arange(7) % K, np.linspace(0.1, 0.9, 7)

CALLS = {  # a function, and good arguments that it checks
    **{f"{name}.{method}": (getattr(net, method), arguments) for name, net in (("Mlp", WIDE), ("Linearised", LINEAR))
       for method, arguments in {
           "forward": {"theta": AT, "X": X}, "jacobian": {"theta": AT, "X": X}, "vjp": {"theta": AT, "X": X, "v": OUT},
           "vjp_per_datum": {"theta": AT, "X": X, "v": OUT}, "jvp": {"theta": AT, "X": X, "u": AT},
           "contracted_hessian": {"theta": AT, "X": X, "v": OUT},
           "contracted_hessian_product": {"theta": AT, "X": X, "v": OUT, "u": AT}}.items()},
    **{f"Dense.{method}": (getattr(PRECISION, method), {"v": THETA})
       for method in ("matvec", "solve", "scale_transposed_matvec")},
    **{f"{type(C).__name__}.scale_matvec": (C.scale_matvec, {"z": THETA}) for C in (PRECISION, Diagonal(np.ones(P)))},
    **{f"{type(C).__name__}.scale_transposed_matvec": (C.scale_transposed_matvec, {"v": THETA})
       for C in (Diagonal(np.ones(P)), FromScale(np.eye(P)))},
    "blocks.Symmetric.matvec": (Symmetric(np.eye(P)).matvec, {"v": THETA}),
    "LinearisedEvaluation.pullback": (partial(LINEAR.evaluate(AT, X).pullback, np.stack([np.eye(K)] * 7)), {"v": OUT}),
    **{f"Posterior.{method}": (getattr(POSTERIOR, method), {"theta": THETA})
       for method in ("log_prob", "log_likelihood", "value_and_gradient", "negative_hessian")},
    **{f"StudentT.{method}": (getattr(evidence.StudentT(Q, 5.0), method), {"theta": THETA})
       for method in ("log_prob", "gradient")},
    "Mlp.first_order": (WIDE.first_order, {"X": X}),
    "Gaussian.from_normals": (Q.from_normals, {"z": THETA}),
    "Gaussian.log_prob": (Q.log_prob, {"theta": THETA}),
    "third_derivative": (third.third_derivative, {"loss": LOSS, "theta": THETA, "v": THETA}),
    "trace_gradient_of_ggn": (third.trace_gradient_of_ggn, {"loss": LOSS, "theta": THETA, "V": THETA[None]}),
    "Group.num_maps": (GROUP.num_maps, {"start": THETA, "end": THETA}),
    "moments": (predict.functions.Moments, {"mean": OUT, "covariance": np.stack([np.eye(K)] * 7)}),
    "brier": (scores.brier, {"probabilities": EVEN, "y": LABELS}),
    "crps_of_normal": (scores.crps_of_normal, {"mean": OUT, "variance": OUT**2, "y": OUT}),
    "pit_of_normal": (scores.pit_of_normal, {"mean": OUT, "variance": OUT**2, "y": OUT}),
    "crps_of_draws": (scores.crps_of_draws, {"draws": RNG.normal(size=(5, 7, K)), "y": OUT}),
    "coverage": (scores.coverage, {"pit": UNIT, "levels": UNIT}),
    "equal_width": (scores.equal_width, {"num_bins": 5}),
    "equal_mass": (scores.equal_mass, {"forecast": UNIT, "num_bins": 5}),
    "weight_ess": (diagnostics.weight_ess, {"log_weights": UNIT}),
    "pareto_k": (diagnostics.pareto_k, {"log_weights": np.linspace(0.1, 0.9, 101)}),
    "gauss_hermite": (quadrature.gauss_hermite, {"dim": 2, "num_points": 5}),
    "trapezoid": (quadrature.trapezoid, {"dim": 2, "num_points": 5}),
    "smolyak": (quadrature.smolyak, {"dim": 2, "level": 3}),
    "quadrature.sobol": (quadrature.sobol, {"dim": 2, "num_points": 8, "num_replicates": 3, "rng": RNG}),
    "gauss_legendre": (evidence.gauss_legendre, {"num_points": 5, "power": 2.0}),
    "thermodynamic": (partial(evidence.thermodynamic, PATH, evidence.gauss_legendre(5), None, STREAMS),
                      {"num_draws": 5, "num_between": 3}),
    "reverse_annealed": (partial(evidence.reverse_annealed, PATH, evidence.ladder(3), None, THETA[None], STREAMS),
                         {"num_updates": 2}),
    "marginalise": (partial(hyper.marginalise, FAMILY, hyper.ggn, None, np.array([0.3]), THETA),
                    {"spacing": 0.5, "half_width": 6}),
    "Between": (evidence.Between, {"path": PATH, "beta": 0.3}),
    "Defensive": (evidence.Defensive, {"q": Q, "safe": PRIOR, "share": 0.3}),
    "evidence.StudentT": (evidence.StudentT, {"centre": Q, "degrees_of_freedom": 5.0}),
    "by_effective_size": (samplers.smc.by_effective_size, {"share": 0.5}),
    "Hmc": (samplers.Hmc, {"step_size": 0.1, "num_steps": 7, "metric": PRECISION, "jitter": 0.1}),
    "Nuts": (samplers.Nuts, {"step_size": 0.1, "metric": PRECISION, "max_depth": 5}),
    "Streams.spawn": (samplers.Streams.spawn, {"seed": 1, "num_chains": 2}),
    "adapt": (partial(samplers.adapt, samplers.Nuts(0.1, PRECISION), POSTERIOR, np.stack([THETA] * 5), 20, 1),
              {"acceptance": 0.7}),
    "low_rank.leading": (partial(low_rank.leading, LOSS.at(THETA).ggn), {"rank": 2}),
    "Full": (vi.families.Full, {"num_params": P}),
    "vi.score": (partial(vi.estimators.score, POSTERIOR, Q), {"z": THETA[None]}),
    "hyper.one": (hyper.one, {"num_params": P, "mean": 0.3}),
    "leaky_relu": (activations.leaky_relu, {"slope": 0.1}),
    "likelihoods.Gamma": (likelihoods.Gamma, {"shape": 2.0}),
    "likelihoods.Normal": (likelihoods.Normal, {"variance": 2.0}),
    "likelihoods.Tempered": (partial(likelihoods.Tempered, NOISE), {"temperature": 2.0}),
    "priors.Laplace": (priors.Laplace, {"num_params": P, "scale": 1.3}),
    "priors.isotropic": (priors.isotropic, {"num_params": P, "precision": 1.3, "mean": 0.1}),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_refusal_begins_with_the_name_of_the_argument(name):
    function, good = CALLS[name]
    for argument, value in good.items():
        if isinstance(value, (int, float, np.ndarray)):
            with pytest.raises(ValueError, match=rf"^{argument}: expected .*, got "):
                function(**{**good, argument: "a word"})


def test_what_stands_for_an_object_in_a_session_names_its_class():
    assert repr(PRECISION) == f"Dense(num_params={P})"


@pytest.mark.parametrize("estimator", [vi.estimators.pathwise, vi.estimators.sticking_the_landing, vi.estimators.score])
def test_normals_of_another_length_are_refused_with_the_axes_that_were_expected(estimator):
    with pytest.raises(ValueError, match=rf"^z: expected shape \(t, {P}\), got \(1, {P + 1}\)"):
        estimator(POSTERIOR, Q, np.ones((1, P + 1)))


@pytest.mark.parametrize("family", [vi.families.Full(P), vi.families.MeanField(P), vi.families.LowRank(P, 2)])
def test_a_vector_of_another_length_than_a_family_has_free_numbers_is_refused(family):
    for length in (family.num_free - 1, family.num_free + 1):
        with pytest.raises(ValueError, match=rf"^phi: expected shape \({family.num_free},\), got \({length},\)"):
            family.gaussian(np.ones(length))


def test_likelihoods_keep_their_numbers_as_floats_and_name_themselves():
    assert isinstance(likelihoods.StudentT(1, 4).degrees_of_freedom, float)
    with pytest.raises(ValueError, match="^Heteroscedastic: expected a network with two outputs a target, got 3 outputs"):
        likelihoods.Heteroscedastic().check_targets(np.ones((7, 1)), 7, 3)


KEEPERS = {  # a class, and arrays that it keeps
    "Moments": (predict.Moments, {"mean": OUT, "covariance": np.stack([np.eye(K)] * 7)}),
    "Joint": (predict.Joint, {"mean": OUT, "root": RNG.normal(size=(7, K, 5))}),
    "Evidence": (partial(hyper.point.Evidence, FAMILY, hyper.ggn), {"eta": np.array([0.3]), "theta": THETA}),
    "Gaussian": (partial(Gaussian, precision=PRECISION), {"mean": THETA}),
}


@pytest.mark.parametrize("name", KEEPERS)
def test_what_a_class_keeps_of_an_array_is_a_copy_that_cannot_be_written(name):
    make, given = KEEPERS[name]
    mine = {argument: value.copy() for argument, value in given.items()}
    kept = make(**mine)
    for argument, value in given.items():
        mine[argument][...] = -7.0
        assert np.array_equal(getattr(kept, argument), value) and not getattr(kept, argument).flags.writeable, argument
