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

from . import exact_posteriors, low_rank, optima
from .certify import Result
from .closed import Answers, Closed
from .closed_posteriors import class_approximations
from .closed_structures import Structures
from .derive import Derivation
from .fields import Interval
from .integers import Integers
from .question import Question

PATTERNS = 16
STEP = Fraction(1, 2 ** 60)
FIELD = Interval(256)
KRONECKER = ("ggn.kfac", "ggn.kfra", "ggn.ekfac", "ggn.ekfac.split", "ggn.vanloan", "fisher.kfac", "fisher.empirical.kfac",
             "fisher.mc.kfac")
PACKED = ("ggn.full", "hessian.full", "fisher.full", "fisher.empirical", "fisher.mc", "laplace.precision",
          "laplace.hessian.precision", "laplace.covariance", "laplace.hessian.covariance", "ggn.blockdiag",
          "hessian.blockdiag", "ggn.neuronblocks", "ggn.lastlayer", "hessian.lastlayer", "fisher.empirical.centred",
          "laplace.lastlayer.covariance", "laplace.kron.covariance", "laplace.kron.split.covariance", "ggn.subset",
          "laplace.subset.covariance", "posterior.covariance", "vi.optimum.covariance",
          "laplace.lowrank.precision", "laplace.lowrank.covariance", "laplace.hessian.lowrank.precision", *KRONECKER)


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
    if "ggn.vanloan" in results:
        kappa["ggn.vanloan"] += max(kappa["ggn.blockdiag"], 1.0) * separation(question)
    if "laplace.covariance" in results:
        kappa |= _parts_of_the_covariance(kappa, results, question) | posteriors(kappa, results, question)
    for name in ("kron", "kron.split"):
        if f"laplace.{name}.covariance" in results:
            kappa |= _kron_posterior(name, kappa, results, question)
    for part, curvature in (("lowrank", "ggn.full"), ("hessian.lowrank", "hessian.full")):
        if f"laplace.{part}.precision" in results:
            kappa |= _low_rank(part, curvature, kappa, results, question)
    kappa |= _exact_posterior(name, question, results, kappa) | _optimum(name, question, results, kappa)
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
    answers = Answers(Closed(lifted, FIELD), reach=1)
    precision = {prefix + "precision": [a + b for a, b in zip(_packed(M), _packed(lifted.prior_precision))]
                 for prefix, M in (("laplace.", answers.G), ("laplace.hessian.", answers.H))}
    scalars = {"loss": [answers.loss()], "log_joint": [answers.log_joint()]}
    return answers.basic() | answers.variational_values() | precision | scalars


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
    """The midpoint, correctly rounded as long as it is a normal double."""
    mantissa, exponent = ball.mid().man_exp()
    return math.ldexp(float(int(mantissa)), int(exponent))


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


def separation(question: Question) -> float:
    """The largest λ₁/(λ₁ − λ₂) of the layers' Σ_nm ⟨B_n, B_m⟩ vec(ā_n ā_n') vec(ā_m ā_m')'."""
    with FIELD.working():
        structures = Structures(Answers(Closed(question.lifted(FIELD), FIELD)))
        a = structures.answers
        outputs = [a.c.curvature(f, y) for f, y in zip(a.f, a.q.y)]
        worst = 1.0
        for l in structures.layers:
            M, _, _ = structures.paired(l, structures.curved(l, outputs))
            u = FIELD.leading(M)
            first = _dot(u, [_dot(row, u) for row in M])
            rest = [[v - first * u[i] * u[j] for j, v in enumerate(row)] for i, row in enumerate(M)]
            left = math.sqrt(sum(_double(v) ** 2 for row in rest for v in row))
            worst = max(worst, _double(first) / max(_double(first) - left, 1e-3 * _double(first)))
        return worst


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
        chosen = [[P[i][j] for j in question.subset] for i in question.subset]
        found |= _posterior("subset", "covariance", kappa, chosen,
                            [[[row[i] for i in question.subset] for row in each] for each in J], results)
    spread = [[1 / P[i][i] if i == j else 0.0 for j in range(p)] for i in range(p)]
    found |= _slopes("diag.", kappa, results, question, diagonal, spread) | _process(kappa, results, question, P, S)
    found |= _divergences(kappa, results, question, P, S) | _expectations(kappa, results, found, question)
    return found | _slopes("", kappa, results, question, P, S) | _probabilities(kappa, results, found, question.num_outputs) | (
        _classes(kappa, results, _moves(kappa, results, question, P, S, J), question.num_outputs))


