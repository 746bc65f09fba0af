"""The reader of certified cases. It proves what it reads: every array by its SHA-256, every key, shape and range by name.

    case = read("tanh-normal-2-5-3")
    case.problem                        what an adapter gets
    case.values["ggn.full"].value       the certified matrix, unpacked

The format is described in cases/README.md and cases/schema.json.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Callable, NoReturn

import numpy as np

from refbnn.conform.layouts import TAKEN, layout_of, packed, packed_length, taken, unpacked
from refbnn.conform.problem import ACTIVATIONS, LIKELIHOODS, PAIRED, PARAMETERS, Problem, check_parameters, support
from refbnn.conform.quantities import QUANTITIES, axis_sizes

CASES = Path(__file__).parent / "cases"
FORMAT = 2
LICENCE = "CC0-1.0"
FAMILIES = ("diagnostic", "exact", "awkward", "real", "grid")
TIERS = ("E", "M", "V", "Q")
SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*\Z")
DIGITS = re.compile(r"(0|-?[1-9]\.[0-9]{39}e[+-][0-9]+)\Z")
PRIOR_KEYS = {"isotropic": "precision", "per_layer": "precisions", "per_parameter": "precision", "full": "precision"}
CERTIFIED = {name: quantity for name, quantity in QUANTITIES.items() if quantity.certified_by == name}
# What need not be there comes together or not at all.
GROUPS: dict[str, tuple[str, ...]] = {
    "matrices": ("jacobian", "ggn.full", "hessian.full", "fisher.full", "fisher.empirical", "fisher.mc"),
    "where G + P₀ is positive definite": ("laplace.covariance.diag", "laplace.covariance.vp", "laplace.log_det",
                                          "laplace.log_evidence", "laplace.evidence.prior", "laplace.diag.variance",
                                          "laplace.diag.log_det", "laplace.diag.log_evidence",
                                          "laplace.diag.evidence.prior", "predictive.joint",
                                          "predictive.glm.variance", "predictive.diag.variance"),
    "Normal likelihood, where G + P₀ is positive definite": ("laplace.evidence.noise", "laplace.diag.evidence.noise", "gp.mean",
                                                             "gp.log_evidence", "gp.evidence.prior"),
    "Normal likelihood, where the terms of the slope do not cancel": ("gp.evidence.noise",),
    "Normal likelihood, where data left out are predicted well enough": ("gp.loo.log_density",),
    "Normal likelihood, where KFAC and the prior are": ("laplace.kron.evidence.noise",),
    "where the loss is not quadratic": ("third.vv",),
    "Bernoulli likelihood, where G + P₀ is positive definite": ("predictive.probit",),
    "Categorical likelihood, where G + P₀ is positive definite": ("predictive.probit.multiclass",),
    "Categorical likelihood, where the covariance of the outputs is determined well enough": (
        "predictive.meanfield", "predictive.concentration", "predictive.bridge"),
    "matrices where G + P₀ is positive definite": ("laplace.precision", "laplace.covariance"),
    "where H + P₀ is positive definite": ("laplace.hessian.log_det", "laplace.hessian.log_evidence"),
    "matrices where H + P₀ is positive definite": ("laplace.hessian.precision", "laplace.hessian.covariance"),
    "structures": ("ggn.blockdiag", "ggn.neuronblocks", "ggn.lastlayer", "ggn.subset", "ggn.kfac", "ggn.kfra", "ggn.vanloan",
                   "fisher.empirical.gram", "hessian.blockdiag",
                   "hessian.lastlayer", "fisher.kfac", "fisher.empirical.centred", "fisher.empirical.kfac", "fisher.mc.kfac",
                   "ntk"),
    "structures where G + P₀ is positive definite": (
        "laplace.lastlayer.covariance", "laplace.lastlayer.log_det", "laplace.lastlayer.log_evidence",
        "predictive.lastlayer.variance", "laplace.subset.covariance", "laplace.subset.log_det", "laplace.subset.log_evidence",
        "predictive.subset.variance", "gp.kernel"),
    "structures where KFAC and the prior are": ("laplace.kron.covariance", "laplace.kron.log_det", "laplace.kron.log_evidence",
                                                "laplace.kron.evidence.prior", "predictive.kron.variance"),
    "structures where KFAC without what lies between weights and biases and the prior are": (
        "laplace.kron.split.covariance", "laplace.kron.split.log_det", "laplace.kron.split.log_evidence",
        "laplace.kron.split.evidence.prior", "predictive.kron.split.variance"),
    "Normal likelihood, where these are": ("laplace.kron.split.evidence.noise",),
    "posterior": ("posterior.log_evidence", "posterior.mean", "posterior.covariance", "posterior.predictive.mean",
                  "posterior.predictive.variance", "posterior.evidence.prior"),
    "posterior, Normal likelihood": ("posterior.evidence.noise",),
    "posterior by two quadratures": ("posterior.f.mean", "posterior.log_likelihood.mean", "posterior.log_likelihood.variance",
                                     "posterior.log_joint.mean", "posterior.log_joint.variance"),
    "where two quadratures agree": ("predictive.exact",),
    "bounds": ("vi.elbo", "vi.elbo.gradient.mean", "vi.elbo.gradient.scale", "vi.kl", "vi.kl.reverse", "vi.full.elbo",
               "vi.full.elbo.gradient.mean", "vi.full.elbo.gradient.scale", "vi.full.kl", "vi.full.kl.reverse"),
    "leading eigenpairs": ("laplace.lowrank.precision", "laplace.lowrank.covariance", "laplace.lowrank.log_det",
                           "laplace.lowrank.log_evidence", "predictive.lowrank.variance", "laplace.hessian.lowrank.precision",
                           "laplace.hessian.lowrank.log_det", "laplace.hessian.lowrank.log_evidence",
                           "predictive.hessian.lowrank.variance"),
    "optima": ("vi.optimum.mean", "vi.optimum.covariance", "vi.optimum.elbo", "vi.optimum.meanfield.mean",
               "vi.optimum.meanfield.variance", "vi.optimum.meanfield.elbo"),
    "bounds where G + P₀ is positive definite": ("vi.kl.laplace", "vi.kl.laplace.reverse"),
    "where no Kronecker factor has a repeated eigenvalue": ("ggn.ekfac", "ggn.ekfac.split"),
}
OPTIONAL = tuple(name for name in CERTIFIED if any(name in group for group in GROUPS.values()))
SAFE_INTEGER = 2 ** 53


class CaseError(ValueError):
    """A case file that cannot be trusted: which file, which key, what was expected and what was found."""


@dataclass(frozen=True, eq=False)
class Certified:
    """A proven value, unpacked; how it was certified; its condition number.

    tier: E exact rational arithmetic, M two derivations and an interval, V an interval through an inverse or a determinant, Q two
    quadratures. scale: the natural norm of a value that is exactly zero, else None. digits: 40 digits of a scalar, else None.
    record: what the two quadratures gave, for tier Q.
    """

    value: np.ndarray
    tier: str
    condition: float
    scale: float | None
    digits: str | None
    record: str | None = None


@dataclass(frozen=True, eq=False)
class Case:
    """One certified case: a problem, and the right answers to it."""

    id: str
    revision: int
    family: str
    title: str
    source: str
    flags: tuple[str, ...]
    problem: Problem
    values: dict[str, Certified]


def ids() -> list[str]:
    """The ids of the package's cases, sorted."""
    return sorted(path.stem for path in CASES.glob("*.json") if path.name != "schema.json")


