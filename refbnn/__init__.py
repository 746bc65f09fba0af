"""Reference implementation of approximate Bayesian neural networks.

Language      shapes, linalg, progress, files
Objects       activations, networks, likelihoods; precision, blocks, gaussian, priors; curvature, quadrature, scores, diagnostics
Model         loss, linearised, subnetwork, posterior; kronecker, low_rank, duals, symmetry, third, fourth
Inference     optimize, laplace, expansion, mixture, vi, samplers, cubature
Use           gp, predict, hyper, evidence, audit; budget: what approximate inference costs
Main job      conform: certified cases that any implementation can be checked against
Doors         testing (checks for your own code), cli (`refbnn conform ADAPTER`)

Imports point down this list only.
"""

from refbnn import activations, curvature, laplace, likelihoods, optimize, predict, priors, vi
from refbnn.gaussian import Gaussian
from refbnn.linearised import Linearised
from refbnn.loss import Loss
from refbnn.networks.mlp import Mlp
from refbnn.posterior import Posterior

__version__ = "0.1.0"

__all__ = [
    "Gaussian", "Linearised", "Loss", "Mlp", "Posterior",
    "activations", "curvature", "laplace", "likelihoods", "optimize", "predict", "priors", "vi",
]
