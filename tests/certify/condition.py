"""How much a value moves, relative to its norm, when every input moves by a relative amount of random sign.

κ = max over 16 sign patterns of ‖v(inputs · (1 + ε s)) − v(inputs)‖ / (ε ‖v‖), ε = 2⁻⁶⁰ in 256-bit arithmetic, at least 1,
rounded up to two digits. For an inverse this is multiplied by κ₂(P), for a log-determinant by ‖P⁻¹‖_F ‖P‖_F / |log det P|;
for J P⁻¹ Jᵀ the condition numbers of P and of J are carried through to first order. For EKFAC, whose eigenvectors turn by
‖ΔB‖ over the gap between eigenvalues, the condition number of the factors times the largest ‖B‖/gap is added.
"""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, Context, Decimal
from fractions import Fraction

from .certify import Result, as_fraction
from .closed import Answers, Closed
from .closed_structures import Structures
from .fields import Interval
from .integers import Integers
from .question import Question

PATTERNS = 16
STEP = Fraction(1, 2 ** 60)
FIELD = Interval(256)
KRONECKER = ("ggn.kfac", "ggn.kfra", "ggn.ekfac", "ggn.ekfac.split", "fisher.kfac", "fisher.empirical.kfac", "fisher.mc.kfac")
PACKED = ("ggn.full", "hessian.full", "fisher.full", "fisher.empirical", "fisher.mc", "laplace.precision",
          "laplace.hessian.precision", "laplace.covariance", "laplace.hessian.covariance", "ggn.blockdiag",
          "hessian.blockdiag", "ggn.neuronblocks", "ggn.lastlayer", "hessian.lastlayer", "fisher.empirical.centred",
          "laplace.lastlayer.covariance", "laplace.kron.covariance", *KRONECKER)


def condition_numbers(name: str, question: Question, results: dict[str, Result], scales: dict[str, float]) -> dict:
    """κ for every value. `scales` replaces the norm of a value that is exactly zero."""
    p = question.num_params
    moved = sensitivities(name, question, results)
    kappa = {quantity: change / (norm(quantity, results[quantity].data) or scales[quantity])
             for quantity, change in moved.items()}
    for prefix in ("laplace.", "laplace.hessian."):
        if prefix + "precision" in results:
            kappa |= through_inverse(prefix, kappa, results, p)
    if "ggn.ekfac" in results:
        turning = max(kappa["ggn.kfac"], 1.0) * largest_gap_ratio(question)
        kappa |= {quantity: kappa[quantity] + turning for quantity in ("ggn.ekfac", "ggn.ekfac.split")}
    if "laplace.covariance" in results:
        kappa |= _parts_of_the_covariance(kappa, results, question) | posteriors(kappa, results, question)
    if "laplace.kron.covariance" in results:
        kappa |= _kron_posterior(kappa, results, question)
    return {quantity: round_up(kappa[quantity]) for quantity in results}


def sensitivities(name: str, question: Question, results: dict[str, Result]) -> dict[str, float]:
    """The largest ‖Δv‖/ε over the sign patterns, for every quantity that needs no inverse."""
    with FIELD.working():
        lifted = question.lifted(FIELD)
        base = _evaluated(lifted)
        largest = {quantity: 0.0 for quantity in base if quantity in results}
        for pattern in range(PATTERNS):
            signs = Integers(f"{name}/perturbation/{pattern}")
            grow, shrink = FIELD.number(1 + STEP), FIELD.number(1 - STEP)
            moved = _evaluated(_symmetric(lifted.mapped(lambda v: v * (grow if signs.below(2) else shrink))))
            for quantity in largest:
                change = [_double((a - b) / FIELD.number(STEP)) for a, b in zip(moved[quantity], base[quantity])]
                largest[quantity] = max(largest[quantity], norm(quantity, change))
        return largest