def read_all(pattern: str = "*") -> list[Case]:
    """The cases whose id matches the glob, sorted by id; CaseError if there is none."""
    chosen = [name for name in ids() if fnmatchcase(name, pattern)]
    if not chosen:
        raise CaseError(f"no case matches {pattern!r}; there are {len(ids())}, such as {', '.join(ids()[:3])}")
    return [read(name) for name in chosen]


def read(path: str | Path) -> Case:
    """The case of that id, or in that file. Raises CaseError, and nothing else, for a file that is not as it should be."""
    path = Path(path)
    file = path if path.suffix == ".json" else CASES / f"{path}.json"
    try:
        text = file.read_bytes()
    except FileNotFoundError:
        near = difflib.get_close_matches(path.stem, ids(), n=3)
        raise CaseError(f"no case {str(path)!r}; nearest: {', '.join(near) or 'none'}") from None
    except (OSError, ValueError) as problem:
        raise CaseError(f"{str(file)!r}: cannot be read: {problem}") from None
    return parse(text, file.name)


def parse(text: bytes, file_name: str) -> Case:
    """The case in the bytes of a file of that name; raises CaseError."""
    top = Node(_decoded(text, file_name), file_name, "")
    top.keys("format", "id", "revision", "family", "title", "source", "licence", "flags", "network", "likelihood",
             "prior", "inputs", "values")
    top.at("format").expect(lambda v: type(v) is int and v == FORMAT, str(FORMAT))
    top.at("licence").one_of((LICENCE,))
    slug = top.at("id").text()
    if not SLUG.match(slug):
        top.at("id").fail("a slug of a-z, 0-9 and -", slug)
    if f"{slug}.json" != file_name:
        top.at("id").fail(f"{file_name.removesuffix('.json')!r}, the name of the file", slug)
    problem = _problem(top)
    return Case(id=slug, revision=top.at("revision").integer(1), family=top.at("family").one_of(FAMILIES),
                title=top.at("title").text(), source=top.at("source").text(),
                flags=tuple(flag.text() for flag in top.at("flags").items()), problem=problem,
                values=_values(top.at("values"), problem))