def _kron_posterior(name: str, kappa: dict, results: dict[str, Result], question: Question) -> dict:
    """Of what follows from KFAC in the place of G."""
    with FIELD.working():
        answers = Answers(Closed(question.lifted(FIELD), FIELD))
        P = [[_double(v) for v in row] for row in answers.kron_precision(f"laplace.{name}.")]
    S = unpacked(results[f"laplace.{name}.covariance"].data, question.num_params)
    return _posterior(name, "covariance", kappa, P, _new_jacobians(question), results) | (
        _slopes(name + ".", kappa, results, question, P, S))


def _low_rank(name: str, curvature: str, kappa: dict, results: dict[str, Result], question: Question) -> dict:
    """Of the leading eigenpairs: errors of G turn directions by up to their size over the gap after the last of them."""
    p, whole = question.num_params, f"laplace.{name}.precision"
    G, P = (unpacked(results[of].data, p) for of in (curvature, whole))
    turning = (1 + 2 * low_rank.separation(G, question.rank)) * spectral_norm(G) / spectral_norm(P)
    kappa = kappa | {whole: max(kappa[curvature], 1.0) * turning + 1}
    with FIELD.working():
        exact = FIELD.matrix([[FIELD.number(Fraction(v)) for v in row] for row in P]).inv().tolist()
        S = [[_double(v) for v in row] for row in exact]
    found = _from_inverse(name, "covariance", kappa, P, S, _new_jacobians(question), results)
    return {whole: kappa[whole]} | {key: value for key, value in found.items() if key in results}


def _posterior(name: str, spread: str, kappa: dict, P: list, J: list, results: dict[str, Result]) -> dict:
    """As for the whole of P: through the inverse, the determinant and J P⁻¹ Jᵀ."""
    p, own = len(P), results[f"laplace.{name}.{spread}"].data
    S = [[own[i] if i == j else 0.0 for j in range(p)] for i in range(p)] if spread == "variance" else unpacked(own, p)
    return _from_inverse(name, spread, kappa, P, S, J, results)


def _from_inverse(name: str, spread: str, kappa: dict, P: list, S: list, J: list, results: dict[str, Result]) -> dict:
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
    of = f"laplace.{name}.precision" if name.endswith("lowrank") else "ggn.kfac" if name.startswith("kron") else \
        "laplace.precision"
    return max(kappa[of], 1.0)


def _projected(kappa: dict, P: list, S: list, jacobians: list, result: Result, name: str = "") -> float:
    """Of J Σ Jᵀ, from relative errors ε κ in P and in J: Δ = −J Σ ΔP Σ Jᵀ + 2 sym(ΔJ Σ Jᵀ)."""
    through = [(frobenius(J), frobenius([times(S, row) for row in J])) for J in jacobians]
    from_precision = _of_precision(kappa, name) * spectral_norm(P) * math.fsum(SJ * SJ for _, SJ in through)
    from_jacobian = 2 * max(kappa["jacobian"], 1.0) * math.fsum(J * SJ for J, SJ in through)
    return (from_precision + from_jacobian) / frobenius([result.data])


def _slopes(name: str, kappa: dict, results: dict[str, Result], question: Question, P: list, S: list) -> dict:
    """Of p/2 − ½ dᵀP₀d − ½ tr ΣP₀ (and with the loss for the quadratic form): Δ tr = tr ΣP₀Σ ΔP."""
    P0 = [list(map(float, row)) for row in question.prior_precision]
    both = [times(P0, row) for row in S]
    bent = frobenius([times(S, row) for row in both])
    trace = math.fsum(both[i][i] for i in range(len(S)))
    turned = _of_precision(kappa, name.rstrip(".")) * (frobenius(P) * bent + abs(trace)) / 2
    change = {f"laplace.{name}evidence.prior": "log_joint", f"laplace.{name}evidence.noise": "loss"}
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
    for name in (name for name in slopes if name in results):
        p = results[name].data
        inputs = [frobenius(slopes[name](p[n * k:(n + 1) * k])) * change[n] for n in range(len(change))]
        result[name] = 1 + frobenius([inputs]) / frobenius([p])
    return result


