"""A posterior over all weights as a target of quadrature: given θ everything is known but the noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refbnn.gaussian import Gaussian
from refbnn.posterior import Posterior
from refbnn.shapes import NewInputs, Parameters, Values, as_array, expect_methods


@dataclass(frozen=True, eq=False)
class AllWeights:
    """A Posterior with a Gaussian prior; nothing is integrated out. `net` may be any network, Linearised too."""

    posterior: Posterior

    def __post_init__(self):
        expect_methods("posterior", self.posterior, "net", "likelihood", "prior", "loss", "log_likelihood")
        prior = self.posterior.prior
        if not (hasattr(prior, "from_normals") and hasattr(prior, "precision")):
            raise ValueError(f"prior: expected a Gaussian, whose tails end a grid, got {type(prior).__name__}")

    @property
    def net(self) -> object:
        """The network."""
        return self.posterior.net

    @property
    def prior(self) -> object:
        """The Gaussian prior of θ."""
        return self.posterior.prior

    @property
    def num_params(self) -> int:
        """p."""
        return self.posterior.num_params

    @property
    def width(self) -> int:
        """How many numbers one θ takes on its way through the network, about."""
        return len(self.posterior.X) * max(self.posterior.net.layer_sizes)

    def log_likelihood(self, theta: Parameters) -> Values:
        """log p(y|θ): (*s)."""
        return self.posterior.log_likelihood(theta)

    def given(self, theta: Parameters) -> Known:
        """What is known at θ (*s p)."""
        return Known(self.posterior, theta)


@dataclass(frozen=True, eq=False)
class Around:
    """The same posterior with points from another Gaussian than its prior: for `sobol`, where prior points seldom meet the data.

    p(y) = E_{θ ~ proposal}[p(y, θ)/proposal(θ)]: the ratio stands where the likelihood does, `proposal` where the prior does. A
    proposal with lighter tails than the posterior shows in the Pareto k of the weights.
    """

    posterior: Posterior
    proposal: Gaussian

    def __post_init__(self):
        expect_methods("posterior", self.posterior, "net", "likelihood", "log_prob", "num_params")
        expect_methods("proposal", self.proposal, "from_normals", "log_prob", "num_params")
        if self.proposal.num_params != self.posterior.num_params:
            raise ValueError(f"proposal: expected {self.posterior.num_params} parameters, got {self.proposal.num_params}")

    @property
    def net(self) -> object:
        """The network."""
        return self.posterior.net

    @property
    def prior(self) -> Gaussian:
        """Where the points come from: the proposal."""
        return self.proposal

    @property
    def num_params(self) -> int:
        """p."""
        return self.posterior.num_params

    def log_likelihood(self, theta: Parameters) -> Values:
        """log p(y, θ) − log proposal(θ): (*s)."""
        return self.posterior.log_prob(theta) - self.proposal.log_prob(theta)

    def given(self, theta: Parameters) -> Known:
        """What is known at θ (*s p)."""
        return Known(self.posterior, theta)


@dataclass(frozen=True, eq=False)
class Known:
    """θ is known: the same questions as OutputLayer answers."""

    posterior: Posterior
    theta: Parameters

    def parameters(self) -> tuple[np.ndarray, np.ndarray]:
        """θ and no covariance: (*s p), (*s p p)."""
        return self.theta, np.zeros((*self.theta.shape, self.theta.shape[-1]))

    def outputs(self, X_new: NewInputs) -> tuple[np.ndarray, np.ndarray]:
        """f and no covariance: (*s m k), (*s m k k)."""
        f = self._forward(X_new)
        return f, np.zeros((*f.shape, f.shape[-1]))

    def targets(self, X_new: NewInputs) -> tuple[np.ndarray, np.ndarray]:
        """E[y|f] and Cov[y|f]."""
        f = self._forward(X_new)
        return self.posterior.likelihood.mean(f), self.posterior.likelihood.covariance(f)

    def log_density(self, X_new: NewInputs, y_new: np.ndarray) -> np.ndarray:
        """log p(y_new|f): (*s m)."""
        likelihood, k = self._likelihood(), self.posterior.net.num_outputs
        return likelihood.log_prob(self._forward(X_new), likelihood.check_targets(y_new, len(X_new), k))

    def log_densities(self, X_new: NewInputs, y_new: np.ndarray) -> np.ndarray:
        """log p(y_new|f) for several targets (m g k) at each input: (*s m g)."""
        likelihood, (m, g, k) = self._likelihood(), y_new.shape
        f = np.repeat(self._forward(X_new), g, axis=-2)
        log_p = likelihood.log_prob(f, likelihood.check_targets(y_new.reshape(m * g, k), m * g, k))
        return log_p.reshape(*log_p.shape[:-1], m, g)

    def distribution(self, X_new: NewInputs, y_new: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """P(target <= y_new|f) of each output, and its density: (*s m k). Raises ValueError unless targets are continuous."""
        likelihood, f = self._likelihood(), self._forward(X_new)
        if not hasattr(likelihood, "distribution"):
            raise ValueError("likelihood: expected one of continuous targets, with a distribution function, such as Normal or "
                             f"StudentT, got {type(likelihood).__name__}; of the others `density` gives the probabilities")
        return likelihood.distribution(f, as_array("y_new", y_new, "m k", m=len(X_new), k=f.shape[-1]))

    def _likelihood(self) -> object:
        """The one that describes new targets: a power of it weighs the data."""
        return getattr(self.posterior.likelihood, "of_targets", self.posterior.likelihood)

    def _forward(self, X_new: NewInputs) -> np.ndarray:
        return self.posterior.net.forward(self.theta, X_new)
