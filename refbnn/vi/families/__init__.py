"""Families of Gaussians q, a file each. A member is named by a vector φ of unconstrained numbers.

A family has num_params, num_free, gaussian(φ), free(q), pull_back (the gradient in φ, by hand) and along (what vanishes at an
optimum because the family is closed under a flow). Those whose precisions have free entries, all but LowRank and MatrixNormal,
have `natural` too, and with it the natural gradient. KL, entropy and draws are those of the Gaussian.
"""

from refbnn.vi.families.full import Full
from refbnn.vi.families.independent import Independent, kronecker, per_layer
from refbnn.vi.families.low_rank import LowRank
from refbnn.vi.families.matrix_normal import MatrixNormal
from refbnn.vi.families.mean_field import MeanField

__all__ = ["Full", "Independent", "LowRank", "MatrixNormal", "MeanField", "kronecker", "per_layer"]
