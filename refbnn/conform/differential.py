"""Differential mode: your own function on your own network, parameters and data, against this package.

    problem = problem_from(net, likelihood, prior, X, y, theta)
    result = compare_with_reference(my_ggn, problem, "ggn.full", {"loss.reduction": "mean"})
    assert result.passed, result

The reference is the package's own adapter, which `refbnn conform refbnn` holds against the certified values. Scales, verdicts and
diagnosis are those of the kit; one problem tells fewer causes apart than the certified cases do.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refbnn import Gaussian, Mlp, linalg
from refbnn.activations import Activation
from refbnn.cubature.record import NotConverged

from .adapters import refbnn as reference
from . import draws
from .compare import Comparison, Unusable, Verdict, as_real_array, compare, unusable
from .conventions import check
from .diagnose import Finding, explain
from .problem import LIKELIHOODS, PARAMETERS, REAL_TARGETS, Problem
from .quantities import QUANTITIES, Quantity, nearest

Array = NDArray[np.float64]
PATTERNS = 6
STEP = 2.0 ** -22
PERTURBED = ("theta", "X", "X_new", "prior_mean", "prior_precision", "vector", "draws")
SPARE = 5  # more normals than parameters by this much
DRAWS = 7


# Problems ------------------------------------------------------------------------------------------------------------

def problem_from(net: Mlp, likelihood: Any, prior: Gaussian, X: Array, y: Array, theta: Array, X_new: Array | None = None,
                 seed: int = 0) -> Problem:
    """The problem of a network, likelihood, prior and data; what else the kit asks about is drawn from the seed.

    X n d; y n k, or n labels; theta p in the package's order; X_new m d, by default the first inputs. Raises ValueError where
    the parts do not fit together, or where hidden layers differ in their activation.
    """
    activation, slope = _activation_name(net)
    name = _likelihood_name(likelihood)
    rng = np.random.default_rng(seed)
    theta = np.asarray(theta, float)
    p = net.num_params
    if theta.shape != (p,):
        raise ValueError(f"theta: expected shape ({p},), got {theta.shape}")
    return Problem(
        sizes=net.sizes, activation=activation, slope=slope, bias=net.bias, likelihood=name,
        likelihood_parameters={key: getattr(likelihood, key) for key in PARAMETERS[name]},
        variance=getattr(likelihood, "variance", None), prior_mean=prior.mean, prior_precision=prior.precision.matrix(),
        X=X, y=y, theta=theta, X_new=np.asarray(X)[:5] if X_new is None else X_new, vector=rng.standard_normal(p),
        labels=likelihood.sample(net.forward(theta, np.asarray(X, float)), rng),
        normals=rng.standard_normal((p + SPARE, p)), draws=theta + 0.1 * rng.standard_normal((DRAWS, p)))


def _activation_name(net: Mlp) -> tuple[str, float | None]:
    names = {phi.name for phi in net.activation}
    if len(names) > 1:
        raise ValueError(f"net: expected one activation for all hidden layers, got {', '.join(sorted(names))}")
    name = next(iter(names), "identity")
    return name, -float(net.activation[0](np.array(-1.0))) if name == "leaky_relu" else None


def _likelihood_name(likelihood: Any) -> str:
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(likelihood).__name__).lower()
    if name not in LIKELIHOODS:
        raise ValueError(f"likelihood: expected one of {', '.join(LIKELIHOODS)}, got {type(likelihood).__name__}")
    return name


def random_problem(seed: int, likelihood: str = "normal", sizes: Sequence[int] = (2, 5, 3), activation: str = "tanh",
                   num_data: int = 11, bias: bool = True) -> Problem:
    """A problem drawn from a seed: any sizes, activation and likelihood, with a full prior precision and a prior mean."""
    rng = np.random.default_rng(seed)
    p = sum(out * (into + bias) for into, out in zip(sizes[:-1], sizes[1:]))
    root = rng.standard_normal((p, p)) / math.sqrt(p)
    theta = 0.7 * rng.standard_normal(p)
    if likelihood == "heteroscedastic_natural":
        theta[p - sizes[-1] + 1::2] -= 12.0  # the biases of −1/(2v), which must be negative
    return Problem(
        sizes=tuple(sizes), activation=activation, slope=0.1 if activation == "leaky_relu" else None, bias=bias,
        likelihood=likelihood, variance=0.37 if likelihood == "normal" else None,
        likelihood_parameters=_random_parameters(likelihood, sizes[-1]), prior_mean=0.3 * rng.standard_normal(p),
        prior_precision=linalg.symmetric_part(np.eye(p) + linalg.gram(root)), X=rng.standard_normal((num_data, sizes[0])),
        y=_TARGETS[likelihood](rng, num_data, sizes[-1]), theta=theta, X_new=rng.standard_normal((4, sizes[0])),
        vector=rng.standard_normal(p), labels=_TARGETS[likelihood](rng, num_data, sizes[-1]),
        normals=rng.standard_normal((p + SPARE, p)), draws=theta + 0.1 * rng.standard_normal((DRAWS, p)))


def _random_parameters(likelihood: str, num_outputs: int) -> dict[str, Any]:
    """Parameters that are as good as any others."""
    k = np.arange(num_outputs)
    usual = {"noise": np.diag(0.4 + 0.1 * k) + 0.2, "scale": 0.7, "degrees_of_freedom": 4.3, "cut_points": (-1.1, -0.1, 0.7),
             "dispersion": 2.5, "shape": 1.9}
    return {name: usual[name] for name in PARAMETERS[likelihood]}


def _real(rng: np.random.Generator, n: int, k: int) -> Array:
    return rng.standard_normal((n, k))


def _binary(rng: np.random.Generator, n: int, k: int) -> Array:
    return rng.integers(0, 2, (n, k)).astype(float)


def _counts(rng: np.random.Generator, n: int, k: int) -> Array:
    return rng.poisson(1.5, (n, k)).astype(float)


_TARGETS: dict[str, Callable[[np.random.Generator, int, int], Array]] = {
    "normal": _real, "normal_full": _real, "student_t": _real, "heteroscedastic": lambda rng, n, k: _real(rng, n, k // 2),
    "bernoulli": _binary, "bernoulli_probit": _binary, "bernoulli_cloglog": _binary,
    "categorical": lambda rng, n, k: rng.integers(0, k, n),
    "ordinal": lambda rng, n, k: rng.integers(0, 4, (n, k)).astype(float),
    "poisson": _counts, "poisson_softplus": _counts, "poisson_square": _counts, "negative_binomial": _counts,
    "gamma": lambda rng, n, k: rng.gamma(2.0, size=(n, k)),
    "heteroscedastic_natural": lambda rng, n, k: _real(rng, n, k // 2),
    "heteroscedastic_precision": lambda rng, n, k: _real(rng, n, k // 2),
    "heteroscedastic_student_t": lambda rng, n, k: _real(rng, n, k // 2),
    "heteroscedastic_gamma": lambda rng, n, k: rng.gamma(2.0, size=(n, k // 2)),
    "heteroscedastic_negative_binomial": lambda rng, n, k: _counts(rng, n, k // 2),
}


def network_from_torch(parameters: Sequence[Any], activation: Activation) -> tuple[Mlp, Array]:
    """Network and θ from weights (out in) and biases (out), layer by layer, as `module.parameters()` lists them (as arrays).

    All layers have a bias or none has. Raises ValueError for shapes that do not chain.
    """
    arrays = [as_real_array(parameter) for parameter in parameters]
    bias = any(array.ndim == 1 for array in arrays)
    step = 2 if bias else 1
    weights, biases = arrays[::step], arrays[1::step] if bias else []
    wrong = [array.shape for array in weights if array.ndim != 2] + [array.shape for array in biases if array.ndim != 1]
    if wrong or not weights or (bias and len(biases) != len(weights)):
        raise ValueError(f"parameters: expected weights (out in), each followed by its bias (out) or none, got shapes "
                         f"{', '.join(str(array.shape) for array in arrays)}")
    return _network(weights, biases or None, activation)


def network_from_flax(parameters: Mapping[str, Any], activation: Activation) -> tuple[Mlp, Array]:
    """Network and θ from {"Dense_0": {"kernel": (in out), "bias": (out)}, ...}, with or without an outer {"params": ...}.

    Layers are taken in the order of the numbers in their names. Raises ValueError for shapes that do not chain.
    """
    layers = parameters.get("params", parameters)
    ordered = [layers[name] for name in sorted(layers, key=_natural)]
    if not ordered or not all("kernel" in layer for layer in ordered):
        raise ValueError(f"parameters: expected layers with a kernel, got {', '.join(map(str, layers)) or 'none'}")
    if len({"bias" in layer for layer in ordered}) > 1:
        raise ValueError("parameters: expected biases in all layers or in none")
    biases = [as_real_array(layer["bias"]) for layer in ordered] if "bias" in ordered[0] else None
    return _network([as_real_array(layer["kernel"]).T for layer in ordered], biases, activation)


def _natural(name: str) -> list[tuple[int, int | str]]:
    """So that Dense_10 comes after Dense_9."""
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", name) if part]


def _network(weights: list[Array], biases: list[Array] | None, activation: Activation) -> tuple[Mlp, Array]:
    sizes = (weights[0].shape[1], *(W.shape[0] for W in weights))
    for layer, W in enumerate(weights):
        if W.shape != (sizes[layer + 1], sizes[layer]) or (biases and biases[layer].shape != (sizes[layer + 1],)):
            raise ValueError(f"parameters: layer {layer} has a weight (out in) of shape {W.shape}, expected {sizes[layer]} "
                             "inputs, and one bias an output")
    net = Mlp(sizes, activation=activation, bias=biases is not None)
    return net, net.flatten(list(zip(weights, biases or [None] * len(weights))))


# The reference -------------------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Reference:
    """A value computed by this package; its condition number is estimated by seeded perturbations of the inputs."""

    value: Array
    condition: float
    scale: float | None = None
    tier: str = "reference"
    digits: str | None = None


@dataclass(frozen=True)
class LocalCase:
    """A problem of one's own in the place of a certified case."""

    problem: Problem
    id: str = "your problem"

    @cached_property
    def values(self) -> Mapping[str, Reference]:
        """Reference values, each computed when first asked for."""
        return _Lazy(self.problem)


