"""What every public function refuses, and by which name: `python -m tests.refusals` writes the record, tests/refusals.json.

The calls are those of tests/test_shapes.py and of `more_calls`, one of each function and constructor. Each argument in turn is
made wrong: a word in its place; for an array NaN in every entry, the other sign, an entry fewer or axes too many; for a number a
negative one, or an array. A refusal is an error that says "NAME: expected ..., got ..."; the record has what stands before "got".
An argument that may be so, or that is used where nothing checks, has no entry.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import json
import pkgutil
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

import refbnn
from refbnn import Mlp, Posterior, activations, budget, cubature, likelihoods, priors, samplers, symmetry
from refbnn.budget import problems
from refbnn.precision import Diagonal
from tests.shape_checker import public_callables, re_exports

STORED = Path(__file__).with_name("refusals.json")
MUTANT = "__mutmut_"  # the tool behind tests/mutation leaves its mutants, thousands, beside each function
REFUSAL = re.compile(r"(.{1,60}?): (expected .*), got ", re.DOTALL)

NOT_THERE = tuple(f"refbnn.{name}" for name in (
    "conform", "__main__", "cli", "budget.command", "budget.figure", "testing",
    "shapes", "linalg"))  # the last two say the name that they are given
PAIRS = ("Heteroscedastic", "HeteroscedasticGamma", "HeteroscedasticNatural", "HeteroscedasticNegativeBinomial",
         "HeteroscedasticPrecision")
LIKELIHOODS = [  # name, its arguments, targets
    ("NormalFull", (0.3 * np.eye(2),), [[0.1, 0.2], [0.3, 0.4]]), ("BernoulliProbit", (), [[0.0], [1.0]]),
    ("BernoulliCloglog", (), [[0.0], [1.0]]), ("Gamma", (2.0,), [[0.5], [1.5]]), ("NegativeBinomial", (2.0,), [[0.0], [3.0]]),
    ("Ordinal", (np.array([-0.5, 0.5]),), [[0.0], [2.0]]), ("PoissonSoftplus", (), [[0.0], [3.0]]),
    ("PoissonSquare", (), [[0.0], [3.0]]), ("StudentT", (0.5, 4.0), [[0.5], [1.5]]),
    ("HeteroscedasticStudentT", (4.0,), [[0.5], [1.5]]), ("HeteroscedasticFull", (), [[0.5], [1.5]]),
    *((name, (), [[1.0], [2.0]]) for name in PAIRS),
]
OUTPUTS = {"NormalFull": 2, "HeteroscedasticStudentT": 2, "HeteroscedasticFull": 2, **dict.fromkeys(PAIRS, 2)}


def table() -> dict[str, dict[str, dict[str, str]]]:
    """By function, by argument, by what is wrong with it: the refusal."""
    from tests.test_shapes import call_everything

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a warning that a test run makes an error would pass for a refusal's absence
        with first_calls(modules()) as calls:
            call_everything()
            more_calls()
        found = {name: refusals(function, bound) for name, (function, bound) in sorted(calls.items())}
    return {name: arguments for name, arguments in found.items() if arguments}


def modules() -> list:
    """All but those that are NOT_THERE."""
    names = [found.name for found in pkgutil.walk_packages(refbnn.__path__, "refbnn.")]
    return [importlib.import_module(name) for name in names if not name.startswith(NOT_THERE)]


def more_calls() -> None:
    """What tests/test_shapes.py does not call: other likelihoods and priors, samplers, rules of cubature, parts of the budget."""
    rng = np.random.default_rng(3)
    for name, values, y in LIKELIHOODS:
        made = getattr(likelihoods, name)(*values)
        made.check_targets(np.array(y), len(y), OUTPUTS.get(name, 1))
    net = Mlp((1, 2, 1), activations.tanh)
    X, y = rng.normal(size=(5, 1)), rng.normal(size=(5, 1))
    post = Posterior(net, likelihoods.Normal(4.0), priors.isotropic(net.num_params, 1.3), X, y)
    theta, metric = 0.1 * rng.normal(size=(4, net.num_params)), Diagonal(np.ones(net.num_params))
    group = symmetry.of_network(net)
    for kernel in (samplers.Hmc(0.1, 2, metric), samplers.Nuts(0.1, metric), samplers.EllipticalSlice(),
                   samplers.WithMoves(samplers.EllipticalSlice(), samplers.hidden_units(group))):
        samplers.run(kernel, post, theta, 2, 7)
        kernel.step(post, kernel.init(post, theta), samplers.Streams.spawn(7, len(theta)))
    samplers.smc.by_effective_size(0.5)
    samplers.smc.given(np.array([0.3, 1.0]))
    target = cubature.collapse(post)
    for rule in (cubature.units(target, 1e-2), cubature.sobol(target, 128, 8, rng, 10.0)):
        rule.outputs(X, 10.0)
        rule.density(X, y, 10.0)
    places = budget.around(X)
    budget.Places(places.inside, places.outside)
    problems.problem({"a": X[:, 0], "b": y[:, 0]}, ["a"], "b", "normal", 0.1, 1.0, "tanh")


@contextmanager
def first_calls(modules) -> Iterator[dict[str, tuple[Callable, inspect.BoundArguments]]]:
    """The first call of every public function, method and constructor of a value, as it comes."""
    calls, undo = {}, []

    def record(owner, attribute, function, name):
        signature = inspect.signature(function)

        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            calls.setdefault(name, (function, signature.bind(*args, **kwargs)))
            return function(*args, **kwargs)

        undo.append((owner, attribute, function))
        setattr(owner, attribute, wrapper)

    for module in modules:
        for holder, attribute, function in list(public_callables(module)):
            if not getattr(function, "__isabstractmethod__", False) and MUTANT not in attribute:
                for owner, known_as in [(holder, attribute), *re_exports(function, modules)]:
                    record(owner, known_as, function, f"{module.__name__}.{function.__qualname__}")
        for name, value in list(vars(module).items()):
            own = inspect.isclass(value) and value.__module__ == module.__name__ and not name.startswith("_")
            if own and dataclasses.is_dataclass(value):
                record(value, "__init__", value.__init__, f"{module.__name__}.{name}")
    try:
        yield calls
    finally:
        for owner, attribute, function in reversed(undo):
            setattr(owner, attribute, function)


def refusals(function: Callable, bound: inspect.BoundArguments) -> dict[str, dict[str, str]]:
    """By argument, by what is wrong with it: the refusal."""
    found = {}
    for parameter, value in bound.arguments.items():
        if parameter != "self" and not inspect.isroutine(value):
            names = {kind: refused_as(function, bound, parameter, wrong) for kind, wrong in wrongs(value)}
            found[parameter] = {kind: name for kind, name in names.items() if name}
    return {parameter: names for parameter, names in found.items() if names}


def wrongs(value) -> Iterator[tuple[str, object]]:
    """What an argument is replaced by."""
    yield "word", "wrong"
    if isinstance(value, np.ndarray):
        yield "nan", np.full(value.shape, np.nan)
        yield "axes", np.ones((1,) * 7 + value.shape + (2,))
        if value.dtype.kind == "f":
            yield "minus", -value
        yield "fewer", value[:-1] if value.ndim else np.ones(0)
    elif isinstance(value, (float, int)) and not isinstance(value, bool):
        yield "negative", -1
        yield "array", np.ones((1, 1))


def refused_as(function: Callable, bound: inspect.BoundArguments, parameter: str, wrong: object) -> str | None:
    """What stands in the refusal before "got"; None where it is no refusal."""
    call = inspect.BoundArguments(bound.signature, {**bound.arguments, parameter: wrong})
    args = list(call.args)
    if function.__name__ == "__init__":
        args[0] = object.__new__(type(args[0]))
    try:
        result = function(*args, **call.kwargs)
        if inspect.isgenerator(result):
            list(result)
    except Exception as error:  # whatever an unchecked argument leads to is not asked here
        refusal = REFUSAL.match(str(error))
        return refusal and f"{refusal[1]}: {refusal[2]}"
    return None


def stored() -> dict[str, dict[str, dict[str, str]]]:
    return json.loads(STORED.read_text(encoding="utf-8"))


def write(found: dict[str, dict[str, dict[str, str]]]) -> None:
    """A line for each function."""
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(found[name], ensure_ascii=False)}" for name in sorted(found))
    STORED.write_text("{\n" + lines + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    write(table())
