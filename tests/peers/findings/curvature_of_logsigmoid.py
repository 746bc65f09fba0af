"""The second derivative of log σ is −σ(x) σ(−x), the same at x and −x."""
import math

import torch


def second(x):
    at = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    first, = torch.autograd.grad(torch.nn.functional.logsigmoid(at), at, create_graph=True)
    return torch.autograd.grad(first, at)[0].item()


wrong = False
for x in (10.0, 20.0, 30.0):
    right = -1 / (1 + math.exp(x)) / (1 + math.exp(-x))
    errors = [abs(second(at) / right - 1) for at in (-x, x)]
    print(f"relative error at {-x}: {errors[0]:.0e}, at {x}: {errors[1]:.0e}")
    wrong |= max(errors) > 1e-13
print("WRONG" if wrong else "RIGHT")
