"""Cases with block-diagonal, Kronecker-factored and dual forms of the curvature, for every likelihood."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from .designs import FULL, PER_LAYER_2, PER_LAYER_3, PER_PARAMETER, PRECISION, VARIANCE, Design, F
from .awkward import last_layer_times, same_inputs
from .mode import near_mode
from .question import Question

NOISE = [[F(95, 256), F(-37, 256), F(11, 64)], [F(-37, 256), F(131, 256), F(19, 256)], [F(11, 64), F(19, 256), F(173, 256)]]
CUTS = [F(-71, 64), F(-23, 256), F(41, 64)]
SCALE, DEGREES = F(87, 128), F(311, 64)
DISPERSION, SHAPE = F(159, 64), F(119, 64)


def far_target(question: Question) -> Question:
    """The first target of the first datum moved by 6: far out in the tail."""
    y = [list(row) for row in question.y]
    y[0][0] += 6
    return replace(question, y=y)


def away_from_zero(question: Question) -> Question:
    """Output biases raised by 2, in θ and in the draws: a square link has a pole at zero."""
    k, p = question.num_outputs, question.num_params

    def raised(theta: list) -> list:
        return [v + 2 if i >= p - k else v for i, v in enumerate(theta)]
    return replace(question, theta=raised(question.theta), draws=[raised(draw) for draw in question.draws])


def second_raised(question: Question, by: int) -> Question:
    """The bias of every second output raised, in θ and in the draws."""
    places = range(question.num_params - question.num_outputs + 1, question.num_params, 2)

    def raised(theta: list) -> list:
        return [v + by if i in places else v for i, v in enumerate(theta)]
    return replace(question, theta=raised(question.theta), draws=[raised(draw) for draw in question.draws])


loose = partial(second_raised, by=2)    # a larger log variance
negative = partial(second_raised, by=-6)    # as −1/(2v) must be


diagnostic = partial(Design, structures=True, num_data=7)
deeper = partial(Design, structures=True, num_data=5, sizes=(2, 2, 2, 3))
awkward = partial(Design, structures=True, num_data=7, family="awkward")
exact = partial(Design, structures=True, num_data=5, family="exact", ekfac=False)

LIKELIHOODS = [
    diagnostic("probit-tanh-2-3-3", "Three binary outputs with probit link", (2, 3, 3), "tanh", "bernoulli_probit"),
    deeper("probit-silu-2-2-2-3", "Probit link, two SiLU layers, full prior precision", activation="silu",
           likelihood="bernoulli_probit", prior=FULL),
    diagnostic("cloglog-sigmoid-2-3-3", "Three binary outputs with complementary log-log link", (2, 3, 3), "sigmoid",
               "bernoulli_cloglog", prior=PER_LAYER_2),
    deeper("cloglog-tanh-2-2-2-3", "Complementary log-log link, two tanh layers", activation="tanh",
           likelihood="bernoulli_cloglog", prior=PER_LAYER_3),
    diagnostic("poisson-softplus-tanh-2-3-3", "Counts with softplus link, prior mean not zero", (2, 3, 3), "tanh",
               "poisson_softplus", mean=F(-19, 64)),
    deeper("poisson-softplus-sin-2-2-2-3", "Counts with softplus link, two sine layers", activation="sin",
           likelihood="poisson_softplus"),
    diagnostic("poisson-square-tanh-2-3-3", "Counts with square link: the Fisher matrix of the output is 4", (2, 3, 3), "tanh",
               "poisson_square", prior=PER_PARAMETER, change=away_from_zero),
    deeper("poisson-square-silu-2-2-2-3", "Counts with square link, two SiLU layers", activation="silu",
           likelihood="poisson_square", change=away_from_zero),
    diagnostic("normal-full-tanh-2-3-3", "Correlated noise", (2, 3, 3), "tanh", "normal_full", parameters={"noise": NOISE}),
    deeper("normal-full-gelu-2-2-2-3", "Correlated noise, two GELU layers, full prior precision", activation="gelu",
           likelihood="normal_full", parameters={"noise": NOISE}, prior=FULL, mean="array"),
    awkward("heteroscedastic-tanh-2-3-2", "Mean and log variance of one target as outputs: the GGN is indefinite", (2, 3, 2),
            "tanh", "heteroscedastic", spread=F(5, 4), change=loose, flags=("indefinite-ggn",)),
    awkward("heteroscedastic-sin-2-2-2-4", "Means and log variances of two targets, two sine layers: G + P₀ is indefinite too",
            (2, 2, 2, 4), "sin", "heteroscedastic", flags=("indefinite-ggn",)),
    diagnostic("student-t-tanh-2-3-3", "Student-t noise of known scale: the GGN is indefinite", (2, 3, 3), "tanh", "student_t",
               spread=F(5, 4), flags=("indefinite-ggn",), parameters={"scale": SCALE, "degrees_of_freedom": DEGREES}),
    awkward("student-t-sigmoid-2-2-2-3", "Student-t noise with targets in its tails, two sigmoid layers", (2, 2, 2, 3),
            "sigmoid", "student_t", change=far_target, flags=("indefinite-ggn",), spread=F(4),
            parameters={"scale": SCALE, "degrees_of_freedom": DEGREES}),
    diagnostic("negative-binomial-tanh-2-3-3", "Overdispersed counts", (2, 3, 3), "tanh", "negative_binomial",
               parameters={"dispersion": DISPERSION}),
    deeper("negative-binomial-softplus-2-2-2-3", "Overdispersed counts, two softplus layers, prior mean not zero",
           activation="softplus", likelihood="negative_binomial", scale=F(3, 4), mean=F(19, 64),
           parameters={"dispersion": DISPERSION}),
    diagnostic("ordinal-tanh-2-3-3", "Four ordered levels with three given cut-points", (2, 3, 3), "tanh", "ordinal",
               parameters={"cut_points": CUTS}),
    deeper("ordinal-silu-2-2-2-3", "Four ordered levels, two SiLU layers, one prior precision per parameter", activation="silu",
           likelihood="ordinal", prior=PER_PARAMETER, parameters={"cut_points": CUTS}),
    diagnostic("gamma-tanh-2-3-3", "Positive targets with log mean and known shape", (2, 3, 3), "tanh", "gamma", spread=F(4),
               parameters={"shape": SHAPE}),
    deeper("gamma-erf-2-2-2-3", "Positive targets, two erf layers", activation="erf", likelihood="gamma", spread=F(3),
           parameters={"shape": SHAPE}, prior=PER_LAYER_3),
]
PAIRS = [
    awkward("heteroscedastic-natural-tanh-2-2-4", "Two targets with natural parameters as outputs: F = G", (2, 2, 4), "tanh",
            "heteroscedastic_natural", change=negative),
    awkward("heteroscedastic-natural-silu-1-2-2-2", "Natural parameters as outputs of two SiLU layers", (1, 2, 2, 2), "silu",
            "heteroscedastic_natural", num_data=5, change=negative, prior=FULL),
    awkward("heteroscedastic-precision-tanh-2-2-2", "Outputs μ/v and log 1/v", (2, 2, 2), "tanh", "heteroscedastic_precision",
            flags=("indefinite-ggn",)),
    awkward("heteroscedastic-precision-sin-1-2-2-4", "Outputs μ/v and log 1/v of two targets, two sine layers", (1, 2, 2, 4),
            "sin", "heteroscedastic_precision", num_data=5, flags=("indefinite-ggn",), prior=PER_LAYER_3),
    awkward("heteroscedastic-student-t-tanh-2-2-2", "Location and log scale of Student-t noise", (2, 2, 2), "tanh",
            "heteroscedastic_student_t", parameters={"degrees_of_freedom": DEGREES}, flags=("indefinite-ggn",)),
    awkward("heteroscedastic-student-t-gelu-1-2-2-4", "Location and log scale of two targets, two GELU layers", (1, 2, 2, 4),
            "gelu", "heteroscedastic_student_t", num_data=5, parameters={"degrees_of_freedom": DEGREES},
            flags=("indefinite-ggn",)),
    awkward("heteroscedastic-gamma-tanh-2-2-2", "Log mean and log shape of positive targets", (2, 2, 2), "tanh",
            "heteroscedastic_gamma", spread=F(4), flags=("indefinite-ggn",)),
    awkward("heteroscedastic-gamma-softplus-1-2-2-4", "Log mean and log shape of two targets, two softplus layers", (1, 2, 2, 4),
            "softplus", "heteroscedastic_gamma", num_data=5, spread=F(3), prior=PER_PARAMETER, flags=("indefinite-ggn",)),
    awkward("heteroscedastic-negative-binomial-tanh-2-2-2", "Log mean and log dispersion of counts", (2, 2, 2), "tanh",
            "heteroscedastic_negative_binomial", change=loose, flags=("indefinite-ggn",)),
    awkward("heteroscedastic-negative-binomial-erf-1-2-2-4", "Log mean and log dispersion of two counts, two erf layers",
            (1, 2, 2, 4), "erf", "heteroscedastic_negative_binomial", num_data=5, change=loose, mean=F(19, 64),
            flags=("indefinite-ggn",)),
]
extreme = partial(Design, family="awkward", num_data=7, sizes=(2, 3), activation="identity")
EXTREMES = [
    extreme("student-t-few-degrees", "Student-t noise with 9/8 degrees of freedom: hardly a mean", likelihood="student_t",
            parameters={"scale": SCALE, "degrees_of_freedom": F(9, 8)}, flags=("indefinite-ggn",), spread=F(8)),
    extreme("student-t-nearly-normal", "Student-t noise with 2²⁰ degrees of freedom", likelihood="student_t",
            parameters={"scale": SCALE, "degrees_of_freedom": F(2 ** 20)}),
    extreme("negative-binomial-nearly-poisson", "Dispersion 2²⁰", likelihood="negative_binomial",
            parameters={"dispersion": F(2 ** 20)}),
    extreme("negative-binomial-overdispersed", "Dispersion 1/8", likelihood="negative_binomial",
            parameters={"dispersion": F(1, 8)}, scale=F(1, 2), counts=(0, 40)),
    extreme("gamma-nearly-certain", "Shape 4096", likelihood="gamma", parameters={"shape": F(4096)}, spread=F(4)),
    extreme("gamma-skewed", "Shape 1/16", likelihood="gamma", parameters={"shape": F(1, 16)}, spread=F(4)),
]
TAILS = [
    awkward("saturated-probit", "Probit link, outputs far out in both tails", (2, 2, 1), "tanh", "bernoulli_probit", bias=False,
            change=partial(last_layer_times, factor=12), flags=("saturated",)),
    awkward("saturated-cloglog", "Complementary log-log link, outputs far below zero", (2, 2, 1), "tanh",
            "bernoulli_cloglog", bias=False, change=partial(last_layer_times, factor=60), flags=("saturated",)),
    awkward("saturated-ordinal", "Ordered levels, outputs far below the cut-points", (2, 2, 1), "tanh", "ordinal",
            change=partial(last_layer_times, factor=8), parameters={"cut_points": CUTS}, flags=("saturated",)),
    awkward("rare-counts", "Softplus link, rates from 3.5 down to 10⁻⁷", (2, 2, 1), "tanh", "poisson_softplus",
            change=partial(last_layer_times, factor=8), counts=(0, 2), flags=("saturated",)),
]
STRUCTURES = [
    diagnostic("structures-normal-tanh-2-2-3", "Structures of one tanh layer, normal likelihood: KFAC of the last layer is exact",
               (2, 2, 3), "tanh", "normal", variance=VARIANCE, ekfac=False),
    diagnostic("structures-categorical-tanh-2-3-3", "Structures of one tanh layer, softmax: no Kronecker block is exact",
               (2, 3, 3), "tanh", "categorical", prior=("isotropic", PRECISION)),
    deeper("structures-bernoulli-sin-2-2-2-3", "Structures of two sine layers, binary outputs", activation="sin",
           likelihood="bernoulli"),
    deeper("structures-poisson-gelu-2-2-2-3", "Structures of two GELU layers, counts: KFRA is not KFAC", activation="gelu",
           likelihood="poisson", scale=F(3, 4)),
    diagnostic("structures-categorical-no-bias-2-3-3", "Structures without biases", (2, 3, 3), "sigmoid", "categorical",
               bias=False),
    diagnostic("structures-probit-near-mode-2-2-3", "Probit link near a mode: the Hessian too gives a Laplace approximation",
               (2, 2, 3), "tanh", "bernoulli_probit", change=near_mode),
    exact("structures-deep-linear-2-2-2-3", "A deep linear network, normal likelihood: KFAC and KFRA are exact", (2, 2, 2, 3),
          "identity", "normal", variance=VARIANCE),
    exact("structures-relu-normal-2-2-2-3", "Two ReLU layers, normal likelihood: GGN and Hessian have the same diagonal blocks",
          (2, 2, 2, 3), "relu", "normal", variance=VARIANCE),
    exact("structures-leaky-relu-normal-full-2-2-3", "Leaky ReLU and correlated noise: all but logarithms is rational", (2, 2, 3),
          "leaky_relu", "normal_full", slope=F(1, 8), parameters={"noise": NOISE}),
    awkward("structures-one-datum", "A single datum: KFAC is exact, the centred empirical Fisher is zero", (2, 2, 3), "tanh",
            "categorical", num_data=1, ekfac=False, flags=("rank-deficient", "exact-zero")),
    awkward("structures-same-inputs", "Seven targets at one input: KFAC is exact", (2, 2, 3), "tanh", "poisson",
            change=same_inputs, ekfac=False, flags=("rank-deficient",)),
    awkward("structures-one-output", "One output: the last layer's GGN is a Kronecker product, yet not KFAC's", (3, 3, 1), "tanh",
            "bernoulli"),
    awkward("structures-linear-ordinal-3-1", "No hidden layer, one output", (3, 1), "identity", "ordinal",
            parameters={"cut_points": CUTS}),
    awkward("structures-width-one", "Hidden layers of one unit", (2, 1, 1, 3), "softplus", "negative_binomial",
            parameters={"dispersion": DISPERSION}),
]
# Of these Laplace with the leading eigenpairs alone too.
WITH_LOW_RANK = ("probit-tanh-2-3-3", "poisson-softplus-tanh-2-3-3", "normal-full-tanh-2-3-3", "ordinal-silu-2-2-2-3",
                 "gamma-tanh-2-3-3", "structures-normal-tanh-2-2-3", "structures-categorical-tanh-2-3-3",
                 "structures-bernoulli-sin-2-2-2-3", "structures-poisson-gelu-2-2-2-3", "structures-categorical-no-bias-2-3-3",
                 "structures-one-output", "structures-probit-near-mode-2-2-3")
STRUCTURED = LIKELIHOODS + PAIRS + EXTREMES + TAILS + STRUCTURES
