"""What a wrong answer may be: every theory that the diagnosis tries, as data.

A `Reading` undoes something that may have been done to the answer (another parameter order, a transpose). A `Theory` then says
which combination of certified matrices the answer should be: its `basis`, whose coefficients the diagnosis fits and names.
Adding a theory is one row. Everything here is in the package's parameter order and in the declared conventions; answers of kind
"root" and "samples" are read through the covariance that they imply.
"""

from __future__ import annotations

from typing import Callable, Mapping

from ..quantities import Quantity
from .curvature import LEADING, curvature_plus_prior, empirical, hessian_parts, leading, prior_in_loss, sides
from .facts import Facts
from .general import conventions_theories, other_quantities, parts
from .predictive import glm_variance, means, monte_carlo
from .readings import declared_order, in_package_order, readings
from .scalars import BOUNDS, DIVERGENCES, SLOPES as EVIDENCE_SLOPES, additive, log_det_variants
from .theory import (
    COVARIANCES, LOSS_DIAGONALS, LOSS_MATRICES, LOSS_PRODUCTS, PRECISIONS, Basis, Reading, Theory, value_of,
)
from .variational import CORRELATED, SLOPES, best_covariance, best_variances, slopes, wrong_side
from .volumes import EVIDENCES, LOG_DETS

__all__ = ["Basis", "Facts", "Reading", "Theory", "declared_order", "in_package_order", "readings", "theories"]


def theories(quantity: Quantity, conventions: Mapping[str, str]) -> list[Theory]:
    """Every theory for one quantity."""
    found = [Theory("", "itself", 0, "", "", value_of(quantity.name), (quantity.name,),
                    predictive=quantity.name.startswith("predictive"))]
    found += conventions_theories(quantity, conventions) + other_quantities(quantity)
    for names, build in _FAMILIES:
        if quantity.name in names:
            found += build(quantity)
    if quantity.kind != "scalar":
        found += parts(quantity)
    return found


_FAMILIES: tuple[tuple[tuple[str, ...], Callable[[Quantity], list[Theory]]], ...] = (
    (("gradient", *LOSS_MATRICES, *LOSS_DIAGONALS, *LOSS_PRODUCTS), prior_in_loss),
    ((*PRECISIONS, *COVARIANCES), curvature_plus_prior),
    (("laplace.scale", "laplace.sample"), sides),
    (("fisher.empirical",), empirical),
    (("hessian.full", "hessian.diag", "hessian.blockdiag"), hessian_parts),
    (("forward", "predictive.glm.mean"), means),
    (("predictive.mc",), monte_carlo),
    (("predictive.glm.variance",), glm_variance),
    (("loss", "log_joint", *LOG_DETS, *EVIDENCES, *BOUNDS, *DIVERGENCES, *EVIDENCE_SLOPES), additive),
    (LEADING, leading),
    (SLOPES, slopes),
    (CORRELATED, wrong_side),
    (("vi.optimum.covariance",), best_covariance),
    (("vi.optimum.meanfield.variance",), best_variances),
    ((*LOG_DETS, *EVIDENCES), log_det_variants),
)