def _exact_posterior(name: str, question: Question, results: dict[str, Result], kappa: dict) -> dict:
    """Of integrals by sign patterns of the inputs, on a grid of 16 steps; of linear regression those of its other names."""
    if "posterior.mean" not in results:
        return {}
    if question.is_quadratic:
        same = {"log_evidence": "gp.log_evidence", "mean": "gp.mean", "covariance": "laplace.covariance",
                "predictive.mean": "gp.mean", "predictive.variance": "predictive.glm.variance",
                "evidence.prior": "gp.evidence.prior",
                "evidence.noise": "gp.evidence.noise"}
        return {f"posterior.{part}": kappa[other] for part, other in same.items()}
    largest = {quantity: 0.0 for quantity in results if quantity.startswith("posterior.")}
    with FIELD.working():
        lifted = question.lifted(FIELD)
        axes = exact_posteriors.trapezoid(exact_posteriors.edges_of(Derivation(question, FIELD)), 16)
        base = exact_posteriors.in_closed_form(Answers(Closed(lifted, FIELD)), axes)
        for pattern in range(PATTERNS):
            signs = Integers(f"{name}/posterior/{pattern}")
            grow, shrink = FIELD.number(1 + STEP), FIELD.number(1 - STEP)
            turned = _symmetric(lifted.mapped(lambda v: v * (grow if signs.below(2) else shrink)))
            moved = exact_posteriors.in_closed_form(Answers(Closed(turned, FIELD)), axes)
            for quantity in largest:
                change = [_double((a - b) / FIELD.number(STEP)) for a, b in zip(moved[quantity], base[quantity])]
                largest[quantity] = max(largest[quantity], norm(quantity, change))
    return {quantity: size / norm(quantity, results[quantity].data) for quantity, size in largest.items()}


def _optimum(name: str, question: Question, results: dict[str, Result], kappa: dict) -> dict:
    """Of the best Gaussians by sign patterns of the inputs, the equations solved to first order."""
    if "vi.optimum.mean" not in results:
        return {}
    if question.is_quadratic:
        same = {"mean": "gp.mean", "covariance": "laplace.covariance", "elbo": "gp.log_evidence", "meanfield.mean": "gp.mean",
                "meanfield.variance": "laplace.diag.variance", "meanfield.elbo": "gp.log_evidence"}
        return {f"vi.optimum.{part}": kappa[other] for part, other in same.items()}
    largest: dict[str, float] = {}
    with FIELD.working():
        base = optima.Routes(question, FIELD).second(optima.COARSE)
        at = {prefix: _gaussian(prefix, results) for prefix in (optima.FULL, optima.MEAN_FIELD)}
        slopes = {prefix: optima.slopes_at(base, prefix, *where) for prefix, where in at.items()}
        for pattern in range(PATTERNS):
            signs = Integers(f"{name}/optimum/{pattern}")
            grow, shrink = 1 + STEP, 1 - STEP
            turned = _symmetric(question.mapped(lambda v: v * (grow if signs.below(2) else shrink)))
            moved = optima.Routes(turned, FIELD).second(optima.COARSE)
            for prefix, where in at.items():
                for quantity, change in optima.changes(base, moved, slopes[prefix], prefix, *where).items():
                    size = norm(quantity, [_double(v / FIELD.number(STEP)) for v in change])
                    largest[quantity] = max(largest.get(quantity, 0.0), size)
    return {quantity: size / norm(quantity, results[quantity].data) for quantity, size in largest.items()}


def _gaussian(prefix: str, results: dict[str, Result]) -> tuple[list, list[list]]:
    """Mean and lower triangular C."""
    mean = [FIELD.number(Fraction(v)) for v in results[prefix + "mean"].data]
    p = len(mean)
    if prefix == optima.FULL:
        S = unpacked(results[prefix + "covariance"].data, p)
    else:
        S = [[v if i == j else 0.0 for j in range(p)] for i, v in enumerate(results[prefix + "variance"].data)]
    return mean, optima.root([[FIELD.number(Fraction(v)) for v in row] for row in S])


