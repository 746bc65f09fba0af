"""refbnn's answers to a case."""

from __future__ import annotations

from refbnn import Mlp, Posterior, activations, cubature, likelihoods, priors
from refbnn.quadrature import Integral
from tests.references.catalogue import Case

LIKELIHOODS = {"normal": likelihoods.Normal, "bernoulli": likelihoods.Bernoulli, "poisson": likelihoods.Poisson,
               "student_t": likelihoods.StudentT}


def integrated(case: Case) -> object:
    """The posterior, integrated."""
    net = Mlp(case.sizes, activations.BY_NAME[case.activation], bias=case.bias)
    name, parameters = case.likelihood
    prior = priors.isotropic(net.num_params, case.precision)
    if name == "inverse-gamma":
        noise = cubature.InverseGammaNoise(**parameters)
        return cubature.units(cubature.collapse_noise(net, noise, prior, case.X, case.y), case.within)
    posterior = Posterior(net, LIKELIHOODS[name](**parameters), prior, case.X, case.y)
    if name == "normal":
        return cubature.units(cubature.collapse(posterior), case.within)
    return cubature.layered(posterior, case.within)


def answers(case: Case) -> dict[str, Integral]:
    """Log evidence, and the mean and variance of f at new inputs: what `second` computes too."""
    found = integrated(case)
    moments = found.outputs(case.X_new, 10 * case.within)
    variance = lambda m: m.covariance.diagonal(axis1=-2, axis2=-1)
    return {
        "log_evidence": found.log_evidence,
        "output_mean": Integral(moments.value.mean, moments.error.mean),
        "output_variance": Integral(variance(moments.value), variance(moments.error)),
    }, found.record
