"""The output layer of a network with Gaussian noise, integrated out: a posterior over the hidden weights alone.

f = ΦW with Φ = [φ(z), 1] (n K), φ(z) the last hidden layer, is linear in the output weights W (K k). Under a Gaussian prior and
Gaussian noise they integrate out in closed form, Eq. (collapsed-likelihood), and what is left is a target for any sampler or
quadrature: num_params, prior, log_likelihood, log_prob, value_and_gradient, batched over draws. `given` has the law of the
output layer, so that full draws and predictions follow.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from refbnn.cubature.noise import InverseGammaNoise, KnownNoise
from refbnn.cubature.output_layer import Features, OutputLayer, OutputPrior
from refbnn.gaussian import Gaussian
from refbnn.networks.mlp import Mlp
from refbnn.quadrature import ROUND_OFF
from refbnn.shapes import Inputs, Parameters, Targets, Values, as_array


@dataclass(frozen=True, eq=False)
class Collapsed:
    """p(y|u) p(u) over the hidden weights u = θ[:num_params]: the output layer is integrated out.

    Made by `collapse` and `collapse_noise`. `net` is the whole network, `full_prior` the prior of all its parameters; `prior` is
    that of u, `output` that of the output layer in units of the noise, `features` makes Φ from u.
    """

    net: Mlp
    noise: KnownNoise | InverseGammaNoise
    full_prior: Gaussian
    X: Inputs
    y: Targets

    def __post_init__(self):
        hidden, precision = np.arange(self.net.num_params - self.net.layer_sizes[-1]), self.full_prior.precision
        if precision.matrix()[len(hidden):, :len(hidden)].any():
            raise ValueError("prior: expected output weights independent of hidden ones, got a precision that couples them")
        object.__setattr__(self, "prior", Gaussian(self.full_prior.mean[hidden], precision.principal(hidden)))
        object.__setattr__(self, "output", OutputPrior.of(self.net, self.full_prior, self.noise.unit))

    @property
    def num_params(self) -> int:
        """p, the number of hidden weights."""
        return self.prior.num_params

    @property
    def num_targets(self) -> int:
        """n·k."""
        return self.y.size

    @property
    def round_off(self) -> float:
        """What log p(y|u) may be wrong by in float64, in nats: that of Q, and of the determinants."""
        y = self.y - self.output.mean[-1] * self.net.bias
        slope = abs(float(self.noise.slope(np.array((y**2).sum()), y.size)))
        return ROUND_OFF * ((y**2).sum() * slope + y.size)

    @cached_property
    def features(self) -> Features:
        """Φ as a function of u."""
        return Features.of(self.net)

    def log_likelihood(self, theta: Parameters) -> Values:
        """log p(y|u), Eq. (collapsed-likelihood): (*s)."""
        return self._marginal(self.given(theta))

    def log_prob(self, theta: Parameters) -> Values:
        """log p(y, u), every constant kept: (*s)."""
        return self.log_likelihood(theta) + self.prior.log_prob(theta)

    def value_and_gradient(self, theta: Parameters) -> tuple[Values, Parameters]:
        """log p(y, u) (*s) and its gradient (*s p): Eq. (collapsed-gradient), then once through the hidden layers."""
        at = self.given(theta)
        M, weight = at.mean, -2 * self.noise.slope(at.misfit, self.num_targets)[..., None, None]
        fit = weight * (self.y - at.Phi @ M) @ np.swapaxes(M, -1, -2)
        gradient = self.features.pull_back(at.evaluation, fit - at.Phi @ at.total_covariance)
        return self._marginal(at) + self.prior.log_prob(theta), gradient + self.prior.gradient(theta)

    def given(self, theta: Parameters) -> OutputLayer:
        """The law of the output layer once the hidden weights (*s p) are known, Eq. (output-layer-posterior)."""
        theta = as_array("theta", theta, "*s p", p=self.num_params)
        return OutputLayer.at(self.features, self.output, self.noise, theta, self.X, self.y)

    def _marginal(self, at: OutputLayer) -> Values:
        return self.noise.log_marginal(at.misfit, self.num_targets) - 0.5 * at.log_det
