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
          "hessian.blockdiag", "ggn.lastlayer", "fisher.empirical.centred", *KRONECKER)


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
        kappa |= _parts_of_the_covariance(kappa, results, question)
        kappa["predictive.glm.variance"] = _projected_variance(kappa, results, question)
    return {quantity: round_up(value) for quantity, value in kappa.items()}


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


def _projected_variance(kappa: dict, results: dict[str, Result], question: Question) -> float:
    """Of J Σ Jᵀ, from relative errors ε κ in P and in J: Δ = −J Σ ΔP Σ Jᵀ + 2 sym(ΔJ Σ Jᵀ)."""
    P, S = (unpacked(results["laplace." + part].data, question.num_params) for part in ("precision", "covariance"))
    size = frobenius([results["predictive.glm.variance"].data])
    jacobians = _new_jacobians(question)
    through = [(frobenius(J), frobenius([times(S, row) for row in J])) for J in jacobians]
    from_precision = max(kappa["laplace.precision"], 1.0) * spectral_norm(P) * math.fsum(SJ * SJ for _, SJ in through)
    from_jacobian = 2 * max(kappa["jacobian"], 1.0) * math.fsum(J * SJ for J, SJ in through)
    return (from_precision + from_jacobian) / size


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
