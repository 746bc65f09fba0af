"""What a Gaussian approximation gets wrong by its form: independence, pruned units, laws of symmetry."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refbnn.gaussian import Gaussian, kl
from refbnn.linalg import as_symmetric, cholesky, log_det_from_cholesky
from refbnn.networks.mlp import Mlp
from refbnn.precision import Dense
from refbnn.shapes import Matrix, as_array, as_count, expect_methods


def mean_field_gap(matrix: Matrix) -> float:
    """½ (Σ log A_ii − log |A|) >= 0 for a positive-definite A, Eq. (mean-field-gap).

    With the precision of a Gaussian target it is KL(best independent q ‖ target), with its covariance KL(target ‖ best
    independent q): what independence costs either way. Raises ValueError for another matrix.
    """
    matrix = as_symmetric("matrix", matrix)
    L = cholesky("matrix", matrix)
    return 0.5 * (float(np.log(np.diagonal(matrix)).sum()) - log_det_from_cholesky(L))


@dataclass(frozen=True, eq=False)
class Units:
    """For every unit of a hidden layer (u): KL in nats of its incoming and outgoing parameters under q to those under the prior.

    `outgoing` is the root mean square of the outgoing weights under q, in prior standard deviations. A unit that VI has pruned
    takes its incoming weights from the prior (kl_in near 0) and has outgoing weights near 0 (Trippe & Turner 2018).
    """

    kl_in: np.ndarray
    kl_out: np.ndarray
    outgoing: np.ndarray


def units(net: Mlp, q: Gaussian, prior: Gaussian, layer: int = 0) -> Units:
    """The units of hidden layer `layer`, Eq. (pruned-unit). Raises ValueError for a layer that is not hidden.

    `prior` is a Gaussian, and both are over the parameters of the net.
    """
    expect_methods("net", net, "sizes", "unflatten")
    _expect_hidden(net, layer)
    _expect_gaussian("q", q, net.num_params)
    _expect_gaussian("prior", prior, net.num_params)
    index = net.unflatten(np.arange(net.num_params))
    (W, b), (V, _) = index[layer], index[layer + 1]
    into = W if b is None else np.concatenate([W, b[:, None]], axis=1)
    rows = [(row.astype(int), column.astype(int)) for row, column in zip(into, V.T)]
    second_moment, of_prior = _second_moments(q), _second_moments(Gaussian(np.zeros(prior.num_params), prior.precision))
    return Units(
        kl_in=np.array([kl(_marginal(q, row), _marginal(prior, row)) for row, _ in rows]),
        kl_out=np.array([kl(_marginal(q, column), _marginal(prior, column)) for _, column in rows]),
        outgoing=np.array([np.sqrt((second_moment[column] / of_prior[column]).mean()) for _, column in rows]),
    )


def conservation(q: Gaussian, prior: Gaussian, generator: Matrix) -> float:
    """E_q[(θ − m₀)ᵀ P₀ X θ] − tr X for a generator X of a symmetry, f(e^{tX}θ) = f(θ), Eq. (conservation).

    Zero for the exact posterior, and at the optimum of every family that is closed under e^{tX}, whatever the data. Raises
    ValueError for a prior that is not Gaussian, or of another size.
    """
    _expect_gaussian("q", q, len(q.mean))
    _expect_gaussian("prior", prior, q.num_params)
    X = as_array("generator", generator, "p p", p=q.num_params)
    at_mean = (q.mean - prior.mean) @ prior.precision.matvec(X @ q.mean)
    spread = (prior.precision.matvec(q.covariance()) * X.T).sum()  # tr(ΣP₀X)
    return float(at_mean + spread - np.trace(X))


def rescaling(net: Mlp, layer: int, unit: int) -> Matrix:
    """X of a rectified unit: +1 for its incoming weights and its bias, −1 for its outgoing weights, Eq. (rescaling-generator).

    Raises ValueError for a layer that is not hidden, a unit that it does not have, and an activation that is not homogeneous.
    """
    expect_methods("net", net, "sizes", "unflatten", "activation")
    _expect_hidden(net, layer)
    if as_count("unit", unit, minimum=0) >= net.sizes[layer + 1]:
        raise ValueError(f"unit: expected one of hidden layer {layer}, 0 to {net.sizes[layer + 1] - 1}, got {unit}")
    phi = net.activation[layer]
    if not phi.homogeneous:
        raise ValueError(f"layer: expected an activation with φ(az) = aφ(z) for a > 0, got {phi.name}")
    layers = net.unflatten(np.zeros(net.num_params))
    W, b = layers[layer]
    W[unit] = 1
    if b is not None:
        b[unit] = 1
    layers[layer + 1][0][:, unit] = -1
    return np.diag(net.flatten(layers))


def _expect_hidden(net: Mlp, layer: int) -> None:
    """Raise ValueError unless the net has a hidden layer of that number."""
    if layer not in range(len(net.sizes) - 2):
        raise ValueError(f"layer: expected a hidden one, 0 to {len(net.sizes) - 3}, got {layer}")


def _expect_gaussian(name: str, given: object, num_params: int) -> None:
    """Raise ValueError unless it is a Gaussian over that many parameters."""
    expect_methods(name, given, "mean", "precision", "covariance")
    if given.num_params != num_params:
        raise ValueError(f"{name}: expected {num_params} parameters, got {given.num_params}")


def _marginal(q: Gaussian, parameters: np.ndarray) -> Gaussian:
    covariance = q.covariance()[np.ix_(parameters, parameters)]
    return Gaussian(q.mean[parameters], Dense(np.linalg.inv(covariance)))


def _second_moments(q: Gaussian) -> np.ndarray:
    """E θ_j²: (p)."""
    return q.mean**2 + np.diagonal(q.covariance())
