"""Some parameters of a network, the rest held fixed: itself a network, of fewer parameters.

The last layer, a layer, a chosen few weights: nothing about any of them is special. "Subnetwork Laplace" and "last-layer Laplace"
(Daxberger et al. 2021) are Laplace on this network, with the prior that is left for its parameters: `conditional`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refbnn.gaussian import Gaussian
from refbnn.networks.network import Network
from refbnn.networks.pullback import Pullback
from refbnn.networks.rows import Rows
from refbnn.shapes import (
    DataGradients, Inputs, Jacobian, Matrix, Outputs, Parameters, Vector, as_array, as_indices, as_own_array,
    expect_methods,
)


def layer(net: Network, index: int) -> np.ndarray:
    """The indices in θ of the parameters of layer 0, 1, ... or, from the end, −1, −2, ..."""
    sizes = net.layer_sizes
    if index not in range(-len(sizes), len(sizes)):
        raise ValueError(f"index: expected a layer from {-len(sizes)} to {len(sizes) - 1}, got {index!r}")
    stops = np.cumsum(sizes)
    return np.arange(stops[index] - sizes[index], stops[index])


@dataclass(frozen=True)
class Subnetwork(Network):
    """f(x, θ) as a function of the parameters with the given indices; the others stay as they are in `at` (all of `net`'s).

    Its Jacobian has the chosen columns of `net`'s, its Hessian the chosen rows and columns, Eq. (part-of-a-network).
    Raises ValueError unless the indices are increasing and those of parameters.
    """

    net: Network
    at: np.ndarray
    parameters: np.ndarray

    def __post_init__(self):
        expect_methods("net", self.net, "evaluate", "is_linear_in", "num_params")
        object.__setattr__(self, "at", as_own_array("at", self.at, "q", q=self.net.num_params))
        chosen, p = np.array(self.parameters), self.net.num_params
        increasing = chosen.ndim == 1 and chosen.dtype.kind in "iu" and len(chosen) > 0 and (np.diff(chosen) > 0).all()
        if not increasing or chosen[0] < 0 or chosen[-1] >= p:
            raise ValueError(f"parameters: expected increasing integers from 0 to {p - 1}, got {self.parameters!r}")
        chosen.flags.writeable = False
        object.__setattr__(self, "parameters", chosen)

    @property
    def num_inputs(self) -> int:
        """d."""
        return self.net.num_inputs

    @property
    def num_outputs(self) -> int:
        """k."""
        return self.net.num_outputs

    @property
    def num_params(self) -> int:
        """The number of chosen parameters."""
        return len(self.parameters)

    @property
    def layer_sizes(self) -> tuple[int, ...]:
        """How many of each layer are chosen, layers without any left out."""
        stops = np.searchsorted(self.parameters, np.cumsum(self.net.layer_sizes))
        return tuple(int(size) for size in np.diff(stops, prepend=0) if size)

    @property
    def is_linear(self) -> bool:
        """Whether f is affine in the chosen parameters, as it is in those of the last layer."""
        return self.net.is_linear_in(self.parameters)

    def is_linear_in(self, parameters: np.ndarray) -> bool:
        """Whether f is affine in some of the chosen ones, by their indices among these."""
        return self.net.is_linear_in(self.parameters[parameters])

    def embed(self, theta: Parameters) -> np.ndarray:
        """All parameters of `net`, with θ in the chosen places: (*s q)."""
        theta = as_array("theta", theta, "*s p", p=self.num_params)
        full = np.broadcast_to(self.at, (*theta.shape[:-1], len(self.at))).copy()
        full[..., self.parameters] = theta
        return full

    def conditional(self, prior: Gaussian) -> object:
        """The Gaussian of the chosen parameters under a prior over all, given the others, Eq. (conditional-prior).

        Its precision is that of the prior without the other rows and columns; with correlations its mean depends on the others.
        """
        expect_methods("prior", prior, "mean", "precision")
        if prior.num_params != len(self.at):
            raise ValueError(f"prior: expected {len(self.at)} parameters as `net` has, got {prior.num_params}")
        others = self.at - prior.mean
        others[self.parameters] = 0.0
        own = prior.precision.principal(self.parameters)
        return Gaussian(prior.mean[self.parameters] - own.solve(prior.precision.matvec(others)[self.parameters]), own)

    def evaluate(self, theta: Parameters, X: Inputs) -> SubnetworkEvaluation:
        """`net` at `embed(θ)` on X, read in the chosen parameters alone."""
        return SubnetworkEvaluation(self.net.evaluate(self.embed(theta), X), self.parameters)


@dataclass(frozen=True)
class SubnetworkEvaluation:
    """What `Evaluation` is for a network: `base` is that of the whole network."""

    base: object
    parameters: np.ndarray

    @property
    def num_params(self) -> int:
        """The number of chosen parameters."""
        return len(self.parameters)

    @property
    def num_data(self) -> int:
        """n."""
        return self.base.num_data

    @property
    def num_outputs(self) -> int:
        """k."""
        return self.base.num_outputs

    @property
    def batch(self) -> tuple[int, ...]:
        """The leading axes of θ, *s."""
        return self.base.batch

    @property
    def f(self) -> Outputs:
        """f(x_n, θ): (*s n k)."""
        return self.base.f

    def vjp(self, v: Outputs) -> Parameters:
        """Σ_n J_nᵀ v_n: (*s p)."""
        return self.base.vjp(v)[..., self.parameters]

    def vjp_per_datum(self, v: Outputs) -> DataGradients:
        """J_nᵀ v_n: (n p)."""
        return self.base.vjp_per_datum(v)[..., self.parameters]

    def jvp(self, u: Parameters) -> Outputs:
        """J_n u: (*s n k)."""
        return self.base.jvp(_scattered(u, self.parameters, self.base.num_params))

    def jacobian(self) -> Jacobian:
        """J_n: (*s n k p)."""
        return self.base.jacobian()[..., self.parameters]

    def pullback(
        self, M: np.ndarray | None = None, S: np.ndarray | None = None, v: Outputs | None = None
    ) -> SubnetworkPullback:
        """Σ_n J_nᵀ M_n J_n + Σ_nk v_nk ∇²f_nk, its chosen rows and columns."""
        return SubnetworkPullback(self.base.pullback(M, S, v), self.parameters)

    def scatter(self, v: Outputs) -> SubnetworkPullback:
        """Σ_n (g_n − ḡ)(g_n − ḡ)ᵀ for g_n = J_nᵀ v_n and their mean ḡ, its chosen rows and columns."""
        return SubnetworkPullback(self.base.scatter(v), self.parameters)

    def second_order_product(self, u: Parameters, M: np.ndarray | None = None, v: Outputs | None = None) -> Parameters:
        """(Σ_n J_nᵀ M_n J_n + Σ_nk v_nk ∇²f_nk) u: (*s p)."""
        u = _scattered(u, self.parameters, self.base.num_params)
        return self.base.second_order_product(u, M, v)[..., self.parameters]

    def bend(self, u: Parameters) -> Outputs:
        """d²/dt² f(x_n, θ + t u): (*s n k)."""
        return self.base.bend(_scattered(u, self.parameters, self.base.num_params))

    def jet(self, u: Parameters) -> tuple[Outputs, Outputs, Outputs, Outputs]:
        """The first four derivatives of f(x_n, θ + t u) by t at t = 0: (*s n k) each."""
        return self.base.jet(_scattered(u, self.parameters, self.base.num_params))

    def third_order_product(self, u: Parameters, r: np.ndarray, M: np.ndarray, T: np.ndarray) -> Parameters:
        """d²/dt² Σ_n J_nᵀ r_n at θ + t u, for r (n k) with derivatives M (n k k), T (n k k k) in f: (*s p)."""
        u = _scattered(u, self.parameters, self.base.num_params)
        return self.base.third_order_product(u, r, M, T)[..., self.parameters]


@dataclass(frozen=True)
class SubnetworkPullback:
    """The chosen rows and columns of a Pullback or of Rows, in the forms that have a meaning for any choice of parameters."""

    base: Pullback | Rows
    parameters: np.ndarray

    root = S = None  # a factor of `base` is none of its part

    @property
    def num_params(self) -> int:
        """The number of chosen parameters."""
        return len(self.parameters)

    @property
    def num_data(self) -> int:
        """n."""
        return self.base.num_data

    @property
    def v(self) -> np.ndarray | None:
        """The weights of second derivatives of f, None without."""
        return getattr(self.base, "v", None)

    @property
    def layout(self) -> object:
        """The layout of the whole network."""
        return self.base.layout

    @property
    def signals(self) -> object:
        """Raises ValueError: Kronecker factors, Gram duals and the like are made of whole layers."""
        raise ValueError(
            "pullback: expected that of a whole network, got that of a Subnetwork. For whole layers take the structure of the "
            "whole network and its blocks, e.g. Blocks(kfac(...).blocks[-1:])"
        )

    def full(self, block_size: int | None = None) -> Matrix:
        """The matrix, exactly symmetric: (p p)."""
        if 2 * self.num_params > self.base.num_params:
            return self.base.full(block_size)[np.ix_(self.parameters, self.parameters)]
        return self.base.subset(self.parameters)

    def diagonal(self, block_size: int | None = None) -> Vector:
        """The diagonal: (p)."""
        return self.base.diagonal(block_size)[self.parameters]

    def layer_blocks(self, block_size: int | None = None) -> list[np.ndarray]:
        """The diagonal blocks of the layers, those without a chosen parameter left out."""
        blocks, start = [], 0
        for block in self.base.layer_blocks(block_size):
            own = self.parameters[(start <= self.parameters) & (self.parameters < start + len(block))] - start
            start += len(block)
            if len(own):
                blocks.append(block[np.ix_(own, own)])
        return blocks

    def subset(self, parameters: np.ndarray) -> np.ndarray:
        """The rows and columns of some of the chosen parameters, by their indices among these: (c c)."""
        return self.base.subset(self.parameters[as_indices(parameters, self.num_params)])

    def matvec(self, u: Parameters) -> Parameters:
        """The product with u: (*s p)."""
        return self.base.matvec(_scattered(u, self.parameters, self.base.num_params))[..., self.parameters]

    linear_operator = Pullback.linear_operator


def _scattered(u: np.ndarray, parameters: np.ndarray, num_params: int) -> np.ndarray:
    """u (*s p) in the places of the chosen parameters, zero elsewhere: (*s num_params)."""
    u = as_array("u", u, "*s p", p=len(parameters))
    full = np.zeros((*u.shape[:-1], num_params))
    full[..., parameters] = u
    return full
