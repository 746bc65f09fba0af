"""The law of the function values f(x) in a model that is affine in θ: Gaussian, input by input or jointly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from refbnn import linalg
from refbnn.gaussian import Gaussian
from refbnn.shapes import NewInputs, as_array, as_own_array, expect_methods

Means = Annotated[np.ndarray, "m k"]
Covariances = Annotated[np.ndarray, "m k k"]
JointCovariance = Annotated[np.ndarray, "m k m k"]
JointRoot = Annotated[np.ndarray, "m k ..."]  # m k r


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean (m k) and covariance (m k k) of the function values f(x) or of the targets y(x), input by input."""

    mean: Means
    covariance: Covariances

    def __post_init__(self):
        mean = as_own_array("mean", self.mean, "m k")
        m, k = mean.shape
        covariance = as_array("covariance", self.covariance, "m k l", m=m, k=k, l=k)
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "covariance", as_own_array("covariance", covariance, "m k l"))

    @property
    def num_new(self) -> int:
        """m."""
        return len(self.mean)

    @property
    def num_outputs(self) -> int:
        """k."""
        return self.mean.shape[1]

    @property
    def variance(self) -> Means:
        """The diagonals of the covariances: (m k). Raises ValueError for a negative one, and what `expect_semidefinite` does."""
        variance = np.diagonal(self.covariance, axis1=-2, axis2=-1)
        if (variance < 0).any():
            raise ValueError(f"covariance: expected variances that are not negative, got a smallest one of {variance.min():g}")
        self.expect_semidefinite()
        return variance

    def expect_semidefinite(self) -> None:
        """Raise NotPositiveDefinite for an eigenvalue below −1e-8 of the largest entry, ValueError for asymmetry of that size.

        Half of all digits, because a covariance can carry the round-off of a much larger one that it is the difference of.
        """
        allowed = 1e-8 * np.abs(self.covariance).max(initial=0.0)
        if not np.allclose(self.covariance, np.swapaxes(self.covariance, -1, -2), rtol=0, atol=allowed):
            raise ValueError("covariance: expected symmetric matrices")
        smallest = np.linalg.eigvalsh(self.covariance).min(initial=0.0)
        if smallest < -allowed:
            raise linalg.NotPositiveDefinite(f"covariance: expected no negative eigenvalue, got one of {smallest:.6g}")

    @property
    def root(self) -> Covariances:
        """R = Rᵀ ⪰ 0 with R R = covariance: (m k k). Raises NotPositiveDefinite for a covariance with a negative eigenvalue."""
        return linalg.symmetric_root("covariance", self.covariance)


@dataclass(frozen=True, eq=False)
class Joint:
    """A Gaussian over the function values at all inputs together: f = mean + root z, z ~ N(0, I_r), Eq. (joint-draws).

    mean (m k), root (m k r). The covariance root rootᵀ may be singular, as it is wherever m k exceeds the number of parameters.
    """

    mean: Means
    root: JointRoot

    def __post_init__(self):
        object.__setattr__(self, "mean", as_own_array("mean", self.mean, "m k"))
        m, k = self.mean.shape
        object.__setattr__(self, "root", as_own_array("root", self.root, "m k r", m=m, k=k))

    @property
    def num_new(self) -> int:
        """m."""
        return len(self.mean)

    @property
    def num_outputs(self) -> int:
        """k."""
        return self.mean.shape[1]

    @classmethod
    def from_covariance(cls, mean: Means, covariance: JointCovariance) -> Joint:
        """From a covariance (m k m k), such as the kernel of a Gaussian process, through its symmetric root (r = m k)."""
        mean = as_array("mean", mean, "m k")
        m, k = mean.shape
        covariance = as_array("covariance", covariance, "m k a b", m=m, k=k, a=m, b=k)
        root = linalg.symmetric_root("covariance", covariance.reshape(m * k, m * k))
        return cls(mean, root.reshape(m, k, m * k))

    @property
    def covariance(self) -> JointCovariance:
        """Cov[f_k(x), f_l(x')] = (root rootᵀ): (m k m k)."""
        return np.einsum("ikr,jlr->ikjl", self.root, self.root)

    def marginals(self) -> Moments:
        """The law at every single input, Eq. (joint-predictive)."""
        return Moments(self.mean, self.root @ np.swapaxes(self.root, -1, -2))

    def from_normals(self, z: np.ndarray) -> np.ndarray:
        """mean + root z for given standard normals: whole functions, consistent between inputs, (*s r) -> (*s m k)."""
        z = as_array("z", z, "*s r", r=self.root.shape[-1])
        return self.mean + np.einsum("ikr,...r->...ik", self.root, z)

    def sample(self, rng: np.random.Generator, shape: tuple[int, ...] = ()) -> np.ndarray:
        """Independent functions: (*shape m k)."""
        expect_methods("rng", rng, "standard_normal")
        return self.from_normals(rng.standard_normal((*shape, self.root.shape[-1])))


def moments(net: object, q: Gaussian, X_new: NewInputs) -> Moments:
    """Mean f(x, m) and covariance J(x) Σ J(x)ᵀ of f under θ ~ N(m, Σ), exact for a network affine in θ, Eq. (glm-predictive).

    This is the GLM predictive when `net` is Linearised at q's mean. The noise of y is not included. Raises ValueError for a
    network that is not affine in θ.
    """
    half = _half(net, q, X_new)
    return Moments(net.forward(q.mean, X_new), half @ np.swapaxes(half, -1, -2))


def joint(net: object, q: Gaussian, X_new: NewInputs) -> Joint:
    """The law of f at all new inputs together: covariance J(x) Σ J(x')ᵀ, Eq. (joint-predictive); root J C with Σ = C Cᵀ.

    Raises ValueError for a network that is not affine in θ.
    """
    return Joint(net.forward(q.mean, X_new), _half(net, q, X_new))


def expect_inputs(moments: Moments) -> None:
    """Raise ValueError for no input at all: an integral input by input then has no shape."""
    if moments.num_new == 0:
        raise ValueError("moments: expected at least one input, got none")


def _half(net: object, q: Gaussian, X_new: NewInputs) -> np.ndarray:
    """J(x) C: (m k p)."""
    expect_methods("q", q, "mean", "precision")
    if not net.is_linear:
        raise ValueError(
            "net: expected a network that is linear in its parameters, got "
            f"{type(net).__name__}; use Linearised(net, at=q.mean), or monte_carlo for draws of θ"
        )
    return q.precision.scale_transposed_matvec(net.jacobian(q.mean, X_new))
