"""All designs, in the order of their families."""

from __future__ import annotations

from dataclasses import replace

from .awkward import AWKWARD
from .designs import DIAGNOSTIC, EXACT
from .few_parameters import FEW_PARAMETERS, WITH_OPTIMUM, WITH_POSTERIOR
from .grid import GRID
from .real import REAL
from .structured import STRUCTURED, WITH_LOW_RANK

# Large ones, and those that smaller ones resemble: their diagonals and products stand for the full matrices.
PRODUCTS_ALONE = (
    "tanh-normal-2-3-5-3", "silu-categorical-2-3-3-5", "sin-normal-2-3-7", "sin-poisson-2-3-5-3-no-bias",
    "gelu-bernoulli-2-5-3", "erf-categorical-2-5-3", "gelu-tanh-normal-2-5-3", "sigmoid-normal-2-3-5",
    "sigmoid-categorical-2-5-3-no-bias", "softplus-poisson-2-3-5", "deep-linear-normal-3-2-5-3", "square-normal-2-3-5",
    "square-normal-2-3-2-3", "relu-categorical-2-5-3", "leaky-relu-poisson-2-3-5", "leaky-relu-normal-2-3-2-3",
    "square-bernoulli-2-5-3-no-bias", "four-hidden-layers", "three-precisions-deep", "seven-classes", "one-output-normal",
    "one-output-poisson", "duplicate-data", "zero-counts", "large-rates", "huge-prior-precision", "saturated-bernoulli",
    "wine-silu-6-3-3", "digits-relu-8-4-3", "tanh-bernoulli-2-5-3", "tanh-poisson-2-5-3",
    "sigmoid-categorical-2-3-5-near-mode", "relu-normal-2-5-3", "more-parameters-than-data", "saturated-tanh",
    "large-inputs", "near-zero-noise", "twin-units", "same-inputs", "blind-feature", "one-output-bernoulli",
    "tiny-prior-precision", "iris-tanh-4-3-3", "breast-cancer-gelu-5-3-1", "diabetes-tanh-4-3-1", "linnerud-softplus-3-2-3",
    "silu-bernoulli-2-3-5-near-mode", "softplus-poisson-2-3-5-near-mode", "ordinal-silu-2-2-2-3", "probit-tanh-2-3-3",
    "heteroscedastic-natural-tanh-2-2-4", "ordinal-tanh-2-3-3", "student-t-tanh-2-3-3", "cloglog-sigmoid-2-3-3",
    "poisson-square-tanh-2-3-3", "student-t-sigmoid-2-2-2-3", "negative-binomial-tanh-2-3-3", "normal-full-gelu-2-2-2-3",
    "cloglog-tanh-2-2-2-3", "gamma-erf-2-2-2-3", "poisson-softplus-sin-2-2-2-3", "heteroscedastic-sin-2-2-2-4",
    "poisson-square-silu-2-2-2-3", "negative-binomial-softplus-2-2-2-3",
    "heteroscedastic-negative-binomial-erf-1-2-2-4", "heteroscedastic-student-t-gelu-1-2-2-4",
    "heteroscedastic-precision-sin-1-2-2-4", "heteroscedastic-gamma-softplus-1-2-2-4",
)
DESIGNS = [replace(design, matrices=design.id not in PRODUCTS_ALONE, posterior=design.id in WITH_POSTERIOR or design.posterior,
                   optimum=design.id in WITH_OPTIMUM or design.optimum, low_rank=design.id in WITH_LOW_RANK)
           for design in DIAGNOSTIC + EXACT + AWKWARD + REAL + STRUCTURED + FEW_PARAMETERS]
DESIGNS += GRID
BY_ID = {design.id: design for design in DESIGNS}
if len(BY_ID) < len(DESIGNS) or not set(PRODUCTS_ALONE) <= set(BY_ID):
    raise ValueError("two designs have one id, or there is none of an id")
