"""torch.func: vmap, jacrev, jvp on a function of the flat θ, eager, and torch.autograd for the plain gradient."""

import torch
from torch.func import grad, hessian, jacrev, jvp, vmap

from . import Task
from .torch_models import model, numpy

CHUNK = 64  # columns at once where all of them would not fit the memory


def prepare(problem):
    """Jacobians by vmap(jacrev) and one product; Hessians by torch.func.hessian or by chunks of products."""
    _, X, y, theta, vector = model(problem)

    def network(theta, x):
        *hidden, (W, b) = problem.layers(theta)
        for V, c in hidden:
            x = torch.tanh(x @ V.T + c)
        return x @ W.T + b

    def cost(f, y):
        if problem.classes:
            return torch.nn.functional.cross_entropy(f, y, reduction="sum")
        return 0.5 * ((f - y) ** 2).sum()

    def loss(theta):
        return cost(network(theta, X), y)

    def jacobian(theta):
        return vmap(jacrev(network), (None, 0))(theta, X)

    def rows(theta):
        J = jacobian(theta)
        if problem.classes:
            p = torch.softmax(network(theta, X), -1)
            J = p.sqrt()[..., None] * (J - (p[:, None] @ J))
        return J.reshape(-1, theta.numel())

    def ggn(theta):
        R = rows(theta)
        return R.T @ R

    def empirical(theta):
        g = vmap(grad(lambda theta, x, y: cost(network(theta, x), y)), (None, 0, 0))(theta, X, y)
        return g.T @ g

    def product(u):
        return jvp(grad(loss), (theta,), (u,))[1]

    tracked = theta.clone().requires_grad_()
    functions = {
        "gradient/autograd": lambda: torch.autograd.grad(loss(tracked), tracked)[0],
        "gradient/func": lambda: grad(loss)(theta),
        "hessian.hvp": lambda: product(vector),
        "jacobian": lambda: jacobian(theta),
        "ggn.full": lambda: ggn(theta),
        "fisher.full": lambda: ggn(theta),
        "fisher.empirical": lambda: empirical(theta),
        "hessian.full/chunks": lambda: vmap(product, chunk_size=CHUNK)(torch.eye(theta.numel())),
        "ggn.diag": lambda: (rows(theta) ** 2).sum(0),
    }
    if problem.num_params < 1000:
        functions["hessian.full/hessian"] = lambda: hessian(loss)(theta)
    return {key: Task(function, numpy) for key, function in functions.items()}
