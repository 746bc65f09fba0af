"""Hamiltonian Monte Carlo in plain PyTorch: leapfrog on a flat θ for many chains at once, gradients by autograd.

The length of a step is tuned in the warm-up and varies from update to update; rejected states are repeated.
"""
from __future__ import annotations

import torch
from torch.func import vmap

CHAINS, WARM_UP, DRAWS, STEPS, SEED = 64, 80, 560, 5, 20260103
WANTED, JITTER, RATE = 0.8, 0.5, 0.1


class Target:
    """log p(y | θ) + log p(θ) up to a constant, for θ of shape (chains, p); one loss, of all data or of one, is the adapter's."""

    def __init__(self, state):
        self.state, self.layers = state, [m for m in state.model if hasattr(m, "weight")]

    def outputs(self, theta):
        """f of shape (chains, n, k)."""
        a, at, shapes = self.state.X.expand(len(theta), -1, -1), 0, [tuple(layer.weight.shape) for layer in self.layers]
        for depth, (layer, (out, into)) in enumerate(zip(self.layers, shapes)):
            a = a @ theta[:, at:at + out * into].reshape(-1, out, into).mT
            at += out * into
            if layer.bias is not None:
                a, at = a + theta[:, None, at:at + out], at + out
            a = a if depth == len(shapes) - 1 else self.state.model[2 * depth + 1](a)
        return a

    def targets(self, theta):
        """y of every chain, one after the other."""
        y = self.state.y
        return y.expand(len(theta), *y.shape).flatten(0, 1)

    def prior(self, theta):
        away = theta - self.state.prior_mean
        return -0.5 * ((away @ self.state.prior_precision) * away).sum(1)

    def value(self, theta):
        """Of every chain."""
        with torch.no_grad():
            f = self.outputs(theta)
            loss = vmap(self.state.likelihood.loss)(f.flatten(0, 1), self.targets(theta))
            return self.prior(theta) - loss.reshape(f.shape[:2]).sum(1)

    def gradient(self, theta):
        """Of all chains at once, from the sum of all losses: outputs of a datum are the first axis but for classes."""
        theta = theta.detach().requires_grad_(True)
        f, y = self.outputs(theta).flatten(0, 1), self.targets(theta)
        f, y = (f, y) if y.ndim == 1 else (f.mT, y.mT)
        return torch.autograd.grad(self.prior(theta).sum() - self.state.likelihood.loss(f, y), theta)[0]


def sample(state):
    """Draws (chains, draws, p) by updates of STEPS leapfrog steps."""
    generator = torch.Generator().manual_seed(SEED)
    target, p = Target(state), len(state.prior_mean)
    scale = torch.linalg.inv(torch.linalg.cholesky(state.prior_precision)).mT
    normal = lambda: torch.randn((CHAINS, p), generator=generator, dtype=torch.float64)
    uniform = lambda: torch.rand((CHAINS, 1), generator=generator, dtype=torch.float64)
    theta, log_step, spread, kept = state.prior_mean + 0.5 * normal() @ scale.mT, -1.0, torch.ones(p), []
    here = (theta, target.value(theta), target.gradient(theta))
    for update in range(WARM_UP + DRAWS):
        momentum = normal() / spread
        step = torch.exp(torch.tensor(log_step)) * (1 + JITTER * (2 * uniform() - 1))
        there, after = _trajectory(target, here, momentum, step, spread)
        gain = there[1] - here[1] + 0.5 * ((momentum * spread) ** 2 - (after * spread) ** 2).sum(1)
        accept = torch.nan_to_num(gain, nan=-torch.inf).clamp(max=0).exp()
        taken = uniform()[:, 0] < accept
        here = tuple(torch.where(taken.reshape(-1, *[1] * (new.ndim - 1)), new, old) for new, old in zip(there, here))
        if update < WARM_UP:
            log_step += RATE * (accept.mean().item() - WANTED) * (4 if update < WARM_UP // 2 else 1)
            spread = here[0].std(0) if update == WARM_UP // 4 else spread
            log_step = 0.0 if update == WARM_UP // 4 else log_step
        else:
            kept.append(here[0])
    return torch.stack(kept, 1)


def _trajectory(target, here, momentum, step, spread):
    """The end of STEPS leapfrog steps with inverse mass spread²: (θ, log density, gradient), momentum."""
    theta, _, gradient = here
    for _ in range(STEPS):
        momentum = momentum + 0.5 * step * gradient
        theta = theta + step * spread ** 2 * momentum
        gradient = target.gradient(theta)
        momentum = momentum + 0.5 * step * gradient
    return (theta, target.value(theta), gradient), momentum
