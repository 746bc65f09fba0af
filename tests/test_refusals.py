"""Every argument that is refused is refused by its name, and no door that was there is gone."""

from __future__ import annotations

import inspect

import numpy as np

from refbnn.shapes import as_array, as_positive
from tests import refusals

KNOWN_AS = {  # what an argument is called by the function that it is handed on to, where the refusal comes from there
    "J": {"jacobian"}, "M": {"output matrices"}, "factor": {"output matrices"}, "T": {"v"}, "X_new": {"X"}, "X_other": {"X"},
    "y_new": {"y"}, "labels": {"y"}, "bad": {"factor"}, "batch": {"parameters"}, "curvature": {"v"}, "law": {"v"},
    "scale_gradient": {"v"}, "draws": {"theta"}, "forward": {"log_weights"}, "log_mass": {"log_masses"}, "matrix": {"precision"},
    "mean": {"g", "rule", "y"}, "net": {"net, or for Linearised(net, at) its net"}, "num_outputs": {"Categorical"},
    "precision": {"prior precision"}, "precisions": {"precision", "prior precision"}, "theta": {"mean", "zeta", "mackay"},
    "variances": {"mackay"}, "thetas": {"start"}, "v": {"u", "z"}, "z": {"v"}, "value": {"scale"}, "values": {"precision"},
    "num_data": {"y"},
}


def misnamed(table) -> list[tuple[str, str, str]]:
    """(function, argument, name) of refusals by a name that is neither an argument's nor what it is called below."""
    return [(function, parameter, name) for function, arguments in table.items() for parameter, names in arguments.items()
            for name in names.values() if name not in {*arguments, *KNOWN_AS.get(parameter, ())}]


def test_every_refusal_is_by_name_and_what_was_refused_is_refused():
    """After a change that is meant: python -m tests.refusals."""
    found, stored = refusals.table(), refusals.stored()
    assert misnamed(found) == []
    assert sorted(found) == sorted(stored)
    assert [(name, found[name], stored[name]) for name in found if found[name] != stored[name]] == []


def test_every_name_that_is_known_below_is_used():
    used = {(parameter, name) for arguments in refusals.stored().values()
            for parameter, names in arguments.items() for name in names.values()}
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


def test_the_record_says_what_is_refused_and_as_what():
    assert of(scaled) == {"x": {"word": "x", "nan": "x", "axes": "x"},
                          "scale": {"word": "scale", "negative": "scale", "array": "scale"}}


def test_a_wrong_name_is_caught():
    assert misnamed({"scaled": of(scaled)}) == []
    assert misnamed({"misnaming": of(misnaming)}) == [("misnaming", "x", "X")] * 3


def test_a_door_that_is_gone_is_caught():
    assert of(open_door) == {"x": of(scaled)["x"]}