def _divergences(kappa: dict, results: dict[str, Result], question: Question, P: list, S: list) -> dict:
    """Of the divergences between Laplace and prior: traces, the distance of the means and log-determinants, through P."""
    P0 = [list(map(float, row)) for row in question.prior_precision]
    with FIELD.working():
        lifted = question.lifted(FIELD)
        S0 = [[_double(v) for v in row] for row in FIELD.matrix(lifted.prior_precision).inv().tolist()]
    d = [float(a - b) for a, b in zip(question.theta, question.prior_mean)]
    of_precision = max(kappa["laplace.precision"], 1.0)
    change = {"vi.kl.laplace": of_precision * frobenius(P) * frobenius(S) + frobenius(S) * frobenius(P0)
              + abs(math.fsum(a * b for a, b in zip(d, times(P0, d)))),
              "vi.kl.laplace.reverse": of_precision * (frobenius(P) * (frobenius(S0) + math.fsum(a * a for a in d)))
              + frobenius(P) * frobenius(S)}
    return {name: (size + len(P)) / (abs(results[name].data[0]) or 1.0) for name, size in change.items() if name in results}


def _expectations(kappa: dict, results: dict[str, Result], found: dict, question: Question) -> dict:
    """Of E[y] under N(f, V): |∂E/∂f| and 2 |∂E/∂v| are at most 1 for probabilities, E and E for exp, 2 |f| and 2 for squares."""
    if "predictive.exact" not in results:
        return {}
    moved_f, moved_v = (size * frobenius([results[f"predictive.glm.{part}"].data]) for part, size in (
        ("mean", max(kappa["predictive.glm.mean"], 1.0)), ("variance", found["predictive.glm.variance"])))
    E, f = results["predictive.exact"].data, results["predictive.glm.mean"].data
    steep = {"poisson_square": 2 * max(1.0, *map(abs, f)), "bernoulli": 1 / 4, "bernoulli_probit": 2 / 5, "categorical": 1 / 2}
    slope = steep.get(question.likelihood, max(E))
    return {"predictive.exact": 1 + slope * (moved_f + moved_v) / frobenius([E])}


def _moves(kappa: dict, results: dict[str, Result], question: Question, P: list, S: list, J: list) -> list[float]:
    """By how much an entry of V may be off, input by input."""
    k, V = question.num_outputs, results["predictive.glm.variance"].data
    blocks = [Result("V", V[at:at + k * k]) for at in range(0, len(V), k * k)]
    return [_projected(kappa, P, S, [each], block) * frobenius([block.data]) / k for each, block in zip(J, blocks)]


