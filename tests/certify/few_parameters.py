"""Cases of two parameters whose posterior itself is certified, and linear ones of more whose best Gaussian is."""

from __future__ import annotations

from functools import partial

from .designs import Design, F, FULL, VARIANCE
from .structured import CUTS, DEGREES, DISPERSION, SCALE, SHAPE

FINER = (160, 224)  # nodes where a pole is near, or where a likelihood is narrow beside its prior
# Beside those below and logistic regression of real data: regression in closed form.
WITH_POSTERIOR = ("one-parameter", "linear-normal-2-3", "diabetes-linear-10-1")
WITH_OPTIMUM = (*WITH_POSTERIOR, "iris-logistic-regression", "o-rings-logistic-regression", "structures-linear-ordinal-3-1",
                "posterior-tanh-normal", "posterior-tanh-bernoulli", "posterior-softplus-poisson", "posterior-linear-poisson",
                "posterior-linear-cloglog", "posterior-linear-ordinal")

few = partial(Design, family="awkward", posterior=True, num_data=5, mean=F(19, 64))
best = partial(Design, family="awkward", optimum=True, num_data=7)
hidden = partial(few, sizes=(1, 1, 1), bias=False, prior=("isotropic", F(83, 16)))
FEW_PARAMETERS = [
    hidden("posterior-tanh-normal", "Two weights, one tanh unit: the posterior has two modes", activation="tanh",
           likelihood="normal", variance=VARIANCE),
    hidden("posterior-tanh-bernoulli", "Two weights, one tanh unit, binary targets", activation="tanh", likelihood="bernoulli"),
    hidden("posterior-sigmoid-probit", "Two weights, one sigmoid unit, probit link", activation="sigmoid",
           likelihood="bernoulli_probit"),
    hidden("posterior-softplus-poisson", "Two weights, one softplus unit, counts", activation="softplus", likelihood="poisson"),
    hidden("posterior-silu-gamma", "Two weights, one SiLU unit, positive targets", activation="silu", likelihood="gamma",
           parameters={"shape": SHAPE}, spread=F(4)),
    hidden("posterior-gelu-negative-binomial", "Two weights, one GELU unit, overdispersed counts", activation="gelu",
           likelihood="negative_binomial", parameters={"dispersion": DISPERSION}),
    hidden("posterior-gelu-tanh-poisson", "Two weights, one GELU unit (tanh form), counts with a softplus rate",
           activation="gelu_tanh", likelihood="poisson_softplus"),
    hidden("posterior-sin-normal", "Two weights, one sine unit", activation="sin", likelihood="normal", variance=VARIANCE,
           nodes=FINER),
    hidden("posterior-erf-student-t", "Two weights, one erf unit, heavy tails", activation="erf", likelihood="student_t",
           parameters={"scale": SCALE, "degrees_of_freedom": DEGREES}, nodes=FINER, flags=("indefinite-ggn",)),
    few("posterior-two-inputs-bernoulli", "Two slopes, binary targets", (2, 1), "identity", "bernoulli", bias=False),
    few("posterior-linear-poisson", "Slope and intercept, counts", (1, 1), "identity", "poisson"),
    few("posterior-linear-cloglog", "Slope and intercept, complementary log-log link", (1, 1), "identity", "bernoulli_cloglog"),
    few("posterior-linear-ordinal", "Slope and intercept, ordered levels", (1, 1), "identity", "ordinal",
        parameters={"cut_points": CUTS}),
    few("posterior-softmax", "Two weights, softmax over two classes", (1, 2), "identity", "categorical", bias=False),
    few("posterior-heteroscedastic", "Two weights: mean and log variance", (1, 2), "identity", "heteroscedastic", bias=False),
    best("optimum-logistic", "Three weights and an intercept, logistic regression", (3, 1), "identity", "bernoulli"),
    best("optimum-probit", "Two weights and an intercept, probit link, full prior precision", (2, 1), "identity",
         "bernoulli_probit", prior=FULL, mean="array"),
    best("optimum-negative-binomial", "Two weights and an intercept, overdispersed counts", (2, 1), "identity",
         "negative_binomial", parameters={"dispersion": DISPERSION}),
    best("optimum-gamma", "Two weights and an intercept, positive targets", (2, 1), "identity", "gamma", spread=F(4),
         parameters={"shape": SHAPE}),
    best("optimum-two-counts", "Two Poisson regressions that the prior ties together", (1, 2), "identity", "poisson",
         prior=FULL),
]
