"""The bytes of a case file: fixed key order, one line an array, shortest decimals that read back to the same double."""

from __future__ import annotations

import json
from fractions import Fraction

from .certify import SCALARS, Result
from .designs import Design
from .integers import UNIT
from .layouts import digest, entry_of
from .question import Question

# Left out of a case whose design says so: there diagonals and products stand for them.
MATRICES = ("jacobian", "ggn.full", "hessian.full", "fisher.full", "fisher.empirical", "fisher.mc", "laplace.precision",
            "laplace.covariance", "laplace.hessian.precision", "laplace.hessian.covariance")
INPUTS = ("X", "y", "theta", "X_new", "vector", "labels", "normals", "draws")


def case_text(design: Design, question: Question, results: dict[str, Result], conditions: dict[str, float],
              scales: dict[str, float]) -> str:
    """The whole file."""
    written = {name: result for name, result in results.items() if design.matrices or name not in MATRICES}
    case = {
        "format": 2, "id": design.id, "revision": design.revision, "family": design.family, "title": design.title,
        "source": design.source, "licence": "CC0-1.0", "flags": list(design.flags),
        "network": {"sizes": list(question.sizes), "activation": question.activation,
                    "slope": plain(question.slope), "bias": question.bias},
        "likelihood": likelihood_entry(question),
        "prior": prior_entry(design),
        "inputs": {name: array(getattr(question, name)) for name in INPUTS},
        "values": {name: value_entry(name, written, question, conditions[name], scales.get(name)) for name in written},
    }
    return encode(case) + "\n"


def encode(case: dict) -> str:
    """JSON with a line for each entry of the case and of its inputs and values."""
    lines = []
    for key, value in case.items():
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        if key in ("inputs", "values"):
            inner = [f"  {json.dumps(name)}: {json.dumps(entry, allow_nan=False, separators=(',', ':'))}"
                     for name, entry in value.items()]
            text = "{\n" + ",\n".join(inner) + "\n }"
        lines.append(f" {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(lines) + "\n}"


def likelihood_entry(question: Question) -> dict:
    """Name and variance; `parameters`, numbers and arrays, for those likelihoods that have any."""
    entry = {"name": question.likelihood, "variance": plain(question.variance)}
    parameters = {name: array(value) if isinstance(value, list) else plain(value)
                  for name, value in question.parameters.items()}
    return entry | ({"parameters": parameters} if parameters else {})


def prior_entry(design: Design) -> dict:
    """The prior as it is stated, not as the matrix that it means."""
    kind, stated, mean = design.prior[0], design.stated_prior(), design.stated_mean()
    precision = {"isotropic": lambda: {"precision": plain(stated)},
                 "per_layer": lambda: {"precisions": [plain(v) for v in stated]},
                 "per_parameter": lambda: {"precision": array(stated)},
                 "full": lambda: {"precision": array(stated)}}[kind]()
    return {"kind": kind, **precision, "mean": array(mean) if isinstance(mean, list) else plain(mean)}


def value_entry(name: str, results: dict[str, Result], question: Question, condition: float, scale: float | None) -> dict:
    """Tier, condition, shape; then how the numbers stand in the file, and their hash."""
    result = results[name]
    entry = {"tier": result.tier, "condition": condition, "shape": shape(name, question)}
    entry |= entry_of(name, {key: other.data for key, other in results.items()}, question)
    if result.digits is not None:
        entry["digits"] = result.digits
    if scale is not None:
        entry["scale"] = scale
    if result.record is not None:
        entry["record"] = result.record
    return entry


def shape(name: str, question: Question) -> list[int]:
    """The shape of the unpacked value."""
    n, m, k, p = len(question.X), len(question.X_new), question.num_outputs, question.num_params
    q = question.layer_sizes[-1]
    means = question.num_outputs if question.likelihood == "categorical" else question.num_targets
    special = {"forward": [n, k], "jacobian": [n, k, p], "predictive.glm.mean": [m, k], "predictive.mc": [m, means],
               "predictive.joint": [m, k, m, k], "ntk": [n, k, n, k], "jacobian.vp": [n, k], "gp.kernel": [n, k, n, k],
               "fisher.empirical.gram": [n, n], "gp.loo.log_density": [n], "gp.mean": [m, k], "third.vv": [p]}
    if name in ("predictive.exact", "posterior.predictive.mean"):
        return [m, means]
    if name in ("posterior.mean", "posterior.f.mean", "posterior.predictive.variance"):
        return [p] if name == "posterior.mean" else [m, k]
    if name.startswith(("vi.elbo.gradient", "vi.full.elbo.gradient.mean", "vi.optimum.mean")) and name not in SCALARS:
        return [p]
    if name.startswith(("predictive.probit", "predictive.meanfield", "predictive.bridge", "predictive.concentration")):
        return [m, k]
    if name.startswith("predictive.") and name.endswith(".variance"):
        return [m, k, k]
    if ".subset" in name and name not in SCALARS:
        return [len(question.subset)] * 2
    if ".lastlayer" in name and name not in SCALARS:
        return [q, q]
    vector = name == "gradient" or name.endswith((".diag", ".vp", ".hvp", ".variance"))
    return special.get(name) or ([] if name in SCALARS else [p] if vector else [p, p])


def array(values: list) -> dict:
    """A list or a list of lists, with its shape and the proof of its parse; fractions as integers over 256 where they can."""
    nested = isinstance(values[0], list)
    exact = [v for row in values for v in row] if nested else values
    flat = [plain(v) for v in exact]
    over = {"over": UNIT} if any(v != int(v) for v in exact) and all(v * UNIT == int(v * UNIT) for v in exact) else {}
    data = [int(v * UNIT) for v in exact] if over else [int(v) if v == int(v) else plain(v) for v in exact]
    return {"shape": [len(values), len(values[0])] if nested else [len(values)], **over, "data": data, "sha256": digest(flat)}


def plain(value: Fraction | int | None) -> float | int | None:
    """A fraction as the double that it is exactly; integers and null as they are."""
    if not isinstance(value, Fraction):
        return value
    result = float(value)
    if Fraction(result) != value:
        raise ValueError(f"{value} is no double")
    return result