# -- JSON ---------------------------------------------------------------------------------------------------------

def _decoded(text: bytes, file_name: str) -> Any:
    """The JSON value. Duplicate keys, NaN, Infinity and what is not UTF-8 are refused."""
    def pairs(items: list[tuple[str, Any]]) -> dict:
        table = dict(items)
        if len(table) < len(items):
            twice = next(key for i, (key, _) in enumerate(items) if key in dict(items[:i]))
            raise CaseError(f"{file_name}: {twice!a}: the key appears twice in one object")
        return table

    def constant(name: str) -> NoReturn:
        raise CaseError(f"{file_name}: {name}: expected finite numbers")

    try:
        return json.loads(text.decode("utf-8"), object_pairs_hook=pairs, parse_constant=constant)
    except (CaseError, RecursionError) as problem:
        raise problem if isinstance(problem, CaseError) else CaseError(f"{file_name}: nested too deeply") from None
    except ValueError as problem:       # not UTF-8, not JSON, or an integer of thousands of digits
        raise CaseError(f"{file_name}: not valid JSON: {problem}") from None


@dataclass(frozen=True)
class Node:
    """A place in the file: its value, and its name for the message."""

    value: Any
    file_name: str
    key: str

    def fail(self, expected: str, got: Any) -> NoReturn:
        shown = ascii(got)
        shown = shown if len(shown) <= 60 else shown[:57] + "..."
        raise CaseError(f"{self.file_name}: {self.key or 'the file'}: expected {expected}, got {shown}")

    def expect(self, holds: Callable[[Any], bool], expected: str) -> Any:
        if not holds(self.value):
            self.fail(expected, self.value)
        return self.value

    def at(self, key: str) -> Node:
        """The entry of an object whose keys were checked."""
        return Node(self.value[key], self.file_name, f"{self.key}.{key}" if self.key else key)

    def keys(self, *required: str, optional: tuple[str, ...] = ()) -> None:
        """An object with exactly these keys."""
        self.expect(lambda v: isinstance(v, dict), "an object")
        unknown = sorted(set(self.value) - set(required) - set(optional))
        missing = [key for key in required if key not in self.value]
        if unknown:
            self.fail(_known(required + optional, unknown[0]), unknown[0])
        if missing:
            self.fail(f"the key {missing[0]!r}", sorted(self.value))

    def members(self) -> list[Any]:
        """The members of a list, as they are."""
        return self.expect(lambda v: isinstance(v, list), "a list")

    def items(self) -> list[Node]:
        """The members of a list, each with its place."""
        return [Node(item, self.file_name, f"{self.key}[{place}]") for place, item in enumerate(self.members())]

    def text(self) -> str:
        return self.expect(lambda v: isinstance(v, str), "a text")

    def one_of(self, allowed: tuple[str, ...]) -> str:
        return self.expect(lambda v: isinstance(v, str) and v in allowed, f"one of {', '.join(allowed)}")

    def integer(self, least: int) -> int:
        return self.expect(lambda v: type(v) is int and least <= v <= SAFE_INTEGER, f"an integer of at least {least}")

    def boolean(self) -> bool:
        return self.expect(lambda v: type(v) is bool, "true or false")

    def number(self) -> float:
        """A finite number that is a double: integers only up to 2⁵³."""
        return float(self.expect(_is_double, "a finite number"))

    def positive(self) -> float:
        value = self.number()
        if value <= 0:
            self.fail("a positive number", value)
        return value

    def array(self, shape: tuple[int | None, ...]) -> np.ndarray:
        """An array entry: its shape as expected (None: any length), its bytes as promised."""
        self.keys("shape", "data", "sha256", optional=("over",))
        stated = tuple(size.integer(1) for size in self.at("shape").items())
        if len(stated) != len(shape) or any(b is not None and a != b for a, b in zip(stated, shape)):
            self.at("shape").fail(str([size or "any" for size in shape]), list(stated))
        data = self.numbers(math.prod(stated))
        return self.proven(data / self.common_denominator(data) if "over" in self.value else data).reshape(stated)

    def common_denominator(self, numerators: np.ndarray) -> int:
        """`over`: a power of two under integers, so that nothing is rounded."""
        if (numerators != np.rint(numerators)).any():
            self.at("data").fail("integers, with 'over'", float(numerators[numerators != np.rint(numerators)][0]))
        power = self.at("over").integer(2)
        return power if power.bit_count() == 1 else self.at("over").fail("a power of two", power)

    def numbers(self, length: int) -> np.ndarray:
        """The flat data, of this length."""
        given = self.at("data")
        if not all(map(_is_double, given.members())):
            next(item for item in given.items() if not _is_double(item.value)).number()
        data = np.array(given.value, dtype=np.float64)
        if len(data) != length:
            self.at("data").fail(f"{length} numbers", len(data))
        return data

    def proven(self, data: np.ndarray) -> np.ndarray:
        """The same, after its SHA-256 over little-endian float64 bytes was checked."""
        digest = hashlib.sha256(data.astype("<f8").tobytes()).hexdigest()
        if self.at("sha256").text() != digest:
            self.at("sha256").fail(f"{digest}, the SHA-256 of the data as read", self.value["sha256"])
        return data


