"""Derivatives of log Φ far to the left: with λ = φ/Φ they are λ and −λ(λ + x), here by their asymptotic series in 1/x²."""
from fractions import Fraction

import torch


def mills(x, terms=12):
    """|x|/λ = 1 − 1/x² + 3/x⁴ − 15/x⁶ ..., in fractions; from |x| = 100 on the rest is below 1e-30."""
    total = term = Fraction(1)
    for k in range(1, terms):
        term *= Fraction(-(2 * k - 1), x * x)
        total += term
    return total


wrong = False
for x in (-100, -10_000, -1_000_000, -100_000_000):
    rate = -x / mills(x)
    right = float(rate), float(-rate * (rate + x))
    at = torch.tensor(float(x), dtype=torch.float64, requires_grad=True)
    first, = torch.autograd.grad(torch.special.log_ndtr(at), at, create_graph=True)
    second, = torch.autograd.grad(first, at)
    errors = [abs(seen.item() / exact - 1) for seen, exact in zip((first, second), right)]
    print(f"x = {x}: first derivative off by {errors[0]:.0e}, second {second.item():.6g} for {right[1]:.6g}")
    wrong |= errors[1] > 1e-13
print("WRONG" if wrong else "RIGHT")
