"""A door that expects an object names its argument, and refuses one that lacks any single thing it needs."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from refbnn import Gaussian, Linearised, Loss, Mlp, Posterior
from refbnn import activations, audit, cubature, expansion, gp, hyper, laplace, likelihoods, mixture, optimize
from refbnn import predict, priors, quadrature, samplers, symmetry, vi
from refbnn.gaussian import kl
from refbnn.precision import Dense
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
    "audit.audit": (lambda it: audit.audit(it, np.ones((2, 5, P))), "posterior", "num_params value_and_gradient"),
    "cubature.collapse": (lambda it: cubature.collapse(it), "posterior", "net likelihood prior loss"),
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
    "hyper.Family, likelihoods": (lambda it: hyper.Family(NET, it, FAMILY.precisions, X, Y), "likelihoods",
                                  "num_hyper likelihood log_prob_derivatives residual_derivatives curvature_derivatives"),
    "hyper.Family, precisions": (lambda it: hyper.Family(NET, FAMILY.likelihoods, it, X, Y), "precisions",
                                 "num_hyper prior log_prob_derivatives gradient_derivatives traces"),
    "hyper.Fixed": (lambda it: hyper.Fixed(it), "member", "log_prob residual curvature"),
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
    "Subnetwork": (lambda it: Subnetwork(it, THETA, [0]), "net", "evaluate is_linear_in num_params"),
    "Subnetwork.conditional": (lambda it: Subnetwork(NET, THETA, [0, 2]).conditional(it), "prior", "mean precision"),
    "symmetry.of_network": (lambda it: symmetry.of_network(it), "net", "sizes activation layout"),
    "symmetry.of_posterior": (lambda it: symmetry.of_posterior(it), "posterior", "net prior"),
    "vi.elbo, posterior": (lambda it: vi.elbo(it, Q, vi.ClosedForm()), "posterior", "loss prior num_params"),
    "vi.elbo, q": (lambda it: vi.elbo(POSTERIOR, it, vi.ClosedForm()), "q", "mean precision from_normals"),
    "vi.elbo, how": (lambda it: vi.elbo(POSTERIOR, Q, it), "how", "loss prior"),
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
