"""The output layer given the hidden weights: its features, its prior, its posterior and what it predicts."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from refbnn.activations import Activation
from refbnn.gaussian import Gaussian
from refbnn.networks.mlp import Evaluation, Mlp
from refbnn.shapes import NewInputs, Parameters, Values, as_array


@dataclass(frozen=True, eq=False)
class Features:
    """Φ(u) = [φ(z), 1], or φ(z) without biases: `inner` is the network with the outputs z, the last hidden layer's inputs."""

    inner: Mlp
    activation: Activation

    @classmethod
    def of(cls, net: Mlp) -> Features:
        """Those of a network with at least one hidden layer."""
        return cls(Mlp(net.sizes[:-1], net.activation[:-1], net.bias), net.activation[-1])

    @property
    def count(self) -> int:
        """K."""
        return self.inner.num_outputs + self.inner.bias

    def of_evaluation(self, at: Evaluation) -> np.ndarray:
        """Φ: (*s n K)."""
        z = at.f
        Phi = np.ones((*z.shape[:-1], self.count))
        Phi[..., :z.shape[-1]] = self.activation(z)
        return Phi

    def pull_back(self, at: Evaluation, G: np.ndarray) -> Parameters:
        """∂L/∂u (*s p) for G = ∂L/∂Φ (*s n K)."""
        slope = self.activation.derivatives(at.f)[1]
        return at.vjp(G[..., :slope.shape[-1]] * slope)


