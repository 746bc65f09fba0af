"""What the torch libraries share: the network as a module that is at θ already, and its data as tensors, all in float64."""

import torch
from torch import nn

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)


def model(problem):
    """(module, loss that sums over data, X, y, θ, direction). The squared error is ½‖f − y‖² per datum, as a module."""
    X, y, theta, vector = map(torch.from_numpy, problem.arrays())
    layers = []
    for into, out in zip(problem.sizes, problem.sizes[1:]):
        layers += [nn.Linear(into, out), nn.Tanh()]
    module = nn.Sequential(*layers[:-1])
    nn.utils.vector_to_parameters(theta, module.parameters())
    return module, X, y, theta, vector


def loss(problem):
    """The loss module that each library knows by its type; the squared error is twice refbnn's."""
    return nn.CrossEntropyLoss(reduction="sum") if problem.classes else nn.MSELoss(reduction="sum")


def scale(problem):
    """What second derivatives (and gradients) of `loss` are multiplied by to be those of −log p."""
    return 1.0 if problem.classes else 0.5


def flat(tensors):
    """Gradients of the parameters as one vector."""
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def numpy(tensor):
    """As a NumPy array."""
    return tensor.detach().numpy()
