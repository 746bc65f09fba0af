"""The adapter that `refbnn scaffold` writes: complete, independent of the package, and green as it stands."""

from __future__ import annotations

from pathlib import Path

TEMPLATE = '''\
"""An adapter for `refbnn conform {file}`. It runs as it is: replace the bodies by calls of your own code.

Each function answers one quantity (all of them: `refbnn list quantities`); a function that is not here is a declared
gap. Names with a leading underscore are left alone. Return what your code returns: if its numbers are meant in another
way (mean loss, other parameter order, ...), say so in `conventions` and the kit converts the certified values.
"""
import numpy as np

name = "my implementation"
version = "0.1"
conventions = {{}}  # for example {{"loss.reduction": "mean"}}; all of them: `refbnn list conventions`


def unsupported(problem, quantity):
    """Why this problem is out of reach, or None."""
    if (problem.activation, problem.likelihood) != ("tanh", "normal"):
        return "only tanh networks with a normal likelihood"


def prepare(problem):
    """Runs once a case; what it returns is handed to every function below."""
    layers, at = [], 0  # theta holds W (out x in, row by row), then b, layer by layer
    for into, out in zip(problem.sizes[:-1], problem.sizes[1:]):
        W, at = problem.theta[at:at + out * into].reshape(out, into), at + out * into
        b, at = problem.theta[at:at + out * problem.bias], at + out * problem.bias
        layers.append((W, b if problem.bias else np.zeros(out)))
    inputs = [problem.X]  # of each layer, and the network's outputs at the end
    for depth, (W, b) in enumerate(layers):
        z = inputs[-1] @ W.T + b
        inputs.append(np.tanh(z) if depth < len(layers) - 1 else z)
    return problem, layers, inputs


def forward(state):  # n k
    problem, layers, inputs = state
    return inputs[-1]


def jacobian(state):  # n k p
    problem, layers, inputs = state
    delta = np.tile(np.eye(problem.sizes[-1]), (len(problem.X), 1, 1))
    blocks = []
    for (W, b), a in zip(reversed(layers), reversed(inputs[:-1])):
        weights = (delta[..., None] * a[:, None, None, :]).reshape(*delta.shape[:2], -1)
        blocks = [weights] + ([delta] if problem.bias else []) + blocks
        delta = delta @ W * (1 - a[:, None, :] ** 2)
    return np.concatenate(blocks, axis=-1)


def gradient(state):  # p
    problem, layers, inputs = state
    return np.einsum("nkp,nk->p", jacobian(state), inputs[-1] - problem.y) / problem.variance


def ggn_full(state):  # p p
    J = jacobian(state).reshape(-1, len(state[0].theta))
    return J.T @ J / state[0].variance


def laplace_covariance(state):  # p p
    return np.linalg.inv(ggn_full(state) + state[0].prior_precision)
'''


def write(path: str) -> None:
    """Write the adapter to `path`. ValueError unless it ends in .py; FileExistsError rather than overwrite."""
    target = Path(path)
    if target.suffix != ".py":
        raise ValueError(f"expected a file name that ends in .py, got {path}")
    with target.open("x", encoding="utf-8") as stream:
        stream.write(TEMPLATE.format(file=target.name))
