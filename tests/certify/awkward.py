"""Cases at the edges: sizes of one, saturation, rank deficiency, extreme scales, exact zeros."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from functools import partial

from .designs import F, PRECISION, VARIANCE, Design, full
from .question import Question


def same_inputs(question: Question) -> Question:
    """All data at one input."""
    return replace(question, X=[question.X[0]] * len(question.X))


def doubled(question: Question) -> Question:
    """The second half of the data repeats the first."""
    half = (len(question.X) + 1) // 2
    return replace(question, **{name: (getattr(question, name)[:half] * 2)[:len(question.X)] for name in ("X", "y")})


def last_layer_times(question: Question, factor: int) -> Question:
    """Weights and biases of the last layer multiplied: outputs far apart."""
    start = question.num_params - question.layer_sizes[-1]
    return replace(question, theta=[v * factor if i >= start else v for i, v in enumerate(question.theta)])


def first_layer_times(question: Question, factor: int) -> Question:
    """Weights and biases of the first layer multiplied: saturated hidden units."""
    return replace(question, theta=[v * factor if i < question.layer_sizes[0] else v
                                    for i, v in enumerate(question.theta)])


def large_rates(question: Question) -> Question:
    """Output biases raised by 6 (in θ and in every draw): rates around e⁶."""
    k, p = question.num_outputs, question.num_params

    def raised(theta: list) -> list:
        return [v + 6 if i >= p - k else v for i, v in enumerate(theta)]
    return replace(question, theta=raised(question.theta), draws=[raised(draw) for draw in question.draws])


def dead_units(question: Question) -> Question:
    """First-layer biases lowered by 16: no datum reaches a hidden unit."""
    width, fan_in = question.sizes[1], question.sizes[0]
    biases = range(width * fan_in, width * (fan_in + 1))
    return replace(question, theta=[v - 16 if i in biases else v for i, v in enumerate(question.theta)])


def twin_units(question: Question) -> Question:
    """The second hidden unit has the incoming weights of the first, so their columns of J are the same up to a factor."""
    width, fan_in = question.sizes[1], question.sizes[0]
    theta = list(question.theta)
    theta[fan_in:2 * fan_in] = theta[:fan_in]
    theta[width * fan_in + 1] = theta[width * fan_in]
    return replace(question, theta=theta)


def blind_feature(question: Question) -> Question:
    """The second input is zero in every datum: its weights are seen by the prior alone."""
    return replace(question, X=[[row[0], F(0), *row[2:]] for row in question.X])


def interpolated(question: Question) -> Question:
    """θ and X in quarters, and y = f(X, θ): the residual is exactly zero. One ReLU layer."""
    def quarters(v: Fraction) -> Fraction:
        return F(round(v * 4) or 1, 4)

    q = replace(question, theta=[quarters(v) for v in question.theta],
                X=[[quarters(v) for v in row] for row in question.X])
    return replace(q, y=[_relu_network(q, x) for x in q.X])


def _relu_network(q: Question, x: list) -> list:
    d, h, k = q.sizes
    hidden = [max(F(0), sum(q.theta[i * d + j] * x[j] for j in range(d)) + q.theta[h * d + i]) for i in range(h)]
    rest = q.theta[h * (d + 1):]
    return [sum(rest[i * h + j] * hidden[j] for j in range(h)) + rest[k * h + i] for i in range(k)]


awkward = partial(Design, family="awkward")

AWKWARD = [
    awkward("one-parameter", "One weight, one datum, one output: every matrix is 1 × 1", (1, 1), "identity", "normal",
            num_data=1, bias=False, variance=VARIANCE),
    awkward("one-datum", "A single datum", (2, 3, 3), "tanh", "normal", num_data=1, variance=VARIANCE),
    awkward("one-output-normal", "One output, normal likelihood", (3, 5, 1), "tanh", "normal", variance=VARIANCE),
    awkward("one-output-bernoulli", "One binary output", (2, 5, 1), "softplus", "bernoulli"),
    awkward("one-output-poisson", "One count", (2, 5, 1), "erf", "poisson"),
    awkward("two-classes", "Softmax over two classes: the curvature has rank one per datum", (2, 3, 2), "tanh",
            "categorical"),
    awkward("width-one", "Three hidden layers of one unit", (2, 1, 1, 1, 3), "tanh", "categorical"),
    awkward("four-hidden-layers", "Four hidden layers of two SiLU units", (2, 2, 2, 2, 2, 3), "silu", "normal",
            num_data=7, variance=VARIANCE),
    awkward("seven-classes", "Seven classes, two hidden units", (2, 2, 7), "tanh", "categorical"),
    awkward("no-bias-no-hidden-layer", "A bare matrix of weights", (3, 2), "identity", "categorical", bias=False),
    awkward("saturated-softmax", "Outputs far apart: most probabilities are 0 or 1 to many digits", (2, 3, 3), "tanh",
            "categorical", change=partial(last_layer_times, factor=16), flags=("saturated",)),
    awkward("saturated-bernoulli", "Logits up to 33 in size: probabilities within 10⁻¹⁵ of one", (2, 3, 3), "tanh", "bernoulli",
            change=partial(last_layer_times, factor=16), flags=("saturated",)),
    awkward("saturated-tanh", "Hidden units far out on the plateaus of tanh", (2, 3, 3), "tanh", "normal",
            variance=VARIANCE, change=partial(first_layer_times, factor=8), flags=("saturated",)),
    awkward("large-rates", "Poisson rates of hundreds", (2, 3, 3), "tanh", "poisson", counts=(150, 900), num_data=7,
            change=large_rates),
    awkward("zero-counts", "Every count is zero", (2, 3, 3), "tanh", "poisson", counts=(0, 0)),
    awkward("more-parameters-than-data", "27 parameters, two data with three outputs: GGN of rank 6", (2, 4, 3), "gelu",
            "normal", num_data=2, variance=VARIANCE, flags=("rank-deficient",)),
    awkward("same-inputs", "Seven targets at one input: GGN of rank 2", (2, 3, 3), "tanh", "categorical", num_data=7,
            change=same_inputs, flags=("rank-deficient",)),
    awkward("duplicate-data", "Every datum but one occurs twice", (2, 3, 3), "sigmoid", "bernoulli", num_data=11,
            change=doubled),
    awkward("twin-units", "Two hidden units with the same incoming weights", (2, 3, 3), "tanh", "normal",
            variance=VARIANCE, change=twin_units, flags=("rank-deficient",)),
    awkward("blind-feature", "An input that is zero in all data", (3, 3, 3), "tanh", "poisson", num_data=7,
            change=blind_feature, flags=("rank-deficient",)),
    awkward("near-zero-noise", "Noise variance 2⁻¹²", (2, 3, 3), "tanh", "normal", variance=F(1, 2 ** 12),
            flags=("ill-conditioned",)),
    awkward("huge-prior-precision", "Prior precision 2²⁰: the data hardly matter", (2, 3, 3), "tanh", "categorical",
            prior=("isotropic", F(2 ** 20))),
    awkward("tiny-prior-precision", "Prior precision 2⁻¹² and a rank-deficient GGN", (2, 3, 3), "tanh", "categorical",
            prior=("isotropic", F(1, 2 ** 12)), flags=("ill-conditioned",)),
    awkward("ill-conditioned-prior", "A full prior precision with a ridge of 2⁻⁸ on a matrix of small rank", (2, 3, 3),
            "tanh", "normal", num_data=2, variance=VARIANCE, prior=("full", partial(full, ridge=F(1, 256), rank=5)),
            mean="array", flags=("ill-conditioned",)),
    awkward("large-inputs", "Inputs up to 64, not standardised", (2, 3, 3), "leaky_relu", "normal", slope=F(1, 8),
            variance=VARIANCE, reach=F(64)),
    awkward("dead-units", "ReLU units that no datum reaches: only the output biases are seen", (2, 3, 3), "relu",
            "normal", variance=VARIANCE, change=dead_units, flags=("rank-deficient",)),
    awkward("interpolation", "The network fits every target exactly: gradient and empirical Fisher are zero, the GGN is not",
            (2, 3, 3), "relu", "normal", num_data=5, variance=VARIANCE, change=interpolated, flags=("exact-zero",)),
    awkward("three-precisions-deep", "Two softplus layers, one prior precision per layer over a factor of 4096",
            (2, 3, 3, 3), "softplus", "normal", num_data=7, variance=VARIANCE,
            prior=("per_layer", [F(1, 64), PRECISION, F(64)])),
]