@dataclass(frozen=True, eq=False)
class OutputPrior:
    """N(mean, unit·precision⁻¹) of the weights of each output, in units of the noise: mean (K k), precision (k K K).

    Outputs are independent. When all have one precision it is stored once, (1 K K).
    """

    mean: np.ndarray
    precision: np.ndarray

    @classmethod
    def of(cls, net: Mlp, prior: Gaussian, unit: float) -> OutputPrior:
        """That of the last layer of `net`, θ's order undone. Raises ValueError when outputs depend on each other."""
        k, size = net.num_outputs, net.layer_sizes[-1]
        W, b = net.layout.unflatten(np.arange(net.num_params))[-1]
        order = W if b is None else np.concatenate([W, b[:, None]], axis=1)  # (k K): where each output's weights stand in θ
        P = prior.precision.matrix()[np.ix_(order.ravel(), order.ravel())].reshape(k, size // k, k, size // k)
        blocks = np.stack([P[j, :, j] for j in range(k)])
        if np.count_nonzero(P) != np.count_nonzero(blocks):
            raise ValueError("prior: expected independent outputs, got a precision that couples the weights of two")
        same = np.array_equal(blocks, np.broadcast_to(blocks[0], blocks.shape))
        return cls(prior.mean[order].T, unit * (blocks[:1] if same else blocks))

    @cached_property
    def log_det(self) -> np.ndarray:
        """log |Λ|: (k), or (1)."""
        return np.linalg.slogdet(self.precision)[1]

    @cached_property
    def pull(self) -> np.ndarray:
        """Λm: (K k)."""
        return (self.precision @ self.mean.T[..., None])[..., 0].T


@dataclass(frozen=True, eq=False)
class OutputLayer:
    """w_k | u, y ~ N(M_k, σ² S_k), S_k = (Λ_k + ΦᵀΦ)⁻¹, Eq. (output-layer-posterior); σ² by `law`. Leading axes are those of u.

    `mean` M (*s K k), `covariance` S (*s k K K) or (*s 1 K K), `misfit` Q (*s), `log_det` Σ_k log|Λ_k + ΦᵀΦ| − log|Λ_k| (*s).
    """

    features: Features
    theta: Parameters
    evaluation: Evaluation
    Phi: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray
    misfit: Values
    log_det: Values
    law: object = field(repr=False)

    @classmethod
    def at(cls, features, output, noise, theta, X, y) -> OutputLayer:
        """From hidden weights (*s p) and data; Q as a sum of squares, without cancellation."""
        evaluation = features.inner.evaluate(theta, X)
        Phi = features.of_evaluation(evaluation)
        PhiT = np.swapaxes(Phi, -1, -2)
        L = np.linalg.cholesky((PhiT @ Phi)[..., None, :, :] + output.precision)
        inverse = np.linalg.inv(L)
        S = np.swapaxes(inverse, -1, -2) @ inverse
        right = output.pull + PhiT @ y
        M = np.swapaxes((S @ np.swapaxes(right, -1, -2)[..., None])[..., 0], -1, -2)
        shift = np.swapaxes(M - output.mean, -1, -2)
        penalty = (shift * (output.precision @ shift[..., None])[..., 0]).sum((-1, -2))
        misfit = ((y - Phi @ M) ** 2).sum((-1, -2)) + penalty
        log_dets = 2 * np.log(np.diagonal(L, axis1=-2, axis2=-1)).sum(-1) - output.log_det
        log_det = log_dets.sum(-1) * (y.shape[-1] / log_dets.shape[-1])
        return cls(features, theta, evaluation, Phi, M, S, misfit, log_det, noise.given(misfit, y.size))

    @property
    def num_outputs(self) -> int:
        """k."""
        return self.mean.shape[-1]

    @property
    def total_covariance(self) -> np.ndarray:
        """Σ_k S_k: (*s K K)."""
        return self.covariance.sum(-3) * (self.num_outputs / self.covariance.shape[-3])

    def parameters(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean (*s P) and covariance (*s P P) of all parameters of the network; hidden ones have no variance here."""
        hidden, (K, k) = self.theta.shape[-1], self.mean.shape[-2:]
        order = self._order()
        mean = np.empty((*self.theta.shape[:-1], hidden + K * k))
        mean[..., :hidden], mean[..., order] = self.theta, np.swapaxes(self.mean, -1, -2)
        covariance = np.zeros((*mean.shape, mean.shape[-1]))
        S = np.broadcast_to(self.covariance, (*self.misfit.shape, k, K, K)) * self.law.variance[..., None, None, None]
        for j in range(k):
            covariance[..., order[j][:, None], order[j]] = S[..., j, :, :]
        return mean, covariance

    def outputs(self, X_new: NewInputs) -> tuple[np.ndarray, np.ndarray]:
        """Mean (*s m k) of f and its covariance (*s m k k), diagonal here: outputs depend on each other through u alone."""
        location, spread = self._at(X_new)
        return location, _diagonal(spread * self.law.variance[..., None, None])

    def targets(self, X_new: NewInputs) -> tuple[np.ndarray, np.ndarray]:
        """Mean (*s m k) of new targets and their covariance (*s m k k)."""
        location, spread = self._at(X_new)
        return location, _diagonal((self.law.share + spread) * self.law.variance[..., None, None])

    def log_density(self, X_new: NewInputs, y_new: np.ndarray) -> np.ndarray:
        """log p(y_new|u, y), all outputs of a datum at once: (*s m)."""
        z, log_scale = self._standardised(X_new, y_new)
        return self.law.log_density((z**2).sum(-1), self.num_outputs) - log_scale.sum(-1)

    def log_densities(self, X_new: NewInputs, y_new: np.ndarray) -> np.ndarray:
        """The same for several targets (m g k) at each input: (*s m g)."""
        location, spread = self._at(X_new)
        scale = np.sqrt((self.law.share + spread) * self.law.scale2[..., None, None])
        square = np.zeros((*location.shape[:-1], y_new.shape[1]))
        for j in range(self.num_outputs):  # a last axis as short as this one is slow to sum over
            z = y_new[..., j] - location[..., j, None]
            z /= scale[..., j, None]
            z *= z
            square += z
        found = self.law.log_density(square, self.num_outputs)
        found -= np.log(scale).sum(-1)[..., None]
        return found

    def distribution(self, X_new: NewInputs, y_new: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """P(target <= y_new|u, y) of each output by itself, and its density: (*s m k) both."""
        z, log_scale = self._standardised(X_new, y_new)
        return self.law.cdf(z), np.exp(self.law.log_density(z**2, 1) - log_scale)

    def sample(self, rng: np.random.Generator) -> np.ndarray:
        """Draws of all parameters of the network, hidden ones as they are: (*s P)."""
        z = rng.standard_normal((*self.misfit.shape, *self.mean.shape[:-3:-1]))
        return self._parameters(self._weights(np.sqrt(self.law.sample(rng))[..., None, None] * z))

    def from_normals(self, z: np.ndarray) -> np.ndarray:
        """All parameters, the output layer at M_k + σ S_k^½ z_k for given z (*s k K), σ² as in `law.scale2`: (*s P)."""
        return self._parameters(self.weights(z))

    def weights(self, z: np.ndarray) -> np.ndarray:
        """The weights of each output at the same z: (*s k K)."""
        return self._weights(np.sqrt(self.law.scale2)[..., None, None] * z)

    def _weights(self, z: np.ndarray) -> np.ndarray:
        return np.swapaxes(self.mean, -1, -2) + (np.linalg.cholesky(self.covariance) @ z[..., None])[..., 0]

    def _parameters(self, output: np.ndarray) -> np.ndarray:
        theta = np.empty((*output.shape[:-2], self.theta.shape[-1] + output.shape[-1] * output.shape[-2]))
        theta[..., :self.theta.shape[-1]] = self.theta
        theta[..., self._order()] = output
        return theta

    def _order(self) -> np.ndarray:
        """Where the weights of each output stand in θ: (k K); W (k H) comes row by row, then the biases."""
        (K, k), bias = self.mean.shape[-2:], self.features.inner.bias
        H, start = K - bias, self.theta.shape[-1]
        order = start + np.arange(k * H).reshape(k, H)
        return np.concatenate([order, start + k * H + np.arange(k)[:, None]], axis=1) if bias else order

    def _at(self, X_new: NewInputs) -> tuple[np.ndarray, np.ndarray]:
        """ΦM (*s m k) and ΦSΦᵀ (*s m k) at new inputs, in units of the noise."""
        Phi = self.features.of_evaluation(self.features.inner.evaluate(self.theta, X_new))
        spread = ((Phi[..., None, :, :] @ self.covariance) * Phi[..., None, :, :]).sum(-1)
        location = Phi @ self.mean
        return location, np.broadcast_to(np.swapaxes(spread, -1, -2), location.shape)

    def _standardised(self, X_new: NewInputs, y_new: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(y_new − location)/scale and log scale of new targets: (*s m k)."""
        y_new = as_array("y_new", y_new, "m k", m=len(X_new), k=self.num_outputs)
        location, spread = self._at(X_new)
        scale = np.sqrt((self.law.share + spread) * self.law.scale2[..., None, None])
        return (y_new - location) / scale, np.log(scale)


def _diagonal(values: np.ndarray) -> np.ndarray:
    """(*s m k) as diagonal matrices (*s m k k)."""
    return values[..., None] * np.eye(values.shape[-1])
