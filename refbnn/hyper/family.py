"""Posteriors that differ in their hyper-parameters only."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from refbnn.hyper.arrays import Hyper, as_logarithms
from refbnn.hyper.precisions import Precisions
from refbnn.linearised import Linearised
from refbnn.posterior import Posterior
from refbnn.shapes import Inputs, Targets, Vector, as_own_array, expect_methods


@dataclass(frozen=True)
class Family:
    """p(y, θ | η) for a network and data; η (h) = log prior precisions, then the hyper-parameters of the likelihood.

    `likelihoods` is NoiseVariance(), Temperature(likelihood) or Fixed(likelihood), `precisions` a Precisions. What Posterior
    raises is raised by `at`.
    """

    net: object
    likelihoods: object
    precisions: Precisions
    X: Inputs
    y: Targets

    def __post_init__(self):
        expect_methods("likelihoods", self.likelihoods, "num_hyper", "likelihood", "log_prob_derivatives", "residual_derivatives",
                       "curvature_derivatives")
        expect_methods("precisions", self.precisions, "num_hyper", "prior", "log_prob_derivatives", "gradient_derivatives",
                       "traces")
        object.__setattr__(self, "X", as_own_array("X", self.X, "n d", d=self.net.num_inputs))

    @property
    def num_hyper(self) -> int:
        """h."""
        return self.precisions.num_hyper + self.likelihoods.num_hyper

    def split(self, eta: Hyper) -> tuple[np.ndarray, np.ndarray]:
        """Those of the prior, and those of the likelihood."""
        eta = as_logarithms(eta, self.num_hyper)
        return eta[:self.precisions.num_hyper], eta[self.precisions.num_hyper:]

    def at(self, eta: Hyper) -> Posterior:
        """The posterior with hyper-parameters exp η."""
        of_prior, of_likelihood = self.split(eta)
        return Posterior(self.net, self.likelihoods.likelihood(of_likelihood), self.precisions.prior(of_prior), self.X, self.y)

    def linearised(self, at: Vector) -> Family:
        """The family of the network linearised at θ = `at`: another model, with its own modes.

        The evidence that belongs to it is that at its own mode, Eq. (own-mode-evidence) (Antorán et al. 2022).
        """
        return replace(self, net=Linearised(self.net, at))
