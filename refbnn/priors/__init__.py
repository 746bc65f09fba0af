"""Priors over θ: Gaussian ones (one precision, one a layer, one a parameter, a full matrix) and heavy-tailed ones, a file each.

Any object with num_params, log_prob, gradient and negative_hessian is a prior for Posterior; those here also have
`sample(rng, shape)`. A draw of a function from the prior predictive is `f = net.forward(prior.sample(rng, shape), X)`, one of
data `likelihood.sample(f, rng)`; a Gaussian has `from_normals(z)` too, for given standard normals.
"""

from refbnn.priors.gaussian import full, isotropic, per_layer, per_parameter
from refbnn.priors.horseshoe import RegularisedHorseshoe
from refbnn.priors.independent import NoDerivative
from refbnn.priors.laplace import Laplace
from refbnn.priors.student_t import StudentT

__all__ = ["Laplace", "NoDerivative", "RegularisedHorseshoe", "StudentT", "full", "isotropic", "per_layer", "per_parameter"]