def _evaluated(lifted: Question) -> dict[str, list]:
    """The closed forms that need no inverse."""
    answers = Answers(Closed(lifted, FIELD))
    precision = {prefix + "precision": [a + b for a, b in zip(_packed(M), _packed(lifted.prior_precision))]
                 for prefix, M in (("laplace.", answers.G), ("laplace.hessian.", answers.H))}
    return answers.basic() | precision | {"loss": [answers.loss()], "log_joint": [answers.log_joint()]}


def _packed(M: list[list]) -> list:
    return [value for i, row in enumerate(M) for value in row[:i + 1]]


def _symmetric(question: Question) -> Question:
    """The upper triangle of the perturbed prior follows the lower one."""
    P = question.prior_precision
    for i in range(len(P)):
        for j in range(i):
            P[j][i] = P[i][j]
    return question


def _double(ball) -> float:
    return float(as_fraction(ball.mid()))


def largest_gap_ratio(question: Question) -> float:
    """The largest ‖B‖/gap over the Kronecker factors of the GGN, with and without the 1 of the bias."""
    with FIELD.working():
        structures = Structures(Answers(Closed(question.lifted(FIELD), FIELD)))
        a = structures.answers
        curvature = [a.c.curvature(f, y) for f, y in zip(a.f, question.lifted(FIELD).y)]
        ratios = []
        for l in structures.layers:
            A, fan_in = structures.input_factor(l), question.sizes[l]
            for M in (structures.factor(l, curvature), A, [row[:fan_in] for row in A[:fan_in]]):
                values = sorted(_double(sum((_dot(row, P) for row, P in zip(M, projector)), FIELD.number(0)))
                                for projector in FIELD.projectors(M))
                gaps = [high - low for low, high in zip(values, values[1:])]
                ratios += [max(map(abs, values)) / min(gaps)] if gaps else []
        return max(ratios, default=0.0)


def _dot(a: list, b: list):
    return sum((x * y for x, y in zip(a, b)), FIELD.number(0))


def through_inverse(prefix: str, kappa: dict, results: dict[str, Result], p: int) -> dict:
    """Covariance, log-determinant and evidence, from the condition of P."""
    P, S = (unpacked(results[prefix + part].data, p) for part in ("precision", "covariance"))
    log_det, joint, evidence = (results[key].data[0] for key in
                                (prefix + "log_det", "log_joint", prefix + "log_evidence"))
    of_precision = max(kappa[prefix + "precision"], 1.0)
    det_change = of_precision * frobenius(P) * frobenius(S)
    joint_change = max(kappa["log_joint"], 1.0) * abs(joint)
    return {prefix + "covariance": of_precision * spectral_norm(P) * spectral_norm(S),
            prefix + "log_det": det_change / (abs(log_det) or 1.0),
            prefix + "log_evidence": (joint_change + det_change / 2) / (abs(evidence) or 1.0)}


def _parts_of_the_covariance(kappa: dict, results: dict[str, Result], question: Question) -> dict:
    """Its diagonal, judged by its own norm; Σ v from Δ = Σ Δv − Σ ΔP Σ v."""
    S = unpacked(results["laplace.covariance"].data, question.num_params)
    product, vector = frobenius([results["laplace.covariance.vp"].data]), frobenius([list(map(float, question.vector))])
    inverse = kappa["laplace.covariance"]
    return {"laplace.covariance.diag": inverse * frobenius(S) / frobenius([results["laplace.covariance.diag"].data]),
            "laplace.covariance.vp": inverse + spectral_norm(S) * vector / product}


