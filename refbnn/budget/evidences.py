"""What each approximation says of the evidence, beside the exact value: with and without the copies that symmetries make."""

from __future__ import annotations

import math

from refbnn import laplace, mixture, vi
from refbnn.budget.gaussians import at_mode
from refbnn.budget.table import Table
from refbnn.budget.treatments import EXACT, GGN, HESSIAN, LINEAR, NETWORK, Prepared
from refbnn.quadrature import ROUND_OFF, Integral

ONE, GROUP, COPIES, ALL = "one mode", "times the group", "times its copies", "all modes found"
FACTORS = (ONE, GROUP, COPIES, ALL)
Key = tuple[str, str, str]  # model, inference, factor


def values(made: Prepared) -> dict[Key, Integral]:
    """Log evidences in nats, Eq. (evidence-of-copies); the exact one first.

    Of one mode alone; times the order of the group, 2^H H! for an odd activation; times the number of its copies by
    orbit-stabiliser; for Laplace also the sum over all modes found, each times its own. A variational bound times copies is no
    bound.
    """
    found = {(NETWORK, EXACT, factor): made.truth.log_evidence for factor in FACTORS}
    counts = {ONE: 0.0, GROUP: math.log(made.modes.order), COPIES: math.log(made.modes.copies[0])}
    for (model, inference), value in _of_one_mode(made).items():
        found |= {(model, inference, name): Integral(value.value + count, value.error) for name, count in counts.items()}
    for model, inference, curvature in ((LINEAR, GGN, made.posterior.loss.ggn), (NETWORK, HESSIAN, made.posterior.loss.hessian)):
        found[model, inference, ALL] = _of_all_modes(made, curvature)
    return found


def table(made: Prepared) -> Table:
    """All of them less the exact one."""
    found, exact = values(made), made.truth.log_evidence
    less = lambda value: Integral(value.value - exact.value, value.error + exact.error)
    rows = tuple((*key, *(less(found[(*key, factor)]) if (*key, factor) in found else "" for factor in FACTORS))
                 for key in dict.fromkeys(key[:2] for key in found) if key != (NETWORK, EXACT))
    return Table("log evidence less the exact one, nats", 2, ("model", "inference", *FACTORS), rows)


def _of_one_mode(made: Prepared) -> dict[tuple[str, str], Integral]:
    log_joint = made.modes.best.log_prob
    found = {
        (LINEAR, EXACT): made.linear_truth.log_evidence,
        (LINEAR, GGN): _rounded(laplace.log_evidence(log_joint, made.laplace[GGN])),
        (NETWORK, HESSIAN): _rounded(laplace.log_evidence(log_joint, made.laplace[HESSIAN])),
    }
    for (model, inference), optimum in made.optima.items():
        bound = optimum.elbo if model == LINEAR else optimum.held_out(vi.OverParameters(made.rule))
        found[model, inference] = Integral(bound.value, bound.error)
    return found


def _of_all_modes(made: Prepared, curvature) -> Integral:
    each = [laplace.log_evidence(mode.log_prob, at_mode(made.posterior, mode.theta, curvature(mode.theta)))
            for mode in made.modes.found]
    return _rounded(mixture.log_evidence(each, made.modes.copies))


def _rounded(value: float) -> Integral:
    return Integral(value, ROUND_OFF * (1 + abs(value)))