def _is_double(value: Any) -> bool:
    return (type(value) is float and math.isfinite(value)) or (type(value) is int and abs(value) <= SAFE_INTEGER)


def _known(keys: tuple[str, ...], unknown: str) -> str:
    """All known keys, or of many those that look like the unknown one."""
    if len(keys) <= 20:
        return f"no other keys than {', '.join(keys)}"
    near = difflib.get_close_matches(unknown, keys, n=3)
    return f"one of {len(keys)} known keys (nearest: {', '.join(near) or 'none'})"


# -- the problem --------------------------------------------------------------------------------------------------

def _problem(top: Node) -> Problem:
    network, likelihood = top.at("network"), top.at("likelihood")
    network.keys("sizes", "activation", "slope", "bias")
    likelihood.keys("name", "variance", optional=("parameters",))
    sizes = tuple(size.integer(1) for size in network.at("sizes").items())
    if len(sizes) < 2:
        network.at("sizes").fail("at least two layer widths", list(sizes))
    activation, name = network.at("activation").one_of(ACTIVATIONS), likelihood.at("name").one_of(LIKELIHOODS)
    bias = network.at("bias").boolean()
    layer_sizes = [out * (into + bias) for into, out in zip(sizes, sizes[1:])]
    slope = _only_with(network.at("slope"), activation == "leaky_relu", Node.number)
    variance = _only_with(likelihood.at("variance"), name == "normal", Node.positive)
    parameters = _parameters(likelihood, name, sizes[-1])
    inputs = _inputs(top.at("inputs"), sizes, sum(layer_sizes), name, parameters)   # first: θ bounds the sizes that follow
    mean, precision = _prior(top.at("prior"), layer_sizes)
    try:
        return Problem(sizes=sizes, activation=activation, slope=slope, bias=bias, likelihood=name, variance=variance,
                       likelihood_parameters=parameters, prior_mean=mean, prior_precision=precision, **inputs)
    except ValueError as refusal:
        raise CaseError(f"{top.file_name}: {refusal}") from None