def posteriors(kappa: dict, results: dict[str, Result], question: Question) -> dict:
    """Of what follows from G + P₀ and from parts of it."""
    p, last = question.num_params, question.num_params - question.layer_sizes[-1]
    P, S = (unpacked(results["laplace." + part].data, p) for part in ("precision", "covariance"))
    J = _new_jacobians(question)
    found = {"predictive.glm.variance": _projected(kappa, P, S, J, results["predictive.glm.variance"]),
             "predictive.joint": _projected(kappa, P, S, [[row for each in J for row in each]], results["predictive.joint"])}
    diagonal = [[P[i][i] if i == j else 0.0 for j in range(p)] for i in range(p)]
    found |= _posterior("diag", "variance", kappa, diagonal, J, results)
    if "laplace.lastlayer.covariance" in results:
        block = [row[last:] for row in P[last:]]
        found |= _posterior("lastlayer", "covariance", kappa, block, [[row[last:] for row in each] for each in J], results)
    return found | _slopes(kappa, results, question, P, S) | _probabilities(kappa, results, found, question.num_outputs)


def _kron_posterior(kappa: dict, results: dict[str, Result], question: Question) -> dict:
    """Of what follows from KFAC in the place of G."""
    with FIELD.working():
        P = [[_double(v) for v in row] for row in Answers(Closed(question.lifted(FIELD), FIELD)).kron_precision()]
    return _posterior("kron", "covariance", kappa, P, _new_jacobians(question), results)


def _posterior(name: str, spread: str, kappa: dict, P: list, J: list, results: dict[str, Result]) -> dict:
    """As for the whole of P: through the inverse, the determinant and J P⁻¹ Jᵀ."""
    p, own = len(P), results[f"laplace.{name}.{spread}"].data
    S = [[own[i] if i == j else 0.0 for j in range(p)] for i in range(p)] if spread == "variance" else unpacked(own, p)
    log_det = results[f"laplace.{name}.log_det"].data[0]
    change = _of_precision(kappa, name) * frobenius(P) * frobenius(S)
    variance = f"predictive.{name}.variance"
    found = {f"laplace.{name}.{spread}": _of_precision(kappa, name) * spectral_norm(P) * spectral_norm(S),
             f"laplace.{name}.log_det": change / (abs(log_det) or 1.0),
             variance: _projected(kappa, P, S, J, results[variance], name)}
    if f"laplace.{name}.log_evidence" in results:
        evidence, joint = (results[key].data[0] for key in (f"laplace.{name}.log_evidence", "log_joint"))
        found[f"laplace.{name}.log_evidence"] = (max(kappa["log_joint"], 1.0) * abs(joint) + change / 2) / (abs(evidence) or 1.0)
    return found


def _of_precision(kappa: dict, name: str) -> float:
    return max(kappa["ggn.kfac" if name == "kron" else "laplace.precision"], 1.0)


def _projected(kappa: dict, P: list, S: list, jacobians: list, result: Result, name: str = "") -> float:
    """Of J Σ Jᵀ, from relative errors ε κ in P and in J: Δ = −J Σ ΔP Σ Jᵀ + 2 sym(ΔJ Σ Jᵀ)."""
    through = [(frobenius(J), frobenius([times(S, row) for row in J])) for J in jacobians]
    from_precision = _of_precision(kappa, name) * spectral_norm(P) * math.fsum(SJ * SJ for _, SJ in through)
    from_jacobian = 2 * max(kappa["jacobian"], 1.0) * math.fsum(J * SJ for J, SJ in through)
    return (from_precision + from_jacobian) / frobenius([result.data])


def _slopes(kappa: dict, results: dict[str, Result], question: Question, P: list, S: list) -> dict:
    """Of p/2 − ½ dᵀP₀d − ½ tr ΣP₀ (and with the loss for the quadratic form): Δ tr = tr ΣP₀Σ ΔP."""
    P0 = [list(map(float, row)) for row in question.prior_precision]
    both = [times(P0, row) for row in S]
    bent = frobenius([times(S, row) for row in both])
    trace = math.fsum(both[i][i] for i in range(len(S)))
    turned = max(kappa["laplace.precision"], 1.0) * (frobenius(P) * bent + abs(trace)) / 2
    change = {"laplace.evidence.prior": "log_joint", "laplace.evidence.noise": "loss"}
    return {name: (turned + len(S) + max(kappa[of], 1.0) * abs(results[of].data[0])) / (abs(results[name].data[0]) or 1.0)
            for name, of in change.items() if name in results}


