"""BackPACK: the current release with both reductions and both default dtypes of torch, three older ones."""
from __future__ import annotations

from refbnn.conform.case import Case

from .peer import RIGHT, Peer, Rule, anything, likelihood, named
from .torch import SPECIAL_FUNCTIONS

DOUBLE = {"REFBNN_TORCH_DEFAULT_DTYPE": "float64"}
OF_ANY_LOSS = ("forward", "loss", "gradient", "ggn.vp", "ggn.lastlayer", "hessian.hvp", "fisher.empirical",
               "fisher.empirical.diag")
SINCE_1_2 = ("ggn.full", "ggn.blockdiag", "hessian.blockdiag", "fisher.diag", "fisher.mc", "fisher.mc.diag", "fisher.mc.kfac")
SMOOTH = ("relu", "sigmoid", "tanh")
# Which activations the extension behind a quantity knows.
KNOWS = {"ggn.full": (*SMOOTH, "leaky_relu", "identity"), "ggn.diag": (*SMOOTH, "leaky_relu", "identity"),
         "fisher.diag": (*SMOOTH, "leaky_relu", "identity"), "fisher.mc": (*SMOOTH, "leaky_relu", "identity"),
         "fisher.mc.diag": (*SMOOTH, "leaky_relu", "identity"), "hessian.diag": (*SMOOTH, "leaky_relu"),
         "ggn.kfac": (*SMOOTH, "identity"), "ggn.kfra": SMOOTH, "fisher.kfac": (*SMOOTH, "identity"),
         "fisher.mc.kfac": (*SMOOTH, "identity"), "ggn.blockdiag": SMOOTH, "hessian.blockdiag": SMOOTH}
SECOND = ("ggn.diag", "ggn.kfac", "hessian.diag", "fisher.kfac")
WITHOUT_LOGISTIC_LOSS = ("ggn.kfra", "ggn.blockdiag", "hessian.blockdiag")


def several_outputs(case: Case) -> bool:
    """Regression with C > 1."""
    return case.problem.likelihood == "normal" and case.problem.num_outputs > 1


def raises_before_it_refuses(run: str, case: Case, quantity: str) -> bool:
    """The dtype of the loss is met before the activation: by KFRA, in 1.1.1 by the other extensions too."""
    if quantity == "ggn.kfra":
        return several_outputs(case) and "float64" not in run
    return run == "1.1.1" and case.problem.likelihood == "normal"


def refuses(run: str, case: Case, quantity: str) -> bool:
    """Second derivatives of other losses, of several logistic outputs, of activations without an extension; what came later."""
    if quantity in OF_ANY_LOSS:
        return False
    older, problem = not run.startswith("1.7.1"), case.problem
    if older and quantity in SINCE_1_2 or problem.likelihood not in ("normal", "categorical", "bernoulli"):
        return True
    if problem.likelihood == "bernoulli" and (older or problem.num_outputs > 1 or quantity in WITHOUT_LOGISTIC_LOSS):
        return True
    known = SMOOTH if older else KNOWS[quantity]
    hidden = len(problem.sizes) > 2
    return hidden and problem.activation not in known and not raises_before_it_refuses(run, case, quantity)


PEER = Peer(
    "backpack", "1.7.1",
    {"1.7.1": {}, "1.7.1 sum": {"REFBNN_BACKPACK_REDUCTION": "sum"}, "1.7.1 float64": DOUBLE, "1.1.1": {}, "1.1.0": {},
     "1.1.0 float64": DOUBLE, "1.0.1": {}}, tuple(dict.fromkeys((*OF_ANY_LOSS, *KNOWS))), (
        Rule(("1.7.1", "1.7.1 sum", "1.1.1", "1.1.0", "1.0.1"), several_outputs, ("ggn.kfra",), {"ERROR"},
             "kfra_of_double_model"),
        Rule(("1.1.0*", "1.0.1"), several_outputs, (*SECOND, "ggn.kfra"), {"MISMATCH"}, "mean_of_squared_errors"),
        Rule(("1.1.1",), named("one-parameter"), SECOND, {"LOSSY"}, "squared_error_of_double_model"),
        Rule(("1.1.1",), likelihood("normal"), SECOND, {"ERROR"}, "squared_error_of_double_model"),
        *SPECIAL_FUNCTIONS,
        Rule(("*",), anything, ("*",), RIGHT)), refuses)