def _only_with(node: Node, wanted: bool, read_it: Callable[[Node], float]) -> float | None:
    return read_it(node) if wanted else node.expect(lambda v: v is None, "null here")


def _parameters(likelihood: Node, name: str, num_outputs: int) -> dict[str, float | tuple]:
    """What the likelihood is given beside a variance: numbers, and arrays as nested tuples."""
    if not PARAMETERS[name]:
        likelihood.keys("name", "variance")
        return {}
    likelihood.keys("name", "variance", "parameters")
    node = likelihood.at("parameters")
    node.keys(*PARAMETERS[name])
    found = {key: _ARRAYS[key](node.at(key), num_outputs) if key in _ARRAYS else node.at(key).positive()
             for key in PARAMETERS[name]}
    try:
        check_parameters(name, found, num_outputs)
    except ValueError as refusal:
        raise CaseError(f"{node.file_name}: {node.key}.{refusal}; got another") from None
    return found


_ARRAYS: dict[str, Callable[[Node, int], tuple]] = {
    "noise": lambda node, k: tuple(map(tuple, node.array((k, k)).tolist())),
    "cut_points": lambda node, k: tuple(node.array((None,)).tolist()),
}


def _inputs(node: Node, sizes: tuple[int, ...], p: int, likelihood: str, parameters: dict) -> dict[str, np.ndarray]:
    node.keys("X", "y", "theta", "X_new", "vector", "labels", "normals", "draws")
    X = node.at("X").array((None, sizes[0]))
    targets = (len(X),) if likelihood == "categorical" else (len(X), sizes[-1] // 2 if likelihood in PAIRED else sizes[-1])
    arrays = {"X": X, "y": node.at("y").array(targets), "labels": node.at("labels").array(targets),
              "theta": node.at("theta").array((p,)), "vector": node.at("vector").array((p,)),
              "X_new": node.at("X_new").array((None, sizes[0])), "normals": node.at("normals").array((None, p)),
              "draws": node.at("draws").array((None, p))}
    for name in ("y", "labels"):
        what, inside = support(likelihood, arrays[name], sizes[-1], parameters)
        if not inside.all():
            node.at(name).fail(what, float(arrays[name][~inside].flat[0]))
    if len(arrays["normals"]) <= p:
        node.at("normals").fail(f"more than {p} rows, so that a linear map can be recovered", len(arrays["normals"]))
    return arrays


def _prior(node: Node, layer_sizes: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """(mean p, precision p p) from the prior as stated."""
    node.expect(lambda v: isinstance(v, dict) and "kind" in v, "an object with the key 'kind'")
    kind = node.at("kind").one_of(tuple(PRIOR_KEYS))
    node.keys("kind", PRIOR_KEYS[kind], "mean")
    p, stated, mean = sum(layer_sizes), node.at(PRIOR_KEYS[kind]), node.at("mean")
    precision = {"isotropic": lambda: np.full(p, stated.positive()), "per_layer": lambda: _per_layer(stated, layer_sizes),
                 "per_parameter": lambda: stated.array((p,)), "full": lambda: stated.array((p, p))}[kind]()
    _check_positive_definite(stated, precision)
    return (mean.array((p,)) if isinstance(mean.value, dict) else np.full(p, mean.number()),
            precision if precision.ndim == 2 else np.diag(precision))


def _per_layer(node: Node, layer_sizes: list[int]) -> np.ndarray:
    precisions = [item.positive() for item in node.items()]
    if len(precisions) != len(layer_sizes):
        node.fail(f"{len(layer_sizes)} precisions, one a layer", len(precisions))
    return np.repeat(precisions, layer_sizes)


def _check_positive_definite(node: Node, precision: np.ndarray) -> None:
    """Symmetric, with positive eigenvalues."""
    if precision.ndim == 2 and not np.array_equal(precision, precision.T):
        node.fail("a symmetric matrix", "one that is not")
    smallest = precision.min() if precision.ndim == 1 else np.linalg.eigvalsh(precision)[0]
    if not smallest > 0:
        node.fail("a positive definite precision", f"smallest eigenvalue {smallest:.3g}")


# -- the values ---------------------------------------------------------------------------------------------------

def _values(node: Node, problem: Problem) -> dict[str, Certified]:
    required = tuple(name for name in CERTIFIED if name not in OPTIONAL)
    node.keys(*required, optional=OPTIONAL)
    for group in GROUPS.values():
        present = [name for name in group if name in node.value]
        if present and len(present) < len(group):
            node.fail(f"all of {', '.join(group)} or none", present)
    found: dict[str, Certified] = {}
    sizes = axis_sizes(problem)
    for name in CERTIFIED:
        if name in node.value:
            found[name] = _certified(node.at(name), name, CERTIFIED[name].shape(sizes), problem, found)
    return found


def _certified(node: Node, name: str, shape: tuple[int, ...], problem: Problem, found: dict[str, Certified]) -> Certified:
    node.keys("tier", "condition", "shape", "layout", "sha256", optional=("data", "of", "digits", "scale", "record"))
    if [size.integer(1) for size in node.at("shape").items()] != list(shape):
        node.at("shape").fail(str(list(shape)), node.value["shape"])
    value = _value(node, name, shape, problem, found)
    condition = node.at("condition").number()
    if condition < 1:
        node.at("condition").fail("a number of at least 1", condition)
    value.flags.writeable = False
    return Certified(value=value, tier=node.at("tier").one_of(TIERS), condition=condition,
                     scale=_scale(node, value), digits=_digits(node, value, CERTIFIED[name].kind == "scalar"),
                     record=_record(node))


def _value(node: Node, name: str, shape: tuple[int, ...], problem: Problem, found: dict[str, Certified]) -> np.ndarray:
    """The whole array, from its own numbers or from another value; the hash is over the numbers that are its own in a file."""
    own, (how, source), layers = layout_of(name), TAKEN.get(name, ("", "")), problem.layer_sizes
    if node.at("layout").one_of((own, how) if how else (own,)) == own:
        node.keys("tier", "condition", "shape", "layout", "data", "sha256", optional=("digits", "scale", "record"))
        return unpacked(own, node.proven(node.numbers(packed_length(own, shape, layers))), shape, layers)
    keys = ("tier", "condition", "shape", "layout", "of", *(("data",) if how == "shifted" else ()), "sha256")
    node.keys(*keys, optional=("scale",))
    if node.at("of").one_of((source,)) not in found:
        node.at("of").fail("a value of this case", source)
    value = taken(how, found[source].value, problem, node.numbers(shape[0]) if how == "shifted" else None)
    node.proven(packed(own, value, layers))
    return value


def _scale(node: Node, value: np.ndarray) -> float | None:
    """A value that is zero throughout says against what to judge it; no other does."""
    zero = not value.any()
    if zero != ("scale" in node.value):
        node.fail("a scale exactly where the value is zero", sorted(node.value))
    return node.at("scale").positive() if zero else None


def _record(node: Node) -> str | None:
    """A value that rests on quadratures says what they gave; no other does."""
    if (node.value["tier"] == "Q") != ("record" in node.value):
        node.fail("a record for tier Q and for nothing else", sorted(node.value))
    return node.at("record").text() if "record" in node.value else None


def _digits(node: Node, value: np.ndarray, is_scalar: bool) -> str | None:
    """A scalar's 40 digits, which must read back to its double; no other value has them."""
    proven = is_scalar and node.value["tier"] != "Q"
    if proven != ("digits" in node.value):
        node.fail("digits for a scalar that is proven and for nothing else", sorted(node.value))
    if not proven:
        return None
    digits = node.at("digits").text()
    if not DIGITS.match(digits) or float(digits) != float(value):
        node.at("digits").fail(f"40 digits that round to {float(value)!r}", digits)
    return digits
