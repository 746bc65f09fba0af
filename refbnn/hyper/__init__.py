"""The Laplace evidence as a function of hyper-parameters, its gradients, and what is done with them.

    family = hyper.Family(net, hyper.NoiseVariance(), hyper.per_layer(net.layer_sizes), X, y)
    found = hyper.maximize(family, hyper.ggn, np.zeros(family.num_hyper), start)
    found.point.posterior, found.point.q

η is one vector of logarithms (h): prior precisions, then those of the likelihood. `family.at(eta)` is an ordinary Posterior, and
`family.linearised(theta)` the family of the linear model, whose evidence at its own mode is another function of η. The curvature
is `hessian` or `ggn`, `layer_blocks` or the `diagonal` of either, or `kfac`.
`Hierarchical` puts Gamma priors on precisions instead and has them sampled with the weights.
"""

from refbnn.hyper.alternating import Online, online
from refbnn.hyper.curvatures import Curvature, diagonal, ggn, hessian, kfac, layer_blocks
from refbnn.hyper.family import Family
from refbnn.hyper.fixed_points import FixedPoint, em, iterate, mackay
from refbnn.hyper.gamma import Gamma
from refbnn.hyper.gibbs import Gibbs
from refbnn.hyper.hierarchical import Hierarchical, Hyperprior, WeightsGiven
from refbnn.hyper.likelihoods import Fixed, NoiseVariance, Temperature
from refbnn.hyper.marginal import Marginal, marginalise
from refbnn.hyper.maximum import Maximum, maximize
from refbnn.hyper.noise import Known, UnknownNoise
from refbnn.hyper.point import Evidence, at
from refbnn.hyper.precisions import Precisions, one, per_layer, per_parameter

__all__ = [
    "Curvature", "Evidence", "Family", "Fixed", "FixedPoint", "Gamma", "Gibbs", "Hierarchical", "Hyperprior", "Known",
    "Marginal", "Maximum", "NoiseVariance", "Online", "Precisions", "Temperature", "UnknownNoise", "WeightsGiven", "at",
    "diagonal", "em", "ggn", "hessian", "iterate", "kfac", "layer_blocks", "mackay", "marginalise", "maximize", "one", "online",
    "per_layer", "per_parameter",
]
