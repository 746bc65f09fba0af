"""Predictions under a distribution over θ: of the function f, and of the targets y.

functions  the law of f(x) in a model that is affine in θ: input by input (`Moments`) or jointly over inputs (`Joint`)
targets    mean and covariance of y, split into an aleatoric and an epistemic part: by draws, by quadrature, in closed form
binary     P(y = 1) for a Gaussian f: by quadrature, by the probit approximation, exact for the probit link
classes    class probabilities for a Gaussian f: by quadrature over contrasts, extended probit, mean field
bridge     Dirichlet distributions for Gaussian logits, and back (the Laplace bridge)
entropy    the entropy of a predicted label, split into its parts
"""

from refbnn.predict import binary, bridge, classes, entropy, targets
from refbnn.predict.functions import Joint, Moments, joint, moments
from refbnn.predict.targets import TargetMoments, monte_carlo, unbiased_monte_carlo, with_noise

__all__ = [
    "Joint", "Moments", "TargetMoments", "binary", "bridge", "classes", "entropy", "joint", "moments", "monte_carlo", "targets",
    "unbiased_monte_carlo", "with_noise",
]
