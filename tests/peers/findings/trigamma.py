"""The second derivative of log Γ in double precision at 1 and ½, where it is π²/6 and π²/2."""
import math

import torch

wrong = False
for x, right in ((1.0, math.pi**2 / 6), (0.5, math.pi**2 / 2)):
    at = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    first, = torch.autograd.grad(torch.lgamma(at), at, create_graph=True)
    second, = torch.autograd.grad(first, at)
    error = abs(second.item() / right - 1)
    print(f"x = {x}: second derivative {second.item()!r}, right is {right!r}, relative error {error:.1e}")
    wrong |= error > 1e-13
print("WRONG" if wrong else "RIGHT")