def _classes(kappa: dict, results: dict[str, Result], moves: list[float], k: int) -> dict:
    """Of mean field and the bridge: the largest change over 16 sign patterns of changes in f and V of their own errors."""
    names = [name for name in ("predictive.meanfield", "predictive.concentration", "predictive.bridge") if name in results]
    if not names:
        return {}
    f, v = (results[f"predictive.glm.{part}"].data for part in ("mean", "variance"))
    size = max(kappa["predictive.glm.mean"], 1.0) * frobenius([f]) / math.sqrt(len(f))
    with FIELD.working():
        f, v = ([FIELD.number(Fraction(x)) for x in row] for row in (f, v))
        base, largest = _of_logits(f, v, k), dict.fromkeys(names, 0.0)
        for pattern in range(PATTERNS):
            signs = Integers(f"classes/{pattern}")
            moved_f = [x + FIELD.number(STEP * (1 if signs.below(2) else -1)) * size for x in f]
            turns = [FIELD.number(STEP * (1 if signs.below(2) else -1)) for _ in v]
            moved_v = [x + turns[_mirror(at, k)] * moves[at // (k * k)] for at, x in enumerate(v)]
            moved = _of_logits(moved_f, moved_v, k)
            for name in names:
                change = [_double((a - b) / FIELD.number(STEP)) for a, b in zip(moved[name], base[name])]
                largest[name] = max(largest[name], frobenius([change]))
    return {name: 1 + largest[name] / frobenius([results[name].data]) for name in names}


def _gram(rows: list[list[float]]) -> list[list[float]]:
    return [times(rows, row) for row in rows]


def _mirror(at: int, k: int) -> int:
    """The place of the lower triangle that an entry of a stack of symmetric matrices shares."""
    n, i, j = at // (k * k), at // k % k, at % k
    return (n * k + max(i, j)) * k + min(i, j)


def _of_logits(f: list, v: list, k: int) -> dict[str, list]:
    logits = [(f[at:at + k], None) for at in range(0, len(f), k)]
    return class_approximations(FIELD, logits, v, k)


def _process(kappa: dict, results: dict[str, Result], question: Question, P: list, S: list) -> dict:
    """Of the linearised network as a process. By functions K + σ² is inverted, by weights P: whoever does either is covered."""
    found = {}
    with FIELD.working():
        answers = Answers(Closed(question.lifted(FIELD), FIELD))
        K = [[_double(v) for v in row] for row in answers.posteriors.kernel_matrix()]
        P0 = [list(map(float, row)) for row in question.prior_precision]
        inverse = [[_double(v) for v in row] for row in FIELD.matrix(answers.q.prior_precision).inv().tolist()]
        J = [[_double(v) for v in row] for each in answers.J for row in each]
        step = [_double(v) for v in answers.posteriors.step()] if question.likelihood == "normal" else []
        left_out = _left_out(answers) if question.likelihood == "normal" else []
    if "gp.kernel" in results:
        found["gp.kernel"] = _projected({"laplace.precision": 1.0, "jacobian": kappa["jacobian"]}, P0, inverse, [J],
                                        results["gp.kernel"])
    if "gp.mean" in results:
        bad = max(spectral_norm(P) * spectral_norm(S) * max(kappa["laplace.precision"], 1.0),
                  1 + spectral_norm(K) / float(question.variance))
        new = math.sqrt(spectral_norm(_gram([row for each in _new_jacobians(question) for row in each])))
        moved = max(kappa["predictive.glm.mean"], 1.0) * frobenius([results["predictive.glm.mean"].data])
        found["gp.mean"] = (moved + new * frobenius([step]) * (bad + max(kappa["jacobian"], 1.0))) / \
            frobenius([results["gp.mean"].data])
        size = max(kappa["log_joint"], 1.0) * abs(results["log_joint"].data[0]) + bad * (len(K) + len(P))
        found["gp.log_evidence"] = size / (abs(results["gp.log_evidence"].data[0]) or 1.0)
        found |= _process_slopes(results, question, bad, step, P0, left_out) | _density_left_out(
            results, question, bad * frobenius([step]), left_out, J, bad)
    return found


def _left_out(answers: Answers) -> list[tuple[list[float], list[float], list[list[float]]]]:
    """Of every datum e at the posterior mean, R⁻¹e and R⁻¹, R = I − J P⁻¹Jᵀ/σ²."""
    of, found = answers.posteriors, []
    for e, (L, D) in zip(of.errors(of.step()), of.remainders(of.precision)):
        lists = e, of.solved(L, D, e, answers.zero)
        inverse = [[_double(v) for v in row] for row in of.inverse(L, D, answers.zero)]
        found.append((*([_double(v) for v in each] for each in lists), inverse))
    return found


def _process_slopes(results: dict, question: Question, bad: float, step: list, P0: list, left_out: list) -> dict:
    """Of squares and traces at the posterior mean, which is off by up to `bad` times the step."""
    moved = [float(a - b) + s for a, b, s in zip(question.theta, question.prior_mean, step)]
    square = abs(math.fsum(a * b for a, b in zip(moved, times(P0, moved))))
    turned = frobenius([times(P0, moved)]) * frobenius([step])
    fit = math.fsum(v * v for e, _, _ in left_out for v in e) / float(question.variance)
    size = {"gp.evidence.prior": bad * (len(P0) + turned) + square, "gp.evidence.noise": bad * (len(P0) + 2 * fit) + fit
            + len(left_out)}
    return {name: change / (abs(results[name].data[0]) or 1.0) for name, change in size.items()}


def _density_left_out(results: dict, question: Question, moved: float, left_out: list, J: list, bad: float) -> dict:
    """Of ½ log |R| − ½ eᵀR⁻¹e/σ²: R is off by up to `bad`, e by what the mean is."""
    k, noise, sizes = question.num_outputs, float(question.variance), []
    for n, (e, solved, inverse) in enumerate(left_out):
        steep = frobenius(J[n * k:(n + 1) * k])
        size = frobenius([solved])
        sizes.append(bad * (frobenius(inverse) + size * size / noise) + size * (moved * steep + frobenius([e])) / noise + k)
    return {"gp.loo.log_density": frobenius([sizes]) / frobenius([results["gp.loo.log_density"].data])}


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
