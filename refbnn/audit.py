"""What every posterior obeys, whatever the data, held against draws that claim to come from it.

The laws need no reference run: they follow from the density alone, by the divergence theorem, and hold for multimodal posteriors
and real data. Draws of a sampler with a fault break them, ours or yours: the draws are an array, and the target needs
value_and_gradient; what a network and its likelihood do not see (scaling a rectified unit, shifting all logits) gives more laws.
They say nothing about what draws never visited: a chain that stays in one of several separate modes obeys most of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from refbnn.diagnostics import ess_mean, mcse_mean
from refbnn.shapes import ChainDraws, ChainValues, as_array, expect_methods

FEWEST = 100.0  # effective draws: below, a standard error is itself too uncertain to judge by
POWER = 0.99

Laws = dict[str, ChainValues]  # name: a function of every draw whose mean is zero


@dataclass(frozen=True)
class Law:
    """A mean that has to be zero, its standard error and p-value; `visible`, a mean that is found with probability 0.99."""

    name: str
    mean: float
    error: float
    effective_size: float
    visible: float
    p_value: float

    @property
    def z(self) -> float:
        """mean/error."""
        return self.mean / self.error

    def __str__(self) -> str:
        return (f"{self.name:32s} {self.mean:+.3f} ± {self.error:.3f}  z = {self.z:+6.1f}  p = {self.p_value:.1e}  "
                f"visible from {self.visible:.3f}  ESS {self.effective_size:.0f}")


@dataclass(frozen=True)
class Audit:
    """All laws, those that are broken (Holm at `false_alarm`), and those that too few effective draws leave undecided."""

    laws: tuple[Law, ...]
    false_alarm: float

    @property
    def broken(self) -> tuple[Law, ...]:
        """Laws rejected by Holm's procedure, the clearest first: of true laws one is rejected with probability `false_alarm`."""
        ordered = sorted((law for law in self.laws if law.effective_size >= FEWEST), key=lambda law: law.p_value)
        kept = [i for i, law in enumerate(ordered) if law.p_value > self.false_alarm / (len(self.laws) - i)]
        return tuple(ordered[:kept[0]] if kept else ordered)

    @property
    def undecided(self) -> tuple[Law, ...]:
        """Laws with fewer than 100 effective draws, or whose draws do not vary."""
        return tuple(law for law in self.laws if not law.effective_size >= FEWEST)

    @property
    def passed(self) -> bool:
        """Nothing broken, nothing undecided."""
        return not self.broken and not self.undecided

    def __str__(self) -> str:
        parts = [("BROKEN", self.broken), ("UNDECIDED", self.undecided)]
        lines = [f"{word:9s} {law}" for word, laws in parts for law in laws]
        return "\n".join([*lines, f"{len(self.laws)} laws, {len(self.broken)} broken, {len(self.undecided)} undecided"])


def audit(posterior: object, draws: ChainDraws, false_alarm: float = 1e-6) -> Audit:
    """Every law of `posterior` on draws (c t p): `virial` and, for a Posterior of an Mlp, `scaling` and `shifts`.

    z-scores use the Monte-Carlo standard error of dependent draws; p-values are those of Student's t with ESS − 1 degrees of
    freedom. Raises ValueError for fewer than four draws, another number of parameters, or false_alarm not between 0 and 1.
    """
    expect_methods("posterior", posterior, "num_params", "value_and_gradient")
    draws = as_array("draws", draws, "c t p", p=posterior.num_params)
    if not 0 < float(as_array("false_alarm", false_alarm, "")) < 1:
        raise ValueError(f"false_alarm: expected a probability between 0 and 1, got {false_alarm}")
    laws = virial(posterior, draws)
    net = getattr(posterior, "net", None)
    if hasattr(net, "layout") and net.num_params == posterior.num_params:  # θ is all there is, and the network's layers are known
        laws |= scaling(posterior, draws) | shifts(posterior, draws)
    return Audit(_judged(laws, false_alarm), false_alarm)