def _probabilities(kappa: dict, results: dict[str, Result], found: dict, k: int) -> dict:
    """Of σ(a) and softmax(a), a = f s, s = (1 + π v/8)^(−1/2): ‖Δa‖ <= max s ‖Δf‖ + max |f| s³ (π/16) ‖Δv‖ at every input."""
    moved_f, moved_v = (kappa["predictive.glm.mean"] * frobenius([results["predictive.glm.mean"].data]),
                        found["predictive.glm.variance"] * frobenius([results["predictive.glm.variance"].data]))
    f, v = (results[f"predictive.glm.{part}"].data for part in ("mean", "variance"))
    change = []
    for n in range(len(f) // k):
        s = [1 / math.sqrt(1 + math.pi * v[n * k * k + i * (k + 1)] / 8) for i in range(k)]
        change.append(max(s) * moved_f + max(abs(f[n * k + i]) * s[i] ** 3 for i in range(k)) * math.pi / 16 * moved_v)
    slopes = {"predictive.probit": lambda p: [[a * (1 - a) for a in p]],
              "predictive.probit.multiclass": lambda p: [[a * (i == j) - a * b for j, b in enumerate(p)]
                                                         for i, a in enumerate(p)]}
    result = {}
    for name in set(slopes) & set(results):
        p = results[name].data
        inputs = [frobenius(slopes[name](p[n * k:(n + 1) * k])) * change[n] for n in range(len(change))]
        result[name] = 1 + frobenius([inputs]) / frobenius([p])
    return result


def _new_jacobians(question: Question) -> list[list[list[float]]]:
    with FIELD.working():
        closed = Closed(question.lifted(FIELD), FIELD)
        return [[[_double(v) for v in row] for row in closed.jacobian(list(map(FIELD.number, x)))[1]]
                for x in question.X_new]


# -- norms --------------------------------------------------------------------------------------------------------

def norm(quantity: str, data: list[float]) -> float:
    """The Frobenius norm; a packed triangle counts its off-diagonal twice. Scaled, so that nothing under- or overflows."""
    if quantity in PACKED:
        p = (math.isqrt(8 * len(data) + 1) - 1) // 2
        return frobenius(unpacked(data, p))
    return frobenius([data])


def unpacked(data: list[float], p: int) -> list[list[float]]:
    """The full symmetric matrix from its lower triangle."""
    M = [[0.0] * p for _ in range(p)]
    for i in range(p):
        for j in range(i + 1):
            M[i][j] = M[j][i] = data[i * (i + 1) // 2 + j]
    return M


def times(M: list[list[float]], v: list[float]) -> list[float]:
    """M v."""
    return [math.fsum(a * b for a, b in zip(row, v)) for row in M]


def frobenius(rows: list[list[float]]) -> float:
    values = [value for row in rows for value in row]
    largest = max(map(abs, values))
    return largest * math.sqrt(math.fsum((v / largest) ** 2 for v in values)) if largest else 0.0


def spectral_norm(M: list[list[float]]) -> float:
    """Largest eigenvalue of a positive definite matrix: the power method, which is plain + and × and so the same anywhere."""
    v, size = [1.0 + 1.0 / (i + 2) for i in range(len(M))], 0.0
    for _ in range(200):
        w = times(M, v)
        before, size = size, math.sqrt(math.fsum(x * x for x in w))
        v = [x / size for x in w]
        if abs(size - before) <= 1e-6 * size:
            break
    return size


def round_up(value: float) -> float:
    """Two significant digits, upwards, at least 1."""
    return float(Context(prec=2, rounding=ROUND_CEILING).create_decimal(Decimal(max(value, 1.0))))
