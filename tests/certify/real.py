"""Cases from real data, with the parameters near a mode."""

from __future__ import annotations

from functools import partial
from typing import Callable

from .designs import Design, F, PER_PARAMETER
from .mode import near_mode
from .tables import (
    CANCER, DIABETES, DIGITS, IRIS, LINNERUD, O_RINGS, PUROMYCIN, WINE, cancer, diabetes, digits, iris, iris_pair, linnerud,
    o_rings, puromycin, wine,
)


def real(id: str, title: str, sizes: tuple[int, ...], activation: str, likelihood: str, num_data: int, data: Callable,
         source: str, **options) -> Design:
    """A design of this family: everything near a mode, so that the Hessian too gives a Laplace approximation."""
    return Design(id, title, sizes, activation, likelihood, num_data, family="real", data=data, source=source,
                  change=near_mode, **options)


REAL = [
    real("iris-softmax-regression", "Iris, softmax regression without a hidden layer", (4, 3), "identity",
         "categorical", 22, iris, IRIS),
    real("iris-tanh-4-3-3", "Iris, one tanh layer, softmax", (4, 3, 3), "tanh", "categorical", 22, iris, IRIS),
    real("iris-logistic-regression", "Two iris species by their petals, logistic regression", (2, 1), "identity",
         "bernoulli", 20, iris_pair, IRIS),
    real("wine-silu-6-3-3", "Three cultivars of wine, one SiLU layer, softmax", (6, 3, 3), "silu", "categorical", 20,
         wine, WINE, prior=("per_layer", [F(1, 2), F(83, 64)])),
    real("breast-cancer-gelu-5-3-1", "Benign or malignant, one GELU layer", (5, 3, 1), "gelu", "bernoulli", 25, cancer,
         CANCER),
    real("diabetes-linear-10-1", "Disease progression, linear regression on ten measurements: all rational", (10, 1),
         "identity", "normal", 24, partial(diabetes, list(range(10))), DIABETES, variance=F(1, 2), prior=("isotropic", F(1, 4))),
    real("diabetes-tanh-4-3-1", "Disease progression by age, body mass, blood pressure and a serum value", (4, 3, 1),
         "tanh", "normal", 24, partial(diabetes, [0, 2, 3, 8]), DIABETES, variance=F(1, 2)),
    real("digits-relu-8-4-3", "Zeros, ones and twos from coarse images, one ReLU layer, softmax", (8, 4, 3), "relu",
         "categorical", 22, digits, DIGITS, prior=("isotropic", F(1, 4))),
    real("linnerud-softplus-3-2-3", "Three exercise counts by physique, one softplus layer, Poisson", (3, 2, 3),
         "softplus", "poisson", 17, linnerud, LINNERUD, prior=PER_PARAMETER),
    real("o-rings-logistic-regression", "O-ring damage by launch temperature, logistic regression", (1, 1),
         "identity", "bernoulli", 23, o_rings, O_RINGS, prior=("isotropic", F(1, 16)), posterior=True, nodes=(160, 224)),
    real("puromycin-sigmoid-2-3-1", "Reaction rate by concentration and treatment, one sigmoid layer", (2, 3, 1),
         "sigmoid", "normal", 23, puromycin, PUROMYCIN, variance=F(1, 64), prior=("isotropic", F(1, 16))),
]
