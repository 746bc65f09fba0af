"""Likelihoods p(y|f) of the network output f, one file each.

Any object with these methods is a likelihood: log_prob, residual (r), curvature (Λ), factor (S Sᵀ = Λ), third (T), fisher, mean,
covariance, sample and check_targets. Derivatives are those of the loss ℓ = −log p(y|f), constants included.
"""

from refbnn.likelihoods.bernoulli import Bernoulli
from refbnn.likelihoods.categorical import Categorical
from refbnn.likelihoods.normal import Normal
from refbnn.likelihoods.poisson import Poisson

__all__ = ["Bernoulli", "Categorical", "Normal", "Poisson"]
