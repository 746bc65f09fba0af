"""The process of a network affine in θ under a Gaussian over θ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from refbnn import duals
from refbnn.gaussian import Gaussian
from refbnn.shapes import NewInputs, expect_methods

OtherInputs = Annotated[np.ndarray, "o d"]
Means = Annotated[np.ndarray, "m k"]
Kernel = Annotated[np.ndarray, "m k o k"]
Covariances = Annotated[np.ndarray, "m k k"]


@dataclass(frozen=True)
class GaussianProcess:
    """f(x, θ) under θ ~ N(m, Σ), for a network affine in θ: mean f(x, m), kernel J(x) Σ J(x')ᵀ, Eq. (weight-process).

    Prior and posterior are the same type. Raises ValueError for a network that is not affine in θ or of another number of
    parameters.
    """

    net: object
    gaussian: Gaussian

    def __post_init__(self):
        expect_methods("net", self.net, "evaluate", "is_linear", "num_inputs", "num_outputs", "num_params")
        expect_methods("gaussian", self.gaussian, "mean", "precision")
        if not self.net.is_linear:
            raise ValueError(
                f"net: expected a network that is affine in its parameters, got {type(self.net).__name__}; "
                "use Linearised(net, at=theta)"
            )
        if self.net.num_params != self.gaussian.num_params:
            raise ValueError(f"gaussian: expected {self.net.num_params} parameters as the network has, "
                             f"got {self.gaussian.num_params}")

    @property
    def num_outputs(self) -> int:
        """k."""
        return self.net.num_outputs

    @property
    def num_params(self) -> int:
        """p."""
        return self.net.num_params

    def mean(self, X: NewInputs) -> Means:
        """E f(x) = f(x, m): (m k)."""
        return self.net.forward(self.gaussian.mean, X)

    def kernel(self, X: NewInputs, X_other: OtherInputs) -> Kernel:
        """Cov[f(x), f(x')] = J(x) Σ J(x')ᵀ: (m k o k)."""
        left, right = (self.net.evaluate(self.gaussian.mean, inputs) for inputs in (X, X_other))
        return duals.kernel(left, right, self.gaussian.precision)

    def covariance(self, X: NewInputs) -> Covariances:
        """Cov f(x), input by input: (m k k)."""
        half = self.whitened_jacobian(X)
        return half @ np.swapaxes(half, -1, -2)

    def whitened_jacobian(self, X: NewInputs) -> Annotated[np.ndarray, "m k p"]:
        """J C with C Cᵀ = Σ, so that the kernel is the product of two of them: (m k p)."""
        return self.gaussian.precision.scale_transposed_matvec(self.net.jacobian(self.gaussian.mean, X))
