"""Posteriors of small networks to many digits, multimodal as they are: every number with a record and an error estimate.

    target = cubature.collapse(posterior)              # Gaussian noise: the output layer integrates out in closed form
    found = cubature.units(target, within=1e-9)        # one hidden layer: its units on one grid, pair by pair
    found = cubature.layered(posterior, within=1e-9)   # any likelihood, at most three output weights
    found = cubature.product(posterior, within=1e-9)   # any network, Linearised too, at most four parameters
    found = cubature.sobol(target, 2**14, 16, rng, 1e-3)   # more weights: randomised, with a standard error
    found.log_evidence.value, found.log_evidence.error, print(found.record)
    found.targets(X_new, within=1e-8)                  # outputs, parameters, density, distribution, quantiles
"""

from refbnn.cubature.answers import Moments
from refbnn.cubature.collapsed import Collapsed
from refbnn.cubature.collapsing import collapse, collapse_noise
from refbnn.cubature.layered_grid import layered
from refbnn.cubature.noise import InverseGammaNoise
from refbnn.cubature.product_grid import product
from refbnn.cubature.record import NotConverged, Record
from refbnn.cubature.replicates import sobol
from refbnn.cubature.unit_grid import units
from refbnn.cubature.weights import AllWeights, Around

__all__ = [
    "AllWeights", "Around", "Collapsed", "InverseGammaNoise", "Moments", "NotConverged", "Record", "collapse", "collapse_noise",
    "layered", "product", "sobol", "units",
]
