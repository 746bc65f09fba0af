"""Third derivatives of the loss: jets and gradients of traces (identities C19 to C21)."""

from __future__ import annotations

import numpy as np
import pytest

from refbnn import Linearised, Loss, third
from refbnn.testing import taylor_order
from tests import oracles
from tests.judge import agree, condition, norm_or_one
from tests.zoo import CANONICAL, HOMOGENEOUS, SMOOTH, Spec, law, statement

ANALYTIC = tuple(name for name in SMOOTH if name not in ("gelu",))


def rows_for(case, count=3):
    """Directions v_t as rows: (t p)."""
    return np.random.default_rng([case.spec.seed, 9]).normal(size=(count, case.net.num_params))


def derivative_along_basis(function, theta, step):
    """∂function/∂θ_i by central differences of order 6, for scalar functions: error O(step⁶) and u/step."""
    weights = {1: 3 / 4, 2: -3 / 20, 3: 1 / 60}
    gradient = []
    for e in np.eye(len(theta)):
        gradient.append(sum(w * (function(theta + m * step * e) - function(theta - m * step * e)) for m, w in weights.items()))
    return np.array(gradient) / step
