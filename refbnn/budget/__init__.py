"""How a Bayesian network fails, in numbers: what each step away from its exact posterior costs.

    found = budget.compute(posterior, budget.around(X), rng)    # a Budget: .steps, .predictions, .evidence, .inputs
    print(found.steps.text())

exact posterior of the network -> exact posterior of the network linearised at its mode (model change) -> Laplace or variational
inference in that model (inference error) -> approximate integral over the link (integration error); beside it the same Gaussians
put into the network, variational inference on the network itself, and the floor of all Gaussians for f. Every number comes with
its own error estimate. `truth` refuses networks that are too large for an exact posterior.
"""

from refbnn.budget.budgeting import Budget, compute
from refbnn.budget.places import Places, around
from refbnn.budget.table import Table
from refbnn.budget.truth import TooLarge

__all__ = ["Budget", "Places", "Table", "TooLarge", "around", "compute"]
