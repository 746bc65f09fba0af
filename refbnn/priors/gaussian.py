"""Gaussian priors: one precision, one a layer, one a parameter, or a full matrix; any mean."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from refbnn.gaussian import Gaussian
from refbnn.precision import Dense, Diagonal
from refbnn.shapes import Matrix, Vector, as_array, as_count, as_positive


def isotropic(num_params: int, precision: float, mean: float | Vector = 0.0) -> Gaussian:
    """N(mean, I/precision). Raises ValueError unless precision > 0."""
    size = as_count("num_params", num_params)
    return per_parameter(np.full(size, as_positive("precision", precision)), mean)


def per_layer(layer_sizes: Sequence[int], precisions: Sequence[float], mean: float | Vector = 0.0) -> Gaussian:
    """One precision a layer, weights and biases alike; `layer_sizes` is `Mlp.layer_sizes`."""
    counts = [as_count("layer_sizes", size) for size in layer_sizes]
    values = as_array("precisions", precisions, "l", l=len(counts))
    return per_parameter(np.repeat(values, counts), mean)


def per_parameter(precisions: Vector, mean: float | Vector = 0.0) -> Gaussian:
    """N(mean, diag(precisions)⁻¹)."""
    precision = Diagonal(precisions, name="prior precision")
    return Gaussian(_mean(mean, precision.num_params), precision)


def full(precision: Matrix, mean: float | Vector = 0.0) -> Gaussian:
    """N(mean, precision⁻¹) for a symmetric positive-definite matrix; raises NotPositiveDefinite otherwise."""
    dense = Dense(precision, name="prior precision")
    return Gaussian(_mean(mean, dense.num_params), dense)


def _mean(mean: float | Vector, num_params: int) -> np.ndarray:
    return np.full(num_params, mean) if np.ndim(mean) == 0 else mean
