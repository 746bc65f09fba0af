"""Any likelihood at another temperature."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refbnn.likelihoods.outcomes import Rule
from refbnn.shapes import DataValues, OutputMatrices, Outputs, OutputTensors, Targets, as_positive, expect_methods


@dataclass(frozen=True)
class Tempered:
    """p(y|f)^(1/T), Eq. (tempering): ℓ, r, Λ and third derivative of `likelihood` over T = `temperature`; the prior is untouched.

    It weighs the data, T < 1 as if there were more of them, and describes no measurement: what concerns y itself (mean,
    covariance, sample, outcomes) is that of `likelihood`. As a density of y, p^(1/T) is not normalised; Tempered(Normal(σ²), T)
    has the derivatives of Normal(Tσ²) and another constant. Raises ValueError unless temperature > 0.
    """

    likelihood: object
    temperature: float

    def __post_init__(self):
        expect_methods("likelihood", self.likelihood, "log_prob", "residual", "curvature", "check_targets")
        object.__setattr__(self, "temperature", as_positive("temperature", self.temperature))

    @property
    def of_targets(self) -> object:
        """The likelihood that describes measurements: `likelihood`, or what that tempers."""
        return getattr(self.likelihood, "of_targets", self.likelihood)

    @property
    def log_concave(self) -> bool:
        """Whether Λ is never indefinite, as for `likelihood`."""
        return getattr(self.likelihood, "log_concave", False)

    @property
    def bounded(self) -> bool:
        """Whether targets are of a finite set, as for `likelihood`."""
        return getattr(self.likelihood, "bounded", False)

    @property
    def quadratic(self) -> bool:
        """Whether ℓ is a quadratic function of f, as for `likelihood`."""
        return getattr(self.likelihood, "quadratic", False)

    def check_targets(self, y: object, num_data: int, num_outputs: int) -> Targets:
        """The targets that `likelihood` takes, or ValueError saying what was expected and what came."""
        return self.likelihood.check_targets(y, num_data, num_outputs)

    def log_prob(self, f: Outputs, y: Targets) -> DataValues:
        """log p(y_n|f_n)/T, the constants of `likelihood` divided as well: (*s n)."""
        return self.likelihood.log_prob(f, y) / self.temperature

    def residual(self, f: Outputs, y: Targets) -> Outputs:
        """r/T: (*s n k)."""
        return self.likelihood.residual(f, y) / self.temperature

    def curvature(self, f: Outputs, y: Targets) -> OutputMatrices:
        """Λ/T: (*s n k k)."""
        return self.likelihood.curvature(f, y) / self.temperature

    def factor(self, f: Outputs, y: Targets) -> OutputMatrices:
        """S/√T, with S Sᵀ = Λ: (*s n k k)."""
        return self.likelihood.factor(f, y) / np.sqrt(self.temperature)

    def third(self, f: Outputs, y: Targets) -> OutputTensors:
        """∂³ℓ/∂f³ over T: (*s n k k k)."""
        return self.likelihood.third(f, y) / self.temperature

    def fisher(self, f: Outputs) -> OutputMatrices:
        """F/T, the mean of Λ/T over y ~ `likelihood`: (*s n k k). That of r rᵀ, with r as above, would be F/T²."""
        return self.likelihood.fisher(f) / self.temperature

    def mean(self, f: Outputs) -> np.ndarray:
        """E[y|f] under `likelihood`."""
        return self.likelihood.mean(f)

    def covariance(self, f: Outputs) -> np.ndarray:
        """Cov[y|f] under `likelihood`."""
        return self.likelihood.covariance(f)

    def sample(self, f: Outputs, rng: np.random.Generator) -> np.ndarray:
        """One draw of y for every f from `likelihood`."""
        return self.likelihood.sample(f, rng)

    def outcomes(self, f: Outputs) -> Rule:
        """The rule of `likelihood`."""
        return self.likelihood.outcomes(f)