def virial(target: object, draws: ChainDraws) -> Laws:
    """E[∂_iU] = 0, E[θ_i ∂_iU] = 1 with U = −log p(θ), and the sum of the latter E[θ·∇U] = p, Eq. (virial-laws).

    For densities that are Lipschitz and vanish at infinity, rectified networks included.
    """
    _, gradient = target.value_and_gradient(draws)
    product = -draws * gradient - 1
    laws = {f"gradient of {i}": -gradient[..., i] for i in range(draws.shape[-1])}
    return laws | {f"virial of {i}": product[..., i] for i in range(draws.shape[-1])} | {"virial": product.sum(-1)}


def scaling(posterior: object, draws: ChainDraws) -> Laws:
    """E[−∇log p(θ)·Xθ] = tr X for every generator X of what f does not see, Eq. (posterior-conservation); p(θ) is the prior.

    Rectified units: X scales what goes in, +1, against what goes out, −1. Linear layers: rows i and j mix, columns j and i unmix.
    With an isotropic prior λ(‖in‖² − ‖out‖²) has mean n_in − n_out, whatever the data.
    """
    net, pull, laws = posterior.net, -posterior.prior.gradient(draws), {}
    layers = net.layout.unflatten(np.arange(net.num_params))
    for l, phi in enumerate(net.activation):
        if not phi.homogeneous:
            continue
        (W, b), V = layers[l], layers[l + 1][0].T
        into = W if b is None else np.concatenate([W, b[:, None]], 1)
        for i, j in np.ndindex(len(W), len(W)):
            if i == j or phi.odd:
                moved = (pull[..., into[i]] * draws[..., into[j]]).sum(-1) - (pull[..., V[j]] * draws[..., V[i]]).sum(-1)
                laws[f"scaling of layer {l + 1}, {i} {j}"] = moved - (i == j) * (len(into[i]) - len(V[i]))
    return laws


def shifts(posterior: object, draws: ChainDraws) -> Laws:
    """E[g] = 0, g = v·∇log p(θ), where log p(y|f) does not see a constant added to all outputs, Eq. (shift); p(θ) is the prior.

    v moves the output biases together, or the weights from one hidden unit. With a Gaussian prior g is exactly N(0, vᵀP₀v) under
    the posterior too, whatever the data: E[g² − vᵀP₀v] = 0.
    """
    net, loss = posterior.net, posterior.loss
    residual = loss.likelihood.residual(net.forward(draws[0, 0], loss.X), loss.y)
    if residual.shape[-1] < 2 or np.abs(residual.sum(-1)).max() > 1e-12 * np.abs(residual).max():
        return {}
    W, b = net.layout.unflatten(np.arange(net.num_params))[-1]
    columns = [*W.T] if b is None else [*W.T, b]
    gradient, laws = posterior.prior.gradient(draws), {}
    for name, column in enumerate(columns):
        g = laws[f"shift of outputs, {name}"] = gradient[..., column].sum(-1)
        if hasattr(posterior.prior, "precision"):
            laws[f"spread of shift, {name}"] = g**2 - posterior.prior.precision.matrix()[np.ix_(column, column)].sum()
    return laws


def _judged(laws: Laws, false_alarm: float) -> tuple[Law, ...]:
    """Means, errors and p-values; `visible` at the level that Holm's procedure starts with."""
    values = np.stack([*laws.values()], -1)
    means, errors, sizes = values.mean((0, 1)), mcse_mean(values), np.minimum(ess_mean(values), values[..., 0].size)
    freedom = np.maximum(np.nan_to_num(sizes), 2.0) - 1
    with np.errstate(invalid="ignore", divide="ignore"):
        p_values = 2 * stdtr(freedom, -np.abs(means / errors))
    visible = errors * (stdtrit(freedom, 1 - false_alarm / len(laws) / 2) + stdtrit(freedom, POWER))
    columns = (means, errors, sizes, visible, p_values)
    return tuple(Law(name, *map(float, row)) for name, row in zip(laws, zip(*columns)))
