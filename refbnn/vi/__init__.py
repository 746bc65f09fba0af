"""Gaussian variational inference: the bound, families of Gaussians, how expectations are taken, and solvers.

    how = vi.OverParameters(quadrature.gauss_hermite(p, 9))                  # or OverOutputs(rule), ClosedForm()
    bound = vi.elbo(post, q, how)                                            # .value .error .mean_gradient .energy_hessian
    best = vi.quasi_newton(post, vi.families.Full(p), how, start=laplace_q)  # .q .elbo .virial_residual .converged

Three nouns are independent of each other. A *family* names Gaussians by vectors. *How* an expectation is taken is an object
that holds its rule, so that every number comes with an error estimate and no solver knows about points. A *solver* takes
posterior, family, how and a start; it returns an Optimum, which proves itself by residuals that do not depend on the solver. A
rule alone would not do as argument: the same points can stand for parameters or for the outputs of a linear model, and a closed
form has none.

`natural_gradient` works with second derivatives, true (`hessian`) or Gauss-Newton (`ggn`), `quasi_newton` with first derivatives
of any family, `fixed_point` over the functions of a linear model. VI on Linearised(net, at) needs nothing of its own.
"""

from refbnn.vi import estimators, families
from refbnn.vi.bounds import eubo, iwae, log_weights
from refbnn.vi.diagnosis import Units, conservation, mean_field_gap, rescaling, units
from refbnn.vi.expectations import ClosedForm, OverOutputs, OverParameters
from refbnn.vi.opper_archambeau import fixed_point
from refbnn.vi.natural import ggn, hessian, natural_gradient
from refbnn.vi.objective import Elbo, elbo
from refbnn.vi.optimum import Optimum, multi_start
from refbnn.vi.bfgs import gradient, quasi_newton

__all__ = [
    "ClosedForm", "Elbo", "Optimum", "OverOutputs", "OverParameters", "Units", "conservation", "elbo", "estimators", "eubo",
    "families", "fixed_point", "ggn", "gradient", "hessian", "iwae", "log_weights", "mean_field_gap", "multi_start",
    "natural_gradient", "quasi_newton", "rescaling", "units",
]
