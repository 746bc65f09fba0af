"""Log densities of a nearly normal Student-t and a nearly Poisson negative binomial, whose large log Γ almost cancel."""
import math

import torch
from torch.distributions import NegativeBinomial, StudentT


def double(number):
    return torch.tensor(number, dtype=torch.float64)


nu = rho = 2.0**20
# log Γ(ν/2 + ½) − log Γ(ν/2) = ½ log(ν/2) − 1/(4ν) + O(ν⁻³), so at its centre the density is (2π)^(−½) exp(−1/(4ν)).
student = StudentT(double(nu), double(0.0), double(1.0)).log_prob(double(0.0)).item(), -0.5 * math.log(2 * math.pi) - 0.25 / nu
# y = 3, mean 1, p = 1/(1 + ρ): Γ(ρ + 3)/Γ(ρ) = ρ (ρ + 1) (ρ + 2).
log_prob = NegativeBinomial(double(rho), logits=double(-math.log(rho))).log_prob(double(3.0)).item()
negative_binomial = log_prob, math.log1p(2 / rho) + math.log1p(1 / rho) - math.log(6) - (rho + 3) * math.log1p(1 / rho)
errors = {}
for name, (seen, right) in {"Student-t": student, "negative binomial": negative_binomial}.items():
    errors[name] = abs(seen / right - 1)
    print(f"{name}: {seen!r}, right is {right!r}, relative error {errors[name]:.0e}")
print("WRONG" if max(errors.values()) > 1e-13 else "RIGHT")
