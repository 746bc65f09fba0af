"""Gaussian processes: what a network affine in θ, such as Linearised, says about functions, with no matrix over parameters.

A process is any object with num_outputs, mean, kernel and covariance. `GaussianProcess(net, gaussian)` is one, for any Gaussian
over θ: prior and posterior alike. `condition(process, X, sites)` is another, whose kernels are over data; it can be conditioned
again.

`expand` turns a likelihood into sites, its expansion to second order at given outputs. With those, one step does everything:
regression (the expansion of a Normal is exact, wherever it is made), Laplace for log-concave likelihoods (`laplace` finds the
mode, expands there), and the linear model of a network that is not at a mode (expand at its own outputs).

Predictions from a process: `predict.Moments(process.mean(X), process.covariance(X))`, jointly over inputs
`predict.Joint.from_covariance(process.mean(X), process.kernel(X, X))`.
"""

from refbnn.gp.conditioned import Conditioned, condition
from refbnn.gp.gradients import laplace_log_precision_gradient, log_precision_gradient, log_variance_gradient
from refbnn.gp.left_out import LeftOut, leave_one_out, prequential
from refbnn.gp.multiclass import log_det_one_plus_kernel_curvature
from refbnn.gp.newton import Laplace, laplace
from refbnn.gp.process import GaussianProcess
from refbnn.gp.sites import Sites, expand
from refbnn.gp.weights import draws, mean_weights

__all__ = [
    "Conditioned", "GaussianProcess", "Laplace", "LeftOut", "Sites", "condition", "draws", "expand", "laplace",
    "laplace_log_precision_gradient", "leave_one_out", "log_det_one_plus_kernel_curvature", "log_precision_gradient",
    "log_variance_gradient", "mean_weights", "prequential",
]
