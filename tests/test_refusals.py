"""Every argument that is refused is refused by its name, and no door that was there is gone."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from refbnn.shapes import as_array, as_positive
from tests import refusals

KNOWN_AS = {  # what an argument is called by the function that it is handed on to, where the refusal comes from there
    "G": {"v"}, "J": {"jacobian", "output matrices"}, "M": {"output matrices"}, "factor": {"output matrices"},
    "T": {"v"}, "X": {"inside"}, "X_new": {"X", "y"}, "X_other": {"X"},
    "y_new": {"y"}, "labels": {"y"}, "bad": {"factor"}, "batch": {"parameters"}, "curvature": {"v"}, "law": {"v"},
    "scale_gradient": {"v"}, "draws": {"theta"}, "log_mass": {"log_masses"}, "matrix": {"precision"},
    "mean": {"g", "rule", "y"}, "near_a": {"v"}, "near_b": {"v"}, "net": {"net, or for Linearised(net, at) its net"},
    "noise_variance": {"noise variance"}, "num_data": {"y"},
    "num_outputs": {"Categorical", "HeteroscedasticFull", "HeteroscedasticGamma", "HeteroscedasticNegativeBinomial",
                    "HeteroscedasticStudentT", "NormalFull"},
    "precision": {"prior precision"}, "precisions": {"precision", "prior precision"}, "start": {"theta"},
    "step_size": {"theta", "v"}, "theta": {"mean", "zeta", "mackay", "precision"}, "total_a": {"v"}, "total_b": {"v"},
    "variances": {"mackay"}, "thetas": {"start"}, "v": {"u", "z"}, "z": {"v"}, "value": {"scale"}, "values": {"precision"},
}


def called(refusal: str) -> str:
    """The name that a refusal begins with."""
    return refusal.partition(": expected ")[0]


def misnamed(table) -> list[tuple[str, str, str]]:
    """(function, argument, name) of refusals by a name that is neither an argument's nor what it is called below."""
    return [(function, parameter, name) for function, arguments in table.items() for parameter, names in arguments.items()
            for name in map(called, names.values())
            if name not in KNOWN_AS.get(parameter, ()) and not {*name.split(", ")} <= {*arguments}]


@pytest.mark.skipif(not hasattr(np.random.Generator, "spawn"), reason="random numbers of this NumPy do not spawn: other calls")
def test_every_refusal_is_by_name_and_what_was_refused_is_refused():
    """After a change that is meant: python -m tests.refusals."""
    found, stored = refusals.table(), refusals.stored()
    assert misnamed(found) == []
    assert sorted(found) == sorted(stored)
    assert [(name, found[name], stored[name]) for name in found if found[name] != stored[name]] == []


def test_every_name_that_is_known_below_is_used():
    used = {(parameter, called(refusal)) for arguments in refusals.stored().values()
            for parameter, found in arguments.items() for refusal in found.values()}
    assert {(parameter, name) for parameter, names in KNOWN_AS.items() for name in names} <= used


# -- planted faults ---------------------------------------------------------------------------------------------------------

def scaled(x, scale):
    return as_array("x", x, "n p") / as_positive("scale", scale)


def misnaming(x, scale):
    return as_array("X", x, "n p") / as_positive("scale", scale)


def open_door(x, scale):
    return as_array("x", x, "n p") / scale


def of(function):
    return refusals.refusals(function, inspect.signature(function).bind(np.ones((2, 3)), 0.5))


def test_the_record_says_what_is_refused_and_in_which_words():
    shape, numbers = "x: expected shape (n, p)", "expected real numbers"
    assert of(scaled) == {
        "x": {"word": f"x: {numbers}", "nan": "x: expected finite numbers", "axes": shape},
        "scale": {"word": f"scale: {numbers}", "negative": "scale: expected a positive number",
                  "array": "scale: expected shape ()"}}


def test_a_wrong_name_is_caught():
    assert misnamed({"scaled": of(scaled)}) == []
    assert misnamed({"misnaming": of(misnaming)}) == [("misnaming", "x", "X")] * 3


def test_a_door_that_is_gone_is_caught():
    assert of(open_door) == {"x": of(scaled)["x"]}
