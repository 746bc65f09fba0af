"""HIPS autograd, on NumPy like refbnn: reverse mode only, nothing compiled."""

import autograd.numpy as np
import autograd

from . import Task


def prepare(problem):
    """What autograd has functions for; the sums over data that it would need per-datum gradients for are left out."""
    X, y, theta, vector = problem.arrays()

    def network(theta):
        a, (*hidden, (W, b)) = X, problem.layers(theta)
        for V, c in hidden:
            a = np.tanh(a @ V.T + c)
        return a @ W.T + b

    def loss(theta):
        f = network(theta)
        if not problem.classes:
            return 0.5 * np.sum((f - y) ** 2)
        top = np.max(f, axis=1, keepdims=True)
        return np.sum(top[:, 0] + np.log(np.sum(np.exp(f - top), axis=1)) - f[np.arange(len(f)), y])

    gradient, product = autograd.grad(loss), autograd.hessian_vector_product(loss)
    tasks = {"gradient": Task(lambda: gradient(theta)), "hessian.hvp": Task(lambda: product(theta, vector))}
    if problem.num_params < 1000:  # one reverse pass an output and datum, or a parameter: minutes beyond that
        jacobian, hessian = autograd.jacobian(network), autograd.hessian(loss)
        tasks |= {"jacobian": Task(lambda: jacobian(theta)), "hessian.full": Task(lambda: hessian(theta))}
    return tasks
