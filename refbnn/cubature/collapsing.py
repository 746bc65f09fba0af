"""Doors to collapsed targets: from a posterior with Gaussian noise, or for noise with an inverse-gamma prior.

Apart from the class, because p is another number here: that of all parameters.
"""

from __future__ import annotations

from refbnn.cubature.collapsed import Collapsed
from refbnn.cubature.noise import InverseGammaNoise, noise_of
from refbnn.gaussian import Gaussian
from refbnn.networks.mlp import Mlp
from refbnn.shapes import Inputs, Targets, as_own_array, expect_methods


def collapse(posterior: object) -> Collapsed:
    """The posterior of a network with Gaussian noise of known variance, its output layer integrated out.

    Raises ValueError for a network without hidden layer (its evidence has a closed form), for another likelihood, and for a
    prior that is not Gaussian, or under which an output's weights depend on those of another output or on hidden weights.
    """
    expect_methods("posterior", posterior, "net", "likelihood", "prior", "loss")
    _expect_hidden_layer(posterior.net)
    noise = noise_of(posterior.likelihood, posterior.loss.y, posterior.net.num_outputs)
    return _collapsed(posterior.net, noise, posterior.prior, posterior.loss.X, posterior.loss.y)


def collapse_noise(net: Mlp, noise: InverseGammaNoise, prior: Gaussian, X: Inputs, y: Targets) -> Collapsed:
    """The same for noise with an inverse-gamma prior; the prior precision of the output layer is in units of the noise.

    y|θ, σ² ~ N(f, σ²) and w|σ² ~ N(m, σ²Λ⁻¹) for the output weights w, with m and Λ from `prior`; hidden weights as they are in
    `prior`, whatever σ². Raises ValueError as `collapse`, and where σ² would have no mean given the data.
    """
    _expect_hidden_layer(net)
    expect_methods("noise", noise, "log_marginal", "slope", "given", "unit")
    X = as_own_array("X", X, "n d", d=net.num_inputs)
    y = as_own_array("y", y, "n k", n=len(X), k=net.num_outputs)
    if noise.shape + 0.5 * y.size <= 1:
        raise ValueError(f"noise: expected shape + n·k/2 > 1, so that variances exist, got {noise.shape + 0.5 * y.size}")
    return _collapsed(net, noise, prior, X, y)


def _expect_hidden_layer(net: object) -> None:
    expect_methods("net", net, "sizes", "activation", "layer_sizes", "bias")
    if len(net.sizes) < 3:
        raise ValueError(f"net: expected a hidden layer, got sizes {net.sizes}: its evidence has a closed form, see laplace")


def _collapsed(net: Mlp, noise: object, prior: object, X: Inputs, y: Targets) -> Collapsed:
    if not (hasattr(prior, "mean") and hasattr(prior, "precision")):
        raise ValueError(f"prior: expected a Gaussian, got {type(prior).__name__}: output weights do not integrate out")
    if prior.num_params != net.num_params:
        raise ValueError(f"prior: expected {net.num_params} parameters as the network has, got {prior.num_params}")
    return Collapsed(net, noise, prior, X, y)