@dataclass(frozen=True)
class _Lazy(Mapping):
    problem: Problem
    _known: dict[str, Reference | None] = field(default_factory=dict)

    @cached_property
    def _states(self) -> list[Any]:
        """The problem and its perturbations, prepared."""
        return [reference.prepare(problem) for problem in (self.problem, *perturbed(self.problem))]

    def __getitem__(self, name: str) -> Reference:
        if name not in self._known:
            self._known[name] = self._computed(QUANTITIES[name])
        found = self._known[name]
        if found is None:
            raise KeyError(name)
        return found

    def __iter__(self) -> Iterator[str]:
        return (name for name, quantity in QUANTITIES.items() if quantity.certified_by == name and self.get(name) is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _computed(self, quantity: Quantity) -> Reference | None:
        """None where there is no value: H + P₀ indefinite, another likelihood, nothing chosen, an integral that no grid holds."""
        nothing_chosen = ".subset" in quantity.name and not len(self.problem.subset)
        if nothing_chosen or not quantity.exists_for(self.problem.likelihood):
            return None
        function = getattr(reference, quantity.function_name)
        try:
            value, *moved = (np.asarray(function(state), float) for state in self._states)
        except (linalg.NotPositiveDefinite, reference._TooManyNodes, NotConverged):
            return None
        size = float(np.linalg.norm(value)) or 1.0
        largest = max(float(np.linalg.norm(other - value)) for other in moved)
        condition = max(1.0, largest / (STEP * size)) * self._algebra(quantity.name, value)
        return Reference(value, condition, None if value.any() else 1.0)

    def _algebra(self, name: str, value: Array) -> float:
        """What an inverse or a log-determinant adds: κ₂(P), or ‖P‖_F ‖P⁻¹‖_F / |value|."""
        precision = _THROUGH.get(name)
        if precision is None:
            return 1.0
        state = self._states[0]
        P = getattr(state, precision).precision.matrix()
        if value.ndim:
            return float(np.linalg.cond(P))
        return max(1.0, float(np.linalg.norm(P) * np.linalg.norm(np.linalg.inv(P))) / max(abs(float(value)), 1e-300))


_THROUGH = {
    **{f"laplace.{part}": "ggn" for part in (
        "covariance", "covariance.diag", "covariance.vp", "log_det", "log_evidence", "evidence.prior", "evidence.noise")},
    **dict.fromkeys((*(f"predictive.{part}" for part in ("joint", "glm.variance", "probit", "probit.multiclass", "meanfield",
                                                         "concentration", "bridge")), *(f"gp.{part}" for part in (
                                                             "mean", "log_evidence", "evidence.prior", "evidence.noise",
                                                             "loo.log_density"))), "ggn"),
    **dict.fromkeys((*(f"laplace.diag.{part}" for part in ("variance", "log_det", "log_evidence", "evidence.prior",
                                                           "evidence.noise")), "predictive.diag.variance"), "diagonal"),
    **{quantity: where for name, where in (
        ("lastlayer", "last_layer"), ("subset", "subset"), ("lowrank", "low_rank"),
        ("hessian.lowrank", "hessian_low_rank"), ("kron", "kron"),
        ("kron.split", "kron_apart"))
       for quantity in QUANTITIES if quantity.startswith((f"laplace.{name}.", f"predictive.{name}."))},
    **{f"laplace.hessian.{part}": "hessian" for part in ("covariance", "log_det", "log_evidence")},
}


def perturbed(problem: Problem, seed: int = 0) -> Iterator[Problem]:
    """The problem with every real input moved by ± a relative 2⁻²², six times."""
    rng = np.random.default_rng(seed)
    given = {f.name: getattr(problem, f.name) for f in fields(problem)}
    names = (*PERTURBED, *(("y", "labels") if problem.likelihood in REAL_TARGETS else ()))
    for _ in range(PATTERNS):
        moved = {name: given[name] * (1 + STEP * rng.choice((-1.0, 1.0), given[name].shape)) for name in names}
        moved["prior_precision"] = np.tril(moved["prior_precision"]) + np.tril(moved["prior_precision"], -1).T
        if problem.variance is not None:
            moved["variance"] = problem.variance * (1 + STEP * rng.choice((-1.0, 1.0)))
        moved["likelihood_parameters"] = {name: _moved(value, rng) for name, value in problem.likelihood_parameters.items()}
        yield Problem(**{**given, **moved})


def _moved(value: float | tuple, rng: np.random.Generator) -> Array:
    """A parameter moved likewise; a matrix stays symmetric."""
    array = np.asarray(value) * (1 + STEP * rng.choice((-1.0, 1.0), np.shape(value)))
    return np.tril(array) + np.tril(array, -1).T if array.ndim == 2 else array


# The comparison ------------------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Result:
    """One comparison with the reference; print it, or assert `passed`."""

    quantity: str
    comparison: Comparison
    finding: Finding | None

    @property
    def verdict(self) -> Verdict:
        """As in the kit's reports."""
        return self.comparison.verdict

    @property
    def passed(self) -> bool:
        """Whether the answer is right to the digits that double precision allows (or single, if declared)."""
        return self.verdict in (Verdict.EXACT, Verdict.PASS)

    def __str__(self) -> str:
        found = self.comparison
        line = f"{self.verdict.value} {self.quantity}: {found.digits:.1f} digits (tolerance {found.tolerance:.1e})"
        line += f"; {found.message}" if found.message else ""
        return line if self.finding is None else f"{line}\n{_diagnosis(self.finding)}"


def _diagnosis(finding: Finding) -> str:
    cause = finding.cause
    if cause is None:
        return "; ".join(finding.evidence) or "No theory comes near."
    return f"Explained to {cause.digits:.1f} digits. {cause.sentence}: {cause.advice}."


def compare_with_reference(answer: Any, problem: Problem, quantity: str, conventions: Mapping[str, str] | None = None) -> Result:
    """Judge and explain an answer, or a function of the problem that returns one, for a dotted quantity.

    Raises ValueError for an unknown quantity or convention, or one that does not exist for this problem. What a function raises
    is passed on.
    """
    if quantity not in QUANTITIES:
        near = nearest(quantity)
        raise ValueError(f"quantity: unknown {quantity!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    asked, declared = QUANTITIES[quantity], check(conventions or {})
    case = LocalCase(problem)
    if asked.certified_by not in case.values:
        raise ValueError(f"quantity: {quantity} does not exist for this problem (the matrix is not positive definite)")
    value = answer(problem.copy()) if callable(answer) else answer
    if asked.kind == "draws":
        return _of_draws(case, asked, value, declared)
    found = compare(asked, case.values[asked.certified_by], value, problem, declared)
    wrong = found.verdict in (Verdict.MISMATCH, Verdict.LOSSY)
    return Result(quantity, found, _finding(case, asked, value, declared) if wrong else None)


def _of_draws(case: LocalCase, quantity: Quantity, answer: Any, conventions: Mapping[str, str]) -> Result:
    """Draws against the package's own cubature: networks of one or two parameters."""
    try:
        measured = draws.measure(case, quantity, answer, conventions)
    except Unusable as error:
        return Result(quantity.name, unusable(error), None)
    found, = draws.conclude([measured], len(measured.averages))
    return Result(quantity.name, found, draws.explain([measured], []) if found.verdict is Verdict.MISMATCH else None)


def _finding(case: LocalCase, quantity: Quantity, answer: Any, conventions: Mapping[str, str]) -> Finding | None:
    """The diagnosis, where the answer is an array at all."""
    try:
        array = as_real_array(answer)
    except Unusable:
        return None
    return explain([(case, quantity, array)], conventions)[0]
