"""What Sobol points of a network take, and the best Gaussian for it, before any is made: refusals that cost nothing."""

from __future__ import annotations

import math

from refbnn.cubature.replicates import FEWEST
from refbnn.networks.mlp import Mlp

OPERATIONS = 10**10  # on numbers, of one pass over all points; a budget makes about five, seconds each
NUMBERS = 5 * 10**7  # in all points: 400 MB an array
FITTED = 15 * 10**6  # numbers in all gradients of a fit, for all of its points: a budget of so many takes two minutes and 2 GB
PRODUCTS = 10**12  # operations in products of matrices, which are faster: about a minute


def expect_full_gaussian(net: Mlp) -> None:
    """Raise ValueError where BFGS for mean and covariance of P parameters, F = P (P + 3)/2 numbers, takes over PRODUCTS.

    Each step multiplies F×F matrices twice, 4F³, and a quadratic takes F steps; bounds of networks took 1.2 to 1.7 F.
    """
    P = net.num_params
    F = P * (P + 3) // 2
    if 4 * F**4 > PRODUCTS:
        raise ValueError(f"expected at most {PRODUCTS:.2g} operations in variational inference, got {4 * F**4:.2g} for a "
                         f"Gaussian of {P} parameters")


def expect_fits(net: Mlp, num_data: int, num_points: int) -> None:
    """Raise ValueError where variational inference in the network, at each of its points for θ, meets too many data.

    A gradient has P numbers a datum and point; all else that grows with the data is linear in them too.
    """
    if num_points * num_data * net.num_params > FITTED:
        most = FITTED // (num_points * net.num_params)
        raise ValueError(f"expected at most {most} data in variational inference, got {num_data} for {net.num_params} parameters "
                         f"and {num_points} points")


def expect_collapsed(net: Mlp, num_data: int, num_points: int) -> None:
    """Raise ValueError where points over the hidden weights, the output layer integrated out, take more than there is.

    With K features of n data each point has a forward pass, ΦᵀΦ and ΦS, 4nK², and a Cholesky factor, its inverse and S, 13K³/3.
    """
    K = net.layer_sizes[-1] // net.num_outputs
    hidden = sum(net.layer_sizes[:-1])
    _expect(num_points, hidden, 2 * num_data * hidden + 4 * num_data * K**2 + 13 * K**3 // 3)


def expect_all_weights(net: Mlp, num_data: int, num_points: int, wider: float) -> None:
    """The same over all P weights, from a Gaussian with c = `wider` times the covariance of the posterior.

    Whatever the posterior p, the effective share of many points is at most exp(−P (ln c + 1/c − 1)/2). It is 1/E_p[p/q], where
    ln E_p[p/q] is at least KL(p ‖ q) (Jensen), and of all p with one covariance the Gaussian, which has the largest entropy, is
    nearest to q. Raises ValueError also where that leaves fewer than FEWEST.
    """
    P = sum(net.layer_sizes)
    effective = num_points * math.exp(-0.5 * P * (math.log(wider) + 1 / wider - 1))
    if effective < FEWEST:
        raise ValueError(f"expected weights worth at least {FEWEST:g} points, got at most {effective:.3g} of {num_points} for "
                         f"{P} parameters")
    _expect(num_points, P, 2 * num_data * P + 4 * P**2)


def _expect(num_points: int, dim: int, each: int) -> None:
    if num_points * each > OPERATIONS or num_points * dim > NUMBERS:
        raise ValueError(f"expected at most {OPERATIONS:.2g} operations and {NUMBERS:.2g} numbers, got {num_points * each:.2g} "
                         f"and {num_points * dim:.2g} for {num_points} points of {dim} weights")
